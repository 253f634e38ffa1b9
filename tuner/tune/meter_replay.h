/* SPDX-License-Identifier: MIT */
/*
** The replay device: serves recorded timings where there is no GPU, and misbehaves on request, so
** that everything but the clock can be tested.  Its file is JSON:
**
**   {"gpu": "Replayed H100", "arch": 90, "sm_count": 132, "driver": "1", "seed": 1,
**    "bandwidth_gbs": 3000, "launch_ns": 2000,    for candidates that no record knows: bytes over
**                                                 bandwidth plus launch, times a factor 1 to 2 that
**                                                 depends on the candidate's name alone
**    "tflops": 500,                               1e12 operations a second of its cuBLAS; 0: none
**    "records": "h100.jsonl",                     recorded timings (optional); relative to the file
**    "noise": 0.01,                               relative standard deviation of samples
**    "delay_ms": 0,                               what each candidate takes on the wall clock
**    "rules": [{"match": "w32", "fault": "hang", "every": 3}]}
**
** A rule hits the candidates whose kernel name contains 'match' ("" all), of these each 'every'th
** by a hash of the name (1: all).  Faults: "hang" (never returns), "crash" (the process is killed),
** "wrong" (the result differs), "device" (a driver call fails), "timer" (a zero timestamp),
** "drop" (one timestamp is missing), "throttle" (clocks are held back and times are half as long
** again).
** The timer of its records is "replay": they never enter tuned/ or a plan.
*/
#ifndef QP_METER_REPLAY_H
#define QP_METER_REPLAY_H

#include "tuner/tune/meter.h"

#endif
