//! Recall at a cut-off: the share of all relevant documents that the first `k` ranks hold.
//!
//! C. J. van Rijsbergen: Information Retrieval, 2nd edition, Butterworths 1979. Some fields call "at least one relevant
//! document" recall; that is [`success`](super::success).

use crate::{Grade, JudgedRanking};

/// `R(rel)@cutoff`, in 0..=1; 0 when nothing is relevant.
pub fn recall(ranking: &JudgedRanking, rel: Grade, cutoff: usize) -> f64 {
    ranking.relevant_within(cutoff, rel) / ranking.relevant(rel).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_counts_what_was_to_be_found() {
        let ranking = JudgedRanking::from_grades(&[Some(1), None, Some(2)], &[1, 2, 1, 0]);
        assert_eq!(recall(&ranking, 1, 1), 1.0 / 3.0);
        assert_eq!(recall(&ranking, 1, 10), 2.0 / 3.0);
        assert_eq!(recall(&ranking, 3, 10), 0.0);
    }
}
