//! The confusion table: how often the human grade `h` met the predicted grade `p`.
//!
//! Every agreement statistic of two raters is a function of this table, so it is counted once and resampled as
//! counts. Only cells that occur are kept: a table over thousands of distinct grades stays as small as its data.

use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::{Grade, Scale};

/// Counts over pairs of grades: rows are human grades, columns predicted ones, both over the same grades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    pub(crate) grades: Vec<Grade>,
    /// `(row, column)` of the cells that occur, row by row.
    pub(crate) cells: Vec<(u32, u32)>,
    /// How often each of them occurs.
    pub(crate) counts: Vec<u64>,
}

/// A grade that the named scale does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grade {grade} is not on the scale `{scale}`")]
pub struct OffScale {
    /// The grade.
    pub grade: Grade,
    /// The name of the scale.
    pub scale: String,
}

impl Confusion {
    /// The table of `(human, predicted)` pairs over the grades that occur on either side, lowest first.
    pub fn of(pairs: &[(Grade, Grade)]) -> Self {
        Self::tabulate(observed(pairs.iter().flat_map(|&(human, predicted)| [human, predicted])), pairs).0
    }

    /// The table over all levels of `scale`, also those that never occur. (Weighted kappas count distances in
    /// positions of the table, so an unused level between two used ones moves them apart.)
    ///
    /// # Errors
    /// A grade that the scale does not have.
    pub fn over(scale: &Scale, pairs: &[(Grade, Grade)]) -> Result<Self, OffScale> {
        let mut sides = pairs.iter().flat_map(|&(human, predicted)| [human, predicted]);
        if let Some(grade) = sides.find(|&grade| !scale.contains(grade)) {
            return Err(OffScale { grade, scale: scale.name().to_owned() });
        }
        Ok(Self::tabulate(scale.levels().iter().map(|level| level.grade).collect(), pairs).0)
    }

    /// The table over `grades` (sorted, and all that occur among them), and the cell of each pair.
    pub(crate) fn tabulate(grades: Vec<Grade>, pairs: &[(Grade, Grade)]) -> (Self, Vec<u32>) {
        let position = |grade: &Grade| grades.binary_search(grade).map_or(0, |at| at as u32);
        let placed: Vec<(u32, u32)> = pairs.iter().map(|(h, p)| (position(h), position(p))).collect();
        let (cells, cell_of) = distinct(&placed);
        let mut counts = vec![0; cells.len()];
        cell_of.iter().for_each(|&cell| counts[cell as usize] += 1);
        (Self { grades, cells, counts }, cell_of)
    }

    /// The grades of rows and columns, lowest first.
    pub fn grades(&self) -> &[Grade] {
        &self.grades
    }

    /// How many pairs were counted.
    pub fn pairs(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How often a human gave `human` where the prediction was `predicted`.
    pub fn count(&self, human: Grade, predicted: Grade) -> u64 {
        let position = |grade| self.grades.binary_search(&grade).ok().map(|at| at as u32);
        position(human)
            .zip(position(predicted))
            .and_then(|cell| self.cells.binary_search(&cell).ok())
            .map_or(0, |at| self.counts[at])
    }

    /// The rows as full vectors, one per human grade.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Vec<u64>> + '_ {
        (0..self.grades.len() as u32).map(|row| {
            let mut full = vec![0; self.grades.len()];
            let start = self.cells.partition_point(|cell| cell.0 < row);
            let cells = self.cells[start..].iter().zip(&self.counts[start..]);
            cells.take_while(|(cell, _)| cell.0 == row).for_each(|(cell, &n)| full[cell.1 as usize] = n);
            full
        })
    }

    /// The cells that occur, as `(row, column, count)` in positions of [`Confusion::grades`].
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
        self.cells.iter().zip(&self.counts).map(|(&(row, column), &n)| (row as usize, column as usize, n))
    }

    /// How often each grade was given by the human, and by the prediction.
    pub(crate) fn margins(&self) -> (Vec<u64>, Vec<u64>) {
        let (mut human, mut predicted) = (vec![0; self.grades.len()], vec![0; self.grades.len()]);
        for (row, column, n) in self.entries() {
            human[row] += n;
            predicted[column] += n;
        }
        (human, predicted)
    }
}

impl Serialize for Confusion {
    /// As a list of rows.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.grades.len()))?;
        self.rows().try_for_each(|row| rows.serialize_element(&row))?;
        rows.end()
    }
}

/// The distinct values, sorted.
pub(crate) fn observed(values: impl Iterator<Item = Grade>) -> Vec<Grade> {
    let distinct: rustc_hash::FxHashSet<Grade> = values.collect();
    let mut grades: Vec<Grade> = distinct.into_iter().collect();
    grades.sort_unstable();
    grades
}

/// The distinct cells in order, and the number of the cell of each pair.
pub(crate) fn distinct(placed: &[(u32, u32)]) -> (Vec<(u32, u32)>, Vec<u32>) {
    let mut cells: Vec<(u32, u32)> =
        placed.iter().copied().collect::<rustc_hash::FxHashSet<_>>().into_iter().collect();
    cells.sort_unstable();
    let number: rustc_hash::FxHashMap<(u32, u32), u32> = cells.iter().copied().zip(0..).collect();
    let cell_of = placed.iter().map(|cell| number[cell]).collect();
    (cells, cell_of)
}
