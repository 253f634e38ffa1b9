/* SPDX-License-Identifier: MIT */
/* The values among which a group field is searched. */
#include "gen/encode/field_axis.h"

#include <stdlib.h>
#include <string.h>

/* Turn the bits of a floating-point number into an integer in the order of the numbers, and
   back. */
static int64_t order_of(uint32_t raw, unsigned bits) {
  const int64_t magnitude = raw & ((1u << (bits - 1)) - 1);
  return raw >> (bits - 1) ? -magnitude : magnitude;
}
static uint32_t raw_of_order(int64_t order, unsigned bits) {
  return order < 0 ? 1u << (bits - 1) | (uint32_t)-order : (uint32_t)order;
}

/* List numbers of few bits: all between the ends. */
static void list_all(const qp_field *f, qp_field_axis *a) {
  for (uint32_t raw = 0; raw < 1u << qp_field_row_of(f->type)->bits; raw++) {
    const double number = qp_field_number(f->type, raw);
    if (!(number >= f->lo && number <= f->hi)) continue;
    unsigned at = a->count;
    while (at && qp_field_number(f->type, a->value[at - 1]) >= number) at--;
    if (at < a->count && qp_field_number(f->type, a->value[at]) == number) continue; /* -0 */
    memmove(a->value + at + 1, a->value + at, sizeof *a->value * (a->count++ - at));
    a->value[at] = raw;
  }
}

/* List the whole grains between the ends. */
static void list_grains(const qp_field *f, unsigned bits, int64_t grain, qp_field_axis *a) {
  const int64_t lo = order_of(qp_field_raw(f->type, f->lo), bits);
  const int64_t hi = order_of(qp_field_raw(f->type, f->hi), bits);
  const int64_t first = lo >= 0 ? (lo + grain - 1) / grain * grain : -(-lo / grain) * grain;
  for (int64_t v = first; v <= hi; v += grain) a->value[a->count++] = raw_of_order(v, bits);
}

qp_status qp_field_axis_make(qp_field_axis *out, const qp_field *f, unsigned fraction,
                             qp_error *err) {
  qp_field_axis axis = {0}, *a = &axis;
  const unsigned bits = qp_field_row_of(f->type)->bits;
  const unsigned digits = f->type == QP_FIELD_F16 ? 10 : f->type == QP_FIELD_BF16 ? 7 : 23;
  const int64_t grain = (int64_t)1 << (digits > fraction ? digits - fraction : 0);
  const size_t room = bits <= 8 ? 256
                                : (size_t)((order_of(qp_field_raw(f->type, f->hi), bits) -
                                            order_of(qp_field_raw(f->type, f->lo), bits)) /
                                               grain +
                                           2);
  a->value = malloc(sizeof *a->value * (room + 1));
  if (!a->value) return qp_fail(err, QP_E_NOMEM, "out of memory");
  if (bits <= 8)
    list_all(f, a);
  else
    list_grains(f, bits, grain, a);
  if (!a->count) a->value[a->count++] = qp_field_raw(f->type, f->lo); /* there is none between */
  a->number = malloc(sizeof *a->number * a->count);
  if (!a->number) {
    qp_field_axis_free(a);
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  }
  for (unsigned i = 0; i < a->count; i++) a->number[i] = qp_field_number(f->type, a->value[i]);
  *out = axis;
  return QP_OK;
}

void qp_field_axis_free(qp_field_axis *a) {
  free(a->value);
  free(a->number);
  *a = (qp_field_axis){0};
}
