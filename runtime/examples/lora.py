# SPDX-License-Identifier: MIT
"""Trains a low-rank adapter beside one packed linear, through its residual:

    python lora.py LIBRARY PACKED LINEAR [DEVICE]

The packed weights stay as they are; what is learnt is a change of rank 2 that was made up."""
import sys

import torch

import qpal
import qpal.torch


class Lora(torch.nn.Module):
    """y = W x + B A x, W packed: the kernel adds the adapter's part in the same launch."""

    def __init__(self, linear, rank):
        super().__init__()
        self.linear = linear
        self.a = torch.nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.b = torch.nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x, residual=x @ self.a.t() @ self.b.t())


def main():
    library, packed, name = sys.argv[1:4]
    model = qpal.Model(library, packed, device=sys.argv[4] if len(sys.argv) > 4 else "cuda:0")
    torch.manual_seed(1)
    linear = qpal.torch.linear(model, name)
    layer = Lora(linear, 8).to(linear.device)
    optimizer = torch.optim.Adam(layer.parameters(), 1e-1)
    x = torch.randn(32, linear.in_features, device=linear.device)
    change = torch.randn(linear.in_features, 2) @ torch.randn(
        2, linear.out_features) / linear.in_features
    with torch.no_grad():
        wanted = linear(x) + x @ change.to(x)
    for step in range(20):
        loss = torch.nn.functional.mse_loss(layer(x), wanted)
        if step % 5 == 0:
            print(f"step {step}: {loss.item():.3g}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"at the end: {loss.item():.3g}")


main()
