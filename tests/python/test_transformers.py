# SPDX-License-Identifier: MIT
"""Tests of qpal.transformers, and of qpal.vllm against stubs of vLLM's interface, on what the test
'circle' made:  test_transformers.py LIBQPAL_SIM CIRCLE QPAL"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import types
import unittest

import torch
import transformers

LIBRARY, CIRCLE, QPAL = sys.argv[1:4]
HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = os.path.join(HERE, "..", "..", "runtime", "python")
PACKED, IDS = os.path.join(CIRCLE, "packed"), [5, 17, 60, 2]
sys.path.insert(0, PYTHON)
os.environ["QPAL_COMMAND"] = QPAL
import qpal  # noqa: E402

qpal.use(LIBRARY)


def generate(model, count):
    ids = model.generate(torch.tensor([IDS]), max_new_tokens=count, do_sample=False,
                         eos_token_id=None)
    return ids[0].tolist()[len(IDS):]


class WithoutThePlugin(unittest.TestCase):
    def test_a_packed_folder_is_refused_and_not_filled_with_random_weights(self):
        done = subprocess.run([sys.executable, "-c", "import sys, transformers\n"
                               f"transformers.AutoModelForCausalLM.from_pretrained({PACKED!r})"],
                              capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("q_proj.weight", done.stdout + done.stderr)
        self.assertIn("qpal", done.stdout + done.stderr)


class Plugin(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import qpal.transformers
        with tempfile.TemporaryDirectory() as folder:
            plain = os.path.join(folder, "plain")
            subprocess.run([QPAL, "unpack", PACKED, "-o", plain, "--type", "f32"], check=True,
                           capture_output=True)
            cls.plain = transformers.AutoModelForCausalLM.from_pretrained(
                plain, dtype=torch.float32)
        cls.wanted = generate(cls.plain, 8)

    def tearDown(self):
        qpal.transformers.use(cpu="decode")

    def test_a_folder_is_a_running_model_with_decoded_weights(self):
        model = transformers.AutoModelForCausalLM.from_pretrained(PACKED, dtype=torch.float32)
        self.assertIsInstance(model.model.layers[0].self_attn.q_proj, torch.nn.Linear)
        self.assertEqual(generate(model, 8), self.wanted)
        x = torch.tensor([IDS])
        self.assertTrue(torch.allclose(model(x).logits, self.plain(x).logits, atol=1e-5))

    def test_its_kernels_run_in_the_simulator(self):
        qpal.transformers.use(cpu="simulator")
        model = transformers.AutoModelForCausalLM.from_pretrained(PACKED, dtype=torch.float16)
        self.assertIsInstance(model.lm_head, qpal.torch.Linear)
        self.assertIsInstance(model.model.embed_tokens, qpal.torch.Embedding)
        self.assertEqual(generate(model, 1), self.wanted[:1])
        x = torch.tensor([IDS])
        a, b = model(x).logits.float(), self.plain(x).logits
        self.assertLess((a - b).norm() / b.norm(), 2e-2)
        self.assertFalse(any(p.requires_grad for n, p in model.named_parameters() if "proj" in n))

    def test_without_a_library_it_says_where_it_looked(self):
        qpal.transformers.use(cpu="simulator")
        with tempfile.TemporaryDirectory() as folder:
            alone = shutil.copytree(PACKED, os.path.join(folder, "alone"))
            with self.assertRaisesRegex(FileNotFoundError, "qpal export"):
                transformers.AutoModelForCausalLM.from_pretrained(alone)

    def test_a_folder_of_a_later_format_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            later = shutil.copytree(PACKED, os.path.join(folder, "later"))
            path = os.path.join(later, "config.json")
            with open(path, encoding="utf-8") as f:
                config = json.load(f)
            config["quantization_config"]["version"] = 99
            with open(path, "w", encoding="utf-8") as f:
                json.dump(config, f)
            with self.assertRaisesRegex(ValueError, "version 99"):
                transformers.AutoModelForCausalLM.from_pretrained(later)

    def test_wrong_words_are_refused(self):
        with self.assertRaisesRegex(ValueError, "decode or simulator"):
            qpal.transformers.use(cpu="fast")


def stub_vllm():
    """The parts of vLLM's documented interface that the plug-in uses."""
    names = [
        "vllm", "vllm.model_executor", "vllm.model_executor.layers",
        "vllm.model_executor.layers.linear", "vllm.model_executor.layers.quantization",
        "vllm.model_executor.layers.quantization.base_config"]
    made = {name: types.ModuleType(name) for name in names}
    made[names[3]].LinearBase = type("LinearBase", (torch.nn.Module,), {})
    made[names[3]].LinearMethodBase = type("LinearMethodBase", (), {})
    registered = {}
    made[names[4]].register_quantization_config = \
        lambda name: lambda kind: registered.setdefault(name, kind)
    made[names[5]].QuantizationConfig = type("QuantizationConfig", (),
                                             {"__init__": lambda self: None})
    sys.modules.update(made)
    return made[names[3]].LinearBase, registered


class Vllm(unittest.TestCase):
    def test_a_fused_linear_is_that_of_the_packed_ones(self):
        base, registered = stub_vllm()
        import qpal.vllm
        os.environ["QPAL_KERNELS"] = os.path.join(CIRCLE, "library")
        with open(os.path.join(PACKED, "config.json"), encoding="utf-8") as f:
            config = registered["qpal"].from_config(json.load(f)["quantization_config"])
        config.maybe_update_config(PACKED)
        self.assertIsNone(config.get_quant_method(torch.nn.Embedding(2, 2), "model.embed_tokens"))
        layer = base()
        method = config.get_quant_method(layer, "model.layers.0.self_attn.qkv_proj")
        with self.assertRaisesRegex(ValueError, "tensor parallelism"):
            method.create_weights(layer, 64, [32, 16, 16], 64, 128, torch.float16)
        method.create_weights(layer, 64, [64, 32, 32], 64, 128, torch.float16)
        method.process_weights_after_loading(layer)
        x = torch.randn(2, 64).half()
        with qpal.Model(os.path.join(CIRCLE, "library"), PACKED, device="sim:90:4") as model:
            group, _ = model.find("model.layers.0.self_attn.q_proj")
            wanted = torch.cat(group(x), -1)
        self.assertTrue(torch.equal(method.apply(layer, x), wanted))
        self.assertTrue(torch.equal(method.apply(layer, x, torch.ones(128).half()), wanted + 1))


unittest.main(argv=sys.argv[:1], verbosity=2)
