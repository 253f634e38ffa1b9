/* SPDX-License-Identifier: MIT */
/*
** What NVRTC says of itself, in the cache directory:  NVRTC --compile an empty kernel--> [text].
** Its build is told by what it compiles alone, which takes as long as a small kernel does; so the
** text is kept for as long as the files of NVRTC that this process has open are the same: path,
** inode, size, time of change.
*/
#ifndef QP_DESCRIPTION_KEPT_H
#define QP_DESCRIPTION_KEPT_H

#include <stdbool.h>
#include <stddef.h>

/* False where nothing is kept of these files, or the builtins are not open. */
bool qp_description_is_kept(char *text, size_t size);

/* That it cannot be kept is no error. */
void qp_description_keep(const char *text);

#endif
