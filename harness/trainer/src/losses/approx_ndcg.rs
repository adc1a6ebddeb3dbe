//! ApproxNDCG: nDCG with soft ranks (Qin, Liu and Li, Information Retrieval 13, 2010, equations 11 to 13).
//!
//! ```text
//! rank_i   1 + sum over j != i of sigmoid(z_j - z_i)     z = scores over the temperature; alpha = 1 / temperature
//! DCG      sum_i gain(y_i) / log2(1 + rank_i)
//! value    mean over queries of 1 - DCG / best DCG
//! ```
//!
//! Queries without a gain take no part. Where we differ: 1 minus nDCG where allRank and TF-Ranking return minus nDCG (the
//! slopes are the same); it can run over the whole batch. Only documents with a gain need their rank, so a list costs its
//! length times the number of those. Cut-offs: none, as in the paper's main form.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::sigmoid;
use super::gain::{self, Gain};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of ApproxNDCG.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApproxNdcg {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0. The paper's alpha is its inverse.
    pub temperature: f64,
    /// Which documents are compared.
    pub scope: Scope,
    /// What a grade is worth.
    pub gain: Gain,
}

impl Default for ApproxNdcg {
    fn default() -> Self {
        ApproxNdcg {
            similarity: Similarity::Cosine,
            temperature: 0.1,
            scope: Scope::List,
            gain: Gain::Exponential,
        }
    }
}

impl ApproxNdcg {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, self.scope, |list| self.row(list))
    }

    fn row(&self, list: &List) -> Option<Term> {
        let gains: Vec<f64> = list.candidates.iter().map(|candidate| self.gain.of(candidate.grade)).collect();
        let best = gain::ideal(&gains, usize::MAX);
        if best <= 0.0 {
            return None;
        }
        let mut gradient = vec![0.0; list.logits.len()];
        let mut dcg = 0.0;
        for i in (0..gains.len()).filter(|&i| gains[i] > 0.0) {
            let above = |j: usize| if j == i { 0.0 } else { sigmoid(list.logits[j] - list.logits[i]) };
            let rank = 1.0 + (0..gains.len()).map(above).sum::<f64>();
            let discount = gain::discount(rank);
            dcg += gains[i] / discount;
            // -d(1/D)/d rank, D = ln(1 + rank) / ln 2.
            let pull = gains[i] / (discount * discount * std::f64::consts::LN_2 * (1.0 + rank)) / best;
            for j in (0..gains.len()).filter(|&j| j != i) {
                let share = above(j);
                let slope = pull * share * (1.0 - share);
                gradient[j] += slope;
                gradient[i] -= slope;
            }
        }
        Some(Term { value: 1.0 - dcg / best, share: 1.0, gradient })
    }
}
