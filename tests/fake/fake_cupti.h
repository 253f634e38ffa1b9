/* SPDX-License-Identifier: MIT */
/* What the fake driver tells the fake CUPTI. */
#ifndef QP_FAKE_CUPTI_H
#define QP_FAKE_CUPTI_H

/* 'n' launches of a kernel ran, after each other. */
void fake_cupti_ran(const char *kernel, unsigned n);

#endif
