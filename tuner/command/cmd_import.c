/* SPDX-License-Identifier: MIT */
/* qpal import: others' packed weights become ours, kept bit for bit. */
#include <stdio.h>
#include <string.h>

#include "gen/model/checkpoint.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/base/session.h"
#include "tuner/base/stop.h"
#include "tuner/base/watch.h"
#include "tuner/command/commands.h"
#include "tuner/quantize/section.h"
#include "tuner/quantize/shard.h"

static const qp_verb_help help = {
    "import", "CHECKPOINT -o DIR [options]",
    "Keeps weights that others have packed: codes, scales and zeros of CHECKPOINT in our layout\n"
    "(runtime/PACKED.md), without rotation and without coding anything anew. Every weight is then\n"
    "decoded again and is the source's in fp16, bit for bit; what cannot be kept so is refused "
    "with\n"
    "the reason. CHECKPOINT: a .gguf, or safetensors with a quantization_config (formats:\n"
    "gen/packings/PACKINGS.md). Linears that are not packed, the embedding and the lm_head stay "
    "in\n"
    "16 bits. A run that was stopped goes on when the same command is given again."};

typedef struct import_options {
  const char *folder;
  bool head, json;
  unsigned blocks, shard_mib;
  qp_repeats keep;
} import_options;

static qp_status keep_all(qp_job *j, qp_shards *s, qp_error *err) {
  qp_watch w;
  qp_status status = QP_OK;
  qp_watch_begin(&w, "import", "weights", (size_t)qp_job_weights(j) - s->found);
  for (size_t i = 0; i < j->shards && !status; i++) {
    const qp_job_shard *shard = &j->shard[i];
    for (size_t k = 0; k < shard->linears && !status; k++) {
      status = qp_shards_encode(s, shard->linear + k, &w.done, &qp_stopped, err);
      if (!status && atomic_load(&qp_stopped))
        status = qp_fail(
            err, QP_E_LIMIT,
            "stopped; what is done is kept in %s: give the same command again to go on", j->folder);
    }
    if (!status) status = qp_shards_write(s, i, err);
  }
  qp_watch_end(&w);
  return status;
}

/* Print a line for each pair of format and quantizer. */
static void print_rows(const qp_job *j) {
  static const qp_column columns[] = {{"format", false}, {"quantizer", false}, {"bits", true},
                                      {"linears", true}, {"weights", true},    {NULL, false}};
  qp_table_out *t = qp_table_new(columns, false);
  for (size_t i = 0; i < j->linears; i++) {
    const qp_job_linear *l = &j->linear[i];
    double linears = 0, weights = 0;
    bool first = true;
    for (size_t k = 0; k < j->linears; k++) {
      const qp_job_linear *o = &j->linear[k];
      if (o->quantizer != l->quantizer || strcmp(o->weight->type, l->weight->type) != 0) continue;
      if (k < i) first = false;
      linears++;
      weights += (double)o->rows * o->columns;
    }
    if (!first) continue;
    qp_table_row(t);
    qp_table_text(t, l->weight->type);
    qp_table_text(t, l->quantizer->name);
    qp_table_number(t, l->quantizer->stored_rate, "%.4g");
    qp_table_number(t, linears, "%.0f");
    qp_table_number(t, weights, "%.0f");
  }
  qp_table_print(t);
}

static double figure(const cJSON *report, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(report, name);
  return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static void print_report(const qp_job *j, const cJSON *report, bool json) {
  if (json) {
    char *text = cJSON_Print(report);
    if (text) puts(text);
    cJSON_free(text);
    return;
  }
  print_rows(j);
  printf(
      "%zu linears kept bit for bit, %.0f weights at %.4f bits a weight, everything stored; model "
      "%.1f MB in %zu file%s of %s\n",
      j->linears, figure(report, "weights"), figure(report, "bits_per_weight"),
      figure(report, "stored_bytes") / 1e6, j->shards, j->shards == 1 ? "" : "s", j->folder);
}

static qp_status work(qp_job *j, const import_options *o, qp_error *err) {
  qp_shards shards;
  cJSON *report = NULL;
  qp_status status = qp_shards_open(j, &shards, err);
  if (status) return status;
  status = keep_all(j, &shards, err);
  if (status == QP_E_ARG) qp_shards_discard(&shards);
  if (!status) status = qp_section_finish(j, &report, err);
  if (!status) qp_shards_finish(&shards);
  if (!status) print_report(j, report, o->json);
  cJSON_Delete(report);
  qp_shards_close(&shards);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const import_options *o = options;
  qp_palette *palette = NULL;
  qp_models *models = NULL;
  qp_checkpoint *checkpoint = NULL;
  qp_job job = {0};
  (void)code;
  if (words->count != 1)
    return qp_fail(err, QP_E_ARG, "one file or folder of weights is needed; qpal import --help");
  if (!o->folder || !*o->folder) return qp_fail(err, QP_E_ARG, "-o DIR is needed: where to write");
  const qp_job_wishes wishes = {.folder = o->folder,
                                .keeps_codes = true,
                                .head = o->head,
                                .blocks = o->blocks,
                                .shard_bytes_mib = o->shard_mib,
                                .keep = o->keep.value,
                                .keeps = o->keep.count};
  qp_stop_catch();
  qp_status status = qp_palette_open(&palette, err);
  if (!status) status = qp_models_open(&models, err);
  if (!status) status = qp_checkpoint_open(words->word[0], models, &checkpoint, err);
  if (!status) status = qp_job_make(checkpoint, &wishes, palette, &job, err);
  if (!status) status = work(&job, o, err);
  qp_job_free(&job);
  qp_checkpoint_close(checkpoint);
  qp_models_close(models);
  if (palette) qp_palette_close(palette);
  return status;
}

int qp_cmd_import(int argc, char **argv) {
  import_options o = {.shard_mib = 1024};
  const qp_option table[] = {
      QP_TEXT("o", o.folder, "DIR", "where to write"),
      QP_FLAG("lm-head", o.head, "keep the packed lm_head too; else it stays in 16 bits"),
      QP_REPEATS("keep", o.keep, "TEXT", "leave linears whose name contains TEXT in 16 bits"),
      QP_NUMBER("blocks", o.blocks, "N", "only the first N blocks, to try", 1, 1 << 16),
      QP_NUMBER("shard-mib", o.shard_mib, "N", "size of a file (1024)", 1, 1 << 20),
      QP_FLAG("json", o.json, "print the report as JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
