# SPDX-License-Identifier: MIT
"""A model's calibration:  model, ids --> [DIR: Hessians, sensitivities].  Hessians come first, from
all pieces, then sensitivities from the first of them.  What a stopped run left is not done again.
"""
import dataclasses
import hashlib
import json
import os
import sys

import torch

from . import files, linears as L
from .gradients import Fisher, Guided, backward, in_chunks
from .moments import PlainTap
from .run import Runner
from .sensitivity import Probe

_METHOD = 1  # of what is measured: changed with it


@dataclasses.dataclass
class Options:
    """As `python -m qpal.calibrate --help` says; the fields that have no option:

    memory       bytes that sums of Hessians and gradients may take at a time
    logit_bytes  predictions of the model itself are kept where they fit into so many bytes
    """
    hessians: bool = True
    guided: int = 0
    sensitivity_tokens: int = 2048
    fisher: bool = False
    labels: str = "sampled"
    noise: float = 0.01
    probes: int = 1
    seed: int = 1
    text: str = ""
    memory: int = 4 << 30
    logit_bytes: int = 2 << 30
    progress: bool = False


class _Job:
    def __init__(self, model, sequences, folder, options):
        self.model, self.sequences, self.folder, self.o = model, sequences, folder, options
        self.device = next(model.parameters()).device
        self.blocks = L.find_blocks(model)[1]
        self.linears = L.find(model, sequences[0][:16])
        self.first = self._probe_sequences()
        self.hessians = os.path.join(folder, "hessians")
        self.ledger = None

    def _probe_sequences(self):
        """Whole pieces of about as many tokens as were asked for, at least one."""
        if not self.o.sensitivity_tokens:
            return []
        count, tokens = 1, len(self.sequences[0])
        while (count < len(self.sequences)
               and tokens + len(self.sequences[count]) <= self.o.sensitivity_tokens):
            tokens += len(self.sequences[count])
            count += 1
        return self.sequences[:count]

    def key(self):
        """32 digits of all that the result depends on; the first and the last linear stand for the
        checkpoint."""
        o = self.o
        facts = [files.VERSION, _METHOD, o.hessians, o.guided, o.fisher, o.labels, o.noise,
                 o.probes, o.seed, str(self.model.dtype), [x.name for x in self.linears],
                 len(self.first), self.sequences]
        h = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16)
        for linear in (self.linears[0], self.linears[-1]):
            h.update(linear.weight().float().cpu().contiguous().numpy().tobytes())
        return h.hexdigest()

    def say(self, what, done, of):
        if self.o.progress:
            end = "\n" if done == of else ""
            print(f"\r{what}: {done} of {of}", end=end, file=sys.stderr, flush=True)

    # ---- Hessians ----

    def _path(self, name):
        return os.path.join(self.hessians, f"{name}.safetensors")

    def _file_of(self, linear):
        """The Hessian of a linear: its own where guided, else its group's."""
        return linear.name if self.o.guided else linear.group

    def _write(self, moments):
        """Nothing of an expert that no token came to: it is coded without."""
        for name, m in moments.items():
            if m.rows:
                files.write_hessian(self._path(name), name, m.mean(name), m.rows)
            self.ledger.add(hessians=name)

    def write_hessians(self):
        os.makedirs(self.hessians, exist_ok=True)
        index = {x.name: f"{self._file_of(x)}.safetensors" for x in self.linears}
        files.write(os.path.join(self.hessians, "index.json"),
                    json.dumps({"linears": index}, indent=1) + "\n")
        left = [x for x in self.linears if self._file_of(x) not in self.ledger.hessians]
        if self.o.guided:
            self._guided(left)
        elif left:
            self._plain(left)

    @torch.no_grad()
    def _plain(self, left):
        with Runner(self.model, self.blocks) as runner:
            if runner.check(self.sequences[0][:16]):
                self._block_by_block(runner, left)
            else:
                self._in_passes(left)

    def _block_by_block(self, runner, left):
        """One block at a time, with the states that go into it kept."""
        count = len(self.blocks)
        states = [runner.states(ids, 0, 0) for ids in self.sequences]
        for block in range(count + 1):
            here = [x for x in left if x.block == (block if block < count else None)]
            tap = PlainTap(here, self.device)
            with tap:
                for i, ids in enumerate(self.sequences):
                    if block < count:
                        states[i] = runner.states(ids, block, block + 1, states[i])
                    elif here:
                        self._outside(runner, here, ids, states[i])
            self._write(tap.moments)
            self.say("Hessians, blocks", block + 1, count + 1)

    def _outside(self, runner, here, ids, states):
        """The head alone; other linears outside of blocks may stand before them."""
        only_head = all(x.name == "lm_head" for x in here)
        runner.logits(ids, len(self.blocks) if only_head else 0, states if only_head else None)

    def _in_passes(self, left):
        seen = {}
        once = [x for x in left if seen.setdefault(x.group, x) is x]
        for chunk in in_chunks(once, lambda x: 8 * x.columns ** 2, self.o.memory):
            tap = PlainTap(chunk, self.device)
            with tap:
                for ids in self.sequences:
                    self.model(input_ids=torch.tensor([ids], device=self.device), use_cache=False)
            self._write(tap.moments)

    def _guided(self, left):
        chunks = list(in_chunks(left, Guided.cost(self.o.guided), self.o.memory))
        done, all_of = 0, len(chunks) * len(self.sequences)
        for chunk in chunks:
            guided = Guided(chunk, self.o.guided, self.device)
            for i, ids in enumerate(self.sequences):
                generator = torch.Generator().manual_seed(self.o.seed * 1000003 + i)
                backward(self.model, ids, self.o.labels, generator, chunk, guided.see)
                done += 1
                self.say("guided Hessians, pieces", done, all_of)
            self._write(guided.moments)

    def _hessian(self, linear):
        """[G][K][K] for its noise, or None."""
        if not self.o.hessians:
            return None
        found = files.read_hessian(self._path(self._file_of(linear)))
        return None if found is None else found.to(self.device)

    # ---- Sensitivities ----

    def measure(self):
        left = [x for x in self.linears if x.name not in self.ledger.sensitivity]
        if not self.first or not left:
            return
        if self.o.fisher:
            self._fisher(left)
        else:
            self._probe(left)

    def _fisher(self, left):
        chunks = list(in_chunks(left, Fisher.cost, self.o.memory))
        done, all_of = 0, len(chunks) * len(self.first) * self.o.probes
        for chunk in chunks:
            fisher = Fisher(chunk, self._hessian)
            for i, ids in enumerate(self.first * self.o.probes):
                generator = torch.Generator().manual_seed(self.o.seed * 1000003 + (1 << 40) + i)
                count = backward(self.model, ids, self.o.labels, generator, chunk, fisher.see)
                fisher.end_piece(count)
                done += 1
                self.say("sensitivities, pieces", done, all_of)
            for linear in chunk:
                alpha, error = fisher.result(linear)
                self.ledger.add(linear=linear.name, alpha=alpha, error=error)

    @torch.no_grad()
    def _probe(self, left):
        with Runner(self.model, self.blocks) as runner:
            by_parts = runner.check(self.first[0][:16])
            probe = Probe(runner, self.first, self.o.logit_bytes)
            states = [runner.states(ids, 0, 0) for ids in self.first] if by_parts else None
            count, tied = len(self.blocks), self._embedding()
            for block in [*range(count), None]:
                for linear in left:
                    if linear.block == block:
                        whole = linear.matrix.parameter.data_ptr() == tied or (
                            block is None and linear.name != "lm_head")
                        self._probe_one(probe, linear, None if whole else states)
                if by_parts and block is not None:
                    states = [runner.states(ids, block, block + 1, states[i])
                              for i, ids in enumerate(self.first)]

    def _embedding(self):
        return self.model.get_input_embeddings().weight.data_ptr()

    def _probe_one(self, probe, linear, states):
        count = len(self.blocks)
        block = count if linear.block is None else linear.block
        same = [x for x in self.linears if x.block == linear.block and x.name != "lm_head"]
        index = linear.index
        if linear.name == "lm_head":  # as qpal numbers it: behind those of a block
            index = sum(x.block == 0 for x in self.linears)
        elif linear.block is None:
            index = len(self.linears) + same.index(linear)
        hessians = self._hessian(linear)
        alpha, error = probe.measure(linear, block, states, self.o,
                                     None if hessians is None else hessians.cpu(), (block, index))
        self.ledger.add(linear=linear.name, alpha=alpha, error=error)
        self.say("sensitivities, linears", len(self.ledger.sensitivity), len(self.linears))

    # ---- All ----

    def facts(self, key):
        o = self.o
        tokens = sum(len(ids) for ids in self.first)
        facts = {"calibration": files.VERSION, "key": key,
                 "model": os.path.basename(os.path.normpath(self.model.name_or_path or "model")),
                 "text": o.text, "tokens": sum(len(ids) for ids in self.sequences),
                 "sequences": len(self.sequences), "context": max(map(len, self.sequences)),
                 "hessians": o.hessians, "feedback": o.hessians and bool(tokens),
                 "sensitivity_tokens": tokens, "noise": o.noise, "probes": o.probes,
                 "seed": o.seed}
        if o.guided and o.hessians:
            facts["guided"] = o.guided
        if o.fisher and tokens:
            facts["method"] = "fisher"
        if o.fisher and tokens or o.guided and o.hessians:
            facts["labels"] = o.labels
        return facts

    def source(self):
        how = "half the Fisher information times the variance" if self.o.fisher else \
            "KL divergence (nats a token) per relative variance"
        what = "noise, as error feedback leaves it" if self.o.hessians else "white noise"
        return f"qpal.calibrate: {how} of {what}; calibration.json says how it was measured"

    def run(self):
        key = self.key()
        result = files.result_of(self.folder)
        if result is not None and result.get("key") == key:
            return result
        if result is not None:
            wanted = {"method": None, "labels": None, "guided": None, **self.facts(key)}
            other = [f"{name} is {result.get(name)!r}, and {value!r} is asked for"
                     for name, value in wanted.items()
                     if name not in ("key", "text") and result.get(name) != value]
            raise files.FolderError(
                f"{self.folder}: it holds another calibration: "
                f"{other[0] if other else 'of another text or model, or by another qpal'}: "
                "give another -o, or remove it, and it is measured again")
        os.makedirs(self.folder, exist_ok=True)
        self.ledger = files.Ledger(os.path.join(self.folder, "ledger.jsonl"), key)
        done = False
        try:
            if self.o.hessians:
                self.write_hessians()
            self.measure()
            order = {x.name: self.ledger.sensitivity[x.name] for x in self.linears
                     if x.name in self.ledger.sensitivity}
            files.write_results(self.folder, self.facts(key), self.source(), order)
            done = True
        finally:
            self.ledger.close(done)
        return files.result_of(self.folder)


def calibrate(model, sequences, folder, options=None):
    """Write 'folder' as tuner/calibrate/CALIBRATION.md describes it, and return what its
    calibration.json says.

    model       of transformers, causal, on its device; its parameters are as before afterwards,
                its experts are computed one by one (set_experts_implementation)
    sequences   [[id]]: pieces, each of which sees itself alone, of at least 2 tokens
    options     Options

    ValueError: the model has no list of blocks, activations overflow, or a piece is too short;
    files.FolderError: the folder holds another calibration.
    """
    options = options or Options()
    if not sequences or min(map(len, sequences)) < 2:
        raise ValueError("pieces of at least 2 tokens are needed")
    training, gradients = model.training, [p.requires_grad for p in model.parameters()]
    model.eval()
    model.requires_grad_(False)
    try:
        return _Job(model, sequences, folder, options).run()
    finally:
        model.train(training)
        for p, wanted in zip(model.parameters(), gradients):
            p.requires_grad_(wanted)
