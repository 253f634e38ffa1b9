/* SPDX-License-Identifier: MIT */
/*
** The published figures of Llama-3.1-8B on an RTX 4090 as a plan's input, for tests and benchmarks.
*/
#ifndef QP_TESTS_PLAN_KIT_H
#define QP_TESTS_PLAN_KIT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/json.h"
#include "gen/model/models.h"
#include "tuner/plan/build.h"
#include "tuner/plan/figures.h"

#define PUBLISHED QP_SOURCE_DIR "/../shared/data/"

typedef struct published {
  qp_models *models;
  qp_palette *palette;
  qp_menu menu;
  qp_latency_table table;
  qp_plan_input in;
  qp_error err;
} published;

/* The data lie beside the repository, not in it. */
static inline bool published_are_there(void) {
  if (!access(PUBLISHED "planner_cases.json", R_OK)) return true;
  fprintf(stderr, "SKIPPED: %s is not there, so nothing is compared with the published figures\n",
          PUBLISHED);
  return false;
}

static inline qp_status published_json(published *p, const char *name, cJSON **out) {
  char file[512];
  snprintf(file, sizeof file, PUBLISHED "%s", name);
  return qp_json_read(file, out, &p->err);
}

/* All 32 quantizers of the paper, or the 15 trellis-coded ones. */
static inline qp_status published_open(published *p, bool only_tcq) {
  *p = (published){0};
  const qp_model *model = NULL;
  bool head = false, fed;
  cJSON *errors = NULL, *alpha = NULL, *sizes = NULL;
  qp_status status = qp_models_open(&p->models, &p->err);
  if (!status) status = qp_models_find(p->models, "llama-3.1-8b", &model, &p->err);
  if (!status) status = qp_palette_open(&p->palette, &p->err);
  if (!status) status = qp_palette_load(p->palette, &p->err);
  if (!status) status = published_json(p, "quant_err.json", &errors);
  for (size_t i = 0; !status && i < qp_palette_count(p->palette); i++) {
    const qp_quantizer *q = qp_palette_get(p->palette, i);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(errors, "quantizers");
    if (!cJSON_GetObjectItemCaseSensitive(list, q->name)) continue;
    if (!only_tcq || !strncmp(q->name, "tcq", 3)) status = qp_menu_add(&p->menu, q, NULL, &p->err);
  }
  if (!status) status = qp_figures_distortion("quant_err.json", errors, &p->menu, &p->err);
  if (!status) status = qp_plan_input_init(&p->in, model, &p->menu, &p->err);
  if (!status) status = published_json(p, "sensitivity_llama31_8b.json", &alpha);
  if (!status) status = qp_figures_sensitivity("sensitivity", alpha, &p->in, &head, &fed, &p->err);
  if (!status) status = published_json(p, "memory_llama31_8b.json", &sizes);
  if (!status) status = qp_figures_sizes("memory", sizes, &p->in, &p->err);
  if (!status)
    status =
        qp_latency_read_foreign(PUBLISHED "latency_rtx4090_llama31_8b.json", &p->table, &p->err);
  cJSON_Delete(errors);
  cJSON_Delete(alpha);
  cJSON_Delete(sizes);
  p->in.mixed_fusion = false;
  return status;
}

static inline void published_close(published *p) {
  qp_plan_input_free(&p->in);
  qp_latency_free(&p->table);
  if (p->palette) qp_palette_close(p->palette);
  qp_models_close(p->models);
}

#endif
