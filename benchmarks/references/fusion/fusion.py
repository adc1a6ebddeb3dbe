"""Writes harness/relevance/src/fusion.jsonl: random runs of one query and what ranx makes of them.

    pip install ranx==0.3.21
    python fusion.py > harness/relevance/src/fusion.jsonl
"""

import json
import random

from ranx import Run
from ranx.fusion import comb_max, comb_mnz, comb_sum, rrf, wsum
from ranx.normalization import borda_norm, max_norm, min_max_norm, rank_norm, sum_norm, zmuv_norm

CASES = 250
NORMS = {
    "none": lambda runs: runs,
    "min-max": lambda runs: [min_max_norm(run) for run in runs],
    "z-score": lambda runs: [zmuv_norm(run) for run in runs],
    "sum": lambda runs: [sum_norm(run) for run in runs],
    "max": lambda runs: [max_norm(run) for run in runs],
    "rank": lambda runs: [rank_norm(run) for run in runs],
    "borda": borda_norm,
}
COMBS = {"combsum": comb_sum, "combmnz": comb_mnz, "combmax": comb_max}
random.seed(20)


def random_run(distinct):
    documents = random.sample(range(20), random.randint(1, 9))
    low = random.choice([0, 0, -5])
    score = (lambda: random.uniform(low, 30)) if distinct else (lambda: float(random.randint(low, 4)))
    # Ids of one length: ranx 0.3.21 cuts ids to the length of another run's ("d13" is found where only "d1" stands).
    return {f"d{document:02}": score() for document in documents}


def fused(method, norm, runs, weights, k):
    if method == "rrf":
        return rrf([Run({"q": run}) for run in runs], k=k)
    runs = NORMS[norm]([Run({"q": run}) for run in runs])
    return wsum(runs, weights) if method == "wsum" else COMBS[method](runs)


for _ in range(CASES):
    method = random.choice(["rrf", "wsum", "wsum", "combsum", "combmnz", "combmax"])
    norm = random.choice(list(NORMS))
    # The order of equal scores is ours to choose, so methods that look at ranks get distinct ones.
    distinct = method == "rrf" or norm in ("rank", "borda") or random.random() < 0.6
    runs = [random_run(distinct) for _ in range(random.randint(1, 4))]
    weights = [round(random.uniform(0, 1), 2) for _ in runs]
    k = random.choice([1, 10, 60])
    name = {
        "rrf": f"rrf(k={k})",
        "wsum": f"wsum(norm={norm}, weights={'/'.join(map(str, weights))})",
    }.get(method, f"{method}(norm={norm})")
    scores = dict(fused(method, norm, runs, weights, k).run["q"])
    print(json.dumps({"method": name, "runs": runs, "scores": scores}))
