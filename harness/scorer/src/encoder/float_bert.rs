//! BERT in floats, on candle (feature `float`), for texts of any lengths packed token after token.
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

use super::bert::{BertConfig, erf};
use crate::error::{Result, ScorerError};
use crate::weights::Weights;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_equal_lengths() {
        let sequences: [&[u32]; 4] = [&[1], &[2], &[1, 2], &[3]];
        assert_eq!(equal_lengths(&sequences), [(2, 1), (1, 2), (1, 1)]);
    }
}
