//! A weighted sum of losses: a contrastive term beside a distillation, a CoSENT head beside a weighted InfoNCE.
//!
//! The learned numbers are those of the terms, one term after the other.

use serde::{Deserialize, Serialize};

use super::Loss;

/// Losses that are added up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// The terms, at least one.
    pub terms: Vec<WeightedLoss>,
}

/// A term of a [`Sum`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedLoss {
    /// How much the term counts; at least 0.
    pub weight: f64,
    /// The loss.
    pub loss: Loss,
}
