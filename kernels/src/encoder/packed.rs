//! Weights laid out for vector instructions, and the integer products of each instruction set.
//!
//! Outputs lie in panels of [`Product::PANEL`]: group of inputs after group of inputs, in each group the panel's outputs one
//! after the other, in each output the group's codes. Registers then read a group's outputs in sequence. Inputs are filled
//! up with zero codes to whole groups, outputs to whole [`TILE`]s.
//!
//! Rows of codes lie in blocks of [`Product::ROWS`], in the same way: group after group, in each group the block's rows.
//! Blocks of one are plain rows. Larger ones let a tile read all its codes from one pointer at constant distances, which
//! WebAssembly has in its loads; a pointer per row would cost it an addition per load. (`maddubs.rs` has blocks for what it notes
//! about their rows, which lie one after the other.)

use super::{Linear, simd};

/// Outputs are filled up to a multiple of this: the widest tile.
pub(super) const TILE: usize = 32;

/// Exact integer products of codes with weights, in registers of 32-bit sums.
///
/// # Safety
/// Every `unsafe` method may only be called where the processor has the instruction set; pointers must be good for
/// the number of values named, with no alignment.
pub(super) trait Product: Copy + 'static {
    /// Sums in a register.
    const LANES: usize;
    /// Inputs whose products are added at once.
    const GROUP: usize;
    /// Outputs of a panel.
    const PANEL: usize;
    /// Rows of a block of codes; where they are more than one, a tile is such a block.
    const ROWS: usize;
    /// Added to a code before it is stored, for instructions that multiply unsigned codes.
    const OFFSET: i32;
    /// A stored code.
    type Code: Copy + Default + Send + Sync + 'static;
    /// A stored weight.
    type Weight: Copy + Default + Send + Sync + 'static;
    /// A register of sums.
    type Sums: Copy;
    /// A register of `LANES` groups of weights.
    type Weights: Copy;
    /// A register with one group of codes in every lane.
    type Codes: Copy;

    /// What is stored for a code, offset included.
    fn code(code: i32) -> Self::Code;
    /// What is stored for a weight.
    fn weight(weight: i8) -> Self::Weight;
    /// `LANES` sums.
    unsafe fn load_sums(sums: *const i32) -> Self::Sums;
    /// `LANES` sums.
    unsafe fn store_sums(sums: Self::Sums, to: *mut i32);
    /// `LANES` groups of weights.
    unsafe fn load_weights(weights: *const Self::Weight) -> Self::Weights;
    /// One group of codes, in every lane.
    unsafe fn splat_codes(codes: *const Self::Code) -> Self::Codes;
    /// Adds to each lane the sum of its group's products.
    unsafe fn add_products(sums: Self::Sums, codes: Self::Codes, weights: Self::Weights) -> Self::Sums;
    /// Codes of a block behind those of its rows, with what the product wants to know about these.
    fn notes(_inputs: usize) -> usize {
        0
    }
    /// What the product wants to know about the weights, `outputs x inputs`: as many values for each panel.
    fn limits(_codes: &[i8], _inputs: usize) -> Vec<i32> {
        Vec::new()
    }
    /// Codes of a block's rows, with its notes, and what a code of each row is worth; `lines` is room for the rows. Codes that
    /// fill up a last group may be any: their weights are zero.
    #[inline(always)]
    unsafe fn quantize_block(
        rows: &[f32],
        multipliers: &[f32],
        scales: &mut [f32],
        lines: &mut [Self::Code],
        block: &mut [Self::Code],
    ) {
        simd::quantize_block::<Self>(rows, multipliers, scales, lines, block);
    }
    /// Sums of a tile of `P` registers to outputs, `columns` from row to row, of as many rows as there are `row_scales`.
    #[inline(always)]
    fn finish<const P: usize, const GELU: bool>(
        sums: &[i32],
        tile: Worth<'_>,
        row_scales: &[f32],
        outputs: &mut [f32],
        columns: usize,
    ) {
        simd::finish_rows::<Self, P, GELU>(sums, tile, row_scales, outputs, columns);
    }
    /// Lays [`Product::ROWS`] rows of codes, one after the other, out as a block without notes.
    fn interleave(rows: &[Self::Code], block: &mut [Self::Code]) {
        let stride = rows.len() / Self::ROWS;
        for (row, codes) in rows.chunks_exact(stride).enumerate() {
            for (input, code) in codes.iter().enumerate() {
                let group = input / Self::GROUP * Self::ROWS + row;
                block[group * Self::GROUP + input % Self::GROUP] = *code;
            }
        }
    }
    /// Products of `blocks` blocks with `P` registers of outputs, whose sums have `sums_stride` from row to row.
    ///
    /// # Safety
    /// Blocks and panels have `groups` groups, `tile` is of a [`PackedLinear`] where [`Product::limits`] says anything, and `sums`
    /// has room for all rows.
    #[inline(always)]
    unsafe fn multiply_blocks<const P: usize, const R: usize>(
        codes: *const Self::Code,
        blocks: usize,
        groups: usize,
        tile: Tile<'_, Self>,
        sums: *mut i32,
        sums_stride: usize,
    ) {
        let (panels, start) = (tile.panels.as_ptr(), tile.start.as_ptr());
        // SAFETY: by this function's contract.
        unsafe {
            simd::multiply_blocks::<Self, P, R>(codes, blocks, groups, panels, start, sums, sums_stride)
        }
    }
}

/// The outputs that are multiplied with at once.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a, D: Product> {
    /// From their first panel on.
    pub(super) panels: &'a [D::Weight],
    /// What their sums start from.
    pub(super) start: &'a [i32],
    /// From those of their first panel on; only products that add up in 16 bits have some.
    #[cfg_attr(not(any(test, target_arch = "x86_64", feature = "relaxed-simd")), allow(dead_code))]
    pub(super) limits: &'a [i32],
}

/// What the sums of a tile's outputs are worth.
#[derive(Clone, Copy)]
pub(super) struct Worth<'a> {
    pub(super) scales: &'a [f32],
    pub(super) bias: &'a [f32],
    /// The outputs that there are; the others fill the tile up.
    pub(super) used: usize,
}

/// Values that start on a cache line, so that no register straddles two.
pub(super) struct Aligned<T> {
    lines: Vec<Line>,
    length: usize,
    element: std::marker::PhantomData<T>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl<T: Copy + Default + 'static> Aligned<T> {
    /// As many zeros. `T` is one of the integer types of [`Product`].
    pub(super) fn zeros(length: usize) -> Self {
        const { assert!(align_of::<T>() <= 64 && size_of::<T>() > 0 && 64 % size_of::<T>() == 0) };
        let lines = vec![Line([0; 64]); (length * size_of::<T>()).div_ceil(64)];
        Aligned { lines, length, element: std::marker::PhantomData }
    }
}

impl<T> std::ops::Deref for Aligned<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold `length` values, aligned, and every byte pattern that was written is a `T`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl<T> std::ops::DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

/// A linear map for one instruction set.
pub(super) struct PackedLinear<D: Product> {
    /// Panels, see the head of this file.
    pub(super) panels: Aligned<D::Weight>,
    /// What a sum starts from: takes back what [`Product::OFFSET`] adds. Filled up.
    pub(super) start: Vec<i32>,
    /// What [`Product::limits`] says, panel after panel.
    pub(super) limits: Vec<i32>,
    /// Filled up with zeros.
    pub(super) scales: Vec<f32>,
    /// Filled up with zeros.
    pub(super) bias: Vec<f32>,
    /// As they are.
    pub(super) multipliers: Vec<f32>,
    /// Not filled up.
    pub(super) outputs: usize,
}

impl<D: Product> PackedLinear<D> {
    pub(super) fn new(linear: &Linear) -> Self {
        let (inputs, outputs) = (linear.multipliers.len(), linear.bias.len());
        let (groups, padded) = (inputs.div_ceil(D::GROUP), outputs.next_multiple_of(TILE));
        let mut panels = Aligned::<D::Weight>::zeros(padded * groups * D::GROUP);
        panels.fill(D::weight(0));
        let mut start = vec![0; padded];
        for (output, row) in linear.codes.chunks_exact(inputs).enumerate() {
            for (input, &weight) in row.iter().enumerate() {
                panels[place::<D>(output, input, groups)] = D::weight(weight);
                start[output] -= D::OFFSET * i32::from(weight);
            }
        }
        let fill = |values: &[f32]| {
            let mut values = values.to_vec();
            values.resize(padded, 0.0);
            values
        };
        let (scales, bias) = (fill(&linear.scales), fill(&linear.bias));
        let limits = D::limits(&linear.codes, inputs);
        let multipliers = linear.multipliers.clone();
        PackedLinear { panels, start, limits, scales, bias, multipliers, outputs }
    }

    /// What is multiplied with at once for the outputs from `first` on, `count` of them.
    #[inline(always)]
    pub(super) fn tile(&self, first: usize, count: usize) -> Tile<'_, D> {
        let limits = self.limits.len() / self.outputs.div_ceil(D::PANEL);
        Tile {
            panels: &self.panels[first * self.groups() * D::GROUP..],
            start: &self.start[first..first + count],
            limits: &self.limits[first / D::PANEL * limits..],
        }
    }

    pub(super) fn inputs(&self) -> usize {
        self.multipliers.len()
    }

    /// Inputs in whole groups.
    pub(super) fn groups(&self) -> usize {
        self.inputs().div_ceil(D::GROUP)
    }
}

/// Where a weight lies.
#[inline(always)]
pub(super) fn place<D: Product>(output: usize, input: usize, groups: usize) -> usize {
    ((output / D::PANEL * groups + input / D::GROUP) * D::PANEL + output % D::PANEL) * D::GROUP
        + input % D::GROUP
}

/// Room for the codes of that many rows, in whole blocks with their notes.
#[inline(always)]
pub(super) fn codes_of<D: Product>(rows: usize, inputs: usize) -> usize {
    rows.div_ceil(D::ROWS) * (line_of::<D>(inputs) * D::ROWS + D::notes(inputs))
}

/// Codes of a row in whole groups.
#[inline(always)]
pub(super) fn line_of<D: Product>(inputs: usize) -> usize {
    inputs.next_multiple_of(D::GROUP)
}

/// Plain Rust, four sums at a time, in blocks of rows: for targets without instructions of their own here, and on every
/// machine in the tests.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[derive(Clone, Copy)]
pub(super) struct Portable<const PANEL: usize, const ROWS: usize>;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
impl<const PANEL: usize, const ROWS: usize> Product for Portable<PANEL, ROWS> {
    const LANES: usize = 4;
    const GROUP: usize = 2;
    const PANEL: usize = PANEL;
    const ROWS: usize = ROWS;
    const OFFSET: i32 = 0;
    type Code = i16;
    type Weight = i16;
    type Sums = [i32; 4];
    type Weights = [i16; 8];
    type Codes = [i16; 2];

    fn code(code: i32) -> i16 {
        code as i16
    }
    fn weight(weight: i8) -> i16 {
        weight.into()
    }
    #[inline(always)]
    unsafe fn load_sums(sums: *const i32) -> [i32; 4] {
        // SAFETY: four readable values, by the trait's contract.
        unsafe { sums.cast::<[i32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_sums(sums: [i32; 4], to: *mut i32) {
        // SAFETY: four writable values, by the trait's contract.
        unsafe { to.cast::<[i32; 4]>().write_unaligned(sums) }
    }
    #[inline(always)]
    unsafe fn load_weights(weights: *const i16) -> [i16; 8] {
        // SAFETY: eight readable values, by the trait's contract.
        unsafe { weights.cast::<[i16; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat_codes(codes: *const i16) -> [i16; 2] {
        // SAFETY: two readable values, by the trait's contract.
        unsafe { codes.cast::<[i16; 2]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn add_products(mut sums: [i32; 4], codes: [i16; 2], weights: [i16; 8]) -> [i32; 4] {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += i32::from(codes[0]) * i32::from(weights[2 * lane])
                + i32::from(codes[1]) * i32::from(weights[2 * lane + 1]);
        }
        sums
    }
}

/// 16-bit codes by 16-bit weights, two products a lane.
#[cfg(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128")))]
macro_rules! pairs {
    ($(#[$about:meta])* $name:ident, $lanes:literal in $panel:literal, $rows:literal, $register:ty, $load:ident($from:ty), $store:ident, $splat:ident, $multiply:expr $(, $interleave:expr)?) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        pub(in crate::encoder) struct $name;

        impl Product for $name {
            const LANES: usize = $lanes;
            const GROUP: usize = 2;
            const PANEL: usize = $panel;
            const ROWS: usize = $rows;
            const OFFSET: i32 = 0;
            type Code = i16;
            type Weight = i16;
            type Sums = $register;
            type Weights = $register;
            type Codes = $register;

            #[inline(always)]
            fn code(code: i32) -> i16 {
                code as i16
            }
            fn weight(weight: i8) -> i16 {
                weight.into()
            }
            #[inline(always)]
            unsafe fn load_sums(sums: *const i32) -> $register {
                // SAFETY: the instructions and the values are there, by the trait's contract.
                unsafe { $load(sums.cast::<$from>()) }
            }
            #[inline(always)]
            unsafe fn store_sums(sums: $register, to: *mut i32) {
                // SAFETY: the instructions and the room are there, by the trait's contract.
                unsafe { $store(to.cast::<$from>(), sums) }
            }
            #[inline(always)]
            unsafe fn load_weights(weights: *const i16) -> $register {
                // SAFETY: the instructions and the values are there, by the trait's contract.
                unsafe { $load(weights.cast::<$from>()) }
            }
            #[inline(always)]
            #[allow(unused_unsafe)] // wasm's splat is safe
            unsafe fn splat_codes(codes: *const i16) -> $register {
                // SAFETY: the instructions and two values are there, by the trait's contract.
                unsafe { $splat(codes.cast::<i32>().read_unaligned()) }
            }
            $(
                #[inline(always)]
                fn interleave(rows: &[i16], block: &mut [i16]) {
                    $interleave(rows, block)
                }
            )?
            #[inline(always)]
            unsafe fn add_products(sums: $register, codes: $register, weights: $register) -> $register {
                let multiply: unsafe fn($register, $register, $register) -> $register = $multiply;
                // SAFETY: the instructions are there, by the trait's contract.
                unsafe { multiply(sums, codes, weights) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use core::arch::x86_64::*;

    use super::Product;

    pairs!(
        /// Eight sums.
        Avx2Pairs, 8 in 16, 1, __m256i, _mm256_loadu_si256(__m256i), _mm256_storeu_si256, _mm256_set1_epi32, add_256
    );
    pairs!(
        /// Sixteen sums.
        Avx512Pairs, 16 in 16, 1, __m512i, _mm512_loadu_si512(__m512i), _mm512_storeu_si512, _mm512_set1_epi32, add_512
    );
    pairs!(
        /// Sixteen sums, product and sum in one instruction.
        VnniPairs, 16 in 16, 1, __m512i, _mm512_loadu_si512(__m512i), _mm512_storeu_si512, _mm512_set1_epi32, add_vnni
    );

    #[inline(always)]
    unsafe fn add_256(sums: __m256i, codes: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: AVX2, by the caller's contract.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(codes, weights)) }
    }

    #[inline(always)]
    unsafe fn add_512(sums: __m512i, codes: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: AVX-512 BW, by the caller's contract.
        unsafe { _mm512_add_epi32(sums, _mm512_madd_epi16(codes, weights)) }
    }

    #[inline(always)]
    unsafe fn add_vnni(sums: __m512i, codes: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: AVX-512 VNNI, by the caller's contract.
        unsafe { _mm512_dpwssd_epi32(sums, codes, weights) }
    }

    /// 8-bit codes raised by 128 by 8-bit weights, four products a lane.
    #[derive(Clone, Copy)]
    pub(in crate::encoder) struct VnniQuads;

    impl Product for VnniQuads {
        const LANES: usize = 16;
        const GROUP: usize = 4;
        const PANEL: usize = 16;
        const ROWS: usize = 1;
        const OFFSET: i32 = 128;
        type Code = u8;
        type Weight = i8;
        type Sums = __m512i;
        type Weights = __m512i;
        type Codes = __m512i;

        #[inline(always)]
        fn code(code: i32) -> u8 {
            (code + 128) as u8
        }
        fn weight(weight: i8) -> i8 {
            weight
        }
        #[inline(always)]
        unsafe fn load_sums(sums: *const i32) -> __m512i {
            // SAFETY: AVX-512 F and sixteen sums, by the trait's contract.
            unsafe { _mm512_loadu_si512(sums.cast()) }
        }
        #[inline(always)]
        unsafe fn store_sums(sums: __m512i, to: *mut i32) {
            // SAFETY: AVX-512 F and room for sixteen sums, by the trait's contract.
            unsafe { _mm512_storeu_si512(to.cast(), sums) }
        }
        #[inline(always)]
        unsafe fn load_weights(weights: *const i8) -> __m512i {
            // SAFETY: AVX-512 F and 64 weights, by the trait's contract.
            unsafe { _mm512_loadu_si512(weights.cast()) }
        }
        #[inline(always)]
        unsafe fn splat_codes(codes: *const u8) -> __m512i {
            // SAFETY: AVX-512 F and four codes, by the trait's contract.
            unsafe { _mm512_set1_epi32(codes.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn add_products(sums: __m512i, codes: __m512i, weights: __m512i) -> __m512i {
            // SAFETY: AVX-512 VNNI, by the trait's contract.
            unsafe { _mm512_dpbusd_epi32(sums, codes, weights) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) mod neon {
    use core::arch::aarch64::*;

    use super::Product;

    /// 8-bit codes by 8-bit weights: two products, at most 2 x 127 x 127, are added in 16 bits, and two such sums in a lane.
    /// Every 64-bit Arm has these instructions.
    #[derive(Clone, Copy)]
    pub(in crate::encoder) struct NeonQuads;

    impl Product for NeonQuads {
        const LANES: usize = 4;
        const GROUP: usize = 4;
        const PANEL: usize = 16;
        const ROWS: usize = 1;
        const OFFSET: i32 = 0;
        type Code = i8;
        type Weight = i8;
        type Sums = int32x4_t;
        /// The first two weights of each group, and the last two.
        type Weights = [int8x8_t; 2];
        /// The same of the codes.
        type Codes = [int8x8_t; 2];

        #[inline(always)]
        fn code(code: i32) -> i8 {
            code as i8
        }
        fn weight(weight: i8) -> i8 {
            weight
        }
        #[inline(always)]
        unsafe fn load_sums(sums: *const i32) -> int32x4_t {
            // SAFETY: four sums, by the trait's contract.
            unsafe { vld1q_s32(sums) }
        }
        #[inline(always)]
        unsafe fn store_sums(sums: int32x4_t, to: *mut i32) {
            // SAFETY: room for four sums, by the trait's contract.
            unsafe { vst1q_s32(to, sums) }
        }
        #[inline(always)]
        unsafe fn load_weights(weights: *const i8) -> [int8x8_t; 2] {
            // SAFETY: sixteen weights, by the trait's contract.
            unsafe {
                let pairs = vld2_s16(weights.cast());
                [vreinterpret_s8_s16(pairs.0), vreinterpret_s8_s16(pairs.1)]
            }
        }
        #[inline(always)]
        unsafe fn splat_codes(codes: *const i8) -> [int8x8_t; 2] {
            // SAFETY: four codes, by the trait's contract.
            unsafe {
                let pair = |at| vreinterpret_s8_s16(vld1_dup_s16(codes.add(at).cast()));
                [pair(0), pair(2)]
            }
        }
        #[inline(always)]
        unsafe fn add_products(sums: int32x4_t, codes: [int8x8_t; 2], weights: [int8x8_t; 2]) -> int32x4_t {
            // SAFETY: every processor of this target has the instructions.
            unsafe {
                let products = vmlal_s8(vmull_s8(codes[0], weights[0]), codes[1], weights[1]);
                vpadalq_s16(sums, products)
            }
        }
    }

    /// 16-bit codes by 16-bit weights, two products a lane.
    #[derive(Clone, Copy)]
    pub(in crate::encoder) struct NeonPairs;

    impl Product for NeonPairs {
        const LANES: usize = 4;
        const GROUP: usize = 2;
        const PANEL: usize = 16;
        const ROWS: usize = 1;
        const OFFSET: i32 = 0;
        type Code = i16;
        type Weight = i16;
        type Sums = int32x4_t;
        /// The first weight of each group, and the second.
        type Weights = [int16x4_t; 2];
        /// A group, twice.
        type Codes = int16x4_t;

        #[inline(always)]
        fn code(code: i32) -> i16 {
            code as i16
        }
        fn weight(weight: i8) -> i16 {
            weight.into()
        }
        #[inline(always)]
        unsafe fn load_sums(sums: *const i32) -> int32x4_t {
            // SAFETY: four sums, by the trait's contract.
            unsafe { vld1q_s32(sums) }
        }
        #[inline(always)]
        unsafe fn store_sums(sums: int32x4_t, to: *mut i32) {
            // SAFETY: room for four sums, by the trait's contract.
            unsafe { vst1q_s32(to, sums) }
        }
        #[inline(always)]
        unsafe fn load_weights(weights: *const i16) -> [int16x4_t; 2] {
            // SAFETY: eight weights, by the trait's contract.
            let pairs = unsafe { vld2_s16(weights) };
            [pairs.0, pairs.1]
        }
        #[inline(always)]
        unsafe fn splat_codes(codes: *const i16) -> int16x4_t {
            // SAFETY: two codes, by the trait's contract.
            unsafe { vreinterpret_s16_s32(vld1_dup_s32(codes.cast())) }
        }
        #[inline(always)]
        unsafe fn add_products(sums: int32x4_t, codes: int16x4_t, weights: [int16x4_t; 2]) -> int32x4_t {
            // SAFETY: every processor of this target has the instructions.
            unsafe {
                let sums = vmlal_lane_s16::<0>(sums, weights[0], codes);
                vmlal_lane_s16::<1>(sums, weights[1], codes)
            }
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) mod wasm {
    use core::arch::wasm32::*;

    use super::Product;

    pairs!(
        /// Four sums.
        Simd128Pairs, 4 in 8, 4, v128, v128_load(v128), v128_store, i32x4_splat, add_128, interleave_4
    );

    /// Four rows of pairs to blocks of four: a matrix of 4 x n turned, four columns at a time.
    #[inline(always)]
    fn interleave_4(rows: &[i16], block: &mut [i16]) {
        let stride = rows.len() / 4;
        let (whole, rest) = (stride / 8, stride % 8 / 2);
        // SAFETY: each row has `whole` times eight codes and `rest` pairs more, and the block as many as the rows together.
        unsafe {
            let (mut from, mut to) = (rows.as_ptr(), block.as_mut_ptr());
            for _ in 0..whole {
                let row = |row: usize| v128_load(from.add(row * stride).cast());
                let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                let (low, high) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
                let (next_low, next_high) =
                    (i32x4_shuffle::<0, 4, 1, 5>(c, d), i32x4_shuffle::<2, 6, 3, 7>(c, d));
                let store = |place: usize, column| v128_store(to.add(place * 8).cast(), column);
                store(0, i64x2_shuffle::<0, 2>(low, next_low));
                store(1, i64x2_shuffle::<1, 3>(low, next_low));
                store(2, i64x2_shuffle::<0, 2>(high, next_high));
                store(3, i64x2_shuffle::<1, 3>(high, next_high));
                (from, to) = (from.add(8), to.add(32));
            }
            for pair in 0..rest {
                for row in 0..4 {
                    let code = from.add(row * stride + pair * 2).cast::<[i16; 2]>().read_unaligned();
                    to.add((pair * 4 + row) * 2).cast::<[i16; 2]>().write_unaligned(code);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_128(sums: v128, codes: v128, weights: v128) -> v128 {
        i32x4_add(sums, i32x4_dot_i16x8(codes, weights))
    }
}
