//! The parameters of the platform as a recipe spells them, their defaults and their ranges.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::SynthesisError;

/// Every parameter of the platform but the catalogue and the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformParameters {
    /// `[population]`.
    pub population: Population,
    /// `[retriever]`.
    pub retriever: Retriever,
    /// `[wording]`.
    pub wording: Wording,
    /// `[clicks]`.
    pub clicks: Clicks,
    /// `[reformulation]`.
    pub reformulation: Reformulation,
    /// `[feed]`.
    pub feed: Feed,
}

/// Who uses the platform, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Population {
    /// How many users.
    pub users: usize,
    /// How many intents a user is interested in; low-numbered intents are popular (Zipf).
    pub intents_per_user: usize,
    /// The mean number of sessions a user has beyond the first (geometric).
    pub mean_further_sessions: f64,
    /// The beginning of the log, in milliseconds since 1970.
    pub start_ms: i64,
    /// How many days the log covers.
    pub days: f64,
    /// The share of intents that no user has: their queries become the test split.
    pub held_out: f64,
}

/// The deployed retriever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retriever {
    /// BM25, as `graded evaluate` spells it.
    pub bm25: String,
    /// The analyzer.
    pub analyzer: String,
    /// How many documents pre-ranking keeps.
    pub recalled: usize,
    /// How many of them are ranked; the others are logged as filtered.
    pub ranked: usize,
    /// How many of these are shown.
    pub exposed: usize,
    /// The grade from which a document counts as relevant when the filter bubble is measured.
    pub relevant_from: i32,
}

/// How intents are put into words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wording {
    /// The probability that a session's first query leaves out a part of the intent.
    pub vague: f64,
}

/// How results are opened and watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clicks {
    /// P(position k is looked at) = k^-examination_decay.
    pub examination_decay: f64,
    /// P(opened | looked at) for each grade, lowest first; higher grades take the last.
    pub open_by_grade: Vec<f64>,
    /// P(satisfied | watched) for each grade, lowest first.
    pub satisfied_by_grade: Vec<f64>,
    /// The median time a document is watched, in seconds, for each grade, lowest first.
    pub median_dwell_s_by_grade: Vec<f64>,
    /// The spread of the logarithm of that time (log-normal).
    pub dwell_spread: f64,
}

/// What users do who were not satisfied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reformulation {
    /// The probability of another query.
    pub probability: f64,
    /// The mean time until it is typed, in seconds (exponential).
    pub mean_delay_s: f64,
    /// The most of them in a session.
    pub most: usize,
}

/// The recommendation feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Feed {
    /// The mean number of items around a session (geometric).
    pub mean_items: f64,
    /// They fall at most this many seconds before or after the session's first search.
    pub window_s: f64,
    /// The share of items with a grade above 0 for the session's intent.
    pub on_intent: f64,
    /// The share of items with a grade above 0 for another interest of the user; the rest are drawn from the catalogue.
    pub on_other_interest: f64,
}

impl Default for Population {
    fn default() -> Self {
        Self {
            users: 500,
            intents_per_user: 5,
            mean_further_sessions: 4.0,
            // 2025-01-01 00:00 UTC.
            start_ms: 1_735_689_600_000,
            days: 7.0,
            held_out: 0.25,
        }
    }
}

impl Default for Retriever {
    fn default() -> Self {
        Self {
            bm25: "bm25".to_owned(),
            analyzer: "english".to_owned(),
            recalled: 60,
            ranked: 30,
            exposed: 8,
            relevant_from: 2,
        }
    }
}

impl Default for Wording {
    fn default() -> Self {
        Self { vague: 0.6 }
    }
}

impl Default for Clicks {
    fn default() -> Self {
        Self {
            examination_decay: 0.7,
            open_by_grade: vec![0.03, 0.15, 0.5, 0.8],
            satisfied_by_grade: vec![0.0, 0.1, 0.5, 0.9],
            median_dwell_s_by_grade: vec![3.0, 6.0, 15.0, 30.0],
            dwell_spread: 0.6,
        }
    }
}

impl Default for Reformulation {
    fn default() -> Self {
        Self { probability: 0.7, mean_delay_s: 25.0, most: 3 }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self { mean_items: 8.0, window_s: 1800.0, on_intent: 0.15, on_other_interest: 0.25 }
    }
}

impl Clicks {
    /// The entry of `by_grade` for a grade.
    pub(super) fn at(by_grade: &[f64], grade: i32) -> f64 {
        let at = usize::try_from(grade).unwrap_or(0).min(by_grade.len().saturating_sub(1));
        by_grade.get(at).copied().unwrap_or(0.0)
    }
}

impl PlatformParameters {
    /// # Errors
    /// The first parameter that is outside its range, by its key.
    pub fn check(&self) -> Result<()> {
        let Self { population, retriever, wording, clicks, reformulation, feed } = self;
        at_least_1("population.users", population.users)?;
        at_least_1("population.intents_per_user", population.intents_per_user)?;
        not_negative("population.mean_further_sessions", population.mean_further_sessions)?;
        if !(population.days > 0.0 && population.days <= 3650.0) {
            return Err(SynthesisError::parameter(
                "population.days",
                "above 0 and at most 3650",
                population.days,
            ));
        }
        share("population.held_out", population.held_out)?;
        at_least_1("retriever.exposed", retriever.exposed)?;
        if !(retriever.exposed <= retriever.ranked && retriever.ranked <= retriever.recalled) {
            let found = format!("{}, {}, {}", retriever.exposed, retriever.ranked, retriever.recalled);
            let expected = "exposed <= ranked <= recalled";
            return Err(SynthesisError::parameter("retriever", expected, found));
        }
        share("wording.vague", wording.vague)?;
        not_negative("clicks.examination_decay", clicks.examination_decay)?;
        shares("clicks.open_by_grade", &clicks.open_by_grade)?;
        shares("clicks.satisfied_by_grade", &clicks.satisfied_by_grade)?;
        not_empty("clicks.median_dwell_s_by_grade", &clicks.median_dwell_s_by_grade)?;
        for &seconds in &clicks.median_dwell_s_by_grade {
            not_negative("clicks.median_dwell_s_by_grade", seconds)?;
        }
        not_negative("clicks.dwell_spread", clicks.dwell_spread)?;
        share("reformulation.probability", reformulation.probability)?;
        not_negative("reformulation.mean_delay_s", reformulation.mean_delay_s)?;
        not_negative("feed.mean_items", feed.mean_items)?;
        not_negative("feed.window_s", feed.window_s)?;
        share("feed.on_intent", feed.on_intent)?;
        share("feed.on_intent + feed.on_other_interest", feed.on_intent + feed.on_other_interest)
    }
}

fn at_least_1(key: &str, found: usize) -> Result<()> {
    match found {
        0 => Err(SynthesisError::parameter(key, "at least 1", found)),
        _ => Ok(()),
    }
}

fn not_negative(key: &str, found: f64) -> Result<()> {
    match (0.0..=1e9).contains(&found) {
        true => Ok(()),
        false => Err(SynthesisError::parameter(key, "a number from 0 to 1e9", found)),
    }
}

fn share(key: &str, found: f64) -> Result<()> {
    match (0.0..=1.0).contains(&found) {
        true => Ok(()),
        false => Err(SynthesisError::parameter(key, "a number from 0 to 1", found)),
    }
}

fn not_empty(key: &str, found: &[f64]) -> Result<()> {
    match found.is_empty() {
        true => Err(SynthesisError::parameter(key, "at least one number", "none")),
        false => Ok(()),
    }
}

fn shares(key: &str, found: &[f64]) -> Result<()> {
    not_empty(key, found)?;
    found.iter().try_for_each(|&found| share(key, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_outside_its_range_is_named() {
        PlatformParameters::default().check().unwrap();
        let mut wrong = PlatformParameters::default();
        wrong.retriever.ranked = 100;
        assert!(wrong.check().unwrap_err().to_string().contains("exposed <= ranked <= recalled"));
        let mut wrong = PlatformParameters::default();
        wrong.clicks.open_by_grade = vec![0.1, f64::NAN];
        assert!(wrong.check().unwrap_err().to_string().contains("clicks.open_by_grade"));
        let mut wrong = PlatformParameters::default();
        wrong.feed.on_intent = 0.9;
        assert!(wrong.check().unwrap_err().to_string().contains("feed.on_other_interest"));
    }
}
