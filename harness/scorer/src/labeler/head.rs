//! An ordinal head: from a few features of a pair to a grade, by the proportional-odds model (McCullagh 1980).
//!
//! ```text
//! x        features                          score = w . x
//! P(grade >= level k) = 1 / (1 + exp(theta_k - score)),   theta_1 <= theta_2 <= ...
//! grade = the number of cuts at or below the score
//! ```
//!
//! Two sets of numbers stand on the same axis. The thresholds `theta` make the distribution, and are fitted by maximum
//! likelihood; the `cuts` make the grade, and are chosen for agreement, since the most probable grade of a rare level is
//! hardly ever that level. Exponentials come from `libm`, sums run from the left: the same bits everywhere.

use relevance::{Level, Scale};
use serde::{Deserialize, Serialize};

use super::{Cuts, Feature, Label};
use crate::bundle::{Bundle, LABELER};
use crate::error::{Result, ScorerError};

/// One grade of the scale in `labeler.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelFile {
    /// The grade.
    pub grade: relevance::Grade,
    /// What a rater says with it.
    pub meaning: String,
}

/// The scale in `labeler.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleFile {
    /// Its name.
    pub name: String,
    /// Its levels, lowest grade first.
    pub levels: Vec<LevelFile>,
    /// The lowest grade that counts as relevant.
    pub relevant_from: relevance::Grade,
}

/// `labeler.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadFile {
    /// The grades.
    pub scale: ScaleFile,
    /// What the score is made of, in the order of the weights.
    pub features: Vec<Feature>,
    /// One weight a feature.
    pub weights: Vec<f64>,
    /// One threshold a level above the lowest, ascending.
    pub thresholds: Vec<f64>,
    /// Where the grades begin on the score's axis, likewise.
    pub cuts: Vec<f64>,
}

impl ScaleFile {
    /// The written form of a scale.
    pub fn of(scale: &Scale) -> Self {
        let levels = scale.levels().iter();
        let levels = levels.map(|level| LevelFile { grade: level.grade, meaning: level.meaning.clone() });
        Self { name: scale.name().to_owned(), levels: levels.collect(), relevant_from: scale.relevant_from() }
    }
}

/// The head of a labeler, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct OrdinalHead {
    features: Vec<Feature>,
    weights: Vec<f64>,
    thresholds: Vec<f64>,
    cuts: Cuts,
}

impl OrdinalHead {
    /// The head of a bundle.
    ///
    /// # Errors
    /// `NoHead` without a `labeler.json`, otherwise as [`OrdinalHead::new`].
    pub fn from_bundle(bundle: &Bundle) -> Result<Self> {
        let file: HeadFile = bundle.json(LABELER)?.ok_or(ScorerError::NoHead)?;
        Self::new(file)
    }

    /// A head from its written form.
    ///
    /// # Errors
    /// `BadConfig` when the numbers do not fit together: lengths, order, values that are not finite, a scale that is none.
    pub fn new(file: HeadFile) -> Result<Self> {
        let HeadFile { scale, features, weights, thresholds, cuts } = file;
        let expect = |holds: bool, reason: String| {
            if holds { Ok(()) } else { Err(ScorerError::BadConfig { file: LABELER.into(), reason }) }
        };
        let steps = scale.levels.len().saturating_sub(1);
        let levels =
            scale.levels.into_iter().map(|level| Level { grade: level.grade, meaning: level.meaning });
        let checked = Scale::new(scale.name, levels.collect(), scale.relevant_from);
        expect(steps >= 1, format!("scale: expected at least two levels, found {}", steps + 1))?;
        expect(
            weights.len() == features.len() && !features.is_empty(),
            format!("{} weights for {} features", weights.len(), features.len()),
        )?;
        expect(
            thresholds.len() == steps,
            format!("thresholds: {} for {} levels", thresholds.len(), steps + 1),
        )?;
        let ascending = thresholds.windows(2).all(|pair| pair[0] <= pair[1]);
        expect(ascending, format!("thresholds: {thresholds:?} do not ascend"))?;
        let mut numbers = weights.iter().chain(&thresholds);
        expect(numbers.all(|number| number.is_finite()), "a number is not finite".into())?;
        match checked {
            Some(scale) => Ok(Self { features, weights, thresholds, cuts: Cuts::new(scale, cuts)? }),
            None => Err(ScorerError::BadConfig {
                file: LABELER.into(),
                reason: "scale: a grade appears twice, or none reaches relevant_from".into(),
            }),
        }
    }

    /// The scale of the grades.
    pub fn scale(&self) -> &Scale {
        self.cuts.scale()
    }

    /// What the score is made of.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// One weight a feature.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Where the grades begin.
    pub fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// The label of a pair with the features `x`, in the order of [`OrdinalHead::features`].
    pub fn label(&self, x: &[f64]) -> Label {
        let score = self.weights.iter().zip(x).fold(0.0, |sum, (weight, x)| sum + weight * x);
        Label { grade: self.cuts.grade(score), score, distribution: self.distribution(score) }
    }

    /// The probability of each level at a score.
    pub fn distribution(&self, score: f64) -> Vec<f64> {
        let mut at_least = 1.0;
        let mut distribution = Vec::with_capacity(self.thresholds.len() + 1);
        for threshold in &self.thresholds {
            let above = 1.0 / (1.0 + libm::exp(threshold - score));
            distribution.push(at_least - above);
            at_least = above;
        }
        distribution.push(at_least);
        distribution
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file() -> HeadFile {
        HeadFile {
            scale: ScaleFile::of(&Scale::ssra()),
            features: vec![Feature::Similarity, Feature::StemCoverage],
            weights: vec![2.0, 1.0],
            thresholds: vec![0.0, 1.0, 2.0],
            cuts: vec![0.5, 1.0, 2.5],
        }
    }

    #[test]
    fn by_hand() {
        let label = OrdinalHead::new(file()).unwrap().label(&[0.5, 0.25]);
        assert_eq!((label.grade, label.score), (2, 1.25));
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let expected = [
            1.0 - sigmoid(1.25),
            sigmoid(1.25) - sigmoid(0.25),
            sigmoid(0.25) - sigmoid(-0.75),
            sigmoid(-0.75),
        ];
        for (got, expected) in label.distribution.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-15, "{got} {expected}");
        }
    }

    #[test]
    fn a_cut_belongs_to_the_grade_it_begins() {
        let head = OrdinalHead::new(file()).unwrap();
        assert_eq!(head.label(&[0.25, 0.0]).grade, 1);
        assert_eq!(head.label(&[0.0, 0.0]).grade, 0);
        assert_eq!(head.label(&[100.0, 0.0]).grade, 3);
    }

    #[test]
    fn other_cuts_make_other_grades_of_the_same_scores() {
        let head = OrdinalHead::new(file()).unwrap();
        let moved = head.cuts().moved(&[0.5, 2.0, 2.5]).unwrap();
        assert_eq!((head.cuts().grade(1.25), moved.grade(1.25)), (2, 1));
        assert_eq!(crate::labeler::at_least(&[0.5, 0.25, 0.125, 0.125], 2), 0.25);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let spoil: [fn(&mut HeadFile); 6] = [
            |file| file.weights.truncate(1),
            |file| file.cuts.truncate(1),
            |file| file.thresholds.reverse(),
            |file| file.weights[0] = f64::NAN,
            |file| file.scale.levels.truncate(1),
            |file| file.scale.levels[1].grade = 0,
        ];
        for spoil in spoil {
            let mut file = file();
            spoil(&mut file);
            assert!(matches!(OrdinalHead::new(file), Err(ScorerError::BadConfig { .. })));
        }
    }
}
