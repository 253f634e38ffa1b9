/* SPDX-License-Identifier: MIT */
/*
** The first architecture of an instruction:  its spelling + .target -> allowed, or an error.
** A driver refuses PTX with an instruction that its .target does not have; so does the simulator.
** What each needs is what ptxas of CUDA 13.0 takes, tried on one instruction of each row; spellings
** without a row are taken for every architecture of the table in runtime/arch.c, the first of which
** is sm_75.
*/
#include <stdio.h>
#include <string.h>

#include "parse.h"

enum { WORDS = 3 };

/* Of instructions called 'name' (NULL: any) that have all of the modifiers. */
static const struct need {
  unsigned arch;
  const char *name, *word[WORDS];
} needs[] = {
    {80, "cp", {"async"}},
    {80, "createpolicy", {0}},
    {80, "discard", {0}},
    {80, "applypriority", {0}},
    {80, "prefetch", {"L2::evict_last"}},
    {80, NULL, {"L2::cache_hint"}},
    {80, NULL, {"L2::256B"}},
    {80, "mbarrier", {0}},
    {80, "redux", {0}},
    {80, "mma", {"m16n8k4"}},
    {80, "mma", {"m16n8k16"}},
    {80, "mma", {"m16n8k32"}},
    {80, "mma", {"m16n8k64"}},
    {80, "mma", {"tf32"}},
    {80, "mma", {"f64"}},
    {80, NULL, {"bf16"}},
    {80, NULL, {"bf16x2"}},
    {80, NULL, {"relu"}},
    {80, NULL, {"NaN"}},
    {80, "min", {"f16"}},
    {80, "min", {"f16x2"}},
    {80, "max", {"f16"}},
    {80, "max", {"f16x2"}},
    {80, "cvt", {"f16x2"}},
    {80, "cvt", {"tf32"}},
    {86, NULL, {"xorsign"}},
    {89, "mma", {"e4m3"}},
    {89, "mma", {"e5m2"}},
    {89, "cvt", {"e4m3x2"}},
    {89, "cvt", {"e5m2x2"}},
    {90, "cp", {"async", "bulk"}},
    {90, "mbarrier", {"try_wait"}},
    {90, "mbarrier", {"expect_tx"}},
    {90, "mbarrier", {"complete_tx"}},
    {90, "griddepcontrol", {0}},
    {90, "elect", {0}},
    {90, "stmatrix", {0}},
    {90, "mapa", {0}},
    {90, "fence", {"proxy", "async"}},
    {90, "fence", {"mbarrier_init"}},
    {90, NULL, {"cluster"}},
    {90, NULL, {"shared::cluster"}},
    {90, "add", {"bf16"}},
    {90, "add", {"bf16x2"}},
    {90, "sub", {"bf16"}},
    {90, "sub", {"bf16x2"}},
    {90, "mul", {"bf16"}},
    {90, "mul", {"bf16x2"}},
    {90, "ex2", {"bf16"}},
    {90, "ex2", {"bf16x2"}},
    {90, "tanh", {"bf16"}},
    {90, "tanh", {"bf16x2"}},
    {90, "set", {"bf16"}},
    {90, "setp", {"bf16"}},
    {90, "setp", {"bf16x2"}},
    {90, "atom", {"bf16"}},
    {90, "atom", {"bf16x2"}},
    {90, "red", {"bf16"}},
    {90, "red", {"bf16x2"}},
    {90, "cvt", {"bf16", "s32"}},
    {90, "cvt", {"bf16", "u32"}},
    {90, "cvt", {"bf16", "s64"}},
    {90, "cvt", {"bf16", "u64"}},
    {90, "cvt", {"rn", "tf32"}},
    {90, "add", {"u16x2"}},
    {90, "add", {"s16x2"}},
    {90, "min", {"u16x2"}},
    {90, "min", {"s16x2"}},
    {90, "max", {"u16x2"}},
    {90, "max", {"s16x2"}},
    {90, "min", {"relu", "s32"}},
    {90, "max", {"relu", "s32"}},
    {100, NULL, {"f32x2"}},
};

static bool has_part(const parser *p, const char *word) {
  for (uint32_t i = 1; i < p->parts; i++)
    if (!strcmp(p->part[i], word)) return true;
  return false;
}

static bool is_of(const parser *p, const struct need *n) {
  if (n->name && strcmp(n->name, p->part[0]) != 0) return false;
  for (unsigned i = 0; i < WORDS && n->word[i]; i++)
    if (!has_part(p, n->word[i])) return false;
  return true;
}

/* The instruction as it is spelt, modifiers included. */
static void spell(const parser *p, char *to, size_t size) {
  size_t n = 0;
  for (uint32_t i = 0; i < p->parts && n + 1 < size; i++) {
    const char *dot = i ? "." : "";
    n += (size_t)snprintf(to + n, size - n, "%s%s", dot, p->part[i]);
  }
}

bool p_allowed(parser *p) {
  unsigned first = 0;
  for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
    if (needs[i].arch > first && is_of(p, &needs[i])) first = needs[i].arch;
  if (first <= p->target) return true;
  char name[256] = "";
  spell(p, name, sizeof name);
  return p_fail(p, "'%s' is of sm_%u and later; the PTX is for sm_%u", name, first, p->target);
}
