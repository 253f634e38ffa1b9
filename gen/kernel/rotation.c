/* SPDX-License-Identifier: MIT */
/* The Hadamard rotation's constants as CUDA text. */
#include "gen/kernel/rotation.h"

#include <math.h>
#include <stdlib.h>

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

qp_status qp_rotation_constants(const qp_hadamard *h, unsigned threads, bool transposed,
                                char **text) {
  qp_text t = {0};
  qp_text_add(&t, "constexpr unsigned ROT_THREADS = %u, ROT_K = %u, ROT_LOG2_TAIL = %u;\n", threads,
              h->order, h->log2_tail);
  qp_text_add(&t, "constexpr float ROT_SCALE = %.9ef;\n",
              1 / sqrt((double)h->order / (double)h->blocks));
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

qp_status qp_rotation_text(qp_text *t, unsigned columns, unsigned threads, bool transposed,
                           qp_error *err) {
  qp_hadamard h;
  char *text = NULL;
  qp_hadamard_factor(columns, &h);
  if (qp_rotation_constants(&h, threads, transposed, &text))
    return qp_fail(err, QP_E_NOMEM, "no memory for the rotation's constants");
  qp_text_add(t, "%s", text);
  free(text);
  return QP_OK;
}
