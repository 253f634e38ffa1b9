/* SPDX-License-Identifier: MIT */
/* What most verbs begin with: the palette, the families, the quantizers that were asked for. */
#ifndef QP_SESSION_H
#define QP_SESSION_H

#include <stddef.h>

#include "gen/kernel/family.h"
#include "gen/spec/quantizer.h"
#include "runtime/device.h"
#include "runtime/status.h"

typedef struct qp_session {
  qp_palette *palette;
  qp_families *families;
} qp_session;

/* Load palette and families, with the errors of qp_palette_open and qp_families_open; '*s' is then
   zeros, which may be closed like any other. */
qp_status qp_session_open(qp_session *s, qp_error *err);
void qp_session_close(qp_session *s);

/*
** Find the quantizers of a LIST: names, paths of .lua files, and family prefixes such as "tcq" (all
** names that begin with it and '-'), separated by commas; NULL stands for the whole palette.
** '*out' is malloc'ed and the caller frees it; the quantizers belong to the palette.
*/
qp_status qp_session_quantizers(qp_session *s, const char *list, const qp_quantizer ***out,
                                size_t *count, qp_error *err);

/* Read the files of a LIST, and those of "FILE:NAME", for what is packed by their quantizers; a
   name must be the palette's.  The errors of qp_palette_find. */
qp_status qp_session_read_files(qp_session *s, const char *list, qp_error *err);

/* Ask a device ("sim", "cuda:0") what it is, in a process of its own, so that no driver is open
   where workers are forked later.  The errors of qp_device_open and of
   qp_process_fork; QP_E_IO: there is no pipe. */
qp_status qp_session_probe(const char *name, qp_device_info *info, qp_error *err);

/* Read the name of a device: "sim", "sim:sm_90:4", "cuda:0", or NULL for the first GPU if there is
   a driver, else the simulator.  Gives the device's name, architecture and multiprocessors without
   keeping it open. */
qp_status qp_session_device(const char *name, char *chosen, size_t size, unsigned *arch,
                            unsigned *sm_count, qp_error *err);

/* Say on stderr that kernels are made for another architecture than the device's own, if so. */
void qp_session_remark(const qp_device_info *info);

#endif
