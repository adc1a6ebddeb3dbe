"""Writes the expected values that harness/relevance/tests/{agreement,significance}.rs compare with.

Random cases go through scikit-learn, krippendorff, scipy and statsmodels; AP correlation, which none of them has, is
computed from its definition. An undefined value (NaN, infinite, or an exception of the reference) is written as null.

    pip install -r requirements.txt && python make_fixtures.py ../../../harness/relevance/tests/fixtures
"""

import json
import math
import sys
import warnings
from pathlib import Path

import krippendorff
import numpy as np
from scipy import stats
from sklearn import metrics
from statsmodels.stats.inter_rater import fleiss_kappa
from statsmodels.stats.multitest import multipletests

warnings.simplefilter("ignore")
rng = np.random.default_rng(20260711)


def value(compute):
    """The number, or None where the reference has none."""
    try:
        number = float(compute())
    except (ValueError, ZeroDivisionError, FloatingPointError):
        return None
    return number if math.isfinite(number) else None


SCALES = [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [-2, -1, 0, 1, 2], [0, 2, 3], [1, 5, 50, 500], list(range(-20, 60))]


def graded_pairs(number):
    """Human and predicted grades of one case: ties, skewed margins, agreement from none to full, tiny sizes."""
    scale = SCALES[number % len(SCALES)]
    if number % 40 == 0:
        scale = [number % 7]
    size = int(rng.choice([1, 2, 3, 5, 12, 30, 60]))
    weights = rng.dirichlet(np.full(len(scale), 0.7))
    human = rng.choice(scale, size=size, p=weights)
    noise = rng.choice(scale, size=size, p=rng.dirichlet(np.full(len(scale), 0.7)))
    predicted = np.where(rng.random(size) < rng.choice([0.0, 0.5, 0.9, 1.0]), human, noise)
    return human, predicted


def alpha(table, level):
    """krippendorff takes raters by rows and NaN for missing; the ratio metric has no meaning below zero."""
    data = np.array(table, dtype=float).T
    pairable = data[:, (~np.isnan(data)).sum(axis=0) >= 2]
    if level == "ratio" and (pairable < 0).any():
        return None
    return value(lambda: krippendorff.alpha(reliability_data=data, level_of_measurement=level))


def pair_case(number):
    human, predicted = graded_pairs(number)
    grades = sorted(set(human) | set(predicted))
    table = np.column_stack([human, predicted])
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        human, predicted, labels=grades, zero_division=np.nan
    )
    finite = lambda values: [float(v) if math.isfinite(v) else None for v in values]
    counts = np.array([[(row == grade).sum() for grade in grades] for row in table])
    return {
        "human": human.tolist(),
        "predicted": predicted.tolist(),
        "grades": [int(g) for g in grades],
        "confusion": metrics.confusion_matrix(human, predicted, labels=grades).tolist(),
        "cohen_kappa": value(lambda: metrics.cohen_kappa_score(human, predicted)),
        "cohen_kappa_linear": value(lambda: metrics.cohen_kappa_score(human, predicted, weights="linear")),
        "cohen_kappa_quadratic": value(lambda: metrics.cohen_kappa_score(human, predicted, weights="quadratic")),
        **{f"krippendorff_alpha_{level}": alpha(table.tolist(), level)
           for level in ["nominal", "ordinal", "interval", "ratio"]},
        "fleiss_kappa": value(lambda: fleiss_kappa(counts)),
        "kendall_tau_b": value(lambda: stats.kendalltau(human, predicted).statistic),
        "spearman": value(lambda: stats.spearmanr(human, predicted).statistic),
        "pearson": value(lambda: stats.pearsonr(human, predicted).statistic),
        "mae": value(lambda: metrics.mean_absolute_error(human, predicted)),
        "accuracy": value(lambda: metrics.accuracy_score(human, predicted)),
        "macro_f1": value(lambda: metrics.f1_score(human, predicted, average="macro", zero_division=0.0)),
        "precision": finite(precision),
        "recall": finite(recall),
        "f1": finite(f1),
    }


def rater_case(number):
    scale = SCALES[number % len(SCALES)]
    units, raters = int(rng.choice([1, 2, 4, 10, 25])), int(rng.integers(2, 7))
    truth = rng.choice(scale, size=units)
    table = np.where(rng.random((units, raters)) < 0.6, truth[:, None], rng.choice(scale, size=(units, raters)))
    missing = rng.random((units, raters)) < rng.choice([0.0, 0.0, 0.2, 0.6])
    rows = [[None if gone else int(grade) for grade, gone in zip(*row)] for row in zip(table, missing)]
    complete = not missing.any()
    grades = sorted(set(table.flatten()))
    counts = np.array([[(row == grade).sum() for grade in grades] for row in table])
    as_nan = [[math.nan if grade is None else grade for grade in row] for row in rows]
    return {
        "ratings": rows,
        "complete": complete,
        **{level: alpha(as_nan, level) for level in ["nominal", "ordinal", "interval", "ratio"]},
        "fleiss_kappa": value(lambda: fleiss_kappa(counts)) if complete else None,
    }


def tau_ap(truth, estimate):
    """Yilmaz, Aslam and Robertson 2008, for rankings without ties."""
    order = sorted(range(len(truth)), key=lambda system: -estimate[system])
    correct = [sum(truth[above] > truth[system] for above in order[:i]) / i for i, system in enumerate(order) if i > 0]
    return 2 / (len(truth) - 1) * sum(correct) - 1


def score_case(number):
    """Real-valued scores: correlations with ties, and rankings of systems without."""
    size = int(rng.choice([2, 3, 5, 20, 40]))
    steps = int(rng.choice([3, 16, 1024]))
    x = rng.integers(0, steps, size) / 64
    y = np.where(rng.random(size) < 0.5, x, rng.integers(0, steps, size) / 64) * (-1 if number % 5 == 0 else 1)
    truth, estimate = rng.permutation(size) / 8, rng.permutation(size) / 8
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "kendall_tau_b": value(lambda: stats.kendalltau(x, y).statistic),
        "spearman": value(lambda: stats.spearmanr(x, y).statistic),
        "pearson": value(lambda: stats.pearsonr(x, y).statistic),
        "truth": truth.tolist(),
        "estimate": estimate.tolist(),
        "tau_ap": tau_ap(truth, estimate),
        "tau_ap_symmetric": (tau_ap(truth, estimate) + tau_ap(estimate, truth)) / 2,
    }


def exact_sign_flips(differences, alternative):
    """All sign flips, compared exactly: the differences are multiples of 1/64."""
    whole = np.round(np.array(differences) * 64).astype(np.int64)
    sums = np.zeros(1, dtype=np.int64)
    for d in whole:
        sums = np.concatenate([sums + d, sums - d])
    seen = whole.sum()
    hits = {"two-sided": np.abs(sums) >= abs(seen), "greater": sums >= seen, "less": sums <= seen}
    return float(hits[alternative].mean())


ALTERNATIVES = ["two-sided", "greater", "less"]


def significance_case(number):
    size = int(rng.choice([1, 2, 3, 5, 9, 14, 30, 45, 80, 200]))
    steps = int(rng.choice([4, 16, 65]))
    a = rng.integers(0, steps, size) / 64
    b = np.where(rng.random(size) < 0.2, a, rng.integers(0, steps, size) / 64) + (number % 3) / 64
    d = b - a
    moved = d[d != 0]
    ties = len(np.unique(np.abs(moved))) < len(moved)
    case = {"a": a.tolist(), "b": b.tolist()}
    for alternative in ALTERNATIVES:
        t = value(lambda: stats.ttest_rel(b, a, alternative=alternative).pvalue) if size > 1 else None
        wins = int((d > 0).sum())
        case[alternative] = {
            "t_test": t,
            "sign_test": value(lambda: stats.binomtest(wins, len(moved), 0.5, alternative).pvalue),
            "wilcoxon_normal": value(lambda: stats.wilcoxon(moved, method="asymptotic", alternative=alternative).pvalue),
            "wilcoxon_corrected": value(
                lambda: stats.wilcoxon(moved, method="asymptotic", correction=True, alternative=alternative).pvalue
            ),
            "wilcoxon_exact": value(lambda: stats.wilcoxon(moved, method="exact", alternative=alternative).pvalue)
            if len(moved) and not ties and len(moved) <= 50 else None,
            "wilcoxon_enumerated": wilcoxon_enumerated(moved, alternative) if 0 < len(moved) <= 14 else None,
            "sign_flips": exact_sign_flips(d, alternative) if size <= 14 else None,
        }
    test = stats.ttest_rel(b, a) if size > 1 else None
    case["t"] = value(lambda: test.statistic) if test else None
    case["cohens_d"] = value(lambda: d.mean() / d.std(ddof=1)) if size > 1 else None
    return case


def wilcoxon_enumerated(moved, alternative):
    """Every assignment of signs to the midranks: exact with ties."""
    twice_ranks = np.round(2 * stats.rankdata(np.abs(moved))).astype(np.int64)
    sums = np.zeros(1, dtype=np.int64)
    for rank in twice_ranks:
        sums = np.concatenate([sums + rank, sums])
    seen = twice_ranks[moved > 0].sum()
    greater, less = (sums >= seen).mean(), (sums <= seen).mean()
    return float({"greater": greater, "less": less, "two-sided": min(1.0, 2 * min(greater, less))}[alternative])


def multiple_case(number):
    p = np.round(rng.random(int(rng.integers(1, 12))) ** 3, 4)
    return {
        "p": p.tolist(),
        **{name: multipletests(p, method=name)[1].tolist() for name in ["bonferroni", "holm", "fdr_bh"]},
    }


def interval_case(number):
    """scipy's bootstrap of a mean, with its replicates, so that only the reading of the interval is compared."""
    sample = rng.integers(0, 64, int(rng.integers(4, 30))) / 64
    method = ["percentile", "bca"][number % 2]
    level = [0.95, 0.9, 0.8][number % 3]
    result = stats.bootstrap(
        (sample,), np.mean, n_resamples=60, method=method, confidence_level=level, rng=np.random.default_rng(number)
    )
    return {
        "sample": sample.tolist(),
        "method": method,
        "level": level,
        "replicates": result.bootstrap_distribution.tolist(),
        "lower": float(result.confidence_interval.low),
        "upper": float(result.confidence_interval.high),
    }


def write(folder, name, cases):
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (folder / name).write_text(f"[\n{lines}\n]\n")


def main(folder):
    write(folder, "agreement_pairs.json", [pair_case(number) for number in range(210)])
    write(folder, "agreement_raters.json", [rater_case(number) for number in range(210)])
    write(folder, "agreement_scores.json", [score_case(number) for number in range(120)])
    write(folder, "significance.json", [significance_case(number) for number in range(120)])
    write(folder, "multiple_testing.json", [multiple_case(number) for number in range(60)])
    write(folder, "intervals.json", [interval_case(number) for number in range(24)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
