/* SPDX-License-Identifier: MIT */
/* A quantizer as loaded from its Lua file:  lua/quantizers/x.lua -> [quantizer + IR]. */
#ifndef QP_QUANTIZER_H
#define QP_QUANTIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/ir/ir.h"
#include "gen/spec/field.h"
#include "runtime/input_side.h"
#include "runtime/status.h"

enum {
  QP_MAX_CODEBOOKS = 4,
  QP_MAX_FIELDS = 8,
  QP_MAX_ARRAYS = 4, /* that hold a stream's fields (gen/spec/layout.h) */
  QP_MAX_PARTS = 4,
  QP_MAX_PIECES = 8, /* equal ranges of K, of which each has streams of its own */
  QP_MAX_RANGES = QP_MAX_PIECES * QP_MAX_PARTS,
  QP_LAYOUT_VERSION = 1
};

typedef enum qp_quantizer_kind { QP_TRELLIS, QP_VECTOR, QP_SCALAR, QP_SPLIT } qp_quantizer_kind;

typedef enum qp_scope {
  QP_SCOPE_SPEC,   /* one codebook for all, part of the definition */
  QP_SCOPE_TENSOR, /* one a linear, stored with the weights; 'data' is the default */
  QP_SCOPE_ROW     /* one a row (dim 1 or 2), stored with the weights; 'data' is the default */
} qp_scope;

typedef struct qp_codebook {
  char name[32];
  unsigned entries, dim; /* entries: any; dim: 1, 2, 4, 8 or 16 */
  unsigned given;        /* numbers of an entry that decode sees; 0 stands behind them up to dim */
  qp_scope scope;
  uint16_t *data; /* [entries][dim] fp16 bits */
} qp_codebook;

/* A number stored for each row and each group of columns, or for all of a row or linear. */
typedef struct qp_field {
  char name[32];
  qp_field_type type;
  unsigned size; /* columns a group, a multiple of 8; 0: all of the row */
  bool tensor;   /* one for the linear; size is 0 */
  double lo, hi; /* range of sensible values: what checks draw from and encoders clamp to */
} qp_field;

/* By what columns of x are multiplied:  d[k] = m[k]^e, e chosen by the error of what is encoded. */
typedef enum qp_column_scale {
  QP_SCALE_NONE,
  QP_SCALE_ACTIVATIONS, /* m the root of E[x x^T]'s diagonal, e from -1 to 0, as AWQ does */
  QP_SCALE_WEIGHTS      /* m the root of the mean square of W's columns, e from 0 to 1 */
} qp_column_scale;

typedef struct qp_quantizer qp_quantizer;
struct qp_quantizer {
  char name[64];
  char file[256];            /* where it was defined */
  int line;                  /* of its constructor in that file */
  int line_first, line_last; /* of the decode function in that file; 0 for a default decode */
  char *decode_text;         /* those lines */
  qp_quantizer_kind kind;
  unsigned window, dim,
      step;             /* bits, weights, bits; for vector and scalar window == step == bits */
  bool planes;          /* scalar only: codes stored as bit planes, most significant plane first */
  unsigned planes_read; /* planes used by decode: step where all are (any-precision reads fewer) */
  double rate;          /* code bits per weight: step / dim (planes_read / dim for bit planes) */
  double stored_rate;   /* with the group fields */
  unsigned codebooks;
  qp_codebook codebook[QP_MAX_CODEBOOKS];
  unsigned rotation; /* columns of a diagonal block of the rotation; 0: all, 1: none; with flags of
                        runtime/input_side.h: columns have an order, and scales, of their own */
  qp_column_scale scale; /* how these are found */
  unsigned group; /* columns of the smallest group, which divides every other's; 0: none */
  unsigned fields;
  qp_field field[QP_MAX_FIELDS];
  qp_ir *decode;   /* state (+ group fields) -> dim weights: ceil(dim/2) outputs, PAIRs;
                      for odd dim all outputs are HALFs, dim of them */
  unsigned layout; /* QP_LAYOUT_VERSION */
  char hash[33];   /* hex of the definition: canonical IR, codebooks, numbers, layout version */
  unsigned parts;  /* split only */
  struct {
    const qp_quantizer *quantizer; /* owned by the palette */
    double fraction;               /* of the columns, in order; they add up to 1 */
  } part[QP_MAX_PARTS];
};

/* A number for how x is taken: linears share a launch, and what stands before, where it is one. */
static inline unsigned qp_quantizer_side(const qp_quantizer *q) {
  return q->rotation | (unsigned)q->scale << 30;
}

typedef struct qp_palette qp_palette;

/* Load every file of lua/quantizers (resources).  Errors name file, line, field, value. */
qp_status qp_palette_open(qp_palette **out, qp_error *err);
void qp_palette_close(qp_palette *p);
/*
** By palette name, or by path of a user's .lua file (contains '/' or ends in ".lua"; "path:name"
** picks one of several that a file returns; a file with exactly one needs no name).  A file is read
** once.  Owned by the palette.
** QP_E_ARG: no such quantizer (with the nearest name), or the file is wrong; QP_E_IO: it cannot be
** read; QP_E_LIMIT: it runs too long, or needs too much memory; QP_E_NOMEM.
*/
qp_status qp_palette_find(qp_palette *p, const char *name, const qp_quantizer **out, qp_error *err);
/* Bytes of the path in such a name, "path" or "path:name"; 0: it is a name of the palette. */
size_t qp_palette_path_bytes(const char *name);
size_t qp_palette_count(const qp_palette *p);
const qp_quantizer *qp_palette_get(const qp_palette *p, size_t i); /* in load order: family, rate */

/*
** The table that encoders search and the reference reads: out[state * dim + i], fp16 bits, for all
** 2^window states (window <= 20).  Of bit planes only the first 2^planes_read states are codes, the
** rest is 0.  'fields' are the group's raw values (gen/spec/field.h; NULL: all 0);
** 'codebooks' (or one of them) overrides data of tensor/row scoped ones, or is NULL.
** QP_E_ARG: a split; QP_E_LIMIT: the window is too large; QP_E_NOMEM.
*/
qp_status qp_quantizer_table(const qp_quantizer *q, const uint32_t *fields,
                             const uint16_t *const *codebooks, uint16_t *out, qp_error *err);
/* One state, same meaning; out holds dim fp16 bits. */
void qp_quantizer_decode(const qp_quantizer *q, uint32_t state, const uint32_t *fields,
                         const uint16_t *const *codebooks, uint16_t *out);

#endif
