# SPDX-License-Identifier: MIT
"""Stacks of experts on a device: routed and launched by addresses."""

import ctypes as C
import weakref

from ._arrays import _words
from ._c import (CombineArgs, Error, ExpertsArgs, ExpertsInfo, F16, F32, GroupInfo, MAX_CODEBOOKS,
                 MAX_FIELDS, RotateArgs, RouteArgs, Segment, Weights, _activation, _api, _epilogue,
                 _stream, _table, _whole, part_of)
from ._objects import _free_all

MOST_TOKENS = 64


class Experts:
    """The linears of E experts, of which a router chooses top_k for each token (qpal_experts).

    All arrays are addresses of the device's memory: ids int32 [tokens][top_k]; x [tokens][K], or of
    each assignment [tokens * top_k][K]; y of each member [tokens * top_k][M].  A routing serves all
    groups with as many experts and top_k; it is as long as query() says."""

    def __init__(self, model, name):
        self.model, self.index = model, model.library.find_group(name)
        info = GroupInfo()
        _api().library_group(model.library.pointer, self.index, C.byref(info))
        self.info = _table(info)
        if not info.experts:
            raise ValueError(f"{name}: its linears are no stacks of experts")
        self._own, self.linears = [], []
        self._finalizer = weakref.finalize(self, _free_all, model.device, self._own)
        self._weights = (Weights * info.members)()
        for m in range(info.members):
            self.linears.append(model.library.linear(self.index, m))
            parts = [model.packed.find_expert(model.library, self.index, m, e)
                     for e in range(info.experts)]
            self._upload(self._weights[m], parts, self.linears[m].pieces)
            if m == 0:
                self.signs = self._stack([parts[0].signs])
        self._bias = {}

    def _stack(self, arrays, pieces=1):
        """Arrays of all experts, one behind another in the device's memory, piece by piece."""
        device, each = self.model.device, arrays[0].bytes // pieces
        address = device.alloc(arrays[0].bytes * len(arrays))
        if address:
            self._own.append(address)
        for i in range(pieces):
            for e, a in enumerate(arrays):
                if each:
                    _api().upload(device.pointer, address + (i * len(arrays) + e) * each,
                                  a.data + i * each, each)
        return address

    def _upload(self, to, experts, pieces):
        to.scale = self._stack([e.scale for e in experts])
        for p in range(experts[0].parts):
            part, sources = part_of(to, p), [part_of(e, p) for e in experts]
            part.codes = self._stack([s.codes for s in sources], pieces)
            for f in range(MAX_FIELDS):
                part.field[f] = self._stack([s.field[f] for s in sources], pieces)
            for c in range(MAX_CODEBOOKS):
                part.codebook[c] = self._stack([s.codebook[c] for s in sources])

    def _biases(self, kind):
        """Device addresses of the members' biases [E][M] as 'kind'; 0 where there are none."""
        if kind not in self._bias:
            self._bias[kind] = [self._bias_of(linear, kind) for linear in self.linears]
        return self._bias[kind]

    def _first(self, tensor):
        """The number in the model of expert 0: not 0 where ranks have slices of the experts."""
        packed, own = self.model.packed, self.info["experts"]
        try:
            packed.tensor(tensor.replace("*", str(own * packed.size - 1)) + ".row_scales")
        except Error:
            return 0
        return own * packed.rank

    def _bias_of(self, linear, kind):
        words, tensor, first = [], linear.tensor.decode(), self._first(linear.tensor.decode())
        for e in range(self.info["experts"]):
            name = tensor.replace("*", str(first + e)) + ".bias"
            try:
                data, stored, _ = self.model.packed.tensor(name)
            except Error:
                if words:
                    raise
                return 0
            words += _words(data, stored, kind)
        host = (C.c_uint16 * len(words))(*words)
        address = self.model.device.upload(host, 2 * len(words))
        self._own.append(address)
        return address

    def close(self):
        """Free the weights on the device; no launch may be running."""
        self._finalizer()

    def _args(self, tokens, kind, out_kind, **given):
        if not self._finalizer.alive:
            raise ValueError(f"{self.info['name']}: is closed")
        return ExpertsArgs(group=self.index, tokens=_whole(tokens, "tokens", 1, MOST_TOKENS),
                           type=_whole(kind, "kind", F16, F32), flags=self.model.flags,
                           out_type=kind if out_kind is None else out_kind, **given)

    def query(self, tokens, kind=F16, out_kind=None, glu=None):
        """What a launch would do, as a dict (qpal_experts_info)."""
        args, info = self._args(tokens, kind, out_kind, **_epilogue(glu)), ExpertsInfo()
        _api().experts_query(self.model.kernels._open(), C.byref(args), C.byref(info))
        return _table(info)

    def route(self, tokens, ids, routing, stream=None):
        """Sort a router's choice by expert."""
        args = RouteArgs(group=self.index, tokens=_whole(tokens, "tokens", 1, MOST_TOKENS), ids=ids,
                         flags=self.model.flags, routing=routing)
        _api().route(self.model.kernels._open(), C.byref(args), _stream(stream))

    def rotate(self, rows, x, y, up=0, activation="silu", limit=0, kind=F16, stream=None):
        """What a launch multiplies with: x, or with 'up' activation(x) * up, rotated; with a limit
        gate and up are clamped by it first.  May be in place; without a rotation of these linears
        there is nothing to do."""
        args = RotateArgs(columns=self.info["columns"], rows=rows, type=kind,
                          block=self.linears[0].rotation, flags=self.model.flags, x=x, y=y,
                          signs=self.signs, up=up,
                          prologue=2 if up else 0, activation=_activation(activation),
                          limit=limit)
        _api().rotate(self.model.kernels._open(), C.byref(args), _stream(stream))

    def launch(self, tokens, x, routing, y, by_token=True, kind=F16, out_kind=None, stream=None,
               glu=None, limit=0):
        """y: one address a member.  With 'glu' ("silu" and so on) of up and gate one y,
        activation(gate) * up, by kernels that `qpal export --glu` made; 'limit' clamps both."""
        stream = _stream(stream)
        workspace, counters = self.model._scratch(stream)
        segment = (Segment * len(self.linears))()
        biases = self._biases(kind)
        for m, bias in enumerate(biases):
            segment[m] = Segment(weights=C.pointer(self._weights[m]), bias=bias,
                                 y=y[m] if m < len(y) else 0)
        args = self._args(tokens, kind, out_kind, x=x, routing=routing, workspace=workspace,
                          counters=counters, segment=segment, by_token=int(by_token),
                          **_epilogue(glu, limit))
        _api().experts(self.model.kernels._open(), C.byref(args), stream)

    def combine(self, tokens, x, weights, y, residual=0, kind=F16, x_kind=None, stream=None):
        """y [tokens][M] of the router's weights, fp32 [tokens][top_k], and what launch() gave:
        residual + the weighted sum of each token's experts (qpal_combine)."""
        args = CombineArgs(columns=self.linears[0].rows, top_k=self.info["top_k"],
                           tokens=_whole(tokens, "tokens", 0, 2**31), type=kind,
                           x_type=kind if x_kind is None else x_kind, flags=self.model.flags, x=x,
                           weights=weights, residual=residual, y=y)
        _api().combine(self.model.kernels._open(), C.byref(args), _stream(stream))
