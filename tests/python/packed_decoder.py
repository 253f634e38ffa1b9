# SPDX-License-Identifier: MIT
"""Weights of a folder that `qpal quantize` wrote, by runtime/PACKED.md and LAYOUT.md alone (numpy;
no code of the project)."""
import functools
import json
import os
import struct

import numpy as np

TYPES = {
    "F16": np.float16, "F32": np.float32, "U8": np.uint8, "U32": np.uint32, "BF16": np.uint16,
    "I32": np.int32}


class Folder:
    """Tensors by name, config.json's section as .section."""

    def __init__(self, path):
        with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
            self.section = json.load(f)["quantization"]
        with open(os.path.join(path, "model.safetensors.index.json"), encoding="utf-8") as f:
            self.map = json.load(f)["weight_map"]
        self.path, self.shards = path, {}

    def shard(self, file):
        if file not in self.shards:
            data = np.memmap(os.path.join(self.path, file), np.uint8, "r")
            length = struct.unpack("<Q", data[:8].tobytes())[0]
            self.shards[file] = (json.loads(data[8 : 8 + length].tobytes()), data[8 + length :])
        return self.shards[file]

    def __contains__(self, name):
        return name in self.map

    def __getitem__(self, name):
        head, data = self.shard(self.map[name])
        entry = head[name]
        begin, end = entry["data_offsets"]
        return np.frombuffer(data[begin:end].tobytes(),
                             TYPES[entry["dtype"]]).reshape(entry["shape"])


# ---- The rotation ----

def is_prime(n):
    return n >= 2 and all(n % d for d in range(2, int(n**0.5) + 1))


def character(i, q):
    i %= q
    return 0 if i == 0 else 1 if pow(i, (q - 1) // 2, q) == 1 else -1


WILLIAMSON = {
    13: ("+-+++-+", "+-++---", "+-++---", "++---+-"),
    23: ("+--+-+-+++++", "+--++-+-+-++", "+++---++--++", "+--+--+++---"),
    25: ("+-++---++++++", "+-+---+---+++", "+-+--+-++--++", "++--+--++-+--"),
    43: ("+---++--++++-+-+++-++-", "++---++++-+--+--++----", "+++-+-++--+-+-++++-+--",
         "++-++++++----+-+--++-+"), }


def paley1(q):
    h = np.ones((q + 1, q + 1))
    for i in range(1, q + 1):
        h[i, 0] = -1
        for j in range(1, q + 1):
            h[i, j] = 1 if i == j else character(j - i, q)
    return h


def paley2(q):
    c = np.ones((q + 1, q + 1))
    for i in range(q + 1):
        for j in range(q + 1):
            c[i, j] = 0 if i == j else 1 if not i or not j else character(j - i, q)
    zero, one = np.array([[1, -1], [-1, -1]]), np.array([[1, 1], [1, -1]])
    return np.kron(c, one) + np.kron(np.eye(q + 1), zero)


def williamson(n):
    def circulant(row):
        whole = [1 if row[min(d, n - d)] == "+" else -1 for d in range(n)]
        return np.array([[whole[(j - i) % n] for j in range(n)] for i in range(n)])

    a, b, c, d = map(circulant, WILLIAMSON[n])
    return np.block([[a, b, c, d], [-b, a, -d, c], [-c, d, a, -b], [-d, -c, b, a]])


def base(n):
    """The base matrix of order n, or None."""
    if n < 12 or n > 428 or n % 4 or not n & (n - 1):
        return None
    if is_prime(n - 1):
        return lambda: paley1(n - 1)
    if is_prime(n // 2 - 1) and (n // 2 - 1) % 4 == 1:
        return lambda: paley2(n // 2 - 1)
    return (lambda: williamson(n // 4)) if n // 4 in WILLIAMSON else None


def factorings(rest, least):
    """(cost, bases, tail) of every factoring, in the order in which the document compares them."""
    if not rest & (rest - 1):
        yield rest.bit_length() - 1, (), rest
        return
    for n in range(least, min(428, rest) + 1, 4):
        if rest % n == 0 and base(n):
            for cost, bases, tail in factorings(rest // n, n):
                if len(bases) < 6:
                    yield cost + n, (n,) + bases, tail


@functools.lru_cache
def rotation(k, block):
    """H of order k in diagonal blocks."""
    return np.kron(np.eye(k // block), hadamard(block))


@functools.lru_cache
def hadamard(k):
    """The orthonormal matrix H of order k."""
    for blocks in (b for b in range(1, k + 1) if k % b == 0):
        found = list(factorings(k // blocks, 12))
        if found:
            break
    _, bases, tail = min(found, key=lambda f: f[0])
    h = np.eye(blocks)
    for n in bases:
        h = np.kron(h, base(n)())
    for _ in range(tail.bit_length() - 1):
        h = np.kron(h, np.array([[1, 1], [1, -1]]))
    return h / np.sqrt(k // blocks)


def signs_of(name, seed, k):
    """+1 or -1 for each column, from the tensor's name and the seed."""
    mask = (1 << 64) - 1
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 & mask
    state ^= seed
    words = []
    for _ in range((k + 31) // 32):
        state = state + 0x9E3779B97F4A7C15 & mask
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        words.append((z ^ z >> 31) & 0xFFFFFFFF)
    return signs_from(np.array(words, np.uint32), k)


def signs_from(words, k):
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")[:k]
    return 1.0 - 2.0 * bits


# ---- Codes ----

def lane_words(codes, rows, superblocks, words):
    """[row groups][32 lanes][superblocks * words] in the order of each lane's stream."""
    c = codes.reshape(-(-rows // 32), superblocks, 32 * words)
    out = np.empty((c.shape[0], 32, superblocks, words), np.uint32)
    lane = np.arange(32)
    for i in range(words):
        if i < words // 4 * 4:
            at = i // 4 * 128 + 4 * lane + i % 4
        elif words & 2 and i < words // 4 * 4 + 2:
            at = words // 4 * 128 + 2 * lane + (i - words // 4 * 4)
        else:
            at = words // 4 * 128 + (64 if words & 2 else 0) + lane
        out[:, :, :, i] = c[:, :, at].transpose(0, 2, 1)
    return out.reshape(c.shape[0], 32, superblocks * words)


def windows(stream, step, window):
    """States: the bits [step (i + 1) - window, step (i + 1)) of circular streams [...][words]."""
    bits = stream.shape[-1] * 32
    twice = np.concatenate([stream[..., -2:], stream, stream[..., :1]], -1).astype(np.uint64)
    begin = step * (np.arange(bits // step) + 1) - window + 64
    low = twice[..., begin //
                32] | twice[..., np.minimum(begin // 32 + 1, twice.shape[-1] - 1)] << np.uint64(32)
    return (low >> (begin % 32).astype(np.uint64) & np.uint64((1 << window) - 1)).astype(np.int64)


def of_planes(stream, bits):
    """Codes of 'bits' planes of two words for a lane's 64 weights of a block, highest first."""
    words = stream.reshape(*stream.shape[:2], -1, bits, 2, 1)
    planes = (words >> np.arange(32, dtype=np.uint32) & 1).astype(np.int64)
    codes = (planes << np.arange(bits)[::-1, None, None]).sum(3)
    return codes.reshape(*stream.shape[:2], -1)


def to_rows(values, columns, by_row=False):
    """[row groups][32 lanes][weights of a lane] to [rows][columns]; 'by_row': a code of 4 or 8
    weights lies in a row."""
    groups, _, n = values.shape
    i = np.arange(n)
    pair, block = i % 64 // 2, i // 64
    t, r = pair // 4, pair % 4
    m, k = t % 2, t // 2
    if by_row:
        m, r = pair % 16 // 8, pair // 4 % 2 + 2 * (pair % 2)
        k = 2 * (pair // 16) + pair // 2 % 2
    lane = np.arange(32)[:, None]
    row = 16 * m + lane // 4 + 8 * (r & 1)
    column = 64 * block + 32 * (k // 2) + 8 * (lane & 3) + 4 * (k & 1) + 2 * (r // 2) + i % 2
    out = np.zeros((groups, 32, n // 64 * 64), values.dtype)
    out[:, row, column] = values
    return out.reshape(groups * 32, -1)[:, :columns]


# ---- What states and codes of the palette decode to (`qpal show QUANTIZER` prints it) ----

def decode_tcq(states, book):
    bits = len(book).bit_length() - 1
    h = states * states + states & 0xFFFFFFFF
    pair = book[h >> (15 - bits) & (len(book) - 1)].copy()
    pair[..., 0] *= 1 - 2 * (h >> 15 & 1)
    return pair


def decode_index(states, book):
    return book[states]


def decode_iq2_xs(codes, grid):  # 9 bits of the grid, 7 signs; the eighth keeps the product 1
    signs = codes[..., None] >> 9 + np.arange(8) & 1
    signs[..., 7] = signs[..., :7].sum(-1) & 1
    return grid[codes & 511] * (1 - 2 * signs)


def decode_ternary(codes, _):  # two bytes take turns; multiplying by 3 brings out a digit
    rest, out = [codes & 255, codes >> 8], []
    for i in range(10):
        tripled = rest[i % 2] * 3
        out.append((tripled >> 8) - 1.0)
        rest[i % 2] = tripled & 255
    return np.stack(out, -1)


DECODE = {"tcq": decode_tcq, "vq2": decode_index, "nuq": decode_index, "vq3": decode_index,
          "iq2_xs": decode_iq2_xs, "ternary": decode_ternary}
DIM = {"iq2_xs": 8, "ternary": 10, "vq3": 3}  # of others 1, or 2 where it is no scalar
PLANES = {"bcq"}

# Group fields in the order of their names: name, type, columns that share one.
FIELDS = {
    "int4-g128": (("scale", "f16", 128), ("zero", "u4", 128)),
    "q4_k": (("d", "f16", 256), ("dmin", "f16", 256), ("least", "u6", 32), ("scale", "u6", 32)),
    "spqr-3": (("d", "f16", 256), ("dmin", "f16", 256), ("least", "u3", 16), ("scale", "u3", 16)),
    "nvfp4": (("all", "f32", "tensor"), ("scale", "e4m3", 16)),
    "iq2_xs": (("d", "f16", 256), ("scale", "u4", 16)),
    "exl2-3": (("d", "f16", "row"), ("scale", "u4", 32)),
    "bcq-5": tuple((f"a{i}", "f16", 128) for i in range(1, 6)),
}
BITS = {"f16": 16, "u4": 4, "u6": 6, "u3": 3, "f32": 32, "e4m3": 8}


def number(kind, raw):
    """What raw bits stand for: lua/LANGUAGE.md names the types."""
    if kind == "f16":
        return raw.astype(np.uint16).view(np.float16).astype(float)
    if kind == "f32":
        return raw.astype(np.uint32).view(np.float32).astype(float)
    if kind == "e4m3":
        exponent, fraction = raw >> 3 & 15, raw & 7
        size = np.where(exponent, (8 + fraction) * 2.0**(exponent - 10.0), fraction * 2.0**-9)
        return np.where(raw >> 7, -size, size)
    return raw.astype(float)


def fields_of(folder, linear, quantizer, part, piece, padded):
    """Each field's number for each weight, by name; 'padded': columns of whole superblocks."""
    name, rows, columns = linear["name"], linear["rows"], linear["parts"][part]["columns"]
    row_groups = -(-rows // 32)
    fields = FIELDS[quantizer]
    out = {}
    for array in range(4):
        shared = [f for i, f in enumerate(fields) if min(i, 3) == array]
        if not shared:
            continue
        pieces = np.ascontiguousarray(chunk(folder, linear, f"{name}.field.{part}.{array}", piece))
        pieces = pieces.view(np.uint8).reshape(row_groups, -1)
        begin = 0
        for field, kind, size in shared:
            bits, groups = BITS[kind], 1 if isinstance(size, str) else -(-padded // size)
            elements = 1 if size == "tensor" else groups * 32
            end = begin + -(-elements * bits // 128) * 16
            raw = np.unpackbits(pieces[:, begin:end], axis=1,
                                bitorder="little")[:, :elements * bits]
            raw = (raw.reshape(row_groups, elements, bits).astype(np.int64)
                   << np.arange(bits)).sum(-1)
            if size == "tensor":
                raw = np.repeat(raw, 32, 1)
            # [row group][column group][lane / 4][m][r & 1]
            by_row = number(kind, raw.reshape(row_groups, groups, 8, 2, 2))
            by_row = by_row.transpose(0, 3, 4, 2, 1).reshape(row_groups * 32, groups)
            out[field] = np.repeat(by_row, padded if isinstance(size, str) else size, 1)
            out[field] = out[field][:, :columns]
            begin = end
    return out


def single(f, *names):
    return (f[n].astype(np.float32) for n in names)


def decode_int4(code, f):
    return ((code - f["zero"]) * f["scale"]).astype(np.float16)  # as half(code) ... rounds it


def decode_q4_k(code, f):
    d, scale, dmin, least = single(f, "d", "scale", "dmin", "least")
    return (d * scale * code.astype(np.float32) - dmin * least).astype(np.float16)


def decode_nvfp4(code, f):
    e2m1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    scale, every = single(f, "scale", "all")
    return (every * scale * e2m1[code & 7] * (1 - 2 * (code >> 3)).astype(np.float32))


def scale_iq2_xs(v, f):
    d, scale = single(f, "d", "scale")
    return d * (scale + np.float32(0.5)) * np.float32(0.25) * v.astype(np.float32)


def decode_exl2(code, f):
    d, root = single(f, "d", "scale")
    root = root + np.float32(1)
    return d * root * root * (code - 4).astype(np.float32)


def decode_bcq(code, f):
    total = np.float16(0)
    for i in range(5):
        a = f[f"a{i + 1}"].astype(np.float16)
        total = total + np.where(code >> i & 1, -a, a)
    return total


OF_FIELDS = {"int4": decode_int4, "q4_k": decode_q4_k, "spqr": decode_q4_k, "nvfp4": decode_nvfp4,
             "iq2_xs": scale_iq2_xs, "exl2": decode_exl2, "bcq": decode_bcq}


def add_sparse(folder, linear, number, piece, w):
    """Sparse entries stand at the end of each row group's piece of the last array."""
    part = linear["parts"][number]
    n, row_groups = part.get("sparse", 0), len(w) // 32
    if not n:
        return w
    array = chunk(folder, linear, f"{linear['name']}.field.{number}.{part['fields'] - 1}", piece)
    array = np.ascontiguousarray(array)
    words = np.ascontiguousarray(array.view(np.uint8).reshape(row_groups, -1)[:, -128 * n:])
    words = words.view(np.uint32).reshape(row_groups, n, 32)
    for group, entry, row in zip(*np.nonzero(words)):
        word = words[group, entry, row]
        at = (group * 32 + row, word & 0xFFFF)
        w[at] = np.float16(w[at] + np.uint16(word >> 16).view(np.float16).astype(float))
    return w


def chunk(folder, linear, name, piece):
    """The array of one of the pieces of K, which lie one behind another."""
    all_of_it = folder[name].reshape(-1)
    pieces = linear["slices"] if linear.get("split") == "columns" else 1
    size = len(all_of_it) // pieces
    return all_of_it[size * piece : size * (piece + 1)]


def codebook_of(folder, linear, number, q):
    """[entries][dim] of the definition or the linear; [rows][entries] of rows; None: there is
    none."""
    if not q["codebooks"]:
        return None
    if q["codebooks"][0]:
        return folder[q["codebooks"][0]].astype(float)
    return folder[f"{linear['name']}.codebook.{number}.0"].astype(float)


def part_values(folder, linear, number, piece):
    part = linear["parts"][number]
    columns, rows, name = part["columns"], linear["rows"], linear["name"]
    if not columns:
        return np.zeros((-(-rows // 32) * 32, 0))
    q = folder.section["quantizers"][part["quantizer"]]
    family = part["quantizer"].split("-")[0]
    dim = DIM.get(family, 1 if q["kind"] == "scalar" else 2)
    step = round(q["rate_bits"] * dim)
    blocks = next(b for b in range(1, 9) if 64 * b % dim == 0 and 64 * b // dim * step % 32 == 0)
    superblocks = -(-columns // (64 * blocks))
    stream = lane_words(chunk(folder, linear, f"{name}.codes.{number}", piece), rows, superblocks,
                        64 * blocks // dim * step // 32)
    states = (of_planes(stream, step) if family in PLANES else
              windows(stream, step, 16 if q["kind"] == "trellis" else step))
    book = codebook_of(folder, linear, number, q)
    values = states[..., None]
    if family in DECODE:
        values = DECODE[family](states, book)[..., :dim]
    with_fields = part["quantizer"] in FIELDS
    w = to_rows(values.reshape(values.shape[:2] + (-1,)), columns, with_fields and dim in (4, 8))
    if family == "squeezellm":  # a codebook for each row
        w = np.take_along_axis(book, w, 1)
    if with_fields:
        fields = fields_of(folder, linear, part["quantizer"], number, piece,
                           64 * blocks * superblocks)
        w = OF_FIELDS[family](w, fields).astype(np.float16).astype(float)
    return add_sparse(folder, linear, number, piece, w)


def weights(folder, linear):
    """W [rows][columns] of an entry of the section's `linears`, in the basis of the checkpoint."""
    pieces = linear["slices"] if linear.get("split") == "columns" else 1
    parts = [
        part_values(folder, linear, p, i) for i in range(pieces)
        for p in range(len(linear["parts"]))]
    w = np.concatenate(parts, 1)[: linear["rows"]]
    w = w * folder[linear["name"] + ".row_scales"].astype(float)[:, None]
    if linear["signs"] is None:
        return w
    k = linear["columns"]
    signs = (signs_from(folder[linear["signs"]], k) if linear["signs"] in folder
             else signs_of(linear["signs"], folder.section["seed"], k))
    order, scale = columns_of(folder, linear)
    return (w @ rotation(k, linear.get("rotation", k)))[:, order] * scale * signs


def columns_of(folder, linear):
    """Where columns go, and what they are multiplied by, behind the signs."""
    k = linear["columns"]
    order, scale = np.arange(k), np.ones(k)
    if not linear.get("order") and not linear.get("scale"):
        return order, scale
    rest = folder[linear["signs"]].view(np.uint8)[-(-k // 128) * 16:]
    if linear.get("order"):
        order, rest = rest[:2 * k].view(np.uint16), rest[2 * k:]
    if linear.get("scale"):
        scale, rest = rest[:2 * k].view(np.float16).astype(float), rest[2 * k:]
    assert not len(rest) and sorted(order) == list(range(k))
    return order, scale
