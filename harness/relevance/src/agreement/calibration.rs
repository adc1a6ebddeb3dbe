//! Do probabilities mean what they say, and how do scores spread over the grades that people gave?
//!
//! A reliability diagram (Murphy and Winkler 1977) sorts predictions into bins by their probability and puts the share
//! that came true beside the mean probability of each bin. The expected calibration error is the mean distance of the
//! two, weighted by count (Naeini, Cooper and Hauskrecht 2015); Brier's score (1950) is the mean squared distance of each
//! probability from what happened. Sums run in the order of the predictions.

use serde::Serialize;

use crate::Grade;
use crate::undefined::Undefined;

/// Predictions with a probability from `lower` up to, but without, `upper` (with it, in the last bin).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The lowest probability of the bin.
    pub lower: f64,
    /// Where the next bin begins.
    pub upper: f64,
    /// How many predictions fell into it.
    pub count: u64,
    /// Their mean probability; `None` for an empty bin.
    pub predicted: Option<f64>,
    /// The share of them that came true; `None` for an empty bin.
    pub observed: Option<f64>,
}

/// A reliability diagram and its two usual summaries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reliability {
    /// Bins of equal width from 0 to 1.
    pub bins: Vec<Bin>,
    /// The mean distance of predicted and observed over the bins, weighted by count; between 0 and 1.
    pub expected_calibration_error: f64,
    /// The mean of (probability - outcome)^2; between 0 and 1.
    pub brier: f64,
}

/// The reliability of `predictions`, each a probability and whether what it speaks of came true, over `bins` bins.
/// Probabilities outside 0 to 1 count as the nearest of the two.
///
/// # Errors
/// [`Undefined::NoPairs`] for no predictions or no bins.
pub fn reliability(predictions: &[(f64, bool)], bins: usize) -> Result<Reliability, Undefined> {
    if predictions.is_empty() || bins == 0 {
        return Err(Undefined::NoPairs);
    }
    let mut sums = vec![(0_u64, 0.0, 0_u64); bins];
    let mut squares = 0.0;
    for &(probability, came_true) in predictions {
        let probability = probability.clamp(0.0, 1.0);
        let outcome = f64::from(u8::from(came_true));
        squares += (probability - outcome) * (probability - outcome);
        let (count, sum, hits) = &mut sums[position(probability, 0.0, 1.0, bins)];
        (*count, *sum, *hits) = (*count + 1, *sum + probability, *hits + u64::from(came_true));
    }
    let bin = |(at, &(count, sum, hits)): (usize, &(u64, f64, u64))| Bin {
        lower: at as f64 / bins as f64,
        upper: (at + 1) as f64 / bins as f64,
        count,
        predicted: (count > 0).then(|| sum / count as f64),
        observed: (count > 0).then(|| hits as f64 / count as f64),
    };
    let n = predictions.len() as f64;
    let far = sums.iter().fold(0.0, |far, &(_, sum, hits)| far + (sum - hits as f64).abs());
    Ok(Reliability {
        bins: sums.iter().enumerate().map(bin).collect(),
        expected_calibration_error: far / n,
        brier: squares / n,
    })
}

/// How often each human grade met each range of scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreHistogram {
    /// The lowest score.
    pub lowest: f64,
    /// The highest score; bins of equal width lie between the two.
    pub highest: f64,
    /// The grades that occur, lowest first.
    pub grades: Vec<Grade>,
    /// A row a grade, a count a bin.
    pub counts: Vec<Vec<u64>>,
}

/// Counts `rated`, each a grade and a finite score, in `bins` bins between the lowest and the highest score.
///
/// # Errors
/// [`Undefined::NoPairs`] for nothing to count or no bins.
pub fn score_histogram(rated: &[(Grade, f64)], bins: usize) -> Result<ScoreHistogram, Undefined> {
    if rated.is_empty() || bins == 0 {
        return Err(Undefined::NoPairs);
    }
    let grades = super::confusion::observed(rated.iter().map(|&(grade, _)| grade));
    let lowest = rated.iter().fold(f64::INFINITY, |lowest, &(_, score)| lowest.min(score));
    let highest = rated.iter().fold(f64::NEG_INFINITY, |highest, &(_, score)| highest.max(score));
    let mut counts = vec![vec![0; bins]; grades.len()];
    for &(grade, score) in rated {
        let row = grades.binary_search(&grade).unwrap_or_default();
        counts[row][position(score, lowest, highest, bins)] += 1;
    }
    Ok(ScoreHistogram { lowest, highest, grades, counts })
}

/// The bin of `value` among `bins` of equal width from `lowest` to `highest`.
fn position(value: f64, lowest: f64, highest: f64, bins: usize) -> usize {
    if highest <= lowest {
        return 0;
    }
    (((value - lowest) / (highest - lowest) * bins as f64) as usize).min(bins - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reliability_by_hand() {
        let found =
            reliability(&[(0.1, false), (0.3, true), (0.5, false), (0.9, true), (1.0, true)], 2).unwrap();
        let [low, high] = found.bins[..] else { panic!("{found:?}") };
        assert_eq!((low.lower, low.upper, low.count), (0.0, 0.5, 2));
        assert_eq!((low.predicted, low.observed), (Some(0.2), Some(0.5)));
        // 0.5 begins the upper bin, 1 ends it.
        assert_eq!((high.count, high.observed), (3, Some(2.0 / 3.0)));
        assert!((high.predicted.unwrap() - 0.8).abs() < 1e-15);
        // (|0.4 - 1| + |2.4 - 2|) / 5, (0.01 + 0.49 + 0.25 + 0.01 + 0) / 5
        assert!((found.expected_calibration_error - 0.2).abs() < 1e-15);
        assert!((found.brier - 0.152).abs() < 1e-15);
    }

    #[test]
    fn an_empty_bin_has_no_mean_and_nothing_has_no_reliability() {
        let found = reliability(&[(0.0, false)], 4).unwrap();
        assert_eq!(found.bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [1, 0, 0, 0]);
        assert_eq!((found.bins[3].predicted, found.bins[3].observed), (None, None));
        assert_eq!(reliability(&[], 4), Err(Undefined::NoPairs));
        assert_eq!(reliability(&[(0.5, true)], 0), Err(Undefined::NoPairs));
    }

    #[test]
    fn histogram_by_hand() {
        let found = score_histogram(&[(3, 1.0), (0, 0.0), (0, 0.24), (3, 0.25), (1, 0.5)], 4).unwrap();
        assert_eq!((found.lowest, found.highest, found.grades.as_slice()), (0.0, 1.0, &[0, 1, 3][..]));
        assert_eq!(found.counts, [[2, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1]]);
        // All scores alike: one bin holds them.
        assert_eq!(score_histogram(&[(1, 7.0), (1, 7.0)], 3).unwrap().counts, [[2, 0, 0]]);
    }
}
