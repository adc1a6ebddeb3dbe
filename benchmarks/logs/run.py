"""Times `graded synthesize crops` over simulated logs of several sizes: CPU seconds, wall seconds, peak memory.

The catalogue stays the same (2,000 documents), so that what grows is the log. Every size is read as it stands (each user's
lines together: `order = "user"`) and, with `--sorted`, as a log in any order, which is sorted by user on disk first.
Lines are some 430 a user. A size needs 130 bytes of disk a line, with `--sorted` twice that; it is removed afterwards. The
discriminator's work grows with the pairs found, not with the lines; `--sources` without `recommendation` leaves most of it
out. `--portions N` reads the simulated log N times over through a pipe, its users under other names each time: a log of N
times the lines, without its disk.

    python run.py GRADED [--users 5000 --users 50000] [--portions 1] [--memory 512M] [--sources A,B] [--sorted]
                  [--build dev] [--out FILE.csv]
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

SIMULATE = "[catalogue.generated]\ndocuments = 2000\n"
CROPS = 'sources = {sources}\n[log]\norder = "{order}"\n'
SOURCES = "reformulation,clicked,recommendation,exposed,ranked,filtered"
COLUMNS = "what build sources users lines log_bytes memory cpu_seconds wall_seconds peak_mib spilled_bytes pairs".split()


def measured(command):
    """Runs a command; its CPU seconds, wall seconds and peak resident memory in MiB."""
    started = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{command}: status {status}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024


def stream(log, pipe, portions):
    """Writes the log into a pipe, once a portion, with another beginning of every user's and search's name."""
    with open(pipe, "wb", buffering=0) as out:
        for portion in range(portions):
            with open(log, "rb") as lines:
                while block := lines.read(8 << 20):
                    # Whole lines, so that no name is cut.
                    block += lines.readline()
                    out.write(block.replace(b'"u00', b'"u%02d' % portion))


def rows(options, users, folder):
    """Simulates a log and reads it; one row a step."""

    def row(what, cost, lines="", size="", spilled="", pairs=""):
        numbers = [f"{cost[0]:.1f}", f"{cost[1]:.1f}", f"{cost[2]:.0f}"]
        sources = options.sources.replace(",", " ") if what != "simulate" else ""
        return [what, options.build, sources, users, lines, size, options.memory, *numbers, spilled, pairs]

    with open(f"{folder}/simulate.toml", "w") as out:
        out.write(SIMULATE)
    everywhere = ["--memory", options.memory, "--quiet", "--format", "json"]
    simulate = ["simulate", f"{folder}/simulate.toml", "--users", str(users), "--out", f"{folder}/sim"]
    cost = measured([options.graded, *simulate, *everywhere])
    log = f"{folder}/sim/log.jsonl"
    size = os.path.getsize(log)
    yield row("simulate", cost, size=size)
    for order in ["user", "any"] if options.sorted else ["user"]:
        with open(f"{folder}/crops.toml", "w") as out:
            out.write(CROPS.format(order=order, sources=options.sources.split(",")))
        made, source = f"{folder}/{order}", log
        if options.portions > 1:
            source = f"{folder}/pipe-{order}.jsonl"
            os.mkfifo(source)
            threading.Thread(target=stream, args=(log, source, options.portions), daemon=True).start()
        crops = ["synthesize", "crops", f"{folder}/crops.toml", "--log", source, "--documents", f"{folder}/sim"]
        cost = measured([options.graded, *crops, "--without-quality", "--out", made, *everywhere])
        with open(f"{made}/summary.json") as summary:
            summary = json.load(summary)
        pairs = sum(summary["labelling"]["labels"])
        read = summary["log"]
        what = f"crops, order {order}" + (f", {options.portions} times over" if options.portions > 1 else "")
        yield row(what, cost, read["lines"], size * options.portions, read["spilled_bytes"], pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graded")
    parser.add_argument("--users", type=int, action="append")
    parser.add_argument("--portions", type=int, default=1)
    parser.add_argument("--memory", default="512M")
    parser.add_argument("--sources", default=SOURCES)
    parser.add_argument("--sorted", action="store_true")
    parser.add_argument("--build", default="release")
    parser.add_argument("--out")
    options = parser.parse_args()
    out = open(options.out, "w", newline="") if options.out else sys.stdout
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for users in options.users or [5000, 50000]:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ".")) as folder:
            for row in rows(options, users, folder):
                writer.writerow(row)
                out.flush()


main()
