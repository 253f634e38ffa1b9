/* SPDX-License-Identifier: MIT */
/*
** Kernel families:  lua/families/x.lua -> tunables, their values, constraints, template.
** A family is its Lua file and its template; operations, paths and which families compete come from
** the files.  lua/families/FAMILIES.md is the contract between the files, the templates and C.
*/
#ifndef QP_FAMILY_H
#define QP_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "gen/kernel/kernel_op.h"
#include "gen/kernel/problem.h"
#include "runtime/status.h"

enum {
  QP_MAX_FAMILIES = 64,
  QP_MAX_PATHS = 7, /* most paths of an operation */
  QP_MAX_TUNABLES = 20,
  QP_MAX_TUNABLE_VALUES = 16
};

typedef struct qp_tunable {
  char name[24]; /* As it is typed: "warps". */
  char tag[8];   /* Kernel names have this in its place: "w". */
  char help[160];
  unsigned values;
  unsigned value[QP_MAX_TUNABLE_VALUES]; /* The first one is the default. */
} qp_tunable;

typedef struct qp_family {
  char name[32]; /* "gemm_tensor" */
  char file[64]; /* It was read from this one: "lua/families/gemm_tensor.lua". */
  char path[16]; /* "tensor" or "cuda"; empty where the operation has only one path. */
  char template_file[64];
  char help[160];
  qp_op op;
  const qp_kernel_op *kernel; /* What C makes for the template follows from operation and form. */
  unsigned rank;              /* The family with the lowest rank is its operation's default. */
  unsigned x_tile;            /* Rows of X that the kernels of a gemm read at once. */
  unsigned needs; /* Its kernels run where an architecture has all these qp_arch_ability bits. */
  bool reference; /* It is there for checks and readers: it is neither tuned nor exported unless
                     its path is named. */
  unsigned tunables;
  qp_tunable tunable[QP_MAX_TUNABLES];
  int constraint; /* The Lua function, by its number in the host; only family.c uses it. */
} qp_family;

/* X(field, what it says): what a family's file returns. */
#define QP_FAMILY_FIELDS(X)                                                                        \
  X(name, "the family's name, which begins its kernels' names")                                    \
  X(op, "gemm, gemm-glu, rotate, rotate-norm, rotate-glu, dequant, gather, encode, route, "        \
        "experts, attend, pick, combine, plain, experts-glu, encode-fed, rows-product")            \
  X(form, "which of the operation's forms the template is written for; the usual one")             \
  X(path, "a name for --path and plans; families of one path compete; none")                       \
  X(rank, "1 to 1000: the lowest is the operation's default; 1000")                                \
  X(reference, "true: for checks and readers, tuned and exported only where its path is named")    \
  X(x_tile, "gemm: rows of X that the kernel reads at once, 1 to 64; 1")                           \
  X(needs, "abilities an architecture must have, as runtime/arch.h names them: 'mma_k16'; none")   \
  X(template, "the CUDA template")                                                                 \
  X(help, "one line for qpal list families")                                                       \
  X(tunables, "list of { name, tag, values, help }; the first value is the default")               \
  X(constraint, "function(problem, tunables): true, or false and the reason")

/* X(field, kind, value of problem p, what it says): what a constraint is told about the problem. */
#define QP_CONSTRAINT_FIELDS(X)                                                                    \
  X(segments, number, p->segments, "linears in the launch")                                        \
  X(k, number, p->columns, "K")                                                                    \
  X(batch, number, p->batch, "rows of x")                                                          \
  X(arch, number, p->arch, "80, 86, ...")                                                          \
  X(sm_count, number, p->sm_count, "multiprocessors")                                              \
  X(smem_bytes, number, qp_arch_smem_bytes(p->arch), "shared memory that a block may have")        \
  X(pdl, number, qp_arch_has(p->arch, QP_ARCH_PDL), "1: launches can be programmatic dependents")  \
  X(type, string, qp_dtype_name(p->type), "of x: 'f16' or 'bf16'")                                 \
  X(out_type, string, qp_dtype_name(p->out_type), "of y: the same or 'f32'")                       \
  X(rotate_fused, number, p->rotate_fused, "1: the kernel rotates x")

/* A family with one value for each tunable; together with a problem this is a candidate. */
typedef struct qp_choice {
  const qp_family *family;
  unsigned value[QP_MAX_TUNABLES];
} qp_choice;

typedef struct qp_families qp_families;

/*
** Load every file of lua/families.  QP_E_ARG names file, field and value, and says what would be
** right: an unknown field, a tunable that the operation's kernels need and is not there, a value
** that no kernel can have, a name that is taken.
*/
qp_status qp_families_open(qp_families **out, qp_error *err);
void qp_families_close(qp_families *f);
size_t qp_families_count(const qp_families *f);
const qp_family *qp_families_get(const qp_families *f, size_t i); /* They come in the order of file
                                                                     names. */
const qp_family *qp_families_find(const qp_families *f, const char *name);

/*
** List the families of an operation that have this path ("" or NULL stands for any), by rank, then
** by name, with references last.  Where no path is named references are left out, unless
** 'references' is true.  Returns their number.
*/
size_t qp_families_of(const qp_families *f, qp_op op, const char *path, bool references,
                      const qp_family *out[QP_MAX_FAMILIES]);
/* The first of these, NULL if there is none. */
const qp_family *qp_families_for(const qp_families *f, qp_op op, const char *path);
/* The first of them whose kernels can do the problem: encode has one for trellises, one for
   codes. */
const qp_family *qp_families_serving(const qp_families *f, const qp_problem *p, const char *path);
bool qp_family_serves(const qp_family *family, const qp_problem *p);
/* QP_E_LIMIT, with the ability that the architecture lacks. */
qp_status qp_family_check_arch(const qp_family *family, unsigned arch, qp_error *err);

/*
** List the paths of an operation by the rank of their best family.  The first '*usual' of them
** (NULL: not asked for) have a family that is no reference.
*/
size_t qp_families_paths(const qp_families *f, qp_op op, const char *out[QP_MAX_PATHS],
                         size_t *usual);
/* QP_E_ARG, with the paths there are: "'x': tensor or cuda is needed". */
qp_status qp_families_check_path(const qp_families *f, qp_op op, const char *path, qp_error *err);

/* The defaults; value 0 of some tunables means that the generator chooses. */
void qp_choice_default(const qp_family *family, qp_choice *out);
/* "warps=24": QP_E_ARG names the tunable's values. */
qp_status qp_choice_set(qp_choice *c, const char *assignment, qp_error *err);
/* A tunable that the family does not have is what FAMILIES.md says of one that is absent, else
   0. */
unsigned qp_choice_get(const qp_choice *c, const char *tunable);
/* What the generator chose for a tunable that was left to it; nothing where the family has none. */
void qp_choice_put(qp_choice *c, const char *tunable, unsigned value);
/* The family's own constraint on this problem: QP_E_LIMIT with the reason where it says no. */
qp_status qp_choice_check(qp_families *f, const qp_choice *c, const qp_problem *p, qp_error *err);

#endif
