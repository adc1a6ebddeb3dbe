//! One suite over every device: the same bits everywhere, and close to a plain transformer in f64.

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

fn linear(seed: u64, inputs: usize, outputs: usize, largest: i8) -> Linear {
    let values = floats(seed, inputs * outputs, 1.7 / (inputs as f32).sqrt());
    let (codes, scales) = quantize_rows(&values, inputs, largest);
    let multipliers = (0..inputs).map(|place| 1.0 + 0.5 * noise(seed + 1, place)).collect();
    Linear { codes, scales, bias: floats(seed + 2, outputs, 0.3), multipliers }
}

fn norm(seed: u64, width: usize) -> Norm {
    let gain = (0..width).map(|place| 1.0 + 0.3 * noise(seed, place)).collect();
    Norm { gain, bias: floats(seed + 1, width, 0.2) }
}

fn weights(shape: Shape, layers: usize) -> Weights {
    weights_of(shape, layers, EIGHT_BITS)
}

/// The same with linear maps whose codes go up to `largest`.
fn weights_of(shape: Shape, layers: usize, largest: i8) -> Weights {
    let Shape { vocabulary, positions, width, inner, .. } = shape;
    let (words, word_scales) = quantize_rows(&floats(1, vocabulary * width, 1.0), width, EIGHT_BITS);
    let layer = |index: u64| Layer {
        query_key_value: linear(100 * index + 10, width, 3 * width, largest),
        attention_output: linear(100 * index + 20, width, width, largest),
        attention_norm: norm(100 * index + 30, width),
        intermediate: linear(100 * index + 40, width, inner, largest),
        output: linear(100 * index + 50, inner, width, largest),
        output_norm: norm(100 * index + 60, width),
    };
    Weights {
        shape,
        words,
        word_scales,
        positions: floats(2, positions * width, 0.5),
        second_segment: floats(4, width, 0.5),
        norm: norm(3, width),
        layers: (0..layers as u64).map(layer).collect(),
    }
}

fn shape(width: usize, heads: usize, inner: usize) -> Shape {
    Shape { vocabulary: 97, positions: 512, width, heads, inner, epsilon: 1e-12 }
}

fn ids(seed: u64, length: usize) -> Vec<u32> {
    (0..length).map(|place| ((noise(seed, place) + 1.0) * 48.0) as u32).collect()
}

/// Every way to run an encoder on this machine, the definition first.
fn engines(weights: &Weights) -> Vec<(String, Encoder)> {
    let mut engines = vec![("scalar".to_owned(), Encoder::on(weights.clone(), None).unwrap())];
    let portable = Engine::Vector(simd::portable(weights));
    engines.push((
        "portable".to_owned(),
        Encoder { shape: weights.shape, has_second_segment: true, engine: portable },
    ));
    for set in InstructionSet::all_available() {
        engines.push((set.to_string(), Encoder::on(weights.clone(), Some(set)).unwrap()));
    }
    if weights.are_within(relaxed::MOST) {
        for fused in [false, true] {
            let engine = Engine::Vector(simd::emulated(weights, fused));
            let name = format!("emulated relaxed wasm, fused: {fused}");
            engines.push((name, Encoder { shape: weights.shape, has_second_segment: true, engine }));
        }
    }
    engines
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Sizes that fill registers and tiles, and sizes that leave every kind of remainder. Miri interprets the small
/// ones.
fn shapes() -> Vec<Shape> {
    let shapes = [
        shape(384, 12, 1536),
        shape(32, 4, 64),
        shape(48, 2, 80),
        shape(33, 3, 35),
        shape(7, 1, 5),
        shape(20, 20, 18),
    ];
    shapes.into_iter().filter(|shape| !cfg!(miri) || shape.width < 40).collect()
}

#[test]
fn every_device_gives_the_bits_of_the_definition() {
    let widths = |shape| [EIGHT_BITS, SEVEN_BITS].map(|largest| (shape, weights_of(shape, 2, largest)));
    for (shape, weights) in shapes().into_iter().flat_map(widths) {
        let lengths: &[usize] =
            if shape.width > 100 || cfg!(miri) { &[1, 13, 5] } else { &[1, 2, 13, 24, 31, 33, 130, 12, 257] };
        let texts: Vec<Vec<u32>> = lengths.iter().map(|&length| ids(length as u64, length)).collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let engines = engines(&weights);
        let expected = engines[0].1.forward(&texts).unwrap();
        assert!(expected.iter().all(|value| value.is_finite()));
        for (name, engine) in &engines {
            assert_eq!(bits(&engine.forward(&texts).unwrap()), bits(&expected), "{name}, {shape:?}");
        }
    }
}

/// Second texts that begin anywhere, at the very start and never.
#[test]
fn pairs_have_the_bits_of_the_definition_on_every_device() {
    for shape in shapes() {
        let weights = weights_of(shape, 2, SEVEN_BITS);
        let texts: Vec<Vec<u32>> = [1, 5, 13, 31, 33].map(|length| ids(length as u64, length)).into();
        let seconds = [0, 2, 13, 1, 17];
        let pairs: Vec<Sequence> =
            texts.iter().zip(seconds).map(|(ids, second)| Sequence { ids, second }).collect();
        let engines = engines(&weights);
        let expected = engines[0].1.forward_sequences(&pairs).unwrap();
        for (name, engine) in &engines {
            let found = engine.forward_sequences(&pairs).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{name}, {shape:?}");
        }
        let single: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        assert_ne!(bits(&engines[0].1.forward(&single).unwrap()), bits(&expected), "{shape:?}");
    }
}

#[test]
fn neighbours_order_and_chunks_do_not_matter() {
    let weights = weights_of(shape(32, 4, 64), 2, SEVEN_BITS);
    let texts: Vec<Vec<u32>> = (1..40).map(|length| ids(length as u64, length * 7 % 150 + 1)).collect();
    let packed: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for (name, engine) in engines(&weights) {
        let together = engine.forward(&packed).unwrap();
        let alone: Vec<f32> = packed.iter().flat_map(|text| engine.forward(&[text]).unwrap()).collect();
        assert_eq!(bits(&together), bits(&alone), "{name}");
        assert!(engine.forward(&[]).unwrap().is_empty());
    }
}

/// All rows zero, one logit far above the others, and weights of one sign: the ends of every scale.
#[test]
fn extreme_values_keep_their_bits_and_stay_finite() {
    for largest in [EIGHT_BITS, SEVEN_BITS] {
        extreme_values(largest);
    }
}

fn extreme_values(largest: i8) {
    let mut weights = weights_of(shape(32, 4, 64), 2, largest);
    weights.layers[0].query_key_value.codes.iter_mut().for_each(|code| *code = largest);
    weights.layers[0].query_key_value.bias.iter_mut().for_each(|bias| *bias = 100.0);
    weights.layers[1].query_key_value.codes.iter_mut().for_each(|code| *code = -largest);
    weights.layers[1].intermediate.bias.iter_mut().for_each(|bias| *bias = -1e6);
    weights.norm.gain.iter_mut().for_each(|gain| *gain = 0.0);
    weights.norm.bias.iter_mut().for_each(|bias| *bias = 0.0);
    let text = ids(5, if cfg!(miri) { 17 } else { 512 });
    let engines = engines(&weights);
    let expected = engines[0].1.forward(&[&text]).unwrap();
    assert!(expected.iter().all(|value| value.is_finite()));
    for (name, engine) in &engines {
        assert_eq!(bits(&engine.forward(&[&text]).unwrap()), bits(&expected), "{name}");
    }
}

/// Sums of products of every size of codes and weights, over every remainder of segments, groups, blocks and panels: those
/// that stay within 16 bits, those that do not, and those on the bound. `fill` lays rows of codes out as a block, `segment` says
/// how many inputs a segment has.
fn products_are_exact<D: packed::Product, const R: usize>(
    fill: impl Fn(&[i8], usize, &mut [D::Code]),
    segment: impl Fn(usize) -> usize,
    change: impl Fn(&mut packed::PackedLinear<D>),
) {
    let (rows, outputs) = (R + 1, D::PANEL + 3);
    let check = |codes: &[i8], weights: &[i8], inputs: usize| {
        let packed = packed(weights, inputs, &change);
        check_products::<D, R>(codes, weights, &packed, &fill);
    };
    let draw = |seed, count, most: i8| -> Vec<i8> {
        (0..count)
            .map(|place| (noise(seed, place) * 1.5 * f32::from(most)) as i8)
            .map(|x| x.clamp(-most, most))
            .collect()
    };
    let inputs = if cfg!(miri) { vec![70] } else { vec![1, 4, 7, 31, 32, 33, 39, 40, 41, 200, 384, 1100] };
    for (inputs, (most, largest)) in inputs
        .iter()
        .flat_map(|&inputs| [(127, 63), (127, 3), (9, 63), (60, 30), (1, 1)].map(|sizes| (inputs, sizes)))
    {
        check(&draw(1, rows * inputs, most), &draw(2, outputs * inputs, largest), inputs);
    }
    // Codes that are a multiple of the weights, the largest whose sums 16 bits hold and the next.
    for (inputs, weight) in [(384, 63), (384, 17), (384, -33), (1100, 63), (1100, -9)] {
        let inputs_of_half = segment(inputs) / 2;
        let weights = vec![weight; outputs * inputs];
        let limit = segments::limits(&weights, inputs, D::PANEL, segment(inputs))[0];
        let most = 32767 / (inputs_of_half * usize::from(weight.unsigned_abs()));
        assert!(most < 127, "{most}");
        for code in [most as i8, most as i8 + 1, -(most as i8), -(most as i8) - 1] {
            let squares = inputs_of_half as i32 * i32::from(code) * i32::from(code);
            assert_eq!(squares <= limit, code.unsigned_abs() as usize <= most, "{code}, {weight}");
            check(&vec![code; rows * inputs], &weights, inputs);
        }
    }
}

fn packed<D: packed::Product>(
    weights: &[i8],
    inputs: usize,
    change: impl Fn(&mut packed::PackedLinear<D>),
) -> packed::PackedLinear<D> {
    let outputs = weights.len() / inputs;
    let (codes, multipliers) = (weights.to_vec(), vec![1.0; inputs]);
    let linear = Linear { codes, scales: vec![1.0; outputs], bias: vec![0.0; outputs], multipliers };
    let mut packed = packed::PackedLinear::<D>::new(&linear);
    change(&mut packed);
    packed
}

/// The products of all rows of codes with all weights are those of plain sums.
fn check_products<D: packed::Product, const R: usize>(
    codes: &[i8],
    weights: &[i8],
    packed: &packed::PackedLinear<D>,
    fill: impl Fn(&[i8], usize, &mut [D::Code]),
) {
    use packed::{Aligned, codes_of};
    let inputs = packed.inputs();
    let (rows, outputs) = (codes.len() / inputs, weights.len() / inputs);
    assert!(rows <= 2 * R);
    let mut blocks = Aligned::zeros(codes_of::<D>(2 * R, inputs));
    for (rows, block) in codes.chunks(R * inputs).zip(blocks.chunks_exact_mut(codes_of::<D>(1, inputs))) {
        fill(rows, inputs, block);
    }
    for first in (0..outputs).step_by(D::PANEL) {
        let mut sums = vec![1; 2 * R * D::PANEL];
        // SAFETY: two blocks of rows, and room for their sums; the caller has seen that the instructions are there.
        unsafe {
            let (codes, tile) = (blocks.as_ptr(), packed.tile(first, D::PANEL));
            D::multiply_blocks::<2, R>(codes, 2, packed.groups(), tile, sums.as_mut_ptr(), D::PANEL);
        }
        for (row, output) in
            (0..rows).flat_map(|row| (first..outputs.min(first + D::PANEL)).map(move |o| (row, o)))
        {
            let (a, w) = (&codes[row * inputs..][..inputs], &weights[output * inputs..][..inputs]);
            let expected: i32 = a.iter().zip(w).map(|(&a, &w)| i32::from(a) * i32::from(w)).sum();
            let found = sums[row * D::PANEL + output - first];
            assert_eq!(found, expected, "{inputs} inputs, codes {a:?}, weights {w:?}");
        }
    }
}

#[test]
fn relaxed_products_are_exact() {
    use packed::Product;
    use relaxed::RelaxedQuads as Quads;
    let fill = |rows: &[i8], inputs: usize, block: &mut [i8]| {
        let line = packed::line_of::<Quads>(inputs);
        // What fills up a last group counts for nothing, whatever it is.
        let mut lines = vec![-77; 4 * line];
        for (to, row) in lines.chunks_exact_mut(line).zip(rows.chunks_exact(inputs)) {
            to[..inputs].copy_from_slice(row);
        }
        Quads::interleave(&lines, &mut block[..4 * line]);
        relaxed::take_notes(block, inputs);
    };
    let segment = |inputs| 4 * relaxed::segment(inputs);
    products_are_exact::<Quads, 4>(fill, segment, |_| {});
    products_are_exact::<Quads, 4>(fill, segment, |fused| fused.limits.clear());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn products_of_raised_codes_are_exact() {
    use core::arch::x86_64::{__m256i, __m512i};
    if InstructionSet::Avx2.is_available() {
        products_of_raised_codes::<__m256i, 6>();
    }
    if InstructionSet::Avx512.is_available() {
        products_of_raised_codes::<__m512i, 12>();
    }
}

#[cfg(target_arch = "x86_64")]
fn products_of_raised_codes<V: maddubs::Register, const R: usize>() {
    use maddubs::{Quads, note_squares, of_segment};
    let fill = |rows: &[i8], inputs: usize, block: &mut [u8]| {
        let line = packed::line_of::<Quads<V, R>>(inputs);
        let (codes, notes) = block.split_at_mut(R * line);
        codes.fill(51);
        for (to, row) in codes.chunks_exact_mut(line).zip(rows.chunks_exact(inputs)) {
            to.iter_mut().zip(row).for_each(|(to, &code)| *to = (i32::from(code) + 128) as u8);
            // SAFETY: AVX2 is there.
            unsafe { note_squares(&to[..inputs], notes) };
        }
    };
    products_are_exact::<Quads<V, R>, R>(fill, of_segment, |_| {});
}

/// A row's codes by the definition, and what one of them is worth.
fn defined_codes(row: &[f32], multipliers: &[f32]) -> (Vec<i32>, f32) {
    let scaled: Vec<f32> = row.iter().zip(multipliers).map(|(x, by)| x * by).collect();
    let (inverse, scale) = math::scales(math::largest_magnitude(&scaled), math::CODE_LIMIT);
    (scaled.iter().map(|x| math::round(x * inverse)).collect(), scale)
}

/// A block's codes lie where they belong and are what the definition says, for every remainder of inputs and of rows; what
/// fills it up is zero; and no lane's squares are noted as less than they are.
#[test]
fn relaxed_codes_are_the_definitions() {
    use packed::{Product, codes_of};
    use relaxed::RelaxedQuads as Quads;
    for inputs in [1, 3, 4, 7, 8, 13, 40, 41, 384] {
        let multipliers: Vec<f32> = (0..inputs).map(|input| noise(5, input) + 1.5).collect();
        for count in 1..=4 {
            let mut rows: Vec<f32> = (0..count * inputs).map(|place| noise(6, place) * 7.0).collect();
            rows[..inputs / 2].fill(0.0);
            let mut block = vec![-77; codes_of::<Quads>(4, inputs)];
            let mut scales = vec![-1.0; count];
            // SAFETY: the instructions are emulated.
            unsafe { Quads::quantize_block(&rows, &multipliers, &mut scales, &mut [], &mut block) };
            let code = |row: usize, input: usize| block[(input / 4 * 4 + row) * 4 + input % 4];
            for (row, scale) in scales.iter().enumerate() {
                let (codes, expected) = defined_codes(&rows[row * inputs..][..inputs], &multipliers);
                assert_eq!(*scale, expected, "{inputs} inputs, row {row} of {count}");
                for (input, expected) in codes.into_iter().enumerate() {
                    assert_eq!(i32::from(code(row, input)), expected, "input {input} of {inputs}");
                }
            }
            let line = packed::line_of::<Quads>(inputs);
            for (row, input) in (0..4).flat_map(|row| (0..line).map(move |input| (row, input))) {
                assert!(row < count && input < inputs || code(row, input) == 0, "{row}, {input} of {inputs}");
            }
            let most = &block[4 * line + 16 + 16..][..4];
            let most = i32::from_le_bytes([most[0], most[1], most[2], most[3]].map(|byte| byte as u8));
            let first = inputs.min(4 * relaxed::segment(inputs));
            for (row, pair) in (0..4).flat_map(|row| [(row, 0), (row, 2)]) {
                let lane = (0..first).filter(|input| input % 4 / 2 * 2 == pair);
                let squares: i32 = lane.map(|input| i32::from(code(row, input)).pow(2)).sum();
                assert!(squares <= most, "{squares} are noted as {most}");
            }
        }
    }
}

/// The same of raised codes, row after row; of squares the largest are noted as they are.
#[cfg(target_arch = "x86_64")]
#[test]
fn raised_codes_are_the_definitions() {
    use packed::{Product, codes_of, line_of};
    type Quads = maddubs::Quads<core::arch::x86_64::__m256i, 6>;
    if !InstructionSet::Avx2.is_available() {
        return;
    }
    for (inputs, count) in [1, 3, 4, 7, 16, 31, 33, 48, 384, 1100]
        .into_iter()
        .flat_map(|inputs| (1..=6).map(move |count| (inputs, count)))
    {
        let multipliers: Vec<f32> = (0..inputs).map(|input| noise(5, input) + 1.5).collect();
        let rows: Vec<f32> = (0..count * inputs).map(|place| noise(6, place) * 7.0).collect();
        let mut block = vec![77; codes_of::<Quads>(6, inputs)];
        let mut scales = vec![-1.0; count];
        // SAFETY: AVX2 is there.
        unsafe { Quads::quantize_block(&rows, &multipliers, &mut scales, &mut [], &mut block) };
        let line = line_of::<Quads>(inputs);
        let mut squares = vec![[0i32; 2]; inputs.div_ceil(maddubs::of_segment(inputs)) * count];
        for (row, scale) in scales.iter().enumerate() {
            let (codes, expected) = defined_codes(&rows[row * inputs..][..inputs], &multipliers);
            assert_eq!(*scale, expected, "{inputs} inputs, row {row} of {count}");
            for (input, code) in codes.into_iter().enumerate() {
                assert_eq!(i32::from(block[row * line + input]), code + 128, "input {input} of {inputs}");
                squares[input / maddubs::of_segment(inputs) * count + row][input % 4 / 2] += code * code;
            }
        }
        let noted = block[6 * line..].as_chunks().0.iter().map(|&most| i32::from_ne_bytes(most));
        let largest = squares.chunks(count).map(|rows| rows.iter().flatten().copied().max().unwrap());
        assert_eq!(noted.collect::<Vec<_>>(), largest.collect::<Vec<_>>(), "{inputs} inputs, {count} rows");
    }
}

/// The bound by hand: 40 weights of 63, 20 in a half, bear codes whose squares sum to (32767 / (63 sqrt 20))^2.
#[test]
fn limits_of_sums_in_16_bits() {
    let limits = |weights: &[i8], inputs| segments::limits(weights, inputs, 8, 40);
    assert_eq!(limits(&[63; 40], 40), [32767 * 32767 / (20 * 63 * 63)]);
    assert_eq!(limits(&[0; 41], 41), [32767 * 32767; 2]);
    // Halves take pairs by turns: 1, 1, 3, 3 has squares of 2 and 18, and the second panel is its own.
    let mut rows = vec![0; 9 * 4];
    rows[..4].copy_from_slice(&[1, 1, 3, 3]);
    rows[8 * 4..].copy_from_slice(&[5, 0, 0, 0]);
    assert_eq!(limits(&rows, 4), [32767 * 32767 / 18, 32767 * 32767 / 25]);
}

/// The bits of one text, as a number that was noted down with [`BITS`]: vectors that are kept on disk are told apart by that.
#[test]
fn other_bits_have_another_number() {
    let text = ids(7, 40);
    let vectors =
        Encoder::on(weights_of(shape(48, 3, 96), 2, SEVEN_BITS), None).unwrap().forward(&[&text]).unwrap();
    let number = bits(&vectors)
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |sum, &bits| (sum ^ u64::from(bits)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(
        (BITS, number),
        (1, 16_819_562_590_550_893_460),
        "raise BITS, and note the number that is found"
    );
}

/// The same transformer in f64 with the same weights and nothing quantised.
mod twin {
    use super::super::*;

    fn linear(linear: &Linear, values: &[f64]) -> Vec<f64> {
        let inputs = linear.multipliers.len();
        let rows = values.chunks_exact(inputs).map(|row| {
            let outputs = linear.codes.chunks_exact(inputs).enumerate().map(|(output, codes)| {
                let products = codes.iter().zip(row).zip(&linear.multipliers);
                let sum: f64 = products.map(|((&w, x), &by)| f64::from(w) * x * f64::from(by)).sum();
                sum * f64::from(linear.scales[output]) + f64::from(linear.bias[output])
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

    /// By the tanh form, within 5e-4 of the exact one.
    fn gelu(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
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
        let mut hidden = Vec::new();
        for (place, &id) in sequence.ids.iter().enumerate() {
            let scale = f64::from(weights.word_scales[id as usize]);
            let codes = &weights.words[id as usize * width..][..width];
            let positions = &weights.positions[place * width..][..width];
            let segment =
                |column: usize| if place < sequence.second { 0.0 } else { weights.second_segment[column] };
            let value = |column: usize| {
                f64::from(codes[column]) * scale + f64::from(positions[column]) + f64::from(segment(column))
            };
            hidden.extend((0..width).map(value));
        }
        norm(&weights.norm, &mut hidden, epsilon);
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

#[test]
fn the_vectors_are_those_of_a_plain_transformer_up_to_quantisation() {
    for shape in shapes() {
        let weights = weights(shape, 2);
        let text = Sequence { ids: &ids(7, 60), second: 11 };
        let exact = twin::forward(&weights, text);
        let found = Encoder::new(weights, Device::auto()).unwrap().forward_sequences(&[text]).unwrap();
        let pairs = || found.iter().map(|&x| f64::from(x)).zip(&exact);
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        let norms = pairs().fold((0.0, 0.0), |(a2, b2), (a, b)| (a2 + a * a, b2 + b * b));
        let loss = 1.0 - dot / (norms.0 * norms.1).sqrt();
        assert!(loss < 1e-3, "{shape:?}: the cosine to f64 is 1 - {loss:e}");
        assert!((norms.0 / norms.1 - 1.0).abs() < 1e-2, "{shape:?}: {norms:?}");
    }
}

#[test]
fn quantised_rows_are_within_half_a_step() {
    let values = [0.0, 0.0, 0.0, 1.0, -2.0, 0.5, 1e-38, 0.0, -1e-38];
    let (codes, scales) = quantize_rows(&values, 3, EIGHT_BITS);
    assert_eq!(codes, [0, 0, 0, 64, -127, 32, 0, 0, 0]);
    assert_eq!(scales, [0.0, 2.0 / 127.0, 0.0]);
    let values = floats(9, 1000, 3.0);
    let (codes, scales) = quantize_rows(&values, 40, EIGHT_BITS);
    for (place, (value, &code)) in values.iter().zip(&codes).enumerate() {
        let scale = scales[place / 40];
        assert!((value - f32::from(code) * scale).abs() <= scale * 0.500_01);
    }
}

/// The rows of every map, in the order of the tokens, are those of the plain loops.
#[test]
fn what_goes_into_the_maps_is_the_same_everywhere() {
    let weights = weights(shape(32, 4, 64), 2);
    let texts = [ids(1, 9), ids(2, 70), ids(3, 130)];
    let sequences: Vec<Sequence> = texts.iter().map(|ids| Sequence::single(ids)).collect();
    let inputs = |engine: &Encoder| {
        let mut rows = vec![Vec::new(); 8];
        let look = &mut |layer: usize, map: Map, values: &[f32]| {
            rows[4 * layer + map as usize].extend_from_slice(values)
        };
        engine.watch_inputs(&sequences, look).unwrap();
        rows
    };
    let plain = Encoder::on(weights.clone(), None).unwrap();
    let expected = inputs(&plain);
    let tokens: usize = texts.iter().map(Vec::len).sum();
    let widths: Vec<usize> = expected.iter().map(|rows| rows.len() / tokens).collect();
    assert_eq!(widths, [32, 32, 32, 64, 32, 32, 32, 64]);
    for (name, engine) in engines(&weights) {
        assert!(inputs(&engine) == expected, "{name}");
    }
    // What goes into a layer is what an encoder without that layer gives.
    for layer in 0..2 {
        let mut shorter = weights.clone();
        shorter.layers.truncate(layer);
        let shorter = Encoder::on(shorter, None).unwrap();
        assert_eq!(shorter.forward_sequences(&sequences).unwrap(), expected[4 * layer], "layer {layer}");
    }
    // After GELU nothing is below its least value.
    assert!(expected[3].iter().chain(&expected[7]).all(|&x| x > -0.171));
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
    assert_eq!(refuse(&|w| w.shape.positions = 513), "positions is 513; expected 1 to 512");
    assert_eq!(refuse(&|w| w.shape.epsilon = f32::NAN), "epsilon is NaN; expected a number between 0 and 1");
    assert!(refuse(&|w| w.words.truncate(5)).starts_with("word embeddings: 97 rows of 32 columns"));
    assert!(
        refuse(&|w| w.layers[0].output.scales[3] = f32::INFINITY)
            .starts_with("output: row 3, column 0 is inf")
    );
    assert!(refuse(&|w| w.layers[0].output.codes[3] = -128).starts_with("output is -128"));
    assert!(refuse(&|w| w.second_segment.truncate(5)).starts_with("second segment: 1 rows of 32 columns"));
    let single = Weights { second_segment: Vec::new(), ..good.clone() };
    let encoder = Encoder::new(single, Device::Scalar).unwrap();
    let pair = |second| encoder.forward_sequences(&[Sequence { ids: &[1, 2, 3], second }]).map(|_| ());
    assert_eq!(pair(3), Ok(()));
    assert!(pair(2).unwrap_err().to_string().starts_with("second segment: 1 rows of 32 columns"));
    assert_eq!(pair(4).unwrap_err().to_string(), "second texts: entry 0 is 4, beyond the 3 tokens");
    let encoder = Encoder::new(good, Device::Scalar).unwrap();
    let refuse = |ids: &[u32]| encoder.forward(&[&[1], ids]).unwrap_err().to_string();
    assert_eq!(refuse(&[]), "a sequence of token ids is empty: 1 rows of 0 columns");
    assert_eq!(refuse(&[3, 97]), "token ids: entry 1 is 97, beyond the 97 words");
    assert_eq!(refuse(&[3; 513]), "last token of a sequence: entry 1 is 512, beyond the 512 positions");
}

#[test]
fn there_is_no_silent_fall_back() {
    let refused = Encoder::new(weights(shape(32, 4, 64), 1), Device::Cuda).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Device { device: Device::Cuda, .. }));
    let missing = InstructionSet::ALL.into_iter().find(|set| !set.is_available()).unwrap();
    assert!(Encoder::on(weights(shape(32, 4, 64), 1), Some(missing)).is_err());
}
