"""Losses and gradients of H-InfoNCE and WS2 by PyTorch's autograd in float64, written from the formulas alone.

    python benchmarks/references/losses/make_fixtures.py

writes kernels/src/h_infonce/fixtures.txt and kernels/src/wasserstein/fixtures.txt. Needs torch (2.15 made the
committed files). Every line is `name value value ...`; a blank line ends a case.
"""

import pathlib

import torch

ROOT = pathlib.Path(__file__).resolve().parents[3]
IGNORED = 255
torch.set_default_dtype(torch.float64)


def line(name, values):
    if torch.is_tensor(values):
        values = values.detach().reshape(-1).tolist()
    return " ".join([name, *(repr(value) for value in values)])


def h_infonce(queries, documents, labels, weights, inverse_temperature, anchors):
    """Equation 3 with a dense mask, anchor by anchor: [B x N x N] only in spirit, one row at a time."""
    scores = queries @ documents.T * inverse_temperature
    total = scores.new_zeros(())
    for row in range(len(labels)):
        for anchor in range(labels.shape[1]):
            label = int(labels[row, anchor])
            if label == IGNORED or not anchors >> label & 1 or weights[row, anchor] == 0:
                continue
            competitors = (labels[row] != IGNORED) & (labels[row] < label)
            if not competitors.any():
                continue
            mask = competitors.clone()
            mask[anchor] = True
            logits = scores[row].masked_fill(~mask, float("-inf"))
            total = total - weights[row, anchor] * torch.log_softmax(logits, 0)[anchor]
    return total


def h_infonce_case(name, seed, queries, documents, width, levels, inverse_temperature, anchors=0xFFFF, weighted=True):
    generator = torch.Generator().manual_seed(seed)
    # Values that f32 holds exactly, so that both sides start from the same numbers.
    draw = lambda *shape: torch.randn(*shape, generator=generator).float().double()
    q = draw(queries, width).requires_grad_()
    d = draw(documents, width).requires_grad_()
    inverse = torch.tensor(inverse_temperature, requires_grad=True)
    labels = torch.zeros(queries, documents, dtype=torch.int64)
    listed = torch.rand(queries, documents, generator=generator) < 0.3
    drawn = torch.randint(0, levels, (queries, documents), generator=generator)
    ignored = torch.rand(queries, documents, generator=generator) < 0.15
    labels = torch.where(listed, torch.where(ignored, IGNORED, drawn), labels)
    weights = torch.randint(0, 4, (queries, documents), generator=generator).double() if weighted else torch.ones(queries, documents)
    loss = h_infonce(q, d, labels, weights, inverse, anchors)
    loss.backward()
    entries = listed.nonzero()
    return [
        f"case {name}",
        line("shape", [queries, documents, width]),
        line("inverse_temperature", [inverse_temperature]),
        line("anchors", [anchors]),
        line("queries", q),
        line("documents", d),
        line("offsets", [0, *listed.sum(1).cumsum(0).tolist()]),
        line("listed", entries[:, 1]),
        line("labels", labels[listed]),
        line("weights", weights[listed]),
        line("loss", [loss.item()]),
        line("query_gradient", q.grad),
        line("document_gradient", d.grad),
        line("inverse_temperature_gradient", [inverse.grad.item()]),
        "",
    ]


def square_root(matrix):
    """Symmetric square root, by eigenvalues; those within rounding of 0 are 0."""
    values, vectors = torch.linalg.eigh(matrix)
    values = torch.where(values > values.max() * 1e-13, values, torch.zeros_like(values))
    return vectors @ torch.diag(values.sqrt()) @ vectors.T


def covariance(rows):
    centred = rows - rows.mean(0)
    return centred.T @ centred / max(len(rows) - 1, 1)


def wasserstein_by_covariances(predicted, target):
    """The definition with n x n covariances and matrix square roots; value only."""
    cp, cg = covariance(predicted), covariance(target)
    root = square_root(cg)
    cross = square_root(root @ cp @ root)
    shift = predicted.mean(0) - target.mean(0)
    return shift @ shift + torch.trace(cp) + torch.trace(cg) - 2 * torch.trace(cross)


def wasserstein(predicted, target):
    """The same through singular values, which autograd can follow."""
    shift = predicted.mean(0) - target.mean(0)
    queries = len(predicted)
    if queries == 1:
        return shift @ shift
    ep, eg = predicted - predicted.mean(0), target - target.mean(0)
    singular = torch.linalg.svdvals(ep @ eg.T)
    singular = singular[singular > 1e-12 * singular.max()]
    return shift @ shift + ((ep**2).sum() + (eg**2).sum() - 2 * singular.sum()) / (queries - 1)


def wasserstein_case(name, seed, queries, list_length, kind, temperature, label_temperature, spread=1.5):
    generator = torch.Generator().manual_seed(seed)
    columns = list_length if kind == "lists" else queries * list_length
    logits = (torch.randn(queries, columns, generator=generator) * spread).requires_grad_()
    labels = torch.randint(0, 4, (queries, list_length), generator=generator).double()
    if kind == "lists":
        target = torch.softmax(labels / label_temperature, 1)
    else:
        absent = 0.0 if kind == "batch" else float("-inf")
        target = torch.full((queries, columns), absent)
        for query in range(queries):
            target[query, query * list_length : (query + 1) * list_length] = labels[query] / label_temperature
        target = torch.softmax(target, 1)
    predicted = torch.softmax(logits / temperature, 1)
    loss = wasserstein(predicted, target)
    loss.backward()
    direct = wasserstein_by_covariances(predicted.detach(), target).item()
    assert abs(direct - loss.item()) < 1e-7, (name, direct, loss.item())
    return [
        f"case {name}",
        f"target {kind}",
        line("shape", [queries, list_length]),
        line("temperatures", [temperature, label_temperature]),
        line("logits", logits),
        line("labels", labels),
        line("loss", [loss.item()]),
        line("gradient", logits.grad),
        "",
    ]


def write(path, cases):
    (ROOT / path).write_text("\n".join(text for case in cases for text in case))


write(
    "kernels/src/h_infonce/fixtures.txt",
    [
        h_infonce_case("two_levels", 1, 5, 9, 4, 2, 20.0, weighted=False),
        h_infonce_case("six_levels", 2, 7, 31, 8, 6, 4.0),
        h_infonce_case("sixteen_levels", 3, 6, 33, 5, 16, 1.0),
        h_infonce_case("high_anchors_only", 4, 5, 17, 6, 6, 2.0, anchors=0b110000),
        h_infonce_case("cold", 5, 4, 12, 7, 6, 100.0, weighted=False),
    ],
)
write(
    "kernels/src/wasserstein/fixtures.txt",
    [
        wasserstein_case("one_query", 1, 1, 4, "batch", 1.0, 1.0),
        wasserstein_case("batch", 2, 4, 4, "batch", 1.0, 1.0),
        wasserstein_case("warm", 3, 6, 3, "batch", 2.0, 0.5),
        wasserstein_case("own_list", 4, 5, 4, "own_list", 0.5, 1.0),
        wasserstein_case("lists", 5, 4, 7, "lists", 1.0, 1.0),
        wasserstein_case("larger", 6, 16, 4, "batch", 1.0, 1.0),
    ],
)
