//! Average precision: the precision at the rank of each relevant document, averaged over all relevant documents.
//!
//! `AP = 1/R * sum over relevant ranks i of P@i`; documents that were not retrieved add 0.
//! C. Buckley and E. Voorhees: Retrieval System Evaluation, in: TREC, Experiment and Evaluation in Information
//! Retrieval, MIT Press 2005. With open ties: F. McSherry and M. Najork: Computing Information Retrieval Performance
//! Measures Efficiently in the Presence of Tied Scores, ECIR 2008.

use crate::{Grade, JudgedRanking};

/// `AP(rel)@cutoff`, in 0..=1; 0 when nothing is relevant.
pub fn average_precision(ranking: &JudgedRanking, rel: Grade, cutoff: Option<usize>) -> f64 {
    let cutoff = cutoff.unwrap_or(usize::MAX);
    let mut before = 0.0; // relevant documents of the groups above
    let mut sum = 0.0;
    for group in ranking.groups().take_while(|group| group.first <= cutoff) {
        let relevant = group.relevant(rel) as f64;
        if relevant == 0.0 {
            continue;
        }
        let size = group.size as f64;
        // A relevant document on a given place has on each of the group's other places, above it or below, another
        // relevant one with this probability.
        let another = if group.size > 1 { (relevant - 1.0) / (size - 1.0) } else { 0.0 };
        for place in 0..group.size.min(cutoff - group.first + 1) {
            let rank = (group.first + place) as f64;
            sum += relevant / size * (before + 1.0 + place as f64 * another) / rank;
        }
        before += relevant;
    }
    sum / ranking.relevant(rel).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_averaged_over_all_relevant_documents() {
        // Relevant on ranks 1 and 3, a third one never retrieved: (1/1 + 2/3 + 0) / 3.
        let ranking = JudgedRanking::from_grades(&[Some(1), Some(0), Some(2)], &[1, 0, 2, 1]);
        assert!((average_precision(&ranking, 1, None) - 5.0 / 9.0).abs() < 1e-15);
        assert!((average_precision(&ranking, 1, Some(2)) - 1.0 / 3.0).abs() < 1e-15);
        assert!((average_precision(&ranking, 2, None) - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(average_precision(&ranking, 3, None), 0.0);
    }
}
