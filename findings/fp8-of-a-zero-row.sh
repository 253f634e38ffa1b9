#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# torchao 0.18.0 and optimum-quanto 0.2.7 (torch 2.15.0, CPU): a row of zeros becomes NaN as FP8
# weights and stays zero as INT8.
#
# Guess: zeros, as with every integer type of the same packages: their scale is kept from zero, or
# a scale of zero makes zeros.
# Seen: a scale per row is the row's largest weight by the type's largest value, so 0 for a row of
# zeros, and 0 / 0 is stored as the type's NaN; the output of that row is NaN for every input, and
# the model's after it. Pruned channels and unused rows of a vocabulary are such rows. Who reads FP8
# checkpoints finds NaN codes beside scales of zero.
# Output seen (a linear of 128x128 whose row 1 is zero, on ones):
#   torchao int8: row of zeros 0, others finite
#   torchao float8_e4m3fn: row of zeros nan, others finite
#   quanto qint8: row of zeros 0, others finite
#   quanto qfloat8_e4m3fn: row of zeros nan, others finite
#   quanto qfloat8_e5m2: row of zeros nan, others finite
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.15.0 torchao==0.18.0 optimum-quanto==0.2.7 numpy==2.4.6
"$work/venv/bin/python" - >"$work/out" 2>"$work/err" <<'END' || {
import torch
from optimum import quanto
from torchao import quantization as ao


def model():
    linear = torch.nn.Linear(128, 128, bias=False)
    with torch.no_grad():
        linear.weight[1] = 0
    return torch.nn.Sequential(linear)


def say(name, quantized):
    with torch.no_grad():
        y = quantized(torch.ones(1, 128))[0]
    finite = torch.isfinite(torch.cat([y[:1], y[2:]])).all()
    print(f"{name}: row of zeros {y[1].item():g}, others {'finite' if finite else 'broken'}")


for name, config in (("int8", ao.Int8WeightOnlyConfig()),
                     ("float8_e4m3fn", ao.Float8WeightOnlyConfig())):
    quantized = model()
    ao.quantize_(quantized, config)
    linear = quantized[0]  # by its dequantized weights: the kernel of FP8 needs a GPU
    linear.weight = torch.nn.Parameter(linear.weight.dequantize().float(), requires_grad=False)
    say(f"torchao {name}", quantized)
for kind in (quanto.qint8, quanto.qfloat8_e4m3fn, quanto.qfloat8_e5m2):
    quantized = model()
    quanto.quantize(quantized, weights=kind)
    quanto.freeze(quantized)
    say(f"quanto {kind.name}", quantized)
END
  cat "$work/err"
  exit 1
}
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(torchao\|quanto\)/\1/p' "$0") && echo "as it was seen"
