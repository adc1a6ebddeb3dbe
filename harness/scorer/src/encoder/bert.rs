//! BERT (Devlin et al. 2019, arXiv 1810.04805) on candle, for texts of any lengths packed token after token.
//!
//! A batch of texts with T tokens in all is one `[T, hidden]` matrix; there is no padding and no mask. Every product with
//! weights sees all T rows at once, and attention, the only place where tokens meet, runs over groups of texts of the same
//! length (texts come sorted, so groups are large where texts are short). A text's vectors therefore depend on its own
//! tokens alone, except for the rounding of products whose blocking changes with T.
//!
//! Layer norm and softmax are candle's fused ones, GELU is [`gelu`]; none of the three has a backward.
//!
//! Threads: run several batches side by side rather than one batch on several threads. A matrix of 384 columns is too
//! small to share well, and the steps between the products are single-threaded otherwise. (Reasoned, not measured.)

use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Module, Shape, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};
use kernels::encoder::Sequence;
use serde::Deserialize;

use crate::bundle::{Bundle, CONFIG};
use crate::error::{Result, ScorerError};
use crate::weights::Weights;

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

/// The transformer: sequences of ids -> token vectors.
pub struct Bert {
    config: BertConfig,
    words: Tensor,
    positions: Tensor,
    segments: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
    heads: usize,
}

struct Linear {
    /// `[inputs, outputs]`.
    weight: Tensor,
    bias: Tensor,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

/// Gives a named tensor of exactly the shape asked for.
struct Source<'a> {
    weights: &'a Weights<'a>,
    prefix: &'static str,
    epsilon: f32,
}

impl Bert {
    /// Builds the model from a weights file; names with and without a leading `bert.` are understood. Every shape is
    /// checked against the configuration.
    ///
    /// # Errors
    /// `MissingTensor` or `BadTensor`, by name.
    pub fn from_weights(config: BertConfig, weights: &Weights) -> Result<Self> {
        let prefix = if weights.contains("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        let source = Source { weights, prefix, epsilon: config.layer_norm_eps as f32 };
        let width = config.hidden_size;
        let embedding =
            |name: &str, rows| source.tensor(&format!("embeddings.{name}.weight"), &[rows, width]);
        let words = embedding("word_embeddings", config.vocab_size)?;
        let positions = embedding("position_embeddings", config.max_position_embeddings)?;
        let segments = embedding("token_type_embeddings", config.type_vocab_size)?;
        let norm = source.norm("embeddings.LayerNorm", width)?;
        let mut layers = Vec::new();
        for index in 0..config.num_hidden_layers {
            layers.push(Layer::from_source(&source, &config, index)?);
        }
        Ok(Self { words, positions, segments, norm, layers, config })
    }

    /// The configuration the model was built from.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The vectors of the last layer, `[sum of lengths, hidden_size]`, for sequences packed in the given order.
    ///
    /// # Errors
    /// `BadArgument` for an empty batch, an empty or overlong sequence, an id outside the vocabulary, or a second text
    /// that the model has no segment for.
    pub fn forward_sequences(&self, sequences: &[Sequence<'_>]) -> Result<Tensor> {
        let ids: Vec<&[u32]> = sequences.iter().map(|sequence| sequence.ids).collect();
        self.check_sequences(&ids)?;
        if self.config.type_vocab_size < 2 && sequences.iter().any(|one| one.second < one.ids.len()) {
            return Err(ScorerError::BadArgument("a pair for a model with one segment".into()));
        }
        let runs = equal_lengths(&ids);
        let mut hidden = self.embed(sequences)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, &runs)?;
        }
        Ok(hidden)
    }

    fn embed(&self, sequences: &[Sequence<'_>]) -> Result<Tensor> {
        let (mut ids, mut places, mut segments) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in sequences {
            ids.extend_from_slice(sequence.ids);
            places.extend(0..sequence.ids.len() as u32);
            segments.extend((0..sequence.ids.len()).map(|place| u32::from(place >= sequence.second)));
        }
        let pick = |table: &Tensor, rows: Vec<u32>| {
            let count = rows.len();
            table.index_select(&Tensor::from_vec(rows, count, &Device::Cpu)?, 0)
        };
        let sum = (pick(&self.words, ids)? + pick(&self.positions, places)?)?;
        Ok(self.norm.forward(&(sum + pick(&self.segments, segments)?)?)?)
    }

    fn check_sequences(&self, sequences: &[&[u32]]) -> Result<()> {
        let longest = self.config.max_position_embeddings;
        let bad = |reason| Err(ScorerError::BadArgument(reason));
        if sequences.is_empty() {
            return bad("a batch of no sequences".into());
        }
        for sequence in sequences {
            if sequence.is_empty() || sequence.len() > longest {
                return bad(format!("a sequence of {} ids, expected 1 to {longest}", sequence.len()));
            }
            if let Some(id) = sequence.iter().find(|&&id| id as usize >= self.config.vocab_size) {
                return bad(format!("id {id} in a vocabulary of {}", self.config.vocab_size));
            }
        }
        Ok(())
    }
}

/// `(count, length)` of each run of neighbours with the same length.
fn equal_lengths(sequences: &[&[u32]]) -> Vec<(usize, usize)> {
    sequences.chunk_by(|left, right| left.len() == right.len()).map(|run| (run.len(), run[0].len())).collect()
}

impl Layer {
    fn from_source(source: &Source, config: &BertConfig, index: usize) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let parts = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(Self {
            query_key_value: source.stacked(&parts, width, width)?,
            attention_output: source.linear(&name("attention.output.dense"), width, width)?,
            attention_norm: source.norm(&name("attention.output.LayerNorm"), width)?,
            intermediate: source.linear(&name("intermediate.dense"), width, inner)?,
            output: source.linear(&name("output.dense"), inner, width)?,
            output_norm: source.norm(&name("output.LayerNorm"), width)?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, hidden: &Tensor, runs: &[(usize, usize)]) -> candle_core::Result<Tensor> {
        let attended = self.attention_output.forward(&self.attend(hidden, runs)?)?;
        let hidden = self.attention_norm.forward(&(attended + hidden)?)?;
        let inner = gelu(&self.intermediate.forward(&hidden)?)?;
        let outer = self.output.forward(&inner)?;
        self.output_norm.forward(&(outer + hidden)?)
    }

    fn attend(&self, hidden: &Tensor, runs: &[(usize, usize)]) -> candle_core::Result<Tensor> {
        let projected = self.query_key_value.forward(hidden)?;
        let mut start = 0;
        let mut outputs = Vec::with_capacity(runs.len());
        for &(count, length) in runs {
            outputs.push(self.attend_run(&projected.narrow(0, start, count * length)?, count, length)?);
            start += count * length;
        }
        if outputs.len() == 1 { Ok(outputs.remove(0)) } else { Tensor::cat(&outputs, 0) }
    }

    /// softmax(Q K^T / sqrt(d)) V per head, for `count` texts of `length` tokens: `[count * length, 3 * width]` in.
    fn attend_run(&self, projected: &Tensor, count: usize, length: usize) -> candle_core::Result<Tensor> {
        let head = projected.dim(D::Minus1)? / 3 / self.heads;
        // [count, length, 3, heads, head] -> [3, count, heads, length, head]
        let split = projected.reshape((count, length, 3, self.heads, head))?.permute((2, 0, 3, 1, 4))?;
        let query = (split.get(0)?.contiguous()? * (1.0 / (head as f64).sqrt()))?;
        let key = split.get(1)?.contiguous()?;
        let value = split.get(2)?.contiguous()?;
        let scores = softmax_last_dim(&query.matmul(&key.t()?)?)?;
        scores.matmul(&value)?.transpose(1, 2)?.reshape((count * length, self.heads * head))
    }
}

impl Module for Linear {
    fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        input.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

impl Module for Norm {
    fn forward(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(&input.contiguous()?, &self.weight, &self.bias, self.epsilon)
    }
}

impl Source<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let values = self.weights.floats(&format!("{}{name}", self.prefix), shape)?;
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        self.stacked(&[name.to_owned()], inputs, outputs)
    }

    /// Several linear maps of the same input as one.
    fn stacked(&self, names: &[String], inputs: usize, outputs: usize) -> Result<Linear> {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for name in names {
            weights.push(self.tensor(&format!("{name}.weight"), &[outputs, inputs])?);
            biases.push(self.tensor(&format!("{name}.bias"), &[outputs])?);
        }
        let weight = Tensor::cat(&weights, 0)?.t()?.contiguous()?;
        Ok(Linear { weight, bias: Tensor::cat(&biases, 0)? })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm> {
        let weight = self.tensor(&format!("{name}.weight"), &[width])?;
        let bias = self.tensor(&format!("{name}.bias"), &[width])?;
        Ok(Norm { weight, bias, epsilon: self.epsilon })
    }
}

/// x Phi(x), the exact GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415), by [`erf`].
pub fn gelu(input: &Tensor) -> candle_core::Result<Tensor> {
    input.contiguous()?.apply_op1_no_bwd(&Gelu)
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let values = storage.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(candle_core::Error::Msg("gelu expects a contiguous tensor".into()));
        };
        let half = |x: f32| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
        let output = values[start..end].iter().map(|&x| half(x)).collect();
        Ok((CpuStorage::F32(output), layout.shape().clone()))
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

    #[test]
    fn runs_of_equal_lengths() {
        let sequences: [&[u32]; 4] = [&[1], &[2], &[1, 2], &[3]];
        assert_eq!(equal_lengths(&sequences), [(2, 1), (1, 2), (1, 1)]);
    }
}
