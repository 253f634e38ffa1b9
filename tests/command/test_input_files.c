/* SPDX-License-Identifier: MIT */
/* Files that the command is given and where it prints: what is no regular file, what is full. */
#include <sys/stat.h>

#include "tests/command/command_kit.h"

TestSuite(input_files, .init = open_folder, .fini = close_folder);

/* As run, with stdout to 'to'; a command that waits for a FIFO's writer is ended, and fails. */
static void answers(const char *arguments, const char *to, const char *part) {
  char command[1024];
  snprintf(command, sizeof command, "cd '%s' && timeout 20 '%s/qpal' %s 2>&1 >%s </dev/null",
           folder, QP_BINARY_DIR, arguments, to);
  FILE *f = popen(command, "r");
  cr_assert(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  const int status = pclose(f);
  cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 2, "qpal %s: %x: %.1000s", arguments,
            status, text);
  cr_expect(strstr(text, part), "qpal %s: '%s' is missing in: %.1000s", arguments, part, text);
}

Test(input_files, that_are_fifos_are_refused_at_once_everywhere) {
  static const char *const names[] = {
      "f.json",   "f.jsonl", "f.safetensors", "f.gguf",        "f.lua",
      "book.txt", "f.txt",   "m/config.json", "n/config.json", "n/model.safetensors"};
  static const char *const commands[][2] = {
      {"plan --model f.json", "f.json"},
      {"plan --model smollm2-135m --gpu f.jsonl", "f.jsonl"},
      {"plan --model smollm2-135m --gpu f.json", "f.json"},
      {"plan --model smollm2-135m --sensitivity f.json", "f.json"},
      {"plan --model smollm2-135m --distortion f.json", "f.json"},
      {"plan --model smollm2-135m --hessian f.safetensors", "f.safetensors"},
      {"plan --model smollm2-135m --quantizers nuq -o f.json", "f.json: cannot be written"},
      {"plan --diff f.json f.json", "f.json"},
      {"quantize f.safetensors --quantizer nuq-2 -o out", "f.safetensors"},
      {"quantize f.gguf --quantizer nuq-2 -o out", "f.gguf"},
      {"quantize n --quantizer nuq-2 -o out", "n/model.safetensors"},
      {"quantize m --quantizer nuq-2 -o out", "m/config.json"},
      {"export --plan f.json --gpu sm_90:1 -o out", "f.json"},
      {"show f.lua", "f.lua"},
      {"show s.lua", "book.txt"},
      {"distortion nuq-2 --samples 4096 --against f.json", "f.json"},
      {"table --merge f.jsonl f.jsonl -o out", "f.jsonl"},
      {"evaluate m --text f.txt", "f.txt"},
      {"evaluate m --tokens f.txt", "f.txt"},
      {"calibrate m --text f.txt -o out", "f.txt"},
      {"import f.gguf -o out", "f.gguf"},
      {"import f.safetensors -o out", "f.safetensors"},
      {"table f.jsonl --model smollm2-135m", "f.jsonl"},
      {"cost nuq-2 --against f.json", "f.json"},
      {"bench --against f.json", "f.json"}, /* before a GPU is asked for */
      {"tune --shape 64x64 --device replay:f.json -o out.jsonl", "f.json"},
      {"tune --model f.json --device replay:f.json -o out.jsonl", "f.json"},
      {"train nuq-2 -o f.txt --rounds 1 --weights 4096", "f.txt: cannot be written"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder(names[i]));
    qp_file_make_folders(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
  }
  qp_error err;
  cr_assert_eq(qp_file_write(in_folder("m/model.safetensors"), "\2\0\0\0\0\0\0\0{}", 10, &err), 0);
  write_file("s.lua", "return scalar { name = \"s\", bits = 2,\n"
                      "  codebook = stored { file = \"book.txt\", entries = 4, dim = 1 } }\n");
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    char part[128];
    snprintf(part, sizeof part, "%s: is no regular file", commands[i][1]);
    answers(commands[i][0], "/dev/null", part);
  }
}

/* Of each of these the work takes longer than a test may, or needs an NVRTC that is not there. */
Test(input_files, that_work_ends_with_are_refused_before_it) {
  static const char *const commands[][2] = {
      {"export --shape 256x256 --quantizer nuq-2 --gpu sm_90:4 --shared f", "f: cannot be written"},
      {"export --shape 256x256 --quantizer nuq-2 --gpu sm_90:4 --file f", "f: cannot be written"},
      {"export --shape 256x256 --quantizer nuq-2 --gpu sm_90:4 --c-source f",
       "f: cannot be written"},
      {"export --shape 256x256 --quantizer nuq-2 --gpu sm_90:4 -o a/file",
       "a/file/library.qpal: cannot be written: a/file: Not a directory"},
      {"train tcq-3 --rounds 1000 -o f", "f: cannot be written"},
      {"train tcq-3 --rounds 1000 -o a/file/b/c", "c: cannot be written: a/file: Not a directory"},
      {"make c --bits 4 --text a/file --judge f -o out", "qpal make: f: is no regular file"},
      {"make c --bits 4 --text f -o out", "qpal make: f: is no regular file"},
      {"quantize c --quantizer nuq-2 -o out", "c/tokenizer.json: is no regular file"},
  };
  char command[512];
  snprintf(command, sizeof command,
           "mkdir '%s/c' && perl %s/tests/cases/wild_checkpoint.pl '%s/c' >/dev/null", folder,
           QP_SOURCE_DIR, folder);
  cr_assert_eq(system(command), 0);
  write_file("a/file", "words");
  cr_assert_eq(mkfifo(in_folder("f"), 0600), 0);
  cr_assert_eq(mkfifo(in_folder("c/tokenizer.json"), 0600), 0);
  setenv("QPAL_NVRTC", "/nowhere/libnvrtc.so", 1);
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    answers(commands[i][0], "/dev/null", commands[i][1]);
  cr_expect_neq(access(in_folder("out/quantize-report.json"), F_OK), 0);
}

/* What the environment names: an answer, where a FIFO would be waited for. */
Test(input_files, a_fifo_that_the_environment_names_is_refused) {
  cr_assert_eq(mkfifo(in_folder("f"), 0600), 0);
  setenv("QPAL_NVRTC", in_folder("f"), 1);
  cr_expect_eq(run("check nuq-2 --few --op gemm --device sim"), 3);
  cr_expect(strstr(text, "f: is no regular file"), "%s", text);
  setenv("QPAL_HOME", in_folder("f"), 1);
  answers("list", "/dev/null", "f: not a directory; it should be one with lua/");
  setenv("QPAL_HOME", folder, 1);
  answers("show nuq-2", "/dev/null", "there is no lua/ in it");
  setenv("QPAL_HOME", "/nowhere", 1);
  answers("list", "/dev/null", "QPAL_HOME=/nowhere: No such file");
  unsetenv("QPAL_HOME");
}

/* A verb of every line of 'qpal --help' that begins with two spaces, and what prints much. */
Test(input_files, a_full_standard_output_is_an_error_of_every_verb) {
  cr_assert_eq(run("--help"), 0);
  char *verbs = strdup(text), *rest = verbs, *line = NULL;
  unsigned count = 0;
  while ((line = strsep(&rest, "\n"))) {
    char verb[32], arguments[96];
    if (strncmp(line, "  ", 2) != 0 || sscanf(line, "%31s", verb) != 1) continue;
    snprintf(arguments, sizeof arguments, "%s --help", verb);
    answers(arguments, "/dev/full", "qpal: standard output cannot be written: No space left");
    count++;
  }
  free(verbs);
  cr_expect_geq(count, 11, "only %u verbs", count);
  answers("list models --json", "/dev/full", "standard output cannot be written");
  answers("--version", "/dev/full", "standard output cannot be written");
  answers("list no-such-thing", "/dev/full", "no-such-thing");
}
