//! The forward path of a BERT encoder (Devlin et al. 2019, arXiv 1810.04805) in 8-bit weights and activations: token
//! ids in, a vector per token out, the same bits on every device. Its twin in floats, which keeps that promise too, is
//! [`float`].
//!
//! # What is computed
//!
//! `x = norm(words[id] + positions[place])`, for the tokens of a pair's second text `norm(words[id] + positions[place] +
//! second_segment)`, then per layer
//!
//! ```text
//! x = norm(x + linear(attention(linear(x))))
//! x = norm(x + linear(gelu(linear(x))))
//! ```
//!
//! - **linear** (dynamic 8-bit quantisation): a row is multiplied by `multipliers` (what its columns gave to the
//!   weights, SmoothQuant, Xiao et al. 2023, arXiv 2211.10438), its largest magnitude becomes code 127, every element
//!   the nearest code; `y[o] = (sum_i code[i] weight[o][i]) scales[o] row_scale + bias[o]` with the sum in 32-bit
//!   integers.
//! - **attention**, per text and head of width d: keys get one scale to 11 bits, values one to 10 bits, a query one per
//!   token to 11 bits; `s[j] = q . k[j]` in integers, `w[j] = 4095 * 2^((s[j] - max s) * scale)` rounded to an integer,
//!   `(sum_j w[j] v[j]) / (sum_j w[j])` with both sums in integers. Probabilities therefore sum to one, and eight bits
//!   would not do: tails of many tokens below 1/510 of the largest would vanish together.
//! - **gelu**, **norm** and every other float step: see `math.rs`.
//!
//! # Same bits
//!
//! Integer sums are exact, so their order is free. Float steps are written once in plain Rust, element by element or, for
//! the two sums of a layer norm, in a fixed order, and no device fuses a product with a sum. Texts are packed token after
//! token: there is no padding, and no value of one text enters another's. So scalar, vector and wasm paths agree to the
//! last bit, whatever the batch.
//!
//! # Sizes
//!
//! At most [`MAX_POSITIONS`] tokens a text, [`MAX_HEAD`] elements a head and [`MAX_INPUTS`] inputs of a linear map: up to
//! there no integer sum can overflow.

#[cfg(all(test, not(target_arch = "wasm32")))]
mod emulated;
pub mod float;
#[cfg(target_arch = "x86_64")]
pub mod limit;
#[cfg(target_arch = "x86_64")]
mod maddubs;
mod math;
mod packed;
#[cfg(any(all(test, not(target_arch = "wasm32")), all(target_arch = "wasm32", feature = "relaxed-simd")))]
mod relaxed;
mod scalar;
#[cfg(any(
    all(test, not(target_arch = "wasm32")),
    target_arch = "x86_64",
    all(target_arch = "wasm32", feature = "relaxed-simd")
))]
mod segments;
mod simd;
#[cfg(test)]
mod tests;

use crate::device::{Device, InstructionSet, Unavailable};
use crate::error::{Error, Result};

/// Goes up whenever the same weights and ids get other bits than before, so that what was computed earlier and kept is told from
/// what is computed now.
pub const BITS: u32 = 1;
/// Tokens of a text: `512 x 4095 x 1023 < 2^31`.
pub const MAX_POSITIONS: usize = 512;
/// Elements of a head: two logits differ by at most `2 x 256 x 2047^2 < 2^31`.
pub const MAX_HEAD: usize = 256;
/// Inputs of a linear map: `65536 x 255 x 127 < 2^31`.
pub const MAX_INPUTS: usize = 65_536;

/// The largest magnitude of a code of 8 bits.
pub const EIGHT_BITS: i8 = 127;
/// The largest magnitude of a code of 7 bits. Where no weight of the linear maps is beyond it, WebAssembly with relaxed vector
/// instructions (`relaxed.rs`) and x86 without VNNI (`maddubs.rs`) take half as many of them; the bits are those of every other
/// path.
pub const SEVEN_BITS: i8 = 63;

/// The sizes of an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Rows of the word embedding.
    pub vocabulary: usize,
    /// Rows of the position embedding: tokens a text may have.
    pub positions: usize,
    /// Elements of a token's vector.
    pub width: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Elements inside the feed-forward block.
    pub inner: usize,
    /// Added to the variance in layer norm.
    pub epsilon: f32,
}

/// A linear map in 8 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `outputs x inputs` codes, -127 to 127.
    pub codes: Vec<i8>,
    /// Per output, what a code is worth.
    pub scales: Vec<f32>,
    /// Per output.
    pub bias: Vec<f32>,
    /// Per input, what a value is multiplied with before it is quantised. The weights have been divided by it.
    pub multipliers: Vec<f32>,
}

/// Gain and bias of a layer norm.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Per element.
    pub gain: Vec<f32>,
    /// Per element.
    pub bias: Vec<f32>,
}

/// One layer, of linear maps in 8 bits or in floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<L = Linear> {
    /// `width` inputs to `3 width` outputs: queries, keys, values, each head after head.
    pub query_key_value: L,
    /// `width` to `width`.
    pub attention_output: L,
    /// After the first sum.
    pub attention_norm: Norm,
    /// `width` to `inner`.
    pub intermediate: L,
    /// `inner` to `width`.
    pub output: L,
    /// After the second sum.
    pub output_norm: Norm,
}

/// Everything an encoder is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The sizes.
    pub shape: Shape,
    /// `vocabulary x width` codes.
    pub words: Vec<i8>,
    /// Per word, what a code is worth.
    pub word_scales: Vec<f32>,
    /// `positions x width`: the position's embedding plus that of the first segment.
    pub positions: Vec<f32>,
    /// What a token of the second segment gets on top of that, `width` values; none for an encoder of single texts.
    pub second_segment: Vec<f32>,
    /// After the sum of the embeddings.
    pub norm: Norm,
    /// First to last.
    pub layers: Vec<Layer>,
}

/// Token ids with their segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// The ids, special ones included.
    pub ids: &'a [u32],
    /// From this token on the sequence is the second text of a pair; the number of ids where there is only one text.
    pub second: usize,
}

impl<'a> Sequence<'a> {
    /// A single text.
    #[must_use]
    pub fn single(ids: &'a [u32]) -> Self {
        Self { ids, second: ids.len() }
    }

    /// How many ids there are.
    fn len(&self) -> usize {
        self.ids.len()
    }
}

/// Rows of floats as codes: the nearest step of a scale per row, under which the largest magnitude is `largest`
/// ([`EIGHT_BITS`] or [`SEVEN_BITS`]). This is how weights and word embeddings become codes. Values are `rows x columns`;
/// the result is as many codes and a scale per row, with `value = code * scale` up to half a scale.
///
/// # Panics
/// When `columns` is 0.
#[must_use]
pub fn quantize_rows(values: &[f32], columns: usize, largest: i8) -> (Vec<i8>, Vec<f32>) {
    let mut codes = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / columns);
    for row in values.chunks(columns) {
        let (inverse, scale) = math::scales(math::largest_magnitude(row), largest.into());
        codes.extend(row.iter().map(|&value| math::round(value * inverse) as i8));
        scales.push(scale);
    }
    (codes, scales)
}

/// An encoder laid out for one device.
pub struct Encoder {
    shape: Shape,
    has_second_segment: bool,
    engine: Engine,
}

enum Engine {
    Scalar(Box<Weights>),
    Vector(Box<dyn simd::Forward>),
}

impl Encoder {
    /// Checks the weights and lays them out for a device.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot run here (there is none for CUDA), [`Error::OutOfRange`] for a size that
    /// is zero, does not divide or is beyond the module's limits, [`Error::Length`] for a slice of another length than
    /// the sizes ask for, [`Error::NotFinite`] for a NaN or infinity.
    pub fn new(weights: Weights, device: Device) -> Result<Encoder> {
        device.require()?;
        match (device, InstructionSet::best()) {
            (Device::Simd, Some(set)) => Encoder::on(weights, Some(set)),
            (Device::Cuda, _) => {
                let reason = Unavailable::NotImplemented { operation: "the 8-bit encoder" };
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
        let (shape, has_second_segment) = (weights.shape, !weights.second_segment.is_empty());
        let engine = match set {
            None => Engine::Scalar(Box::new(weights)),
            Some(set) if set.is_available() => Engine::Vector(simd::lay_out(&weights, set)),
            Some(_) => {
                return Err(Error::Device {
                    device: Device::Simd,
                    reason: Unavailable::NoVectorInstructions,
                });
            }
        };
        Ok(Encoder { shape, has_second_segment, engine })
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The vectors of the last layer, one of `width` values per token, for single texts packed in the given order. Runs
    /// on the calling thread; calls on several threads do not disturb each other.
    ///
    /// # Errors
    /// [`Error::Empty`] for a sequence without ids, [`Error::Index`] for an id outside the vocabulary or a sequence of
    /// more ids than there are positions.
    pub fn forward(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        self.forward_sequences(&texts.iter().map(|ids| Sequence::single(ids)).collect::<Vec<_>>())
    }

    /// The same for sequences that may be pairs.
    ///
    /// # Errors
    /// Those of [`Encoder::forward`], [`Error::Index`] for a second text that begins beyond its sequence, and
    /// [`Error::Length`] for one where the weights know no second segment.
    pub fn forward_sequences(&self, sequences: &[Sequence<'_>]) -> Result<Vec<f32>> {
        self.forward_watched(sequences, &mut |_, _, _| {})
    }

    /// Shows `look` every row that goes into a linear map, the same on every device: `multipliers` and the rounding of weights
    /// are chosen by what is seen there.
    ///
    /// # Errors
    /// Those of [`Encoder::forward_sequences`].
    pub fn watch_inputs(&self, sequences: &[Sequence<'_>], look: &mut Look<'_>) -> Result<()> {
        self.forward_watched(sequences, look).map(|_| ())
    }

    fn forward_watched(&self, sequences: &[Sequence<'_>], look: &mut Look<'_>) -> Result<Vec<f32>> {
        check_sequences(&self.shape, self.has_second_segment, sequences)?;
        let tokens = sequences.iter().map(Sequence::len).sum::<usize>();
        let mut hidden = vec![0.0; tokens * self.shape.width];
        match &self.engine {
            Engine::Scalar(weights) => {
                let mut rest = hidden.as_mut_slice();
                for sequence in sequences {
                    let (own, others) = rest.split_at_mut(sequence.len() * self.shape.width);
                    scalar::forward(weights, *sequence, own, look);
                    rest = others;
                }
            }
            Engine::Vector(vector) => vector.forward(sequences, &mut hidden, look),
        }
        Ok(hidden)
    }
}

/// A linear map of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// [`Layer::query_key_value`].
    QueryKeyValue,
    /// [`Layer::attention_output`].
    AttentionOutput,
    /// [`Layer::intermediate`].
    Intermediate,
    /// [`Layer::output`].
    Output,
}

/// Is shown layer, map and rows of what goes into that map, before its multipliers. Of one layer's map the rows come in the
/// order of the tokens, on every device; in how many calls, and what comes between, is the device's affair.
pub type Look<'a> = dyn FnMut(usize, Map, &[f32]) + 'a;

fn check_sequences(shape: &Shape, has_second_segment: bool, sequences: &[Sequence<'_>]) -> Result<()> {
    for (entry, &Sequence { ids: sequence, second }) in sequences.iter().enumerate() {
        if second > sequence.len() {
            let (index, limit) = (second, sequence.len());
            return Err(Error::Index { what: "second texts", entry, index, limit, of: "tokens" });
        }
        if second < sequence.len() && !has_second_segment {
            return length("second segment", 0, 1, shape.width);
        }
        if sequence.is_empty() {
            return Err(Error::Empty { what: "a sequence of token ids", rows: entry, columns: 0 });
        }
        if sequence.len() > shape.positions {
            let (index, limit) = (sequence.len() - 1, shape.positions);
            return Err(Error::Index {
                what: "last token of a sequence",
                entry,
                index,
                limit,
                of: "positions",
            });
        }
        if let Some(place) = sequence.iter().position(|&id| id as usize >= shape.vocabulary) {
            let (index, limit) = (sequence[place] as usize, shape.vocabulary);
            return Err(Error::Index { what: "token ids", entry: place, index, limit, of: "words" });
        }
    }
    Ok(())
}

impl Shape {
    /// What has to hold in 8 bits and in floats.
    fn check(&self) -> Result<()> {
        let Shape { vocabulary, width, heads, epsilon, .. } = *self;
        in_range("vocabulary", vocabulary, 1, u32::MAX as usize, "1 to 2^32 - 1")?;
        in_range("heads", heads, 1, width, "1 to the width")?;
        if !width.is_multiple_of(heads) {
            return Err(out_of_range("heads", heads, "a divisor of the width"));
        }
        if !(epsilon > 0.0 && epsilon < 1.0) {
            let (value, expected) = (f64::from(epsilon), "a number between 0 and 1");
            return Err(Error::OutOfRange { what: "epsilon", value, expected });
        }
        Ok(())
    }
}

impl Weights {
    /// Refuses sizes that do not fit each other, or that the integer sums could not hold, and values that are not finite.
    ///
    /// # Errors
    /// As [`Encoder::new`] says.
    pub fn check(&self) -> Result<()> {
        let Shape { vocabulary, positions, width, heads, inner, .. } = self.shape;
        in_range("positions", positions, 1, MAX_POSITIONS, "1 to 512")?;
        in_range("width", width, 1, MAX_INPUTS, "1 to 65536")?;
        in_range("inner width", inner, 1, MAX_INPUTS, "1 to 65536")?;
        self.shape.check()?;
        in_range("width of a head", width / heads, 1, MAX_HEAD, "1 to 256")?;
        length("word embeddings", self.words.len(), vocabulary, width)?;
        finite("word scales", &self.word_scales, vocabulary, 1)?;
        finite("position embeddings", &self.positions, positions, width)?;
        if !self.second_segment.is_empty() {
            finite("second segment", &self.second_segment, 1, width)?;
        }
        self.norm.check(width)?;
        self.layers.iter().try_for_each(|layer| layer.check(width, inner))
    }
}

impl Weights {
    /// Whether no weight of a linear map has a larger magnitude.
    #[cfg(any(
        all(test, not(target_arch = "wasm32")),
        target_arch = "x86_64",
        all(target_arch = "wasm32", feature = "relaxed-simd")
    ))]
    fn are_within(&self, largest: i8) -> bool {
        let maps = |layer: &Layer| {
            let Layer { query_key_value, attention_output, intermediate, output, .. } = layer;
            [query_key_value, attention_output, intermediate, output]
                .iter()
                .all(|map| map.codes.iter().all(|code| code.unsigned_abs() <= largest.unsigned_abs()))
        };
        self.layers.iter().all(maps)
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
        length(what, self.codes.len(), outputs, inputs)?;
        if self.codes.contains(&i8::MIN) {
            return Err(Error::OutOfRange { what, value: -128.0, expected: "codes from -127 to 127" });
        }
        finite(what, &self.scales, outputs, 1)?;
        finite(what, &self.bias, outputs, 1)?;
        finite(what, &self.multipliers, inputs, 1)
    }
}

impl Norm {
    fn check(&self, width: usize) -> Result<()> {
        finite("layer norm gain", &self.gain, width, 1)?;
        finite("layer norm bias", &self.bias, width, 1)
    }
}

fn out_of_range(what: &'static str, value: usize, expected: &'static str) -> Error {
    Error::OutOfRange { what, value: value as f64, expected }
}

fn in_range(what: &'static str, value: usize, least: usize, most: usize, range: &'static str) -> Result<()> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(out_of_range(what, value, range)) }
}

fn length(what: &'static str, got: usize, rows: usize, columns: usize) -> Result<()> {
    let needed = rows.checked_mul(columns).ok_or(Error::TooLarge { what, rows, stride: columns })?;
    if got == needed {
        Ok(())
    } else {
        Err(Error::Length { what, rows, columns, stride: columns, needed, got })
    }
}

fn finite(what: &'static str, values: &[f32], rows: usize, columns: usize) -> Result<()> {
    length(what, values.len(), rows, columns)?;
    crate::matrix::Matrix::new(what, values, rows, columns)?.require_finite(what)
}
