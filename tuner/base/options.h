/* SPDX-License-Identifier: MIT */
/* Command-line options from a table:
**
**   const char *device = "sim";
**   unsigned batch = 1;
**   const qp_option table[] = {
**       QP_TEXT("device", device, "D", "cuda:N or sim[:sm_90[:SMS]]"),
**       QP_NUMBER("batch", batch, "N", "rows of activations", 1, 64),
**       {0}};
**   return qp_verb_run(&help, table, argc, argv, run, &options);
*/
#ifndef QP_OPTIONS_H
#define QP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

enum { QP_MAX_WORDS = 512, QP_MAX_SHAPES = 8, QP_MAX_REPEATS = 32 };

typedef enum qp_option_type {
  QP_OPT_FLAG,     /* bool */
  QP_OPT_STRING,   /* const char * */
  QP_OPT_UNSIGNED, /* unsigned, within lo..hi */
  QP_OPT_REAL,     /* The value is a double above 0 and at most hi. */
  QP_OPT_SHAPES,   /* The value is a qp_shapes: MxK[,MxK...], with one K for all. */
  QP_OPT_REPEATED  /* qp_repeats: may be given again */
} qp_option_type;

typedef struct qp_shapes {
  size_t count;
  unsigned rows[QP_MAX_SHAPES], columns[QP_MAX_SHAPES];
} qp_shapes;

typedef struct qp_repeats {
  size_t count;
  const char *value[QP_MAX_REPEATS];
} qp_repeats;

typedef struct qp_option {
  const char *name; /* without the dashes; "-o" is written "o" */
  qp_option_type type;
  void *value;
  const char *argument, *help;
  unsigned lo, hi; /* QP_OPT_UNSIGNED, QP_OPT_REAL */
} qp_option;

/* These make the rows of a table; 'to' is a variable of the type that the row's kind says, which is
   checked. */
#define QP_OPTION(name_, type_, ctype, to, argument_, help_, ...)                                  \
  {                                                                                                \
    .name = name_, .type = type_, .value = 1 ? &(to) : (ctype *)NULL, .argument = argument_,       \
    .help = help_, __VA_ARGS__                                                                     \
  }
#define QP_FLAG(name, to, help) QP_OPTION(name, QP_OPT_FLAG, bool, to, NULL, help, )
#define QP_TEXT(name, to, argument, help)                                                          \
  QP_OPTION(name, QP_OPT_STRING, const char *, to, argument, help, )
#define QP_NUMBER(name, to, argument, help, least, most)                                           \
  QP_OPTION(name, QP_OPT_UNSIGNED, unsigned, to, argument, help, .lo = least, .hi = most)
#define QP_REAL(name, to, argument, help, most)                                                    \
  QP_OPTION(name, QP_OPT_REAL, double, to, argument, help, .hi = most)
#define QP_SHAPES(name, to, argument, help)                                                        \
  QP_OPTION(name, QP_OPT_SHAPES, qp_shapes, to, argument, help, )
#define QP_REPEATS(name, to, argument, help)                                                       \
  QP_OPTION(name, QP_OPT_REPEATED, qp_repeats, to, argument, help, )

/* The arguments that are no options. */
typedef struct qp_words {
  size_t count;
  const char *word[QP_MAX_WORDS];
} qp_words;

typedef struct qp_verb_help {
  const char *name, *arguments, *text;
} qp_verb_help;

/* What a verb does with its words once its options are set: 'options' is what qp_verb_run was
   given; '*code' is the exit code where nothing fails, 0 if it is left alone. */
typedef qp_status qp_verb_body(void *options, const qp_words *words, int *code, qp_error *err);

/* A verb of the command, from its arguments to its exit code: parse them, call 'body', and print
   "qpal VERB: message" on stderr where either fails. */
int qp_verb_run(const qp_verb_help *verb, const qp_option *table, int argc, char **argv,
                qp_verb_body *body, void *options);

/* Parse argv[1..]; "--name value", "--name=value" and flags, words anywhere, "--" ends the options.
   Returns -1 to go on, or the exit code: 0 after --help, 2 after an error told on stderr. */
int qp_options_parse(const qp_verb_help *verb, const qp_option *table, int argc, char **argv,
                     qp_words *words);

/* QP_E_ARG names the first word of a verb that takes none. */
qp_status qp_words_none(const qp_words *words, qp_error *err);
/* The words as one list, "a,b,c", in 'list'; QP_E_LIMIT: it does not fit. */
qp_status qp_words_list(const qp_words *words, char *list, size_t size, qp_error *err);

/* Read "4096x4096,1024x4096" as M x K of each; QP_E_ARG names what is wrong. */
qp_status qp_shapes_parse(const char *text, qp_shapes *out, qp_error *err);

/* A unit and what it counts: {"ms", 1e9}.  A list ends with a NULL name. */
typedef struct qp_unit {
  const char *name;
  double factor;
} qp_unit;

/* Read a number above 0 and one of the units; where none is written the first is meant.  QP_E_ARG
   names the option ("latency"), the text and the units. */
qp_status qp_quantity_parse(const char *option, const char *text, const qp_unit *units, double *out,
                            qp_error *err);

/* Exit code of a status: 0 ok, 1 asked thing is false, 2 wrong arguments or input, 3 device
   trouble. */
int qp_exit_code(qp_status status);
/* Print "qpal VERB: message" on stderr and return the status' exit code. */
int qp_complain(const char *verb, qp_status status, const qp_error *err);

#endif
