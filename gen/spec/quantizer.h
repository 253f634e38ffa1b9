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
  QP_MAX_PARTS = 16,
  QP_MAX_PIECES = 8, /* equal ranges of K, of which each has streams of its own */
  QP_MAX_RANGES = QP_MAX_PIECES * QP_MAX_PARTS,
  QP_SPARSE_SHARE = 8, /* entries of a row for one that may be sparse */
  QP_LAYOUT_VERSION = 1
};

typedef enum qp_quantizer_kind { QP_TRELLIS, QP_VECTOR, QP_SCALAR, QP_SPLIT } qp_quantizer_kind;

typedef enum qp_scope {
  QP_SCOPE_SPEC,   /* All linears have the same codebook, which is part of the definition. */
  QP_SCOPE_TENSOR, /* Each linear has its own, stored with its weights; 'data' is the default. */
  QP_SCOPE_ROW     /* Each row has its own (dim 1 or 2), stored likewise; 'data' is the default. */
} qp_scope;

typedef struct qp_codebook {
  char name[32];
  unsigned entries, dim; /* Any number of entries; dim is 1, 2, 4, 8 or 16. */
  unsigned given;        /* Numbers of an entry that decode sees; zeros follow them up to dim. */
  qp_scope scope;
  uint16_t *data; /* [entries][dim] fp16 bits, which the quantizer owns. */
} qp_codebook;

/* A number that is stored for each row and each group of columns, or for a whole row or linear. */
typedef struct qp_field {
  char name[32];
  qp_field_type type;
  unsigned size; /* Columns of a group, a multiple of 8; 0: all of the row. */
  bool tensor;   /* The linear has one for all its weights; 'size' is 0 then. */
  double lo, hi; /* Sensible values lie in this range: checks draw from it, encoders clamp to it. */
} qp_field;

/* By what columns of x are multiplied:  d[k] = m[k]^e, e chosen by the error of what is encoded. */
typedef enum qp_column_scale {
  QP_SCALE_NONE,
  QP_SCALE_ACTIVATIONS, /* m is the root of E[x x^T]'s diagonal, e goes from -1 to 0, as AWQ
                           does. */
  QP_SCALE_WEIGHTS      /* m is the root of the mean square of W's columns, e goes from 0 to 1. */
} qp_column_scale;

typedef struct qp_quantizer qp_quantizer;
struct qp_quantizer {
  char name[64];
  char file[256];            /* It was defined in this file. */
  int line;                  /* Its constructor stands there in that file. */
  int line_first, line_last; /* There the decode function stands; 0 for a default decode. */
  char *decode_text;         /* The text of those lines. */
  qp_quantizer_kind kind;
  unsigned window; /* Bits of the state that decode sees, ... */
  unsigned dim;    /* ... weights that it makes of one, ... */
  unsigned step;   /* ... and bits that the next state shifts in.  A vector or scalar has no chain:
                      its window and step are the bits of a code. */
  bool planes;     /* A scalar's codes are stored as bit planes, the most significant first. */
  unsigned planes_read; /* Bit planes that decode reads: all ('step'), or fewer (any-precision). */
  double rate;          /* Code bits a weight: step / dim, or planes_read / dim of bit planes. */
  double stored_rate;   /* The same with group fields, sparse entries, and codebooks of rows and
                           linears, of which 4096 x 4096 weights share theirs. */
  unsigned codebooks;
  qp_codebook codebook[QP_MAX_CODEBOOKS];
  /* The rotation has diagonal blocks of so many columns; 0: one of all columns, 1: there is no
     rotation.  Flags of runtime/input_side.h say that columns have an order, or scales. */
  unsigned rotation;
  qp_column_scale scale; /* How those scales are found. */
  unsigned group; /* Columns of the smallest group, which divide every other's; 0: there are no
                     groups. */
  unsigned fields;
  qp_field field[QP_MAX_FIELDS];
  double sparse; /* The share of a row's entries that have an fp16 number of their own, which is
                    added to what their codes decode to; 0: none. */
  qp_ir *decode; /* From a state and the group fields it makes 'dim' weights: ceil(dim / 2) outputs
                    that are PAIRs, or for an odd dim as many HALFs as there are weights. */
  unsigned layout; /* QP_LAYOUT_VERSION */
  char hash[33];   /* Of the definition, in hex: canonical IR, codebooks, numbers, layout. */
  unsigned parts;  /* Parts of a split; other kinds have none. */
  struct {
    const qp_quantizer *quantizer; /* Owned by the palette. */
    double fraction;               /* Its share of the columns, in order; all add up to 1. */
  } part[QP_MAX_PARTS];
};

/* A number for how x is taken: linears share a launch, and what stands before, where it is one. */
static inline unsigned qp_quantizer_side(const qp_quantizer *q) {
  return q->rotation | (unsigned)q->scale << 30;
}

typedef struct qp_palette qp_palette;

/*
** Open lua/quantizers (a resource).  Where it is what the binary carries, a file is loaded when one
** of its quantizers is asked for, else all are at once.  Errors name file, line, field and value.
*/
qp_status qp_palette_open(qp_palette **out, qp_error *err);
/* Load the files that are not yet; the same errors. */
qp_status qp_palette_load(qp_palette *p, qp_error *err);
void qp_palette_close(qp_palette *p);
/*
** Find a quantizer by its palette name, or by the path of a user's .lua file (contains '/' or ends
** in ".lua"; "path:name" picks one of several that a file returns; a file with exactly one needs no
** name).  A file is read once.  The palette owns the quantizer.
** QP_E_ARG: no such quantizer (with the nearest name), or the file is wrong; QP_E_IO: it cannot be
** read; QP_E_LIMIT: it runs too long, or needs too much memory; QP_E_NOMEM.
*/
qp_status qp_palette_find(qp_palette *p, const char *name, const qp_quantizer **out, qp_error *err);
/* Read a user's file, of one quantizer or several, of which some may be refused; same errors. */
qp_status qp_palette_open_file(qp_palette *p, const char *path, qp_error *err);
/*
** Find a quantizer by its name in the users' files that were read: of several the one of this hash,
** if there is one.  '*out' is NULL where no file has the name.  QP_E_ARG: it is refused, and why.
*/
qp_status qp_palette_opened(const qp_palette *p, const char *name, const char *hash,
                            const qp_quantizer **out, qp_error *err);
/*
** Visit the palette's quantizer of a name; where there is none, those of the family, "tcq-3" of
** "tcq", in order.  What the visitor returns but QP_OK ends it.  QP_OK where nothing is visited.
** Errors are those of loading.
*/
typedef qp_status (*qp_palette_visit)(const qp_quantizer *q, void *arg, qp_error *err);
qp_status qp_palette_each(qp_palette *p, const char *word, qp_palette_visit visit, void *arg,
                          qp_error *err);
/* Bytes of the path in such a name, "path" or "path:name"; 0: it is a name of the palette. */
size_t qp_palette_path_bytes(const char *name);
/* Of a palette that is loaded.  They come in the order of files, then by family, then by rate. */
size_t qp_palette_count(const qp_palette *p);
const qp_quantizer *qp_palette_get(const qp_palette *p, size_t i);

/*
** The table that encoders search and the reference reads: out[state * dim + i], fp16 bits, for all
** 2^window states (window <= 20).  Of bit planes only the first 2^planes_read states are codes, the
** rest is 0.  'fields' are the group's raw values (gen/spec/field.h; NULL: all 0);
** 'codebooks' (or one of them) overrides data of tensor/row scoped ones, or is NULL.
** QP_E_ARG: a split; QP_E_LIMIT: the window is too large; QP_E_NOMEM.
*/
qp_status qp_quantizer_table(const qp_quantizer *q, const uint32_t *fields,
                             const uint16_t *const *codebooks, uint16_t *out, qp_error *err);
/* Decode one state, with arguments as above; 'out' holds dim fp16 bits. */
void qp_quantizer_decode(const qp_quantizer *q, uint32_t state, const uint32_t *fields,
                         const uint16_t *const *codebooks, uint16_t *out);

#endif
