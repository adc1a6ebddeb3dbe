//! Matryoshka: any loss on several prefixes of the embeddings at once (Kusupati et al., arXiv 2205.13147, equation 1).
//!
//! ```text
//! x[..m]    the first m values of every vector, brought back to length 1 when `normalise`
//! value     sum_k c_k L(x[..m_k])
//! ```
//!
//! The learned numbers are the inner loss' own, shared by all prefixes. Where we differ: weights default to one over the
//! number of prefixes (a mean, as SSRA has it), where the paper sums; and it goes around any loss here, graded ones
//! included.

use serde::{Deserialize, Serialize};

use super::Loss;

/// A loss on several prefixes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matryoshka {
    /// The loss on each prefix.
    pub loss: Box<Loss>,
    /// Values of each prefix, each at least 1.
    pub dimensions: Vec<usize>,
    /// The weight of each prefix; empty for one over their number.
    #[serde(default)]
    pub weights: Vec<f64>,
    /// Whether prefixes are brought back to length 1 first.
    #[serde(default = "yes")]
    pub normalise: bool,
}

fn yes() -> bool {
    true
}

impl Matryoshka {
    /// Prefixes with their weights.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = (usize, f64)> {
        let equal = 1.0 / self.dimensions.len() as f64;
        let weight = move |at: usize| self.weights.get(at).copied().unwrap_or(equal);
        self.dimensions.iter().enumerate().map(move |(at, &dimensions)| (dimensions, weight(at)))
    }
}
