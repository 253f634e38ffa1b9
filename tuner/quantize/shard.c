/* SPDX-License-Identifier: MIT */
/* Writes the files of a packed model. */
#include "tuner/quantize/shard.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "gen/base/writable.h"
#include "gen/model/tensor_writer.h"
#include "runtime/list.h"
#include "tuner/quantize/linear.h"
#include "gen/base/rotate.h"
#include "tuner/quantize/measure.h"
#include "tuner/quantize/residual.h"
#include "tuner/quantize/section.h"
#include "tuner/quantize/side.h"

enum { COPY_BYTES = 8 << 20 };

static qp_status path_in(const qp_job *j, char out[4096], qp_error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static qp_status path_in(const qp_job *j, char out[4096], qp_error *err, const char *format, ...) {
  char name[1024];
  va_list list;
  va_start(list, format);
  const int n = vsnprintf(name, sizeof name, format, list);
  va_end(list);
  if (n < 0 || n >= (int)sizeof name || !qp_job_path(j, name, out))
    return qp_fail(err, QP_E_LIMIT, "%s: the path is too long", j->folder);
  return QP_OK;
}

static qp_status path_of_linear(const qp_job *j, size_t i, char out[4096], qp_error *err) {
  return path_in(j, out, err, ".qpal/%s.safetensors", j->linear[i].name);
}

/* ---- What is there ---- */

/* Is there a whole file of this job? */
static bool is_ours(const qp_job *j, const char *path) {
  qp_safetensors *file = NULL;
  qp_error why = {{0}};
  if (access(path, F_OK) != 0 || qp_safetensors_open(path, &file, &why)) return false;
  const char *key = qp_safetensors_metadata(file, 0, "job");
  const bool ours = key && !strcmp(key, j->key);
  qp_safetensors_close(file);
  return ours;
}

/* Is the file that is locked still the one of that name? */
static bool is_current(int file, const char *path) {
  struct stat held, named;
  return fstat(file, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

/* A run that ends takes the lock's file away: one that was opened before that is opened again. */
static qp_status take_lock(qp_shards *s, qp_error *err) {
  char path[4096];
  qp_status status = path_in(s->j, path, err, ".qpal/lock");
  if (status) return status;
  s->made = access(s->j->folder, F_OK) != 0;
  for (;;) {
    qp_file_make_folders(path);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock < 0) return qp_writable_fail(path, err);
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
      close(s->lock);
      s->lock = -1;
      return qp_fail(err, QP_E_ARG, "%s: another process writes to this folder", s->j->folder);
    }
    if (is_current(s->lock, path)) return QP_OK;
    close(s->lock);
  }
}

static qp_status other_run(const qp_job *j, qp_error *err) {
  return qp_fail(err, QP_E_ARG,
                 "%s: holds a model of another run (other weights, quantizers, seed or options); "
                 "remove it or choose another -o",
                 j->folder);
}

/* Does a folder hold a name that begins so, other than the two given? */
static bool holds(const char *folder, const char *start, const char *other, const char *another) {
  DIR *d = opendir(folder);
  bool found = false;
  for (const struct dirent *e; d && !found && (e = readdir(d));)
    found = *e->d_name != '.' && !strncmp(e->d_name, start, strlen(start)) &&
            strcmp(e->d_name, other) != 0 && strcmp(e->d_name, another) != 0;
  if (d) closedir(d);
  return found;
}

/* Did a run that was killed leave a key and nothing else? */
static bool nothing_kept(const qp_job *j) {
  char parts[4096];
  return !path_in(j, parts, NULL, ".qpal") && !holds(parts, "", "job", "lock") &&
         !holds(j->folder, "model", "", "");
}

static qp_status write_key(const qp_job *j, const char *path, qp_error *err) {
  char text[64];
  snprintf(text, sizeof text, "%s\n", j->key);
  return qp_file_write(path, text, strlen(text), err);
}

/* Check the key, which a run that is not complete left; a complete one left its shards. */
static qp_status check_key(qp_shards *s, bool index, qp_error *err) {
  char path[4096], found[64] = "";
  qp_status status = path_in(s->j, path, err, ".qpal/job");
  if (status) return status;
  FILE *f = fopen(path, "r");
  if (f) {
    if (!fgets(found, sizeof found, f)) found[0] = 0;
    fclose(f);
    found[strcspn(found, "\n")] = 0;
    if (!strcmp(found, s->j->key)) return QP_OK;
    return nothing_kept(s->j) ? write_key(s->j, path, err) : other_run(s->j, err);
  }
  char shard[4096];
  status = path_in(s->j, shard, err, "%s", s->j->shard[0].file);
  if (!status && index && !is_ours(s->j, shard)) return other_run(s->j, err);
  if (status || index) return status;
  char config[4096];
  status = path_in(s->j, config, err, "config.json");
  if (!status && access(config, F_OK) == 0)
    return qp_fail(
        err, QP_E_ARG,
        "%s: holds a config.json that is not of a run of qpal quantize; choose another -o",
        s->j->folder);
  return status ? status : write_key(s->j, path, err);
}

static qp_status look(qp_shards *s, bool index, qp_error *err) {
  const qp_job *j = s->j;
  char path[4096];
  qp_status status = QP_OK;
  s->complete = index;
  for (size_t i = 0; i < j->shards && !status; i++) {
    status = path_in(j, path, err, "%s", j->shard[i].file);
    if (!status) s->written[i] = is_ours(j, path);
    s->complete = s->complete && s->written[i];
    for (size_t k = 0; k < j->shard[i].linears && !status; k++) {
      const size_t l = j->shard[i].linear + k;
      status = path_of_linear(j, l, path, err);
      s->encoded[l] = s->written[i] || (!status && is_ours(j, path));
      if (s->encoded[l]) s->found += (size_t)j->linear[l].rows * j->linear[l].columns;
    }
  }
  return status;
}

qp_status qp_shards_open(const qp_job *j, qp_shards *out, qp_error *err) {
  char path[4096];
  qp_shards s = {.j = j,
                 .lock = -1,
                 .written = calloc(j->shards, sizeof *s.written),
                 .encoded = calloc(j->linears, sizeof *s.encoded)};
  qp_status status = s.written && s.encoded ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory");
  if (!status) status = path_in(j, path, err, "model.safetensors.index.json");
  const bool index = !status && access(path, F_OK) == 0;
  if (!status) status = take_lock(&s, err);
  if (!status) status = check_key(&s, index, err);
  s.ours = !status;
  if (!status) status = look(&s, index, err);
  if (status) return qp_shards_close(&s), status;
  *out = s;
  return QP_OK;
}

static void remove_private(const qp_job *j) {
  static const char *const names[] = {".qpal/job", ".qpal/lock", ".qpal"};
  char path[4096];
  for (unsigned i = 0; i < 3; i++)
    if (!path_in(j, path, NULL, "%s", names[i])) remove(path);
}

/* Was nothing of this job kept, in a shard or in a file of its own? */
static bool is_unused(const qp_shards *s) {
  if (s->complete || !s->encoded || !s->written) return false;
  for (size_t i = 0; i < s->j->linears; i++)
    if (s->encoded[i]) return false;
  for (size_t i = 0; i < s->j->shards; i++)
    if (s->written[i]) return false;
  return true;
}

/* A refused folder has no key of ours, and another's key stays with its lock. */
static bool is_without_key(const qp_job *j) {
  char path[4096];
  return !path_in(j, path, NULL, ".qpal/job") && access(path, F_OK) != 0;
}

void qp_shards_close(qp_shards *s) {
  if (s->lock >= 0 && ((s->ours && is_unused(s)) || is_without_key(s->j))) remove_private(s->j);
  if (s->lock >= 0) close(s->lock);
  if (s->made) rmdir(s->j->folder); /* if it is empty */
  free(s->written);
  free(s->encoded);
  *s = (qp_shards){.lock = -1};
}

/* What the linear is coded as, for the targets of those behind it. */
static qp_status tell(const qp_shards *s, size_t i, qp_error *err) {
  const qp_job_linear *l = &s->j->linear[i];
  char path[4096];
  size_t shard = 0;
  qp_safetensors *file = NULL;
  while (i >= s->j->shard[shard].linear + s->j->shard[shard].linears) shard++;
  qp_status status = s->written[shard] ? path_in(s->j, path, err, "%s", s->j->shard[shard].file)
                                       : path_of_linear(s->j, i, path, err);
  if (!status) status = qp_safetensors_open(path, &file, err);
  float *w = malloc((size_t)l->rows * l->columns * sizeof *w);
  if (!status && !w) status = qp_fail(err, QP_E_NOMEM, "no memory for '%s'", l->name);
  if (!status) status = qp_measure_weights(s->j, l, file, w, err);
  qp_safetensors_close(file);
  if (status) return free(w), status;
  qp_residual_coded(s->j->residual, l->name, w);
  return QP_OK;
}

qp_status qp_shards_encode(qp_shards *s, size_t i, _Atomic size_t *done, const _Atomic bool *cancel,
                           qp_error *err) {
  char path[4096];
  qp_status status = QP_OK;
  if (!s->encoded[i]) status = path_of_linear(s->j, i, path, err);
  if (!status && !s->encoded[i])
    status = qp_linear_write(s->j, &s->j->linear[i], path, done, cancel, err);
  if (!status) s->encoded[i] = true;
  return !status && s->j->residual ? tell(s, i, err) : status;
}

/* ---- Putting a shard together ---- */

/* One tensor of a shard and where its bytes come from. */
typedef struct source {
  const qp_source_tensor *kept; /* or */
  const void *data;             /* The data is in memory, or mapped from 'file'. */
  size_t bytes;
  const qp_safetensors *file;
  const qp_tensor *tensor;
  void *owned;
} source;

typedef struct assembly {
  const qp_job *j;
  const qp_job_shard *shard;
  qp_tensor_writer *w;
  size_t count, capacity;
  source *source;        /* [count]: as declared to 'w' */
  qp_safetensors **file; /* [shard->linears] */
  qp_error *err;
} assembly;

static qp_status add(assembly *a, const char *name, qp_tensor_type type, unsigned dims,
                     const uint64_t *shape, source from) {
  source *larger = qp_list_room(a->source, a->count, &a->capacity, sizeof *larger);
  if (!larger) return free(from.owned), qp_fail(a->err, QP_E_NOMEM, "no memory for a shard");
  a->source = larger;
  a->source[a->count++] = from;
  return qp_tensor_writer_declare(a->w, name, type, dims, shape, NULL, a->err);
}

static bool is_codes(const qp_tensor *t) { return strstr(t->name, ".codes.") != NULL; }

static qp_status add_linears(assembly *a, cJSON *entries) {
  char path[4096];
  qp_status status = QP_OK;
  for (size_t i = 0; i < a->shard->linears && !status; i++) {
    status = path_of_linear(a->j, a->shard->linear + i, path, a->err);
    if (!status) status = qp_safetensors_open(path, &a->file[i], a->err);
    const char *entry = status ? NULL : qp_safetensors_metadata(a->file[i], 0, "linear");
    cJSON *tree = NULL;
    if (!status && !entry)
      status = qp_fail(a->err, QP_E_ARG, "%s: metadata 'linear' is missing", path);
    if (!status) status = qp_json_parse(path, entry, strlen(entry), &tree, a->err);
    if (!status) cJSON_AddItemToArray(entries, tree);
  }
  for (unsigned codes = 1; codes < 2; codes--) /* codes first, for their alignment */
    for (size_t i = 0; i < a->shard->linears && !status; i++)
      for (size_t k = 0; k < qp_safetensors_count(a->file[i]) && !status; k++) {
        const qp_tensor *t = qp_safetensors_get(a->file[i], k);
        if (is_codes(t) == (codes == 1))
          status =
              add(a, t->name, t->type, t->dims, t->shape,
                  (source){.data = t->data, .bytes = t->bytes, .file = a->file[i], .tensor = t});
      }
  return status;
}

/* Add the side of each input, once. */
static qp_status add_signs(assembly *a) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < a->shard->linears && !status; i++) {
    const qp_job_linear *l = &a->j->linear[a->shard->linear + i];
    const uint64_t bytes = qp_side_bytes(l->columns, l->rotation), words = bytes / 4;
    void *side = NULL;
    if (!*l->signs || !qp_job_side_is_new(a->j, a->shard->linear + i)) continue;
    status = qp_side_make(a->j, l, NULL, &side, a->err);
    if (!status)
      status = add(a, l->signs, QP_TENSOR_U32, 1, &words,
                   (source){.data = side, .bytes = bytes, .owned = side});
  }
  return status;
}

/* Add codebooks of definitions, to the first shard. */
static qp_status add_codebooks(assembly *a) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < a->j->quantizers && !status && a->shard == a->j->shard; i++) {
    const qp_quantizer *q = a->j->quantizer[i];
    for (unsigned c = 0; c < q->codebooks && q->kind != QP_SPLIT && !status; c++) {
      const qp_codebook *b = &q->codebook[c];
      const uint64_t shape[] = {b->entries, b->dim};
      char name[128];
      if (b->scope != QP_SCOPE_SPEC) continue;
      snprintf(name, sizeof name, "%s.codebook.%u", q->name, c);
      status = add(a, name, QP_TENSOR_F16, 2, shape,
                   (source){.data = b->data, .bytes = (size_t)2 * b->entries * b->dim});
    }
  }
  return status;
}

/*
** The weights of the first linear of a block once more, of no elements: a reader of checkpoints
** that does not know what is packed would leave linears out without a word, and stops at this one's
** shape.  Not of the embedding, which engines ask for by that name.
*/
static qp_status add_guard(assembly *a) {
  const uint64_t none = 0;
  char name[QP_JOB_NAME + 8];
  size_t i = 0;
  while (i < a->j->linears && !strcmp(a->j->linear[i].group, "embedding")) i++;
  if (a->shard != a->j->shard || i == a->j->linears) return QP_OK;
  snprintf(name, sizeof name, "%s.weight", a->j->linear[i].name);
  return add(a, name, QP_TENSOR_F16, 1, &none, (source){.data = &a->j->key, .bytes = 0});
}

static qp_status add_kept(assembly *a) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < a->shard->kepts && !status; i++) {
    const qp_source_tensor *t = a->j->kept[a->shard->kept + i];
    status = add(a, t->name, t->kept_type, t->dims, t->shape, (source){.kept = t});
  }
  return status;
}

/* A kept tensor goes through a buffer of some rows. */
static qp_status copy_kept(assembly *a, size_t id, const qp_source_tensor *t) {
  const uint64_t row = qp_tensor_bytes(t->kept_type, t->columns);
  if (!row || !t->rows) return QP_OK;
  const uint64_t rows = row < COPY_BYTES ? COPY_BYTES / row : 1;
  unsigned char *buffer = malloc((size_t)((rows < t->rows ? rows : t->rows) * row));
  if (!buffer) return qp_fail(a->err, QP_E_NOMEM, "no memory to copy '%s'", t->name);
  qp_status status = QP_OK;
  for (uint64_t r = 0; r < t->rows && !status; r += rows) {
    const uint64_t n = t->rows - r < rows ? t->rows - r : rows;
    status = qp_checkpoint_keep(a->j->checkpoint, t, r, n, buffer, a->err);
    if (!status)
      status = qp_tensor_writer_write(a->w, id, r * row, buffer, (size_t)(n * row), a->err);
    qp_checkpoint_release(a->j->checkpoint, t);
  }
  free(buffer);
  return status;
}

static qp_status copy_all(assembly *a) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < a->count && !status; i++) {
    const source *s = &a->source[i];
    status = s->kept ? copy_kept(a, i, s->kept)
                     : qp_tensor_writer_write(a->w, i, 0, s->data, s->bytes, a->err);
    if (s->file) qp_safetensors_release(s->file, s->tensor);
  }
  return status;
}

static qp_status describe(assembly *a, cJSON *entries) {
  cJSON *section = NULL;
  qp_status status = qp_section_make(a->j, entries, &section, a->err);
  if (status) return status;
  char *text = cJSON_PrintUnformatted(section), version[16];
  snprintf(version, sizeof version, "%u", qp_job_version(a->j));
  cJSON_Delete(section);
  if (!text) return qp_fail(a->err, QP_E_NOMEM, "no memory for a shard");
  status = qp_tensor_writer_metadata(a->w, "format", "qpal-packed", a->err);
  if (!status) status = qp_tensor_writer_metadata(a->w, "version", version, a->err);
  if (!status) status = qp_tensor_writer_metadata(a->w, "job", a->j->key, a->err);
  if (!status) status = qp_tensor_writer_metadata(a->w, "quantization", text, a->err);
  cJSON_free(text);
  return status;
}

static void remove_parts(const qp_job *j, const qp_job_shard *shard) {
  char path[4096];
  for (size_t i = 0; i < shard->linears; i++)
    if (!path_of_linear(j, shard->linear + i, path, NULL)) unlink(path);
}

qp_status qp_shards_write(qp_shards *s, size_t i, qp_error *err) {
  const qp_job_shard *shard = &s->j->shard[i];
  if (s->written[i]) return remove_parts(s->j, shard), QP_OK;
  char path[4096];
  assembly a = {
      .j = s->j, .shard = shard, .file = calloc(shard->linears + 1, sizeof(a.file[0])), .err = err};
  cJSON *entries = cJSON_CreateArray();
  qp_status status = a.file && entries ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for a shard");
  if (!status) status = path_in(s->j, path, err, "%s", shard->file);
  if (!status) status = qp_tensor_writer_new(path, &a.w, err);
  if (!status) status = add_linears(&a, entries);
  if (!status) status = add_guard(&a);
  if (!status) status = add_signs(&a);
  if (!status) status = add_codebooks(&a);
  if (!status) status = add_kept(&a);
  if (!status)
    status = describe(&a, entries);
  else
    cJSON_Delete(entries);
  if (!status) status = qp_tensor_writer_start(a.w, err);
  if (!status) status = copy_all(&a);
  if (!status) status = qp_tensor_writer_finish(a.w, err);
  qp_tensor_writer_free(a.w);
  for (size_t k = 0; k < a.count; k++) free(a.source[k].owned);
  for (size_t k = 0; a.file && k < shard->linears; k++) qp_safetensors_close(a.file[k]);
  free(a.source);
  free(a.file);
  if (status) return status;
  s->written[i] = true;
  remove_parts(s->j, shard);
  return QP_OK;
}

void qp_shards_discard(qp_shards *s) {
  char path[4096];
  for (size_t i = 0; i < s->j->shards; i++) {
    remove_parts(s->j, &s->j->shard[i]);
    if (s->written[i] && !path_in(s->j, path, NULL, "%s", s->j->shard[i].file)) unlink(path);
    s->written[i] = false;
  }
  for (size_t i = 0; i < s->j->linears; i++) s->encoded[i] = false;
}

void qp_shards_finish(qp_shards *s) {
  for (size_t i = 0; i < s->j->shards; i++) remove_parts(s->j, &s->j->shard[i]);
  remove_private(s->j);
  if (s->lock >= 0) close(s->lock); /* the next file of that name may be another's */
  s->lock = -1;
}
