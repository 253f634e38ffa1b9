/* SPDX-License-Identifier: MIT */
/* Computes the normal distribution by basic arithmetic. */
#include "gen/base/gaussian.h"

#include <math.h>
#include <pthread.h>

/* Compute e^x = 1 / (e^(-x / 1024))^1024, and the small power by its series.  The numbers are
   positive, so nothing cancels. */
double qp_gaussian_exp(double x) {
  double y = -x / 1024, term = 1, sum = 0; /* e^y - 1, to keep the bits of a small y */
  for (int k = 1; k < 18; k++) {
    term = term * y / k;
    sum += term;
  }
  for (int k = 0; k < 10; k++) sum = sum * (2 + sum); /* (1 + s)^2 - 1 */
  return 1 / (1 + sum);
}

double qp_gaussian_density(double x) {
  return 0.39894228040143267794 * qp_gaussian_exp(-x * x / 2);
}

/* Compute Phi(x) = 1/2 + pdf(x) (x + x^3/3 + x^5/(3 5) + ...): all terms have one sign. */
double qp_gaussian_cumulative(double x) {
  if (x > 8.5) return 1;
  if (x < -8.5) return 0;
  double term = x, sum = x;
  for (int k = 3; k < 400 && (term > 1e-18 || term < -1e-18); k += 2) {
    term = term * x * x / k;
    sum += term;
  }
  return 0.5 + qp_gaussian_density(x) * sum;
}

/* Phi and the density at nodes 1/64 apart, from -8.5 to 8.5. */
enum { MIDDLE = 544, NODES = 2 * MIDDLE + 1 };
static double node_phi[NODES], node_pdf[NODES];
static pthread_once_t nodes_once = PTHREAD_ONCE_INIT;

static double node(int i) { return (i - MIDDLE) / 64.0; }

static void make_nodes(void) {
  for (int i = 0; i < NODES; i++) {
    node_phi[i] = qp_gaussian_cumulative(node(i));
    node_pdf[i] = qp_gaussian_density(node(i));
  }
}

/* Find the quantile by Newton's method on Phi's expansion around the node before the answer. */
double qp_gaussian_quantile(double u) {
  pthread_once(&nodes_once, make_nodes);
  int lo = 0, hi = NODES - 1;
  while (hi - lo > 1) {
    int mid = (lo + hi) / 2;
    if (node_phi[mid] <= u)
      lo = mid;
    else
      hi = mid;
  }
  double x = node(lo), f = node_pdf[lo], d = 0;
  if (!(f > 0)) return x;
  for (int k = 0; k < 4; k++) {
    double value =
        f * d * (1 - x * d / 2 + (x * x - 1) * d * d / 6 - (x * x - 3) * x * d * d * d / 24);
    double slope = f * (1 - x * d + (x * x - 1) * d * d / 2 - (x * x - 3) * x * d * d * d / 6);
    d -= (node_phi[lo] + value - u) / slope;
  }
  if (d < 0) d = 0; /* rounding at the ends */
  if (d > 1.0 / 64) d = 1.0 / 64;
  return x + d;
}
