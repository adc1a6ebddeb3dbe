"""SSRA's data on real collections: what written queries and each part of the pipeline add to people's grades, as CSV.

    python benchmarks/training/ssra.py GRADED WORK_FOLDER DATA_DIR [--collections chorus,trec-dl] [--seeds 1,2,3]
        [--documents 1000] [--steps 200] [--resamples 10000]

GRADED is the release binary, DATA_DIR holds the collections as folders. Everything is offline: harness/recipes/ssra.toml
makes the data, with its seed and held-out queries replaced, and every arm trains the embedded static table from the same
start, for the same steps, with the batches of `TRAIN` below. Arms differ in what they learn from and in the loss:

    people      the seed grades alone: no query is written
    stage 1     and the score model's grades of the log's queries for further documents
    SSRA        and queries written at grades 3, 2, 1, 0, kept where score model and pairwise judge agree
    binary      the same with queries written at grades 3 and 0 alone
    unfiltered  the same as SSRA with nothing filtered out

chorus: 135 queries in five folds, each held out in turn, over its 19,406 products. trec-dl: the seed is TREC Deep Learning
2020 (54 queries, people's grades, the passages judged for them), held out are the 43 queries of 2019 over the 5,000 passages
of msmarco-dl19-5k; people's grades both times. What is printed for an arm: the mean over held-out queries and seeds, its
standard error over seeds, and the difference from "people, weighted" with a 95 % interval from resampled queries (each the
mean of its seeds). `judged nDCG@10` ranks only the documents that people judged for a query, as the paper's protocol does.
What is finished is not made again, so the script can be stopped and started.

Napkin cost: a cell (fold and seed) is three sets of data, six trainings and two evaluations, some 40 s of one core; chorus
is 15 cells = 10 minutes, trec-dl 3 cells.
"""

import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys

RECIPE = pathlib.Path(__file__).resolve().parents[2] / "harness" / "recipes" / "ssra.toml"
MEASURES = ["nDCG@10", "R@100", "AP", "AP(rel=2)", "AP(rel=3)"]
JUDGED = "judged nDCG@10"
WEIGHTED = 'name = "weighted_infonce"\ntemperature = 0.05'
BINARY = 'name = "infonce"\ntemperature = 0.05\npositive_from = 2'
TRAIN = """[data]
pairs = "{pairs}"
drop_silent = true

[scorer]
encoder = "embedded"

[loss]
{loss}

[batch]
queries = 32
documents_per_query = 8

[training]
steps = {steps}
learning_rate = 0.05
weight_decay = 0.0
checkpoint_every = 0
seed = {seed}
"""
# name: changes to ssra.toml.
DATA = {
    "full": [],
    "binary": [("grades = [3, 2, 1, 0]", "grades = [3, 0]")],
    "unfiltered": [("agree = true", "agree = false"), ('order = "both"', 'order = "off"')],
}
# name: whose data, which of their pairs (by the beginning of `source`), the loss.
ARMS = {
    "people, binary": ("full", ("seed",), BINARY),
    "people, weighted": ("full", ("seed",), WEIGHTED),
    "stage 1, weighted": ("full", ("seed", "stage-1"), WEIGHTED),
    "SSRA, weighted": ("full", ("",), WEIGHTED),
    "SSRA, binary InfoNCE": ("full", ("",), BINARY),
    "binary SSRA, binary InfoNCE": ("binary", ("",), BINARY),
    "unfiltered, weighted": ("unfiltered", ("",), WEIGHTED),
}
REFERENCE = "people, weighted"
# Of a collection: the seed of SSRA, fold by fold, and what is evaluated where that is not the seed's own test/.
COLLECTIONS = {
    "chorus": ([f"held_out = {{ folds = 5, fold = {fold}, seed = 1 }}" for fold in range(5)], None),
    "trec-dl": (['split = "dl2020"\nheld_out = { split = "dl2019" }'], "msmarco-dl19-5k"),
}


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


class Workshop:
    """One collection's work, in a folder of its own."""

    def __init__(self, graded, folder, data, name):
        self.graded_binary, self.folder, self.name = pathlib.Path(graded).resolve(), pathlib.Path(folder) / name, name
        self.cuts, self.test = COLLECTIONS[name]
        self.data = pathlib.Path(data).resolve()
        self.documents, self.steps = option("--documents", "1000"), option("--steps", "200")
        self.folder.mkdir(parents=True, exist_ok=True)

    def graded(self, *words):
        environment = {**os.environ, "GRADED_RUNS": "off"}
        command = [self.graded_binary, *map(str, words), "--quiet", "--format", "json"]
        done = subprocess.run(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}")
        return json.loads(done.stdout)

    def synthesize(self, kind, cut, seed):
        """The folder of one set of data."""
        name = f"data-{kind}-cut{cut}-seed{seed}"
        if not (self.folder / name).exists():
            changes = [
                ('dataset = "sample"', f'dataset = "{self.data / self.name}"'),
                ("documents = 0 ", f"documents = {self.documents} "),
                *DATA[kind],
            ]
            text = RECIPE.read_text()
            for old, new in changes:
                assert old in text, old
                text = text.replace(old, new, 1)
            text, changed = re.subn(r"(?m)^held_out = .*$", lambda _: self.cuts[cut], text)
            assert changed == 1
            (self.folder / f"{name}.toml").write_text(text)
            self.graded("synthesize", "ssra", f"{name}.toml", "--out", name, "--seed", seed)
        return name

    def train(self, arm, cut, seed):
        """The folder of one model."""
        name = f"{re.sub('[^a-zA-Z0-9]+', '-', arm)}-cut{cut}-seed{seed}"
        if not (self.folder / name).exists():
            kind, sources, loss = ARMS[arm]
            data = self.synthesize(kind, cut, seed)
            lines = (self.folder / data / "pairs.jsonl").read_text().splitlines(keepends=True)
            pairs = self.folder / f"{name}.jsonl"
            pairs.write_text("".join(line for line in lines if json.loads(line)["source"].startswith(sources)))
            recipe = TRAIN.format(pairs=pairs.name, loss=loss, steps=self.steps, seed=seed)
            (self.folder / f"{name}.toml").write_text(recipe)
            self.graded("train", f"{name}.toml", "--out", name)
        return name

    def evaluate(self, cut, seed):
        """By arm, by query, by measure."""
        saved = self.folder / f"values-cut{cut}-seed{seed}.json"
        if not saved.exists():
            models = {arm: f"./{self.train(arm, cut, seed)}" for arm in ARMS}
            systems = {"BM25": "bm25", "not trained": "embedded"} | models
            test = self.data / self.test if self.test else f"{self.synthesize('full', cut, seed)}/test"
            words = ["evaluate", "--dataset", test, "--per-query"]
            for system in systems.values():
                words += ["--encoder", system]
            all_documents = self.graded(*words, "--measures", " ".join(MEASURES))["systems"]
            judged = self.graded(*words, "--measures", "nDCG@10", "--judged-candidates")["systems"]
            values = {}
            for arm, one, other in zip(systems, all_documents, judged):
                values[arm] = {
                    query: {**measures, JUDGED: other["queries"][query]["nDCG@10"]}
                    for query, measures in one["queries"].items()
                }
            saved.write_text(json.dumps(values))
        return json.loads(saved.read_text())

    def facts(self, seeds):
        """What was made, summed over cuts and seeds: pairs and their grades by source, what the report warns of."""
        pairs, unlike, agreements = {}, [], []
        for cut in range(len(self.cuts)):
            for seed in seeds:
                folder = self.folder / self.synthesize("full", cut, seed)
                summary = json.loads((folder / "summary.json").read_text())
                agreements.append(summary["score_model"]["kappa_quadratic"])
                unlike.append(summary["diversity"]["round 1, kept"]["duplicate_rate"])
                for line in (folder / "pairs.jsonl").read_text().splitlines():
                    pair = json.loads(line)
                    counts = pairs.setdefault(pair["source"], [0] * 4)
                    counts[pair["grade"]] += 1
        cells = len(self.cuts) * len(seeds)
        for source, counts in pairs.items():
            shown = " ".join(f"{count / cells:.0f}" for count in counts)
            print(f"{self.name}: {source}: pairs of grade 0, 1, 2, 3 a cell: {shown}", file=sys.stderr)
        print(f"{self.name}: score model, kappa {statistics.mean(agreements):.3f} on unseen seed queries; "
              f"written queries that repeat another {statistics.mean(unlike):.1%}", file=sys.stderr)


def interval(differences, resamples, draw):
    """The mean and its 95 % percentile interval over resampled queries."""
    count = len(differences)
    means = sorted(sum(draw.choices(differences, k=count)) / count for _ in range(resamples))
    return statistics.mean(differences), means[int(0.025 * resamples)], means[int(0.975 * resamples)]


def table(workshop, seeds, resamples, out):
    by_seed = []
    for seed in seeds:
        joined = {}
        for cut in range(len(workshop.cuts)):
            for arm, queries in workshop.evaluate(cut, seed).items():
                joined.setdefault(arm, {}).update(queries)
        by_seed.append(joined)
    workshop.facts(seeds)
    arms, measures = list(by_seed[0]), [*MEASURES, JUDGED]
    draw = random.Random(0)

    def of_query(arm, query, measure):
        values = [joined[arm][query][measure] for joined in by_seed]
        return statistics.mean(value for value in values if value is not None)

    for arm in arms:
        for measure in measures:
            queries = [q for q, values in by_seed[0][arm].items() if values[measure] is not None]
            of_seeds = [statistics.mean(joined[arm][q][measure] for q in queries) for joined in by_seed]
            error = statistics.stdev(of_seeds) / len(seeds) ** 0.5 if len(seeds) > 1 else float("nan")
            differences = [of_query(arm, q, measure) - of_query(REFERENCE, q, measure) for q in queries]
            found = interval(differences, resamples, draw)
            cells = [statistics.mean(of_seeds), error, *found]
            row = [workshop.name, f'"{arm}"', measure, len(queries), len(seeds), *(f"{cell:.4f}" for cell in cells)]
            print(",".join(map(str, row)), file=out, flush=True)


def main():
    graded, folder, data = sys.argv[1:4]
    seeds = [int(seed) for seed in option("--seeds", "1,2,3").split(",")]
    names = option("--collections", ",".join(COLLECTIONS)).split(",")
    print("collection,arm,measure,queries,seeds,mean,seed_error,difference,low,high")
    for name in names:
        table(Workshop(graded, folder, data, name), seeds, int(option("--resamples", "10000")), sys.stdout)


main()
