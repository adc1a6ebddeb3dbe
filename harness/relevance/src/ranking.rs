//! A ranking: the documents a system returned for one query, with their scores, and the order ties stand in.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// One returned document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit<'a> {
    /// The document's id.
    pub document: &'a str,
    /// The system's score, higher is better. Finite: readers refuse anything else.
    pub score: f64,
}

/// What one system returned for one query. `hits` stand in the order they came; [`Ranking::sort`] puts them in the
/// order they are scored in.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking<'a> {
    /// The query's id.
    pub query: &'a str,
    /// The returned documents.
    pub hits: Vec<Hit<'a>>,
}

/// How documents with equal scores are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TieOrder {
    /// As trec_eval does it: scores compared as 32-bit floats, descending; ties by document id, descending.
    #[default]
    Trec,
    /// The order of the run as it stands; scores are not looked at.
    Run,
    /// Scores compared as 32-bit floats, descending; ties by document id, ascending.
    DocidAscending,
    /// The expectation of each measure over all orders of the tied documents.
    Expected,
}

/// What was written is no order of ties.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no order of ties; expected trec, run, docid-asc or expected")]
pub struct UnknownTieOrder(String);

impl fmt::Display for TieOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trec => "trec",
            Self::Run => "run",
            Self::DocidAscending => "docid-asc",
            Self::Expected => "expected",
        })
    }
}

impl FromStr for TieOrder {
    type Err = UnknownTieOrder;

    fn from_str(written: &str) -> Result<Self, UnknownTieOrder> {
        let all = [Self::Trec, Self::Run, Self::DocidAscending, Self::Expected];
        all.into_iter()
            .find(|ties| ties.to_string() == written)
            .ok_or_else(|| UnknownTieOrder(written.to_owned()))
    }
}

impl Ranking<'_> {
    /// Puts the hits in the order `ties` asks for. [`TieOrder::Expected`] sorts as [`TieOrder::Trec`] does: the
    /// expectation does not depend on the order within a group of ties.
    pub fn sort(&mut self, ties: TieOrder) {
        match ties {
            TieOrder::Run => {}
            TieOrder::Trec | TieOrder::Expected => self.sort_by(|a, b| b.document.cmp(a.document)),
            TieOrder::DocidAscending => self.sort_by(|a, b| a.document.cmp(b.document)),
        }
    }

    fn sort_by(&mut self, ties: impl Fn(&Hit<'_>, &Hit<'_>) -> Ordering) {
        self.hits.sort_by(|a, b| score_key(a.score).cmp(&score_key(b.score)).then_with(|| ties(a, b)));
    }
}

/// A number that is smaller the better the score: equal exactly where two scores tie.
///
/// trec_eval up to version 9 keeps scores in C floats: 0.1 and 0.1 + 1e-12 are a tie there, and so they are here.
/// (Version 10 keeps doubles; runs are written with few enough digits for this to matter rarely.)
#[inline]
pub(crate) fn score_key(score: f64) -> u32 {
    let bits = (score as f32 + 0.0).to_bits(); // adding zero makes -0.0 equal to 0.0
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(hits: &[(&'static str, f64)]) -> Ranking<'static> {
        let hits = hits.iter().map(|&(document, score)| Hit { document, score }).collect();
        Ranking { query: "q", hits }
    }

    fn order(mut ranking: Ranking<'_>, ties: TieOrder) -> Vec<&str> {
        ranking.sort(ties);
        ranking.hits.iter().map(|hit| hit.document).collect()
    }

    #[test]
    fn ties_stand_in_the_order_asked_for() {
        let hits = [("a", 0.5), ("c", 0.5), ("b", 0.5), ("z", 0.1), ("y", 0.9)];
        assert_eq!(order(ranking(&hits), TieOrder::Trec), ["y", "c", "b", "a", "z"]);
        assert_eq!(order(ranking(&hits), TieOrder::DocidAscending), ["y", "a", "b", "c", "z"]);
        assert_eq!(order(ranking(&hits), TieOrder::Run), ["a", "c", "b", "z", "y"]);
    }

    #[test]
    fn scores_that_differ_only_beyond_a_32_bit_float_are_tied() {
        let hits = [("a", 0.1 + 1e-12), ("b", 0.1)];
        assert_eq!(order(ranking(&hits), TieOrder::Trec), ["b", "a"]);
    }
}
