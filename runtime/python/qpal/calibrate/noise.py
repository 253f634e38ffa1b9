# SPDX-License-Identifier: MIT
"""Noise in a linear's weights, the same numbers as of qpal calibrate
(tuner/calibrate/sensitivity.c; CALIBRATION.md says how they are made)."""
import torch

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
DAMPING = 0.01  # of a Hessian's mean diagonal, as the encoder adds it
_ROWS = 64


def _signed(z):
    z &= _MASK
    return z - (1 << 64) if z >> 63 else z


def _mix_int(z):
    z = (z + _STEP) & _MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return z ^ z >> 31


def _shifted(z, n):
    return (z >> n) & ((1 << (64 - n)) - 1)


def _mix(z):
    """splitmix64's mixing of int64, which wrap around as uint64 do."""
    z = z + _signed(_STEP)
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def seed_of(seed, block, linear, probe):
    state = seed
    for value in (block, linear, probe):
        state = _mix_int(state) ^ value
    return _mix_int(state)


def white(weight, seed, noise):
    """E, fp32: in each row |E_i|^2 = noise |W_i|^2, on the CPU."""
    weight = weight.detach().cpu().double()
    rows, columns = weight.shape
    out = torch.empty(rows, columns)
    steps = torch.arange(columns, dtype=torch.int64) * _signed(_STEP)
    for first in range(0, rows, _ROWS):
        last = min(first + _ROWS, rows)
        states = [_signed(seed ^ (i + 1) * 0xD1342543DE82EF95) for i in range(first, last)]
        bits = _mix(torch.tensor(states, dtype=torch.int64)[:, None] + steps)
        low = 2.0 ** -54
        z = torch.special.ndtri(low + (1 - low) * _shifted(bits, 11).double() * 2.0 ** -53)
        squares = (weight[first:last] ** 2).sum(1)
        scale = (noise * squares / (z ** 2).sum(1)).sqrt()
        out[first:last] = z.float() * scale.float()[:, None]
    return out


def factor(hessian):
    """(L, g) of H [K][K] + damping = L L^T, L double and g the geometric mean of the squares of its
    diagonal; None: there is no factor."""
    h = hessian.double().clone()
    mean = h.diagonal().mean()
    if not mean > 0:
        return None
    h.diagonal().add_(DAMPING * mean)
    lower, info = torch.linalg.cholesky_ex(h)
    if info:
        return None
    return lower, float((2 * lower.diagonal().log()).mean().exp())


def shape(noise, hessians):
    """What error feedback makes of white noise N [rows][K]:  g^1/2 N L^-1, for each of the
    equal groups of rows that has one of the Hessians [G][K][K]."""
    out = noise.clone()
    size = noise.shape[0] // len(hessians)
    for g, hessian in enumerate(hessians):
        found = factor(hessian)
        if found is None:
            continue
        lower, mean = found
        rows = noise[g * size:(g + 1) * size].double() * mean ** 0.5
        out[g * size:(g + 1) * size] = torch.linalg.solve_triangular(
            lower.cpu(), rows, upper=False, left=False).float()
    return out
