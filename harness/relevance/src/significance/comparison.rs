//! A system beside a baseline: all that a side-by-side table prints, for many measures at once.

use serde::Serialize;

use super::{
    Randomization, RandomizationTest, TTest, WinTieLoss, cohens_d, differences, holm, mean, mean_differences,
    paired_t_test, randomization_tests, standard_deviation, win_tie_loss,
};
use crate::resampling::{Bootstrap, Interval};
use crate::undefined::Undefined;

/// The settings of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Settings {
    /// Of the randomization test; its alternative holds for the t-test too.
    pub randomization: Randomization,
    /// Of the interval of the mean difference.
    pub bootstrap: Bootstrap,
}

/// One measure of a system and a baseline on the same queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// How many queries there are.
    pub queries: usize,
    /// The mean score of the baseline.
    pub baseline_mean: f64,
    /// The mean score of the system.
    pub system_mean: f64,
    /// The mean difference, system less baseline.
    pub mean_difference: f64,
    /// The bootstrap interval of the mean difference.
    pub interval: Result<Interval, Undefined>,
    /// The paired t-test.
    pub t_test: Result<TTest, Undefined>,
    /// The randomization test.
    pub randomization: Result<RandomizationTest, Undefined>,
    /// The p-value of the randomization test, Holm-adjusted over all comparisons of the call that have one.
    pub holm_p: Result<f64, Undefined>,
    /// The standard deviation of the differences.
    pub standard_deviation: Result<f64, Undefined>,
    /// Cohen's d of the differences.
    pub cohens_d: Result<f64, Undefined>,
    /// Queries by outcome.
    pub outcomes: WinTieLoss,
}

/// Compares systems with baselines: `pairs[i]` holds the per-query scores of a baseline and of a system, all on the same
/// queries. (One baseline with one system over many measures, or many systems on one measure.)
///
/// # Errors
/// [`Undefined::UnequalLengths`], [`Undefined::NoPairs`] without queries, [`Undefined::NotFinite`].
pub fn compare(pairs: &[(&[f64], &[f64])], settings: &Settings) -> Result<Vec<Comparison>, Undefined> {
    let all: Vec<Vec<f64>> =
        pairs.iter().map(|(baseline, system)| differences(baseline, system)).collect::<Result<_, _>>()?;
    let estimates = mean_differences(&all, &settings.bootstrap)?;
    let tests = randomization_tests(&all, &settings.randomization)?;
    let mut adjusted = holm(&tests.iter().flatten().map(|test| test.p).collect::<Vec<_>>()).into_iter();
    let mut comparisons = Vec::with_capacity(pairs.len());
    for (at, (baseline, system)) in pairs.iter().enumerate() {
        comparisons.push(Comparison {
            queries: all[at].len(),
            baseline_mean: mean(baseline),
            system_mean: mean(system),
            mean_difference: mean(&all[at]),
            interval: estimates[at].interval,
            t_test: paired_t_test(&all[at], settings.randomization.alternative),
            randomization: tests[at],
            holm_p: tests[at].and_then(|_| adjusted.next().ok_or(Undefined::NoPairs)),
            standard_deviation: standard_deviation(&all[at]),
            cohens_d: cohens_d(&all[at]),
            outcomes: win_tie_loss(&all[at], 0.0),
        });
    }
    Ok(comparisons)
}
