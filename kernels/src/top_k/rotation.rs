//! A rotation learned from the documents, after which the length of a vector lies mostly in its first columns.
//!
//! `R [d x m]` spans the first `m` eigenvectors of the documents' second moment (not about the mean: it is inner
//! products that are wanted), rounded to f32. The head of a vector `x` is `h = R^T x`. Of the rest of an inner product
//! only a bound is known, and that bound must not hang on how well `R` was learned or how orthogonal its columns
//! are:
//!
//! - Exactly, `q.r = h_q.h_r + q^T M r` with `M = 1 - R R^T`. Let `|R^T R - 1| <= e` (`departure`). `R R^T` has the
//!   eigenvalues of `R^T R` on the span of `R`, all within `1 - e .. 1 + e`, and 0 across it, so `M` is 1 across the span
//!   and at most `e` on it. With `x = x_on + x_across`, `|q^T M r| <= |q_across| |r_across| + e |q| |r|`.
//! - `|h_x|^2 = x^T R R^T x <= (1 + e) |x_on|^2`, hence `|x_across|^2 = |x|^2 - |x_on|^2 <= |x|^2 - (1 - e) |h_x|^2`.
//! - By Cauchy-Schwarz, with `t_x^2 = (1 + e) |x|^2 - (1 - e) |h_x|^2`: `|q.r - h_q.h_r| <= t_q t_r` ([`Rotation::tail`]).
//! - A head is computed in f32, `h' = h + f`. Each column is a sum of `d` products, so with `u = 2^-24`, `n = d + 24` and
//!   `g = n u / (1 - n u)`, whatever the order of summation, column `j` is off by at most `g |x| |R_j|`, and
//!   `|f| <= g |x| (sum_j |R_j|^2)^(1/2) <= g |x| (m (1 + e))^(1/2)` ([`Rotation::rounding`]).

use super::eigen::eigenvectors;
use crate::device::Device;
use crate::matrix::Matrix;
use crate::product::{Base, Operand, Target, product};

/// Above this departure from orthogonality the bound of the rest would be of no use.
const MOST_DEPARTURE: f64 = 1e-3;

/// What the lengths, computed in f64, may be off by, relative to their square.
const SLACK: f64 = 1e-9;

const UNIT_ROUNDOFF: f64 = 1.0 / (1u32 << 24) as f64;

/// `R`, as its transpose.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    /// `[m x d]`: a row for each column of a head.
    basis: Vec<f32>,
    inputs: usize,
    heads: usize,
    /// At least the largest eigenvalue of `R^T R - 1`, in magnitude.
    departure: f64,
}

impl Rotation {
    /// The first `heads` rows of `basis`, `inputs` values each, mixed. None where they are too far from orthonormal.
    pub fn new(basis: &[f32], inputs: usize, heads: usize) -> Option<Rotation> {
        let basis = mixed(&basis[..heads * inputs], inputs);
        let departure = departure(&basis, inputs);
        (departure <= MOST_DEPARTURE).then_some(Rotation { basis, inputs, heads, departure })
    }

    /// Columns of a head.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// The heads of `rows` `[n x d]`, into `[n x m]`.
    pub fn rotate(&self, rows: Matrix<'_, f32>, heads: &mut [f32]) {
        rotate(&self.basis, rows, heads);
    }

    /// The most by which the head of a vector of length `norm` is off, as a length.
    #[allow(clippy::cast_precision_loss)]
    pub fn rounding(&self, norm: f64) -> f64 {
        let roundings = (self.inputs + 24) as f64 * UNIT_ROUNDOFF;
        let each = roundings / (1.0 - roundings) * norm;
        each * (self.heads as f64 * (1.0 + self.departure)).sqrt() * (1.0 + SLACK)
    }

    /// `t`, rounded up, of a vector of length `norm` whose computed head has length `head`.
    pub fn tail(&self, norm: f64, head: f64) -> f64 {
        let head = (head - self.rounding(norm)).max(0.0);
        let squared =
            (1.0 + self.departure + SLACK) * norm * norm - (1.0 - self.departure - SLACK) * head * head;
        squared.max(0.0).sqrt() * (1.0 + SLACK)
    }
}

/// The rows after a discrete cosine transform across them. That is one more rotation, which leaves lengths and products of
/// heads what they are; but no column stands out any more, and a row of codes has one step for all of its columns.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn mixed(basis: &[f32], inputs: usize) -> Vec<f32> {
    let count = basis.len() / inputs;
    let angle = std::f64::consts::PI / (2 * count) as f64;
    let mut mixed = Vec::with_capacity(basis.len());
    for wave in 0..count {
        let scale = if wave == 0 { 1.0 } else { 2.0 } / count as f64;
        let mut row = vec![0.0; inputs];
        for (number, values) in basis.chunks_exact(inputs).enumerate() {
            let factor = scale.sqrt() * (angle * ((2 * number + 1) * wave) as f64).cos();
            row.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * f64::from(*value));
        }
        mixed.extend(row.into_iter().map(|value| value as f32));
    }
    mixed
}

/// The product of `rows` `[n x d]` with the transpose of `basis` `[m x d]`, into `[n x m]`.
pub(super) fn rotate(basis: &[f32], rows: Matrix<'_, f32>, heads: &mut [f32]) {
    let inputs = rows.columns();
    let count = basis.len() / inputs;
    let right = Matrix::new("basis", basis, count, inputs).map(|basis| Operand::from(basis).transposed());
    let target = Target { values: heads, stride: count, base: Base::Zero };
    right
        .and_then(|right| product(Operand::from(rows), right, 1.0, target, Device::auto(), 1))
        .expect("both sides have the rotation's columns");
}

/// The Frobenius norm of `basis basis^T - 1`, which no eigenvalue exceeds, rounded up.
fn departure(basis: &[f32], inputs: usize) -> f64 {
    let rows: Vec<&[f32]> = basis.chunks_exact(inputs).collect();
    let mut squared = 0.0;
    for (i, left) in rows.iter().enumerate() {
        for (j, right) in rows[..=i].iter().enumerate() {
            let product: f64 = left.iter().zip(*right).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let off = if i == j { product - 1.0 } else { product };
            squared += if i == j { off * off } else { 2.0 * off * off };
        }
    }
    squared.sqrt() * (1.0 + SLACK) + SLACK
}

/// The eigenvectors of the second moment of `sample` `[n x d]`, the largest eigenvalues first: `[d x d]`, one a row.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn learn(sample: Matrix<'_, f32>) -> Vec<f32> {
    let columns = sample.columns();
    let mut moment = vec![0.0; columns * columns];
    let target = Target { values: &mut moment, stride: columns, base: Base::Zero };
    let sample = Operand::from(sample);
    product(sample.transposed(), sample, 1.0, target, Device::auto(), 0)
        .expect("a matrix fits its own transpose");
    // Sums in f32 are the same on both sides of the diagonal only as far as their order is.
    let symmetric = (0..columns * columns).map(|at| {
        let (row, column) = (at / columns, at % columns);
        f64::from(moment[row.max(column) * columns + row.min(column)])
    });
    let (vectors, _) = eigenvectors(symmetric.collect(), columns);
    vectors.into_iter().map(|value| value as f32).collect()
}
