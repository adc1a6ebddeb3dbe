//! Products of f32 matrices by [`kernels::product`], over views whose shapes the network's own bookkeeping makes fit.
//!
//! Most of a training step is its inner loop (`perf record` of the example `training_step`), so a step is nearly as
//! fast as this product: see `benchmarks/record/*/*-training-step.csv` for where that stands beside PyTorch.

use kernels::product::{self, Base, Operand};
use kernels::{Device, Matrix};

/// What a shape that does not fit is: an error of this crate, never of its input.
const FITS: &str = "shapes of one network fit";

/// A matrix read where it lies.
#[derive(Clone, Copy)]
pub struct View<'a>(Operand<'a>);

impl<'a> View<'a> {
    /// `rows x columns`, row after row.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// `rows x columns` whose rows start `row_stride` values apart.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self(Matrix::with_stride("a view", values, rows, columns, row_stride).expect(FITS).into())
    }

    /// The transpose, without moving anything.
    pub fn transposed(self) -> Self {
        Self(self.0.transposed())
    }
}

/// A matrix written to, row after row, rows `stride` values apart.
pub struct Target<'a>(product::Target<'a>);

impl<'a> Target<'a> {
    /// Overwrites `values`.
    pub fn set(values: &'a mut [f32], stride: usize) -> Self {
        Self(product::Target { values, stride, base: Base::Zero })
    }

    /// Adds to `values`.
    pub fn add(values: &'a mut [f32], stride: usize) -> Self {
        Self(product::Target { values, stride, base: Base::Target })
    }

    /// Overwrites `values` with the product and `row` on top of each of its rows.
    pub fn set_above(row: &'a [f32], values: &'a mut [f32], stride: usize) -> Self {
        Self(product::Target { values, stride, base: Base::Row(row) })
    }
}

/// `target (+)= factor * left right` on all threads.
pub fn product(left: View, right: View, factor: f32, target: Target) {
    multiply(left, right, factor, target, 0);
}

/// [`product`] on the calling thread, for small matrices that are many.
pub fn small_product(left: View, right: View, factor: f32, target: Target) {
    multiply(left, right, factor, target, 1);
}

fn multiply(left: View, right: View, factor: f32, target: Target, threads: usize) {
    product::product(left.0, right.0, factor, target.0, Device::auto(), threads).expect(FITS);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 31 + seed * 17) % 23) as f32 / 7.0 - 1.5).collect()
    }

    #[test]
    fn against_plain_loops_in_every_orientation() {
        let (rows, inner, columns) = (5, 7, 6);
        let (a, b) = (drawn(rows * inner, 1), drawn(inner * columns, 2));
        let transpose = |values: &[f32], rows: usize, columns: usize| -> Vec<f32> {
            (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect()
        };
        let (a_t, b_t) = (transpose(&a, rows, inner), transpose(&b, inner, columns));
        let lefts = [View::new(&a, rows, inner), View::new(&a_t, inner, rows).transposed()];
        let rights = [View::new(&b, inner, columns), View::new(&b_t, columns, inner).transposed()];
        for left in lefts {
            for right in rights {
                let mut output = vec![1.0; rows * columns];
                product(left, right, 0.5, Target::add(&mut output, columns));
                for (at, value) in output.iter().enumerate() {
                    let (i, j) = (at / columns, at % columns);
                    let exact: f32 = (0..inner).map(|k| a[i * inner + k] * b[k * columns + j]).sum();
                    assert!((value - 1.0 - 0.5 * exact).abs() < 1e-4, "{i} {j}");
                }
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let (rows, inner, columns) = (384, 700, 300);
        let (a, b) = (drawn(rows * inner, 1), drawn(inner * columns, 2));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool");
            let mut output = vec![0.0; rows * columns];
            let (left, right) = (View::new(&a, rows, inner), View::new(&b, inner, columns));
            pool.install(|| product(left, right, 1.0, Target::set(&mut output, columns)));
            output
        };
        assert!(run(1) == run(3), "one thread and three");
    }
}
