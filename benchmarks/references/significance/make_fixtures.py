"""Writes the expected values that harness/relevance/tests/significance.rs holds comparisons of runs to.

100 pairs of runs go through ranx (Fisher's randomization test, Student's t-test) and scipy (t-test, sign flips);
sample sizes come from scipy's noncentral t distribution, which the library's formula approximates.

    pip install -r requirements.txt && python make_fixtures.py ../../../harness/relevance/tests/fixtures
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from ranx.statistical_tests import fisher_randomization_test, paired_student_t_test
from scipy import stats

rng = np.random.default_rng(20261121)
PERMUTATIONS = 10_000


def run_case():
    """Scores of two runs on the same queries: many ties, as ranking measures have them, and a shift now and then."""
    queries = int(rng.choice([5, 12, 25, 50, 100]))
    baseline = np.round(rng.beta(2, 2, queries), 4)
    moved = rng.random(queries) < rng.choice([0.3, 0.7, 1.0])
    shift = rng.choice([0.0, 0.0, 0.02, -0.05])
    system = np.clip(np.where(moved, baseline + rng.normal(shift, 0.1, queries), baseline), 0, 1)
    fisher, _ = fisher_randomization_test(baseline, system, n_permutations=PERMUTATIONS)
    student, _ = paired_student_t_test(baseline, system)
    flips = stats.permutation_test(
        (system - baseline,), np.mean, permutation_type="samples", n_resamples=PERMUTATIONS, rng=rng
    )
    less = stats.ttest_rel(system, baseline, alternative="less").pvalue
    return {
        "baseline": baseline.tolist(),
        "system": system.tolist(),
        "ranx_fisher": float(fisher),
        "ranx_student": float(student) if math.isfinite(student) else None,
        "scipy_flips": float(flips.pvalue),
        "scipy_t_less": float(less) if math.isfinite(less) else None,
    }


def power(queries, effect, level):
    """Of the one-sided one-sample t-test of a mean of `effect` standard deviations."""
    critical = stats.t.isf(level, queries - 1)
    return stats.nct.sf(critical, queries - 1, effect * math.sqrt(queries))


def power_case():
    effect = float(rng.choice([0.05, 0.1, 0.2, 0.35, 0.5, 0.8]))
    level = float(rng.choice([0.05, 0.01, 0.05 / 6]))
    wanted = float(rng.choice([0.5, 0.8, 0.9]))
    queries = 2
    step = 4096
    while step >= 1:
        while power(queries + step, effect, level) < wanted:
            queries += step
        step //= 2
    return {"effect": effect, "level": level, "power": wanted, "queries": queries + 1}


folder = Path(sys.argv[1])
folder.joinpath("runs.json").write_text(json.dumps([run_case() for _ in range(100)]) + "\n")
folder.joinpath("power.json").write_text(json.dumps([power_case() for _ in range(40)]) + "\n")
