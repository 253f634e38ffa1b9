/* SPDX-License-Identifier: MIT */
/* Reads JSON from outside with care:  file -> [checked cJSON tree]. */
#ifndef QP_JSON_H
#define QP_JSON_H

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { QP_JSON_MAX_DEPTH = 32 };

/*
** Parse one JSON text (not NUL-ended; 'file' is what messages call it).  Beyond cJSON's own checks
** this refuses nesting deeper than QP_JSON_MAX_DEPTH, a key that an object holds twice, numbers
** beyond the range of double, and anything after the value.  The caller frees '*out' with
** cJSON_Delete.  Thread-safe.
** QP_E_ARG: not such a text (the message names file and place); QP_E_NOMEM.  '*out' is untouched on
** error.
*/
qp_status qp_json_parse(const char *file, const char *text, size_t bytes, cJSON **out,
                        qp_error *err);

/* Read and parse a file of at most 256 MiB; QP_E_IO: it cannot be read; QP_E_LIMIT:
   it is larger. */
qp_status qp_json_read(const char *file, cJSON **out, qp_error *err);

/* Read and parse a file that Python's json module may have written, such as a config.json:
   json_python.h says what it allows. */
qp_status qp_json_parse_python(const char *file, const char *text, size_t bytes, cJSON **out,
                               qp_error *err);
qp_status qp_json_read_python(const char *file, cJSON **out, qp_error *err);

/*
** Get a member of 'object' by its exact name; 'where' begins messages ("plan.json: launch 3").
**   qp_json_text            a string that is not empty, owned by the tree
**   qp_json_number          a finite number from 'lo' to 'hi'
**   qp_json_integer         such a number without a fraction, at most 2^53 in size
**   qp_json_array, _object  a value of that kind
** QP_E_ARG means that it is missing or is something else: the message names field and value and
** says what is right.  '*out' is untouched on error.
*/
qp_status qp_json_text(const cJSON *object, const char *where, const char *name, const char **out,
                       qp_error *err);
qp_status qp_json_number(const cJSON *object, const char *where, const char *name, double lo,
                         double hi, double *out, qp_error *err);
qp_status qp_json_integer(const cJSON *object, const char *where, const char *name, int64_t lo,
                          int64_t hi, int64_t *out, qp_error *err);
qp_status qp_json_array(const cJSON *object, const char *where, const char *name, const cJSON **out,
                        qp_error *err);
qp_status qp_json_object(const cJSON *object, const char *where, const char *name,
                         const cJSON **out, qp_error *err);

#endif
