#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mlx 0.32.4 on the CPU: quantize makes finite weights of a group that holds a NaN, in every mode.
#
# Guess: a NaN spreads through the group's scale, so that dequantize gives NaN and a broken weight
# is seen.
# Seen: the affine mode's largest and least weight pass NaN over, and the NaN itself becomes the
# largest weight of its group; mxfp4 and nvfp4 turn the whole group to zeros; mxfp8 gives -896 or
# 896 for every weight of the group; to_fp8 says 448. Whoever quantizes must look for NaN before,
# whoever judges by NaN after sees none.
# Output seen (a group that begins with NaN, 1, 2, 3; its first four weights):
#   affine: 3 1 2 3
#   mxfp4: 0 0 0 0
#   nvfp4: 0 0 0 0
#   mxfp8: 896 896 896 896
#   to_fp8: 448
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 'mlx[cpu]==0.32.4'
"$work/venv/bin/python" - >"$work/out" <<'END'
import mlx.core as mx
import numpy

group = mx.array(numpy.array([[numpy.nan, 1, 2, 3] + [0] * 28], numpy.float32))
for mode, size, bits in (("affine", 32, 4), ("mxfp4", 32, 4), ("nvfp4", 16, 4), ("mxfp8", 32, 8)):
    how = dict(group_size=size, bits=bits, mode=mode)
    weights = mx.dequantize(*mx.quantize(group, **how), **how).astype(mx.float32)
    print(f"{mode}:", *(f"{w:g}" for w in weights[0, :4].tolist()))
print(f"to_fp8: {mx.from_fp8(mx.to_fp8(group[0, :1]), mx.float32)[0].item():g}")
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(affine\|mxfp\|nvfp\|to_fp8\)/\1/p' "$0") &&
  echo "as it was seen"
