//! How far predicted grades agree with human ones.

use std::path::Path;

use datasets::pairs::{self, PairOptions};
use relevance::agreement::{FileReport, Report};
use relevance::resampling::Bootstrap;
use serde::Deserialize;
use wasm_bindgen::prelude::*;

/// The columns that hold what; guessed from the usual names where they are not named.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Columns {
    query: Option<String>,
    human: Option<String>,
    predicted: Option<String>,
}

/// The agreement of the predicted with the human grades of a file of labelled pairs (CSV, TSV or JSON lines), with
/// intervals from `resamples` resamplings of the queries drawn from `seed`.
///
/// `name` is the file's name: its ending tells the format, and messages and the answer carry it. `columns` is a JSON
/// object with any of `query`, `human` and `predicted`. The answer is what `graded agree --pairs ... --format json`
/// prints.
///
/// # Errors
/// What the reader says of a malformed file, a column that is not there or cannot be guessed, no resamples at all.
#[wasm_bindgen]
pub fn agree(
    pairs: &[u8],
    name: &str,
    columns: Option<String>,
    resamples: u32,
    seed: f64,
) -> Result<String, JsError> {
    // Every whole number up to 2^53 is a number of JavaScript; beyond, two may be one.
    if seed.fract() != 0.0 || !(0.0..=9_007_199_254_740_992.0).contains(&seed) {
        return Err(JsError::new("agree: seed: expected a whole number from 0 to 2^53"));
    }
    let columns: Columns = crate::options::parse("agree", columns.as_deref())?;
    let bootstrap = Bootstrap::new(resamples, Bootstrap::default().level(), seed as u64)
        .ok_or_else(|| JsError::new("agree: expected at least 1 resample"))?;
    let wanted = PairOptions {
        query: columns.query,
        human: columns.human,
        predicted: columns.predicted,
        ..PairOptions::default()
    };
    let read = pairs::parse(pairs, Path::new(name), &wanted)?;
    for (column, role) in [(&read.columns.human, "human"), (&read.columns.predicted, "predicted")] {
        if column.is_none() {
            return Err(JsError::new(&format!(
                "{name}: which column holds the {role} grade? name it as \"{role}\""
            )));
        }
    }
    let report = Report::of_labeled(&read.pairs, &bootstrap);
    Ok(serde_json::to_string(&FileReport { report: &report, file: name, predicted: None })?)
}
