#!/usr/bin/env python3
"""Compares the speed of `genera bench train` on one thread with that on all cores, in interleaved rounds.

    scaling.py GENERA [--quick] [--models a,b,c] [--threads N]

The two run one after the other, in turns first, so that what else the machine does meets both. Prints the medians, and of the
ratios of the rounds the median, the least and the largest. From one to two cores 1.8 was asked.
"""

import argparse
import pathlib
import statistics
import sys

from programs import Failed, machine, measure, n_cores, record_ratio, some_of, threads, version, with_range

RECIPES = pathlib.Path(__file__).parent.parent.parent / "recipes"
MODELS = ["a", "b", "c", "encoder-decoder"]
DTYPES = ["f32", "bf16"]


def measure_rounds(arguments, model, n_steps, n_rounds):
    """Storage type -> rounds of (result of one thread, result of all)."""
    rounds = {dtype: [] for dtype in DTYPES}
    for i in range(n_rounds):
        for dtype in DTYPES:
            print(f"model {model}, round {i + 1} of {n_rounds}: {dtype}", file=sys.stderr)
            command = [arguments.genera, "bench", "train", RECIPES / f"bench-{model}.toml", "--set", f"train.dtype={dtype}"]
            counts = [1, arguments.threads] if i % 2 == 0 else [arguments.threads, 1]
            both = {n: measure([*command, "--steps", n_steps, "--json", "--threads", n]) for n in counts}
            rounds[dtype].append((both[1], both[arguments.threads]))
    return rounds


def show(model, dtype, rounds, n_threads):
    one, all_cores = ([result["tokens_per_s"] for result in side] for side in zip(*rounds))
    ratios = [b / a for a, b in zip(one, all_cores)]
    if n_threads == 2:
        record_ratio(f"two threads beside one, model {model}, {dtype}", 1.8, ratios)
    medians = "{:>10,.0f} {:>11,.0f}".format(statistics.median(one), statistics.median(all_cores))
    print(f"{model:<16} {dtype:<5}{medians}   {with_range(ratios)}", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genera", help="the program, built with --release")
    parser.add_argument("--quick", action="store_true", help="two rounds of three steps instead of five of ten")
    parser.add_argument("--models", type=some_of(MODELS), default=MODELS[:3], help=f"of {', '.join(MODELS)} (default a,b,c)")
    parser.add_argument("--threads", type=threads, default=n_cores(), help="beside one (default: all cores)")
    arguments = parser.parse_args()
    if arguments.threads == 1:
        parser.error("there is nothing to compare with one thread: a machine with two cores or more is wanted, or --threads N")
    return arguments


def main():
    arguments = parse_arguments()
    n_steps, n_rounds = (3, 2) if arguments.quick else (10, 5)
    for model in arguments.models:
        try:
            rounds = measure_rounds(arguments, model, n_steps, n_rounds)
        except Failed as why:
            sys.exit(f"genera, model {model}: {why}")
        if model == arguments.models[0]:
            device = rounds["f32"][0][1]["device"]
            print(f"\n{machine()}\ngenera {version(arguments.genera)} ({device}), beside one thread")
            print(f"tokens/s, medians of {n_rounds} rounds of {n_steps} steps; from 1 to 2 threads a ratio of 1.8 was asked")
            print(f"{'':<22}{'1 thread':>10} {f'{arguments.threads} threads':>11}   ratio (least to largest)")
        for dtype in DTYPES:
            show(model, dtype, rounds[dtype], arguments.threads)


if __name__ == "__main__":
    main()
