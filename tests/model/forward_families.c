/* SPDX-License-Identifier: MIT */
/* Writes what other programs compare with:
**   forward_families DIR          a made-up model of each family to DIR/NAME, as kit_write does, its
**                                 token ids (tokens.txt) and our logits (logits.f32)
**   forward_families MODEL TOKENS OUT    logits of a model for the sequences of a file, fp32
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/model/forward.h"
#include "gen/model/tokens.h"
#include "tests/model/forward_kit.h"

static qp_status write_logits(const char *model, const char *tokens, const char *out,
                              qp_error *err) {
  qp_models *models = NULL;
  qp_forward *f = NULL;
  qp_tokens t = {0};
  float *logits = NULL;
  size_t floats = 0;
  qp_status st = qp_models_open(&models, err);
  if (!st) st = qp_tokens_read(tokens, &t, err);
  if (!st) st = qp_forward_open(model, models, &(qp_forward_options){0}, &f, err);
  if (!st) {
    floats = t.end[t.sequences - 1] * qp_forward_model(f)->vocab;
    if (!(logits = malloc(floats * sizeof *logits))) st = qp_fail(err, QP_E_NOMEM, "no memory");
  }
  const qp_sequences s = {t.id, t.end, t.sequences};
  if (!st) st = qp_forward_logits(f, &s, NULL, logits, err);
  FILE *file = st ? NULL : fopen(out, "wb");
  if (!st && (!file || fwrite(logits, sizeof *logits, floats, file) != floats))
    st = qp_fail(err, QP_E_IO, "%s: cannot be written", out);
  if (file && fclose(file)) st = qp_fail(err, QP_E_IO, "%s: cannot be written", out);
  free(logits);
  qp_forward_close(f);
  qp_tokens_free(&t);
  if (models) qp_models_close(models);
  return st;
}

static qp_status write_family(const char *dir, const kit_family *family, qp_error *err) {
  char folder[2048], tokens[2100], out[2100];
  uint32_t id[KIT_TOKENS];
  snprintf(folder, sizeof folder, "%s/%s", dir, family->name);
  snprintf(tokens, sizeof tokens, "%s/tokens.txt", folder);
  snprintf(out, sizeof out, "%s/logits.f32", folder);
  mkdir(folder, 0777);
  qp_status st = kit_write(folder, family->config, err);
  FILE *f = st ? NULL : fopen(tokens, "w");
  if (!st && !f) st = qp_fail(err, QP_E_IO, "%s: cannot be written", tokens);
  if (st) return st;
  kit_tokens(family->tokens, id);
  for (unsigned i = 0; i < family->tokens; i++) fprintf(f, "%u ", id[i]);
  fputc('\n', f);
  fclose(f);
  return write_logits(folder, tokens, out, err);
}

int main(int argc, char **argv) {
  qp_error err = {{0}};
  qp_status st = QP_OK;
  if (argc != 2 && argc != 4)
    return fprintf(stderr, "usage: %s DIR | MODEL TOKENS OUT\n", *argv), 2;
  if (argc == 4) st = write_logits(argv[1], argv[2], argv[3], &err);
  for (unsigned i = 0; argc == 2 && i < KIT_FAMILIES && !st; i++)
    st = write_family(argv[1], &kit_families[i], &err);
  if (st) fprintf(stderr, "%s: %s\n", *argv, err.text);
  return st != QP_OK;
}
