/* SPDX-License-Identifier: MIT */
/* qpal evaluate: perplexity of a model, and how far its predictions are from its source's. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gen/model/forward.h"
#include "gen/model/text_tokens.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/base/session.h"
#include "tuner/base/watch.h"
#include "tuner/command/commands.h"
#include "tuner/evaluate/evaluate.h"
#include "tuner/forward/engine.h"

enum { DEFAULT_CONTEXT = 2048, MAX_CONTEXT = 1 << 20 };

static const qp_verb_help help = {
    "evaluate", "MODEL --text FILE | --tokens FILE [--against MODEL] [options]",
    "Predicts every token of a text from those before it and prints perplexity; with --against, "
    "the\n"
    "source that MODEL was made from, also the mean KL divergence of the predictions (nats a "
    "token,\n"
    "of the model's from the source's) and the share of tokens where both find the same one most\n"
    "likely. MODEL is a checkpoint (folder or .safetensors with a config.json, .gguf) or a folder\n"
    "that qpal quantize wrote, whose weights are decoded on the CPU. All is computed in fp32; "
    "with\n"
    "--device products take fp16 there, and the rest stays fp32.\n\n"
    "FILE of --tokens holds ids, a text a line, with blanks between; lines that begin with # are "
    "left\n"
    "out. A text is cut into pieces of --context tokens, each predicted from its own beginning:\n"
    "its first token is not predicted. Standard errors take tokens as independent."};

typedef struct evaluate_options {
  const char *against, *text, *tokens, *quantizers, *device;
  unsigned context, limit, threads, memory; /* memory: MiB */
  bool json;
} evaluate_options;

/* ---- What was found ---- */

typedef struct figure {
  const char *name;
  double value;
  const char *format;
} figure;

static void print(const evaluate_options *o, const qp_divergence *d, double seconds) {
  const double loss = qp_divergence_mean(d->loss, d->tokens);
  const double source = qp_divergence_mean(d->source_loss, d->tokens);
  const double loss_error = qp_divergence_error(d->loss, d->loss_squares, d->tokens);
  const figure all[] = {
      {"tokens", (double)d->tokens, "%.0f"},
      {"perplexity", exp(loss), "%.4f"},
      {"perplexity_error", exp(loss) * loss_error, "%.4f"},
      {"source_perplexity", exp(source), "%.4f"},
      {"kl_divergence", qp_divergence_mean(d->kl, d->tokens), "%.6f"},
      {"kl_error", qp_divergence_error(d->kl, d->kl_squares, d->tokens), "%.6f"},
      {"same_top", qp_divergence_mean((double)d->same_top, d->tokens), "%.4f"},
      {"seconds", seconds, "%.1f"},
  };
  qp_column columns[sizeof all / sizeof *all + 1];
  size_t n = 0;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (o->against || i < 3 || i == 7) columns[n++] = (qp_column){all[i].name, true};
  columns[n] = (qp_column){NULL, false};
  qp_table_out *t = qp_table_new(columns, o->json);
  qp_table_row(t);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (o->against || i < 3 || i == 7) qp_table_number(t, all[i].value, all[i].format);
  qp_table_print(t);
}

/* ---- Running ---- */

/* Definitions in files of their own join the palette by being read. */
static qp_status open_palette(const evaluate_options *o, qp_session *s, qp_error *err) {
  if (!o->quantizers) return QP_OK;
  const qp_status status = qp_session_open(s, err);
  return status ? status : qp_session_read_files(s, o->quantizers, err);
}

/* Opened after the engine, and computed by it where there is one. */
static qp_status open_forward(const char *path, qp_models *models, const qp_forward_options *o,
                              qp_engine *engine, qp_forward **out, qp_error *err) {
  qp_status status = qp_forward_open(path, models, o, out, err);
  return status || !engine ? status : qp_engine_attach(engine, *out, err);
}

static qp_status run(const evaluate_options *o, const char *path, qp_error *err) {
  qp_session session = {0};
  qp_models *models = NULL;
  qp_engine *engine = NULL;
  qp_forward *model = NULL, *source = NULL;
  qp_tokens tokens = {0};
  qp_divergence sums = {0};
  qp_status status = open_palette(o, &session, err);
  const qp_forward_options options = {.palette = session.palette,
                                      .threads = o->threads,
                                      .resident_bytes = (uint64_t)o->memory << 20,
                                      .engine = o->device != NULL};
  if (!status)
    status = qp_text_or_ids(o->against ? o->against : path, o->text, o->tokens, o->context,
                            o->limit, &tokens, err);
  if (!status && o->device) status = qp_engine_open(o->device, 0, &engine, err);
  if (engine) fprintf(stderr, "on %s, products by %s\n", o->device, qp_engine_products(engine));
  if (!status) status = qp_models_open(&models, err);
  if (!status) status = open_forward(path, models, &options, engine, &model, err);
  if (!status && o->against)
    status = open_forward(o->against, models, &options, engine, &source, err);
  const double started = qp_seconds();
  if (!status) {
    qp_watch w;
    const size_t all = tokens.end[tokens.sequences - 1];
    qp_watch_begin(&w, "evaluate", "tokens", source ? 2 * all : all);
    status = qp_evaluate(model, source, &tokens, &w.done, &sums, err);
    qp_watch_end(&w);
  }
  if (!status) print(o, &sums, qp_seconds() - started);
  qp_forward_close(model);
  qp_forward_close(source);
  qp_engine_close(engine);
  if (models) qp_models_close(models);
  qp_tokens_free(&tokens);
  qp_session_close(&session);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const evaluate_options *o = options;
  (void)code;
  if (words->count != 1)
    return qp_fail(err, QP_E_ARG, "one MODEL is needed, got %zu", words->count);
  if (!o->text == !o->tokens)
    return qp_fail(err, QP_E_ARG, "--text FILE or --tokens FILE is needed: the text to predict");
  return run(o, words->word[0], err);
}

int qp_cmd_evaluate(int argc, char **argv) {
  evaluate_options o = {.context = DEFAULT_CONTEXT};
  const qp_option table[] = {
      QP_TEXT("against", o.against, "MODEL", "the source to compare with"),
      QP_TEXT("text", o.text, "FILE",
              "UTF-8 text, by the tokenizer of the source (of MODEL without --against)"),
      QP_TEXT("tokens", o.tokens, "FILE", "token ids, a text a line"),
      QP_NUMBER("context", o.context, "N", "tokens of a piece (2048)", 2, MAX_CONTEXT),
      QP_NUMBER("limit", o.limit, "N", "tokens of the file, from its beginning (0: all)", 0,
                1u << 31),
      QP_NUMBER("threads", o.threads, "N", "threads (0: as many as CPUs)", 0, 256),
      QP_NUMBER(
          "memory", o.memory, "MIB",
          "fp32 weights of a model that stay in memory; others are read again (0: half of what the "
          "machine has)",
          0, 1u << 31),
      QP_TEXT("device", o.device, "D", "compute on cuda:N, or sim, instead of the CPU"),
      QP_TEXT("quantizers", o.quantizers, "LIST",
              "files of quantizers that MODEL was packed with and the palette lacks"),
      QP_FLAG("json", o.json, "print JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
