# SPDX-License-Identifier: MIT
"""Tests of runtime/python/qpal on what the test 'circle' made:  test_qpal.py numpy|torch
LIBQPAL_SIM CIRCLE CC INCLUDE

Exit code 77: numpy or torch is not installed, or CUDA is asked for (cuda) and there is none."""
import importlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

WORD, LIBRARY, CIRCLE, CC, INCLUDE = sys.argv[1:6]
sys.path.insert(
    0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "runtime", "python"))


def need(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"skipped: {sys.executable} has no module {name}")
        sys.exit(77)


np = need("numpy")
torch = need("torch") if WORD != "numpy" else None
if WORD == "cuda" and not torch.cuda.is_available():
    print("skipped: torch sees no GPU")
    sys.exit(77)
import packed_decoder  # noqa: E402
import qpal  # noqa: E402
from qpal import _c  # noqa: E402

qpal.use(LIBRARY)
DEVICE = "cuda:0" if WORD == "cuda" else "sim:90:4"
PATHS = os.path.join(CIRCLE, "library"), os.path.join(CIRCLE, "packed")


def original(name):
    """A tensor of the checkpoint before it was quantized, by this file's own reader."""
    import json
    with open(os.path.join(CIRCLE, "checkpoint", "model.safetensors"), "rb") as f:
        length = struct.unpack("<Q", f.read(8))[0]
        entry = json.loads(f.read(length))[name]
        f.seek(8 + length + entry["data_offsets"][0])
        n = entry["data_offsets"][1] - entry["data_offsets"][0]
        return np.frombuffer(f.read(n), "<f4").reshape(entry["shape"]).astype(np.float64)


def distance(a, b):
    return float(np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b))


def inputs(rows, columns, seed=1):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float16)


def hadamard(x, signs):
    """H (s x) for a power of two, in double precision."""
    y = x.astype(np.float64) * np.where(signs, -1.0, 1.0)
    h = 1
    while h < x.shape[-1]:
        y = y.reshape(-1, x.shape[-1] // (2 * h), 2, h)
        y = np.stack([y[:, :, 0] + y[:, :, 1], y[:, :, 0] - y[:, :, 1]], axis=2)
        h *= 2
    return y.reshape(x.shape) / np.sqrt(x.shape[-1])


ATTENTION = [f"model.layers.0.self_attn.{n}_proj" for n in "qkv"]


class Structs(unittest.TestCase):
    def test_have_the_size_and_offsets_that_the_c_compiler_gives_them(self):
        structs = [
            v for v in vars(_c).values()
            if isinstance(v, type) and v.__name__.startswith("qpal_")]
        self.assertGreater(len(structs), 15)
        lines, expected = [], []
        for s in structs:
            lines.append(f'printf("%zu ", sizeof({s.__name__}));')
            expected.append(_c.C.sizeof(s))
            for name in (n for n, _ in s._fields_ if not n.startswith("_")):
                lines.append(f'printf("%zu ", offsetof({s.__name__}, {name}));')
                expected.append(getattr(s, name).offset)
        with tempfile.TemporaryDirectory() as folder:
            source, program = os.path.join(folder, "a.c"), os.path.join(folder, "a")
            with open(source, "w") as f:
                f.write(
                    "#include <stddef.h>\n#include <stdio.h>\n#include <qpal.h>\nint main(void) {" +
                    "\n".join(lines) + "}\n")
            subprocess.run([CC, "-I", INCLUDE, source, "-o", program], check=True)
            said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        self.assertEqual([int(n) for n in said.split()], expected)


class Questions(unittest.TestCase):
    def test_a_library_tells_what_it_holds(self):
        library = qpal.Library(PATHS[0])
        self.assertEqual(library.info["groups"], len(library.groups))
        names = [g["name"] for g in library.groups]
        self.assertIn("layers.1.down", names)
        group, member = library.find_linear("model.layers.1.mlp.down_proj.weight")
        linear = library.linear(group, member)
        self.assertEqual((linear.rows, linear.columns), (64, 128))
        self.assertTrue(all(len(q["hash"]) == 32 for q in library.quantizers))

    def test_a_library_in_memory_is_the_same(self):
        with open(os.path.join(PATHS[0], "library.qpal"), "rb") as f:
            data = f.read()
        self.assertEqual(qpal.Library(data).info, qpal.Library(PATHS[0]).info)
        for n in (0, 7, 100, len(data) // 2, len(data) - 1):
            with self.assertRaises(qpal.Error):
                qpal.Library(data[:n])

    def test_errors_carry_the_library_s_words(self):
        with self.assertRaisesRegex(qpal.Error, "/nowhere"):
            qpal.Library("/nowhere")
        with self.assertRaisesRegex(qpal.Error, "layers.9.down"):
            qpal.Library(PATHS[0]).find_group("layers.9.down")
        with self.assertRaisesRegex(ValueError, "toaster"):
            qpal.Device("toaster")

    def test_a_text_with_a_0_in_it_names_nothing(self):
        library = qpal.Library(PATHS[0])
        for call in (lambda: qpal.Packed(PATHS[1] + "\0x"), lambda: qpal.Library(PATHS[0] + "\0"),
                     lambda: library.find_group("layers.1.down\0"), lambda: qpal.Device("cuda:0\0"),
                     lambda: library.find_linear("model.layers.1.mlp.down_proj\0.weight")):
            with self.assertRaises(ValueError):
                call()

    def test_what_was_changed_is_refused_on_opening_where_that_is_asked_for(self):
        with tempfile.TemporaryDirectory() as folder:
            library, packed = os.path.join(folder, "library"), os.path.join(folder, "packed")
            shutil.copytree(PATHS[0], library)
            shutil.copytree(PATHS[1], packed)
            qpal.Model(library, packed, device=DEVICE, verify=True).close()
            weights = next(f for f in os.listdir(packed) if f.endswith(".safetensors"))
            for path, opens in ((os.path.join(library, "library.qpal"), qpal.Library),
                                (os.path.join(packed, weights), qpal.Packed)):
                where = os.path.dirname(path)
                with open(path, "r+b") as f:
                    f.seek(-100, 2)
                    byte = f.read(1)
                    f.seek(-100, 2)
                    f.write(bytes([byte[0] ^ 1]))
                with self.assertRaisesRegex(qpal.Error, "checksum"):
                    opens(where, verify=True)
                with opens(where) as opened, self.assertRaisesRegex(qpal.Error, "checksum"):
                    opened.verify()
                with self.assertRaisesRegex(qpal.Error, "checksum"):
                    qpal.Model(library, packed, device=DEVICE, verify=True)
                if opens is qpal.Library:
                    shutil.copy(os.path.join(PATHS[0], "library.qpal"), path)

    def test_devices_count_within_their_range(self):
        for name in ("sim:90:0", "sim:90:1025", "sim:90:4294967300", "sim:90:-1", "sim:90:4x",
                     "sim:x:4", "sim:4294967386:4", "sim:90:\u0664", "cuda:-1", "cuda:1024",
                     "cuda:4294967296", "cuda:1.0"):
            with self.subTest(name), self.assertRaisesRegex(ValueError, "possible"):
                qpal.Device(name)
        with qpal.Device("sim:90:3") as device:
            self.assertEqual(device.info["sm_count"], 3)

    def test_wrong_types_are_type_errors(self):
        library, packed = qpal.Library(PATHS[0]), qpal.Packed(PATHS[1])
        for call in (lambda: packed.find(PATHS[0], 0, 0), lambda: packed.find(packed, 0, 0),
                     lambda: packed.find_expert(None, 0, 0, 0), lambda: qpal.Device(0),
                     lambda: qpal.Device(None), lambda: qpal.Library(3),
                     lambda: qpal.Packed(None), lambda: library.find_group(1),
                     lambda: library.find_linear(b"x"), lambda: library.linear("0", 0),
                     lambda: library.linear(0, 1.0), lambda: library.linear(True, 0),
                     lambda: qpal.Model(library, 5), lambda: qpal.Device(DEVICE).alloc(1.5)):
            with self.assertRaises(TypeError):
                call()
        for call in (lambda: library.linear(-1, 0), lambda: library.linear(2**32, 0),
                     lambda: library.linear(0, 8), lambda: qpal.Device(DEVICE).alloc(-1)):
            with self.assertRaises(ValueError):
                call()

    def test_what_is_closed_refuses_to_work(self):
        with qpal.Library(PATHS[0]) as library:
            self.assertGreater(len(library.groups), 0)
        library.close()
        with self.assertRaisesRegex(ValueError, "Library: is closed"):
            library.find_group("layers.1.down")
        with qpal.Packed(PATHS[1]) as packed, self.assertRaisesRegex(ValueError, "Library"):
            packed.find(library, 0, 0)
        with self.assertRaisesRegex(ValueError, "Packed: is closed"):
            packed.tensor("model.norm.weight")


class Numpy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = qpal.Model(*PATHS, device=DEVICE)

    def test_a_group_is_near_the_original_weights(self):
        group, _ = self.model.find(ATTENTION[0])
        for rows in (1, 2, 3):
            x = inputs(rows, 64, rows)
            y = group(x)
            self.assertEqual(len(y), 3)
            for name, part in zip(ATTENTION, y):
                w = original(name + ".weight")
                self.assertEqual(part.shape, (rows, w.shape[0]))
                self.assertLess(distance(part,
                                         x.astype(np.float64) @ w.T), 0.25)  # 3.5 bits: 0.1 to 0.2

    def test_a_group_is_its_decoded_weights_times_the_rotated_x(self):
        group, member = self.model.find("model.layers.1.mlp.down_proj")
        x, w = inputs(2, 128), np.empty((64, 128), np.float16)
        group.dequant(member, w)
        packed = self.model.packed.find(self.model.library, group.index, member)
        words = np.ctypeslib.as_array((_c.C.c_uint32 * 4).from_address(packed.signs.data))
        signs = (words[np.arange(128) // 32] >> (np.arange(128) % 32).astype(np.uint32)) & 1
        y = hadamard(x, signs) @ w.astype(np.float64).T
        self.assertLess(distance(group(x)[0], y), 4e-3)

    def signs_of(self, group, member, columns):
        packed = self.model.packed.find(self.model.library, group.index, member)
        words = np.ctypeslib.as_array(
            (_c.C.c_uint32 * (columns // 32)).from_address(packed.signs.data))
        at = np.arange(columns)
        return (words[at // 32] >> (at % 32).astype(np.uint32)) & 1

    def test_a_rotation_takes_the_gated_linear_unit_before_it(self):
        group, member = self.model.find("model.layers.1.mlp.down_proj")
        gate, up = inputs(2, 128), inputs(2, 128)[::-1].copy()
        g = gate.astype(np.float64)
        want = hadamard(g / (1 + np.exp(-g)) * up, self.signs_of(group, member, 128))
        self.assertLess(distance(group.rotate(gate, up=up), want), 4e-3)
        with self.assertRaisesRegex(ValueError, "up: .*should be"):
            group.rotate(gate, up=up[:1])
        with self.assertRaisesRegex(ValueError, "activation: 'tanh'"):
            group.rotate(gate, up=up, activation="tanh")

    def test_a_rotation_takes_the_norm_before_it_and_adds_the_residual_in_place(self):
        group, member = self.model.find("model.layers.0.self_attn.q_proj")
        x, weight = inputs(3, 64), inputs(1, 64)[0]
        residual = inputs(3, 64)[::-1].copy()
        h = x.astype(np.float64) + residual
        norm = h / np.sqrt((h * h).mean(-1, keepdims=True) + 0.25) * weight
        y = group.rotate(x, eps=0.25, residual=residual, sum=residual, weight=weight)
        self.assertLess(distance(y, hadamard(norm, self.signs_of(group, member, 64))), 4e-3)
        self.assertLess(distance(residual, h), 1e-3)
        with self.assertRaisesRegex(ValueError, "one of them"):
            group.rotate(x, eps=0.25, up=x)

    def test_rows_of_the_packed_embedding_are_looked_up_by_ids(self):
        ids = np.array([[5, 0], [-1, 63]], np.int32)
        w, rows = original("model.embed_tokens.weight"), self.model.gather(ids)
        self.assertEqual((rows.shape, rows.dtype), ((2, 2, w.shape[1]), np.float16))
        self.assertLess(distance(rows[0], w[ids[0]]), 0.02)  # 8 bits
        self.assertLess(distance(rows[1][1], w[63]), 0.02)
        np.testing.assert_array_equal(rows[1][0], 0)
        out = np.full_like(rows, np.nan)
        self.assertIs(self.model.gather(ids, out=out), out)
        np.testing.assert_array_equal(out, rows)
        with self.assertRaisesRegex(TypeError, "int32"):
            self.model.gather(ids.astype(np.int64))
        with self.assertRaisesRegex(ValueError, "out"):
            self.model.gather(ids, out=out[0])

    def test_results_go_where_they_are_asked_for(self):
        group, _ = self.model.find(ATTENTION[0])
        x = inputs(1, 64)[0]
        out = [np.full(n, np.nan, np.float16) for n in (64, 32, 32)]
        given = group(x, out=out)
        for a, b, c in zip(given, out, group(x)):
            self.assertIs(a, b)
            np.testing.assert_array_equal(a, c)

    def test_wrong_arrays_are_refused_with_what_is_right(self):
        group, _ = self.model.find(ATTENTION[0])
        with self.assertRaisesRegex(ValueError, "64"):
            group(inputs(1, 65))
        with self.assertRaisesRegex(TypeError, "float16 or bfloat16"):
            group(np.zeros((1, 64), np.float32))
        with self.assertRaisesRegex(TypeError, "float64"):
            group(np.zeros((1, 64)))
        for kind in (object, "S4", "S0", "M8[s]", bool, np.complex64, np.dtype("<f2, <f2"), ">f2"):
            with self.assertRaisesRegex(TypeError, "float16 or bfloat16"):
                group(np.zeros((1, 128), kind)[:, ::2])
        with self.assertRaisesRegex(ValueError, "contiguous; copy=True"):
            group(inputs(64, 64).T)
        with self.assertRaisesRegex(ValueError, "out: is not contiguous$"):
            group(inputs(1, 64),
                  out=[np.zeros((1, 2 * n), np.float16)[:, ::2] for n in (64, 32, 32)])
        kept, other = np.zeros((1, 64), np.float16), np.zeros((64, 64), np.float32)
        kept.setflags(write=False), other.setflags(write=False)
        for write in (lambda: group(inputs(1, 64), out=[kept] * 3),
                      lambda: group.rotate(inputs(1, 64), out=kept),
                      lambda: group.dequant(0, other)):
            with self.assertRaisesRegex(ValueError, "out: is read-only"):
                write()
        group(kept)  # it is only read
        with self.assertRaisesRegex(TypeError, "list"):
            group([0.0] * 64)
        with self.assertRaisesRegex(ValueError, "out"):
            group(inputs(1, 64), out=[np.zeros(64, np.float16)] * 3)
        with self.assertRaisesRegex(TypeError, "stream"):
            group(inputs(1, 64), stream="default")
        with self.assertRaisesRegex(TypeError, "rows"):
            group.query(1.0)
        for rows in (0, -1, 2**32 + 1):
            with self.assertRaisesRegex(ValueError, "rows"):
                group.query(rows)
        for rows, error in ((-1, ValueError), (float("nan"), TypeError), (2**32, ValueError)):
            with self.assertRaisesRegex(error, "rows"):
                group.capacity(rows)
        with self.assertRaisesRegex(ValueError, "member"):
            group.dequant(3, np.empty((64, 64), np.float16))
        with self.assertRaisesRegex(TypeError, "group"):
            self.model.group(1.5)
        with self.assertRaisesRegex(ValueError, "group"):
            self.model.group(-1)

    def test_arrays_with_gaps_are_copied_where_that_is_asked_for(self):
        group, _ = self.model.find(ATTENTION[0])
        wide, tall = inputs(3, 128), inputs(64, 3)
        for x in (wide[:, ::2], wide[:, 63::-1], tall.T, np.broadcast_to(wide[0, :64], (3, 64))):
            for a, b in zip(group(x, copy=True), group(np.array(x, order="C"))):
                np.testing.assert_array_equal(a, b)

    def test_a_model_is_closed_with_all_that_it_opened(self):
        x = inputs(1, 64)
        with qpal.Model(*PATHS, device=DEVICE) as model:
            group, _ = model.find(ATTENTION[0])
            y = group(x)[0]
            np.testing.assert_array_equal(y, self.model.find(ATTENTION[0])[0](x)[0])
        for call in (lambda: group(x), lambda: group.query(1), lambda: model.group(0),
                     lambda: group.dequant(0, np.empty((64, 64), np.float16)),
                     lambda: model.find(ATTENTION[0]), lambda: model.device.alloc(16),
                     lambda: model.packed.tensor("model.norm.weight")):
            with self.assertRaisesRegex(ValueError, "closed"):
                call()
        model.close()
        self.assertEqual(group._own, [])  # its memory on the device is given back

    def test_what_a_model_was_given_stays_open(self):
        library, packed, device = qpal.Library(PATHS[0]), qpal.Packed(PATHS[1]), qpal.Device(DEVICE)
        for _ in range(2):
            with qpal.Model(library, packed, device) as model:
                model.find(ATTENTION[0])[0](inputs(1, 64))
        device.close()
        self.assertEqual(len(library.groups), library.info["groups"])

    def test_a_closed_group_refuses_to_work(self):
        group, _ = self.model.find("model.layers.1.self_attn.o_proj")
        group.close()
        with self.assertRaisesRegex(ValueError, "layers.1.o.*closed"):
            group(inputs(1, 64))

    def test_every_linear_is_listed_with_its_group_shape_and_quantizer(self):
        linears = {e["tensor"]: e for e in self.model.linears}
        self.assertEqual(len(linears), 16)  # 14 of the blocks, the lm_head, the embedding
        down = linears["model.layers.1.mlp.down_proj"]
        self.assertEqual((down["group"], down["member"], down["rows"], down["columns"]),
                         ("layers.1.down", 0, 64, 128))
        self.assertEqual(linears["model.embed_tokens"]["quantizer"], "nuq-8")

    def test_rotate_is_the_transform_that_weights_were_packed_for(self):
        group, _ = self.model.find("model.layers.1.mlp.down_proj")
        packed = self.model.packed.find(self.model.library, group.index, 0)
        words = np.ctypeslib.as_array((_c.C.c_uint32 * 4).from_address(packed.signs.data))
        signs = (words[np.arange(128) // 32] >> (np.arange(128) % 32).astype(np.uint32)) & 1
        x = inputs(3, 128)
        self.assertLess(distance(group.rotate(x), hadamard(x, signs)), 1e-3)
        self.assertEqual(group.rotate(x[0]).shape, (128,))
        with self.assertRaisesRegex(qpal.Error, "inverse"):
            group.rotate(x, inverse=True)  # the library has none

    def test_residuals_are_added_to_the_members_that_have_one(self):
        group, _ = self.model.find(ATTENTION[0])
        x, k = inputs(2, 64), inputs(2, 32, seed=5)
        plain, added = group(x), group(x, residual=[None, k, None])
        np.testing.assert_array_equal(plain[0], added[0])
        self.assertLess(distance(added[1], plain[1].astype(np.float64) + k), 2e-3)
        with self.assertRaisesRegex(ValueError, "residual"):
            group(x, residual=[k])
        with self.assertRaisesRegex(ValueError, "residual"):
            group(x, residual=[k, k, None])

    def test_up_and_gate_give_their_gated_linear_unit_in_one_launch(self):
        command = os.path.join(os.path.dirname(LIBRARY), "qpal")
        checkpoint = os.path.join(CIRCLE, "checkpoint")
        with tempfile.TemporaryDirectory() as folder:
            library, packed = os.path.join(folder, "library"), os.path.join(folder, "packed")
            for words in (["quantize", checkpoint, "--quantizer", "nuq-3", "-o", packed], [
                    "export", "--model",
                    os.path.join(checkpoint,
                                 "config.json"), "--quantizer", "nuq-3", "--gpu", "sm_90:4",
                    "--batch", "2", "--type", "f16", "--glu", "--no-dequant", "--prologue", "none",
                    "-o", library]):
                subprocess.run([command, *words], check=True, capture_output=True)
            with qpal.Model(library, packed, device=DEVICE) as model:
                group, _ = model.find("model.layers.1.mlp.up_proj")
                x = inputs(3, 64)
                up, gate = (a.astype(np.float64) for a in group(x))
                y, = group(x, glu="silu")
                self.assertLess(distance(y, gate / (1 + np.exp(-gate)) * up), 2e-3)
                self.assertEqual(group.query(2, glu="silu")["launches"], 1)
                with self.assertRaisesRegex(ValueError, "activation: 'tanh'"):
                    group(x, glu="tanh")
                with self.assertRaisesRegex(ValueError, "residual"):
                    group(x, glu="silu", residual=[y])
        with self.assertRaisesRegex(qpal.Error, "--glu"):
            self.model.find("model.layers.1.mlp.up_proj")[0](x, glu="silu")

    def test_columns_have_an_order_and_scales_of_their_own(self):
        command = os.path.join(os.path.dirname(LIBRARY), "qpal")
        checkpoint = os.path.join(CIRCLE, "checkpoint")
        with tempfile.TemporaryDirectory() as folder:
            library, packed = os.path.join(folder, "library"), os.path.join(folder, "packed")
            spec = os.path.join(folder, "sides.lua")
            with open(spec, "w", encoding="utf-8") as f:
                f.write('return scalar { name = "nuq-side", bits = 4, rotation = "none", '
                        'order = "sensitivity",\n  scale = "weights", '
                        'codebook = lloyd_max { entries = 16 } }\n')
            for words in (["quantize", checkpoint, "--quantizer", spec, "-o", packed], [
                    "export", "--model",
                    os.path.join(checkpoint, "config.json"), "--quantizer", spec, "--gpu",
                    "sm_90:4", "--batch", "2", "--type", "f16", "--inverse", "--prologue", "none",
                    "-o", library]):
                subprocess.run([command, *words], check=True, capture_output=True)
            files = packed_decoder.Folder(packed)
            with qpal.Model(library, packed, device=DEVICE) as model:
                group, _ = model.find("model.layers.1.mlp.up_proj")
                x = inputs(2, 64)
                for name, y in zip(("up", "gate"), group(x)):
                    linear = [e for e in files.section["linears"]
                              if e["name"] == f"model.layers.1.mlp.{name}_proj"][0]
                    w = packed_decoder.weights(files, linear)
                    self.assertLess(distance(y, x.astype(np.float64) @ w.T), 2e-3)
                    out = np.empty(w.shape, np.float16)
                    group.dequant(0 if name == "up" else 1, out, unrotate=True)
                    self.assertLess(distance(out, w), 2e-3)

    def test_rows_take_as_few_launches_as_the_library_can(self):
        name = "model.layers.0.self_attn.o_proj"
        group, _ = self.model.find(name)
        self.assertEqual([group.capacity(rows) for rows in (1, 2, 3, 4, 5)], [1, 2, 3, 4, 5])
        self.assertEqual(group.query(1)["launches"], 1)
        with open(os.path.join(CIRCLE, "plan.json"), encoding="utf-8") as f:
            plan = json.load(f)
        plan["linears"] = [e for e in plan["linears"] if e["tensor"] == name]
        plan["launches"] = [e for e in plan["launches"] if e["linears"] == [name]]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "plan.json")
            with open(path, "w", encoding="utf-8") as f:
                json.dump(plan, f)
            subprocess.run([
                os.path.join(os.path.dirname(LIBRARY), "qpal"), "export", "--plan", path, "--gpu",
                "sm_90:4", "--batch", "1,8", "--no-dequant", "--prologue", "none", "-o", folder
            ], check=True, capture_output=True)
            with qpal.Model(folder, PATHS[1], device=DEVICE) as model:
                kinds = {k["type"] for k in model.library.kernels if k["op"] == _c.GEMM}
                self.assertEqual(kinds, {qpal.F16, qpal.BF16})  # both, as the library is small
                one, _ = model.find(name)
                self.assertEqual(one.capacity(3), 8)
                self.assertEqual(one.query(3)["launches"], 3)
                self.assertEqual(one.query(3, capacity=8)["launches"], 1)
                x = inputs(3, 64)
                self.assertLess(distance(one(x)[0], group(x)[0].astype(np.float64)), 2e-3)

    def test_members_write_into_one_buffer_by_strides(self):
        group, _ = self.model.find(ATTENTION[0])
        x, device, api = inputs(2, 64), self.model.device, _c._api()
        wide = np.full((2, 130), np.nan, np.float16)
        at, y = device.upload(x.ctypes.data, x.nbytes), device.upload(wide.ctypes.data, wide.nbytes)
        group.launch(2, qpal.F16, at, at, [y, y + 2 * 64, y + 2 * 96], y_stride=[130] * 3)
        device.wait()
        api.download(device.pointer, wide.ctypes.data, y, wide.nbytes)
        np.testing.assert_array_equal(wide[:, :128], np.concatenate(group(x), -1))
        self.assertTrue(np.isnan(wide[:, 128:]).all())
        device.free(at)
        device.free(y)

    def test_no_rows_give_no_rows(self):
        group, _ = self.model.find(ATTENTION[0])
        self.assertEqual([y.shape for y in group(inputs(0, 64))], [(0, 64), (0, 32), (0, 32)])

    def test_more_rows_than_the_largest_kernel_say_that_dequant_is_better(self):
        group, _ = self.model.find(ATTENTION[0])
        self.assertFalse(group.query(2)["prefer_dequant"])
        self.assertTrue(group.query(100)["prefer_dequant"])
        self.assertLess(
            distance(group(inputs(5, 64))[0], np.vstack([group(r)[0] for r in inputs(5, 64)])),
            1e-2)

    def test_closed_groups_come_back(self):
        group, _ = self.model.find("model.layers.0.self_attn.o_proj")
        x = inputs(1, 64)
        before = group(x)[0]
        group.close()
        again, _ = self.model.find("model.layers.0.self_attn.o_proj")
        np.testing.assert_array_equal(again(x)[0], before)


class Torch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = "cuda" if WORD == "cuda" else "cpu"
        cls.model = qpal.Model(
            *PATHS,
            device="current" if WORD == "cuda" and torch.zeros(1).cuda() is not None else DEVICE)

    def x(self, rows, columns, seed=1):
        return torch.from_numpy(inputs(rows, columns, seed)).to(self.place)

    def test_a_linear_is_near_the_original(self):
        for name, columns in (("model.layers.0.self_attn.o_proj", 64),
                              ("model.layers.1.mlp.down_proj", 128)):
            layer = qpal.torch_linear(self.model, name)
            self.assertIsInstance(layer, torch.nn.Module)
            self.assertIn(name, repr(layer))
            x = self.x(2, columns)
            y = layer(x)
            self.assertEqual((y.dtype, y.device.type), (torch.float16, self.place))
            w = original(name + ".weight")
            self.assertLess(distance(y.cpu().numpy(),
                                     x.cpu().numpy().astype(np.float64) @ w.T), 0.25)

    def test_batches_of_sequences_keep_their_shape(self):
        layer = qpal.torch_linear(self.model, "model.layers.0.self_attn.o_proj")
        x = self.x(6, 64)
        y = layer(x.reshape(2, 3, 64))
        self.assertEqual(tuple(y.shape), (2, 3, 64))
        self.assertTrue(
            torch.allclose(y.reshape(6, 64).float(),
                           layer(x).float(), rtol=0, atol=1e-2))

    def test_many_rows_go_through_decoded_weights(self):
        layer = qpal.torch_linear(self.model, "model.layers.0.self_attn.o_proj")
        x = self.x(40, 64)
        self.assertTrue(self.model.group(layer.fused.group).query(40)["prefer_dequant"])
        few = torch.cat([layer(x[i:i + 2]) for i in range(0, 40, 2)])
        self.assertLess(distance(layer(x).cpu().numpy(),
                                 few.cpu().numpy().astype(np.float64)), 4e-3)

    def test_linears_of_a_fused_group_share_a_launch(self):
        calls, launch = [], qpal.torch._gemm
        layers = [qpal.torch_linear(self.model, n) for n in ATTENTION]
        qpal.torch._gemm = lambda *a: (calls.append(1), launch(*a))[1]
        try:
            x = self.x(1, 64)
            y = [layer(x) for layer in layers]
            self.assertEqual(len(calls), 1)
            x.add_(1)  # another x in the same place
            layers[1](x)
            self.assertEqual(len(calls), 2)
        finally:
            qpal.torch._gemm = launch
        for name, part in zip(ATTENTION, y):
            w = original(name + ".weight")
            self.assertLess(distance(part.cpu().numpy(),
                                     inputs(1, 64).astype(np.float64) @ w.T), 0.25)

    def test_bfloat16_without_kernels_says_what_there_is(self):
        layer = qpal.torch_linear(self.model, "model.layers.0.self_attn.o_proj")
        with self.assertRaisesRegex(qpal.Error, "f16"):
            layer(self.x(1, 64).to(torch.bfloat16))

    @unittest.skipUnless(WORD == "cuda", "a CUDA graph needs a GPU")
    def test_a_cuda_graph_replays_what_it_captured(self):
        layer = qpal.torch_linear(self.model, "model.layers.0.self_attn.o_proj")
        x = self.x(1, 64)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # allocates the stream's workspace
            layer(x)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=side):
                y = layer(x)
        for seed in (2, 3):
            x.copy_(self.x(1, 64, seed))
            graph.replay()
            torch.cuda.synchronize()
            self.assertTrue(torch.allclose(y.float(), layer(x).float(), rtol=0, atol=1e-2))

    def test_the_module_can_be_moved_into_a_model(self):
        layer = qpal.torch_linear(self.model, "model.layers.0.self_attn.o_proj")
        net = torch.nn.Sequential(torch.nn.Identity(), layer, torch.nn.Flatten(0)).eval()
        with torch.no_grad():
            self.assertTrue(torch.equal(net(self.x(1, 64)), layer(self.x(1, 64))[0]))


if WORD == "numpy":
    del Torch
else:
    del Structs, Questions, Numpy
unittest.main(argv=sys.argv[:1], verbosity=2)
