# SPDX-License-Identifier: MIT
"""Greedy continuation by a Llama in numpy on a folder that `qpal quantize` wrote:
reference.py PACKED COUNT ID...   prints a token and its logit a line

Weights by tests/python/packed_decoder.py; double precision, no cache: every token is computed
anew."""
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import packed_decoder as decoder  # noqa: E402


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rotary(x, theta):
    """x [tokens][heads][d]; elements k and k + d / 2 turn together."""
    tokens, _, d = x.shape
    angle = np.outer(np.arange(tokens), theta ** (-2.0 * np.arange(d // 2) / d))[:, None]
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle),
                           b * np.cos(angle) + a * np.sin(angle)], -1)


class Llama:
    def __init__(self, path):
        self.folder = decoder.Folder(path)
        with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
            self.config = json.load(f)
        self.packed = {e["name"]: e for e in self.folder.section["linears"]}
        self.known = {}

    def weight(self, name):
        if name not in self.known:
            if name in self.packed:
                w = decoder.weights(self.folder, self.packed[name])
            else:
                w = np.asarray(self.folder[name + ".weight"], np.float64)
            self.known[name] = np.asarray(w, np.float64)
        return self.known[name]

    def block(self, x, i):
        c, name = self.config, f"model.layers.{i}."
        heads, kv, d = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        eps, theta, n = c.get("rms_norm_eps", 1e-6), c.get("rope_theta", 10000.0), len(x)
        h = rms_norm(x, self.weight(name + "input_layernorm"), eps)
        q, k, v = (h @ self.weight(f"{name}self_attn.{p}_proj").T for p in "qkv")
        q, k, v = q.reshape(n, heads, d), k.reshape(n, kv, d), v.reshape(n, kv, d)
        q, k = rotary(q, theta), rotary(k, theta)
        k, v = np.repeat(k, heads // kv, 1), np.repeat(v, heads // kv, 1)
        score = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(d)
        score += np.triu(np.full((n, n), -np.inf), 1)
        p = np.exp(score - score.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        attended = np.einsum("hqk,khd->qhd", p, v).reshape(n, heads * d)
        x = x + attended @ self.weight(name + "self_attn.o_proj").T
        h = rms_norm(x, self.weight(name + "post_attention_layernorm"), eps)
        gate = h @ self.weight(name + "mlp.gate_proj").T
        act = gate / (1 + np.exp(-gate)) * (h @ self.weight(name + "mlp.up_proj").T)
        return x + act @ self.weight(name + "mlp.down_proj").T

    def next(self, ids):
        x = self.weight("model.embed_tokens")[np.array(ids)]
        for i in range(self.config["num_hidden_layers"]):
            x = self.block(x, i)
        h = rms_norm(x[-1], self.weight("model.norm"), self.config.get("rms_norm_eps", 1e-6))
        head = "lm_head" if not self.config.get("tie_word_embeddings") else "model.embed_tokens"
        logits = self.weight(head)[: self.config["vocab_size"]] @ h
        return int(logits.argmax()), float(logits.max())


def main():
    model, ids = Llama(sys.argv[1]), [int(i) for i in sys.argv[3:]]
    for _ in range(int(sys.argv[2])):
        best, logit = model.next(ids)
        ids.append(best)
        print(best, f"{logit:.6g}")


main()
