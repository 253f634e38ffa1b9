# SPDX-License-Identifier: MIT
"""Tests of runtime/python/qpal/calibrate:  test_calibrate.py BUILD  with the checkpoint that the
test 'circle' made.

Exit code 77: torch, transformers or safetensors is not installed."""
import contextlib
import copy
import glob
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = os.path.join(HERE, "..", "..", "runtime", "python")
sys.path.insert(0, PYTHON)
for name in ("torch", "transformers", "safetensors"):
    try:
        importlib.import_module(name)
    except ImportError:
        print(f"skipped: {sys.executable} has no module {name}")
        sys.exit(77)
import safetensors.torch  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from qpal.calibrate import Options, calibrate  # noqa: E402
from qpal.calibrate import __main__ as main  # noqa: E402
from qpal.calibrate import files, linears, noise, run  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
CHECKPOINT = os.path.join(BUILD, "circle", "checkpoint")
QPAL = os.path.join(BUILD, "qpal")
IDS = [[(7 * i * i + 3 * i + 11 * s) % 61 for i in range(n)] for s, n in enumerate((40, 40, 23))]


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32,
                                                             attn_implementation="eager")


def made_up(config):
    """A model of a config, with weights large enough to matter."""
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.normal_(0, 1.5 / p.shape[-1] ** 0.5)
    return model.eval()


SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0}


def mixtral():
    return made_up(
        transformers.MixtralConfig(**SIZES, intermediate_size=64, num_local_experts=4,
                                   num_experts_per_tok=2))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def read_json(path):
    return json.loads(read(path))


def hessians(folder):
    return {
        os.path.basename(path).removesuffix(".safetensors"): next(
            iter(safetensors.torch.load_file(path).values()))
        for path in glob.glob(os.path.join(folder, "hessians", "*.safetensors"))}


def difference(a, b):
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="qpal-calibrate-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def tokens(self, sequences=IDS):
        with open(self.path("tokens"), "w") as f:
            f.writelines(" ".join(map(str, ids)) + "\n" for ids in sequences)
        return self.path("tokens")

    def qpal(self, *words):
        done = subprocess.run([QPAL, *words], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def python(self, *words):
        return subprocess.run(
            [sys.executable, "-m", "qpal.calibrate", *words], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": PYTHON, "PYTHONDONTWRITEBYTECODE": "1"})


class AgainstC(Case):
    def both(self, checkpoint, tokens):
        words = (checkpoint, "--tokens", tokens, "--sensitivity-tokens", "80", "--probes", "1",
                 "-o")
        self.qpal("calibrate", *words, self.path("c"), "--probes", "1")
        with contextlib.redirect_stdout(io.StringIO()):
            main.run(main.parser().parse_args([*words, self.path("python")]))
        c, python = hessians(self.path("c")), hessians(self.path("python"))
        self.assertEqual(sorted(c), sorted(python))
        for name, h in c.items():
            self.assertLess(difference(python[name], h), 1e-4, name)
        index = [read_json(self.path(f"{n}/hessians/index.json")) for n in ("c", "python")]
        self.assertEqual(*index)
        alpha = [read_json(self.path(f"{n}/calibration.json")) for n in ("c", "python")]
        for key in ("tokens", "sequences", "context", "hessians", "feedback", "sensitivity_tokens",
                    "noise", "probes"):
            self.assertEqual(alpha[0][key], alpha[1][key], key)
        self.assertEqual(list(alpha[0]["linears"]), list(alpha[1]["linears"]))
        for what, rounding in (("sensitivity", 1e-3), ("standard_error", 1e-2)):
            largest = max(value[what] for value in alpha[0]["linears"].values())
            for name, value in alpha[0]["linears"].items(
            ):  # near 0 both are rounding of fp32 logits
                a, b = value[what], alpha[1]["linears"][name][what]
                self.assertLess(abs(a - b), 5e-3 * a + rounding * largest, (name, what))

    def test_hessians_and_sensitivities_are_those_of_qpal_calibrate(self):
        self.both(CHECKPOINT, self.tokens())

    def test_and_of_every_family_that_qpal_runs(self):
        program = os.path.join(BUILD, "forward_families")
        if not os.path.exists(program):
            self.skipTest("forward_families is not built")
        subprocess.run([program, self.folder], check=True)
        for config in sorted(glob.glob(self.path("*/config.json"))):
            folder = os.path.dirname(config)
            with self.subTest(os.path.basename(folder)):
                for made in ("c", "python"):
                    shutil.rmtree(self.path(made), ignore_errors=True)
                self.both(folder, os.path.join(folder, "tokens.txt"))

    def test_sensitivities_from_gradients_are_those_of_qpal_calibrate_up_to_what_is_drawn(self):
        program = os.path.join(BUILD, "forward_families")
        if not os.path.exists(program):
            self.skipTest("forward_families is not built")
        subprocess.run([program, self.folder], check=True)
        words = (self.path("llama"), "--tokens", self.path("llama/tokens.txt"), "-o")
        self.qpal("calibrate", *words, self.path("c"))
        with contextlib.redirect_stdout(io.StringIO()):
            main.run(main.parser().parse_args([
                *words, self.path("python"), "--fisher", "--probes", "60"]))
        c, python = (read_json(self.path(f"{n}/calibration.json"))["linears"]
                     for n in ("c", "python"))
        ratio = torch.tensor([python[n]["sensitivity"] / c[n]["sensitivity"] for n in c]).log()
        self.assertLess(abs(float(ratio.mean())), 0.35)
        self.assertLess(float(ratio.std()), 0.35)

    def test_plan_and_quantize_take_what_it_writes_guided_and_by_gradients(self):
        done = self.python(CHECKPOINT, "--tokens", self.tokens(), "--guided", "2", "--fisher", "-o",
                           self.path("g"))
        self.assertEqual(done.returncode, 0, done.stderr)
        down = hessians(self.path("g"))["model.layers.0.mlp.down_proj"]
        self.assertEqual(down.dim(), 3)
        plan = self.path("plan.json")
        self.qpal("plan", "--model", f"{CHECKPOINT}/config.json", "--bits", "3.5", "--calibration",
                  self.path("g"), "--quantizers", "vq2", "--lm-head", "keep", "-o", plan)
        self.assertNotIn("guess", json.dumps(read_json(plan)))
        losses = []
        for words in ([], ["--calibration", self.path("g")]):
            out = self.path(f"packed{len(words)}")
            self.qpal("quantize", CHECKPOINT, "--quantizer", "vq2-2", "-o", out, *words)
            report = read_json(os.path.join(out, "quantize-report.json"))
            losses.append(sum(x["vq2-2"]["distortion"] for x in report["linears"].values()))
        self.assertGreater(losses[1], losses[0])  # weights are worse, outputs better


class Hessians(Case):
    def expected(self, model, sequences, labels):
        """Mean of x x^T and of the squares of dL/dy, by hooks on modules: [(x, dL/dy)] of each
        name."""
        seen = {}
        model.requires_grad_(False)
        modules = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        handles = []
        for name, module in modules.items():
            def hook(module, args, y, name=name):
                if y.requires_grad:
                    y.retain_grad()
                seen.setdefault(name, []).append((args[0], y))
            handles.append(module.register_forward_hook(hook))
        for ids in sequences:
            ids = torch.tensor(ids)
            embedded = model.get_input_embeddings()(ids[None]).requires_grad_()
            logits = model(inputs_embeds=embedded, use_cache=False).logits[0]
            torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="sum").backward()
        for handle in handles:
            handle.remove()
        return {n: (torch.cat([x[0] for x, _ in pairs]).detach().double(),
                    torch.cat([y.grad[0] for _, y in pairs]).double()) for n, pairs in seen.items()}

    def test_guided_ones_are_weighted_by_squared_gradients_of_each_group_of_outputs(self):
        model = load(CHECKPOINT)
        expected = self.expected(copy.deepcopy(model), IDS, "text")
        calibrate(model, IDS, self.path("g"), Options(guided=2, labels="text",
                                                      sensitivity_tokens=0))
        written = hessians(self.path("g"))
        self.assertEqual(sorted(written), sorted(expected))
        several = 0
        for name, (x, gradient) in expected.items():
            groups = len(written[name])
            several += groups == 2
            for g, part in enumerate(gradient.chunk(groups, dim=1)):
                weights = part.square().mean(1)
                h = (x * weights[:, None]).T @ x / len(x)
                self.assertLess(difference(written[name][g], h), 1e-3, (name, g))
        self.assertGreater(several, 4)

    def test_in_little_memory_gradients_are_taken_several_times_with_the_same_result(self):
        model = load(CHECKPOINT)
        for name, memory in (("a", 4 << 30), ("b", 1 << 18)):
            calibrate(model, IDS, self.path(name), Options(guided=2, fisher=True, memory=memory))
        for file in ("calibration.json", "hessians/model.layers.1.mlp.down_proj.safetensors"):
            a, b = (read(self.path(f"{n}/{file}")) for n in "ab")
            self.assertEqual(a, b)

    def test_a_model_whose_blocks_cannot_be_run_alone_is_run_whole(self):
        model = load(CHECKPOINT)
        options = Options(sensitivity_tokens=80)
        with run.Runner(model, linears.find_blocks(model)[1]) as runner:
            self.assertTrue(runner.check(IDS[0]))
        calibrate(model, IDS, self.path("parts"), options)
        check = run.Runner.check
        run.Runner.check = lambda *_: False
        self.addCleanup(setattr, run.Runner, "check", check)
        calibrate(model, IDS, self.path("whole"), options)
        for name, h in hessians(self.path("parts")).items():
            self.assertLess(difference(hessians(self.path("whole"))[name], h), 1e-5)
        parts, whole = (files.result_of(self.path(n))["linears"] for n in ("parts", "whole"))
        for name, value in parts.items():
            self.assertAlmostEqual(whole[name]["sensitivity"] / value["sensitivity"], 1, 2, name)


class Sensitivities(Case):
    def test_gradients_give_the_limit_of_what_small_noise_costs(self):
        model = made_up(transformers.LlamaConfig(**SIZES, intermediate_size=64))
        for white in (True, False):
            by_noise = calibrate(model, IDS, self.path(f"n{white}"), Options(
                hessians=not white, noise=1e-4, probes=4, sensitivity_tokens=80))["linears"]
            by_fisher = calibrate(model, IDS, self.path(f"f{white}"), Options(
                hessians=not white, fisher=True, probes=60, sensitivity_tokens=80))["linears"]
            self.assertEqual(list(by_noise), list(by_fisher))
            ratio = torch.tensor([
                by_fisher[n]["sensitivity"] / by_noise[n]["sensitivity"] for n in by_noise]).log()
            self.assertLess(abs(float(ratio.mean())), 0.15)
            self.assertLess(float(ratio.std()), 0.3)


class Experts(Case):
    def routed(self, model, layer):
        """Inputs of each expert, from the router's choice: [(x, gate, up)]."""
        block = model.model.layers[layer].mlp
        inputs = []
        handle = block.experts.register_forward_hook(lambda m, args, out: inputs.append(
            (args[0], args[1])))
        with torch.no_grad():
            for ids in IDS:
                model(input_ids=torch.tensor([ids]), use_cache=False)
        handle.remove()
        x = torch.cat([a for a, _ in inputs])
        chosen = torch.cat([b for _, b in inputs])
        return [x[(chosen == e).any(1)] for e in range(block.experts.num_experts)]

    def test_stacks_of_experts_are_named_and_divided_as_in_the_checkpoint(self):
        model = mixtral()
        model.save_pretrained(self.path("model"))
        stored = {}
        for path in glob.glob(self.path("model/*.safetensors")):
            stored.update(safetensors.torch.load_file(path))
        loaded = load(self.path("model"))
        found = linears.find(loaded, IDS[0][:16])
        expected = {n.removesuffix(".weight") for n, w in stored.items() if w.dim() == 2
                    and "embed" not in n and ".gate." not in n}
        self.assertEqual({x.name for x in found}, expected)
        for x in found:
            torch.testing.assert_close(x.weight(), stored[f"{x.name}.weight"])
        self.assertTrue(all(".gate." not in x.name for x in found))

    def test_hessians_are_of_the_tokens_that_came_to_each_expert(self):
        model = mixtral()
        calibrate(model, IDS, self.path("m"), Options(sensitivity_tokens=0))
        index = read_json(self.path("m/hessians/index.json"))["linears"]
        written = hessians(self.path("m"))
        for layer in range(2):
            inputs = self.routed(model, layer)
            experts = model.model.layers[layer].mlp.experts
            for e, x in enumerate(inputs):
                names = [n for n in index if f"layers.{layer}." in n and f"experts.{e}." in n]
                self.assertEqual(len(names), 3, names)
                gate, up = (x @ experts.gate_up_proj[e].detach().T).chunk(2, -1)
                inner = torch.nn.functional.silu(gate) * up
                found = {index[n][:-len(".safetensors")] for n in names}
                self.assertEqual(len(found), 2)  # gate and up share theirs
                for name in found:
                    read = inner if written[name].shape[0] == 64 else x
                    h = read.double().T @ read.double() / len(read)
                    self.assertLess(difference(written[name], h), 1e-4, name)

    def test_noise_and_gradients_of_experts_leave_the_model_as_it_was(self):
        model = mixtral()
        before = copy.deepcopy(model.state_dict())
        for fisher in (False, True):
            result = calibrate(model, IDS, self.path(f"f{fisher}"),
                               Options(fisher=fisher, sensitivity_tokens=40))
            alpha = {n: x["sensitivity"] for n, x in result["linears"].items()}
            last = [n for n in alpha
                    if ".layers.1." in n and "experts" in n]  # no router behind them
            self.assertEqual(len(last), 12)
            self.assertGreater(sum(alpha[n] for n in last), 0)
        for name, value in model.state_dict().items():
            self.assertTrue(torch.equal(value, before[name]), name)

    def test_stacks_that_are_stored_transposed_are_seen_as_rows_of_outputs(self):
        config = transformers.GptOssConfig(**SIZES, intermediate_size=48, num_local_experts=4,
                                           num_experts_per_tok=2, sliding_window=16,
                                           layer_types=["sliding_attention", "full_attention"])
        model = made_up(config)
        found = {x.name: x for x in linears.find(model, IDS[0][:16])}
        stored = model.model.layers[0].mlp.experts.gate_up_proj[1].detach()
        for i, role in enumerate(("gate", "up")):
            x = found[f"model.layers.0.mlp.experts.1.{role}_proj"]
            self.assertEqual((x.rows, x.columns), (48, 32))
            torch.testing.assert_close(x.weight(), stored.T[i::2])
        result = calibrate(model, IDS, self.path("o"), Options(sensitivity_tokens=40))
        self.assertGreater(result["linears"][x.name]["sensitivity"], 0)
        self.assertEqual(
            hessians(self.path("o"))["model.layers.0.mlp.experts.1.down"].shape, (48, 48))
        flat = read_json(self.path("o/sensitivity.json"))
        stack = sum(result["linears"][f"model.layers.0.mlp.experts.{e}.up_proj"]["sensitivity"]
                    for e in range(4))
        self.assertAlmostEqual(flat["model.layers.0.mlp.experts.*.up_proj"] / stack, 1, 6)


class Runs(Case):
    def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(self):
        model = load(CHECKPOINT)
        options = Options(sensitivity_tokens=40)
        calibrate(model, IDS, self.path("whole"), options)
        add, left = files.Ledger.add, [9]

        def stopping(ledger, **entry):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            add(ledger, **entry)

        files.Ledger.add = stopping
        self.addCleanup(setattr, files.Ledger, "add", add)
        for _ in range(20):
            left[0] = 9
            try:
                calibrate(model, IDS, self.path("parts"), options)
                break
            except KeyboardInterrupt:
                self.assertFalse(os.path.exists(self.path("parts/calibration.json")))
        whole = sorted(glob.glob(self.path("whole/**"), recursive=True))
        parts = sorted(glob.glob(self.path("parts/**"), recursive=True))
        self.assertEqual([os.path.relpath(p, self.path("whole")) for p in whole],
                         [os.path.relpath(p, self.path("parts")) for p in parts])
        for a, b in zip(whole, parts):
            if os.path.isfile(a):
                self.assertEqual(read(a), read(b), a)

    def test_a_folder_of_another_run_is_refused(self):
        model = load(CHECKPOINT)
        calibrate(model, IDS, self.path("d"), Options(sensitivity_tokens=0))
        for ids, seed, said in ((IDS[:2], 1, "tokens is [0-9]*, and [0-9]* is asked for: give"),
                                (IDS, 2, "seed is 1, and 2 is asked for"),
                                (IDS[::-1], 1, "of another text or model, or by another qpal")):
            with self.assertRaisesRegex(files.FolderError, said):
                calibrate(model, ids, self.path("d"), Options(sensitivity_tokens=0, seed=seed))

    def test_wrong_input_is_named(self):
        with open(self.path("bad"), "w") as f:
            f.write("1 2\n3 x4\n")
        with open(self.path("large"), "w") as f:
            f.write("1 2 99999\n")
        wrong = [
            ((CHECKPOINT, "-o", "d"), "--text FILE or --tokens FILE"),
            (("/nowhere", "--tokens", "t", "-o", "d"), "/nowhere: there is no such"),
            ((CHECKPOINT, "--tokens", self.path("bad"), "-o", "d"), "line 2: 'x4' is no id"),
            ((CHECKPOINT, "--tokens", self.path("large"), "-o", "d"), "id 99999 is not below"),
            ((CHECKPOINT, "--tokens", "t", "-o", "d", "--guided", "65"), "a number from 1 to 64"),
            ((CHECKPOINT, "--tokens", "t", "-o", "d", "--guided", "2", "--no-hessians"),
             "--guided is of")]
        for words, said in wrong:
            done = self.python(*words)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(said, done.stderr)


class Noise(unittest.TestCase):
    def test_squares_of_rows_are_the_share_that_was_asked_for(self):
        w = torch.randn(40, 24, generator=torch.Generator().manual_seed(3))
        e = noise.white(w, noise.seed_of(1, 2, 3, 0), 0.25)
        torch.testing.assert_close(e.square().sum(1), 0.25 * w.square().sum(1))
        self.assertGreater(float((e - noise.white(w, noise.seed_of(1, 2, 4, 0), 0.25)).abs().max()),
                           0.01)

    def test_shaped_noise_has_outputs_of_one_size_in_all_directions(self):
        g = torch.Generator().manual_seed(4)
        x = torch.randn(400, 24, generator=g) * torch.linspace(0.1, 3, 24)
        h = (x.T @ x / 400)[None]
        white = torch.randn(64, 24, generator=g)
        shaped = noise.shape(white, h).double()
        lower, mean = noise.factor(h[0])
        torch.testing.assert_close(shaped @ lower, mean**0.5 * white.double(), rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
