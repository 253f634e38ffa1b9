/* SPDX-License-Identifier: MIT */
/* qpal bench prints the GPU tier's rows, and a transformer block against its floor. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/checkpoint.h"
#include "tuner/bench/bench.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"

static const qp_verb_help help = {
    "bench", "[options]",
    "One row for each quantizer and launch of a model: verified against the reference, timed with\n"
    "cold weights, beside the time that the weights' bytes take at the read bandwidth measured in\n"
    "the same run. Then the linears of a whole transformer block in one CUDA graph, beside the "
    "sum\n"
    "of their records (what qpal plan adds up) or rows, the floor, and cuBLAS with fp16 weights.\n"
    "Kernels are the best that qpal tune recorded for this GPU, else the families' defaults.\n"
    "The exit code is 1 if a kernel fails. With the default budgets  qpal tune --model M  and "
    "then\n"
    "qpal bench --model M  take 25 minutes."};

typedef struct bench_options {
  const char *model, *quantizers, *batch, *device, *path, *records, *timer, *timeout, *budget,
      *against;
  unsigned samples, seed;
  bool all, json;
} bench_options;

static qp_status check(const bench_options *o, const qp_words *words, qp_error *err) {
  if (qp_words_none(words, err)) return QP_E_ARG;
  if (o->timer && strcmp(o->timer, "events") != 0)
    return qp_fail(err, QP_E_ARG, "--timer '%s': events, or nothing for CUPTI, is needed",
                   o->timer);
  if (o->against && o->json)
    return qp_fail(err, QP_E_ARG, "--against prints a table: not with --json");
  return QP_OK;
}

/* A failed kernel makes the answer false. */
static qp_status judge(const qp_bench *b, qp_error *err) {
  size_t failed = 0, measured = 0;
  for (size_t i = 0; i < b->rows; i++) {
    failed += b->row[i].outcome == QP_BENCH_FAIL;
    measured += b->row[i].outcome != QP_BENCH_NONE || !strcmp(b->row[i].why, QP_BENCH_LATE);
  }
  if (!measured)
    return qp_fail(err, QP_E_MISSING, "nothing was measured: %s",
                   b->rows && b->row[0].why[0] ? b->row[0].why : "the model has no such launch");
  for (size_t i = 0; i < b->blocks; i++) failed += b->block[i].why[0] != 0;
  return failed ? qp_fail(err, QP_E_WRONG, "%zu rows failed", failed) : QP_OK;
}

static qp_status show(const bench_options *o, const qp_bench *b, const cJSON *earlier,
                      qp_error *err) {
  if (o->json) return qp_bench_print_json(b, err);
  qp_bench_print(b);
  return earlier ? qp_bench_against(b, earlier, o->against, err) : QP_OK;
}

static const qp_unit seconds[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {NULL, 0}};

static qp_status run(const bench_options *o, const cJSON *earlier, qp_error *err) {
  qp_session s;
  qp_models *models = NULL;
  const qp_quantizer **quantizer = NULL;
  unsigned batch[QP_MAX_BATCHES];
  qp_bench b = {0};
  qp_bench_options bo = {.device = o->device,
                         .events = o->timer != NULL,
                         .records = o->records,
                         .batch = batch,
                         .path = o->path,
                         .all = o->all,
                         .samples = o->samples,
                         .seed = o->seed};
  qp_status status = qp_session_open(&s, err);
  if (status) return status;
  if (o->path && (status = qp_families_check_path(s.families, QP_OP_GEMM, o->path, err)))
    qp_fail_prefix(err, status, "--path");
  if (!status && o->timeout)
    status = qp_quantity_parse("timeout", o->timeout, seconds, &bo.timeout_s, err);
  if (!status) status = qp_quantity_parse("budget", o->budget, seconds, &bo.budget_s, err);
  if (!status) status = qp_batches_parse(o->batch, batch, &bo.batches, err);
  if (!status) status = qp_models_open(&models, err);
  if (!status) status = qp_checkpoint_find_model(models, o->model, &bo.model, err);
  if (!status) status = qp_session_quantizers(&s, o->quantizers, &quantizer, &bo.quantizers, err);
  bo.quantizer = quantizer;
  if (!status) {
    status = qp_bench_run(&s, &bo, &b, err);
    if (status && b.row && !o->json) qp_bench_print(&b); /* what was measured before it broke */
    if (!status) status = show(o, &b, earlier, err);
    if (!status) status = judge(&b, err);
  }
  qp_bench_free(&b);
  free(quantizer);
  qp_models_close(models);
  qp_session_close(&s);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  (void)code;
  const bench_options *o = options;
  cJSON *earlier = NULL;
  qp_status status = check(o, words, err);
  if (!status && o->against) status = qp_bench_read_earlier(o->against, &earlier, err);
  if (!status) status = run(o, earlier, err);
  cJSON_Delete(earlier);
  return status;
}

int qp_cmd_bench(int argc, char **argv) {
  bench_options o = {.model = "llama-3.1-8b",
                     .quantizers = "tcq,vq2,nuq",
                     .batch = "1,8",
                     .device = "cuda:0",
                     .budget = "5m",
                     .samples = 20,
                     .seed = 1};
  const qp_option table[] = {
      QP_TEXT("model", o.model, "MODEL",
              "a name of qpal list models, a checkpoint or a config.json; llama-3.1-8b"),
      QP_TEXT("quantizers", o.quantizers, "LIST", "names and prefixes (tcq,vq2,nuq)"),
      QP_TEXT("batch", o.batch, "LIST", "rows of activations; 1,8"),
      QP_TEXT("path", o.path, "PATH",
              "only of this path, tensor or cuda; default: what was tuned best, else tensor"),
      QP_FLAG("all", o.all,
              "every launch that a plan may use, not only a block's groups and the lm_head"),
      QP_TEXT("device", o.device, "D", "cuda:N or replay:FILE; cuda:0"),
      QP_TEXT("records", o.records, "FILE", "the kernels' records; default: this GPU's in tuned/"),
      QP_TEXT("timer", o.timer, "events",
              "time by events where there is no CUPTI; a sample is then the mean of a chain"),
      QP_NUMBER("samples", o.samples, "N", "launches a row; 20", 1, QP_TIMING_MOST),
      QP_NUMBER("seed", o.seed, "N", "of the data that kernels are verified with; 1", 0, 1u << 30),
      QP_TEXT("budget", o.budget, "TIME",
              "no quantizer is begun after it, compiling included: 90s, 1h; 5m"),
      QP_TEXT("timeout", o.timeout, "TIME", "of a row: 60s"),
      QP_TEXT("against", o.against, "FILE", "compare with what an earlier run printed with --json"),
      QP_FLAG("json", o.json, "one JSON object"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
