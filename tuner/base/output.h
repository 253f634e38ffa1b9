/* SPDX-License-Identifier: MIT */
/* Prints rows of results as an aligned table or as JSON, and progress on a terminal. */
#ifndef QP_OUTPUT_H
#define QP_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct qp_table_out qp_table_out;

typedef struct qp_column {
  const char *name; /* key in JSON, heading of the table */
  bool right;       /* numbers stand right */
} qp_column;

/* Columns end with a NULL name; they last as long as the table.  With 'json' the rows become an
   array of objects. */
qp_table_out *qp_table_new(const qp_column *columns, bool json);
void qp_table_row(qp_table_out *t);                    /* begin a row */
void qp_table_text(qp_table_out *t, const char *text); /* the next cell */
void qp_table_number(qp_table_out *t, double v,
                     const char *format); /* format: how the table shows it */
/* Print rows as they come, each when it is flushed, the heading with the first: columns are at
   least room[column] characters wide. As JSON each row is a line of the array, so that what a
   killed process left can be read line by line. */
void qp_table_stream(qp_table_out *t, const size_t *room);
void qp_table_flush(qp_table_out *t); /* the row that was begun last, if the table streams */
void qp_table_print(qp_table_out *t); /* prints to stdout, and frees the table */

/* Print one line on stderr, which is redrawn if that is a terminal; nothing is printed during the
   first second.  Elsewhere (a log) it is a line of its own every 10 seconds, the first after 5. */
typedef struct qp_progress {
  const char *what;
  size_t total;
  double started, drawn;
} qp_progress;
void qp_progress_begin(qp_progress *p, const char *what, size_t total);
void qp_progress_show(qp_progress *p, size_t done, const char *now);
void qp_progress_end(qp_progress *p);

/* Seconds of a clock that only goes forward. */
double qp_seconds(void);

#endif
