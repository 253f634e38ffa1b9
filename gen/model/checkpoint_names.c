/* SPDX-License-Identifier: MIT */
/* Names of tensors, and the head, by what a checkpoint holds; see checkpoint_state.h. */
#include "gen/model/checkpoint_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qp_status no_memory(const char *path, qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
}

static bool ends_with(const char *s, const char *end) {
  const size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

/* ---- Names that differ from those of the whole model ---- */

/* The first linear of block 0 that is no stack: its name and shape tell the decoder's blocks. */
static unsigned first_linear(const qp_model *m) {
  unsigned i = 0;
  while (i + 1 < m->linears && (!qp_model_has(m, 0, i) || m->linear[i].experts)) i++;
  return i;
}

/* The tensor of the first linear whose name ends so, of the right shape if there is one. */
static const qp_source_tensor *find_ending(const qp_checkpoint *c, const qp_model_linear *l,
                                           const char *end) {
  const qp_source_tensor *best = NULL;
  for (size_t i = 0; i < c->count; i++) {
    const qp_source_tensor *t = &c->tensor[i];
    const size_t n = strlen(t->name), m = strlen(end);
    if (!ends_with(t->name, end) || (n != m && t->name[n - m - 1] != '.')) continue;
    if (!best) best = t;
    if (t->rows == l->rows && t->columns == l->columns) return t;
  }
  return best;
}

/*
** What stands before the blocks in names of the checkpoint where it is not the model's prefix:
** "" of a class of the blocks alone (LlamaModel), more than the prefix, or another.  Towers beside
** the decoder may have blocks of the same names: those of the right shape count.  Where nothing has
** such a name, other words for "layers" are tried (transformers 5.24 writes Kimi K2.5's as
** "blocks"), and the model takes that one.  NULL: there is none either.
*/
static char *find_prefix(qp_checkpoint *c) {
  static const char *const words[] = {NULL, "layers", "blocks", "layer", "h"};
  char end[QP_MODEL_NAME], whole[2 * QP_MODEL_NAME];
  const qp_model_linear *l = &c->model.linear[first_linear(&c->model)];
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
    const char *word = i ? words[i] : c->model.blocks;
    snprintf(end, sizeof end, "%s.0.%s.weight", word, l->tensor);
    snprintf(whole, sizeof whole, "%s%s", c->model.prefix, end);
    const qp_source_tensor *t = qp_checkpoint_find_stored(c, whole);
    if (!t) t = find_ending(c, l, end);
    if (!t) continue;
    if (i) snprintf(c->model.blocks, sizeof c->model.blocks, "%s", word);
    return strndup(t->name, strlen(t->name) - strlen(end));
  }
  return NULL;
}

/* Make 'name' with 'to' in place of 'from' at its beginning, malloc'ed. */
static char *replaced(const char *name, const char *from, const char *to) {
  const size_t size = strlen(name) + strlen(to) + 1;
  char *out = malloc(size);
  if (out) snprintf(out, size, "%s%s", to, name + strlen(from));
  return out;
}

static qp_status rename_all(qp_checkpoint *c, const char *from, const char *to, qp_error *err) {
  const char *head = c->model.tied ? "" : c->model.linear[c->model.linears].tensor;
  for (size_t i = 0; i < c->count; i++) {
    char *name = c->tensor[i].name;
    if (strncmp(name, from, strlen(from)) != 0) continue;
    if (*head && !strncmp(name, head, strlen(head))) continue;
    char *other = replaced(name, from, to);
    if (!other) return no_memory(c->path, err);
    c->tensor[i].name = other;
    free(name);
  }
  return qp_checkpoint_sort(c->path, c->tensor, c->count, err);
}

qp_status qp_checkpoint_use_names(qp_checkpoint *c, qp_error *err) {
  char *found = find_prefix(c);
  const char *wanted = c->model.prefix;
  qp_status status = QP_OK;
  if (found && ends_with(wanted, found) && strcmp(wanted, found) != 0) {
    char front[sizeof c->model.prefix];
    snprintf(front, sizeof front, "%.*s", (int)(strlen(wanted) - strlen(found)), wanted);
    status = rename_all(c, "", front, err);
  } else if (found && ends_with(found, wanted)) {
    found[strlen(found) - strlen(wanted)] = 0;
    if (*found) status = rename_all(c, found, "", err);
  } else if (found) {
    status = rename_all(c, found, wanted, err);
  }
  free(found);
  return status;
}

/* A matrix of the head's shape whose name ends as the head's does, or NULL. */
static const qp_source_tensor *find_other_head(const qp_checkpoint *c, const char *head) {
  char end[QP_MODEL_NAME];
  const char *dot = strrchr(head, '.');
  snprintf(end, sizeof end, "%s.weight", dot ? dot + 1 : head);
  for (size_t i = 0; i < c->count; i++) {
    const qp_source_tensor *t = &c->tensor[i];
    const size_t n = strlen(t->name), m = strlen(end);
    const bool same = ends_with(t->name, end) && (n == m || t->name[n - m - 1] == '.');
    if (same && t->rows == c->model.vocab && t->columns == c->model.hidden) return t;
  }
  return NULL;
}

/* Is a name that of an embedding of tokens, in anybody's words? */
static bool names_embedding(const char *name) {
  return ends_with(name, "embed_tokens.weight") || ends_with(name, "word_embeddings.weight") ||
         ends_with(name, "tok_embeddings.weight") || ends_with(name, ".wte.weight");
}

/* As transformers writes DeepSeek V4: blocks in the publisher's names, the embedding in its own. */
void qp_checkpoint_find_embedding(qp_checkpoint *c) {
  char name[QP_MODEL_NAME];
  qp_model *m = &c->model;
  snprintf(name, sizeof name, "%s.weight", m->embedding);
  if (m->surveyed || qp_checkpoint_find_stored(c, name)) return;
  for (size_t i = 0; i < c->count; i++) {
    const qp_source_tensor *t = &c->tensor[i];
    const size_t n = strlen(t->name) - strlen(".weight");
    if (!names_embedding(t->name) || n >= sizeof m->embedding) continue;
    if (t->rows != m->vocab || t->columns != m->hidden) continue;
    snprintf(m->embedding, sizeof m->embedding, "%.*s", (int)n, t->name);
    if (m->tied) qp_model_tie_head(m);
    return;
  }
}

void qp_checkpoint_find_head(qp_checkpoint *c) {
  char name[QP_MODEL_NAME];
  char *head = c->model.linear[c->model.linears].tensor;
  if (c->model.headless || c->model.tied) return;
  snprintf(name, sizeof name, "%s.weight", head);
  if (qp_checkpoint_find_stored(c, name)) return;
  const qp_source_tensor *other = find_other_head(c, head);
  if (other && strlen(other->name) - 7 < sizeof c->model.linear[0].tensor) {
    snprintf(head, sizeof c->model.linear[0].tensor, "%.*s", (int)strlen(other->name) - 7,
             other->name);
    return;
  }
  snprintf(name, sizeof name, "%s.weight", c->model.embedding);
  if (qp_checkpoint_find_stored(c, name)) qp_model_tie_head(&c->model);
}
