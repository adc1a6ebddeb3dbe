"""Exact top-k against FAISS IndexFlatIP and numpy matmul + argpartition, taking turns in one run.

    cargo build --release -p kernels --example top_k
    python benchmarks/peers/faiss_top_k.py [--queries 1000] [--documents 500000] [--columns 384] [--k 100]
                                           [--threads 2] [--rounds 3] [--vectors FILE.npy] [--record FILE.csv]

Needs numpy and faiss-cpu. Without --vectors, unit vectors of normal noise; with it, the rows of the file: the
first --queries are the queries, all others the documents (`real_vectors.py` makes such a file). BLAS, FAISS and our threads
are set equal. Prints the best time of each, the ratios round by round, the GFLOP/s beside the measured peak, the time that
preparing the 8-bit copies takes, without and with heads, and compares ids and scores. GFLOP/s count every pair in full,
whatever of it a scan could spare itself. On a busy machine `--threads 1 --clock cpu` counts CPU time (Linux) in place of elapsed time.
"""

import argparse
import csv
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name, default in [("queries", 1000), ("documents", 500_000), ("columns", 384), ("k", 100), ("threads", 2), ("rounds", 3)]:
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--vectors", help="a .npy file of f32 rows to use in place of noise")
parser.add_argument("--binary", default=pathlib.Path(__file__).parents[2] / "target/release/examples/top_k")
parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
parser.add_argument("--record", help="where to write one CSV row per entrant")
options = parser.parse_args()
for variable in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]:
    os.environ[variable] = str(options.threads)

import faiss  # noqa: E402  (thread counts are read at import)
import numpy as np  # noqa: E402


def vectors():
    if options.vectors:
        rows = np.ascontiguousarray(np.load(options.vectors), dtype=np.float32)
        return rows[: options.queries], rows[options.queries :][: options.documents]
    noise = np.random.default_rng(7)
    def unit(rows):
        values = noise.standard_normal((rows, options.columns), dtype=np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return values
    return unit(options.queries), unit(options.documents)


clock = time.perf_counter if options.clock == "wall" else time.process_time


def timed(work):
    started = clock()
    result = work()
    return clock() - started, result


def cpu_seconds(process):
    """CPU time of all threads of a running process so far."""
    threads = pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def numpy_search(block=100_000):
    """The usual numpy way, over blocks of documents so that the scores fit in memory."""
    best_scores, best_ids = [], []
    for start in range(0, len(documents), block):
        scores = queries @ documents[start : start + block].T
        k = min(options.k, scores.shape[1])
        ids = np.argpartition(scores, -k, axis=1)[:, -k:]
        best_ids.append(ids + start)
        best_scores.append(np.take_along_axis(scores, ids, 1))
    scores, ids = np.concatenate(best_scores, 1), np.concatenate(best_ids, 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : options.k]
    return np.take_along_axis(ids, order, 1)


queries, documents = vectors()
singles = queries[:20]
columns = queries.shape[1]
faiss.omp_set_num_threads(options.threads)
index = faiss.IndexFlatIP(columns)
index.add(documents)

with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    queries.tofile(folder / "queries")
    documents.tofile(folder / "documents")
    output = folder / "found"
    command = [options.binary, folder / "queries", folder / "documents", columns, options.k, options.threads, output]
    ours = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(kind):
        before = cpu_seconds(ours) if options.clock == "cpu" else 0
        ours.stdin.write(kind + "\n")
        ours.stdin.flush()
        answer = ours.stdout.readline()
        if not answer:
            sys.exit(f"{options.binary} stopped")
        if options.clock == "wall" or kind in ("peak", "columns"):
            return float(answer)
        return (cpu_seconds(ours) - before) / (len(singles) if kind.endswith("-1") else 1)

    def found():
        count = len(queries) * options.k
        ids = np.fromfile(output, dtype=np.uint32, count=count).reshape(-1, options.k)
        return ids, np.fromfile(output, dtype=np.float32, offset=4 * count).reshape(-1, options.k)

    times = {}
    def note(name, seconds):
        times.setdefault(name, []).append(seconds)

    for _ in range(options.rounds):
        note("peak", ask("peak"))
        seconds, (_, faiss_ids) = timed(lambda: index.search(queries, options.k))
        note("faiss", seconds)
        note("f32", ask("f32"))
        f32_found = found()
        note("codes", ask("codes"))
        codes_found = found()
        note("copy", ask("copy"))
        note("prepare", ask("prepare"))
        note("heads", ask("heads"))
        heads_found = found()
        seconds, numpy_ids = timed(numpy_search)
        note("numpy", seconds)
        seconds, _ = timed(lambda: [index.search(query[None], options.k) for query in singles])
        note("faiss-1", seconds / len(singles))
        note("f32-1", ask("f32-1"))
        note("codes-1", ask("codes-1"))
    head_columns = int(ask("columns"))
    ours.stdin.close()
    ours.wait()

best = {name: min(seconds) for name, seconds in times.items()}
peak = max(times["peak"]) * options.threads / 1e9
work = 2 * len(queries) * len(documents) * columns / 1e9
print(f"{len(queries)} queries x {len(documents)} documents x {columns}, k {options.k}, {options.threads} threads, {options.clock} time")
print(f"measured f32 peak {peak:.0f} GFLOP/s on {options.threads} threads")
print(f"columns of a head: {head_columns or 'none, they would not pay'}")
for name in ["copy", "prepare"]:
    rounds = " ".join(f"{seconds:.3f}" for seconds in times[name])
    print(f"{name:8} {best[name]:8.3f} s, once for an index   rounds {rounds}")
for name in ["faiss", "numpy", "f32", "codes", "heads"]:
    rounds = " ".join(f"{seconds:.3f}" for seconds in times[name])
    print(f"{name:8} {best[name]:8.3f} s {work / best[name]:6.0f} GFLOP/s   rounds {rounds}")
for name in ["faiss-1", "f32-1", "codes-1"]:
    rounds = " ".join(f"{1e3 * seconds:.2f}" for seconds in times[name])
    print(f"{name:8} {1e3 * best[name]:8.2f} ms per query   rounds {rounds}")


def ratios(theirs, ours):
    """Theirs over ours, round by round: median, least and greatest."""
    each = sorted(their / our for their, our in zip(times[theirs], times[ours]))
    return statistics.median(each), each[0], each[-1]


for name, theirs, ours in [
    ("f32 scan", "faiss", "f32"), ("f32 scan", "numpy", "f32"), ("8-bit scan", "faiss", "codes"),
    ("scan of heads", "faiss", "heads"), ("scan of heads", "codes", "heads"),
    ("one query, f32", "faiss-1", "f32-1"), ("one query, 8-bit", "faiss-1", "codes-1"),
]:
    print("{}: {:.2f} ({:.2f}-{:.2f}) x {}".format(name, *ratios(theirs, ours), theirs.removesuffix("-1")))
if options.record:
    with open(options.record, "w", newline="") as file:
        writer = csv.writer(file)
        spread = ["median", "min", "max"]
        writer.writerow(["entrant", "queries", "documents", "columns", "k", "threads", "clock", "rounds", *(f"seconds_{end}" for end in spread),
                         "gflops", "peak_gflops", *(f"faiss_ratio_{end}" for end in spread), "vectors", "head_columns"])
        for name in ["faiss", "numpy", "f32", "codes", "heads", "faiss-1", "f32-1", "codes-1", "copy", "prepare"]:
            single = name.endswith("-1")
            seconds, operations = sorted(times[name]), work / len(queries) if single else work
            operations = 0 if name in ("copy", "prepare") else operations
            figures = [statistics.median(seconds), seconds[0], seconds[-1], operations / statistics.median(seconds), peak,
                       *ratios("faiss-1" if single else "faiss", name)]
            writer.writerow([name, 1 if single else len(queries), len(documents), columns, options.k, options.threads, options.clock,
                             options.rounds, *(f"{figure:.4g}" for figure in figures), pathlib.Path(options.vectors).stem if options.vectors else "noise",
                             head_columns])

same = all((a == b).all() for other in (codes_found, heads_found) for a, b in zip(f32_found, other))
print(f"8-bit scans give the ids and the score bits of the f32 scan: {same}")
exact = np.einsum("qd,qkd->qk", queries.astype(np.float64), documents[f32_found[0]].astype(np.float64))
print(f"largest difference from f64 scores: {np.abs(exact - f32_found[1]).max():.1e}")
for name, ids in [("FAISS", faiss_ids), ("numpy", numpy_ids)]:
    shared = np.mean([len(np.intersect1d(a, b)) / options.k for a, b in zip(f32_found[0], ids)])
    print(f"share of ids in common with {name}: {shared:.6f}")
if not same:
    sys.exit(1)
