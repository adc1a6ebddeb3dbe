//! The small-model labeler's data (Microsoft, arXiv 2601.03211): queries written from seed documents, hard negatives from
//! BM25, a teacher's grades, for a student that grades as the teacher does at a fraction of its cost.
//!
//! - *Queries* ([`seed_query`]): a [`Generator`] writes queries for seed documents, told what the collection knows about
//!   them (the paper's enterprise queries lean on author, file name and folder).
//! - *Candidates* ([`at_depths`]): the seed document, and what BM25 ranks at set depths: 1 to 3 are hard, 50 is easy.
//! - *Grades*: a [`Judge`], the teacher; pairs it cannot grade are counted and left out.
//! - *Report*: the teacher beside people where people graded the same pairs ([`pairwise_accuracy`], kappa), and what 1,000
//!   labels cost ([`Price`]).
//!
//! *Where we choose, for the paper's prompts, depths and sizes are not public*: all of them are the recipe's.

use relevance::Grade;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::SynthesisError;
use crate::generator::{Request, Task};
#[cfg(doc)]
use crate::{Generator, Judge};

/// `[seed_queries]` and `[hard_negatives]` of a recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelerParameters {
    /// Which queries there are.
    pub queries: Queries,
    /// Which documents they meet.
    pub negatives: Depths,
}

/// `[seed_queries]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queries {
    /// Seed documents, drawn from the collection; 0 for all.
    pub seed_documents: usize,
    /// Queries written for each.
    pub per_document: u32,
    /// The metadata fields a generator is told; none: all that the collection has, but long ones.
    pub fields: Vec<String>,
    /// Whether the collection's own queries are taken too, with the documents that people judged for them.
    pub own: bool,
    /// Passed on to generators that know a temperature.
    pub temperature: f64,
}

impl Default for Queries {
    fn default() -> Self {
        Self { seed_documents: 200, per_document: 1, fields: Vec::new(), own: true, temperature: 0.7 }
    }
}

/// `[hard_negatives]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Depths {
    /// Ranks of BM25's list, from 1, the seed document not counted.
    pub depths: Vec<usize>,
}

impl Default for Depths {
    fn default() -> Self {
        Self { depths: vec![1, 2, 3, 5, 10, 20, 50] }
    }
}

impl LabelerParameters {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// The first parameter that is outside its range.
    pub fn check(&self) -> Result<()> {
        if self.negatives.depths.contains(&0) {
            return Err(SynthesisError::parameter("hard_negatives.depths", "ranks from 1", 0));
        }
        if self.queries.per_document == 0 && !self.queries.own {
            return Err(SynthesisError::parameter(
                "seed_queries.per_document",
                "at least 1, or own = true",
                0,
            ));
        }
        Ok(())
    }
}

/// The request for queries about a seed document.
pub fn seed_query(document: &str, fields: &[(String, String)], rules: &Queries, seed: u64) -> Request {
    let task = Task::SeedQuery { document: document.to_owned(), fields: fields.to_vec() };
    Request { task, samples: rules.per_document, temperature: rules.temperature, seed }
}

/// The documents at the given depths of a ranking (best first), each with its rank; the seed document has none.
pub fn at_depths(ranked: &[u32], seed_document: Option<u32>, depths: &[usize]) -> Vec<(usize, u32)> {
    let others = ranked.iter().copied().filter(|document| Some(*document) != seed_document);
    others
        .enumerate()
        .map(|(at, document)| (at + 1, document))
        .filter(|(rank, _)| depths.contains(rank))
        .collect()
}

/// A pair that somebody graded, with a score from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredPair<'a> {
    /// The query.
    pub query: &'a str,
    /// People's grade.
    pub human: Grade,
    /// The teacher's or student's score.
    pub score: f64,
}

/// Of the pairs of documents that people gave different grades for one query, the share that the scores order alike;
/// equal scores count half. `None` without such a pair.
pub fn pairwise_accuracy(pairs: &[ScoredPair<'_>]) -> Option<f64> {
    let mut order: Vec<&ScoredPair<'_>> = pairs.iter().collect();
    order.sort_by_key(|pair| pair.query);
    let (mut right, mut all) = (0.0, 0.0);
    for own in order.chunk_by(|a, b| a.query == b.query) {
        for (at, a) in own.iter().enumerate() {
            for b in own[at + 1..].iter().filter(|b| b.human != a.human) {
                let (better, worse) = if a.human > b.human { (a, b) } else { (b, a) };
                all += 1.0;
                right += match better.score.total_cmp(&worse.score) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
    }
    (all > 0.0).then(|| right / all)
}

/// A row of a price table: tokens bought, or a machine's time. Prices are the recipe's, in its currency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Who labels.
    pub name: String,
    /// The price of a million tokens read.
    pub per_million_input_tokens: f64,
    /// The price of a million tokens written.
    pub per_million_output_tokens: f64,
    /// Tokens of the prompt around a pair.
    pub prompt_tokens: f64,
    /// Tokens of an answer.
    pub answer_tokens: f64,
    /// The price of a machine's hour.
    pub per_hour: f64,
    /// Pairs that the machine labels in a second; 0 for no machine.
    pub pairs_per_second: f64,
}

/// Characters of a token of English text: a rule of thumb, since every model counts its own way.
pub const CHARACTERS_PER_TOKEN: f64 = 4.0;

impl Price {
    /// What 1,000 labels cost, for pairs of so many characters on average.
    pub fn per_thousand(&self, mean_characters: f64) -> f64 {
        let read = self.prompt_tokens + mean_characters / CHARACTERS_PER_TOKEN;
        let tokens =
            read * self.per_million_input_tokens + self.answer_tokens * self.per_million_output_tokens;
        let hours = if self.pairs_per_second > 0.0 { 1000.0 / self.pairs_per_second / 3600.0 } else { 0.0 };
        tokens / 1000.0 + hours * self.per_hour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_ranks_without_the_seed_document() {
        // Ranks: 8 is 1, (5 is the seed), 6 is 2, 9 is 3, 2 is 4.
        assert_eq!(at_depths(&[8, 5, 6, 9, 2], Some(5), &[1, 3, 9]), [(1, 8), (3, 9)]);
        assert_eq!(at_depths(&[8, 5, 6], None, &[2]), [(2, 5)]);
    }

    #[test]
    fn pairwise_accuracy_by_hand() {
        let pair = |query, human, score| ScoredPair { query, human, score };
        // a: 3 over 1 right, 3 over 0 wrong, 1 over 0 wrong; b: a tie; c: equal grades say nothing.
        let pairs = [
            pair("a", 3, 0.5),
            pair("b", 2, 0.1),
            pair("a", 1, 0.2),
            pair("c", 1, 0.0),
            pair("a", 0, 0.9),
            pair("b", 1, 0.1),
            pair("c", 1, 1.0),
        ];
        assert_eq!(pairwise_accuracy(&pairs), Some(1.5 / 4.0));
        assert_eq!(pairwise_accuracy(&pairs[3..4]), None);
    }

    #[test]
    fn prices_by_hand() {
        // 400 + 1600 / 4 = 800 tokens read at 2.5 a million, 5 written at 10: .00205 a pair.
        let teacher = Price {
            per_million_input_tokens: 2.5,
            per_million_output_tokens: 10.0,
            prompt_tokens: 400.0,
            answer_tokens: 5.0,
            ..Price::default()
        };
        assert!((teacher.per_thousand(1600.0) - 2.05).abs() < 1e-12);
        // 1,000 pairs at 20 a second are 50 seconds of an hour at 3.6.
        let student = Price { per_hour: 3.6, pairs_per_second: 20.0, ..Price::default() };
        assert!((student.per_thousand(1600.0) - 0.05).abs() < 1e-12);
    }
}
