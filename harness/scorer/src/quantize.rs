//! A float BERT bundle as one in 8 bits.
//!
//! Weights get one scale per output, word embeddings one per word, both symmetric: the largest magnitude becomes code
//! 127. Activations are quantised while the encoder runs, one scale per token, and a few columns of large values would
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
//! the first segment's embedding are added and kept in 16 bits; biases, scales and layer norms in 32.

use std::collections::BTreeMap;

use half::f16;
use kernels::Device;
use kernels::encoder::{Encoder, Layer, Linear, Norm, Weights as Parts, quantize_rows};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::bundle::{Bundle, CARD, CONFIG, WEIGHTS};
use crate::dual_encoder::DualEncoder;
use crate::encoder::EncoderOptions;
use crate::encoder::bert::BertConfig;
use crate::encoder::quantized::{MODEL_TYPE, refused, shape};
use crate::error::{Result, ScorerError};
use crate::template::Role;
use crate::weights::Weights;

/// Magnitudes below this do not decide a scale.
const SMALLEST: f32 = 1e-5;

/// The bundle in 8 bits, evened out over `texts` (which may be none: then nothing is evened out). Tokenizer, pooling and
/// prompts stay as they are; the card is replaced.
///
/// # Errors
/// `Unsupported` for a bundle that is not a float BERT, and whatever loading it may bring.
pub fn quantize(bundle: &Bundle, texts: &[&str], card: &str) -> Result<Bundle> {
    let model = bundle.describe()?.model_type;
    if model != "bert" {
        return Err(ScorerError::Unsupported { file: CONFIG.into(), what: format!("quantising {model:?}") });
    }
    let config = BertConfig::from_bundle(bundle)?;
    let weights = Weights::from_bundle(bundle, WEIGHTS)?;
    let floats = FloatWeights::read(&config, &weights)?;
    let mut parts = floats.quantized(&vec![Smoothing::default(); config.num_hidden_layers]);
    if !texts.is_empty() {
        let encoder = DualEncoder::from_bundle(bundle, &EncoderOptions::default())?;
        let ids = texts.iter().map(|text| encoder.ids(text, Role::Document)).collect::<Result<Vec<_>>>()?;
        let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let plain = Encoder::new(parts, Device::auto()).map_err(refused)?;
        let maxima = plain.input_maxima(&ids).map_err(refused)?;
        let smoothing: Vec<Smoothing> = floats
            .layers
            .iter()
            .zip(maxima)
            .map(|(layer, maxima)| Smoothing {
                query_key_value: divisors(&layer.query_key_value, &maxima.query_key_value),
                intermediate: divisors(&layer.intermediate, &maxima.intermediate),
            })
            .collect();
        parts = floats.quantized(&smoothing);
    }
    let mut files: BTreeMap<String, Vec<u8>> = bundle
        .names()
        .filter_map(|name| bundle.get(name).map(|content| (name.to_owned(), content.to_vec())))
        .collect();
    files.insert(CONFIG.into(), renamed(bundle)?);
    files.insert(WEIGHTS.into(), serialize(&parts)?);
    files.insert(CARD.into(), card.as_bytes().to_vec());
    Bundle::from_files(files)
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

struct FloatWeights<'a> {
    config: &'a BertConfig,
    words: Vec<f32>,
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<FloatLayer>,
}

/// Reads tensors by the names of a BERT checkpoint, with and without a leading `bert.`.
struct Source<'a> {
    weights: &'a Weights<'a>,
    prefix: &'static str,
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

impl<'a> FloatWeights<'a> {
    fn read(config: &'a BertConfig, weights: &Weights) -> Result<Self> {
        let prefix = if weights.contains("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        let source = Source { weights, prefix };
        let width = config.hidden_size;
        let table = |name: &str, rows| source.floats(&format!("embeddings.{name}.weight"), &[rows, width]);
        let segments = table("token_type_embeddings", config.type_vocab_size)?;
        let mut positions = table("position_embeddings", config.max_position_embeddings)?;
        for row in positions.chunks_exact_mut(width) {
            row.iter_mut().zip(&segments).for_each(|(x, s)| *x = f16::from_f32(*x + s).to_f32());
        }
        let layers = (0..config.num_hidden_layers).map(|index| source.layer(config, index));
        Ok(Self {
            config,
            words: table("word_embeddings", config.vocab_size)?,
            positions,
            norm: source.norm("embeddings.LayerNorm", width)?,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    fn quantized(&self, smoothing: &[Smoothing]) -> Parts {
        let (words, word_scales) = quantize_rows(&self.words, self.config.hidden_size);
        let layers = self.layers.iter().zip(smoothing).map(|(layer, smoothing)| Layer {
            query_key_value: layer.query_key_value.quantized(&smoothing.query_key_value),
            attention_output: layer.attention_output.quantized(&[]),
            attention_norm: layer.attention_norm.clone(),
            intermediate: layer.intermediate.quantized(&smoothing.intermediate),
            output: layer.output.quantized(&[]),
            output_norm: layer.output_norm.clone(),
        });
        Parts {
            shape: shape(self.config),
            words,
            word_scales,
            positions: self.positions.clone(),
            norm: self.norm.clone(),
            layers: layers.collect(),
        }
    }
}

impl FloatLinear {
    fn quantized(&self, divisors: &[f32]) -> Linear {
        let mut weights = self.weights.clone();
        let mut multipliers = vec![1.0; self.inputs];
        if !divisors.is_empty() {
            for row in weights.chunks_exact_mut(self.inputs) {
                row.iter_mut().zip(divisors).for_each(|(weight, by)| *weight *= by);
            }
            multipliers = divisors.iter().map(|by| 1.0 / by).collect();
        }
        let (codes, scales) = quantize_rows(&weights, self.inputs);
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
}

fn serialize(parts: &Parts) -> Result<Vec<u8>> {
    let (width, positions) = (parts.shape.width, parts.shape.positions);
    let mut tensors = Tensors::default();
    tensors.codes("words.codes".into(), &parts.words, width);
    tensors.floats("words.scales".into(), &parts.word_scales);
    let halves = parts.positions.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
    tensors.0.push(("positions".into(), Dtype::F16, vec![positions, width], halves));
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
    let refused = |error: safetensors::SafeTensorError| ScorerError::BadWeights {
        file: WEIGHTS.into(),
        reason: error.to_string(),
    };
    let views = tensors.0.iter().map(|(name, dtype, shape, bytes)| {
        Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(refused)?))
    });
    safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None).map_err(refused)
}
