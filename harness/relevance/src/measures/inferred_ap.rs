//! Inferred average precision, for judgments that are a random sample of a pool.
//!
//! E. Yilmaz and J. Aslam: Estimating Average Precision with Incomplete and Imperfect Judgments, CIKM 2006. A negative
//! grade says "in the pool, not judged"; no grade says "not in the pool".

use crate::{Grade, JudgedRanking};

/// trec_eval's smoothing constant.
const EPSILON: f64 = 0.00001;

/// `infAP(rel)`, in 0..=1 up to the smoothing; 0 when nothing is relevant.
pub fn inferred_ap(ranking: &JudgedRanking, rel: Grade) -> f64 {
    let (mut relevant, mut others, mut pooled) = (0.0, 0.0, 0.0);
    let mut sum = 0.0;
    for hit in ranking.hits() {
        if hit.grade >= rel {
            let above = (hit.rank - 1) as f64;
            let precision_above = (relevant + EPSILON) / (relevant + others + 2.0 * EPSILON);
            sum += (1.0 + (relevant + others + pooled) * precision_above) / (above + 1.0);
            relevant += 1.0;
        } else if hit.grade < 0 {
            pooled += 1.0;
        } else {
            others += 1.0;
        }
    }
    sum / ranking.relevant(rel).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::average_precision::average_precision;

    #[test]
    fn with_everything_judged_it_is_average_precision() {
        let grades = [1, 0, 2, 0, 1];
        let ranking = JudgedRanking::from_grades(&grades.map(Some), &grades);
        assert!((inferred_ap(&ranking, 1) - average_precision(&ranking, 1, None)).abs() < 1e-4);
    }

    #[test]
    fn sampled_out_documents_are_assumed_alike() {
        let sampled = JudgedRanking::from_grades(&[Some(1), Some(-1), Some(1)], &[1, -1, 1]);
        assert!((inferred_ap(&sampled, 1) - 1.0).abs() < 1e-4);
    }
}
