/* SPDX-License-Identifier: MIT */
/* Hashes of definitions that were checked before, in the cache directory. */
#include "gen/spec/definition_kept.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/cache_dir.h"
#include "gen/base/file.h"
#include "gen/base/text.h"
#include "gen/spec/definition.h"

enum {
  METHOD = 1,      /* of checks, hashes and the meaning of the IR: changed with any of them */
  QUICK_BITS = 16, /* states up to 2^this are looked at sooner than a file is found */
  HASH_DIGITS = 32
};

/* All that the check and the hash depend on. */
static void add_key(qp_text *t, const qp_quantizer *q) {
  const qp_ir *ir = q->decode;
  qp_text_add(t, "method %d layout %u kind %d window %u dim %u step %u planes %d %u group %u\n",
              METHOD, q->layout, (int)q->kind, q->window, q->dim, q->step, q->planes,
              q->planes_read, q->group);
  for (unsigned i = 0; i < q->fields; i++) {
    const qp_field *f = &q->field[i];
    qp_text_add(t, "field %s %d %a %a\n", f->name, (int)f->type, (double)f->lo, (double)f->hi);
  }
  for (unsigned i = 0; i < q->codebooks; i++) {
    const qp_codebook *c = &q->codebook[i];
    qp_text_add(t, "codebook %u %u %d\n", c->entries, c->dim, (int)c->scope);
    for (size_t k = 0; k < (size_t)c->entries * c->dim; k++) qp_text_add(t, "%04x", c->data[k]);
  }
  for (unsigned n = 0; n < ir->count; n++) {
    const qp_ir_node *node = &ir->node[n];
    qp_text_add(t, "\n%s %u %u %u %x %x", qp_ir_op_row(node->op)->name, node->arg[0],
                node->arg[1], node->arg[2], node->imm, node->imm2);
  }
  for (unsigned k = 0; k < ir->outputs; k++) qp_text_add(t, "\noutput %u", ir->output[k]);
}

/* False where nothing is kept of this quantizer. */
static bool path_of(const qp_quantizer *q, char *path, size_t size) {
  char dir[PATH_MAX];
  qp_text t = {0};
  if (qp_quantizer_state_bits(q) <= QUICK_BITS || !qp_cache_dir(dir, sizeof dir)) return false;
  add_key(&t, q);
  const XXH128_hash_t h = t.failed ? (XXH128_hash_t){0} : XXH3_128bits(t.s, t.length);
  const int n = snprintf(path, size, "%s/definition/%016llx%016llx", dir,
                         (unsigned long long)h.high64, (unsigned long long)h.low64);
  const bool ok = n > 0 && (size_t)n < size && !t.failed;
  qp_text_free(&t);
  return ok;
}

bool qp_definition_is_kept(qp_quantizer *q) {
  char path[4096], line[HASH_DIGITS + 3] = "";
  if (!path_of(q, path, sizeof path)) return false;
  FILE *f = fopen(path, "r");
  if (!f) return false;
  const size_t n = fread(line, 1, HASH_DIGITS + 2, f);
  fclose(f);
  if (n != HASH_DIGITS + 1 || line[HASH_DIGITS] != '\n') return false;
  line[HASH_DIGITS] = 0;
  if (strspn(line, "0123456789abcdef") != HASH_DIGITS) return false;
  memcpy(q->hash, line, HASH_DIGITS + 1);
  return true;
}

void qp_definition_keep(const qp_quantizer *q) {
  char path[4096], line[HASH_DIGITS + 2];
  if (!path_of(q, path, sizeof path)) return;
  const int n = snprintf(line, sizeof line, "%s\n", q->hash);
  (void)qp_file_write(path, line, n > 0 ? (size_t)n : 0, NULL);
}
