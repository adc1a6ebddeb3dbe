"""PyTorch's answer to the same work, for benchmarks/h200/run: one line of CSV, in its columns.

loss B N D      masked H-InfoNCE, forward and backward, bf16 matrix products, one mask a level
search Q N D K  matmul in blocks of documents, topk of each block, topk of what the blocks found
"""

import statistics
import sys

import torch

RATE = 790e12
REPEATS = 5


def timed(work):
    """Median milliseconds by the device's clock, and the most memory beyond what lay there before."""
    work()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times), torch.cuda.max_memory_allocated() - before


def unit_rows(rows, columns):
    values = torch.empty(rows, columns, device="cuda", dtype=torch.bfloat16).uniform_(-1, 1)
    return values * (3.0 / columns) ** 0.5


def loss(queries, documents, columns):
    q = unit_rows(queries, columns).requires_grad_()
    d = unit_rows(documents, columns).requires_grad_()
    row = torch.arange(queries, device="cuda")[:, None]
    listed = (row * 8 + torch.arange(8, device="cuda") * 97) % documents
    level = torch.tensor([4, 3, 2, 1, 1, 2, 2, 3], device="cuda", dtype=torch.int8).expand(queries, 8)
    labels = torch.zeros(queries, documents, device="cuda", dtype=torch.int8)
    labels.scatter_(1, listed, level)

    def work():
        q.grad = d.grad = None
        scores = (q @ d.T).float() / 0.05
        pairs = scores.gather(1, listed)
        total = 0.0
        for anchor in range(1, 5):
            below = scores.masked_fill(labels >= anchor, float("-inf")).logsumexp(1, keepdim=True)
            terms = torch.nn.functional.softplus(below - pairs)
            total = total + (terms * (level == anchor)).sum()
        (total / queries).backward()

    return timed(work), 4 * 2 * queries * documents * columns / RATE * 1e3


def search(queries, rows, columns, k):
    q = unit_rows(queries, columns)
    d = torch.empty(rows, columns, device="cuda", dtype=torch.bfloat16)
    block = 100_000
    for first in range(0, rows, block):
        d[first : first + block] = unit_rows(min(block, rows - first), columns)

    def work():
        scores, ids = [], []
        for first in range(0, rows, block):
            best = (q @ d[first : first + block].T).topk(min(k, block), dim=1)
            scores.append(best.values)
            ids.append(best.indices + first)
        best = torch.cat(scores, 1).topk(k, dim=1)
        torch.cat(ids, 1).gather(1, best.indices)

    return timed(work), 2 * queries * rows * columns / RATE * 1e3


def main():
    what, sizes = sys.argv[1], [int(size) for size in sys.argv[2:]]
    (milliseconds, state), floor = {"loss": loss, "search": search}[what](*sizes)
    name = {"loss": "pytorch h_infonce forward+backward", "search": "pytorch top_k"}[what]
    shape = "x".join(map(str, sizes[:3])) + (f" k {sizes[3]}" if what == "search" else "")
    print(f"{name},{shape},{milliseconds:.3f},{floor:.3f},{milliseconds / floor:.2f},{state}")


if __name__ == "__main__":
    main()
