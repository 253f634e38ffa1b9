#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# NVRTC 13.0.88 and 13.5.37: --fdevice-time-trace=FILE joins a compilation to what FILE.json already
# holds; in 13.0.88 what comes out is no JSON.
#
# Guess: FILE is written anew by each nvrtcCompileProgram, so it is one compilation's trace and
# always valid.
# Seen: ".json" is appended to the name, and the second compilation into the same name keeps the
# first one's events.  13.0.88 splices the two heads so that no JSON reader takes the file; 13.5.37
# writes one valid list with the events of both, told apart by nothing but their times.  Who
# profiles many kernels needs a name for each.
# Output seen (compilations: file valid or not, events of "Phase I" in its text):
#   13.0.88: one valid 1, two invalid 2
#   13.5.37: one valid 1, two valid 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --target "$work/13.0.88" nvidia-cuda-nvrtc==13.0.88
"$work/venv/bin/pip" -q install --target "$work/13.5.37" nvidia-cuda-nvrtc==13.5.37
cat >"$work/trace.py" <<'END'
import ctypes
import glob
import json
import sys

site, version = sys.argv[1:]
nvrtc = ctypes.CDLL(glob.glob(f"{site}/nvidia/cu13/lib/libnvrtc.so.*")[0])
SOURCE = b'extern "C" __global__ void k(float *x) { x[threadIdx.x] *= 2; }'


def state():
    program = ctypes.c_void_p()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), SOURCE, b"k.cu", 0, None, None)
    trace = f"--fdevice-time-trace={site}/trace".encode()
    options = (ctypes.c_char_p * 2)(b"--gpu-architecture=compute_90", trace)
    assert not nvrtc.nvrtcCompileProgram(program, 2, options)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    with open(f"{site}/trace.json") as file:
        text = file.read()
    try:
        json.loads(text)
        valid = "valid"
    except ValueError:
        valid = "invalid"
    return f"{valid} {text.count('Phase I' + chr(34))}"


print(f"{version}: one {state()}, two {state()}")
END
for version in 13.0.88 13.5.37; do
  python3 "$work/trace.py" "$work/$version" "$version"
done >"$work/out"
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   13/13/p' "$0") && echo "as it was seen"
