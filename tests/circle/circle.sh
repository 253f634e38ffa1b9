#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# circle.sh BUILD WEIGHTS MODEL OUT: everything that qpal is for, once around.
#   weights -> plan -> packed weights -> kernel library -> an engine's block, and the reference's
# WEIGHTS: a checkpoint or .gguf; MODEL: a name or config.json; OUT: folder, made anew.  Settings
# come as variables:
#   BITS=3.25         a weight, stored, at most
#   QUANTIZERS=tcq    the plan's menu
#   EMBEDDING=        quantizer of the embedding; without one it stays in 16 bits
#   BLOCKS=1          blocks that are quantized and run; all: every block
#   BATCHES=1,8       rows of activations that get kernels
#   TYPES=f16         of activations
#   ROWS="1"          rows that the block is run with
#   DEVICE=           cuda:N; without one the PTX simulator, as an sm_90 of 4 multiprocessors
#   TEXT=             a text, whose first 1024 tokens judge what was quantized against WEIGHTS
set -euo pipefail

build=$1 weights=$2 model=$3 out=$4
bits=${BITS:-3.25} quantizers=${QUANTIZERS:-tcq} blocks=${BLOCKS:-1} batches=${BATCHES:-1,8}
read -ra rows <<<"${ROWS:-1}"
device=${DEVICE:-sim:90:4} gpu=${DEVICE:-sm_90:4}
qpal=$build/qpal
rm -rf "$out"
mkdir -p "$out"

started=$SECONDS step_began=$SECONDS step='' judged=''
declare -a took=()
end_step() {
  [ -z "$step" ] || took+=("$(printf '  %-9s %3d s' "$step" $((SECONDS - step_began)))")
}
# begin NAME WHAT
begin() {
  end_step
  step=$1 step_began=$SECONDS
  printf '\n==> %s: %s\n' "$1" "$2"
}

# The planner knows this GPU's latencies where records were measured on it; else it plans by bits
# alone.
begin plan "a quantizer for every linear of $model, $bits bits a weight at most"
limits=(--bits "$bits" --quantizers "$quantizers")
embedding=()
[ -z "${EMBEDDING:-}" ] || embedding=(--embedding "$EMBEDDING")
if [ -n "${DEVICE:-}" ] &&
  "$qpal" plan --model "$model" --gpu "$DEVICE" --quantizers "$quantizers" --bits "$bits" \
  -o "$out/by-bits.json" --json >"$out/by-bits.log" 2>&1; then
  latency=$(sed -n 's/.*"latency_s":[[:space:]]*\([0-9.e+-]*\).*/\1/p' "$out/by-bits.json" |
    head -n 1)
  latency=$(awk -v s="$latency" 'BEGIN { printf "%.3f", s * 1e6 }')
  echo "records of $DEVICE: the best plan that is as fast as the one of $bits bits, $latency us"
  limits=(--latency "${latency}us" --gpu "$DEVICE" --quantizers "$quantizers")
else
  echo "no records of a GPU: planned by bits, without latencies"
fi
"$qpal" plan --model "$model" "${limits[@]}" "${embedding[@]}" -o "$out/plan.json" \
  --svg "$out/plan.svg"

some=()
[ "$blocks" = all ] || some=(--blocks "$blocks" --keep lm_head)
what="every block and the lm_head"
[ "$blocks" = all ] || what="of $blocks block(s); other blocks and the lm_head stay as they are"
begin quantize "the weights, as planned: $what"
"$qpal" quantize "$weights" --plan "$out/plan.json" "${some[@]}" -o "$out/packed"

if [ -n "${TEXT:-}" ]; then
  begin evaluate "what that costs: both models predict 1024 tokens of $TEXT"
  "$qpal" evaluate "$out/packed" --against "$weights" --text "$TEXT" --limit 1024 --context 512 \
    --json >"$out/evaluate.json"
  number() { sed -n "s/.*\"$1\":[[:space:]]*\([0-9.e+-]*\).*/\1/p" "$out/evaluate.json"; }
  judged=$(printf 'KL divergence %.4f nats a token, perplexity %.2f, of the source %.2f' \
    "$(number kl_divergence)" "$(number perplexity)" "$(number source_perplexity)")
  echo "$judged"
fi

begin export "the plan's kernels, compiled, as a library"
"$qpal" export --plan "$out/plan.json" --gpu "$gpu" --batch "$batches" \
  --type "${TYPES:-f16}" -o "$out/library"

begin run "block 0 by the public API (runtime/examples/block.c) on $device; and the CPU reference"
for n in "${rows[@]}"; do
  "$build/example_block" "$out/library" "$out/packed" "$device" 0 "$n" "$out/block.safetensors"
  "$build/compare_block" "$out/packed" "$out/block.safetensors"
done
end_step

printf '\n==> done in %d s\n' $((SECONDS - started))
printf '%s\n' "${took[@]}"
printf '  %s\n' "heat map: $out/plan.svg" "packed weights: $out/packed" \
  "kernel library: $out/library/library.qpal"
[ -z "$judged" ] || printf '  %s\n' "$what: $judged"
