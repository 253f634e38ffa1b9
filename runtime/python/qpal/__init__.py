# SPDX-License-Identifier: MIT
"""Kernel libraries and packed weights of qpal: a package over libqpal's C interface (qpal.h).

    model = qpal.Model("lib/library.qpal", "packed", device="cuda:0")
    qkv = model.group("layers.0.q+k+v")
    q, k, v = qkv(x)     # x: numpy, torch, or anything with DLPack; [rows][K] or [K], f16 or bf16
    layer = qpal.torch_linear(model, "model.layers.0.self_attn.o_proj")      # a torch.nn.Module
    import qpal.transformers    # AutoModelForCausalLM.from_pretrained(FOLDER) from then on
    hidden = model.gather(ids)  # rows of a packed embedding; ids: int32 arrays
    stacks = model.experts("layers.0.expert_down")  # experts among which a router chooses

Arrays in the memory of the device are used where they are, on a stream of the caller's and without
waiting.  Arrays in host memory are copied there and back.  Needs only the standard library; numpy
and torch where their arrays are given.  qpal.calibrate, a package inside this one, is for models of
transformers and loads no libqpal.

libqpal_sim.so, or else libqpal.so, is taken from $QPAL_LIBRARY, from this package, from where it
was installed with it, or as the system finds it.  Devices: "cuda:N"; "current", the calling
thread's current context (what torch uses); "sim:90:4", the PTX simulator as sm_90 with 4
multiprocessors, where the library is libqpal_sim.so.

A Model is for one thread at a time; several threads take a Model each, or a lock.  What holds
memory has close(), and is closed at the end of a  with  block:

    with qpal.Model("lib/library.qpal", "packed") as model:
        y = model.group("layers.0.down")(x)

Opening reads next to nothing of the weights.  With verify=True (Model, Packed, Library) every array
and kernel is compared with its checksum first.

A closed object refuses to work (ValueError).  Arguments of a wrong type are TypeErrors, numbers out
of range ValueErrors, what libqpal refuses is an Error.
"""

from ._c import (ABI, BF16, DEQUANT, Error, F16, F32, GATHER, GEMM, NONE, PDL, ROTATE, Y_IS_ZERO,
                 use, version)
from ._experts import Experts
from ._model import Group, Model
from ._objects import Device, Library, Packed

__all__ = [
    "Error", "Library", "Packed", "Device", "Model", "Group", "Experts", "torch_group",
    "torch_linear", "use", "version", "ABI", "F16", "BF16", "F32", "GEMM", "ROTATE", "DEQUANT",
    "GATHER", "NONE", "PDL", "Y_IS_ZERO"]


def torch_linear(model, tensor):
    """A torch.nn.Module for one linear of a Model: see qpal.torch.linear."""
    from .torch import linear
    return linear(model, tensor)


def torch_group(model, name):
    """A torch.nn.Module for a group of a Model, whose forward(x) gives a tuple: see
    qpal.torch.group."""
    from .torch import group
    return group(model, name)
