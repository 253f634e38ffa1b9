/* SPDX-License-Identifier: MIT */
/* qpal calibrate: what a model does with a text, for plan and quantize. */
#include <stdio.h>

#include "gen/model/forward.h"
#include "gen/model/text_tokens.h"
#include "tuner/base/options.h"
#include "tuner/base/stop.h"
#include "tuner/calibrate/calibrate.h"
#include "tuner/calibrate/ranking.h"
#include "tuner/command/commands.h"
#include "tuner/forward/engine.h"
#include "tuner/plan/calibration.h"

enum {
  DEFAULT_CONTEXT = 2048,
  MAX_CONTEXT = 1 << 20,
  DEFAULT_TOKENS = 32768,
  GRADIENT_TOKENS = 8192,
  NOISE_TOKENS = 2048,
  UNSAID = 1 << 30
};

static const qp_verb_help help = {
    "calibrate", "MODEL --text FILE | --tokens FILE  -o DIR [options]",
    "Runs MODEL (folder or .safetensors with a config.json, or .gguf) on a text and writes what "
    "plan\n"
    "and quantize take as --calibration DIR: E[x x^T] of what the linears read (Hessians, for "
    "error\n"
    "feedback), and each linear's sensitivity: the KL divergence of the predictions that noise in "
    "it\n"
    "causes, divided by the noise's relative variance: noise as error feedback leaves it, white "
    "with\n"
    "--no-hessians. It comes from gradients, of all linears at once; with --probes N noise is "
    "drawn\n"
    "and tried, in each linear by itself: some twenty times as long for as many tokens. Prints "
    "which\n"
    "linears matter.\n"
    "A text of 30,000 tokens that resembles the use is enough; evaluate on another one.\n"
    "A run that was stopped goes on where it was when the same command is given again."};

typedef struct calibrate_options {
  const char *text, *tokens, *folder, *noise, *device;
  unsigned limit, context, sensitivity_tokens, probes, seed, threads;
  bool no_hessians, no_sensitivities, json;
} calibrate_options;

static qp_status print_results(const calibrate_options *o, const qp_model *m, qp_error *err) {
  qp_calibration c;
  qp_status status = qp_calibration_open(o->folder, &c, err);
  if (status) return status;
  if (*c.sensitivity) status = qp_ranking_print(&c, m, o->json, err);
  qp_calibration_close(&c);
  return status;
}

/* Gradients are for the CPU: a device is quick with noise. */
static unsigned probes(const calibrate_options *o) {
  return o->probes < UNSAID ? o->probes : o->device ? 1 : 0;
}

static unsigned sensitivity_tokens(const calibrate_options *o) {
  if (o->no_sensitivities) return 0;
  if (o->sensitivity_tokens) return o->sensitivity_tokens;
  return probes(o) ? NOISE_TOKENS : GRADIENT_TOKENS;
}

static qp_status run(const calibrate_options *o, const char *path, double noise, qp_error *err) {
  qp_models *models = NULL;
  qp_engine *engine = NULL;
  qp_forward *f = NULL;
  qp_tokens tokens = {0};
  const qp_forward_options forward = {.threads = o->threads};
  qp_calibrate_options wishes = {
      .folder = o->folder,
      .text = o->text ? o->text : o->tokens,
      .hessians = !o->no_hessians,
      .half = o->device != NULL,
      .sensitivity_tokens = sensitivity_tokens(o),
      .sensitivity = {.noise = noise, .probes = probes(o), .seed = o->seed},
      .logit_bytes = (uint64_t)2 << 30,
      .stopped = &qp_stopped};
  qp_status status = qp_text_or_ids(path, o->text, o->tokens, o->context, o->limit, &tokens, err);
  if (!status && o->device) status = qp_engine_open(o->device, 0, &engine, err);
  if (engine) fprintf(stderr, "on %s, products by %s\n", o->device, qp_engine_products(engine));
  if (!status) status = qp_models_open(&models, err);
  if (!status) status = qp_forward_open(path, models, &forward, &f, err);
  if (!status && engine) status = qp_engine_attach(engine, f, err);
  if (!status) status = qp_calibrate(f, &tokens, &wishes, err);
  if (!status) status = print_results(o, qp_forward_model(f), err);
  qp_forward_close(f);
  qp_engine_close(engine);
  if (models) qp_models_close(models);
  qp_tokens_free(&tokens);
  return status;
}

static qp_status check(const calibrate_options *o, const qp_words *words, double *noise,
                       qp_error *err) {
  static const qp_unit none[] = {{"", 1}, {NULL, 0}};
  if (words->count != 1)
    return qp_fail(err, QP_E_ARG, "one MODEL is needed, got %zu", words->count);
  if (!o->text == !o->tokens)
    return qp_fail(err, QP_E_ARG, "--text FILE or --tokens FILE is needed%s",
                   o->text ? ", not both" : "");
  if (!o->folder) return qp_fail(err, QP_E_ARG, "-o DIR is needed");
  if (o->no_hessians && o->no_sensitivities)
    return qp_fail(err, QP_E_ARG, "--no-hessians and --no-sensitivities leave nothing to do");
  qp_status status = o->noise ? qp_quantity_parse("noise", o->noise, none, noise, err) : QP_OK;
  if (!status && !(*noise >= 1e-6 && *noise <= 1))
    status = qp_fail(err, QP_E_ARG, "--noise %s: from 0.000001 to 1", o->noise);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  double noise = 0.01;
  (void)code;
  const qp_status status = check(options, words, &noise, err);
  if (status) return status;
  qp_stop_catch();
  return run(options, words->word[0], noise, err);
}

int qp_cmd_calibrate(int argc, char **argv) {
  calibrate_options o = {.limit = DEFAULT_TOKENS, .context = DEFAULT_CONTEXT, .seed = 1};
  const qp_option table[] = {
      QP_TEXT("text", o.text, "FILE", "UTF-8 text, by the model's own tokenizer"),
      QP_TEXT("tokens", o.tokens, "FILE", "token ids, a text a line"),
      QP_TEXT("o", o.folder, "DIR", "where the calibration goes"),
      QP_NUMBER("tokens-used", o.limit, "N", "tokens of FILE, from its beginning (32768; 0: all)",
                0, 1u << 31),
      QP_NUMBER("context", o.context, "N", "tokens of a piece of it (2048)", 2, MAX_CONTEXT),
      QP_NUMBER("sensitivity-tokens", o.sensitivity_tokens, "N",
                "tokens for sensitivities, in whole pieces (8192; 2048 with --probes)", 1,
                1u << 24),
      QP_TEXT("noise", o.noise, "T", "relative variance of the noise (0.01)"),
      QP_NUMBER("probes", o.probes, "N",
                "pairs of noise a linear; 0: gradients (0; with --device 1)", 0, 1024),
      QP_NUMBER("seed", o.seed, "N", "of the noise, or of the tokens drawn for gradients (1)", 0,
                UINT32_MAX),
      QP_FLAG("no-hessians", o.no_hessians, "sensitivities alone"),
      QP_FLAG("no-sensitivities", o.no_sensitivities, "Hessians alone"),
      QP_TEXT("device", o.device, "D", "run the model on cuda:N, or sim: products take fp16 there"),
      QP_NUMBER("threads", o.threads, "N", "threads (0: as many as CPUs)", 0, 256),
      QP_FLAG("json", o.json, "print every linear's sensitivity as JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
