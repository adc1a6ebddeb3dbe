//! SSRA's data (Douyin, AAAI-26, arXiv 2509.16717): graded (query, document) pairs in which one document has several
//! queries at several grades, where logs have many documents under one popular query.
//!
//! - *Score model*: fitted on the seed grades. It stands behind a [`Judge`]; whoever calls fits it.
//! - *Stage 1, diversity* ([`reannotate`]): per document, queries of the log get the score model's grades, and join the
//!   seed grades.
//! - *Generation* ([`propose`]): for a document and a target grade a [`Generator`] writes queries, shown pairs of what is
//!   there so far. The paper trains its query model on them; here a model is prompted with them.
//! - *Stage 2, alignment* ([`align`]): a query stays where the score model's grade is its target, and two queries of one
//!   document go where a pairwise judge finds their order contrary to their grades.
//! - *Rounds*: what is kept joins the data that the next round's generator is shown; [`Diversity`] says what each added.
//!
//! *Where we differ or choose, for the paper does not say*: which of two contradicting queries goes ([`Order`]); how many
//! queries of a grade a document keeps; queries with the same words are kept once a document. Every filter can be switched
//! off, and what each would have kept alone is counted in the same run.

mod alignment;
mod diversity;
mod reannotation;

use relevance::Grade;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::SynthesisError;
use crate::sycl::check_grades;
#[cfg(doc)]
use crate::{Generator, Judge};

pub use alignment::{Aligned, Funnel, Proposal, align, propose, read_query};
pub use diversity::{Diversity, DiversityCheck};
pub use reannotation::{ReannotationCounts, reannotate};

/// `[stage_1]`, `[stage_2]` and `[rounds]` of a recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SsraParameters {
    /// Re-annotation.
    pub stage_1: Stage1,
    /// Generation and alignment.
    pub stage_2: Stage2,
    /// Repetition.
    pub rounds: Rounds,
}

/// `[stage_1]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stage1 {
    /// Whether there is one; without it generation starts from the seed grades.
    pub on: bool,
    /// Each query of the log brings its so many best documents.
    pub depth: usize,
    /// And each document that has one so many drawn queries, for the lowest grade.
    pub strangers: usize,
    /// Queries of one grade that a document keeps.
    pub most_per_grade: usize,
}

impl Default for Stage1 {
    fn default() -> Self {
        Self { on: true, depth: 30, strangers: 2, most_per_grade: 2 }
    }
}

/// `[stage_2]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stage2 {
    /// The target grades; for the binary ablation `[3, 0]`.
    pub grades: Vec<Grade>,
    /// Answers asked for each document and grade.
    pub attempts: u32,
    /// Queries of one grade that a document keeps.
    pub most_per_grade: usize,
    /// Documents of a round that the same query is kept for, the first ones; 0 for no limit. A lever on duplicates.
    pub most_documents_per_query: usize,
    /// Graded pairs shown to the generator.
    pub examples: usize,
    /// Whether the score model must agree with the target.
    pub agree: bool,
    /// What becomes of queries whose order a pairwise judge contradicts.
    pub order: Order,
    /// Whether what each filter would keep alone is counted: then all proposals are compared, not only those that agree.
    pub each_alone: bool,
    /// Passed on to generators that know a temperature.
    pub temperature: f64,
}

impl Default for Stage2 {
    fn default() -> Self {
        Self {
            grades: vec![3, 2, 1, 0],
            attempts: 4,
            most_per_grade: 1,
            most_documents_per_query: 0,
            examples: 4,
            agree: true,
            order: Order::Both,
            each_alone: true,
            temperature: 0.7,
        }
    }
}

/// What becomes of two queries of one document whose order a pairwise judge finds contrary to their grades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Both go.
    #[default]
    Both,
    /// The one with the most contradictions goes, until none is left.
    Worst,
    /// Nothing is compared.
    Off,
}

/// `[rounds]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rounds {
    /// How many times queries are generated; the paper's text has one.
    pub count: usize,
    /// Documents that get queries in a round; 0 for all.
    pub documents: usize,
    /// Whether the score model is fitted again, after each round, to the seed grades and all that was kept. The paper
    /// retrains the query model alone.
    pub refit_score_model: bool,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { count: 1, documents: 0, refit_score_model: false }
    }
}

impl SsraParameters {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// The first parameter that is outside its range.
    pub fn check(&self) -> Result<()> {
        check_grades("stage_2.grades", &self.stage_2.grades)?;
        for (key, found) in [
            ("stage_1.most_per_grade", self.stage_1.most_per_grade),
            ("stage_2.attempts", self.stage_2.attempts as usize),
            ("stage_2.most_per_grade", self.stage_2.most_per_grade),
        ] {
            if found == 0 {
                return Err(SynthesisError::parameter(key, "at least 1", found));
            }
        }
        Ok(())
    }
}
