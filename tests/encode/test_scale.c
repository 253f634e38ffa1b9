/* SPDX-License-Identifier: MIT */
/* Input scales: the palette's come with qpal and are those that would be found. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "tests/base/home_kit.h"

static qp_error err;

TestSuite(scale, .init = make_home, .fini = drop_home);

static double scale_of(const char *name, char hash[40]) {
  qp_palette *palette;
  const qp_quantizer *q;
  double scale = 0;
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_encode_input_scale(q, &scale, &err), QP_OK, "%s", err.text);
  snprintf(hash, 40, "%s", q->hash);
  qp_palette_close(palette);
  return scale;
}

Test(scale, the_palettes_are_not_searched) {
  static const char *const names[] = {"tcq-3", "tcq-3.25", "wide-3", "vq2-3", "aqlm-2x8"};
  char hash[40];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const double scale = scale_of(names[i], hash);
    cr_expect(scale > 0.5 && scale < 2, "%s: %g", names[i], scale);
    cr_expect_not(exists("cache/scale"), "%s: tests/spec/ship was not run after something changed",
                  names[i]);
  }
}

/* What the source tree ships of a quantizer; 0: nothing. */
static double shipped_scale(const char *hash) {
  char line[128];
  double scale = 0;
  FILE *f = fopen(QP_SOURCE_DIR "/" QP_SHIPPED_SCALES, "r");
  cr_assert_not_null(f);
  while (fgets(line, sizeof line, f)) {
    const char *value = strchr(line, ' ');
    if (value && !strncmp(line, hash, strlen(hash))) scale = strtod(value, NULL);
  }
  fclose(f);
  return scale;
}

Test(scale, what_is_shipped_is_what_would_be_found) {
  char command[512], hash[40];
  snprintf(command, sizeof command, "rm '%s/home/lua/shipped/scales.txt'", folder);
  cr_assert_eq(system(command), 0);
  const double found = scale_of("vq2-2", hash);
  cr_expect(exists("cache/scale"));
  cr_expect_eq(shipped_scale(hash), found);
}
