/* SPDX-License-Identifier: MIT */
/* Accesses to global memory within a launch: who touched each word, and is that ordered. */
#include "runtime/sim/order.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
  PAGE_WORDS = 1024,
  THREAD_BITS = 10, /* bits for the thread in its number in the launch: block << THREAD_BITS |
                       thread */
  MOST_PAGES = 1 << 15,
  BUCKETS = 1 << 10,
  /* These bits of a touch stand beside those that say which of its word's four bytes it met. */
  STRONG = 16,
  NON_COHERENT = 32,
  BLOCKS = 64 /* others have read it, of other blocks */
};

typedef struct touches {
  struct {
    uint32_t thread, clock;
  } by[PAGE_WORDS];
  uint8_t what[PAGE_WORDS]; /* 0: none */
} touches;

/* The touches of 4 KiB of memory by one launch. */
typedef struct page {
  struct page *next; /* of all that were made */
  uint64_t launch, number;
  touches *writes, *reads; /* NULL: none yet */
  bool written, was_read;  /* by this launch */
} page;

/* A word by which threads synchronise: what its releases tell. */
typedef struct meeting {
  struct meeting *next;
  uint64_t place; /* The offset in the arena; where a block alone has it, its number + 1 stands in
                     the upper bits. */
  qp_sim_far *told;
} meeting;

struct qp_sim_order {
  page **pages; /* by offset / 4096 */
  page *list;   /* all that were made, 'count' */
  size_t count;
  uint64_t launch;
  meeting *meetings[BUCKETS];
};

/* ---- opening and closing ---- */

static void forget_meetings(qp_sim_order *order) {
  for (unsigned i = 0; i < BUCKETS; i++)
    for (meeting *m = order->meetings[i], *next; m; m = next) {
      next = m->next;
      free(m->told);
      free(m);
    }
  memset(order->meetings, 0, sizeof order->meetings);
}

static const size_t table_bytes = QP_SIM_ARENA_BYTES / 4096 * sizeof(page *);

static void forget_pages(qp_sim_order *order) {
  for (page *p = order->list, *next; p; p = next) {
    next = p->next;
    order->pages[p->number] = NULL;
    free(p->writes);
    free(p->reads);
    free(p);
  }
  order->list = NULL;
  order->count = 0;
}

void qp_sim_order_close(qp_sim_order *order) {
  if (!order) return;
  forget_meetings(order);
  forget_pages(order);
  munmap(order->pages, table_bytes);
  free(order);
}

qp_status qp_sim_order_begin(qp_sim_order **order, qp_sim_launch *launch, qp_error *err) {
  qp_sim_order *o = *order;
  if (!o) {
    o = calloc(1, sizeof *o);
    void *table = mmap(NULL, table_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!o || table == MAP_FAILED) {
      free(o);
      return qp_fail(err, QP_E_NOMEM, "simulator: host memory exhausted");
    }
    o->pages = table;
    *order = o;
  }
  forget_meetings(o);
  if (o->count > MOST_PAGES) forget_pages(o);
  o->launch = launch->id;
  launch->order = o;
  return QP_OK;
}

/* ---- what is known ---- */

static void add_known(qp_sim_known *to, const qp_sim_known *from) {
  if (from->all > to->all) to->all = from->all;
  if (from->own <= to->all) return;
  if (to->own <= to->all || to->lane == from->lane) {
    if (from->own > to->own || to->lane != from->lane) to->own = from->own;
    to->lane = from->lane;
  } else { /* There are two lanes; it counts rather too much than too little. */
    to->all = from->own > to->own ? from->own : to->own;
  }
}

/* Make room for 'count' warps. */
static bool widen(qp_sim_far **to, uint32_t count) {
  const uint32_t has = *to ? (*to)->count : 0;
  if (count <= has) return true;
  qp_sim_far *f = realloc(*to, sizeof *f + count * sizeof *f->warp);
  if (!f) return false;
  memset(f->warp + has, 0, (count - has) * sizeof *f->warp);
  f->count = count;
  *to = f;
  return true;
}

bool qp_sim_far_add(qp_sim_far **to, const qp_sim_far *from) {
  if (!from) return true;
  if (!widen(to, from->count)) return false;
  for (uint32_t i = 0; i < from->count; i++) add_known((*to)->warp + i, from->warp + i);
  return true;
}

static bool knows(const qp_sim_far *far, uint32_t warp, unsigned lane, uint32_t clock) {
  if (!far || warp >= far->count) return false;
  const qp_sim_known *k = far->warp + warp;
  return clock < k->all || (clock < k->own && k->lane == lane);
}

/* Has 'lane' of 'w' seen what a thread of the launch did at 'clock' of its warp? */
static bool ordered(const qp_sim_warp *w, unsigned lane, uint32_t thread, uint32_t clock) {
  const qp_sim_block *b = w->block;
  const uint32_t block = thread >> THREAD_BITS, in_block = thread & ((1u << THREAD_BITS) - 1);
  const uint32_t warp = in_block / QP_SIM_LANES, who = in_block % QP_SIM_LANES;
  if (block == b->index) {
    if (warp != w->index && clock < w->seen[warp]) return true;
    if (warp == w->index && (who == lane || clock < w->acquired[lane] ||
                             (clock < w->synced[lane] && clock < w->synced[who])))
      return true;
  }
  const uint32_t of_grid = block * b->warps + warp;
  return knows(w->far, of_grid, who, clock) ||
         (w->fresh_lane == lane && knows(w->fresh, of_grid, who, clock));
}

/* ---- touches ---- */

static page *page_at(qp_sim_order *order, uint64_t offset) {
  page *p = order->pages[offset / 4096];
  if (!p) {
    if (!(p = calloc(1, sizeof *p))) return NULL;
    *p = (page){.next = order->list, .number = offset / 4096};
    order->list = order->pages[p->number] = p;
    order->count++;
  }
  if (p->launch != order->launch) {
    p->launch = order->launch;
    p->written = p->was_read = false;
  }
  return p;
}

/* The page's touches of one kind, empty where this is the launch's first. */
static touches *begin_touches(touches **t, bool *begun) {
  if (*begun) return *t;
  if (!*t && !(*t = calloc(1, sizeof **t))) return NULL;
  memset((*t)->what, 0, sizeof(*t)->what);
  *begun = true;
  return *t;
}

static bool no_memory(qp_sim_warp *w, const qp_sim_op *o, unsigned lane) {
  qp_sim_fault(w, o, lane, "host memory exhausted");
  return false;
}

static bool fault(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, const char *now,
                  const touches *t, uint32_t word, const char *then, uint64_t offset) {
  const uint32_t other = t->by[word].thread;
  const bool many = t->what[word] & BLOCKS, cached = t->what[word] & NON_COHERENT;
  qp_sim_fault(w, o, lane, "race: %s global address 0x%llx, which thread %u of block %u%s %s%s",
               now, (unsigned long long)(QP_SIM_ARENA_BASE + (offset & ~UINT64_C(4095)) + 4 * word),
               other & ((1u << THREAD_BITS) - 1), other >> THREAD_BITS,
               many ? ", as others did," : "", then,
               cached ? " by a load that is not coherent" : " with no synchronisation between");
  return false;
}

static uint32_t me(const qp_sim_warp *w, unsigned lane) {
  return w->block->index << THREAD_BITS | (w->index * QP_SIM_LANES + lane);
}

/* Say which bytes of its first word an access has; of 4 bytes or more it has all. */
static uint8_t bytes_of(uint64_t offset, unsigned bytes) {
  return (uint8_t)(bytes >= 4 ? 15u : ((1u << bytes) - 1) << (offset & 3));
}

/* May a lane read this word of a page that was written? */
static inline bool after_write(const qp_sim_warp *w, const qp_sim_op *o, unsigned lane,
                               const touches *t, uint32_t i, uint8_t part) {
  const uint8_t then = t->what[i];
  if (!(then & part)) return true;
  if (o->mode & QP_SIM_NC) return false;
  return t->by[i].thread == me(w, lane) || ((o->mode & QP_SIM_STRONG) && (then & STRONG)) ||
         ordered(w, lane, t->by[i].thread, t->by[i].clock);
}

/* Note one lane's read of a page whose touches by reads have begun. */
static inline bool note_read(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, const page *p,
                             uint64_t offset, unsigned bytes) {
  const uint32_t first = (uint32_t)(offset % 4096 / 4), end = first + (bytes + 3) / 4;
  const uint32_t own = me(w, lane), block = w->block->index, clock = w->clock;
  const uint8_t part = bytes_of(offset, bytes), cached = o->mode & QP_SIM_NC ? NON_COHERENT : 0;
  touches *reads = p->reads;
  for (uint32_t i = first; p->written && i < end; i++)
    if (!after_write(w, o, lane, p->writes, i, part))
      return fault(w, o, lane, cached ? "reads by a load that is not coherent" : "reads", p->writes,
                   i, "wrote", offset);
  /* a strong read meets weak writes only, which see it from their side */
  if (o->mode & QP_SIM_STRONG) return true;
  for (uint32_t i = first; i < end; i++) {
    const uint8_t before = reads->what[i] & part ? reads->what[i] : 0;
    const bool others = before && (before & BLOCKS || reads->by[i].thread >> THREAD_BITS != block);
    reads->by[i].thread = own;
    reads->by[i].clock = clock;
    reads->what[i] = (uint8_t)(part | cached | (before & NON_COHERENT) | (others ? BLOCKS : 0));
  }
  return true;
}

bool qp_sim_order_reads(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, const uint64_t *offset,
                        unsigned bytes) {
  page *p = NULL;
  QP_SIM_LOOP(lanes, lane) {
    if (!p || offset[lane] / 4096 != p->number) {
      p = page_at(w->block->launch->order, offset[lane]);
      if (!p || !begin_touches(&p->reads, &p->was_read)) return no_memory(w, o, lane);
    }
    if (!note_read(w, o, lane, p, offset[lane], bytes)) return false;
  }
  return true;
}

/* May a thread write what was read?  Of readers in several blocks the last is kept: the others are
   taken for seen where the writer has acquired anything. */
static bool after_read(const qp_sim_warp *w, unsigned lane, const touches *t, uint32_t i,
                       uint8_t part) {
  if (!(t->what[i] & part)) return true;
  if (t->what[i] & NON_COHERENT) return false;
  if ((t->what[i] & BLOCKS) && !w->far && !w->fresh) return false;
  return t->by[i].thread == me(w, lane) || ordered(w, lane, t->by[i].thread, t->by[i].clock);
}

bool qp_sim_order_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t offset,
                        unsigned bytes, bool strong) {
  page *p = page_at(w->block->launch->order, offset);
  touches *writes = p ? begin_touches(&p->writes, &p->written) : NULL;
  if (!writes) return no_memory(w, o, lane);
  const uint32_t first = (uint32_t)(offset % 4096 / 4), own = me(w, lane);
  const uint8_t part = bytes_of(offset, bytes);
  for (uint32_t i = first; i < first + (bytes + 3) / 4; i++) {
    if ((writes->what[i] & part) && writes->by[i].thread != own &&
        !(strong && (writes->what[i] & STRONG)) &&
        !ordered(w, lane, writes->by[i].thread, writes->by[i].clock))
      return fault(w, o, lane, "writes", writes, i, "wrote", offset);
    if (p->was_read && !after_read(w, lane, p->reads, i, part))
      return fault(w, o, lane, "writes", p->reads, i, "read", offset);
    writes->by[i].thread = own;
    writes->by[i].clock = w->clock;
    writes->what[i] = (uint8_t)(part | (strong ? STRONG : 0));
  }
  return true;
}

/* ---- synchronisation ---- */

static meeting *meeting_at(qp_sim_order *order, uint64_t place) {
  meeting **bucket = order->meetings + (place * 0x9e3779b97f4a7c15u >> 32) % BUCKETS;
  for (meeting *m = *bucket; m; m = m->next)
    if (m->place == place) return m;
  meeting *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  *m = (meeting){.next = *bucket, .place = place};
  return *bucket = m;
}

/* All that a lane has done up to 'own' and has seen. */
static bool tell(qp_sim_warp *w, unsigned lane, uint32_t own, qp_sim_far **told) {
  const qp_sim_block *b = w->block;
  const uint32_t base = b->index * b->warps;
  if (!widen(told, base + b->warps) || !qp_sim_far_add(told, w->far) ||
      (w->fresh_lane == lane && !qp_sim_far_add(told, w->fresh)))
    return false;
  for (uint32_t i = 0; i < b->warps; i++)
    add_known((*told)->warp + base + i, &(qp_sim_known){.all = w->seen[i]});
  const uint32_t all = w->synced[lane] > w->acquired[lane] ? w->synced[lane] : w->acquired[lane];
  add_known((*told)->warp + base + w->index, &(qp_sim_known){.all = all, .own = own, .lane = lane});
  return true;
}

/* What others told is news to one lane: of two lanes the first one's becomes the warp's. */
static bool hear(qp_sim_warp *w, unsigned lane, const qp_sim_far *told) {
  if (w->fresh && w->fresh_lane != lane) {
    if (!qp_sim_far_add(&w->far, w->fresh)) return false;
    free(w->fresh);
    w->fresh = NULL;
  }
  w->fresh_lane = lane;
  return qp_sim_far_add(&w->fresh, told);
}

void qp_sim_order_meet(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t offset) {
  const bool of_block = o->mode & QP_SIM_CTA, fenced = w->fenced >> lane & 1;
  const uint64_t block = of_block ? (uint64_t)(w->block->index + 1) << 40 : 0;
  meeting *m = meeting_at(w->block->launch->order, block | (offset & ~UINT64_C(3)));
  bool good = m;
  if (good && (o->mode & QP_SIM_ACQUIRE))
    good = hear(w, lane, m->told);
  else if (good && o->kind != QP_SIM_ST_GLOBAL)
    good = qp_sim_far_add(&w->heard, m->told);
  if (good && o->kind != QP_SIM_LD_GLOBAL && ((o->mode & QP_SIM_RELEASE) || fenced)) {
    good = tell(w, lane, o->mode & QP_SIM_RELEASE ? w->clock + 1 : w->fence_clock, &m->told);
    w->clock++; /* what follows is not told */
  }
  if (!good) no_memory(w, o, lane);
}

void qp_sim_order_fence(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes) {
  if (!w->block->launch->order) return;
  w->fenced |= lanes;
  w->fence_clock = ++w->clock;
  const unsigned lane = qp_sim_lane(lanes);
  if (w->heard && !hear(w, lane, w->heard)) no_memory(w, o, lane);
}

void qp_sim_order_share(qp_sim_warp *w, uint32_t lanes) {
  if (!w->fresh || !(lanes >> w->fresh_lane & 1)) return;
  if (!qp_sim_far_add(&w->far, w->fresh)) return; /* a race too many is reported, no fault hidden */
  free(w->fresh);
  w->fresh = NULL;
}
