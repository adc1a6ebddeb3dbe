//! Public collections and trec_eval's expected outputs, read from beside the checkout through the built binary.

use std::path::Path;

use crate::graded::{Folder, shared};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The `all` lines of a trec_eval output: measure and printed value.
fn expected(path: &Path) -> Vec<(String, String)> {
    let lines = std::fs::read_to_string(path).unwrap();
    let fields = lines.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    fields.filter(|fields| fields[1] == "all").map(|fields| (fields[0].clone(), fields[2].clone())).collect()
}

#[test]
fn trec_eval_s_own_output_comes_out_of_the_command_line() {
    let Some(oracles) = shared("oracles/trec_eval") else { return };
    let folder = Folder::new();
    for (qrels, run, output) in [
        ("qrels.test", "results.test", "out.test"),
        ("qrels.comment.test", "results.comment.test", "out.comment.test"),
    ] {
        let (qrels, run) = (oracles.join(qrels), oracles.join(run));
        let mut compared = 0;
        for (measure, printed) in expected(&oracles.join(output)) {
            if measure == "runid" || measure == "num_q" {
                continue;
            }
            let arguments = [
                "evaluate",
                "--intersect",
                "--format",
                "csv",
                "--qrels",
                text(&qrels),
                "--run",
                text(&run),
                "-m",
                &measure,
            ];
            let csv = folder.graded(arguments).ok().stdout;
            let value: f64 = csv.lines().nth(1).unwrap().split(',').nth(1).unwrap().parse().unwrap();
            let same = if printed.contains('.') { format!("{value:.4}") } else { format!("{value}") };
            assert_eq!(same, printed, "{measure} of {output}");
            compared += 1;
        }
        assert!(compared >= 25, "{output}: only {compared} measures compared");
    }
}

#[test]
fn the_published_bm25_run_on_cacm_is_met() {
    let Some(cacm) = shared("cacm") else { return };
    let folder = Folder::new();
    let (qrels, run) = (cacm.join("qrels.cacm.txt"), cacm.join("cacm-bm25.txt"));
    let published = folder
        .graded(["evaluate", "--qrels", text(&qrels), "--run", text(&run), "-m", "P@30", "--format", "json"])
        .json();
    assert_eq!(format!("{:.4}", published["measures"]["P@30"].as_f64().unwrap()), "0.1942");
    let ours = folder
        .graded(["evaluate", "--dataset", text(&cacm), "--encoder", "bm25", "-m", "P@30", "--format", "json"])
        .json();
    assert_eq!(format!("{:.4}", ours["measures"]["P@30"].as_f64().unwrap()), "0.1942");
}

#[test]
fn every_public_collection_evaluates() {
    let folder = Folder::new();
    for (name, judged_queries) in [
        ("chorus", 135),
        ("dbpedia-entity-5k", 40),
        ("cranfield", 225),
        ("cacm", 52),
        ("vaswani", 93),
        ("msmarco-dl19-5k", 43),
    ] {
        let Some(path) = shared(name) else { return };
        let line = [
            "evaluate",
            "--dataset",
            text(&path),
            "--encoder",
            "bm25",
            "--encoder",
            "embedded",
            "--fuse",
            "rrf",
            "--format",
            "json",
        ];
        let answer = folder.graded(line).json();
        for system in answer["systems"].as_array().unwrap() {
            assert_eq!(system["query_count"], judged_queries, "{name}");
            assert!(system["measures"]["nDCG@10"].as_f64().unwrap() > 0.1, "{name}: {system}");
        }
    }
}

#[test]
fn chorus_raters_agree_as_published() {
    let Some(ratings) = shared("chorus/Broad_Query_Set_individual_ratings.csv") else { return };
    let header = std::fs::read_to_string(&ratings).unwrap().lines().next().unwrap().to_owned();
    let columns: Vec<_> = header.split(',').map(|name| name.trim_matches(['"', '\u{feff}'])).collect();
    let raters: Vec<_> = columns.iter().filter(|name| name.starts_with("agent_")).copied().collect();
    assert_eq!(raters.len(), 3, "{header}");
    let folder = Folder::new();
    let answer = folder
        .graded(["agree", "--pairs", text(&ratings), "--raters", &raters.join(","), "--format", "json"])
        .json();
    let alpha = |metric: &str| {
        format!("{:.3}", answer["measures"][format!("krippendorff_alpha_{metric}")].as_f64().unwrap())
    };
    assert_eq!(
        (alpha("nominal"), alpha("ordinal"), alpha("interval")),
        ("0.643".into(), "0.770".into(), "0.771".into())
    );
}
