/* SPDX-License-Identifier: MIT */
/*
** The table that encode kernels read of codes that are searched in stages (gen/encode/stages.h), or
** as one stage by one table:  a stage_header, then the words of each stage. C writes it
** (gen/encode/stage_table.c), CUDA reads it (templates/stages.cuh.in).
*/
#ifndef QP_STAGE_TABLE_PARTS
#define QP_STAGE_TABLE_PARTS

enum { STAGES_MOST = 4, STAGE_DIM = 16, STAGE_SURVIVORS = 16 };

/* A run of a code's bits. */
typedef struct stage_head {
  unsigned shift, count; /* where it begins in a code; values that it may have */
  unsigned words;        /* floats from the table's beginning to [count][1 + dim]: |t|^2, -2 t */
  unsigned width;        /* survivors that are kept behind it */
  float most;            /* the largest |t|^2 */
  unsigned spare[3];
} stage_head;

typedef struct stage_header {
  unsigned stages, spare[3];
  float base[STAGE_DIM]; /* what a code of zeros decodes to, which stages add to */
  stage_head stage[STAGES_MOST];
} stage_header;

#endif
