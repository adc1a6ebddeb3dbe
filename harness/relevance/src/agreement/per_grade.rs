//! Precision, recall and F1 of each grade, and the macro average of F1.
//!
//! With `tp` pairs where both sides say the grade: `precision = tp / predicted`, `recall = tp / human`,
//! `F1 = 2 tp / (predicted + human)`. Macro F1 averages F1 over the grades that occur on either side, each counting
//! alike; for those F1 is always defined, and equals scikit-learn's `f1_score(average="macro")`.

use super::confusion::Confusion;
use crate::Grade;
use crate::undefined::Undefined;

/// How well one grade is predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradeRow {
    /// The grade.
    pub grade: Grade,
    /// Pairs with this human grade.
    pub human: u64,
    /// Pairs with this predicted grade.
    pub predicted: u64,
    /// The share of its predictions that are right.
    pub precision: Result<f64, Undefined>,
    /// The share of its human grades that were found.
    pub recall: Result<f64, Undefined>,
    /// The harmonic mean of both; 0 when the grade occurs and is never right.
    pub f1: Result<f64, Undefined>,
}

/// The counts behind one row.
#[derive(Clone, Copy)]
struct Hits {
    both: u64,
    human: u64,
    predicted: u64,
}

impl Hits {
    fn precision(self) -> Result<f64, Undefined> {
        share(self.both, self.predicted, Undefined::NeverPredicted)
    }

    fn recall(self) -> Result<f64, Undefined> {
        share(self.both, self.human, Undefined::NeverHuman)
    }

    fn f1(self) -> Result<f64, Undefined> {
        share(2 * self.both, self.human + self.predicted, Undefined::NoPairs)
    }
}

/// One row per grade of the table, lowest first.
pub fn per_grade(confusion: &Confusion) -> Vec<GradeRow> {
    let row = |(&grade, hits): (&Grade, Hits)| GradeRow {
        grade,
        human: hits.human,
        predicted: hits.predicted,
        precision: hits.precision(),
        recall: hits.recall(),
        f1: hits.f1(),
    };
    confusion.grades().iter().zip(hits(confusion)).map(row).collect()
}

/// F1 averaged over the grades that occur on either side.
///
/// # Errors
/// [`Undefined::NoPairs`] for an empty table.
pub fn macro_f1(confusion: &Confusion) -> Result<f64, Undefined> {
    let (mut sum, mut occurring) = (0.0, 0u32);
    for f1 in hits(confusion).into_iter().filter_map(|hits| hits.f1().ok()) {
        sum += f1;
        occurring += 1;
    }
    if occurring == 0 { Err(Undefined::NoPairs) } else { Ok(sum / f64::from(occurring)) }
}

fn hits(confusion: &Confusion) -> Vec<Hits> {
    let (human, predicted) = confusion.margins();
    let mut hits: Vec<Hits> =
        human.iter().zip(&predicted).map(|(&human, &predicted)| Hits { both: 0, human, predicted }).collect();
    confusion.entries().filter(|(h, p, _)| h == p).for_each(|(h, _, count)| hits[h].both = count);
    hits
}

fn share(part: u64, whole: u64, otherwise: Undefined) -> Result<f64, Undefined> {
    if whole == 0 { Err(otherwise) } else { Ok(part as f64 / whole as f64) }
}
