/* SPDX-License-Identifier: MIT */
/*
** Any text, of two parts with a byte 0 between, as plan.json and quantize-report.json of a report's
** page: refused, or the page is written, in which no text of theirs becomes markup: it has the tags
** of ours alone.
*/
#include "gen/base/json.h"
#include "tests/fuzz/fuzz_kit.h"
#include "tuner/plan/plan_file.h"
#include "tuner/report/page.h"

/* Text that a hostile plan would have as its own: an attribute or a tag. */
static void check_page(const char *page) {
  unsigned scripts = 0;
  must(strstr(page, "</html>") != NULL);
  for (const char *at = page; (at = strstr(at, "<script")); at++) scripts++;
  must(scripts == 1 && !strstr(page, "<injected") && !strstr(page, "\" onfocus"));
  must(!strstr(page, "=\"nan") && !strstr(page, "=\"inf") && !strstr(page, "=\"-nan") &&
       !strstr(page, "=\"-inf")); /* no place of a mark */
}

static void write_page(const qp_plan *plan, const cJSON *quantized) {
  const qp_page_parts parts = {.plan = plan, .quantized = quantized, .made_by = "qpal"};
  qp_text page = {0};
  qp_page_write(&parts, &page);
  must(!page.failed);
  check_page(page.s);
  qp_text_free(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = (const char *)data, *end = size ? memchr(text, 0, size) : NULL;
  const size_t first = end ? (size_t)(end - text) : size;
  qp_plan plan = {0};
  cJSON *quantized = NULL;
  qp_error err = {.text = ""};
  if (qp_plan_parse("p.json", text, first, &plan, &err)) {
    must_name(&err, "p.json");
    return 0;
  }
  if (end && qp_json_parse("q.json", end + 1, size - first - 1, &quantized, &err))
    must_name(&err, "q.json");
  else
    write_page(&plan, quantized);
  cJSON_Delete(quantized);
  qp_plan_free(&plan);
  return 0;
}
