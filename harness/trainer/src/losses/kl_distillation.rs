//! Distillation of a teacher's scores over each list (Hinton et al., arXiv 1503.02531; for dense retrieval Lin et al.,
//! arXiv 2010.11386).
//!
//! ```text
//! t_k, s_k     teacher's and student's scores of a query's own documents
//! p            softmax(t / T_t),  q = softmax(s / T_s)
//! value        T_s^2 * mean over queries of KL(p || q)
//! d / ds_k     T_s (q_k - p_k) / queries
//! ```
//!
//! Where we differ: two temperatures (a cross-encoder's logits and a cosine live on different scales); the factor
//! `T_s^2`, which keeps slopes of the size they have at temperature 1, can be switched off. Lists may differ in length.

use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{log_sum_exp, softmax};
use super::lists::{self, List, LogitGradients, Logits, Term};
use super::targets::{Scope, Targets};

/// The settings of KL distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KlDistillation {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// The student's scores are divided by it; above 0.
    pub temperature: f64,
    /// The teacher's scores are divided by it; above 0.
    pub teacher_temperature: f64,
    /// Whether the value is multiplied by the square of the student's temperature.
    pub squared_factor: bool,
}

impl Default for KlDistillation {
    fn default() -> Self {
        KlDistillation {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            teacher_temperature: 1.0,
            squared_factor: true,
        }
    }
}

impl KlDistillation {
    pub(super) fn gradients(&self, logits: Logits<'_>, targets: &Targets) -> LogitGradients {
        lists::mean(logits, targets, Scope::List, |list| self.row(list))
    }

    fn row(&self, list: &List) -> Option<Term> {
        if list.logits.is_empty() {
            return None;
        }
        let teacher: Vec<f64> = list
            .candidates
            .iter()
            .map(|candidate| candidate.teacher.unwrap_or_default() / self.teacher_temperature)
            .collect();
        let factor = if self.squared_factor { self.temperature * self.temperature } else { 1.0 };
        let teacher_total = log_sum_exp(teacher.iter().copied());
        let total = log_sum_exp(list.logits.iter().copied());
        let (p, q) = (softmax(&teacher), softmax(&list.logits));
        let terms = p.iter().zip(&teacher).zip(&list.logits);
        let value = terms.map(|((p, t), z)| p * ((t - teacher_total) - (z - total))).sum::<f64>();
        let gradient = p.iter().zip(&q).map(|(p, q)| factor * (q - p)).collect();
        Some(Term { value: factor * value, share: 1.0, gradient })
    }
}
