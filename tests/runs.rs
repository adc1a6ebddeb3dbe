//! Run history through the built binary: what a run leaves behind, comparisons, the gate's verdicts in every format, and
//! everything that can be wrong with a record.

use std::fmt::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::graded::Folder;

/// 50 queries with a document of each grade 1 to 3, and seven that nobody judged.
const QUERIES: usize = 50;

fn qrels() -> String {
    let lines =
        (0..QUERIES).flat_map(|query| (1..=3).map(move |grade| format!("q{query} 0 d{grade} {grade}\n")));
    lines.collect()
}

/// A run whose queries rank as `order` says, best first.
fn run(order: impl Fn(usize) -> &'static [&'static str]) -> String {
    let mut text = String::new();
    for query in 0..QUERIES {
        for (rank, document) in order(query).iter().enumerate() {
            let score = 20 - rank;
            writeln!(text, "q{query} Q0 {document} {rank} {score} tag").unwrap();
        }
    }
    text
}

const BEST: &[&str] = &["d3", "d2", "d1", "x", "y"];
const SWAPPED: &[&str] = &["d3", "d1", "d2", "x", "y"];
const TURNED: &[&str] = &["d1", "d2", "d3", "x", "y"];
const LATE: &[&str] = &["v", "w", "x", "y", "z", "d3", "d2", "d1"];
/// The best first, the others below two that nobody judged: better than [`TURNED`] by nDCG, worse by AP.
const SPREAD: &[&str] = &["d3", "x", "y", "d2", "d1"];
const NONE: &[&str] = &[];

/// A folder with judgments and a baseline made of `order`.
fn with_baseline(order: impl Fn(usize) -> &'static [&'static str]) -> Folder {
    let folder = Folder::new();
    folder.write("qrels", qrels());
    evaluate(&folder, order);
    let first = folder.run("runs gate --baseline baseline.json");
    assert_eq!(first.code, 1, "a missing baseline fails once: {}", first.stdout);
    assert!(first.stdout.contains("baseline.json") && first.stdout.contains("commit it"), "{}", first.stdout);
    folder
}

fn evaluate(folder: &Folder, order: impl Fn(usize) -> &'static [&'static str]) {
    folder.write("run", run(order));
    folder.run("evaluate --qrels qrels --run run --measures nDCG@10,AP").ok();
}

fn gate(folder: &Folder, flags: &str) -> (i32, Value) {
    let answer = folder.run(&format!("runs gate --baseline baseline.json --format json {flags}"));
    let said = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{}", answer.stderr));
    (answer.code, said)
}

/// The checks that did not pass: what and how.
fn findings(verdict: &Value) -> Vec<(String, String)> {
    let checks = verdict["checks"].as_array().unwrap().iter().filter(|check| check["level"] != "pass");
    let said = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    checks.map(|check| (said(check, "what"), said(check, "level"))).collect()
}

#[test]
fn the_same_run_passes() {
    let folder = with_baseline(|query| if query % 3 == 0 { SWAPPED } else { BEST });
    evaluate(&folder, |query| if query % 3 == 0 { SWAPPED } else { BEST });
    let (code, verdict) = gate(&folder, "--same-bits");
    assert_eq!((code, &verdict["outcome"]), (0, &Value::from("pass")), "{verdict}");
    assert!(findings(&verdict).is_empty());
}

#[test]
fn a_planted_drop_of_five_points_fails() {
    let folder = with_baseline(|_| BEST);
    evaluate(&folder, |query| if query % 4 == 0 { TURNED } else { BEST });
    let (code, verdict) = gate(&folder, "--measures nDCG@10");
    let check = &verdict["checks"][0];
    let drop = -check["difference"].as_f64().unwrap();
    assert!((0.045..0.06).contains(&drop), "{drop}");
    assert_eq!(
        (code, findings(&verdict)),
        (1, vec![("nDCG@10".to_owned(), "failure".to_owned())]),
        "{check}"
    );
    assert!(
        check["p"].as_f64().unwrap() < 0.001 && check["message"].as_str().unwrap().contains("more than 0.01")
    );
    let (code, _) = gate(&folder, "--measures nDCG@10 --margin nDCG@10=0.06");
    assert_eq!(code, 0, "a drop within the margin is overlooked");
}

#[test]
fn a_wobble_passes() {
    let folder = with_baseline(|query| if query < 3 { SWAPPED } else { BEST });
    evaluate(&folder, |query| if (3..6).contains(&query) || query == 20 { SWAPPED } else { BEST });
    let (code, verdict) = gate(&folder, "");
    let check = &verdict["checks"][0];
    assert!((0.0001..0.001).contains(&-check["difference"].as_f64().unwrap()), "{check}");
    assert_eq!((code, findings(&verdict)), (0, vec![]), "{verdict}");
}

#[test]
fn a_lost_query_fails_and_so_does_one_that_fell_far() {
    let folder = with_baseline(|_| BEST);
    evaluate(&folder, |query| if query == 7 { NONE } else { BEST });
    let (code, verdict) = gate(&folder, "--severity off");
    assert_eq!(code, 1);
    assert!(findings(&verdict).contains(&("coverage".to_owned(), "failure".to_owned())), "{verdict}");
    assert!(verdict.to_string().contains("no longer answered: q7"), "{verdict}");

    evaluate(&folder, |query| if query == 9 { LATE } else { BEST });
    let (code, verdict) = gate(&folder, "--margin 0.05");
    assert_eq!(code, 1, "{verdict}");
    assert!(verdict.to_string().contains("q9 (AP 1.0000 to 0."), "{verdict}");
    let worst = &verdict["comparisons"][0]["systems"][0]["worst_queries"][0];
    assert_eq!((&worst["query"], &worst["before"][0]), (&Value::from("q9"), &serde_json::json!(["d3", 3])));
    assert_eq!(worst["after"][0], serde_json::json!(["v", null]), "what nobody judged has no grade");
    assert_eq!(gate(&folder, "--margin 0.05 --severity 0.9 --judged-drop 0.5").0, 0);
}

#[test]
fn what_the_data_cannot_tell_is_a_warning_with_the_queries_needed() {
    let folder = with_baseline(|query| if query % 2 == 0 { TURNED } else { BEST });
    evaluate(&folder, |query| if query % 2 == 1 { TURNED } else { BEST });
    let (code, verdict) = gate(&folder, "--measures nDCG@10");
    assert_eq!((code, &verdict["outcome"]), (0, &Value::from("warning")), "{verdict}");
    let message = verdict["checks"][0]["message"].as_str().unwrap();
    assert!(message.contains("queries like these 50 would tell, with probability 0.8"), "{message}");
}

#[test]
fn an_updated_baseline_is_what_later_runs_are_held_to() {
    let folder = with_baseline(|_| BEST);
    evaluate(&folder, |_| TURNED);
    assert_eq!(gate(&folder, "").0, 1);
    let (code, verdict) = gate(&folder, "--update-baseline");
    assert_eq!((code, &verdict["outcome"]), (0, &Value::from("failure")), "accepted, and said");
    assert_eq!(gate(&folder, "--same-bits").0, 0);
}

#[test]
fn every_format_says_the_same_verdict() {
    let folder = with_baseline(|_| BEST);
    evaluate(&folder, |query| if query % 4 == 0 { TURNED } else { BEST });
    let line = "runs gate --baseline baseline.json --junit out.xml --benchmark-json out.json --page out.html --github";
    let answer =
        folder.graded_with(&[("GITHUB_STEP_SUMMARY", folder.path("summary").to_str().unwrap())], line);
    assert_eq!(answer.code, 1);
    assert!(answer.stdout.starts_with("gate: FAIL (1 failed"), "{}", answer.stdout);
    let errors =
        answer.stderr.lines().filter(|line| line.starts_with("::error title=qrels%3A tag%3A ")).count();
    assert_eq!(errors, 1, "{}", answer.stderr);
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    assert!(read("summary").starts_with("**gate: FAIL (1 failed"), "{}", read("summary"));
    let xml = read("out.xml");
    assert!(xml.contains("<testsuites name=\"graded\" tests=\"4\" failures=\"1\" errors=\"0\">"), "{xml}");
    assert_eq!(xml.matches("<failure message=").count(), 1);
    let entries: Value = serde_json::from_str(&read("out.json")).unwrap();
    assert_eq!(entries[0]["name"], "qrels: tag: nDCG@10");
    let (_, verdict) = gate(&folder, "");
    assert_eq!(entries[0]["value"], verdict["checks"][0]["candidate"]);
    assert!(read("out.html").contains("Queries that fell most"));
}

#[test]
fn every_run_leaves_a_record_that_fits_the_schema() {
    let folder = Folder::new();
    folder.run("evaluate").ok();
    folder.write("pairs.csv", "query,doc,human,predicted\n1,a,1,1\n1,b,0,2\n2,b,3,1\n2,c,2,2\n3,d,0,x\n");
    folder.run("agree --pairs pairs.csv").ok();
    folder.run("agree --pairs pairs.csv --raters human,human2").refused(&["human2"]);
    folder.run("runs measure --name nothing --repeats 2 -- true").ok();
    folder.write("recipe.toml", crate::train::short(1));
    folder.run("train recipe.toml --out model").ok();
    let list = folder.json("runs list");
    let kinds = list.as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap());
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        ["training", "benchmark", "agreement", "evaluation"],
        "newest first"
    );
    let schema = folder.json("runs schema");
    for file in std::fs::read_dir(folder.path("cache/runs")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        fits(&record, &schema, &schema, "record");
        record["record"]["machine"]["threads"] = "two".into();
        let wrong = std::panic::catch_unwind(|| fits(&record, &schema, &schema, "record"));
        assert!(wrong.is_err(), "the check itself must be able to fail");
    }
    let evaluation = folder.json("runs show latest~3");
    let record = &evaluation["record"];
    assert_eq!(record["queries"].as_array().unwrap().len(), 60);
    assert_eq!(record["systems"][0]["measures"][0]["values"].as_array().unwrap().len(), 60);
    let [lower, upper] =
        [0, 1].map(|end| record["systems"][0]["measures"][0]["interval"][end].as_f64().unwrap());
    let value = record["systems"][0]["measures"][0]["value"].as_f64().unwrap();
    assert!(lower < value && value < upper && upper - lower < 0.3);
    let agreement = folder.json("runs show latest~2");
    assert_eq!(agreement["record"]["agreement"]["unparsed"], 1);
    assert_eq!(agreement["record"]["agreement"]["cells"][0], serde_json::json!([[0, 2, 1], [1, 1, 1]]));
}

/// As much of JSON Schema as ours uses.
fn fits(value: &Value, schema: &Value, root: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(value, &root["$defs"][name.trim_start_matches("#/$defs/")], root, place);
    }
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let is = |wanted: &Value| wanted == kind(value) || (wanted == "number" && kind(value) == "integer");
    assert!(allowed.is_empty() || allowed.iter().any(is), "{place}: {} is not {allowed:?}", kind(value));
    if let Some(choices) = schema["enum"].as_array() {
        assert!(choices.contains(value), "{place}: {value}");
    }
    assert!(schema["const"].is_null() || schema["const"] == *value, "{place}: {value}");
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{place}: lacks {name}");
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let rule = match &schema["properties"][name] {
            Value::Null => &schema["additionalProperties"],
            rule => rule,
        };
        assert_ne!(*rule, Value::Bool(false), "{place}: {name} is not in the schema");
        fits(inner, rule, root, &format!("{place}.{name}"));
    }
    for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
        let rule = match schema["prefixItems"].get(at) {
            Some(rule) => rule,
            None => &schema["items"],
        };
        fits(inner, rule, root, &format!("{place}[{at}]"));
    }
}

#[test]
fn records_go_where_they_are_wanted() {
    let folder = Folder::new();
    let count = |name: &str| std::fs::read_dir(folder.path(name)).map_or(0, Iterator::count);
    folder.run("evaluate --encoder bm25 --no-record").ok();
    folder.graded_with(&[("GRADED_RUNS", "off")], "evaluate --encoder bm25").ok();
    assert_eq!(count("cache/runs"), 0);
    folder.run("evaluate --encoder bm25 --record mine").ok();
    assert_eq!((count("mine"), count("cache/runs")), (1, 0));
    assert_eq!(folder.json("runs list --history mine").as_array().unwrap().len(), 1);

    let state = folder.path("state").to_str().unwrap().to_owned();
    let nothing_named = [("GRADED_RUNS", ""), ("XDG_STATE_HOME", state.as_str())];
    folder.graded_with(&nothing_named, "evaluate --encoder bm25").ok();
    assert_eq!(count("state/graded/runs"), 1);
    std::fs::create_dir_all(folder.path(".graded/runs")).unwrap();
    folder.graded_with(&nothing_named, "evaluate --encoder bm25").ok();
    assert_eq!(
        (count(".graded/runs"), count("state/graded/runs")),
        (1, 1),
        "a project's own history comes first"
    );
}

#[test]
fn a_history_that_cannot_be_written_spoils_no_evaluation_unless_it_was_named() {
    let folder = Folder::new();
    let file = folder.write("file", "no folder").to_str().unwrap().to_owned();
    let answer =
        folder.graded_with(&[("GRADED_RUNS", ""), ("XDG_STATE_HOME", &file)], "evaluate --encoder bm25").ok();
    assert!(answer.stdout.contains("nDCG@10") && answer.stderr.contains("not recorded"), "{}", answer.stderr);
    folder.run("evaluate --encoder bm25 --record file").refused(&["file", "records"]);
    folder.graded_with(&[("GRADED_RUNS", &file)], "evaluate --encoder bm25").refused(&["file"]);
}

/// The only record's file of a folder with one evaluation.
fn one_record() -> (Folder, std::path::PathBuf) {
    let folder = Folder::new();
    folder.run("evaluate --encoder bm25").ok();
    let file = std::fs::read_dir(folder.path("cache/runs")).unwrap().next().unwrap().unwrap().path();
    (folder, file)
}

#[test]
fn a_record_that_was_cut_off_or_edited_is_refused_and_left_alone() {
    let (folder, file) = one_record();
    let text = std::fs::read_to_string(&file).unwrap();
    let spoilt = [
        (text[..text.len() / 2].to_owned(), "whole run record"),
        (text.replacen("\"bm25\"", "\"bm26\"", 1), "changed after it was written"),
        (
            text.replacen("\"schema\": 1", "\"schema\": 7", 1).replacen("\"schema\":1", "\"schema\":7", 1),
            "schema is 7",
        ),
        (text.replacen("\"kind\"", "\"new\":1,\"kind\"", 1), "whole run record"),
        (String::new(), "whole run record"),
        ("[1, 2]".to_owned(), "whole run record"),
    ];
    for (spoilt, words) in spoilt {
        assert_ne!(spoilt, text, "{words}");
        std::fs::write(&file, &spoilt).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        folder.run("runs show latest").refused(&[name, words]);
        folder.run("runs gate --baseline absent.json").refused(&[words]);
        folder.graded(["runs", "compare", file.to_str().unwrap(), "latest"]).refused(&[words]);
        folder.write("baseline.json", &spoilt);
        folder.run("runs gate --baseline baseline.json").refused(&["baseline.json", words]);
        let list = folder.run("runs list").ok();
        assert!(
            list.stdout.contains("damaged, left as it is") && list.stdout.contains(words),
            "{}",
            list.stdout
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), spoilt, "nothing was changed");
        assert!(!folder.path("absent.json").exists());
    }
    // A damaged record newer than a sound one might be the one that is meant.
    std::fs::write(&file, &text).unwrap();
    assert_eq!(folder.run("runs gate --baseline baseline2.json").code, 1);
    folder.run("evaluate --encoder bm25").ok();
    let newest = std::fs::read_dir(folder.path("cache/runs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max()
        .unwrap();
    std::fs::write(&newest, "{").unwrap();
    folder.run("runs gate --baseline baseline2.json").refused(&["whole run record"]);
}

#[test]
fn reformatting_is_no_edit() {
    let (folder, file) = one_record();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace('\n', "\r\n")).unwrap();
    let before = folder.json("runs show latest");
    let compact = serde_json::from_str::<Value>(&text).unwrap().to_string();
    std::fs::write(&file, compact).unwrap();
    assert_eq!(folder.json("runs show latest"), before);
}

#[test]
fn processes_that_write_at_once_lose_nothing() {
    let folder = Folder::new();
    // The clock stands still, so that all of them want the same place.
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graded"));
        command.args(["runs", "measure", "--repeats", "1", "--record", "runs", "--", "true"]);
        command.current_dir(folder.path("")).env("SOURCE_DATE_EPOCH", "1700000000");
        command.env("GRADED_CACHE", folder.path("cache")).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let started = (0..8).map(|_| start()).collect::<Vec<_>>();
    for process in started {
        let done = process.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let list = folder.json("runs list --history runs");
    assert_eq!(list.as_array().unwrap().len(), 8, "{list}");
    let names = std::fs::read_dir(folder.path("runs")).unwrap();
    assert_eq!(names.count(), 8, "no temporary file is left");
}

#[test]
fn a_clock_that_goes_backwards_changes_no_order() {
    let folder = Folder::new();
    folder
        .graded_with(&[("SOURCE_DATE_EPOCH", "4000000000")], "runs measure --repeats 1 --name first -- true")
        .ok();
    let second = folder
        .graded_with(&[("SOURCE_DATE_EPOCH", "1700000000")], "runs measure --repeats 1 --name second -- true")
        .ok();
    assert!(second.stderr.contains("2300000000 s ahead of this machine's clock"), "{}", second.stderr);
    let list = folder.json("runs list");
    let names =
        list.as_array().unwrap().iter().map(|row| row["dataset"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(names, ["second", "first"], "newest first");
    assert_eq!(list[0]["recorded"], "2023-11-14T22:13:20Z", "what the clock said is kept");
    assert_eq!(folder.json("runs show latest")["record"]["dataset"], "second");
}

#[test]
fn a_baseline_of_another_dataset_is_refused_part_by_part() {
    let folder = with_baseline(|_| BEST);
    folder.write("qrels", qrels().replacen("q3 0 d3 3", "q3 0 d3 1", 1) + "new 0 d1 1\n");
    evaluate(&folder, |_| BEST);
    let words = [
        "judgments differ",
        "1 queries judged differently",
        "1 queries only in the candidate",
        "--force",
        "49 queries",
    ];
    folder.run("runs gate --baseline baseline.json").refused(&words);
    folder.run("runs compare baseline.json latest").refused(&words);
    let forced = folder.json("runs compare baseline.json latest --force");
    assert_eq!(forced["queries"], 49);
    assert_eq!(forced["systems"][0]["measures"][0]["queries"], 49);
    assert_eq!(forced["systems"][0]["measures"][0]["difference"], 0.0);

    folder.run("evaluate --qrels qrels --run run --ties docid-asc").ok();
    folder.run("runs compare latest~1 latest").refused(&["ties: trec and docid-asc"]);
    folder.run("evaluate --encoder bm25").ok();
    folder.run("runs gate --baseline baseline.json latest").refused(&["baseline qrels, candidate sample"]);
    folder.run("runs gate --baseline baseline.json latest --force").refused(&["nothing in common"]);
    folder.run("runs measure --repeats 1 -- true").ok();
    folder.run("runs gate --baseline baseline.json latest").refused(&["evaluation", "benchmark"]);
}

#[test]
fn every_baseline_is_held_to_the_newest_record_of_its_dataset() {
    let folder = with_baseline(|_| BEST);
    folder.run("evaluate --encoder bm25").ok();
    assert_eq!(folder.run("runs gate --baseline sample.json latest").code, 1, "written");
    let both = "runs gate --baseline baseline.json --baseline sample.json";
    let verdict = folder.json(both);
    let datasets = verdict["comparisons"].as_array().unwrap().iter().map(|run| &run["candidate"]["dataset"]);
    assert_eq!(datasets.collect::<Vec<_>>(), ["qrels", "sample"]);
    // Nothing newer than the baseline, and something newer that is not of its dataset: it passes, and says so.
    let alone = folder.json("runs gate --baseline baseline.json");
    assert_eq!(alone["outcome"], "warning", "{alone}");
    let said: Vec<&str> =
        alone["checks"].as_array().unwrap().iter().map(|check| check["message"].as_str().unwrap()).collect();
    assert!(said.iter().any(|said| said.contains("of sample, is newer")), "{said:?}");
    assert!(said.iter().any(|said| said.contains("baseline itself")), "{said:?}");
    evaluate(&folder, |_| TURNED);
    assert_eq!(folder.run(both).code, 1, "one of the two is worse");
    folder.run(&format!("{both} latest")).refused(&["one candidate", "one baseline"]);
    folder.run("runs gate --baseline baseline.json --baseline absent.json").refused(&["names its candidate"]);
    // Nothing of the baseline's dataset was recorded here: what there is is compared, and refused.
    folder.run("evaluate --encoder bm25 --record other").ok();
    folder
        .run("runs gate --baseline baseline.json --history other")
        .refused(&["baseline qrels, candidate sample"]);
    folder.run("runs gate --baseline baseline.json --history absent").refused(&["absent"]);
    folder.run("runs gate --baseline baseline.json --margin=-1").refused(&["--margin", "-1"]);
    folder.run("runs gate --baseline baseline.json --level 2").refused(&["--level"]);
}

#[test]
fn ndcg_that_rises_while_ap_falls_is_a_sign_of_failure() {
    let folder = Folder::new();
    folder.write("qrels", qrels());
    evaluate(&folder, |_| TURNED);
    evaluate(&folder, |_| SPREAD);
    let compared = folder.json("runs compare latest~1 latest");
    let signs = compared["systems"][0]["signs"].as_array().unwrap();
    let said = signs[0].as_str().unwrap();
    assert!(
        signs.len() == 1 && said.contains("nDCG@10 rises") && said.contains("AP falls (-0.3000)"),
        "{said}"
    );
    let table = folder.run("runs compare latest~1 latest").ok().stdout;
    assert!(table.contains("WARNING: tag: nDCG@10 rises"), "{table}");
    // The other way round, and one measure alone, it is none.
    assert_eq!(folder.json("runs compare latest latest~1")["systems"][0]["signs"], serde_json::json!([]));
    let alone = folder.json("runs compare latest~1 latest --measures nDCG@10");
    assert_eq!(alone["systems"][0]["signs"], serde_json::json!([]));
    // Two runs of one evaluation.
    folder.write("turned.run", run(|_| TURNED));
    folder.write("spread.run", run(|_| SPREAD));
    let line = "evaluate --qrels qrels --run turned.run --run spread.run --measures nDCG@10,AP --baseline";
    let against = folder.json(&format!("{line} turned.run"));
    assert!(against["signs"][0].as_str().unwrap().starts_with("spread.run: nDCG@10 rises"), "{against}");
    assert_eq!(folder.json(&format!("{line} spread.run"))["signs"], serde_json::json!([]));
    let table = folder.run(&format!("{line} turned.run")).ok().stdout;
    assert!(table.contains("WARNING: spread.run: nDCG@10 rises"), "{table}");
}

#[test]
fn systems_are_compared_under_their_names_or_as_told() {
    let folder = Folder::new();
    folder.run("evaluate --measures nDCG@10").ok();
    let both = folder.json("runs compare latest latest");
    assert_eq!(both["systems"].as_array().unwrap().len(), 3);
    assert!(both["systems"].as_array().unwrap().iter().all(|system| system["same_rankings"] == true));
    let across = folder.json("runs compare latest latest --baseline-system bm25 --system embedded");
    let direct = folder.json("evaluate --baseline bm25 --measures nDCG@10 --no-record");
    let (ours, theirs) = (&across["systems"][0]["measures"][0], &direct["comparisons"][0]);
    for key in ["difference", "interval", "randomization_p", "t_test_p", "cohens_d", "wins", "losses"] {
        assert_eq!(ours[key], theirs[key], "{key}: compared later as at once");
    }
    folder.run("runs compare latest latest --system nobody").refused(&["nobody", "bm25, embedded"]);
    folder.run("runs compare latest latest --measures AP").refused(&["AP", "nDCG@10"]);
    folder.run("runs compare latest latest~4").refused(&["latest~4", "holds 1"]);
    folder.run("runs compare 0000").refused(&["0000"]);
    folder.write("baseline.json", std::fs::read(newest(&folder)).unwrap());
    folder.run("evaluate --encoder bm25 --encoder embedded --measures nDCG@10").ok();
    let (code, verdict) = gate(&folder, "");
    assert_eq!(code, 1, "a system that is gone is a loss of coverage");
    assert!(verdict.to_string().contains("the baseline has this system"), "{verdict}");
}

fn newest(folder: &Folder) -> std::path::PathBuf {
    std::fs::read_dir(folder.path("cache/runs")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

#[test]
fn a_list_is_made_from_the_files_whatever_the_index_says() {
    let folder = Folder::new();
    for name in ["one", "two", "three"] {
        folder.run(&format!("runs measure --repeats 1 --name {name} -- true")).ok();
    }
    let list = || folder.json("runs list").as_array().unwrap().len();
    let first = folder.json("runs list");
    assert_eq!(list(), 3);
    let index = folder.path("cache/history");
    let indexes = std::fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
    let kept = indexes.filter(|path| path.extension().is_some_and(|end| end == "index")).collect::<Vec<_>>();
    assert_eq!(kept.len(), 1);
    for content in ["", "[]", "not json", "[{\"file\":\"x.json\"}]"] {
        std::fs::write(&kept[0], content).unwrap();
        assert_eq!(folder.json("runs list"), first, "{content:?}");
    }
    std::fs::remove_file(newest(&folder)).unwrap();
    assert_eq!(list(), 2);
    std::fs::write(newest(&folder), "{}").unwrap();
    assert_eq!(list(), 1);
    assert_eq!(folder.json("runs list --dataset one --kind benchmark --last 5").as_array().unwrap().len(), 1);
}

#[test]
fn worse_labels_fail_and_unread_ones_too() {
    let folder = Folder::new();
    let labels = |wrong_every: usize, unread: usize| {
        let mut text = "query,doc,human,predicted\n".to_owned();
        for pair in 0..400 {
            let human = pair * 7 % 4;
            let predicted = if pair % wrong_every == 0 { (human + 1) % 4 } else { human };
            let said = if pair < unread { "?".to_owned() } else { predicted.to_string() };
            writeln!(text, "q{},d{pair},{human},{said}", pair / 5).unwrap();
        }
        folder.write("pairs.csv", text);
        folder.run("agree --pairs pairs.csv").ok();
    };
    labels(15, 0);
    assert_eq!(folder.run("runs gate --baseline baseline.json").code, 1);
    labels(15, 0);
    assert_eq!(gate(&folder, "").0, 0);
    labels(5, 0);
    let (code, verdict) = gate(&folder, "--measures cohen_kappa_quadratic,mae");
    let found = findings(&verdict);
    assert_eq!((code, found.len()), (1, 2), "{found:?}");
    assert!(found.iter().all(|(_, level)| level == "failure"), "kappa fell, the error rose: {found:?}");
    labels(15, 3);
    let (code, verdict) = gate(&folder, "");
    assert_eq!(code, 1);
    assert!(verdict.to_string().contains("3 labels could not be read, 0 before"), "{verdict}");
    let page = folder.run("runs report latest~1 latest --out page.html").ok();
    assert!(page.stdout.contains("page.html"));
    assert!(std::fs::read_to_string(folder.path("page.html")).unwrap().contains("Pairs now, and the change"));
}

fn criterion(folder: &Folder, nanoseconds: f64) {
    let times = (1..=10).map(|at| format!("{}", nanoseconds * f64::from(at))).collect::<Vec<_>>().join(",");
    let sample =
        format!("{{\"sampling_mode\":\"Linear\",\"iters\":[1,2,3,4,5,6,7,8,9,10],\"times\":[{times}]}}");
    folder.write("criterion/top k/scan/new/sample.json", sample);
    folder.write("criterion/top k/scan/new/benchmark.json", "{\"full_id\":\"top k/scan\"}");
    folder.write(
        "criterion/top k/scan/new/estimates.json",
        format!("{{\"mean\":{{\"point_estimate\":{nanoseconds},\"standard_error\":1.0}}}}"),
    );
}

#[test]
fn what_got_slower_fails() {
    let folder = Folder::new();
    let measure = || folder.json("runs measure --criterion criterion --name speed");
    folder.run("runs measure --criterion criterion").refused(&["criterion"]);
    criterion(&folder, 2000.0);
    assert_eq!(measure()[0]["median"], 2e-6);
    assert!(folder.run("runs show").ok().stdout.contains("2.000e-6"), "small times have digits too");
    assert_eq!(folder.run("runs gate --baseline baseline.json").code, 1);
    measure();
    assert_eq!(gate(&folder, "").0, 0);
    criterion(&folder, 2300.0);
    measure();
    let (code, verdict) = gate(&folder, "");
    assert_eq!(code, 1, "{verdict}");
    assert!(
        verdict["checks"][0]["message"].as_str().unwrap().starts_with("1.15 times the baseline's seconds")
    );
    assert_eq!(gate(&folder, "--slower 0.2").0, 0);
    folder.run("runs measure -- false").refused(&["what fails is not timed"]);
    folder.run("runs measure -- no-such-program").refused(&["no-such-program"]);
    folder.write("criterion/top k/scan/new/sample.json", "{");
    folder.run("runs measure --criterion criterion").refused(&["sample.json"]);
}

#[test]
fn instructions_are_counted_where_valgrind_is() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return;
    }
    let folder = Folder::new();
    for _ in 0..2 {
        folder.run("runs measure --repeats 2 --instructions --name true -- true").ok();
    }
    let record = folder.json("runs show latest");
    let timing = &record["record"]["timings"][1];
    assert_eq!(timing["unit"], "instructions");
    assert!(timing["values"][0].as_f64().unwrap() > 10_000.0, "{timing}");
    let compared = folder.json("runs compare latest~1 latest");
    let ratio = compared["timings"][1]["ratio"].as_f64().unwrap();
    assert!((ratio - 1.0).abs() < 0.02, "counts repeat: {ratio}");
}

#[test]
fn pages_ask_nothing_of_the_network_and_show_text_as_text() {
    let folder = Folder::new();
    folder.write("<b>&qrels", qrels());
    folder.write("<img src=x>.run", run(|_| BEST));
    folder.write("other.run", run(|query| if query % 5 == 0 { LATE } else { SWAPPED }));
    let line = ["evaluate", "--qrels", "<b>&qrels", "--run", "<img src=x>.run", "--run", "other.run"];
    folder.graded(line).ok();
    folder.graded(line).ok();
    folder.run("runs report --out history.html").ok();
    folder.run("runs report latest~1 latest --out two.html").ok();
    folder.run("runs compare latest latest --baseline-system other.run --system other.run").ok();
    let names = ["--baseline-system", "<img src=x>.run", "--system", "other.run", "--out", "fell.html"];
    let mut arguments = vec!["runs", "report", "latest", "latest"];
    arguments.extend(names);
    folder.graded(arguments).ok();
    for page in ["history.html", "two.html", "fell.html"] {
        let html = std::fs::read_to_string(folder.path(page)).unwrap();
        for forbidden in ["http:", "https:", "<script", "<link", "@import", "url(", "<img", "<b>"] {
            assert!(!html.contains(forbidden), "{page} holds {forbidden}");
        }
        for wanted in ["<svg", "prefers-color-scheme: dark", "&lt;b&gt;&amp;qrels", "nDCG@10", "</html>"] {
            assert!(html.contains(wanted), "{page} lacks {wanted}");
        }
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    }
    assert_eq!(
        std::fs::read_to_string(folder.path("history.html")).unwrap().matches("<polyline").count(),
        12
    );
    let fell = std::fs::read_to_string(folder.path("fell.html")).unwrap();
    assert!(fell.contains("v (-), w (-), x (-)"), "what stood first after the fall");
    folder.run("runs report latest --out one.html").refused(&["both"]);
}
