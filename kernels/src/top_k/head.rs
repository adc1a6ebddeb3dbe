//! Heads: an 8-bit copy of the documents' first columns after a learned rotation, which rules out most pairs on its own.
//!
//! Real embeddings are far from round: a third of the rotated columns holds most of every vector's length, and what two
//! vectors have in common beyond it is at most the product of the lengths left ([`rotation`](super::rotation)). A scan
//! of heads therefore rules out all but a few pairs in a hundred, and only these are multiplied in full
//! (`filter.rs`). Nothing found depends on heads: where they are learned from an unlike sample, or are of the wrong size, a
//! search takes longer.

use super::bounds::rounded_up;
use super::documents::{AlignedCodes, CodeRows, Codes, Documents, Values, row_encoder};
use super::rotation::{Rotation, learn, rotate};
use crate::device::Device;
use crate::matrix::Matrix;
use crate::product::{Base, Operand, Target, product};
use crate::similarity::{self, Dot};
use crate::workers;

/// Rows that the rotation is learned from and the size of the heads is chosen by.
const SAMPLE_ROWS: usize = 4096;

/// Rows of the sample that ask for their nearest neighbour in it.
const ASKING_ROWS: usize = 64;

/// Fewer documents are no sample.
const FEWEST_ROWS: usize = 1024;

/// The most columns a rotation is learned for: the time for that grows with their third power.
const MOST_COLUMNS: usize = 2048;

/// Between the sizes of heads that are tried.
const STEP: usize = 32;

/// Rows handed to a worker at a time.
const ROWS_AT_A_TIME: usize = 1024;

/// What a pair that the sample's heads leave costs, in columns of a tile: this many, and this many times the columns of a
/// row. Measured with AVX-512 VNNI at 384 columns: some 36 cycles, where a tile takes one for 64 columns of a pair, and two
/// more pairs for each, which the thresholds of a search's beginning do not rule out yet. A wrong figure costs time.
const PAIR_COLUMNS: f64 = 4600.0;
const PAIR_COLUMNS_EACH: f64 = 6.0;

/// What rounding a head to codes adds to the error of a product, relative to its length: `1 / (127 sqrt(12))` times the
/// largest of its values over their root mean square, some 2.7 once they are mixed.
const ROUNDING: f32 = 0.0062;

/// The share of a full scan that a scan of heads must come down to before it is worth its preparation.
const WORTHWHILE: f64 = 0.8;

/// The documents' heads.
#[derive(Clone, Debug)]
pub(super) struct Heads {
    pub rotation: Rotation,
    /// Residuals are against the exact head: the rounding of the computed one is in them.
    pub codes: Codes<'static>,
    /// Per row: at least the length of its head, before the row's scale.
    pub norms: Vec<f32>,
    /// Per row: at least `t`, its share of the bound of the rest, before the row's scale.
    pub tails: Vec<f32>,
}

impl Heads {
    /// Heads of the size that a sample finds cheapest. None where it finds that they would not pay.
    pub fn chosen(documents: &Documents<'_>) -> Option<Heads> {
        let (rows, columns) = (documents.rows(), documents.columns());
        if rows < FEWEST_ROWS || columns <= STEP || columns > MOST_COLUMNS {
            return None;
        }
        let sample = sample(documents, rows.min(SAMPLE_ROWS));
        let sample = Matrix::new("sample", &sample, rows.min(SAMPLE_ROWS), columns).ok()?;
        let basis = learn(sample);
        let heads = cheapest(&basis, sample)?;
        Some(Heads::of(documents, Rotation::new(&basis, columns, heads)?))
    }

    /// Heads of `heads` columns, at most as many as there are, whether they pay or not.
    #[cfg(test)]
    pub fn of_size(documents: &Documents<'_>, heads: usize) -> Option<Heads> {
        let (rows, columns) = (documents.rows().min(SAMPLE_ROWS), documents.columns());
        let sample = sample(documents, rows);
        let basis = learn(Matrix::new("sample", &sample, rows, columns).ok()?);
        Some(Heads::of(documents, Rotation::new(&basis, columns, heads.min(columns))?))
    }

    fn of(documents: &Documents<'_>, rotation: Rotation) -> Heads {
        let (rows, size) = (documents.rows(), rotation.heads());
        let stride = size.next_multiple_of(4);
        let mut values = AlignedCodes::zeros(rows * stride);
        let chunks = values.chunks_mut(ROWS_AT_A_TIME * stride).enumerate();
        let measured = std::sync::Mutex::new(Vec::new());
        workers::share(workers::count(0), chunks, |(chunk, values)| {
            let first = chunk * ROWS_AT_A_TIME;
            let heads = rotated(documents, first, values.len() / stride, &rotation);
            let lengths = heads.chunks_exact(size).zip(values.chunks_exact_mut(stride)).enumerate();
            let rows: Vec<Head> = lengths
                .map(|(row, (head, codes))| Head::of(&rotation, head, documents.norm(first + row), codes))
                .collect();
            measured.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((chunk, rows));
        });
        let mut measured = measured.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        measured.sort_unstable_by_key(|(chunk, _)| *chunk);
        let each = || measured.iter().flat_map(|(_, rows)| rows);
        let codes = Codes {
            values: CodeRows::Made(values),
            stride,
            scales: each().map(|head| head.scale).collect(),
            residuals: each().map(|head| head.residual).collect(),
            sums: each().map(|head| head.sum).collect(),
        };
        let norms = each().map(|head| head.norm).collect();
        let tails = each().map(|head| head.tail).collect();
        Heads { rotation, codes, norms, tails }
    }
}

/// What is kept of a vector's head beside its codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// `head ~ scale * code`.
    pub scale: f32,
    /// At least `|head - scale * code|` for the exact head.
    pub residual: f32,
    /// The sum of the codes.
    pub sum: i32,
    /// At least the length of the exact head.
    pub norm: f32,
    /// At least `t`.
    pub tail: f32,
}

impl Head {
    /// Encodes the computed head of a vector of length `norm`.
    pub fn of(rotation: &Rotation, head: &[f32], norm: f64, codes: &mut [i8]) -> Head {
        let encoded = row_encoder()(head, &mut codes[..head.len()]);
        let length = dot()(head, head).sqrt();
        let rounding = rotation.rounding(norm);
        Head {
            scale: encoded.scale,
            residual: rounded_up(f64::from(encoded.residual) + rounding),
            sum: encoded.sum,
            norm: rounded_up(length + rounding),
            tail: rounded_up(rotation.tail(norm, length)),
        }
    }
}

fn dot() -> Dot {
    similarity::dot_on(Device::auto()).unwrap_or(similarity::scalar::dot)
}

/// The heads of `count` rows from `first` on.
fn rotated(documents: &Documents<'_>, first: usize, count: usize, rotation: &Rotation) -> Vec<f32> {
    let mut heads = vec![0.0; count * rotation.heads()];
    if let Values::F32(matrix) = documents.values() {
        rotation.rotate(matrix.rows_in(first..first + count), &mut heads);
        return heads;
    }
    let columns = documents.columns();
    let mut rows = vec![0.0; count * columns];
    for (row, values) in rows.chunks_exact_mut(columns).enumerate() {
        documents.values().row(first + row, values);
    }
    if let Ok(rows) = Matrix::new("rows", &rows, count, columns) {
        rotation.rotate(rows, &mut heads);
    }
    heads
}

/// `count` rows from all over the documents, brought to length 1.
#[allow(clippy::cast_possible_truncation)]
fn sample(documents: &Documents<'_>, count: usize) -> Vec<f32> {
    let columns = documents.columns();
    let mut sample = vec![0.0; count * columns];
    let mut buffer = vec![0.0; columns];
    for (index, unit) in sample.chunks_exact_mut(columns).enumerate() {
        let row = index * documents.rows() / count;
        let norm = documents.norm(row);
        if norm > 0.0 {
            let values = documents.values().row(row, &mut buffer).iter();
            unit.iter_mut().zip(values).for_each(|(unit, value)| *unit = (f64::from(*value) / norm) as f32);
        }
    }
    sample
}

/// The size of heads by which a search would cost least, where that is worth it: some rows of the sample ask for their
/// nearest neighbour, and for every size it is counted how many rows its bound leaves.
#[allow(clippy::cast_precision_loss)]
fn cheapest(basis: &[f32], sample: Matrix<'_, f32>) -> Option<usize> {
    let (rows, columns) = (sample.rows(), sample.columns());
    let mut rotated = vec![0.0; rows * columns];
    rotate(basis, sample, &mut rotated);
    let mut trial = Trial::new(&rotated, rows, columns)?;
    let mut best = None;
    let mut least = WORTHWHILE * columns as f64;
    for end in (STEP..columns).step_by(STEP) {
        let share = trial.advance(end);
        let cost = end as f64 + share * (PAIR_COLUMNS + PAIR_COLUMNS_EACH * columns as f64);
        if cost < least {
            (best, least) = (Some(end), cost);
        }
    }
    best
}

/// Rows asking for their nearest neighbours among `n`, by growing heads.
struct Trial<'a> {
    /// `[n x d]`, rotated.
    rows: Matrix<'a, f32>,
    asking: Matrix<'a, f32>,
    /// Rows from one that asks to the next.
    apart: usize,
    /// Per row that asks: the score of its nearest neighbour.
    nearest: Vec<f32>,
    /// Columns of the heads so far.
    heads: usize,
    /// `[asking x n]`: the products of the heads.
    products: Vec<f32>,
    /// Per row: the squared length of its head.
    lengths: Vec<f32>,
}

impl<'a> Trial<'a> {
    fn new(rotated: &'a [f32], rows: usize, columns: usize) -> Option<Trial<'a>> {
        let asking = ASKING_ROWS.min(rows);
        let apart = rows / asking;
        let rows = Matrix::new("sample", rotated, rows, columns).ok()?;
        let asking = Matrix::with_stride("asking", rotated, asking, columns, apart * columns).ok()?;
        let mut trial = Trial {
            rows,
            asking,
            apart,
            nearest: Vec::new(),
            heads: 0,
            products: vec![0.0; asking.rows() * rows.rows()],
            lengths: vec![0.0; rows.rows()],
        };
        trial.add_products(0, columns);
        for (number, scores) in trial.products.chunks_exact(rows.rows()).enumerate() {
            let others = scores.iter().enumerate().filter(|(row, _)| *row != number * apart);
            trial.nearest.push(others.fold(f32::NEG_INFINITY, |nearest, (_, score)| nearest.max(*score)));
        }
        trial.products.fill(0.0);
        Some(trial)
    }

    fn add_products(&mut self, start: usize, end: usize) {
        let part = |matrix: Matrix<'a, f32>| {
            let values = &matrix.values()[start..];
            Matrix::with_stride("columns", values, matrix.rows(), end - start, matrix.stride())
        };
        let count = self.rows.rows();
        let target = Target { values: &mut self.products, stride: count, base: Base::Target };
        part(self.asking)
            .and_then(|asking| {
                let rows = Operand::from(part(self.rows)?).transposed();
                product(Operand::from(asking), rows, 1.0, target, Device::auto(), 0)
            })
            .expect("both sides have the same columns");
    }

    /// Lets the heads grow to `end` columns; the share of pairs that their bound then leaves.
    #[allow(clippy::cast_precision_loss)]
    fn advance(&mut self, end: usize) -> f64 {
        let start = self.heads;
        self.add_products(start, end);
        self.heads = end;
        for (row, squared) in self.rows.iter_rows().zip(&mut self.lengths) {
            *squared += row[start..end].iter().map(|value| value * value).sum::<f32>();
        }
        let tail = |squared: &f32| (1.0 - squared).max(0.0).sqrt();
        let shares: Vec<(f32, f32)> =
            self.lengths.iter().map(|squared| (tail(squared), ROUNDING * squared.sqrt())).collect();
        let mut left = 0usize;
        for (number, products) in self.products.chunks_exact(shares.len()).enumerate() {
            let (own_tail, own_error) = shares[number * self.apart];
            let lowest = self.nearest[number] - own_error;
            left += products
                .iter()
                .zip(&shares)
                .filter(|(product, (tail, error))| *product + own_tail * tail + error >= lowest)
                .count();
        }
        left as f64 / self.products.len() as f64
    }
}
