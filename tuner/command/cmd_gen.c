/* SPDX-License-Identifier: MIT */
/* qpal gen: write a kernel as .cu, .ptx, .cubin and a report. */
#include <assert.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/base/text.h"
#include "gen/compile/compile.h"
#include "gen/compile/nvrtc.h"
#include "gen/inspect/instruction_mix.h"
#include "gen/kernel/kernel.h"
#include "runtime/arch.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/session.h"

static const qp_verb_help help = {
    "gen", "QUANTIZER[,QUANTIZER...] --shape MxK[,MxK...] [options] -o DIR",
    "Generates one kernel and compiles it. Several shapes are linears that read the same x, fused "
    "into\n"
    "one launch, each with its own quantizer (or all with the one that is given). Writes NAME.cu,\n"
    "NAME.ptx, NAME.cubin and NAME.json, the report; NAME is the kernel's configuration."};

typedef struct gen_options {
  const char *op, *arch, *type, *out_type, *path, *family, *folder;
  unsigned batch, sms, experts, top_k, tile, rotation, pieces;
  bool rotate, inverse, unrotate;
  qp_shapes shape;
  qp_repeats set;
} gen_options;

static qp_status read_problem(const gen_options *o, const qp_quantizer *const *q, size_t n,
                              qp_problem *p, qp_error *err) {
  *p = (qp_problem){.batch = o->batch,
                    .rotate_fused = o->rotate,
                    .inverse = o->inverse,
                    .rotation = o->rotation,
                    .pieces = o->pieces};
  qp_status status = qp_op_parse(o->op, &p->op, err);
  if (!status) status = qp_arch_parse(o->arch, &p->arch, err);
  if (!status) status = qp_dtype_parse(o->type, &p->type, err);
  if (!status) status = qp_dtype_parse(o->out_type ? o->out_type : o->type, &p->out_type, err);
  if (status) return status;
  if (!o->shape.count) return qp_fail(err, QP_E_ARG, "--shape MxK is needed");
  if (qp_op_has_segments(p->op) && n != 1 && n != o->shape.count)
    return qp_fail(err, QP_E_ARG,
                   "%zu quantizers for %zu shapes; one each is needed, or one for all", n,
                   o->shape.count);
  p->sm_count = o->sms ? o->sms : qp_arch_sm_count(p->arch);
  p->columns = o->shape.columns[0];
  p->experts = o->experts;
  p->top_k = o->top_k;
  p->tile = o->tile ? o->tile : qp_problem_usual_tile(p->batch, p->columns);
  p->segments = qp_op_has_segments(p->op) ? (unsigned)o->shape.count : 0;
  assert(q || !p->segments);
  for (unsigned s = 0; s < p->segments; s++) {
    p->segment[s].quantizer = q[n == 1 ? 0 : s];
    p->segment[s].rows = o->shape.rows[s];
  }
  return QP_OK;
}

static qp_status choose(qp_session *s, const gen_options *o, const qp_problem *p, qp_choice *c,
                        qp_error *err) {
  const char *path = qp_op_has_batch(p->op) ? o->path : NULL;
  if (path && qp_families_check_path(s->families, p->op, path, err))
    return qp_fail_prefix(err, QP_E_ARG, "--path");
  const qp_family *f = o->family ? qp_families_find(s->families, o->family)
                                 : qp_families_serving(s->families, p, path);
  if (!f)
    return qp_fail(err, QP_E_ARG, "no kernel family does %s%s%s (qpal list families)", o->op,
                   o->family ? " and is called " : "", o->family ? o->family : "");
  qp_choice_default(f, c);
  qp_status status = QP_OK;
  for (size_t i = 0; i < o->set.count && !status; i++)
    status = qp_choice_set(c, o->set.value[i], err);
  return status;
}

static void add_mix(cJSON *to, const char *name, const qp_instruction_mix *m) {
  cJSON *o = cJSON_AddObjectToObject(to, name);
  const struct {
    const char *name;
    unsigned n;
  } kinds[] = {{"total", m->total},
               {"integer_alu", m->integer_alu},
               {"integer_mul", m->integer_mul},
               {"half_math", m->half_math},
               {"float_math", m->float_math},
               {"mma", m->mma},
               {"shared_load", m->shared_load},
               {"shared_store", m->shared_store},
               {"global_load", m->global_load},
               {"global_store", m->global_store},
               {"atomic", m->atomic},
               {"shuffle", m->shuffle},
               {"barrier", m->barrier},
               {"convert", m->convert},
               {"control", m->control},
               {"other", m->other}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    cJSON_AddNumberToObject(o, kinds[i].name, kinds[i].n);
}

static char *report_text(const qp_kernel *k, const qp_compiled *c, const char *nvrtc) {
  cJSON *o = cJSON_CreateObject();
  char arch[16];
  qp_instruction_mix mix;
  snprintf(arch, sizeof arch, "sm_%u", k->problem.arch);
  cJSON_AddStringToObject(o, "name", k->name);
  cJSON_AddStringToObject(o, "family", k->choice.family->name);
  cJSON_AddStringToObject(o, "arch", arch);
  cJSON_AddStringToObject(o, "nvrtc", nvrtc);
  cJSON *options = cJSON_AddArrayToObject(o, "options");
  const qp_nvrtc_options given = qp_nvrtc_options_of(k->problem.arch, true);
  for (unsigned i = 0; i < given.count; i++)
    cJSON_AddItemToArray(options, cJSON_CreateString(given.text[i]));
  cJSON *q = cJSON_AddArrayToObject(o, "segments");
  for (unsigned s = 0; s < k->problem.segments; s++) {
    cJSON *e = cJSON_CreateObject();
    cJSON_AddStringToObject(e, "quantizer", k->problem.segment[s].quantizer->name);
    cJSON_AddStringToObject(e, "hash", k->problem.segment[s].quantizer->hash);
    cJSON_AddNumberToObject(e, "rows", k->problem.segment[s].rows);
    cJSON_AddNumberToObject(e, "columns", k->problem.columns);
    cJSON_AddItemToArray(q, e);
  }
  cJSON *t = cJSON_AddObjectToObject(o, "tunables");
  for (unsigned i = 0; i < k->choice.family->tunables; i++)
    cJSON_AddNumberToObject(t, k->choice.family->tunable[i].name, k->choice.value[i]);
  cJSON_AddNumberToObject(o, "grid_blocks", k->grid);
  cJSON_AddNumberToObject(o, "block_threads", k->block);
  cJSON_AddNumberToObject(o, "registers", c->res.registers);
  cJSON_AddNumberToObject(o, "smem_static_bytes", c->res.smem_static_bytes);
  cJSON_AddNumberToObject(o, "smem_dynamic_bytes", k->smem_bytes);
  cJSON_AddNumberToObject(o, "stack_bytes", c->res.stack_bytes);
  cJSON_AddNumberToObject(o, "spill_store_bytes", c->res.spill_store_bytes);
  cJSON_AddNumberToObject(o, "spill_load_bytes", c->res.spill_load_bytes);
  cJSON_AddNumberToObject(o, "workspace_bytes", (double)k->workspace_bytes);
  cJSON_AddNumberToObject(o, "counters", k->counters);
  if (!qp_instruction_mix_ptx(c->ptx, k->name, &mix, NULL)) add_mix(o, "inner_loop_ptx", &mix);
  if (!qp_instruction_mix_sass(c->cubin, c->cubin_bytes, k->name, &mix, NULL))
    add_mix(o, "inner_loop_sass", &mix);
  char *text = cJSON_Print(o);
  cJSON_Delete(o);
  return text;
}

static qp_status write_one(const gen_options *o, const qp_kernel *k, const char *ending,
                           const void *data, size_t bytes, qp_error *err) {
  char path[4096];
  /* A file's name holds 255 characters; a longer configuration keeps its head, the rest is in
     the files. */
  int n = snprintf(path, sizeof path, "%s/%.230s%s", o->folder, k->name, ending);
  if (n < 0 || (size_t)n >= sizeof path)
    return qp_fail(err, QP_E_ARG, "-o '%.100s...' is too long", o->folder);
  qp_status status = qp_file_write(path, data, bytes, err);
  if (!status) printf("%s\n", path);
  return status;
}

/* The source behind a head that says how it was compiled: NVRTC makes the same cubin of
   the whole file. */
static qp_status write_source(const gen_options *o, const qp_kernel *k, const char *nvrtc,
                              qp_error *err) {
  const qp_nvrtc_options given = qp_nvrtc_options_of(k->problem.arch, true);
  qp_text t = {0};
  qp_text_add(&t, "// compiler: %s\n// program: %s\n// options:", nvrtc, k->name);
  for (unsigned i = 0; i < given.count; i++) qp_text_add(&t, " %s", given.text[i]);
  qp_text_add(&t, "\n%s", k->source);
  const qp_status status = t.failed ? qp_fail(err, QP_E_NOMEM, "no memory for the source")
                                    : write_one(o, k, ".cu", t.s, t.length, err);
  qp_text_free(&t);
  return status;
}

static qp_status write_all(const gen_options *o, const qp_kernel *k, const qp_compiled *c,
                           const char *nvrtc, qp_error *err) {
  char *report = report_text(k, c, nvrtc);
  if (!report) return qp_fail(err, QP_E_NOMEM, "no memory for the report");
  qp_status status = write_source(o, k, nvrtc, err);
  if (!status) status = write_one(o, k, ".ptx", c->ptx, c->ptx_bytes, err);
  if (!status) status = write_one(o, k, ".cubin", c->cubin, c->cubin_bytes, err);
  if (!status) status = write_one(o, k, ".json", report, strlen(report), err);
  if (!status)
    printf("%u registers, %u bytes of spills, %u + %u bytes of shared memory, %u blocks of %u "
           "threads\n",
           c->res.registers, c->res.spill_store_bytes + c->res.spill_load_bytes,
           c->res.smem_static_bytes, k->smem_bytes, k->grid, k->block);
  free(report);
  return status;
}

static qp_status write_kernel(qp_session *s, const gen_options *o, qp_compiler *compiler,
                              const qp_problem *p, const qp_choice *choice, qp_error *err) {
  qp_kernel k = {0};
  qp_compiled c = {0};
  qp_status status = qp_kernel_make(s->families, p, choice, &k, err);
  const qp_compile_job job = {
      .name = k.name, .source = k.source, .arch = p->arch, .want_cubin = true, .want_ptx = true};
  if (!status) status = qp_compiler_run(compiler, &job, &c, err);
  if (!status) status = write_all(o, &k, &c, qp_compiler_version(compiler), err);
  qp_compiled_free(&c);
  qp_kernel_free(&k);
  return status;
}

/* The launch behind a dequant that gives the plain W: the inverse rotation of its rows. */
static qp_status write_turn(qp_session *s, const gen_options *o, qp_compiler *compiler,
                            const qp_problem *of, qp_error *err) {
  const qp_problem p = qp_problem_rotation_back(of);
  const qp_family *f = qp_families_serving(s->families, &p, NULL);
  qp_choice choice;
  if (!f) return qp_fail(err, QP_E_ARG, "no kernel family rotates on sm_%u", p.arch);
  qp_choice_default(f, &choice);
  return write_kernel(s, o, compiler, &p, &choice, err);
}

static qp_status run(qp_session *s, const gen_options *o, const char *list, qp_error *err) {
  const qp_quantizer **q = NULL;
  size_t n = 0;
  qp_problem p;
  qp_choice choice;
  qp_compiler *compiler = NULL;
  qp_compiler_options co = {.workers = 1};
  qp_status status = list ? qp_session_quantizers(s, list, &q, &n, err) : QP_OK;
  if (!status) status = read_problem(o, q, n, &p, err);
  if (!status && o->unrotate && p.op != QP_OP_DEQUANT)
    status = qp_fail(err, QP_E_ARG,
                     "--unrotate turns back what dequant gives: --op dequant, not %s", o->op);
  if (!status) status = choose(s, o, &p, &choice, err);
  if (!status) status = qp_compiler_open(&co, &compiler, err);
  if (!status) status = write_kernel(s, o, compiler, &p, &choice, err);
  if (!status && o->unrotate) status = write_turn(s, o, compiler, &p, err);
  if (compiler) qp_compiler_close(compiler);
  free(q);
  return status;
}

/* An operation that is not known is named later. */
static bool reads_weights(const char *name) {
  qp_op op;
  qp_error why;
  return !qp_op_parse(name, &op, &why) && qp_op_has_segments(op);
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const gen_options *o = options;
  qp_session s;
  (void)code;
  if (words->count > 1 || (!words->count && reads_weights(o->op)) || !o->folder)
    return qp_fail(err, QP_E_ARG,
                   "one list of quantizers and -o DIR are needed; see qpal gen --help");
  qp_status status = qp_session_open(&s, err);
  if (status) return status;
  status = run(&s, o, words->count ? words->word[0] : NULL, err);
  qp_session_close(&s);
  return status;
}

int qp_cmd_gen(int argc, char **argv) {
  gen_options o = {.op = "gemm", .arch = "sm_90", .type = "f16", .batch = 1, .top_k = 1};
  const qp_option table[] = {
      QP_TEXT("op", o.op, "OP", "one of  " QP_OPS(QP_OP_WORD) "(gemm)"),
      QP_SHAPES("shape", o.shape, "MxK,...", "out_features x in_features of each linear"),
      QP_NUMBER("batch", o.batch, "N", "rows of activations (1)", 1, 64),
      QP_NUMBER("experts", o.experts, "E", "experts, route: linears of a stack, each of --shape", 1,
                QP_MAX_EXPERTS),
      QP_NUMBER("top-k", o.top_k, "N", "experts, route: experts of each row (1)", 1, QP_MAX_TOP_K),
      QP_NUMBER("tile", o.tile, "N", "experts, route: rows that an expert takes at once (up to 8)",
                1, QP_MAX_TILE),
      QP_TEXT("arch", o.arch, "ARCH", "sm_75 to sm_121; sm_90 if not given"),
      QP_NUMBER("sms", o.sms, "N", "multiprocessors; the architecture's usual number", 1, 1024),
      QP_TEXT("type", o.type, "TYPE", "activations: f16 (default) or bf16"),
      QP_TEXT("out-type", o.out_type, "TYPE", "Y: as the activations (default) or f32"),
      QP_TEXT("path", o.path, "PATH",
              "gemm: tensor, cuda or naive; tensor where the architecture has it"),
      QP_TEXT("family", o.family, "NAME", "the family itself (qpal list families)"),
      QP_FLAG("rotate", o.rotate, "gemm: rotate x inside the kernel"),
      QP_FLAG("inverse", o.inverse, "rotate: the inverse"),
      QP_FLAG("unrotate", o.unrotate,
              "dequant: the plain W; writes the inverse rotation of its rows, too"),
      QP_NUMBER("rotation", o.rotation, "B", "columns of a diagonal block of the rotation (all)", 0,
                262144),
      QP_NUMBER("pieces", o.pieces, "N", "gemm, dequant: ranges of K with streams of their own (1)",
                0, QP_MAX_PIECES),
      QP_REPEATS("set", o.set, "TUNABLE=V", "a tunable (qpal list families)"),
      QP_TEXT("o", o.folder, "DIR", "folder to write to"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
