/* SPDX-License-Identifier: MIT */
/* Which tensors a job keeps, and which files linears and they go to. */
#include "tuner/quantize/job_shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sharing {
  const qp_model *model;
  unsigned mib;
  const qp_source_tensor **held; /* tensors of the file that hold a linear's weights, sorted */
  qp_job *j;
  qp_error *err;
} sharing;

/* Where a tensor stands: -1 before the blocks, a block's number, or the number of blocks. */
static long place_of(const qp_model *model, const char *name) {
  char start[128];
  snprintf(start, sizeof start, "%s%s.", model->prefix, model->blocks);
  const size_t n = strlen(start);
  if (!strncmp(name, start, n)) {
    char *end;
    const unsigned long block = strtoul(name + n, &end, 10);
    if (end != name + n && *end == '.' && block < model->layers) return (long)block;
  }
  return strstr(name, "embed") ? -1 : (long)model->layers;
}

typedef struct placed {
  long place;
  const qp_source_tensor *tensor;
} placed;

static int compare_placed(const void *a, const void *b) {
  const placed *x = a, *y = b;
  if (x->place != y->place) return x->place < y->place ? -1 : 1;
  return strcmp(x->tensor->name, y->tensor->name);
}

static int compare_pointers(const void *a, const void *b) {
  const char *x = *(const char *const *)a, *y = *(const char *const *)b;
  return x < y ? -1 : x > y;
}

/* What holds the weights of a job's linears, so that each tensor need not be looked for in all. */
static qp_status sort_held(sharing *m) {
  const qp_job *j = m->j;
  m->held = calloc(j->linears + 1, sizeof *m->held);
  if (!m->held) return qp_fail(m->err, QP_E_NOMEM, "no memory for a list");
  for (size_t i = 0; i < j->linears; i++)
    if (!j->linear[i].copy) m->held[i] = qp_checkpoint_whole(j->linear[i].weight);
  qsort(m->held, j->linears, sizeof *m->held, compare_pointers);
  return QP_OK;
}

/* Are all weights of a tensor those of linears?  One that holds experts stays with its last; of one
   that was taken apart those that stay are tensors of their own. */
static bool is_replaced(const sharing *m, const qp_source_tensor *t) {
  const unsigned experts = qp_checkpoint_is_apart(t) ? 0 : qp_checkpoint_experts(t);
  const qp_source_tensor **found =
      bsearch(&t, m->held, m->j->linears, sizeof *m->held, compare_pointers);
  if (!found || !experts) return found != NULL;
  size_t first = (size_t)(found - m->held), end = first;
  while (first && m->held[first - 1] == t) first--;
  while (end < m->j->linears && m->held[end] == t) end++;
  return end - first >= experts;
}

static uint64_t bytes_of_linear(const qp_job_linear *l) {
  return (uint64_t)((double)l->rows * l->columns * l->quantizer->stored_rate / 8) + 2 * l->rows;
}

long qp_job_place(const qp_model *model, const qp_job_linear *l) {
  if (!strcmp(l->group, "embedding")) return -1;
  return strcmp(l->group, "lm_head") != 0 ? place_of(model, l->name) : (long)model->layers;
}

/* Blocks are put together up to the wished size of a file; a block is never divided. */
static qp_status make_shards(sharing *m, const placed *kept) {
  qp_job *j = m->j;
  const uint64_t limit = (uint64_t)m->mib << 20;
  const long last = (long)m->model->layers;
  uint64_t bytes = 0;
  size_t k = 0, l = 0;
  j->shard = calloc((size_t)last + 2, sizeof *j->shard);
  if (!j->shard) return qp_fail(m->err, QP_E_NOMEM, "no memory for the shards' list");
  for (long place = -1; place <= last; place++) {
    uint64_t more = 0;
    size_t k0 = k, l0 = l;
    for (; k < j->kepts && kept[k].place == place; k++)
      more += qp_tensor_bytes(kept[k].tensor->kept_type,
                              kept[k].tensor->rows * kept[k].tensor->columns);
    for (; l < j->linears; l++) {
      if (qp_job_place(m->model, &j->linear[l]) != place) break;
      more += bytes_of_linear(&j->linear[l]);
    }
    if (!j->shards || (bytes && bytes + more > limit)) {
      j->shard[j->shards++] = (qp_job_shard){.linear = l0, .kept = k0};
      bytes = 0;
    }
    qp_job_shard *s = &j->shard[j->shards - 1];
    s->linears += l - l0;
    s->kepts += k - k0;
    bytes += more;
  }
  for (size_t i = 0; i < j->shards; i++)
    snprintf(j->shard[i].file, sizeof j->shard[i].file, "model-%05zu-of-%05zu.safetensors", i + 1,
             j->shards);
  return QP_OK;
}

/* Biases of experts that a checkpoint holds in one tensor: by the names of their linears, as other
   biases are.  What all of them were taken from is not kept. */
static void list_biases(sharing *m, placed *list) {
  qp_job *j = m->j;
  for (size_t i = 0; i < j->linears; i++) {
    char name[QP_MODEL_NAME + 16];
    const qp_job_linear *l = &j->linear[i];
    if (qp_checkpoint_whole(l->weight) == l->weight) continue;
    snprintf(name, sizeof name, "%s.bias", l->name);
    const qp_source_tensor *t = qp_checkpoint_find(j->checkpoint, name);
    if (t && qp_checkpoint_whole(t) != t)
      list[j->kepts++] = (placed){place_of(m->model, t->name), t};
  }
}

/* Were all parts of a tensor listed, each a tensor of its own? */
static bool is_taken_apart(const placed *list, size_t n, const qp_source_tensor *t) {
  unsigned parts = 0;
  if (!qp_checkpoint_experts(t)) return false;
  for (size_t i = 0; i < n; i++) parts += qp_checkpoint_whole(list[i].tensor) == t;
  return parts == qp_checkpoint_experts(t);
}

/* Linears that stay as they are, of matrices of which another one is packed. */
static void list_parts(sharing *m, placed *list) {
  qp_job *j = m->j;
  for (size_t i = 0; i < qp_checkpoint_views(j->checkpoint); i++) {
    const qp_source_tensor *t = qp_checkpoint_view(j->checkpoint, i),
                           *whole = qp_checkpoint_whole(t);
    size_t packed = 0;
    if (!qp_checkpoint_is_apart(whole) || !is_replaced(m, whole)) continue;
    while (packed < j->linears && j->linear[packed].weight != t) packed++;
    if (packed < j->linears) continue;
    list[j->kepts++] = (placed){place_of(m->model, t->name), t};
    char bias[QP_MODEL_NAME + 16];
    snprintf(bias, sizeof bias, "%.*s.bias", (int)(strlen(t->name) - strlen(".weight")), t->name);
    if ((t = qp_checkpoint_find(j->checkpoint, bias)))
      list[j->kepts++] = (placed){place_of(m->model, t->name), t};
  }
}

static qp_status list_kept(sharing *m) {
  qp_job *j = m->j;
  const size_t count = qp_checkpoint_count(j->checkpoint);
  const size_t most = count + j->linears + qp_checkpoint_views(j->checkpoint);
  placed *list = calloc(most + 1, sizeof *list);
  j->kept = calloc(most + 1, sizeof *j->kept);
  qp_status status = list && j->kept ? QP_OK : qp_fail(m->err, QP_E_NOMEM, "no memory for a list");
  if (!status) status = sort_held(m);
  if (!status) list_biases(m, list);
  if (!status) list_parts(m, list);
  const size_t biases = j->kepts;
  for (size_t i = 0; i < count && !status; i++) {
    const qp_source_tensor *t = qp_checkpoint_get(j->checkpoint, i);
    if (!is_replaced(m, t) && !is_taken_apart(list, biases, t))
      list[j->kepts++] = (placed){place_of(m->model, t->name), t};
  }
  if (!status) {
    qsort(list, j->kepts, sizeof *list, compare_placed);
    for (size_t i = 0; i < j->kepts; i++) j->kept[i] = list[i].tensor;
    status = make_shards(m, list);
  }
  free(list);
  return status;
}

qp_status qp_job_shards_make(const qp_model *model, unsigned mib, qp_job *j, qp_error *err) {
  sharing m = {.model = model, .mib = mib, .j = j, .err = err};
  const qp_status status = list_kept(&m);
  free(m.held);
  return status;
}
