//! Units with their ratings, reduced to the distinct ways in which a unit was rated.
//!
//! Krippendorff's alpha and Fleiss' kappa ask how often each grade was given to a unit, not by whom. With three
//! raters and four grades there are at most 35 such *patterns* however many units there are, so both statistics, and
//! every resample of them, are sums over patterns.

use rustc_hash::FxHashMap;

use super::confusion::{Confusion, observed};
use crate::{Grade, RatingTable};

/// The distinct rating patterns of some units, and how often each occurs.
#[derive(Clone, Debug)]
pub(crate) struct RatedUnits {
    pub(crate) grades: Vec<Grade>,
    /// The `(grade position, ratings)` entries of pattern `p` are `entries[starts[p]..starts[p + 1]]`.
    starts: Vec<usize>,
    entries: Vec<(u32, u32)>,
    /// How often each pattern occurs.
    pub(crate) counts: Vec<u64>,
}

impl RatedUnits {
    /// The patterns of the rows of `table`, in the order of their content, and the pattern of each row.
    pub(crate) fn of(table: &RatingTable) -> (Self, Vec<u32>) {
        let grades = observed(table.rows().flatten().flatten().copied());
        let mut first_seen: FxHashMap<Box<[u32]>, u32> = FxHashMap::default();
        let mut ratings = Vec::with_capacity(table.raters());
        let seen: Vec<u32> = table
            .rows()
            .map(|row| {
                ratings.clear();
                ratings.extend(
                    row.iter()
                        .flatten()
                        .filter_map(|grade| grades.binary_search(grade).ok())
                        .map(|at| at as u32),
                );
                ratings.sort_unstable();
                let next = first_seen.len() as u32;
                match first_seen.get(ratings.as_slice()) {
                    Some(&pattern) => pattern,
                    None => *first_seen.entry(ratings.as_slice().into()).or_insert(next),
                }
            })
            .collect();
        let mut patterns: Vec<(Box<[u32]>, u32)> = first_seen.into_iter().collect();
        patterns.sort_unstable();
        let mut number = vec![0; patterns.len()];
        patterns.iter().zip(0..).for_each(|((_, seen), at)| number[*seen as usize] = at);
        let pattern_of: Vec<u32> = seen.into_iter().map(|seen| number[seen as usize]).collect();
        let mut units = Self::from_ratings(grades, patterns.iter().map(|(ratings, _)| &**ratings));
        pattern_of.iter().for_each(|&pattern| units.counts[pattern as usize] += 1);
        (units, pattern_of)
    }

    /// Every cell of `confusion` as the pattern of a unit rated twice, in the order of the cells.
    pub(crate) fn from_confusion(confusion: &Confusion) -> Self {
        let cells: Vec<[u32; 2]> =
            confusion.cells.iter().map(|&(row, column)| [row.min(column), row.max(column)]).collect();
        let mut units = Self::from_ratings(confusion.grades.clone(), cells.iter().map(|cell| &cell[..]));
        units.counts.clone_from(&confusion.counts);
        units
    }

    fn from_ratings<'a>(grades: Vec<Grade>, patterns: impl Iterator<Item = &'a [u32]>) -> Self {
        let (mut starts, mut entries) = (vec![0], Vec::new());
        for ratings in patterns {
            entries.extend(ratings.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)));
            starts.push(entries.len());
        }
        let counts = vec![0; starts.len() - 1];
        Self { grades, starts, entries, counts }
    }

    pub(crate) fn patterns(&self) -> usize {
        self.counts.len()
    }

    /// The entries of one pattern and how many ratings it has.
    pub(crate) fn pattern(&self, at: usize) -> (&[(u32, u32)], u32) {
        let entries = &self.entries[self.starts[at]..self.starts[at + 1]];
        (entries, entries.iter().map(|&(_, ratings)| ratings).sum())
    }
}
