/* SPDX-License-Identifier: MIT */
/* Status codes and the error message that goes with them; used by every folder. */
#ifndef QP_STATUS_H
#define QP_STATUS_H

#include <stdarg.h>
#include <stddef.h>

typedef enum qp_status {
  QP_OK = 0,
  QP_E_ARG,     /* an argument or an input file is wrong; the message names file, field, value */
  QP_E_IO,      /* reading or writing a file failed */
  QP_E_NOMEM,   /* Host or device memory is exhausted. */
  QP_E_MISSING, /* a library, driver or device that is needed is not there; says how to get it */
  QP_E_DEVICE,  /* a driver call failed, or the simulator found a fault in a kernel */
  QP_E_COMPILE, /* NVRTC refused the source; the message carries its log. */
  QP_E_WRONG,   /* a result differs from the reference */
  QP_E_LIMIT,   /* a resource limit was exceeded (time, memory, registers, shared memory) */
  QP_STATUS_COUNT
} qp_status;

/* One message; owned by the caller, who sets text[0] = 0 before the first use. */
typedef struct qp_error {
  char text[4096];
} qp_error;

/* Write a message (printf form, cut at the end of the buffer) and return 'status'.  err
   may be NULL. */
qp_status qp_fail(qp_error *err, qp_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "prefix: " before the message that is there; returns 'status'. */
qp_status qp_fail_prefix(qp_error *err, qp_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__ /* does not look into status.c; so it sees that 'status' is returned */
#define qp_fail(err, status, ...)        (qp_fail(err, status, __VA_ARGS__), (status))
#define qp_fail_prefix(err, status, ...) (qp_fail_prefix(err, status, __VA_ARGS__), (status))
#endif

/*
** Names are of others: control characters (not newline, tab), which terminals obey, and what is no
** UTF-8 become "\xNN" in text[size], characters without width, ends of lines, turns of direction
** "\uNNNN"; cut where that gets too long.  Messages are made so already.
*/
void qp_text_plain(char *text, size_t size);

/* Give the short English name of a status ("wrong argument", ...). */
const char *qp_status_name(qp_status status);

#endif
