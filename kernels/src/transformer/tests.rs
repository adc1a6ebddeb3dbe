//! Every kernel on a GPU or its simulator against [`super::scalar`], over both precisions.
//!
//! What goes in is rounded to the precision first, so what comes out is off by the kernel's own arithmetic and by one
//! rounding where it is stored.

#![allow(clippy::unwrap_used)]

use half::bf16;

use super::blas::{Product, Side};
use super::dropout::{Dropout, Site};
use super::operations::{Heads, Memory, NormAt, Normed, Operations, Tables};
use super::packed::{Group, Packed, Scatter, padded};
use super::pool::Room;
use super::{Precision, Text, Update, scalar};
use crate::cuda::{Argument, Buffer, gpu};
use crate::device::Device;

/// Runs a test in both precisions where there is a device.
fn on_the_gpu(test: impl Fn(&Operations)) {
    if Device::Cuda.available().is_err() {
        return;
    }
    for precision in [Precision::F32, Precision::Bf16] {
        test(&Operations::open(gpu().unwrap(), precision).unwrap());
    }
}

fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

impl Operations {
    /// Values as the device will have them.
    fn rounded(&self, values: Vec<f32>) -> Vec<f32> {
        match self.precision {
            Precision::F32 => values,
            Precision::Bf16 => values.into_iter().map(|value| bf16::from_f32(value).to_f32()).collect(),
        }
    }

    fn put(&self, values: &[f32]) -> Buffer<u8> {
        let bytes: Vec<u8> = match self.precision {
            Precision::F32 => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Precision::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_ne_bytes()).collect(),
        };
        self.gpu.upload(&bytes).unwrap()
    }

    fn narrow(&self, bytes: &[u8]) -> Vec<f32> {
        match self.precision {
            Precision::F32 => {
                bytes.as_chunks::<4>().0.iter().map(|value| f32::from_ne_bytes(*value)).collect()
            }
            Precision::Bf16 => {
                bytes.as_chunks::<2>().0.iter().map(|value| bf16::from_ne_bytes(*value).to_f32()).collect()
            }
        }
    }

    fn get(&self, buffer: &Buffer<u8>, count: usize) -> Vec<f32> {
        self.narrow(&self.gpu.download(buffer, count * self.size()).unwrap())
    }

    fn of_room(&self, room: &Room, count: usize) -> Vec<f32> {
        self.narrow(&room.bytes(count * self.size()).unwrap())
    }

    fn room_of(&self, values: &[f32]) -> Room {
        let bytes = self.gpu.download(&self.put(values), values.len() * self.size()).unwrap();
        Room::of(&self.pool, &bytes).unwrap()
    }

    fn floats_of(&self, values: &[f32]) -> Room {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        Room::of(&self.pool, &bytes).unwrap()
    }

    /// What one rounding may cost, relative.
    fn unit(&self) -> f64 {
        match self.precision {
            Precision::F32 => 4e-6,
            Precision::Bf16 => 1.0 / 250.0,
        }
    }

    #[track_caller]
    fn close(&self, what: &str, found: &[f32], truth: &[f64]) {
        close(what, found, truth, self.unit());
    }
}

/// Each value within `unit` of itself, and within a thousandth of that of the largest.
#[track_caller]
fn close(what: &str, found: &[f32], truth: &[f64], unit: f64) {
    assert_eq!(found.len(), truth.len(), "{what}");
    let largest = truth.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    for (at, (found, truth)) in found.iter().zip(truth).enumerate() {
        let off = (f64::from(*found) - truth).abs();
        let allowed = unit * truth.abs() + 2e-6 * largest + 1e-3 * unit * largest;
        assert!(off <= allowed, "{what}, value {at}: {found} {truth}");
    }
}

const LENGTHS: [usize; 5] = [1, 5, 17, 16, 70];

/// Texts of these lengths; the last is a pair.
fn texts(ids: &[u32]) -> Vec<Text<'_>> {
    let mut first = 0;
    let text = |(number, length): (usize, &usize)| {
        let ids = &ids[first..first + length];
        first += length;
        let second = if number == 4 { 40 } else { *length };
        Text { ids, second, key: 0x1_0000_0000 * number as u64 + 7 }
    };
    LENGTHS.iter().enumerate().map(text).collect()
}

fn tokens() -> usize {
    LENGTHS.iter().sum()
}

fn ids() -> Vec<u32> {
    (0..tokens() as u32).map(|token| token * 7 % 11).collect()
}

/// Text, its key and the place of each token.
fn names() -> Vec<(usize, u64, usize)> {
    let name = |(text, &length): (usize, &usize)| {
        (0..length).map(move |place| (text, 0x1_0000_0000 * text as u64 + 7, place))
    };
    LENGTHS.iter().enumerate().flat_map(name).collect()
}

fn masks() -> [Option<Dropout>; 2] {
    [None, Some(Dropout { key: 0xfeed_0000_1234, threshold: 1 << 30, scale: 4.0 / 3.0 })]
}

fn packed(o: &Operations, ids: &[u32], masks: Option<Dropout>) -> Packed {
    Packed::upload(o.gpu, &texts(ids), &noise(99, tokens()), 3, masks).unwrap()
}

/// A norm's tensors on the device and on the host.
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    device: (Buffer<f32>, Buffer<f32>),
}

impl Norm {
    fn new(o: &Operations, width: usize) -> Norm {
        let (weight, bias) = (noise(5, width), noise(6, width));
        let device = (o.gpu.upload(&weight).unwrap(), o.gpu.upload(&bias).unwrap());
        Norm { weight, bias, device }
    }

    fn at(&self) -> NormAt {
        NormAt { weight: self.device.0.first(), bias: self.device.1.first(), epsilon: 1e-5 }
    }

    /// The output of stored standard forms.
    fn scaled(&self, standard: &[f32]) -> Vec<f64> {
        let (weight, bias) = (wide(&self.weight), wide(&self.bias));
        standard.chunks(self.weight.len()).flat_map(|row| scalar::scale(&wide(row), &weight, &bias)).collect()
    }
}

/// `values` times what stays of them at `site`.
fn masked(values: &[f64], site: Site, masks: Option<Dropout>, width: usize) -> Vec<f64> {
    let names = names();
    let value = |(at, value): (usize, &f64)| {
        let (_, key, place) = names[at / width];
        value * scalar::kept(masks, site, key, place as u64, at % width)
    };
    values.iter().enumerate().map(value).collect()
}

#[track_caller]
fn check_normed(o: &Operations, what: &str, normed: &Normed, sums: &[f64], width: usize) {
    let rows: Vec<_> = sums.chunks(width).map(|row| scalar::standardize(row, 1e-5)).collect();
    let standard: Vec<f64> = rows.iter().flat_map(|(row, _)| row.clone()).collect();
    let inverse: Vec<f64> = rows.iter().map(|(_, inverse)| *inverse).collect();
    o.close(&format!("{what}, standard"), &o.of_room(&normed.standard, sums.len()), &standard);
    close(&format!("{what}, inverse"), &normed.inverse.floats(inverse.len()).unwrap(), &inverse, 1e-5);
}

#[test]
fn embeddings_and_norms_on_the_gpu() {
    on_the_gpu(|o| {
        for (width, masks) in [(24, masks()[0]), (33, masks()[1]), (1, masks()[0]), (70, masks()[1])] {
            let (ids, count) = (ids(), tokens() * width);
            let p = packed(o, &ids, masks);
            let (words, places, types) = (noise(1, 11 * width), noise(2, 70 * width), noise(3, 2 * width));
            let device = [&words, &places, &types].map(|table| o.gpu.upload(table).unwrap());
            let norm = Norm::new(o, width);
            let [words_at, positions, segments] = [0, 1, 2].map(|at: usize| device[at].first());
            let tables = Tables { words: words_at, positions, segments };
            // SAFETY: tables of 11 words, 70 places and 2 segments.
            let (normed, hidden) = unsafe { o.embed(&p, tables, norm.at(), width) }.unwrap();
            let sum = |(token, &(text, _, place)): (usize, &(usize, u64, usize))| {
                let segment = usize::from(text == 4 && place >= 40);
                let row = |table: &[f32], at: usize| wide(&table[at * width..][..width]);
                let parts = [row(&words, ids[token] as usize), row(&places, place), row(&types, segment)];
                (0..width).map(|c| parts.iter().map(|part| part[c]).sum()).collect::<Vec<f64>>()
            };
            let sums: Vec<f64> = names().iter().enumerate().flat_map(sum).collect();
            if width > 1 {
                check_normed(o, "embeddings", &normed, &sums, width);
            }
            let standard = o.of_room(&normed.standard, count);
            let scaled = masked(&norm.scaled(&standard), Site::Embeddings, masks, width);
            let found = o.of_room(&hidden, count);
            o.close("embedded", &found, &scaled);
            // SAFETY: the standard forms of these tokens.
            let again = unsafe { o.scale(&p, &normed, norm.at(), width, masks) }.unwrap();
            assert_eq!(o.of_room(&again, count), found, "the same bits, worked out again");

            let (raw, residual) = (o.rounded(noise(11, count)), o.rounded(noise(12, count)));
            let (raw_at, residual_at) = (o.put(&raw), o.put(&residual));
            let bias = noise(13, width);
            let bias_at = o.gpu.upload(&bias).unwrap();
            let three = (raw_at.first(), bias_at.first(), residual_at.first());
            // SAFETY: a row of each for each token.
            let (normed, hidden) =
                unsafe { o.add_norm(&p, Site::Attention(1), three, norm.at(), width) }.unwrap();
            let mapped: Vec<f64> = raw
                .iter()
                .enumerate()
                .map(|(at, raw)| f64::from(*raw) + f64::from(bias[at % width]))
                .collect();
            let mapped = masked(&mapped, Site::Attention(1), masks, width);
            let sums: Vec<f64> = mapped.iter().zip(&residual).map(|(a, b)| a + f64::from(*b)).collect();
            if width > 1 {
                check_normed(o, "map and residual", &normed, &sums, width);
            }
            let scaled = norm.scaled(&o.of_room(&normed.standard, count));
            o.close("map and residual", &o.of_room(&hidden, count), &scaled);
        }
    });
}

#[test]
fn masks_on_the_gpu() {
    on_the_gpu(|o| {
        let (width, ids) = (33, ids());
        let p = packed(o, &ids, masks()[1]);
        let values = o.rounded(noise(21, tokens() * width));
        let (from, to) = (o.put(&values), o.put(&vec![0.0; values.len()]));
        // SAFETY: a row of each for each token.
        unsafe { o.mask(&p, Site::AttentionOutput(0), from.first(), to.first(), width) }.unwrap();
        let truth = masked(&wide(&values), Site::AttentionOutput(0), masks()[1], width);
        let found = o.get(&to, values.len());
        o.close("masked", &found, &truth);
        let fallen = found.iter().filter(|value| **value == 0.0).count() as f64 / found.len() as f64;
        assert!((fallen - 0.25).abs() < 0.03, "{fallen}");
    });
}

#[test]
fn norms_and_sums_backward_on_the_gpu() {
    on_the_gpu(|o| {
        for (rows, width) in [(1, 5), (63, 40), (64, 33), (300, 257)] {
            let count = rows * width;
            let slope = o.rounded(noise(31, count));
            let standard = o.rounded(noise(32, count));
            let (inverse, weight) = (noise(33, rows), noise(34, width));
            let normed = Normed { standard: o.room_of(&standard), inverse: o.floats_of(&inverse) };
            let (slope_at, weight_at) = (o.put(&slope), o.gpu.upload(&weight).unwrap());
            let gradient = noise(35, width);
            for right in [None, Some(&standard)] {
                let sums_at = o.gpu.upload(&gradient).unwrap();
                let standard_at = right.map(|_| normed.standard.first());
                // SAFETY: both are `[rows x width]`.
                unsafe { o.add_column_sums(slope_at.first(), standard_at, (rows, width), sums_at.first()) }
                    .unwrap();
                let sums =
                    scalar::column_sums(&wide(&slope), right.map(|right| wide(right)).as_deref(), width);
                let truth: Vec<f64> =
                    sums.iter().zip(&gradient).map(|(sum, old)| sum + f64::from(*old)).collect();
                close("column sums", &o.gpu.download(&sums_at, width).unwrap(), &truth, 1e-5);
            }
            // SAFETY: rows of `width` values.
            unsafe { o.norm_backward(slope_at.first(), &normed, weight_at.first(), rows, width) }.unwrap();
            let weight = wide(&weight);
            let row = |row: usize| {
                let of = |values: &[f32]| wide(&values[row * width..][..width]);
                scalar::norm_backward(&of(&slope), &of(&standard), f64::from(inverse[row]), &weight)
            };
            let truth: Vec<f64> = (0..rows).flat_map(row).collect();
            o.close("norm backward", &o.get(&slope_at, count), &truth);
        }
    });
}

#[test]
fn gelu_on_the_gpu() {
    on_the_gpu(|o| {
        let (rows, columns) = (7, 301);
        let raw = o.rounded(noise(41, rows * columns).into_iter().map(|x| 6.0 * x).collect());
        let (bias, slope) = (noise(42, columns), o.rounded(noise(43, rows * columns)));
        let (raw_at, slope_at) = (o.put(&raw), o.put(&slope));
        let bias_at = o.gpu.upload(&bias).unwrap();
        let x = |at: usize| f64::from(raw[at] + bias[at % columns]);
        let values: Vec<f64> = (0..raw.len()).map(|at| scalar::gelu(x(at)).0).collect();
        let slopes: Vec<f64> =
            (0..raw.len()).map(|at| scalar::gelu(x(at)).1 * f64::from(slope[at])).collect();
        // SAFETY: `[rows x columns]` throughout.
        let (forward, again) = unsafe {
            let forward = o.gelu(raw_at.first(), bias_at.first(), rows, columns).unwrap();
            let backward = o.gelu_backward(raw_at.first(), bias_at.first(), slope_at.first(), rows, columns);
            (o.of_room(&forward, raw.len()), o.of_room(&backward.unwrap(), raw.len()))
        };
        o.close("gelu", &forward, &values);
        assert_eq!(forward, again, "the same bits, worked out again");
        o.close("gelu backward", &o.get(&slope_at, raw.len()), &slopes);
    });
}

#[test]
fn heads_split_and_merged_on_the_gpu() {
    on_the_gpu(|o| {
        let (ids, heads) = (ids(), Heads { count: 3, width: 5 });
        let p = packed(o, &ids, None);
        let covered: usize = p.groups.iter().map(|group| group.texts).sum();
        assert_eq!((covered, p.groups.len()), (5, 4), "{:?}", p.groups);
        for parts in [1, 3] {
            let row = parts * 15;
            let (rows, bias) = (o.rounded(noise(51, tokens() * row)), noise(52, row));
            let (rows_at, bias_at) = (o.put(&rows), o.gpu.upload(&bias).unwrap());
            let back = o.put(&vec![7.0; rows.len()]);
            for &group in &p.groups {
                // SAFETY: rows of `parts` times 15 values.
                let split = unsafe {
                    o.split_heads(&p, group, heads, parts, (rows_at.first(), Some(bias_at.first())))
                };
                let found = o.of_room(split.as_ref().unwrap(), group.texts * group.padded * row);
                let value = |at: usize| {
                    let (place, column) = (at / 5 % group.padded, at % 5);
                    let matrix = at / 5 / group.padded;
                    let (part, text, head) = (matrix / 3 / group.texts, matrix / 3 % group.texts, matrix % 3);
                    let text = group.first + text;
                    let token = LENGTHS[..text].iter().sum::<usize>() + place;
                    let column = part * 15 + head * 5 + column;
                    let inside = place < LENGTHS[text];
                    if inside { f64::from(rows[token * row + column] + bias[column]) } else { 0.0 }
                };
                o.close("split", &found, &(0..found.len()).map(value).collect::<Vec<_>>());
                // SAFETY: as above.
                let plain =
                    unsafe { o.split_heads(&p, group, heads, parts, (rows_at.first(), None)) }.unwrap();
                // SAFETY: as above.
                unsafe { o.merge_heads(&p, group, heads, parts, (plain.first(), back.first())) }.unwrap();
            }
            assert_eq!(o.get(&back, rows.len()), rows);
        }
    });
}

#[test]
fn softmax_on_the_gpu() {
    on_the_gpu(|o| {
        let ids = ids();
        for masks in masks() {
            let p = packed(o, &ids, masks);
            let heads = 3;
            let log_sums = o.floats(tokens() * heads).unwrap();
            for &group in &p.groups {
                let count = group.texts * heads * group.padded * group.padded;
                let scores: Vec<f32> = noise(61, count).into_iter().map(|score| 4.0 * score + 30.0).collect();
                let slopes = noise(62, count);
                let (scores_at, slopes_at) = (o.gpu.upload(&scores).unwrap(), o.gpu.upload(&slopes).unwrap());
                let site = Site::Attention(1);
                let run = |fresh| {
                    let three = (scores_at.first(), log_sums.first(), fresh);
                    // SAFETY: squares for each text and head.
                    o.of_room(&unsafe { o.softmax(&p, group, heads, site, three) }.unwrap(), count)
                };
                let weights = run(true);
                let three = (scores_at.first(), log_sums.first(), slopes_at.first());
                // SAFETY: squares for each text and head.
                let back = unsafe { o.softmax_backward(&p, group, heads, site, three) }.unwrap();
                let (truth, truth_back) = attention_rows(group, heads, &scores, &slopes, masks, site);
                close("softmax", &weights, &truth, o.unit().max(2e-5));
                close("softmax, from its logarithms", &run(false), &truth, o.unit().max(2e-5));
                close("softmax backward", &o.of_room(&back, count), &truth_back, o.unit().max(4e-5));
            }
        }
    });
}

/// Masked weights and slopes of scores, zeros beyond the texts' ends.
fn attention_rows(
    group: Group,
    heads: usize,
    scores: &[f32],
    slopes: &[f32],
    masks: Option<Dropout>,
    site: Site,
) -> (Vec<f64>, Vec<f64>) {
    let (mut all, mut all_back) = (Vec::new(), Vec::new());
    let rows = scores.chunks(group.padded).zip(slopes.chunks(group.padded));
    for (at, (scores, slopes)) in rows.enumerate() {
        let (text, head, row) =
            (group.first + at / group.padded / heads, at / group.padded % heads, at % group.padded);
        let length = if row < LENGTHS[text] { LENGTHS[text] } else { 0 };
        let key = 0x1_0000_0000 * text as u64 + 7;
        let kept = |c| scalar::kept(masks, site, key, (head * LENGTHS[text] + row) as u64, c);
        let (weights, _) = scalar::softmax(&wide(&scores[..length]));
        let slopes: Vec<f64> = (0..length).map(|c| f64::from(slopes[c]) * kept(c)).collect();
        let zeros = vec![0.0; group.padded - length];
        all.extend(
            weights.iter().enumerate().map(|(c, weight)| weight * kept(c)).chain(zeros.iter().copied()),
        );
        all_back.extend(scalar::softmax_backward(&weights, &slopes).into_iter().chain(zeros));
    }
    (all, all_back)
}

#[test]
fn pooling_and_scattering_on_the_gpu() {
    on_the_gpu(|o| {
        let (ids, width, weights) = (ids(), 41, noise(99, tokens()));
        let p = packed(o, &ids, None);
        let hidden = o.rounded(noise(71, tokens() * width));
        let hidden_at = o.put(&hidden);
        // SAFETY: a row for each token.
        let pooled = unsafe { o.pool(&p, hidden_at.first(), width) }.unwrap().floats(5 * width).unwrap();
        let mut truth = vec![0.0; 5 * width];
        for (token, (text, _, _)) in names().into_iter().enumerate() {
            for c in 0..width {
                truth[text * width + c] += f64::from(weights[token]) * f64::from(hidden[token * width + c]);
            }
        }
        close("pooled", &pooled, &truth, 1e-5);
        let slopes = noise(72, 5 * width);
        let slopes_at = o.gpu.upload(&slopes).unwrap();
        // SAFETY: a row for each text.
        let spread = unsafe { o.spread(&p, slopes_at.first(), width) }.unwrap();
        let of = |at: usize| {
            let (text, _, _) = names()[at / width];
            f64::from(weights[at / width]) * f64::from(slopes[text * width + at % width])
        };
        o.close("spread", &o.of_room(&spread, hidden.len()), &(0..hidden.len()).map(of).collect::<Vec<_>>());

        // Rows that nobody took, one that all took, and some.
        for (rows, row_of) in [(13, ids.clone()), (2, vec![1; tokens()]), (90, p.places.clone())] {
            let scatter = Scatter::new(&row_of);
            let old = noise(73, rows * width);
            let gradient = o.gpu.upload(&old).unwrap();
            // SAFETY: every target is a row.
            unsafe { o.scatter(&scatter, hidden_at.first(), width, gradient.first()) }.unwrap();
            let mut truth = wide(&old);
            for (token, &row) in row_of.iter().enumerate() {
                for c in 0..width {
                    truth[row as usize * width + c] += f64::from(hidden[token * width + c]);
                }
            }
            close("scattered", &o.gpu.download(&gradient, old.len()).unwrap(), &truth, 1e-5);
        }
    });
}

#[test]
fn adamw_and_lengths_on_the_gpu() {
    on_the_gpu(|o| {
        let count = 40_001;
        let (values, gradients) = (noise(81, count), noise(82, count));
        let device: Vec<_> = (0..4).map(|at| o.gpu.upload(&noise(81 + at, count)).unwrap()).collect();
        // SAFETY: so many values.
        let found = unsafe { o.square_sum(device[1].first(), count) }.unwrap();
        let truth: f64 = wide(&gradients).iter().map(|x| x * x).sum();
        assert!((found / truth - 1.0).abs() < 1e-12, "{found} {truth}");

        // Two spans, of two updates; what lies between them stays.
        let update = |rate, keep| Update {
            keep,
            mean_share: 0.1,
            square_keep: 0.999,
            square_share: 0.001,
            rate,
            inverse_root: 3.0,
            epsilon: 1e-6,
            factor: 0.5,
        };
        let updates = [update(0.01, 0.9), update(0.1, 1.0)];
        let numbers = |u: &Update| {
            [u.keep, u.mean_share, u.square_keep, u.square_share, u.rate, u.inverse_root, u.epsilon, u.factor]
        };
        let constants = o.gpu.upload(&updates.iter().flat_map(numbers).collect::<Vec<_>>()).unwrap();
        let spans = o.gpu.upload(&[0u32, 64, 300, 0, 1000, 0, 7, 1]).unwrap();
        let squares: Vec<f32> = noise(84, count).iter().map(|square| square.abs()).collect();
        let squares_at = o.gpu.upload(&squares).unwrap();
        let copies = o.put(&vec![9.0; count]);
        let memory = Memory {
            spans: spans.first(),
            constants: constants.first(),
            gradients: device[1].first(),
            values: device[0].first(),
            means: device[2].first(),
            squares: squares_at.first(),
            copies: copies.first(),
        };
        // SAFETY: the spans lie within the arrays.
        unsafe { o.adamw(2, memory) }.unwrap();
        let (mut truth, mut means) = (wide(&values), wide(&noise(83, count)));
        for (first, moment, length, class) in [(0, 64, 300, 0), (1000, 0, 7, 1)] {
            for i in 0..length {
                let old = [truth[first + i], means[moment + i], f64::from(squares[moment + i])];
                let gradient = f64::from(gradients[moment + i]);
                [truth[first + i], means[moment + i], _] = scalar::adamw(old, gradient, &updates[class]);
            }
        }
        close("values", &o.gpu.download(&device[0], count).unwrap(), &truth, 1e-5);
        close("means", &o.gpu.download(&device[2], count).unwrap(), &means, 1e-5);
        let found = o.get(&copies, count);
        o.close("copies", &found[..300], &truth[..300]);
        assert!(found[300..1000].iter().chain(&found[1007..]).all(|value| *value == 9.0));
        // SAFETY: so many values.
        unsafe { o.round(device[0].first(), count, copies.first()) }.unwrap();
        o.close("rounded", &o.get(&copies, count), &truth);
    });
}

#[test]
fn products_on_the_gpu() {
    on_the_gpu(|o| {
        for (rows, columns, depth, batch) in [(1, 1, 1, 1), (5, 7, 3, 2), (16, 40, 33, 3)] {
            let left = o.rounded(noise(91, batch * rows * depth));
            let right = o.rounded(noise(92, batch * depth * columns));
            let (left_at, right_at) = (o.put(&left), o.put(&right));
            for (of_left, of_right) in [(false, false), (false, true), (true, false), (true, true)] {
                let side = |at: Argument, lines, line, transposed: bool| {
                    let plain = Side::rows(at, if transposed { lines } else { line }).every(lines * line);
                    if transposed { plain.transposed() } else { plain }
                };
                let a = side(left_at.first(), rows, depth, of_left);
                let b = side(right_at.first(), depth, columns, of_right);
                let out = o.gpu.upload(&vec![0.5f32; batch * rows * columns]).unwrap();
                let c = Side::rows(out.first(), columns).every(rows * columns);
                let product = Product::one(a, b, c, (rows, columns, depth)).wide().added().times(0.25);
                // SAFETY: matrices of these sizes.
                unsafe { o.multiply(product.batch(batch)) }.unwrap();
                let value = |at: usize| {
                    let (matrix, row, column) = (at / columns / rows, at / columns % rows, at % columns);
                    let read = |values: &[f32], lines: usize, line: usize, swapped, r: usize, c: usize| {
                        let inside = if swapped { c * lines + r } else { r * line + c };
                        f64::from(values[matrix * lines * line + inside])
                    };
                    let of = scalar::product(
                        |r, k| read(&left, rows, depth, of_left, r, k),
                        |k, c| read(&right, depth, columns, of_right, k, c),
                        depth,
                        (row, column),
                    );
                    0.5 + 0.25 * of
                };
                let truth: Vec<f64> = (0..batch * rows * columns).map(value).collect();
                close("product", &o.gpu.download(&out, truth.len()).unwrap(), &truth, 1e-5);
            }
        }
    });
}

#[test]
fn texts_are_padded_by_little() {
    for length in 1..=512 {
        let to = padded(length);
        let less_than = if length <= 64 {
            16
        } else if length <= 256 {
            32
        } else {
            64
        };
        assert!(to >= length && to.is_multiple_of(16) && to - length < less_than, "{length} {to}");
    }
}
