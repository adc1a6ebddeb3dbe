//! The forward path on vector instructions: every text of a chunk at once through the linear maps, attention text by
//! text, the float steps of `math.rs` inlined and compiled for the instruction set at hand.
//!
//! A linear map runs over tiles of outputs, whose weights stay in the first-level cache while all rows pass by. Keys and
//! values of a head are packed as weights are, so attention's two products are the same routine.
//!
//! In WebAssembly a tile is 2 registers of outputs by 4 rows: its compilers read all that a turn of a loop multiplies before
//! they multiply, and 8 sums, 6 operands and a product are what the 15 registers they give out hold.

#[cfg(target_arch = "x86_64")]
use super::maddubs;
use super::math;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use super::packed::Portable;
use super::packed::{Aligned, PackedLinear, Product, TILE, Tile, Worth, codes_of, line_of, place};
#[cfg(any(test, all(target_arch = "wasm32", feature = "relaxed-simd")))]
use super::relaxed;
use super::{Layer, Look, Map, Norm, Sequence, Shape, Weights};
#[cfg(target_arch = "x86_64")]
use crate::amx::{Step, TILE_GROUPS, TILE_ROWS, Tiles};
use crate::device::InstructionSet;

/// Tokens that go through a layer together (a longer text goes alone): their vectors stay in the second-level cache.
const CHUNK_TOKENS: usize = 128;
/// Rows that go through the feed-forward block together.
const INNER_ROWS: usize = 48;
/// Rows of the largest register tile, and those that attention takes at once where tiles are smaller blocks.
const MAX_ROWS: usize = 12;
/// Groups of inputs that a tile takes in a turn.
const UNROLLED: usize = 4;

/// An encoder laid out for some instruction set.
pub(super) trait Forward: Send + Sync {
    /// Ids that have been checked, packed; `hidden` has a row for each.
    fn forward(&self, sequences: &[Sequence<'_>], hidden: &mut [f32], look: &mut Look<'_>);
}

/// Lays weights out for an instruction set that is available.
pub(super) fn lay_out(weights: &Weights, set: InstructionSet) -> Box<dyn Forward> {
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 if weights.are_within(super::SEVEN_BITS) => {
            Box::new(Packed::<Avx2Bytes>::new(weights))
        }
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => Box::new(Packed::<Avx2>::new(weights)),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 if weights.are_within(super::SEVEN_BITS) => {
            Box::new(Packed::<Avx512Bytes>::new(weights))
        }
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => Box::new(Packed::<Avx512>::new(weights)),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni => Box::new(Packed::<Avx512Vnni>::new(weights)),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Amx => Box::new(Packed::<Avx512Amx>::new(weights)),
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon => Box::new(Packed::<Neon>::new(weights)),
        // The only set there is; relaxed or not, the module says.
        #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
        _ if weights.are_within(relaxed::MOST) => Box::new(Packed::<Relaxed>::new(weights)),
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

/// The relaxed instructions of WebAssembly, emulated, for weights within [`relaxed::MOST`]: `fused` as on processors that
/// add products of bytes to 32-bit sums at once.
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(super) fn emulated(weights: &Weights, fused: bool) -> Box<dyn Forward> {
    let mut packed = Packed::<Relaxed>::new(weights);
    if fused {
        for layer in &mut packed.layers {
            let PackedLayer { query_key_value, attention_output, intermediate, output, .. } = layer;
            for linear in [query_key_value, attention_output, intermediate, output] {
                linear.limits.clear();
            }
        }
    }
    Box::new(packed)
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
        lines: &mut [<Self::Linear as Product>::Code],
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
    /// [`multiply_rows`] of attention, over tiles of the first `columns` outputs. A function of its own: inlined, its sums
    /// would not stay in registers.
    unsafe fn multiply_pairs(rows: Rows<'_>, panels: &[i16], columns: usize, sums: &mut [i32], stride: usize);
    unsafe fn attend(projected: &[f32], shape: &Shape, head: &mut Head, context: &mut [f32]);
    unsafe fn add_norm(hidden: &mut [f32], block: &[f32], norm: &Norm, epsilon: f32);
    unsafe fn embed(weights: &Embeddings, sequence: Sequence<'_>, epsilon: f32, hidden: &mut [f32]);
}

/// The generic bodies below, compiled for one instruction set: `$p` registers of outputs by `$r` rows in a tile, linear
/// maps by `$body`.
macro_rules! machine {
    ($(#[$about:meta])* $name:ident, $linear:ty, $pairs:ty, $p:literal x $r:literal, $body:ident $(, $features:literal)?) => {
        $(#[$about])*
        struct $name;

        impl Machine for $name {
            type Linear = $linear;
            type Pairs = $pairs;

            #[inline(never)]
            $(#[target_feature(enable = $features)])?
            unsafe fn quantize(
                rows: &[f32],
                multipliers: &[f32],
                lines: &mut [<$linear as Product>::Code],
                codes: &mut [<$linear as Product>::Code],
                scales: &mut [f32],
            ) {
                // SAFETY: the instruction set is there, by the trait's contract.
                unsafe { quantize::<$linear>(rows, multipliers, lines, codes, scales) }
            }
            #[inline(never)]
            $(#[target_feature(enable = $features)])?
            unsafe fn linear(
                codes: &[<$linear as Product>::Code],
                scales: &[f32],
                linear: &PackedLinear<$linear>,
                outputs: &mut [f32],
            ) {
                // SAFETY: the instruction set is there, by the trait's contract.
                unsafe { $body::<$linear, $p, $r, false>(codes, scales, linear, outputs) }
            }
            #[inline(never)]
            $(#[target_feature(enable = $features)])?
            unsafe fn gelu_linear(
                codes: &[<$linear as Product>::Code],
                scales: &[f32],
                linear: &PackedLinear<$linear>,
                outputs: &mut [f32],
            ) {
                if is_wide::<$linear, $p>() {
                    // SAFETY: the instruction set is there, by the trait's contract.
                    return unsafe { $body::<$linear, $p, $r, true>(codes, scales, linear, outputs) };
                }
                // SAFETY: as above.
                unsafe { Self::linear(codes, scales, linear, outputs) };
                // Tiles are too narrow here for the compiler to see vectors in them.
                gelu(outputs);
            }
            #[inline(never)]
            $(#[target_feature(enable = $features)])?
            unsafe fn multiply_pairs(
                rows: Rows<'_>,
                panels: &[i16],
                columns: usize,
                sums: &mut [i32],
                stride: usize,
            ) {
                for first in (0..columns).step_by($p * <$pairs as Product>::LANES) {
                    let panels = &panels[first * 2 * rows.groups..];
                    let tile = Tile { panels, start: &[0; TILE], limits: &[] };
                    let sums = &mut sums[first..];
                    // SAFETY: the instruction set is there and the buffers are large enough, by the trait's contract.
                    unsafe {
                        multiply_rows::<$pairs, $p, $r>(rows.codes, rows.count, rows.groups, tile, sums, stride);
                    }
                }
            }
            #[inline(never)]
            $(#[target_feature(enable = $features)])?
            unsafe fn attend(projected: &[f32], shape: &Shape, head: &mut Head, context: &mut [f32]) {
                // SAFETY: the instruction set is there, by the trait's contract.
                unsafe { attend_body::<$name, $r>(projected, shape, head, context) }
            }
            #[inline(never)]
            $(#[target_feature(enable = $features)])?
            unsafe fn add_norm(hidden: &mut [f32], block: &[f32], norm: &Norm, epsilon: f32) {
                add_norm(hidden, block, norm, epsilon);
            }
            #[inline(never)]
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
    Baseline, Portable<16, 2>, Portable<16, 2>, 4 x 2, linear_body
);
#[cfg(target_arch = "x86_64")]
use super::packed::x86;
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX2.
    Avx2, x86::Avx2Pairs, x86::Avx2Pairs, 2 x 6, linear_body, "avx2"
);
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX2, weights of 7 bits.
    Avx2Bytes, maddubs::Quads<core::arch::x86_64::__m256i, 6>, x86::Avx2Pairs, 2 x 6, linear_body, "avx2"
);
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX-512, weights of 7 bits.
    Avx512Bytes, maddubs::Quads<core::arch::x86_64::__m512i, 12>, x86::Avx512Pairs, 2 x 12, linear_body, "avx512f,avx512bw,avx512dq,avx512vl,avx2"
);
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX-512.
    Avx512, x86::Avx512Pairs, x86::Avx512Pairs, 2 x 12, linear_body, "avx512f,avx512bw,avx512dq,avx512vl,avx2"
);
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX-512 with VNNI.
    Avx512Vnni, x86::VnniQuads, x86::VnniPairs, 2 x 12, linear_body, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2"
);
#[cfg(target_arch = "x86_64")]
machine!(
    /// AVX-512 with VNNI, linear maps on AMX tiles.
    Avx512Amx, x86::VnniQuads, x86::VnniPairs, 2 x 12, tiled_linear_body, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2"
);
#[cfg(target_arch = "aarch64")]
use super::packed::neon;
#[cfg(target_arch = "aarch64")]
machine!(
    /// NEON.
    Neon, neon::NeonQuads, neon::NeonPairs, 4 x 4, linear_body
);
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::packed::wasm;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
machine!(
    /// WebAssembly.
    Simd128, wasm::Simd128Pairs, wasm::Simd128Pairs, 2 x 4, linear_body, "simd128"
);

#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
machine!(
    /// WebAssembly with relaxed vector instructions.
    Relaxed, relaxed::RelaxedQuads, wasm::Simd128Pairs, 2 x 4, linear_body, "simd128,relaxed-simd"
);
#[cfg(all(test, not(target_arch = "wasm32")))]
machine!(
    /// The same, emulated.
    Relaxed, relaxed::RelaxedQuads, Portable<8, 4>, 2 x 4, linear_body
);

/// 16-bit codes of `count` rows of `groups` pairs.
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

/// Rows in 8 bits.
struct Quantized<D: Product> {
    codes: Aligned<D::Code>,
    scales: Vec<f32>,
    /// A block's rows one after the other; empty where blocks are rows.
    lines: Aligned<D::Code>,
}

/// Buffers of one chunk.
struct Scratch<M: Machine> {
    quantized: Quantized<M::Linear>,
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
        let rows = tokens.min(INNER_ROWS);
        let codes = codes_of::<M::Linear>(tokens, width).max(codes_of::<M::Linear>(rows, inner));
        let lines = if <M::Linear as Product>::ROWS == 1 {
            0
        } else {
            <M::Linear as Product>::ROWS * line_of::<M::Linear>(width.max(inner))
        };
        Scratch {
            quantized: Quantized {
                codes: Aligned::zeros(codes),
                scales: vec![0.0; tokens],
                lines: Aligned::zeros(lines),
            },
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
            let mut look = |map, rows: &[f32]| look(index, map, rows);
            self.attention_block(layer, sequences, hidden, scratch, &mut look);
            self.feed_forward_block(layer, hidden, scratch, &mut look);
        }
    }

    fn attention_block(
        &self,
        layer: &PackedLayer<M::Linear>,
        sequences: &[Sequence<'_>],
        hidden: &mut [f32],
        scratch: &mut Scratch<M>,
        look: &mut dyn FnMut(Map, &[f32]),
    ) {
        let width = self.shape.width;
        look(Map::QueryKeyValue, hidden);
        let projected = &mut scratch.projected[..3 * hidden.len()];
        let context = &mut scratch.context[..hidden.len()];
        let block = &mut scratch.block[..hidden.len()];
        map::<M, false>(hidden, &layer.query_key_value, &mut scratch.quantized, projected);
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
        look(Map::AttentionOutput, context);
        map::<M, false>(context, &layer.attention_output, &mut scratch.quantized, block);
        // SAFETY: see `run`.
        unsafe { M::add_norm(hidden, block, &layer.attention_norm, self.shape.epsilon) };
    }

    fn feed_forward_block(
        &self,
        layer: &PackedLayer<M::Linear>,
        hidden: &mut [f32],
        scratch: &mut Scratch<M>,
        look: &mut dyn FnMut(Map, &[f32]),
    ) {
        look(Map::Intermediate, hidden);
        let Shape { width, inner, epsilon, .. } = self.shape;
        for rows in hidden.chunks_mut(INNER_ROWS * width) {
            let inner = &mut scratch.inner[..rows.len() / width * inner];
            let block = &mut scratch.block[..rows.len()];
            map::<M, true>(rows, &layer.intermediate, &mut scratch.quantized, inner);
            look(Map::Output, inner);
            map::<M, false>(inner, &layer.output, &mut scratch.quantized, block);
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

pub(super) fn length(sequences: &[Sequence<'_>]) -> usize {
    sequences.iter().map(Sequence::len).sum()
}

/// Runs of sequences of at most [`CHUNK_TOKENS`] tokens; a longer sequence is a run of its own.
pub(super) fn chunks<'a, 'b>(sequences: &'b [Sequence<'a>]) -> Vec<&'b [Sequence<'a>]> {
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
    quantized: &mut Quantized<M::Linear>,
    outputs: &mut [f32],
) {
    let count = rows.len() / linear.inputs();
    let codes = &mut quantized.codes[..codes_of::<M::Linear>(count, linear.inputs())];
    let scales = &mut quantized.scales[..count];
    // SAFETY: see `Packed::run`.
    unsafe {
        M::quantize(rows, &linear.multipliers, &mut quantized.lines, codes, scales);
        if GELU {
            M::gelu_linear(codes, scales, linear, outputs);
        } else {
            M::linear(codes, scales, linear, outputs);
        }
    }
}

/// Codes and scales of rows; `lines` is room for the rows of a block.
///
/// # Safety
/// The instruction set of `D` is available.
#[inline(always)]
unsafe fn quantize<D: Product>(
    rows: &[f32],
    multipliers: &[f32],
    lines: &mut [D::Code],
    codes: &mut [D::Code],
    scales: &mut [f32],
) {
    let width = multipliers.len();
    let blocks = codes.chunks_exact_mut(codes_of::<D>(1, width));
    for ((rows, scales), block) in rows.chunks(D::ROWS * width).zip(scales.chunks_mut(D::ROWS)).zip(blocks) {
        // SAFETY: by this function's contract.
        unsafe { D::quantize_block(rows, multipliers, scales, lines, block) };
    }
}

/// [`Product::quantize_block`] by the functions of `math.rs`.
#[inline(always)]
pub(super) fn quantize_block<D: Product>(
    rows: &[f32],
    multipliers: &[f32],
    scales: &mut [f32],
    lines: &mut [D::Code],
    block: &mut [D::Code],
) {
    let width = multipliers.len();
    let mut rows = rows.chunks_exact(width).zip(scales);
    write_block::<D>(block, lines, line_of::<D>(width), |codes| {
        let Some((row, row_scale)) = rows.next() else { return };
        *row_scale = quantize_row::<D>(row, multipliers, codes);
    });
}

/// A row's codes; what one of them is worth.
#[inline(always)]
pub(super) fn quantize_row<D: Product>(row: &[f32], multipliers: &[f32], codes: &mut [D::Code]) -> f32 {
    let (inverse, scale) = math::scales(largest_scaled(row, multipliers), math::CODE_LIMIT);
    for ((code, x), by) in codes.iter_mut().zip(row).zip(multipliers) {
        *code = D::code(math::round(x * by * inverse));
    }
    scale
}

/// Has `write` fill the rows of a block of codes, each of `length`, in turn: in their place where blocks are rows, else in
/// `lines`, which has room for them. Codes that fill up a last group keep whatever they were: their weights are zero.
#[inline(always)]
fn write_block<D: Product>(
    block: &mut [D::Code],
    lines: &mut [D::Code],
    length: usize,
    mut write: impl FnMut(&mut [D::Code]),
) {
    if D::ROWS == 1 {
        return write(block);
    }
    let lines = &mut lines[..D::ROWS * length];
    lines.chunks_exact_mut(length).for_each(write);
    D::interleave(lines, block);
}

/// The largest magnitude of a row after its multipliers.
#[inline(always)]
fn largest_scaled(row: &[f32], multipliers: &[f32]) -> f32 {
    let mut lanes = [0.0f32; math::LANES];
    let (whole, rest) = row.as_chunks::<{ math::LANES }>();
    let (whole_by, rest_by) = multipliers.as_chunks::<{ math::LANES }>();
    for (row, by) in whole.iter().zip(whole_by) {
        for lane in 0..math::LANES {
            lanes[lane] = math::larger(lanes[lane], (row[lane] * by[lane]).abs());
        }
    }
    let rest = rest.iter().zip(rest_by).fold(0.0, |most, (x, by)| math::larger(most, (x * by).abs()));
    lanes.into_iter().fold(rest, math::larger)
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
    let step = if D::ROWS == 1 { R } else { MAX_ROWS * TILE / tile };
    for first in (0..columns).step_by(tile) {
        let outputs_of_tile = linear.tile(first, tile);
        let scales = &linear.scales[first..first + tile];
        let bias = &linear.bias[first..first + tile];
        let used = tile.min(columns - first);
        for row in (0..rows).step_by(step) {
            let count = step.min(rows - row);
            let codes = &codes[codes_of::<D>(row, stride)..][..codes_of::<D>(count, stride)];
            // SAFETY: the instruction set is there; codes, panels and sums were just cut to size.
            unsafe { multiply_rows::<D, P, R>(codes, count, groups, outputs_of_tile, &mut sums.0, tile) };
            let worth = Worth { scales, bias, used };
            let outputs = &mut outputs[row * columns + first..];
            D::finish::<P, GELU>(&sums.0, worth, &row_scales[row..row + count], outputs, columns);
        }
    }
}

/// [`linear_body`] on AMX tiles: 32 rows by 32 outputs at a time, as many groups of inputs in a tile as divide them all.
///
/// # Safety
/// The processor has AMX and the instruction set of `D`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn tiled_linear_body<D, const P: usize, const R: usize, const GELU: bool>(
    codes: &[u8],
    row_scales: &[f32],
    linear: &PackedLinear<D>,
    outputs: &mut [f32],
) where
    D: Product<Code = u8, Weight = i8>,
{
    const { assert!(D::ROWS == 1 && D::PANEL == TILE_ROWS && D::GROUP == 4 && TILE == 2 * TILE_ROWS) };
    let rows = row_scales.len();
    if rows == 0 {
        return;
    }
    let (groups, columns) = (linear.groups(), outputs.len() / rows);
    let stride = groups * D::GROUP;
    assert!(codes.len() >= rows * stride);
    let at_once = (1..=TILE_GROUPS).rev().find(|count| groups.is_multiple_of(*count)).unwrap_or(1);
    let mut sums = TiledSums([0; 2 * TILE_ROWS * TILE]);
    for (block, row_scales) in row_scales.chunks(2 * TILE_ROWS).enumerate() {
        let row = block * 2 * TILE_ROWS;
        let upper = row_scales.len().min(TILE_ROWS);
        let lower = row_scales.len() - upper;
        // SAFETY: AMX is there, by this function's contract.
        let tiles = unsafe { Tiles::new(upper, lower, at_once) };
        let codes = codes[row * stride..].as_ptr();
        for first in (0..columns).step_by(TILE) {
            let panels = linear.panels[first * stride..(first + TILE) * stride].as_ptr().cast::<u8>();
            // SAFETY: the tiles have the shapes of what they read: rows and panels of `groups` groups, `TILE` sums.
            unsafe {
                tiles.start(linear.start[first..first + TILE].as_ptr());
                for group in (0..groups).step_by(at_once) {
                    let left = panels.add(group * D::PANEL * D::GROUP);
                    tiles.add_unsigned_products(Step {
                        upper: codes.add(group * D::GROUP),
                        lower: codes.wrapping_add(TILE_ROWS * stride + group * D::GROUP),
                        stride,
                        left,
                        right: left.add(D::PANEL * stride),
                        line: D::PANEL * D::GROUP,
                    });
                }
                let sums = sums.0.as_mut_ptr();
                tiles.store(sums, sums.add(TILE_ROWS * TILE), TILE * size_of::<i32>());
            }
            let (scales, bias) = (&linear.scales[first..first + TILE], &linear.bias[first..first + TILE]);
            let used = TILE.min(columns - first);
            let outputs = outputs[row * columns..].chunks_exact_mut(columns);
            for ((sums, row_scale), outputs) in sums.0.chunks_exact(TILE).zip(row_scales).zip(outputs) {
                let outputs = &mut outputs[first..first + used];
                if used == TILE {
                    finish::<GELU, true>(sums, scales, *row_scale, bias, outputs);
                } else {
                    finish::<GELU, false>(sums, scales, *row_scale, bias, outputs);
                }
            }
        }
    }
}

/// Sums of two by two AMX tiles, on a cache line.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct TiledSums([i32; 2 * TILE_ROWS * TILE]);

/// [`Product::finish`] by the functions of `math.rs`.
#[inline(always)]
pub(super) fn finish_rows<D: Product, const P: usize, const GELU: bool>(
    sums: &[i32],
    tile: Worth<'_>,
    row_scales: &[f32],
    outputs: &mut [f32],
    columns: usize,
) {
    let Worth { scales, bias, used } = tile;
    let rows = sums.chunks_exact(P * D::LANES).zip(row_scales).zip(outputs.chunks_mut(columns));
    for ((sums, row_scale), outputs) in rows {
        let outputs = &mut outputs[..used];
        if is_wide::<D, P>() && used == P * D::LANES {
            let (sums, outputs) = (&sums[..P * D::LANES], &mut outputs[..P * D::LANES]);
            finish::<GELU, true>(sums, scales, *row_scale, bias, outputs);
        } else {
            finish::<GELU, false>(sums, scales, *row_scale, bias, outputs);
        }
    }
}

/// Whether a tile has outputs enough for the compiler to see vectors in them.
const fn is_wide<D: Product, const P: usize>() -> bool {
    P * D::LANES >= 16
}

/// Elements that [`finish`] takes at once where there are as many; divides every tile.
const FINISHED: usize = 8;

/// Sums to outputs, as many as there are of these; `WHOLE` where all slices are of a length that the compiler knows.
#[inline(always)]
fn finish<const GELU: bool, const WHOLE: bool>(
    sums: &[i32],
    scales: &[f32],
    row_scale: f32,
    bias: &[f32],
    outputs: &mut [f32],
) {
    let value = |sum, scale, bias| {
        let value = math::dequantize(sum, scale, row_scale, bias);
        if GELU { math::gelu(value) } else { value }
    };
    if WHOLE {
        let inputs = sums.iter().zip(scales).zip(bias);
        return outputs
            .iter_mut()
            .zip(inputs)
            .for_each(|(y, ((&sum, &scale), &bias))| *y = value(sum, scale, bias));
    }
    let (whole, rest) = outputs.as_chunks_mut::<FINISHED>();
    let sums = sums.as_chunks::<FINISHED>().0.iter();
    let mut inputs = sums.zip(scales.as_chunks::<FINISHED>().0).zip(bias.as_chunks::<FINISHED>().0);
    for (outputs, ((sums, scales), bias)) in whole.iter_mut().zip(&mut inputs) {
        // Written at once: in between, the compiler has to take each output for a sum to come.
        let mut values = [0.0; FINISHED];
        for (lane, value_of) in values.iter_mut().enumerate() {
            *value_of = value(sums[lane], scales[lane], bias[lane]);
        }
        *outputs = values;
    }
    if let Some(((sums, scales), bias)) = inputs.next() {
        for (lane, output) in rest.iter_mut().enumerate() {
            *output = value(sums[lane], scales[lane], bias[lane]);
        }
    }
}

/// GELU in place. Engines of WebAssembly make every constant anew wherever it is used, in three instructions: these come
/// as values that the compiler does not know, which stay in registers or on the stack.
#[inline(always)]
fn gelu(outputs: &mut [f32]) {
    let by = std::hint::black_box(math::GELU);
    outputs.iter_mut().for_each(|y| *y = math::gelu_by(&by, *y));
}

/// `count` rows of a tile in whole blocks, or, where blocks are single rows, at most `R` in runs of the sizes that are
/// compiled.
///
/// # Safety
/// The instruction set of `D` is available; `codes` holds `count` rows of `groups` groups in whole blocks, `tile.panels` as many
/// groups of `P x LANES` outputs, `tile.start` a value for each of these, `tile.limits` what [`Product::limits`] says of their panels
/// and `sums` `count` rows of `sums_stride` (in whole blocks).
#[inline(always)]
unsafe fn multiply_rows<D: Product, const P: usize, const R: usize>(
    codes: &[D::Code],
    count: usize,
    groups: usize,
    tile: Tile<'_, D>,
    sums: &mut [i32],
    sums_stride: usize,
) {
    const { assert!((D::ROWS == 1 || D::ROWS == R) && (P * D::LANES).is_multiple_of(D::PANEL)) };
    let stride = groups * D::GROUP;
    let (codes, sums) = (codes.as_ptr(), sums.as_mut_ptr());
    let (panels, start) = (tile.panels.as_ptr(), tile.start.as_ptr());
    // SAFETY: by this function's contract.
    unsafe {
        if D::ROWS == R {
            let blocks = count.div_ceil(R);
            return D::multiply_blocks::<P, R>(codes, blocks, groups, tile, sums, sums_stride);
        }
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

/// Tiles of blocks, one below the other. A function of its own in WebAssembly, whose compilers give a loop the better code
/// the less is around it.
///
/// # Safety
/// As [`multiply_rows`], with `blocks` blocks of `R` rows.
#[cfg_attr(target_arch = "wasm32", inline(never))]
pub(super) unsafe fn multiply_blocks<D: Product, const P: usize, const R: usize>(
    codes: *const D::Code,
    blocks: usize,
    groups: usize,
    panels: *const D::Weight,
    start: *const i32,
    sums: *mut i32,
    sums_stride: usize,
) {
    let stride = groups * D::GROUP;
    for block in 0..blocks {
        // SAFETY: by this function's contract.
        unsafe {
            let (codes, sums) = (codes.add(block * R * stride), sums.add(block * R * sums_stride));
            multiply::<D, P, R>(codes, stride, groups, panels, start, sums, sums_stride);
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
    panels: *const D::Weight,
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
        let (mut codes, mut panels, mut left) = (codes, panels, groups);
        if D::ROWS == 1 {
            for group in 0..groups {
                let (codes, panels) = (codes.add(group * D::GROUP), panels.add(group * D::PANEL * D::GROUP));
                multiply_group::<D, P, R>(&mut totals, codes, panels, stride);
            }
            left = 0;
        }
        // Four steps a turn. That each may be the last keeps a compiler of WebAssembly from reading ahead for all four,
        // which would push sums out of their registers.
        'groups: while left > 0 {
            for at in 0..UNROLLED {
                let (codes, panels) =
                    (codes.add(at * D::ROWS * D::GROUP), panels.add(at * D::PANEL * D::GROUP));
                multiply_group::<D, P, R>(&mut totals, codes, panels, stride);
                left -= 1;
                if left == 0 {
                    break 'groups;
                }
            }
            codes = codes.add(UNROLLED * D::ROWS * D::GROUP);
            panels = panels.add(UNROLLED * D::PANEL * D::GROUP);
        }
        for (r, totals) in totals.iter().enumerate() {
            for (p, total) in totals.iter().enumerate() {
                D::store_sums(*total, sums.add(r * sums_stride + p * D::LANES));
            }
        }
    }
}

/// One group of inputs of a tile. (A closure would be compiled without the instruction set.)
///
/// # Safety
/// As [`multiply`], of one group.
#[inline(always)]
unsafe fn multiply_group<D: Product, const P: usize, const R: usize>(
    totals: &mut [[D::Sums; P]; R],
    codes: *const D::Code,
    panels: *const D::Weight,
    stride: usize,
) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let mut weights = [D::load_weights(panels); P];
        for (p, weights) in weights.iter_mut().enumerate().skip(1) {
            let output = p * D::LANES;
            let panel = panels.add(output / D::PANEL * D::PANEL * stride);
            *weights = D::load_weights(panel.add(output % D::PANEL * D::GROUP));
        }
        for (r, totals) in totals.iter_mut().enumerate() {
            let codes = D::splat_codes(codes.add(r * if D::ROWS == 1 { stride } else { D::GROUP }));
            for p in 0..P {
                totals[p] = D::add_products(totals[p], codes, weights[p]);
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
    /// A block of these or of queries, its rows one after the other.
    lines: Aligned<i16>,
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
            lines: Aligned::zeros(MAX_ROWS * pairs.max(elements)),
            weights: [0.0; MAX_ROWS],
            largest: Vec::new(),
        }
    }
}

/// Attention of one text: `projected` is `tokens x 3 width`, `context` `tokens x width`; `R` rows at a time.
///
/// # Safety
/// The instruction set of `M` is available.
#[inline(always)]
unsafe fn attend_body<M: Machine, const R: usize>(
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
        pack_keys::<M::Pairs>(projected, width, at, size, key_inverse, &mut head.keys);
        pack_values::<M::Pairs>(projected, width, at, size, value_inverse, &mut head.values);
        let logit_scale = math::logit_scale(size);
        let step = if <M::Pairs as Product>::ROWS == 1 { R } else { MAX_ROWS };
        for first in (0..tokens).step_by(step) {
            let count = step.min(tokens - first);
            let queries = &projected[3 * first * width..3 * (first + count) * width];
            let mut scales = [0.0f32; MAX_ROWS];
            let inverses =
                query_codes::<M::Pairs>(queries, width, at, size, &mut head.lines, &mut head.queries);
            for (scale, query_scale) in scales.iter_mut().zip(inverses) {
                *scale = query_scale * key_scale * logit_scale;
            }
            // SAFETY: the instruction set is there.
            unsafe {
                logits::<M>(head, size, count, tokens);
                weigh::<M::Pairs>(head, &scales[..count], value_scale, tokens);
                mix::<M>(head, size, count, tokens, &mut context[first * width..], width, at);
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

/// Codes of a head's keys, in panels of tokens.
#[inline(always)]
fn pack_keys<D: Product>(
    projected: &[f32],
    width: usize,
    at: usize,
    size: usize,
    inverse: f32,
    keys: &mut [i16],
) {
    let groups = size.div_ceil(2);
    let mut codes = [0i16; super::MAX_HEAD];
    for (token, row) in projected.chunks_exact(3 * width).enumerate() {
        for (code, x) in codes.iter_mut().zip(&row[width + at..][..size]) {
            *code = math::round(x * inverse) as i16;
        }
        let panel = &mut keys[place::<D>(token, 0, groups)..];
        let pairs = codes.as_chunks::<2>().0[..groups].iter();
        for (to, pair) in panel.as_chunks_mut::<2>().0.iter_mut().step_by(D::PANEL).zip(pairs) {
            *to = *pair;
        }
    }
}

/// Codes of a head's values, in panels of elements; a last token without a partner gets zeros for one.
#[inline(always)]
fn pack_values<D: Product>(
    projected: &[f32],
    width: usize,
    at: usize,
    size: usize,
    inverse: f32,
    values: &mut [i16],
) {
    let tokens = projected.len() / (3 * width);
    let groups = tokens.div_ceil(2);
    let row = |token: usize| &projected[(3 * token + 2) * width + at..][..size];
    for group in 0..groups {
        let left = row(2 * group);
        let right = (2 * group + 1 < tokens).then(|| row(2 * group + 1));
        for first in (0..size).step_by(BLOCK) {
            let count = BLOCK.min(size - first);
            let to = &mut values[place::<D>(first, 2 * group, groups)..][..2 * count];
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

/// Elements that [`pack_values`] takes at once; divides every panel.
const BLOCK: usize = 8;

#[inline(always)]
fn interleave(to: &mut [[i16; 2]], left: &[f32], right: &[f32], inverse: f32) {
    let pair = |l: f32, r: f32| [math::round(l * inverse) as i16, math::round(r * inverse) as i16];
    if let (Ok(to), Ok(left), Ok(right)) = (
        <&mut [[i16; 2]; BLOCK]>::try_from(&mut *to),
        <&[f32; BLOCK]>::try_from(left),
        <&[f32; BLOCK]>::try_from(right),
    ) {
        // The same loop with a length that the compiler knows.
        for lane in 0..BLOCK {
            to[lane] = pair(left[lane], right[lane]);
        }
    } else {
        to.iter_mut().zip(left.iter().zip(right)).for_each(|(to, (l, r))| *to = pair(*l, *r));
    }
}

/// Codes of a block of queries; what a code of each is worth.
#[inline(always)]
fn query_codes<D: Product<Code = i16>>(
    queries: &[f32],
    width: usize,
    at: usize,
    size: usize,
    lines: &mut [i16],
    codes: &mut [i16],
) -> [f32; MAX_ROWS] {
    let mut scales = [0.0f32; MAX_ROWS];
    let blocks = codes.chunks_exact_mut(codes_of::<D>(1, size)).zip(scales.chunks_mut(D::ROWS));
    for (rows, (block, scales)) in queries.chunks(D::ROWS * 3 * width).zip(blocks) {
        let mut rows = rows.chunks_exact(3 * width).zip(scales);
        write_block::<D>(block, lines, line_of::<D>(size), |codes| {
            let Some((row, scale)) = rows.next() else { return };
            let query = &row[at..][..size];
            let (inverse, query_scale) = math::scales(math::largest_magnitude(query), math::KEY_LIMIT);
            for (code, x) in codes.iter_mut().zip(query) {
                *code = math::round(x * inverse) as i16;
            }
            *scale = query_scale;
        });
    }
    scales
}

/// Products of a block of queries with all keys.
///
/// # Safety
/// The instruction set of `M` is available.
#[inline(always)]
unsafe fn logits<M: Machine>(head: &mut Head, size: usize, count: usize, tokens: usize) {
    let groups = size.div_ceil(2);
    let padded = tokens.next_multiple_of(TILE);
    let codes = &head.queries[..codes_of::<M::Pairs>(count, size)];
    let rows = Rows { codes, count, groups };
    // SAFETY: the instruction set is there; the buffers were made for this many rows, tokens and elements.
    unsafe { M::multiply_pairs(rows, &head.keys, tokens, &mut head.logits, padded) };
}

/// Probability codes of a block of rows, and what their products with values are worth.
#[inline(always)]
fn weigh<D: Product<Code = i16>>(head: &mut Head, scales: &[f32], value_scale: f32, tokens: usize) {
    let (padded, pairs) = (tokens.next_multiple_of(TILE), tokens.next_multiple_of(2));
    // See `gelu`.
    let by = std::hint::black_box(math::POWER);
    let rows = scales.iter().zip(head.logits.chunks_exact(padded));
    let mut rows = rows.zip(&mut head.weights);
    for block in head.probabilities.chunks_exact_mut(D::ROWS * pairs).take(scales.len().div_ceil(D::ROWS)) {
        write_block::<D>(block, &mut head.lines, pairs, |codes| {
            let Some(((scale, logits), weight)) = rows.next() else { return };
            codes[pairs - 1] = 0;
            let total = probabilities(&logits[..tokens], *scale, &by, &mut codes[..tokens]);
            *weight = value_scale / total as f32;
        });
    }
}

/// The largest, by lanes: as one loop it would be a call, one logit after the other, in WebAssembly.
#[inline(always)]
fn largest_logit(logits: &[i32]) -> i32 {
    let (whole, rest) = logits.as_chunks::<{ math::LANES }>();
    let mut lanes = [i32::MIN; math::LANES];
    for chunk in whole {
        for (most, &logit) in lanes.iter_mut().zip(chunk) {
            *most = (*most).max(logit);
        }
    }
    let rest = rest.iter().fold(i32::MIN, |most, &logit| most.max(logit));
    lanes.into_iter().fold(rest, i32::max)
}

/// Softmax in codes; their sum.
#[inline(always)]
fn probabilities(logits: &[i32], scale: f32, by: &math::Power, codes: &mut [i16]) -> i32 {
    let largest = largest_logit(logits);
    let mut total = 0;
    for (code, logit) in codes.iter_mut().zip(logits) {
        let probability = math::probability_code_by(by, (logit - largest) as f32 * scale);
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
unsafe fn mix<M: Machine>(
    head: &Head,
    size: usize,
    count: usize,
    tokens: usize,
    context: &mut [f32],
    width: usize,
    at: usize,
) {
    let mut sums = Sums([0; MAX_ROWS * TILE]);
    let codes = &head.probabilities[..codes_of::<M::Pairs>(count, tokens)];
    let rows = Rows { codes, count, groups: tokens.div_ceil(2) };
    for first in (0..size).step_by(TILE) {
        let used = TILE.min(size - first);
        let values = &head.values[first * 2 * rows.groups..];
        // SAFETY: the instruction set is there; the buffers were made for this many rows, tokens and elements.
        unsafe { M::multiply_pairs(rows, values, used, &mut sums.0, TILE) };
        let rows = sums.0.chunks_exact(TILE).zip(&head.weights).take(count);
        for ((sums, weight), row) in rows.zip(context.chunks_mut(width)) {
            let outputs = &mut row[at + first..][..used];
            outputs.iter_mut().zip(sums).for_each(|(y, &sum)| *y = sum as f32 * weight);
        }
    }
}
