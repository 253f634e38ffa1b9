/* SPDX-License-Identifier: MIT */
/* qpal train: the codebook of a quantizer, fitted to the trellis that uses it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/base/writable.h"
#include "gen/encode/trellis_table.h"
#include "gen/encode/train.h"
#include "gen/spec/codebook_file.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/session.h"

static const qp_verb_help help = {
    "train", "QUANTIZER -o FILE [options]",
    "Trains the codebooks of a quantizer on N(0,1): codes are searched as the encoder does, each\n"
    "entry becomes the best for what chose it, again and again. FILE is a text that a spec reads\n"
    "with  stored { file = \"FILE\", entries = ..., dim = ... }  from its own folder. Of several\n"
    "codebooks each has its name behind the file's: -o books.txt  writes books-a.txt, "
    "books-b.txt."};

static void tell(void *arg, unsigned round, unsigned rounds, double distortion) {
  fprintf(stderr, "%s: round %u of %u: distortion %.6f\n", (const char *)arg, round + 1, rounds,
          distortion);
}

/* Writes what a spec gives of each entry, without the zeros behind it. */
static qp_status write_codebook(const qp_codebook *book, uint16_t *data, const char *path,
                                qp_error *err) {
  for (size_t e = 0; e < book->entries && book->given < book->dim; e++)
    memmove(data + e * book->given, data + e * book->dim, sizeof *data * book->given);
  char *text = qp_codebook_print(book->entries, book->given, data);
  if (!text) return qp_fail(err, QP_E_NOMEM, "out of memory");
  qp_status status = qp_file_write(path, text, strlen(text), err);
  free(text);
  return status;
}

/* FILE, or FILE-NAME before its ending where there are several codebooks. */
static void path_of(const qp_quantizer *q, unsigned c, const char *file, char *out, size_t size) {
  const char *slash = strrchr(file, '/'), *dot = strrchr(file, '.');
  const size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - file) : strlen(file);
  if (q->codebooks == 1)
    snprintf(out, size, "%s", file);
  else
    snprintf(out, size, "%.*s-%s%s", (int)stem, file, q->codebook[c].name, file + stem);
}

typedef struct train_options {
  qp_train_options how;
  unsigned weights, seed;
  const char *path;
} train_options;

static qp_status train(const qp_quantizer *q, const qp_train_options *options, const char *path,
                       qp_error *err) {
  uint16_t *data[QP_MAX_CODEBOOKS] = {0};
  char name[sizeof q->name], to[4096];
  qp_status status = QP_OK;
  memcpy(name, q->name, sizeof name);
  qp_train_options how = *options;
  how.progress = tell;
  how.arg = name;
  for (unsigned c = 0; c < q->codebooks && !status; c++) {
    const qp_codebook *book = &q->codebook[c];
    path_of(q, c, path, to, sizeof to);
    status = qp_writable_check(to, err);
    if (status) break;
    const size_t bytes = sizeof *book->data * book->entries * book->dim;
    data[c] = malloc(bytes);
    if (data[c])
      memcpy(data[c], book->data, bytes);
    else
      status = qp_fail(err, QP_E_NOMEM, "out of memory");
  }
  if (!status) status = qp_train_codebooks(q, &how, data, err);
  for (unsigned c = 0; c < q->codebooks && !status; c++) {
    path_of(q, c, path, to, sizeof to);
    status = write_codebook(&q->codebook[c], data[c], to, err);
  }
  for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) free(data[c]);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  train_options *o = options;
  qp_session session = {0};
  const qp_quantizer *q = NULL;
  (void)code;
  if (words->count != 1 || !o->path)
    return qp_fail(err, QP_E_ARG, "one QUANTIZER and -o FILE should be given");
  o->how.weights = o->weights;
  o->how.seed = o->seed;
  qp_status status = qp_session_open(&session, err);
  if (!status) status = qp_palette_find(session.palette, words->word[0], &q, err);
  if (!status) status = train(q, &o->how, o->path, err);
  qp_session_close(&session);
  return status;
}

int qp_cmd_train(int argc, char **argv) {
  train_options o = {.how = {.rounds = 14}, .weights = 1u << 20, .seed = 1};
  const qp_option table[] = {
      QP_TEXT("o", o.path, "FILE", "where the codebook goes"),
      QP_NUMBER("rounds", o.how.rounds, "N", "rounds (14)", 1, 1000),
      QP_NUMBER("weights", o.weights, "N",
                "weights of a later round (1048576); the first half take a quarter", 1, 1u << 31),
      QP_NUMBER("beam", o.how.beam, "N",
                "paths kept at a step of a trellis whose window is over 20 bits (by its step)",
                QP_BEAM_LEAST, QP_BEAM_MOST),
      QP_NUMBER("threads", o.how.threads, "N", "threads (0: as many as CPUs)", 0, 256),
      QP_NUMBER("seed", o.seed, "N", "of the weights (1)", 0, 1u << 30),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
