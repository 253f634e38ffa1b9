# SPDX-License-Identifier: MIT
"""test_rank_parts.py QPAL LIBQPAL WORK: a made-up Phi-3-small, whose q, k and v lie in one matrix
by turns, as gate and up do row by row, is packed for 8 ranks, which share each of these; then a
Phi-3, which has them one behind another.  1, 2, 4 and 8 ranks in the simulator give together what
the unpacked weights give, which are the checkpoint's own tensors again.  Needs the standard library
alone."""

import array
import json
import math
import random
import shutil
import struct

import checkpoints
import test_ranks as kit  # takes the same arguments

WORK, HIDDEN, HEADS, KEYS, DIM = kit.WORK, kit.HIDDEN, kit.HEADS, kit.KEYS, kit.DIM
INNER = 256
QKV, UP = "self_attn.query_key_value", "mlp.up_proj"
WHOLE = {QKV: ((HEADS + 2 * KEYS) * DIM, HIDDEN), "self_attn.dense": (HIDDEN, HEADS * DIM),
         UP: (2 * INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER)}
GROUP = HEADS // KEYS  # heads of q that read one of keys

# Each part's rows of its matrix: of a head of keys its heads of q, then itself and its values.
TURN = (GROUP + 2) * DIM
ROWS = {f"{QKV}.q": [k * TURN + r for k in range(KEYS) for r in range(GROUP * DIM)],
        f"{QKV}.k": [k * TURN + GROUP * DIM + r for k in range(KEYS) for r in range(DIM)],
        f"{QKV}.v": [k * TURN + (GROUP + 1) * DIM + r for k in range(KEYS) for r in range(DIM)],
        f"{UP}.gate": range(0, 2 * INNER, 2), f"{UP}.up": range(1, 2 * INNER, 2)}
kit.SHAPES = {name: (len(rows), HIDDEN) for name, rows in ROWS.items()}
kit.SHAPES |= {name: WHOLE[name] for name in ("self_attn.dense", "mlp.down_proj")}
kit.COLUMNS = ("self_attn.dense", "mlp.down_proj")


def make_checkpoint(folder):
    rng = random.Random(1)

    def vector(n, deviation, mean=0):
        return (n,), array.array("f", (rng.gauss(mean, deviation) for _ in range(n)))

    tensors = {"model.embed_tokens.weight": ((64, HIDDEN), array.array("f", [0] * 64 * HIDDEN)),
               "model.final_layernorm.weight": vector(HIDDEN, 0, 1)}
    for name, (m, k) in WHOLE.items():
        tensors[f"{kit.BLOCK}{name}.weight"] = (m, k), vector(m * k, 0.05)[1]
        if name not in kit.COLUMNS:  # what ranks add up gets its bias once
            tensors[f"{kit.BLOCK}{name}.bias"] = vector(m, 0.2)
    folder.mkdir(parents=True)
    checkpoints.write(folder, tensors, {
        "architectures": ["Phi3SmallForCausalLM"], "model_type": "phi3small", "vocab_size": 64,
        "hidden_size": HIDDEN, "ff_intermediate_size": INNER, "num_hidden_layers": 1,
        "num_attention_heads": HEADS, "num_key_value_heads": KEYS, "tie_word_embeddings": True})


def of_part(tensors, part):
    """Weight and bias of a part, from those of its matrix."""
    whole, k = part.rpartition(".")[0], HIDDEN
    w, b = tensors[f"{kit.BLOCK}{whole}.weight"], tensors[f"{kit.BLOCK}{whole}.bias"]
    return [v for r in ROWS[part] for v in w[r * k:(r + 1) * k]], [b[r] for r in ROWS[part]]


def taken_apart(tensors):
    out = dict(tensors)
    for part in ROWS:
        out[f"{kit.BLOCK}{part}.weight"], out[f"{kit.BLOCK}{part}.bias"] = of_part(tensors, part)
    return out


def check_unpacked(was, now):
    """The same tensors, of which matrices differ by what packing loses: no row is another's."""
    assert was.keys() == now.keys(), was.keys() ^ now.keys()
    for name, a in was.items():
        b = now[name]
        error = sum((x - y)**2 for x, y in zip(a, b)) / (sum(x * x for x in a) or 1)
        packed = name[len(kit.BLOCK):].removesuffix(".weight") in WHOLE
        assert 1e-4 < error < 0.1 if packed else error == 0, (name, error)


def keep_a_part():
    """A part that stays is a tensor of its own in the folder, and in its place again unpacked."""
    packed, plain = WORK / "kept", WORK / "kept-plain"
    kit.run("quantize", WORK / "checkpoint", "--quantizer", "nuq-3", "--tp", 2, "--keep",
            "query_key_value.k", "--keep", "mlp", "--keep", "dense", "-o", packed)
    names = checkpoints.read(packed).keys()
    own = {f"{kit.BLOCK}{QKV}.{p}.bias" for p in "qkv"} | {f"{kit.BLOCK}{QKV}.k.weight"}
    assert own <= names and f"{kit.BLOCK}{QKV}.bias" not in names, names
    assert f"{kit.BLOCK}{UP}.weight" in names, "no part of it is packed"
    kit.run("unpack", packed, "--type", "f32", "-o", plain)
    was, now = (kit.read_floats(WORK / "checkpoint"), kit.read_floats(plain))
    assert was.keys() == now.keys(), was.keys() ^ now.keys()
    parts = [[of_part(t, f"{QKV}.{p}")[0] for p in "qkv"] for t in (was, now)]
    assert parts[0][1] == parts[1][1] and parts[0][0] != parts[1][0], "k stays, q is packed"


def divergence(model, source):
    told = kit.told("evaluate", model, "--against", source, "--tokens", WORK / "ids", "--context",
                    32, "--json")
    return json.loads(told)[0]["kl_divergence"]


def run_the_model():
    """A Phi-3: a pass reads the matrices put together; what would train them apart is refused."""
    rng, folder, hidden, inner = random.Random(3), WORK / "phi3", 64, 128

    def w(*shape):
        return shape, array.array("f", (rng.gauss(0, 0.1) for _ in range(math.prod(shape))))

    tensors = {name: w(96, hidden) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    tensors["model.norm.weight"] = (hidden,), array.array("f", [1] * hidden)
    for name, shape in (("self_attn.qkv_proj", (3 * hidden, hidden)),
                        ("self_attn.o_proj", (hidden, hidden)),
                        ("mlp.gate_up_proj", (2 * inner, hidden)),
                        ("mlp.down_proj", (hidden, inner))):
        tensors[f"{kit.BLOCK}{name}.weight"] = w(*shape)
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{kit.BLOCK}{name}.weight"] = tensors["model.norm.weight"]
    folder.mkdir()
    checkpoints.write(folder, tensors, {
        "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": 2,
        "vocab_size": 96, "tie_word_embeddings": False, "max_position_embeddings": 64})
    (WORK / "ids").write_text(" ".join(str((i * i + i // 40) % 96) for i in range(128)))
    packed, plain = WORK / "phi3-packed", WORK / "phi3-plain"
    kit.run("quantize", folder, "--quantizer", "nuq-4", "--tp", 2, "-o", packed)
    kit.run("unpack", packed, "--type", "f32", "-o", plain)
    assert abs(divergence(packed, plain)) < 1e-9, divergence(packed, plain)
    lost = [divergence(packed, folder)]  # less where o and down see the errors before them
    kit.run("quantize", folder, "--quantizer", "nuq-4", "--tp", 2, "--tokens", WORK / "ids",
            "--context", 32, "-o", WORK / "phi3-taken-back")
    lost.append(divergence(WORK / "phi3-taken-back", folder))
    assert lost[1] < 0.6 * lost[0], lost
    why = kit.run("refine", packed, "--against", folder, "--tokens", WORK / "ids", "--context", 16,
                  "--batch", 16, "--steps", 1, "-o", WORK / "refined", code=2)
    assert "qkv_proj.q' is part of a matrix" in why and not (WORK / "refined").exists(), why


def contiguous():
    """A Phi-3: q, k and v lie one behind another in their matrix, as gate and up do in theirs."""
    qkv, up, rng = "self_attn.qkv_proj", "mlp.gate_up_proj", random.Random(5)
    q, kv = HEADS * DIM, KEYS * DIM
    where = {f"{qkv}.q": (0, q), f"{qkv}.k": (q, kv), f"{qkv}.v": (q + kv, kv),
             f"{up}.gate": (0, INNER), f"{up}.up": (INNER, INNER)}
    whole = {qkv: (q + 2 * kv, HIDDEN), up: (2 * INNER, HIDDEN),
             "self_attn.o_proj": (HIDDEN, q), "mlp.down_proj": (HIDDEN, INNER)}
    kit.COLUMNS = ("self_attn.o_proj", "mlp.down_proj")
    kit.SHAPES = {name: (rows, HIDDEN) for name, (_, rows) in where.items()}
    kit.SHAPES |= {name: whole[name] for name in kit.COLUMNS}
    one = (HIDDEN,), array.array("f", [1] * HIDDEN)
    tensors = {"model.embed_tokens.weight": ((64, HIDDEN), array.array("f", [0] * 64 * HIDDEN)),
               "model.norm.weight": one, f"{kit.BLOCK}input_layernorm.weight": one,
               f"{kit.BLOCK}post_attention_layernorm.weight": one}
    for name, (m, k) in whole.items():
        tensors[f"{kit.BLOCK}{name}.weight"] = (m, k), array.array("f", (rng.gauss(0, 0.05)
                                                                         for _ in range(m * k)))
    kit.WORK = WORK / "contiguous"
    (kit.WORK / "checkpoint").mkdir(parents=True)
    checkpoints.write(kit.WORK / "checkpoint", tensors, {
        "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "vocab_size": 64,
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": 1,
        "num_attention_heads": HEADS, "num_key_value_heads": KEYS, "tie_word_embeddings": True})
    kit.run("quantize", kit.WORK / "checkpoint", "--quantizer", "nuq-3", "--tp", 8, "-o",
            kit.WORK / "packed")
    kit.run("unpack", kit.WORK / "packed", "--type", "f32", "-o", kit.WORK / "plain")
    plain = kit.read_floats(kit.WORK / "plain")
    for part, (begin, rows) in where.items():
        w = plain[f"{kit.BLOCK}{part.rpartition('.')[0]}.weight"]
        plain[f"{kit.BLOCK}{part}.weight"] = w[begin * HIDDEN:(begin + rows) * HIDDEN]
    compare((2, 4, 8), plain)


def compare(sizes, plain):
    """What ranks give together, and what the unpacked weights give."""
    rng = random.Random(2)
    x = {HIDDEN: [struct.unpack("<e", struct.pack("<e", rng.gauss(0, 1)))[0]
                  for _ in range(HIDDEN)]}
    want = kit.products(plain, x)
    for size in sizes:
        export(size)
        got = kit.of_ranks(size, x)
        assert got.keys() == want.keys(), got.keys()
        for name, y in want.items():
            assert len(got[name]) == len(y), f"{name}: {len(got[name])} rows of {size} ranks"
            error = math.sqrt(sum((a - b)**2 for a, b in zip(got[name], y)) / sum(b * b for b in y))
            print(f"{size} ranks, {name}: relative L2 error {error:.2e}")
            assert error < kit.BOUND, f"{size} ranks, {name}: {error}"


def refuse_plans():
    """A plan of the whole matrix says nothing of its parts."""
    plan, config = WORK / "whole.json", WORK / "checkpoint/config.json"
    kit.run("plan", "--model", config, "--quantizers", "nuq-3", "-o", plan)
    for words in (("quantize", WORK / "checkpoint", "--plan", plan, "--tp", 2),
                  ("export", "--plan", plan, "--tp", 2, "--gpu", "sm_90:2")):
        told = kit.run(*words, "-o", WORK / "none", code=2)
        assert QKV in told and "qpal plan --tp 2" in told, told
        assert not (WORK / "none").exists()


def measured():
    """What was measured of the matrix counts for its linears: sensitivities and Hessians."""
    names = [f"{kit.BLOCK}{name}" for name in WHOLE]
    (WORK / "alpha.json").write_text(json.dumps(dict(zip(names, (2, 1, 3, 1)))))
    kit.run("plan", "--model", WORK / "checkpoint/config.json", "--quantizers", "nuq-3", "--tp", 2,
            "--sensitivity", WORK / "alpha.json", "-o", WORK / "measured.json")
    plan = json.loads((WORK / "measured.json").read_text())
    alpha = {x["tensor"].removeprefix(kit.BLOCK): x["sensitivity"] for x in plan["linears"]
             if x["tensor"].startswith(kit.BLOCK)}
    want = {f"{QKV}.q": 1, f"{QKV}.k": 0.5, f"{QKV}.v": 0.5, f"{UP}.up": 1.5, f"{UP}.gate": 1.5,
            "self_attn.dense": 1, "mlp.down_proj": 1}
    assert alpha == want, alpha
    hessians = WORK / "hessians"
    hessians.mkdir()
    one = array.array("f", (float(r == c) + 0.5 for r in range(HIDDEN) for c in range(HIDDEN)))
    checkpoints.write(hessians, {f"{names[0]}.hessian": ((HIDDEN, HIDDEN), one)}, {})
    kit.run("quantize", WORK / "checkpoint", "--plan", WORK / "measured.json", "--hessian",
            hessians / "model.safetensors", "-o", WORK / "measured")
    section = json.loads((WORK / "measured/config.json").read_text())["quantization"]
    fed = {x["name"].removeprefix(kit.BLOCK) for x in section["linears"] if "damping" in x}
    assert fed == {f"{QKV}.{part}" for part in "qkv"}, fed


def export(size):
    """Where there is a plan, for as many ranks as it is made for; else by what was packed."""
    library, plan = kit.WORK / f"library{size}", kit.WORK / "plan.json"
    what = ["--plan", plan] if size == 8 and plan.exists() else [
        "--model", kit.WORK / "checkpoint/config.json", "--quantizer", "nuq-3", "--tp", 8,
        "--ranks", size]
    kit.run("export", *what, "--gpu", "sm_90:2", "--batch", 1, "--type", "f16", "--no-dequant",
            "--prologue", "none", "-o", library)


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    make_checkpoint(WORK / "checkpoint")
    kit.run("plan", "--model", WORK / "checkpoint/config.json", "--quantizers", "nuq-3", "--tp", 8,
            "-o", WORK / "plan.json")
    kit.run("quantize", WORK / "checkpoint", "--plan", WORK / "plan.json", "-o", WORK / "packed")
    kit.run("unpack", WORK / "packed", "--type", "f32", "-o", WORK / "plain")
    plain = kit.read_floats(WORK / "plain")
    check_unpacked(kit.read_floats(WORK / "checkpoint"), plain)
    compare((1, 2, 4, 8), taken_apart(plain))
    measured()
    keep_a_part()
    run_the_model()
    refuse_plans()
    contiguous()


if __name__ == "__main__":
    main()
