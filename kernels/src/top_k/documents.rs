//! Documents made ready to be searched: checked, their lengths known, with an optional 8-bit copy.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::bounds::{DocumentBounds, Scan};
use super::head::Heads;
use crate::device::{Device, InstructionSet};
use crate::error::{Error, Result};
use crate::matrix::{Matrix, Real};
use crate::similarity::{self, Dot, Metric};
use crate::workers;

/// The browser's module searches small collections, and is loaded by everybody who visits: it does without heads.
pub(super) const HAS_HEADS: bool = !cfg!(target_arch = "wasm32");

/// Rows handed to a worker at a time while documents are prepared.
const ROWS_AT_A_TIME: usize = 1024;

/// The most columns an 8-bit copy may have: beyond, 255 x 128 x columns would overflow an i32.
pub(crate) const MAX_CODE_COLUMNS: usize = 65_536;

/// The values of the documents `[N x d]`, in any of four types.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Values<'a> {
    /// Single precision.
    F32(Matrix<'a, f32>),
    /// IEEE half precision, widened exactly.
    F16(Matrix<'a, f16>),
    /// bfloat16, widened exactly.
    Bf16(Matrix<'a, bf16>),
    /// Row `i` stands for `scales[i] * codes[i]`: inner products are taken with the codes, exactly, and
    /// multiplied by the scale in f64.
    Int8 {
        /// The codes, -128 to 127.
        codes: Matrix<'a, i8>,
        /// One factor per row.
        scales: &'a [f32],
    },
}

impl<'a> From<Matrix<'a, f32>> for Values<'a> {
    fn from(values: Matrix<'a, f32>) -> Self {
        Values::F32(values)
    }
}

impl<'a> From<Matrix<'a, f16>> for Values<'a> {
    fn from(values: Matrix<'a, f16>) -> Self {
        Values::F16(values)
    }
}

impl<'a> From<Matrix<'a, bf16>> for Values<'a> {
    fn from(values: Matrix<'a, bf16>) -> Self {
        Values::Bf16(values)
    }
}

impl Values<'_> {
    fn shape(&self) -> (usize, usize) {
        match self {
            Values::F32(matrix) => (matrix.rows(), matrix.columns()),
            Values::F16(matrix) => (matrix.rows(), matrix.columns()),
            Values::Bf16(matrix) => (matrix.rows(), matrix.columns()),
            Values::Int8 { codes, .. } => (codes.rows(), codes.columns()),
        }
    }

    /// Row `row` as f32, without its scale: the stored row where it is f32 already, else decoded into `buffer`.
    #[inline(always)]
    pub(crate) fn row<'b>(&'b self, row: usize, buffer: &'b mut [f32]) -> &'b [f32] {
        match self {
            Values::F32(matrix) => return matrix.row(row),
            Values::F16(matrix) => matrix.row(row).convert_to_f32_slice(buffer),
            Values::Bf16(matrix) => matrix.row(row).convert_to_f32_slice(buffer),
            Values::Int8 { codes, .. } => {
                for (value, code) in buffer.iter_mut().zip(codes.row(row)) {
                    *value = f32::from(*code);
                }
            }
        }
        buffer
    }

    /// Asks the processor to fetch a row that will soon be read.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn prefetch(&self, row: usize) {
        match self {
            Values::F32(matrix) => prefetch(matrix.row(row)),
            Values::F16(matrix) => prefetch(matrix.row(row)),
            Values::Bf16(matrix) => prefetch(matrix.row(row)),
            Values::Int8 { codes, .. } => prefetch(codes.row(row)),
        }
    }

    /// Nothing to ask for without a stable intrinsic.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn prefetch(&self, _row: usize) {}

    /// What the inner product with [`row`](Self::row) is multiplied by.
    #[inline(always)]
    pub(crate) fn scale(&self, row: usize) -> f64 {
        match self {
            Values::Int8 { scales, .. } => f64::from(scales[row]),
            _ => 1.0,
        }
    }

    fn require_finite(&self) -> Result<()> {
        match self {
            Values::F32(matrix) => matrix.require_finite("documents"),
            Values::F16(matrix) => matrix.require_finite("documents"),
            Values::Bf16(matrix) => matrix.require_finite("documents"),
            Values::Int8 { codes, scales } => {
                let rows = codes.rows();
                Matrix::new("document scales", scales, rows, 1)?.require_finite("document scales")
            }
        }
    }
}

/// Asks for the first 4 KiB of a row.
#[cfg(target_arch = "x86_64")]
fn prefetch<T>(row: &[T]) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in row.chunks((64 / size_of::<T>()).max(1)).take(64) {
        // SAFETY: SSE is part of x86-64, and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// An 8-bit copy of the documents: `row ~ scale * code`, with the length of what that leaves out.
#[derive(Clone, Debug)]
pub(crate) struct Codes<'a> {
    /// `N` rows of `stride` codes, a multiple of four; columns beyond `d` are 0.
    pub values: CodeRows<'a>,
    pub stride: usize,
    /// Per row: the factor of its codes, relative to [`Values::row`].
    pub scales: Vec<f32>,
    /// Per row: `|row - scale * code|`, rounded up.
    pub residuals: Vec<f32>,
    /// Per row: the sum of its codes.
    pub sums: Vec<i32>,
}

/// Rows of codes: the documents' own, or made for them.
#[derive(Clone, Debug)]
pub(crate) enum CodeRows<'a> {
    Stored(&'a [i8]),
    Made(AlignedCodes),
}

impl Deref for CodeRows<'_> {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        match self {
            CodeRows::Stored(codes) => codes,
            CodeRows::Made(codes) => codes,
        }
    }
}

/// Codes that start on a cache line, so that rows of whole lines are read a line at a time.
#[derive(Clone, Debug)]
pub(crate) struct AlignedCodes {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([i8; 64]);

impl AlignedCodes {
    /// As many zeros.
    pub fn zeros(len: usize) -> AlignedCodes {
        AlignedCodes { lines: vec![Line([0; 64]); len.div_ceil(64)], len }
    }
}

impl Deref for AlignedCodes {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        // SAFETY: a line is 64 codes without padding, and there are enough of them for `len`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for AlignedCodes {
    fn deref_mut(&mut self) -> &mut [i8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Documents ready for [`search`](super::search): checked once, searched often.
#[derive(Clone, Debug)]
pub struct Documents<'a> {
    values: Values<'a>,
    /// Per row: the Euclidean length of [`Values::row`], before its scale.
    norms: Vec<f64>,
    codes: Option<Codes<'a>>,
    heads: Option<Heads>,
    bounds: BoundsCache,
}

/// Error bounds, computed when first needed: for dot and cosine, each for every [`Scan`].
type BoundsCache = [[OnceLock<DocumentBounds>; 3]; 2];

impl<'a> Documents<'a> {
    /// Checks the values and measures the length of each row, in one pass over them, on every thread of the
    /// current rayon pool: call it inside `ThreadPool::install` to use fewer.
    ///
    /// # Errors
    /// [`Error::Empty`] without rows or columns, [`Error::TooManyDocuments`] beyond 32-bit ids,
    /// [`Error::Mismatch`] when there is not one scale per row, [`Error::NotFinite`] for NaN or infinity.
    pub fn new(values: impl Into<Values<'a>>) -> Result<Documents<'a>> {
        let values = values.into();
        let (rows, columns) = values.shape();
        require_rows(rows, columns)?;
        require_scales(&values, rows)?;
        let norms = norms(&values, similarity::dot_on(Device::auto())?);
        if norms.iter().any(|norm| !norm.is_finite()) || matches!(values, Values::Int8 { .. }) {
            values.require_finite()?;
        }
        let codes = stored_codes(&values, &norms);
        Ok(Documents { values, norms, codes, heads: None, bounds: BoundsCache::default() })
    }

    /// Adds an 8-bit copy, a quarter of the size of f32, that [`Device::Simd`] scans in place of the values.
    /// Documents that the copy's error bound cannot rule out are scored from the values themselves, so ids
    /// and scores stay the same. Documents of more than 65,536 columns are left without a copy; int8
    /// documents are their own copy where their rows have a multiple of four columns. Runs, like
    /// [`new`](Self::new), on every thread of the current rayon pool.
    #[must_use]
    pub fn with_codes(mut self) -> Documents<'a> {
        if self.codes.is_none() && self.columns() <= MAX_CODE_COLUMNS {
            self.codes = Some(encode(&self.values, self.rows(), self.columns()));
            self.bounds = BoundsCache::default();
        }
        self
    }

    /// Adds heads to the 8-bit copy (made first where there is none): 8-bit codes of the leading columns after a
    /// rotation learned from a sample of the documents. More than eight queries at a time are then compared by their heads
    /// first, and the copy is read only for pairs that the heads leave. Ids and scores stay the same.
    ///
    /// How many columns a head has is chosen by the sample. Where heads would rule out too little (vectors that point
    /// everywhere alike, fewer than 1,024 of them, more than 2,048 columns) there are none, and searches go on as with
    /// [`with_codes`](Self::with_codes).
    ///
    /// Preparing costs a product `[N x d]` with `[d x m]` and, once, some `10 d^3` operations. It pays for an index that
    /// many queries search: for 144,398 MiniLM vectors of real texts, what some 5,500 queries then save (recorded in
    /// `benchmarks/record/epyc-zen4-2-cores/2026-11-21-top-k-heads.csv`). An evaluation with a few hundred queries is better
    /// off without. Runs on every thread of the current rayon pool.
    #[must_use]
    pub fn with_rotated_codes(self) -> Documents<'a> {
        let documents = self.with_codes();
        let heads = documents.codes.is_some().then(|| Heads::chosen(&documents)).flatten();
        Documents { heads, bounds: BoundsCache::default(), ..documents }
    }

    /// The same with heads of `columns`, whether they pay or not.
    #[cfg(test)]
    pub(crate) fn with_heads_of(self, columns: usize) -> Documents<'a> {
        let documents = self.with_codes();
        let heads = documents.codes.is_some().then(|| Heads::of_size(&documents, columns)).flatten();
        Documents { heads, bounds: BoundsCache::default(), ..documents }
    }

    /// The same documents without their 8-bit copy and its heads.
    #[must_use]
    pub fn without_codes(mut self) -> Documents<'a> {
        self.codes = None;
        self.heads = None;
        self.bounds = BoundsCache::default();
        self
    }

    /// The columns of the heads, where there are any.
    #[must_use]
    pub fn rotated_columns(&self) -> Option<usize> {
        self.heads.as_ref().map(|heads| heads.rotation.heads())
    }

    /// Whether there is an 8-bit copy to scan.
    #[must_use]
    pub fn has_codes(&self) -> bool {
        self.codes.is_some()
    }

    /// Number of documents `N`.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.norms.len()
    }

    /// Values per document `d`.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.values.shape().1
    }

    /// The values as given.
    #[must_use]
    pub fn values(&self) -> &Values<'a> {
        &self.values
    }

    pub(crate) fn norm(&self, row: usize) -> f64 {
        self.norms[row]
    }

    /// The error bounds of a scan.
    pub(crate) fn bounds(&self, metric: Metric, scan: Scan) -> &DocumentBounds {
        let cell = &self.bounds[usize::from(metric == Metric::Cosine)][scan as usize];
        cell.get_or_init(|| DocumentBounds::new(self, metric, scan))
    }

    pub(super) fn heads(&self) -> Option<&Heads> {
        if HAS_HEADS { self.heads.as_ref() } else { None }
    }

    pub(crate) fn codes(&self) -> Option<&Codes<'a>> {
        self.codes.as_ref()
    }
}

fn require_rows(rows: usize, columns: usize) -> Result<()> {
    if rows == 0 || columns == 0 {
        return Err(Error::Empty { what: "documents", rows, columns });
    }
    if u32::try_from(rows).is_err() {
        return Err(Error::TooManyDocuments { documents: rows });
    }
    Ok(())
}

fn require_scales(values: &Values<'_>, rows: usize) -> Result<()> {
    match values {
        Values::Int8 { scales, .. } if scales.len() != rows => Err(Error::Mismatch {
            dimension: "rows",
            left: "document codes",
            left_size: rows,
            right: "document scales",
            right_size: scales.len(),
        }),
        _ => Ok(()),
    }
}

fn norms(values: &Values<'_>, dot: Dot) -> Vec<f64> {
    let (rows, columns) = values.shape();
    let mut norms = vec![0.0; rows];
    let chunks = norms.chunks_mut(ROWS_AT_A_TIME).enumerate();
    workers::share(workers::count(0), chunks, |(chunk, norms)| {
        let mut buffer = vec![0.0; columns];
        for (offset, norm) in norms.iter_mut().enumerate() {
            let row = values.row(chunk * ROWS_AT_A_TIME + offset, &mut buffer);
            *norm = dot(row, row).sqrt();
        }
    });
    norms
}

/// Int8 documents whose rows can be read four codes at a time are their own copy, without residual.
fn stored_codes<'a>(values: &Values<'a>, norms: &[f64]) -> Option<Codes<'a>> {
    let Values::Int8 { codes, .. } = values else { return None };
    let (columns, stride) = (codes.columns(), codes.stride());
    if columns % 4 != 0 || columns > MAX_CODE_COLUMNS {
        return None;
    }
    let sums = codes.iter_rows().map(|row| row.iter().map(|code| i32::from(*code)).sum()).collect();
    Some(Codes {
        values: CodeRows::Stored(codes.values()),
        stride,
        scales: vec![1.0; norms.len()],
        residuals: vec![0.0; norms.len()],
        sums,
    })
}

fn encode(values: &Values<'_>, rows: usize, columns: usize) -> Codes<'static> {
    let stride = columns.next_multiple_of(4);
    let mut made = AlignedCodes::zeros(rows * stride);
    let mut codes = Codes {
        values: CodeRows::Stored(&[]),
        stride,
        scales: vec![0.0; rows],
        residuals: vec![0.0; rows],
        sums: vec![0; rows],
    };
    let encode_row = row_encoder();
    let chunks = made
        .chunks_mut(ROWS_AT_A_TIME * stride)
        .zip(codes.scales.chunks_mut(ROWS_AT_A_TIME))
        .zip(codes.residuals.chunks_mut(ROWS_AT_A_TIME))
        .zip(codes.sums.chunks_mut(ROWS_AT_A_TIME))
        .enumerate();
    workers::share(workers::count(0), chunks, |(chunk, (((codes, scales), residuals), sums))| {
        let mut buffer = vec![0.0; columns];
        for (offset, codes) in codes.chunks_mut(stride).enumerate() {
            let row = values.row(chunk * ROWS_AT_A_TIME + offset, &mut buffer);
            let encoded = encode_row(row, &mut codes[..columns]);
            scales[offset] = encoded.scale;
            residuals[offset] = encoded.residual;
            sums[offset] = encoded.sum;
        }
    });
    codes.values = CodeRows::Made(made);
    codes
}

/// What is kept of a row beside its codes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncodedRow {
    /// `row ~ scale * code`.
    pub scale: f32,
    /// `|row - scale * code|`, rounded up.
    pub residual: f32,
    /// The sum of the codes.
    pub sum: i32,
}

/// The widest version of [`encode_row`] this processor runs; all give the same result.
pub(crate) fn row_encoder() -> fn(&[f32], &mut [i8]) -> EncodedRow {
    match InstructionSet::best() {
        #[cfg(target_arch = "x86_64")]
        Some(InstructionSet::Avx512 | InstructionSet::Avx512Vnni | InstructionSet::Avx512Amx) => {
            |row, codes| {
                // SAFETY: `best` returns only sets this processor has.
                unsafe { encode_row_avx512(row, codes) }
            }
        }
        #[cfg(target_arch = "x86_64")]
        Some(InstructionSet::Avx2) => |row, codes| {
            // SAFETY: `best` returns only sets this processor has.
            unsafe { encode_row_avx2(row, codes) }
        },
        _ => encode_row,
    }
}

/// # Safety
/// The processor has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
unsafe fn encode_row_avx512(row: &[f32], codes: &mut [i8]) -> EncodedRow {
    encode_row(row, codes)
}

/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn encode_row_avx2(row: &[f32], codes: &mut [i8]) -> EncodedRow {
    encode_row(row, codes)
}

/// Nearest multiples of a 127th of the row's largest magnitude. The residual is measured, not estimated:
/// the products are exact in f64, and the final factor covers the roundings of differences and sum.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn encode_row(row: &[f32], codes: &mut [i8]) -> EncodedRow {
    let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale >= f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
    for (code, value) in codes.iter_mut().zip(row) {
        *code = (value * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    let squared = squared_residual(row, codes, scale);
    let residual = (squared.sqrt() * (1.0 + 1e-9)) as f32;
    let sum = codes.iter().map(|code| i32::from(*code)).sum();
    EncodedRow { scale, residual: if squared > 0.0 { residual.next_up() } else { 0.0 }, sum }
}

/// The squares are dealt to sixteen sums so that they can be added sixteen at a time.
#[inline(always)]
fn squared_residual(row: &[f32], codes: &[i8], scale: f32) -> f64 {
    let square = |value: f32, code: i8| {
        let difference = f64::from(value) - f64::from(scale) * f64::from(code);
        difference * difference
    };
    let mut sums = [0.0; 16];
    let (rows, row_rest) = row.as_chunks::<16>();
    let (chunks, code_rest) = codes.as_chunks::<16>();
    for (values, codes) in rows.iter().zip(chunks) {
        for lane in 0..16 {
            sums[lane] += square(values[lane], codes[lane]);
        }
    }
    let rest: f64 = row_rest.iter().zip(code_rest).map(|(value, code)| square(*value, *code)).sum();
    sums.iter().sum::<f64>() + rest
}

const _: () = {
    const fn is_shared_between_threads<T: Send + Sync>() {}
    is_shared_between_threads::<Documents<'static>>();
    const fn widens<T: Real>() {}
    widens::<f16>();
};
