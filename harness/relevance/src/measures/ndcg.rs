//! Normalized discounted cumulative gain, and three variants of trec_eval's that average it or discount differently.
//!
//! `DCG@k = sum over ranks i <= k of gain(i) / log2(i + 1)`, divided by the DCG of the best possible order.
//! K. Järvelin and J. Kekäläinen: Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS 20, 2002 (linear gain);
//! C. Burges et al.: Learning to Rank Using Gradient Descent, ICML 2005 (gain `2^grade - 1`). With open ties:
//! F. McSherry and M. Najork, ECIR 2008: each document of a tied group stands on each of its ranks equally often.

use super::discount::discount;
use crate::{Grade, JudgedRanking};

/// Grades above this one gain as much as it does under [`Gain::Exponential`]: beyond lies infinity.
const HIGHEST_EXPONENT: Grade = 512;

/// What a document of some grade is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Gain {
    /// The grade itself; nothing for grades below 0.
    #[default]
    Linear,
    /// `2^grade - 1`; nothing for grades below 0.
    Exponential,
    /// A table, as `nDCG(gains={1:3,2:9})` gives it; grades that are not in it keep their linear gain.
    Table(Vec<(Grade, f64)>),
}

impl Gain {
    /// The gain of `grade`.
    pub fn of(&self, grade: Grade) -> f64 {
        match self {
            Self::Linear => f64::from(grade.max(0)),
            Self::Exponential => libm::exp2(f64::from(grade.clamp(0, HIGHEST_EXPONENT))) - 1.0,
            Self::Table(table) => table
                .iter()
                .find(|&&(level, _)| level == grade)
                .map_or_else(|| f64::from(grade.max(0)), |&(_, gain)| gain),
        }
    }

    /// The positive gains of the judged documents, highest first: the best possible order.
    pub(crate) fn ideal(&self, ranking: &JudgedRanking) -> Vec<f64> {
        self.ideal_within(ranking, usize::MAX)
    }

    /// The first `ranks` of [`ideal`](Self::ideal).
    fn ideal_within(&self, ranking: &JudgedRanking, ranks: usize) -> Vec<f64> {
        let gains = ranking.judged().iter().map(|&grade| self.of(grade));
        if !matches!(self, Self::Table(_)) {
            return gains.take(ranks).take_while(|&gain| gain > 0.0).collect(); // judged grades stand highest first
        }
        let mut gains: Vec<f64> = gains.filter(|&gain| gain > 0.0).collect();
        gains.sort_unstable_by(|a, b| b.total_cmp(a));
        gains.truncate(ranks);
        gains
    }
}

/// `nDCG@cutoff`, in 0..=1 (lower where a table gives negative gains); 0 when no judged document has a gain.
pub fn ndcg(ranking: &JudgedRanking, gain: &Gain, cutoff: Option<usize>) -> f64 {
    let cutoff = cutoff.unwrap_or(usize::MAX);
    let ideal = ideal_dcg(&gain.ideal_within(ranking, cutoff));
    if ideal > 0.0 { dcg(ranking, gain, cutoff) / ideal } else { 0.0 }
}

fn dcg(ranking: &JudgedRanking, gain: &Gain, cutoff: usize) -> f64 {
    ranking.weighted_sum(cutoff, |grade| gain.of(grade), |rank| 1.0 / discount(rank))
}

fn ideal_dcg(gains: &[f64]) -> f64 {
    gains.iter().enumerate().map(|(at, gain)| gain / discount(at + 1)).sum()
}

/// trec_eval's `ndcg_rel`: nDCG at the rank of every document with a gain, averaged over all of them; those not
/// retrieved count with the nDCG of the whole ranking. In 0..=1 for gains that are not negative.
pub fn ndcg_at_relevant(ranking: &JudgedRanking, gain: &Gain) -> f64 {
    let ideal = gain.ideal(ranking);
    if ideal.is_empty() {
        return 0.0;
    }
    let ideal_at = cumulated(&ideal);
    let upto = |rank: usize| ideal_at[rank.min(ideal_at.len()) - 1];
    let (mut dcg, mut sum, mut found) = (0.0, 0.0, 0_usize);
    for hit in ranking.hits() {
        let worth = gain.of(hit.grade);
        dcg += worth / discount(hit.rank);
        if worth > 0.0 {
            sum += dcg / upto(hit.rank);
            found += 1;
        }
    }
    sum += ideal.len().saturating_sub(found) as f64 * dcg / upto(usize::MAX);
    sum.max(0.0) / ideal.len() as f64
}

/// DCG of `ideal` down to each rank.
fn cumulated(ideal: &[f64]) -> Vec<f64> {
    let terms = ideal.iter().enumerate().map(|(at, gain)| gain / discount(at + 1));
    terms
        .scan(0.0, |sum, term| {
            *sum += term;
            Some(*sum)
        })
        .collect()
}

/// trec_eval's `Rndcg`: nDCG averaged over the ranks at which the best possible order steps down to a lower gain, and
/// the end of the ranking when that lies at least two ranks beyond the last such step (one rank is too close for
/// trec_eval's loop). 0 when nothing reaches `rel`.
pub fn ndcg_at_levels(ranking: &JudgedRanking, gain: &Gain, rel: Grade) -> f64 {
    let ideal = gain.ideal(ranking);
    if ideal.is_empty() || ranking.relevant(rel) == 0 {
        return 0.0;
    }
    let ideal_at = cumulated(&ideal);
    let mut steps: Vec<usize> = (1..ideal.len()).filter(|&rank| ideal[rank] != ideal[rank - 1]).collect();
    steps.push(ideal.len());
    if ranking.retrieved() > ideal.len() + 1 {
        steps.push(ranking.retrieved());
    }
    let at = |&rank: &usize| dcg(ranking, gain, rank) / ideal_at[rank.min(ideal.len()) - 1];
    steps.iter().map(at).sum::<f64>() / steps.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRADES: [Grade; 6] = [3, 0, 2, 1, 0, 3];

    fn ranking() -> JudgedRanking {
        JudgedRanking::from_grades(&GRADES.map(Some), &GRADES)
    }

    #[test]
    fn linear_and_exponential_gain_on_the_worked_example() {
        assert!((ndcg(&ranking(), &Gain::Linear, None) - 0.8696651926).abs() < 1e-10);
        assert!((ndcg(&ranking(), &Gain::Exponential, None) - 0.8559203315).abs() < 1e-10);
    }

    #[test]
    fn the_ideal_stops_at_the_cutoff_too() {
        let at_two = (3.0 / 1.0) / (3.0 + 3.0 / libm::log2(3.0));
        assert!((ndcg(&ranking(), &Gain::Linear, Some(2)) - at_two).abs() < 1e-15);
    }

    #[test]
    fn a_table_overrides_some_grades_and_may_turn_them_round() {
        let table = Gain::Table(vec![(1, 10.0), (3, 0.0)]);
        assert_eq!([0, 1, 2, 3].map(|grade| table.of(grade)), [0.0, 10.0, 2.0, 0.0]);
        assert_eq!(table.ideal(&ranking()), [10.0, 2.0]);
    }

    #[test]
    fn huge_grades_do_not_overflow() {
        let ranking =
            JudgedRanking::from_grades(&[Some(Grade::MAX), None, Some(Grade::MAX)], &[Grade::MAX; 2]);
        let value = ndcg(&ranking, &Gain::Exponential, Some(10));
        assert!(value > 0.9 && value < 1.0);
    }

    #[test]
    fn nothing_to_gain_is_zero() {
        let ranking = JudgedRanking::from_grades(&[Some(0), Some(-1)], &[0, -1]);
        assert_eq!(ndcg(&ranking, &Gain::Linear, None), 0.0);
        assert_eq!(ndcg_at_relevant(&ranking, &Gain::Linear), 0.0);
        assert_eq!(ndcg_at_levels(&ranking, &Gain::Linear, 1), 0.0);
    }
}
