#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mlx 0.32.4 on the CPU: quantize(mode="mxfp4") rounds a block's scale up, a tie of codes to zero.
#
# Guess: as the OCP microscaling specification has it: the scale is 2^(floor(log2 max) - 2), so a
# largest weight of 7.9 saturates at 6, and ties go to the even code.
# Seen: the scale is the least power of two at which the largest weight fits in 6; 3.5, 1.75, 0.75
# become 3, 1.5, 0.5, where the even codes are 4, 2, 1. The codes are valid MXFP4 and decode alike
# everywhere, but equal weights give other bytes than other encoders', and a finite weight of 3e38
# comes back infinite.
# Output seen:
#   largest 6.0: scale 2^0
#   largest 6.5: scale 2^1
#   largest 7.9: scale 2^1
#   ties 3.5 2.5 1.75 1.25 0.75 0.25: 3.0 2.0 1.5 1.0 0.5 0.0
#   weight 3e38: inf
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 'mlx[cpu]==0.32.4'
"$work/venv/bin/python" - >"$work/out" <<'END'
import mlx.core as mx
import numpy


def through(values):
    block = mx.array(numpy.array([values + [0.0] * (32 - len(values))], numpy.float32))
    codes, scales = mx.quantize(block, group_size=32, bits=4, mode="mxfp4")
    weights = mx.dequantize(codes, scales, group_size=32, bits=4, mode="mxfp4")
    return int(scales[0, 0]) - 127, weights.astype(mx.float32)[0].tolist()


for largest in (6.0, 6.5, 7.9):
    print(f"largest {largest}: scale 2^{through([largest])[0]}")
ties = [3.5, 2.5, 1.75, 1.25, 0.75, 0.25]
print("ties", " ".join(map(str, ties)) + ":", *through([6.0] + ties)[1][1:7])
print("weight 3e38:", through([3e38])[1][0])
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(largest\|ties\|weight\)/\1/p' "$0") && echo "as it was seen"
