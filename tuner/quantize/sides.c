/* SPDX-License-Identifier: MIT */
/* Input sides of a job that are made already. */
#include "tuner/quantize/sides.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/list.h"

struct qp_sides {
  size_t count, capacity;
  struct {
    char *name; /* of the tensor */
    void *data;
  } * side;
};

qp_sides *qp_sides_new(void) { return calloc(1, sizeof(qp_sides)); }

void qp_sides_free(qp_sides *s) {
  if (!s) return;
  for (size_t i = 0; i < s->count; i++) {
    free(s->side[i].name);
    free(s->side[i].data);
  }
  free(s->side);
  free(s);
}

const void *qp_sides_find(const qp_sides *s, const char *name) {
  for (size_t i = 0; i < s->count; i++)
    if (!strcmp(s->side[i].name, name)) return s->side[i].data;
  return NULL;
}

qp_status qp_sides_keep(qp_sides *s, const char *name, void *data, qp_error *err) {
  char *own = strdup(name);
  void *larger = own ? qp_list_room(s->side, s->count, &s->capacity, sizeof *s->side) : NULL;
  if (!larger) {
    free(own);
    free(data);
    return qp_fail(err, QP_E_NOMEM, "no memory for an input side");
  }
  s->side = larger;
  s->side[s->count].name = own;
  s->side[s->count++].data = data;
  return QP_OK;
}
