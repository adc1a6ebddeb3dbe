"""Times `graded runs`: comparing two runs of 10,000 queries by 20 measures, and listing 10,000 records; CPU seconds.

ranx's randomization test stands beside the comparison: the same number of permutations over the same queries, for one of
the twenty measures, its compilation and the reading of files not counted.

    python run.py GRADED [--python PYTHON_WITH_RANX] [--rounds 5] [--out FILE.csv]
"""

import argparse
import csv
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile

MEASURES = (
    "nDCG@1 nDCG@3 nDCG@5 nDCG@10 nDCG@20 P@1 P@3 P@5 P@10 R@3 R@5 R@10 AP AP(rel=2) AP(rel=3) RR RR@10 RR(rel=2) "
    "ERR@10 ERR@20"
)

RANX = """
import json, sys, time
import numpy as np
from ranx.statistical_tests import fisher_randomization_test
before, after = (json.load(open(path))["record"]["systems"][0]["measures"] for path in sys.argv[1:])
a, b = np.array(before[0]["values"]), np.array(after[0]["values"])
fisher_randomization_test(a[:9], b[:9], n_permutations=10)
started = time.process_time()
fisher_randomization_test(a, b, n_permutations=10_000)
print(time.process_time() - started)
"""


def write_inputs(folder, queries):
    """Five judged documents a query, and two runs that rank twenty at random."""
    draw = random.Random(1)
    with open(f"{folder}/qrels", "w") as out:
        for query in range(queries):
            out.writelines(f"q{query} 0 q{query}-{document} {draw.randint(0, 3)}\n" for document in range(5))
    for name in "ab":
        with open(f"{folder}/{name}.run", "w") as out:
            for query in range(queries):
                order = draw.sample(range(20), 20)
                out.writelines(f"q{query} Q0 q{query}-{d} {r} {20 - r} {name}\n" for r, d in enumerate(order))


def cpu(command, environment):
    """CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fill(graded, environment, records):
    """Leaves so many records, each a command timed once."""
    command = [graded, "runs", "measure", "--repeats", "1", "--record", environment["MANY"], "--", "true"]
    for _ in range(records):
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graded")
    parser.add_argument("--python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--build", default="release", help="the profile that graded was built with, for the record")
    parser.add_argument("--out")
    wanted = parser.parse_args()
    graded = os.path.abspath(wanted.graded)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "GRADED_CACHE": f"{folder}/cache", "GRADED_RUNS": f"{folder}/runs"}
        environment["MANY"] = f"{folder}/many"
        write_inputs(folder, 10_000)
        for name in "ab":
            line = [graded, "evaluate", "--qrels", f"{folder}/qrels", "--run", f"{folder}/{name}.run", "-m", MEASURES]
            subprocess.run(line, env=environment, check=True, stdout=subprocess.DEVNULL)
        a, b = sorted(f"{folder}/runs/{name}" for name in os.listdir(f"{folder}/runs"))
        fill(graded, environment, wanted.records)
        many = [graded, "runs", "list", "--history", environment["MANY"]]
        commands = {
            "compare 10000 x 20": [graded, "runs", "compare", a, b],
            "compare with itself": [graded, "runs", "compare", a, a],
            f"list {wanted.records}": many,
        }
        times = {name: [] for name in commands}
        times["ranx, 1 randomization test of the 20"] = []
        first = cpu(many, environment)
        for _ in range(wanted.rounds):
            for name, command in commands.items():
                times[name].append(cpu(command, environment))
            if wanted.python:
                said = subprocess.run([wanted.python, "-c", RANX, a, b], capture_output=True, text=True, check=True)
                times["ranx, 1 randomization test of the 20"].append(float(said.stdout))
        times[f"list {wanted.records}, no index yet"] = [first]
    rows = [["what", "build", "rounds", "cpu_seconds_median", "cpu_seconds_min", "cpu_seconds_max"]]
    for name, seconds in times.items():
        if seconds:
            rows.append([name, "" if name.startswith("ranx") else wanted.build, len(seconds), *(f"{f(seconds):.4g}" for f in (statistics.median, min, max))])
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    if wanted.out:
        with open(wanted.out, "w", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows(rows)


main()
