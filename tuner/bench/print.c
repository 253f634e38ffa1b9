/* SPDX-License-Identifier: MIT */
/* Prints results of the bench as tables and as JSON (bench.h). */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/bench/bench.h"
#include "tuner/bench/fit.h"
#include "tuner/base/output.h"

static const char *name_of(const qp_quantizer *q) { return q ? q->name : "fp16 cuBLAS"; }

/* Whose row it is; a rotation's is nobody's. */
static const char *whose(const qp_bench *b, const qp_bench_row *r) {
  return qp_op_rotates(b->op[r->launch]) ? "-" : name_of(r->quantizer);
}

/* Is there a row, and does it say something?  Without cuBLAS its rows do not. */
static bool is_shown(const qp_bench *b, const qp_bench_row *r) {
  return !r->absent && (b->cublas_there || qp_bench_has_kernel(b, r));
}

static const char *outcome_name(qp_bench_outcome o) {
  return o == QP_BENCH_PASS ? "PASS" : o == QP_BENCH_FAIL ? "FAIL" : "none";
}

/* Microseconds; NaN, which prints as '-', where it was not measured. */
static double us(int64_t ps) { return ps ? (double)ps * 1e-6 : NAN; }

static double ratio(int64_t a, int64_t b) { return a && b ? (double)a / (double)b : NAN; }

/* 1e9 bytes a second: of the kernel itself, of a chain where only that was timed. */
static double rate(const qp_bench_row *r) {
  const int64_t ps = r->timing.ps ? r->timing.ps : qp_bench_row_ps(r);
  return ps ? (double)r->bytes * 1000 / (double)ps : NAN;
}

/* Time of cuBLAS with fp16 weights for the same block; 0: not known. */
static int64_t cublas_ps(const qp_bench *b, unsigned batch) {
  for (size_t i = 0; i < b->blocks; i++)
    if (!b->block[i].quantizer && b->block[i].batch == batch && b->block[i].whole)
      return b->block[i].predicted_ps;
  return 0;
}

static void print_head(const qp_bench *b) {
  const qp_device_info *d = &b->info.device;
  printf("%s (sm_%u, %u multiprocessors), driver %s, timer %s; %s\n", d->name, d->arch, d->sm_count,
         b->info.driver, b->info.timer, b->model);
  if (b->info.read_gbs > 0) printf("read bandwidth in this run: %.0f GB/s\n", b->info.read_gbs);
  printf("records: %s", b->records[0] ? b->records : "none, every kernel has default tunables");
  if (b->stale) printf("; %zu stale records were passed over", b->stale);
  printf("\ncuBLAS: %s\n\n", b->cublas);
}

static bool is_late(const qp_bench_row *r) {
  return r->outcome == QP_BENCH_NONE && !strcmp(r->why, QP_BENCH_LATE);
}

static void print_rows(const qp_bench *b) {
  static const qp_column column[] = {{"quantizer", false}, {"launch", false}, {"N", true},
                                     {"path", false},      {"us", true},      {"+-", true},
                                     {"chain us", true},   {"PDL us", true},  {"floor us", true},
                                     {"GB/s", true},       {"% read", true},  {"error", true},
                                     {"kernel", false},    {"result", false}, {NULL, false}};
  qp_table_out *t = qp_table_new(column, false);
  for (size_t i = 0; i < b->rows; i++) {
    const qp_bench_row *r = &b->row[i];
    if (!is_shown(b, r) || is_late(r)) continue;
    qp_table_row(t);
    qp_table_text(t, whose(b, r));
    qp_table_text(t, b->launch[r->launch].label);
    qp_table_number(t, r->batch, "%.0f");
    qp_table_text(t, r->path);
    qp_table_number(t, us(r->timing.ps), "%.2f");
    qp_table_number(t, us(r->timing.spread_ps), "%.2f");
    qp_table_number(t, us(r->chain_ps), "%.2f");
    qp_table_number(t, us(r->chain_pdl_ps), "%.2f");
    qp_table_number(t, us(r->floor_ps), "%.2f");
    qp_table_number(t, rate(r), "%.0f");
    qp_table_number(t, b->info.read_gbs > 0 ? 100 * rate(r) / b->info.read_gbs : NAN, "%.1f");
    qp_table_number(t, r->outcome == QP_BENCH_PASS ? r->error : NAN, "%.1e");
    qp_table_text(t, r->source ? r->source : "");
    qp_table_text(t, outcome_name(r->outcome));
  }
  qp_table_print(t);
}

static void print_reasons(const qp_bench *b) {
  if (b->late) printf("the budget (--budget) left no time for %zu rows\n", b->late);
  for (size_t i = 0; i < b->rows; i++) {
    const qp_bench_row *r = &b->row[i];
    if (is_late(r) || !is_shown(b, r)) continue;
    if (r->outcome != QP_BENCH_PASS)
      printf("%s %s at batch %u: %s\n", whose(b, r), b->launch[r->launch].label, r->batch,
             r->why[0] ? r->why : "not measured");
    else if (r->state.throttle[0])
      printf("%s %s at batch %u: clocks were held back (%s, %u MHz)\n", whose(b, r),
             b->launch[r->launch].label, r->batch, r->state.throttle, r->state.clock_mhz);
  }
}

static void print_broken_blocks(const qp_bench *b) {
  for (size_t i = 0; i < b->blocks; i++)
    if (b->block[i].why[0])
      printf("block of %s at batch %u: %s\n", name_of(b->block[i].quantizer), b->block[i].batch,
             b->block[i].why);
}

static void print_blocks(const qp_bench *b) {
  static const qp_column column[] = {{"block of", false}, {"N", true},        {"measured us", true},
                                     {"sum us", true},    {"off by", true},   {"floor us", true},
                                     {"x floor", true},   {"x cuBLAS", true}, {"sum of", false},
                                     {NULL, false}};
  qp_table_out *t = qp_table_new(column, false);
  for (size_t i = 0; i < b->blocks; i++) {
    const qp_bench_block *k = &b->block[i];
    if (!k->whole) continue;
    const int64_t ps = k->measured_ps ? k->measured_ps : k->predicted_ps;
    const double off = 100 * (ratio(k->predicted_ps, k->measured_ps) - 1);
    char text[32] = "-";
    if (isfinite(off)) snprintf(text, sizeof text, "%+.1f%%", off);
    qp_table_row(t);
    qp_table_text(t, name_of(k->quantizer));
    qp_table_number(t, k->batch, "%.0f");
    qp_table_number(t, us(k->measured_ps), "%.2f");
    qp_table_number(t, us(k->predicted_ps), "%.2f");
    qp_table_text(t, text);
    qp_table_number(t, us(k->floor_ps), "%.2f");
    qp_table_number(t, ratio(ps, k->floor_ps), "%.2f");
    qp_table_number(t, ratio(cublas_ps(b, k->batch), ps), "%.2f");
    qp_table_text(t, k->from_table ? "records" : "rows above");
  }
  printf("\nLinears of one transformer block, one pass in a CUDA graph:\n");
  qp_table_print(t);
}

/* Is this row the first of its quantizer and batch? */
static bool is_first(const qp_bench *b, size_t i) {
  for (size_t k = 0; k < i; k++)
    if (b->row[k].quantizer == b->row[i].quantizer && b->row[k].batch == b->row[i].batch)
      return false;
  return true;
}

static void print_fits(const qp_bench *b) {
  static const qp_column column[] = {{"quantizer", false}, {"N", true},      {"TB/s", true},
                                     {"launch us", true},  {"off by", true}, {"% read", true},
                                     {"rows", true},       {NULL, false}};
  qp_table_out *t = NULL;
  for (size_t i = 0; i < b->rows; i++) {
    qp_bench_fit f;
    char text[32];
    if (!is_first(b, i) || !qp_bench_fit_rows(b, b->row[i].quantizer, b->row[i].batch, &f))
      continue;
    if (!t) t = qp_table_new(column, false);
    snprintf(text, sizeof text, "%.1f%%", 100 * f.worst);
    qp_table_row(t);
    qp_table_text(t, name_of(f.quantizer));
    qp_table_number(t, f.batch, "%.0f");
    qp_table_number(t, f.tb_s, "%.2f");
    qp_table_number(t, f.launch_us, "%.2f");
    qp_table_text(t, text);
    qp_table_number(t, b->info.read_gbs > 0 ? 1e5 * f.tb_s / b->info.read_gbs : NAN, "%.1f");
    qp_table_number(t, f.rows, "%.0f");
  }
  if (!t) return;
  printf("\nTime of a launch as  bytes / (TB/s) + launch:\n");
  qp_table_print(t);
}

void qp_bench_print(const qp_bench *b) {
  print_head(b);
  print_rows(b);
  print_reasons(b);
  print_broken_blocks(b);
  print_fits(b);
  print_blocks(b);
}

/* ---- JSON ---- */

static void number(cJSON *o, const char *name, double v) {
  if (isfinite(v))
    cJSON_AddNumberToObject(o, name, v);
  else
    cJSON_AddNullToObject(o, name);
}

static cJSON *row_json(const qp_bench *b, const qp_bench_row *r) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "quantizer", whose(b, r));
  cJSON_AddStringToObject(o, "op", qp_op_name(b->op[r->launch]));
  cJSON_AddStringToObject(o, "launch", b->launch[r->launch].label);
  number(o, "columns", b->launch[r->launch].columns);
  cJSON *rows = cJSON_AddArrayToObject(o, "rows");
  for (unsigned i = 0; i < b->launch[r->launch].linears; i++)
    cJSON_AddItemToArray(rows, cJSON_CreateNumber(b->launch[r->launch].rows[i]));
  number(o, "batch", r->batch);
  cJSON_AddStringToObject(o, "path", r->path);
  cJSON_AddStringToObject(o, "kernel", r->kernel);
  cJSON_AddStringToObject(o, "source", r->source ? r->source : "");
  cJSON_AddStringToObject(o, "outcome", outcome_name(r->outcome));
  cJSON_AddStringToObject(o, "why", r->why);
  number(o, "error", r->error);
  number(o, "bytes", (double)r->bytes);
  number(o, "us", us(r->timing.ps));
  number(o, "spread_us", us(r->timing.spread_ps));
  number(o, "samples", r->timing.samples);
  number(o, "chain_us", us(r->chain_ps));
  number(o, "chain_pdl_us", us(r->chain_pdl_ps));
  number(o, "table_us", us(r->table_ps));
  number(o, "floor_us", us(r->floor_ps));
  number(o, "gbs", rate(r));
  number(o, "clock_mhz", r->state.clock_mhz);
  cJSON_AddStringToObject(o, "throttle", r->state.throttle);
  return o;
}

static cJSON *block_json(const qp_bench_block *k) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "quantizer", name_of(k->quantizer));
  number(o, "batch", k->batch);
  number(o, "measured_us", us(k->measured_ps));
  number(o, "predicted_us", us(k->predicted_ps));
  cJSON_AddStringToObject(o, "predicted_from", k->from_table ? "records" : "rows");
  number(o, "floor_us", us(k->floor_ps));
  return o;
}

static void add_fits(const qp_bench *b, cJSON *fits) {
  for (size_t i = 0; i < b->rows; i++) {
    qp_bench_fit f;
    if (!is_first(b, i) || !qp_bench_fit_rows(b, b->row[i].quantizer, b->row[i].batch, &f))
      continue;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "quantizer", name_of(f.quantizer));
    number(o, "batch", f.batch);
    number(o, "tb_s", f.tb_s);
    number(o, "launch_us", f.launch_us);
    number(o, "worst", f.worst);
    number(o, "rows", f.rows);
    cJSON_AddItemToArray(fits, o);
  }
}

qp_status qp_bench_print_json(const qp_bench *b, qp_error *err) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "gpu", b->info.device.name);
  number(o, "arch", b->info.device.arch);
  number(o, "sm_count", b->info.device.sm_count);
  cJSON_AddStringToObject(o, "driver", b->info.driver);
  cJSON_AddStringToObject(o, "timer", b->info.timer);
  cJSON_AddStringToObject(o, "model", b->model);
  number(o, "read_gbs", b->info.read_gbs > 0 ? b->info.read_gbs : NAN);
  cJSON_AddStringToObject(o, "records", b->records);
  number(o, "stale_records", (double)b->stale);
  cJSON_AddStringToObject(o, "cublas", b->cublas);
  cJSON *rows = cJSON_AddArrayToObject(o, "rows"), *blocks = cJSON_AddArrayToObject(o, "blocks");
  for (size_t i = 0; i < b->rows; i++)
    if (is_shown(b, &b->row[i])) cJSON_AddItemToArray(rows, row_json(b, &b->row[i]));
  for (size_t i = 0; i < b->blocks; i++)
    if (b->block[i].whole) cJSON_AddItemToArray(blocks, block_json(&b->block[i]));
  add_fits(b, cJSON_AddArrayToObject(o, "fits"));
  char *text = cJSON_Print(o);
  cJSON_Delete(o);
  if (!text) return qp_fail(err, QP_E_NOMEM, "no memory for JSON");
  puts(text);
  free(text);
  return QP_OK;
}
