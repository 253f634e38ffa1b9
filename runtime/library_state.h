/* SPDX-License-Identifier: MIT */
/* What the files behind the public interface share: how they write messages, check the sizes of
   structs, and read a library that is open. */
#ifndef QP_LIBRARY_STATE_H
#define QP_LIBRARY_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/device.h"
#include "include/qpal.h"
#include "runtime/library_format.h"

/* Write this thread's message (printf form) and return 'status'. */
qpal_status qp_refuse(qpal_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__ /* does not look into library_message.c: it sees what is returned */
#define qp_refuse(status, ...) (qp_refuse(status, __VA_ARGS__), (status))
#endif

/* What qpal_message gives where calls of public functions come to this library: it is hidden, so
   that none else can stand in for it. */
const char *qp_own_message(void);

/* The same for what the device interface says. */
qpal_status qp_refuse_status(qp_status status, const qp_error *err);

/*
** Structs that begin with 'size'.  qp_give copies 'own' (its first 'bytes') to the caller's, as
** much as fits, and sets what is beyond to 0; qp_take copies the caller's to 'own'.  'least' is the
** size in ABI 1.  QPAL_E_ARG: NULL, a size out of range, or (take) something set that this library
** does not know.
*/
qpal_status qp_give(void *to, const void *own, size_t bytes, size_t least, const char *name);
qpal_status qp_take(void *own, const void *from, size_t bytes, size_t least, const char *name);

struct qpal_library {
  const unsigned char *data; /* the file */
  uint64_t bytes;
  void *mapping; /* mapping to remove; NULL where the memory is the caller's */
  const qp_lib_header *header;
};

/* A record; 'index' must be in range (files are checked when they are opened). */
const void *qp_lib_record(const qpal_library *l, unsigned section, uint32_t index);
#define QP_LIB_GET(l, section, type, index)                                                        \
  ((const type *)qp_lib_record(l, QP_LIB_##section, index))
const char *qp_lib_string(const qpal_library *l, uint32_t offset);
uint32_t qp_lib_count(const qpal_library *l, unsigned section);

/* Tell how many bytes the parameter block of the library's kernels with this op and problem has. */
unsigned qp_lib_params_bytes(const qpal_library *l, uint32_t op, uint32_t problem);
/* A kernel of this op reads rows and no packed weights: it is of no problem. */
bool qp_lib_reads_rows(uint32_t op);
/* Tell whether an op is gemm, with a gated linear unit or without, or experts. */
bool qp_lib_multiplies(uint32_t op);
/* Count the streams of a problem: each part of each of its linears has one in each piece of K. */
unsigned qp_lib_streams(const qpal_library *l, uint32_t problem);
/* Tell in how many pieces a linear's K is (at least 1), and how many columns a diagonal block of
   its rotation has (0 stands for K). */
unsigned qp_lib_pieces(const qpal_library *l, const qp_lib_linear *e);
unsigned qp_lib_rotation(const qpal_library *l, const qp_lib_linear *e);

/* A member of a group: its linear, and the problem of it alone. */
typedef struct qp_lib_member {
  const qp_lib_group *group;
  const qp_lib_linear *linear;
  uint32_t problem;
} qp_lib_member;
/* Find a member by the numbers that a caller gives.  QPAL_E_ARG: the library has not so many. */
qpal_status qp_lib_find_member(const qpal_library *l, unsigned group, unsigned member,
                               qp_lib_member *out);

/* Refuse to describe a linear in a caller's struct of this size, which has no room for its parts:
   QPAL_E_MISMATCH. */
qpal_status qp_lib_too_many_parts(const char *tensor, unsigned parts, const char *name,
                                  size_t size);

/* Its kernels take strides: rows of X, Y and residuals need not lie close. */
bool qp_lib_has_strides(const qpal_library *l);

/* Tell a kernel's 'dequant_rows', which is 0 where the library was written before there were any.
   */
uint32_t qp_lib_dequant_rows(const qpal_library *l, const qp_lib_kernel *k);

struct qpal_device {
  qp_device *dev;
  pthread_mutex_t turn; /* turn at a simulator, which one thread uses at a time */
};

/* Wrap a device that is open; closes it on error. */
qpal_status qp_device_wrap(qp_device *dev, qpal_device **out);
/* Call these before and after every use of d->dev: they take its context and its turn, and give
   them back. */
void *qp_device_enter(qpal_device *d);
void qp_device_leave(qpal_device *d, void *before);

/* The kernels of one group, in and out type, with or without a rotation of their own, by batch. */
typedef struct qp_lib_range {
  uint32_t first, count;
} qp_lib_range;

/* The ranges of kernels for ops that multiply: those of gemm and those of experts, each told apart
   by what is behind it. */
enum {
  QP_LIB_GEMM_GLU = 1,
  QP_LIB_GEMM_EXPERTS = 2,
  QP_LIB_GEMM_EXPERTS_GLU = 3,
  QP_LIB_GEMM_KINDS = 4
};
static inline unsigned qp_lib_gemm_kind(uint32_t op) {
  return op == QPAL_GEMM_GLU      ? QP_LIB_GEMM_GLU
         : op == QPAL_EXPERTS     ? QP_LIB_GEMM_EXPERTS
         : op == QPAL_EXPERTS_GLU ? QP_LIB_GEMM_EXPERTS_GLU
                                  : 0;
}

struct qpal_kernels {
  const qpal_library *library;
  qpal_device *device;
  unsigned target, match;
  uint32_t first, count;  /* range of KERNELS */
  qp_module **module;     /* [count] */
  qp_function **function; /* [count] */
  qpal_ptr constants;
  bool own_constants;
  qp_lib_range *gemm[QP_LIB_GEMM_KINDS]; /* [problems]: of KERNELS */
  uint64_t workspace_bytes, counter_bytes;
};

#endif
