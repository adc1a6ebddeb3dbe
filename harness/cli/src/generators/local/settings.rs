//! `[generator.local]` of a recipe: which model of this machine, how it writes, and what a run may use up.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exit::Usage;
use crate::generators::live::Budget;

/// A model in this process, as written; unknown keys refused.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalFile {
    /// A GGUF file, or a Hugging Face folder (`config.json`, `tokenizer.json`, `*.safetensors`).
    pub model: PathBuf,
    /// The longest answer, in tokens.
    pub max_tokens: u32,
    /// The longest prompt and answer together, in tokens; a longer question is refused.
    pub context_tokens: u32,
    /// Draws are made among the most probable tokens that together have this probability.
    pub top_p: f64,
    /// A system message before every prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Whether a model that can think aloud first does so.
    pub thinking: bool,
    /// What one run may use up.
    pub budget: Budget,
    /// What this machine costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<HourlyPrice>,
}

/// `[generator.local.price]`: what a machine costs while it computes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HourlyPrice {
    /// An hour of it.
    pub per_hour: f64,
    /// What the price is in.
    #[serde(default = "usd")]
    pub currency: String,
}

fn usd() -> String {
    "USD".to_owned()
}

impl HourlyPrice {
    /// What so many seconds cost.
    pub fn of(&self, seconds: f64) -> f64 {
        self.per_hour * seconds / 3600.0
    }
}

impl Default for LocalFile {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            max_tokens: 512,
            context_tokens: 8192,
            top_p: 0.95,
            system: None,
            thinking: false,
            budget: Budget::default(),
            price: None,
        }
    }
}

impl LocalFile {
    /// Whether the settings can be.
    ///
    /// # Errors
    /// The first that cannot, by its key, with what is expected.
    pub fn check(&self) -> anyhow::Result<()> {
        let wrong = |key: &str, expected: &str| {
            Err(Usage::error(format!("generator.local.{key}: expected {expected}")))
        };
        if self.model.as_os_str().is_empty() {
            return wrong(
                "model",
                "a GGUF file, or a folder with config.json, tokenizer.json and *.safetensors",
            );
        }
        if !(1..=1 << 20).contains(&self.context_tokens) {
            return wrong("context_tokens", "1 to 1048576");
        }
        if self.max_tokens == 0 || self.max_tokens >= self.context_tokens {
            return wrong("max_tokens", &format!("1 to less than context_tokens ({})", self.context_tokens));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p", "more than 0, at most 1");
        }
        let positive = |value: f64| value > 0.0 && value <= 1e15;
        for (key, value) in [("budget.cost", self.budget.cost), ("budget.wall_s", self.budget.wall_s)] {
            if value.is_some_and(|value| !positive(value)) {
                return wrong(key, "a positive number");
            }
        }
        if self.price.as_ref().is_some_and(|price| !(price.per_hour >= 0.0 && price.per_hour.is_finite())) {
            return wrong("price.per_hour", "0 or more");
        }
        if self.budget.cost.is_some() && self.price.is_none() {
            return wrong("price", "a price where the budget has a cost");
        }
        Ok(())
    }

    /// What decides an answer besides the model's files and the question: in the key of every answer.
    pub fn revision(&self) -> String {
        let Self { max_tokens, context_tokens, top_p, thinking, .. } = self;
        let mut revision = format!(
            "chatml max_tokens={max_tokens} context_tokens={context_tokens} top_p={top_p} thinking={thinking}"
        );
        if let Some(system) = &self.system {
            revision += &format!(" system={system:?}");
        }
        revision
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let file = || LocalFile { model: "m.gguf".into(), ..LocalFile::default() };
        file().check().unwrap();
        let costs = |cost| Budget { cost: Some(cost), ..Budget::default() };
        for (key, file) in [
            ("model", LocalFile::default()),
            ("context_tokens", LocalFile { context_tokens: 0, ..file() }),
            ("max_tokens", LocalFile { max_tokens: 8192, ..file() }),
            ("max_tokens", LocalFile { max_tokens: 0, ..file() }),
            ("top_p", LocalFile { top_p: f64::NAN, ..file() }),
            ("budget.cost", LocalFile { budget: costs(-1.0), ..file() }),
            ("price", LocalFile { budget: costs(1.0), ..file() }),
        ] {
            let said = file.check().unwrap_err().to_string();
            assert!(said.contains(&format!("generator.local.{key}")), "{said}");
        }
    }

    #[test]
    fn whatever_decides_an_answer_is_in_the_revision() {
        let file = LocalFile::default();
        for other in [
            LocalFile { max_tokens: 9, ..file.clone() },
            LocalFile { context_tokens: 9, ..file.clone() },
            LocalFile { top_p: 0.5, ..file.clone() },
            LocalFile { thinking: true, ..file.clone() },
            LocalFile { system: Some("be brief".into()), ..file.clone() },
        ] {
            assert_ne!(file.revision(), other.revision());
        }
        let price = Some(HourlyPrice { per_hour: 1.0, currency: usd() });
        assert_eq!(file.revision(), LocalFile { price, ..file.clone() }.revision());
    }
}
