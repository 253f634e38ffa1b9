#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The GPU tier.  A machine with a GPU may be lent for minutes only: what can be made without one is
# made and packed first.
#
#   gpu.sh pack [BUILD] [DIR]   without a GPU: what must travel, into DIR (BUILD/gpu-pack), and the
#                               same as DIR.tar.gz of at most $MOST_MIB (54); given again it goes
#                               on.  The NVRTC that compiled the kernels travels, too: with another
#                               one there they would all be compiled again
#   gpu.sh ten [RESULTS] [DEVICE]   on the GPU: proof first, then records and speed, within ten
#                               minutes.  RESULTS gets four files: the log as it comes, the others
#                               rewritten after every step and within it, so that a run that is cut
#                               has what it had until then
#   gpu.sh collect RESULTS      back home: records into tuned/, and the tables for the README
#   gpu.sh all [QPAL] [DEVICE] [STEP...]   without hurry: check --all, sanitizers, bench, ...; the
#                               step 'cost' shows what COST.md counts beside what the clock tells
#
# A machine elsewhere needs the one file and one command (OUT: what it gives back):
#
#   mkdir p && tar xzf gpu-pack.tar.gz -C p && p/gpu.sh ten OUT
#
# $QUANTIZERS cuts 'all' into parts (names and prefixes).  'pack' and 'ten' tune $QUANTIZERS
# (tcq-2,tcq-3,tcq-4,lin-3,vq2-3,nuq-4) of $MODEL (llama-3.1-8b); 'pack' compiles $CANDIDATES (2)
# of each launch, those of more are compiled on the GPU's machine.  'ten' takes $SECONDS_IN_ALL
# (580).  $PROTOTYPE names the source of a hand-written kernel for comparison; $CHECKPOINT (a folder
# or .gguf, such as SmolLM2's: MOST_MIB=150) with $TEXT is evaluated beside the CPU.
# shellcheck disable=SC2086,SC2015 # lists of words are split on purpose; a && b || fail is meant so
set -u
self=$(realpath "${BASH_SOURCE[0]}")
here=$(dirname "$self")
usual=tcq-2,tcq-3,tcq-4,lin-3,vq2-3,nuq-4
fail() { echo "gpu.sh: $*" >&2; exit 2; }

# One quantizer of each kind, at shapes whose warps have many units.
kinds="tcq-3 tcq-2.25 lin-2 vq2-3 nuq-4 int4-g128 anyprec-3"

# ---- pack ----

# A program with a planted out-of-bounds write and a planted race: sanitizers must catch both.
write_control() {
  cat <<'END'
#include <cstdio>
__global__ void outside(int *p, int n) { p[threadIdx.x + n] = 1; }
__global__ void race(int *p) {
  __shared__ int s[64];
  s[threadIdx.x] = threadIdx.x;
  p[threadIdx.x] = s[(threadIdx.x + 33) % 64];
}
int main(int argc, char **argv) {
  int *p;
  if (cudaMalloc(&p, 64 * sizeof *p) != cudaSuccess) return 3;
  if (argc > 1 && argv[1][0] == 'r') race<<<1, 64>>>(p);
  else outside<<<1, 1>>>(p, 64);
  return cudaDeviceSynchronize() == cudaSuccess ? 0 : 1;
}
END
}

# nvcc SOURCE PROGRAM, for the GPUs that are lent most; what cannot be made is left out with a word.
compile_cuda() {
  local source=$1 program=$2
  [ ! "$program" -nt "$source" ] || return 0
  if ! command -v nvcc >/dev/null; then echo "no nvcc: ${program##*/} is left out"; return; fi
  if nvcc -O2 -std=c++17 -gencode arch=compute_80,code=compute_80 \
    -gencode arch=compute_90,code=sm_90 -o "$program" "$source" -lcuda 2>"$program.log"; then
    rm "$program.log"
  else
    echo "nvcc failed: ${program##*/} is left out"
    head -3 "$program.log"
    rm -f "$program"
  fi
}

# said WHAT COMMAND...: with the seconds that it took.
said() {
  local what=$1 begun=$SECONDS code=0
  shift
  echo "== $what"
  "$@" || code=$?
  echo "== $what: $((SECONDS - begun)) s"
  return $code
}

# The kernels that 'ten' runs first, compiled for sm_90 with 132 multiprocessors into the cache that
# travels.  What is in the cache is not compiled again.
warm_check() {
  "$out/qpal" check "$@" --compile-only sm_90:132 --quiet || echo "some kernels did not compile"
}

# NVRTC and its builtins, compressed once: they are the larger part of what travels.
pack_nvrtc() {
  local library file
  library=$("$build/qpal" doctor --json |
    sed -n 's/.*"file":[[:space:]]*"\(.*libnvrtc\.so[^"]*\)".*/\1/p' | head -1)
  [ -n "$library" ] && command -v xz >/dev/null || return
  mkdir -p "$out/nvrtc" || return
  for file in "$library" "${library%/*}"/libnvrtc-builtins.so.[0-9]*.[0-9]; do
    [ -e "$out/nvrtc/${file##*/}.xz" ] || {
      xz -T0 -c "$file" >"$out/nvrtc/new" && mv "$out/nvrtc/new" "$out/nvrtc/${file##*/}.xz"
    } || return
  done
}

unpack_file() { # FILE.xz
  if command -v xz >/dev/null; then xz -dkf "$1"
  else
    python3 -c 'import lzma, shutil, sys
shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[1][:-3], "wb"))' "$1"
  fi
}

# Beside this script, where 'pack' put it; where it is not unpacked the machine's own is used.
unpack_nvrtc() {
  local file
  [ -z "${QPAL_NVRTC:-}" ] && [ -d "$here/nvrtc" ] || return 0
  for file in "$here"/nvrtc/*.xz; do
    [ -e "${file%.xz}" ] || unpack_file "$file" || { echo "NVRTC is not unpacked"; return 0; }
  done
  QPAL_NVRTC=$(find "$here/nvrtc" -name 'libnvrtc.so*[0-9]' | head -1)
  export QPAL_NVRTC
}

# tune_launches QUANTIZER: its candidates, of which the replay device says how long they take.
tune_launches() {
  "$out/qpal" tune --model "$MODEL" --quantizers "$1" --paths tensor --batch 1,8 \
    --ops gemm,rotate,dequant --max-candidates "${CANDIDATES:-2}" \
    --device "replay:$scratch/replay.json" -o "$scratch/$1.jsonl" >"$scratch/log" 2>&1 ||
    { echo "some kernels of tune did not compile"; tail -3 "$scratch/log"; }
}

warm_tune() {
  local quantizer
  printf '{"gpu": "warming", "arch": 90, "sm_count": 132, "driver": "1", "noise": 0}\n' \
    >"$scratch/replay.json"
  for quantizer in ${QUANTIZERS//,/ }; do
    said "kernels of tune: $quantizer" tune_launches "$quantizer"
  done
}

# Tiny models of every family, and $CHECKPOINT (a folder, or a .gguf) with 4096 tokens of $TEXT
# where these are given, each with what the CPU finds.
pack_models() {
  local folder
  rm -rf "$out/models.new"
  cmake --build "$build" --target forward_families >/dev/null && mkdir "$out/models.new" &&
    "$build/forward_families" "$out/models.new" || return
  if [ -n "${CHECKPOINT:-}" ]; then
    mkdir "$out/models.new/checkpoint" && cp "${TEXT:?a text for \$CHECKPOINT}" \
      "$out/models.new/checkpoint/text.txt" || return
    if [ -d "$CHECKPOINT" ]; then cp -r "$CHECKPOINT/." "$out/models.new/checkpoint"
    else cp "$CHECKPOINT" "$out/models.new/checkpoint"; fi || return
  fi
  for folder in "$out"/models.new/*/; do
    evaluate_one "$build/qpal" "$folder" >"$folder/cpu.json" || return
  done
  rm -rf "$out/models" && mv "$out/models.new" "$out/models"
}

# evaluate_one QPAL FOLDER [OPTION...]: as JSON.
evaluate_one() {
  local qpal=$1 folder=${2%/} model words
  shift 2
  model=$(find "$folder" -maxdepth 1 -name '*.gguf' | head -1)
  words=(--tokens "$folder/tokens.txt")
  [ ! -e "$folder/text.txt" ] || words=(--text "$folder/text.txt" --limit 4096 --context 1024)
  "$qpal" evaluate "${model:-$folder}" "${words[@]}" --json "$@"
}

pack() {
  local build=${1:-build} bundle source mib most=${MOST_MIB:-54}
  QUANTIZERS=${QUANTIZERS:-$usual} MODEL=${MODEL:-llama-3.1-8b}
  [ -x "$build/qpal" ] || fail "$build/qpal: not built; cmake --build $build"
  build=$(realpath "$build") out=${2:-$build/gpu-pack}
  said bundle cmake --build "$build" --target bundle >/dev/null || fail "no bundle could be made"
  [ ! -e "$out" ] || [ -e "$out/qpal" ] || fail "$out: is no folder of an earlier pack"
  scratch=$(mktemp -d) || fail "no folder for what is not packed"
  mkdir -p "$out" || fail "$out: cannot be made"
  bundle=$(find "$build/bundle" -maxdepth 1 -type d -name 'qpal-*' | head -1)
  cp -r "$bundle/." "$out/" && cp "$self" "$out/gpu.sh" || fail "$out: cannot be written"
  source=${PROTOTYPE:-$here/../../shared/prototypes/tcq_gemv_sm90.cu}
  write_control >"$scratch/control.cu"
  cmp -s "$scratch/control.cu" "$out/control.cu" || cp "$scratch/control.cu" "$out/control.cu"
  said "broken control" compile_cuda "$out/control.cu" "$out/control"
  [ ! -e "$source" ] || cmp -s "$source" "$out/prototype.cu" || cp "$source" "$out/prototype.cu"
  [ ! -e "$source" ] || said prototype compile_cuda "$out/prototype.cu" "$out/prototype"
  export QPAL_CACHE=$out/cache
  said models pack_models || echo "no models could be packed"
  said NVRTC pack_nvrtc || echo "NVRTC is not packed: kernels will be compiled there"
  said "kernels of check" warm_check $kinds --op gemm
  said "kernels of other ops" warm_check --kinds --few --without-op gemm
  warm_tune
  rm -r "$scratch"
  tar czf "$out.tar.gz.new" -C "$out" . && mv "$out.tar.gz.new" "$out.tar.gz" ||
    fail "$out.tar.gz: cannot be written"
  mib=$(($(stat -c %s "$out.tar.gz") / 1048576 + 1))
  echo "$out.tar.gz: $mib MiB ($(du -sm "$out" | cut -f1) unpacked).  On the machine with the GPU:"
  echo "  mkdir p && tar xzf ${out##*/}.tar.gz -C p && p/gpu.sh ten RESULTS"
  [ "$mib" -le "$most" ] || fail "$out.tar.gz: $mib MiB; at most $most may travel"
}

# ---- ten ----

# What comes back: steps.jsonl (a line a step), records.jsonl, and the rest as one archive.  Each is
# replaced whole, so that a run that is cut leaves nothing torn.
give_back() {
  local file
  for file in steps.jsonl records.jsonl; do
    [ -s "$work/$file" ] || continue
    cp "$work/$file" "$results/$file.new" && mv "$results/$file.new" "$results/$file"
  done
  tar czf "$results/all.tar.gz.new" -C "$work" . || [ $? = 1 ] && # 1: a file grew meanwhile
    mv "$results/all.tar.gz.new" "$results/all.tar.gz"
}

# step NAME LIMIT COMMAND...: run it for LIMIT seconds at most, less where the budget ends; a line
# of steps.jsonl.  77: skipped.
step() {
  local name=$1 limit=$2 left begun code result saver
  shift 2
  begun=$(date +%s) left=$((deadline - begun))
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$limit" -lt 5 ]; then
    printf '{"step": "%s", "result": "NOT RUN", "why": "the budget of %s s is spent"}\n' \
      "$name" "$budget" >>"$work/steps.jsonl"
    unfinished+=" $name"
    give_back
    return
  fi
  echo "== $name (at most $limit s)"
  export limit
  while sleep 15; do give_back; done &
  saver=$!
  timeout --kill-after=5 "$limit" "$@" > >(tee -a "$results/log.txt") 2>&1
  code=$?
  kill $saver && wait $saver 2>/dev/null
  case $code in
    0) result=PASS ;;
    77) result=SKIP ;;
    124 | 137) result="TIME OUT" unfinished+=" $name" ;;
    *) result=FAIL failures=$((failures + 1)) ;;
  esac
  printf '{"step": "%s", "result": "%s", "code": %d, "seconds": %d, "limit": %d}\n' \
    "$name" "$result" $code $(($(date +%s) - begun)) "$limit" >>"$work/steps.jsonl"
  give_back
  echo "== $name: $result"
}

libraries() { "$qpal" doctor; "$qpal" doctor --json >"$work/libraries.json"; }

# A program that could not be compiled where it was packed.
make_there() {
  [ -x "$here/$1" ] || { [ -e "$here/$1.cu" ] && compile_cuda "$here/$1.cu" "$here/$1"; }
  [ -x "$here/$1" ]
}

# The control must be caught; where the sanitizer refuses the device there is nothing to learn.
sanitize() {
  local tool=$1 said code=0
  command -v compute-sanitizer >/dev/null || { echo "no compute-sanitizer on PATH"; return 77; }
  make_there control || { echo "no control program was packed"; return 77; }
  said=$(compute-sanitizer --tool "$tool" --error-exitcode 9 "$here/control" "$tool" 2>&1) ||
    code=$?
  if [ $code != 9 ]; then
    echo "$said" | tail -3
    grep -qiE 'not supported|failed to initialize|unable to' <<<"$said" && return 77
    echo "the planted fault was not caught"
    return 1
  fi
  shift
  compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 \
    "$qpal" check "$@" --few --device "$device" --quiet
}

check() { "$qpal" check --device "$device" --json >"$work/check.json"; }

# budget_of SECONDS REST: what a command may ask for that is to end REST seconds before its step.
budget_of() { echo $(($1 < limit - $2 ? $1 : limit > $2 ? limit - $2 : 1))s; }

tune() {
  "$qpal" tune --model "$model" --quantizers "$quantizers" --paths tensor --batch "$1" \
    --budget "$(budget_of "$2" 20)" --device "$device" ${timer:+--timer "$timer"} \
    -o "$work/records.jsonl"
}

bench() {
  "$qpal" bench --model "$model" --quantizers "$quantizers" --device "$device" \
    --records "$work/records.jsonl" --budget "$(budget_of 60 15)" ${timer:+--timer "$timer"} \
    --json >"$work/bench.json"
  local code=$?
  [ $code != 0 ] || head -c 3000 "$work/bench.json"
  return $code
}

prototype() {
  make_there prototype || { echo "no prototype was packed"; return 77; }
  "$here/prototype" | tee "$work/prototype.txt"
}

# number FILE NAME: the number of that name in JSON as qpal prints it.
number() { sed -n "s/.*\"$2\":[[:space:]]*\([-+.0-9e]*\).*/\1/p" "$1" | head -n 1; }

# Perplexities on the device beside those that 'pack' found on the CPU; products take fp16 here.
evaluate() {
  local folder code=0
  [ -d "$here/models" ] || { echo "no models were packed"; return 77; }
  for folder in "$here"/models/*/; do
    evaluate_one "$qpal" "$folder" --device "$device" >"$work/evaluate.json" || return
    awk -v name="$(basename "$folder")" -v p="$(number "$folder/cpu.json" perplexity)" \
      -v q="$(number "$work/evaluate.json" perplexity)" \
      -v t="$(number "$work/evaluate.json" seconds)" 'BEGIN {
        off = q / p - 1; off = off < 0 ? -off : off
        printf "%-16s perplexity %.4f on the CPU, %.4f here (%.1e off), %.1f s\n",
          name, p, q, off, t
        exit !(off < 5e-3) }' || code=1
  done
  return $code
}

profile() {
  command -v ncu >/dev/null || { echo "no ncu on PATH"; return 77; }
  ncu --clock-control none --kernel-name regex:gemm --launch-count 1 --target-processes all \
    --section SpeedOfLight --section MemoryWorkloadAnalysis --section WarpStateStats \
    "$qpal" check tcq-3 --few --op gemm --shape 28672x4096 --device "$device" --quiet \
    >"$work/ncu.txt" 2>&1
}

# Seconds at most; what is packed compiled takes a fraction of them. In all 580 but for the last,
# the check of the whole palette, most of which is compiled there: it has what the others leave.
ten_steps() {
  local again=("$self" _step)
  step libraries 20 "${again[@]}" libraries
  step first-kernel 30 "$qpal" check tcq-3 --few --op gemm --path tensor --device "$device"
  step steady-state 60 "$qpal" check $kinds --op gemm --device "$device" --quiet
  # of group fields too: int4-g128, mxfp4, nvfp4, bcq-2 and ptqtp are kinds of their own
  step other-ops 45 "$qpal" check --kinds --few --without-op gemm --device "$device" --quiet
  step chains 35 "$qpal" check --chains --device "$device" --quiet
  step memcheck 40 "${again[@]}" sanitize memcheck tcq-3 nuq-4
  step racecheck 40 "${again[@]}" sanitize racecheck tcq-3 nuq-4
  step tune-1 110 "${again[@]}" tune 1 90
  step bench 65 "${again[@]}" bench
  step tune-8 50 "${again[@]}" tune 8 35
  step evaluate 35 "${again[@]}" evaluate
  step prototype 20 "${again[@]}" prototype
  step profile 30 "${again[@]}" profile
  step check 300 "${again[@]}" check
}

ten() {
  results=${1:-gpu-results} device=${2:-cuda:0} failures=0 unfinished=
  qpal=$here/qpal model=${MODEL:-llama-3.1-8b} timer=${TIMER:-} quantizers=${QUANTIZERS:-$usual}
  [ -x "$qpal" ] || qpal=$here/../build/qpal
  [ -x "$qpal" ] || fail "no qpal beside this script; 'gpu.sh pack' makes what travels"
  budget=${SECONDS_IN_ALL:-580} deadline=$(($(date +%s) + budget))
  mkdir -p "$results" && results=$(realpath "$results") || fail "$results: cannot be made"
  work=$(mktemp -d) && : >"$work/steps.jsonl" && : >"$results/log.txt" ||
    fail "no folder to work in"
  unpack_nvrtc
  [ ! -d "$here/cache" ] || export QPAL_CACHE=$here/cache
  # exported for the steps that are functions: timeout runs commands, so it runs this script again
  export work device qpal model timer quantizers kinds
  ten_steps
  rm -r "$work"
  echo
  cat "$results/steps.jsonl"
  unfinished=${unfinished% check} # which has what is left
  [ -z "$unfinished" ] || echo "not finished:$unfinished"
  [ $failures -eq 0 ] && [ -z "$unfinished" ] && echo "GPU, ten minutes: PASS" && exit
  echo "GPU, ten minutes: $failures steps FAIL, $(wc -w <<<"$unfinished") not finished"
  exit 1
}

# ---- collect ----

collect() {
  local results=${1:?gpu.sh collect RESULTS} qpal=${QPAL:-$here/../build/qpal} gpu name file batch
  [ -s "$results/steps.jsonl" ] ||
    fail "$results/steps.jsonl: not there; RESULTS is the folder that 'ten' wrote"
  cat "$results/steps.jsonl"
  [ -s "$results/records.jsonl" ] || fail "$results/records.jsonl: no records came back"
  gpu=$(sed -n '1s/.*"gpu":"\([^"]*\)".*/\1/p' "$results/records.jsonl")
  [ -n "$gpu" ] || fail "$results/records.jsonl: the first line names no GPU"
  name=$(tr '[:upper:]' '[:lower:]' <<<"$gpu" | sed 's/[^a-z0-9]\{1,\}/-/g; s/^-//; s/-$//')
  file=$here/../tuned/$name.jsonl
  if [ -e "$file" ]; then
    "$qpal" table --merge "$file" "$results/records.jsonl" -o "$file" || exit
  else
    cp "$results/records.jsonl" "$file" || exit
  fi
  echo "$file: $(($(wc -l <"$file") - 1)) records of $gpu"
  for batch in 1 8; do
    "$qpal" table "$file" --model "${MODEL:-llama-3.1-8b}" --batch $batch || true
  done
}

# ---- all ----

all_step() {
  echo "== $*"
  "$@" || failures=$((failures + 1))
}

# circle BUILD: a tiny made-up checkpoint goes once around on the device; Python, where it has
# torch, runs what came out.
circle() {
  local build out
  build=$(cd "$1" && pwd) out=$1/circle-gpu
  rm -rf "$out.checkpoint" && mkdir -p "$out.checkpoint" || return
  perl "$here/circle/checkpoint.pl" "$out.checkpoint" || return
  QUANTIZERS=tcq,vq2 BITS=3.5 BLOCKS=all BATCHES=1,2 ROWS="1 2 3" DEVICE=$device \
    "$here/circle/circle.sh" "$build" "$out.checkpoint" "$out.checkpoint/config.json" "$out" ||
    return
  rm -rf "$build/circle" && mv "$out" "$build/circle" &&
    mv "$out.checkpoint" "$build/circle/checkpoint" || return
  "$here/generate/run" "$build" "$device" || return
  case ${CHECKPOINT:-} in # a real model speaks, as a CUDA graph; its tokens a second
    *SmolLM2*.gguf) "$here/generate/real" "$build" "$CHECKPOINT" "$device" || return ;;
  esac
  local word
  for word in cuda modules_cuda; do
    "$here/python/run" $word "$build" "${CC:-cc}" || [ $? = 77 ] || return # 77: skipped
  done
}

# The table of COST.md by count, then by the clock: a launch of 28672x4096 is 'up|gate' there.
cost() {
  local arch few="tcq-2 tcq-3 tcq-3.5 tcq-5 lin-2 lin-3 wide-3 long-3 mix-4 vq2-3 nuq-3 vq2-4
    nuq-4 int4-g128 nf4-g64 mxfp4 e8p-2 aqlm-2x8 ternary-1.6 anyprec-3 3inst-3 mul1-3"
  local list=${QUANTIZERS:-$few} words
  read -ra words -d '' <<<"${list//,/ }" || true
  arch=$("$qpal" doctor --json | sed -n 's/.*"arch":[[:space:]]*\([0-9]*\).*/\1/p' | head -1)
  "$qpal" cost "${words[@]}" --arch "sm_${arch:-90}" || return
  "$qpal" bench --model llama-3.1-8b --quantizers "$(IFS=, && echo "${words[*]}")" --batch 1 \
    --device "$device"
}

all() {
  local known=" check chains memcheck racecheck bench cost circle prototype "
  local wanted word tool quantizer build
  qpal=${1:-build/qpal} device=${2:-cuda:0} failures=0
  shift $(($# < 2 ? $# : 2))
  wanted=" ${*:-$known} "
  for word in $wanted; do
    [[ $known == *" $word "* ]] || fail "step '$word' is not one of:$known"
  done
  local list=${QUANTIZERS:-}
  [[ $wanted != *" check "* ]] ||
    all_step "$qpal" check ${list//,/ } --all --device "$device" --quiet
  [[ $wanted != *" chains "* ]] ||
    all_step "$qpal" check ${list//,/ } --chains --device "$device" --quiet
  for tool in memcheck racecheck; do
    [[ $wanted == *" $tool "* ]] || continue
    if ! command -v compute-sanitizer >/dev/null; then
      echo "no compute-sanitizer on PATH (CUDA Toolkit): $tool not run"
      failures=$((failures + 1))
      continue
    fi
    for quantizer in tcq-3 tcq-2.25 vq2-4 nuq-6 int4-g128 quad-2 anyprec-3 "tcq-3 --op rotate"; do
      all_step compute-sanitizer --tool $tool --target-processes all --error-exitcode 9 \
        "$qpal" check $quantizer --few --device "$device" --quiet
    done
  done
  [[ $wanted != *" bench "* ]] ||
    all_step "$qpal" bench --device "$device" ${list:+--quantizers "${list// /,}"}
  [[ $wanted != *" cost "* ]] || all_step cost
  build=$(dirname "$qpal")
  [[ $wanted != *" circle "* ]] || [ ! -x "$build/example_block" ] || all_step circle "$build"
  [[ $wanted != *" prototype "* ]] || [ ! -x "$build/bench_gpu" ] ||
    all_step "$build/bench_gpu" "$device"
  [ $failures -eq 0 ] && echo "GPU tier: PASS" || echo "GPU tier: $failures steps FAIL"
  exit $((failures > 0))
}

word=${1:-help}
[ $# -eq 0 ] || shift
case $word in
  pack | ten | collect | all) $word "$@" ;;
  _step) "$@" ;;
  *) sed -n '3,26s/^# \{0,1\}//p' "$self"; [ "$word" = help ] || exit 2 ;;
esac
