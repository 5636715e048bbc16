#!/usr/bin/env python3
"""Compares the speed of `genera bench train` with that of PyTorch on the same work, in interleaved rounds.

    compare.py GENERA [--quick] [--models a,b]

Every round runs each program once, so that what else the machine does meets all of them. Prints for each program the median
over the rounds, and how many times as fast Genera is in the same storage type and against the fastest of PyTorch's modes.

Needs: pip install torch (and a C++ compiler for torch.compile)
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
# Keeps freed memory in the process: worth 10 to 25 % to PyTorch, so it gets it.
KEEP_MEMORY = {
    "MALLOC_TOP_PAD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
}


def programs(genera, model, steps, quick):
    """Name -> (command, environment)."""
    table = {}
    for dtype in ["f32", "bf16"]:
        recipe = ROOT / "recipes" / f"bench-{model}.toml"
        command = [genera, "bench", "train", recipe, "--set", f"train.dtype={dtype}", "--steps", str(steps), "--json"]
        table[f"genera {dtype}"] = (command, {})
        peer = [sys.executable, HERE / "pytorch_train.py", model, "--dtype", dtype, "--steps", str(steps)]
        modes = {"compile": ["--compile"]} if quick else {"eager": [], "compile": ["--compile"]}
        for mode, options in modes.items():
            if not quick:
                table[f"pytorch {mode} {dtype}"] = (peer + options, {})
            table[f"pytorch {mode} {dtype}, memory kept"] = (peer + options, KEEP_MEMORY)
    return table


def measure(command, environment):
    done = subprocess.run([str(part) for part in command], env=os.environ | environment, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"  failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(genera, model, arguments):
    steps, rounds = (5, 2) if arguments.quick else (10, 5)
    table = programs(genera, model, steps, arguments.quick)
    results = {name: [] for name in table}
    for i in range(rounds):
        for name, (command, environment) in table.items():
            print(f"model {model}, round {i + 1} of {rounds}: {name}", file=sys.stderr)
            result = measure(command, environment)
            if result is not None:
                results[name].append(result)
    median = lambda name, key: statistics.median(result[key] for result in results[name])
    speeds = {name: median(name, "tokens_per_s") for name in table if results[name]}
    peers = [name for name in speeds if name.startswith("pytorch")]
    best = max((speeds[name] for name in peers), default=float("nan"))
    print(f"\nmodel {model}, medians of {rounds} rounds of {steps} steps")
    print(f"{'':<36} {'tokens/s':>9} {'to the best of its type':>24} {'to the best of all':>19} {'memory':>9}")
    for name, speed in speeds.items():
        same = [speeds[peer] for peer in peers if f" {name.split()[-1]}" in f" {peer}".replace(",", " ")]
        ratios = (f"{speed / max(same):.2f}", f"{speed / best:.2f}") if name.startswith("genera") and same else ("", "")
        memory = median(name, "peak_memory_bytes") / 1e9
        print(f"{name:<36} {speed:>9,.0f} {ratios[0]:>24} {ratios[1]:>19} {memory:>6.2f} GB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genera", help="the program, built with --release")
    parser.add_argument("--quick", action="store_true", help="PyTorch's fastest mode alone, two rounds")
    parser.add_argument("--models", default="a,b,c,encoder-decoder", help="comma between")
    arguments = parser.parse_args()
    for model in arguments.models.split(","):
        compare(arguments.genera, model, arguments)


if __name__ == "__main__":
    main()
