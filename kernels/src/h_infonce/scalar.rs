//! The definition: equation 3 anchor by anchor, in plain loops, for f32 and for its f64 twin.

use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};

use super::labels::{Anchors, IGNORED, SparseLabels};
use crate::matrix::{Matrix, Real};

/// A number the definition can be written in.
pub(super) trait Number:
    Real
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
{
    fn from_f64(value: f64) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
}

impl Number for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn exp(self) -> Self {
        f32::exp(self)
    }
    fn ln(self) -> Self {
        f32::ln(self)
    }
}

impl Number for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
}

/// What equation 3 needs besides scores and labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<T> {
    pub inverse_temperature: T,
    pub anchors: Anchors,
    pub factor: f64,
}

/// Loss per query and gradients of both sides.
pub(super) struct Embeddings<T> {
    pub loss: Vec<f64>,
    pub queries: Vec<T>,
    pub documents: Vec<T>,
}

/// The loss of queries `[B x d]` and documents `[N x d]` with its gradients.
pub(super) fn embeddings<T: Number>(
    queries: Matrix<'_, T>,
    documents: Matrix<'_, T>,
    labels: SparseLabels<'_>,
    terms: Terms<T>,
) -> Embeddings<T> {
    let zero = T::from_f64(0.0);
    let width = queries.columns();
    let mut output = Embeddings {
        loss: Vec::with_capacity(queries.rows()),
        queries: vec![zero; queries.rows() * width],
        documents: vec![zero; documents.rows() * width],
    };
    for (i, query) in queries.iter_rows().enumerate() {
        let scores: Vec<T> = documents.iter_rows().map(|document| dot(query, document)).collect();
        let (loss, gradient) = row(&scores, labels, i, terms);
        output.loss.push(loss);
        for (k, document) in documents.iter_rows().enumerate() {
            for c in 0..width {
                output.queries[i * width + c] += gradient[k] * document[c];
                output.documents[k * width + c] += gradient[k] * query[c];
            }
        }
    }
    output
}

/// The loss per query of scores `[B x N]` before division by the temperature, with its gradient.
pub(super) fn scores<T: Number>(
    scores: Matrix<'_, T>,
    labels: SparseLabels<'_>,
    terms: Terms<T>,
) -> (Vec<f64>, Vec<T>) {
    let mut losses = Vec::with_capacity(scores.rows());
    let mut gradients = Vec::with_capacity(scores.rows() * scores.columns());
    for (i, scores) in scores.iter_rows().enumerate() {
        let (loss, gradient) = row(scores, labels, i, terms);
        losses.push(loss);
        gradients.extend(gradient);
    }
    (losses, gradients)
}

/// One query: its loss and d loss / d (score before division by the temperature).
fn row<T: Number>(scores: &[T], labels: SparseLabels<'_>, query: usize, terms: Terms<T>) -> (f64, Vec<T>) {
    let listed = labels.row(query);
    let mut label_of = vec![0u8; scores.len()];
    for (document, label) in listed.documents.iter().zip(listed.labels) {
        label_of[*document as usize] = *label;
    }
    let scaled: Vec<T> = scores.iter().map(|score| *score * terms.inverse_temperature).collect();
    let mut gradient = vec![T::from_f64(0.0); scores.len()];
    let mut loss = 0.0;
    for (entry, (&document, &label)) in listed.documents.iter().zip(listed.labels).enumerate() {
        if terms.anchors.contains(label) {
            let weight = terms.factor * f64::from(listed.weight(entry));
            let weight_of_gradient = T::from_f64(weight);
            let term = anchor(&scaled, &label_of, document as usize, weight_of_gradient, &mut gradient);
            loss += weight * term.to_f64();
        }
    }
    for value in &mut gradient {
        *value = *value * terms.inverse_temperature;
    }
    (loss, gradient)
}

/// One anchor's term without its weight; its weighted gradient is added to `gradient`.
fn anchor<T: Number>(scores: &[T], labels: &[u8], anchor: usize, weight: T, gradient: &mut [T]) -> T {
    let competes = |k: usize| labels[k] != IGNORED && labels[k] < labels[anchor];
    let denominator: Vec<usize> = (0..scores.len()).filter(|&k| k == anchor || competes(k)).collect();
    if denominator.len() == 1 {
        return T::from_f64(0.0);
    }
    let largest =
        denominator.iter().map(|&k| scores[k]).fold(scores[anchor], |a, b| if a > b { a } else { b });
    let mut sum = T::from_f64(0.0);
    for &k in &denominator {
        sum += (scores[k] - largest).exp();
    }
    for &k in &denominator {
        gradient[k] += weight * ((scores[k] - largest).exp() / sum);
    }
    gradient[anchor] -= weight;
    largest + sum.ln() - scores[anchor]
}

fn dot<T: Number>(a: &[T], b: &[T]) -> T {
    let mut sum = T::from_f64(0.0);
    for (a, b) in a.iter().zip(b) {
        sum += *a * *b;
    }
    sum
}
