# SPDX-License-Identifier: MIT
"""Tests of qpal.torch on what the test 'circle' made, in the simulator, or on a GPU with libqpal:
test_torch.py LIBQPAL CIRCLE [DEVICE]      Exit code 77: there is no such GPU."""
import copy
import io
import os
import pickle
import subprocess
import sys
import unittest

import torch

LIBRARY, CIRCLE = sys.argv[1:3]
DEVICE = sys.argv[3] if len(sys.argv) > 3 else "sim:90:4"
ON_GPU = DEVICE.startswith("cuda")
if ON_GPU and not torch.cuda.is_available():
    print("skipped: torch finds no GPU")
    sys.exit(77)
if ON_GPU:
    torch.set_default_device("cuda")  # of all that the tests make
HERE = os.path.dirname(os.path.abspath(__file__))
RUNTIME = os.path.join(HERE, "..", "..", "runtime")
sys.path.insert(0, os.path.join(RUNTIME, "python"))
import qpal  # noqa: E402
import qpal.torch  # noqa: E402

qpal.use(LIBRARY)
PATHS = os.path.join(CIRCLE, "library"), os.path.join(CIRCLE, "packed")
ATTENTION = [f"model.layers.0.self_attn.{n}_proj" for n in "qkv"]
O = "model.layers.0.self_attn.o_proj"


def setUpModule():
    global model
    model = qpal.Model(*PATHS, device="current" if ON_GPU else DEVICE)
    torch.manual_seed(1)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linears = torch.nn.ModuleList(qpal.torch_linear(model, name) for name in ATTENTION)

    def forward(self, x):
        return [linear(x) * (i + 1) for i, linear in enumerate(self.linears)]


class Attention(torch.nn.Module):
    """The same, which holds its linears itself."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (qpal.torch_linear(model, name) for name in ATTENTION)

    def forward(self, x):
        return [self.q(x), self.k(x) * 2, self.v(x) * 3]


class Modules(unittest.TestCase):
    def test_a_linear_gives_what_its_group_gives(self):
        x = torch.randn(2, 64).half()
        group, _ = model.find(ATTENTION[0])
        for name, y in zip(ATTENTION, group(x)):
            self.assertTrue(torch.equal(qpal.torch_linear(model, name)(x), y))

    def test_its_weight_is_what_it_multiplies_with(self):
        layer, x = qpal.torch_linear(model, O), torch.randn(2, 64)
        self.assertEqual((layer.weight.shape, layer.dtype), ((64, 64), torch.float16))
        self.assertTrue(torch.allclose(layer(x), x @ layer.weight.float().t(), atol=5e-3))

    def test_float32_is_computed_in_16_bits_and_other_types_are_refused(self):
        layer, x = qpal.torch_linear(model, O), torch.randn(2, 64)
        self.assertTrue(torch.equal(layer(x), layer(x.half()).float()))
        with self.assertRaisesRegex(TypeError, "float64.*float16, bfloat16 or float32"):
            layer(x.double())
        with self.assertRaisesRegex(ValueError, "64"):
            layer(torch.randn(2, 63))

    def test_state_copies_and_pickles_are_of_the_packed_tensors(self):
        layer, x = qpal.torch_linear(model, O), torch.randn(2, 64).half()
        y, state = layer(x), layer.state_dict()
        self.assertIn("codes.0", state)
        other = copy.deepcopy(layer)
        self.assertTrue(torch.equal(other(x), y))
        other.row_scales.mul_(2)  # of its own: the first stays
        self.assertTrue(torch.equal(layer(x), y))
        self.assertTrue(torch.allclose(other(x).float(), 2 * y.float(), rtol=2e-3))
        other.load_state_dict(state)
        self.assertTrue(torch.equal(other(x), y))
        self.assertTrue(torch.equal(pickle.loads(pickle.dumps(layer))(x), y))
        held = io.BytesIO()
        torch.save(layer, held)
        held.seek(0)
        self.assertTrue(torch.equal(torch.load(held, weights_only=False)(x), y))

    def test_it_counts_its_memory_and_keeps_its_types(self):
        layer, x = qpal.torch_linear(model, O), torch.randn(2, 64).half()
        stored = [e for e in model.linears if e["tensor"] == O][0]["bytes"]
        held = sum(b.numel() * b.element_size() for b in layer.buffers())
        self.assertEqual(held, stored + 8)  # and the signs of 64 columns
        y = layer(x)
        layer.half()
        self.assertEqual(layer.row_scales.dtype, torch.float32)
        self.assertTrue(torch.equal(layer(x), y))
        self.assertEqual(copy.deepcopy(layer).to("meta").codes[0].device.type, "meta")

    def test_linears_of_a_group_share_a_launch_and_see_when_x_changes(self):
        net, x, calls, launch = Net(), torch.randn(2, 64).half(), [], qpal.torch._gemm
        qpal.torch._gemm = lambda *a: (calls.append(1), launch(*a))[1]
        try:
            first = net(x)
            self.assertEqual(len(calls), 1)
            net(x)
            self.assertEqual(len(calls), 2)
            x.mul_(2)
            again = net(x)
            self.assertEqual(len(calls), 3)
            net.linears[0](x)
            x.add_(1)
            y = net.linears[1](x)
            self.assertEqual(len(calls), 5)
        finally:
            qpal.torch._gemm = launch
        self.assertTrue(torch.allclose(again[0].float(), 2 * first[0].float(), rtol=1e-2,
                                       atol=1e-2))
        self.assertTrue(torch.equal(y, net.linears[1](x.clone())))

    def test_rows_have_the_room_that_makes_them_one_launch(self):
        layer, x, seen = qpal.torch_linear(model, O), torch.randn(3, 64).half(), []
        wanted, capacity, made = layer(x), qpal.torch._capacity, qpal.torch.GemmArgs

        def kept(**args):
            seen.append((args["rows"], args["capacity"]))
            return made(**args)
        qpal.torch._capacity, qpal.torch.GemmArgs = lambda *_: (8, False), kept
        try:
            got = layer(x)  # as where the library has batches of 1 and 8
        finally:
            qpal.torch._capacity, qpal.torch.GemmArgs = capacity, made
        self.assertEqual(seen, [(3, 8)])
        self.assertEqual(got.shape, (3, 64))
        self.assertTrue(torch.allclose(got, wanted, atol=2e-3))
        self.assertEqual(qpal._model.room_of_rows(3, lambda left: (8, 0)), (8, False))
        self.assertEqual(qpal._model.room_of_rows(11, lambda left: (8, left > 8)), (16, True))

    def test_strides_of_x_are_what_torch_says(self):
        layer, wide = qpal.torch_linear(model, O), torch.randn(3, 130).half()
        x = wide[:, 1:65]
        self.assertTrue(torch.equal(layer(x), layer(x.contiguous())))

    def test_a_group_gives_all_its_linears(self):
        x = torch.randn(3, 2, 64)
        ys = qpal.torch_group(model, "layers.0.q+k+v")(x)
        self.assertEqual([tuple(y.shape) for y in ys], [(3, 2, 64), (3, 2, 32), (3, 2, 32)])

    def test_a_packed_embedding_looks_tokens_up(self):
        layer = qpal.torch.embedding(model, "model.embed_tokens")
        ids = torch.tensor([[3, 5], [63, 0]])
        rows = layer(ids)
        self.assertTrue(torch.equal(rows, model.gather(ids.to(torch.int32))))
        torch.library.opcheck(torch.ops.qpal.gather, (ids, layer.linear.fused.packed(
            ids.device), False, layer.linear.fused.library, layer.linear.fused.group, "sim:90:4"))


def product_of(layer):
    """W as the forward pass has it: what a layer makes of the rows of the identity."""
    with torch.no_grad():
        return layer(torch.eye(layer.in_features)).t()


class Gradients(unittest.TestCase):
    def test_of_x_is_by_the_decoded_weight(self):
        for name in (O, ATTENTION[1]):
            layer, x = qpal.torch_linear(model, name), torch.randn(2, 64, requires_grad=True)
            y = layer(x)
            g = torch.randn_like(y)
            y.backward(g)
            wanted = g @ product_of(layer)
            self.assertLess((x.grad - wanted).norm() / wanted.norm(), 5e-3)

    def test_of_the_residual_is_the_sum_s_and_of_q_k_v_add_up(self):
        layer, x = qpal.torch_linear(model, O), torch.randn(2, 64)
        r = torch.randn(2, 64, requires_grad=True)
        y = layer(x, residual=r)
        self.assertTrue(torch.allclose(y, layer(x) + r, atol=5e-3))
        y.backward(torch.ones_like(y))
        self.assertTrue(torch.equal(r.grad, torch.ones(2, 64)))
        net, x = Net(), torch.randn(2, 64, requires_grad=True)
        sum(y.sum() for y in net(x)).backward()
        wanted = sum((i + 1) * product_of(l).sum(0) for i, l in enumerate(net.linears))
        self.assertLess((x.grad - wanted).norm() / wanted.norm(), 5e-3)

    def test_of_the_bias_is_the_sum_s_and_of_packed_tensors_is_refused(self):
        layer, x = qpal.torch_linear(model, O), torch.randn(2, 64)
        layer.bias = torch.randn(64, requires_grad=True)
        layer(x).backward(g := torch.randn(2, 64))
        self.assertTrue(torch.allclose(layer.bias.grad, g.sum(0), atol=2e-3))
        layer.bias = None
        for tensor in [b for b in layer.buffers() if b.is_floating_point()]:
            tensor.requires_grad_()
            with self.assertRaisesRegex(RuntimeError, "packed tensors are constants"):
                layer(x)
            with torch.no_grad():
                layer(x)
            tensor.requires_grad_(False)

    def test_an_adapter_learns_through_the_residual(self):
        said = subprocess.run(
            [sys.executable,
             os.path.join(RUNTIME, "examples", "lora.py"), *PATHS, O, DEVICE], check=True,
            capture_output=True, text=True, env={
                **os.environ, "QPAL_LIBRARY": LIBRARY,
                "PYTHONPATH": os.path.join(RUNTIME, "python")}).stdout
        losses = [float(line.split()[-1]) for line in said.splitlines()]
        self.assertLess(losses[-1], losses[0] / 4, said)


class Compiled(unittest.TestCase):
    def test_operators_keep_torch_s_promises(self):
        layer = qpal.torch_linear(model, O)
        fused, x = layer.fused, torch.randn(2, 64).half().requires_grad_()
        packed = fused.packed(x.device)
        torch.library.opcheck(torch.ops.qpal.linear, (x, packed, None, torch.randn(2, 64).half(),
                                                      fused.library, fused.group, fused.simulator))
        torch.library.opcheck(torch.ops.qpal.grad_input,
                              (x.detach(), packed, fused.library, fused.group, fused.simulator))

    def test_a_whole_graph_is_compiled_and_exported(self):
        net, x = Net(), torch.randn(2, 64).half()
        with torch.no_grad():
            wanted = net(x)
            got = torch.compile(net, fullgraph=True, backend="aot_eager")(x)
            exported = torch.export.export(net, (x,))
        for made in (got, exported.module()(x)):
            for a, b in zip(made, wanted):
                self.assertTrue(torch.equal(a, b))
        x = torch.randn(2, 64, requires_grad=True)
        sum(y.sum() for y in torch.compile(net, fullgraph=True, backend="aot_eager")(x)).backward()
        wanted = sum((i + 1) * product_of(l).sum(0) for i, l in enumerate(net.linears))
        self.assertLess((x.grad - wanted).norm() / wanted.norm(), 5e-3)

    def test_linears_of_a_group_share_a_launch_in_a_compiled_graph(self):
        calls, launch = [], qpal.torch._gemm
        qpal.torch._gemm = lambda *a: (calls.append(1), launch(*a))[1]
        try:
            for x in (torch.randn(2, 64).half(), torch.randn(2, 64)):  # as it is; converted
                net = Net()
                with torch.no_grad():
                    wanted = net(x)
                    compiled = torch.compile(net, fullgraph=True)
                    calls.clear()
                    got = compiled(x)
                self.assertEqual(len(calls), 1)
                for a, b in zip(got, wanted):
                    self.assertTrue(torch.equal(a, b))
        finally:
            qpal.torch._gemm = launch

    def test_an_x_that_changes_between_is_not_merged_in_a_compiled_graph(self):
        net = Net()

        def changed(x):
            x = x.clone()
            first = net.linears[0](x)
            x.mul_(2)
            return first, net.linears[1](x)
        x = torch.randn(2, 64).half()
        with torch.no_grad():
            wanted = changed(x)
            for a, b in zip(torch.compile(changed, fullgraph=True)(x), wanted):
                self.assertTrue(torch.equal(a, b))

    def test_inference_mode_works_in_one_launch_where_x_is_known_not_to_change(self):
        x, calls, launch = torch.randn(2, 64).half(), [], qpal.torch._gemm
        wanted = Net()(x)
        qpal.torch._gemm = lambda *a: (calls.append(1), launch(*a))[1]
        try:
            for promised in (False, True):
                net = Attention()
                self.assertFalse(qpal.torch.share(Net()))  # holds none itself
                self.assertEqual(promised and qpal.torch.share(net), promised)
                for made in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
                    self.check_in_inference_mode(made, x, wanted, calls, 1 if promised else 3)
        finally:
            qpal.torch._gemm = launch

    def check_in_inference_mode(self, net, x, wanted, calls, launches):
        with torch.inference_mode():
            calls.clear()
            given = x.clone()
            for a, b in zip(net(given), wanted):
                self.assertTrue(torch.equal(a, b))
            self.assertEqual(len(calls), launches)
            net.q(given)
            given.mul_(2)  # nobody promised anything here
            last = 3 * net.v(given)
        self.assertTrue(torch.allclose(last.float(), 2 * wanted[2].float(), rtol=1e-2, atol=1e-2))

    def test_a_module_that_shares_compiles(self):
        net, x = Attention(), torch.randn(2, 64).half()
        qpal.torch.share(net)
        with torch.inference_mode():
            wanted = net(x)
            compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
            for a, b in zip(compiled(x), wanted):
                self.assertTrue(torch.equal(a, b))


unittest.main(argv=sys.argv[:1], verbosity=2)
