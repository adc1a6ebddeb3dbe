//! Records of what the commands measured.

use std::collections::BTreeMap;

use relevance::agreement::{RatedPair, RatersReport, Report, Statistic};
use relevance::evaluation::Evaluation;
use relevance::measures::Aggregation;
use relevance::resampling::{Bootstrap, Estimate};
use relevance::significance::mean_differences;
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::record::{Agreement, Kind, Measured, Record, System, Timing, Unit, machine, tool};
use super::{answers, commit};
use crate::arguments::Options;
use crate::recipe::Recipe;
use crate::report::evaluation::{Evaluated, Scored};

/// A record with nothing measured yet. Its place and time are filled in when it is written.
///
/// # Errors
/// When the device asked for is not there.
pub fn empty(kind: Kind, dataset: &str, options: &Options) -> anyhow::Result<Record> {
    Ok(Record {
        kind,
        order: String::new(),
        recorded_at: String::new(),
        dataset: dataset.to_owned(),
        fingerprints: BTreeMap::new(),
        settings: BTreeMap::new(),
        tool: tool(),
        commit: commit::checked_out(),
        machine: machine(options.device()?.to_string()),
        queries: Vec::new(),
        judgments_of_queries: Vec::new(),
        systems: Vec::new(),
        agreement: None,
        timings: Vec::new(),
    })
}

/// The record of an evaluation.
///
/// # Errors
/// When the recipe holds a path that is not UTF-8.
pub fn evaluation(done: &Evaluated, recipe: &Recipe, options: &Options) -> anyhow::Result<Record> {
    let mut record = empty(Kind::Evaluation, &done.dataset, options)?;
    record.fingerprints = digests(&done.fingerprint);
    record.fingerprints.insert("recipe".to_owned(), recipe.digest()?);
    let self_hits = serde_json::to_value(done.self_hits)?;
    let settings = [
        ("ties", recipe.ties.to_string()),
        ("self_hits", self_hits.as_str().unwrap_or_default().to_owned()),
        ("intersect", recipe.intersect.to_string()),
        ("judged_candidates", recipe.judged_candidates.to_string()),
        ("depth", recipe.depth.map_or_else(|| "all".to_owned(), |depth| depth.to_string())),
    ];
    record.settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
    (record.queries, record.judgments_of_queries) = done.judged.iter().cloned().unzip();
    record.systems = done.systems.iter().map(|one| system(one, &record.queries)).collect();
    Ok(record)
}

/// The texts of a JSON object: a collection's digests.
fn digests(fingerprint: &Value) -> BTreeMap<String, String> {
    let digests = fingerprint.as_object().into_iter().flatten();
    digests.filter_map(|(name, digest)| Some((name.clone(), digest.as_str()?.to_owned()))).collect()
}

/// A training run: what it was, and what it was measured on.
pub struct Trained<'a> {
    /// The data's name.
    pub dataset: &'a str,
    /// Digests of what it was measured on: the held-out documents, queries and judgments, or of what was learned where
    /// nothing was held out. Two runs are compared where these agree, however the models came about.
    pub measured_on: &'a Value,
    /// What `training.json` says: how the model came about.
    pub said: &'a Value,
}

impl Trained<'_> {
    /// The record so far: digests, settings and the time it took.
    fn record(&self, options: &Options) -> anyhow::Result<Record> {
        let mut record = empty(Kind::Training, self.dataset, options)?;
        record.fingerprints = digests(self.measured_on);
        record.fingerprints.insert("recipe".to_owned(), text(&self.said["recipe"]));
        let settings =
            ["loss", "seed", "steps", "base", "model", "first_loss", "last_loss", "pairs_per_second"];
        record.settings = settings.map(|name| (name.to_owned(), text(&self.said[name]))).into();
        record.settings.insert("learned".to_owned(), text(&self.said["data"]["fingerprint"]["judgments"]));
        record.settings.retain(|_, value| !value.is_empty());
        if let Some(seconds) = self.said["seconds"].as_f64() {
            record.timings.push(Timing {
                name: "training".to_owned(),
                unit: Unit::Seconds,
                values: vec![seconds],
            });
        }
        Ok(record)
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The record of an encoder's training. `judged`: the held-out queries with digests of their judgments; `systems`: the
/// models beside it, before and after.
///
/// # Errors
/// When the device asked for is not there.
pub fn training(
    trained: &Trained<'_>,
    judged: Vec<(String, String)>,
    systems: &[Scored],
    options: &Options,
) -> anyhow::Result<Record> {
    let mut record = trained.record(options)?;
    (record.queries, record.judgments_of_queries) = judged.into_iter().unzip();
    record.systems = systems.iter().map(|one| system(one, &record.queries)).collect();
    Ok(record)
}

/// The record of a labeler's training, with its agreement on held-out pairs where there were any.
///
/// # Errors
/// When the device asked for is not there.
pub fn labeler_training(
    trained: &Trained<'_>,
    labels: Option<Labels<'_>>,
    options: &Options,
) -> anyhow::Result<Record> {
    let mut record = trained.record(options)?;
    if let Some(labels) = labels {
        let measured = agreement(labels, options)?;
        record.fingerprints.extend(measured.fingerprints);
        (record.queries, record.judgments_of_queries) = (measured.queries, measured.judgments_of_queries);
        record.agreement = measured.agreement;
    }
    Ok(record)
}

fn system(scored: &Scored, queries: &[String]) -> System {
    let evaluation = &scored.evaluation;
    let positions: FxHashMap<&str, usize> =
        evaluation.queries.iter().enumerate().map(|(at, query)| (query.query.as_str(), at)).collect();
    let places: Vec<Option<usize>> =
        queries.iter().map(|query| positions.get(query.as_str()).copied()).collect();
    let top = |answers: &answers::Answers| {
        queries.iter().map(|query| answers.top.get(query).cloned().unwrap_or_default()).collect()
    };
    System {
        name: scored.name.clone(),
        encoder: scored.digest.clone(),
        rankings: scored.answers.as_ref().map(|answers| answers.digest.clone()),
        seconds: scored.seconds,
        missing: evaluation.missing.clone(),
        judged_in_top_10: evaluation.judged_in_top_10,
        measures: measures(evaluation, &places),
        top: scored.answers.as_ref().map(top).unwrap_or_default(),
    }
}

fn measures(evaluation: &Evaluation, places: &[Option<usize>]) -> Vec<Measured> {
    let column = |at: usize| evaluation.queries.iter().map(move |query| query.values[at]);
    let columns: Vec<Vec<f64>> = (0..evaluation.measures.len()).map(|at| column(at).collect()).collect();
    let estimates = mean_differences(&columns, &Bootstrap::default()).unwrap_or_default();
    let named = evaluation.measures.iter().zip(&evaluation.summary).enumerate();
    let measured = |(at, (measure, &value)): (usize, (&relevance::Measure, &f64))| {
        let is_mean = measure.aggregation() == Aggregation::Mean;
        Measured {
            name: measure.to_string(),
            value: value.is_finite().then_some(value),
            interval: estimates.get(at).filter(|_| is_mean).and_then(ends),
            values: places.iter().map(|place| place.map(|place| columns[at][place])).collect(),
        }
    };
    named.map(measured).collect()
}

fn ends(estimate: &Estimate) -> Option<[f64; 2]> {
    estimate.interval.ok().map(|interval| [interval.lower, interval.upper])
}

/// Labels of two raters as they were compared.
pub struct Labels<'a> {
    /// The file or files.
    pub dataset: String,
    /// The statistics.
    pub report: &'a Report,
    /// The pairs with both grades.
    pub pairs: &'a [RatedPair],
    /// The names of the queries that [`RatedPair::query`] numbers.
    pub queries: Vec<String>,
    /// For each query a digest of its documents' human grades, of pairs without a prediction too.
    pub human: Vec<String>,
}

/// The record of an agreement of two raters.
///
/// # Errors
/// When the device asked for is not there.
pub fn agreement(labels: Labels<'_>, options: &Options) -> anyhow::Result<Record> {
    let mut record = empty(Kind::Agreement, &labels.dataset, options)?;
    let mut hasher = blake3::Hasher::new();
    let mut sorted: Vec<_> = labels.queries.iter().zip(&labels.human).collect();
    sorted.sort_unstable();
    for (query, digest) in sorted {
        hasher.update(&(query.len() as u64).to_le_bytes());
        hasher.update(query.as_bytes());
        hasher.update(digest.as_bytes());
    }
    record.fingerprints.insert("judgments".to_owned(), hasher.finalize().to_hex().to_string());
    let report = labels.report;
    record.agreement = Some(Agreement {
        pairs: report.pairs,
        unparsed: report.unparsed,
        measures: statistics(&report.measures),
        grades: report.confusion.grades().to_vec(),
        confusion: report.confusion.rows().collect(),
        cells: cells(labels.pairs, labels.queries.len()),
    });
    (record.queries, record.judgments_of_queries) = (labels.queries, labels.human);
    Ok(record)
}

/// The record of an agreement of more than two raters: its statistics alone.
///
/// # Errors
/// When the device asked for is not there.
pub fn raters(dataset: &str, report: &RatersReport, options: &Options) -> anyhow::Result<Record> {
    let mut record = empty(Kind::Agreement, dataset, options)?;
    record.agreement = Some(Agreement {
        pairs: report.units as u64,
        unparsed: 0,
        measures: statistics(&report.measures),
        grades: Vec::new(),
        confusion: Vec::new(),
        cells: Vec::new(),
    });
    Ok(record)
}

fn statistics(measures: &[(Statistic, Estimate)]) -> Vec<Measured> {
    let measured = |(statistic, estimate): &(Statistic, Estimate)| Measured {
        name: statistic.name().to_owned(),
        value: estimate.value.ok(),
        interval: ends(estimate),
        values: Vec::new(),
    };
    measures.iter().map(measured).collect()
}

fn cells(pairs: &[RatedPair], queries: usize) -> Vec<Vec<(i32, i32, u32)>> {
    let mut sorted = pairs.iter().map(|pair| (pair.query, pair.human, pair.predicted)).collect::<Vec<_>>();
    sorted.sort_unstable();
    let mut cells = vec![Vec::new(); queries];
    for alike in sorted.chunk_by(|a, b| a == b) {
        let (query, human, predicted) = alike[0];
        cells[query as usize].push((human, predicted, alike.len() as u32));
    }
    cells
}
