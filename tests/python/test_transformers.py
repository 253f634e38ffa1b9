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

    def test_what_the_plan_fused_is_one_launch_in_no_grad_and_in_inference_mode(self):
        qpal.transformers.use(cpu="simulator")
        model = transformers.AutoModelForCausalLM.from_pretrained(PACKED, dtype=torch.float16)
        with qpal.Library(os.path.join(CIRCLE, "library")) as library:
            groups = sum(not g["gathers"] for g in library.groups)
        calls, launch, x = [], qpal.torch._gemm, torch.tensor([IDS[:1]])
        qpal.torch._gemm = lambda *a: (calls.append(1), launch(*a))[1]
        try:
            logits = []
            for mode in (torch.no_grad, torch.inference_mode):
                calls.clear()
                with mode():
                    logits.append(model(x).logits)
                self.assertEqual(len(calls), groups)
        finally:
            qpal.torch._gemm = launch
        self.assertTrue(torch.equal(*logits))

    def test_without_a_library_it_says_where_it_looked(self):
        qpal.transformers.use(cpu="simulator")
        with tempfile.TemporaryDirectory() as folder:
            alone = shutil.copytree(PACKED, os.path.join(folder, "alone"))
            with self.assertRaisesRegex(FileNotFoundError, "qpal export"):
                transformers.AutoModelForCausalLM.from_pretrained(alone)

    def test_what_was_changed_is_refused_where_that_is_asked_for(self):
        qpal.transformers.use(verify=True)
        try:
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(os.path.join(CIRCLE, "library"), os.path.join(folder, "library"))
                changed = shutil.copytree(PACKED, os.path.join(folder, "changed"))
                weights = next(f for f in os.listdir(changed) if f.endswith(".safetensors"))
                with open(os.path.join(changed, weights), "r+b") as f:
                    f.seek(-100, 2)
                    byte = f.read(1)
                    f.seek(-100, 2)
                    f.write(bytes([byte[0] ^ 1]))
                for cpu in ("decode", "simulator"):
                    qpal.transformers.use(cpu=cpu)
                    with self.assertRaisesRegex((RuntimeError, qpal.Error), "checksum"):
                        transformers.AutoModelForCausalLM.from_pretrained(changed)
                transformers.AutoModelForCausalLM.from_pretrained(PACKED)
        finally:
            qpal.transformers.use(verify=False)

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


class MatricesTakenApart(unittest.TestCase):
    """A Phi-3 that was packed for two ranks: q, k and v, gate and up are linears of their own."""

    def test_are_one_module_each_that_gives_their_rows_in_order(self):
        import qpal.transformers
        config = transformers.Phi3Config(
            vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, pad_token_id=0, bos_token_id=1,
            eos_token_id=2)
        with tempfile.TemporaryDirectory() as folder:
            was, packed, plain = (os.path.join(folder, n) for n in ("was", "packed", "plain"))
            torch.manual_seed(1)
            transformers.AutoModelForCausalLM.from_config(config).save_pretrained(was)
            library = os.path.join(packed, "library")
            for words in (["quantize", was, "--quantizer", "nuq-4", "--tp", "2", "-o", packed],
                          ["unpack", packed, "-o", plain, "--type", "f32"],
                          ["export", "--model", was, "--quantizer", "nuq-4", "--tp", "2", "--ranks",
                           "1", "--gpu", "sm_90:4", "--batch", "4", "--no-dequant", "-o", library]):
                subprocess.run([QPAL, *words], check=True, capture_output=True)
            load, x = transformers.AutoModelForCausalLM.from_pretrained, torch.tensor([IDS])
            want = load(plain, dtype=torch.float32)(x).logits
            decoded = load(packed, dtype=torch.float32)
            self.assertIsInstance(decoded.model.layers[0].mlp.gate_up_proj, torch.nn.Linear)
            self.assertTrue(torch.allclose(decoded(x).logits, want, atol=1e-5))
            qpal.transformers.use(cpu="simulator")
            try:
                got = load(packed, dtype=torch.float16)(x).logits.float()
            finally:
                qpal.transformers.use(cpu="decode")
            self.assertLess((got - want).norm() / want.norm(), 2e-2)


def stub_vllm():
    """The parts of vLLM's interface that the plug-in uses, as tests/python/against_vllm finds
    them."""
    layers = "vllm.model_executor.layers."
    made = {name: types.ModuleType(name) for name in (
        "vllm", "vllm.model_executor", "vllm.model_executor.layers", layers + "linear",
        layers + "quantization", layers + "quantization.base_config",
        layers + "vocab_parallel_embedding", "vllm.model_executor.models",
        "vllm.model_executor.models.utils")}

    class Stub(types.SimpleNamespace):
        def kind(self, name, *bases, **members):
            setattr(self, name, type(name, bases, members))
            return getattr(self, name)

    stub = Stub(registered={})
    base = stub.kind("QuantizeMethodBase")
    method = stub.kind("LinearMethodBase", base)
    linear, plain = made[layers + "linear"], made[layers + "quantization"]
    linear.LinearBase = stub.kind("LinearBase", torch.nn.Module)
    linear.LinearMethodBase = method
    linear.UnquantizedLinearMethod = stub.kind("UnquantizedLinearMethod", method)
    plain.register_quantization_config = \
        lambda name: lambda kind: stub.registered.setdefault(name, kind)
    config = made[layers + "quantization.base_config"]
    config.QuantizeMethodBase = base
    config.QuantizationConfig = stub.kind(
        "QuantizationConfig", __init__=lambda self: setattr(self, "packed_modules_mapping", {}))
    vocabulary = made[layers + "vocab_parallel_embedding"]
    vocabulary.VocabParallelEmbedding = stub.kind("VocabParallelEmbedding", torch.nn.Module)
    vocabulary.ParallelLMHead = stub.kind("ParallelLMHead", stub.VocabParallelEmbedding)
    made["vllm.model_executor.models.utils"].WeightsMapper = types.SimpleNamespace
    sys.modules.update(made)
    return stub


class Vllm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stub = stub_vllm()
        import qpal.vllm
        os.environ["QPAL_KERNELS"] = os.path.join(CIRCLE, "library")
        with open(os.path.join(PACKED, "config.json"), encoding="utf-8") as f:
            section = json.load(f)["quantization_config"]
        cls.config = cls.stub.registered["qpal"].from_config(section)
        cls.config.maybe_update_config(PACKED, hf_config=None)

    def made(self, kind, prefix, sizes, dtype=torch.float16):
        """A layer as vLLM makes one, its weights loaded."""
        layer = kind()
        method = self.config.get_quant_method(layer, prefix)
        method.create_weights(layer, input_size_per_partition=64, output_partition_sizes=sizes,
                              input_size=64, output_size=sum(sizes), params_dtype=dtype,
                              weight_loader=None)
        method.process_weights_after_loading(layer)
        return layer, method

    def test_a_fused_linear_is_that_of_the_packed_ones_in_one_launch(self):
        calls, launch = [], qpal.torch._gemm
        qpal.torch._gemm = lambda *a: (calls.append(1), launch(*a))[1]
        layer, method = self.made(self.stub.LinearBase, "model.layers.0.self_attn.qkv_proj",
                                  [64, 32, 32])
        x = torch.randn(2, 64).half()
        try:
            with torch.inference_mode():
                y = method.apply(layer, x.clone())
        finally:
            qpal.torch._gemm = launch
        self.assertEqual(len(calls), 1)
        with qpal.Model(os.path.join(CIRCLE, "library"), PACKED, device="sim:90:4") as model:
            group, _ = model.find("model.layers.0.self_attn.q_proj")
            wanted = torch.cat(group(x), -1)
        self.assertTrue(torch.equal(y, wanted))
        self.assertTrue(torch.equal(method.apply(layer, x, torch.ones(128).half()), wanted + 1))

    def test_gate_and_up_keep_vllm_s_order_whatever_the_plan_s_is(self):
        layer, method = self.made(self.stub.LinearBase, "model.layers.0.mlp.gate_up_proj",
                                  [l["rows"] for l in self.linears("gate_proj", "up_proj")])
        x = torch.randn(1, 64).half()
        source = self.config.source
        wanted = torch.cat([qpal.torch.linear(source, f"model.layers.0.mlp.{n}_proj")(x)
                            for n in ("gate", "up")], -1)
        self.assertTrue(torch.equal(method.apply(layer, x), wanted))

    def linears(self, *names):
        with open(os.path.join(PACKED, "config.json"), encoding="utf-8") as f:
            found = {e["name"]: e for e in json.load(f)["quantization"]["linears"]}
        return [found[f"model.layers.0.mlp.{n}"] for n in names]

    def test_a_packed_vocabulary_looks_up_and_gives_logits(self):
        embedding, lookup = self.made(self.stub.VocabParallelEmbedding, "model.embed_tokens", [64])
        head, logits = self.made(self.stub.ParallelLMHead, "lm_head", [64])
        self.assertIs(logits.tie_weights(head, embedding), head)
        ids, x = torch.tensor(IDS), torch.randn(2, 64).half()
        with qpal.Model(os.path.join(CIRCLE, "library"), PACKED, device="sim:90:4") as model:
            self.assertTrue(torch.equal(lookup.embedding(embedding, ids),
                                        model.gather(ids.to(torch.int32))))
            group, _ = model.find("lm_head")
            self.assertTrue(torch.equal(logits.apply(head, x), group(x)[0]))

    def test_what_is_not_packed_is_vllm_s_own_and_ranks_are_refused(self):
        get = self.config.get_quant_method
        own = get(self.stub.LinearBase(), "model.layers.0.router")
        self.assertIsInstance(own, self.stub.UnquantizedLinearMethod)
        self.assertIsNone(get(self.stub.VocabParallelEmbedding(), "model.other_tokens"))
        self.assertIsNone(get(torch.nn.Embedding(2, 2), "model.embed_tokens"))
        method = get(self.stub.LinearBase(), "model.layers.0.self_attn.qkv_proj")
        with self.assertRaisesRegex(ValueError, "on this machine"):
            self.config.maybe_update_config("someone/model", hf_config=None)
        with self.assertRaisesRegex(ValueError, "tensor parallelism"):
            method.create_weights(self.stub.LinearBase(), 64, [32, 16, 16], 64, 128, torch.float16)

    def test_matrices_that_lie_taken_apart_for_ranks_are_refused_by_name(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
                json.dump({"quantization": {"linears": [
                    {"name": "h.qkv.q", "of": {"name": "h.qkv"}}]}}, f)
            config = type(self.config).from_config({"format": "qpal-packed"})
            config.maybe_update_config(folder)
            with self.assertRaisesRegex(ValueError, "'h.qkv' lies there taken apart.*--tp"):
                config.get_quant_method(self.stub.LinearBase(), "h.qkv")

    def test_its_loader_is_handed_no_packed_array_and_every_other_tensor(self):
        dropped = self.config.get_checkpoint_weight_mapper().orig_to_new_regex
        from safetensors import safe_open
        left = []
        for file in os.listdir(PACKED):
            if file.endswith(".safetensors"):
                with safe_open(os.path.join(PACKED, file), "pt") as f:
                    left += [k for k in f.keys() if not any(r.search(k) for r in dropped)]
        self.assertTrue(left)
        self.assertFalse([name for name in left if "norm" not in name], left)


unittest.main(argv=sys.argv[:1], verbosity=2)
