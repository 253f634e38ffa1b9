# SPDX-License-Identifier: MIT
"""Sensitivities by paired noise: what W + E and W - E do to the predictions
(tuner/calibrate/CALIBRATION.md)."""
import torch

from . import noise

_ROWS = 128  # predictions compared at a time, in double


def divergences(model, source):
    """[tokens] of sum_i p_i (ln p_i - ln q_i) for logits [tokens][vocab] of p (source) and q."""
    out = []
    for at in range(0, len(source), _ROWS):
        p = torch.log_softmax(source[at:at + _ROWS].double(), dim=-1)
        q = torch.log_softmax(model[at:at + _ROWS].double(), dim=-1)
        out.append((p.exp() * (p - q)).sum(-1))
    return torch.cat(out)


class Probe:
    """Measures linears one after the other; states[i] of sequence i go into the block at hand."""

    def __init__(self, runner, sequences, logit_bytes):
        self.runner, self.sequences = runner, sequences
        self.vocab, self.kept = None, None
        first = runner.logits(sequences[0])
        tokens = sum(len(ids) for ids in sequences)
        if 4 * tokens * first.shape[-1] <= logit_bytes:
            self.kept = [first] + [runner.logits(ids) for ids in sequences[1:]]

    def measure(self, linear, block, states, options, hessians, seed_place):
        """(alpha, standard error) of one linear, which is as before afterwards."""
        weight = linear.weight()
        own, means, total = weight.clone(), [], 0
        for probe in range(options.probes):
            seed = noise.seed_of(options.seed, *seed_place, probe)
            e = noise.white(own.float(), seed, options.noise)
            if hessians is not None:
                e = noise.shape(e, hessians)
            e = e.to(weight.device)
            try:
                pair = [self._run(weight, own, sign * e, block, states) for sign in (1, -1)]
            finally:
                weight.copy_(own)
            tokens = (pair[0] + pair[1]) / 2
            if not torch.isfinite(tokens).all():
                raise ValueError(f"{linear.name}: a divergence is not finite: the model's "
                                 "activations overflow")
            total = total + tokens
            means.append(float(tokens.mean()))
        alpha = sum(means) / len(means) / options.noise
        error = _error_square(total / (len(means) * options.noise)) + _error_square(
            torch.tensor(means, dtype=torch.float64) / options.noise)
        return alpha, error ** 0.5

    def _run(self, weight, own, e, block, states):
        noisy = (own.float() + e).to(weight.dtype)
        out = []
        for i, ids in enumerate(self.sequences):
            given = None if states is None else states[i]
            weight.copy_(noisy)
            logits = self.runner.logits(ids, block if given is not None else 0, given)
            if self.kept is None:
                weight.copy_(own)
            source = self.runner.logits(ids) if self.kept is None else self.kept[i]
            out.append(divergences(logits, source))
        return torch.cat(out)


def _error_square(x):
    """Square of the standard error of the mean."""
    return float(x.var() / len(x)) if len(x) > 1 else 0.0
