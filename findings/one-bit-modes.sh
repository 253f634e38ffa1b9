#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# torchao 0.18.0, hqq 0.2.8.post1 (torch 2.15.0), mlx 0.32.4 (CPU): one bit a weight of N(0,1) in
# groups of 32 loses as much as, or more than, no weights at all.
#
# Guess: the mean square error is 0.36 times the variance or little more, which the sign times the
# group's mean magnitude has; certainly below 1, which zeros have.
# Seen: torchao's int1 is two's complement, so its codes are -1 and 0, and the scale lets only the
# most negative weights reach -1: nearly all weights are 0. hqq's first scale and mlx's scale put
# the two codes at the group's least and largest weight, twice as bad as zeros; hqq's optimizer,
# which is its default, mends a part. All three take the setting without a word.
# Output seen (error by variance):
#   torchao int1: 1.0
#   hqq, optimize=False: 2.0
#   hqq: 1.6
#   mlx affine: 2.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.15.0 torchao==0.18.0 hqq==0.2.8.post1 numpy==2.4.6 \
  'mlx[cpu]==0.32.4'
"$work/venv/bin/python" - >"$work/out" 2>"$work/err" <<'END' || {
import mlx.core as mx
import numpy
import torch
from hqq.core.quantize import Quantizer
from torchao import quantization as ao

weights = numpy.random.default_rng(1).standard_normal((256, 256)).astype(numpy.float32)


def say(name, back):
    error = numpy.mean((numpy.array(back) - weights)**2) / numpy.var(weights)
    print(f"{name}: {error:.1f}")


linear = torch.nn.Sequential(torch.nn.Linear(256, 256, bias=False))
linear[0].weight = torch.nn.Parameter(torch.from_numpy(weights.copy()))
ao.quantize_(linear, ao.IntxWeightOnlyConfig(weight_dtype=torch.int1,
                                             granularity=ao.PerGroup(32)))
say("torchao int1", linear[0].weight.dequantize().detach())
how = dict(nbits=1, group_size=32, axis=1, device="cpu", compute_dtype=torch.float32)
for name, more in (("hqq, optimize=False", {"optimize": False}), ("hqq", {})):
    packed = Quantizer.quantize(torch.from_numpy(weights.copy()), **how, **more)
    say(name, Quantizer.dequantize(*packed))
how = dict(group_size=32, bits=1)
back = mx.dequantize(*mx.quantize(mx.array(weights), **how), **how)
say("mlx affine", back)
END
  cat "$work/err"
  exit 1
}
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(torchao\|hqq\|mlx\)/\1/p' "$0") && echo "as it was seen"
