"""Times evaluating one run file: graded, trec_eval, pytrec_eval, ir_measures; interleaved, CPU seconds and memory."""

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

MEASURES = {"nDCG@10": "ndcg_cut_10", "AP": "map", "RR": "recip_rank", "P@10": "P_10", "R@100": "recall_100"}

PYTREC_EVAL = """
import json, sys, pytrec_eval
with open(sys.argv[1]) as f: qrel = pytrec_eval.parse_qrel(f)
with open(sys.argv[2]) as f: run = pytrec_eval.parse_run(f)
names = {"ndcg_cut.10", "map", "recip_rank", "P.10", "recall.100"}
results = pytrec_eval.RelevanceEvaluator(qrel, names).evaluate(run)
keys = ["ndcg_cut_10", "map", "recip_rank", "P_10", "recall_100"]
print(json.dumps({k: sum(r[k] for r in results.values()) / len(results) for k in keys}))
"""

IR_MEASURES = """
import json, sys, ir_measures
from ir_measures import nDCG, AP, RR, P, R
names = {nDCG@10: "ndcg_cut_10", AP: "map", RR: "recip_rank", P@10: "P_10", R@100: "recall_100"}
qrels, run = list(ir_measures.read_trec_qrels(sys.argv[1])), ir_measures.read_trec_run(sys.argv[2])
print(json.dumps({names[m]: v for m, v in ir_measures.calc_aggregate(names, qrels, run).items()}))
"""


def write_inputs(folder, queries, hits, judged):
    """Judgments 0-3 and a run with some tied scores, grouped by query and sorted, as retrieval systems write them."""
    draw = random.Random(7)
    qrels, run = os.path.join(folder, "qrels"), os.path.join(folder, "run")
    with open(qrels, "w") as q, open(run, "w") as r:
        for query in range(queries):
            pool = draw.sample(range(10 * hits), hits + judged)
            # Half of the judged documents stand somewhere in the ranking, half were never retrieved.
            for document in draw.sample(pool[:hits], judged // 2) + pool[hits : hits + judged // 2]:
                q.write(f"q{query} 0 d{document:07d} {draw.choice([0, 0, 0, 1, 1, 2, 3])}\n")
            score = 30.0
            for rank, document in enumerate(pool[:hits]):
                score -= draw.choice([0.0, 0.001, 0.01, 0.05])
                r.write(f"q{query} Q0 d{document:07d} {rank + 1} {score:.4f} r\n")
    return qrels, run


def measured(command):
    """Runs a command; its output, CPU seconds, wall seconds and peak memory in MiB."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return output.decode(), usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def of_graded(output):
    values = json.loads(output)["measures"]
    return {MEASURES[name]: value for name, value in values.items()}


def of_trec_eval(output):
    lines = (line.split() for line in output.splitlines())
    return {name: float(value) for name, query, value in lines if query == "all" and name in MEASURES.values()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--graded", required=True)
    parser.add_argument("--trec-eval")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--hits", type=int, default=1000)
    parser.add_argument("--judged", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--record", help="append one CSV row per entrant")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        qrels, run = write_inputs(folder, options.queries, options.hits, options.judged)
        print(f"run file: {os.path.getsize(run) / 1e6:.1f} MB, {options.queries} queries x {options.hits} hits")
        graded = [options.graded, "evaluate", "--qrels", qrels, "--run", run, "-m", " ".join(MEASURES), "--no-record", "--format", "json"]
        entrants = {
            "graded": (graded, of_graded),
            "graded, 1 thread": (graded + ["--threads", "1"], of_graded),
            "pytrec_eval": ([sys.executable, "-c", PYTREC_EVAL, qrels, run], json.loads),
            "ir_measures": ([sys.executable, "-c", IR_MEASURES, qrels, run], json.loads),
        }
        if options.trec_eval:
            flags = [flag for m in ("ndcg_cut.10", "map", "recip_rank", "P.10", "recall.100") for flag in ("-m", m)]
            entrants["trec_eval"] = ([options.trec_eval, "-c", *flags, qrels, run], of_trec_eval)
        entrants = {name: entrant for name, entrant in entrants.items() if name not in options.skip}
        expected, samples = None, {name: [] for name in entrants}
        for round_number in range(options.rounds + 1):
            for name, (command, read) in entrants.items():
                output, cpu, wall, memory = measured(command)
                values = {key: round(value, 4) for key, value in sorted(read(output).items())}
                expected = expected or values
                off = {k: (v, expected[k]) for k, v in values.items() if abs(v - expected[k]) > 0.000101}
                if off:
                    sys.exit(f"{name} does not agree: {off}")
                if round_number > 0:
                    samples[name].append((cpu, wall, memory))
        print(f"all agree: {expected}")
        report(samples, options)


def spread(values):
    """Median, least and greatest."""
    values = sorted(values)
    return [statistics.median(values), values[0], values[-1]]


def report(samples, options):
    """One row an entrant. Ratios are of one round each, to both of our entrants."""
    rows = []
    for name, measured_ in samples.items():
        cpu, wall, memory = zip(*measured_)
        row = [name, options.queries, options.hits, len(cpu), *spread(cpu), *spread(wall), max(memory)]
        for own in ["graded", "graded, 1 thread"]:
            for figure in [0, 1]:
                row += spread(theirs[figure] / ours[figure] for theirs, ours in zip(measured_, samples[own]))
        rows.append(row)
        ratios = "  ".join(f"{median:6.2f} ({low:.2f}-{high:.2f})" for median, low, high in zip(row[11::3], row[12::3], row[13::3]))
        print(f"{name:18} cpu {row[4]:7.3f} s  wall {row[7]:7.3f} s  peak {row[10]:7.1f} MiB  {ratios}")
    print("ratios: cpu and wall to graded, then cpu and wall to graded on 1 thread")
    if options.record:
        new = not os.path.exists(options.record)
        with open(options.record, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                figures = [f"{name}_seconds" for name in ["cpu", "wall"]]
                ratios = [f"{name}_ratio{own}" for own in ["", "_1_thread"] for name in ["cpu", "wall"]]
                spreads = lambda names: [f"{name}_{end}" for name in names for end in ["median", "min", "max"]]
                writer.writerow(["entrant", "queries", "hits", "rounds", *spreads(figures), "peak_mib", *spreads(ratios)])
            writer.writerows([[f"{v:.4g}" if isinstance(v, float) else v for v in row] for row in rows])


if __name__ == "__main__":
    main()
