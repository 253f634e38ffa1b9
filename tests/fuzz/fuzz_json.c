/* SPDX-License-Identifier: MIT */
/*
** Any text as JSON, for the tree and for the scanner, and as the config.json of a model.  What the
** strict scanner takes, the tree takes too, but for what only it refuses: keys that appear twice,
** depth, and numbers that only Python writes, which the scanner passes over.
*/
#include "gen/base/json.h"
#include "gen/model/models.h"
#include "runtime/json_scan.h"
#include "tests/fuzz/fuzz_kit.h"

/* Walk everything, value by value; what is no object or array is taken as what it is. */
static qp_status walk(qp_json_scan *s, unsigned depth, bool *deep) {
  char key[QP_JSON_SCAN_KEY], text[4096];
  bool more = false, flag;
  double number;
  qp_status status;
  if (depth > QP_JSON_MAX_DEPTH - 2) *deep = true;
  switch (qp_json_scan_peek(s)) {
  case QP_JSON_OBJECT:
    status = qp_json_scan_open(s, '{');
    while (!status && !(status = qp_json_scan_key(s, key, &more)) && more)
      status = walk(s, depth + 1, deep);
    return status;
  case QP_JSON_LIST:
    status = qp_json_scan_open(s, '[');
    while (!status && !(status = qp_json_scan_item(s, &more)) && more)
      status = walk(s, depth + 1, deep);
    return status;
  case QP_JSON_STRING: return qp_json_scan_text(s, text, sizeof text);
  case QP_JSON_NUMBER: return qp_json_scan_number(s, &number);
  case QP_JSON_BOOLEAN: return qp_json_scan_boolean(s, &flag);
  default: return qp_json_scan_skip(s, NULL, NULL);
  }
}

/* Are there words in it that Python writes for numbers? */
static bool is_python(const uint8_t *data, size_t size) {
  char *text = as_text(data, size);
  const bool is = strstr(text, "NaN") || strstr(text, "Infinity");
  free(text);
  return is;
}

static void check_model(const char *text, size_t size) {
  static qp_models *models;
  qp_error err = {.text = ""};
  qp_model model;
  if (!models && qp_models_open(&models, &err) != QP_OK) abort();
  if (qp_models_parse(models, "f/config.json", text, size, &model, &err) != QP_OK) {
    if (!strstr(err.text, "f/config.json")) abort();
    return;
  }
  if (!model.layers || !model.linears || !model.hidden) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = (const char *)data;
  qp_error err = {.text = ""}, scan_err = {.text = ""};
  cJSON *tree = NULL;
  qp_json_scan s;
  bool deep = false;
  const qp_status parsed = qp_json_parse("f.json", text, size, &tree, &err);
  if (parsed != QP_OK && !strstr(err.text, "f.json")) abort();
  qp_json_scan_begin(&s, "f.json", text, size, &scan_err);
  qp_status scanned = walk(&s, 0, &deep);
  if (!scanned) scanned = qp_json_scan_end(&s);
  if (scanned != QP_OK && !strstr(scan_err.text, "f.json")) abort();
  if (!scanned && parsed && !deep && !strstr(err.text, "twice") && !is_python(data, size)) abort();
  cJSON_Delete(tree);
  if (!parsed) check_model(text, size);
  return 0;
}
