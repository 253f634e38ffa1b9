/* SPDX-License-Identifier: MIT */
#include "tuner/check/bound.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/inspect/hot_path.h"
#include "runtime/arch.h"

enum { LANES = 32, QUARTERS = 4, TRIALS = 2048, BLOCK_PRODUCTS = 8 };

/* ---- Shared memory ---- */

/* Passes of one load: 4-byte ones of all lanes at once, longer ones of a half or quarter warp each;
   in a pass no bank gives two different words (runtime/sim/access.c counts the same way). */
static unsigned passes_of(const qp_table *t, const unsigned *index) {
  const unsigned width = LANES / t->words;
  unsigned passes = 0;
  for (unsigned part = 0; part < t->words; part++) {
    unsigned word[LANES][LANES], used[LANES] = {0}, most = 1;
    for (unsigned i = 0; i < width; i++) {
      const unsigned lane = part * width + i;
      const unsigned first = index[lane] * (t->stride / 4) + lane % t->copies * t->words;
      for (unsigned w = first; w < first + t->words; w++) {
        unsigned k = 0, bank = w % LANES;
        while (k < used[bank] && word[bank][k] != w) k++;
        if (k == used[bank]) word[bank][used[bank]++] = w;
        if (used[bank] > most) most = used[bank];
      }
    }
    passes += most;
  }
  return passes;
}

double qp_bound_passes(const qp_table *t) {
  qp_random random = {.state = 1};
  double sum = 0;
  for (unsigned n = 0; n < TRIALS; n++) {
    unsigned index[LANES];
    for (unsigned l = 0; l < LANES; l++)
      index[l] = (unsigned)(qp_random_next(&random) % t->entries);
    sum += passes_of(t, index);
  }
  return sum / TRIALS;
}

/* Passes beyond the fewest possible, of one step of a decode. */
static double conflicts_of_step(const qp_lowered *l) {
  double sum = 0;
  for (unsigned i = 0; i < l->main->count; i++) {
    const qp_ir_node *n = &l->main->node[i];
    if (!qp_ir_has(l->main, i, QP_IR_LOADS)) continue;
    bool first = true; /* the words of an entry are one load */
    for (unsigned j = 0; j < i && first; j++) {
      const qp_ir_node *m = &l->main->node[j];
      first = !qp_ir_has(l->main, j, QP_IR_LOADS) || m->imm != n->imm || m->arg[0] != n->arg[0];
    }
    const qp_table *t = &l->table[n->imm];
    if (first) sum += qp_bound_passes(t) - t->words;
  }
  return sum;
}

/* ---- One decode's loop ---- */

/* What one way around the hot loop of a decode does. */
typedef struct loop {
  unsigned words, products;
  double pairs; /* of weights, a lane */
} loop;

static loop loop_of(const qp_kernel *k, const qp_period *period) {
  const qp_family *f = k->choice.family;
  const unsigned superblocks = k->runs * qp_choice_get(&k->choice, "stages");
  const unsigned blocks = superblocks * period->blocks;
  const unsigned tiles = (k->x_batch + f->x_tile - 1) / f->x_tile;
  return (loop){.words = superblocks * period->words_read,
                .products = f->needs & QP_ARCH_MMA_K16 ? blocks * BLOCK_PRODUCTS * tiles : 0,
                .pairs = (double)blocks * QP_BLOCK_PAIRS};
}

/* Add to *out what 'pairs' pairs cost that are decoded by 'lowered'; cycles[] by pipe, then
   issue. */
static qp_status add_loop(const qp_kernel *k, const qp_compiled *c, unsigned lowered, double pairs,
                          qp_bound *out, double *cycles, qp_error *err) {
  const qp_lowered *l = &k->lowered[lowered];
  const qp_rates *rates = qp_rates_of(k->problem.arch);
  qp_period period;
  qp_hot_path p;
  qp_status status = qp_layout_period(l->quantizer, &period, err);
  if (status) return status;
  const loop at = loop_of(k, &period);
  status = qp_hot_path_of_cubin(c->cubin, c->cubin_bytes, k->name, at.words, at.products, &p, err);
  if (status) return status;
  const double conflicts = at.pairs * conflicts_of_step(l) / l->pairs;
  const double share = pairs / at.pairs;
  out->instructions += share * p.instructions;
  out->lds_passes += share * (p.lds_passes + conflicts);
  for (unsigned u = 0; u < QP_UNIT_COUNT; u++) {
    const qp_pipe pipe = qp_unit_pipe((qp_sm_unit)u);
    const double times = u == QP_UNIT_lds   ? p.lds_passes + conflicts
                         : u == QP_UNIT_ldg ? fmax(p.words, p.count[u])
                                            : p.count[u];
    out->pipe[pipe] += share * p.count[u];
    cycles[pipe] += share * times * rates->cycles[u];
  }
  cycles[QP_PIPE_COUNT] += share * p.instructions;
  return QP_OK;
}

/* ---- The launch ---- */

static double bytes_of(const qp_kernel *k) {
  const qp_problem *p = &k->problem;
  double bytes = (double)p->columns * p->batch * qp_dtype_bytes(p->type);
  for (unsigned i = 0; i < k->streams; i++) {
    const qp_stream *s = &k->stream[i].stream;
    bytes += 4.0 * (double)s->code_words * s->period.words_read / s->period.words;
    for (unsigned f = 0; f < s->arrays; f++) bytes += (double)s->field_bytes[f];
  }
  for (unsigned s = 0; s < (qp_op_has_unit(p->op) ? 1 : p->segments); s++)
    bytes += (double)p->segment[s].rows * p->batch * qp_dtype_bytes(p->out_type);
  return bytes;
}

static void judge(const qp_kernel *k, const double *cycles, qp_bound *out) {
  const qp_rates *rates = qp_rates_of(k->problem.arch);
  const double warps = LANES * QUARTERS * (double)k->problem.sm_count * rates->clock_ghz * 1e3;
  out->memory_us = bytes_of(k) / (rates->read_gbs * 1e3);
  out->issue_us = cycles[QP_PIPE_COUNT] / warps;
  out->us = out->memory_us;
  out->binds = "memory";
  if (out->issue_us > out->us) out->us = out->issue_us, out->binds = "issue";
  for (unsigned p = 0; p < QP_PIPE_COUNT; p++) {
    out->pipe_us[p] = cycles[p] / warps;
    if (out->pipe_us[p] <= out->us) continue;
    out->us = out->pipe_us[p];
    out->binds = qp_pipe_name((qp_pipe)p);
  }
}

bool qp_bound_counts(qp_op op) {
  return qp_op_multiplies(op) || qp_op_multiplies_stacks(op);
}

qp_status qp_bound_count(const qp_kernel *k, const qp_compiled *c, qp_bound *out, qp_error *err) {
  double cycles[QP_PIPE_COUNT + 1] = {0}, all = 0;
  qp_bound b = {0};
  if (!qp_bound_counts(k->problem.op) || !k->lowereds)
    return qp_fail(err, QP_E_ARG, "%s: only gemms that decode with tables are counted", k->name);
  for (unsigned i = 0; i < k->lowereds; i++) {
    double pairs = 0;
    for (unsigned s = 0; s < k->streams; s++)
      if (k->stream[s].lowered == i)
        pairs += (double)k->stream[s].stream.rows * k->stream[s].stream.columns / 2;
    const qp_status status = add_loop(k, c, i, pairs, &b, cycles, err);
    if (status) return qp_fail_prefix(err, status, "%s", k->lowered[i].quantizer->name);
    all += pairs;
  }
  b.instructions /= all;
  b.lds_passes /= all;
  for (unsigned p = 0; p < QP_PIPE_COUNT; p++) b.pipe[p] /= all;
  judge(k, cycles, &b);
  *out = b;
  return QP_OK;
}
