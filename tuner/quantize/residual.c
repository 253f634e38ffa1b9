/* SPDX-License-Identifier: MIT */
/* Targets of o and down from hidden states of the source and of what is coded so far. */
#include "tuner/quantize/residual.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/blas.h"
#include "gen/base/parallel.h"
#include "gen/base/random.h"
#include "gen/model/forward.h"

enum { TILE = 128, PIECE_ROWS = 512 };

struct qp_residual {
  qp_forward *source, *coded;
  const qp_model *model;
  qp_sequences text;
  size_t tokens, width;
  unsigned half; /* The halves of the model, counted from 0: 2 block, + 1 for the MLP. */
  bool ahead;
  float *x, *z;    /* [tokens][width]: what goes into the half, of the source and of the coded */
  float *y;        /* where 'ahead': of the source, what comes out */
  float **w;       /* [layers][linears]: as coded, until the block is behind */
  qp_model *apart; /* the model as ranks have it (qp_model_take_apart) ... */
  unsigned
      *filled; /* ... and [layers][linears] rows of w that are coded, of a matrix taken apart */
  qp_parallel *parallel;
  const qp_blas *blas;
};

uint64_t qp_residual_key(const qp_tokens *text) {
  uint64_t key = qp_random_mix(text->sequences);
  for (size_t i = 0; i < text->sequences; i++) key = qp_random_mix(key ^ text->end[i]);
  for (size_t i = 0; i < text->end[text->sequences - 1]; i++)
    key = qp_random_mix(key ^ text->id[i]);
  return key;
}

void qp_residual_close(qp_residual *r) {
  if (!r) return;
  for (size_t i = 0; r->w && i < (size_t)r->model->layers * r->model->linears; i++) free(r->w[i]);
  qp_forward_close(r->source);
  qp_forward_close(r->coded);
  qp_parallel_close(r->parallel);
  free(r->w);
  free(r->apart);
  free(r->filled);
  free(r->x);
  free(r->y);
  free(r->z);
  free(r);
}

static qp_status open_all(qp_residual *r, const char *model, qp_models *models, unsigned threads,
                          qp_error *err) {
  const qp_forward_options options = {.threads = threads, .resident_bytes = 1, .same = true};
  qp_status status = qp_forward_open(model, models, &options, &r->source, err);
  if (!status) status = qp_forward_open(model, models, &options, &r->coded, err);
  if (!status) status = qp_parallel_open(threads, &r->parallel, err);
  if (!status) status = qp_blas_open(&r->blas, err);
  if (status) return status;
  r->model = qp_forward_model(r->source);
  r->width = r->model->hidden;
  const size_t floats = r->tokens * r->width;
  r->w = calloc((size_t)r->model->layers * r->model->linears, sizeof(float *));
  r->x = malloc(floats * sizeof *r->x);
  r->y = malloc(floats * sizeof *r->y);
  r->z = malloc(floats * sizeof *r->z);
  r->filled = calloc((size_t)r->model->layers * r->model->linears, sizeof *r->filled);
  r->apart = malloc(sizeof *r->apart);
  if (!r->w || !r->x || !r->y || !r->z || !r->filled || !r->apart)
    return qp_fail(err, QP_E_NOMEM, "no memory for the hidden states of %zu tokens", r->tokens);
  status = qp_model_take_apart(r->model, r->apart, err);
  if (!status) status = qp_forward_embed(r->source, &r->text, r->x, err);
  if (!status) memcpy(r->z, r->x, floats * sizeof *r->z);
  return status;
}

qp_status qp_residual_open(const char *model, qp_models *models, const qp_tokens *text,
                           unsigned threads, qp_residual **out, qp_error *err) {
  qp_residual *r = calloc(1, sizeof *r);
  if (!r) return qp_fail(err, QP_E_NOMEM, "no memory");
  r->text = (qp_sequences){text->id, text->end, text->sequences};
  r->tokens = text->end[text->sequences - 1];
  const qp_status status = open_all(r, model, models, threads, err);
  const bool none = !status && qp_forward_norms_sums(r->source);
  if (status || none) qp_residual_close(r);
  if (!status) *out = none ? NULL : r;
  return status;
}

/* ---- Where a linear stands ---- */

static bool find_in(const qp_model *m, const char *name, unsigned *block, unsigned *linear) {
  char tensor[QP_MODEL_NAME];
  for (*block = 0; *block < m->layers; ++*block)
    for (*linear = 0; *linear < m->linears; ++*linear) {
      if (!qp_model_has(m, *block, *linear)) continue;
      qp_model_tensor(m, *linear, *block, tensor);
      if (!strcmp(tensor, name)) return true;
    }
  return false;
}

static bool find(const qp_residual *r, const char *name, unsigned *block, unsigned *linear) {
  return find_in(r->model, name, block, linear);
}

/* Rows of a matrix that was taken apart for ranks: with its last ones it is coded.  One of which a
   part stays as it is stays whole. */
static void take_rows(qp_residual *r, const char *name, const float *w) {
  unsigned block, part, linear = 0;
  if (!find_in(r->apart, name, &block, &part) || block < r->half / 2) return;
  const qp_model_linear *p = &r->apart->linear[part];
  while (linear < r->model->linears && (!qp_model_has(r->model, block, linear) ||
                                        strcmp(r->model->linear[linear].tensor, p->of.tensor) != 0))
    linear++;
  if (linear == r->model->linears) return;
  const qp_model_linear *l = &r->model->linear[linear];
  const size_t at = (size_t)block * r->model->linears + linear;
  if (!r->w[at]) r->w[at] = malloc((size_t)l->rows * l->columns * sizeof **r->w);
  if (!r->w[at]) return; /* its errors are not taken back, no more */
  for (size_t i = 0; i < p->rows; i++)
    memcpy(r->w[at] + (size_t)qp_model_row(&p->of, i) * l->columns, w + i * l->columns,
           l->columns * sizeof *w);
  r->filled[at] += p->rows;
  if (r->filled[at] == l->rows) qp_forward_override(r->coded, block, linear, r->w[at]);
}

void qp_residual_coded(qp_residual *r, const char *name, float *w) {
  unsigned block, linear;
  if (!find(r, name, &block, &linear) || block < r->half / 2) {
    take_rows(r, name, w);
    free(w);
    return;
  }
  float **to = &r->w[(size_t)block * r->model->linears + linear];
  free(*to);
  *to = w;
  qp_forward_override(r->coded, block, linear, w);
}

/* ---- Hidden states ---- */

static qp_status run(qp_residual *r, qp_forward *f, unsigned half, const qp_forward_hook *hook,
                     float *states, qp_error *err) {
  return qp_forward_half(f, half / 2, half % 2, &r->text, hook, states, err);
}

static void forget_block(qp_residual *r, unsigned block) {
  for (unsigned l = 0; l < r->model->linears; l++) {
    float **w = &r->w[(size_t)block * r->model->linears + l];
    qp_forward_override(r->coded, block, l, NULL);
    free(*w);
    *w = NULL;
    r->filled[(size_t)block * r->model->linears + l] = 0;
  }
}

/* The source's states behind the half, in r->y. */
static qp_status look_ahead(qp_residual *r, qp_error *err) {
  if (r->ahead) return QP_OK;
  memcpy(r->y, r->x, r->tokens * r->width * sizeof *r->y);
  const qp_status status = run(r, r->source, r->half, NULL, r->y, err);
  r->ahead = !status;
  return status;
}

/* States before 'half'; all linears before it are coded. */
static qp_status advance(qp_residual *r, unsigned half, const _Atomic bool *cancel, qp_error *err) {
  qp_status status = QP_OK;
  while (r->half < half && !status) {
    if (cancel && atomic_load(cancel)) return qp_fail(err, QP_E_LIMIT, "stopped");
    status = look_ahead(r, err);
    if (!status) status = run(r, r->coded, r->half, NULL, r->z, err);
    if (status) break;
    float *x = r->x;
    r->x = r->y;
    r->y = x;
    r->ahead = false;
    if (r->half++ % 2) forget_block(r, r->half / 2 - 1);
  }
  return status;
}

/* ---- Sums ---- */

/* sum [rows][columns] of a_i b_j over tokens, where a == b means that only the lower tiles
   count. */
typedef struct product {
  const qp_residual *r;
  const float *a, *b;
  unsigned rows, columns;
  size_t tokens;
  double *sum;
  float *piece; /* [threads][TILE][TILE] */
} product;

static unsigned tiles_of(unsigned n) { return (n + TILE - 1) / TILE; }

static int tile_size(unsigned n, unsigned tile) {
  const unsigned left = n - tile * TILE;
  return (int)(left < TILE ? left : TILE);
}

/* Add up to 512 tokens in fp32, and such products in double, as tuner/calibrate/moments.h does. */
static void add_tile(void *argument, size_t i, unsigned thread) {
  const product *p = argument;
  const unsigned across = tiles_of(p->columns);
  const unsigned row = (unsigned)i / across, column = (unsigned)i % across;
  const int height = tile_size(p->rows, row), width = tile_size(p->columns, column);
  const int a_stride = (int)p->rows, b_stride = (int)p->columns;
  const float one = 1, zero = 0;
  float *piece = p->piece + (size_t)thread * TILE * TILE;
  if (p->a == p->b && column > row) return;
  for (size_t at = 0; at < p->tokens; at += PIECE_ROWS) {
    const int n = (int)(p->tokens - at < PIECE_ROWS ? p->tokens - at : PIECE_ROWS);
    p->r->blas->sgemm("N", "T", &width, &height, &n, &one,
                      p->b + at * p->columns + (size_t)column * TILE, &b_stride,
                      p->a + at * p->rows + (size_t)row * TILE, &a_stride, &zero, piece, &width);
    for (int k = 0; k < height; k++)
      for (int l = 0; l < width; l++)
        p->sum[((size_t)row * TILE + (size_t)k) * p->columns + (size_t)column * TILE + (size_t)l] +=
            (double)piece[k * width + l];
  }
}

static qp_status multiply(const qp_residual *r, const float *a, unsigned rows, const float *b,
                          unsigned columns, double *sum, qp_error *err) {
  product p = {.r = r, .a = a, .b = b, .rows = rows, .columns = columns, .tokens = r->tokens};
  p.sum = sum;
  p.piece = malloc((size_t)qp_parallel_threads(r->parallel) * TILE * TILE * sizeof *p.piece);
  if (!p.piece) return qp_fail(err, QP_E_NOMEM, "no memory for a product");
  qp_parallel_for(r->parallel, (size_t)tiles_of(rows) * tiles_of(columns), add_tile, &p);
  free(p.piece);
  return QP_OK;
}

/* ---- The target ---- */

/* What the linear reads, of all tokens. */
typedef struct reader {
  unsigned group;
  float *x, *at;
} reader;

static qp_status take(void *arg, unsigned block, unsigned group, const float *x, size_t rows,
                      unsigned columns, qp_error *err) {
  reader *to = arg;
  (void)block, (void)err;
  if (group != to->group) return QP_OK;
  memcpy(to->at, x, rows * columns * sizeof *x);
  to->at += rows * columns;
  return QP_OK;
}

/* Put missing = (y - z) u^1/2 in place of z, and make x = x u^1/2. */
static void weigh(const qp_residual *r, float *z, float *x, unsigned columns) {
  for (size_t t = 0; t < r->tokens; t++) {
    const float *y = r->y + t * r->width;
    double square = 0;
    for (size_t i = 0; i < r->width; i++) square += (double)y[i] * (double)y[i];
    const float u = square > 0 ? (float)sqrt((double)r->width / square) : 0;
    for (size_t i = t * r->width; i < (t + 1) * r->width; i++) z[i] = u * (r->y[i] - z[i]);
    for (size_t i = t * columns; i < (t + 1) * columns; i++) x[i] *= u;
  }
}

/* sum [rows][columns] times the inverse of the damped moments [columns][columns], whose lower half
   is there; false: they have no factor. */
static bool divide(const qp_residual *r, double *moments, unsigned columns, double *sum,
                   unsigned rows) {
  const int n = (int)columns, m = (int)rows;
  const double one = 1;
  double mean = 0;
  int info = 0;
  for (size_t i = 0; i < columns; i++) mean += moments[i * columns + i] / columns;
  for (size_t i = 0; i < columns; i++) moments[i * columns + i] += QP_RESIDUAL_DAMPING * mean;
  r->blas->dpotrf("U", &n, moments, &n, &info); /* rows are columns to Fortran */
  if (info) return false;
  r->blas->dtrsm("L", "U", "T", "N", &n, &m, &one, moments, &n, sum, &n);
  r->blas->dtrsm("L", "U", "N", "N", &n, &m, &one, moments, &n, sum, &n);
  return true;
}

static qp_status regress(qp_residual *r, float *missing, float *x, const qp_model_linear *l,
                         float *w, qp_error *err) {
  const size_t cells = (size_t)l->rows * l->columns;
  double *moments = calloc((size_t)l->columns * l->columns, sizeof *moments);
  double *sum = calloc(cells, sizeof *sum);
  qp_status status =
      moments && sum ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for %u columns", l->columns);
  weigh(r, missing, x, l->columns);
  if (!status) status = multiply(r, x, l->columns, x, l->columns, moments, err);
  if (!status) status = multiply(r, missing, l->rows, x, l->columns, sum, err);
  const bool there = !status && divide(r, moments, l->columns, sum, l->rows);
  for (size_t i = 0; i < cells && there; i++) {
    if (!isfinite(sum[i])) {
      status = qp_fail(err, QP_E_ARG, "%s: the model's activations overflow", l->tensor);
      break;
    }
    w[i] += (float)(QP_RESIDUAL_SHARE * sum[i]);
  }
  free(moments);
  free(sum);
  return status;
}

qp_status qp_residual_target(qp_residual *r, const char *name, float *w, const _Atomic bool *cancel,
                             qp_error *err) {
  unsigned block, linear;
  if (!find(r, name, &block, &linear)) return QP_OK;
  const qp_model_linear *l = &r->model->linear[linear];
  const bool down = !strcmp(l->role, "down");
  if (!down && strcmp(l->role, "o") != 0) return QP_OK;
  qp_status status = advance(r, 2 * block + down, cancel, err);
  if (status) return status;
  const size_t bytes = r->tokens * r->width * sizeof(float);
  reader to = {.group = l->group, .x = malloc(r->tokens * l->columns * sizeof(float))};
  float *z = malloc(bytes);
  to.at = to.x;
  if (!to.x || !z) status = qp_fail(err, QP_E_NOMEM, "no memory for what %s reads", name);
  const qp_forward_hook hook = {take, &to};
  if (!status) status = look_ahead(r, err);
  if (!status) memcpy(z, r->z, bytes);
  if (!status) status = run(r, r->coded, r->half, &hook, z, err);
  if (!status) status = regress(r, z, to.x, l, w, err);
  free(to.x);
  free(z);
  return status;
}
