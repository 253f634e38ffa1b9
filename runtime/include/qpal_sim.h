/* SPDX-License-Identifier: MIT */
/*
** The PTX simulator behind the public interface, for tests on machines without a GPU.  It is no
** part of libqpal: link libqpal_sim in place of it, which is libqpal and the simulator.
**
**   cc engine.c $(pkg-config --cflags --libs qpal_sim)         CMake: qpal::qpal_sim
**
** Both in one process would be two runtimes, each with messages and objects of its own.
*/
#ifndef QPAL_SIM_H
#define QPAL_SIM_H

#include "qpal.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
** Open a simulated GPU of architecture 80, 86, 89, 90, 100 or 120 with 1 to 1024 multiprocessors
** (0: 4).  It runs a library's PTX: `qpal export` writes it for the newest target, or for all with
** --ptx all.  Launches run to their end before they return; streams are ignored; calls of several
** threads take turns.  Out-of-bounds and misaligned accesses, reads of what nothing wrote and races
** of kernels are QPAL_E_DEVICE, with the place.  It gives no latencies.
** QPAL_E_ARG: no such architecture; QPAL_E_NOMEM; QPAL_E_MISMATCH: the process holds another
** libqpal beside this one, and calls go there.  Close with qpal_device_close.
*/
QPAL_API qpal_status qpal_sim_open(unsigned arch, unsigned sm_count, qpal_device **out);

#ifdef __cplusplus
}
#endif

#endif
