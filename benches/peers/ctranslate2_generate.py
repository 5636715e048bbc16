#!/usr/bin/env python3
"""Compares the speed at which Genera and CTranslate2 let an encoder-decoder of T5-small's shape write, pair by pair.

    ctranslate2_generate.py GENERA [--rounds N] [--batch 8] [--tokens 64] [--prompt-tokens 64]

The weights are random, made anew: speed does not depend on them. Both write greedily, exactly so many tokens for every
row, and read the same number of source tokens before. A line has the medians of rounds in which the two take turns, and
the median of their ratios.

Needs: pip install torch transformers ctranslate2
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("genera")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return peer(arguments, *arguments.peer)
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        make(directory)
        print(f"{'':<22}{'genera':>10}{'CTranslate2':>13}{'ratio':>8}   tokens/s, reading included")
        for name, ours, theirs in [("f32", "f32", "float32"), ("int8", "q8_0", "int8")]:
            pairs = []
            for _ in range(arguments.rounds):
                pairs.append((genera(arguments, directory / "hf", ours), other(arguments, directory / "ct2", theirs)))
            mine, yours = (statistics.median(side) for side in zip(*pairs))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{name:<22}{mine:>10.0f}{yours:>13.0f}{ratio:>8.2f}", flush=True)


def make(directory):
    """The model in both layouts."""
    import ctranslate2
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1, feed_forward_proj="relu", tie_word_embeddings=True,
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(directory / "hf")
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, 32100)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(directory / "hf")
    ctranslate2.converters.TransformersConverter(str(directory / "hf")).convert(str(directory / "ct2"))


def genera(arguments, model, precision):
    settings = ["--prompt-tokens", str(arguments.prompt_tokens), "--tokens", str(arguments.tokens)]
    settings += ["--batch", str(arguments.batch), "--rounds", "1", "--threads", str(arguments.threads)]
    command = [arguments.genera, "bench", "generate", "--json", "--model", str(model), "--precision", precision, *settings]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    n = arguments.batch
    seconds = n * arguments.prompt_tokens / measured["prefill_tokens_per_s"]
    seconds += n * (arguments.tokens - 1) / measured["decode_tokens_per_s"]
    return n * arguments.tokens / seconds


def other(arguments, model, compute_type):
    command = [sys.executable, __file__, arguments.genera, "--peer", str(model), compute_type]
    command += ["--batch", str(arguments.batch), "--tokens", str(arguments.tokens)]
    command += ["--prompt-tokens", str(arguments.prompt_tokens), "--threads", str(arguments.threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peer(arguments, model, compute_type):
    import random

    import ctranslate2

    translator = ctranslate2.Translator(
        model, device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=arguments.threads
    )
    draw = random.Random(1)
    source = [[f"w{draw.randrange(3, 32100)}" for _ in range(arguments.prompt_tokens)] for _ in range(arguments.batch)]
    settings = dict(beam_size=1, min_decoding_length=arguments.tokens, max_decoding_length=arguments.tokens)
    # The first call makes room.
    translator.translate_batch(source, **(settings | {"min_decoding_length": 2, "max_decoding_length": 2}))
    start = time.perf_counter()
    results = translator.translate_batch(source, max_batch_size=arguments.batch, **settings)
    seconds = time.perf_counter() - start
    n_tokens = sum(len(result.hypotheses[0]) for result in results)
    assert n_tokens == arguments.batch * arguments.tokens, n_tokens
    print(n_tokens / seconds)


if __name__ == "__main__":
    main()
