//! ListNet: cross-entropy between the distribution the grades ask for and the scores' (Cao et al., ICML 2007, with the
//! top-one probabilities of their equation 8).
//!
//! ```text
//! G      softmax(gain(y) / grade_temperature) over the documents that are to get mass
//! P      softmax(z) over the scope,  z = scores over the temperature
//! value  mean over queries of -sum_k G_k log P_k
//! ```
//!
//! Where we differ: it can run over the whole batch (`scope = "batch"`), which a bi-encoder gets for free; an in-batch
//! document then takes the mass of grade 0, or none with `unlisted_mass = false`. Over the own list, with linear gain and
//! temperature 1, this is sentence-transformers' ListNetLoss for cross-encoders.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{log_sum_exp, softmax};
use super::gain::Gain;
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of ListNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListNet {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// Gains are divided by it; above 0.
    pub grade_temperature: f64,
    /// What a grade is worth.
    pub gain: Gain,
    /// Which documents are compared.
    pub scope: Scope,
    /// Whether a document outside the query's own list is to get the mass of its grade.
    pub unlisted_mass: bool,
}

impl Default for ListNet {
    fn default() -> Self {
        ListNet {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            learn_temperature: false,
            grade_temperature: 1.0,
            gain: Gain::Linear,
            scope: Scope::List,
            unlisted_mass: true,
        }
    }
}

impl ListNet {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, self.scope, |list| self.row(list))
    }

    fn row(&self, list: &List) -> Option<Term> {
        if !list.candidates.iter().any(|candidate| candidate.own) {
            return None;
        }
        let gains: Vec<f64> = list
            .candidates
            .iter()
            .map(|candidate| match candidate.own || self.unlisted_mass {
                true => self.gain.of(candidate.grade) / self.grade_temperature,
                false => f64::NEG_INFINITY,
            })
            .collect();
        let target = softmax(&gains);
        let total = log_sum_exp(list.logits.iter().copied());
        let value = target.iter().zip(&list.logits).map(|(g, z)| g * (total - z)).sum();
        let gradient = target.iter().zip(softmax(&list.logits)).map(|(g, p)| p - g).collect();
        Some(Term { value, share: 1.0, gradient })
    }
}
