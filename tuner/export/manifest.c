/* SPDX-License-Identifier: MIT */
/* manifest.json, read through the public interface: it shows what an engine sees. */
#include "tuner/export/manifest.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static const char *const types[] = {"f16", "bf16", "f32"};
static const char *const ops[] = {"gemm", "rotate", "dequant"};

static void add_arch(cJSON *to, unsigned arch) {
  char text[16];
  snprintf(text, sizeof text, "sm_%u", arch);
  cJSON_AddStringToObject(to, "arch", text);
}

static cJSON *append(cJSON *list) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddItemToArray(list, o);
  return o;
}

static void add_targets(cJSON *root, const qpal_library *l, unsigned n) {
  cJSON *list = cJSON_AddArrayToObject(root, "targets");
  for (unsigned i = 0; i < n; i++) {
    qpal_target_info t = {.size = sizeof t};
    if (qpal_library_target(l, i, &t)) continue;
    cJSON *o = append(list);
    cJSON_AddStringToObject(o, "name", t.name);
    add_arch(o, t.arch);
    cJSON_AddNumberToObject(o, "multiprocessors", t.sm_count);
    cJSON_AddNumberToObject(o, "kernels", t.kernels);
    cJSON_AddStringToObject(o, "chosen_by", t.chosen);
  }
}

static void add_quantizers(cJSON *root, const qpal_library *l, unsigned n) {
  cJSON *list = cJSON_AddArrayToObject(root, "quantizers");
  for (unsigned i = 0; i < n; i++) {
    qpal_quantizer_info q = {.size = sizeof q};
    if (qpal_library_quantizer(l, i, &q)) continue;
    cJSON *o = append(list);
    cJSON_AddStringToObject(o, "name", q.name);
    cJSON_AddStringToObject(o, "hash", q.hash);
    cJSON_AddNumberToObject(o, "rate_bits", q.rate_bits);
    cJSON_AddNumberToObject(o, "stored_bits", q.stored_bits);
    cJSON_AddNumberToObject(o, "layout", q.layout);
  }
}

static void add_linear(cJSON *list, const qpal_library *l, unsigned group, unsigned member) {
  qpal_linear_info e = {.size = sizeof e};
  qpal_quantizer_info q = {.size = sizeof q, .name = "fp16"};
  if (qpal_library_linear(l, group, member, &e)) return;
  if (e.quantizer != QPAL_NONE) qpal_library_quantizer(l, e.quantizer, &q);
  cJSON *o = append(list);
  cJSON_AddStringToObject(o, "tensor", e.tensor);
  cJSON_AddStringToObject(o, "quantizer", q.name);
  cJSON_AddNumberToObject(o, "rows", e.rows);
  cJSON_AddNumberToObject(o, "columns", e.columns);
  cJSON_AddNumberToObject(o, "bytes", (double)e.bytes);
}

static void add_groups(cJSON *root, const qpal_library *l, unsigned n) {
  cJSON *list = cJSON_AddArrayToObject(root, "groups");
  for (unsigned i = 0; i < n; i++) {
    qpal_group_info g = {.size = sizeof g};
    if (qpal_library_group(l, i, &g)) continue;
    cJSON *o = append(list);
    cJSON_AddStringToObject(o, "name", g.name);
    cJSON_AddStringToObject(o, "path", g.path);
    cJSON *members = cJSON_AddArrayToObject(o, "linears");
    for (unsigned m = 0; m < g.members; m++) add_linear(members, l, i, m);
  }
}

static void add_kernels(cJSON *root, const qpal_library *l, unsigned n) {
  cJSON *list = cJSON_AddArrayToObject(root, "kernels");
  for (unsigned i = 0; i < n; i++) {
    qpal_kernel_info k = {.size = sizeof k};
    if (qpal_library_kernel(l, i, &k)) continue;
    cJSON *o = append(list);
    cJSON_AddStringToObject(o, "name", k.name);
    cJSON_AddNumberToObject(o, "target", k.target);
    cJSON_AddStringToObject(o, "op", ops[k.op]);
    cJSON_AddStringToObject(o, "type", types[k.type]);
    if (k.op == QPAL_GEMM) {
      cJSON_AddStringToObject(o, "out_type", types[k.out_type]);
      cJSON_AddNumberToObject(o, "batch", k.batch);
    }
    cJSON_AddNumberToObject(o, "grid_blocks", k.grid);
    cJSON_AddNumberToObject(o, "block_threads", k.block);
    cJSON_AddNumberToObject(o, "smem_bytes", k.smem_bytes);
    cJSON_AddNumberToObject(o, "registers", k.registers);
    cJSON_AddNumberToObject(o, "workspace_bytes", (double)k.workspace_bytes);
    cJSON_AddNumberToObject(o, "counters", k.counters);
    cJSON_AddBoolToObject(o, "programmatic_dependent_launch", k.pdl);
    cJSON_AddNumberToObject(o, "cubin_bytes", (double)k.cubin_bytes);
    cJSON_AddNumberToObject(o, "ptx_bytes", (double)k.ptx_bytes);
    cJSON_AddStringToObject(o, "chosen_by", k.source);
    if (k.latency_ps >= 0)
      cJSON_AddNumberToObject(o, "latency_s", (double)k.latency_ps * 1e-12);
    else
      cJSON_AddNullToObject(o, "latency_s");
  }
}

char *qp_export_manifest(const qpal_library *l) {
  qpal_library_info info = {.size = sizeof info};
  cJSON *root = cJSON_CreateObject();
  char *text = NULL;
  if (root && !qpal_library_describe(l, &info)) {
    char sum[24], toolkit[32];
    snprintf(sum, sizeof sum, "%016llx", (unsigned long long)info.checksum);
    snprintf(toolkit, sizeof toolkit, "%u.%u", info.toolkit / 1000, info.toolkit % 1000 / 10);
    cJSON_AddStringToObject(root, "schema", "qpal-library");
    cJSON_AddStringToObject(root, "model", info.model);
    cJSON_AddStringToObject(root, "generator", info.generator);
    cJSON_AddStringToObject(root, "cuda", toolkit);
    cJSON_AddNumberToObject(root, "bytes", (double)info.file_bytes);
    cJSON_AddStringToObject(root, "checksum", sum);
    add_targets(root, l, info.targets);
    add_quantizers(root, l, info.quantizers);
    add_groups(root, l, info.groups);
    add_kernels(root, l, info.kernels);
    text = cJSON_Print(root);
  }
  cJSON_Delete(root);
  return text;
}
