//! Where the grades of a scale begin on the axis of a labeler's score.

use relevance::{Grade, Scale};

use crate::bundle::LABELER;
use crate::error::{Result, ScorerError};

/// A scale and its cuts, checked: one cut a level above the lowest, ascending and finite. A score has the grade of the
/// highest cut at or below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cuts {
    scale: Scale,
    values: Vec<f64>,
}

impl Cuts {
    /// # Errors
    /// `BadConfig` for another number of cuts than the scale needs, cuts that do not ascend or are not finite, a scale of
    /// one level.
    pub fn new(scale: Scale, values: Vec<f64>) -> Result<Self> {
        let levels = scale.levels().len();
        let bad = |reason| Err(ScorerError::BadConfig { file: LABELER.into(), reason });
        if levels < 2 {
            return bad(format!("scale: expected at least two levels, found {levels}"));
        }
        if values.len() + 1 != levels {
            return bad(format!("cuts: {} for {levels} levels", values.len()));
        }
        if values.windows(2).any(|pair| pair[0] > pair[1]) {
            return bad(format!("cuts: {values:?} do not ascend"));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return bad("cuts: a number is not finite".into());
        }
        Ok(Self { scale, values })
    }

    /// Cuts half-way between neighbouring grades, for scores that are expected grades.
    ///
    /// # Errors
    /// `BadConfig` for a scale of one level.
    pub fn between(scale: Scale) -> Result<Self> {
        let grades = scale.levels().iter().map(|level| f64::from(level.grade)).collect::<Vec<_>>();
        Self::new(scale, grades.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect())
    }

    /// The same scale with other cuts.
    ///
    /// # Errors
    /// As [`Cuts::new`].
    pub fn moved(&self, values: &[f64]) -> Result<Self> {
        Self::new(self.scale.clone(), values.to_vec())
    }

    /// The scale of the grades.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// One number a level above the lowest.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The grade that begins at the highest cut at or below `score`.
    pub fn grade(&self, score: f64) -> Grade {
        self.scale.levels()[self.values.iter().filter(|&&cut| cut <= score).count()].grade
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn half_way_between_grades() {
        let cuts = Cuts::between(Scale::ssra()).unwrap();
        assert_eq!(cuts.values(), [0.5, 1.5, 2.5]);
        assert_eq!([-1.0, 0.49, 0.5, 1.7, 2.5, 9.0].map(|score| cuts.grade(score)), [0, 0, 1, 2, 3, 3]);
    }

    #[test]
    fn cuts_that_do_not_fit_are_refused() {
        let cuts = Cuts::between(Scale::ssra()).unwrap();
        for wrong in [&[0.5, 1.0][..], &[1.0, 0.5, 2.0], &[0.0, 1.0, f64::INFINITY], &[f64::NAN, 1.0, 2.0]] {
            assert!(matches!(cuts.moved(wrong), Err(ScorerError::BadConfig { .. })), "{wrong:?}");
        }
        assert_eq!(cuts.moved(&[0.0, 0.0, 3.0]).unwrap().grade(0.0), 2);
    }
}
