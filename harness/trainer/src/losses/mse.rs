//! Mean squared error between scores and grades: the plainest graded loss.
//!
//! ```text
//! value   mean over the queries' own documents of w_ik ( scale s_ik + bias - y_ik / highest_grade )^2
//! ```
//!
//! `scale` and `bias` are the learned numbers, in this order; at 1 and 0 this is sentence-transformers' cosine similarity
//! loss on grades brought to 0..1. The mean is over pairs, whatever their weights.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of MSE on grades.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mse {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are multiplied by it at the start.
    pub scale: f64,
    /// Added to the scaled scores at the start.
    pub bias: f64,
    /// Whether the two are learned.
    pub learn_scale: bool,
    /// The grade whose target is 1.
    pub highest_grade: u8,
}

impl Default for Mse {
    fn default() -> Self {
        Mse { similarity: Similarity::Cosine, scale: 1.0, bias: 0.0, learn_scale: false, highest_grade: 3 }
    }
}

impl Mse {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, Scope::List, |list| self.row(list))
    }

    fn row(&self, list: &List) -> Option<Term> {
        let mut term = Term {
            value: 0.0,
            share: list.logits.len() as f64,
            gradient: Vec::with_capacity(list.logits.len()),
        };
        for (candidate, &logit) in list.candidates.iter().zip(&list.logits) {
            let error = logit - f64::from(candidate.grade) / f64::from(self.highest_grade);
            term.value += candidate.weight * error * error;
            term.gradient.push(2.0 * candidate.weight * error);
        }
        (term.share > 0.0).then_some(term)
    }
}
