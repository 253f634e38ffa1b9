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
#include "gen/base/resource.h"
#include "gen/base/text.h"
#include "gen/spec/definition.h"

enum {
  METHOD = 2,  /* of checks, hashes and the meaning of the IR: changed with any of them */
  QUICK = 256, /* evaluations up to this are done sooner than a file is found */
  KEY_DIGITS = 32,
  HASH_DIGITS = 32
};

/* Four hexadecimal digits of each number; of codebooks there are so many that printf would take
   most of the time. */
static void add_digits(qp_text *t, const uint16_t *v, size_t n) {
  static const char digits[] = "0123456789abcdef";
  char some[4 * 64];
  for (size_t i = 0; i < n;) {
    size_t used = 0;
    for (; i < n && used < sizeof some; i++)
      for (int shift = 12; shift >= 0; shift -= 4) some[used++] = digits[v[i] >> shift & 15];
    qp_text_append(t, some, used);
  }
}

/* All that the check and the hash depend on. */
static void add_key(qp_text *t, const qp_quantizer *q) {
  const qp_ir *ir = q->decode;
  qp_text_add(t, "method %d layout %u kind %d window %u dim %u step %u planes %d %u group %u\n",
              METHOD, q->layout, (int)q->kind, q->window, q->dim, q->step, q->planes,
              q->planes_read, q->group);
  if (q->rotation) qp_text_add(t, "rotation %u\n", q->rotation);
  for (unsigned i = 0; i < q->fields; i++) {
    const qp_field *f = &q->field[i];
    qp_text_add(t, "field %s %d %a %a", f->name, (int)f->type, (double)f->lo, (double)f->hi);
    if (f->size != q->group || f->tensor) qp_text_add(t, " of %u %d", f->size, f->tensor);
    qp_text_add(t, "\n");
  }
  if (q->sparse > 0) qp_text_add(t, "sparse %a\n", q->sparse);
  for (unsigned i = 0; i < q->codebooks; i++) {
    const qp_codebook *c = &q->codebook[i];
    qp_text_add(t, "codebook %u %u %d\n", c->entries, c->dim, (int)c->scope);
    add_digits(t, c->data, (size_t)c->entries * c->dim);
  }
  for (unsigned n = 0; n < ir->count; n++) {
    const qp_ir_node *node = &ir->node[n];
    qp_text_add(t, "\n%s %u %u %u %x %x", qp_ir_op_row(node->op)->name, node->arg[0], node->arg[1],
                node->arg[2], node->imm, node->imm2);
  }
  for (unsigned k = 0; k < ir->outputs; k++) qp_text_add(t, "\noutput %u", ir->output[k]);
}

/* False where nothing is kept of this quantizer. */
static bool key_of(const qp_quantizer *q, char key[KEY_DIGITS + 1]) {
  qp_text t = {0};
  if (qp_quantizer_evaluations(q) <= QUICK) return false;
  add_key(&t, q);
  const bool ok = !t.failed;
  const XXH128_hash_t h = ok ? XXH3_128bits(t.s, t.length) : (XXH128_hash_t){0};
  snprintf(key, KEY_DIGITS + 1, "%016llx%016llx", (unsigned long long)h.high64,
           (unsigned long long)h.low64);
  qp_text_free(&t);
  return ok;
}

static bool path_of(const char *key, char *path, size_t size) {
  char dir[PATH_MAX];
  if (!qp_cache_dir(dir, sizeof dir)) return false;
  const int n = snprintf(path, size, "%s/definition/%s", dir, key);
  return n > 0 && (size_t)n < size;
}

/*
** What a line says that is kept: the definition's hash, a blank, and XXH3-64 of key and hash, so
** that a digit that was changed on a disk is no other definition.
*/
static void print_line(const char *key, const char *hash, char *line, size_t size) {
  char both[KEY_DIGITS + HASH_DIGITS + 1];
  snprintf(both, sizeof both, "%s%s", key, hash);
  snprintf(line, size, "%s %016llx\n", hash,
           (unsigned long long)XXH3_64bits(both, KEY_DIGITS + HASH_DIGITS));
}

enum { LINE_BYTES = HASH_DIGITS + 1 + 16 + 1 };

/* Take the hash out of a kept line; false where it is not whole. */
static bool take_line(const char *key, const char *line, qp_quantizer *q) {
  char hash[HASH_DIGITS + 1], want[LINE_BYTES + 1];
  memcpy(hash, line, HASH_DIGITS);
  hash[HASH_DIGITS] = 0;
  print_line(key, hash, want, sizeof want);
  if (strspn(hash, "0123456789abcdef") != HASH_DIGITS || memcmp(want, line, LINE_BYTES) != 0)
    return false;
  memcpy(q->hash, hash, sizeof hash);
  return true;
}

/* Among those that come with the palette: lines of a key, a blank, and what a file would hold. */
static bool is_shipped(const char *key, qp_quantizer *q) {
  const char *text, *at;
  size_t bytes;
  if (qp_resource_read(QP_SHIPPED_DEFINITIONS, &text, &bytes, NULL)) return false;
  const char *const end = text + bytes;
  const size_t line = KEY_DIGITS + 1 + LINE_BYTES;
  for (at = text; (size_t)(end - at) >= line; at += line)
    if (!memcmp(at, key, KEY_DIGITS)) return take_line(key, at + KEY_DIGITS + 1, q);
  return false;
}

bool qp_definition_is_kept(qp_quantizer *q) {
  char key[KEY_DIGITS + 1], path[PATH_MAX], *line = NULL;
  size_t n = 0;
  if (!key_of(q, key)) return false;
  if (is_shipped(key, q)) return true;
  if (!path_of(key, path, sizeof path)) return false;
  if (qp_file_read(path, LINE_BYTES, &line, &n, NULL)) return false;
  const bool ok = n == LINE_BYTES && take_line(key, line, q);
  free(line);
  return ok;
}

void qp_definition_keep(const qp_quantizer *q) {
  char key[KEY_DIGITS + 1], path[PATH_MAX], line[LINE_BYTES + 1];
  if (!key_of(q, key)) return;
  if (!path_of(key, path, sizeof path)) *path = 0;
  print_line(key, q->hash, line, sizeof line);
  qp_cache_keep(path, line, LINE_BYTES);
}
