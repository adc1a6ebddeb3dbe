"""Ten training steps of a sentence encoder by PyTorch, to hold `trainer` to: same ids, same order, same AdamW.

    python ten_steps.py MODEL_FOLDER OUTPUT.json [ENTRIES]

The loss is InfoNCE over all documents of the batch (temperature 0.05), dropout is off, weight decay 0.01 on matrices
only, learning rate 2e-5 with two steps of warm-up and linear decay, gradients clipped to length 1. Written down: the ids
of ten batches, the loss and the gradient's length of each step, and of every tensor at step one the gradient's length
with ENTRIES entries (half of them the largest, half spread evenly; default 48). Needs torch, transformers, safetensors.
harness/trainer/tests/fixtures/{tiny,minilm}_ten_steps.json were made with torch 2.15 and transformers 5.23.
"""

import json
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import BertModel

STEPS, QUERIES, DOCUMENTS, TEMPERATURE = 10, 6, 12, 0.05
WORDS = (
    "quick dinner recipe for tired parents repair bicycle chain without tools river bank loan interest slow motion dance "
    "tutorial beginner mountain weather storm warning electric guitar lesson chord history of tea ceremony funny dog "
    "learns to swim cheap flights winter tent review paint small kitchen white"
).split()


def batches(folder, longest):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    drawn = random.Random(11)
    text = lambda most: " ".join(drawn.choice(WORDS) for _ in range(drawn.randint(1, most)))
    ids = lambda count, most: [tokenizer.encode(text(most)).ids for _ in range(count)]
    return [{"queries": ids(QUERIES, 8), "documents": ids(DOCUMENTS, 40)} for _ in range(STEPS)]


def vectors(model, sequences):
    longest = max(map(len, sequences))
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sequences])
    ids = torch.tensor([s + [0] * (longest - len(s)) for s in sequences])
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(pooled, dim=-1)


def loss_of(model, batch):
    scores = vectors(model, batch["queries"]) @ vectors(model, batch["documents"]).T / TEMPERATURE
    return torch.nn.functional.cross_entropy(scores, torch.arange(QUERIES))


def entries_of(gradient, count):
    flat = gradient.reshape(-1)
    largest = flat.abs().topk(min(count // 2, len(flat))).indices.tolist()
    spread = range(0, len(flat), max(1, len(flat) // (count - count // 2)))
    return {at: flat[at].item() for at in sorted({*largest, *spread})}


def main():
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 48
    torch.manual_seed(0)
    model = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").float().eval()
    data = batches(folder, 40)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}])
    rate = lambda step: 2e-5 * (step / 2 if step < 2 else 1 - (step - 2) / (STEPS - 2))
    result = {"batches": data, "losses": [], "norms": [], "gradients": {}}
    for step, batch in enumerate(data):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        if step == 0:
            for name, parameter in model.named_parameters():
                gradient = parameter.grad
                values = entries_of(gradient, count)
                values = {"at": list(values), "values": [float(f"{v:.7g}") for v in values.values()]}
                result["gradients"][name] = {"norm": gradient.double().norm().item(), **values}
        result["losses"].append(loss.item())
        result["norms"].append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
    output.write_text(json.dumps(result, separators=(",", ":")) + "\n")
    print(output, output.stat().st_size, "bytes; losses", [round(value, 4) for value in result["losses"]])


main()
