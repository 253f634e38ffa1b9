# SPDX-License-Identifier: MIT
"""Packed folders in vLLM: the quantization method "qpal", registered by the plug-in of that name.

    VLLM_PLUGINS=qpal QPAL_KERNELS=library vllm serve packed

As thin as it can be: vLLM's fused linears (qkv_proj, gate_up_proj) are made of the packed linears
that they stand for, from the folder, when vLLM has loaded the rest; a launch is one of the
library's groups. Tensor parallelism is refused.  It was written against vLLM's documented interface
and is tested against stubs of it, not with vLLM itself.
"""

import os

import torch
from vllm.model_executor.layers.linear import LinearBase, LinearMethodBase
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

from . import torch as _modules
from ._objects import Packed

__all__ = ["QpalConfig", "QpalLinearMethod", "register"]

_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


def register():
    """The entry point: importing this module has registered the method."""


@register_quantization_config("qpal")
class QpalConfig(QuantizationConfig):
    def __init__(self, config):
        super().__init__()
        self.config, self._source = config, None

    @classmethod
    def get_name(cls):
        return "qpal"

    @classmethod
    def get_supported_act_dtypes(cls):
        return [torch.float16, torch.bfloat16]

    @classmethod
    def get_min_capability(cls):
        return 80

    @staticmethod
    def get_config_filenames():
        return []

    @classmethod
    def from_config(cls, config):
        if config.get("format") != "qpal-packed":
            raise ValueError(
                f"quantization_config: format '{config.get('format')}'; should be qpal-packed")
        return cls(config)

    def maybe_update_config(self, model_name, *_, **__):
        """vLLM tells the folder here."""
        self.folder = model_name

    def source(self):
        """Library and packed weights, opened once."""
        if self._source is None:
            library = os.environ.get("QPAL_KERNELS") or os.path.join(self.folder, "library")
            if not os.path.exists(library):
                raise FileNotFoundError(
                    f"{library}: there is no kernel library; set QPAL_KERNELS to what qpal "
                    "export wrote")
            self._source = _modules.Source(library, Packed(self.folder))
        return self._source

    def get_quant_method(self, layer, prefix):
        return QpalLinearMethod(self, prefix) if isinstance(layer, LinearBase) else None


class QpalLinearMethod(LinearMethodBase):
    """y of one of vLLM's linears, by the packed linears that it stands for."""

    def __init__(self, config, prefix):
        path, _, last = prefix.rpartition(".")
        self.config = config
        self.names = [f"{path}.{name}" for name in _FUSED.get(last, (last,))]

    def create_weights(self, layer, input_size_per_partition, output_partition_sizes, input_size,
                       output_size, params_dtype, **extra):
        """Nothing that vLLM's loader fills: what it hands over by name is left out."""
        if input_size_per_partition != input_size or sum(output_partition_sizes) != output_size:
            raise ValueError("qpal: tensor parallelism is not supported by this plug-in")
        layer.qpal_rows = list(output_partition_sizes)

    def process_weights_after_loading(self, layer):
        source = self.config.source()
        place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        layer.qpal = torch.nn.ModuleList(_modules.linear(source, name)
                                         for name in self.names).to(place)
        rows = [linear.out_features for linear in layer.qpal]
        if rows != layer.qpal_rows:
            raise ValueError(f"{self.names}: {rows} rows are packed; vLLM has {layer.qpal_rows}")

    def apply(self, layer, x, bias=None):
        y = torch.cat([linear(x) for linear in layer.qpal], -1)
        return y if bias is None else y + bias
