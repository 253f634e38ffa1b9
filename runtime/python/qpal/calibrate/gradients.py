# SPDX-License-Identifier: MIT
"""What needs gradients: guided Hessians and Fisher sensitivities.

L is the sum of ln p(y_t | x_<t) over a piece.  With each y_t drawn from the model's own predictions
the mean of (dL/dW)^2 is the sum over t of the diagonal of the Fisher information, half of which is
what a small change of W costs in KL divergence.  With the text's own tokens as y it is the
"empirical Fisher" of GuidedQuant.
"""
import torch

from . import noise
from .linears import Tap
from .moments import Moments, group_count, rows_of


class _LeafEmbedding:
    """While it is entered, gradients flow back to the embedding's output, and no further."""

    def __init__(self, model):
        self.module = model.get_input_embeddings()

    def __enter__(self):
        self.handle = self.module.register_forward_hook(
            lambda module, args, out: out.detach().requires_grad_().clone())

    def __exit__(self, *_):
        self.handle.remove()


def draw(logits, ids, labels, generator):
    """The y of each position, and how many positions count."""
    if labels == "text":
        return ids[1:], len(ids) - 1
    p = torch.softmax(logits.detach().float(), dim=-1).cpu()
    drawn = torch.multinomial(p, 1, generator=generator)[:, 0]
    return drawn.to(logits.device), len(ids)


def backward(model, ids, labels, generator, linears, see):
    """Run a piece and call see(matrix, x, dL/dy) for each product with a matrix of 'linears'.
    Returns the number of y."""
    def hook(matrix, x, y):
        kept = x.detach()
        if y.requires_grad:
            y.register_hook(lambda gradient: see(matrix, kept, gradient.detach()))

    ids = torch.tensor(ids, device=next(model.parameters()).device)
    with torch.enable_grad(), _LeafEmbedding(model):
        with Tap(linears, hook):
            logits = model(input_ids=ids[None], use_cache=False).logits[0]
        y, count = draw(logits, ids, labels, generator)
        terms = torch.log_softmax(logits[:count].float(), dim=-1).gather(1, y[:, None])
        terms.sum().backward()
    return count


def in_chunks(linears, cost, limit):
    """Lists of linears whose costs in bytes stay within the limit; those of a matrix together."""
    chunk, size = [], 0
    for i, linear in enumerate(linears):
        together = i and linears[i - 1].matrix is linear.matrix
        if chunk and not together and size + cost(linear) > limit:
            yield chunk
            chunk, size = [], 0
        chunk.append(linear)
        size += cost(linear)
    if chunk:
        yield chunk


class Guided:
    """H_g = E[ mean over the rows i of group g of (dL/dy_i)^2  x x^T ] of some linears."""

    def __init__(self, linears, groups, device):
        self.linears = linears
        self.moments = {linear.name: Moments(linear.columns, group_count(linear, groups), device)
                        for linear in linears}

    def see(self, matrix, x, gradient):
        x, gradient = rows_of(x), rows_of(gradient).float()
        for linear in matrix.linears:
            moments = self.moments.get(linear.name)
            if moments is not None:
                squares = linear.of(gradient).square()
                moments.add(x, squares.reshape(len(x), moments.groups, -1).mean(-1))

    @staticmethod
    def cost(groups):
        return lambda linear: 8 * group_count(linear, groups) * linear.columns ** 2


class Fisher:
    """alpha of some linears: half the Fisher information times the variance of noise, white or as
    feedback shapes it, that has the relative variance 1.

    hessian(linear)  [G][K][K], or None: white noise
    """

    def __init__(self, linears, hessian):
        self.linears = linears
        self.factors, self.gradient, self.values = {}, {}, {}
        for linear in linears:
            h = hessian(linear)
            self.factors[linear.name] = None if h is None else [noise.factor(m) for m in h]
            self.values[linear.name] = []

    def see(self, matrix, x, gradient):
        product = rows_of(gradient).float().T @ rows_of(x).float()
        for linear in matrix.linears:
            if linear.name in self.values:
                part = product[linear.part]
                before = self.gradient.get(linear.name)
                self.gradient[linear.name] = part if before is None else before + part

    def end_piece(self, count):
        """After a piece of 'count' predictions: its estimate of alpha, in nats a token."""
        for linear in self.linears:
            gradient = self.gradient.pop(linear.name, None)
            value = 0.0 if gradient is None else self._value(linear, gradient)
            self.values[linear.name].append((value / count, count))

    def _value(self, linear, gradient):
        factors = self.factors[linear.name] or [None]
        variance = linear.weight().double().square().mean(1)  # of each row's noise
        size, value = linear.rows // len(factors), 0.0
        for g, factor in enumerate(factors):
            d = gradient[g * size:(g + 1) * size].double()
            if factor is not None:  # E = g^1/2 N L^-1:  E d^T = g^1/2 N (L^-1 d^T)
                lower, mean = factor
                d = mean ** 0.5 * torch.linalg.solve_triangular(lower, d.T, upper=False).T
            value += float((variance[g * size:(g + 1) * size] * d.square().sum(1)).sum())
        return value / 2

    def result(self, linear):
        """(alpha, standard error), each piece weighted by its predictions."""
        values = self.values[linear.name]
        total = sum(count for _, count in values)
        alpha = sum(v * count for v, count in values) / total
        if len(values) < 2:
            return alpha, 0.0
        squares = sum(((v - alpha) * count / total) ** 2 for v, count in values)
        return alpha, (squares * len(values) / (len(values) - 1)) ** 0.5

    @staticmethod
    def cost(linear):
        return 4 * linear.rows * linear.columns + 8 * linear.columns ** 2
