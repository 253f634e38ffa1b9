/* SPDX-License-Identifier: MIT */
/* Copies what lies beside a checkpoint's weights and is no weight: tokenizer, chat template,
   settings of generation. */
#ifndef QP_COMPANIONS_H
#define QP_COMPANIONS_H

#include "runtime/status.h"

/*
** Copy those that are there from the folder of a checkpoint ('checkpoint' is a folder, or a file in
** one) to 'folder', which exists; a file of that name is replaced.  A GGUF has its tokenizer
** inside, so nothing is copied.  QP_E_IO, QP_E_NOMEM; QP_E_LIMIT means that a file or path is too
** long.
*/
qp_status qp_companions_copy(const char *checkpoint, const char *folder, qp_error *err);

/* Can those that are there be copied?  Asked before the weights are worked on.  QP_E_IO: one cannot
   be opened, or is no regular file; QP_E_LIMIT. */
qp_status qp_companions_check(const char *checkpoint, qp_error *err);

#endif
