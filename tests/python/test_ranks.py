# SPDX-License-Identifier: MIT
"""test_ranks.py QPAL LIBQPAL WORK [QUANTIZER]: one folder that was packed for 8 ranks is opened by
1, 2, 4 and 8 of them in the simulator; what their linears give, concatenated or added up, is what
the unpacked weights give.  Streams that begin anew for each of 8 ranks cost no distortion; with
QPAL_ALL set of 2 and 4, too.  Needs the standard library alone."""

import array
import ctypes
import json
import math
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys

QPAL, LIBQPAL, WORK = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
QUANTIZER = sys.argv[4] if len(sys.argv) > 4 else "tcq-3"
os.environ["QPAL_LIBRARY"] = LIBQPAL
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "runtime/python"))
import checkpoints  # noqa: E402
import qpal  # noqa: E402

HIDDEN, INNER, HEADS, KEYS, DIM = 256, 512, 8, 4, 32
BLOCK = "model.layers.0."
SHAPES = {"self_attn.q_proj": (HEADS * DIM, HIDDEN), "self_attn.k_proj": (KEYS * DIM, HIDDEN),
          "self_attn.v_proj": (KEYS * DIM, HIDDEN), "self_attn.o_proj": (HIDDEN, HEADS * DIM),
          "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
          "mlp.down_proj": (HIDDEN, INNER)}
COLUMNS = ("self_attn.o_proj", "mlp.down_proj")  # what ranks share of these is added up
BOUND = 2e-3  # relative L2, as qpal check has it in fp16; X~ is rounded once more


def read_floats(folder):
    return {name: checkpoints.floats(*t) for name, t in checkpoints.read(folder).items()}


def make_checkpoint(folder):
    rng = random.Random(1)
    tensors = {"model.embed_tokens.weight": ((64, HIDDEN), array.array("f", [0] * 64 * HIDDEN)),
               "model.norm.weight": ((HIDDEN,), array.array("f", [1] * HIDDEN))}
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{BLOCK}{name}.weight"] = (HIDDEN,), array.array("f", [1] * HIDDEN)
    for name, (m, k) in SHAPES.items():
        tensors[f"{BLOCK}{name}.weight"] = (m, k), array.array("f", (rng.gauss(0, 0.05)
                                                                     for _ in range(m * k)))
        if name[10] in "qkv" and name.startswith("self"):
            tensors[f"{BLOCK}{name}.bias"] = (m, ), array.array("f", (rng.gauss(0, 0.2)
                                                                      for _ in range(m)))
    folder.mkdir(parents=True)
    checkpoints.write(folder, tensors, {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "num_key_value_heads": KEYS, "vocab_size": 64, "tie_word_embeddings": True,
        "rms_norm_eps": 1e-6})


def run(*args, code=0):
    done = subprocess.run([QPAL, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stderr


def told(*args):
    """What a command says on stdout."""
    return subprocess.run([QPAL, *map(str, args)], capture_output=True, text=True,
                          check=True).stdout


def call(group, x):
    """y of each member for one row of x."""
    device, rows = group.model.device, [e.rows for e in group.linears]
    a = device.upload(
        (ctypes.c_uint16 * len(x))(*struct.unpack(f"<{len(x)}H", struct.pack(f"<{len(x)}e", *x))),
        2 * len(x))
    y = [device.alloc(2 * n) for n in rows]
    group.launch(1, qpal.F16, a, device.alloc(2 * len(x)), y)
    device.wait()
    out = []
    for address, n in zip(y, rows):
        got = ctypes.create_string_buffer(2 * n)
        qpal._c._api().download(device.pointer, got, address, 2 * n)
        out.append(struct.unpack(f"<{n}e", got.raw))
    return out


def products(weights, x):
    """W x + bias of every linear on the unpacked weights."""
    out = {}
    for name, (m, k) in SHAPES.items():
        w, bias = weights[f"{BLOCK}{name}.weight"], weights.get(f"{BLOCK}{name}.bias", [0] * m)
        out[name] = [bias[r] + sum(w[r * k + c] * x[k][c] for c in range(k)) for r in range(m)]
    return out


def of_ranks(size, x):
    """What ranks give together: rows behind one another, sums of shared columns."""
    out = {}
    for rank in range(size):
        packed = qpal.Packed(WORK / "packed", rank, size)
        with qpal.Model(WORK / f"library{size}", packed, device="sim:90:2", pdl=False) as model:
            for entry in model.linears:
                name = entry["tensor"].removeprefix(BLOCK)
                group, member = model.find(entry["tensor"])
                m, k = SHAPES[name]
                begin = rank * entry["columns"] if entry["columns"] < k else 0
                y = call(group, x[k][begin:begin + entry["columns"]])[member]
                if name in COLUMNS:
                    out[name] = [a + b for a, b in zip(out.get(name, [0.0] * m), y)]
                else:  # two ranks have one head of keys where there are more of them
                    parts = out.setdefault(name, {})
                    parts[rank * (m // entry["rows"]) // size] = y
        packed.close()
    return {
        n: y if isinstance(y, list) else [v for i in sorted(y) for v in y[i]]
        for n, y in out.items()}


def make_wide(folder):
    """Of a block o alone is no zeros, and down, both of 128 rows."""
    rng, hidden, width = random.Random(4), 128, 2048
    shapes = {"self_attn.q_proj": (width, hidden), "self_attn.k_proj": (256, hidden),
              "self_attn.v_proj": (256, hidden), "self_attn.o_proj": (hidden, width),
              "mlp.gate_proj": (width, hidden), "mlp.up_proj": (width, hidden),
              "mlp.down_proj": (hidden, width)}
    tensors = {"model.embed_tokens.weight": ((64, hidden), array.array("f", [0] * 64 * hidden))}
    for name, (m, k) in shapes.items():
        numbers = (rng.gauss(0, 0.05) if name in COLUMNS else 0 for _ in range(m * k))
        tensors[f"{BLOCK}{name}.weight"] = (m, k), array.array("f", numbers)
    folder.mkdir()
    checkpoints.write(folder, tensors, {
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": width,
        "num_hidden_layers": 1, "num_attention_heads": 8, "num_key_value_heads": 1,
        "head_dim": 256, "vocab_size": 64, "tie_word_embeddings": True})


def distortion(quantizer, size):
    """The mean of o's and down's, packed for so many ranks."""
    zeros = "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"
    keep = (word for name in zeros for word in ("--keep", name))
    report = json.loads(told("quantize", WORK / "wide", "--quantizer", quantizer, "--tp", size,
                             *keep, "--json", "-o", WORK / f"wide-{quantizer}-{size}"))
    each = [report["linears"][BLOCK + name][quantizer]["distortion"] for name in COLUMNS]
    return sum(each) / len(each)


def compare_distortions():
    make_wide(WORK / "wide")
    for quantizer in (QUANTIZER, "vq2-3"):
        whole = distortion(quantizer, 1)
        for size in (2, 4, 8) if os.environ.get("QPAL_ALL") else (8,):
            ratio = distortion(quantizer, size) / whole
            print(f"{quantizer} for {size} ranks: {ratio:.4f} of the distortion for 1")
            assert ratio <= 1.005, f"{quantizer}, {size} ranks: {ratio}"


def refuse(rank, size, library, words):
    """Weights of 8 ranks, opened as one of 'size', and a library for others."""
    try:
        packed = qpal.Packed(WORK / "packed", rank, size)
        with qpal.Model(WORK / f"library{library}", packed, device="sim:90:2") as model:
            model.group(0)
    except qpal.Error as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"rank {rank} of {size} opened with a library for {library}")


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    make_checkpoint(WORK / "checkpoint")
    run("quantize", WORK / "checkpoint", "--quantizer", QUANTIZER, "--tp", 8, "-o", WORK / "packed")
    run("unpack", WORK / "packed", "--type", "f32", "-o", WORK / "plain")
    rng = random.Random(2)
    x = {
        k: [struct.unpack("<e", struct.pack("<e", rng.gauss(0, 1)))[0] for _ in range(k)]
        for k in (HIDDEN, INNER)}
    want = products(read_floats(WORK / "plain"), x)
    for size in (1, 2, 4, 8):
        run("export", "--model", WORK / "checkpoint/config.json", "--quantizer", QUANTIZER, "--tp",
            8, "--ranks", size, "--gpu", "sm_90:2", "--batch", 1, "--type", "f16", "--no-dequant",
            "--prologue", "none", "-o", WORK / f"library{size}")
        got = of_ranks(size, x)
        assert got.keys() == want.keys(), got.keys()
        for name, y in want.items():
            assert len(got[name]) == len(y), f"{name}: {len(got[name])} rows of {size} ranks"
            error = math.sqrt(sum((a - b)**2 for a, b in zip(got[name], y)) / sum(b * b for b in y))
            print(f"{size} ranks, {name}: relative L2 error {error:.2e}")
            assert error < BOUND, f"{size} ranks, {name}: {error}"
    compare_distortions()
    refuse(0, 3, 1, "cannot share")
    refuse(2, 2, 2, "rank is 2 of 2")
    refuse(0, 2, 1, "in the library")
    refuse(0, 1, 2, "in the library")
    told = run("export", "--model", WORK / "checkpoint/config.json", "--quantizer", QUANTIZER,
               "--tp", 8, "--ranks", 3, "--gpu", "sm_90:2", "-o", WORK / "none", code=2)
    assert "which must divide" in told, told


if __name__ == "__main__":
    main()
