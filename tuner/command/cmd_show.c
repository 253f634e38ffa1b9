/* SPDX-License-Identifier: MIT */
/* qpal show: one quantizer. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/kernel/lower.h"
#include "gen/spec/definition.h"
#include "gen/spec/layout.h"
#include "runtime/half.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/session.h"

static const qp_verb_help help = {"show", "QUANTIZER [options]",
                                  "Shows a quantizer's rate, layout and hash, its decode as Lua "
                                  "and as CUDA. QUANTIZER is a name of\n"
                                  "the palette or a path of a .lua file."};

typedef struct show_options {
  bool ir, plain, bf16, json;
  const char *state;
} show_options;

static void print_field(const qp_quantizer *q, const qp_field *f) {
  printf("    %-10s %s, %g to %g", f->name, qp_field_row_of(f->type)->name, f->lo, f->hi);
  if (!f->size) printf(", one for each %s", f->tensor ? "linear" : "row");
  if (f->size && f->size != q->group) printf(", for %u columns", f->size);
  printf("\n");
}

/* Where it is not the usual rotation over all columns. */
static void print_input(const qp_quantizer *q) {
  static const char *const scales[] = {"", ", scaled by activations", ", scaled by weights"};
  const unsigned block = qp_side_block(q->rotation);
  if (!q->rotation) return;
  printf("  input       ");
  if (block > 1)
    printf("rotated in blocks of %u columns", block);
  else
    printf("%s", block ? "not rotated" : "rotated");
  printf("%s%s\n", qp_side_has_order(q->rotation) ? ", columns ordered by sensitivity" : "",
         scales[q->scale]);
}

static void print_facts(const qp_quantizer *q) {
  static const char *const kinds[] = {"trellis", "vector", "scalar", "split"};
  static const char *const scopes[] = {"all linears", "each linear", "each row"};
  printf("%s: %s, %g bits a weight", q->name, kinds[q->kind], q->rate);
  if (q->stored_rate > q->rate) printf(" (%g as stored)", q->stored_rate);
  printf("\n  defined in  %s:%d\n  hash        %s, layout %u\n", q->file, q->line, q->hash,
         q->layout);
  print_input(q);
  for (unsigned i = 0; i < q->parts; i++)
    printf("  part %u      %g of the columns: %s\n", i + 1, q->part[i].fraction,
           q->part[i].quantizer->name);
  if (q->kind == QP_SPLIT) return;
  if (q->kind == QP_TRELLIS)
    printf("  trellis     window %u bits, %u weights a state, %u new bits a step\n", q->window,
           q->dim, q->step);
  else
    printf("  code        %u bits for %u weights%s\n", q->step, q->dim,
           q->planes ? ", stored as bit planes" : "");
  for (unsigned i = 0; i < q->codebooks; i++) {
    const unsigned unread = qp_quantizer_unread(q, i);
    printf("  codebook    %s: %u x %u fp16, one for %s", q->codebook[i].name,
           q->codebook[i].entries, q->codebook[i].dim, scopes[q->codebook[i].scope]);
    if (unread) printf("; no state reads %u of the entries", unread);
    printf("\n");
  }
  if (q->group) printf("  group       %u columns\n", q->group);
  for (unsigned i = 0; i < q->fields; i++) print_field(q, &q->field[i]);
  if (q->sparse > 0) printf("  sparse      %g of a row's entries, in fp16\n", q->sparse);
  qp_period p;
  if (!qp_layout_period(q, &p, NULL))
    printf("  layout      superblock of %u x 32 x 64 weights: %u words a lane, %u codes\n",
           p.blocks, p.words, p.steps);
}

static qp_status print_state(const qp_quantizer *q, const char *text, qp_error *err) {
  char *end;
  unsigned long state = strtoul(text, &end, 0);
  uint16_t out[16];
  if (end == text || *end || (q->window < 32 && state >> q->window))
    return qp_fail(err, QP_E_ARG, "--state '%s': a number below 2^%u is needed", text, q->window);
  if (q->fields)
    return qp_fail(err, QP_E_ARG, "%s: its weights depend on group fields too", q->name);
  qp_quantizer_decode(q, (uint32_t)state, NULL, NULL, out);
  printf("state 0x%lx:", state);
  for (unsigned i = 0; i < q->dim; i++) printf(" %.6g", (double)qp_half_to_float(out[i]));
  printf("\n");
  return QP_OK;
}

static qp_status print_decode(const qp_quantizer *q, const show_options *o, qp_error *err) {
  qp_lower_options opt = {.bf16 = o->bf16,
                          .form = o->plain ? QP_TABLE_PLAIN : QP_TABLE_UNFOLDED,
                          .table_bytes_max = 196608,
                          .unfold_bits_max = 12,
                          .shift_by_multiply = true};
  qp_lowered l;
  printf("\nLua:\n%s\n", q->decode_text ? q->decode_text : "(the default: codebook[code])");
  if (o->ir) {
    char *dump = qp_ir_dump(q->decode);
    printf("\nIR:\n%s", dump ? dump : "");
    free(dump);
  }
  qp_status status = qp_lower(q, &opt, &l, err);
  if (status) return status;
  if (o->ir) {
    char *dump = qp_ir_dump(l.main);
    printf("\nIR, lowered:\n%s", dump ? dump : "");
    free(dump);
  }
  char *cuda = qp_lowered_cuda(&l, "Decode");
  printf("\nCUDA:\n%s", cuda ? cuda : "");
  free(cuda);
  qp_lowered_free(&l);
  return QP_OK;
}

static void print_json(const qp_quantizer *q) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "name", q->name);
  cJSON_AddStringToObject(o, "file", q->file);
  cJSON_AddStringToObject(o, "hash", q->hash);
  cJSON_AddNumberToObject(o, "layout", q->layout);
  cJSON_AddNumberToObject(o, "rate_bits", q->rate);
  cJSON_AddNumberToObject(o, "stored_rate_bits", q->stored_rate);
  cJSON_AddNumberToObject(o, "window_bits", q->window);
  cJSON_AddNumberToObject(o, "dim", q->dim);
  cJSON_AddNumberToObject(o, "step_bits", q->step);
  if (q->decode_text) cJSON_AddStringToObject(o, "decode", q->decode_text);
  char *text = cJSON_Print(o);
  if (text) puts(text);
  cJSON_free(text);
  cJSON_Delete(o);
}

static qp_status show(const qp_quantizer *q, const show_options *o, qp_error *err) {
  if (o->json) return print_json(q), QP_OK;
  if (o->state && q->kind != QP_SPLIT) return print_state(q, o->state, err);
  print_facts(q);
  if (q->kind != QP_SPLIT) return print_decode(q, o, err);
  for (unsigned i = 0; i < q->parts; i++) {
    printf("\n");
    print_facts(q->part[i].quantizer);
    qp_status status = print_decode(q->part[i].quantizer, o, err);
    if (status) return status;
  }
  return QP_OK;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  qp_session s;
  const qp_quantizer *q;
  (void)code;
  if (words->count != 1)
    return qp_fail(err, QP_E_ARG, "one quantizer is needed; qpal list names them");
  qp_status status = qp_session_open(&s, err);
  if (status) return status;
  status = qp_palette_find(s.palette, words->word[0], &q, err);
  if (!status) status = show(q, options, err);
  qp_session_close(&s);
  return status;
}

int qp_cmd_show(int argc, char **argv) {
  show_options o = {0};
  const qp_option table[] = {
      QP_FLAG("ir", o.ir, "the IR too, as traced and as lowered"),
      QP_FLAG("plain", o.plain, "CUDA with plain tables instead of unfolded ones"),
      QP_FLAG("bf16", o.bf16, "CUDA for bf16 activations"),
      QP_TEXT("state", o.state, "N", "what one state or code decodes to"),
      QP_FLAG("json", o.json, "the facts as JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
