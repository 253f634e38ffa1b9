/* SPDX-License-Identifier: MIT */
/* The page of qpal report: what is in it, that it loads nothing, that its marks have words. */
#include "tests/quantize/quantize_kit.h"

static const char plan[] = "{\"schema\": \"qpal-plan\", \"version\": 1}";

/* A model of one block, planned and packed by the command itself. */
static void make_model(void) {
  static const char *const linears[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                        "self_attn.o_proj", "mlp.up_proj",      "mlp.gate_proj",
                                        "mlp.down_proj"};
  pending p;
  make_folder();
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned l = 0; l < 7; l++) {
    char name[128];
    snprintf(name, sizeof name, "model.layers.0.%s.weight", linears[l]);
    pending_add(&p, name, QP_TENSOR_F32, 64, 64, weights_of(l + 1, 64 * 64));
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, 16, 64, weights_of(9, 16 * 64));
  pending_write(&p);
  write_text(path("in/config.json"),
             "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 64,"
             " \"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"head_dim\": 32,"
             " \"num_hidden_layers\": 1, \"vocab_size\": 16, \"tie_word_embeddings\": true}");
}

TestSuite(page, .init = make_model, .fini = remove_folder);

static char *report(const char *options) {
  char arguments[2048];
  size_t bytes;
  snprintf(arguments, sizeof arguments, "report '%s' -o '%s' %s", path("out"), path("page.html"),
           options);
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  char *text = read_file(path("page.html"), &bytes), *whole = strndup(text, bytes);
  free(text);
  return whole;
}

static unsigned count(const char *text, const char *words) {
  unsigned n = 0;
  for (const char *at = text; (at = strstr(at, words)); at += strlen(words)) n++;
  return n;
}

/* As many elements close as open. */
static void expect_balanced(const char *page, const char *element) {
  char open[32], close[32];
  snprintf(open, sizeof open, "<%s", element);
  snprintf(close, sizeof close, "</%.*s>", (int)strcspn(element, ">"), element);
  cr_expect_eq(count(page, open), count(page, close), "%s: %u open, %u close", element,
               count(page, open), count(page, close));
}

Test(page, shows_the_plan_its_fronts_distortions_and_sizes_and_loads_nothing) {
  char arguments[2048];
  snprintf(arguments, sizeof arguments,
           "make '%s' -o '%s' --bits 4.6 --quantizers nuq-2,nuq-4,nuq-5", path("in"), path("out"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  cr_assert_eq(access(path("out/report.html"), R_OK), 0, "make writes one");
  char *page = report("");
  cr_expect_eq(count(page, "<figure>"), 4, "heat map, fronts, distortions, sizes");
  static const char *const elements[] = {"svg", "figure", "section", "dl>", "main", "ul"};
  for (unsigned i = 0; i < sizeof elements / sizeof *elements; i++)
    expect_balanced(page, elements[i]);
  cr_expect_eq(count(page, "self_attn.q_proj: nuq-"), 1,
               "the map's mark says linear and quantizer");
  cr_expect_eq(count(page, "self_attn.q_proj: distortion"), 1);
  cr_expect(strstr(page, "as it was quantized"));
  cr_expect(strstr(page, "prefers-color-scheme: dark"));
  cr_expect(strstr(page, "tabindex"));
  static const char *const loads[] = {"src=", "@import", "fetch(", "url(", "href=\"http"};
  for (unsigned i = 0; i < sizeof loads / sizeof *loads; i++)
    cr_expect_null(strstr(page, loads[i]), "%s", loads[i]);
  cr_expect(strstr(page, "qpal report --gpu GPU"), "what is missing is said");
  free(page);
}

Test(page, of_a_plan_alone_says_how_the_rest_is_made) {
  char arguments[2048];
  snprintf(arguments, sizeof arguments, "plan --model '%s' --bits 4.6 --quantizers nuq -o '%s'",
           path("in"), path("out/plan.json"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  char *page = report("");
  cr_expect_eq(count(page, "<figure>"), 3);
  cr_expect(strstr(page, "as it was planned"));
  cr_expect(strstr(page, "qpal plan --front"));
  free(page);
}

Test(page, keeps_markup_in_names_from_being_markup) {
  char arguments[2048];
  cr_assert_eq(rename(path("in"), path("a<b>&\"c")), 0);
  snprintf(arguments, sizeof arguments, "plan --model '%s' --bits 4.6 --quantizers nuq -o '%s'",
           path("a<b>&\"c"), path("out/plan.json"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  char *page = report("");
  cr_expect_null(strstr(page, "a<b>"));
  cr_expect(strstr(page, "<h1>a&lt;b&gt;&amp;&quot;c</h1>"));
  free(page);
}

Test(page, is_refused_without_a_plan_and_leaves_no_file) {
  char arguments[2048];
  snprintf(arguments, sizeof arguments, "report '%s' -o '%s'", path("in"), path("page.html"));
  cr_expect_eq(ask(arguments), 2);
  cr_expect(strstr(answer, "plan.json"), "%s", answer);
  write_text(path("out/plan.json"), plan);
  snprintf(arguments, sizeof arguments, "report '%s' -o '%s'", path("out"), path("page.html"));
  cr_expect_eq(ask(arguments), 2);
  cr_expect_neq(access(path("page.html"), F_OK), 0);
}
