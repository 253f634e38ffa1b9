/* SPDX-License-Identifier: MIT */
/* The replay device, whose file meter_replay.h describes. */
#include "tuner/tune/meter_replay.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/json.h"
#include "gen/base/random.h"
#include "tuner/tune/records.h"

enum { MAX_RULES = 16 };

typedef enum fault { HANG, CRASH, WRONG, DEVICE, TIMER, DROP, THROTTLE, FAULTS } fault;
static const char *const fault_names[] = {"hang",  "crash", "wrong",   "device",
                                          "timer", "drop",  "throttle"};
_Static_assert(sizeof fault_names / sizeof *fault_names == FAULTS, "a name for every fault");

typedef struct rule {
  char match[128];
  fault fault;
  uint64_t every;
} rule;

typedef struct replay {
  qp_meter base;
  double bandwidth_gbs, launch_ns, tflops, noise, delay_ms;
  uint64_t seed;
  unsigned rules;
  rule rule[MAX_RULES];
  qp_records records;
  bool throttled;
} replay;

struct qp_metered {
  const char *name;
  int64_t ps, chain_ps, chain_pdl_ps;
  bool faulty[FAULTS];
  qp_random random; /* of its noise: by its name alone, so that a resumed run sees the same */
};

static bool hits(const replay *r, const char *name, fault f) {
  for (unsigned i = 0; i < r->rules; i++) {
    const rule *u = &r->rule[i];
    if (u->fault != f || !strstr(name, u->match)) continue;
    if (XXH3_64bits_withSeed(name, strlen(name), r->seed + i) % u->every == 0) return true;
  }
  return false;
}

static void misbehave(const replay *r, const char *name) {
  if (hits(r, name, CRASH)) raise(SIGKILL);
  while (hits(r, name, HANG)) pause();
}

static void wait_ms(double ms) {
  struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(fmod(ms, 1000) * 1e6)};
  if (ms > 0) nanosleep(&t, NULL);
}

static qp_status replay_verify(qp_meter *m, const qp_kernel *k, const qp_compiled *c, uint64_t seed,
                               qp_verdict *out, qp_error *err) {
  replay *r = (replay *)m;
  (void)c, (void)seed, (void)err;
  wait_ms(r->delay_ms);
  misbehave(r, k->name);
  *out = (qp_verdict){.pass = true, .error = 2e-4, .tolerance = 2e-3, .compared = 1};
  if (hits(r, k->name, WRONG)) {
    *out = (qp_verdict){.error = 0.7, .tolerance = 2e-3, .compared = 1};
    snprintf(out->why, sizeof out->why, "relative L2 error 0.7 is above 2e-03 (injected)");
  }
  return QP_OK;
}

/* What no record knows: bandwidth and launch, times 1 to 2 by a hash of the name. */
static int64_t modelled_ps(const replay *r, const qp_kernel *k) {
  double bytes = 0;
  const qp_problem *p = &k->problem;
  for (unsigned i = 0; i < k->streams; i++)
    bytes += (double)k->stream[i].stream.code_words * 4 *
             (p->op == QP_OP_GATHER            ? (double)p->batch / p->segment[0].rows
              : qp_op_multiplies_stacks(p->op) ? qp_problem_met_experts(p) / p->experts
                                               : 1);
  for (unsigned i = 0; i < p->segments && p->op == QP_OP_DEQUANT; i++)
    bytes += 2.0 * p->segment[i].rows * p->columns;
  if (p->op == QP_OP_GATHER) bytes += 2.0 * p->columns * p->batch;
  if (qp_op_rotates(p->op)) bytes += 4.0 * p->columns * p->batch;
  if (p->op == QP_OP_ROTATE_NORM) bytes += 4.0 * p->columns * p->batch; /* residual, h */
  if (p->op == QP_OP_ROTATE_GLU) bytes += 2.0 * p->columns * p->batch;  /* up */
  if (p->op == QP_OP_COMBINE) bytes += 2.0 * p->columns * p->batch * (p->top_k + 1);
  uint64_t h = XXH3_64bits_withSeed(k->name, strlen(k->name), r->seed);
  double factor = 1 + (double)(h >> 11) * 0x1p-53;
  return llround((bytes / r->bandwidth_gbs + r->launch_ns) * factor * 1000);
}

static qp_status replay_load(qp_meter *m, const qp_kernel *k, const qp_compiled *c,
                             qp_metered **out, qp_error *err) {
  replay *r = (replay *)m;
  qp_metered *x = calloc(1, sizeof *x);
  if (!x) return qp_fail(err, QP_E_NOMEM, "no memory for a candidate");
  if (!c->cubin) return free(x), qp_fail(err, QP_E_ARG, "%s has no cubin", k->name);
  x->name = k->name;
  x->random.state = XXH3_64bits_withSeed(k->name, strlen(k->name), r->seed);
  x->ps = modelled_ps(r, k);
  for (size_t i = 0; i < r->records.count; i++) {
    const qp_record *known = &r->records.list[i];
    if (known->outcome != QP_RECORD_OK || strcmp(known->kernel, k->name) != 0) continue;
    x->ps = known->ps;
    x->chain_ps = known->chain_ps;
    x->chain_pdl_ps = known->chain_pdl_ps;
  }
  if (!x->chain_ps) x->chain_ps = x->ps + 800000;
  if (!x->chain_pdl_ps) x->chain_pdl_ps = x->ps;
  for (unsigned f = 0; f < FAULTS; f++) x->faulty[f] = hits(r, k->name, (fault)f);
  *out = x;
  return QP_OK;
}

static void replay_unload(qp_meter *m, qp_metered *c) {
  (void)m;
  free(c);
}

/* Draw something like a normal deviate: the sum of twelve uniform ones. */
static double deviate(qp_random *random) {
  double sum = -6;
  for (unsigned i = 0; i < 12; i++) sum += qp_random_uniform(random, 0, 1);
  return sum;
}

static int64_t noisy(const replay *r, qp_metered *c, int64_t ps) {
  double v = (double)ps * (1 + r->noise * deviate(&c->random));
  if (c->faulty[THROTTLE]) v *= 1.5;
  return v < 1 ? 1 : llround(v);
}

static qp_status replay_sample(qp_meter *m, qp_metered *c, unsigned n, int64_t *ps, qp_error *err) {
  replay *r = (replay *)m;
  if (c->faulty[DEVICE])
    return qp_fail(err, QP_E_DEVICE, "cuLaunchKernelEx: CUDA_ERROR_ILLEGAL_ADDRESS (injected)");
  for (unsigned i = 0; i < n; i++) ps[i] = noisy(r, c, c->ps);
  if (c->faulty[TIMER]) ps[n / 2] = 0;
  if (c->faulty[DROP])
    return qp_fail(err, QP_E_WRONG, "%u of %u timestamps came (injected)", n - 1, n);
  r->throttled = c->faulty[THROTTLE];
  return QP_OK;
}

static qp_status replay_chain(qp_meter *m, qp_metered *c, bool pdl, int64_t *ps, qp_error *err) {
  (void)err;
  *ps = noisy((replay *)m, c, pdl ? c->chain_pdl_ps : c->chain_ps);
  return QP_OK;
}

/* Give the sum of the chains. */
static qp_status replay_pass(qp_meter *m, qp_metered *const *c, const bool *pdl, unsigned count,
                             int64_t *ps, qp_error *err) {
  int64_t sum = 0, one;
  for (unsigned i = 0; i < count; i++) {
    const qp_status status = replay_chain(m, c[i], pdl[i], &one, err);
    if (status) return status;
    sum += one;
  }
  *ps = sum;
  return QP_OK;
}

/* Give the time of the weights' bytes at the bandwidth, or of arithmetic at a fixed rate, and that
   of a launch. */
static qp_status replay_cublas(qp_meter *m, unsigned rows, unsigned columns, unsigned batch,
                               qp_meter_product *out, qp_error *err) {
  const replay *r = (replay *)m;
  const double weights = (double)rows * columns;
  const double memory_ns = 2 * weights / r->bandwidth_gbs;
  const double arithmetic_ns = 2 * weights * batch / (r->tflops * 1e3);
  if (!(r->tflops > 0))
    return qp_fail(err, QP_E_MISSING, "the replay device has no cuBLAS ('tflops')");
  *out = (qp_meter_product){.ps = llround((fmax(memory_ns, arithmetic_ns) + r->launch_ns) * 1e3),
                            .error = 2e-4};
  snprintf(out->version, sizeof out->version, "cuBLAS, replayed");
  return QP_OK;
}

static void replay_state(qp_meter *m, qp_meter_state *out) {
  replay *r = (replay *)m;
  *out = (qp_meter_state){.clock_mhz = r->throttled ? 1200 : 1980};
  if (r->throttled) snprintf(out->throttle, sizeof out->throttle, "sw_power_cap");
}

static void replay_close(qp_meter *m) {
  replay *r = (replay *)m;
  qp_records_free(&r->records);
  free(r);
}

static const qp_meter_ops ops = {.close = replay_close,
                                 .verify = replay_verify,
                                 .load = replay_load,
                                 .unload = replay_unload,
                                 .sample = replay_sample,
                                 .chain = replay_chain,
                                 .pass = replay_pass,
                                 .cublas = replay_cublas,
                                 .state = replay_state};

/* ---- The file ---- */

static qp_status read_rule(replay *r, const char *where, const cJSON *o, qp_error *err) {
  const char *name;
  int64_t every = 1;
  if (r->rules == MAX_RULES)
    return qp_fail(err, QP_E_ARG, "%s: more than %d rules", where, MAX_RULES);
  if (!cJSON_IsObject(o)) return qp_fail(err, QP_E_ARG, "%s: rules: objects are needed", where);
  rule *u = &r->rule[r->rules];
  const cJSON *match = cJSON_GetObjectItemCaseSensitive(o, "match");
  if (!cJSON_IsString(match) || strlen(match->valuestring) >= sizeof u->match)
    return qp_fail(err, QP_E_ARG, "%s: rules: field 'match': a string is needed", where);
  memcpy(u->match, match->valuestring, strlen(match->valuestring) + 1);
  qp_status status = qp_json_text(o, where, "fault", &name, err);
  if (!status && cJSON_GetObjectItemCaseSensitive(o, "every"))
    status = qp_json_integer(o, where, "every", 1, 1 << 30, &every, err);
  if (status) return status;
  u->every = (uint64_t)every;
  for (unsigned f = 0; f < FAULTS; f++)
    if (!strcmp(name, fault_names[f])) return u->fault = (fault)f, r->rules++, QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s: rules: field 'fault': '%.40s' is none of hang, crash, wrong, device, timer, "
                 "drop, throttle",
                 where, name);
}

static qp_status optional(const cJSON *o, const char *where, const char *name, double lo, double hi,
                          double *out, qp_error *err) {
  if (!cJSON_GetObjectItemCaseSensitive(o, name)) return QP_OK;
  return qp_json_number(o, where, name, lo, hi, out, err);
}

static qp_status read_records(replay *r, const char *where, const cJSON *o, qp_error *err) {
  const char *name, *slash = strrchr(where, '/');
  char path[1024];
  if (!cJSON_GetObjectItemCaseSensitive(o, "records")) return QP_OK;
  qp_status status = qp_json_text(o, where, "records", &name, err);
  if (status) return status;
  int folder = slash && name[0] != '/' ? (int)(slash - where) + 1 : 0;
  snprintf(path, sizeof path, "%.*s%s", folder, where, name);
  return qp_records_read(path, QP_RECORDS_REPLAY, &r->records, err);
}

static qp_status read_file(replay *r, const char *where, const cJSON *o, qp_error *err) {
  const char *gpu = "", *driver = "";
  int64_t arch = 0, sms = 0, seed = 1;
  const cJSON *rules = cJSON_GetObjectItemCaseSensitive(o, "rules"), *u;
  if (!cJSON_IsObject(o)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", where);
  qp_status status = qp_json_text(o, where, "gpu", &gpu, err);
  if (!status) status = qp_json_text(o, where, "driver", &driver, err);
  if (!status) status = qp_json_integer(o, where, "arch", 70, 999, &arch, err);
  if (!status) status = qp_json_integer(o, where, "sm_count", 1, 1024, &sms, err);
  if (!status && cJSON_GetObjectItemCaseSensitive(o, "seed"))
    status = qp_json_integer(o, where, "seed", 0, INT32_MAX, &seed, err);
  if (!status) status = optional(o, where, "bandwidth_gbs", 1, 1e6, &r->bandwidth_gbs, err);
  if (!status) status = optional(o, where, "launch_ns", 0, 1e9, &r->launch_ns, err);
  if (!status) status = optional(o, where, "tflops", 0, 1e6, &r->tflops, err);
  if (!status) status = optional(o, where, "noise", 0, 1, &r->noise, err);
  if (!status) status = optional(o, where, "delay_ms", 0, 1e5, &r->delay_ms, err);
  if (!status) status = read_records(r, where, o, err);
  if (rules && !status)
    cJSON_ArrayForEach(u, rules) if (!status) status = read_rule(r, where, u, err);
  if (status) return status;
  qp_device_info *d = &r->base.info.device;
  snprintf(d->name, sizeof d->name, "%s", gpu);
  snprintf(r->base.info.driver, sizeof r->base.info.driver, "%s", driver);
  d->arch = d->capability = (unsigned)arch;
  d->sm_count = (unsigned)sms;
  r->seed = (uint64_t)seed;
  r->base.info.read_gbs = r->bandwidth_gbs;
  return QP_OK;
}

qp_status qp_meter_open_replay(const char *file, qp_meter **out, qp_error *err) {
  cJSON *o = NULL;
  replay *r = calloc(1, sizeof *r);
  if (!r) return qp_fail(err, QP_E_NOMEM, "no memory for a device");
  *r = (replay){.base = {.ops = &ops, .info = {.timer = "replay", .chains = true}},
                .bandwidth_gbs = 3000,
                .launch_ns = 2000,
                .tflops = 500};
  qp_status status = qp_json_read(file, &o, err);
  if (!status) status = read_file(r, file, o, err);
  cJSON_Delete(o);
  if (status) return replay_close(&r->base), status;
  *out = &r->base;
  return QP_OK;
}
