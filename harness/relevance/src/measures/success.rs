//! Success at a cut-off (hit rate): whether the first `k` ranks hold a relevant document at all.

use crate::{Grade, JudgedRanking};

/// `Success(rel)@cutoff`: 0 or 1, or the probability of 1 where the order of ties is open.
pub fn success(ranking: &JudgedRanking, rel: Grade, cutoff: usize) -> f64 {
    let mut none = 1.0;
    for group in ranking.groups().take_while(|group| group.first <= cutoff) {
        let relevant = group.relevant(rel);
        let places = group.size.min(cutoff - group.first + 1);
        none *= none_within(group.size, relevant, places);
    }
    1.0 - none
}

/// The probability that `places` of `size` places, drawn without replacement, hold none of `relevant` documents.
fn none_within(size: usize, relevant: usize, places: usize) -> f64 {
    (0..places).map(|drawn| (size - relevant).saturating_sub(drawn) as f64 / (size - drawn) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_relevant_document_is_enough() {
        let ranking = JudgedRanking::from_grades(&[Some(0), None, Some(2), Some(1)], &[1, 2, 0]);
        assert_eq!(success(&ranking, 1, 2), 0.0);
        assert_eq!(success(&ranking, 1, 3), 1.0);
        assert_eq!(success(&ranking, 3, 4), 0.0);
    }
}
