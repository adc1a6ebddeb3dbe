//! Correlation of two series: Kendall's tau-b, Spearman's rho with ties, Pearson's r.
//!
//! - tau-b (Kendall 1945): `(P - Q) / sqrt((n0 - n1) (n0 - n2))`, with `P` concordant and `Q` discordant pairs,
//!   `n0 = n (n - 1) / 2`, `n1` and `n2` the pairs tied on either side. `P - Q` is counted with a Fenwick tree in
//!   `O(n log n)`, the idea of Knight (1966) and Christensen (2005).
//! - Pearson's r: covariance over the product of the standard deviations.
//! - Spearman's rho (1904): Pearson's r of the ranks, tied values sharing their mean rank.
//!
//! Series are first reduced to their distinct points with counts: a hundred thousand pairs of grades are at most
//! sixteen points on a scale of four, and a resample only changes the counts.

use super::confusion::{Confusion, distinct};
use super::fenwick::Fenwick;
use crate::resampling::{Bootstrap, Clusters, Estimate};
use crate::undefined::Undefined;

/// Kendall's tau-b of two equally long series.
///
/// # Errors
/// [`Undefined::NoPairs`] or [`Undefined::OnePair`] for fewer than two pairs, [`Undefined::ConstantSide`],
/// [`Undefined::UnequalLengths`], [`Undefined::NotFinite`].
pub fn kendall_tau_b(x: &[f64], y: &[f64]) -> Result<f64, Undefined> {
    let (points, _) = Points::of(x, y)?;
    points.kendall_tau_b(&points.counts)
}

/// Spearman's rank correlation of two equally long series.
///
/// # Errors
/// As [`kendall_tau_b`].
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64, Undefined> {
    let (points, _) = Points::of(x, y)?;
    points.spearman(&points.counts)
}

/// Pearson's correlation of two equally long series.
///
/// # Errors
/// As [`kendall_tau_b`].
pub fn pearson(x: &[f64], y: &[f64]) -> Result<f64, Undefined> {
    let (points, _) = Points::of(x, y)?;
    points.pearson(&points.counts)
}

/// The three correlations of a series of scores with a series of grades or scores, each with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlations {
    /// Kendall's tau-b.
    pub kendall_tau_b: Estimate,
    /// Spearman's rho.
    pub spearman: Estimate,
    /// Pearson's r.
    pub pearson: Estimate,
}

/// All three correlations with bootstrap intervals; `clusters[i]` names the query of pair `i`.
///
/// # Errors
/// [`Undefined::UnequalLengths`] and [`Undefined::NotFinite`]; everything else is said per correlation.
pub fn correlations(
    x: &[f64],
    y: &[f64],
    clusters: &[u32],
    bootstrap: &Bootstrap,
) -> Result<Correlations, Undefined> {
    let (points, point_of) = Points::of(x, y)?;
    if clusters.len() != x.len() {
        return Err(Undefined::UnequalLengths);
    }
    let all =
        |counts: &[u64]| [points.kendall_tau_b(counts), points.spearman(counts), points.pearson(counts)];
    let values = all(&points.counts);
    let clusters = Clusters::new(clusters, &point_of, points.cells.len());
    let intervals = bootstrap.intervals(&clusters, &values, |counts, out| {
        out.iter_mut().zip(all(counts)).for_each(|(out, value)| *out = value.unwrap_or(f64::NAN));
    });
    let estimate = |at: usize| Estimate { value: values[at], interval: intervals[at] };
    Ok(Correlations { kendall_tau_b: estimate(0), spearman: estimate(1), pearson: estimate(2) })
}

/// Distinct points of a plane, both coordinates as positions in sorted values.
#[derive(Clone, Debug)]
pub(crate) struct Points {
    x: Vec<f64>,
    y: Vec<f64>,
    /// `(position in x, position in y)`, sorted.
    cells: Vec<(u32, u32)>,
    counts: Vec<u64>,
}

impl Points {
    /// The points of two series, and the point of each pair.
    fn of(x: &[f64], y: &[f64]) -> Result<(Self, Vec<u32>), Undefined> {
        if x.len() != y.len() {
            return Err(Undefined::UnequalLengths);
        }
        let ((x, x_at), (y, y_at)) = (positions(x)?, positions(y)?);
        let placed: Vec<(u32, u32)> = x_at.into_iter().zip(y_at).collect();
        let (cells, point_of) = distinct(&placed);
        let mut counts = vec![0; cells.len()];
        point_of.iter().for_each(|&point| counts[point as usize] += 1);
        Ok((Self { x, y, cells, counts }, point_of))
    }

    /// The cells of a confusion table, in their order.
    pub(crate) fn from_confusion(confusion: &Confusion) -> Self {
        let values: Vec<f64> = confusion.grades.iter().map(|&grade| f64::from(grade)).collect();
        let (cells, counts) = (confusion.cells.clone(), confusion.counts.clone());
        Self { x: values.clone(), y: values, cells, counts }
    }

    /// How often each value of x, and of y, occurs.
    fn margins(&self, counts: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let (mut x, mut y) = (vec![0; self.x.len()], vec![0; self.y.len()]);
        for (&(at_x, at_y), &count) in self.cells.iter().zip(counts) {
            x[at_x as usize] += count;
            y[at_y as usize] += count;
        }
        (x, y)
    }

    pub(crate) fn kendall_tau_b(&self, counts: &[u64]) -> Result<f64, Undefined> {
        let (x, y) = self.margins(counts);
        enough(&x, &y)?;
        let two_of = |n: u64| u128::from(n) * u128::from(n.saturating_sub(1)) / 2;
        let tied = |margin: &[u64]| margin.iter().map(|&n| two_of(n)).sum::<u128>();
        let all = two_of(x.iter().sum());
        let untied = (all - tied(&x)) as f64 * (all - tied(&y)) as f64;
        let tau = self.concordant_less_discordant(counts) as f64 / untied.sqrt();
        Ok(tau.clamp(-1.0, 1.0))
    }

    fn concordant_less_discordant(&self, counts: &[u64]) -> i128 {
        let mut lower_x = Fenwick::new(self.y.len());
        let (mut seen, mut balance, mut start) = (0u64, 0i128, 0);
        for row in self.cells.chunk_by(|a, b| a.0 == b.0) {
            let points = || row.iter().zip(&counts[start..]).map(|(&(_, y), &count)| (y as usize, count));
            for (y, count) in points().filter(|&(_, count)| count > 0) {
                let (below, above) = (lower_x.below(y), seen - lower_x.below(y + 1));
                balance += i128::from(count) * (i128::from(below) - i128::from(above));
            }
            points().for_each(|(y, count)| lower_x.add(y, count));
            seen += points().map(|(_, count)| count).sum::<u64>();
            start += row.len();
        }
        balance
    }

    pub(crate) fn spearman(&self, counts: &[u64]) -> Result<f64, Undefined> {
        let (x, y) = self.margins(counts);
        enough(&x, &y)?;
        self.correlation(counts, &mean_ranks(&x), &mean_ranks(&y))
    }

    pub(crate) fn pearson(&self, counts: &[u64]) -> Result<f64, Undefined> {
        let (x, y) = self.margins(counts);
        enough(&x, &y)?;
        let (centred_x, centred_y) = (centred(&self.x, &x), centred(&self.y, &y));
        self.correlation(counts, &centred_x, &centred_y)
    }

    /// The correlation of values whose weighted means are zero.
    fn correlation(&self, counts: &[u64], x: &[f64], y: &[f64]) -> Result<f64, Undefined> {
        let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
        for (&(at_x, at_y), &count) in self.cells.iter().zip(counts) {
            let (x, y, n) = (x[at_x as usize], y[at_y as usize], count as f64);
            xy += n * x * y;
            xx += n * x * x;
            yy += n * y * y;
        }
        let r = xy / (xx * yy).sqrt();
        if r.is_nan() { Err(Undefined::ConstantSide) } else { Ok(r.clamp(-1.0, 1.0)) }
    }
}

/// The distinct values of a series, sorted, and the position of each element among them.
pub(crate) fn positions(series: &[f64]) -> Result<(Vec<f64>, Vec<u32>), Undefined> {
    if series.iter().any(|value| !value.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let mut order: Vec<u32> = (0..series.len() as u32).collect();
    let value = |&at: &u32| series[at as usize] + 0.0; // -0.0 becomes 0.0
    order.sort_unstable_by(|a, b| value(a).total_cmp(&value(b)));
    let (mut values, mut position) = (Vec::new(), vec![0; series.len()]);
    for tied in order.chunk_by(|a, b| value(a) == value(b)) {
        tied.iter().for_each(|&at| position[at as usize] = values.len() as u32);
        values.push(value(&tied[0]));
    }
    Ok((values, position))
}

/// Two pairs or more, and neither side constant.
fn enough(x: &[u64], y: &[u64]) -> Result<(), Undefined> {
    let constant = |margin: &[u64]| margin.iter().filter(|&&n| n > 0).count() < 2;
    match x.iter().sum::<u64>() {
        0 => Err(Undefined::NoPairs),
        1 => Err(Undefined::OnePair),
        _ if constant(x) || constant(y) => Err(Undefined::ConstantSide),
        _ => Ok(()),
    }
}

/// The mean rank of each value, less the mean of all ranks.
fn mean_ranks(margin: &[u64]) -> Vec<f64> {
    let half = margin.iter().sum::<u64>() as f64 / 2.0;
    let mut below = 0;
    margin
        .iter()
        .map(|&n| {
            let rank = below as f64 + n as f64 / 2.0 - half;
            below += n;
            rank
        })
        .collect()
}

/// The values less their weighted mean, in units of the largest one so that no square overflows.
fn centred(values: &[f64], margin: &[u64]) -> Vec<f64> {
    let n = margin.iter().sum::<u64>() as f64;
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let scaled = || values.iter().map(|value| value / largest);
    let mean = scaled().zip(margin).map(|(value, &count)| value * count as f64).sum::<f64>() / n;
    scaled().map(|value| value - mean).collect()
}
