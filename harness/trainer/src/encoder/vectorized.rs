//! Loops compiled three times, for AVX-512, AVX2 and the plain target, and chosen by what the processor has.
//!
//! Rust neither reorders sums nor fuses multiplications, so the three give the same bits. Sums are therefore written over
//! [`LANES`] partial sums, which any of the three can keep in registers.

/// Partial sums of a reduction: one AVX-512 register of f32.
pub const LANES: usize = 16;

/// Defines a function whose body is compiled for each instruction set.
macro_rules! vectorized {
    ($(#[$note:meta])* $visible:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$note])*
        $visible fn $name($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn plain($($argument: $type),*) $(-> $output)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn with_avx512($($argument: $type),*) $(-> $output)? { plain($($argument),*) }
                #[target_feature(enable = "avx2")]
                fn with_avx2($($argument: $type),*) $(-> $output)? { plain($($argument),*) }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor was just found to have these instructions.
                    return unsafe { with_avx512($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { with_avx2($($argument),*) };
                }
            }
            plain($($argument),*)
        }
    };
}
pub(crate) use vectorized;

/// The sum of `value(i)` over `0..count`, in [`LANES`] partial sums that are added pairwise at the end.
#[inline(always)]
pub fn lane_sum(count: usize, value: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let whole = count - count % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += value(start + lane);
        }
    }
    for at in whole..count {
        sums[at - whole] += value(at);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_added_once() {
        for count in [0, 1, 15, 16, 17, 100] {
            let expected = (0..count).sum::<usize>() as f32;
            assert_eq!(lane_sum(count, |at| at as f32), expected);
        }
    }
}
