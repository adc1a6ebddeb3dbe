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
//! - **Heads** (`head.rs`: `m` columns of a rotation, as codes). Only a bound from above is wanted. `rotation.rs` proves
//!   `q.r <= h_q.h_r + t_q t_r` for the exact heads; their product is bounded as that of an 8-bit scan, `|h|` in place of
//!   `|q|` and `|r|`, with residuals that hold the rounding of the computed heads. What `e_r` is multiplied by there, `H`,
//!   joins the tails, so that each row counts with its own residual: by Cauchy-Schwarz, and for any `s > 0`,
//!   `t_q t_r + H e_r <= w_q w_r` with `w_q^2 = t_q^2 + s^2 H^2`, `w_r^2 = t_r^2 + e_r^2 / s^2`. The kernel adds
//!   `fl(T w_r v_r)` to `x` where `T >= (1 + 8 u) w_q v_q / factor`: of the `8 u`, three cover that product, the sum and
//!   the weighted tail, and one the share of the tails in the rounding of the score.
//!
//! All have the form `on_residual * e_r + on_norm * |r|`. Underflow is covered because lengths outside
//! `1e-15 .. 1e15` are never scanned: such rows and queries get a NaN, which passes every comparison, and are
//! scored by definition.

use std::ops::{Range, RangeInclusive};

use super::documents::Documents;
use super::head::{Head, Heads};
use crate::similarity::Metric;

const UNIT_ROUNDOFF: f64 = 1.0 / (1u32 << 24) as f64;

/// The lengths and scales within which no step of a scan can overflow or lose bits to underflow.
const PLAIN: RangeInclusive<f64> = 1e-15..=1e15;

/// `s` of the heads' bound: least is lost where `s^2` is the residual of a head over its length, as it is for embeddings.
const RESIDUAL_SHARE: f64 = 0.1;

/// What of the documents is scanned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scan {
    /// The values, in f32.
    Floats,
    /// Their 8-bit copy.
    Codes,
    /// The 8-bit copy of their heads.
    Heads,
}

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

    /// The bound of row `row` in a scan.
    #[allow(clippy::cast_possible_truncation)]
    pub fn of(documents: &Documents<'_>, row: usize, metric: Metric, scan: Scan) -> DocumentBound {
        let (scale, norm) = (documents.values().scale(row), documents.norm(row));
        if scale == 0.0 || norm == 0.0 {
            return DocumentBound::ZERO;
        }
        if !PLAIN.contains(&norm) || !PLAIN.contains(&scale.abs()) || !PLAIN.contains(&(scale.abs() * norm)) {
            return DocumentBound::UNKNOWN;
        }
        let value = row_value(scale, norm, metric);
        let (copy, norm) = match (scan, documents.heads()) {
            (Scan::Floats, _) => (None, norm),
            (Scan::Heads, Some(heads)) => (Some(&heads.codes), f64::from(heads.norms[row])),
            _ => (documents.codes(), norm),
        };
        let (code_scale, residual) = copy.map_or((1.0, 0.0), |copy| (copy.scales[row], copy.residuals[row]));
        let weight = (value * f64::from(code_scale)) as f32;
        // A head of zeros is all residual.
        if !weight.is_normal() && code_scale != 0.0 {
            return DocumentBound::UNKNOWN;
        }
        DocumentBound {
            weight,
            residual: rounded_up(value.abs() * f64::from(residual)),
            norm: rounded_up(value.abs() * norm),
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

/// The least f32 that is certainly not below `bound`, for a bound known to nine digits.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn rounded_up(bound: f64) -> f32 {
    if bound == 0.0 { 0.0 } else { ((bound * (1.0 + 1e-9)) as f32).next_up() }
}

/// Rows whose errors are remembered together.
const CHUNK: usize = 16;

/// The bounds of all documents for one metric and one kind of scan.
#[derive(Clone, Debug)]
pub(crate) struct DocumentBounds {
    /// Per row: what its product is multiplied by.
    pub weights: Vec<f32>,
    /// Per row, for heads: the weighted tail `v_r w_r`, rounded up. Empty for other scans.
    pub tails: Vec<f32>,
    /// Per `CHUNK` rows: the largest parts of their errors.
    worst: Vec<DocumentBound>,
}

impl DocumentBounds {
    pub fn new(documents: &Documents<'_>, metric: Metric, scan: Scan) -> DocumentBounds {
        let rows = documents.rows();
        let heads = if scan == Scan::Heads { documents.heads() } else { None };
        let tail = |heads: &Heads, row: usize| {
            let length =
                f64::from(heads.tails[row]).hypot(f64::from(heads.codes.residuals[row]) / RESIDUAL_SHARE);
            if length == 0.0 {
                return 0.0; // also where there is no length to divide by
            }
            rounded_up(row_value(documents.values().scale(row), documents.norm(row), metric).abs() * length)
        };
        let mut bounds = DocumentBounds {
            weights: Vec::with_capacity(rows),
            tails: heads.map_or_else(Vec::new, |heads| (0..rows).map(|row| tail(heads, row)).collect()),
            worst: vec![DocumentBound::ZERO; rows.div_ceil(CHUNK)],
        };
        for row in 0..rows {
            let bound = DocumentBound::of(documents, row, metric, scan);
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
        QueryBound::codes_of(norm, norm, scale, residual, metric)
    }

    /// A vector of length at most `length`, scanned as codes in place of a query of length `norm`.
    fn codes_of(norm: f64, length: f64, scale: f32, residual: f32, metric: Metric) -> QueryBound {
        let (value, residual) = (query_value(norm, metric), f64::from(residual));
        let rounding = 16.0 * UNIT_ROUNDOFF * (length + residual);
        QueryBound {
            factor: value * f64::from(scale),
            on_residual: value * (length + residual + rounding),
            on_norm: value * (residual + rounding),
        }
    }

    /// The head of a query of length `norm`, and the `T` of its lane: what a document's tail is multiplied by.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn head(norm: f64, head: &Head, metric: Metric) -> (QueryBound, f32) {
        if norm == 0.0 {
            return (QueryBound::ZERO, 0.0);
        }
        let factor = query_value(norm, metric) * f64::from(head.scale);
        if !PLAIN.contains(&norm) || !(factor as f32).is_normal() {
            return (QueryBound::UNKNOWN, 0.0);
        }
        let bound = QueryBound::codes_of(norm, f64::from(head.norm), head.scale, head.residual, metric);
        let tail = query_value(norm, metric) * f64::from(head.tail);
        let tail = tail.hypot(RESIDUAL_SHARE * bound.on_residual) / factor * (1.0 + 8.0 * UNIT_ROUNDOFF);
        (QueryBound { on_residual: 0.0, ..bound }, rounded_up(tail))
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

/// `v_r`, for a row of this scale and length.
fn row_value(scale: f64, norm: f64, metric: Metric) -> f64 {
    match metric {
        Metric::Dot => scale,
        Metric::Cosine => scale.signum() / norm,
    }
}

/// `v_q`, for a query of this length.
fn query_value(norm: f64, metric: Metric) -> f64 {
    match metric {
        Metric::Dot => 1.0,
        Metric::Cosine => 1.0 / norm,
    }
}
