/* SPDX-License-Identifier: MIT */
/* The public interface's statuses, messages and structs that may grow. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/library_state.h"

enum { STRUCT_MAX = 4096 };

static _Thread_local char message[2048];

const char *qpal_message(void) { return message; }
const char *qp_own_message(void) { return message; }

const char *qpal_status_name(qpal_status status) {
  static const char *const names[] = {
      [QPAL_OK] = "ok",
      [QPAL_E_ARG] = "wrong argument",
      [QPAL_E_IO] = "file cannot be read",
      [QPAL_E_NOMEM] = "out of memory",
      [QPAL_E_MISSING] = "no driver or GPU",
      [QPAL_E_DEVICE] = "device trouble",
      [QPAL_E_FORMAT] = "damaged or foreign file",
      [QPAL_E_MISMATCH] = "things that do not belong together",
      [QPAL_E_NO_KERNEL] = "no kernel for this",
  };
  return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown status";
}

unsigned qpal_abi(void) { return QPAL_ABI; }

qpal_status(qp_refuse)(qpal_status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  qp_text_plain(message, sizeof message);
  return status;
}

qpal_status qp_refuse_status(qp_status status, const qp_error *err) {
  static const qpal_status as[QP_STATUS_COUNT] = {
      [QP_OK] = QPAL_OK,
      [QP_E_ARG] = QPAL_E_ARG,
      [QP_E_IO] = QPAL_E_IO,
      [QP_E_NOMEM] = QPAL_E_NOMEM,
      [QP_E_MISSING] = QPAL_E_MISSING,
      [QP_E_DEVICE] = QPAL_E_DEVICE,
      [QP_E_COMPILE] = QPAL_E_DEVICE,
      [QP_E_WRONG] = QPAL_E_DEVICE,
      [QP_E_LIMIT] = QPAL_E_DEVICE,
  };
  return status ? qp_refuse(as[status], "%s", err->text) : QPAL_OK;
}

/* The size that a caller's struct says it has. */
static qpal_status read_size(const void *given, size_t least, const char *name, size_t *size) {
  if (!given) return qp_refuse(QPAL_E_ARG, "%s is NULL", name);
  memcpy(size, given, sizeof *size);
  if (*size < least || *size > STRUCT_MAX)
    return qp_refuse(QPAL_E_ARG, "%s: size is %zu; set it to sizeof the struct (%zu here)", name,
                     *size, least);
  return QPAL_OK;
}

qpal_status qp_give(void *to, const void *own, size_t bytes, size_t least, const char *name) {
  size_t size;
  const qpal_status status = read_size(to, least, name, &size);
  if (status) return status;
  const size_t n = size < bytes ? size : bytes;
  memcpy((char *)to + sizeof size, (const char *)own + sizeof size, n - sizeof size);
  memset((char *)to + n, 0, size - n);
  return QPAL_OK;
}

qpal_status qp_take(void *own, const void *from, size_t bytes, size_t least, const char *name) {
  size_t size;
  const qpal_status status = read_size(from, least, name, &size);
  if (status) return status;
  for (size_t i = bytes; i < size; i++)
    if (((const char *)from)[i])
      return qp_refuse(QPAL_E_ARG, "%s: something is set that libqpal %s does not know", name,
                       qpal_version());
  memset(own, 0, bytes);
  memcpy(own, from, size < bytes ? size : bytes);
  return QPAL_OK;
}
