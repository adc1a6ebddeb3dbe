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

/// The sum of `term` over rows of one length, value by value, in [`LANES`] partial sums that are added pairwise at the end.
#[inline(always)]
pub fn lane_sum<const ROWS: usize>(rows: [&[f32]; ROWS], term: impl Fn([f32; ROWS]) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let parts = rows.map(|row| row.as_chunks::<LANES>());
    // Whole registers by slices of a known length: a check of bounds for each value would keep the loop from vectors.
    for at in 0..parts.iter().map(|(whole, _)| whole.len()).min().unwrap_or(0) {
        let chunks: [&[f32; LANES]; ROWS] = std::array::from_fn(|row| &parts[row].0[at]);
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(chunks.map(|chunk| chunk[lane]));
        }
    }
    for at in 0..parts.iter().map(|(_, rest)| rest.len()).min().unwrap_or(0) {
        sums[at] += term(parts.map(|(_, rest)| rest[at]));
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

/// The largest value, NaN aside; minus infinity of none.
#[inline(always)]
pub fn lane_max(row: &[f32]) -> f32 {
    let larger = |largest: f32, value: f32| if value > largest { value } else { largest };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *value);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |largest, &value| larger(largest, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_counts_once() {
        for count in [0, 1, 15, 16, 17, 100] {
            let row: Vec<f32> = (0..count).map(|at| at as f32).collect();
            assert_eq!(lane_sum([&row], |[value]| value), (0..count).sum::<usize>() as f32);
            assert_eq!(lane_sum([&row, &row], |[a, b]| a + b), 2.0 * (0..count).sum::<usize>() as f32);
            for at in 0..count {
                let mut row = vec![-1.0; count];
                row[at] = 3.0;
                assert_eq!(lane_max(&row), 3.0);
            }
        }
        assert_eq!(lane_max(&[]), f32::NEG_INFINITY);
    }
}
