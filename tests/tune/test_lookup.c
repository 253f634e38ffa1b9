/* SPDX-License-Identifier: MIT */
/* Records of paths that tuning left out, as the table of a model's launches tells of them. */
#include <cjson/cJSON.h>

#include "tests/command/command_kit.h"

#define BOUNDED "bounded by issue: 9.00 us; another path took 1.00 us"

/* Both paths of one launch, measured, in a.jsonl. */
static void set_up(void) {
  open_folder();
  FILE *f = fopen(in_folder("device.json"), "w");
  cr_assert(f);
  fputs("{\"gpu\": \"Replayed GPU\", \"arch\": 90, \"sm_count\": 4, \"driver\": \"1\"}", f);
  fclose(f);
  cr_assert(f = fopen(in_folder("config.json"), "w"));
  fputs("{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
        "\"num_attention_heads\": 2, \"num_hidden_layers\": 1, \"vocab_size\": 128}",
        f);
  fclose(f);
  cr_assert_eq(run("tune --shape 64x64 --quantizers nuq-4 --batch 1 --device replay:device.json "
                   "--max-candidates 1 -o a.jsonl"),
               0, "%s", text);
}

TestSuite(lookup, .init = set_up, .fini = close_folder);

/* a.jsonl as b.jsonl, in which CUDA cores were left out, and 'more' was done by sed to it. */
static void leave_out(const char *more) {
  char command[2048];
  snprintf(command, sizeof command,
           "sed '/\"path\":\"cuda\"/ {s/\"outcome\":\"ok\"/\"outcome\":\"bounded\"/;"
           "s/\"why\":\"\"/\"why\":\"" BOUNDED "\"/;s/\"\\([a-z_]*ps\\)\":[0-9]*/\"\\1\":0/g;"
           "%s}' '%s/a.jsonl' > '%s/b.jsonl'",
           more, folder, folder);
  cr_assert_eq(system(command), 0);
}

static bool table_tells(const char *options) {
  char command[256];
  snprintf(command, sizeof command, "table b.jsonl --model config.json --replay %s", options);
  cr_assert_eq(run(command), 0, "%s", text);
  return strstr(text, "Not measured:\nnuq-4 q, 64x64, path cuda: " BOUNDED "\n");
}

Test(lookup, a_path_that_was_left_out_stands_in_the_table_with_the_reason) {
  leave_out("");
  cr_expect(table_tells(""), "%s", text);
  cr_expect_not(table_tells("--path tensor"), "%s", text);
  cr_expect_not(table_tells("--quantizers nuq-4,nuq-3 --path tensor"), "%s", text);
}

Test(lookup, a_path_that_was_left_out_is_a_row_of_json_without_a_time) {
  leave_out("");
  cr_assert_eq(run("table b.jsonl --model config.json --replay --json"), 0, "%s", text);
  cJSON *rows = cJSON_Parse(text), *row;
  unsigned measured = 0, left_out = 0;
  cJSON_ArrayForEach(row, rows) {
    const char *path = cJSON_GetStringValue(cJSON_GetObjectItem(row, "path"));
    const char *launch = cJSON_GetStringValue(cJSON_GetObjectItem(row, "launch"));
    const char *why = cJSON_GetStringValue(cJSON_GetObjectItem(row, "why"));
    cr_assert(path && why && launch, "%s", text);
    if (strcmp(launch, "q") != 0) continue;
    const bool out = !strcmp(path, "cuda");
    cr_expect_str_eq(why, out ? BOUNDED : "");
    cr_expect(cJSON_IsNull(cJSON_GetObjectItem(row, "us")) == out, "%s", text);
    measured += !out;
    left_out += out;
  }
  cr_expect(measured == 1 && left_out == 1, "%s", text);
  cJSON_Delete(rows);
}

Test(lookup, what_another_generator_left_out_or_was_measured_too_is_not_told) {
  char command[1024];
  leave_out("s/\"generator\":\"[0-9a-f]*\"/\"generator\":\"00000000000000000000000000000000\"/");
  cr_expect_not(table_tells(""), "%s", text);
  cr_expect(table_tells("--stale"), "%s", text);
  leave_out("");
  snprintf(command, sizeof command, "grep '\"path\":\"cuda\"' '%s/a.jsonl' >> '%s/b.jsonl'", folder,
           folder);
  cr_assert_eq(system(command), 0);
  cr_expect_not(table_tells(""), "%s", text);
}
