//! RINCE: ranked positives, each rank against everything below it (Hoffmann et al., AAAI 2022, arXiv 2201.11736; the
//! authors' released code).
//!
//! ```text
//! r           the grades above 0 that a query has, highest first; P_r its documents, N_r all of lower grade
//! tau_r       temperature + (1 - y_r / highest_grade) (lowest_temperature - temperature)
//! in          -log( sum over P_r of exp(s/tau_r) / sum over P_r and N_r of exp(s/tau_r) )
//! out         mean over p in P_r of -log( exp(s_p/tau_r) / (exp(s_p/tau_r) + sum over N_r of exp(s/tau_r)) )
//! value       mean over queries of the mean over their ranks; out_in: out for the first rank, in for the others
//! ```
//!
//! Where we differ: the authors compare images with a memory bank, average each rank over the batch and then over ranks,
//! and leave out terms whose probability is at most 1e-7 (which silences the very worst pairs); here each query is
//! averaged over its own ranks and nothing is left out. A rank with nothing below it has no term. H-InfoNCE is `out`
//! summed over ranks, with one temperature.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{log_sum_exp, sigmoid, softplus};
use super::infonce::contrast;
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of RINCE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rince {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// The temperature of the highest grade; above 0.
    pub temperature: f64,
    /// What the temperature grows to at grade 0; at least the temperature.
    pub lowest_temperature: f64,
    /// The highest grade of the scale.
    pub highest_grade: u8,
    /// Where the sum over a rank's positives stands.
    pub form: RinceForm,
    /// Which documents are compared.
    pub scope: Scope,
}

/// Where RINCE's sum over a rank's positives stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RinceForm {
    /// Inside the logarithm: one good positive is enough.
    In,
    /// Outside: every positive has its own term.
    Out,
    /// Outside for the first rank, inside for the others.
    #[default]
    OutIn,
}

impl Default for Rince {
    fn default() -> Self {
        Rince {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            lowest_temperature: 0.1,
            highest_grade: 3,
            form: RinceForm::OutIn,
            scope: Scope::Batch,
        }
    }
}

impl Rince {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, self.scope, |list| self.row(list))
    }

    fn temperature_of(&self, grade: u8) -> f64 {
        let distance = 1.0 - f64::from(grade) / f64::from(self.highest_grade);
        self.temperature + distance * (self.lowest_temperature - self.temperature)
    }

    fn row(&self, list: &List) -> Option<Term> {
        let mut gradient = vec![0.0; list.logits.len()];
        let (mut value, mut ranks) = (0.0, 0.0);
        for (rank, level) in list.levels().into_iter().filter(|level| *level > 0).enumerate() {
            let (positives, negatives) =
                (list.positions(|grade| grade == level), list.positions(|grade| grade < level));
            if negatives.is_empty() {
                continue;
            }
            let temperature = self.temperature_of(level);
            let scaled: Vec<f64> = list.logits.iter().map(|score| score / temperature).collect();
            let outside = self.form == RinceForm::Out || (self.form == RinceForm::OutIn && rank == 0);
            let mut slopes = vec![0.0; scaled.len()];
            value += match outside {
                true => out_of_log(&scaled, &positives, &negatives, &mut slopes),
                false => in_log(&scaled, &positives, &negatives, &mut slopes),
            };
            gradient.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope / temperature);
            ranks += 1.0;
        }
        if ranks == 0.0 {
            return None;
        }
        gradient.iter_mut().for_each(|slope| *slope /= ranks);
        Some(Term { value: value / ranks, share: 1.0, gradient })
    }
}

fn out_of_log(logits: &[f64], positives: &[usize], negatives: &[usize], gradient: &mut [f64]) -> f64 {
    let weights = vec![1.0 / positives.len() as f64; positives.len()];
    contrast(logits, positives, &weights, negatives, gradient).iter().sum()
}

fn in_log(logits: &[f64], positives: &[usize], negatives: &[usize], gradient: &mut [f64]) -> f64 {
    let of = |places: &[usize]| log_sum_exp(places.iter().map(|&at| logits[at]));
    let (for_it, against) = (of(positives), of(negatives));
    let slope = sigmoid(against - for_it);
    positives.iter().for_each(|&at| gradient[at] -= slope * (logits[at] - for_it).exp());
    negatives.iter().for_each(|&at| gradient[at] += slope * (logits[at] - against).exp());
    softplus(against - for_it)
}
