# SPDX-License-Identifier: MIT
"""Packed folders in transformers (5 and later):

    import qpal.transformers
    model = transformers.AutoModelForCausalLM.from_pretrained("packed")

On a GPU linears run the kernels of a library that `qpal export` wrote: use(library=...), or the
variable QPAL_KERNELS, or a folder 'library' in or beside the packed one, as `qpal make` leaves it.
On a CPU the weights are decoded to the model's type when it is loaded, which takes the memory and
gives the speed of a model that is not quantized; use(cpu="simulator") runs the very kernels in the
PTX simulator instead, slowly.
"""

import json
import os
import tempfile

import torch
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from . import torch as _modules
from ._command import run
from ._objects import Library, Packed

__all__ = ["QpalConfig", "QpalQuantizer", "use"]

_how = {"library": os.environ.get("QPAL_KERNELS"), "cpu": "decode", "verify": False}


def use(library=None, cpu=None, verify=None):
    """For models that are loaded from now on: the kernel library; on a CPU "decode" or
    "simulator"; whether library and packed weights are compared with their checksums first."""
    if cpu not in (None, "decode", "simulator"):
        raise ValueError(f"cpu: '{cpu}'; should be decode or simulator")
    if library is not None:
        _how["library"] = os.fspath(library)
    if cpu is not None:
        _how["cpu"] = cpu
    if verify is not None:
        _how["verify"] = bool(verify)


@register_quantization_config("qpal")
class QpalConfig(QuantizationConfigMixin):
    """What config.json says: made by `qpal quantize`, not by hand."""

    def __init__(self, quant_method="qpal", format="qpal-packed", version=2, bits_per_weight=None,
                 **more):
        if format != "qpal-packed" or version not in (1, 2, 3, 4, 5, 6):
            raise ValueError(
                f"quantization_config: format '{format}', version {version}; this qpal reads "
                "qpal-packed, versions 1 to 6")
        self.quant_method, self.format, self.version = quant_method, format, version
        self.bits_per_weight = bits_per_weight
        self.more = more


class _Later(torch.nn.Module):
    """Stands in for a linear or embedding while other weights are loaded; has none itself."""

    def __init__(self, name, was):
        super().__init__()
        self.name, self.was, self.bias = name, type(was), getattr(was, "bias", None)


class _Joined(torch.nn.Module):
    """The linears of a matrix that was taken apart for ranks, their rows in its order."""

    def __init__(self, parts, entries):
        super().__init__()
        self.names = [e["name"].rpartition(".")[2] for e in entries]
        self.runs = [e["of"]["run"] for e in entries]
        for name, part in zip(self.names, parts):
            self.add_module(name, part)

    def forward(self, x):
        y = [getattr(self, name)(x).unflatten(-1, (-1, run))
             for name, run in zip(self.names, self.runs)]
        return torch.cat(y, -1).flatten(-2)


class _Head(torch.nn.Module):
    """A vocabulary's logits: without those of the rows that it was padded with."""

    def __init__(self, linear, rows):
        super().__init__()
        self.linear, self.rows = linear, rows

    def forward(self, x):
        return self.linear(x)[..., :self.rows]


def _parent(model, name):
    path, _, last = name.rpartition(".")
    return model.get_submodule(path) if path else model, last


@register_quantizer("qpal")
class QpalQuantizer(HfQuantizer):
    """Loads packed folders; quantizes nothing itself."""

    requires_calibration = True

    def validate_environment(self, *args, **kwargs):
        if not self.pre_quantized:
            raise ValueError("qpal quantizes by its command: qpal quantize MODEL -o packed")

    @property
    def is_trainable(self):
        return True  # of adapters: the packed weights are constants

    def is_serializable(self, *args, **kwargs):
        return False

    @property
    def is_compileable(self):
        return True

    def _process_model_before_weight_loading(self, model, checkpoint_files=None, **kwargs):
        if not checkpoint_files:
            raise ValueError("qpal: from_pretrained was given no folder of packed weights")
        self.folder = os.path.dirname(os.path.abspath(checkpoint_files[0]))
        with open(os.path.join(self.folder, "config.json"), encoding="utf-8") as f:
            section = json.load(f)["quantization"]
        self.linears = {e["name"]: e for e in section["linears"]}
        ignored = set(model._keys_to_ignore_on_load_unexpected or ())
        ignored |= {r"\.(codes|field|codebook)\.\d", r"\.row_scales$", r"\.(signs|input)$"}
        self.joined = self._find_joined()
        for name in self.linears:
            ignored.add(rf"^{name.replace('.', '[.]')}[.]weight$")
            if "of" in self.linears[name]:
                ignored.add(rf"^{name.replace('.', '[.]')}[.]bias$")
        for name in [*(n for n, e in self.linears.items() if "of" not in e), *self.joined]:
            try:
                parent, last = _parent(model, name)
                was = getattr(parent, last)
            except AttributeError:
                raise ValueError(
                    f"{self.folder}: linear '{name}' is not in a {type(model).__name__}") from None
            setattr(parent, last, _Later(name, was))
            if name in self.joined:  # its bias lies taken apart, too
                getattr(parent, last).bias = None
        self._untie(model)
        model._keys_to_ignore_on_load_unexpected = ignored
        return model

    def _find_joined(self):
        """Matrices that lie there taken apart, for ranks: their linears in the order of rows."""
        joined = {}
        for entry in self.linears.values():
            if "of" in entry:
                joined.setdefault(entry["of"]["name"], []).append(entry)
        for name, parts in joined.items():
            parts.sort(key=lambda e: e["of"]["begin"])
            if sum(e["of"]["run"] for e in parts) != parts[0]["of"]["period"]:
                raise ValueError(f"{self.folder}: of '{name}', which lies there taken apart, only "
                                 f"{', '.join(e['name'] for e in parts)} are packed")
        return joined

    def _untie(self, model):
        """A tied head whose matrix is packed is no tensor of the embedding's any more."""
        self.tied = bool(getattr(model, "all_tied_weights_keys", None))
        embedding = "model.embed_tokens"
        if not self.tied or not {"lm_head", embedding} & set(self.linears):
            return
        if embedding in self.linears and "lm_head" not in self.linears:
            model.lm_head = _Later(embedding, model.lm_head)
        model.all_tied_weights_keys, model._tied_weights_keys = {}, {}
        model.config.tie_word_embeddings = False

    def _process_model_after_weight_loading(self, model, **kwargs):
        dtype = model.dtype if model.dtype.is_floating_point else torch.float16
        place = next(iter(model.parameters())).device
        on_cpu = place.type != "cuda"
        if on_cpu and _how["cpu"] == "decode":
            self._decode(model, dtype, place)
        else:
            self._run_kernels(model, dtype, place)
        return model

    def _put(self, model, make):
        """Put what make(name, stand-in) gives in each stand-in's place."""
        for name, module in list(model.named_modules()):
            if isinstance(module, _Later):
                parent, last = _parent(model, name)
                setattr(parent, last, make(module.name, module))

    # ---- Decoded once ----

    def _decode(self, model, dtype, place):
        kinds = {torch.float16: "f16", torch.bfloat16: "bf16"}
        from safetensors import safe_open
        if _how["verify"]:
            run("verify", self.folder)
        with tempfile.TemporaryDirectory(prefix="qpal-") as folder:
            plain = os.path.join(folder, "plain")
            run("unpack", self.folder, "-o", plain, "--type", kinds.get(dtype, "f32"))
            with safe_open(os.path.join(plain, "model.safetensors"), "pt", device="cpu") as f:
                def weight(name, end=".weight"):
                    return f.get_tensor(name + end).to(place, dtype)

                def make(name, at):
                    if name in self.joined and f"{name}.bias" in f.keys():
                        at.bias = torch.nn.Parameter(weight(name, ".bias"), requires_grad=False)
                    return _plain(weight(name), at)

                self._put(model, make)

    # ---- The library's kernels ----

    def _library(self):
        candidates = [_how["library"], os.path.join(self.folder, "library"),
                      os.path.join(os.path.dirname(self.folder), "library")]
        for path in filter(None, candidates):
            if os.path.exists(path):
                return Library(path, verify=_how["verify"])
        raise FileNotFoundError(
            f"{self.folder}: no kernel library was found for it "
            f"({', '.join(filter(None, candidates))}); "
            "make one with qpal export and say qpal.transformers.use(library=...)")

    def _run_kernels(self, model, dtype, place):
        packed = Packed(self.folder, verify=_how["verify"])
        source = _modules.Source(self._library(), packed)

        def make(name, at):
            if at.was is torch.nn.Embedding:
                return _modules.embedding(source, name, dtype).to(place)
            if name in self.joined:
                parts = self.joined[name]
                return _Joined([_modules.linear(source, e["name"]).to(place) for e in parts], parts)
            linear = _modules.linear(source, name).to(place)
            padding = self.linears[name].get("padding", 0)
            return _Head(linear, linear.out_features - padding) if padding else linear

        self._put(model, make)
        for module in list(model.modules()):  # no modeling file changes what it projects
            _modules.share(module)


def _plain(weight, at):
    """A module of torch's own with these weights, in a stand-in's place."""
    rows, columns = weight.shape
    with torch.device("meta"):
        if at.was is torch.nn.Embedding:
            made = torch.nn.Embedding(rows, columns)
        else:
            made = torch.nn.Linear(columns, rows, bias=at.bias is not None)
    made.weight = torch.nn.Parameter(weight, requires_grad=False)
    if at.bias is not None and at.was is not torch.nn.Embedding:
        made.bias = at.bias
    return made
