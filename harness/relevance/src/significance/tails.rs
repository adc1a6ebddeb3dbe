//! Tail probabilities that stay accurate for any number of queries, tiny p-values included.

use std::f64::consts::{PI, SQRT_2};

use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;
use statrs::function::gamma::ln_gamma;

/// Beyond these degrees of freedom the continued fraction behind the beta function needs more steps than it is given,
/// while Hill's expansion has become exact to the last digits.
const HILL_FROM: f64 = 1_000.0;

/// The probability that a standard normal lies above `z`.
pub(super) fn normal_above(z: f64) -> f64 {
    0.5 * erfc(z / SQRT_2)
}

/// The probability that Student's t lies further from zero than `t`.
pub(super) fn student_outside(t: f64, degrees: f64) -> f64 {
    if degrees <= HILL_FROM {
        beta_reg(degrees / 2.0, 0.5, degrees / (degrees + t * t))
    } else {
        2.0 * normal_above(hill(t.abs(), degrees))
    }
}

/// The normal deviate with the same tail as Student's `t` (Hill 1970, Algorithm 395, CACM 13).
fn hill(t: f64, degrees: f64) -> f64 {
    let a = degrees - 0.5;
    let b = 48.0 * a * a;
    let squared = a * libm::log1p(t * t / degrees);
    let z = squared.sqrt();
    let second = (((4.0 * squared + 33.0) * squared + 240.0) * squared + 855.0) * z;
    z + (squared + 3.0) * z / b - second / (10.0 * b * (b + 0.8 * squared * squared + 100.0))
}

/// The probability that a fair coin thrown `heads + tails` times shows at most `heads` heads.
pub(super) fn fair_coin_at_most(heads: u64, tails: u64) -> f64 {
    match (heads, tails) {
        (_, 0) => 1.0,
        _ if heads > tails => 1.0 - fair_coin_at_most(tails - 1, heads + 1),
        _ => fair_coin_exactly(heads, tails) * ratios_below(heads, tails),
    }
}

/// `P(X <= heads) / P(X = heads)` for no more heads than tails: every term is the last times `k / (n - k + 1)`.
fn ratios_below(heads: u64, tails: u64) -> f64 {
    let (mut sum, mut term, mut below) = (1.0, 1.0, 0u64);
    while below < heads && term > 1e-17 * sum {
        term *= (heads - below) as f64 / (tails + below + 1) as f64;
        sum += term;
        below += 1;
    }
    sum
}

/// The probability of exactly `heads` heads, by Loader's saddle point (2000), which loses no digits to large factorials.
fn fair_coin_exactly(heads: u64, tails: u64) -> f64 {
    let n = (heads + tails) as f64;
    if heads == 0 || tails == 0 {
        return libm::exp2(-n);
    }
    let (heads, tails) = (heads as f64, tails as f64);
    let lean = (tails - heads) / n;
    let deviance = n / 2.0 * ((1.0 - lean) * libm::log1p(-lean) + (1.0 + lean) * libm::log1p(lean));
    let stirling = stirling_error(n) - stirling_error(heads) - stirling_error(tails);
    libm::exp(stirling - deviance) * (n / (2.0 * PI * heads * tails)).sqrt()
}

/// `ln n! - ln(sqrt(2 pi n) (n / e)^n)`.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        return ln_gamma(n + 1.0) - (n + 0.5) * libm::log(n) + n - 0.5 * libm::log(2.0 * PI);
    }
    let inverse = 1.0 / (n * n);
    (1.0 / 12.0
        - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - inverse / 1188.0) * inverse) * inverse) * inverse)
        / n
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(t, degrees of freedom, 2 * scipy.stats.t.sf(t, degrees))`.
    const STUDENT: [(f64, f64, f64); 16] = [
        (0.01, 1000.0, 0.9920232819321873),
        (1.96, 1000.0, 0.050273184955748736),
        (6.0, 1000.0, 2.7553691733774752e-09),
        (20.0, 1000.0, 4.0622884995248174e-75),
        (0.01, 9999.0, 0.9920214868693054),
        (0.5, 9999.0, 0.6170860804235135),
        (2.5, 9999.0, 0.012435221140020176),
        (6.0, 9999.0, 2.0416254188515925e-09),
        (20.0, 9999.0, 2.7657076275757733e-87),
        (1.96, 99999.0, 0.049998563222030994),
        (20.0, 99999.0, 8.223526793988247e-89),
        (0.5, 999999.0, 0.6170751874724816),
        (6.0, 999999.0, 1.9738498130290576e-09),
        (0.01, 9999999.0, 0.9920212875702179),
        (2.5, 9999999.0, 0.012419346536580063),
        (20.0, 9999999.0, 5.529431209180497e-89),
    ];

    /// `(heads, tails, scipy.stats.binomtest(heads, heads + tails).pvalue)`.
    const FAIR_COIN: [(u64, u64, f64); 10] = [
        (499, 501, 0.9747749818216395),
        (452, 548, 0.0026455298391442053),
        (4999, 5001, 0.9920213538606165),
        (4850, 5150, 0.002787967517712775),
        (49996, 50004, 0.9823395293382755),
        (49525, 50475, 0.002690755464728157),
        (499990, 500010, 0.9848411066730254),
        (498500, 501500, 0.002708655306059374),
        (4999968, 5000032, 0.9841053166839263),
        (4995256, 5004744, 0.0026993261809862877),
    ];

    fn near(ours: f64, scipy: f64) -> bool {
        (ours / scipy - 1.0).abs() < 1e-9
    }

    #[test]
    fn the_tail_of_student_s_t_holds_at_any_size() {
        for (t, degrees, scipy) in STUDENT {
            let ours = student_outside(t, degrees);
            assert!(near(ours, scipy), "t = {t}, {degrees} degrees: {ours} but {scipy}");
            assert!(near(2.0 * normal_above(hill(t, degrees)), scipy), "Hill, t = {t}, {degrees} degrees");
        }
    }

    #[test]
    fn a_fair_coin_is_fair_at_any_size() {
        for (heads, tails, scipy) in FAIR_COIN {
            let ours = 2.0 * fair_coin_at_most(heads, tails);
            assert!(near(ours, scipy), "{heads} of {}: {ours} but {scipy}", heads + tails);
            assert!(near(1.0 - fair_coin_at_most(tails - 1, heads + 1), scipy / 2.0), "{heads}, from above");
        }
        assert_eq!(fair_coin_at_most(3, 0), 1.0);
        assert_eq!(fair_coin_at_most(0, 3), 0.125);
        assert_eq!(fair_coin_at_most(0, 100_000), 0.0);
    }
}
