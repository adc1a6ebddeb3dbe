//! WS2: SyCL's Wasserstein loss over a batch of graded lists (arXiv 2503.23239), value and gradient in f64.
//!
//! ```text
//! Q queries with K listed documents each; n columns: the batch's Q K documents, list after list
//! z      logits, before the temperature                             logits [Q x n]
//! y      labels of each query's own documents                       labels [Q x K]
//! P      rowsoftmax(z / T)                                          what the model says
//! G      rowsoftmax of the labels over T_label, laid out as Target says   what it should say
//! mu_P, mu_G   column means;   E_P = P - 1 mu_P,  E_G = G - 1 mu_G
//! C_P, C_G     E'E / (Q - 1): covariances over queries
//!
//! value = |mu_P - mu_G|^2 + Tr(C_P + C_G - 2 (C_P C_G)^(1/2))
//!       = |mu_P - mu_G|^2 + ( |E_P|_F^2 + |E_G|_F^2 - 2 |E_P E_G'|_* ) / (Q - 1)
//! d value / dP = 2/Q 1 (mu_P - mu_G) + 2/(Q - 1) (E_P - U V' E_G),   E_P E_G' = U S V'
//! ```
//!
//! The nuclear norm `|.|_*` (sum of singular values) is that of a `Q x Q` matrix: nothing of size `n x n` is
//! ever made. Centring makes one singular value 0 (and collapsed predictions make more); the norm has no
//! gradient there, and those directions are dropped, which picks the smallest of its subgradients. A direction
//! counts as null when its singular value is at most `Q eps |E_P|_F |E_G|_F`, the rounding in it.
//!
//! With Q = 1 both covariances vanish and the value is `|P - G|^2`.
//!
//! Where we differ from the authors' code: it adds 1e-15 to the eigenvalues of the squared matrix before their
//! square roots (a bias of about 6e-8 in the value, a slope of 1.6e7 in the null direction); its docstring
//! writes a minus before the trace, its code and we add. It has no label temperature and only
//! [`Target::Batch`].
//!
//! A warning that belongs to the formula: the value does not change when queries swap their rows. A model that
//! gives each query another query's documents can reach 0. Start from an encoder that matches already, or add
//! a term that looks at each query alone.
//!
//! # Rules
//! - NaN and infinity are refused, in the logits, in the labels, and after division by the temperatures.
//! - The result does not depend on the number of threads, bit for bit.
//! - [`Device::Scalar`] is the definition in plain loops; [`Device::Simd`] has the same steps on vector
//!   instructions and threads. Between them the order of rotations and sums differs, hence roundings.
//!
//! # For another device
//! Implement `simd::distance`: checked `P` and `G` `[Q x n]` in, value and d value / dP out. The softmaxes and
//! their chain rule stay here.

mod scalar;
mod simd;
#[cfg(test)]
mod tests;

use crate::device::{Device, InstructionSet, Unavailable};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// How the target distribution of a query is laid out over the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// `n = Q K`. Another query's documents have label 0, as SyCL has it. The more queries, the flatter: label 3
    /// beside 2, 1, 0 gets 0.644 of a list, 0.220 of a batch of 16.
    #[default]
    Batch,
    /// `n = Q K`. Another query's documents get nothing: the target of a list is the same in every batch.
    OwnList,
    /// `n = K`. No documents of other queries: column j is the j-th of each query's own list.
    Lists,
}

/// The choices the formula leaves open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Logits are divided by it; finite and above 0.
    pub temperature: f64,
    /// Labels are divided by it; finite and above 0.
    pub label_temperature: f64,
    /// Where the target's mass goes.
    pub target: Target,
}

impl Default for Options {
    /// SyCL's own: both temperatures 1, in-batch documents of label 0.
    fn default() -> Self {
        Options { temperature: 1.0, label_temperature: 1.0, target: Target::Batch }
    }
}

/// The loss with its gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The value.
    pub value: f64,
    /// d value / d logits `[Q x n]`, row-major without gaps.
    pub logits: Vec<f64>,
    /// d value / d (1 / temperature).
    pub inverse_temperature: f64,
}

/// The loss of `logits` `[Q x n]` against the labels `[Q x K]` of each query's own documents.
///
/// # Errors
/// [`Error::Empty`], [`Error::Mismatch`] when `n` is not what the target asks for, [`Error::NotFinite`],
/// [`Error::OutOfRange`] for a temperature that is not above 0 or that makes a value infinite, [`Error::Device`]
/// when `device` is not there.
pub fn loss(
    logits: Matrix<'_, f64>,
    labels: Matrix<'_, f64>,
    options: Options,
    device: Device,
) -> Result<f64> {
    Ok(loss_and_gradient(logits, labels, options, device)?.value)
}

/// The loss of `logits` `[Q x n]` against the labels `[Q x K]` of each query's own documents, with its gradient.
///
/// # Errors
/// As [`loss`].
pub fn loss_and_gradient(
    logits: Matrix<'_, f64>,
    labels: Matrix<'_, f64>,
    options: Options,
    device: Device,
) -> Result<Gradients> {
    labels.require_values("labels")?;
    labels.require_finite("labels")?;
    let target = target(labels, options)?;
    let columns = target.len() / labels.rows();
    let target = Matrix::new("target", &target, labels.rows(), columns)?;
    loss_to_target(logits, target, options.temperature, device)
}

/// The loss of `logits` `[Q x n]` against target distributions `[Q x n]` of the caller's own making: each row at
/// least 0 with sum 1.
///
/// # Errors
/// As [`loss`]; [`Error::OutOfRange`] also for a row that is no distribution.
pub fn loss_to_target(
    logits: Matrix<'_, f64>,
    target: Matrix<'_, f64>,
    temperature: f64,
    device: Device,
) -> Result<Gradients> {
    logits.require_values("logits")?;
    require_equal("rows", ("logits", logits.rows()), ("target", target.rows()))?;
    require_equal("columns", ("logits", logits.columns()), ("target", target.columns()))?;
    logits.require_finite("logits")?;
    check_distributions(target)?;
    check_temperature("temperature", temperature)?;
    let scaled = divide("a logit over the temperature", logits, temperature)?;
    let predicted = softmax_rows(&scaled, logits.columns());
    let target: Vec<f64> = target.iter_rows().flatten().copied().collect();
    let (value, pull) = distance(&predicted, &target, logits.columns(), device)?;
    let mut gradient = softmax_gradient(&predicted, &pull, logits.columns());
    let inverse_temperature = logits.iter_rows().flatten().zip(&gradient).map(|(z, g)| z * g).sum();
    gradient.iter_mut().for_each(|value| *value /= temperature);
    Ok(Gradients { value, logits: gradient, inverse_temperature })
}

/// Value and d value / dP, on the device asked for.
fn distance(predicted: &[f64], target: &[f64], columns: usize, device: Device) -> Result<(f64, Vec<f64>)> {
    device.require()?;
    match device {
        Device::Scalar => Ok(scalar::distance(predicted, target, columns)),
        Device::Simd => Ok(simd::distance(InstructionSet::best(), predicted, target, columns)),
        Device::Cuda => {
            // A Q x Q singular value decomposition in f64: a processor's work, small beside the encoder's.
            let operation = "WS2 (a small singular value decomposition in f64)";
            Err(Error::Device { device, reason: Unavailable::NotImplemented { operation } })
        }
    }
}

/// `G` `[Q x n]`.
fn target(labels: Matrix<'_, f64>, options: Options) -> Result<Vec<f64>> {
    check_temperature("label temperature", options.label_temperature)?;
    let (queries, list) = (labels.rows(), labels.columns());
    let scaled = divide("a label over its temperature", labels, options.label_temperature)?;
    if options.target == Target::Lists {
        return Ok(softmax_rows(&scaled, list));
    }
    let columns = queries
        .checked_mul(list)
        .and_then(|columns| columns.checked_mul(queries).map(|_| columns))
        .ok_or(Error::TooLarge { what: "target", rows: queries, stride: list })?;
    let absent = if options.target == Target::Batch { 0.0 } else { f64::NEG_INFINITY };
    let mut logits = vec![absent; queries * columns];
    for (query, labels) in scaled.chunks_exact(list).enumerate() {
        logits[query * columns + query * list..][..list].copy_from_slice(labels);
    }
    Ok(softmax_rows(&logits, columns))
}

/// Every row's softmax, its largest value taken off first.
fn softmax_rows(logits: &[f64], columns: usize) -> Vec<f64> {
    let mut output = logits.to_vec();
    for row in output.chunks_exact_mut(columns) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|value| *value = (*value - largest).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|value| *value /= sum);
    }
    output
}

/// From d value / dP to d value / d (z / T).
fn softmax_gradient(predicted: &[f64], pull: &[f64], columns: usize) -> Vec<f64> {
    let mut gradient = pull.to_vec();
    for (gradient, row) in gradient.chunks_exact_mut(columns).zip(predicted.chunks_exact(columns)) {
        let mean: f64 = gradient.iter().zip(row).map(|(g, p)| g * p).sum();
        gradient.iter_mut().zip(row).for_each(|(g, p)| *g = p * (*g - mean));
    }
    gradient
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

fn check_temperature(what: &'static str, temperature: f64) -> Result<()> {
    if temperature.is_normal() && temperature > 0.0 {
        return Ok(());
    }
    Err(Error::OutOfRange { what, value: temperature, expected: "a finite number above 0" })
}

fn check_distributions(target: Matrix<'_, f64>) -> Result<()> {
    target.require_finite("target")?;
    for row in target.iter_rows() {
        if let Some(value) = row.iter().copied().find(|value| *value < 0.0) {
            return Err(Error::OutOfRange { what: "a target probability", value, expected: "at least 0" });
        }
        let value: f64 = row.iter().sum();
        if (value - 1.0).abs() > 1e-9 {
            return Err(Error::OutOfRange {
                what: "the sum of a target row",
                value,
                expected: "1 within 1e-9",
            });
        }
    }
    Ok(())
}

/// All values over the temperature, still far enough from the limits for differences.
fn divide(what: &'static str, matrix: Matrix<'_, f64>, temperature: f64) -> Result<Vec<f64>> {
    let scaled: Vec<f64> = matrix.iter_rows().flatten().map(|value| value / temperature).collect();
    match scaled.iter().find(|value| value.abs() > f64::MAX / 4.0) {
        Some(value) => Err(Error::OutOfRange { what, value: *value, expected: "within 4.4e307 of 0" }),
        None => Ok(scaled),
    }
}
