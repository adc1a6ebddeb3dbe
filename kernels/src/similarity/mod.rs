//! The similarity of two vectors, to the bit.
//!
//! For a query `q` and a document `r` of `d` columns
//!
//! ```text
//! dot(q, r)    = sum_j q_j r_j
//! cosine(q, r) = dot(q, r) / (|q| |r|),   0 when either is the zero vector
//! ```
//!
//! The definition leaves no freedom: products of two f32 are exact in f64; column `j` is added to
//! accumulator `j mod 16`, columns in ascending order; the sixteen sums are folded in halves (8, 4, 2, 1);
//! the quotient is taken in f64; the result is rounded once to f32, with -0 written as +0. Because each
//! product is exact, a fused multiply-add and a multiplication followed by an addition give the same sum, so
//! every device, with or without fused instructions, returns the same bits. No finite f32 input overflows
//! f64; a similarity beyond the range of f32 becomes an infinity of its sign, never NaN.

pub(crate) mod scalar;
pub(crate) mod simd;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::str::FromStr;

use crate::device::{Device, InstructionSet, Unavailable};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::workers;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The inner product.
    Dot,
    /// The inner product of the unit vectors; 0 for a zero vector.
    Cosine,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Metric::Dot => "dot",
            Metric::Cosine => "cosine",
        })
    }
}

impl FromStr for Metric {
    type Err = Error;

    /// Reads `dot` or `cosine`.
    fn from_str(name: &str) -> Result<Metric> {
        match name {
            "dot" => Ok(Metric::Dot),
            "cosine" => Ok(Metric::Cosine),
            _ => Err(Error::UnknownMetric { name: name.to_owned() }),
        }
    }
}

/// The inner product of two equally long rows in the defined order of summation, before rounding to f32.
pub(crate) type Dot = fn(&[f32], &[f32]) -> f64;

/// The implementation of [`Dot`] on a device.
///
/// # Errors
/// [`Error::Device`] when the device is not available or has none.
pub(crate) fn dot_on(device: Device) -> Result<Dot> {
    device.require()?;
    match device {
        Device::Scalar => Ok(scalar::dot),
        Device::Simd => {
            let set = InstructionSet::best();
            set.map(simd::dot_with).ok_or(Error::Device { device, reason: Unavailable::NoVectorInstructions })
        }
        Device::Cuda => {
            Err(Error::Device { device, reason: Unavailable::NotImplemented { operation: "similarity" } })
        }
    }
}

/// The similarity of every query `[Q x d]` with every document `[N x d]`: `Q x N` scores, row after row.
/// For the best few documents per query use [`top_k`](crate::top_k), which never holds this matrix.
///
/// `threads` is the number of threads to use, 0 for all of the current rayon pool.
///
/// # Errors
/// [`Error::Empty`] and [`Error::Mismatch`] for shapes that do not fit, [`Error::NotFinite`] for NaN or
/// infinity, [`Error::Device`] when the device is not available.
pub fn scores(
    queries: Matrix<'_, f32>,
    documents: Matrix<'_, f32>,
    metric: Metric,
    device: Device,
    threads: usize,
) -> Result<Vec<f32>> {
    let dot = dot_on(device)?;
    require_same_columns(queries.columns(), documents.columns())?;
    queries.require_values("queries")?;
    documents.require_values("documents")?;
    let query_norms = norms("queries", queries, dot)?;
    let document_norms = norms("documents", documents, dot)?;
    let mut scores = vec![0.0; queries.rows() * documents.rows()];
    let rows = scores.chunks_mut(documents.rows()).zip(queries.iter_rows()).zip(query_norms);
    workers::share(workers::count(threads), rows, |((scores, query), query_norm)| {
        for ((score, document), norm) in scores.iter_mut().zip(documents.iter_rows()).zip(&document_norms) {
            *score = round(metric, dot(query, document), query_norm, *norm);
        }
    });
    Ok(scores)
}

pub(crate) fn require_same_columns(queries: usize, documents: usize) -> Result<()> {
    if queries == documents {
        return Ok(());
    }
    Err(Error::Mismatch {
        dimension: "columns",
        left: "queries",
        left_size: queries,
        right: "documents",
        right_size: documents,
    })
}

/// The Euclidean length of every row. A row with NaN or infinity has no finite length, which is how it is found.
pub(crate) fn norms(what: &'static str, rows: Matrix<'_, f32>, dot: Dot) -> Result<Vec<f64>> {
    let norms: Vec<f64> = rows.iter_rows().map(|row| dot(row, row).sqrt()).collect();
    if norms.iter().all(|norm| norm.is_finite()) {
        return Ok(norms);
    }
    rows.require_finite(what)?;
    Ok(norms)
}

/// The last step of the definition: from the f64 inner product and lengths to the f32 similarity.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn round(metric: Metric, dot: f64, query_norm: f64, document_norm: f64) -> f32 {
    let similarity = match metric {
        Metric::Dot => dot,
        Metric::Cosine if query_norm == 0.0 || document_norm == 0.0 => 0.0,
        Metric::Cosine => dot / (query_norm * document_norm),
    };
    similarity as f32 + 0.0
}
