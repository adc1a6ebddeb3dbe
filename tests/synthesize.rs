//! `graded simulate` and `graded synthesize`: logs in, graded pairs out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::graded::Folder;

/// The recipe of the repository, with some lines changed.
fn recipe(folder: &Folder, changes: &[(&str, &str)]) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/crops.toml");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} is not in the recipe");
        text = text.replacen(from, to, 1);
    }
    folder.write("crops.toml", text)
}

fn simulated(users: usize) -> Folder {
    let folder = Folder::new();
    folder.run(&format!("simulate --out sim --users {users}")).ok();
    folder
}

const CROPS: &str = "synthesize crops crops.toml --log sim/log.jsonl --documents sim";

fn pairs(folder: &Folder, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_simulated_platform_is_the_same_on_any_number_of_threads_and_can_be_evaluated() {
    let folder = simulated(40);
    folder.run("simulate --out again --users 40 --threads 1").ok();
    for name in ["log.jsonl", "queries.jsonl", "corpus.jsonl", "qrels/train.tsv", "summary.json"] {
        let [one, other] = ["sim", "again"].map(|out| std::fs::read(folder.path(out).join(name)).unwrap());
        assert!(one == other, "{name}");
    }
    let other = folder.json("simulate --out other --users 40 --seed 7");
    assert!(other["bubble"]["size"].as_f64().unwrap() > 0.05, "{other}");
    assert_ne!(
        std::fs::read(folder.path("sim/log.jsonl")).unwrap(),
        std::fs::read(folder.path("other/log.jsonl")).unwrap()
    );
    let test = folder.json("evaluate --dataset sim --encoder bm25");
    assert!(test["measures"]["nDCG@10"].as_f64().unwrap() > 0.3, "{test}");
    folder.run("evaluate --dataset sim --split train --encoder bm25").ok();
    // A folder that is there is left alone, and nothing half-made stays behind.
    folder.run("simulate --out sim").refused(&["sim", "is there already"]);
    assert!(folder.names().iter().all(|name| !name.starts_with('.')), "{:?}", folder.names());
}

#[test]
fn a_generated_catalogue_has_its_grades_by_construction() {
    let folder = Folder::new();
    folder.write("g.toml", "[catalogue.generated]\ndocuments = 400\n[population]\nusers = 30\n");
    let summary = folder.json("simulate g.toml --out sim");
    assert_eq!(summary["documents"], 400);
    let found = folder.json("evaluate --dataset sim --encoder bm25 -m Judged@10");
    assert!(found["measures"]["Judged@10"].as_f64().unwrap() > 0.1, "{found}");
    folder.write("wrong.toml", "[retriever]\nexposed = 100\n");
    folder.run("simulate wrong.toml --out no").refused(&["exposed <= ranked <= recalled"]);
    folder.write("wrong.toml", "[retriever]\n\nexpozed = 100\n");
    folder.run("simulate wrong.toml --out no").refused(&["wrong.toml", "line 3", "expozed"]);
    assert!(!folder.path("no").exists());
}

#[test]
fn what_is_beyond_the_bubble_is_labelled_higher_and_is_more_relevant() {
    let folder = simulated(200);
    recipe(&folder, &[]);
    let summary = folder.json(&format!("{CROPS} --against sim --out crops"));
    let mut grades: BTreeMap<(String, String), i64> = BTreeMap::new();
    for line in std::fs::read_to_string(folder.path("sim/qrels/train.tsv")).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        grades.insert((fields[0].into(), fields[1].into()), fields[2].parse().unwrap());
    }
    let levels = BTreeMap::from([
        ("reformulation", 5),
        ("clicked", 4),
        ("recommendation", 4),
        ("exposed", 3),
        ("ranked", 2),
        ("filtered", 1),
    ]);
    let mut known: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for pair in pairs(&folder, "crops/pairs.jsonl") {
        let (source, grade) = (pair["source"].as_str().unwrap(), pair["grade"].as_i64().unwrap());
        assert_eq!(levels[source], grade);
        let key = [&pair["query_id"], &pair["doc_id"]].map(|id| id.as_str().unwrap().to_owned());
        let grade_of_platform = grades.get(&(key[0].clone(), key[1].clone())).copied().unwrap_or(0);
        let sums = known.entry(grade).or_default();
        (sums.0, sums.1) = (sums.0 + grade_of_platform as f64, sums.1 + 1.0);
    }
    let mean: Vec<f64> = (1..=5).map(|label| known[&label].0 / known[&label].1).collect();
    assert!(mean.windows(2).take(3).all(|pair| pair[0] < pair[1]), "{mean:?}");
    assert!(mean[4] > 1.5, "{mean:?}");
    // No test query was logged, and the audit adds up.
    assert_eq!(summary["quality"]["leakage"]["queries"], 0);
    let of = &summary["labelling"]["sources"]["reformulation"];
    let count = |key: &str| of[key].as_u64().unwrap();
    assert_eq!(
        count("found"),
        count("passed") + count("refused") + count("without_text") + count("unjudged")
    );
    let written: u64 =
        summary["labelling"]["labels"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(written, summary["quality"]["pairs"].as_u64().unwrap());
    folder.run("evaluate --dataset crops --encoder bm25").ok();
    let again = folder.json("synthesize quality --pairs crops/pairs.jsonl --against sim");
    assert_eq!(again, summary["quality"]);
}

#[test]
fn the_order_of_the_log_and_the_room_for_sorting_change_nothing() {
    let folder = simulated(150);
    recipe(&folder, &[]);
    let log = std::fs::read_to_string(folder.path("sim/log.jsonl")).unwrap();
    let time = |line: &str| serde_json::from_str::<Value>(line).unwrap()["time_ms"].as_i64().unwrap();
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_by_key(|line| time(line));
    let (early, late) = lines.split_at(lines.len() / 2);
    folder.write("early.jsonl", early.join("\n"));
    folder.write("late.jsonl", late.join("\n") + "\n\n");
    folder.run(&format!("{CROPS} --out a")).ok();
    recipe(&folder, &[("order = \"any\"", "order = \"user\"")]);
    folder.run(&format!("{CROPS} --out b")).ok();
    let split = "synthesize crops crops.toml --log early.jsonl --log late.jsonl --documents sim --out c";
    folder.run(split).refused(&["early.jsonl:", "was here before", "any"]);
    recipe(&folder, &[]);
    folder.run(&format!("{split} --memory 4M --threads 1")).ok();
    let [a, b, c] = ["a", "b", "c"].map(|out| std::fs::read(folder.path(out).join("pairs.jsonl")).unwrap());
    assert!(a == b && a == c);
}

#[test]
fn ablations_are_lines_of_the_recipe() {
    let folder = simulated(60);
    let labels = |changes: &[(&str, &str)], out: &str| {
        recipe(&folder, changes);
        folder.run(&format!("{CROPS} --without-quality --out {out}")).ok();
        let mut count: BTreeMap<(String, i64), usize> = BTreeMap::new();
        for pair in pairs(&folder, &format!("{out}/pairs.jsonl")) {
            let key = (pair["source"].as_str().unwrap().to_owned(), pair["grade"].as_i64().unwrap());
            *count.entry(key).or_default() += 1;
        }
        count
    };
    let has = |found: &BTreeMap<(String, i64), usize>, source: &str| found.keys().any(|key| key.0 == source);
    let whole = labels(&[], "whole");
    assert!(has(&whole, "reformulation") && has(&whole, "recommendation"));
    let strict = labels(&[("alpha = 0.6", "alpha = 1.0")], "strict");
    assert!(!has(&strict, "reformulation") && has(&strict, "clicked"));
    let four = labels(&[("query_level = 5", "query_level = 4")], "four");
    assert!(four.keys().all(|key| key.1 <= 4) && has(&four, "reformulation"));
    let binary = labels(&[("binary = false", "binary = true")], "binary");
    assert!(binary.keys().all(|key| key.1 <= 1));
    let clicked = labels(&[("[claim]", "sources = [\"clicked\", \"exposed\"]\n[claim]")], "clicked");
    assert!(clicked.keys().all(|key| key.0 == "clicked" || key.0 == "exposed") && clicked.len() == 2);
}

#[test]
fn a_bad_log_is_refused_by_file_and_line_and_leaves_nothing() {
    let folder = simulated(5);
    recipe(&folder, &[]);
    let search = |time_ms: i64, id: &str| {
        format!(
            r#"{{"event":"search","user":"u","time_ms":{time_ms},"search":"{id}","query":"red wine stain"}}"#
        )
    };
    let start = 1_735_689_600_000;
    let click =
        format!(r#"{{"event":"click","user":"u","time_ms":{start},"search":"zzz","document":"c003"}}"#);
    for (lines, words) in [
        (vec![search(start, "a"), search(start - 5, "b")], ["bad.jsonl:2", "is before"]),
        (vec![search(start, "a"), search(start + 400 * 86_400_000, "b")], ["bad.jsonl:2", "the clock jumps"]),
        (vec![search(start / 1000, "a")], ["bad.jsonl:1", "milliseconds"]),
        (vec![search(start, "a"), search(start, "a")], ["bad.jsonl:2", "an id of its own"]),
        (vec![search(start, "a"), click], ["bad.jsonl:2", "no search zzz"]),
        (vec![search(start, "a"), "{\"event\":".to_owned()], ["bad.jsonl:2", "log schema"]),
        (vec![search(start, "a")], ["nothing to write", "none with a positive"]),
    ] {
        folder.write("bad.jsonl", lines.join("\n"));
        let run = "synthesize crops crops.toml --log bad.jsonl --documents sim --out bad";
        folder.run(run).refused(&words);
    }
    folder.run("synthesize crops crops.toml --documents sim --out bad").refused(&["log.files", "--log"]);
    assert_eq!(folder.names(), ["bad.jsonl", "crops.toml", "sim"]);
}

#[test]
fn answers_are_remembered_and_replayed() {
    let folder = simulated(30);
    let texts = ("texts_per_query = 0", "texts_per_query = 2");
    recipe(&folder, &[texts, ("kind = \"offline\"", "kind = \"offline\"\njournal = \"journal.jsonl\"")]);
    let first = folder.json(&format!("{CROPS} --out first"));
    let written = first["labelling"]["texts_written"].as_u64().unwrap();
    assert_eq!(written, 2 * first["labelling"]["queries_written"].as_u64().unwrap());
    let whole = std::fs::read(folder.path("journal.jsonl")).unwrap();
    let pairs = |out: &str| std::fs::read(folder.path(out).join("pairs.jsonl")).unwrap();
    // Asked again, nothing is asked; stopped within a line, that line alone is asked again.
    folder.run(&format!("{CROPS} --out second")).ok();
    assert!(pairs("second") == pairs("first"));
    assert!(std::fs::read(folder.path("journal.jsonl")).unwrap() == whole);
    folder.write("journal.jsonl", &whole[..whole.len() - 40]);
    folder.run(&format!("{CROPS} --out third")).ok();
    assert!(pairs("third") == pairs("first"));
    let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    let resumed = std::fs::read(folder.path("journal.jsonl")).unwrap();
    assert_eq!(lines(&resumed), lines(&whole) + 1);
    // The journal as a transcript; one that lacks an answer is refused.
    recipe(
        &folder,
        &[texts, ("kind = \"offline\"", "kind = \"transcript\"\ntranscript = \"journal.jsonl\"")],
    );
    folder.run(&format!("{CROPS} --out fourth")).ok();
    assert!(pairs("fourth") == pairs("first"));
    let head: Vec<&[u8]> = whole.split_inclusive(|&byte| byte == b'\n').take(1).collect();
    folder.write("journal.jsonl", head.concat());
    folder.run(&format!("{CROPS} --out fifth")).refused(&["no recorded answer", "offline"]);
}
