/* SPDX-License-Identifier: MIT */
/* Opens devices of the public interface: a CUDA context, or whatever backend was wrapped. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/library_state.h"

qpal_status qp_device_wrap(qp_device *dev, qpal_device **out) {
  qpal_device *d = calloc(1, sizeof *d);
  if (!d || pthread_mutex_init(&d->turn, NULL)) {
    free(d);
    qp_device_close(dev);
    return qp_refuse(QPAL_E_NOMEM, "no memory for a device");
  }
  d->dev = dev;
  *out = d;
  return QPAL_OK;
}

void *qp_device_enter(qpal_device *d) {
  if (d->dev->info.simulated) pthread_mutex_lock(&d->turn);
  return d->dev->ops->enter ? d->dev->ops->enter(d->dev) : NULL;
}

void qp_device_leave(qpal_device *d, void *before) {
  if (d->dev->ops->leave) d->dev->ops->leave(d->dev, before);
  if (d->dev->info.simulated) pthread_mutex_unlock(&d->turn);
}

qpal_status qpal_device_open(int ordinal, qpal_device **out) {
  qp_error err = {.text = ""};
  qp_device *dev = NULL;
  if (!out) return qp_refuse(QPAL_E_ARG, "out is NULL");
  if (ordinal < QPAL_CURRENT)
    return qp_refuse(QPAL_E_ARG, "ordinal is %d; 0, 1, ... or QPAL_CURRENT (-1)", ordinal);
  void *before = qp_cuda_context();
  const qp_status status = ordinal == QPAL_CURRENT ? qp_cuda_open_current(&dev, &err)
                                                   : qp_cuda_open((unsigned)ordinal, &dev, &err);
  qp_cuda_set_context(before);
  return status ? qp_refuse_status(status, &err) : qp_device_wrap(dev, out);
}

void qpal_device_close(qpal_device *d) {
  if (!d) return;
  const bool cuda = !d->dev->info.simulated;
  void *before = cuda ? qp_cuda_context() : NULL;
  qp_device_close(d->dev);
  if (cuda) qp_cuda_set_context(before);
  pthread_mutex_destroy(&d->turn);
  free(d);
}

qpal_status qpal_device_describe(const qpal_device *d, qpal_device_info *info) {
  if (!d) return qp_refuse(QPAL_E_ARG, "device is NULL");
  const qp_device_info *i = &d->dev->info;
  qpal_device_info own = {.arch = i->capability,
                          .sm_count = i->sm_count,
                          .driver = i->driver,
                          .simulated = i->simulated};
  snprintf(own.name, sizeof own.name, "%s", i->name);
  return qp_give(info, &own, sizeof own, sizeof own, "qpal_device_info");
}

/* ---- Memory ---- */

qpal_status qpal_alloc(qpal_device *d, uint64_t bytes, qpal_ptr *out) {
  qp_error err = {.text = ""};
  if (!d || !out) return qp_refuse(QPAL_E_ARG, "%s is NULL", d ? "out" : "device");
  if (!bytes || bytes > SIZE_MAX / 2)
    return qp_refuse(QPAL_E_ARG, "%llu bytes cannot be allocated", (unsigned long long)bytes);
  void *before = qp_device_enter(d);
  const qp_status status = qp_device_alloc(d->dev, (size_t)bytes, out, &err);
  qp_device_leave(d, before);
  return qp_refuse_status(status, &err);
}

void qpal_free(qpal_device *d, qpal_ptr address) {
  if (!d || !address) return;
  void *before = qp_device_enter(d);
  qp_device_free(d->dev, address);
  qp_device_leave(d, before);
}

static qpal_status check_copy(const qpal_device *d, const void *host, qpal_ptr device,
                              uint64_t bytes) {
  if (!d) return qp_refuse(QPAL_E_ARG, "device is NULL");
  if (bytes && (!host || !device))
    return qp_refuse(QPAL_E_ARG, "the %s address is %s", host ? "device's" : "host's",
                     host ? "0" : "NULL");
  return QPAL_OK;
}

qpal_status qpal_upload(qpal_device *d, qpal_ptr to, const void *from, uint64_t bytes) {
  qp_error err = {.text = ""};
  const qpal_status bad = check_copy(d, from, to, bytes);
  if (bad) return bad;
  void *before = qp_device_enter(d);
  const qp_status status = qp_device_upload(d->dev, to, from, (size_t)bytes, &err);
  qp_device_leave(d, before);
  return qp_refuse_status(status, &err);
}

qpal_status qpal_download(qpal_device *d, void *to, qpal_ptr from, uint64_t bytes) {
  qp_error err = {.text = ""};
  const qpal_status bad = check_copy(d, to, from, bytes);
  if (bad) return bad;
  void *before = qp_device_enter(d);
  const qp_status status = qp_device_download(d->dev, to, from, (size_t)bytes, &err);
  qp_device_leave(d, before);
  return qp_refuse_status(status, &err);
}

qpal_status qpal_zero(qpal_device *d, qpal_ptr to, uint64_t bytes) {
  qp_error err = {.text = ""};
  const qpal_status bad = check_copy(d, d, to, bytes);
  if (bad) return bad;
  void *before = qp_device_enter(d);
  const qp_status status = qp_device_fill(d->dev, to, 0, (size_t)bytes, &err);
  qp_device_leave(d, before);
  return qp_refuse_status(status, &err);
}

qpal_status qpal_wait(qpal_device *d, void *stream) {
  qp_error err = {.text = ""};
  if (!d) return qp_refuse(QPAL_E_ARG, "device is NULL");
  void *before = qp_device_enter(d);
  const qp_status status =
      d->dev->ops->wait ? d->dev->ops->wait(d->dev, stream, &err) : qp_device_sync(d->dev, &err);
  qp_device_leave(d, before);
  return qp_refuse_status(status, &err);
}
