//! The definition of the inner product in plain loops.

/// Accumulators the columns are dealt to, in turn.
pub(crate) const LANES: usize = 16;

/// `sum_j left_j right_j` in the defined order: column `j` to accumulator `j mod 16`, then halves folded.
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    for (column, (l, r)) in left.iter().zip(right).enumerate() {
        sums[column % LANES] += f64::from(*l) * f64::from(*r);
    }
    fold(sums)
}

/// Adds the upper half onto the lower half until one sum is left.
#[inline(always)]
pub(crate) fn fold(mut sums: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}
