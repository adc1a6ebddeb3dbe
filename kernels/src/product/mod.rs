//! Products of f32 matrices of any shape, read where they lie, transposed or not.
//!
//! ```text
//! C_ij = base_ij + factor * sum over k of A_ik B_kj
//!
//! A   left    [m x k]      B   right   [k x n]      C   target  [m x n], rows `stride` values apart
//! base        0, what C holds already, or one row for all rows (a bias)
//! ```
//!
//! # Rules
//! - Work is cut along rows and columns of `C` and never along the inner dimension: the bits do not depend on the
//!   number of threads.
//! - The order of a sum: runs of at most 384 consecutive `k`, each summed in ascending order, multiplied by `factor`
//!   and added to what is there. Vector instructions fuse multiplication and addition where they can, so the bits
//!   do depend on the instruction set. [`Device::Scalar`] sums in one run.
//! - Every value is multiplied and added, zeros too, so NaN and infinity spread as arithmetic has it. With an inner
//!   dimension of 0 the product is 0.
//! - Numbers between a row's end and the next one's start are neither read nor written.

mod scalar;
mod simd;
#[cfg(test)]
mod tests;

use crate::device::{Device, InstructionSet, Unavailable};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::workers;

/// A side of a product: value `(i, j)` is `values[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> From<Matrix<'a, f32>> for Operand<'a> {
    fn from(matrix: Matrix<'a, f32>) -> Self {
        let (rows, columns, row_stride) = (matrix.rows(), matrix.columns(), matrix.stride());
        Operand { values: matrix.values(), rows, columns, row_stride, column_stride: 1 }
    }
}

impl Operand<'_> {
    /// The transpose, without moving anything.
    #[must_use]
    pub fn transposed(self) -> Self {
        let Self { values, rows, columns, row_stride, column_stride } = self;
        Operand { values, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// Rows, after any transposition.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, after any transposition.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// What the product is added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Base<'a> {
    /// Nothing: what the target held is overwritten unread.
    Zero,
    /// What the target holds.
    Target,
    /// This row, one value for each column.
    Row(&'a [f32]),
}

/// Where the product goes.
#[derive(Debug)]
pub struct Target<'a> {
    /// Row after row.
    pub values: &'a mut [f32],
    /// Values from one row's start to the next one's.
    pub stride: usize,
    /// What the product is added to.
    pub base: Base<'a>,
}

/// `target = base + factor * left right`.
///
/// `threads` is the number of threads to use, 0 for all of the current rayon pool.
///
/// # Errors
/// [`Error::Mismatch`] for sides that do not fit, [`Error::Length`], [`Error::Stride`] and [`Error::TooLarge`] for a
/// target that cannot hold the product, [`Error::Device`] when the device is not available.
pub fn product(
    left: Operand<'_>,
    right: Operand<'_>,
    factor: f32,
    target: Target<'_>,
    device: Device,
    threads: usize,
) -> Result<()> {
    match device {
        Device::Scalar => product_with(None, left, right, factor, target, threads),
        Device::Simd => {
            let set = InstructionSet::best();
            set.ok_or(Error::Device { device, reason: Unavailable::NoVectorInstructions })?;
            product_with(Some(set), left, right, factor, target, threads)
        }
        Device::Cuda => {
            Err(Error::Device { device, reason: Unavailable::NotImplemented { operation: "product" } })
        }
    }
}

/// [`product`] by the definition (`None`) or on an instruction set (of `Some(None)`: the portable one).
fn product_with(
    set: Option<Option<InstructionSet>>,
    left: Operand<'_>,
    right: Operand<'_>,
    factor: f32,
    target: Target<'_>,
    threads: usize,
) -> Result<()> {
    require_shapes(left, right, &target)?;
    if left.rows == 0 || right.columns == 0 {
        return Ok(());
    }
    match set {
        None => scalar::multiply(left, right, factor, target),
        Some(set) => simd::multiply(set, left, right, factor, target, workers::count(threads)),
    }
    Ok(())
}

fn require_shapes(left: Operand<'_>, right: Operand<'_>, target: &Target<'_>) -> Result<()> {
    let same = |dimension, left, left_size, right, right_size| {
        if left_size == right_size {
            return Ok(());
        }
        Err(Error::Mismatch { dimension, left, left_size, right, right_size })
    };
    same("values along the inner dimension", "left", left.columns, "right", right.rows)?;
    if let Base::Row(row) = target.base {
        same("columns", "base", row.len(), "right", right.columns)?;
    }
    Matrix::with_stride("target", target.values, left.rows, right.columns, target.stride)?;
    Ok(())
}
