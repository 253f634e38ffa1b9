/* SPDX-License-Identifier: MIT */
/* The normal distribution, computed by basic arithmetic alone so that every machine gets the same
   bits. */
#ifndef QP_GAUSSIAN_H
#define QP_GAUSSIAN_H

double qp_gaussian_exp(double x);        /* e^x for -700 <= x <= 0 */
double qp_gaussian_density(double x);    /* the density of N(0,1) */
double qp_gaussian_cumulative(double x); /* the distribution function of N(0,1), |x| <= 40 */
double qp_gaussian_quantile(double u);   /* inverse of it, 0 < u < 1; within 8.5 */

#endif
