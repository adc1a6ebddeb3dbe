//! The forward path on vector instructions: every text of a chunk at once through the linear maps, attention text by text,
//! the float steps of `math.rs` inlined and compiled for the instruction set at hand.
//!
//! ```text
//! for each panel of outputs (2 registers; 48 KiB of weights at 384 inputs, from the second-level cache):
//!   for each few rows (12 with AVX-512, 6 with AVX2, 4 elsewhere): the register tile
//! ```
//!
//! The register tile reads a panel straight through, one input of all its outputs after the other, and multiplies it with
//! one value of each row in every lane. Keys and values of a head are packed as weights are, so attention's two products are
//! the same routine: tokens are the outputs of the first, a head's elements those of the second.

use super::super::math;
use super::super::packed::Aligned;
use super::super::simd::{chunks, length};
use super::{Embeddings, Layer, Linear, Norm, Sequence, Shape, Weights};
use crate::device::InstructionSet;
use crate::vector::{Vector, for_each_set, lanes};

/// Registers in a panel's width. WebAssembly's eight lanes are two registers themselves.
const REGISTERS: usize = if cfg!(target_arch = "wasm32") { 1 } else { 2 };
/// The widest panel.
const MAX_PANEL: usize = 32;
/// The most rows of a register tile.
const MAX_ROWS: usize = 12;
/// Rows that go through the feed-forward block together: 576 KiB between its two maps at 1,536 values.
const INNER_ROWS: usize = 96;

/// An encoder laid out for an instruction set.
pub(super) struct Packed {
    set: Option<InstructionSet>,
    shape: Shape,
    embeddings: Embeddings,
    layers: Vec<PackedLayer>,
}

struct PackedLayer {
    query_key_value: PackedLinear,
    attention_output: PackedLinear,
    attention_norm: Norm,
    intermediate: PackedLinear,
    output: PackedLinear,
    output_norm: Norm,
}

/// A linear map in panels: weight `(o, i)` lies at `(o / panel * inputs + i) * panel + o % panel`, zeros where the last panel
/// has no output.
struct PackedLinear {
    panels: Aligned<f32>,
    /// Filled up with zeros.
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

/// Buffers of one chunk.
struct Scratch {
    projected: Vec<f32>,
    context: Vec<f32>,
    inner: Vec<f32>,
    block: Vec<f32>,
    head: Head,
}

/// Buffers of attention for one head of one text.
struct Head {
    /// Keys, packed: tokens are the outputs, a head's elements the inputs.
    keys: Aligned<f32>,
    /// Values, packed: a head's elements are the outputs, tokens the inputs.
    values: Aligned<f32>,
    /// A row block of logits, then of softmax's numerators.
    logits: Aligned<f32>,
}

impl PackedLinear {
    fn new(linear: &Linear, panel: usize) -> Self {
        let outputs = linear.bias.len();
        let inputs = linear.weights.len() / outputs;
        let mut panels = Aligned::zeros(outputs.next_multiple_of(panel) * inputs);
        for (output, row) in linear.weights.chunks_exact(inputs).enumerate() {
            let to = &mut panels[output / panel * panel * inputs + output % panel..];
            to.iter_mut().step_by(panel).zip(row).for_each(|(to, weight)| *to = *weight);
        }
        let mut bias = linear.bias.clone();
        bias.resize(outputs.next_multiple_of(panel), 0.0);
        PackedLinear { panels, bias, inputs, outputs }
    }
}

impl PackedLayer {
    fn new(layer: Layer, panel: usize) -> Self {
        PackedLayer {
            query_key_value: PackedLinear::new(&layer.query_key_value, panel),
            attention_output: PackedLinear::new(&layer.attention_output, panel),
            attention_norm: layer.attention_norm,
            intermediate: PackedLinear::new(&layer.intermediate, panel),
            output: PackedLinear::new(&layer.output, panel),
            output_norm: layer.output_norm,
        }
    }
}

impl Packed {
    /// Lays weights out for an instruction set that is available; `None` is plain Rust in the vector path's order of work,
    /// which the compiler vectorises for the target's own instructions.
    pub(super) fn new(weights: Weights, set: Option<InstructionSet>) -> Self {
        let Weights { shape, embeddings, layers } = weights;
        let panel = REGISTERS * lanes(set);
        let layers = layers.into_iter().map(|layer| PackedLayer::new(layer, panel)).collect();
        Packed { set, shape, embeddings, layers }
    }

    /// Ids that have been checked, packed; `hidden` has a row for each.
    pub(super) fn forward(&self, sequences: &[Sequence<'_>], hidden: &mut [f32]) {
        let chunks = chunks(sequences);
        let tokens = chunks.iter().map(|chunk| length(chunk)).max().unwrap_or(0);
        let longest = sequences.iter().map(Sequence::len).max().unwrap_or(0);
        let mut scratch = self.scratch(tokens, longest);
        let mut rest = hidden;
        for chunk in chunks {
            let (own, others) = rest.split_at_mut(length(chunk) * self.shape.width);
            self.run(chunk, own, &mut scratch);
            rest = others;
        }
    }

    fn scratch(&self, tokens: usize, longest: usize) -> Scratch {
        let Shape { width, inner, heads, .. } = self.shape;
        Scratch {
            projected: vec![0.0; tokens * 3 * width],
            context: vec![0.0; tokens * width],
            inner: vec![0.0; tokens.min(INNER_ROWS) * inner],
            block: vec![0.0; tokens * width],
            head: Head::new(longest, width / heads),
        }
    }

    fn run(&self, sequences: &[Sequence<'_>], hidden: &mut [f32], scratch: &mut Scratch) {
        let mut rest = &mut *hidden;
        for sequence in sequences {
            let (own, others) = rest.split_at_mut(sequence.len() * self.shape.width);
            embed(self.set, &self.embeddings, *sequence, self.shape.epsilon, own);
            rest = others;
        }
        for layer in &self.layers {
            self.attention_block(layer, sequences, hidden, scratch);
            self.feed_forward_block(layer, hidden, scratch);
        }
    }

    fn attention_block(
        &self,
        layer: &PackedLayer,
        sequences: &[Sequence<'_>],
        hidden: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Scratch { projected, context, block, head, .. } = scratch;
        let projected = &mut projected[..3 * hidden.len()];
        let (context, block) = (&mut context[..hidden.len()], &mut block[..hidden.len()]);
        linear(self.set, hidden, &layer.query_key_value, projected);
        let mut start = 0;
        for sequence in sequences {
            let end = start + sequence.len() * self.shape.width;
            attend(self.set, &projected[3 * start..3 * end], &self.shape, head, &mut context[start..end]);
            start = end;
        }
        linear(self.set, context, &layer.attention_output, block);
        add_norm(self.set, hidden, block, &layer.attention_norm, self.shape.epsilon);
    }

    fn feed_forward_block(&self, layer: &PackedLayer, hidden: &mut [f32], scratch: &mut Scratch) {
        let Shape { width, inner, epsilon, .. } = self.shape;
        for rows in hidden.chunks_mut(INNER_ROWS * width) {
            let inner = &mut scratch.inner[..rows.len() / width * inner];
            let block = &mut scratch.block[..rows.len()];
            linear(self.set, rows, &layer.intermediate, inner);
            gelu(self.set, inner);
            linear(self.set, inner, &layer.output, block);
            add_norm(self.set, rows, block, &layer.output_norm, epsilon);
        }
    }
}

impl Head {
    fn new(tokens: usize, size: usize) -> Self {
        let padded = tokens.next_multiple_of(MAX_PANEL);
        Head {
            keys: Aligned::zeros(padded * size),
            values: Aligned::zeros(size.next_multiple_of(MAX_PANEL) * tokens),
            logits: Aligned::zeros(MAX_ROWS * padded),
        }
    }
}

for_each_set! {
    fn embed = embed_with(weights: &Embeddings, sequence: Sequence<'_>, epsilon: f32, hidden: &mut [f32])
}

/// # Safety
/// None is needed: plain Rust, compiled for the instructions of `V`.
#[inline(always)]
unsafe fn embed_with<V: Vector>(
    weights: &Embeddings,
    sequence: Sequence<'_>,
    epsilon: f32,
    hidden: &mut [f32],
) {
    let width = weights.norm.gain.len();
    let rows = sequence.ids.iter().zip(hidden.chunks_exact_mut(width));
    for (place, ((&id, row), positions)) in rows.zip(weights.positions.chunks_exact(width)).enumerate() {
        let words = &weights.words[id as usize * width..][..width];
        let segment = usize::from(place >= sequence.second);
        let segments = &weights.segments[segment * width..][..width];
        for (((x, word), position), segment) in row.iter_mut().zip(words).zip(positions).zip(segments) {
            *x = word + position + segment;
        }
        math::layer_norm(row, &weights.norm.gain, &weights.norm.bias, epsilon);
    }
}

for_each_set! {
    fn add_norm = add_norm_with(hidden: &mut [f32], block: &[f32], norm: &Norm, epsilon: f32)
}

/// # Safety
/// None is needed, as above.
#[inline(always)]
unsafe fn add_norm_with<V: Vector>(hidden: &mut [f32], block: &[f32], norm: &Norm, epsilon: f32) {
    let width = norm.gain.len();
    for (row, block) in hidden.chunks_exact_mut(width).zip(block.chunks_exact(width)) {
        row.iter_mut().zip(block).for_each(|(x, y)| *x += y);
        math::layer_norm(row, &norm.gain, &norm.bias, epsilon);
    }
}

for_each_set! {
    fn gelu = gelu_with(values: &mut [f32])
}

/// # Safety
/// None is needed, as above.
#[inline(always)]
unsafe fn gelu_with<V: Vector>(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = math::gelu_by_erf(*x));
}

for_each_set! {
    fn linear = linear_with(rows: &[f32], linear: &PackedLinear, outputs: &mut [f32])
}

/// `rows x inputs` to `rows x outputs`.
///
/// # Safety
/// The instructions of `V` must exist, and `linear` must be packed for them.
#[inline(always)]
unsafe fn linear_with<V: Vector>(rows: &[f32], linear: &PackedLinear, outputs: &mut [f32]) {
    let panel = REGISTERS * V::LANES;
    let rows = Rows { values: rows, stride: linear.inputs, count: rows.len() / linear.inputs };
    let panels = linear.panels.chunks_exact(panel * linear.inputs).zip(linear.bias.chunks_exact(panel));
    for (at, (weights, bias)) in panels.enumerate() {
        let columns = panel.min(linear.outputs - at * panel);
        let to = &mut outputs[at * panel..];
        if columns == panel {
            // SAFETY: passed on from the caller.
            unsafe { multiply::<V>(rows, linear.inputs, weights, bias, to, linear.outputs) };
            continue;
        }
        // The rest of a row's last panel lies in the next row.
        let mut tile = [0.0f32; MAX_ROWS * MAX_PANEL];
        for first in (0..rows.count).step_by(MAX_ROWS) {
            let rows = rows.part(first, MAX_ROWS);
            // SAFETY: as above.
            unsafe { multiply::<V>(rows, linear.inputs, weights, bias, &mut tile, panel) };
            let to = to[first * linear.outputs..].chunks_mut(linear.outputs);
            for (to, sums) in to.zip(tile.chunks_exact(panel)).take(rows.count) {
                to[..columns].copy_from_slice(&sums[..columns]);
            }
        }
    }
}

for_each_set! {
    fn attend = attend_with(projected: &[f32], shape: &Shape, head: &mut Head, context: &mut [f32])
}

/// Attention of one text: `projected` is `tokens x 3 width`, `context` `tokens x width`.
///
/// # Safety
/// The instructions of `V` must exist.
#[inline(always)]
unsafe fn attend_with<V: Vector>(projected: &[f32], shape: &Shape, head: &mut Head, context: &mut [f32]) {
    let (width, size, panel) = (shape.width, shape.width / shape.heads, REGISTERS * V::LANES);
    let tokens = context.len() / width;
    let padded = tokens.next_multiple_of(panel);
    let scale = 1.0 / (size as f32).sqrt();
    let zeros = [0.0f32; MAX_PANEL];
    let Head { keys, values, logits } = head;
    let (keys, logits) = (&mut keys[..padded * size], &mut logits[..MAX_ROWS * padded]);
    for at in (0..width).step_by(size) {
        pack_keys(projected, width, at, size, panel, keys);
        pack_values(projected, width, at, size, panel, values);
        for first in (0..tokens).step_by(MAX_ROWS) {
            let queries = Rows { values: &projected[at..], stride: 3 * width, count: tokens };
            let queries = queries.part(first, MAX_ROWS);
            for (place, keys) in keys.chunks_exact(size * panel).enumerate() {
                let logits = &mut logits[place * panel..];
                // SAFETY: passed on from the caller.
                unsafe { multiply::<V>(queries, size, keys, &zeros, logits, padded) };
            }
            let mut totals = [0.0f32; MAX_ROWS];
            for (total, logits) in totals.iter_mut().zip(logits.chunks_exact_mut(padded)).take(queries.count)
            {
                *total = math::softmax(&mut logits[..tokens], scale);
            }
            let weights = Rows { values: logits, stride: padded, count: queries.count };
            let mut tile = [0.0f32; MAX_ROWS * MAX_PANEL];
            for (place, values) in values.chunks_exact(tokens * panel).enumerate() {
                let Some(columns) = size.checked_sub(place * panel).filter(|&left| left > 0) else { break };
                let columns = columns.min(panel);
                // SAFETY: passed on from the caller.
                unsafe { multiply::<V>(weights, tokens, values, &zeros, &mut tile, panel) };
                let to = context[first * width + at + place * panel..].chunks_mut(width);
                for ((to, sums), total) in to.zip(tile.chunks_exact(panel)).zip(totals).take(weights.count) {
                    to[..columns].iter_mut().zip(sums).for_each(|(to, sum)| *to = sum / total);
                }
            }
        }
    }
}

/// A head's keys in panels of tokens.
#[inline(always)]
fn pack_keys(projected: &[f32], width: usize, at: usize, size: usize, panel: usize, keys: &mut [f32]) {
    for (token, row) in projected.chunks_exact(3 * width).enumerate() {
        let to = &mut keys[token / panel * panel * size + token % panel..];
        let key = &row[width + at..][..size];
        to.iter_mut().step_by(panel).zip(key).for_each(|(to, x)| *to = *x);
    }
}

/// A head's values in panels of elements.
#[inline(always)]
fn pack_values(projected: &[f32], width: usize, at: usize, size: usize, panel: usize, values: &mut [f32]) {
    let tokens = projected.len() / (3 * width);
    for (token, row) in projected.chunks_exact(3 * width).enumerate() {
        let value = &row[2 * width + at..][..size];
        for (place, from) in value.chunks(panel).enumerate() {
            let to = &mut values[(place * tokens + token) * panel..];
            to[..from.len()].copy_from_slice(from);
        }
    }
}

/// Rows of the left side of a product.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    /// Values from one row's start to the next one's.
    stride: usize,
    count: usize,
}

impl Rows<'_> {
    /// At most `most` rows from `first` on.
    #[inline(always)]
    fn part(self, first: usize, most: usize) -> Self {
        let values = &self.values[first * self.stride..];
        Rows { values, stride: self.stride, count: most.min(self.count - first) }
    }
}

/// Sums of products of rows with one panel, `start` first: `count x panel` into `outputs`, whose rows are `stride` apart.
///
/// # Safety
/// The instructions of `V` must exist.
#[inline(always)]
unsafe fn multiply<V: Vector>(
    rows: Rows<'_>,
    inputs: usize,
    panel: &[f32],
    start: &[f32],
    outputs: &mut [f32],
    stride: usize,
) {
    let width = REGISTERS * V::LANES;
    let Some(last) = rows.count.checked_sub(1) else { return };
    assert!(rows.values.len() >= last * rows.stride + inputs && outputs.len() >= last * stride + width);
    assert!(panel.len() >= inputs * width && start.len() >= width);
    let mut row = 0;
    while row < rows.count {
        let left = rows.count - row;
        let tile = Tile {
            rows: rows.values[row * rows.stride..].as_ptr(),
            row_stride: rows.stride,
            inputs,
            panel: panel.as_ptr(),
            start: start.as_ptr(),
            outputs: outputs[row * stride..].as_mut_ptr(),
            stride,
        };
        // SAFETY: the instructions by this function's contract; the lengths have just been looked at.
        row += unsafe {
            match left {
                12.. if V::TILE_ROWS >= 12 => tile.run::<V, 3, 4>(),
                8.. if V::TILE_ROWS >= 8 => tile.run::<V, 2, 4>(),
                6.. if V::TILE_ROWS >= 6 => tile.run::<V, 2, 3>(),
                4.. => tile.run::<V, 1, 4>(),
                2.. => tile.run::<V, 1, 2>(),
                _ => tile.run::<V, 1, 1>(),
            }
        };
    }
}

/// One register tile.
struct Tile {
    rows: *const f32,
    row_stride: usize,
    inputs: usize,
    panel: *const f32,
    start: *const f32,
    outputs: *mut f32,
    stride: usize,
}

impl Tile {
    /// `GROUPS` times `ROWS` rows, and how many that were. The rows of a group have one pointer and small multiples of the
    /// stride, which takes few registers; and the two loops over rows are short enough for the compiler to unroll, without
    /// which the sums would not stay in theirs.
    ///
    /// # Safety
    /// The instructions of `V` must exist; `rows` and `outputs` must be good for as many rows, `panel` for `inputs` times a
    /// panel's width, `start` for one.
    #[inline(always)]
    unsafe fn run<V: Vector, const GROUPS: usize, const ROWS: usize>(self) -> usize {
        // SAFETY: by this function's contract.
        unsafe {
            let mut start = [V::splat(0.0); REGISTERS];
            for (register, start) in start.iter_mut().enumerate() {
                *start = V::load(self.start.add(register * V::LANES));
            }
            let mut sums = [[start; ROWS]; GROUPS];
            let mut values = [self.rows; GROUPS];
            for (group, pointer) in values.iter_mut().enumerate() {
                *pointer = pointer.wrapping_add(group * ROWS * self.row_stride);
            }
            let mut panel = self.panel;
            for _ in 0..self.inputs {
                let mut weights = [V::splat(0.0); REGISTERS];
                for (register, weights) in weights.iter_mut().enumerate() {
                    *weights = V::load(panel.add(register * V::LANES));
                }
                for (sums, pointer) in sums.iter_mut().zip(&mut values) {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let value = V::splat(*pointer.add(row * self.row_stride));
                        for (sum, weights) in sums.iter_mut().zip(weights) {
                            *sum = sum.add(value.mul(weights));
                        }
                    }
                    *pointer = pointer.wrapping_add(1);
                }
                panel = panel.wrapping_add(REGISTERS * V::LANES);
            }
            let mut outputs = self.outputs;
            for sums in &sums {
                for sums in sums {
                    for (register, sum) in sums.iter().enumerate() {
                        sum.store(outputs.wrapping_add(register * V::LANES));
                    }
                    outputs = outputs.wrapping_add(self.stride);
                }
            }
        }
        GROUPS * ROWS
    }
}
