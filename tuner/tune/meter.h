/* SPDX-License-Identifier: MIT */
/* What measures: a GPU with CUPTI or events, or the replay device, is called through one table. */
#ifndef QP_METER_H
#define QP_METER_H

#include "gen/compile/compile.h"
#include "gen/kernel/kernel.h"
#include "gen/spec/reference.h"
#include "runtime/device.h"
#include "tuner/check/verify.h"

/* The device and its software, as records name them. */
typedef struct qp_meter_info {
  qp_device_info device;
  char driver[32]; /* "580.159" */
  char timer[32];  /* "CUPTI 13.0", "events", "replay" */
  bool chains;     /* can time chains in a CUDA graph */
  double read_gbs; /* The measured read bandwidth, in 1e9 bytes a second; 0: it was not measured. */
} qp_meter_info;

/* The multiprocessors' clock and why they may be held back, while something was timed. */
typedef struct qp_meter_state {
  unsigned clock_mhz; /* 0: not known */
  char throttle[64];  /* "" for none */
} qp_meter_state;

typedef struct qp_meter qp_meter;
typedef struct qp_metered qp_metered; /* a candidate that is loaded, with cold weights */

/* How long a library's matrix product took, and how right it was. */
typedef struct qp_meter_product {
  int64_t ps;
  double error;     /* relative L2 error of the rows that were checked */
  char version[64]; /* "cuBLAS 13.1.0" */
} qp_meter_product;

typedef struct qp_meter_ops {
  void (*close)(qp_meter *m);
  /* Compares with the reference on fresh random data, never on the buffers that timing uses. */
  qp_status (*verify)(qp_meter *m, const qp_kernel *k, const qp_compiled *c, uint64_t seed,
                      qp_verdict *out, qp_error *err);
  qp_status (*load)(qp_meter *m, const qp_kernel *k, const qp_compiled *c, qp_metered **out,
                    qp_error *err);
  void (*unload)(qp_meter *m, qp_metered *c);
  /* Measures the durations of 'n' launches in picoseconds; each reads weights that are in no cache.
     QP_E_WRONG: the timestamps cannot be trusted (zero, backwards, dropped). */
  qp_status (*sample)(qp_meter *m, qp_metered *c, unsigned n, int64_t *ps, qp_error *err);
  /* Measures the picoseconds of a launch in a CUDA graph chain, with or without programmatic
     dependent launch. */
  qp_status (*chain)(qp_meter *m, qp_metered *c, bool pdl, int64_t *ps, qp_error *err);
  void (*state)(qp_meter *m, qp_meter_state *out);
  /* Measures the picoseconds of one pass over 'count' candidates (at most QP_PASS_MOST), in order,
     in a CUDA graph of several passes; with pdl[i] candidate i is launched by programmatic
     dependent launch. */
  qp_status (*pass)(qp_meter *m, qp_metered *const *c, const bool *pdl, unsigned count, int64_t *ps,
                    qp_error *err);
  /* Measures cuBLAS with 16-bit weights, Y[N,M] = X[N,K] W[M,K]^T, as a launch in a CUDA graph
     chain.  QP_E_MISSING: there is none; QP_E_WRONG: its result is; QP_E_NOMEM: too large. */
  qp_status (*cublas)(qp_meter *m, unsigned rows, unsigned columns, unsigned batch,
                      qp_meter_product *out, qp_error *err);
} qp_meter_ops;

enum { QP_PASS_MOST = 64 };

/* Every meter begins with this. */
struct qp_meter {
  const qp_meter_ops *ops;
  qp_meter_info info;
  qp_device *gpu; /* where there is one, for what else is timed on it; NULL: the replay device */
};

/*
** Open what measures on 'device', which is "cuda:N" or "replay:FILE" (meter_replay.h).  With
** 'events' a GPU is timed by events instead of CUPTI.  A meter is used by one thread at a time and
** closed with ops->close. QP_E_MISSING means that there is no GPU, or no CUPTI while events were
** not asked for (the message says how to get it); QP_E_ARG; QP_E_IO.
*/
qp_status qp_meter_open(const char *device, bool events, qp_meter **out, qp_error *err);
qp_status qp_meter_open_cuda(unsigned index, bool events, qp_meter **out, qp_error *err);
qp_status qp_meter_open_replay(const char *file, qp_meter **out, qp_error *err);

/* ---- Statistics, the same for every meter ---- */

typedef struct qp_timing {
  int64_t ps, spread_ps; /* The median, and the median distance from it. */
  unsigned samples;
} qp_timing;

/* Compute the median (the lower of two) and the median absolute deviation of n >= 1 durations; 'ps'
   is sorted on the way. */
qp_timing qp_timing_of(int64_t *ps, unsigned n);

enum { QP_TIMING_MOST = 1024 };

/* Launch a few times to warm up, then time 'n' launches (1 .. QP_TIMING_MOST). */
qp_status qp_timing_take(qp_meter *m, qp_metered *c, unsigned n, qp_timing *out, qp_error *err);

/*
** Time finalists in turns: in each of 'rounds' rounds every candidate is launched 'n' times, one
** candidate after another, so that what drifts (clock, heat) meets all alike.  out[i] is over all
** launches of candidate i.  'now' is told the candidate before its launches.
*/
qp_status qp_timing_interleaved(qp_meter *m, qp_metered *const *c, unsigned count, unsigned rounds,
                                unsigned n, qp_timing *out,
                                void (*now)(unsigned candidate, void *arg), void *arg,
                                qp_error *err);

#endif
