/* SPDX-License-Identifier: MIT */
/*
** A decoder of the Llama family on the public interface: token ids in, token ids out, greedy.
**
**   generate LIBRARY PACKED DEVICE COUNT ID...
**
** LIBRARY and PACKED: what `qpal make MODEL -o OUT --gpu GPU` wrote into OUT/library (or `qpal
** export --decoder D`, D the size of a head) and OUT/packed; DEVICE: cuda:0 or, where the program
** is linked with libqpal_sim, sim:90:4.  COUNT ids follow those given, on one line; with
** GENERATE_LOGITS in the environment each is also told with its logit, on stderr.
**
** On the device a token is one chain of launches: norms and gated units with the rotations, linears
** as the plan fused them or plain in 16 bits, attention, the choice of the next token, which the
** next chain finds on the device.  Built with -DEXAMPLE_CUDA and -lcuda the chain is a CUDA graph,
** and tokens a second are told.  A '+cpu' behind DEVICE has the kernels decode every weight once,
** computes the rest in plain C, in fp32: the reference, for a library that was exported with
** --inverse.
**
**   cc -O2 generate.c $(pkg-config --cflags --libs qpal) -lm -o generate
*/
#include "checkpoint.h"
#include "reference.h"
#ifdef EXAMPLE_SIMULATOR
#include <qpal_sim.h>
#endif
#ifdef EXAMPLE_CUDA
#include <cuda.h>
#endif

/* Arguments of a launch stand side by side: a whole decoder is at most 600 lines. */
/* clang-format off */

/* ---- The model ---- */

enum { MAX_LAYERS = 256, LAYER_LINEARS = 7, MAX_CONTEXT = 4096 };
enum { Q, K, V, O, GATE, UP, DOWN };
#define EMBEDDING "model.embed_tokens"
static const char *const linear_names[LAYER_LINEARS] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

/* The linears of one launch, on the device. */
typedef struct group {
  unsigned index, members, columns, rotation;
  qpal_weights weights[QPAL_MAX_MEMBERS];
  qpal_weights_part more[QPAL_MAX_MEMBERS][QPAL_MORE_PARTS];
  unsigned rows[QPAL_MAX_MEMBERS];
  qpal_ptr signs, bias[QPAL_MAX_MEMBERS], y[QPAL_MAX_MEMBERS];
} group;

/* Member of a group, or NULL: it stays in 16 bits; w on the CPU. */
typedef struct linear {
  unsigned rows, columns, member;
  group *group;
  float *w, *bias;               /* [rows][columns], [rows] or NULL */
  qpal_ptr plain, plain_bias, y; /* A matrix in 16 bits, its bias and its outputs, on the device. */
} linear;

/* A vector of the model, on the CPU and on the device. */
typedef struct vector {
  float *v;
  qpal_ptr on_device;
} vector;

typedef struct layer {
  linear linear[LAYER_LINEARS];
  vector attention_norm, mlp_norm;
  float *keys, *values; /* [context][kv heads][head_dim] */
  qpal_ptr key_cache, value_cache;
} layer;

typedef struct model {
  qpal_library *library;
  qpal_packed *packed;
  qpal_device *device;
  qpal_kernels *kernels;
  qpal_ptr hidden_x, x, attended, workspace, counters; /* Buffers of the device's chain. */
  qpal_ptr tokens, known, position, id, rotary_table;
  void *stream;
  group *groups; /* The groups by their index in the library; with 0 columns one is not loaded. */
  int on_cpu;
  unsigned hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary, context;
  double eps, theta;
  layer layer[MAX_LAYERS];
  linear head;
  vector norm, embedding; /* The embedding is [vocabulary][hidden]; NULL: it is packed, and read by
                             qpal_gather. */
  float *rotary;          /* [context][2][head_dim / 2] */
  unsigned embedding_group, embedding_member;
} model;

static void read_config(model *m, const char *folder) {
  config_open(folder);
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
    die("config.json", "layers, heads or head_dim are none that this example can do");
}

/* ---- Weights ---- */

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

/* Send numbers to the device as fp16. */
static qpal_ptr upload_halves(const model *m, const float *v, size_t n) {
  uint16_t *halves = room(n, 2);
  for (size_t i = 0; i < n; i++) halves[i] = float_to_half(v[i]);
  const qpal_ptr p = upload(m, (qpal_bytes){halves, 2 * n});
  free(halves);
  return p;
}

/* What the device has in fp16; the caller frees it. */
static float *fetch(const model *m, qpal_ptr from, size_t n) {
  uint16_t *halves = room(n, 2);
  float *out = room(n, sizeof *out);
  need(qpal_wait(m->device, m->stream), "the device");
  need(qpal_download(m->device, halves, from, 2 * n), "the device");
  widen("F16", halves, n, out);
  free(halves);
  return out;
}

static vector vector_of(const model *m, const char *name, size_t elements, int needed) {
  vector v = {.v = tensor(m->packed, name, elements, needed)};
  if (v.v && !m->on_cpu) v.on_device = upload_halves(m, v.v, elements);
  return v;
}

static void upload_member(const model *m, group *g, unsigned member) {
  qpal_packed_linear p = {.size = sizeof p};
  qpal_linear_info info = {.size = sizeof info};
  qpal_weights *w = &g->weights[member];
  need(qpal_library_linear(m->library, g->index, member, &info), "linear");
  need(qpal_packed_find(m->packed, m->library, g->index, member, &p), info.tensor);
  g->rows[member] = info.rows;
  g->rotation = info.rotation;
  w->scale = upload(m, p.scale);
  w->more = g->more[member];
  for (unsigned i = 0; i < p.parts; i++) {
    const qpal_packed_part *from = qpal_packed_part_of(&p, i);
    qpal_weights_part *to =
        i < QPAL_MAX_PARTS ? &w->part[i] : &g->more[member][i - QPAL_MAX_PARTS];
    to->codes = upload(m, from->codes);
    for (unsigned f = 0; f < QPAL_MAX_FIELDS; f++) to->field[f] = upload(m, from->field[f]);
    for (unsigned c = 0; c < QPAL_MAX_CODEBOOKS; c++)
      to->codebook[c] = upload(m, from->codebook[c]);
  }
  if (!g->signs) g->signs = upload(m, p.signs);
  g->y[member] = allocate(m, 2ull * info.rows);
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

/* Decode W [rows][columns] into the basis of the checkpoint: its rows are rotated back. */
static float *decode(const model *m, const group *g, unsigned member) {
  const size_t n = (size_t)g->rows[member] * g->columns;
  const qpal_ptr w = allocate(m, 2 * n);
  const qpal_dequant_args d = {.size = sizeof d, .group = g->index, .member = member,
                               .weights = &g->weights[member], .w = w, .signs = g->signs};
  need(qpal_dequant(m->kernels, &d, NULL), "qpal export --inverse");
  float *out = fetch(m, w, n);
  qpal_free(m->device, w);
  return out;
}

/* Fetch rows of the packed embedding by their ids. */
static void gather(const model *m, qpal_ptr ids, unsigned rows, qpal_ptr y) {
  const group *g = &m->groups[m->embedding_group];
  const qpal_gather_args a = {.size = sizeof a, .group = g->index, .member = m->embedding_member,
                              .flags = QPAL_PDL, .rows = rows,
                              .weights = &g->weights[m->embedding_member], .ids = ids,
                              .signs = g->signs, .y = y};
  need(qpal_gather(m->kernels, &a, m->stream), "the embedding");
}

static float *gather_all(const model *m) {
  const size_t n = (size_t)m->vocabulary * m->hidden;
  int32_t *ids = room(m->vocabulary, sizeof *ids);
  for (unsigned i = 0; i < m->vocabulary; i++) ids[i] = (int32_t)i;
  const qpal_ptr y = allocate(m, 2 * n);
  gather(m, upload(m, (qpal_bytes){ids, 4ull * m->vocabulary}), m->vocabulary, y);
  free(ids);
  return fetch(m, y, n);
}

/* A linear in 16 bits; a tied head's matrix is on the device already. */
static void load_plain(const model *m, linear *l, const char *weight) {
  const size_t n = (size_t)l->rows * l->columns;
  const int tied = !strcmp(weight, EMBEDDING ".weight");
  l->w = tensor(m->packed, weight, n, 1);
  if (m->on_cpu) return;
  l->plain = tied && m->embedding.v ? m->embedding.on_device : upload_halves(m, l->w, n);
  if (l->bias) l->plain_bias = upload_halves(m, l->bias, l->rows);
  l->y = allocate(m, 2ull * (l->rows + 8));
}

/* Load a linear of the checkpoint, quantized or not. */
static void load_linear(model *m, linear *l, const char *name, unsigned rows, unsigned columns) {
  char full[256];
  unsigned index;
  qpal_tensor t = {.size = sizeof t};
  qpal_linear_info info = {.size = sizeof info};
  *l = (linear){.rows = rows, .columns = columns};
  snprintf(full, sizeof full, "%s.bias", name);
  l->bias = tensor(m->packed, full, rows, 0);
  snprintf(full, sizeof full, "%s.weight", name);
  if (!qpal_packed_tensor(m->packed, full, &t) && t.bytes.bytes) { /* of packed ones it is empty */
    load_plain(m, l, full);
    return;
  }
  need(qpal_library_find_linear(m->library, name, &index, &l->member), name);
  need(qpal_library_linear(m->library, index, l->member, &info), name);
  if (info.rows < rows || info.columns != columns) /* a vocabulary may have rows of zeros behind */
    die(name, "has another shape than config.json says");
  l->group = load_group(m, index);
  if (m->on_cpu) l->w = decode(m, l->group, l->member);
  if (!m->on_cpu && l->bias) l->group->bias[l->member] = upload_halves(m, l->bias, rows);
}

static void load_layer(model *m, unsigned i) {
  layer *l = &m->layer[i];
  char name[128];
  const unsigned q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
  const unsigned wide = m->intermediate;
  const unsigned rows[] = {q, kv, kv, m->hidden, wide, wide, m->hidden};
  const unsigned columns[] = {m->hidden, m->hidden, m->hidden, q, m->hidden, m->hidden, wide};
  const size_t cache = (size_t)m->context * kv;
  for (unsigned k = 0; k < LAYER_LINEARS; k++) {
    snprintf(name, sizeof name, "model.layers.%u.%s", i, linear_names[k]);
    load_linear(m, &l->linear[k], name, rows[k], columns[k]);
  }
  snprintf(name, sizeof name, "model.layers.%u.input_layernorm.weight", i);
  l->attention_norm = vector_of(m, name, m->hidden, 1);
  snprintf(name, sizeof name, "model.layers.%u.post_attention_layernorm.weight", i);
  l->mlp_norm = vector_of(m, name, m->hidden, 1);
  if (m->on_cpu) {
    l->keys = room(cache, sizeof *l->keys);
    l->values = room(cache, sizeof *l->values);
  } else {
    l->key_cache = allocate(m, 2 * cache);
    l->value_cache = allocate(m, 2 * cache);
  }
}

/* The embedding and the lm_head, which a tied model has once. */
static void load_vocabulary(model *m) {
  unsigned index, member;
  m->embedding = vector_of(m, EMBEDDING ".weight", (size_t)m->vocabulary * m->hidden, 0);
  const int packed = !m->embedding.v;
  if (packed) {
    need(qpal_library_find_linear(m->library, EMBEDDING, &index, &member), EMBEDDING);
    load_group(m, m->embedding_group = index);
    m->embedding_member = member;
    if (m->on_cpu) m->embedding.v = gather_all(m);
  }
  qpal_tensor t = {.size = sizeof t};
  if (!qpal_library_find_linear(m->library, "lm_head", &index, &member) ||
      !qpal_packed_tensor(m->packed, "lm_head.weight", &t))
    load_linear(m, &m->head, "lm_head", m->vocabulary, m->hidden);
  else
    load_linear(m, &m->head, EMBEDDING, m->vocabulary, m->hidden);
  m->norm = vector_of(m, "model.norm.weight", m->hidden, 1);
}

/* ---- A token on the device: launches alone, the same for every token ---- */

/* X~ of a group: rotated, with what stands before it. */
static void rotate(const model *m, const group *g, qpal_rotate_args a) {
  a.size = sizeof a;
  a.columns = g->columns;
  a.block = g->rotation;
  a.rows = 1;
  a.flags = QPAL_PDL;
  a.y = m->x;
  a.signs = g->signs;
  a.eps = (float)m->eps;
  need(qpal_rotate(m->kernels, &a, m->stream), "rotation");
}

/* Y of a group, of X~; one that has a 'sum' adds to it. */
static void multiply_group(const model *m, const group *g, qpal_ptr sum) {
  qpal_segment segment[QPAL_MAX_MEMBERS] = {0};
  for (unsigned i = 0; i < g->members; i++)
    segment[i] = (qpal_segment){
        .weights = &g->weights[i], .bias = g->bias[i], .residual = sum, .y = sum ? sum : g->y[i]};
  const qpal_gemm_args a = {.size = sizeof a, .group = g->index, .rows = 1, .flags = QPAL_PDL,
                            .x = m->x, .workspace = m->workspace, .counters = m->counters,
                            .segment = segment};
  need(qpal_gemm(m->kernels, &a, m->stream), "gemm");
}

/* Y of a linear in 16 bits, of what the rotation of another would take. */
static void multiply_plain(const model *m, const linear *l, qpal_rotate_args a, qpal_ptr sum) {
  const qpal_plain_args p = {.size = sizeof p, .columns = l->columns, .outputs = l->rows, .rows = 1,
                             .flags = QPAL_PDL, .prologue = a.prologue, .activation = a.activation,
                             .eps = (float)m->eps, .x = a.x, .y = sum ? sum : l->y, .w = l->plain,
                             .bias = l->plain_bias, .residual = sum, .up = a.up,
                             .weight = a.weight};
  need(qpal_plain(m->kernels, &p, m->stream), "qpal export --decoder");
}

/* Multiply by all linears of one input, each group once. */
static void multiply_all(const model *m, const linear *l, unsigned count, qpal_rotate_args before,
                         qpal_ptr sum) {
  for (unsigned i = 0; i < count; i++) {
    int ran = 0;
    if (!l[i].group) multiply_plain(m, &l[i], before, sum);
    for (unsigned j = 0; j < i; j++) ran |= l[j].group == l[i].group;
    if (ran || !l[i].group) continue;
    rotate(m, l[i].group, before);
    multiply_group(m, l[i].group, sum);
  }
}

static qpal_ptr y_of(const linear *l) { return l->group ? l->group->y[l->member] : l->y; }

static void attend_on_device(const model *m, const layer *l) {
  const qpal_attend_args a = {.size = sizeof a, .columns = m->head_dim, .rows = 1,
                              .flags = QPAL_PDL, .heads = m->heads, .kv_heads = m->kv_heads,
                              .context = m->context, .pairs = m->head_dim / 2,
                              .scale = 1 / sqrtf((float)m->head_dim), .q = y_of(&l->linear[Q]),
                              .k = y_of(&l->linear[K]), .v = y_of(&l->linear[V]), .y = m->attended,
                              .keys = l->key_cache, .values = l->value_cache,
                              .positions = m->position, .rotary = m->rotary_table};
  need(qpal_attend(m->kernels, &a, m->stream), "attention");
}

static void layer_on_device(const model *m, const layer *l) {
  const qpal_rotate_args attention_norm = {
      .prologue = QPAL_PROLOGUE_NORM, .x = m->hidden_x, .weight = l->attention_norm.on_device};
  const qpal_rotate_args mlp_norm = {
      .prologue = QPAL_PROLOGUE_NORM, .x = m->hidden_x, .weight = l->mlp_norm.on_device};
  multiply_all(m, &l->linear[Q], 3, attention_norm, 0);
  attend_on_device(m, l);
  multiply_all(m, &l->linear[O], 1, (qpal_rotate_args){.x = m->attended}, m->hidden_x);
  multiply_all(m, &l->linear[GATE], 2, mlp_norm, 0);
  const qpal_rotate_args unit = {.prologue = QPAL_PROLOGUE_GLU, .activation = QPAL_SILU,
                                 .x = y_of(&l->linear[GATE]), .up = y_of(&l->linear[UP])};
  multiply_all(m, &l->linear[DOWN], 1, unit, m->hidden_x);
}

static void step_on_device(const model *m) {
  const qpal_rotate_args norm = {
      .prologue = QPAL_PROLOGUE_NORM, .x = m->hidden_x, .weight = m->norm.on_device};
  const qpal_pick_args pick = {.size = sizeof pick, .columns = m->hidden, .rows = 1,
                               .flags = QPAL_PDL, .vocabulary = m->vocabulary,
                               .logits_stride = (m->vocabulary + 7) / 8 * 8, .context = m->context,
                               .logits = y_of(&m->head), .tokens = m->tokens, .known = m->known,
                               .positions = m->position, .ids = m->id,
                               .embedding = m->embedding.on_device, .y = m->hidden_x};
  if (!m->embedding.v) gather(m, m->id, 1, m->hidden_x);
  for (unsigned i = 0; i < m->layers; i++) layer_on_device(m, &m->layer[i]);
  multiply_all(m, &m->head, 1, norm, 0);
  need(qpal_pick(m->kernels, &pick, m->stream), "the next token");
}

/* Send tokens and positions to the device, and fetch the first token's row of the embedding. */
static void begin_on_device(model *m, const int32_t *tokens, unsigned given) {
  const int32_t known = (int32_t)given, zero = 0;
  m->tokens = upload(m, (qpal_bytes){tokens, 4ull * m->context});
  m->known = upload(m, (qpal_bytes){&known, 4});
  m->position = upload(m, (qpal_bytes){&zero, 4});
  m->id = upload(m, (qpal_bytes){tokens, 4});
  m->rotary_table = upload(m, (qpal_bytes){m->rotary, 4ull * m->context * m->head_dim});
  m->hidden_x = m->embedding.v
                    ? upload_halves(m, m->embedding.v + (size_t)tokens[0] * m->hidden, m->hidden)
                    : allocate(m, 2ull * m->hidden);
}

/* ---- A token on the CPU: the reference ---- */

/* What a step works with. */
typedef struct scratch {
  float *x, *normed, *q, *attended, *added, *gate, *up, *score, *logits;
} scratch;

static void product(const linear *l, const float *x, float *y) {
  multiply(l->w, l->bias, l->rows, l->columns, x, y);
}

static void run_layer(const model *m, layer *l, unsigned position, const scratch *s) {
  const unsigned dim = m->head_dim, each = m->heads / m->kv_heads;
  const size_t kv = (size_t)m->kv_heads * dim;
  const float *table = m->rotary + (size_t)position * dim;
  float *k = l->keys + position * kv, *v = l->values + position * kv;
  rms_norm(s->x, l->attention_norm.v, m->hidden, m->eps, s->normed);
  product(&l->linear[Q], s->normed, s->q);
  product(&l->linear[K], s->normed, k);
  product(&l->linear[V], s->normed, v);
  turn(s->q, m->heads, dim, table);
  turn(k, m->kv_heads, dim, table);
  for (unsigned g = 0; g < m->kv_heads; g++)
    for (unsigned h = g * each; h < (g + 1) * each; h++)
      attend(s->q + h * dim, l->keys + g * dim, l->values + g * dim, kv, dim, position, s->score,
             s->attended + h * dim);
  product(&l->linear[O], s->attended, s->added);
  for (unsigned i = 0; i < m->hidden; i++) s->x[i] += s->added[i];
  rms_norm(s->x, l->mlp_norm.v, m->hidden, m->eps, s->normed);
  product(&l->linear[GATE], s->normed, s->gate);
  product(&l->linear[UP], s->normed, s->up);
  for (unsigned i = 0; i < m->intermediate; i++) s->up[i] *= s->gate[i] / (1 + expf(-s->gate[i]));
  product(&l->linear[DOWN], s->up, s->added);
  for (unsigned i = 0; i < m->hidden; i++) s->x[i] += s->added[i];
}

/* The likeliest token behind 'id', which stands at 'position'. */
static unsigned step(model *m, unsigned id, unsigned position, const scratch *s) {
  unsigned best = 0;
  memcpy(s->x, m->embedding.v + (size_t)id * m->hidden, m->hidden * sizeof *s->x);
  for (unsigned i = 0; i < m->layers; i++) run_layer(m, &m->layer[i], position, s);
  rms_norm(s->x, m->norm.v, m->hidden, m->eps, s->normed);
  product(&m->head, s->normed, s->logits);
  for (unsigned t = 1; t < m->vocabulary; t++)
    if (s->logits[t] > s->logits[best]) best = t;
  return best;
}

/* ---- Opening, running, closing ---- */

static int open_device(model *m, char *name) {
  char *plus = strstr(name, "+cpu");
  int ordinal = 0;
  if (plus) *plus = 0;
  m->on_cpu = plus != NULL;
#ifdef EXAMPLE_SIMULATOR
  unsigned arch = 90, sms = 4;
  if (!strncmp(name, "sim", 3)) {
    sscanf(name, "sim:%u:%u", &arch, &sms);
    need(qpal_sim_open(arch, sms, &m->device), name);
    return 0;
  }
#endif
  if (sscanf(name, "cuda:%d", &ordinal) != 1) die(name, "a device is cuda:0, cuda:1, ...");
  need(qpal_device_open(ordinal, &m->device), name);
  return ordinal;
}

static int open_model(model *m, char **argv) {
  qpal_library_info library = {.size = sizeof library};
  qpal_kernels_info kernels = {.size = sizeof kernels};
  if (qpal_abi() != QPAL_ABI) die("libqpal", "is of another ABI than qpal.h");
  need(qpal_library_open(argv[1], &m->library), argv[1]);
  need(qpal_packed_open(argv[2], &m->packed), argv[2]);
  const int ordinal = open_device(m, argv[3]);
  read_config(m, argv[2]);
  need(qpal_kernels_load(m->library, m->device, NULL, &m->kernels), "kernels");
  need(qpal_library_describe(m->library, &library), argv[1]);
  need(qpal_kernels_describe(m->kernels, &kernels), "kernels");
  m->groups = room(library.groups, sizeof *m->groups);
  const unsigned q = m->heads * m->head_dim;
  m->x = allocate(m, 2ull * (q + m->intermediate + m->hidden)); /* the widest row of any X~ */
  m->attended = allocate(m, 2ull * q);
  m->workspace = allocate(m, kernels.workspace_bytes);
  m->counters = allocate(m, kernels.counter_bytes);
  if (m->counters) need(qpal_zero(m->device, m->counters, kernels.counter_bytes), "counters");
  load_vocabulary(m);
  for (unsigned i = 0; i < m->layers; i++) load_layer(m, i);
  m->rotary = rotary_table(m->context, m->head_dim, m->theta);
  return ordinal;
}

static void run_on_cpu(model *m, int32_t *tokens, unsigned given) {
  const unsigned q = m->heads * m->head_dim, wide = m->intermediate;
  const scratch s = {room(m->hidden, 4), room(m->hidden, 4),  room(q, 4),
                     room(q, 4),         room(m->hidden, 4),  room(wide, 4),
                     room(wide, 4),      room(m->context, 4), room(m->vocabulary, 4)};
  for (unsigned p = 0; p + 1 < m->context; p++) {
    const unsigned next = step(m, (unsigned)tokens[p], p, &s);
    if (p + 1 < given) continue;
    tokens[p + 1] = (int32_t)next;
    if (getenv("GENERATE_LOGITS")) fprintf(stderr, "%u %.6g\n", next, (double)s.logits[next]);
  }
  float *const all[] = {s.x, s.normed, s.q, s.attended, s.added, s.gate, s.up, s.score, s.logits};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* The chain of a token's launches, as a graph where there is CUDA. */
#ifdef EXAMPLE_CUDA
static CUgraphExec graph;

static void check_cuda(CUresult r, const char *what) {
  const char *why = NULL;
  if (r) cuGetErrorString(r, &why), die(what, why ? why : "failed");
}

static void prepare(model *m, int ordinal) {
  CUcontext context;
  CUdevice device;
  CUgraph captured;
  check_cuda(cuInit(0), "CUDA");
  check_cuda(cuDeviceGet(&device, ordinal), "CUDA");
  check_cuda(cuDevicePrimaryCtxRetain(&context, device), "CUDA");
  check_cuda(cuCtxSetCurrent(context), "CUDA");
  check_cuda(cuStreamCreate((CUstream *)&m->stream, CU_STREAM_NON_BLOCKING), "stream");
  check_cuda(cuStreamBeginCapture(m->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "capture");
  step_on_device(m);
  check_cuda(cuStreamEndCapture(m->stream, &captured), "capture");
  check_cuda(cuGraphInstantiate(&graph, captured, 0), "graph");
}

static void launch(const model *m) { check_cuda(cuGraphLaunch(graph, m->stream), "graph"); }
#else
static void prepare(model *m, int ordinal) { (void)m, (void)ordinal; }
static void launch(const model *m) { step_on_device(m); }
#endif

/* Tokens a second; beside them what the linears alone would allow, as they were tuned. */
static void tell_speed(const model *m, double seconds) {
  int64_t linears = 0;
  qpal_library_info library = {.size = sizeof library};
  need(qpal_library_describe(m->library, &library), "library");
  for (unsigned i = 0; i < library.groups && linears >= 0; i++) {
    qpal_gemm_info info = {.size = sizeof info};
    const qpal_gemm_args a = {.size = sizeof a, .group = i, .rows = 1};
    if (!m->groups[i].columns || qpal_gemm_query(m->kernels, &a, &info)) continue; /* look-ups */
    linears = info.latency_ps < 0 ? -1 : linears + info.latency_ps;
  }
  fprintf(stderr, "%.1f tokens/s", (m->context - 1) / seconds);
  if (linears > 0) fprintf(stderr, "; the plan's linears alone: %.1f", 1e12 / (double)linears);
  fprintf(stderr, "\n");
}

/* Run every token by the same launches; nothing is waited for but where logits are to be told. */
static void run_on_device(model *m, int32_t *tokens, unsigned given, int ordinal) {
  const int logits = getenv("GENERATE_LOGITS") != NULL;
  begin_on_device(m, tokens, given);
  prepare(m, ordinal);
  const double start = seconds();
  for (unsigned p = 1; p < m->context; p++) {
    launch(m);
    if (p < given || !logits) continue;
    float *y = fetch(m, y_of(&m->head), m->vocabulary);
    need(qpal_download(m->device, &tokens[p], m->tokens + 4ull * p, 4), "tokens");
    fprintf(stderr, "%d %.6g\n", tokens[p], (double)y[tokens[p]]);
    free(y);
  }
  need(qpal_wait(m->device, m->stream), "the chain");
  if (!logits) tell_speed(m, seconds() - start);
  need(qpal_download(m->device, tokens, m->tokens, 4ull * m->context), "tokens");
}

int main(int argc, char **argv) {
  static model m;
  if (argc < 6) die("usage", "generate LIBRARY PACKED DEVICE COUNT ID...");
  const unsigned given = (unsigned)argc - 5, count = (unsigned)strtoul(argv[4], NULL, 10);
  if (!count || count > MAX_CONTEXT || given > MAX_CONTEXT - count)
    die(argv[4], "COUNT is 1 or more, and with the ids at most 4096");
  m.context = given + count;
  const int ordinal = open_model(&m, argv);
  int32_t *tokens = room(m.context, sizeof *tokens);
  for (unsigned i = 0; i < given; i++) {
    tokens[i] = (int32_t)strtoul(argv[5 + i], NULL, 10);
    if (tokens[i] < 0 || (unsigned)tokens[i] >= m.vocabulary)
      die(argv[5 + i], "is no id of this vocabulary");
  }
  if (m.on_cpu)
    run_on_cpu(&m, tokens, given);
  else
    run_on_device(&m, tokens, given, ordinal);
  for (unsigned p = given; p < m.context; p++)
    printf("%d%c", tokens[p], p + 1 < m.context ? ' ' : '\n');
  qpal_kernels_close(m.kernels); /* what is on the device goes with it */
  qpal_device_close(m.device);
  qpal_packed_close(m.packed);
  qpal_library_close(m.library);
  return 0;
}
