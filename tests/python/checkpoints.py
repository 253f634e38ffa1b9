# SPDX-License-Identifier: MIT
"""Made-up checkpoints: a folder with model.safetensors and config.json, written and read by the
format's description alone.  Needs the standard library alone."""

import json
import struct


def write(folder, tensors, config):
    """tensors: name -> (shape, fp32 numbers with a tobytes())."""
    header, at = {}, 0
    data = {name: numbers.tobytes() for name, (_, numbers) in tensors.items()}
    for name, (shape, _) in tensors.items():
        end = at + len(data[name])
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + b"".join(data.values()))
    (folder / "config.json").write_text(json.dumps(config))


def read(folder):
    """name -> (dtype, bytes) of every tensor in the folder."""
    out = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        n = int.from_bytes(data[:8], "little")
        for name, t in json.loads(data[8:8 + n]).items():
            if name != "__metadata__":
                begin, end = (8 + n + o for o in t["data_offsets"])
                out[name] = t["dtype"], data[begin:end]
    return out


def floats(dtype, data):
    """The numbers of an F32, F16 or BF16 tensor."""
    if dtype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    letter, size = {"F32": ("f", 4), "F16": ("e", 2)}[dtype]
    return struct.unpack(f"<{len(data) // size}{letter}", data)
