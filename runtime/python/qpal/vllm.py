# SPDX-License-Identifier: MIT
"""Packed folders in vLLM: the quantization method "qpal", registered by the plug-in of that name.

    VLLM_PLUGINS=qpal QPAL_KERNELS=library vllm serve packed

As thin as it can be: vLLM's linears (fused ones, qkv_proj and gate_up_proj, too) and its vocabulary
are made of the packed linears that they stand for, from the folder, when vLLM has loaded the rest;
what the plan fused is one launch.  Linears that the folder has in 16 bits are vLLM's own.  Tensor
parallelism is refused.  Written against the sources of vLLM 0.33, whose interface
tests/python/against_vllm compares it with; it runs in tests on stubs of that interface, not in vLLM
itself, which needs a GPU.
"""

import functools
import json
import os
import re

import torch
from vllm.model_executor.layers.linear import (LinearBase, LinearMethodBase,
                                               UnquantizedLinearMethod)
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import (QuantizationConfig,
                                                                 QuantizeMethodBase)
from vllm.model_executor.layers.vocab_parallel_embedding import (ParallelLMHead,
                                                                 VocabParallelEmbedding)

from . import torch as _modules
from ._objects import Packed

__all__ = ["QpalConfig", "QpalEmbeddingMethod", "QpalLinearMethod", "register"]

_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
_ARRAYS = r"\.(codes|field|codebook)\.[0-9.]+$|\.row_scales$|\.signs$"


def register():
    """The entry point: importing this module has registered the method."""


@register_quantization_config("qpal")
class QpalConfig(QuantizationConfig):
    def __init__(self, config):
        super().__init__()
        self.config, self.folder = config, None

    def __getstate__(self):  # to vLLM's workers: each opens the files itself
        return {k: v for k, v in self.__dict__.items() if k != "source"}

    def get_name(self):
        return "qpal"

    def get_supported_act_dtypes(self):
        return [torch.float16, torch.bfloat16]

    @classmethod
    def get_min_capability(cls):
        return 75

    @staticmethod
    def get_config_filenames():
        return []

    @classmethod
    def from_config(cls, config):
        if config.get("format") != "qpal-packed":
            raise ValueError(
                f"quantization_config: format '{config.get('format')}'; should be qpal-packed")
        return cls(config)

    def maybe_update_config(self, model_name, hf_config=None, revision=None):
        """vLLM tells the folder here."""
        if not os.path.isdir(model_name):
            raise ValueError(f"{model_name}: qpal needs the packed folder itself, on this machine")
        self.folder = model_name

    @functools.cached_property
    def packed(self):
        """Names of the packed linears, and whether the head is the embedding's matrix."""
        with open(os.path.join(self.folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        names = {e["name"] for e in config["quantization"]["linears"]}
        for e in config["quantization"]["linears"]:
            if "of" in e:
                raise ValueError(f"{self.folder}: '{e['of']['name']}' lies there taken apart, for "
                                 "ranks: vLLM needs what qpal quantize packs without --tp")
        return names, bool(config.get("tie_word_embeddings"))

    @functools.cached_property
    def source(self):
        """Library and packed weights, opened once."""
        library = os.environ.get("QPAL_KERNELS") or os.path.join(self.folder, "library")
        if not os.path.exists(library):
            raise FileNotFoundError(f"{library}: there is no kernel library; set QPAL_KERNELS to "
                                    "what qpal export wrote")
        return _modules.Source(library, Packed(self.folder))

    def get_checkpoint_weight_mapper(self):
        """Leaves the packed arrays, and what stands in for packed matrices, to the methods below:
        vLLM's loader refuses tensors that it has no place for."""
        from vllm.model_executor.models.utils import WeightsMapper
        names = "|".join(map(re.escape, sorted(self.packed[0])))
        return WeightsMapper(orig_to_new_regex={
            re.compile(_ARRAYS): None, re.compile(rf"^({names})\.weight$"): None})

    def get_quant_method(self, layer, prefix):
        path, _, last = prefix.rpartition(".")
        names, tied = self.packed
        if isinstance(layer, VocabParallelEmbedding):
            if isinstance(layer, ParallelLMHead) and prefix not in names and tied:
                prefix = "model.embed_tokens"
            return QpalEmbeddingMethod(self, prefix) if prefix in names else None
        if not isinstance(layer, LinearBase):
            return None
        parts = self.packed_modules_mapping.get(last) or _FUSED.get(last, (last,))
        wanted = [f"{path}.{part}" if path else part for part in parts]
        packed = [name for name in wanted if name in names]
        if not packed:
            return UnquantizedLinearMethod()
        if packed != wanted:
            raise ValueError(f"{prefix}: of {', '.join(wanted)} only {', '.join(packed)} are "
                             "packed; vLLM fuses them")
        return QpalLinearMethod(self, wanted)


def _modules_of(config, names):
    """The packed linears on the device; a bias is vLLM's to add."""
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = torch.nn.ModuleList(_modules.linear(config.source, name) for name in names)
    for linear in made:
        linear.bias = None
    return made.to(place)


def _refuse_ranks(name, here, whole):
    if here != whole:
        raise ValueError(f"{name}: tensor parallelism is not supported by qpal's plug-in")


class QpalLinearMethod(LinearMethodBase):
    """y of one of vLLM's linears, by the packed linears that it stands for."""

    def __init__(self, config, names):
        self.config, self.names = config, names

    def create_weights(self, layer, input_size_per_partition, output_partition_sizes, input_size,
                       output_size, params_dtype, **extra_weight_attrs):
        """Nothing that vLLM's loader fills."""
        _refuse_ranks(self.names[0], input_size_per_partition, input_size)
        _refuse_ranks(self.names[0], sum(output_partition_sizes), output_size)
        layer.qpal_rows = list(output_partition_sizes)

    def process_weights_after_loading(self, layer):
        layer.qpal = _modules_of(self.config, self.names)
        rows = [linear.out_features for linear in layer.qpal]
        if rows != layer.qpal_rows:
            raise ValueError(f"{self.names}: {rows} rows are packed; vLLM has {layer.qpal_rows}")

    def apply(self, layer, x, bias=None):
        fused = layer.qpal[0].fused
        if all(linear.fused is fused for linear in layer.qpal):  # one launch
            begin, y = fused.begin, fused.all(x).to(x.dtype)
            parts = [y[..., begin[l.member]:begin[l.member + 1]] for l in layer.qpal]
        else:
            parts = [linear(x) for linear in layer.qpal]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
        return y if bias is None else y + bias


class QpalEmbeddingMethod(QuantizeMethodBase):
    """A packed embedding, a packed head, or one matrix that is both."""

    def __init__(self, config, name):
        self.config, self.name = config, name

    def create_weights(self, layer, input_size_per_partition, output_partition_sizes, input_size,
                       output_size, params_dtype, **extra_weight_attrs):
        _refuse_ranks(self.name, sum(output_partition_sizes), output_size)
        layer.qpal_dtype = params_dtype

    def process_weights_after_loading(self, layer):
        layer.qpal = _modules_of(self.config, [self.name])

    def embedding(self, layer, input_):
        return _modules.Embedding(layer.qpal[0], layer.qpal_dtype)(input_)

    def apply(self, layer, x, bias=None):
        y = layer.qpal[0](x)
        return y if bias is None else y + bias[:y.shape[-1]]

    def tie_weights(self, layer, embed_tokens):
        """The head's own method reads the same packed matrix, or a packed copy."""
        return layer
