/* SPDX-License-Identifier: MIT */
/* qpal check proves kernels right on a GPU or in the PTX simulator. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/check/case_text.h"
#include "tuner/check/cases.h"
#include "tuner/check/chain_cases.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/check/pins.h"
#include "tuner/check/runner.h"
#include "tuner/check/steady.h"
#include "tuner/base/session.h"

static const qp_verb_help help = {
    "check", "[QUANTIZER...] [options]",
    "Makes kernels, runs them on random data and compares with a reference in double precision:\n"
    "relative L2 error at most 2e-3 in fp16, 8e-3 in bf16, half of it behind gated linear\n"
    "units of a gemm; NaNs and unwritten outputs fail.\n"
    "Without options each quantizer is checked once in each family of lua/families (of gemm_naive\n"
    "one of each kind), and each kind in launches whose warps reach their steady state, with\n"
    "mixtures, rotations and tunables; --all covers every batch from 1 to 8 and 16, fp16 and\n"
    "bf16, every Hadamard order.\n"
    "The palette's definitions must be those that are pinned in lua/quantizers/definitions.txt.\n"
    "One row a kernel, as it comes; the exit code is 1 if something fails. A kernel that hangs or\n"
    "crashes fails alone: its process is replaced. What a limit of the family or device keeps\n"
    "from running is a SKIP with the reason."};

/* Columns of a row that stand before its batch. */
enum { BEFORE_BATCH = 3 };

typedef struct check_options {
  bool all, few, kinds, no_pairs, json, quiet, fail_fast, chains, list, unrotate;
  const char *device, *op, *without_op, *without, *type, *path, *family, *compile_only, *singles,
      *without_rows;
  unsigned batch, jobs, seed, schedule, timeout_s;
  qp_shapes shape;
} check_options;

static const char *outcome_name(qp_outcome o) {
  return o == QP_OUTCOME_PASS   ? "PASS"
         : o == QP_OUTCOME_MADE ? "MADE"
         : o == QP_OUTCOME_SKIP ? "SKIP"
         : o == QP_OUTCOME_LOST ? "not run"
                                : "FAIL";
}

static void print_row(qp_table_out *t, const qp_case *c, const qp_result *r) {
  qp_case_text text;
  unsigned i = 0;
  qp_case_text_make(c, &text);
  qp_table_row(t);
  while (i < BEFORE_BATCH) qp_table_text(t, text.of[i++]);
  qp_table_number(t, c->problem.batch, "%.0f");
  while (i < QP_CASE_TEXTS) qp_table_text(t, text.of[i++]);
  qp_table_number(t, r->error, "%.2e");
  qp_table_text(t, outcome_name(r->outcome));
  qp_table_text(t, r->outcome == QP_OUTCOME_PASS ? "" : r->why);
  qp_table_flush(t);
}

/* One row for each quantizer that is not what packed weights rely on; returns their number. */
static size_t report_pins(qp_table_out *t, const qp_case_wishes *w) {
  size_t wrong = 0;
  for (size_t i = 0; i < w->quantizers; i++) {
    qp_error err = {0};
    if (!qp_pins_check(w->quantizer[i], &err)) continue;
    wrong++;
    qp_table_row(t);
    qp_table_text(t, w->quantizer[i]->name);
    qp_table_text(t, "definition");
    for (unsigned blank = 0; blank < 4; blank++) qp_table_text(t, "");
    qp_table_text(t, "");
    qp_table_text(t, "FAIL");
    qp_table_text(t, err.text);
  }
  return wrong;
}

/* ---- Rows as they come ---- */

typedef struct report {
  const check_options *o;
  const qp_case_wishes *w;
  const qp_cases *cases;
  qp_table_out *table; /* NULL: not begun */
  size_t changed, count[QP_OUTCOME_COUNT];
} report;

static bool is_default(const qp_choice *c) {
  for (unsigned i = 0; i < c->family->tunables; i++)
    if (c->value[i] != c->family->tunable[i].value[0]) return false;
  return true;
}

static void begin_report(report *to) {
  static const qp_column columns[] = {/* the table keeps it */
#define COLUMN(name) {#name, false},
                                      QP_CASE_BEFORE_BATCH(COLUMN){"batch", true},
                                      QP_CASE_BEHIND_BATCH(COLUMN){"error", true},
                                      {"result", false},
                                      {"why", false},
                                      {NULL, false}
#undef COLUMN
  };
  size_t room[sizeof columns / sizeof *columns] = {[QP_CASE_TEXTS + 1] = 8};
  if (to->table) return;
  for (size_t i = 0; i < to->cases->count; i++) {
    qp_case_text text;
    qp_case_text_make(&to->cases->list[i], &text);
    for (unsigned t = 0; t < QP_CASE_TEXTS; t++) {
      size_t *widest = room + t + (t >= BEFORE_BATCH), width = strlen(text.of[t]);
      if (width > *widest) *widest = width;
    }
  }
  to->table = qp_table_new(columns, to->o->json);
  qp_table_stream(to->table, room);
  to->changed = report_pins(to->table, to->w);
}

/* With --quiet rows that failed, and problems that no kernel of the family can do. */
static void show_result(void *user, const qp_result *r) {
  report *to = user;
  const qp_case *c = &to->cases->list[r->index];
  begin_report(to);
  to->count[r->outcome]++;
  const bool shown =
      r->outcome == QP_OUTCOME_FAIL || (r->outcome == QP_OUTCOME_SKIP && is_default(&c->choice));
  if (shown || !to->o->quiet) print_row(to->table, c, r);
}

static int end_report(report *to, const char *device, double seconds, int cut) {
  FILE *out = to->o->json ? stderr : stdout;
  const size_t *n = to->count, failed = n[QP_OUTCOME_FAIL];
  const size_t good = n[to->o->compile_only ? QP_OUTCOME_MADE : QP_OUTCOME_PASS];
  const size_t done = good + failed + n[QP_OUTCOME_SKIP];
  begin_report(to);
  qp_table_print(to->table);
  fprintf(out, "%zu kernels on %s in %.0f s: %zu PASS, %zu FAIL, %zu SKIP\n", done, device, seconds,
          n[QP_OUTCOME_PASS], failed, n[QP_OUTCOME_SKIP]);
  if (done < to->cases->count)
    fprintf(out, "%zu more were not run: %s\n", to->cases->count - done,
            cut ? strsignal(cut) : "stopped at the first failure");
  if (to->changed) fprintf(out, "%zu definitions changed: FAIL\n", to->changed);
  return cut || (to->changed && !to->o->compile_only) || failed || !good ? 1 : 0;
}

static qp_status read_singles(const char *word, qp_singles *out, qp_error *err) {
  static const char *const words[] = {
      [QP_SINGLES_EACH] = "each", [QP_SINGLES_TURN] = "turn", [QP_SINGLES_NONE] = "none"};
  for (unsigned i = 0; word && i < sizeof words / sizeof *words; i++)
    if (!strcmp(word, words[i])) return *out = (qp_singles)i, QP_OK;
  if (!word) return QP_OK;
  return qp_fail(err, QP_E_ARG, "--singles '%.40s': should be each, turn or none", word);
}

/* Read the operations of a LIST, or all but these; of none all. */
static qp_status read_ops(const char *list, bool without, uint32_t *out, qp_error *err) {
  char word[32];
  *out = 0;
  while (list) {
    const size_t length = strcspn(list, ",");
    qp_op op;
    snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word), list);
    const qp_status status = qp_op_parse(word, &op, err);
    if (status) return status;
    *out |= 1u << op;
    list = list[length] ? list + length + 1 : NULL;
  }
  if (!without) return QP_OK;
  *out ^= (1u << QP_OP_COUNT) - 1;
  return *out ? QP_OK : qp_fail(err, QP_E_ARG, "--without-op: these are all operations");
}

static qp_status read_filters(const check_options *o, const qp_families *f, qp_case_wishes *w,
                              qp_error *err) {
  qp_dtype type;
  qp_status status = QP_OK;
  w->coverage = o->all ? QP_COVER_ALL : o->few ? QP_COVER_FEW : QP_COVER_SOME;
  w->type = -1;
  w->path = o->path;
  w->family = o->family;
  w->batch = o->batch;
  if (o->shape.count) w->rows = o->shape.rows[0], w->columns = o->shape.columns[0];
  if (o->op && o->without_op)
    return qp_fail(err, QP_E_ARG, "--op and --without-op: one of them is enough");
  if (o->unrotate && (o->without_op || (o->op && strcmp(o->op, "dequant") != 0)))
    return qp_fail(err, QP_E_ARG, "--unrotate turns back what dequant gives: --op dequant, not %s",
                   o->op ? o->op : "--without-op");
  w->unrotate = o->unrotate;
  w->no_pairs = o->no_pairs;
  if ((status = read_singles(o->singles, &w->singles, err))) return status;
  const char *list = o->op ? o->op : o->without_op ? o->without_op : o->unrotate ? "dequant" : NULL;
  status = read_ops(list, o->without_op != NULL, &w->ops, err);
  if (!status && o->type && !(status = qp_dtype_parse(o->type, &type, err))) w->type = (int)type;
  if (!status && o->path && (status = qp_families_check_path(f, QP_OP_GEMM, o->path, err)))
    qp_fail_prefix(err, status, "--path");
  if (!status && o->family && !qp_families_find(f, o->family))
    status = qp_fail(err, QP_E_ARG,
                     "--family '%.40s': there is none of this name: qpal list families", o->family);
  return status;
}

static qp_status run_chains(const check_options *o, const qp_session *s, const char *device,
                            const qp_case_wishes *w, bool named, int *code, qp_error *err) {
  const qp_chain_wishes wishes = {.device = device,
                                  .quantizer = named ? w->quantizer : NULL,
                                  .quantizers = named ? w->quantizers : 0,
                                  .seed = o->seed,
                                  .json = o->json};
  size_t failed = 0;
  const qp_status status = qp_chain_cases_run(s, &wishes, &failed, err);
  if (!status) *code = failed ? 1 : 0;
  return status;
}

/* The rows of a check that is not run. */
static void list_cases(const check_options *o, const qp_case_wishes *w, const qp_cases *cases) {
  report to = {.o = o, .w = w, .cases = cases};
  begin_report(&to);
  for (size_t i = 0; i < cases->count; i++)
    print_row(to.table, &cases->list[i], &(qp_result){.index = i, .error = NAN});
  qp_table_print(to.table);
}

static qp_status check_cases(const check_options *o, const qp_session *s, const char *device,
                             const qp_case_wishes *w, const qp_cases *cases, qp_result *result,
                             const bool *verify, int *code, qp_error *err) {
  report to = {.o = o, .w = w, .cases = cases};
  const qp_run_options ro = {.device = device,
                             .processes = o->jobs,
                             .seed = o->seed,
                             .schedule = o->schedule,
                             .row_groups_max = 64,
                             .timeout_s = o->timeout_s,
                             .cubins = o->compile_only != NULL,
                             .fail_fast = o->fail_fast,
                             .what = o->compile_only ? "compile" : "check",
                             .each = show_result,
                             .user = &to};
  const double started = qp_seconds();
  int cut = 0;
  const qp_status status = qp_run_cases(s->families, &ro, cases, verify, result, &cut, err);
  if (!status) *code = end_report(&to, device, qp_seconds() - started, cut);
  return status;
}

static qp_status leave_rows_out(const check_options *o, qp_cases *cases, qp_error *err) {
  const size_t all = cases->count;
  if (!o->without_rows) return QP_OK;
  const qp_status status = qp_cases_leave_out(o->without_rows, cases, err);
  if (status) return qp_fail_prefix(err, status, "--without-rows");
  if (!cases->count) fprintf(stderr, "all %zu kernels are in %s\n", all, o->without_rows);
  return QP_OK;
}

static qp_status run_cases(const check_options *o, const qp_session *s, const char *device,
                           const qp_case_wishes *w, int *code, qp_error *err) {
  qp_cases cases = {0};
  qp_result *result = NULL;
  bool *verify = NULL; /* NULL: all */
  qp_status status = qp_cases_make(s->families, w, &cases, err);
  if (!status && !cases.count) status = qp_cases_fail_none(s->families, w, err);
  if (!status) status = leave_rows_out(o, &cases, err);
  if (!status && (o->list || !cases.count)) {
    if (o->list) list_cases(o, w, &cases);
    qp_cases_free(&cases);
    return QP_OK;
  }
  if (!status) result = calloc(cases.count, sizeof *result);
  if (!status && o->compile_only) verify = calloc(cases.count, sizeof *verify);
  if (!status && (!result || (o->compile_only && !verify)))
    status = qp_fail(err, QP_E_NOMEM, "no memory for results");
  if (!status) status = check_cases(o, s, device, w, &cases, result, verify, code, err);
  free(result);
  free(verify);
  qp_cases_free(&cases);
  return status;
}

/* Choose the device to check on; with --compile-only it is a simulator that poses as the GPU and
   runs nothing. */
static qp_status choose_device(const check_options *o, char *device, size_t size, qp_case_wishes *w,
                               qp_error *err) {
  char posing[64];
  if (o->compile_only && o->device)
    return qp_fail(err, QP_E_ARG, "--compile-only runs on no device; leave --device out");
  if (o->compile_only && o->chains)
    return qp_fail(err, QP_E_ARG, "--compile-only makes no --chains; they compile as they run");
  snprintf(posing, sizeof posing, "sim:%s", o->compile_only ? o->compile_only : "");
  const qp_status status = qp_session_device(o->compile_only ? posing : o->device, device, size,
                                             &w->arch, &w->sm_count, err);
  if (!status && o->schedule && strncmp(device, "sim", 3) != 0)
    return qp_fail(err, QP_E_ARG, "--schedule shuffles the simulator; '%s' is none", device);
  return status;
}

/* Take those of LIST out of the quantizers. */
static qp_status leave_out(qp_session *s, const char *list, const qp_quantizer **q, size_t *count,
                           qp_error *err) {
  const qp_quantizer **out = NULL;
  size_t outs = 0, kept = 0;
  if (!list) return QP_OK;
  const qp_status status = qp_session_quantizers(s, list, &out, &outs, err);
  if (status) return qp_fail_prefix(err, status, "--without");
  for (size_t i = 0; i < *count; i++) {
    size_t k = 0;
    while (k < outs && out[k] != q[i]) k++;
    if (k == outs) q[kept++] = q[i];
  }
  *count = kept;
  free(out);
  return QP_OK;
}

static qp_status run(void *options, const qp_words *words, int *code, qp_error *err) {
  const check_options *o = options;
  qp_session s;
  qp_status status = qp_session_open(&s, err);
  if (status) return status;
  char list[16384], device[64];
  qp_case_wishes w = {0};
  const qp_quantizer **q = NULL;
  status = qp_words_list(words, list, sizeof list, err);
  if (!status) status = read_filters(o, s.families, &w, err);
  if (!status)
    status = qp_session_quantizers(&s, words->count ? list : NULL, &q, &w.quantizers, err);
  if (!status && !words->count) status = qp_pins_sort(q, w.quantizers, err);
  if (!status) status = leave_out(&s, o->without, q, &w.quantizers, err);
  if (!status && o->kinds) w.quantizers = qp_steady_first_of_kinds(q, w.quantizers);
  if (!status) status = choose_device(o, device, sizeof device, &w, err);
  w.quantizer = q;
  if (!status && o->chains)
    status = run_chains(o, &s, device, &w, words->count > 0, code, err);
  else if (!status)
    status = run_cases(o, &s, device, &w, code, err);
  free(q);
  qp_session_close(&s);
  return status;
}

int qp_cmd_check(int argc, char **argv) {
  check_options o = {.seed = 1};
  const qp_option table[] = {
      QP_FLAG("all", o.all, "the whole coverage"),
      QP_FLAG("few", o.few, "only each quantizer once on each path"),
      QP_FLAG("kinds", o.kinds, "only the first quantizer of each kind"),
      QP_TEXT(
          "singles", o.singles, "WHICH",
          "gemms of one quantizer, and dequant: in each family, in one in turn, none: each, turn, "
          "none"),
      QP_FLAG("no-pairs", o.no_pairs,
              "no launches of two kinds of quantizers whose warps reach their steady state"),
      QP_TEXT("op", o.op, "LIST", "only these of  " QP_OPS(QP_OP_WORD)),
      QP_TEXT("without-op", o.without_op, "LIST", "all but these"),
      QP_TEXT("without", o.without, "LIST", "all quantizers but these"),
      QP_TEXT("without-rows", o.without_rows, "FILE",
              "not what passed in FILE, which --json wrote, or what --list --json listed there"),
      QP_TEXT("path", o.path, "PATH", "only gemms of this path: tensor, cuda or naive"),
      QP_TEXT("family", o.family, "NAME", "only this one (qpal list families)"),
      QP_TEXT("type", o.type, "TYPE", "only f16 or bf16"),
      QP_SHAPES("shape", o.shape, "MxK", "this shape instead of the small odd ones"),
      QP_NUMBER("batch", o.batch, "N", "this batch only", 1, 64),
      QP_TEXT("device", o.device, "D", "cuda:N or sim[:sm_90[:SMS]]; a GPU if there is one"),
      QP_NUMBER("timeout", o.timeout_s, "S",
                "seconds a kernel may take, else it hangs: 120 on a GPU; sim: 600 of CPU", 1,
                86400),
      QP_FLAG("list", o.list, "print what would be checked, run nothing"),
      QP_FLAG("fail-fast", o.fail_fast, "stop at the first failure"),
      QP_NUMBER("jobs", o.jobs, "N", "processes that verify", 1, 64),
      QP_NUMBER("seed", o.seed, "N", "of the random data", 0, 4294967295u),
      QP_NUMBER("schedule", o.schedule, "SEED",
                "simulator: blocks and warps in a shuffled order, slices of random length", 1,
                4294967295u),
      QP_FLAG("unrotate", o.unrotate,
              "of dequant: the plain W, the inverse rotation of its rows behind it"),
      QP_FLAG("chains", o.chains,
              "instead: launches that depend on each other, overlapped as far as they may"),
      QP_TEXT("compile-only", o.compile_only, "ARCH[:SMS]",
              "compile the kernels into the cache as for such a GPU, run none"),
      QP_FLAG("quiet", o.quiet, "rows of failures only"),
      QP_FLAG("json", o.json, "rows as JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, run, &o);
}
