//! Linear maps over x86's products of bytes before VNNI, `vpmaddubsw`, with the bits of every other path.
//!
//! The instruction multiplies unsigned bytes with signed ones and adds the products in pairs, in 16 bits: twice the products of
//! `vpmaddwd`. What 16 bits do not hold it cuts off. That does not occur here: codes are stored 128 higher, as 1 to 255,
//! weights must lie within [`super::SEVEN_BITS`], and `2 x 255 x 63 < 2^15`.
//!
//! Pairs add up as `segments.rs` says. A segment's sums start from `-128 sum w`, modulo 2^16, which takes back what the 128 add.
//!
//! # A block of codes
//!
//! Its rows one after the other, in whole groups; then per segment, in 32 bits, the largest sum of squares of a half's codes.
//!
//! # What is known of a panel
//!
//! Per segment its limit, as [`segments::limits`] has it; then for each output what its two halves start from.

use core::arch::x86_64::*;

use super::packed::{Product, Tile, line_of};
use super::segments::{self, GROUP};
use super::simd;

/// Added to codes.
const RAISED: i32 = 128;
const _: () = assert!(2 * (RAISED + 127) * (super::SEVEN_BITS as i32) <= i16::MAX as i32);
/// Inputs of a segment, in steps of what [`largest_squares`] reads: long enough that widening costs little, short enough that the
/// bound holds often. Of 32, 48 and 64, and 48, 64 and 96, these were the fastest for MiniLM.
pub(super) const fn of_segment(inputs: usize) -> usize {
    if inputs > MOST_INPUTS { LONG } else { SHORT }
}
const SHORT: usize = 32;
const LONG: usize = 64;
/// The most inputs of maps with short segments.
const MOST_INPUTS: usize = 1024;
const _: () = assert!(SHORT.is_multiple_of(STEP) && LONG.is_multiple_of(STEP) && STEP.is_multiple_of(GROUP));
const _: () =
    assert!(MOST_INPUTS.is_multiple_of(GROUP), "inputs in whole groups have the segments of these inputs");
/// Codes that [`largest_squares`] reads at once.
const STEP: usize = 16;

/// A vector register, taken for bytes, for halves of 16 bits or for words of 32.
///
/// # Safety
/// Every method may only be called where the processor has the instructions; pointers must be good for [`Register::LANES`] words,
/// with no alignment.
pub(super) trait Register: Copy + 'static {
    /// Words.
    const LANES: usize;

    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    unsafe fn splat(word: i32) -> Self;
    /// Sums in 16 bits of pairs of products of unsigned bytes with signed ones.
    unsafe fn multiply(unsigned: Self, signed: Self) -> Self;
    unsafe fn add_halves(self, other: Self) -> Self;
    unsafe fn subtract_halves(self, other: Self) -> Self;
    unsafe fn add_words(self, other: Self) -> Self;
    /// The sum of each word's halves.
    unsafe fn widen(self) -> Self;
}

macro_rules! register {
    ($register:ty, $lanes:literal, $load:ident, $store:ident, $splat:ident, $multiply:ident, $add_halves:ident, $subtract:ident, $add_words:ident, $pairs:ident, $splat_half:ident) => {
        impl Register for $register {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn load(from: *const i32) -> Self {
                // SAFETY: the instruction and the words are there, by the trait's contract.
                unsafe { $load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut i32) {
                // SAFETY: the instruction and the room are there, by the trait's contract.
                unsafe { $store(to.cast(), self) }
            }
            #[inline(always)]
            unsafe fn splat(word: i32) -> Self {
                // SAFETY: the instruction is there, by the trait's contract. So below.
                unsafe { $splat(word) }
            }
            #[inline(always)]
            unsafe fn multiply(unsigned: Self, signed: Self) -> Self {
                // SAFETY: as above.
                unsafe { $multiply(unsigned, signed) }
            }
            #[inline(always)]
            unsafe fn add_halves(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { $add_halves(self, other) }
            }
            #[inline(always)]
            unsafe fn subtract_halves(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { $subtract(self, other) }
            }
            #[inline(always)]
            unsafe fn add_words(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { $add_words(self, other) }
            }
            #[inline(always)]
            unsafe fn widen(self) -> Self {
                // SAFETY: as above.
                unsafe { $pairs(self, $splat_half(1)) }
            }
        }
    };
}

register!(
    __m256i,
    8,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi32,
    _mm256_maddubs_epi16,
    _mm256_add_epi16,
    _mm256_sub_epi16,
    _mm256_add_epi32,
    _mm256_madd_epi16,
    _mm256_set1_epi16
);
register!(
    __m512i,
    16,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_set1_epi32,
    _mm512_maddubs_epi16,
    _mm512_add_epi16,
    _mm512_sub_epi16,
    _mm512_add_epi32,
    _mm512_madd_epi16,
    _mm512_set1_epi16
);

/// 8-bit codes by 7-bit weights, four products a lane, in blocks of `ROWS`.
#[derive(Clone, Copy)]
pub(super) struct Quads<V, const ROWS: usize>(std::marker::PhantomData<V>);

impl<V: Register, const ROWS: usize> Product for Quads<V, ROWS> {
    const LANES: usize = V::LANES;
    const GROUP: usize = GROUP;
    const PANEL: usize = 2 * V::LANES;
    const ROWS: usize = ROWS;
    const OFFSET: i32 = RAISED;
    type Code = u8;
    type Weight = i8;
    type Sums = V;
    type Weights = V;
    type Codes = V;

    #[inline(always)]
    fn code(code: i32) -> u8 {
        (code + RAISED) as u8
    }
    fn weight(weight: i8) -> i8 {
        weight
    }
    fn limits(weights: &[i8], inputs: usize) -> Vec<i32> {
        let of_segment = of_segment(inputs);
        let limits = segments::limits(weights, inputs, Self::PANEL, of_segment);
        let panels =
            weights.chunks(Self::PANEL * inputs).zip(limits.chunks_exact(inputs.div_ceil(of_segment)));
        let mut known = Vec::new();
        for (panel, limits) in panels {
            for (segment, &limit) in limits.iter().enumerate() {
                known.push(limit);
                let starts =
                    panel.chunks_exact(inputs).map(|row| start(&row[segment * of_segment..], of_segment));
                known.extend(starts.chain(std::iter::repeat(0)).take(Self::PANEL));
            }
        }
        known
    }
    fn notes(inputs: usize) -> usize {
        inputs.div_ceil(of_segment(inputs)) * size_of::<i32>()
    }
    #[inline(always)]
    unsafe fn load_sums(sums: *const i32) -> V {
        // SAFETY: by the trait's contract. So below.
        unsafe { V::load(sums) }
    }
    #[inline(always)]
    unsafe fn store_sums(sums: V, to: *mut i32) {
        // SAFETY: as above.
        unsafe { sums.store(to) }
    }
    #[inline(always)]
    unsafe fn load_weights(weights: *const i8) -> V {
        // SAFETY: as above.
        unsafe { V::load(weights.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_codes(codes: *const u8) -> V {
        // SAFETY: as above.
        unsafe { V::splat(codes.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn add_products(sums: V, codes: V, weights: V) -> V {
        // SAFETY: as above.
        unsafe { sums.add_words(V::multiply(codes, weights).widen()) }
    }
    #[inline(always)]
    unsafe fn quantize_block(
        rows: &[f32],
        multipliers: &[f32],
        scales: &mut [f32],
        _lines: &mut [u8],
        block: &mut [u8],
    ) {
        let inputs = multipliers.len();
        let line = line_of::<Self>(inputs);
        let (codes, notes) = block.split_at_mut(ROWS * line);
        notes.fill(0);
        for ((row, scale), codes) in rows.chunks_exact(inputs).zip(scales).zip(codes.chunks_exact_mut(line)) {
            *scale = simd::quantize_row::<Self>(row, multipliers, codes);
            // SAFETY: AVX2, by the trait's contract.
            unsafe { note_squares(&codes[..inputs], notes) };
        }
    }
    #[inline(always)]
    unsafe fn multiply_blocks<const P: usize, const R: usize>(
        codes: *const u8,
        blocks: usize,
        groups: usize,
        tile: Tile<'_, Self>,
        sums: *mut i32,
        sums_stride: usize,
    ) {
        const { assert!(P == 2 && R == ROWS) };
        assert!(
            tile.limits.len() >= (GROUP * groups).div_ceil(of_segment(GROUP * groups)) * (1 + Self::PANEL)
        );
        for block in 0..blocks {
            // SAFETY: by the trait's contract.
            unsafe {
                let codes = codes.add(block * (ROWS * GROUP * groups + Self::notes(GROUP * groups)));
                let sums = sums.add(block * ROWS * sums_stride);
                let (weights, known) = (tile.panels.as_ptr(), tile.limits.as_ptr());
                multiply_block::<V, ROWS>(codes, groups, weights, known, sums, sums_stride);
            }
        }
    }
}

/// What the halves of an output's sums of a segment start from; `weights` begin with the segment's.
fn start(weights: &[i8], of_segment: usize) -> i32 {
    let mut halves = [0i16; 2];
    for (place, &weight) in weights.iter().take(of_segment).enumerate() {
        let half = &mut halves[place % GROUP / 2];
        *half = half.wrapping_sub((RAISED as i16).wrapping_mul(weight.into()));
    }
    i32::from(halves[1]) << 16 | i32::from(halves[0] as u16)
}

/// Raises what a block's notes say of each segment to the squares of one more row.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn note_squares(row: &[u8], notes: &mut [u8]) {
    for (codes, most) in row.chunks(of_segment(row.len())).zip(notes.as_chunks_mut().0) {
        // SAFETY: by this function's contract.
        let squares = unsafe { largest_squares(codes) };
        *most = squares.max(i32::from_ne_bytes(*most)).to_ne_bytes();
    }
}

/// Of a row's raised codes in a segment, the larger sum of squares of a half's codes.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn largest_squares(codes: &[u8]) -> i32 {
    let (whole, rest) = codes.as_chunks::<STEP>();
    let mut lanes = [0i32; 8];
    // SAFETY: AVX2 is there, by this function's contract, sixteen codes are, and so is room for eight sums.
    unsafe {
        let raised = _mm_set1_epi8(RAISED as u8 as i8);
        let mut sums = _mm256_setzero_si256();
        for codes in whole {
            let codes = _mm_xor_si128(_mm_loadu_si128(codes.as_ptr().cast()), raised);
            let codes = _mm256_cvtepi8_epi16(codes);
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(codes, codes));
        }
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums);
    }
    for (place, &code) in rest.iter().enumerate() {
        lanes[place / 2] += (i32::from(code) - RAISED) * (i32::from(code) - RAISED);
    }
    let half = |parity: usize| lanes[parity] + lanes[parity + 2] + lanes[parity + 4] + lanes[parity + 6];
    half(0).max(half(1))
}

/// Products of a block with a panel, segment by segment.
///
/// # Safety
/// As [`Product::multiply_blocks`], of one block of `groups` groups.
#[inline(always)]
unsafe fn multiply_block<V: Register, const R: usize>(
    codes: *const u8,
    groups: usize,
    weights: *const i8,
    known: *const i32,
    sums: *mut i32,
    stride: usize,
) {
    let line = groups * GROUP;
    let segment = of_segment(line) / GROUP;
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let mut squares = codes.add(R * line).cast::<i32>();
        let (mut codes, mut weights, mut known, mut left) = (codes, weights, known, groups);
        // Nothing lies at `sums` yet: the first segment writes there, the others add.
        let mut first = true;
        while left > 0 {
            let count = left.min(segment);
            if squares.read_unaligned() > *known {
                add_pairs::<V, R>(codes, line, count, weights, sums, stride, first);
            } else if first {
                add_segment::<V, R, true>(codes, line, count, weights, known.add(1), sums, stride);
            } else {
                add_segment::<V, R, false>(codes, line, count, weights, known.add(1), sums, stride);
            }
            first = false;
            (codes, weights) = (codes.add(count * GROUP), weights.add(count * 2 * V::LANES * GROUP));
            (squares, known, left) = (squares.add(1), known.add(1 + 2 * V::LANES), left - count);
        }
    }
}

/// Adds the products of a segment within its bound: in 16 bits, widened at the end. The `FIRST` segment's are what there is.
///
/// # Safety
/// As [`multiply_block`], of `groups` groups whose sums start from `starts`, with `line` codes from row to row.
#[inline(always)]
unsafe fn add_segment<V: Register, const R: usize, const FIRST: bool>(
    codes: *const u8,
    line: usize,
    groups: usize,
    weights: *const i8,
    starts: *const i32,
    sums: *mut i32,
    stride: usize,
) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let mut totals = [[V::load(starts), V::load(starts.add(V::LANES))]; R];
        for group in 0..groups {
            let (codes, weights) = (codes.add(group * GROUP), weights.add(group * 2 * V::LANES * GROUP));
            let both = [V::load(weights.cast()), V::load(weights.cast::<i32>().add(V::LANES))];
            for (row, totals) in totals.iter_mut().enumerate() {
                let codes = V::splat(codes.add(row * line).cast::<i32>().read_unaligned());
                totals[0] = totals[0].add_halves(V::multiply(codes, both[0]));
                totals[1] = totals[1].add_halves(V::multiply(codes, both[1]));
            }
        }
        for (row, totals) in totals.iter().enumerate() {
            for (half, total) in totals.iter().enumerate() {
                let sums = sums.add(row * stride + half * V::LANES);
                let total = total.widen();
                if FIRST { total.store(sums) } else { total.add_words(V::load(sums)).store(sums) }
            }
        }
    }
}

/// Adds the products of any segment, every pair widened; the `first` one's are what there is.
///
/// # Safety
/// As [`add_segment`], without its starts.
#[inline(always)]
unsafe fn add_pairs<V: Register, const R: usize>(
    codes: *const u8,
    line: usize,
    groups: usize,
    weights: *const i8,
    sums: *mut i32,
    stride: usize,
    first: bool,
) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let raised = V::splat(i32::from_ne_bytes([RAISED as u8; GROUP]));
        for half in 0..2 {
            let (weights, sums) = (weights.cast::<i32>().add(half * V::LANES), sums.add(half * V::LANES));
            let mut totals = [V::splat(0); R];
            if !first {
                for (row, total) in totals.iter_mut().enumerate() {
                    *total = V::load(sums.add(row * stride));
                }
            }
            for group in 0..groups {
                let weights = V::load(weights.add(group * 2 * V::LANES));
                let too_much = V::multiply(raised, weights);
                for (row, total) in totals.iter_mut().enumerate() {
                    let codes =
                        V::splat(codes.add(row * line + group * GROUP).cast::<i32>().read_unaligned());
                    *total = total.add_words(V::multiply(codes, weights).subtract_halves(too_much).widen());
                }
            }
            for (row, total) in totals.iter().enumerate() {
                total.store(sums.add(row * stride));
            }
        }
    }
}
