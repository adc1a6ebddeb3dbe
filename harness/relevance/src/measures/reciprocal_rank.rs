//! Reciprocal rank: one over the rank of the first relevant document.
//!
//! P. Kantor and E. Voorhees: The TREC-5 Confusion Track, Information Retrieval 2, 2000.

use crate::{Grade, JudgedRanking};

/// `RR(rel)@cutoff`, in 0..=1; 0 when the ranking (down to `cutoff`) holds nothing relevant.
pub fn reciprocal_rank(ranking: &JudgedRanking, rel: Grade, cutoff: Option<usize>) -> f64 {
    let cutoff = cutoff.unwrap_or(usize::MAX);
    let first =
        ranking.groups().map(|group| (group.relevant(rel), group)).find(|&(relevant, _)| relevant > 0);
    let Some((relevant, group)) = first else { return 0.0 };
    let mut none_yet = 1.0;
    let mut sum = 0.0;
    for place in 0..=group.size - relevant {
        let rank = group.first + place;
        if rank > cutoff {
            break;
        }
        let hit = none_yet * relevant as f64 / (group.size - place) as f64;
        sum += hit / rank as f64;
        none_yet -= hit;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_relevant_document_counts() {
        let ranking = JudgedRanking::from_grades(&[Some(0), None, Some(1), Some(2)], &[1, 2, 0]);
        assert_eq!(reciprocal_rank(&ranking, 1, None), 1.0 / 3.0);
        assert_eq!(reciprocal_rank(&ranking, 2, None), 0.25);
        assert_eq!(reciprocal_rank(&ranking, 1, Some(2)), 0.0);
    }
}
