#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fits lua/sensitivity/prior.json, the guess of qpal plan for models of which nothing was measured:

    tests/calibrate/fit_prior.py [--write] FILE:HIDDEN,INNER,Q,KV[,VOCAB] ...

FILE holds sensitivities (either form of tuner/calibrate/CALIBRATION.md), the numbers are the
model's sizes: Q and KV are the rows of q and k.  Each model counts alike.  The logarithm of alpha
per weight, by its mean over the blocks, is fitted as role + depth (piecewise linear over 5 points),
by least squares.  Prints for each model, fitted with and without it, the rank correlation with what
was measured, and the loss (sum of measured alpha x D, D = 2^-2R) of the best rates for 3.25 bits a
weight by the guess, beside those by weights alone and by the measured alpha itself.
"""
import argparse
import json
import math
import pathlib
import re

ROLES = ["q", "k", "v", "o", "gate", "up", "down"]
POINTS = 5
OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "lua/sensitivity/prior.json"


def read(argument):
    path, sizes = argument.rsplit(":", 1)
    hidden, inner, q, kv, *vocab = map(int, sizes.split(","))
    shape = {
        "q": q * hidden, "k": kv * hidden, "v": kv * hidden, "o": q * hidden,
        "gate": inner * hidden, "up": inner * hidden, "down": inner * hidden}
    data = json.load(open(path))
    blocks = {}
    for b, block in enumerate(data.get("alpha", [])):
        for name, alpha in block.items():
            blocks[b, name] = alpha
    for name, alpha in data.items():
        found = re.search(r"\.(\d+)\.(.+)$", name)
        if found:
            blocks[int(found[1]), found[2]] = alpha
    layers = 1 + max(b for b, _ in blocks)
    rows = []
    for (b, name), alpha in blocks.items():
        role = name.removesuffix(".weight").split(".")[-1].removesuffix("_proj")
        rows.append({"role": role, "x": b / (layers - 1), "w": shape[role], "alpha": alpha})
    total, weights = sum(r["alpha"] for r in rows), sum(r["w"] for r in rows)
    for r in rows:
        r["density"] = max(r["alpha"] / total, 1e-9) / (r["w"] / weights)
    head = data.get("lm_head")
    return {
        "name": pathlib.Path(path).stem, "rows": rows, "head": head
        and (head / total) / (vocab[0] * hidden / weights)}


def features(row):
    out = [0.0] * (len(ROLES) + POINTS)
    out[ROLES.index(row["role"])] = 1
    at = row["x"] * (POINTS - 1)
    left = min(int(at), POINTS - 2)
    out[len(ROLES) + left] += 1 - (at - left)
    out[len(ROLES) + left + 1] += at - left
    return out


def solve(a, b):
    n = len(b)
    m = [row[:] + [v] for row, v in zip(a, b)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(m[r][i]))
        m[i], m[pivot] = m[pivot], m[i]
        for r in range(n):
            if r != i:
                f = m[r][i] / m[i][i]
                m[r] = [x - f * y for x, y in zip(m[r], m[i])]
    return [m[i][n] / m[i][i] for i in range(n)]


def fit(models):
    n = len(ROLES) + POINTS
    a, b = [[0.0] * n for _ in range(n)], [0.0] * n
    for model in models:
        for row in model["rows"]:
            f, y, weight = features(row), math.log(row["density"]), 1 / len(model["rows"])
            for i in range(n):
                b[i] += weight * f[i] * y
                for j in range(n):
                    a[i][j] += weight * f[i] * f[j]
    for i in range(n):
        a[i][i] += 1e-6
    for i in range(len(ROLES), n):  # depth's mean is 0
        for j in range(len(ROLES), n):
            a[i][j] += 1e-3
    return solve(a, b)


def guess(coefficients, row):
    return row["w"] * math.exp(sum(c * f for c, f in zip(coefficients, features(row))))


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    out = [0] * len(values)
    for rank, i in enumerate(order):
        out[i] = rank
    return out


def correlation(a, b):
    a, b = ranks(a), ranks(b)
    n = len(a)
    return 1 - 6 * sum((x - y) ** 2 for x, y in zip(a, b)) / (n * (n * n - 1))


def loss(model, alpha, bits=3.25):
    rows = model["rows"]
    want = [0.5 * math.log2(max(a, 1e-12) / r["w"]) for a, r in zip(alpha, rows)]
    lo, hi = -40.0, 60.0
    for _ in range(100):
        c = (lo + hi) / 2
        rates = [min(max(c + w, 1.5), 8) for w in want]
        used = sum(r["w"] * x for r, x in zip(rows, rates)) / sum(r["w"] for r in rows)
        lo, hi = (c, hi) if used < bits else (lo, c)
    return sum(r["alpha"] * 2 ** (-2 * x) for r, x in zip(rows, rates))


def report(models):
    for model in models:
        rows = model["rows"]
        measured = [r["alpha"] for r in rows]
        others = [m for m in models if m is not model] or models
        lines = [("weights alone", [r["w"] for r in rows]),
                 ("fitted on all", [guess(fit(models), r) for r in rows]),
                 ("fitted on others", [guess(fit(others), r) for r in rows]),
                 ("measured", measured)]
        best = loss(model, measured)
        for name, alpha in lines:
            print(
                f"{model['name']:28} {name:17} rank {correlation(alpha, measured):6.3f}   loss / "
                f"best {loss(model, alpha) / best:6.3f}"
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    models = [read(m) for m in options.models]
    report(models)
    c = fit(models)
    roles = {role: round(math.exp(v), 3) for role, v in zip(ROLES, c)}
    heads = [m["head"] for m in models if m["head"]]
    sizes = [m for m in models][0]["rows"]
    per_block = {r["role"]: r["w"] for r in sizes[:len(ROLES)]}
    both = lambda names: round(
        sum(roles[n] * per_block[n] for n in names) / sum(per_block[n] for n in names), 3)
    roles |= {"qkv": both(["q", "k", "v"]), "gate_up": both(["gate", "up"])}
    if heads:
        roles["lm_head"] = round(math.exp(sum(map(math.log, heads)) / len(heads)), 3)
    text = json.dumps(
        {
            "about": "alpha per weight of roles, and by depth from the first block to the last, "
                     "where nothing was measured",
            "fitted": "tests/calibrate/fit_prior.py on " + ", ".join(m["name"] for m in models),
            "roles": roles, "depth": [round(math.exp(v), 3) for v in c[len(ROLES):]]}, indent=1)
    print(text)
    if options.write:
        OUT.write_text(text + "\n")


main()
