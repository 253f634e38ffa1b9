/* SPDX-License-Identifier: MIT */
/* Launches of rotations, with what stands before them in a model: qpal_rotate. */
#include <assert.h>
#include <string.h>

#include "runtime/input_side.h"
#include "runtime/library_launch.h"

enum {
  LEAST = offsetof(qpal_rotate_args, x_stride) /* bytes of the struct in QPAL_ABI 1 */
};

static_assert((int)QP_SIDE_ORDER == (int)QPAL_ORDER && (int)QP_SIDE_SCALE == (int)QPAL_SCALES,
              "flags of the input side");
static_assert((int)QP_LAUNCH_ROTATE == (int)QPAL_ROTATE &&
                  (int)QP_LAUNCH_ROTATE_NORM == (int)QPAL_ROTATE_NORM &&
                  (int)QP_LAUNCH_ROTATE_GLU == (int)QPAL_ROTATE_GLU,
              "kernels of the library are launched by their op");

static const struct {
  unsigned op;
  const char *name;
} prologue[] = {[QPAL_PROLOGUE_NONE] = {QPAL_ROTATE, "rotation"},
                [QPAL_PROLOGUE_NORM] = {QPAL_ROTATE_NORM, "rotation with a norm"},
                [QPAL_PROLOGUE_GLU] = {QPAL_ROTATE_GLU, "rotation with a gated linear unit"}};

/* ---- Checks; strides of 0 become what they stand for ---- */

static qpal_status check_places(const qpal_rotate_args *a) {
  const bool apart = a->rows > 1;
  if (a->y == a->x && a->x_stride != a->y_stride && apart)
    return qp_refuse(QPAL_E_ARG, "y is x: x_stride (%u) and y_stride (%u) must be the same",
                     a->x_stride, a->y_stride);
  if (a->y == a->up && a->up_stride != a->y_stride && apart)
    return qp_refuse(QPAL_E_ARG, "y is up: up_stride (%u) and y_stride (%u) must be the same",
                     a->up_stride, a->y_stride);
  if (a->sum && a->sum == a->x && a->x_stride != a->columns && apart)
    return qp_refuse(QPAL_E_ARG, "sum is x: x_stride (%u) must be K (%u), for sum's rows lie close",
                     a->x_stride, a->columns);
  if (a->y == a->sum || a->y == a->residual)
    return qp_refuse(QPAL_E_ARG, "y is %s, which others read", a->y == a->sum ? "sum" : "residual");
  return QPAL_OK;
}

static qpal_status check_norm(const qpal_rotate_args *a) {
  qpal_status status = qp_lib_check_norm(a->eps, a->weight_offset, a->weight);
  if (!status) status = qp_lib_check_address("residual", 0, a->residual, 16, false);
  if (!status) status = qp_lib_check_address("sum", 0, a->sum, 16, false);
  return status ? status : qp_lib_check_address("post_weight", 0, a->post_weight, 16, false);
}

/* What another prologue reads, or none, is not given. */
static qpal_status check_absent(const qpal_rotate_args *a) {
  const bool norm = a->prologue == QPAL_PROLOGUE_NORM, glu = a->prologue == QPAL_PROLOGUE_GLU;
  const char *name = a->up && !glu             ? "up"
                     : a->residual && !norm    ? "residual"
                     : a->sum && !norm         ? "sum"
                     : a->weight && !norm      ? "weight"
                     : a->post_weight && !norm ? "post_weight"
                     : a->limit > 0 && !glu    ? "limit"
                                               : NULL;
  if (name)
    return qp_refuse(QPAL_E_ARG, "%s is given, which a %s does not read", name,
                     prologue[a->prologue].name);
  if (!a->reserved) return QPAL_OK;
  return qp_refuse(QPAL_E_ARG, "reserved is %u; it must be 0", a->reserved);
}

static qpal_status check_prologue(qpal_rotate_args *a) {
  if (a->prologue > QPAL_PROLOGUE_GLU)
    return qp_refuse(QPAL_E_ARG, "prologue is %u; QPAL_PROLOGUE_NONE, _NORM and _GLU are known",
                     a->prologue);
  if (a->prologue && a->inverse)
    return qp_refuse(QPAL_E_ARG, "an inverse rotation has no prologue; prologue is %u",
                     a->prologue);
  qpal_status status = check_absent(a);
  if (!status && a->prologue == QPAL_PROLOGUE_NORM) status = check_norm(a);
  if (!status && a->prologue == QPAL_PROLOGUE_GLU)
    status = qp_lib_check_glu(a->activation, a->limit, a->up, a->columns, &a->up_stride);
  return status ? status : check_places(a);
}

static qpal_status check(const qpal_library *l, qpal_rotate_args *a) {
  qpal_status status = qp_lib_check_type(a->type, false);
  if (!status && a->flags & ~(unsigned)QPAL_PDL)
    status = qp_refuse(QPAL_E_ARG, "flags is 0x%x; QPAL_PDL is known", a->flags);
  if (!status) status = qp_lib_check_address("x", 0, a->x, 16, true);
  if (!status) status = qp_lib_check_address("y", 0, a->y, 16, true);
  const unsigned aligned = a->block & QP_SIDE_FLAGS ? 16 : 4;
  if (!status) status = qp_lib_check_address("signs", 0, a->signs, aligned, true);
  if (!status) status = qp_lib_take_stride("x_stride", 0, a->columns, 8, &a->x_stride);
  if (!status) status = qp_lib_take_stride("y_stride", 0, a->columns, 8, &a->y_stride);
  if (!status) status = check_prologue(a);
  if (status) return status;
  if (a->rows > 1 && (a->x_stride != a->columns || a->y_stride != a->columns) &&
      !qp_lib_has_strides(l))
    return qp_refuse(QPAL_E_NO_KERNEL, "the library was exported before its kernels took strides; "
                                       "export it again");
  return QPAL_OK;
}

/* ---- The launch ---- */

static const char *side_text(unsigned rotation) {
  const bool order = qp_side_has_order(rotation), scale = qp_side_has_scale(rotation);
  return order && scale                ? " with an order and scales of the columns"
         : order                       ? " with an order of the columns"
         : scale                       ? " with scales of the columns"
         : qp_side_block(rotation) > 0 ? " in blocks"
                                       : "";
}

static qp_lib_arguments arguments_of(const qpal_rotate_args *a) {
  qp_lib_arguments to = {.words = {.x = a->x,
                                   .y = a->y,
                                   .signs = a->signs,
                                   .rows = a->rows,
                                   .x_stride = a->x_stride,
                                   .y_stride = a->y_stride,
                                   .up = a->up,
                                   .up_stride = a->up_stride,
                                   .activation = qp_glu_word(a->activation, a->limit),
                                   .residual = a->residual,
                                   .sum = a->sum,
                                   .weight = a->weight,
                                   .post_weight = a->post_weight}};
  memcpy(&to.words.norm, (const float[]){a->eps, a->weight_offset}, sizeof to.words.norm);
  return to;
}

qpal_status qpal_rotate(const qpal_kernels *ks, const qpal_rotate_args *given, void *stream) {
  qpal_rotate_args a;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, LEAST, "qpal_rotate_args");
  if (!status) status = check(ks->library, &a);
  if (status) return status;
  const unsigned block = qp_side_plain(a.columns, a.block);
  const uint32_t kernel = qp_lib_find_rotation(ks, prologue[a.prologue].op, QP_LIB_NONE, a.columns,
                                               a.type, a.inverse != 0, block);
  if (kernel == QP_LIB_NONE)
    return qp_refuse(QPAL_E_NO_KERNEL, "the library has no %s%s of K = %u%s in %s",
                     a.inverse ? "inverse " : "", prologue[a.prologue].name, a.columns,
                     side_text(block), qp_lib_type_names[a.type]);
  if (!a.rows) return QPAL_OK;
  const qp_lib_arguments to = arguments_of(&a);
  void *before = qp_device_enter(ks->device);
  status = qp_lib_launch(ks, kernel, &to, (a.flags & QPAL_PDL) != 0, stream);
  qp_device_leave(ks->device, before);
  return status;
}
