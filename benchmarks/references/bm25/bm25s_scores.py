"""Writes harness/scorer/src/lexical/bm25s.jsonl: random small corpora and bm25s' scores of every document.

    pip install bm25s==0.3.16 numpy
    python bm25s_scores.py > harness/scorer/src/lexical/bm25s.jsonl
"""

import json
import random

import bm25s

random.seed(5)
for _ in range(60):
    vocabulary = [f"w{number}" for number in range(random.randint(3, 30))]
    words = lambda low, high: [random.choice(vocabulary) for _ in range(random.randint(low, high))]
    documents = [words(1, 60) for _ in range(random.randint(1, 25))]
    query = list(dict.fromkeys(words(1, 6)))
    k1, b = round(random.uniform(0.2, 2.0), 2), round(random.uniform(0, 1), 2)
    model = bm25s.BM25(k1=k1, b=b, method="lucene")
    model.index(documents, show_progress=False)
    known = [word for word in query if any(word in document for document in documents)]
    scores = model.get_scores(known) if known else [0.0] * len(documents)
    print(json.dumps({
        "k1": k1, "b": b, "query": " ".join(query), "documents": [" ".join(document) for document in documents],
        "scores": [round(float(score), 7) for score in scores],
    }))
