//! Rank-biased precision: a reader goes on to the next rank with probability `p`; and how much of that reading is
//! spent on documents nobody judged.
//!
//! `RBP = (1 - p) * sum over ranks i of p^(i-1) * gain_i`. A. Moffat and J. Zobel: Rank-Biased Precision for
//! Measurement of Retrieval Effectiveness, ACM TOIS 27, 2008. With `rel` the gain is 0 or 1; without, it is the grade
//! over the query's highest grade (the grade itself while that is at most 1), as trec_eval's `rbp` has it.

use crate::{Grade, JudgedRanking};

/// `RBP(p, rel)@cutoff`, in 0..=1.
pub fn rank_biased_precision(
    ranking: &JudgedRanking,
    p: f64,
    rel: Option<Grade>,
    cutoff: Option<usize>,
) -> f64 {
    let highest = f64::from(ranking.judged().first().copied().unwrap_or(1).max(1));
    let gain = |grade: Grade| match rel {
        Some(rel) => f64::from(u8::from(grade >= rel)),
        None => f64::from(grade.max(0)) / highest,
    };
    (1.0 - p)
        * ranking.weighted_sum(cutoff.unwrap_or(usize::MAX), gain, |rank| libm::pow(p, (rank - 1) as f64))
}

/// trec_eval's `rbp_resid`: what [`rank_biased_precision`] could rise by if every unjudged document (those the ranking
/// does not reach among them) were worth 1. 0 when every retrieved document is judged.
pub fn rank_biased_precision_residual(ranking: &JudgedRanking, p: f64) -> f64 {
    let judged = |grade: Grade| f64::from(u8::from(grade >= 0));
    let known = ranking.hits().iter().filter(|hit| hit.grade >= 0).count();
    if known == ranking.retrieved() {
        return 0.0;
    }
    let weight_of_judged = ranking.weighted_sum(usize::MAX, judged, |rank| libm::pow(p, (rank - 1) as f64));
    (1.0 - (1.0 - p) * weight_of_judged).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistence_weighs_the_ranks() {
        let ranking = JudgedRanking::from_grades(&[Some(2), None, Some(1)], &[2, 1]);
        assert!((rank_biased_precision(&ranking, 0.5, Some(1), None) - 0.5 * (1.0 + 0.25)).abs() < 1e-15);
        assert!((rank_biased_precision(&ranking, 0.5, None, None) - 0.5 * (1.0 + 0.25 / 2.0)).abs() < 1e-15);
        assert_eq!(rank_biased_precision(&ranking, 0.5, Some(1), Some(1)), 0.5);
    }

    #[test]
    fn the_residual_is_the_weight_of_the_unjudged() {
        let ranking = JudgedRanking::from_grades(&[Some(2), None, Some(-1)], &[2, -1]);
        assert_eq!(rank_biased_precision_residual(&ranking, 0.5), 0.5);
        let judged = JudgedRanking::from_grades(&[Some(2), Some(0)], &[2, 0]);
        assert_eq!(rank_biased_precision_residual(&judged, 0.5), 0.0);
    }
}
