//! The papers' pipelines end to end and offline: data are made, a model is trained on them, and it is evaluated on queries
//! that none of it has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::graded::{Folder, shared};

/// A recipe of the repository, with some lines changed.
fn recipe(folder: &Folder, name: &str, changes: &[(&str, &str)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} is not in {name}");
        text = text.replacen(from, to, 1);
    }
    folder.write(name, text);
}

fn lines(folder: &Folder, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Queries of a set by id, each with the grades of its documents.
fn grades(pairs: &[Value]) -> BTreeMap<String, BTreeSet<i64>> {
    let mut grades: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for pair in pairs {
        let query = pair["query_id"].as_str().unwrap().to_owned();
        grades.entry(query).or_default().insert(pair["grade"].as_i64().unwrap());
    }
    grades
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("expected a number, found {value}"))
}

/// Trains a few steps, and compares the model with its start on the held-out queries. Returns nDCG@10 before and after.
fn trained(folder: &Folder, name: &str, steps: u32, test: &str) -> (f64, f64) {
    recipe(folder, name, &[("steps = 60", &format!("steps = {steps}"))]);
    let answer = folder.json(&format!("train {name} --quiet --out model"));
    let losses = answer["losses"].as_array().unwrap();
    let mean =
        |losses: &[Value]| losses.iter().map(|step| number(&step[1])).sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..3]), mean(&losses[losses.len() - 3..]));
    assert!(last < first, "{name}: the loss went from {first} to {last}");
    let value = |encoder: &str| {
        number(&folder.json(&format!("evaluate --dataset {test} --encoder {encoder}"))["measures"]["nDCG@10"])
    };
    (value("embedded"), value("./model"))
}

#[test]
fn crops_from_the_platform_to_an_evaluated_model() {
    let folder = Folder::new();
    folder.run("simulate --out sim --users 120").ok();
    recipe(&folder, "crops.toml", &[]);
    folder
        .run("synthesize crops crops.toml --log sim/log.jsonl --documents sim --against sim --out crops")
        .ok();
    let (before, after) = trained(&folder, "train-crops.toml", 24, "sim");
    assert!(after > before - 0.05, "{before} {after}");
}

#[test]
fn sycl_from_real_queries_to_an_evaluated_model() {
    let folder = Folder::new();
    recipe(&folder, "sycl.toml", &[]);
    let summary = folder.json("synthesize sycl sycl.toml --out sycl");
    let (written, mined) =
        (lines(&folder, "sycl/written/pairs.jsonl"), lines(&folder, "sycl/mined/pairs.jsonl"));
    // Both arms have the same queries, each with passages of at least two grades; ids say query, grade and number.
    let (of_written, of_mined) = (grades(&written), grades(&mined));
    assert!(of_written.keys().eq(of_mined.keys()) && of_written.len() > 15, "{}", of_written.len());
    assert!(of_written.values().chain(of_mined.values()).all(|grades| grades.len() >= 2));
    for pair in &written {
        let id = format!("{}_l_{}_d_0", pair["query_id"].as_str().unwrap(), pair["grade"]);
        assert_eq!(pair["doc_id"], id);
    }
    let kept = |counts: &Value| {
        counts.as_array().unwrap().iter().map(|of| of["kept"].as_u64().unwrap()).sum::<u64>()
    };
    assert!(kept(&summary["written"]) >= written.len() as u64);
    // Answers are accounted for.
    for of in summary["written"].as_array().unwrap() {
        let count = |key: &str| of[key].as_u64().unwrap();
        let judged: u64 = of["judged"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(
            count("answers"),
            count("unreadable") + count("repeated") + count("unjudged") + judged,
            "{of}"
        );
    }
    // Verified: the score model gave each passage the grade it stands under, and the log says in which style.
    let log = lines(&folder, "sycl/written/log.jsonl");
    assert!(log.iter().all(|line| line["judged"] == line["grade"] && line["style"]["sentences"].is_u64()));
    assert_eq!(log.len(), written.len());
    assert_eq!(summary["quality"]["written"]["leakage"]["queries"], 0);
    let (before, after) = trained(&folder, "train-sycl.toml", 12, "sycl/test");
    assert!(after > before - 0.1, "{before} {after}");
    // The same again, to the byte, on one thread.
    folder.run("synthesize sycl sycl.toml --threads 1 --out again").ok();
    for name in ["written/pairs.jsonl", "written/log.jsonl", "mined/pairs.jsonl", "summary.json"] {
        let [one, other] = ["sycl", "again"].map(|out| std::fs::read(folder.path(out).join(name)).unwrap());
        assert!(one == other, "{name}");
    }
}

#[test]
fn sycl_s_ablations_are_lines_of_the_recipe() {
    let folder = Folder::new();
    let arm = |changes: &[(&str, &str)], out: &str| {
        recipe(&folder, "sycl.toml", changes);
        let summary = folder.json(&format!("synthesize sycl sycl.toml --out {out}"));
        (summary, lines(&folder, &format!("{out}/written/pairs.jsonl")))
    };
    let (_, binary) = arm(&[("grades = [3, 2, 1, 0]", "grades = [3, 0]")], "binary");
    assert!(grades(&binary).values().all(|grades| *grades == BTreeSet::from([0, 3])));
    // Unverified, every query gets what was asked for.
    let changes = [("verify = true", "verify = false"), ("same_queries = true", "same_queries = false")];
    let (summary, unverified) = arm(&changes, "unverified");
    let wanted: u64 =
        summary["written"].as_array().unwrap().iter().map(|of| of["wanted"].as_u64().unwrap()).sum();
    assert!(unverified.len() as u64 * 10 > wanted * 9, "{} of {wanted}", unverified.len());
    // The control arm with people's grades: every mined grade is theirs.
    let judge = ("[written]", "[mined_judge]\nkind = \"recorded\"\n\n[written]");
    let (summary, _) = arm(&[judge], "people");
    let mut people: BTreeMap<(String, String), i64> = BTreeMap::new();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/sample/qrels/test.tsv");
    for line in std::fs::read_to_string(sample).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        people.insert((fields[0].into(), fields[1].into()), fields[2].parse().unwrap());
    }
    for pair in lines(&folder, "people/mined/pairs.jsonl") {
        let key = ["query_id", "doc_id"].map(|key| pair[key].as_str().unwrap().to_owned());
        assert_eq!(people[&(key[0].clone(), key[1].clone())], pair["grade"].as_i64().unwrap());
    }
    assert!(summary["mined"]["unjudged"].as_u64().unwrap() > 0);
    folder.write("wrong.toml", "[lists]\ngrades = [5]\n");
    folder.run("synthesize sycl wrong.toml --dataset sample --out no").refused(&["lists.grades", "0 to 3"]);
    folder.write("wrong.toml", "[written]\n\nattempt = 3\n");
    folder.run("synthesize sycl wrong.toml --dataset sample --out no").refused(&[
        "wrong.toml",
        "line 3",
        "attempt",
    ]);
    folder.write("wrong.toml", "[ranking]\nsystem = \"bm25\"\n");
    folder.run("synthesize sycl wrong.toml --out no").refused(&["seed.dataset", "--dataset"]);
    assert!(!folder.path("no").exists());
}

#[test]
fn ssra_from_seed_grades_to_an_evaluated_model() {
    let folder = Folder::new();
    recipe(&folder, "ssra.toml", &[("documents = 0", "documents = 120")]);
    let summary = folder.json("synthesize ssra ssra.toml --out ssra");
    let pairs = lines(&folder, "ssra/pairs.jsonl");
    let of_source = |source: &str| pairs.iter().filter(|pair| pair["source"] == source).count();
    assert!(of_source("seed") > 500 && of_source("stage-1") > 100 && of_source("round-1") > 20);
    // One document has no query twice, whatever its source.
    let mut seen = BTreeSet::new();
    for pair in pairs.iter().filter(|pair| pair["source"] != "seed") {
        let query = pair["query"].as_str().unwrap().to_lowercase();
        assert!(seen.insert((query, pair["doc_id"].as_str().unwrap())), "{pair}");
    }
    let round = &summary["rounds"][0];
    for of in round["funnels"].as_array().unwrap() {
        let count = |key: &str| of[key].as_u64().unwrap();
        assert_eq!(count("answers"), count("unreadable") + count("repeated") + count("proposed"), "{of}");
        assert!(count("both") <= count("agree_alone").min(count("proposed")), "{of}");
        // What agreement alone keeps is the diagonal of target and judged grade.
        assert_eq!(of["judged"][count("grade") as usize], of["agree_alone"], "{of}");
        assert!(count("kept") <= count("passed") && count("passed") == count("both"), "{of}");
    }
    let kept: u64 = round["funnels"].as_array().unwrap().iter().map(|of| of["kept"].as_u64().unwrap()).sum();
    assert_eq!(kept, of_source("round-1") as u64);
    assert_eq!(summary["quality"]["leakage"]["queries"], 0);
    let (before, after) = trained(&folder, "train-ssra.toml", 16, "ssra/test");
    assert!(after > before - 0.05, "{before} {after}");
    folder.run("synthesize ssra ssra.toml --threads 1 --out again").ok();
    for name in ["pairs.jsonl", "summary.json"] {
        let [one, other] = ["ssra", "again"].map(|out| std::fs::read(folder.path(out).join(name)).unwrap());
        assert!(one == other, "{name}");
    }
}

#[test]
fn ssra_s_filters_and_rounds_are_lines_of_the_recipe() {
    let folder = Folder::new();
    let made = |changes: &[(&str, &str)], out: &str| {
        let small = [("documents = 0", "documents = 40")];
        recipe(&folder, "ssra.toml", &[&small[..], changes].concat());
        folder.json(&format!("synthesize ssra ssra.toml --out {out}"))
    };
    let passed = |summary: &Value| -> Vec<u64> {
        let funnels = summary["rounds"][0]["funnels"].as_array().unwrap();
        funnels.iter().map(|of| of["passed"].as_u64().unwrap()).collect()
    };
    let of_all = |summary: &Value, key: &str| -> Vec<u64> {
        let funnels = summary["rounds"][0]["funnels"].as_array().unwrap();
        funnels.iter().map(|of| of[key].as_u64().unwrap()).collect()
    };
    let both = made(&[], "both");
    // What a run says a filter keeps alone is what a run with that filter alone keeps.
    let agree = made(&[("order = \"both\"", "order = \"off\"")], "agree");
    assert_eq!(passed(&agree), of_all(&both, "agree_alone"));
    let order = made(&[("agree = true", "agree = false")], "order");
    assert_eq!(passed(&order), of_all(&both, "order_alone"));
    let none = made(&[("agree = true", "agree = false"), ("order = \"both\"", "order = \"off\"")], "none");
    assert_eq!(passed(&none), of_all(&both, "proposed"));
    let binary = made(&[("grades = [3, 2, 1, 0]", "grades = [3, 0]"), ("on = true", "on = false")], "binary");
    assert_eq!(binary["stage_1"]["pairs"], 0);
    assert_eq!(passed(&binary).len(), 2);
    // Without a limit queries of grade 0, which are the log's, stand with many documents; with one they do not.
    let duplicates = |summary: &Value| number(&summary["diversity"]["round 1, kept"]["duplicate_rate"]);
    let limited = made(&[("most_documents_per_query = 0", "most_documents_per_query = 1")], "limited");
    assert!(duplicates(&both) > 0.0 && duplicates(&limited) == 0.0);
    assert_eq!(passed(&limited), passed(&both));
    // A second round asks anew, and the score model may be fitted again.
    let rounds = [("count = 1", "count = 2"), ("refit_score_model = false", "refit_score_model = true")];
    let two = made(&rounds, "two");
    assert_eq!(two["rounds"].as_array().unwrap().len(), 2);
    assert_eq!(passed(&two), passed(&both));
    let fitted = |round: usize| two["rounds"][round]["score_model"]["fitted_pairs"].as_u64().unwrap();
    assert!(fitted(1) > fitted(0));
    assert!(number(&two["diversity"]["round 2, kept"]["seen_before"]) < 1.0);
}

#[test]
fn a_labeler_is_taught_and_grades_like_its_teacher() {
    let folder = Folder::new();
    recipe(&folder, "slm-labeler.toml", &[]);
    let summary = folder.json("synthesize slm-labeler slm-labeler.toml --out taught");
    let counts = &summary["counts"];
    let graded: u64 = counts["graded"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    let pairs = lines(&folder, "taught/pairs.jsonl");
    assert_eq!(graded, pairs.len() as u64);
    assert!(counts["queries_written"].as_u64().unwrap() > 150, "{counts}");
    for pair in &pairs {
        let sum: f64 = (0..4).map(|grade| number(&pair[format!("p{grade}")])).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{pair}");
    }
    // The teacher beside people is what `agree` says of the same pairs.
    let both = folder.json("agree --pairs taught/humans.jsonl --human human --predicted predicted");
    let kappa = number(&summary["teacher_and_people"]["kappa_quadratic"]);
    assert!((number(&both["measures"]["cohen_kappa_quadratic"]) - kappa).abs() < 1e-12, "{both}");
    assert!(number(&summary["teacher_and_people"]["pairwise_accuracy"]) > 0.7);
    // 2.5 a million tokens read, 10 written, 5 tokens an answer.
    let characters = number(&counts["mean_characters"]);
    let cost = ((400.0 + characters / 4.0) * 2.5 + 50.0) / 1000.0;
    assert!((number(&summary["costs"][0]["per_1000"]) - cost).abs() < 1e-9);
    folder.run("model calibrate embedded --pairs taught/pairs.jsonl --out student.bundle").ok();
    let student = folder.json("agree --pairs taught/humans.jsonl --human human --labeler student.bundle");
    let of_student = number(&student["measures"]["cohen_kappa_quadratic"]);
    assert!(of_student > kappa - 0.15, "student {of_student}, teacher {kappa}");
}

#[test]
fn a_recorded_teacher_agrees_with_people_as_published() {
    let Some(path) = shared("trec-dl") else { return };
    let folder = Folder::new();
    let text = format!(
        "[seed]\ndataset = {:?}\nsplit = \"dl2019\"\n[seed_queries]\nper_document = 0\n[hard_negatives]\ndepths = []\n\
         [teacher]\nkind = \"recorded\"\nrater = \"teacher.llama3-70b\"\n",
        path.to_str().unwrap()
    );
    folder.write("teacher.toml", text);
    let summary = folder.json("synthesize slm-labeler teacher.toml --out taught");
    let kappa = number(&summary["teacher_and_people"]["kappa_quadratic"]);
    assert!((kappa - 0.461).abs() < 0.0005, "{summary}");
    folder.write(
        "wrong.toml",
        std::fs::read_to_string(folder.path("teacher.toml")).unwrap().replace("70b", "71b"),
    );
    folder
        .run("synthesize slm-labeler wrong.toml --out no")
        .refused(&["teacher.llama3-71b", "teacher.llama3-70b"]);
}

#[test]
fn the_quality_page_stands_alone_and_says_what_the_report_says() {
    let folder = Folder::new();
    let pair = |query: &str, document: &str, grade: i64| {
        format!(
            r#"{{"query_id":"{query}","query":"{query} <b>","doc_id":"{document}","document":"{document} text","grade":{grade},"source":"<i>"}}"#
        )
    };
    folder.write(
        "pairs.jsonl",
        [pair("wine", "wine", 3), pair("wine", "dog", 0), pair("rug", "rug", 1)].join("\n"),
    );
    let line = "synthesize quality --pairs pairs.jsonl --labeler embedded --html quality.html";
    let report = folder.json(line);
    let counts = report["alignment"]["counts"].as_array().unwrap();
    let all: u64 = counts.iter().flat_map(|row| row.as_array().unwrap()).map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(all, 3);
    let page = std::fs::read_to_string(folder.path("quality.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() == 5, "{page}");
    // Nothing is loaded, nothing runs, nothing from the data is markup; a third of the pairs have each grade.
    for absent in ["<script", "http", "<i>", "<b>"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(
        page.contains("prefers-color-scheme: dark") && page.contains("33.3 %") && page.contains("given 3")
    );
    let plain = folder.json("synthesize quality --pairs pairs.jsonl");
    assert!(plain.get("alignment").is_none());
    folder.run("synthesize quality --pairs pairs.jsonl --labeler nobody").refused(&["nobody"]);
}

#[test]
fn a_pipeline_asks_nothing_twice_and_replays_a_transcript() {
    let folder = Folder::new();
    let offline = "kind = \"offline\"";
    let binary = ("grades = [3, 2, 1, 0]", "grades = [3, 0]");
    let run = |kind: &str, out: &str| {
        recipe(&folder, "sycl.toml", &[binary, (offline, kind)]);
        folder.run(&format!("synthesize sycl sycl.toml --out {out}"))
    };
    run("kind = \"offline\"\njournal = \"journal.jsonl\"", "first").ok();
    let journal = std::fs::read(folder.path("journal.jsonl")).unwrap();
    run("kind = \"offline\"\njournal = \"journal.jsonl\"", "second").ok();
    assert!(std::fs::read(folder.path("journal.jsonl")).unwrap() == journal);
    run("kind = \"transcript\"\ntranscript = \"journal.jsonl\"", "third").ok();
    let pairs = |out: &str| std::fs::read(folder.path(out).join("written/pairs.jsonl")).unwrap();
    assert!(pairs("first") == pairs("second") && pairs("first") == pairs("third"));
    let head: Vec<&[u8]> = journal.split_inclusive(|&byte| byte == b'\n').take(3).collect();
    folder.write("journal.jsonl", head.concat());
    run("kind = \"transcript\"\ntranscript = \"journal.jsonl\"", "no")
        .refused(&["no recorded answer", "offline"]);
}
