/* SPDX-License-Identifier: MIT */
/* A stranger's program: built against an installed libqpal, fails unless header and library
** agree. */
#include <qpal.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  char header[32];
  snprintf(header, sizeof header, "%d.%d.%d", QPAL_VERSION_MAJOR, QPAL_VERSION_MINOR,
           QPAL_VERSION_PATCH);
  if (strcmp(header, qpal_version()) != 0) {
    fprintf(stderr, "header %s, library %s\n", header, qpal_version());
    return 1;
  }
  printf("qpal %s\n", qpal_version());
  return 0;
}
