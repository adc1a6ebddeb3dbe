//! How far predictions are off: mean absolute error and accuracy.

use super::confusion::Confusion;
use crate::undefined::Undefined;

/// The mean absolute error `sum |human - predicted| / n`, in grades.
///
/// # Errors
/// [`Undefined::NoPairs`] for an empty table.
pub fn mean_absolute_error(confusion: &Confusion) -> Result<f64, Undefined> {
    let grade = |at: usize| i64::from(confusion.grades()[at]);
    mean(confusion, |human, predicted| grade(human).abs_diff(grade(predicted)))
}

/// The share of pairs with equal grades.
///
/// # Errors
/// [`Undefined::NoPairs`] for an empty table.
pub fn accuracy(confusion: &Confusion) -> Result<f64, Undefined> {
    mean(confusion, |human, predicted| u64::from(human == predicted))
}

fn mean(confusion: &Confusion, value: impl Fn(usize, usize) -> u64) -> Result<f64, Undefined> {
    let n = confusion.pairs();
    if n == 0 {
        return Err(Undefined::NoPairs);
    }
    let sum: u128 =
        confusion.entries().map(|(h, p, count)| u128::from(value(h, p)) * u128::from(count)).sum();
    Ok(sum as f64 / n as f64)
}
