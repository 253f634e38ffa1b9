#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A check that cannot fail proves nothing: break one thing at a time and see `qpal check` fail.
#   breaks.sh QPAL SOURCE_DIR
set -eu
qpal=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export QPAL_CACHE=${QPAL_CACHE:-$work/cache}
failures=0

# fresh: a copy of what qpal reads, whole.
fresh() {
  rm -rf "$work/home"
  mkdir "$work/home"
  cp -r "$source/lua" "$source/templates" "$source/tuned" "$work/home" 2>/dev/null ||
    cp -r "$source/lua" "$source/templates" "$work/home"
}

check() { QPAL_HOME=$work/home "$qpal" check --few --device sim:sm_90:2 --quiet "$@" >"$work/out" 2>&1; }

# broken FILE FROM TO check-arguments: one change, which must be there to make, and must be seen.
broken() {
  local file=$1 from=$2 to=$3
  shift 3
  fresh
  if ! grep -qF -- "$from" "$work/home/$file"; then
    echo "FAIL $file: '$from' is not there to be broken"
    failures=$((failures + 1))
    return
  fi
  FROM=$from TO=$to perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/' "$work/home/$file"
  local code=0
  check "$@" || code=$?
  if [ $code -eq 1 ]; then
    echo "ok   $file: '$from' -> '$to' is seen"
  else
    echo "FAIL $file: '$from' -> '$to': qpal check ended with $code"
    cat "$work/out"
    failures=$((failures + 1))
  fi
}

fresh
if check tcq-3 int4-g128 ternary-1.6 --batch 2 --shape 48x96; then
  echo "ok   nothing broken passes"
else
  echo "FAIL nothing broken, yet:"
  cat "$work/out"
  failures=1
fi

gemm="--op gemm --path tensor --batch 1 --shape 48x192"
broken templates/weights.cuh.in 'return low >> c;' 'return low >> (c + 1);' tcq-3 $gemm
broken templates/weights.cuh.in '__funnelshift_r(low, word[i + 1], c)' '__funnelshift_r(low, word[i + 1], c + 1)' tcq-3 $gemm
broken templates/gemm.cuh.in '(sb == 0 ? p.total : sb) - 1' '(sb == 0 ? 1 : sb) - 1' tcq-3 $gemm
broken templates/weights.cuh.in '2 * (q / 4 % 2) + (q & 1);  // which' '2 * (q / 4 % 2);  // which' int4-g128 $gemm
broken templates/weights.cuh.in '>> (2 * (j & 15))' '>> (2 * (j & 7))' anyprec-3 $gemm
broken templates/gemm_tensor.cu.in '16 * m + 8 * (i / 2) + lane / 4' '16 * m + 8 * (i & 1) + lane / 4' vq2-4 $gemm
broken templates/gemm_cuda.cu.in 'c[n][i], 2)' 'c[n][i], 1)' nuq-4 --op gemm --path cuda --batch 1 --shape 48x192
naive="--path naive --op gemm --batch 1 --shape 48x192"
broken templates/gemm_naive.cu.in 'high, first % 32)' 'high, first % 16)' tcq-3 $naive
broken templates/gemm_naive.cu.in 'in % 8 * 4 + c % 32 / 8' 'in % 8 * 4 + c % 16 / 4' nuq-4 $naive
broken templates/dequant.cu.in 'a[q + 2], a[q + 8]' 'a[q + 8], a[q + 2]' tcq-2 --op dequant --shape 48x192
broken templates/rotation.cuh.in 'low << (31 - r % 32)' 'low << (30 - r % 32)' tcq-2 --op rotate
broken templates/prelude.cuh.in 'add.rn.f16x2' 'sub.rn.f16x2' 3inst-2 $gemm
broken lua/quantizers/tcq.lua 'h >> 15 & 1' 'h >> 14 & 1' tcq-3 $gemm
broken lua/quantizers/trellis1.lua '34038481' '34038483' 1mad-2 $gemm

[ $failures -eq 0 ] && echo "all were seen" || echo "$failures were not seen"
exit $((failures > 0))
