//! Krippendorff's alpha: agreement of any number of raters beyond chance, ratings missing or not.
//!
//! `alpha = 1 - D_o / D_e` (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; 2019, *Content Analysis*,
//! chapter 12). With `m_u` ratings in unit `u`, `n_uc` of them `c`, `n_c` of grade `c` over all units with two ratings
//! or more, and `n = sum_c n_c`:
//!
//! ```text
//! D_o = 1/n         sum_u 1/(m_u - 1) sum_{c<k} 2 n_uc n_uk delta2(c, k)
//! D_e = 1/(n (n-1))                   sum_{c<k} 2 n_c  n_k  delta2(c, k)
//! ```
//!
//! with the squared difference `delta2` of the metric:
//!
//! - nominal: 1 where grades differ;
//! - ordinal: `(sum_{g=c..k} n_g - (n_c + n_k) / 2)^2`, which is the squared difference of the midranks of `c` and `k`;
//! - interval: `(c - k)^2`;
//! - ratio: `((c - k) / (c + k))^2`, for grades of zero or more.
//!
//! For all but the ratio metric `D_e` is a variance, found in one pass over the grades; ratio looks at every two
//! grades. Units with one rating or none say nothing about agreement and drop out.
//!
//! The interval resamples clusters (queries) and computes alpha anew each time, `D_e` included. It is not the bootstrap
//! of Hayes and Krippendorff (2007), which draws single disagreements and keeps `D_e` fixed.

use super::rated_units::RatedUnits;
use crate::resampling::{Bootstrap, Clusters, Estimate};
use crate::undefined::Undefined;
use crate::{Grade, RatingTable};

/// What a difference between two grades means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Grades are names.
    Nominal,
    /// Grades have an order.
    Ordinal,
    /// Differences between grades have a size.
    Interval,
    /// Grades are sizes counted from zero.
    Ratio,
}

/// Krippendorff's alpha of `table`: 1 is perfect agreement, 0 what chance gives.
///
/// # Errors
/// [`Undefined::NoPairs`] when no unit has two ratings, [`Undefined::OneCategory`] when all ratings that count are
/// equal, [`Undefined::NegativeGrade`] for the ratio metric on negative grades.
pub fn krippendorff_alpha(table: &RatingTable, metric: Metric) -> Result<f64, Undefined> {
    let (units, _) = RatedUnits::of(table);
    alpha(&units, &units.counts, metric)
}

/// Krippendorff's alpha with its bootstrap interval. `clusters[i]` names the query of row `i`; rows of one query are
/// drawn together.
///
/// When `clusters` is not as long as the table, the interval is [`Undefined::UnequalLengths`].
pub fn krippendorff_alpha_interval(
    table: &RatingTable,
    clusters: &[u32],
    metric: Metric,
    bootstrap: &Bootstrap,
) -> Estimate {
    let (units, pattern_of) = RatedUnits::of(table);
    let value = alpha(&units, &units.counts, metric);
    if clusters.len() != table.len() {
        return Estimate { value, interval: Err(Undefined::UnequalLengths) };
    }
    let clusters = Clusters::new(clusters, &pattern_of, units.patterns());
    let intervals = bootstrap.intervals(&clusters, &[value], |counts, out| {
        out[0] = alpha(&units, counts, metric).unwrap_or(f64::NAN);
    });
    Estimate { value, interval: intervals[0] }
}

/// Alpha of units of which pattern `p` occurs `counts[p]` times.
pub(crate) fn alpha(units: &RatedUnits, counts: &[u64], metric: Metric) -> Result<f64, Undefined> {
    let mut given = vec![0u64; units.grades.len()];
    for (at, &count) in counts.iter().enumerate() {
        let (entries, ratings) = units.pattern(at);
        if ratings >= 2 {
            entries.iter().for_each(|&(grade, times)| given[grade as usize] += u64::from(times) * count);
        }
    }
    let n: u64 = given.iter().sum();
    if n == 0 {
        return Err(Undefined::NoPairs);
    }
    let differences = Differences::new(metric, &units.grades, &given)?;
    let expected = differences.expected(&given);
    if expected == 0.0 {
        return Err(Undefined::OneCategory);
    }
    let observed: f64 = counts
        .iter()
        .enumerate()
        .filter(|&(_, &count)| count > 0)
        .map(|(at, &count)| count as f64 * differences.within(units.pattern(at)))
        .sum();
    Ok(1.0 - (n - 1) as f64 * observed / expected)
}

/// A metric with the numbers it compares.
enum Differences {
    Nominal,
    /// Squared differences of these values: midranks, or grades.
    Squared(Vec<f64>),
    Ratio(Vec<f64>),
}

impl Differences {
    fn new(metric: Metric, grades: &[Grade], given: &[u64]) -> Result<Self, Undefined> {
        let as_numbers = || grades.iter().map(|&grade| f64::from(grade)).collect();
        match metric {
            Metric::Nominal => Ok(Self::Nominal),
            Metric::Ordinal => Ok(Self::Squared(midranks(given))),
            Metric::Interval => Ok(Self::Squared(as_numbers())),
            Metric::Ratio if grades.iter().zip(given).any(|(&grade, &n)| n > 0 && grade < 0) => {
                Err(Undefined::NegativeGrade)
            }
            Metric::Ratio => Ok(Self::Ratio(as_numbers())),
        }
    }

    fn squared(&self, c: usize, k: usize) -> f64 {
        match self {
            Self::Nominal => 1.0,
            Self::Squared(values) => (values[c] - values[k]).powi(2),
            Self::Ratio(values) => ((values[c] - values[k]) / (values[c] + values[k])).powi(2),
        }
    }

    /// `1 / (m - 1) sum_{c<k} n_uc n_uk delta2(c, k)` of one unit.
    fn within(&self, (entries, ratings): (&[(u32, u32)], u32)) -> f64 {
        let mut sum = 0.0;
        for (at, &(c, times_c)) in entries.iter().enumerate() {
            for &(k, times_k) in &entries[at + 1..] {
                sum += f64::from(times_c) * f64::from(times_k) * self.squared(c as usize, k as usize);
            }
        }
        if sum == 0.0 { 0.0 } else { sum / f64::from(ratings - 1) }
    }

    /// `sum_{c<k} n_c n_k delta2(c, k)` over all ratings.
    fn expected(&self, given: &[u64]) -> f64 {
        match self {
            Self::Nominal => unlike(given),
            Self::Squared(values) => spread(values, given),
            Self::Ratio(_) => self.every_two(given),
        }
    }

    fn every_two(&self, given: &[u64]) -> f64 {
        let used: Vec<(usize, f64)> =
            given.iter().enumerate().filter(|&(_, &n)| n > 0).map(|(at, &n)| (at, n as f64)).collect();
        let with_higher = |(at, &(c, n_c)): (usize, &(usize, f64))| -> f64 {
            used[at + 1..].iter().map(|&(k, n_k)| n_c * n_k * self.squared(c, k)).sum()
        };
        used.iter().enumerate().map(with_higher).sum()
    }
}

/// The mean rank of each grade among all ratings, up to a constant: half its own ratings above all lower ones.
fn midranks(given: &[u64]) -> Vec<f64> {
    let mut below = 0;
    given
        .iter()
        .map(|&n| {
            let midrank = below as f64 + n as f64 / 2.0;
            below += n;
            midrank
        })
        .collect()
}

/// The unordered pairs of ratings that differ.
fn unlike(given: &[u64]) -> f64 {
    let all: u128 = given.iter().map(|&n| u128::from(n)).sum();
    let alike: u128 = given.iter().map(|&n| u128::from(n) * u128::from(n)).sum();
    ((all * all - alike) / 2) as f64
}

/// `sum_{c<k} n_c n_k (v_c - v_k)^2 = n sum_c n_c (v_c - mean)^2`.
fn spread(values: &[f64], given: &[u64]) -> f64 {
    let n = given.iter().sum::<u64>() as f64;
    let mean = values.iter().zip(given).map(|(v, &count)| v * count as f64).sum::<f64>() / n;
    if given.iter().filter(|&&count| count > 0).count() < 2 {
        return 0.0;
    }
    n * values.iter().zip(given).map(|(v, &count)| (v - mean).powi(2) * count as f64).sum::<f64>()
}
