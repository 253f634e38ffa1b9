/* SPDX-License-Identifier: MIT */
/* qpal make goes the whole way from a checkpoint to packed weights and a kernel library. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cJSON.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "gen/base/process.h"
#include "runtime/regular_file.h"
#include "tuner/base/options.h"
#include "tuner/command/commands.h"

static const qp_verb_help help = {
    "make", "MODEL -o OUT [--bits B | --tps T --gpu GPU] [--text FILE] [options]",
    "The whole way in one command: calibrates on a text (where one is given), plans, quantizes,\n"
    "refines on the text, exports the kernels, compares everything with its checksums, and judges\n"
    "the result on another text. Each step is a verb of qpal and is printed as it could be typed;\n"
    "its progress begins with its number, [2/7]. A run that was stopped goes on where it was when\n"
    "the same command is given again.\n"
    "OUT/calibration, OUT/plan.json and plan.svg, OUT/packed, OUT/library and OUT/report.html are\n"
    "what the verbs write; OUT/quantized is OUT/packed before it was refined."};

typedef struct make_options {
  const char *out, *bits, *tps, *memory, *gpu, *text, *judge, *quantizers, *embedding, *batch;
  const char *type;
  unsigned seed, blocks, judge_tokens;
  bool no_refine;
} make_options;

enum { MOST_WORDS = 32, PATH_BYTES = 4096, FIRST_SEED = 1 };

/* A command that is being put together; words belong to the caller or to 'path'. */
typedef struct step {
  const char *word[MOST_WORDS];
  size_t words;
  char path[8][PATH_BYTES];
  size_t paths;
  char place[32]; /* "[3/7] ", before what it says of its progress */
} step;

static void say(step *s, const char *word) {
  if (s->words + 1 < MOST_WORDS) s->word[s->words++] = word;
}

/* An option, if the user gave its value. */
static void option(step *s, const char *name, const char *value) {
  if (!value) return;
  say(s, name);
  say(s, value);
}

/* Give OUT/NAME, which is kept in the step. */
static const char *in_out(step *s, const make_options *o, const char *name) {
  char *path = s->path[s->paths++];
  snprintf(path, PATH_BYTES, "%s/%s", o->out, name);
  return path;
}

/* ---- Running a step ---- */

static void show(const step *s) {
  printf("%sqpal", s->place);
  for (size_t i = 0; i < s->words; i++) {
    const bool plain = !s->word[i][strcspn(s->word[i], " '\"\\$*?[](){}<>|&;")];
    printf(plain ? " %s" : " '%s'", s->word[i]);
  }
  printf("\n");
  fflush(stdout);
}

/* This very program as another process, so that no step sees another's threads and memory.  It ends
   when this one is killed, and holds no folder against the next.  'quiet': only what it complains
   of is seen. */
static int run_process(const step *s, bool quiet) {
  const char *argv[MOST_WORDS + 2] = {"qpal"};
  memcpy(argv + 1, s->word, s->words * sizeof *argv);
  const pid_t self = getpid();
  pid_t pid;
  if (qp_process_fork(&pid, NULL)) return 3;
  if (!pid) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self) _exit(127);
    const int nowhere = quiet ? open("/dev/null", O_WRONLY) : -1;
    if (nowhere >= 0) dup2(nowhere, STDOUT_FILENO);
    setenv("QPAL_STEP", s->place, 1);
    execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    _exit(127);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

/* ---- The steps ---- */

static void calibrate(step *s, const make_options *o, const char *model) {
  say(s, "calibrate");
  say(s, model);
  option(s, "--text", o->text);
  option(s, "-o", in_out(s, o, "calibration"));
}

static void number(step *s, const char *name, unsigned value) {
  char *text = s->path[s->paths++];
  snprintf(text, PATH_BYTES, "%u", value);
  option(s, name, text);
}

/* What a plan is made of, but for what a calibration knows. */
static void plan_within(step *s, const make_options *o, const char *model) {
  say(s, "plan");
  option(s, "--model", model);
  option(s, "--bits", o->bits);
  option(s, "--tps", o->tps);
  option(s, "--memory", o->memory);
  if (o->tps) option(s, "--gpu", o->gpu);
  option(s, "--quantizers", o->quantizers);
  option(s, "--embedding", o->embedding);
}

static void plan(step *s, const make_options *o, const char *model) {
  plan_within(s, o, model);
  if (o->text) option(s, "--calibration", in_out(s, o, "calibration"));
  option(s, "-o", in_out(s, o, "plan.json"));
  option(s, "--svg", in_out(s, o, "plan.svg"));
  say(s, "--front");
}

static bool refines(const make_options *o) { return o->text && !o->no_refine; }

static void quantize(step *s, const make_options *o, const char *model) {
  say(s, "quantize");
  say(s, model);
  option(s, "--plan", in_out(s, o, "plan.json"));
  if (o->text) option(s, "--calibration", in_out(s, o, "calibration"));
  if (o->blocks) {
    number(s, "--blocks", o->blocks);
    option(s, "--keep", "lm_head");
  }
  number(s, "--seed", o->seed);
  option(s, "-o", in_out(s, o, refines(o) ? "quantized" : "packed"));
}

static void refine(step *s, const make_options *o, const char *model) {
  say(s, "refine");
  say(s, in_out(s, o, "quantized"));
  option(s, "--against", model);
  option(s, "--text", o->text);
  option(s, "-o", in_out(s, o, "packed"));
}

static void export(step *s, const make_options *o, const char *model) {
  (void)model;
  say(s, "export");
  option(s, "--plan", in_out(s, o, "plan.json"));
  option(s, "--gpu", o->gpu);
  option(s, "--batch", o->batch);
  option(s, "--type", o->type);
  option(s, "--decoder", "model");
  option(s, "-o", in_out(s, o, "library"));
}

static void verify(step *s, const make_options *o, const char *model) {
  (void)model;
  say(s, "verify");
  say(s, in_out(s, o, "packed"));
  if (o->gpu) say(s, in_out(s, o, "library"));
}

static void evaluate(step *s, const make_options *o, const char *model) {
  say(s, "evaluate");
  say(s, in_out(s, o, "packed"));
  option(s, "--against", model);
  option(s, "--text", o->judge);
  if (o->judge_tokens) number(s, "--limit", o->judge_tokens);
}

static void report(step *s, const make_options *o, const char *model) {
  (void)model;
  say(s, "report");
  say(s, o->out);
  option(s, "-o", in_out(s, o, "report.html"));
}

/* Each step, what makes it wanted, and the file that says that it was done. */
typedef struct row {
  void (*words)(step *s, const make_options *o, const char *model);
  bool wanted;
  const char *done; /* NULL: the verb itself goes on, or is quick */
} row;

static bool is_there(const make_options *o, const char *name) {
  step s = {0};
  struct stat info;
  return stat(in_out(&s, o, name), &info) == 0;
}

/* Whether a plan is possible, before a calibration takes its time: what is wrong with the model,
   the limits or the menu is known without one. */
static int try_plan(const make_options *o, const char *model) {
  static step s;
  if (!o->text || is_there(o, "calibration")) return 0;
  plan_within(&s, o, model);
  return run_process(&s, true);
}

static int run_steps(const make_options *o, const char *model) {
  const row rows[] = {{calibrate, o->text != NULL, NULL},
                      {plan, true, "plan.front.svg"}, /* what it writes last */
                      {quantize, true, NULL},
                      {refine, refines(o), "packed/config.json"},
                      {export, o->gpu != NULL, "library/manifest.json"},
                      {verify, true, NULL},
                      {evaluate, o->judge != NULL, NULL},
                      {report, true, NULL}};
  unsigned count = 0, number = 0;
  const int impossible = try_plan(o, model);
  if (impossible) return impossible;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) count += rows[i].wanted;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    static step s;
    if (!rows[i].wanted) continue;
    s = (step){.words = 0};
    rows[i].words(&s, o, model);
    snprintf(s.place, sizeof s.place, "[%u/%u] ", ++number, count);
    show(&s);
    if (rows[i].done && is_there(o, rows[i].done)) {
      printf("%s/%s is there already\n", o->out, rows[i].done);
      continue;
    }
    const int code = run_process(&s, false);
    if (code) return code;
  }
  if (!o->gpu) printf("no kernels were exported: --gpu says for which GPU\n");
  return 0;
}

/* ---- What was asked for ---- */

/* OUT/make.json holds the options of the run that made OUT: another run's steps do not fit those
   that what is there already was made with. */
static qp_status check_request(const make_options *o, const char *model, qp_error *err) {
  char file[PATH_BYTES], blocks[16] = "", seed[16] = "";
  if (o->blocks) snprintf(blocks, sizeof blocks, "%u", o->blocks);
  if (o->seed != FIRST_SEED) snprintf(seed, sizeof seed, "%u", o->seed);
  const bool packed = is_there(o, "packed") || is_there(o, "quantized");
  const bool planned = packed || is_there(o, "plan.json");
  const bool begun = planned || is_there(o, "calibration"), exported = is_there(o, "library");
  const struct {
    const char *name, *value;
    bool used;
  } asked[] = {{"model", model, begun},
               {"bits", o->bits, planned},
               {"tps", o->tps, planned},
               {"memory", o->memory, planned},
               {"gpu", o->gpu, exported || (o->tps && planned)},
               {"text", o->text, begun},
               {"batch", o->batch, exported},
               {"type", o->type, exported},
               {"quantizers", o->quantizers, planned},
               {"embedding", o->embedding, planned},
               {"blocks", blocks, packed},
               {"seed", seed, packed},
               {"refine", o->no_refine ? "no" : NULL, packed}};
  snprintf(file, sizeof file, "%s/make.json", o->out);
  cJSON *before = NULL, *now = cJSON_CreateObject();
  bool changed = false;
  qp_status status = QP_OK;
  if (access(file, F_OK) == 0) status = qp_json_read(file, &before, err);
  for (size_t i = 0; i < sizeof asked / sizeof *asked && !status; i++) {
    const char *was = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(before, asked[i].name));
    const char *is = asked[i].value ? asked[i].value : "";
    cJSON_AddStringToObject(now, asked[i].name, is);
    const bool same = !strcmp(was ? was : "", is);
    changed = changed || !same;
    if (before && asked[i].used && !same)
      status = qp_fail(err, QP_E_ARG,
                       "%s: field '%s' is '%s', and '%s' is asked for now: choose another -o, or "
                       "give the same command to go on",
                       file, asked[i].name, was ? was : "", is);
  }
  char *text = status || (before && !changed) ? NULL : cJSON_Print(now);
  if (text) status = qp_file_write(file, text, strlen(text), err);
  cJSON_free(text);
  cJSON_Delete(before);
  cJSON_Delete(now);
  return status;
}

static qp_status check(const make_options *o, const qp_words *words, qp_error *err) {
  if (words->count != 1)
    return qp_fail(err, QP_E_ARG, "one MODEL is needed, got %zu", words->count);
  if (!o->out || !*o->out) return qp_fail(err, QP_E_ARG, "-o OUT is needed: where to write");
  if (strlen(o->out) + 64 > PATH_BYTES) return qp_fail(err, QP_E_LIMIT, "-o: the path is too long");
  if (!o->bits && !o->tps && !o->memory)
    return qp_fail(err, QP_E_ARG, "--bits, --memory or --tps is needed: how small, or how fast");
  if (o->tps && !o->gpu)
    return qp_fail(err, QP_E_ARG, "--tps: --gpu is needed, whose latencies count");
  if (access(words->word[0], R_OK) != 0)
    return qp_fail(err, QP_E_IO, "%s: cannot be opened: %s", words->word[0], strerror(errno));
  const char *const files[] = {o->text, o->judge};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    int file = -1;
    if (files[i] && qp_regular_file_open(files[i], O_RDONLY, &file, err)) return QP_E_IO;
    if (file >= 0) close(file);
  }
  const qp_status status = o->gpu ? qp_cmd_export_check(o->gpu, o->batch, o->type, err) : QP_OK;
  if (status) return status;
  return check_request(o, words->word[0], err);
}

int qp_cmd_make(int argc, char **argv) {
  make_options o = {.batch = "1,8", .seed = FIRST_SEED};
  const qp_option table[] = {
      QP_TEXT("o", o.out, "OUT", "folder to write to"),
      QP_TEXT("bits", o.bits, "B", "stored bits per planned weight at most"),
      QP_TEXT("memory", o.memory, "BYTES", "of the whole model at most: 4GB"),
      QP_TEXT("tps", o.tps, "T", "tokens a second at least, by the records of --gpu"),
      QP_TEXT("gpu", o.gpu, "GPU",
              "whose kernels to export, as for qpal export (without it no library)"),
      QP_TEXT("text", o.text, "FILE", "calibrate and refine on this text"),
      QP_FLAG("no-refine", o.no_refine, "leave scales and norms as quantize writes them"),
      QP_TEXT("judge", o.judge, "FILE", "another text: perplexity and KL divergence at the end"),
      QP_NUMBER("judge-tokens", o.judge_tokens, "N", "of that text, from its beginning (all)", 1,
                1 << 30),
      QP_TEXT("quantizers", o.quantizers, "LIST", "the menu (all)"),
      QP_TEXT("embedding", o.embedding, "Q", "pack the embedding, too, as qpal plan does"),
      QP_NUMBER("blocks", o.blocks, "N", "quantize only the first N blocks, to try", 1, 1 << 16),
      QP_TEXT("batch", o.batch, "N,...", "rows of activations of the library (1,8)"),
      QP_TEXT("type", o.type, "TYPE,...", "its activations: f16, bf16 (as for qpal export)"),
      QP_NUMBER("seed", o.seed, "N", "of the rotation's signs (1)", 0, 4294967295u),
      {0}};
  qp_words words = {0};
  const int code = qp_options_parse(&help, table, argc, argv, &words);
  if (code >= 0) return code;
  qp_error err = {{0}};
  const qp_status status = check(&o, &words, &err);
  return status ? qp_complain("make", status, &err) : run_steps(&o, words.word[0]);
}
