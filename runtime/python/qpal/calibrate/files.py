# SPDX-License-Identifier: MIT
"""The folder that qpal plan and qpal quantize take as --calibration, as
tuner/calibrate/CALIBRATION.md describes it, and the ledger of a run that is not done."""
import json
import os
import re

from safetensors import safe_open
from safetensors.torch import save_file

VERSION = 1


class FolderError(Exception):
    pass


def write(path, text):
    """Whole or not at all."""
    part = f"{path}.part{os.getpid()}"
    try:
        with open(part, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.remove(part)
        raise


def write_hessian(path, name, values, rows):
    part = f"{path}.part{os.getpid()}"
    try:
        save_file({f"{name}.hessian": values.cpu().contiguous()}, part, {"tokens": str(rows)})
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.remove(part)
        raise


def read_hessian(path):
    """[G][K][K], G = 1 of a plain one; None: there is no such file."""
    if not os.path.exists(path):
        return None
    with safe_open(path, "pt") as f:
        values = f.get_tensor(next(iter(f.keys())))
    return values if values.dim() == 3 else values[None]


class Ledger:
    """What is done so far, a line each; a torn last line is dropped."""

    def __init__(self, path, key):
        self.path, self.hessians, self.sensitivity = path, set(), {}
        head = {"ledger": "qpal-calibrate", "key": key}
        lines = []
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                lines = [line for line in f.read().split("\n")[:-1] if line]
            try:
                known = [json.loads(line) for line in lines]
            except json.JSONDecodeError:
                raise FolderError(f"{path}: it is damaged: remove the folder") from None
            if known and known[0] != head:
                raise FolderError(f"{path}: it is of a run with another model, text or other "
                                  "options: give another -o, or remove the folder")
            for entry in known[1:]:
                self._take(entry)
        write(path, "".join(f"{line}\n" for line in lines or [json.dumps(head)]))
        self.file = open(path, "a", encoding="utf-8")

    def _take(self, entry):
        if "hessians" in entry:
            self.hessians.add(entry["hessians"])
        else:
            self.sensitivity[entry["linear"]] = (entry["alpha"], entry["error"])

    def add(self, **entry):
        self._take(entry)
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()

    def close(self, remove):
        self.file.close()
        if remove:
            os.remove(self.path)


def result_of(folder):
    """calibration.json, or None."""
    path = os.path.join(folder, "calibration.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as f:
        try:
            return json.load(f)
        except json.JSONDecodeError as e:
            raise FolderError(f"{path}: {e}") from None


def write_results(folder, facts, source, sensitivity):
    """sensitivity {linear: (alpha, error)}, below 0 is rounding; calibration.json comes last."""
    alphas = {name: max(alpha, 0.0) for name, (alpha, _) in sensitivity.items()}
    if sensitivity:
        stacked = {}  # a stack of experts has one quantizer, so one number: the sum
        for name, a in alphas.items():
            whole = re.sub(r"(\.experts\.)\d+\.", r"\1*.", name)
            stacked[whole] = stacked.get(whole, 0.0) + a
        flat = {"source": source, "feedback": facts["feedback"],
                **{name: float(f"{a:.9g}") for name, a in stacked.items()}}
        write(os.path.join(folder, "sensitivity.json"), json.dumps(flat, indent=1) + "\n")
    linears = {name: {"sensitivity": float(f"{alphas[name]:.9g}"),
                      "standard_error": float(f"{error:.3g}")}
               for name, (_, error) in sensitivity.items()}
    write(os.path.join(folder, "calibration.json"),
          json.dumps({**facts, "linears": linears}, indent=1) + "\n")
