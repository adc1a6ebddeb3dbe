//! How large is the difference, in standard deviations of the differences?
//!
//! Cohen's d for paired data, `d_z = mean(d) / s_d` (Cohen 1988), and Hedges' g, which takes out its bias for few
//! queries: `g = J(n - 1) d_z` with `J(v) = Gamma(v / 2) / (sqrt(v / 2) Gamma((v - 1) / 2))` (Hedges 1981).

use statrs::function::gamma::ln_gamma;

use super::{mean, sound, standard_deviation};
use crate::undefined::Undefined;

/// Cohen's d of differences.
///
/// # Errors
/// [`Undefined::NoPairs`], [`Undefined::OnePair`], [`Undefined::NotFinite`], [`Undefined::ConstantDifferences`].
pub fn cohens_d(differences: &[f64]) -> Result<f64, Undefined> {
    sound(differences)?;
    Ok(mean(differences) / standard_deviation(differences)?)
}

/// Hedges' g of differences.
///
/// # Errors
/// As [`cohens_d`], and [`Undefined::TwoPairs`] for two queries, where the correction is undefined.
pub fn hedges_g(differences: &[f64]) -> Result<f64, Undefined> {
    let d = cohens_d(differences)?;
    let freedom = (differences.len() - 1) as f64;
    if freedom < 2.0 {
        return Err(Undefined::TwoPairs);
    }
    let gammas = libm::exp(ln_gamma(freedom / 2.0) - ln_gamma((freedom - 1.0) / 2.0));
    Ok(gammas / (freedom / 2.0).sqrt() * d)
}
