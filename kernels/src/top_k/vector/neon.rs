//! 64-bit Arm: 128-bit registers.

use core::arch::aarch64::*;

use super::Vector;

/// Four lanes.
#[derive(Clone, Copy)]
pub(crate) struct Neon(float32x4_t);

const BIT_OF_LANE: [u32; 4] = [1, 2, 4, 8];

impl Vector for Neon {
    const LANES: usize = 4;
    const CODE_OFFSET: i32 = 0;
    type Integers = int32x4_t;
    type Quads = int8x16_t;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: NEON, by the trait's contract.
        unsafe { Neon(vdupq_n_f32(value)) }
    }
    #[inline(always)]
    unsafe fn load(values: *const f32) -> Self {
        // SAFETY: NEON and four readable values, by the trait's contract.
        unsafe { Neon(vld1q_f32(values)) }
    }
    #[inline(always)]
    unsafe fn store(self, values: *mut f32) {
        // SAFETY: NEON and four writable values, by the trait's contract.
        unsafe { vst1q_f32(values, self.0) }
    }
    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        // SAFETY: NEON, by the trait's contract.
        unsafe { Neon(vmulq_f32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, other: Self, sum: Self) -> Self {
        // SAFETY: NEON, by the trait's contract.
        unsafe { Neon(vfmaq_f32(sum.0, self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn not_below(self, threshold: Self) -> u32 {
        // SAFETY: NEON, by the trait's contract; the constant has four values.
        unsafe {
            let bits = vld1q_u32(BIT_OF_LANE.as_ptr());
            vaddvq_u32(vandq_u32(vmvnq_u32(vcltq_f32(self.0, threshold.0)), bits))
        }
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        // SAFETY: NEON, by the trait's contract.
        unsafe { vaddvq_f32(self.0) }
    }
    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> Self::Integers {
        // SAFETY: NEON, by the trait's contract.
        unsafe { vdupq_n_s32(value) }
    }
    #[inline(always)]
    unsafe fn load_quads(codes: *const i8) -> Self::Quads {
        // SAFETY: NEON and sixteen readable codes, by the trait's contract.
        unsafe { vld1q_s8(codes) }
    }
    #[inline(always)]
    unsafe fn splat_quad(codes: *const i8) -> Self::Quads {
        // SAFETY: NEON and four readable codes, by the trait's contract.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(codes.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn add_products(
        sums: Self::Integers,
        query: Self::Quads,
        document: Self::Quads,
    ) -> Self::Integers {
        // SAFETY: NEON, by the trait's contract.
        unsafe {
            let low = vpaddlq_s16(vmull_s8(vget_low_s8(query), vget_low_s8(document)));
            let high = vpaddlq_s16(vmull_high_s8(query, document));
            vaddq_s32(sums, vpaddq_s32(low, high))
        }
    }
    #[inline(always)]
    unsafe fn to_float(integers: Self::Integers) -> Self {
        // SAFETY: NEON, by the trait's contract.
        unsafe { Neon(vcvtq_f32_s32(integers)) }
    }
    #[inline(always)]
    unsafe fn total_integer(integers: Self::Integers) -> i32 {
        // SAFETY: NEON, by the trait's contract.
        unsafe { vaddvq_s32(integers) }
    }
}
