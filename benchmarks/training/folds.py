"""The table of all losses: every recipe over five folds and several seeds, held-out measures with intervals, as CSV.

    python benchmarks/training/folds.py GRADED WORK_FOLDER [--seeds 1,2,3] [--losses infonce,h-infonce] [--folds 5]
        [--encoder embedded --learning-rate 0.05 --epochs 30] [--dataset FOLDER] [--split NAME --held-out FOLDER]

GRADED is the release binary. Each run is `graded train` with a recipe of harness/recipes/train-LOSS.toml whose fold and
seed are replaced; what is finished is not run again, so the script can be stopped and started. A loss's figure for a seed
is the mean over all queries of all folds (`graded evaluate` of the joined held-out runs would give the same); printed are
mean and standard error over seeds, beside BM25 and the untrained encoder. Chorus takes some 15 minutes a run on one core
of 100 GFLOP/s with MiniLM: 15 losses x 5 folds x 3 seeds are two and a half days there. With the embedded static table a run is
seconds, and the table half an hour: every loss then has the one learning rate that is given.

With --held-out there are no folds: every loss learns from the judgments of --dataset, split --split, and is measured on the
collection that is named. DL20 -> DL19 is `--dataset DATA/trec-dl --split dl2020 --held-out DATA/msmarco-dl19-5k`; the two
losses that learn a teacher's recorded scores are in that table too.
"""

import json
import pathlib
import re
import statistics
import subprocess
import sys

RECIPES = pathlib.Path(__file__).resolve().parents[2] / "harness" / "recipes"


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def run(graded, folder, loss, fold, folds, seed, changes):
    name = f"{loss}-fold{fold}-seed{seed}"
    text = (RECIPES / f"train-{loss}.toml").read_text()
    held_out = option("--held-out", "")
    cut = f'dataset = "{held_out}"' if held_out else f"folds = {folds}, fold = {fold}, seed = 1"
    text, changed = re.subn(r"(?m)^held_out = .*$", f"held_out = {{ {cut} }}", text)
    assert changed == 1, loss
    if held_out:
        text = re.sub(r"(?m)^(split|judged_candidates) = .*$", "", text)
        text = text.replace("[data]", f'[data]\nsplit = "{option("--split", "")}"')
    for key, value in changes.items():
        text, changed = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert changed == 1, (loss, key)
    if changes.get("encoder") == '"embedded"':
        text = re.sub(r"(?m)^max_tokens = .*$", "", text)
        text = text.replace("[384, 192,", "[192,")  # Matryoshka's prefixes: the table's vectors have 192 values
    recipe = folder / f"{name}.toml"
    recipe.write_text(text.replace("[training]", f"[training]\nseed = {seed}"))
    command = [graded, "train", recipe, "--out", folder / name, "--resume", "--quiet", "--format", "json"]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    queries = len({line.split()[0] for line in (folder / name / "held_out.run").read_text().splitlines()})
    return queries, {row["model"]: row["measures"] for row in answer["held_out"] if row["step"] in (None, 0, answer["steps"])}


def main():
    graded, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    held_out = option("--held-out", "")
    folds = 1 if held_out else int(option("--folds", "5"))
    seeds = [int(seed) for seed in option("--seeds", "1,2,3").split(",")]
    recipes = {path.stem[6:]: path.read_text() for path in RECIPES.glob("train-*.toml")}
    learned = ["folds = 5", 'split = "dl2020"'] if held_out else ["folds = 5"]
    of_encoders = {name: text for name, text in recipes.items() if "cross-encoder" not in text}
    every = sorted(name for name, text in of_encoders.items() if any(line in text for line in learned))
    losses = option("--losses", ",".join(every)).split(",")
    changes = {"encoder": option("--encoder", ""), "dataset": option("--dataset", "")}
    changes = {key: f'"{value}"' for key, value in changes.items() if value}
    numbers = {"learning_rate": option("--learning-rate", ""), "epochs": option("--epochs", "")}
    changes |= {key: value for key, value in numbers.items() if value}
    measures, said = None, set()
    for loss in losses:
        by_seed = {}
        for seed in seeds:
            parts = [run(graded, folder, loss, fold, folds, seed, changes) for fold in range(folds)]
            total = sum(queries for queries, _ in parts)
            measures = measures or list(parts[0][1]["trained"])
            for model in parts[0][1]:
                mean = [sum(n * rows[model][m] for n, rows in parts) / total for m in measures]
                by_seed.setdefault(model, []).append(mean)
        if not said:
            print("model,seeds," + ",".join(f"{m},{m} error" for m in measures))
        for model, rows in by_seed.items():
            name = loss if model == "trained" else model
            if name in said:
                continue
            said.add(name)
            cells = []
            for column in zip(*rows):
                error = statistics.stdev(column) / len(column) ** 0.5 if len(column) > 1 else float("nan")
                cells += [f"{statistics.mean(column):.4f}", f"{error:.4f}"]
            print(",".join([name, str(len(rows)), *cells]), flush=True)


main()
