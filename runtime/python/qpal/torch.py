# SPDX-License-Identifier: MIT
"""Quantized linears as torch modules, whose packed weights are tensors.

    layer = qpal.torch.linear(model, "model.layers.0.self_attn.q_proj")       # a torch.nn.Module
    y = layer(x)             # x float16, bfloat16 or float32 (computed in 16 bits); any leading
    shape

A module is as torch's own are: the packed weights are its buffers, so that it has a state_dict, is
copied and pickled, counts its memory and follows .to().  On a GPU it runs the library's kernels on
torch's current stream; on a CPU the PTX simulator does (Model's device, or "sim:90:4"), slowly.  It
works under torch.compile(fullgraph=True), torch.export, inference_mode and in CUDA graphs: what it
calls are the custom operators qpal::linear and qpal::grad_input.

GRADIENTS.  The packed weights are constants, and refuse to be asked for theirs; the gradient of x
is that by the decoded weights, those of bias and residual are the sum's.  So adapters are trained
beside a quantized model: LoRA adds to 'residual' what it computes (runtime/examples/lora.py).

ONE LAUNCH.  Linears that the plan fused (q, k and v) are computed by one launch, whoever asks
first: the others that are called with the same x take theirs.  torch.compile merges their calls in
its graph (by a pass of inductor's that importing this module adds; other backends that do not merge
equal calls leave them apart).  An x that was made in inference_mode has no version by which a
change is known: there, outside of torch.compile, each linear computes its group, unless share()
says that the module that holds them calls them with an x that it does not change, as
qpal.transformers does.  A Group is one call anywhere.
"""

import ctypes as C
import functools
import threading
import weakref

import torch
from torch import Tensor

from . import _c
from ._arrays import HALVES, _Array
from ._c import (BF16, DEQUANT, DequantArgs, F16, GEMM, GatherArgs, GemmArgs, GemmInfo,
                 MAX_CODEBOOKS, MAX_FIELDS, NONE, PackedLinear, RotateArgs, Segment, Weights, _api,
                 part_of)
from ._model import MOST_ROWS, room_of_rows
from ._objects import Device, Library, Packed, _Kernels

__all__ = ["Embedding", "Group", "Linear", "embedding", "group", "linear", "share"]

_SIMULATOR = "sim:90:4"
_KINDS = {torch.float16: F16, torch.bfloat16: BF16}

# ---- Libraries by path, loaded on devices: shared by all modules of a process ----


@functools.lru_cache(maxsize=None)
def _library(path):
    return Library(path)


class _Loaded:
    """A library's kernels on a device, with workspaces of their own for each stream."""

    def __init__(self, path, device):
        self.device, self.library = Device(device), _library(path)
        self.kernels, self._room = _Kernels(self.library, self.device, False), {}
        self.decodes = {k["type"] for k in self.library.kernels if k["op"] == DEQUANT}

    def room(self, stream):
        """(workspace, counters) of launches on a stream."""
        if stream not in self._room:
            info, device = self.kernels.info, self.device
            counters = device.alloc(info["counter_bytes"])
            if counters:
                _api().zero(device.pointer, counters, info["counter_bytes"])
            self._room[stream] = device.alloc(info["workspace_bytes"]), counters
        return self._room[stream]


@functools.lru_cache(maxsize=None)
def _loaded_on(path, device):
    return _Loaded(path, device)


def _loaded(path, place, simulator):
    return _loaded_on(path, f"cuda:{place.index or 0}" if place.type == "cuda" else simulator)


class _Shape:
    """A group of a library: its linears and the order of their packed tensors."""

    def __init__(self, path, index):
        library = _library(path)
        self.index, info = index, library.groups[index]
        self.name, self.columns = info["name"], info["columns"]
        self.linears = [library.linear(index, m) for m in range(info["members"])]
        self.rows = [e.rows for e in self.linears]
        self.begin = [sum(self.rows[:m]) for m in range(len(self.rows) + 1)]


_shape = functools.lru_cache(maxsize=None)(_Shape)

# ---- Launches ----


class _Staged:
    """Addresses on the device of tensors in its memory, or of copies where they are in the
    host's."""

    def __init__(self, loaded):
        self.loaded, self.own = loaded, []

    def address(self, t, count=None):
        """Of a contiguous tensor; 'count': bytes that are needed, behind it 0."""
        if t is None:
            return 0
        if t.is_cuda:
            return t.data_ptr()
        device, size = self.loaded.device, t.numel() * t.element_size()
        address = device.alloc(max(count or size, size))
        self.own.append(address)
        if count and count > size:
            _api().zero(device.pointer, address, count)
        if size:
            _api().upload(device.pointer, address, t.data_ptr(), size)
        return address

    def back(self, t, address):
        """What a launch wrote to 'address'."""
        if not t.is_cuda and t.numel():
            self.loaded.device.wait()
            _api().download(self.loaded.device.pointer, t.data_ptr(), address,
                            t.numel() * t.element_size())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for address in self.own:
            self.loaded.device.free(address)


def _stream(t):
    return torch.cuda.current_stream(t.device).cuda_stream or None if t.is_cuda else None


def _weights(staged, shape, packed):
    """(weights of each member, signs) from the tensors in the order of _tensors."""
    tensors, out = iter(packed), (Weights * len(shape.linears))()
    for w, e in zip(out, shape.linears):
        w.scale = staged.address(next(tensors))
        for p in range(e.parts):
            part, info = part_of(w, p), part_of(e, p)
            part.codes = staged.address(next(tensors))
            for f in range(info.fields):
                part.field[f] = staged.address(next(tensors))
            for c in range(MAX_CODEBOOKS):
                if info.codebook_bytes[c]:
                    part.codebook[c] = staged.address(next(tensors))
    return out, next(tensors, None)


def _capacity(loaded, group, rows, kind):
    """(rows to have room for, whether decoding first is better), as the library's batches are."""
    def ask(left):
        args, info = GemmArgs(group=group, rows=left, capacity=MOST_ROWS, type=kind,
                              out_type=kind), GemmInfo()
        _api().gemm_query(loaded.kernels.pointer, C.byref(args), C.byref(info))
        return info.batch, info.prefer_dequant
    return room_of_rows(rows, ask)


def _rotate(loaded, staged, shape, kind, rows, x, y, signs, stream, inverse=False):
    if signs and rows:
        args = RotateArgs(columns=shape.columns, rows=rows, type=kind, flags=1,
                          block=shape.linears[0].rotation, inverse=int(inverse), x=x, y=y,
                          signs=signs)
        _api().rotate(loaded.kernels.pointer, C.byref(args), stream)


def _rotated(loaded, staged, shape, x, signs, inverse=False):
    """H (s x) of a [rows][K] tensor, or its inverse, as a new one."""
    if signs is None:
        return x
    kind, y, stream = _KINDS[x.dtype], torch.empty_like(x), _stream(x)
    a = staged.address(x)
    b = y.data_ptr() if x.is_cuda else a
    _rotate(loaded, staged, shape, kind, x.shape[0], a, b, staged.address(signs), stream, inverse)
    staged.back(y, b)
    return y


def _decoded(loaded, staged, shape, weights, dtype, like):
    """W~ [all rows][K]: what the codes decode to, times row scales; on rotated x."""
    w = torch.empty((shape.begin[-1], shape.columns), dtype=dtype, device=like.device)
    size = w.element_size() * shape.columns
    address = staged.address(w)
    for m in range(len(shape.linears)):
        args = DequantArgs(group=shape.index, member=m, type=_KINDS[dtype],
                           weights=C.pointer(weights[m]), w=address + size * shape.begin[m])
        _api().dequant(loaded.kernels.pointer, C.byref(args), _stream(like))
    staged.back(w, address)
    return w


def _product(a, b):
    """a b in a's type, summed in fp32 on a CPU."""
    return a @ b if a.is_cuda else (a.float() @ b.float()).to(a.dtype)


# ---- Operators ----
#
# 'packed' are a group's tensors in the order of Linear.tensors, member by member, then the signs of
# its input where the weights are rotated.


@torch.library.custom_op("qpal::linear", mutates_args=())
def _linear(x: Tensor, packed: list[Tensor], bias: Tensor | None, residual: Tensor | None,
            library: str, group: int, simulator: str) -> Tensor:
    """[..., all rows] = x W^T (+ bias) (+ residual) of all linears of a group, side by side."""
    shape = _shape(library, group)
    loaded = _loaded(library, x.device, simulator)
    flat = x.contiguous().reshape(-1, shape.columns)
    rows, kind, all_rows = flat.shape[0], _KINDS[x.dtype], shape.begin[-1]
    if not rows:
        return x.new_empty(x.shape[:-1] + (all_rows,))
    room, prefer = _capacity(loaded, group, rows, kind)
    with _Staged(loaded) as staged:
        weights, signs = _weights(staged, shape, packed)
        if prefer and kind in loaded.decodes:
            turned = _rotated(loaded, staged, shape, flat, signs)
            y = _product(turned, _decoded(loaded, staged, shape, weights, x.dtype, x).t())
            for more in (bias, residual):
                y = y if more is None else y + more.reshape(-1, all_rows)
            return y.reshape(x.shape[:-1] + (all_rows,))
        y = _gemm(loaded, staged, shape, flat, weights, signs, bias, residual, room)
    return y.reshape(x.shape[:-1] + (all_rows,))


def _gemm(loaded, staged, shape, x, weights, signs, bias, residual, room):
    """y [rows][all rows]: members write side by side into rows with room for a whole batch."""
    rows, kind, stream, all_rows = x.shape[0], _KINDS[x.dtype], _stream(x), shape.begin[-1]
    wide = x.new_empty((room, all_rows))
    turned = x.new_empty((room, shape.columns)) if x.is_cuda else None
    if residual is not None:
        wide[:rows] = residual.reshape(-1, all_rows)
    if not x.is_cuda:
        wide[rows:] = 0
    y = staged.address(wide)
    a = staged.address(x, 2 * room * shape.columns)
    b = a
    if x.is_cuda:
        b = turned.data_ptr()
        if signs is None:
            turned[:rows] = x
    _rotate(loaded, staged, shape, kind, rows, a, b, staged.address(signs), stream)
    segment = (Segment * len(shape.linears))()
    added = staged.address(bias.to(x.dtype).contiguous()) if bias is not None else 0
    size = wide.element_size()
    workspace, counters = loaded.room(stream)
    args = GemmArgs(group=shape.index, rows=rows, capacity=room, type=kind, out_type=kind, flags=1,
                    x=b, workspace=workspace, counters=counters, segment=segment)
    for m, begin in enumerate(shape.begin[:-1]):
        at = y + size * begin
        segment[m] = Segment(weights=C.pointer(weights[m]),
                             bias=added + size * begin if added else 0, y=at,
                             residual=at if residual is not None else 0)
        args.y_stride[m] = args.residual_stride[m] = all_rows
    _api().gemm(loaded.kernels.pointer, C.byref(args), stream)
    staged.back(wide, y)
    return wide[:rows] if room == rows else wide[:rows].clone()


@_linear.register_fake
def _(x, packed, bias, residual, library, group, simulator):
    return x.new_empty(x.shape[:-1] + (_shape(library, group).begin[-1],))


@torch.library.custom_op("qpal::grad_input", mutates_args=())
def _grad_input(grad: Tensor, packed: list[Tensor], library: str, group: int,
                simulator: str) -> Tensor:
    """[..., K] = grad W: the gradient of x, by the decoded weights."""
    shape = _shape(library, group)
    loaded = _loaded(library, grad.device, simulator)
    flat = grad.contiguous().reshape(-1, shape.begin[-1])
    with _Staged(loaded) as staged:
        weights, signs = _weights(staged, shape, packed)
        x = _product(flat, _decoded(loaded, staged, shape, weights, grad.dtype, grad))
        x = _turned_back(loaded, staged, shape, x, signs)
    return x.reshape(grad.shape[:-1] + (shape.columns,))


def _turned_back(loaded, staged, shape, x, signs):
    """s (H^T x): by the library's kernel, or by the matrix that rotating the identity gives."""
    if signs is None:
        return x
    try:
        return _rotated(loaded, staged, shape, x.contiguous(), signs, inverse=True)
    except _c.Error as e:
        if e.status != _NO_KERNEL:
            raise
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return _product(x, _rotated(loaded, staged, shape, identity, signs).t())


_NO_KERNEL = 8


@_grad_input.register_fake
def _(grad, packed, library, group, simulator):
    return grad.new_empty(grad.shape[:-1] + (_shape(library, group).columns,))


@torch.library.custom_op("qpal::gather", mutates_args=())
def _gather(ids: Tensor, packed: list[Tensor], bfloat16: bool, library: str, group: int,
            simulator: str) -> Tensor:
    """[..., K]: rows of a packed embedding by ids [...]; zeros for ids that are none."""
    shape = _shape(library, group)
    loaded = _loaded(library, ids.device, simulator)
    flat = ids.to(torch.int32).contiguous().reshape(-1)
    y = torch.empty((flat.numel(), shape.columns), device=ids.device,
                    dtype=torch.bfloat16 if bfloat16 else torch.float16)
    with _Staged(loaded) as staged:
        weights, signs = _weights(staged, shape, packed)
        address = staged.address(y)
        args = GatherArgs(group=group, type=_KINDS[y.dtype], flags=1, rows=flat.numel(),
                          weights=C.pointer(weights[0]), ids=staged.address(flat),
                          signs=staged.address(signs), y=address)
        _api().gather(loaded.kernels.pointer, C.byref(args), _stream(ids))
        staged.back(y, address)
    return y.reshape(ids.shape + (shape.columns,))


@_gather.register_fake
def _(ids, packed, bfloat16, library, group, simulator):
    kind = torch.bfloat16 if bfloat16 else torch.float16
    return ids.new_empty(ids.shape + (_shape(library, group).columns,), dtype=kind)


def _save(ctx, inputs, output):
    _, packed, bias, _, ctx.library, ctx.group, ctx.simulator = inputs
    ctx.save_for_backward(*packed)
    ctx.bias = None if bias is None else bias.dtype


def _backward(ctx, grad):
    x = bias = residual = None
    if ctx.needs_input_grad[0]:
        x = torch.ops.qpal.grad_input(grad, list(ctx.saved_tensors), ctx.library, ctx.group,
                                      ctx.simulator)
    if ctx.needs_input_grad[2]:
        bias = grad.reshape(-1, grad.shape[-1]).sum(0, dtype=torch.float32).to(ctx.bias)
    if ctx.needs_input_grad[3]:
        residual = grad
    return x, [None] * len(ctx.saved_tensors), bias, residual, None, None, None


_linear.register_autograd(_backward, setup_context=_save)

# ---- Linears of one x, merged in compiled graphs ----


def _frozen(v):
    """Arguments of a node as a key; a TypeError where they are none."""
    if isinstance(v, (list, tuple)):
        return tuple(map(_frozen, v))
    if isinstance(v, dict):
        return tuple((k, _frozen(w)) for k, w in sorted(v.items()))
    hash(v)
    return type(v), v


def _merge(graph):
    """Equal calls of qpal::linear become one, with what is made of x and biases before them: in a
    graph without side effects, where equal nodes have equal values."""
    aten, prims = torch.ops.aten, torch.ops.prims
    mergeable = {torch.ops.qpal.linear.default, prims.convert_element_type.default,
                 aten._to_copy.default, aten.cat.default, aten.full.default, aten.zeros.default}
    first = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in mergeable:
            continue
        if any(user.op == "output" for user in node.users):
            continue  # two outputs of the graph are two tensors
        try:
            known = first.setdefault((node.target, _frozen(node.args), _frozen(node.kwargs)), node)
        except TypeError:
            continue
        if known is not node:
            node.replace_all_uses_with(known)
            graph.erase_node(node)


def _add_pass():
    """Before inductor's own passes; one that is there already runs first."""
    try:
        from torch._inductor import config
        from torch._inductor.custom_graph_pass import CustomGraphPass
    except ImportError:
        return  # an older torch: each call stays

    class Merge(CustomGraphPass):
        def __init__(self, before):
            self.before = before

        def __call__(self, graph):
            if self.before is not None:
                self.before(graph)
            _merge(graph)

        def uuid(self):
            """Of this pass and the one before it; None: nothing may be cached."""
            before = getattr(self.before, "uuid", lambda: None)()
            if self.before is not None and before is None:
                return None
            return "qpal merge 1", before

    config.post_grad_custom_pre_pass = Merge(config.post_grad_custom_pre_pass)


_add_pass()

# ---- Modules ----


class _Tensors(torch.nn.Module):
    """Buffers by number: 'codes.0' and the like, as packed folders call them."""

    def put(self, number, tensor):
        self.register_buffer(str(number), tensor)

    def __getitem__(self, number):
        return getattr(self, str(number))


_TYPES = {"scale": torch.float32, "codes": torch.int32, "signs": torch.int32, "field": torch.uint8,
          "codebook": torch.float16}


def _tensor(what, data):
    """A copy of mapped bytes, as a tensor; None where there are none."""
    if not data.bytes:
        return None
    view = (C.c_char * data.bytes).from_address(data.data)
    return torch.frombuffer(bytearray(view), dtype=_TYPES[what])


class Linear(torch.nn.Module):
    """One linear of a packed model: forward(x, residual=None) = x W^T + bias + residual.

    Made by qpal.torch.linear.  'in_features', 'out_features', 'dtype' and 'device' are as of a
    torch.nn.Linear; 'weight' is W as it is decoded, [out_features][in_features], made anew each
    time."""

    def __init__(self, fused, member, packed):
        super().__init__()
        shape = _shape(fused.library, fused.group)
        linear = shape.linears[member]
        self.fused, self.member, self.name = fused, member, linear.tensor.decode()
        self.quantizer = _library(fused.library).quantizers[linear.quantizer]["name"]
        self.in_features, self.out_features = shape.columns, linear.rows
        self.parts = [(part.fields, [c for c in range(MAX_CODEBOOKS) if part.codebook_bytes[c]])
                      for part in (part_of(linear, p) for p in range(linear.parts))]
        found = PackedLinear()
        _api().packed_find(packed.pointer, _library(fused.library).pointer, fused.group, member,
                           C.byref(found))
        scale = _tensor("scale", found.scale)
        self.register_buffer("row_scales", torch.ones(linear.rows) if scale is None else scale)
        self.codes, self.field, self.codebook = _Tensors(), _Tensors(), _Tensors()
        for p in range(found.parts):
            part = part_of(found, p)
            self.codes.put(p, _tensor("codes", part.codes))
            for kind, many, most in (("field", part.field, MAX_FIELDS),
                                     ("codebook", part.codebook, MAX_CODEBOOKS)):
                inside = _Tensors()
                for i in range(most):
                    if many[i].bytes:
                        inside.put(i, _tensor(kind, many[i]))
                getattr(self, kind).add_module(str(p), inside)
        self.register_buffer("signs", _tensor("signs", found.signs))
        self.register_buffer("bias", self._bias_of(packed))

    def _bias_of(self, packed):
        try:
            data, kind, _ = packed.tensor(self.name + ".bias")
        except _c.Error:
            return None
        types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
        return torch.frombuffer(bytearray(data), dtype=types[kind])

    def _apply(self, fn, recurse=True):
        """.to() moves the packed tensors and changes the type of none: kernels read their bits."""
        def keep(t):
            moved = fn(t)
            return moved if moved.dtype == t.dtype else t.to(moved.device)
        return super()._apply(keep, recurse)

    def tensors(self):
        """The packed tensors in the order in which qpal::linear takes them."""
        out = [self.row_scales]
        for p, (fields, codebooks) in enumerate(self.parts):
            out.append(self.codes[p])
            out += [getattr(self.field, str(p))[f] for f in range(fields)]
            out += [getattr(self.codebook, str(p))[c] for c in codebooks]
        return out

    @property
    def device(self):
        return self.row_scales.device

    @property
    def dtype(self):
        """Of what the kernels compute with."""
        return torch.float16 if self.fused.halves else torch.bfloat16

    @property
    def weight(self):
        """W in the basis of the checkpoint, by the kernels that decode it; a new tensor."""
        fused = self.fused
        begin, end = fused.begin[self.member], fused.begin[self.member + 1]
        unit = torch.zeros((self.out_features, fused.begin[-1]), dtype=self.dtype,
                           device=self.device)
        unit[:, begin:end] = torch.eye(self.out_features, dtype=self.dtype, device=self.device)
        return torch.ops.qpal.grad_input(unit, fused.packed(self.device), fused.library,
                                         fused.group, fused.simulator)

    def extra_repr(self):
        return (f"{self.name}, in_features={self.in_features}, out_features={self.out_features}, "
                f"quantizer={self.quantizer}, bias={self.bias is not None}")

    def forward(self, x, residual=None):
        return self.fused.compute(x, self.member, residual)


class Embedding(torch.nn.Module):
    """A packed embedding: forward(ids) gives rows of W in 'dtype'.  Made by
    qpal.torch.embedding."""

    def __init__(self, linear, dtype):
        super().__init__()
        self.linear, self.output_dtype = linear, dtype
        self.num_embeddings, self.embedding_dim = linear.out_features, linear.in_features

    def forward(self, ids):
        fused = self.linear.fused
        y = torch.ops.qpal.gather(ids, fused.packed(ids.device),
                                  self.output_dtype == torch.bfloat16, fused.library, fused.group,
                                  fused.simulator)
        return y.to(self.output_dtype)


def _version(x):
    """The number of changes of a tensor; None in inference_mode, which counts none."""
    return None if x.is_inference() else x._version


class _Fused:
    """The linears that one launch computes, and what was computed last.  No module: members are
    where the user puts them."""

    def __init__(self, library, group, packed, simulator):
        self.library, self.group, self.simulator = library, group, simulator
        self.halves = any(k["op"] == GEMM and k["type"] == F16 for k in _library(library).kernels)
        shape = _shape(library, group)
        self.name, self.columns = shape.name, shape.columns
        self.rows, self.begin = shape.rows, shape.begin
        self.members = [Linear(self, m, packed) for m in range(len(self.rows))]
        self._last = threading.local()

    def __getstate__(self):  # copies and pickles begin with nothing computed
        return {k: v for k, v in self.__dict__.items() if k != "_last"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._last = threading.local()

    def packed(self, device):
        out = []
        for member in self.members:
            if member.device != device:  # one that no module of the user's holds
                member.to(device)
            out += member.tensors()
        signs = self.members[0].signs
        return out if signs is None else out + [signs]

    def bias(self, like):
        """Of all members side by side; None where none has one."""
        if all(m.bias is None for m in self.members):
            return None
        return torch.cat([torch.zeros(m.out_features, dtype=like.dtype, device=like.device)
                          if m.bias is None else m.bias.to(like.dtype) for m in self.members])

    def kind(self, x):
        """The 16-bit type that x is computed in."""
        if x.dtype in _KINDS:
            return x.dtype
        if x.dtype != torch.float32:
            raise TypeError(f"x: {x.dtype}; should be float16, bfloat16 or float32")
        return torch.float16 if self.halves else torch.bfloat16

    def all(self, x, residual=None):
        """[..., all rows], in the type of what is computed with."""
        if not x.shape or x.shape[-1] != self.columns:
            raise ValueError(
                f"x: shape {tuple(x.shape)}; the last is {self.columns} for {self.name}")
        packed = self.packed(x.device)
        if torch.is_grad_enabled() and any([t.requires_grad for t in packed]):
            raise RuntimeError(f"{self.name}: packed tensors are constants, without a gradient: "
                               "train what the residual adds, or unpack the model")
        kind = self.kind(x)
        a = x.to(kind)
        r = None if residual is None else residual.to(kind)
        return torch.ops.qpal.linear(a, packed, self.bias(a), r, self.library,
                                     self.group, self.simulator)

    def known(self, x, taker):
        """What was computed for this very x, unchanged since, and not taken by 'taker' yet."""
        last = getattr(self._last, "value", None)
        if last is None or last[0]() is not x or last[1] != _version(x) or taker in last[3] \
                or last[4] != torch.is_grad_enabled():
            return None
        last[3].add(taker)
        if len(last[3]) == len(self.members):
            self._last.value = None
        return last[2]

    def promise(self, unchanged):
        """Whether this thread is in a module that does not change the x that members are called
        with (see share); nothing is kept beyond it."""
        self._last.unchanged = unchanged
        self._last.value = None

    def compute(self, x, member, residual=None):
        begin, end = self.begin[member], self.begin[member + 1]
        if residual is not None and len(self.members) == 1:
            return self.all(x, residual).to(x.dtype)
        shares = len(self.members) > 1 and not torch.compiler.is_compiling() and (
            not x.is_inference() or getattr(self._last, "unchanged", False))
        y = self.known(x, member) if shares else None
        if y is None:
            y = self.all(x)
            if shares:
                self._last.value = (weakref.ref(x), _version(x), y, {member},
                                    torch.is_grad_enabled())
        y = y[..., begin:end].to(x.dtype)
        return y if residual is None else y + residual


class Group(torch.nn.Module):
    """All linears that one launch computes: forward(x) gives y of each, a tuple."""

    def __init__(self, fused):
        super().__init__()
        self.fused = fused
        self.linears = torch.nn.ModuleList(fused.members)

    def extra_repr(self):
        fused = self.fused
        return f"{fused.name}, in_features={fused.columns}, out_features={fused.rows}"

    def forward(self, x):
        y = self.fused.all(x).to(x.dtype)
        return tuple(torch.split(y, self.fused.rows, -1))


_known = weakref.WeakKeyDictionary()  # Packed -> {(library, group, simulator): weak _Fused}


def _fused(model, index):
    """The group's linears, the same for all who ask while one of them lives."""
    library = model.library.path
    if library is None:
        raise ValueError("library: is in memory; modules that can be copied need one with a path")
    simulator = model.device.name if model.device.info["simulated"] else _SIMULATOR
    key, groups = (library, index, simulator), _known.setdefault(model.packed,
                                                                 weakref.WeakValueDictionary())
    fused = groups.get(key)
    if fused is None:
        if model.library.linear(index, 0).quantizer == NONE:
            raise ValueError(
                f"{model.library.groups[index]['name']}: stays in 16 bits; it is torch's own")
        fused = groups[key] = _Fused(library, index, model.packed, simulator)
    return fused


def linear(model, tensor):
    """A Linear for the linear of this name in the checkpoint, with its packed weights on the CPU,
    or on the GPU where the Model is."""
    index, member = model.library.find_linear(tensor)
    return _placed(model, _fused(model, index).members[member])


def embedding(model, tensor, dtype=torch.float16):
    """An Embedding for the packed embedding of this name in the checkpoint."""
    index, member = model.library.find_linear(tensor)
    if not model.library.groups[index]["gathers"]:
        raise ValueError(f"{tensor}: the library looks no tokens up in it")
    return _placed(model, Embedding(_fused(model, index).members[member], dtype))


def group(model, name):
    """A Group by its name or number in the library."""
    index = model.library.find_group(name) if isinstance(name, str) else name
    return _placed(model, Group(_fused(model, index)))


def _promise(fused, unchanged, *_):
    if not torch.compiler.is_compiling():
        for one in fused:
            one.promise(unchanged)


def share(module):
    """Linears that 'module' holds itself and that the plan fused are one launch in inference_mode,
    too: a promise that its forward calls them with an x that is not changed in between.  True
    where there are such linears."""
    held = [child.fused for child in module.children() if isinstance(child, Linear)]
    fused = [one for i, one in enumerate(held) if one in held[:i] and one not in held[i + 1:]]
    if fused:
        module.register_forward_pre_hook(functools.partial(_promise, fused, True))
        module.register_forward_hook(functools.partial(_promise, fused, False), always_call=True)
    return bool(fused)


def _placed(model, module):
    name = model.device.name
    if model.device.info["simulated"]:
        return module
    return module.to("cuda" if name == "current" else name)


class Source:
    """A library and packed weights without a device of their own, for linear() and group()."""

    class _Simulated:
        def __init__(self, name):
            self.name, self.info = name, {"simulated": 1}

    def __init__(self, library, packed, simulator=_SIMULATOR):
        self.library = library if isinstance(library, Library) else _library(str(library))
        self.packed = packed if isinstance(packed, Packed) else Packed(packed)
        self.device = Source._Simulated(simulator)
