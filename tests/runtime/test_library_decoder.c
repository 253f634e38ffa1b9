/* SPDX-License-Identifier: MIT */
/* qpal_attend, qpal_pick and qpal_plain: what they refuse, what a small launch of each gives. */
#include "tests/runtime/open_library.h"

enum { HEAD = 32, COLUMNS = 64, CONTEXT = 4, VOCABULARY = 16 };

/* A library of a group in 16 bits: the only kernels are those that it is asked for. */
static void set_up(void) {
  qp_export_group g = {.name = "layers.0.qkv",
                       .path = "any",
                       .columns = COLUMNS,
                       .members = 1,
                       .input = QP_PRODUCER_NORM};
  snprintf(g.member[0].tensor, sizeof g.member[0].tensor, "model.layers.0.q");
  g.member[0].rows = 32;
  open_session();
  qp_export_request r = kit_request(&g);
  r.groups = 1;
  r.norm = r.glu = r.rotate = false;
  r.decoder = HEAD;
  open_library(&r);
  load();
}

TestSuite(library_decoder, .init = set_up, .fini = close_all);

static qpal_ptr put(const void *data, uint64_t bytes) {
  qpal_ptr p = 0;
  cr_assert_eq(qpal_alloc(device, bytes, &p), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(data ? qpal_upload(device, p, data, bytes) : qpal_zero(device, p, bytes), QPAL_OK);
  return p;
}

static qpal_attend_args good_attend(void) {
  return (qpal_attend_args){.size = sizeof(qpal_attend_args),
                            .columns = HEAD,
                            .rows = 1,
                            .heads = 2,
                            .kv_heads = 1,
                            .context = CONTEXT,
                            .scale = 1,
                            .q = put(NULL, 2 * 2 * HEAD),
                            .k = put(NULL, 2 * HEAD),
                            .v = put(NULL, 2 * HEAD),
                            .y = put(NULL, 2 * 2 * HEAD),
                            .keys = put(NULL, 2 * CONTEXT * HEAD),
                            .values = put(NULL, 2 * CONTEXT * HEAD),
                            .positions = put(NULL, 4)};
}

static void expect_refused(qpal_status got, qpal_status want, const char *word) {
  cr_expect_eq(got, want, "%s", word);
  cr_expect(strstr(qpal_message(), word), "'%s' does not say '%s'", qpal_message(), word);
}

/* The launch with one field changed. */
#define ATTEND_REFUSES(field, value, status, word)                                                 \
  do {                                                                                             \
    qpal_attend_args changed = good;                                                               \
    changed.field = value;                                                                         \
    expect_refused(qpal_attend(kernels, &changed, NULL), status, word);                            \
  } while (0)
#define PICK_REFUSES(field, value, status, word)                                                   \
  do {                                                                                             \
    qpal_pick_args changed = good;                                                                 \
    changed.field = value;                                                                         \
    expect_refused(qpal_pick(kernels, &changed, NULL), status, word);                              \
  } while (0)

Test(library_decoder, attend_averages_values_by_equal_scores_and_refuses_what_it_cannot_do) {
  const qpal_attend_args good = good_attend();
  uint16_t v[HEAD], y[2 * HEAD], cached[HEAD];
  const int32_t position = 1;
  for (unsigned i = 0; i < HEAD; i++) v[i] = qp_float_to_half((float)i);
  cr_assert_eq(qpal_upload(device, good.v, v, sizeof v), QPAL_OK);
  cr_assert_eq(qpal_upload(device, good.positions, &position, 4), QPAL_OK);
  cr_assert_eq(qpal_attend(kernels, &good, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, y, good.y, sizeof y), QPAL_OK);
  cr_assert_eq(qpal_download(device, cached, good.values + 2 * HEAD, sizeof cached), QPAL_OK);
  for (unsigned i = 0; i < 2 * HEAD; i++)
    cr_expect_float_eq(qp_half_to_float(y[i]), (float)(i % HEAD) / 2, 1e-3, "%u", i);
  cr_expect_arr_eq(cached, v, sizeof v);
  ATTEND_REFUSES(columns, 64, QPAL_E_NO_KERNEL, "no attention of K = 64 in f16; qpal export");
  ATTEND_REFUSES(type, QPAL_BF16, QPAL_E_NO_KERNEL, "in bf16");
  ATTEND_REFUSES(kv_heads, 3, QPAL_E_ARG, "kv_heads is 3 and heads 2");
  ATTEND_REFUSES(kv_heads, 0, QPAL_E_ARG, "kv_heads is 0");
  ATTEND_REFUSES(context, 0, QPAL_E_ARG, "context is 0");
  ATTEND_REFUSES(scale, NAN, QPAL_E_ARG, "scale is nan");
  ATTEND_REFUSES(q, good.q + 2, QPAL_E_ARG, "q");
  ATTEND_REFUSES(positions, 0, QPAL_E_ARG, "positions");
  ATTEND_REFUSES(kv_stride, 33, QPAL_E_ARG, "kv_stride");
  ATTEND_REFUSES(flags, 8, QPAL_E_ARG, "flags is 0x8");
  ATTEND_REFUSES(reserved, 1, QPAL_E_ARG, "reserved is 1");
  qpal_attend_args turned = good;
  turned.rotary = good.positions;
  expect_refused(qpal_attend(kernels, &turned, NULL), QPAL_E_ARG, "pairs is 0");
  turned.pairs = HEAD / 2 + 1;
  expect_refused(qpal_attend(kernels, &turned, NULL), QPAL_E_ARG, "1 to 16");
  ATTEND_REFUSES(size, sizeof good - 8, QPAL_E_ARG, "qpal_attend_args");
}

Test(library_decoder, pick_takes_the_largest_logit_and_refuses_what_it_cannot_do) {
  uint16_t logits[VOCABULARY] = {0};
  int32_t tokens[CONTEXT] = {3, 9, 9, 9}, id, position;
  logits[11] = logits[13] = qp_float_to_half(2);
  const qpal_pick_args good = {.size = sizeof good,
                               .columns = COLUMNS,
                               .rows = 1,
                               .vocabulary = VOCABULARY,
                               .context = CONTEXT,
                               .logits = put(logits, sizeof logits),
                               .tokens = put(tokens, sizeof tokens),
                               .positions = put(NULL, 4),
                               .ids = put(NULL, 4)};
  cr_assert_eq(qpal_pick(kernels, &good, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, tokens, good.tokens, sizeof tokens), QPAL_OK);
  cr_assert_eq(qpal_download(device, &id, good.ids, 4), QPAL_OK);
  cr_assert_eq(qpal_download(device, &position, good.positions, 4), QPAL_OK);
  cr_expect(id == 11 && tokens[0] == 3 && tokens[1] == 11 && tokens[2] == 9 && position == 1,
            "%d, %d %d %d, %d", id, tokens[0], tokens[1], tokens[2], position);
  PICK_REFUSES(columns, 32, QPAL_E_NO_KERNEL, "no choice of tokens of K = 32");
  PICK_REFUSES(vocabulary, 0, QPAL_E_ARG, "vocabulary is 0");
  PICK_REFUSES(vocabulary, 13, QPAL_E_ARG, "logits_stride is 13; it must be a multiple of 8");
  PICK_REFUSES(logits_stride, 8, QPAL_E_ARG, "logits_stride");
  PICK_REFUSES(context, 0, QPAL_E_ARG, "context is 0");
  PICK_REFUSES(tokens, 0, QPAL_E_ARG, "tokens");
  PICK_REFUSES(ids, 2, QPAL_E_ARG, "ids");
  PICK_REFUSES(embedding, good.logits, QPAL_E_ARG, "y");
  PICK_REFUSES(type, QPAL_F32, QPAL_E_ARG, "type");
}

#define PLAIN_REFUSES(field, value, status, word)                                                  \
  do {                                                                                             \
    qpal_plain_args changed = good;                                                                \
    changed.field = value;                                                                         \
    expect_refused(qpal_plain(kernels, &changed, NULL), status, word);                             \
  } while (0)

Test(library_decoder, plain_multiplies_by_a_matrix_in_16_bits_and_refuses_what_it_cannot_do) {
  enum { OUTPUTS = 3 };
  uint16_t x[COLUMNS], w[OUTPUTS * COLUMNS], bias[OUTPUTS], y[OUTPUTS];
  for (unsigned k = 0; k < COLUMNS; k++) x[k] = qp_float_to_half(k % 2 ? 2 : -2);
  for (unsigned i = 0; i < OUTPUTS * COLUMNS; i++) {
    const unsigned row = i / COLUMNS;
    w[i] = qp_float_to_half(i % 2 ? 0 : (float)row);
  }
  for (unsigned m = 0; m < OUTPUTS; m++) bias[m] = qp_float_to_half(100);
  const qpal_plain_args good = {.size = sizeof good,
                                .columns = COLUMNS,
                                .outputs = OUTPUTS,
                                .rows = 1,
                                .x = put(x, sizeof x),
                                .y = put(NULL, sizeof y),
                                .w = put(w, sizeof w),
                                .bias = put(bias, sizeof bias)};
  cr_assert_eq(qpal_plain(kernels, &good, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, y, good.y, sizeof y), QPAL_OK);
  for (unsigned m = 0; m < OUTPUTS; m++) /* half of the columns, -2 each */
    cr_expect_float_eq(qp_half_to_float(y[m]), 100 - (float)(m * COLUMNS), 0.1, "%u", m);
  qpal_plain_args normed = good; /* x / rms(x) is x / 2; y is its own residual */
  normed.prologue = QPAL_PROLOGUE_NORM;
  normed.residual = normed.y;
  cr_assert_eq(qpal_plain(kernels, &normed, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, y, good.y, sizeof y), QPAL_OK);
  cr_expect_float_eq(qp_half_to_float(y[1]), 200 - 1.5f * COLUMNS, 0.1);
  PLAIN_REFUSES(columns, 32, QPAL_E_NO_KERNEL, "no linear in 16 bits of K = 32 in f16; qpal");
  PLAIN_REFUSES(type, QPAL_BF16, QPAL_E_NO_KERNEL, "in bf16");
  PLAIN_REFUSES(outputs, 0, QPAL_E_ARG, "outputs is 0");
  PLAIN_REFUSES(prologue, 3, QPAL_E_ARG, "prologue is 3");
  PLAIN_REFUSES(prologue, QPAL_PROLOGUE_GLU, QPAL_E_ARG, "up");
  PLAIN_REFUSES(up, good.x, QPAL_E_ARG, "up is given");
  PLAIN_REFUSES(weight, good.x, QPAL_E_ARG, "weight is given");
  PLAIN_REFUSES(w, good.w + 2, QPAL_E_ARG, "w");
  PLAIN_REFUSES(y, good.x, QPAL_E_ARG, "y is x");
  PLAIN_REFUSES(x_stride, 65, QPAL_E_ARG, "x_stride");
  PLAIN_REFUSES(y_stride, 2, QPAL_E_ARG, "y_stride");
  PLAIN_REFUSES(flags, 8, QPAL_E_ARG, "flags is 0x8");
  PLAIN_REFUSES(reserved, 1, QPAL_E_ARG, "reserved is 1");
  PLAIN_REFUSES(size, sizeof good - 8, QPAL_E_ARG, "qpal_plain_args");
}
