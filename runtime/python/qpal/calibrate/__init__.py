# SPDX-License-Identifier: MIT
"""Calibration of any causal model of transformers, for qpal's plan and quantize.

    python -m qpal.calibrate MODEL --text FILE -o DIR [--guided G] [--fisher]

writes what `qpal calibrate` writes (tuner/calibrate/CALIBRATION.md), for models that it does not
run as well, those with experts among them, and what needs gradients: guided Hessians and Fisher
sensitivities.  Needs torch, transformers and safetensors.  From Python:

    qpal.calibrate.calibrate(model, sequences, "calibration", qpal.calibrate.Options(guided=4))
"""
from .job import Options, calibrate

__all__ = ["Options", "calibrate"]
