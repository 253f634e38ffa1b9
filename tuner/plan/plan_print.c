/* SPDX-License-Identifier: MIT */
/*
** Writes plan.json with a line for each linear and launch, so that a diff of two plans reads well.
*/
#include <math.h>
#include <stdlib.h>

#include "gen/base/file.h"
#include "gen/base/text.h"
#include "tuner/plan/plan_file.h"
#include "tuner/plan/plan_spec.h"

static void quoted(qp_text *t, const char *s) {
  qp_text_append(t, "\"", 1);
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\')
      qp_text_add(t, "\\%c", c);
    else if (c < 0x20 || c == 0x7f)
      qp_text_add(t, "\\u%04x", (unsigned)c);
    else
      qp_text_append(t, s, 1);
  }
  qp_text_append(t, "\"", 1);
}

static void text_field(qp_text *t, const char *name, const char *value, const char *end) {
  qp_text_add(t, "\"%s\": ", name);
  if (*value)
    quoted(t, value);
  else
    qp_text_add(t, "null");
  qp_text_add(t, "%s", end);
}

static void number(qp_text *t, double v) {
  if (isfinite(v))
    qp_text_add(t, "%.17g", v);
  else
    qp_text_add(t, "null");
}

static void number_field(qp_text *t, const char *name, double v, const char *end) {
  qp_text_add(t, "\"%s\": ", name);
  number(t, v);
  qp_text_add(t, "%s", end);
}

/* -1 is null. */
static void maybe_field(qp_text *t, const char *name, int64_t v, const char *end) {
  if (v < 0)
    qp_text_add(t, "\"%s\": null%s", name, end);
  else
    qp_text_add(t, "\"%s\": %lld%s", name, (long long)v, end);
}

static void bytes_field(qp_text *t, const char *name, uint64_t v, const char *end) {
  qp_text_add(t, "\"%s\": %llu%s", name, (unsigned long long)v, end);
}

static void print_head(qp_text *t, const qp_plan *p) {
  qp_text_add(t, "{\n \"schema\": \"qpal-plan\",\n \"version\": %d,\n ", QP_PLAN_VERSION);
  text_field(t, "model", p->model, ",\n ");
  text_field(t, "model_type", p->model_type, ",\n ");
  qp_text_add(t, "\"blocks\": %u,\n ", p->blocks);
  if (p->head_dim) qp_text_add(t, "\"head_dim\": %u,\n ", p->head_dim);
  qp_text_add(t, "\"tp\": %u,\n ", p->ranks ? p->ranks : 1);
  qp_text_add(t, "\"ep\": %u,\n ", p->slices ? p->slices : 1);
  text_field(t, "gpu", p->gpu, ",\n ");
  number_field(t, "loss", p->loss, ",\n ");
  number_field(t, "bound", p->bound, ",\n ");
  number_field(t, "gap", p->gap, ",\n ");
  bool timed = p->latency_ps > 0;
  number_field(t, "latency_s", timed ? (double)p->latency_ps * 1e-12 : NAN, ",\n ");
  number_field(t, "tokens_per_s", timed ? 1e12 / (double)p->latency_ps : NAN, ",\n ");
  maybe_field(t, "latency_ps", p->latency_ps, ",\n ");
  maybe_field(t, "constant_ps", p->constant_ps, ",\n ");
  number_field(t, "confidence", p->confidence, ",\n ");
  bytes_field(t, "memory_bytes", p->memory_bytes, ",\n ");
  number_field(t, "bits_per_weight", p->bits_per_weight, ",\n ");
  qp_text_add(t, "\"memory\": {");
  bytes_field(t, "linears", p->memory.linears, ", ");
  bytes_field(t, "lm_head", p->memory.lm_head, ", ");
  bytes_field(t, "signs", p->memory.signs, ", ");
  bytes_field(t, "codebooks", p->memory.codebooks, ", ");
  bytes_field(t, "embedding", p->memory.embedding, ", ");
  bytes_field(t, "other", p->memory.other, ", ");
  bytes_field(t, "passed", p->memory.passed, "},\n \"weights\": {");
  bytes_field(t, "planned", p->weights.planned, ", ");
  bytes_field(t, "lm_head", p->weights.lm_head, ", ");
  bytes_field(t, "embedding", p->weights.embedding, ", ");
  bytes_field(t, "other", p->weights.other, ", ");
  bytes_field(t, "passed", p->weights.passed, ", ");
  bytes_field(t, "active", p->weights.active, "},\n \"limits\": {");
  maybe_field(t, "latency_ps", p->latency_limit_ps, ", ");
  maybe_field(t, "memory_bytes", p->memory_limit_bytes, ", ");
  number_field(t, "bits_per_weight", p->bits_limit < 0 ? NAN : p->bits_limit, "},\n");
}

static const char *between(unsigned i, unsigned n) { return i + 1 < n ? ",\n" : "\n"; }

static void print_linears(qp_text *t, const qp_plan *p) {
  qp_text_add(t, " \"linears\": [\n");
  for (unsigned i = 0; i < p->linears; i++) {
    const qp_plan_linear *l = &p->linear[i];
    qp_text_add(t, "  {");
    text_field(t, "tensor", l->tensor, ", ");
    text_field(t, "role", l->role, ", ");
    maybe_field(t, "block", l->block, ", ");
    qp_text_add(t, "\"rows\": %u, \"columns\": %u, ", l->rows, l->columns);
    if (l->experts) qp_text_add(t, "\"experts\": %u, ", l->experts);
    if (l->experts && l->active) qp_text_add(t, "\"active\": %u, ", l->active);
    text_field(t, "quantizer", p->quantizer[l->quantizer].name, ", ");
    number_field(t, "sensitivity", l->sensitivity, ", ");
    number_field(t, "distortion", l->distortion, ", ");
    bytes_field(t, "bytes", l->bytes, l->lookup ? ", \"lookup\": true}" : "}");
    qp_text_add(t, "%s", between(i, p->linears));
  }
}

static void print_launches(qp_text *t, const qp_plan *p) {
  qp_text_add(t, " ],\n \"launches\": [\n");
  for (unsigned i = 0; i < p->launches; i++) {
    const qp_plan_launch *l = &p->launch[i];
    qp_text_add(t, "  {");
    maybe_field(t, "block", l->block, ", ");
    text_field(t, "group", l->group, ", ");
    text_field(t, "path", l->path, ", \"linears\": [");
    for (unsigned k = 0; k < l->members; k++) {
      quoted(t, p->linear[l->linear[k]].tensor);
      qp_text_add(t, "%s", k + 1 < l->members ? ", " : "], ");
    }
    maybe_field(t, "latency_ps", l->latency_ps, ", ");
    text_field(t, "how", l->how, "}");
    qp_text_add(t, "%s", between(i, p->launches));
  }
}

static void print_batches(qp_text *t, const qp_plan *p) {
  qp_text_add(t, " \"batches\": [");
  for (unsigned i = 0; i < p->batches; i++) {
    qp_text_add(t, "{\"batch\": %u, ", p->batch[i].batch);
    number_field(t, "weight", p->batch[i].weight, i + 1 < p->batches ? "}, " : "}");
  }
}

static void print_quantizers(qp_text *t, const qp_plan *p) {
  qp_text_add(t, "],\n \"quantizers\": [\n");
  for (unsigned i = 0; i < p->quantizers; i++) {
    const qp_plan_quantizer *q = &p->quantizer[i];
    qp_text_add(t, "  {");
    text_field(t, "name", q->name, ", ");
    text_field(t, "hash", q->hash, ", ");
    text_field(t, "spec", q->spec, ", ");
    number_field(t, "rate_bits", q->rate_bits, ", ");
    bytes_field(t, "codebook_bytes", q->codebook_bytes, "}");
    qp_text_add(t, "%s", between(i, p->quantizers));
  }
  qp_text_add(t, " ],\n");
}

static void print_notes(qp_text *t, const qp_plan *p) {
  qp_text_add(t, " ],\n \"notes\": [");
  for (unsigned i = 0; i < p->notes; i++) {
    qp_text_add(t, "%s\n  ", i ? "," : "");
    quoted(t, p->note[i]);
  }
  qp_text_add(t, "%s]\n}\n", p->notes ? "\n " : "");
}

static void print_plan(qp_text *t, const qp_plan *p) {
  print_head(t, p);
  print_batches(t, p);
  print_quantizers(t, p);
  print_linears(t, p);
  print_launches(t, p);
  print_notes(t, p);
}

qp_status qp_plan_print(const qp_plan *p, char **out, size_t *bytes, qp_error *err) {
  qp_text t = {0};
  print_plan(&t, p);
  size_t length = t.length;
  char *text = qp_text_take(&t);
  if (!text) return qp_fail(err, QP_E_NOMEM, "no memory for the plan's text");
  *out = text;
  *bytes = length;
  return QP_OK;
}

/* A copy of the plan's quantizers whose spec files are named from the plan's folder. */
static qp_status name_specs(const qp_plan *p, const char *file, qp_plan_quantizer **out,
                            qp_error *err) {
  qp_plan_quantizer *q = calloc(p->quantizers + 1, sizeof *q);
  if (!q) return qp_fail(err, QP_E_NOMEM, "no memory for the plan's quantizers");
  qp_status status = QP_OK;
  for (unsigned i = 0; i < p->quantizers && !status; i++) {
    q[i] = p->quantizer[i];
    status = qp_plan_spec_name(file, p->quantizer[i].spec, q[i].spec, sizeof q[i].spec, err);
  }
  if (status) return free(q), status;
  *out = q;
  return QP_OK;
}

qp_status qp_plan_write(const qp_plan *p, const char *file, qp_error *err) {
  char *text = NULL;
  size_t bytes = 0;
  qp_plan named = *p;
  qp_status status = name_specs(p, file, &named.quantizer, err);
  if (status) return status;
  status = qp_plan_print(&named, &text, &bytes, err);
  free(named.quantizer);
  if (!status) status = qp_file_write(file, text, bytes, err);
  free(text);
  return status;
}
