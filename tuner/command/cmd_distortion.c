/* SPDX-License-Identifier: MIT */
/* qpal distortion shows what the real encoder loses on N(0,1), beside the bound and a published
   figure. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/encode/trellis_table.h"
#include "gen/encode/coders.h"
#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "tuner/command/commands.h"
#include "tuner/check/cost.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/base/session.h"
#include "tuner/base/watch.h"

enum { DEFAULT_COLUMNS = 4096, DEFAULT_SAMPLES = 524288, CHUNK_GROUPS = 64, COST_ARCH = 90 };

static const qp_verb_help help = {
    "distortion", "QUANTIZER... [options]",
    "Encodes weights drawn from N(0,1) as linears are encoded (rotation off) and prints the mean\n"
    "squared error relative to their variance with its standard error, the rate-distortion bound\n"
    "2^-2R at the stored rate and, with --against, published figures; with --cost, what a weight\n"
    "costs the tensor-core kernel, counted in the simulator: PTX instructions, wavefronts of "
    "shared\n"
    "memory, and issue slots, the larger of instructions and four times wavefronts (qpal cost "
    "counts\n"
    "machine code, for two weights). Without QUANTIZER: all."};

typedef struct distortion_options {
  const char *against;
  double input_scale; /* 0: the best one is searched */
  unsigned samples, columns, threads, seed, beam;
  bool json, cost;
} distortion_options;

/* One quantizer's figures. */
typedef struct figures {
  double distortion, error, seconds;
  size_t weights;
} figures;

/* ---- Measuring ---- */

static qp_status find_input_scale(const qp_quantizer *q, const distortion_options *o, double *out,
                                  qp_error *err) {
  qp_progress bar;
  if (o->input_scale > 0) return *out = o->input_scale, QP_OK;
  qp_progress_begin(&bar, "input scale, once", 1);
  qp_progress_show(&bar, 0, q->name);
  const qp_status status = qp_encode_input_scale(q, out, err);
  qp_progress_end(&bar);
  return status;
}

/* How many whole groups of 32 rows hold the weights that were asked for. */
static unsigned groups_of(const distortion_options *o) {
  const size_t group = (size_t)32 * o->columns;
  return (unsigned)((o->samples + group - 1) / group);
}

/* Say so where more weights are encoded than were asked for; JSON has the column 'weights'. */
static void print_rounding(const distortion_options *o) {
  const size_t weights = (size_t)groups_of(o) * 32 * o->columns;
  if (weights == o->samples) return;
  printf("%zu weights were encoded, not %u: whole groups of 32 rows of --columns %u\n", weights,
         o->samples, o->columns);
}

/* Rows are coded in chunks of 64 groups of 32, so that memory does not grow with the sample. */
static qp_status measure(const qp_quantizer *q, const distortion_options *o, figures *out,
                         qp_error *err) {
  const unsigned groups = groups_of(o);
  float *weights = malloc(sizeof *weights * 32 * CHUNK_GROUPS * o->columns);
  if (!weights) return qp_fail(err, QP_E_NOMEM, "no memory for %u columns", o->columns);
  double sum = 0, square = 0, rows = 0;
  qp_watch w;
  qp_status status = QP_OK;
  qp_encode_options options = {.threads = o->threads,
                               .beam = o->beam,
                               .stands_for_more = true,
                               .done = &w.done,
                               .coders = qp_coders_new(QP_CODERS_BYTES)};
  status = find_input_scale(q, o, &options.input_scale, err); /* once, not timed */
  const double started = qp_seconds();
  qp_watch_begin(&w, q->name, "weights", (size_t)groups * 32 * o->columns);
  for (unsigned g = 0; !status && g < groups; g += CHUNK_GROUPS) {
    const unsigned n = 32 * (groups - g < CHUNK_GROUPS ? groups - g : CHUNK_GROUPS);
    qp_encoded e;
    qp_sample_gaussian(o->seed + 1000 * (uint64_t)g, (size_t)n * o->columns, weights);
    status = qp_encode_linear(q, weights, n, o->columns, &options, &e, err);
    for (unsigned r = 0; !status && r < n; r++) {
      sum += (double)e.row_distortion[r];
      square += (double)e.row_distortion[r] * (double)e.row_distortion[r];
    }
    if (!status && !g && *e.unfitted)
      fprintf(stderr, "%s: codebooks stay as the file has them: %s\n", q->name, e.unfitted);
    if (!status) qp_encoded_free(&e);
    rows += n;
  }
  qp_watch_end(&w);
  qp_coders_free(options.coders);
  free(weights);
  if (status) return status;
  const double mean = sum / rows;
  *out = (figures){.distortion = mean,
                   .error = sqrt(fmax(square / rows - mean * mean, 0) / (rows - 1)),
                   .seconds = qp_seconds() - started,
                   .weights = (size_t)rows * o->columns};
  return QP_OK;
}

static void print_row(qp_table_out *t, const qp_quantizer *q, const figures *f, const qp_cost *cost,
                      const cJSON *against) {
  const double bound = exp2(-2 * q->stored_rate);
  double published;
  qp_table_row(t);
  qp_table_text(t, q->name);
  qp_table_number(t, q->stored_rate, "%.4g");
  qp_table_number(t, f->distortion, "%.6f");
  qp_table_number(t, f->error, "%.6f");
  qp_table_number(t, bound, "%.6f");
  qp_table_number(t, 10 * log10(f->distortion / bound), "%.2f");
  if (against) {
    const cJSON *row = cJSON_GetObjectItemCaseSensitive(against, q->name);
    if (row && !qp_json_number(row, q->name, "distortion", 0, 1e3, &published, NULL)) {
      qp_table_number(t, published, "%.6f");
      qp_table_number(t, f->distortion / published, "%.4f");
    } else {
      qp_table_text(t, "-");
      qp_table_text(t, "-");
    }
  }
  if (cost) {
    qp_table_number(t, cost->instructions, "%.3f");
    qp_table_number(t, cost->wavefronts, "%.3f");
    qp_table_number(t, cost->slots, "%.3f");
  }
  qp_table_number(t, (double)f->weights, "%.0f");
  qp_table_number(t, (double)f->weights / f->seconds, "%.0f");
}

/* all: room for the columns, which the table keeps using */
static qp_table_out *new_table(const distortion_options *o, qp_column all[static 14]) {
  static const qp_column begin[] = {{"quantizer", false}, {"bits", true},
                                    {"distortion", true}, {"standard_error", true},
                                    {"bound", true},      {"db_above_bound", true}};
  static const qp_column against[] = {{"published", true}, {"ratio", true}};
  static const qp_column cost[] = {{"instructions", true}, {"wavefronts", true}, {"slots", true}};
  static const qp_column end[] = {{"weights", true}, {"weights_per_s", true}, {NULL, false}};
  size_t n = 0;
  for (size_t i = 0; i < sizeof begin / sizeof *begin; i++) all[n++] = begin[i];
  for (size_t i = 0; o->against && i < sizeof against / sizeof *against; i++) all[n++] = against[i];
  for (size_t i = 0; o->cost && i < sizeof cost / sizeof *cost; i++) all[n++] = cost[i];
  for (size_t i = 0; i < sizeof end / sizeof *end; i++) all[n++] = end[i];
  return qp_table_new(all, o->json);
}

/* Kernels compile in a process of their own, which begins before there are threads. */
static qp_status count_costs(const qp_session *s, const qp_quantizer *const *q, size_t count,
                             qp_cost **out, qp_error *err) {
  const qp_compiler_options options = {.workers = 1};
  qp_compiler *compiler = NULL;
  qp_progress bar;
  *out = calloc(count, sizeof **out);
  if (!*out) return qp_fail(err, QP_E_NOMEM, "out of memory");
  qp_status status = qp_compiler_open(&options, &compiler, err);
  if (status) return status;
  qp_progress_begin(&bar, "cost", count);
  for (size_t i = 0; !status && i < count; i++) {
    qp_progress_show(&bar, i, q[i]->name);
    status = qp_cost_count(s->families, compiler, q[i], COST_ARCH, &(*out)[i], err);
    if (status) qp_fail_prefix(err, status, "%s", q[i]->name);
  }
  qp_progress_end(&bar);
  qp_compiler_close(compiler);
  return status;
}

static qp_status run(const distortion_options *o, const char *list, qp_error *err) {
  qp_session session = {0};
  const qp_quantizer **quantizer = NULL;
  size_t count = 0;
  qp_cost *cost = NULL;
  qp_column columns[14];
  cJSON *file = NULL;
  const cJSON *against = NULL;
  qp_status status = qp_session_open(&session, err);
  if (!status) status = qp_session_quantizers(&session, list, &quantizer, &count, err);
  if (!status && o->against) status = qp_json_read(o->against, &file, err);
  if (file) status = qp_json_object(file, o->against, "quantizers", &against, err);
  if (!status && o->cost) status = count_costs(&session, quantizer, count, &cost, err);
  qp_table_out *table = status ? NULL : new_table(o, columns);
  for (size_t i = 0; !status && i < count; i++) {
    figures f = {0};
    status = measure(quantizer[i], o, &f, err);
    if (!status) print_row(table, quantizer[i], &f, cost ? &cost[i] : NULL, against);
  }
  if (table) qp_table_print(table);
  if (table && !o->json) print_rounding(o);
  if (table && o->cost && !o->json)
    printf("instructions, wavefronts, slots: of a weight, PTX of sm_%d in the simulator; qpal cost "
           "counts machine code, for two weights\n",
           COST_ARCH);
  cJSON_Delete(file);
  free(cost);
  free(quantizer);
  qp_session_close(&session);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  char list[16384];
  (void)code;
  const qp_status status = qp_words_list(words, list, sizeof list, err);
  return status ? status : run(options, words->count ? list : NULL, err);
}

int qp_cmd_distortion(int argc, char **argv) {
  distortion_options o = {
      .samples = DEFAULT_SAMPLES, .columns = DEFAULT_COLUMNS, .threads = 0, .seed = 1};
  const qp_option table[] = {
      QP_NUMBER("samples", o.samples, "N",
                "weights to encode, at least: whole groups of 32 rows are (524288)", 1, 1u << 31),
      QP_NUMBER("columns", o.columns, "K",
                "in_features of the linear they fill (4096): a trellis is circular over them", 64,
                65536),
      QP_REAL(
          "input-scale", o.input_scale, "S",
          "of the weights before they are coded, as in quantize (the best one, which is searched "
          "once and kept)",
          100),
      QP_NUMBER("beam", o.beam, "N",
                "paths kept at a step of a trellis whose window is over 20 bits (by its step)",
                QP_BEAM_LEAST, QP_BEAM_MOST),
      QP_NUMBER("threads", o.threads, "N", "threads (0: as many as CPUs)", 0, 256),
      QP_NUMBER("seed", o.seed, "N", "of the weights (1)", 0, 1u << 30),
      QP_TEXT("against", o.against, "FILE",
              "published figures: {\"quantizers\": {NAME: {\"distortion\": D}}}"),
      QP_FLAG("cost", o.cost, "count the decode's cost as PTX in the simulator (sm_90)"),
      QP_FLAG("json", o.json, "print JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
