//! Vectors of `f32` lanes: the dozen operations the losses need, once for each instruction set.
//!
//! Every method is `unsafe` for the same reason: a vector type may only be touched where its instructions
//! exist. Callers are generic and `#[inline(always)]`; [`for_each_set!`] wraps them in functions compiled for
//! one set, and picks by the [`InstructionSet`] at hand.

use crate::device::InstructionSet;

/// A register full of `f32`.
pub(crate) trait Vector: Copy {
    /// How many values it holds.
    const LANES: usize;
    /// Rows of the register tile in [`crate::product`]: as many as leave no accumulator spilled.
    const TILE_ROWS: usize;

    /// # Safety
    /// The instructions must exist and `from` must be readable for `LANES` values.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// The instructions must exist and `to` must be writable for `LANES` values.
    unsafe fn store(self, to: *mut f32);
    /// # Safety
    /// The instructions must exist.
    unsafe fn splat(value: f32) -> Self;
    /// # Safety
    /// The instructions must exist.
    unsafe fn add(self, other: Self) -> Self;
    /// # Safety
    /// The instructions must exist.
    unsafe fn sub(self, other: Self) -> Self;
    /// # Safety
    /// The instructions must exist.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + addend`, fused where the processor fuses.
    /// # Safety
    /// The instructions must exist.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// # Safety
    /// The instructions must exist.
    unsafe fn max(self, other: Self) -> Self;
    /// # Safety
    /// The instructions must exist.
    unsafe fn min(self, other: Self) -> Self;
    /// The nearest integer, ties to even; `|self| < 2^22`.
    /// # Safety
    /// The instructions must exist.
    unsafe fn round(self) -> Self;
    /// `self * 2^exponent` for an integral exponent in -151..=130 and `self` in 0.5..2.
    /// # Safety
    /// The instructions must exist.
    unsafe fn scale(self, exponent: Self) -> Self;

    /// Writes the transpose of a square of `LANES x LANES` values, whose rows are `stride` values apart, in rows
    /// `to_stride` values apart.
    /// # Safety
    /// The instructions must exist, `from` must be readable and `to` writable for such a square, and neither overlaps the
    /// other.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..Self::LANES {
            for column in 0..Self::LANES {
                // SAFETY: by this function's contract.
                unsafe { *to.add(column * to_stride + row) = *from.add(row * stride + column) }
            }
        }
    }

    /// Asks for the cache line at `at`, which need not be readable; nothing where there is no such instruction.
    /// # Safety
    /// The instructions must exist.
    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch touches nothing that a program could see, and x86-64 always has it.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
}

/// `e^x` in every lane: at most [`EXP_MAX_ULP`] units in the last place from the exact value, 0 below -104,
/// infinity above 88.73, subnormals included.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r = 1 + r + r^2 p(r)`, `p` fitted for the least relative error
/// (3.1e-9, a twentieth of a rounding).
///
/// # Safety
/// The instructions of `V` must exist.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the instructions; nothing here touches memory.
    unsafe {
        let x = x.max(V::splat(-104.0)).min(V::splat(89.5));
        let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        // ln 2 in two parts: the first has few enough bits for n * LN_2_HIGH to be exact.
        let r = n.mul_add(V::splat(-0.693_359_4), x);
        let r = n.mul_add(V::splat(2.121_944_4e-4), r);
        let p = V::splat(0.001_381_453_9);
        let p = p.mul_add(r, V::splat(0.008_368_745));
        let p = p.mul_add(r, V::splat(0.041_668_39));
        let p = p.mul_add(r, V::splat(0.166_665_21));
        let p = p.mul_add(r, V::splat(0.499_999_94));
        let p = p.mul_add(r.mul(r), r).add(V::splat(1.0));
        p.scale(n)
    }
}

/// The largest error of [`exp`] in units in the last place, over every instruction set; the tests hold it to
/// this.
#[cfg(test)]
pub(crate) const EXP_MAX_ULP: f64 = 2.0;

/// Eight lanes in plain Rust: what Neon and wasm simd128 builds (and Miri) run; the compiler vectorises it.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        let mut lanes = self.0;
        for (lane, right) in lanes.iter_mut().zip(other.0) {
            *lane = operation(*lane, right);
        }
        Portable(lanes)
    }
}

/// `2^exponent` for an integral exponent in -126..=127.
#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

impl Vector for Portable {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises eight readable values; an array of f32 needs no more alignment than one.
        Portable(unsafe { *from.cast() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises eight writable values.
        unsafe { *to.cast() = self.0 }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Portable([value; 8])
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        let mut lanes = addend.0;
        for (lane, (a, b)) in lanes.iter_mut().zip(self.0.into_iter().zip(factor.0)) {
            // A fused operation without the instruction for it would be a slow library call.
            *lane = if cfg!(target_arch = "aarch64") { a.mul_add(b, *lane) } else { a * b + *lane };
        }
        Portable(lanes)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // Adding 1.5 * 2^23 leaves no bits below the ones.
        Portable(self.0.map(|lane| (lane + 12_582_912.0) - 12_582_912.0))
    }
    #[inline(always)]
    unsafe fn scale(self, exponent: Self) -> Self {
        self.zip(exponent, |value, exponent| {
            // Two factors, since 2^-150 and 2^129 are no f32.
            let half = exponent as i32 >> 1;
            value * power_of_two(half) * power_of_two(exponent as i32 - half)
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    /// Eight lanes of AVX2 with FMA.
    #[derive(Clone, Copy)]
    pub struct Avx2(__m256);

    // SAFETY (of every block below): `Vector`'s contract: the caller has AVX2 and FMA, and the pointers are
    // good for eight values.
    impl Vector for Avx2 {
        const LANES: usize = 8;
        const TILE_ROWS: usize = 6;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_min_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        unsafe fn scale(self, exponent: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                // Two factors, since 2^-150 and 2^129 are no f32.
                let exponent = _mm256_cvtps_epi32(exponent.0);
                let half = _mm256_srai_epi32::<1>(exponent);
                let rest = _mm256_sub_epi32(exponent, half);
                let bias = _mm256_set1_epi32(127);
                let low = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias)));
                let high = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias)));
                Avx2(_mm256_mul_ps(_mm256_mul_ps(self.0, low), high))
            }
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
            // SAFETY: see above; eight rows of eight values each.
            unsafe {
                let mut rows = [_mm256_setzero_ps(); 8];
                for (row, values) in rows.iter_mut().enumerate() {
                    *values = _mm256_loadu_ps(from.add(row * stride));
                }
                for (column, [low, high]) in quads_256(&rows).into_iter().enumerate() {
                    let first = _mm256_permute2f128_ps::<0x20>(low, high);
                    let second = _mm256_permute2f128_ps::<0x31>(low, high);
                    _mm256_storeu_ps(to.add(column * to_stride), first);
                    _mm256_storeu_ps(to.add((column + 4) * to_stride), second);
                }
            }
        }
    }

    /// Sixteen lanes of AVX-512 F.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    // SAFETY (of every block below): `Vector`'s contract: the caller has AVX-512 F, and the pointers are good
    // for sixteen values.
    impl Vector for Avx512 {
        const LANES: usize = 16;
        const TILE_ROWS: usize = 12;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_min_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe {
                _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
            })
        }
        #[inline(always)]
        unsafe fn scale(self, exponent: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_scalef_ps(self.0, exponent.0) })
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
            // SAFETY: see above; sixteen rows of sixteen values each.
            unsafe {
                let mut rows = [_mm512_setzero_ps(); 16];
                for (row, values) in rows.iter_mut().enumerate() {
                    *values = _mm512_loadu_ps(from.add(row * stride));
                }
                for (column, [a, b, c, d]) in quads_512(&rows).into_iter().enumerate() {
                    let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)];
                    let odd = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)];
                    let to = to.add(column * to_stride);
                    _mm512_storeu_ps(to, _mm512_shuffle_f32x4::<0x88>(even[0], even[1]));
                    _mm512_storeu_ps(to.add(4 * to_stride), _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]));
                    _mm512_storeu_ps(to.add(8 * to_stride), _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]));
                    _mm512_storeu_ps(to.add(12 * to_stride), _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]));
                }
            }
        }
    }

    /// Of every four rows, columns 0 to 3 of each 128-bit part as registers: column `c` of part `p` in part `p` of
    /// register `c`.
    ///
    /// # Safety
    /// The processor has AVX.
    #[inline(always)]
    unsafe fn quads_256(rows: &[__m256; 8]) -> [[__m256; 2]; 4] {
        // SAFETY: the instructions, by this function's contract. No closures: they would not be compiled for them.
        unsafe {
            let mut quads = [[_mm256_setzero_ps(); 2]; 4];
            for (quad, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
                let low = _mm256_castps_pd(_mm256_unpacklo_ps(rows[0], rows[1]));
                let low_below = _mm256_castps_pd(_mm256_unpacklo_ps(rows[2], rows[3]));
                let high = _mm256_castps_pd(_mm256_unpackhi_ps(rows[0], rows[1]));
                let high_below = _mm256_castps_pd(_mm256_unpackhi_ps(rows[2], rows[3]));
                quads[0][quad] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, low_below));
                quads[1][quad] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, low_below));
                quads[2][quad] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, high_below));
                quads[3][quad] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, high_below));
            }
            quads
        }
    }

    /// As [`quads_256`], of sixteen rows.
    ///
    /// # Safety
    /// The processor has AVX-512 F.
    #[inline(always)]
    unsafe fn quads_512(rows: &[__m512; 16]) -> [[__m512; 4]; 4] {
        // SAFETY: the instructions, by this function's contract. No closures: they would not be compiled for them.
        unsafe {
            let mut quads = [[_mm512_setzero_ps(); 4]; 4];
            for (quad, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
                let low = _mm512_castps_pd(_mm512_unpacklo_ps(rows[0], rows[1]));
                let low_below = _mm512_castps_pd(_mm512_unpacklo_ps(rows[2], rows[3]));
                let high = _mm512_castps_pd(_mm512_unpackhi_ps(rows[0], rows[1]));
                let high_below = _mm512_castps_pd(_mm512_unpackhi_ps(rows[2], rows[3]));
                quads[0][quad] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low_below));
                quads[1][quad] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low_below));
                quads[2][quad] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high_below));
                quads[3][quad] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high_below));
            }
            quads
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// The lanes of one register under `set`.
pub(crate) fn lanes(set: Option<InstructionSet>) -> usize {
    match set {
        Some(InstructionSet::Avx512 | InstructionSet::Avx512Vnni | InstructionSet::Avx512Amx) => 16,
        _ => 8,
    }
}

/// Defines `$name(set, arguments)`, which runs the generic `$generic::<V>(arguments)` compiled for `set`;
/// `None` and the sets without intrinsics here run [`Portable`].
///
/// `$generic` must be `#[inline(always)]` and unsafe only for the sake of the instructions.
macro_rules! for_each_set {
    ($(#[$attribute:meta])* $visible:vis fn $name:ident = $generic:ident($($argument:ident: $type:ty),* $(,)?)) => {
        $(#[$attribute])*
        $visible fn $name(set: Option<$crate::device::InstructionSet>, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($argument: $type),*) {
                // SAFETY: this function is only entered where AVX-512 F, BW, DQ and VL are.
                unsafe { $generic::<$crate::vector::Avx512>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) {
                // SAFETY: this function is only entered where AVX2 and FMA are.
                unsafe { $generic::<$crate::vector::Avx2>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::device::InstructionSet;
                if let Some(set) = set {
                    assert!(set.is_available(), "{set} is not available on this processor");
                }
                match set {
                    Some(InstructionSet::Avx512 | InstructionSet::Avx512Vnni | InstructionSet::Avx512Amx) => {
                        // SAFETY: `is_available` saw every feature the function is compiled for.
                        return unsafe { avx512($($argument),*) };
                    }
                    Some(InstructionSet::Avx2) => {
                        // SAFETY: `is_available` saw every feature the function is compiled for.
                        return unsafe { avx2($($argument),*) };
                    }
                    _ => {}
                }
            }
            let _ = set;
            // SAFETY: plain Rust needs no instructions of its own.
            unsafe { $generic::<$crate::vector::Portable>($($argument),*) }
        }
    };
}
pub(crate) use for_each_set;

#[cfg(test)]
mod tests {
    use super::*;

    for_each_set! {
        fn exp_all = exp_all_with(values: &mut [f32])
    }

    #[inline(always)]
    unsafe fn exp_all_with<V: Vector>(values: &mut [f32]) {
        for chunk in values.chunks_exact_mut(V::LANES) {
            // SAFETY: the chunk has as many values as the vector.
            unsafe { exp(V::load(chunk.as_ptr())).store(chunk.as_mut_ptr()) }
        }
    }

    /// The distance between two neighbouring f32 at `value`, the subnormal one below the normal range.
    fn ulp(value: f64) -> f64 {
        let exponent = value.log2().floor().max(-126.0);
        (exponent - 23.0).exp2()
    }

    #[test]
    fn the_exponential_keeps_its_promise() {
        // Every 997th f32 of both signs from -104 to 88.72, and the edges.
        let step = if cfg!(miri) { 4_000_037 } else { 997 };
        let negative = (0..=104.0f32.to_bits()).step_by(step).map(|bits| -f32::from_bits(bits));
        let positive = (0..=88.72f32.to_bits()).step_by(step).map(f32::from_bits);
        let mut inputs: Vec<f32> =
            negative.chain(positive).chain([0.0, -0.0, 1.0, -87.33655, -103.9]).collect();
        inputs.resize(inputs.len().next_multiple_of(16), 0.0);
        for set in InstructionSet::all_available().map(Some).chain([None]) {
            let mut values = inputs.clone();
            exp_all(set, &mut values);
            let worst = inputs
                .iter()
                .zip(&values)
                .map(|(x, value)| {
                    let exact = f64::from(*x).exp();
                    (f64::from(*value) - exact).abs() / ulp(exact)
                })
                .fold(0.0, f64::max);
            println!("{set:?}: at most {worst:.3} ulp");
            assert!(worst <= EXP_MAX_ULP, "{set:?}: {worst} ulp");
        }
    }

    #[test]
    fn the_exponential_ends_at_zero_and_infinity() {
        let inputs = [f32::NEG_INFINITY, -1e30, -104.5, 0.0, 89.0, 1e30, f32::MAX, f32::MIN];
        let inputs: Vec<f32> = inputs.into_iter().chain(inputs).collect();
        let ends = [0.0, 0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY, f32::INFINITY, 0.0];
        for set in InstructionSet::all_available().map(Some).chain([None]) {
            let mut values = inputs.clone();
            exp_all(set, &mut values);
            assert_eq!(values[..8], ends, "{set:?}");
            assert_eq!(values[8..], ends, "{set:?}");
        }
    }
}
