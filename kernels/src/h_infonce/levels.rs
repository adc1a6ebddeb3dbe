//! One query's levels: from the label-0 log-sum-exp and the listed scores to the loss and to everything the
//! gradient of a score needs. All in f64; the symbols are those of the [module](super) head.

use super::labels::{Anchors, IGNORED, Row};

const LEVELS: usize = 16;

/// The label-0 documents a query does not list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unlisted {
    /// Their largest score; 0 when there is none.
    pub largest: f32,
    /// Sum of `exp(score - largest)`; 0 when there is none.
    pub sum: f64,
}

/// What one query contributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Its loss, times the factor of the reduction.
    pub loss: f64,
    /// `c_i`: an unlisted document's gradient is `exp((s - largest) + shift)`; minus infinity without anchors.
    pub shift: f32,
}

/// The loss of one query; `gradient` gets `d loss / d s` of each listed pair.
pub(super) fn solve(
    row: Row<'_>,
    scores: &[f32],
    unlisted: Unlisted,
    anchors: Anchors,
    factor: f64,
    gradient: &mut [f32],
) -> Outcome {
    let below = prefixes(row.labels, scores, unlisted);
    let mut pull = [0.0f64; LEVELS];
    let mut loss = 0.0;
    for (entry, (&label, &score)) in row.labels.iter().zip(scores).enumerate() {
        gradient[entry] = 0.0;
        if !anchors.contains(label) || below[usize::from(label)] == f64::NEG_INFINITY {
            continue;
        }
        let weight = factor * f64::from(row.weight(entry));
        let gap = below[usize::from(label)] - f64::from(score);
        loss += weight * softplus(gap);
        let own = weight * sigmoid(gap);
        pull[usize::from(label)] += own;
        gradient[entry] = own as f32;
    }
    for (gradient, (&label, &score)) in gradient.iter_mut().zip(row.labels.iter().zip(scores)) {
        *gradient = if label == IGNORED {
            0.0
        } else {
            (push(&below, &pull, label, score) - f64::from(*gradient)) as f32
        };
    }
    Outcome { loss, shift: push(&below, &pull, 0, unlisted.largest).ln() as f32 }
}

/// `A_l` for each label: log-sum-exp of the scores with a lower label; minus infinity where there is none.
fn prefixes(labels: &[u8], scores: &[f32], unlisted: Unlisted) -> [f64; LEVELS] {
    let mut largest = [f64::NEG_INFINITY; LEVELS];
    for (&label, &score) in labels.iter().zip(scores).filter(|(label, _)| **label != IGNORED) {
        let largest = &mut largest[usize::from(label)];
        *largest = largest.max(f64::from(score));
    }
    let mut sums = [0.0f64; LEVELS];
    for (&label, &score) in labels.iter().zip(scores).filter(|(label, _)| **label != IGNORED) {
        sums[usize::from(label)] += (f64::from(score) - largest[usize::from(label)]).exp();
    }
    let mut below = [f64::NEG_INFINITY; LEVELS];
    let mut running = f64::from(unlisted.largest) + unlisted.sum.ln();
    for level in 0..LEVELS {
        below[level] = if level == 0 { f64::NEG_INFINITY } else { running };
        if sums[level] > 0.0 {
            running = log_add_exp(running, largest[level] + sums[level].ln());
        }
    }
    below
}

/// What the anchors above `label` add to the gradient of a score of that label.
fn push(below: &[f64; LEVELS], pull: &[f64; LEVELS], label: u8, score: f32) -> f64 {
    let above = usize::from(label) + 1..LEVELS;
    above.filter(|&l| pull[l] > 0.0).map(|l| pull[l] * (f64::from(score) - below[l]).exp()).sum()
}

fn log_add_exp(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// `log(1 + e^x)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + e^-x)`.
fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}
