//! trec_eval's own expected outputs, line by line and to every printed digit.
//!
//! The files are those of trec_eval's test folder. They are not ours to ship; without them the tests say so and pass.
//! The readers here are the least that reads those files: the real ones live in `datasets`, which stands above.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use relevance::{
    Evaluation, EvaluationOptions, Evaluator, Hit, Judgments, Measure, Ranking, measures::Aggregation,
    measures::parse_measures_at,
};

/// The folder of the expected outputs, when it is there.
fn folder() -> Option<PathBuf> {
    let data = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    if !data.exists() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    Some(data.join("oracles/trec_eval"))
}

/// Lines of `query iteration document grade`. Comments stand after ` #` (documents hold `#` themselves).
fn judgments(text: &str) -> Judgments {
    uncommented(text).map(|c| (c[0], c[2], c[3].parse().unwrap())).collect()
}

/// Lines of `query Q0 document rank score tag`.
fn rankings(text: &str) -> Vec<Ranking<'_>> {
    let mut rankings: BTreeMap<&str, Vec<Hit<'_>>> = BTreeMap::new();
    for columns in uncommented(text) {
        let hit = Hit { document: columns[2], score: columns[4].parse().unwrap() };
        rankings.entry(columns[0]).or_default().push(hit);
    }
    rankings.into_iter().map(|(query, hits)| Ranking { query, hits }).collect()
}

fn uncommented(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|columns| !columns.is_empty())
}

/// How trec_eval was run.
struct Case {
    qrels: &'static str,
    results: &'static str,
    expected: &'static str,
    measures: &'static str,
    level: i32,
    each_query: bool,
    options: EvaluationOptions,
}

impl Case {
    /// trec_eval's defaults: the queries both files have.
    fn new(qrels: &'static str, results: &'static str, expected: &'static str) -> Self {
        let options = EvaluationOptions { intersect: true, ..EvaluationOptions::default() };
        Self { qrels, results, expected, measures: "all_trec", level: 1, each_query: false, options }
    }

    fn check(self) {
        let Some(folder) = folder() else { return };
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let (qrels, results) = (read(self.qrels), read(self.results));
        let measures = parse_measures_at(self.measures, self.level).unwrap();
        let judgments = judgments(&qrels);
        let evaluator = Evaluator::new(&judgments, &measures, self.options.clone()).unwrap();
        let evaluation = evaluator.evaluate(&rankings(&results)).unwrap();
        let ours = lines(&evaluation, self.each_query);
        let theirs = expected(&read(self.expected));
        for (line, value) in &theirs {
            assert_eq!(ours.get(line), Some(value), "{}: {line:?}", self.expected);
        }
        assert_eq!(ours.len(), theirs.len(), "{}: lines", self.expected);
    }
}

/// (measure, query) and the printed value, without the run's name.
fn expected(text: &str) -> BTreeMap<(String, String), String> {
    let lines = text.lines().map(|line| line.split('\t').map(str::trim).collect::<Vec<_>>());
    let lines = lines.filter(|line| line[0] != "runid");
    // trec_eval prints the parameters of this one as they were typed; we print numbers.
    let name = |name: &str| name.replace("11pt_avg_.25,.5,.75", "11pt_avg_0.25,0.5,0.75");
    lines.map(|line| ((name(line[0]), line[1].to_owned()), line[2].to_owned())).collect()
}

fn lines(evaluation: &Evaluation, each_query: bool) -> BTreeMap<(String, String), String> {
    let mut lines = BTreeMap::new();
    for (at, measure) in evaluation.measures.iter().enumerate() {
        let name = measure.trec_name().unwrap();
        lines.insert((name.clone(), "all".to_owned()), printed(measure, evaluation.summary[at]));
        let per_query = each_query
            && *measure != Measure::NumQueries
            && measure.aggregation() != Aggregation::GeometricMean;
        for query in evaluation.queries.iter().filter(|_| per_query) {
            lines.insert((name.clone(), query.query.clone()), printed(measure, query.values[at]));
        }
    }
    for query in &evaluation.queries {
        if let Some(string) = &query.relevance_string {
            let name = if string.len() <= 10 {
                "relstring".to_owned()
            } else {
                format!("relstring_{}", string.len())
            };
            lines.insert((name, query.query.clone()), format!("'{string}'"));
        }
    }
    lines
}

fn printed(measure: &Measure, value: f64) -> String {
    if measure.aggregation() == Aggregation::Sum { format!("{value}") } else { format!("{value:.4}") }
}

#[test]
fn the_official_measures() {
    let case = Case::new("qrels.test", "results.test", "out.test");
    Case { measures: "official", ..case }.check();
}

#[test]
fn all_measures() {
    Case::new("qrels.test", "results.test", "out.test.a").check();
}

#[test]
fn all_measures_for_each_query() {
    let mut case = Case::new("qrels.test", "results.test", "out.test.aq");
    case.options.relevance_string = Some(10);
    Case { each_query: true, ..case }.check();
}

#[test]
fn averages_over_all_judged_queries() {
    let mut case = Case::new("qrels.test", "results.trunc", "out.test.aqc");
    case.options.relevance_string = Some(10);
    case.options.intersect = false;
    Case { each_query: true, ..case }.check();
}

#[test]
fn the_first_hundred_documents() {
    let mut case = Case::new("qrels.test", "results.trunc", "out.test.aqcM");
    case.options = EvaluationOptions { depth: Some(100), relevance_string: Some(10), ..Default::default() };
    Case { each_query: true, ..case }.check();
}

#[test]
fn another_level_of_relevance() {
    let mut case = Case::new("qrels.rel_level", "results.test", "out.test.aql");
    case.options.relevance_string = Some(20);
    Case { level: 2, each_query: true, ..case }.check();
}

#[test]
fn parameters_of_measures() {
    let measures = "iprec_at_recall..10,.20,.25,.75,.50 P.5,7,3 recall.20,2000 Rprec_mult.5.0,0.2,0.35 \
                    utility.2,-1,0,0 11pt_avg..25,.5,.75 ndcg.1=3,2=9,4=4.5 ndcg_cut.10,20,23.4 success.2,5,20";
    let case = Case::new("qrels.test", "results.test", "out.test.meas_params");
    Case { measures, each_query: true, ..case }.check();
}

#[test]
fn files_with_comments() {
    Case::new("qrels.test.with-comments", "results.test", "out.test.a").check();
    let case = Case::new("qrels.comment.test", "results.comment.test", "out.comment.test");
    Case { measures: "official", ..case }.check();
}
