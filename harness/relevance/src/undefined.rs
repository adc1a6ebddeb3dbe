//! Why a statistic has no value: a named state where others hand back NaN.

use serde::Serialize;

/// The reason a statistic is undefined for the data it was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Undefined {
    /// Nothing to compare: no pair, no query, or no unit that two raters graded.
    #[error("there are no pairs to compare")]
    NoPairs,
    /// One pair (or one query, or one system) where the statistic needs two.
    #[error("one pair is not enough, two are needed")]
    OnePair,
    /// Two pairs where the statistic needs three.
    #[error("two pairs are not enough, three are needed")]
    TwoPairs,
    /// Every grade is the same, so agreement by chance is already total.
    #[error("all grades are the same: agreement by chance is already total")]
    OneCategory,
    /// One of the two sides is constant, so nothing can vary with it.
    #[error("one side is constant: its variance is zero")]
    ConstantSide,
    /// The paired differences are all equal, so their spread is zero.
    #[error("the differences are all equal: their variance is zero")]
    ConstantDifferences,
    /// Every paired difference is zero, so no difference has a sign.
    #[error("every difference is zero")]
    NoDifferences,
    /// The grade was never predicted, so its precision divides by zero.
    #[error("the grade was never predicted")]
    NeverPredicted,
    /// The grade never occurs among the human grades, so its recall divides by zero.
    #[error("the grade never occurs among the human grades")]
    NeverHuman,
    /// The ratio metric compares sizes from a true zero; negative grades have none.
    #[error("the ratio metric needs grades of zero or more")]
    NegativeGrade,
    /// Fleiss' kappa needs the same number of ratings for every unit.
    #[error("the units do not all have the same number of ratings")]
    UnequalRatings,
    /// Two series that should be paired have different lengths.
    #[error("the two series differ in length")]
    UnequalLengths,
    /// A value is NaN or infinite.
    #[error("a value is not a finite number")]
    NotFinite,
    /// An interval resamples queries, and there are fewer than two.
    #[error("fewer than two queries: nothing to resample")]
    OneCluster,
    /// The statistic was undefined in every resample.
    #[error("the statistic was undefined in every resample")]
    NoResample,
    /// The BCa correction needs resamples on both sides of the estimate.
    #[error("all resamples lie on one side of the estimate: the BCa correction is infinite")]
    OneSided,
    /// The interval was left out because the observed grades are too many.
    #[error("too many distinct grades for an interval per grade")]
    TooManyGrades,
}
