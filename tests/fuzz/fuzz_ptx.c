/* SPDX-License-Identifier: MIT */
/*
** Any bytes as PTX for the simulator: it is refused with a message, or loads, and its kernel 'k',
** if it has one, runs within the limit on instructions or is told its fault.
*/
#include "runtime/device.h"
#include "runtime/sim/sim.h"
#include "tests/fuzz/fuzz_kit.h"

enum { MEMORY = 4096, MOST_INSTRUCTIONS = 2000 };

static qp_device *device;
static qp_devptr memory;

static void begin(void) {
  qp_sim_switches s;
  qp_error err = {.text = ""};
  must(!qp_device_open("sim:sm_90:1", &device, &err));
  must(!qp_sim_switches_get(device, &s, &err));
  s.thread_limit = MOST_INSTRUCTIONS;
  must(!qp_sim_switches_set(device, &s, &err));
  must(!qp_device_alloc(device, MEMORY, &memory, &err));
  must(!qp_device_fill(device, memory, 1, MEMORY, &err));
}

static void launch(qp_function *f) {
  const qp_devptr params[2] = {memory, memory + MEMORY / 2};
  const qp_launch how = {.grid = 2, .block = 32, .params = params, .params_bytes = sizeof params};
  qp_error err = {.text = ""};
  qp_status status = qp_device_launch(device, f, &how, &err);
  if (!status) status = qp_device_sync(device, &err);
  must(!status || *err.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  qp_module *m = NULL;
  qp_function *f = NULL;
  qp_error err = {.text = ""};
  if (!device) begin();
  char *text = as_text(data, size);
  if (qp_device_load(device, text, size, &m, &err)) {
    must(*err.text != 0);
  } else {
    if (!qp_device_function(device, m, "k", &f, &err)) launch(f);
    qp_device_unload(device, m);
  }
  free(text);
  return 0;
}
