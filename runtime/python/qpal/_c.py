# SPDX-License-Identifier: MIT
"""What qpal.h declares, as ctypes; which libqpal is loaded; checks of arguments."""

import ctypes as C
import ctypes.util
import glob
import operator
import os

__all__ = ["BF16", "DEQUANT", "Error", "F16", "F32", "GATHER", "GEMM", "I32", "NONE", "PDL",
           "ROTATE", "Y_IS_ZERO", "use", "version"]

ABI = 1
MAX_MEMBERS, MAX_PARTS, MORE_PARTS, MAX_FIELDS, MAX_CODEBOOKS = 8, 4, 12, 4, 4
NONE = 0x7FFFFFFF
F16, BF16, F32 = 0, 1, 2
I32 = 3  # of ids alone
GEMM, ROTATE, DEQUANT, GATHER = 0, 1, 2, 3
_ACTIVATIONS = "silu", "gelu_tanh", "gelu", "relu", "swiglu_oai"  # qpal_activation
PDL, Y_IS_ZERO = 1, 2
MAX_DEVICE, MAX_SIMULATED = 1023, 1024  # number of a GPU, multiprocessors of a simulated one
_CURRENT = -1

# ---- What qpal.h declares ----


class _Sized(C.Structure):
    """A struct that begins with its size."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.size = C.sizeof(self)


def _struct(name, fields, base=_Sized):
    head = [("size", C.c_size_t)] if base is _Sized else []
    return type(name, (base,), {"_fields_": head + fields})


_u, _i, _u64, _i64 = C.c_uint, C.c_int, C.c_uint64, C.c_int64
_s, _d, _size = C.c_char_p, C.c_double, C.c_size_t

LibraryInfo = _struct("qpal_library_info", [
    ("model", _s), ("generator", _s), ("file_bytes", _u64), ("checksum", _u64), ("toolkit", _u),
    ("targets", _u), ("quantizers", _u), ("groups", _u), ("kernels", _u)])
TargetInfo = _struct("qpal_target_info", [
    ("name", _s), ("chosen", _s), ("arch", _u), ("sm_count", _u), ("kernels", _u)])
QuantizerInfo = _struct("qpal_quantizer_info", [
    ("name", _s), ("hash", _s), ("rate_bits", _d), ("stored_bits", _d), ("layout", _u),
    ("parts", _u)])
GroupInfo = _struct("qpal_group_info", [
    ("name", _s), ("path", _s), ("block", _i), ("columns", _u), ("members", _u), ("rows", _u),
    ("gathers", _i), ("experts", _u), ("top_k", _u)])
PartInfo = _struct("qpal_part_info", [
    ("quantizer", _u), ("column", _u), ("columns", _u), ("fields", _u), ("codebooks", _u),
    ("code_bytes", _u64), ("field_bytes", _u64 * MAX_FIELDS),
    ("codebook_bytes", _u64 * MAX_CODEBOOKS)], C.Structure)
LinearInfo = _struct("qpal_linear_info", [
    ("tensor", _s), ("quantizer", _u), ("rows", _u), ("columns", _u), ("parts", _u),
    ("bytes", _u64), ("part", PartInfo * MAX_PARTS), ("pieces", _u), ("rotation", _u),
    ("more", PartInfo * MORE_PARTS)])
KernelInfo = _struct("qpal_kernel_info", [
    ("name", _s), ("source", _s), ("target", _u), ("op", _u), ("type", _u), ("out_type", _u),
    ("columns", _u), ("batch", _u), ("grid", _u), ("block", _u), ("smem_bytes", _u),
    ("registers", _u), ("counters", _u), ("pdl", _i), ("adds", _i), ("rotates", _i),
    ("workspace_bytes", _u64), ("cubin_bytes", _u64), ("ptx_bytes", _u64), ("latency_ps", _i64)])
Bytes = _struct("qpal_bytes", [("data", C.c_void_p), ("bytes", _u64)], C.Structure)
PackedPart = _struct("qpal_packed_part", [
    ("codes", Bytes), ("field", Bytes * MAX_FIELDS),
    ("codebook", Bytes * MAX_CODEBOOKS)], C.Structure)
PackedLinear = _struct("qpal_packed_linear", [
    ("parts", _u), ("scale", Bytes), ("signs", Bytes), ("part", PackedPart * MAX_PARTS),
    ("more", PackedPart * MORE_PARTS)])
Tensor = _struct("qpal_tensor", [("bytes", Bytes), ("type", _s), ("dims", _u), ("dim", _u64 * 8)])
DeviceInfo = _struct("qpal_device_info", [
    ("name", C.c_char * 128), ("arch", _u), ("sm_count", _u), ("driver", _u), ("simulated", _i)])
LoadOptions = _struct("qpal_load_options", [("exact", _i), ("constants", _u64)])
KernelsInfo = _struct("qpal_kernels_info", [
    ("target", _u), ("match", _u), ("kernels", _u), ("workspace_bytes", _u64),
    ("counter_bytes", _u64)])
WeightsPart = _struct("qpal_weights_part", [
    ("codes", _u64), ("field", _u64 * MAX_FIELDS), ("codebook", _u64 * MAX_CODEBOOKS)], C.Structure)
Weights = _struct("qpal_weights", [
    ("scale", _u64), ("part", WeightsPart * MAX_PARTS), ("more", C.POINTER(WeightsPart)),
    ("_behind", _u64 * 3)], C.Structure)
Segment = _struct("qpal_segment", [
    ("weights", C.POINTER(Weights)), ("bias", _u64), ("residual", _u64), ("y", _u64),
    ("reserved", _u64 * 2)], C.Structure)
GemmArgs = _struct("qpal_gemm_args", [
    ("group", _u), ("rows", _u), ("capacity", _u), ("type", _u), ("out_type", _u), ("flags", _u),
    ("x", _u64), ("signs", _u64), ("workspace", _u64), ("counters", _u64),
    ("segment", C.POINTER(Segment)), ("x_stride", _u), ("y_stride", _u * MAX_MEMBERS),
    ("residual_stride", _u * MAX_MEMBERS), ("epilogue", _u), ("activation", _u),
    ("limit", C.c_float), ("reserved", _u)])
GemmInfo = _struct("qpal_gemm_info", [
    ("kernel", _u), ("batch", _u), ("launches", _u), ("adds", _i), ("pdl", _i),
    ("prefer_dequant", _i), ("workspace_bytes", _u64), ("counter_bytes", _u64),
    ("latency_ps", _i64)])
RotateArgs = _struct("qpal_rotate_args", [
    ("columns", _u), ("rows", _u), ("type", _u), ("flags", _u), ("inverse", _i), ("x", _u64),
    ("y", _u64), ("signs", _u64), ("x_stride", _u), ("y_stride", _u), ("prologue", _u),
    ("activation", _u), ("up", _u64), ("up_stride", _u), ("eps", C.c_float),
    ("weight_offset", C.c_float), ("block", _u), ("residual", _u64), ("sum", _u64),
    ("weight", _u64), ("post_weight", _u64), ("limit", C.c_float), ("reserved", _u)])
DequantArgs = _struct("qpal_dequant_args", [
    ("group", _u), ("member", _u), ("type", _u), ("flags", _u), ("weights", C.POINTER(Weights)),
    ("w", _u64), ("signs", _u64)])

GatherArgs = _struct("qpal_gather_args", [
    ("group", _u), ("member", _u), ("type", _u), ("flags", _u), ("rows", _u),
    ("weights", C.POINTER(Weights)), ("ids", _u64), ("signs", _u64), ("y", _u64)])

ExpertsArgs = _struct("qpal_experts_args", [
    ("group", _u), ("tokens", _u), ("type", _u), ("out_type", _u), ("flags", _u), ("by_token", _u),
    ("x", _u64), ("routing", _u64), ("workspace", _u64), ("counters", _u64),
    ("segment", C.POINTER(Segment)), ("x_stride", _u), ("y_stride", _u * MAX_MEMBERS),
    ("unused", _u), ("epilogue", _u), ("activation", _u), ("limit", C.c_float), ("reserved", _u)])
ExpertsInfo = _struct("qpal_experts_info", [
    ("kernel", _u), ("batch", _u), ("experts", _u), ("top_k", _u), ("tile", _u), ("pdl", _i),
    ("routing_bytes", _u64), ("workspace_bytes", _u64), ("counter_bytes", _u64),
    ("latency_ps", _i64)])
RouteArgs = _struct("qpal_route_args", [
    ("group", _u), ("tokens", _u), ("flags", _u), ("reserved", _u), ("ids", _u64),
    ("routing", _u64)])
CombineArgs = _struct("qpal_combine_args", [
    ("columns", _u), ("tokens", _u), ("top_k", _u), ("type", _u), ("x_type", _u), ("flags", _u),
    ("x", _u64), ("weights", _u64), ("residual", _u64), ("y", _u64), ("x_stride", _u),
    ("y_stride", _u), ("residual_stride", _u), ("reserved", _u)])



def part_of(linear, i):
    """Part i of a LinearInfo, a PackedLinear or Weights, which get room for more when asked."""
    if i < MAX_PARTS:
        return linear.part[i]
    if isinstance(linear, Weights) and not linear.more:
        linear.more = (WeightsPart * MORE_PARTS)()
    return linear.more[i - MAX_PARTS]


_P, _PP = C.c_void_p, C.POINTER(C.c_void_p)
_UP = C.POINTER(_u)

# name: (result, arguments); a result None is nothing, 'status' is checked.
_FUNCTIONS = {
    "version": (_s, []), "abi": (_u, []), "status_name": (_s, [_i]), "message": (_s, []),
    "library_open": ("status", [_s, _PP]), "library_from_memory": ("status", [_P, _size, _PP]),
    "library_verify": ("status", [_P]),
    "library_close": (None, [_P]), "library_describe": ("status", [_P, C.POINTER(LibraryInfo)]),
    "library_target": ("status", [_P, _u, C.POINTER(TargetInfo)]),
    "library_quantizer": ("status", [_P, _u, C.POINTER(QuantizerInfo)]),
    "library_group": ("status", [_P, _u, C.POINTER(GroupInfo)]),
    "library_find_group": ("status", [_P, _s, _UP]),
    "library_find_linear": ("status", [_P, _s, _UP, _UP]),
    "library_linear": ("status", [_P, _u, _u, C.POINTER(LinearInfo)]),
    "library_kernel": ("status", [_P, _u, C.POINTER(KernelInfo)]),
    "packed_open": ("status", [_s, _PP]), "packed_open_rank": ("status", [_s, _u, _u, _PP]),
    "packed_close": (None, [_P]), "packed_verify": ("status", [_P]),
    "packed_find": ("status", [_P, _P, _u, _u, C.POINTER(PackedLinear)]),
    "packed_find_expert": ("status", [_P, _P, _u, _u, _u, C.POINTER(PackedLinear)]),
    "packed_tensor": ("status", [_P, _s, C.POINTER(Tensor)]),
    "device_open": ("status", [_i, _PP]), "device_close": (None, [_P]),
    "device_describe": ("status", [_P, C.POINTER(DeviceInfo)]),
    "alloc": ("status", [_P, _u64, C.POINTER(_u64)]), "free": (None, [_P, _u64]),
    "upload": ("status", [_P, _u64, _P, _u64]), "download": ("status", [_P, _P, _u64, _u64]),
    "zero": ("status", [_P, _u64, _u64]), "wait": ("status", [_P, _P]),
    "constants_bytes": (_u64, [_P]),
    "kernels_load": ("status", [_P, _P, C.POINTER(LoadOptions), _PP]),
    "kernels_close": (None, [_P]),
    "kernels_describe": ("status", [_P, C.POINTER(KernelsInfo)]),
    "gemm_query": ("status", [_P, C.POINTER(GemmArgs), C.POINTER(GemmInfo)]),
    "gemm": ("status", [_P, C.POINTER(GemmArgs), _P]),
    "rotate": ("status", [_P, C.POINTER(RotateArgs), _P]),
    "dequant": ("status", [_P, C.POINTER(DequantArgs), _P]),
    "gather": ("status", [_P, C.POINTER(GatherArgs), _P]),
    "experts_query": ("status", [_P, C.POINTER(ExpertsArgs), C.POINTER(ExpertsInfo)]),
    "experts": ("status", [_P, C.POINTER(ExpertsArgs), _P]),
    "route": ("status", [_P, C.POINTER(RouteArgs), _P]),
    "combine": ("status", [_P, C.POINTER(CombineArgs), _P]),
    "sim_open": ("status", [_u, _u, _PP]),  # libqpal_sim alone
}


class Error(Exception):
    """A call that libqpal refused; 'status' is its qpal_status."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def _find():
    here = os.path.dirname(os.path.abspath(__file__))
    prefix = os.path.join(here, "..", "..", "..", "..")  # of PREFIX/share/qpal/python/qpal
    folders = [os.path.join(here, "lib"), os.path.join(here, "..")] + [
        path for lib in ("lib", "lib64", "lib/*-linux-gnu")
        for path in sorted(glob.glob(f"{prefix}/{lib}"))]
    near = [os.path.join(folder, name) for folder in folders
            for name in ("libqpal_sim.so", "libqpal.so")]
    for path in [os.environ.get("QPAL_LIBRARY")] + near:
        if path and os.path.exists(path):
            return path
    found = ctypes.util.find_library("qpal_sim") or ctypes.util.find_library("qpal")
    if not found:
        raise ImportError("libqpal.so was not found; set QPAL_LIBRARY to its path")
    return found


class _Api:
    """libqpal, loaded."""

    def __init__(self, path):
        self.path = path
        library = C.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            f = getattr(library, "qpal_" + name, None)
            if f is None and name == "sim_open":
                continue
            if f is None:
                raise ImportError(f"{path}: has no qpal_{name}; a libqpal of ABI {ABI} is needed")
            f.argtypes = arguments
            f.restype = _i if result == "status" else result
            setattr(self, name, self._checked(f) if result == "status" else f)
        if self.abi() != ABI:
            raise ImportError(f"{path}: ABI {self.abi()}; this module is for ABI {ABI}")

    def _checked(self, f):
        def call(*arguments):
            status = f(*arguments)
            if status:
                name, message = self.status_name(status).decode(), self.message().decode()
                raise Error(status, f"{name}: {message}")
        return call


_loaded = None


def use(path):
    """Take this libqpal.so (or libqpal_sim.so); before anything else."""
    global _loaded
    _loaded = _Api(path)


def _api():
    if _loaded is None:
        use(_find())
    return _loaded


def version():
    """Version of the libqpal that is loaded."""
    return _api().version().decode()


def _epilogue(glu, limit=0):
    """Fields of a launch's arguments for a gated linear unit with this activation; none: {}."""
    return {"epilogue": 1, "activation": _activation(glu), "limit": limit} if glu else {}


def _whole(value, what, least, most):
    """A whole number in a range: ctypes would wrap around what does not fit."""
    try:
        n = operator.index(None if isinstance(value, bool) else value)
    except TypeError:
        raise TypeError(f"{what}: {type(value).__name__}; a whole number is needed") from None
    if not least <= n <= most:
        raise ValueError(f"{what}: {n}; {least} to {most} are possible")
    return n


def _activation(name):
    if name not in _ACTIVATIONS:
        raise ValueError(f"activation: '{name}'; one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS.index(name)


def _text(value, what):
    if not isinstance(value, str):
        raise TypeError(f"{what}: {type(value).__name__}; a str is needed")
    return _whole_text(value.encode(), what)


def _whole_text(data, what):
    """C would read a text to its first 0 alone, and so find another file or name."""
    if b"\0" in data:
        raise ValueError(f"{what}: {data!r} has a character 0 in it")
    return data


def _path(value):
    return _whole_text(os.fsencode(value), "path")


def _number(text, what, least, most):
    """The same of digits in a device's name."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{what}: '{text}'; {least} to {most} are possible")
    return _whole(int(text), what, least, most)


def _table(info):
    """The fields of an info as a dict."""
    out = {}
    for name, _ in info._fields_:
        value = getattr(info, name)
        if name == "size":
            continue
        out[name] = value.decode() if isinstance(value, bytes) else value
    return out


def _stream(stream):
    """A CUstream as ctypes takes it: None or an address."""
    return None if stream is None else _whole(stream, "stream", 0, 2**64 - 1)
