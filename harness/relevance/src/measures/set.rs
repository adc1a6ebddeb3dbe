//! Measures of the retrieved documents as a set, whatever their order.
//!
//! C. J. van Rijsbergen: Information Retrieval, 2nd edition, Butterworths 1979. `SetF(beta)` is trec_eval's
//! `(beta + 1) P R / (R + beta P)`: its parameter is what textbooks write as beta squared.

use crate::{Grade, JudgedRanking};

/// `SetP(rel)`, in 0..=1.
pub fn set_precision(ranking: &JudgedRanking, rel: Grade) -> f64 {
    ranking.relevant_retrieved(rel) as f64 / ranking.retrieved().max(1) as f64
}

/// `SetRelP(rel)`: precision over the best that a set of this size could have; in 0..=1.
pub fn set_relative_precision(ranking: &JudgedRanking, rel: Grade) -> f64 {
    let best = ranking.retrieved().min(ranking.relevant(rel));
    ranking.relevant_retrieved(rel) as f64 / best.max(1) as f64
}

/// `SetR(rel)`, in 0..=1.
pub fn set_recall(ranking: &JudgedRanking, rel: Grade) -> f64 {
    ranking.relevant_retrieved(rel) as f64 / ranking.relevant(rel).max(1) as f64
}

/// `SetF(beta, rel)`, in 0..=1; `SetF` alone is F1.
pub fn set_f(ranking: &JudgedRanking, rel: Grade, beta: f64) -> f64 {
    let (precision, recall) = (set_precision(ranking, rel), set_recall(ranking, rel));
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (beta + 1.0) * precision * recall / (recall + beta * precision)
}

/// `SetAP(rel)`: precision times recall, in 0..=1.
pub fn set_average_precision(ranking: &JudgedRanking, rel: Grade) -> f64 {
    set_precision(ranking, rel) * set_recall(ranking, rel)
}

/// trec_eval's `utility`: a weighted count of relevant retrieved, other retrieved, relevant missed and other missed
/// documents. The last are unknown without the size of the collection; as in trec_eval, it is taken to be 0.
pub fn utility(ranking: &JudgedRanking, rel: Grade, weights: [f64; 4]) -> f64 {
    let hits = ranking.relevant_retrieved(rel) as f64;
    let (retrieved, relevant) = (ranking.retrieved() as f64, ranking.relevant(rel) as f64);
    let counts = [hits, retrieved - hits, relevant - hits, hits - retrieved - relevant];
    weights.iter().zip(counts).map(|(weight, count)| weight * count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter() {
        let ranking = JudgedRanking::from_grades(&[Some(0), Some(1), None, Some(2)], &[0, 1, 2, 1, 1]);
        assert_eq!(set_precision(&ranking, 1), 0.5);
        assert_eq!(set_recall(&ranking, 1), 0.5);
        assert_eq!(set_f(&ranking, 1, 1.0), 0.5);
        assert_eq!(set_average_precision(&ranking, 1), 0.25);
        assert_eq!(set_relative_precision(&ranking, 2), 1.0);
        assert_eq!(utility(&ranking, 1, [1.0, -1.0, 0.0, 0.0]), 0.0);
        assert_eq!(utility(&ranking, 1, [2.0, -1.0, 0.5, 1.0]), 4.0 - 2.0 + 1.0 - 6.0);
    }

    #[test]
    fn f_leans_towards_recall_as_beta_grows() {
        let ranking = JudgedRanking::from_grades(&[Some(1), Some(0)], &[1, 0]);
        assert!((set_f(&ranking, 1, 3.0) - 4.0 * 0.5 / (1.0 + 1.5)).abs() < 1e-15);
    }
}
