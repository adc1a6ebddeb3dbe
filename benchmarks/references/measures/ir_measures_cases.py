"""Random rankings without ties scored by ir_measures, and scored pairs with ties by scikit-learn.

Writes ir_measures.json (pytrec_eval, cwl_eval and ir_measures' own measures), gdeval.json (TREC's gdeval.pl, which
prints five decimals) and pair_average_precision.json next to the tests that read them.
Needs ir_measures 0.4.3, cwl-eval 1.0.12, pytrec_eval-terrier 0.5.11, scikit-learn 1.9.1 and perl.
"""

import json
import logging
import pathlib
import random

import ir_measures
from sklearn.metrics import average_precision_score

logging.disable(logging.CRITICAL)

FIXTURES = pathlib.Path(__file__).resolve().parents[3] / "harness/relevance/tests/fixtures"
EXACT = [
    "RBP(rel=1)", "RBP(rel=2,p=0.5)", "RBP(rel=1,p=0.95)", "Judged@10", "Judged@3", "Judged", "P(rel=2)@5", "R(rel=2)@5",
    "AP(rel=2)", "AP(rel=2)@4", "RR(rel=2)", "RR@3", "Rprec(rel=2)", "Bpref(rel=2)", "infAP(rel=2)", "Success(rel=3)@4",
    "SetF(beta=0.5)", "SetF(rel=2,beta=2.0)", "SetP(relative=True)", "SetR(rel=2)", "SetAP(rel=2)", "nDCG@5",
    "nDCG(gains={1:3,2:9})@5", "NumRet(rel=2)", "NumRet",
]
GDEVAL = ["ERR@20", "ERR@3", "nDCG(dcg='exp-log2')@20", "nDCG(dcg='exp-log2')@4"]


def ranking(number, lowest):
    rng = random.Random(1000 + number)
    pool = [f"d{i}" for i in range(rng.randint(2, 30))]
    qrels = {document: rng.randint(lowest, 4) for document in rng.sample(pool, rng.randint(1, len(pool)))}
    qrels[rng.choice(list(qrels))] = rng.randint(1, 4)  # gdeval divides by the ideal gain
    found = rng.sample(pool, rng.randint(1, len(pool)))
    run = {document: score / 8 for document, score in zip(found, rng.sample(range(1000), len(found)))}
    return qrels, run


def write(name, names, cases):
    text = json.dumps({"measures": names, "cases": cases}, separators=(",", ":"))
    (FIXTURES / name).write_text(text + "\n")


def rankings(names, count, lowest):
    data = {str(number + 1): ranking(number, lowest) for number in range(count)}
    measures = [ir_measures.parse_measure(name) for name in names]
    values = {query: {} for query in data}
    qrels, run = ({query: pair[side] for query, pair in data.items()} for side in (0, 1))
    for metric in ir_measures.iter_calc(measures, qrels, run):
        values[metric.query_id][str(metric.measure)] = metric.value
    return [
        {
            "qrels": list(data[query][0].items()),
            "run": list(data[query][1].items()),
            "values": [values[query][str(measure)] for measure in measures],
        }
        for query in data
    ]


def pairs(number):
    rng = random.Random(number)
    count = rng.randint(1, 40)
    digits = rng.choice([0, 1, 1, 2, 6])
    scored = [(round(rng.gauss(0, 1), digits), rng.randint(0, 3)) for _ in range(count)]
    scored[0] = (scored[0][0], 3)
    values = [
        float(average_precision_score([grade >= rel for _, grade in scored], [score for score, _ in scored]))
        for rel in (1, 2, 3)
    ]
    return {
        "qrels": [(f"d{i}", grade) for i, (_, grade) in enumerate(scored)],
        "run": [(f"d{i}", score) for i, (score, _) in enumerate(scored)],
        "values": values,
    }


def main():
    write("ir_measures.json", EXACT, rankings(EXACT, 60, -1))
    write("gdeval.json", GDEVAL, rankings(GDEVAL, 60, 0))
    names = ["PairAP", "PairAP(rel=2)", "PairAP(rel=3)"]
    write("pair_average_precision.json", names, [pairs(number) for number in range(40)])


if __name__ == "__main__":
    main()
