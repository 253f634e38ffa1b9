/* SPDX-License-Identifier: MIT */
/* Computes the rotation of a linear's input side. */
#include "gen/base/rotate.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/base/hadamard.h"
#include "gen/base/thread.h"
#include "runtime/half.h"
#include "runtime/input_side.h"

enum { MAX_THREADS = 256, ROWS_A_TURN = 16 };

void qp_rotate_signs(const char *name, uint64_t seed, unsigned columns, uint32_t *out) {
  uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, 64 bits */
  for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
  qp_random random = {hash ^ seed};
  const unsigned words = (columns + 31) / 32;
  for (unsigned i = 0; i < words; i++) out[i] = (uint32_t)qp_random_next(&random);
  if (columns % 32) out[words - 1] &= (1u << columns % 32) - 1;
}

qp_input qp_input_of(unsigned columns, unsigned rotation, const void *side) {
  qp_input in = {.columns = columns, .block = qp_side_block(rotation), .signs = side};
  const unsigned char *bytes = side;
  if (side && qp_side_has_order(rotation))
    in.order = (const void *)(bytes + qp_side_order_at(columns));
  if (side && qp_side_has_scale(rotation))
    in.scale = (const void *)(bytes + qp_side_scale_at(columns, rotation));
  return in;
}

/* ---- Rows, by threads that take a few at a time ---- */

typedef struct work {
  float *values;
  unsigned rows;
  const qp_input *in;
  bool back, of_x; /* from w~ to w; rows are of x, which is multiplied by d where w is divided */
  qp_hadamard h;
  _Atomic unsigned next;
  _Atomic bool failed;
} work;

static bool is_minus(const qp_input *in, unsigned k) { return in->signs[k / 32] >> (k % 32) & 1; }

static double scale_of(const qp_input *in, unsigned k) {
  return in->scale ? (double)qp_half_to_float(in->scale[k]) : 1;
}

static void rotate_row(const work *w, float *row, double *y) {
  const qp_input *in = w->in;
  const unsigned n = in->columns;
  if (w->back) {
    for (unsigned k = 0; k < n; k++) y[k] = (double)row[k];
    qp_hadamard_apply_transposed(&w->h, y, y);
    for (unsigned k = 0; k < n; k++) {
      const double v = y[in->order ? in->order[k] : k] * scale_of(in, k);
      row[k] = (float)(is_minus(in, k) ? -v : v);
    }
    return;
  }
  for (unsigned k = 0; k < n; k++) {
    const double d = scale_of(in, k), v = w->of_x ? (double)row[k] * d : (double)row[k] / d;
    y[in->order ? in->order[k] : k] = is_minus(in, k) ? -v : v;
  }
  qp_hadamard_apply(&w->h, y, y);
  for (unsigned k = 0; k < n; k++) row[k] = (float)y[k];
}

static void *rotate_some(void *argument) {
  work *w = argument;
  const unsigned n = w->in->columns;
  double *y = malloc(n * sizeof *y);
  if (!y) return atomic_store(&w->failed, true), NULL;
  for (;;) {
    const unsigned first = atomic_fetch_add(&w->next, ROWS_A_TURN);
    if (first >= w->rows) break;
    const unsigned end = w->rows - first < ROWS_A_TURN ? w->rows : first + ROWS_A_TURN;
    for (unsigned r = first; r < end; r++) rotate_row(w, w->values + (size_t)r * n, y);
  }
  free(y);
  return NULL;
}

/* A thread that cannot be started leaves its work to the others. */
static qp_status rotate_all(work *w, unsigned threads, qp_error *err) {
  pthread_t thread[MAX_THREADS];
  unsigned started = 0, wanted = threads < MAX_THREADS ? threads : MAX_THREADS;
  if (!w->in->signs) return QP_OK;
  qp_hadamard_factor_blocks(w->in->columns, w->in->block, &w->h);
  while (started + 1 < wanted && (started + 1) * ROWS_A_TURN < w->rows &&
         qp_thread_start(&thread[started], rotate_some, w))
    started++;
  rotate_some(w);
  for (unsigned i = 0; i < started; i++) qp_thread_join(thread[i]);
  return atomic_load(&w->failed) ? qp_fail(err, QP_E_NOMEM, "no memory to rotate a row") : QP_OK;
}

/* Rotated in place. */
qp_status qp_rotate_rows(float *values, unsigned rows, const qp_input *in, unsigned threads,
                         qp_error *err) {
  work w = {.values = values, .rows = rows, .in = in};
  return rotate_all(&w, threads, err);
}

/* Rotated in place. */
qp_status qp_rotate_rows_back(float *values, unsigned rows, const qp_input *in, unsigned threads,
                              qp_error *err) {
  work w = {.values = values, .rows = rows, .in = in, .back = true};
  return rotate_all(&w, threads, err);
}

static void transpose(float *values, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    for (unsigned j = i + 1; j < n; j++) {
      const float v = values[(size_t)i * n + j];
      values[(size_t)i * n + j] = values[(size_t)j * n + i];
      values[(size_t)j * n + i] = v;
    }
}

/* Rows, then columns. */
qp_status qp_rotate_moments(float *values, const qp_input *in, unsigned threads, qp_error *err) {
  work w = {.values = values, .rows = in->columns, .in = in, .of_x = true};
  qp_status status = rotate_all(&w, threads, err);
  if (status) return status;
  transpose(values, in->columns);
  atomic_store(&w.next, 0);
  return rotate_all(&w, threads, err);
}
