#!/usr/bin/env python3
"""Compares direct preference optimisation with a few lines of PyTorch: the loss before each step, step by step.

    genera train --base DIR --data preferences.jsonl --preferences --run RUN --set train.dtype=f32 --set train.log_every=1 \
        --set train.schedule=constant --set train.warmup_steps=0 --set train.clip=0
    pytorch_dpo.py RUN

Both start from the base and take the same pairs in the same order, with AdamW. A wrong gradient would make the losses of the
second step differ. The exit code is 1 when a loss differs by more than the tolerance.

Needs: pip install torch transformers
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tomllib

import torch
import torch.nn.functional as F
from transformers_logits import load


def answer_logp(model, row):
    """ln p of the targets of a row: tokens, and the targets that carry loss (-100 does not)."""
    tokens, targets = torch.tensor([row["tokens"]]), torch.tensor(row["targets"])
    logits = model(input_ids=tokens).logits[0]
    return -F.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="the run; its data must not hold the padding token, whose vector PyTorch does not train")
    parser.add_argument("--program", required=True, help="what prints the pairs: cargo run -q -p genera-data --example pairs")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    recipe = tomllib.loads((arguments.run / "recipe.toml").read_text())
    train, beta = recipe["train"], recipe["train"]["dpo"]["beta"]
    command = [*arguments.program.split(), str(arguments.run / "data/train.shard")]
    command += [str(recipe["model"]["context_len"]), str(train["batch_size"]), str(train["seed"]), str(train["steps"])]
    batches = [json.loads(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()]
    rows = [json.loads(line) for line in (arguments.run / "log.jsonl").read_text().splitlines()]
    ours = {row["step"]: row for row in rows if "loss" in row}
    torch.set_num_threads(1)
    model, reference = load(recipe["base"]["path"]), load(recipe["base"]["path"])
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=train["learning_rate"], betas=(train["beta1"], train["beta2"]), eps=train["eps"], weight_decay=0.0
    )
    worst = 0.0
    for step, pairs in enumerate(batches, 1):
        losses, margins = [], []
        for pair in pairs:
            with torch.no_grad():
                base = answer_logp(reference, pair["chosen"]) - answer_logp(reference, pair["rejected"])
            margin = beta * (answer_logp(model, pair["chosen"]) - answer_logp(model, pair["rejected"]) - base)
            losses.append(-F.logsigmoid(margin))
            margins.append(margin.item())
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        difference = max(abs(loss.item() - ours[step]["loss"]), abs(sum(margins) / len(margins) - ours[step]["reward_margin"]))
        worst = max(worst, difference)
        print(f"step {step}: loss {loss.item():.6f}, genera {ours[step]['loss']:.6f}; reward margin {sum(margins) / len(margins):.6f}")
    print(f"largest difference {worst:.1e}")
    sys.exit(0 if worst <= arguments.tolerance else 1)


if __name__ == "__main__":
    main()
