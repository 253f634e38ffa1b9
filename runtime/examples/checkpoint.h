/* SPDX-License-Identifier: MIT */
/*
** What the examples read a checkpoint with: its config.json, its 16-bit tensors.  Every engine has
** such functions of its own.
*/
#ifndef EXAMPLE_CHECKPOINT_H
#define EXAMPLE_CHECKPOINT_H

#include <math.h>
#include <qpal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Failing, time ---- */

static void die(const char *what, const char *why) {
  fprintf(stderr, "generate: %s: %s\n", what, why);
  exit(1);
}

/* Stop at the first call that fails, with the library's own words. */
static void need(qpal_status status, const char *what) {
  if (status) die(what, qpal_message());
}

static void *room(size_t count, size_t bytes) {
  void *p = calloc(count ? count : 1, bytes);
  if (!p) die("memory", "there is none left");
  return p;
}

static double seconds(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- 16-bit floats ---- */

static float widen_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

static float half_to_float(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, low = h & 0x7fff;
  if (low >= 0x7c00) return widen_bits(sign | 0x7f800000 | (low & 0x3ff) << 13);
  const float magnitude =
      low < 0x400 ? (float)low * 0x1p-24f : widen_bits((low << 13) + (112u << 23));
  return sign ? -magnitude : magnitude;
}

/* Round to the nearest number, ties to even. */
static uint16_t float_to_half(float f) {
  const float a = fabsf(f);
  uint32_t bits;
  const uint16_t sign = signbit(f) ? 0x8000 : 0;
  if (isnan(f)) return 0x7e00;
  if (a >= 65520) return sign | 0x7c00;
  if (a < 0x1p-14f) return (uint16_t)(sign | (uint32_t)lrintf(a * 0x1p24f));
  memcpy(&bits, &a, 4);
  bits += 0xfff + (bits >> 13 & 1);
  return (uint16_t)(sign | ((bits >> 13) - (112u << 10)));
}

static void widen(const char *type, const void *from, size_t n, float *to) {
  const uint16_t *h = from;
  if (!strcmp(type, "F32"))
    memcpy(to, from, 4 * n);
  else if (!strcmp(type, "BF16"))
    for (size_t i = 0; i < n; i++) to[i] = widen_bits((uint32_t)h[i] << 16);
  else if (!strcmp(type, "F16"))
    for (size_t i = 0; i < n; i++) to[i] = half_to_float(h[i]);
  else
    die("a tensor's type", type);
}

/* ---- config.json: numbers and words by their keys ---- */

static char *config_text;

static const char *config_find(const char *key) {
  char quoted[80];
  snprintf(quoted, sizeof quoted, "\"%s\"", key);
  const char *at = strstr(config_text, quoted);
  if (!at) return NULL;
  at += strlen(quoted);
  return at + strspn(at, " \t\r\n:");
}

static double config_number(const char *key, double otherwise) {
  const char *at = config_find(key);
  if (!at || !strncmp(at, "null", 4)) return otherwise;
  return strtod(at, NULL);
}

static unsigned config_count(const char *key, unsigned otherwise) {
  const double v = config_number(key, otherwise);
  if (!(v >= 1 && v <= 1 << 20)) die(key, "config.json has no such number from 1 to 2^20");
  return (unsigned)v;
}

/* Read FOLDER/config.json of a Llama; what qpal wrote into it is cut off. */
static void config_open(const char *folder) {
  char path[4096];
  snprintf(path, sizeof path, "%s/config.json", folder);
  FILE *f = fopen(path, "rb");
  if (!f) die(path, "cannot be read");
  config_text = room(1 << 24, 1);
  if (!fread(config_text, 1, (1 << 24) - 1, f)) die(path, "is empty");
  fclose(f);
  char *ours = strstr(config_text, "\"quantization\"");
  if (ours) *ours = 0;
  const char *type = config_find("model_type"), *scaling = config_find("rope_scaling");
  if (!type || (strncmp(type, "\"llama\"", 7) && strncmp(type, "\"mistral\"", 9) &&
                strncmp(type, "\"qwen2\"", 7)))
    die(path, "model_type: this example knows llama, mistral and qwen2");
  if (scaling && *scaling == '{') die(path, "rope_scaling: this example knows none");
}

/* ---- Tensors ---- */

/* A tensor that is not packed, in fp32; NULL: there is none, and it is not needed. */
static float *tensor(const qpal_packed *packed, const char *name, size_t elements, int needed) {
  qpal_tensor t = {.size = sizeof t};
  if (qpal_packed_tensor(packed, name, &t)) {
    if (needed) die(name, qpal_message());
    return NULL;
  }
  const size_t n = t.bytes.bytes / (strcmp(t.type, "F32") ? 2 : 4);
  if (n != elements) die(name, "has another number of elements than config.json says");
  float *out = room(n, sizeof *out);
  widen(t.type, t.bytes.data, n, out);
  return out;
}

#endif
