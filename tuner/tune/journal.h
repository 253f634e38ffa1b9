/* SPDX-License-Identifier: MIT */
/* What a tuning run has done so far, kept so that a killed run goes on where it was. */
#ifndef QP_JOURNAL_H
#define QP_JOURNAL_H

#include "tuner/tune/records.h"

/*
** A file of JSON lines:  {"journal":"qpal-tune","version":1,"gpu":...,"driver":...,"timer":...},
** then  {"begin":KERNEL,"boot":ID}  before a candidate is launched and its record after.  Of
** several records of a candidate the last counts.  A torn last line is dropped.  One run at a time
** holds a journal.
*/
typedef struct qp_journal qp_journal;

typedef struct qp_journal_stamp {
  const char *gpu, *driver, *timer;
} qp_journal_stamp;

/*
** Open or make the journal.  QP_E_ARG: it is of another GPU, driver or timer, or damaged before its
** last line (names file and line); QP_E_IO: it cannot be written, or another run holds it.
*/
qp_status qp_journal_open(const char *file, const qp_journal_stamp *stamp, qp_journal **out,
                          qp_error *err);
/* Close it and leave the file, or with 'remove' delete it: its records are elsewhere. */
void qp_journal_close(qp_journal *j, bool remove);

/*
** What an earlier run said last of the candidate that 'like' begins (qp_record_begin): the same
** kernel, source and tunables as they were asked for; two of those may have one kernel.  NULL:
** nothing.
*/
const qp_record *qp_journal_find(const qp_journal *j, const qp_record *like);
/*
** Times that a kernel was begun and never ended because the machine went down: ID is the machine's
** since it was started last.  A kernel that only brings its own process down is told by its worker;
** that of a run that was stopped or killed on a machine that ran on says nothing about the kernel.
*/
unsigned qp_journal_lost(const qp_journal *j, const char *kernel);
/* These give the records of earlier runs. */
size_t qp_journal_count(const qp_journal *j);

/* Reaches the disk before the candidate is launched.  QP_E_IO. */
qp_status qp_journal_begin(qp_journal *j, const char *kernel, qp_error *err);
qp_status qp_journal_end(qp_journal *j, const qp_record *r, qp_error *err);

#endif
