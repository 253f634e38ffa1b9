/* SPDX-License-Identifier: MIT */
/* Keys of calibrations, and in what two of them differ; see key.h. */
#include "tuner/calibrate/key.h"

#define XXH_INLINE_ALL
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
  METHOD = 3, /* of what is measured: changed with it */
  HALF = 1 << 16
};

static void hash(XXH3_state_t *s, const void *data, size_t bytes) {
  XXH3_128bits_update(s, data, bytes);
}

static void hash_tokens(XXH3_state_t *s, const qp_tokens *t) {
  hash(s, t->end, t->sequences * sizeof *t->end);
  hash(s, t->id, t->end[t->sequences - 1] * sizeof *t->id);
}

/* Begin with what every key is of; 'digest' stands for the weights where it is not NULL. */
static void begin(XXH3_state_t *s, const qp_calibration_subject *of, const uint64_t *digest) {
  const qp_calibrate_options *o = of->o;
  const qp_model *m = qp_forward_model(of->f);
  const uint64_t facts[] = {QP_CALIBRATION_VERSION,
                            METHOD + (o->half ? HALF : 0),
                            m->layers,
                            m->hidden,
                            m->vocab,
                            o->hessians,
                            of->probe_tokens,
                            o->sensitivity.probes,
                            o->sensitivity.seed,
                            of->tokens->sequences};
  XXH3_128bits_reset(s);
  hash(s, facts, sizeof facts);
  if (digest) hash(s, digest, sizeof *digest);
  hash(s, &o->sensitivity.noise, sizeof o->sensitivity.noise);
  hash_tokens(s, of->tokens);
}

static void end(const XXH3_state_t *s, char out[QP_CALIBRATION_KEY]) {
  const XXH128_hash_t h = XXH3_128bits_digest(s);
  snprintf(out, QP_CALIBRATION_KEY, "%016llx%016llx", (unsigned long long)h.high64,
           (unsigned long long)h.low64);
}

void qp_calibration_key(const qp_calibration_subject *s, char out[QP_CALIBRATION_KEY]) {
  XXH3_state_t state;
  const uint64_t digest = qp_forward_digest(s->f); /* of all that the model's files hold */
  begin(&state, s, &digest);
  end(&state, out);
}

/* As keys were before calibration.json had the field 'weights': of the first and the last linear of
   the blocks. */
static qp_status earlier_key(const qp_calibration_subject *s, char out[QP_CALIBRATION_KEY],
                             qp_error *err) {
  const qp_model *m = qp_forward_model(s->f);
  XXH3_state_t state;
  qp_status status = QP_OK;
  begin(&state, s, NULL);
  for (unsigned i = 0; i < 2 && !status; i++) {
    const unsigned linear = i ? m->linears - 1 : 0, block = i ? m->layers - 1 : 0;
    const size_t bytes = sizeof(float) * m->linear[linear].rows * m->linear[linear].columns;
    float *w = malloc(bytes);
    status = w ? qp_forward_weights(s->f, block, linear, w, err)
               : qp_fail(err, QP_E_NOMEM, "no memory for a linear's weights");
    if (!status) hash(&state, w, bytes);
    free(w);
  }
  end(&state, out);
  return status;
}

uint64_t qp_calibration_ids(const qp_tokens *tokens) {
  XXH3_state_t s;
  XXH3_128bits_reset(&s);
  hash_tokens(&s, tokens);
  return XXH3_128bits_digest(&s).low64;
}

/* ---- In what two differ ---- */

static const char remedy[] = "give another -o, or remove it, and it is measured again";

static qp_status differs(const char *folder, const char *field, const char *was, const char *is,
                         qp_error *err) {
  return qp_fail(err, QP_E_ARG,
                 "%s: it holds another calibration: field '%s' of its calibration.json is %s, and "
                 "%s is asked for: %s",
                 folder, field, was, is, remedy);
}

/* Numbers, and what is true or false, as they are counted in the key. */
static qp_status compare_numbers(const qp_calibration *c, const char *folder,
                                 const qp_calibration_subject *s, qp_error *err) {
  const qp_calibrate_options *o = s->o;
  const qp_tokens *t = s->tokens;
  const struct {
    const char *name;
    double value;
  } all[] = {{"tokens", (double)t->end[t->sequences - 1]},
             {"sequences", (double)t->sequences},
             {"hessians", o->hessians},
             {"sensitivity_tokens", (double)s->probe_tokens},
             {"noise", o->sensitivity.noise},
             {"probes", o->sensitivity.probes},
             {"seed", (double)o->sensitivity.seed}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(c->tree, all[i].name);
    char was[32], is[32];
    if (!cJSON_IsNumber(field) && !cJSON_IsBool(field)) continue;
    snprintf(was, sizeof was, "%.9g",
             cJSON_IsNumber(field) ? field->valuedouble : cJSON_IsTrue(field));
    snprintf(is, sizeof is, "%.9g", all[i].value);
    if (!strcmp(was, is)) continue;
    const bool word = cJSON_IsBool(field);
    return differs(folder, all[i].name, word ? (*was == '1' ? "true" : "false") : was,
                   word ? (*is == '1' ? "true" : "false") : is, err);
  }
  return QP_OK;
}

/* Texts; one that is not there says nothing. */
static qp_status compare_texts(const qp_calibration *c, const char *folder,
                               const qp_calibration_subject *s, qp_error *err) {
  char weights[17], ids[17], is[2048];
  snprintf(weights, sizeof weights, "%016llx", (unsigned long long)qp_forward_digest(s->f));
  snprintf(ids, sizeof ids, "%016llx", (unsigned long long)qp_calibration_ids(s->tokens));
  const char *products =
      cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->tree, "products"));
  if (!products != !s->o->half)
    return differs(folder, "products", products ? products : "missing (fp32)",
                   s->o->half ? "fp16 (--device)" : "fp32 (no --device)", err);
  const char *was = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->tree, "weights"));
  snprintf(is, sizeof is, "%s, of %.200s,", weights, qp_forward_model(s->f)->name);
  if (was && strcmp(was, weights) != 0) return differs(folder, "weights", was, is, err);
  was = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->tree, "token_ids"));
  snprintf(is, sizeof is, "%s, of %.1024s,", ids, s->o->text ? s->o->text : "the tokens");
  return was && strcmp(was, ids) != 0 ? differs(folder, "token_ids", was, is, err) : QP_OK;
}

qp_status qp_calibration_compare(const qp_calibration *c, const char *folder,
                                 const qp_calibration_subject *s, bool *earlier, qp_error *err) {
  char key[QP_CALIBRATION_KEY];
  *earlier = false;
  qp_calibration_key(s, key);
  if (!strcmp(c->key, key)) return QP_OK;
  qp_status status = compare_numbers(c, folder, s, err);
  if (!status) status = compare_texts(c, folder, s, err);
  if (status) return status;
  const bool known = cJSON_GetObjectItemCaseSensitive(c->tree, "weights") != NULL;
  if (!known) status = earlier_key(s, key, err);
  if (status) return status;
  *earlier = !known && !strcmp(c->key, key);
  if (*earlier) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s: it holds another calibration, of another text or model, or measured by "
                 "another method (a qpal of another version, or python -m qpal.calibrate): %s; "
                 "plan and quantize take it as it is with --calibration",
                 folder, remedy);
}
