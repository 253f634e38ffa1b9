/* SPDX-License-Identifier: MIT */
/* Writes manifest.json, reading the library through the public interface as an engine does; images
   and constants it takes from the file. */
#include "gen/kernel/problem.h"
#include "tuner/export/manifest.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/library_state.h"

static const char *const types[] = {"f16", "bf16", "f32"};

static void add_arch(cJSON *to, unsigned arch) {
  char text[16];
  snprintf(text, sizeof text, "sm_%u", arch);
  cJSON_AddStringToObject(to, "arch", text);
}

void qp_export_file_name(const char *kernel, char name[QP_EXPORT_FILE_NAME]) {
  enum { KEPT = 200, CODE = 16 };
  const size_t length = strlen(kernel);
  if (length <= KEPT + CODE)
    snprintf(name, QP_EXPORT_FILE_NAME, "%s", kernel);
  else
    snprintf(name, QP_EXPORT_FILE_NAME, "%.*s%016llx", KEPT, kernel,
             (unsigned long long)XXH3_64bits(kernel, length));
}

static void add_checksum(cJSON *to, const char *name, uint64_t sum) {
  char text[24];
  snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
  cJSON_AddStringToObject(to, name, text);
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

/* Sizes of the arrays that the kernels read (LAYOUT.md); a codebook of 0 bytes is
   the library's own. */
static void add_parts(cJSON *o, const qpal_library *l, const qpal_linear_info *e) {
  cJSON *list = cJSON_AddArrayToObject(o, "parts");
  for (unsigned i = 0; i < e->parts; i++) {
    const qpal_part_info *p = qpal_linear_part(e, i);
    qpal_quantizer_info q = {.size = sizeof q, .name = ""};
    qpal_library_quantizer(l, p->quantizer, &q);
    cJSON *part = append(list);
    cJSON_AddStringToObject(part, "quantizer", q.name);
    cJSON_AddNumberToObject(part, "column", p->column);
    cJSON_AddNumberToObject(part, "columns", p->columns);
    cJSON_AddNumberToObject(part, "code_bytes", (double)p->code_bytes);
    cJSON *fields = cJSON_AddArrayToObject(part, "field_bytes");
    for (unsigned f = 0; f < p->fields; f++)
      cJSON_AddItemToArray(fields, cJSON_CreateNumber((double)p->field_bytes[f]));
    cJSON *books = cJSON_AddArrayToObject(part, "codebook_bytes");
    for (unsigned b = 0; b < p->codebooks; b++)
      cJSON_AddItemToArray(books, cJSON_CreateNumber((double)p->codebook_bytes[b]));
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
  if (e.pieces > 1) cJSON_AddNumberToObject(o, "pieces", e.pieces);
  const unsigned block = qp_side_block(e.rotation);
  if (block) cJSON_AddNumberToObject(o, "rotation", block);
  if (qp_side_has_order(e.rotation)) cJSON_AddTrueToObject(o, "order");
  if (qp_side_has_scale(e.rotation)) cJSON_AddTrueToObject(o, "scale");
  add_parts(o, l, &e);
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

/* Add an image's place in library.qpal, its size and XXH3-64. */
static void add_image(cJSON *o, const char *name, const qpal_library *l, uint32_t image) {
  if (image == QP_LIB_NONE) return;
  const qp_lib_image *m = QP_LIB_GET(l, IMAGES, qp_lib_image, image);
  cJSON *to = cJSON_AddObjectToObject(o, name);
  cJSON_AddNumberToObject(to, "offset", (double)m->offset);
  cJSON_AddNumberToObject(to, "bytes", (double)m->bytes);
  add_checksum(to, "checksum", m->checksum);
}

/* Groups that have the kernel's problem: those whose launch it is. */
static void add_groups_of(cJSON *o, const qpal_library *l, uint32_t problem) {
  cJSON *list = cJSON_AddArrayToObject(o, "groups");
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_GROUPS); i++) {
    const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, i);
    if (g->problem == problem)
      cJSON_AddItemToArray(list, cJSON_CreateString(qp_lib_string(l, g->name)));
  }
}

/* null: not known; false: dequant and a GEMM were slower at every number of rows
   that was measured. */
static void add_crossover(cJSON *o, uint32_t rows) {
  if (!rows)
    cJSON_AddNullToObject(o, "dequant_from_rows");
  else if (rows == UINT32_MAX)
    cJSON_AddFalseToObject(o, "dequant_from_rows");
  else
    cJSON_AddNumberToObject(o, "dequant_from_rows", rows);
}

static void add_kernels(cJSON *root, const qpal_library *l, unsigned n) {
  cJSON *list = cJSON_AddArrayToObject(root, "kernels");
  for (unsigned i = 0; i < n; i++) {
    qpal_kernel_info k = {.size = sizeof k};
    if (qpal_library_kernel(l, i, &k)) continue;
    cJSON *o = append(list);
    const qp_lib_kernel *own = QP_LIB_GET(l, KERNELS, qp_lib_kernel, i);
    char file[QP_EXPORT_FILE_NAME];
    qp_export_file_name(k.name, file);
    cJSON_AddStringToObject(o, "name", k.name);
    cJSON_AddStringToObject(o, "file", file);
    cJSON_AddNumberToObject(o, "target", k.target);
    cJSON_AddStringToObject(o, "op", qp_op_name((qp_op)k.op));
    cJSON_AddStringToObject(o, "type", types[k.type]);
    if (qp_lib_multiplies(k.op)) {
      cJSON_AddStringToObject(o, "out_type", types[k.out_type]);
      cJSON_AddNumberToObject(o, "batch", k.batch);
      add_groups_of(o, l, own->problem);
      add_crossover(o, qp_lib_dequant_rows(l, own));
    }
    cJSON_AddNumberToObject(o, "columns", k.columns);
    cJSON_AddNumberToObject(o, "grid_blocks", k.grid);
    cJSON_AddNumberToObject(o, "block_threads", k.block);
    cJSON_AddNumberToObject(o, "smem_bytes", k.smem_bytes);
    cJSON_AddNumberToObject(o, "registers", k.registers);
    cJSON_AddNumberToObject(o, "workspace_bytes", (double)k.workspace_bytes);
    cJSON_AddNumberToObject(o, "counters", k.counters);
    cJSON_AddBoolToObject(o, "programmatic_dependent_launch", k.pdl);
    add_image(o, "cubin", l, own->cubin);
    add_image(o, "ptx", l, own->ptx);
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
    char toolkit[32];
    snprintf(toolkit, sizeof toolkit, "%u.%u", info.toolkit / 1000, info.toolkit % 1000 / 10);
    cJSON_AddStringToObject(root, "schema", "qpal-library");
    cJSON_AddStringToObject(root, "model", info.model);
    cJSON_AddStringToObject(root, "generator", info.generator);
    cJSON_AddStringToObject(root, "cuda", toolkit);
    cJSON_AddNumberToObject(root, "bytes", (double)info.file_bytes);
    add_checksum(root, "checksum", info.checksum);
    add_targets(root, l, info.targets);
    add_quantizers(root, l, info.quantizers);
    add_groups(root, l, info.groups);
    add_kernels(root, l, info.kernels);
    text = cJSON_Print(root);
  }
  cJSON_Delete(root);
  return text;
}
