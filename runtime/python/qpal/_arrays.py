# SPDX-License-Identifier: MIT
"""Arrays of others (numpy, torch, DLPack): where they lie, new ones beside them."""

import ctypes as C
import struct
import sys

from ._c import BF16, F16, F32, I32

_DL_CPU, _DL_CUDA, _DL_HOST, _DL_MANAGED = 1, 2, 3, 13


class _DLTensor(C.Structure):
    _fields_ = [("data", C.c_void_p), ("device_type", C.c_int32), ("device_id", C.c_int32),
                ("ndim", C.c_int32), ("code", C.c_uint8), ("bits", C.c_uint8),
                ("lanes", C.c_uint16), ("shape", C.POINTER(C.c_int64)),
                ("strides", C.POINTER(C.c_int64)), ("byte_offset", C.c_uint64)]


_capsule_pointer = C.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = C.c_void_p, [C.py_object, C.c_char_p]
_TYPES = {(2, 16): F16, (4, 16): BF16, (2, 32): F32, (0, 32): I32}
_NAMES = {F16: "float16", BF16: "bfloat16", F32: "float32", I32: "int32"}
HALVES = F16, BF16


def _rows_apart(shape, strides):
    """Elements from row to row of an array whose rows are its last dimension; None: its elements do
    not lie in rows at one distance."""
    if not shape or 0 in shape:
        return shape[-1] if shape else 1
    if shape[-1] != 1 and strides[-1] != 1:
        return None
    apart, step = None, None
    for n, stride in reversed(list(zip(shape[:-1], strides[:-1]))):
        if n == 1:
            continue
        if apart is None:
            apart = stride
        elif stride != step:
            return None
        step = stride * n
    return shape[-1] if apart is None else apart


class _Array:
    """Where an array lies: pointer, shape, type, device.  Keeps the array alive.

    'apart': its rows need not lie one behind another where it is on a device; 'stride' is the
    number of elements from one to the next.  'written': a read-only array is refused."""

    def __init__(self, array, what, types=(F16, BF16, F32), hint="", apart=False, written=False):
        self.keep = array
        interface = getattr(array, "__array_interface__", None)
        if interface is not None:  # numpy; also its read-only arrays
            self.pointer, self.device = interface["data"][0], _DL_CPU
            self.shape = tuple(interface["shape"])
            self.type = {"<f2": F16, "<f4": F32, "<i4": I32}.get(interface["typestr"])
            strides = interface.get("strides")
            if strides and self.type:
                strides = [n // int(interface["typestr"][2:]) for n in strides]
        elif hasattr(array, "__dlpack__"):
            self.device = array.__dlpack_device__()[0]
            on_device = self.device in (_DL_CUDA, _DL_MANAGED)
            capsule = array.__dlpack__(stream=-1) if on_device else array.__dlpack__()
            t = C.cast(_capsule_pointer(capsule, b"dltensor"), C.POINTER(_DLTensor)).contents
            self.keep = (array, capsule)
            self.pointer = (t.data or 0) + t.byte_offset
            self.shape = tuple(t.shape[i] for i in range(t.ndim))
            self.type = _TYPES.get((t.code, t.bits)) if t.lanes == 1 else None
            strides = [t.strides[i] for i in range(t.ndim)] if t.strides else None
        else:
            raise TypeError(f"{what}: {type(array).__name__} is neither a numpy array nor has it "
                            "__dlpack__")
        if self.type not in types:
            possible = " or ".join(_NAMES[t] for t in types)
            raise TypeError(f"{what}: elements are {getattr(array, 'dtype', 'of another type')}; "
                            f"should be {possible}{hint if self.type == F32 else ''}")
        width = self.shape[-1] if self.shape else 1
        self.stride = width if strides is None else _rows_apart(self.shape, strides)
        if self.stride is None or self.stride != width and not (apart and self.on_device):
            raise ValueError(f"{what}: is not contiguous{hint}")
        if written and interface is not None and interface["data"][1]:
            raise ValueError(f"{what}: is read-only")
        self.bytes = 2 if self.type in (F16, BF16) else 4
        for n in self.shape:
            self.bytes *= n

    @property
    def on_device(self):
        return self.device in (_DL_CUDA, _DL_MANAGED)


def _contiguous(array):
    """The array itself or a copy whose elements lie one behind another."""
    if _is_torch(array):
        return array.contiguous()
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(array, numpy.ndarray):
        return numpy.ascontiguousarray(array)
    return array


def _is_torch(array):
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _like(array, shape):
    """A new array of this shape beside 'array', of its kind and type."""
    if _is_torch(array):
        return array.new_empty(shape)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(array, numpy.ndarray):
        return numpy.empty(shape, array.dtype)
    raise TypeError(f"{type(array).__name__}: give 'out', arrays for the result")


def _halves(array, shape):
    """A new float16 array of this shape beside 'array'."""
    if _is_torch(array):
        return array.new_empty(shape, dtype=sys.modules["torch"].float16)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(array, numpy.ndarray):
        return numpy.empty(shape, numpy.float16)
    raise TypeError(f"{type(array).__name__}: give 'out', an array for the result")


def _bits(value, to):
    """A float as the bits of an f16 or bf16 (to nearest, ties to even)."""
    if to == F16:
        return struct.unpack("<H", struct.pack("<e", value))[0]
    word = struct.unpack("<I", struct.pack("<f", value))[0]
    return (word + 0x7FFF + (word >> 16 & 1)) >> 16


def _floats(data, kind):
    n = len(data) // (4 if kind == "F32" else 2)
    if kind == "BF16":
        return [struct.unpack("<f", b"\0\0" + bytes(data[2 * i:2 * i + 2]))[0] for i in range(n)]
    return struct.unpack(f"<{n}{'f' if kind == 'F32' else 'e'}", data)


def _words(data, stored, kind):
    """A tensor of packed files as the 16-bit words of 'kind'."""
    return [_bits(v, kind) for v in _floats(data, stored)]
