#!/usr/bin/env python3
"""Checks made rows against the real ones without anything of Genera's: is each cell one that its column could hold?

    legal_rows.py REAL.csv MADE.csv [--holdout TEST.csv]

A column that is all numbers in REAL (gaps aside) takes numbers from its least to its greatest, with no more digits behind the
point; any other takes the values that occur. A gap is legal where REAL has gaps. Also counts made rows that are rows of REAL,
beside those of TEST that are: so many are natural. The exit code is 1 when a row is not legal.
"""

import argparse
import csv
import sys

GAPS = {"", "NA", "N/A", "nan", "NaN", "null", "NULL", "None"}


def read(path):
    """The header and the rows, without the white space around cells."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = ([cell.strip() for cell in row] for row in csv.reader(file))
    return header, rows


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return None


def decimals(cell):
    return len(cell.partition(".")[2].rstrip("0"))


class Column:
    """What a column of the real table holds."""

    def __init__(self, cells):
        present = [cell for cell in cells if cell not in GAPS]
        numbers = [number(cell) for cell in present]
        self.has_gaps = len(present) < len(cells)
        self.is_numeric = bool(present) and None not in numbers
        self.values = set(present)
        if self.is_numeric:
            self.low, self.high = min(numbers), max(numbers)
            self.decimals = max(decimals(cell) for cell in present)

    def allows(self, cell):
        if cell in GAPS:
            return self.has_gaps
        if not self.is_numeric:
            return cell in self.values
        value = number(cell)
        return value is not None and self.low <= value <= self.high and decimals(cell) <= self.decimals


def copies(rows, real):
    known = {tuple(row) for row in real}
    return sum(tuple(row) in known for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real")
    parser.add_argument("made")
    parser.add_argument("--holdout")
    arguments = parser.parse_args()
    (header, real), (names, made) = read(arguments.real), read(arguments.made)
    if header != names:
        sys.exit(f"the columns differ: {header} and {names}")
    columns = [Column(cells) for cells in zip(*real)]
    bad = [row for row in made if len(row) != len(columns) or not all(c.allows(x) for c, x in zip(columns, row))]
    print(f"{len(made)} rows, {len(bad)} not legal; {copies(made, real)} are real rows")
    for row in bad[:5]:
        wrong = [name for name, column, cell in zip(names, columns, row) if not column.allows(cell)]
        print(f"  not legal in {', '.join(wrong)}: {row}")
    if arguments.holdout:
        _, holdout = read(arguments.holdout)
        print(f"{len(holdout)} held-out rows, of which {copies(holdout, real)} are real rows")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
