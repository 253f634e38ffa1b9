#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ml_dtypes 0.6.0 (numpy 2.4.6): a NaN that is cast to a type without NaN becomes a zero of the
# other sign.
#
# Guess: the largest value, or an error, as saturating casts of infinity do.
# Seen: float4_e2m1fn, float6_e2m3fn, float6_e3m2fn turn +NaN into -0 and -NaN into +0; infinity
# saturates.  A broken weight so becomes a plausible one.  What quantizes to these types must look
# for NaN itself.
# Output seen:
#   float4_e2m1fn  nan -> -0.0  -nan -> 0.0  inf -> 6.0
#   float6_e2m3fn  nan -> -0.0  -nan -> 0.0  inf -> 7.5
#   float6_e3m2fn  nan -> -0.0  -nan -> 0.0  inf -> 28.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 ml_dtypes==0.6.0
"$work/venv/bin/python" - >"$work/out" <<'END'
import ml_dtypes, numpy
for name in ("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"):
    kind = getattr(ml_dtypes, name)
    a = [numpy.nan, numpy.copysign(numpy.nan, -1), numpy.inf]
    a = numpy.array(a, numpy.float32).astype(kind)
    v = [float(x) for x in a.astype(numpy.float32)]
    print(f"{name}  nan -> {v[0]}  -nan -> {v[1]}  inf -> {v[2]}")
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(float[46]\)/\1/p' "$0") && echo "as it was seen"
