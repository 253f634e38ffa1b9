# SPDX-License-Identifier: MIT
"""What pyproject.toml cannot say: the version is the public header's, and the package holds what
was built.

$QPAL_BUILD is a CMake build folder of this tree whose targets libqpal_sim and bundle are made;
without it a build of its own is made first (minutes)."""

import glob
import os
import platform
import re
import shutil
import subprocess
import tempfile

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def version():
    with open(os.path.join(ROOT, "runtime", "include", "qpal.h"), encoding="utf-8") as f:
        parts = re.findall(r"define QPAL_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", f.read())
    return ".".join(parts)


def make_build(folder):
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release"], check=True)
    subprocess.run(["cmake", "--build", folder, "--parallel", "--target", "libqpal_sim", "bundle"],
                   check=True)
    return folder


def one(pattern):
    found = sorted(glob.glob(pattern))
    if not found:
        raise FileNotFoundError(
            f"{pattern}: not built; cmake --build BUILD --target libqpal_sim bundle")
    return found[-1]


class BuildWithBinaries(build_py):
    """The modules, then libqpal_sim (libqpal and the simulator) and the command with what it
    needs."""

    def run(self):
        super().run()
        with tempfile.TemporaryDirectory() as own:
            build = os.environ.get("QPAL_BUILD") or make_build(own)
            to = os.path.join(self.build_lib, "qpal")
            bundle = os.path.dirname(one(os.path.join(build, "bundle", "qpal-*", "qpal")))
            os.makedirs(os.path.join(to, "lib"), exist_ok=True)
            shutil.copy(os.path.realpath(one(os.path.join(build, "libqpal_sim.so"))),
                        os.path.join(to, "lib", "libqpal_sim.so"))
            shutil.rmtree(os.path.join(to, "bin"), ignore_errors=True)
            shutil.copytree(bundle, os.path.join(to, "bin"),
                            ignore=shutil.ignore_patterns("gpu.sh", "qpal-tune-array"))


class PlatformWheel(bdist_wheel):
    """Any Python 3, this processor, the C library of this machine or a newer one."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        libc, _, number = os.confstr("CS_GNU_LIBC_VERSION").partition(" ")
        major, minor = number.split(".")[:2]
        assert libc == "glibc"
        return "py3", "none", f"manylinux_{major}_{minor}_{platform.machine()}"


setup(version=version(), packages=find_packages(include=["qpal", "qpal.*"]),
      cmdclass={"build_py": BuildWithBinaries, "bdist_wheel": PlatformWheel})
