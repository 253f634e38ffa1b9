#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# NVRTC 13.5.37: with --Ofast-compile=mid (min, max) __dp4a does not compile below compute_100, and
# the log of every kernel there complains of an option that nobody gave. 13.0.88 compiles all.
#
# Guess: the option trades the code's speed for the compiler's; it never keeps code from compiling.
# Seen: "Error: unsupported operation" where __dp4a stands; the same instruction by inline assembly
# compiles. Every log has "Unknown command line argument '-enable-scalar-pre=false'" of an inner
# tool: who wants empty logs sees all fail. Compiling quickly first needs a way back.
# Output seen (of kernels: one product, __dp4a, dp4a by inline assembly; result, is the log empty):
#   13.0.88 compute_90: 0 yes, 0 yes, 0 yes
#   13.0.88 compute_100: 0 yes, 0 yes, 0 yes
#   13.5.37 compute_90: 0 no, 6 no, 0 no
#   13.5.37 compute_100: 0 yes, 0 yes, 0 yes
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for pinned in nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-nvrtc==13.5.37; do
  version=${pinned#*==}
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" -q install "$pinned"
  "$work/$version/bin/python" - "$version" <<'END'
import ctypes
import glob
import sys

folder = f"{sys.prefix}/lib/python*/site-packages/nvidia/cu13/lib"
nvrtc = ctypes.CDLL(glob.glob(f"{folder}/libnvrtc.so.13")[0])
KERNEL = ('extern "C" __global__ void k(const unsigned *a, unsigned *y)'
          ' {{ unsigned v = 0; {} y[0] = v; }}')
BODIES = ("v = a[0] * a[1];", "v = __dp4a(a[0], a[1], v);",
          'asm("dp4a.u32.u32 %0, %1, %2, %0;" : "+r"(v) : "r"(a[0]), "r"(a[1]));')


def compile_one(body, arch):
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), KERNEL.format(body).encode(), b"k.cu", 0, None,
                             None)
    options = (ctypes.c_char_p * 2)(b"--gpu-architecture=" + arch.encode(), b"--Ofast-compile=mid")
    result = nvrtc.nvrtcCompileProgram(program, 2, options)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(max(size.value, 1))
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return f"{result} {'no' if log.value.strip() else 'yes'}"


for arch in ("compute_90", "compute_100"):
    print(f"{sys.argv[1]} {arch}:", ", ".join(compile_one(body, arch) for body in BODIES))
END
done >"$work/out"
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   //p' "$0") && echo "as it was seen"
