/* SPDX-License-Identifier: MIT */
/* Keeps measured candidates in files:  measurement -> [tuned/GPU.jsonl] -> look-up. */
#ifndef QP_RECORDS_H
#define QP_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/kernel/kernel.h"
#include "gen/kernel/problem.h"
#include "runtime/status.h"

/* What became of a candidate: enumerator, name in files, meaning. */
#define QP_RECORD_OUTCOMES(X)                                                                      \
  X(QP_RECORD_OK, "ok", "verified and timed")                                                      \
  X(QP_RECORD_COMPILE, "compile", "NVRTC refused the source")                                      \
  X(QP_RECORD_RESOURCES, "resources", "its compile report says that it cannot launch or spills")   \
  X(QP_RECORD_DUPLICATE, "duplicate", "the same code and launch as another candidate")             \
  X(QP_RECORD_BOUNDED, "bounded", "its machine code takes longer than another path, however fast") \
  X(QP_RECORD_WRONG, "wrong", "its result differs from the reference")                             \
  X(QP_RECORD_DEVICE, "device", "a driver call failed while it ran")                               \
  X(QP_RECORD_HANG, "hang", "it did not end within the time limit")                                \
  X(QP_RECORD_CRASH, "crash", "the process that measured it ended")                                \
  X(QP_RECORD_TIMER, "timer", "no timestamps that can be trusted")                                 \
  X(QP_RECORD_LOST, "lost", "the machine went down while it was in flight")

typedef enum qp_record_outcome {
#define X(id, name, help) id,
  QP_RECORD_OUTCOMES(X)
#undef X
      QP_RECORD_OUTCOME_COUNT
} qp_record_outcome;

/* As it stands in a record, "ok". */
const char *qp_record_outcome_name(qp_record_outcome o);

/* One measured candidate.  Times are whole picoseconds of one launch; 0 means not measured. */
typedef struct qp_record {
  char kernel[QP_KERNEL_NAME]; /* The candidate by its name (gen/kernel/kernel.h). */
  char op[16], family[32], path[16];
  unsigned segments;
  struct {
    unsigned rows;
    char quantizer[64], hash[33];
  } segment[QP_MAX_SEGMENTS];
  unsigned columns, batch;
  char type[8], out_type[8];
  bool rotate_fused;
  unsigned experts, top_k, tile; /* A stack and what routes to it have these; all others have 0. */
  unsigned slices; /* Slices of all experts that tokens go to, of which these are one; 0: all. */
  unsigned routing_seed; /* The routings that were timed came from it (tuner/check/routing.h); 0:
                            they came from elsewhere. */
  unsigned arch, sm_count;
  char tunables[256]; /* As they were asked for: "warps=16,runs=0,...". */
  char generator[33]; /* A hash of the CUDA source: a record is stale when it changes. */
  char code[17];      /* A hash of machine code and launch, equal for duplicates; "": not known. */
  char gpu[128], driver[32], nvrtc[96];
  char timer[32]; /* "CUPTI 13.0", "events" or "replay" */
  char date[24];  /* "2026-01-31T12:00:00Z" */
  qp_record_outcome outcome;
  char why[240];         /* The reason of any outcome but ok. */
  double error;          /* Relative L2 error against the reference; 0 where it was not verified. */
  int64_t ps, spread_ps; /* The kernel's duration: the median, and the median distance from it. */
  unsigned samples;
  int64_t chain_ps, chain_pdl_ps; /* One launch in a CUDA graph chain, without and with PDL. */
  unsigned clock_mhz;             /* The multiprocessors' clock while it was timed; 0: not known. */
  char throttle[64];              /* The reasons that NVML gave; "" where there were none. */
  unsigned registers, smem_bytes, spill_bytes;
} qp_record;

typedef struct qp_records {
  char gpu[128]; /* The schema line names it; "" before one was read. */
  size_t count, capacity;
  qp_record *list; /* malloc'ed */
} qp_records;

/* Free the list and clear; nothing of 'r' itself is freed. */
void qp_records_free(qp_records *r);
/* Append a copy; QP_E_NOMEM. */
qp_status qp_records_add(qp_records *r, const qp_record *record, qp_error *err);

/*
** Write the problem, the candidate and the generator's hash of a kernel into a record, whose other
** fields become zero.  'asked' is the choice before the generator filled in what was left to it.
*/
void qp_record_begin(const qp_kernel *kernel, const qp_choice *asked, qp_record *out);

/* Was this record made by the replay device?  Such records never enter tuned/ or a plan. */
bool qp_record_is_replay(const qp_record *r);

/* Hash a kernel's source: the 32 hex digits of its XXH3-128. */
void qp_record_generator(const char *source, char out[33]);

/* Print one line of JSON without the line feed, its fields in a fixed order; it is malloc'ed, NULL:
   no memory. */
char *qp_record_print(const qp_record *r);
/* 'where' ("tuned/h100.jsonl:12") begins messages.  QP_E_ARG names field, value, what is right. */
qp_status qp_record_parse(const char *where, const char *line, size_t bytes, qp_record *out,
                          qp_error *err);

typedef enum qp_records_policy {
  QP_RECORDS_MEASURED = 0, /* refuses records of the replay device */
  QP_RECORDS_REPLAY = 1,   /* takes them too */
  QP_RECORDS_TORN = 2      /* a last line without a line feed is ignored (journals) */
} qp_records_policy;

/*
** Read a file of records, appending to '*out' (which stays as it was on error).  The first line is
**   {"schema":"qpal-records","version":1,"gpu":"NVIDIA H100 80GB HBM3"}
** and every other line a record of that GPU.  'policy' is a sum of qp_records_policy.
** QP_E_ARG: names file, line, field and what is right; QP_E_IO; QP_E_LIMIT: more than 256 MiB.
*/
qp_status qp_records_read(const char *file, unsigned policy, qp_records *out, qp_error *err);
qp_status qp_records_parse(const char *file, const char *text, size_t bytes, unsigned policy,
                           qp_records *out, qp_error *err);

/*
** The file's whole text: schema line, then the records sorted by their lines, equal ones once, so
** that a union of two files is the same whichever comes first.  malloc'ed; QP_E_NOMEM.
*/
qp_status qp_records_print(const qp_records *r, char **text, size_t *bytes, qp_error *err);
/* May records of the replay device ('replay') go to this file?  QP_E_ARG: into a folder 'tuned', by
   whatever path or link it is reached. */
qp_status qp_records_check_place(const char *file, bool replay, qp_error *err);
/* Write the file as a whole or not at all.  QP_E_ARG is as above. */
qp_status qp_records_write(const char *file, const qp_records *r, qp_error *err);

/* Add all of 'from' to 'to'; QP_E_ARG: they are of two GPUs; QP_E_NOMEM. */
qp_status qp_records_merge(qp_records *to, const qp_records *from, qp_error *err);

/* Make the name of a GPU's file in tuned/:  "NVIDIA H100 80GB HBM3" -> "nvidia-h100-80gb-hbm3". */
void qp_records_file_name(const char *gpu, char *out, size_t size);

#endif
