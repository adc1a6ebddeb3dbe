//! Everything a kernel can refuse, with the numbers that made it refuse.

use crate::device::{Device, Unavailable};

/// The result of a kernel.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a kernel refused its input. Nothing has been computed or written when one of these comes back.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice is too short for the rows, columns and stride it was given with.
    #[error("{what}: {rows} rows of {columns} columns with stride {stride} need {needed} values, got {got}")]
    Length {
        /// The operand, as in "documents".
        what: &'static str,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
        /// Values from one row's start to the next one's.
        stride: usize,
        /// Values the view would reach.
        needed: usize,
        /// Values the slice has.
        got: usize,
    },

    /// A stride smaller than the columns would let rows overlap.
    #[error("{what}: stride {stride} is smaller than the {columns} columns of a row")]
    Stride {
        /// The operand.
        what: &'static str,
        /// Values from one row's start to the next one's.
        stride: usize,
        /// Columns of a row.
        columns: usize,
    },

    /// `rows x stride` does not fit the address space.
    #[error("{what}: {rows} rows with stride {stride} overflow the address space")]
    TooLarge {
        /// The operand.
        what: &'static str,
        /// Rows asked for.
        rows: usize,
        /// Values from one row's start to the next one's.
        stride: usize,
    },

    /// Two operands that must agree in a dimension do not.
    #[error("{left} has {left_size} {dimension}, {right} has {right_size}")]
    Mismatch {
        /// What must agree, as in "columns".
        dimension: &'static str,
        /// The first operand.
        left: &'static str,
        /// Its size.
        left_size: usize,
        /// The second operand.
        right: &'static str,
        /// Its size.
        right_size: usize,
    },

    /// An operand has no rows or no columns.
    #[error("{what} is empty: {rows} rows of {columns} columns")]
    Empty {
        /// The operand.
        what: &'static str,
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
    },

    /// A value is NaN or infinite.
    #[error("{what}: row {row}, column {column} is {value}; every value must be finite")]
    NotFinite {
        /// The operand.
        what: &'static str,
        /// Zero-based row.
        row: usize,
        /// Zero-based column.
        column: usize,
        /// The value, widened.
        value: f64,
    },

    /// A number outside the range its meaning allows.
    #[error("{what} is {value}; expected {expected}")]
    OutOfRange {
        /// The parameter, as in "temperature".
        what: &'static str,
        /// What was given.
        value: f64,
        /// The allowed range in words, as in "a finite number above 0".
        expected: &'static str,
    },

    /// An index points past the end of what it indexes.
    #[error("{what}: entry {entry} is {index}, beyond the {limit} {of}")]
    Index {
        /// The list of indices, as in "pair columns".
        what: &'static str,
        /// Position of the offending index in that list.
        entry: usize,
        /// The index.
        index: usize,
        /// How many things there are.
        limit: usize,
        /// What those things are, as in "documents".
        of: &'static str,
    },

    /// `k` of a top-k is zero or more than there are documents.
    #[error("k is {k}; expected 1 to {documents}, the number of documents")]
    K {
        /// What was asked for.
        k: usize,
        /// Documents there are.
        documents: usize,
    },

    /// Document ids are 32 bits wide.
    #[error("{documents} documents, but ids are 32 bits wide: at most {max}", max = u32::MAX)]
    TooManyDocuments {
        /// Documents there would be.
        documents: usize,
    },

    /// The device asked for is not there. Nothing falls back in its place.
    #[error("device {device} is not available: {reason}")]
    Device {
        /// What was asked for.
        device: Device,
        /// Why it cannot run here.
        reason: Unavailable,
    },

    /// The GPU was there and failed: out of memory, a lost device, a kernel that does not compile.
    #[error("GPU, {operation}: {reason}")]
    Cuda {
        /// What was being done, or the kernel's name.
        operation: &'static str,
        /// The driver's or compiler's words.
        reason: String,
    },

    /// The labelled pairs of a batch do not fit it.
    #[error(transparent)]
    Labels(#[from] crate::h_infonce::LabelsError),

    /// A device name that is none of auto, scalar, simd and cuda.
    #[error("unknown device {name:?}; expected auto, scalar, simd or cuda")]
    UnknownDevice {
        /// The name given.
        name: String,
    },

    /// A metric name that is neither dot nor cosine.
    #[error("unknown metric {name:?}; expected dot or cosine")]
    UnknownMetric {
        /// The name given.
        name: String,
    },
}
