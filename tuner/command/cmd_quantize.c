/* SPDX-License-Identifier: MIT */
/* qpal quantize: a checkpoint becomes packed weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/trellis_table.h"
#include "gen/encode/encode.h"
#include "gen/model/checkpoint.h"
#include "gen/model/text_tokens.h"
#include "runtime/printable.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/stop.h"
#include "tuner/base/output.h"
#include "tuner/plan/calibration.h"
#include "tuner/quantize/hessian.h"
#include "tuner/quantize/device_search.h"
#include "tuner/quantize/proof.h"
#include "tuner/quantize/residual.h"
#include "tuner/quantize/section.h"
#include "tuner/quantize/shard.h"
#include "tuner/quantize/survey.h"
#include "tuner/base/session.h"
#include "tuner/base/watch.h"

enum { DEFAULT_TOKENS = 16384, DEFAULT_CONTEXT = 1024, MAX_CONTEXT = 1 << 20 };

static const qp_verb_help help = {
    "quantize", "WEIGHTS --plan plan.json | --quantizer Q  -o DIR [options]",
    "Quantizes the linears of a checkpoint and writes safetensors shards that engines map\n"
    "(runtime/PACKED.md), with config.json, index and a report of distortions.\n"
    "WEIGHTS: a .safetensors file, its index.json or folder, with a config.json beside it; or a\n"
    ".gguf (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, MXFP4, NVFP4, Q2_K to Q6_K,\n"
    "IQ4_XS, IQ2_XXS, IQ2_XS, IQ3_XXS, TQ1_0, TQ2_0). What others have quantized is read too\n"
    "(gen/packings/PACKINGS.md). Norms pass through, as the embedding does without --embedding.\n"
    "A run that was stopped goes on where it was when the same command is given again."};

typedef struct quantize_options {
  const char *plan, *quantizer, *embedding, *folder, *hessian, *calibration, *device, *input_scale;
  const char *damping, *text, *tokens;
  unsigned limit, context;
  bool head, plain, verify, json;
  unsigned seed, threads, blocks, shard_mib, groups, beam, tp, ep;
  qp_repeats keep;
} quantize_options;

/* What is quantized, and by whose definitions. */
typedef struct sources {
  const char *weights;
  qp_session session;
  qp_models *models;
  qp_tokens tokens; /* of --text; no sequence: none */
} sources;

/* ---- Work ---- */

/* Where kernels find codes and verify. */
typedef struct place {
  char device[64];
  unsigned arch, sm_count;
  qp_compiler *compiler; /* NULL: no kernel is needed */
  qp_device_search *search;
} place;

/* All that forks; before --text or progress has threads. */
static qp_status open_place(const quantize_options *o, bool encodes, place *b, qp_error *err) {
  if (!o->verify && !(o->device && encodes)) return QP_OK;
  const qp_status status =
      qp_session_device(o->device, b->device, sizeof b->device, &b->arch, &b->sm_count, err);
  return status ? status
                : qp_compiler_open(&(qp_compiler_options){.workers = 1}, &b->compiler, err);
}

/* Open a device that encodes, where the user names one; that one verifies too. */
static qp_status open_searcher(const quantize_options *o, qp_session *s, qp_job *j, place *b,
                               qp_error *err) {
  if (!o->device) return QP_OK;
  const qp_status status = qp_device_search_open(b->device, b->arch, b->sm_count, b->compiler,
                                                 s->families, &b->search, err);
  if (!status) j->searcher = qp_device_search_hook(b->search);
  return status;
}

/* Open the text by which targets are corrected. */
static qp_status open_text(const sources *s, const quantize_options *o, qp_job *j, qp_error *err) {
  if (!s->tokens.sequences) return QP_OK;
  const qp_status status =
      qp_residual_open(s->weights, s->models, &s->tokens, o->threads, &j->residual, err);
  if (!status && !j->residual)
    fprintf(stderr,
            "qpal quantize: --text changes nothing: a %s norms what o and down give out before it "
            "is added\n",
            qp_checkpoint_model(j->checkpoint)->type);
  return status;
}

static qp_status encode_all(qp_job *j, qp_shards *s, double *seconds, size_t *encoded,
                            qp_error *err) {
  qp_watch w;
  *encoded = (size_t)qp_job_weights(j) - s->found;
  qp_status status = *encoded ? qp_job_scale(j, err) : QP_OK; /* before the clock starts */
  const double started = qp_seconds();
  qp_watch_begin(&w, "quantize", "weights", *encoded);
  for (size_t i = 0; i < j->shards && !status; i++) {
    const qp_job_shard *shard = &j->shard[i];
    for (size_t k = 0; k < shard->linears && !status; k++)
      status = qp_shards_encode(s, shard->linear + k, &w.done, &qp_stopped, err);
    if (!status && atomic_load(&qp_stopped)) status = qp_fail(err, QP_E_LIMIT, "stopped");
    if (!status) status = qp_shards_write(s, i, err);
  }
  qp_watch_end(&w);
  *seconds = qp_seconds() - started;
  if (status && atomic_load(&qp_stopped))
    return qp_fail(err, QP_E_LIMIT,
                   "stopped; what is done is kept in %s: give the same command again "
                   "to go on",
                   j->folder);
  return status;
}

/* ---- What came out ---- */

typedef struct row {
  const qp_quantizer *quantizer;
  char role[QP_MODEL_NAME];
  size_t linears;
  double weights, distortion, original, proxy, worst; /* means over linears, by weights */
} row;

enum { MAX_ROWS = 128 };

/* Make "self_attn.q_proj" of "model.layers.3.self_attn.q_proj", and of experts
   "mlp.experts.*.up_proj". */
static void role_of(const qp_model *m, const char *name, char out[QP_MODEL_NAME]) {
  char start[128];
  const int n = snprintf(start, sizeof start, "%s%s.", m->prefix, m->blocks);
  const char *dot = strncmp(name, start, (size_t)n) ? NULL : strchr(name + n, '.');
  const char *from = dot ? dot + 1 : name;
  size_t k = 0;
  while (*from && k + 1 < QP_MODEL_NAME) {
    const size_t digits = k && out[k - 1] == '.' ? strspn(from, "0123456789") : 0;
    const bool number = digits && from[digits] == '.';
    out[k++] = (char)(number ? '*' : *from);
    from += number ? digits : 1;
  }
  out[k] = 0;
}

static double figure(const cJSON *entry, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(entry, name);
  return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static void add_to_row(row *r, unsigned *rows, const char *role, const qp_quantizer *q,
                       const qp_job_linear *l, const cJSON *entry) {
  unsigned i = 0;
  while (i < *rows && (r[i].quantizer != q || strcmp(r[i].role, role) != 0)) i++;
  if (i == MAX_ROWS) return;
  if (i == *rows) {
    r[(*rows)++] = (row){.quantizer = q};
    snprintf(r[i].role, sizeof r[i].role, "%s", role);
  }
  const double n = (double)l->rows * l->columns, d = figure(entry, "distortion");
  r[i].linears++;
  r[i].weights += n;
  r[i].distortion += n * d;
  r[i].original += n * figure(entry, "distortion_original");
  r[i].proxy += n * figure(entry, "proxy");
  if (d > r[i].worst) r[i].worst = d;
}

static void print_rows(const qp_job *j, const cJSON *report) {
  static const qp_column columns[] = {
      {"linear", false},    {"quantizer", false},  {"linears", true},      {"weights", true},
      {"distortion", true}, {"on_original", true}, {"worst_linear", true}, {NULL, false}};
  static const qp_column with_hessian[] = {
      {"linear", false},      {"quantizer", false}, {"linears", true},
      {"weights", true},      {"distortion", true}, {"on_original", true},
      {"worst_linear", true}, {"proxy_loss", true}, {NULL, false}};
  const cJSON *linears = cJSON_GetObjectItemCaseSensitive(report, "linears");
  static row r[MAX_ROWS];
  unsigned rows = 0;
  for (unsigned all = 0; all < 2; all++) /* The last row is for all of them. */
    for (size_t i = 0; i < j->linears; i++) {
      const qp_job_linear *l = &j->linear[i];
      const cJSON *entry = cJSON_GetObjectItemCaseSensitive(linears, l->name);
      char role[QP_MODEL_NAME];
      role_of(qp_checkpoint_model(j->checkpoint), l->name, role);
      add_to_row(r, &rows, all ? "all" : role, all ? NULL : l->quantizer, l,
                 cJSON_GetObjectItemCaseSensitive(entry, l->quantizer->name));
    }
  qp_table_out *t = qp_table_new(j->hessian ? with_hessian : columns, false);
  for (unsigned i = 0; i < rows; i++) {
    qp_table_row(t);
    qp_table_text(t, r[i].role);
    qp_table_text(t, r[i].quantizer ? r[i].quantizer->name : "");
    qp_table_number(t, (double)r[i].linears, "%.0f");
    qp_table_number(t, r[i].weights, "%.0f");
    qp_table_number(t, r[i].distortion / r[i].weights, "%.6f");
    qp_table_number(t, r[i].original / r[i].weights, "%.6f");
    qp_table_number(t, r[i].worst, "%.6f");
    if (j->hessian) qp_table_number(t, r[i].proxy / r[i].weights, "%.6f");
  }
  qp_table_print(t);
}

/* Hessians that were not as they should be; those of linears that have none are no matter. */
static void print_hessians(const qp_job *j, const cJSON *report) {
  const cJSON *linears = cJSON_GetObjectItemCaseSensitive(report, "linears");
  for (size_t i = 0; i < j->linears && j->hessian; i++) {
    const qp_job_linear *l = &j->linear[i];
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(linears, l->name);
    const double damping =
        figure(cJSON_GetObjectItemCaseSensitive(entry, l->quantizer->name), "damping");
    if (damping > (j->damping > 0 ? j->damping : QP_ENCODE_DAMPING))
      fprintf(stderr,
              "%s: its Hessian is not positive definite: it was damped by %g of its mean diagonal; "
              "more samples would help\n",
              l->name, damping);
    if (!(damping > 0) && qp_hessian_stamp(j->hessian, l->name))
      fprintf(stderr, "%s: no Hessian, or one of zeros: encoded without error feedback\n", l->name);
  }
}

/* Codebooks that belong to the linears, but are those of the spec. */
static void print_unfitted(const qp_job *j, const cJSON *report) {
  const cJSON *linears = cJSON_GetObjectItemCaseSensitive(report, "linears");
  for (size_t i = 0; i < j->linears; i++) {
    const qp_job_linear *l = &j->linear[i];
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(linears, l->name);
    const char *why = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(entry, l->quantizer->name), "unfitted"));
    if (why) fprintf(stderr, "%s: codebooks stay as the file has them: %s\n", l->name, why);
  }
}

static void print_report(const qp_job *j, const cJSON *report, bool json, size_t encoded,
                         double seconds) {
  print_hessians(j, report);
  print_unfitted(j, report);
  if (json) {
    char *text = cJSON_Print(report);
    if (text) puts(text);
    cJSON_free(text);
    return;
  }
  print_rows(j, report);
  printf("%zu linears, %.0f weights at %.4f bits a weight, everything stored; model %.1f MB in %zu "
         "file%s of %s\n",
         j->linears, figure(report, "weights"), figure(report, "bits_per_weight"),
         figure(report, "stored_bytes") / 1e6, j->shards, j->shards == 1 ? "" : "s", j->folder);
  if (j->odds)
    printf(
        "%u linear%s stay%s as they are: %s; kernels take rows in multiples of 16 and columns in "
        "multiples of 32\n",
        j->odds, j->odds == 1 ? "" : "s", j->odds == 1 ? "s" : "", j->odd);
  const size_t all = (size_t)qp_job_weights(j);
  if (encoded < all) printf("%zu weights were there already\n", all - encoded);
  if (encoded && seconds > 0)
    printf("%zu weights in %.1f s: %.0f a second\n", encoded, seconds, (double)encoded / seconds);
}

/* ---- Verification ---- */

static qp_status verify(const qp_job *j, qp_session *session, const quantize_options *o,
                        const place *b, int *code, qp_error *err) {
  qp_proof_options p = {.device = b->device,
                        .arch = b->arch,
                        .sm_count = b->sm_count,
                        .compiler = b->compiler,
                        .row_groups = o->groups,
                        .cancel = &qp_stopped};
  if (!p.row_groups && !strncmp(b->device, "sim", 3)) p.row_groups = 2;
  qp_proof proof;
  qp_watch w;
  qp_watch_begin(&w, "verify", "weights", (size_t)qp_job_weights(j));
  p.done = &w.done;
  const qp_status status = qp_proof_run(j, session->families, &p, &proof, err);
  qp_watch_end(&w);
  if (status) return status;
  FILE *to = o->json ? stderr : stdout;
  fprintf(
      to,
      "verify: %zu linears, %zu weights by the reference, %zu by the dequant kernel on %s, error "
      "%.2e: %s%s%s\n",
      proof.linears, proof.reference_weights, proof.kernel_weights, b->device, proof.worst,
      *proof.why ? "FAIL" : "PASS", *proof.why ? ": " : "", proof.why);
  if (*proof.why) *code = 1;
  return QP_OK;
}

/* ---- The verb ---- */

/* Read a number above 0 and at most 'most'. */
static bool read_number(const char *text, double most, double *out) {
  char *end;
  *out = strtod(text, &end);
  return end != text && !*end && *out > 0 && *out <= most;
}

static qp_status read_wishes(const quantize_options *o, qp_session *s, qp_job_wishes *w,
                             qp_error *err) {
  *w = (qp_job_wishes){.folder = o->folder,
                       .plan = o->plan,
                       .hessian = o->hessian,
                       .head = o->head,
                       .rotate = !o->plain,
                       .seed = o->seed,
                       .threads = o->threads,
                       .beam = o->beam,
                       .blocks = o->blocks,
                       .ranks = o->tp,
                       .slices = o->ep,
                       .shard_bytes_mib = o->shard_mib,
                       .keep = o->keep.value,
                       .keeps = o->keep.count};
  if (!o->folder || !*o->folder) return qp_fail(err, QP_E_ARG, "-o DIR is needed: where to write");
  if (!o->plan == !o->quantizer)
    return qp_fail(err, QP_E_ARG, "either --plan or --quantizer is needed");
  if (o->input_scale && !read_number(o->input_scale, 100, &w->input_scale))
    return qp_fail(err, QP_E_ARG, "--input-scale '%s': a number above 0 is needed, such as 0.9",
                   o->input_scale);
  if (o->damping && !o->hessian && !o->calibration)
    return qp_fail(err, QP_E_ARG, "--damping is of Hessians: --calibration or --hessian is needed");
  if (o->damping && !read_number(o->damping, 1, &w->damping))
    return qp_fail(err, QP_E_ARG,
                   "--damping '%s': a number above 0, at most 1, is needed: %g is usual",
                   o->damping, QP_ENCODE_DAMPING);
  qp_status status = QP_OK;
  if (o->quantizer) status = qp_palette_find(s->palette, o->quantizer, &w->quantizer, err);
  if (!status && o->embedding)
    status = qp_palette_find(s->palette, o->embedding, &w->embedding, err);
  return status ? qp_fail_prefix(err, status, "--quantizer, --embedding") : QP_OK;
}

static qp_status work(qp_job *j, sources *from, const quantize_options *o, int *code,
                      qp_error *err) {
  qp_session *session = &from->session;
  qp_shards shards;
  cJSON *report = NULL;
  double seconds = 0;
  size_t encoded = 0;
  qp_status status = qp_shards_open(j, &shards, err);
  if (status) return status;
  place b = {.compiler = NULL};
  const bool all_there = shards.found == qp_job_weights(j);
  status = open_place(o, !all_there, &b, err);
  if (!status && !all_there) status = open_text(from, o, j, err);
  if (!status && !all_there) status = qp_survey_run(j, &qp_stopped, err);
  if (!status && !all_there) status = open_searcher(o, session, j, &b, err);
  if (!status) status = encode_all(j, &shards, &seconds, &encoded, err);
  const size_t codes = b.search ? qp_device_search_codes(b.search) : 0;
  qp_device_search_close(b.search); /* its memory is free for --verify */
  if (!status) status = qp_section_finish(j, &report, err);
  if (!status) qp_shards_finish(&shards);
  if (!status) print_report(j, report, o->json, encoded, seconds);
  if (!status && o->device && encoded)
    fprintf(o->json ? stderr : stdout, "%zu codes by kernels on %s\n", codes, o->device);
  cJSON_Delete(report);
  qp_shards_close(&shards);
  if (!status && o->verify) status = verify(j, session, o, &b, code, err);
  qp_compiler_close(b.compiler);
  return status;
}

/* Find the Hessians of --calibration; where there are none a line says what they would be worth. */
static qp_status find_hessians(const quantize_options *o, qp_calibration *c, const char **hessian,
                               qp_error *err) {
  *hessian = o->hessian;
  if (o->hessian && o->calibration)
    return qp_fail(err, QP_E_ARG, "--hessian and --calibration: give one");
  if (!o->hessian && !o->calibration)
    fprintf(
        stderr,
        "qpal quantize: no --calibration: weights are coded one by one; error feedback with  qpal "
        "calibrate MODEL --text FILE -o DIR  cut the KL divergence to a third where it was "
        "measured (tuner/calibrate/CALIBRATION.md)\n");
  if (!o->calibration) return QP_OK;
  qp_status status = qp_calibration_open(o->calibration, c, err);
  if (!status && !*c->hessian)
    status =
        qp_fail(err, QP_E_ARG,
                "%s: it holds no Hessians (qpal calibrate --no-hessians), which quantize needs",
                o->calibration);
  if (!status) *hessian = c->hessian;
  return status;
}

/* It may be right for them, as for a GGUF of the same model: so it is said, not refused. */
static void compare_calibration(const quantize_options *o, const qp_calibration *c,
                                const qp_checkpoint *checkpoint) {
  if (!o->calibration || qp_calibration_is_of(c, qp_checkpoint_digest(checkpoint))) return;
  const cJSON *model = cJSON_GetObjectItemCaseSensitive(c->tree, "model");
  char name[96];
  snprintf(name, sizeof name, "%s", cJSON_IsString(model) ? model->valuestring : "?");
  qp_printable(name, sizeof name, false);
  fprintf(stderr,
          "qpal quantize: %s was measured on other files than %s (on a model '%s'): it is right "
          "only where they hold the same weights\n",
          o->calibration, qp_checkpoint_path(checkpoint), name);
}

/* Transformers takes such checkpoints, too: it leaves out blocks that the config does not count,
   and makes up what is not there. */
static void compare_with_config(const qp_checkpoint *checkpoint) {
  const qp_model *m = qp_checkpoint_model(checkpoint);
  const char *path = qp_checkpoint_path(checkpoint);
  if (*m->lacks)
    fprintf(stderr, "qpal quantize: %s: not as its config says: %s; the rest is quantized\n", path,
            m->lacks);
  if (*m->exceeds)
    fprintf(stderr,
            "qpal quantize: %s: %s; what is behind these stays as it is: is config.json that of "
            "these tensors?\n",
            path, m->exceeds);
}

/* The text by which targets are corrected, and its key. */
static qp_status read_text(const char *weights, const quantize_options *o, qp_tokens *tokens,
                           uint64_t *key, qp_error *err) {
  if (o->text && o->tokens) return qp_fail(err, QP_E_ARG, "--text FILE or --tokens FILE: give one");
  if (!o->text && !o->tokens) return QP_OK;
  const qp_status status =
      qp_text_or_ids(weights, o->text, o->tokens, o->context, o->limit, tokens, err);
  if (!status) *key = qp_residual_key(tokens);
  return status;
}

static qp_status run(const char *weights, const quantize_options *o, int *code, qp_error *err) {
  sources from = {.weights = weights};
  qp_checkpoint *checkpoint = NULL;
  qp_job_wishes wishes;
  qp_job job = {0};
  qp_calibration calibration = {0};
  qp_status status = qp_session_open(&from.session, err);
  if (!status) status = read_wishes(o, &from.session, &wishes, err);
  if (!status) status = read_text(weights, o, &from.tokens, &wishes.text, err);
  if (!status) status = find_hessians(o, &calibration, &wishes.hessian, err);
  if (!status) status = qp_models_open(&from.models, err);
  if (!status) status = qp_checkpoint_open(weights, from.models, &checkpoint, err);
  if (!status) compare_calibration(o, &calibration, checkpoint);
  if (!status) status = qp_job_make(checkpoint, &wishes, from.session.palette, &job, err);
  if (!status) compare_with_config(checkpoint);
  if (!status) status = work(&job, &from, o, code, err);
  qp_residual_close(job.residual);
  qp_job_free(&job);
  qp_tokens_free(&from.tokens);
  qp_calibration_close(&calibration);
  qp_checkpoint_close(checkpoint);
  qp_models_close(from.models);
  qp_session_close(&from.session);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  if (words->count != 1)
    return qp_fail(err, QP_E_ARG, "one file or folder of weights is needed; qpal quantize --help");
  qp_stop_catch();
  return run(words->word[0], options, code, err);
}

int qp_cmd_quantize(int argc, char **argv) {
  quantize_options o = {
      .seed = 1, .shard_mib = 1024, .limit = DEFAULT_TOKENS, .context = DEFAULT_CONTEXT};
  const qp_option table[] = {
      QP_TEXT("plan", o.plan, "FILE", "quantizers by a plan.json of qpal plan"),
      QP_TEXT("quantizer", o.quantizer, "Q", "one quantizer for all linears"),
      QP_TEXT("o", o.folder, "DIR", "where to write"),
      QP_FLAG("lm-head", o.head,
              "quantize the lm_head too (a plan says so itself); of a tied model a copy beside the "
              "embedding, which stays"),
      QP_TEXT("embedding", o.embedding, "Q",
              "pack the embedding by this quantizer; of a tied model it is the lm_head as well"),
      QP_REPEATS("keep", o.keep, "TEXT", "leave linears whose name contains TEXT"),
      QP_NUMBER("blocks", o.blocks, "N", "only the first N blocks, to try", 1, 1 << 16),
      QP_TEXT("hessian", o.hessian, "PATH",
              "E[x x^T] of linears: a safetensors file, or a folder with one each"),
      QP_TEXT("calibration", o.calibration, "DIR", "the same, of qpal calibrate"),
      QP_TEXT("text", o.text, "FILE",
              "UTF-8 text: o and down are coded so that on it they take back errors of the linears "
              "before them (tuner/quantize/QUANTIZING.md)"),
      QP_TEXT("tokens", o.tokens, "FILE", "the same: token ids, a text a line"),
      QP_NUMBER("tokens-used", o.limit, "N", "tokens of FILE, from its beginning (16384; 0: all)",
                0, 1u << 31),
      QP_NUMBER("context", o.context, "N", "tokens of a piece of it (1024)", 2, MAX_CONTEXT),
      QP_TEXT(
          "damping", o.damping, "S",
          "added to a Hessian's diagonal, as a share of its mean (0.01); more where it needs it"),
      QP_FLAG("no-rotation", o.plain, "quantize weights as they are"),
      QP_NUMBER("seed", o.seed, "N", "of the rotation's signs (1)", 0, 4294967295u),
      QP_NUMBER("tp", o.tp, "N",
                "tensor parallelism: so that 1 to N ranks can open it (as the plan says, or 1)", 1,
                8),
      QP_NUMBER("ep", o.ep, "N", "of --tp: ranks have 1/N of the experts each, which stay whole", 1,
                8),
      QP_TEXT("input-scale", o.input_scale, "S",
              "weights' deviation before codes are chosen (the best for N(0,1))"),
      QP_NUMBER("beam", o.beam, "N",
                "paths kept at a step of a trellis whose window is over 20 bits (by its step)",
                QP_BEAM_LEAST, QP_BEAM_MOST),
      QP_NUMBER("threads", o.threads, "N", "threads (as many as CPUs)", 1, 256),
      QP_NUMBER("shard-mib", o.shard_mib, "N", "size of a file (1024)", 1, 1 << 20),
      QP_FLAG("verify", o.verify,
              "then decode by the reference and by the dequant kernel, and compare"),
      QP_TEXT("device", o.device, "D",
              "cuda:N or sim: find codes and verify there (on the CPU; on a GPU if there is one)"),
      QP_NUMBER("row-groups", o.groups, "N",
                "of each linear that the kernel decodes (all; 2 in the simulator)", 1, 1 << 20),
      QP_FLAG("json", o.json, "print the report as JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
