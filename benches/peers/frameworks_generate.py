#!/usr/bin/env python3
"""Compares the speed at which Genera reads and writes with PyTorch (transformers) and candle, pair by pair.

    frameworks_generate.py GENERA MODEL.gguf [--rounds N] [--candle]

PyTorch gets the model in the Hugging Face layout, in f32 and in bf16, candle the GGUF file itself. Each is told to use two
threads and does the work of `genera bench generate`: 512 tokens of a prompt, then 128 tokens, greedily. Every line has the
medians of rounds in which the two take turns, and the median of their ratios.

Needs: pip install torch transformers; for --candle cargo, whose first build takes minutes
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
KEYS = [("prefill", "prefill_tokens_per_s"), ("decode", "decode_tokens_per_s")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("genera")
    parser.add_argument("model", help="a GGUF file of a Llama")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--candle", action="store_true")
    parser.add_argument("--torch", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch:
        return pytorch(arguments, *arguments.torch)
    print(f"{'':<40}{'genera':>10}{'other':>10}{'ratio':>8}   tokens/s")
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        quiet = dict(check=True, stdout=subprocess.DEVNULL)
        hf = directory / "hf"
        subprocess.run([arguments.genera, "export", "--model", arguments.model, "--to", "hf", hf], **quiet)
        for dtype in ["float32", "bfloat16"]:
            name = {"float32": "f32", "bfloat16": "bf16"}[dtype]
            file = directory / f"{name}.gguf"
            quantize = [arguments.genera, "quantize", "--no-perplexity", "--model", arguments.model, "--to", name, file]
            subprocess.run(quantize, **quiet)
            other = [sys.executable, __file__, "-", "-", "--torch", str(hf), dtype]
            compare(arguments, f"{name}, PyTorch {dtype}", [file], other + sizes(arguments))
    if arguments.candle:
        manifest = HERE / "candle" / "Cargo.toml"
        build = ["cargo", "build", "--release", "--manifest-path", manifest, "--bin", "generate"]
        environment = os.environ | {"RUSTFLAGS": "-C target-cpu=native"}
        subprocess.run(build, check=True, env=environment)
        program = HERE / "candle" / "target" / "release" / "generate"
        other = [str(program), arguments.model, str(arguments.prompt_tokens), str(arguments.tokens)]
        compare(arguments, "the file as it is, candle", [arguments.model], other)


def sizes(arguments):
    return ["--prompt-tokens", str(arguments.prompt_tokens), "--tokens", str(arguments.tokens)] + [
        "--threads",
        str(arguments.threads),
    ]


def compare(arguments, name, model, other):
    ours = [arguments.genera, "bench", "generate", "--json", "--rounds", "1", "--model", *model, *sizes(arguments)]
    environment = os.environ | {"RAYON_NUM_THREADS": str(arguments.threads)}
    pairs = []
    for _ in range(arguments.rounds):
        runs = [subprocess.run(command, check=True, capture_output=True, env=environment) for command in (ours, other)]
        pairs.append([json.loads(run.stdout) for run in runs])
    for title, key in KEYS:
        mine, yours = (statistics.median(run[key] for run in side) for side in zip(*pairs))
        ratio = statistics.median(a[key] / b[key] for a, b in pairs)
        print(f"{name + ', ' + title:<40}{mine:>10.1f}{yours:>10.1f}{ratio:>8.2f}", flush=True)


def pytorch(arguments, directory, dtype):
    import torch
    import transformers

    torch.set_num_threads(arguments.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(model.config.vocab_size, (1, arguments.prompt_tokens), generator=generator)

    @torch.inference_mode()
    def write(tokens, n):
        start = time.perf_counter()
        out = model(input_ids=tokens, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1:].argmax(-1)
        prefill = time.perf_counter() - start
        for _ in range(n - 1):
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        return prefill, time.perf_counter() - start - prefill

    # The first call makes room.
    write(tokens[:, :16], 2)
    prefill, decode = write(tokens, arguments.tokens)
    rates = {"prefill_tokens_per_s": arguments.prompt_tokens / prefill}
    print(json.dumps(rates | {"decode_tokens_per_s": (arguments.tokens - 1) / decode}))


main()
