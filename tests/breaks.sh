#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A check that cannot fail proves nothing: break one thing at a time and see `qpal check` fail.
# Each row names the few quantizers and the family that meet the break first; what fails is seen to
# be a row of the default check.
#   breaks.sh QPAL SOURCE_DIR [WORD]     WORD: only breaks whose line holds it
set -u
qpal=$1 source=$2 only=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export QPAL_CACHE=${QPAL_CACHE:-$work/cache}
failures=0 seen=0

# A copy of what qpal reads; 'whole' puts back the one file that was broken.
mkdir "$work/home"
cp -r "$source/lua" "$source/templates" "$work/home"
whole() { cp "$source/$1" "$work/home/$1"; }

check() {
  QPAL_HOME=$work/home "$qpal" check --device sim --jobs 1 --fail-fast --quiet --json "$@" \
    >"$work/out" 2>"$work/log"
}

fault() {
  echo "FAIL $1"
  cat "$work/out" "$work/log"
  failures=$((failures + 1))
}

# A kernel that computed wrongly, of the default check: not one that did not compile, nor one made
# up for this.  Or a definition that is no more what packed weights rely on.
failed_row_is_of_the_default() {
  local row
  row=$(grep -F '"result":"FAIL"' "$work/out" | head -1)
  [[ $row == *'"family":"definition"'* ]] && return
  [[ $row == *'"why":"'* && $row != *'error: '* ]] || return 1
  grep -qF -- "${row%%,\"error\":*}" "$work/default"
}

# broken WHAT FILE FROM TO check-arguments: one change, which must be there, and must be seen.
broken() {
  local what=$1 file=$2 from=$3 to=$4 code=0
  shift 4
  [[ "$what $file" == *$only* ]] || return
  if ! FROM=$from TO=$to perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/ and $there = 1;
    END { $? = !$there }' "$work/home/$file"; then
    : >"$work/out" >"$work/log"
    fault "$what: $file: '$from' is not there to be broken"
    return
  fi
  check "$@" || code=$?
  whole "$file"
  if [ $code -ne 1 ]; then
    fault "$what: $file: '$from' -> '$to': qpal check ended with $code"
  elif ! failed_row_is_of_the_default; then
    fault "$what: $file: what failed is not a wrong result of the default check"
  else
    echo "ok   $what is seen"
    seen=$((seen + 1))
  fi
}

QPAL_HOME=$work/home "$qpal" check --device sim --list --json >"$work/default" || exit 1

# The quantizers of the default's pairs, and what of them a break needs.
chained="e8p-2-g64 fine-3" # group fields, then a trellis
planes="anyprec-3 aqlm-2x8" codebook="nuq-2 nvfp4" split="tcq-1.75 ternary-1.6"
sparse="outliers-3.4 squeezellm-3"
tensor="--family gemm_tensor" cuda="--family gemm_cuda"
dequant="--family dequant" gather="--family gather" rotate="--family rotate"
norm="--family rotate_norm" glu="--family rotate_glu" pairs="--family gemm_glu_tensor"
# Of one of the two, for half the compiler's time: several blocks share the row groups of three
# segments; W^ of more than a unit; blocks with row groups of their own.
several="fine-3 --no-pairs --batch 2 --type f16"
decoded="fine-3 --family dequant --no-pairs --shape 32x1056"
owned="fine-3 --no-pairs --batch 3 --type f16"
atomic="fine-3 tcq-1.75 --type bf16" # of these two, sums by atomic adds

# What is not broken passes: all of it in the tests named check_shipped and check_quick.
check $chained $tensor --few && echo "ok   nothing broken passes" || fault "nothing broken, yet:"

gemm=templates/gemm.cuh.in units=templates/gemm_units.cuh.in sums=templates/gemm_sums.cuh.in
weights=templates/weights.cuh.in
broken "a ring that is not refilled" $units \
  'ahead.fetch(ring[s], p, next, s, lane, policy);' '' $several $tensor
broken "a ring refilled once too few" $units \
  'if (next < n) ahead' 'if (next + 1 < n) ahead' $several $cuda
broken "a row group that is not left" $units '    row_group++;' '' $several $tensor
broken "X not begun anew with a row group" $units \
  'x_end = from.x + (STAGES - s - 1) * X_UNIT;' '' $several $tensor
broken "pointers that do not run on" $units \
  ', ahead.advance()) {' ') {' $several $cuda
broken "fields' pointers that do not run on" $units \
  'W::template advance<UNIT>(fields, STAGES * UNIT);' '' $chained $tensor
broken "a unit's fields not taken by its later superblocks" $units \
  'w.take_fields(unit.run[0]);' '{}' int4-g128 int4-g128-bf16 $tensor
broken "a row group's end seen a unit late" $units \
  '(int)done < event' '(int)done <= event' $several $tensor
broken "sums kept from row group to row group" $units \
  $'sums.clear();\n        now.' 'now.' $several $cuda
broken "a carry not handed from unit to unit" $units \
  'carry = w.word[L::WORDS_READ - 1];' '' $several $tensor
broken "no carry where a warp begins" $units \
  '? ring[0].run[0].carry :' '? 0 :' $several $tensor
broken "no carry where a row group begins" $units \
  'carry = ring[(s + 1) % STAGES].run[0].carry;' ';' $several $cuda
broken "a carry not fetched where a row group begins" $units \
  'if (W::CHAINED) {' 'if (W::CHAINED && unit == 0) {' $several $tensor
broken "a circle closed at the wrong end" $units \
  '(sb == 0 ? p.total : sb) - 1' '(sb == 0 ? 1 : sb) - 1' $several $tensor
broken "a slab's circle closed within the slab" $units \
  '(sb == 0 ? p.total : sb) - 1' '(unit == begin ? p.total : sb) - 1' $chained $cuda
broken "the last warp of a row group one too early" $sums \
  '(rg + 1) * units - 1' '(rg + 1) * units - 2' $several $tensor
broken "the last warp's sum left out" $gemm 'w <= end; w++' 'w < end; w++' $several $cuda
broken "a counter that is not reset" $gemm \
  'if (lane == 0) args.counters[c.counter + rg] = 0;' '' $several $tensor
broken "sums that another block may not see yet" $sums \
  'atom.acq_rel.gpu' 'atom.relaxed.gpu' $several $tensor
broken "sums of other lanes behind an arrival" $sums \
  $'  __syncwarp();\n  if (lane == 0)\n' $'  if (lane == 0)\n' $several $cuda
broken "sums of other blocks read by lanes that did not arrive" $sums \
  $'  __syncwarp();\n  return before;' '  return before;' $several $tensor
# Read in two places, so by a macro; in the usual order of blocks one cluster ends before the next
# begins.
broken "two clusters that share counters" $gemm \
  $'template <class S>\n__device__ __forceinline__ void add_in_order' \
  $'#define counter segment * 0\ntemplate <class S>\n__device__ __forceinline__ void add_in_order' \
  $chained $tensor --schedule 3
broken "two partial sums in one slot" $gemm \
  '(p.slot + warp + rg) *' '(p.slot + warp) *' $several $tensor
broken "a part of a row group taken for all" $gemm 'whole = starts && ends' 'whole = ends' \
  fine-3 $tensor
broken "the next segment entered a row group late" $sums \
  '.row_group <= row_group) s++' '.row_group < row_group) s++' $several $tensor
broken "rows of the next segment's codes" $sums \
  ': row_group - SEGMENT_ROWS[seg].row_group' ': row_group' $several $cuda
broken "16 bits of a state from the next byte" $weights \
  '0x4410 + 0x11 * byte' '0x4410 + 0x11 * (byte + 1)' 1mad-1 quad-1.5 $cuda
broken "16 bits of a state from the neighbour's word" $weights \
  'low, high, in % 8)' 'high, low, in % 8)' 1mad-1 quad-1.5 $cuda
broken "streams of a split mixed up" $units \
  '(seg - c.segment) * p.stream_step]' 'seg - c.segment]' $split $tensor
broken "group fields of another segment's rows" $units \
  'fields_at<UNIT>(s, rg,' 'fields_at<UNIT>(s, row_group,' $chained $tensor
broken "a slab that begins at column 0 of X" $gemm \
  'n * args.x_stride + p.column;' 'n * args.x_stride;' $chained $tensor
broken "a batch row's stride" $gemm \
  'n * args.x_stride + p.column;' 'n * (args.x_stride - 8) + p.column;' $several $tensor
broken "a superblock beyond a ragged unit" $units \
  'if (RAGGED && r >= runs) break;' '' $several $tensor
broken "row scales of other rows" $sums 's.scale + row)' 's.scale + row / 2)' $several $tensor
broken "a batch row's stride in Y" $sums \
  'n * args.stride[seg].y + row;' 'n * 16 + row;' $several $tensor
broken "a shared row group in the wrong place" $gemm \
  'place_of(smem, w, w == first)' 'place_of(smem, w, false)' $owned $tensor
broken "no barrier before a block adds its sums" $gemm \
  $'  __syncthreads();\n#pragma unroll 1\n  for (unsigned i = threadIdx' \
  $'#pragma unroll 1\n  for (unsigned i = threadIdx' $owned $tensor
broken "a block's next row group as if it were its first" $gemm \
  'first = block * p.share + min(block, p.extra)' 'first = block * p.share' $owned $cuda
broken "a part of an own row group taken for all" $gemm \
  'else if (whole) finish_whole(' 'else if (true) finish_whole(' $owned $tensor
broken "a bias by every warp" $gemm 'if (starts) {' 'if (true) {' $atomic $tensor
broken "a bias by every slab" $gemm 'starts && p.column == 0' 'starts' $atomic $cuda
broken "a bias by no warp" $gemm \
  'starts && p.column == 0' '!starts && p.column == 0' $atomic $tensor
broken "a range cleared one word short" $gemm \
  'i < args.zero_words' 'i + 1 < args.zero_words' $atomic $tensor
broken "a range cleared by one block only" $gemm \
  'i += (unsigned long long)gridDim.x * THREADS' 'i += args.zero_words' $atomic $cuda

broken "a window one bit off" $weights 'return low >> c;' 'return low >> (c + 1);' $decoded
broken "a window over two words one bit off" $weights \
  'word[i + 1], c)' 'word[i + 1], c + 1)' $decoded
broken "a window moved up by a bit too few" $weights \
  'word[i + 1] << (32 - c)' 'word[i + 1] << (31 - c)' $codebook $tensor
broken "a byte of the word's first window in each" $weights \
  ': bit % 32 / 8)' ': 0)' int4-g128 int4-g128-bf16 $tensor
broken "words of a plane of two in the wrong place" $weights \
  'superblock + Q * 128 + lane * 2' 'superblock + Q * 128 + lane' $decoded
broken "the word of an odd plane in the wrong place" $weights \
  '((L::WORDS & 2) ? 64 : 0) + lane' 'lane' $split $tensor
broken "group fields of the wrong row" $weights \
  '2 * (q / 4 % 2) + (q & 1);  // of' '2 * (q / 4 % 2);  // of' int4-g128 int4-g128-bf16 \
  $tensor
broken "codes by row put in the wrong tiles" $weights \
  'q / 2 % 2 * 8 + q % 2 * 2 : q]' 'q / 2 % 2 * 2 + q % 2 * 8 : q]' $chained $dequant
broken "group fields of the wrong columns" $weights \
  'c / (size ? size : 1) * 8' 'c / (2 * size) * 8' $chained $cuda
broken "bit planes read in halves" $weights \
  'low = word[2 * (N - 1) + h]' 'low = word[2 * (N - 1)]' $planes $tensor
broken "codebooks of the wrong rows" $weights \
  'books.at[0] + r * 8 * L::row_entries' 'books.at[0] + r * 4 * L::row_entries' $planes $cuda
broken "the codes of the next row's pairs" $weights \
  '0x4431 : 0x4420' '0x4420 : 0x4431' $planes $tensor
broken "halves of a value from two codes" $weights \
  'permute(low, high, 0x7362)' 'permute(low, high, 0x7262)' $planes $tensor
broken "a bit of the second codes from the first" $weights \
  'top << (5 - 2 * i)' 'top << (6 - 2 * i)' $planes $cuda
broken "a copy of the next entry" $weights \
  'return lane * UNIT;' 'return lane * UNIT + 4;' $several $tensor

broken "rows of a tile swapped" templates/sums_tensor.cuh.in \
  '8 * (i / 2) + lane / 4, n' '8 * (i & 1) + lane / 4, n' $several $tensor
broken "one batch row for all" templates/sums_tensor.cuh.in \
  'min(lane / 4, BATCH - 1)' '0' $several $tensor
broken "half of a row's lanes left out" templates/sums_cuda.cuh.in \
  'c[n][i], 2)' 'c[n][i], 1)' $several $cuda
broken "sparse entries added by each warp" $units \
  'if (starts) add_sparse' 'add_sparse' $sparse $tensor
broken "sparse entries of another slab's columns" templates/sums_cuda.cuh.in \
  'if (column >= columns) continue;' '' $sparse $cuda
broken "sparse entries of W^ in the column before" templates/dequant.cu.in \
  'in & 1 ? 0 : v' 'in & 1 ? v : 0' $sparse $dequant
broken "columns of W^ swapped" templates/dequant.cu.in \
  'a[q + 2], a[q + 8]' 'a[q + 8], a[q + 2]' $decoded
broken "superblocks of W^ passed over" templates/dequant.cu.in \
  'next = u + STAGES * step' 'next = u + STAGES * step + 1' $chained $dequant
broken "a circle of W^ closed at the wrong end" templates/dequant.cu.in \
  '(sb == 0 ? p.superblocks : sb)' '(sb == 0 ? 1 : sb)' $decoded
broken "columns behind W^'s last" templates/dequant.cu.in \
  ' || column >= p.columns' '' $decoded
experts=templates/experts.cuh.in
stacks="fine-3 int4-g128 --family experts_tensor" halves="tcq-1.75 --family experts_tensor"
broken "another expert's weights" $experts \
  ' + p.tile.expert * (SEGMENT_ROWS[seg].rows / 32)' '' $stacks
broken "another expert's scales" $experts \
  'p.tile.expert * SEGMENT_ROWS[seg].rows + row' 'row' $stacks
broken "an assignment's row of X, not its token's" $experts ' / (unsigned)args.x_share' '' $stacks
broken "assignments of the next tile" $experts 'if (n >= p.tile.count) return;' '' $stacks
broken "X read before it is there" $experts \
  $'  __syncthreads();\n  Reads mine' '  Reads mine' $stacks
broken "sums over X that is still read" $experts \
  '  __syncthreads();  // X has been read' '' $stacks
broken "X over sums that are still added" $experts \
  '  __syncthreads();  // sums of the piece before' '  //' $stacks
broken "sums of a piece added before they are there" $experts \
  '  __syncthreads();  // what waits is there' '' $stacks
broken "two sums of a block in one slot" $experts \
  '2 * block + (starts ? 1 : 0)' '2 * block' $stacks
broken "sums of several row groups in one slot" $experts ': block + row_group;' ': block;' $halves
broken "a counter of a tile that is not reset" $experts 'if (lane == 0) *counter = 0;' '' $stacks
broken "a block that is waited for in vain" $experts \
  'o.first_warp(row_group) + 1;' 'o.first_warp(row_group) + 2;' $stacks
broken "a part of a row group taken for closed" $experts \
  'if (whole && first == end)' 'if (first == end)' $stacks
broken "a warp's last sum taken for its first" $experts 'w == end && ends' 'w == end' $stacks
broken "rows of what is no expert left as they are" $experts \
  'store_y(args, seg, row, assignment(args, i), 0)' '' $stacks
broken "a block's next unit as if it were its first" $experts \
  'block * over.share + min(block, over.extra)' 'block * over.share' $stacks
broken "the units of a piece from its tile's beginning" $experts \
  'return {p.units, p.begin, units' 'return {p.units, 0, units' $halves
broken "a whole row group of one part taken for all" $experts \
  'if (c.parts > 1) {' 'if (false) {' $halves
route="nuq-4 --family route"
broken "an assignment's rank off by one" templates/route.cu.in 'l < lane' 'l <= lane' $route
broken "chunks before that do not count" templates/route.cu.in 'before += own;' '' $route
broken "a tile that is not full left out" templates/route.cu.in \
  '(count + TILE - 1) / TILE' 'count / TILE' $route
broken "an id that is no expert taken for one" templates/route.cu.in \
  'min((unsigned)args.ids[a], EXPERTS)' '(unsigned)args.ids[a] % EXPERTS' $route
broken "a tile beyond its expert" templates/route.cu.in 'min(TILE, end - at)' 'TILE' $route
broken "experts from 32 on begun anew" templates/route.cu.in 'first += counts;' '' $route
broken "places read before they are there" templates/route.cu.in \
  $'add_buckets(args, counts, lane);\n  __syncthreads();' 'add_buckets(args, counts, lane);' $route
broken "a row of an id below 0" templates/gather.cu.in \
  'row >= ROWS' '(int)row >= (int)ROWS' $chained $gather
broken "a row of Y left as it was" templates/gather.cu.in \
  'out[c] = make_uint4(0, 0, 0, 0)' ';' $chained $gather
broken "rows of Y of the ids of others" templates/gather.cu.in \
  't * K' 'blockIdx.x * K' $chained $gather
broken "signs of a gathered row left out" templates/gather.cu.in \
  'out[c] = rot_store8(scratch, args.signs, c)' 'out[c] = rot_store8(scratch, 0, c)' $chained \
  $gather
broken "a row decoded over the one being stored" templates/gather.cu.in \
  $'    }\n    __syncthreads();' '    }' $chained $gather
broken "a stream's end that is not its beginning" templates/weight.cuh.in \
  '(first / 32 + 1) % words' 'first / 32' $chained $gather
broken "signs of a base order one row off" templates/rotation.cuh.in \
  'low << (31 - r % 32)' 'low << (30 - r % 32)' tcq-2 $rotate
broken "the order of columns" templates/rotation.cuh.in \
  'order[i / 2] >> (16 * (i & 1))' 'order[i / 2] >> (16 * (~i & 1))' tcq-2 $rotate --few
broken "the scales of columns" templates/rotation.cuh.in \
  'float_of_half(scale[i / 2]' 'float_of_half(order[i / 2]' tcq-2 $rotate --few
broken "a rotation's sign word" templates/rows.cuh.in \
  'signs + chunk / 4' 'signs + chunk / 8' tcq-2 $rotate
broken "a rotation's next row" templates/rotate.cu.in \
  'args.x + n * args.x_stride' 'args.x + blockIdx.x * args.x_stride' tcq-2 $rotate
broken "h of the row before" templates/rotate_norm.cuh.in \
  'sum ? sum + n * K : 0' 'sum ? sum : 0' tcq-2 $norm
broken "h that is not written back" templates/rotate_norm.cuh.in \
  'if (row.own) ((uint4 *)row.sum)[chunk] = h;' '' tcq-2 $norm
broken "an eps that is left out" templates/rotate_norm.cuh.in '+ eps);' ');' tcq-2 $norm
broken "a norm's sums read before they are there" templates/rotate_norm.cuh.in \
  $'] = squares;\n  __syncthreads();' '] = squares;' tcq-2 $norm
broken "a norm's sums overwritten before they are read" templates/rotate_norm.cuh.in \
  $'  __syncthreads();  // the sums before have been read\n' '' tcq-2 $norm
broken "an offset left out where the norm's weight is" templates/rotate_norm.cuh.in \
  '? (offset + w[i])' '? w[i]' tcq-2 $norm
broken "a gate whose rows lie close" templates/rotate_glu.cu.in \
  'n * args.gate_stride' 'n * K' tcq-2 $glu
broken "the gate's activation of up" templates/rotate_glu.cuh.in \
  'activation(v[i]) * (up[i] + more)' 'activation(up[i]) * v[i]' tcq-2 $glu
broken "the gelu of a negative" templates/activation.cuh.in \
  'x < 0 ? half_erfc : 1 - half_erfc' '1 - half_erfc' tcq-2 $glu
broken "a gelu by tanh without its cube" templates/activation.cuh.in \
  '0.035677408136300125f * x * x' '0' tcq-2 $glu
broken "a gelu in the place of that by tanh" templates/activation.cuh.in \
  'activation == 1 ? gelu_tanh' 'activation == 1 ? gelu' fine-3 tcq-1.75 $pairs
broken "a pair's activation of up" $gemm \
  'const float u = sum_in_order(args, c, up, n, lane), g' \
  'const float g = sum_in_order(args, c, up, n, lane), u' fine-3 tcq-1.75 $pairs
broken "a pair's gate in bf16" $gemm \
  'row, g),' 'row, __uint_as_float(__float_as_uint(g) + 0x8000 & 0xffff0000)),' fine-3 $pairs
broken "the 1 that is added to an up left out" templates/activation.cuh.in \
  'swish(gate) * (up + 1)' 'swish(gate) * up' fine-3 $pairs
broken "a pair finished without gate's last contributors" $gemm \
  'contributors_of(c, up) + contributors_of(c, gate)' '2 * contributors_of(c, up)' fine-3 tcq-1.75 \
  $pairs
broken "a counter a row group where pairs have one" $gemm \
  'c.counter + pair, lane' 'c.counter + rg, lane' fine-3 tcq-1.75 $pairs
broken "rows of a tile of the factor in the wrong place" templates/rotation_tensor.cuh.in \
  'min(tile * TOP_ROWS' 'min(tile * 8' tcq-2 --family rotate_tensor
broken "padding below X that is not cleared" templates/rotation_tensor.cuh.in \
  'c < DEPTH * (TOP_REST / 8)' 'c < 0' tcq-2 --family rotate_tensor
broken "a tile whose X is that of the tile before" templates/rotation_tensor.cuh.in \
  '16 * d * TopX<PLANES>::STRIDE + 2 * j' '16 * d * TopX<PLANES>::STRIDE' tcq-2 \
  --family rotate_tensor
broken "what is left of a value in the wrong half" templates/rotation_tensor.cuh.in \
  'bf16_pair(rest_a, rest_b)' 'bf16_pair(rest_b, rest_a)' tcq-2 --family rotate_norm_tensor
broken "an input overwritten that other blocks read" templates/rotate_glu_tensor.cu.in \
  'args.y == args.gate || args.y == args.up' 'false' tcq-2 --family rotate_glu_tensor
broken "a row in its own place by several blocks" templates/rotate_tensor.cu.in \
  'args.x == args.y' 'false' tcq-2 --family rotate_tensor --op rotate \
  --shape 1x14336
broken "h written by every block" templates/rotate_norm_tensor.cu.in \
  'if (first) row.own = false;' 'if (!first) row.own = false;' tcq-2 --family rotate_norm_tensor
broken "sums that are overwritten before they are stored" templates/rotation_tensor.cuh.in \
  $'scale);\n    __syncthreads();' 'scale);' tcq-2 --family rotate_tensor
attend="tcq-2 --op attend" pick="tcq-2 --op pick"
broken "a window that sees one position more" templates/attend.cu.in \
  'last + 1 - args.window : 0' 'last - args.window : 0' $attend
broken "heads of a second pass over the first's" templates/attend.cu.in \
  'y[first * K + e] = ' 'y[e] = ' $attend
broken "warps' shares added as if of one largest score" templates/attend.cu.in \
  'all.total[w][h] * shrink' 'all.total[w][h]' $attend
broken "the last of equal logits" templates/pick.cu.in \
  'b.token < a.token' 'b.token > a.token' $pick
broken "a token given that is not known" templates/pick.cu.in \
  'next < args.known[n]' 'next <= args.known[n]' $pick
plain="tcq-2 --op plain"
broken "a norm's factor left out of the sums" templates/plain.cu.in 'mine * factor' 'mine' $plain
broken "a residual's rows taken for one" templates/plain.cu.in \
  'value_at(args.residual, at)' 'value_at(args.residual, output)' $plain
broken "outputs behind the last row of W" templates/plain.cu.in \
  'first + lane < args.outputs' 'true' $plain
combine="tcq-2 --op combine"
gated="--family experts_glu_tensor"
broken "a pair of row groups that is not waited for" templates/experts.cuh.in \
  'if (arrive(pair, lane) == 0) return;' 'arrive(pair, lane);' fine-3 int4-g128 $gated
broken "sums of gate over those of up" templates/experts.cuh.in \
  '2ull * (p.tile.first + n) + seg' '2ull * (p.tile.first + n)' fine-3 int4-g128 $gated
broken "rows of no expert that keep what was there" templates/experts.cuh.in \
  'seg < (GATED ? 1 : SEGMENTS)' 'seg < (GATED ? 0 : SEGMENTS)' fine-3 int4-g128 $gated
broken "a counter of a pair that is not reset" templates/experts.cuh.in \
  'if (lane == 0) *pair = 0;' '' fine-3 int4-g128 $gated
broken "counters of pairs among those of row groups" templates/experts.cuh.in \
  'args.counters + GATED_COUNTERS + ' 'args.counters + ' tcq-1.75 $gated
broken "a token's experts added in another order" templates/combine.cu.in \
  'unsigned k = 0; k < args.top_k; k++' 'unsigned k = args.top_k; k-- > 0;' $combine
broken "a router's weights of the token before" templates/combine.cu.in \
  'args.weight[t * args.top_k + k]' 'args.weight[(t ? t - 1 : 0) * args.top_k + k]' $combine
broken "an up that is not clamped from below" templates/activation.cuh.in \
  'up < -limit ? -limit : up' 'up' tcq-2 --op rotate-glu
broken "gpt-oss's up without its 1" templates/rotate_glu.cuh.in \
  'glu_apply8(v, u, swish, 1)' 'glu_apply8(v, u, swish)' tcq-2 --op rotate-glu
broken "fp16 sums that subtract" templates/prelude.cuh.in \
  'add.rn.f16x2' 'sub.rn.f16x2' $planes $tensor
broken "a sign from the wrong bit of the hash" lua/quantizers/tcq.lua \
  'h >> 15 & 1' 'h >> 14 & 1' tcq-1.75 --op combine --few
broken "a constant of a computed code" lua/quantizers/trellis1.lua \
  '34038481' '34038483' 1mad-1 --op combine --few

# Codes that are searched by a kernel: codewords of rows.
broken "another row's codewords" templates/encode_codes.cu.in \
  'table + row * CODES * DIM' 'table' anyprec-3 --op encode
# Paths of a trellis: in 16 bits, with choices found again on the way back.  They take half as long
# in the simulator when they are optimised.
optimises_little=${QPAL_NVRTC:-}
unset QPAL_NVRTC
path="lin-3.5 --op encode" paths=templates/encode_trellis.cu.in steps=templates/trellis.cuh.in
broken "sums that are not made again from those before a segment" $paths \
  'again ? end - 1 : end' 'again ? point : end' $path
broken "the other sequence of a pair on the way back" $steps \
  'PAIRS + p.q], b.half), lowest)' 'PAIRS + p.q], 0), lowest)' $path
broken "the numbers of another row's windows" $steps \
  'number += ROWS * WINDOWS' 'number += 0' $path
broken "the seam of a pair's first sequence for both" $paths \
  'g == s.seam[2 * p.q + 1]' 'g == s.seam[2 * p.q]' $path
[ -z "$optimises_little" ] || export QPAL_NVRTC=$optimises_little
# Group fields that are searched by a kernel: on a grid, all of few, by least squares.
grid=nvfp4 few=mxfp4 fit=nf3-g64 unit=iq4_xs fields=templates/fields.cuh.in
broken "a step up left out of a grid's descent" templates/field_grid.h \
  '(f == g && i % 4 > 1)' '(f == g && i % 4 > 0)' $grid --op encode
broken "a field moved beyond its last value" templates/field_grid.h \
  'p->at[f] + by >= grid_count' 'p->at[f] + by > grid_count' $grid --op encode
broken "a group beyond what sums hold, at another scale" $fields \
  'best.at[f] = count_of(f) - 1' 'best.at[f] = 0' $grid --op encode
broken "the last of equal scales for a group of zeros" templates/field_fit.h \
  '    if (now.error < best->error) *best = now;' \
  '    if (now.error <= best->error) *best = now;' $few --op encode
broken "the last of equal codes" $fields 'if (d < least)' 'if (d <= least)' $few --op encode
broken "the least step of a field that groups share" templates/field_unit.h \
  'by; by /= 2' 'by > 1; by /= 2' $unit --op encode
broken "groups that count alike for the scale that they share" templates/shape_fit.h \
  'sum += b->square * miss' 'sum += miss' ccq-2 --op encode
broken "a scale rounded down, not to the nearest" templates/field_fit.h \
  'below <= fit_number(f, field, high) - number ? low : high' 'low' $fit --op encode
broken "a zero added, not taken off" $fields \
  'return {x.a - y.a, x.b - y.b}' 'return {x.a - y.a, x.b + y.b}' int8-g128 --op encode
broken "a row's last group as if it were whole" templates/encode_fields.cu.in \
  'K - column < GROUP ? K - column : GROUP' 'GROUP' $fit --op encode
broken "a start that is drawn where a known one should be" templates/field_sums.cuh.in \
  'i - SUMS_BEST, now.field' 'i, now.field' bcq-2 --op encode

# Of chains of dependent launches: not a row of the default check, but of `qpal check --chains`.
sed -i '/griddepcontrol.wait/d' "$work/home/$gemm"
if [[ "a wait left out $gemm" == *$only* ]]; then
  if QPAL_HOME=$work/home "$qpal" check nuq-4 --chains --device sim >"$work/out" 2>"$work/log"; then
    fault "a wait for the launch before left out"
  else
    echo "ok   a wait for the launch before left out is seen"
    seen=$((seen + 1))
  fi
fi

[ $failures -eq 0 ] && echo "all $seen were seen" || echo "$failures were not seen"
exit $((failures > 0))
