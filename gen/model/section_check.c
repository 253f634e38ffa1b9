/* SPDX-License-Identifier: MIT */
/* Do config.json and the shards of a packed folder say the same? */
#include "gen/model/section_check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "gen/base/json_python.h"
#include "runtime/input_side.h"

enum { MOST_BYTES = 256 << 20, PATH = 4096 };

typedef struct checking {
  const char *config; /* its path */
  const cJSON *section;
  const cJSON *next; /* linear of the config that is likely to be asked for next */
  const qp_safetensors *tensors;
  size_t linears;
  bool found; /* a shard has a section */
  qp_error *err;
} checking;

static qp_status differs(const checking *c, const char *shard, const char *kind, const char *name) {
  return qp_fail(c->err, QP_E_ARG, "%s: %s '%s' is not what %s says of it: one of them was changed",
                 c->config, kind, name, shard);
}

/* Shards have linears in the order of config.json. */
static const cJSON *find_linear(checking *c, const char *name) {
  const cJSON *all = cJSON_GetObjectItemCaseSensitive(c->section, "linears"), *l;
  const char *next = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->next, "name"));
  if (next && !strcmp(next, name)) return c->next;
  cJSON_ArrayForEach(l, all) {
    const char *other = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(l, "name"));
    if (other && !strcmp(other, name)) return l;
  }
  return NULL;
}

static bool is_true(const cJSON *l, const char *name) {
  return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(l, name));
}

/* The tensor of a linear's input has the bytes that its columns, an order and scales take. */
static qp_status check_side(const checking *c, const cJSON *l) {
  const char *signs = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(l, "signs"));
  const cJSON *columns = cJSON_GetObjectItemCaseSensitive(l, "columns");
  const qp_tensor *t = signs ? qp_safetensors_find(c->tensors, signs) : NULL;
  const bool known =
      cJSON_IsNumber(columns) && columns->valuedouble >= 1 && columns->valuedouble <= 1 << 24;
  if (!signs || !known) return QP_OK; /* who decodes says what is wrong with them */
  const unsigned flags = (is_true(l, "order") ? (unsigned)QP_SIDE_ORDER : 0) |
                         (is_true(l, "scale") ? (unsigned)QP_SIDE_SCALE : 0);
  const uint64_t bytes = qp_side_bytes((unsigned)columns->valuedouble, flags);
  if (t && t->bytes == bytes) return QP_OK;
  return qp_fail(c->err, QP_E_ARG,
                 "%s: linear '%s': the tensor '%s' of its input has %zu bytes; %llu are needed for "
                 "the signs of %.0f columns%s%s",
                 c->config, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(l, "name")),
                 signs, t ? t->bytes : 0, (unsigned long long)bytes, columns->valuedouble,
                 flags & QP_SIDE_ORDER ? ", their order" : "",
                 flags & QP_SIDE_SCALE ? ", their scales" : "");
}

static qp_status check_linears(checking *c, const char *shard, const cJSON *linears) {
  const cJSON *l;
  cJSON_ArrayForEach(l, linears) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(l, "name"));
    const cJSON *own = name ? find_linear(c, name) : NULL;
    if (!own || !cJSON_Compare(l, own, true))
      return differs(c, shard, "linear", name ? name : "without a name");
    const qp_status status = check_side(c, l);
    if (status) return status;
    c->next = own->next;
    c->linears++;
  }
  return QP_OK;
}

static qp_status check_members(const checking *c, const char *shard, const char *kind,
                               const cJSON *of_shard, const cJSON *own) {
  const cJSON *v;
  cJSON_ArrayForEach(v, of_shard) {
    const bool list = !strcmp(v->string, "linears") || !strcmp(v->string, "quantizers");
    const cJSON *other = cJSON_GetObjectItemCaseSensitive(own, v->string);
    if (!list && !cJSON_Compare(v, other, true)) return differs(c, shard, kind, v->string);
  }
  return QP_OK;
}

static qp_status check_shard(checking *c, const qp_safetensors *s, unsigned shard) {
  const char *file = qp_safetensors_shard_path(s, shard);
  const char *text = qp_safetensors_metadata(s, shard, "quantization");
  cJSON *tree = NULL;
  if (!text) return QP_OK; /* opening it says so */
  c->found = true;
  qp_status status = qp_json_parse(file, text, strlen(text), &tree, c->err);
  if (!status) status = check_members(c, file, "field", tree, c->section);
  if (!status)
    status =
        check_members(c, file, "quantizer", cJSON_GetObjectItemCaseSensitive(tree, "quantizers"),
                      cJSON_GetObjectItemCaseSensitive(c->section, "quantizers"));
  if (!status) status = check_linears(c, file, cJSON_GetObjectItemCaseSensitive(tree, "linears"));
  cJSON_Delete(tree);
  return status;
}

qp_status qp_section_compare(const cJSON *section, const char *config, const qp_safetensors *shards,
                             qp_error *err) {
  checking c = {.config = config, .section = section, .tensors = shards, .err = err};
  const cJSON *all = cJSON_GetObjectItemCaseSensitive(section, "linears");
  qp_status status = QP_OK;
  for (unsigned i = 0; !status && i < qp_safetensors_shards(shards); i++)
    status = check_shard(&c, shards, i);
  if (!status && c.found && (size_t)cJSON_GetArraySize(all) != c.linears)
    status = qp_fail(err, QP_E_ARG, "%s: lists %d linears; the shards have %zu", config,
                     cJSON_GetArraySize(all), c.linears);
  return status;
}

static qp_status check_folder(const char *folder, const char *config, const cJSON *tree,
                              qp_error *err) {
  const cJSON *section = cJSON_GetObjectItemCaseSensitive(tree, "quantization");
  qp_safetensors *s = NULL;
  if (!cJSON_IsObject(section))
    return qp_fail(err, QP_E_ARG, "%s: has no section 'quantization'", config);
  qp_status status = qp_safetensors_open(folder, &s, err);
  if (!status) status = qp_section_compare(section, config, s, err);
  qp_safetensors_close(s);
  return status;
}

qp_status qp_section_check(const char *folder, qp_error *err) {
  cJSON *tree = NULL;
  char *text = NULL, config[PATH];
  size_t bytes = 0;
  const int n = snprintf(config, sizeof config, "%s/config.json", folder);
  if (n < 0 || (size_t)n >= sizeof config || access(config, F_OK) != 0) return QP_OK;
  qp_status status = qp_file_read(config, MOST_BYTES, &text, &bytes, err);
  if (!status) status = qp_json_parse_python(config, text, bytes, &tree, err);
  if (!status) status = check_folder(folder, config, tree, err);
  cJSON_Delete(tree);
  free(text);
  return status;
}
