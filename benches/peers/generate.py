#!/usr/bin/env python3
"""Compares the speed at which Genera reads and writes with that of llama.cpp, on the same GGUF files, pair by pair.

    generate.py GENERA MODEL.gguf [--quick] [--rounds N] [--formats q4_0,q8_0]

The model is written anew in each format by `genera quantize`. Every line has the medians of rounds in which the two take
turns, and the median of their ratios. Peak memory of llama.cpp is without what Python takes.

Needs: pip install --no-binary llama-cpp-python llama-cpp-python (which builds llama.cpp for this processor)
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

PEER = pathlib.Path(__file__).with_name("llama_cpp_generate.py")
FORMATS = ["q4_0", "q4_1", "q8_0", "q4_k", "q6_k", "f16", "bf16", "f32"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("genera")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--quick", action="store_true", help="one round, and only the file as it is, q4_0 and q8_0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--formats", type=lambda text: text.split(","), default=FORMATS)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rounds, formats = (1, ["q4_0", "q8_0"]) if arguments.quick else (arguments.rounds, arguments.formats)
    print(f"{'':<34}{'genera':>10}{'llama.cpp':>11}{'ratio':>8}   tokens/s")
    with tempfile.TemporaryDirectory() as directory:
        files = [("as it is", arguments.model)]
        for name in formats:
            path = str(pathlib.Path(directory) / f"{name}.gguf")
            command = [arguments.genera, "quantize", "--no-perplexity", "--model", arguments.model, "--to", name, path]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            files.append((name, path))
        for name, path in files:
            one(arguments, rounds, name, path)


def one(arguments, rounds, name, path):
    """All lines of one file."""
    for batch in [1, 8]:
        settings = ["--prompt-tokens", "512" if batch == 1 else "64", "--tokens", "128", "--batch", str(batch)]
        settings += ["--rounds", "1", "--threads", str(arguments.threads)]
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(measured([arguments.genera, "bench", "generate", "--json", "--model", path, *settings]))
            theirs.append(measured([sys.executable, str(PEER), path, *settings]))
        if batch == 1:
            line(f"{name}, prefill of 512", ours, theirs, "prefill_tokens_per_s")
        line(f"{name}, decode, {batch} at once", ours, theirs, "decode_tokens_per_s")
        if batch == 1:
            line(f"{name}, peak memory, MB", ours, theirs, "peak_memory_bytes", 1e6)
    whole_context(arguments, name, path)
    first_token(arguments, rounds, name, path)


def whole_context(arguments, name, path):
    """Peak memory where prompt and answer together have 2,048 tokens; once, since it does not vary."""
    settings = ["--prompt-tokens", "1920", "--tokens", "128", "--rounds", "1", "--threads", str(arguments.threads)]
    ours = measured([arguments.genera, "bench", "generate", "--json", "--model", path, *settings])
    theirs = measured([sys.executable, str(PEER), path, *settings])
    line(f"{name}, the same at 2,048", [ours], [theirs], "peak_memory_bytes", 1e6)


def first_token(arguments, rounds, name, path):
    """Milliseconds from the start to the first token of a short answer: of Genera's whole process, its end included; of
    llama.cpp's loading, preparing and reading, without the start of Python."""
    command = [arguments.genera, "generate", "--model", path, "--threads", str(arguments.threads)]
    command += ["--prompt", "The capital of France is", "--max-tokens", "1", "--temperature", "0"]
    settings = ["--prompt-tokens", "5", "--tokens", "1", "--rounds", "1", "--threads", str(arguments.threads)]
    ours, theirs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        ours.append({"first_token_seconds": time.perf_counter() - start})
        theirs.append(measured([sys.executable, str(PEER), path, *settings]))
    line(f"{name}, first token, ms", ours, theirs, "first_token_seconds", 1e-3)


def line(name, ours, theirs, key, unit=1.0):
    """Medians, and the median of the ratios pair by pair."""
    ratio = statistics.median(a[key] / b[key] for a, b in zip(ours, theirs))
    ours, theirs = (statistics.median(round[key] for round in rounds) / unit for rounds in (ours, theirs))
    print(f"{name:<34}{ours:>10.1f}{theirs:>11.1f}{ratio:>8.2f}", flush=True)


def measured(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


main()
