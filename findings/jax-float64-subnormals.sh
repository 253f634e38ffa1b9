#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# jax 0.10.2 (jaxlib 0.10.2, CPU): subnormal numbers survive a cast from float32 to bfloat16 or
# E8M0, and do not survive it from float64.
#
# Guess: a cast from a wider type loses no more than one from a narrower type: 2^-128, which
# bfloat16 holds exactly, stays; for E8M0, whose least value is 2^-127, it is 2^-127.
# Seen: from float64 bfloat16's subnormals become zero, and E8M0 gives NaN where it gives 2^-127
# from float32. A scale computed in double precision so turns its block to NaN.
# Output seen:
#   float32: bfloat16 2^-128, float8_e8m0fnu 2^-127
#   float64: bfloat16 0, float8_e8m0fnu nan
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 ml_dtypes==0.6.0 jax==0.10.2 jaxlib==0.10.2
JAX_ENABLE_X64=1 JAX_PLATFORMS=cpu "$work/venv/bin/python" - >"$work/out" <<'END'
import math

import jax.numpy as jnp
import numpy


def text(v):
    return f"2^{math.log2(v):g}" if v > 0 else f"{v:g}"


for source in ("float32", "float64"):
    x = jnp.array(numpy.array([2.0**-128], source))
    # Back by numpy, which keeps subnormals.
    seen = {
        t: float(numpy.asarray(x.astype(t)).astype(numpy.float64)[0])
        for t in ("bfloat16", "float8_e8m0fnu")
    }
    print(f"{source}:", ", ".join(f"{t} {text(v)}" for t, v in seen.items()))
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(float\)/\1/p' "$0") && echo "as it was seen"
