//! What a grade is worth in nDCG.

use serde::{Deserialize, Serialize};

/// The gain of a grade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// The grade itself, as trec_eval has it.
    Linear,
    /// `2^grade - 1`, as the learning-to-rank papers have it.
    #[default]
    Exponential,
}

impl Gain {
    /// The gain of `grade`.
    #[must_use]
    pub fn of(self, grade: u8) -> f64 {
        match self {
            Gain::Linear => f64::from(grade),
            Gain::Exponential => f64::from(grade).exp2() - 1.0,
        }
    }
}

/// `log2(1 + rank)`, `rank` counting from 1.
pub(super) fn discount(rank: f64) -> f64 {
    rank.ln_1p() / std::f64::consts::LN_2
}

/// DCG of the best order of `gains`, cut after `depth`.
pub(super) fn ideal(gains: &[f64], depth: usize) -> f64 {
    let mut gains = gains.to_vec();
    gains.sort_unstable_by(|a, b| b.total_cmp(a));
    gains.iter().take(depth).zip(1..).map(|(gain, rank)| gain / discount(f64::from(rank))).sum()
}
