/* SPDX-License-Identifier: MIT */
/* Two runs of the bench, row by row; see bench.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "tuner/bench/bench.h"
#include "tuner/base/output.h"

typedef struct change {
  const qp_bench_row *row;
  double before_us, now_us, relative;
} change;

/* As rows are printed. */
static const char *name_of(const qp_bench *b, const qp_bench_row *r) {
  if (qp_op_rotates(b->op[r->launch])) return "-";
  return r->quantizer ? r->quantizer->name : "fp16 cuBLAS";
}

/* Find the row of the earlier run with the same quantizer, launch, shape and batch, or NULL. */
static const cJSON *find(const cJSON *rows, const qp_bench *b, const qp_bench_row *r) {
  const cJSON *o;
  const char *name = name_of(b, r);
  const qp_model_launch *l = &b->launch[r->launch];
  cJSON_ArrayForEach(o, rows) {
    const cJSON *quantizer = cJSON_GetObjectItemCaseSensitive(o, "quantizer");
    const cJSON *launch = cJSON_GetObjectItemCaseSensitive(o, "launch");
    const cJSON *columns = cJSON_GetObjectItemCaseSensitive(o, "columns");
    const cJSON *batch = cJSON_GetObjectItemCaseSensitive(o, "batch");
    if (cJSON_IsString(quantizer) && !strcmp(quantizer->valuestring, name) &&
        cJSON_IsString(launch) && !strcmp(launch->valuestring, l->label) &&
        cJSON_IsNumber(columns) && columns->valuedouble == l->columns && cJSON_IsNumber(batch) &&
        batch->valuedouble == r->batch)
      return o;
  }
  return NULL;
}

static double number_of(const cJSON *o, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
  return cJSON_IsNumber(v) && v->valuedouble > 0 ? v->valuedouble : INFINITY;
}

/* Give the time as qp_bench_row_ps does: the faster chain, else the kernel's own time. */
static double time_of(const cJSON *o) {
  const double chain = fmin(number_of(o, "chain_us"), number_of(o, "chain_pdl_us"));
  return isfinite(chain) ? chain : number_of(o, "us");
}

static int by_size(const void *a, const void *b) {
  const double x = fabs(((const change *)a)->relative), y = fabs(((const change *)b)->relative);
  return x < y ? -1 : x > y;
}

static void print_changes(const qp_bench *b, const change *list, size_t n, const char *file) {
  static const qp_column column[] = {{"quantizer", false}, {"launch", false}, {"N", true},
                                     {"before us", true},  {"now us", true},  {"change", true},
                                     {NULL, false}};
  enum { MOST_SHOWN = 10 };
  qp_table_out *t = qp_table_new(column, false);
  for (size_t i = 0; i < n && i < MOST_SHOWN; i++) {
    const change *c = &list[n - 1 - i];
    char text[32];
    snprintf(text, sizeof text, "%+.1f%%", 100 * c->relative);
    qp_table_row(t);
    qp_table_text(t, name_of(b, c->row));
    qp_table_text(t, b->launch[c->row->launch].label);
    qp_table_number(t, c->row->batch, "%.0f");
    qp_table_number(t, c->before_us, "%.2f");
    qp_table_number(t, c->now_us, "%.2f");
    qp_table_text(t, text);
  }
  printf("\nAgainst %s: %zu rows are in both; half of them changed by less than %.2f%%, the most "
         "changed ones:\n",
         file, n, 100 * fabs(list[n / 2].relative));
  qp_table_print(t);
}

qp_status qp_bench_read_earlier(const char *file, cJSON **out, qp_error *err) {
  cJSON *o = NULL;
  const cJSON *rows = NULL;
  const char *gpu = NULL;
  qp_status status = qp_json_read(file, &o, err);
  if (!status && !cJSON_IsObject(o))
    status =
        qp_fail(err, QP_E_ARG, "%s: an object, as qpal bench --json prints it, is needed", file);
  if (!status) status = qp_json_text(o, file, "gpu", &gpu, err);
  if (!status) status = qp_json_array(o, file, "rows", &rows, err);
  if (status)
    cJSON_Delete(o);
  else
    *out = o;
  return status;
}

qp_status qp_bench_against(const qp_bench *b, const cJSON *earlier, const char *file,
                           qp_error *err) {
  const char *gpu = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(earlier, "gpu"));
  const cJSON *rows = cJSON_GetObjectItemCaseSensitive(earlier, "rows");
  if (strcmp(gpu, b->info.device.name) != 0)
    return qp_fail(err, QP_E_ARG, "%s: field 'gpu': '%s' is not this GPU, '%s'", file, gpu,
                   b->info.device.name);
  size_t n = 0;
  change *list = calloc(b->rows ? b->rows : 1, sizeof *list);
  if (!list) return qp_fail(err, QP_E_NOMEM, "no memory for a comparison");
  for (size_t i = 0; i < b->rows; i++) {
    const double now = (double)qp_bench_row_ps(&b->row[i]) * 1e-6;
    const cJSON *before = find(rows, b, &b->row[i]);
    if (now <= 0 || !before || !isfinite(time_of(before))) continue;
    list[n++] = (change){&b->row[i], time_of(before), now, now / time_of(before) - 1};
  }
  if (n) {
    qsort(list, n, sizeof *list, by_size);
    print_changes(b, list, n, file);
  }
  free(list);
  return n ? QP_OK : qp_fail(err, QP_E_ARG, "%s: no row is also in this run", file);
}
