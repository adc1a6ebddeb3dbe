//! Attention over each text of a packed batch, with its backward by hand.
//!
//! ```text
//! per head, d = width / heads:       S = Q K^T / sqrt d      P = softmax of each row of S      O = P V
//! D_i  = sum over j of P_ij dP_ij    dP = dO V^T             dS = P (dP - D)
//! dQ = dS K / sqrt d                 dK = dS^T Q / sqrt d    dV = P^T dO
//! ```
//!
//! Of P only the logarithm of each row's sum is kept; the backward works P out again, as FlashAttention does (Dao et al.
//! 2022, arXiv 2205.14135): that costs a few percent of a step and saves `heads x length` values per token and layer.
//! Dropout, where there is some, falls on P before it meets V, and its mask is drawn again too.

use rayon::prelude::*;
use scorer::encoder::bert::exp_of_negative;

use super::buffers::Buffer;
use super::dropout::{Dropout, Site};
use super::product::{Target, View, small_product};
use super::vectorized::{lane_max, lane_sum, vectorized};

/// The shape of attention, and where its dropout mask lies.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Heads side by side.
    pub heads: usize,
    /// Columns of Q, of K, of V and of O.
    pub width: usize,
    /// Which layer this is.
    pub layer: usize,
    /// The masks of this step, if any.
    pub dropout: Option<&'a Dropout>,
}

/// One text of a batch: its number there (a dropout mask hangs on it) and its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text's number in the step.
    pub key: u64,
    /// Its tokens.
    pub length: usize,
}

impl Attention<'_> {
    /// `O` `[T x width]` of `projected` `[T x 3 width]` (Q, K and V of each token), and the logarithms `[T x heads]`.
    pub fn forward(&self, projected: &[f32], texts: &[Text]) -> (Buffer, Buffer) {
        let tokens = projected.len() / (3 * self.width);
        let (mut output, mut log_sums) =
            (Buffer::stale(tokens * self.width), Buffer::stale(tokens * self.heads));
        let inputs = split(projected, texts, 3 * self.width);
        let outputs = split_mut(&mut output, texts, self.width);
        let sums = split_mut(&mut log_sums, texts, self.heads);
        let work = inputs.into_par_iter().zip(outputs).zip(sums).zip(texts);
        work.for_each(|(((input, output), sums), &text)| self.forward_text(input, output, sums, text));
        (output, log_sums)
    }

    /// d loss / d projected of `slope` (d loss / d O).
    pub fn backward(&self, projected: &[f32], log_sums: &[f32], slope: &[f32], texts: &[Text]) -> Buffer {
        let mut output = Buffer::stale(projected.len());
        let outputs = split_mut(&mut output, texts, 3 * self.width);
        let inputs = split(projected, texts, 3 * self.width);
        let (sums, slopes) = (split(log_sums, texts, self.heads), split(slope, texts, self.width));
        let work = inputs.into_par_iter().zip(outputs).zip(sums).zip(slopes).zip(texts);
        work.for_each(|((((input, output), sums), slope), &text)| {
            self.backward_text(input, sums, slope, output, text);
        });
        output
    }

    fn forward_text(&self, projected: &[f32], output: &mut [f32], log_sums: &mut [f32], text: Text) {
        let length = text.length;
        let mut scores = vec![0.0; length * length];
        for head in 0..self.heads {
            let [query, key, value] = self.parts(projected, length, head);
            small_product(query, key.transposed(), self.scale(), Target::set(&mut scores, length));
            for (row, scores) in scores.chunks_exact_mut(length).enumerate() {
                log_sums[row * self.heads + head] = softmax(scores);
            }
            self.drop_weights(&mut scores, text, head);
            let target = Target::set(&mut output[head * self.head_width()..], self.width);
            small_product(View::new(&scores, length, length), value, 1.0, target);
        }
    }

    fn backward_text(
        &self,
        projected: &[f32],
        log_sums: &[f32],
        slope: &[f32],
        output: &mut [f32],
        text: Text,
    ) {
        let (length, stride, head_width) = (text.length, 3 * self.width, self.head_width());
        let (mut weights, mut slopes) = (vec![0.0; length * length], vec![0.0; length * length]);
        for head in 0..self.heads {
            let [query, key, value] = self.parts(projected, length, head);
            let outer = View::strided(&slope[head * head_width..], length, head_width, self.width);
            small_product(query, key.transposed(), self.scale(), Target::set(&mut weights, length));
            for (row, weights) in weights.chunks_exact_mut(length).enumerate() {
                exponentials(weights, log_sums[row * self.heads + head]);
            }
            small_product(outer, value.transposed(), 1.0, Target::set(&mut slopes, length));
            if self.dropout.is_some() {
                // d loss / d P passes the mask that P V saw; the plain P stays for dS.
                self.drop_weights(&mut slopes, text, head);
                let mut dropped = weights.clone();
                self.drop_weights(&mut dropped, text, head);
                let target = Target::set(&mut output[2 * self.width + head * head_width..], stride);
                small_product(View::new(&dropped, length, length).transposed(), outer, 1.0, target);
            } else {
                let target = Target::set(&mut output[2 * self.width + head * head_width..], stride);
                small_product(View::new(&weights, length, length).transposed(), outer, 1.0, target);
            }
            for (slopes, weights) in slopes.chunks_exact_mut(length).zip(weights.chunks_exact(length)) {
                softmax_backward(slopes, weights);
            }
            let slopes = View::new(&slopes, length, length);
            let target = Target::set(&mut output[head * head_width..], stride);
            small_product(slopes, key, self.scale(), target);
            let target = Target::set(&mut output[self.width + head * head_width..], stride);
            small_product(slopes.transposed(), query, self.scale(), target);
        }
    }

    fn parts<'a>(&self, projected: &'a [f32], length: usize, head: usize) -> [View<'a>; 3] {
        let start = |part: usize| part * self.width + head * self.head_width();
        [0, 1, 2]
            .map(|part| View::strided(&projected[start(part)..], length, self.head_width(), 3 * self.width))
    }

    fn drop_weights(&self, weights: &mut [f32], text: Text, head: usize) {
        let Some(dropout) = self.dropout else { return };
        for (row, weights) in weights.chunks_exact_mut(text.length).enumerate() {
            let name = (head * text.length + row) as u64;
            dropout.apply(Site::Attention(self.layer), text.key, name, weights);
        }
    }

    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_width() as f32).sqrt()
    }
}

fn split<'a>(values: &'a [f32], texts: &[Text], columns: usize) -> Vec<&'a [f32]> {
    let mut rest = values;
    let part = |text: &Text| {
        let (own, others) = rest.split_at(text.length * columns);
        rest = others;
        own
    };
    texts.iter().map(part).collect()
}

fn split_mut<'a>(values: &'a mut [f32], texts: &[Text], columns: usize) -> Vec<&'a mut [f32]> {
    let mut rest = values;
    let mut parts = Vec::with_capacity(texts.len());
    for text in texts {
        let (own, others) = rest.split_at_mut(text.length * columns);
        rest = others;
        parts.push(own);
    }
    parts
}

vectorized! {
    /// A row of scores becomes its softmax; returns the logarithm of the sum of the exponentials.
    fn softmax(row: &mut [f32]) -> f32 {
        let largest = lane_max(row);
        for score in row.iter_mut() {
            *score = exp_of_negative(*score - largest);
        }
        let sum = lane_sum([row], |[weight]| weight);
        let inverse = 1.0 / sum;
        for score in row.iter_mut() {
            *score *= inverse;
        }
        largest + sum.ln()
    }
}

vectorized! {
    /// A row of scores becomes its softmax, from the logarithm that [`softmax`] returned.
    fn exponentials(row: &mut [f32], log_sum: f32) {
        for score in row.iter_mut() {
            *score = exp_of_negative((*score - log_sum).min(0.0));
        }
    }
}

vectorized! {
    /// dP becomes dS.
    fn softmax_backward(slopes: &mut [f32], weights: &[f32]) {
        let along = lane_sum([slopes, weights], |[slope, weight]| slope * weight);
        for (slope, weight) in slopes.iter_mut().zip(weights) {
            *slope = *weight * (*slope - along);
        }
    }
}
