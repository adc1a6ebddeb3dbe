//! What every BERT (Devlin et al. 2019, arXiv 1810.04805) here has in common, in floats or in 8 bits: its configuration,
//! and the functions that float networks, trained or scoring, compute GELU and softmax from.

pub use kernels::encoder::float::{erf, exp_of_negative};
use serde::Deserialize;

use crate::bundle::{Bundle, CONFIG};
use crate::error::{Result, ScorerError};

/// The `config.json` of a BERT model; a missing key is an error, not a default.
#[derive(Debug, Clone, Deserialize)]
pub struct BertConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of a token vector.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Tokens a text may have.
    pub max_position_embeddings: usize,
    /// Rows of the segment embedding: the first for single texts, the second for what is second in a pair.
    pub type_vocab_size: usize,
    /// Added to the variance in layer norm.
    pub layer_norm_eps: f64,
    /// Activation of the feed-forward block; `gelu` (the exact one) is what there is.
    pub hidden_act: String,
    /// `absolute` is what there is.
    #[serde(default = "absolute")]
    pub position_embedding_type: String,
}

fn absolute() -> String {
    "absolute".into()
}

/// No size in a configuration may exceed this: it keeps products of sizes far from overflow.
const MAX_SIZE: usize = 1 << 24;

impl BertConfig {
    /// Reads and checks the configuration of a bundle.
    ///
    /// # Errors
    /// `BadConfig` for a missing key or an impossible size, `Unsupported` for another activation or position scheme.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self> {
        let config: Self = bundle.json(CONFIG)?.ok_or(ScorerError::MissingFile { file: CONFIG.into() })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        let bad = |reason| Err(ScorerError::BadConfig { file: CONFIG.into(), reason });
        for (name, size) in sizes {
            if !(1..=MAX_SIZE).contains(&size) {
                return bad(format!("{name} = {size}, expected 1 to {MAX_SIZE}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (width, heads) = (self.hidden_size, self.num_attention_heads);
            return bad(format!("hidden_size {width} is not a multiple of num_attention_heads {heads}"));
        }
        if self.max_position_embeddings < 2 || !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return bad(
                "max_position_embeddings must be at least 2 and layer_norm_eps between 0 and 1".into()
            );
        }
        for (name, value, known) in [
            ("hidden_act", &self.hidden_act, "gelu"),
            ("position_embedding_type", &self.position_embedding_type, "absolute"),
        ] {
            if value != known {
                let what = format!("{name} = {value:?}");
                return Err(ScorerError::Unsupported { file: CONFIG.into(), what });
            }
        }
        Ok(())
    }
}
