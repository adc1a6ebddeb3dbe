//! Hard negatives from a ranking, BM25's or an encoder's: high up, ungraded, and not too close to a positive.
//!
//! ```text
//! ranks first..=last     where negatives are looked for, counting from 1
//! margin                 absolute: score <= positive - m;  relative: score <= (1 - m) positive   (NV-Retriever,
//!                        arXiv 2407.15831, calls the second TopK-PercPos and takes m = 0.05)
//! reference              which positive's score is the measure, when there are several
//! ```
//!
//! Graded documents are never mined, whatever their grade: they are in the list already. With a margin, a query none of
//! whose positives has a score gets no negatives and is counted, rather than getting them without the margin; with the
//! lowest positive as the measure, a single one without a score has the same effect, since it may lie below everything.
//! Everything left out is counted, so that a report can say what mining did.

use serde::{Deserialize, Serialize};

use super::draws::{shuffle_front, stream};
use super::error::BatchError;
use super::lists::Lists;
use super::masks::{Margin, Reference};

/// How negatives are mined, as a recipe's `[mining]` table writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mining {
    /// The first rank looked at, from 1.
    pub first_rank: usize,
    /// The last rank looked at.
    pub last_rank: usize,
    /// Negatives of a query at most.
    pub per_query: usize,
    /// How far below a positive they must stay; `None` for no such rule.
    pub margin: Option<Margin>,
    /// Which positive is the measure.
    pub reference: Reference,
    /// The lowest grade of a positive.
    pub positive_from: u8,
    /// Which, when there are more.
    pub pick: MinedPick,
    /// Decides the draws.
    pub seed: u64,
}

/// Which of the documents that may be mined are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MinedPick {
    /// Those ranked highest.
    #[default]
    Hardest,
    /// Any.
    Random,
}

impl Default for Mining {
    fn default() -> Self {
        Mining {
            first_rank: 1,
            last_rank: 100,
            per_query: 8,
            margin: Some(Margin::Relative(0.05)),
            reference: Reference::Lowest,
            positive_from: 1,
            pick: MinedPick::Hardest,
            seed: 0,
        }
    }
}

/// A document of a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedDocument {
    /// Its number among [`Lists::documents`].
    pub document: u32,
    /// Its score.
    pub score: f32,
}

/// What was mined for a query, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mined {
    /// The negatives, highest rank first.
    pub documents: Vec<u32>,
    /// What became of the ranking.
    pub counts: MiningCounts,
}

/// What became of the documents of a ranking, or of many when added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MiningCounts {
    /// Taken as negatives.
    pub mined: usize,
    /// Left out: outside the ranks looked at.
    pub outside_ranks: usize,
    /// Left out: graded for the query.
    pub graded: usize,
    /// Left out: too close to a positive, or above it.
    pub too_close: usize,
    /// Left out: there were enough.
    pub surplus: usize,
    /// Queries without a positive's score to measure by.
    pub queries_without_reference: usize,
}

impl std::ops::AddAssign for MiningCounts {
    fn add_assign(&mut self, other: Self) {
        self.mined += other.mined;
        self.outside_ranks += other.outside_ranks;
        self.graded += other.graded;
        self.too_close += other.too_close;
        self.surplus += other.surplus;
        self.queries_without_reference += other.queries_without_reference;
    }
}

impl Mining {
    /// Refuses settings outside the range their meaning allows.
    ///
    /// # Errors
    /// [`BatchError::Setting`].
    pub fn check(&self) -> Result<(), BatchError> {
        let refuse = |setting, value: usize, expected| {
            Err(BatchError::Setting { setting, value: value as f64, expected })
        };
        if self.first_rank == 0 {
            return refuse("first_rank", 0, "at least 1");
        }
        if self.last_rank < self.first_rank {
            return refuse("last_rank", self.last_rank, "at least first_rank");
        }
        self.margin.map_or(Ok(()), Margin::check)
    }

    /// Negatives for `query` from its `ranking`, best first. `score` says what the same system gives a positive that the
    /// ranking does not hold; `None` where that is not known.
    ///
    /// # Errors
    /// [`BatchError::Setting`]; [`BatchError::Number`] for a query there is not.
    pub fn mine(
        &self,
        lists: &Lists,
        query: u32,
        ranking: &[RankedDocument],
        score: impl Fn(u32) -> Option<f32>,
    ) -> Result<Mined, BatchError> {
        self.check()?;
        lists.require_query(query)?;
        let mut counts = MiningCounts::default();
        let ceiling = match self.margin {
            None => f32::INFINITY,
            Some(margin) => match self.measure(lists, query, ranking, score) {
                Some(measure) => margin.ceiling(measure),
                None => {
                    counts.queries_without_reference = 1;
                    return Ok(Mined { documents: Vec::new(), counts });
                }
            },
        };
        let graded = |document| lists.list(query).iter().any(|graded| graded.document == document);
        let mut found: Vec<(usize, u32)> = Vec::new();
        for (rank, hit) in (1..).zip(ranking) {
            if !(self.first_rank..=self.last_rank).contains(&rank) {
                counts.outside_ranks += 1;
            } else if graded(hit.document) {
                counts.graded += 1;
            } else if hit.score > ceiling || hit.score.is_nan() {
                counts.too_close += 1;
            } else {
                found.push((rank, hit.document));
            }
        }
        if self.pick == MinedPick::Random {
            shuffle_front(&mut stream(self.seed, u64::from(query)), &mut found, self.per_query);
        }
        counts.surplus = found.len().saturating_sub(self.per_query);
        found.truncate(self.per_query);
        found.sort_unstable();
        counts.mined = found.len();
        Ok(Mined { documents: found.into_iter().map(|(_, document)| document).collect(), counts })
    }

    /// The score negatives are measured by.
    fn measure(
        &self,
        lists: &Lists,
        query: u32,
        ranking: &[RankedDocument],
        score: impl Fn(u32) -> Option<f32>,
    ) -> Option<f32> {
        let positives = lists.list(query).iter().filter(|graded| graded.grade >= self.positive_from);
        let ranked = |document| ranking.iter().find(|hit| hit.document == document).map(|hit| hit.score);
        let scores: Vec<Option<f32>> = positives
            .map(|positive| ranked(positive.document).or_else(|| score(positive.document)))
            .collect();
        if self.reference == Reference::Lowest && scores.contains(&None) {
            return None;
        }
        self.reference.of(scores.into_iter().flatten())
    }
}
