//! The result of `graded evaluate`, said: one row a system, comparisons with a baseline, values per query.

use relevance::evaluation::{Evaluation, SelfHits};
use relevance::significance;
use serde_json::{Map, Value, json};

use super::{Cell, Report, Table};
use crate::arguments::Options;
use crate::commands::Finished;
use crate::exit::Usage;
use crate::recipe::Recipe;

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
    /// The values.
    pub evaluation: Evaluation,
}

/// The report of an evaluation.
///
/// # Errors
/// When the baseline is not one of the systems.
pub fn report(done: &Evaluated, recipe: &Recipe, per_query: bool, options: &Options) -> anyhow::Result<Finished> {
    let comparisons = match &recipe.baseline {
        Some(baseline) => compare(done, baseline, options)?,
        None => Vec::new(),
    };
    let mut tables = vec![summary(done, recipe)];
    if !comparisons.is_empty() {
        tables.push(comparison_table(done, recipe, &comparisons));
    }
    if per_query {
        tables.insert(0, query_table(done));
    }
    let mut documents = done.systems.iter().map(|system| document(done, system, recipe, per_query, options));
    let documents = documents.by_ref().collect::<anyhow::Result<Vec<_>>>()?;
    let json = match <[Value; 1]>::try_from(documents.clone()) {
        Ok([only]) => only,
        Err(_) => {
            let comparisons = comparisons.iter().map(Comparison::json).collect::<Vec<_>>();
            json!({ "dataset": done.dataset, "systems": documents, "comparisons": comparisons })
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
            notes.push(format!("{}: {} judged queries have no ranking: {first}{more}", system.name, missing.len()));
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
fn document(
    done: &Evaluated,
    system: &Scored,
    recipe: &Recipe,
    per_query: bool,
    options: &Options,
) -> anyhow::Result<Value> {
    let evaluation = &system.evaluation;
    let values = |values: &[f64]| {
        let named = evaluation.measures.iter().map(ToString::to_string).zip(values.iter().map(|&value| value.into()));
        Value::Object(named.collect::<Map<_, _>>())
    };
    let mut document = json!({
        "dataset": done.dataset,
        "encoder": system.name,
        "measures": values(&evaluation.summary),
        "missing_queries": evaluation.missing,
        "unjudged_queries": evaluation.unjudged,
        "query_count": evaluation.queries.len(),
        "judged_in_top_10": evaluation.judged_in_top_10,
        "tied_hits": evaluation.tied_hits,
        "ties_across": evaluation.ties_across,
        "fingerprint": {
            "data": done.fingerprint,
            "encoder": system.digest,
            "recipe": recipe.digest()?,
            "ties": recipe.ties.to_string(),
            "self_hits": done.self_hits,
            "intersect": recipe.intersect,
            "version": env!("CARGO_PKG_VERSION"),
            "device": options.device()?.to_string(),
            "threads": rayon::current_num_threads(),
        },
    });
    if let Some(seconds) = system.seconds {
        document["seconds"] = seconds.into();
    }
    if per_query {
        let queries = evaluation.queries.iter().map(|query| (query.query.clone(), values(&query.values)));
        document["queries"] = Value::Object(queries.collect());
    }
    Ok(document)
}

/// One system against the baseline by one measure.
struct Comparison {
    system: String,
    measure: String,
    difference: f64,
    randomization_p: Option<f64>,
    t_test_p: Option<f64>,
    /// Of the randomization test, over all comparisons of the report.
    holm_p: Option<f64>,
    wins: usize,
    ties: usize,
    losses: usize,
}

impl Comparison {
    fn json(&self) -> Value {
        json!({
            "system": self.system, "measure": self.measure, "difference": self.difference,
            "randomization_p": self.randomization_p, "t_test_p": self.t_test_p, "holm_p": self.holm_p,
            "wins": self.wins, "ties": self.ties, "losses": self.losses,
        })
    }
}
