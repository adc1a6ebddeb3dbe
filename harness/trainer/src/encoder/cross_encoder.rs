//! A cross-encoder that can be trained: BERT over pairs, BERT's pooler, and a grade head, with the backward of the head.
//!
//! ```text
//! h [N x d]  the vectors of [CLS]            p = tanh(h P^T + a)          z = drop(p) C^T + c     [N x outputs]
//! dc = sum of dz      dC = dz^T drop(p)      dp = drop(dz C) (1 - p^2)    dh = dp P
//! ```
//!
//! CORAL's thresholds share one row of `C` (arXiv 1901.07884), or their probabilities would not fall. It is trained as one
//! row and written down as many equal ones.

use scorer::bundle::{Bundle, WEIGHTS};
use scorer::encoder::bert::BertConfig;
use scorer::labeler::{CrossEncoderFile, HeadKind, is_cross_encoder};
use scorer::tokens::PairTokens;
use scorer::weights::Weights;

use super::bert::{Bert, Sequence, Tape};
use super::buffers::Buffer;
use super::dropout::{Dropout, Site};
use super::linear::Linear;
use super::parameters::{Gradients, Handle, Parameters};
use crate::error::Result;

/// What the head's fresh weights are drawn with, as transformers does it.
const SPREAD: f32 = 0.02;

/// The network.
pub(super) struct CrossEncoder {
    pub(super) bert: Bert,
    pub(super) file: CrossEncoderFile,
    pub(super) tokens: PairTokens,
    pooler: Linear,
    /// `C`, one row for CORAL.
    weight: Handle,
    bias: Handle,
    width: usize,
    outputs: usize,
}

/// What the backward of the head reads.
pub(super) struct HeadTape {
    first: Vec<f32>,
    pooled: Vec<f32>,
}

/// How a head begins.
pub(super) struct Start<'a> {
    /// The share of each level among what is learned, all above 0.
    pub(super) shares: &'a [f64],
    /// Multiplies the learning rate of pooler and classifier.
    pub(super) rate: f64,
}

impl CrossEncoder {
    /// Puts a head on `bert`: the bundle's own where it is a cross-encoder with such a head already, else BERT's pooler
    /// (or a fresh one) and a fresh classifier whose first answer is `start.shares`.
    pub(super) fn new(
        base: &Bundle,
        config: &BertConfig,
        bert: Bert,
        file: CrossEncoderFile,
        start: &Start<'_>,
        parameters: &mut Parameters,
        draw: &mut dyn FnMut() -> f32,
    ) -> Result<Self> {
        let tokens = file.tokens(base, config, None)?;
        let (width, outputs) = (config.hidden_size, file.head.outputs(file.scale.levels.len()));
        let weights = Weights::from_bundle(base, WEIGHTS)?;
        let names = ["bert.pooler.dense", "pooler.dense"];
        let found = names.into_iter().find(|name| weights.contains(&format!("{name}.weight")));
        let (weight, bias) = match found {
            Some(name) => (
                weights.floats(&format!("{name}.weight"), &[width, width])?,
                weights.floats(&format!("{name}.bias"), &[width])?,
            ),
            None => ((0..width * width).map(|_| draw() * SPREAD).collect(), vec![0.0; width]),
        };
        let pooler = Linear {
            weight: parameters.add("bert.pooler.dense.weight", &[width, width], weight),
            bias: parameters.add("bert.pooler.dense.bias", &[width], bias),
            inputs: width,
            outputs: width,
            adapters: Vec::new(),
        };
        let rows = if file.head == HeadKind::Coral { 1 } else { outputs };
        let goes_on = is_cross_encoder(base)? && CrossEncoderFile::from_bundle(base)?.head == file.head;
        let (weight, bias) = if goes_on {
            let mut weight = weights.floats("classifier.weight", &[outputs, width])?;
            weight.truncate(rows * width);
            (weight, weights.floats("classifier.bias", &[outputs])?)
        } else {
            let bias = starting_bias(file.head, start.shares).into_iter().map(|bias| bias as f32).collect();
            ((0..rows * width).map(|_| draw() * SPREAD).collect(), bias)
        };
        let weight = parameters.add("classifier.weight", &[rows, width], weight);
        let bias = parameters.add("classifier.bias", &[outputs], bias);
        for handle in [pooler.weight, pooler.bias, weight, bias] {
            parameters.set_rate(handle, start.rate);
        }
        Ok(Self { bert, file, tokens, pooler, weight, bias, width, outputs })
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// `z` for each sequence, `[N x outputs]`.
    pub(super) fn forward(
        &self,
        parameters: &Parameters,
        sequences: &[Sequence<'_>],
        dropout: Option<&Dropout>,
        keep: bool,
    ) -> (Vec<f32>, Option<(Tape, HeadTape)>) {
        let (hidden, tape) = self.bert.forward(parameters, sequences, dropout, keep);
        let mut first = Vec::with_capacity(sequences.len() * self.width);
        let mut at = 0;
        for sequence in sequences {
            first.extend_from_slice(&hidden[at * self.width..][..self.width]);
            at += sequence.ids.len();
        }
        drop(hidden);
        let mut pooled = self.pooler.forward(parameters, &first).to_vec();
        pooled.iter_mut().for_each(|x| *x = libm::tanhf(*x));
        let mut dropped = pooled.clone();
        self.drop(dropout, sequences, &mut dropped);
        let bias = parameters.values(self.bias);
        let rows = dropped.chunks_exact(self.width);
        let outputs = rows.flat_map(|row| {
            (0..self.outputs)
                .map(move |output| (dot(self.row(parameters, output), row) + f64::from(bias[output])) as f32)
        });
        let outputs = outputs.collect();
        (outputs, tape.map(|tape| (tape, HeadTape { first, pooled })))
    }

    /// Adds what `slope` (d loss / d `z`) says of every parameter to `gradients`.
    pub(super) fn backward(
        &self,
        parameters: &Parameters,
        gradients: &mut Gradients,
        sequences: &[Sequence<'_>],
        (tape, head): (Tape, HeadTape),
        slope: &[f32],
        dropout: Option<&Dropout>,
    ) {
        let HeadTape { first, pooled } = head;
        let mut dropped = pooled.clone();
        self.drop(dropout, sequences, &mut dropped);
        let mut pooled_slope = vec![0.0; pooled.len()];
        for (slope, pooled_slope) in
            slope.chunks_exact(self.outputs).zip(pooled_slope.chunks_exact_mut(self.width))
        {
            for (output, &slope) in slope.iter().enumerate() {
                add(pooled_slope, slope, self.row(parameters, output));
            }
        }
        if let Some(gradient) = gradients.of(self.weight) {
            let rows = gradient.len() / self.width;
            for (slope, row) in slope.chunks_exact(self.outputs).zip(dropped.chunks_exact(self.width)) {
                for (output, &slope) in slope.iter().enumerate() {
                    add(&mut gradient[output.min(rows - 1) * self.width..][..self.width], slope, row);
                }
            }
        }
        if let Some(gradient) = gradients.of(self.bias) {
            slope.chunks_exact(self.outputs).for_each(|slope| add(gradient, 1.0, slope));
        }
        self.drop(dropout, sequences, &mut pooled_slope);
        pooled_slope.iter_mut().zip(&pooled).for_each(|(slope, p)| *slope *= 1.0 - p * p);
        self.pooler.backward_parameters(parameters, gradients, &first, &pooled_slope);
        let first_slope = self.pooler.input_slope(parameters, &pooled_slope);
        let tokens: usize = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let mut hidden_slope = Buffer::stale(tokens * self.width);
        hidden_slope.fill(0.0);
        let mut at = 0;
        for (sequence, slope) in sequences.iter().zip(first_slope.chunks_exact(self.width)) {
            hidden_slope[at * self.width..][..self.width].copy_from_slice(slope);
            at += sequence.ids.len();
        }
        self.bert.backward(parameters, gradients, tape, hidden_slope, dropout);
    }

    /// The tensors as `BertForSequenceClassification` names them.
    pub(super) fn named_tensors(&self, parameters: &Parameters) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let width = self.width;
        let whole = |name: &str, shape: Vec<usize>, handle| {
            (name.to_owned(), shape, parameters.values(handle).to_vec())
        };
        let mut tensors: Vec<_> = self
            .bert
            .named_tensors(parameters)
            .into_iter()
            .map(|(name, shape, values)| {
                (format!("bert.{}", name.trim_start_matches("bert.")), shape, values)
            })
            .collect();
        tensors.push(whole("bert.pooler.dense.weight", vec![width, width], self.pooler.weight));
        tensors.push(whole("bert.pooler.dense.bias", vec![width], self.pooler.bias));
        let rows = (0..self.outputs).flat_map(|output| self.row(parameters, output)).copied().collect();
        tensors.push(("classifier.weight".to_owned(), vec![self.outputs, width], rows));
        tensors.push(whole("classifier.bias", vec![self.outputs], self.bias));
        tensors
    }

    fn row<'p>(&self, parameters: &'p Parameters, output: usize) -> &'p [f32] {
        let rows = parameters.values(self.weight);
        &rows[output.min(rows.len() / self.width - 1) * self.width..][..self.width]
    }

    fn drop(&self, dropout: Option<&Dropout>, sequences: &[Sequence<'_>], rows: &mut [f32]) {
        let Some(dropout) = dropout else { return };
        for (sequence, row) in sequences.iter().zip(rows.chunks_exact_mut(self.width)) {
            dropout.apply(Site::Head, sequence.key, 0, row);
        }
    }
}

/// The biases with which a head without weights answers `shares`.
fn starting_bias(kind: HeadKind, shares: &[f64]) -> Vec<f64> {
    let from = |level: usize| shares[level..].iter().sum::<f64>();
    let logit = |share: f64| libm::log(share / (1.0 - share));
    match kind {
        HeadKind::Softmax => shares.iter().map(|&share| libm::log(share)).collect(),
        HeadKind::Coral => (1..shares.len()).map(|level| logit(from(level) / from(0))).collect(),
        HeadKind::Corn => (1..shares.len()).map(|level| logit(from(level) / from(level - 1))).collect(),
    }
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn add(sums: &mut [f32], factor: f32, values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_without_weights_answers_the_shares() {
        let shares = [0.5, 0.25, 0.125, 0.125];
        for kind in [HeadKind::Softmax, HeadKind::Coral, HeadKind::Corn] {
            let found = kind.distribution(&starting_bias(kind, &shares));
            for (found, share) in found.iter().zip(shares) {
                assert!((found - share).abs() < 1e-12, "{kind:?}: {found} {share}");
            }
        }
    }
}
