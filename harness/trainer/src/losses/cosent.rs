//! CoSENT: no pair of lower grade may score above one of higher grade (Huang et al., IEEE/ACM TASLP 2024,
//! doi 10.1109/TASLP.2024.3402087).
//!
//! ```text
//! z       cosine over the temperature (the paper's scale 20 is temperature 0.05)
//! value   log( 1 + sum over y_i < y_j of exp(z_i - z_j) )
//! ```
//!
//! `across = "batch"` takes all listed pairs of the batch together, whichever their query, as sentence-transformers does;
//! `across = "query"` takes each query's candidates and the mean over queries, which asks nothing of scores of different
//! queries. With levels it is linear: `A_l = log sum of exp z_i over y_i < l`, and the sum is over j of `exp(A - z_j)`.
//! Where we differ: the per-query form, and in it in-batch documents on request.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{log_add_exp, log_sum_exp};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of CoSENT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosent {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// Which pairs are compared with each other.
    pub across: Across,
    /// Which documents of a query take part; with `across = "batch"` only its own can.
    pub scope: Scope,
}

/// Which pairs CoSENT compares with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Across {
    /// All listed pairs of the batch.
    #[default]
    Batch,
    /// Those of the same query.
    Query,
}

impl Default for Cosent {
    fn default() -> Self {
        Cosent {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            learn_temperature: false,
            across: Across::Batch,
            scope: Scope::List,
        }
    }
}

impl Cosent {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        match self.across {
            Across::Query => lists::mean(logits, targets, self.scope, |list| {
                let Ordered { value, gradient } = ordered(list)?;
                Some(Term { value, share: 1.0, gradient })
            }),
            Across::Batch => batch_wide(logits, targets),
        }
    }
}

/// All listed pairs as one list.
fn batch_wide(logits: Logits<'_>, targets: &Targets) -> LogitGradients {
    let mut list = List { candidates: Vec::new(), logits: Vec::new() };
    let mut places = Vec::new();
    for query in 0..logits.queries() {
        for candidate in targets.candidates(query, Scope::List) {
            list.logits.push(logits.row(query)[candidate.document]);
            places.push(query * logits.documents + candidate.document);
            list.candidates.push(candidate);
        }
    }
    let mut output =
        LogitGradients { value: 0.0, per_query: Vec::new(), logits: vec![0.0; logits.values.len()] };
    if let Some(Ordered { value, gradient }) = ordered(&list) {
        output.value = value;
        places.iter().zip(gradient).for_each(|(&place, slope)| output.logits[place] = slope);
    }
    output
}

struct Ordered {
    value: f64,
    gradient: Vec<f64>,
}

/// Value and slopes of one list; `None` when all grades are equal.
fn ordered(list: &List) -> Option<Ordered> {
    let levels: Vec<Vec<usize>> =
        list.levels().into_iter().rev().map(|level| list.positions(|grade| grade == level)).collect();
    if levels.len() < 2 {
        return None;
    }
    let mut below = f64::NEG_INFINITY;
    let mut floors = Vec::with_capacity(levels.len());
    let mut total = 0.0;
    for members in &levels {
        floors.push(below);
        for &at in members {
            if below > f64::NEG_INFINITY {
                total = log_add_exp(total, below - list.logits[at]);
            }
        }
        below = log_add_exp(below, log_sum_exp(members.iter().map(|&at| list.logits[at])));
    }
    let mut gradient = vec![0.0; list.logits.len()];
    for (rank, members) in levels.iter().enumerate().skip(1) {
        let mut pushed = 0.0;
        for &at in members {
            let slope = (floors[rank] - list.logits[at] - total).exp();
            gradient[at] -= slope;
            pushed += slope;
        }
        for &at in levels[..rank].iter().flatten() {
            gradient[at] += pushed * (list.logits[at] - floors[rank]).exp();
        }
    }
    Some(Ordered { value: total, gradient })
}
