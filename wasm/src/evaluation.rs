//! Rankings scored against judgments.

use std::path::Path;

use datasets::trec::{JudgmentOptions, RunFile, RunOptions, parse_judgments};
use relevance::evaluation::{EvaluationOptions, Evaluator, SelfHits};
use relevance::{EvaluationReport, parse_measures};
use serde::Deserialize;
use wasm_bindgen::prelude::*;

/// How `evaluate` reads and averages; the flags of `graded evaluate`, with the same defaults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    ties: String,
    self_hits: SelfHits,
    intersect: bool,
    per_query: bool,
    /// What the judgments and the run are called in messages.
    qrels_name: String,
    run_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ties: EvaluationOptions::default().ties.to_string(),
            self_hits: SelfHits::default(),
            intersect: false,
            per_query: false,
            qrels_name: "qrels".to_owned(),
            run_name: "run".to_owned(),
        }
    }
}

/// Scores a run against judgments: `measures` as in `nDCG@10 AP(rel=2) R@100`, `qrels` and `run` the content of the
/// files `graded evaluate` takes.
///
/// `options` is a JSON object: `ties` (`trec`, `run`, `docid-asc`, `expected`), `self_hits` (`keep`, `drop`),
/// `intersect`, `per_query`, and `qrels_name` and `run_name` for messages. The answer holds `measures`,
/// `missing_queries`, `unjudged_queries`, `query_count`, `judged_in_top_10`, `tied_hits`, `ties_across` and, with
/// `per_query`, `queries`, as `graded evaluate --format json` has them.
///
/// # Errors
/// What the readers say of a malformed line, an unknown measure or option, and scores that cannot be ranked.
#[wasm_bindgen]
pub fn evaluate(qrels: &str, run: &str, measures: &str, options: Option<String>) -> Result<String, JsError> {
    let options: Options = crate::options::parse("evaluate", options.as_deref())?;
    let judgments =
        parse_judgments(qrels.as_bytes(), Path::new(&options.qrels_name), &JudgmentOptions::default())?;
    let run = RunFile::from_bytes(run.as_bytes().to_vec(), &options.run_name, &RunOptions::default())?;
    let settings = EvaluationOptions {
        ties: options.ties.parse()?,
        self_hits: options.self_hits,
        intersect: options.intersect,
        ..EvaluationOptions::default()
    };
    let evaluator = Evaluator::new(&judgments.judgments, &parse_measures(measures)?, settings)?;
    let mut outcomes = Vec::with_capacity(run.len());
    for ranking in run.rankings() {
        outcomes.push(evaluator.query(&ranking?)?);
    }
    let evaluation = evaluator.collect(outcomes)?;
    Ok(serde_json::to_string(&EvaluationReport { evaluation: &evaluation, per_query: options.per_query })?)
}
