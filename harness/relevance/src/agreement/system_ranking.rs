//! Do two sets of judgments (or two measures) rank the same systems alike? Kendall's tau and AP correlation.
//!
//! AP correlation (Yilmaz, Aslam and Robertson 2008, "A New Rank Correlation Coefficient for Information Retrieval",
//! SIGIR) weighs the top of the ranking: with the `n` systems in the order of the estimate and `C(i)` the number of
//! systems above rank `i` that truly belong above the system at rank `i`,
//!
//! ```text
//! tau_ap = 2 / (n - 1) sum_{i=2..n} C(i) / (i - 1) - 1
//! ```
//!
//! It is not symmetric; the symmetric version is the mean of both directions (same paper, section 4). The paper has no
//! ties. Here a system tied with the one at rank `i` in the truth counts half, and `tau_ap` is the expectation over all
//! orders of systems tied in the estimate, each equally likely. Kendall's tau is tau-b, which without ties is the
//! plain tau.

use super::fenwick::Fenwick;
use super::rank_correlation::{kendall_tau_b, positions};
use crate::resampling::{Bootstrap, Estimate};
use crate::undefined::Undefined;

/// The AP correlation of the ranking by `estimate` with the true ranking by `truth`: 1 for the same order, -1 for the
/// reverse. One score per system, higher is better.
///
/// # Errors
/// [`Undefined::UnequalLengths`], [`Undefined::NotFinite`], and [`Undefined::NoPairs`] or [`Undefined::OnePair`] for
/// fewer than two systems.
pub fn tau_ap(truth: &[f64], estimate: &[f64]) -> Result<f64, Undefined> {
    if truth.len() != estimate.len() {
        return Err(Undefined::UnequalLengths);
    }
    let ((levels, true_rank), (_, estimated)) = (positions(truth)?, positions(estimate)?);
    match truth.len() {
        0 => return Err(Undefined::NoPairs),
        1 => return Err(Undefined::OnePair),
        _ => {}
    }
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order.sort_by_key(|&system| std::cmp::Reverse(estimated[system]));
    let (mut above, mut placed, mut sum) = (Fenwick::new(levels.len()), 0u64, 0.0);
    for tied in order.chunk_by(|&a, &b| estimated[a] == estimated[b]) {
        let ranks = || tied.iter().map(|&system| true_rank[system] as usize);
        let balance: i64 = ranks().map(|rank| right_less_wrong(&above, placed, rank)).sum();
        let group = tied.len() as u64;
        let weight: f64 = (placed.max(1)..placed + group).map(|higher| 1.0 / higher as f64).sum();
        sum += weight * balance as f64 / group as f64;
        ranks().for_each(|rank| above.add(rank, 1));
        placed += group;
    }
    Ok(sum / (truth.len() - 1) as f64)
}

/// Of the systems placed above, how many truly belong above `rank` less how many belong below.
fn right_less_wrong(above: &Fenwick, placed: u64, rank: usize) -> i64 {
    let (worse, not_better) = (above.below(rank), above.below(rank + 1));
    (placed - not_better) as i64 - worse as i64
}

/// The mean of [`tau_ap`] in both directions.
///
/// # Errors
/// As [`tau_ap`].
pub fn tau_ap_symmetric(a: &[f64], b: &[f64]) -> Result<f64, Undefined> {
    Ok(f64::midpoint(tau_ap(a, b)?, tau_ap(b, a)?))
}

/// How alike two sets of scores rank the same systems.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SystemAgreement {
    /// Kendall's tau-b of the mean scores.
    pub kendall_tau: Estimate,
    /// AP correlation, the first set taken as the truth.
    pub tau_ap: Estimate,
    /// AP correlation, mean of both directions.
    pub tau_ap_symmetric: Estimate,
}

/// Compares the rankings of systems by their mean over queries. `truth[s][q]` and `estimate[s][q]` are the scores of
/// system `s` on query `q`; both sets score the same systems on the same queries. The intervals resample queries.
///
/// # Errors
/// [`Undefined::UnequalLengths`] when a row or a set is shorter than another; [`Undefined::NoPairs`] without queries.
pub fn system_agreement<Row: AsRef<[f64]> + Sync>(
    truth: &[Row],
    estimate: &[Row],
    bootstrap: &Bootstrap,
) -> Result<SystemAgreement, Undefined> {
    let queries = truth.first().ok_or(Undefined::NoPairs)?.as_ref().len();
    let fits = |row: &Row| row.as_ref().len() == queries;
    if truth.len() != estimate.len() || !truth.iter().chain(estimate).all(fits) {
        return Err(Undefined::UnequalLengths);
    }
    if queries == 0 {
        return Err(Undefined::NoPairs);
    }
    let all = |draws: &[u32]| {
        let (truth, estimate) = (totals(truth, draws), totals(estimate, draws));
        [kendall_tau_b(&truth, &estimate), tau_ap(&truth, &estimate), tau_ap_symmetric(&truth, &estimate)]
    };
    let values = all(&vec![1; queries]);
    let intervals = bootstrap.intervals_of_draws(queries, &values, |draws, out| {
        out.iter_mut().zip(all(draws)).for_each(|(out, value)| *out = value.unwrap_or(f64::NAN));
    });
    let estimate = |at: usize| Estimate { value: values[at], interval: intervals[at] };
    Ok(SystemAgreement { kendall_tau: estimate(0), tau_ap: estimate(1), tau_ap_symmetric: estimate(2) })
}

/// The sum of each system's scores over the drawn queries; it ranks as the mean does.
fn totals<Row: AsRef<[f64]>>(scores: &[Row], draws: &[u32]) -> Vec<f64> {
    let total = |row: &Row| row.as_ref().iter().zip(draws).map(|(score, &n)| score * f64::from(n)).sum();
    scores.iter().map(total).collect()
}
