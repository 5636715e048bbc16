#!/usr/bin/env python3
"""Compares the speed of `genera bench train` with that of PyTorch, candle and burn on the same work, in interleaved rounds.

    compare.py GENERA [--quick] [--models a,b] [--peers pytorch,burn] [--threads N]

Every round runs each program once, every other round in the opposite order, so that what else the machine does meets all of
them. Prints for each program the median over the rounds, and how many times as fast Genera is, round by round: as PyTorch in the
same storage type, as the mode of PyTorch that is fastest over all rounds, and as the fastest of candle's and of burn's; the median,
and what is asked where something is. Memory stands with its ratio to that of PyTorch's mode that takes least; the share of the peak is
that of Genera's arithmetic. candle and burn train models a and b, in f32. Each peer runs as it is, and with freed memory kept, in
large pages where the system has them, as Genera does by itself; a quick comparison runs PyTorch as it is once, for its memory.

A row that fails is named with the reason. The exit code is 1 where that is one of Genera's, or a peer has no row at all.

Needs: pip install -r requirements.txt, and a C++ compiler for torch.compile; cargo for candle and burn, whose first build takes
minutes
"""

import argparse
import pathlib
import statistics
import subprocess
import sys

from programs import KEEP_MEMORY, Failed, kept, machine, measure, reason, record, record_ratio, some_of, threads, version

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
MODELS = ["a", "b", "c", "encoder-decoder"]
# The models that each peer trains.
PEERS = {"pytorch": MODELS, "candle": ["a", "b"], "burn": ["a", "b"]}
PYTORCH_MODES = {"eager": [], "compile": ["--compile"]}
# Title, the peer whose rows Genera's are related to, and whether only to those of the same storage type.
RATIOS = [
    ("to the best of its type", "pytorch", True),
    ("to the best of all", "pytorch", False),
    ("to candle", "candle", False),
    ("to burn", "burn", False),
]
# (Title of the ratio, model, storage type) -> what is asked of it at least.
ASKED = {
    ("to the best of its type", "a", "f32"): 1.15,
    ("to the best of all", "a", "bf16"): 1.25,
    ("to the best of all", "b", "bf16"): 2.0,
    ("to the best of all", "c", "bf16"): 1.15,
    ("to the best of all", "encoder-decoder", "bf16"): 1.2,
}
for peer, asked in [("candle", 5.0), ("burn", 3.5)]:
    ASKED |= {(f"to {peer}", model, "bf16"): asked for model in PEERS[peer]}
# Share of the peak of products that is asked of model A in bf16.
ASKED_SHARE = 0.65


def build(peer):
    """The program of a peer that is written in Rust."""
    target = HERE / peer / "target"
    command = ["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", str(target)]
    print(f"building {peer}", file=sys.stderr)
    try:
        # In its own directory: cargo reads the flags of the compiler from there.
        done = subprocess.run(command, cwd=HERE / peer, capture_output=True, text=True)
    except OSError as error:
        raise Failed(f"cannot start cargo: {error}")
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        raise Failed(f"cannot be built: {reason(done)}")
    return target / "release" / f"genera-peer-{peer}"


def build_all(peers):
    """Peer -> its program, and peer -> why there is none."""
    built, failures = {}, {}
    for peer in peers:
        try:
            built[peer] = build(peer)
        except Failed as why:
            failures[peer] = why
    return built, failures


def modes(name, command, environment):
    """A peer's rows: as it is, and with freed memory kept."""
    return {name: (command, environment), f"{name}, {kept()}": (command, environment | KEEP_MEMORY)}


def programs(arguments, model, steps):
    """Name of the row -> (command, environment)."""
    table = {}
    recipe = ROOT / "recipes" / f"bench-{model}.toml"
    given = ["--threads", arguments.threads] if arguments.threads else []
    for dtype in ["f32", "bf16"]:
        ours = [arguments.genera, "bench", "train", recipe, "--set", f"train.dtype={dtype}", "--steps", steps, "--json"]
        table[f"genera {dtype}"] = ([*ours, *given], {})
        for mode, options in PYTORCH_MODES.items() if "pytorch" in arguments.peers else []:
            peer = [sys.executable, HERE / "pytorch_train.py", model, "--dtype", dtype, "--steps", steps, *given, *options]
            table |= modes(f"pytorch {mode} {dtype}", peer, {})
    for peer, program in arguments.built.items():
        if model in PEERS[peer]:
            # A step of candle takes several times as long as one of the others.
            n_steps = max(3, steps // 3) if peer == "candle" else steps
            environment = {"RAYON_NUM_THREADS": str(arguments.threads)} if arguments.threads else {}
            table |= modes(f"{peer} f32", [program, model, "--steps", n_steps], environment)
    return table


def rounds_of(name, is_quick, n_rounds):
    """How often a row is measured."""
    as_it_is = not is_ours(name) and kept() not in name
    memory_alone = 1 if words(name)[0] == "pytorch" else 0
    return memory_alone if is_quick and as_it_is else n_rounds


def measure_rounds(table, model, is_quick, n_rounds):
    """Row -> round -> its result, and row -> the reasons for those that lack."""
    results, failures, n_parameters = {name: {} for name in table}, {}, None
    for i in range(n_rounds):
        rows = [name for name in table if i < rounds_of(name, is_quick, n_rounds)]
        for name in rows if i % 2 == 0 else reversed(rows):
            command, environment = table[name]
            print(f"model {model}, round {i + 1} of {n_rounds}: {name}", file=sys.stderr)
            try:
                result = measure(command, environment)
                # Genera's come first.
                n_parameters = n_parameters or result.get("n_parameters")
                if (found := result.get("n_parameters")) is None:
                    raise Failed("does not say how many weights its model has")
                if found != n_parameters:
                    raise Failed(f"another model: {found:,} weights instead of {n_parameters:,}")
                results[name][i] = result
            except Failed as why:
                print(f"  failed: {why}", file=sys.stderr)
                failures.setdefault(name, []).append(str(why))
    return {name: rows for name, rows in results.items() if rows}, failures


def versions(genera, results):
    """What was run, in one line."""
    found = {}
    for name, rows in results.items():
        row = next(iter(rows.values()))
        device = f" ({row['device']})" if "device" in row else ""
        found[name.split()[0]] = f"{row.get('version', genera)}{device}"
    return ", ".join(f"{program} {version}" for program, version in found.items())


def compare(arguments, model):
    """Prints the table of a model; returns what is missing from it."""
    steps, n_rounds = (5, 2) if arguments.quick else (10, 5)
    table = programs(arguments, model, steps)
    results, failures = measure_rounds(table, model, arguments.quick, n_rounds)
    unbuilt = {peer: [str(why)] for peer, why in arguments.unbuilt.items() if model in PEERS[peer]}
    print(f"\n{machine()}\n{versions(arguments.version, results)}")
    print(f"model {model}, medians of {n_rounds} rounds of {steps} steps")
    counts = {name: rounds_of(name, arguments.quick, n_rounds) for name in table}
    show(results, failures | unbuilt, model, counts, n_rounds)
    ours = [f"model {model}: {name} failed" for name in failures if name.startswith("genera")]
    peers = [peer for peer in arguments.peers if model in PEERS[peer]]
    return ours + [f"model {model}: {peer} has no row" for peer in peers if not any(name.startswith(peer) for name in results)]


def show(results, failures, model, counts, n_rounds):
    """Prints a line for each row that there is, and one for each that failed."""
    speeds, memory = medians(results, "tokens_per_s"), medians(results, "peak_memory_bytes")
    # What ran once, for its memory, is compared with nothing else.
    whole = {name: rows for name, rows in results.items() if counts[name] == n_rounds}
    speeds_of_rounds = {name: {i: row["tokens_per_s"] for i, row in rows.items()} for name, rows in whole.items()}
    shares = medians({name: rows for name, rows in results.items() if is_ours(name)}, "share_of_peak")
    width = max(map(len, results | failures))
    columns = [max(len(title), len("1.00 (1.15)")) for title, _, _ in RATIOS]
    titles = "".join(f"  {title:>{column}}" for column, (title, _, _) in zip(columns, RATIOS))
    print(f"{'':<{width}} {'tokens/s':>9}{titles}  {'memory':>9}  {'of PyTorch':>12}  {'of the peak':>11}")
    for name, speed in speeds.items():
        cells = [ratio(speeds_of_rounds, name, model, *of) for of in RATIOS]
        ratios = "".join(f"  {cell:>{column}}" for column, cell in zip(columns, cells))
        share = f"{100 * shares[name]:.0f} %" if name in shares else ""
        of_pytorch = share_of_memory(memory, name)
        line = f"{name:<{width}} {speed:>9,.0f}{ratios}  {memory[name] / 1e9:>6.2f} GB"
        print(f"{line}  {'' if of_pytorch is None else f'{of_pytorch:.2f}':>12}  {share:>11}".rstrip())
    record_all(model, speeds_of_rounds, memory, shares)
    for name, reasons in failures.items():
        how_often = "" if name not in results else f" in {len(reasons)} of {counts.get(name, n_rounds)} rounds"
        print(f"{name:<{width}}    failed{how_often}: {reasons[-1]}", flush=True)


def medians(results, key):
    """Row -> the median of one of its figures."""
    return {name: statistics.median(result[key] for result in rows.values()) for name, rows in results.items()}


def record_all(model, speeds, memory, shares):
    """Puts what is asked of a model into the table of all figures."""
    for title, peer, is_same_type in RATIOS:
        for dtype in ["f32", "bf16"]:
            if asked := ASKED.get((title, model, dtype)):
                beside = f"PyTorch, {title}" if peer == "pytorch" else peer
                ratios = best_ratios(speeds, f"genera {dtype}", peer, is_same_type)
                record_ratio(f"training, model {model}, {dtype}, beside {beside}", asked, ratios)
    has_pytorch = any(words(name)[0] == "pytorch" for name in memory)
    for dtype in ["f32", "bf16"] if has_pytorch else []:
        what, share = f"peak memory, model {model}, {dtype}, of PyTorch's", share_of_memory(memory, f"genera {dtype}")
        record(what, "≤ 1.00", *("no row of both",) if share is None else (f"{share:.2f}", share <= 1))
    if model == "a":
        what, share = "share of the peak of products, model a, bf16", shares.get("genera bf16")
        record(what, f"≥ {ASKED_SHARE}", *("no row",) if share is None else (f"{share:.2f}", share >= ASKED_SHARE))


def words(row):
    """A row's name in its words: the program, and how it computes."""
    return row.replace(",", "").split()


def is_ours(row):
    """Whether a row is one of Genera's."""
    return words(row)[0] == "genera"


def ratio(speeds, name, model, title, peer, is_same_type):
    """How many times as fast a row of Genera is as the fastest of the peer's, and what is asked; blank where there is none."""
    found = best_ratios(speeds, name, peer, is_same_type) if is_ours(name) else []
    if not found:
        return ""
    asked = ASKED.get((title, model, words(name)[1]))
    return f"{statistics.median(found):.2f}" + (f" ({asked:.2f})" if asked else "")


def best_ratios(speeds, name, peer, is_same_type):
    """How many times as fast a row is as the peer's that is fastest over all rounds, in each round that has both."""
    wanted = {peer, words(name)[1]} if is_same_type else {peer}
    others = [rounds for row, rounds in speeds.items() if wanted <= set(words(row))]
    ours = speeds.get(name, {})
    best = max(others, key=lambda rounds: statistics.median(rounds.values()), default={})
    return [ours[i] / best[i] for i in ours if i in best]


def share_of_memory(memory, name):
    """Memory of a row of Genera, as a share of the least that PyTorch takes; None where there is none."""
    others = [n_bytes for row, n_bytes in memory.items() if words(row)[0] == "pytorch"]
    return memory[name] / min(others) if is_ours(name) and name in memory and others else None


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genera", help="the program, built with --release")
    parser.add_argument("--quick", action="store_true", help="each peer with freed memory kept alone, PyTorch as it is once, two rounds")
    parser.add_argument("--models", type=some_of(MODELS), default=MODELS, help=f"of {', '.join(MODELS)}; comma between")
    parser.add_argument("--peers", type=some_of(PEERS), help=f"of {', '.join(PEERS)}; comma between")
    parser.add_argument("--threads", type=threads, help="of every program (default: as many as each of them takes)")
    arguments = parser.parse_args()
    trains = lambda peer: set(PEERS[peer]) & set(arguments.models)
    for peer in arguments.peers or []:
        if not trains(peer):
            parser.error(f"--peers: {peer} trains {' and '.join(PEERS[peer])} alone, of which --models has none")
    arguments.peers = arguments.peers or [peer for peer in PEERS if trains(peer)]
    return arguments


def main():
    arguments = parse_arguments()
    try:
        arguments.version = version(arguments.genera)
    except Failed as why:
        sys.exit(str(why))
    arguments.built, arguments.unbuilt = build_all(peer for peer in arguments.peers if peer != "pytorch")
    missing = [line for model in arguments.models for line in compare(arguments, model)]
    if missing:
        sys.exit("\n".join(missing))


if __name__ == "__main__":
    main()
