//! Fleiss' kappa: nominal agreement of a fixed number of ratings per unit (Fleiss 1971, "Measuring nominal scale
//! agreement among many raters", Psychological Bulletin 76).
//!
//! `kappa = (P - P_e) / (1 - P_e)`, with `P` the share of rater pairs within a unit that agree, averaged over units,
//! and `P_e = sum_c p_c^2` from the overall shares of the grades. For two raters this is Scott's pi.

use super::rated_units::RatedUnits;
use crate::RatingTable;
use crate::undefined::Undefined;

/// Fleiss' kappa of `table`: 1 is perfect agreement, 0 what chance gives.
///
/// # Errors
/// [`Undefined::NoPairs`] when units have fewer than two ratings, [`Undefined::UnequalRatings`] when they have different
/// numbers of them, [`Undefined::OneCategory`] when all ratings are equal.
pub fn fleiss_kappa(table: &RatingTable) -> Result<f64, Undefined> {
    let (units, _) = RatedUnits::of(table);
    fleiss(&units, &units.counts)
}

/// Fleiss' kappa of units of which pattern `p` occurs `counts[p]` times.
pub(crate) fn fleiss(units: &RatedUnits, counts: &[u64]) -> Result<f64, Undefined> {
    let occurring = || counts.iter().enumerate().filter(|&(_, &count)| count > 0);
    let ratings = occurring().next().map_or(0, |(at, _)| units.pattern(at).1);
    if occurring().any(|(at, _)| units.pattern(at).1 != ratings) {
        return Err(Undefined::UnequalRatings);
    }
    if ratings < 2 {
        return Err(Undefined::NoPairs);
    }
    let mut given = vec![0u64; units.grades.len()];
    let (mut agreeing, mut units_seen) = (0u128, 0u64);
    for (at, &count) in occurring() {
        units_seen += count;
        for &(grade, times) in units.pattern(at).0 {
            given[grade as usize] += u64::from(times) * count;
            agreeing += u128::from(times) * u128::from(times - 1) * u128::from(count);
        }
    }
    let rater_pairs = f64::from(ratings) * f64::from(ratings - 1) * units_seen as f64;
    beyond_chance(agreeing as f64 / rater_pairs, &given)
}

fn beyond_chance(agreement: f64, given: &[u64]) -> Result<f64, Undefined> {
    if given.iter().filter(|&&n| n > 0).count() < 2 {
        return Err(Undefined::OneCategory);
    }
    let all = given.iter().sum::<u64>() as f64;
    let chance: f64 = given.iter().map(|&n| (n as f64 / all).powi(2)).sum();
    Ok((agreement - chance) / (1.0 - chance))
}
