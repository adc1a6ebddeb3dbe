//! The definition: one text, one loop per formula, nothing packed or blocked.

use super::super::math;
use super::super::scalar::{add, norm};
use super::{Layer, Linear, Sequence, Weights};

/// The token vectors of one sequence. `hidden` is `ids.len() x width`.
pub(super) fn forward(weights: &Weights, sequence: Sequence<'_>, hidden: &mut [f32]) {
    let (embeddings, width) = (&weights.embeddings, weights.shape.width);
    for (place, (&id, row)) in sequence.ids.iter().zip(hidden.chunks_exact_mut(width)).enumerate() {
        let words = &embeddings.words[id as usize * width..][..width];
        let positions = &embeddings.positions[place * width..][..width];
        let segment = usize::from(place >= sequence.second);
        let segments = &embeddings.segments[segment * width..][..width];
        for c in 0..width {
            row[c] = words[c] + positions[c] + segments[c];
        }
    }
    norm(&embeddings.norm, hidden, weights.shape.epsilon);
    for layer in &weights.layers {
        attention_block(weights, layer, hidden);
        feed_forward_block(weights, layer, hidden);
    }
}

fn attention_block(weights: &Weights, layer: &Layer, hidden: &mut [f32]) {
    let shape = &weights.shape;
    let projected = linear(&layer.query_key_value, hidden);
    let mut context = vec![0.0; hidden.len()];
    for head in 0..shape.heads {
        attend(&projected, shape.width, shape.width / shape.heads, head, &mut context);
    }
    add(hidden, &linear(&layer.attention_output, &context));
    norm(&layer.attention_norm, hidden, shape.epsilon);
}

fn feed_forward_block(weights: &Weights, layer: &Layer, hidden: &mut [f32]) {
    let mut inner = linear(&layer.intermediate, hidden);
    inner.iter_mut().for_each(|x| *x = math::gelu_by_erf(*x));
    add(hidden, &linear(&layer.output, &inner));
    norm(&layer.output_norm, hidden, weights.shape.epsilon);
}

/// `start + left[0] right[0] + left[1] right[1] + ...`, from left to right.
fn sum_of_products<'a>(start: f32, left: &[f32], right: impl Iterator<Item = &'a f32>) -> f32 {
    left.iter().zip(right).fold(start, |sum, (a, b)| sum + a * b)
}

/// `rows x inputs` to `rows x outputs`.
fn linear(linear: &Linear, values: &[f32]) -> Vec<f32> {
    let inputs = linear.weights.len() / linear.bias.len();
    let mut results = Vec::with_capacity(values.len() / inputs * linear.bias.len());
    for row in values.chunks_exact(inputs) {
        for (weights, &bias) in linear.weights.chunks_exact(inputs).zip(&linear.bias) {
            results.push(sum_of_products(bias, row, weights.iter()));
        }
    }
    results
}

/// One head of one text: `projected` is `tokens x 3 width`, `context` `tokens x width`; `size` elements a head.
fn attend(projected: &[f32], width: usize, size: usize, head: usize, context: &mut [f32]) {
    let part = |row: usize, which: usize| &projected[(row * 3 + which) * width + head * size..][..size];
    let tokens = context.len() / width;
    let scale = 1.0 / (size as f32).sqrt();
    for row in 0..tokens {
        let query = part(row, 0);
        let logits = (0..tokens).map(|token| sum_of_products(0.0, query, part(token, 1).iter()));
        let mut weights: Vec<f32> = logits.collect();
        let total = math::softmax(&mut weights, scale);
        for element in 0..size {
            let values = (0..tokens).map(|token| &part(token, 2)[element]);
            let sum = sum_of_products(0.0, &weights, values);
            context[row * width + head * size + element] = sum / total;
        }
    }
}
