/* SPDX-License-Identifier: MIT */
/*
** A decoder of the Llama family on the public interface: token ids in, token ids out, greedy.
**
**   generate LIBRARY PACKED DEVICE COUNT ID...
**
** LIBRARY: what `qpal export` wrote; PACKED: what `qpal quantize` wrote; DEVICE: cuda:0 or, where
** the program is linked with libqpal_sim, sim:90:4.  A '+cpu' behind it (sim:90:4+cpu) has the
** kernels decode every weight once and multiplies on the CPU: the reference, for a library that was
** exported with --inverse.  COUNT ids follow those given, on one line; with GENERATE_LOGITS in the
** environment each is also told with its logit, on stderr.
**
** Linears run as the plan fused them, one launch a group, x rotated before where the weights are.
** Norms, rotary positions, attention and the choice of a token are plain C here, in fp32.
**
**   cc -O2 generate.c $(pkg-config --cflags --libs qpal) -lm -o generate
*/
#include <math.h>
#include <qpal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef EXAMPLE_SIMULATOR
#include <qpal_sim.h>
#endif

/* ---- Failing ---- */

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

/* To nearest, ties to even. */
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

/* ---- The model ---- */

enum { MAX_LAYERS = 256, LAYER_LINEARS = 7, MAX_CONTEXT = 4096 };
enum { Q, K, V, O, GATE, UP, DOWN };
static const char *const linear_names[LAYER_LINEARS] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

/* The linears of one launch, on the device. */
typedef struct group {
  unsigned index, members, columns;
  qpal_weights weights[QPAL_MAX_MEMBERS];
  unsigned rows[QPAL_MAX_MEMBERS];
  qpal_ptr signs, y[QPAL_MAX_MEMBERS];
} group;

/* A linear: member of a group, or w on the CPU. */
typedef struct linear {
  unsigned rows, columns, member;
  const group *group; /* NULL: w */
  float *w, *bias;    /* [rows][columns], [rows] or NULL */
} linear;

typedef struct layer {
  linear linear[LAYER_LINEARS];
  float *attention_norm, *mlp_norm;
  float *keys, *values; /* [context][kv heads][head_dim] */
} layer;

typedef struct model {
  qpal_library *library;
  qpal_packed *packed;
  qpal_device *device;
  qpal_kernels *kernels;
  qpal_ptr x, workspace, counters;
  group *groups; /* by index in the library; columns 0: not loaded */
  int on_cpu;
  unsigned hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary, context;
  double eps, theta;
  layer layer[MAX_LAYERS];
  linear head;
  float *norm, *embedding; /* embedding [vocabulary][hidden]; NULL: packed, by qpal_gather */
  unsigned embedding_group, embedding_member;
} model;

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

static void read_config(model *m, const char *folder) {
  char path[4096];
  snprintf(path, sizeof path, "%s/config.json", folder);
  FILE *f = fopen(path, "rb");
  if (!f) die(path, "cannot be read");
  config_text = room(1 << 24, 1);
  if (!fread(config_text, 1, (1 << 24) - 1, f)) die(path, "is empty");
  fclose(f);
  char *ours = strstr(config_text, "\"quantization\""); /* what qpal wrote: not the model's */
  if (ours) *ours = 0;
  const char *type = config_find("model_type"), *scaling = config_find("rope_scaling");
  if (!type || (strncmp(type, "\"llama\"", 7) && strncmp(type, "\"mistral\"", 9) &&
                strncmp(type, "\"qwen2\"", 7)))
    die(path, "model_type: this example knows llama, mistral and qwen2");
  if (scaling && *scaling == '{') die(path, "rope_scaling: this example knows none");
  m->hidden = config_count("hidden_size", 0);
  m->intermediate = config_count("intermediate_size", 0);
  m->layers = config_count("num_hidden_layers", 0);
  m->heads = config_count("num_attention_heads", 0);
  m->kv_heads = config_count("num_key_value_heads", m->heads);
  m->head_dim = config_count("head_dim", m->hidden / m->heads);
  m->vocabulary = config_count("vocab_size", 0);
  m->eps = config_number("rms_norm_eps", 1e-6);
  m->theta = config_number("rope_theta", 10000);
  if (m->layers > MAX_LAYERS || m->heads % m->kv_heads || m->head_dim % 2)
    die(path, "layers, heads or head_dim are none that this example can do");
}

/* ---- Weights ---- */

static float *tensor(const model *m, const char *name, size_t elements, int needed) {
  qpal_tensor t = {.size = sizeof t};
  if (qpal_packed_tensor(m->packed, name, &t)) {
    if (needed) die(name, qpal_message());
    return NULL;
  }
  const size_t n = t.bytes.bytes / (strcmp(t.type, "F32") ? 2 : 4);
  if (n != elements) die(name, "has another number of elements than config.json says");
  float *out = room(n, sizeof *out);
  widen(t.type, t.bytes.data, n, out);
  return out;
}

static qpal_ptr allocate(const model *m, uint64_t bytes) {
  qpal_ptr p = 0;
  if (bytes) need(qpal_alloc(m->device, bytes, &p), "device memory");
  return p;
}

static qpal_ptr upload(const model *m, qpal_bytes b) {
  const qpal_ptr p = allocate(m, b.bytes);
  if (b.bytes) need(qpal_upload(m->device, p, b.data, b.bytes), "upload");
  return p;
}

static void upload_member(const model *m, group *g, unsigned member) {
  qpal_packed_linear p = {.size = sizeof p};
  qpal_linear_info info = {.size = sizeof info};
  qpal_weights *w = &g->weights[member];
  need(qpal_library_linear(m->library, g->index, member, &info), "linear");
  need(qpal_packed_find(m->packed, m->library, g->index, member, &p), info.tensor);
  g->rows[member] = info.rows;
  w->scale = upload(m, p.scale);
  for (unsigned i = 0; i < p.parts; i++) {
    w->part[i].codes = upload(m, p.part[i].codes);
    for (unsigned f = 0; f < QPAL_MAX_FIELDS; f++)
      w->part[i].field[f] = upload(m, p.part[i].field[f]);
    for (unsigned c = 0; c < QPAL_MAX_CODEBOOKS; c++)
      w->part[i].codebook[c] = upload(m, p.part[i].codebook[c]);
  }
  if (!g->signs) g->signs = upload(m, p.signs);
  g->y[member] = allocate(m, 4ull * info.rows);
}

static group *load_group(model *m, unsigned index) {
  group *g = &m->groups[index];
  qpal_group_info info = {.size = sizeof info};
  if (g->columns) return g;
  need(qpal_library_group(m->library, index, &info), "group");
  g->index = index;
  g->members = info.members;
  for (unsigned i = 0; i < g->members; i++) upload_member(m, g, i);
  g->columns = info.columns;
  return g;
}

/* W [rows][columns] in the basis of the checkpoint: decoded, then every row rotated back. */
static float *decode(const model *m, const group *g, unsigned member) {
  const size_t n = (size_t)g->rows[member] * g->columns;
  const qpal_ptr w = allocate(m, 2 * n);
  const qpal_dequant_args d = {.size = sizeof d,
                               .group = g->index,
                               .member = member,
                               .weights = &g->weights[member],
                               .w = w};
  need(qpal_dequant(m->kernels, &d, NULL), "decoding");
  const qpal_rotate_args back = {.size = sizeof back,
                                 .columns = g->columns,
                                 .rows = g->rows[member],
                                 .inverse = 1,
                                 .x = w,
                                 .y = w,
                                 .signs = g->signs};
  if (g->signs) need(qpal_rotate(m->kernels, &back, NULL), "qpal export --inverse");
  need(qpal_wait(m->device, NULL), "decoding");
  uint16_t *halves = room(n, 2);
  float *out = room(n, sizeof *out);
  need(qpal_download(m->device, halves, w, 2 * n), "decoding");
  widen("F16", halves, n, out);
  qpal_free(m->device, w);
  free(halves);
  return out;
}

/* A linear of the checkpoint, quantized or not. */
static void load_linear(model *m, linear *l, const char *name, unsigned rows, unsigned columns) {
  char full[256];
  unsigned index;
  qpal_linear_info info = {.size = sizeof info};
  *l = (linear){.rows = rows, .columns = columns};
  snprintf(full, sizeof full, "%s.bias", name);
  l->bias = tensor(m, full, rows, 0);
  snprintf(full, sizeof full, "%s.weight", name);
  if (qpal_library_find_linear(m->library, name, &index, &l->member) ||
      qpal_library_linear(m->library, index, l->member, &info) || info.quantizer == QPAL_NONE) {
    l->w = tensor(m, full, (size_t)rows * columns, 1);
    return;
  }
  if (info.rows < rows || info.columns != columns) /* a vocabulary may have rows of zeros behind */
    die(name, "has another shape than config.json says");
  l->group = load_group(m, index);
  if (m->on_cpu) {
    l->w = decode(m, l->group, l->member);
    l->group = NULL;
  }
}

static void load_layer(model *m, unsigned i) {
  layer *l = &m->layer[i];
  char name[128];
  const unsigned q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
  const unsigned wide = m->intermediate;
  const unsigned rows[] = {q, kv, kv, m->hidden, wide, wide, m->hidden};
  const unsigned columns[] = {m->hidden, m->hidden, m->hidden, q, m->hidden, m->hidden, wide};
  for (unsigned k = 0; k < LAYER_LINEARS; k++) {
    snprintf(name, sizeof name, "model.layers.%u.%s", i, linear_names[k]);
    load_linear(m, &l->linear[k], name, rows[k], columns[k]);
  }
  snprintf(name, sizeof name, "model.layers.%u.input_layernorm.weight", i);
  l->attention_norm = tensor(m, name, m->hidden, 1);
  snprintf(name, sizeof name, "model.layers.%u.post_attention_layernorm.weight", i);
  l->mlp_norm = tensor(m, name, m->hidden, 1);
  l->keys = room((size_t)m->context * kv, sizeof *l->keys);
  l->values = room((size_t)m->context * kv, sizeof *l->values);
}

/* The embedding and the lm_head, which a tied model has once. */
static void load_vocabulary(model *m) {
  unsigned index, member;
  const size_t n = (size_t)m->vocabulary * m->hidden;
  m->embedding = tensor(m, "model.embed_tokens.weight", n, 0);
  const int packed = !m->embedding;
  if (packed) {
    need(qpal_library_find_linear(m->library, "model.embed_tokens", &index, &member),
         "the embedding");
    load_group(m, m->embedding_group = index);
    m->embedding_member = member;
  }
  qpal_tensor t = {.size = sizeof t};
  if (!qpal_library_find_linear(m->library, "lm_head", &index, &member) ||
      !qpal_packed_tensor(m->packed, "lm_head.weight", &t))
    load_linear(m, &m->head, "lm_head", m->vocabulary, m->hidden);
  else if (packed)
    load_linear(m, &m->head, "model.embed_tokens", m->vocabulary, m->hidden);
  else
    m->head = (linear){.rows = m->vocabulary, .columns = m->hidden, .w = m->embedding};
  m->norm = tensor(m, "model.norm.weight", m->hidden, 1);
}

/* ---- Linears ---- */

/* y of all members of a group, on the device: x up, rotated, one launch. */
static void run_group(const model *m, const group *g, const float *x) {
  qpal_segment segment[QPAL_MAX_MEMBERS] = {0};
  uint16_t *halves = room(g->columns, 2);
  for (unsigned k = 0; k < g->columns; k++) halves[k] = float_to_half(x[k]);
  need(qpal_upload(m->device, m->x, halves, 2ull * g->columns), "x");
  free(halves);
  for (unsigned i = 0; i < g->members; i++)
    segment[i] = (qpal_segment){.weights = &g->weights[i], .y = g->y[i]};
  const qpal_rotate_args rotate = {.size = sizeof rotate,
                                   .columns = g->columns,
                                   .rows = 1,
                                   .flags = QPAL_PDL,
                                   .x = m->x,
                                   .y = m->x,
                                   .signs = g->signs};
  if (g->signs) need(qpal_rotate(m->kernels, &rotate, NULL), "rotation");
  const qpal_gemm_args gemm = {.size = sizeof gemm,
                               .group = g->index,
                               .rows = 1,
                               .flags = QPAL_PDL,
                               .x = m->x,
                               .workspace = m->workspace,
                               .counters = m->counters,
                               .segment = segment};
  need(qpal_gemm(m->kernels, &gemm, NULL), "gemm");
  need(qpal_wait(m->device, NULL), "gemm");
}

static void fetch(const model *m, const linear *l, float *y) {
  uint16_t *halves = room(l->rows, 2);
  need(qpal_download(m->device, halves, l->group->y[l->member], 2ull * l->rows), "y");
  widen("F16", halves, l->rows, y);
  free(halves);
}

/* y = x W^T + bias of linears that read one x; those of one group by one launch. */
static void multiply(const model *m, const linear *l, unsigned count, const float *x, float **y) {
  for (unsigned i = 0; i < count; i++) {
    int ran = 0;
    for (unsigned j = 0; j < i; j++) ran |= l[i].group && l[j].group == l[i].group;
    if (l[i].group) {
      if (!ran) run_group(m, l[i].group, x);
      fetch(m, &l[i], y[i]);
    } else {
      for (unsigned r = 0; r < l[i].rows; r++) {
        const float *w = l[i].w + (size_t)r * l[i].columns;
        float sum = 0;
        for (unsigned k = 0; k < l[i].columns; k++) sum += w[k] * x[k];
        y[i][r] = sum;
      }
    }
    for (unsigned r = 0; l[i].bias && r < l[i].rows; r++) y[i][r] += l[i].bias[r];
  }
}

/* ---- The rest of a decoder ---- */

static void rms_norm(const model *m, const float *x, const float *weight, float *y) {
  double sum = 0;
  for (unsigned k = 0; k < m->hidden; k++) sum += (double)x[k] * (double)x[k];
  const double scale = 1 / sqrt(sum / m->hidden + m->eps);
  for (unsigned k = 0; k < m->hidden; k++) y[k] = (float)((double)x[k] * scale) * weight[k];
}

/* Rotary positions: elements k and k + head_dim / 2 of each head turn together. */
static void rotary(const model *m, float *x, unsigned heads, unsigned position) {
  const unsigned half = m->head_dim / 2;
  for (unsigned k = 0; k < half; k++) {
    const double angle = position * pow(m->theta, -2.0 * k / m->head_dim);
    const float c = (float)cos(angle), s = (float)sin(angle);
    for (unsigned h = 0; h < heads; h++) {
      float *a = x + (size_t)h * m->head_dim + k, *b = a + half;
      const float was = *a;
      *a = was * c - *b * s;
      *b = *b * c + was * s;
    }
  }
}

/* out[h] = sum_t softmax_t(q[h] . k[t] / sqrt(head_dim)) v[t] over positions 0 .. position. */
static void attend(const model *m, const layer *l, const float *q, unsigned position, float *out) {
  const unsigned d = m->head_dim, width = m->kv_heads * d;
  float *score = room(position + 1, sizeof *score);
  for (unsigned h = 0; h < m->heads; h++) {
    const unsigned column = h / (m->heads / m->kv_heads) * d;
    float most = -INFINITY, total = 0;
    for (unsigned t = 0; t <= position; t++) {
      const float *k = l->keys + (size_t)t * width + column;
      float dot = 0;
      for (unsigned i = 0; i < d; i++) dot += q[h * d + i] * k[i];
      score[t] = dot / sqrtf((float)d);
      if (score[t] > most) most = score[t];
    }
    for (unsigned t = 0; t <= position; t++) total += score[t] = expf(score[t] - most);
    for (unsigned i = 0; i < d; i++) {
      float sum = 0;
      for (unsigned t = 0; t <= position; t++)
        sum += score[t] * l->values[(size_t)t * width + column + i];
      out[h * d + i] = sum / total;
    }
  }
  free(score);
}

/* What a step works with, one after another in one piece of memory. */
typedef struct scratch {
  float *x, *normed, *q, *attended, *added, *gate, *up, *logits;
} scratch;

static void run_layer(const model *m, layer *l, unsigned position, const scratch *s) {
  const size_t kv = (size_t)m->kv_heads * m->head_dim;
  float *k = l->keys + position * kv, *v = l->values + position * kv;
  rms_norm(m, s->x, l->attention_norm, s->normed);
  multiply(m, &l->linear[Q], 3, s->normed, (float *[]){s->q, k, v});
  rotary(m, s->q, m->heads, position);
  rotary(m, k, m->kv_heads, position);
  attend(m, l, s->q, position, s->attended);
  multiply(m, &l->linear[O], 1, s->attended, (float *[]){s->added});
  for (unsigned i = 0; i < m->hidden; i++) s->x[i] += s->added[i];
  rms_norm(m, s->x, l->mlp_norm, s->normed);
  multiply(m, &l->linear[GATE], 2, s->normed, (float *[]){s->gate, s->up});
  for (unsigned i = 0; i < m->intermediate; i++) s->up[i] *= s->gate[i] / (1 + expf(-s->gate[i]));
  multiply(m, &l->linear[DOWN], 1, s->up, (float *[]){s->added});
  for (unsigned i = 0; i < m->hidden; i++) s->x[i] += s->added[i];
}

static void embed(const model *m, unsigned id, float *x) {
  if (m->embedding) {
    memcpy(x, m->embedding + (size_t)id * m->hidden, m->hidden * sizeof *x);
    return;
  }
  const group *g = &m->groups[m->embedding_group];
  const int32_t ids[1] = {(int32_t)id};
  const qpal_ptr on_device = upload(m, (qpal_bytes){ids, sizeof ids});
  const qpal_gather_args a = {.size = sizeof a,
                              .group = g->index,
                              .member = m->embedding_member,
                              .rows = 1,
                              .weights = &g->weights[m->embedding_member],
                              .ids = on_device,
                              .signs = g->signs,
                              .y = m->x};
  uint16_t *halves = room(m->hidden, 2);
  need(qpal_gather(m->kernels, &a, NULL), "the embedding");
  need(qpal_wait(m->device, NULL), "the embedding");
  need(qpal_download(m->device, halves, m->x, 2ull * m->hidden), "the embedding");
  widen("F16", halves, m->hidden, x);
  qpal_free(m->device, on_device);
  free(halves);
}

/* The likeliest token behind 'id', which stands at 'position'. */
static unsigned step(model *m, unsigned id, unsigned position, const scratch *s) {
  unsigned best = 0;
  embed(m, id, s->x);
  for (unsigned i = 0; i < m->layers; i++) run_layer(m, &m->layer[i], position, s);
  rms_norm(m, s->x, m->norm, s->normed);
  multiply(m, &m->head, 1, s->normed, (float *[]){s->logits});
  for (unsigned t = 1; t < m->vocabulary; t++)
    if (s->logits[t] > s->logits[best]) best = t;
  return best;
}

/* ---- Opening and closing ---- */

static void open_device(model *m, char *name) {
  char *plus = strstr(name, "+cpu");
  int ordinal = 0;
  if (plus) *plus = 0;
  m->on_cpu = plus != NULL;
#ifdef EXAMPLE_SIMULATOR
  unsigned arch = 90, sms = 4;
  if (!strncmp(name, "sim", 3)) {
    sscanf(name, "sim:%u:%u", &arch, &sms);
    need(qpal_sim_open(arch, sms, &m->device), name);
    return;
  }
#endif
  if (sscanf(name, "cuda:%d", &ordinal) != 1) die(name, "a device is cuda:0, cuda:1, ...");
  need(qpal_device_open(ordinal, &m->device), name);
}

static void open_model(model *m, char **argv) {
  qpal_library_info library = {.size = sizeof library};
  qpal_kernels_info kernels = {.size = sizeof kernels};
  if (qpal_abi() != QPAL_ABI) die("libqpal", "is of another ABI than qpal.h");
  need(qpal_library_open(argv[1], &m->library), argv[1]);
  need(qpal_packed_open(argv[2], &m->packed), argv[2]);
  open_device(m, argv[3]);
  read_config(m, argv[2]);
  need(qpal_kernels_load(m->library, m->device, NULL, &m->kernels), "kernels");
  need(qpal_library_describe(m->library, &library), argv[1]);
  need(qpal_kernels_describe(m->kernels, &kernels), "kernels");
  m->groups = room(library.groups, sizeof *m->groups);
  const unsigned q = m->heads * m->head_dim;
  unsigned widest = m->hidden > m->intermediate ? m->hidden : m->intermediate;
  if (q > widest) widest = q;
  m->x = allocate(m, 2ull * widest);
  m->workspace = allocate(m, kernels.workspace_bytes);
  m->counters = allocate(m, kernels.counter_bytes);
  if (m->counters) need(qpal_zero(m->device, m->counters, kernels.counter_bytes), "counters");
  load_vocabulary(m);
  for (unsigned i = 0; i < m->layers; i++) load_layer(m, i);
}

static scratch make_scratch(const model *m) {
  const unsigned q = m->heads * m->head_dim;
  return (scratch){room(m->hidden, 4),
                   room(m->hidden, 4),
                   room(q, 4),
                   room(q, 4),
                   room(m->hidden, 4),
                   room(m->intermediate, 4),
                   room(m->intermediate, 4),
                   room(m->vocabulary, 4)};
}

/* The process ends behind it: what is on the device goes with the device. */
static void close_model(model *m) {
  qpal_kernels_close(m->kernels);
  qpal_device_close(m->device);
  qpal_packed_close(m->packed);
  qpal_library_close(m->library);
}

int main(int argc, char **argv) {
  static model m;
  if (argc < 6) {
    fprintf(stderr, "usage: generate LIBRARY PACKED DEVICE COUNT ID...\n");
    return 2;
  }
  const unsigned given = (unsigned)argc - 5, count = (unsigned)strtoul(argv[4], NULL, 10);
  if (!count || count > MAX_CONTEXT || given > MAX_CONTEXT - count)
    die(argv[4], "COUNT is 1 or more, and with the ids at most 4096");
  m.context = given + count;
  open_model(&m, argv);
  const scratch s = make_scratch(&m);
  unsigned next = 0;
  for (unsigned position = 0; position + 1 < given + count; position++) {
    if (position < given) next = (unsigned)strtoul(argv[5 + position], NULL, 10);
    if (next >= m.vocabulary) die(argv[5 + position], "is no id of this vocabulary");
    next = step(&m, next, position, &s);
    if (position + 1 < given) continue;
    printf("%s%u", position + 1 > given ? " " : "", next);
    fflush(stdout);
    if (getenv("GENERATE_LOGITS")) fprintf(stderr, "%u %.6g\n", next, (double)s.logits[next]);
  }
  printf("\n");
  close_model(&m);
  return 0;
}
