//! Margin-MSE: the teacher's differences, not its scores (Hofstaetter et al., arXiv 2010.02666, equation 3).
//!
//! ```text
//! value   mean over pairs y_i > y_j of a query's own list of ( scale (s_i - s_j) - (t_i - t_j) )^2
//! ```
//!
//! Where we differ: all pairs of different grades, not one positive with one negative; the mean is over the pairs of the
//! batch. `scale` brings cosines up to the size of the teacher's scores; with inner products, as in the paper, it is 1.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::ranknet::ordered_pairs;
use super::targets::{Scope, Targets};

/// The settings of Margin-MSE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarginMse {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// The student's scores are multiplied by it; above 0.
    pub scale: f64,
}

impl Default for MarginMse {
    fn default() -> Self {
        MarginMse { similarity: Similarity::Dot, scale: 1.0 }
    }
}

impl MarginMse {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, Scope::List, row)
    }
}

fn row(list: &List) -> Option<Term> {
    let teacher = |at: usize| list.candidates[at].teacher.unwrap_or_default();
    let mut term = Term { value: 0.0, share: 0.0, gradient: vec![0.0; list.logits.len()] };
    for (i, j) in ordered_pairs(list) {
        let error = (list.logits[i] - list.logits[j]) - (teacher(i) - teacher(j));
        term.value += error * error;
        term.share += 1.0;
        term.gradient[i] += 2.0 * error;
        term.gradient[j] -= 2.0 * error;
    }
    (term.share > 0.0).then_some(term)
}
