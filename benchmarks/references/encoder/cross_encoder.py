"""A tiny cross-encoder and what transformers computes with it, to hold `scorer` to.

    python cross_encoder.py TINY_BERT_FOLDER OUTPUT_FOLDER

Takes the fixture's encoder, puts a pooler and a classifier of four classes on it (numbers drawn with seed 5), and writes
the folder as BertForSequenceClassification, with a labeler.json for `graded`, and expected.json: for each pair the ids and
where the second text begins (truncation "longest_first" to 24 tokens, as sentence-transformers' CrossEncoder asks for) and
the logits in float64. Needs torch, transformers, safetensors.
harness/scorer/tests/fixtures/tiny_cross_encoder was made with torch 2.15 and transformers 5.23.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification

MOST = 24
LONG = "how to repair a bicycle chain at home without tools and a quick dinner for the dog " * 3
PAIRS = [
    ("the cat", "a cat for the dog and the dinner of a cat"),
    ("how to fix a leaking tap", "dinner for the dog"),
    ("", "the cat"),
    ("the cat", ""),
    ("", ""),
    ("cat dinner", LONG),
    (LONG, "cat dinner"),
    (LONG, LONG),
    (LONG, "the cat and the dog had a dinner on the"),
    ("naïve café", "быстрый ужин 🎬"),
    ("the [SEP] cat", "dog [CLS] dinner"),
    ("", LONG),
]


def main():
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    config = BertConfig.from_pretrained(source, num_labels=4)
    torch.manual_seed(5)
    width = config.hidden_size
    tensors = {f"bert.{name}": value.float() for name, value in load_file(source / "model.safetensors").items()}
    tensors["bert.pooler.dense.weight"] = torch.randn(width, width) * 0.3
    tensors["bert.pooler.dense.bias"] = torch.randn(width) * 0.1
    tensors["classifier.weight"] = torch.randn(4, width) * 0.5
    tensors["classifier.bias"] = torch.randn(4) * 0.5
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["BertForSequenceClassification"]
    config.save_pretrained(target)
    shutil.copy(source / "tokenizer.json", target)
    scale = [(0, "no"), (1, "partly"), (2, "mostly"), (3, "fully")]
    levels = [{"grade": grade, "meaning": meaning} for grade, meaning in scale]
    labeler = {"kind": "cross_encoder", "scale": {"name": "test", "levels": levels, "relevant_from": 1}}
    labeler |= {"head": "softmax", "cuts": [0.5, 1.5, 2.5], "max_tokens": MOST}
    (target / "labeler.json").write_text(json.dumps(labeler, indent=1) + "\n")

    model = BertForSequenceClassification.from_pretrained(target, dtype=torch.float64).eval()
    tokenizer = Tokenizer.from_file(str(target / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST, strategy="longest_first")
    rows = []
    for query, document in PAIRS:
        found = tokenizer.encode(query, document)
        with torch.no_grad():
            ids, types = torch.tensor([found.ids]), torch.tensor([found.type_ids])
            logits = model(input_ids=ids, token_type_ids=types).logits[0].tolist()
        second = found.type_ids.index(1)
        assert found.type_ids == [0] * second + [1] * (len(found.ids) - second)
        rows.append({"query": query, "document": document, "ids": found.ids, "second": second, "logits": logits})
    (target / "expected.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


main()
