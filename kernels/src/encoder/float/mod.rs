//! The forward path of a BERT encoder (Devlin et al. 2019, arXiv 1810.04805) in 32-bit floats: token ids in, a vector per
//! token out, the same bits on every device.
//!
//! # What is computed
//!
//! `x = norm(words[id] + positions[place] + segments[segment])`, then per layer
//!
//! ```text
//! x = norm(x + linear(attention(linear(x))))
//! x = norm(x + linear(gelu(linear(x))))
//! ```
//!
//! - **linear**: `y[o] = bias[o] + x[0] w[o][0] + x[1] w[o][1] + ...`
//! - **attention**, per text and head of width d: `s[j] = q[0] k[j][0] + q[1] k[j][1] + ...`, `w[j] = exp((s[j] - max s) /
//!   sqrt d)`, `(w[0] v[0] + w[1] v[1] + ...) / (sum_j w[j])`
//! - **gelu** (by the error function), **softmax** and **norm**: see `math.rs`.
//!
//! # Same bits
//!
//! Every product and every sum is rounded to f32, none fused with another. A sum of products begins with what is written
//! first above and adds one product after the other, inputs, elements or tokens in ascending order; the sums of softmax and
//! layer norm run in the fixed order of `math.rs`. Vectors of instructions therefore hold different outputs of one row, never
//! parts of a sum. Texts are packed token after token without padding, and no value of one enters another's. So scalar, vector
//! and wasm paths agree to the last bit, whatever the batch, as long as no sum overflows to a NaN, of which there are several.

mod scalar;
mod simd;
#[cfg(test)]
mod tests;

pub use super::math::{erf, exp_of_negative};
pub use super::{Norm, Sequence, Shape};

use super::{check_sequences, finite, in_range};
use crate::device::{Device, InstructionSet, Unavailable};
use crate::error::{Error, Result};

/// As [`super::BITS`], of the encoder in floats. 1 is its first, after candle's.
pub const BITS: u32 = 1;
/// No size of an encoder may exceed this: it keeps products of sizes far from overflow.
pub const MAX_SIZE: usize = 1 << 24;

/// A linear map.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `outputs x inputs`.
    pub weights: Vec<f32>,
    /// Per output.
    pub bias: Vec<f32>,
}

/// One layer.
pub type Layer = super::Layer<Linear>;

/// What a token is before the first layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// `vocabulary x width`.
    pub words: Vec<f32>,
    /// `positions x width`.
    pub positions: Vec<f32>,
    /// One row of `width` values for an encoder of single texts, two where second texts have a segment of their own.
    pub segments: Vec<f32>,
    /// After their sum.
    pub norm: Norm,
}

/// Everything an encoder is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The sizes.
    pub shape: Shape,
    /// Before the first layer.
    pub embeddings: Embeddings,
    /// First to last.
    pub layers: Vec<Layer>,
}

/// An encoder laid out for one device.
pub struct Encoder {
    shape: Shape,
    has_second_segment: bool,
    engine: Engine,
}

enum Engine {
    Scalar(Box<Weights>),
    Vector(Box<simd::Packed>),
}

impl Encoder {
    /// Checks the weights and lays them out for a device.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot run here (there is none for CUDA), [`Error::OutOfRange`] for a size that
    /// is zero, does not divide or is beyond [`MAX_SIZE`], [`Error::Length`] for a slice of another length than the sizes
    /// ask for, [`Error::NotFinite`] for a NaN or infinity.
    pub fn new(weights: Weights, device: Device) -> Result<Encoder> {
        device.require()?;
        match (device, InstructionSet::best()) {
            (Device::Simd, Some(set)) => Encoder::on(weights, Some(set)),
            (Device::Cuda, _) => {
                let reason = Unavailable::NotImplemented { operation: "the float encoder" };
                Err(Error::Device { device, reason })
            }
            _ => Encoder::on(weights, None),
        }
    }

    /// The same on a named instruction set, or the plain loops, for tests and measurements that compare them.
    ///
    /// # Errors
    /// Those of [`Encoder::new`].
    pub fn on(weights: Weights, set: Option<InstructionSet>) -> Result<Encoder> {
        weights.check()?;
        let shape = weights.shape;
        let has_second_segment = weights.embeddings.segments.len() > shape.width;
        let engine = match set {
            None => Engine::Scalar(Box::new(weights)),
            Some(set) if set.is_available() => {
                Engine::Vector(Box::new(simd::Packed::new(weights, Some(set))))
            }
            Some(_) => {
                let reason = Unavailable::NoVectorInstructions;
                return Err(Error::Device { device: Device::Simd, reason });
            }
        };
        Ok(Encoder { shape, has_second_segment, engine })
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The vectors of the last layer, one of `width` values per token, for sequences packed in the given order. Runs on
    /// the calling thread; calls on several threads do not disturb each other.
    ///
    /// # Errors
    /// [`Error::Empty`] for a sequence without ids, [`Error::Index`] for an id outside the vocabulary, a sequence of more
    /// ids than there are positions or a second text that begins beyond its sequence, [`Error::Length`] for a second text
    /// where the weights know one segment only.
    pub fn forward_sequences(&self, sequences: &[Sequence<'_>]) -> Result<Vec<f32>> {
        check_sequences(&self.shape, self.has_second_segment, sequences)?;
        let tokens = sequences.iter().map(Sequence::len).sum::<usize>();
        let mut hidden = vec![0.0; tokens * self.shape.width];
        match &self.engine {
            Engine::Scalar(weights) => {
                let mut rest = hidden.as_mut_slice();
                for sequence in sequences {
                    let (own, others) = rest.split_at_mut(sequence.len() * self.shape.width);
                    scalar::forward(weights, *sequence, own);
                    rest = others;
                }
            }
            Engine::Vector(packed) => packed.forward(sequences, &mut hidden),
        }
        Ok(hidden)
    }
}

impl Weights {
    /// Refuses sizes that do not fit each other and values that are not finite.
    ///
    /// # Errors
    /// As [`Encoder::new`] says.
    pub fn check(&self) -> Result<()> {
        let Shape { positions, width, inner, .. } = self.shape;
        for (what, size) in [("positions", positions), ("width", width), ("inner width", inner)] {
            in_range(what, size, 1, MAX_SIZE, "1 to 2^24")?;
        }
        self.shape.check()?;
        self.embeddings.check(&self.shape)?;
        self.layers.iter().try_for_each(|layer| layer.check(width, inner))
    }
}

impl Embeddings {
    fn check(&self, shape: &Shape) -> Result<()> {
        let Shape { vocabulary, positions, width, .. } = *shape;
        finite("word embeddings", &self.words, vocabulary, width)?;
        finite("position embeddings", &self.positions, positions, width)?;
        let segments = if self.segments.len() > width { 2 } else { 1 };
        finite("segment embeddings", &self.segments, segments, width)?;
        self.norm.check(width)
    }
}

impl Layer {
    fn check(&self, width: usize, inner: usize) -> Result<()> {
        self.query_key_value.check("query, key and value", width, 3 * width)?;
        self.attention_output.check("attention output", width, width)?;
        self.attention_norm.check(width)?;
        self.intermediate.check("intermediate", width, inner)?;
        self.output.check("output", inner, width)?;
        self.output_norm.check(width)
    }
}

impl Linear {
    fn check(&self, what: &'static str, inputs: usize, outputs: usize) -> Result<()> {
        finite(what, &self.weights, outputs, inputs)?;
        finite(what, &self.bias, outputs, 1)
    }
}
