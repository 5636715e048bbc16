#!/usr/bin/env python3
"""Compares Genera's matrix products and attention with those of PyTorch and of the Rust crates gemm and faer, shape by shape.

    kernels.py GENERA [--quick] [--peers pytorch,gemm] [--threads N]

The shapes are those of `genera bench machine --all`. The programs take turns, and each figure is the best over all rounds, since
what else the machine does can only make one slower. The peers keep freed memory, in large pages where the system has them, as Genera
does by itself. A ratio says how many times as fast Genera is. A peer that cannot be built or
started is left out, with the reason, and the exit code is 1.

Needs: pip install -r requirements.txt; cargo
"""

import argparse
import json
import pathlib
import statistics
import sys

from programs import KEEP_MEMORY, Failed, machine, measure, record, record_ratio, some_of, threads, version

HERE = pathlib.Path(__file__).parent
CARGO = ["cargo", "run", "--release", "--quiet", "--locked"]
# Command, environment, directory (where cargo looks for its settings).
PEERS = {
    "pytorch": ([sys.executable, HERE / "pytorch_kernels.py"], KEEP_MEMORY, HERE),
    "gemm": (CARGO, KEEP_MEMORY, HERE / "products"),
    "faer": ([*CARGO, "--features", "own-kernels"], KEEP_MEMORY, HERE / "products"),
}
LABELS = {
    "products": "{layer:<10} {n_tokens:>6} {n_in:>6} {n_out:>6}  {product:<16}",
    "attention": "{n_heads} heads of {d_head}, T = {context_len}",
}
DTYPES = ["f32", "bf16"]
# Product -> how many times as fast as PyTorch's each of model A's is to be in bf16; and attention, in both types.
ASKED = {"forward": 1.0, "input gradient": 1.0, "weight gradient": 0.95}
ASKED_OF_ATTENTION = 1.2


def keep_best(table, measured):
    """Puts into `table`, (kind, dtype) -> label -> row, the rows that are faster than what it holds."""
    for kind, label in LABELS.items():
        for dtype in DTYPES:
            rate = f"{dtype}_flops_per_s"
            rows = table.setdefault((kind, dtype), {})
            for row in measured.get(kind, []):
                name = label.format(**row)
                if row.get(rate, 0) > rows.get(name, {}).get(rate, 0):
                    rows[name] = row


def measure_all(arguments, n_rounds):
    """Name of the program -> table of its best rows, -> what it says of itself, and -> why a peer is left out."""
    tables = {"genera": {}} | {name: {} for name in arguments.peers}
    devices, failures = {}, {}
    given = ["--threads", arguments.threads] if arguments.threads else []
    for i in range(n_rounds):
        for name in list(tables):
            print(f"kernels, round {i + 1} of {n_rounds}: {name}", file=sys.stderr)
            if name == "genera":
                measured = shapes = measure([arguments.genera, "bench", "machine", "--all", "--json", *given])
            else:
                try:
                    measured = measure(*PEERS[name], given=json.dumps(shapes))
                except Failed as why:
                    failures[name] = why
                    del tables[name]
                    continue
            devices[name] = measured["device"]
            keep_best(tables[name], measured)
    return tables, {name: devices[name] for name in tables}, failures


def ratios_to(tables, peer, kind, dtype):
    """Label -> how many times as fast Genera is as the peer."""
    rate, ours = f"{dtype}_flops_per_s", tables["genera"][kind, dtype]
    return {label: ours[label][rate] / row[rate] for label, row in tables[peer][kind, dtype].items()}


def show(tables, kind, dtype, unit, figure):
    """Prints one line a shape: Genera's figure, and that of every peer with the ratio of the rates."""
    ours, *peers = ((name, table[kind, dtype]) for name, table in tables.items() if table[kind, dtype])
    ratios = {name: ratios_to(tables, name, kind, dtype) for name, _ in peers}
    width = max(map(len, ours[1]))
    print(f"\n{f'{kind} in {dtype}, {unit}':<{width}} {'genera':>8}" + "".join(f" {name:>9} ratio" for name in ratios))
    for label, row in ours[1].items():
        line = f"{label:<{width}} {figure(row, dtype):>8.1f}"
        for name, rows in peers:
            measured = label in rows
            line += f" {figure(rows[label], dtype):>9.1f} {ratios[name][label]:>5.2f}" if measured else f" {'–':>9} {'':5}"
        print(line)
    if peers:
        means = (statistics.geometric_mean(of_peer.values()) for of_peer in ratios.values())
        print(f"{'geometric mean':<{width}} {'':8}" + "".join(f" {'':9} {mean:>5.2f}" for mean in means))


def record_all(tables):
    """Puts what is asked beside PyTorch into the table of all figures: of each kind of product the slowest shape."""
    if "pytorch" not in tables:
        record("products and attention beside PyTorch's", "≥ 1.00", "no row of PyTorch")
        return
    products, ratios = tables["genera"]["products", "bf16"], ratios_to(tables, "pytorch", "products", "bf16")
    for product, asked in ASKED.items():
        what = f"products of model a, bf16, {product}, beside oneDNN"
        of_a = lambda row: row["product"] == product and row["layer"].startswith("A ")
        if rows := [(ratio, products[label]["layer"]) for label, ratio in ratios.items() if of_a(products[label])]:
            (worst, layer), (best, _) = min(rows), max(rows)
            record(what, f"≥ {asked:.2f} each", f"{worst:.2f} ({layer}) to {best:.2f}", worst >= asked)
        else:
            record_ratio(what, asked, [])
    for dtype in DTYPES:
        found = ratios_to(tables, "pytorch", "attention", dtype)
        for label in tables["genera"]["attention", dtype]:
            ratios = [found[label]] if label in found else []
            record_ratio(f"attention, {label}, {dtype}, beside PyTorch", ASKED_OF_ATTENTION, ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genera", help="the program, built with --release")
    parser.add_argument("--quick", action="store_true", help="two rounds instead of three")
    parser.add_argument("--peers", type=some_of(PEERS), default=list(PEERS), help=f"of {', '.join(PEERS)}; comma between")
    parser.add_argument("--threads", type=threads, help="of every program (default: all cores)")
    arguments = parser.parse_args()
    try:
        tables, devices, failures = measure_all(arguments, 2 if arguments.quick else 3)
    except Failed as why:
        sys.exit(f"genera: {why}")
    devices["genera"] = f"{version(arguments.genera)}, {devices['genera']}"
    print(f"\n{machine()}\n" + "\n".join(f"{name}: {device}" for name, device in devices.items()))
    for dtype in DTYPES:
        show(tables, "products", dtype, "GFLOP/s", lambda row, dtype: row[f"{dtype}_flops_per_s"] / 1e9)
        show(tables, "attention", dtype, "ms", lambda row, dtype: row[f"{dtype}_seconds"] * 1e3)
    record_all(tables)
    for name, why in failures.items():
        print(f"\n{name} is left out: {why}", flush=True)
    if failures:
        sys.exit(f"kernels: no rows of {', '.join(failures)}")


if __name__ == "__main__":
    main()
