/* SPDX-License-Identifier: MIT */
/*
** How fast weights find their codes:  bench_encode [OTHER [NAME...]].  Runs `qpal distortion` of
** this build and, alternating with it, of another one (its `qpal`), over a list of quantizers or
** those named.  Of each it prints N(0,1) weights a CPU second with one thread (start-up and the
** making of tables taken off: two runs of different lengths are subtracted), weights a second of
** wall clock with two threads over one, and the distortion.  The median of several rounds counts,
** as other work shares the machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 3, PROGRAMS = 2 };

typedef struct entry {
  const char *name;
  unsigned columns, few, many; /* weights of the two runs; multiples of 32 columns */
} entry;

static const entry usual[] = {
    {"tcq-2", 4096, 131072, 393216},     {"tcq-3", 4096, 131072, 393216},
    {"tcq-4", 4096, 131072, 393216},     {"lin-3", 4096, 131072, 262144},
    {"mix-4", 4096, 131072, 262144},     {"tcq-3.25", 4096, 131072, 262144},
    {"wide-3", 1024, 32768, 65536},      {"long-3", 256, 8192, 16384},
    {"vq2-3", 4096, 131072, 2097152},    {"nuq-4", 4096, 131072, 2097152},
    {"int4-g128", 4096, 131072, 262144}, {"nf4-g64", 4096, 131072, 262144},
};
static const entry other = {NULL, 4096, 131072, 262144};

/* One run of a program. */
typedef struct outcome {
  double cpu_s, weights_per_s, distortion;
} outcome;

static double number_after(const char *text, const char *key) {
  const char *at = strstr(text, key);
  return at ? strtod(at + strlen(key) + strspn(at + strlen(key), "\": \t"), NULL) : -1;
}

static double seconds_of(struct timeval t) { return (double)t.tv_sec + 1e-6 * (double)t.tv_usec; }

static void become(const char *program, const entry *e, unsigned weights, unsigned threads,
                   const int pipe_end[2]) {
  char columns[16], samples[16], count[16];
  snprintf(columns, sizeof columns, "%u", e->columns);
  snprintf(samples, sizeof samples, "%u", weights);
  snprintf(count, sizeof count, "%u", threads);
  dup2(pipe_end[1], STDOUT_FILENO);
  close(pipe_end[0]);
  execl(program, program, "distortion", e->name, "--json", "--columns", columns, "--samples",
        samples, "--threads", count, (char *)NULL);
  perror(program);
  _exit(127);
}

static outcome run(const char *program, const entry *e, unsigned weights, unsigned threads) {
  char text[8192] = "";
  size_t used = 0;
  int ends[2], status = 0;
  struct rusage usage;
  if (pipe(ends)) exit(1);
  fflush(stdout);
  const pid_t child = fork();
  if (child < 0) exit(1);
  if (!child) become(program, e, weights, threads, ends);
  close(ends[1]);
  for (ssize_t n; (n = read(ends[0], text + used, sizeof text - 1 - used)) > 0;) used += (size_t)n;
  close(ends[0]);
  if (wait4(child, &status, 0, &usage) < 0 || status) {
    fprintf(stderr, "%s distortion %s failed\n", program, e->name);
    exit(1);
  }
  return (outcome){.cpu_s = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
                   .weights_per_s = number_after(text, "\"weights_per_s\""),
                   .distortion = number_after(text, "\"distortion\"")};
}

static int compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *v, size_t n) {
  qsort(v, n, sizeof *v, compare);
  return v[n / 2];
}

static void bench(const char *const *program, unsigned programs, const entry *e) {
  double speed[PROGRAMS][ROUNDS], scaling[PROGRAMS][ROUNDS], distortion[PROGRAMS];
  for (unsigned p = 0; p < programs; p++) run(program[p], e, e->few, 1); /* finds the input scale */
  for (unsigned r = 0; r < ROUNDS; r++) {
    for (unsigned p = 0; p < programs; p++) {
      const outcome few = run(program[p], e, e->few, 1), many = run(program[p], e, e->many, 1);
      const outcome two = run(program[p], e, e->many, 2);
      speed[p][r] = (e->many - e->few) / (many.cpu_s - few.cpu_s);
      scaling[p][r] = two.weights_per_s / many.weights_per_s;
      distortion[p] = many.distortion;
    }
  }
  for (unsigned p = 0; p < programs; p++)
    printf("%-10s %-7s %12.0f weights/CPU s   two threads %4.2fx   distortion %.6f\n", e->name,
           p ? "other" : "this", median(speed[p], ROUNDS), median(scaling[p], ROUNDS),
           distortion[p]);
  if (programs > 1)
    printf("%-10s this over other: speed %.2fx   distortion %.5fx\n", e->name,
           median(speed[0], ROUNDS) / median(speed[1], ROUNDS), distortion[0] / distortion[1]);
}

static entry find(const char *name) {
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
    if (!strcmp(usual[i].name, name)) return usual[i];
  entry e = other;
  e.name = name;
  return e;
}

int main(int argc, char **argv) {
  const char *program[PROGRAMS] = {QP_BINARY_DIR "/qpal", argc > 1 ? argv[1] : NULL};
  const unsigned programs = argc > 1 ? PROGRAMS : 1;
  for (int i = 2; i < argc; i++) {
    const entry e = find(argv[i]);
    bench(program, programs, &e);
  }
  for (size_t i = 0; argc <= 2 && i < sizeof usual / sizeof *usual; i++)
    bench(program, programs, &usual[i]);
  return 0;
}
