#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# onnxruntime 1.32.0 and onnx 1.23.2: a Cast from float to INT4 or UINT4 rounds halves away from
# zero in onnxruntime, and cuts the fraction off in onnx's reference.
#
# Guess: both cut the fraction off, as a Cast to INT8 does and the operator's text says; or both
# take the nearest integer.
# Seen: onnxruntime rounds for the four-bit types alone (INT8 is cut off), and then wraps what does
# not fit: 7.9 becomes -8. The reference gives 7. Weights that are made by Cast in a graph, in place
# of QuantizeLinear, differ by one code in about half of all places.
# Output seen:
#   INT4   0.5 2.5 -1.5 7.9: onnxruntime 1 3 -2 -8, reference 0 2 -1 7
#   UINT4  0.5 2.5 6.5 7.9: onnxruntime 1 3 7 8, reference 0 2 6 7
#   INT8   0.5 2.5 -1.5 7.9: onnxruntime 0 2 -1 7, reference 0 2 -1 7
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$work/venv/bin/python" - >"$work/out" <<'END'
import numpy
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

VALUES = {"INT4": (0.5, 2.5, -1.5, 7.9), "UINT4": (0.5, 2.5, 6.5, 7.9),
          "INT8": (0.5, 2.5, -1.5, 7.9)}
for name, values in VALUES.items():
    x = numpy.array(values, numpy.float32)
    there = helper.make_node("Cast", ["x"], ["code"], to=getattr(TensorProto, name))
    back = helper.make_node("Cast", ["code"], ["y"], to=TensorProto.FLOAT)
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [len(x)])] for n in "xy"]
    graph = helper.make_graph([there, back], "cast", *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    seen = [run.run(None, {"x": x})[0] for run in (session, ReferenceEvaluator(model))]
    text = [" ".join(f"{v:g}" for v in row) for row in (x, *seen)]
    print(f"{name:6} {text[0]}: onnxruntime {text[1]}, reference {text[2]}")
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(U\?INT\)/\1/p' "$0") && echo "as it was seen"
