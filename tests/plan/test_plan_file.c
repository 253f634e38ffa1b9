/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "tuner/plan/plan_file.h"

static qp_error err;

/* Two linears of one block in one launch, and a kept lm_head; small enough to break at will. */
static const char *const good =
    "{\"schema\": \"qpal-plan\", \"version\": 1, \"model\": \"tiny\", \"model_type\": \"llama\","
    "\"blocks\": 1, \"gpu\": null, \"loss\": 0.5, \"bound\": 0.5, \"gap\": 0,"
    "\"latency_s\": 3e-6, \"tokens_per_s\": 333333.3, \"latency_ps\": 3000000,"
    "\"constant_ps\": 1000000, \"confidence\": 0.5, \"memory_bytes\": 1060,"
    "\"bits_per_weight\": 3.9,"
    "\"memory\": {\"linears\": 1000, \"lm_head\": 0, \"signs\": 10, \"codebooks\": 20,"
    " \"embedding\": 20, \"other\": 10},"
    "\"limits\": {\"latency_ps\": 3000000, \"memory_bytes\": null, \"bits_per_weight\": 4},"
    "\"batches\": [{\"batch\": 1, \"weight\": 1}],"
    "\"quantizers\": ["
    " {\"name\": \"fp16\", \"hash\": null, \"spec\": \"fp16\", \"rate_bits\": 16,"
    "  \"codebook_bytes\": 0},"
    " {\"name\": \"tcq-3\", \"hash\": \"cc02c5faac452c7e35af5e48246b07fd\", \"spec\": \"tcq-3\","
    "  \"rate_bits\": 3, \"codebook_bytes\": 20}],"
    "\"linears\": ["
    " {\"tensor\": \"b.0.q\", \"role\": \"q\", \"block\": 0, \"rows\": 64, \"columns\": 32,"
    "  \"quantizer\": \"tcq-3\", \"sensitivity\": 1, \"distortion\": 0.25, \"bytes\": 600},"
    " {\"tensor\": \"b.0.k\", \"role\": \"k\", \"block\": 0, \"rows\": 32, \"columns\": 32,"
    "  \"quantizer\": \"tcq-3\", \"sensitivity\": 1, \"distortion\": 0.25, \"bytes\": 400},"
    " {\"tensor\": \"head\", \"role\": \"lm_head\", \"block\": null, \"rows\": 96,"
    "  \"columns\": 32, \"quantizer\": \"fp16\", \"sensitivity\": 0, \"distortion\": 0,"
    "  \"bytes\": 6144}],"
    "\"launches\": [{\"block\": 0, \"group\": \"qk\", \"path\": \"cuda\","
    "  \"linears\": [\"b.0.k\", \"b.0.q\"], \"latency_ps\": 2000000, \"how\": \"exact\"}],"
    "\"notes\": [\"a \\\"note\\\"\\n\\u001b\"]}";

static qp_plan read_good(void) {
  qp_plan p;
  cr_assert_eq(qp_plan_parse("plan.json", good, strlen(good), &p, &err), QP_OK, "%s", err.text);
  return p;
}

Test(plan_file, a_plan_is_read_field_by_field) {
  qp_plan p = read_good();
  cr_assert_str_eq(p.model, "tiny");
  cr_assert_str_eq(p.gpu, "");
  cr_assert_eq(p.linears, 3);
  cr_assert_eq(p.linear[2].block, QP_PLAN_NO_BLOCK);
  cr_assert_str_eq(p.quantizer[p.linear[0].quantizer].name, "tcq-3");
  cr_assert_str_eq(p.quantizer[p.linear[2].quantizer].hash, "");
  cr_assert_eq(p.launches, 1);
  cr_assert_eq(p.launch[0].members, 2);
  cr_assert_eq(p.launch[0].linear[0], 1, "the fused order is kept");
  cr_assert_eq(p.launch[0].linear[1], 0);
  cr_assert_eq(p.latency_ps, 3000000);
  cr_assert_eq(p.memory_limit_bytes, -1);
  cr_assert_eq(p.bits_limit, 4);
  cr_assert(p.proven);
  cr_assert_str_eq(p.note[0], "a \"note\"\\x0a\\x1b", "what is printed is one line, and plain");
  cr_assert_eq(qp_plan_check(&p, &err), QP_OK, "%s", err.text);
  qp_plan_free(&p);
}

static qp_plan written_and_read(const qp_plan *p) {
  qp_plan again;
  char file[] = "/tmp/qpal_plan_XXXXXX";
  int fd = mkstemp(file);
  cr_assert_geq(fd, 0);
  close(fd);
  cr_assert_eq(qp_plan_write(p, file, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_plan_read(file, &again, &err), QP_OK, "%s", err.text);
  unlink(file);
  return again;
}

Test(plan_file, what_is_written_reads_back_the_same) {
  qp_plan p = read_good(), again = written_and_read(&p);
  cr_assert_eq(again.linears, p.linears);
  cr_assert_arr_eq(again.linear, p.linear, p.linears * sizeof *p.linear);
  cr_assert_arr_eq(again.launch, p.launch, p.launches * sizeof *p.launch);
  cr_assert_arr_eq(again.quantizer, p.quantizer, p.quantizers * sizeof *p.quantizer);
  cr_assert_arr_eq(&again.memory, &p.memory, sizeof p.memory);
  cr_assert_eq(again.loss, p.loss);
  cr_assert_eq(again.bits_limit, p.bits_limit);
  cr_assert_str_eq(again.note[0], p.note[0]);
  qp_plan_free(&p);
  qp_plan_free(&again);
}

/* 'good' with the first 'from' replaced by 'to'. */
static char *changed(const char *from, const char *to) {
  static char text[8192];
  const char *at = strstr(good, from);
  cr_assert(at, "%s", from);
  snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
  return text;
}

Test(plan_file, a_stack_need_not_say_how_many_experts_are_active) {
  const char *const experts[] = {"", ", \"active\": 2"};
  for (unsigned i = 0; i < 2; i++) {
    char stack[128];
    qp_plan p;
    snprintf(stack, sizeof stack, "h.*.d\", \"experts\": 4%s, \"role\"", experts[i]);
    const char *text = changed("head\", \"role\"", stack);
    cr_assert_eq(qp_plan_parse("my.json", text, strlen(text), &p, &err), QP_OK, "%s", err.text);
    qp_plan again = written_and_read(&p);
    cr_assert_eq(again.linear[2].experts, 4);
    cr_assert_eq(again.linear[2].active, 2 * i);
    qp_plan_free(&p);
    qp_plan_free(&again);
  }
}

Test(plan_file, what_is_wrong_is_named) {
  static const struct {
    const char *from, *to, *part;
  } wrong[] = {
      {"qpal-plan", "other", "'schema' is 'other'"},
      {"\"version\": 1", "\"version\": 2", "'version' is 2"},
      {"\"loss\": 0.5", "\"loss\": -1", "'loss'"},
      {"\"loss\": 0.5", "\"loss\": NaN", "no JSON"},
      {"\"blocks\": 1", "\"blocks\": 1.5", "'blocks' is 1.5"},
      {"\"blocks\": 1,", "", "'blocks' is missing"},
      {"cc02", "CC02", "32 hex digits"},
      {"\"hash\": \"cc02c5faac452c7e35af5e48246b07fd\"", "\"hash\": null", "only fp16"},
      {"\"quantizer\": \"tcq-3\"", "\"quantizer\": \"tcq-9\"", "linears[0]: field 'quantizer'"},
      {"b.0.k\", \"role", "b.0.q\", \"role", "'b.0.q' is there twice"},
      {"[\"b.0.k\", \"b.0.q\"]", "[\"b.0.k\", \"b.0.k\"]", "in two launches"},
      {"[\"b.0.k\", \"b.0.q\"]", "[\"b.0.k\", \"b.1.q\"]", "none of the plan's linears"},
      {"[\"b.0.k\", \"b.0.q\"]", "[]", "1 to 8 are needed"},
      {"[\"b.0.k\", \"b.0.q\"]", "[\"b.0.k\", \"head\"]", "of another block"},
      {"\"rows\": 32, \"columns\": 32", "\"rows\": 32, \"columns\": 64", "has 32 columns"},
      {"\"bytes\": 400", "\"bytes\": -400", "'bytes' is -400"},
      {"\"block\": 0, \"rows\"", "\"block\": 1, \"rows\"", "'block' is 1"},
      {"\"spec\": \"tcq-3\"", "\"spec\": \"/a/b.lua:tcq-3\"",
       "quantizers[1]: field 'spec' is '/a/b.lua"},
      {"\"spec\": \"tcq-3\"", "\"spec\": \"a/../../b.lua\"", "in the plan's folder or below"},
      {"\"spec\": \"tcq-3\"", "\"spec\": \"../b.lua:x\"", "'spec'"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    qp_plan p;
    const char *text = changed(wrong[i].from, wrong[i].to);
    cr_expect_eq(qp_plan_parse("my.json", text, strlen(text), &p, &err), QP_E_ARG, "%s",
                 wrong[i].to);
    cr_expect(strstr(err.text, "my.json"), "%s", err.text);
    cr_expect(strstr(err.text, wrong[i].part), "%s: %s", wrong[i].part, err.text);
  }
}

Test(plan_file, totals_that_do_not_add_up_are_seen) {
  static const struct {
    const char *from, *to, *part;
  } wrong[] = {
      {"\"loss\": 0.5", "\"loss\": 0.4", "losses add up"},
      {"\"bound\": 0.5", "\"bound\": 0.6", "bound"},
      {"\"latency_ps\": 2000000", "\"latency_ps\": 2000001", "launches add up"},
      {"{\"latency_ps\": 3000000", "{\"latency_ps\": 2999999", "over the limit"},
      {"\"memory_bytes\": 1060", "\"memory_bytes\": 1061", "memory add up"},
      {"\"bytes\": 400", "\"bytes\": 401", "bytes add up"},
      {"\"memory_bytes\": null", "\"memory_bytes\": 1059", "over the limit"},
      {"\"bits_per_weight\": 4", "\"bits_per_weight\": 3.8", "over the limit"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    qp_plan p;
    const char *text = changed(wrong[i].from, wrong[i].to);
    cr_assert_eq(qp_plan_parse("my.json", text, strlen(text), &p, &err), QP_OK, "%s", err.text);
    cr_expect_eq(qp_plan_check(&p, &err), QP_E_ARG, "%s", wrong[i].to);
    cr_expect(strstr(err.text, wrong[i].part), "%s: %s", wrong[i].part, err.text);
    qp_plan_free(&p);
  }
}

Test(plan_file, quantizers_of_another_definition_are_refused) {
  qp_palette *palette;
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  const qp_quantizer *q[2], *tcq3;
  cr_assert_eq(qp_palette_find(palette, "tcq-3", &tcq3, &err), QP_OK);
  qp_plan p = read_good();
  memcpy(p.quantizer[1].hash, tcq3->hash, sizeof p.quantizer[1].hash);
  cr_assert_eq(qp_plan_resolve(&p, palette, q, &err), QP_OK, "%s", err.text);
  cr_assert_null(q[0]);
  cr_assert_eq(q[1], tcq3);
  p.quantizer[1].hash[0] = p.quantizer[1].hash[0] == '0' ? '1' : '0';
  cr_assert_eq(qp_plan_resolve(&p, palette, q, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "tcq-3"));
  qp_plan_free(&p);
  qp_palette_close(palette);
}

static const char own[] =
    "return scalar { name = 'own-4', bits = 4, codebook = lloyd_max { entries = 16 } }\n";

/* A plan names spec files from its own folder, wherever it is read from and moved to. */
Test(plan_file, a_spec_file_is_found_beside_its_plan_and_nowhere_else) {
  char folder[] = "/tmp/qpal_plan_XXXXXX", lua[64], file[64], deep[64];
  const qp_quantizer *q[2];
  qp_palette *palette;
  cr_assert(mkdtemp(folder));
  snprintf(lua, sizeof lua, "%s/own.lua", folder);
  snprintf(file, sizeof file, "%s/plan.json", folder);
  snprintf(deep, sizeof deep, "%s/below/plan.json", folder);
  cr_assert_eq(qp_file_write(lua, own, strlen(own), &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  qp_plan p = read_good(), again;
  snprintf(p.quantizer[1].spec, sizeof p.quantizer[1].spec, "%s:own-4", lua);
  cr_assert_eq(qp_plan_write(&p, deep, &err), QP_E_ARG, "the file is above the plan");
  cr_assert(strstr(err.text, "beside it"), "%s", err.text);
  cr_assert_eq(qp_plan_write(&p, file, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_plan_read(file, &again, &err), QP_OK, "%s", err.text);
  cr_assert_str_eq(again.quantizer[1].spec, "own.lua:own-4");
  cr_assert_eq(qp_plan_resolve(&again, palette, q, &err), QP_E_ARG, "of another definition");
  cr_assert(strstr(err.text, "quantizers[1]"), "%s", err.text);
  cr_assert(strstr(err.text, "make the plan anew"), "its file was found: %s", err.text);
  unlink(lua);
  unlink(file);
  *strrchr(deep, '/') = 0;
  rmdir(deep);
  rmdir(folder);
  qp_plan_free(&p);
  qp_plan_free(&again);
  qp_palette_close(palette);
}
