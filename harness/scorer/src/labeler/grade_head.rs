//! From the vector of `[CLS]` to a distribution over grades: BERT's pooler, a linear map, and what its outputs mean.
//!
//! ```text
//! p = tanh(P h + a)        h, p [d]     the pooler of `BertForSequenceClassification`
//! z = C p + c              z [outputs]
//! softmax   P(level k) = exp z_k / sum exp z                           as many outputs as levels
//! coral     P(above level k) = 1 / (1 + exp -z_k)                      one output fewer (arXiv 1901.07884)
//! corn      P(above level k | at least k) = 1 / (1 + exp -z_k)         one output fewer (arXiv 2111.08851)
//! ```
//!
//! Sums run in f64 over the inputs from the first to the last, exponentials come from `libm`: the same bits everywhere for
//! the same `h`.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::weights::Weights;

/// What the outputs of a grade head mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// One output a level.
    Softmax,
    /// One threshold between neighbouring levels.
    Coral,
    /// One conditional threshold between neighbouring levels.
    Corn,
}

impl HeadKind {
    /// How many outputs tell `levels` levels apart.
    pub fn outputs(self, levels: usize) -> usize {
        match self {
            Self::Softmax => levels,
            Self::Coral | Self::Corn => levels.saturating_sub(1),
        }
    }

    /// The probability of each level; sums to 1.
    pub fn distribution(self, outputs: &[f64]) -> Vec<f64> {
        let sigmoid = |z: f64| 1.0 / (1.0 + libm::exp(-z));
        match self {
            Self::Softmax => {
                let most = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                shares(outputs.iter().map(|z| libm::exp(z - most)).collect())
            }
            Self::Coral => shares(steps(outputs.iter().map(|&z| sigmoid(z)))),
            Self::Corn => {
                let mut reached = 1.0;
                let above = outputs.iter().map(|&z| {
                    reached *= sigmoid(z);
                    reached
                });
                shares(steps(above))
            }
        }
    }
}

/// Falls from 1 to 0 over the probabilities of being above each level; where they rise, 0.
fn steps(above: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut before = 1.0;
    let mut falls = Vec::new();
    for above in above.chain([0.0]) {
        falls.push(f64::max(before - above, 0.0));
        before = above;
    }
    falls
}

fn shares(weights: Vec<f64>) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// The names of the pooler's and the classifier's tensors, after the optional prefix `bert.` of the pooler.
pub(crate) const POOLER: &str = "pooler.dense";
pub(crate) const CLASSIFIER: &str = "classifier";

/// Pooler and classifier with their numbers.
pub struct GradeHead {
    pooler: Map,
    classifier: Map,
}

/// A linear map, its weights input after input so that all outputs are summed side by side.
struct Map {
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl GradeHead {
    /// Reads `pooler.dense.*` `[width, width]` and `classifier.*` `[outputs, width]`.
    ///
    /// # Errors
    /// `MissingTensor` or `BadTensor`, by name.
    pub fn from_weights(weights: &Weights, width: usize, outputs: usize) -> Result<Self> {
        let prefix = if weights.contains(&format!("bert.{POOLER}.weight")) { "bert." } else { "" };
        Ok(Self {
            pooler: Map::read(weights, &format!("{prefix}{POOLER}"), width, width)?,
            classifier: Map::read(weights, CLASSIFIER, width, outputs)?,
        })
    }

    /// The outputs `z` for the vector of the first token.
    pub fn outputs(&self, first: &[f32]) -> Vec<f64> {
        let mut pooled = self.pooler.forward(first.iter().map(|&x| f64::from(x)));
        pooled.iter_mut().for_each(|x| *x = libm::tanh(*x));
        self.classifier.forward(pooled.into_iter())
    }
}

impl Map {
    fn read(weights: &Weights, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        let rows = weights.floats(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = weights.floats(&format!("{name}.bias"), &[outputs])?;
        let columns = (0..inputs).flat_map(|input| rows.iter().skip(input).step_by(inputs).copied());
        Ok(Self { weights: columns.collect(), bias })
    }

    fn forward(&self, inputs: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut sums = vec![0.0; self.bias.len()];
        for (input, column) in inputs.zip(self.weights.chunks_exact(self.bias.len())) {
            sums.iter_mut().zip(column).for_each(|(sum, &weight)| *sum += input * f64::from(weight));
        }
        sums.iter_mut().zip(&self.bias).for_each(|(sum, &bias)| *sum += f64::from(bias));
        sums
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn distributions_by_hand() {
        let ln = f64::ln;
        close(&HeadKind::Softmax.distribution(&[ln(1.0), ln(2.0), ln(5.0)]), &[0.125, 0.25, 0.625]);
        // sigmoid(ln 3) = 3/4, sigmoid(0) = 1/2, sigmoid(-ln 3) = 1/4.
        let thresholds = [ln(3.0), 0.0, -ln(3.0)];
        close(&HeadKind::Coral.distribution(&thresholds), &[0.25, 0.25, 0.25, 0.25]);
        close(&HeadKind::Corn.distribution(&thresholds), &[0.25, 0.375, 0.281_25, 0.093_75]);
        // Thresholds out of order: nothing is negative, and the shares still sum to 1.
        close(&HeadKind::Coral.distribution(&[0.0, ln(3.0)]), &[0.4, 0.0, 0.6]);
    }

    #[test]
    fn large_outputs_stay_finite() {
        for kind in [HeadKind::Softmax, HeadKind::Coral, HeadKind::Corn] {
            for outputs in [[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]] {
                let found = kind.distribution(&outputs);
                assert!(found.iter().all(|share| (0.0..=1.0).contains(share)), "{kind:?} {found:?}");
                assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn maps_are_laid_out_by_input() {
        let map = Map { weights: vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0], bias: vec![0.5, -0.5] };
        close(&map.forward([1.0, 10.0, 100.0].into_iter()), &[321.5, 653.5]);
    }
}
