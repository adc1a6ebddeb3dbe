//! The interval of a mean difference, queries drawn with replacement (Sakai 2006, SIGIR, for ranking measures).

use crate::resampling::{Bootstrap, Estimate, Interval};
use crate::undefined::Undefined;

use super::{common_length, mean, sound};

/// The mean difference and its interval.
pub fn mean_difference(differences: &[f64], bootstrap: &Bootstrap) -> Estimate {
    estimates(&[differences], differences.len(), bootstrap)[0]
}

/// The mean differences of several measures of the same queries, `measures[m][q]`, all from the same resamples.
///
/// # Errors
/// [`Undefined::UnequalLengths`] when the measures have different numbers of queries.
pub fn mean_differences<Row: AsRef<[f64]> + Sync>(
    measures: &[Row],
    bootstrap: &Bootstrap,
) -> Result<Vec<Estimate>, Undefined> {
    Ok(estimates(measures, common_length(measures)?, bootstrap))
}

fn estimates<Row: AsRef<[f64]> + Sync>(
    measures: &[Row],
    queries: usize,
    bootstrap: &Bootstrap,
) -> Vec<Estimate> {
    let value = |row: &Row| sound(row.as_ref()).map(|()| mean(row.as_ref()));
    let values: Vec<Result<f64, Undefined>> = measures.iter().map(value).collect();
    if queries > 1 && measures.iter().all(|row| row.as_ref().iter().all(|d| *d == 0.0)) {
        // Runs that do not differ: every resample of zeros has the mean zero.
        let interval = Ok(Interval { lower: 0.0, upper: 0.0, undefined_resamples: 0 });
        return values.into_iter().map(|value| Estimate { value, interval }).collect();
    }
    let intervals = bootstrap.intervals_of_draws(queries, &values, |draws, means| {
        let drawn = draws.iter().map(|&n| f64::from(n)).sum::<f64>();
        let weights: Vec<f64> = draws.iter().map(|&n| f64::from(n) / drawn).collect();
        means.iter_mut().zip(measures).for_each(|(out, row)| *out = weighted_sum(row.as_ref(), &weights));
    });
    values.into_iter().zip(intervals).map(|(value, interval)| Estimate { value, interval }).collect()
}

/// Eight running sums, so that the additions need not wait for each other; their order is fixed.
fn weighted_sum(values: &[f64], weights: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (values, last_values) = values.as_chunks::<8>();
    let (weights, last_weights) = weights.as_chunks::<8>();
    for (values, weights) in values.iter().zip(weights) {
        (0..8).for_each(|lane| sums[lane] += values[lane] * weights[lane]);
    }
    let rest: f64 = last_values.iter().zip(last_weights).map(|(value, weight)| value * weight).sum();
    sums.iter().sum::<f64>() + rest
}
