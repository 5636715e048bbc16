"""What the speed comparisons share: how programs are run, and on what machine."""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess

# Keeps freed memory in the process, which is worth 10 to 25 % to PyTorch, and asks for pages of 2 MiB, as Genera does for itself.
# The two ways of setting go together: of a process of PyTorch, /proc/self/smaps_rollup counts new tensors as AnonHugePages, and
# what is freed stays in Rss.
KEEP_MEMORY = {
    "MALLOC_TOP_PAD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
INSTRUCTION_SETS = "fma avx2 avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 asimd asimddp bf16 i8mm sve"


# Seconds that a program may take: the slowest needs some minutes, compiling included.
TIME_LIMIT = 1800


class Failed(Exception):
    """A program did not do its work; the text says why."""


def measure(command, environment={}, directory=None, given=None):
    """The JSON object that a program prints in its last line."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=directory,
            env=os.environ | environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
        )
    except OSError as error:
        raise Failed(f"cannot start {command[0]}: {error}")
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {TIME_LIMIT:,} seconds, and ended")
    except UnicodeDecodeError as error:
        raise Failed(f"prints what is no text: {error}")
    if done.returncode != 0:
        raise Failed(reason(done))
    last = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    try:
        result = json.loads(last)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise Failed(f"prints {last[:100]} in place of a JSON object")
    return result


def record(what, asked, reached, is_reached=None):
    """Adds a line to the table of all figures, where `cargo xtask bench peers` collects one; None is what was not measured."""
    if path := os.environ.get("GENERA_FIGURES"):
        with open(path, "a") as file:
            print(json.dumps({"what": what, "asked": asked, "reached": reached, "is_reached": is_reached}), file=file)


def record_ratio(what, asked, ratios):
    """Adds the median of ratios, of which so much is asked at least; without any it was not measured."""
    reached = with_range(ratios) if ratios else "no row of both"
    record(what, f"≥ {asked:.2f}", reached, statistics.median(ratios) >= asked if ratios else None)


def with_range(ratios):
    """Their median, with the least and the largest where there are several."""
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}{spread}"


def version(genera):
    """The version of the program."""
    try:
        done = subprocess.run([genera, "--version"], capture_output=True, text=True)
    except OSError as error:
        raise Failed(f"cannot start {genera}: {error}")
    return done.stdout.strip().removeprefix("genera ")


def reason(done):
    """The line of a program's errors that says most: after it may come hints."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    end = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return f"{(errors or lines or ['no word'])[-1][:300]} ({end})"


def machine():
    """Processor, cores, instruction sets and system, in one line."""
    info = read("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", info)
    flags = re.search(r"(?:flags|Features)\s*: (.+)", info)
    found = set(flags[1].split()) if flags else set()
    sets = " ".join(name for name in INSTRUCTION_SETS.split() if name in found)
    processor = f"{named[1] if named else platform.machine()}, {n_cores()} cores, {sets or 'instruction sets unknown'}"
    library = " ".join(platform.libc_ver())
    return f"{processor}; {platform.system()} {platform.release()}, {library}, large pages: {large_pages()}"


def large_pages():
    """Who gets pages of 2 MiB here: all (`always`), those who ask (`madvise`) or nobody (`never`)."""
    choice = re.search(r"\[(.+)\]", read("/sys/kernel/mm/transparent_hugepage/enabled"))
    return choice[1] if choice else "unknown"


def kept():
    """What `KEEP_MEMORY` does on this system: the C library asks for large pages from glibc 2.35 on."""
    library, version = platform.libc_ver()
    asks = library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    has_large_pages = large_pages() == "always" or large_pages() == "madvise" and asks
    return "memory kept, large pages" if has_large_pages else "memory kept"


def n_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def read(path):
    return pathlib.Path(path).read_text() if os.path.exists(path) else ""


def some_of(known):
    """The type of an option with several of these names, comma between."""

    def parse(text):
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is none of {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse


def threads(text):
    """The type of an option with a number of threads."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of threads: 1 or more is wanted")
    return int(text)
