#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# gguf 0.19.0: the scale byte of an NVFP4 block is unsigned e4m3 whose sign bit is ignored, except
# where it is 0x7f.
#
# Guess: 0x7f and 0xff, NaN in e4m3, are treated alike: both NaN, or both zero.
# Seen: 0x7f makes the block zero; 0xff is 480, one step above the largest value that e4m3 has
# (448); 0x88 is what 0x08 is.  A decoder written from e4m3's definition differs in one byte of 256,
# without a word.  (Weights below have code 7 = 6.0.)
# Output seen:
#   scale 0x08 -> 0.09375
#   scale 0x88 -> 0.09375
#   scale 0x7e -> 2688.0
#   scale 0x7f -> 0.0
#   scale 0xff -> 2880.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 gguf==0.19.0
"$work/venv/bin/python" - >"$work/out" <<'END'
import numpy
from gguf import GGMLQuantizationType as T, quants
block = numpy.zeros((1, 36), numpy.uint8)
block[0, 4:] = 0x77
for scale in (0x08, 0x88, 0x7E, 0x7F, 0xFF):
    block[0, 0] = scale
    print(f"scale 0x{scale:02x} -> {quants.dequantize(block, T.NVFP4)[0, 0]}")
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   scale/scale/p' "$0") && echo "as it was seen"
