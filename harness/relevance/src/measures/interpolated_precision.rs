//! Interpolated precision: the best precision at any rank from a given recall on; and its average over recall levels.
//!
//! C. D. Manning, P. Raghavan, H. Schütze: Introduction to Information Retrieval, 2008, section 8.4. A recall level is
//! reached with `round(level * R)` relevant documents, as trec_eval 10 has it (version 9 rounded up from a tenth on).

use crate::{Grade, JudgedRanking};

/// `IPrec(rel)@recall`, in 0..=1; 0 where that recall is not reached.
pub fn interpolated_precision(ranking: &JudgedRanking, rel: Grade, recall: f64) -> f64 {
    let needed = (recall * ranking.relevant(rel) as f64).round();
    let ranks = ranking.hits().iter().filter(|hit| hit.grade >= rel).map(|hit| hit.rank as f64);
    ranks
        .zip(1_usize..)
        .filter(|&(_, found)| found as f64 >= needed)
        .map(|(rank, found)| found as f64 / rank)
        .fold(0.0, f64::max)
}

/// The mean of [`interpolated_precision`] over `recalls`, in 0..=1.
pub fn average_interpolated_precision(ranking: &JudgedRanking, rel: Grade, recalls: &[f64]) -> f64 {
    let sum: f64 = recalls.iter().map(|&recall| interpolated_precision(ranking, rel, recall)).sum();
    sum / recalls.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_precision_may_be_the_better_one() {
        // Precision 1/2 at recall 1/3, 2/3 at recall 2/3; the third relevant document is not retrieved.
        let ranking = JudgedRanking::from_grades(&[Some(0), Some(1), Some(1)], &[0, 1, 1, 1]);
        assert_eq!(interpolated_precision(&ranking, 1, 0.0), 2.0 / 3.0);
        assert_eq!(interpolated_precision(&ranking, 1, 0.3), 2.0 / 3.0);
        assert_eq!(interpolated_precision(&ranking, 1, 1.0), 0.0);
        assert_eq!(average_interpolated_precision(&ranking, 1, &[0.0, 1.0]), 1.0 / 3.0);
    }
}
