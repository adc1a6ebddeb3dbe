//! InfoNCE: each positive against the batch's negatives (van den Oord et al., arXiv 1807.03748, equation 4).
//!
//! ```text
//! z_ik                    cosine (or inner product) over the temperature
//! P_i, N_i                documents with a grade of at least `positive_from`; all others not ignored
//! term_ip                 -log( exp z_ip / (exp z_ip + sum over k in N_i of exp z_ik) ),  p in P_i
//! rows                    mean of w_ip term_ip over all positives p of all queries i
//! columns                 the same with the roles exchanged: p's positive query i against the queries that p is
//!                         negative for
//! value                   rows, or (rows + columns) / 2 when symmetric
//! ```
//!
//! Where we differ: positives of one query do not compete with each other, and a document that is graded for a query
//! counts as graded wherever it came from. A positive without any negative has no term. With one positive a query and
//! nothing else listed this is sentence-transformers' multiple negatives ranking loss, symmetric or not.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{log_sum_exp, sigmoid, softplus};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of InfoNCE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Infonce {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// The lowest grade of a positive.
    pub positive_from: u8,
    /// Whether documents look for their queries as well.
    pub symmetric: bool,
}

impl Default for Infonce {
    fn default() -> Self {
        Infonce {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            learn_temperature: false,
            positive_from: 1,
            symmetric: false,
        }
    }
}

impl Infonce {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        let rows = lists::mean(logits, targets, Scope::Batch, |list| self.row(list));
        if !self.symmetric {
            return rows;
        }
        let columns = self.columns(logits, targets);
        LogitGradients {
            value: (rows.value + columns.value) / 2.0,
            per_query: halves(&rows.per_query, &columns.per_query),
            logits: halves(&rows.logits, &columns.logits),
        }
    }

    fn row(&self, list: &List) -> Option<Term> {
        let positives = list.positions(|grade| grade >= self.positive_from);
        let negatives = list.positions(|grade| grade < self.positive_from);
        if positives.is_empty() || negatives.is_empty() {
            return None;
        }
        let weights: Vec<f64> = positives.iter().map(|&at| list.candidates[at].weight).collect();
        let mut gradient = vec![0.0; list.logits.len()];
        let terms = contrast(&list.logits, &positives, &weights, &negatives, &mut gradient);
        Some(Term { value: terms.iter().sum(), share: positives.len() as f64, gradient })
    }

    /// Every document that is a positive against the queries it is negative for.
    fn columns(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        let mut listed = vec![Vec::new(); logits.documents];
        for (query, pair) in targets.pairs() {
            listed[pair.document as usize].push((query, pair));
        }
        let queries = logits.queries();
        let mut output = LogitGradients {
            value: 0.0,
            per_query: vec![0.0; queries],
            logits: vec![0.0; logits.values.len()],
        };
        let mut anchors = 0.0;
        for (document, listed) in listed.iter().enumerate() {
            let positive =
                |pair: &super::targets::Listed| !pair.ignored() && pair.grade >= self.positive_from;
            let (positives, weights): (Vec<usize>, Vec<f64>) = listed
                .iter()
                .filter(|(_, pair)| positive(pair))
                .map(|(query, pair)| (*query, f64::from(pair.weight)))
                .unzip();
            if positives.is_empty() {
                continue;
            }
            let mut negative = vec![true; queries];
            let taken = listed.iter().filter(|(_, pair)| pair.ignored() || positive(pair));
            taken.for_each(|(query, _)| negative[*query] = false);
            let negatives: Vec<usize> = (0..queries).filter(|&query| negative[query]).collect();
            if negatives.is_empty() {
                continue;
            }
            let column: Vec<f64> = (0..queries).map(|query| logits.row(query)[document]).collect();
            let mut gradient = vec![0.0; queries];
            let terms = contrast(&column, &positives, &weights, &negatives, &mut gradient);
            positives.iter().zip(terms).for_each(|(&query, term)| output.per_query[query] += term);
            gradient.iter().enumerate().for_each(|(query, slope)| {
                output.logits[query * logits.documents + document] = *slope;
            });
            anchors += positives.len() as f64;
        }
        let factor = if anchors > 0.0 { 1.0 / anchors } else { 0.0 };
        output.per_query.iter_mut().chain(&mut output.logits).for_each(|value| *value *= factor);
        output.value = output.per_query.iter().sum();
        output
    }
}

/// The weighted term of each positive against all negatives; slopes are added to `gradient`.
pub(super) fn contrast(
    logits: &[f64],
    positives: &[usize],
    weights: &[f64],
    negatives: &[usize],
    gradient: &mut [f64],
) -> Vec<f64> {
    let against = log_sum_exp(negatives.iter().map(|&at| logits[at]));
    let mut pushed = 0.0;
    let terms = positives
        .iter()
        .zip(weights)
        .map(|(&at, weight)| {
            let slope = weight * sigmoid(against - logits[at]);
            gradient[at] -= slope;
            pushed += slope;
            weight * softplus(against - logits[at])
        })
        .collect();
    negatives.iter().for_each(|&at| gradient[at] += pushed * (logits[at] - against).exp());
    terms
}

fn halves(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect()
}
