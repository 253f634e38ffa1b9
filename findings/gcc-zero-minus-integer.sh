#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# gcc 12.2.0 (Debian 12's): 0.0f - (float)u is -0.0 where the integer u is 0, at -O0 and at -O2.
#
# Guess: +0.0.  C converts 0 to +0.0, and +0.0 - +0.0 is +0.0 in round-to-nearest (IEEE 754, 6.3).
# Seen: -0.0.  The compiler makes a negation of a subtraction from zero where the other side cannot
# be -0.0, as no converted integer can; but for +0.0 the two differ.  The same number through a
# variable is right.  No option is needed: a test that compares bits of decoded weights met it.
# Output seen:
#   -O0: 0.0f - (float)u = -0, by a variable 0
#   -O2: 0.0f - (float)u = -0, by a variable 0
set -euo pipefail
self=$(realpath "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -qq download cpp-12=12.2.0-14+deb12u1 2>apt.log || { cat apt.log; exit 1; }
dpkg -x cpp-12_*.deb . # the compiler proper; the system's own assembles and links
cc1=$(echo usr/lib/gcc/*/12/cc1)
cat >zero.c <<'END'
int printf(const char *, ...);
int main(int argc, char **argv) {
  (void)argv;
  unsigned u = (unsigned)argc - 1;
  float f = (float)u;
  printf("0.0f - (float)u = %g, by a variable %g\n", (double)(0.0f - (float)u), (double)(0.0f - f));
  return 0;
}
END
for level in -O0 -O2; do
  "$cc1" -quiet $level zero.c -o zero.s
  cc zero.s -o zero
  echo "$level: $(./zero)"
done >out
cat out
diff out <(sed -n 's/^#   -O/-O/p' "$self") && echo "as it was seen"
