"""Values and gradients of the trainer's losses by PyTorch's autograd in float64, written from the formulas alone.

    python benchmarks/references/losses/trainer_fixtures.py

writes harness/trainer/tests/fixtures/losses.json: a few batches, and for every loss on every batch its value and its
gradients with respect to queries, documents and learned numbers. Needs torch, and sentence-transformers for a second
opinion on the losses it has too (torch 2.15, sentence-transformers 6.2 made the committed file). A figure of theirs that
differs from ours by more than rounding stops the script.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parents[3]
IGNORED = 255
INF = float("inf")
torch.set_default_dtype(torch.float64)


# --- batches: per query, rows of (document, grade, own, weight, teacher or None) ---


def batch(seed, queries, documents, width, lists):
    generator = torch.Generator().manual_seed(seed)
    # Values that f32 holds exactly, so that both widths start from the same numbers.
    draw = lambda *shape: (torch.randn(*shape, generator=generator) * 0.75).half().double()
    return {"queries": draw(queries, width), "documents": draw(documents, width), "listed": lists}


BATCHES = {
    "lists": batch(1, 3, 7, 3, [
        [(0, 3, 1, 1.0, 2.5), (1, 1, 1, 0.5, -0.5), (2, 0, 1, 1.0, -1.25), (5, 2, 0, 1.0, None), (6, IGNORED, 0, 1.0, None)],
        [(2, 2, 1, 1.0, 0.75), (3, 2, 1, 2.0, 1.5), (4, 0, 1, 1.0, -2.0)],
        [(1, 0, 0, 1.0, None), (4, 3, 1, 1.0, 3.0), (5, 1, 1, 1.0, 1.0), (6, 0, 1, 1.0, -3.0)],
    ]),
    "one_pair": batch(2, 1, 1, 2, [[(0, 2, 1, 1.0, 1.0)]]),
    "one_query": batch(3, 1, 4, 2, [[(0, 3, 1, 1.0, 2.0), (1, 2, 1, 1.0, 0.5), (2, 0, 1, 1.0, -1.0), (3, 1, 1, 1.0, 0.25)]]),
    "one_document": batch(4, 2, 1, 2, [[(0, 1, 1, 1.0, 1.0)], []]),
    "equal_grades": batch(5, 2, 4, 2, [
        [(0, 2, 1, 1.0, 0.5), (1, 2, 1, 1.0, 1.5)],
        [(2, 2, 1, 1.0, 1.0), (3, 2, 1, 1.0, -1.0)],
    ]),
    "duplicates": batch(6, 2, 4, 2, [
        [(0, 3, 1, 1.0, 1.0), (1, 0, 1, 1.0, -1.0)],
        [(2, 1, 1, 1.0, 0.5), (3, 0, 1, 1.0, 0.25)],
    ]),
    "no_positive": batch(7, 3, 4, 2, [
        [(0, 0, 1, 1.0, 0.0), (1, 0, 1, 1.0, 0.5)],
        [],
        [(2, 2, 1, 1.0, 1.0), (3, 0, 1, 1.0, -1.0)],
    ]),
}
# The same text twice: two columns with the same vector.
BATCHES["duplicates"]["documents"][1] = BATCHES["duplicates"]["documents"][0]
BATCHES["duplicates"]["documents"][3] = BATCHES["duplicates"]["documents"][2]


def candidates(batch, query, scope):
    """(document, grade, own, weight, teacher) of everything that takes part, ascending by document."""
    listed = {row[0]: row for row in batch["listed"][query]}
    if scope == "list":
        return [row for row in sorted(listed.values()) if row[2] and row[1] != IGNORED]
    every = [listed.get(d, (d, 0, 0, 1.0, None)) for d in range(len(batch["documents"]))]
    return [row for row in every if row[1] != IGNORED]


def per_query(batch, scores, scope):
    """For each query: scores of its candidates, grades, rows."""
    for query in range(len(batch["queries"])):
        rows = candidates(batch, query, scope)
        yield scores[query, [row[0] for row in rows]], torch.tensor([float(row[1]) for row in rows]), rows


def compare(loss, batch, queries, documents):
    if loss.get("similarity", "cosine") == "cosine":
        queries, documents = F.normalize(queries, dim=1, eps=1e-300), F.normalize(documents, dim=1, eps=1e-300)
    return queries, documents, queries @ documents.T


def mean(terms, zero):
    terms = list(terms)
    return sum(terms) / len(terms) if terms else zero


# --- losses: (settings, batch, queries and documents as compared, scores, learned numbers) -> value ---


def contrast(z, positives, negatives, weights):
    """-log softmax of each positive among itself and the negatives."""
    return [
        weight * -torch.log_softmax(torch.cat([z[p].reshape(1), z[negatives]]), 0)[0]
        for p, weight in zip(positives, weights)
    ]


def infonce(s, b, q, d, scores, learned):
    z, zero = scores / learned[0], scores.sum() * 0
    rows, columns = [], []
    for logits, grades, entries in per_query(b, z, "batch"):
        positives = [k for k, grade in enumerate(grades) if grade >= s["positive_from"]]
        negatives = [k for k, grade in enumerate(grades) if grade < s["positive_from"]]
        if negatives:
            rows += contrast(logits, positives, negatives, [entries[p][3] for p in positives])
    if not s.get("symmetric"):
        return mean(rows, zero)
    for document in range(len(b["documents"])):
        listed = [{row[0]: row for row in rows_of} for rows_of in b["listed"]]
        grade = [rows_of.get(document, (document, 0, 0, 1.0, None))[1] for rows_of in listed]
        positives = [i for i, g in enumerate(grade) if g != IGNORED and g >= s["positive_from"]]
        negatives = [i for i, g in enumerate(grade) if g != IGNORED and g < s["positive_from"]]
        if negatives:
            columns += contrast(z[:, document], positives, negatives, [listed[i][document][3] for i in positives])
    return (mean(rows, zero) + mean(columns, zero)) / 2


def weighted_infonce(s, b, q, d, scores, learned):
    pairs = [(i, row) for i, rows in enumerate(b["listed"]) for row in rows if row[2] and row[1] != IGNORED]
    paired = {row[0] for _, row in pairs}
    qq, dd = q @ q.T, d @ d.T
    total = scores.sum() * 0
    for i, (p, grade, *_) in pairs:
        barred = {row[0] for row in b["listed"][i] if row[1] == IGNORED or (s.get("exclude_as_good", True) and row[1] >= grade)}
        against = [scores[i, k] for k in range(len(d)) if k != p and k not in barred]
        if s.get("self_contrast", True):
            against += [qq[i, j] for j in range(len(q)) if j != i]
            against += [dd[p, k] for k in sorted(paired) if k != p]
        own = scores[i, p]
        margin = s.get("mask_margin", 0.1)
        if margin is not None:
            against = [c for c in against if c.item() <= own.item() + margin]
        weight = s["grade_weights"][grade] if s.get("grade_weights") else grade
        logits = torch.stack([own, *against]) / learned[0]
        total = total - weight * torch.log_softmax(logits, 0)[0]
    return total / max(len(pairs), 1)


def h_infonce(s, b, q, d, scores, learned):
    z, total, anchors = scores / learned[0], scores.sum() * 0, 0
    for logits, grades, entries in per_query(b, z, "batch"):
        for k, row in enumerate(entries):
            below = [j for j, grade in enumerate(grades) if grade < grades[k]]
            if below and row[1] >= s.get("anchors_from", 0):
                total = total + contrast(logits, [k], below, [row[3]])[0]
                anchors += 1
    divisor = {"queries": len(b["queries"]), "anchors": max(anchors, 1), "nothing": 1}[s.get("mean_over", "queries")]
    return total / divisor


def wasserstein(s, b, q, d, scores, learned):
    z, rows, targets = scores / learned[0], [], []
    for i in range(len(q)):
        own = candidates(b, i, "list")
        if not own:
            continue
        if s["columns"] == "lists":
            own = sorted(own, key=lambda row: -row[1])
            rows.append(torch.softmax(z[i, [row[0] for row in own]], 0))
            targets.append(torch.softmax(torch.tensor([row[1] / s["grade_temperature"] for row in own]), 0))
            continue
        logits = torch.full((len(d),), -INF)
        grades = torch.full((len(d),), -INF)
        for row in candidates(b, i, "batch"):
            logits = torch.where(torch.arange(len(d)) == row[0], z[i], logits)
            if row[2] or s["columns"] == "batch":
                grades[row[0]] = row[1] / s["grade_temperature"]
        rows.append(torch.softmax(logits, 0))
        targets.append(torch.softmax(grades, 0))
    if not rows:
        return scores.sum() * 0
    predicted, target = torch.stack(rows), torch.stack(targets)
    shift = predicted.mean(0) - target.mean(0)
    value = shift @ shift
    if len(rows) > 1:
        ep, eg = predicted - predicted.mean(0), target - target.mean(0)
        singular = torch.linalg.svdvals(ep @ eg.T)
        # Directions without length have a kink; the smallest of its subgradients is 0.
        singular = singular[singular > 1e-12 * max(singular.max().item(), 1e-300)]
        value = value + ((ep**2).sum() + (eg**2).sum() - 2 * singular.sum()) / (len(rows) - 1)
    if s.get("hybrid"):
        logs = torch.where(target > 0, (target.clamp(min=1e-300).log() - predicted.clamp(min=1e-300).log()) * target, 0.0)
        value = value + s["hybrid"] * logs.sum() / len(rows)
    return value


def kl_distillation(s, b, q, d, scores, learned):
    terms = []
    for logits, _, rows in per_query(b, scores, "list"):
        if rows:
            teacher = torch.log_softmax(torch.tensor([row[4] for row in rows]) / s["teacher_temperature"], 0)
            student = torch.log_softmax(logits / s["temperature"], 0)
            terms.append((teacher.exp() * (teacher - student)).sum())
    factor = s["temperature"] ** 2 if s.get("squared_factor", True) else 1
    return factor * mean(terms, scores.sum() * 0)


def gain(s, grades, default):
    return torch.pow(2, grades) - 1 if s.get("gain", default) == "exponential" else grades


def listnet(s, b, q, d, scores, learned):
    terms = []
    for logits, grades, rows in per_query(b, scores / learned[0], s.get("scope", "list")):
        if any(row[2] for row in rows):
            target = gain(s, grades, "linear") / s.get("grade_temperature", 1.0)
            if not s.get("unlisted_mass", True):
                target = torch.where(torch.tensor([bool(row[2]) for row in rows]), target, -INF)
            terms.append(-(torch.softmax(target, 0) * torch.log_softmax(logits, 0)).sum())
    return mean(terms, scores.sum() * 0)


def listmle(s, b, q, d, scores, learned):
    terms = []
    for logits, grades, rows in per_query(b, scores / learned[0], s.get("scope", "list")):
        if len(set(grades.tolist())) > 1:
            above = [i for i, grade in enumerate(grades) if grade > grades.min()]
            terms.append(sum(torch.logsumexp(logits[grades <= grades[i]], 0) - logits[i] for i in above))
    return mean(terms, scores.sum() * 0)


def pairs_of(grades):
    return [(i, j) for i in range(len(grades)) for j in range(len(grades)) if grades[i] > grades[j]]


def ranknet(s, b, q, d, scores, learned):
    terms = []
    for logits, grades, _ in per_query(b, scores / learned[0], s.get("scope", "list")):
        terms += [F.softplus(-(logits[i] - logits[j])) for i, j in pairs_of(grades)]
    return mean(terms, scores.sum() * 0)


def lambda_loss(s, b, q, d, scores, learned):
    terms = []
    for logits, grades, _ in per_query(b, scores / learned[0], s.get("scope", "list")):
        n, depth = len(grades), s.get("depth") or len(grades)
        gains = gain(s, grades, "exponential")
        discount = lambda rank: math.log2(1 + rank)
        best = sum(g / discount(r) for r, g in enumerate(sorted(gains.tolist(), reverse=True)[:depth], 1))
        order = sorted(range(n), key=lambda k: -logits[k].item())
        rank = {k: r for r, k in enumerate(order, 1)}
        if best <= 0:
            continue
        for i, j in pairs_of(grades):
            if min(rank[i], rank[j]) <= depth:
                apart = abs(rank[i] - rank[j])
                rho = abs(1 / discount(apart) - 1 / discount(apart + 1))
                delta = abs(1 / discount(rank[i]) - 1 / discount(rank[j]))
                weight = (s.get("mu", 10.0) * rho + delta) * abs(gains[i] - gains[j]) / best
                terms.append(-weight * F.logsigmoid(logits[i] - logits[j]) / math.log(2))
    return mean(terms, scores.sum() * 0)


def approx_ndcg(s, b, q, d, scores, learned):
    terms = []
    for logits, grades, _ in per_query(b, scores / s["temperature"], s.get("scope", "list")):
        gains = gain(s, grades, "exponential")
        best = sum(g / math.log2(1 + r) for r, g in enumerate(sorted(gains.tolist(), reverse=True), 1))
        if best > 0:
            ranks = 0.5 + torch.sigmoid(logits[None, :] - logits[:, None]).sum(1)
            terms.append(1 - (gains / torch.log2(1 + ranks)).sum() / best)
    return mean(terms, scores.sum() * 0)


def margin_mse(s, b, q, d, scores, learned):
    terms = []
    for logits, grades, rows in per_query(b, scores * s.get("scale", 1.0), "list"):
        terms += [((logits[i] - logits[j]) - (rows[i][4] - rows[j][4])) ** 2 for i, j in pairs_of(grades)]
    return mean(terms, scores.sum() * 0)


def cosent_value(logits, grades):
    differences = [(logits[j] - logits[i]).reshape(1) for i, j in pairs_of(grades)]
    return torch.logsumexp(torch.cat([torch.zeros(1), *differences]), 0)


def cosent(s, b, q, d, scores, learned):
    lists = list(per_query(b, scores / learned[0], s.get("scope", "list")))
    if s.get("across", "batch") == "batch":
        return cosent_value(torch.cat([logits for logits, *_ in lists]), torch.cat([grades for _, grades, _ in lists])) + scores.sum() * 0
    return mean([cosent_value(logits, grades) for logits, grades, _ in lists if len(set(grades.tolist())) > 1], scores.sum() * 0)


def rince(s, b, q, d, scores, learned):
    terms = []
    for raw, grades, _ in per_query(b, scores, s.get("scope", "batch")):
        ranks = []
        for place, level in enumerate(sorted({g for g in grades.tolist() if g > 0}, reverse=True)):
            low = s["lowest_temperature"]
            logits = raw / (s["temperature"] + (1 - level / s["highest_grade"]) * (low - s["temperature"]))
            positives, negatives = logits[grades == level], logits[grades < level]
            if len(negatives) == 0:
                continue
            outside = s["form"] == "out" or (s["form"] == "out_in" and place == 0)
            if outside:
                each = [-torch.log_softmax(torch.cat([p.reshape(1), negatives]), 0)[0] for p in positives]
                ranks.append(sum(each) / len(each))
            else:
                ranks.append(torch.logsumexp(torch.cat([positives, negatives]), 0) - torch.logsumexp(positives, 0))
        if ranks:
            terms.append(sum(ranks) / len(ranks))
    return mean(terms, scores.sum() * 0)


def bixse(s, b, q, d, scores, learned):
    total = scores.sum() * 0
    for logits, grades, rows in per_query(b, scores * torch.exp(learned[0]) + learned[1], s.get("scope", "batch")):
        weights = torch.tensor([row[3] for row in rows])
        target = grades / s["highest_grade"]
        total = total + F.binary_cross_entropy_with_logits(logits, target, weight=weights, reduction="sum")
    return total / len(q)


def mse(s, b, q, d, scores, learned):
    terms = []
    for logits, grades, rows in per_query(b, scores * learned[0] + learned[1], "list"):
        terms += [row[3] * (z - y / s["highest_grade"]) ** 2 for z, y, row in zip(logits, grades, rows)]
    return mean(terms, scores.sum() * 0)


def matryoshka(s, b, queries, documents, learned):
    weights = s.get("weights") or [1 / len(s["dimensions"])] * len(s["dimensions"])
    total = 0
    for m, weight in zip(s["dimensions"], weights):
        cut = lambda x: F.normalize(x[:, :m], dim=1, eps=1e-300) if s.get("normalise", True) else x[:, :m]
        total = total + weight * value(s["loss"], b, cut(queries), cut(documents), learned)
    return total


def value(s, b, queries, documents, learned):
    if s["name"] == "matryoshka":
        return matryoshka(s, b, queries, documents, learned)
    if s["name"] == "sum":
        total, at = 0, 0
        for term in s["terms"]:
            count = len(starts(term["loss"]))
            total = total + term["weight"] * value(term["loss"], b, queries, documents, learned[at : at + count])
            at += count
        return total
    q, d, scores = compare(s, b, queries, documents)
    return globals()[s["name"]](s, b, q, d, scores, learned)


def starts(s):
    if s["name"] == "matryoshka":
        return starts(s["loss"])
    if s["name"] == "sum":
        return [start for term in s["terms"] for start in starts(term["loss"])]
    if s["name"] == "bixse":
        return [math.log(s["scale"]), s["bias"]]
    if s["name"] == "mse":
        return [s["scale"], s["bias"]]
    return [] if s["name"] in ("kl_distillation", "approx_ndcg", "margin_mse", "rince") else [s["temperature"]]


# Temperatures that f32 holds exactly.
LOSSES = [
    {"name": "infonce", "temperature": 0.25, "positive_from": 2},
    {"name": "infonce", "temperature": 0.0625, "positive_from": 1, "symmetric": True},
    {"name": "weighted_infonce", "temperature": 0.25, "mask_margin": None},
    {"name": "weighted_infonce", "temperature": 0.0625, "mask_margin": 0.125, "grade_weights": [0.25, 1, 2, 4]},
    {"name": "weighted_infonce", "temperature": 0.5, "mask_margin": 0.1, "self_contrast": False, "exclude_as_good": False, "similarity": "dot"},
    {"name": "h_infonce", "temperature": 0.25},
    {"name": "h_infonce", "temperature": 0.0625, "mean_over": "anchors", "anchors_from": 2},
    {"name": "h_infonce", "temperature": 1.0, "mean_over": "nothing", "similarity": "dot"},
    {"name": "wasserstein", "temperature": 1.0, "grade_temperature": 1.0, "columns": "batch", "similarity": "dot"},
    {"name": "wasserstein", "temperature": 0.25, "grade_temperature": 0.5, "columns": "own_list", "hybrid": 0.5, "similarity": "cosine"},
    {"name": "kl_distillation", "temperature": 0.25, "teacher_temperature": 0.5},
    {"name": "kl_distillation", "temperature": 2.0, "teacher_temperature": 1.0, "squared_factor": False, "similarity": "dot"},
    {"name": "listnet", "temperature": 0.25},
    {"name": "listnet", "temperature": 0.5, "grade_temperature": 2.0, "gain": "exponential", "scope": "batch", "unlisted_mass": False},
    {"name": "listmle", "temperature": 0.25},
    {"name": "listmle", "temperature": 0.25, "scope": "batch"},
    {"name": "lambda_loss", "temperature": 0.25},
    {"name": "lambda_loss", "temperature": 0.5, "scope": "batch", "gain": "linear", "depth": 2, "mu": 3.0},
    {"name": "approx_ndcg", "temperature": 0.25},
    {"name": "approx_ndcg", "temperature": 0.5, "scope": "batch", "gain": "linear"},
    {"name": "ranknet", "temperature": 0.25},
    {"name": "ranknet", "temperature": 0.25, "scope": "batch"},
    {"name": "margin_mse", "similarity": "dot"},
    {"name": "margin_mse", "similarity": "cosine", "scale": 4.0},
    {"name": "cosent", "temperature": 0.0625},
    {"name": "cosent", "temperature": 0.25, "across": "query", "scope": "batch"},
    {"name": "rince", "temperature": 0.125, "lowest_temperature": 0.5, "highest_grade": 3, "form": "in"},
    {"name": "rince", "temperature": 0.125, "lowest_temperature": 0.5, "highest_grade": 3, "form": "out"},
    {"name": "rince", "temperature": 0.25, "lowest_temperature": 0.25, "highest_grade": 3, "form": "out_in", "scope": "list"},
    {"name": "bixse", "scale": 8.0, "bias": -2.0, "highest_grade": 3},
    {"name": "mse", "scale": 0.5, "bias": 0.25, "highest_grade": 3},
    {"name": "matryoshka", "dimensions": [1, 2], "weights": [0.5, 2.0], "loss": {"name": "h_infonce", "temperature": 0.25}},
    {"name": "matryoshka", "dimensions": [2, 1], "normalise": False, "loss": {"name": "listnet", "temperature": 0.5, "similarity": "dot"}},
    {"name": "sum", "terms": [
        {"weight": 0.75, "loss": {"name": "bixse", "scale": 4.0, "bias": -1.0, "highest_grade": 3}},
        {"weight": 0.25, "loss": {"name": "cosent", "temperature": 0.25}},
    ]},
]


def short(tensor):
    """Thirteen digits: a thousandth of what the tests allow."""
    return [float(f"{number:.13g}") + 0.0 for number in tensor.detach().reshape(-1).tolist()]


def case(name, settings):
    b = BATCHES[name]
    queries, documents = b["queries"].clone().requires_grad_(), b["documents"].clone().requires_grad_()
    learned = torch.tensor(starts(settings), requires_grad=True)
    result = value(settings, b, queries, documents, learned)
    if result.requires_grad:
        result.backward()
    slopes = lambda tensor: tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
    flat = lambda tensor: short(slopes(tensor)) if tensor.numel() else []
    return {
        "batch": name,
        "loss": settings,
        "value": short(result)[0],
        "queries": flat(queries),
        "documents": flat(documents),
        "parameters": flat(learned),
    }


# --- a second opinion ---


def agrees(what, ours, theirs, tolerance=1e-9):
    assert abs(ours - theirs) <= tolerance * max(1, abs(theirs)), (what, ours, theirs)
    print(f"  sentence-transformers agrees on {what}: {ours:.9f}")


def second_opinion():
    """The losses sentence-transformers has, on batches both can express, fed with our scores or embeddings."""
    from sentence_transformers.cross_encoder import losses as listwise
    from sentence_transformers.sentence_transformer import losses as pairwise

    b = {**BATCHES["lists"], "listed": [[row for row in rows if row[2]] for rows in BATCHES["lists"]["listed"]]}
    q, d = b["queries"], b["documents"]
    ours = lambda settings: value(settings, b, q, d, torch.tensor(starts(settings))).item()

    class Scores(torch.nn.Module):
        """A cross-encoder whose logits are our scores over the temperature."""

        num_labels, device = 1, torch.device("cpu")

        def __init__(self, scores):
            super().__init__()
            self.scores = scores

        def preprocess(self, pairs, **_):
            return {"pairs": pairs}

        def forward(self, inputs):
            return {"scores": torch.stack([self.scores[int(i), int(k)] for i, k in inputs["pairs"]])}

    cosines = F.normalize(q, dim=1) @ F.normalize(d, dim=1).T
    inputs = ([str(i) for i in range(len(q))], [[str(row[0]) for row in rows] for rows in b["listed"]])
    grades = [torch.tensor([float(row[1]) for row in rows]) for rows in b["listed"]]
    model = Scores(cosines / 0.25)
    torch.set_default_dtype(torch.float32)  # theirs asks for it
    theirs = {name: make(model)(inputs, grades).item() for name, make in [
        ("listnet", listwise.ListNetLoss),
        ("lambda_loss", listwise.LambdaLoss),
        ("ranknet", listwise.RankNetLoss),
    ]}
    torch.set_default_dtype(torch.float64)
    theirs["ranknet"] *= math.log(2)  # theirs takes logarithms to base 2
    for name, figure in theirs.items():
        agrees(name, ours({"name": name, "temperature": 0.25}), figure, 1e-6)
    pairs = [(i, row[0], float(row[1])) for i, rows in enumerate(b["listed"]) for row in rows]
    left, right = q[[i for i, _, _ in pairs]], d[[k for _, k, _ in pairs]]
    theirs = pairwise.CoSENTLoss(None, scale=4.0).compute_loss_from_embeddings([left, right], torch.tensor([g for *_, g in pairs]))
    agrees("cosent", ours({"name": "cosent", "temperature": 0.25}), theirs.item())

    # One positive a query, in a square batch: multiple negatives ranking.
    b = {"queries": q, "documents": d[:3], "listed": [[(i, 1, 1, 1.0, None)] for i in range(3)]}
    d = b["documents"]
    for settings, make in [
        ({}, lambda: pairwise.MultipleNegativesRankingLoss(None, scale=4.0)),
        ({"symmetric": True}, lambda: pairwise.MultipleNegativesSymmetricRankingLoss(None, scale=4.0)),
    ]:
        settings = {"name": "infonce", "temperature": 0.25, "positive_from": 1, **settings}
        agrees(f"infonce {settings.get('symmetric', False)}", ours(settings), make().compute_loss_from_embeddings([q, d], None).item())

    # One positive and two negatives a query, teacher's scores for all.
    teacher = torch.tensor([[2.0, 0.5, -1.0], [1.0, -0.25, 0.0], [0.75, 0.5, -3.0]])
    d = BATCHES["lists"]["documents"]
    columns = [d[[0, 1, 2]], d[[3, 4, 5]], d[[6, 0, 1]]]
    index = [[0, 3, 6], [1, 4, 0], [2, 5, 1]]
    b = {
        "queries": q,
        "documents": d,
        "listed": [[(k, int(j == 0), 1, 1.0, teacher[i, j].item()) for j, k in enumerate(index[i])] for i in range(3)],
    }
    theirs = pairwise.MarginMSELoss(None).compute_loss_from_embeddings([q, *columns], teacher)
    agrees("margin_mse", ours({"name": "margin_mse", "similarity": "dot"}), theirs.item())
    distillation = pairwise.DistillKLDivLoss(None, temperature=2.0)
    theirs = distillation.compute_loss_from_embeddings([q, *columns], teacher)
    settings = {"name": "kl_distillation", "temperature": 2.0, "teacher_temperature": 2.0, "similarity": "dot"}
    agrees("kl_distillation", ours(settings), theirs.item())


# --- labelers ---


def labeler_value(s, logits, grades, distributions):
    name = s["name"]
    if name == "cross_entropy":
        weights = torch.tensor(s["class_weights"]) if s.get("class_weights") else None
        return F.cross_entropy(logits, grades, weight=weights, label_smoothing=s.get("label_smoothing", 0.0))
    above = (grades[:, None] > torch.arange(logits.shape[1])[None, :]).double()
    if name == "coral":
        return F.binary_cross_entropy_with_logits(logits, above, reduction="none").sum(1).mean()
    if name == "corn":
        total, count = 0, 0
        for k in range(logits.shape[1]):
            reached = grades >= k
            total = total + F.binary_cross_entropy_with_logits(logits[reached, k], above[reached, k], reduction="sum")
            count += int(reached.sum())
        return total / count
    temperature = s["temperature"]
    teacher = torch.log_softmax(torch.log(distributions) / temperature, 1)
    student = torch.log_softmax(logits / temperature, 1)
    value = temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return value + s.get("hard_weight", 0.0) * F.cross_entropy(logits, grades)


def labeler_cases():
    generator = torch.Generator().manual_seed(11)
    cases = []
    for name, examples, levels in [("four_grades", 5, 4), ("one_example", 1, 3), ("equal_grades", 3, 4)]:
        grades = torch.randint(0, levels, (examples,), generator=generator) if name != "equal_grades" else torch.full((examples,), 2)
        distributions = torch.softmax(torch.randn(examples, levels, generator=generator), 1).float().double()
        for s in [
            {"name": "cross_entropy"},
            {"name": "cross_entropy", "class_weights": [0.5, 2.0, 1.5, 1.0][:levels], "label_smoothing": 0.125},
            {"name": "coral"},
            {"name": "corn"},
            {"name": "distillation", "temperature": 2.0},
            {"name": "distillation", "temperature": 1.0, "hard_weight": 0.5},
        ]:
            columns = levels - 1 if s["name"] in ("coral", "corn") else levels
            logits = (2 * torch.randn(examples, columns, generator=generator)).half().double().requires_grad_()
            # The rows are normalised again in f64, since f32 rows sum to 1 only within rounding.
            result = labeler_value(s, logits, grades, distributions / distributions.sum(1, keepdim=True))
            result.backward()
            cases.append({
                "loss": s,
                "columns": columns,
                "logits": logits.detach().reshape(-1).tolist(),
                "grades": grades.tolist(),
                "distributions": distributions.reshape(-1).tolist(),
                "value": short(result)[0],
                "gradient": short(logits.grad),
            })
    return cases


def main():
    written = {
        name: {"width": b["queries"].shape[1], "queries": b["queries"].reshape(-1).tolist(), "documents": b["documents"].reshape(-1).tolist(), "listed": b["listed"]}
        for name, b in BATCHES.items()
    }
    cases = [case(name, settings) for settings in LOSSES for name in BATCHES]
    lists = {"name": "wasserstein", "temperature": 0.5, "grade_temperature": 1.0, "columns": "lists", "similarity": "dot"}
    cases += [case(name, lists) for name in ("one_pair", "one_query", "equal_grades", "duplicates")]
    line = lambda what: json.dumps(what, separators=(",", ":"))
    lines = [f"{line(name)}:{line(batch)}" for name, batch in written.items()]
    text = '{"batches":{\n' + ",\n".join(lines) + '},\n"cases":[\n' + ",\n".join(map(line, cases))
    text += '],\n"labeler":[\n' + ",\n".join(map(line, labeler_cases())) + "]}\n"
    path = ROOT / "harness/trainer/tests/fixtures/losses.json"
    path.write_text(text)
    print(f"{path.name}: {len(cases)} cases, {len(text)} bytes")
    second_opinion()


main()
