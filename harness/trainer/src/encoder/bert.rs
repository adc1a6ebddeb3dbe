//! BERT (Devlin et al. 2019, arXiv 1810.04805) that can be trained: the forward of `scorer::encoder::bert`, and a backward
//! by hand.
//!
//! Texts are packed token after token, without padding and without a mask; every product with weights sees all tokens of
//! a chunk at once. There is no automatic differentiation: each operation has its backward beside it, so nothing can fall
//! out of a graph unseen, nothing is copied to be recorded, and the tape holds exactly what the backward reads:
//!
//! ```text
//! per token and layer:  3 width (Q, K, V) + heads (attention's logarithms) + width (attention's output)
//!                       + width (first norm) + inner (before GELU) + width (second norm)
//! MiniLM: 1152 + 12 + 384 + 384 + 1536 + 384 values and two deviations = 15.4 kB, 92 kB for its six layers
//! ```
//!
//! Attention weights, GELU's outputs and the inputs of the maps are worked out again from these.

use rayon::prelude::*;
use scorer::encoder::bert::BertConfig;
use scorer::weights::Weights;

use super::attention::{Attention, Text};
use super::buffers::Buffer;
use super::dropout::{Dropout, Site};
use super::gelu::{gelu, gelu_backward};
use super::linear::{Adapter, Linear};
use super::norm::{Norm, Normed, add_rows};
use super::parameters::{Gradients, Handle, Parameters};
use crate::error::{Result, TrainerError};

/// The network's shape and the handles of its tensors.
#[derive(Clone, Debug)]
pub struct Bert {
    config: BertConfig,
    prefix: &'static str,
    pub(super) words: Handle,
    pub(super) positions: Handle,
    pub(super) segments: Handle,
    pub(super) norm: Norm,
    pub(super) layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) query_key_value: Linear,
    pub(super) attention_output: Linear,
    pub(super) attention_norm: Norm,
    pub(super) intermediate: Linear,
    pub(super) output: Linear,
    pub(super) output_norm: Norm,
}

/// A text as the network reads it.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Token ids, special ones included.
    pub ids: &'a [u32],
    /// From this token on the text is the second of a pair (segment 1); the length where there is only one.
    pub second: usize,
    /// The text's number in the step, for dropout.
    pub key: u64,
}

/// What the backward of a chunk needs.
#[derive(Debug)]
pub struct Tape {
    texts: Vec<Text>,
    ids: Vec<u32>,
    segments: Vec<u8>,
    embedded: Normed,
    layers: Vec<LayerTape>,
}

#[derive(Debug)]
struct LayerTape {
    projected: Buffer,
    log_sums: Buffer,
    context: Buffer,
    attended: Normed,
    inner: Buffer,
    output: Normed,
}

/// Low-rank adapters: the trained part where the model itself stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptation {
    /// Rows of the small maps.
    pub rank: usize,
    /// The change is scaled by `alpha / rank`.
    pub alpha: f32,
    /// Which maps carry one: any of `query`, `key`, `value`, `attention.output`, `intermediate`, `output`.
    pub targets: Vec<String>,
}

/// The maps an adapter may stand beside.
pub const ADAPTABLE: [&str; 6] = ["query", "key", "value", "attention.output", "intermediate", "output"];

impl Bert {
    /// Takes the tensors out of a weights file into `parameters`, every shape checked against the configuration.
    ///
    /// # Errors
    /// A missing tensor, or one of another shape, by name.
    pub fn from_weights(config: BertConfig, weights: &Weights, parameters: &mut Parameters) -> Result<Self> {
        let prefix = if weights.contains("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        let mut source = Source { weights, prefix, parameters, epsilon: config.layer_norm_eps as f32 };
        let width = config.hidden_size;
        let words = source.tensor("embeddings.word_embeddings.weight", &[config.vocab_size, width])?;
        let place = "embeddings.position_embeddings.weight";
        let positions = source.tensor(place, &[config.max_position_embeddings, width])?;
        let segment = "embeddings.token_type_embeddings.weight";
        let segments = source.tensor(segment, &[config.type_vocab_size, width])?;
        let norm = source.norm("embeddings.LayerNorm", width)?;
        let layers =
            (0..config.num_hidden_layers).map(|index| Layer::from_source(&mut source, &config, index));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { config, prefix, words, positions, segments, norm, layers })
    }

    /// The configuration the network was built from.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Keeps the embeddings as they are.
    pub fn freeze_embeddings(&self, parameters: &mut Parameters) {
        for handle in [self.words, self.positions, self.segments, self.norm.weight, self.norm.bias] {
            parameters.freeze(handle);
        }
    }

    /// Keeps the embeddings and the first `count` layers as they are.
    pub fn freeze_layers(&self, parameters: &mut Parameters, count: usize) {
        self.freeze_embeddings(parameters);
        self.layers.iter().take(count).flat_map(Layer::handles).for_each(|handle| parameters.freeze(handle));
    }

    /// Freezes everything and puts adapters beside the maps asked for; their first values come from `draw`, which gives
    /// numbers of the standard normal distribution.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] for a map that is unknown or named twice, a rank of 0 or above the width, an alpha that is not
    /// finite.
    pub fn adapt(
        &mut self,
        parameters: &mut Parameters,
        adaptation: &Adaptation,
        draw: &mut dyn FnMut() -> f32,
    ) -> Result<()> {
        if let Some(unknown) = adaptation.targets.iter().find(|name| !ADAPTABLE.contains(&name.as_str())) {
            return Err(TrainerError::setting("lora.targets", unknown, &ADAPTABLE.join(", ")));
        }
        let targets = &adaptation.targets;
        if let Some(at) = (1..targets.len()).find(|&at| targets[..at].contains(&targets[at])) {
            return Err(TrainerError::setting("lora.targets", &targets[at], "each name once"));
        }
        if !adaptation.alpha.is_finite() {
            return Err(TrainerError::setting("lora.alpha", adaptation.alpha, "a finite number"));
        }
        if adaptation.rank > self.config.hidden_size {
            let expected = format!("at most the width, {}", self.config.hidden_size);
            return Err(TrainerError::setting("lora.rank", adaptation.rank, &expected));
        }
        if adaptation.rank == 0 || adaptation.targets.is_empty() {
            return Err(TrainerError::setting(
                "lora.rank",
                adaptation.rank,
                "at least 1, and some lora.targets",
            ));
        }
        parameters.handles().for_each(|handle| parameters.freeze(handle));
        let width = self.config.hidden_size;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            for target in &adaptation.targets {
                let (map, columns) = match target.as_str() {
                    "query" => (&mut layer.query_key_value, 0..width),
                    "key" => (&mut layer.query_key_value, width..2 * width),
                    "value" => (&mut layer.query_key_value, 2 * width..3 * width),
                    "attention.output" => (&mut layer.attention_output, 0..width),
                    "intermediate" => (&mut layer.intermediate, 0..self.config.intermediate_size),
                    _ => (&mut layer.output, 0..width),
                };
                let (rank, inputs) = (adaptation.rank, map.inputs);
                let name = format!("lora.layer.{index}.{target}");
                let spread = 1.0 / (inputs as f32).sqrt();
                let first = (0..rank * inputs).map(|_| draw() * spread).collect();
                let down = parameters.add(format!("{name}.down"), &[rank, inputs], first);
                let up = parameters.add(
                    format!("{name}.up"),
                    &[columns.len(), rank],
                    vec![0.0; columns.len() * rank],
                );
                map.adapters.push(Adapter { columns, down, up, rank, scale: adaptation.alpha / rank as f32 });
            }
        }
        Ok(())
    }

    /// The vectors of the last layer, `[T x hidden_size]`, for `sequences` packed in this order; with a tape when a
    /// backward is to follow.
    pub fn forward(
        &self,
        parameters: &Parameters,
        sequences: &[Sequence],
        dropout: Option<&Dropout>,
        keep: bool,
    ) -> (Buffer, Option<Tape>) {
        let texts: Vec<_> = sequences.iter().map(|s| Text { key: s.key, length: s.ids.len() }).collect();
        let ids = sequences.iter().flat_map(|sequence| sequence.ids).copied().collect::<Vec<_>>();
        let segment = |s: &Sequence| (0..s.ids.len()).map(|at| u8::from(at >= s.second)).collect::<Vec<_>>();
        let segments: Vec<u8> = sequences.iter().flat_map(segment).collect();
        let embedded =
            self.norm.forward(self.embed(parameters, &texts, &ids, &segments), self.config.hidden_size);
        let mut hidden = self.norm.scale(parameters, &embedded);
        self.drop(dropout, Site::Embeddings, &texts, &mut hidden);
        let mut tapes = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let (output, tape) = layer.forward(self, parameters, hidden, &texts, index, dropout);
            hidden = output;
            if keep {
                tapes.push(tape);
            }
        }
        let tape = keep.then_some(Tape { texts, ids, segments, embedded, layers: tapes });
        (hidden, tape)
    }

    /// Adds to `gradients` what `slope` (d loss / d the vectors of the last layer) says of every trainable parameter.
    pub fn backward(
        &self,
        parameters: &Parameters,
        gradients: &mut Gradients,
        tape: Tape,
        mut slope: Buffer,
        dropout: Option<&Dropout>,
    ) {
        let Tape { texts, ids, segments, embedded, layers } = tape;
        let lowest = self.lowest_trained(parameters);
        let mut tapes = layers;
        for (index, layer) in self.layers.iter().enumerate().rev() {
            if lowest.is_none_or(|lowest| index + 1 < lowest) {
                return;
            }
            let Some(own) = tapes.pop() else { return };
            let mut input = match tapes.last() {
                Some(below) => self.layers[index - 1].output_norm.scale(parameters, &below.output),
                None => self.norm.scale(parameters, &embedded),
            };
            if index == 0 {
                self.drop(dropout, Site::Embeddings, &texts, &mut input);
            }
            let place = Place { bert: self, parameters, texts: &texts, index, dropout };
            slope = layer.backward(place, gradients, own, &input, slope);
        }
        if lowest == Some(0) {
            self.drop(dropout, Site::Embeddings, &texts, &mut slope);
            self.norm.backward(parameters, gradients, &embedded, &mut slope);
            self.embed_backward(gradients, &texts, &ids, &segments, &slope);
        }
    }

    /// The tensors as a weights file names them: adapters worked in, stacked maps taken apart.
    pub fn named_tensors(&self, parameters: &Parameters) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let width = self.config.hidden_size;
        let whole = |handle| {
            let specification = parameters.specification(handle);
            (specification.name.clone(), specification.shape.clone(), parameters.values(handle).to_vec())
        };
        let mut tensors: Vec<_> =
            [self.words, self.positions, self.segments, self.norm.weight, self.norm.bias].map(whole).into();
        for (index, layer) in self.layers.iter().enumerate() {
            let name = |part: &str, kind| format!("{}encoder.layer.{index}.{part}.{kind}", self.prefix);
            let weight = layer.query_key_value.merged_weight(parameters);
            let bias = parameters.values(layer.query_key_value.bias);
            for (part, name_of) in ["query", "key", "value"].iter().enumerate() {
                let name_of = format!("attention.self.{name_of}");
                let rows = weight[part * width * width..][..width * width].to_vec();
                tensors.push((name(&name_of, "weight"), vec![width, width], rows));
                tensors.push((name(&name_of, "bias"), vec![width], bias[part * width..][..width].to_vec()));
            }
            for map in [&layer.attention_output, &layer.intermediate, &layer.output] {
                let (name, shape, _) = whole(map.weight);
                tensors.push((name, shape, map.merged_weight(parameters)));
                tensors.push(whole(map.bias));
            }
            let norms = [layer.attention_norm, layer.output_norm];
            tensors.extend(norms.iter().flat_map(|norm| [norm.weight, norm.bias]).map(whole));
        }
        tensors
    }

    /// 0: the embeddings are trained; `n`: layer `n - 1` is the lowest with something to train; `None`: nothing is.
    fn lowest_trained(&self, parameters: &Parameters) -> Option<usize> {
        let trains = |handle: Handle| parameters.specification(handle).trainable;
        if [self.words, self.positions, self.segments, self.norm.weight, self.norm.bias]
            .into_iter()
            .any(trains)
        {
            return Some(0);
        }
        self.layers.iter().position(|layer| layer.handles().any(trains)).map(|layer| layer + 1)
    }

    fn embed(&self, parameters: &Parameters, texts: &[Text], ids: &[u32], segments: &[u8]) -> Buffer {
        let width = self.config.hidden_size;
        let row = |handle, at: usize| &parameters.values(handle)[at * width..][..width];
        let places = texts.iter().flat_map(|text| 0..text.length);
        let mut output = Buffer::stale(ids.len() * width);
        for (((sum, &id), place), &segment) in
            output.chunks_exact_mut(width).zip(ids).zip(places).zip(segments)
        {
            let parts = row(self.words, id as usize).iter().zip(row(self.positions, place));
            let parts = parts.zip(row(self.segments, usize::from(segment)));
            sum.iter_mut()
                .zip(parts)
                .for_each(|(sum, ((word, place), segment))| *sum = word + place + segment);
        }
        output
    }

    fn embed_backward(
        &self,
        gradients: &mut Gradients,
        texts: &[Text],
        ids: &[u32],
        segments: &[u8],
        slope: &[f32],
    ) {
        let width = self.config.hidden_size;
        let mut scatter = |handle, rows: &mut dyn Iterator<Item = usize>| {
            let Some(gradient) = gradients.of(handle) else { return };
            for (at, slope) in rows.zip(slope.chunks_exact(width)) {
                gradient[at * width..][..width].iter_mut().zip(slope).for_each(|(sum, slope)| *sum += slope);
            }
        };
        scatter(self.words, &mut ids.iter().map(|&id| id as usize));
        scatter(self.positions, &mut texts.iter().flat_map(|text| 0..text.length));
        scatter(self.segments, &mut segments.iter().map(|&segment| usize::from(segment)));
    }

    fn drop(&self, dropout: Option<&Dropout>, site: Site, texts: &[Text], values: &mut [f32]) {
        let Some(dropout) = dropout else { return };
        let rows = texts.iter().flat_map(|text| (0..text.length).map(|row| (text.key, row as u64)));
        for ((text, row), values) in rows.zip(values.chunks_exact_mut(self.config.hidden_size)) {
            dropout.apply(site, text, row, values);
        }
    }
}

/// Where a layer's backward runs.
#[derive(Clone, Copy)]
struct Place<'a> {
    bert: &'a Bert,
    parameters: &'a Parameters,
    texts: &'a [Text],
    index: usize,
    dropout: Option<&'a Dropout>,
}

impl<'a> Place<'a> {
    fn attention(&self) -> Attention<'a> {
        let config = &self.bert.config;
        let (heads, width) = (config.num_attention_heads, config.hidden_size);
        Attention { heads, width, layer: self.index, dropout: self.dropout }
    }
}

impl Layer {
    fn from_source(source: &mut Source, config: &BertConfig, index: usize) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        Ok(Self {
            query_key_value: source.stacked(&name("attention.self"), &["query", "key", "value"], width)?,
            attention_output: source.linear(&name("attention.output.dense"), width, width)?,
            attention_norm: source.norm(&name("attention.output.LayerNorm"), width)?,
            intermediate: source.linear(&name("intermediate.dense"), width, inner)?,
            output: source.linear(&name("output.dense"), inner, width)?,
            output_norm: source.norm(&name("output.LayerNorm"), width)?,
        })
    }

    pub(super) fn maps(&self) -> [&Linear; 4] {
        [&self.query_key_value, &self.attention_output, &self.intermediate, &self.output]
    }

    fn handles(&self) -> impl Iterator<Item = Handle> {
        let norms = [self.attention_norm, self.output_norm];
        self.maps()
            .into_iter()
            .flat_map(Linear::handles)
            .chain(norms.into_iter().flat_map(|norm| [norm.weight, norm.bias]))
    }

    fn forward(
        &self,
        bert: &Bert,
        parameters: &Parameters,
        hidden: Buffer,
        texts: &[Text],
        index: usize,
        dropout: Option<&Dropout>,
    ) -> (Buffer, LayerTape) {
        let width = bert.config.hidden_size;
        let attention = Place { bert, parameters, texts, index, dropout }.attention();
        let projected = self.query_key_value.forward(parameters, &hidden);
        let (context, log_sums) = attention.forward(&projected, texts);
        let mut sum = self.attention_output.forward(parameters, &context);
        bert.drop(dropout, Site::AttentionOutput(index), texts, &mut sum);
        add(&mut sum, &hidden);
        drop(hidden);
        let attended = self.attention_norm.forward(sum, width);
        let middle = self.attention_norm.scale(parameters, &attended);
        let inner = self.intermediate.forward(parameters, &middle);
        let activated = gelu(&inner);
        let mut sum = self.output.forward(parameters, &activated);
        drop(activated);
        bert.drop(dropout, Site::Output(index), texts, &mut sum);
        add(&mut sum, &middle);
        let output = self.output_norm.forward(sum, width);
        let hidden = self.output_norm.scale(parameters, &output);
        (hidden, LayerTape { projected, log_sums, context, attended, inner, output })
    }

    /// d loss / d the layer's input, from `slope` (d loss / d its output).
    fn backward(
        &self,
        place: Place,
        gradients: &mut Gradients,
        tape: LayerTape,
        input: &[f32],
        mut slope: Buffer,
    ) -> Buffer {
        let Place { bert, parameters, texts, index, dropout } = place;
        let LayerTape { projected, log_sums, context, attended, inner, output } = tape;
        // Feed-forward: output norm(output(gelu(intermediate(middle))) + middle).
        self.output_norm.backward(parameters, gradients, &output, &mut slope);
        drop(output);
        let masked = masked(bert, dropout, Site::Output(index), texts, &slope);
        let through = masked.as_deref().unwrap_or(&slope);
        let mut activated = inner;
        let mut inner_slope = self.output.input_slope(parameters, through);
        gelu_backward(&mut activated, &mut inner_slope);
        self.output.backward_parameters(parameters, gradients, &activated, through);
        drop(activated);
        let middle = self.attention_norm.scale(parameters, &attended);
        self.intermediate.backward_parameters(parameters, gradients, &middle, &inner_slope);
        drop(middle);
        self.intermediate.add_input_slope(parameters, &inner_slope, &mut slope);
        drop(inner_slope);
        // Attention: attention norm(attention output(attention(query_key_value(input))) + input).
        self.attention_norm.backward(parameters, gradients, &attended, &mut slope);
        drop(attended);
        let masked = self::masked(bert, dropout, Site::AttentionOutput(index), texts, &slope);
        let through = masked.as_deref().unwrap_or(&slope);
        self.attention_output.backward_parameters(parameters, gradients, &context, through);
        drop(context);
        let context_slope = self.attention_output.input_slope(parameters, through);
        let projected_slope = place.attention().backward(&projected, &log_sums, &context_slope, texts);
        self.query_key_value.backward_parameters(parameters, gradients, input, &projected_slope);
        self.query_key_value.add_input_slope(parameters, &projected_slope, &mut slope);
        slope
    }
}

/// A masked copy of `slope`, where there is a mask.
fn masked(
    bert: &Bert,
    dropout: Option<&Dropout>,
    site: Site,
    texts: &[Text],
    slope: &[f32],
) -> Option<Vec<f32>> {
    dropout.map(|_| {
        let mut copy = slope.to_vec();
        bert.drop(dropout, site, texts, &mut copy);
        copy
    })
}

fn add(sums: &mut [f32], values: &[f32]) {
    const BLOCK: usize = 1 << 14;
    sums.par_chunks_mut(BLOCK)
        .zip(values.par_chunks(BLOCK))
        .for_each(|(sums, values)| add_rows(sums, values));
}

/// Moves named tensors of exactly the shape asked for into the parameters.
struct Source<'a> {
    weights: &'a Weights<'a>,
    prefix: &'static str,
    parameters: &'a mut Parameters,
    epsilon: f32,
}

impl Source<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Handle> {
        let name = format!("{}{name}", self.prefix);
        let values = self.weights.floats(&name, shape)?;
        Ok(self.parameters.add(name, shape, values))
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.tensor(&format!("{name}.bias"), &[outputs])?;
        Ok(Linear { weight, bias, inputs, outputs, adapters: Vec::new() })
    }

    /// Several maps of the same input as one.
    fn stacked(&mut self, name: &str, parts: &[&str], width: usize) -> Result<Linear> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in parts {
            weight.extend(
                self.weights.floats(&format!("{}{name}.{part}.weight", self.prefix), &[width, width])?,
            );
            bias.extend(self.weights.floats(&format!("{}{name}.{part}.bias", self.prefix), &[width])?);
        }
        let (outputs, joined) = (parts.len() * width, format!("{}{name}.{}", self.prefix, parts.join("_")));
        let weight = self.parameters.add(format!("{joined}.weight"), &[outputs, width], weight);
        let bias = self.parameters.add(format!("{joined}.bias"), &[outputs], bias);
        Ok(Linear { weight, bias, inputs: width, outputs, adapters: Vec::new() })
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        let weight = self.tensor(&format!("{name}.weight"), &[width])?;
        let bias = self.tensor(&format!("{name}.bias"), &[width])?;
        Ok(Norm { weight, bias, epsilon: self.epsilon })
    }
}
