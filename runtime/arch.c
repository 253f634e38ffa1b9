/* SPDX-License-Identifier: MIT */
/*
** The table of architectures; see arch.h.  A new architecture is a row of ROWS: the simulator, the
** generator, the commands and the loader of kernel libraries follow from it.
*/
#include "runtime/arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AMPERE    (QP_ARCH_MMA_K16 | QP_ARCH_ASYNC_COPY)
#define HOPPER    (AMPERE | QP_ARCH_PDL | QP_ARCH_CLUSTER)
#define BLACKWELL (HOPPER | QP_ARCH_WIDE_LOAD)

/*
** number, KiB of shared memory, multiprocessors and name of the usual part, abilities, line, first
** NVRTC. Shared memory: CUDA C++ Programming Guide, "Technical Specifications per Compute
** Capability", "Maximum amount of shared memory per thread block"; for 88 and 107, which it does
** not list, the least of their neighbours.  Multiprocessors: the vendor's data sheets and
** whitepapers (cores over 128 where they name cores alone); of the B200 and B300, whose papers give
** what the whole chip has, as devices report them; 0: no part of the architecture is documented,
** and a command that needs the number asks for it.  First NVRTC: what the library itself lists,
** 12.8 to 13.5 (12.8 is the oldest that is taken).
*/
#define ROWS(X)                                                                                    \
  X(75, 64, 40, "T4", 0, DESKTOP, 1208)                                                            \
  X(80, 163, 108, "A100", AMPERE, DESKTOP, 1208)                                                   \
  X(86, 99, 82, "GeForce RTX 3090", AMPERE, DESKTOP, 1208)                                         \
  X(87, 163, 16, "Jetson AGX Orin", AMPERE, TEGRA, 1208)                                           \
  X(88, 99, 0, "Tegra of compute capability 8.8", AMPERE, TEGRA, 1300)                             \
  X(89, 99, 128, "GeForce RTX 4090", AMPERE, DESKTOP, 1208)                                        \
  X(90, 227, 132, "H100 SXM", HOPPER, DESKTOP, 1208)                                               \
  X(100, 227, 148, "B200", BLACKWELL, DESKTOP, 1208)                                               \
  X(103, 227, 148, "B300", BLACKWELL, DESKTOP, 1209)                                               \
  X(107, 227, 0, "Rubin", BLACKWELL, DESKTOP, 1304)                                                \
  X(110, 227, 20, "Jetson AGX Thor", BLACKWELL, TEGRA, 1300)                                       \
  X(120, 99, 170, "GeForce RTX 5090", BLACKWELL, DESKTOP, 1208)                                    \
  X(121, 99, 48, "GB10 (DGX Spark)", BLACKWELL, DESKTOP, 1209)

#define ROW(number, smem_kib, sms, part, abilities, line, nvrtc)                                   \
  {number, smem_kib * 1024u, sms, abilities, part, QP_ARCH_##line, nvrtc},
const qp_arch qp_arch_table[] = {ROWS(ROW){0}};
#undef ROW

const qp_arch *qp_arch_find(unsigned number) {
  const qp_arch *a = qp_arch_nearest(number);
  return a && a->number == number ? a : NULL;
}

const qp_arch *qp_arch_nearest(unsigned capability) {
  const qp_arch *best = NULL;
  for (const qp_arch *a = qp_arch_table; a->number && a->number <= capability; a++) best = a;
  return best;
}

const char *qp_arch_names(char *to, size_t size) {
  size_t n = 0;
  for (const qp_arch *a = qp_arch_table; a->number && n < size; a++) {
    const char *before = a == qp_arch_table ? "sm_" : a[1].number ? ", " : " or ";
    n += (size_t)snprintf(to + n, size - n, "%s%u", before, a->number);
  }
  return to;
}

qp_status qp_arch_parse(const char *text, unsigned *arch, qp_error *err) {
  const char *digits = strncmp(text, "sm_", 3) == 0 ? text + 3 : text;
  char *end = NULL, names[160];
  const unsigned long v = *digits >= '1' && *digits <= '9' ? strtoul(digits, &end, 10) : 0;
  if (end && !*end && v <= 9999 && qp_arch_find((unsigned)v)) return *arch = (unsigned)v, QP_OK;
  return qp_fail(err, QP_E_ARG, "architecture '%.60s' is not known; known are %s", text,
                 qp_arch_names(names, sizeof names));
}

static const struct {
  unsigned bit;
  const char *name;
} abilities[] = {
#define X(bit, id, name) {QP_ARCH_##id, name},
    QP_ARCH_ABILITIES(X)
#undef X
};
enum { ABILITIES = sizeof abilities / sizeof *abilities };

unsigned qp_arch_ability_parse(const char *name) {
  for (size_t i = 0; i < ABILITIES; i++)
    if (!strcmp(abilities[i].name, name)) return abilities[i].bit;
  return 0;
}

const char *qp_arch_ability_names(unsigned bits, char *to, size_t size) {
  size_t n = 0;
  *to = 0;
  for (size_t i = 0; i < ABILITIES; i++)
    if ((bits & abilities[i].bit) && n < size)
      n += (size_t)snprintf(to + n, size - n, "%s%s", n ? ", " : "", abilities[i].name);
  return to;
}

unsigned qp_arch_smem_bytes(unsigned arch) {
  const qp_arch *a = qp_arch_find(arch);
  return a ? a->smem_bytes : 0;
}

unsigned qp_arch_sm_count(unsigned arch) {
  const qp_arch *a = qp_arch_find(arch);
  return a ? a->sm_count : 0;
}

bool qp_arch_has(unsigned arch, qp_arch_ability ability) {
  const qp_arch *a = qp_arch_find(arch);
  return a && (a->abilities & (unsigned)ability);
}

bool qp_arch_runs_cubin(unsigned made_for, unsigned capability) {
  const qp_arch *made = qp_arch_find(made_for), *runs = qp_arch_find(capability);
  if (made_for == capability) return true;
  if (!made || !runs || made->line != QP_ARCH_DESKTOP || runs->line != QP_ARCH_DESKTOP)
    return false;
  return made_for / 10 == capability / 10 && made_for < capability;
}
