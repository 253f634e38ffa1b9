/* SPDX-License-Identifier: MIT */
/*
** What is there of the shared libraries that are opened at run time:  runtime/dynlib -> [finds] ->
** qpal doctor, qpal tune.  A 'find' is a file that can be loaded, with the version it tells.
*/
#ifndef QP_LIBRARY_PROBE_H
#define QP_LIBRARY_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/dynlib.h"

enum { QP_FINDS_MAX = 16 };

typedef struct qp_library_find {
  char path[1024];  /* path of the file, links resolved */
  char place[64];   /* where it was looked for: "$CUDA_HOME" */
  char version[96]; /* "13.0"; "" where it does not tell one */
  unsigned number;  /* NVRTC: 1300; else 0 */
  bool usable;      /* loads, and is new enough */
  char why[512];    /* what is wrong where it is not */
} qp_library_find;

/*
** All finds of a library, those that do not load included, in the order they are tried in; returns
** their number.  Each is loaded in a process of its own with a time limit, so a library that
** crashes or hangs (CUPTI 13.2 without a driver) is a find with a reason.
*/
size_t qp_library_finds(qp_dynlib_id id, qp_library_find out[QP_FINDS_MAX]);

/* The first that is usable; NULL if there is none. */
const qp_library_find *qp_library_chosen(const qp_library_find *list, size_t count);

/* Of NVRTCs: the newest, where it is newer than the chosen one; else NULL. */
const qp_library_find *qp_library_newer(const qp_library_find *list, size_t count);

/* Say on stderr, as `verb`, that a newer NVRTC than the one in use is at hand, if so. */
void qp_library_remark_nvrtc(const char *verb);

#endif
