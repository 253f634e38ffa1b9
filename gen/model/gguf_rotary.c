/* SPDX-License-Identifier: MIT */
/* What GGUF files say of rotary embeddings, as a config.json says it. */
#include "gen/model/gguf_rotary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FACTORS = 4096 };

/* What is read, and where it goes. */
typedef struct reading {
  const char *architecture;
  const qp_gguf_parts *parts;
  cJSON *config;
  qp_error *err;
} reading;

static const qp_gguf *metadata(const reading *r) { return r->parts->part[0].file; }

static bool number(const reading *r, const char *name, double *out) {
  char key[128];
  snprintf(key, sizeof key, "%s.rope.%s", r->architecture, name);
  return qp_gguf_number(metadata(r), key, out);
}

static bool whole(const reading *r, const char *name, uint64_t *out) {
  char key[128];
  snprintf(key, sizeof key, "%s.rope.%s", r->architecture, name);
  return qp_gguf_unsigned(metadata(r), key, out) && *out < 1u << 30;
}

/* ---- Part of a head ---- */

static double config_number(const reading *r, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(r->config, name);
  return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static void add_partial(const reading *r) {
  uint64_t turned;
  const double heads = config_number(r, "num_attention_heads");
  double dim = config_number(r, "head_dim");
  if (dim <= 0 && heads > 0) dim = config_number(r, "hidden_size") / heads;
  if (!whole(r, "dimension_count", &turned) || !turned || dim <= 0 || (double)turned >= dim) return;
  cJSON_AddNumberToObject(r->config, "partial_rotary_factor", (double)turned / dim);
}

/* ---- Factors of frequencies ---- */

/* The tensor as a list below 'name'; QP_OK and nothing where it is not there. */
static qp_status add_factors(const reading *r, const char *tensor, cJSON *scaling,
                             const char *name) {
  float factor[MAX_FACTORS];
  const qp_gguf_tensor *t = qp_gguf_parts_find(r->parts, tensor);
  if (!t) return QP_OK;
  if (t->dims != 1 || t->shape[0] > MAX_FACTORS || !t->type || t->type->elements != 1)
    return qp_fail(r->err, QP_E_ARG, "%s: tensor '%s': a list of at most %d numbers is needed",
                   r->parts->part[0].path, tensor, MAX_FACTORS);
  t->type->decode(t->data, (size_t)t->shape[0], factor);
  cJSON *list = cJSON_AddArrayToObject(scaling, name);
  for (uint64_t i = 0; i < t->shape[0]; i++) {
    if (!isfinite(factor[i]) || factor[i] == 0)
      return qp_fail(r->err, QP_E_ARG, "%s: tensor '%s': element %llu is %g; numbers are needed",
                     r->parts->part[0].path, tensor, (unsigned long long)i, (double)factor[i]);
    cJSON_AddItemToArray(list, cJSON_CreateNumber((double)factor[i]));
  }
  return QP_OK;
}

static bool has_tensor(const reading *r, const char *name) {
  return qp_gguf_parts_find(r->parts, name) != NULL;
}

static qp_status add_longrope(const reading *r, cJSON *scaling) {
  const bool one = has_tensor(r, "rope_freqs.weight"); /* for any length */
  double scale = 1;
  cJSON_AddStringToObject(scaling, "rope_type", "longrope");
  qp_status status = add_factors(r, one ? "rope_freqs.weight" : "rope_factors_short.weight",
                                 scaling, "short_factor");
  if (!status)
    status = add_factors(r, one ? "rope_freqs.weight" : "rope_factors_long.weight", scaling,
                         "long_factor");
  if (number(r, "scaling.attn_factor", &scale) || one)
    cJSON_AddNumberToObject(scaling, "attention_factor", scale);
  return status;
}

/* ---- All ---- */

static qp_status add_scaling(const reading *r, const char *type, cJSON *scaling) {
  double factor;
  if (has_tensor(r, "rope_freqs.weight") || has_tensor(r, "rope_factors_long.weight"))
    return add_longrope(r, scaling);
  if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
    return qp_fail(r->err, QP_E_ARG,
                   "%s: key '%s.rope.scaling.type' is '%s'; none, linear, yarn and longrope (with "
                   "its tensors) are known",
                   r->parts->part[0].path, r->architecture, type);
  cJSON_AddStringToObject(scaling, "rope_type", type);
  if (!number(r, "scaling.factor", &factor) || !(factor > 0))
    return qp_fail(r->err, QP_E_ARG, "%s: key '%s.rope.scaling.factor' is missing, or not above 0",
                   r->parts->part[0].path, r->architecture);
  cJSON_AddNumberToObject(scaling, "factor", factor);
  return QP_OK;
}

qp_status qp_gguf_rotary(const char *architecture, const qp_gguf_parts *parts, cJSON *config,
                         qp_error *err) {
  const reading r = {architecture, parts, config, err};
  char key[128], type[32] = "none";
  uint64_t trained;
  snprintf(key, sizeof key, "%s.rope.scaling.type", architecture);
  qp_gguf_text(parts->part[0].file, key, type, sizeof type);
  add_partial(&r);
  if (!strcmp(type, "none") && !has_tensor(&r, "rope_freqs.weight") &&
      !has_tensor(&r, "rope_factors_long.weight"))
    return QP_OK;
  cJSON *scaling = cJSON_AddObjectToObject(config, "rope_scaling");
  if (whole(&r, "scaling.original_context_length", &trained) && trained) {
    cJSON_AddNumberToObject(scaling, "original_max_position_embeddings", (double)trained);
    cJSON_AddNumberToObject(config, "original_max_position_embeddings", (double)trained);
  }
  return add_scaling(&r, type, scaling);
}
