/* SPDX-License-Identifier: MIT */
/* Which linears of a checkpoint are quantized how, and which file they go to. */
#include "tuner/quantize/job.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/model/source_codes.h"
#include "tuner/plan/parallel.h"
#include "tuner/plan/plan_file.h"
#include "tuner/quantize/companions.h"
#include "tuner/quantize/hessian.h"
#include "tuner/quantize/job_shards.h"

/* What is being made, with what was asked for. */
typedef struct making {
  const qp_job_wishes *w;
  const qp_model *model;
  qp_model rank; /* as one rank of the plan has it: its shapes are the plan's */
  qp_parallel_ways ways;
  qp_palette *palette;
  qp_plan plan;
  const qp_quantizer **planned; /* [plan.quantizers]; NULL: fp16 */
  bool *used;                   /* [plan.linears] */
  qp_job *j;
  qp_error *err;
} making;

/* ---- Linears ---- */

/* A tied head is the embedding's tensor, and goes by both names. */
static bool kept_by_wish(const qp_job_wishes *w, const char *name, bool head) {
  for (size_t i = 0; i < w->keeps; i++)
    if (strstr(name, w->keep[i]) || (head && strstr("lm_head", w->keep[i]))) return true;
  return false;
}

/* Is this a plan's number of rows for so many: of a vocabulary padded to what kernels take? */
static bool has_rows(unsigned planned, unsigned rows) {
  return planned == rows || planned == qp_layout_padded_rows(rows);
}

/* The quantizer of the palette that decodes a packed tensor's codes as the source does; NULL where
   there is none, and why. */
static const qp_quantizer *find_alike(qp_palette *palette, const qp_source_tensor *t,
                                      char why[512]) {
  char name[64], reason[256];
  const qp_quantizer *q = NULL;
  if (!qp_source_quantizer(t, name, reason))
    return snprintf(why, 512, "no quantizer of ours decodes it bit for bit: %s", reason), NULL;
  if (!qp_palette_find(palette, name, &q, NULL)) return q;
  return snprintf(why, 512, "it would be '%s', which is no quantizer of ours", name), NULL;
}

/* Finds, for import, the quantizer of a packed tensor.  NULL means that it is not packed, or stays.
   One whose packed tensor is of another type, and so is taken for none, would be lost. */
static qp_status choose_kept(making *m, const char *tensor, bool head, bool wanted,
                             const qp_quantizer **out) {
  char weight[QP_JOB_NAME], why[512];
  snprintf(weight, sizeof weight, "%s.weight", tensor);
  const qp_source_tensor *t = wanted ? qp_checkpoint_find(m->j->checkpoint, weight) : NULL;
  const bool read = !*m->model->quantized || m->model->packing_is_read;
  if (wanted && read && !t && !head && !strstr(tensor, ".experts."))
    return qp_fail(m->err, QP_E_ARG,
                   "%s: tensor '%s' is not there, nor one of a type that it is packed as",
                   qp_checkpoint_path(m->j->checkpoint), weight);
  if (!t || !qp_source_is_packed(t) || (*out = find_alike(m->palette, t, why))) return QP_OK;
  return qp_fail(m->err, QP_E_ARG,
                 "%s: linear '%s' (%s): %s; --keep %s leaves it as it decodes, in 16 bits; qpal "
                 "quantize codes it anew",
                 qp_checkpoint_path(m->j->checkpoint), tensor, t->type, why, tensor);
}

/* Choose the quantizer of a tensor by plan or wish; NULL: it stays. */
static qp_status choose(making *m, const char *tensor, bool head, unsigned block, unsigned rows,
                        unsigned columns, const qp_quantizer **out) {
  *out = NULL;
  const bool wanted =
      !kept_by_wish(m->w, tensor, head) && (!m->w->blocks || head || block < m->w->blocks);
  if (m->w->keeps_codes) return choose_kept(m, tensor, head, wanted && (!head || m->w->head), out);
  if (!m->w->plan) {
    if (wanted && (!head || m->w->head)) *out = m->w->quantizer;
    return QP_OK;
  }
  for (unsigned i = 0; i < m->plan.linears; i++) {
    const qp_plan_linear *l = &m->plan.linear[i];
    const bool same_head = head && l->block == QP_PLAN_NO_BLOCK; /* tied by the checkpoint alone */
    if (l->lookup || (strcmp(l->tensor, tensor) != 0 && !same_head)) continue;
    if (!has_rows(l->rows, rows) || l->columns != columns)
      return qp_fail(m->err, QP_E_ARG, "%s: linear '%s' is %u x %u there and %u x %u in %s",
                     m->w->plan, tensor, l->rows, l->columns, rows, columns,
                     qp_checkpoint_path(m->j->checkpoint));
    m->used[i] = true;
    if (wanted) *out = m->planned[l->quantizer];
    return QP_OK;
  }
  return QP_OK;
}

/* Choose the quantizer of the embedding by plan or wish; NULL: it stays. */
static qp_status choose_embedding(making *m, const qp_quantizer **out) {
  const qp_model *model = m->model;
  *out = NULL;
  const bool wanted = !kept_by_wish(m->w, model->embedding, model->tied);
  if (!m->w->plan || m->w->embedding) {
    if (wanted) *out = m->w->embedding;
    return QP_OK;
  }
  for (unsigned i = 0; i < m->plan.linears; i++) {
    const qp_plan_linear *l = &m->plan.linear[i];
    if (!l->lookup) continue;
    if (!has_rows(l->rows, model->vocab) || l->columns != model->hidden)
      return qp_fail(m->err, QP_E_ARG, "%s: the embedding '%s' is %u x %u there and %u x %u in %s",
                     m->w->plan, l->tensor, l->rows, l->columns, model->vocab, model->hidden,
                     qp_checkpoint_path(m->j->checkpoint));
    m->used[i] = true;
    if (wanted) *out = m->planned[l->quantizer];
  }
  return QP_OK;
}

static qp_status check_shape(const making *m, const char *name, const qp_source_tensor *t,
                             const qp_model_linear *l) {
  if (t->dims != 2 || t->rows != l->rows || t->columns != l->columns)
    return qp_fail(m->err, QP_E_ARG,
                   "%s: tensor '%s' is %llu x %llu (%u dimensions), its config "
                   "says %u x %u",
                   qp_checkpoint_path(m->j->checkpoint), name, (unsigned long long)t->rows,
                   (unsigned long long)t->columns, t->dims, l->rows, l->columns);
  return QP_OK;
}

/* Of a checkpoint whose config says so, weights in other than 16 or 32 bits that are not read. */
static qp_status check_quantized(const making *m, const char *name, const qp_source_tensor *t) {
  static const char *const plain[] = {"F32", "F16", "BF16"};
  char methods[160];
  if (!*m->model->quantized || (t ? t->packing != NULL : m->model->packing_is_read)) return QP_OK;
  for (size_t i = 0; t && i < sizeof plain / sizeof *plain; i++)
    if (!strcmp(t->type, plain[i])) return QP_OK;
  return qp_fail(m->err, QP_E_ARG,
                 "%s: tensor '%s' is %s: the weights are quantized already (quantization_config: "
                 "%s), which is not read; %s are, and the model in 16 bits",
                 qp_checkpoint_path(m->j->checkpoint), name, t ? t->type : "not there",
                 m->model->quantized, qp_packing_methods(methods));
}

/* A linear that no kernel takes stays as it is; a plan must not name it. A vocabulary is padded. */
static bool fits_kernels(const qp_model_linear *l, bool vocabulary) {
  return (vocabulary || l->rows % 16 == 0) && l->columns % 32 == 0;
}

static qp_status keep_odd(const making *m, const char *name, const qp_model_linear *l) {
  if (m->w->plan)
    return qp_fail(
        m->err, QP_E_ARG,
        "%s: linear '%s' is %u x %u: kernels need rows in multiples of 16 and columns in "
        "multiples of 32; --keep %s leaves it as it is",
        qp_checkpoint_path(m->j->checkpoint), name, l->rows, l->columns, name);
  const size_t n = strlen(m->j->odd);
  m->j->odds++;
  if (!strstr(m->j->odd, l->tensor)) /* The first of each block's. */
    snprintf(m->j->odd + n, sizeof m->j->odd - n, "%s%s (%u x %u)", n ? ", " : "", l->tensor,
             l->rows, l->columns);
  return QP_OK;
}

/*
** Append tensor 'tensor' of the shape of 'l' with quantizer 'q', if kernels take it; '*out' is NULL
** if not.
*/
static qp_status add_tensor(making *m, const char *tensor, const qp_model_linear *l,
                            const qp_quantizer *q, bool vocabulary, qp_job_linear **out) {
  char weight[QP_JOB_NAME];
  *out = NULL;
  snprintf(weight, sizeof weight, "%s.weight", tensor);
  const qp_source_tensor *t = qp_checkpoint_find(m->j->checkpoint, weight);
  qp_status status = check_quantized(m, weight, t);
  if (!status && !t)
    status = qp_fail(m->err, QP_E_ARG, "%s: tensor '%s' is missing: a %s has it",
                     qp_checkpoint_path(m->j->checkpoint), weight, m->model->type);
  if (!status) status = check_shape(m, weight, t, l);
  if (!status && !fits_kernels(l, vocabulary)) return keep_odd(m, tensor, l);
  if (status) return status;
  qp_job_linear *to = *out = &m->j->linear[m->j->linears++];
  *to = (qp_job_linear){.weight = t,
                        .quantizer = q,
                        .rows = vocabulary ? qp_layout_padded_rows(l->rows) : l->rows,
                        .columns = l->columns};
  snprintf(to->name, sizeof to->name, "%s", tensor);
  snprintf(to->hessian, sizeof to->hessian, "%s", tensor);
  return QP_OK;
}

/* Say how ranks share it; the rotation of columns that they divide is in as many blocks. */
static qp_status cut(making *m, const qp_model_linear *l, qp_job_linear *to) {
  qp_cut cut;
  const qp_status status = qp_parallel_cut(m->model, l, &m->ways, &cut, m->err);
  if (status || !cut.way) return status;
  to->split = cut.way == QP_CUT_ROWS ? QP_JOB_ROWS : QP_JOB_COLUMNS;
  to->slices = cut.slices;
  if (to->split == QP_JOB_COLUMNS && m->w->rotate) to->rotation = to->columns / to->slices;
  return QP_OK;
}

/* Add a linear of a block; of a stack one of its experts. */
static qp_status add_one(making *m, const char *tensor, unsigned index, unsigned block,
                         const qp_quantizer *q) {
  const qp_model *model = m->model;
  const qp_model_linear *l = &model->linear[index];
  qp_job_linear *to;
  qp_status status = add_tensor(m, tensor, l, q, false, &to);
  if (!status && to) status = cut(m, l, to);
  if (status || !to) return status;
  if (*l->of.tensor) {
    to->of = &l->of;
    qp_model_matrix(model, index, block, to->hessian);
  }
  snprintf(to->group, sizeof to->group, "%s", model->group[l->group].name);
  snprintf(to->signs, sizeof to->signs, "%s%s.%u.%s.signs", model->prefix, model->blocks, block,
           to->group);
  return QP_OK;
}

static qp_status add_linear(making *m, unsigned index, unsigned block) {
  const qp_model_linear *l = &m->model->linear[index], *planned = &m->rank.linear[index];
  char tensor[QP_MODEL_NAME], expert[QP_MODEL_NAME];
  const qp_quantizer *q;
  qp_model_tensor(m->model, index, block, tensor);
  qp_model_expert(tensor, 0, expert); /* of a stack all are packed alike */
  qp_status status = choose(m, m->w->keeps_codes ? expert : tensor, false, block, planned->rows,
                            planned->columns, &q);
  if (!l->experts) return status || !q ? status : add_one(m, tensor, index, block, q);
  for (unsigned e = 0; e < l->experts && q && !status; e++) {
    qp_model_expert(tensor, e, expert);
    if (!kept_by_wish(m->w, expert, false)) status = add_one(m, expert, index, block, q);
  }
  return status;
}

/* Most linears that the blocks can have. */
static size_t count_linears(const qp_model *m) {
  size_t n = 0;
  for (unsigned i = 0; i < m->linears; i++)
    n += (size_t)qp_model_copies(m, i) * (m->linear[i].experts ? m->linear[i].experts : 1);
  return n;
}

/* The lm_head; of a tied model a copy beside the embedding, unless that is packed for both. */
static qp_status add_head(making *m, bool shared) {
  const qp_model *model = m->model;
  const qp_model_linear *l = &model->linear[model->linears];
  char tensor[QP_MODEL_NAME];
  const qp_quantizer *q;
  qp_job_linear *to;
  if (model->headless || shared) return QP_OK;
  qp_model_tensor(model, model->linears, 0, tensor);
  const qp_model_linear *planned = &m->rank.linear[model->linears];
  qp_status status = choose(m, tensor, true, 0, planned->rows, planned->columns, &q);
  if (!status && q) status = add_tensor(m, tensor, l, q, true, &to);
  if (!status && q && to) status = cut(m, l, to);
  if (status || !q || !to) return status;
  to->copy = model->tied;
  if (to->copy) snprintf(to->name, sizeof to->name, "lm_head");
  if (to->copy) snprintf(to->hessian, sizeof to->hessian, "lm_head");
  snprintf(to->group, sizeof to->group, "lm_head");
  snprintf(to->signs, sizeof to->signs, "%s.signs", to->name);
  return QP_OK;
}

/* Add the embedding, the first of all linears; '*shared' says that it is the lm_head as well, and
   has the Hessian of that one's input.  One that is looked up alone has none. */
static qp_status add_embedding(making *m, bool *shared) {
  const qp_model *model = m->model;
  const qp_model_linear l = {.role = "embedding", .rows = model->vocab, .columns = model->hidden};
  const qp_quantizer *q;
  qp_job_linear *to = NULL;
  qp_status status = choose_embedding(m, &q);
  if (!status && q) status = add_tensor(m, model->embedding, &l, q, true, &to);
  if (status || !q || !to) return status;
  *shared = model->tied && !model->headless;
  snprintf(to->hessian, sizeof to->hessian, "%s", *shared ? "lm_head" : "");
  snprintf(to->group, sizeof to->group, "embedding");
  snprintf(to->signs, sizeof to->signs, "%s.signs", to->name);
  return QP_OK;
}

static qp_status read_plan(making *m) {
  if (!m->w->plan) return QP_OK;
  qp_status status = qp_plan_read(m->w->plan, &m->plan, m->err);
  if (status) return status;
  m->planned = calloc(m->plan.quantizers + 1, sizeof(const qp_quantizer *));
  m->used = calloc(m->plan.linears + 1, sizeof *m->used);
  if (!m->planned || !m->used) return qp_fail(m->err, QP_E_NOMEM, "%s: no memory", m->w->plan);
  status = qp_plan_resolve(&m->plan, m->palette, m->planned, m->err);
  return status ? qp_fail_prefix(m->err, status, "%s", m->w->plan) : QP_OK;
}

/* Shapes of the plan are one rank's; the folder is for as many ranks, or more.  What ranks share
   lies in the checkpoint taken apart. */
static qp_status take_ranks(making *m, qp_checkpoint *c) {
  const unsigned planned = m->plan.ranks ? m->plan.ranks : 1;
  const qp_parallel_ways ways = {.ranks = planned, .slices = m->plan.slices};
  m->ways = (qp_parallel_ways){.ranks = m->w->ranks ? m->w->ranks : planned,
                               .slices = m->w->slices ? m->w->slices : m->plan.slices};
  if (m->ways.ranks % planned)
    return qp_fail(m->err, QP_E_ARG, "--tp %u: %s is for %u ranks, which must divide it",
                   m->ways.ranks, m->w->plan, planned);
  qp_status status = qp_parallel_split(m->model, &m->ways, &m->rank, m->err);
  if (!status && m->ways.ranks > 1) status = qp_checkpoint_take_apart(c, m->err);
  if (status) return status;
  m->model = qp_checkpoint_model(c);
  status = qp_parallel_split(m->model, &ways, &m->rank, m->err);
  return status && m->w->plan ? qp_fail_prefix(m->err, status, "%s", m->w->plan) : status;
}

static qp_status nothing_left(const making *m) {
  const char *path = qp_checkpoint_path(m->j->checkpoint), *method = m->model->quantized;
  char methods[160];
  if (!m->w->keeps_codes)
    return qp_fail(m->err, QP_E_ARG, "%s: no linear is left to be quantized", path);
  if (!*method || m->model->packing_is_read)
    return qp_fail(m->err, QP_E_ARG, "%s: no linear of it is packed; qpal quantize packs", path);
  return qp_fail(m->err, QP_E_ARG, "%s: quantization_config: %s, which is not read%s; GGUF, %s are",
                 path, method,
                 strncmp(method, "exl3", 4) ? ""
                                            : " and cannot be kept bit for bit: its trellises end "
                                              "with tiles of 16 x 16 weights, ours with a row's "
                                              "columns",
                 qp_packing_methods(methods));
}

/* A linear of the plan that the checkpoint does not have. */
static qp_status is_not_there(const making *m, const qp_plan_linear *l) {
  const char *path = qp_checkpoint_path(m->j->checkpoint);
  for (unsigned i = 0; i < m->model->linears; i++) {
    const char *joined = m->model->linear[i].of.tensor, *at = strstr(l->tensor, joined);
    if (*joined && at && !at[strlen(joined)])
      return qp_fail(m->err, QP_E_ARG,
                     "%s: linear '%s' is one matrix there, and in what --tp %u packs it is %s and "
                     "others, each of which ranks share: qpal plan --tp %u makes such a plan",
                     m->w->plan, l->tensor, m->ways.ranks, m->model->linear[i].tensor,
                     m->ways.ranks);
  }
  return qp_fail(m->err, QP_E_ARG, "%s: linear '%s' is not in %s, a %s of %u blocks", m->w->plan,
                 l->tensor, path, m->model->type, m->model->layers);
}

static qp_status list_linears(making *m) {
  const qp_model *model = m->model;
  bool shared = false;
  m->j->linear = calloc(count_linears(model) + 2, sizeof *m->j->linear);
  if (!m->j->linear) return qp_fail(m->err, QP_E_NOMEM, "no memory for the linears' list");
  qp_status status = add_embedding(m, &shared);
  for (unsigned b = 0; b < model->layers; b++)
    for (unsigned l = 0; l < model->linears && !status; l++)
      if (qp_model_has(model, b, l)) status = add_linear(m, l, b);
  if (!status) status = add_head(m, shared);
  for (unsigned i = 0; i < m->plan.linears && !status; i++)
    if (!m->used[i]) status = is_not_there(m, &m->plan.linear[i]);
  return !status && !m->j->linears ? nothing_left(m) : status;
}

/* Has a linear of import another order of columns than another one? */
static bool has_other_order(const qp_job_linear *l, const qp_job_linear *than) {
  uint16_t *order[2] = {malloc(2ul * l->columns), malloc(2ul * l->columns)};
  bool other = true;
  if (order[0] && order[1]) {
    qp_source_order(l->weight, order[0]);
    qp_source_order(than->weight, order[1]);
    other = memcmp(order[0], order[1], 2ul * l->columns) != 0;
  }
  free(order[0]);
  free(order[1]);
  return other;
}

/* Of import: the order is that of another linear of this input, or the linear's own. */
static void name_order(const making *m, qp_job_linear *l) {
  const long place = qp_job_place(m->model, l);
  bool others = false;
  for (const qp_job_linear *o = l; o-- > m->j->linear;) {
    if (strcmp(o->group, l->group) != 0 || qp_job_place(m->model, o) != place) break;
    if (!qp_side_has_order(o->rotation) || o->columns != l->columns) continue;
    others = true;
    if (has_other_order(l, o)) continue;
    snprintf(l->signs, sizeof l->signs, "%s", o->signs);
    return;
  }
  if (others) snprintf(l->signs, sizeof l->signs, "%s.input", l->name);
}

/* Order and scales of columns: a tensor of another name holds them and the signs. */
static qp_status name_side(const making *m, qp_job_linear *l, unsigned flags) {
  static const char *const scales[] = {"", ".activations", ".weights"};
  const size_t n = strlen(l->signs) - strlen(".signs");
  if (qp_job_pieces(l) > 1)
    return qp_fail(m->err, QP_E_ARG,
                   "linear '%s': %s has an order or scales of columns, which ranks that share them "
                   "cannot take apart: --tp 1 is needed",
                   l->name, l->quantizer->name);
  if (l->columns > QP_SIDE_COLUMNS_MAX)
    return qp_fail(m->err, QP_E_ARG, "linear '%s': an order or scales of %u columns; at most %d",
                   l->name, l->columns, QP_SIDE_COLUMNS_MAX);
  if (!m->w->rotate) l->rotation = 1;
  l->rotation |= flags;
  snprintf(l->signs + n, sizeof l->signs - n, "%s%s.input",
           qp_side_has_order(flags) ? ".order" : "", scales[l->quantizer->scale]);
  if (m->j->keeps_codes) name_order(m, l);
  return QP_OK;
}

/* The rotation that a quantizer's definition asks for, in what ranks leave of the columns. */
static qp_status rotate_linear(const making *m, qp_job_linear *l) {
  assert(l->quantizer); /* of each that was added */
  const unsigned wanted = qp_side_block(l->quantizer->rotation),
                 piece = l->columns / qp_job_pieces(l);
  if (wanted && m->w->rotate) {
    if (piece % wanted)
      return qp_fail(m->err, QP_E_ARG,
                     "linear '%s': %s is rotated in blocks of %u columns, which do not divide %u",
                     l->name, l->quantizer->name, wanted, piece);
    l->rotation = wanted == l->columns ? 0 : wanted;
  }
  const unsigned flags = l->quantizer->rotation & QP_SIDE_FLAGS;
  if (flags) return name_side(m, l, flags);
  if (wanted == 1 || !m->w->rotate) l->signs[0] = 0;
  return QP_OK;
}

static qp_status rotate_all(const making *m) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < m->j->linears && !status; i++) status = rotate_linear(m, &m->j->linear[i]);
  return status;
}

bool qp_job_side_is_new(const qp_job *j, size_t i) {
  const qp_job_linear *l = &j->linear[i];
  for (size_t k = i; k-- && !strcmp(j->linear[k].group, l->group);)
    if (!strcmp(j->linear[k].signs, l->signs)) return false;
  return true;
}

/* Before hours of work: are the Hessians there, and of the right shapes? */
static qp_status check_hessians(const qp_job *j, qp_error *err) {
  size_t found = 0;
  for (size_t i = 0; i < j->linears && j->hessian; i++) {
    const qp_job_linear *l = &j->linear[i];
    qp_hessian h;
    if (!*l->hessian) continue;
    qp_status status = qp_hessian_open(j->hessian, l->hessian, l->rows, l->columns, &h, err);
    if (status) return qp_fail_prefix(err, status, "Hessian of linear '%s'", l->name);
    found += h.groups > 0;
    qp_hessian_close(&h);
  }
  if (!j->hessian || found) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s: no linear of the model has a Hessian there: a tensor such as '%s.hessian' in "
                 "a file, or '%s.safetensors' in a folder, is needed",
                 j->hessian, j->linear[0].name, j->linear[0].name);
}

/* ---- Quantizers ---- */

static bool is_listed(const qp_job *j, const qp_quantizer *q) {
  for (size_t i = 0; i < j->quantizers; i++)
    if (j->quantizer[i] == q) return true;
  return false;
}

static int compare_quantizers(const void *a, const void *b) {
  const qp_quantizer *x = *(const qp_quantizer *const *)a, *y = *(const qp_quantizer *const *)b;
  return strcmp(x->name, y->name);
}

/* List the quantizers of the linears and the parts of splits, each once. */
static qp_status list_quantizers(making *m) {
  qp_job *j = m->j;
  j->quantizer = calloc(j->linears * (1 + QP_MAX_PARTS), sizeof(const qp_quantizer *));
  if (!j->quantizer) return qp_fail(m->err, QP_E_NOMEM, "no memory for the quantizers' list");
  for (size_t i = 0; i < j->linears; i++) {
    const qp_quantizer *q = j->linear[i].quantizer;
    if (!is_listed(j, q)) j->quantizer[j->quantizers++] = q;
    /* Every linear of a job has one. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    for (unsigned p = 0; p < q->parts; p++)
      if (!is_listed(j, q->part[p].quantizer)) j->quantizer[j->quantizers++] = q->part[p].quantizer;
  }
  qsort(j->quantizer, j->quantizers, sizeof(const qp_quantizer *), compare_quantizers);
  for (size_t i = 1; i < j->quantizers; i++)
    if (!compare_quantizers(&j->quantizer[i - 1], &j->quantizer[i]))
      return qp_fail(m->err, QP_E_ARG, "two quantizers are called '%s' (%s, %s)",
                     j->quantizer[i]->name, j->quantizer[i - 1]->file, j->quantizer[i]->file);
  return QP_OK;
}

/* ---- Key ---- */

static void make_key(qp_job *j, uint64_t text) {
  XXH3_state_t s;
  XXH3_128bits_reset(&s);
  const uint64_t facts[] = {qp_checkpoint_stamp(j->checkpoint),
                            qp_job_version(j),
                            j->rotate,
                            j->seed,
                            j->shards,
                            j->keeps_codes};
  XXH3_128bits_update(&s, facts, sizeof facts);
  XXH3_128bits_update(&s, &j->input_scale, sizeof j->input_scale);
  XXH3_128bits_update(&s, &j->beam, sizeof j->beam);
  XXH3_128bits_update(&s, &j->damping, sizeof j->damping);
  if (text) XXH3_128bits_update(&s, &text, sizeof text);
  for (size_t i = 0; i < j->linears; i++) {
    XXH3_128bits_update(&s, j->linear[i].name, strlen(j->linear[i].name) + 1);
    XXH3_128bits_update(&s, j->linear[i].quantizer->hash, sizeof j->linear[i].quantizer->hash);
    /* Set with a plan. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
    XXH3_128bits_update(&s, j->linear[i].quantizer->name, strlen(j->linear[i].quantizer->name) + 1);
    const uint32_t cut[] = {j->linear[i].rotation, j->linear[i].split, j->linear[i].slices};
    if (cut[0] || cut[1]) XXH3_128bits_update(&s, cut, sizeof cut);
    const char *named = j->linear[i].hessian;
    const uint64_t hessian = j->hessian && *named ? qp_hessian_stamp(j->hessian, named) : 0;
    XXH3_128bits_update(&s, &hessian, sizeof hessian);
  }
  const XXH128_hash_t h = XXH3_128bits_digest(&s);
  snprintf(j->key, sizeof j->key, "%016llx%016llx", (unsigned long long)h.high64,
           (unsigned long long)h.low64);
}

/* Refuse what this program packed, which lies under names of its own. */
static qp_status refuse_packed(const making *m) {
  const char *path = qp_checkpoint_path(m->j->checkpoint);
  if (strcmp(m->model->quantized, "qpal") != 0) return QP_OK;
  return qp_fail(m->err, QP_E_ARG,
                 "%s: its weights were packed by qpal: take what they were packed from, or what  "
                 "qpal unpack %s -o DIR  writes",
                 path, path);
}

qp_status qp_job_make(qp_checkpoint *c, const qp_job_wishes *w, qp_palette *palette, qp_job *out,
                      qp_error *err) {
  qp_job j = {.checkpoint = c,
              .folder = w->folder,
              .rotate = w->rotate,
              .keeps_codes = w->keeps_codes,
              .seed = w->seed,
              .input_scale = w->input_scale,
              .beam = w->beam,
              .hessian = w->hessian,
              .damping = w->damping,
              .threads = w->threads,
              .coders = qp_coders_new(QP_CODERS_BYTES),
              .sides = qp_sides_new()};
  making m = {.w = w, .model = qp_checkpoint_model(c), .palette = palette, .j = &j, .err = err};
  qp_status status = j.sides ? refuse_packed(&m) : qp_fail(err, QP_E_NOMEM, "no memory for a list");
  if (!status) status = qp_companions_check(qp_checkpoint_path(c), err);
  if (!status) status = read_plan(&m);
  if (!status) status = take_ranks(&m, c);
  if (!status) status = list_linears(&m);
  if (!status) status = rotate_all(&m);
  if (!status) status = check_hessians(&j, err);
  if (!status) status = list_quantizers(&m);
  if (!status) status = qp_job_shards_make(m.model, w->shard_bytes_mib, &j, err);
  if (!status) make_key(&j, w->text);
  qp_plan_free(&m.plan);
  free(m.planned);
  free(m.used);
  if (status) return qp_job_free(&j), status;
  *out = j;
  return QP_OK;
}
