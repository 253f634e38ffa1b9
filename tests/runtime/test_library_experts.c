/* SPDX-License-Identifier: MIT */
/* Stacks of experts through the public interface: routed, launched, refused. */
#include "tests/runtime/open_library.h"

#include "runtime/library_state.h"
#include "runtime/routing.h"

enum { EXPERTS = 3, TOP_K = 2, TOKENS = 3, ASSIGNMENTS = TOKENS * TOP_K, NONE = 5 };
enum { UP, GATE, DOWN, LINEARS };

static int32_t ids[ASSIGNMENTS] = {0, 2, 2, 2, NONE, 1}; /* one twice, one that is none */
static const char *const quantizers[LINEARS] = {"tcq-2.75", "int4-g128", "nuq-4"};
static const unsigned rows[LINEARS] = {64, 32, 96}; /* of one expert */

static kit_linear linear[LINEARS];
static qpal_ptr routing, workspace, counters, id, y[LINEARS];

static void add_member(qp_export_group *g, unsigned i, const char *name) {
  const unsigned m = g->members++;
  snprintf(g->member[m].tensor, sizeof g->member[m].tensor, "model.layers.0.mlp.experts.*.%s",
           name);
  g->member[m].quantizer = kit_find(quantizers[i]);
  g->member[m].rows = rows[i];
}

static void make_groups(qp_export_group g[2]) {
  static const char *const names[] = {"layers.0.expert_up+expert_gate", "layers.0.expert_down"};
  memset(g, 0, 2 * sizeof *g);
  for (unsigned i = 0; i < 2; i++) {
    snprintf(g[i].name, sizeof g->name, "%s", names[i]);
    g[i].columns = KIT_K;
    g[i].experts = EXPERTS;
    g[i].top_k = TOP_K;
  }
  add_member(&g[0], UP, "up_proj");
  add_member(&g[0], GATE, "gate_proj");
  add_member(&g[1], DOWN, "down_proj");
}

static unsigned group_of(unsigned i) { return i == DOWN; }
static unsigned member_of(unsigned i) { return i == GATE; }

/* All experts' arrays, one behind the other. */
static void upload_rows(unsigned i, unsigned m, const char *quantizer) {
  kit_linear *l = &linear[i];
  qpal_linear_info info = {.size = sizeof info};
  kit_linear_make(l, quantizer, EXPERTS * m);
  cr_assert_eq(qpal_library_linear(library, group_of(i), member_of(i), &info), QPAL_OK);
  cr_assert_eq(info.rows, m);
  info.rows *= EXPERTS;
  for (unsigned p = 0; p < info.parts; p++) {
    info.part[p].code_bytes *= EXPERTS;
    for (unsigned f = 0; f < QPAL_MAX_FIELDS; f++) info.part[p].field_bytes[f] *= EXPERTS;
  }
  kit_linear_upload(l, device, &info);
}

static void upload(unsigned i) { upload_rows(i, rows[i], quantizers[i]); }

static qpal_experts_args arguments(unsigned group) {
  return (qpal_experts_args){.size = sizeof(qpal_experts_args),
                             .group = group,
                             .tokens = TOKENS,
                             .routing = routing,
                             .workspace = workspace,
                             .counters = counters};
}

static void set_up(void) {
  qp_export_group g[2];
  open_session();
  make_groups(g);
  qp_export_request r = kit_request(g);
  r.groups = 2;
  r.dequant = r.rotate = r.inverse = r.norm = r.glu = false;
  open_library(&r);
  load();
  qpal_kernels_info k = {.size = sizeof k};
  cr_assert_eq(qpal_kernels_describe(kernels, &k), QPAL_OK);
  qpal_experts_info info = {.size = sizeof info};
  const qpal_experts_args a = arguments(0);
  cr_assert_eq(qpal_experts_query(kernels, &a, &info), QPAL_OK, "%s", qpal_message());
  routing = kit_upload(device, NULL, info.routing_bytes);
  workspace = kit_upload(device, NULL, k.workspace_bytes);
  counters = kit_upload(device, NULL, k.counter_bytes);
  id = kit_upload(device, ids, sizeof ids);
  for (unsigned i = 0; i < LINEARS; i++) {
    upload(i);
    y[i] = kit_upload(device, NULL, 2ul * ASSIGNMENTS * rows[i]);
  }
}

static void tear_down(void) {
  for (unsigned i = 0; i < LINEARS; i++) kit_linear_free(&linear[i]);
  close_all();
}

TestSuite(library_experts, .init = set_up, .fini = tear_down);

static void route(unsigned tokens) {
  const qpal_route_args a = {.size = sizeof a, .tokens = tokens, .ids = id, .routing = routing};
  cr_assert_eq(qpal_route(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
}

static void launch(qpal_experts_args *a) {
  qpal_segment segment[2];
  for (unsigned m = 0; m < (a->group ? 1 : 2); m++) {
    const unsigned i = a->group ? DOWN : m;
    segment[m] = (qpal_segment){.weights = &linear[i].on_device, .y = y[i]};
  }
  a->segment = segment;
  cr_assert_eq(qpal_experts(kernels, a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_wait(device, NULL), QPAL_OK, "%s", qpal_message());
}

/* Y of a linear; row a of x, or of a's token. */
static void compare(unsigned i, const double *x, unsigned share, unsigned assignments) {
  uint16_t got[ASSIGNMENTS * 96];
  double want[ASSIGNMENTS * 96];
  const unsigned m = rows[i];
  cr_assert_eq(qpal_download(device, got, y[i], 2ul * assignments * m), QPAL_OK);
  for (unsigned a = 0; a < assignments; a++)
    for (unsigned r = 0; r < m; r++) {
      double sum = 0;
      for (unsigned k = 0; k < KIT_K && ids[a] < EXPERTS; k++)
        sum += linear[i].w[((size_t)ids[a] * m + r) * KIT_K + k] * x[a / share * KIT_K + k];
      want[a * m + r] = sum;
      cr_assert(ids[a] < EXPERTS || !got[a * m + r], "no expert's row is 0");
    }
  cr_expect_lt(kit_error(got, want, (size_t)assignments * m), 2e-3, "%s", quantizers[i]);
}

static void make_x(unsigned n, double *x, qpal_ptr *on_device) {
  uint16_t half[ASSIGNMENTS * KIT_K];
  for (unsigned i = 0; i < n * KIT_K; i++) {
    half[i] = qp_double_to_half(qp_random_uniform(&kit_random, -1, 1));
    x[i] = (double)qp_half_to_float(half[i]);
  }
  *on_device = kit_upload(device, half, 2ul * n * KIT_K);
}

Test(library_experts, multiply_tokens_and_assignments_by_their_own_experts) {
  double x[ASSIGNMENTS * KIT_K];
  qpal_experts_args up = arguments(0), down = arguments(1);
  route(TOKENS);
  make_x(TOKENS, x, &up.x);
  up.by_token = 1;
  launch(&up);
  compare(UP, x, TOP_K, ASSIGNMENTS);
  compare(GATE, x, TOP_K, ASSIGNMENTS);
  make_x(ASSIGNMENTS, x, &down.x);
  launch(&down);
  compare(DOWN, x, 1, ASSIGNMENTS);
}

/* y[t] of down's outputs, which are read back, and of a residual in y's place. */
static void combine(qpal_combine_args *a, const float *weight) {
  enum { M = 96, CELLS = TOKENS * M };
  uint16_t x[ASSIGNMENTS * M], got[CELLS], residual[CELLS];
  double want[CELLS];
  cr_assert_eq(qpal_download(device, x, a->x, sizeof x), QPAL_OK);
  for (unsigned i = 0; i < CELLS; i++)
    residual[i] = qp_double_to_half(qp_random_uniform(&kit_random, -1, 1));
  a->y = a->residual = kit_upload(device, residual, sizeof residual);
  a->weights = kit_upload(device, weight, sizeof(float) * ASSIGNMENTS);
  cr_assert_eq(qpal_combine(kernels, a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_wait(device, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, got, a->y, sizeof got), QPAL_OK);
  for (unsigned t = 0; t < TOKENS; t++)
    for (unsigned r = 0; r < M; r++) {
      double sum = (double)qp_half_to_float(residual[t * M + r]);
      for (unsigned k = 0; k < TOP_K; k++)
        sum += (double)weight[t * TOP_K + k] * (double)qp_half_to_float(x[(t * TOP_K + k) * M + r]);
      want[t * M + r] = sum;
    }
  cr_expect_lt(kit_error(got, want, CELLS), 1e-3);
}

Test(library_experts, are_added_up_by_the_weights_of_a_router) {
  static const float weight[ASSIGNMENTS] = {0.75f, 0.25f, 0.5f, 0.5f, 1, -0.125f};
  double x[ASSIGNMENTS * KIT_K];
  qpal_experts_args down = arguments(1);
  route(TOKENS);
  make_x(ASSIGNMENTS, x, &down.x);
  launch(&down);
  qpal_combine_args good = {
      .size = sizeof good, .columns = rows[DOWN], .tokens = TOKENS, .top_k = TOP_K, .x = y[DOWN]};
  combine(&good, weight);
  static const struct {
    unsigned columns, top_k, x_type, x_stride, y_stride, reserved;
    qpal_status status;
    const char *text;
  } wrong[] = {{96, 0, 0, 0, 0, 0, QPAL_E_ARG, "top_k is 0"},
               {64, TOP_K, 0, 0, 0, 0, QPAL_E_NO_KERNEL, "no sum over experts of K = 64 in f16"},
               {96, TOP_K, 1, 0, 0, 0, QPAL_E_ARG, "x_type is 1"},
               {96, TOP_K, 0, 100, 0, 0, QPAL_E_ARG, "x_stride"},
               {96, TOP_K, 0, 0, 104, 0, QPAL_E_ARG, "y is residual"},
               {96, TOP_K, 0, 0, 0, 1, QPAL_E_ARG, "reserved is 1"}};
  for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    qpal_combine_args a = good;
    a.columns = wrong[i].columns;
    a.top_k = wrong[i].top_k;
    a.x_type = wrong[i].x_type;
    a.x_stride = wrong[i].x_stride;
    a.y_stride = wrong[i].y_stride;
    a.reserved = wrong[i].reserved;
    cr_expect_eq(qpal_combine(kernels, &a, NULL), wrong[i].status, "%s", wrong[i].text);
    cr_expect(strstr(qpal_message(), wrong[i].text), "%s", qpal_message());
  }
}

/* ---- What a graph would hold ---- */

enum { HELD = 8, PARAMS = 2048 };

typedef struct held_launch {
  qp_function *function;
  qp_launch how;
  unsigned char params[PARAMS];
} held_launch;

static held_launch held[HELD];
static size_t held_count;
static const qp_device_ops *own_ops;

static qp_status hold_launch(qp_device *d, qp_function *f, const qp_launch *how, qp_error *e) {
  cr_assert(held_count < HELD && how->params_bytes <= PARAMS);
  held_launch *h = &held[held_count++];
  *h = (held_launch){.function = f, .how = *how};
  memcpy(h->params, how->params, how->params_bytes);
  h->how.params = h->params;
  return own_ops->launch(d, f, how, e);
}

/* Tokens go elsewhere: the same place in memory has other ids, and Y is as if never written. */
static void go_to(const int32_t to[ASSIGNMENTS]) {
  uint16_t none[ASSIGNMENTS * 96];
  memset(none, 0xff, sizeof none);
  memcpy(ids, to, sizeof ids);
  cr_assert_eq(qpal_upload(device, id, ids, sizeof ids), QPAL_OK);
  for (unsigned i = 0; i < LINEARS; i++)
    cr_assert_eq(qpal_upload(device, y[i], none, 2ul * ASSIGNMENTS * rows[i]), QPAL_OK);
}

static void launch_all(qpal_experts_args *up, qpal_experts_args *down) {
  route(TOKENS);
  launch(up);
  launch(down);
}

static void compare_all(const double *of_tokens, const double *of_assignments) {
  compare(UP, of_tokens, TOP_K, ASSIGNMENTS);
  compare(GATE, of_tokens, TOP_K, ASSIGNMENTS);
  compare(DOWN, of_assignments, 1, ASSIGNMENTS);
}

Test(library_experts, launches_hold_nothing_of_a_routing_and_are_right_when_a_graph_repeats_them) {
  static const int32_t one[] = {1, 1, 1, 1, 1, 1}, spread[] = {2, 0, NONE, 1, 0, 2};
  double of_tokens[ASSIGNMENTS * KIT_K], of_assignments[ASSIGNMENTS * KIT_K];
  qpal_experts_args up = arguments(0), down = arguments(1);
  make_x(TOKENS, of_tokens, &up.x);
  up.by_token = 1;
  make_x(ASSIGNMENTS, of_assignments, &down.x);
  own_ops = device->dev->ops;
  qp_device_ops holding = *own_ops;
  holding.launch = hold_launch;
  device->dev->ops = &holding;
  launch_all(&up, &down);
  cr_assert_eq(held_count, 3);
  go_to(one);
  launch_all(&up, &down);
  compare_all(of_tokens, of_assignments);
  cr_assert_eq(held_count, 6);
  for (unsigned i = 0; i < 3; i++) {
    const held_launch *a = &held[i], *b = &held[i + 3];
    cr_expect(a->function == b->function && a->how.grid == b->how.grid &&
              a->how.block == b->how.block && a->how.smem_bytes == b->how.smem_bytes &&
              a->how.pdl == b->how.pdl && a->how.params_bytes == b->how.params_bytes);
    cr_expect_eq(memcmp(a->params, b->params, a->how.params_bytes), 0, "launch %u", i);
  }
  go_to(spread);
  for (unsigned i = 0; i < 3; i++) /* no call of the library's */
    cr_assert_eq(own_ops->launch(device->dev, held[i].function, &held[i].how, NULL), QP_OK);
  compare_all(of_tokens, of_assignments);
  device->dev->ops = own_ops;
}

/* What is wrong with a call, and what the message says. */
static void expect_refusal(const qpal_experts_args *a, qpal_status status, const char *text) {
  cr_expect_eq(qpal_experts(kernels, a, NULL), status);
  cr_expect(strstr(qpal_message(), text), "'%s' is not in: %s", text, qpal_message());
}

/* Up and gate of two quantizers and of equal rows: the unit behind both in one launch. */
static void set_up_pair(void) {
  qp_export_group g[2];
  open_session();
  make_groups(g);
  g[0].glu = true;
  g[0].member[GATE].rows = rows[UP];
  g[0].member[UP].quantizer = kit_find(quantizers[DOWN]); /* which compiles faster */
  qp_export_request r = kit_request(g);
  r.groups = 1;
  r.dequant = r.rotate = r.inverse = r.norm = r.glu = false;
  r.gemm_glu = true;
  r.batches = 1, r.batch[0] = 4;
  open_library(&r);
  load();
}

static void tear_down_pair(void) {
  for (unsigned i = 0; i < DOWN; i++) kit_linear_free(&linear[i]);
  close_all();
}

TestSuite(library_expert_units, .init = set_up_pair, .fini = tear_down_pair);

static double unit_of(double gate, double up, const qpal_experts_args *a) {
  const double limit = a->limit > 0 ? (double)a->limit : (double)INFINITY;
  gate = fmin(gate, limit), up = fmax(fmin(up, limit), -limit);
  return a->activation == QPAL_SWIGLU_OAI ? gate / (1 + exp(-1.702 * gate)) * (up + 1)
                                          : gate / (1 + exp(-gate)) * up;
}

static void compare_units(const qpal_experts_args *a, const double *x) {
  uint16_t got[ASSIGNMENTS * 64];
  double want[ASSIGNMENTS * 64];
  cr_assert_eq(qpal_download(device, got, y[UP], sizeof got), QPAL_OK);
  for (unsigned i = 0; i < ASSIGNMENTS; i++)
    for (unsigned r = 0; r < rows[UP]; r++) {
      double sum[2] = {0};
      const bool there = ids[i] < EXPERTS;
      for (unsigned m = 0; m < 2; m++)
        for (unsigned k = 0; k < KIT_K && there; k++)
          sum[m] +=
              linear[m].w[((size_t)ids[i] * rows[UP] + r) * KIT_K + k] * x[i / TOP_K * KIT_K + k];
      want[i * rows[UP] + r] = there ? unit_of(sum[GATE], sum[UP], a) : 0;
      cr_assert(there || !got[i * rows[UP] + r], "no expert's row is 0");
    }
  cr_expect_lt(kit_error(got, want, ASSIGNMENTS * rows[UP]), 2e-3, "activation %u", a->activation);
}

Test(library_expert_units, of_up_and_gate_give_the_gated_linear_unit_of_both) {
  double x[ASSIGNMENTS * KIT_K];
  qpal_segment segment[2];
  qpal_experts_args a = arguments(0);
  qpal_experts_info info = {.size = sizeof info};
  a.epilogue = QPAL_EPILOGUE_GLU;
  cr_assert_eq(qpal_experts_query(kernels, &a, &info), QPAL_OK, "%s", qpal_message());
  a.routing = routing = kit_upload(device, NULL, info.routing_bytes);
  a.workspace = kit_upload(device, NULL, info.workspace_bytes);
  a.counters = kit_upload(device, NULL, info.counter_bytes);
  id = kit_upload(device, ids, sizeof ids);
  for (unsigned m = 0; m < 2; m++) {
    upload_rows(m, rows[UP], quantizers[m ? GATE : DOWN]);
    segment[m] = (qpal_segment){.weights = &linear[m].on_device};
  }
  segment[0].y = y[UP] = kit_upload(device, NULL, 2ul * ASSIGNMENTS * rows[UP]);
  a.segment = segment;
  a.by_token = 1;
  route(TOKENS);
  make_x(TOKENS, x, &a.x);
  for (unsigned i = 0; i < 2; i++) {
    a.activation = i ? QPAL_SWIGLU_OAI : QPAL_SILU;
    a.limit = i ? 0.5f : 0;
    cr_assert_eq(qpal_experts(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
    compare_units(&a, x);
  }
  segment[1].y = y[UP];
  expect_refusal(&a, QPAL_E_ARG, "y (member 1)");
  segment[1].y = 0;
  a.epilogue = 2, expect_refusal(&a, QPAL_E_ARG, "epilogue is 2");
  a.epilogue = 0, expect_refusal(&a, QPAL_E_ARG, "activation is 4");
  a.activation = 0, a.limit = 0, a.reserved = 1, expect_refusal(&a, QPAL_E_ARG, "reserved is 1");
}

Test(library_experts, of_one_token_take_the_kernel_of_one) {
  double x[ASSIGNMENTS * KIT_K];
  qpal_experts_args a = arguments(0);
  qpal_experts_info info = {.size = sizeof info};
  a.tokens = a.by_token = 1;
  cr_assert_eq(qpal_experts_query(kernels, &a, &info), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(info.batch, 1);
  cr_expect_eq(info.tile, 1);
  cr_expect_eq(info.experts, EXPERTS);
  cr_expect_eq(info.top_k, TOP_K);
  route(1);
  make_x(1, x, &a.x);
  launch(&a);
  compare(UP, x, TOP_K, TOP_K);
}

Test(library_experts, are_told_from_other_groups) {
  qpal_group_info g = {.size = sizeof g};
  cr_assert_eq(qpal_library_group(library, 1, &g), QPAL_OK);
  cr_expect_eq(g.experts, EXPERTS);
  cr_expect_eq(g.top_k, TOP_K);
  cr_expect_eq(g.rows, rows[DOWN]);
  const qpal_gemm_args a = {.size = sizeof a, .group = 1, .rows = 1, .type = QPAL_F16};
  qpal_gemm_info info = {.size = sizeof info};
  cr_expect_eq(qpal_gemm_query(kernels, &a, &info), QPAL_E_NO_KERNEL);
  cr_expect(strstr(qpal_message(), "qpal_experts"), "%s", qpal_message());
}

Test(library_experts, refuse_what_is_not_as_documented) {
  const qpal_segment segment[2] = {{.weights = &linear[UP].on_device, .y = y[UP]},
                                   {.weights = &linear[GATE].on_device, .y = y[GATE]}};
  qpal_experts_args good = arguments(0), a;
  good.segment = segment;
  good.x = good.routing;
  a = good, a.tokens = 5, expect_refusal(&a, QPAL_E_NO_KERNEL, "f16 to f16, 4 tokens");
  a = good, a.tokens = 0, expect_refusal(&a, QPAL_E_ARG, "tokens is 0");
  a = good, a.group = 2, expect_refusal(&a, QPAL_E_ARG, "group 2");
  a = good, a.type = QPAL_F32, expect_refusal(&a, QPAL_E_ARG, "type");
  a = good, a.out_type = QPAL_F32, expect_refusal(&a, QPAL_E_NO_KERNEL, "f16 to f32");
  a = good, a.routing += 8, expect_refusal(&a, QPAL_E_ARG, "routing");
  a = good, a.counters = 0, expect_refusal(&a, QPAL_E_ARG, "counters");
  a = good, a.by_token = 2, expect_refusal(&a, QPAL_E_ARG, "by_token is 2");
  a = good, a.flags = 2, expect_refusal(&a, QPAL_E_ARG, "flags is 0x2");
  a = good, a.x_stride = 100, expect_refusal(&a, QPAL_E_ARG, "x_stride");
  a = good, a.y_stride[1] = 31, expect_refusal(&a, QPAL_E_ARG, "y_stride (member 1) is 31");
  a = good, a.epilogue = 1, expect_refusal(&a, QPAL_E_NO_KERNEL, "`qpal export --glu`");
  a = good, a.segment = NULL, expect_refusal(&a, QPAL_E_ARG, "segment is NULL");
  qpal_route_args r = {.size = sizeof r, .tokens = 5, .ids = id, .routing = routing};
  cr_expect_eq(qpal_route(kernels, &r, NULL), QPAL_E_NO_KERNEL);
  r.tokens = 1, r.ids = 0;
  cr_expect_eq(qpal_route(kernels, &r, NULL), QPAL_E_ARG);
}
