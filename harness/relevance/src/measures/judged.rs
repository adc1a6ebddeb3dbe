//! How much of the top of a ranking is judged. Not a measure of quality: it says how far the others can be trusted.
//!
//! `Judged@k` (ir_measures) divides by the ranks there are, and a negative grade is a judgment. `Unjudged@k`
//! (trec_eval's `unj`) divides by `k`, and a negative grade is none.

use crate::JudgedRanking;

/// `Judged@cutoff`, in 0..=1; 0 for an empty ranking.
pub fn judged(ranking: &JudgedRanking, cutoff: Option<usize>) -> f64 {
    let ranks = ranking.retrieved().min(cutoff.unwrap_or(usize::MAX));
    ranking.weighted_sum(ranks, |_| 1.0, |_| 1.0) / ranks.max(1) as f64
}

/// `Unjudged@cutoff`, in 0..=1.
pub fn unjudged(ranking: &JudgedRanking, cutoff: usize) -> f64 {
    let ranks = ranking.retrieved().min(cutoff) as f64;
    let judged = ranking.weighted_sum(cutoff, |grade| f64::from(u8::from(grade >= 0)), |_| 1.0);
    (ranks - judged).max(0.0) / cutoff.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_conventions_differ_on_short_rankings_and_negative_grades() {
        let ranking = JudgedRanking::from_grades(&[Some(0), None, Some(-1), None], &[0, -1]);
        assert_eq!(judged(&ranking, Some(10)), 0.5);
        assert_eq!(unjudged(&ranking, 10), 0.3);
        assert_eq!(judged(&ranking, Some(3)), 2.0 / 3.0);
        assert_eq!(judged(&ranking, None), 0.5);
    }
}
