# SPDX-License-Identifier: MIT
"""test_rank_experts.py QPAL LIBQPAL WORK: a made-up gpt-oss, its experts shared by ranks: every
expert divided (--tp, one folder for all numbers of ranks) or whole ones in slices (--ep).  What the
ranks' layers give is added up and compared with a reference on the unpacked weights.  2 ranks of 4;
with QPAL_ALL set 2, 4 and 8 of 8.  Needs the standard library alone."""

import math
import os
import random
import shutil
import struct

import test_experts as kit  # takes the same arguments

MADE = 8 if os.environ.get("QPAL_ALL") else 4
kit.HIDDEN, kit.INNER, kit.EXPERTS = 64, 32 * MADE, MADE
kit.HEADS, kit.KEYS, kit.DIM = 8, 8, 32
kit.IDS = [[0, MADE - 1], [2, 0], [MADE - 1, 3]]  # many ranks have no expert of a token's
WORK = kit.WORK
BOUND = 4e-3  # relative L2: X~ is rounded twice on its way


def pack(way):
    kit.run("quantize", WORK / "checkpoint", "--quantizer", "tcq-3", f"--{way}", MADE,
            "-o", WORK / way)
    kit.run("unpack", WORK / way, "--type", "f32", "-o", WORK / f"{way}-plain")


def export(way, size):
    """By --model for --tp, by a plan for --ep: both ways to say it."""
    library, what = WORK / f"library-{way}-{size}", ["--quantizer", "tcq-3"]
    if way == "tp":
        what += ["--model", WORK / "checkpoint/config.json", "--tp", MADE, "--ranks", size]
    else:
        plan = WORK / f"plan-{size}.json"
        kit.run("plan", "--model", WORK / "checkpoint/config.json", "--quantizers", "tcq-3", "--ep",
                size, "-o", plan)
        what = ["--plan", plan]
    kit.run("export", *what, "--gpu", "sm_90:2", "--batch", 4, "--type", "f16", "--no-dequant",
            "--prologue", "glu", "-o", library)
    return library


def of_ranks(way, size, x):
    """The sum of what the ranks give; those of --tp have 1 / size of each expert."""
    library, total = export(way, size), [0.0] * len(x)
    for rank in range(size):
        packed = kit.qpal.Packed(WORK / way, rank, size)
        with kit.qpal.Model(library, packed, device="sim:90:2", pdl=False) as model:
            inner = kit.INNER // size if way == "tp" else kit.INNER
            first = kit.EXPERTS // size * rank if way == "ep" else 0  # other ranks' ids are none
            ids = [[e - first for e in token] for token in kit.IDS]
            got = kit.layer(model, x, ids, inner=inner, activation="swiglu_oai", limit=kit.LIMIT)
        total = [a + b for a, b in zip(total, got)]
        packed.close()
    return total


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    tensors = kit.make_gpt_oss(WORK / "checkpoint")
    bias, rng = kit.gpt_oss_biases(tensors), random.Random(2)
    x = [struct.unpack("<e", struct.pack("<e", rng.gauss(0, 1)))[0]
         for _ in range(kit.TOKENS * kit.HIDDEN)]
    for way in ("tp", "ep"):
        pack(way)
        want = kit.reference(WORK / f"{way}-plain", x, kit.gpt_oss_glu, bias)
        for size in (2, 4, 8) if MADE == 8 else (2,):
            got = of_ranks(way, size, x)
            error = math.sqrt(sum((a - b)**2 for a, b in zip(got, want)) / sum(b * b for b in want))
            print(f"--{way} {size}: relative L2 error {error:.2e}")
            assert error < BOUND, error


if __name__ == "__main__":
    main()
