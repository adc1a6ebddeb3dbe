//! Borrowed row-major matrices: a slice, its rows and columns, and the stride between row starts.

use std::ops::Range;

use half::{bf16, f16};

use crate::error::{Error, Result};

/// A read-only view of `rows x columns` values, row after row, `stride` values from one row's start to the
/// next one's. The values between a row's end and the next row's start are never looked at.
#[derive(Debug)]
pub struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<T> Clone for Matrix<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Matrix<'_, T> {}

impl<'a, T> Matrix<'a, T> {
    /// A view of `rows x columns` values without gaps. `what` names the operand in errors.
    ///
    /// # Errors
    /// [`Error::Length`] unless `values` has exactly `rows x columns` values; [`Error::TooLarge`] when that
    /// product overflows.
    pub fn new(what: &'static str, values: &'a [T], rows: usize, columns: usize) -> Result<Self> {
        let matrix = Matrix::with_stride(what, values, rows, columns, columns)?;
        if values.len() == rows * columns { Ok(matrix) } else { Err(matrix.length_error(what)) }
    }

    /// A view whose rows start `stride` values apart. The slice may be longer than the view.
    ///
    /// # Errors
    /// [`Error::Stride`] when `stride < columns`, [`Error::Length`] when the last row would end beyond
    /// `values`, [`Error::TooLarge`] when the size overflows.
    pub fn with_stride(
        what: &'static str,
        values: &'a [T],
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> Result<Self> {
        if stride < columns {
            return Err(Error::Stride { what, stride, columns });
        }
        if rows.checked_mul(stride).is_none() {
            return Err(Error::TooLarge { what, rows, stride });
        }
        let matrix = Matrix { values, rows, columns, stride };
        if matrix.needed() <= values.len() { Ok(matrix) } else { Err(matrix.length_error(what)) }
    }

    fn needed(&self) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * self.stride + self.columns }
    }

    fn length_error(&self, what: &'static str) -> Error {
        Error::Length {
            what,
            rows: self.rows,
            columns: self.columns,
            stride: self.stride,
            needed: self.needed(),
            got: self.values.len(),
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values per row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Values from one row's start to the next one's.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The values from the first row's start on, gaps included.
    #[must_use]
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// Row `row`.
    ///
    /// # Panics
    /// When `row` is not below [`rows`](Self::rows), as a slice does.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows, "row {row} of a matrix with {} rows", self.rows);
        &self.values[row * self.stride..][..self.columns]
    }

    /// The rows, first to last.
    pub fn iter_rows(&self) -> impl ExactSizeIterator<Item = &'a [T]> + use<'a, T> {
        let matrix = *self;
        (0..matrix.rows).map(move |row| matrix.row(row))
    }

    /// The view of some of the rows.
    ///
    /// # Panics
    /// When the range ends beyond [`rows`](Self::rows), as a slice does.
    #[must_use]
    pub fn rows_in(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let values = if range.is_empty() { &[] } else { &self.values[range.start * self.stride..] };
        Matrix { values, rows: range.len(), columns: self.columns, stride: self.stride }
    }

    /// Refuses a matrix without rows or without columns.
    ///
    /// # Errors
    /// [`Error::Empty`].
    pub fn require_values(&self, what: &'static str) -> Result<()> {
        if self.rows == 0 || self.columns == 0 {
            return Err(Error::Empty { what, rows: self.rows, columns: self.columns });
        }
        Ok(())
    }
}

impl<T: Real> Matrix<'_, T> {
    /// Refuses the first NaN or infinity, by row and column.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn require_finite(&self, what: &'static str) -> Result<()> {
        for (row, values) in self.iter_rows().enumerate() {
            if let Some(column) = values.iter().position(|value| !value.is_finite()) {
                return Err(Error::NotFinite { what, row, column, value: values[column].to_f64() });
            }
        }
        Ok(())
    }
}

/// A floating-point value that widens to `f64` without loss.
pub trait Real: Copy + Send + Sync + 'static {
    /// The same value.
    fn to_f64(self) -> f64;
    /// Neither NaN nor infinite.
    fn is_finite(self) -> bool;
}

impl Real for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
}

impl Real for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
}

impl Real for f16 {
    fn to_f64(self) -> f64 {
        f16::to_f64(self)
    }
    fn is_finite(self) -> bool {
        f16::is_finite(self)
    }
}

impl Real for bf16 {
    fn to_f64(self) -> f64 {
        bf16::to_f64(self)
    }
    fn is_finite(self) -> bool {
        bf16::is_finite(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_respect_the_stride() {
        let values = [1, 2, 9, 3, 4];
        let matrix = Matrix::with_stride("m", &values, 2, 2, 3).unwrap();
        assert_eq!(matrix.iter_rows().collect::<Vec<_>>(), [&[1, 2], &[3, 4]]);
        assert_eq!(matrix.rows_in(1..2).row(0), [3, 4]);
        assert_eq!(matrix.rows_in(2..2).rows(), 0);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_with_their_numbers() {
        let values = [0.0f32; 5];
        let short = Matrix::new("documents", &values, 2, 3).unwrap_err();
        assert_eq!(short.to_string(), "documents: 2 rows of 3 columns with stride 3 need 6 values, got 5");
        assert!(matches!(Matrix::new("m", &values, 1, 4), Err(Error::Length { needed: 4, got: 5, .. })));
        assert!(matches!(Matrix::with_stride("m", &values, 1, 3, 2), Err(Error::Stride { .. })));
        assert!(matches!(Matrix::with_stride("m", &values, usize::MAX, 2, 2), Err(Error::TooLarge { .. })));
        let empty = Matrix::new("m", &values[..0], 0, 3).unwrap();
        assert!(matches!(empty.require_values("m"), Err(Error::Empty { rows: 0, columns: 3, .. })));
    }

    #[test]
    fn the_first_bad_value_is_named() {
        let values = [0.0, 1.0, f32::NAN, f32::INFINITY];
        let matrix = Matrix::new("queries", &values, 2, 2).unwrap();
        let error = matrix.require_finite("queries").unwrap_err();
        assert_eq!(error.to_string(), "queries: row 1, column 0 is NaN; every value must be finite");
        assert_eq!(matrix.rows_in(0..1).require_finite("queries"), Ok(()));
    }
}
