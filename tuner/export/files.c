/* SPDX-License-Identifier: MIT */
/* Writes a kernel library as a directory, as C source, as a shared library. */
#include "tuner/export/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/text.h"
#include "runtime/include/qpal.h"
#include "runtime/library_state.h"
#include "tuner/export/manifest.h"

enum { PATH_BYTES = 4096 };

static qp_status write_in(const char *folder, const char *name, const char *ending,
                          const void *data, size_t bytes, qp_error *err) {
  char path[PATH_BYTES];
  const int n = snprintf(path, sizeof path, "%s/%s%s", folder, name, ending);
  if (n < 0 || (size_t)n >= sizeof path)
    return qp_fail(err, QP_E_ARG, "'%.100s...' is too long", folder);
  return qp_file_write(path, data, bytes, err);
}

/* Write a kernel's image as a file of its own; PTX without the NUL at its end. */
static qp_status write_image(const char *folder, const qpal_library *l, const qp_lib_kernel *k,
                             uint32_t image, qp_error *err) {
  if (image == QP_LIB_NONE) return QP_OK;
  const qp_lib_image *m = QP_LIB_GET(l, IMAGES, qp_lib_image, image);
  char name[QP_EXPORT_FILE_NAME];
  qp_export_file_name(qp_lib_string(l, k->name), name);
  return write_in(folder, name, m->kind ? ".ptx" : ".cubin", l->data + m->offset,
                  (size_t)m->bytes - m->kind, err);
}

static qp_status write_kernels(const char *folder, const qpal_library *l, qp_error *err) {
  char kernels[PATH_BYTES];
  const int n = snprintf(kernels, sizeof kernels, "%s/kernels", folder);
  if (n < 0 || (size_t)n >= sizeof kernels)
    return qp_fail(err, QP_E_ARG, "'%.100s...' is too long", folder);
  qp_status status = QP_OK;
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_KERNELS) && !status; i++) {
    const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, i);
    status = write_image(kernels, l, k, k->cubin, err);
    if (!status) status = write_image(kernels, l, k, k->ptx, err);
  }
  return status;
}

static qp_status write_files(const char *folder, const qpal_library *l, const void *data,
                             size_t bytes, qp_error *err) {
  char *manifest = qp_export_manifest(l);
  qp_status status = manifest ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for manifest.json");
  if (!status) status = write_kernels(folder, l, err);
  if (!status) status = write_in(folder, "library", ".qpal", data, bytes, err);
  if (!status) status = write_in(folder, "manifest", ".json", manifest, strlen(manifest), err);
  free(manifest);
  return status;
}

static int remove_entry(const char *path, const struct stat *at, int kind, struct FTW *where) {
  (void)at, (void)kind, (void)where;
  return remove(path);
}

/* A folder of files that write_files wrote, which an earlier run may have left when it was
   killed. */
static void remove_part(const char *part) { nftw(part, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

static qp_status move(const char *part, const char *folder, const char *name, qp_error *err) {
  char from[PATH_BYTES], to[PATH_BYTES];
  const int n = snprintf(from, sizeof from, "%s/%s", part, name);
  const int m = snprintf(to, sizeof to, "%s/%s", folder, name);
  if (n < 0 || (size_t)n >= sizeof from || m < 0 || (size_t)m >= sizeof to)
    return qp_fail(err, QP_E_ARG, "'%.100s...' is too long", folder);
  qp_file_make_folders(to);
  return rename(from, to) ? qp_fail(err, QP_E_IO, "%s: %s", to, strerror(errno)) : QP_OK;
}

static qp_status move_kernels(const char *part, const char *folder, qp_error *err) {
  char kernels[PATH_BYTES + sizeof "/kernels"];
  qp_status status = QP_OK;
  snprintf(kernels, sizeof kernels, "%s/kernels", part);
  DIR *d = opendir(kernels);
  for (const struct dirent *e; d && !status && (e = readdir(d));) {
    char name[sizeof e->d_name + 16];
    snprintf(name, sizeof name, "kernels/%s", e->d_name);
    if (*e->d_name != '.') status = move(part, folder, name, err);
  }
  if (d) closedir(d);
  return status;
}

/* What would keep one of the last two from its place is found before anything is moved. */
static qp_status check_places(const char *folder, qp_error *err) {
  static const char *const names[] = {"library.qpal", "manifest.json"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[PATH_BYTES];
    struct stat at;
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    if (!lstat(path, &at) && S_ISDIR(at.st_mode))
      return qp_fail(err, QP_E_IO, "%s: cannot be written: it is a folder", path);
  }
  return QP_OK;
}

/* Kernels first, the library and its manifest at once after them: what belongs together. */
static qp_status move_files(const char *part, const char *folder, qp_error *err) {
  qp_status status = move_kernels(part, folder, err);
  if (!status) status = move(part, folder, "library.qpal", err);
  return status ? status : move(part, folder, "manifest.json", err);
}

/* ---- What another library had there ---- */

static void remove_image(const char *part, const char *folder, const char *name,
                         const char *ending) {
  char now[PATH_BYTES + 64], before[PATH_BYTES + 64];
  const int n = snprintf(now, sizeof now, "%s/kernels/%s%s", part, name, ending);
  const int m = snprintf(before, sizeof before, "%s/kernels/%s%s", folder, name, ending);
  if (n < 0 || (size_t)n >= sizeof now || m < 0 || (size_t)m >= sizeof before) return;
  if (access(now, F_OK) != 0) unlink(before);
}

/* Kernels of the library that stands in the folder and that 'part' has not: they would seem to be
   of the new one.  Whatever else lies there stays. */
static void remove_former(const char *part, const char *folder) {
  qpal_library *former = NULL;
  if (qpal_library_open(folder, &former)) return;
  for (uint32_t i = 0; i < qp_lib_count(former, QP_LIB_KERNELS); i++) {
    char name[QP_EXPORT_FILE_NAME];
    qp_export_file_name(qp_lib_string(former, QP_LIB_GET(former, KERNELS, qp_lib_kernel, i)->name),
                        name);
    remove_image(part, folder, name, ".cubin");
    remove_image(part, folder, name, ".ptx");
  }
  qpal_library_close(former);
}

qp_status qp_export_write_folder(const char *folder, const void *data, size_t bytes,
                                 qp_error *err) {
  qpal_library *l = NULL;
  char part[PATH_BYTES];
  const int n = snprintf(part, sizeof part, "%s/.qpal-export", folder);
  if (n < 0 || (size_t)n >= sizeof part)
    return qp_fail(err, QP_E_ARG, "'%.100s...' is too long", folder);
  if (qpal_library_from_memory(data, bytes, &l))
    return qp_fail(err, QP_E_ARG, "%s", qpal_message());
  const bool made = access(folder, F_OK) != 0;
  remove_part(part);
  qp_status status = write_files(part, l, data, bytes, err);
  if (!status) status = check_places(folder, err);
  if (!status) remove_former(part, folder);
  if (!status) status = move_files(part, folder, err);
  remove_part(part);
  if (status && made) rmdir(folder); /* if it is empty */
  qpal_library_close(l);
  return status;
}

qp_status qp_export_write_source(const char *file, const void *data, size_t bytes, qp_error *err) {
  enum { A_LINE = 5 };
  qp_text t = {0};
  qp_text_add(&t,
              "/* A qpal kernel library, made by qpal %s.  Open it by\n"
              "**   qpal_library_from_memory(qpal_library_data, qpal_library_bytes, &library);\n"
              "*/\n#include <stddef.h>\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
              "extern const unsigned long long qpal_library_data[];\n"
              "extern const size_t qpal_library_bytes;\n#ifdef __cplusplus\n}\n#endif\n"
              "const size_t qpal_library_bytes = %zu;\n"
              "const unsigned long long qpal_library_data[] = {\n",
              qpal_version(), bytes);
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t v = 0;
    memcpy(&v, (const char *)data + i, bytes - i < 8 ? bytes - i : 8);
    qp_text_add(&t, "0x%llx,%s", (unsigned long long)v, i / 8 % A_LINE == A_LINE - 1 ? "\n" : "");
  }
  qp_text_add(&t, "};\n");
  const qp_status status = t.failed ? qp_fail(err, QP_E_NOMEM, "no memory for the C source")
                                    : qp_file_write(file, t.s, t.length, err);
  qp_text_free(&t);
  return status;
}

/* $CC -shared; 'source' and 'to' are paths. */
static qp_status run_compiler(const char *source, const char *to, qp_error *err) {
  enum { NOT_THERE = 127 }; /* what a shell says of what it was to start */
  const char *cc = getenv("CC");
  if (!cc || !*cc) cc = "cc";
  const char *const argv[] = {
      cc,   "-shared", "-fPIC", "-O0", "-s", "-nostdlib", "-Wl,--build-id=none",
      "-o", to,        source,  NULL};
  pid_t pid;
  const int error = posix_spawnp(&pid, cc, NULL, NULL, (char *const *)(uintptr_t)argv, environ);
  int status = 0;
  while (!error && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (error == EAGAIN || error == ENOMEM)
    return qp_fail(err, QP_E_LIMIT, "no process for %s: %s", cc, strerror(error));
  if (error || (WIFEXITED(status) && WEXITSTATUS(status) == NOT_THERE))
    return qp_fail(err, QP_E_MISSING,
                   "no C compiler '%s' for --shared; set CC, or use --c-source and compile that",
                   cc);
  if (!WIFEXITED(status) || WEXITSTATUS(status))
    return qp_fail(err, QP_E_COMPILE, "%s could not make %s", cc, to);
  return QP_OK;
}

/* A name between the quotes of an assembler's string that stands in a string of C. */
static void add_quoted(qp_text *t, const char *name) {
  for (const char *c = name; *c; c++) {
    const bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                       (*c >= '0' && *c <= '9') || strchr("/._-", *c);
    qp_text_add(t, plain ? "%c" : "\\\\%03o", plain ? *c : (unsigned char)*c);
  }
}

/* What becomes the shared library: the assembler takes the bytes from the file 'data' as they are,
   since as an array of C they keep a compiler busy for seconds. */
static qp_status write_inclusion(const char *file, const char *data, size_t bytes, qp_error *err) {
  qp_text t = {0};
  qp_text_add(&t,
              "#include <stddef.h>\n"
              "extern const size_t qpal_library_bytes;\n"
              "const size_t qpal_library_bytes = %zu;\n"
              "__asm__(\".section .rodata\\n\"\n"
              "        \".globl qpal_library_data\\n\"\n"
              "        \".type qpal_library_data, %%object\\n\"\n"
              "        \".balign 32\\n\"\n"
              "        \"qpal_library_data:\\n\"\n"
              "        \".incbin \\\"",
              bytes);
  add_quoted(&t, data);
  qp_text_add(&t, "\\\"\\n\"\n"
                  "        \".balign 8\\n\"\n"
                  "        \".size qpal_library_data, . - qpal_library_data\\n\"\n"
                  "        \".text\\n\");\n");
  const qp_status status = t.failed ? qp_fail(err, QP_E_NOMEM, "no memory for the C source")
                                    : qp_file_write(file, t.s, t.length, err);
  qp_text_free(&t);
  return status;
}

/* To the disk, before others see it by its name. */
static bool sync_file(const char *path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  const bool synced = file >= 0 && qp_file_sync(file);
  if (file >= 0) close(file);
  return synced;
}

qp_status qp_export_write_shared(const char *file, const void *data, size_t bytes, qp_error *err) {
  char source[PATH_BYTES], inside[PATH_BYTES], made[PATH_BYTES];
  const long pid = (long)getpid();
  const int n = snprintf(inside, sizeof inside, "%s.%ld.qpal", file, pid);
  if (n < 0 || (size_t)n >= sizeof inside)
    return qp_fail(err, QP_E_ARG, "'%.100s...' is too long", file);
  snprintf(source, sizeof source, "%s.%ld.c", file, pid);
  snprintf(made, sizeof made, "%s.%ld.so", file, pid);
  qp_status status = qp_file_write(inside, data, bytes, err);
  if (!status) status = write_inclusion(source, inside, bytes, err);
  if (!status) status = run_compiler(source, made, err);
  if (!status && (!sync_file(made) || rename(made, file)))
    status = qp_fail(err, QP_E_IO, "%s: %s", file, strerror(errno));
  unlink(inside);
  unlink(source);
  unlink(made);
  return status;
}
