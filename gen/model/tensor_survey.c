/* SPDX-License-Identifier: MIT */
/* A model of which only the tensors are known; see tensor_survey.h. */
#include "gen/model/tensor_survey.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/kinds.h"

enum { NAME = 128, STEMS = 64 };

/* ---- Names ---- */

/* "model.layers", 12, "self_attn.q_proj" of "model.layers.12.self_attn.q_proj.weight". */
typedef struct place {
  char stem[NAME], rest[NAME];
  unsigned block;
} place;

static bool split(const char *name, place *out) {
  for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
    const size_t digits = strspn(dot + 1, "0123456789");
    if (!digits || dot[1 + digits] != '.' || digits > 6) continue;
    const char *rest = dot + digits + 2;
    size_t n = strlen(rest);
    if (n > 7 && !strcmp(rest + n - 7, ".weight")) n -= 7;
    if ((size_t)(dot - name) >= NAME || n >= NAME) return false;
    snprintf(out->stem, NAME, "%.*s", (int)(dot - name), name);
    snprintf(out->rest, NAME, "%.*s", (int)n, rest);
    out->block = (unsigned)strtoul(dot + 1, NULL, 10);
    return true;
  }
  return false;
}

/* Does a name contain a word, in whatever case? */
static bool contains(const char *name, const char *word) {
  const size_t n = strlen(word);
  for (; *name; name++) {
    size_t i = 0;
    while (i < n && tolower((unsigned char)name[i]) == word[i]) i++;
    if (i == n) return true;
  }
  return false;
}

static bool contains_any(const char *name, const char *const *words) {
  for (; *words; words++)
    if (contains(name, *words)) return true;
  return false;
}

static const char *last_of(const char *rest) {
  const char *dot = strrchr(rest, '.');
  return dot ? dot + 1 : rest;
}

/* A score for each expert, and the like: a matrix called a gate, of few rows, that is in no
   expert. */
static bool is_router(const char *rest, const qp_source_tensor *t) {
  static const char *const routers[] = {"gate", "wg", "shared_expert_gate", "gate_inp", NULL};
  static const char of_expert[] = "experts.";
  const char *expert = strstr(rest, of_expert);
  unsigned i = 0;
  while (routers[i] && strcmp(last_of(rest), routers[i]) != 0) i++;
  if (!routers[i] || t->dims == 3 || t->shape[0] >= t->shape[1]) return false;
  return !expert || !isdigit((unsigned char)expert[sizeof of_expert - 1]);
}

/* Is a tensor of a block a matrix, or a stack of them, that a linear multiplies by? */
static bool is_linear(const char *rest, const qp_source_tensor *t) {
  static const char *const no[] = {"norm",  "embed", "rotary", "bias", "conv1d",
                                   "scale", "_pos",  "router", NULL};
  if (t->dims != 2 && t->dims != 3) return false;
  if (t->dims == 3 && (t->shape[0] < 2 || t->shape[1] < 2)) return false;
  if (t->shape[t->dims - 1] < 2 || t->shape[t->dims - 2] < 2) return false;
  return !is_router(rest, t) && !contains_any(rest, no);
}

/* ---- Roles and groups, by the usual names ---- */

static const struct {
  const char *role, *names[12];
} usual[] = {
    {"q", {"q_proj", "query", "wq", "q_lin", "q"}},
    {"k", {"k_proj", "key", "wk", "k_lin", "k"}},
    {"v", {"v_proj", "value", "wv", "v_lin", "v"}},
    {"qkv", {"qkv_proj", "query_key_value", "c_attn", "Wqkv", "W_pack", "wqkv", "qkv"}},
    {"gate", {"gate_proj", "w1", "gate"}},
    {"up", {"up_proj", "w3", "up", "fc1", "fc_in", "c_fc", "dense_h_to_4h", "lin1"}},
    {"gate_up", {"gate_up_proj"}},
    {"down", {"down_proj", "w2", "down", "fc2", "fc_out", "dense_4h_to_h", "lin2"}},
    {"o", {"o_proj", "out_proj", "wo", "out_lin", "c_proj"}},
};

static const char *usual_role(const char *rest) {
  const char *last = last_of(rest);
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
    for (unsigned k = 0; usual[i].names[k]; k++)
      if (!strcmp(usual[i].names[k], last)) return usual[i].role;
  return last;
}

static void name_role(const qp_kind_list *list, const char *rest, char out[16]) {
  const char *before = contains(rest, "shared")   ? "shared_"
                       : contains(rest, "expert") ? "expert_"
                                                  : "";
  char base[32];
  snprintf(base, sizeof base, "%s%.20s", before, usual_role(rest));
  snprintf(out, 16, "%.15s", base);
  for (unsigned n = 2; n < 100; n++) { /* roles of a block differ */
    unsigned i = 0;
    while (i < list->count && strcmp(list->linear[i].role, out) != 0) i++;
    if (i == list->count) return;
    snprintf(out, 16, "%.12s%u", base, n);
  }
}

/* Name the group of a linear: q, k and v, or up and gate, of one module share one; others have
   their own. */
static void name_group(const qp_kind_list *list, const char *rest, const qp_model_linear *l,
                       char out[32]) {
  const char *role = usual_role(rest), *last = last_of(rest);
  const bool input = !strcmp(role, "q") || !strcmp(role, "k") || !strcmp(role, "v");
  const bool wide = !strcmp(role, "up") || !strcmp(role, "gate");
  const char *name = input ? "qkv" : wide ? "up-gate" : l->role;
  char whole[2 * NAME];
  snprintf(whole, sizeof whole, "%.*s%s", (int)(last - rest), rest, name);
  const size_t n = strlen(whole);
  snprintf(out, 32, "%s", whole + (n > 31 ? n - 31 : 0));
  for (unsigned i = 0; i < list->count; i++)
    if (!strcmp(list->group[i], out) &&
        (list->linear[i].columns != l->columns || list->linear[i].experts != l->experts))
      memcpy(out, l->role, sizeof l->role);
}

/* ---- A block ---- */

typedef struct surveying {
  const qp_source_tensor *tensor;
  size_t count;
  const char *file;
  char stem[NAME]; /* of the blocks */
  qp_model *m;
  qp_error *err;
} surveying;

/* "experts.*.w1" of "experts.7.w1"; false: the name is of no expert. */
static bool star_expert(char rest[NAME], unsigned *expert) {
  char *at = strstr(rest, "experts.");
  const size_t digits = at ? strspn(at + 8, "0123456789") : 0;
  if (!digits || at[8 + digits] != '.') return false;
  *expert = (unsigned)strtoul(at + 8, NULL, 10);
  at[8] = '*';
  memmove(at + 9, at + 8 + digits, strlen(at + 8 + digits) + 1);
  return true;
}

static qp_status add_linear(surveying *s, qp_kind_list *list, const qp_source_tensor *t,
                            char rest[NAME]) {
  unsigned expert = 0;
  const bool apart = star_expert(rest, &expert);
  for (unsigned i = 0; i < list->count && apart; i++)
    if (!strcmp(list->linear[i].tensor, rest)) {
      if (expert >= list->linear[i].experts) list->linear[i].experts = expert + 1;
      return QP_OK;
    }
  if (list->count == QP_MODEL_LINEARS)
    return qp_fail(s->err, QP_E_LIMIT, "%s: more than %d matrices in a block", s->file,
                   QP_MODEL_LINEARS);
  qp_model_linear *l = &list->linear[list->count];
  *l = (qp_model_linear){.rows = (unsigned)t->shape[t->dims - 2],
                         .columns = (unsigned)t->shape[t->dims - 1],
                         .experts = apart          ? expert + 1
                                    : t->dims == 3 ? (unsigned)t->shape[0]
                                                   : 0};
  if (t->dims == 3) {
    l->stack.parts = 1;
    snprintf(l->stack.tensor, sizeof l->stack.tensor, "%.95s", rest);
  }
  snprintf(l->tensor, sizeof l->tensor, t->dims == 3 ? "%.93s.*" : "%.95s", rest);
  name_role(list, rest, l->role);
  name_group(list, rest, l, list->group[list->count]);
  list->count++;
  return QP_OK;
}

static qp_status survey_block(surveying *s, unsigned block, qp_kind_list *list) {
  list->count = 0;
  qp_status status = QP_OK;
  for (size_t i = 0; i < s->count && !status; i++) {
    place p;
    if (!split(s->tensor[i].name, &p) || strcmp(p.stem, s->stem) != 0 || p.block != block) continue;
    if (is_linear(p.rest, &s->tensor[i])) status = add_linear(s, list, &s->tensor[i], p.rest);
  }
  if (!status && !list->count)
    status = qp_fail(s->err, QP_E_ARG, "%s: block %u, '%s.%u', has no matrix", s->file, block,
                     s->stem, block);
  for (unsigned i = 0; i < list->count; i++) /* how many a token uses, only the config could say */
    list->linear[i].active = list->linear[i].experts;
  return status;
}

static qp_status survey_blocks(surveying *s) {
  qp_model *m = s->m;
  qp_kind_list *list = calloc(1, sizeof *list);
  qp_status status = list ? QP_OK : qp_fail(s->err, QP_E_NOMEM, "%s: no memory", s->file);
  for (unsigned b = 0; b < m->layers && !status; b++) {
    uint64_t has = 0;
    unsigned k = 0;
    status = survey_block(s, b, list);
    if (!status) status = qp_kinds_add(m, s->file, list, &has, s->err);
    while (k < m->kinds && m->has[k] != has) k++;
    if (!status && k == QP_MODEL_KINDS)
      status =
          qp_fail(s->err, QP_E_LIMIT, "%s: more than %d kinds of blocks", s->file, QP_MODEL_KINDS);
    if (status) break;
    if (k == m->kinds) m->has[m->kinds++] = has;
    m->kind[b] = (unsigned char)k;
  }
  if (m->kinds == 1) m->kinds = 0;
  free(list);
  return status;
}

/* ---- Around the blocks ---- */

/* The name before a number that holds most weights, and how many blocks it has. */
static qp_status find_stem(surveying *s) {
  char stem[STEMS][NAME];
  uint64_t weights[STEMS];
  unsigned blocks[STEMS], stems = 0, best = 0;
  for (size_t i = 0; i < s->count; i++) {
    const qp_source_tensor *t = &s->tensor[i];
    place p;
    unsigned k = 0;
    if (!split(t->name, &p) || !is_linear(p.rest, t)) continue;
    while (k < stems && strcmp(stem[k], p.stem) != 0) k++;
    if (k == STEMS) continue;
    if (k == stems) {
      memcpy(stem[k], p.stem, NAME);
      weights[k] = blocks[k] = 0;
      stems++;
    }
    weights[k] += t->rows * t->columns;
    if (p.block >= blocks[k]) blocks[k] = p.block + 1;
    if (weights[k] > weights[best]) best = k;
  }
  if (!stems || blocks[best] > QP_MODEL_LAYERS)
    return qp_fail(s->err, QP_E_ARG,
                   "%s: no tensor has a name like 'layers.0.q_proj.weight': blocks of 1 to %d "
                   "layers are needed",
                   s->file, QP_MODEL_LAYERS);
  memcpy(s->stem, stem[best], NAME);
  s->m->layers = blocks[best];
  const char *last = last_of(s->stem);
  if ((size_t)(last - s->stem) >= sizeof s->m->prefix || strlen(last) >= sizeof s->m->blocks)
    return qp_fail(s->err, QP_E_LIMIT, "%s: the name '%s' is too long", s->file, s->stem);
  snprintf(s->m->prefix, sizeof s->m->prefix, "%.*s", (int)(last - s->stem), s->stem);
  snprintf(s->m->blocks, sizeof s->m->blocks, "%s", last);
  return QP_OK;
}

static bool is_of_blocks(const surveying *s, const qp_source_tensor *t) {
  place p;
  return split(t->name, &p) && !strcmp(p.stem, s->stem);
}

static void cut_weight(const char *name, char *out, size_t size) {
  const size_t n = strlen(name);
  snprintf(out, size, "%.*s", (int)(n > 7 && !strcmp(name + n - 7, ".weight") ? n - 7 : n), name);
}

static qp_status find_ends(surveying *s) {
  static const char *const embeddings[] = {"embed", "wte", "word_emb", NULL};
  static const char *const others[] = {"pos", "type", "norm", "vision", "visual", "audio", NULL};
  static const char *const heads[] = {"unembed", "embed_out", "head", "output", NULL};
  const qp_source_tensor *embedding = NULL, *head = NULL;
  qp_model *m = s->m;
  for (size_t i = 0; i < s->count; i++) {
    const qp_source_tensor *t = &s->tensor[i];
    if (t->dims != 2 || is_of_blocks(s, t) || contains_any(t->name, others)) continue;
    if (contains_any(t->name, embeddings) && !contains_any(t->name, heads) &&
        (!embedding || t->rows > embedding->rows))
      embedding = t;
  }
  if (!embedding || embedding->rows > 1 << 24 || embedding->columns > 1 << 24)
    return qp_fail(s->err, QP_E_ARG, "%s: no tensor is called an embedding ('embed', 'wte')",
                   s->file);
  for (size_t i = 0; i < s->count && !head; i++) {
    const qp_source_tensor *t = &s->tensor[i];
    if (t != embedding && t->dims == 2 && !is_of_blocks(s, t) && t->rows == embedding->rows &&
        t->columns == embedding->columns && !contains_any(t->name, others))
      head = t;
  }
  m->vocab = (unsigned)embedding->rows, m->hidden = (unsigned)embedding->columns;
  m->tied = !head;
  cut_weight(embedding->name, m->embedding, sizeof m->embedding);
  qp_model_linear *l = &m->linear[m->linears];
  *l = (qp_model_linear){.role = "lm_head", .rows = m->vocab, .columns = m->hidden};
  cut_weight(head ? head->name : embedding->name, l->tensor, sizeof l->tensor);
  return QP_OK;
}

/* What stays: in the blocks what is no linear, around them vectors; the rest is passed through. */
static void count(surveying *s) {
  uint64_t other = 0, passed = 0;
  qp_model *m = s->m;
  for (size_t i = 0; i < s->count; i++) {
    const qp_source_tensor *t = &s->tensor[i];
    char name[QP_MODEL_NAME];
    place p;
    const bool blocks = split(t->name, &p) && !strcmp(p.stem, s->stem);
    cut_weight(t->name, name, sizeof name);
    if (!strcmp(name, m->embedding) || !strcmp(name, m->linear[m->linears].tensor)) continue;
    if (blocks ? !is_linear(p.rest, t) : t->dims < 2)
      other += t->rows * t->columns;
    else if (!blocks)
      passed += t->rows * t->columns;
  }
  qp_kinds_count(m, other, 0);
  m->passed_bytes = 2 * passed;
  if (passed) snprintf(m->passed, sizeof m->passed, "tensors outside %s", s->stem);
}

qp_status qp_tensor_survey(const qp_source_tensor *tensor, size_t count_of, const char *file,
                           qp_model *out, qp_error *err) {
  surveying s = {.tensor = tensor, .count = count_of, .file = file, .m = out, .err = err};
  qp_status status = find_stem(&s);
  if (!status) status = survey_blocks(&s);
  if (!status) status = find_ends(&s);
  if (status) return status;
  count(&s);
  out->heads = out->kv_heads = out->head_dim = out->intermediate = 1; /* not known */
  out->surveyed = true;
  return QP_OK;
}
