/* SPDX-License-Identifier: MIT */
/* qpal plan finds the proven best mix of quantizers and fusions under limits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/writable.h"
#include "tuner/command/commands.h"
#include "tuner/command/plan_context.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/plan/embedding.h"
#include "tuner/plan/front.h"
#include "tuner/plan/planner.h"
#include "tuner/plan/report.h"

static const qp_verb_help help = {
    "plan", "--model MODEL [--gpu GPU|TABLE.json] [limits] [options]   |   --diff A.json B.json",
    "Chooses a quantizer for each linear and the linears that share a launch: the least loss "
    "within\n"
    "limits on latency and memory, proven.  Loss is the sum of sensitivity * distortion.\n"
    "Without --calibration or --sensitivity it takes those that come with qpal for the model, or\n"
    "guesses by role and depth. Without limits nothing keeps bits from growing."};

/* ---- Results ---- */

static qp_status write_text(const char *file, qp_text *t, qp_error *err) {
  size_t bytes = t->length;
  char *text = qp_text_take(t);
  if (!text) return qp_fail(err, QP_E_NOMEM, "%s: no memory to write it", file);
  qp_status status = qp_file_write(file, text, bytes, err);
  free(text);
  return status;
}

/* What the figures are that the plan rests on. */
static void note_figures(const qp_plan_context *c, qp_plan *p) {
  if (c->has_table && c->table.about[0])
    snprintf(p->note[p->notes++], sizeof *p->note, "latencies: %s", c->table.about);
  else if (c->has_table)
    snprintf(p->note[p->notes++], sizeof *p->note, "latencies: %.230s", c->table.source);
  if (c->o->sensitivity && !strcmp(c->o->sensitivity, "published"))
    snprintf(
        p->note[p->notes++], sizeof *p->note,
        "sensitivities: published figures (Q-Palette repository), tuned/%.100s-sensitivity.json",
        c->model->name);
}

/* Linears that were taken from names of tensors, for a reader to confirm. */
static void print_survey(const qp_model *m) {
  static const qp_column columns[] = {{"linear", false}, {"rows", true},   {"columns", true},
                                      {"experts", true}, {"blocks", true}, {"group", false},
                                      {NULL, false}};
  printf(
      "\nfamily '%s' is not described: these matrices of %s%s.N are taken for linears [out, in], "
      "those of a group for readers of one input; confirm them\n",
      m->type, m->prefix, m->blocks);
  qp_table_out *t = qp_table_new(columns, false);
  for (unsigned i = 0; i < m->linears; i++) {
    const qp_model_linear *l = &m->linear[i];
    qp_table_row(t);
    qp_table_text(t, l->tensor);
    qp_table_number(t, l->rows, "%.0f");
    qp_table_number(t, l->columns, "%.0f");
    qp_table_number(t, l->experts, "%.0f");
    qp_table_number(t, qp_model_copies(m, i), "%.0f");
    qp_table_text(t, m->group[l->group].name);
  }
  qp_table_print(t);
}

static void add_notes(const qp_plan_context *c, qp_plan *p) {
  const char *const notes[] = {c->prior, c->fed, c->kept, c->head};
  note_figures(c, p);
  for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
    if (*notes[i]) snprintf(p->note[p->notes++], sizeof *p->note, "%s", notes[i]);
  if (*c->model->quantized)
    snprintf(p->note[p->notes++], sizeof *p->note,
             "the checkpoint's weights are quantized already (%.60s)%s", c->model->quantized,
             c->model->packing_is_read ? ", and read as they decode"
                                       : ": qpal quantize needs them in 16 bits");
  if (*c->model->lacks)
    snprintf(p->note[p->notes++], sizeof *p->note, "%.60s: not as its config says: %.160s",
             c->o->model, c->model->lacks);
  if (*c->model->exceeds)
    snprintf(p->note[p->notes++], sizeof *p->note,
             "%.40s: %.170s; what is behind these stays as it is", c->o->model, c->model->exceeds);
  if (c->model->surveyed)
    snprintf(p->note[p->notes++], sizeof *p->note,
             "the family '%s' is not described: linears and groups are taken from the names of the "
             "tensors",
             c->model->type);
  if (*c->model->passed)
    snprintf(p->note[p->notes++], sizeof *p->note, "passed through in 16 bits: %s",
             c->model->passed);
}

static qp_status put_plan(const qp_plan_context *c, const qp_plan *p) {
  const qp_plan_options *o = c->o;
  qp_status status = QP_OK;
  if (o->out) status = qp_plan_write(p, o->out, c->err);
  if (!status && o->svg) {
    qp_text t = {0};
    qp_report_svg(p, &t);
    status = write_text(o->svg, &t, c->err);
  }
  if (status || o->front) return status;
  if (o->json) {
    char *text = NULL;
    size_t bytes = 0;
    status = qp_plan_print(p, &text, &bytes, c->err);
    if (!status) fputs(text, stdout);
    free(text);
    return status;
  }
  qp_report_totals(p, stdout);
  qp_report_map(p, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"), stdout);
  if (c->model->surveyed) print_survey(c->model);
  return QP_OK;
}

/* "plan.json" -> "plan.front.json". */
static void front_name(const char *file, char *to, size_t size) {
  const char *dot = strrchr(file, '.'), *slash = strrchr(file, '/');
  if (!dot || (slash && dot < slash)) dot = file + strlen(file);
  snprintf(to, size, "%.*s.front%s", (int)(dot - file), file, dot);
}

static qp_status put_front(const qp_plan_context *c, const qp_plan *chosen) {
  char file[4096];
  qp_front front = {0};
  qp_status status = qp_front_trace(&c->in, c->time_limit_s, &front, c->err);
  qp_text t = {0};
  if (!status && (c->o->out || c->o->json)) qp_front_print(&front, chosen, &t);
  if (!status && c->o->json && t.s) fputs(t.s, stdout);
  if (!status && c->o->out) {
    front_name(c->o->out, file, sizeof file);
    status = write_text(file, &t, c->err);
  }
  qp_text_free(&t);
  if (!status && c->o->svg) {
    qp_text drawing = {0};
    front_name(c->o->svg, file, sizeof file);
    qp_front_svg(&front, chosen, &drawing);
    status = write_text(file, &drawing, c->err);
  }
  if (!status && !c->o->json) {
    if (chosen) qp_report_totals(chosen, stdout);
    qp_front_table(&front);
  }
  qp_front_free(&front);
  return status;
}

static qp_status add_embedding(const qp_plan_context *c, qp_plan *p) {
  const char *word = c->o->embedding;
  const int q = qp_menu_find(c->menu, c->embedding->name);
  const double distortion = q >= 0 ? c->menu->entry[q].distortion : 0;
  return qp_plan_add_embedding(p, c->model, c->embedding, word, distortion, c->err);
}

static qp_status make_plan(const qp_plan_options *o, qp_error *err) {
  qp_plan_context c = {.o = o, .err = err};
  qp_plan plan = {0};
  qp_solution solution;
  qp_planner_options how = {.block_types = o->block_types, .time_limit_s = 60};
  qp_status status = qp_writable_check(o->out, err);
  if (!status) status = qp_writable_check(o->svg, err);
  if (!status) status = qp_plan_context_open(&c);
  if (!status && o->time_limit)
    status = qp_quantity_parse("time-limit", o->time_limit, (const qp_unit[]){{"s", 1}, {NULL, 0}},
                               &how.time_limit_s, err);
  c.time_limit_s = how.time_limit_s;
  bool limited = o->tps || o->latency || o->bits || o->memory;
  if (!status && (limited || !o->front)) {
    status = qp_planner_run(&c.in, &how, &plan, &solution, err);
    if (!status && c.embedding) status = add_embedding(&c, &plan);
    if (!status) add_notes(&c, &plan);
    if (!status) status = put_plan(&c, &plan);
  }
  if (!status && o->front) status = put_front(&c, plan.linears ? &plan : NULL);
  qp_plan_free(&plan);
  qp_plan_context_close(&c);
  return status;
}

static qp_status diff(const qp_words *words, bool json, qp_error *err) {
  qp_plan a = {0}, b = {0};
  if (words->count != 2)
    return qp_fail(err, QP_E_ARG, "--diff: two plans are needed, as in --diff A.json B.json");
  qp_status status = qp_plan_read(words->word[0], &a, err);
  if (!status) status = qp_plan_read(words->word[1], &b, err);
  if (!status) status = qp_report_diff(&a, &b, json, err);
  qp_plan_free(&a);
  qp_plan_free(&b);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const qp_plan_options *o = options;
  (void)code;
  if (o->diff) return diff(words, o->json, err);
  const qp_status status = qp_words_none(words, err);
  return status ? status : make_plan(o, err);
}

int qp_cmd_plan(int argc, char **argv) {
  qp_plan_options o = {0};
  const qp_option table[] = {
      QP_TEXT("model", o.model, "MODEL", "a name of qpal list models, or a config.json"),
      QP_TEXT("gpu", o.gpu, "GPU",
              "whose records or table to use (qpal list gpus), or a .jsonl, or a table: FILE.json"),
      QP_TEXT("tps", o.tps, "T", "tokens a second at least"),
      QP_TEXT("latency", o.latency, "T", "of one pass at most: 5000us, 5ms"),
      QP_TEXT("bits", o.bits, "B", "stored bits per planned weight at most"),
      QP_TEXT("memory", o.memory, "BYTES", "of the whole model at most: 4GB, 3.5GiB"),
      QP_TEXT("sensitivity", o.sensitivity, "FILE",
              "alpha of each linear, or the word published; else what tuned/ has, or a guess"),
      QP_TEXT("calibration", o.calibration, "DIR",
              "of qpal calibrate: sensitivities, and Hessians as by --hessian"),
      QP_TEXT("hessian", o.hessian, "PATH",
              "what quantize will be given: losses count with error feedback"),
      QP_TEXT("distortion", o.distortion, "FILE,...",
              "what qpal distortion --json or qpal quantize reported, for qpal's own figures"),
      QP_TEXT("sizes", o.sizes, "FILE", "stored bytes of another system's packing"),
      QP_TEXT("quantizers", o.quantizers, "LIST", "the menu; fp16 is a name too (all)"),
      QP_TEXT("paths", o.paths, "LIST", "tensor,cuda"),
      QP_TEXT("lm-head", o.lm_head, "WORD",
              "plan, keep (16 bits) or auto: plan if sensitivity and latencies are known and it "
              "is not the embedding (tied)"),
      QP_TEXT("embedding", o.embedding, "WORD",
              "keep (16 bits), or a quantizer: it is packed and looked up; of a tied model it is "
              "the lm_head as well, and plan chooses the quantizer (as --lm-head plan does, unless "
              "--embedding keep asks for a copy)"),
      QP_FLAG("no-fusion", o.no_fusion, "a launch for each linear"),
      QP_FLAG("no-mixed-fusion", o.no_mixed_fusion, "one quantizer a launch"),
      QP_NUMBER("tp", o.tp, "N", "tensor parallelism: shapes, bytes and latency of one of N ranks",
                1, 8),
      QP_NUMBER("ep", o.ep, "N",
                "expert parallelism: whole experts, of which one of N ranks has a slice", 1, 8),
      QP_TEXT("allreduce-us", o.allreduce_us, "T",
              "microseconds of an all-reduce, of which a block has two (0)"),
      QP_NUMBER("block-types", o.block_types, "K", "at most K different blocks", 1, 1024),
      QP_TEXT("batch", o.batch, "LIST", "batch sizes with weights: 1:0.7,8:0.3 (1)"),
      QP_TEXT("confidence", o.confidence, "P",
              "plan with latencies that hold with probability P each"),
      QP_TEXT(
          "accept", o.accept, "MATCH",
          "worst records to use: exact, 'other driver' (default), 'nearest shape', 'other gpu'"),
      QP_TEXT("constant", o.constant, "T",
              "of a pass, all that no launch stands for: attention, norms; 900us (the table's)"),
      QP_TEXT("time-limit", o.time_limit, "S",
              "seconds, then the best plan so far with its gap (60)"),
      QP_TEXT("o", o.out, "FILE", "write the plan: tuner/plan/PLAN.md"),
      QP_TEXT("svg", o.svg, "FILE", "draw the heat map"),
      QP_FLAG("front", o.front,
              "also the Pareto fronts: FILE.front.json beside -o, FILE.front.svg beside --svg"),
      QP_FLAG("diff", o.diff, "what changes from plan A to plan B, and what it costs"),
      QP_FLAG("json", o.json, "print JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
