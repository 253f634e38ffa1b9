/* SPDX-License-Identifier: MIT */
/* The row of encode that finds codes of trellises by Viterbi's algorithm, pairs of sequences in
   16-bit sums. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "runtime/arch.h"
#include "runtime/half.h"
#include "gen/encode/book_fit.h"
#include "gen/encode/coder.h"
#include "gen/encode/path_table.h"
#include "gen/encode/trellis.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/op_encode.h"

enum {
  WARP = QP_ENCODE_WARP,
  MOST_PAIRS = WARP,
  LEAST_PAIRS = 2,          /* whose metrics have to fit, or states have no numbers */
  GOOD_EACH = 8,            /* least sums that a thread should hold, */
  MOST_EACH = 16,           /* and may hold, */
  MOST_EACH_DIRECT = 8,     /* and where it computes metrics, too */
  LEAST_ROWS = 16,          /* of a warp's part of a set's */
  TOLD_BYTES = 16,          /* of a pair's groups, behind and before a segment */
  WORKSPACE_BYTES = 1 << 30 /* most workspace, however long the rows are */
};

static qp_status check(const qp_problem *p, const char *family, qp_error *err) {
  return qp_encode_check(p, family, true, err);
}

/* ---- Sizes of a trellis ---- */

/* Groups, of how many sets, each followed by so many codes. */
typedef struct shape {
  unsigned groups, sets, codes;
} shape;

static shape shape_of(const qp_quantizer *q) {
  const unsigned groups = 1u << (q->window - q->step), fan = 1u << q->step;
  const unsigned sets = groups > fan ? groups / fan : 1;
  return (shape){groups, sets, groups / sets};
}

/* The steps of a sequence, and those of the seam's search on each side. */
typedef struct steps {
  unsigned all, around;
} steps;

static qp_status steps_of(const qp_kernel *k, steps *out, qp_stream *stream, qp_error *err) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  const qp_status status =
      qp_layout_stream(q, k->problem.segment[0].rows, k->problem.columns, stream, err);
  if (status) return status;
  out->all = stream->superblocks * stream->period.steps;
  out->around = qp_trellis_seam(q->window, q->step, out->all);
  return QP_OK;
}

static unsigned most_steps(const steps *s) {
  return s->all > 2 * s->around ? s->all : 2 * s->around;
}

static steps steps_known(const qp_kernel *k) { /* after the kernel was sized nothing can fail */
  qp_stream stream;
  steps s = {0};
  steps_of(k, &s, &stream, NULL);
  return s;
}

static unsigned min_of(unsigned a, unsigned b) { return a < b ? a : b; }

/* How a warp's lanes share sets: so many have codes of one set, 'each' of them, and a warp one of
   'parts' of the rows. */
typedef struct split {
  unsigned beside, each, parts;
} split;

/* As many codes a thread as it holds, for a sum and numbers are read for all of them; of one set as
   many lanes as codes are left for, which meet different banks. Where warps would have nothing to
   do several share the rows, or a thread has fewer codes. */
static split split_of(const qp_kernel *k, unsigned pairs) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  const shape s = shape_of(q);
  const unsigned room = k->path_span > 1 ? k->path_span : s.codes, lanes = WARP / pairs;
  const unsigned most = k->path_entries ? MOST_EACH : MOST_EACH_DIRECT, warps = k->block / WARP;
  const unsigned most_parts = ((1u << q->step) + LEAST_ROWS - 1) / LEAST_ROWS;
  split v = {.each = min_of(room, GOOD_EACH), .parts = 1};
  v.beside = min_of(room / v.each, lanes);
  v.each = min_of(room / v.beside, most);
  for (;; v.each /= 2) {
    const unsigned together = lanes / v.beside, wholes = (s.sets + together - 1) / together;
    const unsigned tasks = s.codes / (v.beside * v.each) * wholes;
    while (v.parts < most_parts && v.parts * tasks < warps) v.parts *= 2;
    if (v.each == 1 || v.parts * tasks >= warps) return v;
    v.parts = 1;
    if (2 * v.beside <= lanes) v.beside *= 2;
  }
}

/* Of both kernels. */
#define SEARCH_CONSTANTS(X)                                                                        \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, DIM, q->dim, "weights a code")                                                       \
  X(UNSIGNED, WINDOW, q->window, "bits of a state")                                                \
  X(UNSIGNED, STEP, q->step, "bits of a code")                                                     \
  X(UNSIGNED, PAIRS, pairs, "of sequences that a block has in flight")                             \
  X(UNSIGNED, BESIDE, split_of(k, pairs).beside, "lanes of a pair that have groups of one set")    \
  X(UNSIGNED, EACH, split_of(k, pairs).each, "groups of a set that a thread has")                  \
  X(UNSIGNED, PARTS, split_of(k, pairs).parts, "of a set's rows, which warps share")               \
  X(UNSIGNED, ENTRIES, k->path_entries, "different values of the table; 0: each state's is there") \
  X(UNSIGNED, SPAN, k->path_span, "codes whose entries follow each other")                         \
  X(UNSIGNED, LEVELS, k->path_levels, "different values of weight HELD; 0: it is there itself")    \
  X(UNSIGNED, HELD, k->path_held, "a weight of states without entries")                            \
  X(UNSIGNED, STEPS, s.all, "of a sequence")

#define TRELLIS_CONSTANTS(X)                                                                       \
  SEARCH_CONSTANTS(X)                                                                              \
  X(UNSIGNED, AROUND, s.around, "on each side of the seam, to find where the circle closes")       \
  X(UNSIGNED, SEGMENT, k->path_segment, "steps whose sums the workspace holds together")           \
  X(UNSIGNED, BEHIND, k->path_behind, "steps later its codes are told; 0: at the end of all")

static const qp_named trellis_constant[] = {TRELLIS_CONSTANTS(QP_NAMED)};

static void trellis_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  const unsigned pairs = qp_choice_get(&k->choice, "pairs");
  const steps s = steps_known(k);
  TRELLIS_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use trellis_tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"pairs", 0, MOST_PAIRS, 0, true, "pairs of sequences a block has in flight; 0: C chooses"},
    {"keep", 0, 65535, 0, false, "steps whose sums are kept together; 0: as many as fit"},
};

/* ---- Sizing ---- */

/* Find how many different values states have, and what follows what; of the linear's codebooks,
   which others will take the place of, nothing is known. */
static qp_status find_entries(qp_kernel *k, size_t most, qp_error *err) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  const size_t n = (size_t)q->dim << q->window;
  k->path_entries = 0;
  k->path_span = 1;
  k->path_levels = k->path_held = 0;
  if (qp_has_tensor_books(q)) return QP_OK;
  uint16_t *halves = malloc(sizeof *halves * n);
  float *values = malloc(sizeof *values * n);
  qp_path_table t = {0};
  qp_status status = halves && values ? qp_quantizer_table(q, NULL, NULL, halves, err)
                                      : qp_fail(err, QP_E_NOMEM, "no memory for a table");
  for (size_t i = 0; !status && i < n; i++) values[i] = qp_half_to_float(halves[i]);
  qp_metric metric = {0};
  if (!status) metric = qp_metric_choose(q->step, q->dim, n / q->dim, values);
  const qp_code_rows_of of = {
      .window = q->window, .step = q->step, .dim = q->dim, .metric = &metric, .value = values};
  if (!status) status = qp_path_table_make(&t, &of, most, err);
  if (!status) status = qp_path_table_hold(&t, most, err);
  k->path_entries = t.entries;
  k->path_span = t.entries ? t.span : 1;
  k->path_levels = t.levels;
  k->path_held = t.held;
  qp_path_table_free(&t);
  free(halves);
  free(values);
  return status;
}

/* Bytes of shared memory as the template's struct Shared has them. */
static unsigned shared_bytes(const qp_kernel *k, unsigned pairs) {
  const unsigned warps = k->block / WARP, parts = split_of(k, pairs).parts;
  const unsigned entries = k->path_entries ? k->path_entries : k->path_levels ? k->path_levels : 1;
  const unsigned sums = parts > 1 ? parts * shape_of(qp_encode_quantizer(k)).groups : 0;
  return 4 * pairs * (entries + sums + 1 + 2 * warps + 4);
}

static bool fits(const qp_kernel *k, unsigned pairs) {
  return shared_bytes(k, pairs) <= qp_arch_smem_bytes(k->problem.arch);
}

/*
** What a step of a block takes, in what the arithmetic of a pair does. Beside it there are barriers
** and latencies; and where each state has a number, or values, which all pairs share, reading these
** from the second-level cache, 4 or 4 dim bytes at about 24 bytes a cycle and multiprocessor, takes
** as long as the arithmetic of a few pairs does.
*/
static unsigned step_cost(const qp_kernel *k, unsigned pairs) {
  enum { READ_NUMBERS = 5, READ_VALUES = 2 }; /* pairs */
  const unsigned least = !k->path_entries ? READ_VALUES : k->path_span == 1 ? READ_NUMBERS : 1;
  return 1 + (pairs < least ? least : pairs);
}

/* How many blocks have how many pairs, and steps whose sums are kept together; 0: none can be. */
typedef struct placing {
  unsigned pairs, grid, segment, behind;
  size_t bytes; /* of all blocks */
  double cost;
} placing;

/* Segments, each with the steps where it begins. */
static unsigned points_of(const steps *s, unsigned segment) {
  const unsigned shift = (segment - s->all % segment) % segment;
  return (most_steps(s) + shift) / segment + 1;
}

/* Steps whose sums are kept: those that begin a segment, a segment's, and 'behind' more. */
static unsigned slots_of(const steps *s, unsigned segment, unsigned behind) {
  return points_of(s, segment) + segment + behind;
}

/* The most steps that can be kept together, or as asked; 0: 'slots' are too few. */
static unsigned segment_of(const steps *s, unsigned asked, unsigned behind, size_t slots) {
  if (asked) return slots_of(s, asked, behind) <= slots ? asked : 0;
  unsigned n = most_steps(s);
  while (n && slots_of(s, n, behind) > slots) n--;
  return n;
}

/*
** So many steps later, in those that a state remembers, the path from the least sum is that of all
** steps: for 2^16 random states in two dimensions and 6 to 10 bits a step they had met at most 42
** times what a state remembers before, at each of thousands of positions; for 3 and 4 bits one in a
** hundred, and a few in a thousand, had not behind 56.
*/
enum { BEHIND_MEMORIES = 56 };

static unsigned steps_behind(const qp_quantizer *q, unsigned asked) {
  const unsigned wanted = BEHIND_MEMORIES * ((q->window + q->step - 1) / q->step);
  return asked && asked / 2 < wanted ? asked / 2 : wanted;
}

/* As many blocks as multiprocessors, or as have room for what they keep. */
static placing place(const qp_kernel *k, unsigned pairs, unsigned sequences, const steps *s,
                     unsigned behind) {
  const size_t slot = 4 * ((size_t)shape_of(qp_encode_quantizer(k)).groups + 2) * pairs;
  const unsigned keep = qp_choice_get(&k->choice, "keep");
  const unsigned blocks = (sequences + 2 * pairs - 1) / (2 * pairs);
  placing v = {.pairs = pairs, .grid = min_of(blocks, k->problem.sm_count), .behind = behind};
  assert(v.grid > 0); /* of an architecture without a number of them it is asked for */
  const size_t told = (size_t)TOLD_BYTES * pairs * most_steps(s);
  for (; v.grid && !v.segment; v.grid -= !v.segment) {
    const size_t each = WORKSPACE_BYTES / v.grid;
    v.segment = each > told ? segment_of(s, keep, behind, (each - told) / slot) : 0;
  }
  if (!v.segment) return (placing){.cost = HUGE_VAL};
  const unsigned rounds = (blocks + v.grid - 1) / v.grid;
  const unsigned again = v.segment < s->all && !behind ? s->all - v.segment : 0;
  const double back = s->all * (1 + (double)behind / v.segment);
  v.bytes = (slots_of(s, v.segment, behind) * slot +
             points_of(s, v.segment) * TOLD_BYTES * (size_t)pairs) *
            v.grid;
  v.cost = (double)rounds * (step_cost(k, pairs) * (s->all + again) + back);
  return v;
}

/* The better of telling codes soon and of making the sums of segments again; all steps at once need
   neither. */
static placing place_best(const qp_kernel *k, unsigned pairs, unsigned sequences, const steps *s) {
  const unsigned keep = qp_choice_get(&k->choice, "keep");
  const placing again = place(k, pairs, sequences, s, 0);
  const placing soon = place(k, pairs, sequences, s, steps_behind(qp_encode_quantizer(k), keep));
  if (again.segment >= s->all || !soon.segment) return again;
  return keep || soon.cost < again.cost ? soon : again;
}

/* The pairs that cost least, of equals the most. */
static placing choose_pairs(const qp_kernel *k, unsigned sequences, const steps *s) {
  const unsigned asked = qp_choice_get(&k->choice, "pairs");
  placing best = {.cost = HUGE_VAL};
  for (unsigned pairs = asked ? asked : MOST_PAIRS; pairs; pairs = asked ? 0 : pairs / 2) {
    const placing v = place_best(k, pairs, sequences, s);
    if (fits(k, pairs) && v.cost < best.cost) best = v;
  }
  return best;
}

static qp_status size_trellis(qp_kernel *k, qp_error *err) {
  const unsigned room = qp_arch_smem_bytes(k->problem.arch);
  const unsigned around = shared_bytes(k, LEAST_PAIRS);
  qp_stream stream;
  steps s;
  qp_status status = steps_of(k, &s, &stream, err);
  if (!status) status = find_entries(k, (room - around) / (4 * LEAST_PAIRS), err);
  if (status) return status;
  const placing v = choose_pairs(k, stream.row_groups * WARP, &s);
  if (!v.pairs)
    return qp_fail(err, QP_E_LIMIT,
                   "%s: sequences of %u steps need more than %u bytes of shared memory or %d MB of "
                   "workspace",
                   qp_encode_quantizer(k)->name, most_steps(&s), room, WORKSPACE_BYTES >> 20);
  k->grid = v.grid;
  k->path_segment = v.segment;
  k->path_behind = v.behind;
  k->workspace_bytes = v.bytes;
  k->smem_bytes = shared_bytes(k, v.pairs);
  qp_choice_put(&k->choice, "pairs", v.pairs);
  qp_choice_put(&k->choice, "keep", v.segment);
  return QP_OK;
}

const qp_kernel_op qp_op_encode_trellis = {
    .op = QP_OP_ENCODE,
    .form = "trellis",
    .help = "Viterbi's algorithm, sequences circular, pairs of them in 16-bit sums",
    QP_OP_LIST(tunable, trellis_tunable),
    QP_OP_LIST(constant, trellis_constant),
    .values = trellis_values,
    .check = check,
    .size = size_trellis,
    .hole = {QP_HOLES_OF_ALL},
};

/* ---- With error feedback ---- */

enum { FED_PAIRS = 4 /* of eight lanes that have a tile of columns */ };

static qp_status check_fed(const qp_problem *p, const char *family, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  const qp_status status = qp_encode_check(p, family, true, err);
  if (status) return status;
  if (!qp_coder_feeds_few(q))
    return qp_fail(err, QP_E_LIMIT,
                   "%s: errors of a trellis are fed forward by kernels where codes divide 16 "
                   "weights and those of 16 have a window's bits",
                   q->name);
  return QP_OK;
}

/* The seam's steps, and those of the longest run. */
static unsigned seam_of(const qp_kernel *k, const steps *s) {
  return min_of(qp_coder_reach_of(qp_encode_quantizer(k)).seam, s->all);
}
static unsigned run_of(const qp_kernel *k, const steps *s) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  const unsigned told = 4 * QP_CODER_TRELLIS_GRAIN / q->dim + qp_coder_reach_of(q).ahead;
  const unsigned seams = 2 * seam_of(k, s);
  return told > seams ? told : seams;
}

#define FED_CONSTANTS(X)                                                                           \
  SEARCH_CONSTANTS(X)                                                                              \
  X(UNSIGNED, K, k->problem.columns, "columns of the targets")                                     \
  X(UNSIGNED, AROUND, seam_of(k, &s), "on each side of the seam, to find where the circle closes") \
  X(UNSIGNED, AHEAD, qp_coder_reach_of(q).ahead, "steps that are looked at behind those coded")    \
  X(FLAG, APART, q->sparse > 0, "some weights of a row come to their targets")

static const qp_named fed_constant[] = {FED_CONSTANTS(QP_NAMED)};

static void fed_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  const unsigned pairs = qp_choice_get(&k->choice, "pairs");
  const steps s = steps_known(k);
  FED_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use fed_tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"pairs", 0, FED_PAIRS, 0, true, "pairs of sequences a block has in flight; 0: C chooses"},
};

/* Bytes of shared memory as the template's struct Shared has them. */
static unsigned fed_bytes(const qp_kernel *k, unsigned pairs, const steps *s) {
  const unsigned targets = 2 * pairs * run_of(k, s) * qp_encode_quantizer(k)->dim;
  return shared_bytes(k, pairs) + 4 * (4 * pairs + 2 * WARP + targets);
}

/* Bytes that a block keeps of a run, and how many blocks have room for it: one a group of rows, at
   most two a multiprocessor. */
static size_t fed_workspace(const qp_kernel *k, unsigned pairs, const steps *s) {
  return 4 * ((size_t)shape_of(qp_encode_quantizer(k)).groups + 2) * pairs * (run_of(k, s) + 1);
}
static unsigned fed_blocks(const qp_kernel *k, unsigned pairs, const steps *s, unsigned groups) {
  const size_t fit = WORKSPACE_BYTES / fed_workspace(k, pairs, s);
  const unsigned wanted = min_of(groups, 2 * k->problem.sm_count);
  return fit < wanted ? (unsigned)fit : wanted;
}

/* Fewer pairs where shared memory is too small, or where blocks would be too few for all
   multiprocessors. */
static unsigned fed_pairs(const qp_kernel *k, const steps *s, unsigned groups) {
  const unsigned room = qp_arch_smem_bytes(k->problem.arch);
  const unsigned asked = qp_choice_get(&k->choice, "pairs");
  const unsigned blocks = min_of(groups, k->problem.sm_count);
  unsigned pairs = asked ? asked : FED_PAIRS;
  while (!asked && pairs > 1 &&
         (fed_bytes(k, pairs, s) > room || fed_blocks(k, pairs, s, groups) < blocks))
    pairs /= 2;
  return pairs;
}

static qp_status size_fed(qp_kernel *k, qp_error *err) {
  const unsigned room = qp_arch_smem_bytes(k->problem.arch);
  qp_stream stream;
  steps s;
  qp_status status = steps_of(k, &s, &stream, err);
  if (!status) status = find_entries(k, room / 2 / 4, err);
  if (status) return status;
  const unsigned pairs = fed_pairs(k, &s, stream.row_groups);
  const size_t one = fed_workspace(k, pairs, &s);
  k->smem_bytes = fed_bytes(k, pairs, &s);
  k->grid = fed_blocks(k, pairs, &s, stream.row_groups);
  k->workspace_bytes = k->grid * one;
  if (k->smem_bytes > room || !k->grid)
    return qp_fail(err, QP_E_LIMIT,
                   "%s: %u pairs of sequences need %u bytes of shared memory, of which there are "
                   "%u, and %zu MB of workspace, of which %d may be",
                   qp_encode_quantizer(k)->name, pairs, k->smem_bytes, room, one >> 20,
                   WORKSPACE_BYTES >> 20);
  qp_choice_put(&k->choice, "pairs", pairs);
  return QP_OK;
}

const qp_kernel_op qp_op_encode_fed = {
    .op = QP_OP_ENCODE_FED,
    .form = "trellis",
    .help = "eight columns after eight by Viterbi's algorithm, their errors fed forward",
    QP_OP_LIST(tunable, fed_tunable),
    QP_OP_LIST(constant, fed_constant),
    .values = fed_values,
    .check = check_fed,
    .size = size_fed,
    .hole = {QP_HOLES_OF_ALL},
};
