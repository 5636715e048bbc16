#!/usr/bin/env python3
"""Prefill and decode rates of llama.cpp (Python package llama-cpp-python, built from its source distribution).

The same work as `genera bench generate`: prompts of random tokens, then greedy tokens. One JSON object on standard output. Rates are
those of a model that has been used once, since the file is only mapped before; memory is that of llama.cpp without what Python
takes.

    python llama_cpp_generate.py MODEL.gguf --prompt-tokens 512 --tokens 128 --batch 1 --threads 2 --rounds 3
"""

import argparse
import ctypes
import json
import random
import resource
import statistics
import time

import llama_cpp


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    llama_cpp.llama_backend_init()
    silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    taken_before = resident_bytes()
    start = time.perf_counter()
    model = llama_cpp.llama_model_load_from_file(arguments.model.encode(), llama_cpp.llama_model_default_params())
    load_seconds = time.perf_counter() - start
    if arguments.tokens > 1:
        measure(model, argparse.Namespace(batch=1, prompt_tokens=1, tokens=1, threads=arguments.threads), 0)
    rounds = [measure(model, arguments, seed) for seed in range(arguments.rounds)]
    first_token_seconds = load_seconds + rounds[0][0] + rounds[0][2]
    prefill = statistics.median(prefill for prefill, _, _ in rounds)
    decode = statistics.median(decode for _, decode, _ in rounds)
    n_steps = arguments.tokens - 1
    print(json.dumps({
        "load_seconds": load_seconds,
        "first_token_seconds": first_token_seconds,
        "prefill_tokens_per_s": arguments.batch * arguments.prompt_tokens / prefill,
        "decode_tokens_per_s": arguments.batch * n_steps / decode if n_steps else None,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - taken_before,
        "version": llama_cpp.__version__,
    }))


def resident_bytes():
    """Memory of this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def measure(model, arguments, seed):
    """Seconds of a prefill with the first tokens, of the other tokens, and of making a context."""
    start = time.perf_counter()
    n_batch, n_prompt = arguments.batch, arguments.prompt_tokens
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = n_batch * (n_prompt + arguments.tokens)
    params.n_batch = n_batch * n_prompt
    params.n_ubatch = min(512, n_batch * n_prompt)
    params.n_seq_max = n_batch
    params.n_threads = params.n_threads_batch = arguments.threads
    params.no_perf = True
    context = llama_cpp.llama_init_from_model(model, params)
    beginning = time.perf_counter() - start
    vocab = llama_cpp.llama_model_get_vocab(model)
    n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
    numbers = random.Random(seed)
    batch = llama_cpp.llama_batch_init(n_batch * n_prompt, 0, 1)
    greedy = llama_cpp.llama_sampler_init_greedy()

    def add(token, position, sequence, wanted):
        i = batch.n_tokens
        batch.token[i] = token
        batch.pos[i] = position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = wanted
        batch.n_tokens += 1
        return i

    start = time.perf_counter()
    batch.n_tokens = 0
    last = []
    for sequence in range(n_batch):
        for position in range(n_prompt):
            at = add(numbers.randrange(n_vocab), position, sequence, position == n_prompt - 1)
        last.append(at)
    assert llama_cpp.llama_decode(context, batch) == 0
    tokens = [llama_cpp.llama_sampler_sample(greedy, context, at) for at in last]
    prefill = time.perf_counter() - start
    for step in range(arguments.tokens - 1):
        batch.n_tokens = 0
        for sequence, token in enumerate(tokens):
            add(token, n_prompt + step, sequence, True)
        assert llama_cpp.llama_decode(context, batch) == 0
        tokens = [llama_cpp.llama_sampler_sample(greedy, context, at) for at in range(n_batch)]
    decode = time.perf_counter() - start - prefill
    llama_cpp.llama_sampler_free(greedy)
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    return prefill, decode, beginning


main()
