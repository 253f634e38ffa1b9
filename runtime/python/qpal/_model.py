# SPDX-License-Identifier: MIT
"""A model on a device: groups of linears, launched on arrays."""

import ctypes as C
import sys
import weakref

from ._arrays import HALVES, _Array, _contiguous, _halves, _is_torch, _like, _words
from ._c import (BF16, Bytes, DequantArgs, Error, F16, F32, GatherArgs, GemmArgs, GemmInfo,
                 GroupInfo, I32, MAX_CODEBOOKS, MAX_FIELDS, NONE, PDL, RotateArgs, Segment, Weights,
                 _activation, _api, _epilogue, _stream, _table, _whole, part_of)
from ._experts import Experts
from ._objects import Device, Library, Packed, _Kernels, _free_all

MOST_ROWS = 65536  # of one gemm


def room_of_rows(rows, ask):
    """(rows that x and y should have room for, so that 'rows' take as few launches as the library
    can; whether decoding first is better for any of them).  'ask': of so many rows that are left
    (the batch of the next launch, whether decoding is better)."""
    room, left, prefer = 0, rows, False
    while left > 0:
        batch, better = ask(left)
        room, left, prefer = room + batch, left - batch, prefer or bool(better)
    return max(room, rows), prefer


class Model:
    """A library, packed weights and a device: what runs groups of linears.

    'exact': refuse kernels made for another GPU.  'pdl': programmatic dependent launch, where
    kernels have it.  'verify': compare library and weights with their checksums first.  A Library,
    Packed or Device that is given stays open when the model is closed; what the model opened by a
    path or name is closed with it."""

    def __init__(self, library, packed, device="cuda:0", exact=False, pdl=True,
                 verify=False):
        self._made = []  # in the order of opening
        self.library = self._take(Library, library)
        self.packed = self._take(Packed, packed)
        if verify:
            self.library.verify()
            self.packed.verify()
        self.device = self._take(Device, device)
        self.kernels = _Kernels(self.library, self.device, exact)
        self._made.append(self.kernels)
        self.flags = PDL if pdl else 0
        self._room, self._own, self._group = {}, [], {}
        self._embedding = None  # its group, when it was asked for
        self._finalizer = weakref.finalize(self, _free_all, self.device, self._own)

    def _take(self, kind, given):
        if not isinstance(given, kind):
            given = kind(given)
            self._made.append(given)
        return given

    def close(self):
        """Free what is on the device, of its groups too; no launch may be running."""
        for group in list(self._group.values()):
            group.close()
        self._finalizer()
        self._room.clear()
        while self._made:
            self._made.pop().close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _scratch(self, stream):
        """Workspace and counters: launches of different streams may run at the same time."""
        if stream not in self._room:
            info = self.kernels.info
            counters = self.device.alloc(info["counter_bytes"])
            if counters:
                _api().zero(self.device.pointer, counters, info["counter_bytes"])
            self._room[stream] = self.device.alloc(info["workspace_bytes"]), counters
            self._own.extend(self._room[stream])
        return self._room[stream]

    def group(self, name):
        """The linears that one launch computes, with their weights on the device; made once."""
        if not self._finalizer.alive:
            raise ValueError("Model: is closed")
        if isinstance(name, str):
            index = self.library.find_group(name)
        else:
            index = _whole(name, "group", 0, self.library.info["groups"] - 1)
        if index not in self._group:
            self._group[index] = Group(self, index)
        return self._group[index]

    def experts(self, name):
        """The stacks of experts of a group, with their weights on the device: see Experts."""
        return Experts(self, name)

    @property
    def linears(self):
        """Every linear that the library knows, as dicts (Library.linears)."""
        return self.library.linears

    def find(self, tensor):
        """(group, member) of a linear by its name in the checkpoint."""
        index, member = self.library.find_linear(tensor)
        return self.group(index), member

    def gather(self, ids, out=None, stream=None):
        """Rows of the packed embedding: see Group.gather."""
        if self._embedding is None:
            found = [i for i, g in enumerate(self.library.groups) if g["gathers"]]
            if not found:
                raise Error(8, "the library has no packed embedding: its look-up is the engine's")
            self._embedding = self.group(found[0])
        return self._embedding.gather(ids, out, stream)


class Group:
    """The linears that read one x.  Call it: y of each, a tuple."""

    def __init__(self, model, index):
        self.model, self.index = model, index
        info = GroupInfo()
        _api().library_group(model.library.pointer, index, C.byref(info))
        self.info = _table(info)
        self.linears, self.signs, self._own = [], 0, []
        self._bias, self._capacity = {}, {}
        self._finalizer = weakref.finalize(self, _free_all, model.device, self._own)
        self._weights = (Weights * self.info["members"])()
        for m in range(self.info["members"]):
            self.linears.append(model.library.linear(index, m))
            self._upload(m)

    def _take(self, source):
        address = self.model.device.upload(source.data, source.bytes)
        if address:
            self._own.append(address)
        return address

    def _upload(self, m):
        packed = self.model.packed.find(self.model.library, self.index, m)
        to = self._weights[m]
        to.scale = self._take(packed.scale)
        for p in range(packed.parts):
            part, source = part_of(to, p), part_of(packed, p)
            part.codes = self._take(source.codes)
            for f in range(MAX_FIELDS):
                part.field[f] = self._take(source.field[f])
            for c in range(MAX_CODEBOOKS):
                part.codebook[c] = self._take(source.codebook[c])
        if not self.signs:
            self.signs = self._take(packed.signs)

    def _biases(self, kind):
        """Device addresses of the members' biases as 'kind'; 0 where the checkpoint has none."""
        if kind not in self._bias:
            out = []
            for linear in self.linears:
                try:
                    data, stored, _ = self.model.packed.tensor(linear.tensor.decode() + ".bias")
                except Error:
                    out.append(0)
                    continue
                words = _words(data, stored, kind)
                host = (C.c_uint16 * len(words))(*words)
                out.append(self._take(Bytes(C.addressof(host), 2 * len(words))))
            self._bias[kind] = out
        return self._bias[kind]

    def close(self):
        """Free the weights on the device; no launch may be running."""
        self._finalizer()
        self.model._group.pop(self.index, None)

    def _kernels(self):
        """What launches need: open kernels, and weights that are still there."""
        if not self._finalizer.alive:
            raise ValueError(f"{self.info['name']}: is closed")
        return self.model.kernels._open()

    def query(self, rows, kind=F16, capacity=0, glu=None):
        """What a call with this many rows would do, as a dict (qpal_gemm_info).  'capacity': rows
        that x and y have room for; 0: no more than those."""
        args, info = GemmArgs(group=self.index, rows=_whole(rows, "rows", 1, NONE),
                              capacity=_whole(capacity, "capacity", 0, NONE),
                              type=_whole(kind, "kind", F16, F32), out_type=kind,
                              **_epilogue(glu)), GemmInfo()
        _api().gemm_query(self._kernels(), C.byref(args), C.byref(info))
        return _table(info)

    def capacity(self, rows, kind=F16, glu=None):
        """Rows that x and y should have room for, so that 'rows' take as few launches as the
        library can: 3 rows of a library with batches 1 and 8 take one launch with room for 8, three
        without."""
        key = _whole(rows, "rows", 0, NONE), kind, glu
        if key not in self._capacity:
            def ask(left):
                info = self.query(left, kind, MOST_ROWS, glu)
                return info["batch"], info["prefer_dequant"]
            self._capacity[key], _ = room_of_rows(rows, ask)
        return self._capacity[key]

    def launch(self, rows, kind, x, x_rotated, y, stream=None, residual=None, capacity=0,
               x_stride=0, y_stride=None, residual_stride=None, glu=None):
        """Without arrays: device addresses.  x [rows][K] is rotated into 'x_rotated' (may be x); y:
        one a member, with 'glu' one.  Strides are elements from row to row, y's and the residual's
        one a member; 0 or None: rows lie close.  What is rotated lies close where 'x_rotated' is
        not x."""
        api, model, kernels, stream = _api(), self.model, self._kernels(), _stream(stream)
        _whole(rows, "rows", 1, NONE)
        if self.signs:
            own = x_rotated != x
            rotate = RotateArgs(columns=self.info["columns"], rows=rows, type=kind,
                                block=self.linears[0].rotation,
                                flags=model.flags, x=x, y=x_rotated, signs=self.signs,
                                x_stride=x_stride, y_stride=0 if own else x_stride)
            api.rotate(kernels, C.byref(rotate), stream)
            x, x_stride = x_rotated, 0 if own else x_stride
        workspace, counters = model._scratch(stream)
        segment = (Segment * len(self.linears))()
        for m, bias in enumerate(self._biases(kind)):
            segment[m] = Segment(weights=C.pointer(self._weights[m]), bias=bias,
                                 residual=residual[m] if residual else 0,
                                 y=y[m] if m < len(y) else 0)
        args = GemmArgs(group=self.index, rows=rows, capacity=capacity, type=kind, out_type=kind,
                        flags=model.flags, x=x, workspace=workspace, counters=counters,
                        segment=segment, x_stride=x_stride, **_epilogue(glu))
        for m in range(len(y)):
            args.y_stride[m] = y_stride[m] if y_stride else 0
            args.residual_stride[m] = residual_stride[m] if residual_stride else 0
        api.gemm(kernels, C.byref(args), stream)

    def dequant(self, member, out, stream=None, unrotate=False):
        """W [M][K] of one member, r included, into 'out' (device array, or host array: copied).

        y = W (H (s x)), or with 'unrotate' W as the checkpoint has it, y = W x, where the library
        has inverse rotations (`qpal export --inverse`)."""
        to, kernels, stream = _Array(out, "out", written=True), self._kernels(), _stream(stream)
        linear = self.linears[_whole(member, "member", 0, len(self.linears) - 1)]
        if to.shape != (linear.rows, linear.columns):
            raise ValueError(f"out: shape {to.shape}; {linear.tensor.decode()} is "
                             f"{linear.rows} x {linear.columns}")
        device = self.model.device
        address = to.pointer if to.on_device else device.alloc(to.bytes)
        try:
            args = DequantArgs(group=self.index, member=member, type=to.type,
                               weights=C.pointer(self._weights[member]), w=address,
                               signs=self.signs if unrotate else 0)
            _api().dequant(kernels, C.byref(args), stream)
            if not to.on_device:
                device.wait(stream)
                _api().download(device.pointer, to.pointer, address, to.bytes)
        finally:
            if not to.on_device:
                device.free(address)
        return out

    def _beside(self, arrays, source, what, linears=None):
        """Where arrays lie that have a row for each of x's: one for each linear, of x's type and
        beside it."""
        linears = linears or self.linears
        to = [_Array(a.detach() if _is_torch(a) else a, what, HALVES, apart=True,
                     written=what == "out") for a in arrays]
        if len(to) != len(linears):
            raise ValueError(f"{what}: {len(to)} arrays; {self.info['name']} has "
                             f"{len(linears)} linears")
        for a, linear in zip(to, linears):
            shape = source.shape[:-1] + (linear.rows,)
            if a.shape != shape or (a.type, a.device) != (source.type, source.device):
                raise ValueError(f"{what}: {a.shape}; should be {shape} beside x, of its type")
        return to

    def gather(self, ids, out=None, stream=None):
        """Rows of an embedding by the ids of tokens, int32 [...]: [..., K]; zeros for other ids.

        'out' says the type by being given, an array [..., K]; else float16.  On the device as a
        call is."""
        self._kernels()
        source = _Array(ids, "ids", (I32,))
        shape = source.shape + (self.info["columns"],)
        out = _halves(ids, shape) if out is None else out
        to = _Array(out, "out", HALVES, written=True)
        if to.shape != shape or to.device != source.device:
            raise ValueError(f"out: {to.shape}; should be {shape} beside ids")
        if stream is None and source.on_device and _is_torch(ids):
            stream = sys.modules["torch"].cuda.current_stream(ids.device).cuda_stream or None
        if source.on_device:
            self._gather(source, source.pointer, to.type, to.pointer, stream)
            return out
        device, own = self.model.device, []
        try:
            own = [device.upload(source.pointer, source.bytes), device.alloc(to.bytes)]
            self._gather(source, own[0], to.type, own[1], stream)
            if to.bytes:
                device.wait(stream)
                _api().download(device.pointer, to.pointer, own[1], to.bytes)
        finally:
            for address in own:
                device.free(address)
        return out

    def _gather(self, ids, address, kind, y, stream):
        args = GatherArgs(group=self.index, type=kind, flags=self.model.flags, rows=ids.bytes // 4,
                          weights=C.pointer(self._weights[0]), ids=address, signs=self.signs, y=y)
        _api().gather(self._kernels(), C.byref(args), _stream(stream))

    def _take_x(self, x, copy):
        """Where x lies, and its rows."""
        x = _contiguous(x) if copy else x
        hint = "; copy=True copies it" if not copy else ""
        if getattr(getattr(x, "dtype", None), "itemsize", 0) == 4:
            hint = ": kernels take 16 bits; convert x, or let qpal.torch do so"
        source = _Array(x.detach() if _is_torch(x) else x, "x", HALVES, hint, apart=True)
        columns = self.info["columns"]
        if not source.shape or source.shape[-1] != columns:
            raise ValueError(f"x: shape {source.shape}; the last is {columns} for "
                             f"{self.info['name']}")
        if source.on_device and self.model.device.info["simulated"]:
            raise ValueError("x: is in a GPU's memory; the simulator takes arrays in host memory")
        return x, source, source.bytes // 2 // columns

    def _stream_of(self, x, source, stream):
        if stream is None and source.on_device and _is_torch(x):
            return sys.modules["torch"].cuda.current_stream(x.device).cuda_stream or None
        return stream

    def __call__(self, x, out=None, stream=None, copy=False, residual=None, glu=None):
        """y of each member for x [..., K]; 'out': arrays to write to; 'residual': arrays like y
        that are added to it, None for a member without.

        With 'glu' ("silu", "gelu_tanh", "gelu" or "relu") of a group of up and gate one y,
        activation(gate) * up, by kernels that `qpal export --glu` made.

        Arrays must be contiguous; with 'copy' an x that is not is copied first.  On a device rows
        may lie apart (x, out and residual may be columns of wider arrays).

        On the device without waiting, on 'stream' (a CUstream; torch's current one where x is
        torch's).  Without 'out' and 'residual' rows are taken by as few launches as the library
        can."""
        self._kernels()
        if glu and residual is not None:
            raise ValueError("residual: a gated linear unit has none")
        linears = self.linears[:1] if _epilogue(glu) else self.linears
        x, source, rows = self._take_x(x, copy)
        shapes = [source.shape[:-1] + (linear.rows,) for linear in linears]
        roomy = out is None and residual is None and rows and source.on_device and self.signs
        room = self.capacity(rows, source.type, glu) if roomy else 0
        whole = [_like(x, (room or rows, s[-1])) for s in shapes] if out is None else None
        y = out or [a[:rows].reshape(s) for a, s in zip(whole, shapes)]
        to = self._beside(y, source, "out", linears)
        added = self._residuals(residual, y, source)
        if not rows:
            return tuple(y)
        if source.on_device:
            stream = self._stream_of(x, source, stream)
            turned = _like(x, (room or rows, source.shape[-1])) if self.signs else x
            self.launch(rows, source.type, source.pointer,
                        _Array(turned, "x", apart=True).pointer, [a.pointer for a in to], stream,
                        [a.pointer if a else 0 for a in added], room, source.stride,
                        [a.stride for a in to], [a.stride if a else 0 for a in added], glu)
        else:
            self._staged(rows, source, to, added, stream, glu)
        return tuple(y)

    def _residuals(self, residual, y, source):
        if residual is None:
            return [None] * len(self.linears)
        if len(residual) != len(self.linears):
            raise ValueError(f"residual: {len(residual)} arrays; {self.info['name']} has "
                             f"{len(self.linears)} linears")
        all_of = self._beside([y[i] if r is None else r for i, r in enumerate(residual)], source,
                              "residual")
        return [None if r is None else a for r, a in zip(residual, all_of)]

    def _staged(self, rows, source, to, added, stream, glu):
        """From host memory and back: with room for the batch that takes all rows."""
        device, own, api = self.model.device, [], _api()
        room = self.capacity(rows, source.type, glu)

        def stage(a, width):
            address = device.alloc(2 * room * width)
            own.append(address)
            api.zero(device.pointer, address, 2 * room * width)
            if a is not None:
                api.upload(device.pointer, address, a.pointer, a.bytes)
            return address

        try:
            x = stage(source, self.info["columns"])
            y = [stage(None, linear.rows) for _, linear in zip(to, self.linears)]
            residual = [stage(a, linear.rows) if a else 0 for a, linear in zip(added, self.linears)]
            self.launch(rows, source.type, x, x, y, stream, residual, room, glu=glu)
            device.wait(stream)
            for a, address in zip(to, y):
                api.download(device.pointer, a.pointer, address, a.bytes)
        finally:
            for address in own:
                device.free(address)

    def rotate(self, x, out=None, stream=None, *, inverse=False, up=None, activation="silu",
               residual=None, sum=None, weight=None, post_weight=None, eps=None, weight_offset=0.0):
        """X~ [..., K] as the group's linears read it: what __call__ does first, and what may stand
        before it in the same launch.

        With 'eps' RMSNorm: h = x + residual, times weight_offset + weight (each [K] or None); h is
        written to 'sum', which may be residual; 'post_weight' is that of a norm of x before it is
        added.  With 'up' a gated linear unit: activation(x) * up, "silu", "gelu_tanh", "gelu" or
        "relu".  'inverse': s (H^T x) instead, where the library was exported with --inverse.  On
        the device as a call is."""
        if not self.signs:
            raise ValueError(f"{self.info['name']}: reads x as it is, without a rotation")
        if up is not None and eps is not None:
            raise ValueError("up, eps: a rotation has one of them before it")
        _activation(activation)
        out = _like(x, tuple(x.shape)) if out is None else out
        given = {"x": x, "y": out, "up": up, "residual": residual, "sum": sum, "weight": weight,
                 "post_weight": post_weight}
        args = RotateArgs(
            columns=self.info["columns"], flags=self.model.flags, signs=self.signs,
            block=self.linears[0].rotation, inverse=int(bool(inverse)),
            activation=_activation(activation), eps=eps or 0, weight_offset=weight_offset,
            prologue=1 if eps is not None else 2 if up is not None else 0)
        self._rotate(args, {k: v for k, v in given.items() if v is not None}, stream)
        return out

    def _rotate(self, args, given, stream):
        """Addresses of 'given' into 'args', from host memory by way of the device; launch."""
        arrays = {k: _Array(v.detach() if _is_torch(v) else v, "out" if k == "y" else k, HALVES,
                            written=k in ("y", "sum")) for k, v in given.items()}
        source, place, own = arrays["x"], {}, []
        for name, a in arrays.items():
            shape = source.shape[-1:] if "weight" in name else source.shape
            if a.shape != shape or (a.type, a.device) != (source.type, source.device):
                raise ValueError(f"{name}: {a.shape}; should be {shape} beside x, of its type")
        if source.shape[-1:] != (args.columns,):
            raise ValueError(f"x: shape {source.shape}; the last is {args.columns}")
        args.rows, args.type = source.bytes // 2 // args.columns, source.type
        device = self.model.device
        if stream is None and source.on_device and _is_torch(given["x"]):
            stream = self._stream_of(given["x"], source, None)
        try:
            for name, a in arrays.items():  # two names of one array get one place
                if a.pointer not in place:
                    place[a.pointer] = a.pointer
                    if not source.on_device and a.bytes:
                        own.append(device.upload(a.pointer, a.bytes))
                        place[a.pointer] = own[-1]
                setattr(args, name, place[a.pointer])
            if args.rows:
                _api().rotate(self._kernels(), C.byref(args), _stream(stream))
            for name in ("y", "sum"):
                if own and name in arrays:
                    device.wait(stream)
                    _api().download(device.pointer, arrays[name].pointer,
                                    place[arrays[name].pointer], arrays[name].bytes)
        finally:
            for address in own:
                device.free(address)
