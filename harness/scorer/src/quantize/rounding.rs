//! Rounding the weights of a linear map so that their errors cancel over the inputs it is given.
//!
//! Rounding every weight to its nearest code is best where inputs are independent. They are not: an error made in one column
//! can be taken back in those that move along with it. What counts is the error of the outputs over the inputs seen,
//!
//! ```text
//! sum over outputs o of  e_o H e_o^T,     H = sum over inputs x of  x x^T,     e_o = weights - codes * scale
//! ```
//!
//! so columns are rounded in turn, and each takes up what it can of the errors of those before it (GPTQ / OPTQ, Frantar et al.
//! 2023, arXiv 2210.17323), in the form of Chee et al. 2023 (QuIP, arXiv 2307.13304), who show that with `H = L D L^T`, `L` of
//! unit diagonal and lower triangular, this is
//!
//! ```text
//! code[j] = round((weight[j] + sum over i > j of  e[i] L[i][j]) / scale),     j from the last column to the first
//! ```
//!
//! No inverse is needed, and with no correlation (`L` the identity) it is rounding to the nearest. Columns of most input come first, when all
//! others can still make up for them (the paper's released code does so too). `H` is damped by [`DAMPING`] of its mean
//! diagonal: what is rounded for these texts has to hold for others.
//!
//! Scales are those of rounding to the nearest. Every sum is in f64 and in an order that neither threads nor batches of theirs
//! decide, nothing is fused, and only operations with one IEEE 754 answer are used: the codes are the same everywhere.

use kernels::encoder::quantize_rows;
use rayon::prelude::*;

/// What is added to the diagonal, in parts of its mean. Of 0.01 to 1, the least error on texts unlike the calibration's.
pub const DAMPING: f64 = 0.3;
/// Rows whose products are added in one go, so that they stay in the cache.
const BLOCK: usize = 64;
/// Partial sums of a product of rows.
const LANES: usize = 8;

/// The sum of `x x^T` over rows of inputs: `H`.
pub struct Gram {
    width: usize,
    /// `width x width`; the lower triangle counts.
    sums: Vec<f64>,
}

impl Gram {
    /// Over no rows yet, of `width` values each.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width, sums: vec![0.0; width * width] }
    }

    /// Adds `rows x width` values. The bits depend on which rows come in which call, not on threads.
    ///
    /// # Panics
    /// When the width is 0.
    pub fn add(&mut self, rows: &[f64]) {
        let width = self.width;
        for block in rows.chunks(BLOCK * width) {
            self.sums.par_chunks_exact_mut(width).enumerate().for_each(|(place, sums)| {
                let sums = &mut sums[..=place];
                let (fours, rest) = block.split_at(block.len() / (4 * width) * 4 * width);
                for four in fours.chunks_exact(4 * width) {
                    add_four(sums, four, width, place);
                }
                for row in rest.chunks_exact(width) {
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += row[place] * x);
                }
            });
        }
    }

    /// The error of outputs, `e H e^T`, for the errors of one output's weights.
    #[cfg(test)]
    fn error(&self, errors: &[f64]) -> f64 {
        let at = |i: usize, j: usize| self.sums[i.max(j) * self.width + i.min(j)];
        let pairs = (0..self.width).flat_map(|i| (0..self.width).map(move |j| (i, j)));
        pairs.map(|(i, j)| errors[i] * at(i, j) * errors[j]).sum()
    }
}

/// `sums[j] += sum over four rows of row[place] * row[j]`.
fn add_four(sums: &mut [f64], rows: &[f64], width: usize, place: usize) {
    let row = |at: usize| &rows[at * width..][..sums.len()];
    let (a, b, c, d) = (row(0), row(1), row(2), row(3));
    let by = [a[place], b[place], c[place], d[place]];
    for (at, sum) in sums.iter_mut().enumerate() {
        *sum += by[0] * a[at] + by[1] * b[at] + by[2] * c[at] + by[3] * d[at];
    }
}

/// `H = L D L^T` with the columns in the order of their inputs, those of most input last.
struct Factor {
    /// The column at each place.
    order: Vec<usize>,
    /// `width x width`, below the diagonal.
    lower: Vec<f64>,
}

impl Factor {
    fn of(gram: &Gram) -> Self {
        let width = gram.width;
        let diagonal: Vec<f64> = gram.sums.iter().step_by(width + 1).copied().collect();
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]));
        let mean = diagonal.iter().sum::<f64>() / width as f64;
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        let mut lower = vec![0.0; width * width];
        let mut pivots: Vec<f64> = Vec::with_capacity(width);
        for i in 0..width {
            let (above, rest) = lower.split_at_mut(i * width);
            let row = &mut rest[..i];
            for j in 0..i {
                let (a, b) = (order[i].max(order[j]), order[i].min(order[j]));
                row[j] = gram.sums[a * width + b] - dot(&row[..j], &above[j * width..][..j]);
            }
            let mut pivot = diagonal[order[i]] + damping;
            for (value, above) in row.iter_mut().zip(&pivots) {
                let scaled = *value / above;
                pivot -= *value * scaled;
                *value = scaled;
            }
            pivots.push(pivot);
        }
        Self { order, lower }
    }

    /// The codes of one output's weights.
    fn codes(&self, weights: &[f32], scale: f64, limit: f64) -> Vec<i8> {
        let width = weights.len();
        let mut codes = vec![0i8; width];
        if scale == 0.0 {
            return codes;
        }
        let mut targets: Vec<f64> = self.order.iter().map(|&column| f64::from(weights[column])).collect();
        for place in (0..width).rev() {
            let column = self.order[place];
            let code = (targets[place] / scale).round_ties_even().clamp(-limit, limit);
            codes[column] = code as i8;
            let error = f64::from(weights[column]) - code * scale;
            let lower = &self.lower[place * width..][..place];
            targets[..place].iter_mut().zip(lower).for_each(|(target, by)| *target += error * by);
        }
        codes
    }
}

/// In [`LANES`] partial sums, added in turn.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>();
    lanes.into_iter().sum::<f64>() + rest
}

/// Codes and scales of `outputs x width` weights, whose inputs are those of `gram`; the largest code is `limit`.
///
/// # Panics
/// When the width is 0 or the weights are no whole rows.
#[must_use]
pub fn rounded(weights: &[f32], gram: &Gram, limit: i8) -> (Vec<i8>, Vec<f32>) {
    assert!(weights.len().is_multiple_of(gram.width), "{} weights of {} inputs", weights.len(), gram.width);
    let (_, scales) = quantize_rows(weights, gram.width, limit);
    let factor = Factor::of(gram);
    let rows = weights.par_chunks_exact(gram.width).zip(&scales);
    let codes = rows.flat_map_iter(|(row, &scale)| factor.codes(row, scale.into(), limit.into())).collect();
    (codes, scales)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kernels::encoder::SEVEN_BITS;

    use super::*;

    /// Values in -1 to 1 that look random.
    struct Stream(u64);

    impl Stream {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        }

        fn take(&mut self, count: usize) -> Vec<f64> {
            (0..count).map(|_| self.next()).collect()
        }

        /// Rows that are mixtures of `causes` causes, and a tenth of noise: columns move together.
        fn correlated(&mut self, rows: usize, mixture: &[f64], width: usize) -> Vec<f64> {
            let causes = mixture.len() / width;
            let row = |_| {
                let strengths = self.take(causes);
                let mixed = |column: usize| -> f64 {
                    let parts = strengths.iter().zip(mixture.iter().skip(column).step_by(width));
                    parts.map(|(strength, part)| strength * part).sum()
                };
                (0..width).map(|column| mixed(column) + 0.1 * self.next()).collect::<Vec<f64>>()
            };
            (0..rows).flat_map(row).collect()
        }
    }

    fn errors(weights: &[f32], (codes, scales): &(Vec<i8>, Vec<f32>), width: usize) -> Vec<Vec<f64>> {
        let rows = weights.chunks(width).zip(codes.chunks(width)).zip(scales);
        let row = |((weights, codes), &scale): ((&[f32], &[i8]), &f32)| {
            let pairs = weights.iter().zip(codes);
            pairs.map(|(&weight, &code)| f64::from(weight) - f64::from(code) * f64::from(scale)).collect()
        };
        rows.map(row).collect()
    }

    /// Columns 1 and 2 always hold the same. Twice 0.4 is nearer to 1 than to 0: column 2, rounded to 0, hands
    /// 0.4 / (1 + damping 0.2) to column 1, since the mean diagonal is 2/3 and 0.3 of it 0.2.
    #[test]
    fn by_hand() {
        let mut gram = Gram::new(3);
        gram.add(&[0.0, 1.0, 1.0]);
        let weights = [63.0, 0.4, 0.4];
        assert_eq!(quantize_rows(&weights, 3, SEVEN_BITS), (vec![63, 0, 0], vec![1.0]));
        assert_eq!(rounded(&weights, &gram, SEVEN_BITS), (vec![63, 1, 0], vec![1.0]));
        let factor = Factor::of(&gram);
        assert_eq!(factor.order, [0, 1, 2]);
        assert_eq!(factor.lower[3..], [0.0, 0.0, 0.0, 0.0, 1.0 / (1.0 + DAMPING * 2.0 / 3.0), 0.0]);
    }

    #[test]
    fn independent_inputs_are_rounded_to_the_nearest() {
        let (width, weights) = (20, Stream(1).take(200));
        let weights: Vec<f32> = weights.into_iter().map(|x| x as f32).collect();
        let mut gram = Gram::new(width);
        for column in 0..width {
            let mut row = vec![0.0; width];
            row[column] = 1.0 + column as f64;
            gram.add(&row);
        }
        assert_eq!(rounded(&weights, &gram, SEVEN_BITS), quantize_rows(&weights, width, SEVEN_BITS));
        let none = Gram::new(width);
        assert_eq!(rounded(&weights, &none, SEVEN_BITS), quantize_rows(&weights, width, SEVEN_BITS));
        assert_eq!(rounded(&[0.0; 20], &gram, SEVEN_BITS), (vec![0; 20], vec![0.0]));
    }

    #[test]
    fn the_factors_give_the_sums_back() {
        let (width, mut stream) = (37, Stream(2));
        let mut gram = Gram::new(width);
        let rows = stream.take(50 * width);
        gram.add(&rows);
        for (i, j) in [(0, 0), (5, 3), (36, 36), (36, 0)] {
            let expected: f64 = rows.chunks(width).map(|row| row[i] * row[j]).sum();
            assert!((gram.sums[i * width + j] - expected).abs() < 1e-12, "{i}, {j}");
        }
        let factor = Factor::of(&gram);
        let at = |i: usize, j: usize| if i == j { 1.0 } else { factor.lower[i * width + j] };
        let sum = |a: usize, b: usize| {
            let (a, b) = (factor.order[a], factor.order[b]);
            gram.sums[a.max(b) * width + a.min(b)]
        };
        let damping = DAMPING * (0..width).map(|i| sum(i, i)).sum::<f64>() / width as f64;
        // D from L and H: (L^-1 H)[k][k], found by elimination.
        let mut pivots = Vec::new();
        for i in 0..width {
            let before: f64 = (0..i).map(|k| at(i, k) * at(i, k) * pivots[k]).sum();
            pivots.push(sum(i, i) + damping - before);
            assert!(pivots[i] > 0.0);
            for j in 0..i {
                let product: f64 = (0..=j).map(|k| at(i, k) * pivots[k] * at(j, k)).sum();
                assert!((product - sum(i, j)).abs() < 1e-10, "{i}, {j}: {product} for {}", sum(i, j));
            }
        }
        assert!(
            factor
                .order
                .windows(2)
                .all(|two| gram.sums[two[0] * (width + 1)] <= gram.sums[two[1] * (width + 1)])
        );
    }

    /// Where inputs move together, on inputs that were not seen: at most a third of the error of the nearest codes.
    #[test]
    fn errors_cancel_over_correlated_inputs() {
        let (width, mut stream) = (96, Stream(3));
        let mixture = stream.take(12 * width);
        let (mut seen, mut unseen) = (Gram::new(width), Gram::new(width));
        seen.add(&stream.correlated(600, &mixture, width));
        unseen.add(&stream.correlated(600, &mixture, width));
        let weights: Vec<f32> = stream.take(40 * width).into_iter().map(|x| x as f32).collect();
        let error = |found: &(Vec<i8>, Vec<f32>)| -> f64 {
            errors(&weights, found, width).iter().map(|errors| unseen.error(errors)).sum()
        };
        let compensated = rounded(&weights, &seen, SEVEN_BITS);
        let nearest = quantize_rows(&weights, width, SEVEN_BITS);
        assert!(compensated.0.iter().all(|code| code.abs() <= SEVEN_BITS));
        assert_eq!(compensated.1, nearest.1);
        let (compensated, nearest) = (error(&compensated), error(&nearest));
        assert!(compensated < nearest / 3.0, "{compensated} for {nearest}");
    }

    #[test]
    fn threads_do_not_matter() {
        let (width, mut stream) = (50, Stream(4));
        let rows = stream.take(333 * width);
        let weights: Vec<f32> = stream.take(30 * width).into_iter().map(|x| x as f32).collect();
        let codes = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut gram = Gram::new(width);
                gram.add(&rows);
                (
                    gram.sums.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                    rounded(&weights, &gram, SEVEN_BITS),
                )
            })
        };
        assert_eq!(codes(1), codes(3));
    }
}
