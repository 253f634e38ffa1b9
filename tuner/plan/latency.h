/* SPDX-License-Identifier: MIT */
/* Keeps latencies of launches in one neutral form:  records, foreign tables -> [rows] -> planner.
   */
#ifndef QP_LATENCY_H
#define QP_LATENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { QP_LATENCY_MEMBERS = 8, QP_LATENCY_BATCHES = 16 };

/* How a row came to be there, best first.  The planner takes the best row of a launch. */
typedef enum qp_latency_match {
  QP_MATCH_EXACT,         /* measured on this GPU with this driver and these shapes */
  QP_MATCH_OTHER_DRIVER,  /* measured on this GPU with another driver: used, and marked */
  QP_MATCH_NEAREST_SHAPE, /* scaled from other shapes: refused unless asked for */
  QP_MATCH_OTHER_GPU,     /* another GPU: refused unless asked for */
  QP_MATCH_KINDS
} qp_latency_match;
const char *qp_latency_match_name(qp_latency_match m); /* "exact", "other driver", ... */

/*
** One launch at one batch.  Either it is known by shapes: 'members' linears in fused order, each
** with its own quantizer.  Or it is known by 'key', for tables that know no shapes: the role of one
** linear ("lm_head"), or the first letters of the roles of several ("qkv", "ug"); then all have
** member[0].quantizer.
*/
typedef struct qp_latency_row {
  char key[32];
  unsigned members;        /* 1 with a key */
  unsigned experts, top_k; /* of stacks, whose shapes are those of one expert; else 0 */
  unsigned slices;         /* of stacks that are one of so many slices of all experts; else 0 */
  struct {
    unsigned rows, columns; /* M and K; 0 with a key */
    char quantizer[64];     /* The quantizer's name, or "fp16". */
    char hash[33];          /* definition hash; "": not known, as in foreign tables */
  } member[QP_LATENCY_MEMBERS];
  char path[16]; /* The path of a gemm family: "tensor", ... */
  unsigned batch;
  int64_t ps;        /* median picoseconds of one launch, > 0 */
  int64_t spread_ps; /* The standard error of that median; 0: it is not known. */
  unsigned samples;  /* samples behind the median; 0: not known */
  qp_latency_match match;
  bool unit_behind; /* up and gate: with the gated linear unit behind the gemm, which is quicker; ps
                       has what the rotation behind it, whose time is elsewhere, saves by it */
} qp_latency_row;

typedef struct qp_latency_table {
  char source[256]; /* file, for messages */
  char about[224];  /* what kind of figures these are, whose, how measured; "" where not said */
  char gpu[128];
  char model[64];      /* rows by key are of this model only; "" if rows have shapes */
  int64_t constant_ps; /* time of all in one pass that is in no row; 0 where not known */
  unsigned rotations;  /* batches whose rotations are known */
  struct {
    unsigned batch, launches;
    unsigned prologues; /* launches with the norm or gated linear unit before them */
    unsigned routings;  /* launches beside them, which route to experts or sum experts */
    int64_t ps; /* all rotations of one pass: of every input of linears that reads it rotated */
  } rotation[QP_LATENCY_BATCHES];
  unsigned units_behind; /* rows with the gated linear unit behind the gemm */
  int64_t overhead_ps; /* The fixed cost of a launch, for modelled launches; -1: it is not known. */
  size_t rows, capacity;
  qp_latency_row *row;
} qp_latency_table;

/*
** Append a row.  QP_E_ARG means that a number is not positive, that there is no member, ... (the
** message names 'source' and the row); QP_E_NOMEM.
*/
qp_status qp_latency_add(qp_latency_table *t, const qp_latency_row *row, qp_error *err);
void qp_latency_free(qp_latency_table *t);

/*
** Read a foreign table: JSON with  gpu, model, batch, constant_s  and groups.KEY.QUANTIZER.PATH =
** seconds a launch, where KEY names the linears of the launch by the first letters of their roles
** ("qkv", "ug").  Optional: kind, method and source, words that go into 'about';
** launch_overhead_s, spread (the same tree as groups, standard errors).  Seconds become whole
** picoseconds, rounded to nearest.
** QP_E_ARG: a field is missing, a latency is no number above 0, a row stands twice; QP_E_IO;
** QP_E_LIMIT; QP_E_NOMEM.  '*out' is untouched on error; free it with qp_latency_free.
*/
qp_status qp_latency_read_foreign(const char *file, qp_latency_table *out, qp_error *err);
qp_status qp_latency_parse_foreign(const char *file, const char *text, size_t bytes,
                                   qp_latency_table *out, qp_error *err);

#endif
