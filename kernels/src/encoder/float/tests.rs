//! One suite over every device: the same bits everywhere, and those of a plain transformer in f64 up to f32's rounding.

#![allow(clippy::unwrap_used)]

use super::*;

/// A number in -1..1 for every seed and place, the same on every machine.
fn noise(seed: u64, place: usize) -> f32 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = x.wrapping_add((place as u64).wrapping_mul(0xd134_2543_de82_ef95));
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    ((x >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
}

fn floats(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|place| noise(seed, place) * scale).collect()
}

fn linear(seed: u64, inputs: usize, outputs: usize) -> Linear {
    let weights = floats(seed, inputs * outputs, 1.7 / (inputs as f32).sqrt());
    Linear { weights, bias: floats(seed + 2, outputs, 0.3) }
}

fn norm(seed: u64, width: usize) -> Norm {
    let gain = (0..width).map(|place| 1.0 + 0.3 * noise(seed, place)).collect();
    Norm { gain, bias: floats(seed + 1, width, 0.2) }
}

fn weights(shape: Shape, layers: usize) -> Weights {
    let Shape { vocabulary, positions, width, inner, .. } = shape;
    let layer = |index: u64| Layer {
        query_key_value: linear(100 * index + 10, width, 3 * width),
        attention_output: linear(100 * index + 20, width, width),
        attention_norm: norm(100 * index + 30, width),
        intermediate: linear(100 * index + 40, width, inner),
        output: linear(100 * index + 50, inner, width),
        output_norm: norm(100 * index + 60, width),
    };
    let embeddings = Embeddings {
        words: floats(1, vocabulary * width, 1.0),
        positions: floats(2, positions * width, 0.5),
        segments: floats(4, 2 * width, 0.5),
        norm: norm(3, width),
    };
    Weights { shape, embeddings, layers: (0..layers as u64).map(layer).collect() }
}

fn shape(width: usize, heads: usize, inner: usize) -> Shape {
    Shape { vocabulary: 97, positions: 600, width, heads, inner, epsilon: 1e-12 }
}

fn ids(seed: u64, length: usize) -> Vec<u32> {
    (0..length).map(|place| ((noise(seed, place) + 1.0) * 48.0) as u32).collect()
}

/// Every way to run an encoder on this machine, the definition first.
fn engines(weights: &Weights) -> Vec<(String, Encoder)> {
    let mut engines = vec![("scalar".to_owned(), Encoder::on(weights.clone(), None).unwrap())];
    let portable = Engine::Vector(Box::new(simd::Packed::new(weights.clone(), None)));
    let portable = Encoder { shape: weights.shape, has_second_segment: true, engine: portable };
    engines.push(("portable".to_owned(), portable));
    for set in InstructionSet::all_available() {
        engines.push((set.to_string(), Encoder::on(weights.clone(), Some(set)).unwrap()));
    }
    engines
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Sizes that fill registers and tiles, and sizes that leave every kind of remainder.
fn shapes() -> Vec<Shape> {
    vec![
        shape(384, 12, 1536),
        shape(64, 4, 96),
        shape(80, 2, 48),
        shape(33, 1, 35),
        shape(31, 31, 33),
        shape(7, 1, 5),
        shape(1, 1, 1),
    ]
}

#[test]
fn every_device_gives_the_bits_of_the_definition() {
    for shape in shapes() {
        let weights = weights(shape, 2);
        let lengths: &[usize] =
            if shape.width > 100 { &[1, 13, 5] } else { &[1, 2, 13, 24, 31, 33, 130, 12, 512] };
        let texts: Vec<Vec<u32>> = lengths.iter().map(|&length| ids(length as u64, length)).collect();
        // Second texts that begin at the very start, anywhere and never.
        let pairs: Vec<Sequence> =
            (0..).zip(&texts).map(|(at, ids)| Sequence { ids, second: ids.len().min(5 * at) }).collect();
        let engines = engines(&weights);
        let expected = engines[0].1.forward_sequences(&pairs).unwrap();
        assert!(expected.iter().all(|value| value.is_finite()));
        for (name, engine) in &engines {
            let found = engine.forward_sequences(&pairs).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{name}, {shape:?}");
        }
        let single: Vec<Sequence> = texts.iter().map(|ids| Sequence::single(ids)).collect();
        let single = engines[0].1.forward_sequences(&single).unwrap();
        // One value minus its own mean is nothing, whatever the segment.
        assert_eq!(bits(&single) == bits(&expected), shape.width == 1, "{shape:?}");
    }
}

#[test]
fn neighbours_chunks_and_threads_do_not_matter() {
    let weights = weights(shape(32, 4, 64), 2);
    let texts: Vec<Vec<u32>> = (1..40).map(|length| ids(length as u64, length * 7 % 150 + 1)).collect();
    let packed: Vec<Sequence> = texts.iter().map(|ids| Sequence::single(ids)).collect();
    for (name, engine) in engines(&weights) {
        let together = engine.forward_sequences(&packed).unwrap();
        for at_once in [1, 7] {
            let parts = packed.chunks(at_once).map(|part| engine.forward_sequences(part).unwrap());
            assert_eq!(bits(&together), bits(&parts.flatten().collect::<Vec<_>>()), "{name}, {at_once}");
        }
        let from_threads: Vec<Vec<f32>> = std::thread::scope(|scope| {
            let threads = packed.chunks(20).map(|part| scope.spawn(|| engine.forward_sequences(part)));
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert_eq!(bits(&together), bits(&from_threads.concat()), "{name}");
        assert!(engine.forward_sequences(&[]).unwrap().is_empty());
    }
}

/// One logit far above the others, activations far below zero, rows without any variance.
#[test]
fn extreme_values_keep_their_bits_and_stay_finite() {
    let mut weights = weights(shape(32, 4, 64), 2);
    weights.layers[0].query_key_value.bias.iter_mut().for_each(|bias| *bias = 1e4);
    weights.layers[0].query_key_value.weights.iter_mut().for_each(|weight| *weight *= 1e3);
    weights.layers[1].intermediate.bias.iter_mut().for_each(|bias| *bias = -1e6);
    let text = ids(5, 512);
    for flat in [false, true] {
        if flat {
            weights.embeddings.norm.gain.fill(0.0);
            weights.embeddings.norm.bias.fill(1e-40);
        }
        let engines = engines(&weights);
        let expected = engines[0].1.forward_sequences(&[Sequence::single(&text)]).unwrap();
        assert!(expected.iter().all(|value| value.is_finite()));
        for (name, engine) in &engines {
            let found = engine.forward_sequences(&[Sequence::single(&text)]).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{name}");
        }
    }
}

/// A bias of 1 and products of 1e8, -1e8 and 1 are 1 from first to last, 2 with the bias last and 0 backwards.
#[test]
fn sums_run_from_first_to_last() {
    let mut weights = weights(shape(3, 1, 1), 1);
    weights.embeddings.norm = Norm { gain: vec![0.0; 3], bias: vec![1.0; 3] };
    let layer = &mut weights.layers[0];
    layer.query_key_value = Linear { weights: vec![0.0; 27], bias: vec![0.0; 9] };
    layer.query_key_value.bias[6..].copy_from_slice(&[1e8, -1e8, 1.0]);
    layer.attention_output = Linear { weights: vec![0.0; 9], bias: vec![1.0, 0.0, 0.0] };
    let same = weights.clone();
    weights.layers[0].attention_output.weights[..3].fill(1.0);
    let first_token = [Sequence::single(&[1])];
    let expected = engines(&same)[0].1.forward_sequences(&first_token).unwrap();
    for (name, engine) in engines(&weights) {
        assert_eq!(bits(&engine.forward_sequences(&first_token).unwrap()), bits(&expected), "{name}");
    }
}

/// The bits of one text, as a number that was noted down with [`BITS`]: vectors that are kept on disk are told apart by that.
#[test]
fn other_bits_have_another_number() {
    let text = ids(7, 40);
    let vectors = Encoder::on(weights(shape(48, 3, 96), 2), None)
        .unwrap()
        .forward_sequences(&[Sequence::single(&text)])
        .unwrap();
    let number = bits(&vectors)
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |sum, &bits| (sum ^ u64::from(bits)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(
        (BITS, number),
        (1, 11_787_350_371_196_037_032),
        "raise BITS, and note the number that is found"
    );
}

/// The same transformer in f64 with the same weights.
mod twin {
    use super::super::*;

    fn linear(linear: &Linear, values: &[f64]) -> Vec<f64> {
        let inputs = linear.weights.len() / linear.bias.len();
        let rows = values.chunks_exact(inputs).map(|row| {
            let outputs = linear.weights.chunks_exact(inputs).zip(&linear.bias).map(|(weights, &bias)| {
                let sum: f64 = weights.iter().zip(row).map(|(&w, x)| f64::from(w) * x).sum();
                sum + f64::from(bias)
            });
            outputs.collect::<Vec<f64>>()
        });
        rows.flatten().collect()
    }

    fn norm(norm: &Norm, values: &mut [f64], epsilon: f32) {
        for row in values.chunks_exact_mut(norm.gain.len()) {
            let count = row.len() as f64;
            let mean = row.iter().sum::<f64>() / count;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            for (x, (gain, bias)) in row.iter_mut().zip(norm.gain.iter().zip(&norm.bias)) {
                *x = (*x - mean) / (variance + f64::from(epsilon)).sqrt() * f64::from(*gain)
                    + f64::from(*bias);
            }
        }
    }

    /// By the series of the error function without alternating signs.
    fn gelu(x: f64) -> f64 {
        let u = x / std::f64::consts::SQRT_2;
        let (mut term, mut sum) = (u, u);
        for n in 1..200 {
            term *= 2.0 * u * u / f64::from(2 * n + 1);
            sum += term;
        }
        let erf = 2.0 / std::f64::consts::PI.sqrt() * (-u * u).exp() * sum;
        0.5 * x * (1.0 + if u.abs() < 6.0 { erf } else { u.signum() })
    }

    fn attention(projected: &[f64], width: usize, size: usize) -> Vec<f64> {
        let tokens = projected.len() / (3 * width);
        let mut context = vec![0.0; tokens * width];
        for (row, head) in (0..tokens).flat_map(|row| (0..width / size).map(move |head| (row, head))) {
            let part =
                |row: usize, which: usize| &projected[(3 * row + which) * width + head * size..][..size];
            let dot = |other: usize| part(row, 0).iter().zip(part(other, 1)).map(|(q, k)| q * k).sum::<f64>();
            let weights: Vec<f64> =
                (0..tokens).map(|other| (dot(other) / (size as f64).sqrt()).exp()).collect();
            let total: f64 = weights.iter().sum();
            for element in 0..size {
                let sum: f64 = (0..tokens).map(|other| weights[other] * part(other, 2)[element]).sum();
                context[row * width + head * size + element] = sum / total;
            }
        }
        context
    }

    pub(super) fn forward(weights: &Weights, sequence: Sequence<'_>) -> Vec<f64> {
        let Shape { width, heads, epsilon, .. } = weights.shape;
        let tables = &weights.embeddings;
        let mut hidden = Vec::new();
        for (place, &id) in sequence.ids.iter().enumerate() {
            let segment = usize::from(place >= sequence.second);
            for c in 0..width {
                let row = |table: &[f32], row: usize| f64::from(table[row * width + c]);
                hidden.push(
                    row(&tables.words, id as usize)
                        + row(&tables.positions, place)
                        + row(&tables.segments, segment),
                );
            }
        }
        norm(&tables.norm, &mut hidden, epsilon);
        for layer in &weights.layers {
            let context = attention(&linear(&layer.query_key_value, &hidden), width, width / heads);
            let block = linear(&layer.attention_output, &context);
            hidden.iter_mut().zip(block).for_each(|(x, y)| *x += y);
            norm(&layer.attention_norm, &mut hidden, epsilon);
            let inner: Vec<f64> = linear(&layer.intermediate, &hidden).into_iter().map(gelu).collect();
            let block = linear(&layer.output, &inner);
            hidden.iter_mut().zip(block).for_each(|(x, y)| *x += y);
            norm(&layer.output_norm, &mut hidden, epsilon);
        }
        hidden
    }
}

/// Values after the last layer norm are about 1; two layers of rounding leave some 1e-6 of them.
#[test]
fn the_vectors_are_those_of_a_plain_transformer() {
    for shape in shapes() {
        let weights = weights(shape, 2);
        let text = Sequence { ids: &ids(7, 60), second: 11 };
        let exact = twin::forward(&weights, text);
        let found = Encoder::new(weights, Device::auto()).unwrap().forward_sequences(&[text]).unwrap();
        let differences = found.iter().zip(&exact).map(|(&x, y)| (f64::from(x) - y).abs());
        let worst = differences.fold(0.0, f64::max);
        println!("{shape:?}: at most {worst:e} from f64");
        assert!(worst < 1e-5, "{shape:?}: {worst:e}");
    }
}

#[test]
fn bad_input_is_refused_with_its_numbers() {
    let good = weights(shape(32, 4, 64), 1);
    let refuse = |change: &dyn Fn(&mut Weights)| {
        let mut bad = good.clone();
        change(&mut bad);
        Encoder::new(bad, Device::Scalar).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(refuse(&|w| w.shape.heads = 5), "heads is 5; expected a divisor of the width");
    assert_eq!(refuse(&|w| w.shape.heads = 0), "heads is 0; expected 1 to the width");
    assert_eq!(refuse(&|w| w.shape.width = 0), "width is 0; expected 1 to 2^24");
    assert_eq!(refuse(&|w| w.shape.epsilon = f32::NAN), "epsilon is NaN; expected a number between 0 and 1");
    let words = |w: &mut Weights| w.embeddings.words.truncate(5);
    assert!(refuse(&words).starts_with("word embeddings: 97 rows of 32 columns"));
    let infinite = |w: &mut Weights| w.layers[0].output.bias[3] = f32::INFINITY;
    assert!(refuse(&infinite).starts_with("output: row 3, column 0 is inf"));
    let nan = |w: &mut Weights| w.layers[0].intermediate.weights[33] = f32::NAN;
    assert!(refuse(&nan).starts_with("intermediate: row 1, column 1 is NaN"));
    for (count, rows) in [(5, 1), (33, 2), (0, 1)] {
        let message = refuse(&|w| w.embeddings.segments.truncate(count));
        assert!(message.starts_with(&format!("segment embeddings: {rows} rows of 32 columns")), "{message}");
    }
    let mut single = good.clone();
    single.embeddings.segments.truncate(32);
    let encoder = Encoder::new(single, Device::Scalar).unwrap();
    let pair = |second| encoder.forward_sequences(&[Sequence { ids: &[1, 2, 3], second }]).map(|_| ());
    assert_eq!(pair(3), Ok(()));
    assert!(pair(2).unwrap_err().to_string().starts_with("second segment: 1 rows of 32 columns"));
    assert_eq!(pair(4).unwrap_err().to_string(), "second texts: entry 0 is 4, beyond the 3 tokens");
    let encoder = Encoder::new(good, Device::Scalar).unwrap();
    let refuse = |ids: &[u32]| {
        let texts = [Sequence::single(&[1]), Sequence::single(ids)];
        encoder.forward_sequences(&texts).unwrap_err().to_string()
    };
    assert_eq!(refuse(&[]), "a sequence of token ids is empty: 1 rows of 0 columns");
    assert_eq!(refuse(&[3, 97]), "token ids: entry 1 is 97, beyond the 97 words");
    assert_eq!(refuse(&[3; 601]), "last token of a sequence: entry 1 is 600, beyond the 600 positions");
}

#[test]
fn there_is_no_silent_fall_back() {
    let refused = Encoder::new(weights(shape(32, 4, 64), 1), Device::Cuda).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Device { device: Device::Cuda, .. }));
    let missing = InstructionSet::ALL.into_iter().find(|set| !set.is_available()).unwrap();
    assert!(Encoder::on(weights(shape(32, 4, 64), 1), Some(missing)).is_err());
}
