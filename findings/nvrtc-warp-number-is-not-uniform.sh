#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# NVRTC 13.0.88, sm_80, sm_90, sm_100: a branch on threadIdx.x / 32 may part a warp, one on a value
# of __shfl_sync from one lane does not.
#
# Guess: warps are made of 32 neighbouring threads, so the compiler knows that threadIdx.x / 32 is
# equal for a warp's lanes, at least where __launch_bounds__ gives the block's threads.
# Seen: the block may have two dimensions, so it does not: loops and branches on it get a
# convergence barrier (BSSY before, BSYNC behind), also with __launch_bounds__. The same number
# taken by a shuffle from lane 0 needs none, which pays for the shuffle in a hot loop.
# Output seen (BSSY and BSYNC in the machine code):
#   sm_80: divided 4, bounded 4, shuffled 0
#   sm_90: divided 4, bounded 4, shuffled 0
#   sm_100: divided 6, bounded 6, shuffled 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-nvdisasm==13.5.37
"$work/venv/bin/python" - "$work" >"$work/out" <<'END'
import ctypes
import glob
import re
import subprocess
import sys
import sysconfig

site = sysconfig.get_paths()["purelib"] + "/nvidia/cu13"
nvrtc = ctypes.CDLL(glob.glob(site + "/lib/libnvrtc.so.*")[0])
BODY = """(const float *x, float *y, int n) {
  const int warp = %s;
  float s = 0;
  for (int i = warp; i < n; i += 4) {
    s += x[i * 32 + threadIdx.x %% 32];
    if (i %% 3 == 1) { y[i] = s; s = 0; }
  }
  y[threadIdx.x] = s;
}
"""
HEADS = {
    "divided": ('extern "C" __global__ void k', "threadIdx.x / 32"),
    "bounded": ('extern "C" __global__ void __launch_bounds__(128) k', "threadIdx.x / 32"),
    "shuffled": ('extern "C" __global__ void k', "__shfl_sync(0xffffffffu, threadIdx.x / 32, 0)"),
}


def barriers(arch, head, warp):
    program = ctypes.c_void_p()
    source = (head + BODY % warp).encode()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"k.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture=sm_{arch}".encode())
    assert not nvrtc.nvrtcCompileProgram(program, 1, options)
    size = ctypes.c_size_t()
    assert not nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    assert not nvrtc.nvrtcGetCUBIN(program, code)
    path = sys.argv[1] + "/k.cubin"
    with open(path, "wb") as file:
        file.write(code.raw)
    text = subprocess.run([site + "/bin/nvdisasm", "-c", path], capture_output=True, text=True,
                          check=True).stdout
    return len(re.findall(r"\bBSSY|\bBSYNC", text))


for arch in (80, 90, 100):
    counts = ", ".join(f"{name} {barriers(arch, *how)}" for name, how in HEADS.items())
    print(f"sm_{arch}: {counts}")
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   sm_/sm_/p' "$0") && echo "as it was seen"
