"""H-InfoNCE, value and gradients, against PyTorch: both sides interleaved in one run, ratios of medians.

    cargo build --release -p benchmarks --bench h_infonce
    python benchmarks/peers/torch_h_infonce.py BENCH_BINARY [rounds [RECORD.csv]]

BENCH_BINARY is the built benchmark (target/release/deps/h_infonce-...). Each side is a process of its own and
says how much memory it peaked at beyond its inputs. PyTorch is tried two ways: `masked`, one masked
log-sum-exp over the whole score matrix for each level, as the paper describes it; and `gathered`, one dense
log-sum-exp for label 0 and the listed pairs gathered, the least a B x N matrix allows. Both use every thread.
Needs torch and numpy.
"""

import csv
import statistics
import subprocess
import sys
import time

QUERIES, DOCUMENTS, WIDTH, PAIRS, LEVELS, TEMPERATURE = 4096, 8192, 384, 8, 6, 0.05


def unit_rows(rows, seed):
    """The linear congruential generator of the Rust side, in closed form."""
    import numpy as np

    powers = np.cumprod(np.full(rows * WIDTH, 1664525, np.uint32), dtype=np.uint32)
    sums = np.cumsum(np.concatenate([[np.uint32(1)], powers[:-1]]), dtype=np.uint32)
    state = powers * np.uint32(seed) + np.uint32(1013904223) * sums
    values = ((state >> 8).astype(np.float32) / np.float32(1 << 23) - 1).reshape(rows, WIDTH).astype(np.float64)
    return (values / np.sqrt((values**2).sum(1, keepdims=True))).astype(np.float32)


def listed_pairs():
    for query in range(QUERIES):
        for document in sorted((2 * query + pair * 1021 + pair // 4) % DOCUMENTS for pair in range(PAIRS)):
            yield query, document, 1 + (document + query) % 5


def masked(scores, labels, rows, columns, pair_labels):
    import torch

    below = torch.stack(
        [torch.logsumexp(scores.masked_fill(labels >= level, float("-inf")), 1) for level in range(1, LEVELS)], 1
    )
    gaps = below[rows, pair_labels - 1] - scores[rows, columns]
    return torch.nn.functional.softplus(gaps).sum() / QUERIES


def gathered(scores, labels, rows, columns, pair_labels):
    import torch

    listed = scores[rows, columns].view(QUERIES, PAIRS)
    levels = pair_labels.view(QUERIES, PAIRS)
    unlisted = torch.logsumexp(scores.masked_fill(labels > 0, float("-inf")), 1, keepdim=True)
    lower = levels[:, None, :] < levels[:, :, None]
    logits = torch.where(lower, listed[:, None, :], torch.tensor(float("-inf")))
    below = torch.logsumexp(torch.cat([logits, unlisted[:, :, None].expand(-1, PAIRS, -1)], 2), 2)
    return torch.nn.functional.softplus(below - listed).sum() / QUERIES


def peak_memory_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def serve(way):
    """One run for each line of standard input, as the Rust side does."""
    import torch

    queries = torch.from_numpy(unit_rows(QUERIES, 1)).requires_grad_()
    documents = torch.from_numpy(unit_rows(DOCUMENTS, 2)).requires_grad_()
    rows, columns, pair_labels = (torch.tensor(side) for side in zip(*listed_pairs()))
    small = (queries[:8] @ documents[:8].T).logsumexp(1).sum()
    small.backward()  # loads the libraries, so that their memory is not counted
    print("ready", peak_memory_kib(), 0, flush=True)
    for _ in sys.stdin:
        queries.grad = documents.grad = None
        start = time.perf_counter()
        labels = torch.zeros(QUERIES, DOCUMENTS, dtype=torch.uint8)
        labels[rows, columns] = pair_labels.to(torch.uint8)
        scores = queries @ documents.T / TEMPERATURE
        loss = way(scores, labels, rows, columns, pair_labels)
        loss.backward()
        seconds = time.perf_counter() - start
        loss = loss.item()
        del scores, labels
        sums = [side.grad.double().abs().sum().item() for side in (queries, documents)]
        print(f"{seconds:.6f} {loss:.9f} {sums[0]:.9f} {sums[1]:.9f} {peak_memory_kib()}", flush=True)


class Side:
    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        _, baseline, rate = self.process.stdout.readline().split()
        self.baseline, self.rate, self.seconds = int(baseline), float(rate), []

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        self.seconds.append(float(answer[0]))
        self.result = [float(value) for value in answer[1:4]]
        self.memory_mib = (int(answer[4]) - self.baseline) / 1024

    def median(self):
        return statistics.median(self.seconds[1:] or self.seconds)


def record(sides, path):
    """One row a side; ratios are of one round each, to the first side."""
    spread = lambda values: [f"{figure:.4g}" for figure in (statistics.median(values), min(values), max(values))]
    ends = ["median", "min", "max"]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["entrant", "queries", "documents", "columns", "rounds", *(f"seconds_{end}" for end in ends), "mib_beyond_inputs",
                         *(f"time_ratio_{end}" for end in ends), "memory_ratio"])
        for side in sides:
            ratios = [their / our for their, our in zip(side.seconds[1:], sides[0].seconds[1:])]
            writer.writerow([side.name, QUERIES, DOCUMENTS, WIDTH, len(ratios), *spread(side.seconds[1:]), f"{side.memory_mib:.1f}",
                             *spread(ratios), f"{side.memory_mib / sides[0].memory_mib:.1f}"])


def main():
    binary, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    ours = Side("graded", [binary, "--peer"])
    peers = [Side(f"torch {way}", [sys.executable, __file__, "--serve", way]) for way in ("masked", "gathered")]
    for _ in range(rounds + 1):
        for side in (ours, *peers):
            side.run()
    for peer in peers:
        for mine, theirs in zip(ours.result, peer.result):
            assert abs(mine - theirs) <= 1e-4 * abs(theirs), (peer.name, ours.result, peer.result)
    if len(sys.argv) > 3:
        record([ours, *peers], sys.argv[3])
    print("All results agree. Medians after one warm-up run:")
    operations = 6 * QUERIES * DOCUMENTS * WIDTH
    for side in (ours, *peers):
        print(
            f"{side.name:15} {side.median():8.3f} s {side.memory_mib:9.1f} MiB beyond inputs"
            f"   time x{side.median() / ours.median():.2f}   memory x{side.memory_mib / ours.memory_mib:.1f}"
        )
    share = operations / ours.median() / ours.rate
    print(f"graded reaches {operations / ours.median() / 1e9:.0f} GFLOP/s, {share:.0%} of {ours.rate / 1e9:.0f} measured")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve({"masked": masked, "gathered": gathered}[sys.argv[2]])
    else:
        main()
