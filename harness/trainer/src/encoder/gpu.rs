//! The encoder on a GPU: what [`super::Model`] computes on the processor, by `kernels::transformer`.
//!
//! The network's tensors, their gradients and AdamW's memory stay on the device from step to step, numbered there as the
//! handles are here. Pooled vectors come back, and are scaled to length 1 on the processor, where the loss reads them; their
//! slopes go the other way. The masks of dropout are the processor's.

use kernels::encoder::Sequence as Text;
use kernels::transformer::cuda::{Network as Device, Tape};
use kernels::transformer::{Architecture, Pair, Precision, Shape, Tensor, Text as Tokens};

use super::dropout::Dropout;
use super::parameters::{Gradients, Handle, Parameters};
use super::pooling::{normalize, normalize_backward};
use super::{Model, Network, sequences};
use crate::error::{Result, TrainerError};
use crate::optimizer::AdamW;

/// A model's tensors on the device.
#[derive(Debug)]
pub(crate) struct Resident {
    network: Device,
    /// Whether weight decay pulls and what multiplies the learning rate: an update for each pair there is.
    classes: Vec<(bool, f64)>,
}

/// The vectors of a chunk, and what its backward needs.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// One unit vector per text of the chunk, in the chunk's order.
    pub vectors: Vec<f32>,
    lengths: Vec<f64>,
    tape: Option<Tape>,
}

impl Resident {
    /// Puts a model's tensors on the device.
    ///
    /// # Errors
    /// [`TrainerError::Unsupported`] for what is trained on the processor only, [`TrainerError::Device`] where the device
    /// is missing or too small.
    pub fn new(model: &Model, precision: Precision) -> Result<Self> {
        let Network::Bert { bert, .. } = &model.network else {
            let what = match &model.network {
                Network::CrossEncoder(_) => "a cross-encoder",
                _ => "a static table",
            };
            return Err(TrainerError::Unsupported(format!("training {what} on a GPU")));
        };
        let (shape, architecture) = bert.architecture()?;
        let parameters = &model.parameters;
        let mut classes: Vec<(bool, f64)> = Vec::new();
        let mut update = |handle: Handle| {
            let specification = parameters.specification(handle);
            specification.trainable.then(|| {
                let class = (specification.decays, specification.rate);
                classes.iter().position(|known| *known == class).unwrap_or_else(|| {
                    classes.push(class);
                    classes.len() - 1
                })
            })
        };
        let tensors: Vec<Tensor<'_>> = parameters
            .handles()
            .map(|handle| Tensor { values: parameters.values(handle), update: update(handle) })
            .collect();
        let network = Device::new(shape, architecture, &tensors, precision)?;
        Ok(Self { network, classes })
    }

    /// What the device computes in.
    pub fn precision(&self) -> Precision {
        self.network.precision()
    }

    /// As [`Model::forward`].
    ///
    /// # Errors
    /// [`TrainerError::Device`].
    pub fn forward(
        &self,
        model: &Model,
        texts: &[Text<'_>],
        chunk: &[usize],
        dropout: Option<&Dropout>,
        keep: bool,
    ) -> Result<Encoded> {
        let Network::Bert { pooling, .. } = &model.network else {
            return Err(TrainerError::Unsupported("another network than a BERT on a GPU".into()));
        };
        let sequences = sequences(texts, chunk);
        let tokens: Vec<Tokens<'_>> = sequences
            .iter()
            .map(|sequence| Tokens { ids: sequence.ids, second: sequence.second, key: sequence.key })
            .collect();
        let weights: Vec<f32> = sequences
            .iter()
            .flat_map(|sequence| {
                let length = sequence.ids.len();
                (0..length).map(move |token| pooling.weight(token, length))
            })
            .collect();
        let masks = dropout.copied();
        let (mut vectors, tape) = self.network.forward(&tokens, &weights, masks, keep)?;
        let lengths = vectors.chunks_exact_mut(model.dimensions()).map(normalize).collect();
        Ok(Encoded { vectors, lengths, tape })
    }

    /// As [`Model::backward`], into the gradients on the device.
    ///
    /// # Errors
    /// [`TrainerError::Device`].
    pub fn backward(&mut self, width: usize, encoded: Encoded, mut slope: Vec<f32>) -> Result<()> {
        let Encoded { vectors, lengths, tape } = encoded;
        debug_assert!(tape.is_some(), "a backward without a tape");
        let rows = vectors.chunks_exact(width).zip(&lengths);
        for ((unit, &length), slope) in rows.zip(slope.chunks_exact_mut(width)) {
            normalize_backward(unit, length, slope);
        }
        tape.map_or(Ok(()), |tape| Ok(self.network.backward(tape, &slope)?))
    }

    /// Makes all gradients zero.
    ///
    /// # Errors
    /// [`TrainerError::Device`].
    pub fn clear_gradients(&mut self) -> Result<()> {
        Ok(self.network.clear_gradients()?)
    }

    /// The length of all gradients as one vector.
    ///
    /// # Errors
    /// [`TrainerError::Device`].
    pub fn gradient_norm(&self) -> Result<f64> {
        Ok(self.network.square_sum()?.sqrt())
    }

    /// As [`AdamW::step`], whose steps it counts on.
    ///
    /// # Errors
    /// [`TrainerError::Device`].
    pub fn step(&mut self, optimizer: &mut AdamW, factor: f32, learning_rate: f64) -> Result<()> {
        let updates = optimizer.updates(&self.classes, factor, learning_rate);
        Ok(self.network.step(&updates)?)
    }

    /// Brings values, the optimizer's memory and the gradients back.
    ///
    /// # Errors
    /// [`TrainerError::Device`].
    pub fn fetch(
        &self,
        parameters: &mut Parameters,
        optimizer: &mut AdamW,
        gradients: &mut Gradients,
    ) -> Result<()> {
        for (handle, moments) in &mut optimizer.moments {
            let tensor = handle.number();
            parameters.values_mut(*handle).copy_from_slice(&self.network.values(tensor)?);
            (moments.mean, moments.square) = self.network.moments(tensor)?;
            if let Some(gradient) = gradients.of(*handle) {
                gradient.copy_from_slice(&self.network.gradient(tensor)?);
            }
        }
        Ok(())
    }

    /// The other way, for a run that goes on from a checkpoint.
    ///
    /// # Errors
    /// [`TrainerError::Device`].
    pub fn send(&mut self, parameters: &Parameters, optimizer: &AdamW) -> Result<()> {
        let restored = optimizer.moments.iter().map(|(handle, moments)| {
            (handle.number(), parameters.values(*handle), moments.mean.as_slice(), moments.square.as_slice())
        });
        Ok(self.network.restore(restored)?)
    }

    /// Gives memory that no chunk needs at the moment back to the device.
    pub fn release(&self) {
        self.network.release();
    }
}

impl super::bert::Bert {
    /// The network's sizes, and its tensors by number.
    ///
    /// # Errors
    /// [`TrainerError::Unsupported`] where maps carry adapters.
    fn architecture(&self) -> Result<(Shape, Architecture)> {
        if self.layers.iter().flat_map(super::bert::Layer::maps).any(|map| !map.adapters.is_empty()) {
            return Err(TrainerError::Unsupported("training adapters (scorer.lora) on a GPU".into()));
        }
        let pair = |weight: Handle, bias: Handle| Pair { weight: weight.number(), bias: bias.number() };
        let map = |map: &super::linear::Linear| pair(map.weight, map.bias);
        let norm = |norm: super::norm::Norm| pair(norm.weight, norm.bias);
        let layer = |layer: &super::bert::Layer| kernels::transformer::Layer {
            query_key_value: map(&layer.query_key_value),
            attention_output: map(&layer.attention_output),
            attention_norm: norm(layer.attention_norm),
            intermediate: map(&layer.intermediate),
            output: map(&layer.output),
            output_norm: norm(layer.output_norm),
        };
        let config = self.config();
        let shape = Shape {
            width: config.hidden_size,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            epsilon: self.norm.epsilon,
        };
        let architecture = Architecture {
            words: self.words.number(),
            positions: self.positions.number(),
            segments: self.segments.number(),
            norm: norm(self.norm),
            layers: self.layers.iter().map(layer).collect(),
        };
        Ok((shape, architecture))
    }
}
