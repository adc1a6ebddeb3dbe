//! The parameters of the data engine as a recipe spells them.

use serde::{Deserialize, Serialize};

use super::{Labels, Source};
use crate::Result;
use crate::error::SynthesisError;

/// Every parameter of the data engine but the judge, the log and the documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CropsParameters {
    /// The sources that are used; leaving some out is the paper's ablation (Table 3).
    pub sources: Vec<Source>,
    /// `[windows]`.
    pub windows: Windows,
    /// `[discriminator]`.
    pub discriminator: Discriminator,
    /// `[labels]`.
    pub labels: Labels,
    /// `[negatives]`.
    pub negatives: Negatives,
    /// `[world_knowledge]`.
    pub world_knowledge: WorldKnowledge,
}

/// What counts as near in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Windows {
    /// A reformulation follows within this many seconds (the paper: 90).
    pub reformulation_s: f64,
    /// A result was consumed when it was opened and watched for at least this long.
    pub consumed_dwell_ms: u64,
    /// Feed items count that lie at most this many seconds before or after the search (the paper does not say).
    pub feed_window_s: f64,
    /// How many documents of the feed one search contributes at most (the paper: 100 a user).
    pub feed_items_per_user: usize,
}

impl Default for Windows {
    fn default() -> Self {
        Self { reformulation_s: 90.0, consumed_dwell_ms: 0, feed_window_s: 3600.0, feed_items_per_user: 100 }
    }
}

impl Windows {
    pub(super) fn is_reformulation(&self, original_ms: i64, later_ms: i64) -> bool {
        (later_ms - original_ms) as f64 <= self.reformulation_s * 1000.0
    }
}

/// How the discriminator decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discriminator {
    /// `theta(q, d)` must be above this (the paper: 0.6, of a discriminator of its own; a judge with other scores needs
    /// another).
    pub alpha: f64,
    /// Whether alpha is the threshold of every query, or each query has one of its own.
    pub threshold: Threshold,
    /// With `adaptive`: how many clicked documents a query must have for a threshold of its own.
    pub smallest_reference: usize,
}

/// Which threshold a query has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Threshold {
    /// Alpha.
    #[default]
    Fixed,
    /// The median of theta over the documents clicked for the query: a candidate must be as near to the query as half of
    /// what people opened for it. Alpha where too few were clicked.
    Adaptive,
}

impl Default for Discriminator {
    fn default() -> Self {
        Self { alpha: 0.6, threshold: Threshold::Fixed, smallest_reference: 3 }
    }
}

/// Which documents of the lower labels stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Negatives {
    /// How many documents of each of the labels 1, 2 and 3 a query keeps at most.
    pub most_per_label: usize,
    /// Whether queries without a document of label 4 or 5 are written too.
    pub keep_queries_without_positive: bool,
}

impl Default for Negatives {
    fn default() -> Self {
        Self { most_per_label: 32, keep_queries_without_positive: false }
    }
}

/// What is written by a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldKnowledge {
    /// How many texts a query gets; 0: none, and no generator is asked.
    pub texts_per_query: usize,
}

impl Default for CropsParameters {
    fn default() -> Self {
        Self {
            sources: Source::ALL.into(),
            windows: Windows::default(),
            discriminator: Discriminator::default(),
            labels: Labels::default(),
            negatives: Negatives::default(),
            world_knowledge: WorldKnowledge::default(),
        }
    }
}

impl CropsParameters {
    pub(super) fn uses(&self, source: Source) -> bool {
        self.sources.contains(&source)
    }

    /// # Errors
    /// The first parameter that is outside its range, by its key.
    pub fn check(&self) -> Result<()> {
        let seconds = |key: &str, found: f64| match (0.0..=1e9).contains(&found) {
            true => Ok(()),
            false => Err(SynthesisError::parameter(key, "a number from 0 to 1e9", found)),
        };
        if self.sources.is_empty() {
            return Err(SynthesisError::parameter("sources", "at least one source", "none"));
        }
        seconds("windows.reformulation_s", self.windows.reformulation_s)?;
        seconds("windows.feed_window_s", self.windows.feed_window_s)?;
        if !(0.0..=1.0).contains(&self.discriminator.alpha) {
            let found = self.discriminator.alpha;
            return Err(SynthesisError::parameter("discriminator.alpha", "a number from 0 to 1", found));
        }
        if !(4..=5).contains(&self.labels.query_level) {
            return Err(SynthesisError::parameter("labels.query_level", "4 or 5", self.labels.query_level));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_outside_their_range_are_named() {
        CropsParameters::default().check().unwrap();
        let mut wrong = CropsParameters::default();
        wrong.discriminator.alpha = 1.5;
        assert!(wrong.check().unwrap_err().to_string().contains("discriminator.alpha"));
        wrong = CropsParameters { sources: Vec::new(), ..CropsParameters::default() };
        assert!(wrong.check().unwrap_err().to_string().contains("sources"));
    }
}
