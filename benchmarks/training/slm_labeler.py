"""The labeler of a teacher's grades on real collections: student and teacher beside people, speed and price, as CSV.

    python benchmarks/training/slm_labeler.py GRADED WORK_FOLDER DATA_DIR [--collections trec-dl,chorus]
        [--teacher-encoder all-MiniLM-L6-v2] [--transformer all-MiniLM-L6-v2] [--cross-encoder people,teacher]

GRADED is the release binary, DATA_DIR holds the collections as folders. Data are made by harness/recipes/slm-labeler.toml
with its seed, teacher and depths replaced; a student is the embedded static encoder with a head that `graded model calibrate`
fits to the teacher's grades. Agreement is with people on queries that neither saw, with 95 % intervals over queries.

trec-dl: the teacher is llama3-70b, whose grades of TREC Deep Learning 2020 are recorded; measured on 2019. A recorded teacher
cannot grade what is written, so the student learns the collection's own pairs alone. With --transformer there is a second
student: a head over that encoder, brought into small integers by `graded model quantize`. With --cross-encoder the recipe
harness/recipes/train-labeler.toml is run too, on the teacher's grades or, as its control, on people's: the same pairs, steps and
seed. That takes long; a run that was stopped goes on where it was.
chorus, five folds: two teachers. `agent_1` is one of the three people who graded (recorded). `fitted` is a labeler whose head
is fitted to people's grades of the seed queries over --teacher-encoder (the embedded encoder unless said); it also grades
written queries and BM25's hard negatives for them. People are the final grades, which contain agent_1's vote, and the two other
people one by one, which do not.

Speed is pairs a CPU second of the whole process of `graded label`, start included; a teacher's price a thousand labels is the
recipe's example table at the pairs' mean length, a student's is the same table's machine at the speed measured.
"""

import csv
import json
import os
import pathlib
import re
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPE = ROOT / "harness" / "recipes" / "slm-labeler.toml"
STATISTICS = ["cohen_kappa_quadratic", "krippendorff_alpha_ordinal", "spearman", "mae", "accuracy"]
CROSS_ENCODER = ROOT / "harness" / "recipes" / "train-labeler.toml"
FOLDS = 5


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


class Workshop:
    """A collection's work, in a folder of its own; what is finished is not made again."""

    def __init__(self, graded, folder, data, name):
        self.binary, self.folder, self.name = pathlib.Path(graded).resolve(), pathlib.Path(folder) / name, name
        self.data = pathlib.Path(data).resolve() / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def graded(self, *words, format="json"):
        """stdout, and the CPU seconds it took."""
        environment = {**os.environ, "GRADED_RUNS": "off"}
        command = [self.binary, *map(str, words), "--quiet", "--format", format]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}")
        return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def synthesize(self, name, seed, teacher, written):
        """A folder of taught pairs. `seed` and `teacher` are the lines of those tables."""
        if not (self.folder / name).exists():
            text = RECIPE.read_text()
            text, seeds = re.subn(r"(?s)\[seed\]\n.*?\n\n", lambda _: f"[seed]\n{seed}\n\n", text, count=1)
            text, teachers = re.subn(r"(?s)\[teacher\]\n.*?\n\n", lambda _: f"[teacher]\n{teacher}\n\n", text)
            assert (seeds, teachers) == (1, 1)
            if not written:
                text, depths = re.subn(r"(?m)^depths = .*$", "depths = []", text)
                text, queries = re.subn(r"(?m)^per_document = .*$", "per_document = 0", text)
                assert (depths, queries) == (1, 1)
            text = text.replace('fields = ["tags"]', "fields = []")
            (self.folder / f"{name}.toml").write_text(text)
            self.graded("synthesize", "slm-labeler", f"{name}.toml", "--out", name)
        return name

    def people(self, taught):
        """The file of the seed pairs with people's grades in place of the teacher's."""
        out = self.folder / f"{taught}-people.jsonl"
        if not out.exists():
            with out.open("w") as file:
                for line in (self.folder / taught / "humans.jsonl").read_text().splitlines():
                    pair = json.loads(line)
                    names = ["query_id", "query", "doc_id", "document"]
                    file.write(json.dumps({**{key: pair[key] for key in names}, "grade": pair["human"]}) + "\n")
        return out.name

    def student(self, pairs, name, encoder="embedded"):
        if not (self.folder / name).exists():
            self.graded("model", "calibrate", encoder, "--pairs", pairs, "--hold-out", 0, "--out", name)
        return name

    def quantized(self, encoder):
        if not (self.folder / "quantized.bundle").exists():
            self.graded("model", "quantize", encoder, "--out", "quantized.bundle")
        return "quantized.bundle"

    def cross_encoder(self, whose):
        """The labeler of the recipe, taught `whose` grades of dl2020. The pairs it is measured on take no part in its training
        and are labelled here, with the intervals."""
        name = f"cross-encoder-{whose}"
        text = CROSS_ENCODER.read_text()
        text, datasets = re.subn(r"(?m)^dataset = .*$", lambda _: f'dataset = "{self.data}"', text, count=1)
        text, held_out = re.subn(r"(?m)^held_out = .*\n", "", text)
        assert (datasets, held_out) == (1, 1)
        if whose == "people":
            text, teachers = re.subn(r"(?m)^teacher = .*\n", "", text)
            assert teachers == 1
        (self.folder / f"{name}.toml").write_text(text)
        if not (self.folder / name).exists():
            self.graded("train", f"{name}.toml", "--out", name, "--resume")
        return f"./{name}"

    def label_by_row(self, labeler, out, *pairs):
        """As `label`, by way of a file that a stopped run leaves behind; no CPU seconds where it was stopped."""
        begun = (self.folder / out).exists()
        _, seconds = self.graded("label", *pairs, "--labeler", labeler, "--out", out)
        with (self.folder / out).open() as opened:
            rows = list(csv.DictReader(opened))
        grades = {(row["query_id"], row["doc_id"]): int(row["predicted"]) for row in rows}
        return grades, None if begun else seconds

    def label(self, labeler, *pairs):
        """Grades by query and document, and the CPU seconds."""
        out, seconds = self.graded("label", *pairs, "--labeler", labeler, format="csv")
        rows = csv.DictReader(out.splitlines())
        return {(row["query_id"], row["doc_id"]): int(row["predicted"]) for row in rows}, seconds

    def agree(self, people, grades):
        """Agreement over the pairs that both graded."""
        file = self.folder / "compared.csv"
        with file.open("w", newline="") as opened:
            out = csv.writer(opened)
            out.writerow(["query_id", "doc_id", "human", "predicted"])
            out.writerows([*key, grade, grades[key]] for key, grade in people.items() if key in grades)
        found, _ = self.graded("agree", "--pairs", file.name, "--human", "human", "--predicted", "predicted")
        return json.loads(found)


def teacher_price(summary):
    return next(cost["per_1000"] for cost in summary["costs"] if cost["name"].startswith("teacher"))


def machine_per_hour():
    return float(re.search(r"(?m)^per_hour = ([\d.]+)", RECIPE.read_text()).group(1))


def row(out, workshop, labeler, learned, people, found, pairs_per_second=None, price=None):
    """A line of the table. A price of None with a speed is the machine's."""
    if pairs_per_second and price is None:
        price = machine_per_hour() * 1000 / pairs_per_second / 3600
    kappa = found["intervals"]["cohen_kappa_quadratic"]
    numbers = [f"{found['measures'][name]:.4f}" for name in STATISTICS]
    interval = [f"{kappa['lower']:.4f}", f"{kappa['upper']:.4f}"]
    speed = "" if pairs_per_second is None else f"{pairs_per_second:.0f}"
    cost = "" if price is None else f"{price:.2e}"
    cells = [workshop.name, labeler, learned, people, found["queries"], found["pairs"]]
    out.writerow([*cells, numbers[0], *interval, *numbers[1:], speed, cost])
    sys.stdout.flush()


def trec_dl(workshop, out):
    seed = f'dataset = "{workshop.data}"\nsplit = "dl2020"\nheld_out = {{ split = "dl2019" }}'
    taught = workshop.synthesize("taught", seed, 'kind = "recorded"\nrater = "teacher.llama3-70b"', False)
    test = workshop.data / "dl2019.jsonl"
    pairs = [json.loads(line) for line in test.read_text().splitlines()]
    people = {(pair["query_id"], pair["doc_id"]): pair["human"] for pair in pairs}
    teacher = {(pair["query_id"], pair["doc_id"]): pair["teacher"]["llama3-70b"] for pair in pairs}
    price = teacher_price(json.loads((workshop.folder / taught / "summary.json").read_text()))
    row(out, workshop, "teacher: llama3-70b", "", "human", workshop.agree(people, teacher), None, price)
    students = {
        "embedded, not taught": ("embedded", "the sample"),
        "student: embedded": (
            workshop.student(f"{taught}/pairs.jsonl", "student.bundle"),
            "llama3-70b's grades of dl2020",
        ),
        "control: embedded": (
            workshop.student(workshop.people(taught), "control.bundle"),
            "people's grades of dl2020",
        ),
    }
    for name, (bundle, learned) in students.items():
        grades, seconds = workshop.label(bundle, "--pairs", test)
        row(out, workshop, name, learned, "human", workshop.agree(people, grades), len(grades) / seconds)
    transformer = option("--transformer", "")
    if transformer:
        small = workshop.quantized(transformer)
        taught_by = {"student": (f"{taught}/pairs.jsonl", "llama3-70b's"), "control": (workshop.people(taught), "people's")}
        for title, (file, whose) in taught_by.items():
            bundle = workshop.student(file, f"{title}-transformer.bundle", small)
            grades, seconds = workshop.label(bundle, "--pairs", test)
            learned, name = f"{whose} grades of dl2020", f"{title}: head over {transformer}"
            row(out, workshop, name, learned, "human", workshop.agree(people, grades), len(grades) / seconds)
    titles = {"people": ("control", "people's"), "teacher": ("student", "llama3-70b's")}
    for whose in filter(None, option("--cross-encoder", "").split(",")):
        title, learned = titles[whose]
        bundle = workshop.cross_encoder(whose)
        grades, seconds = workshop.label_by_row(bundle, f"{bundle}-labels.csv", "--pairs", test)
        speed = None if seconds is None else len(grades) / seconds
        name = f"{title}: all-MiniLM-L6-v2 cross-encoder"
        row(out, workshop, name, f"{learned} grades of dl2020", "human", workshop.agree(people, grades), speed)


def chorus(workshop, out, encoder):
    agents = ["agent_1", "agent_2", "agent_3"]
    people = {agent: {} for agent in agents}
    with (workshop.data / "Broad_Query_Set_individual_ratings.csv").open() as opened:
        for line in csv.DictReader(opened):
            # As the reader of the collection makes an id of a query.
            key = ("_".join(line["query"].split()), line["docid"])
            for agent in agents:
                if line[f"{agent}_rating"] != "":
                    people[agent][key] = int(line[f"{agent}_rating"])
    final, prices, seconds = {}, [], {}
    grades = {"teacher: agent_1": people["agent_1"]}
    on_a_machine = f"head over {encoder} on people's grades"
    learned = {
        "teacher: agent_1": "",
        "teacher: fitted": on_a_machine,
        "embedded, not taught": "the sample",
        "student of agent_1": "agent_1's grades",
        "student of fitted": "fitted's grades, written queries too",
        "control": "people's grades",
    }
    for fold in range(FOLDS):
        seed = f'dataset = "{workshop.data}"\nheld_out = {{ folds = {FOLDS}, fold = {fold}, seed = 1 }}'
        rated = workshop.synthesize(f"rated-{fold}", seed, 'kind = "recorded"\nrater = "agent_1_rating"', False)
        # A judge for every pair: the grades that people gave, as pairs, are what its head is fitted to.
        all_judged = workshop.synthesize(f"judged-{fold}", seed, 'kind = "recorded"', False)
        by_people = workshop.people(all_judged)
        fitted = workshop.student(by_people, f"fitted-{fold}.bundle", encoder)
        kind = f'kind = "labeler"\nbundle = "./fitted-{fold}.bundle"'
        written = workshop.synthesize(f"written-{fold}", seed, kind, True)
        prices.append(teacher_price(json.loads((workshop.folder / written / "summary.json").read_text())))
        test = f"{written}/test"
        with (workshop.folder / test / "qrels" / "test.tsv").open() as opened:
            for line in csv.DictReader(opened, delimiter="\t"):
                query, document, grade = line.values()
                final[query, document] = int(grade)
        labelers = {
            "teacher: fitted": f"./{fitted}",
            "embedded, not taught": "embedded",
            "student of agent_1": workshop.student(f"{rated}/pairs.jsonl", f"of-agent-{fold}.bundle"),
            "student of fitted": workshop.student(f"{written}/pairs.jsonl", f"of-fitted-{fold}.bundle"),
            "control": workshop.student(by_people, f"control-{fold}.bundle"),
        }
        for name, bundle in labelers.items():
            found, took = workshop.label(bundle, "--dataset", test)
            grades.setdefault(name, {}).update(found)
            seconds[name] = seconds.get(name, 0.0) + took
    for name in learned:
        for who, given in {"final": final, "agent_2": people["agent_2"], "agent_3": people["agent_3"]}.items():
            given = {key: grade for key, grade in given.items() if key in final}
            speed = len(grades[name]) / seconds[name] if name in seconds else None
            row(out, workshop, name, learned[name], who, workshop.agree(given, grades[name]), speed)


def main():
    graded, folder, data = sys.argv[1:4]
    out = csv.writer(sys.stdout)
    head = ["collection", "labeler", "learned_from", "people", "queries", "pairs", "cohen_kappa_quadratic", "low", "high"]
    out.writerow([*head, *STATISTICS[1:], "pairs_per_cpu_second", "price_of_1000"])
    for name in option("--collections", "trec-dl,chorus").split(","):
        workshop = Workshop(graded, folder, data, name)
        if name == "trec-dl":
            trec_dl(workshop, out)
        else:
            chorus(workshop, out, option("--teacher-encoder", "embedded"))


main()
