/* SPDX-License-Identifier: MIT */
/* What the tests of the simulator share: running small pieces of PTX. */
#ifndef SIM_KIT_H
#define SIM_KIT_H

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"
#include "runtime/sim/sim.h"

typedef struct kit {
  qp_device *dev;
  qp_module *module;
  qp_error err;
  qp_devptr in, out;
  size_t in_bytes, out_bytes;
  uint8_t *result; /* out_bytes, after kit_run */
} kit;

static inline void kit_open(kit *k, const char *device) {
  *k = (kit){0};
  cr_assert_eq(qp_device_open(device, &k->dev, &k->err), QP_OK, "%s", k->err.text);
}

static inline void kit_close(kit *k) {
  if (k->module) qp_device_unload(k->dev, k->module);
  qp_device_close(k->dev);
  free(k->result);
}

/* The architecture that the kit's PTX is for; a test may set another. */
static unsigned kit_target = 90;
#define KIT_HEAD_OF(target) ".version 9.0\n.target " target "\n.address_size 64\n"
#define KIT_HEAD            KIT_HEAD_OF("sm_80")
#define KIT_REGS                                                                                   \
  ".reg .pred %p<10>; .reg .b16 %h<20>; .reg .b32 %r<40>; .reg .f32 %f<20>;"                       \
  " .reg .b64 %d<20>; .reg .f64 %g<10>;\n"

/* Kernel 'k' with parameters %d0 (input) and %d1 (output); %r0 is the thread, %d2 its place in the
** output of 4 bytes a thread. */
static inline char *kit_kernel(const char *top, const char *body) {
  static const char form[] = KIT_HEAD_OF(
      "sm_%u") "%s\n.visible .entry k(.param .u64 a, .param .u64 b)\n{\n%s"
               "ld.param.u64 %%d0, [a]; ld.param.u64 %%d1, [b]; mov.u32 %%r0, %%tid.x;\n"
               "mul.wide.u32 %%d2, %%r0, 4; add.s64 %%d2, %%d1, %%d2;\n%s\nret;\n}\n";
  const size_t n = sizeof form + sizeof KIT_REGS + strlen(top) + strlen(body);
  char *text = malloc(n);
  cr_assert(text);
  snprintf(text, n, form, kit_target, top, KIT_REGS, body);
  return text;
}

static inline qp_status kit_load(kit *k, const char *ptx) {
  if (k->module) qp_device_unload(k->dev, k->module);
  k->module = NULL;
  return qp_device_load(k->dev, ptx, strlen(ptx), &k->module, &k->err);
}

static inline qp_status kit_launch(kit *k, unsigned grid, unsigned block, unsigned smem) {
  qp_function *f;
  cr_assert_eq(qp_device_function(k->dev, k->module, "k", &f, &k->err), QP_OK, "%s", k->err.text);
  const qp_devptr params[2] = {k->in, k->out};
  const qp_launch how = {.grid = grid,
                         .block = block,
                         .smem_bytes = smem,
                         .params = params,
                         .params_bytes = sizeof params};
  return qp_device_launch(k->dev, f, &how, &k->err);
}

/* Input and output buffers; the output begins as 0xee bytes. */
static inline void kit_buffers(kit *k, const void *in, size_t in_bytes, size_t out_bytes) {
  k->in_bytes = in_bytes;
  k->out_bytes = out_bytes;
  cr_assert_eq(qp_device_alloc(k->dev, in_bytes ? in_bytes : 16, &k->in, &k->err), QP_OK);
  cr_assert_eq(qp_device_alloc(k->dev, out_bytes, &k->out, &k->err), QP_OK);
  if (in_bytes) cr_assert_eq(qp_device_upload(k->dev, k->in, in, in_bytes, &k->err), QP_OK);
  cr_assert_eq(qp_device_fill(k->dev, k->out, 0xee, out_bytes, &k->err), QP_OK);
  k->result = malloc(out_bytes);
}

static inline void kit_fetch(kit *k) {
  cr_assert_eq(qp_device_download(k->dev, k->result, k->out, k->out_bytes, &k->err), QP_OK);
}

/* Load and run a body on buffers that are there; the result is fetched. */
static inline qp_status kit_run(kit *k, const char *top, const char *body, unsigned grid,
                                unsigned block, unsigned smem) {
  char *text = kit_kernel(top, body);
  qp_status status = kit_load(k, text);
  free(text);
  if (status != QP_OK) return status;
  status = kit_launch(k, grid, block, smem);
  if (status == QP_OK) kit_fetch(k);
  return status;
}

/* Run one block of 'block' threads; out[thread] words. */
static inline void kit_words(const char *top, const char *body, const void *in, size_t in_bytes,
                             unsigned block, uint32_t *out) {
  kit k;
  kit_open(&k, "sim");
  kit_buffers(&k, in, in_bytes, 4 * block);
  cr_assert_eq(kit_run(&k, top, body, 1, block, 0), QP_OK, "%s", k.err.text);
  memcpy(out, k.result, 4 * block);
  kit_close(&k);
}

/* Run a body that must fail with this status; the message must hold each of the texts (NULL
** ends). */
static inline void kit_fault(const char *top, const char *body, unsigned block, qp_status want,
                             ...) {
  kit k;
  kit_open(&k, "sim:sm_90");
  uint32_t in[64] = {0};
  kit_buffers(&k, in, sizeof in, 4096);
  qp_sim_switches s;
  cr_assert_eq(qp_sim_switches_get(k.dev, &s, &k.err), QP_OK);
  s.thread_limit = 100000;
  cr_assert_eq(qp_sim_switches_set(k.dev, &s, &k.err), QP_OK);
  const qp_status got = kit_run(&k, top, body, 1, block, 0);
  cr_assert_eq(got, want, "status %s: %s", qp_status_name(got), k.err.text);
  va_list ap;
  va_start(ap, want);
  for (const char *s2; (s2 = va_arg(ap, const char *));)
    cr_assert(strstr(k.err.text, s2), "'%s' is not in: %s", s2, k.err.text);
  va_end(ap);
  kit_close(&k);
}

/*
** Rows of instructions: 'text' names its destination D and its sources A, B, C, E; 'types' gives
** their registers in that order (h 16 bits, w 32, d 64, f fp32, g fp64, p predicate).  All rows run
** in one kernel, by a full warp and by a lone lane, which take different ways through the
** simulator.
*/
typedef struct kit_row {
  const char *text, *types;
  uint64_t in[4];
  uint64_t want;
} kit_row;

static inline void kit_put(char **at, char *end, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  const int n = vsnprintf(*at, (size_t)(end - *at), format, ap);
  va_end(ap);
  cr_assert(n >= 0 && n < end - *at, "the test's text is too long");
  *at += n;
}

static inline void kit_row_text(char **at, char *end, const kit_row *row, unsigned i) {
  static const char *const load[256] = {
      ['h'] = "u16", ['w'] = "u32", ['d'] = "u64", ['f'] = "f32", ['g'] = "f64", ['p'] = "u32"};
  static const char *const name[256] = {
      ['h'] = "h", ['w'] = "r", ['d'] = "d", ['f'] = "f", ['g'] = "g", ['p'] = "p"};
  const unsigned char *t = (const unsigned char *)row->types;
  for (unsigned s = 1; t[s]; s++) {
    const unsigned offset = 32 * i + 8 * (s - 1);
    if (t[s] == 'p')
      kit_put(at, end, "ld.global.u32 %%r39, [%%d0+%u]; setp.ne.u32 %%p%u, %%r39, 0;\n", offset, s);
    else
      kit_put(at, end, "ld.global.%s %%%s%u, [%%d0+%u];\n", load[t[s]], name[t[s]], s + 2, offset);
  }
  for (const char *c = row->text; *c; c++) {
    const char *places = "DABCE", *which = strchr(places, *c);
    const bool word =
        c > row->text && ((c[-1] >= 'a' && c[-1] <= 'z') || c[-1] == '.' || c[-1] == '_');
    if (!which || word) {
      kit_put(at, end, "%c", *c);
      continue;
    }
    const unsigned s = (unsigned)(which - places);
    if (t[s] == 'p')
      kit_put(at, end, "%%p%u", s);
    else
      kit_put(at, end, "%%%s%u", name[t[s]], s == 0 ? 8u : s + 2);
  }
  kit_put(at, end, "\n");
  if (t[0] == 'p') kit_put(at, end, "selp.u32 %%r8, 1, 0, %%p0;\n");
  const unsigned char d = t[0] == 'p' ? 'w' : t[0];
  kit_put(at, end, "st.global.%s [%%d10+%u], %%%s8;\n", load[d], 8 * i, name[d]);
}

static inline void kit_rows(const char *device, const kit_row *rows, unsigned count) {
  kit k;
  kit_open(&k, device);
  uint64_t *in = calloc(count, 32);
  const size_t room = 600 * (size_t)count + 400;
  char *body = malloc(room), *at = body, *end = body + room;
  kit_put(&at, end, "mul.wide.u32 %%d10, %%r0, %u; add.s64 %%d10, %%d10, %%d1;\n", 8 * count);
  for (unsigned i = 0; i < count; i++) {
    memcpy(in + 4 * i, rows[i].in, 32);
    kit_row_text(&at, end, rows + i, i);
  }
  kit_buffers(&k, in, 32 * count, 33 * 8 * count);
  cr_assert_eq(qp_device_fill(k.dev, k.out, 0, k.out_bytes, &k.err), QP_OK);
  cr_assert_eq(kit_run(&k, "", body, 1, 33, 0), QP_OK, "%s", k.err.text);
  for (unsigned i = 0; i < count; i++)
    for (unsigned thread = 0; thread < 33; thread += 16) {
      uint64_t got;
      memcpy(&got, k.result + 8 * (thread * count + i), 8);
      cr_expect_eq(got, rows[i].want, "row %u, thread %u: %s (%llx, %llx, %llx): %llx, not %llx", i,
                   thread, rows[i].text, (unsigned long long)rows[i].in[0],
                   (unsigned long long)rows[i].in[1], (unsigned long long)rows[i].in[2],
                   (unsigned long long)got, (unsigned long long)rows[i].want);
    }
  kit_close(&k);
  free(in);
  free(body);
}

#define KIT_ROWS(device, rows) kit_rows(device, rows, (unsigned)(sizeof(rows) / sizeof *(rows)))

#endif
