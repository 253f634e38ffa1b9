/* SPDX-License-Identifier: MIT */
/* Makes code of PTX text: it hands the instructions that there are to the parser, and keeps what it
   made. */
#include "runtime/sim/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sim/rows.h"

static const decoder *const decoders[] = {p_decoders_control, p_decoders_move,  p_decoders_memory,
                                          p_decoders_warp,    p_decoders_async, NULL};
static const qp_sim_row *const rows[] = {qp_sim_rows_bits,  qp_sim_rows_move, qp_sim_rows_int,
                                         qp_sim_rows_float, qp_sim_rows_half, NULL};

static bool consts_done(parser *p) {
  qp_sim_code *c = p->code;
  const size_t bytes = ((size_t)p->consts.count * sizeof(uint32_t) + 128) / 64 * 64;
  c->consts = aligned_alloc(64, bytes);
  if (!c->consts) return p_fail(p, "host memory exhausted");
  if (p->consts.count) memcpy(c->consts, p->consts.at, p->consts.count * sizeof(uint32_t));
  c->const_words = p->consts.count;
  return true;
}

/* Take over what the parser made; the rest of it goes. */
static qp_status parser_end(parser *p) {
  qp_sim_code *code = p->code;
  if (p_ok(p)) consts_done(p);
  free(p->consts.at);
  code->ops = p->ops.at;
  code->op_count = p->ops.count;
  code->ext = p->ext.at;
  code->ext_count = p->ext.count;
  code->functions = p->functions.at;
  code->function_count = p->functions.count;
  code->globals = p->globals.at;
  code->global_count = p->globals.count;
  code->preds = p->preds;
  free(p->symbols.at);
  free(p->patches.at);
  free(p->refs.at);
  free(p->vregs.at);
  free(p->frame_ops.at);
  free(p->frame_exts.at);
  free(p->callees.at);
  const qp_status status = p->status;
  free(p);
  return status;
}

static parser *parser_new(qp_sim_code *code, unsigned arch, qp_sim_place place, void *arg,
                          qp_error *err) {
  parser *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  *p = (parser){.err = err,
                .begin = code->text,
                .cursor = code->text,
                .end = code->text + code->text_bytes,
                .line = 1,
                .arch = arch,
                .target = arch,
                .place = place,
                .place_arg = arg,
                .code = code,
                .function = -1,
                .preds = 1,
                .decoders = decoders,
                .rows = rows};
  return p;
}

qp_status qp_sim_decode(const char *ptx, size_t bytes, unsigned arch, qp_sim_place place, void *arg,
                        qp_sim_code **out, qp_error *err) {
  qp_sim_code *code = calloc(1, sizeof *code);
  char *text = code ? malloc(bytes + 1) : NULL;
  if (text) *code = (qp_sim_code){.text = text, .text_bytes = bytes, .shared_align = 16};
  parser *p = text ? parser_new(code, arch, place, arg, err) : NULL;
  if (!p) {
    free(code);
    free(text);
    return qp_fail(err, QP_E_NOMEM, "host memory exhausted");
  }
  memcpy(text, ptx, bytes);
  text[bytes] = 0;
  p_next(p);
  while (p_ok(p) && p->tok.kind != T_END && p_top(p)) {
  }
  if (p_ok(p)) p_link(p);
  const qp_status status = parser_end(p);
  if (status == QP_OK) return *out = code, QP_OK;
  for (uint32_t i = 0; i < code->global_count; i++)
    if (code->globals[i].address) place(arg, code->globals + i, NULL);
  qp_sim_code_free(code);
  return status;
}

void qp_sim_code_free(qp_sim_code *code) {
  if (!code) return;
  for (uint32_t i = 0; i < code->function_count; i++) {
    free(code->functions[i].name);
    free(code->functions[i].params);
    free(code->functions[i].callees);
  }
  for (uint32_t i = 0; i < code->global_count; i++) {
    free(code->globals[i].name);
    free(code->globals[i].init);
  }
  free(code->functions);
  free(code->globals);
  free(code->ops);
  free(code->ext);
  free(code->consts);
  free(code->text);
  free(code);
}

const char *qp_sim_code_line(const qp_sim_code *code, uint32_t line, size_t *bytes) {
  const char *s = code->text, *end = s + code->text_bytes;
  for (uint32_t i = 1; i < line && s < end; s++)
    if (*s == '\n') i++;
  while (s < end && (*s == ' ' || *s == '\t')) s++;
  const char *stop = s;
  while (stop < end && *stop != '\n' && *stop != '\r') stop++;
  *bytes = (size_t)(stop - s);
  return s;
}
