/* SPDX-License-Identifier: MIT */
/* qpal tune: the best kernels of a model's launches on the GPU at hand, measured. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/model/checkpoint.h"
#include "tuner/plan/parallel.h"
#include "gen/base/file.h"
#include "gen/base/text.h"
#include "tuner/command/commands.h"
#include "tuner/base/library_probe.h"
#include "tuner/base/options.h"
#include "tuner/base/stop.h"
#include "tuner/base/output.h"
#include "tuner/plan/plan_file.h"
#include "tuner/base/session.h"
#include "tuner/tune/crossover.h"
#include "tuner/tune/drawing.h"
#include "tuner/tune/library.h"
#include "tuner/tune/lookup.h"
#include "tuner/tune/measurer.h"
#include "tuner/tune/tune.h"
#include "tuner/tune/view.h"

static const qp_verb_help help = {
    "tune", "--model MODEL | --shape MxK[,MxK...]... | --plan PLAN.json [options]",
    "Finds the fastest kernel of every launch that a plan may use (each linear, each fusion of "
    "linears\n"
    "with one input, the lm_head) for each quantizer, batch size and path. Candidates are "
    "compiled,\n"
    "verified on the device and timed with cold weights; the records go to tuned/GPU.jsonl, to "
    "which\n"
    "they are added. A run that was stopped (Ctrl-C) or killed goes on when the same command is "
    "given\n"
    "again: what it measured is kept in a journal beside the output. Given again after its end it\n"
    "searches on: what the output holds of this GPU, driver and compiler is not measured again."};

typedef struct tune_options {
  qp_repeats shapes;
  const char *model, *plan, *quantizers, *batch, *paths, *ops, *budget, *device, *strategy, *shard,
      *timer, *out, *svg, *timeout;
  unsigned most, finalists, seed, workers, spills, tp, ep;
  bool missing, json;
} tune_options;

/* ---- One run ---- */

/* What is asked for: operations, and where decoding and cuBLAS begin to win. */
typedef struct operations {
  unsigned ops; /* bits 1 << QP_OP_* */
  bool crossover;
} operations;

static qp_status parse_operations(const tune_options *o, operations *out, qp_error *err) {
  const unsigned of_model = 1u << QP_OP_ROTATE | 1u << QP_OP_DEQUANT | 1u << QP_OP_GATHER |
                            1u << QP_OP_GEMM_GLU | 1u << QP_OP_EXPERTS_GLU;
  char text[128];
  const char *usual = o->model ? "gemm,experts,rotate,dequant,gather,crossover" : "gemm";
  snprintf(text, sizeof text, "%s", o->ops ? o->ops : usual);
  for (char *p = strtok(text, ","); p; p = strtok(NULL, ",")) {
    qp_op op;
    if (!strcmp(p, "crossover")) {
      out->crossover = true;
      continue;
    }
    const qp_status status = qp_op_parse(p, &op, err);
    if (status) return qp_fail_prefix(err, status, "--ops");
    if (op != QP_OP_GEMM && op != QP_OP_EXPERTS && !(of_model >> op & 1))
      return qp_fail(err, QP_E_ARG,
                     "--ops '%s': gemm, experts, gemm-glu, experts-glu, rotate, dequant, gather or "
                     "crossover is needed; other operations have few candidates, are not timed, "
                     "and are exported with their families' defaults",
                     p);
    out->ops |= 1u << op;
  }
  if ((out->ops & of_model || out->crossover) && !o->model)
    return qp_fail(err, QP_E_ARG,
                   "--ops: gemm-glu, experts-glu, rotate, dequant, gather and crossover are a "
                   "model's; give --model");
  return QP_OK;
}

typedef struct run {
  const tune_options *o;
  operations ops;
  qp_session session;
  qp_models *models;
  qp_records known;  /* The records of tuned/ and of the output. */
  qp_records before; /* of the output */
  qp_records found;
  qp_tuner *tuner;
  const qp_meter_info *info;
  bool replay;
  char file[1024], journal[1040];
  qp_tune_problems problems;
  qp_plan plan;   /* of --plan */
  size_t skipped; /* launches whose shapes no kernel has */
  qp_tune_end end;
} run;

static void free_run(run *r) {
  qp_tuner_close(r->tuner);
  qp_problems_free(&r->problems);
  qp_plan_free(&r->plan);
  qp_records_free(&r->known);
  qp_records_free(&r->before);
  qp_records_free(&r->found);
  qp_models_close(r->models);
  qp_session_close(&r->session);
}

/* A space of tunables is far larger than any patience: without any limit there is this one. */
static const double default_budget_s = 20 * 60;

static const qp_unit seconds[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {NULL, 0}};

static qp_status optional_seconds(const char *option, const char *text, double *out,
                                  qp_error *err) {
  return text ? qp_quantity_parse(option, text, seconds, out, err) : QP_OK;
}

static qp_status open_tuner(run *r, qp_tune_view *view, qp_error *err) {
  const tune_options *o = r->o;
  qp_tune_options t = {.device = o->device,
                       .events = o->timer != NULL,
                       .most = o->most,
                       .finalists = o->finalists,
                       .workers = o->workers,
                       .spill_limit = o->spills,
                       .seed = o->seed,
                       .known = &r->known,
                       .earlier = &r->before,
                       .crossovers = r->ops.crossover,
                       .stop = &qp_stopped,
                       .show = qp_tune_view_show,
                       .arg = view};
  qp_status status = QP_OK;
  if (o->timer && strcmp(o->timer, "events") != 0)
    status =
        qp_fail(err, QP_E_ARG, "--timer '%s': events, or nothing for CUPTI, is needed", o->timer);
  if (!status && o->strategy) status = qp_strategy_parse(o->strategy, &t.strategy, err);
  if (!status) status = optional_seconds("budget", o->budget, &t.budget_s, err);
  if (!o->budget && !o->most) t.budget_s = default_budget_s;
  if (!status) status = optional_seconds("timeout", o->timeout, &t.timeout_s, err);
  if (!status) status = qp_tuner_open(&r->session, &t, &r->tuner, err);
  if (!status) r->info = qp_tuner_info(r->tuner);
  return status;
}

/* Choose tuned/GPU.jsonl under the current folder, unless -o names a file. */
static qp_status choose_file(run *r, qp_error *err) {
  char gpu[128];
  r->replay = !strcmp(r->info->timer, "replay");
  if (r->o->out) {
    snprintf(r->file, sizeof r->file, "%s", r->o->out);
  } else if (r->o->shard) {
    return qp_fail(
        err, QP_E_ARG,
        "--shard: each shard needs its own -o FILE.jsonl; qpal table --merge makes one of "
        "them");
  } else if (r->replay) {
    return qp_fail(err, QP_E_ARG,
                   "-o FILE.jsonl is needed: records of the replay device do not go to tuned/");
  } else {
    qp_records_file_name(r->info->device.name, gpu, sizeof gpu);
    snprintf(r->file, sizeof r->file, "tuned/%s.jsonl", gpu);
  }
  snprintf(r->journal, sizeof r->journal, "%s.journal", r->file);
  return qp_records_check_place(r->file, r->replay, err); /* before anything is measured */
}

/* Records to start from: those of every GPU that are in tuned/, and the output's own. */
static qp_status read_known(run *r, qp_error *err) {
  qp_records *all = NULL;
  size_t files = 0;
  qp_status status = qp_library_all(&all, &files, err);
  for (size_t f = 0; f < files; f++) {
    for (size_t i = 0; i < all[f].count && !status; i++)
      status = qp_records_add(&r->known, &all[f].list[i], err);
    qp_records_free(&all[f]);
  }
  free(all);
  if (status || access(r->file, F_OK)) return status;
  status = qp_records_read(r->file, r->replay ? QP_RECORDS_REPLAY : QP_RECORDS_MEASURED, &r->before,
                           err);
  if (!status && strcmp(r->before.gpu, r->info->device.name) != 0)
    status = qp_fail(err, QP_E_ARG, "%s: field 'gpu': '%s' is not this GPU, '%s'; give another -o",
                     r->file, r->before.gpu, r->info->device.name);
  for (size_t i = 0; i < r->before.count && !status; i++)
    status = qp_records_add(&r->known, &r->before.list[i], err);
  return status;
}

/* ---- Problems ---- */

/* Choose the families of the paths in 'text', in its order; NULL: all that compete. */
static qp_status choose_families(const qp_families *f, const char *text,
                                 const qp_family *out[QP_MAX_FAMILIES], size_t *count,
                                 qp_error *err) {
  char list[256];
  *count = text ? 0 : qp_families_of(f, QP_OP_GEMM, NULL, false, out);
  if (!text) return QP_OK;
  snprintf(list, sizeof list, "%s", text);
  for (char *p = strtok(list, ","); p; p = strtok(NULL, ",")) {
    const qp_status status = qp_families_check_path(f, QP_OP_GEMM, p, err);
    if (status) return qp_fail_prefix(err, status, "--paths");
    for (size_t i = 0; i < *count; i++)
      if (!strcmp(out[i]->path, p)) return qp_fail(err, QP_E_ARG, "--paths: '%s' twice", p);
    *count += qp_families_of(f, QP_OP_GEMM, p, false, out + *count);
  }
  if (!*count) return qp_fail(err, QP_E_ARG, "--paths '%s': no path is named", text);
  return QP_OK;
}

_Static_assert((int)QP_MAX_SHAPES <= (int)QP_MODEL_GROUP_LINEARS,
               "shapes of an option are a launch");
static qp_status launch_of_shapes(const char *text, qp_model_launch *out, qp_error *err) {
  qp_shapes s;
  const qp_status status = qp_shapes_parse(text, &s, err);
  if (status) return qp_fail_prefix(err, status, "--shape");
  *out = (qp_model_launch){
      .linears = (unsigned)s.count, .columns = s.columns[0], .fused = s.count > 1};
  snprintf(out->label, sizeof out->label, "%s", s.count > 1 ? "fused" : "linear");
  for (unsigned i = 0; i < s.count; i++) out->rows[i] = s.rows[i];
  return QP_OK;
}

/* Keep the problems that no record of the output answers. */
static qp_status keep_missing(run *r, qp_error *err) {
  qp_lookup *l = NULL;
  const qp_lookup_options lo = {.kind = r->o->timer ? QP_TIME_EVENTS : QP_TIME_KERNEL,
                                .driver = r->info->driver,
                                .worst = QP_MATCH_EXACT,
                                .families = r->session.families,
                                .palette = r->session.palette};
  qp_status status = qp_lookup_open(&r->before, &lo, &l, err);
  if (status) return status;
  size_t kept = 0;
  for (size_t i = 0; i < r->problems.count; i++) {
    qp_pick pick;
    const qp_tune_problem *p = &r->problems.list[i];
    if (!qp_lookup_find(l, &p->problem, p->path, &pick)) r->problems.list[kept++] = *p;
  }
  r->problems.count = kept;
  qp_lookup_close(l);
  return QP_OK;
}

/* Find the plan's quantizers, malloc'ed. */
static qp_status resolve_plan(run *r, const qp_quantizer ***out, qp_error *err) {
  const qp_quantizer **q = calloc(r->plan.quantizers + 1, sizeof(const qp_quantizer *));
  if (!q) return qp_fail(err, QP_E_NOMEM, "no memory for quantizers");
  qp_status status = qp_problems_check_plan(&r->plan, r->session.families, err);
  if (!status) status = qp_plan_resolve(&r->plan, r->session.palette, q, err);
  if (status) return free(q), qp_fail_prefix(err, status, "%s", r->o->plan);
  *out = q;
  return QP_OK;
}

static qp_status problems_of_plan(run *r, const qp_problems_wishes *w, qp_error *err) {
  const qp_quantizer **q;
  qp_status status = resolve_plan(r, &q, err);
  if (status) return status;
  status = qp_problems_add_plan(&r->problems, &r->plan, q, w, err);
  free(q);
  return status ? qp_fail_prefix(err, status, "%s", r->o->plan) : QP_OK;
}

static qp_status make_problems(run *r, qp_error *err) {
  const tune_options *o = r->o;
  qp_model_launch launch[QP_MODEL_LAUNCHES];
  const qp_model *model = NULL;
  static qp_model rank; /* One rank's part of the model. */
  const qp_quantizer **q = NULL;
  size_t launches = 0;
  unsigned batch[QP_MAX_BATCHES];
  const qp_family *family[QP_MAX_FAMILIES];
  qp_problems_wishes w = {.batch = batch,
                          .all = r->session.families,
                          .family = family,
                          .arch = r->info->device.arch,
                          .sm_count = r->info->device.sm_count,
                          .type = QP_F16};
  const unsigned ops = r->ops.ops;
  qp_status status = qp_batches_parse(o->batch, batch, &w.batches, err);
  if (!status) status = choose_families(r->session.families, o->paths, family, &w.families, err);
  if (!status) status = qp_session_quantizers(&r->session, o->quantizers, &q, &w.quantizers, err);
  if (!status && o->model) status = qp_models_open(&r->models, err);
  if (!status && o->model) status = qp_checkpoint_find_model(r->models, o->model, &model, err);
  if (!status && model && (o->tp > 1 || o->ep > 1)) {
    status =
        qp_parallel_split(model, &(qp_parallel_ways){.ranks = o->tp, .slices = o->ep}, &rank, err);
    model = &rank;
  }
  for (size_t i = 0; i < o->shapes.count && !status; i++)
    status = launch_of_shapes(o->shapes.value[i], &launch[launches++], err);
  if (status) return free(q), status;
  w.quantizer = q;
  if (model) launches = qp_model_launches(model, launch);
  if (o->plan)
    status = problems_of_plan(r, &w, err);
  else
    status = qp_problems_add(&r->problems, launch, launches, &w, ops, &r->skipped, err);
  if (!status && model)
    status = qp_problems_add_model(&r->problems, model, r->session.families, &w, ops, err);
  free(q);
  if (!status && o->shard) status = qp_problems_shard(&r->problems, o->shard, err);
  if (!status && o->missing) status = keep_missing(r, err);
  return status;
}

/* ---- Results ---- */

static void print_json(const qp_records *found) {
  static const qp_column column[] = {
      {"kernel", false},  {"outcome", false},     {"us", true},   {"spread_us", true},
      {"chain_us", true}, {"chain_pdl_us", true}, {"why", false}, {NULL, false}};
  qp_table_out *t = qp_table_new(column, true);
  for (size_t i = 0; i < found->count; i++) {
    const qp_record *r = &found->list[i];
    const int64_t ps[] = {r->ps, r->spread_ps, r->chain_ps, r->chain_pdl_ps};
    qp_table_row(t);
    qp_table_text(t, r->kernel);
    qp_table_text(t, qp_record_outcome_name(r->outcome));
    for (size_t k = 0; k < sizeof ps / sizeof *ps; k++)
      qp_table_number(t, (double)ps[k] * 1e-6, "%.3f");
    qp_table_text(t, r->why);
  }
  qp_table_print(t);
}

static void print_crossovers(const qp_tune_end *end) {
  if (end->without_cublas)
    printf("no crossover to dequant and cuBLAS was searched: %s\n", end->why);
  else
    printf("crossover to dequant and cuBLAS: known of %zu of %zu launches; %zu products timed\n",
           end->crossovers, end->launches, end->products);
}

/* "412 candidates: 380 ok, 20 duplicate, 12 resources" */
static void print_totals(const run *r) {
  size_t count[QP_RECORD_OUTCOME_COUNT] = {0}, candidates = 0;
  for (size_t i = 0; i < r->found.count; i++) {
    if (!strcmp(r->found.list[i].op, QP_CUBLAS_OP)) continue;
    count[r->found.list[i].outcome]++;
    candidates++;
  }
  printf("%zu problems, %zu with a kernel that works; %zu candidates", r->problems.count,
         r->end.working, candidates);
  if (r->end.resumed) printf(" (%zu from earlier runs)", r->end.resumed);
  printf(":");
  const char *comma = "";
  for (unsigned i = 0; i < QP_RECORD_OUTCOME_COUNT; i++) {
    if (!count[i]) continue;
    printf("%s %zu %s", comma, count[i], qp_record_outcome_name((qp_record_outcome)i));
    comma = ",";
  }
  printf("; %s\n", r->file);
  if (r->ops.crossover) print_crossovers(&r->end);
  if (r->skipped) printf("%zu launches have shapes that no kernel takes\n", r->skipped);
}

static qp_status write_svg(const run *r, qp_error *err) {
  qp_text t = {0};
  qp_tune_svg(&r->found, r->session.palette, r->info->read_gbs, &t);
  qp_status status = t.failed ? qp_fail(err, QP_E_NOMEM, "%s: no memory", r->o->svg)
                              : qp_file_write(r->o->svg, t.s, t.length, err);
  qp_text_free(&t);
  return status;
}

/* The union with what the output had; then the journal has done its work. */
static qp_status write_results(run *r, qp_error *err) {
  qp_status status = qp_records_merge(&r->before, &r->found, err);
  if (!status) status = qp_records_write(r->file, &r->before, err);
  if (!status && r->end.complete) qp_tuner_done(r->tuner);
  if (!status && r->o->svg) status = write_svg(r, err);
  if (status) return status;
  if (r->o->json)
    print_json(&r->found);
  else
    print_totals(r);
  if (!r->end.complete)
    fprintf(stderr,
            "qpal tune: the budget ended when %zu of %zu problems had been tried; the same command "
            "goes on\n",
            r->end.begun, r->problems.count);
  return QP_OK;
}

/* All that problems will name, before the processes are forked that measure them. */
static qp_status load_quantizers(run *r, qp_error *err) {
  const qp_quantizer **q = NULL;
  size_t n;
  qp_status status;
  if (r->o->plan) {
    status = qp_plan_read(r->o->plan, &r->plan, err);
    if (!status) status = resolve_plan(r, &q, err);
  } else {
    status = qp_session_quantizers(&r->session, r->o->quantizers, &q, &n, err);
  }
  free(q);
  return status;
}

/* Done already, and a shard that has no part in the work, are no failures; the rest is. */
static qp_status say_nothing(const run *r, qp_error *err) {
  if (r->o->missing)
    return printf("nothing to tune: every problem has a record in %s\n", r->file), QP_OK;
  if (r->o->shard)
    return printf("nothing to tune: there are fewer problems than shards (%s)\n", r->o->shard),
           QP_OK;
  return qp_fail(err, QP_E_MISSING, "nothing to tune: %s",
                 r->skipped   ? "no kernel takes these shapes (M is a multiple of 16, K of 32)"
                 : r->o->plan ? "every launch of the plan is left in 16 bits"
                              : "no launch, quantizer, batch size and path is left");
}

static qp_status tune(run *r, qp_error *err) {
  qp_tune_view view;
  qp_tune_view_begin(&view, stderr);
  qp_status status = qp_session_open(&r->session, err);
  if (!status) status = parse_operations(r->o, &r->ops, err);
  if (!status) status = load_quantizers(r, err);
  if (!status) status = open_tuner(r, &view, err);
  if (!status) qp_session_remark(&r->info->device);
  if (!status) qp_library_remark_nvrtc("tune");
  if (!status) status = choose_file(r, err);
  if (!status) status = read_known(r, err);
  if (!status) status = make_problems(r, err);
  if (status) return status;
  if (!r->problems.count) return say_nothing(r, err);
  qp_stop_catch();
  status = qp_tuner_run(r->tuner, &r->problems, r->journal, &r->found, &r->end, err);
  qp_tune_view_end(&view);
  if (status && r->found.count)
    fprintf(stderr, "qpal tune: %zu candidates are kept in %s; the same command goes on\n",
            r->found.count, r->journal);
  if (!status && atomic_load(&qp_stopped))
    return qp_fail(err, QP_E_LIMIT,
                   "stopped after %zu candidates, kept in %s: give the same command again to go on",
                   r->found.count, r->journal);
  return status ? status : write_results(r, err);
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  tune_options *o = options;
  (void)code;
  qp_status status = qp_words_none(words, err);
  if (status) return status;
  if (!o->model && (o->tp || o->ep))
    return qp_fail(err, QP_E_ARG, "--tp, --ep: with --model; shapes and plans are one rank's");
  if ((o->model != NULL) + (o->shapes.count > 0) + (o->plan != NULL) != 1)
    return qp_fail(err, QP_E_ARG, "one of --model, --shape and --plan is needed");
  run r = {.o = o};
  status = tune(&r, err);
  free_run(&r);
  return status;
}

int qp_cmd_tune(int argc, char **argv) {
  tune_options o = {.quantizers = "tcq,vq2,nuq", .batch = "1,8", .device = "cuda:0", .seed = 1};
  const qp_option table[] = {
      QP_TEXT("model", o.model, "MODEL",
              "a name of qpal list models, a checkpoint or a config.json"),
      QP_NUMBER("tp", o.tp, "N", "of a model: what one of N ranks has of it (1)", 1, 8),
      QP_NUMBER("ep", o.ep, "N", "the same of its experts, which stay whole (1)", 1, 8),
      QP_REPEATS("shape", o.shapes, "MxK,...",
                 "instead: linears of one launch; may be given again"),
      QP_TEXT("plan", o.plan, "FILE",
              "instead: the launches of a plan.json, with its quantizers and paths"),
      QP_TEXT("quantizers", o.quantizers, "LIST", "names and prefixes (tcq,vq2,nuq)"),
      QP_TEXT("batch", o.batch, "LIST", "rows of activations (1,8)"),
      QP_TEXT("paths", o.paths, "LIST",
              "of gemm families that compete: tensor,cuda; 'naive' is tuned where it is named"),
      QP_TEXT("ops", o.ops, "LIST",
              "of a model: gemm, experts (stacks, by random routings), rotate (of linears' "
              "inputs), dequant (to 16 bits), gather (rows "
              "of the embedding), crossover (rows from which dequant and cuBLAS are faster): all "
              "of these; gemm-glu, experts-glu (up and gate to activation(gate) * up)"),
      QP_TEXT("budget", o.budget, "TIME",
              "of the run: 90s, 25m, 2h (20m, or no limit with --max-candidates)"),
      QP_NUMBER("max-candidates", o.most, "N", "of a problem at most (no limit)", 1, 1 << 20),
      QP_TEXT("strategy", o.strategy, "WORD",
              "exhaustive, local, or auto: exhaustive where the space is small"),
      QP_NUMBER("seed", o.seed, "N", "of the search and the random data (1)", 0, 1u << 31),
      QP_TEXT("shard", o.shard, "I/N", "only the I-th of N parts of the problems"),
      QP_FLAG("missing", o.missing, "only problems that the output has no record of"),
      QP_TEXT("device", o.device, "D",
              "cuda:N (cuda:0), or replay:FILE: recorded timings (tuner/tune/meter_replay.h)"),
      QP_TEXT("timer", o.timer, "WORD",
              "events: where CUPTI cannot be had; their records are not ranked with others"),
      QP_NUMBER("finalists", o.finalists, "N", "timed again, interleaved (4)", 1, QP_MAX_FINALISTS),
      QP_TEXT("timeout", o.timeout, "TIME", "of a candidate (30s)"),
      QP_NUMBER("spills", o.spills, "BYTES", "that a thread may spill (0)", 0, 1 << 16),
      QP_NUMBER("workers", o.workers, "N", "compilers (as many as CPUs)", 1, 1024),
      QP_TEXT("o", o.out, "FILE", "records (tuned/GPU.jsonl); they are added to"),
      QP_TEXT("svg", o.svg, "FILE", "draw latency against rate, with the floor"),
      QP_FLAG("json", o.json, "print the candidates as JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
