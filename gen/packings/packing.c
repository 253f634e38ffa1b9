/* SPDX-License-Identifier: MIT */
/* Which tensors of a checkpoint are packed weights, and of what format. */
#include "gen/packings/packing.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/packings/parts.h"
#include "runtime/list.h"

/* ---- The table of formats ---- */

enum { EIGHT_BITS = QP_TYPE(F8_E4M3) | QP_TYPE(F8_E5M2) };

/* Of one method the first row counts whose needed parts are all there. */
static const qp_packing_kind kinds[] = {
    {"gptq",
     "GPTQ",
     ".weight",
     {".qweight", ".qzeros", ".scales", ".g_idx"},
     3,
     QP_TYPE(I32),
     qp_gptq_open,
     qp_integers_decode,
     &qp_integers_codes},
    {"awq",
     "AWQ",
     ".weight",
     {".qweight", ".qzeros", ".scales"},
     3,
     QP_TYPE(I32),
     qp_awq_open,
     qp_integers_decode,
     &qp_integers_codes},
    {"compressed-tensors",
     "pack-quantized",
     ".weight",
     {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx"},
     3,
     QP_TYPE(I32),
     qp_compressed_integers_open,
     qp_integers_decode,
     &qp_integers_codes},
    {"compressed-tensors",
     "FP8",
     ".weight",
     {".weight", ".weight_scale", ".input_scale", ".weight_zero_point", ".input_zero_point"},
     2,
     EIGHT_BITS,
     qp_fp8_open,
     qp_fp8_decode,
     &qp_fp8_codes},
    {"fp8",
     "FP8",
     ".weight",
     {".weight", ".weight_scale_inv", ".activation_scale", ".input_scale"},
     2,
     EIGHT_BITS,
     qp_fp8_open,
     qp_fp8_decode,
     &qp_fp8_codes},
    {"fp8",
     "FP8",
     ".weight",
     {".weight", ".weight_scale", ".input_scale"},
     2,
     EIGHT_BITS,
     qp_fp8_open,
     qp_fp8_decode,
     &qp_fp8_codes},
    {"fbgemm_fp8",
     "FP8",
     ".weight",
     {".weight", ".weight_scale", ".input_scale_ub"},
     2,
     EIGHT_BITS,
     qp_fp8_open,
     qp_fp8_decode,
     &qp_fp8_codes},
    {"modelopt",
     "FP8",
     ".weight",
     {".weight", ".weight_scale", ".input_scale"},
     2,
     EIGHT_BITS,
     qp_fp8_open,
     qp_fp8_decode,
     &qp_fp8_codes},
    {"compressed-tensors",
     "int-quantized",
     ".weight",
     {".weight", ".weight_scale", ".input_scale", ".weight_zero_point", ".input_zero_point"},
     2,
     QP_TYPE(I8),
     qp_fp8_open,
     qp_fp8_decode,
     &qp_fp8_codes},
    {"compressed-tensors",
     "NVFP4",
     ".weight",
     {".weight_packed", ".weight_scale", ".weight_global_scale", ".input_global_scale"},
     3,
     QP_TYPE(U8),
     qp_compressed_nvfp4_open,
     qp_nvfp4_decode,
     &qp_nvfp4_codes},
    {"modelopt",
     "NVFP4",
     ".weight",
     {".weight", ".weight_scale", ".weight_scale_2", ".input_scale"},
     3,
     QP_TYPE(U8),
     qp_modelopt_nvfp4_open,
     qp_nvfp4_decode,
     &qp_nvfp4_codes},
    {"compressed-tensors",
     "MXFP4",
     ".weight",
     {".weight_packed", ".weight_scale"},
     2,
     QP_TYPE(U8),
     qp_compressed_mxfp4_open,
     qp_compressed_mxfp4_decode,
     &qp_mxfp4_codes},
    {"mxfp4",
     "MXFP4",
     "",
     {"_blocks", "_scales"},
     2,
     QP_TYPE(U8),
     qp_gpt_oss_open,
     qp_gpt_oss_decode,
     &qp_mxfp4_codes},
    {"bitsandbytes",
     "NF4",
     ".weight",
     {".weight", ".weight.quant_state.bitsandbytes__nf4", ".weight.absmax", ".weight.quant_map",
      ".weight.nested_absmax", ".weight.nested_quant_map"},
     4,
     QP_TYPE(U8),
     qp_bitsandbytes_open,
     qp_bitsandbytes_decode,
     &qp_nf4_codes},
    {"bitsandbytes",
     "FP4",
     ".weight",
     {".weight", ".weight.quant_state.bitsandbytes__fp4", ".weight.absmax", ".weight.quant_map",
      ".weight.nested_absmax", ".weight.nested_quant_map"},
     4,
     QP_TYPE(U8),
     qp_bitsandbytes_open,
     qp_bitsandbytes_decode,
     &qp_nf4_codes},
    {"bitsandbytes",
     "LLM.int8",
     ".weight",
     {".weight", ".SCB", ".weight_format"},
     2,
     QP_TYPE(I8),
     qp_llm_int8_open,
     qp_llm_int8_decode,
     &qp_llm_int8_codes},
    {"mlx",
     "mlx",
     ".weight",
     {".weight", ".scales", ".biases"},
     3,
     QP_TYPE(U32),
     qp_mlx_open,
     qp_mlx_decode,
     &qp_mlx_codes},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

bool qp_packing_is_read(const char *method) {
  for (size_t i = 0; i < KINDS; i++)
    if (!strcmp(kinds[i].method, method)) return true;
  return false;
}

const char *qp_packing_methods(char out[160]) {
  size_t n = 0;
  out[0] = 0;
  for (size_t i = 0; i < KINDS; i++) {
    bool seen = false;
    for (size_t k = 0; k < i; k++) seen = seen || !strcmp(kinds[k].method, kinds[i].method);
    if (!seen && n < 160)
      n += (size_t)snprintf(out + n, 160 - n, "%s%s", n ? ", " : "", kinds[i].method);
  }
  return out;
}

/* ---- What config.json says ---- */

static const cJSON *member(const cJSON *tree, const char *name) {
  static const char *const nested[] = {"text_config", "llm_config", "language_config"};
  const cJSON *found = cJSON_GetObjectItemCaseSensitive(tree, name);
  for (size_t i = 0; i < sizeof nested / sizeof *nested && !found; i++)
    found =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(tree, nested[i]), name);
  return found;
}

/* The type that weights are loaded in; checkpoints of today that do not say are in BF16. */
static qp_tensor_type type_of(const cJSON *tree) {
  const char *name = cJSON_GetStringValue(member(tree, "torch_dtype"));
  if (!name) name = cJSON_GetStringValue(member(tree, "dtype"));
  if (name && !strcmp(name, "float16")) return QP_TENSOR_F16;
  return name && !strcmp(name, "float32") ? QP_TENSOR_F32 : QP_TENSOR_BF16;
}

/* mlx writes a section without a method, under both names or under the second alone. */
static bool is_of_mlx(const cJSON *section) {
  return cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(section, "group_size")) &&
         cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(section, "bits"));
}

const cJSON *qp_packing_section(const cJSON *tree, const char **method) {
  const cJSON *section = member(tree, "quantization_config"), *other = member(tree, "quantization");
  *method = NULL;
  if (!cJSON_IsObject(section)) section = is_of_mlx(other) ? other : NULL;
  if (!section) return NULL;
  *method = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(section, "quant_method"));
  if (!*method && is_of_mlx(section)) *method = "mlx";
  return section;
}

static qp_packing_config config_of(const char *file, const cJSON *tree) {
  const char *method = NULL;
  const cJSON *section = qp_packing_section(tree, &method);
  if (!method) method = "";
  return (qp_packing_config){
      .file = file, .method = method, .section = section, .type = type_of(tree)};
}

/* ---- Finding ---- */

typedef struct finding {
  const qp_safetensors *s;
  const qp_packing_config *config;
  qp_packing *list;
  size_t count, capacity;
  bool *taken;
  qp_error *err;
} finding;

/* Bytes of a name before 'end'; 0: it does not end so. */
static size_t stem_of(const char *name, const char *end) {
  const size_t n = strlen(name), m = strlen(end);
  return n > m && !strcmp(name + n - m, end) ? n - m : 0;
}

/* The parts that are there of a kind whose first part is 't'; returns how many of those needed. */
static unsigned find_parts(const finding *f, const qp_packing_kind *kind, const qp_tensor *t,
                           const qp_tensor *part[QP_PACKING_PARTS], char *missing, size_t size) {
  const size_t stem = stem_of(t->name, kind->part[0]);
  unsigned found = 0;
  char name[512];
  for (unsigned i = 0; i < QP_PACKING_PARTS && kind->part[i]; i++) {
    snprintf(name, sizeof name, "%.*s%s", (int)stem, t->name, kind->part[i]);
    part[i] = i ? qp_safetensors_find(f->s, name) : t;
    if (i < kind->needed && part[i]) found++;
    if (i < kind->needed && !part[i] && !*missing) snprintf(missing, size, "%s", name);
  }
  return found;
}

static qp_status no_memory(const finding *f) {
  return qp_fail(f->err, QP_E_NOMEM, "%s: no memory for the list of packed weights",
                 f->config->file);
}

static qp_status add(finding *f, const qp_packing_kind *kind, const qp_tensor *t,
                     const qp_tensor *const *part) {
  const size_t stem = stem_of(t->name, kind->part[0]), size = stem + strlen(kind->made) + 1;
  qp_packing *larger = qp_list_room(f->list, f->count, &f->capacity, sizeof *larger);
  if (!larger) return no_memory(f);
  f->list = larger;
  qp_packing *p = &f->list[f->count];
  *p = (qp_packing){.kind = kind, .file = f->s, .name = malloc(size), .factor = 1};
  if (!p->name) return no_memory(f);
  f->count++;
  snprintf(p->name, size, "%.*s%s", (int)stem, t->name, kind->made);
  for (unsigned i = 0; i < QP_PACKING_PARTS; i++) {
    if (part[i]) f->taken[part[i] - qp_safetensors_get(f->s, 0)] = true;
    p->part[i] = part[i] && part[i]->elements ? part[i] : NULL; /* an empty part is none */
    if (i < kind->needed && part[i] && !p->part[i])
      return qp_fail(f->err, QP_E_ARG, "%s: tensor '%s' has no elements: %s needs them",
                     qp_safetensors_shard_path(f->s, part[i]->shard), part[i]->name, kind->name);
  }
  return kind->open(p, f->config, f->err);
}

/* A tensor that is the first part of a format of this method. */
static qp_status look_at(finding *f, const qp_tensor *t) {
  char missing[512] = "";
  const qp_packing_kind *near = NULL;
  for (size_t k = 0; k < KINDS; k++) {
    const qp_packing_kind *kind = &kinds[k];
    const qp_tensor *part[QP_PACKING_PARTS] = {NULL};
    if (strcmp(kind->method, f->config->method) != 0 || !(kind->types >> t->type & 1) ||
        !stem_of(t->name, kind->part[0]))
      continue;
    if (find_parts(f, kind, t, part, missing, sizeof missing) == kind->needed)
      return add(f, kind, t, part);
    if (!near) near = kind;
  }
  if (!near) return QP_OK;
  return qp_fail(f->err, QP_E_ARG, "%s: tensor '%s' is missing: %s has it beside '%s' (%s)",
                 qp_safetensors_shard_path(f->s, t->shard), missing, near->name, t->name,
                 qp_tensor_type_name(t->type));
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const qp_packing *)a)->name, ((const qp_packing *)b)->name);
}

qp_status qp_packings_find(const qp_safetensors *s, const char *file, const cJSON *tree,
                           qp_packing **list, size_t *count, bool *taken, qp_error *err) {
  const qp_packing_config config = config_of(file, tree);
  finding f = {.s = s, .config = &config, .taken = taken, .err = err};
  qp_status status = QP_OK;
  for (size_t i = 0; i < qp_safetensors_count(s) && !status; i++)
    if (!taken[i]) status = look_at(&f, qp_safetensors_get(s, i));
  if (status) return qp_packings_free(f.list, f.count), status;
  if (f.count) qsort(f.list, f.count, sizeof *f.list, compare_names);
  *list = f.list;
  *count = f.count;
  return QP_OK;
}

void qp_packings_free(qp_packing *list, size_t count) {
  for (size_t i = 0; i < count; i++) free(list[i].name);
  free(list);
}

void qp_packing_read(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  assert(first + count <= p->rows);
  p->kind->decode(p, first, count, out);
}
