#!/usr/bin/env python3
"""Compares what Genera and llama.cpp compute from one GGUF file: logits of a conversation, and greedy texts.

    llama_cpp_agrees.py GENERA MODEL.gguf

Logits are compared with those of the weights widened to f32 (`genera logits --precision f32`): root mean square and largest
difference over all positions. Greedy texts are those of `genera generate --precision f32`; of a file in f32 they are the
same, of a quantised one need not be, for llama.cpp rounds what it multiplies.

Needs: pip install numpy --no-binary llama-cpp-python llama-cpp-python
"""

import json
import subprocess
import sys

import llama_cpp
import numpy

CONVERSATION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = ["The capital of France is", "def add(a, b):", "Once upon a time"]
N_TOKENS = 24


def main():
    genera, path = sys.argv[1:]
    llama = llama_cpp.Llama(path, n_ctx=256, verbose=False, logits_all=True)
    tokens = llama.tokenize(CONVERSATION.encode(), add_bos=False, special=True)
    llama.eval(tokens)
    widened = logits(genera, path, "f32", tokens)
    for name, found in [
        ("genera, as stored", logits(genera, path, "stored", tokens)),
        ("llama.cpp", numpy.array(llama.scores[: len(tokens)])),
    ]:
        difference = found - widened
        rms, largest = numpy.sqrt((difference**2).mean()), numpy.abs(difference).max()
        print(f"{name:<18} {len(tokens)} tokens: root mean square {rms:.2g}, largest {largest:.2g}, likeliest {found[-1].argmax()}")
    for prompt in PROMPTS:
        llama.reset()
        theirs = prompt + llama.create_completion(prompt, max_tokens=N_TOKENS, temperature=0)["choices"][0]["text"]
        ours = run(genera, "generate", path, "f32", "--prompt", prompt, "--temperature", "0", "--max-tokens", str(N_TOKENS))
        print(f"{prompt!r}: {'the same' if ours.strip() == theirs.strip() else f'{ours.strip()!r}, there {theirs!r}'}")


def logits(genera, path, precision, tokens):
    done = json.loads(run(genera, "logits", path, precision, "--tokens", ",".join(map(str, tokens)), "--json"))
    return numpy.array(done["logits"], dtype=numpy.float32).reshape(len(tokens), -1)


def run(genera, command, path, precision, *options):
    arguments = [genera, command, "--model", path, "--precision", precision, *options]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


main()
