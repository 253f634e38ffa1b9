/* SPDX-License-Identifier: MIT */
/*
** What an engine does with a kernel library: the linears of one transformer block,
** from packed weights.
**
**   block LIBRARY PACKED [DEVICE [BLOCK [ROWS [OUT]]]]
**
** LIBRARY: what `qpal export` wrote; PACKED: what `qpal quantize` wrote; DEVICE: cuda:0 or, where
** the program is linked with libqpal_sim, sim:90:4 (architecture, multiprocessors); BLOCK: 0;
** ROWS: 1.  Inputs are made up.  OUT gets x and y of each linear as safetensors (NAME.x, NAME.y,
** fp16), so that another program can compare them.
**
**   cc block.c $(pkg-config --cflags --libs qpal) -o block
*/
#include <qpal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef EXAMPLE_SIMULATOR
#include <qpal_sim.h>
#endif

enum { OUTPUTS = 64 };

/* A tensor that OUT will hold. */
typedef struct output {
  char name[256];
  uint64_t rows, columns;
  void *data;
} output;

typedef struct engine {
  qpal_library *library;
  qpal_packed *packed;
  qpal_device *device;
  qpal_kernels *kernels;
  qpal_ptr workspace, counters;
  unsigned rows, outputs;
  output output[OUTPUTS];
} engine;

/* Stop at the first call that fails, with the library's own words. */
static void need(qpal_status status, const char *what) {
  if (status == QPAL_OK) return;
  fprintf(stderr, "block: %s: %s: %s\n", what, qpal_status_name(status), qpal_message());
  exit(1);
}

static qpal_ptr room_for(engine *e, uint64_t bytes) {
  qpal_ptr p = 0;
  if (bytes) need(qpal_alloc(e->device, bytes, &p), "device memory");
  return p;
}

static qpal_ptr upload(engine *e, qpal_bytes b) {
  const qpal_ptr p = room_for(e, b.bytes);
  if (b.bytes) need(qpal_upload(e->device, p, b.data, b.bytes), "upload");
  return p;
}

/* Give the fp16 bits of small made-up numbers, the same on every machine: k / 64 for k = -31 ..
   31. */
static uint16_t made_up(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  const int k = (int)(*state >> 16 & 63) - 32;
  unsigned magnitude = (unsigned)(k < 0 ? -k : k), exponent = 0;
  if (!magnitude) return 0;
  while (magnitude >> (exponent + 1)) exponent++;
  const unsigned fraction = (magnitude << (10 - exponent)) & 1023;
  return (uint16_t)((k < 0 ? 0x8000u : 0) | (exponent + 15 - 6) << 10 | fraction);
}

static void *keep(engine *e, const char *tensor, const char *what, uint64_t rows,
                  uint64_t columns) {
  if (e->outputs == OUTPUTS) return NULL;
  output *o = &e->output[e->outputs++];
  snprintf(o->name, sizeof o->name, "%s.%s", tensor, what);
  o->rows = rows;
  o->columns = columns;
  o->data = calloc((size_t)(rows * columns), 2);
  return o->data;
}

static void open_device(engine *e, const char *name) {
#ifdef EXAMPLE_SIMULATOR
  unsigned arch = 90, sms = 4;
  if (!strncmp(name, "sim", 3)) {
    sscanf(name, "sim:%u:%u", &arch, &sms);
    need(qpal_sim_open(arch, sms, &e->device), name);
    return;
  }
#endif
  int ordinal = 0;
  if (sscanf(name, "cuda:%d", &ordinal) != 1) {
    fprintf(stderr, "block: device '%s'; it is cuda:0, cuda:1, ...\n", name);
    exit(2);
  }
  need(qpal_device_open(ordinal, &e->device), name);
}

/* Find part p of a linear: the first lie in its weights, the others behind. */
static qpal_weights_part *part_of(qpal_weights *weights, qpal_weights_part *more, unsigned p) {
  return p < QPAL_MAX_PARTS ? &weights->part[p] : &more[p - QPAL_MAX_PARTS];
}

static qpal_weights_part upload_part(engine *e, const qpal_packed_part *from) {
  qpal_weights_part to = {.codes = upload(e, from->codes)};
  for (unsigned f = 0; f < QPAL_MAX_FIELDS; f++) to.field[f] = upload(e, from->field[f]);
  for (unsigned c = 0; c < QPAL_MAX_CODEBOOKS; c++) to.codebook[c] = upload(e, from->codebook[c]);
  return to;
}

static void free_part(engine *e, const qpal_weights_part *part) {
  qpal_free(e->device, part->codes);
  for (unsigned f = 0; f < QPAL_MAX_FIELDS; f++) qpal_free(e->device, part->field[f]);
  for (unsigned c = 0; c < QPAL_MAX_CODEBOOKS; c++) qpal_free(e->device, part->codebook[c]);
}

/* Run one group: its weights go up, x is rotated, y of all members comes by one launch, and goes
   down again. */
static void run_group(engine *e, unsigned index, uint32_t *state) {
  qpal_group_info g = {.size = sizeof g};
  qpal_linear_info linear = {.size = sizeof linear};
  qpal_weights weights[QPAL_MAX_MEMBERS] = {0};
  qpal_weights_part more[QPAL_MAX_MEMBERS][QPAL_MORE_PARTS] = {0};
  qpal_segment segment[QPAL_MAX_MEMBERS] = {0};
  void *host_y[QPAL_MAX_MEMBERS] = {NULL};
  uint16_t *host_x = NULL;
  qpal_ptr signs = 0;
  need(qpal_library_group(e->library, index, &g), "group");
  for (unsigned m = 0; m < g.members; m++) {
    qpal_packed_linear packed = {.size = sizeof packed};
    need(qpal_library_linear(e->library, index, m, &linear), g.name);
    need(qpal_packed_find(e->packed, e->library, index, m, &packed), g.name);
    weights[m].scale = upload(e, packed.scale);
    weights[m].more = more[m];
    for (unsigned p = 0; p < packed.parts; p++)
      *part_of(&weights[m], more[m], p) = upload_part(e, qpal_packed_part_of(&packed, p));
    if (!m && packed.signs.bytes) signs = upload(e, packed.signs);
    segment[m] =
        (qpal_segment){.weights = &weights[m], .y = room_for(e, 2ull * e->rows * linear.rows)};
    uint16_t *x = keep(e, linear.tensor, "x", e->rows, g.columns);
    host_y[m] = keep(e, linear.tensor, "y", e->rows, linear.rows);
    if (!x || !host_y[m]) exit(1);
    for (uint64_t i = 0; i < (uint64_t)e->rows * g.columns; i++)
      x[i] = host_x ? host_x[i] : made_up(state);
    if (!host_x) host_x = x;
  }

  /* From here on nothing is allocated: this part could be captured in a CUDA graph. */
  const qpal_ptr x = upload(e, (qpal_bytes){host_x, 2ull * e->rows * g.columns});
  if (signs) {
    const qpal_rotate_args rotate = {.size = sizeof rotate,
                                     .columns = g.columns,
                                     .block = linear.rotation,
                                     .rows = e->rows,
                                     .type = QPAL_F16,
                                     .x = x,
                                     .y = x,
                                     .signs = signs};
    need(qpal_rotate(e->kernels, &rotate, NULL), g.name);
  }
  const qpal_gemm_args gemm = {.size = sizeof gemm,
                               .group = index,
                               .rows = e->rows,
                               .type = QPAL_F16,
                               .out_type = QPAL_F16,
                               .flags = QPAL_PDL,
                               .x = x,
                               .workspace = e->workspace,
                               .counters = e->counters,
                               .segment = segment};
  need(qpal_gemm(e->kernels, &gemm, NULL), g.name);
  need(qpal_wait(e->device, NULL), g.name);

  for (unsigned m = 0; m < g.members; m++) {
    need(qpal_library_linear(e->library, index, m, &linear), g.name);
    need(qpal_download(e->device, host_y[m], segment[m].y, 2ull * e->rows * linear.rows), g.name);
    printf("  %-40s %5u x %-5u\n", linear.tensor, linear.rows, linear.columns);
    qpal_free(e->device, weights[m].scale);
    qpal_free(e->device, segment[m].y);
    for (unsigned p = 0; p < linear.parts; p++) free_part(e, part_of(&weights[m], more[m], p));
  }
  qpal_free(e->device, x);
  qpal_free(e->device, signs);
}

/* Write the safetensors form: 8 bytes of length, a header in JSON, the data. */
static void write_outputs(const engine *e, const char *path) {
  char *header = malloc((size_t)OUTPUTS * 512);
  FILE *f = fopen(path, "wb");
  if (!f || !header) {
    fprintf(stderr, "block: %s cannot be written\n", path);
    exit(1);
  }
  uint64_t at = 0;
  size_t n = (size_t)sprintf(header, "{");
  for (unsigned i = 0; i < e->outputs; i++) {
    const output *o = &e->output[i];
    const uint64_t bytes = 2 * o->rows * o->columns, end = at + bytes;
    n += (size_t)sprintf(
        header + n,
        "%s\"%s\":{\"dtype\":\"F16\",\"shape\":[%llu,%llu],\"data_offsets\":[%llu,%llu]}",
        i ? "," : "", o->name, (unsigned long long)o->rows, (unsigned long long)o->columns,
        (unsigned long long)at, (unsigned long long)end);
    at = end;
  }
  n += (size_t)sprintf(header + n, "}");
  while (n % 8) header[n++] = ' ';
  const uint64_t length = n;
  size_t written = fwrite(&length, 8, 1, f) + fwrite(header, n, 1, f);
  for (unsigned i = 0; i < e->outputs; i++)
    written +=
        fwrite(e->output[i].data, (size_t)(2 * e->output[i].rows * e->output[i].columns), 1, f);
  if (fclose(f) || written != 2 + e->outputs) {
    fprintf(stderr, "block: %s could not be written\n", path);
    exit(1);
  }
  free(header);
}

int main(int argc, char **argv) {
  static engine e;
  uint32_t state = 1;
  if (argc < 3 || argc > 7) {
    fprintf(stderr, "usage: block LIBRARY PACKED [DEVICE [BLOCK [ROWS [OUT]]]]\n");
    return 2;
  }
  const int block = argc > 4 ? atoi(argv[4]) : 0;
  e.rows = argc > 5 ? (unsigned)atoi(argv[5]) : 1;
  if (qpal_abi() != QPAL_ABI) {
    fprintf(stderr, "block: compiled for ABI %d, the library has %u\n", QPAL_ABI, qpal_abi());
    return 1;
  }
  need(qpal_library_open(argv[1], &e.library), "kernel library");
  need(qpal_packed_open(argv[2], &e.packed), "packed weights");
  open_device(&e, argc > 3 ? argv[3] : "cuda:0");
  need(qpal_kernels_load(e.library, e.device, NULL, &e.kernels), "kernels");

  qpal_library_info info = {.size = sizeof info};
  qpal_kernels_info kernels = {.size = sizeof kernels};
  qpal_device_info device = {.size = sizeof device};
  need(qpal_library_describe(e.library, &info), "library");
  need(qpal_kernels_describe(e.kernels, &kernels), "kernels");
  need(qpal_device_describe(e.device, &device), "device");
  e.workspace = room_for(&e, kernels.workspace_bytes);
  e.counters = room_for(&e, kernels.counter_bytes);
  if (e.counters) need(qpal_zero(e.device, e.counters, kernels.counter_bytes), "counters");
  printf("%s, block %d, %u rows, %u kernels on %s\n", *info.model ? info.model : "no model", block,
         e.rows, kernels.kernels, device.name);

  unsigned groups = 0;
  for (unsigned i = 0; i < info.groups; i++) {
    qpal_group_info g = {.size = sizeof g};
    need(qpal_library_group(e.library, i, &g), "group");
    if (g.block != block || !strcmp(g.path, "engine")) continue;
    run_group(&e, i, &state);
    groups++;
  }
  if (!groups) {
    fprintf(stderr, "block: the library has no block %d\n", block);
    return 1;
  }
  if (argc > 6) write_outputs(&e, argv[6]);
  for (unsigned i = 0; i < e.outputs; i++) free(e.output[i].data);
  qpal_free(e.device, e.workspace);
  qpal_free(e.device, e.counters);
  qpal_kernels_close(e.kernels);
  qpal_device_close(e.device);
  qpal_packed_close(e.packed);
  qpal_library_close(e.library);
  return 0;
}
