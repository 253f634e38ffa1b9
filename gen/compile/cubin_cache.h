/* SPDX-License-Identifier: MIT */
/* Compiled kernels on disk, found by the content that they were made from. */
#ifndef QP_CUBIN_CACHE_H
#define QP_CUBIN_CACHE_H

#include "gen/compile/job.h"

/*
** A cache is a directory with one file an entry:  DIR/cubin/HH/<32 hex digits>.  A file is
**   head (magic, format version, key, lengths, resources, checksum) | cubin | PTX | log
** and is written under another name, then renamed, so that any number of processes may share one
** directory.  What is torn, foreign, of another version or unreadable is a miss, never an error;
** where nothing can be written nothing is kept.  A cache may be used by several threads.
*/
typedef struct qp_cubin_cache qp_cubin_cache;

/* XXH3-128 of everything that the result of a compile depends on. */
typedef struct qp_cubin_cache_key {
  uint64_t low, high;
} qp_cubin_cache_key;

/*
** 'directory' is as in qp_compiler_options: NULL stands for the default, "" for a cache that holds
** nothing (which an empty $QPAL_CACHE also says).  The directory is made when the first entry is
** written.  QP_E_NOMEM is the only error.
*/
qp_status qp_cubin_cache_open(const char *directory, qp_cubin_cache **out, qp_error *err);
void qp_cubin_cache_close(qp_cubin_cache *cache);

/* Say which directory is in use; "" means that there is none. */
const char *qp_cubin_cache_directory(const qp_cubin_cache *cache);

/* Compute the key of a compile, with or without a cubin, by the compiler that describes itself as
   'version'. */
qp_cubin_cache_key qp_cubin_cache_key_of(const char *version, const qp_compile_job *job,
                                         bool cubin);

/*
** Look a key up.  True: *out is a whole result, status QP_OK and cached true, owned by the caller.
** False: *out is untouched.
*/
bool qp_cubin_cache_read(const qp_cubin_cache *cache, const qp_cubin_cache_key *key,
                         qp_compiled *out);

/* Keep a successful result; true if it was written. */
bool qp_cubin_cache_write(const qp_cubin_cache *cache, const qp_cubin_cache_key *key,
                          const qp_compiled *result);

/* Give the path of an entry's file, for tests and messages.  False means that there is no
   directory. */
bool qp_cubin_cache_path(const qp_cubin_cache *cache, const qp_cubin_cache_key *key, char *path,
                         size_t size);

#endif
