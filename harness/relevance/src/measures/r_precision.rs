//! R-precision: precision at rank `R`, the number of relevant documents; and at multiples of `R`.
//!
//! C. Buckley and E. Voorhees: Retrieval System Evaluation, in: TREC, Experiment and Evaluation in Information
//! Retrieval, MIT Press 2005. Multiples are trec_eval's `Rprec_mult`, which rounds `multiple * R` up from a tenth on.

use crate::{Grade, JudgedRanking};

/// `Rprec(rel)`, in 0..=1; 0 when nothing is relevant.
pub fn r_precision(ranking: &JudgedRanking, rel: Grade) -> f64 {
    let relevant = ranking.relevant(rel);
    ranking.relevant_within(relevant, rel) / relevant.max(1) as f64
}

/// Precision at rank `floor(multiple * R + 0.9)`, in 0..=1; 0 where that rank is 0.
pub fn r_precision_multiple(ranking: &JudgedRanking, rel: Grade, multiple: f64) -> f64 {
    let cutoff = (multiple * ranking.relevant(rel) as f64 + 0.9) as usize;
    ranking.relevant_within(cutoff, rel) / cutoff.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cutoff_is_the_number_of_relevant_documents() {
        let ranking = JudgedRanking::from_grades(&[Some(1), None, Some(2)], &[1, 2]);
        assert_eq!(r_precision(&ranking, 1), 0.5);
        assert_eq!(r_precision_multiple(&ranking, 1, 2.0), 0.5);
        assert_eq!(r_precision_multiple(&ranking, 1, 1.2), 2.0 / 3.0);
        assert_eq!(r_precision(&ranking, 3), 0.0);
    }
}
