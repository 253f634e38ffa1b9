/* SPDX-License-Identifier: MIT */
/* Launches what experts need: qpal_route, qpal_experts, qpal_combine. */
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "runtime/library_launch.h"
#include "runtime/routing.h"

static_assert((int)QP_LAUNCH_ROUTE == (int)QPAL_ROUTE &&
                  (int)QP_LAUNCH_EXPERTS == (int)QPAL_EXPERTS &&
                  (int)QP_LAUNCH_EXPERTS_GLU == (int)QPAL_EXPERTS_GLU &&
                  (int)QP_LAUNCH_COMBINE == (int)QPAL_COMBINE,
              "kernels of the library are launched by their op");

enum { EXPERTS_ARGS_LEAST = offsetof(qpal_experts_args, epilogue) }; /* before there was one */

static const qp_lib_kernel *kernel_of(const qpal_kernels *ks, uint32_t i) {
  return QP_LIB_GET(ks->library, KERNELS, qp_lib_kernel, i);
}

static const qp_lib_problem *problem_of(const qpal_library *l, unsigned group) {
  const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, group);
  return QP_LIB_GET(l, PROBLEMS, qp_lib_problem, g->problem);
}

/* ---- Which kernels ---- */

/* Find the kernels of a group's stacks.  QPAL_E_ARG, QPAL_E_NO_KERNEL. */
static qpal_status find_group(const qpal_kernels *ks, unsigned group, unsigned tokens,
                              qp_lib_range *out) {
  const qpal_library *l = ks->library;
  if (group >= qp_lib_count(l, QP_LIB_GROUPS))
    return qp_refuse(QPAL_E_ARG, "group %u: the library has %u", group,
                     qp_lib_count(l, QP_LIB_GROUPS));
  const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, group);
  *out = ks->gemm[QP_LIB_GEMM_EXPERTS][g->problem];
  if (!out->count)
    return qp_refuse(QPAL_E_NO_KERNEL, "group '%s' is none of stacks of experts",
                     qp_lib_string(l, g->name));
  if (!tokens) return qp_refuse(QPAL_E_ARG, "tokens is 0; 1 or more are needed");
  return QPAL_OK;
}

static qpal_status no_unit(const qpal_library *l, unsigned group) {
  const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, group);
  return qp_refuse(QPAL_E_NO_KERNEL,
                   "group '%s' has no kernel with a gated linear unit: `qpal export --glu` makes "
                   "them of up and gate",
                   qp_lib_string(l, g->name));
}

/* The kernel of the smallest batch that takes the tokens. */
static qpal_status find_experts(const qpal_kernels *ks, const qpal_experts_args *a,
                                uint32_t *index) {
  qp_lib_range range;
  qpal_status status = find_group(ks, a->group, a->tokens, &range);
  if (!status) status = qp_lib_check_epilogue(a->epilogue, a->activation, a->limit);
  if (!status && a->reserved)
    status = qp_refuse(QPAL_E_ARG, "reserved is %u; it must be 0", a->reserved);
  if (!status) status = qp_lib_check_type(a->type, false);
  if (!status) status = qp_lib_check_type(a->out_type, true);
  if (status) return status;
  if (a->epilogue) {
    const qp_lib_group *g = QP_LIB_GET(ks->library, GROUPS, qp_lib_group, a->group);
    range = ks->gemm[QP_LIB_GEMM_EXPERTS_GLU][g->problem];
    if (!range.count) return no_unit(ks->library, a->group);
  }
  char there[256] = "";
  size_t n = 0;
  for (uint32_t i = range.first; i < range.first + range.count; i++) {
    const qp_lib_kernel *k = kernel_of(ks, i);
    if (k->type == a->type && k->out_type == a->out_type && k->batch >= a->tokens)
      return *index = i, QPAL_OK;
    const int more = snprintf(there + n, sizeof there - n, "%s%s to %s, %u tokens", n ? "; " : "",
                              qp_lib_type_names[k->type], qp_lib_type_names[k->out_type], k->batch);
    if (more > 0 && n + (size_t)more < sizeof there) n += (size_t)more;
  }
  return qp_refuse(QPAL_E_NO_KERNEL, "no kernel from %s to %s for %u tokens; there are: %s",
                   qp_lib_type_names[a->type], qp_lib_type_names[a->out_type], a->tokens, there);
}

/* Finds what routes to a kernel of experts. */
static uint32_t find_route(const qpal_kernels *ks, const qp_lib_kernel *to) {
  for (uint32_t i = ks->first; i < ks->first + ks->count; i++) {
    const qp_lib_kernel *k = kernel_of(ks, i);
    if (k->op == QPAL_ROUTE && k->experts == to->experts && k->top_k == to->top_k &&
        k->tile == to->tile && k->batch == to->batch)
      return i;
  }
  return QP_LIB_NONE;
}

qpal_status qpal_experts_query(const qpal_kernels *ks, const qpal_experts_args *given,
                               qpal_experts_info *info) {
  qpal_experts_args a;
  uint32_t index = 0;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, EXPERTS_ARGS_LEAST, "qpal_experts_args");
  if (!status) status = find_experts(ks, &a, &index);
  if (status) return status;
  const qp_lib_kernel *k = kernel_of(ks, index);
  const qpal_experts_info own = {
      .kernel = index,
      .batch = k->batch,
      .experts = k->experts,
      .top_k = k->top_k,
      .tile = k->tile,
      .pdl = (k->flags & QP_LIB_PDL) != 0,
      .routing_bytes = 4ull * qp_routing_words(k->batch * k->top_k, k->experts, k->tile),
      .workspace_bytes = k->workspace_bytes,
      .counter_bytes = 4ull * k->counters,
      .latency_ps = k->latency_ps};
  return qp_give(info, &own, sizeof own, sizeof own, "qpal_experts_info");
}

/* ---- Launches ---- */

qpal_status qpal_route(const qpal_kernels *ks, const qpal_route_args *given, void *stream) {
  qpal_route_args a;
  qp_lib_range range;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, sizeof a, "qpal_route_args");
  if (!status) status = find_group(ks, a.group, a.tokens, &range);
  if (!status && a.flags & ~(unsigned)QPAL_PDL)
    status = qp_refuse(QPAL_E_ARG, "flags is 0x%x; QPAL_PDL is known", a.flags);
  if (!status && a.reserved)
    status = qp_refuse(QPAL_E_ARG, "reserved is %u; it must be 0", a.reserved);
  if (!status) status = qp_lib_check_address("ids", 0, a.ids, 4, true);
  if (!status) status = qp_lib_check_address("routing", 0, a.routing, 16, true);
  if (status) return status;
  uint32_t route = QP_LIB_NONE;
  for (uint32_t i = range.first; i < range.first + range.count && route == QP_LIB_NONE; i++)
    if (kernel_of(ks, i)->batch >= a.tokens) route = find_route(ks, kernel_of(ks, i));
  if (route == QP_LIB_NONE)
    return qp_refuse(QPAL_E_NO_KERNEL, "no kernel routes %u tokens to this group", a.tokens);
  const qp_lib_arguments to = {
      .words = {.x = a.ids, .y = a.routing, .rows = a.tokens * kernel_of(ks, route)->top_k}};
  void *before = qp_device_enter(ks->device);
  status = qp_lib_launch(ks, route, &to, (a.flags & QPAL_PDL) != 0, stream);
  qp_device_leave(ks->device, before);
  return status;
}

static qpal_status check_segments(const qpal_library *l, const qp_lib_problem *p,
                                  qpal_experts_args *a) {
  const unsigned bytes = a->out_type == QPAL_F32 ? 4 : 2;
  qpal_status status = QPAL_OK;
  if (!a->segment) return qp_refuse(QPAL_E_ARG, "segment is NULL");
  for (unsigned s = 0; s < p->segments && !status; s++) {
    const qpal_segment *e = &a->segment[s];
    const qp_lib_linear *linear = QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[s]);
    status = qp_lib_check_weights(l, linear, s, e->weights);
    if (!status) status = qp_lib_check_address("bias", s, e->bias, 2, false);
    if (!status && a->epilogue && s && e->y)
      status = qp_refuse(QPAL_E_ARG,
                         "y (member %u) is given; a gated linear unit has one, the "
                         "first member's",
                         s);
    if (!status) status = qp_lib_check_address("y", s, e->y, bytes, !a->epilogue || !s);
    if (!status) status = qp_lib_take_stride("y_stride", s, linear->rows, 1, &a->y_stride[s]);
    if (!status && e->residual)
      status = qp_refuse(QPAL_E_ARG, "residual (member %u) is given; experts add none", s);
  }
  return status;
}

static qpal_status check_experts(const qpal_kernels *ks, const qp_lib_kernel *k,
                                 qpal_experts_args *a) {
  const qp_lib_problem *p = problem_of(ks->library, a->group);
  if (a->flags & ~(unsigned)QPAL_PDL)
    return qp_refuse(QPAL_E_ARG, "flags is 0x%x; QPAL_PDL is known", a->flags);
  if (a->by_token > 1)
    return qp_refuse(QPAL_E_ARG, "by_token is %u; it must be 0 or 1", a->by_token);
  qpal_status status = qp_lib_check_address("x", 0, a->x, 16, true);
  if (!status) status = qp_lib_check_address("routing", 0, a->routing, 16, true);
  if (!status)
    status = qp_lib_check_address("workspace", 0, a->workspace, 16, k->workspace_bytes > 0);
  if (!status) status = qp_lib_check_address("counters", 0, a->counters, 4, k->counters > 0);
  if (!status) status = qp_lib_take_stride("x_stride", 0, p->columns, 8, &a->x_stride);
  return status ? status : check_segments(ks->library, p, a);
}

qpal_status qpal_experts(const qpal_kernels *ks, const qpal_experts_args *given, void *stream) {
  qpal_experts_args a;
  uint32_t index = 0;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, EXPERTS_ARGS_LEAST, "qpal_experts_args");
  if (!status) status = find_experts(ks, &a, &index);
  if (!status) status = check_experts(ks, kernel_of(ks, index), &a);
  if (status) return status;
  const qp_lib_problem *p = problem_of(ks->library, a.group);
  qp_lib_arguments to = {.words = {.x = a.x,
                                   .x_stride = a.x_stride,
                                   .x_share = a.by_token ? kernel_of(ks, index)->top_k : 1,
                                   .routing = a.routing,
                                   .workspace = a.workspace,
                                   .counters = a.counters,
                                   .activation = qp_glu_word(a.activation, a.limit)},
                         .segments = p->segments};
  for (unsigned s = 0; s < p->segments; s++) {
    const qpal_segment *e = &a.segment[s];
    qp_lib_add_streams(&to, ks, QP_LIB_GET(ks->library, LINEARS, qp_lib_linear, p->linear[s]),
                       kernel_of(ks, index)->experts, e->weights);
    to.words.segment[s] =
        (qp_segment_arguments){.scale = e->weights->scale, .bias = e->bias, .y = e->y};
    to.words.stride[s] = (qp_stride_arguments){.y = a.y_stride[s]};
  }
  void *before = qp_device_enter(ks->device);
  status = qp_lib_launch(ks, index, &to, (a.flags & QPAL_PDL) != 0, stream);
  qp_device_leave(ks->device, before);
  return status;
}

/* ---- combine ---- */

static qpal_status check_combine(qpal_combine_args *a) {
  qpal_status status = qp_lib_check_type(a->type, false);
  if (!status && a->x_type != a->type && a->x_type != QPAL_F32)
    status =
        qp_refuse(QPAL_E_ARG, "x_type is %u; it must be type's %u or QPAL_F32", a->x_type, a->type);
  if (!status && a->flags & ~(unsigned)QPAL_PDL)
    status = qp_refuse(QPAL_E_ARG, "flags is 0x%x; QPAL_PDL is known", a->flags);
  if (!status && (!a->top_k || a->top_k > UINT16_MAX))
    status = qp_refuse(QPAL_E_ARG, "top_k is %u; 1 to %d are possible", a->top_k, UINT16_MAX);
  if (!status && a->reserved)
    status = qp_refuse(QPAL_E_ARG, "reserved is %u; it must be 0", a->reserved);
  if (!status) status = qp_lib_check_address("x", 0, a->x, 16, true);
  if (!status) status = qp_lib_check_address("weights", 0, a->weights, 4, true);
  if (!status) status = qp_lib_check_address("residual", 0, a->residual, 16, false);
  if (!status) status = qp_lib_check_address("y", 0, a->y, 16, true);
  if (!status) status = qp_lib_take_stride("x_stride", 0, a->columns, 8, &a->x_stride);
  if (!status) status = qp_lib_take_stride("y_stride", 0, a->columns, 8, &a->y_stride);
  if (!status)
    status = qp_lib_take_stride("residual_stride", 0, a->columns, 8, &a->residual_stride);
  if (!status && a->y == a->residual && a->y_stride != a->residual_stride && a->tokens > 1)
    status = qp_refuse(QPAL_E_ARG,
                       "y is residual: y_stride (%u) and residual_stride (%u) must be the same",
                       a->y_stride, a->residual_stride);
  return status;
}

qpal_status qpal_combine(const qpal_kernels *ks, const qpal_combine_args *given, void *stream) {
  qpal_combine_args a;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, sizeof a, "qpal_combine_args");
  if (!status) status = check_combine(&a);
  if (status) return status;
  const uint32_t kernel =
      qp_lib_find_kernel(ks, QPAL_COMBINE, QP_LIB_NONE, a.columns, a.type, false);
  if (kernel == QP_LIB_NONE)
    return qp_refuse(QPAL_E_NO_KERNEL, "the library has no sum over experts of K = %u in %s",
                     a.columns, qp_lib_type_names[a.type]);
  if (!a.tokens) return QPAL_OK;
  qp_lib_arguments to = {.words = {.x = a.x,
                                   .y = a.y,
                                   .weight = a.weights,
                                   .residual = a.residual,
                                   .rows = a.tokens,
                                   .x_stride = a.x_stride,
                                   .y_stride = a.y_stride,
                                   .up_stride = a.residual_stride}};
  const uint32_t combined[] = {a.top_k, a.x_type == QPAL_F32};
  memcpy(&to.words.combined, combined, sizeof combined);
  void *before = qp_device_enter(ks->device);
  status = qp_lib_launch(ks, kernel, &to, (a.flags & QPAL_PDL) != 0, stream);
  qp_device_leave(ks->device, before);
  return status;
}
