/* SPDX-License-Identifier: MIT */
/* qpal doctor: which libraries and GPUs were found where, what is missing and what it is for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "runtime/device.h"
#include "tuner/base/library_probe.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/command/commands.h"

static const qp_verb_help help = {
    "doctor", "[--json]",
    "Says which shared libraries were found where, in which version, and which GPUs there are; "
    "what\n"
    "is missing, what it is needed for and how to get it. Exit codes: 0 kernels can be made, 1 "
    "they\n"
    "cannot (no NVRTC of 12.8 or newer), 3 there is a driver and no GPU works."};

enum { MOST_GPUS = 64 };

typedef struct library {
  qp_library_find find[QP_FINDS_MAX];
  size_t finds;
  const qp_library_find *chosen; /* NULL: missing */
} library;

typedef struct gpu {
  char device[16];
  qp_device_info info;
} gpu;

typedef struct examination {
  library library[QP_DYNLIB_COUNT];
  gpu gpu[MOST_GPUS];
  unsigned gpus;
  qp_error gpu_error; /* why the first could not be opened */
} examination;

static void examine(examination *x) {
  for (int id = 0; id < QP_DYNLIB_COUNT; id++) {
    library *l = &x->library[id];
    l->finds = qp_library_finds((qp_dynlib_id)id, l->find);
    l->chosen = qp_library_chosen(l->find, l->finds);
  }
  for (; x->gpus < MOST_GPUS; x->gpus++) {
    gpu *g = &x->gpu[x->gpus];
    qp_device *dev;
    snprintf(g->device, sizeof g->device, "cuda:%u", x->gpus);
    if (qp_device_open(g->device, &dev, x->gpus ? NULL : &x->gpu_error)) break;
    g->info = dev->info;
    qp_device_close(dev);
  }
}

/* ---- Sentences ---- */

typedef void (*say)(const char *sentence, void *arg);

static void note_library(qp_dynlib_id id, const library *l, say how, void *arg) {
  const qp_dynlib *row = qp_dynlib_row(id);
  char text[2400];
  if (l->chosen && l->chosen->why[0]) {
    snprintf(text, sizeof text, "%s: %s", row->what, l->chosen->why);
    how(text, arg);
  }
  for (size_t i = 0; i < l->finds; i++) {
    if (l->find[i].usable || !l->find[i].why[0]) continue;
    snprintf(text, sizeof text, "%s: %s: %s", row->what, l->find[i].path, l->find[i].why);
    how(text, arg);
  }
  if (l->chosen) return;
  snprintf(text, sizeof text, "%s is missing; it is needed for %s; %s (or set %s to its path)",
           row->what, row->need, row->advice, row->variable);
  how(text, arg);
}

static void note_nvrtc(const library *l, say how, void *arg) {
  const qp_library_find *newer = qp_library_newer(l->find, l->finds);
  char text[1600];
  if (!newer) return;
  snprintf(text, sizeof text,
           "NVRTC %s is used and %s is at hand; newer ones may make faster code: QPAL_NVRTC=%s",
           l->chosen->version, newer->version, newer->path);
  how(text, arg);
}

static void all_notes(const examination *x, say how, void *arg) {
  char remark[512];
  for (int id = 0; id < QP_DYNLIB_COUNT; id++)
    note_library((qp_dynlib_id)id, &x->library[id], how, arg);
  note_nvrtc(&x->library[QP_DYNLIB_NVRTC], how, arg);
  if (x->library[QP_DYNLIB_CUDA].chosen && !x->gpus) how(x->gpu_error.text, arg);
  for (unsigned i = 0; i < x->gpus; i++)
    if (*qp_device_remark(&x->gpu[i].info, remark, sizeof remark)) how(remark, arg);
  if (!x->gpus)
    how("no GPU: `qpal check --device sim` proves kernels in the simulator, `qpal tune --device "
        "replay:FILE` goes through tuning",
        arg);
}

/* ---- Printing ---- */

static void print_note(const char *sentence, void *arg) {
  (void)arg;
  printf("- %s\n", sentence);
}

static void print_text(const examination *x) {
  static const qp_column columns[] = {{"library", false},  {"version", false}, {"file", false},
                                      {"found in", false}, {"for", false},     {NULL, false}};
  qp_table_out *t = qp_table_new(columns, false);
  for (int id = 0; id < QP_DYNLIB_COUNT; id++) {
    const qp_library_find *f = x->library[id].chosen;
    qp_table_row(t);
    qp_table_text(t, qp_dynlib_row((qp_dynlib_id)id)->what);
    qp_table_text(t, !f ? "missing" : *f->version ? f->version : "not told");
    qp_table_text(t, f ? f->path : "");
    qp_table_text(t, f ? f->place : "");
    qp_table_text(t, qp_dynlib_row((qp_dynlib_id)id)->need);
  }
  qp_table_print(t);
  for (unsigned i = 0; i < x->gpus; i++) {
    const qp_device_info *d = &x->gpu[i].info;
    printf("%s: %s, sm_%u, %u multiprocessors, %.0f GiB\n", x->gpu[i].device, d->name,
           d->capability, d->sm_count, (double)d->memory_bytes / (1 << 30));
  }
  all_notes(x, print_note, NULL);
}

static void add_note(const char *sentence, void *notes) {
  cJSON_AddItemToArray(notes, cJSON_CreateString(sentence));
}

static cJSON *library_json(qp_dynlib_id id, const library *l) {
  cJSON *o = cJSON_CreateObject(), *others = cJSON_CreateArray();
  cJSON_AddStringToObject(o, "library", qp_dynlib_row(id)->what);
  cJSON_AddBoolToObject(o, "found", l->chosen != NULL);
  cJSON_AddStringToObject(o, "version", l->chosen ? l->chosen->version : "");
  cJSON_AddStringToObject(o, "file", l->chosen ? l->chosen->path : "");
  cJSON_AddStringToObject(o, "place", l->chosen ? l->chosen->place : "");
  cJSON_AddStringToObject(o, "needed_for", qp_dynlib_row(id)->need);
  for (size_t i = 0; i < l->finds; i++) {
    if (&l->find[i] == l->chosen) continue;
    cJSON *other = cJSON_CreateObject();
    cJSON_AddStringToObject(other, "file", l->find[i].path);
    cJSON_AddStringToObject(other, "version", l->find[i].version);
    cJSON_AddStringToObject(other, "why_not", l->find[i].why);
    cJSON_AddItemToArray(others, other);
  }
  cJSON_AddItemToObject(o, "others", others);
  return o;
}

static void print_json(const examination *x) {
  cJSON *o = cJSON_CreateObject(), *libraries = cJSON_AddArrayToObject(o, "libraries");
  cJSON *gpus = cJSON_AddArrayToObject(o, "gpus"), *notes = cJSON_AddArrayToObject(o, "notes");
  for (int id = 0; id < QP_DYNLIB_COUNT; id++)
    cJSON_AddItemToArray(libraries, library_json((qp_dynlib_id)id, &x->library[id]));
  for (unsigned i = 0; i < x->gpus; i++) {
    const qp_device_info *d = &x->gpu[i].info;
    cJSON *g = cJSON_CreateObject();
    cJSON_AddStringToObject(g, "device", x->gpu[i].device);
    cJSON_AddStringToObject(g, "name", d->name);
    cJSON_AddNumberToObject(g, "capability", d->capability);
    cJSON_AddNumberToObject(g, "arch", d->arch);
    cJSON_AddNumberToObject(g, "sm_count", d->sm_count);
    cJSON_AddNumberToObject(g, "memory_bytes", (double)d->memory_bytes);
    cJSON_AddItemToArray(gpus, g);
  }
  all_notes(x, add_note, notes);
  char *text = cJSON_Print(o);
  if (text) puts(text);
  cJSON_free(text);
  cJSON_Delete(o);
}

static qp_status act(void *json, const qp_words *words, int *code, qp_error *err) {
  if (qp_words_none(words, err)) return QP_E_ARG;
  examination *x = calloc(1, sizeof *x);
  if (!x) return qp_fail(err, QP_E_NOMEM, "no memory");
  examine(x);
  *(const bool *)json ? print_json(x) : print_text(x);
  const bool makes = x->library[QP_DYNLIB_NVRTC].chosen != NULL;
  const bool trouble = x->library[QP_DYNLIB_CUDA].chosen && !x->gpus;
  free(x);
  *code = !makes ? 1 : trouble ? 3 : 0;
  return QP_OK;
}

int qp_cmd_doctor(int argc, char **argv) {
  bool json = false;
  const qp_option table[] = {QP_FLAG("json", json, "one JSON object"), {0}};
  return qp_verb_run(&help, table, argc, argv, act, &json);
}
