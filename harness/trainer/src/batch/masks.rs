//! In-batch documents that are to be left out because they may well be relevant: false negatives.
//!
//! - [`Guide`](super::Guide): by the scores of a guide model that knows all texts beforehand (GISTEmbed).
//! - [`mask_above`]: by any scores of the batch, those of the model itself for instance: an ungraded pair that scores above
//!   the query's positive in the batch, less a margin, is ignored.
//! - [`mask_grades`]: by grade: pairs of grades one does not trust, as positives or as negatives, are ignored.
//! - SSRA's own mask, which looks at the scores of the step itself, is a setting of
//!   [`WeightedInfonce`](crate::losses::WeightedInfonce).
//!
//! A graded pair is never masked by scores, because somebody has looked at it.

use kernels::Matrix;
use kernels::h_infonce::IGNORED;
use serde::{Deserialize, Serialize};

use super::error::BatchError;
use crate::losses::{Listed, LossError, Targets};

/// How far below a positive's score a negative must stay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Margin {
    /// By this much; below 0 to allow scores above the positive's (SSRA's mask of 0.1 is -0.1 here).
    Absolute(f32),
    /// By this share of the positive's score (NV-Retriever's 95 % is 0.05 here, SSRA's mining as well).
    Relative(f32),
    /// It need not.
    Unbounded,
}

impl Margin {
    /// The highest score a negative may have beside a positive of score `positive`.
    #[must_use]
    pub fn ceiling(self, positive: f32) -> f32 {
        match self {
            Margin::Absolute(margin) => positive - margin,
            Margin::Relative(share) => positive - share * positive.abs(),
            Margin::Unbounded => f32::INFINITY,
        }
    }

    /// Refuses a margin that is no number, or a relative one outside 0 to 1.
    ///
    /// # Errors
    /// [`BatchError::Setting`].
    pub fn check(self) -> Result<(), BatchError> {
        let (value, allowed, expected) = match self {
            Margin::Absolute(margin) => (margin, margin.is_finite(), "a finite number"),
            Margin::Relative(share) => (share, (0.0..=1.0).contains(&share), "0 to 1"),
            Margin::Unbounded => return Ok(()),
        };
        let refusal = BatchError::Setting { setting: "margin", value: f64::from(value), expected };
        if allowed { Ok(()) } else { Err(refusal) }
    }
}

/// Which of a query's positives is the measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The one with the lowest score: leaves out the most.
    #[default]
    Lowest,
    /// The one with the highest score.
    Highest,
}

impl Reference {
    /// The measure among the positives' scores; `None` without any.
    pub(super) fn of(self, scores: impl Iterator<Item = f32>) -> Option<f32> {
        scores.reduce(match self {
            Reference::Lowest => f32::min,
            Reference::Highest => f32::max,
        })
    }
}

/// Ignores every pair that is not listed and scores above what `margin` allows beside the query's positives, which are its
/// own documents of grade `positive_from` or more. Queries without a positive keep all their documents.
///
/// `scores` `[B x N]`.
///
/// # Errors
/// [`BatchError::Setting`] for a margin without meaning; [`BatchError::Targets`] for scores of another shape or not finite.
pub fn mask_above(
    targets: &Targets,
    scores: Matrix<'_, f32>,
    margin: Margin,
    reference: Reference,
    positive_from: u8,
) -> Result<Targets, BatchError> {
    margin.check()?;
    scores.require_finite("guide scores").map_err(LossError::from)?;
    let shapes =
        [("queries", targets.queries(), scores.rows()), ("documents", targets.documents(), scores.columns())];
    if let Some((what, targets, batch)) = shapes.into_iter().find(|(_, targets, batch)| targets != batch) {
        return Err(LossError::Batch { what, targets, batch }.into());
    }
    let ceiling = |query: usize| {
        let positive = |pair: &&Listed| pair.own && !pair.ignored() && pair.grade >= positive_from;
        let positives = targets.listed(query).iter().filter(positive);
        let measure = reference.of(positives.map(|pair| scores.row(query)[pair.document as usize]));
        measure.map(|measure| margin.ceiling(measure))
    };
    let ceilings: Vec<Option<f32>> = (0..targets.queries()).map(ceiling).collect();
    let is_above = |query: usize, document: u32| {
        ceilings[query].is_some_and(|ceiling| scores.row(query)[document as usize] > ceiling)
    };
    ignore_unlisted(targets, is_above)
}

/// Ignores every pair of query and document that is not listed and that `is_false` calls a false negative.
pub(super) fn ignore_unlisted(
    targets: &Targets,
    is_false: impl Fn(usize, u32) -> bool,
) -> Result<Targets, BatchError> {
    let masked = targets.edited(|query, listed| {
        let mut known = vec![false; targets.documents()];
        listed.iter().for_each(|pair| known[pair.document as usize] = true);
        let unlisted = (0u32..).zip(known).filter(|(_, known)| !known).map(|(document, _)| document);
        listed.extend(unlisted.filter(|document| is_false(query, *document)).map(ignored));
    })?;
    Ok(masked)
}

/// Ignores every listed pair whose grade is one of `grades`.
///
/// # Errors
/// None for targets that were sound; the type is that of [`Targets::edited`].
pub fn mask_grades(targets: &Targets, grades: &[u8]) -> Result<Targets, BatchError> {
    Ok(targets.edited(|_, listed| {
        listed.iter_mut().filter(|pair| grades.contains(&pair.grade)).for_each(|pair| pair.grade = IGNORED);
    })?)
}

fn ignored(document: u32) -> Listed {
    Listed { own: false, ..Listed::own(document, IGNORED) }
}
