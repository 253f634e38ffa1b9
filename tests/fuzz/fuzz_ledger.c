/* SPDX-License-Identifier: MIT */
/*
** Any bytes behind the first line of a calibration's ledger, or as all of it: it is refused by
** name, or goes on; what it said and what is added is there, to the last digit, when it is opened
** again.
*/
#include "gen/model/models.h"
#include "tests/fuzz/fuzz_kit.h"
#include "tuner/calibrate/ledger.h"

static const char head[] = "{\"ledger\":\"qpal-calibrate\",\"key\":\"k\"}\n";
static char path[64];
static qp_models *models;
static qp_model model;

static void forget(void) {
  unlink(path);
  qp_models_close(models);
}

static void begin(void) {
  static const char config[] =
      "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
      "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"num_hidden_layers\": 2,"
      "\"vocab_size\": 128}";
  must(!qp_models_open(&models, NULL) &&
       !qp_models_parse(models, "m.json", config, sizeof config - 1, &model, NULL));
  own_path(path, sizeof path, ".ledger");
  atexit(forget);
}

static void write_ledger(const uint8_t *data, size_t size) {
  const size_t n = data[0] & 1 ? 0 : sizeof head - 1;
  char *text = malloc(sizeof head + size);
  must(text != NULL);
  memcpy(text, head, n);
  memcpy(text + n, data + 1, size - 1);
  write_bytes(path, text, n + size - 1);
  free(text);
}

/* What is said of each linear; the lm_head is behind the last block. */
static size_t ask(const qp_ledger *l, qp_sensitivity *out) {
  size_t known = 0;
  for (unsigned b = 0; b < model.layers; b++)
    for (unsigned i = 0; i < model.linears; i++)
      known += qp_ledger_sensitivity(l, b, i, &out[b * model.linears + i]);
  return known + qp_ledger_has_hessians(l, model.layers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const qp_sensitivity added = {.alpha = 0.1, .error = 1.0 / 3};
  qp_sensitivity before[64] = {0}, after[64] = {0};
  qp_ledger *l = NULL;
  qp_error err = {.text = ""};
  if (!*path) begin();
  if (!size) return 0;
  write_ledger(data, size);
  if (qp_ledger_open(path, "k", &model, &l, &err)) {
    must_name(&err, path);
    return 0;
  }
  must(model.layers * model.linears <= sizeof before / sizeof *before);
  must(!qp_ledger_add_sensitivity(l, 1, 2, &added, &err) && !qp_ledger_add_hessians(l, 0, &err));
  const size_t known = ask(l, before);
  qp_ledger_close(l, false);
  must(!qp_ledger_open(path, "k", &model, &l, &err) && qp_ledger_has_hessians(l, 0));
  must(ask(l, after) == known);
  for (size_t i = 0; i < sizeof before / sizeof *before; i++)
    must(before[i].alpha == after[i].alpha && before[i].error == after[i].error);
  must(after[model.linears + 2].alpha == added.alpha);
  qp_ledger_close(l, true);
  return 0;
}
