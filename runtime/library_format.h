/* SPDX-License-Identifier: MIT */
/* The bytes of a kernel library, versions 2 to 5 (LIBRARY.md says the same in words). */
#ifndef QP_LIBRARY_FORMAT_H
#define QP_LIBRARY_FORMAT_H

#include <assert.h>
#include <stdint.h>

#define QP_LIB_MAGIC "QPALLIB" /* and a NUL: 8 bytes */

enum {
  QP_LIB_VERSION = 5,        /* some linear has more than 4 parts, or some problem many streams */
  QP_LIB_VERSION_SIDE = 4,   /* columns of some linear have an order, or scales */
  QP_LIB_VERSION_PIECES = 3, /* some linear is in pieces, or its rotation in blocks */
  QP_LIB_VERSION_WHOLE = 2,  /* none is */
  QP_LIB_VERSION_CLOSE = 1   /* kernels know no strides */
};
enum {
  QP_LIB_ALIGN = 64,
  QP_LIB_MEMBERS = 8,
  QP_LIB_PARTS = 4,       /* that records have room for, and ... */
  QP_LIB_MORE_PARTS = 12, /* ... what is appended to them */
  QP_LIB_FEW_STREAMS = 16 /* most of a problem before version 5 */
};
#define QP_LIB_NONE UINT32_MAX /* an index that is none */

/* Sections in the order of their places in the header: name, record. */
#define QP_LIB_SECTIONS(X)                                                                         \
  X(STRINGS, char)                                                                                 \
  X(TARGETS, qp_lib_target)                                                                        \
  X(QUANTIZERS, qp_lib_quantizer)                                                                  \
  X(CODEBOOKS, qp_lib_codebook)                                                                    \
  X(LINEARS, qp_lib_linear)                                                                        \
  X(PROBLEMS, qp_lib_problem)                                                                      \
  X(GROUPS, qp_lib_group)                                                                          \
  X(KERNELS, qp_lib_kernel)                                                                        \
  X(IMAGES, qp_lib_image)                                                                          \
  X(DATA, char)

enum {
#define X(name, record) QP_LIB_##name,
  QP_LIB_SECTIONS(X)
#undef X
      QP_LIB_SECTION_COUNT
};

/* Records lie 'record_bytes' apart: a later version of this format may append fields to them. */
typedef struct qp_lib_section {
  uint64_t offset; /* bytes from the start of the file, a multiple of QP_LIB_ALIGN */
  uint32_t count, record_bytes;
} qp_lib_section;

typedef struct qp_lib_header {
  char magic[8];
  uint32_t version, header_bytes;
  uint64_t file_bytes;
  uint64_t manifest_bytes;   /* header and sections; images lie behind */
  uint64_t checksum;         /* XXH3-64 of [0, manifest_bytes) with this field zero */
  uint32_t toolkit;          /* NVRTC's CUDA version, 1000 major + 10 minor */
  uint32_t model, generator; /* strings */
  uint32_t constants_bytes;  /* device memory of all codebooks that the library holds */
  qp_lib_section section[QP_LIB_SECTION_COUNT];
} qp_lib_header;

/* Strings are offsets into STRINGS, where each ends with a NUL. */
typedef struct qp_lib_target {
  uint32_t name, chosen;
  uint32_t arch, sm_count;
  uint32_t first_kernel, kernels; /* its range of KERNELS */
} qp_lib_target;

typedef struct qp_lib_quantizer {
  uint32_t name, hash;
  uint32_t layout;            /* version */
  uint32_t kind;              /* 0 trellis, 1 vector, 2 scalar, 3 split */
  uint32_t window, dim, step; /* 0 of a split */
  uint32_t fields;
  uint32_t codebooks, codebook[4]; /* indices into CODEBOOKS */
  uint32_t parts, part[4];         /* split: its quantizers, which are no splits; else 0 */
  double rate_bits, stored_bits;
  /* appended in version 5 */
  uint32_t more[QP_LIB_MORE_PARTS]; /* the quantizers of parts behind those of 'part' */
} qp_lib_quantizer;
enum { QP_LIB_QUANTIZER_LEAST = 88 }; /* bytes of the record before anything was appended */

typedef struct qp_lib_codebook {
  uint32_t name;
  uint32_t scope; /* 0: the quantizer's, in DATA; 1: one a linear; 2: one a row */
  uint32_t entries, dim;
  uint32_t data, bytes; /* scope 0: fp16 [entries][dim] at 'data' of DATA */
  uint32_t constant;    /* scope 0: where it lies in the device's constants, a multiple of 256 */
  uint32_t reserved;
} qp_lib_codebook;

typedef struct qp_lib_part {
  uint32_t quantizer, column, columns, reserved;
  uint64_t code_bytes, field_bytes[4], codebook_bytes[4];
} qp_lib_part;

/* A shape and a quantizer; many linears of a model share one.  With 0 parts the weights have 16
   bits and are the engine's. */
typedef struct qp_lib_linear {
  uint32_t quantizer, rows, columns, parts;
  qp_lib_part part[QP_LIB_PARTS];
  /* appended: a library without them is read as if they were 0 */
  uint32_t pieces;   /* equal ranges of K with streams of their own; parts are those of the first,
                        sizes those of all; 0: 1 */
  uint32_t rotation; /* columns of a diagonal block of H (0: K), with flags (input_side.h) */
  /* appended in version 5 */
  qp_lib_part more[QP_LIB_MORE_PARTS];
} qp_lib_linear;
enum {
  QP_LIB_LINEAR_LEAST = 368, /* bytes of the record before anything was appended, ... */
  QP_LIB_LINEAR_PIECES = 376 /* ... and before version 5 */
};

/* These give part i of a linear's 'parts', and the quantizer of part i of a split. */
static inline const qp_lib_part *qp_lib_part_of(const qp_lib_linear *e, unsigned i) {
  return i < QP_LIB_PARTS ? &e->part[i] : &e->more[i - QP_LIB_PARTS];
}
static inline uint32_t qp_lib_split_part(const qp_lib_quantizer *q, unsigned i) {
  return i < QP_LIB_PARTS ? q->part[i] : q->more[i - QP_LIB_PARTS];
}

/* What a gemm launch takes: linears with one K; a problem of one linear is also what dequant and
   gather take. */
typedef struct qp_lib_problem {
  uint32_t columns, segments, linear[QP_LIB_MEMBERS];
} qp_lib_problem;

typedef struct qp_lib_group {
  uint32_t name, path;
  int32_t block;    /* -1: none */
  uint32_t problem; /* problem of all members */
  uint32_t tensor[QP_LIB_MEMBERS];
  uint32_t single[QP_LIB_MEMBERS]; /* The problem of each member alone. */
} qp_lib_group;

enum {
  QP_LIB_PDL = 1,
  QP_LIB_ADDS = 2,
  QP_LIB_ROTATES = 4,
  QP_LIB_INVERSE = 8,
  QP_LIB_LIMITS = 16 /* its gated linear unit knows limits and all activations of qpal.h */
};

/* Sorted by target, op, problem, columns, type, out_type, ROTATES, INVERSE,
   batch, route's by experts and top_k: all different. */
typedef struct qp_lib_kernel {
  uint32_t name, source; /* strings */
  uint32_t target, op;   /* qpal_op */
  uint32_t problem;      /* QP_LIB_NONE for rotations */
  uint32_t columns, type, out_type;
  uint32_t batch; /* The batch; of rotations, what 'rotation' of a linear is. */
  uint32_t flags, grid, block, smem_bytes;
  uint32_t counters, registers, params_bytes;
  uint32_t cubin, ptx; /* IMAGES; QP_LIB_NONE: there is none */
  uint64_t workspace_bytes;
  int64_t latency_ps; /* -1: not known */
  /* appended: a library without it is read as if it were 0 */
  uint32_t
      dequant_rows; /* gemm: from here on dequant and a GEMM are faster; 0: not known; max: never */
  uint8_t top_k, tile; /* Of route and experts as gen/kernel/problem.h has them; else 0, as are the
                          experts. */
  uint16_t experts;
} qp_lib_kernel;
enum { QP_LIB_KERNEL_LEAST = 88 }; /* bytes of the record before anything was appended */

typedef struct qp_lib_image {
  uint32_t kind, arch; /* 0 cubin, 1 PTX text with a NUL at its end, which 'bytes' counts */
  uint64_t offset, bytes, checksum; /* where the image begins in the file, its size and its
                                       XXH3-64 */
} qp_lib_image;

/* < 0, 0 or > 0 as 'a' stands before, at the place of or behind 'b' in KERNELS. */
int qp_lib_kernel_order(const qp_lib_kernel *a, const qp_lib_kernel *b);

static_assert(sizeof(qp_lib_header) == 56 + 16 * QP_LIB_SECTION_COUNT, "header");
static_assert(sizeof(qp_lib_target) == 24, "target");
static_assert(sizeof(qp_lib_quantizer) == QP_LIB_QUANTIZER_LEAST + 48, "quantizer");
static_assert(sizeof(qp_lib_codebook) == 32, "codebook");
static_assert(sizeof(qp_lib_linear) == QP_LIB_LINEAR_PIECES + 88 * QP_LIB_MORE_PARTS, "linear");
static_assert(sizeof(qp_lib_problem) == 40, "problem");
static_assert(sizeof(qp_lib_group) == 80, "group");
static_assert(sizeof(qp_lib_kernel) == 96, "kernel");
static_assert(sizeof(qp_lib_image) == 32, "image");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is read in place");

#endif
