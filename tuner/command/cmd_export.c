/* SPDX-License-Identifier: MIT */
/* qpal export: the kernels of a plan as a library that engines link. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/checkpoint.h"
#include "gen/base/file.h"
#include "gen/base/writable.h"
#include "qpal.h"
#include "tuner/tune/problems.h"
#include "tuner/command/commands.h"
#include "tuner/export/export.h"
#include "tuner/export/files.h"
#include "tuner/export/groups.h"
#include "tuner/export/tuned.h"
#include "tuner/base/options.h"
#include "tuner/base/session.h"

static const qp_verb_help help = {
    "export", "--plan plan.json --gpu GPU[,GPU...] -o DIR [options]",
    "Compiles the kernels that a plan needs, for each GPU, and writes them as a kernel library:\n"
    "DIR/library.qpal is what engines open (runtime/include/qpal.h), DIR/manifest.json and\n"
    "DIR/kernels/ show what is in it. The same plan gives the same bytes.\n"
    "Instead of a plan:  --model MODEL --quantizer Q   all linears of a model with one quantizer\n"
    "                    --shape MxK[,MxK...] --quantizer Q[,Q...]   one group of linears\n"
    "A GPU is sm_90 or sm_90:132 (architecture, multiprocessors), a name such as h100 or rtx4090\n"
    "(rtx4090-published: the same), cuda:0 (the one that is here), a part of the name of a file "
    "in\n"
    "tuned/, or a file of records (.jsonl). Where tuned/ has records of it, each launch gets the\n"
    "fastest candidate measured."};

typedef struct export_options {
  const char *plan, *model, *quantizer, *embedding, *gpu, *batch, *type, *path, *ptx, *prologue;
  const char *folder, *file, *c_source, *shared;
  qp_shapes shape;
  bool head, out_f32, no_dequant, no_rotation, inverse, rotate, glu, no_pdl, untuned;
  const char *decoder;
  unsigned workers, tp, ep, ranks;
} export_options;

/* Which ranks the library is for, and which the packed weights were made for. */
static qp_status check_ranks(const export_options *o, unsigned ranks, unsigned made,
                             qp_error *err) {
  if (ranks && made && made <= QP_PARALLEL_RANKS && made % ranks == 0) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "--tp %u%s: the library is for %u ranks, which must divide the 1, 2, 4 or 8 that "
                 "the weights were packed for",
                 made, o->plan ? "" : ", --ranks", ranks);
}

/* Take the next item of a list separated by commas; false at its end.  An 'item' of "" stands for a
   wrong one. */
static bool next_item(const char **list, char *item, size_t size) {
  if (!*list) return false;
  const char *comma = strchr(*list, ',');
  const size_t n = comma ? (size_t)(comma - *list) : strlen(*list);
  snprintf(item, size, "%.*s", (int)(n < size ? n : size - 1), *list);
  *list = comma ? comma + 1 : NULL;
  return true;
}

/* "1,2,4,8": ascending, so that a kernel's place does not depend on how the list was written. */
static qp_status read_batches(const char *list, qp_export_request *r, qp_error *err) {
  char item[16];
  bool wanted[QP_MAX_BATCH + 1] = {false};
  while (next_item(&list, item, sizeof item)) {
    char *end;
    const unsigned long n = strtoul(item, &end, 10);
    if (*item < '0' || *item > '9' || *end || n < 1 || n > QP_MAX_BATCH)
      return qp_fail(err, QP_E_ARG, "--batch: '%s'; 1 to %d are possible", item, QP_MAX_BATCH);
    wanted[n] = true;
  }
  for (unsigned n = 1; n <= QP_MAX_BATCH; n++) {
    if (!wanted[n]) continue;
    if (r->batches == QP_EXPORT_BATCHES)
      return qp_fail(err, QP_E_ARG, "--batch: more than %d numbers", QP_EXPORT_BATCHES);
    r->batch[r->batches++] = n;
  }
  return QP_OK;
}

static qp_status read_types(const char *list, qp_export_request *r, qp_error *err) {
  char item[16];
  r->second_if_small = !list;
  if (!list) list = "f16,bf16";
  while (next_item(&list, item, sizeof item)) {
    qp_dtype t;
    const qp_status status = qp_dtype_parse(item, &t, err);
    if (status) return status;
    if (t == QP_F32 || r->types == 2 || (r->types && r->type[0] == t))
      return qp_fail(err, QP_E_ARG, "--type: f16, bf16 or f16,bf16; not '%s' here", item);
    r->type[r->types++] = t;
  }
  return QP_OK;
}

/* "model" leaves the size to what is exported. */
static qp_status read_decoder(const char *text, qp_export_request *r, qp_error *err) {
  char *end;
  r->decoder_of_model = text && !strcmp(text, "model");
  if (!text || r->decoder_of_model) return QP_OK;
  const unsigned long n = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || n < QP_EXPORT_LEAST_HEAD || n > QP_EXPORT_MOST_HEAD)
    return qp_fail(err, QP_E_ARG, "--decoder: '%.40s'; %d to %d, or the word model", text,
                   QP_EXPORT_LEAST_HEAD, QP_EXPORT_MOST_HEAD);
  r->decoder = (unsigned)n;
  return QP_OK;
}

static qp_status read_prologues(const char *list, qp_export_request *r, qp_error *err) {
  char item[16];
  r->no_prologue = list != NULL;
  while (list && next_item(&list, item, sizeof item)) {
    if (!strcmp(item, "norm"))
      r->norm = true;
    else if (!strcmp(item, "glu"))
      r->glu = true;
    else if (strcmp(item, "none") != 0)
      return qp_fail(err, QP_E_ARG, "--prologue: '%s'; norm, glu or none are possible", item);
  }
  return QP_OK;
}

static qp_status read_ptx(const char *text, qp_export_ptx *out, qp_error *err) {
  static const char *const names[] = {"newest", "all", "none"};
  for (unsigned i = 0; i < 3; i++)
    if (!strcmp(text, names[i])) return *out = (qp_export_ptx)i, QP_OK;
  return qp_fail(err, QP_E_ARG, "--ptx: '%.40s'; it is newest, all or none", text);
}

static qp_status read_request(const export_options *o, qp_export_request *r, qp_error *err) {
  *r = (qp_export_request){.model = "",
                           .out_f32 = o->out_f32,
                           .dequant = !o->no_dequant,
                           .rotate = !o->no_rotation,
                           .inverse = o->inverse,
                           .rotate_fused = o->rotate,
                           .gemm_glu = o->glu,
                           .pdl = !o->no_pdl,
                           .workers = o->workers,
                           .chosen = "the families' defaults"};
  qp_status status = read_batches(o->batch, r, err);
  if (!status) status = read_prologues(o->prologue, r, err);
  if (!status) status = read_types(o->type, r, err);
  if (!status) status = read_decoder(o->decoder, r, err);
  return status ? status : read_ptx(o->ptx, &r->ptx, err);
}

/* ---- What to export ---- */

/* What is exported, and of what model. */
typedef struct exported {
  qp_export_group *group;
  size_t groups;
  char model[64];
  unsigned head_dim; /* 0: not known */
} exported;

/* A plan for one rank has matrices whole that weights for several have taken apart. */
static qp_status check_whole(const qp_plan *plan, unsigned made, qp_error *err) {
  for (unsigned i = 0; i < plan->linears; i++) {
    const qp_plan_linear *l = &plan->linear[i];
    if (qp_parallel_is_joined(l->role))
      return qp_fail(
          err, QP_E_ARG,
          "linear '%s' is one matrix there, which weights packed for %u ranks have taken "
          "apart: qpal plan --tp %u makes such a plan, and --model, --quantizer and "
          "--ranks a library for fewer ranks",
          l->tensor, made, made);
  }
  return QP_OK;
}

static qp_status groups_of_plan(qp_session *s, const export_options *o, exported *out,
                                qp_error *err) {
  qp_export_group **g = &out->group;
  size_t *n = &out->groups;
  qp_plan plan;
  qp_status status = qp_plan_read(o->plan, &plan, err);
  if (status) return status;
  status = qp_problems_check_plan(&plan, s->families, err);
  const unsigned ranks = plan.ranks ? plan.ranks : 1, made = o->tp ? o->tp : ranks;
  if (!status && o->ranks && o->ranks != ranks)
    status = qp_fail(err, QP_E_ARG, "--ranks %u: the plan is for %u", o->ranks, ranks);
  if (!status) status = check_ranks(o, ranks, made, err);
  if (!status && ranks == 1 && made > 1) status = check_whole(&plan, made, err);
  if (!status) status = qp_export_plan_groups(&plan, s->palette, g, n, err);
  if (!status) status = qp_export_cut_groups(*g, *n, ranks, made, err);
  if (status) qp_fail_prefix(err, status, "%s", o->plan);
  snprintf(out->model, sizeof out->model, "%s", plan.model);
  out->head_dim = plan.head_dim;
  qp_plan_free(&plan);
  return status;
}

static qp_status groups_of_quantizers(qp_session *s, const export_options *o, exported *out,
                                      qp_error *err) {
  qp_export_group **g = &out->group;
  size_t *n = &out->groups;
  const qp_quantizer **q = NULL, *embedding = NULL;
  size_t quantizers = 0;
  qp_models *models = NULL;
  const qp_model *m = NULL;
  qp_status status = qp_session_quantizers(s, o->quantizer, &q, &quantizers, err);
  if (!status && *o->path &&
      (status = qp_families_check_path(s->families, QP_OP_GEMM, o->path, err)))
    qp_fail_prefix(err, status, "--path");
  if (!status && o->shape.count)
    status = qp_export_shape_groups(&o->shape, q, quantizers, o->path, g, n, err);
  if (!status && o->shape.count) status = qp_export_cut_groups(*g, *n, 1, 1, err);
  if (!status && o->model) {
    if (quantizers != 1)
      status = qp_fail(err, QP_E_ARG, "--model takes one quantizer, not %zu; mix them by a plan",
                       quantizers);
    if (!status) status = qp_models_open(&models, err);
    if (!status) status = qp_checkpoint_find_model(models, o->model, &m, err);
    if (!status && o->embedding &&
        (status = qp_palette_find(s->palette, o->embedding, &embedding, err)))
      qp_fail_prefix(err, status, "--embedding");
    const unsigned made = o->tp ? o->tp : 1, ranks = o->ranks ? o->ranks : made;
    const qp_parallel_ways ways = {ranks, o->ep, made};
    qp_model rank;
    if (!status) status = check_ranks(o, ranks, made, err);
    if (!status) status = qp_parallel_split(m, &ways, &rank, err);
    if (!status)
      status = qp_export_model_groups(&rank, q[0], embedding, o->path, o->head, g, n, err);
    if (!status) status = qp_export_cut_groups(*g, *n, ranks, made, err);
    if (!status) snprintf(out->model, sizeof out->model, "%s", m->name);
    if (!status) out->head_dim = m->head_dim;
    if (models) qp_models_close(models);
  }
  free(q);
  return status;
}

/* Kernels are compiled for minutes before they are written. */
static qp_status check_outputs(const export_options *o, qp_error *err) {
  char library[4096];
  const char *const files[] = {o->file, o->c_source, o->shared, o->folder ? library : NULL};
  qp_status status = QP_OK;
  snprintf(library, sizeof library, "%s/library.qpal", o->folder ? o->folder : "");
  for (unsigned i = 0; i < sizeof files / sizeof *files && !status; i++)
    status = qp_writable_check(files[i], err);
  return status;
}

static qp_status check_options(const export_options *o, size_t words, qp_error *err) {
  const int forms = (o->plan != NULL) + (o->model != NULL) + (o->shape.count > 0);
  if (words) return qp_fail(err, QP_E_ARG, "there are only options; see qpal export --help");
  if (forms != 1)
    return qp_fail(err, QP_E_ARG, "one of --plan FILE, --model MODEL or --shape MxK is needed");
  if (!o->gpu) return qp_fail(err, QP_E_ARG, "--gpu is needed: h100, sm_90:132, cuda:0, ...");
  if (!o->folder && !o->file && !o->c_source && !o->shared)
    return qp_fail(err, QP_E_ARG, "-o DIR is needed (or --file, --c-source, --shared)");
  if (!o->plan && !o->quantizer) return qp_fail(err, QP_E_ARG, "--quantizer is needed");
  if (o->embedding && !o->model)
    return qp_fail(err, QP_E_ARG, "--embedding: with --model; a plan says so itself");
  if (o->shape.count && (o->tp || o->ep || o->ranks))
    return qp_fail(err, QP_E_ARG, "--tp, --ep, --ranks: with --plan or --model");
  if (o->plan && o->ep)
    return qp_fail(err, QP_E_ARG, "--ep: a plan says so itself (qpal plan --ep)");
  if (o->plan && o->quantizer)
    return qp_fail(err, QP_E_ARG, "--quantizer: a plan has its own quantizers");
  return check_outputs(o, err);
}

/* ---- Writing ---- */

static qp_status write_all(const export_options *o, const void *data, size_t bytes, qp_error *err) {
  qp_status status = QP_OK;
  if (o->folder) status = qp_export_write_folder(o->folder, data, bytes, err);
  if (!status && o->file) {
    char *file = strdup(o->file);
    status = file ? qp_file_write(file, data, bytes, err)
                  : qp_fail(err, QP_E_NOMEM, "no memory for a path");
    free(file);
  }
  if (!status && o->c_source) status = qp_export_write_source(o->c_source, data, bytes, err);
  if (!status && o->shared) status = qp_export_write_shared(o->shared, data, bytes, err);
  return status;
}

static qp_status report(const export_options *o, const void *data, size_t bytes, qp_error *err) {
  qpal_library *l = NULL;
  qpal_library_info info = {.size = sizeof info};
  if (qpal_library_from_memory(data, bytes, &l) || qpal_library_describe(l, &info)) {
    qpal_library_close(l);
    return qp_fail(err, QP_E_WRONG, "%s", qpal_message());
  }
  printf(
      "%u groups of linears, %u quantizers, %u kernels for %u GPUs, %zu bytes, checksum %016llx\n",
      info.groups, info.quantizers, info.kernels, info.targets, bytes,
      (unsigned long long)info.checksum);
  for (unsigned i = 0; i < info.targets; i++) {
    qpal_target_info t = {.size = sizeof t};
    if (!qpal_library_target(l, i, &t))
      printf("  %s: sm_%u, %u multiprocessors: %u kernels, chosen by %s\n", t.name, t.arch,
             t.sm_count, t.kernels, t.chosen);
  }
  if (o->folder) printf("%s/library.qpal\n%s/manifest.json\n", o->folder, o->folder);
  const char *const files[] = {o->file, o->c_source, o->shared};
  for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
    if (files[i]) printf("%s\n", files[i]);
  qpal_library_close(l);
  return QP_OK;
}

static qp_status run(qp_session *s, const export_options *o, qp_error *err) {
  qp_export_request r;
  exported all = {.model = ""};
  qp_text notes = {0};
  void *data = NULL;
  size_t bytes = 0;
  qp_export_tuned *tuned = NULL;
  qp_status status = read_request(o, &r, err);
  if (!status) status = qp_export_tuned_open(s, o->gpu, !o->untuned, &r, &tuned, err);
  if (!status)
    status = o->plan ? groups_of_plan(s, o, &all, err) : groups_of_quantizers(s, o, &all, err);
  r.group = all.group;
  r.groups = all.groups;
  r.model = all.model;
  if (r.decoder_of_model) r.decoder = all.head_dim;
  if (!status) status = qp_export_make(s->families, &r, &data, &bytes, &notes, err);
  if (notes.s) fputs(notes.s, stderr);
  if (!status) status = write_all(o, data, bytes, err);
  if (!status) status = report(o, data, bytes, err);
  qp_export_tuned_close(tuned);
  qp_text_free(&notes);
  free(data);
  free(all.group);
  return status;
}

qp_status qp_cmd_export_check(const char *gpu, const char *batch, const char *type, qp_error *err) {
  const export_options o = {.batch = batch, .type = type, .ptx = "newest"};
  qp_session s;
  qp_export_request r;
  qp_export_tuned *tuned = NULL;
  qp_status status = qp_session_open(&s, err);
  if (status) return status;
  status = read_request(&o, &r, err);
  if (!status) status = qp_export_tuned_open(&s, gpu, true, &r, &tuned, err);
  qp_export_tuned_close(tuned);
  qp_session_close(&s);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  qp_session s;
  (void)code;
  qp_status status = check_options(options, words->count, err);
  if (status || (status = qp_session_open(&s, err))) return status;
  status = run(&s, options, err);
  qp_session_close(&s);
  return status;
}

int qp_cmd_export(int argc, char **argv) {
  export_options o = {.batch = "1,2,4,8", .path = "", .ptx = "newest"};
  const qp_option table[] = {
      QP_TEXT("plan", o.plan, "FILE", "plan.json: linears, quantizers, launches"),
      QP_TEXT("model", o.model, "MODEL", "instead: a model's linears"),
      QP_SHAPES("shape", o.shape, "MxK,...", "instead: linears that read one input"),
      QP_TEXT("quantizer", o.quantizer, "Q,...", "of --model or --shape"),
      QP_FLAG("head", o.head, "--model: the lm_head, too"),
      QP_TEXT("embedding", o.embedding, "Q",
              "--model: the packed embedding, too (of a tied model it is the lm_head)"),
      QP_NUMBER("tp", o.tp, "N",
                "tensor parallelism: weights that were packed for N ranks (as the plan says, or 1)",
                1, 8),
      QP_NUMBER("ranks", o.ranks, "R", "the library is for R of them, which divides N (N)", 1, 8),
      QP_NUMBER("ep", o.ep, "N", "--model: ranks have 1/N of the experts each (1)", 1, 8),
      QP_TEXT("path", o.path, "PATH", "of --model or --shape: tensor (default) or cuda"),
      QP_TEXT("gpu", o.gpu, "GPU,...", "what to compile for"),
      QP_TEXT("batch", o.batch, "N,...", "rows of activations; 1,2,4,8"),
      QP_TEXT("type", o.type, "TYPE,...",
              "activations: f16, bf16 or f16,bf16; both where that makes a small library: 128 "
              "kernels of a type"),
      QP_FLAG("out-f32", o.out_f32, "Y in f32, not as the activations"),
      QP_FLAG("no-dequant", o.no_dequant, "without dequant kernels"),
      QP_FLAG("no-rotation", o.no_rotation, "without rotations"),
      QP_TEXT("prologue", o.prologue, "WHICH,...",
              "rotations with the norm or glu before them: norm, glu, none; as the model has them"),
      QP_FLAG("inverse", o.inverse, "inverse rotations, too, also for W as the checkpoint has it"),
      QP_TEXT("decoder", o.decoder, "D",
              "attention of heads of D elements, the choice of a token, linears in 16 bits, too; "
              "the word model: as the plan or model has them"),
      QP_FLAG("rotate", o.rotate, "gemms that rotate x themselves, too"),
      QP_FLAG("glu", o.glu, "gemms, experts of up and gate that give activation(gate) * up: all"),
      QP_FLAG("no-pdl", o.no_pdl, "without programmatic dependent launch"),
      QP_FLAG("untuned", o.untuned, "the families' defaults, whatever was measured"),
      QP_TEXT("ptx", o.ptx, "WHICH",
              "PTX for later GPUs: newest (default: of the newest GPU), all or none"),
      QP_NUMBER("workers", o.workers, "N", "compilers; as many as CPUs", 1, 256),
      QP_TEXT("o", o.folder, "DIR", "folder to write to"),
      QP_TEXT("file", o.file, "FILE", "the library as a file of this name"),
      QP_TEXT("c-source", o.c_source, "FILE", "the library inside a C source"),
      QP_TEXT("shared", o.shared, "FILE", "the library inside a shared library"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
