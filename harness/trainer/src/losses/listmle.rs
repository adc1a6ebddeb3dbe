//! ListMLE: the likelihood of the grades' order under Plackett and Luce's model (Xia et al., ICML 2008, equation 9).
//!
//! ```text
//! value   mean over queries of  sum_i ( log sum over y_k <= y_i of exp z_k  -  z_i ),   y_i above the list's lowest
//! ```
//!
//! Where we differ: graded lists are full of ties, and the paper has none. Documents of equal grade all stand in each
//! other's denominators (Breslow's treatment of ties in Cox' likelihood), so the value does not depend on the order they
//! came in; those of the lowest grade have no term, as the last document has none in the paper. Without ties it is the
//! paper's.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{log_add_exp, log_sum_exp};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of ListMLE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListMle {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// Which documents are compared.
    pub scope: Scope,
}

impl Default for ListMle {
    fn default() -> Self {
        ListMle {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            learn_temperature: false,
            scope: Scope::List,
        }
    }
}

impl ListMle {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, self.scope, row)
    }
}

fn row(list: &List) -> Option<Term> {
    let levels = list.levels();
    if levels.len() < 2 {
        return None;
    }
    let mut gradient = vec![0.0; list.logits.len()];
    let mut value = 0.0;
    let mut total = f64::NEG_INFINITY;
    for (rank, level) in levels.iter().rev().enumerate() {
        let members = list.positions(|grade| grade == *level);
        total = log_add_exp(total, log_sum_exp(members.iter().map(|&at| list.logits[at])));
        if rank == 0 {
            continue;
        }
        value += members.iter().map(|&at| total - list.logits[at]).sum::<f64>();
        members.iter().for_each(|&at| gradient[at] -= 1.0);
        let count = members.len() as f64;
        for at in list.positions(|grade| grade <= *level) {
            gradient[at] += count * (list.logits[at] - total).exp();
        }
    }
    Some(Term { value, share: 1.0, gradient })
}
