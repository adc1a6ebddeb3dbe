"""Writes Vaswani and Cranfield as Anserini reads them: one JSON object a document, topics as id TAB text.

Document text: Vaswani's as it stands; Cranfield's title (.T), a blank, its abstract (.W). Cranfield's queries are
counted 1, 2, ... by position, as its judgments count them.

    python for_anserini.py DATA OUT
    java -cp anserini-0.22.1-fatjar.jar io.anserini.index.IndexCollection -collection JsonCollection \
        -input OUT/cranfield -index IDX -generator DefaultLuceneDocumentGenerator -threads 1
    java -cp anserini-0.22.1-fatjar.jar io.anserini.search.SearchCollection -index IDX -topicreader TsvString \
        -topics OUT/cranfield.tsv -bm25 -hits 1000 -output OUT/cranfield.run

Anserini's jar comes with `pip download pyserini==0.22.1`.
"""

import json
import re
import sys
from pathlib import Path

data, out = Path(sys.argv[1]), Path(sys.argv[2])


def write(name, documents, queries):
    (out / name).mkdir(parents=True, exist_ok=True)
    with open(out / name / "documents.jsonl", "w") as file:
        for identifier, text in documents:
            print(json.dumps({"id": identifier, "contents": text}), file=file)
    with open(out / f"{name}.tsv", "w") as file:
        for identifier, text in queries:
            print(identifier, " ".join(text.split()), sep="\t", file=file)


def vaswani(name, pattern):
    return re.findall(pattern, (data / "vaswani" / name).read_text(), re.S)


def smart(name):
    for record in (data / "cranfield" / name).read_text().split("\n.I "):
        fields = re.split(r"\n\.([A-Z])(?=\n)", "\n" + record.removeprefix(".I "))
        # Of a field that stands twice (document 576 holds another record's end) the first counts.
        yield fields[0].strip(), dict(reversed(list(zip(fields[1::2], fields[2::2]))))


write(
    "vaswani",
    vaswani("doc-text.trec", r"<DOC>\s*<DOCNO>(\d+)</DOCNO>(.*?)</DOC>"),
    vaswani("query-text.trec", r"<num>(\d+)</num>\s*<title>(.*?)</title>"),
)
write(
    "cranfield",
    [(identifier, fields.get("T", "") + " " + fields.get("W", "")) for identifier, fields in smart("cran.all.1400")],
    [(str(number), fields["W"]) for number, (_, fields) in enumerate(smart("cran.qry"), 1)],
)
