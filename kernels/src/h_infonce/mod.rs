//! H-InfoNCE: the hierarchical contrastive loss of CroPS (arXiv 2511.15443, equation 3), value and gradients.
//!
//! ```text
//! q_i                   query i, one of B, d values                          queries   [B x d]
//! d_k                   document k, one of N, d values                       documents [N x d]
//! tau                   temperature, above 0
//! s_ik = q_i.d_k / tau  score
//! y_ik                  label, 0..=15; 0 where the pair is not listed; or ignored
//! w_ik                  weight of a listed pair, at least 0                  1 by default
//! S_i                   the documents that query i does not ignore
//!
//! loss = factor * sum over anchors (i, j) of
//!            w_ij * -log( exp s_ij / (exp s_ij + sum of exp s_ik over k in S_i with y_ik < y_ij) )
//! ```
//!
//! An **anchor** is a listed pair, not ignored, with a label in [`Options::anchors`] and at least one document of
//! a lower label in `S_i`. Hence: documents of equal label never compete; those of the lowest label contribute
//! exactly 0; a query without anchors has loss 0 and gradient 0, and adds nothing to any document's gradient.
//! A pair that is no anchor still competes in the denominators above it. Weights scale an anchor's own term and
//! never its part in a denominator. `factor` is 1 or one over a count ([`Reduction`]).
//!
//! With one positive of label 1 a query this is InfoNCE with all other documents of the batch as negatives; with
//! weights `w` and [`Reduction::MeanOverQueries`] it is the weighted InfoNCE of SSRA (arXiv 2509.16717):
//! `1/B sum_i w_i L_i`.
//!
//! Where we read the paper one way and it could be read another: it sums over all of `S` (here: over
//! [`Options::anchors`]), says neither sum nor mean (here: [`Reduction`]), and takes every in-batch document as
//! label 0 (here: every document that is not listed, so a caller may list more).
//!
//! # How it is computed
//!
//! ```text
//! E_im = log sum of exp s_ik over y_ik = m      level log-sum-exp; only E_i0 runs over many documents
//! A_il = log sum of exp E_im over m < l         prefix over levels
//! term_ij = softplus(A_il - s_ij),  l = y_ij
//! g_ij = factor w_ij sigmoid(A_il - s_ij) for anchors, else 0;   a_il = sum of g_ij over y_ij = l
//! G_ik = d loss / d s_ik = sum over l > y_ik of a_il exp(s_ik - A_il)  -  g_ik
//!      = exp((s_ik - m_i) + c_i) for label 0,   c_i = log sum over l of a_il exp(m_i - A_il)
//!        m_i = max s_ik over the documents not listed
//! d loss / d q_i = 1/tau sum_k G_ik d_k     d loss / d d_k = 1/tau sum_i G_ik q_i
//! d loss / d (1/tau) = sum_ik G_ik q_i.d_k = tau sum_i q_i . (d loss / d q_i)
//! ```
//!
//! Kept between the passes over a query's scores: `m_i` and `c_i`, and `g` for each listed pair: O(B + pairs).
//! The scores themselves exist for one strip of queries at a time and are never B x N; the strip is at most
//! 8 MiB, or 64 queries where that is more. Levels, prefixes and the loss are worked out in f64; scores, `m_i`,
//! `c_i`, `G` and the products are f32.
//!
//! # Rules
//! - The result does not depend on the number of threads, bit for bit: every sum has a fixed order. It does
//!   depend, by roundings, on the instruction set.
//! - NaN and infinity are refused, and so are inputs whose scores might leave the range of f32
//!   (`max |q| max |d|`, over `tau` or not, by Cauchy-Schwarz). Within that range no score or exponential
//!   overflows, whatever the temperature; a gradient that does is an error, not an infinity.
//! - [`Device::Scalar`] is the definition, term by term; it is quadratic in a query's documents.
//! - An explicit device is used or refused, never replaced. [`Device::Cuda`] rounds the embeddings to bf16 first
//!   and their `G` on the way (`cuda.rs`); it takes embeddings, not given scores.
//!
//! # For another device
//! Implement what `simd::embeddings` and `simd::scores` do: they get checked operands and the `factor`, and
//! return the loss per query in f64 (already times `factor`) with the gradients in f32 (likewise).

#[cfg(feature = "cuda")]
pub mod cuda;
mod labels;
mod levels;
mod product;
mod scalar;
mod simd;
#[cfg(test)]
mod tests;

pub use labels::{Anchors, IGNORED, LabelsError, MAX_LABEL, SparseLabels};

use crate::device::{Device, InstructionSet, Unavailable};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// What the sum over anchors is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Nothing: equation 3 as it stands, summed over the batch.
    Sum,
    /// The number of queries, those without anchors included.
    #[default]
    MeanOverQueries,
    /// The number of anchors, whatever their weights; the loss is 0 when there is none.
    MeanOverAnchors,
}

/// The choices equation 3 leaves open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Scores are divided by it; finite and above 0. CroPS starts from 0.05, SSRA from 0.03.
    pub temperature: f32,
    /// Sum or mean.
    pub reduction: Reduction,
    /// Which labels have a loss of their own.
    pub anchors: Anchors,
}

impl Default for Options {
    fn default() -> Self {
        Options { temperature: 0.05, reduction: Reduction::default(), anchors: Anchors::ALL }
    }
}

/// The value of the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The reduced loss.
    pub value: f64,
    /// What each query adds to `value` `[B]`.
    pub per_query: Vec<f64>,
    /// How many pairs are anchors.
    pub anchors: usize,
}

/// The loss and its gradients with respect to the embeddings and the inverse temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingGradients {
    /// The value.
    pub loss: Loss,
    /// d value / d queries `[B x d]`, row-major without gaps.
    pub queries: Vec<f32>,
    /// d value / d documents `[N x d]`, row-major without gaps.
    pub documents: Vec<f32>,
    /// d value / d (1 / temperature).
    pub inverse_temperature: f64,
}

/// The loss and its gradients with respect to given scores and the inverse temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreGradients {
    /// The value.
    pub loss: Loss,
    /// d value / d scores `[B x N]`, row-major without gaps.
    pub scores: Vec<f32>,
    /// d value / d (1 / temperature).
    pub inverse_temperature: f64,
}

/// d value / d temperature, from the gradient with respect to its inverse.
#[must_use]
pub fn temperature_gradient(inverse_temperature_gradient: f64, temperature: f32) -> f64 {
    -inverse_temperature_gradient / (f64::from(temperature) * f64::from(temperature))
}

/// The loss of `queries` `[B x d]` and `documents` `[N x d]`.
///
/// # Errors
/// [`Error::Empty`], [`Error::Mismatch`], [`Error::NotFinite`], [`Error::OutOfRange`] for a temperature that is
/// not above 0 or scores beyond f32, [`Error::Device`] when `device` is not there.
pub fn loss(
    queries: Matrix<'_, f32>,
    documents: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
    device: Device,
) -> Result<Loss> {
    let factor = check_embeddings(queries, documents, labels, options)?;
    match processor(device)? {
        Processor::Scalar => Ok(finish(
            scalar::embeddings(queries, documents, labels, terms(options, factor)).loss,
            labels,
            options,
        )),
        Processor::Simd(set) => Ok(finish(
            simd::embedding_loss(set, queries, documents, labels, options, factor),
            labels,
            options,
        )),
        #[cfg(feature = "cuda")]
        Processor::Cuda => {
            Ok(finish(cuda::embedding_loss(queries, documents, labels, options)?, labels, options))
        }
    }
}

/// The loss of `queries` `[B x d]` and `documents` `[N x d]` with its gradients.
///
/// # Errors
/// As [`loss`]; [`Error::OutOfRange`] also when a gradient leaves the range of f32.
pub fn loss_and_gradients(
    queries: Matrix<'_, f32>,
    documents: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
    device: Device,
) -> Result<EmbeddingGradients> {
    let factor = check_embeddings(queries, documents, labels, options)?;
    let output = match processor(device)? {
        Processor::Scalar => {
            let plain = scalar::embeddings(queries, documents, labels, terms(options, factor));
            simd::Embeddings { loss: plain.loss, queries: plain.queries, documents: plain.documents }
        }
        Processor::Simd(set) => simd::embeddings(set, queries, documents, labels, options, factor),
        #[cfg(feature = "cuda")]
        Processor::Cuda => cuda::embeddings(queries, documents, labels, options)?,
    };
    require_finite_gradient("gradient of the queries", &output.queries)?;
    require_finite_gradient("gradient of the documents", &output.documents)?;
    let inverse_temperature = f64::from(options.temperature) * inner_product(queries, &output.queries);
    Ok(EmbeddingGradients {
        loss: finish(output.loss, labels, options),
        queries: output.queries,
        documents: output.documents,
        inverse_temperature,
    })
}

/// The loss of a given score matrix `[B x N]`, before division by the temperature.
///
/// # Errors
/// As [`loss`].
pub fn score_loss(
    scores: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
    device: Device,
) -> Result<Loss> {
    let factor = check_scores(scores, labels, options)?;
    let per_query = match processor(device)? {
        Processor::Scalar => scalar::scores(scores, labels, terms(options, factor)).0,
        Processor::Simd(set) => simd::score_loss(set, scores, labels, options, factor),
        #[cfg(feature = "cuda")]
        Processor::Cuda => return Err(scores_stay_on_the_chip()),
    };
    Ok(finish(per_query, labels, options))
}

/// The loss of a given score matrix `[B x N]`, before division by the temperature, with its gradients.
///
/// # Errors
/// As [`loss_and_gradients`].
pub fn score_loss_and_gradients(
    scores: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
    device: Device,
) -> Result<ScoreGradients> {
    let factor = check_scores(scores, labels, options)?;
    let (per_query, gradient) = match processor(device)? {
        Processor::Scalar => scalar::scores(scores, labels, terms(options, factor)),
        Processor::Simd(set) => simd::scores(set, scores, labels, options, factor),
        #[cfg(feature = "cuda")]
        Processor::Cuda => return Err(scores_stay_on_the_chip()),
    };
    require_finite_gradient("gradient of the scores", &gradient)?;
    let inverse_temperature = f64::from(options.temperature) * inner_product(scores, &gradient);
    Ok(ScoreGradients { loss: finish(per_query, labels, options), scores: gradient, inverse_temperature })
}

enum Processor {
    Scalar,
    Simd(Option<InstructionSet>),
    #[cfg(feature = "cuda")]
    Cuda,
}

/// On a GPU the scores are the kernels' own; a matrix of them would be the B x N this loss avoids.
#[cfg(feature = "cuda")]
fn scores_stay_on_the_chip() -> Error {
    let operation = "H-InfoNCE of a given score matrix";
    Error::Device { device: Device::Cuda, reason: Unavailable::NotImplemented { operation } }
}

fn processor(device: Device) -> Result<Processor> {
    device.require()?;
    match device {
        Device::Scalar => Ok(Processor::Scalar),
        Device::Simd => Ok(Processor::Simd(InstructionSet::best())),
        #[cfg(feature = "cuda")]
        Device::Cuda => Ok(Processor::Cuda),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda => Err(Error::Device { device, reason: Unavailable::CudaNotBuilt }),
    }
}

fn terms(options: Options, factor: f64) -> scalar::Terms<f32> {
    scalar::Terms { inverse_temperature: 1.0 / options.temperature, anchors: options.anchors, factor }
}

fn finish(per_query: Vec<f64>, labels: SparseLabels<'_>, options: Options) -> Loss {
    Loss { value: per_query.iter().sum(), per_query, anchors: labels.anchors(options.anchors) }
}

/// Refuses what cannot be computed; the factor of the reduction.
fn check_embeddings(
    queries: Matrix<'_, f32>,
    documents: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
) -> Result<f64> {
    queries.require_values("queries")?;
    documents.require_values("documents")?;
    require_equal("columns", ("queries", queries.columns()), ("documents", documents.columns()))?;
    require_equal("queries", ("queries", queries.rows()), ("labels", labels.queries()))?;
    require_equal("documents", ("documents", documents.rows()), ("labels", labels.documents()))?;
    check_temperature(options)?;
    let reach = longest_row("queries", queries)? * longest_row("documents", documents)?;
    check_reach(reach, options)?;
    Ok(factor(labels, options))
}

fn check_scores(scores: Matrix<'_, f32>, labels: SparseLabels<'_>, options: Options) -> Result<f64> {
    scores.require_values("scores")?;
    require_equal("queries", ("scores", scores.rows()), ("labels", labels.queries()))?;
    require_equal("documents", ("scores", scores.columns()), ("labels", labels.documents()))?;
    check_temperature(options)?;
    scores.require_finite("scores")?;
    let largest = scores.iter_rows().flatten().fold(0.0f32, |largest, score| largest.max(score.abs()));
    check_reach(f64::from(largest), options)?;
    Ok(factor(labels, options))
}

fn require_equal(
    dimension: &'static str,
    (left, left_size): (&'static str, usize),
    (right, right_size): (&'static str, usize),
) -> Result<()> {
    if left_size == right_size {
        return Ok(());
    }
    Err(Error::Mismatch { dimension, left, left_size, right, right_size })
}

fn check_temperature(options: Options) -> Result<()> {
    let temperature = options.temperature;
    // A subnormal temperature has an inverse beyond f32.
    if temperature.is_normal() && temperature > 0.0 && (1.0 / temperature).is_normal() {
        return Ok(());
    }
    let expected = "a finite number above 0 whose inverse is finite";
    Err(Error::OutOfRange { what: "temperature", value: f64::from(temperature), expected })
}

/// Refuses inner products that might leave f32, before or after division by the temperature. The limit is a
/// quarter of the largest f32: a difference of two scores still fits.
fn check_reach(largest_product: f64, options: Options) -> Result<()> {
    let reach = largest_product.max(largest_product / f64::from(options.temperature));
    if reach <= f64::from(f32::MAX) / 4.0 {
        return Ok(());
    }
    let what = "the largest score there could be";
    Err(Error::OutOfRange { what, value: reach, expected: "at most 8.5e37, so that no score leaves f32" })
}

/// The largest Euclidean length of a row, every value having been seen to be finite.
fn longest_row(what: &'static str, matrix: Matrix<'_, f32>) -> Result<f64> {
    let mut longest = 0.0f64;
    for row in matrix.iter_rows() {
        let length = simd::squared_length(row);
        // It is NaN or infinite exactly when a value is: squares of f32 fit f64.
        if !length.is_finite() {
            matrix.require_finite(what)?;
        }
        longest = longest.max(length);
    }
    Ok(longest.sqrt())
}

fn factor(labels: SparseLabels<'_>, options: Options) -> f64 {
    match options.reduction {
        Reduction::Sum => 1.0,
        Reduction::MeanOverQueries => 1.0 / labels.queries() as f64,
        Reduction::MeanOverAnchors => 1.0 / labels.anchors(options.anchors).max(1) as f64,
    }
}

fn require_finite_gradient(what: &'static str, gradient: &[f32]) -> Result<()> {
    match gradient.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Error::OutOfRange { what, value: f64::from(*value), expected: "a finite f32" }),
    }
}

/// Sum of `values * gradient` over all elements.
fn inner_product(values: Matrix<'_, f32>, gradient: &[f32]) -> f64 {
    let rows = values.iter_rows().zip(gradient.chunks_exact(values.columns()));
    rows.map(|(row, gradient)| {
        row.iter().zip(gradient).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    })
    .sum()
}
