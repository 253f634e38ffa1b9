/* SPDX-License-Identifier: MIT */
/* Loads the kernels of a library on a device:  library + device -> [modules, functions, codebooks].
   */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/arch.h"
#include "runtime/library_state.h"

/* ---- Which target ---- */

/* Whether all kernels of a target have an image of this kind. */
static bool has_images(const qpal_library *l, const qp_lib_target *t, bool ptx) {
  for (uint32_t i = 0; i < t->kernels; i++) {
    const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, t->first_kernel + i);
    if ((ptx ? k->ptx : k->cubin) == QP_LIB_NONE) return false;
  }
  return t->kernels > 0;
}

/*
** How a target's kernels would run on a device; -1: not.  Cubins run as qp_arch_runs_cubin says,
** PTX on its own architecture and all later ones; the simulator takes PTX alone.
*/
static int match_of(const qpal_library *l, const qp_lib_target *t, const qp_device_info *d) {
  if (t->arch == d->capability && has_images(l, t, d->simulated))
    return t->sm_count == d->sm_count ? QPAL_MATCH_EXACT : QPAL_MATCH_SM_COUNT;
  if (t->arch > d->capability) return -1;
  if (!d->simulated && qp_arch_runs_cubin(t->arch, d->capability) && has_images(l, t, false))
    return QPAL_MATCH_COMPATIBLE;
  return has_images(l, t, true) ? QPAL_MATCH_PTX : -1;
}

static unsigned distance(unsigned a, unsigned b) { return a > b ? a - b : b - a; }

/* "sm_80 with 108 multiprocessors (cubins), ..." */
static void list_targets(const qpal_library *l, char *to, size_t size) {
  size_t n = 0;
  to[0] = 0;
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_TARGETS); i++) {
    const qp_lib_target *t = QP_LIB_GET(l, TARGETS, qp_lib_target, i);
    const bool cubins = has_images(l, t, false), ptx = has_images(l, t, true);
    const int more = snprintf(to + n, size - n, "%ssm_%u with %u multiprocessors (%s)",
                              i ? ", " : "", t->arch, t->sm_count,
                              cubins && ptx ? "cubins, PTX"
                              : cubins      ? "cubins"
                                            : "PTX");
    if (more > 0 && n + (size_t)more < size) n += (size_t)more;
  }
}

static qpal_status choose_target(const qpal_library *l, const qp_device_info *d, bool exact,
                                 unsigned *target, unsigned *match) {
  int best = -1;
  const qp_lib_target *chosen = NULL;
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_TARGETS); i++) {
    const qp_lib_target *t = QP_LIB_GET(l, TARGETS, qp_lib_target, i);
    const int m = match_of(l, t, d);
    if (m < 0 || (exact && m != QPAL_MATCH_EXACT)) continue;
    const bool better =
        !chosen || m < best ||
        (m == best && (t->arch > chosen->arch ||
                       (t->arch == chosen->arch && distance(t->sm_count, d->sm_count) <
                                                       distance(chosen->sm_count, d->sm_count))));
    if (!better) continue;
    best = m;
    chosen = t;
    *target = i;
    *match = (unsigned)m;
  }
  if (chosen) return QPAL_OK;
  char targets[1024];
  list_targets(l, targets, sizeof targets);
  return qp_refuse(
      QPAL_E_MISMATCH,
      "no kernel of the library %s %s (sm_%u, %u multiprocessors); it was exported for "
      "%s%s",
      exact ? "was made for" : "runs on", d->name, d->capability, d->sm_count, targets,
      d->simulated ? "; the simulator runs PTX (qpal export --ptx all)" : "");
}

/* Check the driver: cubins need one of their toolkit's major version or later, PTX one of its very
   version. */
static qpal_status check_driver(const qpal_library *l, const qp_device_info *d, unsigned match) {
  const unsigned have = d->driver, made = l->header->toolkit;
  const unsigned need = match == QPAL_MATCH_PTX ? made : made / 1000 * 1000;
  if (d->simulated || have >= need) return QPAL_OK;
  return qp_refuse(
      QPAL_E_MISMATCH,
      "the driver of %s knows CUDA %u.%u; the library's %s, made with CUDA %u.%u, need "
      "%u.%u or later: update the driver, or export with an older CUDA Toolkit",
      d->name, have / 1000, have % 1000 / 10, match == QPAL_MATCH_PTX ? "PTX" : "cubins",
      made / 1000, made % 1000 / 10, need / 1000, need % 1000 / 10);
}

/* ---- Modules ---- */

static qpal_status check_image(const qpal_library *l, const qp_lib_kernel *k,
                               const qp_lib_image *m) {
  const unsigned char *data = l->data + m->offset;
  if (XXH3_64bits(data, (size_t)m->bytes) != m->checksum)
    return qp_refuse(QPAL_E_FORMAT,
                     "kernel '%.200s': the checksum of its %s is wrong: the library "
                     "is damaged",
                     qp_lib_string(l, k->name), m->kind ? "PTX" : "cubin");
  if (m->kind ? data[m->bytes - 1] != 0 : memcmp(data, "\177ELF", 4) != 0)
    return qp_refuse(QPAL_E_FORMAT, "kernel '%.200s': its %s", qp_lib_string(l, k->name),
                     m->kind ? "PTX does not end" : "cubin is no ELF file");
  return QPAL_OK;
}

qpal_status qpal_library_verify(const qpal_library *l) {
  if (!l) return qp_refuse(QPAL_E_ARG, "library is NULL");
  qpal_status status = QPAL_OK;
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_KERNELS) && !status; i++) {
    const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, i);
    const uint32_t image[] = {k->cubin, k->ptx};
    for (unsigned m = 0; m < 2 && !status; m++)
      if (image[m] != QP_LIB_NONE)
        status = check_image(l, k, QP_LIB_GET(l, IMAGES, qp_lib_image, image[m]));
  }
  return status;
}

static qpal_status load_kernel(qpal_kernels *ks, uint32_t i) {
  const qpal_library *l = ks->library;
  qp_device *dev = ks->device->dev;
  qp_error err = {.text = ""};
  const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, ks->first + i);
  const bool ptx = dev->info.simulated || ks->match == QPAL_MATCH_PTX;
  const qp_lib_image *m = QP_LIB_GET(l, IMAGES, qp_lib_image, ptx ? k->ptx : k->cubin);
  const qpal_status bad = check_image(l, k, m);
  if (bad) return bad;
  const char *name = qp_lib_string(l, k->name);
  if (k->smem_bytes > dev->info.smem_block_bytes)
    return qp_refuse(QPAL_E_MISMATCH,
                     "kernel '%.200s' takes %u bytes of shared memory; a block of %s has %u", name,
                     k->smem_bytes, dev->info.name, dev->info.smem_block_bytes);
  qp_status status =
      qp_device_load(dev, l->data + m->offset, (size_t)m->bytes, &ks->module[i], &err);
  if (!status) status = qp_device_function(dev, ks->module[i], name, &ks->function[i], &err);
  if (!status && dev->ops->prepare)
    status = dev->ops->prepare(dev, ks->function[i], k->smem_bytes, &err);
  if (status) qp_fail_prefix(&err, status, "loading kernel '%.200s'", name);
  return qp_refuse_status(status, &err);
}

static qpal_status load_all(qpal_kernels *ks) {
  const qpal_library *l = ks->library;
  qpal_status status = QPAL_OK;
  for (uint32_t i = 0; i < ks->count && !status; i++) {
    const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, ks->first + i);
    status = load_kernel(ks, i);
    if (!qp_lib_multiplies(k->op)) continue;
    qp_lib_range *range = &ks->gemm[qp_lib_gemm_kind(k->op)][k->problem];
    if (!range->count++) range->first = ks->first + i;
    if (k->workspace_bytes > ks->workspace_bytes) ks->workspace_bytes = k->workspace_bytes;
    if (4ull * k->counters > ks->counter_bytes) ks->counter_bytes = 4ull * k->counters;
  }
  return status;
}

static qpal_status upload_codebooks(qpal_kernels *ks) {
  const qpal_library *l = ks->library;
  qp_device *dev = ks->device->dev;
  qp_error err = {.text = ""};
  qp_status status = QP_OK;
  if (!ks->constants && l->header->constants_bytes) {
    status = qp_device_alloc(dev, l->header->constants_bytes, &ks->constants, &err);
    ks->own_constants = status == QP_OK;
  }
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_CODEBOOKS) && !status; i++) {
    const qp_lib_codebook *c = QP_LIB_GET(l, CODEBOOKS, qp_lib_codebook, i);
    if (!c->scope)
      status = qp_device_upload(dev, ks->constants + c->constant,
                                (const char *)qp_lib_record(l, QP_LIB_DATA, 0) + c->data, c->bytes,
                                &err);
  }
  return qp_refuse_status(status, &err);
}

/* ---- Load and close ---- */

static void release(qpal_kernels *ks) {
  qp_device *dev = ks->device->dev;
  void *before = qp_device_enter(ks->device);
  for (uint32_t i = 0; ks->module && i < ks->count; i++)
    if (ks->module[i]) qp_device_unload(dev, ks->module[i]);
  if (ks->own_constants) qp_device_free(dev, ks->constants);
  qp_device_leave(ks->device, before);
  free(ks->module);
  free(ks->function);
  for (unsigned i = 0; i < QP_LIB_GEMM_KINDS; i++) free(ks->gemm[i]);
  free(ks);
}

static qpal_status fill(qpal_kernels *ks, const qpal_load_options *o) {
  const qpal_library *l = ks->library;
  const qp_device_info *info = &ks->device->dev->info;
  qpal_status status = choose_target(l, info, o->exact != 0, &ks->target, &ks->match);
  if (!status) status = check_driver(l, info, ks->match);
  if (status) return status;
  const qp_lib_target *t = QP_LIB_GET(l, TARGETS, qp_lib_target, ks->target);
  const size_t problems = qp_lib_count(l, QP_LIB_PROBLEMS);
  ks->first = t->first_kernel;
  ks->count = t->kernels;
  ks->module = calloc(ks->count + 1, sizeof(qp_module *));
  ks->function = calloc(ks->count + 1, sizeof(qp_function *));
  bool room = ks->module && ks->function;
  for (unsigned i = 0; i < QP_LIB_GEMM_KINDS; i++)
    room &= (ks->gemm[i] = calloc(problems + 1, sizeof *ks->gemm[i])) != NULL;
  if (!room) return qp_refuse(QPAL_E_NOMEM, "no memory for %u kernels", ks->count);
  void *before = qp_device_enter(ks->device);
  status = load_all(ks);
  if (!status) status = upload_codebooks(ks);
  qp_device_leave(ks->device, before);
  return status;
}

qpal_status qpal_kernels_load(const qpal_library *l, qpal_device *d, const qpal_load_options *given,
                              qpal_kernels **out) {
  qpal_load_options o = {.size = sizeof o};
  if (!l || !d || !out)
    return qp_refuse(QPAL_E_ARG, "%s is NULL", !l ? "library" : !d ? "device" : "out");
  qpal_status status =
      given ? qp_take(&o, given, sizeof o, sizeof o, "qpal_load_options") : QPAL_OK;
  if (status) return status;
  if (o.constants % 256)
    return qp_refuse(QPAL_E_ARG, "constants is 0x%llx; it must be a multiple of 256",
                     (unsigned long long)o.constants);
  qpal_kernels *ks = calloc(1, sizeof *ks);
  if (!ks) return qp_refuse(QPAL_E_NOMEM, "no memory for kernels");
  ks->library = l;
  ks->device = d;
  ks->constants = o.constants;
  status = fill(ks, &o);
  if (status) return release(ks), status;
  *out = ks;
  return QPAL_OK;
}

void qpal_kernels_close(qpal_kernels *ks) {
  if (ks) release(ks);
}

qpal_status qpal_kernels_describe(const qpal_kernels *ks, qpal_kernels_info *info) {
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  const qpal_kernels_info own = {.target = ks->target,
                                 .match = ks->match,
                                 .kernels = ks->count,
                                 .workspace_bytes = ks->workspace_bytes,
                                 .counter_bytes = ks->counter_bytes};
  return qp_give(info, &own, sizeof own, sizeof own, "qpal_kernels_info");
}
