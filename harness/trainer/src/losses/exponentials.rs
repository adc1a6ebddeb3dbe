//! Exponentials that neither overflow nor cancel: the sums and sigmoids all losses are made of.

/// `log(sum of exp)`; minus infinity of nothing.
pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// `log(exp a + exp b)`.
pub(super) fn log_add_exp(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY { b } else { a + softplus(b - a) }
}

/// `log(1 + exp x)`.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + exp -x)`, the slope of [`softplus`].
pub(super) fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

/// The distribution proportional to `exp`.
pub(super) fn softmax(values: &[f64]) -> Vec<f64> {
    let total = log_sum_exp(values.iter().copied());
    values.iter().map(|value| (value - total).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_ends_stay_finite() {
        assert_eq!(softplus(1e300), 1e300);
        assert_eq!(softplus(-1e300), 0.0);
        assert_eq!((sigmoid(-1e300), sigmoid(1e300), sigmoid(0.0)), (0.0, 1.0, 0.5));
        assert_eq!(log_sum_exp([].iter().copied()), f64::NEG_INFINITY);
        assert_eq!(log_add_exp(f64::NEG_INFINITY, 2.0), 2.0);
        assert!((log_sum_exp([1e4, 1e4].into_iter()) - 1e4 - 2f64.ln()).abs() < 1e-12);
        assert_eq!(softmax(&[3.0]), [1.0]);
    }
}
