#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hqq 0.2.8.post1 (torch 2.15.0): codes of 5 and 6 bits take 8 bits each, of 1.58 bits 2, of 3 bits
# 3.2 to 4 by the shape.
#
# Guess: nbits is what a code takes, as with 8, 4, 2 and 1; 3 bits perhaps 3.2, ten in a word of 32.
# Seen: 5 and 6 bits are bytes, so they lose more than 8 bits do and save nothing; words of 3 bits
# hold ten codes of ten different rows of the table of groups, and rows are added until their
# number is a multiple of ten: with groups along the input, small linears take up to 4 bits. Tables
# that compare methods by nbits compare other sizes.
# Output seen (bits a code of a 16x128 and of a 1024x1024 matrix, groups of 64 along the input):
#   8: 8.00 8.00
#   6: 8.00 8.00
#   5: 8.00 8.00
#   4: 4.00 4.00
#   3: 4.00 3.20
#   2: 2.00 2.00
#   1.58: 2.00 2.00
#   1: 1.00 1.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.15.0 hqq==0.2.8.post1 numpy==2.4.6
"$work/venv/bin/python" - >"$work/out" 2>"$work/err" <<'END' || {
import torch
from hqq.core.quantize import Quantizer

for bits in (8, 6, 5, 4, 3, 2, 1.58, 1):
    stored = []
    for shape in ((16, 128), (1024, 1024)):
        codes, _ = Quantizer.quantize(torch.randn(shape), nbits=bits, group_size=64, axis=1,
                                      optimize=False, device="cpu")
        stored.append(8 * codes.numel() * codes.element_size() / (shape[0] * shape[1]))
    print(f"{bits}:", *(f"{s:.2f}" for s in stored))
END
  cat "$work/err"
  exit 1
}
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   //p' "$0") && echo "as it was seen"
