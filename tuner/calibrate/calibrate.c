/* SPDX-License-Identifier: MIT */
/*
** Calibrates a model in two passes over its blocks, each with the states that go into a block in
** memory: first Hessians from all tokens, then sensitivities from the first of them.  After each
** block, and after each linear, the ledger says that it is done.
*/
#include "tuner/calibrate/calibrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/file.h"
#include "gen/base/text.h"
#include "tuner/base/watch.h"
#include "tuner/calibrate/gradient_sensitivity.h"
#include "tuner/calibrate/hessian_files.h"
#include "tuner/calibrate/ledger.h"
#include "tuner/plan/calibration.h"

enum { HEAD_ROWS = 1024, HEAD_TOKENS = 2048 };

typedef struct run {
  qp_forward *f;
  const qp_model *model;
  const qp_tokens *tokens;
  const qp_calibrate_options *o;
  qp_ledger *ledger;
  char key[QP_CALIBRATION_KEY];
  char hessians[4096]; /* DIR/hessians */
  size_t probe_sequences, probe_tokens;
  float *hidden; /* [tokens][hidden] of the pass at hand */
  qp_watch watch;
  qp_error *err;
} run;

static qp_sequences first_sequences(const run *r, size_t count) {
  return (qp_sequences){r->tokens->id, r->tokens->end, count};
}

static qp_status check_stop(const run *r) {
  if (!r->o->stopped || !atomic_load(r->o->stopped)) return QP_OK;
  return qp_fail(r->err, QP_E_LIMIT, "stopped; the same command goes on where it was");
}

/* ---- Hessians ---- */

/* The head's input, without its logits: the pass ends with what the hook returns. */
typedef struct head_input {
  const qp_forward_hook *hook;
  qp_status status; /* of the hook */
  bool taken;
} head_input;

static qp_status take_head_input(void *arg, unsigned block, unsigned group, const float *x,
                                 size_t rows, unsigned columns, qp_error *err) {
  head_input *h = arg;
  h->taken = true;
  h->status = h->hook->input(h->hook->arg, block, group, x, rows, columns, err);
  return QP_E_LIMIT;
}

static qp_status run_head_inputs(run *r, const qp_forward_hook *hook, size_t tokens) {
  qp_status status = QP_OK;
  for (size_t at = 0; at < tokens && !status; at += HEAD_ROWS) {
    const size_t n = tokens - at < HEAD_ROWS ? tokens - at : HEAD_ROWS;
    head_input h = {.hook = hook};
    const qp_forward_hook ending = {.input = take_head_input, .arg = &h};
    status = qp_forward_head(r->f, r->hidden + at * r->model->hidden, n, &ending, NULL, r->err);
    if (h.taken) status = h.status;
  }
  return status;
}

/* Block 'block', or the head's input behind the last: with a hook only where its
   files are missing. */
static qp_status run_hessian_block(run *r, unsigned block, const qp_sequences *s) {
  const bool head = block == r->model->layers;
  qp_hessian_files files = {0};
  if (qp_ledger_has_hessians(r->ledger, block))
    return head ? QP_OK : qp_forward_block(r->f, block, s, NULL, r->hidden, r->err);
  qp_status status =
      qp_hessian_files_begin(r->model, block, qp_forward_parallel(r->f), &files, r->err);
  if (status) return status;
  const qp_forward_hook hook = qp_hessian_files_hook(&files);
  if (!head)
    status = qp_forward_block(r->f, block, s, &hook, r->hidden, r->err);
  else
    status = run_head_inputs(r, &hook, s->end[s->count - 1]);
  if (!status) status = qp_hessian_files_write(&files, r->hessians, r->err);
  if (!status) status = qp_ledger_add_hessians(r->ledger, block, r->err);
  qp_hessian_files_end(&files);
  return status;
}

static bool has_all_hessians(const run *r) {
  for (unsigned b = 0; b <= r->model->layers; b++)
    if (!qp_ledger_has_hessians(r->ledger, b)) return false;
  return true;
}

static qp_status run_hessians(run *r) {
  const qp_sequences s = first_sequences(r, r->tokens->sequences);
  const size_t tokens = s.end[s.count - 1];
  if (!r->o->hessians) return QP_OK;
  qp_status status = qp_hessian_files_index(r->model, r->hessians, r->err);
  if (status || has_all_hessians(r)) return status;
  r->hidden = malloc(tokens * r->model->hidden * sizeof *r->hidden);
  if (!r->hidden) return qp_fail(r->err, QP_E_NOMEM, "no memory for %zu hidden states", tokens);
  qp_watch_begin(&r->watch, "Hessians", "tokens", tokens * (r->model->layers + 1));
  status = qp_forward_embed(r->f, &s, r->hidden, r->err);
  for (unsigned b = 0; b <= r->model->layers && !status; b++) {
    if (!(status = check_stop(r))) status = run_hessian_block(r, b, &s);
    atomic_fetch_add(&r->watch.done, tokens);
  }
  qp_watch_end(&r->watch);
  free(r->hidden);
  r->hidden = NULL;
  return status;
}

/* ---- Sensitivities ---- */

static qp_status measure(run *r, qp_probe *p, unsigned block, unsigned linear) {
  qp_sensitivity s;
  atomic_fetch_add(&r->watch.done, 1);
  if (qp_ledger_sensitivity(r->ledger, block, linear, &s)) return QP_OK;
  qp_sensitivity_options o = r->o->sensitivity;
  float *hessian = NULL;
  qp_status status = check_stop(r);
  if (!status && r->o->hessians)
    status = qp_hessian_files_read(r->model, r->hessians, block, linear, &hessian, r->err);
  o.hessian = hessian;
  if (!o.probes) o.probes = 1;
  if (!status) status = qp_probe_measure(p, &o, block, linear, r->hidden, &s, r->err);
  free(hessian);
  return status ? status : qp_ledger_add_sensitivity(r->ledger, block, linear, &s, r->err);
}

static qp_status measure_all(run *r, qp_probe *p, const qp_sequences *s) {
  const qp_model *m = r->model;
  qp_status status = qp_forward_embed(r->f, s, r->hidden, r->err);
  for (unsigned b = 0; b < m->layers && !status; b++) {
    for (unsigned l = 0; l < m->linears && !status; l++) status = measure(r, p, b, l);
    if (!status) status = qp_forward_block(r->f, b, s, NULL, r->hidden, r->err);
  }
  return status ? status : measure(r, p, m->layers, m->linears);
}

static bool has_all_sensitivities(const run *r) {
  const qp_model *m = r->model;
  qp_sensitivity s;
  for (unsigned b = 0; b < m->layers; b++)
    for (unsigned l = 0; l < m->linears; l++)
      if (!qp_ledger_sensitivity(r->ledger, b, l, &s)) return false;
  return qp_ledger_sensitivity(r->ledger, m->layers, m->linears, &s);
}

static void gradients_path(const run *r, char path[4200]) {
  snprintf(path, 4200, "%s/gradients.f64", r->o->folder);
}

/* Measure all linears of the blocks by gradients, into the ledger. */
static qp_status run_gradients(run *r, const qp_sequences *s) {
  const qp_model *m = r->model;
  const size_t units = (size_t)m->layers * m->linears;
  char path[4200];
  gradients_path(r, path);
  const qp_gradient_options o = {.seed = r->o->sensitivity.seed,
                                 .hessians = r->o->hessians ? r->hessians : NULL,
                                 .file = path,
                                 .stopped = r->o->stopped,
                                 .done = &r->watch.done};
  qp_sensitivity *out = malloc(units * sizeof *out), before;
  if (!out) return qp_fail(r->err, QP_E_NOMEM, "no memory for sensitivities");
  qp_watch_begin(&r->watch, "gradients", "steps",
                 s->count * r->model->layers * (QP_GRADIENT_FORTH + QP_GRADIENT_BACK));
  qp_status status = qp_gradient_sensitivities(r->f, s, &o, out, r->err);
  qp_watch_end(&r->watch);
  for (size_t i = 0; i < units && !status; i++) {
    const unsigned block = (unsigned)(i / m->linears), linear = (unsigned)(i % m->linears);
    if (!qp_ledger_sensitivity(r->ledger, block, linear, &before))
      status = qp_ledger_add_sensitivity(r->ledger, block, linear, &out[i], r->err);
  }
  free(out);
  return status;
}

/* By noise: all linears, or behind the gradients the lm_head alone, for which fewer tokens do: it
   is one linear of which every token sees all rows. */
static qp_status run_noise(run *r) {
  const qp_model *m = r->model;
  qp_sequences s = first_sequences(r, r->probe_sequences);
  qp_probe *p = NULL;
  while (!r->o->sensitivity.probes && s.count > 1 && s.end[s.count - 1] > HEAD_TOKENS) s.count--;
  const size_t tokens = s.end[s.count - 1];
  r->hidden = malloc(tokens * m->hidden * sizeof *r->hidden);
  if (!r->hidden) return qp_fail(r->err, QP_E_NOMEM, "no memory for hidden states");
  const size_t linears = r->o->sensitivity.probes ? (size_t)m->layers * m->linears + 1 : 1;
  qp_watch_begin(&r->watch, "sensitivities", "linears", linears);
  qp_status status = qp_probe_open(r->f, &s, r->o->logit_bytes, &p, r->err);
  if (!status) status = linears > 1 ? measure_all(r, p, &s) : measure(r, p, m->layers, m->linears);
  qp_watch_end(&r->watch);
  qp_probe_close(p);
  free(r->hidden);
  r->hidden = NULL;
  return status;
}

static qp_status run_sensitivities(run *r) {
  const qp_sequences s = first_sequences(r, r->probe_sequences);
  if (!r->probe_tokens || has_all_sensitivities(r)) return QP_OK;
  qp_status status = r->o->sensitivity.probes ? QP_OK : run_gradients(r, &s);
  return status ? status : run_noise(r);
}

/* ---- Files ---- */

static void name_of(const qp_model *m, unsigned block, unsigned linear, char out[QP_MODEL_NAME]) {
  if (linear == m->linears)
    snprintf(out, QP_MODEL_NAME, "lm_head");
  else
    qp_model_tensor(m, linear, block, out);
}

/* One line a linear; sensitivity.json has the number alone.  Below 0 is rounding: 0. */
static void add_linear(const run *r, unsigned block, unsigned linear, qp_text *flat,
                       qp_text *whole) {
  char name[QP_MODEL_NAME];
  qp_sensitivity s;
  const char *end = linear == r->model->linears ? "" : ",";
  name_of(r->model, block, linear, name);
  if (!qp_ledger_sensitivity(r->ledger, block, linear, &s)) return;
  const double alpha = s.alpha > 0 ? s.alpha : 0;
  qp_text_add(flat, " \"%s\": %.9g%s\n", name, alpha, end);
  qp_text_add(whole, "  \"%s\": {\"sensitivity\": %.9g, \"standard_error\": %.3g}%s\n", name, alpha,
              s.error, end);
}

static void add_linears(const run *r, qp_text *flat, qp_text *whole) {
  const qp_model *m = r->model;
  for (unsigned b = 0; b < m->layers; b++)
    for (unsigned l = 0; l < m->linears; l++) add_linear(r, b, l, flat, whole);
  add_linear(r, m->layers, m->linears, flat, whole);
}

static void add_text(qp_text *t, const char *key, const char *s) {
  cJSON *v = cJSON_CreateString(s ? s : "");
  char *quoted = v ? cJSON_PrintUnformatted(v) : NULL;
  if (!quoted) t->failed = true;
  qp_text_add(t, " \"%s\": %s,\n", key, quoted ? quoted : "");
  cJSON_free(quoted);
  cJSON_Delete(v);
}

static void add_facts(const run *r, qp_text *t) {
  const qp_tokens *k = r->tokens;
  size_t longest = 0;
  for (size_t i = 0, begin = 0; i < k->sequences; begin = k->end[i++])
    if (k->end[i] - begin > longest) longest = k->end[i] - begin;
  qp_text_add(t, "{\n \"calibration\": %d,\n \"key\": \"%s\",\n", QP_CALIBRATION_VERSION, r->key);
  add_text(t, "model", r->model->name);
  qp_text_add(t, " \"weights\": \"%016llx\",\n", (unsigned long long)qp_forward_digest(r->f));
  add_text(t, "text", r->o->text);
  qp_text_add(t, " \"token_ids\": \"%016llx\",\n", (unsigned long long)qp_calibration_ids(k));
  qp_text_add(t, " \"tokens\": %zu,\n \"sequences\": %zu,\n \"context\": %zu,\n",
              k->end[k->sequences - 1], k->sequences, longest);
  if (r->o->half) qp_text_add(t, " \"products\": \"fp16\",\n");
  qp_text_add(t, " \"hessians\": %s,\n \"feedback\": %s,\n", r->o->hessians ? "true" : "false",
              r->o->hessians && r->probe_tokens ? "true" : "false");
  qp_text_add(t,
              " \"sensitivity_tokens\": %zu,\n \"noise\": %.9g,\n \"probes\": %u,\n"
              " \"seed\": %llu,\n",
              r->probe_tokens, r->o->sensitivity.noise, r->o->sensitivity.probes,
              (unsigned long long)r->o->sensitivity.seed);
}

static qp_status write_file(const run *r, const char *name, const qp_text *t) {
  char path[4200];
  if (t->failed) return qp_fail(r->err, QP_E_NOMEM, "%s: no memory", r->o->folder);
  snprintf(path, sizeof path, "%s/%s", r->o->folder, name);
  return qp_file_write(path, t->s, t->length, r->err);
}

/* calibration.json comes last: where it is, all is there. */
static qp_status write_results(const run *r) {
  qp_text flat = {0}, whole = {0};
  qp_text_add(&flat, "{\n");
  add_text(&flat, "source",
           r->o->hessians ? "qpal calibrate: KL divergence (nats a token) per relative variance of "
                            "noise, as error feedback leaves it; calibration.json says how it was "
                            "measured"
                          : "qpal calibrate: KL divergence (nats a token) per relative variance of "
                            "white noise; calibration.json says how it was measured");
  qp_text_add(&flat, " \"feedback\": %s,\n", r->o->hessians ? "true" : "false");
  add_facts(r, &whole);
  qp_text_add(&whole, " \"linears\": {\n");
  add_linears(r, &flat, &whole);
  qp_text_add(&flat, "}\n");
  qp_text_add(&whole, " }\n}\n");
  qp_status status = r->probe_tokens ? write_file(r, "sensitivity.json", &flat) : QP_OK;
  if (!status) status = write_file(r, "calibration.json", &whole);
  qp_text_free(&flat);
  qp_text_free(&whole);
  return status;
}

/* ---- All ---- */

/* Whole sequences of about as many tokens as were asked for, at least one. */
static void choose_probe(run *r) {
  const qp_tokens *t = r->tokens;
  const size_t wanted = r->o->sensitivity_tokens;
  if (!wanted) return;
  size_t n = 1;
  while (n < t->sequences && t->end[n] <= wanted) n++;
  r->probe_sequences = n;
  r->probe_tokens = t->end[n - 1];
}

static qp_calibration_subject subject_of(const run *r) {
  return (qp_calibration_subject){r->f, r->tokens, r->o, r->probe_tokens};
}

/* '*done': the folder holds just this, whole. */
static qp_status look_for_result(const run *r, bool *done) {
  const qp_calibration_subject s = subject_of(r);
  char path[4200];
  struct stat info;
  qp_calibration c;
  bool earlier;
  *done = false;
  snprintf(path, sizeof path, "%s/calibration.json", r->o->folder);
  if (stat(path, &info) != 0) return QP_OK;
  qp_status status = qp_calibration_open(r->o->folder, &c, r->err);
  if (status) return status;
  status = qp_calibration_compare(&c, r->o->folder, &s, &earlier, r->err);
  qp_calibration_close(&c);
  *done = !status;
  if (*done && earlier)
    fprintf(stderr,
            "qpal calibrate: %s: an earlier qpal made it and kept no digest of the weights; its "
            "text and options are these, and the first and the last linear: used as it is\n",
            r->o->folder);
  return status;
}

static qp_status open_folder(run *r) {
  char path[4200];
  const int n = snprintf(r->hessians, sizeof r->hessians, "%s/hessians", r->o->folder);
  if (n < 0 || (size_t)n + 64 >= sizeof r->hessians)
    return qp_fail(r->err, QP_E_LIMIT, "%s: too long a path", r->o->folder);
  snprintf(path, sizeof path, "%s/%s", r->o->folder, r->o->hessians ? "hessians/" : "");
  qp_file_make_folders(path);
  snprintf(path, sizeof path, "%s/ledger.jsonl", r->o->folder);
  return qp_ledger_open(path, r->key, r->model, &r->ledger, r->err);
}

qp_status qp_calibrate(qp_forward *f, const qp_tokens *tokens, const qp_calibrate_options *o,
                       qp_error *err) {
  run r = {.f = f, .model = qp_forward_model(f), .tokens = tokens, .o = o, .err = err};
  bool done = false;
  char path[4200];
  choose_probe(&r);
  const qp_calibration_subject s = subject_of(&r);
  qp_calibration_key(&s, r.key);
  qp_status status = look_for_result(&r, &done);
  if (status || done) return status;
  status = open_folder(&r);
  if (!status) status = run_hessians(&r);
  if (!status) status = run_sensitivities(&r);
  if (!status) status = write_results(&r);
  qp_ledger_close(r.ledger, !status);
  gradients_path(&r, path);
  if (!status) (void)remove(path); /* the ledger went too */
  return status;
}
