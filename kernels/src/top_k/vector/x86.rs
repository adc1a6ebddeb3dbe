//! AVX2 with FMA, AVX-512, and AVX-512 with VNNI.

use core::arch::x86_64::*;

use super::Vector;

/// Eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

/// Sixteen lanes; codes are widened to 16 bits.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// Sixteen lanes; four code products a lane and instruction.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Vnni(__m512);

impl Vector for Avx2 {
    const LANES: usize = 8;
    const CODE_OFFSET: i32 = 0;
    type Integers = __m256i;
    /// The even and the odd codes, widened to 16 bits.
    type Quads = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: AVX, by the trait's contract.
        unsafe { Avx2(_mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(values: *const f32) -> Self {
        // SAFETY: AVX and eight readable values, by the trait's contract.
        unsafe { Avx2(_mm256_loadu_ps(values)) }
    }
    #[inline(always)]
    unsafe fn store(self, values: *mut f32) {
        // SAFETY: AVX and eight writable values, by the trait's contract.
        unsafe { _mm256_storeu_ps(values, self.0) }
    }
    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        // SAFETY: AVX, by the trait's contract.
        unsafe { Avx2(_mm256_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, other: Self, sum: Self) -> Self {
        // SAFETY: FMA, by the trait's contract.
        unsafe { Avx2(_mm256_fmadd_ps(self.0, other.0, sum.0)) }
    }
    #[inline(always)]
    unsafe fn not_below(self, threshold: Self) -> u32 {
        // SAFETY: AVX, by the trait's contract.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(self.0, threshold.0)).cast_unsigned() }
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        // SAFETY: AVX, by the trait's contract.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> Self::Integers {
        // SAFETY: AVX, by the trait's contract.
        unsafe { _mm256_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn load_quads(codes: *const i8) -> Self::Quads {
        // SAFETY: AVX2 and 32 readable codes, by the trait's contract.
        unsafe { widen_256(_mm256_loadu_si256(codes.cast())) }
    }
    #[inline(always)]
    unsafe fn splat_quad(codes: *const i8) -> Self::Quads {
        // SAFETY: AVX2 and four readable codes, by the trait's contract.
        unsafe { widen_256(_mm256_set1_epi32(codes.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn add_products(
        sums: Self::Integers,
        query: Self::Quads,
        document: Self::Quads,
    ) -> Self::Integers {
        // SAFETY: AVX2, by the trait's contract.
        unsafe {
            let even = _mm256_madd_epi16(query.0, document.0);
            let odd = _mm256_madd_epi16(query.1, document.1);
            _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
        }
    }
    #[inline(always)]
    unsafe fn to_float(integers: Self::Integers) -> Self {
        // SAFETY: AVX, by the trait's contract.
        unsafe { Avx2(_mm256_cvtepi32_ps(integers)) }
    }
    #[inline(always)]
    unsafe fn total_integer(integers: Self::Integers) -> i32 {
        // SAFETY: AVX2, by the trait's contract.
        unsafe {
            let four =
                _mm_add_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256::<1>(integers));
            let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
        }
    }
}

/// Sign-extends the even and the odd bytes to 16 bits.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn widen_256(codes: __m256i) -> (__m256i, __m256i) {
    // SAFETY: AVX2, by this function's contract.
    unsafe { (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(codes)), _mm256_srai_epi16::<8>(codes)) }
}

/// Sign-extends the even and the odd bytes to 16 bits.
///
/// # Safety
/// The processor has AVX-512 BW.
#[inline(always)]
unsafe fn widen_512(codes: __m512i) -> (__m512i, __m512i) {
    // SAFETY: AVX-512 BW, by this function's contract.
    unsafe { (_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(codes)), _mm512_srai_epi16::<8>(codes)) }
}

/// What both 512-bit sets do alike.
macro_rules! float_operations_512 {
    ($name:ident) => {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: AVX-512 F, by the trait's contract.
            unsafe { $name(_mm512_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn load(values: *const f32) -> Self {
            // SAFETY: AVX-512 F and sixteen readable values, by the trait's contract.
            unsafe { $name(_mm512_loadu_ps(values)) }
        }
        #[inline(always)]
        unsafe fn store(self, values: *mut f32) {
            // SAFETY: AVX-512 F and sixteen writable values, by the trait's contract.
            unsafe { _mm512_storeu_ps(values, self.0) }
        }
        #[inline(always)]
        unsafe fn multiply(self, other: Self) -> Self {
            // SAFETY: AVX-512 F, by the trait's contract.
            unsafe { $name(_mm512_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, other: Self, sum: Self) -> Self {
            // SAFETY: AVX-512 F, by the trait's contract.
            unsafe { $name(_mm512_fmadd_ps(self.0, other.0, sum.0)) }
        }
        #[inline(always)]
        unsafe fn not_below(self, threshold: Self) -> u32 {
            // SAFETY: AVX-512 F, by the trait's contract.
            unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(self.0, threshold.0)) }
        }
        #[inline(always)]
        unsafe fn total(self) -> f32 {
            // SAFETY: AVX-512 F, by the trait's contract.
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
        #[inline(always)]
        #[allow(clippy::cast_possible_truncation)] // sixteen lanes
        unsafe fn list(mask: u32, first: u32, places: *mut u32) -> usize {
            // SAFETY: AVX-512 F and sixteen writable values, by the trait's contract.
            unsafe {
                let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let all = _mm512_add_epi32(_mm512_set1_epi32(first.cast_signed()), lanes);
                // In a register: compressing into memory is far slower on some processors.
                _mm512_storeu_si512(places.cast(), _mm512_maskz_compress_epi32(mask as u16, all));
            }
            mask.count_ones() as usize
        }
        #[inline(always)]
        unsafe fn splat_integer(value: i32) -> Self::Integers {
            // SAFETY: AVX-512 F, by the trait's contract.
            unsafe { _mm512_set1_epi32(value) }
        }
        #[inline(always)]
        unsafe fn to_float(integers: Self::Integers) -> Self {
            // SAFETY: AVX-512 F, by the trait's contract.
            unsafe { $name(_mm512_cvtepi32_ps(integers)) }
        }
        #[inline(always)]
        unsafe fn total_integer(integers: Self::Integers) -> i32 {
            // SAFETY: AVX-512 F, by the trait's contract.
            unsafe { _mm512_reduce_add_epi32(integers) }
        }
    };
}

impl Vector for Avx512 {
    const LANES: usize = 16;
    const CODE_OFFSET: i32 = 0;
    type Integers = __m512i;
    /// The even and the odd codes, widened to 16 bits.
    type Quads = (__m512i, __m512i);

    float_operations_512!(Avx512);

    #[inline(always)]
    unsafe fn load_quads(codes: *const i8) -> Self::Quads {
        // SAFETY: AVX-512 BW and 64 readable codes, by the trait's contract.
        unsafe { widen_512(_mm512_loadu_si512(codes.cast())) }
    }
    #[inline(always)]
    unsafe fn splat_quad(codes: *const i8) -> Self::Quads {
        // SAFETY: AVX-512 BW and four readable codes, by the trait's contract.
        unsafe { widen_512(_mm512_set1_epi32(codes.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn add_products(
        sums: Self::Integers,
        query: Self::Quads,
        document: Self::Quads,
    ) -> Self::Integers {
        // SAFETY: AVX-512 BW, by the trait's contract.
        unsafe {
            let even = _mm512_madd_epi16(query.0, document.0);
            let odd = _mm512_madd_epi16(query.1, document.1);
            _mm512_add_epi32(sums, _mm512_add_epi32(even, odd))
        }
    }
}

impl Vector for Avx512Vnni {
    const LANES: usize = 16;
    const CODE_OFFSET: i32 = 128;
    type Integers = __m512i;
    /// 64 bytes: unsigned for a query, signed for a document.
    type Quads = __m512i;

    float_operations_512!(Avx512Vnni);

    #[inline(always)]
    unsafe fn load_quads(codes: *const i8) -> Self::Quads {
        // SAFETY: AVX-512 F and 64 readable codes, by the trait's contract.
        unsafe { _mm512_loadu_si512(codes.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_quad(codes: *const i8) -> Self::Quads {
        // SAFETY: AVX-512 F and four readable codes, by the trait's contract.
        unsafe { _mm512_set1_epi32(codes.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn add_products(
        sums: Self::Integers,
        query: Self::Quads,
        document: Self::Quads,
    ) -> Self::Integers {
        // SAFETY: AVX-512 VNNI, by the trait's contract.
        unsafe { _mm512_dpbusd_epi32(sums, query, document) }
    }
}
