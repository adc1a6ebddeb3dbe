"""Five training steps of a cross-encoder by PyTorch for every labeler loss, to hold `trainer` to.

    python cross_encoder_steps.py CROSS_ENCODER_FOLDER OUTPUT.json

The folder is the one that ../encoder/cross_encoder.py writes. Everything runs in float64: BertForSequenceClassification
without dropout, AdamW (weight decay 0.01 on matrices only), learning rate 2e-3 with two steps of warm-up and linear decay,
ten times as much for pooler and classifier, gradients clipped to length 1. CORN and CORAL take the classifier's first three
rows, CORAL's thresholds share the first. Written down: the batches, and for each loss the value and the gradient's length
of each step, and of every tensor at step one the gradient's length with a few entries. Needs torch, transformers.
harness/trainer/tests/fixtures/tiny_cross_encoder_steps.json was made with torch 2.15 and transformers 5.23.
"""

import json
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

STEPS, PAIRS, LEVELS, MOST, ENTRIES = 5, 6, 4, 24, 6
TEMPERATURE, HARD = 2.0, 0.5
WORDS = "the cat dog dinner how to fix a leaking tap repair bicycle chain at home quick recipe for tired parents".split()


def batches(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST, strategy="longest_first")
    drawn = random.Random(7)
    text = lambda most: " ".join(drawn.choice(WORDS) for _ in range(drawn.randint(1, most)))
    made = []
    for _ in range(STEPS):
        rows = []
        for _ in range(PAIRS):
            found = tokenizer.encode(text(5), text(14))
            votes = [drawn.randint(0, 4) for _ in range(LEVELS)]
            votes[drawn.randrange(LEVELS)] += 1
            shares = [vote / sum(votes) for vote in votes]
            row = {"ids": found.ids, "second": found.type_ids.index(1), "grade": drawn.randrange(LEVELS)}
            rows.append(row | {"distribution": shares})
        made.append(rows)
    return made


def logits_of(model, rows, shared_row):
    longest = max(len(row["ids"]) for row in rows)
    pad = lambda values: values + [0] * (longest - len(values))
    ids = torch.tensor([pad(row["ids"]) for row in rows])
    types = [[0] * row["second"] + [1] * (len(row["ids"]) - row["second"]) for row in rows]
    types = torch.tensor([pad(row) for row in types])
    mask = torch.tensor([[1] * len(row["ids"]) + [0] * (longest - len(row["ids"])) for row in rows])
    if not shared_row:
        return model(input_ids=ids, token_type_ids=types, attention_mask=mask).logits
    pooled = model.bert(input_ids=ids, token_type_ids=types, attention_mask=mask).pooler_output
    return pooled @ model.classifier.weight.T + model.classifier.bias


def value(name, logits, rows):
    grades = torch.tensor([row["grade"] for row in rows])
    above = (grades[:, None] > torch.arange(LEVELS - 1)).double()
    if name == "cross_entropy":
        return F.cross_entropy(logits, grades)
    if name == "mse":
        expected = (logits.softmax(1) * torch.arange(LEVELS)).sum(1)
        return ((expected - grades) ** 2).mean()
    if name == "distillation":
        shares = torch.tensor([row["distribution"] for row in rows], dtype=torch.float64)
        teacher = shares ** (1 / TEMPERATURE)
        teacher = teacher / teacher.sum(1, keepdim=True)
        soft = F.kl_div((logits / TEMPERATURE).log_softmax(1), teacher, reduction="batchmean") * TEMPERATURE**2
        return soft + HARD * F.cross_entropy(logits, grades)
    if name == "coral":
        return F.binary_cross_entropy_with_logits(logits, above, reduction="none").sum(1).mean()
    asked = grades[:, None] >= torch.arange(LEVELS - 1)
    return F.binary_cross_entropy_with_logits(logits[asked], above[asked])


def run(folder, name, data):
    model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    if name in ("coral", "corn"):
        rows = 1 if name == "coral" else LEVELS - 1
        with torch.no_grad():
            model.classifier.weight = torch.nn.Parameter(model.classifier.weight[:rows].clone())
            model.classifier.bias = torch.nn.Parameter(model.classifier.bias[: LEVELS - 1].clone())
    head = lambda key: key.startswith(("bert.pooler", "classifier"))
    groups = [
        {"params": [parameter], "weight_decay": 0.01 if parameter.dim() > 1 else 0.0, "factor": 10 if head(key) else 1}
        for key, parameter in model.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups)
    rate = lambda step: 2e-3 * (step / 2 if step < 2 else 1 - (step - 2) / (STEPS - 2))
    result = {"losses": [], "norms": [], "gradients": {}}
    for step, rows in enumerate(data):
        for group in optimizer.param_groups:
            group["lr"] = rate(step) * group["factor"]
        optimizer.zero_grad()
        loss = value(name, logits_of(model, rows, name in ("coral", "corn")), rows)
        loss.backward()
        if step == 0:
            for key, parameter in model.named_parameters():
                flat = parameter.grad.reshape(-1)
                at = sorted({*flat.abs().topk(min(ENTRIES, len(flat))).indices.tolist()})
                values = [float(f"{flat[place].item():.7g}") for place in at]
                result["gradients"][key] = {"norm": flat.norm().item(), "at": at, "values": values}
        result["losses"].append(loss.item())
        result["norms"].append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
    return result


def main():
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    data = batches(folder)
    names = ["cross_entropy", "mse", "distillation", "coral", "corn"]
    runs = {name: run(folder, name, data) for name in names}
    output.write_text(json.dumps({"batches": data, "runs": runs}, separators=(",", ":")) + "\n")
    print(output, output.stat().st_size, {name: [round(x, 4) for x in found["losses"]] for name, found in runs.items()})


main()
