/* SPDX-License-Identifier: MIT */
/* Finds nvdisasm and runs it as a process:  cubin -> [nvdisasm] -> SASS text. */
#include "gen/inspect/disassembler.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "runtime/dynlib.h"

enum { NVDISASM_LIMIT_S = 600 }; /* it takes a second or two, many times that beside other work */

/* ---- where it is ---- */

static bool usable(char *path, size_t size, const char *folder, size_t length, const char *below) {
  const int n = snprintf(path, size, "%.*s%s/nvdisasm", (int)length, folder, below);
  return n > 0 && (size_t)n < size && access(path, X_OK) == 0;
}

static bool on_path(char *path, size_t size) {
  const char *at = getenv("PATH");
  while (at && *at) {
    const size_t n = strcspn(at, ":");
    if (n > 0 && n < size && usable(path, size, at, n, "")) return true;
    at += n + (at[n] == ':');
  }
  return false;
}

static bool in_toolkit(char *path, size_t size) {
  static const char *const variables[] = {"CUDA_HOME", "CUDA_PATH"};
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
    const char *root = getenv(variables[i]);
    if (root && *root && usable(path, size, root, strlen(root), "/bin")) return true;
  }
  glob_t found = {0};
  bool done = false;
  if (!glob("/usr/local/cuda*", 0, NULL, &found))
    for (size_t i = found.gl_pathc; i > 0 && !done; i--) /* the newest version first */
      done = usable(path, size, found.gl_pathv[i - 1], strlen(found.gl_pathv[i - 1]), "/bin");
  globfree(&found);
  return done;
}

typedef struct place {
  char *path;
  size_t size;
} place;

/* Look among the packages of python3, where NVIDIA's wheels are. */
static bool in_package_folder(const char *folder, void *arg) {
  static const char *const wheels[] = {"/nvidia/cu13/bin", "/nvidia/cuda_nvdisasm/bin"};
  const place *to = arg;
  for (size_t i = 0; i < sizeof wheels / sizeof *wheels; i++)
    if (usable(to->path, to->size, folder, strlen(folder), wheels[i])) return true;
  return false;
}

/* Where it was the last time, "" for nowhere, and the PATH of that time: to ask a python3 takes as
   long as a small command, and a command that tunes would ask again for every candidate. */
static struct {
  pthread_mutex_t lock;
  char *searched; /* NULL before the first time */
  char found[PATH_MAX];
} packages = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool in_packages(char *path, size_t size) {
  const char *now = getenv("PATH");
  if (!now) now = "";
  pthread_mutex_lock(&packages.lock);
  if (!packages.searched || strcmp(packages.searched, now) != 0) {
    place to = {packages.found, sizeof packages.found};
    if (!qp_dynlib_each_package_folder(in_package_folder, &to)) *packages.found = 0;
    free(packages.searched);
    packages.searched = strdup(now);
  }
  const int n = snprintf(path, size, "%s", packages.found);
  pthread_mutex_unlock(&packages.lock);
  return n > 0 && (size_t)n < size && access(path, X_OK) == 0;
}

static bool find_nvdisasm(char *path, size_t size) {
  const char *given = getenv("QPAL_NVDISASM");
  if (given && *given)
    return (size_t)snprintf(path, size, "%s", given) < size && access(path, X_OK) == 0;
  return on_path(path, size) || in_toolkit(path, size) || in_packages(path, size);
}

/* ---- running it ---- */

/* A file in memory: the child sees it as its descriptor 3, nothing is left on disk. */
static int file_of(const void *data, size_t bytes) {
  const int fd = memfd_create("qpal-cubin", MFD_CLOEXEC);
  if (fd >= 0 && !qp_file_put(fd, data, bytes)) {
    close(fd);
    return -1;
  }
  return fd;
}

static int start(const char *program, int input, int output, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  int error = posix_spawn_file_actions_init(&actions);
  if (error != 0) return error;
  char *const argv[] = {(char[]){"nvdisasm"}, (char[]){"-c"}, (char[]){"/proc/self/fd/3"}, NULL};
  error = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  if (error == 0) {
    error = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, input, 3);
  if (error == 0) error = posix_spawn(pid, program, &actions, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* All that comes through a pipe until it closes, NUL-ended; NULL after the time limit or for
   want of memory. */
static char *drain(int fd) {
  const double limit = now() + NVDISASM_LIMIT_S;
  size_t room = 1 << 16, used = 0;
  char *text = malloc(room);
  while (text) {
    const double left = limit - now();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    const int ready = left > 0 ? poll(&p, 1, (int)(1e3 * left) + 1) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) break;
    const ssize_t n = read(fd, text + used, room - used - 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    used += (size_t)n;
    text[used] = 0;
    if (n == 0) return text;
    if (used + 1 < room) continue;
    char *more = realloc(text, room *= 2);
    if (!more) break;
    text = more;
  }
  free(text);
  return NULL;
}

qp_status qp_disassemble(const void *cubin, size_t bytes, char **text, qp_error *err) {
  char program[PATH_MAX];
  if (!find_nvdisasm(program, sizeof program)) {
    return qp_fail(err, QP_E_MISSING,
                   "nvdisasm is not found, which is needed to count machine code; install the CUDA "
                   "Toolkit's cuda-nvdisasm or NVIDIA's Python wheel: pip install "
                   "nvidia-cuda-nvdisasm (or set QPAL_NVDISASM to its path). Tried: "
                   "$QPAL_NVDISASM alone if set, else PATH, $CUDA_HOME/bin, $CUDA_PATH/bin, "
                   "/usr/local/cuda*/bin, python3's packages");
  }
  int output[2];
  const int input = file_of(cubin, bytes);
  if (input < 0) return qp_fail(err, QP_E_IO, "no file for the cubin: %s", strerror(errno));
  if (pipe2(output, O_CLOEXEC) != 0) {
    close(input);
    return qp_fail(err, QP_E_IO, "no pipe for nvdisasm: %s", strerror(errno));
  }
  pid_t pid = 0;
  const int error = start(program, input, output[1], &pid);
  close(input);
  close(output[1]);
  if (error != 0) {
    close(output[0]);
    return qp_fail(err, QP_E_IO, "%s: cannot be started: %s", program, strerror(error));
  }
  char *got = drain(output[0]);
  close(output[0]);
  if (!got) kill(pid, SIGKILL);
  int status = -1;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!got)
    return qp_fail(err, QP_E_IO, "%s: did not end in %d s, or there is no memory for what it says",
                   program, NVDISASM_LIMIT_S);
  if (status != 0) {
    free(got);
    return qp_fail(err, QP_E_IO, "%s: cannot read this cubin (wait status %d)", program, status);
  }
  *text = got;
  return QP_OK;
}
