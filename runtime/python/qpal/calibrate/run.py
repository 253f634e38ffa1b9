# SPDX-License-Identifier: MIT
"""A part of a model's blocks run by the model itself:  states that go into a block --> [states
behind a later one, or logits].

The blocks' forward methods are exchanged while a Runner is entered: those before the first of
interest hand on what they get, it is given the states that were kept, and behind the last the pass
ends.  So masks, positions, caches, norms and heads are the model's own.
"""
import torch


class _Ended(Exception):
    """The pass has what it was for."""


class Runner:
    """For one model; sequences are lists of ids, run one at a time without a cache."""

    def __init__(self, model, blocks):
        self.model, self.blocks = model, blocks
        self.device = next(model.parameters()).device
        self.first, self.last, self.given, self.out = 0, None, None, None
        self.more = [None] * len(blocks)  # elements that a block returns behind the states
        self.by_parts = True  # false: a block also needs what others left behind

    def __enter__(self):
        for i, block in enumerate(self.blocks):
            block.forward = self._forward(i, block.forward)
        return self

    def __exit__(self, *_):
        for block in self.blocks:
            del block.forward

    def _forward(self, i, original):
        def forward(*args, **kwargs):
            named = not args
            states = kwargs["hidden_states"] if named else args[0]
            if i == self.first and self.given is not None:
                states = self.given
            if self.first <= i and (self.last is None or i < self.last):
                if named:
                    kwargs["hidden_states"] = states
                else:
                    args = (states, *args[1:])
                result = original(*args, **kwargs)
                self.more[i] = len(result) - 1 if isinstance(result, tuple) else None
                states = result[0] if isinstance(result, tuple) else result
            else:
                result = states if self.more[i] is None else (states,) + (None,) * self.more[i]
            if i + 1 == self.last or (self.last == 0 and i == 0):
                self.out = states
                raise _Ended
            return result
        return forward

    def states(self, ids, first=0, last=None, given=None):
        """[1][ids][hidden] before block 'last' (None: behind all), from what goes into 'first'."""
        last = len(self.blocks) if last is None else last
        if first == last and given is not None:
            return given
        self.first, self.last, self.given = first, last, given
        try:
            self._call(ids)
        except _Ended:
            pass
        finally:
            self.first, self.last, self.given = 0, None, None
        out, self.out = self.out, None
        return out

    def logits(self, ids, first=0, given=None):
        """[ids][vocab], from the states that go into block 'first'; first = the number of blocks:
        of the head alone."""
        self.first, self.last, self.given = first, None, given
        at_end = first == len(self.blocks)
        if at_end:  # nothing but the norm and the head: the last block hands on the states
            self.blocks[-1].forward, kept = (lambda *a, **k: self._packed(given)), \
                self.blocks[-1].forward
        try:
            return self._call(ids)[0]
        finally:
            self.first, self.last, self.given = 0, None, None
            if at_end:
                self.blocks[-1].forward = kept

    def _packed(self, states):
        more = self.more[-1]
        return states if more is None else (states,) + (None,) * more

    def _call(self, ids):
        ids = torch.tensor([ids], device=self.device)
        return self.model(input_ids=ids, use_cache=False).logits

    @torch.no_grad()
    def check(self, ids):
        """Are logits the same when the blocks are run one after the other?  If not (blocks that
        read what others left, as shared keys and values), whole passes are run from now on."""
        whole = self.logits(ids)
        states = self.states(ids, 0, 0)
        try:
            for i in range(len(self.blocks)):
                states = self.states(ids, i, i + 1, states)
            parts = self.logits(ids, len(self.blocks), states)
            off = (parts - whole).abs().max() / whole.abs().max()
            self.by_parts = bool(off < 1e-4)
        except (KeyError, IndexError, AttributeError, TypeError, RuntimeError):
            self.by_parts = False
        return self.by_parts
