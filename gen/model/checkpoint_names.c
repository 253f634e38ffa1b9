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

/*
** What stands before the blocks in names of the checkpoint where it is not the model's prefix:
** "" of a class of the blocks alone (LlamaModel), or more than the prefix.  NULL: nothing has
** such a name.
*/
static char *find_prefix(const qp_checkpoint *c) {
  char end[QP_MODEL_NAME];
  unsigned first = 0; /* of the linears that block 0 has, one that is no stack */
  while (first + 1 < c->model.linears &&
         (!qp_model_has(&c->model, 0, first) || c->model.linear[first].experts))
    first++;
  snprintf(end, sizeof end, "%s.0.%s.weight", c->model.blocks, c->model.linear[first].tensor);
  for (size_t i = 0; i < c->count; i++) {
    const char *name = c->tensor[i].name;
    const size_t n = strlen(name), m = strlen(end);
    if (ends_with(name, end) && (n == m || name[n - m - 1] == '.')) return strndup(name, n - m);
  }
  return NULL;
}

/* 'name' with 'to' in place of 'from' at its beginning, malloc'ed. */
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

void qp_checkpoint_find_head(qp_checkpoint *c) {
  char name[QP_MODEL_NAME];
  const char *head = c->model.linear[c->model.linears].tensor;
  if (c->model.headless || c->model.tied) return;
  snprintf(name, sizeof name, "%s.weight", head);
  if (qp_checkpoint_find_stored(c, name)) return;
  snprintf(name, sizeof name, "%s.weight", c->model.embedding);
  if (qp_checkpoint_find_stored(c, name)) qp_model_tie_head(&c->model);
}
