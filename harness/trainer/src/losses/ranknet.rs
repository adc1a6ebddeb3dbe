//! RankNet: every pair of a list in the right order (Burges et al., ICML 2005, equation 3).
//!
//! ```text
//! value   mean over pairs y_i > y_j of softplus(-(z_i - z_j)),   z = scores over the temperature
//! ```
//!
//! The mean is over all pairs of the batch, so a long list weighs more than a short one, as in sentence-transformers'
//! RankNetLoss (which takes logarithms to base 2: our value is ln 2 times theirs). Where we differ: it can run over the
//! whole batch, and it is for bi-encoders.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{sigmoid, softplus};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of RankNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankNet {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// Which documents are compared.
    pub scope: Scope,
}

impl Default for RankNet {
    fn default() -> Self {
        RankNet {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            learn_temperature: false,
            scope: Scope::List,
        }
    }
}

impl RankNet {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, self.scope, row)
    }
}

fn row(list: &List) -> Option<Term> {
    let mut term = Term { value: 0.0, share: 0.0, gradient: vec![0.0; list.logits.len()] };
    for (i, j) in ordered_pairs(list) {
        let margin = list.logits[i] - list.logits[j];
        let slope = sigmoid(-margin);
        term.value += softplus(-margin);
        term.share += 1.0;
        term.gradient[i] -= slope;
        term.gradient[j] += slope;
    }
    (term.share > 0.0).then_some(term)
}

/// Positions (i, j) with the grade of i above that of j.
pub(super) fn ordered_pairs(list: &List) -> impl Iterator<Item = (usize, usize)> {
    let grade = |at: usize| list.candidates[at].grade;
    let lowest = list.candidates.iter().map(|candidate| candidate.grade).min().unwrap_or(0);
    (0..list.logits.len())
        .filter(move |&i| grade(i) > lowest)
        .flat_map(move |i| (0..list.logits.len()).filter(move |&j| grade(i) > grade(j)).map(move |j| (i, j)))
}
