/* SPDX-License-Identifier: MIT */
/* qpal cost: instructions of a kernel's hot loop by pipe, and what bounds its time. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "tuner/check/bound.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/base/session.h"

enum { MOST_ARCHS = 16, MOST_COLUMNS = 40 };

static const qp_verb_help help = {
    "cost", "QUANTIZER... [options]",
    "Counts the machine code of each quantizer's gemm: instructions of the common way around its "
    "hot\n"
    "loop, for two weights of a lane, by pipe (alu: shifts, logic; fma: multiply-adds, moves; "
    "half; lds\n"
    "and its passes with the conflicts of random indices; ldg; mma; branch; other), the time each "
    "takes\n"
    "at the rates of the architecture, the time of the bytes at its read bandwidth, and the "
    "largest of\n"
    "them, which bounds the launch. Nothing runs: it needs NVRTC and nvdisasm (pip install\n"
    "nvidia-cuda-nvdisasm). qpal distortion --cost counts PTX in the simulator instead."};

typedef struct cost_options {
  const char *arch, *family, *path, *type, *against;
  unsigned batch;
  bool json;
  qp_shapes shape;
  qp_repeats set;
} cost_options;

/* One kernel's figures. */
typedef struct row {
  const qp_quantizer *quantizer;
  unsigned arch;
  const char *family;
  qp_bound bound;
  qp_resources res;
  double before; /* instructions in the earlier run; NaN: not there */
} row;

/* ---- Counting ---- */

static qp_status read_archs(const char *list, unsigned *arch, unsigned *count, qp_error *err) {
  char item[16];
  *count = 0;
  while (*list) {
    const size_t n = strcspn(list, ",");
    snprintf(item, sizeof item, "%.*s", (int)n, list);
    if (*count == MOST_ARCHS || n >= sizeof item)
      return qp_fail(err, QP_E_ARG, "--arch '%.60s': at most %d architectures, sm_80,sm_90,...",
                     list, MOST_ARCHS);
    const qp_status status = qp_arch_parse(item, &arch[(*count)++], err);
    if (status) return qp_fail_prefix(err, status, "--arch");
    list += n + (list[n] == ',');
  }
  return *count ? QP_OK : qp_fail(err, QP_E_ARG, "--arch '': one architecture at least is needed");
}

/* Make up and gate: two linears, or one shape twice. */
static void make_pair(qp_problem *p) {
  if (p->segments == 1) p->segment[p->segments++] = p->segment[0];
}

static qp_status make_kernel(qp_session *s, const cost_options *o, const row *r, qp_kernel *k,
                             qp_error *err) {
  qp_problem p = {.op = QP_OP_GEMM,
                  .segments = (unsigned)o->shape.count,
                  .columns = o->shape.columns[0],
                  .batch = o->batch,
                  .arch = r->arch,
                  .sm_count = qp_arch_sm_count(r->arch)};
  for (unsigned i = 0; i < p.segments; i++) {
    p.segment[i].quantizer = r->quantizer;
    p.segment[i].rows = o->shape.rows[i];
  }
  qp_status status = qp_dtype_parse(o->type, &p.type, err);
  p.out_type = p.type;
  if (!status && o->path) status = qp_families_check_path(s->families, p.op, o->path, err);
  if (status) return status;
  const qp_family *f = o->family ? qp_families_find(s->families, o->family)
                                 : qp_families_serving(s->families, &p, o->path);
  if (!f || !qp_bound_counts(f->op))
    return qp_fail(err, QP_E_ARG,
                   "--family '%s' is no family of gemm or experts, or of either with -glu (qpal "
                   "list families)",
                   o->family ? o->family : "");
  p.op = f->op;
  if (qp_op_has_unit(f->op)) make_pair(&p);
  if (qp_op_multiplies_stacks(f->op)) p.experts = p.top_k = 1, p.tile = p.batch; /* a tile */
  qp_choice choice;
  qp_choice_default(f, &choice);
  for (size_t i = 0; i < o->set.count && !status; i++)
    status = qp_choice_set(&choice, o->set.value[i], err);
  return status ? status : qp_kernel_make(s->families, &p, &choice, k, err);
}

static qp_status count(qp_session *s, qp_compiler *compiler, const cost_options *o, row *r,
                       qp_error *err) {
  qp_kernel k = {0};
  qp_compiled c = {0};
  qp_status status = make_kernel(s, o, r, &k, err);
  if (!status) {
    const qp_compile_job job = {
        .name = k.name, .source = k.source, .arch = r->arch, .want_cubin = true};
    status = qp_compiler_run(compiler, &job, &c, err);
  }
  if (!status) {
    r->family = k.choice.family->name;
    r->res = c.res;
    status = qp_bound_count(&k, &c, &r->bound, err);
  }
  qp_compiled_free(&c);
  qp_kernel_free(&k);
  return status ? qp_fail_prefix(err, status, "%s, sm_%u", r->quantizer->name, r->arch) : QP_OK;
}

/* ---- An earlier run ---- */

static bool text_is(const cJSON *o, const char *name, const char *value) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
  return cJSON_IsString(v) && !strcmp(v->valuestring, value);
}

static void name_arch(const row *r, char to[16]) { snprintf(to, 16, "sm_%u", r->arch); }

static void name_shape(const cost_options *o, char *to, size_t size) {
  size_t n = 0;
  for (size_t i = 0; i < o->shape.count && n < size; i++)
    n += (size_t)snprintf(to + n, size - n, "%s%ux%u", i ? "," : "", o->shape.rows[i],
                          o->shape.columns[i]);
}

/* Find the instructions of the same quantizer, architecture, family, shape and batch; NaN: they are
   not there. */
static double find_before(const cJSON *file, const cost_options *o, const row *r) {
  char arch[16], shape[128];
  const cJSON *e;
  name_arch(r, arch);
  name_shape(o, shape, sizeof shape);
  cJSON_ArrayForEach(e, file) {
    const cJSON *batch = cJSON_GetObjectItemCaseSensitive(e, "batch");
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(e, "instructions");
    if (text_is(e, "quantizer", r->quantizer->name) && text_is(e, "arch", arch) &&
        text_is(e, "family", r->family) && text_is(e, "shape", shape) && cJSON_IsNumber(batch) &&
        batch->valuedouble == o->batch && cJSON_IsNumber(n) && n->valuedouble > 0)
      return n->valuedouble;
  }
  return NAN;
}

/* ---- Showing ---- */

typedef struct cell {
  const char *name, *text; /* text NULL: a number */
  double number;
  const char *format; /* NULL: in JSON alone */
} cell;

static size_t cells_of(const cost_options *o, const row *r, const char *nvrtc, cell *to) {
  static char arch[16], shape[128];
  static const char *const us[] = {"alu_us", "fma_us", "half_us",   "lds_us",
                                   "ldg_us", "mma_us", "branch_us", "other_us"};
  const qp_bound *b = &r->bound;
  size_t n = 0;
  name_arch(r, arch);
  name_shape(o, shape, sizeof shape);
  to[n++] = (cell){"quantizer", r->quantizer->name, 0, ""};
  to[n++] = (cell){"arch", arch, 0, ""};
  to[n++] = (cell){"family", r->family, 0, NULL};
  to[n++] = (cell){"shape", shape, 0, NULL};
  to[n++] = (cell){"batch", NULL, o->batch, NULL};
  to[n++] = (cell){"instructions", NULL, b->instructions, "%.2f"};
  if (o->against) {
    to[n++] = (cell){"before", NULL, r->before, "%.2f"};
    to[n++] = (cell){"ratio", NULL, b->instructions / r->before, "%.3f"};
  }
  for (unsigned p = 0; p < QP_PIPE_COUNT; p++) {
    to[n++] = (cell){qp_pipe_name((qp_pipe)p), NULL, b->pipe[p], "%.2f"};
    if (p == QP_PIPE_lds) to[n++] = (cell){"lds_passes", NULL, b->lds_passes, "%.2f"};
  }
  to[n++] = (cell){"issue_us", NULL, b->issue_us, "%.1f"};
  for (unsigned p = 0; p < QP_PIPE_COUNT; p++)
    if (p != QP_PIPE_branch && p != QP_PIPE_other)
      to[n++] = (cell){us[p], NULL, b->pipe_us[p],
                       p == QP_PIPE_half || p == QP_PIPE_ldg || p == QP_PIPE_mma ? NULL : "%.1f"};
  to[n++] = (cell){"memory_us", NULL, b->memory_us, "%.1f"};
  to[n++] = (cell){"us", NULL, b->us, "%.1f"};
  to[n++] = (cell){"bound_by", b->binds, 0, ""};
  to[n++] = (cell){"registers", NULL, r->res.registers, "%.0f"};
  to[n++] = (cell){"spill_bytes", NULL, r->res.spill_store_bytes + r->res.spill_load_bytes, "%.0f"};
  to[n++] = (cell){"rates", qp_rates_of(r->arch)->measured ? "measured" : "assumed", 0, NULL};
  to[n++] = (cell){"nvrtc", nvrtc, 0, NULL};
  return n;
}

static void print_rows(const cost_options *o, const row *r, size_t count, const char *nvrtc) {
  cell c[MOST_COLUMNS];
  qp_column column[MOST_COLUMNS + 1] = {{0}};
  const size_t cells = cells_of(o, r, nvrtc, c);
  size_t n = 0;
  for (size_t i = 0; i < cells; i++)
    if (o->json || c[i].format) column[n++] = (qp_column){c[i].name, !c[i].text};
  qp_table_out *t = qp_table_new(column, o->json);
  for (size_t k = 0; k < count; k++) {
    cells_of(o, &r[k], nvrtc, c);
    qp_table_row(t);
    for (size_t i = 0; i < cells; i++) {
      if (!o->json && !c[i].format) continue;
      if (c[i].text)
        qp_table_text(t, c[i].text);
      else
        qp_table_number(t, c[i].number, c[i].format ? c[i].format : "%g");
    }
  }
  qp_table_print(t);
}

/* Print for each architecture the geometric mean of the ratios to the earlier run, and the
   worst. */
static void print_means(const row *r, size_t count, const unsigned *arch, unsigned archs) {
  for (unsigned a = 0; a < archs; a++) {
    double sum = 0, worst = 0;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
      const double ratio = r[i].bound.instructions / r[i].before;
      if (r[i].arch != arch[a] || isnan(ratio)) continue;
      sum += log(ratio);
      worst = fmax(worst, ratio);
      n++;
    }
    if (n)
      printf("sm_%u: %.3f of before (geometric mean of %zu), at worst %.3f\n", arch[a],
             exp(sum / (double)n), n, worst);
  }
}

static void print_notes(const row *r, size_t count, const char *nvrtc) {
  bool assumed = false;
  for (size_t i = 0; i < count; i++) assumed |= !qp_rates_of(r[i].arch)->measured;
  printf("instructions of a warp for two weights of each lane, %s; us: the least that issue, each "
         "pipe "
         "and the\nbytes take%s\n",
         nvrtc, assumed ? "; rates are measured on sm_90, on others assumed" : "");
}

/* ---- The verb ---- */

static qp_status count_all(qp_session *s, const cost_options *o, row *r, size_t rows, char *nvrtc,
                           size_t size, qp_error *err) {
  const qp_compiler_options options = {.workers = 1};
  qp_compiler *compiler = NULL;
  cJSON *before = NULL;
  qp_progress bar;
  qp_status status = o->against ? qp_json_read(o->against, &before, err) : QP_OK;
  if (!status) status = qp_compiler_open(&options, &compiler, err);
  if (!status) {
    snprintf(nvrtc, size, "%s", qp_compiler_version(compiler));
    qp_progress_begin(&bar, "cost", rows);
    for (size_t i = 0; !status && i < rows; i++) {
      qp_progress_show(&bar, i, r[i].quantizer->name);
      status = count(s, compiler, o, &r[i], err);
      if (!status) r[i].before = find_before(before, o, &r[i]);
    }
    qp_progress_end(&bar);
    qp_compiler_close(compiler);
  }
  cJSON_Delete(before);
  return status;
}

static qp_status run(const cost_options *o, const char *list, qp_error *err) {
  qp_session s = {0};
  const qp_quantizer **q = NULL;
  size_t n = 0;
  unsigned arch[MOST_ARCHS], archs = 0;
  row *r = NULL;
  char nvrtc[128] = "";
  qp_status status = read_archs(o->arch, arch, &archs, err);
  if (!status) status = qp_session_open(&s, err);
  if (!status) status = qp_session_quantizers(&s, list, &q, &n, err);
  if (!status && !(r = calloc(n * archs + 1, sizeof *r)))
    status = qp_fail(err, QP_E_NOMEM, "out of memory");
  for (size_t i = 0; r && i < n * archs; i++)
    r[i] = (row){.quantizer = q[i / archs], .arch = arch[i % archs]};
  if (!status) status = count_all(&s, o, r, n * archs, nvrtc, sizeof nvrtc, err);
  if (!status) {
    print_rows(o, r, n * archs, nvrtc);
    if (!o->json && o->against) print_means(r, n * archs, arch, archs);
    if (!o->json) print_notes(r, n * archs, nvrtc);
  }
  free(r);
  free(q);
  qp_session_close(&s);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  char list[16384];
  (void)code;
  if (!words->count) return qp_fail(err, QP_E_ARG, "a quantizer is needed; see qpal cost --help");
  const qp_status status = qp_words_list(words, list, sizeof list, err);
  return status ? status : run(options, list, err);
}

int qp_cmd_cost(int argc, char **argv) {
  cost_options o = {.arch = "sm_90",
                    .type = "f16",
                    .batch = 1,
                    .shape = {.count = 1, .rows = {28672}, .columns = {4096}}};
  const qp_option table[] = {
      QP_TEXT("arch", o.arch, "LIST", "architectures: sm_80,sm_90; sm_90"),
      QP_SHAPES("shape", o.shape, "MxK,...", "linears of the launch; 28672x4096"),
      QP_NUMBER("batch", o.batch, "N", "rows of activations; 1", 1, QP_MAX_BATCH),
      QP_TEXT("type", o.type, "TYPE", "activations: f16 (default) or bf16"),
      QP_TEXT("path", o.path, "PATH", "tensor or cuda; tensor where the architecture has it"),
      QP_TEXT("family", o.family, "F", "the kernel family itself (qpal list families)"),
      QP_REPEATS("set", o.set, "TUNABLE=V", "a tunable (qpal list families)"),
      QP_TEXT("against", o.against, "FILE", "beside what an earlier run printed with --json"),
      QP_FLAG("json", o.json, "print JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
