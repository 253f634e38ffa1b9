# SPDX-License-Identifier: MIT
"""The command qpal: the one in this package, the one that was installed with it, or that on
PATH."""

import os
import shutil
import subprocess
import sys


def find():
    """Its path.  FileNotFoundError names the places that were looked in."""
    here = os.path.dirname(os.path.abspath(__file__))
    places = [os.environ.get("QPAL_COMMAND"), os.path.join(here, "bin", "qpal"),
              os.path.join(here, "..", "..", "..", "..", "bin", "qpal")]
    for path in places:
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    on_path = shutil.which("qpal")
    if on_path is None or _is_script(on_path):  # the script of this package would call itself
        raise FileNotFoundError(
            "the command qpal was not found in $QPAL_COMMAND, in the package, beside it "
            "or on PATH")
    return on_path


def _is_script(path):
    with open(path, "rb") as f:
        return f.read(2) == b"#!"


def environment():
    """Where the command finds NVRTC that came as PyPI's wheel beside this package."""
    out = dict(os.environ)
    try:
        import nvidia
        roots = [path for path in nvidia.__path__]
    except ImportError:
        return out
    for root in roots:
        for folder in ("cu13", "cuda_nvrtc"):
            lib = os.path.join(root, folder, "lib")
            if os.path.isdir(lib):
                out["LD_LIBRARY_PATH"] = os.pathsep.join(
                    filter(None, [out.get("LD_LIBRARY_PATH"), lib]))
    return out


def run(*arguments):
    """Run it to its end.  RuntimeError with what it said where it fails."""
    done = subprocess.run([find(), *arguments], env=environment(), capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise RuntimeError(
            f"qpal {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def main():
    """The script qpal of the wheel."""
    try:
        path = find()
    except FileNotFoundError as e:
        print(f"qpal: {e}", file=sys.stderr)
        return 2
    os.execve(path, [path, *sys.argv[1:]], environment())
