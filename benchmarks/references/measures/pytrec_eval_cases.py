"""Random rankings scored by pytrec_eval: ties, negative grades, unjudged documents, empty rankings.

Writes harness/relevance/tests/fixtures/pytrec_eval.json. Needs pytrec_eval-terrier 0.5.11.
Interpolated precision at inner recall levels is left out: trec_eval 10 rounds a recall level to the nearest number of
documents, the trec_eval 9 inside pytrec_eval rounds it up from a tenth on.
"""

import json
import math
import pathlib
import random

import pytrec_eval

MEASURES = (
    "map map_cut_3 map_cut_10 P_5 P_10 recall_5 recall_10 relative_P_5 success_1 success_5 recip_rank Rprec "
    "Rprec_mult_0.40 Rprec_mult_1.20 bpref infAP iprec_at_recall_0.00 iprec_at_recall_1.00 ndcg ndcg_cut_3 "
    "ndcg_cut_10 ndcg_rel Rndcg G binG set_P set_recall set_F set_map set_relative_P utility num_ret num_rel "
    "num_rel_ret num_nonrel_judged_ret"
).split()
REQUEST = {
    "map", "map_cut.3,10", "P.5,10", "recall.5,10", "relative_P.5", "success.1,5", "recip_rank", "Rprec",
    "Rprec_mult.0.4,1.2", "bpref", "infAP", "iprec_at_recall.0,1", "ndcg", "ndcg_cut.3,10", "ndcg_rel", "Rndcg", "G",
    "binG", "set_P", "set_recall", "set_F", "set_map", "set_relative_P", "utility", "num_ret", "num_rel",
    "num_rel_ret", "num_nonrel_judged_ret",
}


def scores(random, count):
    kind = random.choice(["few values", "distinct", "all tied", "close", "negative"])
    if kind == "few values":
        return [random.choice([0.1, 0.5, 0.5, 2.0]) for _ in range(count)]
    if kind == "all tied":
        return [1.25] * count
    if kind == "close":  # equal as 32-bit floats, different as 64-bit ones
        return [0.1 + random.randrange(4) * 1e-12 for _ in range(count)]
    if kind == "negative":
        return [round(random.uniform(-3, 1), 1) for _ in range(count)]
    return [round(random.uniform(0, 30), 6) for _ in range(count)]


def case(number):
    rng = random.Random(number)
    pool = [f"{rng.choice(['d', 'D', 'doc-'])}{i}" for i in range(rng.randint(1, 24))]
    highest = rng.choice([1, 2, 3, 5])
    lowest = rng.choice([0, 0, -1, -2])
    judged = rng.sample(pool, rng.randint(1, len(pool)))
    qrels = {document: rng.randint(lowest, highest) for document in judged}
    if max(qrels.values()) < 0:  # trec_eval reads memory it does not own when no grade is at least 0
        qrels[judged[0]] = 0
    found = rng.sample(pool, rng.choice([0, rng.randint(1, len(pool)), len(pool)]))
    run = dict(zip(found, scores(rng, len(found))))
    level = rng.choice([1, 1, 1, 2, 3])
    judged_only = rng.random() < 0.15
    query = f"q{number}"
    evaluator = pytrec_eval.RelevanceEvaluator(
        {query: qrels}, REQUEST, relevance_level=level, judged_docs_only_flag=judged_only
    )
    values = evaluator.evaluate({query: run})[query]
    return {
        "level": level,
        "judged_only": judged_only,
        "qrels": list(qrels.items()),
        "run": list(run.items()),
        "values": [None if math.isnan(values[name]) else values[name] for name in MEASURES],
    }


def main():
    fixture = {"measures": MEASURES, "cases": [case(number) for number in range(240)]}
    root = pathlib.Path(__file__).resolve().parents[3]
    path = root / "harness/relevance/tests/fixtures/pytrec_eval.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
