# SPDX-License-Identifier: MIT
"""E[x x^T] of what linears read, plain or weighted by squared gradients of their outputs (guided,
as GuidedQuant, arXiv 2505.07004)."""
import torch

from .linears import Tap

_PIECE = 512  # tokens whose products are added in fp32


class Moments:
    """sum[g] of w_g x x^T in double, for 'groups' weights w of each x; groups 0: w = 1."""

    def __init__(self, columns, groups, device):
        self.groups, self.rows = groups, 0
        self.sum = torch.zeros(max(groups, 1), columns, columns, dtype=torch.float64, device=device)

    def add(self, x, weights=None):
        """x [n][columns], weights [n][groups]."""
        for at in range(0, len(x), _PIECE):
            piece = x[at:at + _PIECE].float()
            if weights is None:
                self.sum[0] += piece.T @ piece
                continue
            for g in range(self.groups):
                scaled = piece * weights[at:at + _PIECE, g, None].float().sqrt()
                self.sum[g] += scaled.T @ scaled
        self.rows += len(x)

    def mean(self, name):
        """fp32 [K][K], or [G][K][K]; exactly symmetric."""
        mean = (self.sum / self.rows).float()
        if not torch.isfinite(mean).all():
            raise ValueError(f"{name}: E[x x^T] is not finite: the model's activations overflow")
        return mean if self.groups else mean[0]


def rows_of(x):
    """[..][n] as [rows][n]."""
    return x.reshape(-1, x.shape[-1])


class PlainTap(Tap):
    """Adds what the linears read, of each group once: {group: Moments}."""

    def __init__(self, linears, device):
        super().__init__(linears, self._add)
        self.moments, self.reader = {}, {}
        for linear in linears:
            if linear.group not in self.moments:
                self.moments[linear.group] = Moments(linear.columns, 0, device)
                self.reader[id(linear.matrix)] = self.reader.get(id(linear.matrix), []) + [
                    linear.group]

    def _add(self, matrix, x, _):
        for group in self.reader.get(id(matrix), ()):
            self.moments[group].add(rows_of(x.detach()))


def group_count(linear, wanted):
    """The largest number of groups, at most 'wanted', that divides the rows into multiples of 32;
    1 where the rows are none."""
    return next((g for g in range(min(wanted, 64), 1, -1) if linear.rows % (32 * g) == 0), 1)
