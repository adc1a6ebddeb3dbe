//! The kernels in plain f64 loops: the definition that the device is held to.

use super::Update;
use super::dropout::{Dropout, Site};

/// What a value is multiplied by, as [`Dropout::apply`] has it.
pub fn kept(masks: Option<Dropout>, site: Site, text: u64, row: u64, column: usize) -> f64 {
    let mut values = vec![1.0; column + 1];
    if let Some(masks) = masks {
        masks.apply(site, text, row, &mut values);
    }
    f64::from(values[column])
}

/// `x^` of a row and `1 / s`.
pub fn standardize(row: &[f64], epsilon: f64) -> (Vec<f64>, f64) {
    let count = row.len() as f64;
    let mean = row.iter().sum::<f64>() / count;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    let inverse = 1.0 / (variance + epsilon).sqrt();
    (row.iter().map(|x| (x - mean) * inverse).collect(), inverse)
}

/// `w x^ + b`.
pub fn scale(standard: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    standard.iter().zip(weight).zip(bias).map(|((x, w), b)| x * w + b).collect()
}

/// `dx` of a norm's row.
pub fn norm_backward(slope: &[f64], standard: &[f64], inverse: f64, weight: &[f64]) -> Vec<f64> {
    let count = slope.len() as f64;
    let g: Vec<f64> = slope.iter().zip(weight).map(|(dy, w)| dy * w).collect();
    let mean = g.iter().sum::<f64>() / count;
    let along = g.iter().zip(standard).map(|(g, x)| g * x).sum::<f64>() / count;
    g.iter().zip(standard).map(|(g, x)| (g - mean - x * along) * inverse).collect()
}

/// The sum over rows of `left`, times `right` where there is one.
pub fn column_sums(left: &[f64], right: Option<&[f64]>, columns: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    for (at, value) in left.iter().enumerate() {
        sums[at % columns] += value * right.map_or(1.0, |right| right[at]);
    }
    sums
}

/// Phi, from the series of erf: `2 / sqrt pi (x - x^3 / 3 + x^5 / (5 2!) - ...)`.
fn distribution(x: f64) -> f64 {
    let x = x / std::f64::consts::SQRT_2;
    if x.abs() > 5.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 + sum / std::f64::consts::PI.sqrt()
}

/// GELU and its slope.
pub fn gelu(x: f64) -> (f64, f64) {
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (x * distribution(x), distribution(x) + x * density)
}

/// Softmax of a row, and the logarithm of the sum of its exponentials.
pub fn softmax(row: &[f64]) -> (Vec<f64>, f64) {
    let top = row.iter().fold(f64::NEG_INFINITY, |top, x| top.max(*x));
    let logarithm = top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
    (row.iter().map(|x| (x - logarithm).exp()).collect(), logarithm)
}

/// `dS` of a row from `P` and `dP`.
pub fn softmax_backward(weights: &[f64], slopes: &[f64]) -> Vec<f64> {
    let along: f64 = weights.iter().zip(slopes).map(|(p, dp)| p * dp).sum();
    weights.iter().zip(slopes).map(|(p, dp)| p * (dp - along)).collect()
}

/// One number's step of AdamW: value, mean, square.
pub fn adamw([value, mean, square]: [f64; 3], gradient: f64, step: &Update) -> [f64; 3] {
    let gradient = gradient * f64::from(step.factor);
    let mean = mean + f64::from(step.mean_share) * (gradient - mean);
    let square = square * f64::from(step.square_keep) + f64::from(step.square_share) * gradient * gradient;
    let move_by = mean / (square.sqrt() * f64::from(step.inverse_root) + f64::from(step.epsilon));
    [value * f64::from(step.keep) - f64::from(step.rate) * move_by, mean, square]
}

/// `alpha left right + beta out`, row-major.
pub fn product(
    left: impl Fn(usize, usize) -> f64,
    right: impl Fn(usize, usize) -> f64,
    depth: usize,
    (row, column): (usize, usize),
) -> f64 {
    (0..depth).map(|at| left(row, at) * right(at, column)).sum()
}
