/* SPDX-License-Identifier: MIT */
/* qpal list shows quantizers, kernel families, models and GPUs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/base/resource.h"
#include "gen/model/models.h"
#include "runtime/device.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/base/session.h"
#include "tuner/check/pins.h"

static const qp_verb_help help = {"list", "[quantizers|families|models|gpus] [--json]",
                                  "Lists the palette (default), the kernel families with their "
                                  "tunables, the models, or the GPUs\n"
                                  "that are here or have measured records."};

static const char *kind_name(qp_quantizer_kind k) {
  static const char *const names[] = {"trellis", "vector", "scalar", "split"};
  return names[k];
}

static qp_status list_quantizers(qp_session *s, bool json, qp_error *err) {
  const qp_status status = qp_palette_load(s->palette, err);
  if (status) return status;
  static const qp_column columns[] = {
      {"name", false}, {"kind", false},  {"rate_bits", true}, {"stored_rate_bits", true},
      {"dim", true},   {"window", true}, {"step", true},      {"hash", false},
      {"file", false}, {NULL, false}};
  qp_table_out *t = qp_table_new(columns, json);
  for (size_t i = 0; i < qp_palette_count(s->palette); i++) {
    const qp_quantizer *q = qp_palette_get(s->palette, i);
    qp_table_row(t);
    qp_table_text(t, q->name);
    qp_table_text(t, kind_name(q->kind));
    qp_table_number(t, q->rate, "%g");
    qp_table_number(t, q->stored_rate, "%g");
    qp_table_number(t, q->dim, "%.0f");
    qp_table_number(t, q->window, "%.0f");
    qp_table_number(t, q->step, "%.0f");
    qp_table_text(t, q->hash);
    qp_table_text(t, q->file);
  }
  qp_table_print(t);
  return QP_OK;
}

/* The text of lua/quantizers/definitions.txt: lines stay where they are, new ones come last. */
static qp_status list_pins(qp_session *s, qp_error *err) {
  const qp_quantizer **q = NULL;
  size_t n = 0;
  qp_status status = qp_session_quantizers(s, NULL, &q, &n, err);
  if (!status) status = qp_pins_sort(q, n, err);
  for (size_t i = 0; !status && i < n; i++) {
    const char *file = strrchr(q[i]->file, '/');
    printf("%s %s %s\n", q[i]->name, q[i]->hash, file ? file + 1 : q[i]->file);
  }
  free(q);
  return status;
}

static void list_families(qp_session *s, bool json) {
  static const qp_column columns[] = {{"family", false}, {"path", false}, {"tunable", false},
                                      {"values", false}, {"help", false}, {NULL, false}};
  qp_table_out *t = qp_table_new(columns, json);
  for (size_t i = 0; i < qp_families_count(s->families); i++) {
    const qp_family *f = qp_families_get(s->families, i);
    qp_table_row(t);
    qp_table_text(t, f->name);
    qp_table_text(t, f->path);
    qp_table_text(t, "");
    qp_table_text(t, "");
    qp_table_text(t, f->help);
    for (unsigned k = 0; k < f->tunables; k++) {
      char values[256] = "";
      size_t n = 0;
      for (unsigned v = 0; v < f->tunable[k].values && n < sizeof values; v++)
        n += (size_t)snprintf(values + n, sizeof values - n, "%s%u", v ? " " : "",
                              f->tunable[k].value[v]);
      qp_table_row(t);
      qp_table_text(t, f->name);
      qp_table_text(t, f->path);
      qp_table_text(t, f->tunable[k].name);
      qp_table_text(t, values);
      qp_table_text(t, f->tunable[k].help);
    }
  }
  qp_table_print(t);
}

/* Does a JSON file say of which GPU it is?  Those of sensitivities do not. */
static bool names_gpu(const char *path) {
  const char *text;
  size_t bytes;
  cJSON *tree = NULL;
  if (qp_resource_read(path, &text, &bytes, NULL) || qp_json_parse(path, text, bytes, &tree, NULL))
    return false;
  const bool named = cJSON_IsString(cJSON_GetObjectItemCaseSensitive(tree, "gpu"));
  cJSON_Delete(tree);
  return named;
}

/* Add a file of tuned/: records (.jsonl) or a table of others (.json). */
static void add_file(const char *path, void *arg) {
  const char *base = strrchr(path, '/') + 1;
  const char *dot = strrchr(base, '.');
  const bool records = dot && !strcmp(dot, ".jsonl");
  char name[128];
  if (!records && (!dot || strcmp(dot, ".json") != 0 || !names_gpu(path))) return;
  snprintf(name, sizeof name, "%.*s", (int)(dot - base), base);
  qp_table_row(arg);
  qp_table_text(arg, name);
  qp_table_text(arg, records ? "records" : "published table");
  qp_table_text(arg, path);
}

static qp_status list_models(bool json, qp_error *err) {
  static const qp_column columns[] = {{"name", false},    {"type", false},        {"layers", true},
                                      {"hidden", true},   {"intermediate", true}, {"heads", true},
                                      {"kv_heads", true}, {"head_dim", true},     {"vocab", true},
                                      {"weights", true},  {NULL, false}};
  qp_models *models;
  qp_status status = qp_models_open(&models, err);
  if (status) return status;
  if ((status = qp_models_load(models, err))) return qp_models_close(models), status;
  qp_table_out *t = qp_table_new(columns, json);
  for (size_t i = 0; i < qp_models_count(models); i++) {
    const qp_model *m = qp_models_get(models, i);
    const unsigned numbers[] = {m->layers,   m->hidden,   m->intermediate, m->heads,
                                m->kv_heads, m->head_dim, m->vocab};
    qp_table_row(t);
    qp_table_text(t, m->name);
    qp_table_text(t, m->type);
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
      qp_table_number(t, numbers[k], "%.0f");
    qp_table_number(t, (double)(m->linear_weights + m->head_weights), "%.0f");
  }
  qp_table_print(t);
  qp_models_close(models);
  return QP_OK;
}

/* GPUs that a driver shows, then those with records or a table in tuned/. */
static void list_gpus(bool json) {
  static const qp_column columns[] = {
      {"name", false}, {"kind", false}, {"file", false}, {NULL, false}};
  qp_table_out *t = qp_table_new(columns, json);
  for (unsigned i = 0; i < 64; i++) {
    char name[32];
    qp_device *dev;
    snprintf(name, sizeof name, "cuda:%u", i);
    if (qp_device_open(name, &dev, NULL)) break;
    qp_table_row(t);
    qp_table_text(t, dev->info.name);
    qp_table_text(t, "GPU here");
    qp_table_text(t, name);
    qp_device_close(dev);
  }
  qp_resource_each("tuned/", add_file, t);
  qp_table_print(t);
}

typedef struct list_options {
  bool json, pins;
} list_options;

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const list_options *o = options;
  const char *what = words->count ? words->word[0] : "quantizers";
  (void)code;
  if (!strcmp(what, "gpus")) return list_gpus(o->json), QP_OK;
  if (!strcmp(what, "models")) return list_models(o->json, err);
  const bool quantizers = !strcmp(what, "quantizers");
  if (!quantizers && strcmp(what, "families") != 0)
    return qp_fail(err, QP_E_ARG, "'%s' cannot be listed; quantizers, families, models or gpus can",
                   what);
  qp_session s;
  qp_status status = qp_session_open(&s, err);
  if (status) return status;
  if (o->pins)
    status = list_pins(&s, err);
  else if (quantizers)
    status = list_quantizers(&s, o->json, err);
  else
    list_families(&s, o->json);
  qp_session_close(&s);
  return status;
}

int qp_cmd_list(int argc, char **argv) {
  list_options o = {0};
  const qp_option table[] = {
      QP_FLAG("json", o.json, "as JSON"),
      QP_FLAG("pins", o.pins, "names, hashes, files: as lua/quantizers/definitions.txt"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
