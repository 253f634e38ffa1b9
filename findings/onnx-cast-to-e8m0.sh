#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# onnx 1.23.2, onnxruntime 1.32.0, ml_dtypes 0.6.0: three conversions of float32 to E8M0, the type
# of microscaling's scales, and three answers for what the type cannot hold.
#
# Guess: a negative number or an infinity becomes NaN, the type's one value that is no number, in
# all three; they differ in rounding alone (up by default in ONNX, to nearest in ml_dtypes).
# Seen: for a negative number onnx's reference takes the magnitude and onnxruntime the least scale;
# infinity is the largest scale in onnxruntime; the least scale itself, 2^-127, a subnormal of
# float32, is doubled by the reference, which rounds up what is exact. Only ml_dtypes says NaN.
# A scale that a broken tensor gave is a plausible one after a Cast.
# Output seen:
#   -2: reference 2, onnxruntime 2^-127, ml_dtypes nan
#   inf: reference nan, onnxruntime 2^127, ml_dtypes nan
#   2^-127: reference 2^-126, onnxruntime 2^-127, ml_dtypes 2^-127
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 ml_dtypes==0.6.0
"$work/venv/bin/python" - >"$work/out" <<'END'
import math

import ml_dtypes
import numpy
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def text(v):
    if not math.isfinite(v) or abs(math.log2(abs(v))) < 10:
        return f"{v:g}"
    return f"2^{math.log2(v):g}"


x = numpy.array([-2, numpy.inf, 2.0**-127], numpy.float32)
there = helper.make_node("Cast", ["x"], ["scale"], to=TensorProto.FLOAT8E8M0)
back = helper.make_node("Cast", ["scale"], ["y"], to=TensorProto.FLOAT)
ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [len(x)])] for n in "xy"]
graph = helper.make_graph([there, back], "cast", *ends)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=12)
session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
)
reference = ReferenceEvaluator(model).run(None, {"x": x})[0]
runtime = session.run(None, {"x": x})[0]
direct = x.astype(ml_dtypes.float8_e8m0fnu).astype(numpy.float32)
for v, a, b, c in zip(x.tolist(), reference.tolist(), runtime.tolist(), direct.tolist()):
    print(f"{text(v)}: reference {text(a)}, onnxruntime {text(b)}, ml_dtypes {text(c)}")
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(.*: reference\)/\1/p' "$0") && echo "as it was seen"
