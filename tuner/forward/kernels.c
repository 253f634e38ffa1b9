/* SPDX-License-Identifier: MIT */
/* Launches the kernels of templates/forward.cu on a device. */
#include "tuner/forward/kernels.h"

#include <stdlib.h>

#include "gen/base/resource.h"

enum { BLOCK = 128, WARPS = BLOCK / 32, TILE = 16 }; /* as in the source */

static const char *const source_file = "templates/forward.cu";

#define KERNELS(X) X(norm) X(product) X(finish) X(turn) X(attend) X(gate)

struct qp_forward_kernels {
  qp_device *dev;
  qp_module *module;
#define X(name) qp_function *name;
  KERNELS(X)
#undef X
};

static qp_status compile(const qp_device_info *info, qp_compiler *compiler, qp_compiled *out,
                         qp_error *err) {
  const char *source;
  size_t bytes;
  qp_status status = qp_resource_read(source_file, &source, &bytes, err);
  if (status) return status;
  const qp_compile_job job = {.name = "qpal__forward_norm",
                              .source = source,
                              .arch = info->arch,
                              .want_cubin = !info->wants_ptx,
                              .want_ptx = info->wants_ptx};
  status = qp_compiler_run(compiler, &job, out, err);
  return status ? qp_fail_prefix(err, status, "%s", source_file) : QP_OK;
}

qp_status qp_forward_kernels_open(qp_device *dev, qp_compiler *compiler, qp_forward_kernels **out,
                                  qp_error *err) {
  qp_compiled c = {0};
  size_t bytes;
  qp_forward_kernels *k = calloc(1, sizeof *k);
  if (!k) return qp_fail(err, QP_E_NOMEM, "no memory for kernels");
  k->dev = dev;
  qp_status status = compile(&dev->info, compiler, &c, err);
  if (!status) {
    const void *image = qp_compiled_image(&c, dev->info.wants_ptx, &bytes);
    status = qp_device_load(dev, image, bytes, &k->module, err);
  }
#define X(name)                                                                                    \
  if (!status) status = qp_device_function(dev, k->module, "qpal__forward_" #name, &k->name, err);
  KERNELS(X)
#undef X
  qp_compiled_free(&c);
  if (status) return qp_forward_kernels_close(k), status;
  *out = k;
  return QP_OK;
}

void qp_forward_kernels_close(qp_forward_kernels *k) {
  if (!k) return;
  if (k->module) qp_device_unload(k->dev, k->module);
  free(k);
}

qp_device *qp_forward_kernels_device(const qp_forward_kernels *k) { return k->dev; }

/* ---- Launches ---- */

static qp_status launch(const qp_forward_kernels *k, qp_function *f, uint64_t grid, unsigned block,
                        const void *params, size_t bytes, qp_error *err) {
  if (!grid) return QP_OK;
  if (grid > INT32_MAX)
    return qp_fail(err, QP_E_LIMIT, "a launch of %llu blocks", (unsigned long long)grid);
  const qp_launch how = {
      .grid = (unsigned)grid, .block = block, .params = params, .params_bytes = bytes};
  return qp_device_launch(k->dev, f, &how, err);
}

static uint64_t blocks(uint64_t all, unsigned block) { return (all + block - 1) / block; }

qp_status qp_forward_kernels_norm(qp_forward_kernels *k, const qp_norm_args *a, size_t rows,
                                  qp_error *err) {
  return launch(k, k->norm, (uint64_t)rows * a->count, BLOCK, a, sizeof *a, err);
}

qp_status qp_forward_kernels_product(qp_forward_kernels *k, qp_product_args a, qp_error *err) {
  a.feature_tiles = (a.features + TILE - 1) / TILE;
  const uint64_t grid = blocks(a.rows, TILE) * a.feature_tiles;
  return launch(k, k->product, grid, TILE * TILE, &a, sizeof a, err);
}

qp_status qp_forward_kernels_finish(qp_forward_kernels *k, qp_finish_args a, size_t rows,
                                    qp_error *err) {
  a.all = (uint64_t)rows * a.features;
  return launch(k, k->finish, blocks(a.all, BLOCK), BLOCK, &a, sizeof a, err);
}

qp_status qp_forward_kernels_turn(qp_forward_kernels *k, qp_turn_args a, size_t rows,
                                  qp_error *err) {
  a.all = (uint64_t)rows * a.heads * a.pairs;
  return launch(k, k->turn, blocks(a.all, BLOCK), BLOCK, &a, sizeof a, err);
}

qp_status qp_forward_kernels_attend(qp_forward_kernels *k, const qp_attend_args *a, qp_error *err) {
  return launch(k, k->attend, blocks((uint64_t)a->rows * a->heads, WARPS), BLOCK, a, sizeof *a,
                err);
}

qp_status qp_forward_kernels_gate(qp_forward_kernels *k, qp_gate_args a, size_t rows,
                                  qp_error *err) {
  a.all = (uint64_t)rows * a.inner;
  return launch(k, k->gate, blocks(a.all, BLOCK), BLOCK, &a, sizeof a, err);
}
