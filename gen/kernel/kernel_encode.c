/* SPDX-License-Identifier: MIT */
/* The encode kernels: sizes, launch, source. */
#include <stdlib.h>

#include "gen/base/text.h"
#include "gen/compile/arch.h"
#include "gen/encode/trellis.h"
#include "gen/kernel/expand.h"
#include "gen/kernel/kernel.h"

enum { REGISTER_SUMS = 8 /* least sums and choices that a thread holds */ };

/* What the templates are told. */
typedef struct sizes {
  unsigned steps, around, kept; /* of a sequence; of the seam's search; whose choices are kept */
  unsigned sequences, each;     /* tunables, chosen */
} sizes;

static qp_status check_quantizer(const qp_kernel *k, bool trellis, qp_error *err) {
  const qp_quantizer *q = k->problem.segment[0].quantizer;
  if (k->problem.segments != 1)
    return qp_fail(err, QP_E_LIMIT, "encode takes one linear, not %u", k->problem.segments);
  if (q->kind == QP_SPLIT)
    return qp_fail(err, QP_E_LIMIT, "%s is a split; its parts are encoded one by one", q->name);
  bool rows = false;
  for (unsigned c = 0; c < q->codebooks; c++) rows |= q->codebook[c].scope == QP_SCOPE_ROW;
  if (q->fields || rows)
    return qp_fail(err, QP_E_LIMIT,
                   "%s has group fields or codebooks by row, which are fitted on the CPU", q->name);
  if (trellis != (q->kind == QP_TRELLIS))
    return qp_fail(err, QP_E_LIMIT, "family %s is for %s; %s is none", k->choice.family->name,
                   trellis ? "trellises" : "vector and scalar quantizers", q->name);
  if (q->window > QP_TRELLIS_WINDOW || q->dim > 8)
    return qp_fail(err, QP_E_LIMIT, "%s: window %u, dim %u; up to %d and 8 can be encoded", q->name,
                   q->window, q->dim, QP_TRELLIS_WINDOW);
  return QP_OK;
}

static unsigned shared_bytes(const qp_kernel *k, unsigned groups, unsigned sequences) {
  const unsigned parts = groups < k->block ? k->block : 1;
  const unsigned dim = k->problem.segment[0].quantizer->dim;
  return 4 * sequences * (groups + dim + 2 * (k->block / 32) + 1 + 2 * parts);
}

/* As many sequences as shared memory and registers hold. */
static qp_status size_trellis(qp_kernel *k, sizes *s, qp_error *err) {
  const qp_quantizer *q = k->problem.segment[0].quantizer;
  const unsigned groups = 1u << (q->window - q->step), room = qp_arch_smem_bytes(k->problem.arch);
  const unsigned each = groups > k->block ? groups / k->block : 1;
  s->sequences = qp_choice_get(&k->choice, "sequences");
  for (unsigned n = 8; !s->sequences && n; n /= 2)
    if ((n == 1 || each * n <= REGISTER_SUMS) && shared_bytes(k, groups, n) <= room)
      s->sequences = n;
  k->smem_bytes = shared_bytes(k, groups, s->sequences ? s->sequences : 1);
  if (k->smem_bytes > room || !s->sequences) {
    return qp_fail(err, QP_E_LIMIT,
                   "%s: the sums of %u groups take %u bytes of shared memory; sm_%u has %u",
                   q->name, groups, k->smem_bytes, k->problem.arch, room);
  }
  qp_choice_put(&k->choice, "sequences", s->sequences);
  qp_stream stream;
  qp_status st = qp_layout_stream(q, k->problem.segment[0].rows, k->problem.columns, &stream, err);
  if (st) return st;
  s->steps = stream.superblocks * stream.period.steps;
  s->around = s->steps < QP_TRELLIS_SEAM ? s->steps : QP_TRELLIS_SEAM;
  s->kept = s->steps > 2 * s->around ? s->steps : 2 * s->around;
  const unsigned blocks = (stream.row_groups * 32 + s->sequences - 1) / s->sequences;
  k->grid = blocks < k->problem.sm_count ? blocks : k->problem.sm_count;
  k->workspace_bytes = (size_t)k->grid * s->sequences * s->kept * groups * 2;
  return QP_OK;
}

static void add_constants(qp_text *t, const qp_kernel *k, const sizes *s, bool trellis) {
  const qp_quantizer *q = k->problem.segment[0].quantizer;
  qp_text_add(t, "constexpr unsigned THREADS = %u, DIM = %u;\n", k->block, q->dim);
  if (!trellis) {
    const unsigned bits = q->planes ? q->planes_read : q->window;
    qp_text_add(t, "constexpr unsigned CODES = %u, EACH = %u;\n", 1u << bits, s->each);
    return;
  }
  qp_text_add(t,
              "constexpr unsigned WINDOW = %u, STEP = %u, SEQUENCES = %u;\n"
              "constexpr unsigned STEPS = %u, AROUND = %u, KEPT_STEPS = %u;\n",
              q->window, q->step, s->sequences, s->steps, s->around, s->kept);
}

qp_status qp_kernel_encode(qp_kernel *k, qp_error *err) {
  const bool trellis = k->problem.segment[0].quantizer->kind == QP_TRELLIS;
  sizes s = {.each = qp_choice_get(&k->choice, "each")};
  qp_status st = check_quantizer(k, k->choice.family->path[0] == 't', err);
  k->grid = 2 * k->problem.sm_count;
  if (!st && trellis) st = size_trellis(k, &s, err);
  if (st) return st;
  qp_kernel_name(k);
  qp_text header = {0}, constants = {0};
  qp_kernel_header(&header, k);
  add_constants(&constants, k, &s, trellis);
  qp_hole holes[] = {{"header", header.s}, {"constants", constants.s}, {"name", k->name}};
  if (header.failed || constants.failed)
    st = qp_fail(err, QP_E_NOMEM, "no memory for the source");
  else
    st = qp_expand(k->choice.family->template_file, holes, 3, &k->source, err);
  qp_text_free(&header);
  qp_text_free(&constants);
  return st;
}
