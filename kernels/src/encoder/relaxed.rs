//! Linear maps over WebAssembly's relaxed vector instructions (<https://github.com/WebAssembly/relaxed-simd>), with the bits
//! of every other path.
//!
//! `i16x8.relaxed_dot_i8x16_i7x16_s` multiplies sixteen signed bytes with sixteen bytes of 0 to 127 and adds the products
//! in pairs, in 16 bits: twice the products of `simd128`'s widest multiplication. What it gives for other bytes, and for
//! pairs that 16 bits do not hold, is left to the engine. Neither occurs here. Weights, which must lie within
//! [`MOST`], are stored 64 higher, as 1 to 127, and `2 x 127 x 127 < 2^15`. What the 64 adds is taken back.
//!
//! # Sums of a segment, in 16 bits
//!
//! Widening every pair to 32 bits would take as many multiplications as are saved. So pairs add up in 16 bits, over a
//! *segment* of [`SEGMENT`] groups, modulo 2^16, from `-64 sum a` on. That is exact where the true sum fits, and it does where
//!
//! ```text
//! |sum a w| <= |a| |w| <= 32767        (Cauchy-Schwarz, over the inputs of a lane)
//! ```
//!
//! The weights' norms are known when they are packed, the codes' when they are quantised, both exactly, as integers. Each
//! block, panel and segment compares them, and goes pair by pair where the bound says nothing.
//!
//! # Sums of all inputs, in 32 bits
//!
//! Where the processor adds four products of bytes to a 32-bit sum in one instruction (x86 with AVX-VNNI, Arm),
//! `i32x4.relaxed_dot_i8x16_i7x16_add_s` is that instruction, and faster still. [`is_fused`] finds out.
//!
//! # A block of codes
//!
//! Four rows as [`super::packed`] has them; then, per row, `-64 sum a` over all inputs in 32 bits; then per segment `-64 sum a`
//! over even and over odd pairs modulo 2^16, row after row, and the largest sum of squares of a lane of any row.

#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
use core::arch::wasm32::*;

#[cfg(not(all(target_arch = "wasm32", feature = "relaxed-simd")))]
use super::emulated::*;
use super::packed::{Product, Tile};

/// The largest magnitude of a weight.
pub(super) const MOST: i8 = super::SEVEN_BITS;
/// Added to weights.
const RAISED: i8 = 64;
/// Inputs whose products are added at once: two pairs.
const GROUP: usize = 4;
/// Rows of a block.
const ROWS: usize = 4;
/// Outputs of a panel, in two registers.
const PANEL: usize = 8;
/// Groups of a segment: long enough that widening costs little, short enough that the bound holds for most codes (of MiniLM's
/// with 7-bit weights, over documents of the sample, for 97 in 100 segments; of 16 groups, for 77).
const SEGMENT: usize = 12;
/// Bytes of what is noted about a block's rows, and about each segment of them.
const ROW_NOTES: usize = 4 * ROWS;
const SEGMENT_NOTES: usize = 4 * ROWS + 4;

/// 8-bit codes by 7-bit weights, four products a lane.
#[derive(Clone, Copy)]
pub(super) struct RelaxedQuads;

impl Product for RelaxedQuads {
    const LANES: usize = 4;
    const GROUP: usize = GROUP;
    const PANEL: usize = PANEL;
    const ROWS: usize = ROWS;
    const OFFSET: i32 = 0;
    type Code = i8;
    type Weight = i8;
    type Sums = v128;
    type Weights = v128;
    type Codes = v128;

    #[inline(always)]
    fn code(code: i32) -> i8 {
        code as i8
    }
    fn weight(weight: i8) -> i8 {
        weight + RAISED
    }
    fn limits(codes: &[i8], inputs: usize) -> Vec<i32> {
        #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
        if is_fused() {
            return Vec::new();
        }
        limits(codes, inputs)
    }
    fn notes(inputs: usize) -> usize {
        ROW_NOTES + inputs.div_ceil(GROUP * SEGMENT) * SEGMENT_NOTES
    }
    #[inline(always)]
    unsafe fn load_sums(sums: *const i32) -> v128 {
        // SAFETY: four sums, by the trait's contract.
        unsafe { v128_load(sums.cast()) }
    }
    #[inline(always)]
    unsafe fn store_sums(sums: v128, to: *mut i32) {
        // SAFETY: room for four sums, by the trait's contract.
        unsafe { v128_store(to.cast(), sums) }
    }
    #[inline(always)]
    unsafe fn load_weights(weights: *const i8) -> v128 {
        // SAFETY: sixteen weights, by the trait's contract.
        unsafe { v128_load(weights.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_codes(codes: *const i8) -> v128 {
        // SAFETY: four codes, by the trait's contract.
        unsafe { v128_load32_splat(codes.cast()) }
    }
    #[inline(always)]
    #[allow(unused_unsafe)] // safe where it is emulated
    unsafe fn add_products(sums: v128, codes: v128, weights: v128) -> v128 {
        // SAFETY: the instruction is there, by the trait's contract.
        unsafe { i32x4_relaxed_dot_i8x16_i7x16_add(codes, weights, sums) }
    }
    #[inline(always)]
    fn interleave(rows: &[i8], block: &mut [i8]) {
        interleave(rows, block);
    }
    #[inline(always)]
    unsafe fn multiply_blocks<const P: usize, const R: usize>(
        codes: *const i8,
        blocks: usize,
        groups: usize,
        tile: Tile<'_, Self>,
        sums: *mut i32,
        sums_stride: usize,
    ) {
        const { assert!(P * Self::LANES == PANEL && R == ROWS) };
        for block in 0..blocks {
            // SAFETY: by the trait's contract.
            unsafe {
                let block_codes = codes.add(block * (ROWS * GROUP * groups + Self::notes(GROUP * groups)));
                let sums = sums.add(block * ROWS * sums_stride);
                let weights = tile.panels.as_ptr();
                if tile.limits.is_empty() {
                    fused_block(block_codes, groups, weights, sums, sums_stride);
                } else {
                    segmented_block(block_codes, groups, weights, tile.limits.as_ptr(), sums, sums_stride);
                }
            }
        }
    }
}

/// Whether four products are added to a 32-bit sum in one instruction, and rightly: whether products that 16 bits do not hold
/// in pairs are added up whole (the weights are beyond what the instruction defines, and so tell engines apart), and a sum
/// that is defined comes out. (It does not in node 20, where the instruction is an experiment.)
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
fn is_fused() -> bool {
    const CUT_OFF: i32 = 2 * i16::MAX as i32;
    let sums = |codes: [i8; GROUP], weights: [i8; GROUP], start: i32| {
        let mut sums = [0; 4];
        // SAFETY: the module has the instruction; there are four codes, four weights and room for four sums.
        unsafe {
            let codes = v128_load32_splat(codes.as_ptr().cast());
            let weights = v128_load32_splat(weights.as_ptr().cast());
            let dot = i32x4_relaxed_dot_i8x16_i7x16_add(codes, weights, i32x4_splat(start));
            v128_store(sums.as_mut_ptr().cast(), dot);
        }
        sums
    };
    let (codes, weights) = ([-127, 5, -3, 100], [127, 1, 64, 9]);
    let products = codes.iter().zip(weights).map(|(&a, w): (&i8, i8)| i32::from(a) * i32::from(w));
    sums(codes, weights, 1000) == [1000 + products.sum::<i32>(); 4]
        && sums([127; 4], [-1; 4], 0)[0] != CUT_OFF
}

/// Per panel and segment, the largest sum of squares of a lane's codes under which no sum of products leaves 16 bits.
pub(super) fn limits(codes: &[i8], inputs: usize) -> Vec<i32> {
    const MOST_SQUARED: i32 = (i16::MAX as i32) * (i16::MAX as i32);
    let segments = inputs.div_ceil(GROUP * SEGMENT);
    let mut limits = Vec::new();
    for panel in codes.chunks(PANEL * inputs) {
        let mut squares = vec![1; segments];
        for row in panel.chunks_exact(inputs) {
            for (most, segment) in squares.iter_mut().zip(row.chunks(GROUP * SEGMENT)) {
                let lane = |parity: usize| -> i32 {
                    let pairs = segment.chunks(2).skip(parity).step_by(2);
                    pairs.flatten().map(|&w| i32::from(w) * i32::from(w)).sum()
                };
                *most = lane(0).max(lane(1)).max(*most);
            }
        }
        limits.extend(squares.iter().map(|squares| MOST_SQUARED / squares));
    }
    limits
}

/// Lays rows out as a block, notes included.
#[inline(always)]
fn interleave(rows: &[i8], block: &mut [i8]) {
    let groups = rows.len() / (ROWS * GROUP);
    let (codes, notes) = block.split_at_mut(rows.len());
    let (quads, to) = (rows.as_chunks::<GROUP>().0, codes.as_chunks_mut::<GROUP>().0);
    for (group, to) in to.chunks_exact_mut(ROWS).enumerate() {
        for (row, to) in to.iter_mut().enumerate() {
            *to = quads[row * groups + group];
        }
    }
    let (row_notes, segment_notes) = notes.split_at_mut(ROW_NOTES);
    let mut totals = [0i32; ROWS];
    let segments = codes.chunks(ROWS * GROUP * SEGMENT).zip(segment_notes.chunks_exact_mut(SEGMENT_NOTES));
    for (codes, notes) in segments {
        let (sums, squares) = sums_of_lanes(codes.as_chunks::<{ ROWS * GROUP }>().0);
        let (starts, most) = notes.split_at_mut(2 * 2 * ROWS);
        for (to, sum) in starts.as_chunks_mut::<2>().0.iter_mut().zip(sums) {
            *to = ((-i32::from(RAISED) * sum) as i16).to_le_bytes().map(|byte| byte as i8);
        }
        let largest = squares.into_iter().fold(0, i32::max);
        most.copy_from_slice(&largest.to_le_bytes().map(|byte| byte as i8));
        for (total, lanes) in totals.iter_mut().zip(sums.as_chunks::<2>().0) {
            *total -= i32::from(RAISED) * (lanes[0] + lanes[1]);
        }
    }
    for (to, total) in row_notes.as_chunks_mut::<4>().0.iter_mut().zip(totals) {
        *to = total.to_le_bytes().map(|byte| byte as i8);
    }
}

/// Sums of codes and of their squares over groups of a block: per row, those of even pairs and those of odd ones.
#[inline(always)]
fn sums_of_lanes(groups: &[[i8; ROWS * GROUP]]) -> ([i32; 2 * ROWS], [i32; 2 * ROWS]) {
    let (mut sums, mut squares) = ([0; 2 * ROWS], [0; 2 * ROWS]);
    let zero = i32x4_splat(0);
    let (ones, mut totals) = (i16x8_splat(1), [zero; 4]);
    // SAFETY: a group has sixteen codes, an array room for eight sums.
    unsafe {
        for group in groups {
            let codes = v128_load(group.as_ptr().cast());
            let (first, last) = (i16x8_extend_low_i8x16(codes), i16x8_extend_high_i8x16(codes));
            totals[0] = i32x4_add(totals[0], i32x4_dot_i16x8(first, ones));
            totals[1] = i32x4_add(totals[1], i32x4_dot_i16x8(last, ones));
            totals[2] = i32x4_add(totals[2], i32x4_dot_i16x8(first, first));
            totals[3] = i32x4_add(totals[3], i32x4_dot_i16x8(last, last));
        }
        v128_store(sums.as_mut_ptr().cast(), totals[0]);
        v128_store(sums.as_mut_ptr().add(4).cast(), totals[1]);
        v128_store(squares.as_mut_ptr().cast(), totals[2]);
        v128_store(squares.as_mut_ptr().add(4).cast(), totals[3]);
    }
    (sums, squares)
}

/// Products of a block with a panel, over all inputs in 32 bits.
///
/// # Safety
/// As [`Product::multiply_blocks`], of one block of `groups` groups.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
unsafe fn fused_block(codes: *const i8, groups: usize, weights: *const i8, sums: *mut i32, stride: usize) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let notes = codes.add(groups * ROWS * GROUP);
        let mut totals = [[i32x4_splat(0); 2]; ROWS];
        for (row, totals) in totals.iter_mut().enumerate() {
            *totals = [v128_load32_splat(notes.add(4 * row).cast()); 2];
        }
        let (mut codes, mut weights, mut left) = (codes, weights, groups);
        // Four steps a turn, each perhaps the last: see `simd.rs`.
        'groups: while left > 0 {
            for at in 0..4 {
                let (codes, weights) = (codes.add(at * ROWS * GROUP), weights.add(at * PANEL * GROUP));
                let weights = [v128_load(weights.cast()), v128_load(weights.add(16).cast())];
                for (row, totals) in totals.iter_mut().enumerate() {
                    let codes = v128_load32_splat(codes.add(row * GROUP).cast());
                    totals[0] = i32x4_relaxed_dot_i8x16_i7x16_add(codes, weights[0], totals[0]);
                    totals[1] = i32x4_relaxed_dot_i8x16_i7x16_add(codes, weights[1], totals[1]);
                }
                left -= 1;
                if left == 0 {
                    break 'groups;
                }
            }
            (codes, weights) = (codes.add(4 * ROWS * GROUP), weights.add(4 * PANEL * GROUP));
        }
        for (row, totals) in totals.iter().enumerate() {
            v128_store(sums.add(row * stride).cast(), totals[0]);
            v128_store(sums.add(row * stride + 4).cast(), totals[1]);
        }
    }
}

/// Products of a block with a panel, segment by segment.
///
/// # Safety
/// As [`Product::multiply_blocks`], of one block of `groups` groups, with a limit per segment.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
unsafe fn segmented_block(
    codes: *const i8,
    groups: usize,
    weights: *const i8,
    limits: *const i32,
    sums: *mut i32,
    stride: usize,
) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        for row in 0..ROWS {
            v128_store(sums.add(row * stride).cast(), i32x4_splat(0));
            v128_store(sums.add(row * stride + 4).cast(), i32x4_splat(0));
        }
        let mut notes = codes.add(groups * ROWS * GROUP + ROW_NOTES);
        let (mut codes, mut weights, mut limit, mut left) = (codes, weights, limits, groups);
        while left > 0 {
            let count = left.min(SEGMENT);
            let squares = notes.add(4 * ROWS).cast::<i32>().read_unaligned();
            if squares <= *limit {
                add_segment(codes, notes, count, weights, sums, stride);
            } else {
                add_pairs(codes, count, weights, sums, stride);
            }
            (codes, weights) = (codes.add(count * ROWS * GROUP), weights.add(count * PANEL * GROUP));
            (notes, limit, left) = (notes.add(SEGMENT_NOTES), limit.add(1), left - count);
        }
    }
}

/// Adds the products of a segment within its bound: in 16 bits, widened at the end.
///
/// # Safety
/// As [`segmented_block`], of `groups` groups with the notes about them.
#[inline(always)]
unsafe fn add_segment(
    codes: *const i8,
    notes: *const i8,
    groups: usize,
    weights: *const i8,
    sums: *mut i32,
    stride: usize,
) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let mut totals = [[i32x4_splat(0); 2]; ROWS];
        for (row, totals) in totals.iter_mut().enumerate() {
            *totals = [v128_load32_splat(notes.add(4 * row).cast()); 2];
        }
        let (mut codes, mut weights) = (codes, weights);
        for _ in 0..groups {
            let both = [v128_load(weights.cast()), v128_load(weights.add(16).cast())];
            for (row, totals) in totals.iter_mut().enumerate() {
                let codes = v128_load32_splat(codes.add(row * GROUP).cast());
                totals[0] = i16x8_add(totals[0], i16x8_relaxed_dot_i8x16_i7x16(codes, both[0]));
                totals[1] = i16x8_add(totals[1], i16x8_relaxed_dot_i8x16_i7x16(codes, both[1]));
            }
            (codes, weights) = (codes.add(ROWS * GROUP), weights.add(PANEL * GROUP));
        }
        for (row, totals) in totals.iter().enumerate() {
            widen(totals[0], sums.add(row * stride));
            widen(totals[1], sums.add(row * stride + 4));
        }
    }
}

/// Adds the products of any segment, every pair widened. A function of its own, being rare: the loop around it is the better
/// compiled.
///
/// # Safety
/// As [`add_segment`], without notes.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
unsafe fn add_pairs(codes: *const i8, groups: usize, weights: *const i8, sums: *mut i32, stride: usize) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let mut totals = [[i32x4_splat(0); 2]; ROWS];
        for (row, totals) in totals.iter_mut().enumerate() {
            for (half, total) in totals.iter_mut().enumerate() {
                *total = v128_load(sums.add(row * stride + 4 * half).cast());
            }
        }
        let (ones, raised) = (i16x8_splat(1), i8x16_splat(RAISED));
        let (mut codes, mut weights) = (codes, weights);
        for _ in 0..groups {
            let both = [v128_load(weights.cast()), v128_load(weights.add(16).cast())];
            for (row, totals) in totals.iter_mut().enumerate() {
                let codes = v128_load32_splat(codes.add(row * GROUP).cast());
                let too_much = i16x8_relaxed_dot_i8x16_i7x16(codes, raised);
                for (total, weights) in totals.iter_mut().zip(both) {
                    let pairs = i16x8_sub(i16x8_relaxed_dot_i8x16_i7x16(codes, weights), too_much);
                    *total = i32x4_add(*total, i32x4_dot_i16x8(pairs, ones));
                }
            }
            (codes, weights) = (codes.add(ROWS * GROUP), weights.add(PANEL * GROUP));
        }
        for (row, totals) in totals.iter().enumerate() {
            v128_store(sums.add(row * stride).cast(), totals[0]);
            v128_store(sums.add(row * stride + 4).cast(), totals[1]);
        }
    }
}

/// Adds pairs of 16-bit sums to four sums.
///
/// # Safety
/// There are four sums.
#[inline(always)]
#[allow(unused_unsafe)] // what is safe differs between the instructions and their emulation
unsafe fn widen(halves: v128, sums: *mut i32) {
    // SAFETY: by this function's contract.
    unsafe {
        // What `i32x4_extadd_pairwise_i16x8` gives, measured faster with ones of our own: V8 multiplies by ones for it too, and
        // loads their address before each.
        let pairs = i32x4_dot_i16x8(halves, i16x8_splat(1));
        v128_store(sums.cast(), i32x4_add(v128_load(sums.cast()), pairs));
    }
}
