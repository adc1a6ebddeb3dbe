//! WebAssembly compiled with `+simd128`: 128-bit registers, no fused multiply-add.

use core::arch::wasm32::*;

use super::Vector;

/// Four lanes.
#[derive(Clone, Copy)]
pub(crate) struct Simd128(v128);

impl Vector for Simd128 {
    const LANES: usize = 4;
    const CODE_OFFSET: i32 = 0;
    type Integers = v128;
    type Quads = v128;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Simd128(f32x4_splat(value))
    }
    #[inline(always)]
    unsafe fn load(values: *const f32) -> Self {
        // SAFETY: four readable values, by the trait's contract.
        unsafe { Simd128(v128_load(values.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, values: *mut f32) {
        // SAFETY: four writable values, by the trait's contract.
        unsafe { v128_store(values.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        Simd128(f32x4_mul(self.0, other.0))
    }
    #[inline(always)]
    unsafe fn multiply_add(self, other: Self, sum: Self) -> Self {
        Simd128(f32x4_add(sum.0, f32x4_mul(self.0, other.0)))
    }
    #[inline(always)]
    unsafe fn not_below(self, threshold: Self) -> u32 {
        u32::from(u32x4_bitmask(v128_not(f32x4_lt(self.0, threshold.0))))
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        let two = f32x4_add(self.0, i32x4_shuffle::<2, 3, 0, 1>(self.0, self.0));
        f32x4_extract_lane::<0>(two) + f32x4_extract_lane::<1>(two)
    }
    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> Self::Integers {
        i32x4_splat(value)
    }
    #[inline(always)]
    unsafe fn load_quads(codes: *const i8) -> Self::Quads {
        // SAFETY: sixteen readable codes, by the trait's contract.
        unsafe { v128_load(codes.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_quad(codes: *const i8) -> Self::Quads {
        // SAFETY: four readable codes, by the trait's contract.
        unsafe { v128_load32_splat(codes.cast()) }
    }
    #[inline(always)]
    unsafe fn add_products(
        sums: Self::Integers,
        query: Self::Quads,
        document: Self::Quads,
    ) -> Self::Integers {
        let low = i32x4_extadd_pairwise_i16x8(i16x8_extmul_low_i8x16(query, document));
        let high = i32x4_extadd_pairwise_i16x8(i16x8_extmul_high_i8x16(query, document));
        let even = i32x4_shuffle::<0, 2, 4, 6>(low, high);
        let odd = i32x4_shuffle::<1, 3, 5, 7>(low, high);
        i32x4_add(sums, i32x4_add(even, odd))
    }
    #[inline(always)]
    unsafe fn to_float(integers: Self::Integers) -> Self {
        Simd128(f32x4_convert_i32x4(integers))
    }
    #[inline(always)]
    unsafe fn total_integer(integers: Self::Integers) -> i32 {
        let two = i32x4_add(integers, i32x4_shuffle::<2, 3, 0, 1>(integers, integers));
        i32x4_extract_lane::<0>(two) + i32x4_extract_lane::<1>(two)
    }
}
