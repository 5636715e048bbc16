#!/usr/bin/env python3
"""Compares `genera serve` with llama.cpp's server: the same GGUF file, the same users, round by round in turns.

    llama_cpp_server.py GENERA MODEL.gguf [--users 8] [--requests 4] [--tokens 64] [--rounds 3] [--threads 2]

Each user asks one question after another and reads the answer as a stream. Printed are the tokens per second of all users
together, and the 99th percentiles of the time to the first token and of the time between tokens, as medians of the rounds; as
a table, then as JSON.

llama.cpp's own program `llama-server` is taken where it is on the path, with a place for each user. Otherwise the server of the
Python package stands in (pip install 'llama-cpp-python[server]==0.3.36'), which answers one request after another.
"""

import argparse
import contextlib
import http.client
import importlib.util
import json
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

QUESTIONS = [
    "Tell me a short story about a lighthouse.", "How does a bicycle stay upright?", "Name three rivers and describe them.",
    "What is a good breakfast, and why?", "Explain what a prime number is.", "Write a letter to a friend about the sea.",
    "What do bees do in winter?", "Why is the sky blue in the day and red in the evening?",
]
SYSTEM = "You are a helpful assistant who answers in whole sentences and stays friendly."


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("genera")
    parser.add_argument("model", help="a GGUF file with a chat template")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--requests", type=int, default=4, help="of each user")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=2048, help="tokens of each user's context")
    arguments = parser.parse_args()
    servers = {"genera": genera, "llama.cpp": peer(arguments)}
    rounds = {name: [] for name in servers}
    for number in range(arguments.rounds):
        order = list(servers.items())
        for name, start in order if number % 2 == 0 else reversed(order):
            with start(arguments) as port:
                rounds[name].append(measure(port, arguments))
            print(f"round {number + 1}, {name}: {rounds[name][-1]}", file=sys.stderr)
    figures = {name: {key: statistics.median(one[key] for one in of) for key in of[0]} for name, of in rounds.items()}
    print(f"{arguments.users} users, {arguments.requests} answers each of {arguments.tokens} tokens, medians of {arguments.rounds} rounds\n")
    print(f"{'':<28}{'genera':>10}{'llama.cpp':>11}{'ratio':>8}")
    for key in figures["genera"]:
        ours, theirs = figures["genera"][key], figures["llama.cpp"][key]
        print(f"{key:<28}{ours:>10.3f}{theirs:>11.3f}{ours / theirs if theirs else float('nan'):>8.2f}")
    print(json.dumps({"peer": peer_name(), **figures}))


def peer_name():
    return "llama-server" if shutil.which("llama-server") else "llama_cpp.server of llama-cpp-python, one request at a time"


def peer(arguments):
    if shutil.which("llama-server"):
        return llama_server
    print("there is no llama-server on the path; the server of llama-cpp-python stands in, which takes one request at a time",
          file=sys.stderr)
    if importlib.util.find_spec("llama_cpp") is None or importlib.util.find_spec("uvicorn") is None:
        sys.exit("skipped: neither llama-server nor `pip install 'llama-cpp-python[server]==0.3.36'` is there")
    return llama_cpp_python


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port, path):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not answers(port, path):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(map(str, command))} does not answer")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def answers(port, path):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False


def genera(arguments):
    port = free_port()
    return running([arguments.genera, "serve", "--model", f"model={arguments.model}", "--port", str(port),
                    "--threads", str(arguments.threads), "--context", str(arguments.context)], port, "/health/ready")


def llama_server(arguments):
    port = free_port()
    return running(["llama-server", "-m", arguments.model, "--port", str(port), "-t", str(arguments.threads),
                    "-np", str(arguments.users), "-c", str(arguments.users * arguments.context)], port, "/health")


def llama_cpp_python(arguments):
    port = free_port()
    return running([sys.executable, "-m", "llama_cpp.server", "--model", arguments.model, "--port", str(port),
                    "--n_threads", str(arguments.threads), "--n_threads_batch", str(arguments.threads),
                    "--n_ctx", str(arguments.context), "--interrupt_requests", "False"], port, "/v1/models")


def measure(port, arguments):
    """All users at once; what is learned from the times at which parts come."""
    ask(port, QUESTIONS[0], 4)
    streams, lock = [], threading.Lock()

    def user(number):
        for i in range(arguments.requests):
            times = ask(port, QUESTIONS[(number + i) % len(QUESTIONS)], arguments.tokens)
            with lock:
                streams.append(times)

    start = time.perf_counter()
    users = [threading.Thread(target=user, args=(number,)) for number in range(arguments.users)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    seconds = time.perf_counter() - start
    if len(streams) < arguments.users * arguments.requests:
        sys.exit("a user got no answer")
    first = [times[1] - times[0] for times in streams]
    between = [b - a for times in streams for a, b in zip(times[1:], times[2:])]
    return {
        "tokens/s": sum(len(times) - 1 for times in streams) / seconds,
        "first token p99, s": percentile(first, 0.99),
        "between tokens p99, s": percentile(between, 0.99),
    }


def ask(port, question, n_tokens):
    """When the request was sent, and when each part of the answer came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    body = {
        "model": "model", "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
        "max_tokens": n_tokens, "temperature": 0, "stream": True,
    }
    times = [time.perf_counter()]
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"{response.status}: {response.read()[:300]}")
    for line in response:
        if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
            times.append(time.perf_counter())
    if len(times) < 3:
        sys.exit("an answer had no two parts")
    return times


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


main()
