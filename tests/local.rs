//! A language model in the process, through the built binary: `graded label` and the pipelines with `kind = "local"`, over the
//! tiny models that answer every question with a grade.

#![cfg(feature = "local")]

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::graded::Folder;

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scorer/tests/fixtures/language_model").join(name)
}

/// A table of a generator; `local` are further lines of its own table.
fn generator(table: &str, model: &Path, journal: &str, local: &str) -> String {
    let model = model.display();
    format!(
        "[{table}]\nkind = \"local\"\njournal = \"{journal}\"\n[{table}.local]\nmodel = \"{model}\"\nmax_tokens = 16\n{local}\n"
    )
}

fn judge(folder: &Folder, model: &Path, local: &str) {
    let generator = generator("judge.generator", model, "journal.jsonl", local);
    folder.write("judge.toml", format!("[judge]\nkind = \"prompted\"\nmax_unparsed = 1.0\n{generator}"));
}

fn pairs(folder: &Folder, count: usize) {
    let rows: String =
        (0..count).map(|at| format!("query {at},a document about item {at} of {count}\n")).collect();
    folder.write("pairs.csv", format!("query,text\n{rows}"));
}

const LABEL: &str = "label --pairs pairs.csv --labeler judge.toml --out labels.csv";

fn journal(folder: &Folder) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path("journal.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_form_of_a_model_labels_a_file_once_and_its_transcript_replays_to_the_same_bytes() {
    let mut names = Vec::new();
    for (name, grade) in [
        ("qwen2", 2),
        ("qwen2-f16.gguf", 2),
        ("qwen2-q8_0.gguf", 2),
        ("qwen3", 1),
        ("qwen3-f16.gguf", 1),
        ("qwen3-q8_0.gguf", 1),
    ] {
        let folder = Folder::new();
        judge(&folder, &model(name), "[judge.generator.local.price]\nper_hour = 3600.0\ncurrency = \"EUR\"");
        pairs(&folder, 5);
        let answer = folder.run(&format!("{LABEL} --format json"));
        assert!(answer.stderr.contains("2 layers"), "{}", answer.stderr);
        let summary = answer.json();
        assert_eq!((&summary["graded"], &summary["unparsed"]), (&5.into(), &0.into()), "{name}: {summary}");
        assert_eq!(summary["grades"][grade], 5, "{name}: {summary}");
        let usage = &summary["usage"];
        assert_eq!((&usage["requests"], &usage["answered"]), (&5.into(), &5.into()), "{usage}");
        assert!(usage["prompt_tokens"].as_u64().unwrap() > 2500, "{usage}");
        assert!(usage["completion_tokens"].as_u64().unwrap() >= 25, "{usage}");
        // A second costs 1.
        let (cost, seconds) = (usage["cost"].as_f64().unwrap(), usage["seconds"].as_f64().unwrap());
        assert!(cost > 0.0 && cost <= seconds, "{usage}");
        assert_eq!((&usage["currency"], &usage["format"]), (&"EUR".into(), &"last_line".into()));
        let lines = journal(&folder);
        names.push(lines[0]["entry"]["model"].as_str().unwrap().to_owned());
        let written = std::fs::read(folder.path("labels.csv")).unwrap();
        let again = folder.json(&format!("{LABEL} --restart"));
        let usage = &again["usage"];
        assert_eq!(
            (&usage["recalled"], &usage["requests"], &usage["cost"]),
            (&5.into(), &0.into(), &0.0.into())
        );
        assert!(std::fs::read(folder.path("labels.csv")).unwrap() == written);
        let replay = "[judge]\nkind = \"prompted\"\n[judge.generator]\nkind = \"transcript\"\ntranscript = \"journal.jsonl\"\n";
        folder.write("replay.toml", replay);
        folder.run("label --pairs pairs.csv --labeler replay.toml --out replayed.csv").ok();
        assert!(std::fs::read(folder.path("replayed.csv")).unwrap() == written);
    }
    // Named by what is in the files, not by where they are.
    names.sort();
    names.dedup();
    assert!(names.len() == 6 && names.iter().all(|name| name.starts_with("local ")), "{names:?}");
    let folder = Folder::new();
    std::fs::copy(model("qwen2-f16.gguf"), folder.path("other-name.gguf")).unwrap();
    judge(&folder, Path::new("other-name.gguf"), "");
    pairs(&folder, 1);
    folder.run(LABEL).ok();
    assert!(names.contains(&journal(&folder)[0]["entry"]["model"].as_str().unwrap().to_owned()));
}

#[test]
fn budgets_stop_between_answers_and_the_same_command_goes_on() {
    let price = "[judge.generator.local.price]\nper_hour = 3600000.0\n";
    for (budget, word) in [
        ("tokens = 3000", "budget.tokens"),
        ("requests = 2", "budget.requests"),
        ("cost = 0.01", "budget.cost"),
    ] {
        let folder = Folder::new();
        judge(&folder, &model("qwen2"), &format!("[judge.generator.local.budget]\n{budget}\n{price}"));
        pairs(&folder, 5);
        let mut runs = 0;
        loop {
            let before = if runs == 0 { 0 } else { journal(&folder).len() };
            let answer = folder.run(LABEL);
            runs += 1;
            if answer.code == 0 {
                break;
            }
            assert_eq!(answer.code, 3, "{}", answer.stderr);
            for word in [word, "journal", "goes on"] {
                assert!(answer.stderr.contains(word), "{word}: {}", answer.stderr);
            }
            // So small a sum is spent before the first answer is whole.
            if word == "budget.cost" {
                break;
            }
            assert!(journal(&folder).len() > before && runs < 9, "{budget}: no run comes to an end");
        }
        assert!(runs > 1 || word == "budget.cost", "{budget} stops nothing");
        let keys = journal(&folder);
        assert!(word == "budget.cost" || keys.len() == 5, "{budget}: {} answers", keys.len());
    }
    let folder = Folder::new();
    judge(&folder, &model("qwen2"), "[judge.generator.local.budget]\nwall_s = 0.000001");
    pairs(&folder, 5);
    let answer = folder.run(LABEL);
    assert_eq!(answer.code, 3, "{}", answer.stderr);
    assert!(answer.stderr.contains("budget.wall_s"), "{}", answer.stderr);
}

#[test]
fn a_question_that_is_too_long_is_refused_and_others_are_answered() {
    let folder = Folder::new();
    judge(&folder, &model("qwen2"), "context_tokens = 1200");
    let long = "a very long document ".repeat(200);
    folder.write("pairs.csv", format!("query,text\nq,short\nq,{long}\n"));
    let summary = folder.json(LABEL);
    assert_eq!((&summary["graded"], &summary["absent"]), (&1.into(), &1.into()), "{summary}");
    let said = summary["usage"]["first_refusal"].as_str().unwrap();
    assert!(said.contains("context_tokens is 1200"), "{said}");
}

#[test]
fn models_that_cannot_be_are_refused_by_the_file_that_is_at_fault() {
    let folder = Folder::new();
    pairs(&folder, 1);
    folder.write("text.gguf", "no model");
    let cut = std::fs::read(model("qwen2-f16.gguf")).unwrap();
    folder.write("cut.gguf", &cut[..cut.len() / 2]);
    for (from, to) in [("config.json", "bare/config.json"), ("config.json", "empty/config.json")] {
        folder.write(to, std::fs::read(model("qwen2").join(from)).unwrap());
    }
    folder.write("empty/tokenizer.json", std::fs::read(model("qwen2/tokenizer.json")).unwrap());
    for (name, words) in [
        ("nowhere", ["nowhere", "config.json"]),
        ("text.gguf", ["text.gguf", "GGUF"]),
        ("cut.gguf", ["cut.gguf", "GGUF file"]),
        ("bare", ["bare", "tokenizer.json"]),
        ("empty", ["empty", "*.safetensors"]),
    ] {
        judge(&folder, Path::new(name), "");
        folder.run(LABEL).refused(&words);
    }
    for (local, words) in [
        ("top_p = 0.0", ["generator.local.top_p", "at most 1"]),
        ("context_tokens = 16", ["generator.local.max_tokens", "context_tokens"]),
        ("temperature = 0.5", ["judge.toml", "temperature"]),
        ("[judge.generator.local.budget]\ncost = 1.0", ["generator.local.price", "budget"]),
    ] {
        judge(&folder, &model("qwen2"), local);
        folder.run(LABEL).refused(&words);
    }
    folder.write(
        "judge.toml",
        "[judge]\nkind = \"prompted\"\n[judge.generator]\nkind = \"local\"\njournal = \"j\"\n",
    );
    folder.run(LABEL).refused(&["generator.local", "model"]);
    let without = "[judge]\nkind = \"prompted\"\n[judge.generator]\nkind = \"local\"\n[judge.generator.local]\nmodel = \"m\"\n";
    folder.write("judge.toml", without);
    folder.run(LABEL).refused(&["generator.journal"]);
    assert!(!folder.path("labels.csv").exists());
}

#[test]
fn a_pipeline_writes_and_judges_with_models_in_its_own_process() {
    let folder = Folder::new();
    let recipe = format!(
        "[seed]\ndataset = \"sample\"\n[rounds]\ncount = 2\ndocuments = 2\n[stage_2]\nattempts = 2\nexamples = 0\n\
         grades = [3, 0]\nagree = false\ntemperature = 2.0\n{}[pairwise]\nkind = \"judge\"\n[pairwise.judge]\nkind = \"prompted\"\n{}",
        generator("generator", &model("qwen3-q8_0.gguf"), "written.jsonl", "top_p = 1.0"),
        generator("pairwise.judge.generator", &model("qwen2"), "judged.jsonl", ""),
    );
    folder.write("ssra.toml", recipe);
    folder.run("recipe check ssra.toml").ok();
    let summary = folder.json("synthesize ssra ssra.toml --out ssra");
    let usage = &summary["generator_usage"];
    // Two rounds of two documents at two grades, two samples each: one count over both rounds.
    assert_eq!((&usage["requests"], &usage["answered"]), (&16.into(), &16.into()), "{usage}");
    assert!(usage["completion_tokens"].as_u64().unwrap() > 16, "{usage}");
    assert!(summary["generator"]["model"].as_str().unwrap().starts_with("local "));
    // The judge answers with a grade where a preference was asked for: nothing that can be read, so nothing contradicts.
    let answers = &summary["pairwise_answers"];
    assert_eq!(answers["comparisons"], answers["unread_comparisons"], "{answers}");
    let of = |key: &str| summary["pairwise_usage"][key].as_u64().unwrap();
    assert_eq!(of("requests") + of("recalled"), 2 * answers["comparisons"].as_u64().unwrap());
    let again = folder.json("synthesize ssra ssra.toml --out again");
    assert_eq!(again["generator_usage"]["requests"], 0);
    assert_eq!(
        again["generator_usage"]["recalled"], 8,
        "a request of two samples is one answer of the journal"
    );
    let pairs = |out: &str| std::fs::read(folder.path(out).join("pairs.jsonl")).unwrap();
    assert!(pairs("ssra") == pairs("again"));
}
