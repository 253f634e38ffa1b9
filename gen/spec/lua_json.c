/* SPDX-License-Identifier: MIT */
/* Turns a JSON tree into a Lua value. */
#include "gen/spec/lua_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text that grows; 'failed' once there was no memory. */
typedef struct text {
  char *data;
  size_t length, capacity;
  bool failed;
} text;

static void put(text *t, const char *s, size_t n) {
  if (t->failed) return;
  if (n + 1 > t->capacity - t->length) {
    const size_t capacity = 2 * t->capacity + n + 256;
    char *data = realloc(t->data, capacity);
    if (!data) {
      t->failed = true;
      return;
    }
    t->data = data;
    t->capacity = capacity;
  }
  memcpy(t->data + t->length, s, n);
  t->length += n;
  t->data[t->length] = 0;
}

static void put_text(text *t, const char *s) { put(t, s, strlen(s)); }

/* Every byte that is no letter, digit or blank as \ddd: no text can leave its quotes. */
static void put_string(text *t, const char *s) {
  put_text(t, "\"");
  for (; *s; s++) {
    char escaped[8];
    const unsigned char c = (unsigned char)*s;
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == ' ' || c == '_';
    snprintf(escaped, sizeof escaped, plain ? "%c" : "\\%03u", c);
    put_text(t, escaped);
  }
  put_text(t, "\"");
}

static void put_value(text *t, const cJSON *v) {
  char number[40];
  const cJSON *item;
  if (cJSON_IsObject(v) || cJSON_IsArray(v)) {
    put_text(t, "{");
    cJSON_ArrayForEach(item, v) {
      if (cJSON_IsObject(v)) {
        put_text(t, "[");
        put_string(t, item->string);
        put_text(t, "]=");
      }
      put_value(t, item);
      put_text(t, ",\n");
    }
    put_text(t, "}");
  } else if (cJSON_IsString(v)) {
    put_string(t, v->valuestring);
  } else if (cJSON_IsNumber(v)) {
    snprintf(number, sizeof number, "%.17g", v->valuedouble);
    if (isinf(v->valuedouble))
      snprintf(number, sizeof number, "%s1e999", v->valuedouble < 0 ? "-" : "");
    put_text(t, isnan(v->valuedouble) ? "0/0" : number);
  } else {
    put_text(t, cJSON_IsTrue(v) ? "true" : "false");
  }
}

qp_status qp_lua_from_json(qp_lua *l, const cJSON *tree, const char *name, qp_lua_ref *out,
                           qp_error *err) {
  text t = {0};
  put_text(&t, "return ");
  put_value(&t, tree);
  qp_status status = t.failed ? qp_fail(err, QP_E_NOMEM, "%s: no memory", name)
                              : qp_lua_run(l, NULL, name, t.data, t.length, out, err);
  free(t.data);
  return status;
}
