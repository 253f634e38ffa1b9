/* SPDX-License-Identifier: MIT */
/* The simulator as a device: it has memory, modules, launches and counters. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/arch.h"
#include "runtime/sim/order.h"
#include "runtime/sim/overlap.h"
#include "runtime/sim/sim.h"

typedef struct sim {
  qp_device base; /* first: a qp_device is a sim */
  qp_sim_arena arena;
  qp_sim_counters count;
  qp_sim_switches switches;
  qp_sim_chain chain;
  qp_sim_order *order; /* NULL until first needed */
  uint64_t launches;
} sim;

struct qp_function {
  const qp_sim_code *code;
  const qp_sim_function *f;
};

struct qp_module {
  qp_sim_code *code;
  qp_function *functions; /* There is one for each of code->functions. */
};

static sim *self_of(qp_device *d) { return (sim *)d; }

/* ---- memory ---- */

static qp_status sim_alloc(qp_device *d, size_t bytes, qp_devptr *out, qp_error *err) {
  if (!bytes) return qp_fail(err, QP_E_ARG, "simulator: an allocation of 0 bytes");
  return qp_sim_arena_alloc(&self_of(d)->arena, bytes, out, err);
}

static void sim_free(qp_device *d, qp_devptr ptr) {
  qp_sim_chain_drain(&self_of(d)->chain);
  if (ptr) qp_sim_arena_free(&self_of(d)->arena, ptr);
}

/* Host data and shadow behind a range that must lie in one allocation. */
static qp_status range(sim *s, qp_devptr ptr, size_t bytes, const char *what, uint8_t **data,
                       uint8_t **shadow, qp_error *err) {
  if (!qp_sim_arena_find(&s->arena, ptr, bytes))
    return qp_fail(err, QP_E_ARG,
                   "simulator: %s of %zu bytes at 0x%llx does not lie in one allocation", what,
                   bytes, (unsigned long long)ptr);
  qp_sim_chain_drain(&s->chain); /* copies and fills wait for the launches before them */
  *data = s->arena.data + (ptr - QP_SIM_ARENA_BASE);
  *shadow = s->arena.shadow + (ptr - QP_SIM_ARENA_BASE);
  return QP_OK;
}

static qp_status sim_upload(qp_device *d, qp_devptr dst, const void *src, size_t bytes,
                            qp_error *err) {
  if (!bytes) return QP_OK;
  uint8_t *data = NULL, *shadow = NULL;
  const qp_status status = range(self_of(d), dst, bytes, "an upload", &data, &shadow, err);
  if (status != QP_OK) return status;
  memcpy(data, src, bytes);
  memset(shadow, QP_SIM_LIVE | QP_SIM_INIT, bytes);
  return QP_OK;
}

/* Bytes that nothing has written come as they are: a host may look at a buffer half filled. */
static qp_status sim_download(qp_device *d, void *dst, qp_devptr src, size_t bytes, qp_error *err) {
  if (!bytes) return QP_OK;
  uint8_t *data = NULL, *shadow = NULL;
  const qp_status status = range(self_of(d), src, bytes, "a download", &data, &shadow, err);
  if (status != QP_OK) return status;
  memcpy(dst, data, bytes);
  return QP_OK;
}

static qp_status sim_fill(qp_device *d, qp_devptr dst, uint8_t byte, size_t bytes, qp_error *err) {
  if (!bytes) return QP_OK;
  uint8_t *data = NULL, *shadow = NULL;
  const qp_status status = range(self_of(d), dst, bytes, "a fill", &data, &shadow, err);
  if (status != QP_OK) return status;
  memset(data, byte, bytes);
  memset(shadow, QP_SIM_LIVE | QP_SIM_INIT, bytes);
  return QP_OK;
}

/* ---- modules ---- */

/* 'arg' is the device.  A module that fails to load gives its memory back in qp_sim_decode. */
static qp_status place_global(void *arg, qp_sim_global *g, qp_error *err) {
  sim *s = arg;
  if (g->address) { /* asked a second time: the variable goes */
    qp_sim_arena_free(&s->arena, g->address);
    g->address = 0;
    return QP_OK;
  }
  const qp_status status = qp_sim_arena_alloc(&s->arena, g->bytes ? g->bytes : 1, &g->address, err);
  if (status != QP_OK) return status;
  const uint64_t at = g->address - QP_SIM_ARENA_BASE;
  memcpy(s->arena.data + at, g->init, g->bytes);
  memset(s->arena.shadow + at, QP_SIM_LIVE | QP_SIM_INIT | (g->constant ? QP_SIM_READONLY : 0),
         g->bytes);
  return QP_OK;
}

static void sim_unload(qp_device *d, qp_module *m) {
  if (!m) return;
  for (uint32_t i = 0; i < m->code->global_count; i++)
    if (m->code->globals[i].address) sim_free(d, m->code->globals[i].address);
  qp_sim_code_free(m->code);
  free(m->functions);
  free(m);
}

static qp_status sim_load(qp_device *d, const void *image, size_t bytes, qp_module **out,
                          qp_error *err) {
  const char *text = image;
  if (bytes >= 4 && !memcmp(text,
                            "\x7f"
                            "ELF",
                            4))
    return qp_fail(err, QP_E_ARG, "simulator: the module is a cubin; PTX text is wanted");
  while (bytes && !text[bytes - 1]) bytes--; /* a final NUL is not text */
  qp_module *m = calloc(1, sizeof *m);
  if (!m) return qp_fail(err, QP_E_NOMEM, "simulator: host memory exhausted");
  const qp_status status = qp_sim_decode(text, bytes, d->info.arch, place_global, d, &m->code, err);
  if (status != QP_OK) {
    free(m);
    return status;
  }
  m->functions = calloc(m->code->function_count + 1, sizeof *m->functions);
  if (!m->functions) {
    sim_unload(d, m);
    return qp_fail(err, QP_E_NOMEM, "simulator: host memory exhausted");
  }
  for (uint32_t i = 0; i < m->code->function_count; i++)
    m->functions[i] = (qp_function){.code = m->code, .f = m->code->functions + i};
  *out = m;
  return QP_OK;
}

static qp_status sim_function(qp_device *d, qp_module *m, const char *name, qp_function **out,
                              qp_error *err) {
  (void)d;
  for (uint32_t i = 0; i < m->code->function_count; i++) {
    const qp_sim_function *f = m->code->functions + i;
    if (f->entry && f->defined && !strcmp(f->name, name)) {
      *out = m->functions + i;
      return QP_OK;
    }
  }
  return qp_fail(err, QP_E_ARG, "simulator: the module has no kernel '%s'", name);
}

/* ---- launches ---- */

static uint32_t align_to(uint32_t x, uint32_t align) { return (x + align - 1) / align * align; }

static qp_status check_launch(const sim *s, const qp_function *f, const qp_launch *how,
                              uint32_t shared_bytes, qp_error *err) {
  const char *name = f->f->name;
  if (!how->grid) return qp_fail(err, QP_E_ARG, "kernel '%s': a grid of 0 blocks", name);
  if (!how->block || how->block > 1024)
    return qp_fail(err, QP_E_ARG, "kernel '%s': %u threads a block; 1 to 1024 are possible", name,
                   how->block);
  if (f->f->required_threads && how->block != f->f->required_threads)
    return qp_fail(err, QP_E_ARG, "kernel '%s': %u threads a block; it requires %u", name,
                   how->block, f->f->required_threads);
  if (f->f->max_threads && how->block > f->f->max_threads)
    return qp_fail(err, QP_E_ARG, "kernel '%s': %u threads a block; it allows %u", name, how->block,
                   f->f->max_threads);
  if (how->params_bytes != f->f->param_bytes)
    return qp_fail(err, QP_E_ARG, "kernel '%s': %zu bytes of parameters; it takes %u", name,
                   how->params_bytes, f->f->param_bytes);
  if (shared_bytes > s->base.info.smem_block_bytes)
    return qp_fail(err, QP_E_LIMIT,
                   "kernel '%s': %u bytes of shared memory (%u of them dynamic); a block has %u",
                   name, shared_bytes, how->smem_bytes, s->base.info.smem_block_bytes);
  return QP_OK;
}

static qp_status sim_launch(qp_device *d, qp_function *f, const qp_launch *how, qp_error *err) {
  sim *s = self_of(d);
  const qp_sim_code *code = f->code;
  const uint32_t own =
      f->f->shared_bytes > code->shared_bytes ? f->f->shared_bytes : code->shared_bytes;
  const uint32_t start = align_to(QP_SIM_SHARED_START + own, code->shared_align);
  if (how->smem_bytes > 1u << 20)
    return qp_fail(err, QP_E_LIMIT, "kernel '%s': %u bytes of dynamic shared memory", f->f->name,
                   how->smem_bytes);
  const uint32_t used = how->smem_bytes ? start + how->smem_bytes : QP_SIM_SHARED_START + own;
  qp_status status = check_launch(s, f, how, used - QP_SIM_SHARED_START, err);
  if (status != QP_OK) return status;
  const uint32_t param_bytes = f->f->param_bytes;
  uint8_t *params = calloc(2, param_bytes + 16);
  if (!params) return qp_fail(err, QP_E_NOMEM, "simulator: host memory exhausted");
  if (param_bytes) memcpy(params, how->params, param_bytes);
  uint8_t *shadow = params + param_bytes + 16;
  memset(shadow, QP_SIM_LIVE | QP_SIM_INIT, param_bytes);
  qp_sim_launch launch = {
      .code = code,
      .kernel = f->f,
      .arena = &s->arena,
      .params = params,
      .params_shadow = shadow,
      .param_bytes = param_bytes,
      .grid = how->grid,
      .block_threads = how->block,
      .dynamic_bytes = how->smem_bytes,
      .dynamic_start = start,
      .shared_bytes = used,
      .sm_count = d->info.sm_count,
      .id = ++s->launches,
      .random = s->switches.schedule + 0x9e3779b97f4a7c15u * s->launches,
      .switches = s->switches,
      .count = &s->count,
      .err = err,
  };
  s->count.launches++;
  if (s->switches.overlap) status = qp_sim_chain_begin(&s->chain, &launch, how->pdl, err);
  if (status == QP_OK && s->switches.races) status = qp_sim_order_begin(&s->order, &launch, err);
  if (status == QP_OK) status = qp_sim_run(&launch);
  if (launch.chain) qp_sim_chain_end(&s->chain, &launch);
  free(params);
  return status;
}

static qp_status sim_sync(qp_device *d, qp_error *err) {
  (void)err;
  qp_sim_chain_drain(&self_of(d)->chain);
  return QP_OK; /* a launch runs to its end */
}

static void sim_close(qp_device *d) {
  sim *s = self_of(d);
  qp_sim_arena_close(&s->arena);
  qp_sim_chain_close(&s->chain);
  qp_sim_order_close(s->order);
  free(s);
}

static const qp_device_ops sim_ops = {
    .close = sim_close,
    .alloc = sim_alloc,
    .free = sim_free,
    .upload = sim_upload,
    .download = sim_download,
    .fill = sim_fill,
    .load = sim_load,
    .unload = sim_unload,
    .function = sim_function,
    .launch = sim_launch,
    .sync = sim_sync,
};

qp_status qp_sim_open(unsigned arch, unsigned sm_count, qp_device **out, qp_error *err) {
  const qp_arch *row = qp_arch_find(arch);
  char names[160];
  if (!row)
    return qp_fail(err, QP_E_ARG, "simulator: architecture sm_%u; %s can be simulated", arch,
                   qp_arch_names(names, sizeof names));
  if (!sm_count || sm_count > 1024)
    return qp_fail(err, QP_E_ARG, "simulator: %u multiprocessors; 1 to 1024 are possible",
                   sm_count);
  sim *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "simulator: host memory exhausted");
  const qp_status status = qp_sim_arena_open(&s->arena, QP_SIM_ARENA_BYTES, err);
  if (status != QP_OK) {
    free(s);
    return status;
  }
  s->base.ops = &sim_ops;
  s->base.info = (qp_device_info){
      .arch = arch,
      .capability = arch,
      .sm_count = sm_count,
      .smem_block_bytes = row->smem_bytes,
      .memory_bytes = QP_SIM_ARENA_BYTES,
      .l2_bytes = (size_t)50 << 20,
      .simulated = true,
      .wants_ptx = true,
  };
  snprintf(s->base.info.name, sizeof s->base.info.name, "PTX simulator");
  s->switches =
      (qp_sim_switches){.races = true, .uninitialised = true, .thread_limit = UINT64_C(1) << 25};
  *out = &s->base;
  return QP_OK;
}

/* ---- counters and switches ---- */

static qp_status check_sim(const qp_device *d, qp_error *err) {
  if (d && d->ops == &sim_ops) return QP_OK;
  return qp_fail(err, QP_E_ARG, "device '%s' is no simulator", d ? d->info.name : "(none)");
}

const char *qp_sim_kind_name(qp_sim_kind kind) {
  static const char *const names[] = {
#define X(name, text) text,
      QP_SIM_KINDS(X)
#undef X
  };
  return kind < QP_SIM_KIND_COUNT ? names[kind] : "unknown";
}

qp_status qp_sim_counters_get(qp_device *dev, qp_sim_counters *out, qp_error *err) {
  const qp_status status = check_sim(dev, err);
  if (status == QP_OK) *out = self_of(dev)->count;
  return status;
}

qp_status qp_sim_counters_reset(qp_device *dev, qp_error *err) {
  const qp_status status = check_sim(dev, err);
  if (status == QP_OK) self_of(dev)->count = (qp_sim_counters){0};
  return status;
}

qp_status qp_sim_switches_get(qp_device *dev, qp_sim_switches *out, qp_error *err) {
  const qp_status status = check_sim(dev, err);
  if (status == QP_OK) *out = self_of(dev)->switches;
  return status;
}

qp_status qp_sim_switches_set(qp_device *dev, const qp_sim_switches *in, qp_error *err) {
  const qp_status status = check_sim(dev, err);
  if (status != QP_OK) return status;
  if (!in->thread_limit)
    return qp_fail(err, QP_E_ARG, "simulator: thread_limit is 0; it must be at least 1");
  self_of(dev)->switches = *in;
  return QP_OK;
}
