# SPDX-License-Identifier: MIT
"""The linears of a model of transformers, and what goes through them:  a forward pass --> [x, y of
each linear].

A linear is a weight matrix that a function of torch multiplies by: of an nn.Linear, of a Conv1D, or
one expert's part of a stack [experts][..][..].  They are found by a short pass, so that nothing of
a family has to be known here.
"""
import collections
import re

import torch
from torch.overrides import TorchFunctionMode

from .names import Names

# The argument of each that is the input, and the one that is the weight.
_PRODUCTS = {
    torch.nn.functional.linear: (0, 1), torch.matmul: (0, 1), torch.Tensor.matmul: (0, 1),
    torch.Tensor.__matmul__: (0, 1), torch.mm: (0, 1), torch.Tensor.mm: (0, 1),
    torch.addmm: (1, 2), torch.Tensor.addmm: (1, 2),
}
# As qpal calibrate numbers the linears of a block, which seeds their noise.
_ORDER = ["q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "up_proj", "gate_proj",
          "gate_up_proj", "down_proj"]
_GROUPS = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "qkv_proj": "qkv", "o_proj": "o",
           "up_proj": "up-gate", "gate_proj": "up-gate", "gate_up_proj": "up-gate",
           "down_proj": "down"}


class Matrix:
    """What is multiplied by at once: a parameter of two dimensions, or one expert of a stack."""

    def __init__(self, parameter, expert, transposed):
        self.parameter, self.expert, self.transposed = parameter, expert, transposed
        self.rows, self.columns = self.weight().shape
        self.linears = []

    def weight(self):
        """[rows][columns], a view of the parameter."""
        w = self.parameter.detach()
        w = w if self.expert is None else w[self.expert]
        return w.T if self.transposed else w


class Linear:
    """One matrix of the checkpoint, y = W x: all rows of a Matrix, or some where transformers has
    joined what the checkpoint has apart.

    name    its tensor there, without ".weight"; "lm_head" of the head
    block   number of its block; None: outside of the blocks
    group   name of those that read the same x; unique in the model
    index   its place among the linears of its block
    """

    def __init__(self, matrix, name, part):
        self.matrix, self.name, self.part = matrix, name, part  # part: slice of the rows
        self.rows, self.columns = len(range(*part.indices(matrix.rows))), matrix.columns
        self.block, self.group, self.index = None, None, 0

    def weight(self):
        """[rows][columns], a view."""
        return self.matrix.weight()[self.part]

    def of(self, y):
        """This linear's part of what the matrix gave."""
        return y[..., self.part]


class Tap(TorchFunctionMode):
    """While it is entered, every product with a matrix of the linears calls
    see(matrix, x, y) with x [..][columns] and y [..][rows]."""

    def __init__(self, linears, see):
        super().__init__()
        self.see = see
        self.at = {linear.matrix.weight().data_ptr(): linear.matrix for linear in linears}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        y = func(*args, **(kwargs or {}))
        place = _PRODUCTS.get(func)
        if place is not None:
            x, w = (_argument(args, kwargs, i) for i in place)
            matrix = self.at.get(w.data_ptr()) if isinstance(w, torch.Tensor) else None
            if matrix is not None and w.numel() == matrix.rows * matrix.columns:
                self.see(matrix, x, y)
        return y


def _argument(args, kwargs, i):
    """Argument i, of those that have a name also by it."""
    if i < len(args):
        return args[i]
    names = {0: ("input",), 1: ("weight", "other", "mat2", "mat1"), 2: ("mat2",)}[i]
    return next((kwargs[n] for n in names if kwargs and n in kwargs), None)


class _Discovery(TorchFunctionMode):
    """Which parameters are multiplied by, in which order, and which share an input."""

    def __init__(self, model):
        super().__init__()
        self.parameters = {}
        for name, p in model.named_parameters():
            if p.dim() == 2:
                self.parameters[p.data_ptr()] = (name, p, None)
            elif p.dim() == 3:
                for e in range(p.shape[0]):
                    self.parameters[p[e].data_ptr()] = (name, p, e)
        self.found = collections.OrderedDict()  # (name, expert): (parameter, transposed, input)
        self.inputs = []  # kept alive, so that two are the same only where they are

    def __torch_function__(self, func, types, args=(), kwargs=None):
        y = func(*args, **(kwargs or {}))
        place = _PRODUCTS.get(func)
        if place is not None:
            x, w = (_argument(args, kwargs, i) for i in place)
            if isinstance(w, torch.Tensor) and w.data_ptr() in self.parameters and w.dim() == 2:
                self._add(func, x, w)
        return y

    def _add(self, func, x, w):
        name, p, expert = self.parameters[w.data_ptr()]
        stored = tuple(p.shape[-2:])
        columns = x.shape[-1]
        as_rows = func is torch.nn.functional.linear
        shape = tuple(w.shape) if as_rows else tuple(w.shape)[::-1]  # [rows][columns]
        if w.numel() != stored[0] * stored[1] or shape[1] != columns:
            return
        row_major = (w.stride(-1) == 1) == as_rows  # is the parameter itself [rows][columns]?
        if stored[0] == stored[1]:
            transposed = not row_major
        else:
            transposed = stored != shape
        if (name, expert) not in self.found:
            self.found[(name, expert)] = (p, transposed, self._input(x))

    def _input(self, x):
        for i, other in enumerate(self.inputs):
            if other is x or (other.data_ptr() == x.data_ptr() and other.shape == x.shape
                              and other.stride() == x.stride()):
                return i
        self.inputs.append(x)
        return len(self.inputs) - 1


def _is_router(name, p, model):
    """Whose outputs choose experts: small, and nobody packs them."""
    config = model.config.get_text_config()
    experts = {getattr(config, n, None) for n in
               ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")}
    return p.dim() == 2 and p.shape[0] in experts - {None} and bool(
        re.search(r"(gate|router|classifier)(\.\w+)*\.weight$", name))


def find_blocks(model):
    """(name, ModuleList) of the decoder's blocks: of the lists as long as the config says the one
    with most parameters."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    best = ("", None, -1)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) in (count, count or len(module)):
            size = sum(p.numel() for p in module.parameters())
            if size > best[2]:
                best = (name, module, size)
    if best[1] is None or not len(best[1]):
        raise ValueError(f"{type(model).__name__}: no list of blocks (ModuleList) was found in it")
    return best[:2]


def find(model, ids):
    """All linears of a model, by a pass over 'ids' (a list of some 16 tokens): those of the blocks
    in their order, then what is outside, the lm_head last.  Routers are left out: nobody packs
    them.  Experts are computed one by one from now on."""
    blocks = find_blocks(model)[0]
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # expert by expert, so that each is seen
    discovery = _Discovery(model)
    device = next(model.parameters()).device
    with torch.no_grad(), discovery:
        model(input_ids=torch.tensor([ids], device=device), use_cache=False)
    found = {key: value for key, value in discovery.found.items()
             if not _is_router(key[0], value[0], model)}
    names = Names(model)
    output = model.get_output_embeddings()
    head = None if output is None else output.weight.data_ptr()
    linears, stacks = [], set()
    for (name, _), (p, transposed, shared) in found.items():
        if name in stacks:
            continue
        stacks.add(name)
        match = re.match(re.escape(blocks) + r"\.(\d+)\.", name)
        for expert in [None] if p.dim() == 2 else range(p.shape[0]):
            matrix = Matrix(p, expert, transposed)
            parts = _parts(matrix, name, names, p.data_ptr() == head)
            matrix.linears = [Linear(matrix, *part) for part in parts]
            for linear in matrix.linears:
                linear.block = int(match[1]) if match else None
                linears.append((linear, (shared, expert)))
    _share(linears)
    return sorted((linear for linear, _ in linears), key=_rank)


def _parts(matrix, name, names, is_head):
    if is_head:
        return [("lm_head", slice(0, matrix.rows))]
    parts = names.of(name, matrix.expert, matrix.rows)
    if matrix.transposed and matrix.expert is None:  # a Conv1D
        return [(parts[0][0], slice(0, matrix.rows))]
    return parts


def _rank(linear):
    outside = linear.block is None
    return (outside, outside and linear.name == "lm_head", linear.block or 0, linear.index)


def _share(linears):
    """Number the linears of each block and name the groups that read one x."""
    by_block = collections.defaultdict(list)
    for i, (linear, shared) in enumerate(linears):
        last = linear.name.rsplit(".", 1)[-1]
        order = _ORDER.index(last) if last in _ORDER else len(_ORDER)
        by_block[linear.block].append((order, i, linear, shared))
    for block, members in by_block.items():
        group_of = {}
        for index, (_, _, linear, shared) in enumerate(sorted(members, key=lambda m: m[:2])):
            linear.index = index
            if shared not in group_of:
                group_of[shared] = _group_name(linear, block, set(group_of.values()))
            linear.group = group_of[shared]


def _group_name(linear, block, taken):
    """model.layers.0.qkv where the names are those of qpal's families; else the first linear's."""
    path, _, last = linear.name.rpartition(".")
    prefix = re.match(r"(.*?\.)?%s(?=\.)" % block, linear.name)
    short = f"{prefix[0]}.{_GROUPS[last]}" if prefix and last in _GROUPS else linear.name
    if linear.matrix.expert is not None or short in taken:
        short = f"{path}.{_GROUPS.get(last, last)}"
    return linear.name if short in taken else short
