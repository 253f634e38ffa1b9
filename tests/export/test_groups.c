/* SPDX-License-Identifier: MIT */
/*
** A tied model once around: its embedding is packed once, exported as one group, looked up by
** qpal_gather and multiplied as the lm_head by qpal_gemm, with a vocabulary that is padded.
*/
#include "tuner/export/groups.h"

#include <math.h>

#include "gen/base/text.h"
#include "gen/model/models.h"
#include "runtime/device.h"
#include "runtime/include/qpal.h"
#include "runtime/include/qpal_sim.h"
#include "tests/quantize/quantize_kit.h"
#include "tuner/base/session.h"

enum { HIDDEN = 96, KV = 48, VOCAB = 41, PADDED = 48 };

static void add_weights(pending *p, const char *name, unsigned rows, unsigned columns) {
  pending_add(p, name, QP_TENSOR_F32, rows, columns, weights_of(rows, (size_t)rows * columns));
}

static void make_tied(void) {
  pending p;
  make_folder();
  pending_begin(&p, path("in/model.safetensors"));
  add_weights(&p, "model.embed_tokens.weight", VOCAB, HIDDEN);
  add_weights(&p, "model.layers.0.self_attn.q_proj.weight", HIDDEN, HIDDEN);
  add_weights(&p, "model.layers.0.self_attn.k_proj.weight", KV, HIDDEN);
  add_weights(&p, "model.layers.0.self_attn.v_proj.weight", KV, HIDDEN);
  add_weights(&p, "model.layers.0.self_attn.o_proj.weight", HIDDEN, HIDDEN);
  add_weights(&p, "model.layers.0.mlp.up_proj.weight", HIDDEN, HIDDEN);
  add_weights(&p, "model.layers.0.mlp.gate_proj.weight", HIDDEN, HIDDEN);
  add_weights(&p, "model.layers.0.mlp.down_proj.weight", HIDDEN, HIDDEN);
  pending_write(&p);
  write_text(path("in/config.json"),
             "{\"model_type\": \"llama\", \"hidden_size\": 96, \"intermediate_size\": 96,"
             " \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 48,"
             " \"num_hidden_layers\": 1, \"vocab_size\": 41, \"tie_word_embeddings\": true}");
}

TestSuite(groups, .init = make_tied, .fini = remove_folder);

/* The library of the model's last group alone, which is what is asked about. */
static qpal_library *export_last(void **data) {
  qp_session s;
  qp_models *models;
  const qp_model *m;
  qp_export_group *g;
  qp_text notes = {0};
  size_t n, bytes;
  qpal_library *library;
  cr_assert_eq(qp_session_open(&s, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_find(models, path("in/config.json"), &m, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_export_model_groups(m, quantizer_of("nuq-2"), quantizer_of("nuq-8"), "tensor",
                                      false, &g, &n, &err),
               QP_OK, "%s", err.text);
  cr_expect_str_eq(g[n - 1].member[0].tensor, "model.embed_tokens");
  const qp_export_request r = {.model = "",
                               .groups = 1,
                               .group = &g[n - 1],
                               .gpus = 1,
                               .gpu = {{.name = "sm_90", .arch = 90, .sm_count = 2}},
                               .batches = 1,
                               .batch = {1},
                               .types = 1,
                               .type = {QP_F16},
                               .rotate = true,
                               .ptx = QP_PTX_ALL,
                               .chosen = "defaults"};
  cr_assert_eq(qp_export_make(s.families, &r, data, &bytes, &notes, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qpal_library_from_memory(*data, bytes, &library), QPAL_OK, "%s", qpal_message());
  qp_text_free(&notes);
  free(g);
  qp_models_close(models);
  qp_session_close(&s);
  return library;
}

static qpal_ptr put(qpal_device *d, const void *data, size_t bytes) {
  qpal_ptr p = 0;
  cr_assert_eq(qpal_alloc(d, bytes, &p), QPAL_OK, "%s", qpal_message());
  if (data) cr_assert_eq(qpal_upload(d, p, data, bytes), QPAL_OK, "%s", qpal_message());
  return p;
}

static double distance(const uint16_t *got, const double *want, size_t n) {
  double lost = 0, power = 0;
  for (size_t i = 0; i < n; i++) {
    const double d = (double)qp_half_to_float(got[i]) - want[i];
    lost += d * d;
    power += want[i] * want[i];
  }
  return sqrt(lost / power);
}

/* Rows of the embedding, of the padding and of no row at all. */
static void expect_rows(qpal_device *d, const qpal_kernels *k, const qpal_weights *w,
                        qpal_ptr signs, const float *embedding) {
  enum { IDS = 6 };
  const int32_t ids[IDS] = {40, 0, 41, -1, 48, 7};
  uint16_t got[IDS * HIDDEN];
  double want[HIDDEN];
  const qpal_gather_args a = {.size = sizeof a,
                              .type = QPAL_F16,
                              .rows = IDS,
                              .weights = w,
                              .ids = put(d, ids, sizeof ids),
                              .signs = signs,
                              .y = put(d, NULL, sizeof got)};
  cr_assert_eq(qpal_gather(k, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(d, got, a.y, sizeof got), QPAL_OK);
  for (unsigned t = 0; t < IDS; t++) {
    const bool there = ids[t] >= 0 && ids[t] < VOCAB;
    for (unsigned c = 0; c < HIDDEN; c++) {
      want[c] = there ? (double)embedding[(size_t)ids[t] * HIDDEN + c] : 0;
      if (!there) cr_assert_eq(got[t * HIDDEN + c] & 0x7fff, 0, "id %d", ids[t]);
    }
    if (there) cr_expect_lt(distance(got + t * HIDDEN, want, HIDDEN), 0.02, "id %d", ids[t]);
  }
}

/* Logits of the same matrix, with zeros for the rows of the padding. */
static void expect_logits(qpal_device *d, const qpal_kernels *k, const qpal_weights *w,
                          qpal_ptr signs, const float *embedding) {
  uint16_t x[HIDDEN], got[PADDED];
  double want[VOCAB];
  qpal_kernels_info info = {.size = sizeof info};
  cr_assert_eq(qpal_kernels_describe(k, &info), QPAL_OK);
  for (unsigned c = 0; c < HIDDEN; c++) x[c] = qp_double_to_half(c % 7 / 7.0 - 0.4);
  for (unsigned r = 0; r < VOCAB; r++) {
    want[r] = 0;
    for (unsigned c = 0; c < HIDDEN; c++)
      want[r] += (double)embedding[r * HIDDEN + c] * (double)qp_half_to_float(x[c]);
  }
  const qpal_rotate_args turn = {.size = sizeof turn,
                                 .columns = HIDDEN,
                                 .rows = 1,
                                 .type = QPAL_F16,
                                 .x = put(d, x, sizeof x),
                                 .y = put(d, NULL, sizeof x),
                                 .signs = signs};
  cr_assert_eq(qpal_rotate(k, &turn, NULL), QPAL_OK, "%s", qpal_message());
  const qpal_segment segment = {.weights = w, .y = put(d, NULL, sizeof got)};
  const qpal_gemm_args a = {.size = sizeof a,
                            .rows = 1,
                            .type = QPAL_F16,
                            .out_type = QPAL_F16,
                            .x = turn.y,
                            .workspace = put(d, NULL, info.workspace_bytes + 16),
                            .counters = put(d, NULL, info.counter_bytes + 16),
                            .segment = &segment};
  cr_assert_eq(qpal_zero(d, a.counters, info.counter_bytes + 16), QPAL_OK);
  cr_assert_eq(qpal_gemm(k, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(d, got, segment.y, sizeof got), QPAL_OK);
  cr_expect_lt(distance(got, want, VOCAB), 0.02);
  for (unsigned r = VOCAB; r < PADDED; r++) cr_expect_eq(got[r] & 0x7fff, 0, "row %u", r);
}

Test(groups, a_tied_embedding_is_one_matrix_for_look_up_and_head) {
  float *embedding = weights_of(VOCAB, (size_t)VOCAB * HIDDEN);
  void *data = NULL;
  qpal_packed *packed;
  qpal_device *d;
  qpal_kernels *k;
  cr_assert_eq(quantize("--quantizer nuq-2 --embedding nuq-8", "out"), 0, "%s", answer);
  qpal_library *library = export_last(&data);
  qpal_group_info g = {.size = sizeof g};
  cr_assert_eq(qpal_library_group(library, 0, &g), QPAL_OK);
  cr_expect(g.gathers && g.rows == PADDED, "%u rows", g.rows);
  cr_assert_eq(qpal_packed_open(path("out"), &packed), QPAL_OK, "%s", qpal_message());
  qpal_packed_linear p = {.size = sizeof p};
  cr_assert_eq(qpal_packed_find(packed, library, 0, 0, &p), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_sim_open(90, 2, &d), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_kernels_load(library, d, NULL, &k), QPAL_OK, "%s", qpal_message());
  const qpal_weights w = {.scale = put(d, p.scale.data, p.scale.bytes),
                          .part = {{.codes = put(d, p.part[0].codes.data, p.part[0].codes.bytes)}}};
  const qpal_ptr signs = put(d, p.signs.data, p.signs.bytes);
  expect_rows(d, k, &w, signs, embedding);
  expect_logits(d, k, &w, signs, embedding);
  qpal_kernels_close(k);
  qpal_device_close(d);
  qpal_packed_close(packed);
  qpal_library_close(library);
  free(data);
  free(embedding);
}

/* So that one --gpu is what qpal make plans with and exports for. */
Test(export_gpu, that_a_published_table_is_of_is_exported_for) {
  qp_export_gpu gpu = {.arch = 0};
  cr_assert_eq(qp_export_gpu_parse("rtx4090-published", &gpu, &err), QP_OK, "%s", err.text);
  cr_assert(gpu.arch == 89 && gpu.sm_count == 128 && strstr(gpu.name, "RTX 4090"), "%s", gpu.name);
  cr_assert_eq(qp_export_gpu_parse("smollm2-135m-sensitivity", &gpu, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "is not known; say sm_90") && gpu.arch == 89, "%s", err.text);
}
