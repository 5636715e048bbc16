#!/usr/bin/env python3
"""Compares the speed of `genera bench train` with that of PyTorch, candle and burn on the same work, in interleaved rounds.

    compare.py GENERA [--quick] [--models a,b] [--peers pytorch,burn]

Every round runs each program once, so that what else the machine does meets all of them. Prints for each program the median
over the rounds, and how many times as fast Genera is: as PyTorch in the same storage type, as the fastest of PyTorch's modes,
and as the fastest of candle's and of burn's. Those two train models a, b and c, in f32.

Needs: pip install torch (and a C++ compiler for torch.compile); cargo for candle and burn, whose first build takes minutes
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
PEERS = ["pytorch", "candle", "burn"]
# Title, the peer whose rows Genera's are related to, and whether only to those of the same storage type.
RATIOS = [
    ("to the best of its type", "pytorch", True),
    ("to the best of all", "pytorch", False),
    ("to candle", "candle", False),
    ("to burn", "burn", False),
]


def build(peer):
    """The program of a peer that is written in Rust; None where it cannot be built."""
    target = HERE / peer / "target"
    command = ["cargo", "build", "--release", "--quiet", "--target-dir", str(target)]
    print(f"building {peer}", file=sys.stderr)
    try:
        # In its own directory: cargo reads the flags of the compiler from there.
        done = subprocess.run(command, cwd=HERE / peer, capture_output=True, text=True)
    except OSError as error:
        print(f"{peer} is left out: cannot start cargo: {error}", file=sys.stderr)
        return None
    if done.returncode != 0:
        print(f"{peer} is left out, for it cannot be built:\n{done.stderr.strip()}", file=sys.stderr)
        return None
    return target / "release" / f"genera-peer-{peer}"


def modes(name, command, quick):
    """A peer's rows: as it is, which a quick comparison leaves out, and with freed memory kept."""
    as_it_is = {} if quick else {name: (command, {})}
    return as_it_is | {f"{name}, memory kept": (command, KEEP_MEMORY)}


def programs(arguments, model, steps):
    """Name -> (command, environment)."""
    table = {}
    for dtype in ["f32", "bf16"]:
        recipe = ROOT / "recipes" / f"bench-{model}.toml"
        options = ["--set", f"train.dtype={dtype}", "--steps", str(steps), "--json"]
        table[f"genera {dtype}"] = ([arguments.genera, "bench", "train", recipe, *options], {})
        if "pytorch" in arguments.peers:
            peer = [sys.executable, HERE / "pytorch_train.py", model, "--dtype", dtype, "--steps", str(steps)]
            if not arguments.quick:
                table |= modes(f"pytorch eager {dtype}", peer, quick=False)
            table |= modes(f"pytorch compile {dtype}", [*peer, "--compile"], arguments.quick)
    for peer, program in arguments.built.items() if model in ["a", "b", "c"] else []:
        # A step of candle takes several times as long as one of the others.
        n_steps = max(3, steps // 3) if peer == "candle" else steps
        table |= modes(f"{peer} f32", [program, model, "--steps", str(n_steps)], arguments.quick)
    return table


def measure(command, environment):
    done = subprocess.run([str(part) for part in command], env=os.environ | environment, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"  failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(arguments, model):
    steps, rounds = (5, 2) if arguments.quick else (10, 5)
    table = programs(arguments, model, steps)
    results = {name: [] for name in table}
    for i in range(rounds):
        for name, (command, environment) in table.items():
            print(f"model {model}, round {i + 1} of {rounds}: {name}", file=sys.stderr)
            result = measure(command, environment)
            if result is not None:
                results[name].append(result)
    median = lambda name, key: statistics.median(result[key] for result in results[name])
    speeds = {name: median(name, "tokens_per_s") for name in table if results[name]}
    print(f"\nmodel {model}, medians of {rounds} rounds of {steps} steps")
    titles = "".join(f" {title:>{len(title) + 1}}" for title, _, _ in RATIOS)
    print(f"{'':<34} {'tokens/s':>9}{titles} {'memory':>9}")
    for name, speed in speeds.items():
        ratios = "".join(f" {ratio(speeds, name, *of):>{len(title) + 1}}" for title, *of in RATIOS)
        print(f"{name:<34} {speed:>9,.0f}{ratios} {median(name, 'peak_memory_bytes') / 1e9:>6.2f} GB")


def ratio(speeds, name, peer, is_same_type):
    """How many times as fast a row of Genera is as the fastest of the peer's; blank where there is none."""
    words = lambda row: row.replace(",", "").split()
    program, dtype = words(name)[:2]
    wanted = {peer, dtype} if is_same_type else {peer}
    others = [speed for row, speed in speeds.items() if wanted <= set(words(row))]
    return f"{speeds[name] / max(others):.2f}" if program == "genera" and others else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genera", help="the program, built with --release")
    parser.add_argument("--quick", action="store_true", help="each peer's fastest mode alone, two rounds")
    parser.add_argument("--models", default="a,b,c,encoder-decoder", help="comma between")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma between")
    arguments = parser.parse_args()
    arguments.peers = arguments.peers.split(",")
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"--peers: {', '.join(unknown)} is none of {', '.join(PEERS)}")
    built = {peer: build(peer) for peer in arguments.peers if peer != "pytorch"}
    arguments.built = {peer: program for peer, program in built.items() if program}
    for model in arguments.models.split(","):
        compare(arguments, model)


if __name__ == "__main__":
    main()
