//! The same rankings scored by others: pytrec_eval, ir_measures, scikit-learn. The fixtures were written by
//! `benchmarks/references/measures/*.py`.

#![allow(clippy::unwrap_used)]

use relevance::{
    Evaluation, EvaluationOptions, Evaluator, Hit, Judgments, Ranking, measures::parse_measures_at,
};
use serde::Deserialize;

/// One query: judgments, ranking, and the values to meet.
#[derive(Deserialize)]
struct Case {
    #[serde(default = "one")]
    level: i32,
    #[serde(default)]
    judged_only: bool,
    qrels: Vec<(String, i32)>,
    run: Vec<(String, f64)>,
    /// `None` where the peer's value is not a number.
    values: Vec<Option<f64>>,
}

fn one() -> i32 {
    1
}

#[derive(Deserialize)]
struct Fixture {
    measures: Vec<String>,
    cases: Vec<Case>,
}

fn evaluate(case: &Case, measures: &[String]) -> Evaluation {
    let judgments: Judgments = case.qrels.iter().map(|(d, grade)| ("q", d.as_str(), *grade)).collect();
    let measures = parse_measures_at(&measures.join(" "), case.level).unwrap();
    let options = EvaluationOptions { judged_only: case.judged_only, ..EvaluationOptions::default() };
    let hits = case.run.iter().map(|(document, score)| Hit { document, score: *score }).collect();
    Evaluator::new(&judgments, &measures, options).unwrap().evaluate(&[Ranking { query: "q", hits }]).unwrap()
}

fn check(fixture: &str, tolerance: f64) {
    let fixture: Fixture = serde_json::from_str(fixture).unwrap();
    assert!(!fixture.cases.is_empty());
    for (number, case) in fixture.cases.iter().enumerate() {
        let evaluation = evaluate(case, &fixture.measures);
        assert_eq!(evaluation.summary.len(), case.values.len());
        for ((name, ours), theirs) in fixture.measures.iter().zip(&evaluation.summary).zip(&case.values) {
            match theirs {
                None => assert!(ours.is_finite(), "case {number}: {name}"),
                Some(theirs) => {
                    assert!((ours - theirs).abs() <= tolerance, "case {number}: {name} {ours} {theirs}")
                }
            }
        }
    }
}

#[test]
fn pytrec_eval_on_random_rankings() {
    check(include_str!("fixtures/pytrec_eval.json"), 1e-9);
}

#[test]
fn ir_measures_on_random_rankings() {
    check(include_str!("fixtures/ir_measures.json"), 1e-9);
}

#[test]
fn gdeval_to_the_five_decimals_it_prints() {
    check(include_str!("fixtures/gdeval.json"), 5.01e-6);
}

#[test]
fn scikit_learn_on_random_pairs() {
    check(include_str!("fixtures/pair_average_precision.json"), 1e-12);
}
