//! Sentences a second through the encoder at MiniLM's size, in 8 bits and in floats, on one thread, for every instruction
//! set here.
//!
//! `cargo run --release -p kernels --example encoder [SECONDS [SET [TOKENS]]]`. Weights are random: speed does not depend on them.
//! Times are the thread's own, as Linux accounts them.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use kernels::InstructionSet;
use kernels::encoder::{
    EIGHT_BITS, Encoder, Layer, Linear, Norm, Sequence, Shape, Weights, float, quantize_rows,
};

const LAYERS: usize = 6;
const TEXTS: usize = 32;
const SHAPE: Shape =
    Shape { vocabulary: 1000, positions: 512, width: 384, heads: 12, inner: 1536, epsilon: 1e-12 };

fn main() {
    let seconds: f64 = std::env::args().nth(1).map_or(1.0, |text| text.parse().unwrap());
    let (weights, floats) = (weights(), floats());
    let only = std::env::args().nth(2);
    let lengths: Vec<usize> = match std::env::args().nth(3) {
        Some(length) => vec![length.parse().unwrap()],
        None => vec![32, 128, 256],
    };
    for set in InstructionSet::all_available() {
        if only.as_ref().is_some_and(|only| *only != set.to_string()) {
            continue;
        }
        let eight_bits = Encoder::on(weights.clone(), Some(set)).unwrap();
        let float = float::Encoder::on(floats.clone(), Some(set)).unwrap();
        for &length in &lengths {
            measure(&format!("{set:12} 8 bits"), length, seconds, &|texts| {
                eight_bits.forward_sequences(texts).unwrap()
            });
            measure(&format!("{set:12} floats"), length, seconds, &|texts| {
                float.forward_sequences(texts).unwrap()
            });
        }
    }
}

fn measure(name: &str, length: usize, seconds: f64, forward: &dyn Fn(&[Sequence<'_>]) -> Vec<f32>) {
    let texts: Vec<Vec<u32>> = (0..TEXTS)
        .map(|text| (0..length).map(|place| (text * 977 + place * 131) as u32 % 1000).collect())
        .collect();
    let texts: Vec<Sequence> = texts.iter().map(|ids| Sequence::single(ids)).collect();
    forward(&texts);
    let (mut best, mut spent) = (f64::INFINITY, 0.0);
    while spent < seconds {
        let start = cpu_seconds();
        forward(&texts);
        let time = cpu_seconds() - start;
        (best, spent) = (best.min(time), spent + time);
    }
    let products = (LAYERS * (4 * 384 * 384 + 2 * 384 * 1536) * length * TEXTS) as f64;
    println!(
        "{name} {length:4} tokens: {:8.1} sentences/s, {:6.1} G products/s in linear maps",
        TEXTS as f64 / best,
        products / best * 1e-9
    );
}

/// Seconds this thread was on a processor, as Linux counts them: up to the last tick of its clock, or to a yield.
fn cpu_seconds() -> f64 {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e-9
}

fn noise(count: usize) -> Vec<f32> {
    (0..count as u32).map(|x| (x.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn linear(inputs: usize, outputs: usize) -> Linear {
    let (codes, scales) = quantize_rows(&noise(inputs * outputs), inputs, EIGHT_BITS);
    let scales = scales.iter().map(|scale| scale / (inputs as f32).sqrt()).collect();
    Linear { codes, scales, bias: noise(outputs), multipliers: vec![1.0; inputs] }
}

fn norm(width: usize) -> Norm {
    Norm { gain: vec![1.0; width], bias: noise(width) }
}

fn weights() -> Weights {
    let Shape { width, inner, vocabulary, positions, .. } = SHAPE;
    let (words, word_scales) = quantize_rows(&noise(vocabulary * width), width, EIGHT_BITS);
    let layer = Layer {
        query_key_value: linear(width, 3 * width),
        attention_output: linear(width, width),
        attention_norm: norm(width),
        intermediate: linear(width, inner),
        output: linear(inner, width),
        output_norm: norm(width),
    };
    Weights {
        shape: SHAPE,
        words,
        word_scales,
        positions: noise(positions * width),
        second_segment: Vec::new(),
        norm: norm(width),
        layers: vec![layer; LAYERS],
    }
}

fn floats() -> float::Weights {
    let Shape { width, inner, vocabulary, positions, .. } = SHAPE;
    let linear = |inputs: usize, outputs: usize| {
        let weights = noise(inputs * outputs).iter().map(|weight| weight / (inputs as f32).sqrt()).collect();
        float::Linear { weights, bias: noise(outputs) }
    };
    let layer = float::Layer {
        query_key_value: linear(width, 3 * width),
        attention_output: linear(width, width),
        attention_norm: norm(width),
        intermediate: linear(width, inner),
        output: linear(inner, width),
        output_norm: norm(width),
    };
    let embeddings = float::Embeddings {
        words: noise(vocabulary * width),
        positions: noise(positions * width),
        segments: noise(width),
        norm: norm(width),
    };
    float::Weights { shape: SHAPE, embeddings, layers: vec![layer; LAYERS] }
}
