//! trec_eval's experimental `G` and `binG`, which discount a document by what was lost above it rather than by rank.
//!
//! Defined in trec_eval itself (C. Buckley, 2008; no paper). `binG`: the mean over all relevant documents of
//! `1 / log2(2 + documents above it that are not relevant)`. `G`: the sum of `gain / log2(2 + cost - gained)`, where
//! `gained` counts down to the document itself and `cost` is what the best possible order would have gained by there,
//! at least 1 a rank; normalized by the sum of all gains.

use super::ndcg::Gain;
use crate::{Grade, JudgedRanking};

/// `BinG(rel)`, in 0..=1; 0 when nothing is relevant.
pub fn binary_g(ranking: &JudgedRanking, rel: Grade) -> f64 {
    let mut relevant_above = 0;
    let mut sum = 0.0;
    for group in ranking.groups() {
        let relevant = group.relevant(rel);
        let others_above = group.first - 1 - relevant_above;
        let others = group.size - relevant;
        if relevant > 0 {
            // A relevant document has each number of the group's other documents above it equally often.
            let worth = |within: usize| 1.0 / libm::log2((2 + others_above + within) as f64);
            sum += relevant as f64 * (0..=others).map(worth).sum::<f64>() / (others + 1) as f64;
        }
        relevant_above += relevant;
    }
    sum / ranking.relevant(rel).max(1) as f64
}

/// `G`, at least 0 for gains that are not negative; 0 when no judged document has a gain.
pub fn g(ranking: &JudgedRanking, gain: &Gain) -> f64 {
    let ideal = gain.ideal(ranking);
    let best: f64 = ideal.iter().sum();
    if best <= 0.0 {
        return 0.0;
    }
    let costs: Vec<f64> = ideal
        .iter()
        .scan(0.0, |cost, gain| {
            *cost += gain.max(1.0);
            Some(*cost)
        })
        .collect();
    let cost = |rank: usize| match costs.get(rank - 1) {
        Some(&cost) => cost,
        None => costs[costs.len() - 1] + (rank - costs.len()) as f64,
    };
    let (mut gained, mut sum) = (0.0, 0.0);
    for hit in ranking.hits() {
        let worth = gain.of(hit.grade);
        gained += worth;
        if worth != 0.0 {
            sum += worth / libm::log2((2.0 + cost(hit.rank) - gained).max(2.0));
        }
    }
    sum / best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documents_that_are_not_relevant_cost() {
        let ranking = JudgedRanking::from_grades(&[Some(1), None, Some(0), Some(1)], &[1, 1, 0]);
        assert_eq!(binary_g(&ranking, 1), (1.0 + 0.5) / 2.0);
        assert!((g(&ranking, &Gain::Linear) - (1.0 + 0.5) / 2.0).abs() < 1e-15);
    }

    #[test]
    fn the_best_order_is_worth_one() {
        let ranking = JudgedRanking::from_grades(&[Some(3), Some(1)], &[3, 1]);
        assert_eq!(g(&ranking, &Gain::Linear), 1.0);
        assert_eq!(binary_g(&ranking, 1), 1.0);
    }
}
