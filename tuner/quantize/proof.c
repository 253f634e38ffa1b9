/* SPDX-License-Identifier: MIT */
/* Is a packed model what it says? */
#include "tuner/quantize/proof.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/compile/compile.h"
#include "gen/kernel/kernel.h"
#include "runtime/half.h"
#include "tuner/quantize/measure.h"
#include "tuner/quantize/side.h"
#include "gen/base/rotate.h"

enum { MAX_BUFFERS = 256, POISON_BYTE = 0xff };
static const double kernel_tolerance = 2e-3, figure_tolerance = 1e-6;

/* A dequant kernel for one row group, which is kept for all linears of its quantizer, columns and
   pieces. */
typedef struct decoder {
  struct decoder *next;
  const qp_quantizer *quantizer;
  unsigned columns, pieces;
  qp_kernel kernel;
  qp_module *module;
  qp_function *function;
} decoder;

typedef struct proof {
  const qp_job *j;
  const qp_proof_options *o;
  qp_families *families;
  qp_device *dev;
  qp_reference *reference;
  qp_safetensors *file;
  cJSON *config;
  const cJSON *entries; /* quantization.linears */
  decoder *decoders;
  qp_proof *out;
  qp_error *err;
} proof;

/* ---- Kernels ---- */

static qp_status load_kernel(proof *p, decoder *d) {
  const bool ptx = p->dev->info.wants_ptx;
  const qp_compile_job job = {.name = d->kernel.name,
                              .source = d->kernel.source,
                              .arch = p->o->arch,
                              .want_cubin = !ptx,
                              .want_ptx = ptx};
  qp_compiled c;
  qp_status status = qp_compiler_run(p->o->compiler, &job, &c, p->err);
  if (status) return status;
  size_t bytes;
  const void *image = qp_compiled_image(&c, ptx, &bytes);
  status = qp_device_load(p->dev, image, bytes, &d->module, p->err);
  if (!status) status = qp_device_function(p->dev, d->module, d->kernel.name, &d->function, p->err);
  qp_compiled_free(&c);
  return status;
}

static qp_status find_decoder(proof *p, const qp_job_linear *l, decoder **out) {
  for (decoder *d = p->decoders; d; d = d->next)
    if (d->quantizer == l->quantizer && d->columns == l->columns && d->pieces == qp_job_pieces(l))
      return *out = d, QP_OK;
  decoder *d = calloc(1, sizeof *d);
  if (!d) return qp_fail(p->err, QP_E_NOMEM, "no memory for a kernel");
  d->quantizer = l->quantizer;
  d->columns = l->columns;
  d->pieces = qp_job_pieces(l);
  qp_problem problem = {.op = QP_OP_DEQUANT,
                        .segments = 1,
                        .columns = l->columns,
                        .pieces = d->pieces,
                        .batch = 1,
                        .arch = p->o->arch,
                        .sm_count = p->o->sm_count};
  problem.segment[0].quantizer = l->quantizer;
  problem.segment[0].rows = QP_GROUP_ROWS;
  qp_choice choice;
  const qp_family *family = qp_families_serving(p->families, &problem, NULL);
  if (!family) return free(d), qp_fail(p->err, QP_E_MISSING, "no family of kernels does dequant");
  qp_choice_default(family, &choice);
  qp_status status = qp_kernel_make(p->families, &problem, &choice, &d->kernel, p->err);
  if (status) return free(d), status;
  d->next = p->decoders;
  p->decoders = d;
  status = load_kernel(p, d);
  if (!status) *out = d;
  return status;
}

static void free_decoders(proof *p) {
  for (decoder *d = p->decoders, *next; d; d = next) {
    next = d->next;
    if (d->module) qp_device_unload(p->dev, d->module);
    qp_kernel_free(&d->kernel);
    free(d);
  }
}

/* ---- One row group on the device ---- */

typedef struct buffers {
  unsigned count;
  qp_devptr at[MAX_BUFFERS];
} buffers;

/* Copy 'data' to the device, or poisoned memory where it is NULL. */
static qp_status put(proof *p, buffers *b, const void *data, size_t bytes, qp_devptr *out) {
  if (b->count == MAX_BUFFERS) return qp_fail(p->err, QP_E_LIMIT, "too many buffers");
  qp_status status = qp_device_alloc(p->dev, bytes, out, p->err);
  if (status) return status;
  b->at[b->count++] = *out;
  return data ? qp_device_upload(p->dev, *out, data, bytes, p->err)
              : qp_device_fill(p->dev, *out, POISON_BYTE, bytes, p->err);
}

/* A definition's codebook as the model stores it. */
static qp_status stored_codebook(const proof *p, const qp_quantizer *q, unsigned c,
                                 const void **out) {
  char name[128];
  const qp_codebook *b = &q->codebook[c];
  const size_t bytes = (size_t)2 * b->entries * b->dim;
  snprintf(name, sizeof name, "%s.codebook.%u", q->name, c);
  const qp_tensor *t = qp_safetensors_find(p->file, name);
  if (!t || t->type != QP_TENSOR_F16 || t->bytes != bytes || memcmp(t->data, b->data, bytes) != 0)
    return qp_fail(p->err, QP_E_WRONG, "%s: tensor '%s' is missing, or not the codebook of %s",
                   p->j->folder, name, q->name);
  *out = t->data;
  return QP_OK;
}

/* Put stream i of the kernel on the device: the row group's piece of each array. */
static qp_status put_stream(proof *p, buffers *b, qp_arguments *args, unsigned i,
                            const qp_linear_part *part, unsigned row_group) {
  const qp_stream *s = &part->stream;
  const qp_quantizer *q = s->quantizer;
  const size_t words = s->code_words / s->row_groups;
  qp_status status =
      put(p, b, part->packed.codes + row_group * words, words * 4, &args->stream[i].codes);
  for (unsigned f = 0; f < s->arrays && !status; f++) {
    const size_t bytes = s->field_bytes[f] / s->row_groups;
    status = put(p, b, part->packed.field[f] + row_group * bytes, bytes, &args->stream[i].field[f]);
  }
  for (unsigned c = 0; c < q->codebooks && !status; c++) {
    const qp_codebook *book = &q->codebook[c];
    const void *data = part->packed.codebook[c];
    size_t bytes = (size_t)2 * book->entries * book->dim;
    if (book->scope == QP_SCOPE_SPEC) status = stored_codebook(p, q, c, &data);
    if (book->scope == QP_SCOPE_ROW) {
      bytes *= QP_GROUP_ROWS;
      data = part->packed.codebook[c] + row_group * bytes / 2;
    }
    if (!status) status = put(p, b, data, bytes, &args->stream[i].codebook[c]);
  }
  return status;
}

static qp_status launch(proof *p, const decoder *d, const qp_arguments *args) {
  unsigned char params[QP_PARAMS_MAX];
  const qp_launch how = {.grid = d->kernel.grid,
                         .block = d->kernel.block,
                         .smem_bytes = d->kernel.smem_bytes,
                         .params = params,
                         .params_bytes = qp_kernel_params(&d->kernel, args, params)};
  qp_status status = qp_device_launch(p->dev, d->function, &how, p->err);
  return status ? status : qp_device_sync(p->dev, p->err);
}

/*
** The rows' scales without their powers of two: the kernel writes fp16, which holds neither rows of
** 1e30 nor of 1e-30, while the scales and an engine's fp32 sums do.
*/
static void scale_mantissas(const float *scales, unsigned rows, float out[QP_GROUP_ROWS]) {
  int exponent;
  for (unsigned r = 0; r < rows; r++) out[r] = frexpf(scales[r], &exponent);
}

/* Compute y = r W^ of one row group by the kernel: out[32][columns]. */
static qp_status decode_on_device(proof *p, const qp_job_linear *l, const qp_linear_part *part,
                                  const float scale[QP_GROUP_ROWS], unsigned row_group,
                                  uint16_t *out) {
  const size_t bytes = (size_t)QP_GROUP_ROWS * l->columns * sizeof *out;
  buffers b = {0};
  qp_arguments args = {0};
  decoder *d = NULL;
  qp_status status = find_decoder(p, l, &d);
  for (unsigned i = 0, stream = 0; i < qp_linear_streams(l) && !status; i++)
    if (part[i].stream.columns) status = put_stream(p, &b, &args, stream++, &part[i], row_group);
  if (!status) status = put(p, &b, scale, QP_GROUP_ROWS * sizeof *scale, &args.segment[0].scale);
  if (!status) status = put(p, &b, NULL, bytes, &args.segment[0].y);
  if (!status) status = launch(p, d, &args);
  if (!status) status = qp_device_download(p->dev, out, args.segment[0].y, bytes, p->err);
  for (unsigned i = 0; i < b.count; i++) qp_device_free(p->dev, b.at[i]);
  return status;
}

static double relative_error(const uint16_t *got, const uint16_t *want, const float *scales,
                             unsigned rows, unsigned columns) {
  double lost = 0, power = 0;
  for (unsigned r = 0; r < rows; r++)
    for (size_t i = (size_t)r * columns; i < (size_t)(r + 1) * columns; i++) {
      const double w = (double)scales[r] * (double)qp_half_to_float(want[i]);
      const double d = (double)qp_half_to_float(got[i]) - w;
      lost += d * d; /* NaN where the kernel wrote none, or left the poison */
      power += w * w;
    }
  return power > 0 ? sqrt(lost / power) : lost > 0 || isnan(lost) ? INFINITY : 0;
}

static qp_status compare_kernel(proof *p, const qp_job_linear *l, const qp_linear_part *part,
                                const float *scales) {
  const unsigned all = (l->rows + QP_GROUP_ROWS - 1) / QP_GROUP_ROWS;
  const unsigned n = p->o->row_groups && p->o->row_groups < all ? p->o->row_groups : all;
  const size_t cells = (size_t)QP_GROUP_ROWS * l->columns;
  uint16_t *got = malloc(3 * cells * sizeof *got);
  if (!got) return qp_fail(p->err, QP_E_NOMEM, "no memory for 32 rows");
  qp_status status = QP_OK;
  for (unsigned i = 0; i < n && !status; i++) {
    const unsigned g = n > 1 ? (unsigned)((uint64_t)i * (all - 1) / (n - 1)) : i;
    const unsigned left = l->rows - g * QP_GROUP_ROWS;
    const unsigned rows = left < QP_GROUP_ROWS ? left : QP_GROUP_ROWS;
    status = qp_linear_decode(p->reference, part, qp_linear_streams(l), g, l->columns, got + cells,
                              got + 2 * cells, p->err);
    float scale[QP_GROUP_ROWS] = {0};
    scale_mantissas(scales + (size_t)g * QP_GROUP_ROWS, rows, scale);
    if (!status) status = decode_on_device(p, l, part, scale, g, got);
    if (status) break;
    const double error = relative_error(got, got + cells, scale, rows, l->columns);
    p->out->kernel_weights += (size_t)rows * l->columns;
    if (!(error <= p->out->worst)) p->out->worst = error;
    if (!(error <= kernel_tolerance))
      status =
          qp_fail(p->err, QP_E_WRONG,
                  "the dequant kernel and the reference differ by %.3g (relative L2) in rows %u to "
                  "%u; at most %.0e is right",
                  error, g * QP_GROUP_ROWS, g * QP_GROUP_ROWS + rows - 1, kernel_tolerance);
  }
  free(got);
  return status;
}

/* ---- Reference and figures ---- */

static qp_status check_signs(const proof *p, const qp_job_linear *l) {
  if (!*l->signs) return QP_OK;
  const size_t bytes = qp_side_bytes(l->columns, l->rotation);
  void *want = NULL;
  const qp_status status = qp_side_make(p->j, l, NULL, &want, p->err);
  if (status) return status;
  const qp_tensor *t = qp_safetensors_find(p->file, l->signs);
  const bool right =
      t && t->type == QP_TENSOR_U32 && t->bytes == bytes && !memcmp(t->data, want, bytes);
  free(want);
  if (right) return QP_OK;
  return qp_fail(p->err, QP_E_WRONG, "tensor '%s' is missing, or not made from seed %u%s", l->signs,
                 p->j->seed, l->rotation & QP_SIDE_FLAGS ? ", weights and Hessian" : "");
}

static qp_status check_figures(const proof *p, const qp_job_linear *l, const qp_measure *m) {
  const cJSON *entry;
  double stored[2] = {-1, -1};
  cJSON_ArrayForEach(entry, p->entries) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "name"));
    if (!name || strcmp(name, l->name) != 0) continue;
    qp_status status = qp_json_number(entry, l->name, "distortion", 0, 1e30, &stored[0], p->err);
    if (!status)
      status = qp_json_number(entry, l->name, "distortion_original", 0, 1e30, &stored[1], p->err);
    if (status) return QP_E_WRONG;
    break;
  }
  const double found[] = {qp_measure_ratio(m->lost, m->power),
                          qp_measure_ratio(m->lost_back, m->power_back)};
  for (unsigned i = 0; i < 2; i++)
    if (!(fabs(found[i] - stored[i]) <= figure_tolerance * stored[i]))
      return qp_fail(p->err, QP_E_WRONG,
                     "%s distortion is %.9g by the reference; config.json says %.9g",
                     i ? "original" : "rotated", found[i], stored[i]);
  return QP_OK;
}

static qp_status prove_linear(proof *p, const qp_job_linear *l) {
  qp_linear_part part[QP_MAX_RANGES];
  float *scales = NULL;
  qp_measure sums = {0};
  qp_status status = qp_linear_find(l, p->file, part, &scales, p->err);
  if (status) return status == QP_E_ARG ? QP_E_WRONG : status;
  status = check_signs(p, l);
  if (!status)
    status =
        qp_measure_rows(p->j, l, 0, l->rows, part, qp_linear_streams(l), scales, &sums, p->err);
  if (!status) status = check_figures(p, l, &sums);
  if (!status) {
    p->out->linears++;
    p->out->reference_weights += (size_t)l->rows * l->columns;
    status = compare_kernel(p, l, part, scales);
  }
  free(scales);
  return status;
}

/* ---- All ---- */

static qp_status open_all(proof *p) {
  char path[4096];
  if (!qp_job_path(p->j, "model.safetensors.index.json", path))
    return qp_fail(p->err, QP_E_LIMIT, "%s: the path is too long", p->j->folder);
  qp_status status = qp_safetensors_open(path, &p->file, p->err);
  qp_job_path(p->j, "config.json", path);
  if (!status) status = qp_json_read_python(path, &p->config, p->err);
  const cJSON *section = NULL;
  if (!status) status = qp_json_object(p->config, path, "quantization", &section, p->err);
  if (!status) status = qp_json_array(section, path, "linears", &p->entries, p->err);
  if (!status) status = qp_device_open(p->o->device, &p->dev, p->err);
  if (!status && !(p->reference = qp_reference_new()))
    status = qp_fail(p->err, QP_E_NOMEM, "no memory");
  return status;
}

qp_status qp_proof_run(const qp_job *j, qp_families *families, const qp_proof_options *o,
                       qp_proof *out, qp_error *err) {
  qp_error own = {{0}};
  *out = (qp_proof){0};
  proof p = {.j = j, .o = o, .families = families, .out = out, .err = err ? err : &own};
  qp_status status = open_all(&p);
  for (size_t i = 0; i < j->linears && !status; i++) {
    const qp_job_linear *l = &j->linear[i];
    if (o->cancel && atomic_load(o->cancel)) status = qp_fail(p.err, QP_E_LIMIT, "stopped");
    if (!status) status = prove_linear(&p, l);
    if (o->done) atomic_fetch_add(o->done, (size_t)l->rows * l->columns);
    if (status == QP_E_WRONG)
      snprintf(out->why, sizeof out->why, "linear '%s': %.700s", l->name, p.err->text);
  }
  if (p.dev) free_decoders(&p);
  if (p.dev) qp_device_close(p.dev);
  qp_reference_free(p.reference);
  qp_safetensors_close(p.file);
  cJSON_Delete(p.config);
  return status == QP_E_WRONG ? QP_OK : status;
}
