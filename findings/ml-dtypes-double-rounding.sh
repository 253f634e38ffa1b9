#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ml_dtypes 0.6.0 (numpy 2.4.6): float64 to bfloat16 and float8_e4m3fn rounds twice, by way
# of float32.
#
# Guess: one rounding, to the nearest value of the target.
# Seen: just above a tie of the target the excess is lost in float32, and the tie then goes to even,
# downwards.  A reference in double precision that is compared after such a cast is off by one unit
# in the last place now and then.
# Output seen:
#   bfloat16       1.00390625093 -> 1.0        nearest 1.0078125
#   float8_e4m3fn  1.06250000093 -> 1.0        nearest 1.125
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install numpy==2.4.6 ml_dtypes==0.6.0
"$work/venv/bin/python" - >"$work/out" <<'END'
import ml_dtypes, numpy
for name, bits in (("bfloat16", 8), ("float8_e4m3fn", 4)):
    x = 1 + 2.0**-bits + 2.0**-30   # a tie is at 1 + 2^-bits; above it 1 + 2^(1-bits) is nearest
    got = float(numpy.array([x]).astype(getattr(ml_dtypes, name)).astype(numpy.float64)[0])
    print(f"{name:13}  {x:.11f} -> {got:<9}  nearest {1 + 2.0**(1 - bits)}")
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   \(bfloat16\|float8\)/\1/p' "$0") && echo "as it was seen"
