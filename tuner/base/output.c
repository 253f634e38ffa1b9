/* SPDX-License-Identifier: MIT */
/* Prints rows of results as an aligned table or as JSON, and progress on a terminal. */
#include "tuner/base/output.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/list.h"
#include "runtime/printable.h"
#include "runtime/status.h"

enum { MAX_COLUMNS = 48 };

struct qp_table_out {
  const qp_column *column;
  size_t columns, rows, at, capacity;
  char **cell;   /* [rows][columns] as shown */
  cJSON *array;  /* NULL: a table */
  cJSON *object; /* of the row */
  bool streams;
  size_t printed;           /* rows, where it streams */
  size_t room[MAX_COLUMNS]; /* least widths, where it streams */
};

qp_table_out *qp_table_new(const qp_column *columns, bool json) {
  qp_table_out *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->column = columns;
  while (columns[t->columns].name && t->columns < MAX_COLUMNS) t->columns++;
  if (json) t->array = cJSON_CreateArray();
  return t;
}

void qp_table_row(qp_table_out *t) {
  if (!t) return;
  if (t->array) cJSON_AddItemToArray(t->array, t->object = cJSON_CreateObject());
  char **cell = qp_list_room(t->cell, t->rows, &t->capacity, t->columns * sizeof *cell);
  if (!cell) return;
  t->cell = cell;
  memset(t->cell + t->rows * t->columns, 0, t->columns * sizeof *t->cell);
  t->rows++;
  t->at = 0;
}

/* A copy that is safe to print: an escape is four times as long as what it stands for. */
static char *copy_plain(const char *text) {
  const size_t size = 4 * strlen(text) + 1;
  char *copy = malloc(size);
  if (copy) {
    memcpy(copy, text, strlen(text) + 1);
    qp_printable(copy, size, false);
  }
  return copy;
}

static void put_cell(qp_table_out *t, const char *text) {
  if (t->rows && t->at < t->columns)
    t->cell[(t->rows - 1) * t->columns + t->at++] = copy_plain(text);
}

void qp_table_text(qp_table_out *t, const char *text) {
  if (!t || t->at >= t->columns) return;
  if (t->object) cJSON_AddStringToObject(t->object, t->column[t->at].name, text);
  put_cell(t, text);
}

void qp_table_number(qp_table_out *t, double v, const char *format) {
  char text[64];
  if (!t || t->at >= t->columns) return;
  if (t->object && isfinite(v))
    cJSON_AddNumberToObject(t->object, t->column[t->at].name, v);
  else if (t->object)
    cJSON_AddNullToObject(t->object, t->column[t->at].name);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(text, sizeof text, format, v);
#pragma GCC diagnostic pop
  put_cell(t, isfinite(v) ? text : "-");
}

/* Count the characters of UTF-8 text. */
static size_t width(const char *s) {
  size_t n = 0;
  for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
  return n;
}

static void print_cell(const char *s, size_t room, bool right, bool last) {
  size_t pad = room > width(s) ? room - width(s) : 0;
  if (right)
    printf("%*s%s", (int)pad, "", s);
  else
    printf("%s%*s", s, last ? 0 : (int)pad, "");
  fputs(last ? "\n" : "  ", stdout);
}

static void print_heading(const qp_table_out *t, const size_t *room) {
  for (size_t c = 0; c < t->columns; c++)
    print_cell(t->column[c].name, room[c], t->column[c].right, c + 1 == t->columns);
}

static void print_rows(const qp_table_out *t, const size_t *room) {
  for (size_t i = 0; i < t->rows * t->columns; i++) {
    size_t c = i % t->columns;
    print_cell(t->cell[i] ? t->cell[i] : "", room[c], t->column[c].right, c + 1 == t->columns);
  }
}

static void forget_rows(qp_table_out *t) {
  for (size_t i = 0; i < t->rows * t->columns; i++) free(t->cell[i]);
  t->rows = 0;
}

void qp_table_stream(qp_table_out *t, const size_t *room) {
  if (!t) return;
  t->streams = true;
  for (size_t c = 0; c < t->columns; c++)
    t->room[c] = room[c] > width(t->column[c].name) ? room[c] : width(t->column[c].name);
  if (t->array) printf("[");
  fflush(stdout);
}

void qp_table_flush(qp_table_out *t) {
  if (!t || !t->streams || !t->rows) return;
  char *text = t->object ? cJSON_PrintUnformatted(t->object) : NULL;
  if (text) printf("%s%s", t->printed ? ",\n" : "\n", text);
  if (!t->array && !t->printed) print_heading(t, t->room); /* Nothing was printed over no rows. */
  if (!t->array) print_rows(t, t->room);
  cJSON_free(text);
  if (t->array) cJSON_DeleteItemFromArray(t->array, 0);
  t->object = NULL;
  forget_rows(t);
  t->printed++;
  fflush(stdout);
}

static void print_table(qp_table_out *t) {
  size_t room[MAX_COLUMNS];
  for (size_t c = 0; c < t->columns; c++) {
    room[c] = width(t->column[c].name);
    for (size_t r = 0; r < t->rows; r++) {
      const char *s = t->cell[r * t->columns + c];
      if (s && width(s) > room[c]) room[c] = width(s);
    }
  }
  print_heading(t, room);
  print_rows(t, room);
}

void qp_table_print(qp_table_out *t) {
  if (!t) return;
  qp_table_flush(t);
  char *text = t->array && !t->streams ? cJSON_Print(t->array) : NULL;
  if (text) puts(text);
  cJSON_free(text);
  if (t->array && t->streams) puts("\n]");
  if (!t->array && !t->streams) print_table(t);
  cJSON_Delete(t->array);
  forget_rows(t);
  free(t->cell);
  free(t);
}

double qp_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void qp_progress_begin(qp_progress *p, const char *what, size_t total) {
  *p = (qp_progress){.what = what, .total = total, .started = qp_seconds()};
}

/* Seconds until a first line, and from one to the next, where no terminal shows a bar. */
static const double first_line_s = 5, line_s = 10;

/* What is left by the pace so far, and 'now'; before anything is done no pace is known. */
static void tell_pace(const qp_progress *p, size_t done, const char *now, double t,
                      char text[128]) {
  const double passed = t - p->started;
  if (done)
    snprintf(text, 128, "%.0f s left  %.60s", passed / (double)done * (double)(p->total - done),
             now);
  else
    snprintf(text, 128, "begun %.0f s ago", passed);
}

/* "[3/7] ": which of its steps this is to a command that began this one (QPAL_STEP), or "". */
static const char *step_of_whole(void) {
  const char *step = getenv("QPAL_STEP");
  return step ? step : "";
}

static void show_line(qp_progress *p, size_t done, const char *pace, double t) {
  if (t - p->started < first_line_s || t - p->drawn < line_s) return;
  p->drawn = t;
  fprintf(stderr, "%.32s%s: %.0f %%, %s\n", step_of_whole(), p->what,
          p->total ? floor(100.0 * (double)done / (double)p->total) : 0, pace);
  fflush(stderr);
}

void qp_progress_show(qp_progress *p, size_t done, const char *now) {
  double t = qp_seconds();
  char pace[128];
  tell_pace(p, done, now, t, pace);
  if (!isatty(STDERR_FILENO)) return show_line(p, done, pace, t);
  if (t - p->started < 1 || t - p->drawn < 0.1) return;
  p->drawn = t;
  int bar = p->total ? (int)(24 * done / p->total) : 0;
  fprintf(stderr, "\r\033[K%.32s%s [%.*s%*s] %zu/%zu, %s", step_of_whole(), p->what, bar,
          "########################", 24 - bar, "", done, p->total, pace);
  fflush(stderr);
}

void qp_progress_end(qp_progress *p) {
  if (p->drawn > 0 && isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
  p->drawn = 0;
}
