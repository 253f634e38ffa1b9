/* SPDX-License-Identifier: MIT */
/*
** Shared libraries opened at run time: which there are, their names, and where they are looked for.
** One table says it for every library; runtime/LIBRARIES.md says the same for people.  A
** 'candidate' is a name or path that dlopen is given; all handles are kept until exit.
*/
#ifndef QP_DYNLIB_H
#define QP_DYNLIB_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

typedef enum qp_dynlib_id {
  QP_DYNLIB_CUDA,
  QP_DYNLIB_NVRTC,
  QP_DYNLIB_CUPTI,
  QP_DYNLIB_NVML,
  QP_DYNLIB_CUBLAS,
  QP_DYNLIB_BLAS,
  QP_DYNLIB_COUNT
} qp_dynlib_id;

enum { QP_DYNLIB_NAMES = 6 };

typedef struct qp_dynlib {
  const char *what;                  /* "NVRTC" */
  const char *variable;              /* its value, a file or a folder, is looked at alone */
  const char *name[QP_DYNLIB_NAMES]; /* Names, the best first; a NULL ends them. */
  bool toolkit;                      /* The library is part of the CUDA Toolkit and of NVIDIA's
                                        Python wheels. */
  unsigned oldest;                   /* 100 major + minor that will do; 0: any */
  const char *need;                  /* what it is needed for */
  const char *advice;                /* how to get it */
} qp_dynlib;

/* Find the row of a library. */
const qp_dynlib *qp_dynlib_row(qp_dynlib_id id);

/*
** Call 'visit' with every candidate in the order of LIBRARIES.md until it returns true: 'path' is
** what dlopen takes, 'place' says where that is ("the loader's path", "$CUDA_HOME", "python3's
** packages").  Paths with a slash exist; a file is told once, whatever its names.  python3 is asked
** for its folders only when it is its turn.  Returns what the last visit returned.
*/
bool qp_dynlib_each(qp_dynlib_id id, bool (*visit)(const char *path, const char *place, void *arg),
                    void *arg);

/* Ask python3 for the folders of its packages, and call 'visit' with each until it returns true.
   Returns what the last visit returned, false where there is no python3. */
bool qp_dynlib_each_package_folder(bool (*visit)(const char *folder, void *arg), void *arg);

/* dlopen(path), which waits for nobody: a FIFO or a device is refused.  NULL: '*why' says why. */
void *qp_dynlib_load(const char *path, const char **why);

/* Whether a library that was opened will do; QP_E_MISSING with the reason where it will not. */
typedef qp_status (*qp_dynlib_judge)(void *handle, qp_error *err);

/*
** Open the first candidate that loads and that 'judge' (NULL: anything) takes.  '*handle' is
** dlopen's.  QP_E_MISSING: the message says why each file that is there was not taken, where else
** was looked, what the library is needed for and how to get it.
*/
qp_status qp_dynlib_open(qp_dynlib_id id, qp_dynlib_judge judge, void **handle, qp_error *err);

/* Put the address of a symbol into '*function', which is a pointer to a function pointer.
   QP_E_MISSING names the symbol. */
qp_status qp_dynlib_symbol(void *handle, const char *what, const char *symbol, void *function,
                           qp_error *err);

#endif
