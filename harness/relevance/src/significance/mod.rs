//! Is one system better than another, or are these queries kind to it? Tests on paired per-query scores.
//!
//! Everything starts from the differences `d_q = system_q - baseline_q` over the queries both were scored on; one file
//! per test. A test without an answer says why ([`Undefined`]). [`compare`] does what a
//! side-by-side of systems needs for many measures at once, the random signs of the randomization test shared by all.

mod comparison;
mod effect_size;
mod multiple_testing;
mod paired_bootstrap;
mod power;
mod randomization;
mod regression;
mod sign_test;
mod t_test;
mod tails;
#[cfg(test)]
mod tests;
mod wilcoxon;
mod win_tie_loss;

use serde::Serialize;

pub use comparison::{Comparison, Settings, compare};
pub use effect_size::{cohens_d, hedges_g};
pub use multiple_testing::{benjamini_hochberg, bonferroni, holm};
pub use paired_bootstrap::{mean_difference, mean_differences};
pub use power::Design;
pub use randomization::{Randomization, RandomizationTest, randomization_test, randomization_tests};
pub use regression::{Change, Tolerance, change};
pub use sign_test::{SignTest, sign_test};
pub use t_test::{TTest, paired_t_test};
pub use wilcoxon::{Distribution, Wilcoxon, WilcoxonTest, wilcoxon_signed_rank};
pub use win_tie_loss::{WinTieLoss, win_tie_loss};

use crate::undefined::Undefined;

/// Which differences count as evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// The systems differ.
    #[default]
    TwoSided,
    /// The system is better than the baseline: differences lie above zero.
    Greater,
    /// The system is worse than the baseline: differences lie below zero.
    Less,
}

impl Alternative {
    /// The p-value from both one-sided ones of a symmetric or discrete test.
    fn of_tails(self, less: f64, greater: f64) -> f64 {
        match self {
            Self::TwoSided => (2.0 * less.min(greater)).min(1.0),
            Self::Greater => greater,
            Self::Less => less,
        }
    }
}

/// `system - baseline`, query by query.
///
/// # Errors
/// [`Undefined::UnequalLengths`], [`Undefined::NoPairs`], [`Undefined::NotFinite`].
pub fn differences(baseline: &[f64], system: &[f64]) -> Result<Vec<f64>, Undefined> {
    if baseline.len() != system.len() {
        return Err(Undefined::UnequalLengths);
    }
    let differences: Vec<f64> =
        system.iter().zip(baseline).map(|(system, baseline)| system - baseline).collect();
    sound(&differences)?;
    Ok(differences)
}

/// At least one difference, and all finite.
fn sound(differences: &[f64]) -> Result<(), Undefined> {
    match differences {
        [] => Err(Undefined::NoPairs),
        all if all.iter().any(|d| !d.is_finite()) => Err(Undefined::NotFinite),
        _ => Ok(()),
    }
}

/// The number of queries, the same for every measure.
fn common_length<Row: AsRef<[f64]>>(measures: &[Row]) -> Result<usize, Undefined> {
    let queries = measures.first().map_or(0, |row| row.as_ref().len());
    let equal = measures.iter().all(|row| row.as_ref().len() == queries);
    if equal { Ok(queries) } else { Err(Undefined::UnequalLengths) }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation with `n - 1`, of two values or more that are not all equal.
///
/// # Errors
/// `OnePair` for fewer than two values, `ConstantDifferences` where all are equal.
pub fn standard_deviation(values: &[f64]) -> Result<f64, Undefined> {
    if values.len() < 2 {
        return Err(Undefined::OnePair);
    }
    if values.iter().all(|value| *value == values[0]) {
        return Err(Undefined::ConstantDifferences);
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Ok((squares / (values.len() - 1) as f64).sqrt())
}
