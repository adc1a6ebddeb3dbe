//! The sign test: among queries that differ, does one system win more often than a fair coin would let it?
//!
//! `p = 2 P(X <= min(wins, losses))`, capped at 1, for `X` binomial with `n = wins + losses` and 1/2. Exact for
//! any `n`.

use serde::Serialize;

use super::tails::fair_coin_at_most;
use super::{Alternative, sound};
use crate::undefined::Undefined;

/// The outcome of a sign test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SignTest {
    /// Queries on which the system is better.
    pub wins: u64,
    /// Queries on which it is worse.
    pub losses: u64,
    /// The p-value.
    pub p: f64,
}

/// The sign test of differences; those of zero are left out.
///
/// # Errors
/// [`Undefined::NoPairs`], [`Undefined::NotFinite`], and [`Undefined::NoDifferences`] when every difference is zero.
pub fn sign_test(differences: &[f64], alternative: Alternative) -> Result<SignTest, Undefined> {
    sound(differences)?;
    let wins = differences.iter().filter(|d| **d > 0.0).count() as u64;
    let losses = differences.iter().filter(|d| **d < 0.0).count() as u64;
    if wins + losses == 0 {
        return Err(Undefined::NoDifferences);
    }
    let (less, greater) = (fair_coin_at_most(wins, losses), fair_coin_at_most(losses, wins));
    Ok(SignTest { wins, losses, p: alternative.of_tails(less, greater) })
}
