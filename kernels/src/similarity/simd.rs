//! The defined inner product, compiled for each instruction set: sixteen f64 accumulators are two AVX-512
//! registers, four of AVX2, eight of NEON and wasm simd128.
//!
//! The body is plain Rust whose inner loop is exactly as wide as the accumulators; the compiler turns it into
//! vector code inside each `#[target_feature]` function. Fused or not, the sum is the same (see the module head).

use super::Dot;
use super::scalar::{LANES, fold};
use crate::device::InstructionSet;

/// The inner product for an instruction set that is available.
pub(crate) fn dot_with(set: InstructionSet) -> Dot {
    assert!(set.is_available(), "{set} is not available");
    match set {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the assertion above found AVX2 and FMA.
        InstructionSet::Avx2 => |left, right| unsafe { dot_avx2(left, right) },
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 | InstructionSet::Avx512Vnni | InstructionSet::Avx512Amx => {
            // SAFETY: the assertion above found AVX-512 F, BW, DQ and VL.
            |left, right| unsafe { dot_avx512(left, right) }
        }
        _ => dot::<false>,
    }
}

/// # Safety
/// The processor has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn dot_avx512(left: &[f32], right: &[f32]) -> f64 {
    dot::<true>(left, right)
}

/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_avx2(left: &[f32], right: &[f32]) -> f64 {
    dot::<true>(left, right)
}

#[inline(always)]
fn dot<const FUSED: bool>(left: &[f32], right: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    for (l, r) in left_chunks.iter().zip(right_chunks) {
        add_products::<FUSED>(&mut sums, l, r);
    }
    if !left_rest.is_empty() {
        add_products::<FUSED>(&mut sums, &padded(left_rest), &padded(right_rest));
    }
    fold(sums)
}

#[inline(always)]
fn add_products<const FUSED: bool>(sums: &mut [f64; LANES], left: &[f32; LANES], right: &[f32; LANES]) {
    for lane in 0..LANES {
        let (l, r) = (f64::from(left[lane]), f64::from(right[lane]));
        sums[lane] = if FUSED { l.mul_add(r, sums[lane]) } else { sums[lane] + l * r };
    }
}

/// The last, incomplete chunk with zeros behind it: adding +0 changes no accumulator, since none is ever -0.
#[inline(always)]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut chunk = [0.0; LANES];
    chunk[..rest.len()].copy_from_slice(rest);
    chunk
}
