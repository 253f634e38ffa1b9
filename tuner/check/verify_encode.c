/* SPDX-License-Identifier: MIT */
/* Compares an encode kernel with the CPU's encoder: codes and fields must be the same bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/coder.h"
#include "gen/encode/nested.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"
#include "runtime/sim/sim.h"
#include "tuner/quantize/device_search.h"
#include "tuner/check/verify_internal.h"

enum {
  BUFFERS = 5,
  GUARD = 256,
  SEQUENCES_SIMULATED = 3,
  TARGETS_SIMULATED = 700,
  STAGED_SIMULATED = 40, /* of codes in stages of more than 12 bits: what three blocks take */
  GROUPS_SIMULATED = 48,
  UNITS_SIMULATED = 3,
  TIED_WINDOW = 12 /* of which all states are soon looked through */
};
/* Three times what code takes that nothing optimised: */
enum {
  INSTRUCTIONS_A_WEIGHT = 64,
  INSTRUCTIONS_A_STEP = 32768,
  INSTRUCTIONS_A_GROUP = 1 << 24 /* of fields, of 256 weights */
};

/* One check: what the kernel gets, what the CPU makes of the same. */
typedef struct encode_check {
  qp_device *dev;
  const qp_kernel *k;
  qp_coder coder;
  /* Codes: each target is a sequence of one step; fields and codebooks by row: each row is one of
     its codes. */
  size_t sequences, steps;
  unsigned columns;
  size_t groups;   /* of a sequence with group fields, else 1; */
  unsigned fields; /* of a group, else 1 */
  float *target;   /* [sequences][steps][dim] */
  uint16_t *table; /* codebooks by row: what codes decode to, fp16 [sequences][states][dim] */
  uint32_t *code, *start; /* of the CPU: [sequences][steps], [sequences][groups][fields] */
  qp_devptr buffer[BUFFERS];
  unsigned buffers;
  qp_error *err;
} encode_check;

static qp_status add(encode_check *c, const void *data, size_t bytes, qp_devptr *out) {
  unsigned char guard[GUARD];
  memset(guard, 0xa5, sizeof guard);
  qp_status status = qp_device_alloc(c->dev, bytes + GUARD, out, c->err);
  if (status) return status;
  c->buffer[c->buffers++] = *out;
  status = qp_device_upload(c->dev, *out + bytes, guard, GUARD, c->err);
  if (status || !bytes) return status;
  return data ? qp_device_upload(c->dev, *out, data, bytes, c->err)
              : qp_device_fill(c->dev, *out, 0xff, bytes, c->err);
}

static qp_status encode_trellises(encode_check *c) {
  qp_search *search;
  qp_status status = qp_search_new(&c->coder.trellis, &search, c->err);
  if (status) return status;
  const unsigned most = qp_trellis_sequences(&c->coder.trellis), dim = c->coder.quantizer->dim;
  for (size_t n = 0; n < c->sequences; n += most) {
    const unsigned count = c->sequences - n < most ? (unsigned)(c->sequences - n) : most;
    const float *target[QP_TRELLIS_SEQUENCES] = {0};
    uint32_t *code[QP_TRELLIS_SEQUENCES];
    for (unsigned k = 0; k < count; k++) {
      target[k] = c->target + (n + k) * c->steps * dim;
      code[k] = c->code + (n + k) * c->steps;
    }
    qp_trellis_search(&c->coder.trellis, search, QP_ENDS_TIED, count, (unsigned)c->steps, 0, target,
                      c->start + n, NULL, code);
  }
  qp_search_free(search);
  return QP_OK;
}

/* Group 'group' of a row by the CPU's search. */
static qp_status encode_group(encode_check *c, qp_field_search *search, size_t row, size_t group,
                              float *values) {
  const size_t size = c->coder.quantizer->group, at = row * c->steps + group * size;
  const size_t left = c->steps - group * size;
  const unsigned n = (unsigned)(left < size ? left : size);
  qp_field_choice choice = {.value = NULL};
  const qp_status status = qp_field_search_run(search, n, c->target + at, &choice, c->err);
  if (!status) qp_field_choice_codes(&choice, n, c->target + at, c->code + at, values);
  memcpy(c->start + (row * c->groups + group) * c->fields, choice.field,
         sizeof *c->start * c->fields);
  qp_field_choice_free(&choice);
  return status;
}

/* A row's unit that begins in this column; fields of rows are stored once. */
static qp_status encode_unit(encode_check *c, qp_nested *nested, size_t row, unsigned from,
                             uint32_t (*raw)[QP_MAX_FIELDS], float *values) {
  const qp_quantizer *q = c->coder.quantizer;
  const unsigned unit = qp_nested_unit(q, c->columns), group = qp_nested_group(q);
  const unsigned left = c->columns - from, n = left < unit ? left : unit;
  const float *target = c->target + row * c->columns + from;
  qp_status status = qp_nested_choose(nested, n, target, raw, c->err);
  for (unsigned at = 0; at < n && !status; at += group) {
    const unsigned few = n - at < group ? n - at : group, g = at / group;
    const size_t nth = row * c->groups + (c->groups == 1 ? 0 : from / group + g);
    uint32_t *code = c->code + row * c->steps + (from + at) / q->dim;
    memcpy(c->start + nth * c->fields, raw[g], sizeof *c->start * c->fields);
    status = qp_nested_codes(nested, raw[g], few, target + at, code, values, c->err);
  }
  return status;
}

static qp_status encode_nested(encode_check *c) {
  const qp_quantizer *q = c->coder.quantizer;
  const unsigned unit = qp_nested_unit(q, c->columns), group = qp_nested_group(q);
  qp_nested *nested = NULL;
  uint32_t(*raw)[QP_MAX_FIELDS] = malloc(sizeof *raw * (unit / group));
  float *values = malloc(sizeof *values * group);
  qp_status status = values && raw ? QP_OK : qp_fail(c->err, QP_E_NOMEM, "out of memory");
  if (!status) status = qp_nested_new(q, c->columns, &nested, c->err);
  for (size_t row = 0; row < c->sequences && !status; row++)
    for (unsigned at = 0; at < c->columns && !status; at += unit)
      status = encode_unit(c, nested, row, at, raw, values);
  qp_nested_free(nested);
  free(raw);
  free(values);
  return status;
}

static qp_status encode_fields(encode_check *c) {
  const qp_quantizer *q = c->coder.quantizer;
  qp_field_search *search = NULL;
  if (c->coder.kind == QP_CODER_NESTED) return encode_nested(c);
  float *values = malloc(sizeof *values * q->group);
  qp_status status = values ? QP_OK : qp_fail(c->err, QP_E_NOMEM, "out of memory");
  if (!status) status = qp_field_search_new(q, &search, c->err);
  for (size_t g = 0; g < c->sequences * c->groups && !status; g++)
    status = encode_group(c, search, g / c->groups, g % c->groups, values);
  qp_field_search_free(search);
  free(values);
  return status;
}

/* Rows whose codewords are the spec's times a number of the row's own. */
static qp_status encode_rows(encode_check *c) {
  const size_t dim = c->coder.quantizer->dim, each = c->coder.states * dim;
  float *value = malloc(sizeof *value * each);
  c->table = malloc(sizeof *c->table * each * c->sequences);
  qp_status status =
      value && c->table ? QP_OK : qp_fail(c->err, QP_E_NOMEM, "no memory for codewords");
  for (size_t row = 0; row < c->sequences && !status; row++) {
    qp_codewords words = {0};
    for (size_t i = 0; i < each; i++) {
      const uint16_t half = qp_float_to_half(c->coder.values[i] * (1 + (float)row / 8));
      c->table[row * each + i] = half;
      value[i] = qp_half_to_float(half);
    }
    status = qp_codewords_make(&words, c->coder.states, (unsigned)dim, value, c->err);
    if (!status)
      qp_codewords_nearest(&words, c->steps, c->target + row * c->steps * dim,
                           c->code + row * c->steps);
    qp_codewords_free(&words);
  }
  free(value);
  return status;
}

static qp_status encode_stages(encode_check *c) {
  float *scratch = malloc(sizeof *scratch * (qp_stages_scratch(&c->coder.stages) + 1));
  if (!scratch) return qp_fail(c->err, QP_E_NOMEM, "out of memory");
  qp_stages_search(&c->coder.stages, c->sequences, c->target, scratch, c->code);
  free(scratch);
  return QP_OK;
}

static qp_status encode_on_cpu(encode_check *c) {
  if (c->coder.kind == QP_CODER_ROWS) return encode_rows(c);
  if (qp_coder_has_fields(&c->coder)) return encode_fields(c);
  if (c->coder.kind == QP_CODER_TRELLIS) return encode_trellises(c);
  if (c->coder.stages.count) return encode_stages(c);
  qp_codewords_nearest(&c->coder.words, c->sequences, c->target, c->code);
  return QP_OK;
}

/*
** Groups unlike N(0,1), in turn: of zeros, tiny, huge, of one sign, with an outlier, of one value,
** beyond what sums of squares hold.  Every second one stays as it is.  Beside a huge one others say
** nothing of fields that they share: those come in every third row only, and of three one stays as
** it is.
*/
static void vary_groups(encode_check *c) {
  const size_t size = qp_nested_group(c->coder.quantizer), groups = (c->columns + size - 1) / size;
  const bool shared = qp_nested_unit(c->coder.quantizer, c->columns) > size;
  for (size_t g = 0; g < c->sequences * groups; g += 2) {
    const size_t row = g / groups, first = g % groups * size,
                 end = first + size < c->columns ? first + size : c->columns;
    const bool huge = g / 2 % 7 == 3 || g / 2 % 7 == 6;
    float *x = c->target + row * c->columns;
    if (shared && (row % 3 == 0 || (huge && row % 3 == 1))) continue;
    for (size_t i = first; i < end; i++) {
      switch (g / 2 % 7) {
      case 0: x[i] = i == first + 5 ? -20 * x[i] : x[i]; break;
      case 1: x[i] = 0; break;
      case 2: x[i] *= 0x1p-20f; break;
      case 3: x[i] *= 0x1p18f; break;
      case 4: x[i] = fabsf(x[i]); break;
      case 5: x[i] = x[first]; break;
      default: x[i] *= 0x1p66f;
      }
    }
  }
  for (size_t row = 1; shared && row < c->sequences; row += 3) {
    float *x = c->target + row * c->columns; /* two groups have the largest */
    x[0] = 100, x[size + 1] = -100;
  }
}

/* The value that is nearest to value a, but not it. */
static uint32_t neighbour(const qp_coder *c, uint32_t a) {
  uint32_t best = a;
  float least = INFINITY;
  for (uint32_t s = 0; s < c->states; s++) {
    const float x = c->values[2 * s] - c->values[2 * a];
    const float y = c->values[2 * s + 1] - c->values[2 * a + 1], d = x * x + y * y;
    if (d > 0 && d < least) least = d, best = s;
  }
  return best;
}

/*
** Targets about as far from one value as from the nearest other, where the first weight's square is
** between two whole numbers: which of the two is chosen hangs on how such squares are rounded.
*/
static void tie_targets(const qp_coder *c, size_t steps, float *target) {
  const qp_metric *m = &c->trellis.metric;
  const int tie = 128 >> m->doublings;
  for (uint32_t i = 0; i < steps; i++) {
    const uint32_t a = (i * UINT32_C(0x9e3779b1) >> 8) % c->states, b = neighbour(c, a);
    const int x = qp_metric_value(m, c->values[2 * a]),
              y = qp_metric_value(m, c->values[2 * a + 1]);
    const int dx = qp_metric_value(m, c->values[2 * b]) - x;
    const int dy = qp_metric_value(m, c->values[2 * b + 1]) - y;
    const int at = (dx / 2 / tie | 1) * tie;
    if (abs(dy) < 16) continue;
    const double further = ((double)dx * dx + (double)dy * dy - 2.0 * at * dx) / (2.0 * dy);
    target[2 * i] = (float)((x + at) / (double)m->scale);
    target[2 * i + 1] = (float)((y + rint(further)) / (double)m->scale);
  }
}

/* Sequences unlike N(0,1): of small trellises the first between values, the second with outliers,
   the third of zeros and of what is far out, so that many sums are equal, and some beyond what
   steps of 16 bits hold. */
static void vary_sequences(encode_check *c) {
  const size_t n = c->steps * c->coder.quantizer->dim;
  for (size_t i = 0; i < n && c->sequences > 1; i++)
    if (i % 16 == 3) c->target[n + i] *= 30;
  for (size_t i = 0; i < n && c->sequences > 2; i++) c->target[2 * n + i] *= i < n / 2 ? 0 : 8;
  if (c->coder.quantizer->dim == 2 && c->coder.quantizer->window <= TIED_WINDOW)
    tie_targets(&c->coder, c->steps, c->target);
}

/* So many rows that a simulated device has them soon; of a larger group several. */
static size_t rows_simulated(unsigned columns, const qp_quantizer *q) {
  const unsigned group = qp_nested_group(q), groups = (columns + group - 1) / group;
  const size_t rows = (GROUPS_SIMULATED + groups - 1) / groups;
  if (q->window > TIED_WINDOW) return 1;
  return qp_nested_unit(q, columns) > group && rows < UNITS_SIMULATED ? UNITS_SIMULATED : rows;
}

static bool has_large_stages(const encode_check *c) {
  for (unsigned k = 0; k < c->coder.stages.count; k++)
    if (c->coder.stages.stage[k].bits > TIED_WINDOW) return true;
  return false;
}

/* Choose how many sequences there are, and of what. */
static void choose_sizes(encode_check *c, const qp_stream *s) {
  const qp_quantizer *q = c->coder.quantizer;
  const bool trellis = c->coder.kind == QP_CODER_TRELLIS, few = c->dev->info.simulated;
  const size_t steps = (size_t)s->superblocks * s->period.steps, lanes = (size_t)s->row_groups * 32;
  size_t most = trellis               ? SEQUENCES_SIMULATED
                : has_large_stages(c) ? STAGED_SIMULATED
                                      : TARGETS_SIMULATED;
  c->steps = trellis ? steps : 1;
  c->sequences = trellis ? lanes : lanes * steps;
  c->groups = c->fields = 1;
  if (qp_coder_has_fields(&c->coder)) {
    c->steps = c->columns / q->dim;
    c->sequences = s->rows;
    c->groups = q->group ? (c->columns + q->group - 1) / q->group : 1;
    c->fields = q->fields;
    most = rows_simulated(c->columns, q);
  } else if (c->coder.kind == QP_CODER_ROWS) {
    c->steps = c->columns / q->dim;
    c->sequences = s->rows;
    most = (TARGETS_SIMULATED + c->steps - 1) / c->steps;
  }
  if (few && c->sequences > most) c->sequences = most;
}

static qp_status make_data(encode_check *c, uint64_t seed) {
  const qp_problem *p = &c->k->problem;
  const qp_quantizer *q = p->segment[0].quantizer;
  qp_stream s;
  qp_status status = qp_layout_stream(q, p->segment[0].rows, p->columns, &s, c->err);
  if (!status) status = qp_coder_make(&c->coder, q, c->err);
  if (status) return status;
  c->columns = p->columns;
  choose_sizes(c, &s);
  const size_t codes = c->sequences * c->steps;
  c->target = malloc(sizeof *c->target * codes * q->dim);
  c->code = malloc(sizeof *c->code * codes);
  c->start = calloc(c->sequences * c->groups * c->fields, sizeof *c->start);
  if (!c->target || !c->code || !c->start)
    return qp_fail(c->err, QP_E_NOMEM, "no memory for %zu codes", codes);
  qp_sample_gaussian(seed, codes * q->dim, c->target);
  if (qp_coder_has_fields(&c->coder)) vary_groups(c);
  if (c->coder.kind == QP_CODER_TRELLIS) vary_sequences(c);
  return encode_on_cpu(c);
}

/* Say how many instructions a thread may take before it counts as hung.  For each of its own
   targets it looks at every codeword; for each sequence of its block, in every step of the
   sequence, of the two runs around the seam and of the way back, at its part of the states; for
   each of its groups of fields at some hundred places, at every eighth weight. */
static uint64_t instructions_of(const encode_check *c) {
  if (qp_coder_has_fields(&c->coder)) {
    const unsigned group = qp_nested_group(c->coder.quantizer);
    const size_t each = qp_nested_unit(c->coder.quantizer, c->columns) / group;
    const size_t units = c->sequences * ((c->columns + each * group - 1) / (each * group));
    const size_t threads = (size_t)c->k->grid * c->k->block, own = each > 1 ? 32 : 8;
    return (units * own + threads - 1) / threads * each * INSTRUCTIONS_A_GROUP;
  }
  const qp_quantizer *q = c->coder.quantizer;
  const bool trellis = c->coder.kind == QP_CODER_TRELLIS;
  const uint64_t own =
      trellis ? 2 * qp_choice_get(&c->k->choice, "pairs") : qp_choice_get(&c->k->choice, "each");
  const bool rows = c->coder.kind == QP_CODER_ROWS; /* a block's threads have one row at a time */
  const uint64_t at_once = own * (rows ? 1 : c->k->grid) * (trellis ? 1 : c->k->block);
  const uint64_t all =
      rows ? (c->sequences + c->k->grid - 1) / c->k->grid * c->steps : c->sequences;
  const uint64_t rounds = (all + at_once - 1) / at_once + (rows ? c->sequences : 0);
  const uint64_t a_word = UINT64_C(1) * INSTRUCTIONS_A_WEIGHT * (q->dim + 1);
  const qp_stages *stages = &c->coder.stages;
  uint64_t words = UINT64_C(1) << q->window;
  if (stages->count) words = 0;
  for (unsigned k = 0; k < stages->count; k++)
    words += (UINT64_C(1) << stages->stage[k].bits) * QP_STAGE_SURVIVORS;
  if (!trellis) return rounds * own * (words * a_word + INSTRUCTIONS_A_STEP);
  const uint64_t a_step = (words / c->k->block + 1) * a_word + INSTRUCTIONS_A_STEP;
  return rounds * own * 4 * c->steps * a_step;
}

/* The simulator's limit holds for kernels whose work is small, and follows the work of others. */
static qp_status run(qp_device *dev, qp_function *function, const qp_launch *how, uint64_t needed,
                     qp_error *err) {
  qp_sim_switches before, switches;
  if (!dev->info.simulated) return qp_device_launch(dev, function, how, err);
  qp_status status = qp_sim_switches_get(dev, &before, err);
  if (status) return status;
  switches = before;
  if (switches.thread_limit < needed) switches.thread_limit = needed;
  status = qp_sim_switches_set(dev, &switches, err);
  if (!status) status = qp_device_launch(dev, function, how, err);
  const qp_status restored = qp_sim_switches_set(dev, &before, NULL);
  return status ? status : restored;
}

qp_status qp_verify_launch_search(qp_device *dev, const qp_kernel *k, const qp_compiled *compiled,
                                  qp_arguments *a, uint64_t needed, qp_error *err) {
  size_t bytes;
  const void *image = qp_compiled_image(compiled, dev->info.wants_ptx, &bytes);
  unsigned char params[QP_PARAMS_MAX];
  qp_module *module = NULL;
  qp_function *function = NULL;
  qp_status status = qp_device_load(dev, image, bytes, &module, err);
  if (!status) status = qp_device_function(dev, module, k->name, &function, err);
  const qp_launch how = {.grid = k->grid,
                         .block = k->block,
                         .smem_bytes = k->smem_bytes,
                         .params = params,
                         .params_bytes = qp_kernel_params(k, a, params)};
  if (!status) status = run(dev, function, &how, needed, err);
  if (!status) status = qp_device_sync(dev, err);
  if (module) qp_device_unload(dev, module);
  return status;
}

/* Words that the kernel wrote against the CPU's, [sequences][each], and what stands behind them. */
static qp_status compare(encode_check *c, qp_devptr at, const uint32_t *wanted, size_t each,
                         const char *what, qp_verdict *v) {
  const size_t words = c->sequences * each, bytes = 4 * words;
  unsigned char *got = malloc(bytes + GUARD);
  if (!got) return qp_fail(c->err, QP_E_NOMEM, "out of memory");
  qp_status status = qp_device_download(c->dev, got, at, bytes + GUARD, c->err);
  for (size_t i = 0; i < GUARD && !status; i++) {
    if (got[bytes + i] == 0xa5) continue;
    snprintf(v->why, sizeof v->why, "%ss: byte %zu behind their end was overwritten", what, i);
    status = QP_E_WRONG;
  }
  for (size_t i = 0; i < words && !status; i++) {
    uint32_t word;
    memcpy(&word, got + 4 * i, 4);
    if (word == wanted[i]) continue;
    snprintf(v->why, sizeof v->why, "sequence %zu, step %zu: %s %u, the CPU's is %u", i / each,
             i % each, what, word, wanted[i]);
    status = QP_E_WRONG;
  }
  free(got);
  v->compared += words;
  return status;
}

static qp_status compare_all(encode_check *c, const qp_arguments *a, qp_verdict *v) {
  v->compared = 0;
  qp_status status = QP_OK;
  if (qp_coder_has_fields(&c->coder))
    status = compare(c, a->start, c->start, c->groups * c->fields, "group field", v);
  return status ? status : compare(c, a->y, c->code, c->steps, "code", v);
}

static void release(encode_check *c) {
  for (unsigned i = 0; i < c->buffers; i++) qp_device_free(c->dev, c->buffer[i]);
  qp_coder_free(&c->coder);
  free(c->target);
  free(c->table);
  free(c->code);
  free(c->start);
}

/* What the kernel's table holds: the quantizer's, or those of rows. */
static qp_status add_table(encode_check *c, qp_devptr *out) {
  size_t bytes = sizeof *c->table * c->sequences * c->coder.states * c->coder.quantizer->dim;
  if (c->table) return add(c, c->table, bytes, out);
  void *table = qp_device_search_table(&c->coder, c->k, &bytes);
  const qp_status status =
      table ? add(c, table, bytes, out) : qp_fail(c->err, QP_E_NOMEM, "out of memory");
  free(table);
  return status;
}

qp_status qp_verify_encode(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                           uint64_t seed, qp_verdict *v, qp_error *err) {
  encode_check c = {.dev = dev, .k = kernel, .err = err};
  qp_arguments a = {0};
  qp_status status = make_data(&c, seed);
  const size_t targets = c.sequences * c.steps * kernel->problem.segment[0].quantizer->dim;
  void *whole = status ? NULL : qp_device_search_targets(&c.coder, targets, c.target);
  if (!status && !whole) status = qp_fail(err, QP_E_NOMEM, "out of memory");
  if (!status) status = add(&c, whole, 4 * targets, &a.x);
  if (!status) status = add_table(&c, &a.table);
  if (!status) status = add(&c, NULL, 4 * c.sequences * c.steps, &a.y);
  if (!status) status = add(&c, NULL, 4 * c.sequences * c.groups * c.fields, &a.start);
  if (!status) status = add(&c, NULL, kernel->workspace_bytes, &a.workspace);
  free(whole);
  a.rows = (unsigned)c.sequences;
  if (!status)
    status = qp_verify_launch_search(dev, kernel, compiled, &a, instructions_of(&c), err);
  if (!status) status = compare_all(&c, &a, v);
  release(&c);
  return status;
}
