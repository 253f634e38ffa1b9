/* SPDX-License-Identifier: MIT */
/* Writes what other programs compare with:
**   forward_families DIR          a made-up model of each family to DIR/NAME, as kit_write does,
**                                 its token ids (tokens.txt) and our logits (logits.f32)
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
  qp_status status = qp_models_open(&models, err);
  if (!status) status = qp_tokens_read(tokens, &t, err);
  if (!status) status = qp_forward_open(model, models, &(qp_forward_options){0}, &f, err);
  if (!status) {
    floats = t.end[t.sequences - 1] * qp_forward_model(f)->vocab;
    if (!(logits = malloc(floats * sizeof *logits))) status = qp_fail(err, QP_E_NOMEM, "no memory");
  }
  const qp_sequences s = {t.id, t.end, t.sequences};
  if (!status) status = qp_forward_logits(f, &s, NULL, logits, err);
  FILE *file = status ? NULL : fopen(out, "wb");
  if (!status && (!file || fwrite(logits, sizeof *logits, floats, file) != floats))
    status = qp_fail(err, QP_E_IO, "%s: cannot be written", out);
  if (file && fclose(file)) status = qp_fail(err, QP_E_IO, "%s: cannot be written", out);
  free(logits);
  qp_forward_close(f);
  qp_tokens_free(&t);
  if (models) qp_models_close(models);
  return status;
}

static qp_status write_family(const char *dir, const kit_family *family, qp_error *err) {
  char folder[2048], tokens[2100], out[2100];
  uint32_t id[KIT_TOKENS];
  snprintf(folder, sizeof folder, "%s/%s", dir, family->name);
  snprintf(tokens, sizeof tokens, "%s/tokens.txt", folder);
  snprintf(out, sizeof out, "%s/logits.f32", folder);
  mkdir(folder, 0777);
  qp_status status = kit_write(folder, family->config, err);
  FILE *f = status ? NULL : fopen(tokens, "w");
  if (!status && !f) status = qp_fail(err, QP_E_IO, "%s: cannot be written", tokens);
  if (status) return status;
  kit_tokens(family->tokens, id);
  for (unsigned i = 0; i < family->tokens; i++) fprintf(f, "%u ", id[i]);
  fputc('\n', f);
  fclose(f);
  return write_logits(folder, tokens, out, err);
}

int main(int argc, char **argv) {
  qp_error err = {{0}};
  qp_status status = QP_OK;
  if (argc != 2 && argc != 4)
    return fprintf(stderr, "usage: %s DIR | MODEL TOKENS OUT\n", *argv), 2;
  if (argc == 4) status = write_logits(argv[1], argv[2], argv[3], &err);
  for (unsigned i = 0; argc == 2 && i < KIT_FAMILIES && !status; i++)
    status = write_family(argv[1], &kit_families[i], &err);
  if (status) fprintf(stderr, "%s: %s\n", *argv, err.text);
  return status != QP_OK;
}
