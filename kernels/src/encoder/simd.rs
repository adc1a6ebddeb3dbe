//! The forward path on vector instructions: every text of a chunk at once through the linear maps, attention text by
//! text, the float steps of `math.rs` inlined and compiled for the instruction set at hand.
//!
//! A linear map runs over tiles of outputs, whose weights stay in the first-level cache while all rows pass by. Keys and
//! values of a head are packed as weights are, so attention's two products are the same routine.

use super::math;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use super::packed::Portable;
use super::packed::{Aligned, PANEL, PackedLinear, Product, TILE, place};
use super::{Layer, Look, Norm, Sequence, Shape, Site, Weights};
use crate::device::InstructionSet;

/// Tokens that go through a layer together (a longer text goes alone): their vectors stay in the second-level cache.
const CHUNK_TOKENS: usize = 128;
/// Rows that go through the feed-forward block together.
const INNER_ROWS: usize = 48;
/// Rows of the largest register tile.
const MAX_ROWS: usize = 12;

/// An encoder laid out for some instruction set.
pub(super) trait Forward: Send + Sync {
    /// Ids that have been checked, packed; `hidden` has a row for each.
    fn forward(&self, sequences: &[Sequence<'_>], hidden: &mut [f32], look: &mut Look<'_>);
}

/// Lays weights out for an instruction set that is available.
pub(super) fn lay_out(weights: &Weights, set: InstructionSet) -> Box<dyn Forward> {
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => Box::new(Packed::<Avx2>::new(weights)),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => Box::new(Packed::<Avx512>::new(weights)),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni => Box::new(Packed::<Avx512Vnni>::new(weights)),
        // The only set there is.
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        _ => Box::new(Packed::<Simd128>::new(weights)),
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        _ => portable(weights),
    }
}

/// Plain Rust in the vector path's order of work, which the compiler vectorises for the target's own instructions. Left
/// out of the browser's module, which would carry it unused.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) fn portable(weights: &Weights) -> Box<dyn Forward> {
    Box::new(Packed::<Baseline>::new(weights))
}

/// The routines of the forward path, compiled for one instruction set.
///
/// # Safety
/// Every method may only be called where the processor has the instruction set.
trait Machine: 'static {
    /// Products of the linear maps.
    type Linear: Product;
    /// Products of attention.
    type Pairs: Product<Code = i16, Weight = i16>;

    unsafe fn quantize(
        rows: &[f32],
        multipliers: &[f32],
        codes: &mut [<Self::Linear as Product>::Code],
        scales: &mut [f32],
    );
    unsafe fn linear(
        codes: &[<Self::Linear as Product>::Code],
        scales: &[f32],
        linear: &PackedLinear<Self::Linear>,
        outputs: &mut [f32],
    );
    unsafe fn gelu_linear(
        codes: &[<Self::Linear as Product>::Code],
        scales: &[f32],
        linear: &PackedLinear<Self::Linear>,
        outputs: &mut [f32],
    );
    /// [`multiply_rows`] of attention. A function of its own: inlined, its sums would not stay in registers.
    unsafe fn multiply_pairs(rows: Rows<'_>, panels: &[i16], first: usize, sums: &mut [i32], stride: usize);
    unsafe fn attend(projected: &[f32], shape: &Shape, head: &mut Head, context: &mut [f32]);
    unsafe fn add_norm(hidden: &mut [f32], block: &[f32], norm: &Norm, epsilon: f32);
    unsafe fn embed(weights: &Embeddings, sequence: Sequence<'_>, epsilon: f32, hidden: &mut [f32]);
}

/// The generic bodies below, compiled for one instruction set: `$p` registers of outputs by `$r` rows in a tile.
macro_rules! machine {
    ($(#[$about:meta])* $name:ident, $linear:ty, $pairs:ty, $p:literal x $r:literal $(, $features:literal)?) => {
        $(#[$about])*
        struct $name;

        impl Machine for $name {
            type Linear = $linear;
            type Pairs = $pairs;

            $(#[target_feature(enable = $features)])?
            unsafe fn quantize(
                rows: &[f32],
                multipliers: &[f32],
                codes: &mut [<$linear as Product>::Code],
                scales: &mut [f32],
            ) {
                quantize::<$linear>(rows, multipliers, codes, scales);
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn linear(
                codes: &[<$linear as Product>::Code],
                scales: &[f32],
                linear: &PackedLinear<$linear>,
                outputs: &mut [f32],
            ) {
                // SAFETY: the instruction set is there, by the trait's contract.
                unsafe { linear_body::<$linear, $p, $r, false>(codes, scales, linear, outputs) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn gelu_linear(
                codes: &[<$linear as Product>::Code],
                scales: &[f32],
                linear: &PackedLinear<$linear>,
                outputs: &mut [f32],
            ) {
                // SAFETY: the instruction set is there, by the trait's contract.
                unsafe { linear_body::<$linear, $p, $r, true>(codes, scales, linear, outputs) }
            }
            #[inline(never)]
            $(#[target_feature(enable = $features)])?
            unsafe fn multiply_pairs(
                rows: Rows<'_>,
                panels: &[i16],
                first: usize,
                sums: &mut [i32],
                stride: usize,
            ) {
                let start = [0; TILE];
                let panels = tile_panels::<$pairs, $p>(panels, first, rows.groups);
                // SAFETY: the instruction set is there and the buffers are large enough, by the trait's contract.
                unsafe {
                    multiply_rows::<$pairs, $p, $r>(
                        rows.codes, rows.count, rows.groups, panels, &start, sums, stride,
                    );
                }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn attend(projected: &[f32], shape: &Shape, head: &mut Head, context: &mut [f32]) {
                // SAFETY: the instruction set is there, by the trait's contract.
                unsafe { attend_body::<$name, { $p * <$pairs as Product>::LANES }, $r>(projected, shape, head, context) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn add_norm(hidden: &mut [f32], block: &[f32], norm: &Norm, epsilon: f32) {
                add_norm(hidden, block, norm, epsilon);
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn embed(weights: &Embeddings, sequence: Sequence<'_>, epsilon: f32, hidden: &mut [f32]) {
                embed(weights, sequence, epsilon, hidden);
            }
        }
    };
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
machine!(
    /// Whatever the target has without asking.
    Baseline, Portable, Portable, 4 x 2
);
#[cfg(target_arch = "x86_64")]
use super::packed::x86;
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX2.
    Avx2, x86::Avx2Pairs, x86::Avx2Pairs, 2 x 6, "avx2"
);
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX-512.
    Avx512, x86::Avx512Pairs, x86::Avx512Pairs, 2 x 12, "avx512f,avx512bw,avx512dq,avx512vl,avx2"
);
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX-512 with VNNI.
    Avx512Vnni, x86::VnniQuads, x86::VnniPairs, 2 x 12, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2"
);
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::packed::wasm;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
machine!(
    /// WebAssembly.
    Simd128, wasm::Simd128Pairs, wasm::Simd128Pairs, 4 x 3, "simd128"
);

/// Rows of 16-bit codes: `count` rows of `groups` pairs.
#[derive(Clone, Copy)]
struct Rows<'a> {
    codes: &'a [i16],
    count: usize,
    groups: usize,
}

/// What [`embed`] needs of the weights.
struct Embeddings {
    words: Vec<i8>,
    word_scales: Vec<f32>,
    positions: Vec<f32>,
    second_segment: Vec<f32>,
    norm: Norm,
}

struct PackedLayer<D: Product> {
    query_key_value: PackedLinear<D>,
    attention_output: PackedLinear<D>,
    attention_norm: Norm,
    intermediate: PackedLinear<D>,
    output: PackedLinear<D>,
    output_norm: Norm,
}

impl<D: Product> PackedLayer<D> {
    fn new(layer: &Layer) -> Self {
        PackedLayer {
            query_key_value: PackedLinear::new(&layer.query_key_value),
            attention_output: PackedLinear::new(&layer.attention_output),
            attention_norm: layer.attention_norm.clone(),
            intermediate: PackedLinear::new(&layer.intermediate),
            output: PackedLinear::new(&layer.output),
            output_norm: layer.output_norm.clone(),
        }
    }
}

struct Packed<M: Machine> {
    shape: Shape,
    embeddings: Embeddings,
    layers: Vec<PackedLayer<M::Linear>>,
}

/// Buffers of one chunk.
struct Scratch<M: Machine> {
    codes: Aligned<<M::Linear as Product>::Code>,
    scales: Vec<f32>,
    projected: Vec<f32>,
    context: Vec<f32>,
    inner: Vec<f32>,
    block: Vec<f32>,
    head: Head,
}

impl<M: Machine> Packed<M> {
    fn new(weights: &Weights) -> Self {
        let embeddings = Embeddings {
            words: weights.words.clone(),
            word_scales: weights.word_scales.clone(),
            positions: weights.positions.clone(),
            second_segment: weights.second_segment.clone(),
            norm: weights.norm.clone(),
        };
        let layers = weights.layers.iter().map(PackedLayer::new).collect();
        Packed { shape: weights.shape, embeddings, layers }
    }

    fn scratch(&self, tokens: usize, longest: usize) -> Scratch<M> {
        let Shape { width, inner, .. } = self.shape;
        let group = <M::Linear as Product>::GROUP;
        let rows = tokens.min(INNER_ROWS);
        let codes = (tokens * width.next_multiple_of(group)).max(rows * inner.next_multiple_of(group));
        Scratch {
            codes: Aligned::zeros(codes),
            scales: vec![0.0; tokens],
            projected: vec![0.0; tokens * 3 * width],
            context: vec![0.0; tokens * width],
            inner: vec![0.0; rows * inner],
            block: vec![0.0; tokens * width],
            head: Head::new(longest, width / self.shape.heads),
        }
    }

    fn run(
        &self,
        sequences: &[Sequence<'_>],
        hidden: &mut [f32],
        scratch: &mut Scratch<M>,
        look: &mut Look<'_>,
    ) {
        let (width, epsilon) = (self.shape.width, self.shape.epsilon);
        let mut rest = &mut *hidden;
        for sequence in sequences {
            let (own, others) = rest.split_at_mut(sequence.len() * width);
            // SAFETY: `lay_out` chose a machine whose instruction set is available. So below.
            unsafe { M::embed(&self.embeddings, *sequence, epsilon, own) };
            rest = others;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            look(index, Site::QueryKeyValue, hidden);
            self.attention_block(layer, sequences, hidden, scratch);
            look(index, Site::Intermediate, hidden);
            self.feed_forward_block(layer, hidden, scratch);
        }
    }

    fn attention_block(
        &self,
        layer: &PackedLayer<M::Linear>,
        sequences: &[Sequence<'_>],
        hidden: &mut [f32],
        scratch: &mut Scratch<M>,
    ) {
        let width = self.shape.width;
        let projected = &mut scratch.projected[..3 * hidden.len()];
        let context = &mut scratch.context[..hidden.len()];
        let block = &mut scratch.block[..hidden.len()];
        map::<M, false>(hidden, &layer.query_key_value, &mut scratch.codes, &mut scratch.scales, projected);
        let mut start = 0;
        for sequence in sequences {
            let end = start + sequence.len() * width;
            // SAFETY: see `run`.
            unsafe {
                let own = &projected[3 * start..3 * end];
                M::attend(own, &self.shape, &mut scratch.head, &mut context[start..end]);
            }
            start = end;
        }
        map::<M, false>(context, &layer.attention_output, &mut scratch.codes, &mut scratch.scales, block);
        // SAFETY: see `run`.
        unsafe { M::add_norm(hidden, block, &layer.attention_norm, self.shape.epsilon) };
    }

    fn feed_forward_block(
        &self,
        layer: &PackedLayer<M::Linear>,
        hidden: &mut [f32],
        scratch: &mut Scratch<M>,
    ) {
        let Shape { width, inner, epsilon, .. } = self.shape;
        for rows in hidden.chunks_mut(INNER_ROWS * width) {
            let inner = &mut scratch.inner[..rows.len() / width * inner];
            let block = &mut scratch.block[..rows.len()];
            map::<M, true>(rows, &layer.intermediate, &mut scratch.codes, &mut scratch.scales, inner);
            map::<M, false>(inner, &layer.output, &mut scratch.codes, &mut scratch.scales, block);
            // SAFETY: see `run`.
            unsafe { M::add_norm(rows, block, &layer.output_norm, epsilon) };
        }
    }
}

impl<M: Machine> Forward for Packed<M> {
    fn forward(&self, sequences: &[Sequence<'_>], hidden: &mut [f32], look: &mut Look<'_>) {
        let width = self.shape.width;
        let chunks = chunks(sequences);
        let tokens = chunks.iter().map(|chunk| length(chunk)).max().unwrap_or(0);
        let longest = sequences.iter().map(Sequence::len).max().unwrap_or(0);
        let mut scratch = self.scratch(tokens, longest);
        let mut rest = hidden;
        for chunk in chunks {
            let (own, others) = rest.split_at_mut(length(chunk) * width);
            self.run(chunk, own, &mut scratch, look);
            rest = others;
        }
    }
}

fn length(sequences: &[Sequence<'_>]) -> usize {
    sequences.iter().map(Sequence::len).sum()
}

/// Runs of sequences of at most [`CHUNK_TOKENS`] tokens; a longer sequence is a run of its own.
fn chunks<'a, 'b>(sequences: &'b [Sequence<'a>]) -> Vec<&'b [Sequence<'a>]> {
    let (mut chunks, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (place, sequence) in sequences.iter().enumerate() {
        if tokens + sequence.len() > CHUNK_TOKENS && place > start {
            chunks.push(&sequences[start..place]);
            (start, tokens) = (place, 0);
        }
        tokens += sequence.len();
    }
    if start < sequences.len() {
        chunks.push(&sequences[start..]);
    }
    chunks
}

/// Quantises rows and sends them through a linear map, with GELU behind it or without.
fn map<M: Machine, const GELU: bool>(
    rows: &[f32],
    linear: &PackedLinear<M::Linear>,
    codes: &mut [<M::Linear as Product>::Code],
    scales: &mut [f32],
    outputs: &mut [f32],
) {
    let count = rows.len() / linear.inputs();
    let codes = &mut codes[..count * linear.groups() * <M::Linear as Product>::GROUP];
    let scales = &mut scales[..count];
    // SAFETY: see `Packed::run`.
    unsafe {
        M::quantize(rows, &linear.multipliers, codes, scales);
        if GELU {
            M::gelu_linear(codes, scales, linear, outputs);
        } else {
            M::linear(codes, scales, linear, outputs);
        }
    }
}

/// Codes and scales of rows; codes are filled up to whole groups.
#[inline(always)]
fn quantize<D: Product>(rows: &[f32], multipliers: &[f32], codes: &mut [D::Code], scales: &mut [f32]) {
    let width = multipliers.len();
    let stride = width.next_multiple_of(D::GROUP);
    for ((row, codes), row_scale) in rows.chunks_exact(width).zip(codes.chunks_exact_mut(stride)).zip(scales)
    {
        let mut lanes = [0.0f32; math::LANES];
        let (whole, rest) = row.as_chunks::<{ math::LANES }>();
        let (whole_by, rest_by) = multipliers.as_chunks::<{ math::LANES }>();
        for (row, by) in whole.iter().zip(whole_by) {
            for lane in 0..math::LANES {
                lanes[lane] = math::larger(lanes[lane], (row[lane] * by[lane]).abs());
            }
        }
        let rest = rest.iter().zip(rest_by).fold(0.0, |most, (x, by)| math::larger(most, (x * by).abs()));
        let largest = lanes.into_iter().fold(rest, math::larger);
        let (inverse, scale) = math::scales(largest, math::CODE_LIMIT);
        for ((code, x), by) in codes.iter_mut().zip(row).zip(multipliers) {
            *code = D::code(math::round(x * by * inverse));
        }
        *row_scale = scale;
    }
}

#[inline(always)]
fn embed(weights: &Embeddings, sequence: Sequence<'_>, epsilon: f32, hidden: &mut [f32]) {
    let width = weights.norm.gain.len();
    let places = weights.positions.chunks_exact(width);
    let rows = sequence.ids.iter().zip(hidden.chunks_exact_mut(width)).zip(places);
    for (place, ((&id, row), positions)) in rows.enumerate() {
        let codes = &weights.words[id as usize * width..][..width];
        let scale = weights.word_scales[id as usize];
        for ((x, &code), position) in row.iter_mut().zip(codes).zip(positions) {
            *x = f32::from(code) * scale + position;
        }
        if place >= sequence.second {
            row.iter_mut().zip(&weights.second_segment).for_each(|(x, more)| *x += more);
        }
        math::layer_norm(row, &weights.norm.gain, &weights.norm.bias, epsilon);
    }
}

#[inline(always)]
fn add_norm(hidden: &mut [f32], block: &[f32], norm: &Norm, epsilon: f32) {
    let width = norm.gain.len();
    for (row, block) in hidden.chunks_exact_mut(width).zip(block.chunks_exact(width)) {
        row.iter_mut().zip(block).for_each(|(x, y)| *x += y);
        math::layer_norm(row, &norm.gain, &norm.bias, epsilon);
    }
}

/// Sums of a register tile, on a cache line.
#[repr(C, align(64))]
struct Sums([i32; MAX_ROWS * TILE]);

/// # Safety
/// The instruction set of `D` is available.
#[inline(always)]
unsafe fn linear_body<D: Product, const P: usize, const R: usize, const GELU: bool>(
    codes: &[D::Code],
    row_scales: &[f32],
    linear: &PackedLinear<D>,
    outputs: &mut [f32],
) {
    let rows = row_scales.len();
    if rows == 0 {
        return;
    }
    let (groups, columns, tile) = (linear.groups(), outputs.len() / rows, P * D::LANES);
    let stride = groups * D::GROUP;
    let mut sums = Sums([0; MAX_ROWS * TILE]);
    for first in (0..columns).step_by(tile) {
        let panels = tile_panels::<D, P>(&linear.panels, first, groups);
        let start = &linear.start[first..first + tile];
        let scales = &linear.scales[first..first + tile];
        let bias = &linear.bias[first..first + tile];
        let used = tile.min(columns - first);
        for row in (0..rows).step_by(R) {
            let count = R.min(rows - row);
            let codes = &codes[row * stride..][..count * stride];
            // SAFETY: the instruction set is there; codes, panels and sums were just cut to size.
            unsafe { multiply_rows::<D, P, R>(codes, count, groups, panels, start, &mut sums.0, tile) };
            for (r, sums) in sums.0.chunks_exact(tile).take(count).enumerate() {
                let scale = row_scales[row + r];
                let outputs = &mut outputs[(row + r) * columns + first..][..used];
                // One loop of known length, and one for the last, partial tile.
                if used == tile {
                    let outputs = &mut outputs[..P * D::LANES];
                    finish::<GELU>(&sums[..P * D::LANES], scales, scale, bias, outputs);
                } else {
                    finish::<GELU>(sums, scales, scale, bias, outputs);
                }
            }
        }
    }
}

#[inline(always)]
fn finish<const GELU: bool>(sums: &[i32], scales: &[f32], row_scale: f32, bias: &[f32], outputs: &mut [f32]) {
    for (((y, &sum), &scale), &bias) in outputs.iter_mut().zip(sums).zip(scales).zip(bias) {
        let value = math::dequantize(sum, scale, row_scale, bias);
        *y = if GELU { math::gelu(value) } else { value };
    }
}

/// The panels that the registers of a tile read from.
#[inline(always)]
fn tile_panels<D: Product, const P: usize>(
    panels: &[D::Weight],
    first: usize,
    groups: usize,
) -> [*const D::Weight; P] {
    let mut pointers = [panels.as_ptr(); P];
    for (p, pointer) in pointers.iter_mut().enumerate() {
        *pointer = &raw const panels[place(first + p * D::LANES, 0, groups, D::GROUP)];
    }
    pointers
}

/// `count <= R` rows of a tile, in blocks of the sizes that are compiled.
///
/// # Safety
/// The instruction set of `D` is available; `codes` holds `count` rows of `groups` groups, each pointer of `panels` a
/// panel of as many groups, `start` `P x LANES` values and `sums` `count` rows of `sums_stride`.
#[inline(always)]
unsafe fn multiply_rows<D: Product, const P: usize, const R: usize>(
    codes: &[D::Code],
    count: usize,
    groups: usize,
    panels: [*const D::Weight; P],
    start: &[i32],
    sums: &mut [i32],
    sums_stride: usize,
) {
    let stride = groups * D::GROUP;
    let (codes, start, sums) = (codes.as_ptr(), start.as_ptr(), sums.as_mut_ptr());
    // SAFETY: by this function's contract.
    unsafe {
        if count == R {
            return multiply::<D, P, R>(codes, stride, groups, panels, start, sums, sums_stride);
        }
        let mut row = 0;
        while row + 4 <= count {
            let (codes, sums) = (codes.add(row * stride), sums.add(row * sums_stride));
            multiply::<D, P, 4>(codes, stride, groups, panels, start, sums, sums_stride);
            row += 4;
        }
        while row + 2 <= count {
            let (codes, sums) = (codes.add(row * stride), sums.add(row * sums_stride));
            multiply::<D, P, 2>(codes, stride, groups, panels, start, sums, sums_stride);
            row += 2;
        }
        if row < count {
            let (codes, sums) = (codes.add(row * stride), sums.add(row * sums_stride));
            multiply::<D, P, 1>(codes, stride, groups, panels, start, sums, sums_stride);
        }
    }
}

/// The register tile: `R` rows by `P` registers of outputs.
///
/// # Safety
/// As [`multiply_rows`], with `R` rows.
#[inline(always)]
unsafe fn multiply<D: Product, const P: usize, const R: usize>(
    codes: *const D::Code,
    stride: usize,
    groups: usize,
    mut panels: [*const D::Weight; P],
    start: *const i32,
    sums: *mut i32,
    sums_stride: usize,
) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let mut totals = [[D::load_sums(start); P]; R];
        for totals in &mut totals {
            for (p, total) in totals.iter_mut().enumerate() {
                *total = D::load_sums(start.add(p * D::LANES));
            }
        }
        for group in 0..groups {
            let mut weights = [D::load_weights(panels[0]); P];
            for p in 0..P {
                weights[p] = D::load_weights(panels[p]);
                panels[p] = panels[p].add(PANEL * D::GROUP);
            }
            for (r, totals) in totals.iter_mut().enumerate() {
                let codes = D::splat_codes(codes.add(r * stride + group * D::GROUP));
                for p in 0..P {
                    totals[p] = D::add_products(totals[p], codes, weights[p]);
                }
            }
        }
        for (r, totals) in totals.iter().enumerate() {
            for (p, total) in totals.iter().enumerate() {
                D::store_sums(*total, sums.add(r * sums_stride + p * D::LANES));
            }
        }
    }
}

/// Buffers of attention for one head of one text.
struct Head {
    /// Keys, packed: tokens are the outputs, a head's elements the inputs.
    keys: Aligned<i16>,
    /// Values, packed: a head's elements are the outputs, tokens the inputs.
    values: Aligned<i16>,
    /// A row block of query codes.
    queries: Aligned<i16>,
    /// A row block of logits.
    logits: Aligned<i32>,
    /// A row block of probability codes.
    probabilities: Aligned<i16>,
    /// Per row of a block, what a sum of products of probability and value is worth.
    weights: [f32; MAX_ROWS],
    /// Largest magnitudes of keys and values, per column of all heads.
    largest: Vec<f32>,
}

impl Head {
    fn new(tokens: usize, size: usize) -> Self {
        let (padded, pairs) = (tokens.next_multiple_of(TILE), tokens.next_multiple_of(2));
        let elements = size.next_multiple_of(2);
        Head {
            keys: Aligned::zeros(padded * elements),
            values: Aligned::zeros(size.next_multiple_of(TILE) * pairs),
            queries: Aligned::zeros(MAX_ROWS * elements),
            logits: Aligned::zeros(MAX_ROWS * padded),
            probabilities: Aligned::zeros(MAX_ROWS * pairs),
            weights: [0.0; MAX_ROWS],
            largest: Vec::new(),
        }
    }
}

/// Attention of one text: `projected` is `tokens x 3 width`, `context` `tokens x width`; tiles of `TILE_COLUMNS` by `R`.
///
/// # Safety
/// The instruction set of `M` is available.
#[inline(always)]
unsafe fn attend_body<M: Machine, const TILE_COLUMNS: usize, const R: usize>(
    projected: &[f32],
    shape: &Shape,
    head: &mut Head,
    context: &mut [f32],
) {
    let (width, size) = (shape.width, shape.width / shape.heads);
    let tokens = context.len() / width;
    largest_per_column(projected, width, &mut head.largest);
    for index in 0..shape.heads {
        let at = index * size;
        let largest = |column: usize| math::largest_magnitude(&head.largest[column..column + size]);
        let (key_inverse, key_scale) = math::scales(largest(at), math::KEY_LIMIT);
        let (value_inverse, value_scale) = math::scales(largest(width + at), math::VALUE_LIMIT);
        pack_keys(projected, width, at, size, key_inverse, &mut head.keys);
        pack_values(projected, width, at, size, value_inverse, &mut head.values);
        let logit_scale = math::logit_scale(size);
        for first in (0..tokens).step_by(R) {
            let count = R.min(tokens - first);
            let queries = &projected[3 * first * width..3 * (first + count) * width];
            let mut scales = [0.0f32; MAX_ROWS];
            let inverses = query_codes(queries, width, at, size, &mut head.queries);
            for (scale, query_scale) in scales.iter_mut().zip(inverses) {
                *scale = query_scale * key_scale * logit_scale;
            }
            // SAFETY: the instruction set is there.
            unsafe {
                logits::<M, TILE_COLUMNS>(head, size, count, tokens);
                weigh(head, &scales[..count], value_scale, tokens);
                mix::<M, TILE_COLUMNS>(head, size, count, tokens, &mut context[first * width..], width, at);
            }
        }
    }
}

/// The largest magnitudes of the key and value columns.
#[inline(always)]
fn largest_per_column(projected: &[f32], width: usize, largest: &mut Vec<f32>) {
    largest.clear();
    largest.resize(2 * width, 0.0);
    for row in projected.chunks_exact(3 * width) {
        for (most, x) in largest.iter_mut().zip(&row[width..]) {
            *most = math::larger(*most, x.abs());
        }
    }
}

/// Codes of a head's keys, in panels of sixteen tokens.
#[inline(always)]
fn pack_keys(projected: &[f32], width: usize, at: usize, size: usize, inverse: f32, keys: &mut [i16]) {
    let groups = size.div_ceil(2);
    let mut codes = [0i16; super::MAX_HEAD];
    for (token, row) in projected.chunks_exact(3 * width).enumerate() {
        for (code, x) in codes.iter_mut().zip(&row[width + at..][..size]) {
            *code = math::round(x * inverse) as i16;
        }
        let panel = &mut keys[place(token, 0, groups, 2)..];
        let pairs = codes.as_chunks::<2>().0[..groups].iter();
        for (to, pair) in panel.as_chunks_mut::<2>().0.iter_mut().step_by(PANEL).zip(pairs) {
            *to = *pair;
        }
    }
}

/// Codes of a head's values, in panels of sixteen elements; a last token without a partner gets zeros for one.
#[inline(always)]
fn pack_values(projected: &[f32], width: usize, at: usize, size: usize, inverse: f32, values: &mut [i16]) {
    let tokens = projected.len() / (3 * width);
    let groups = tokens.div_ceil(2);
    let row = |token: usize| &projected[(3 * token + 2) * width + at..][..size];
    for group in 0..groups {
        let left = row(2 * group);
        let right = (2 * group + 1 < tokens).then(|| row(2 * group + 1));
        for first in (0..size).step_by(PANEL) {
            let count = PANEL.min(size - first);
            let to = &mut values[place(first, 2 * group, groups, 2)..][..2 * count];
            let to = to.as_chunks_mut::<2>().0;
            let left = &left[first..first + count];
            match right {
                Some(right) => interleave(to, left, &right[first..first + count], inverse),
                None => {
                    to.iter_mut().zip(left).for_each(|(to, l)| *to = [math::round(l * inverse) as i16, 0])
                }
            }
        }
    }
}

#[inline(always)]
fn interleave(to: &mut [[i16; 2]], left: &[f32], right: &[f32], inverse: f32) {
    let pair = |l: f32, r: f32| [math::round(l * inverse) as i16, math::round(r * inverse) as i16];
    if let (Ok(to), Ok(left), Ok(right)) = (
        <&mut [[i16; 2]; PANEL]>::try_from(&mut *to),
        <&[f32; PANEL]>::try_from(left),
        <&[f32; PANEL]>::try_from(right),
    ) {
        // The same loop with a length that the compiler knows.
        for lane in 0..PANEL {
            to[lane] = pair(left[lane], right[lane]);
        }
    } else {
        to.iter_mut().zip(left.iter().zip(right)).for_each(|(to, (l, r))| *to = pair(*l, *r));
    }
}

/// Codes of a block of queries; what a code of each is worth.
#[inline(always)]
fn query_codes(block: &[f32], width: usize, at: usize, size: usize, codes: &mut [i16]) -> [f32; MAX_ROWS] {
    let mut scales = [0.0f32; MAX_ROWS];
    let stride = size.next_multiple_of(2);
    let rows = block.chunks_exact(3 * width).zip(codes.chunks_exact_mut(stride));
    for ((row, codes), scale) in rows.zip(&mut scales) {
        let query = &row[at..][..size];
        let (inverse, query_scale) = math::scales(math::largest_magnitude(query), math::KEY_LIMIT);
        for (code, x) in codes.iter_mut().zip(query) {
            *code = math::round(x * inverse) as i16;
        }
        *scale = query_scale;
    }
    scales
}

/// Products of a block of queries with all keys.
///
/// # Safety
/// The instruction set of `M` is available.
#[inline(always)]
unsafe fn logits<M: Machine, const TILE_COLUMNS: usize>(
    head: &mut Head,
    size: usize,
    count: usize,
    tokens: usize,
) {
    let groups = size.div_ceil(2);
    let padded = tokens.next_multiple_of(TILE);
    let rows = Rows { codes: &head.queries[..count * 2 * groups], count, groups };
    for first in (0..tokens).step_by(TILE_COLUMNS) {
        // SAFETY: the instruction set is there; the buffers were made for this many rows, tokens and elements.
        unsafe { M::multiply_pairs(rows, &head.keys, first, &mut head.logits[first..], padded) };
    }
}

/// Probability codes of a block of rows, and what their products with values are worth.
#[inline(always)]
fn weigh(head: &mut Head, scales: &[f32], value_scale: f32, tokens: usize) {
    let (padded, pairs) = (tokens.next_multiple_of(TILE), tokens.next_multiple_of(2));
    let rows = head.logits.chunks_exact(padded).zip(head.probabilities.chunks_exact_mut(pairs));
    for ((scale, (logits, codes)), weight) in scales.iter().zip(rows).zip(&mut head.weights) {
        codes[pairs - 1] = 0;
        let total = probabilities(&logits[..tokens], *scale, &mut codes[..tokens]);
        *weight = value_scale / total as f32;
    }
}

/// Softmax in codes; their sum.
#[inline(always)]
fn probabilities(logits: &[i32], scale: f32, codes: &mut [i16]) -> i32 {
    let largest = logits.iter().fold(i32::MIN, |most, &logit| most.max(logit));
    let mut total = 0;
    for (code, logit) in codes.iter_mut().zip(logits) {
        let probability = math::probability_code((logit - largest) as f32 * scale);
        *code = probability as i16;
        total += probability;
    }
    total
}

/// Probabilities times values for a block of rows, into the head's columns of `context`.
///
/// # Safety
/// The instruction set of `M` is available.
#[inline(always)]
unsafe fn mix<M: Machine, const TILE_COLUMNS: usize>(
    head: &Head,
    size: usize,
    count: usize,
    tokens: usize,
    context: &mut [f32],
    width: usize,
    at: usize,
) {
    let groups = tokens.div_ceil(2);
    let mut sums = Sums([0; MAX_ROWS * TILE]);
    let rows = Rows { codes: &head.probabilities[..count * 2 * groups], count, groups };
    for first in (0..size).step_by(TILE_COLUMNS) {
        // SAFETY: the instruction set is there; the buffers were made for this many rows, tokens and elements.
        unsafe { M::multiply_pairs(rows, &head.values, first, &mut sums.0, TILE_COLUMNS) };
        let used = TILE_COLUMNS.min(size - first);
        let rows = sums.0.chunks_exact(TILE_COLUMNS).zip(&head.weights).take(count);
        for ((sums, weight), row) in rows.zip(context.chunks_mut(width)) {
            let outputs = &mut row[at + first..][..used];
            outputs.iter_mut().zip(sums).for_each(|(y, &sum)| *y = sum as f32 * weight);
        }
    }
}
