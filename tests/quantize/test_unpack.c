/* SPDX-License-Identifier: MIT */
/* Packed folders as checkpoints: what lies beside the weights, qpal unpack. */
#include "tests/quantize/quantize_kit.h"

enum { HIDDEN = 64, VOCAB = 16, LINEARS = 3 };

static const char *const linears[LINEARS] = {"q_proj", "k_proj", "v_proj"};

/* One block of attention, the rest of a Llama beside it; what else a loader wants. */
static void make_checkpoint(void) {
  pending p;
  make_folder();
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned l = 0; l < LINEARS; l++) {
    char name[128];
    snprintf(name, sizeof name, "model.layers.0.self_attn.%s.weight", linears[l]);
    pending_add(&p, name, QP_TENSOR_F32, HIDDEN, HIDDEN, weights_of(l, HIDDEN * HIDDEN));
  }
  pending_add(&p, "model.layers.0.self_attn.o_proj.weight", QP_TENSOR_F32, HIDDEN, HIDDEN,
              weights_of(5, HIDDEN * HIDDEN));
  static const char *const mlp[] = {"gate_proj", "up_proj", "down_proj"};
  for (unsigned l = 0; l < 3; l++) {
    char name[128];
    snprintf(name, sizeof name, "model.layers.0.mlp.%s.weight", mlp[l]);
    pending_add(&p, name, QP_TENSOR_F32, HIDDEN, HIDDEN, weights_of(6 + l, HIDDEN * HIDDEN));
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, VOCAB, HIDDEN,
              weights_of(9, VOCAB * HIDDEN));
  pending_write(&p);
  write_text(path("in/config.json"),
             "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 64,"
             " \"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"num_hidden_layers\": 1,"
             " \"vocab_size\": 16, \"tie_word_embeddings\": true,"
             " \"quantization_config\": {\"quant_method\": \"other\"}}");
  write_text(path("in/tokenizer.json"), "{\"a\": 1}");
  write_text(path("in/generation_config.json"), "{\"b\": 2}");
  write_text(path("in/notes.txt"), "no file of a tokenizer");
}

TestSuite(unpack, .init = make_checkpoint, .fini = remove_folder);

static bool holds(const char *file, const char *words) {
  size_t bytes;
  char *text = read_file(path("%s", file), &bytes);
  char *whole = strndup(text, bytes);
  const bool found = strstr(whole, words) != NULL;
  free(text);
  free(whole);
  return found;
}

Test(unpack, a_packed_folder_has_tokenizer_and_settings_and_says_who_loads_it) {
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  cr_expect(holds("out/tokenizer.json", "{\"a\": 1}"));
  cr_expect(holds("out/generation_config.json", "{\"b\": 2}"));
  cr_expect_neq(access(path("out/notes.txt"), F_OK), 0);
  cr_expect(holds("out/config.json", "\"quant_method\":\t\"qpal\""));
  cr_expect_not(holds("out/config.json", "other"), "the source's own is not true any more");
}

Test(unpack, a_file_in_the_current_folder_is_a_checkpoint_as_well) {
  char command[1024];
  snprintf(command, sizeof command,
           "cd '%s' && '%s/qpal' quantize model.safetensors "
           "--quantizer nuq-2 -o ../out >/dev/null 2>&1",
           path("in"), QP_BINARY_DIR);
  cr_assert_eq(system(command), 0);
  cr_expect(holds("out/tokenizer.json", "{\"a\": 1}"));
}

/* Relative error of W against the checkpoint's. */
static double error_of(const qp_safetensors *s, const char *name, const float *w) {
  double difference = 0, all = 0;
  const float *got = tensor(s, "%s", name);
  for (unsigned i = 0; i < HIDDEN * HIDDEN; i++) {
    difference += (double)(got[i] - w[i]) * (double)(got[i] - w[i]);
    all += (double)w[i] * (double)w[i];
  }
  return difference / all;
}

Test(unpack, gives_the_weights_in_the_basis_of_the_checkpoint_and_nothing_of_packing) {
  qp_safetensors *s;
  char arguments[2048];
  cr_assert_eq(quantize("--quantizer nuq-8 --lm-head", "out"), 0, "%s", answer);
  snprintf(arguments, sizeof arguments, "unpack '%s' --type f32 -o '%s'", path("out"),
           path("plain"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  cr_assert_eq(qp_safetensors_open(path("plain"), &s, &err), QP_OK, "%s", err.text);
  cr_expect_eq(qp_safetensors_count(s), LINEARS + 4 + 2);
  for (unsigned l = 0; l < LINEARS; l++) {
    char name[128];
    float *w = weights_of(l, HIDDEN * HIDDEN);
    snprintf(name, sizeof name, "model.layers.0.self_attn.%s.weight", linears[l]);
    cr_expect_lt(error_of(s, name, w), 2e-4, "%s: %g", name, error_of(s, name, w));
    free(w);
  }
  const qp_tensor *head = qp_safetensors_find(s, "lm_head.weight");
  cr_assert(head && head->shape[0] == VOCAB && head->shape[1] == HIDDEN);
  float *embedding = weights_of(9, VOCAB * HIDDEN);
  cr_expect_arr_eq(tensor(s, "model.embed_tokens.weight"), embedding, 4 * VOCAB * HIDDEN);
  cr_expect(holds("plain/tokenizer.json", "{\"a\": 1}"));
  cr_expect_not(holds("plain/config.json", "quantization"));
  cr_expect(holds("plain/config.json", "\"tie_word_embeddings\":\tfalse"), "the head is its own");
  free(embedding);
  qp_safetensors_close(s);
}

Test(unpack, refuses_what_is_not_packed_and_a_folder_that_holds_a_model) {
  char arguments[2048];
  snprintf(arguments, sizeof arguments, "unpack '%s' -o '%s'", path("in"), path("plain"));
  cr_expect_eq(ask(arguments), 2);
  cr_expect(strstr(answer, "quantization"), "%s", answer);
  snprintf(arguments, sizeof arguments, "unpack '%s' -o '%s'", path("in"), path("in"));
  cr_expect_eq(ask(arguments), 2);
  cr_expect(strstr(answer, "choose another"), "%s", answer);
  cr_expect_neq(access(path("plain/model.safetensors"), F_OK), 0);
}

/* Unpack what "out" holds, with what is given of --quantizers. */
static int unpack_with(const char *option) {
  static unsigned runs;
  char arguments[2048];
  snprintf(arguments, sizeof arguments, "unpack '%s' -o '%s' %s", path("out"),
           path("plain%u", runs++), option);
  return ask(arguments);
}

Test(unpack, reads_what_a_users_file_packed_where_the_file_or_one_of_its_list_is_named) {
  char option[2048], spec[512], other[512];
  snprintf(spec, sizeof spec, "%s", path("mine.lua"));
  snprintf(other, sizeof other, "%s", path("other.lua"));
  write_text(spec, "local function q(name, a)\n"
                   "  return scalar { name = name, bits = 1, codebook = values { -a, a } }\n"
                   "end\n"
                   "return { q('mine-1', 1), q('nuq-2', 0.75) }\n");
  write_text(other, "return { scalar { name = 'mine-1', bits = 1, codebook = values { 0, 1 } },\n"
                    "  scalar { name = 'bad-1', bits = 0, codebook = values { 0, 1 } } }\n");
  snprintf(option, sizeof option, "--quantizer %s:mine-1", spec);
  cr_assert_eq(quantize(option, "out"), 0, "%s", answer);
  cr_expect_eq(unpack_with(""), 2);
  cr_expect(strstr(answer, "there is no quantizer 'mine-1'"), "%s", answer);
  snprintf(option, sizeof option, "--quantizers %s", other);
  cr_expect_eq(unpack_with(option), 2);
  cr_expect(strstr(answer, "quantizer 'mine-1' has the hash "), "%s", answer);
  snprintf(option, sizeof option, "--quantizers %s,%s", spec, other);
  cr_expect_eq(unpack_with(option), 0, "%s", answer);
  snprintf(option, sizeof option, "--quantizers %s,%s", other, spec);
  cr_expect_eq(unpack_with(option), 0, "%s", answer);
  snprintf(option, sizeof option, "--quantizers %s:mine-1", spec);
  cr_expect_eq(unpack_with(option), 0, "%s", answer);

  snprintf(option, sizeof option, "--quantizer %s:nuq-2", spec);
  cr_assert_eq(quantize(option, "out2"), 0, "%s", answer);
  cr_assert_eq(rename(path("out"), path("first")), 0);
  cr_assert_eq(rename(path("out2"), path("out")), 0);
  cr_expect_eq(unpack_with(""), 2, "nuq-2 of the palette is another");
  snprintf(option, sizeof option, "--quantizers %s", spec);
  cr_expect_eq(unpack_with(option), 0, "%s", answer);
}
