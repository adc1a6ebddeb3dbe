//! Products of f32 matrices by the crate `gemm`, behind bounds that are checked.
//!
//! Nearly four fifths of a training step on one core are its inner loop (`perf record` of the example `training_step`), so a
//! step is as fast as this product: see `benchmarks/record/*/*-training-step.csv` for where that stands beside PyTorch.
//!
//! Work is split over rows and columns of the result and never over the inner dimension, so the bits do not depend on the
//! number of threads (tested).

use gemm::Parallelism;

/// A matrix read where it lies: value `(i, j)` is `values[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// `rows x columns`, row after row.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// `rows x columns` whose rows start `row_stride` values apart.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * row_stride + columns <= values.len(), "a view beyond its values");
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn transposed(self) -> Self {
        let Self { values, rows, columns, row_stride, column_stride } = self;
        Self { values, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }
}

/// A matrix written to, row after row, rows `stride` values apart.
pub struct Target<'a> {
    values: &'a mut [f32],
    stride: usize,
    keep: bool,
}

impl<'a> Target<'a> {
    /// Overwrites `values`.
    pub fn set(values: &'a mut [f32], stride: usize) -> Self {
        Self { values, stride, keep: false }
    }

    /// Adds to `values`.
    pub fn add(values: &'a mut [f32], stride: usize) -> Self {
        Self { values, stride, keep: true }
    }
}

/// `target (+)= factor * left right` on all threads.
pub fn product(left: View, right: View, factor: f32, target: Target) {
    multiply(left, right, factor, target, Parallelism::Rayon(0));
}

/// [`product`] on the calling thread, for small matrices that are many.
pub fn small_product(left: View, right: View, factor: f32, target: Target) {
    multiply(left, right, factor, target, Parallelism::None);
}

fn multiply(left: View, right: View, factor: f32, target: Target, parallelism: Parallelism) {
    let (rows, inner, columns) = (left.rows, left.columns, right.columns);
    assert_eq!(inner, right.rows, "inner dimensions");
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(target.stride >= columns && (rows - 1) * target.stride + columns <= target.values.len());
    // SAFETY: the views were checked against their slices when they were made, the target just now; a mutable slice
    // overlaps no other.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            target.values.as_mut_ptr(),
            1,
            target.stride as isize,
            target.keep,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
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
