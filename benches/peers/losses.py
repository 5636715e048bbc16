#!/usr/bin/env python3
"""Trains recipes/shakespeare-small.toml to its end in f32 and in bf16, from several seeds, and compares the validation losses.

    losses.py GENERA [--text FILE] [--quick] [--threads N]

Speed must not be paid for with quality: for every seed the two storage types are to differ by less than two seeds do in the
median. The text is tinyshakespeare, or another text of about a megabyte; where none is named, Genera's own documents and sources.
"""

import argparse
import itertools
import pathlib
import statistics
import sys
import tempfile

from programs import Failed, measure, record, threads

ROOT = pathlib.Path(__file__).parent.parent.parent
DTYPES = ["f32", "bf16"]
# As long as tinyshakespeare.
OWN_TEXT_LEN = 1_115_394


def own_text():
    """The documents of this repository and then its sources, in the order of their names, as far as they are wanted."""
    files = [path for pattern in ["*.md", "docs/**/*.md", "crates/**/*.rs"] for path in sorted(ROOT.glob(pattern))]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)[:OWN_TEXT_LEN]


def train(arguments, text, seed, dtype, directory):
    """The validation loss at the end, in nats."""
    sets = [f"data.files=['{text.resolve()}']", f"train.seed={seed}", f"train.dtype={dtype}"]
    command = [arguments.genera, "train", ROOT / "recipes/shakespeare-small.toml", "--json", "--run", directory]
    command += [word for setting in sets for word in ("--set", setting)]
    if arguments.threads:
        command += ["--threads", arguments.threads]
    return measure(command)["validation_loss"]


def compare(arguments, text, name):
    """Trains on a text with each seed and storage type, and prints the losses."""
    losses = {dtype: [] for dtype in DTYPES}
    print(f"\nvalidation loss of recipes/shakespeare-small.toml on {name}, in nats")
    print(f"seed {'f32':>10} {'bf16':>10} {'difference':>12}")
    for seed in range(1, 3 if arguments.quick else 5):
        for dtype in DTYPES:
            print(f"losses, seed {seed}: {dtype}", file=sys.stderr)
            try:
                with tempfile.TemporaryDirectory() as directory:
                    losses[dtype].append(train(arguments, text, seed, dtype, f"{directory}/run"))
            except Failed as why:
                sys.exit(f"genera, seed {seed}, {dtype}: {why}")
        f32, bf16 = (losses[dtype][-1] for dtype in DTYPES)
        print(f"{seed:<4} {f32:>10.4f} {bf16:>10.4f} {abs(f32 - bf16):>12.4f}", flush=True)
    of_dtypes = max(abs(f32 - bf16) for f32, bf16 in zip(*losses.values()))
    of_seeds = statistics.median(abs(a - b) for a, b in itertools.combinations(losses["f32"], 2))
    print(f"most between the storage types {of_dtypes:.4f}, median between two seeds in f32 {of_seeds:.4f}")
    what = f"bf16 beside f32, validation loss at the end, on {name}"
    record(what, f"< {of_seeds:.4f}", f"{of_dtypes:.4f}", of_dtypes < of_seeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genera", help="the program, built with --release")
    parser.add_argument("--text", type=pathlib.Path, help="the text to learn (default: Genera's own documents and sources)")
    parser.add_argument("--quick", action="store_true", help="two seeds instead of four")
    parser.add_argument("--threads", type=threads, help="(default: all cores)")
    arguments = parser.parse_args()
    if arguments.text:
        compare(arguments, arguments.text, arguments.text.name)
        return
    with tempfile.TemporaryDirectory() as directory:
        text = pathlib.Path(directory) / "own.txt"
        text.write_text(own_text(), encoding="utf-8")
        compare(arguments, text, "Genera's own documents and sources")


if __name__ == "__main__":
    main()
