/* SPDX-License-Identifier: MIT */
/*
** Public interface of libqpal, the library that engines link: tuned kernels for quantized linears.
**
**   qpal_library   what `qpal export` wrote: which linears and kernels, how weights lie in memory
**   qpal_packed    what `qpal quantize` wrote: the packed weights, mapped from safetensors
**   qpal_device    a CUDA context
**   qpal_kernels   a library's kernels loaded on a device, ready to launch
**
** One linear is  y = r * (W^ (H (s * x))) + bias:  W^ [M,K] is what the packed codes decode to, r
** [M] row scales, s [K] signs, H the orthonormal Hadamard rotation of order K.  qpal_rotate
** computes X~ = H (s * X); qpal_gemm computes Y = r * (X~ W^^T) (+ bias) (+ residual) for all
** linears of a group at once; linears that read the same x share s and one rotation.
**
** The process needs no Python, Lua or NVRTC.  The driver is opened by dlopen when a device is
** opened; everything but devices, kernels and launches works without it.
**
** ERRORS.  Functions return a qpal_status; where it is not QPAL_OK, outputs are untouched and
** qpal_message() says what was wrong, with file, field, value and what would be right.  Nothing
** aborts, exits or prints.
**
** THREADS.  A qpal_library, a qpal_packed and a qpal_kernels are not changed after they were made:
** any number of threads may use them at the same time.  Opening and closing is for one thread, when
** no other uses the object.  Two launches that may run at the same time (other streams) need
** workspaces and counters of their own.
**
** ABI.  This header is version QPAL_ABI.  Within one QPAL_ABI: no function or enumerator goes or
** changes its meaning; structs that begin with 'size' grow only at their end; those without never
** change.  Set 'size' to sizeof the struct you were compiled with (info = {sizeof info}) and zero
** the rest: the library reads and writes no more than that, and takes what is beyond as 0.
** QPAL_E_ARG where 'size' is smaller than the struct of QPAL_ABI 1 or larger than 4096.
**
** UNITS.  Sizes in bytes (_bytes), times in picoseconds (_ps).  Device addresses are those of the
** driver API (CUdeviceptr) or of the runtime API (any device pointer).  Matrices are row-major.
*/
#ifndef QPAL_H
#define QPAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header, MAJOR.MINOR.PATCH. */
#define QPAL_VERSION_MAJOR 0
#define QPAL_VERSION_MINOR 1
#define QPAL_VERSION_PATCH 0

/* Version of the binary interface, see above. */
#define QPAL_ABI 1

#if defined __GNUC__
#define QPAL_API __attribute__((visibility("default")))
#else
#define QPAL_API
#endif

/*
** Version of the library that is linked, "MAJOR.MINOR.PATCH"; static storage, never NULL.
** Compare with the macros above to see that header and library belong together.
** Any thread may call this.
*/
QPAL_API const char *qpal_version(void);

/* QPAL_ABI of the library that is linked: refuse another one than the header's. */
QPAL_API unsigned qpal_abi(void);

typedef enum qpal_status {
  QPAL_OK = 0,
  QPAL_E_ARG,      /* an argument is not as documented */
  QPAL_E_IO,       /* a file cannot be read */
  QPAL_E_NOMEM,    /* host or device memory is exhausted */
  QPAL_E_MISSING,  /* there is no driver, or no such GPU */
  QPAL_E_DEVICE,   /* a driver call failed */
  QPAL_E_FORMAT,   /* not a kernel library or packed weights; damaged, truncated, or too new */
  QPAL_E_MISMATCH, /* things that do not belong together: GPU, driver, quantizer hash, shape */
  QPAL_E_NO_KERNEL /* the library has no kernel for this */
} qpal_status;

/* "wrong argument", "damaged file", ...; static storage, never NULL. */
QPAL_API const char *qpal_status_name(qpal_status status);

/* Give the message of this thread's last failed call; "" before any.  It is valid until this
   thread's next failing call. */
QPAL_API const char *qpal_message(void);

typedef uint64_t qpal_ptr; /* device address; 0 is none */

enum {
  QPAL_MAX_MEMBERS = 8, /* linears of one group */
  QPAL_MAX_PARTS = 4, /* column ranges of one linear, each with a quantizer of its own, that arrays
                         'part' hold, and ... */
  QPAL_MORE_PARTS = 12, /* ... those that arrays 'more' hold behind them: a linear has up to 16 */
  QPAL_MAX_FIELDS = 4,  /* group scales, zero points, ... */
  QPAL_MAX_CODEBOOKS = 4,
  QPAL_NONE = 0x7fffffff /* an index that is none */
};

typedef enum qpal_type { QPAL_F16 = 0, QPAL_BF16 = 1, QPAL_F32 = 2 } qpal_type;
typedef enum qpal_op {
  QPAL_GEMM = 0,
  QPAL_ROTATE = 1,
  QPAL_DEQUANT = 2,
  QPAL_GATHER = 3,
  QPAL_ROTATE_NORM = 5, /* rotations with a prologue */
  QPAL_ROTATE_GLU = 6,
  QPAL_GEMM_GLU = 7, /* gemm with a gated linear unit behind it */
  QPAL_ROUTE = 8,    /* a router's choice, sorted */
  QPAL_EXPERTS = 9,  /* gemm of stacks of experts */
  QPAL_ATTEND = 10,  /* a decoder's attention: qpal export --decoder */
  QPAL_PICK = 11,
  QPAL_COMBINE = 12,    /* a token's experts, added up */
  QPAL_PLAIN = 13,      /* a linear that stays in 16 bits: qpal export --decoder */
  QPAL_EXPERTS_GLU = 14 /* gemm of stacks of up and gate with a gated linear unit behind it */
} qpal_op;

/* ---- Kernel libraries ---- */

typedef struct qpal_library qpal_library;

/*
** Open a kernel library: the file that `qpal export` wrote, or the directory that holds it.  It is
** mapped read-only; its tables are checked whole (checksum, every index and offset), its kernels'
** checksums when they are loaded.  The file must not be changed while it is open.
** QPAL_E_IO: it cannot be read; QPAL_E_FORMAT: it is no library, damaged, truncated, or made by a
** later version; QPAL_E_NOMEM.  Close with qpal_library_close.
*/
QPAL_API qpal_status qpal_library_open(const char *path, qpal_library **out);

/* The same from memory, which must begin at a multiple of 8 and stay as it is until the library is
   closed: nothing is copied.  QPAL_E_ARG: NULL or not aligned; QPAL_E_FORMAT; QPAL_E_NOMEM. */
QPAL_API qpal_status qpal_library_from_memory(const void *data, size_t bytes, qpal_library **out);

/* Compare every kernel's code with its checksum now, not when it is loaded.  QPAL_E_FORMAT
   (named). */
QPAL_API qpal_status qpal_library_verify(const qpal_library *library);

/* After all qpal_kernels that were loaded from it.  NULL is allowed. */
QPAL_API void qpal_library_close(qpal_library *library);

/* Strings of all infos belong to the library and live as long as it does; never NULL. */
typedef struct qpal_library_info {
  size_t size;
  const char *model;     /* It was exported for this one ("smollm2-135m"); "" if for none. */
  const char *generator; /* This made it: "qpal 0.1.0, NVRTC 13.0 (...)". */
  uint64_t file_bytes;
  uint64_t checksum; /* It is the tables' XXH3-64; they hold the kernels' own, so it is of all. */
  unsigned toolkit;  /* CUDA of this version made the kernels: 1000 major + 10 minor. */
  unsigned targets;  /* GPUs that it has kernels for. */
  unsigned quantizers, groups, kernels;
} qpal_library_info;
QPAL_API qpal_status qpal_library_describe(const qpal_library *library, qpal_library_info *info);

/* A GPU that kernels were made for. */
typedef struct qpal_target_info {
  size_t size;
  const char *name;   /* "NVIDIA H100 80GB HBM3", or "sm_90" where none in particular was meant. */
  const char *chosen; /* "records of tuned/h100.jsonl" or "the families' defaults" chose them. */
  unsigned arch;      /* Its compute capability is 10 major + minor. */
  unsigned sm_count;  /* Multiprocessors over which work is divided. */
  unsigned kernels;
} qpal_target_info;
/* Index 0 .. targets-1; QPAL_E_ARG beyond. */
QPAL_API qpal_status qpal_library_target(const qpal_library *library, unsigned index,
                                         qpal_target_info *info);

typedef struct qpal_quantizer_info {
  size_t size;
  const char *name;   /* Users call it so: "tcq-3". */
  const char *hash;   /* These 32 hex digits of its definition stand in packed weights, too. */
  double rate_bits;   /* Bits a weight of the codes. */
  double stored_bits; /* Bits a weight of codes and group fields. */
  unsigned layout;    /* Packed weights lie as this version of runtime/LAYOUT.md says. */
  unsigned parts;     /* Ranges of columns of a split; others have 1. */
} qpal_quantizer_info;
QPAL_API qpal_status qpal_library_quantizer(const qpal_library *library, unsigned index,
                                            qpal_quantizer_info *info);

/*
** A group: linears (members) that read the same x and are computed by one launch.  'segment' i of a
** launch is member i.
*/
typedef struct qpal_group_info {
  size_t size;
  const char *name; /* No other has this name: "layers.3.qkv". */
  /* Its kernels use these cores: "tensor" or "cuda". "engine": it has none, its linears stay in 16
     bits and are the engine's. "gather": it is an embedding that is no lm_head, for qpal_gather
     alone. */
  const char *path;
  int block;        /* It is of this decoder block; -1: it is the lm_head, or there is no model. */
  unsigned columns; /* All members have this K (in_features). */
  unsigned members;
  unsigned rows; /* Rows (out_features) of all members together. */
  int gathers;   /* A member is an embedding and has kernels for qpal_gather. */
  /* A stack for qpal_experts has so many experts E, of which a token goes to top_k; else both are
     0. */
  unsigned experts, top_k;
} qpal_group_info;
QPAL_API qpal_status qpal_library_group(const qpal_library *library, unsigned index,
                                        qpal_group_info *info);

/* Index of the group of this name.  QPAL_E_ARG: there is none (the nearest names
   are not guessed). */
QPAL_API qpal_status qpal_library_find_group(const qpal_library *library, const char *name,
                                             unsigned *group);

/* Group and member that compute the linear with this name in the checkpoint (with or without
   ".weight").  QPAL_E_ARG: there is none. */
QPAL_API qpal_status qpal_library_find_linear(const qpal_library *library, const char *tensor,
                                              unsigned *group, unsigned *member);

/* One column range of a linear, which has buffers of its own (runtime/LAYOUT.md). */
typedef struct qpal_part_info {
  unsigned quantizer;       /* It has this index, and is never a split. */
  unsigned column, columns; /* The first column of W, and how many there are. */
  unsigned fields, codebooks;
  uint64_t code_bytes;
  uint64_t field_bytes[QPAL_MAX_FIELDS];
  /* A codebook that is stored with the weights has so many bytes; 0: the library has it. */
  uint64_t codebook_bytes[QPAL_MAX_CODEBOOKS];
} qpal_part_info;

/* A linear and how its packed weights lie in memory.  Row scales are fp32 [rows]
   beside the parts. */
typedef struct qpal_linear_info {
  size_t size;
  const char *tensor;     /* It is called so in the checkpoint, where ".weight" follows. */
  unsigned quantizer;     /* It has this index; QPAL_NONE: it stays in 16 bits, the engine's own. */
  unsigned rows, columns; /* W has M rows (out_features) and K columns (in_features). */
  unsigned parts;
  uint64_t bytes; /* Bytes of all parts and the row scales. */
  qpal_part_info part[QPAL_MAX_PARTS];
  unsigned pieces;   /* equal ranges of K that kernels read as linears of their own: each array of
                        a part holds them one behind another, 'column' and 'columns' are those of
                        the first; 1: there is one (`qpal export --tp`) */
  unsigned rotation; /* columns of a diagonal block of H (0: K), with flags: how x is taken, as
                        qpal_rotate_args.block */
  qpal_part_info more[QPAL_MORE_PARTS]; /* the parts behind those of 'part' */
} qpal_linear_info;
/* QPAL_E_ARG: there is no such group or member; QPAL_E_MISMATCH: the linear has more parts than the
   struct of this 'size' has room for, of a header that knows no 'more'. */
QPAL_API qpal_status qpal_library_linear(const qpal_library *library, unsigned group,
                                         unsigned member, qpal_linear_info *info);

/* Give part i of a linear, below its 'parts': of 'part' or of 'more'. */
static inline const qpal_part_info *qpal_linear_part(const qpal_linear_info *linear, unsigned i) {
  return i < QPAL_MAX_PARTS ? &linear->part[i] : &linear->more[i - QPAL_MAX_PARTS];
}

typedef struct qpal_kernel_info {
  size_t size;
  const char *name;   /* It is its configuration, and its symbol. */
  const char *source; /* This chose it: "default", or a record. */
  unsigned target, op, type, out_type;
  unsigned columns;
  unsigned batch; /* Rows of X that a gemm, with GLU or not, takes. */
  unsigned grid, block, smem_bytes, registers;
  unsigned counters; /* 32-bit words that it wants. */
  int pdl;           /* It has the instructions of programmatic dependent launch. */
  int adds;          /* It sums into Y by atomics: not the same bits every time. */
  int rotates;       /* This gemm rotates X itself. */
  uint64_t workspace_bytes;
  uint64_t cubin_bytes, ptx_bytes;
  int64_t latency_ps; /* It was measured; -1: it is not known. */
} qpal_kernel_info;
QPAL_API qpal_status qpal_library_kernel(const qpal_library *library, unsigned index,
                                         qpal_kernel_info *info);

/* ---- Packed weights ---- */

typedef struct qpal_packed qpal_packed;

/*
** Map the packed weights that `qpal quantize` wrote: a directory (runtime/PACKED.md), or one of its
** safetensors files.  Nothing is loaded but row scales, which kernels read as fp32.  The files must
** not be changed while they are open.
** QPAL_E_IO, QPAL_E_FORMAT (names file, tensor and reason), QPAL_E_NOMEM.
*/
QPAL_API qpal_status qpal_packed_open(const char *path, qpal_packed **out);
/*
** The same as rank 'rank' of 'size' that share the model: of a linear that they share (PACKED.md)
** qpal_packed_find gives the rank's slice, which a library for as many ranks reads (`qpal export
** --tp`).  Rows of q, k, v, gate and up are the rank's own; y of o and down is to be added up over
** ranks, so that one of them alone adds a bias or residual.  Where a library holds a slice of the
** experts (--ep), its expert 0 is the rank's first: to qpal_route an id is the router's less that
** expert's number, below 0 or from E on where it is another rank's; the combined y is to be added
** up.
** QPAL_E_ARG: 'rank' is not below 'size', which is at most 4096, or the weights were not packed for
** so many ranks.
*/
QPAL_API qpal_status qpal_packed_open_rank(const char *path, unsigned rank, unsigned size,
                                           qpal_packed **out);
/* After the last use of host addresses that it gave.  NULL is allowed. */
QPAL_API void qpal_packed_close(qpal_packed *packed);

/*
** Compare every array with the checksum that was written beside it (checksums.json), reading all of
** them once.  Opening does not, for it reads next to nothing.  Of what was opened as one file of
** several it compares that file's arrays.  QPAL_E_FORMAT: one differs or is missing (named), or
** there are no checksums; QPAL_E_IO, QPAL_E_NOMEM.
*/
QPAL_API qpal_status qpal_packed_verify(const qpal_packed *packed);

/* Bytes in host memory, most of which are mapped from a file. */
typedef struct qpal_bytes {
  const void *data; /* NULL: there are none */
  uint64_t bytes;
} qpal_bytes;

/* The arrays of one part (runtime/LAYOUT.md). */
typedef struct qpal_packed_part {
  qpal_bytes codes, field[QPAL_MAX_FIELDS], codebook[QPAL_MAX_CODEBOOKS];
} qpal_packed_part;

/* A linear's packed weights in host memory.  Upload each array as it is, aligned to 16 bytes. */
typedef struct qpal_packed_linear {
  size_t size;
  unsigned parts;
  qpal_bytes scale; /* fp32 [rows] */
  qpal_bytes signs; /* side of its input: a bit a column in 32-bit words, and behind them an order
                       and scales of the columns, if it has such; none: x is taken as it is */
  qpal_packed_part part[QPAL_MAX_PARTS];
  qpal_packed_part more[QPAL_MORE_PARTS]; /* the parts behind those of 'part' */
} qpal_packed_linear;

/* Give part i of packed weights, below their 'parts': of 'part' or of 'more'. */
static inline const qpal_packed_part *qpal_packed_part_of(const qpal_packed_linear *linear,
                                                          unsigned i) {
  return i < QPAL_MAX_PARTS ? &linear->part[i] : &linear->more[i - QPAL_MAX_PARTS];
}

/*
** Find the packed weights of a linear of the library by the name of its tensor, and compare them
** with what the library's kernels read.  QPAL_E_MISMATCH: quantizer, definition hash, codebook of
** the definition, layout version, shape or a size differs (all named), or the struct of this 'size'
** has no room for so many parts; QPAL_E_ARG: the weights have no such tensor; QPAL_E_FORMAT.
*/
QPAL_API qpal_status qpal_packed_find(const qpal_packed *packed, const qpal_library *library,
                                      unsigned group, unsigned member, qpal_packed_linear *out);

/* The same of one expert of a stack, whose tensor's name in the library has a '*' for its number:
   an array of it is as long as qpal_linear_info says. */
QPAL_API qpal_status qpal_packed_find_expert(const qpal_packed *packed, const qpal_library *library,
                                             unsigned group, unsigned member, unsigned expert,
                                             qpal_packed_linear *out);

/* A tensor of the packed files that is no quantized linear (embedding, norm, bias): its bytes, its
   type ("F16", "BF16", "F32") and its shape.  A rank has its slice of the bias of a linear whose
   rows are shared; the bias of one whose columns are is rank 0's alone.  QPAL_E_ARG: there is none
   of this name. */
typedef struct qpal_tensor {
  size_t size;
  qpal_bytes bytes;
  const char *type;
  unsigned dims;
  uint64_t dim[8];
} qpal_tensor;
QPAL_API qpal_status qpal_packed_tensor(const qpal_packed *packed, const char *name,
                                        qpal_tensor *out);

/* ---- Devices ---- */

typedef struct qpal_device qpal_device;

enum { QPAL_CURRENT = -1 };

/*
** Open a GPU: by ordinal (its primary context, which is kept until the device is closed), or
** QPAL_CURRENT: the context that is current on the calling thread, which stays the caller's and
** must outlive the device.  Calls leave the caller's current context as they found it.  Any number
** of devices and contexts may be open.
** QPAL_E_MISSING: no driver, no such GPU, or no current context; QPAL_E_DEVICE; QPAL_E_NOMEM.
*/
QPAL_API qpal_status qpal_device_open(int ordinal, qpal_device **out);
/* Close a device, after the kernels that were loaded on it.  NULL is allowed. */
QPAL_API void qpal_device_close(qpal_device *device);

typedef struct qpal_device_info {
  size_t size;
  char name[128];
  unsigned arch, sm_count;
  unsigned
      driver; /* newest CUDA version that the driver knows, 1000 major + 10 minor; 0: no driver */
  int simulated;
} qpal_device_info;
QPAL_API qpal_status qpal_device_describe(const qpal_device *device, qpal_device_info *info);

/*
** Get, free and fill memory, in programs that have no allocator of their own; an engine uses its
** own buffers.  These wait until the copy is done.  Addresses are aligned to 256 bytes.
** QPAL_E_NOMEM, QPAL_E_DEVICE.
*/
QPAL_API qpal_status qpal_alloc(qpal_device *device, uint64_t bytes, qpal_ptr *out);
QPAL_API void qpal_free(qpal_device *device, qpal_ptr address);
QPAL_API qpal_status qpal_upload(qpal_device *device, qpal_ptr to, const void *from,
                                 uint64_t bytes);
QPAL_API qpal_status qpal_download(qpal_device *device, void *to, qpal_ptr from, uint64_t bytes);
QPAL_API qpal_status qpal_zero(qpal_device *device, qpal_ptr to, uint64_t bytes);
/* Wait for 'stream' (a CUstream; NULL: the default stream); an error of a kernel shows here
   at the latest. */
QPAL_API qpal_status qpal_wait(qpal_device *device, void *stream);

/* ---- Kernels on a device ---- */

typedef struct qpal_kernels qpal_kernels;

typedef struct qpal_load_options {
  size_t size;
  int exact;          /* refuse kernels made for another GPU than this architecture and number of
                         multiprocessors; 0: take the nearest that runs */
  qpal_ptr constants; /* qpal_constants_bytes of device memory, aligned to 256 bytes, kept until the
                         kernels are closed; 0: allocated here */
} qpal_load_options;

/* Device memory that a library's codebooks take. */
QPAL_API uint64_t qpal_constants_bytes(const qpal_library *library);

/*
** Load the kernels of the target that fits the device best, and its codebooks.  They are tried in
** this order: the same architecture (nearest number of multiprocessors); an older one of the same
** major version; PTX of an older architecture, compiled by the driver.  This allocates, copies and
** waits; launches do not.  'options' may be NULL.
** QPAL_E_MISMATCH: no target runs on this GPU, or its driver is older than the kernels need (both
** are named); QPAL_E_FORMAT: a kernel's checksum is wrong; QPAL_E_DEVICE, QPAL_E_NOMEM.
*/
QPAL_API qpal_status qpal_kernels_load(const qpal_library *library, qpal_device *device,
                                       const qpal_load_options *options, qpal_kernels **out);
/* When no launch of them is running.  NULL is allowed. */
QPAL_API void qpal_kernels_close(qpal_kernels *kernels);

typedef enum qpal_match {
  QPAL_MATCH_EXACT = 0,      /* made for this architecture and number of multiprocessors */
  QPAL_MATCH_SM_COUNT = 1,   /* another number of multiprocessors: right, divided less evenly */
  QPAL_MATCH_COMPATIBLE = 2, /* made for an older architecture of the same major version */
  QPAL_MATCH_PTX = 3         /* compiled by the driver from an older architecture's PTX */
} qpal_match;

typedef struct qpal_kernels_info {
  size_t size;
  unsigned target, match;   /* qpal_match */
  unsigned kernels;         /* loaded */
  uint64_t workspace_bytes; /* enough for every gemm of every group */
  uint64_t counter_bytes;
} qpal_kernels_info;
QPAL_API qpal_status qpal_kernels_describe(const qpal_kernels *kernels, qpal_kernels_info *info);

/* The packed weights of one part on the device.  The struct is fixed: it does not grow. */
typedef struct qpal_weights_part {
  qpal_ptr codes;                        /* aligned to 16 bytes, as all below */
  qpal_ptr field[QPAL_MAX_FIELDS];       /* all that the part has */
  qpal_ptr codebook[QPAL_MAX_CODEBOOKS]; /* those stored with the weights; others: 0 */
} qpal_weights_part;

/* The packed weights of one linear on the device.  The struct is fixed: it does not grow. */
typedef struct qpal_weights {
  qpal_ptr scale; /* r, fp32 [M]; 0: all 1 */
  qpal_weights_part part[QPAL_MAX_PARTS];
  union {
    /* The parts behind those of 'part', [the linear's parts - QPAL_MAX_PARTS] in host memory, which
       are only read during a call; NULL where there are none. */
    const qpal_weights_part *more;
    uint64_t reserved[4]; /* 0 but for 'more' */
  };
} qpal_weights;

/* One member of a gemm.  The struct is fixed: it does not grow. */
typedef struct qpal_segment {
  const qpal_weights *weights; /* in host memory; only read during the call */
  qpal_ptr bias;               /* [M], type of X; 0: none */
  qpal_ptr residual;           /* [rows][M], type of Y, added; may be y itself unless the kernel
                                  'adds'; 0: none */
  qpal_ptr y;                  /* [rows][M] */
  uint64_t reserved[2];        /* 0 */
} qpal_segment;

/* What a gated linear unit applies to gate.  With a 'limit' above 0 gate is first made no larger
   than it, and up no larger, nor smaller than its negative. */
typedef enum qpal_activation {
  QPAL_SILU = 0,
  QPAL_GELU_TANH = 1, /* gelu by tanh, as "gelu_pytorch_tanh" names it */
  QPAL_GELU = 2,
  QPAL_RELU = 3,
  QPAL_SWIGLU_OAI = 4 /* gate sigmoid(1.702 gate) (up + 1), which gpt-oss takes with the limit 7 */
} qpal_activation;

/* What gemm can do behind its sums, in the same launch. */
typedef enum qpal_epilogue { QPAL_EPILOGUE_NONE = 0, QPAL_EPILOGUE_GLU = 1 } qpal_epilogue;

enum {
  QPAL_PDL = 1, /* launch by programmatic dependent launch, where the kernel has its instructions:
                   it may begin while the launch before it in the stream ends */
  QPAL_Y_IS_ZERO = 2 /* kernels that 'add': Y is zero already, do not clear it */
};

/*
** Y_i = r_i * (X~ W^_i^T) (+ bias_i) (+ residual_i)  for each member i of 'group'.
**   x [rows][K] of 'type': rotated already (qpal_rotate), or with 'signs' not yet, where the
**   library has kernels that rotate       y_i [rows][M_i] of 'out_type'
** fp16 or bf16 in, fp32 sums.  Strides say how many elements lie from one row of a matrix to the
** next, so that x may be a part of wider rows and the members of a fused group may write next to
** each other, into one buffer [rows][q|k|v] or [rows][gate|up].  For many rows qpal_dequant and a
** GEMM of the engine's own are faster: 'prefer_dequant' says so.
**
** CAPACITY.  Kernels are made for some numbers of rows (batches, `qpal export --batch`).  The
** nearest one that is large enough is taken if X, Y and residuals have 'capacity' for its rows:
** rows beyond 'rows' are then read and written, and mean nothing.  With capacity 0 nothing beyond
** 'rows' is touched, and several launches add up to 'rows': 3 rows of a library with batches 1 and
** 8 are three launches, which read the weights three times, and with a capacity of 8 they are one.
** Buffers that live as long as the engine should have room for the largest batch, and 'capacity'
** say so.
**
** GLU.  Of a group of two members of one shape and quantizer, up and gate in this order, a library
** may have kernels that give  Y = activation(Y_1) * Y_0  of fp32 sums, biases added: the input of
** down, half as much to write and read (`qpal export --glu`).  Y is the first member's y; the
** other's is 0, and neither has a residual.  The bits are the same on every run.
*/
typedef struct qpal_gemm_args {
  size_t size;
  unsigned group;
  unsigned rows;      /* N, 1 .. 65536 */
  unsigned capacity;  /* rows that X, Y and residuals have room for; 0: 'rows' */
  unsigned type;      /* The qpal_type of X and biases: QPAL_F16 or QPAL_BF16. */
  unsigned out_type;  /* The type of Y and residuals: the same, or QPAL_F32. */
  unsigned flags;     /* QPAL_PDL, QPAL_Y_IS_ZERO */
  qpal_ptr x;         /* aligned to 16 bytes */
  qpal_ptr signs;     /* bit k % 32 of word k / 32: s[k] is -1; 0: X is rotated already */
  qpal_ptr workspace; /* workspace_bytes, aligned to 16; contents do not matter */
  qpal_ptr counters; /* counter_bytes; zero before the first launch, each launch leaves them zero */
  const qpal_segment *segment; /* [members of the group], in host memory, and only read during the
                                  call. */
  unsigned x_stride;           /* Elements from row to row of x, a multiple of 8; 0: K. */
  unsigned y_stride[QPAL_MAX_MEMBERS];        /* stride of y_i; 0: M_i */
  unsigned residual_stride[QPAL_MAX_MEMBERS]; /* The stride of the residual of member i; 0: M_i. */
  unsigned epilogue;                          /* qpal_epilogue */
  unsigned activation;                        /* qpal_activation, of GLU */
  float limit;                                /* limit of GLU; 0: none */
  unsigned reserved;                          /* 0 */
} qpal_gemm_args;

typedef struct qpal_gemm_info {
  size_t size;
  unsigned kernel;   /* The index in the library of the first launch's kernel. */
  unsigned batch;    /* rows that it takes */
  unsigned launches; /* that add up to 'rows' */
  int adds, pdl;
  int prefer_dequant;       /* decoding first is faster at 'rows', as qpal tune measured it with
                               cuBLAS; where it did not, 'rows' is above the largest kernel's */
  uint64_t workspace_bytes; /* that of the largest launch */
  uint64_t counter_bytes;
  int64_t latency_ps; /* latency of all launches, as measured when they were tuned; -1: not known */
} qpal_gemm_info;

/* What qpal_gemm would do; only group, rows, capacity, types, strides, epilogue and whether signs
   are given count.  Needs no device work.  QPAL_E_ARG; QPAL_E_NO_KERNEL: the group is the engine's,
   or has no kernel of these types (what there is, is named) or of this epilogue, or of these
   strides: a library that was exported before there were strides has them for one row a launch
   alone. */
QPAL_API qpal_status qpal_gemm_query(const qpal_kernels *kernels, const qpal_gemm_args *args,
                                     qpal_gemm_info *info);

/*
** Launch it on 'stream' (a CUstream of the device's context; NULL: the default stream).  It
** allocates nothing, waits for nothing and may be captured in a CUDA graph: addresses are then part
** of the graph.  QPAL_E_ARG: an address is missing or not aligned, a stride is shorter than a row
** or no multiple of 8 (it is named); QPAL_E_NO_KERNEL;
** QPAL_E_DEVICE: the driver refused a launch.  An error of the kernel itself shows at a later call,
** as always with CUDA.
*/
QPAL_API qpal_status qpal_gemm(const qpal_kernels *kernels, const qpal_gemm_args *args,
                               void *stream);

/* What rotates can do before, in the same launch. */
typedef enum qpal_prologue {
  QPAL_PROLOGUE_NONE = 0,
  QPAL_PROLOGUE_NORM = 1,
  QPAL_PROLOGUE_GLU = 2
} qpal_prologue;

/*
** X~ [rows][K] = H (s * X'), or with 'inverse' s * (H^T X).  y may be x.  By 'prologue' X' is
**   NONE  x
**   NORM  (weight_offset + w) * h / rms(h),  rms(h) = sqrt(mean(h^2) + eps),  h = x + residual;
**         with a post_weight x itself is first normalized by it in the same way (a norm behind
**         attention or MLP).  h is written to 'sum', rounded to 'type', and then it is the rounded
**         h that is normalized.  Sums are fp32.
**   GLU   activation(x) * up, in fp32: x is the gate.  Gate and up may lie in one buffer, as rows
**         of [gate | up]: up = x + 2 K bytes, x_stride = up_stride = 2 K.
** Where 'block' has QPAL_ORDER, columns go to places of their own before H, where it has
** QPAL_SCALES, each is multiplied by a number of its own; 'signs' then holds these too
** (runtime/PACKED.md). 'inverse' undoes the order and multiplies by the same numbers: so it makes W
** of what qpal_dequant gives.
** 'inverse' goes with NONE alone.  Of few rows each is shared by several blocks, unless the launch
** overwrites what it reads: y or sum in the place of an input is right, but slower at large K.
*/
enum { QPAL_ORDER = 1 << 28, QPAL_SCALES = 1 << 29 };
typedef struct qpal_rotate_args {
  size_t size;
  unsigned columns; /* K */
  unsigned rows;    /* any number; 0 does nothing */
  unsigned type;    /* QPAL_F16 or QPAL_BF16 */
  unsigned flags;   /* QPAL_PDL */
  int inverse;
  qpal_ptr x, y, signs;         /* aligned to 16 bytes */
  unsigned x_stride, y_stride;  /* Elements from row to row, multiples of 8; 0: K. */
  unsigned prologue;            /* qpal_prologue */
  unsigned activation;          /* qpal_activation, of GLU */
  qpal_ptr up;                  /* GLU: [rows][K], aligned to 16 bytes, as all below */
  unsigned up_stride;           /* stride of up; 0: K */
  float eps, weight_offset;     /* NORM */
  unsigned block;               /* qpal_linear_info.rotation: columns of a diagonal block of H,
                                   which divides K; 0: K, 1: no H; with QPAL_ORDER, QPAL_SCALES */
  qpal_ptr residual;            /* NORM: [rows][K], close rows; 0: none */
  qpal_ptr sum;                 /* NORM: [rows][K], close rows, may be residual; 0: not written */
  qpal_ptr weight, post_weight; /* NORM: [K] of 'type'; weight 0: 1 without offset; post_weight 0:
                                   x is not normalized before it is added */
  float limit;                  /* GLU; 0: none */
  unsigned reserved;            /* 0 */
} qpal_rotate_args;
/* Like qpal_gemm.  QPAL_E_NO_KERNEL: no rotation of this K, block, type, direction and
   prologue. */
QPAL_API qpal_status qpal_rotate(const qpal_kernels *kernels, const qpal_rotate_args *args,
                                 void *stream);

/*
** W [M][K] of 'type' of one member, for a GEMM of the engine's own: r * W^, for rotated x; or with
** 'signs' r * W^ H diag(s), as the checkpoint has it, for x as it is: two launches, the second the
** inverse rotation of w's rows in their place (`qpal export --inverse`), rounded once more.
*/
typedef struct qpal_dequant_args {
  size_t size;
  unsigned group, member;
  unsigned type;  /* QPAL_F16 or QPAL_BF16 */
  unsigned flags; /* 0 */
  const qpal_weights *weights;
  qpal_ptr w;     /* aligned to 16 bytes */
  qpal_ptr signs; /* qpal_packed_linear.signs, aligned to 16 bytes; 0: the rotation stays */
} qpal_dequant_args;
/* Like qpal_gemm.  QPAL_E_NO_KERNEL: of this member and type, or no inverse rotation, which 'signs'
   ask for. */
QPAL_API qpal_status qpal_dequant(const qpal_kernels *kernels, const qpal_dequant_args *args,
                                  void *stream);

/*
** Y[t] = row ids[t] of W = diag(r) W^ H diag(s), in the basis of the checkpoint: the look-up in a
** packed embedding.  Of an id below 0 or from M on the row is 0: padding needs no id of its own.
** Of a tied model it is the matrix that qpal_gemm takes as the lm_head; both read the same buffers.
*/
typedef struct qpal_gather_args {
  size_t size;
  unsigned group, member;
  unsigned type;               /* The type of Y: QPAL_F16 or QPAL_BF16. */
  unsigned flags;              /* QPAL_PDL */
  unsigned rows;               /* number of ids; any; 0 does nothing */
  const qpal_weights *weights; /* in host memory; only read during the call */
  qpal_ptr ids;                /* int32 [rows] */
  qpal_ptr signs;              /* qpal_packed_linear.signs; 0: W was not rotated */
  qpal_ptr y;                  /* [rows][K], aligned to 16 bytes */
} qpal_gather_args;
/* Like qpal_gemm. */
QPAL_API qpal_status qpal_gather(const qpal_kernels *kernels, const qpal_gather_args *args,
                                 void *stream);

/* ---- Between the linears of a decoder: libraries of `qpal export --decoder` ---- */

/*
** Attention of one new token of each sequence, whose position p is read from the device, so that a
** captured graph can be launched for every token:  q and k get their rotary position, k and v go
** to the caches at p, and
**   y_h = sum_t softmax_t(scale q_h . keys[t]) values[t],  t = p - window + 1 .. p,
** of key head h * kv_heads / heads.  Where p is outside of 0 .. context - 1, y is 0 and the caches
** stay.  A block has a sequence and a key head: made for contexts of some thousand tokens.
*/
typedef struct qpal_attend_args {
  size_t size;
  unsigned columns;             /* elements of a head */
  unsigned rows;                /* sequences; 0 does nothing */
  unsigned type;                /* The type of q, k, v, y and the caches: QPAL_F16 or QPAL_BF16. */
  unsigned flags;               /* QPAL_PDL */
  unsigned heads, kv_heads;     /* kv_heads divides heads */
  unsigned context;             /* positions of the caches */
  unsigned window;              /* newest positions that are seen; 0: all */
  unsigned pairs;               /* pairs of a head that are rotary: elements i and i + pairs turn
                                   together */
  float scale;                  /* 1 / sqrt(columns), usually */
  qpal_ptr q, k, v, y;          /* [rows][heads or kv_heads][columns], aligned to 16 bytes */
  unsigned q_stride, kv_stride; /* Elements from row to row, multiples of 8; 0: rows lie close. */
  unsigned y_stride, reserved;  /* reserved: 0 */
  qpal_ptr keys, values;        /* [rows][context][kv_heads][columns], aligned to 16 bytes */
  qpal_ptr positions;           /* int32 [rows] */
  qpal_ptr rotary;              /* fp32 [context][2][pairs], cosines, then sines; 0: there is no
                                   rotary embedding. */
} qpal_attend_args;
/* Like qpal_gemm.  QPAL_E_NO_KERNEL: the library has none of this size of a head and type. */
QPAL_API qpal_status qpal_attend(const qpal_kernels *kernels, const qpal_attend_args *args,
                                 void *stream);

/*
** The next token of each sequence:  at position p + 1 the one of 'tokens' where that is below
** 'known' (a prompt), else the one with the largest logit, the first of equal ones (a NaN is never
** the largest; where all are, token 0).  It is stored in 'tokens' at p + 1 (where that is below
** 'context') and in 'ids', p goes on by 1, and y, the next x, is its row of a 16-bit embedding;
** of a packed one qpal_gather takes 'ids'.
*/
typedef struct qpal_pick_args {
  size_t size;
  unsigned columns;       /* K of the model's x */
  unsigned rows;          /* sequences; 0 does nothing */
  unsigned type;          /* The type of logits, embedding and y: QPAL_F16 or QPAL_BF16. */
  unsigned flags;         /* QPAL_PDL */
  unsigned vocabulary;    /* logits of a row that count */
  unsigned logits_stride; /* Elements from row to row, a multiple of 8, all readable; 0:
                             vocabulary. */
  unsigned context;       /* positions of 'tokens' */
  unsigned y_stride;      /* a multiple of 8; 0: K */
  qpal_ptr logits;        /* [rows][logits_stride], aligned to 16 bytes */
  qpal_ptr tokens;        /* int32 [rows][context] */
  qpal_ptr known;         /* int32 [rows]; 0: nothing is given */
  qpal_ptr positions;     /* int32 [rows] of the tokens that the logits are of */
  qpal_ptr ids;           /* int32 [rows] */
  qpal_ptr embedding;     /* [vocabulary][K], aligned to 16 bytes; 0: y is not written */
  qpal_ptr y;             /* [rows][K], aligned to 16 bytes; with an embedding */
} qpal_pick_args;
/* Like qpal_gemm.  QPAL_E_NO_KERNEL: the library has none of this K and type. */
QPAL_API qpal_status qpal_pick(const qpal_kernels *kernels, const qpal_pick_args *args,
                               void *stream);

/*
** Y [rows][M] = X' W^T (+ bias) (+ residual) of a W [M][K] that stays in 16 bits, row-major as the
** checkpoint has it: a head, or linears that a plan keeps.  X' is by 'prologue', in fp32:
**   NONE  x
**   NORM  (weight_offset + w) * x / rms(x)
**   GLU   activation(x) * up, x the gate
** y may be residual, and neither is x or up.  W is read once for each row: for few rows; an engine
** has a GEMM for more.  The bits of y are the same on every run.
*/
typedef struct qpal_plain_args {
  size_t size;
  unsigned columns;            /* K */
  unsigned outputs;            /* M; any */
  unsigned rows;               /* rows of X; 0 does nothing */
  unsigned type;               /* The type of all but eps, weight_offset and limit: QPAL_F16 or
                                  QPAL_BF16. */
  unsigned flags;              /* QPAL_PDL: W is then read before the launch before is done */
  unsigned prologue;           /* qpal_prologue */
  unsigned activation;         /* qpal_activation, of GLU */
  unsigned x_stride, y_stride; /* Elements from row to row, of x a multiple of 8; y's are those of
                                  residual, too; 0: K, M. */
  unsigned up_stride;          /* GLU: a multiple of 8; 0: K */
  float eps, weight_offset;    /* NORM */
  float limit;                 /* GLU; 0: none */
  unsigned reserved;           /* 0 */
  qpal_ptr x, y;               /* x aligned to 16 bytes, y to 2 */
  qpal_ptr w;                  /* [M][K], aligned to 16 bytes */
  qpal_ptr bias;               /* [M]; 0: none */
  qpal_ptr residual;           /* [rows][M]; 0: none */
  qpal_ptr up;                 /* GLU: [rows][K], aligned to 16 bytes */
  qpal_ptr weight;             /* NORM: [K] w, aligned to 16 bytes; 0: 1 without offset */
} qpal_plain_args;
/* Like qpal_gemm.  QPAL_E_NO_KERNEL: the library has none of this K and type. */
QPAL_API qpal_status qpal_plain(const qpal_kernels *kernels, const qpal_plain_args *args,
                                void *stream);

/* ---- Experts ---- */

/*
** A group of stacks: linears of E experts, of which a router chooses top_k for each token.  Packed
** weights of its members are as those of one linear, each array E times as long, expert behind
** expert (qpal_packed_find_expert); codebooks of a linear's own are not for stacks.  Row scales are
** [E][M], biases [E][M].  Where linears have several 'pieces' (qpal_linear_info), an array of codes
** or fields has them one behind another, each of all experts: [pieces][E][...].
**
** An assignment a = token * top_k + k sends a token to its expert k, ids[a].  qpal_route sorts all
** of them by expert on the device, qpal_experts multiplies each with its expert's linears:
**
**   Y_i[a] = r_i * (X~[row] W^_i^T) (+ bias_i)  of expert ids[a], for each member i
**
** row is a's token, or a itself.  Weights of an expert are read once for up to as many tokens as a
** tile has ('tile'), those of experts that no token goes to not at all.  Both launches are of fixed
** size, so that a CUDA graph may hold them whatever the ids are.
**
** GLU.  Of a group of two members of equal rows, up and gate in this order, which may be of
** different quantizers, a library may have kernels that give  Y[a] = activation(Y_1[a]) * Y_0[a]
** of fp32 sums, biases added (`qpal export --glu`).  Y is the first member's y; the other's is 0.
*/
typedef struct qpal_experts_args {
  size_t size;
  unsigned group;
  unsigned tokens;             /* from 1 to the largest batch that was exported */
  unsigned type;               /* The qpal_type of X and biases: QPAL_F16 or QPAL_BF16. */
  unsigned out_type;           /* The type of Y: the same, or QPAL_F32. */
  unsigned flags;              /* QPAL_PDL */
  unsigned by_token;           /* 1: x is [tokens][K]; 0: x is [tokens * top_k][K] */
  qpal_ptr x;                  /* rotated, aligned to 16 bytes */
  qpal_ptr routing;            /* what qpal_route wrote for as many tokens */
  qpal_ptr workspace;          /* workspace_bytes, aligned to 16; contents do not matter */
  qpal_ptr counters;           /* counter_bytes; zero before the first launch, and after each */
  const qpal_segment *segment; /* [members], without residuals; y_i [tokens * top_k][M_i] */
  unsigned x_stride;           /* Elements from row to row of x, a multiple of 8; 0: K. */
  unsigned y_stride[QPAL_MAX_MEMBERS]; /* stride of y_i; 0: M_i */
  unsigned unused;                     /* not read */
  unsigned epilogue;                   /* qpal_epilogue */
  unsigned activation;                 /* qpal_activation, of GLU */
  float limit;                         /* limit of GLU; 0: none */
  unsigned reserved;                   /* 0 */
} qpal_experts_args;

typedef struct qpal_experts_info {
  size_t size;
  unsigned kernel; /* index in the library */
  unsigned batch;  /* most tokens that it takes */
  unsigned experts, top_k, tile;
  int pdl;
  uint64_t routing_bytes, workspace_bytes, counter_bytes;
  int64_t latency_ps; /* as measured when it was tuned; -1: not known */
} qpal_experts_info;

/* Say what qpal_experts would do; group, tokens, types and epilogue count.  QPAL_E_ARG;
   QPAL_E_NO_KERNEL: the group is none of stacks, or there is no kernel of these types, or of this
   epilogue, for so many tokens. */
QPAL_API qpal_status qpal_experts_query(const qpal_kernels *kernels, const qpal_experts_args *args,
                                        qpal_experts_info *info);

/* Like qpal_gemm.  The bits of Y are the same on every run. */
QPAL_API qpal_status qpal_experts(const qpal_kernels *kernels, const qpal_experts_args *args,
                                  void *stream);

/*
** The routing of a router's choice, for all groups of the model with as many experts and top_k.  An
** id that is no expert (another rank's) gives rows of zeros.  An expert that a token names twice
** gives both assignments the same row, each by itself.
*/
typedef struct qpal_route_args {
  size_t size;
  unsigned group;    /* one of those that will read it */
  unsigned tokens;   /* from 1 to the largest batch that was exported */
  unsigned flags;    /* QPAL_PDL */
  unsigned reserved; /* 0 */
  qpal_ptr ids;      /* int32 [tokens][top_k] */
  qpal_ptr routing;  /* routing_bytes of the group, aligned to 16 */
} qpal_route_args;
/* Like qpal_gemm. */
QPAL_API qpal_status qpal_route(const qpal_kernels *kernels, const qpal_route_args *args,
                                void *stream);

/*
** y[t] = residual[t] + sum over k of weights[t][k] x[t top_k + k]:  what qpal_experts gave of a
** token's experts, by the router's weights.  fp32 sums with k rising, the residual first: the bits
** of y are the same on every run.  No kernel of it hangs on top_k.
*/
typedef struct qpal_combine_args {
  size_t size;
  unsigned columns;  /* K: rows of one expert's last linear */
  unsigned tokens;   /* any number; 0 does nothing */
  unsigned top_k;    /* rows of x that a token has, 1 or more */
  unsigned type;     /* The type of y and residual: QPAL_F16 or QPAL_BF16. */
  unsigned x_type;   /* The type of x: the same, or QPAL_F32. */
  unsigned flags;    /* QPAL_PDL */
  qpal_ptr x;        /* [tokens * top_k][K], aligned to 16 bytes, as y and residual */
  qpal_ptr weights;  /* fp32 [tokens][top_k] */
  qpal_ptr residual; /* [tokens][K], may be y; 0: none */
  qpal_ptr y;        /* [tokens][K] */
  unsigned x_stride, y_stride, residual_stride; /* elements, multiples of 8; 0: K */
  unsigned reserved;                            /* 0 */
} qpal_combine_args;
/* Like qpal_gemm.  QPAL_E_NO_KERNEL: the library has no sums of this K and type; qpal export writes
   those of the experts' last linears. */
QPAL_API qpal_status qpal_combine(const qpal_kernels *kernels, const qpal_combine_args *args,
                                  void *stream);

#ifdef __cplusplus
}
#endif

#endif
