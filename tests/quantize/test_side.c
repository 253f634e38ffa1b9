/* SPDX-License-Identifier: MIT */
/* Orders and scales of columns: by what, and what for. */
#include "tests/quantize/quantize_kit.h"

#include <math.h>

enum { ROWS = 32, COLUMNS = 128, ORDER_AT = 16 /* bytes of signs before it */ };

static const char spec[] = "local function of(name, side)\n"
                           "  side.name, side.bits, side.rotation = name, 3, 'none'\n"
                           "  side.codebook = lloyd_max { entries = 8 }\n"
                           "  return scalar(side)\n"
                           "end\n"
                           "return { of('plain', {}), of('ordered', { order = 'sensitivity' }),\n"
                           "  of('by-weights', { scale = 'weights' }) }\n";

static float weight[ROWS * COLUMNS];

/* How large a column is, or what x does there: neither rises nor falls. */
static float size_of(unsigned column) { return exp2f((float)(column * 37 % COLUMNS) / 20); }
static float moment_of(unsigned column) {
  return (column % 16 == 3 ? 100.0f : 1.0f) + 0.001f * (float)(column * 53 % COLUMNS);
}

static void write_moments(void) {
  pending p;
  float *h = calloc((size_t)COLUMNS * COLUMNS, sizeof *h);
  for (unsigned k = 0; k < COLUMNS; k++) h[k * COLUMNS + k] = moment_of(k);
  pending_begin(&p, path("h/model.layers.0.self_attn.k_proj.safetensors"));
  pending_add(&p, "hessian", QP_TENSOR_F32, COLUMNS, COLUMNS, h);
  pending_write(&p);
}

/* One block whose k_proj has columns of all sizes where 'sized'; what else it has stays. */
static void make_checkpoint(bool sized) {
  static const char *const kept[] = {"self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj",
                                     "mlp.up_proj",      "mlp.gate_proj",    "mlp.down_proj"};
  pending p;
  float *w = weights_of(3, ROWS * COLUMNS);
  for (unsigned i = 0; i < ROWS * COLUMNS; i++) w[i] *= sized ? size_of(i % COLUMNS) : 1;
  memcpy(weight, w, sizeof weight);
  pending_begin(&p, path("in/model.safetensors"));
  pending_add(&p, "model.layers.0.self_attn.k_proj.weight", QP_TENSOR_F32, ROWS, COLUMNS, w);
  for (unsigned i = 0; i < 6; i++) {
    const unsigned rows = i == 1 ? ROWS : COLUMNS;
    char name[128];
    snprintf(name, sizeof name, "model.layers.0.%s.weight", kept[i]);
    pending_add(&p, name, QP_TENSOR_F32, rows, COLUMNS, weights_of(i + 4, (size_t)rows * COLUMNS));
  }
  pending_write(&p);
  write_text(path("in/config.json"),
             "{\"model_type\": \"llama\", \"hidden_size\": 128, \"intermediate_size\": 128,"
             " \"num_attention_heads\": 4, \"num_key_value_heads\": 1, \"head_dim\": 32,"
             " \"num_hidden_layers\": 1, \"vocab_size\": 48, \"tie_word_embeddings\": true}");
  write_text(path("own.lua"), spec);
  write_moments();
}

TestSuite(side, .init = make_folder, .fini = remove_folder);

/* Quantize by one of the file; returns a figure of the linear. */
static double figure(const char *name, const char *moments, const char *what) {
  char options[512];
  size_t n;
  snprintf(options, sizeof options,
           "--quantizer '%s:%s' --keep q_proj --keep v_proj --keep o_proj --keep mlp %s",
           path("own.lua"), name, moments);
  cr_assert_eq(quantize(options, name), 0, "%s", answer);
  char *text = read_file(path("%s/config.json", name), &n);
  text[n] = 0;
  const char *at = strstr(text, what);
  cr_assert(at, "%s", text);
  const double v = strtod(at + strlen(what) + strspn(at + strlen(what), "\": \t"), NULL);
  free(text);
  return v;
}

/* Places ascend as 'by' falls. */
static void expect_order(const char *out, const double *by) {
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("%s", out), &s, &err), QP_OK, "%s", err.text);
  const unsigned char *side = tensor(s, "model.layers.0.qkv.order.input");
  uint16_t place[COLUMNS];
  memcpy(place, side + ORDER_AT, sizeof place);
  for (unsigned a = 0; a < COLUMNS; a++)
    for (unsigned b = 0; b < COLUMNS; b++)
      if (by[a] > by[b] * 1.001) cr_assert_lt(place[a], place[b], "columns %u and %u", a, b);
  qp_safetensors_close(s);
}

Test(side, columns_lie_in_the_order_of_their_moments_else_of_their_squares) {
  char moments[256];
  double by[COLUMNS] = {0};
  make_checkpoint(true);
  for (unsigned i = 0; i < ROWS * COLUMNS; i++)
    by[i % COLUMNS] += (double)weight[i] * (double)weight[i];
  figure("ordered", "", "\"distortion\"");
  expect_order("ordered", by);
  snprintf(moments, sizeof moments, "--hessian '%s'", path("h"));
  for (unsigned k = 0; k < COLUMNS; k++) by[k] = (double)moment_of(k);
  char old[128];
  snprintf(old, sizeof old, "rm -r '%s'", path("ordered"));
  cr_assert_eq(system(old), 0);
  figure("ordered", moments, "\"distortion\"");
  expect_order("ordered", by);
}

Test(side, scales_by_weights_lessen_what_columns_of_all_sizes_lose) {
  make_checkpoint(true);
  const double plain = figure("plain", "", "\"distortion_original\"");
  const double scaled = figure("by-weights", "", "\"distortion_original\"");
  cr_expect_lt(scaled, 0.8 * plain, "%g with scales, %g without", scaled, plain);
}
