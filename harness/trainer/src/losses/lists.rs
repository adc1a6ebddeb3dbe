//! What list-wise losses share: one query at a time over its candidates' logits, then one mean.

use rayon::prelude::*;

use super::targets::{Candidate, Scope, Targets};

/// Value and gradient with respect to the logits `[B x N]`.
#[derive(Clone, Debug)]
pub(super) struct LogitGradients {
    pub value: f64,
    /// What each query adds to `value`; empty where the loss does not divide into queries.
    pub per_query: Vec<f64>,
    pub logits: Vec<f64>,
}

/// A matrix of logits `[B x N]`: scores after temperature, scale and bias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logits<'a> {
    pub values: &'a [f64],
    pub documents: usize,
}

impl Logits<'_> {
    pub fn queries(&self) -> usize {
        self.values.len() / self.documents
    }

    pub fn row(&self, query: usize) -> &[f64] {
        &self.values[query * self.documents..][..self.documents]
    }
}

/// One query's candidates with their logits.
pub(super) struct List {
    pub candidates: Vec<Candidate>,
    pub logits: Vec<f64>,
}

impl List {
    /// Positions of the candidates whose grade passes `keep`.
    pub fn positions(&self, keep: impl Fn(u8) -> bool) -> Vec<usize> {
        (0..self.logits.len()).filter(|&at| keep(self.candidates[at].grade)).collect()
    }

    /// The grades that occur, highest first.
    pub fn levels(&self) -> Vec<u8> {
        let mut levels: Vec<u8> = self.candidates.iter().map(|candidate| candidate.grade).collect();
        levels.sort_unstable_by(|a, b| b.cmp(a));
        levels.dedup();
        levels
    }
}

/// What one query contributes before the mean is taken.
pub(super) struct Term {
    pub value: f64,
    /// What the query adds to the divisor.
    pub share: f64,
    /// Slope for each of the list's logits.
    pub gradient: Vec<f64>,
}

/// `sum of values / sum of shares` over the queries for which `term` has one; 0 when none has.
pub(super) fn mean(
    logits: Logits<'_>,
    targets: &Targets,
    scope: Scope,
    term: impl Fn(&List) -> Option<Term> + Sync,
) -> LogitGradients {
    let of_query = |query: usize| {
        let candidates = targets.candidates(query, scope);
        let row = logits.row(query);
        let own = candidates.iter().map(|candidate| row[candidate.document]).collect();
        let list = List { candidates, logits: own };
        term(&list).map(|term| (list.candidates, term))
    };
    let terms: Vec<Option<(Vec<Candidate>, Term)>> =
        (0..logits.queries()).into_par_iter().map(of_query).collect();
    let shares: f64 = terms.iter().flatten().map(|(_, term)| term.share).sum();
    let factor = if shares > 0.0 { 1.0 / shares } else { 0.0 };
    let mut output = LogitGradients {
        value: 0.0,
        per_query: Vec::with_capacity(terms.len()),
        logits: vec![0.0; logits.values.len()],
    };
    for (gradient, term) in output.logits.chunks_exact_mut(logits.documents).zip(terms) {
        let Some((candidates, term)) = term else {
            output.per_query.push(0.0);
            continue;
        };
        output.per_query.push(factor * term.value);
        for (candidate, slope) in candidates.iter().zip(&term.gradient) {
            gradient[candidate.document] = factor * slope;
        }
    }
    output.value = output.per_query.iter().sum();
    output
}
