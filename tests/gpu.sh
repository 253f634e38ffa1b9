#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The GPU tier: every kernel checked on a real GPU, then a sample of each family under compute-sanitizer.
# In a build folder, once around: weights to an engine's block, and the Python module on the GPU (with torch: in a CUDA graph).
# Last the palette's speed beside the read bandwidth and cuBLAS, and, where it was built (cmake --build
# build --target bench), the tensor-core gemm beside the prototype it came from.
#   gpu.sh [QPAL] [DEVICE] [STEP...]   qpal: a build's or a bundle's; device: cuda:0
# Steps, where a machine allows only so long at once: check memcheck racecheck bench circle prototype; none: all of them.
# $QUANTIZERS, names and prefixes, cuts 'check' and 'bench' into parts:  QUANTIZERS="tcq lin" gpu.sh build/qpal cuda:0 check
set -u
qpal=${1:-build/qpal} device=${2:-cuda:0} failures=0 known=" check memcheck racecheck bench circle prototype "
shift $(($# < 2 ? $# : 2))
wanted=" ${*:-$known} "
for word in $wanted; do
  [[ $known == *" $word "* ]] || { echo "gpu.sh: step '$word' is not one of:$known" >&2; exit 2; }
done
quantizers=${QUANTIZERS:-}

wants() { [[ $wanted == *" $1 "* ]]; }

step() {
  echo "== $*"
  "$@" || failures=$((failures + 1))
}

if wants check; then step "$qpal" check ${quantizers//,/ } --all --device "$device" --quiet; fi

for tool in memcheck racecheck; do
  wants $tool || continue
  if command -v compute-sanitizer >/dev/null; then
    sanitize="compute-sanitizer --tool $tool --target-processes all --error-exitcode 9"
    for quantizer in tcq-3 tcq-2.25 vq2-4 nuq-6 int4-g128 quad-2 anyprec-3; do
      step $sanitize "$qpal" check "$quantizer" --few --device "$device" --quiet
    done
    step $sanitize "$qpal" check tcq-3 --few --op rotate --device "$device" --quiet
  else
    echo "compute-sanitizer is not on PATH (CUDA Toolkit): $tool not run"
    failures=$((failures + 1))
  fi
done

if wants bench; then step "$qpal" bench --device "$device" ${quantizers:+--quantizers "${quantizers// /,}"}; fi

# circle BUILD: a tiny made-up checkpoint goes once around on the device; Python, where it has torch, runs what came out.
circle() {
  local build tests out
  build=$(cd "$1" && pwd) tests=$(cd "$(dirname "$0")" && pwd) out=$1/circle-gpu
  rm -rf "$out.checkpoint" && mkdir -p "$out.checkpoint" || return
  perl "$tests/circle/checkpoint.pl" "$out.checkpoint" || return
  QUANTIZERS=tcq,vq2 BITS=3.5 BLOCKS=all BATCHES=1,2 ROWS="1 2 3" DEVICE=$device \
    "$tests/circle/circle.sh" "$build" "$out.checkpoint" "$out.checkpoint/config.json" "$out" || return
  rm -rf "$build/circle" && mv "$out" "$build/circle" && mv "$out.checkpoint" "$build/circle/checkpoint" || return
  "$tests/python/run" cuda "$build" "${CC:-cc}" && return
  [ $? = 77 ] # skipped
}
if wants circle && [ -x "$(dirname "$qpal")/example_block" ]; then step circle "$(dirname "$qpal")"; fi

bench=$(dirname "$qpal")/bench_gpu
if wants prototype && [ -x "$bench" ]; then step "$bench" "$device"; fi

[ $failures -eq 0 ] && echo "GPU tier: PASS" || echo "GPU tier: $failures steps FAIL"
exit $((failures > 0))
