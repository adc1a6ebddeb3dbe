//! Cohen's kappa: agreement of two raters beyond chance.
//!
//! `kappa = 1 - sum_ij w_ij o_ij / sum_ij w_ij e_ij`, with `o` the confusion table, `e_ij = row_i column_j / n` what
//! independent raters with the same margins would give, and the disagreement `w_ij` of positions `i` and `j`:
//!
//! - plain (Cohen 1960): `1` where they differ;
//! - linear (Cohen 1968): `|i - j|`;
//! - quadratic (Cohen 1968): `(i - j)^2`.
//!
//! Distances are counted in positions on the table's scale, not in the numbers written in files: over the observed
//! grades 0, 2, 3 the step from 0 to 2 is one. scikit-learn's `cohen_kappa_score` does the same.

use super::confusion::Confusion;
use crate::undefined::Undefined;

/// How much two grades disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Any two different grades disagree alike.
    Plain,
    /// By the number of steps between them.
    Linear,
    /// By the square of the number of steps.
    Quadratic,
}

/// Cohen's kappa: 1 is perfect agreement, 0 what chance gives.
///
/// # Errors
/// [`Undefined::NoPairs`] for an empty table, [`Undefined::OneCategory`] when both raters gave one and the same grade
/// throughout, so that chance leaves no disagreement to divide by.
pub fn cohen_kappa(confusion: &Confusion, weights: Weights) -> Result<f64, Undefined> {
    let n = confusion.pairs() as f64;
    if n == 0.0 {
        return Err(Undefined::NoPairs);
    }
    let (human, predicted) = confusion.margins();
    let observed: f64 = confusion.entries().map(|(i, j, count)| weights.between(i, j) * count as f64).sum();
    let expected = weights.expected(&human, &predicted);
    if expected == 0.0 { Err(Undefined::OneCategory) } else { Ok(1.0 - n * observed / expected) }
}

impl Weights {
    fn between(self, i: usize, j: usize) -> f64 {
        match self {
            Self::Plain => f64::from(u8::from(i != j)),
            Self::Linear => i.abs_diff(j) as f64,
            Self::Quadratic => (i.abs_diff(j) as f64).powi(2),
        }
    }

    /// `sum_ij w_ij human_i predicted_j` in one pass over the positions.
    fn expected(self, human: &[u64], predicted: &[u64]) -> f64 {
        match self {
            Self::Plain => apart(human, predicted),
            Self::Linear => steps(human, predicted),
            Self::Quadratic => squares(human, predicted),
        }
    }
}

/// The pairs of draws that differ: all, less those on the diagonal.
fn apart(human: &[u64], predicted: &[u64]) -> f64 {
    let all = human.iter().sum::<u64>() as u128 * predicted.iter().sum::<u64>() as u128;
    let same: u128 = human.iter().zip(predicted).map(|(&h, &p)| u128::from(h) * u128::from(p)).sum();
    (all - same) as f64
}

/// `|i - j|` counts the boundaries between positions that lie between `i` and `j`.
fn steps(human: &[u64], predicted: &[u64]) -> f64 {
    let (all_human, all_predicted) = (human.iter().sum::<u64>(), predicted.iter().sum::<u64>());
    let (mut below_human, mut below_predicted, mut crossed) = (0, 0, 0u128);
    for (&h, &p) in human.iter().zip(predicted) {
        below_human += h;
        below_predicted += p;
        crossed += u128::from(below_human) * u128::from(all_predicted - below_predicted);
        crossed += u128::from(below_predicted) * u128::from(all_human - below_human);
    }
    crossed as f64
}

/// `(i - j)^2` summed from the first two moments of either side, exactly.
fn squares(human: &[u64], predicted: &[u64]) -> f64 {
    let moment = |counts: &[u64], power: u32| -> u128 {
        counts.iter().enumerate().map(|(i, &n)| (i as u128).pow(power) * u128::from(n)).sum()
    };
    let [h0, h1, h2] = [0, 1, 2].map(|power| moment(human, power));
    let [p0, p1, p2] = [0, 1, 2].map(|power| moment(predicted, power));
    (h2 * p0 + h0 * p2 - 2 * h1 * p1) as f64
}
