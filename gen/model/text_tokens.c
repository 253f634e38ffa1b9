/* SPDX-License-Identifier: MIT */
/* Reads a text file as a model's tokens. */
#include "gen/model/text_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "gen/model/tokenizer.h"
#include "runtime/map.h"

/* ids[count] in sequences that begin with prefix[before]. */
static qp_status cut(const uint32_t *ids, size_t count, const uint32_t *prefix, size_t before,
                     size_t context, qp_tokens *out, qp_error *err) {
  const size_t step = context - before, sequences = (count + step - 1) / step;
  qp_tokens t = {.id = malloc((count + sequences * before) * sizeof *t.id),
                 .end = malloc(sequences * sizeof *t.end)};
  if (!t.id || !t.end) {
    qp_tokens_free(&t);
    return qp_fail(err, QP_E_NOMEM, "no memory for %zu tokens", count);
  }
  size_t n = 0;
  for (size_t at = 0; at < count; at += step) {
    const size_t here = count - at < step ? count - at : step;
    memcpy(t.id + n, prefix, before * sizeof *t.id);
    memcpy(t.id + n + before, ids + at, here * sizeof *t.id);
    t.end[t.sequences++] = n += before + here;
  }
  *out = t;
  return QP_OK;
}

static qp_status encode(const qp_tokenizer *t, const char *file, const qp_map *text, size_t context,
                        size_t most, qp_tokens *out, qp_error *err) {
  const uint32_t *prefix;
  uint32_t *ids;
  size_t before, count;
  qp_tokenizer_prefix(t, &prefix, &before);
  if (context <= before + 1)
    return qp_fail(err, QP_E_ARG,
                   "a context of %zu tokens: the tokenizer puts %zu before each text", context,
                   before);
  qp_status status =
      qp_tokenizer_encode(t, (const char *)text->data, text->bytes, false, &ids, &count, err);
  if (status) return qp_fail_prefix(err, status, "%s", file);
  if (most && count > most) count = most;
  status = count ? cut(ids, count, prefix, before, context, out, err)
                 : qp_fail(err, QP_E_ARG, "%s: there is no text in it", file);
  free(ids);
  return status;
}

qp_status qp_text_tokens(const char *model, const char *file, size_t context, size_t most,
                         qp_tokens *out, qp_error *err) {
  qp_tokenizer *t = NULL;
  qp_map text;
  qp_status status = qp_map_open(file, &text, err);
  if (status) return status;
  status = text.bytes ? qp_tokenizer_open(model, &t, err)
                      : qp_fail(err, QP_E_ARG, "%s: there is no text in it", file);
  if (!status) status = encode(t, file, &text, context, most, out, err);
  qp_tokenizer_close(t);
  qp_map_close(&text);
  return status;
}

qp_status qp_text_or_ids(const char *model, const char *text, const char *ids, size_t context,
                         size_t most, qp_tokens *out, qp_error *err) {
  qp_tokens all = {0};
  if (text) return qp_text_tokens(model, text, context, most, out, err);
  qp_status status = qp_tokens_read(ids, &all, err);
  if (status) return status;
  if (most) qp_tokens_limit(&all, most);
  status = qp_tokens_cut(&all, context, out, err);
  qp_tokens_free(&all);
  return status;
}
