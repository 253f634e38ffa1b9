/* SPDX-License-Identifier: MIT */
/* Statistics of launches; see meter.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/tune/meter.h"

/* A GPU that was idle needs some milliseconds of work until its clock stands. */
enum { FIRST = 3, WARM_UP_CHUNKS = 8 };
static const int64_t warm_up_ps = (int64_t)10 * 1000000000;

static int by_value(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

qp_timing qp_timing_of(int64_t *ps, unsigned n) {
  int64_t distance[QP_TIMING_MOST] = {0};
  if (n > QP_TIMING_MOST) n = QP_TIMING_MOST;
  qsort(ps, n, sizeof *ps, by_value);
  int64_t median = ps[(n - 1) / 2];
  for (unsigned i = 0; i < n; i++) distance[i] = ps[i] < median ? median - ps[i] : ps[i] - median;
  qsort(distance, n, sizeof *distance, by_value);
  return (qp_timing){.ps = median, .spread_ps = distance[(n - 1) / 2], .samples = n};
}

/* A launch that takes no time, or more than a minute, was not timed. */
static qp_status check_samples(const int64_t *ps, unsigned n, qp_error *err) {
  for (unsigned i = 0; i < n; i++)
    if (ps[i] <= 0 || ps[i] > (int64_t)60 * 1000000000000)
      return qp_fail(err, QP_E_WRONG, "launch %u: %lld ps is no duration", i + 1, (long long)ps[i]);
  return QP_OK;
}

static qp_status sample(qp_meter *m, qp_metered *c, unsigned n, int64_t *ps, qp_error *err) {
  qp_status status = m->ops->sample(m, c, n, ps, err);
  return status ? status : check_samples(ps, n, err);
}

/* Launch the kernel for 10 ms, or for 8 chunks of launches, none of which count. */
static qp_status warm_up(qp_meter *m, qp_metered *c, qp_error *err) {
  int64_t ps[QP_TIMING_MOST], spent = 0;
  unsigned n = FIRST;
  for (unsigned chunk = 0; chunk < WARM_UP_CHUNKS && spent < warm_up_ps; chunk++) {
    const qp_status status = sample(m, c, n, ps, err);
    if (status) return status;
    for (unsigned i = 0; i < n; i++) spent += ps[i];
    const int64_t more = (warm_up_ps - spent) / ps[n - 1] + 1;
    n = more < 1 ? 1 : more > QP_TIMING_MOST ? QP_TIMING_MOST : (unsigned)more;
  }
  return QP_OK;
}

qp_status qp_timing_take(qp_meter *m, qp_metered *c, unsigned n, qp_timing *out, qp_error *err) {
  int64_t ps[QP_TIMING_MOST];
  if (n < 1 || n > QP_TIMING_MOST)
    return qp_fail(err, QP_E_ARG, "%u launches; 1 to %d are possible", n, QP_TIMING_MOST);
  qp_status status = warm_up(m, c, err);
  if (!status) status = sample(m, c, n, ps, err);
  if (!status) *out = qp_timing_of(ps, n);
  return status;
}

qp_status qp_timing_interleaved(qp_meter *m, qp_metered *const *c, unsigned count, unsigned rounds,
                                unsigned n, qp_timing *out,
                                void (*now)(unsigned candidate, void *arg), void *arg,
                                qp_error *err) {
  if (!count || !rounds || !n || rounds > QP_TIMING_MOST / n)
    return qp_fail(err, QP_E_ARG, "%u rounds of %u launches; together at most %d", rounds, n,
                   QP_TIMING_MOST);
  int64_t *all = calloc((size_t)count * rounds * n, sizeof *all);
  if (!all) return qp_fail(err, QP_E_NOMEM, "no memory for samples");
  now(0, arg);
  qp_status status = warm_up(m, c[0], err);
  for (unsigned r = 0; r < rounds && !status; r++)
    for (unsigned i = 0; i < count && !status; i++) {
      now(i, arg);
      int64_t warm, *to = all + ((size_t)i * rounds + r) * n;
      status = sample(m, c[i], 1, &warm, err);
      if (!status) status = sample(m, c[i], n, to, err);
    }
  for (unsigned i = 0; i < count && !status; i++)
    out[i] = qp_timing_of(all + (size_t)i * rounds * n, rounds * n);
  free(all);
  return status;
}

qp_status qp_meter_open(const char *device, bool events, qp_meter **out, qp_error *err) {
  char *end;
  if (!strncmp(device, "replay:", 7) && device[7])
    return qp_meter_open_replay(device + 7, out, err);
  if (!strncmp(device, "cuda:", 5) && device[5]) {
    unsigned long index = strtoul(device + 5, &end, 10);
    if (!*end && index < 1024) return qp_meter_open_cuda((unsigned)index, events, out, err);
  }
  return qp_fail(err, QP_E_ARG,
                 "device '%s': cuda:N or replay:FILE is needed; a simulator has no clock", device);
}
