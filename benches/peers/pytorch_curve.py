#!/usr/bin/env python3
"""Trains in PyTorch from the same first weights on the same batches as a run of Genera, and compares the loss of every step.

    genera train RECIPE.toml --run RUN --set train.dtype=f32 --set train.log_every=1
    genera replay RUN --output REPLAY
    pytorch_curve.py RUN REPLAY

The model is that of Hugging Face transformers; AdamW, clipping and the cosine schedule are PyTorch's or written here. Prints
the largest relative difference; the exit code is 1 above the tolerance.

Needs: pip install torch transformers
"""

import argparse
import json
import math
import pathlib
import sys
import tomllib

from programs import record
from transformers_logits import load

import torch
from torch import nn
from torch.nn import functional

# What of a recipe is written below, and no other.
TRAINED_AS = dict(dtype="f32", optimizer="adamw", schedule="cosine", accumulate=1, dropout=0, label_smoothing=0, log_every=1)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="the run directory")
    parser.add_argument("replay", type=pathlib.Path, help="what `genera replay` wrote of it")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest relative difference allowed (default 1e-4)")
    parser.add_argument("--rate-factor", type=float, default=1.0, help="a wrong learning rate, to see it found")
    return parser.parse_args()


def read_recipe(run):
    with open(run / "recipe.toml", "rb") as file:
        train = tomllib.load(file)["train"]
    for key, value in TRAINED_AS.items():
        if train[key] != value:
            sys.exit(f"{run}: train.{key} is {train[key]}; the comparison needs {value}")
    return train


def optimizer_of(model, train):
    """AdamW, in which matrices and tables shrink, but neither vectors nor T5's relative biases."""
    shrinks, stays = [], []
    for name, parameter in model.named_parameters():
        # Sinusoidal positions are parameters there, which would be trained, and counted where gradients are clipped.
        parameter.requires_grad_("embed_positions" not in name)
        (shrinks if parameter.dim() > 1 and "relative_attention_bias" not in name else stays).append(parameter)
    groups = [dict(params=shrinks, weight_decay=train["weight_decay"]), dict(params=stays, weight_decay=0.0)]
    return torch.optim.AdamW(groups, betas=(train["beta1"], train["beta2"]), eps=train["eps"])


def learning_rate(train, step):
    top, bottom, warm_up = train["learning_rate"], train["min_learning_rate"], train["warmup_steps"]
    if step <= warm_up:
        return top * step / warm_up
    progress = (step - 1 - warm_up) / max(train["steps"] - warm_up, 1)
    return bottom + (top - bottom) * (1 + math.cos(math.pi * progress)) / 2


def logits_of(model, batch):
    tokens, segments = torch.tensor(batch["tokens"]), torch.tensor(batch["segments"])
    if "source" in batch:
        source = torch.tensor(batch["source"])
        is_real = torch.arange(source.shape[1]) < torch.tensor(batch["source_lens"])[:, None]
        return model(input_ids=source, attention_mask=is_real.long(), decoder_input_ids=tokens).logits
    seen = (segments[:, :, None] == segments[:, None, :]).tril()[:, None]
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return model(input_ids=tokens, attention_mask=mask, position_ids=torch.tensor(batch["positions"])).logits


def train_on(model, train, batches, rate_factor):
    """The loss of every step."""
    optimizer = optimizer_of(model, train)
    for step, batch in enumerate(batches, 1):
        loss = functional.cross_entropy(logits_of(model, batch).flatten(0, 1), torch.tensor(batch["targets"]).flatten())
        optimizer.zero_grad()
        loss.backward()
        if train["clip"] > 0:
            nn.utils.clip_grad_norm_(model.parameters(), train["clip"])
        for group in optimizer.param_groups:
            group["lr"] = rate_factor * learning_rate(train, step)
        optimizer.step()
        yield loss.item()


def main():
    arguments = parse_arguments()
    train = read_recipe(arguments.run)
    rows = [json.loads(line) for line in open(arguments.run / "log.jsonl")]
    ours = [row["loss"] for row in rows if "loss" in row]
    batches = (json.loads(line) for line in open(arguments.replay / "batches.jsonl"))
    theirs = list(train_on(load(arguments.replay / "initial"), train, batches, arguments.rate_factor))
    if len(ours) != len(theirs):
        sys.exit(f"genera logged {len(ours)} steps, and there are {len(theirs)} batches: was the run cut off?")
    differences = [abs(a - b) / abs(b) for a, b in zip(ours, theirs)]
    # What is not a number counts as the largest.
    worst = max(range(len(ours)), key=lambda i: math.inf if math.isnan(differences[i]) else differences[i])
    print(
        f"{len(ours)} steps, loss {ours[0]:.4f} to {ours[-1]:.4f}, in PyTorch {theirs[0]:.4f} to {theirs[-1]:.4f}; "
        f"largest relative difference {differences[worst]:.2e}, at step {worst + 1}"
    )
    what = f"losses of {len(ours)} steps beside PyTorch's, f32, largest relative difference"
    record(what, f"≤ {arguments.tolerance:.0e}", f"{differences[worst]:.1e}", differences[worst] <= arguments.tolerance)
    sys.exit(0 if differences[worst] <= arguments.tolerance else 1)


if __name__ == "__main__":
    main()
