//! `config.json` and its neighbours, read strictly: what the network would not compute is refused by name.

use candle_nn::Activation;
use candle_transformers::models::{qwen2, qwen3};
use serde::Deserialize;
use serde_json::Value;

use crate::bundle::CONFIG;
use crate::error::{Result, ScorerError};

/// A configuration that can be run.
pub(super) struct Config {
    pub(super) architecture: &'static str,
    pub(super) layers: usize,
    pub(super) context_tokens: usize,
    /// Whether the output takes the input's embeddings; `None` where the file does not say.
    pub(super) is_tied: Option<bool>,
    pub(super) stops: Vec<u32>,
    pub(super) network: NetworkConfig,
}

pub(super) enum NetworkConfig {
    Qwen2(qwen2::Config),
    Qwen3(qwen3::Config),
}

#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    /// Where newer files keep `rope_theta`.
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Value>,
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default)]
    layer_types: Option<Vec<String>>,
    #[serde(default)]
    attention_bias: bool,
    hidden_act: String,
    eos_token_id: Option<Ids>,
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Several(Vec<u32>),
}

impl Ids {
    fn all(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Several(ids) => ids,
        }
    }
}

fn bad(reason: impl Into<String>) -> ScorerError {
    ScorerError::BadConfig { file: CONFIG.into(), reason: reason.into() }
}

/// Reads `config.json`; the context is the shorter of the model's and the one allowed.
///
/// # Errors
/// `BadConfig` for what is no configuration or cannot be, `Unsupported` for what is not computed here.
pub(super) fn read(bytes: &[u8], most_context_tokens: usize) -> Result<Config> {
    let file: ConfigFile = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    file.check_supported()?;
    let heads = file.num_attention_heads;
    let key_value_heads = file.num_key_value_heads.unwrap_or(heads);
    check_heads(heads, key_value_heads).map_err(bad)?;
    let context_tokens = file.max_position_embeddings.min(most_context_tokens);
    let rope_theta = file.rope_theta.or(file.rope_parameters.as_ref().and_then(|rope| rope.rope_theta));
    let rope_theta = rope_theta.filter(|theta| theta.is_finite() && *theta > 0.0);
    let rope_theta = rope_theta.ok_or_else(|| bad("rope_theta: expected a positive number"))?;
    let (architecture, network) = match file.model_type.as_str() {
        "qwen2" => ("qwen2", NetworkConfig::Qwen2(file.qwen2(key_value_heads, context_tokens, rope_theta)?)),
        "qwen3" => ("qwen3", NetworkConfig::Qwen3(file.qwen3(key_value_heads, context_tokens, rope_theta)?)),
        other => return Err(unsupported(format!("model_type {other:?} (known: qwen2, qwen3)"))),
    };
    let (layers, is_tied) = (file.num_hidden_layers, file.tie_word_embeddings);
    let stops = file.eos_token_id.map(Ids::all).unwrap_or_default();
    Ok(Config { architecture, layers, context_tokens, is_tied, stops, network })
}

/// Whether heads of attention can be shared out.
pub(super) fn check_heads(heads: usize, key_value_heads: usize) -> std::result::Result<(), String> {
    match heads > 0 && key_value_heads > 0 && heads.is_multiple_of(key_value_heads) {
        true => Ok(()),
        false => Err(format!("{heads} heads and {key_value_heads} of keys and values: expected a multiple")),
    }
}

fn unsupported(what: impl Into<String>) -> ScorerError {
    ScorerError::Unsupported { file: CONFIG.into(), what: what.into() }
}

impl ConfigFile {
    fn check_supported(&self) -> Result<()> {
        let rope = self.rope_parameters.as_ref().and_then(|rope| rope.rope_type.as_deref());
        if self.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null())
            || rope.is_some_and(|kind| kind != "default")
        {
            return Err(unsupported("a scaling of the rotary positions"));
        }
        let is_full = |kind: &String| kind == "full_attention";
        if self.use_sliding_window || !self.layer_types.iter().flatten().all(is_full) {
            return Err(unsupported("a sliding window"));
        }
        if self.hidden_act != "silu" {
            return Err(unsupported(format!("hidden_act {:?}", self.hidden_act)));
        }
        Ok(())
    }

    fn qwen2(&self, key_value_heads: usize, context_tokens: usize, rope_theta: f64) -> Result<qwen2::Config> {
        let heads = self.num_attention_heads;
        let head = self.hidden_size / heads;
        if !self.hidden_size.is_multiple_of(heads) || self.head_dim.is_some_and(|found| found != head) {
            return Err(bad(format!("hidden_size {} and {heads} heads", self.hidden_size)));
        }
        Ok(qwen2::Config {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: key_value_heads,
            max_position_embeddings: context_tokens,
            // The network applies a window whether or not it is asked for: one that is never reached.
            sliding_window: context_tokens,
            max_window_layers: 0,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or_default(),
            rope_theta,
            rms_norm_eps: self.rms_norm_eps,
            use_sliding_window: false,
            hidden_act: Activation::Silu,
        })
    }

    fn qwen3(&self, key_value_heads: usize, context_tokens: usize, rope_theta: f64) -> Result<qwen3::Config> {
        let head_dim = self.head_dim.unwrap_or(128);
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(bad(format!("head_dim {head_dim}: expected an even number")));
        }
        Ok(qwen3::Config {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            head_dim,
            attention_bias: self.attention_bias,
            num_key_value_heads: key_value_heads,
            max_position_embeddings: context_tokens,
            sliding_window: None,
            max_window_layers: 0,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or_default(),
            rope_theta,
            rms_norm_eps: self.rms_norm_eps,
            use_sliding_window: false,
            hidden_act: Activation::Silu,
        })
    }
}

/// The tokens that `generation_config.json` says end an answer.
///
/// # Errors
/// `BadConfig` when it is not JSON of the expected form.
pub(super) fn stops_of(bytes: Option<&[u8]>) -> Result<Vec<u32>> {
    #[derive(Deserialize)]
    struct GenerationConfig {
        eos_token_id: Option<Ids>,
    }
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let file: GenerationConfig = serde_json::from_slice(bytes).map_err(|error| ScorerError::BadConfig {
        file: "generation_config.json".into(),
        reason: error.to_string(),
    })?;
    Ok(file.eos_token_id.map(Ids::all).unwrap_or_default())
}

/// The chat template in a `chat_template.jinja` or in a `tokenizer_config.json`, if it is there.
///
/// # Errors
/// `BadConfig` when it is not a text, or not JSON of the expected form.
pub(super) fn template(name: &str, bytes: &[u8]) -> Result<Option<String>> {
    let bad = |reason: String| ScorerError::BadConfig { file: name.into(), reason };
    if name.ends_with(".json") {
        let file: Value = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        return Ok(file["chat_template"].as_str().map(str::to_owned));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    Ok(Some(text.to_owned()))
}
