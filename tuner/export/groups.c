/* SPDX-License-Identifier: MIT */
/* Turns plans, models and shapes into groups of linears, and finds GPUs by name. */
#include "tuner/export/groups.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "gen/base/json.h"
#include "gen/base/resource.h"
#include "gen/compile/compile.h"
#include "gen/kernel/kernel.h"
#include "gen/spec/layout.h"
#include "runtime/arch.h"
#include "runtime/device.h"
#include "tuner/tune/records.h"

/* What no launch takes. */
static qp_status check_stacks(const char *model, const qp_export_group *g, qp_error *err) {
  for (unsigned m = 0; m < g->members && g->experts; m++) {
    const qp_quantizer *q = g->member[m].quantizer;
    if (q && g->member[m].rows % 32)
      return qp_fail(err, QP_E_ARG,
                     "%s: '%s' are experts of %u rows, of which no launch is exported: a multiple "
                     "of 32 is needed",
                     model, g->member[m].tensor, g->member[m].rows);
    if (q && !qp_kernel_mergeable(q))
      return qp_fail(err, QP_E_ARG,
                     "%s: '%s' are experts by %s, which has a codebook of its own for each; no "
                     "launch of a stack takes it",
                     model, g->member[m].tensor, q->name);
    const unsigned all = g->experts * (g->slices ? g->slices : 1);
    if (!g->top_k || g->top_k > all || g->experts > QP_MAX_EXPERTS || g->top_k > QP_MAX_TOP_K)
      return qp_fail(err, QP_E_ARG,
                     "%s: '%s' are %u experts, a token goes to %u; up to %d and %d can be "
                     "exported (a plan without 'active' is of an older qpal: plan again)",
                     model, g->member[m].tensor, g->experts, g->top_k, QP_MAX_EXPERTS,
                     QP_MAX_TOP_K);
  }
  return QP_OK;
}

static qp_status make_groups(size_t n, qp_export_group **out, qp_error *err) {
  *out = calloc(n + 1, sizeof **out);
  return *out ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for %zu groups", n);
}

/* Make "layers.3.q+k+v" from the roles of members; the lm_head is called just that. */
static void name_group(qp_export_group *g, const char *const *role) {
  size_t n = 0;
  if (g->block >= 0) n = (size_t)snprintf(g->name, sizeof g->name, "layers.%d.", g->block);
  for (unsigned m = 0; m < g->members && n < sizeof g->name; m++)
    n += (size_t)snprintf(g->name + n, sizeof g->name - n, "%s%s", m ? "+" : "", role[m]);
}

/* ---- Plans ---- */

static qp_status plan_group(const qp_plan *plan, const qp_plan_launch *l,
                            const qp_quantizer *const *q, qp_export_group *g, qp_error *err) {
  const char *role[QP_PLAN_MEMBERS] = {0};
  unsigned quantized = 0;
  g->block = l->block;
  g->members = l->members;
  g->lookup = plan->linear[l->linear[0]].lookup && q[plan->linear[l->linear[0]].quantizer];
  snprintf(g->path, sizeof g->path, "%s", l->path);
  for (unsigned m = 0; m < l->members; m++) {
    const qp_plan_linear *e = &plan->linear[l->linear[m]];
    role[m] = e->role;
    g->columns = e->columns;
    g->experts = e->experts;
    g->top_k = e->active;
    g->slices = e->experts ? plan->slices : 0;
    g->member[m].rows = e->rows;
    g->member[m].quantizer = q[e->quantizer];
    quantized += q[e->quantizer] != NULL;
    snprintf(g->member[m].tensor, sizeof g->member[m].tensor, "%s", e->tensor);
  }
  assert(role[0]);
  g->input = qp_model_producer_of(role[0]);
  g->shares_columns = qp_parallel_divides_columns(role[0]) && g->slices <= 1;
  g->glu = g->members == 2 && qp_model_gates(role[0], role[1]);
  name_group(g, role);
  if (quantized && quantized != l->members)
    return qp_fail(err, QP_E_ARG, "launch %s: it fuses fp16 linears with quantized ones", g->name);
  return check_stacks(plan->model, g, err);
}

/* An embedding that is looked up alone. */
static void embedding_group(const char *tensor, unsigned rows, unsigned columns,
                            const qp_quantizer *q, qp_export_group *g) {
  *g = (qp_export_group){
      .name = "embedding", .block = -1, .lookup = true, .lookup_only = true, .members = 1};
  g->columns = columns;
  g->member[0].rows = rows;
  g->member[0].quantizer = q;
  snprintf(g->member[0].tensor, sizeof g->member[0].tensor, "%s", tensor);
}

qp_status qp_export_plan_groups(const qp_plan *plan, qp_palette *palette, qp_export_group **out,
                                size_t *count, qp_error *err) {
  qp_export_group *g = NULL;
  const qp_quantizer **q = calloc(plan->quantizers + 1, sizeof *q);
  if (!q) return qp_fail(err, QP_E_NOMEM, "no memory for quantizers");
  qp_status status = qp_plan_resolve(plan, palette, q, err);
  size_t n = plan->launches;
  if (!status) status = make_groups(n + 1, &g, err);
  for (unsigned i = 0; i < plan->launches && !status; i++)
    status = plan_group(plan, &plan->launch[i], q, &g[i], err);
  for (unsigned i = 0; i < plan->linears && !status; i++) {
    const qp_plan_linear *l = &plan->linear[i];
    if (qp_plan_looks_up_alone(l))
      embedding_group(l->tensor, l->rows, l->columns, q[l->quantizer], &g[n++]);
  }
  free(q);
  if (status) return free(g), status;
  *out = g;
  *count = n;
  return QP_OK;
}

/* ---- Models and shapes ---- */

static qp_status model_group(const qp_model *m, unsigned block, unsigned group,
                             const qp_quantizer *q, const char *path, qp_export_group *g,
                             qp_error *err) {
  const qp_model_group *from = &m->group[group];
  const char *role[QP_MAX_SEGMENTS] = {0};
  g->block = (int)block;
  g->columns = from->columns;
  g->members = from->linears;
  g->experts = m->linear[from->linear[0]].experts;
  g->top_k = g->experts ? m->linear[from->linear[0]].active : 0;
  g->slices = g->experts ? m->slices : 0;
  snprintf(g->path, sizeof g->path, "%s", path);
  for (unsigned i = 0; i < from->linears; i++) {
    role[i] = m->linear[from->linear[i]].role;
    g->member[i].rows = from->rows[i];
    g->member[i].quantizer = q;
    qp_model_tensor(m, from->linear[i], block, g->member[i].tensor);
  }
  assert(role[0]);
  g->input = qp_model_producer_of(role[0]);
  g->shares_columns = qp_parallel_divides_columns(role[0]) && g->slices <= 1;
  g->glu = g->members == 2 && qp_model_gates(role[0], role[1]);
  name_group(g, role);
  return check_stacks(m->name, g, err);
}

qp_status qp_export_model_groups(const qp_model *m, const qp_quantizer *q,
                                 const qp_quantizer *embedding, const char *path, bool head,
                                 qp_export_group **out, size_t *count, qp_error *err) {
  qp_export_group *g = NULL;
  const bool shared = embedding && m->tied && !m->headless;
  head |= shared;
  size_t n = head, at = 0;
  for (unsigned i = 0; i < m->groups; i++) n += qp_model_group_copies(m, i);
  qp_status status = make_groups(n + 1, &g, err);
  if (status) return status;
  for (unsigned b = 0; b < m->layers && !status; b++)
    for (unsigned i = 0; i < m->groups && !status; i++)
      if (qp_model_has_group(m, b, i)) status = model_group(m, b, i, q, path, &g[at++], err);
  if (status) return free(g), status;
  if (head) {
    qp_export_group *last = &g[n - 1];
    const qp_model_linear *e = &m->linear[m->linears];
    const char *role = e->role;
    *last = (qp_export_group){.block = -1, .columns = e->columns, .members = 1};
    snprintf(last->path, sizeof last->path, "%s", path);
    last->member[0].rows = qp_layout_padded_rows(e->rows);
    last->member[0].quantizer = shared ? embedding : q;
    last->lookup = shared;
    last->input = qp_model_producer_of(role);
    qp_model_tensor(m, m->linears, 0, last->member[0].tensor);
    name_group(last, &role);
  }
  if (embedding && !shared)
    embedding_group(m->embedding, qp_layout_padded_rows(m->vocab), m->hidden, embedding, &g[n++]);
  *out = g;
  *count = n;
  return QP_OK;
}

/* What definitions ask for: blocks, order, scales. */
static qp_status rotate_group(qp_export_group *g, qp_error *err) {
  const qp_quantizer *q = g->member[0].quantizer;
  const unsigned piece = g->columns / (g->pieces ? g->pieces : 1);
  for (unsigned m = 1; m < g->members && q; m++)
    if (g->member[m].quantizer && qp_quantizer_side(g->member[m].quantizer) != qp_quantizer_side(q))
      return qp_fail(err, QP_E_ARG,
                     "group %s: %s and %s rotate, order or scale x in different ways", g->name,
                     q->name, g->member[m].quantizer->name);
  const unsigned block = q ? qp_side_block(q->rotation) : 0;
  const unsigned flags = q ? q->rotation & QP_SIDE_FLAGS : 0;
  if (flags && g->pieces > 1)
    return qp_fail(err, QP_E_ARG,
                   "group %s: %s has an order or scales of columns, which ranks cannot share",
                   g->name, q->name);
  if (block > 1 && piece % block)
    return qp_fail(err, QP_E_ARG,
                   "group %s: %s is rotated in blocks of %u columns, which do not divide %u",
                   g->name, q->name, block, piece);
  if (block > 1 || flags) g->rotation = qp_side_plain(g->columns, block | flags);
  return QP_OK;
}

qp_status qp_export_cut_groups(qp_export_group *group, size_t groups, unsigned ranks, unsigned made,
                               qp_error *err) {
  const unsigned pieces = made / ranks;
  qp_status status = QP_OK;
  for (size_t i = 0; i < groups && !status; i++) {
    if (group[i].shares_columns && pieces > 1) {
      group[i].pieces = pieces;
      group[i].rotation = group[i].columns / pieces;
    }
    status = rotate_group(&group[i], err);
  }
  return status;
}

qp_status qp_export_shape_groups(const qp_shapes *shapes, const qp_quantizer *const *q, size_t n,
                                 const char *path, qp_export_group **out, size_t *count,
                                 qp_error *err) {
  qp_export_group *g = NULL;
  if (n != 1 && n != shapes->count)
    return qp_fail(err, QP_E_ARG,
                   "%zu quantizers for %zu shapes; one each is needed, or one for all", n,
                   shapes->count);
  const qp_status status = make_groups(1, &g, err);
  if (status) return status;
  g->block = -1;
  g->columns = shapes->columns[0];
  g->members = (unsigned)shapes->count;
  snprintf(g->name, sizeof g->name, "shapes");
  snprintf(g->path, sizeof g->path, "%s", path);
  for (unsigned i = 0; i < g->members; i++) {
    g->member[i].rows = shapes->rows[i];
    g->member[i].quantizer = q[n == 1 ? 0 : i];
    snprintf(g->member[i].tensor, sizeof g->member[i].tensor, "linear.%u", i);
    g->glu = g->members == 2;
  }
  *out = g;
  *count = 1;
  return QP_OK;
}

/* ---- GPUs ---- */

/* Data centre and desktop GPUs, with compute capability and multiprocessors as NVIDIA states
   them. */
static const struct {
  const char *name, *full;
  unsigned arch, sm_count;
} gpus[] = {
    {"a100", "NVIDIA A100", 80, 108},           {"rtx3090", "NVIDIA GeForce RTX 3090", 86, 82},
    {"a6000", "NVIDIA RTX A6000", 86, 84},      {"rtx4090", "NVIDIA GeForce RTX 4090", 89, 128},
    {"l40s", "NVIDIA L40S", 89, 142},           {"h100", "NVIDIA H100 SXM", 90, 132},
    {"h100-pcie", "NVIDIA H100 PCIe", 90, 114}, {"h200", "NVIDIA H200", 90, 132},
    {"b200", "NVIDIA B200", 100, 148},          {"rtx5090", "NVIDIA GeForce RTX 5090", 120, 170}};

static qp_status gpu_by_arch(const char *text, qp_export_gpu *out, qp_error *err) {
  char arch[16];
  unsigned sms = 0;
  const char *colon = strchr(text, ':');
  const size_t n = colon ? (size_t)(colon - text) : strlen(text);
  if (n >= sizeof arch) return qp_fail(err, QP_E_ARG, "GPU '%.60s' is not known", text);
  memcpy(arch, text, n);
  arch[n] = 0;
  const qp_status status = qp_arch_parse(arch, &out->arch, err);
  if (status) return status;
  out->sm_count = qp_arch_sm_count(out->arch);
  if (colon) {
    char *end;
    const unsigned long v = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end || v < 1 || v > 1024)
      return qp_fail(err, QP_E_ARG, "GPU '%.60s': '%.20s' multiprocessors; 1 to 1024 are possible",
                     text, colon + 1);
    sms = (unsigned)v;
  }
  if (sms) out->sm_count = sms;
  snprintf(out->name, sizeof out->name, "%s", arch);
  return QP_OK;
}

static qp_status gpu_at_hand(const char *text, qp_export_gpu *out, qp_error *err) {
  qp_device *dev;
  const qp_status status = qp_device_open(text, &dev, err);
  if (status == QP_E_MISSING)
    return qp_fail_prefix(err, status,
                          "--gpu %.20s: kernels for a GPU that is not here are asked for by its "
                          "name or architecture (qpal list gpus, or sm_90)",
                          text);
  if (status) return status;
  out->arch = dev->info.arch;
  out->sm_count = dev->info.sm_count;
  snprintf(out->name, sizeof out->name, "%s", dev->info.name);
  qp_device_close(dev);
  return QP_OK;
}

/* Find the GPU whose latencies others published as tuned/TEXT.json; -1: there is none. */
static int gpu_of_published(const char *text) {
  char path[128], named[128], own[128];
  const char *json;
  size_t bytes;
  cJSON *tree = NULL;
  int found = -1;
  const int n = snprintf(path, sizeof path, "tuned/%s.json", text);
  if (n < 0 || (size_t)n >= sizeof path || strchr(text, '/') ||
      qp_resource_read(path, &json, &bytes, NULL) || qp_json_parse(path, json, bytes, &tree, NULL))
    return -1;
  const char *gpu = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, "gpu"));
  qp_records_file_name(gpu ? gpu : "", named, sizeof named);
  cJSON_Delete(tree);
  for (size_t i = 0; *named && i < sizeof gpus / sizeof *gpus; i++) {
    qp_records_file_name(gpus[i].full, own, sizeof own);
    if (!strcmp(own, named)) found = (int)i;
  }
  return found;
}

qp_status qp_export_gpu_parse(const char *text, qp_export_gpu *out, qp_error *err) {
  qp_export_gpu gpu = {.arch = 0};
  qp_status status = QP_OK;
  const size_t n = sizeof gpus / sizeof *gpus;
  if (!strncmp(text, "sm_", 3)) {
    status = gpu_by_arch(text, &gpu, err);
  } else if (!strncmp(text, "cuda:", 5)) {
    status = gpu_at_hand(text, &gpu, err);
  } else {
    size_t i = 0;
    while (i < n && strcmp(gpus[i].name, text) != 0) i++;
    const int published = i == n ? gpu_of_published(text) : -1;
    if (published >= 0) i = (size_t)published;
    if (i == n) {
      char names[256] = "";
      for (size_t k = 0, at = 0; k < n; k++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", k ? ", " : "", gpus[k].name);
      return qp_fail(err, QP_E_ARG,
                     "GPU '%.60s' is not known; say sm_90, sm_90:132 (architecture and "
                     "multiprocessors), cuda:0 for the one here, or one of %s",
                     text, names);
    }
    gpu.arch = gpus[i].arch;
    gpu.sm_count = gpus[i].sm_count;
    snprintf(gpu.name, sizeof gpu.name, "%s", gpus[i].full);
  }
  if (!status) *out = gpu;
  return status;
}
