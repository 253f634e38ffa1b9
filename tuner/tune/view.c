/* SPDX-License-Identifier: MIT */
/* Live line and plain lines of a tuning run; see view.h. */
#include "tuner/tune/view.h"

#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "gen/spec/quantizer.h"
#include "tuner/base/output.h"

static const double redraw_s = 0.1;

void qp_tune_view_begin(qp_tune_view *v, FILE *to) {
  *v = (qp_tune_view){.to = to, .live = isatty(fileno(to)) == 1};
}

void qp_tune_problem_text(const qp_tune_problem *p, char *out, size_t size) {
  const qp_problem *q = &p->problem;
  size_t n = 0;
  out[0] = 0;
  for (unsigned i = 0; i < q->segments && n < size; i++) {
    if (i && q->segment[i].quantizer == q->segment[i - 1].quantizer) continue;
    n += (size_t)snprintf(out + n, size - n, "%s%s", i ? "+" : "", q->segment[i].quantizer->name);
  }
  const char *comma = *p->path ? ", " : "";
  if (n < size)
    snprintf(out + n, size - n, "%s%s, batch %u%s%s", n ? " " : "", p->label, q->batch, comma,
             p->path);
}

/* "12.3 us, 78% of the read bandwidth" */
static void best_text(const qp_tune_state *s, char *out, size_t size) {
  if (!s->best_ps)
    snprintf(out, size, "no result yet");
  else if (s->floor_ps)
    snprintf(out, size, "%.2f us, %.0f%% of the read bandwidth", (double)s->best_ps * 1e-6,
             100 * (double)s->floor_ps / (double)s->best_ps);
  else
    snprintf(out, size, "%.2f us", (double)s->best_ps * 1e-6);
}

static void time_text(double seconds, char *out, size_t size) {
  if (seconds < 0)
    out[0] = 0;
  else
    snprintf(out, size, ", %.0f:%02.0f left", floor(seconds / 60), fmod(floor(seconds), 60));
}

/* A line that is longer than the terminal is wide would wrap, and could not be redrawn. */
static int columns(FILE *to) {
  struct winsize w = {.ws_col = 0};
  return ioctl(fileno(to), TIOCGWINSZ, &w) || !w.ws_col ? 79 : w.ws_col - 1;
}

void qp_tune_view_show(void *view, const qp_tune_state *s) {
  qp_tune_view *v = view;
  char problem[256], best[96], left[48], line[512];
  const double now = qp_seconds();
  if (v->live ? now < v->drawn + redraw_s : !s->news) return;
  v->drawn = now;
  qp_tune_problem_text(s->problem, problem, sizeof problem);
  best_text(s, best, sizeof best);
  time_text(s->left_s, left, sizeof left);
  if (!v->live) {
    fprintf(v->to, "[%zu/%zu] %s: %u candidates, %s\n", s->number, s->problems, problem,
            s->candidates, s->best_ps ? best : "none that works");
    return;
  }
  snprintf(line, sizeof line, "[%zu/%zu] %zu done, %zu failed%s | %s | %u of %s", s->begun,
           s->problems, s->done, s->failed, left, best, s->candidates, problem);
  fprintf(v->to, "\r\033[K%.*s", columns(v->to), line);
  fflush(v->to);
}

void qp_tune_view_end(qp_tune_view *v) {
  if (v->live) fputs("\r\033[K", v->to);
}
