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
//! Pairs add up as `segments.rs` says, over a [`segment`] of groups, from `-64 sum a` on. The codes' squares are noted a little
//! higher than they are: see [`CUT`].
//!
//! # Sums of all inputs, in 32 bits
//!
//! Where the processor adds four products of bytes to a 32-bit sum in one instruction (x86 with AVX-VNNI, Arm),
//! `i32x4.relaxed_dot_i8x16_i7x16_add_s` is that instruction, and faster still. [`is_fused`] finds out.
//!
//! # A block of codes
//!
//! Four rows as [`super::packed`] has them; then, per row, `-64 sum a` over all inputs in 32 bits; then per segment `-64 sum a`
//! over even and over odd pairs modulo 2^16, row after row, and what no lane's sum of squares is above.

#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
use core::arch::wasm32::*;

#[cfg(not(all(target_arch = "wasm32", feature = "relaxed-simd")))]
use super::emulated::*;
use super::packed::{Product, Tile, Worth};
use super::segments::{self, GROUP};
use super::{math, simd};

/// The largest magnitude of a weight.
pub(super) const MOST: i8 = super::SEVEN_BITS;
/// Added to weights.
const RAISED: i8 = 64;
/// Rows of a block.
const ROWS: usize = 4;
/// Outputs of a panel, in two registers.
const PANEL: usize = 8;
/// Groups of a segment: long enough that widening costs little, short enough that the bound holds for most. Of MiniLM's with
/// 7-bit weights, counted once with exact norms, it held where there are 384 inputs for 99.9 in 100 segments of 8 groups, for
/// 95 of 12 and 59 of 16; behind GELU, where there are 1,536, for 99.7 of 24 and 95 of 32. Times decided between 8, 10 and 12.
pub(super) const fn segment(inputs: usize) -> usize {
    if inputs > MOST_INPUTS { LONG } else { SHORT }
}
const SHORT: usize = 10;
const LONG: usize = 24;
/// The most inputs of maps with short segments.
const MOST_INPUTS: usize = 1024;
const _: () =
    assert!(MOST_INPUTS.is_multiple_of(GROUP), "inputs in whole groups have the segments of these inputs");
/// Lowest bits that sums of squares of pairs are cut off by, so that a segment's sum fits in 16.
const CUT: u32 = 4;
const _: () = assert!(LONG * ((2 * 127 * 127) >> CUT) < 1 << 16);
/// Bytes of what is noted about a block's rows, and about each segment of them.
const ROW_NOTES: usize = 4 * ROWS;
const SEGMENT_NOTES: usize = 4 * ROWS + 4;

/// The places of the lowest bytes of four lanes.
const LOWEST_BYTES: v128 = u8x16(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

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
        ROW_NOTES + inputs.div_ceil(GROUP * segment(inputs)) * SEGMENT_NOTES
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
    unsafe fn quantize_block(
        rows: &[f32],
        multipliers: &[f32],
        scales: &mut [f32],
        _lines: &mut [i8],
        block: &mut [i8],
    ) {
        quantize_block(rows, multipliers, scales, block);
    }
    #[inline(always)]
    fn finish<const P: usize, const GELU: bool>(
        sums: &[i32],
        tile: Worth<'_>,
        row_scales: &[f32],
        outputs: &mut [f32],
        columns: usize,
    ) {
        const { assert!(P * Self::LANES == PANEL) };
        if tile.used == PANEL && !GELU {
            finish(sums, tile, row_scales, outputs, columns);
        } else {
            simd::finish_rows::<Self, P, GELU>(sums, tile, row_scales, outputs, columns);
        }
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

/// What [`segments::limits`] says of a panel's segments.
pub(super) fn limits(weights: &[i8], inputs: usize) -> Vec<i32> {
    segments::limits(weights, inputs, PANEL, GROUP * segment(inputs))
}

/// Codes of a block's rows, which go straight to their places, and the block's notes. Where there are fewer rows than a block
/// has, and behind a row's last input, codes are zero.
#[inline(always)]
#[allow(unused_unsafe)] // safe where it is emulated
fn quantize_block(rows: &[f32], multipliers: &[f32], scales: &mut [f32], block: &mut [i8]) {
    let inputs = multipliers.len();
    let groups = inputs.div_ceil(GROUP);
    let codes = &mut block[..ROWS * GROUP * groups];
    assert!(rows.len() <= ROWS * inputs);
    if rows.len() < ROWS * inputs || !inputs.is_multiple_of(GROUP) {
        codes.fill(0);
    }
    for (place, (row, row_scale)) in rows.chunks_exact(inputs).zip(scales).enumerate() {
        let (inverse, scale) = math::scales(largest_scaled(row, multipliers), math::CODE_LIMIT);
        *row_scale = scale;
        let (rest, rest_by) = (row.as_chunks::<GROUP>().1, multipliers.as_chunks::<GROUP>().1);
        // Engines make a constant anew wherever it is used: these stay in registers.
        let (round, lowest) = core::hint::black_box((f32x4_splat(math::ROUND), LOWEST_BYTES));
        let inverses = f32x4_splat(inverse);
        // SAFETY: a row and the multipliers have as many inputs, and the block room for four codes of every group and row.
        unsafe {
            let (mut from, mut by) = (row.as_ptr(), multipliers.as_ptr());
            let mut to = codes.as_mut_ptr().add(place * GROUP);
            for _ in 0..inputs / GROUP {
                let scaled = f32x4_mul(v128_load(from.cast()), v128_load(by.cast()));
                // The lowest byte is the code's: see `math::round`.
                let rounded = f32x4_add(f32x4_mul(scaled, inverses), round);
                v128_store32_lane::<0>(i8x16_relaxed_swizzle(rounded, lowest), to.cast());
                (from, by, to) = (from.add(GROUP), by.add(GROUP), to.add(ROWS * GROUP));
            }
            for (lane, (x, by)) in rest.iter().zip(rest_by).enumerate() {
                to.add(lane).write(math::round(x * by * inverse) as i8);
            }
        }
    }
    take_notes(block, inputs);
}

/// The largest magnitude of a row after its multipliers.
#[inline(always)]
#[allow(unused_unsafe)] // safe where it is emulated
fn largest_scaled(row: &[f32], multipliers: &[f32]) -> f32 {
    let (quads, rest) = row.as_chunks::<8>();
    let (quads_by, rest_by) = multipliers.as_chunks::<8>();
    let (mut most, mut more) = (f32x4_splat(0.0), f32x4_splat(0.0));
    for (x, by) in quads.iter().zip(quads_by) {
        // SAFETY: eight values each.
        unsafe {
            let half = |at: usize| {
                f32x4_abs(f32x4_mul(
                    v128_load(x.as_ptr().add(at).cast()),
                    v128_load(by.as_ptr().add(at).cast()),
                ))
            };
            most = f32x4_pmax(most, half(0));
            more = f32x4_pmax(more, half(4));
        }
    }
    let mut lanes = [0.0f32; 4];
    // SAFETY: there is room for four values.
    unsafe { v128_store(lanes.as_mut_ptr().cast(), f32x4_pmax(most, more)) };
    let rest = rest.iter().zip(rest_by).fold(0.0, |most, (x, by)| math::larger(most, (x * by).abs()));
    lanes.into_iter().fold(rest, math::larger)
}

/// [`Product::finish`] for a whole panel.
#[inline(always)]
#[allow(unused_unsafe)] // safe where it is emulated
fn finish(sums: &[i32], tile: Worth<'_>, row_scales: &[f32], outputs: &mut [f32], columns: usize) {
    let (rows, Worth { scales, bias, .. }) = (row_scales.len(), tile);
    assert!(sums.len() >= rows * PANEL && outputs.len() + columns >= rows * columns + PANEL);
    assert!(scales.len() >= PANEL && bias.len() >= PANEL);
    // SAFETY: there are as many values, as was just seen.
    unsafe {
        let both = |from: &[f32]| [v128_load(from.as_ptr().cast()), v128_load(from.as_ptr().add(4).cast())];
        let (scales, bias) = (both(scales), both(bias));
        let (mut sums, mut outputs) = (sums.as_ptr(), outputs.as_mut_ptr());
        for row_scale in row_scales {
            let row_scale = f32x4_splat(*row_scale);
            for half in 0..2 {
                // The order is that of `math::dequantize`.
                let scaled =
                    f32x4_mul(f32x4_convert_i32x4(v128_load(sums.add(4 * half).cast())), scales[half]);
                v128_store(outputs.add(4 * half).cast(), f32x4_add(f32x4_mul(scaled, row_scale), bias[half]));
            }
            (sums, outputs) = (sums.add(PANEL), outputs.wrapping_add(columns));
        }
    }
}

/// Fills in the notes of a block.
#[inline(always)]
#[allow(unused_unsafe)] // safe where it is emulated
pub(super) fn take_notes(block: &mut [i8], inputs: usize) {
    let groups = inputs.div_ceil(GROUP);
    let (codes, notes) = block.split_at_mut(ROWS * GROUP * groups);
    let (row_notes, segment_notes) = notes.split_at_mut(ROW_NOTES);
    let (raised, mut totals) = (i16x8_splat(-i16::from(RAISED)), i32x4_splat(0));
    let segments =
        codes.chunks(ROWS * GROUP * segment(inputs)).zip(segment_notes.chunks_exact_mut(SEGMENT_NOTES));
    for (codes, notes) in segments {
        let (sums, most) = sums_of_lanes(codes.as_chunks::<{ ROWS * GROUP }>().0);
        totals = i32x4_add(totals, i32x4_dot_i16x8(sums, raised));
        // SAFETY: a segment's notes have room for eight sums of 16 bits, and an integer.
        unsafe {
            v128_store(notes.as_mut_ptr().cast(), i16x8_mul(sums, raised));
            notes.as_mut_ptr().add(2 * 2 * ROWS).cast::<i32>().write_unaligned(most);
        }
    }
    // SAFETY: a block's notes have room for four sums.
    unsafe { v128_store(row_notes.as_mut_ptr().cast(), totals) };
}

/// Of the groups of a segment: per row the sum of the codes of even pairs and that of odd ones, in 16 bits, and no less
/// than the largest sum of squares of any of these.
#[inline(always)]
#[allow(unused_unsafe)] // safe where it is emulated
fn sums_of_lanes(groups: &[[i8; ROWS * GROUP]]) -> (v128, i32) {
    let (ones, mut sums, mut squares) = (i8x16_splat(1), i16x8_splat(0), i16x8_splat(0));
    for group in groups {
        // SAFETY: a group has sixteen codes; the instructions are there where this module is used.
        unsafe {
            let codes = v128_load(group.as_ptr().cast());
            let sizes = i8x16_abs(codes);
            sums = i16x8_add(sums, i16x8_relaxed_dot_i8x16_i7x16(codes, ones));
            squares = i16x8_add(squares, u16x8_shr(i16x8_relaxed_dot_i8x16_i7x16(sizes, sizes), CUT));
        }
    }
    let mut lanes = [0u16; 2 * ROWS];
    // SAFETY: there is room for eight sums.
    unsafe { v128_store(lanes.as_mut_ptr().cast(), squares) };
    let largest = lanes.into_iter().fold(0, u16::max);
    (sums, (i32::from(largest) << CUT) + (groups.len() as i32) * ((1 << CUT) - 1))
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
        let segment = segment(GROUP * groups);
        let mut notes = codes.add(groups * ROWS * GROUP + ROW_NOTES);
        let (mut codes, mut weights, mut limit, mut left) = (codes, weights, limits, groups);
        // Nothing lies at `sums` yet: the first segment writes there, the others add.
        let mut first = true;
        while left > 0 {
            let count = left.min(segment);
            let squares = notes.add(4 * ROWS).cast::<i32>().read_unaligned();
            if squares <= *limit {
                if first {
                    add_segment::<true>(codes, notes, count, weights, sums, stride);
                } else {
                    add_segment::<false>(codes, notes, count, weights, sums, stride);
                }
            } else {
                add_pairs(codes, count, weights, sums, stride, first);
            }
            first = false;
            (codes, weights) = (codes.add(count * ROWS * GROUP), weights.add(count * PANEL * GROUP));
            (notes, limit, left) = (notes.add(SEGMENT_NOTES), limit.add(1), left - count);
        }
    }
}

/// Adds the products of a segment within its bound: in 16 bits, widened at the end. The `FIRST` segment's are what there is.
///
/// # Safety
/// As [`segmented_block`], of `groups` groups with the notes about them.
#[inline(always)]
unsafe fn add_segment<const FIRST: bool>(
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
            widen::<FIRST>(totals[0], sums.add(row * stride));
            widen::<FIRST>(totals[1], sums.add(row * stride + 4));
        }
    }
}

/// Adds the products of any segment, every pair widened; the `first` one's are what there is. A function of its own, being
/// rare: the loop around it is the better compiled.
///
/// # Safety
/// As [`add_segment`], without notes.
#[inline(never)]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
unsafe fn add_pairs(
    codes: *const i8,
    groups: usize,
    weights: *const i8,
    sums: *mut i32,
    stride: usize,
    first: bool,
) {
    // SAFETY: the pointers stay within what this function's contract gives.
    unsafe {
        let mut totals = [[i32x4_splat(0); 2]; ROWS];
        for (row, totals) in totals.iter_mut().enumerate() {
            for (half, total) in totals.iter_mut().enumerate() {
                if !first {
                    *total = v128_load(sums.add(row * stride + 4 * half).cast());
                }
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

/// Adds pairs of 16-bit sums to four sums, or makes these of them.
///
/// # Safety
/// There are four sums.
#[inline(always)]
#[allow(unused_unsafe)] // what is safe differs between the instructions and their emulation
unsafe fn widen<const FIRST: bool>(halves: v128, sums: *mut i32) {
    // SAFETY: by this function's contract.
    unsafe {
        // What `i32x4_extadd_pairwise_i16x8` gives, measured faster with ones of our own: V8 multiplies by ones for it too, and
        // loads their address before each.
        let pairs = i32x4_dot_i16x8(halves, i16x8_splat(1));
        v128_store(sums.cast(), if FIRST { pairs } else { i32x4_add(v128_load(sums.cast()), pairs) });
    }
}
