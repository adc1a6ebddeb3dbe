//! Several raters' grades for the same pairs, with the query each pair belongs to (intervals resample by query).

use relevance::{Grade, RatingTable};
use rustc_hash::FxHashMap;

/// A table of ratings: row `i` is the pair (`queries[i]`, `documents[i]`), a column is a rater.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ratings {
    /// The raters' names, one a column.
    pub raters: Vec<String>,
    /// The grades; gaps are allowed.
    pub table: RatingTable,
    /// The query of each row: its id, or its text where there is no id.
    pub queries: Vec<String>,
    /// The document of each row.
    pub documents: Vec<String>,
}

impl Ratings {
    /// No rows yet, a column for each of `raters`.
    pub fn new(raters: Vec<String>) -> Self {
        let table = RatingTable::new(raters.len());
        Self { raters, table, ..Self::default() }
    }

    /// Appends one pair.
    ///
    /// # Panics
    /// When `grades` does not hold one entry per rater.
    pub fn push(&mut self, query: impl Into<String>, document: impl Into<String>, grades: &[Option<Grade>]) {
        self.table.push(grades);
        self.queries.push(query.into());
        self.documents.push(document.into());
    }

    /// For each row the number of its query, counted from 0 in order of appearance: the clusters of a bootstrap.
    pub fn clusters(&self) -> Vec<usize> {
        let mut numbers = FxHashMap::default();
        let mut number = |query| {
            let next = numbers.len();
            *numbers.entry(query).or_insert(next)
        };
        self.queries.iter().map(|query| number(query.as_str())).collect()
    }

    /// The column of a rater.
    pub fn column(&self, rater: &str) -> Option<usize> {
        self.raters.iter().position(|name| name == rater)
    }

    /// Renames the queries by `rename`; rows stay where they are.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn rename_queries(&mut self, mut rename: impl FnMut(&str) -> String) {
        for query in &mut self.queries {
            *query = rename(query);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_query_are_one_cluster_wherever_they_stand() {
        let mut ratings = Ratings::new(vec!["a".into()]);
        for query in ["x", "y", "x"] {
            ratings.push(query, "d", &[Some(1)]);
        }
        assert_eq!(ratings.clusters(), [0, 1, 0]);
        assert_eq!(ratings.table.len(), 3);
    }
}
