//! The two sides of a batch in f64: unit vectors, prefixes, the score matrix and the way back from its gradient.
//!
//! ```text
//! S  = Q D'             scores     [B x N]
//! dQ = dS D             dD = dS' Q
//! u  = x / |x|          dx = (du - (du.u) u) / |x|;   a zero vector stays zero and gets no gradient
//! ```
//!
//! Products run in strips of a fixed number of rows, each strip on one thread: no sum depends on how many there are.

use kernels::Matrix;
use rayon::prelude::*;

use super::Real;
use super::error::LossError;

/// Rows of a product that are worked out together.
const STRIP_ROWS: usize = 64;

/// Query and document vectors of a batch, row-major.
#[derive(Clone, Debug)]
pub(super) struct Sides {
    pub queries: Vec<f64>,
    pub documents: Vec<f64>,
    /// Values of a vector.
    pub width: usize,
    /// Whether the vectors came as f32, so that f32 kernels lose nothing.
    pub narrow: bool,
}

/// Value and gradients with respect to both sides, in f64.
#[derive(Clone, Debug)]
pub(super) struct SideGradients {
    pub value: f64,
    pub per_query: Vec<f64>,
    pub queries: Vec<f64>,
    pub documents: Vec<f64>,
    pub parameters: Vec<f64>,
}

impl SideGradients {
    /// No loss and no slope.
    pub fn nothing(sides: &Sides, parameters: usize) -> Self {
        SideGradients {
            value: 0.0,
            per_query: vec![0.0; sides.query_count()],
            queries: vec![0.0; sides.queries.len()],
            documents: vec![0.0; sides.documents.len()],
            parameters: vec![0.0; parameters],
        }
    }

    /// Adds `weight` times another loss of the same batch. Values per query are lost when one of the two has none.
    pub fn add(&mut self, weight: f64, other: &SideGradients) {
        let add = |sum: &mut [f64], terms: &[f64]| {
            sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += weight * term);
        };
        self.value += weight * other.value;
        self.per_query.truncate(other.per_query.len());
        add(&mut self.per_query, &other.per_query);
        add(&mut self.queries, &other.queries);
        add(&mut self.documents, &other.documents);
        add(&mut self.parameters, &other.parameters);
    }
}

/// Vectors of length 1 and the lengths they had.
pub(super) struct Unit {
    pub sides: Sides,
    query_lengths: Vec<f64>,
    document_lengths: Vec<f64>,
}

impl Sides {
    /// The embeddings in f64.
    pub fn new<T: Real>(queries: Matrix<'_, T>, documents: Matrix<'_, T>) -> Result<Self, LossError> {
        for (what, side) in [("queries", queries), ("documents", documents)] {
            side.require_values(what)?;
            side.require_finite(what)?;
        }
        if queries.columns() != documents.columns() {
            let (left_size, right_size) = (queries.columns(), documents.columns());
            let (left, right) = ("queries", "documents");
            let mismatch =
                kernels::Error::Mismatch { dimension: "columns", left, left_size, right, right_size };
            return Err(mismatch.into());
        }
        let widen = |side: Matrix<'_, T>| side.iter_rows().flatten().map(|value| value.to_f64()).collect();
        let (width, narrow) = (queries.columns(), T::NARROW);
        Ok(Sides { queries: widen(queries), documents: widen(documents), width, narrow })
    }

    pub fn query_count(&self) -> usize {
        self.queries.len() / self.width
    }

    pub fn document_count(&self) -> usize {
        self.documents.len() / self.width
    }

    pub fn query(&self, at: usize) -> &[f64] {
        &self.queries[at * self.width..][..self.width]
    }

    pub fn document(&self, at: usize) -> &[f64] {
        &self.documents[at * self.width..][..self.width]
    }

    /// The first `width` values of every vector.
    pub fn prefix(&self, width: usize) -> Sides {
        let cut =
            |rows: &[f64]| rows.chunks_exact(self.width).flat_map(|row| &row[..width]).copied().collect();
        Sides { queries: cut(&self.queries), documents: cut(&self.documents), width, narrow: self.narrow }
    }

    /// The same directions with length 1.
    pub fn unit(&self) -> Unit {
        let (queries, query_lengths) = unit_rows(&self.queries, self.width);
        let (documents, document_lengths) = unit_rows(&self.documents, self.width);
        Unit { sides: Sides { queries, documents, ..*self }, query_lengths, document_lengths }
    }

    /// `S` `[B x N]`.
    pub fn scores(&self) -> Vec<f64> {
        let (rows, columns, depth) = (self.query_count(), self.document_count(), self.width);
        product(&self.queries, (depth, 1), &self.documents, (1, depth), [rows, columns, depth])
    }

    /// `dQ` and `dD` from `dS`.
    pub fn slopes_of_sides(&self, slope: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (rows, columns, width) = (self.query_count(), self.document_count(), self.width);
        let queries = product(slope, (columns, 1), &self.documents, (width, 1), [rows, width, columns]);
        let documents = product(slope, (1, columns), &self.queries, (width, 1), [columns, width, rows]);
        (queries, documents)
    }
}

impl Unit {
    /// Turns gradients with respect to the unit vectors into those with respect to the vectors they were made of.
    pub fn pull_back(&self, gradients: &mut SideGradients) {
        let width = self.sides.width;
        pull_back_rows(&mut gradients.queries, &self.sides.queries, &self.query_lengths, width);
        pull_back_rows(&mut gradients.documents, &self.sides.documents, &self.document_lengths, width);
    }
}

fn unit_rows(rows: &[f64], width: usize) -> (Vec<f64>, Vec<f64>) {
    let lengths: Vec<f64> = rows.chunks_exact(width).map(length).collect();
    let mut unit = rows.to_vec();
    for (row, &length) in unit.chunks_exact_mut(width).zip(&lengths) {
        if length > 0.0 {
            row.iter_mut().for_each(|value| *value /= length);
        }
    }
    (unit, lengths)
}

/// The Euclidean length, also where squares would leave f64.
fn length(row: &[f64]) -> f64 {
    let largest = row.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    largest * row.iter().map(|value| (value / largest) * (value / largest)).sum::<f64>().sqrt()
}

fn pull_back_rows(gradient: &mut [f64], unit: &[f64], lengths: &[f64], width: usize) {
    let rows = gradient.chunks_exact_mut(width).zip(unit.chunks_exact(width)).zip(lengths);
    for ((gradient, unit), &length) in rows {
        if length == 0.0 {
            gradient.fill(0.0);
            continue;
        }
        let along = dot(gradient, unit);
        gradient.iter_mut().zip(unit).for_each(|(g, u)| *g = (*g - along * u) / length);
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `C[m x n] = A[m x k] B[k x n]`; strides are (from row to row, from column to column).
fn product(
    a: &[f64],
    a_strides: (usize, usize),
    b: &[f64],
    b_strides: (usize, usize),
    [m, n, k]: [usize; 3],
) -> Vec<f64> {
    assert!(m == 0 || k == 0 || (m - 1) * a_strides.0 + (k - 1) * a_strides.1 < a.len());
    assert!(n == 0 || k == 0 || (k - 1) * b_strides.0 + (n - 1) * b_strides.1 < b.len());
    let mut output = vec![0.0; m * n];
    output.par_chunks_mut((STRIP_ROWS * n).max(1)).enumerate().for_each(|(strip, output)| {
        let a = &a[strip * STRIP_ROWS * a_strides.0..];
        // SAFETY: `output` holds whole rows of n values without gaps; the last element read of A and of B lies
        // within their slices, as asserted above, and a strip of A starts at its own first row.
        unsafe {
            gemm::gemm(
                output.len() / n,
                n,
                k,
                output.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                a_strides.1 as isize,
                a_strides.0 as isize,
                b.as_ptr(),
                b_strides.1 as isize,
                b_strides.0 as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    });
    output
}
