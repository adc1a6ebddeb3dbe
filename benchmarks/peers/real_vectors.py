"""Half a million real sentence vectors for faiss_top_k.py, from the texts of public collections.

    python benchmarks/peers/real_vectors.py texts COLLECTIONS FOLDER [--count 501000]
    graded model pull all-MiniLM-L6-v2 && graded model quantize all-MiniLM-L6-v2 BUNDLE
    GRADED_CACHE=FOLDER/cache graded evaluate --dataset FOLDER --encoder BUNDLE --no-record
    python benchmarks/peers/real_vectors.py vectors FOLDER/cache FILE.npy
    python benchmarks/peers/faiss_top_k.py --vectors FILE.npy

`texts` reads what it finds of the collections (TREC DL pairs, BEIR corpora, Chorus, Cranfield, CACM, Vaswani, Quati) and
writes a BEIR collection of distinct texts in FOLDER: their sentences of 8 to 40 words first, then windows of 8 to 40 words
from anywhere in a passage until there are enough, which makes windows of one passage near-duplicates of each other. The
evaluation encodes them, in the order of their digests, which is none, and may be interrupted and run again. `vectors`
gathers what has been encoded, rows of f32 in an order drawn from a fixed seed. Needs numpy.
"""

import argparse
import glob
import io
import json
import pathlib
import random
import re
import struct
import tarfile
import zipfile

SHORTEST, LONGEST = 8, 40  # words
SEED = 20


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def passages(root):
    """Every text of the collections under `root`."""
    for path in sorted(root.glob("trec-dl/*.jsonl")):
        for line in path.open(encoding="utf-8"):
            yield json.loads(line)["text"]
    for path in sorted(root.glob("*/corpus.jsonl")):
        for line in path.open(encoding="utf-8"):
            document = json.loads(line)
            yield f'{document.get("title", "")} {document["text"]}'.strip()
    for path in sorted(root.glob("chorus/products/*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                for product in json.load(io.TextIOWrapper(archive.open(name), encoding="utf-8")):
                    for key in ("title", "short_description"):
                        yield from strings(product.get(key, ""))
    for path in sorted(root.glob("cranfield/cran.all*")):
        for document in re.split(r"^\.I ", path.read_text(encoding="latin-1"), flags=re.M):
            yield document.partition("\n.W\n")[2]
    for path in sorted(root.glob("cacm/cacm.tar.gz")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile():
                    text = archive.extractfile(member).read().decode("latin-1")
                    yield re.sub(r"<[^>]*>|^\s*[A-Z]{2}\d{6}.*$|^[\d\s]+$", " ", text, flags=re.M)
    for path in sorted(root.glob("vaswani/doc-text.trec")):
        yield from re.findall(r"</DOCNO>(.*?)</DOC>", path.read_text(encoding="latin-1"), flags=re.S)
    for path in sorted(root.glob("quati/annotator_01*.tsv")):
        yield from path.read_text(encoding="utf-8").replace("\t", "\n").splitlines()


def write_texts(root, folder, count):
    draw = random.Random(SEED)
    words = sorted({" ".join(passage.split()) for passage in passages(root)})
    words = [passage.split() for passage in words]
    words = [passage for passage in words if len(passage) >= SHORTEST]
    texts = {}
    for passage in words:
        for sentence in re.split(r"(?<=[.!?]) ", " ".join(passage)):
            if SHORTEST <= sentence.count(" ") + 1 <= LONGEST:
                texts[sentence] = None
    whole = len(texts)
    weights = [len(passage) for passage in words]
    texts = list(texts)
    draw.shuffle(texts)
    texts = dict.fromkeys(texts[:count])
    while len(texts) < count:
        for passage in draw.choices(words, weights, k=10_000):
            length = SHORTEST + int((LONGEST + 1 - SHORTEST) * draw.random() ** 2)
            start = draw.randrange(max(len(passage) - length, 0) + 1)
            texts[" ".join(passage[start : start + length])] = None
            if len(texts) == count:
                break
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as corpus:
        for number, text in enumerate(texts):
            corpus.write(json.dumps({"_id": str(number), "title": "", "text": text}, ensure_ascii=False) + "\n")
    query = {"_id": "q", "text": "what the evaluation asks; only the documents' vectors matter"}
    (folder / "queries.jsonl").write_text(json.dumps(query) + "\n")
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t0\t1\n")
    print(f"{len(words)} passages, {whole} sentences, {len(texts)} texts, {sum(text.count(' ') + 1 for text in texts) / len(texts):.1f} words each")


def gather(cache, output):
    import numpy as np

    rows = []
    for path in sorted(glob.glob(f"{cache}/embeddings/*/*.segment")):
        content = pathlib.Path(path).read_bytes()
        dimensions, count = struct.unpack_from("<II", content, 8)
        rows.append(np.frombuffer(content, np.float32, count * dimensions, 16 + 16 * count).reshape(count, dimensions))
    rows = np.concatenate(rows)
    rows = np.unique(rows, axis=0)  # texts that only differ in what the encoder does not see
    np.random.default_rng(SEED).shuffle(rows)
    np.save(output, rows)
    print(f"{rows.shape[0]} distinct vectors of {rows.shape[1]} values")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    texts = commands.add_parser("texts")
    texts.add_argument("collections", type=pathlib.Path)
    texts.add_argument("folder", type=pathlib.Path)
    texts.add_argument("--count", type=int, default=501_000)
    vectors = commands.add_parser("vectors")
    vectors.add_argument("cache")
    vectors.add_argument("file")
    options = parser.parse_args()
    if options.command == "texts":
        write_texts(options.collections, options.folder, options.count)
    else:
        gather(options.cache, options.file)


main()
