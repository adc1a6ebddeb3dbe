//! BERT in floats: the tensors of a checkpoint as transformers writes them, run by
//! `kernels::encoder::float`, whose bits are the same on every processor and in the browser.
//!
//! # Bundle
//!
//! That of a sentence-transformers folder, with `"model_type": "bert"` in `config.json` and in `model.safetensors` the tensors
//! of transformers' `BertModel`, in f32, f16 or bf16; a leading `bert.` in their names is understood.

use kernels::Device;
use kernels::encoder::float::{Embeddings, Encoder, Layer, Linear, Norm, Sequence, Weights as Parts};

use super::Instructions;
use super::bert::BertConfig;
use super::quantized::{refused, shape};
use crate::error::{Result, ScorerError};
use crate::weights::Weights;

/// The transformer: sequences of ids -> token vectors.
pub struct Bert {
    encoder: Encoder,
}

/// Gives a named tensor of exactly the shape asked for.
struct Source<'a> {
    weights: &'a Weights<'a>,
    prefix: &'static str,
}

impl Bert {
    /// Reads the tensors, each of exactly the shape that the configuration calls for, and lays them out for the
    /// instructions asked for.
    ///
    /// # Errors
    /// `MissingTensor` or `BadTensor`, by name; `BadArgument` for instructions that this processor lacks.
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
    /// `BadArgument` for an empty or overlong sequence, an id outside the vocabulary, or a second text that the model has
    /// no segment for.
    pub fn forward_sequences(&self, sequences: &[Sequence<'_>]) -> Result<Vec<f32>> {
        self.encoder.forward_sequences(sequences).map_err(|error| ScorerError::BadArgument(error.to_string()))
    }
}

fn read(config: &BertConfig, weights: &Weights) -> Result<Parts> {
    let prefix = if weights.contains("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
    let source = Source { weights, prefix };
    let width = config.hidden_size;
    let table = |name: &str, rows| source.tensor(&format!("embeddings.{name}.weight"), &[rows, width]);
    let mut segments = table("token_type_embeddings", config.type_vocab_size)?;
    segments.truncate(2 * width);
    let embeddings = Embeddings {
        words: table("word_embeddings", config.vocab_size)?,
        positions: table("position_embeddings", config.max_position_embeddings)?,
        segments,
        norm: source.norm("embeddings.LayerNorm", width)?,
    };
    let layers = (0..config.num_hidden_layers).map(|index| source.layer(config, index));
    Ok(Parts { shape: shape(config), embeddings, layers: layers.collect::<Result<_>>()? })
}

impl Source<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.weights.floats(&format!("{}{name}", self.prefix), shape)
    }

    fn layer(&self, config: &BertConfig, index: usize) -> Result<Layer> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let parts = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(Layer {
            query_key_value: self.stacked(&parts, width, width)?,
            attention_output: self.stacked(&[name("attention.output.dense")], width, width)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), width)?,
            intermediate: self.stacked(&[name("intermediate.dense")], width, inner)?,
            output: self.stacked(&[name("output.dense")], inner, width)?,
            output_norm: self.norm(&name("output.LayerNorm"), width)?,
        })
    }

    /// Linear maps of the same input, one below the other.
    fn stacked(&self, names: &[String], inputs: usize, outputs: usize) -> Result<Linear> {
        let mut linear = Linear { weights: Vec::new(), bias: Vec::new() };
        for name in names {
            linear.weights.extend(self.tensor(&format!("{name}.weight"), &[outputs, inputs])?);
            linear.bias.extend(self.tensor(&format!("{name}.bias"), &[outputs])?);
        }
        Ok(linear)
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            gain: self.tensor(&format!("{name}.weight"), &[width])?,
            bias: self.tensor(&format!("{name}.bias"), &[width])?,
        })
    }
}
