/* SPDX-License-Identifier: MIT */
/* qpal verify: are packed weights and kernel libraries still what was written? */
#include <qpal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/model/section_check.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/command/commands.h"

static const qp_verb_help help = {
    "verify", "FOLDER... [--json]",
    "Reads every array of packed weights (of qpal quantize) and every kernel of a library (of\n"
    "qpal export), and compares them with the checksums that were written beside them, and what\n"
    "config.json says of packed weights with what their files say. Prints PASS\n"
    "or FAIL with what is damaged. Exit codes: 0 all are whole, 1 one is damaged, 2 one cannot be\n"
    "read."};

static const qp_column columns[] = {
    {"path", false}, {"kind", false}, {"result", false}, {"why", false}, {NULL, false}};

/* A library is a .qpal file, or a folder that holds library.qpal. */
static bool is_library(const char *path) {
  char file[4096];
  struct stat at;
  const size_t n = strlen(path);
  if (n > 5 && !strcmp(path + n - 5, ".qpal") && !stat(path, &at) && S_ISREG(at.st_mode))
    return true;
  return snprintf(file, sizeof file, "%s/library.qpal", path) < (int)sizeof file &&
         !stat(file, &at);
}

static qpal_status verify_library(const char *path) {
  qpal_library *library = NULL;
  qpal_status status = qpal_library_open(path, &library);
  if (!status) status = qpal_library_verify(library);
  qpal_library_close(library);
  return status;
}

static qpal_status verify_packed(const char *path, qp_error *err) {
  qpal_packed *packed = NULL;
  qpal_status status = qpal_packed_open(path, &packed);
  if (!status) status = qpal_packed_verify(packed);
  qpal_packed_close(packed);
  if (status) return status;
  const qp_status section = qp_section_check(path, err);
  return section ? section == QP_E_IO ? QPAL_E_IO : QPAL_E_FORMAT : QPAL_OK;
}

/* The exit code that a path's status stands for. */
static int code_of(qpal_status status) {
  return status == QPAL_OK ? 0 : status == QPAL_E_FORMAT ? 1 : 2;
}

static int verify(const char *path, qp_table_out *rows) {
  const bool library = is_library(path);
  qp_error err = {.text = ""};
  const qpal_status status = library ? verify_library(path) : verify_packed(path, &err);
  qp_table_row(rows);
  qp_table_text(rows, path);
  qp_table_text(rows, library ? "library" : "weights");
  qp_table_text(rows, status ? "FAIL" : "PASS");
  qp_table_text(rows, !status ? "" : *err.text ? err.text : qpal_message());
  return code_of(status);
}

int qp_cmd_verify(int argc, char **argv) {
  bool json = false;
  const qp_option table[] = {QP_FLAG("json", json, "print JSON"), {0}};
  qp_words words = {0};
  qp_error err = {{0}};
  int code = qp_options_parse(&help, table, argc, argv, &words), worst = 0;
  if (code >= 0) return code;
  if (!words.count)
    return qp_complain(
        "verify", qp_fail(&err, QP_E_ARG, "a FOLDER is needed: of packed weights or a library"),
        &err);
  qp_table_out *rows = qp_table_new(columns, json);
  for (size_t i = 0; i < words.count; i++) {
    code = verify(words.word[i], rows);
    if (code > worst) worst = code;
  }
  qp_table_print(rows);
  return worst;
}
