//! The few operations the scan needs from a vector register, for each instruction set.

#![cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128")
    )),
    allow(dead_code) // compiled for no instruction set, called by nobody
)]

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod wasm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// A register of f32 lanes, with as many i32 lanes beside it, each the sum of products of four 8-bit codes.
///
/// # Safety
/// Every method may only be called where the processor has the instruction set; pointers must be readable
/// (or writable) for the number of values named, with no alignment.
pub(crate) trait Vector: Copy {
    /// f32 values per register.
    const LANES: usize;
    /// Added to the codes of a query before they are stored: VNNI multiplies unsigned by signed bytes.
    const CODE_OFFSET: i32;
    /// i32 lanes.
    type Integers: Copy;
    /// `4 x LANES` codes.
    type Quads: Copy;

    /// `value` in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// `LANES` values.
    unsafe fn load(values: *const f32) -> Self;
    /// `LANES` values.
    unsafe fn store(self, values: *mut f32);
    /// The product, lane by lane.
    unsafe fn multiply(self, other: Self) -> Self;
    /// `sum + self * other`, fused where the instruction set fuses.
    unsafe fn multiply_add(self, other: Self, sum: Self) -> Self;
    /// One bit per lane: 1 unless `self < threshold`; so 1 for NaN.
    unsafe fn not_below(self, threshold: Self) -> u32;
    /// The sum of the lanes, in any order.
    unsafe fn total(self) -> f32;
    /// Writes `first` plus the place of each bit of `mask`, in ascending order; how many. There is room for `LANES`.
    #[inline(always)]
    unsafe fn list(mask: u32, first: u32, places: *mut u32) -> usize {
        let (mut left, mut count) = (mask, 0);
        while left != 0 {
            // SAFETY: a register has no more than `LANES` bits.
            unsafe { *places.add(count) = first + left.trailing_zeros() };
            left &= left - 1;
            count += 1;
        }
        count
    }

    /// Asks for the cache line at `codes`, where there is such an instruction.
    #[inline(always)]
    unsafe fn prefetch(codes: *const i8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE is part of x86-64, and a prefetch reads nothing.
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(codes);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = codes;
    }

    /// `value` in every lane.
    unsafe fn splat_integer(value: i32) -> Self::Integers;
    /// `4 x LANES` codes.
    unsafe fn load_quads(codes: *const i8) -> Self::Quads;
    /// The same four codes in every lane.
    unsafe fn splat_quad(codes: *const i8) -> Self::Quads;
    /// Adds to each lane the inner product of its four query codes and its four document codes.
    unsafe fn add_products(sums: Self::Integers, query: Self::Quads, document: Self::Quads)
    -> Self::Integers;
    /// The lanes as f32, rounded to nearest.
    unsafe fn to_float(integers: Self::Integers) -> Self;
    /// The sum of the lanes.
    unsafe fn total_integer(integers: Self::Integers) -> i32;
}
