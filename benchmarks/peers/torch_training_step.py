"""One bi-encoder training step, ours against PyTorch's, interleaved: CPU seconds and peak memory.

    python benchmarks/peers/torch_training_step.py MODEL_FOLDER TRAINING_STEP [ROUNDS] [LENGTHS]

TRAINING_STEP is the built example (`cargo build --release -p trainer --example training_step`). 32 queries and 64
documents of one length (default 32,128), InfoNCE over all documents, AdamW, one thread each. Every round runs each side
in a process of its own; the ratio is PyTorch's over ours, given as minimum, median and maximum over rounds (default 3).
Both must end on the same losses. Needs torch and transformers.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time

QUERIES, DOCUMENTS, STEPS = 32, 64, 2


def drawn(count, length, state):
    """Texts of the ids that training_step draws, and the state to go on from."""
    texts = []
    for _ in range(count):
        ids = []
        for _ in range(length):
            state = (state * 1103515245 + 12345) % (1 << 31)
            ids.append(2000 + (state >> 8) % 20000)
        ids[0], ids[-1] = 101, 102
        texts.append(ids)
    return texts, state


def decayed(model):
    """AdamW's groups: matrices decay, vectors do not."""
    return [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]


def peer(folder, length):
    import torch
    from transformers import BertModel

    torch.set_num_threads(1)
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).float().eval()
    optimizer = torch.optim.AdamW(decayed(model), lr=2e-5)
    queries, state = drawn(QUERIES, length, 7)
    documents, _ = drawn(DOCUMENTS, length, state)
    ids = torch.tensor(queries + documents)

    def step():
        optimizer.zero_grad()
        vectors = torch.nn.functional.normalize(model(input_ids=ids).last_hidden_state.mean(1), dim=-1)
        scores = vectors[:QUERIES] @ vectors[QUERIES:].T / 0.05
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(QUERIES))
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = [step()]
    cpu, wall = time.process_time(), time.perf_counter()
    losses += [step() for _ in range(STEPS)]
    peak = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read()).group(1)
    print(json.dumps({
        "cpu_seconds": (time.process_time() - cpu) / STEPS,
        "wall_seconds": (time.perf_counter() - wall) / STEPS,
        "peak_megabytes": int(peak) / 1e3,
        "losses": losses,
    }))


def measured(command):
    output = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(output.stdout.strip().splitlines()[-1])


def main():
    folder, ours = sys.argv[1], sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    lengths = [int(n) for n in (sys.argv[4] if len(sys.argv) > 4 else "32,128").split(",")]
    print("length,measure,ours,pytorch,ratio_min,ratio_median,ratio_max")
    for length in lengths:
        mine, theirs = [], []
        for _ in range(rounds):
            mine.append(measured([ours, folder, str(QUERIES), str(DOCUMENTS), str(length), str(STEPS), "1"]))
            theirs.append(measured([sys.executable, __file__, "--peer", folder, str(length)]))
            for a, b in zip(mine[-1]["losses"], theirs[-1]["losses"]):
                assert abs(a - b) < 1e-3 * max(1, b), (mine[-1]["losses"], theirs[-1]["losses"])
        for measure in ["cpu_seconds", "wall_seconds", "peak_megabytes"]:
            ratios = sorted(b[measure] / a[measure] for a, b in zip(mine, theirs))
            middle = [statistics.median(side[measure] for side in both) for both in (mine, theirs)]
            spread = [ratios[0], statistics.median(ratios), ratios[-1]]
            print(",".join([str(length), measure, *(f"{value:.3f}" for value in middle + spread)]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        peer(sys.argv[2], int(sys.argv[3]))
    else:
        main()
