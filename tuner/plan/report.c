/* SPDX-License-Identifier: MIT */
/* Shows plans in the terminal: totals, and the heat map (report.h). */
#include "tuner/plan/report.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* Stops of the viridis colour map, from dark blue to yellow. */
static const unsigned char stops[][3] = {{68, 1, 84},    {70, 50, 127},  {54, 92, 141},
                                         {39, 127, 142}, {31, 161, 135}, {74, 194, 109},
                                         {160, 218, 57}, {253, 231, 37}};
enum { STOPS = sizeof stops / sizeof *stops };
static const double least_bits = 1.5, most_bits = 6;

unsigned qp_report_colour(double bits) {
  double at = (bits - least_bits) / (most_bits - least_bits) * (STOPS - 1);
  at = fmin(fmax(at, 0), STOPS - 1);
  int i = at >= STOPS - 1 ? STOPS - 2 : (int)at;
  unsigned rgb = 0;
  for (int c = 0; c < 3; c++) {
    double v = stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c]);
    rgb = rgb << 8 | (unsigned)lround(v);
  }
  return rgb;
}

/* ---- Totals ---- */

/* What the weights are, where the plan says: of which a token goes through 'active'. */
static void print_weights(const qp_plan *p, FILE *to) {
  const qp_plan_weights *w = &p->weights;
  const uint64_t all = w->planned + w->lm_head + w->embedding + w->other + w->passed;
  if (!all) return;
  fprintf(to, "  weights          %.4f G: planned %.4f G, ", (double)all * 1e-9,
          (double)w->planned * 1e-9);
  if (w->lm_head) fprintf(to, "lm_head %.4f G, ", (double)w->lm_head * 1e-9);
  fprintf(to, "embedding %.4f G, norms and others %.4f G", (double)w->embedding * 1e-9,
          (double)w->other * 1e-9);
  if (w->passed) fprintf(to, ", passed through %.4f G", (double)w->passed * 1e-9);
  fprintf(to, "; a token goes through %.4f G", (double)w->active * 1e-9);
  if (w->table)
    fprintf(to, ", %.4f G with the embedding's table", (double)(w->active + w->table) * 1e-9);
  fprintf(to, "\n");
}

static void print_limits(const qp_plan *p, FILE *to) {
  if (p->latency_limit_ps >= 0)
    fprintf(to, "  latency limit    %.3f us\n", (double)p->latency_limit_ps * 1e-6);
  if (p->memory_limit_bytes >= 0)
    fprintf(to, "  memory limit     %lld bytes\n", (long long)p->memory_limit_bytes);
  if (p->bits_limit >= 0) fprintf(to, "  bits limit       %.6g a weight\n", p->bits_limit);
}

void qp_report_totals(const qp_plan *p, FILE *to) {
  const qp_plan_memory *m = &p->memory;
  fprintf(to, "%s%s%s: %u linears in %u launches\n", p->model, p->gpu[0] ? " on " : "", p->gpu,
          p->linears, p->launches);
  if (p->ranks > 1 || p->slices > 1)
    fprintf(
        to,
        "  parallel         shapes, weights, bytes and latency are one rank's: --tp %u --ep %u\n",
        p->ranks, p->slices);
  fprintf(to, "  loss             %.9g, %s\n", p->loss,
          p->proven ? "proven best" : "not proven best");
  if (!p->proven)
    fprintf(to, "  bound            %.9g, so the gap is at most %.3g %%\n", p->bound, p->gap * 100);
  if (p->latency_ps > 0)
    fprintf(to, "  latency          %.3f us, of it constant %.3f us: %.2f tokens/s\n",
            (double)p->latency_ps * 1e-6, (double)p->constant_ps * 1e-6,
            1e12 / (double)p->latency_ps);
  fprintf(to, "  bits per weight  %.5f\n", p->bits_per_weight);
  fprintf(to,
          "  memory           %llu bytes: linears %llu, lm_head %llu, embedding %llu, norms and "
          "biases %llu, signs %llu, codebooks %llu",
          (unsigned long long)p->memory_bytes, (unsigned long long)m->linears,
          (unsigned long long)m->lm_head, (unsigned long long)m->embedding,
          (unsigned long long)m->other, (unsigned long long)m->signs,
          (unsigned long long)m->codebooks);
  if (m->passed) fprintf(to, ", passed through %llu", (unsigned long long)m->passed);
  fprintf(to, "\n");
  print_weights(p, to);
  print_limits(p, to);
  for (unsigned i = 0; i < p->notes; i++) fprintf(to, "  note: %s\n", p->note[i]);
}

/* ---- Heat map ---- */

const qp_plan_linear *qp_report_embedding(const qp_plan *p) {
  const qp_plan_linear *last = p->linears ? &p->linear[p->linears - 1] : NULL;
  return last && qp_plan_looks_up_alone(last) ? last : NULL;
}

const qp_plan_linear *qp_report_head(const qp_plan *p) {
  const unsigned n = p->linears - (qp_report_embedding(p) != NULL);
  const qp_plan_linear *last = n ? &p->linear[n - 1] : NULL;
  return last && last->block == QP_PLAN_NO_BLOCK ? last : NULL;
}

/* Which linear of its role it is in its block, or -1: another with that role stands there too. */
static bool is_first_of_role(const qp_plan *p, unsigned i) {
  for (unsigned k = i; k-- > 0 && p->linear[k].block == p->linear[i].block;)
    if (!strcmp(p->linear[k].role, p->linear[i].role)) return false;
  return true;
}

unsigned qp_report_rows(const qp_plan *p, unsigned out[QP_REPORT_ROWS]) {
  unsigned rows = 0;
  for (unsigned i = 0; i < p->linears; i++) {
    const qp_plan_linear *l = &p->linear[i];
    unsigned r = 0;
    if (l->block == QP_PLAN_NO_BLOCK) continue;
    if (!is_first_of_role(p, i)) return 0;
    while (r < rows && strcmp(p->linear[out[r]].role, l->role) != 0) r++;
    if (r == QP_REPORT_ROWS) return 0;
    if (r == rows) out[rows++] = i;
  }
  return rows;
}

int qp_report_cell(const qp_plan *p, const unsigned *rows, unsigned row, unsigned block) {
  for (unsigned i = 0; i < p->linears; i++)
    if (p->linear[i].block == (int)block && !strcmp(p->linear[i].role, p->linear[rows[row]].role))
      return (int)i;
  return -1;
}

/* Is linear 'a' in one launch with linear 'b'? */
static bool joined(const qp_plan *p, unsigned a, unsigned b) {
  for (unsigned i = 0; i < p->launches; i++) {
    bool has_a = false, has_b = false;
    for (unsigned k = 0; k < p->launch[i].members; k++) {
      has_a = has_a || p->launch[i].linear[k] == a;
      has_b = has_b || p->launch[i].linear[k] == b;
    }
    if (has_a || has_b) return has_a && has_b;
  }
  return false;
}

static void print_cell(const qp_plan *p, unsigned i, bool join, bool colour, FILE *to) {
  const qp_plan_quantizer *q = &p->quantizer[p->linear[i].quantizer];
  char letter = (char)toupper((unsigned char)q->name[0]);
  if (!colour) {
    fprintf(to, " %c%-4.4g%c", letter, q->rate_bits, join ? '+' : ' ');
    return;
  }
  unsigned rgb = qp_report_colour(q->rate_bits);
  fprintf(to, "\033[48;2;%u;%u;%um\033[38;5;%dm%c%c\033[0m", rgb >> 16, rgb >> 8 & 255, rgb & 255,
          q->rate_bits > 3.5 ? 16 : 231, letter, join ? '+' : ' ');
}

/* Say how many columns the names of rows take: 8, or what the longest role needs. */
static int label_width(const qp_plan *p, const unsigned *rows, unsigned n) {
  size_t width = 8;
  for (unsigned i = 0; i < n; i++) {
    const size_t needed = strlen(p->linear[rows[i]].role) + 1;
    width = needed > width ? needed : width;
  }
  return (int)width;
}

static void print_band(const qp_plan *p, const unsigned *rows, unsigned n, unsigned first,
                       unsigned last, bool colour, FILE *to) {
  const int width = label_width(p, rows, n);
  fprintf(to, "\n%-*s", width, "block");
  for (unsigned b = first; b < last; b++)
    fprintf(to, colour ? "%-2u" : " %-6u", b % (colour ? 100 : 100000));
  fprintf(to, "\n");
  for (unsigned l = 0; l < n; l++) {
    fprintf(to, "%-*s", width, p->linear[rows[l]].role);
    for (unsigned b = first; b < last; b++) {
      const int i = qp_report_cell(p, rows, l, b);
      const int below = l + 1 < n ? qp_report_cell(p, rows, l + 1, b) : -1;
      if (i < 0)
        fprintf(to, colour ? "  " : "       ");
      else
        print_cell(p, (unsigned)i, below >= 0 && joined(p, (unsigned)i, (unsigned)below), colour,
                   to);
    }
    fprintf(to, "\n");
  }
}

static void print_legend(const qp_plan *p, bool colour, FILE *to) {
  const qp_plan_linear *head = qp_report_head(p);
  fprintf(to, "\n");
  const qp_plan_linear *embedding = qp_report_embedding(p);
  if (head)
    fprintf(to, "lm_head  %s%s\n", p->quantizer[head->quantizer].name,
            head->lookup ? ", which is the embedding" : "");
  if (embedding) fprintf(to, "embedding  %s\n", p->quantizer[embedding->quantizer].name);
  fprintf(to, "letter: family;%s '+': fused with the next linear below\n",
          colour ? " colour: bits a weight;" : "");
  for (unsigned i = 0; i < p->quantizers; i++) {
    unsigned linears = 0;
    for (unsigned k = 0; k < p->linears; k++) linears += p->linear[k].quantizer == i;
    unsigned rgb = qp_report_colour(p->quantizer[i].rate_bits);
    if (colour) fprintf(to, "\033[48;2;%u;%u;%um  \033[0m", rgb >> 16, rgb >> 8 & 255, rgb & 255);
    fprintf(to, "  %-14s %7.4g bits  %4u linears\n", p->quantizer[i].name,
            p->quantizer[i].rate_bits, linears);
  }
}

void qp_report_map(const qp_plan *p, bool colour, FILE *to) {
  unsigned band = colour ? 44 : 12;
  unsigned rows[QP_REPORT_ROWS];
  const unsigned n = qp_report_rows(p, rows);
  if (!n) return;
  for (unsigned b = 0; b < p->blocks; b += band)
    print_band(p, rows, n, b, b + band < p->blocks ? b + band : p->blocks, colour, to);
  print_legend(p, colour, to);
}
