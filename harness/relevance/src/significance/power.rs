//! How many queries does it take to see a difference? Sample sizes of the paired t-test, which the randomization test
//! follows closely (Smucker, Allan and Carterette 2007, CIKM).
//!
//! With differences of standard deviation `s`, a true mean difference `e` is found at level `a` with probability `1 - b`
//! by about `n = ((z_(1-a) + z_(1-b)) s / e)^2 + z_(1-a)^2 / 2` queries: the normal formula and Guenther's correction for
//! having to estimate `s` (Guenther 1981, The American Statistician 35; for topic sets Sakai 2016, Information Retrieval
//! Journal 19). A two-sided test has `a / 2` for `a`.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use super::Alternative;

/// What a test is asked to achieve: level 0.05, power 0.8, one-sided, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Design {
    level: f64,
    power: f64,
    alternative: Alternative,
}

impl Default for Design {
    fn default() -> Self {
        Self { level: 0.05, power: 0.8, alternative: Alternative::Less }
    }
}

impl Design {
    /// A test at `level` that finds what is there with probability `power`. `None` unless both lie strictly between 0
    /// and 1.
    pub fn new(level: f64, power: f64, alternative: Alternative) -> Option<Self> {
        let between = |share: f64| share > 0.0 && share < 1.0;
        (between(level) && between(power)).then_some(Self { level, power, alternative })
    }

    /// The share of one tail, as a normal deviate.
    fn critical(&self) -> f64 {
        let tail = if self.alternative == Alternative::TwoSided { self.level / 2.0 } else { self.level };
        -Normal::standard().inverse_cdf(tail)
    }

    /// How many queries find a true mean difference of `effect` (either sign) when single differences have standard
    /// deviation `deviation`. `None` when no number does: there is no effect to find, or either is not a finite number.
    pub fn queries_needed(&self, deviation: f64, effect: f64) -> Option<u64> {
        let (critical, reserve) = (self.critical(), Normal::standard().inverse_cdf(self.power));
        let ratio = (critical + reserve) * deviation / effect;
        let queries = (ratio * ratio + critical * critical / 2.0).ceil();
        (effect != 0.0 && queries.is_finite() && queries < 1e15).then_some((queries as u64).max(2))
    }

    /// The smallest true mean difference that `queries` queries find.
    /// `None` for too few queries to estimate a deviation from at this level.
    pub fn detectable(&self, deviation: f64, queries: usize) -> Option<f64> {
        let (critical, reserve) = (self.critical(), Normal::standard().inverse_cdf(self.power));
        let left = queries as f64 - critical * critical / 2.0;
        (queries >= 2 && left > 0.0 && deviation.is_finite())
            .then(|| (critical + reserve) * deviation / left.sqrt())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_textbook_case() {
        // One-sided 5 %, power 80 %, an effect of half a deviation: (1.6449 + 0.8416)^2 / 0.25 + 1.35 = 26.08.
        assert_eq!(Design::default().queries_needed(1.0, -0.5), Some(27));
        let two_sided = Design::new(0.05, 0.8, Alternative::TwoSided).unwrap();
        assert_eq!(two_sided.queries_needed(1.0, 0.5), Some(34));
    }

    #[test]
    fn what_is_needed_is_what_detects() {
        let design = Design::default();
        let effect = design.detectable(0.2, 60).unwrap();
        assert_eq!(design.queries_needed(0.2, effect * 1.000_001), Some(60));
        assert!(design.detectable(0.2, 240).unwrap() < effect / 1.9);
    }

    #[test]
    fn no_number_of_queries_finds_what_is_not_there() {
        assert_eq!(Design::default().queries_needed(0.2, 0.0), None);
        assert_eq!(Design::default().queries_needed(f64::NAN, 0.1), None);
        assert_eq!(Design::default().queries_needed(0.0, 0.1), Some(2));
        assert_eq!(Design::default().detectable(0.2, 1), None);
        assert_eq!(Design::new(0.0, 0.8, Alternative::Less), None);
    }
}
