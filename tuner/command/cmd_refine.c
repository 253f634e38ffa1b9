/* SPDX-License-Identifier: MIT */
/* qpal refine: row scales and norms of packed weights, trained towards the source. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gen/model/forward.h"
#include "gen/model/text_tokens.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/base/session.h"
#include "tuner/base/stop.h"
#include "tuner/base/watch.h"
#include "tuner/command/commands.h"
#include "tuner/refine/refine.h"
#include "tuner/refine/rewrite.h"

enum { DEFAULT_CONTEXT = 1024, MAX_CONTEXT = 1 << 20, DEFAULT_BATCH = 1024, DEFAULT_HELD = 6144 };

static const qp_verb_help help = {
    "refine", "PACKED --against MODEL --text FILE | --tokens FILE  -o DIR [options]",
    "Trains what packed weights hold beside their codes, the scales of rows and the norms, so that "
    "the\n"
    "predictions come closer to those of MODEL, the source: the mean KL divergence on a text "
    "falls. "
    "Not\n"
    "a bit is added. Every eighth piece of the text is held out, and the step that is best there "
    "is\n"
    "written, to DIR; PACKED stays as it is. A text of 100,000 tokens that resembles the use is "
    "better\n"
    "than one of 30,000; evaluate on another one. A run that was stopped goes on from a quarter of "
    "its\n"
    "steps when the same command is given again."};

typedef struct refine_options {
  const char *against, *text, *tokens, *out, *quantizers, *rate;
  unsigned context, limit, steps, batch, held, seed, threads;
  bool json;
} refine_options;

/* ---- What was found ---- */

static const qp_column columns[] = {
    {"step", true}, {"kl_held_out", true}, {"seconds", true}, {NULL, false}};

static void tell(void *arg, unsigned step, double kl, double seconds) {
  qp_table_out *t = arg;
  qp_table_row(t);
  qp_table_number(t, step, "%.0f");
  qp_table_number(t, kl, "%.5f");
  qp_table_number(t, seconds, "%.0f");
  qp_table_flush(t);
}

static cJSON *say(const refine_options *o, const qp_refine_result *r, double rate) {
  cJSON *j = cJSON_CreateObject();
  cJSON_AddNumberToObject(j, "tokens", (double)r->trained);
  cJSON_AddNumberToObject(j, "held_out", (double)r->held);
  cJSON_AddNumberToObject(j, "steps", r->steps);
  cJSON_AddNumberToObject(j, "best_step", r->step);
  cJSON_AddNumberToObject(j, "batch", o->batch);
  cJSON_AddNumberToObject(j, "rate", rate);
  cJSON_AddNumberToObject(j, "seed", o->seed);
  cJSON_AddNumberToObject(j, "kl_before", r->before);
  cJSON_AddNumberToObject(j, "kl_after", r->after);
  cJSON_AddNumberToObject(j, "kl_change_error", r->error);
  return j;
}

/* ---- Running ---- */

typedef struct running {
  qp_session session;
  qp_models *models;
  qp_forward *model, *source;
  qp_safetensors *files;
  qp_tokens tokens;
  qp_factors factors;
} running;

/* Two pieces at least are needed, of which one is held out: where nobody said how long they are, a
   text shorter than two of the usual length is cut in the middle. */
static qp_status read_text(const refine_options *o, qp_tokens *out, qp_error *err) {
  const unsigned usual = o->context ? o->context : DEFAULT_CONTEXT;
  qp_tokens x = {0};
  qp_status status = qp_text_or_ids(o->against, o->text, o->tokens, usual, o->limit, &x, err);
  if (!status && !o->context && x.sequences == 1 && x.end[0] >= 4) {
    const size_t half = (x.end[0] + 1) / 2;
    fprintf(stderr, "qpal refine: a text of %zu tokens is short; pieces of it have %zu, not %u\n",
            x.end[0], half, usual);
    qp_tokens_free(&x);
    status = qp_text_or_ids(o->against, o->text, o->tokens, half, o->limit, &x, err);
  }
  if (!status) *out = x;
  return status;
}

static qp_status open_all(const refine_options *o, const char *path, running *r, qp_error *err) {
  qp_status status = qp_rewrite_check(path, o->out, err);
  if (!status) status = read_text(o, &r->tokens, err);
  if (!status && o->quantizers) status = qp_session_open(&r->session, err);
  if (!status && o->quantizers) status = qp_session_read_files(&r->session, o->quantizers, err);
  const qp_forward_options options = {.palette = r->session.palette, .threads = o->threads};
  if (!status) status = qp_models_open(&r->models, err);
  if (!status) status = qp_forward_open(path, r->models, &options, &r->model, err);
  if (!status) status = qp_forward_open(o->against, r->models, &options, &r->source, err);
  if (!status) status = qp_safetensors_open(path, &r->files, err);
  if (!status) status = qp_factors_open(r->model, qp_rewrite_has, r->files, &r->factors, err);
  return status;
}

static void close_all(running *r) {
  if (r->factors.f) qp_factors_close(&r->factors);
  qp_safetensors_close(r->files);
  qp_forward_close(r->model);
  qp_forward_close(r->source);
  if (r->models) qp_models_close(r->models);
  qp_tokens_free(&r->tokens);
  qp_session_close(&r->session);
}

static qp_status run(const refine_options *o, const char *path, double rate, qp_error *err) {
  running r = {0};
  qp_refine_result result = {0};
  char file[4096];
  const bool made = access(o->out, F_OK) != 0;
  qp_status status = open_all(o, path, &r, err);
  if (!status && snprintf(file, sizeof file, "%s/" QP_REWRITE_PART, o->out) >= (int)sizeof file)
    status = qp_fail(err, QP_E_LIMIT, "%s: the path is too long", o->out);
  qp_table_out *t = qp_table_new(columns, o->json);
  const size_t room[] = {6, 12, 8};
  qp_table_stream(t, room);
  qp_watch w;
  const qp_refine_options options = {.steps = o->steps,
                                     .seed = o->seed,
                                     .batch = o->batch,
                                     .held = o->held,
                                     .rate = rate,
                                     .file = file,
                                     .stopped = &qp_stopped,
                                     .done = &w.done,
                                     .tell = tell,
                                     .arg = t};
  if (!status) {
    qp_watch_begin(&w, "refine", "tokens", qp_refine_work(&r.tokens, &options));
    status = qp_refine(r.model, r.source, &r.tokens, &options, &r.factors, &result, err);
    qp_watch_end(&w);
  }
  qp_table_print(t);
  cJSON *said = status ? NULL : say(o, &result, rate);
  if (!status) status = qp_rewrite(path, o->out, &r.factors, said, err);
  if (!status) unlink(file);
  if (status && made) rmdir(o->out); /* if it is empty */
  cJSON_Delete(said);
  close_all(&r);
  if (!status && !o->json)
    printf("%s: divergence of %zu held-out tokens %.4f -> %.4f (change +- %.4f), step %u of %u\n",
           o->out, result.held, result.before, result.after, result.error, result.step,
           result.steps);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const refine_options *o = options;
  static const qp_unit none[] = {{"", 1}, {NULL, 0}};
  double rate = 0.003;
  (void)code;
  if (words->count != 1)
    return qp_fail(err, QP_E_ARG, "one PACKED folder is needed, got %zu", words->count);
  if (!o->against) return qp_fail(err, QP_E_ARG, "--against MODEL is needed: the source");
  if (!o->out || !*o->out) return qp_fail(err, QP_E_ARG, "-o DIR is needed: where to write");
  if (!o->text == !o->tokens)
    return qp_fail(err, QP_E_ARG, "--text FILE or --tokens FILE is needed%s",
                   o->text ? ", not both" : "");
  qp_status status = o->rate ? qp_quantity_parse("rate", o->rate, none, &rate, err) : QP_OK;
  if (!status && !(rate >= 1e-6 && rate <= 0.1))
    status = qp_fail(err, QP_E_ARG, "--rate %s: from 0.000001 to 0.1", o->rate);
  if (status) return status;
  qp_stop_catch();
  return run(o, words->word[0], rate, err);
}

int qp_cmd_refine(int argc, char **argv) {
  refine_options o = {.batch = DEFAULT_BATCH, .held = DEFAULT_HELD, .seed = 1};
  const qp_option table[] = {
      QP_TEXT("against", o.against, "MODEL", "the source that PACKED was made from"),
      QP_TEXT("text", o.text, "FILE", "UTF-8 text, by the tokenizer of the source"),
      QP_TEXT("tokens", o.tokens, "FILE", "token ids, a text a line"),
      QP_TEXT("o", o.out, "DIR", "folder to write to"),
      QP_NUMBER("tokens-used", o.limit, "N", "tokens of FILE, from its beginning (0: all)", 0,
                1u << 31),
      QP_NUMBER("context", o.context, "N",
                "tokens of a piece of it (1024, or half of a shorter text)", 2, MAX_CONTEXT),
      QP_NUMBER("steps", o.steps, "N", "steps of training (0: the text goes through once)", 0,
                1000000),
      QP_NUMBER("batch", o.batch, "N", "tokens of a step, in whole pieces (1024)", 1, 1u << 24),
      QP_NUMBER("held-out", o.held, "N", "tokens held out at most (6144)", 1, 1u << 24),
      QP_TEXT("rate", o.rate, "R", "largest relative step of a scale (0.003)"),
      QP_NUMBER("seed", o.seed, "N", "of the order of pieces (1)", 0, UINT32_MAX),
      QP_NUMBER("threads", o.threads, "N", "threads (0: as many as CPUs)", 0, 256),
      QP_TEXT("quantizers", o.quantizers, "LIST",
              "files of quantizers that PACKED was packed with and the palette lacks"),
      QP_FLAG("json", o.json, "print JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
