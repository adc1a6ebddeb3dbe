"""nDCG@10 of static tables on four collections, brute force, with HF tokenizers and NumPy only.

    python table_quality.py DATA_FOLDER BUNDLE...

A second implementation on purpose: it reads the one-file bundle by its format document and shares no code with the crate.
"""

import collections
import json
import re
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load
from tokenizers import Tokenizer


def bundle(path: str) -> dict[str, bytes]:
    data = Path(path).read_bytes()
    assert data[:8] == b"GRADEDBN" and int.from_bytes(data[8:12], "little") == 1
    header = int.from_bytes(data[12:16], "little")
    start = (48 + header + 63) // 64 * 64
    entries = json.loads(data[48 : 48 + header])
    return {e["name"]: data[start + e["offset"] : start + e["offset"] + e["length"]] for e in entries}


def beir(folder: Path):
    rows = lambda name: [json.loads(line) for line in open(folder / name)]
    documents = {r["_id"]: ((r.get("title") or "") + " " + r["text"]).strip() for r in rows("corpus.jsonl")}
    queries = {r["_id"]: r["text"] for r in rows("queries.jsonl")}
    judgments = collections.defaultdict(dict)
    for line in list(open(folder / "qrels/test.tsv"))[1:]:
        query, document, grade = line.split("\t")
        judgments[query][document] = int(grade)
    return documents, queries, judgments


def smart(path: Path) -> dict[str, dict[str, str]]:
    records, field = {}, ""
    for line in open(path, errors="replace"):
        if line.startswith(".I"):
            record = records[line.split()[1]] = collections.defaultdict(str)
        elif re.match(r"^\.[A-Z]\s*$", line):
            field = line[1]
        else:
            record[field] += line.replace("\n", " ")
    return records


def cranfield(folder: Path):
    documents = {k: (r["T"] + r["W"]).strip() for k, r in smart(folder / "cran.all.1400").items()}
    queries = {str(i): r["W"].strip() for i, r in enumerate(smart(folder / "cran.qry").values(), 1)}
    judgments = collections.defaultdict(dict)
    for line in open(folder / "cranqrel"):
        query, document, code = line.split()
        judgments[query][document] = {"1": 4, "2": 3, "3": 2, "4": 1, "-1": 0}[code]
    return documents, queries, judgments


def vaswani(folder: Path):
    text = (folder / "doc-text.trec").read_text()
    found = re.finditer(r"<DOCNO>(.*?)</DOCNO>(.*?)</DOC>", text, re.S | re.I)
    documents = {m[1].strip(): m[2].strip() for m in found}
    topics = re.finditer(r"<num>\s*(\d+).*?<title>(.*?)</top>", (folder / "query-text.trec").read_text(), re.S | re.I)
    queries = {m[1]: re.sub("<.*?>", " ", m[2]).strip() for m in topics}
    judgments = collections.defaultdict(dict)
    for line in open(folder / "qrels"):
        query, _, document, grade = line.split()
        judgments[query][document] = int(grade)
    return documents, queries, judgments


def encode(files: dict[str, bytes], texts: list[str]) -> np.ndarray:
    tensors = load(files["model.safetensors"])
    table = tensors["table"].astype(np.float32)
    if "scales" in tensors:
        table *= tensors["scales"].astype(np.float32)[:, None]
    tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
    sums = np.stack([table[np.array(e.ids, int)].sum(0) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)])
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def ndcg(scores: np.ndarray, documents: list[str], grades: dict[str, int]) -> float:
    top = np.argsort(-scores, kind="stable")[:10]
    gain = lambda values: sum(value / np.log2(rank + 2) for rank, value in enumerate(values))
    ideal = sorted((g for g in grades.values() if g > 0), reverse=True)[:10]
    return gain(max(grades.get(documents[i], 0), 0) for i in top) / gain(ideal)


def main() -> None:
    data = Path(sys.argv[1])
    readers = {"dbpedia-entity-5k": beir, "msmarco-dl19-5k": beir, "cranfield": cranfield, "vaswani": vaswani}
    for path in sys.argv[2:]:
        files, results = bundle(path), []
        for name, reader in readers.items():
            documents, queries, judgments = reader(data / name)
            judged = [q for q in queries if any(g > 0 for g in judgments[q].values())]
            vectors = encode(files, list(documents.values()))
            scores = encode(files, [queries[q] for q in judged]) @ vectors.T
            results.append(np.mean([ndcg(s, list(documents), judgments[q]) for q, s in zip(judged, scores)]))
        print(path, *(f"{r:.4f}" for r in results), f"mean {np.mean(results):.4f}", flush=True)


if __name__ == "__main__":
    main()
