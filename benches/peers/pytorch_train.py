#!/usr/bin/env python3
"""Trains a model of the speed comparisons in PyTorch on random tokens, and prints one JSON object.

    pytorch_train.py a --dtype bf16 --compile --steps 10

Models a, b and c are GPT-2's architecture, `encoder-decoder` is Marian's: torch.nn.Transformer without the norms that it puts
after both stacks, with one embedding table for both sides and the head, which has a bias that stays zero. The sizes are those of
recipes/bench-*.toml. AdamW, gradients clipped at 1, no dropout, as in those recipes.

Needs: pip install -r requirements.txt
"""

import argparse
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

GPT_SIZES = {
    "a": dict(n_layers=6, n_heads=6, width=384, context=256, rows=12, vocabulary=8192),
    "b": dict(n_layers=4, n_heads=4, width=128, context=128, rows=32, vocabulary=512),
    "c": dict(n_layers=12, n_heads=12, width=768, context=512, rows=4, vocabulary=16384),
}
PAIR_SIZES = dict(n_layers=6, n_heads=8, width=512, inner=2048, context=64, rows=32, vocabulary=8192)
WARM_UP = 3


class Block(nn.Module):
    def __init__(self, n_heads, width):
        super().__init__()
        self.n_heads = n_heads
        self.norm, self.norm_inner = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        rows, context, width = x.shape
        heads = (rows, context, self.n_heads, width // self.n_heads)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.qkv(self.norm(x)).split(width, dim=2))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, context, width))
        return x + self.down(functional.gelu(self.up(self.norm_inner(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, n_layers, n_heads, width, context, rows, vocabulary):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(n_heads, width) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.shape = (rows, context)

    def forward(self, x, y):
        h = self.tokens(x) + self.positions.weight
        for block in self.blocks:
            h = block(h)
        logits = functional.linear(self.norm(h), self.tokens.weight)
        return functional.cross_entropy(logits.flatten(0, 1), y.flatten())

    def batch(self, vocabulary):
        return [torch.randint(vocabulary, self.shape) for _ in range(2)]


class Pair(nn.Module):
    def __init__(self, n_layers, n_heads, width, inner, context, rows, vocabulary):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocabulary), requires_grad=False)
        # Blocks with the norm after each part end in one: nn.Transformer would put another after each stack.
        layer = dict(dim_feedforward=inner, dropout=0.0, activation=functional.silu, batch_first=True)
        encoder_layer = nn.TransformerEncoderLayer(width, n_heads, **layer)
        encoder = nn.TransformerEncoder(encoder_layer, n_layers, norm=None, enable_nested_tensor=False)
        decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, n_heads, **layer), n_layers, norm=None)
        self.transformer = nn.Transformer(
            width, n_heads, custom_encoder=encoder, custom_decoder=decoder, batch_first=True
        )
        angles = torch.arange(context)[:, None] / 10_000 ** (torch.arange(width // 2) * 2 / width)
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], dim=1))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context))
        self.shape = (rows, context)

    def forward(self, source, x, y):
        embed = lambda ids: self.tokens(ids) * self.tokens.embedding_dim**0.5 + self.positions
        h = self.transformer(embed(source), embed(x), tgt_mask=self.mask, tgt_is_causal=True)
        logits = functional.linear(h, self.tokens.weight, self.bias)
        return functional.cross_entropy(logits.flatten(0, 1), y.flatten())

    def batch(self, vocabulary):
        return [torch.randint(vocabulary, self.shape) for _ in range(3)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=[*GPT_SIZES, "encoder-decoder"])
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    sizes = GPT_SIZES.get(arguments.model, PAIR_SIZES)
    model = Gpt(**sizes) if arguments.model in GPT_SIZES else Pair(**sizes)
    batch = model.batch(sizes["vocabulary"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    run = torch.compile(model) if arguments.compile else model
    seconds = []
    for _ in range(arguments.steps + WARM_UP):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.dtype == "bf16"):
            loss = run(*batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[WARM_UP:])
    # Both sides of a pair count.
    n_tokens = sizes["rows"] * sizes["context"] * (len(batch) - 1)
    print(
        json.dumps(
            {
                "tokens_per_s": n_tokens / median,
                "seconds_per_step": median,
                "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
                "loss": loss.item(),
                "version": torch.__version__,
                "device": f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
            }
        )
    )


if __name__ == "__main__":
    main()
