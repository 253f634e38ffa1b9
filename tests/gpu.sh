#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The GPU tier: every kernel checked on a real GPU, then a sample of each family under compute-sanitizer.
# Last the palette's speed beside the read bandwidth and cuBLAS, and, where it was built (cmake --build
# build --target bench), the tensor-core gemm beside the prototype it came from.
#   gpu.sh [QPAL] [DEVICE]          qpal: a build's or a bundle's; device: cuda:0
set -u
qpal=${1:-build/qpal} device=${2:-cuda:0}
failures=0

step() {
  echo "== $*"
  "$@" || failures=$((failures + 1))
}

step "$qpal" check --all --device "$device" --quiet

if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    sanitize="compute-sanitizer --tool $tool --target-processes all --error-exitcode 9"
    for quantizer in tcq-3 tcq-2.25 vq2-4 nuq-6 int4-g128 quad-2 anyprec-3; do
      step $sanitize "$qpal" check "$quantizer" --few --device "$device" --quiet
    done
    step $sanitize "$qpal" check tcq-3 --few --op rotate --device "$device" --quiet
  done
else
  echo "compute-sanitizer is not on PATH (CUDA Toolkit): not run"
  failures=$((failures + 1))
fi

step "$qpal" bench --device "$device"

bench=$(dirname "$qpal")/bench_gpu
[ ! -x "$bench" ] || step "$bench" "$device"

[ $failures -eq 0 ] && echo "GPU tier: PASS" || echo "GPU tier: $failures steps FAIL"
exit $((failures > 0))
