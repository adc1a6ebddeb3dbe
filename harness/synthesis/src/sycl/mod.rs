//! SyCL's data (EMNLP 2025 Findings 1245, arXiv 2503.23239): for real queries, lists of passages at four grades, for a
//! loss that compares whole distributions of grades.
//!
//! Two arms, always made together:
//!
//! - *written* ([`write_list`]): a [`Generator`] writes passages for each grade, told what each grade means, in a length
//!   and a register drawn from a grid, with one judged query as an example; a [`Judge`] verifies that a passage has the
//!   grade it was written for.
//! - *mined* ([`mined_list`]): real passages that a retriever finds for the query, graded by a judge. The control arm:
//!   written negatives have been found to lose to mined ones (arXiv 2504.21015, third version).
//!
//! A written passage is called `{query}_l_{grade}_d_{number}`, as in the authors' released data.
//!
//! *Where we differ or choose, for the paper's prompt is not public*: the prompt is ours; grades are written one call each;
//! passages are verified, and those that have another grade are counted and left out instead of kept under the grade
//! asked for (`verify = false` keeps them); a list may lack a grade.

mod mined;
mod written;

use relevance::Grade;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::SynthesisError;
use crate::generator::Register;
#[cfg(doc)]
use crate::{Generator, Judge};

pub use mined::{MinedCounts, mined_list};
pub use written::{Asked, Style, WrittenCounts, WrittenPassage, passage_id, read_passage, write_list};

/// `[written]`, `[mined]` and `[lists]` of a recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyclParameters {
    /// The written arm.
    pub written: Written,
    /// The mined arm.
    pub mined: Mined,
    /// What a list must have.
    pub lists: ListRules,
}

/// `[written]`: how passages are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// Passages for each grade of a query.
    pub per_grade: usize,
    /// Answers asked for each passage; the first that has its grade is taken.
    pub attempts: u32,
    /// The lengths of the grid, in sentences.
    pub sentences: Vec<u32>,
    /// The registers of the grid.
    pub registers: Vec<Register>,
    /// Whether a judge must find the grade that was asked for.
    pub verify: bool,
    /// Whether a judged query is shown as an example.
    pub example: bool,
    /// Passed on to generators that know a temperature.
    pub temperature: f64,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            per_grade: 1,
            attempts: 8,
            sentences: vec![2, 3, 5],
            registers: vec![Register::Plain, Register::Spoken, Register::Expert],
            verify: true,
            example: true,
            temperature: 0.7,
        }
    }
}

/// `[mined]`: how real passages are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mined {
    /// How far down the retriever's ranking the judge looks.
    pub depth: usize,
    /// Passages of each grade that a list keeps, the highest ranked first.
    pub per_grade: usize,
}

impl Default for Mined {
    fn default() -> Self {
        Self { depth: 50, per_grade: 1 }
    }
}

/// `[lists]`: what a list must have to be written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListRules {
    /// The grades that are wanted; for the binary ablation `[3, 0]`.
    pub grades: Vec<Grade>,
    /// Different grades that a list must have: 2 teach an order, 4 are the paper's lists.
    pub smallest_grades: usize,
    /// Whether only queries for which both arms have a list are written, so that a comparison of the arms is one of
    /// passages and not of queries.
    pub same_queries: bool,
}

impl Default for ListRules {
    fn default() -> Self {
        Self { grades: vec![3, 2, 1, 0], smallest_grades: 2, same_queries: true }
    }
}

impl SyclParameters {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// The first parameter that is outside its range.
    pub fn check(&self) -> Result<()> {
        let Self { written, mined, lists } = self;
        check_grades("lists.grades", &lists.grades)?;
        let counts = [
            ("written.per_grade", written.per_grade, 1),
            ("written.attempts", written.attempts as usize, 1),
            ("written.sentences", written.sentences.iter().map(|&n| n as usize).min().unwrap_or(0), 1),
            ("written.registers", written.registers.len(), 1),
            ("mined.depth", mined.depth, 1),
            ("mined.per_grade", mined.per_grade, 1),
            ("lists.smallest_grades", lists.smallest_grades, 1),
        ];
        for (key, found, least) in counts {
            if found < least {
                return Err(SynthesisError::parameter(key, format!("at least {least}"), found));
            }
        }
        if lists.smallest_grades > lists.grades.len() {
            let most = format!("at most the {} grades that are wanted", lists.grades.len());
            return Err(SynthesisError::parameter("lists.smallest_grades", most, lists.smallest_grades));
        }
        Ok(())
    }
}

/// Grades that are wanted: some, on the scale from 0 to 3, each once.
pub(crate) fn check_grades(key: &str, grades: &[Grade]) -> Result<()> {
    let mut sorted = grades.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.is_empty() || sorted.len() < grades.len() || sorted.iter().any(|grade| !(0..=3).contains(grade))
    {
        return Err(SynthesisError::parameter(key, "grades from 0 to 3, each once", format!("{grades:?}")));
    }
    Ok(())
}

/// Whether a list of these grades holds enough different ones.
pub fn is_enough(grades: impl IntoIterator<Item = Grade>, rules: &ListRules) -> bool {
    let mut grades: Vec<Grade> = grades.into_iter().collect();
    grades.sort_unstable();
    grades.dedup();
    grades.len() >= rules.smallest_grades
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_held_to_their_ranges() {
        let said = |change: fn(&mut SyclParameters)| {
            let mut parameters = SyclParameters::default();
            change(&mut parameters);
            parameters.check().unwrap_err().to_string()
        };
        assert!(SyclParameters::default().check().is_ok());
        assert!(said(|p| p.lists.grades = vec![3, 3]).contains("lists.grades"));
        assert!(said(|p| p.lists.grades = vec![4]).contains("0 to 3"));
        assert!(said(|p| p.lists.smallest_grades = 5).contains("at most the 4 grades"));
        assert!(said(|p| p.written.sentences.clear()).contains("written.sentences"));
        assert!(said(|p| p.mined.depth = 0).contains("mined.depth"));
    }

    #[test]
    fn a_list_of_one_grade_teaches_no_order() {
        let rules = ListRules::default();
        assert!(is_enough([3, 3, 0], &rules) && !is_enough([2, 2], &rules) && !is_enough([], &rules));
    }
}
