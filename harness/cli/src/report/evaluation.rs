//! The result of `graded evaluate`, said: one row a system, comparisons with a baseline, values per query.

use relevance::EvaluationReport;
use relevance::evaluation::{Evaluation, SelfHits};
use relevance::resampling::Bootstrap;
use relevance::significance::{self, Comparison, Randomization, Settings};
use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::signs::ndcg_up_while_ap_falls;
use super::{Cell, Report, Table};
use crate::arguments::Options;
use crate::commands::Finished;
use crate::exit::Usage;
use crate::recipe::Recipe;
use crate::runs::answers::Answers;

/// What was evaluated.
pub struct Evaluated {
    /// The collection's name, or the judgment file.
    pub dataset: String,
    /// How many judged pairs there are.
    pub judgments: usize,
    /// Digests of what went in.
    pub fingerprint: Value,
    /// What happened to documents whose id is the query's.
    pub self_hits: SelfHits,
    /// What the collection's reader has to say.
    pub notes: Vec<String>,
    /// The judged queries with digests of their judgments, where a record is to keep them.
    pub judged: Vec<(String, String)>,
    /// The systems and their values.
    pub systems: Vec<Scored>,
}

/// One system and its values.
pub struct Scored {
    /// As in the recipe, or the run's tag or file.
    pub name: String,
    /// The encoder's digest, where there is one.
    pub digest: Option<String>,
    /// How long retrieval took, where there was one.
    pub seconds: Option<f64>,
    /// What it answered, where a record is to keep it.
    pub answers: Option<Answers>,
    /// The values.
    pub evaluation: Evaluation,
}

/// The report of an evaluation.
///
/// # Errors
/// When the baseline is not one of the systems.
pub fn report(
    done: &Evaluated,
    recipe: &Recipe,
    per_query: bool,
    options: &Options,
) -> anyhow::Result<Finished> {
    let comparisons = match &recipe.baseline {
        Some(baseline) => compare(done, baseline, options)?,
        None => Vec::new(),
    };
    let mut tables = vec![summary(done, recipe)];
    if !comparisons.is_empty() {
        tables.push(comparison_table(&comparisons, recipe.baseline.as_deref().unwrap_or_default()));
    }
    if per_query {
        tables.insert(0, query_table(done));
    }
    let documents = done.systems.iter().map(|system| document(done, system, recipe, per_query, options));
    let documents = documents.collect::<anyhow::Result<Vec<_>>>()?;
    let json = match <[Value; 1]>::try_from(documents.clone()) {
        Ok([only]) => only,
        Err(_) => {
            let signs = signs(&comparisons);
            let comparisons = comparisons.iter().map(Compared::json).collect::<Vec<_>>();
            json!({ "dataset": done.dataset, "systems": documents, "comparisons": comparisons, "signs": signs })
        }
    };
    let lines = if documents.len() > 1 { documents } else { Vec::new() };
    Ok(Report { tables, json, lines }.into())
}

fn summary(done: &Evaluated, recipe: &Recipe) -> Table {
    let measures = recipe.measures.iter().map(ToString::to_string);
    let mut columns = vec!["system".to_owned()];
    columns.extend(measures);
    columns.extend(["queries", "judged@10", "tied", "tied@cut"].map(str::to_owned));
    let mut table = Table::new(columns);
    let pairs = done.judgments;
    table.title = Some(format!("{}: {pairs} judged pairs", done.dataset));
    for system in &done.systems {
        table.push(summary_row(system));
    }
    table.notes = notes(done);
    table
}

fn summary_row(system: &Scored) -> Vec<Cell> {
    let evaluation = &system.evaluation;
    let mut row = vec![Cell::text(&system.name)];
    row.extend(evaluation.summary.iter().map(|&value| Cell::Value(value)));
    row.push(Cell::count(evaluation.queries.len()));
    row.push(Cell::Share(evaluation.judged_in_top_10));
    row.push(Cell::Share(evaluation.tied_hits));
    row.push(Cell::count(evaluation.ties_across.iter().map(|across| across.queries).max().unwrap_or(0)));
    row
}

fn notes(done: &Evaluated) -> Vec<String> {
    let mut notes = vec![
        "judged@10: judged share of the top 10; tied: share of hits whose score another hit of the query has; \
         tied@cut: queries with a tie across a measure's cut-off"
            .to_owned(),
    ];
    if done.self_hits == SelfHits::Drop {
        notes.push("self-hits dropped: a document never answers the query that has its id".to_owned());
    }
    notes.extend(done.notes.iter().cloned());
    for system in &done.systems {
        let missing = &system.evaluation.missing;
        if !missing.is_empty() {
            let first = missing.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if missing.len() > 5 { ", ..." } else { "" };
            notes.push(format!(
                "{}: {} judged queries have no ranking: {first}{more}",
                system.name,
                missing.len()
            ));
        }
        if !system.evaluation.unjudged.is_empty() {
            let count = system.evaluation.unjudged.len();
            notes.push(format!("{}: {count} rankings of queries nobody judged do not count", system.name));
        }
    }
    notes
}

fn query_table(done: &Evaluated) -> Table {
    let mut table = Table::new(["system", "query", "measure", "value"]);
    for system in &done.systems {
        for query in &system.evaluation.queries {
            for (measure, value) in system.evaluation.measures.iter().zip(&query.values) {
                let (system, query) = (Cell::text(&system.name), Cell::text(&query.query));
                table.push(vec![system, query, Cell::text(measure.to_string()), Cell::Value(*value)]);
            }
        }
    }
    table
}

/// The JSON contract of one system.
#[derive(Serialize)]
struct Document<'a> {
    dataset: &'a str,
    encoder: &'a str,
    #[serde(flatten)]
    values: EvaluationReport<'a>,
    fingerprint: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

fn document(
    done: &Evaluated,
    system: &Scored,
    recipe: &Recipe,
    per_query: bool,
    options: &Options,
) -> anyhow::Result<Value> {
    let fingerprint = json!({
        "data": done.fingerprint,
        "encoder": system.digest,
        "recipe": recipe.digest()?,
        "ties": recipe.ties.to_string(),
        "self_hits": done.self_hits,
        "intersect": recipe.intersect,
        "version": env!("CARGO_PKG_VERSION"),
        "device": options.device()?.to_string(),
        "threads": rayon::current_num_threads(),
    });
    Ok(serde_json::to_value(Document {
        dataset: &done.dataset,
        encoder: &system.name,
        values: EvaluationReport { evaluation: &system.evaluation, per_query },
        fingerprint,
        seconds: system.seconds,
    })?)
}

/// One system against the baseline by one measure.
struct Compared {
    system: String,
    measure: String,
    comparison: Comparison,
}

impl Compared {
    fn json(&self) -> Value {
        let found = &self.comparison;
        json!({
            "system": self.system,
            "measure": self.measure,
            "queries": found.queries,
            "difference": found.mean_difference,
            "interval": found.interval.ok().map(|interval| [interval.lower, interval.upper]),
            "randomization_p": found.randomization.ok().map(|test| test.p),
            "t_test_p": found.t_test.ok().map(|test| test.p),
            "holm_p": found.holm_p.ok(),
            "cohens_d": found.cohens_d.ok(),
            "wins": found.outcomes.wins,
            "ties": found.outcomes.ties,
            "losses": found.outcomes.losses,
        })
    }
}

/// Every system but the baseline, by every measure, over the queries both answer for. Holm's correction is over all of
/// them.
fn compare(done: &Evaluated, baseline: &str, options: &Options) -> anyhow::Result<Vec<Compared>> {
    let names = done.systems.iter().map(|system| system.name.as_str()).collect::<Vec<_>>();
    let Some(base) = done.systems.iter().find(|system| system.name == baseline) else {
        return Err(Usage::error(format!(
            "--baseline: expected one of {}, found {baseline}",
            names.join(", ")
        )));
    };
    let others = done.systems.iter().filter(|system| system.name != baseline);
    let measures = &base.evaluation.measures;
    let mut what = Vec::new();
    let mut values = Vec::new();
    for system in others {
        for (at, measure) in measures.iter().enumerate() {
            what.push((system.name.clone(), measure.to_string()));
            values.push(paired(&base.evaluation, &system.evaluation, at));
        }
    }
    let settings = Settings {
        randomization: Randomization { seed: options.seed, ..Randomization::default() },
        bootstrap: Bootstrap::default().with_seed(options.seed),
    };
    let pairs = values.iter().map(|(base, system)| (base.as_slice(), system.as_slice())).collect::<Vec<_>>();
    let found = significance::compare(&pairs, &settings)
        .map_err(|reason| Usage::error(format!("--baseline: nothing can be compared: {reason}")))?;
    Ok(what
        .into_iter()
        .zip(found)
        .map(|((system, measure), comparison)| Compared { system, measure, comparison })
        .collect())
}

/// The values of the queries both evaluations hold, in the order of the judgments.
fn paired(base: &Evaluation, system: &Evaluation, measure: usize) -> (Vec<f64>, Vec<f64>) {
    // Both hold judged queries in the order of the judgments; `--intersect` leaves out what a system does not answer.
    let theirs: FxHashMap<_, _> =
        system.queries.iter().map(|query| (&query.query, query.values[measure])).collect();
    base.queries.iter().filter_map(|query| Some((query.values[measure], *theirs.get(&query.query)?))).unzip()
}

/// The signs of failure, system by system.
fn signs(comparisons: &[Compared]) -> Vec<String> {
    let of_system = |of: &[Compared]| {
        let changes = of.iter().map(|one| (one.measure.as_str(), one.comparison.mean_difference));
        Some(format!("{}: {}", of[0].system, ndcg_up_while_ap_falls(changes)?))
    };
    comparisons.chunk_by(|one, other| one.system == other.system).filter_map(of_system).collect()
}

fn comparison_table(comparisons: &[Compared], baseline: &str) -> Table {
    let columns = [
        "system",
        "measure",
        "difference",
        "95 % interval",
        "p (random.)",
        "p (t)",
        "p (Holm)",
        "win/tie/loss",
    ];
    let mut table = Table::new(columns).titled(format!("against {baseline}"));
    for Compared { system, measure, comparison } in comparisons {
        let p = |p: Option<f64>| p.map_or(Cell::Empty, Cell::Probability);
        let interval = comparison.interval.ok();
        let interval = interval.map(|interval| format!("{:+.4} to {:+.4}", interval.lower, interval.upper));
        let outcomes = &comparison.outcomes;
        table.push(vec![
            Cell::text(system),
            Cell::text(measure),
            Cell::Value(comparison.mean_difference),
            Cell::text(interval.unwrap_or_default()),
            p(comparison.randomization.ok().map(|test| test.p)),
            p(comparison.t_test.ok().map(|test| test.p)),
            p(comparison.holm_p.ok()),
            Cell::text(format!("{}/{}/{}", outcomes.wins, outcomes.ties, outcomes.losses)),
        ]);
    }
    table.notes = vec![
        "paired over queries: randomization test (two-sided), t-test; Holm's correction over all rows"
            .to_owned(),
    ];
    table.notes.extend(signs(comparisons).into_iter().map(|sign| format!("WARNING: {sign}")));
    table
}
