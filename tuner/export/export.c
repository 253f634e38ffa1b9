/* SPDX-License-Identifier: MIT */
/* Makes a kernel library of groups: it finds the problems they pose and compiles a kernel for each.
   */
#include "tuner/export/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/kernel/kernel.h"
#include "runtime/arch.h"
#include "runtime/include/qpal.h"
#include "runtime/list.h"
#include "tuner/export/library_writer.h"
#include "tuner/base/output.h"

/* A kernel that the library will hold. */
typedef struct job {
  qp_lib_kernel record; /* images are filled when it is compiled */
  char *name;
  bool ptx;
  qp_compiled compiled;
} job;

/* A problem of the library, which several groups may pose. */
typedef struct posed {
  uint32_t index;               /* of PROBLEMS */
  const qp_export_group *group; /* the first that poses it */
  qp_op op;
  unsigned member; /* alone: dequant, gather */
} posed;

typedef struct export {
  const qp_export_request *r;
  qp_families *families;
  qp_library_writer *writer;
  qp_compiler *compiler;
  qp_text *notes;
  qp_error *err;
  size_t jobs, capacity;
  job **job; /* Each is malloc'ed, since compile jobs point to it. */
  size_t problems;
  posed *problem;
  bool told;  /* that there is no attention */
  bool large; /* too much for a second type that nobody asked for */
}
export;

static qp_status no_memory(export *e) {
  return qp_fail(e->err, QP_E_NOMEM, "no memory for the export");
}

/* ---- Groups to problems ---- */

static qp_status check_group(export *e, const qp_export_group *g) {
  unsigned quantized = 0;
  for (unsigned m = 0; m < g->members; m++) quantized += g->member[m].quantizer != NULL;
  if (!g->members || g->members > QP_MAX_SEGMENTS)
    return qp_fail(e->err, QP_E_ARG, "group %s has %u members; 1 to %d are possible", g->name,
                   g->members, QP_MAX_SEGMENTS);
  if (g->lookup && g->members != 1)
    return qp_fail(e->err, QP_E_ARG, "group %s has %u members; an embedding is alone", g->name,
                   g->members);
  if (quantized && quantized != g->members)
    return qp_fail(e->err, QP_E_ARG,
                   "group %s mixes linears in 16 bits with quantized ones; they need launches of "
                   "their own",
                   g->name);
  return QP_OK;
}

static bool pose(export *e, uint32_t index, const qp_export_group *g, qp_op op, unsigned member) {
  for (size_t i = 0; i < e->problems; i++)
    if (e->problem[i].index == index && e->problem[i].op == op) return true;
  posed *more = realloc(e->problem, (e->problems + 1) * sizeof *more);
  if (!more) return false;
  e->problem = more;
  e->problem[e->problems++] = (posed){index, g, op, member};
  return true;
}

/* The group's path, or the default family's where it has none that families have. */
static const char *path_of(const export *e, const qp_export_group *g) {
  if (!g->member[0].quantizer) return "engine";
  if (g->lookup_only) return "gather";
  if (*g->path && qp_families_for(e->families, QP_OP_GEMM, g->path)) return g->path;
  const qp_family *usual = qp_families_for(e->families, QP_OP_GEMM, NULL);
  return usual ? usual->path : "";
}

static qp_op op_of(const qp_export_group *g) { return g->experts ? QP_OP_EXPERTS : QP_OP_GEMM; }

/* Give the same operation with a gated linear unit behind it. */
static qp_op with_unit(qp_op op) { return op == QP_OP_GEMM ? QP_OP_GEMM_GLU : QP_OP_EXPERTS_GLU; }

/* Can one kernel do up, gate and what is made of both?  Why not is noted. */
static bool makes_pair(export *e, const qp_export_group *g) {
  const qp_quantizer *up = g->member[0].quantizer, *gate = g->member[1].quantizer;
  const bool one = !g->experts; /* one table decodes both */
  const char *why = one && up != gate                        ? "quantizers differ"
                    : g->member[0].rows != g->member[1].rows ? "rows differ"
                    : one && !qp_kernel_mergeable(up)        ? "codebooks differ"
                    : !qp_families_for(e->families, with_unit(op_of(g)), path_of(e, g))
                        ? "path has no such kernels"
                        : NULL;
  if (why && e->r->gemm_glu)
    qp_text_add(e->notes, "%s: no gated linear unit behind its %s: its %s\n", g->name,
                qp_op_name(op_of(g)), why);
  return !why;
}

/* What tells problems apart beside their linears. */
static void key_of(const export *e, const qp_export_group *g, char *to, size_t size) {
  if (g->experts)
    snprintf(to, size, "%s, %u of %u experts", path_of(e, g), g->top_k, g->experts);
  else
    snprintf(to, size, "%s", path_of(e, g));
}

static qp_status add_group(export *e, const qp_export_group *g) {
  uint32_t linear[QP_MAX_SEGMENTS];
  char key[64];
  qp_lib_group record = {.name = qp_library_writer_string(e->writer, g->name),
                         .path = qp_library_writer_string(e->writer, path_of(e, g)),
                         .block = g->block};
  qp_status status = check_group(e, g);
  for (unsigned m = 0; m < g->members && !status; m++) {
    record.tensor[m] = qp_library_writer_string(e->writer, g->member[m].tensor);
    status = qp_library_writer_linear(e->writer, g->member[m].quantizer, g->member[m].rows,
                                      g->columns, g->pieces, g->rotation, &linear[m], e->err);
    if (!status)
      status = qp_library_writer_problem(e->writer, &linear[m], 1, g->columns, "",
                                         &record.single[m], e->err);
    if (status || !g->member[m].quantizer) continue;
    if (e->r->dequant && !g->lookup_only && !pose(e, record.single[m], g, QP_OP_DEQUANT, m))
      return no_memory(e);
    if (g->lookup && !pose(e, record.single[m], g, QP_OP_GATHER, m)) return no_memory(e);
  }
  key_of(e, g, key, sizeof key);
  if (!status)
    status = qp_library_writer_problem(e->writer, linear, g->members, g->columns, key,
                                       &record.problem, e->err);
  if (!status && g->member[0].quantizer && !g->lookup_only &&
      !pose(e, record.problem, g, op_of(g), 0))
    return no_memory(e);
  const bool pair = g->glu && (e->r->gemm_glu || e->r->pair) && g->member[0].quantizer;
  if (!status && pair && makes_pair(e, g) && !pose(e, record.problem, g, with_unit(op_of(g)), 0))
    return no_memory(e);
  return status ? status : qp_library_writer_group(e->writer, &record, e->err);
}

/* ---- Problems to kernels ---- */

static qp_status add_job(export *e, uint32_t target, uint32_t problem, const qp_kernel *k,
                         const char *source, int64_t latency_ps, size_t params_bytes, bool ptx) {
  job **more = qp_list_room(e->job, e->jobs, &e->capacity, sizeof *more);
  if (!more) return no_memory(e);
  e->job = more;
  job *j = calloc(1, sizeof *j);
  if (!j || !(j->name = strdup(k->name))) return free(j), no_memory(e);
  const qp_problem *p = &k->problem;
  const bool rows = qp_op_has_batch(p->op), routed = qp_op_has_experts(p->op);
  const bool glu = p->op == QP_OP_ROTATE_GLU || qp_op_has_unit(p->op);
  j->record =
      (qp_lib_kernel){.name = qp_library_writer_string(e->writer, k->name),
                      .source = qp_library_writer_string(e->writer, source),
                      .target = target,
                      .op = (uint32_t)p->op,
                      .problem = problem,
                      .columns = p->columns,
                      .type = (uint32_t)p->type,
                      .out_type = (uint32_t)(rows ? p->out_type : p->type),
                      .batch = rows || routed         ? p->batch
                               : qp_op_rotates(p->op) ? p->rotation
                                                      : 0,
                      .experts = (uint16_t)(routed ? p->experts : 0),
                      .top_k = (uint8_t)(routed ? p->top_k : 0),
                      .tile = (uint8_t)(routed ? p->tile : 0),
                      .flags = (k->pdl ? QP_LIB_PDL : 0u) | (k->adds_to_zero ? QP_LIB_ADDS : 0u) |
                               (p->rotate_fused ? QP_LIB_ROTATES : 0u) |
                               (p->inverse ? QP_LIB_INVERSE : 0u) | (glu ? QP_LIB_LIMITS : 0u),
                      .grid = k->grid,
                      .block = k->block,
                      .smem_bytes = k->smem_bytes,
                      .counters = k->counters,
                      .params_bytes = (uint32_t)params_bytes,
                      .workspace_bytes = k->workspace_bytes,
                      .latency_ps = latency_ps};
  j->ptx = ptx;
  e->job[e->jobs++] = j;
  const qp_compile_job compile = {.name = k->name,
                                  .source = k->source,
                                  .arch = p->arch,
                                  .want_cubin = true,
                                  .want_ptx = ptx,
                                  .user = j};
  return qp_compiler_submit(e->compiler, &compile, e->err);
}

/* PTX goes with the targets of the newest architecture, or with all. */
static bool wants_ptx(const qp_export_request *r, unsigned arch) {
  if (r->ptx != QP_PTX_NEWEST) return r->ptx == QP_PTX_ALL;
  for (unsigned i = 0; i < r->gpus; i++)
    if (r->gpu[i].arch > arch) return false;
  return true;
}

/* Make the kernel of one problem on one GPU.  QP_E_LIMIT: it cannot be. */
static qp_status make_kernel(export *e, uint32_t target, uint32_t problem, const char *path,
                             const qp_problem *p) {
  const qp_export_gpu *gpu = &e->r->gpu[target];
  const qp_family *family = qp_families_serving(e->families, p, path);
  char source[QP_EXPORT_SOURCE] = "the family's defaults";
  int64_t latency_ps = -1;
  qp_choice choice;
  if (!family)
    return qp_fail(e->err, QP_E_ARG, "no kernel family does %s on path '%s'", qp_op_name(p->op),
                   path);
  qp_choice_default(family, &choice);
  if (e->r->pdl && qp_arch_has(p->arch, QP_ARCH_PDL)) qp_choice_put(&choice, "pdl", 1);
  qp_status status = QP_OK;
  if (e->r->choose)
    status = e->r->choose(e->r->chooser, gpu, p, &choice, source, &latency_ps, e->err);
  if (status) return status;
  qp_kernel *k = calloc(1, sizeof *k);
  if (!k) return no_memory(e);
  status = qp_kernel_make(e->families, p, &choice, k, e->err);
  if (!status) {
    unsigned char params[QP_PARAMS_MAX];
    const qp_arguments none = {.x = 0};
    status = add_job(e, target, problem, k, source, latency_ps, qp_kernel_params(k, &none, params),
                     wants_ptx(e->r, p->arch));
    qp_kernel_free(k);
  }
  free(k);
  return status;
}

static qp_problem base_problem(const export *e, uint32_t target, qp_dtype type, unsigned columns) {
  const qp_export_gpu *gpu = &e->r->gpu[target];
  return (qp_problem){.columns = columns,
                      .type = type,
                      .out_type = e->r->out_f32 ? QP_F32 : type,
                      .arch = gpu->arch,
                      .sm_count = gpu->sm_count};
}

/* The same tiles for all stacks with as many experts, so that one routing serves them. */
static void set_routing(const export *e, const qp_export_group *g, qp_problem *p) {
  unsigned columns = 0;
  for (size_t i = 0; i < e->r->groups; i++) {
    const qp_export_group *other = &e->r->group[i];
    if (other->experts == g->experts && other->top_k == g->top_k && other->columns > columns)
      columns = other->columns;
  }
  p->experts = g->experts;
  p->slices = g->slices;
  p->top_k = g->top_k;
  p->tile = qp_problem_usual_tile(p->batch, columns);
}

/* Is this batch wanted?  A gated linear unit behind its gemm that nobody asked for is, where it was
   measured to be quicker. */
static bool wants(export *e, uint32_t target, const posed *what, const qp_problem *p) {
  const qp_export_group *g = what->group;
  qp_problem gemm = *p;
  if (!qp_op_has_unit(p->op) || e->r->gemm_glu) return true;
  gemm.op = op_of(g);
  const int64_t saves =
      p->rotate_fused ? 0 : e->r->pair(e->r->chooser, &e->r->gpu[target], &gemm, path_of(e, g));
  if (saves > 0)
    qp_text_add(e->notes,
                "%s on %s: batch %u also with the gated linear unit behind its %s, %.2f us "
                "quicker\n",
                g->name, e->r->gpu[target].name, p->batch, qp_op_name(gemm.op),
                (double)saves * 1e-6);
  return saves > 0;
}

/* Add the gemms of one problem, one for each batch; a batch that cannot be is noted, unless none
   can. */
static qp_status add_gemms(export *e, uint32_t target, const posed *what, qp_dtype type,
                           bool rotate) {
  const qp_export_group *g = what->group;
  qp_problem p = base_problem(e, target, type, g->columns);
  p.op = what->op;
  p.pieces = g->pieces;
  p.rotation = rotate ? g->rotation : 0;
  p.rotate_fused = rotate;
  p.segments = g->members;
  for (unsigned m = 0; m < g->members; m++) {
    p.segment[m].quantizer = g->member[m].quantizer;
    p.segment[m].rows = g->member[m].rows;
  }
  unsigned made = 0, batch[QP_EXPORT_BATCHES];
  const size_t first = e->jobs;
  for (unsigned b = 0; b < e->r->batches; b++) {
    p.batch = e->r->batch[b];
    if (g->experts) set_routing(e, g, &p);
    if (!wants(e, target, what, &p)) continue;
    const qp_status status = make_kernel(e, target, what->index, path_of(e, g), &p);
    if (status == QP_E_LIMIT) {
      qp_text_add(e->notes, "%s on %s: no kernel for batch %u%s: %.300s\n", g->name,
                  e->r->gpu[target].name, p.batch, rotate ? " that rotates" : "", e->err->text);
      continue;
    }
    if (status) return status;
    batch[made++] = p.batch;
  }
  if (made && e->r->crossover && what->op == QP_OP_GEMM) {
    p.rotate_fused = false; /* Decoding wants rotated rows as well. */
    const unsigned rows =
        e->r->crossover(e->r->chooser, &e->r->gpu[target], &p, path_of(e, g), batch, made);
    for (size_t i = first; i < e->jobs; i++) e->job[i]->record.dequant_rows = rows;
  }
  const bool may_lack = rotate || (qp_op_has_unit(what->op) && !e->r->gemm_glu);
  return made || may_lack ? QP_OK : QP_E_LIMIT; /* the reason of the last is in err */
}

/* What is done to one member alone: dequant, gather. */
static qp_status add_single(export *e, uint32_t target, const posed *what, qp_dtype type) {
  const qp_export_group *g = what->group;
  qp_problem p = base_problem(e, target, type, g->columns);
  p.op = what->op;
  p.pieces = p.op == QP_OP_DEQUANT ? g->pieces : 0;
  p.rotation = p.op == QP_OP_GATHER ? g->rotation : 0;
  p.segments = 1;
  p.segment[0].quantizer = g->member[what->member].quantizer;
  p.segment[0].rows = g->member[what->member].rows;
  return make_kernel(e, target, what->index, "", &p);
}

/* Do two groups read x of one length, rotated alike? */
static bool has_input_of(const qp_export_group *a, const qp_export_group *b) {
  return a->columns == b->columns && a->rotation == b->rotation;
}

/* A kernel that reads no packed weights. */
static qp_status add_of_rows(export *e, uint32_t target, qp_op op, qp_dtype type, unsigned columns,
                             unsigned rotation, bool inverse) {
  qp_problem p = base_problem(e, target, type, columns);
  p.op = op;
  p.rotation = rotation;
  p.inverse = inverse;
  return make_kernel(e, target, QP_LIB_NONE, "", &p);
}

/* With what makes the input of the groups that read such x, and with what the request names. */
static qp_status add_prologues(export *e, uint32_t target, qp_dtype type,
                               const qp_export_group *like) {
  bool by[QP_PRODUCERS] = {[QP_PRODUCER_NORM] = e->r->norm, [QP_PRODUCER_GLU] = e->r->glu};
  qp_status status = QP_OK;
  for (size_t i = 0; i < e->r->groups && !e->r->no_prologue; i++) {
    const qp_export_group *g = &e->r->group[i];
    if (has_input_of(g, like) && g->member[0].quantizer && !g->lookup_only) by[g->input] = true;
  }
  if (by[QP_PRODUCER_NORM])
    status = add_of_rows(e, target, QP_OP_ROTATE_NORM, type, like->columns, like->rotation, false);
  if (!status && by[QP_PRODUCER_GLU])
    status = add_of_rows(e, target, QP_OP_ROTATE_GLU, type, like->columns, like->rotation, false);
  return status;
}

/* Rotations of every K that quantized linears have. */
static qp_status add_rotations(export *e, uint32_t target, qp_dtype type) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < e->problems && !status; i++) {
    const qp_export_group *g = e->problem[i].group;
    bool known = false;
    for (size_t j = 0; j < i; j++) known |= has_input_of(e->problem[j].group, g);
    if (known) continue;
    status = add_of_rows(e, target, QP_OP_ROTATE, type, g->columns, g->rotation, false);
    if (!status && e->r->inverse)
      status = add_of_rows(e, target, QP_OP_ROTATE, type, g->columns, g->rotation, true);
    if (!status) status = add_prologues(e, target, type, g);
  }
  return status;
}

/* Linears that stay in 16 bits, whether the plan or those who quantize keep them: of every K. */
static qp_status add_plains(export *e, uint32_t target, qp_dtype type) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < e->r->groups && !status; i++) {
    const unsigned columns = e->r->group[i].columns;
    bool known = false;
    for (size_t j = 0; j < i && !known; j++) known = e->r->group[j].columns == columns;
    if (known) continue;
    status = add_of_rows(e, target, QP_OP_PLAIN, type, columns, 0, false);
    if (status != QP_E_LIMIT) continue;
    qp_text_add(e->notes, "%s: no kernel for linears in 16 bits: %.300s\n", e->r->gpu[target].name,
                e->err->text);
    status = QP_OK;
  }
  return status;
}

/* Tells, for a model that nobody looked at, whether its attention is of a kind that there are
   kernels for; if not, a note says why. */
static bool can_decode(export *e) {
  const unsigned d = e->r->decoder;
  if (!e->r->decoder_of_model) return true;
  bool norm = false;
  for (size_t i = 0; i < e->r->groups; i++) norm |= e->r->group[i].input == QP_PRODUCER_NORM;
  const bool fits = d >= QP_EXPORT_LEAST_HEAD && d <= QP_EXPORT_MOST_HEAD;
  if (norm && fits && d % QP_EXPORT_LEAST_HEAD == 0) return true;
  if (!e->told) qp_text_add(e->notes, "no attention: the model has heads of %u elements\n", d);
  e->told = true;
  return false;
}

/* What stands between the linears of a decoder: attention, and the choice of a token, which reads
   rows of an embedding as long as what norms make. */
static qp_status add_decoder(export *e, uint32_t target, qp_dtype type) {
  if (!can_decode(e)) return QP_OK;
  qp_status status = add_of_rows(e, target, QP_OP_ATTEND, type, e->r->decoder, 0, false);
  unsigned last = 0;
  for (size_t i = 0; i < e->r->groups && !status; i++) {
    const qp_export_group *g = &e->r->group[i];
    bool known = g->input != QP_PRODUCER_NORM;
    for (size_t j = 0; j < i && !known; j++)
      known = e->r->group[j].input == QP_PRODUCER_NORM && e->r->group[j].columns == g->columns;
    if (known) continue;
    status = add_of_rows(e, target, QP_OP_PICK, type, last = g->columns, 0, false);
  }
  if (!status && last) return add_plains(e, target, type);
  if (status) return status;
  return qp_fail(e->err, QP_E_ARG,
                 "--decoder: no group of linears reads what a norm makes, so that the size of an "
                 "embedding's row is not known; give a plan or a model");
}

/* The sums over a token's experts, of every stack that is the last of a layer's: it reads no norm's
   output and has no other beside it. */
static qp_status add_combines(export *e, uint32_t target, qp_dtype type) {
  unsigned known[QP_EXPORT_COMBINES], n = 0;
  qp_status status = QP_OK;
  for (size_t i = 0; i < e->r->groups && !status; i++) {
    const qp_export_group *g = &e->r->group[i];
    if (!g->experts || g->members != 1 || g->input == QP_PRODUCER_NORM) continue;
    if (!g->member[0].quantizer) continue;
    unsigned k = 0;
    while (k < n && known[k] != g->member[0].rows) k++;
    if (k < n || n == QP_EXPORT_COMBINES) continue;
    known[n++] = g->member[0].rows;
    qp_problem p = base_problem(e, target, type, g->member[0].rows);
    p.op = QP_OP_COMBINE;
    p.top_k = g->top_k; /* no kernel hangs on it, a record is of one */
    status = make_kernel(e, target, QP_LIB_NONE, "", &p);
  }
  return status;
}

/* Adds what routes to stacks, for each number of experts and of those that a token goes to. */
static qp_status add_routes(export *e, uint32_t target) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < e->r->groups && !status; i++) {
    const qp_export_group *g = &e->r->group[i];
    bool known = !g->experts || !g->member[0].quantizer;
    for (size_t k = 0; k < i; k++)
      known |= e->r->group[k].member[0].quantizer && e->r->group[k].experts == g->experts &&
               e->r->group[k].top_k == g->top_k;
    for (unsigned b = 0; b < e->r->batches && !status && !known; b++) {
      qp_problem p = base_problem(e, target, QP_F16, 0);
      p.op = QP_OP_ROUTE;
      p.batch = e->r->batch[b];
      set_routing(e, g, &p);
      status = make_kernel(e, target, QP_LIB_NONE, "", &p);
    }
  }
  return status;
}

/* Would a second type make a small library large?  The first target's kernels say so for all. */
static bool is_large(export *e, unsigned target, size_t kernels) {
  if (!e->r->second_if_small) return false;
  if (!target && kernels > QP_EXPORT_SMALL) {
    e->large = true;
    qp_text_add(e->notes,
                "%zu kernels for activations in %s, none in %s: --type f16,bf16 makes both\n",
                kernels, qp_dtype_name(e->r->type[0]), qp_dtype_name(e->r->type[1]));
  }
  return e->large;
}

static qp_status add_target(export *e, unsigned i) {
  const qp_export_gpu *gpu = &e->r->gpu[i];
  const char *chosen = gpu->chosen ? gpu->chosen : e->r->chosen;
  uint32_t target = 0;
  qp_status status = qp_library_writer_target(e->writer, gpu->name, chosen, gpu->arch,
                                              gpu->sm_count, &target, e->err);
  const size_t first = e->jobs;
  for (unsigned t = 0; t < e->r->types && !status; t++) {
    if (t && is_large(e, i, e->jobs - first)) break;
    for (size_t q = 0; q < e->problems && !status; q++) {
      const posed *what = &e->problem[q];
      if (!qp_op_multiplies(what->op) && !qp_op_multiplies_stacks(what->op)) {
        status = add_single(e, target, what, e->r->type[t]);
        continue;
      }
      status = add_gemms(e, target, what, e->r->type[t], false);
      if (!status && e->r->rotate_fused && !what->group->experts)
        status = add_gemms(e, target, what, e->r->type[t], true);
    }
    if (!status && e->r->rotate) status = add_rotations(e, target, e->r->type[t]);
    if (!status && (e->r->decoder || e->r->decoder_of_model))
      status = add_decoder(e, target, e->r->type[t]);
    if (!status) status = add_combines(e, target, e->r->type[t]);
  }
  return status ? status : add_routes(e, target);
}

/* ---- Compiling and writing ---- */

static qp_status compile_all(export *e) {
  qp_progress bar;
  qp_compiled c;
  void *user;
  size_t done = 0;
  qp_status status = QP_OK;
  qp_progress_begin(&bar, "compiling", e->jobs);
  while (qp_compiler_next(e->compiler, &c, &user)) {
    job *j = user;
    j->compiled = c;
    if (c.status && !status)
      status = qp_fail(e->err, c.status, "kernel %.300s: %s", j->name, c.log);
    qp_progress_show(&bar, ++done, "");
  }
  qp_progress_end(&bar);
  return status;
}

static qp_status write_kernels(export *e) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < e->jobs && !status; i++) {
    job *j = e->job[i];
    const unsigned arch = e->r->gpu[j->record.target].arch;
    j->record.registers = j->compiled.res.registers;
    status = qp_library_writer_image(e->writer, 0, arch, j->compiled.cubin, j->compiled.cubin_bytes,
                                     &j->record.cubin, e->err);
    if (!status)
      status = qp_library_writer_image(e->writer, 1, arch, j->ptx ? j->compiled.ptx : NULL,
                                       j->compiled.ptx_bytes, &j->record.ptx, e->err);
    if (!status) status = qp_library_writer_kernel(e->writer, &j->record, e->err);
  }
  return status;
}

/* "NVRTC 13.0 (...)" -> 13000. */
static uint32_t toolkit_of(const char *version) {
  unsigned major = 0, minor = 0;
  return sscanf(version, "NVRTC %u.%u", &major, &minor) == 2 ? major * 1000 + minor * 10 : 0;
}

static qp_status check_request(const qp_export_request *r, qp_error *err) {
  if (!r->groups) return qp_fail(err, QP_E_ARG, "nothing to export: no group of linears");
  if (!r->gpus) return qp_fail(err, QP_E_ARG, "nothing to export for: no GPU");
  if (!r->batches || !r->types) return qp_fail(err, QP_E_ARG, "no batch or no data type");
  for (unsigned i = 0; i < r->gpus; i++)
    for (unsigned j = 0; j < i; j++)
      if (r->gpu[i].arch == r->gpu[j].arch && r->gpu[i].sm_count == r->gpu[j].sm_count)
        return qp_fail(err, QP_E_ARG, "GPU %s is given twice (as %s, too)", r->gpu[i].name,
                       r->gpu[j].name);
  return QP_OK;
}

static qp_status make(export *e, void **data, size_t *bytes) {
  const qp_export_request *r = e->r;
  char generator[320];
  const qp_compiler_options co = {.workers = r->workers};
  qp_status status = qp_compiler_open(&co, &e->compiler, e->err);
  if (status) return status;
  snprintf(generator, sizeof generator, "qpal %s, %s", qpal_version(),
           qp_compiler_version(e->compiler));
  e->writer =
      qp_library_writer_new(toolkit_of(qp_compiler_version(e->compiler)), r->model, generator);
  if (!e->writer) return no_memory(e);
  for (size_t g = 0; g < r->groups && !status; g++) status = add_group(e, &r->group[g]);
  for (unsigned i = 0; i < r->gpus && !status; i++) status = add_target(e, i);
  if (!status) status = compile_all(e);
  if (!status) status = write_kernels(e);
  return status ? status : qp_library_writer_finish(e->writer, data, bytes, e->err);
}

qp_status qp_export_make(qp_families *families, const qp_export_request *r, void **data,
                         size_t *bytes, qp_text *notes, qp_error *err) {
  qp_error own = {.text = ""};
  export e = {.r = r, .families = families, .notes = notes, .err = err ? err : &own};
  qp_status status = check_request(r, e.err);
  if (!status) status = make(&e, data, bytes);
  if (e.compiler) qp_compiler_close(e.compiler);
  for (size_t i = 0; i < e.jobs; i++) {
    qp_compiled_free(&e.job[i]->compiled);
    free(e.job[i]->name);
    free(e.job[i]);
  }
  free(e.job);
  free(e.problem);
  qp_library_writer_free(e.writer);
  return status;
}
