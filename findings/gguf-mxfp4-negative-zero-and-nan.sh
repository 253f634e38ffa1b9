#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# gguf 0.19.0: MXFP4 has no negative zero and no NaN scale.
#
# Guess: as the OCP microscaling specification has it: code 8 is -0, a scale of 255 makes the
# block NaN.
# Seen: values come out of a table of whole numbers, so code 8 is +0; scale 255 is 2^128, half of it
# applied to doubled values: code 1 (0.5) is 2^127 and finite, code 2 (1.0) overflows to infinity.
# Other readers keep -0 or make NaN: bits differ between tools.
# Output seen:
#   scale 127: code 8 -> 0.0
#   scale 255: code 0 -> 0.0, code 1 -> 1.7014118346046923e+38, code 2 -> inf
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 gguf==0.19.0
"$work/venv/bin/python" -W ignore - >"$work/out" <<'END'
import numpy
from gguf import GGMLQuantizationType as T, quants
def first(scale, code):
    block = numpy.zeros((1, 17), numpy.uint8)
    block[0, 0], block[0, 1] = scale, code
    return float(quants.dequantize(block, T.MXFP4)[0, 0])
print(f"scale 127: code 8 -> {first(127, 8)}")
print(f"scale 255: code 0 -> {first(255, 0)}, code 1 -> {first(255, 1)}, code 2 -> {first(255, 2)}")
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   scale/scale/p' "$0") && echo "as it was seen"
