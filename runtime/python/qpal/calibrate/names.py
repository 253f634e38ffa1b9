# SPDX-License-Identifier: MIT
"""What the parameters of a model of transformers are called in its checkpoint.

transformers renames and joins what it loads: gate and up of all experts become one stack.  Its own
conversion back is run on labels in place of weights, so that it says whose rows are where.
"""
import collections

import torch

_INTERLEAVED = {"gpt_oss"}  # gate and up alternate row by row
_PARAMETER = 1 << 36  # labels: number of the parameter * _PARAMETER + row, counted over experts


def _labels(parameters):
    """{name: int64 [..][rows][1]}, for parameters that are matrices or stacks of them."""
    out = {}
    for number, (name, p) in enumerate(parameters.items()):
        rows = torch.arange(p.shape[:-1].numel(), dtype=torch.int64) + number * _PARAMETER
        out[name] = rows.reshape(*p.shape[:-1], 1)
    return out


def _revert(model, labels):
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # transformers 4: parameters are as in the checkpoint
        return labels
    return revert_weight_conversion(model, labels)


class Names:
    def __init__(self, model):
        self.model_type = model.config.get_text_config().model_type
        self.parameters = {name: p for name, p in model.named_parameters() if p.dim() in (2, 3)}
        number = {name: i for i, name in enumerate(self.parameters)}
        labels = _labels(self.parameters)
        try:
            reverted = _revert(model, labels)
        except (RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError,
                NotImplementedError):
            reverted = {}  # a conversion that wants more than labels
        self.of_number = collections.defaultdict(list)  # [(name, first, rows)], counted as labels
        for name, label in reverted.items():
            flat = label.flatten()
            first, ascending = int(flat[0]), torch.arange(len(flat), dtype=torch.int64)
            if torch.equal(flat, first + ascending):
                self.of_number[first // _PARAMETER].append(
                    (name.removesuffix(".weight"), first % _PARAMETER, len(flat)))
        self.number = number

    def of(self, name, expert, rows):
        """[(tensor's name without ".weight", slice of rows)] of a parameter's matrix of 'rows'
        stored rows; expert None: it is no stack."""
        begin = (expert or 0) * rows
        parts = [(n, first - begin, count) for n, first, count in self.of_number[self.number[name]]
                 if begin <= first and first + count <= begin + rows]
        if sum(count for _, _, count in parts) == rows:
            parts.sort(key=lambda part: part[1])
            return [(n, slice(first, first + count)) for n, first, count in parts]
        whole = self.of_number[self.number[name]]
        name = whole[0][0] if len(whole) == 1 else name.removesuffix(".weight")
        return [(name, slice(0, rows))] if expert is None else self._of_stack(name, expert, rows)

    def _of_stack(self, name, expert, rows):
        """Where the checkpoint has a stack as well qpal counts experts, gate and up apart."""
        path, _, last = name.rpartition(".")
        if last != "gate_up_proj":
            return [(f"{path}.{expert}.{last}", slice(0, rows))]
        turns = self.model_type in _INTERLEAVED
        gate, up = (slice(0, rows, 2), slice(1, rows, 2)) if turns else (
            slice(0, rows // 2), slice(rows // 2, rows))
        return [(f"{path}.{expert}.gate_proj", gate), (f"{path}.{expert}.up_proj", up)]
