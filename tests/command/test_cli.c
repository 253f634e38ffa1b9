/* SPDX-License-Identifier: MIT */
/* The command as a user calls it. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct answer {
  int code;
  char text[1 << 20]; /* stdout and stderr */
} answer;

static answer *ask(const char *arguments) {
  static answer a;
  char command[4096];
  snprintf(command, sizeof command, "'%s/qpal' %s 2>&1", QP_BINARY_DIR, arguments);
  FILE *f = popen(command, "r");
  cr_assert(f);
  size_t n = fread(a.text, 1, sizeof a.text - 1, f);
  a.text[n] = 0;
  a.code = WEXITSTATUS(pclose(f));
  return &a;
}

static void expect(const char *arguments, int code, const char *part) {
  answer *a = ask(arguments);
  cr_assert_eq(a->code, code, "qpal %s: exit code %d, not %d: %s", arguments, a->code, code,
               a->text);
  cr_assert(strstr(a->text, part), "qpal %s: '%s' is missing in: %.2000s", arguments, part,
            a->text);
}

Test(cli, help_and_version_end_well) {
  expect("--help", 0, "check");
  expect("--version", 0, "qpal ");
  expect("-h", 0, "check");
  expect("help", 0, "check");
  expect("help list", 0, "usage: qpal list");
  expect("list -h", 0, "usage: qpal list");
  expect("list --help", 0, "usage: qpal list");
  expect("show --help", 0, "usage: qpal show");
  expect("gen --help", 0, "--shape");
  expect("gen --help", 0, "attend pick combine plain");
  expect("check --help", 0, "--device");
  expect("bench --help", 0, "--records");
  expect("tour --help", 0, "Llama-3.1-8B");
}

Test(cli, cost_counts_machine_code_or_says_what_it_lacks) {
  expect("cost", 2, "a quantizer is needed");
  expect("cost nuq-4 --arch sm_91", 2, "'sm_91' is not known");
  expect("cost nuq-4 --against /nowhere.json", 2, "/nowhere.json");
  const char *given = getenv("QPAL_NVDISASM");
  char kept[4096];
  snprintf(kept, sizeof kept, "%s", given ? given : "");
  setenv("QPAL_NVDISASM", "/nowhere/nvdisasm", 1);
  expect("cost nuq-4 --shape 512x1024", 3, "pip install nvidia-cuda-nvdisasm");
  if (*kept)
    setenv("QPAL_NVDISASM", kept, 1);
  else
    unsetenv("QPAL_NVDISASM");
  answer *a = ask("cost nuq-4 --shape 512x1024 --json");
  if (a->code == 3) cr_skip_test("no nvdisasm on this machine");
  cr_assert_eq(a->code, 0, "%s", a->text);
  /* the first column and the last ones */
  cr_assert(strstr(a->text, "\"quantizer\"") && strstr(a->text, "\"bound_by\"") &&
                strstr(a->text, "\"rates\"") && strstr(a->text, "\"NVRTC "),
            "%s", a->text);
}

/* The README of the source tree, malloc'ed. */
static char *read_readme(void) {
  FILE *f = fopen(QP_SOURCE_DIR "/README.md", "r");
  cr_assert(f);
  char *readme = calloc(1, 1 << 18);
  cr_assert(readme && fread(readme, 1, (1 << 18) - 1, f) > 0);
  fclose(f);
  return readme;
}

/* What 'qpal --help' lists is what there is: a verb of every line that begins with two spaces. */
Test(cli, every_verb_that_help_lists_explains_itself) {
  char *verbs = strdup(ask("--help")->text), *rest = verbs, *line = NULL, *readme = read_readme();
  unsigned count = 0;
  while ((line = strsep(&rest, "\n"))) {
    char verb[32], arguments[64], usage[64];
    if (strncmp(line, "  ", 2) != 0 || sscanf(line, "%31s", verb) != 1) continue;
    snprintf(arguments, sizeof arguments, "%s --help", verb);
    snprintf(usage, sizeof usage, "usage: qpal %s", verb);
    expect(arguments, 0, usage);
    expect(arguments, 0, "--help");
    snprintf(arguments, sizeof arguments, "%s --no-such-option", verb);
    expect(arguments, 2, "--no-such-option");
    snprintf(usage, sizeof usage, "\nqpal %s ", verb);
    cr_expect(strstr(readme, usage), "the README has no line for %s", verb);
    count++;
  }
  free(verbs);
  free(readme);
  cr_expect_geq(count, 11, "only %u verbs", count);
}

Test(cli, wrong_words_name_what_would_be_right) {
  expect("", 2, "usage");
  expect("chekc", 2, "did you mean 'check'");
  expect("xyzzy", 2, "there is no verb 'xyzzy'; qpal --help lists them");
  expect("gen nuq-2 --shape 64x64 --op gem -o /nowhere", 2, "did you mean 'gemm'?; choose gemm, ");
  expect("list cows", 2, "quantizers, families, models or gpus");
  expect("show", 2, "one quantizer is needed");
  expect("show tcq-99", 2, "tcq-99");
  expect("check --batch 0", 2, "from 1 to 64");
  expect("check --batch x", 2, "from 1 to 64");
  expect("check --nonsense", 2, "--nonsense");
  expect("check --path sideways tcq-3", 2, "tensor, cuda or naive");
  expect("check --device toaster tcq-3", 2, "toaster");
  expect("check --op gemm,encod", 2, "'encod' is not known; did you mean 'encode'");
  expect("check --op gemm, tcq-3", 2, "operation '' is not known");
  expect("gen tcq-3 --shape 64x -o /tmp/none", 2, "MxK");
  expect("gen tcq-3 --shape 64x64,64x128 -o /tmp/none", 2, "K must be equal");
  expect("gen tcq-3 --shape 63x64 -o /tmp/none", 2, "multiple of 16");
  expect("gen tcq-3 --shape 64x63 -o /tmp/none", 2, "multiple of 32");
  expect("gen tcq-3 --shape 64x64 --arch sm_42 -o /tmp/none", 2, "sm_42");
  expect("gen tcq-3 --shape 64x64 --set warps=7 -o /tmp/none", 2, "16, 8, 24, 32");
  expect("gen tcq-3 --shape 64x64 --set wraps=8 -o /tmp/none", 2, "no tunable 'wrap");
  expect("gen tcq-3,vq2-4 --shape 64x64 -o /tmp/none", 2, "2 quantizers for 1 shapes");
}

Test(cli, a_missing_gpu_is_device_trouble) { expect("check tcq-3 --device cuda:63", 3, ""); }

Test(cli, what_is_measured_without_a_gpu_names_what_goes_without_one) {
  setenv("QPAL_LIBCUDA", "/nowhere/libcuda.so", 1);
  expect("tune --shape 64x64 --quantizers nuq-3", 3, "--device replay:FILE");
  expect("bench --model smollm2-135m --quantizers nuq-3", 3, "check --device sim");
  expect("check tcq-3 --device cuda:0", 3, "device 'sim' needs no GPU");
  expect("export --model smollm2-135m --quantizer nuq-3 --gpu cuda:0 -o /nowhere", 3, "or sm_90");
}

/* Published figures are a plan's: named as what they are, and no records of a GPU. */
Test(cli, the_published_table_plans_at_once_and_is_told_as_published) {
  expect("list gpus", 0, "published table");
  cr_expect_not(strstr(ask("list gpus")->text, "README"));
  cr_expect_not(strstr(ask("list gpus")->text, "sensitivity"));
  cr_expect_not(strstr(ask("list gpus")->text, "smollm2"), "sensitivities are of no GPU");
  expect("plan --model llama-3.1-8b --gpu rtx4090-published --tps 200", 0,
         "latencies: published figures (method: not known), Q-Palette");
  expect("plan --model llama-3.1-8b --gpu rtx4090-published --tps 200 --sensitivity published", 0,
         "sensitivities: published figures");
  expect("plan --model qwen3-8b --bits 3 --sensitivity published", 2,
         "there are none for qwen3-8b");
  static const char published[] =
      "qpal plan and make also take latencies that others published (--gpu): rtx4090-published of "
      "llama-3.1-8b";
  expect("table rtx4090-published --model llama-3.1-8b", 2, published);
  expect("table h100 --model llama-3.1-8b", 2, published);
  expect("plan --model llama-3.1-8b --gpu sm_90 --tps 200", 2, published);
  expect("export --model llama-3.1-8b --quantizer nuq-3 --gpu rtx4090-publishd -o /nowhere", 2,
         "not known; say sm_90");
}

/* The GPU here is looked up by its name; tuned/ of the current folder counts. */
Test(cli, records_of_the_gpu_here_are_found_by_its_name) {
  char folder[] = "/tmp/qpal-cli-XXXXXX", command[256];
  setenv("QPAL_LIBCUDA", "/nowhere/libcuda.so", 1);
  expect("table cuda:0 --model llama-3.1-8b", 3, "say it as in qpal list gpus");
  setenv("QPAL_LIBCUDA", QP_BINARY_DIR "/libfake_cuda.so", 1);
  expect("table cuda:0 --model llama-3.1-8b", 2, "'cuda:0' (Fake H100): there are no records");
  expect("plan --model llama-3.1-8b --gpu cuda:0 --tps 9", 2, "it has those of no GPU");
  cr_assert(mkdtemp(folder) && !chdir(folder) && !mkdir("tuned", 0777));
  FILE *f = fopen("tuned/fake-h100.jsonl", "w");
  fputs("", f);
  fclose(f);
  expect("table cuda:0 --model llama-3.1-8b", 2, "tuned/fake-h100.jsonl");
  expect("table a100 --model llama-3.1-8b", 2, "it has those of fake-h100)");
  cr_assert_eq(chdir("/"), 0);
  snprintf(command, sizeof command, "rm -r %s", folder);
  cr_assert_eq(system(command), 0);
}

Test(cli, json_is_json) {
  static const char *const questions[] = {"list --json", "list families --json", "list gpus --json",
                                          "list models --json", "show tcq-3 --json"};
  for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
    answer *a = ask(questions[i]);
    cJSON *json = cJSON_Parse(a->text);
    cr_assert_eq(a->code, 0);
    cr_assert(json, "qpal %s", questions[i]);
    cJSON_Delete(json);
  }
}

Test(cli, show_prints_the_decode_as_lua_and_as_cuda) {
  expect("show tcq-3", 0, "local h = s * s + s");
  expect("show tcq-3", 0, "static __device__ __forceinline__ void decode(const At &at");
  expect("show tcq-3.25", 0, "tcq-3.5");
  expect("show nf4-g64 --ir", 0, "lookup");
  expect("show ccq-2", 0, "    channel_scale f16, 0.000244141 to 0.25, one for each row\n");
}

Test(cli, show_of_a_state_is_what_the_definition_says) {
  expect("show nuq-2 --state 0", 0, "-1.51"); /* Lloyd-Max of 4 levels: -1.510, -0.4528, ... */
  expect("show nuq-2 --state 4", 2, "below 2^2");
}

Test(cli, models_are_listed_with_their_sizes) {
  expect("list models", 0, "llama-3.1-8b");
  expect("list models", 0, "smollm2-135m");
}

Test(cli, a_users_file_is_a_quantizer) {
  char folder[] = "/tmp/qpal-cli-XXXXXX", path[64], question[128];
  cr_assert(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/mine.lua", folder);
  FILE *f = fopen(path, "w");
  fputs("return scalar { name = 'mine', bits = 2, codebook = values { dim = 1, -2, -1, 1, 2 } }\n",
        f);
  fclose(f);
  snprintf(question, sizeof question, "check %s --few --device sim:sm_80:2", path);
  expect(question, 0, "PASS");
  unlink(path);
  rmdir(folder);
}

Test(cli, a_cache_that_cannot_be_written_is_told_when_it_would_have_kept_something) {
  char folder[] = "/tmp/qpal-cli-XXXXXX", path[64], below[80], question[128];
  cr_assert(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/mine.lua", folder);
  FILE *f = fopen(path, "w");
  fputs("return scalar { name = 'mine', bits = 2,\n"
        "  codebook = gaussian_kmeans { entries = 4, dim = 1, seed = 77 },\n"
        "  decode = function (s, codebook) return codebook[s] end }\n",
        f);
  fclose(f);
  snprintf(below, sizeof below, "%s/cache", path); /* below a file: not even root's */
  setenv("QPAL_CACHE", below, 1);
  snprintf(question, sizeof question, "show %s:mine", path);
  expect(question, 0, "set QPAL_CACHE to a folder that can be written");
  cr_assert_not(strstr(ask("show nuq-2")->text, "QPAL_CACHE"));
  unlink(path);
  rmdir(folder);
}

Test(cli, a_whole_name_is_that_quantizer_and_no_family) {
  expect("distortion anyprec-3 --samples 64 --json", 0, "\"anyprec-3\"");
}

/* How many kernels of the small check of nuq-2 there are, with some more arguments. */
static unsigned kernels_of(const char *arguments) {
  char question[128];
  snprintf(question, sizeof question, "check nuq-2 --few --device sim --list %s", arguments);
  const answer *a = ask(question);
  unsigned lines = 0;
  cr_assert_eq(a->code, 0, "%s", a->text);
  for (const char *c = a->text; *c; c++) lines += *c == '\n';
  return lines - 1; /* the heads of columns */
}

Test(cli, check_takes_some_operations_or_all_but_them) {
  const unsigned all = kernels_of(""), encode = kernels_of("--op encode"),
                 gemm = kernels_of("--op gemm");
  cr_expect(encode > 0 && gemm > encode && all > gemm + encode, "%u, %u, %u", all, gemm, encode);
  cr_expect_eq(kernels_of("--op gemm,encode"), gemm + encode);
  cr_expect_eq(kernels_of("--without-op encode,gemm,encode"), all - gemm - encode);
}

Test(cli, check_says_why_a_quantizer_has_no_encode_kernel) {
  expect("check int4-g128-bf16 --op encode", 2, "a number that the fields set");
  expect("check long-3 --op encode", 2, "kernels encode up to 20");
  expect("check long-3 --op encode-fed", 2, "finds its codes on the CPU");
  expect("check tcq-3.25 --op encode-fed", 2, "of those: tcq-3 tcq-3.5");
}

typedef struct lua_file {
  char folder[32], path[64];
} lua_file;

static lua_file write_lua(const char *text) {
  lua_file l = {.folder = "/tmp/qpal-cli-XXXXXX"};
  cr_assert(mkdtemp(l.folder));
  snprintf(l.path, sizeof l.path, "%s/file.lua", l.folder);
  FILE *f = fopen(l.path, "w");
  cr_assert(f && fputs(text, f) >= 0 && !fclose(f));
  return l;
}

static void remove_lua(const lua_file *l) {
  remove(l->path);
  remove(l->folder);
}

Test(cli, check_says_that_errors_of_a_trellis_whose_window_is_long_stay_on_the_cpu) {
  lua_file l = write_lua("return trellis { name = 'slow', window = 17, step = 1, dim = 1,\n"
                         "  codebook = random_gaussian { entries = 256 },\n"
                         "  decode = function (s, c) return c[s & 255] end }\n");
  char command[128];
  snprintf(command, sizeof command, "check %s --op encode-fed", l.path);
  expect(command, 2, "those of 16 have a window's bits");
  remove_lua(&l);
}

/* Four books that every state looks an entry up in take 256 KiB. */
Test(cli, check_skips_with_the_reason_what_no_kernel_has_room_for) {
  char question[160];
  const lua_file large = write_lua(
      "local books = {}\n"
      "for i = 1, 4 do books['b' .. i] = random_gaussian { entries = 16384, seed = i } end\n"
      "return scalar { name = 'large', bits = 14, codebooks = books,\n"
      "  decode = function (c, b) return b.b1[c] + b.b2[c] + b.b3[c] + b.b4[c] end }\n");
  snprintf(question, sizeof question, "check %s --few --op dequant --device sim", large.path);
  expect(question, 1, "SKIP    large: its tables take 262144 bytes of shared memory, ");
  expect(question, 1, "more than the ");
  expect(question, 1, " 0 PASS, 0 FAIL, ");
  remove_lua(&large);
}

Test(cli, distortion_says_where_codebooks_are_not_fitted) {
  char question[160];
  const lua_file two =
      write_lua("return { scalar { name = 'product', bits = 3,\n"
                "  codebooks = { a = values { 1, 2, scope = 'tensor' },\n"
                "    b = values { -2, -1, 1, 2, scope = 'tensor' } },\n"
                "  decode = function (c, k) return k.a[c & 1] * k.b[c >> 1] end },\n"
                "scalar { name = 'many', bits = 7, codebooks = {\n"
                "    a = random_gaussian { entries = 128, dim = 1, scope = 'tensor' } },\n"
                "  decode = function (c, k) return k.a[c] end } }\n");
  snprintf(question, sizeof question, "distortion %s:product --samples 2048 --columns 64",
           two.path);
  expect(question, 0, "product: codebooks stay as the file has them: ");
  snprintf(question, sizeof question, "distortion %s:many --samples 2048 --columns 64", two.path);
  expect(question, 0, "codebook 'a' has 128 entries, and 2048 codes are too few");
  remove_lua(&two);
}

Test(cli, distortion_says_where_more_weights_were_encoded_than_asked_for) {
  expect("distortion nuq-2 --samples 2049 --columns 64", 0,
         "4096 weights were encoded, not 2049: whole groups of 32 rows of --columns 64\n");
  cr_expect_not(strstr(ask("distortion nuq-2 --samples 4096 --columns 64")->text, "were encoded"));
}

Test(cli, gen_writes_source_ptx_cubin_and_a_report) {
  char folder[] = "/tmp/qpal-cli-XXXXXX", question[512], path[2048];
  cr_assert(mkdtemp(folder));
  unsetenv("QPAL_NVRTC"); /* spills are looked at: code as shipped */
  snprintf(question, sizeof question,
           "gen tcq-3,vq2-4,nuq-6 --op gemm --shape 4096x4096,1024x4096,1024x4096 --batch 1 --arch "
           "sm_90 -o %s/out",
           folder);
  answer *a = ask(question);
  cr_assert_eq(a->code, 0, "%s", a->text);
  unsigned files = 0;
  char report[2048] = "";
  for (char *line = strtok(a->text, "\n"); line; line = strtok(NULL, "\n")) {
    struct stat st;
    if (line[0] != '/') continue;
    snprintf(path, sizeof path, "%s", line);
    cr_assert(stat(path, &st) == 0 && st.st_size > 100, "%s", path);
    if (strstr(path, ".json")) snprintf(report, sizeof report, "%s", path);
    files++;
  }
  cr_assert_eq(files, 4);
  FILE *f = fopen(report, "r");
  static char text[1 << 16];
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  cJSON *json = cJSON_Parse(text);
  cr_assert(json);
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "segments")), 3);
  cr_assert_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(json, "spill_store_bytes")), 0);
  cr_assert_gt(cJSON_GetNumberValue(cJSON_GetObjectItem(json, "registers")), 16);
  cJSON *mix = cJSON_GetObjectItem(json, "inner_loop_ptx");
  cr_assert_gt(cJSON_GetNumberValue(cJSON_GetObjectItem(mix, "mma")), 0);
  cJSON_Delete(json);
  snprintf(question, sizeof question, "rm -r %s", folder);
  cr_assert_eq(system(question), 0);
}
