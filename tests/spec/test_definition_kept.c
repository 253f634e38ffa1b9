/* SPDX-License-Identifier: MIT */
/* Hashes of long windows are found once and kept; what is kept never hides a fault. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/spec/quantizer.h"

static char folder[] = "/tmp/qpal-definition-XXXXXX";
static char spec[64], own[64];
static qp_error err;

static void make_folder(void) {
  cr_assert_not_null(mkdtemp(folder));
  snprintf(spec, sizeof spec, "%s/one.lua", folder);
  snprintf(own, sizeof own, "%s/cache", folder);
}
static void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_assert_eq(system(command), 0);
}
TestSuite(definition_kept, .init = make_folder, .fini = remove_folder);

static void write_spec(unsigned window, const char *body) {
  FILE *f = fopen(spec, "w");
  fprintf(f,
          "return trellis { name = 'one', window = %u, dim = 1, step = 2,\n"
          "  decode = function (s) %s end }\n",
          window, body);
  fclose(f);
}

/* Load the file in a palette of its own; the hash, or "" with err. */
static const char *load(void) {
  static char hash[33];
  qp_palette *p;
  const qp_quantizer *q;
  cr_assert_eq(qp_palette_open(&p, &err), QP_OK, "%s", err.text);
  const char *usual = getenv("QPAL_CACHE"); /* of the palette, whose codebooks take seconds */
  char *before = usual ? strdup(usual) : NULL;
  setenv("QPAL_CACHE", own, 1);
  const qp_status status = qp_palette_find(p, spec, &q, &err);
  before ? setenv("QPAL_CACHE", before, 1) : unsetenv("QPAL_CACHE");
  free(before);
  snprintf(hash, sizeof hash, "%s", status ? "" : q->hash);
  qp_palette_close(p);
  return hash;
}

/* Calls 'see' for each kept file; returns how many there are. */
static unsigned each_kept(void (*see)(const char *path)) {
  char dir[128], path[512];
  snprintf(dir, sizeof dir, "%s/cache/definition", folder);
  DIR *d = opendir(dir);
  unsigned n = 0;
  for (struct dirent *e; d && (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    n++;
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    if (see) see(path);
  }
  if (d) closedir(d);
  return n;
}

static void tear(const char *path) { cr_assert_eq(truncate(path, 20), 0); }

/* A hash of zeros with the checksum that belongs to it. */
static void put_zeros(const char *path) {
  char both[65];
  snprintf(both, sizeof both, "%s%032d", strrchr(path, '/') + 1, 0);
  FILE *f = fopen(path, "w");
  fprintf(f, "%032d %016llx\n", 0, (unsigned long long)XXH3_64bits(both, 64));
  fclose(f);
}

/* Another digit, and the old checksum. */
static void change_digit(const char *path) {
  FILE *f = fopen(path, "r+");
  const int digit = fgetc(f);
  rewind(f);
  fputc(digit == '0' ? '1' : '0', f);
  fclose(f);
}

Test(definition_kept, the_second_load_reads_what_the_first_one_found) {
  char first[33];
  write_spec(18, "return half(s & 255)");
  snprintf(first, sizeof first, "%s", load());
  cr_assert_eq(strlen(first), 32, "%s", err.text);
  const unsigned kept = each_kept(NULL);
  cr_assert_eq(kept, 1);
  cr_expect_str_eq(load(), first);
  cr_expect_eq(each_kept(NULL), kept);
  each_kept(put_zeros); /* that it is read at all */
  cr_expect_str_eq(load(), "00000000000000000000000000000000");
}

Test(definition_kept, a_file_with_a_changed_digit_is_made_again) {
  char first[33];
  write_spec(18, "return half(s & 255)");
  snprintf(first, sizeof first, "%s", load());
  each_kept(change_digit);
  cr_expect_str_eq(load(), first);
}

Test(definition_kept, a_torn_file_is_made_again) {
  char first[33];
  write_spec(18, "return half(s & 255)");
  snprintf(first, sizeof first, "%s", load());
  each_kept(tear);
  cr_expect_str_eq(load(), first);
}

Test(definition_kept, another_decode_has_another_hash_and_another_file) {
  char first[33];
  write_spec(18, "return half(s & 255)");
  snprintf(first, sizeof first, "%s", load());
  const unsigned kept = each_kept(NULL);
  write_spec(18, "return half(s & 127)");
  cr_expect_str_neq(load(), first);
  cr_expect_eq(each_kept(NULL), kept + 1);
}

Test(definition_kept, a_fault_is_found_each_time) {
  /* infinite at the last state alone */
  write_spec(18, "return as_half(select(eq(s, 0x3ffff), 0x7c00, 0x3c00 + (s & 1)))");
  for (unsigned i = 0; i < 2; i++) {
    cr_expect_str_eq(load(), "");
    cr_expect(strstr(err.text, "0x3ffff") && strstr(err.text, "infinite"), "%s", err.text);
  }
}
