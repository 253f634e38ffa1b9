# SPDX-License-Identifier: MIT
"""Does a decoder written from runtime/PACKED.md find the weights that qpal quantize packed?
test_packed_decoder.py QPAL

Checkpoints of one block are made, packed, decoded, and compared with their source: the error must
be the one that quantize reports, which no other rotation, order of columns or rounding of a split
gives.  And every field that quantize writes must be in PACKED.md.  Exit code 77: there is no
numpy."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError:
    print("skipped: no numpy")
    sys.exit(77)
import checkpoints
import packed_decoder

QPAL = sys.argv[1]
PACKED = pathlib.Path(__file__).resolve().parents[2] / "runtime" / "PACKED.md"


def fields(value, names):
    """All keys of objects in a JSON value, but for names that are no fields."""
    if isinstance(value, list):
        return set().union(*(fields(v, names) for v in value))
    if not isinstance(value, dict):
        return set()
    return ({k for k in value if k not in names}).union(*(fields(v, names) for v in value.values()))


def checkpoint(folder, hidden, middle):
    """A llama of one block whose linears have these sizes; its weights by name."""
    shapes = {
        "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden, hidden),
        "self_attn.v_proj": (hidden, hidden), "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (middle, hidden), "mlp.up_proj": (middle, hidden),
        "mlp.down_proj": (hidden, middle)}
    random = np.random.default_rng(hidden)
    weights = {
        f"model.layers.0.{n}.weight": 0.1 * random.normal(size=s).astype(np.float32)
        for n, s in shapes.items()}
    tensors = dict(weights)
    for name in ("model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm",
                 "model.norm"):
        tensors[name + ".weight"] = np.ones(hidden, np.float32)
    tensors["model.embed_tokens.weight"] = np.zeros((64, hidden), np.float32)
    shaped = {name: (t.shape, t) for name, t in tensors.items()}
    checkpoints.write(pathlib.Path(folder), shaped, {
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": middle,
        "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 1,
        "vocab_size": 64, "tie_word_embeddings": True})
    return weights


def experts_checkpoint(folder):
    """A mixtral of one block, in which each expert is a linear of its own; its weights by name."""
    hidden, middle, experts = 64, 96, 3
    random = np.random.default_rng(7)
    block = "model.layers.0."
    shapes = {f"{block}block_sparse_moe.experts.{e}.{n}.weight": shape for e in range(experts)
              for n, shape in (("w1", (middle, hidden)), ("w2", (hidden, middle)),
                               ("w3", (middle, hidden)))}
    shapes |= {f"{block}self_attn.{n}_proj.weight": (hidden, hidden) for n in "qkvo"}
    weights = {n: 0.1 * random.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    tensors = weights | {
        block + "block_sparse_moe.gate.weight": np.zeros((experts, hidden), np.float32),
        "model.embed_tokens.weight": np.zeros((64, hidden), np.float32)}
    for name in (block + "input_layernorm", block + "post_attention_layernorm", "model.norm"):
        tensors[name + ".weight"] = np.ones(hidden, np.float32)
    checkpoints.write(pathlib.Path(folder), {n: (t.shape, t) for n, t in tensors.items()}, {
        "model_type": "mixtral", "hidden_size": hidden, "intermediate_size": middle,
        "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 1,
        "num_local_experts": experts, "num_experts_per_tok": 2, "vocab_size": 64,
        "tie_word_embeddings": True})
    return weights


class Decoder(unittest.TestCase):
    def see_fields(self, packed, report):
        """Section and report have no field that PACKED.md does not name."""
        names = set(packed.section["quantizers"]) | {l["name"] for l in packed.section["linears"]}
        text = PACKED.read_text(encoding="utf-8")
        section, table = text.split("## quantize-report.json")
        section = section.split("## The section `quantization`")[1]
        for field in fields(packed.section, names):
            self.assertIn(f'"{field}":', section)
        for field in fields(report, names):
            self.assertIn(f"`{field}`", table)

    def see(self, hidden, middle, *options):
        return self.see_checkpoint(lambda folder: checkpoint(folder, hidden, middle), *options)

    def see_checkpoint(self, make, *options):
        with tempfile.TemporaryDirectory() as folder:
            weights = make(folder)
            out = os.path.join(folder, "out")
            subprocess.run([QPAL, "quantize", folder, "-o", out, *options], check=True,
                           stdout=subprocess.DEVNULL)
            packed = packed_decoder.Folder(out)
            with open(os.path.join(out, "quantize-report.json"), encoding="utf-8") as f:
                report = json.load(f)
            self.see_fields(packed, report)
            report = report["linears"]
            for linear in packed.section["linears"]:
                source = weights[linear["name"] + ".weight"].astype(float)
                error = np.sum(
                    (packed_decoder.weights(packed, linear) - source)**2) / np.sum(source**2)
                told = report[linear["name"]][linear["quantizer"]]["distortion_original"]
                self.assertLess(abs(error / told - 1), 1e-5,
                                f"{linear['name']}: {error}, {told} is told")
            return packed

    def test_paley_and_sylvester(self):  # 96 = 12 8, 64
        self.see(96, 64, "--quantizer", "nuq-4")

    def test_second_paley_and_williamson(self):  # 288 = 36 8, 416 = 52 8
        self.see(288, 416, "--quantizer", "vq2-3", "--keep", "gate")

    def test_blocks_of_an_order_that_does_not_factor(self):  # 928 = 29 blocks of 32
        self.see(64, 928, "--quantizer", "nuq-3", "--keep", "up", "--keep", "gate")

    def test_trellis(self):
        self.see(96, 160, "--quantizer", "tcq-2", "--keep", "gate", "--keep", "q_", "--keep", "v_")

    def test_columns_that_two_ranks_share(self):
        packed = self.see(192, 320, "--quantizer", "tcq-2.75", "--tp", "2", "--keep", "gate",
                          "--keep", "up")
        down = [l for l in packed.section["linears"] if l["name"].endswith("down_proj")][0]
        self.assertEqual([down[k] for k in ("rotation", "split", "slices")], [160, "columns", 2])
        self.assertEqual(packed.section["version"], 3)

    def test_blocks_that_a_definition_asks_for(self):
        with tempfile.TemporaryDirectory() as folder:
            spec = os.path.join(folder, "mine.lua")
            for name, rotation in (("nuq-blocks", 128), ("nuq-none", '"none"')):
                with open(spec, "w", encoding="utf-8") as f:
                    f.write(f'return scalar {{ name = "{name}", bits = 2, rotation = {rotation},\n'
                            '  codebook = values { -1.5, -0.45, 0.45, 1.5 } }\n')
                packed = self.see(256, 384, "--quantizer", spec, "--keep", "gate", "--keep", "up")
                for linear in packed.section["linears"]:
                    self.assertEqual(linear.get("rotation"), 128 if rotation == 128 else None)
                    self.assertEqual(linear["signs"] is None, rotation != 128)

    def test_columns_in_an_order_of_their_own_and_with_scales(self):
        sides = ('rotation = "none", order = "sensitivity"', 'scale = "weights"',
                 'rotation = 128, order = "sensitivity", scale = "weights"')
        with tempfile.TemporaryDirectory() as folder:
            spec = os.path.join(folder, "mine.lua")
            for i, side in enumerate(sides):
                with open(spec, "w", encoding="utf-8") as f:
                    f.write(f'return scalar {{ name = "nuq-side{i}", bits = 2, {side},\n'
                            '  codebook = values { -1.5, -0.45, 0.45, 1.5 } }\n')
                packed = self.see(256, 384, "--quantizer", spec, "--keep", "gate", "--keep", "up")
                self.assertEqual(packed.section["version"], 4)
                for linear in packed.section["linears"]:
                    order, scale = packed_decoder.columns_of(packed, linear)
                    self.assertEqual(any(order != np.arange(len(order))), i != 1)
                    self.assertEqual("scale" in linear, i != 0)
                    if i == 1:
                        self.assertNotEqual(len(set(scale)), 1)

    def test_stacks_of_experts(self):
        packed = self.see_checkpoint(experts_checkpoint, "--quantizer", "nuq-3")
        names = [l["name"] for l in packed.section["linears"]]
        self.assertEqual(sum(".experts." in n for n in names), 9)

    def test_sparse_entries(self):
        packed = self.see(96, 256, "--quantizer", "spqr-3", "--keep", "gate", "--keep", "up",
                          "--keep", "v_", "--keep", "o_")
        self.assertEqual(packed.section["version"], 5)
        self.assertEqual({l["parts"][0]["sparse"] for l in packed.section["linears"]}, {1, 3})

    def test_groups_in_columns_that_two_ranks_share(self):
        self.see(64, 512, "--quantizer", "int4-g128", "--tp", "2", "--keep", "gate", "--keep", "up")

    def test_split_whose_parts_are_rounded(self):  # 160 / 2 = 80: rounds to 64
        self.see(96, 160, "--quantizer", "tcq-2.75", "--keep", "gate", "--keep", "q_", "--keep",
                 "v_")

    def test_group_fields_in_nibbles(self):
        self.see(32, 64, "--quantizer", "int4-g128", "--keep", "gate", "--keep", "q_", "--keep",
                 "up")

    def test_group_fields_of_several_sizes(self):  # 6 bits of 3 and 5 groups: pieces are filled up
        self.see(96, 160, "--quantizer", "q4_k", "--keep", "gate", "--keep", "q_", "--keep", "up")

    # One field of the linear and one in FP8; eight weights of a row a code; planes and five arrays;
    # codebooks of rows; a field of each row; codes of ten weights, which fill five blocks; a
    # codebook of the linear for three weights, stored as four.
    def test_other_forms_of_codes_fields_and_codebooks(self):
        with tempfile.TemporaryDirectory() as folder:
            spec = os.path.join(folder, "mine.lua")
            with open(spec, "w", encoding="utf-8") as f:
                f.write('return vector { name = "vq3-2", dim = 3, bits = 6, codebook =\n'
                        '  gaussian_kmeans { entries = 64, dim = 3, scope = "tensor" } }\n')
            for name in ("nvfp4", "iq2_xs", "bcq-5", "squeezellm-3", "exl2-3", "ternary-1.6",
                         spec):
                self.see(48, 352, "--quantizer", name, "--keep", "gate", "--keep", "up", "--keep",
                         "v_", "--keep", "o_", "--keep", "q_", "--keep", "k_")

    def test_without_rotation(self):
        self.assertIsNone(
            self.see(64, 96, "--quantizer", "nuq-3",
                     "--no-rotation").section["linears"][0]["signs"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
