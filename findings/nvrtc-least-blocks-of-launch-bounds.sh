#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# NVRTC 13.0.88 and 13.5.37: __launch_bounds__(256, 1) makes another kernel than (256) alone, with
# three times the registers and five times the loads in flight; (256, 4) has twice as many.
#
# Guess: a least number of blocks of 1 is what holds anyway, so the code is the same; asking for
# more blocks a multiprocessor can only lower the registers.
# Seen: without the second argument the compiler keeps to 32 or 40 registers, for the sake of an
# occupancy that nobody asked for, and puts few loads before the first use; with it the registers
# that it leaves are there to be used. A loop that reads memory and is unrolled to have many loads
# under way does not have them until the second argument is written.
# Output seen (registers, the most loads from memory between two products):
#   13.0.88 sm_80: (256) 40 4, (256, 1) 120 20, (256, 4) 64 10
#   13.0.88 sm_90: (256) 32 4, (256, 1) 127 20, (256, 4) 64 9
#   13.0.88 sm_100: (256) 32 4, (256, 1) 119 20, (256, 4) 64 9
#   13.5.37 sm_80: (256) 38 4, (256, 1) 120 20, (256, 4) 64 9
#   13.5.37 sm_90: (256) 32 4, (256, 1) 127 20, (256, 4) 64 9
#   13.5.37 sm_100: (256) 32 4, (256, 1) 118 20, (256, 4) 64 9
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install nvidia-cuda-nvdisasm==13.5.37
for version in 13.0.88 13.5.37; do
  "$work/venv/bin/pip" -q install --target "$work/$version" --no-deps nvidia-cuda-nvrtc==$version
done
"$work/venv/bin/python" - "$work" 13.0.88 13.5.37 >"$work/out" <<'END'
import ctypes
import glob
import re
import struct
import subprocess
import sys
import sysconfig

work, *versions = sys.argv[1:]
nvdisasm = sysconfig.get_paths()["purelib"] + "/nvidia/cu13/bin/nvdisasm"
KERNEL = """
extern "C" __global__ void __launch_bounds__(BOUNDS) k(const uint4 *w, const float4 *x, float *y,
                                                       int n) {
  __shared__ float table[256];
  table[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  float sum = 0;
  w += (size_t)blockIdx.x * n;
#pragma unroll 4
  for (int i = threadIdx.x; i < n; i += 256) {
    const uint4 v = w[i];
    const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float4 u = x[i * 4 + j];
      sum += table[words[j] & 255] * u.x + table[words[j] >> 8 & 255] * u.y +
             table[words[j] >> 16 & 255] * u.z + table[words[j] >> 24] * u.w;
    }
  }
  y[256 + blockIdx.x * 256 + threadIdx.x] = sum;
}
"""


def compiled(nvrtc, arch, bounds):
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    source = KERNEL.replace("BOUNDS", bounds).encode()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"k.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture=sm_{arch}".encode())
    assert not nvrtc.nvrtcCompileProgram(program, 1, options)
    assert not nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    assert not nvrtc.nvrtcGetCUBIN(program, code)
    return code.raw


def registers(code):
    """The entry REGCOUNT (4, 0x2f) of the section .nv.info."""
    offset, = struct.unpack_from("<Q", code, 0x28)
    size, count, names = struct.unpack_from("<HHH", code, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, offset + i * size) for i in range(count)]
    for section in sections:
        name = sections[names][4] + section[0]
        if code[name:code.index(b"\0", name)] != b".nv.info":
            continue
        at, end = section[4], section[4] + section[5]
        while at < end:
            form, what, length = struct.unpack_from("<BBH", code, at)
            if form == 4 and what == 0x2F:
                return struct.unpack_from("<II", code, at + 4)[1]
            at += 4 + (length if form == 4 else 0)


def loads(code):
    """The most loads from memory between two products."""
    path = work + "/k.cubin"
    with open(path, "wb") as file:
        file.write(code)
    text = subprocess.run([nvdisasm, "-c", path], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"/\*[0-9a-f]{4}\*/\s+(?:@!?U?P\d\s+)?(LDG|FFMA|FMUL)\b", text)
    return max(len(run) for run in "".join("L" if n == "LDG" else " " for n in names).split())


for version in versions:
    nvrtc = ctypes.CDLL(glob.glob(f"{work}/{version}/nvidia/cu13/lib/libnvrtc.so.*")[0])
    for arch in (80, 90, 100):
        cells = []
        for bounds in ("256", "256, 1", "256, 4"):
            code = compiled(nvrtc, arch, bounds)
            cells.append(f"({bounds}) {registers(code)} {loads(code)}")
        print(f"{version} sm_{arch}: " + ", ".join(cells))
END
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   13/13/p' "$0") && echo "as it was seen"
