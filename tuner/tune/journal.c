/* SPDX-License-Identifier: MIT */
/* What a tuning run has done so far; see journal.h. */
#include "tuner/tune/journal.h"

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
#include "gen/base/text.h"
#include "gen/base/writable.h"
#include "runtime/regular_file.h"

enum { BOOT_BYTES = 64 };

typedef struct begun {
  char kernel[QP_KERNEL_NAME];
  unsigned times;        /* that the machine went down with it */
  char boot[BOOT_BYTES]; /* in which it was begun last; "": it ended */
} begun;

struct qp_journal {
  char file[1024];
  int fd;
  char boot[BOOT_BYTES]; /* of the machine, since it was started last; "" where that is not told */
  qp_records records;
  begun *begun; /* in flight when the run ended */
  size_t beguns;
};

void qp_journal_close(qp_journal *j, bool remove) {
  if (!j) return;
  if (remove) unlink(j->file);
  if (j->fd >= 0) close(j->fd);
  qp_records_free(&j->records);
  free(j->begun);
  free(j);
}

static begun *find_begun(const qp_journal *j, const char *kernel) {
  for (size_t i = 0; i < j->beguns; i++)
    if (!strcmp(j->begun[i].kernel, kernel)) return &j->begun[i];
  return NULL;
}

unsigned qp_journal_lost(const qp_journal *j, const char *kernel) {
  const begun *b = find_begun(j, kernel);
  return b ? b->times : 0;
}

size_t qp_journal_count(const qp_journal *j) { return j->records.count; }

const qp_record *qp_journal_find(const qp_journal *j, const qp_record *like) {
  for (size_t i = j->records.count; i-- > 0;) {
    const qp_record *r = &j->records.list[i];
    if (!strcmp(r->generator, like->generator) && !strcmp(r->kernel, like->kernel) &&
        !strcmp(r->tunables, like->tunables))
      return r;
  }
  return NULL;
}

/* ---- Reading what is there ---- */

/* It was begun and did not end. If the machine did not run through, that was its doing. */
static void settle_begun(begun *b, const char *boot) {
  if (*b->boot && *boot && strcmp(b->boot, boot) != 0) b->times++;
  b->boot[0] = 0;
}

static qp_status take_begin(qp_journal *j, const char *where, const char *kernel, const char *boot,
                            qp_error *err) {
  begun *b = find_begun(j, kernel);
  if (strlen(kernel) >= sizeof b->kernel)
    return qp_fail(err, QP_E_ARG, "%s: field 'begin': too long", where);
  if (!b) {
    begun *more = realloc(j->begun, (j->beguns + 1) * sizeof *more);
    if (!more) return qp_fail(err, QP_E_NOMEM, "%s: no memory", where);
    j->begun = more;
    b = &more[j->beguns++];
    *b = (begun){0};
    snprintf(b->kernel, sizeof b->kernel, "%s", kernel);
  }
  settle_begun(b, boot);
  snprintf(b->boot, sizeof b->boot, "%s", boot);
  return QP_OK;
}

static qp_status take_line(qp_journal *j, const char *where, const char *line, size_t n,
                           qp_error *err) {
  cJSON *o = NULL;
  qp_record r;
  qp_status status = qp_json_parse(where, line, n, &o, err);
  const cJSON *begin = status ? NULL : cJSON_GetObjectItemCaseSensitive(o, "begin");
  if (begin && cJSON_IsString(begin)) {
    const char *boot = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "boot"));
    status = take_begin(j, where, begin->valuestring, boot ? boot : "", err);
  } else if (!status) {
    status = qp_record_parse(where, line, n, &r, err);
    begun *b = status ? NULL : find_begun(j, r.kernel);
    if (b) b->times = 0, b->boot[0] = 0;
    if (!status) status = qp_records_add(&j->records, &r, err);
  }
  cJSON_Delete(o);
  return status;
}

static qp_status check_stamp(const char *where, const char *line, size_t n,
                             const qp_journal_stamp *stamp, qp_error *err) {
  const struct {
    const char *name, *value;
  } want[] = {{"journal", "qpal-tune"},
              {"gpu", stamp->gpu},
              {"driver", stamp->driver},
              {"timer", stamp->timer}};
  cJSON *o = NULL;
  const char *got = NULL;
  qp_status status = qp_json_parse(where, line, n, &o, err);
  for (size_t i = 0; i < sizeof want / sizeof *want && !status; i++) {
    status = qp_json_text(o, where, want[i].name, &got, err);
    if (!status && strcmp(got, want[i].value) != 0)
      status =
          qp_fail(err, QP_E_ARG,
                  "%s: field '%s': '%.100s' is not this run's '%s'; remove the journal or give "
                  "another -o",
                  where, want[i].name, got, want[i].value);
  }
  cJSON_Delete(o);
  return status;
}

/* '*whole' becomes the bytes up to the last line feed. */
static qp_status take_text(qp_journal *j, const char *text, size_t bytes,
                           const qp_journal_stamp *stamp, size_t *whole, qp_error *err) {
  qp_status status = QP_OK;
  size_t number = 0, at = 0;
  while (at < bytes && !status) {
    char where[1100];
    const char *feed = memchr(text + at, '\n', bytes - at);
    if (!feed) break; /* torn */
    size_t n = (size_t)(feed - (text + at));
    snprintf(where, sizeof where, "%s:%zu", j->file, ++number);
    status = number == 1 ? check_stamp(where, text + at, n, stamp, err)
                         : take_line(j, where, text + at, n, err);
    at += n + 1;
  }
  *whole = at;
  return status;
}

static qp_status put(qp_journal *j, const char *text, size_t bytes, qp_error *err) {
  while (bytes) {
    ssize_t n = write(j->fd, text, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return qp_fail(err, QP_E_IO, "%s: cannot be written: %s", j->file, strerror(errno));
    text += n;
    bytes -= (size_t)n;
  }
  return QP_OK;
}

static qp_status put_line(qp_journal *j, cJSON *o, qp_error *err) {
  char *text = cJSON_PrintUnformatted(o);
  qp_text line = {0};
  if (text) qp_text_add(&line, "%s\n", text);
  cJSON_free(text);
  cJSON_Delete(o);
  if (!line.s || line.failed) return qp_fail(err, QP_E_NOMEM, "%s: no memory", j->file);
  qp_status status =
      put(j, line.s, line.length, err); /* one write: a kill tears the last line only */
  qp_text_free(&line);
  return status;
}

static qp_status begin_file(qp_journal *j, const qp_journal_stamp *stamp, qp_error *err) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "journal", "qpal-tune");
  cJSON_AddNumberToObject(o, "version", 1);
  cJSON_AddStringToObject(o, "gpu", stamp->gpu);
  cJSON_AddStringToObject(o, "driver", stamp->driver);
  cJSON_AddStringToObject(o, "timer", stamp->timer);
  return put_line(j, o, err);
}

static qp_status read_all(qp_journal *j, qp_text *text, qp_error *err) {
  char chunk[1 << 14];
  ssize_t n;
  while ((n = read(j->fd, chunk, sizeof chunk)) > 0) qp_text_append(text, chunk, (size_t)n);
  if (n < 0) return qp_fail(err, QP_E_IO, "%s: cannot be read: %s", j->file, strerror(errno));
  return text->failed ? qp_fail(err, QP_E_NOMEM, "%s: no memory", j->file) : QP_OK;
}

/* Which run of the machine this is, as Linux names it. */
static void read_boot(char boot[BOOT_BYTES]) {
  FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
  if (!f || !fgets(boot, BOOT_BYTES, f)) boot[0] = 0;
  if (f) fclose(f);
  boot[strcspn(boot, "\n")] = 0;
}

qp_status qp_journal_open(const char *file, const qp_journal_stamp *stamp, qp_journal **out,
                          qp_error *err) {
  qp_journal *j = calloc(1, sizeof *j);
  qp_text text = {0};
  size_t whole = 0;
  if (!j) return qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  snprintf(j->file, sizeof j->file, "%s", file);
  read_boot(j->boot);
  qp_file_make_folders(j->file);
  j->fd = -1;
  qp_status status = access(j->file, F_OK) ? qp_writable_check(j->file, err) : QP_OK;
  if (!status) status = qp_regular_file_open(j->file, O_RDWR | O_CREAT, &j->fd, err);
  if (!status && flock(j->fd, LOCK_EX | LOCK_NB))
    status = qp_fail(err, QP_E_IO, "%s: another run holds it; give each run its own -o", file);
  if (!status) status = read_all(j, &text, err);
  if (!status) status = take_text(j, text.s ? text.s : "", text.length, stamp, &whole, err);
  for (size_t i = 0; i < j->beguns && !status; i++) settle_begun(&j->begun[i], j->boot);
  if (!status && (ftruncate(j->fd, (off_t)whole) || lseek(j->fd, 0, SEEK_END) < 0))
    status = qp_fail(err, QP_E_IO, "%s: cannot be written: %s", file, strerror(errno));
  const bool begins = !status && !whole;
  if (begins) status = begin_file(j, stamp, err);
  qp_text_free(&text);
  if (status) return qp_journal_close(j, begins), status;
  *out = j;
  return QP_OK;
}

qp_status qp_journal_begin(qp_journal *j, const char *kernel, qp_error *err) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "begin", kernel);
  cJSON_AddStringToObject(o, "boot", j->boot);
  qp_status status = put_line(j, o, err);
  if (!status && fdatasync(j->fd) && errno != EINVAL)
    status = qp_fail(err, QP_E_IO, "%s: cannot be written: %s", j->file, strerror(errno));
  return status;
}

qp_status qp_journal_end(qp_journal *j, const qp_record *r, qp_error *err) {
  qp_text line = {0};
  char *text = qp_record_print(r);
  if (text) qp_text_add(&line, "%s\n", text);
  free(text);
  if (!line.s || line.failed) return qp_fail(err, QP_E_NOMEM, "%s: no memory", j->file);
  qp_status status = put(j, line.s, line.length, err);
  qp_text_free(&line);
  return status;
}
