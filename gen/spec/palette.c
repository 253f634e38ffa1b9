/* SPDX-License-Identifier: MIT */
/* Loads the palette:  files of lua/quantizers and of users --spec--> [quantizers]. */
#include "gen/spec/quantizer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/base/resource.h"
#include "gen/base/suggest.h"
#include "gen/spec/definition.h"
#include "gen/spec/pinned.h"
#include "gen/spec/spec.h"
#include "runtime/list.h"

enum { MAX_FILE_BYTES = 4 << 20 };

#define PALETTE_FOLDER "lua/quantizers/"

/* Quantizers of one file, or of all files of the palette. */
typedef struct spec_list {
  qp_spec **spec;
  size_t count;
} spec_list;

typedef struct palette_file {
  char *path;
  bool loaded; /* Its quantizers are right, and sorted. */
  spec_list specs;
} palette_file;

typedef struct user_file {
  struct user_file *next;
  spec_list specs;
  char path[]; /* as it was asked for */
} user_file;

/*
** The files of lua/quantizers are loaded where they are asked for, where they are those that the
** binary carries: that these are right together, its tests have shown.  Others are loaded at once,
** since what is wrong in any of them is said whatever is asked for.
*/
struct qp_palette {
  palette_file *file; /* sorted by path */
  size_t files, capacity;
  bool whole;    /* All are loaded, and are right together. */
  spec_list all; /* Then: those of all files, which own them. */
  user_file *user;
};

/* ---- Lists ---- */

static void free_list(spec_list *list) {
  for (size_t i = 0; i < list->count; i++) qp_spec_free(list->spec[i]);
  free(list->spec);
  *list = (spec_list){0};
}

static qp_spec *find_in(const spec_list *list, const char *name) {
  for (size_t i = 0; i < list->count; i++) {
    if (!strcmp(list->spec[i]->quantizer.name, name)) return list->spec[i];
  }
  return NULL;
}

static qp_status check_unique(const spec_list *list, qp_error *err) {
  for (size_t i = 0; i < list->count; i++) {
    const qp_spec *first = find_in(list, list->spec[i]->quantizer.name);
    if (first == list->spec[i]) continue;
    const qp_spec *s = list->spec[i];
    return qp_fail(err, QP_E_ARG, "%s:%d: field 'name': '%s' is taken by %s:%d; choose another",
                   s->quantizer.file, s->line, s->quantizer.name, first->quantizer.file,
                   first->line);
  }
  return QP_OK;
}

static qp_status find_spec(qp_palette *p, const char *name, qp_spec **out, qp_error *err);

/* ---- Splits ---- */

static const char *nearest_name(const char *name, const spec_list *own, const spec_list *palette) {
  const char *names[1024];
  size_t n = 0;
  for (size_t i = 0; i < own->count && n < 1024; i++) names[n++] = own->spec[i]->quantizer.name;
  for (size_t i = 0; palette && i < palette->count && n < 1024; i++) {
    names[n++] = palette->spec[i]->quantizer.name;
  }
  return qp_suggest(name, names, n);
}

static qp_status fail_unknown(const qp_spec *s, unsigned i, const char *near, qp_error *err) {
  return qp_fail(err, QP_E_ARG,
                 "%s:%d: %s: field 'parts': there is no quantizer '%s'%s%s%s; parts are "
                 "quantizers of the same file or of the palette",
                 s->quantizer.file, s->part_line[i], s->quantizer.name, s->part_name[i],
                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Find the parts of a split in its own file's list, then in the palette, if that is given. */
static qp_status resolve(qp_spec *s, const spec_list *own, qp_palette *palette, qp_error *err) {
  qp_quantizer *q = &s->quantizer;
  for (unsigned i = 0; i < q->parts; i++) {
    const char *name = s->part_name[i];
    qp_spec *part = find_in(own, name);
    const qp_status status = part || !palette ? QP_OK : find_spec(palette, name, &part, err);
    if (status) return status;
    if (!part)
      return fail_unknown(s, i, nearest_name(name, own, palette ? &palette->all : NULL), err);
    if (part->fault) {
      return qp_fail(err, QP_E_ARG, "%s:%d: %s: field 'parts': '%s' is refused: %s", q->file,
                     s->part_line[i], q->name, name, part->fault);
    }
    if (part->quantizer.kind == QP_SPLIT) {
      return qp_fail(err, QP_E_ARG,
                     "%s:%d: %s: field 'parts': '%s' is a split itself; name its parts instead",
                     q->file, s->part_line[i], q->name, name);
    }
    const unsigned side = qp_quantizer_side(&part->quantizer);
    if (side && side != qp_quantizer_side(q)) {
      return qp_fail(
          err, QP_E_ARG,
          "%s:%d: %s: field 'parts': '%s' has a rotation, order or scale of its own; all "
          "parts take x as the split says: give it the same fields, or its part none",
          q->file, s->part_line[i], q->name, name);
    }
    q->part[i].quantizer = &part->quantizer;
  }
  qp_spec_finish_split(q);
  return qp_quantizer_hash(q) ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
}

/* A split whose parts are wrong is refused alone, as other quantizers are. */
static qp_status resolve_all(const spec_list *list, qp_palette *palette, qp_error *err) {
  qp_status status = check_unique(list, err);
  for (size_t i = 0; i < list->count && !status; i++) {
    qp_spec *s = list->spec[i];
    qp_error why = {.text = ""};
    if (s->quantizer.kind != QP_SPLIT || s->fault) continue;
    status = resolve(s, list, palette, &why);
    if (status == QP_E_ARG && (s->fault = strdup(why.text)) != NULL) status = QP_OK;
    if (status) return qp_fail(err, status, "%s", why.text);
  }
  return status;
}

static const qp_spec *first_refused(const spec_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    if (list->spec[i]->fault) return list->spec[i];
  }
  return NULL;
}

/* ---- The palette ---- */

/* Count the bytes of a name before its rate: "half-tcq" of "half-tcq-1.75". */
static size_t family_length(const char *name) {
  const char *dash = strrchr(name, '-');
  return dash && dash[1] >= '0' && dash[1] <= '9' ? (size_t)(dash - name) : strlen(name);
}

static bool same_family(const qp_quantizer *a, const qp_quantizer *b) {
  const size_t n = family_length(a->name);
  return n == family_length(b->name) && !strncmp(a->name, b->name, n) && !strcmp(a->file, b->file);
}

/* Keep files in order; in each, families go in the order of their first members, with rising
   rates. */
static void sort_list(spec_list *list) {
  for (size_t i = 1; i < list->count; i++) {
    qp_spec *s = list->spec[i];
    size_t to = i;
    for (size_t k = i; k-- > 0;) {
      if (!same_family(&list->spec[k]->quantizer, &s->quantizer)) continue;
      to = k + 1;
      break;
    }
    while (to > 0 && to <= i && same_family(&list->spec[to - 1]->quantizer, &s->quantizer) &&
           list->spec[to - 1]->quantizer.rate > s->quantizer.rate) {
      to--;
    }
    memmove(list->spec + to + 1, list->spec + to, (i - to) * sizeof(qp_spec *));
    list->spec[to] = s;
  }
}

static qp_status read_file(palette_file *f, qp_error *err) {
  const char *text;
  size_t bytes;
  const qp_status status = qp_resource_read(f->path, &text, &bytes, err);
  return status ? status : qp_spec_load(f->path, text, bytes, &f->specs.spec, &f->specs.count, err);
}

/* What must be so of quantizers that are offered together. */
static qp_status settle(const spec_list *list, qp_error *err) {
  const qp_status status = resolve_all(list, NULL, err);
  const qp_spec *refused = status ? NULL : first_refused(list);
  return refused ? qp_fail(err, QP_E_ARG, "%s", refused->fault) : status;
}

/* Fill p->all with the quantizers of all files. */
static qp_status gather(qp_palette *p, qp_error *err) {
  size_t count = 0;
  for (size_t i = 0; i < p->files; i++) count += p->file[i].specs.count;
  qp_spec **all = realloc(p->all.spec, (count + 1) * sizeof *all);
  if (!all) return qp_fail(err, QP_E_NOMEM, "out of memory");
  p->all = (spec_list){.spec = all};
  for (size_t i = 0; i < p->files; i++) {
    const spec_list *of = &p->file[i].specs;
    for (size_t k = 0; k < of->count; k++) all[p->all.count++] = of->spec[k];
  }
  return QP_OK;
}

/* Keep what was read of a file, or drop it. */
static void end_reading(palette_file *f, qp_status status) {
  if (f->loaded) return;
  if (status) {
    free_list(&f->specs);
  } else {
    sort_list(&f->specs);
  }
  f->loaded = !status;
}

qp_status qp_palette_load(qp_palette *p, qp_error *err) {
  qp_status status = QP_OK;
  if (p->whole) return QP_OK;
  for (size_t i = 0; i < p->files && !status; i++)
    if (!p->file[i].loaded) status = read_file(&p->file[i], err);
  if (!status) status = gather(p, err);
  if (!status) status = settle(&p->all, err);
  for (size_t i = 0; i < p->files; i++) end_reading(&p->file[i], status);
  if (!status) status = gather(p, err); /* now in order */
  p->whole = !status;
  return status;
}

/* The file that is said to have the quantizer, if it is right by itself; else NULL. */
static palette_file *open_pinned(qp_palette *p, const char *name) {
  char path[128];
  qp_error why;
  if (!qp_pinned_file(name, path, sizeof path)) return NULL;
  for (size_t i = 0; i < p->files; i++) {
    palette_file *f = &p->file[i];
    if (strcmp(f->path, path) != 0 || f->loaded) continue;
    qp_status status = read_file(f, &why);
    if (!status) status = settle(&f->specs, &why);
    end_reading(f, status);
    return status ? NULL : f;
  }
  return NULL;
}

/* The quantizer of this name, or NULL, which is known only when all are loaded.  An error may be
   that of another file. */
static qp_status find_spec(qp_palette *p, const char *name, qp_spec **out, qp_error *err) {
  *out = NULL;
  for (size_t i = 0; i < p->files && !*out; i++) *out = find_in(&p->file[i].specs, name);
  if (*out || p->whole) return QP_OK;
  const palette_file *f = open_pinned(p, name);
  if (f && (*out = find_in(&f->specs, name))) return QP_OK;
  const qp_status status = qp_palette_load(p, err);
  if (!status) *out = find_in(&p->all, name);
  return status;
}

/* Is it a quantizer of the family:  "tcq-3" of "tcq"? */
static bool is_of_family(const char *name, const char *family) {
  const size_t n = strlen(family);
  return !strncmp(name, family, n) && name[n] == '-';
}

/* Load the files that lines say a family is in; all files where no line has it. */
static qp_status load_family(qp_palette *p, const char *family, qp_error *err) {
  const char *line;
  size_t bytes;
  bool any = false;
  qp_status status = QP_OK;
  if (p->whole || qp_resource_read(QP_PINNED, &line, &bytes, NULL)) return qp_palette_load(p, err);
  for (; *line && !status; line += strcspn(line, "\n"), line += *line == '\n') {
    char name[sizeof((qp_quantizer *)0)->name];
    qp_spec *s;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(line, " \n"), line);
    if (!is_of_family(name, family)) continue;
    any = true;
    status = find_spec(p, name, &s, err);
  }
  return any || status ? status : qp_palette_load(p, err);
}

qp_status qp_palette_each(qp_palette *p, const char *word, qp_palette_visit visit, void *arg,
                          qp_error *err) {
  char path[128];
  qp_spec *s = NULL;
  qp_status status = QP_OK;
  if (p->whole || qp_pinned_file(word, path, sizeof path)) status = find_spec(p, word, &s, err);
  if (!status && !s) status = load_family(p, word, err);
  if (!status && !s && p->whole) s = find_in(&p->all, word);
  if (s) return visit(&s->quantizer, arg, err);
  for (size_t i = 0; i < p->files; i++) {
    const spec_list *of = &p->file[i].specs;
    for (size_t k = 0; k < of->count && !status; k++)
      if (is_of_family(of->spec[k]->quantizer.name, word))
        status = visit(&of->spec[k]->quantizer, arg, err);
  }
  return status;
}

typedef struct listing {
  qp_palette *palette;
  qp_status status;
  qp_error *err;
} listing;

static void add_file(const char *path, void *arg) {
  listing *l = arg;
  qp_palette *p = l->palette;
  const size_t length = strlen(path);
  if (l->status || length < 4 || strcmp(path + length - 4, ".lua") != 0) return;
  palette_file *file = qp_list_room(p->file, p->files, &p->capacity, sizeof *file);
  char *copy = strdup(path);
  if (file) p->file = file;
  if (file && copy) {
    p->file[p->files++] = (palette_file){.path = copy};
  } else {
    free(copy);
    l->status = qp_fail(l->err, QP_E_NOMEM, "out of memory");
  }
}

qp_status qp_palette_open(qp_palette **out, qp_error *err) {
  qp_palette *p = calloc(1, sizeof *p);
  if (!p) return qp_fail(err, QP_E_NOMEM, "out of memory");
  listing l = {.palette = p, .err = err};
  qp_resource_each(PALETTE_FOLDER, add_file, &l);
  if (!l.status && !(qp_resource_is_carried(PALETTE_FOLDER) && qp_resource_is_carried(QP_PRELUDE)))
    l.status = qp_palette_load(p, err);
  if (l.status) {
    qp_palette_close(p);
    return l.status;
  }
  *out = p;
  return QP_OK;
}

void qp_palette_close(qp_palette *p) {
  if (!p) return;
  while (p->user) {
    user_file *f = p->user;
    p->user = f->next;
    free_list(&f->specs);
    free(f);
  }
  for (size_t i = 0; i < p->files; i++) {
    free_list(&p->file[i].specs);
    free(p->file[i].path);
  }
  free(p->file);
  free(p->all.spec);
  free(p);
}

size_t qp_palette_count(const qp_palette *p) {
  assert(p->whole);
  return p->all.count;
}

const qp_quantizer *qp_palette_get(const qp_palette *p, size_t i) {
  assert(p->whole);
  return i < p->all.count ? &p->all.spec[i]->quantizer : NULL;
}

/* ---- Users' files ---- */

static qp_status load_specs(const char *path, spec_list *out, qp_error *err) {
  char *text = NULL;
  size_t bytes = 0;
  qp_status status = qp_file_read(path, MAX_FILE_BYTES, &text, &bytes, err);
  if (!status) status = qp_spec_load(path, text, bytes, &out->spec, &out->count, err);
  free(text);
  return status;
}

static qp_status open_file(qp_palette *p, const char *path, const user_file **out, qp_error *err) {
  for (const user_file *f = p->user; f; f = f->next) {
    if (!strcmp(f->path, path)) return *out = f, QP_OK;
  }
  user_file *f = calloc(1, sizeof *f + strlen(path) + 1);
  if (!f) return qp_fail(err, QP_E_NOMEM, "out of memory");
  memcpy(f->path, path, strlen(path) + 1);
  qp_status status = load_specs(path, &f->specs, err);
  if (!status) status = resolve_all(&f->specs, p, err);
  if (status) {
    free_list(&f->specs);
    free(f);
    return status;
  }
  sort_list(&f->specs);
  f->next = p->user;
  p->user = f;
  *out = f;
  return QP_OK;
}

/* "a, b, c" of a list, cut where it gets long. */
static void list_names(const spec_list *list, char *out, size_t size) {
  size_t used = 0;
  out[0] = 0;
  for (size_t i = 0; i < list->count; i++) {
    const int n =
        snprintf(out + used, size - used, "%s%s", i ? ", " : "", list->spec[i]->quantizer.name);
    if (n < 0 || (size_t)n >= size - used) {
      memcpy(out + size - 4, "...", 4);
      return;
    }
    used += (size_t)n;
  }
}

static qp_status find_in_file(qp_palette *p, const char *path, const char *name,
                              const qp_quantizer **out, qp_error *err) {
  const user_file *f = NULL;
  const qp_status status = open_file(p, path, &f, err);
  if (status) return status;
  const qp_spec *s = name                  ? find_in(&f->specs, name)
                     : f->specs.count == 1 ? f->specs.spec[0]
                                           : NULL;
  if (s && s->fault) return qp_fail(err, QP_E_ARG, "%s", s->fault);
  if (s) return *out = &s->quantizer, QP_OK;
  char names[512];
  list_names(&f->specs, names, sizeof names);
  if (name)
    return qp_fail(err, QP_E_ARG, "%s: has no quantizer '%s'; it has %s", path, name, names);
  const qp_spec *refused = first_refused(&f->specs);
  return qp_fail(err, QP_E_ARG, "%s: returns %zu quantizers; say which as %s:NAME; it has %s%s%s",
                 path, f->specs.count, path, names, refused ? "; one is refused: " : "",
                 refused ? refused->fault : "");
}

qp_status qp_palette_open_file(qp_palette *p, const char *path, qp_error *err) {
  const user_file *f;
  return open_file(p, path, &f, err);
}

qp_status qp_palette_opened(const qp_palette *p, const char *name, const char *hash,
                            const qp_quantizer **out, qp_error *err) {
  const qp_spec *s = NULL;
  for (const user_file *f = p->user; f; f = f->next) {
    const qp_spec *found = find_in(&f->specs, name);
    if (found && (!s || !strcmp(found->quantizer.hash, hash))) s = found;
  }
  *out = s ? &s->quantizer : NULL;
  return s && s->fault ? qp_fail(err, QP_E_ARG, "%s", s->fault) : QP_OK;
}

size_t qp_palette_path_bytes(const char *name) {
  const size_t length = strlen(name);
  if (length >= 4 && !strcmp(name + length - 4, ".lua")) return length;
  const char *end = NULL;
  for (const char *at = name; (at = strstr(at, ".lua:")) != NULL; at++) end = at;
  if (end) return (size_t)(end - name) + 4;
  return strchr(name, '/') ? length : 0;
}

qp_status qp_palette_find(qp_palette *p, const char *name, const qp_quantizer **out,
                          qp_error *err) {
  const size_t path_bytes = qp_palette_path_bytes(name);
  if (path_bytes) {
    char *path = strndup(name, path_bytes);
    if (!path) return qp_fail(err, QP_E_NOMEM, "out of memory");
    const char *inner = name[path_bytes] ? name + path_bytes + 1 : NULL;
    const qp_status status = find_in_file(p, path, inner, out, err);
    free(path);
    return status;
  }
  qp_spec *s = NULL;
  const qp_status status = find_spec(p, name, &s, err);
  if (status) return status;
  if (s) return *out = &s->quantizer, QP_OK;
  const char *near = nearest_name(name, &p->all, NULL);
  return qp_fail(err, QP_E_ARG,
                 "there is no quantizer '%s'%s%s%s; 'qpal list quantizers' lists them, and a "
                 "file's is named by its path (./my.lua)",
                 name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}
