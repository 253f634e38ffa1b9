/* SPDX-License-Identifier: MIT */
/* A model family is an entry in lua/architectures.lua, and nothing else. */
#include "gen/model/gguf_names.h"
#include "tests/base/folder_kit.h"

static qp_models *models;
static qp_error err;

/* A family with names, prefix and groups of its own, also in GGUF. */
static const char entry[] =
    "table.insert(list, {\n"
    "  types = { 'toy', 'toy_two' }, defaults = { tied = 1 },\n"
    "  prefix = 'toy.', blocks = 'h', embedding = 'toy.wte', head = 'head',\n"
    "  block = function (m) return {\n"
    "    { role = 'qkv', group = 'qkv', tensor = 'attn.c', rows = 3 * m.hidden, columns = m.hidden "
    "},\n"
    "    { role = 'down', group = 'down', tensor = 'mlp.c', rows = m.hidden, columns = "
    "m.intermediate,\n"
    "      bias = true } } end,\n"
    "  extra = function (m) return m.hidden end,\n"
    "  gguf = { architecture = 'toygguf', adds_one = true, reorders = { attn_q = 'heads' },\n"
    "    model = { token_embd = 'toy.wte' }, block = { attn_qkv = 'attn.c', ffn_down = 'mlp.c' } "
    "},\n"
    "})\n";

/* The product's file with 'more' before its end; 'list' is what it returns. */
static void add_to_architectures(const char *more) {
  const char *text;
  size_t bytes;
  cr_assert_eq(qp_resource_read("lua/architectures.lua", &text, &bytes, &err), QP_OK);
  char *changed = malloc(bytes + strlen(more) + 128);
  snprintf(changed, bytes + strlen(more) + 128,
           "local list = (function ()\n%.*s\nend)()\n%sreturn list\n", (int)bytes, text, more);
  write_file("lua/architectures.lua", changed);
  free(changed);
  static const char *const others[] = {"lua/rotary.lua", "lua/blocks.lua"};
  for (unsigned i = 0; i < 2; i++) {
    cr_assert_eq(qp_resource_read(others[i], &text, &bytes, &err), QP_OK);
    write_file(others[i], text);
  }
}

static void begin(void) { open_folder(); }

static void end(void) {
  qp_models_close(models);
  close_folder();
}

TestSuite(architecture, .init = begin, .fini = end);

static void open_models(const char *more) {
  add_to_architectures(more);
  setenv("QPAL_HOME", folder, 1);
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
}

static qp_model parse(const char *type) {
  char text[256];
  qp_model m;
  snprintf(text, sizeof text,
           "{\"model_type\": \"%s\", \"hidden_size\": 64, \"intermediate_size\": 96,"
           " \"num_attention_heads\": 2, \"num_hidden_layers\": 3, \"vocab_size\": 48}",
           type);
  cr_assert_eq(qp_models_parse(models, "m/config.json", text, strlen(text), &m, &err), QP_OK, "%s",
               err.text);
  return m;
}

Test(architecture, an_entry_alone_gives_linears_and_names) {
  char name[QP_MODEL_NAME];
  open_models(entry);
  const qp_model m = parse("toy_two");
  cr_assert_eq(m.linears, 2);
  cr_assert_eq(m.groups, 2);
  cr_assert_eq(m.linear[0].rows, 192);
  cr_assert(m.linear[1].bias && m.tied);
  qp_model_tensor(&m, 1, 2, name);
  cr_assert_str_eq(name, "toy.h.2.mlp.c");
  qp_model_tensor(&m, m.linears, 0, name);
  cr_assert_str_eq(name, "toy.wte");
}

/* ---- GGUF ---- */

static unsigned char file[512];
static size_t length;

static void put(uint64_t v, unsigned bytes) {
  memcpy(file + length, &v, bytes);
  length += bytes;
}

static void put_text(const char *s) {
  put(strlen(s), 8);
  memcpy(file + length, s, strlen(s));
  length += strlen(s);
}

/* A file with no more than the name of its architecture, and a number of experts. */
static qp_gguf *file_of(const char *architecture, unsigned experts) {
  char key[64];
  qp_gguf *g;
  length = 0;
  memcpy(file, "GGUF", 4), length = 4;
  put(3, 4), put(0, 8), put(2, 8);
  put_text("general.architecture"), put(8, 4), put_text(architecture);
  snprintf(key, sizeof key, "%s.expert_count", architecture);
  put_text(key), put(4, 4), put(experts, 4);
  cr_assert_eq(qp_gguf_parse("f.gguf", file, length, &g, &err), QP_OK, "%s", err.text);
  return g;
}

Test(architecture, an_entry_alone_gives_names_in_gguf) {
  static const char *const names[][2] = {{"blk.7.attn_qkv.weight", "toy.h.7.attn.c.weight"},
                                         {"token_embd.weight", "toy.wte.weight"},
                                         {"blk.7.other.weight", "blk.7.other.weight"}};
  char name[128];
  qp_gguf_architecture a;
  open_models(entry);
  qp_gguf *g = file_of("toygguf", 0);
  cr_assert_eq(qp_gguf_architecture_of(models, g, "f.gguf", &a, &err), QP_OK, "%s", err.text);
  cr_assert_str_eq(a.model_type, "toy");
  cr_assert(a.adds_one);
  for (unsigned i = 0; i < 3; i++) {
    cr_assert(qp_gguf_rename(&a, names[i][0], name, sizeof name, NULL));
    cr_assert_str_eq(name, names[i][1]);
  }
  qp_gguf_close(g);
}

static void expect_refusal(const char *architecture, unsigned experts, const char *part) {
  qp_gguf_architecture a;
  qp_gguf *g = file_of(architecture, experts);
  cr_assert_eq(qp_gguf_architecture_of(models, g, "f.gguf", &a, &err), QP_E_ARG);
  cr_assert(strstr(err.text, part), "%s", err.text);
  qp_gguf_close(g);
}

Test(architecture, what_is_wrong_with_a_gguf_entry_is_said) {
  open_models("for _, e in ipairs(list) do local g = e.gguf or {}\n"
              "  if g.architecture == 'llama' then g.block = { attn_q = 3 } end\n"
              "  if g.architecture == 'smollm3' then g.model, g.block = nil, nil end\n"
              "end\n");
  expect_refusal("llama", 0, "gguf of 'llama'");
  expect_refusal("smollm3", 0, "gguf of 'smollm3': model and block are needed");
  expect_refusal("qwen3", 4, "qwen3.expert_count is 4: experts of this architecture are not read");
  expect_refusal("nothing", 0, "'nothing': llama, ");
}
