//! A float BERT bundle as one in 8 bits.
//!
//! Weights get one scale per output, word embeddings one per word, both symmetric: the largest magnitude becomes the largest
//! code, 127, or for weights 63 where asked for ([`WeightBits`]). Activations are quantised while the encoder runs, one scale per token, and a few columns of large values would
//! take the steps from all others. So the inputs of the two linear maps behind a layer norm are evened out first
//! (SmoothQuant, Xiao et al. 2023, arXiv 2211.10438, equation 4 with alpha = 1/2): column c of the activations is divided
//! by, and column c of the weights multiplied with,
//!
//! ```text
//! s[c] = sqrt(largest |activation| in column c) / sqrt(largest |weight| in column c)
//! ```
//!
//! The largest activations are those over calibration texts, seen by the 8-bit encoder itself without evening-out, whose
//! bits are the same everywhere: so the same texts give the same bundle, byte for byte, on every machine. Positions and
//! the first segment's embedding are added and kept in 16 bits; biases, scales, layer norms, what the second segment adds and
//! a labeler's head in 32.

use std::collections::BTreeMap;

use half::f16;
use kernels::Device;
use kernels::encoder::{
    EIGHT_BITS, Encoder, Layer, Linear, Norm, SEVEN_BITS, Sequence, Weights as Parts, quantize_rows,
};
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

/// An encoder's bundle in 8 bits, evened out over `texts` (which may be none: then nothing is evened out). Tokenizer,
/// pooling and prompts stay as they are; the card is replaced.
///
/// # Errors
/// `Unsupported` for a bundle that is not a float BERT, and whatever loading it may bring.
pub fn quantize(bundle: &Bundle, texts: &[&str], weights: WeightBits, card: &str) -> Result<Bundle> {
    let float = Float::of(bundle, weights)?;
    let mut ids = Vec::new();
    if !texts.is_empty() {
        let encoder = DualEncoder::from_bundle(bundle, &EncoderOptions::default())?;
        ids = texts.iter().map(|text| encoder.ids(text, Role::Document)).collect::<Result<_>>()?;
    }
    let sequences: Vec<Sequence> = ids.iter().map(|ids| Sequence::single(ids)).collect();
    let tensors = Tensors::of(&float.evened_out(&sequences, false)?);
    written(bundle, &tensors, card)
}

/// A cross-encoder labeler's bundle in 8 bits, evened out over `pairs`. Its head stays in floats, its `labeler.json` and
/// tokenizer as they are; the card is replaced.
///
/// # Errors
/// `Unsupported` for a bundle that is not a float cross-encoder, and whatever loading it may bring.
pub fn quantize_labeler(
    bundle: &Bundle,
    pairs: &[Pair<'_>],
    weights: WeightBits,
    card: &str,
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
    let mut tensors = Tensors::of(&float.evened_out(&sequences, true)?);
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

    /// In 8 bits, evened out over `sequences`; with the second segment for a reader of pairs.
    fn evened_out(&self, sequences: &[Sequence<'_>], pairs: bool) -> Result<Parts> {
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
        let plain = Encoder::new(plain, Device::auto()).map_err(refused)?;
        let maxima = plain.input_maxima(sequences).map_err(refused)?;
        let layers = self.weights.layers.iter().zip(maxima);
        let smoothing = layers.map(|(layer, maxima)| Smoothing {
            query_key_value: divisors(&layer.query_key_value, &maxima.query_key_value),
            intermediate: divisors(&layer.intermediate, &maxima.intermediate),
        });
        Ok(parts(&smoothing.collect::<Vec<_>>()))
    }
}

/// What the activations' columns are divided by; empty for nothing.
#[derive(Clone, Default)]
struct Smoothing {
    query_key_value: Vec<f32>,
    intermediate: Vec<f32>,
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
            output: layer.output.quantized(&[], bits),
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

impl FloatLinear {
    fn quantized(&self, divisors: &[f32], bits: WeightBits) -> Linear {
        let mut weights = self.weights.clone();
        let mut multipliers = vec![1.0; self.inputs];
        if !divisors.is_empty() {
            for row in weights.chunks_exact_mut(self.inputs) {
                row.iter_mut().zip(divisors).for_each(|(weight, by)| *weight *= by);
            }
            multipliers = divisors.iter().map(|by| 1.0 / by).collect();
        }
        let (codes, scales) = quantize_rows(&weights, self.inputs, bits.largest_code());
        Linear { codes, scales, bias: self.bias.clone(), multipliers }
    }
}

/// What the columns of the activations are divided by, from the largest of each. Square roots are exact, so the same
/// everywhere.
fn divisors(linear: &FloatLinear, activations: &[f32]) -> Vec<f32> {
    let mut largest = vec![0.0f32; linear.inputs];
    for row in linear.weights.chunks_exact(linear.inputs) {
        largest.iter_mut().zip(row).for_each(|(most, weight)| *most = most.max(weight.abs()));
    }
    let root = |x: f32| x.max(SMALLEST).sqrt();
    activations.iter().zip(largest).map(|(&activation, weight)| root(activation) / root(weight)).collect()
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
