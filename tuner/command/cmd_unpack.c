/* SPDX-License-Identifier: MIT */
/* qpal unpack writes packed weights as a plain checkpoint, for programs without kernels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/base/options.h"
#include "tuner/base/session.h"
#include "tuner/command/commands.h"
#include "tuner/quantize/unpack.h"

static const qp_verb_help help = {
    "unpack", "FOLDER -o DIR [options]",
    "Decodes the packed weights that qpal quantize wrote to a checkpoint that any program reads: "
    "DIR/\n"
    "model.safetensors, config.json and tokenizer. Weights are what kernels multiply with, in the\n"
    "basis of the checkpoint; other tensors stay as they are."};

typedef struct unpack_options {
  const char *out, *type, *quantizers;
  unsigned threads;
} unpack_options;

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const unpack_options *o = options;
  static const qp_tensor_type types[] = {QP_TENSOR_F16, QP_TENSOR_BF16, QP_TENSOR_F32};
  static const char *const names[] = {"f16", "bf16", "f32"};
  unsigned type = 0;
  (void)code;
  while (type < 3 && strcmp(o->type, names[type]) != 0) type++;
  if (type == 3)
    return qp_fail(err, QP_E_ARG, "--type: f16, bf16 or f32 is needed, not '%s'", o->type);
  if (words->count != 1)
    return qp_fail(err, QP_E_ARG, "one FOLDER is needed, got %zu", words->count);
  if (!o->out) return qp_fail(err, QP_E_ARG, "-o DIR is needed: the folder to write to");
  qp_session session = {0};
  qp_status status = o->quantizers ? qp_session_open(&session, err) : QP_OK;
  if (!status && o->quantizers) status = qp_session_read_files(&session, o->quantizers, err);
  if (!status)
    status = qp_unpack(words->word[0], o->out, types[type], session.palette, o->threads, err);
  qp_session_close(&session);
  if (!status) printf("%s\n", o->out);
  return status;
}

int qp_cmd_unpack(int argc, char **argv) {
  unpack_options o = {.type = "f16"};
  const qp_option table[] = {
      QP_TEXT("o", o.out, "DIR", "folder to write to"),
      QP_TEXT("type", o.type, "TYPE", "of the decoded weights: f16 (default), bf16 or f32"),
      QP_NUMBER("threads", o.threads, "N", "threads (0: as many as CPUs)", 0, 256),
      QP_TEXT("quantizers", o.quantizers, "LIST",
              "files of quantizers that FOLDER was packed with and the palette lacks"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
