/* SPDX-License-Identifier: MIT */
/* Prints the Hadamard rotation's constants as CUDA text. */
#include "gen/kernel/rotation.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/input_side.h"

enum { TILE_ROWS = 44 };

unsigned qp_rotation_smem_bytes(unsigned columns) { return (columns + columns / 32 + 1) * 4; }

static void add_signs(qp_text *t, unsigned factor, unsigned n, unsigned tiles, unsigned rows,
                      bool transposed) {
  const int8_t *b = qp_hadamard_base(n);
  qp_text_add(t, "__constant__ const unsigned ROT_SIGNS%u[] = {", factor);
  for (unsigned tile = 0; tile < tiles; tile++)
    for (unsigned j = 0; j < n; j++) {
      uint64_t bits = 0;
      for (unsigned r = 0; r < rows && tile * rows + r < n; r++) {
        unsigned i = tile * rows + r;
        if (b[transposed ? j * n + i : i * n + j] < 0) bits |= (uint64_t)1 << r;
      }
      qp_text_add(t, "%s0x%x, 0x%x,", j % 6 ? " " : "\n  ", (unsigned)bits, (unsigned)(bits >> 32));
    }
  qp_text_add(t, "\n};\n");
}

/* Stride of a factor: the elements that stand to its right in the Kronecker product. */
static unsigned stride_of(const qp_hadamard *h, unsigned factor) {
  unsigned stride = 1u << h->log2_tail;
  for (unsigned f = h->bases; f-- > factor + 1;) stride *= h->base[f];
  return stride;
}

static qp_status constants(const qp_hadamard *h, unsigned side, unsigned threads, bool transposed,
                           unsigned pad, char **text) {
  qp_text t = {0};
  qp_text_add(&t, "constexpr unsigned ROT_THREADS = %u, ROT_K = %u, ROT_LOG2_TAIL = %u;\n", threads,
              h->order, h->log2_tail);
  qp_text_add(&t, "constexpr unsigned ROT_ROW = %u, ROT_ROW_PAD = %u;\n", h->order / h->blocks,
              pad);
  qp_text_add(&t, "constexpr float ROT_SCALE = %.9ef;\n",
              1 / sqrt((double)h->order / (double)h->blocks));
  qp_text_add(&t, "constexpr unsigned ROT_ORDER_AT = %u, ROT_SCALES_AT = %u;\n",
              qp_side_has_order(side) ? (unsigned)qp_side_order_at(h->order) : 0,
              qp_side_has_scale(side) ? (unsigned)qp_side_scale_at(h->order, side) : 0);
  qp_text_add(&t, "// H = ");
  if (h->blocks > 1) qp_text_add(&t, "I_%u (x) ", h->blocks);
  for (unsigned f = 0; f < h->bases; f++) qp_text_add(&t, "B_%u (x) ", h->base[f]);
  qp_text_add(&t, "Sylvester_%u%s\n", 1u << h->log2_tail, transposed ? ", transposed" : "");
  for (unsigned f = 0; f < h->bases; f++) {
    unsigned n = h->base[f], tiles = (n + TILE_ROWS - 1) / TILE_ROWS;
    add_signs(&t, f, n, tiles, (n + tiles - 1) / tiles, transposed);
  }
  qp_text_add(&t, "#define ROT_EACH_BASE(apply) \\\n");
  for (unsigned f = 0; f < h->bases; f++) {
    unsigned n = h->base[f], tiles = (n + TILE_ROWS - 1) / TILE_ROWS;
    qp_text_add(&t, "  apply<%u, %u, %u, %u>(scratch, ROT_SIGNS%u); \\\n", n, tiles,
                (n + tiles - 1) / tiles, stride_of(h, f), f);
  }
  qp_text_add(&t, "\n");
  char *s = qp_text_take(&t);
  if (!s) return QP_E_NOMEM;
  *text = s;
  return QP_OK;
}

qp_status qp_rotation_constants(const qp_hadamard *h, unsigned side, unsigned threads,
                                bool transposed, char **text) {
  return constants(h, side, threads, transposed, 0, text);
}

qp_status qp_rotation_text(qp_text *t, unsigned columns, unsigned rotation, unsigned threads,
                           bool transposed, qp_error *err) {
  qp_hadamard h;
  char *text = NULL;
  qp_hadamard_factor_blocks(columns, qp_side_block(rotation), &h);
  if (qp_rotation_constants(&h, rotation, threads, transposed, &text))
    return qp_fail(err, QP_E_NOMEM, "no memory for the rotation's constants");
  qp_text_add(t, "%s", text);
  free(text);
  return QP_OK;
}

/* ---- The topmost factor on tensor cores ---- */

enum { TILE = 8 /* rows of a factor that one product makes */, SYLVESTER_LOG2 = 5 };

/* Free words behind each row of sums, so that the lanes of a product store to 32 banks: two rows
   apart they are 8 banks apart. */
static unsigned pad_of(unsigned rest) {
  return (unsigned)(4 - (int)((rest + rest / 32) % 16)) % 16;
}

bool qp_rotation_top_of(unsigned columns, unsigned threads, qp_rotation_top *out) {
  qp_hadamard h;
  qp_hadamard_factor(columns, &h);
  if (h.blocks != 1) return false;
  qp_rotation_top top = {.columns = columns, .below = h};
  if (h.bases) {
    top.order = h.base[0];
    for (unsigned f = 1; f < h.bases; f++) top.below.base[f - 1] = h.base[f];
    top.below.bases--;
  } else {
    if (h.log2_tail < SYLVESTER_LOG2) return false;
    top.order = 1u << SYLVESTER_LOG2;
    top.below.log2_tail -= SYLVESTER_LOG2;
  }
  top.rest = columns / top.order;
  if (top.rest % 16 || top.below.log2_tail < 3) return false;
  const unsigned tiles = (top.order + TILE - 1) / TILE, warps = threads / 32;
  top.rows = (top.order + tiles - 1) / tiles;
  top.group = 1;
  while (top.group < tiles && 2 * top.group <= warps && warps % (2 * top.group) == 0 &&
         2 * top.group * TILE * top.rest <= TILE * threads)
    top.group *= 2;
  top.steps = (tiles + top.group - 1) / top.group;
  top.below.blocks = top.group * top.rows;
  top.below.order = top.below.blocks * top.rest;
  *out = top;
  return true;
}

unsigned qp_rotation_top_smem_bytes(const qp_rotation_top *t, unsigned planes) {
  const unsigned depth = (t->order + 15) / 16 * 16, all = t->below.order;
  return planes * depth * (t->rest * 2 + 16) +
         4 * (all + all / 32 + t->below.blocks * pad_of(t->rest) + 1);
}

/* Row i of the factor as bits, set where an entry is -1. */
static uint32_t sign_word(const qp_rotation_top *t, unsigned i, unsigned word, bool transposed) {
  const int8_t *b = t->order & (t->order - 1) ? qp_hadamard_base(t->order) : NULL;
  uint32_t bits = 0;
  for (unsigned j = 32 * word; j < 32 * word + 32 && j < t->order; j++) {
    const bool minus = b ? b[transposed ? j * t->order + i : i * t->order + j] < 0
                         : __builtin_popcount(i & j) % 2 != 0;
    bits |= (uint32_t)minus << (j % 32);
  }
  return bits;
}

qp_status qp_rotation_top_text(qp_text *t, const qp_rotation_top *top, unsigned threads,
                               bool transposed, qp_error *err) {
  const unsigned words = (top->order + 31) / 32;
  char *text = NULL;
  if (constants(&top->below, 0, threads, transposed, pad_of(top->rest), &text))
    return qp_fail(err, QP_E_NOMEM, "no memory for the rotation's constants");
  qp_text_add(t, "// The topmost factor, and below it:\n%s", text);
  free(text);
  qp_text_add(t, "constexpr unsigned TOP_N = %u, TOP_REST = %u, TOP_WORDS = %u;\n", top->order,
              top->rest, words);
  qp_text_add(t, "constexpr unsigned TOP_ROWS = %u, TOP_GROUP = %u, TOP_STEPS = %u;\n", top->rows,
              top->group, top->steps);
  qp_text_add(t, "constexpr float TOP_SCALE = %.9ef;\n", 1 / sqrt((double)top->columns));
  qp_text_add(t, "__device__ const unsigned TOP_SIGNS[] = {");
  for (unsigned i = 0; i < top->order * words; i++)
    qp_text_add(t, "%s0x%x,", i % 8 ? " " : "\n  ",
                sign_word(top, i / words, i % words, transposed));
  qp_text_add(t, "\n};\n");
  return QP_OK;
}
