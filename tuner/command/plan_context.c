/* SPDX-License-Identifier: MIT */
/* What `qpal plan` is asked and what that means; see plan_context.h. */
#include "tuner/command/plan_context.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/model/checkpoint.h"
#include "gen/base/json.h"
#include "gen/base/resource.h"
#include "gen/base/suggest.h"
#include "runtime/regular_file.h"
#include "tuner/base/options.h"
#include "tuner/quantize/feedback_share.h"
#include "tuner/plan/embedding.h"
#include "tuner/plan/figures.h"
#include "tuner/plan/parallel.h"
#include "tuner/tune/rows.h"

/* ---- Numbers with units ---- */

static const qp_unit time_units[] = {{"us", 1e6}, {"ms", 1e9}, {"s", 1e12}, {NULL, 0}};
static const qp_unit byte_units[] = {{"B", 1},        {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                                     {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {NULL, 0}};
static const qp_unit no_units[] = {{"", 1}, {NULL, 0}};

static qp_status parse_limits(qp_plan_context *c) {
  const qp_plan_options *o = c->o;
  double v = 0;
  qp_status status = QP_OK;
  if (o->tps && o->latency)
    return qp_fail(c->err, QP_E_ARG, "--tps and --latency are the same limit: give one");
  if (o->tps) {
    status = qp_quantity_parse("tps", o->tps, no_units, &v, c->err);
    if (!status && v < 1e-3) status = qp_fail(c->err, QP_E_ARG, "--tps %s: at least 0.001", o->tps);
    if (!status) c->in.latency_limit_ps = (int64_t)floor(1e12 / v);
  }
  if (!status && o->latency) {
    status = qp_quantity_parse("latency", o->latency, time_units, &v, c->err);
    if (!status && v > 1e15)
      status = qp_fail(c->err, QP_E_ARG, "--latency %s: at most 1000s", o->latency);
    if (!status) c->in.latency_limit_ps = (int64_t)floor(v);
  }
  if (!status && o->memory) {
    status = qp_quantity_parse("memory", o->memory, byte_units, &v, c->err);
    if (!status && v > 1e15)
      status = qp_fail(c->err, QP_E_ARG, "--memory %s: at most 1e15", o->memory);
    if (!status) c->in.memory_limit_bytes = (int64_t)floor(v);
  }
  if (!status && o->bits) {
    status = qp_quantity_parse("bits", o->bits, no_units, &v, c->err);
    if (!status && v > 64) status = qp_fail(c->err, QP_E_ARG, "--bits %s: at most 64", o->bits);
    if (!status) c->in.bits_limit = v;
  }
  if (!status && o->confidence) {
    status = qp_quantity_parse("confidence", o->confidence, no_units, &v, c->err);
    if (!status && !(v >= 0.5 && v < 1))
      status = qp_fail(c->err, QP_E_ARG, "--confidence %s: from 0.5 to below 1", o->confidence);
    if (!status) c->in.confidence = v;
  }
  return status;
}

/* "1,8" or "1:0.7,8:0.3": batches and their weights, which are scaled to add up to 1. */
static qp_status parse_batches(qp_plan_context *c) {
  const char *at = c->o->batch;
  double sum = 0;
  qp_plan_input *in = &c->in;
  if (!at) return QP_OK;
  in->batches = 0;
  for (;; at++) {
    char *end;
    unsigned long batch = strtoul(at, &end, 10);
    double weight = 1;
    if (end == at || *at == '-' || batch < 1 || batch > 1 << 16) break;
    if (*end == ':') {
      at = end + 1;
      weight = strtod(at, &end);
      if (end == at || !(weight > 0) || !(weight < 1e9)) break;
    }
    if ((*end && *end != ',') || in->batches == QP_PLAN_BATCHES) break;
    in->batch[in->batches].batch = (unsigned)batch;
    in->batch[in->batches++].weight = weight;
    sum += weight;
    at = end;
    if (*end) continue;
    for (unsigned i = 0; i < in->batches; i++) in->batch[i].weight /= sum;
    return QP_OK;
  }
  return qp_fail(c->err, QP_E_ARG,
                 "--batch '%s': up to %d batches are needed, as in 1,8 or 1:0.7,8:0.3", c->o->batch,
                 QP_PLAN_BATCHES);
}

static void add_path(qp_plan_input *in, const char *path) {
  snprintf(in->path[in->paths++], QP_PATH_NAME, "%s", path);
}

/* The paths that are wished for, in the order of the families' ranks; where none is, all but those
   that only references have. */
static qp_status parse_paths(qp_plan_context *c) {
  const qp_families *f = c->session.families;
  const char *known[QP_MAX_PATHS];
  bool wished[QP_MAX_PATHS] = {false};
  size_t usual;
  const size_t n = qp_families_paths(f, QP_OP_GEMM, known, &usual);
  char *words = strdup(c->o->paths ? c->o->paths : ""), *rest = words;
  qp_status status = words ? QP_OK : qp_fail(c->err, QP_E_NOMEM, "no memory for a list of paths");
  for (char *w; c->o->paths && !status && (w = strsep(&rest, ","));) {
    status = qp_families_check_path(f, QP_OP_GEMM, w, c->err);
    if (status) qp_fail_prefix(c->err, status, "--paths");
    for (size_t i = 0; i < n && !status; i++) wished[i] |= !strcmp(known[i], w);
  }
  free(words);
  for (size_t i = 0; i < n && !status; i++)
    if (c->o->paths ? wished[i] : i < usual) add_path(&c->in, known[i]);
  return status;
}

static qp_status parse_accept(qp_plan_context *c) {
  const char *names[QP_MATCH_KINDS];
  const char *text = c->o->accept;
  if (!text) return QP_OK;
  for (unsigned i = 0; i < QP_MATCH_KINDS; i++) {
    names[i] = qp_latency_match_name((qp_latency_match)i);
    if (!strcmp(text, names[i])) return c->in.accept = (qp_latency_match)i, QP_OK;
  }
  return qp_fail(c->err, QP_E_ARG, "--accept '%s': '%s', '%s', '%s' or '%s' is needed", text,
                 names[0], names[1], names[2], names[3]);
}

/* ---- Menu ---- */

static qp_status add_word(qp_plan_context *c, const char *word) {
  const qp_quantizer **q = NULL;
  size_t count = 0;
  bool path = strchr(word, '/') || strstr(word, ".lua");
  if (!strcmp(word, QP_PLAN_FP16)) return qp_menu_add(c->menu, NULL, NULL, c->err);
  qp_status status = qp_session_quantizers(&c->session, word, &q, &count, c->err);
  for (size_t i = 0; i < count && !status; i++)
    status = qp_menu_add(c->menu, q[i], path ? word : NULL, c->err);
  free(q);
  return status;
}

static qp_status fill_menu(qp_plan_context *c) {
  const char *list = c->o->quantizers;
  qp_status status = QP_OK;
  if (!list) {
    status = qp_palette_load(c->session.palette, c->err);
    for (size_t i = 0; !status && i < qp_palette_count(c->session.palette); i++)
      status = qp_menu_add(c->menu, qp_palette_get(c->session.palette, i), NULL, c->err);
    return status ? status : qp_menu_add(c->menu, NULL, NULL, c->err);
  }
  char *words = strdup(list), *rest = words;
  if (!words) return qp_fail(c->err, QP_E_NOMEM, "no memory for a list of quantizers");
  for (char *w; !status && (w = strsep(&rest, ","));) status = add_word(c, w);
  free(words);
  return status;
}

/* Read the files of --distortion, in order. */
static qp_status read_distortions(qp_plan_context *c) {
  char *words = strdup(c->o->distortion ? c->o->distortion : ""), *rest = words;
  qp_status status = words ? QP_OK : qp_fail(c->err, QP_E_NOMEM, "no memory for names of files");
  for (char *w; !status && c->o->distortion && (w = strsep(&rest, ","));) {
    if (c->distortions == DISTORTION_FILES)
      status = qp_fail(c->err, QP_E_ARG, "--distortion: at most %d files", DISTORTION_FILES);
    if (!status) status = qp_json_read(w, &c->distortion[c->distortions], c->err);
    if (!status && !(c->distortion_name[c->distortions++] = strdup(w)))
      status = qp_fail(c->err, QP_E_NOMEM, "no memory for names of files");
  }
  free(words);
  return status;
}

/* Figures that come with qpal, then the user's over them. */
static qp_status fill_distortions(qp_plan_context *c) {
  static const char *const own = "lua/distortions.json";
  const char *text = NULL;
  size_t bytes = 0;
  cJSON *tree = NULL;
  qp_status status = qp_resource_read(own, &text, &bytes, c->err);
  if (!status) status = qp_json_parse(own, text, bytes, &tree, c->err);
  if (!status) status = qp_figures_distortion(own, tree, c->menu, c->err);
  cJSON_Delete(tree);
  if (!status) status = read_distortions(c);
  for (unsigned i = 0; i < c->distortions && !status; i++)
    status = qp_figures_distortion(c->distortion_name[i], c->distortion[i], c->menu, c->err);
  return status;
}

/* Quantizers without a figure: asked for by name they are an error, else they are left out. */
static qp_status drop_unknown(qp_plan_context *c) {
  qp_menu *m = c->menu;
  unsigned kept = 0;
  bool per_linear = false;
  for (unsigned i = 0; i < c->distortions; i++)
    per_linear = per_linear || cJSON_GetObjectItemCaseSensitive(c->distortion[i], "linears");
  for (unsigned i = 0; i < m->count; i++) {
    if (!isnan(m->entry[i].distortion) || (per_linear && c->o->quantizers)) {
      m->entry[kept++] = m->entry[i];
      continue;
    }
    if (c->o->quantizers)
      return qp_fail(c->err, QP_E_ARG,
                     "quantizer %s: no distortion is known: measure it with  qpal distortion %s "
                     "--json > FILE  and give --distortion FILE",
                     m->entry[i].name, m->entry[i].spec);
  }
  m->count = kept;
  if (!kept) return qp_fail(c->err, QP_E_ARG, "no quantizer with a known distortion is left");
  return QP_OK;
}

/* ---- Latencies ---- */

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

/* The text of tuned/NAME.json, a table that comes with qpal; NULL: there is none of this name. */
static const char *shipped(const char *name, const char *ending, char path[256], size_t *bytes) {
  const char *text = NULL;
  const int n = snprintf(path, 256, "tuned/%s%s.json", name, ending);
  if (n < 0 || n >= 256 || strchr(name, '/') || qp_resource_read(path, &text, bytes, NULL))
    return NULL;
  return text;
}

/* Are latencies those of our own kernels?  A foreign table may know launches of any shape. */
static bool has_records(const qp_plan_context *c) {
  const char *gpu = c->o->gpu;
  char path[256];
  size_t bytes;
  return gpu && !ends_with(gpu, ".json") && !shipped(gpu, "", path, &bytes);
}

/* A foreign table may name only quantizers that the palette knows. */
static qp_status check_names(qp_plan_context *c) {
  const qp_palette *palette = c->session.palette;
  qp_status status = qp_palette_load(c->session.palette, c->err);
  if (status) return status;
  size_t count = qp_palette_count(palette);
  const char **names = malloc((count + 1) * sizeof *names);
  if (!names) return qp_fail(c->err, QP_E_NOMEM, "no memory for names");
  for (size_t i = 0; i < count; i++) names[i] = qp_palette_get(palette, i)->name;
  for (size_t r = 0; r < c->table.rows && !status; r++) {
    const char *name = c->table.row[r].member[0].quantizer;
    size_t i = 0;
    while (i < count && strcmp(names[i], name) != 0) i++;
    if (i < count || !strcmp(name, QP_PLAN_FP16) || qp_menu_find(c->menu, name) >= 0) continue;
    const char *near = qp_suggest(name, names, count);
    status = qp_fail(c->err, QP_E_ARG, "%s: groups.%s: quantizer '%s' is not known%s%s%s",
                     c->table.source, c->table.row[r].key, name, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
  }
  free(names);
  return status;
}

/* A foreign table's paths are those of gemm families. */
static qp_status check_paths(const qp_plan_context *c) {
  for (size_t r = 0; r < c->table.rows; r++)
    if (qp_families_check_path(c->session.families, QP_OP_GEMM, c->table.row[r].path, c->err))
      return qp_fail_prefix(c->err, QP_E_ARG, "%s: groups.%s.%s: path", c->table.source,
                            c->table.row[r].key, c->table.row[r].member[0].quantizer);
  return QP_OK;
}

/* Rows of a GPU that was tuned. */
static qp_status read_records(qp_plan_context *c) {
  const qp_quantizer *menu[QP_MENU_MAX];
  unsigned batch[QP_PLAN_BATCHES];
  const qp_rows_wishes w = {.gpu = c->o->gpu,
                            .model = &c->planned,
                            .quantizer = menu,
                            .quantizers = c->menu->count,
                            .batch = batch,
                            .batches = c->in.batches,
                            .worst = c->in.accept};
  for (unsigned i = 0; i < c->menu->count; i++) menu[i] = c->menu->entry[i].quantizer;
  for (unsigned i = 0; i < c->in.batches; i++) batch[i] = c->in.batch[i].batch;
  qp_status status = qp_rows_read(&c->session, &w, &c->table, c->err);
  return status ? qp_fail_prefix(c->err, status, "--gpu") : QP_OK;
}

static qp_status read_table(qp_plan_context *c) {
  const char *gpu = c->o->gpu;
  char path[256];
  size_t bytes;
  if (!gpu) return QP_OK;
  const char *text = shipped(gpu, "", path, &bytes);
  const bool foreign = text || ends_with(gpu, ".json");
  qp_status status = text      ? qp_latency_parse_foreign(path, text, bytes, &c->table, c->err)
                     : foreign ? qp_latency_read_foreign(gpu, &c->table, c->err)
                               : read_records(c);
  if (status) return status;
  c->has_table = true;
  c->in.table = &c->table;
  if (foreign) status = check_paths(c);
  return foreign && !status ? check_names(c) : status;
}

/* Records leave out attention, norms and the like; a foreign table may know them. */
static qp_status read_constant(qp_plan_context *c) {
  double ps = 0;
  if (!c->o->constant) return QP_OK;
  if (!c->has_table) return qp_fail(c->err, QP_E_ARG, "--constant: only with --gpu");
  const qp_status status = qp_quantity_parse("constant", c->o->constant, time_units, &ps, c->err);
  if (!status && ps > 1e15) return qp_fail(c->err, QP_E_ARG, "--constant: at most 1000s");
  if (!status) c->table.constant_ps = (int64_t)floor(ps);
  return status;
}

/* Where rows of the lm_head are known, or no latencies matter, it can be planned. */
static bool head_has_rows(const qp_plan_context *c) {
  if (!c->has_table) return true;
  const qp_model_linear *head = &c->planned.linear[c->planned.linears];
  for (size_t i = 0; i < c->table.rows; i++) {
    const qp_latency_row *r = &c->table.row[i];
    if (!strcmp(r->key, head->role) || (r->members == 1 && r->member[0].rows == head->rows &&
                                        r->member[0].columns == head->columns))
      return true;
  }
  return false;
}

/* Is the embedding to be packed? */
static bool wants_embedding(const qp_plan_context *c) {
  return c->o->embedding && strcmp(c->o->embedding, "keep") != 0;
}

/* ... and is it the lm_head as well? */
static bool wants_shared(const qp_plan_context *c) {
  return wants_embedding(c) && c->planned.tied && !c->planned.headless;
}

static qp_status choose_head(qp_plan_context *c, bool has_alpha) {
  const char *word = c->o->lm_head ? c->o->lm_head : wants_shared(c) ? "plan" : "auto";
  const bool can = !qp_kept_head(&c->planned, c->menu, has_records(c), c->head);
  if (!strcmp(word, "keep")) return c->in.head = false, QP_OK;
  if (!strcmp(word, "auto")) /* a tied head would be stored a second time, beside the embedding */
    return c->in.head = can && has_alpha && head_has_rows(c) && !c->planned.tied, QP_OK;
  if (strcmp(word, "plan") != 0)
    return qp_fail(c->err, QP_E_ARG, "--lm-head '%s': plan, keep or auto is needed", word);
  if (!can) return qp_fail(c->err, QP_E_ARG, "--lm-head plan: %s", c->head);
  if (!has_alpha)
    return qp_fail(c->err, QP_E_ARG,
                   "%s: the lm_head has no sensitivity, which --lm-head plan needs",
                   c->o->sensitivity   ? c->o->sensitivity
                   : c->o->calibration ? c->o->calibration
                                       : "the sensitivities that come with qpal");
  c->in.head = true;
  c->in.lookup = c->planned.tied && !(c->o->embedding && !strcmp(c->o->embedding, "keep"));
  return QP_OK;
}

/* An embedding that is no lm_head: no sensitivity is measured of it, so its quantizer is given. */
static qp_status take_embedding(qp_plan_context *c) {
  const char *word = c->o->embedding;
  if (!strcmp(word, "plan"))
    return qp_fail(c->err, QP_E_ARG,
                   "--embedding plan: the embedding of %s is no lm_head, and no sensitivity is "
                   "measured of it: name the quantizer, as in --embedding nuq-8",
                   c->model->name);
  const qp_status status = qp_palette_find(c->session.palette, word, &c->embedding, c->err);
  if (status) return qp_fail_prefix(c->err, status, "--embedding: keep or a quantizer");
  if (qp_plan_embedding_bytes(c->model, c->embedding) != UINT64_MAX) return QP_OK;
  return qp_fail(c->err, QP_E_ARG, "--embedding %s: it cannot hold %u x %u", word, c->model->vocab,
                 c->model->hidden);
}

/* Before the menu is used: an embedding's own quantizer joins it, for that alone. */
static qp_status check_embedding(qp_plan_context *c) {
  const char *word = c->o->embedding, *head = c->o->lm_head;
  if (!wants_embedding(c)) return QP_OK;
  if (!c->model->tied || c->model->headless) return take_embedding(c);
  if (head && strcmp(head, "plan") != 0)
    return qp_fail(
        c->err, QP_E_ARG,
        "--lm-head %s --embedding %s: they are one matrix of %s, which is planned or kept", head,
        word, c->model->name);
  if (!strcmp(word, "plan")) return QP_OK;
  const unsigned before = c->menu->count;
  const qp_status status = add_word(c, word);
  if (status) return qp_fail_prefix(c->err, status, "--embedding: plan, keep or a quantizer");
  c->own_is_new = c->menu->count > before;
  if (qp_menu_find(c->menu, word) >= 0) return QP_OK;
  return qp_fail(c->err, QP_E_ARG, "--embedding '%s': plan, keep or one quantizer is needed", word);
}

/* The quantizer that --embedding names is the head's only one; if it is new, the head's alone. */
static void restrict_embedding(qp_plan_context *c) {
  const unsigned n = qp_plan_linears(&c->planned), menu = c->menu->count;
  const int own = wants_shared(c) ? qp_menu_find(c->menu, c->o->embedding) : -1;
  if (own < 0) return; /* any that the menu has */
  for (unsigned q = 0; q < menu; q++)
    if (q != (unsigned)own) c->in.distortion[(size_t)(n - 1) * menu + q] = NAN;
  for (unsigned i = 0; i + 1 < n && c->own_is_new; i++)
    c->in.distortion[(size_t)i * menu + (unsigned)own] = NAN;
}

/* ---- Ranks ---- */

/* With --tp the model is what one rank has of it. */
static qp_status take_rank(qp_plan_context *c) {
  const qp_parallel_ways ways = {.ranks = c->o->tp, .slices = c->o->ep};
  if (c->o->tp < 2 && c->o->ep < 2) return QP_OK;
  const qp_status status = qp_parallel_split(c->model, &ways, &c->rank, c->err);
  if (!status) c->model = &c->rank;
  return status;
}

/* What --allreduce-us gives for each all-reduce belongs to the constant part of a pass. */
static qp_status add_reduces(qp_plan_context *c) {
  static const qp_unit no_unit[] = {{"", 1}, {NULL, 0}};
  double us = 0;
  const char *word = c->o->allreduce_us;
  if (!word) return QP_OK;
  if ((c->o->tp < 2 && c->o->ep < 2) || !c->has_table)
    return qp_fail(c->err, QP_E_ARG,
                   "--allreduce-us: it is for --tp or --ep with latencies (--gpu)");
  const qp_status status = qp_quantity_parse("allreduce-us", word, no_unit, &us, c->err);
  if (status) return status;
  if (us > 1e6) return qp_fail(c->err, QP_E_ARG, "--allreduce-us %s: at most 1e6", word);
  c->table.constant_ps += llround(us * 1e6) * qp_parallel_reduces(c->model);
  return QP_OK;
}

/* ---- The whole input ---- */

/* Find the file of --sensitivity or --calibration; NULL: neither is given, or the calibration has
   Hessians alone: then alpha is what comes with qpal, or guessed. */
static qp_status find_sensitivities(qp_plan_context *c, const char **out) {
  const qp_plan_options *o = c->o;
  *out = o->sensitivity;
  if (!o->calibration) return QP_OK;
  if (o->sensitivity) return qp_fail(c->err, QP_E_ARG, "--sensitivity and --calibration: give one");
  qp_status status = qp_calibration_open(o->calibration, &c->calibration, c->err);
  if (!status && *c->calibration.sensitivity) *out = c->calibration.sensitivity;
  return status;
}

/* A file, or "published": what comes with qpal for this model. */
static qp_status read_sensitivity(qp_plan_context *c, const char *file, cJSON **tree) {
  char path[256];
  size_t bytes;
  if (strcmp(file, "published") != 0) return qp_json_read(file, tree, c->err);
  const char *text = shipped(c->model->name, "-sensitivity", path, &bytes);
  if (!text)
    return qp_fail(c->err, QP_E_ARG, "--sensitivity published: there are none for %s (%s)",
                   c->model->name, path);
  return qp_json_parse(path, text, bytes, tree, c->err);
}

/* Where quantize will have Hessians, or "". */
static const char *hessians_of(const qp_plan_context *c) {
  return c->o->hessian ? c->o->hessian : c->calibration.hessian;
}

/* Serves a calibration that is older than the field "feedback" of sensitivity.json. */
static bool measured_with_feedback(const qp_plan_context *c) {
  return *c->calibration.sensitivity &&
         cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c->calibration.tree, "feedback"));
}

/* Hessians that are named must be there, even where nothing of them is read. */
static qp_status check_there(const char *path, qp_error *err) {
  struct stat info;
  int file = -1;
  if (!stat(path, &info) && S_ISDIR(info.st_mode)) return QP_OK;
  const qp_status status = qp_regular_file_open(path, O_RDONLY, &file, err);
  if (!status) close(file);
  return status;
}

static double before(const void *profile, double fraction) {
  return qp_feedback_before(profile, fraction);
}

/*
** Where quantize will have Hessians, each linear's sensitivity counts with what error feedback
** leaves of its loss, if it is of white noise, and with what columns of equal distortion lose above
** the least; parts of splits count as their columns do.
*/
static qp_status apply_profiles(qp_plan_context *c, const char *path, bool measured) {
  const unsigned n = qp_plan_linears(&c->planned);
  double least = 1, most = 0;
  size_t found = 0;
  qp_feedback_profile *p = malloc(sizeof *p * n);
  if (!p) return qp_fail(c->err, QP_E_NOMEM, "no memory for %u linears", n);
  const qp_status status = qp_feedback_profiles(path, &c->planned, p, &found, c->err);
  for (unsigned i = 0; i < n && !status; i++) {
    c->in.alpha[i] *= (measured ? 1 : p[i].share) * p[i].excess;
    qp_plan_input_fed(&c->in, i, before, &p[i]);
    least = p[i].share < least ? p[i].share : least;
    most = p[i].share > most && p[i].share < 1 ? p[i].share : most;
  }
  free(p);
  if (!status && found && !measured)
    snprintf(c->fed, sizeof c->fed,
             "%zu linears have Hessians: their losses count with the share that error feedback "
             "leaves, %.3f to %.3f",
             found, least, most);
  return status;
}

static qp_status count_feedback(qp_plan_context *c, bool measured) {
  const char *path = hessians_of(c);
  if (measured)
    snprintf(c->fed, sizeof c->fed, "losses are those with error feedback, as measured%s",
             *path ? "" : ":  quantize needs Hessians (--hessian) to keep them so small");
  if (c->o->hessian) {
    const qp_status status = check_there(c->o->hessian, c->err);
    if (status) return status;
  }
  if (!*path) return QP_OK;
  if (c->o->tp > 1) { /* Hessians are of whole inputs */
    if (!measured)
      snprintf(c->fed, sizeof c->fed,
               "losses are those without error feedback, as --tp divides linears");
    return QP_OK;
  }
  const qp_status status = apply_profiles(c, path, measured);
  if (status != QP_E_MISSING || (c->o->hessian && !measured)) return status;
  if (!measured)
    snprintf(c->fed, sizeof c->fed, "losses are those without error feedback: no BLAS was found");
  return QP_OK;
}

static qp_status read_figures(qp_plan_context *c) {
  bool head = true, fed = false;
  cJSON *tree = NULL;
  const char *sensitivity;
  qp_status status = find_sensitivities(c, &sensitivity);
  if (!status && sensitivity) {
    status = read_sensitivity(c, sensitivity, &tree);
    if (!status) status = qp_figures_sensitivity(sensitivity, tree, &c->in, &head, &fed, c->err);
    cJSON_Delete(tree);
    tree = NULL;
  }
  bool feedback =
      !status && (sensitivity ? fed || measured_with_feedback(c) : *hessians_of(c) != 0);
  if (!status && !sensitivity) status = qp_prior_apply(&c->in, &head, &feedback, c->prior, c->err);
  if (!status) status = count_feedback(c, feedback);
  for (unsigned i = 0; i < c->distortions && !status; i++)
    status = qp_figures_linear_distortion(c->distortion_name[i], c->distortion[i], &c->in, c->err);
  if (!status && c->o->sizes) {
    status = qp_json_read(c->o->sizes, &tree, c->err);
    if (!status) status = qp_figures_sizes(c->o->sizes, tree, &c->in, c->err);
    cJSON_Delete(tree);
  }
  if (!status) restrict_embedding(c);
  return status ? status : choose_head(c, head);
}

qp_status qp_plan_context_open(qp_plan_context *c) {
  const qp_plan_options *o = c->o;
  if (!o->model)
    return qp_fail(c->err, QP_E_ARG,
                   "--model is needed: a name of qpal list models, a checkpoint or a config.json");
  c->menu = calloc(1, sizeof *c->menu);
  if (!c->menu) return qp_fail(c->err, QP_E_NOMEM, "no memory for the menu");
  qp_status status = qp_session_open(&c->session, c->err);
  if (!status) status = qp_models_open(&c->models, c->err);
  if (!status) status = qp_checkpoint_find_model(c->models, o->model, &c->model, c->err);
  if (!status) status = fill_menu(c);
  if (!status) status = check_embedding(c);
  if (!status) status = fill_distortions(c);
  if (!status) status = drop_unknown(c);
  if (!status) status = take_rank(c);
  if (!status)
    status = qp_kept_drop(c->model, c->menu, has_records(c), &c->planned, c->kept, c->err);
  if (c->embedding) c->planned.embedding_bytes = qp_plan_embedding_bytes(c->model, c->embedding);
  if (!status) status = qp_plan_input_init(&c->in, &c->planned, c->menu, c->err);
  c->in.whole = c->model;
  c->in.ranks = o->tp;
  c->in.slices = o->ep;
  if (!status) status = parse_batches(c);
  if (!status) status = parse_accept(c);
  if (!status) status = read_table(c);
  if (!status) status = read_constant(c);
  if (!status) status = add_reduces(c);
  if (!status) status = read_figures(c);
  if (!status) status = parse_limits(c);
  if (!status) status = parse_paths(c);
  if (status) return status;
  c->in.fusion = !o->no_fusion;
  c->in.mixed_fusion = !o->no_mixed_fusion;
  return QP_OK;
}

void qp_plan_context_close(qp_plan_context *c) {
  qp_plan_input_free(&c->in);
  qp_latency_free(&c->table);
  for (unsigned i = 0; i < c->distortions; i++) {
    cJSON_Delete(c->distortion[i]);
    free(c->distortion_name[i]);
  }
  qp_calibration_close(&c->calibration);
  qp_models_close(c->models);
  qp_session_close(&c->session);
  free(c->menu);
}
