//! BiXSE: graded binary cross-entropy of every query-document pair of the batch (COLM 2025), in the form with a learned
//! scale and bias that SigLIP gave it (arXiv 2303.15343).
//!
//! ```text
//! z_ik    exp(log_scale) s_ik + bias
//! t_ik    y_ik / highest_grade;  0 for an in-batch document
//! value   1/B sum_i sum_k w_ik ( softplus(z_ik) - t_ik z_ik ),   ignored pairs left out
//! ```
//!
//! `log_scale` and `bias` are the learned numbers, in this order. Where we differ: secondary sources only give BiXSE's
//! core, so the normalisation (by queries) and the starting scale and bias (10 and -10) are SigLIP's.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{sigmoid, softplus};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of BiXSE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bixse {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are multiplied by it at the start; above 0.
    pub scale: f64,
    /// Added to the scaled scores at the start.
    pub bias: f64,
    /// Whether the two are learned.
    pub learn_scale: bool,
    /// The grade whose target is 1.
    pub highest_grade: u8,
    /// Which documents a query is compared with.
    pub scope: Scope,
}

impl Default for Bixse {
    fn default() -> Self {
        Bixse {
            similarity: Similarity::Cosine,
            scale: 10.0,
            bias: -10.0,
            learn_scale: true,
            highest_grade: 3,
            scope: Scope::Batch,
        }
    }
}

impl Bixse {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, self.scope, |list| Some(self.row(list)))
    }

    fn row(&self, list: &List) -> Term {
        let mut term = Term { value: 0.0, share: 1.0, gradient: Vec::with_capacity(list.logits.len()) };
        for (candidate, &logit) in list.candidates.iter().zip(&list.logits) {
            let target = f64::from(candidate.grade) / f64::from(self.highest_grade);
            term.value += candidate.weight * (softplus(logit) - target * logit);
            term.gradient.push(candidate.weight * (sigmoid(logit) - target));
        }
        term
    }
}
