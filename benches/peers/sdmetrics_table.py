#!/usr/bin/env python3
"""Compares the report about a synthetic table with SDMetrics on the same files.

    sdmetrics_table.py REAL.csv SYNTHETIC.csv --program "genera"

Runs `genera evaluate --task table --json` and SDMetrics' QualityReport with numbers, dates and categories as Genera takes
them, and prints both. The exit code is 1 when shapes or trends differ by more than half a point.

Needs: pip install sdmetrics
"""

import argparse
import json
import shlex
import subprocess
import sys
import warnings

import pandas as pd
from sdmetrics.reports.single_table import QualityReport

warnings.filterwarnings("ignore")


def metadata(real, shapes):
    """Types of the columns: what pandas reads as numbers are numbers, everything else categories."""
    columns = {}
    for name in real.columns:
        is_number = pd.api.types.is_numeric_dtype(real[name]) and not pd.api.types.is_bool_dtype(real[name])
        kind = "id" if name not in shapes else "numerical" if is_number else "categorical"
        columns[name] = {"sdtype": kind}
    return {"columns": columns}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("real")
    parser.add_argument("synthetic")
    parser.add_argument("--program", default="genera")
    arguments = parser.parse_args()
    command = [*shlex.split(arguments.program), "evaluate", "--task", "table", "--json"]
    command += ["--real", arguments.real, "--synthetic", arguments.synthetic]
    ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    read = lambda path: pd.read_csv(path, skipinitialspace=True)
    real, synthetic = read(arguments.real), read(arguments.synthetic)
    failed = False
    # All pairs count, as in the rows that papers publish; by default 0.32 leaves weakly related pairs out.
    for title, keys, thresholds in (
        ("all pairs", ("shape_error", "trend_error"), (0, 0)),
        ("by default", ("shape_error", "related_trend_error"), None),
    ):
        report = QualityReport()
        if thresholds is not None:
            report.real_correlation_threshold, report.real_association_threshold = thresholds
        report.generate(real, synthetic, metadata(real, ours["shapes"]), verbose=False)
        theirs = report.get_properties().set_index("Property")["Score"]
        for key, name in zip(keys, ("Column Shapes", "Column Pair Trends")):
            error = 100 * (1 - theirs[name])
            failed |= abs(error - ours[key]) > 0.5
            difference = ours[key] - error
            print(f"{name:<18} {title:<10} SDMetrics {error:8.4f} %   Genera {ours[key]:8.4f} %   difference {difference:+.4f}")
    details = report.get_details("Column Shapes").set_index("Column")["Score"]
    worst = max(ours["shapes"], key=lambda name: abs((ours["shapes"][name] or 0) - details.get(name, 0)))
    print(f"largest difference of a column: {worst}, {ours['shapes'][worst]:.6f} and {details[worst]:.6f}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
