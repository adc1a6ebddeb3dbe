//! Expected reciprocal rank: the reader goes down the ranking and stops at a document with a probability that grows
//! with its grade.
//!
//! `ERR = sum over ranks i of 1/i * s_i * product over j < i of (1 - s_j)`, with `s = (2^grade - 1) / 2^max_rel`.
//! O. Chapelle, D. Metlzer, Y. Zhang, P. Grinspan: Expected Reciprocal Rank for Graded Relevance, CIKM 2009.
//! `max_rel` is the highest grade of the scale; 4 by default, as in TREC's gdeval, and higher grades count as it.

use crate::judged_ranking::Group;
use crate::{Grade, JudgedRanking};

/// `ERR(max_rel)@cutoff`, in 0..=1.
pub fn expected_reciprocal_rank(ranking: &JudgedRanking, max_rel: Grade, cutoff: Option<usize>) -> f64 {
    let cutoff = cutoff.unwrap_or(usize::MAX);
    let mut reading_on = 1.0;
    let mut sum = 0.0;
    for group in ranking.groups().take_while(|group| group.first <= cutoff) {
        if let [hit] = group.hits
            && group.size == 1
        {
            let stop = stop(hit.grade, max_rel);
            sum += reading_on * stop / group.first as f64;
            reading_on *= 1.0 - stop;
            continue;
        }
        let passes: Vec<f64> = group.hits.iter().map(|hit| 1.0 - stop(hit.grade, max_rel)).collect();
        let places = group.size.min(cutoff - group.first + 1);
        let passed = mean_products(&group, &passes, places);
        let stops = passed.windows(2).map(|pair| pair[0] - pair[1]);
        sum += reading_on * stops.zip(group.first..).map(|(stop, rank)| stop / rank as f64).sum::<f64>();
        reading_on *= passes.iter().product::<f64>();
    }
    sum
}

/// The probability to stop at a document of `grade`.
fn stop(grade: Grade, max_rel: Grade) -> f64 {
    if grade <= 0 {
        return 0.0;
    }
    let max = f64::from(max_rel);
    let grade = f64::from(grade.min(max_rel));
    libm::exp2(grade - max) - libm::exp2(-max)
}

/// For m in 0..=places: the mean, over all choices of m documents of the group, of the product of their pass
/// probabilities. Documents without a grade are always passed.
fn mean_products(group: &Group<'_>, passes: &[f64], places: usize) -> Vec<f64> {
    let mut means = vec![1.0; places + 1];
    for (size, &pass) in (1_usize..).zip(passes) {
        // Of `size` documents the last is among a choice of m with probability m / size.
        for m in (1..=places.min(size)).rev() {
            let among = m as f64 / size as f64;
            let without = if m < size { (1.0 - among) * means[m] } else { 0.0 };
            means[m] = without + among * pass * means[m - 1];
        }
    }
    for size in passes.len() + 1..=group.size {
        for m in (1..=places.min(size)).rev() {
            let among = m as f64 / size as f64;
            let without = if m < size { (1.0 - among) * means[m] } else { 0.0 };
            means[m] = without + among * means[m - 1];
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_stops_at_good_documents() {
        // s = 7/8, then 3/8, then 0: 7/8 + 1/2 * 1/8 * 3/8.
        let ranking = JudgedRanking::from_grades(&[Some(3), Some(2), Some(0)], &[3, 2, 0]);
        assert!((expected_reciprocal_rank(&ranking, 3, None) - (0.875 + 0.5 * 0.125 * 0.375)).abs() < 1e-15);
        assert_eq!(expected_reciprocal_rank(&ranking, 3, Some(1)), 0.875);
    }

    #[test]
    fn probabilities_stay_below_one() {
        assert_eq!(stop(9, 3), stop(3, 3));
        assert!(stop(Grade::MAX, Grade::MAX) <= 1.0);
        assert_eq!(stop(-2, 3), 0.0);
    }
}
