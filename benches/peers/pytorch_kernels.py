#!/usr/bin/env python3
"""Measures PyTorch's matrix products and attention on the shapes that Genera measures, and prints one JSON object like Genera's.

    genera bench machine --json | pytorch_kernels.py

Each figure is the best of the calls that fit into 0.3 s, after one that warms up. A call that takes longer than 3 s is not
repeated: without instructions for bf16 products may be very slow. The gradient of bf16 weights comes in bf16, as PyTorch has it;
Genera's is f32.

Needs: pip install torch
"""

import json
import sys
import time

import torch
from torch.nn import functional

TIME, LIMIT = 0.3, 3.0
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
PRODUCTS = {
    "forward": lambda x, w, dy: functional.linear(x, w),
    "input gradient": lambda x, w, dy: dy @ w,
    "weight gradient": lambda x, w, dy: dy.T @ x,
}


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fastest(call):
    best = seconds(call)
    if best > LIMIT:
        return best
    end = time.perf_counter() + TIME
    best = seconds(call)
    while time.perf_counter() < end:
        best = min(best, seconds(call))
    return best


@torch.no_grad()
def product(row, dtype):
    n_tokens, n_in, n_out = row["n_tokens"], row["n_in"], row["n_out"]
    shapes = [(n_tokens, n_in), (n_out, n_in), (n_tokens, n_out)]
    operands = [torch.rand(shape).to(dtype) for shape in shapes]
    return fastest(lambda: PRODUCTS[row["product"]](*operands))


def attention(row, dtype):
    shape = (1, row["n_heads"], row["context_len"], row["d_head"])
    q, k, v, gradient = (torch.rand(shape).to(dtype) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]

    def both_passes():
        out = functional.scaled_dot_product_attention(*inputs, is_causal=True)
        torch.autograd.grad(out, inputs, gradient)

    return fastest(both_passes)


def measure(row, work, flops):
    """The row with PyTorch's figures in place of Genera's."""
    for name, dtype in DTYPES.items():
        best = work(row, dtype)
        row = row | {f"{name}_seconds": best, f"{name}_flops_per_s": flops / best}
    return row


def main():
    shapes = json.load(sys.stdin)
    torch.set_num_threads(shapes["n_threads"])
    torch.manual_seed(1)
    products = [measure(row, product, 2 * row["n_tokens"] * row["n_in"] * row["n_out"]) for row in shapes["products"]]
    # As Genera counts: 4·T·T·K a head forward, 8 backward, half of it under the mask.
    scores = lambda row: row["n_heads"] * row["context_len"] ** 2 * row["d_head"]
    mixed = [measure(row, attention, 6 * scores(row)) for row in shapes["attention"]]
    device = f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    print(json.dumps({"device": device, "n_threads": torch.get_num_threads(), "products": products, "attention": mixed}))


if __name__ == "__main__":
    main()
