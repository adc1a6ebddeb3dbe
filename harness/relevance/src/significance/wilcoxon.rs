//! Wilcoxon's signed-rank test (1945): are the differences symmetric about zero?
//!
//! The absolute differences are ranked, ties sharing their mean rank, and `W+` sums the ranks of the positive ones.
//! Differences of zero are left out (Wilcoxon's own treatment). Under the null every sign is a fair coin:
//!
//! - exact: the distribution of `W+` over all `2^n` signs, counted by dynamic programming over twice the ranks, which
//!   are whole numbers even with ties, so ties are exact too;
//! - normal: mean `n (n + 1) / 4`, variance `n (n + 1) (2 n + 1) / 24` less `sum (t^3 - t) / 48` over groups of `t` ties,
//!   on wish with a continuity correction of one half towards the mean.
//!
//! By default up to 50 differences are done exactly, more by the normal distribution without correction. scipy has the
//! same limit, but goes normal as soon as more than 13 differences hold a tie.

use serde::Serialize;

use super::tails::normal_above;
use super::{Alternative, sound};
use crate::undefined::Undefined;

/// Where the p-value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Exact up to 50 non-zero differences, normal beyond.
    #[default]
    Auto,
    /// The normal approximation with the correction for ties.
    Normal,
    /// The same, with the continuity correction as well.
    NormalCorrected,
}

/// The settings of the test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Wilcoxon {
    /// Which differences count as evidence.
    pub alternative: Alternative,
    /// Where the p-value comes from.
    pub distribution: Distribution,
}

/// The outcome of a signed-rank test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WilcoxonTest {
    /// The rank sum of the positive differences.
    pub w_plus: f64,
    /// The rank sum of the negative ones.
    pub w_minus: f64,
    /// How many differences are not zero.
    pub nonzero: u32,
    /// Whether the p-value is exact.
    pub exact: bool,
    /// The p-value.
    pub p: f64,
}

/// Beyond this many differences the normal approximation takes over; up to it, counts of signs stay below 2^53.
const EXACT_UP_TO: usize = 50;

/// The signed-rank test of differences.
///
/// # Errors
/// [`Undefined::NoPairs`], [`Undefined::NotFinite`], and [`Undefined::NoDifferences`] when every difference is zero.
pub fn wilcoxon_signed_rank(differences: &[f64], settings: Wilcoxon) -> Result<WilcoxonTest, Undefined> {
    sound(differences)?;
    let mut moved: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if moved.is_empty() {
        return Err(Undefined::NoDifferences);
    }
    moved.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let ties: Vec<&[f64]> = moved.chunk_by(|a, b| a.abs() == b.abs()).collect();
    let twice_ranks = twice_ranks(&ties);
    let twice_plus: u64 =
        moved.iter().zip(&twice_ranks).filter(|(d, _)| **d > 0.0).map(|(_, rank)| rank).sum();
    let twice_all: u64 = twice_ranks.iter().sum();
    let exact = settings.distribution == Distribution::Auto && moved.len() <= EXACT_UP_TO;
    let corrected = settings.distribution == Distribution::NormalCorrected;
    let p = if exact {
        let (less, greater) = exact_tails(&twice_ranks, twice_plus as usize);
        settings.alternative.of_tails(less, greater)
    } else {
        normal_p(&ties, moved.len(), twice_plus as f64 / 2.0, settings.alternative, corrected)
    };
    Ok(WilcoxonTest {
        w_plus: twice_plus as f64 / 2.0,
        w_minus: (twice_all - twice_plus) as f64 / 2.0,
        nonzero: moved.len() as u32,
        exact,
        p,
    })
}

/// Twice the mean rank of every difference: ranks `a..=b` of a group of ties share `(a + b) / 2`.
fn twice_ranks(ties: &[&[f64]]) -> Vec<u64> {
    let mut ranked = 0;
    let mut ranks = Vec::new();
    for tied in ties {
        let size = tied.len() as u64;
        ranks.extend(std::iter::repeat_n(2 * ranked + size + 1, tied.len()));
        ranked += size;
    }
    ranks
}

/// `P(W <= w)` and `P(W >= w)` over all signs.
fn exact_tails(twice_ranks: &[u64], w: usize) -> (f64, f64) {
    let all: u64 = twice_ranks.iter().sum();
    let mut signs = vec![0u64; all as usize + 1];
    signs[0] = 1;
    let mut reach = 0;
    for &rank in twice_ranks {
        let rank = rank as usize;
        reach += rank;
        (rank..=reach).rev().for_each(|sum| signs[sum] += signs[sum - rank]);
    }
    let share = |counts: &[u64]| counts.iter().sum::<u64>() as f64 / (1u64 << twice_ranks.len()) as f64;
    (share(&signs[..=w]), share(&signs[w..]))
}

fn normal_p(ties: &[&[f64]], n: usize, w: f64, alternative: Alternative, corrected: bool) -> f64 {
    let n = n as f64;
    let tied: f64 = ties.iter().map(|group| group.len() as f64).map(|t| t * t * t - t).sum();
    let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - tied / 48.0).sqrt();
    let above = w - n * (n + 1.0) / 4.0;
    let shift = match alternative {
        _ if !corrected => 0.0,
        Alternative::TwoSided => 0.5 * if above == 0.0 { 0.0 } else { above.signum() },
        Alternative::Greater => 0.5,
        Alternative::Less => -0.5,
    };
    let z = (above - shift) / deviation;
    alternative.of_tails(normal_above(-z), normal_above(z))
}
