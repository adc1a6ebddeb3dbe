//! LambdaLoss with the weights of NDCG-Loss2++ (Wang et al., CIKM 2018, equations 13 and 18).
//!
//! ```text
//! r_i       rank of document i under the model, from 1; equal scores in the order of the batch's documents
//! D(r)      log2(1 + r)
//! G_i       gain(y_i) / best DCG of the list, cut after k
//! rho_ij    | 1/D(|r_i - r_j|) - 1/D(|r_i - r_j| + 1) |      NDCG-Loss2
//! delta_ij  | 1/D(r_i) - 1/D(r_j) |                          LambdaRank
//! value     mean over pairs y_i > y_j with a rank of at most k among them of
//!               (mu rho_ij + delta_ij) |G_i - G_j| log2(1 + exp -(z_i - z_j))
//! ```
//!
//! Ranks, hence weights, carry no gradient. The mean is over the pairs of the whole batch, as in sentence-transformers'
//! LambdaLoss for cross-encoders, whose value this is over the own lists. Where we differ: it can run over the whole
//! batch, it is for bi-encoders, and a query without a gain adds no pairs (there the best DCG is held up at 1e-10, and
//! with all grades 0 there are no pairs either).

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{sigmoid, softplus};
use super::gain::{self, Gain};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::ranknet::ordered_pairs;
use super::targets::{Scope, Targets};

/// The settings of LambdaLoss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LambdaLoss {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// Which documents are compared.
    pub scope: Scope,
    /// What a grade is worth.
    pub gain: Gain,
    /// Pairs entirely below this rank are left out; `None` keeps all.
    pub depth: Option<usize>,
    /// How much NDCG-Loss2's weight counts beside LambdaRank's; at least 0.
    pub mu: f64,
}

impl Default for LambdaLoss {
    fn default() -> Self {
        LambdaLoss {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            learn_temperature: false,
            scope: Scope::List,
            gain: Gain::Exponential,
            depth: None,
            mu: 10.0,
        }
    }
}

impl LambdaLoss {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, self.scope, |list| self.row(list))
    }

    fn row(&self, list: &List) -> Option<Term> {
        let depth = self.depth.unwrap_or(usize::MAX);
        let gains: Vec<f64> = list.candidates.iter().map(|candidate| self.gain.of(candidate.grade)).collect();
        let best = gain::ideal(&gains, depth);
        if best <= 0.0 {
            return None;
        }
        let ranks = ranks(&list.logits);
        let inverse: Vec<f64> =
            (0..=list.logits.len() + 1).map(|rank| 1.0 / gain::discount(rank as f64)).collect();
        let mut term = Term { value: 0.0, share: 0.0, gradient: vec![0.0; list.logits.len()] };
        for (i, j) in ordered_pairs(list).filter(|&(i, j)| ranks[i].min(ranks[j]) <= depth) {
            let apart = ranks[i].abs_diff(ranks[j]);
            let rho = (inverse[apart] - inverse[apart + 1]).abs();
            let delta = (inverse[ranks[i]] - inverse[ranks[j]]).abs();
            let weight =
                (self.mu * rho + delta) * (gains[i] - gains[j]).abs() / best / std::f64::consts::LN_2;
            let margin = list.logits[i] - list.logits[j];
            let slope = weight * sigmoid(-margin);
            term.value += weight * softplus(-margin);
            term.share += 1.0;
            term.gradient[i] -= slope;
            term.gradient[j] += slope;
        }
        (term.share > 0.0).then_some(term)
    }
}

/// Each document's rank, from 1.
fn ranks(logits: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let mut ranks = vec![0; logits.len()];
    order.into_iter().zip(1..).for_each(|(at, rank)| ranks[at] = rank);
    ranks
}
