//! What every BERT (Devlin et al. 2019, arXiv 1810.04805) here has in common, in floats or in 8 bits: its configuration,
//! and the functions that float networks, trained or scoring, compute GELU and softmax from.

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

/// The error function, within 4e-7 (Abramowitz and Stegun, formula 7.1.26): erf x = 1 - (a1 t + ... + a5 t^5) exp(-x^2)
/// with t = 1 / (1 + p x). Branch-free, so that a loop over it becomes vector instructions.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
    let magnitude = x.abs();
    let t = 1.0 / (1.0 + P * magnitude);
    let polynomial = t * (A[0] + t * (A[1] + t * (A[2] + t * (A[3] + t * A[4]))));
    (1.0 - polynomial * exp_of_negative(-magnitude * magnitude)).copysign(x)
}

/// exp for arguments at or below zero, within 2 units in the last place: 2^n times a polynomial on [-ln2/2, ln2/2].
#[inline(always)]
pub fn exp_of_negative(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let series = 1.0 / 2.0 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))));
    let power = f32::from_bits(((n as i32 + 127) as u32) << 23);
    (1.0 + (r + r * r * series)) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_at_known_points() {
        // Values of the error function to ten digits.
        let known = [(0.0, 0.0), (0.1, 0.112_462_916), (0.5, 0.520_499_878), (1.0, 0.842_700_793)];
        let more = [(1.5, 0.966_105_146), (2.0, 0.995_322_265), (3.0, 0.999_977_91), (9.0, 1.0)];
        for (x, value) in known.into_iter().chain(more) {
            assert!((f64::from(erf(x)) - value).abs() < 4e-7, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }

    #[test]
    fn exp_against_the_standard_library() {
        for step in 0..8700 {
            let x = -0.01 * step as f32;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp_of_negative(x)) - exact).abs() <= 3e-7 * exact, "exp({x})");
        }
    }
}
