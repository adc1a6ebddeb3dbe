//! Counts of documents. Over several queries they are summed, not averaged.

use crate::{Grade, JudgedRanking};

/// `NumRet`: documents retrieved.
pub fn retrieved(ranking: &JudgedRanking) -> f64 {
    ranking.retrieved() as f64
}

/// `NumRel(rel)`: documents there are to find.
pub fn relevant(ranking: &JudgedRanking, rel: Grade) -> f64 {
    ranking.relevant(rel) as f64
}

/// `NumRelRet(rel)`: documents found.
pub fn relevant_retrieved(ranking: &JudgedRanking, rel: Grade) -> f64 {
    ranking.relevant_retrieved(rel) as f64
}

/// `NumNonRelJudgedRet(rel)`: documents retrieved that somebody judged not relevant (grades from 0 to below `rel`).
pub fn nonrelevant_judged_retrieved(ranking: &JudgedRanking, rel: Grade) -> f64 {
    ranking.hits().iter().filter(|hit| hit.grade >= 0 && hit.grade < rel).count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_counted() {
        let ranking = JudgedRanking::from_grades(&[Some(0), Some(1), None, Some(-1)], &[0, 1, 2, -1]);
        assert_eq!(retrieved(&ranking), 4.0);
        assert_eq!(relevant(&ranking, 1), 2.0);
        assert_eq!(relevant_retrieved(&ranking, 1), 1.0);
        assert_eq!(nonrelevant_judged_retrieved(&ranking, 1), 1.0);
        assert_eq!(nonrelevant_judged_retrieved(&ranking, 2), 2.0);
    }
}
