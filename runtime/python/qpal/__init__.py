# SPDX-License-Identifier: MIT
"""Kernel libraries and packed weights of qpal: one module over libqpal's C interface (qpal.h).

    model = qpal.Model("lib/library.qpal", "packed", device="cuda:0")
    qkv = model.group("layers.0.q+k+v")
    q, k, v = qkv(x)     # x: numpy, torch, or anything with DLPack; [rows][K] or [K], f16 or bf16
    layer = qpal.torch_linear(model, "model.layers.0.self_attn.o_proj")      # a torch.nn.Module
    hidden = model.gather(ids)            # rows of a packed embedding; ids: int32 arrays

Arrays in the memory of the device are used where they are, on a stream of the caller's and without
waiting.  Arrays in host memory are copied there and back.  Needs only the standard library; numpy
and torch where their arrays are given.  qpal.calibrate, a package inside this one, is for models of
transformers and loads no libqpal.

libqpal_sim.so, or else libqpal.so, is taken from $QPAL_LIBRARY, from beside this package, from
where it was installed with it, or as the system finds it.  Devices: "cuda:N"; "current", the calling
thread's current context (what torch uses); "sim:90:4", the PTX simulator as sm_90 with 4
multiprocessors, where the library is libqpal_sim.so.

A Model is for one thread at a time; several threads take a Model each, or a lock.  What holds
memory has close(), and is closed at the end of a  with  block:

    with qpal.Model("lib/library.qpal", "packed") as model:
        y = model.group("layers.0.down")(x)

A closed object refuses to work (ValueError).  Arguments of a wrong type are TypeErrors, numbers out
of range ValueErrors, what libqpal refuses is an Error.
"""

import ctypes as C
import ctypes.util
import glob
import operator
import os
import sys
import weakref

__all__ = ["Error", "Library", "Packed", "Device", "Model", "Group", "torch_group", "torch_linear",
           "use", "version"]

ABI = 1
MAX_MEMBERS, MAX_PARTS, MAX_FIELDS, MAX_CODEBOOKS = 8, 4, 4, 4
NONE = 0x7FFFFFFF
F16, BF16, F32 = 0, 1, 2
I32 = 3  # of ids alone
GEMM, ROTATE, DEQUANT, GATHER = 0, 1, 2, 3
_ACTIVATIONS = "silu", "gelu_tanh", "gelu", "relu"  # qpal_activation
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
    ("gathers", _i)])
PartInfo = _struct("qpal_part_info", [
    ("quantizer", _u), ("column", _u), ("columns", _u), ("fields", _u), ("codebooks", _u),
    ("code_bytes", _u64), ("field_bytes", _u64 * MAX_FIELDS),
    ("codebook_bytes", _u64 * MAX_CODEBOOKS)], C.Structure)
LinearInfo = _struct("qpal_linear_info", [
    ("tensor", _s), ("quantizer", _u), ("rows", _u), ("columns", _u), ("parts", _u),
    ("bytes", _u64), ("part", PartInfo * MAX_PARTS)])
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
    ("parts", _u), ("scale", Bytes), ("signs", Bytes), ("part", PackedPart * MAX_PARTS)])
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
    ("scale", _u64), ("part", WeightsPart * MAX_PARTS), ("reserved", _u64 * 4)], C.Structure)
Segment = _struct("qpal_segment", [
    ("weights", C.POINTER(Weights)), ("bias", _u64), ("residual", _u64), ("y", _u64),
    ("reserved", _u64 * 2)], C.Structure)
GemmArgs = _struct("qpal_gemm_args", [
    ("group", _u), ("rows", _u), ("capacity", _u), ("type", _u), ("out_type", _u), ("flags", _u),
    ("x", _u64), ("signs", _u64), ("workspace", _u64), ("counters", _u64),
    ("segment", C.POINTER(Segment)), ("x_stride", _u), ("y_stride", _u * MAX_MEMBERS),
    ("residual_stride", _u * MAX_MEMBERS)])
GemmInfo = _struct("qpal_gemm_info", [
    ("kernel", _u), ("batch", _u), ("launches", _u), ("adds", _i), ("pdl", _i),
    ("prefer_dequant", _i), ("workspace_bytes", _u64), ("counter_bytes", _u64),
    ("latency_ps", _i64)])
RotateArgs = _struct("qpal_rotate_args", [
    ("columns", _u), ("rows", _u), ("type", _u), ("flags", _u), ("inverse", _i), ("x", _u64),
    ("y", _u64), ("signs", _u64), ("x_stride", _u), ("y_stride", _u), ("prologue", _u),
    ("activation", _u), ("up", _u64), ("up_stride", _u), ("eps", C.c_float),
    ("weight_offset", C.c_float), ("reserved", _u), ("residual", _u64), ("sum", _u64),
    ("weight", _u64), ("post_weight", _u64)])
DequantArgs = _struct("qpal_dequant_args", [
    ("group", _u), ("member", _u), ("type", _u), ("flags", _u), ("weights", C.POINTER(Weights)),
    ("w", _u64)])

GatherArgs = _struct("qpal_gather_args", [
    ("group", _u), ("member", _u), ("type", _u), ("flags", _u), ("rows", _u),
    ("weights", C.POINTER(Weights)), ("ids", _u64), ("signs", _u64), ("y", _u64)])

_P, _PP = C.c_void_p, C.POINTER(C.c_void_p)
_UP = C.POINTER(_u)

# name: (result, arguments); a result None is nothing, 'status' is checked.
_FUNCTIONS = {
    "version": (_s, []), "abi": (_u, []), "status_name": (_s, [_i]), "message": (_s, []),
    "library_open": ("status", [_s, _PP]), "library_from_memory": ("status", [_P, _size, _PP]),
    "library_close": (None, [_P]), "library_describe": ("status", [_P, C.POINTER(LibraryInfo)]),
    "library_target": ("status", [_P, _u, C.POINTER(TargetInfo)]),
    "library_quantizer": ("status", [_P, _u, C.POINTER(QuantizerInfo)]),
    "library_group": ("status", [_P, _u, C.POINTER(GroupInfo)]),
    "library_find_group": ("status", [_P, _s, _UP]),
    "library_find_linear": ("status", [_P, _s, _UP, _UP]),
    "library_linear": ("status", [_P, _u, _u, C.POINTER(LinearInfo)]),
    "library_kernel": ("status", [_P, _u, C.POINTER(KernelInfo)]),
    "packed_open": ("status", [_s, _PP]), "packed_close": (None, [_P]),
    "packed_find": ("status", [_P, _P, _u, _u, C.POINTER(PackedLinear)]),
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
    folders = [os.path.join(here, "..")] + [path for lib in ("lib", "lib64", "lib/*-linux-gnu")
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


def _whole(value, what, least, most):
    """A whole number in a range: ctypes would wrap around what does not fit."""
    try:
        n = operator.index(None if isinstance(value, bool) else value)
    except TypeError:
        raise TypeError(f"{what}: {type(value).__name__}; a whole number is needed") from None
    if not least <= n <= most:
        raise ValueError(f"{what}: {n}; {least} to {most} are possible")
    return n


def _text(value, what):
    if not isinstance(value, str):
        raise TypeError(f"{what}: {type(value).__name__}; a str is needed")
    return value.encode()


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


# ---- Arrays of others ----

_DL_CPU, _DL_CUDA, _DL_HOST, _DL_MANAGED = 1, 2, 3, 13


class _DLTensor(C.Structure):
    _fields_ = [("data", C.c_void_p), ("device_type", C.c_int32), ("device_id", C.c_int32),
                ("ndim", C.c_int32), ("code", C.c_uint8), ("bits", C.c_uint8),
                ("lanes", C.c_uint16), ("shape", C.POINTER(C.c_int64)),
                ("strides", C.POINTER(C.c_int64)), ("byte_offset", C.c_uint64)]


_capsule_pointer = C.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = C.c_void_p, [C.py_object, C.c_char_p]
_TYPES = {(2, 16): F16, (4, 16): BF16, (2, 32): F32, (0, 32): I32}


class _Array:
    """Where an array lies: pointer, shape, type, device.  Keeps the array alive."""

    def __init__(self, array, what, types=(F16, BF16, F32), hint=""):
        self.keep = array
        interface = getattr(array, "__array_interface__", None)
        if interface is not None:  # numpy; also its read-only arrays
            self.pointer, self.device = interface["data"][0], _DL_CPU
            self.shape = tuple(interface["shape"])
            self.type = {"<f2": F16, "<f4": F32, "<i4": I32}.get(interface["typestr"])
            contiguous = interface.get("strides") is None
        elif hasattr(array, "__dlpack__"):
            self.device = array.__dlpack_device__()[0]
            on_device = self.device in (_DL_CUDA, _DL_MANAGED)
            capsule = array.__dlpack__(stream=-1) if on_device else array.__dlpack__()
            t = C.cast(_capsule_pointer(capsule, b"dltensor"), C.POINTER(_DLTensor)).contents
            self.keep = (array, capsule)
            self.pointer = (t.data or 0) + t.byte_offset
            self.shape = tuple(t.shape[i] for i in range(t.ndim))
            self.type = _TYPES.get((t.code, t.bits))
            contiguous, step = True, 1
            for i in reversed(range(t.ndim)):
                contiguous &= not t.strides or self.shape[i] == 1 or t.strides[i] == step
                step *= self.shape[i]
        else:
            raise TypeError(f"{what}: {type(array).__name__} is neither a numpy array nor has it "
                            "__dlpack__")
        if self.type not in types:
            possible = "int32" if types == (I32,) else "float16, bfloat16 or float32"
            raise TypeError(f"{what}: elements are {getattr(array, 'dtype', 'of another type')}; "
                            f"should be {possible}")
        if not contiguous:
            raise ValueError(f"{what}: is not contiguous{hint}")
        self.bytes = 2 if self.type in (F16, BF16) else 4
        for n in self.shape:
            self.bytes *= n

    @property
    def on_device(self):
        return self.device in (_DL_CUDA, _DL_MANAGED)


def _stream(stream):
    """A CUstream as ctypes takes it: None or an address."""
    return None if stream is None else _whole(stream, "stream", 0, 2**64 - 1)


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


# ---- Objects ----


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


class Library(_Handle):
    """A kernel library: a path, or its bytes."""

    def __init__(self, source):
        api = _api()
        super().__init__(api.library_close)
        if isinstance(source, (bytes, bytearray, memoryview)):
            source = bytes(source)
            self._memory = (C.c_uint64 * ((len(source) + 7) // 8))()
            C.memmove(self._memory, source, len(source))
            api.library_from_memory(self._memory, len(source), C.byref(self.pointer))
        else:
            api.library_open(os.fsencode(source), C.byref(self.pointer))
        self._made()
        info = LibraryInfo()
        api.library_describe(self.pointer, C.byref(info))
        self.info = _table(info)

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
    """Packed weights, mapped from the folder or file that `qpal quantize` wrote."""

    def __init__(self, path):
        super().__init__(_api().packed_close)
        _api().packed_open(os.fsencode(path), C.byref(self.pointer))
        self._made()

    def find(self, library, group, member):
        out = PackedLinear()
        _api().packed_find(self._open(), library._open(), _whole(group, "group", 0, NONE),
                           _whole(member, "member", 0, MAX_MEMBERS - 1), C.byref(out))
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


class Model:
    """A library, packed weights and a device: what runs groups of linears.

    'exact': refuse kernels made for another GPU.  'pdl': programmatic dependent launch, where
    kernels have it.  A Library, Packed or Device that is given stays open when the model is closed;
    what the model opened by a path or name is closed with it."""

    def __init__(self, library, packed, device="cuda:0", exact=False, pdl=True):
        self._made = []  # in the order of opening
        self.library = self._take(Library, library)
        self.packed = self._take(Packed, packed)
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


def _bits(value, to):
    """A float as the bits of an f16 or bf16 (to nearest, ties to even)."""
    import struct
    if to == F16:
        return struct.unpack("<H", struct.pack("<e", value))[0]
    word = struct.unpack("<I", struct.pack("<f", value))[0]
    return (word + 0x7FFF + (word >> 16 & 1)) >> 16


def _floats(data, kind):
    import struct
    n = len(data) // (4 if kind == "F32" else 2)
    if kind == "BF16":
        return [struct.unpack("<f", b"\0\0" + bytes(data[2 * i:2 * i + 2]))[0] for i in range(n)]
    return struct.unpack(f"<{n}{'f' if kind == 'F32' else 'e'}", data)


class Group:
    """The linears that read one x.  Call it: y of each, a tuple."""

    def __init__(self, model, index):
        self.model, self.index = model, index
        info = GroupInfo()
        _api().library_group(model.library.pointer, index, C.byref(info))
        self.info = _table(info)
        self.linears, self.signs, self._own = [], 0, []
        self._bias = {}
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
            to.part[p].codes = self._take(packed.part[p].codes)
            for f in range(MAX_FIELDS):
                to.part[p].field[f] = self._take(packed.part[p].field[f])
            for c in range(MAX_CODEBOOKS):
                to.part[p].codebook[c] = self._take(packed.part[p].codebook[c])
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
                words = [_bits(v, kind) for v in _floats(data, stored)]
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

    def query(self, rows, kind=F16):
        """What a call with this many rows would do, as a dict (qpal_gemm_info)."""
        args, info = GemmArgs(group=self.index, rows=_whole(rows, "rows", 1, NONE),
                              type=_whole(kind, "kind", F16, F32), out_type=kind), GemmInfo()
        _api().gemm_query(self._kernels(), C.byref(args), C.byref(info))
        return _table(info)

    def launch(self, rows, kind, x, x_rotated, y, stream=None, residual=None):
        """Without arrays: device addresses.  x [rows][K] is rotated into 'x_rotated' (may be x); y:
        one a member."""
        api, model, kernels, stream = _api(), self.model, self._kernels(), _stream(stream)
        _whole(rows, "rows", 1, NONE)
        if self.signs:
            rotate = RotateArgs(columns=self.info["columns"], rows=rows, type=kind,
                                flags=model.flags, x=x, y=x_rotated, signs=self.signs)
            api.rotate(kernels, C.byref(rotate), stream)
            x = x_rotated
        workspace, counters = model._scratch(stream)
        segment = (Segment * len(y))()
        for m, bias in enumerate(self._biases(kind)):
            segment[m] = Segment(weights=C.pointer(self._weights[m]), bias=bias,
                                 residual=residual[m] if residual else 0, y=y[m])
        args = GemmArgs(group=self.index, rows=rows, type=kind, out_type=kind, flags=model.flags,
                        x=x, workspace=workspace, counters=counters, segment=segment)
        api.gemm(kernels, C.byref(args), stream)

    def dequant(self, member, out, stream=None):
        """W [M][K] of one member, r included, into 'out' (device array, or host array: copied).

        y = W (H (s x))."""
        to, kernels, stream = _Array(out, "out"), self._kernels(), _stream(stream)
        linear = self.linears[_whole(member, "member", 0, len(self.linears) - 1)]
        if to.shape != (linear.rows, linear.columns):
            raise ValueError(f"out: shape {to.shape}; {linear.tensor.decode()} is "
                             f"{linear.rows} x {linear.columns}")
        device = self.model.device
        address = to.pointer if to.on_device else device.alloc(to.bytes)
        try:
            args = DequantArgs(group=self.index, member=member, type=to.type,
                               weights=C.pointer(self._weights[member]), w=address)
            _api().dequant(kernels, C.byref(args), stream)
            if not to.on_device:
                device.wait(stream)
                _api().download(device.pointer, to.pointer, address, to.bytes)
        finally:
            if not to.on_device:
                device.free(address)
        return out

    def _outputs(self, y, source, rows):
        """Where the arrays for y lie: one for each linear, of the type of x and beside it."""
        to = [_Array(a, "out") for a in y]
        if len(to) != len(self.linears):
            raise ValueError(f"out: {len(to)} arrays; {self.info['name']} has "
                             f"{len(self.linears)} linears")
        for a, linear in zip(to, self.linears):
            kind = a.type, a.device
            if a.bytes != 2 * rows * linear.rows or kind != (source.type, source.device):
                raise ValueError(f"out: {a.shape}; should be {source.shape[:-1] + (linear.rows,)} "
                                 "beside x, of its type")
        return to

    def gather(self, ids, out=None, stream=None):
        """Rows of an embedding by the ids of tokens, int32 [...]: [..., K]; zeros for other ids.

        'out' says the type by being given, an array [..., K]; else float16.  On the device as a
        call is."""
        self._kernels()
        source = _Array(ids, "ids", (I32,))
        shape = source.shape + (self.info["columns"],)
        out = _halves(ids, shape) if out is None else out
        to = _Array(out, "out", (F16, BF16))
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

    def __call__(self, x, out=None, stream=None, copy=False):
        """y of each member for x [..., K]; 'out': arrays to write to.

        Arrays must be contiguous; with 'copy' an x that is not is copied first.

        On the device without waiting, on 'stream' (a CUstream; torch's current one where x is
        torch's)."""
        self._kernels()
        x = _contiguous(x) if copy else x
        source = _Array(x.detach() if _is_torch(x) else x, "x", hint="; copy=True copies it")
        columns = self.info["columns"]
        if not source.shape or source.shape[-1] != columns:
            raise ValueError(f"x: shape {source.shape}; the last is {columns} for "
                             f"{self.info['name']}")
        if source.type == F32:
            raise TypeError("x: float32; kernels take float16 or bfloat16")
        rows = source.bytes // 2 // columns
        y = out or [_like(x, source.shape[:-1] + (linear.rows,)) for linear in self.linears]
        to = self._outputs(y, source, rows)
        if not rows:
            return tuple(y)
        if source.on_device:
            if self.model.device.info["simulated"]:
                raise ValueError("x: is in a GPU's memory; the simulator takes arrays in host "
                                 "memory")
            if stream is None and _is_torch(x):
                stream = sys.modules["torch"].cuda.current_stream(x.device).cuda_stream or None
            turned = _like(x, source.shape) if self.signs else x
            self.launch(rows, source.type, source.pointer, _Array(turned, "x").pointer,
                        [a.pointer for a in to], stream)
        else:
            self._staged(rows, source, to, stream)
        return tuple(y)

    def rotate(self, x, out=None, stream=None, *, up=None, activation="silu", residual=None,
               sum=None, weight=None, post_weight=None, eps=None, weight_offset=0.0):
        """X~ [..., K] as the group's linears read it: what __call__ does first, and what may stand
        before it in the same launch.

        With 'eps' RMSNorm: h = x + residual, times weight_offset + weight (each [K] or None); h is
        written to 'sum', which may be residual; 'post_weight' is that of a norm of x before it is
        added.  With 'up' a gated linear unit: activation(x) * up, "silu", "gelu_tanh", "gelu" or
        "relu".  On the device as a call is."""
        if not self.signs:
            raise ValueError(f"{self.info['name']}: reads x as it is, without a rotation")
        if up is not None and eps is not None:
            raise ValueError("up, eps: a rotation has one of them before it")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation: '{activation}'; one of {', '.join(_ACTIVATIONS)}")
        out = _like(x, tuple(x.shape)) if out is None else out
        given = {"x": x, "y": out, "up": up, "residual": residual, "sum": sum, "weight": weight,
                 "post_weight": post_weight}
        args = RotateArgs(
            columns=self.info["columns"], flags=self.model.flags, signs=self.signs,
            activation=_ACTIVATIONS.index(activation), eps=eps or 0, weight_offset=weight_offset,
            prologue=1 if eps is not None else 2 if up is not None else 0)
        self._rotate(args, {k: v for k, v in given.items() if v is not None}, stream)
        return out

    def _rotate(self, args, given, stream):
        """Addresses of 'given' into 'args', from host memory by way of the device; launch."""
        arrays = {k: _Array(v.detach() if _is_torch(v) else v, k, (F16, BF16))
                  for k, v in given.items()}
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
            stream = _torch_stream(given["x"])
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

    def _staged(self, rows, source, to, stream):
        """From host memory and back."""
        device, own = self.model.device, []
        try:
            own.append(device.upload(source.pointer, source.bytes))
            for a in to:
                own.append(device.alloc(a.bytes))
            self.launch(rows, source.type, own[0], own[0], own[1:], stream)
            device.wait(stream)
            for a, address in zip(to, own[1:]):
                _api().download(device.pointer, a.pointer, address, a.bytes)
        finally:
            for address in own:
                device.free(address)


# ---- torch ----


def _torch_stream(x):
    """torch's current stream where x is in a GPU's memory, as a number; None: the default."""
    import torch
    return torch.cuda.current_stream(x.device).cuda_stream or None if x.is_cuda else None


def _torch_bias(group, linear, y):
    """The linear's bias as y's type beside y; None where the checkpoint has none."""
    import torch
    try:
        data, stored, _ = group.model.packed.tensor(linear.tensor.decode() + ".bias")
    except Error:
        return None
    return torch.tensor(list(_floats(data, stored)), device=y.device).to(y.dtype)


def _torch_rotate(group, x):
    """H (s x) as the group's linears read it, a new tensor beside x."""
    import torch
    y, api, device = torch.empty_like(x), _api(), group.model.device
    a, b = _Array(x.detach(), "x"), _Array(y, "x")
    inside, columns, kernels = a.on_device, group.info["columns"], group._kernels()
    address = a.pointer if inside else device.upload(a.pointer, a.bytes)
    args = RotateArgs(columns=columns, rows=a.bytes // 2 // columns, type=a.type, x=address,
                      y=b.pointer if inside else address, signs=group.signs)
    try:
        api.rotate(kernels, C.byref(args), _torch_stream(x))
        if not inside:
            device.wait()
            api.download(device.pointer, b.pointer, address, b.bytes)
    finally:
        if not inside:
            device.free(address)
    return y


def _torch_decoded(group, x):
    """y of each member by weights that the library's kernels decode to 16 bits for torch."""
    import torch
    rotated = _torch_rotate(group, x) if group.signs else x
    out = []
    for m, linear in enumerate(group.linears):
        w = x.new_empty((linear.rows, linear.columns))
        group.dequant(m, w, _torch_stream(x))
        if x.is_cuda:
            y = rotated @ w.t()
        else:
            y = torch.matmul(rotated.float(), w.float().t()).to(x.dtype)
        bias = _torch_bias(group, linear, y)
        out.append(y if bias is None else y + bias)
    return tuple(out)


def _decodes(group, kind):
    return any(k["op"] == DEQUANT and k["type"] == kind for k in group.model.library.kernels)


def torch_group(model, name):
    """A torch.nn.Module for a group: forward(x) gives y of each member, a tuple.

    Above the largest kernel the weights are decoded to 16 bits and torch multiplies, if the library
    has the kernels."""
    import torch

    class QpalGroup(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.group = model.group(name)

        def extra_repr(self):
            g = self.group.info
            rows = [linear.rows for linear in self.group.linears]
            return f"{g['name']}, in_features={g['columns']}, out_features={rows}"

        def forward(self, x):
            g = self.group
            x = x.contiguous()
            rows = x.numel() // g.info["columns"] if x.numel() else 0
            kind = BF16 if x.dtype == torch.bfloat16 else F16
            if rows and g.query(rows, kind)["prefer_dequant"] and _decodes(g, kind):
                return _torch_decoded(g, x)
            return g(x)

    return QpalGroup()


def torch_linear(model, tensor, shared=None):
    """A torch.nn.Module for one linear, named as in the checkpoint: forward(x) = x W^T + bias.

    A linear of a fused group computes the whole group; modules made with the same 'shared' dict
    share a launch: the first that is called with an x computes all, the others with the same x take
    theirs."""
    import torch

    index, member = model.library.find_linear(tensor)
    cache = {} if shared is None else shared

    class QpalLinear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.all = torch_group(model, index)
            self.in_features = self.all.group.info["columns"]
            self.out_features = self.all.group.linears[member].rows

        def extra_repr(self):
            return f"{tensor}, in_features={self.in_features}, out_features={self.out_features}"

        def forward(self, x):
            if self.all.group.info["members"] == 1:
                return self.all(x)[0]
            known = cache.get(index)  # (x, its version, y of those not taken yet)
            fresh = known is not None and known[0] is x and known[1] == x._version
            if not fresh or member not in known[2]:
                known = cache[index] = (x, x._version, dict(enumerate(self.all(x))))
            y = known[2].pop(member)
            if not known[2]:
                del cache[index]
            return y

    return QpalLinear()
