//! Labelled query-document pairs, and tables of several raters' grades for the same pairs.

use crate::Grade;

/// One query-document pair with the grades that people and models gave it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabeledPair {
    /// The query's id, or its text where the file has no ids. Bootstrap intervals resample by it.
    pub query: String,
    /// The document's id, or its text where the file has no ids.
    pub document: String,
    /// The query as a person typed it, when the file has it.
    pub query_text: Option<String>,
    /// The document's text, when the file has it.
    pub document_text: Option<String>,
    /// The human grade, when there is one.
    pub human: Option<Grade>,
    /// The predicted grade, when there is one.
    pub predicted: Option<Grade>,
    /// The predicted score behind the grade, when there is one.
    pub score: Option<f64>,
}

/// The grades of several raters for the same units: one row a unit (a pair), one column a rater, gaps allowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RatingTable {
    raters: usize,
    ratings: Vec<Option<Grade>>,
}

impl RatingTable {
    /// A table for `raters` columns, no rows yet.
    pub fn new(raters: usize) -> Self {
        Self { raters, ratings: Vec::new() }
    }

    /// Appends one unit.
    ///
    /// # Panics
    /// When `row` does not hold one entry per rater.
    pub fn push(&mut self, row: &[Option<Grade>]) {
        assert_eq!(row.len(), self.raters, "one entry per rater");
        self.ratings.extend_from_slice(row);
    }

    /// How many raters (columns) there are.
    pub fn raters(&self) -> usize {
        self.raters
    }

    /// How many units (rows) there are.
    pub fn len(&self) -> usize {
        self.ratings.len().checked_div(self.raters).unwrap_or(0)
    }

    /// Whether there are no units.
    pub fn is_empty(&self) -> bool {
        self.ratings.is_empty()
    }

    /// The units in order, each as one entry per rater.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[Option<Grade>]> {
        self.ratings.chunks_exact(self.raters.max(1))
    }
}
