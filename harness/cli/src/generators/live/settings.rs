//! `[generator.live]` of a recipe: which server, which model, and what it may cost.
//!
//! The key is no part of it: `key_env` names the environment variable that holds it, and nothing here can print it.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::exit::Usage;

/// A live model behind an OpenAI-compatible server, as written; unknown keys refused.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiveFile {
    /// Where `chat/completions` is, such as `https://HOST/v1`.
    pub base_url: String,
    /// The model asked for.
    pub model: String,
    /// The name under which the server is expected to answer, where it is another than `model` (a dated version).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_as: Option<String>,
    /// What happens when the server answers under another name.
    pub model_change: ModelChange,
    /// The environment variable with the key; without one no key is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// Send the key over plain HTTP to a host that is not this machine.
    pub key_over_plain_http: bool,
    /// How the form of an answer is asked for.
    pub format: Form,
    /// The longest answer, in tokens.
    pub max_tokens: u32,
    /// Keys of the request that this server does not take: `max_tokens`, `temperature` or `seed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<String>,
    /// Further keys of the request, such as `max_completion_tokens` or `reasoning_effort`.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    pub extra: toml::Table,
    /// How long one request may take, in seconds.
    pub timeout_s: f64,
    /// How often a request is made, the first time included.
    pub attempts: u32,
    /// The longest pause between two attempts, in seconds; a server that asks for more ends the run.
    pub longest_wait_s: f64,
    /// The largest reply read, in bytes.
    pub largest_reply_bytes: u64,
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Requests a minute, evenly spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<f64>,
    /// Tokens a minute, of prompts and completions, evenly spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<f64>,
    /// What one run may use up.
    pub budget: Budget,
    /// What tokens cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// What happens when a server answers under another model's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelChange {
    /// The run ends; the answer is not used.
    #[default]
    Refuse,
    /// The answer is used; the name is remembered with it and stands in the report.
    Allow,
}

/// How the form of an answer is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The strictest that the server accepts, found out with the first question.
    #[default]
    Auto,
    /// The server holds the answer to a schema.
    JsonSchema,
    /// The server holds the answer to JSON.
    JsonObject,
    /// The prompt alone asks for it.
    LastLine,
}

impl Form {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::JsonSchema => "json_schema",
            Self::JsonObject => "json_object",
            Self::LastLine => "last_line",
        }
    }
}

/// `[generator.live.budget]`: what one run may use up; what is absent has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Requests, attempts that fail included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Tokens of prompts and completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money, in the currency of the prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Time, in seconds from the first request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_s: Option<f64>,
}

/// `[generator.live.price]`: what a million tokens cost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of a prompt.
    pub prompt_per_million: f64,
    /// Of a completion.
    pub completion_per_million: f64,
    /// What the prices are in.
    #[serde(default = "usd")]
    pub currency: String,
}

fn usd() -> String {
    "USD".to_owned()
}

impl Price {
    /// What so many tokens cost.
    pub fn of(&self, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        let cost = prompt_tokens as f64 * self.prompt_per_million
            + completion_tokens as f64 * self.completion_per_million;
        cost / 1e6
    }
}

impl Default for LiveFile {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            model: String::new(),
            served_as: None,
            model_change: ModelChange::Refuse,
            key_env: None,
            key_over_plain_http: false,
            format: Form::Auto,
            max_tokens: 512,
            omit: Vec::new(),
            extra: toml::Table::new(),
            timeout_s: 120.0,
            attempts: 6,
            longest_wait_s: 60.0,
            largest_reply_bytes: 4 << 20,
            concurrency: 4,
            requests_per_minute: None,
            tokens_per_minute: None,
            budget: Budget::default(),
            price: None,
        }
    }
}

impl LiveFile {
    /// Whether the settings can be.
    ///
    /// # Errors
    /// The first that cannot, by its key, with what is expected.
    pub fn check(&self) -> anyhow::Result<()> {
        let wrong = |key: &str, expected: &str| {
            Err(Usage::error(format!("generator.live.{key}: expected {expected}")))
        };
        let scheme = ["http://", "https://"].iter().find_map(|scheme| self.base_url.strip_prefix(scheme));
        let Some(rest) = scheme.filter(|rest| !rest.is_empty()) else {
            return wrong("base_url", "an address such as https://HOST/v1");
        };
        if rest.contains(['@', '?', '#']) || rest.contains(char::is_whitespace) {
            return wrong(
                "base_url",
                "an address without user, query and fragment (a key belongs in key_env)",
            );
        }
        if self.model.is_empty() {
            return wrong("model", "the name of a model");
        }
        let is_local = ["127.", "localhost", "[::1]"].iter().any(|host| rest.starts_with(host));
        let is_plain = self.base_url.starts_with("http://");
        if self.key_env.is_some() && is_plain && !is_local && !self.key_over_plain_http {
            return wrong(
                "base_url",
                "https where a key is sent to another machine (or key_over_plain_http = true)",
            );
        }
        if !self.omit.iter().all(|key| ["max_tokens", "temperature", "seed"].contains(&key.as_str())) {
            return wrong("omit", "max_tokens, temperature or seed");
        }
        if ["model", "messages", "response_format", "stream", "n"]
            .iter()
            .any(|key| self.extra.contains_key(*key))
        {
            return wrong("extra", "keys other than model, messages, response_format, stream and n");
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        for (key, value) in [
            ("timeout_s", Some(self.timeout_s)),
            ("longest_wait_s", Some(self.longest_wait_s)),
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("budget.cost", self.budget.cost),
            ("budget.wall_s", self.budget.wall_s),
        ] {
            if value.is_some_and(|value| !positive(value) || value > 1e15) {
                return wrong(key, "a positive number");
            }
        }
        for price in
            self.price.iter().flat_map(|price| [price.prompt_per_million, price.completion_per_million])
        {
            if !price.is_finite() || price < 0.0 {
                return wrong("price", "prices of 0 or more");
            }
        }
        if self.budget.cost.is_some() && self.price.is_none() {
            return wrong("price", "prices where the budget has a cost");
        }
        for (key, value, most) in [
            ("max_tokens", u64::from(self.max_tokens), 1 << 20),
            ("attempts", u64::from(self.attempts), 100),
            ("concurrency", self.concurrency as u64, 256),
            ("largest_reply_bytes", self.largest_reply_bytes, 1 << 30),
        ] {
            if !(1..=most).contains(&value) {
                return wrong(key, &format!("1 to {most}, found {value}"));
            }
        }
        Ok(())
    }

    /// What decides an answer besides the model's name and the question: in the key of every answer. Where the server
    /// stands is no part of it.
    pub fn revision(&self) -> String {
        let served = self.served_as.as_deref().unwrap_or(&self.model);
        let mut revision = format!("{served} max_tokens={} format={}", self.max_tokens, self.format.name());
        if !self.omit.is_empty() {
            revision += &format!(" omit={}", self.omit.join(","));
        }
        if !self.extra.is_empty() {
            revision += &format!(" extra={}", serde_json::to_string(&self.extra).unwrap_or_default());
        }
        revision
    }

    /// The key out of the environment.
    ///
    /// # Errors
    /// When the variable that the recipe names is not set, or holds what cannot be a key.
    pub fn key(&self) -> anyhow::Result<Option<Key>> {
        let Some(name) = &self.key_env else { return Ok(None) };
        let key = std::env::var(name).unwrap_or_default();
        let key = key.trim();
        if key.len() < 4 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Usage::error(format!(
                "generator.live.key_env: expected a key in the environment variable {name}"
            )));
        }
        Ok(Some(Key(key.to_owned())))
    }
}

/// A secret: it goes into one header and nowhere else.
pub struct Key(String);

impl Key {
    /// The header's value.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// A text that came from outside, without the key should it hold it.
    pub fn taken_out_of(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[key]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file() -> LiveFile {
        LiveFile { base_url: "http://127.0.0.1:8000/v1".into(), model: "m".into(), ..LiveFile::default() }
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        file().check().unwrap();
        let key = Some("KEY".to_owned());
        for (key, file) in [
            ("base_url", LiveFile { base_url: "ftp://x".into(), ..file() }),
            ("base_url", LiveFile { base_url: "https://".into(), ..file() }),
            ("base_url", LiveFile { base_url: "https://me:secret@x/v1".into(), ..file() }),
            ("base_url", LiveFile { base_url: "http://x/v1".into(), key_env: key, ..file() }),
            ("model", LiveFile { model: String::new(), ..file() }),
            ("timeout_s", LiveFile { timeout_s: 0.0, ..file() }),
            ("requests_per_minute", LiveFile { requests_per_minute: Some(f64::NAN), ..file() }),
            ("attempts", LiveFile { attempts: 0, ..file() }),
            ("concurrency", LiveFile { concurrency: 1000, ..file() }),
            ("omit", LiveFile { omit: vec!["messages".into()], ..file() }),
            ("extra", LiveFile { extra: toml::toml! { stream = true }, ..file() }),
            ("price", LiveFile { budget: Budget { cost: Some(1.0), ..Budget::default() }, ..file() }),
        ] {
            let said = file.check().unwrap_err().to_string();
            assert!(said.contains(&format!("generator.live.{key}")), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_key_does_not_print() {
        let key = Key("sk-1234".into());
        assert_eq!(format!("{key:?}"), "[key]");
        assert_eq!(key.taken_out_of("wrong key sk-1234!"), "wrong key [key]!");
    }

    #[test]
    fn prices_are_by_the_million() {
        let price = Price { prompt_per_million: 2.0, completion_per_million: 10.0, currency: usd() };
        assert!((price.of(500_000, 100_000) - 2.0).abs() < 1e-12);
    }
}
