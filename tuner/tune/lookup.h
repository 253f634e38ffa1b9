/* SPDX-License-Identifier: MIT */
/* Finds the best record of a problem and says how it matched:  records -> [look-up] -> table,
   planner. */
#ifndef QP_LOOKUP_H
#define QP_LOOKUP_H

#include "gen/kernel/family.h"
#include "gen/spec/quantizer.h"
#include "tuner/plan/latency.h"
#include "tuner/tune/records.h"

/* Times of different kinds are never ranked together. */
typedef enum qp_time_kind {
  QP_TIME_CHAIN,  /* a launch in a CUDA graph chain, with PDL where that is faster */
  QP_TIME_KERNEL, /* the kernel's own duration, by CUPTI (or as the replay device tells it) */
  QP_TIME_EVENTS, /* a launch between two events */
  QP_TIME_KINDS
} qp_time_kind;
const char *qp_time_kind_name(qp_time_kind k); /* "chain", "kernel", "events" */
qp_status qp_time_kind_parse(const char *text, qp_time_kind *out, qp_error *err);
/* Give the picoseconds of a launch by this kind; 0: the record has none. */
int64_t qp_record_time(const qp_record *r, qp_time_kind kind);

/*
** The standard error of a record's median, in picoseconds: 1.2533 sigma / sqrt(samples), where
** sigma is 1.4826 times the median distance from the median.  Both factors are those of normally
** distributed samples.
*/
int64_t qp_record_standard_error(const qp_record *r);

typedef struct qp_lookup qp_lookup;

typedef struct qp_lookup_options {
  qp_time_kind kind;
  const char *driver;      /* The GPU at hand has this driver; NULL: that of the newest record. */
  qp_latency_match worst;  /* No worse match is returned. */
  const qp_records *other; /* Records of other GPUs, 'others' files of them. */
  size_t others;
  /* With both of these, records whose generator or quantizer has changed since are stale and never
     found; with NULL nobody looks. */
  qp_families *families;
  qp_palette *palette;
} qp_lookup_options;

typedef struct qp_pick {
  const qp_record *record; /* owned by the records */
  int64_t ps, spread_ps;   /* of what was asked for; of a nearest shape scaled by weights */
  qp_latency_match match;
} qp_pick;

/* Index the records, which must outlive the look-up and not change.  QP_E_NOMEM. */
qp_status qp_lookup_open(const qp_records *records, const qp_lookup_options *opt, qp_lookup **out,
                         qp_error *err);
void qp_lookup_close(qp_lookup *l);

/*
** Find the fastest record of a problem on a path ("" or NULL where its operation has one); of
** several within each other's spread the one whose name is first.  The best match goes first:
** exact, other driver, nearest shape (the same quantizers at the shape whose weights are nearest in
** ratio, its time scaled by weights; gemm alone), other GPU.
*/
bool qp_lookup_find(qp_lookup *l, const qp_problem *p, const char *path, qp_pick *out);

/*
** Get the record that says why tuning measured nothing on this path of the problem, since its
** machine code takes longer than another path (QP_RECORD_BOUNDED); it is owned by the records, and
** of this GPU.  NULL: there is none, today's generator writes another kernel, or the path was
** measured another time.
*/
const qp_record *qp_lookup_left_out(qp_lookup *l, const qp_problem *p, const char *path);

/* Records that were passed over so far because they are stale. */
size_t qp_lookup_stale(const qp_lookup *l);

/*
** Every problem of gemm and experts of this batch as rows of a latency table (exact and other
** driver), appended to '*out', whose gpu and source are set.  QP_E_ARG: a record cannot be a row;
** QP_E_NOMEM.
*/
qp_status qp_lookup_latency(qp_lookup *l, unsigned batch, const char *source, qp_latency_table *out,
                            qp_error *err);

/*
** Turn a record's candidate into a problem and a choice again.  QP_E_ARG means that its quantizer,
** its family or a tunable is not known, or that the quantizer has another definition now.
*/
qp_status qp_record_restore(const qp_record *r, qp_families *families, qp_palette *palette,
                            qp_problem *problem, qp_choice *choice, qp_error *err);
/* Does today's generator write another kernel for this record's candidate, or none? */
bool qp_record_is_stale(const qp_record *r, qp_families *families, qp_palette *palette,
                        qp_error *why);

#endif
