# SPDX-License-Identifier: MIT
"""Libraries, packed weights, devices and kernels: owners of what libqpal opened."""

import ctypes as C
import os
import weakref

from ._c import (DeviceInfo, Error, GroupInfo, KernelInfo, KernelsInfo, LibraryInfo, LinearInfo,
                 LoadOptions, MAX_DEVICE, MAX_MEMBERS, MAX_SIMULATED, NONE, PackedLinear,
                 QuantizerInfo, TargetInfo, Tensor, _CURRENT, _api, _number, _path, _stream, _table,
                 _text, _u, _u64, _whole)


def _give_back(close, pointer, _keep):
    close(pointer)


def _free_all(device, addresses):
    while addresses:
        address = addresses.pop()
        if device.pointer:  # else the memory went with it
            device.free(address)


class _Handle:
    """Owns a pointer of libqpal's."""

    def __init__(self, close):
        self.pointer = C.c_void_p()
        self._close = close

    def _made(self, *keep):
        """From now on it must be closed, and before what it was made from: 'keep'."""
        self._finalizer = weakref.finalize(self, _give_back, self._close, self.pointer.value, keep)

    def close(self):
        """Give back what it holds.  Happens by itself when nothing refers to it any more."""
        self._finalizer()
        self.pointer = C.c_void_p()

    def _open(self):
        """The pointer, which there is until it is closed."""
        if not self.pointer:
            raise ValueError(f"{type(self).__name__}: is closed")
        return self.pointer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _is_of(kind, given, what):
    """The open pointer of an object of ours."""
    if not isinstance(given, kind):
        raise TypeError(f"{what}: {type(given).__name__}; a {kind.__name__} is needed")
    return given._open()


class Library(_Handle):
    """A kernel library: a path, or its bytes.  'verify': compare every kernel with its checksum
    before anything else, as verify() does; else one is compared when it is loaded."""

    def __init__(self, source, verify=False):
        api = _api()
        super().__init__(api.library_close)
        self.path = None  # where it was opened; None: in memory
        if isinstance(source, (bytes, bytearray, memoryview)):
            source = bytes(source)
            self._memory = (C.c_uint64 * ((len(source) + 7) // 8))()
            C.memmove(self._memory, source, len(source))
            api.library_from_memory(self._memory, len(source), C.byref(self.pointer))
        else:
            api.library_open(_path(source), C.byref(self.pointer))
            self.path = os.path.abspath(os.fsdecode(source))
        self._made()
        info = LibraryInfo()
        api.library_describe(self.pointer, C.byref(info))
        self.info = _table(info)
        if verify:
            self.verify()

    def verify(self):
        """Compare every kernel with its checksum; an Error names one that is damaged."""
        _api().library_verify(self._open())

    def _all(self, f, kind, count):
        out = []
        for i in range(self.info[count]):
            info = kind()
            f(self._open(), i, C.byref(info))
            out.append(_table(info))
        return out

    @property
    def targets(self):
        return self._all(_api().library_target, TargetInfo, "targets")

    @property
    def quantizers(self):
        return self._all(_api().library_quantizer, QuantizerInfo, "quantizers")

    @property
    def groups(self):
        return self._all(_api().library_group, GroupInfo, "groups")

    @property
    def kernels(self):
        return self._all(_api().library_kernel, KernelInfo, "kernels")

    def linear(self, group, member):
        info = LinearInfo()
        _api().library_linear(self._open(), _whole(group, "group", 0, NONE),
                              _whole(member, "member", 0, MAX_MEMBERS - 1), C.byref(info))
        return info

    @property
    def linears(self):
        """Every linear that the library knows: its name in the checkpoint, group and member, shape,
        quantizer (None: it stays in 16 bits and is the engine's)."""
        out, quantizers = [], self.quantizers
        for index, group in enumerate(self.groups):
            for member in range(group["members"]):
                e = self.linear(index, member)
                out.append({
                    "tensor": e.tensor.decode(), "group": group["name"], "member": member,
                    "rows": e.rows, "columns": e.columns, "bytes": e.bytes,
                    "quantizer": None if e.quantizer == NONE else quantizers[e.quantizer]["name"]})
        return out

    def find_group(self, name):
        group = _u()
        _api().library_find_group(self._open(), _text(name, "name"), C.byref(group))
        return group.value

    def find_linear(self, tensor):
        """Group and member that compute the linear with this name in the checkpoint."""
        group, member = _u(), _u()
        _api().library_find_linear(self._open(), _text(tensor, "tensor"), C.byref(group),
                                   C.byref(member))
        return group.value, member.value


class Packed(_Handle):
    """Packed weights, mapped from the folder or file that `qpal quantize` wrote; the slices of rank
    'rank' of 'size' that share them (`qpal quantize --tp`).  'verify': compare every array with its
    checksum before anything else, as verify() does, which reads all of them once."""

    def __init__(self, path, rank=0, size=1, verify=False):
        super().__init__(_api().packed_close)
        _api().packed_open_rank(_path(path), _whole(rank, "rank", 0, NONE),
                                _whole(size, "size", 1, NONE), C.byref(self.pointer))
        self.rank, self.size = rank, size
        self.path = os.path.abspath(os.fsdecode(path))
        self._made()
        if verify:
            self.verify()

    def verify(self):
        """Compare every array with its checksum; an Error names one that is damaged or missing."""
        _api().packed_verify(self._open())

    def find(self, library, group, member):
        out = PackedLinear()
        _api().packed_find(self._open(), _is_of(Library, library, "library"),
                           _whole(group, "group", 0, NONE),
                           _whole(member, "member", 0, MAX_MEMBERS - 1), C.byref(out))
        return out

    def find_expert(self, library, group, member, expert):
        """The same of one expert of a stack."""
        out = PackedLinear()
        _api().packed_find_expert(self._open(), _is_of(Library, library, "library"),
                                  _whole(group, "group", 0, NONE),
                                  _whole(member, "member", 0, MAX_MEMBERS - 1),
                                  _whole(expert, "expert", 0, NONE), C.byref(out))
        return out

    def tensor(self, name):
        """(bytes, type, shape) of a tensor that is no quantized linear.

        The bytes are a view of the file."""
        t = Tensor()
        _api().packed_tensor(self._open(), _text(name, "name"), C.byref(t))
        view = (C.c_char * t.bytes.bytes).from_address(t.bytes.data) if t.bytes.bytes else b""
        return memoryview(view), t.type.decode(), tuple(t.dim[:t.dims])


class Device(_Handle):
    """A GPU ("cuda:0"), the current context ("current"), or the simulator ("sim:90:4")."""

    def __init__(self, name):
        api = _api()
        super().__init__(api.device_close)
        _text(name, "device")
        self.name = name
        kind, _, rest = name.partition(":")
        if kind == "sim":
            if not hasattr(api, "sim_open"):
                raise Error(4, f"{api.path} has no simulator; use libqpal_sim.so")
            arch, _, count = (rest or "90").partition(":")
            arch = _number(arch, f"device '{name}': architecture", 1, 999)
            count = _number(count or "4", f"device '{name}': multiprocessors", 1, MAX_SIMULATED)
            api.sim_open(arch, count, C.byref(self.pointer))
        elif name == "current":
            api.device_open(_CURRENT, C.byref(self.pointer))
        elif kind == "cuda":
            number = _number(rest or "0", f"device '{name}': number", 0, MAX_DEVICE)
            api.device_open(number, C.byref(self.pointer))
        else:
            raise ValueError(f"device '{name}': should be cuda:N, current or "
                             "sim:ARCH:MULTIPROCESSORS")
        self._made()
        info = DeviceInfo()
        api.device_describe(self.pointer, C.byref(info))
        self.info = _table(info)

    def alloc(self, count):
        address = _u64()
        if _whole(count, "bytes", 0, 2**63):
            _api().alloc(self._open(), count, C.byref(address))
        return address.value

    def free(self, address):
        if address:
            _api().free(self._open(), address)

    def upload(self, source, count):
        """New device memory that holds 'count' bytes from a host address."""
        address = self.alloc(count)
        if count:
            _api().upload(self._open(), address, source, count)
        return address

    def wait(self, stream=None):
        _api().wait(self._open(), _stream(stream))


class _Kernels(_Handle):
    def __init__(self, library, device, exact):
        super().__init__(_api().kernels_close)
        _api().kernels_load(library.pointer, device.pointer, C.byref(LoadOptions(exact=int(exact))),
                            C.byref(self.pointer))
        self._made(library, device)
        info = KernelsInfo()
        _api().kernels_describe(self.pointer, C.byref(info))
        self.info = _table(info)
