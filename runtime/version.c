/* SPDX-License-Identifier: MIT */
/* Tells the version of the library, which the public header says. */
#include "runtime/include/qpal.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *qpal_version(void) {
  return TEXT(QPAL_VERSION_MAJOR) "." TEXT(QPAL_VERSION_MINOR) "." TEXT(QPAL_VERSION_PATCH);
}
