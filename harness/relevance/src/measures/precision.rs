//! Precision at a cut-off, and the same relative to the best that could be had.
//!
//! `P@k` is the share of relevant documents among the first `k` ranks; ranks beyond the end of the ranking count as
//! not relevant. `RelP@k` divides by `min(k, R)` instead of `k`, where `R` is the number of relevant documents.
//! C. J. van Rijsbergen: Information Retrieval, 2nd edition, Butterworths 1979.

use crate::{Grade, JudgedRanking};

/// `P(rel)@cutoff`, in 0..=1.
pub fn precision(ranking: &JudgedRanking, rel: Grade, cutoff: usize) -> f64 {
    ranking.relevant_within(cutoff, rel) / cutoff.max(1) as f64
}

/// `RelP(rel)@cutoff`, in 0..=1; 0 when nothing is relevant.
pub fn relative_precision(ranking: &JudgedRanking, rel: Grade, cutoff: usize) -> f64 {
    let best = cutoff.min(ranking.relevant(rel)).max(1);
    ranking.relevant_within(cutoff, rel) / best as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_counts_missing_ranks_as_not_relevant() {
        let ranking = JudgedRanking::from_grades(&[Some(1), None, Some(2)], &[1, 2, 1]);
        assert_eq!(precision(&ranking, 1, 2), 0.5);
        assert_eq!(precision(&ranking, 2, 3), 1.0 / 3.0);
        assert_eq!(precision(&ranking, 1, 5), 0.4);
        assert_eq!(relative_precision(&ranking, 1, 5), 2.0 / 3.0);
    }
}
