//! The definition: one text, one loop per formula, nothing packed or blocked.

use super::math;
use super::{Layer, Linear, Look, Map, Norm, Sequence, Weights};

/// The token vectors of one sequence. `hidden` is `ids.len() x width`. `look` is shown layer, map and values of what
/// goes into the linear maps.
pub(super) fn forward(weights: &Weights, sequence: Sequence<'_>, hidden: &mut [f32], look: &mut Look<'_>) {
    let width = weights.shape.width;
    for (place, (&id, row)) in sequence.ids.iter().zip(hidden.chunks_exact_mut(width)).enumerate() {
        let codes = &weights.words[id as usize * width..][..width];
        let scale = weights.word_scales[id as usize];
        let positions = &weights.positions[place * width..][..width];
        for c in 0..width {
            row[c] = f32::from(codes[c]) * scale + positions[c];
        }
        if place >= sequence.second {
            add(row, &weights.second_segment);
        }
    }
    norm(&weights.norm, hidden, weights.shape.epsilon);
    for (index, layer) in weights.layers.iter().enumerate() {
        attention_block(weights, layer, hidden, &mut |map, rows| look(index, map, rows));
        feed_forward_block(weights, layer, hidden, &mut |map, rows| look(index, map, rows));
    }
}

fn attention_block(weights: &Weights, layer: &Layer, hidden: &mut [f32], look: &mut dyn FnMut(Map, &[f32])) {
    let shape = &weights.shape;
    look(Map::QueryKeyValue, hidden);
    let projected = linear(&layer.query_key_value, hidden);
    let mut context = vec![0.0; hidden.len()];
    for head in 0..shape.heads {
        attend(&projected, shape.width, shape.width / shape.heads, head, &mut context);
    }
    look(Map::AttentionOutput, &context);
    add(hidden, &linear(&layer.attention_output, &context));
    norm(&layer.attention_norm, hidden, shape.epsilon);
}

fn feed_forward_block(
    weights: &Weights,
    layer: &Layer,
    hidden: &mut [f32],
    look: &mut dyn FnMut(Map, &[f32]),
) {
    look(Map::Intermediate, hidden);
    let mut inner = linear(&layer.intermediate, hidden);
    inner.iter_mut().for_each(|x| *x = math::gelu(*x));
    look(Map::Output, &inner);
    add(hidden, &linear(&layer.output, &inner));
    norm(&layer.output_norm, hidden, weights.shape.epsilon);
}

pub(super) fn add(hidden: &mut [f32], block: &[f32]) {
    hidden.iter_mut().zip(block).for_each(|(x, y)| *x += y);
}

pub(super) fn norm(norm: &Norm, hidden: &mut [f32], epsilon: f32) {
    for row in hidden.chunks_exact_mut(norm.gain.len()) {
        math::layer_norm(row, &norm.gain, &norm.bias, epsilon);
    }
}

/// `rows x inputs` to `rows x outputs`.
fn linear(linear: &Linear, values: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (linear.multipliers.len(), linear.bias.len());
    let mut results = Vec::with_capacity(values.len() / inputs * outputs);
    for row in values.chunks_exact(inputs) {
        let scaled: Vec<f32> = row.iter().zip(&linear.multipliers).map(|(x, by)| x * by).collect();
        let (codes, scale) = codes(&scaled, math::CODE_LIMIT);
        for output in 0..outputs {
            let weights = &linear.codes[output * inputs..][..inputs];
            let sum = codes.iter().zip(weights).map(|(&a, &w)| a * i32::from(w)).sum();
            results.push(math::dequantize(sum, linear.scales[output], scale, linear.bias[output]));
        }
    }
    results
}

/// The codes of values, with what a code is worth.
fn codes(values: &[f32], limit: i32) -> (Vec<i32>, f32) {
    let (inverse, scale) = math::scales(math::largest_magnitude(values), limit);
    (values.iter().map(|x| math::round(x * inverse)).collect(), scale)
}

/// One head of one text: `projected` is `tokens x 3 width`, `context` `tokens x width`; `size` elements a head.
fn attend(projected: &[f32], width: usize, size: usize, head: usize, context: &mut [f32]) {
    let part = |row: usize, which: usize| &projected[(row * 3 + which) * width + head * size..][..size];
    let tokens = context.len() / width;
    let gather = |which: usize| (0..tokens).flat_map(|row| part(row, which).iter().copied()).collect();
    let (all_keys, all_values): (Vec<f32>, Vec<f32>) = (gather(1), gather(2));
    let (keys, key_scale) = codes(&all_keys, math::KEY_LIMIT);
    let (values, value_scale) = codes(&all_values, math::VALUE_LIMIT);
    for row in 0..tokens {
        let (query, query_scale) = codes(part(row, 0), math::KEY_LIMIT);
        let logits: Vec<i32> =
            keys.chunks_exact(size).map(|key| query.iter().zip(key).map(|(q, k)| q * k).sum()).collect();
        let largest = logits.iter().copied().max().unwrap_or(0);
        let scale = query_scale * key_scale * math::logit_scale(size);
        let probabilities: Vec<i32> =
            logits.iter().map(|logit| math::probability_code((logit - largest) as f32 * scale)).collect();
        let weight = value_scale / probabilities.iter().sum::<i32>() as f32;
        for element in 0..size {
            let sum: i32 =
                (0..tokens).map(|token| probabilities[token] * values[token * size + element]).sum();
            context[row * width + head * size + element] = sum as f32 * weight;
        }
    }
}
