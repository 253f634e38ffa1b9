/* SPDX-License-Identifier: MIT */
/* Keeps measured candidates in files, as records.h describes. */
#include "tuner/tune/records.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "gen/base/text.h"
#include "runtime/list.h"
#include "tuner/check/routing.h"

enum { VERSION = 1, MOST_BYTES = 256 << 20 };
static const char schema[] = "qpal-records";
static const double most_ps = 9e15; /* whole in a double */

static const char *const outcome_names[] = {
#define X(id, name, help) [id] = name,
    QP_RECORD_OUTCOMES(X)
#undef X
};
_Static_assert(sizeof outcome_names / sizeof *outcome_names == QP_RECORD_OUTCOME_COUNT,
               "a name for every outcome");

const char *qp_record_outcome_name(qp_record_outcome o) {
  return (unsigned)o < QP_RECORD_OUTCOME_COUNT ? outcome_names[o] : "?";
}

void qp_records_free(qp_records *r) {
  free(r->list);
  *r = (qp_records){0};
}

qp_status qp_records_add(qp_records *r, const qp_record *record, qp_error *err) {
  qp_record *list = qp_list_room(r->list, r->count, &r->capacity, sizeof *list);
  if (!list) return qp_fail(err, QP_E_NOMEM, "no memory for records");
  r->list = list;
  r->list[r->count++] = *record;
  return QP_OK;
}

void qp_record_generator(const char *source, char out[33]) {
  XXH128_hash_t h = XXH3_128bits(source, strlen(source));
  snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}

void qp_record_begin(const qp_kernel *kernel, const qp_choice *asked, qp_record *out) {
  const qp_problem *p = &kernel->problem;
  *out = (qp_record){.segments = p->segments,
                     .columns = p->columns,
                     .batch = p->batch,
                     .rotate_fused = p->rotate_fused,
                     .experts = p->experts,
                     .top_k = p->top_k,
                     .tile = p->tile,
                     .slices = p->slices > 1 ? p->slices : 0,
                     .routing_seed = qp_op_multiplies_stacks(p->op) ? QP_ROUTING_SEED : 0,
                     .arch = p->arch,
                     .sm_count = p->sm_count};
  snprintf(out->kernel, sizeof out->kernel, "%s", kernel->name);
  snprintf(out->op, sizeof out->op, "%s", qp_op_name(p->op));
  snprintf(out->family, sizeof out->family, "%s", asked->family->name);
  snprintf(out->path, sizeof out->path, "%s", asked->family->path);
  snprintf(out->type, sizeof out->type, "%s", qp_dtype_name(p->type));
  snprintf(out->out_type, sizeof out->out_type, "%s", qp_dtype_name(p->out_type));
  for (unsigned i = 0; i < p->segments; i++) {
    const qp_quantizer *q = p->segment[i].quantizer;
    out->segment[i].rows = p->segment[i].rows;
    snprintf(out->segment[i].quantizer, sizeof out->segment[i].quantizer, "%s", q->name);
    snprintf(out->segment[i].hash, sizeof out->segment[i].hash, "%s", q->hash);
  }
  size_t n = 0;
  for (unsigned i = 0; i < asked->family->tunables && n < sizeof out->tunables; i++)
    n += (size_t)snprintf(out->tunables + n, sizeof out->tunables - n, "%s%s=%u", i ? "," : "",
                          asked->family->tunable[i].name, asked->value[i]);
  qp_record_generator(kernel->source, out->generator);
}

bool qp_record_is_replay(const qp_record *r) { return !strcmp(r->timer, "replay"); }

/* ---- Fields, named once for reading and writing ---- */

/* A string is not empty, or may be empty, or may be missing. */
typedef enum presence { FULL, EMPTY, MISSING } presence;

/* Strings: member, what it may be. */
#define TEXTS(X)                                                                                   \
  X(kernel, FULL)                                                                                  \
  X(op, FULL)                                                                                      \
  X(family, FULL)                                                                                  \
  X(path, EMPTY)                                                                                   \
  X(type, FULL)                                                                                    \
  X(out_type, FULL)                                                                                \
  X(tunables, EMPTY)                                                                               \
  X(generator, FULL)                                                                               \
  X(code, MISSING)                                                                                 \
  X(gpu, FULL)                                                                                     \
  X(driver, FULL)                                                                                  \
  X(nvrtc, FULL)                                                                                   \
  X(timer, FULL)                                                                                   \
  X(date, FULL)                                                                                    \
  X(why, EMPTY)                                                                                    \
  X(throttle, EMPTY)

/* Fields that only stacks have: they are written where they are not 0, and are 0 where they are
   missing. */
#define STACK_NUMBERS(X)                                                                           \
  X(experts, unsigned, 0, QP_MAX_EXPERTS)                                                          \
  X(top_k, unsigned, 0, QP_MAX_TOP_K)                                                              \
  X(tile, unsigned, 0, QP_MAX_TILE)                                                                \
  X(slices, unsigned, 0, QP_MAX_SLICES)                                                            \
  X(routing_seed, unsigned, 0, 1 << 30)

#define NUMBERS(X)                                                                                 \
  X(columns, unsigned, 0, 1 << 22)                                                                 \
  X(batch, unsigned, 1, 1 << 20)                                                                   \
  X(arch, unsigned, 1, 999)                                                                        \
  X(sm_count, unsigned, 1, 1 << 16)                                                                \
  X(ps, int64_t, 0, most_ps)                                                                       \
  X(spread_ps, int64_t, 0, most_ps)                                                                \
  X(samples, unsigned, 0, 1 << 30)                                                                 \
  X(chain_ps, int64_t, 0, most_ps)                                                                 \
  X(chain_pdl_ps, int64_t, 0, most_ps)                                                             \
  X(clock_mhz, unsigned, 0, 1 << 20)                                                               \
  X(registers, unsigned, 0, 1 << 20)                                                               \
  X(smem_bytes, unsigned, 0, 1 << 30)                                                              \
  X(spill_bytes, unsigned, 0, 1 << 30)

static cJSON *segments_json(const qp_record *r) {
  cJSON *list = cJSON_CreateArray();
  for (unsigned i = 0; i < r->segments && list; i++) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "rows", r->segment[i].rows);
    cJSON_AddStringToObject(o, "quantizer", r->segment[i].quantizer);
    cJSON_AddStringToObject(o, "hash", r->segment[i].hash);
    cJSON_AddItemToArray(list, o);
  }
  return list;
}

char *qp_record_print(const qp_record *r) {
  cJSON *o = cJSON_CreateObject();
  bool ok = o != NULL;
  if (ok) ok = cJSON_AddStringToObject(o, "kernel", r->kernel) != NULL;
  if (ok) ok = cJSON_AddItemToObject(o, "segments", segments_json(r));
  if (ok) ok = cJSON_AddBoolToObject(o, "rotate_fused", r->rotate_fused) != NULL;
  if (ok) ok = cJSON_AddStringToObject(o, "outcome", outcome_names[r->outcome]) != NULL;
  if (ok) ok = cJSON_AddNumberToObject(o, "error", r->error) != NULL;
#define X(name, type, lo, hi)                                                                      \
  if (ok) ok = cJSON_AddNumberToObject(o, #name, (double)r->name) != NULL;
  NUMBERS(X)
#undef X
#define X(name, type, lo, hi)                                                                      \
  if (ok && r->name) ok = cJSON_AddNumberToObject(o, #name, (double)r->name) != NULL;
  STACK_NUMBERS(X)
#undef X
#define X(name, may)                                                                               \
  if (ok && strcmp(#name, "kernel") != 0) ok = cJSON_AddStringToObject(o, #name, r->name) != NULL;
  TEXTS(X)
#undef X
  char *text = ok ? cJSON_PrintUnformatted(o) : NULL;
  cJSON_Delete(o);
  return text;
}

static qp_status read_text(const cJSON *o, const char *where, const char *name, presence may,
                           char *out, size_t size, qp_error *err) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
  if (!v && may == MISSING) return *out = 0, QP_OK;
  if (!v || !cJSON_IsString(v) || (may == FULL && !*v->valuestring))
    return qp_fail(err, QP_E_ARG, "%s: field '%s': a string%s is needed", where, name,
                   may == FULL ? " that is not empty" : "");
  if (strlen(v->valuestring) >= size)
    return qp_fail(err, QP_E_ARG, "%s: field '%s': more than %zu characters", where, name,
                   size - 1);
  memcpy(out, v->valuestring, strlen(v->valuestring) + 1);
  return QP_OK;
}

static qp_status read_segments(const cJSON *o, const char *where, qp_record *r, qp_error *err) {
  const cJSON *list, *s;
  int64_t rows;
  qp_status status = qp_json_array(o, where, "segments", &list, err);
  if (status) return status;
  cJSON_ArrayForEach(s, list) {
    if (r->segments == QP_MAX_SEGMENTS)
      return qp_fail(err, QP_E_ARG, "%s: field 'segments': more than %d", where, QP_MAX_SEGMENTS);
    if (!cJSON_IsObject(s))
      return qp_fail(err, QP_E_ARG, "%s: field 'segments': objects are needed", where);
    status = qp_json_integer(s, where, "rows", 1, 1 << 22, &rows, err);
    if (status) return status;
    r->segment[r->segments].rows = (unsigned)rows;
    status = read_text(s, where, "quantizer", FULL, r->segment[r->segments].quantizer,
                       sizeof r->segment->quantizer, err);
    if (!status)
      status = read_text(s, where, "hash", FULL, r->segment[r->segments].hash,
                         sizeof r->segment->hash, err);
    if (status) return status;
    r->segments++;
  }
  return QP_OK;
}

static qp_status read_outcome(const cJSON *o, const char *where, qp_record *r, qp_error *err) {
  const char *name;
  qp_status status = qp_json_text(o, where, "outcome", &name, err);
  for (unsigned i = 0; i < QP_RECORD_OUTCOME_COUNT && !status; i++)
    if (!strcmp(name, outcome_names[i])) return r->outcome = (qp_record_outcome)i, QP_OK;
  return status ? status
                : qp_fail(err, QP_E_ARG,
                          "%s: field 'outcome': '%.40s' is none of ok, compile, wrong, "
                          "hang, crash, ...",
                          where, name);
}

static qp_status take_record(const char *where, const cJSON *o, qp_record *out, qp_error *err) {
  qp_record r = {0};
  int64_t n = 0;
  if (!cJSON_IsObject(o)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", where);
  qp_status status = read_segments(o, where, &r, err);
  if (!status) status = read_outcome(o, where, &r, err);
  if (!status) status = qp_json_number(o, where, "error", 0, 1e300, &r.error, err);
#define X(name, type, lo, hi)                                                                      \
  if (!status) status = qp_json_integer(o, where, #name, lo, (int64_t)(hi), &n, err);              \
  if (!status) r.name = (type)n;
  NUMBERS(X)
#undef X
#define X(name, type, lo, hi)                                                                      \
  if (!status && cJSON_GetObjectItemCaseSensitive(o, #name)) {                                     \
    status = qp_json_integer(o, where, #name, lo, (int64_t)(hi), &n, err);                         \
    r.name = (type)n;                                                                              \
  }
  STACK_NUMBERS(X)
#undef X
#define X(name, may)                                                                               \
  if (!status) status = read_text(o, where, #name, may, r.name, sizeof r.name, err);
  TEXTS(X)
#undef X
  if (status) return status;
  const cJSON *fused = cJSON_GetObjectItemCaseSensitive(o, "rotate_fused");
  if (!cJSON_IsBool(fused))
    return qp_fail(err, QP_E_ARG, "%s: field 'rotate_fused': true or false is needed", where);
  r.rotate_fused = cJSON_IsTrue(fused);
  if (r.outcome == QP_RECORD_OK && (r.ps <= 0 || !r.samples))
    return qp_fail(err, QP_E_ARG, "%s: field 'ps': %lld with outcome ok: a time above 0 is needed",
                   where, (long long)r.ps);
  *out = r;
  return QP_OK;
}

qp_status qp_record_parse(const char *where, const char *line, size_t bytes, qp_record *out,
                          qp_error *err) {
  cJSON *o = NULL;
  qp_status status = qp_json_parse(where, line, bytes, &o, err);
  if (!status) status = take_record(where, o, out, err);
  cJSON_Delete(o);
  return status;
}

/* ---- Files ---- */

static qp_status read_schema(const char *where, const char *line, size_t n, char gpu[128],
                             qp_error *err) {
  cJSON *o = NULL;
  const char *name = NULL;
  int64_t version;
  qp_status status = qp_json_parse(where, line, n, &o, err);
  if (!status && !cJSON_IsObject(o))
    status = qp_fail(err, QP_E_ARG, "%s: an object is needed", where);
  if (!status) status = qp_json_text(o, where, "schema", &name, err);
  if (!status && strcmp(name, schema) != 0)
    status =
        qp_fail(err, QP_E_ARG, "%s: field 'schema': '%.60s' should be '%s'", where, name, schema);
  if (!status) status = qp_json_integer(o, where, "version", VERSION, VERSION, &version, err);
  if (!status) status = read_text(o, where, "gpu", FULL, gpu, 128, err);
  cJSON_Delete(o);
  return status;
}

typedef struct reader {
  const char *file;
  unsigned policy;
  qp_records got;
  qp_error *err;
} reader;

static qp_status take_line(reader *r, size_t number, const char *line, size_t n) {
  char where[600];
  qp_record record;
  snprintf(where, sizeof where, "%s:%zu", r->file, number);
  if (number == 1) return read_schema(where, line, n, r->got.gpu, r->err);
  qp_status status = qp_record_parse(where, line, n, &record, r->err);
  if (status) return status;
  if (strcmp(record.gpu, r->got.gpu) != 0)
    return qp_fail(r->err, QP_E_ARG, "%s: field 'gpu': '%s' in a file of '%s'", where, record.gpu,
                   r->got.gpu);
  if (qp_record_is_replay(&record) && !(r->policy & QP_RECORDS_REPLAY))
    return qp_fail(r->err, QP_E_ARG,
                   "%s: field 'timer': a record of the replay device is no measurement", where);
  return qp_records_add(&r->got, &record, r->err);
}

qp_status qp_records_parse(const char *file, const char *text, size_t bytes, unsigned policy,
                           qp_records *out, qp_error *err) {
  reader r = {.file = file, .policy = policy, .err = err};
  qp_status status = QP_OK;
  size_t number = 0;
  for (size_t at = 0; at < bytes && !status;) {
    const char *feed = memchr(text + at, '\n', bytes - at);
    size_t n = feed ? (size_t)(feed - (text + at)) : bytes - at;
    if (!feed && (policy & QP_RECORDS_TORN)) break;
    if (n || feed) status = take_line(&r, ++number, text + at, n);
    at += n + 1;
  }
  if (!status && !number && !(policy & QP_RECORDS_TORN))
    status = qp_fail(err, QP_E_ARG, "%s: empty; its first line should be a schema line", file);
  if (!status && !out->gpu[0]) memcpy(out->gpu, r.got.gpu, sizeof out->gpu);
  if (!status && r.got.gpu[0]) status = qp_records_merge(out, &r.got, err);
  qp_records_free(&r.got);
  return status;
}

qp_status qp_records_read(const char *file, unsigned policy, qp_records *out, qp_error *err) {
  char *text = NULL;
  size_t bytes = 0;
  qp_status status = qp_file_read(file, MOST_BYTES, &text, &bytes, err);
  if (!status) status = qp_records_parse(file, text, bytes, policy, out, err);
  free(text);
  return status;
}

static int by_line(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

qp_status qp_records_print(const qp_records *r, char **text, size_t *bytes, qp_error *err) {
  qp_text all = {0};
  char **line = calloc(r->count + 1, sizeof *line);
  size_t n = 0;
  for (; line && n < r->count; n++)
    if (!(line[n] = qp_record_print(&r->list[n]))) break;
  bool ok = line && n == r->count;
  cJSON *head = cJSON_CreateObject();
  cJSON_AddStringToObject(head, "schema", schema);
  cJSON_AddNumberToObject(head, "version", VERSION);
  cJSON_AddStringToObject(head, "gpu", r->gpu);
  char *first = cJSON_PrintUnformatted(head);
  cJSON_Delete(head);
  if (first) qp_text_add(&all, "%s\n", first);
  cJSON_free(first);
  if (ok && n) qsort(line, n, sizeof *line, by_line);
  for (size_t i = 0; i < n && ok; i++)
    if (!i || strcmp(line[i], line[i - 1]) != 0) qp_text_add(&all, "%s\n", line[i]);
  for (size_t i = 0; line && i < n; i++) cJSON_free(line[i]);
  free(line);
  *bytes = all.length;
  char *whole = qp_text_take(&all);
  if (!ok || !whole) return free(whole), qp_fail(err, QP_E_NOMEM, "no memory for records");
  *text = whole;
  return QP_OK;
}

static bool is_tuned(const char *folder) {
  const char *slash = strrchr(folder, '/');
  return !strcmp(slash ? slash + 1 : folder, "tuned");
}

/* Is the file's folder called tuned, as it is written or with links followed? */
static bool in_tuned(const char *file) {
  const char *slash = strrchr(file, '/');
  char folder[PATH_MAX] = ".", real[PATH_MAX];
  if (slash && slash > file && (size_t)(slash - file) < sizeof folder)
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - file), file);
  return is_tuned(folder) || (realpath(folder, real) && is_tuned(real));
}

qp_status qp_records_check_place(const char *file, bool replay, qp_error *err) {
  if (!replay || !in_tuned(file)) return QP_OK;
  return qp_fail(err, QP_E_ARG, "%s: records of the replay device never enter tuned/", file);
}

qp_status qp_records_write(const char *file, const qp_records *r, qp_error *err) {
  char *text = NULL;
  size_t bytes = 0;
  bool replay = false;
  for (size_t i = 0; i < r->count; i++) replay |= qp_record_is_replay(&r->list[i]);
  qp_status status = qp_records_check_place(file, replay, err);
  if (!status) status = qp_records_print(r, &text, &bytes, err);
  if (!status) status = qp_file_write(file, text, bytes, err);
  free(text);
  return status;
}

qp_status qp_records_merge(qp_records *to, const qp_records *from, qp_error *err) {
  if (to->gpu[0] && strcmp(to->gpu, from->gpu) != 0)
    return qp_fail(err, QP_E_ARG, "records of '%s' and of '%s' are never one file", to->gpu,
                   from->gpu);
  size_t before = to->count;
  qp_status status = QP_OK;
  for (size_t i = 0; i < from->count && !status; i++)
    status = qp_records_add(to, &from->list[i], err);
  if (status) return to->count = before, status;
  memcpy(to->gpu, from->gpu, sizeof to->gpu);
  return QP_OK;
}

void qp_records_file_name(const char *gpu, char *out, size_t size) {
  size_t n = 0;
  for (const char *c = gpu; *c && n + 1 < size; c++) {
    if (isalnum((unsigned char)*c))
      out[n++] = (char)tolower((unsigned char)*c);
    else if (n && out[n - 1] != '-')
      out[n++] = '-';
  }
  while (n && out[n - 1] == '-') n--;
  if (size) out[n] = 0;
}
