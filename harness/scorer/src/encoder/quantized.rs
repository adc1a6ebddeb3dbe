//! BERT in 8 bits: the tensors of a `bert_int8` bundle, run by `kernels::encoder`, whose bits are the same on every
//! processor and in the browser.
//!
//! # Bundle
//!
//! That of a sentence-transformers folder, with `"model_type": "bert_int8"` in `config.json` and other tensors in
//! `model.safetensors` (v words, p positions, d wide, h inside the feed-forward block):
//!
//! | tensor | shape | type |
//! |---|---|---|
//! | `words.codes`, `words.scales` | `[v, d]`, `[v]` | I8, float |
//! | `positions` | `[p, d]` | float: position plus first segment |
//! | `second_segment` | `[d]` | float: what the second segment adds to that; only where there are pairs |
//! | `norm.gain`, `norm.bias` | `[d]` | float |
//! | `layers.N.attention_norm.*`, `layers.N.output_norm.*` | as `norm` | float |
//! | `layers.N.query_key_value.codes`, `.scales`, `.bias`, `.multipliers` | `[3d, d]`, `[3d]`, `[3d]`, `[d]` | I8, floats |
//! | `layers.N.attention_output.*` | the same from d to d | |
//! | `layers.N.intermediate.*` | from d to h | |
//! | `layers.N.output.*` | from h to d | |
//!
//! Any float is f32, f16 or bf16. What the numbers mean is said in `kernels::encoder`; [`crate::quantize`] makes such a
//! bundle from a float one.

use kernels::Device;
use kernels::encoder::{Encoder, Layer, Linear, Norm, Sequence, Shape, Weights as Parts};

use super::Instructions;
use super::bert::BertConfig;
use crate::bundle::WEIGHTS;
use crate::error::{Result, ScorerError};
use crate::weights::Weights;

/// The tensor that only bundles for pairs have.
pub(crate) const SECOND_SEGMENT: &str = "second_segment";

/// `model_type` of such a bundle.
pub const MODEL_TYPE: &str = "bert_int8";

/// The transformer: sequences of ids -> token vectors.
pub struct QuantizedBert {
    encoder: Encoder,
}

impl QuantizedBert {
    /// Reads the tensors, each of exactly the shape that the configuration calls for, and lays them out for the
    /// instructions asked for.
    ///
    /// # Errors
    /// `MissingTensor` or `BadTensor`, by name; `BadWeights` for sizes that 32-bit sums cannot hold; `BadArgument` for
    /// instructions that this processor lacks.
    pub fn from_weights(config: &BertConfig, weights: &Weights, instructions: Instructions) -> Result<Self> {
        let parts = read(config, weights)?;
        let encoder = match instructions {
            Instructions::Best => Encoder::new(parts, Device::auto()),
            Instructions::Scalar => Encoder::on(parts, None),
            Instructions::Set(set) => Encoder::on(parts, Some(set)),
        };
        Ok(Self { encoder: encoder.map_err(refused)? })
    }

    /// The vectors of the last layer, `sum of lengths x hidden_size`, for sequences packed in the given order.
    ///
    /// # Errors
    /// `BadArgument` for an empty or overlong sequence, an id outside the vocabulary, or a second text in a bundle
    /// without `second_segment`.
    pub fn forward_sequences(&self, sequences: &[Sequence<'_>]) -> Result<Vec<f32>> {
        self.encoder.forward_sequences(sequences).map_err(|error| ScorerError::BadArgument(error.to_string()))
    }
}

pub(crate) fn refused(error: kernels::Error) -> ScorerError {
    match error {
        kernels::Error::Device { .. } => ScorerError::BadArgument(error.to_string()),
        _ => ScorerError::BadWeights { file: WEIGHTS.into(), reason: error.to_string() },
    }
}

pub(crate) fn shape(config: &BertConfig) -> Shape {
    Shape {
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        width: config.hidden_size,
        heads: config.num_attention_heads,
        inner: config.intermediate_size,
        epsilon: config.layer_norm_eps as f32,
    }
}

fn read(config: &BertConfig, weights: &Weights) -> Result<Parts> {
    let shape = shape(config);
    let (width, inner) = (shape.width, shape.inner);
    let mut layers = Vec::new();
    for index in 0..config.num_hidden_layers {
        let name = |part: &str| format!("layers.{index}.{part}");
        layers.push(Layer {
            query_key_value: linear(weights, &name("query_key_value"), width, 3 * width)?,
            attention_output: linear(weights, &name("attention_output"), width, width)?,
            attention_norm: norm(weights, &name("attention_norm"), width)?,
            intermediate: linear(weights, &name("intermediate"), width, inner)?,
            output: linear(weights, &name("output"), inner, width)?,
            output_norm: norm(weights, &name("output_norm"), width)?,
        });
    }
    let second_segment = match weights.contains(SECOND_SEGMENT) {
        true => weights.floats(SECOND_SEGMENT, &[width])?,
        false => Vec::new(),
    };
    Ok(Parts {
        shape,
        words: weights.bytes_i8("words.codes", &[shape.vocabulary, width])?,
        word_scales: weights.floats("words.scales", &[shape.vocabulary])?,
        positions: weights.floats("positions", &[shape.positions, width])?,
        second_segment,
        norm: norm(weights, "norm", width)?,
        layers,
    })
}

fn linear(weights: &Weights, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
    Ok(Linear {
        codes: weights.bytes_i8(&format!("{name}.codes"), &[outputs, inputs])?,
        scales: weights.floats(&format!("{name}.scales"), &[outputs])?,
        bias: weights.floats(&format!("{name}.bias"), &[outputs])?,
        multipliers: weights.floats(&format!("{name}.multipliers"), &[inputs])?,
    })
}

fn norm(weights: &Weights, name: &str, width: usize) -> Result<Norm> {
    Ok(Norm {
        gain: weights.floats(&format!("{name}.gain"), &[width])?,
        bias: weights.floats(&format!("{name}.bias"), &[width])?,
    })
}
