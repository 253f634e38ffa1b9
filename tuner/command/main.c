/* SPDX-License-Identifier: MIT */
/* The command `qpal` finds the verb and runs it. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "gen/base/cache_dir.h"
#include "gen/base/resource.h"
#include "gen/base/suggest.h"
#include "qpal.h"
#include "tuner/base/lost_file.h"
#include "tuner/command/commands.h"

static const struct {
  const char *name, *summary;
  int (*run)(int argc, char **argv);
} verbs[] = {
    {"list", "quantizers, kernel families, models or GPUs that there are", qp_cmd_list},
    {"show", "one quantizer: rate, layout, decode as Lua and as CUDA", qp_cmd_show},
    {"gen", "write a kernel: .cu, .ptx, .cubin and a report", qp_cmd_gen},
    {"check", "prove kernels right on a GPU or in the PTX simulator", qp_cmd_check},
    {"cost", "instructions of a kernel's hot loop by pipe, what bounds its time", qp_cmd_cost},
    {"distortion", "measure what the encoder loses on N(0,1)", qp_cmd_distortion},
    {"calibrate", "a text's Hessians and sensitivities of a model, for plan and quantize",
     qp_cmd_calibrate},
    {"quantize", "pack the weights of a checkpoint", qp_cmd_quantize},
    {"refine", "train scales and norms of packed weights towards their source", qp_cmd_refine},
    {"train", "fit a quantizer's codebook to its trellis", qp_cmd_train},
    {"plan", "the best mix of quantizers and fusions within limits, proven", qp_cmd_plan},
    {"make", "the whole way: calibrate, plan, quantize, refine, export, report", qp_cmd_make},
    {"verify", "are packed weights or a library still what was written", qp_cmd_verify},
    {"report", "one page about a planned and packed model", qp_cmd_report},
    {"import", "weights that others have packed, kept bit for bit", qp_cmd_import},
    {"unpack", "packed weights as a plain checkpoint again", qp_cmd_unpack},
    {"evaluate", "perplexity of a model, KL divergence from its source", qp_cmd_evaluate},
    {"export", "write the kernels of a plan as a library that engines link", qp_cmd_export},
    {"tune", "find and measure the fastest kernels on the GPU at hand", qp_cmd_tune},
    {"table", "what was measured for a model on a GPU; unions of record files", qp_cmd_table},
    {"bench", "verify and time kernels on a GPU, beside its read bandwidth and cuBLAS",
     qp_cmd_bench},
    {"doctor", "which libraries and GPUs were found where, what is missing and what for",
     qp_cmd_doctor},
    {"tour", "generate, compile and check the palette's kernels for Llama-3.1-8B", qp_cmd_tour},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static void print_usage(FILE *to) {
  fprintf(to,
          "qpal %s: weight quantizers in Lua become CUDA kernels that are proven right\n\n"
          "usage: qpal VERB [arguments]      qpal help VERB tells more\n\n",
          qpal_version());
  for (size_t i = 0; i < VERBS; i++) fprintf(to, "  %-11s %s\n", verbs[i].name, verbs[i].summary);
}

static int unknown(const char *word) {
  const char *names[VERBS];
  for (size_t i = 0; i < VERBS; i++) names[i] = verbs[i].name;
  const char *near = qp_suggest(word, names, VERBS);
  fprintf(stderr, "qpal: there is no verb '%s'%s%s%s; qpal --help lists them\n", word,
          near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
  return 2;
}

static int run(int argc, char **argv) {
  if (argc < 2) return print_usage(stderr), 2;
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
      (argc == 2 && !strcmp(argv[1], "help")))
    return print_usage(stdout), 0;
  if (!strcmp(argv[1], "--version")) return printf("qpal %s\n", qpal_version()), 0;
  qp_error err = {.text = ""};
  if (qp_resource_check(&err)) return fprintf(stderr, "qpal: %s\n", err.text), 2;
  char *told[] = {argv[2], "--help", NULL};
  const bool helps = argc > 2 && !strcmp(argv[1], "help");
  if (helps) argc = 3, argv[1] = argv[2];
  for (size_t i = 0; i < VERBS; i++) {
    if (!strcmp(argv[1], verbs[i].name))
      return helps ? verbs[i].run(2, told) : verbs[i].run(argc - 1, argv + 1);
  }
  return unknown(argv[1]);
}

/* What was printed has arrived, or the exit code says that it has not. */
int main(int argc, char **argv) {
  char lost[1024];
  qp_lost_file_watch();
  qp_cache_watch();
  const int code = run(argc, argv);
  if (qp_cache_lost(lost, sizeof lost)) fprintf(stderr, "qpal: %s\n", lost);
  errno = 0;
  if (!fflush(stdout) && !ferror(stdout)) return code;
  const int why = errno;
  fprintf(stderr, "qpal: standard output cannot be written%s%s\n", why ? ": " : "",
          why ? strerror(why) : "");
  return code > 2 ? code : 2;
}
