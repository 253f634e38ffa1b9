/* SPDX-License-Identifier: MIT */
/* The verbs of qpal.  Each gets argv from its own name on and returns the exit code. */
#ifndef QP_COMMANDS_H
#define QP_COMMANDS_H

#include "runtime/status.h"

int qp_cmd_doctor(int argc, char **argv);
int qp_cmd_list(int argc, char **argv);
int qp_cmd_show(int argc, char **argv);
int qp_cmd_gen(int argc, char **argv);
int qp_cmd_check(int argc, char **argv);
int qp_cmd_cost(int argc, char **argv);
int qp_cmd_distortion(int argc, char **argv);
int qp_cmd_train(int argc, char **argv);
int qp_cmd_plan(int argc, char **argv);
int qp_cmd_make(int argc, char **argv);
int qp_cmd_verify(int argc, char **argv);
int qp_cmd_report(int argc, char **argv);
int qp_cmd_unpack(int argc, char **argv);
int qp_cmd_evaluate(int argc, char **argv);
int qp_cmd_export(int argc, char **argv);
int qp_cmd_calibrate(int argc, char **argv);
int qp_cmd_import(int argc, char **argv);
int qp_cmd_quantize(int argc, char **argv);
int qp_cmd_refine(int argc, char **argv);
int qp_cmd_tune(int argc, char **argv);
int qp_cmd_table(int argc, char **argv);
int qp_cmd_bench(int argc, char **argv);
int qp_cmd_tour(int argc, char **argv);

/* Say whether qpal export would take these words of --gpu, --batch and --type (NULL: its defaults),
   for who asks long before it runs.  Fails as export does; QP_E_MISSING: no such GPU is here. */
qp_status qp_cmd_export_check(const char *gpu, const char *batch, const char *type, qp_error *err);

#endif
