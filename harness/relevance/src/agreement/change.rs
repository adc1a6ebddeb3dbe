//! Did a labeller change for the better? The change of every statistic between two predictions of the same human
//! grades, with its interval.
//!
//! Both predictions see the same resamples of queries, so what makes a query hard for both cancels out, as it does for
//! paired scores. A query's pairs count as two sets of patterns, one per prediction; a resample tallies both.

use super::confusion::{Confusion, observed};
use super::report::{RatedPair, Statistic, TWO_RATERS, TwoRaters};
use crate::Grade;
use crate::resampling::{Bootstrap, Clusters, Estimate};
use crate::undefined::Undefined;

/// The statistics of `system` less those of `baseline`. Query numbers mean the same queries on both sides.
pub fn changes(
    baseline: &[RatedPair],
    system: &[RatedPair],
    bootstrap: &Bootstrap,
) -> Vec<(Statistic, Estimate)> {
    let grades = observed(baseline.iter().chain(system).flat_map(|pair| [pair.human, pair.predicted]));
    let (before, cells_before) = Confusion::tabulate(grades.clone(), &sides(baseline));
    let (after, cells_after) = Confusion::tabulate(grades, &sides(system));
    let split = before.cells.len();
    let queries: Vec<u32> = baseline.iter().chain(system).map(|pair| pair.query).collect();
    let patterns: Vec<u32> =
        cells_before.into_iter().chain(cells_after.into_iter().map(|cell| cell + split as u32)).collect();
    let clusters = Clusters::new(&queries, &patterns, split + after.cells.len());
    let all: Vec<u64> = before.counts.iter().chain(&after.counts).copied().collect();
    let (before, after) = (TwoRaters::new(before), TwoRaters::new(after));
    let differences = |counts: &[u64]| {
        let table =
            |two: &TwoRaters, counts: &[u64]| Confusion { counts: counts.to_vec(), ..two.confusion.clone() };
        let (old, new) = (table(&before, &counts[..split]), table(&after, &counts[split..]));
        TWO_RATERS.map(|statistic| Ok(after.evaluate(statistic, &new)? - before.evaluate(statistic, &old)?))
    };
    let values: [Result<f64, Undefined>; TWO_RATERS.len()] = differences(&all);
    let intervals = bootstrap.intervals(&clusters, &values, |counts, out| {
        out.iter_mut().zip(differences(counts)).for_each(|(out, value)| *out = value.unwrap_or(f64::NAN));
    });
    let estimates = values.into_iter().zip(intervals).map(|(value, interval)| Estimate { value, interval });
    TWO_RATERS.into_iter().zip(estimates).collect()
}

fn sides(pairs: &[RatedPair]) -> Vec<(Grade, Grade)> {
    pairs.iter().map(|pair| (pair.human, pair.predicted)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::agreement::Report;

    /// 40 queries of five pairs; every `nth` prediction is one grade off.
    fn labelled(nth: usize) -> Vec<RatedPair> {
        let pair = |at: usize| {
            let human = (at * 7 % 4) as Grade;
            let off = if at.is_multiple_of(nth) { 1 } else { 0 };
            RatedPair { query: (at / 5) as u32, human, predicted: (human + off) % 4 }
        };
        (0..200).map(pair).collect()
    }

    fn of(changes: &[(Statistic, Estimate)], wanted: Statistic) -> Estimate {
        changes.iter().find(|(statistic, _)| *statistic == wanted).unwrap().1
    }

    #[test]
    fn a_change_is_the_difference_of_two_reports() {
        let (before, after) = (labelled(9), labelled(3));
        let bootstrap = Bootstrap::default();
        let found = changes(&before, &after, &bootstrap);
        let (old, new) = (Report::of(&before, &bootstrap), Report::of(&after, &bootstrap));
        for (statistic, estimate) in &found {
            let expected =
                new.get(*statistic).unwrap().value.unwrap() - old.get(*statistic).unwrap().value.unwrap();
            assert_eq!(estimate.value, Ok(expected), "{statistic}");
        }
        let kappa = of(&found, Statistic::CohenKappaQuadratic).interval.unwrap();
        assert!(kappa.upper < 0.0, "a labeller that errs three times as often is worse: {kappa:?}");
    }

    #[test]
    fn the_same_predictions_change_nothing() {
        let pairs = labelled(5);
        for (statistic, estimate) in changes(&pairs, &pairs, &Bootstrap::default()) {
            let interval = estimate.interval.unwrap();
            assert_eq!((estimate.value, interval.lower, interval.upper), (Ok(0.0), 0.0, 0.0), "{statistic}");
        }
    }
}
