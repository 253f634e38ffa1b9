/* SPDX-License-Identifier: MIT */
/* Maps strings to their numbers, by hash and by prefix; a tokenizer keeps its vocabulary in it. */
#ifndef QP_VOCABULARY_H
#define QP_VOCABULARY_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

/* Owns copies of its strings; they may hold any bytes but are NUL-ended too. */
typedef struct qp_vocabulary qp_vocabulary;

qp_vocabulary *qp_vocabulary_new(void); /* NULL: no memory */
void qp_vocabulary_free(qp_vocabulary *v);

/* A string that is there already gets the new value.  QP_E_NOMEM. */
qp_status qp_vocabulary_add(qp_vocabulary *v, const char *s, size_t n, uint32_t value,
                            qp_error *err);
/* Order the strings for qp_vocabulary_prefixes; nothing is added afterwards.  QP_E_NOMEM. */
qp_status qp_vocabulary_sort(qp_vocabulary *v, qp_error *err);

/* How many different strings were added. */
size_t qp_vocabulary_count(const qp_vocabulary *v);
/* String i of those that were added, in that order (a string added again keeps its place). */
const char *qp_vocabulary_string(const qp_vocabulary *v, size_t i, size_t *n, uint32_t *value);
int64_t qp_vocabulary_find(const qp_vocabulary *v, const char *s, size_t n); /* value, or -1 */

/*
** Call 'visit' with the length and the value of each string of a sorted vocabulary that s[n] begins
** with, the shortest first.
*/
typedef void qp_prefix_visit(void *arg, size_t length, uint32_t value);
void qp_vocabulary_prefixes(const qp_vocabulary *v, const char *s, size_t n, qp_prefix_visit *visit,
                            void *arg);

#endif
