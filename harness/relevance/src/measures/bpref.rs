//! Binary preference: how often relevant documents stand above judged documents that are not relevant.
//!
//! `Bpref = 1/R * sum over retrieved relevant documents of 1 - min(n, R) / min(N, R)`, with `n` the judged documents
//! above it that are not relevant and `N` all of those; unjudged ones are passed over. C. Buckley and E. Voorhees:
//! Retrieval Evaluation with Incomplete Information, SIGIR 2004, as corrected in trec_eval.

use crate::{Grade, JudgedRanking};

/// `Bpref(rel)`, in 0..=1; 0 when nothing is relevant.
pub fn bpref(ranking: &JudgedRanking, rel: Grade) -> f64 {
    let all_relevant = ranking.relevant(rel);
    let limit = all_relevant.min(ranking.nonrelevant(rel)).max(1) as f64;
    let mut above = 0;
    let mut sum = 0.0;
    for group in ranking.groups() {
        let relevant = group.relevant(rel);
        let others = group.hits.iter().filter(|hit| hit.grade < rel && hit.grade >= 0).count();
        if relevant > 0 {
            // A relevant document has each number of the group's others above it equally often.
            let worth = |within: usize| 1.0 - (above + within).min(all_relevant) as f64 / limit;
            sum += relevant as f64 * (0..=others).map(worth).sum::<f64>() / (others + 1) as f64;
        }
        above += others;
    }
    sum / all_relevant.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unjudged_documents_are_passed_over() {
        let ranking =
            JudgedRanking::from_grades(&[Some(0), None, Some(1), Some(-1), Some(2)], &[0, 1, -1, 2, 0, 0]);
        // One of min(3, 2) preferences is lost for each of the two relevant documents.
        assert_eq!(bpref(&ranking, 1), 0.5);
        assert_eq!(bpref(&ranking, 3), 0.0);
    }
}
