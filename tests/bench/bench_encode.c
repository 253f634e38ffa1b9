/* SPDX-License-Identifier: MIT */
/*
** How fast weights find their codes:  bench_encode [-r ROUNDS] [-t] [OTHER [NAME...]].  Runs
** `qpal quantize` of this build and, alternating with it, of another one (its `qpal`), on made-up
** models of one linear, with and without a Hessian, over a list of quantizers or those named, and
** prints one row of a table for each:
**   weights a CPU second with one thread, start-up and the making of tables taken off (two models
**   of different numbers of rows are subtracted), of this build, of the other, and their ratio;
**   the distortion, of the other's; the same with a Hessian, with the ratio of the outputs' errors;
**   the time with a Hessian over that without;
**   with -t, on a machine that does nothing else: weights a second of wall clock with two threads
**   over one, of models four times as large, whose groups of 32 rows are shared evenly.
** The median of the rounds counts, as other work shares the machine. */
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/encode/sample.h"
#include "gen/model/tensor_writer.h"

enum { MOST_ROUNDS = 9, PROGRAMS = 2, HEAD = 32, VOCABULARY = 64 };

#define INPUT_SCALE "0.97"
#define LINEAR      "model.layers.0.mlp.up_proj"

/* Rows of the two models, by the speed that is expected. */
typedef struct entry {
  const char *name;
  unsigned columns, few, many;
} entry;

static const entry usual[] = {
    {"tcq-2", 1024, 32, 128},    {"tcq-3", 1024, 32, 128},   {"tcq-4", 1024, 32, 128},
    {"lin-3", 1024, 32, 128},    {"mix-4", 1024, 32, 128},   {"wide-3", 512, 32, 64},
    {"long-3", 256, 32, 64},     {"vq2-3", 1024, 256, 4096}, {"nuq-4", 1024, 256, 4096},
    {"int4-g128", 1024, 32, 64}, {"nf4-g64", 1024, 32, 64},
};
static const entry other_entry = {NULL, 1024, 32, 128};

/* One run of a program. */
typedef struct outcome {
  double cpu_s, wall_s, distortion, proxy;
} outcome;

/* What is asked of it. */
typedef struct request {
  const char *program, *name;
  unsigned columns, rows, threads;
  bool hessian;
} request;

static char folder[] = "/tmp/qpal-bench-XXXXXX";

static void fail(const char *what) {
  fprintf(stderr, "bench_encode: %s\n", what);
  exit(1);
}

/* ---- A model of one linear ---- */

static const char *path_of(char text[128], const char *format, unsigned a, unsigned b) {
  char name[64];
  snprintf(name, sizeof name, format, a, b); /* NOLINT(clang-diagnostic-format-nonliteral) */
  snprintf(text, 128, "%s/%s", folder, name);
  return text;
}

/* A tensor to be: 'random' or zeros. */
typedef struct declared {
  const char *name;
  unsigned rows, columns; /* rows: 0, one dimension */
  bool random;
} declared;

static void write_tensors(const char *path, const declared *t, size_t n) {
  qp_error err = {{0}};
  qp_tensor_writer *w = NULL;
  qp_status status = qp_tensor_writer_new(path, &w, &err);
  for (size_t i = 0; i < n && !status; i++) {
    const uint64_t both[] = {t[i].rows, t[i].columns}, *shape = t[i].rows ? both : both + 1;
    status =
        qp_tensor_writer_declare(w, t[i].name, QP_TENSOR_F32, t[i].rows ? 2 : 1, shape, NULL, &err);
  }
  if (!status) status = qp_tensor_writer_start(w, &err);
  for (size_t i = 0; i < n && !status; i++) {
    const size_t count = (size_t)(t[i].rows ? t[i].rows : 1) * t[i].columns;
    float *data = calloc(count, sizeof *data);
    if (!data) fail("out of memory");
    if (t[i].random) qp_sample_gaussian(1, count, data);
    status = qp_tensor_writer_write(w, i, 0, data, sizeof *data * count, &err);
    free(data);
  }
  if (!status) status = qp_tensor_writer_finish(w, &err);
  qp_tensor_writer_free(w);
  if (status) fail(err.text);
}

#define IN_BLOCK "model.layers.0."

static void write_model(unsigned rows, unsigned columns) {
  const declared all[] = {
      {"model.embed_tokens.weight", VOCABULARY, columns, false},
      {"model.norm.weight", 0, columns, false},
      {IN_BLOCK "input_layernorm.weight", 0, columns, false},
      {IN_BLOCK "post_attention_layernorm.weight", 0, columns, false},
      {IN_BLOCK "self_attn.q_proj.weight", HEAD, columns, false},
      {IN_BLOCK "self_attn.k_proj.weight", HEAD, columns, false},
      {IN_BLOCK "self_attn.v_proj.weight", HEAD, columns, false},
      {IN_BLOCK "self_attn.o_proj.weight", columns, HEAD, false},
      {IN_BLOCK "mlp.gate_proj.weight", rows, columns, false},
      {LINEAR ".weight", rows, columns, true},
      {IN_BLOCK "mlp.down_proj.weight", columns, rows, false},
  };
  char path[128], text[512], file[160];
  if (mkdir(path_of(path, "m%ux%u", rows, columns), 0700)) return; /* made before */
  snprintf(file, sizeof file, "%s/model.safetensors", path);
  write_tensors(file, all, sizeof all / sizeof *all);
  snprintf(file, sizeof file, "%s/config.json", path);
  const int n = snprintf(
      text, sizeof text,
      "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": %u, "
      "\"intermediate_size\": %u, \"num_attention_heads\": 1, \"num_key_value_heads\": 1, "
      "\"head_dim\": %d, \"num_hidden_layers\": 1, \"vocab_size\": %d, \"rms_norm_eps\": 1e-5, "
      "\"tie_word_embeddings\": true}",
      columns, rows, HEAD, VOCABULARY);
  qp_error err = {{0}};
  if (qp_file_write(file, text, (size_t)n, &err)) fail(err.text);
}

/* H[i][j] = 0.9^|i - j|, and half as much again on the diagonal. */
static void write_hessian(unsigned columns) {
  qp_error err = {{0}};
  qp_tensor_writer *w = NULL;
  char path[128];
  const uint64_t shape[] = {columns, columns};
  float *row = malloc(sizeof *row * columns), power[4096];
  if (!row || columns > sizeof power / sizeof *power) fail("too many columns");
  if (!access(path_of(path, "h%u.safetensors", columns, 0), F_OK)) {
    free(row);
    return;
  }
  for (unsigned i = 0; i < columns; i++) power[i] = i ? 0.9F * power[i - 1] : 1;
  qp_status status = qp_tensor_writer_new(path, &w, &err);
  if (!status)
    status = qp_tensor_writer_declare(w, LINEAR ".hessian", QP_TENSOR_F32, 2, shape, NULL, &err);
  if (!status) status = qp_tensor_writer_start(w, &err);
  for (unsigned i = 0; i < columns && !status; i++) {
    for (unsigned j = 0; j < columns; j++) row[j] = power[i > j ? i - j : j - i];
    row[i] += 0.5F;
    status =
        qp_tensor_writer_write(w, 0, sizeof *row * columns * i, row, sizeof *row * columns, &err);
  }
  if (!status) status = qp_tensor_writer_finish(w, &err);
  qp_tensor_writer_free(w);
  free(row);
  if (status) fail(err.text);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
  (void)info, (void)kind, (void)at;
  return remove(path);
}

static void remove_folder(const char *path) { nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

/* ---- Runs ---- */

static double number_after(const char *text, const char *key) {
  const char *at = strstr(text, key);
  return at ? strtod(at + strlen(key) + strspn(at + strlen(key), "\": \t"), NULL) : -1;
}

static double seconds_of(struct timeval t) { return (double)t.tv_sec + 1e-6 * (double)t.tv_usec; }

static double wall_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void become(const request *r, int out) {
  char model[128], hessian[128], to[128], threads[16];
  const char *argv[32] = {r->program,
                          "quantize",
                          path_of(model, "m%ux%u", r->rows, r->columns),
                          "--quantizer",
                          r->name,
                          "-o",
                          path_of(to, "out", 0, 0),
                          "--no-rotation",
                          "--input-scale",
                          INPUT_SCALE,
                          "--json",
                          "--threads",
                          threads};
  static const char *const keep[] = {"q_proj", "k_proj",    "v_proj",
                                     "o_proj", "gate_proj", "down_proj"};
  unsigned n = 13;
  snprintf(threads, sizeof threads, "%u", r->threads);
  for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
    argv[n++] = "--keep";
    argv[n++] = keep[i];
  }
  if (r->hessian) {
    argv[n++] = "--hessian";
    argv[n++] = path_of(hessian, "h%u.safetensors", r->columns, 0);
  }
  dup2(out, STDOUT_FILENO);
  setenv("OPENBLAS_NUM_THREADS", "1", 1);
  if (!freopen("/dev/null", "w", stderr)) _exit(127);
  execv(r->program, (char *const *)argv);
  _exit(127);
}

static outcome run(const request *r) {
  static char text[1 << 16];
  size_t used = 0;
  int ends[2], status = 0;
  struct rusage usage;
  char to[128];
  if (pipe(ends)) fail("no pipe");
  fflush(stdout);
  const double began = wall_clock();
  const pid_t child = fork();
  if (child < 0) fail("no process");
  if (!child) become(r, ends[1]);
  close(ends[1]);
  for (ssize_t n; (n = read(ends[0], text + used, sizeof text - 1 - used)) > 0;) used += (size_t)n;
  text[used] = 0;
  close(ends[0]);
  if (wait4(child, &status, 0, &usage) < 0 || status) {
    fprintf(stderr, "%s quantize --quantizer %s failed\n", r->program, r->name);
    remove_folder(folder);
    exit(1);
  }
  const double wall = wall_clock() - began;
  remove_folder(path_of(to, "out", 0, 0));
  return (outcome){.cpu_s = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
                   .wall_s = wall,
                   .distortion = number_after(text, "\"distortion\""),
                   .proxy = number_after(text, "\"proxy\"")};
}

static int compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *v, size_t n) {
  qsort(v, n, sizeof *v, compare);
  return v[n / 2];
}

/* ---- The table ---- */

/* Of one program: index 1 with a Hessian. */
typedef struct series {
  double speed[2][MOST_ROUNDS], scaling[2][MOST_ROUNDS], loss[2];
} series;

/* Rows of two models that two threads have to share: as many groups of 32 rows each. */
static entry shared_rows(const entry *e) {
  enum { GROUPS = 64, MORE = 4, MOST = 4096 };
  const unsigned more = e->many - e->few, all = more < MOST / MORE ? MORE * more : more;
  return (entry){
      .columns = e->columns, .few = GROUPS, .many = GROUPS + (all + GROUPS - 1) / GROUPS * GROUPS};
}

/* Wall clock that the rows between both models take. */
static double time_between(request r, const entry *e, unsigned threads) {
  r.threads = threads;
  r.rows = e->few;
  const double few = run(&r).wall_s;
  r.rows = e->many;
  return run(&r).wall_s - few;
}

static void measure(series *s, request r, const entry *e, unsigned round, bool two) {
  const entry shared = shared_rows(e);
  const double weights = (double)(e->many - e->few) * e->columns;
  for (unsigned h = 0; h < 2; h++) {
    r.hessian = h;
    r.threads = 1;
    r.rows = e->few;
    const outcome few = run(&r);
    r.rows = e->many;
    const outcome many = run(&r);
    s->speed[h][round] = weights / (many.cpu_s - few.cpu_s);
    s->loss[h] = h ? many.proxy : many.distortion;
    if (two) s->scaling[h][round] = time_between(r, &shared, 1) / time_between(r, &shared, 2);
  }
}

static void print_row(const entry *e, series *s, unsigned programs, unsigned rounds, bool two) {
  double speed[PROGRAMS][2] = {{0}};
  for (unsigned p = 0; p < programs; p++)
    for (unsigned h = 0; h < 2; h++) speed[p][h] = median(s[p].speed[h], rounds);
  printf("| `%s` |", e->name);
  for (unsigned h = 0; h < 2; h++) {
    printf(" %.0f |", speed[0][h]);
    if (programs > 1)
      printf(" %.0f | %.2f | %.4f |", speed[1][h], speed[0][h] / speed[1][h],
             s[0].loss[h] / s[1].loss[h]);
    else
      printf(" %.6f |", s[0].loss[h]);
  }
  printf(" %.2f |", speed[0][0] / speed[0][1]);
  for (unsigned p = 0; p < programs && two; p++)
    for (unsigned h = 0; h < 2; h++) printf(" %.2f |", median(s[p].scaling[h], rounds));
  printf("\n");
  fflush(stdout);
}

static void print_head(unsigned programs, bool two) {
  const char *const one = " this | loss |", *const both = " this | other | ratio | loss |";
  printf("| |%s%s of the time without |", programs > 1 ? both : one, programs > 1 ? both : one);
  for (unsigned i = 0; i < 2 * programs && two; i++) printf(" two threads |");
  printf("\n|");
  for (unsigned i = 0; i < (programs > 1 ? 10 : 6) + (two ? 2 * programs : 0); i++) printf("---|");
  printf("\n");
}

static entry find(const char *name) {
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
    if (!strcmp(usual[i].name, name)) return usual[i];
  entry e = other_entry;
  e.name = name;
  return e;
}

int main(int argc, char **argv) {
  unsigned rounds = 3;
  bool two = false;
  for (int c; (c = getopt(argc, argv, "r:t")) != -1;) {
    if (c == '?') fail("usage: bench_encode [-r ROUNDS] [-t] [OTHER [NAME...]]");
    if (c == 't') two = true;
    if (c == 'r') rounds = (unsigned)strtoul(optarg, NULL, 10);
  }
  if (!rounds || rounds > MOST_ROUNDS) fail("-r: 1 to 9 rounds");
  argc -= optind;
  argv += optind;
  const char *program[PROGRAMS] = {QP_BINARY_DIR "/qpal", argc ? argv[0] : NULL};
  const unsigned programs = argc ? PROGRAMS : 1;
  const size_t all = argc > 1 ? (size_t)argc - 1 : sizeof usual / sizeof *usual;
  if (!mkdtemp(folder)) fail("no folder in /tmp");
  print_head(programs, two);
  for (size_t i = 0; i < all; i++) {
    const entry e = argc > 1 ? find(argv[1 + i]) : usual[i];
    series s[PROGRAMS];
    memset(s, 0, sizeof s);
    write_model(e.few, e.columns);
    write_model(e.many, e.columns);
    write_hessian(e.columns);
    if (two) write_model(shared_rows(&e).few, e.columns);
    if (two) write_model(shared_rows(&e).many, e.columns);
    for (unsigned p = 0; p < programs; p++) /* makes what is kept: codebooks */
      run(&(request){program[p], e.name, e.columns, e.few, 1, false});
    for (unsigned r = 0; r < rounds; r++)
      for (unsigned p = 0; p < programs; p++)
        measure(&s[p], (request){.program = program[p], .name = e.name, .columns = e.columns}, &e,
                r, two);
    print_row(&e, s, programs, rounds, two);
  }
  remove_folder(folder);
  return 0;
}
