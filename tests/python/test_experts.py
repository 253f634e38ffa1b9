# SPDX-License-Identifier: MIT
"""test_experts.py QPAL LIBQPAL WORK [NAME]: a made-up Qwen3-MoE and gpt-oss, as transformers wrote
them (written/, by ../model/against_transformers/experts), go round.  Planned, quantized, exported,
and one block's experts run through the public interface in the simulator, compared with a reference
on the unpacked weights; on the weights as they were written the reference is compared with what
torch made of them.  With NAME only that checkpoint, another gpt-oss, is written to WORK.  Needs the
standard library alone."""

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
os.environ["QPAL_LIBRARY"] = LIBQPAL
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "runtime/python"))
import checkpoints  # noqa: E402
import qpal  # noqa: E402

HIDDEN, INNER, EXPERTS, TOP_K = 128, 64, 6, 2
HEADS, KEYS, DIM = 2, 1, 64
MLP = "model.layers.0.mlp."
IDS = [[0, 5], [2, 0], [5, 3]]  # no token goes to 1 and 4
WEIGHTS = [0.75, 0.25, 0.5, 0.5, 0.125, 0.875]  # of the router
TOKENS = len(IDS)
LIMIT = 2.0  # of the gpt-oss that is made up here; 7 in the published ones


def attention():
    """Name, rows and columns of the attention's linears."""
    q, kv = HEADS * DIM, KEYS * DIM
    return ("q", q, HIDDEN), ("k", kv, HIDDEN), ("v", kv, HIDDEN), ("o", HIDDEN, q)


def make_gpt_oss(folder):
    """As transformers 5 writes one: gate and up in one tensor, their columns by turns, [in, out];
    biases of all experts; what steers attention beside it."""
    rng = random.Random(3)

    def w(*shape, size=0.05):
        return shape, array.array("f", (rng.gauss(0, size) for _ in range(math.prod(shape))))

    def ones(n):
        return (n,), array.array("f", [1] * n)

    block = "model.layers.0."
    tensors = {"model.embed_tokens.weight": w(64, HIDDEN), "lm_head.weight": w(64, HIDDEN),
               "model.norm.weight": ones(HIDDEN), MLP + "router.weight": w(EXPERTS, HIDDEN),
               MLP + "router.bias": w(EXPERTS), block + "self_attn.sinks": w(HEADS),
               MLP + "experts.gate_up_proj": w(EXPERTS, HIDDEN, 2 * INNER, size=0.2),
               MLP + "experts.gate_up_proj_bias": w(EXPERTS, 2 * INNER, size=0.5),
               MLP + "experts.down_proj": w(EXPERTS, INNER, HIDDEN),
               MLP + "experts.down_proj_bias": w(EXPERTS, HIDDEN, size=0.2)}
    for name, rows, columns in attention():
        tensors[f"{block}self_attn.{name}_proj.weight"] = w(rows, columns)
        tensors[f"{block}self_attn.{name}_proj.bias"] = w(rows)
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{block}{name}.weight"] = ones(HIDDEN)
    folder.mkdir()
    checkpoints.write(folder, tensors, {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_local_experts": EXPERTS, "num_experts_per_tok": TOP_K,
        "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": KEYS,
        "head_dim": DIM, "vocab_size": 64, "swiglu_limit": LIMIT, "attention_bias": True,
        "sliding_window": 128, "layer_types": ["full_attention"], "tie_word_embeddings": False,
        "rms_norm_eps": 1e-5})
    return tensors


def run(*args):
    subprocess.run([QPAL, *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def silu_glu(g, u):
    return g / (1 + math.exp(-g)) * u


def gpt_oss_glu(g, u, limit=LIMIT):
    g, u = min(g, limit), max(min(u, limit), -limit)
    return g / (1 + math.exp(-1.702 * g)) * (u + 1)


def gpt_oss_biases(tensors):
    """bias(expert, projection) of what make_gpt_oss() wrote, or transformers."""
    def numbers(name):
        kind, data = tensors[MLP + name]
        return checkpoints.floats(kind, data) if isinstance(kind, str) else data

    of_gate_up = numbers("experts.gate_up_proj_bias")
    of_down = numbers("experts.down_proj_bias")

    def bias(e, name):
        if name == "down":
            return of_down[e * HIDDEN:(e + 1) * HIDDEN]
        return of_gate_up[2 * INNER * e:2 * INNER * (e + 1)][name == "up"::2]
    return bias


def weights_of(folder):
    """weight(expert, projection), row by row: of tensors one by one, or of gpt-oss's stacks, which
    lie the other way and have gate and up by turns."""
    tensors = checkpoints.read(folder)

    def one(e, name):
        return checkpoints.floats(*tensors[f"{MLP}experts.{e}.{name}_proj.weight"])

    def stacked(e, name):
        rows, columns = (HIDDEN, INNER) if name == "down" else (INNER, HIDDEN)
        which = "down_proj" if name == "down" else "gate_up_proj"
        apart, first = (1, 0) if name == "down" else (2, name == "up")
        kind, data = tensors[f"{MLP}experts.{which}"]
        size = len(data) // EXPERTS
        stack = checkpoints.floats(kind, data[e * size:(e + 1) * size])
        return [stack[(c * rows + r) * apart + first] for r in range(rows) for c in range(columns)]

    return stacked if MLP + "experts.gate_up_proj" in tensors else one


def reference(folder, x, glu, bias=None, choice=None, router=None):
    """The weighted sums of down(glu(gate x, up x)) of each token's experts, in double precision."""
    weight, choice, router = weights_of(folder), choice or IDS, router or WEIGHTS

    def times(e, name, rows, v):
        w = weight(e, name)
        n = len(v)
        b = bias(e, name) if bias else [0] * rows
        return [sum(a * b for a, b in zip(w[r * n:(r + 1) * n], v)) + b[r] for r in range(rows)]

    out = []
    for t, ids in enumerate(choice):
        token = [0] * HIDDEN
        for k, e in enumerate(ids):
            row = x[t * HIDDEN:(t + 1) * HIDDEN]
            gate, up = (times(e, name, INNER, row) for name in ("gate", "up"))
            y = times(e, "down", HIDDEN, [glu(g, u) for g, u in zip(gate, up)])
            token = [a + router[t * TOP_K + k] * b for a, b in zip(token, y)]
        out += token
    return out


def halves(values):
    data = struct.pack(f"<{len(values)}e", *values)
    return (ctypes.c_char * len(data)).from_buffer_copy(data)


def layer(model, x, choice=IDS, router=WEIGHTS, inner=None, behind=False, **glu):
    """The same by four launches and the rotations between them; 'inner' is a rank's rows of up.
    'behind': the gated linear unit behind up and gate, not before down's rotation."""
    inner = inner or INNER
    names = {g["name"]: g for g in model.library.groups if g["experts"]}
    first = model.experts(next(n for n in names if "up" in n))
    down = model.experts(next(n for n in names if "down" in n))
    device, n = model.device, TOKENS * TOP_K
    flat = (ctypes.c_int32 * n)(*[e for ids in choice for e in ids])
    ids = device.upload(flat, 4 * n)
    on_device = device.upload(halves(x), 2 * len(x))
    gate, up, out = (device.alloc(2 * n * width) for width in (inner, inner, HIDDEN))
    routing = device.alloc(first.query(TOKENS)["routing_bytes"])
    assert first.query(TOKENS)["tile"] == down.query(TOKENS)["tile"]
    y = [up if b"up_proj" in linear.tensor else gate for linear in first.linears]
    first.route(TOKENS, ids, routing)
    first.rotate(TOKENS, on_device, on_device)
    if behind:
        first.launch(TOKENS, on_device, routing, [gate], glu=glu.get("activation", "silu"),
                     limit=glu.get("limit", 0))
        down.rotate(n, gate, gate)
    else:
        first.launch(TOKENS, on_device, routing, y)
        down.rotate(n, gate, gate, up, **glu)
    down.launch(TOKENS, gate, routing, [out], by_token=False)
    weights = device.upload((ctypes.c_float * n)(*router), 4 * n)
    y = device.alloc(2 * TOKENS * HIDDEN)
    down.combine(TOKENS, out, weights, y)
    device.wait()
    got = ctypes.create_string_buffer(2 * TOKENS * HIDDEN)
    qpal._c._api().download(device.pointer, got, y, len(got))
    return struct.unpack(f"<{TOKENS * HIDDEN}e", got.raw)


def pack(folder, *more):
    """A checkpoint planned, quantized, unpacked again and exported."""
    run("plan", "--model", folder / "checkpoint/config.json", "--bits", "4.9", "--quantizers",
        "nuq-4,nf4-g64", "-o", folder / "plan.json")
    run("quantize", folder / "checkpoint", "--plan", folder / "plan.json", "-o", folder / "packed")
    run("unpack", folder / "packed", "-o", folder / "plain")
    run("export", "--plan", folder / "plan.json", "--gpu", "sm_90:2", "--batch", "4", "--type",
        "f16", "-o", folder / "library", *more)


def error_of(got, want):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(got, want)) / sum(b * b for b in want))


def go_round(kind, glu, **activation):
    """Pack a checkpoint that transformers wrote, run its experts, compare with the reference, and
    that with torch."""
    written, folder = pathlib.Path(__file__).parent / "written" / kind, WORK / kind
    (folder / "checkpoint").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(written / name, folder / "checkpoint")
    told = json.loads((written / "layer.json").read_text())
    tensors = checkpoints.read(written)
    routing = {"choice": told["ids"], "router": told["weights"]}
    bias = gpt_oss_biases(tensors) if MLP + "experts.down_proj_bias" in tensors else None
    error = error_of(reference(written, told["x"], glu, bias, **routing), told["y"])
    print(f"{kind}: the reference beside torch {told['torch']}: relative L2 error {error:.2e}")
    assert error < 1e-5, error
    pack(folder, "--glu")
    want = reference(folder / "plain", told["x"], glu, bias, **routing)
    with qpal.Model(folder / "library", folder / "packed", device="sim:90:2") as model:
        for behind in (False, True):
            got = layer(model, told["x"], behind=behind, **routing, **activation)
            error = error_of(got, want)
            print(f"experts of a made-up {kind}{', unit behind' if behind else ''}: "
                  f"relative L2 error {error:.2e}")
            assert error < 4e-3, error  # X~ is rounded twice on its way


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    go_round("qwen3_moe", silu_glu)
    go_round("gpt_oss", lambda g, u: gpt_oss_glu(g, u, 7), activation="swiglu_oai", limit=7)


if __name__ == "__main__" and len(sys.argv) == 4:
    main()
elif __name__ == "__main__":  # a checkpoint alone, of this name in WORK
    make_gpt_oss(WORK / sys.argv[4])
