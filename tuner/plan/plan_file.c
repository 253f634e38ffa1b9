/* SPDX-License-Identifier: MIT */
/* Reads and checks plan.json, as plan_file.h and PLAN.md describe. */
#include "tuner/plan/plan_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "runtime/printable.h"
#include "tuner/plan/plan_spec.h"

enum { MAX_LINEARS = 1 << 16, MAX_SIZE = 1 << 24 };
static const int64_t max_integer = (int64_t)1 << 53;

void qp_plan_free(qp_plan *p) {
  free(p->quantizer);
  free(p->linear);
  free(p->launch);
  free(p->note);
  p->quantizer = NULL, p->linear = NULL, p->launch = NULL, p->note = NULL;
}

/* ---- Fields ---- */

typedef struct reader {
  const char *file;
  char where[512]; /* file and place in it, begins messages */
  qp_error *err;
} reader;

static qp_status read_text(reader *r, const cJSON *o, const char *name, char *out, size_t size) {
  const char *text = NULL;
  qp_status status = qp_json_text(o, r->where, name, &text, r->err);
  if (status) return status;
  if (strlen(text) >= size)
    return qp_fail(r->err, QP_E_ARG, "%s: field '%s': more than %zu characters", r->where, name,
                   size - 1);
  memcpy(out, text, strlen(text) + 1);
  qp_printable(out, size, false); /* names are printed */
  return QP_OK;
}

static bool is_null(const cJSON *o, const char *name) {
  return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(o, name));
}

static qp_status read_count(reader *r, const cJSON *o, const char *name, int64_t lo, int64_t hi,
                            unsigned *out) {
  int64_t n = 0;
  qp_status status = qp_json_integer(o, r->where, name, lo, hi, &n, r->err);
  if (!status) *out = (unsigned)n;
  return status;
}

static qp_status read_bytes(reader *r, const cJSON *o, const char *name, uint64_t *out) {
  int64_t n = 0;
  qp_status status = qp_json_integer(o, r->where, name, 0, max_integer, &n, r->err);
  if (!status) *out = (uint64_t)n;
  return status;
}

/* Read an integer, or null as -1. */
static qp_status read_maybe(reader *r, const cJSON *o, const char *name, int64_t *out) {
  if (is_null(o, name)) return *out = -1, QP_OK;
  return qp_json_integer(o, r->where, name, 0, max_integer, out, r->err);
}

static qp_status read_block(reader *r, const cJSON *o, unsigned blocks, int *out) {
  int64_t n = 0;
  if (is_null(o, "block")) return *out = QP_PLAN_NO_BLOCK, QP_OK;
  qp_status status = qp_json_integer(o, r->where, "block", 0, (int64_t)blocks - 1, &n, r->err);
  if (!status) *out = (int)n;
  return status;
}

/* Make room for the items of a list of objects; '*items' is 0 for an empty one. */
static qp_status begin_list(reader *r, const cJSON *o, const char *name, size_t size, void **out,
                            unsigned *items, const cJSON **list) {
  snprintf(r->where, sizeof r->where, "%s", r->file);
  qp_status status = qp_json_array(o, r->where, name, list, r->err);
  if (status) return status;
  int n = cJSON_GetArraySize(*list);
  if (n > MAX_LINEARS)
    return qp_fail(r->err, QP_E_LIMIT, "%s: '%s' has more than %d items", r->where, name,
                   MAX_LINEARS);
  *out = calloc((size_t)n + 1, size);
  if (!*out) return qp_fail(r->err, QP_E_NOMEM, "%s: no memory", r->where);
  *items = (unsigned)n;
  return QP_OK;
}

static qp_status enter(reader *r, const char *list, unsigned i, const cJSON *item) {
  snprintf(r->where, sizeof r->where, "%s: %s[%u]", r->file, list, i);
  if (!cJSON_IsObject(item)) return qp_fail(r->err, QP_E_ARG, "%s: an object is needed", r->where);
  return QP_OK;
}

/* ---- Lists ---- */

static bool is_hash(const char *s) {
  return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32;
}

static qp_status read_quantizer(reader *r, const cJSON *o, qp_plan_quantizer *q) {
  qp_status status = read_text(r, o, "name", q->name, sizeof q->name);
  if (!status && is_null(o, "hash")) {
    if (strcmp(q->name, QP_PLAN_FP16) != 0)
      return qp_fail(r->err, QP_E_ARG, "%s: field 'hash' is null, which only %s may be", r->where,
                     QP_PLAN_FP16);
  } else if (!status) {
    status = read_text(r, o, "hash", q->hash, sizeof q->hash);
    if (!status && !is_hash(q->hash))
      return qp_fail(r->err, QP_E_ARG, "%s: field 'hash' is '%s': 32 hex digits are needed",
                     r->where, q->hash);
  }
  if (!status) status = read_text(r, o, "spec", q->spec, sizeof q->spec);
  if (!status) status = qp_plan_spec_check(q->spec, r->where, r->err);
  if (!status) status = qp_json_number(o, r->where, "rate_bits", 0, 64, &q->rate_bits, r->err);
  if (!status) status = read_bytes(r, o, "codebook_bytes", &q->codebook_bytes);
  return status;
}

static qp_status read_quantizers(reader *r, const cJSON *o, qp_plan *p) {
  const cJSON *list, *item;
  unsigned n = 0, i = 0;
  qp_status status =
      begin_list(r, o, "quantizers", sizeof *p->quantizer, (void **)&p->quantizer, &n, &list);
  if (status) return status;
  cJSON_ArrayForEach(item, list) {
    status = enter(r, "quantizers", i, item);
    if (!status) status = read_quantizer(r, item, &p->quantizer[i]);
    if (status) return status;
    for (unsigned k = 0; k < i; k++)
      if (!strcmp(p->quantizer[k].name, p->quantizer[i].name))
        return qp_fail(r->err, QP_E_ARG, "%s: quantizer '%s' is there twice", r->where,
                       p->quantizer[i].name);
    p->quantizers = ++i;
  }
  return QP_OK;
}

static qp_status read_linear(reader *r, const cJSON *o, const qp_plan *p, qp_plan_linear *l) {
  char name[64];
  qp_status status = read_text(r, o, "tensor", l->tensor, sizeof l->tensor);
  if (!status) status = read_text(r, o, "role", l->role, sizeof l->role);
  if (!status) status = read_block(r, o, p->blocks, &l->block);
  if (!status) status = read_count(r, o, "rows", 1, MAX_SIZE, &l->rows);
  if (!status) status = read_count(r, o, "columns", 1, MAX_SIZE, &l->columns);
  if (!status && cJSON_GetObjectItemCaseSensitive(o, "experts"))
    status = read_count(r, o, "experts", 1, MAX_LINEARS, &l->experts);
  if (!status && l->experts && cJSON_GetObjectItemCaseSensitive(o, "active"))
    status = read_count(r, o, "active", 1, p->slices * l->experts, &l->active);
  if (!status && !l->experts != !strchr(l->tensor, '*'))
    return qp_fail(r->err, QP_E_ARG,
                   "%s: '%s': a '*' for the number of an expert and the field 'experts' belong "
                   "together",
                   r->where, l->tensor);
  if (!status) status = read_text(r, o, "quantizer", name, sizeof name);
  if (!status)
    status = qp_json_number(o, r->where, "sensitivity", 0, 1e300, &l->sensitivity, r->err);
  if (!status) status = qp_json_number(o, r->where, "distortion", 0, 1e300, &l->distortion, r->err);
  if (!status) status = read_bytes(r, o, "bytes", &l->bytes);
  const cJSON *lookup = cJSON_GetObjectItemCaseSensitive(o, "lookup");
  if (!status && lookup && !cJSON_IsBool(lookup))
    status = qp_fail(r->err, QP_E_ARG, "%s: field 'lookup': true or false is needed", r->where);
  if (status) return status;
  l->lookup = cJSON_IsTrue(lookup);
  for (l->quantizer = 0; l->quantizer < p->quantizers; l->quantizer++)
    if (!strcmp(p->quantizer[l->quantizer].name, name)) return QP_OK;
  return qp_fail(r->err, QP_E_ARG,
                 "%s: field 'quantizer' is '%s', which 'quantizers' does not list", r->where, name);
}

/* Names of linears, sorted, to find one by name. */
typedef struct name_index {
  const char *tensor;
  unsigned linear;
} name_index;

static int compare_index(const void *a, const void *b) {
  return strcmp(((const name_index *)a)->tensor, ((const name_index *)b)->tensor);
}

static qp_status read_linears(reader *r, const cJSON *o, qp_plan *p, name_index **index) {
  const cJSON *list, *item;
  unsigned n = 0, i = 0;
  qp_status status = begin_list(r, o, "linears", sizeof *p->linear, (void **)&p->linear, &n, &list);
  if (status) return status;
  cJSON_ArrayForEach(item, list) {
    status = enter(r, "linears", i, item);
    if (!status) status = read_linear(r, item, p, &p->linear[i]);
    if (status) return status;
    p->linears = ++i;
  }
  *index = calloc((size_t)n + 1, sizeof **index);
  if (!*index) return qp_fail(r->err, QP_E_NOMEM, "%s: no memory", r->file);
  for (i = 0; i < n; i++) (*index)[i] = (name_index){p->linear[i].tensor, i};
  qsort(*index, n, sizeof **index, compare_index);
  for (i = 1; i < n; i++)
    if (!compare_index(&(*index)[i - 1], &(*index)[i]))
      return qp_fail(r->err, QP_E_ARG, "%s: linears: '%s' is there twice", r->file,
                     (*index)[i].tensor);
  return QP_OK;
}

static qp_status read_members(reader *r, const cJSON *o, const qp_plan *p, const name_index *index,
                              bool *used, qp_plan_launch *launch) {
  const cJSON *list, *item;
  qp_status status = qp_json_array(o, r->where, "linears", &list, r->err);
  if (status) return status;
  int n = cJSON_GetArraySize(list);
  if (n < 1 || n > QP_PLAN_MEMBERS)
    return qp_fail(r->err, QP_E_ARG, "%s: field 'linears' has %d names: 1 to %d are needed",
                   r->where, n, QP_PLAN_MEMBERS);
  cJSON_ArrayForEach(item, list) {
    const name_index key = {cJSON_IsString(item) ? item->valuestring : "", 0};
    const name_index *found = bsearch(&key, index, p->linears, sizeof *index, compare_index);
    if (!found)
      return qp_fail(r->err, QP_E_ARG, "%s: '%.100s' is none of the plan's linears", r->where,
                     key.tensor);
    const qp_plan_linear *l = &p->linear[found->linear];
    if (used[found->linear])
      return qp_fail(r->err, QP_E_ARG, "%s: '%s' is in two launches", r->where, l->tensor);
    if (l->block != launch->block)
      return qp_fail(r->err, QP_E_ARG, "%s: '%s' is of another block", r->where, l->tensor);
    if (launch->members && l->columns != p->linear[launch->linear[0]].columns)
      return qp_fail(r->err, QP_E_ARG, "%s: '%s' has %u columns, the first member %u", r->where,
                     l->tensor, l->columns, p->linear[launch->linear[0]].columns);
    used[found->linear] = true;
    launch->linear[launch->members++] = found->linear;
  }
  return QP_OK;
}

/* Each linear of a block is in a launch; the lm_head may be left to the engine. */
static qp_status check_used(reader *r, const qp_plan *p, const bool *used) {
  for (unsigned i = 0; i < p->linears; i++)
    if (!used[i] && p->linear[i].block != QP_PLAN_NO_BLOCK)
      return qp_fail(r->err, QP_E_ARG, "%s: launches: linear '%s' is in none of them", r->file,
                     p->linear[i].tensor);
  return QP_OK;
}

static qp_status read_launches(reader *r, const cJSON *o, qp_plan *p, const name_index *index) {
  const cJSON *list, *item;
  unsigned n = 0, i = 0;
  qp_status status =
      begin_list(r, o, "launches", sizeof *p->launch, (void **)&p->launch, &n, &list);
  if (status) return status;
  bool *used = calloc((size_t)p->linears + 1, sizeof *used);
  if (!used) return qp_fail(r->err, QP_E_NOMEM, "%s: no memory", r->file);
  cJSON_ArrayForEach(item, list) {
    qp_plan_launch *l = &p->launch[i];
    status = enter(r, "launches", i, item);
    if (!status) status = read_block(r, item, p->blocks, &l->block);
    if (!status) status = read_text(r, item, "group", l->group, sizeof l->group);
    if (!status) status = read_text(r, item, "path", l->path, sizeof l->path);
    if (!status) status = read_maybe(r, item, "latency_ps", &l->latency_ps);
    if (!status) status = read_text(r, item, "how", l->how, sizeof l->how);
    if (!status) status = read_members(r, item, p, index, used, l);
    if (status) break;
    p->launches = ++i;
  }
  if (!status) status = check_used(r, p, used);
  free(used);
  return status;
}

static qp_status read_batches(reader *r, const cJSON *o, qp_plan *p) {
  const cJSON *list, *item;
  snprintf(r->where, sizeof r->where, "%s", r->file);
  qp_status status = qp_json_array(o, r->where, "batches", &list, r->err);
  if (status) return status;
  int n = cJSON_GetArraySize(list);
  if (n < 1 || n > QP_PLAN_BATCHES)
    return qp_fail(r->err, QP_E_ARG, "%s: field 'batches' has %d items: 1 to %d are needed",
                   r->where, n, QP_PLAN_BATCHES);
  cJSON_ArrayForEach(item, list) {
    status = enter(r, "batches", p->batches, item);
    if (!status) status = read_count(r, item, "batch", 1, 1 << 16, &p->batch[p->batches].batch);
    if (!status)
      status = qp_json_number(item, r->where, "weight", 0, 1, &p->batch[p->batches].weight, r->err);
    if (status) return status;
    p->batches++;
  }
  return QP_OK;
}

static qp_status read_notes(reader *r, const cJSON *o, qp_plan *p) {
  const cJSON *list, *item;
  unsigned n = 0;
  qp_status status = begin_list(r, o, "notes", sizeof *p->note, (void **)&p->note, &n, &list);
  if (status) return status;
  cJSON_ArrayForEach(item, list) {
    if (!cJSON_IsString(item))
      return qp_fail(r->err, QP_E_ARG, "%s: notes[%u]: a string is needed", r->file, p->notes);
    snprintf(p->note[p->notes], sizeof *p->note, "%s", item->valuestring);
    qp_printable(p->note[p->notes++], sizeof *p->note, false);
  }
  return QP_OK;
}

/* ---- The whole ---- */

static qp_status read_memory(reader *r, const cJSON *o, qp_plan *p) {
  const cJSON *m;
  qp_status status = read_bytes(r, o, "memory_bytes", &p->memory_bytes);
  if (!status) status = qp_json_object(o, r->where, "memory", &m, r->err);
  if (status) return status;
  const struct {
    const char *name;
    uint64_t *to;
  } parts[] = {{"linears", &p->memory.linears},     {"lm_head", &p->memory.lm_head},
               {"signs", &p->memory.signs},         {"codebooks", &p->memory.codebooks},
               {"embedding", &p->memory.embedding}, {"other", &p->memory.other}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts && !status; i++)
    status = read_bytes(r, m, parts[i].name, parts[i].to);
  if (!status && cJSON_GetObjectItemCaseSensitive(m, "passed"))
    status = read_bytes(r, m, "passed", &p->memory.passed);
  return status;
}

/* How many weights there are, which a plan need not say. */
static qp_status read_weights(reader *r, const cJSON *o, qp_plan *p) {
  const cJSON *w;
  qp_plan_weights *to = &p->weights;
  if (!cJSON_GetObjectItemCaseSensitive(o, "weights")) return QP_OK;
  qp_status status = qp_json_object(o, r->where, "weights", &w, r->err);
  if (!status) status = read_bytes(r, w, "planned", &to->planned);
  if (!status) status = read_bytes(r, w, "lm_head", &to->lm_head);
  if (!status) status = read_bytes(r, w, "embedding", &to->embedding);
  if (!status) status = read_bytes(r, w, "other", &to->other);
  if (!status) status = read_bytes(r, w, "passed", &to->passed);
  if (!status) status = read_bytes(r, w, "active", &to->active);
  return status;
}

static qp_status read_limits(reader *r, const cJSON *o, qp_plan *p) {
  const cJSON *limits;
  qp_status status = qp_json_object(o, r->where, "limits", &limits, r->err);
  if (!status) status = read_maybe(r, limits, "latency_ps", &p->latency_limit_ps);
  if (!status) status = read_maybe(r, limits, "memory_bytes", &p->memory_limit_bytes);
  if (status) return status;
  if (is_null(limits, "bits_per_weight")) return p->bits_limit = -1, QP_OK;
  return qp_json_number(limits, r->where, "bits_per_weight", 0, 64, &p->bits_limit, r->err);
}

static qp_status read_head(reader *r, const cJSON *o, qp_plan *p) {
  const char *schema = NULL;
  int64_t version = 0;
  qp_status status = qp_json_text(o, r->where, "schema", &schema, r->err);
  if (!status && strcmp(schema, "qpal-plan") != 0)
    status = qp_fail(r->err, QP_E_ARG, "%s: field 'schema' is '%.60s': 'qpal-plan' is needed",
                     r->where, schema);
  if (!status) status = qp_json_integer(o, r->where, "version", 0, max_integer, &version, r->err);
  if (!status && version != QP_PLAN_VERSION)
    status = qp_fail(r->err, QP_E_ARG,
                     "%s: field 'version' is %lld: this qpal reads version %d; make the plan anew",
                     r->where, (long long)version, QP_PLAN_VERSION);
  if (!status) status = read_text(r, o, "model", p->model, sizeof p->model);
  if (!status) status = read_text(r, o, "model_type", p->model_type, sizeof p->model_type);
  if (!status) status = read_count(r, o, "blocks", 1, 1 << 16, &p->blocks);
  if (!status && cJSON_GetObjectItemCaseSensitive(o, "head_dim"))
    status = read_count(r, o, "head_dim", 0, 1 << 16, &p->head_dim);
  p->ranks = p->slices = 1;
  if (!status && cJSON_GetObjectItemCaseSensitive(o, "tp"))
    status = read_count(r, o, "tp", 1, 8, &p->ranks);
  if (!status && cJSON_GetObjectItemCaseSensitive(o, "ep"))
    status = read_count(r, o, "ep", 1, 8, &p->slices);
  if (!status && !is_null(o, "gpu")) status = read_text(r, o, "gpu", p->gpu, sizeof p->gpu);
  if (!status) status = qp_json_number(o, r->where, "loss", 0, 1e300, &p->loss, r->err);
  if (!status) status = qp_json_number(o, r->where, "bound", -1e300, 1e300, &p->bound, r->err);
  if (!status) status = qp_json_number(o, r->where, "gap", 0, 1e300, &p->gap, r->err);
  if (!status) status = qp_json_number(o, r->where, "confidence", 0.5, 1, &p->confidence, r->err);
  if (!status) status = read_maybe(r, o, "latency_ps", &p->latency_ps);
  if (!status) status = read_maybe(r, o, "constant_ps", &p->constant_ps);
  if (!status) status = read_memory(r, o, p);
  if (!status) status = read_weights(r, o, p);
  if (!status)
    status = qp_json_number(o, r->where, "bits_per_weight", 0, 64, &p->bits_per_weight, r->err);
  if (!status) status = read_limits(r, o, p);
  p->proven = !status && p->gap == 0;
  return status;
}

static qp_status read_tree(const char *file, const cJSON *o, qp_plan *p, qp_error *err) {
  reader r = {.file = file, .err = err};
  name_index *index = NULL;
  snprintf(r.where, sizeof r.where, "%s", file);
  if (!cJSON_IsObject(o)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", file);
  qp_status status = read_head(&r, o, p);
  if (!status) status = read_batches(&r, o, p);
  if (!status) status = read_quantizers(&r, o, p);
  if (!status) status = read_linears(&r, o, p, &index);
  if (!status) status = read_launches(&r, o, p, index);
  if (!status) status = read_notes(&r, o, p);
  free(index);
  return status;
}

static qp_status take_tree(const char *file, cJSON *tree, qp_plan *out, qp_error *err) {
  qp_plan p = {0};
  qp_status status = read_tree(file, tree, &p, err);
  cJSON_Delete(tree);
  if (status) return qp_plan_free(&p), status;
  *out = p;
  return QP_OK;
}

qp_status qp_plan_parse(const char *file, const char *text, size_t bytes, qp_plan *out,
                        qp_error *err) {
  cJSON *tree = NULL;
  qp_status status = qp_json_parse(file, text, bytes, &tree, err);
  return status ? status : take_tree(file, tree, out, err);
}

qp_status qp_plan_read(const char *file, qp_plan *out, qp_error *err) {
  cJSON *tree = NULL;
  qp_status status = qp_json_read(file, &tree, err);
  if (!status) status = take_tree(file, tree, out, err);
  if (status) return status;
  if ((size_t)snprintf(out->file, sizeof out->file, "%s", file) < sizeof out->file) return QP_OK;
  qp_plan_free(out);
  return qp_fail(err, QP_E_LIMIT, "%.60s...: the path is too long", file);
}

static qp_status resolve(const qp_plan *p, unsigned i, qp_palette *palette,
                         const qp_quantizer **out, qp_error *err) {
  const qp_plan_quantizer *q = &p->quantizer[i];
  char spec[sizeof p->file + sizeof q->spec];
  qp_status status = qp_plan_spec_open(p->file, q->spec, spec, sizeof spec, err);
  if (!status) status = qp_palette_find(palette, spec, out, err);
  if (!status && strcmp((*out)->hash, q->hash) != 0)
    status = qp_fail(err, QP_E_ARG,
                     "quantizer %s: the plan is for definition %s, here it is %s: make the plan "
                     "anew",
                     q->name, q->hash, (*out)->hash);
  if (!status) return QP_OK;
  return qp_fail_prefix(err, status, "quantizers[%u]", i);
}

qp_status qp_plan_resolve(const qp_plan *p, qp_palette *palette, const qp_quantizer **out,
                          qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < p->quantizers && !status; i++) {
    out[i] = NULL;
    if (p->quantizer[i].hash[0]) status = resolve(p, i, palette, &out[i], err);
  }
  return status;
}

/* ---- Adding up ---- */

bool qp_plan_looks_up_alone(const qp_plan_linear *l) {
  return l->lookup && !strcmp(l->role, "embedding");
}

static qp_status check_memory(const qp_plan *p, qp_error *err) {
  uint64_t linears = 0, head = 0, embedding = p->memory.embedding;
  bool head_kept = false;
  for (unsigned i = 0; i < p->linears; i++) {
    const qp_plan_linear *l = &p->linear[i];
    if (qp_plan_looks_up_alone(l))
      embedding = l->bytes;
    else if (l->block == QP_PLAN_NO_BLOCK)
      head += l->bytes, head_kept = !p->quantizer[l->quantizer].hash[0];
    else
      linears += l->bytes;
  }
  const qp_plan_memory *m = &p->memory;
  if (embedding != m->embedding)
    return qp_fail(err, QP_E_ARG, "plan: the embedding takes %llu bytes, not %llu",
                   (unsigned long long)embedding, (unsigned long long)m->embedding);
  if (linears != m->linears || (head != m->lm_head && !(head_kept && m->lm_head == 0)))
    return qp_fail(err, QP_E_ARG, "plan: the linears' bytes add up to %llu + %llu, not %llu + %llu",
                   (unsigned long long)linears, (unsigned long long)head,
                   (unsigned long long)m->linears, (unsigned long long)m->lm_head);
  uint64_t sum =
      m->linears + m->lm_head + m->signs + m->codebooks + m->embedding + m->other + m->passed;
  if (sum != p->memory_bytes)
    return qp_fail(err, QP_E_ARG, "plan: parts of the memory add up to %llu bytes, not %llu",
                   (unsigned long long)sum, (unsigned long long)p->memory_bytes);
  if (p->memory_limit_bytes >= 0 && p->memory_bytes > (uint64_t)p->memory_limit_bytes)
    return qp_fail(err, QP_E_ARG, "plan: %llu bytes are over the limit of %lld",
                   (unsigned long long)p->memory_bytes, (long long)p->memory_limit_bytes);
  if (p->bits_limit >= 0 && p->bits_per_weight > p->bits_limit)
    return qp_fail(err, QP_E_ARG, "plan: %.9g bits a weight are over the limit of %.9g",
                   p->bits_per_weight, p->bits_limit);
  return QP_OK;
}

static qp_status check_latency(const qp_plan *p, qp_error *err) {
  if (p->latency_ps < 0) return QP_OK;
  int64_t sum = p->constant_ps < 0 ? 0 : p->constant_ps;
  for (unsigned i = 0; i < p->launches; i++) {
    if (p->launch[i].latency_ps < 0)
      return qp_fail(err, QP_E_ARG, "plan: launch %u has no latency but the plan has one", i);
    sum += p->launch[i].latency_ps;
  }
  if (sum != p->latency_ps)
    return qp_fail(err, QP_E_ARG, "plan: the launches add up to %lld ps, not %lld", (long long)sum,
                   (long long)p->latency_ps);
  if (p->latency_limit_ps >= 0 && p->latency_ps > p->latency_limit_ps)
    return qp_fail(err, QP_E_ARG, "plan: %lld ps are over the limit of %lld",
                   (long long)p->latency_ps, (long long)p->latency_limit_ps);
  return QP_OK;
}

qp_status qp_plan_check(const qp_plan *p, qp_error *err) {
  double loss = 0;
  for (unsigned i = 0; i < p->linears; i++)
    loss += p->linear[i].sensitivity * p->linear[i].distortion;
  if (fabs(loss - p->loss) > 1e-9 * fabs(p->loss))
    return qp_fail(err, QP_E_ARG, "plan: the linears' losses add up to %.12g, not %.12g", loss,
                   p->loss);
  if (p->bound > p->loss * (1 + 1e-9))
    return qp_fail(err, QP_E_ARG, "plan: the bound %.12g is above the loss %.12g", p->bound,
                   p->loss);
  qp_status status = check_memory(p, err);
  return status ? status : check_latency(p, err);
}
