//! A float BERT bundle as one in 8 bits.
//!
//! Weights get one scale per output, word embeddings one per word, both symmetric: the largest magnitude becomes the largest
//! code, 127, or for weights 63 where asked for ([`WeightBits`]). Activations are quantised while the encoder runs, one scale per token, and a few columns of large values would
//! take the steps from all others. So the inputs of three of a layer's four linear maps are evened out first (SmoothQuant,
//! Xiao et al. 2023, arXiv 2211.10438, equation 4): column c of the activations is divided by, and column c of the weights
//! multiplied with,
//!
//! ```text
//! s[c] = (largest |activation| in column c)^alpha / (largest |weight| in column c)^(1 - alpha)
//! ```
//!
//! with alpha = 0.8 before queries, keys and values, 0.5 before the feed-forward block. Behind GELU most columns are alike and a few
//! are not, and which of them is large depends on the text: there only columns beyond the median are brought nearer to it, `s[c] =
//! max(1, largest |activation| in column c / median of these)^(1/4)`. (Alphas, and the quarter, are those of the least error
//! of MiniLM's vectors over texts of five collections.)
//!
//! Then weights are rounded so that their errors cancel over the inputs seen ([`rounding`]), layer by layer: what goes into
//! a layer is what the layers before it give after they have been rounded.
//!
//! Inputs are those of calibration texts, seen by the 8-bit encoder itself, whose bits are the same everywhere; what is made
//! of them has one order and one rounding too. So the same texts give the same bundle, byte for byte, on every machine. Positions and
//! the first segment's embedding are added and kept in 16 bits; biases, scales, layer norms, what the second segment adds and
//! a labeler's head in 32.

pub mod rounding;

use std::collections::BTreeMap;

use half::f16;
use kernels::Device;
use kernels::encoder::{
    EIGHT_BITS, Encoder, Layer, Linear, Map, Norm, SEVEN_BITS, Sequence, Weights as Parts, quantize_rows,
};
use rayon::prelude::*;
use rounding::{Gram, rounded};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::bundle::{Bundle, CARD, CONFIG, LABELER, WEIGHTS};
use crate::dual_encoder::DualEncoder;
use crate::encoder::EncoderOptions;
use crate::encoder::bert::BertConfig;
use crate::encoder::quantized::{MODEL_TYPE, SECOND_SEGMENT, refused, shape};
use crate::error::{Result, ScorerError};
use crate::labeler::grade_head::{CLASSIFIER, POOLER};
use crate::labeler::{CrossEncoderFile, Pair, is_cross_encoder};
use crate::template::Role;
use crate::tokens::PairIds;
use crate::weights::Weights;

/// Magnitudes below this do not decide a scale.
const SMALLEST: f32 = 1e-5;
/// Equation 4's alpha for the inputs of queries, keys and values.
const QUERY_KEY_VALUE_ALPHA: f64 = 0.8;
/// Equation 4's alpha for the inputs of the feed-forward block.
const INTERMEDIATE_ALPHA: f64 = 0.5;
/// How much nearer to the median columns behind GELU are brought: its power.
const OUTPUT_POWER: f64 = 0.25;
/// Texts whose inputs are held at a time.
const TEXTS_AT_A_TIME: usize = 16;
/// Tokens over which weights are rounded, about; of more, an even choice of the texts is taken.
const MOST_TOKENS: usize = 32_768;

/// Is told how many of how many layers are done.
pub type Progress<'a> = dyn FnMut(usize, usize) + 'a;

/// The bits of a weight of a linear map. They are stored in eight either way, and run by every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightBits {
    /// For browsers and node: WebAssembly with relaxed vector instructions takes about half as long for the products.
    Seven,
    /// The nearest to the floats.
    Eight,
}

impl WeightBits {
    /// As a number.
    #[must_use]
    pub fn count(self) -> u8 {
        match self {
            WeightBits::Seven => 7,
            WeightBits::Eight => 8,
        }
    }

    fn largest_code(self) -> i8 {
        match self {
            WeightBits::Seven => SEVEN_BITS,
            WeightBits::Eight => EIGHT_BITS,
        }
    }
}

/// An encoder's bundle in 8 bits, evened out and rounded over `texts` (which may be none: then nothing is evened out and
/// weights become their nearest codes). Tokenizer, pooling and prompts stay as they are; the card is replaced.
///
/// Takes minutes, by the square of the widths: see [`rounding`].
///
/// # Errors
/// `Unsupported` for a bundle that is not a float BERT, and whatever loading it may bring.
pub fn quantize(
    bundle: &Bundle,
    texts: &[&str],
    weights: WeightBits,
    card: &str,
    progress: &mut Progress<'_>,
) -> Result<Bundle> {
    let float = Float::of(bundle, weights)?;
    let mut ids = Vec::new();
    if !texts.is_empty() {
        let encoder = DualEncoder::from_bundle(bundle, &EncoderOptions::default())?;
        ids = texts.iter().map(|text| encoder.ids(text, Role::Document)).collect::<Result<_>>()?;
    }
    let sequences: Vec<Sequence> = ids.iter().map(|ids| Sequence::single(ids)).collect();
    let tensors = Tensors::of(&float.quantized(&sequences, false, progress)?);
    written(bundle, &tensors, card)
}

/// A cross-encoder labeler's bundle in 8 bits, evened out and rounded over `pairs`. Its head stays in floats, its `labeler.json` and
/// tokenizer as they are; the card is replaced.
///
/// # Errors
/// `Unsupported` for a bundle that is not a float cross-encoder, and whatever loading it may bring.
pub fn quantize_labeler(
    bundle: &Bundle,
    pairs: &[Pair<'_>],
    weights: WeightBits,
    card: &str,
    progress: &mut Progress<'_>,
) -> Result<Bundle> {
    if !is_cross_encoder(bundle)? {
        let what = "quantising a labeler that is no cross-encoder".into();
        return Err(ScorerError::Unsupported { file: LABELER.into(), what });
    }
    let float = Float::of(bundle, weights)?;
    let file = CrossEncoderFile::from_bundle(bundle)?;
    let tokens = file.tokens(bundle, &float.config, None)?;
    let ids = pairs.iter().map(|pair| tokens.encode(pair.query, pair.document));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    let sequences: Vec<Sequence> = ids.iter().map(PairIds::sequence).collect();
    let mut tensors = Tensors::of(&float.quantized(&sequences, true, progress)?);
    let (width, outputs) = (float.config.hidden_size, file.head.outputs(file.cuts()?.scale().levels().len()));
    let weights = Weights::from_bundle(bundle, WEIGHTS)?;
    let source = Source { weights: &weights, prefix: prefix(&weights) };
    tensors.map(POOLER, &source.linear(&[POOLER], width, width)?);
    let source = Source { weights: &weights, prefix: "" };
    tensors.map(CLASSIFIER, &source.linear(&[CLASSIFIER], width, outputs)?);
    written(bundle, &tensors, card)
}

/// The bundle with its configuration renamed, its tensors and its card replaced.
fn written(bundle: &Bundle, tensors: &Tensors, card: &str) -> Result<Bundle> {
    let mut files: BTreeMap<String, Vec<u8>> = bundle
        .names()
        .filter_map(|name| bundle.get(name).map(|content| (name.to_owned(), content.to_vec())))
        .collect();
    files.insert(CONFIG.into(), renamed(bundle)?);
    files.insert(WEIGHTS.into(), tensors.serialize()?);
    files.insert(CARD.into(), card.as_bytes().to_vec());
    Bundle::from_files(files)
}

/// A float BERT, read for quantising.
struct Float {
    config: BertConfig,
    weights: FloatWeights,
    bits: WeightBits,
}

impl Float {
    fn of(bundle: &Bundle, bits: WeightBits) -> Result<Self> {
        let model = bundle.describe()?.model_type;
        if model != "bert" {
            return Err(ScorerError::Unsupported {
                file: CONFIG.into(),
                what: format!("quantising {model:?}"),
            });
        }
        let config = BertConfig::from_bundle(bundle)?;
        let weights = FloatWeights::read(&config, &Weights::from_bundle(bundle, WEIGHTS)?)?;
        Ok(Self { config, weights, bits })
    }

    /// In 8 bits, evened out and rounded over `sequences`; with the second segment for a reader of pairs.
    fn quantized(
        &self,
        sequences: &[Sequence<'_>],
        pairs: bool,
        progress: &mut Progress<'_>,
    ) -> Result<Parts> {
        let parts = |smoothing: &[Smoothing]| {
            let mut parts = self.weights.quantized(&self.config, smoothing, self.bits);
            if pairs {
                parts.second_segment.clone_from(&self.weights.second_segment);
            }
            parts
        };
        let plain = parts(&vec![Smoothing::default(); self.config.num_hidden_layers]);
        if sequences.is_empty() {
            return Ok(plain);
        }
        let smoothing = self.smoothing(plain, sequences)?;
        let mut evened_out = parts(&smoothing);
        let tokens: usize = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let some: Vec<Sequence> =
            sequences.iter().step_by(tokens.div_ceil(MOST_TOKENS).max(1)).copied().collect();
        for (index, layer) in self.weights.layers.iter().enumerate() {
            progress(index, self.weights.layers.len());
            let grams = grams(&evened_out, index, &some)?;
            layer.round(&mut evened_out.layers[index], &smoothing[index], &grams, self.bits);
        }
        progress(self.weights.layers.len(), self.weights.layers.len());
        Ok(evened_out)
    }

    /// What each layer's inputs are to be divided by, from the largest that an encoder without evening-out sees.
    fn smoothing(&self, plain: Parts, sequences: &[Sequence<'_>]) -> Result<Vec<Smoothing>> {
        let (width, inner) = (plain.shape.width, plain.shape.inner);
        let plain = Encoder::new(plain, Device::auto()).map_err(refused)?;
        let none = || [vec![0.0f32; width], vec![0.0; width], vec![0.0; width], vec![0.0; inner]];
        let mut maxima: Vec<_> = (0..self.config.num_hidden_layers).map(|_| none()).collect();
        for sequences in sequences.chunks(TEXTS_AT_A_TIME) {
            let found = sequences.par_iter().map(|sequence| {
                let mut maxima: Vec<_> = (0..self.config.num_hidden_layers).map(|_| none()).collect();
                plain
                    .watch_inputs(&[*sequence], &mut |layer, map, rows| {
                        let maxima = &mut maxima[layer][map as usize];
                        rows.chunks_exact(maxima.len()).for_each(|row| keep_largest(maxima, row));
                    })
                    .map_err(refused)?;
                Ok(maxima)
            });
            for found in found.collect::<Result<Vec<_>>>()? {
                for (maxima, found) in maxima.iter_mut().flatten().zip(found.iter().flatten()) {
                    keep_largest(maxima, found);
                }
            }
        }
        let layers = self.weights.layers.iter().zip(&maxima);
        let smoothing = layers.map(|(layer, maxima)| {
            let largest = |map: Map| maxima[map as usize].as_slice();
            Smoothing {
                query_key_value: divisors(
                    &layer.query_key_value,
                    largest(Map::QueryKeyValue),
                    QUERY_KEY_VALUE_ALPHA,
                ),
                intermediate: divisors(&layer.intermediate, largest(Map::Intermediate), INTERMEDIATE_ALPHA),
                output: nearer_to_the_median(largest(Map::Output)),
            }
        });
        Ok(smoothing.collect())
    }
}

fn keep_largest(maxima: &mut [f32], row: &[f32]) {
    maxima.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(x.abs()));
}

/// Of the inputs of one layer's maps, behind their multipliers, in the order of [`Map`].
fn grams(parts: &Parts, index: usize, sequences: &[Sequence<'_>]) -> Result<[Gram; 4]> {
    let layer = &parts.layers[index];
    let maps = [&layer.query_key_value, &layer.attention_output, &layer.intermediate, &layer.output];
    let mut grams = maps.map(|map| Gram::new(map.multipliers.len()));
    let layers = parts.layers[..=index].to_vec();
    let encoder = Encoder::new(Parts { layers, ..without_layers(parts) }, Device::auto()).map_err(refused)?;
    for sequences in sequences.chunks(TEXTS_AT_A_TIME) {
        let found = sequences.par_iter().map(|sequence| {
            let mut inputs: [Vec<f64>; 4] = Default::default();
            encoder
                .watch_inputs(&[*sequence], &mut |layer, map, rows| {
                    if layer == index {
                        let multipliers = &maps[map as usize].multipliers;
                        let scaled =
                            rows.iter().zip(multipliers.iter().cycle()).map(|(x, by)| f64::from(x * by));
                        inputs[map as usize].extend(scaled);
                    }
                })
                .map_err(refused)?;
            Ok(inputs)
        });
        for inputs in found.collect::<Result<Vec<_>>>()? {
            grams.iter_mut().zip(&inputs).for_each(|(gram, rows)| gram.add(rows));
        }
    }
    Ok(grams)
}

/// The same with no layer.
fn without_layers(parts: &Parts) -> Parts {
    Parts {
        shape: parts.shape,
        words: parts.words.clone(),
        word_scales: parts.word_scales.clone(),
        positions: parts.positions.clone(),
        second_segment: parts.second_segment.clone(),
        norm: parts.norm.clone(),
        layers: Vec::new(),
    }
}

/// What the activations' columns are divided by; empty for nothing.
#[derive(Clone, Default)]
struct Smoothing {
    query_key_value: Vec<f32>,
    intermediate: Vec<f32>,
    output: Vec<f32>,
}

/// A linear map as it was: `outputs x inputs`.
struct FloatLinear {
    weights: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

struct FloatLayer {
    query_key_value: FloatLinear,
    attention_output: FloatLinear,
    attention_norm: Norm,
    intermediate: FloatLinear,
    output: FloatLinear,
    output_norm: Norm,
}

struct FloatWeights {
    words: Vec<f32>,
    positions: Vec<f32>,
    /// The second segment less the first; empty where there is one segment only.
    second_segment: Vec<f32>,
    norm: Norm,
    layers: Vec<FloatLayer>,
}

/// Reads tensors by the names of a BERT checkpoint, with and without a leading `bert.`.
struct Source<'a> {
    weights: &'a Weights<'a>,
    prefix: &'static str,
}

fn prefix(weights: &Weights) -> &'static str {
    if weights.contains("bert.embeddings.word_embeddings.weight") { "bert." } else { "" }
}

impl Source<'_> {
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.weights.floats(&format!("{}{name}", self.prefix), shape)
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            gain: self.floats(&format!("{name}.weight"), &[width])?,
            bias: self.floats(&format!("{name}.bias"), &[width])?,
        })
    }

    /// Linear maps of the same input, one below the other.
    fn linear(&self, names: &[&str], inputs: usize, outputs: usize) -> Result<FloatLinear> {
        let mut linear = FloatLinear { weights: Vec::new(), bias: Vec::new(), inputs };
        for name in names {
            linear.weights.extend(self.floats(&format!("{name}.weight"), &[outputs, inputs])?);
            linear.bias.extend(self.floats(&format!("{name}.bias"), &[outputs])?);
        }
        Ok(linear)
    }

    fn layer(&self, config: &BertConfig, index: usize) -> Result<FloatLayer> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let parts = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(FloatLayer {
            query_key_value: self.linear(&parts.each_ref().map(String::as_str), width, width)?,
            attention_output: self.linear(&[&name("attention.output.dense")], width, width)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), width)?,
            intermediate: self.linear(&[&name("intermediate.dense")], width, inner)?,
            output: self.linear(&[&name("output.dense")], inner, width)?,
            output_norm: self.norm(&name("output.LayerNorm"), width)?,
        })
    }
}

impl FloatWeights {
    fn read(config: &BertConfig, weights: &Weights) -> Result<Self> {
        let source = Source { weights, prefix: prefix(weights) };
        let width = config.hidden_size;
        let table = |name: &str, rows| source.floats(&format!("embeddings.{name}.weight"), &[rows, width]);
        let segments = table("token_type_embeddings", config.type_vocab_size)?;
        let mut positions = table("position_embeddings", config.max_position_embeddings)?;
        for row in positions.chunks_exact_mut(width) {
            row.iter_mut().zip(&segments).for_each(|(x, s)| *x = f16::from_f32(*x + s).to_f32());
        }
        let second = segments.get(width..2 * width).unwrap_or_default();
        let second_segment = second.iter().zip(&segments).map(|(second, first)| second - first).collect();
        let layers = (0..config.num_hidden_layers).map(|index| source.layer(config, index));
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions,
            second_segment,
            norm: source.norm("embeddings.LayerNorm", width)?,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    fn quantized(&self, config: &BertConfig, smoothing: &[Smoothing], bits: WeightBits) -> Parts {
        let (words, word_scales) = quantize_rows(&self.words, config.hidden_size, EIGHT_BITS);
        let layers = self.layers.iter().zip(smoothing).map(|(layer, smoothing)| Layer {
            query_key_value: layer.query_key_value.quantized(&smoothing.query_key_value, bits),
            attention_output: layer.attention_output.quantized(&[], bits),
            attention_norm: layer.attention_norm.clone(),
            intermediate: layer.intermediate.quantized(&smoothing.intermediate, bits),
            output: layer.output.quantized(&smoothing.output, bits),
            output_norm: layer.output_norm.clone(),
        });
        Parts {
            shape: shape(config),
            words,
            word_scales,
            positions: self.positions.clone(),
            second_segment: Vec::new(),
            norm: self.norm.clone(),
            layers: layers.collect(),
        }
    }
}

impl FloatLayer {
    /// Replaces the nearest codes of a layer by those whose errors cancel over inputs of which `grams` are the sums.
    fn round(&self, layer: &mut Layer, smoothing: &Smoothing, grams: &[Gram; 4], bits: WeightBits) {
        let [query_key_value, attention_output, intermediate, output] = grams;
        let round = |map: &FloatLinear, divisors: &[f32], gram: &Gram, to: &mut Linear| {
            (to.codes, to.scales) = rounded(&map.evened_out(divisors), gram, bits.largest_code());
        };
        round(&self.query_key_value, &smoothing.query_key_value, query_key_value, &mut layer.query_key_value);
        round(&self.attention_output, &[], attention_output, &mut layer.attention_output);
        round(&self.intermediate, &smoothing.intermediate, intermediate, &mut layer.intermediate);
        round(&self.output, &smoothing.output, output, &mut layer.output);
    }
}

impl FloatLinear {
    /// To the nearest codes.
    fn quantized(&self, divisors: &[f32], bits: WeightBits) -> Linear {
        let (codes, scales) = quantize_rows(&self.evened_out(divisors), self.inputs, bits.largest_code());
        let multipliers = match divisors {
            [] => vec![1.0; self.inputs],
            divisors => divisors.iter().map(|by| 1.0 / by).collect(),
        };
        Linear { codes, scales, bias: self.bias.clone(), multipliers }
    }

    /// The weights, multiplied with what their inputs are divided by.
    fn evened_out(&self, divisors: &[f32]) -> Vec<f32> {
        let mut weights = self.weights.clone();
        for row in weights.chunks_exact_mut(self.inputs) {
            row.iter_mut().zip(divisors).for_each(|(weight, by)| *weight *= by);
        }
        weights
    }
}

/// What the columns of the activations are divided by, from the largest of each. Powers are the crate libm's, the same
/// everywhere.
fn divisors(linear: &FloatLinear, activations: &[f32], alpha: f64) -> Vec<f32> {
    let mut largest = vec![0.0f32; linear.inputs];
    linear.weights.chunks_exact(linear.inputs).for_each(|row| keep_largest(&mut largest, row));
    let power = |x: f32, of: f64| libm::pow(x.max(SMALLEST).into(), of);
    let pairs = activations.iter().zip(largest);
    pairs
        .map(|(&activation, weight)| (power(activation, alpha) / power(weight, 1.0 - alpha)) as f32)
        .collect()
}

/// The same behind GELU, for columns beyond the median.
fn nearer_to_the_median(activations: &[f32]) -> Vec<f32> {
    let mut sorted = activations.to_vec();
    sorted.sort_by(f32::total_cmp);
    let median = sorted[sorted.len() / 2].max(SMALLEST);
    let beyond = |x: f32| f64::from(x / median).max(1.0);
    activations.iter().map(|&x| libm::pow(beyond(x), OUTPUT_POWER) as f32).collect()
}

/// The configuration with its `model_type` changed.
fn renamed(bundle: &Bundle) -> Result<Vec<u8>> {
    let mut config: Value = bundle.json(CONFIG)?.unwrap_or_default();
    config["model_type"] = MODEL_TYPE.into();
    serde_json::to_vec_pretty(&config)
        .map_err(|error| ScorerError::BadConfig { file: CONFIG.into(), reason: error.to_string() })
}

/// Tensors on their way to a file.
#[derive(Default)]
struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn floats(&mut self, name: String, values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0.push((name, Dtype::F32, vec![values.len()], bytes));
    }

    fn codes(&mut self, name: String, codes: &[i8], columns: usize) {
        let bytes = codes.iter().map(|&code| code as u8).collect();
        self.0.push((name, Dtype::I8, vec![codes.len() / columns, columns], bytes));
    }

    fn norm(&mut self, name: &str, norm: &Norm) {
        self.floats(format!("{name}.gain"), &norm.gain);
        self.floats(format!("{name}.bias"), &norm.bias);
    }

    fn linear(&mut self, name: &str, linear: &Linear) {
        self.codes(format!("{name}.codes"), &linear.codes, linear.multipliers.len());
        self.floats(format!("{name}.scales"), &linear.scales);
        self.floats(format!("{name}.bias"), &linear.bias);
        self.floats(format!("{name}.multipliers"), &linear.multipliers);
    }

    /// A linear map in floats, `outputs x inputs`.
    fn map(&mut self, name: &str, map: &FloatLinear) {
        self.floats(format!("{name}.weight"), &map.weights);
        if let Some((_, _, shape, _)) = self.0.last_mut() {
            *shape = vec![map.bias.len(), map.inputs];
        }
        self.floats(format!("{name}.bias"), &map.bias);
    }

    fn of(parts: &Parts) -> Self {
        let (width, positions) = (parts.shape.width, parts.shape.positions);
        let mut tensors = Self::default();
        tensors.codes("words.codes".into(), &parts.words, width);
        tensors.floats("words.scales".into(), &parts.word_scales);
        let halves = parts.positions.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        tensors.0.push(("positions".into(), Dtype::F16, vec![positions, width], halves));
        if !parts.second_segment.is_empty() {
            tensors.floats(SECOND_SEGMENT.into(), &parts.second_segment);
        }
        tensors.norm("norm", &parts.norm);
        for (index, layer) in parts.layers.iter().enumerate() {
            let name = |part: &str| format!("layers.{index}.{part}");
            tensors.linear(&name("query_key_value"), &layer.query_key_value);
            tensors.linear(&name("attention_output"), &layer.attention_output);
            tensors.norm(&name("attention_norm"), &layer.attention_norm);
            tensors.linear(&name("intermediate"), &layer.intermediate);
            tensors.linear(&name("output"), &layer.output);
            tensors.norm(&name("output_norm"), &layer.output_norm);
        }
        tensors
    }

    fn serialize(&self) -> Result<Vec<u8>> {
        let refused = |error: safetensors::SafeTensorError| ScorerError::BadWeights {
            file: WEIGHTS.into(),
            reason: error.to_string(),
        };
        let views = self.0.iter().map(|(name, dtype, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(refused)?))
        });
        safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None).map_err(refused)
    }
}
