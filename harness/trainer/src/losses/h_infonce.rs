//! H-InfoNCE, the hierarchical loss of CroPS (arXiv 2511.15443, equation 3).
//!
//! Formula, symbols and "where we differ" stand in [`kernels::h_infonce`], which computes it for f32 embeddings without
//! ever holding all scores. For f64 embeddings the same formula is worked out here from the logits, level by level:
//!
//! ```text
//! E_m = log sum of exp z_k over y_k = m;   A_l = log sum of exp E_m over m < l
//! term_j = softplus(A_l - z_j),  l = y_j
//! ```
//!
//! Every document of the batch that a query does not list has grade 0 for it.

use kernels::h_infonce::{Anchors, Options, Reduction, loss_and_gradients};
use kernels::{Device, Matrix};
use serde::{Deserialize, Serialize};

use super::Similarity;
use super::error::LossError;
use super::exponentials::{log_add_exp, log_sum_exp, sigmoid, softplus};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::sides::{SideGradients, Sides};
use super::targets::{Scope, Targets};

/// The settings of H-InfoNCE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HInfonce {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0. CroPS starts from 0.05 and learns it.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// What the sum over anchors is divided by.
    pub mean_over: MeanOver,
    /// The lowest grade with a term of its own; lower ones only compete.
    pub anchors_from: u8,
}

/// What H-InfoNCE's sum over anchors is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeanOver {
    /// Nothing: the equation as it stands.
    Nothing,
    /// The queries of the batch.
    #[default]
    Queries,
    /// The anchors.
    Anchors,
}

impl Default for HInfonce {
    fn default() -> Self {
        HInfonce {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            learn_temperature: false,
            mean_over: MeanOver::Queries,
            anchors_from: 0,
        }
    }
}

impl HInfonce {
    /// By the kernel, on `device`: f32 in, f32 products.
    pub(super) fn on_device(
        &self,
        device: Device,
        sides: &Sides,
        targets: &Targets,
        temperature: f64,
    ) -> Result<SideGradients, LossError> {
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
        let widen = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        let (queries, documents) = (narrow(&sides.queries), narrow(&sides.documents));
        let columns = targets.columns();
        let options = Options {
            temperature: temperature as f32,
            reduction: match self.mean_over {
                MeanOver::Nothing => Reduction::Sum,
                MeanOver::Queries => Reduction::MeanOverQueries,
                MeanOver::Anchors => Reduction::MeanOverAnchors,
            },
            anchors: Anchors::at_least(self.anchors_from),
        };
        let output = loss_and_gradients(
            Matrix::new("queries", &queries, sides.query_count(), sides.width)?,
            Matrix::new("documents", &documents, sides.document_count(), sides.width)?,
            columns.labels()?,
            options,
            device,
        )?;
        Ok(SideGradients {
            value: output.loss.value,
            per_query: output.loss.per_query,
            queries: widen(output.queries),
            documents: widen(output.documents),
            parameters: vec![-output.inverse_temperature / (temperature * temperature)],
        })
    }

    /// From the logits, in f64.
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        let mut output = lists::mean(logits, targets, Scope::Batch, |list| Some(self.row(list)));
        if self.mean_over == MeanOver::Nothing {
            let queries = logits.queries() as f64;
            output.value *= queries;
            output.per_query.iter_mut().chain(&mut output.logits).for_each(|value| *value *= queries);
        }
        output
    }

    fn row(&self, list: &List) -> Term {
        let mut gradient = vec![0.0; list.logits.len()];
        let (mut value, mut anchors) = (0.0, 0.0);
        // Lowest level first: what lies below, and how hard each level above pushes it.
        let levels: Vec<(u8, Vec<usize>)> = list
            .levels()
            .into_iter()
            .rev()
            .map(|level| (level, list.positions(|grade| grade == level)))
            .collect();
        let mut below = Vec::with_capacity(levels.len());
        let mut total = f64::NEG_INFINITY;
        for (_, members) in &levels {
            below.push(total);
            total = log_add_exp(total, log_sum_exp(members.iter().map(|&at| list.logits[at])));
        }
        for (rank, (level, members)) in levels.iter().enumerate().skip(1) {
            if *level < self.anchors_from {
                continue;
            }
            let against = below[rank];
            let mut pushed = 0.0;
            for &at in members {
                let weight = list.candidates[at].weight;
                value += weight * softplus(against - list.logits[at]);
                let slope = weight * sigmoid(against - list.logits[at]);
                gradient[at] -= slope;
                pushed += slope;
                anchors += 1.0;
            }
            for &at in levels[..rank].iter().flat_map(|(_, members)| members) {
                gradient[at] += pushed * (list.logits[at] - against).exp();
            }
        }
        let share = if self.mean_over == MeanOver::Anchors { anchors } else { 1.0 };
        Term { value, share, gradient }
    }
}
