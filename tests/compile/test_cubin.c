/* SPDX-License-Identifier: MIT */
/* The cubin reader on what NVRTC writes, on a hand-made file, and on damaged ones. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/compile/compile.h"
#include "gen/compile/cubin.h"

/* Two kernels, so that records of one must not be taken for the other's. */
static const char source[] =
    "extern \"C\" __global__ void __launch_bounds__(1024, 1) tight(float *p, const float *q) {\n"
    "  __shared__ float s[256];\n"
    "  float a[96];\n"
    "#pragma unroll\n"
    "  for (int i = 0; i < 96; i++) a[i] = q[i * threadIdx.x];\n"
    "  s[threadIdx.x & 255] = a[1];\n"
    "  __syncthreads();\n"
    "  for (int j = 0; j < p[0]; j++) {\n"
    "#pragma unroll\n"
    "    for (int i = 0; i < 96; i++) a[i] = a[i] * a[(i + 7) % 96] + q[i + j];\n"
    "  }\n"
    "  float t = s[255 - (threadIdx.x & 255)];\n"
    "#pragma unroll\n"
    "  for (int i = 0; i < 96; i++) t += a[i];\n"
    "  p[threadIdx.x] = t;\n"
    "}\n"
    "extern \"C\" __global__ void plain(int *p) { p[threadIdx.x] = 1; }\n"
    "extern \"C\" __global__ void groups(int *p) {\n"
    "  __shared__ int s[64];\n"
    "  s[threadIdx.x] = p[0];\n"
    "  asm volatile(\"bar.sync 3, 64;\" ::: \"memory\");\n"
    "  p[threadIdx.x] = s[63 - threadIdx.x];\n"
    "}\n";

static qp_compiled compile(unsigned arch) {
  qp_error err = {.text = ""};
  qp_compiler *c = NULL;
  const qp_compiler_options opt = {.workers = 1, .cache_dir = ""};
  cr_assert_eq(qp_compiler_open(&opt, &c, &err), QP_OK, "%s", err.text);
  const qp_compile_job job = {.name = "tight", .source = source, .arch = arch, .want_cubin = true};
  qp_compiled out = {0};
  cr_assert_eq(qp_compiler_run(c, &job, &out, &err), QP_OK, "%s", err.text);
  qp_compiler_close(c);
  return out;
}

static qp_resources resources(const qp_compiled *c, const char *kernel) {
  qp_error err = {.text = ""};
  qp_resources r = {0};
  cr_assert_eq(qp_cubin_resources(c->cubin, c->cubin_bytes, kernel, &r, &err), QP_OK, "%s",
               err.text);
  qp_ptxas_spills(c->log, kernel, &r.spill_store_bytes, &r.spill_load_bytes);
  return r;
}

/* What ptxas -v says of 'kernel' in the log: "Used 64 registers", "400 bytes smem". */
static unsigned said(const char *log, const char *kernel, const char *before, const char *behind) {
  char head[64];
  snprintf(head, sizeof head, "Function properties for %s\n", kernel);
  const char *at = strstr(log, head);
  cr_assert_not_null(at, "%s", log);
  const char *end = strstr(at, "Compile time");
  const char *found = strstr(at, behind);
  if (!found || (end && found > end)) return 0;
  while (found[-1] >= '0' && found[-1] <= '9') found--;
  cr_assert_eq(memcmp(found - strlen(before), before, strlen(before)), 0);
  return (unsigned)strtoul(found, NULL, 10);
}

Test(cubin, resources_agree_with_what_ptxas_says_for_every_architecture) {
  static const char *const kernels[] = {"tight", "plain", "groups"};
  static const unsigned archs[] = {75, 80, 86, 89, 90, 100, 120}; /* each line of ptxas once */
  for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
    qp_compiled c = compile(archs[i]);
    for (size_t k = 0; k < 3; k++) {
      const qp_resources r = resources(&c, kernels[k]);
      cr_assert_eq(r.registers, said(c.log, kernels[k], "Used ", " registers"));
      cr_assert_eq(r.smem_static_bytes, said(c.log, kernels[k], " ", " bytes smem"));
      cr_assert_eq(r.stack_bytes, said(c.log, kernels[k], " ", " bytes stack frame"));
      cr_assert_eq(r.barriers, said(c.log, kernels[k], "used ", " barriers"));
    }
    const qp_resources tight = resources(&c, "tight"), plain = resources(&c, "plain");
    const qp_resources groups = resources(&c, "groups");
    cr_assert_eq(tight.registers, 64); /* 65536 registers for 1024 threads */
    cr_assert_eq(tight.smem_static_bytes, 1024);
    cr_assert_eq(tight.barriers, 1);
    cr_assert(tight.spill_store_bytes > 0 && tight.spill_load_bytes > 0);
    cr_assert(tight.stack_bytes > 0);
    cr_assert(plain.registers < 32);
    cr_assert_eq(plain.smem_static_bytes, 0);
    cr_assert_eq(plain.barriers, 0);
    cr_assert_eq(plain.stack_bytes, 0);
    cr_assert_eq(plain.spill_store_bytes, 0);
    cr_assert_eq(groups.smem_static_bytes, 256);
    cr_assert_eq(groups.barriers, 4); /* 0 to 3 are reserved by the highest in use */
    qp_compiled_free(&c);
  }
}

Test(cubin, a_kernel_that_is_not_there_is_an_error_that_lists_those_there) {
  qp_compiled c = compile(90);
  qp_error err = {.text = ""};
  qp_resources r = {.registers = 77};
  cr_assert_eq(qp_cubin_resources(c.cubin, c.cubin_bytes, "tigh", &r, &err), QP_E_COMPILE);
  cr_assert_not_null(strstr(err.text, "'tigh'"));
  cr_assert_not_null(strstr(err.text, " tight"));
  cr_assert_not_null(strstr(err.text, " plain"));
  cr_assert_eq(r.registers, 77);
  qp_compiled_free(&c);
}

/* Read a damaged file from memory of just its size, so that a sanitizer sees a read beyond it. */
static void survive(const unsigned char *data, size_t bytes) {
  unsigned char *exact = malloc(bytes ? bytes : 1);
  cr_assert_not_null(exact);
  memcpy(exact, data, bytes);
  qp_error err = {.text = ""};
  qp_resources r = {.registers = 77};
  const qp_status s = qp_cubin_resources(exact, bytes, "tight", &r, &err);
  cr_assert(s == QP_OK || s == QP_E_COMPILE);
  if (s == QP_E_COMPILE) {
    cr_assert_eq(r.registers, 77);
    cr_assert_neq(err.text[0], 0);
  }
  free(exact);
}

Test(cubin, a_file_cut_at_any_length_is_survived) {
  qp_compiled c = compile(90);
  for (size_t n = 0; n < c.cubin_bytes; n += n < 4096 ? 1 : 61) survive(c.cubin, n);
  qp_error err = {.text = ""};
  qp_resources r = {0};
  cr_assert_eq(qp_cubin_resources("", 0, "tight", &r, &err), QP_E_COMPILE);
  qp_compiled_free(&c);
}

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* Damage the parts that steer the reader: header, section headers, and anything else. */
Test(cubin, damaged_files_are_survived) {
  static const unsigned archs[] = {80, 120};
  static const unsigned char nasty[] = {0, 1, 0x7f, 0x80, 0xff};
  for (size_t a = 0; a < 2; a++) {
    qp_compiled c = compile(archs[a]);
    unsigned char *data = malloc(c.cubin_bytes);
    cr_assert_not_null(data);
    Elf64_Ehdr head;
    memcpy(&head, c.cubin, sizeof head);
    uint64_t state = 88172645463325252u;
    for (int round = 0; round < 6000; round++) {
      memcpy(data, c.cubin, c.cubin_bytes);
      const uint64_t edits = 1 + next_random(&state) % 4;
      for (uint64_t e = 0; e < edits; e++) {
        size_t at = next_random(&state) % c.cubin_bytes;
        if (round % 3 == 0) at = next_random(&state) % sizeof head;
        if (round % 3 == 1) {
          at = (size_t)head.e_shoff + next_random(&state) % (64u * head.e_shnum);
        }
        const uint64_t pick = next_random(&state);
        data[at] = pick % 2 ? (unsigned char)(pick >> 8) : nasty[pick / 2 % sizeof nasty];
      }
      survive(data, c.cubin_bytes);
    }
    free(data);
    qp_compiled_free(&c);
  }
}

/* A record with any format byte and any length, at the very end of its section. */
Test(cubin, cut_attribute_records_are_survived) {
  qp_compiled c = compile(90);
  unsigned char *data = malloc(c.cubin_bytes);
  cr_assert_not_null(data);
  Elf64_Ehdr head;
  memcpy(&head, c.cubin, sizeof head);
  for (unsigned i = 0; i < head.e_shnum; i++) {
    const size_t field = (size_t)head.e_shoff + i * sizeof(Elf64_Shdr);
    for (uint64_t size = 0; size < 64; size++) {
      memcpy(data, c.cubin, c.cubin_bytes);
      Elf64_Shdr section;
      memcpy(&section, data + field, sizeof section);
      section.sh_offset = c.cubin_bytes - size; /* over the file's end by nothing, then by one */
      section.sh_size = size + (i & 1);
      memcpy(data + field, &section, sizeof section);
      survive(data, c.cubin_bytes);
    }
  }
  free(data);
  qp_compiled_free(&c);
}

Test(cubin, spills_are_read_from_the_lines_of_the_right_kernel) {
  static const char log[] =
      "ptxas info    : Compiling entry function 'kk' for 'sm_90'\n"
      "ptxas info    : Function properties for kk\n"
      "ptxas         .     8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
      "ptxas info    : Function properties for k\n"
      "    616 bytes stack frame, 1148 bytes spill stores, 1064 bytes spill loads\n"
      "ptxas info    : Function properties for cut\n";
  unsigned stores = 77, loads = 77;
  cr_assert(qp_ptxas_spills(log, "k", &stores, &loads));
  cr_assert_eq(stores, 1148);
  cr_assert_eq(loads, 1064);
  cr_assert(qp_ptxas_spills(log, "kk", &stores, &loads));
  cr_assert_eq(stores, 12);
  cr_assert_eq(loads, 16);
  cr_assert_not(qp_ptxas_spills(log, "cut", &stores, &loads));
  cr_assert_not(qp_ptxas_spills(log, "kkk", &stores, &loads));
  cr_assert_not(qp_ptxas_spills("", "k", &stores, &loads));
  cr_assert_eq(stores, 12, "changed on failure");
}
