//! How far a scanned product may be from the defined score: proven, not estimated.
//!
//! A scan computes `x = fl(fl(q' . r') w)` for a query `q` and a row `r` (`w` the row's weight), and
//! `x * factor` approximates the score `s = v_q v_r (q . r)` rounded to f32, where `v_q`, `v_r` are 1 or a
//! scale for the inner product and the reciprocal lengths for the cosine. With `u = 2^-24`:
//!
//! - **f32 scan** (`q' = q`, `r' = r`). Whatever the order of summation, fused or not, the sum of `d` products
//!   is off by at most `g |q| |r|` with `g = n u / (1 - n u)`, `n = d` (Higham, "Accuracy and Stability of
//!   Numerical Algorithms", section 3.1, and Cauchy-Schwarz). Rounding the weight, the weighted product and
//!   the score, and the interval's own arithmetic, add a few `u`; `n = d + 24` covers them.
//! - **8-bit scan** (`q' = a c_q`, `r' = b c_r` with codes `c` and residuals `e_q = |q - q'|`,
//!   `e_r = |r - r'|`). The integer product is exact, and
//!   `q.r - q'.r' = q.(r - r') + (q - q').r'` is at most `|q| e_r + e_q (|r| + e_r)`. Conversion, weight and
//!   score, and the interval's own arithmetic, round a few times more: `16 u (|q| + e_q)(|r| + e_r)` covers
//!   them.
//!
//! Both have the form `on_residual * e_r + on_norm * |r|`. Underflow is covered because lengths outside
//! `1e-15 .. 1e15` are never scanned: such rows and queries get a NaN, which passes every comparison, and are
//! scored by definition.

use std::ops::{Range, RangeInclusive};

use super::documents::Documents;
use crate::similarity::Metric;

const UNIT_ROUNDOFF: f64 = 1.0 / (1u32 << 24) as f64;

/// The lengths and scales within which no step of a scan can overflow or lose bits to underflow.
const PLAIN: RangeInclusive<f64> = 1e-15..=1e15;

/// A row's share of the error, weight included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DocumentBound {
    /// Multiplies the row's product; NaN where the row must be scored by definition.
    pub weight: f32,
    /// Weighted `|r - r'|`, rounded up.
    pub residual: f32,
    /// Weighted `|r|`, rounded up.
    pub norm: f32,
}

impl DocumentBound {
    pub const ZERO: DocumentBound = DocumentBound { weight: 0.0, residual: 0.0, norm: 0.0 };
    const UNKNOWN: DocumentBound = DocumentBound { weight: f32::NAN, residual: 0.0, norm: 0.0 };

    /// The bound of row `row` when its values are scanned (`codes` false) or its 8-bit copy.
    #[allow(clippy::cast_possible_truncation)]
    pub fn of(documents: &Documents<'_>, row: usize, metric: Metric, codes: bool) -> DocumentBound {
        let (scale, norm) = (documents.values().scale(row), documents.norm(row));
        if scale == 0.0 || norm == 0.0 {
            return DocumentBound::ZERO;
        }
        if !PLAIN.contains(&norm) || !PLAIN.contains(&scale.abs()) || !PLAIN.contains(&(scale.abs() * norm)) {
            return DocumentBound::UNKNOWN;
        }
        let value = match metric {
            Metric::Dot => scale,
            Metric::Cosine => scale.signum() / norm,
        };
        let copy = if codes { documents.codes() } else { None };
        let (code_scale, residual) = copy.map_or((1.0, 0.0), |copy| (copy.scales[row], copy.residuals[row]));
        let weight = (value * f64::from(code_scale)) as f32;
        if !weight.is_normal() {
            return DocumentBound::UNKNOWN;
        }
        let up = |bound: f64| if bound == 0.0 { 0.0 } else { ((bound * (1.0 + 1e-9)) as f32).next_up() };
        DocumentBound {
            weight,
            residual: up(value.abs() * f64::from(residual)),
            norm: up(value.abs() * norm),
        }
    }

    /// The larger of both in each part of the error.
    pub fn worst(self, other: &DocumentBound) -> DocumentBound {
        DocumentBound {
            weight: 1.0,
            residual: self.residual.max(other.residual),
            norm: self.norm.max(other.norm),
        }
    }
}

/// Rows whose errors are remembered together.
const CHUNK: usize = 16;

/// The bounds of all documents for one metric and one kind of scan.
#[derive(Clone, Debug)]
pub(crate) struct DocumentBounds {
    /// Per row: what its product is multiplied by.
    pub weights: Vec<f32>,
    /// Per `CHUNK` rows: the largest parts of their errors.
    worst: Vec<DocumentBound>,
}

impl DocumentBounds {
    pub fn new(documents: &Documents<'_>, metric: Metric, codes: bool) -> DocumentBounds {
        let rows = documents.rows();
        let mut bounds = DocumentBounds {
            weights: Vec::with_capacity(rows),
            worst: vec![DocumentBound::ZERO; rows.div_ceil(CHUNK)],
        };
        for row in 0..rows {
            let bound = DocumentBound::of(documents, row, metric, codes);
            bounds.weights.push(bound.weight);
            bounds.worst[row / CHUNK] = bounds.worst[row / CHUNK].worst(&bound);
        }
        bounds
    }

    /// A bound for every document of a range.
    pub fn worst(&self, rows: Range<usize>) -> DocumentBound {
        let chunks = &self.worst[rows.start / CHUNK..rows.end.div_ceil(CHUNK)];
        chunks.iter().fold(DocumentBound::ZERO, DocumentBound::worst)
    }
}

/// A query's share of the error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryBound {
    /// From weighted product to score; NaN where everything must be scored by definition.
    factor: f64,
    on_residual: f64,
    on_norm: f64,
}

impl QueryBound {
    const ZERO: QueryBound = QueryBound { factor: 1.0, on_residual: 0.0, on_norm: 0.0 };
    const UNKNOWN: QueryBound =
        QueryBound { factor: f64::NAN, on_residual: f64::INFINITY, on_norm: f64::INFINITY };

    /// A query of length `norm` scanned in f32.
    #[allow(clippy::cast_precision_loss)]
    pub fn floats(norm: f64, columns: usize, metric: Metric) -> QueryBound {
        let roundings = (columns + 24) as f64 * UNIT_ROUNDOFF;
        if norm == 0.0 {
            return QueryBound::ZERO;
        }
        if !PLAIN.contains(&norm) || roundings > 0.25 {
            return QueryBound::UNKNOWN;
        }
        let value = query_value(norm, metric);
        QueryBound { factor: value, on_residual: 0.0, on_norm: value * norm * roundings / (1.0 - roundings) }
    }

    /// A query of length `norm` scanned as codes with this scale and residual.
    pub fn codes(norm: f64, scale: f32, residual: f32, metric: Metric) -> QueryBound {
        if norm == 0.0 {
            return QueryBound::ZERO;
        }
        if !PLAIN.contains(&norm) {
            return QueryBound::UNKNOWN;
        }
        let (value, residual) = (query_value(norm, metric), f64::from(residual));
        let rounding = 16.0 * UNIT_ROUNDOFF * (norm + residual);
        QueryBound {
            factor: value * f64::from(scale),
            on_residual: value * (norm + residual + rounding),
            on_norm: value * (residual + rounding),
        }
    }

    /// The most by which a score may differ from `product * factor`.
    fn error(&self, document: &DocumentBound) -> f64 {
        let error = self.on_residual * f64::from(document.residual) + self.on_norm * f64::from(document.norm);
        error * (1.0 + 1e-6)
    }

    /// The weighted product below which no document within `worst` can score `score`.
    #[allow(clippy::cast_possible_truncation)]
    pub fn threshold(&self, score: f32, worst: &DocumentBound) -> f32 {
        let (score, error) = (f64::from(score), self.error(worst));
        if score == f64::NEG_INFINITY {
            return if self.factor.is_nan() { f32::NAN } else { f32::NEG_INFINITY };
        }
        let lowest = score - error - 1e-12 * (score.abs() + error);
        ((lowest / self.factor) as f32).next_down()
    }

    /// The error for any document within `worst`, ready for many products.
    #[allow(clippy::cast_possible_truncation)]
    pub fn margin(&self, worst: &DocumentBound) -> Margin {
        let error = self.error(worst);
        let error = if error == 0.0 { 0.0 } else { (error as f32).next_up() };
        Margin { factor: self.factor as f32, error }
    }
}

/// What turns the products of a query with a block's documents into intervals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Margin {
    factor: f32,
    error: f32,
}

impl Margin {
    /// The margin of a lane without a query.
    pub const NONE: Margin = Margin { factor: 0.0, error: 0.0 };

    /// The interval the score lies in, a point when there is no error. The roundings of this step are part of
    /// the error.
    #[inline(always)]
    pub fn interval(self, product: f32) -> (f32, f32) {
        let score = product * self.factor + 0.0;
        if score.is_finite() && self.error < f32::INFINITY {
            (score - self.error, score + self.error)
        } else {
            (f32::NEG_INFINITY, f32::INFINITY)
        }
    }
}

fn query_value(norm: f64, metric: Metric) -> f64 {
    match metric {
        Metric::Dot => 1.0,
        Metric::Cosine => 1.0 / norm,
    }
}
