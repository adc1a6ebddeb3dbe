//! Student's paired t-test: `t = mean(d) / (s_d / sqrt(n))` with `n - 1` degrees of freedom (Student 1908).
//!
//! For ranking measures it agrees well with the randomization test (Smucker, Allan and Carterette 2007, CIKM).

use serde::Serialize;

use super::tails::student_outside;
use super::{Alternative, mean, sound, standard_deviation};
use crate::undefined::Undefined;

/// The outcome of a paired t-test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TTest {
    /// The statistic; positive when the system is better.
    pub t: f64,
    /// The degrees of freedom, `n - 1`.
    pub degrees_of_freedom: u32,
    /// The p-value.
    pub p: f64,
}

/// The paired t-test of differences.
///
/// # Errors
/// [`Undefined::NoPairs`], [`Undefined::OnePair`], [`Undefined::NotFinite`], and [`Undefined::ConstantDifferences`] when
/// all differences are equal.
pub fn paired_t_test(differences: &[f64], alternative: Alternative) -> Result<TTest, Undefined> {
    sound(differences)?;
    let deviation = standard_deviation(differences)?;
    let t = mean(differences) / (deviation / (differences.len() as f64).sqrt());
    let degrees_of_freedom = (differences.len() - 1) as u32;
    let both_tails = student_outside(t, f64::from(degrees_of_freedom));
    let p = match alternative {
        Alternative::TwoSided => both_tails,
        Alternative::Greater if t > 0.0 => both_tails / 2.0,
        Alternative::Less if t < 0.0 => both_tails / 2.0,
        Alternative::Greater | Alternative::Less => 1.0 - both_tails / 2.0,
    };
    Ok(TTest { t, degrees_of_freedom, p })
}
