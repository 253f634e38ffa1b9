/* SPDX-License-Identifier: MIT */
/* Public interface of libqpal, the library that engines link. */
#ifndef QPAL_H
#define QPAL_H

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this header, MAJOR.MINOR.PATCH. */
#define QPAL_VERSION_MAJOR 0
#define QPAL_VERSION_MINOR 1
#define QPAL_VERSION_PATCH 0

/*
** Version of the library that is linked, "MAJOR.MINOR.PATCH"; static storage, never NULL.
** Compare with the macros above to see that header and library belong together.
** Any thread may call this.
*/
const char *qpal_version(void);

#ifdef __cplusplus
}
#endif

#endif
