"""PyTorch's answer to the same work, for benchmarks/h200/run: one line of CSV, in its columns.

loss B N D      masked H-InfoNCE, forward and backward, bf16 matrix products, one mask a level
search Q N D K  matmul in blocks of documents, topk of each block, topk of what the blocks found
model FOLDER    no answer: writes a model of MiniLM's shape with random weights, for both sides of `step`
step FOLDER PROGRAM Q N LENGTH CHUNK
                a training step under autocast to bf16 with the fused AdamW, and beside it PROGRAM's (the trainer's example
                training_step), in turns, each in a process of its own; InfoNCE over N documents, chunks of so many
                tokens (GradCache where there is more than one); the losses must agree
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
from torch_training_step import decayed, drawn  # noqa: E402

RATE = 790e12
REPEATS = 5


def timed(work):
    """Median milliseconds by the device's clock, and the most memory beyond what lay there before."""
    work()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times), torch.cuda.max_memory_allocated() - before


def unit_rows(rows, columns):
    values = torch.empty(rows, columns, device="cuda", dtype=torch.bfloat16).uniform_(-1, 1)
    return values * (3.0 / columns) ** 0.5


def loss(queries, documents, columns):
    q = unit_rows(queries, columns).requires_grad_()
    d = unit_rows(documents, columns).requires_grad_()
    row = torch.arange(queries, device="cuda")[:, None]
    listed = (row * 8 + torch.arange(8, device="cuda") * 97) % documents
    level = torch.tensor([4, 3, 2, 1, 1, 2, 2, 3], device="cuda", dtype=torch.int8).expand(queries, 8)
    labels = torch.zeros(queries, documents, device="cuda", dtype=torch.int8)
    labels.scatter_(1, listed, level)

    def work():
        q.grad = d.grad = None
        scores = (q @ d.T).float() / 0.05
        pairs = scores.gather(1, listed)
        total = 0.0
        for anchor in range(1, 5):
            below = scores.masked_fill(labels >= anchor, float("-inf")).logsumexp(1, keepdim=True)
            terms = torch.nn.functional.softplus(below - pairs)
            total = total + (terms * (level == anchor)).sum()
        (total / queries).backward()

    return timed(work), 4 * 2 * queries * documents * columns / RATE * 1e3


def search(queries, rows, columns, k):
    q = unit_rows(queries, columns)
    d = torch.empty(rows, columns, device="cuda", dtype=torch.bfloat16)
    block = 100_000
    for first in range(0, rows, block):
        d[first : first + block] = unit_rows(min(block, rows - first), columns)

    def work():
        scores, ids = [], []
        for first in range(0, rows, block):
            best = (q @ d[first : first + block].T).topk(min(k, block), dim=1)
            scores.append(best.values)
            ids.append(best.indices + first)
        best = torch.cat(scores, 1).topk(k, dim=1)
        torch.cat(ids, 1).gather(1, best.indices)

    return timed(work), 2 * queries * rows * columns / RATE * 1e3


LAYERS, WIDTH, HEADS, INNER = 6, 384, 12, 1536
ROUNDS, STEPS = 3, 5


def write_model(folder):
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    config = BertConfig(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=INNER)
    model = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        # As drawn, what all texts have in common outweighs their words, and the guards would call that a collapse.
        model.embeddings.word_embeddings.weight.mul_(10)
        model.embeddings.token_type_embeddings.weight.zero_()
    model.save_pretrained(folder)
    fixture = "harness/scorer/tests/fixtures/tiny_bert"
    for name in ["tokenizer.json", "tokenizer_config.json", "modules.json"]:
        shutil.copy(os.path.join(fixture, name), folder)
    os.makedirs(os.path.join(folder, "1_Pooling"), exist_ok=True)
    with open(os.path.join(folder, "1_Pooling", "config.json"), "w") as file:
        json.dump({"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}, file)


def peer_step(folder, queries, documents, length, chunk):
    """Prints seconds a step, peak memory and losses, as training_step does."""
    from transformers import BertModel

    model = BertModel.from_pretrained(folder, add_pooling_layer=False).float().cuda().eval()
    optimizer = torch.optim.AdamW(decayed(model), lr=2e-5, fused=True)
    first, state = drawn(queries, length, 7)
    second, _ = drawn(documents, length, state)
    chunks = torch.tensor(first + second).cuda().split(max(1, chunk // length))

    def encode(ids):
        with torch.autocast("cuda", torch.bfloat16):
            hidden = model(input_ids=ids).last_hidden_state
        return torch.nn.functional.normalize(hidden.float().mean(1), dim=-1)

    def loss_of(vectors):
        scores = vectors[:queries] @ vectors[queries:].T / 0.05
        return torch.nn.functional.cross_entropy(scores, torch.arange(queries, device="cuda"))

    def step():
        optimizer.zero_grad()
        if len(chunks) == 1:
            loss = loss_of(encode(chunks[0]))
            loss.backward()
        else:
            with torch.no_grad():
                vectors = torch.cat([encode(ids) for ids in chunks])
            vectors.requires_grad_()
            loss = loss_of(vectors)
            loss.backward()
            for ids, slope in zip(chunks, vectors.grad.split([len(ids) for ids in chunks])):
                encode(ids).backward(slope)
        optimizer.step()
        return loss.item()

    losses = [step()]
    torch.cuda.synchronize()
    wall = time.perf_counter()
    losses += [step() for _ in range(STEPS)]
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - wall) / STEPS
    print(json.dumps({"wall_seconds": seconds, "losses": losses, "device_bytes": torch.cuda.max_memory_allocated()}))


def steps_in_turns(folder, program, queries, documents, length, chunk):
    tokens = (queries + documents) * length
    tape = tokens if tokens <= chunk else 1
    sizes = [str(size) for size in (queries, documents, length)]
    ours = [program, folder, *sizes, str(STEPS), str(os.cpu_count()), str(tape), str(chunk), "bf16"]
    theirs = [sys.executable, __file__, "peer-step", folder, *sizes, str(chunk)]
    said = lambda command: json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    rounds = [(said(ours), said(theirs)) for _ in range(ROUNDS)]
    for mine, peer in rounds:
        for a, b in zip(mine["losses"], peer["losses"]):
            assert abs(a - b) < 2e-2 * max(1, abs(b)), (mine["losses"], peer["losses"])
    # Forward 2 operations a weight and token, backward 4, forward again 2 where tapes are not kept; and attention's.
    passes = 3 if tokens <= chunk else 4
    weights = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
    floor = passes * tokens * (2 * weights + LAYERS * 4 * length * WIDTH) / RATE * 1e3
    shape = f"{queries}x{documents}x{length} tokens, chunks of {chunk}"
    for name, side in [("training step", 0), ("pytorch training step", 1)]:
        milliseconds = statistics.median(pair[side]["wall_seconds"] for pair in rounds) * 1e3
        state = rounds[0][side].get("device_bytes", "")
        print(f"{name},{shape},{milliseconds:.3f},{floor:.3f},{milliseconds / floor:.2f},{state}")
    ratios = sorted(pair[1]["wall_seconds"] / pair[0]["wall_seconds"] for pair in rounds)
    print(f"pytorch over ours,{shape},,,{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}),")


def main():
    what = sys.argv[1]
    if what == "model":
        return write_model(sys.argv[2])
    if what == "peer-step":
        return peer_step(sys.argv[2], *(int(size) for size in sys.argv[3:]))
    if what == "step":
        return steps_in_turns(sys.argv[2], sys.argv[3], *(int(size) for size in sys.argv[4:]))
    sizes = [int(size) for size in sys.argv[2:]]
    (milliseconds, state), floor = {"loss": loss, "search": search}[what](*sizes)
    name = {"loss": "pytorch h_infonce forward+backward", "search": "pytorch top_k"}[what]
    shape = "x".join(map(str, sizes[:3])) + (f" k {sizes[3]}" if what == "search" else "")
    print(f"{name},{shape},{milliseconds:.3f},{floor:.3f},{milliseconds / floor:.2f},{state}")


if __name__ == "__main__":
    main()
