//! Losses of labelers: models that say a grade, or a distribution over grades, for one pair at a time.
//!
//! ```text
//! z_i          logits of example i, one of N;  y_i its grade, 0..=K;  p_i a teacher's distribution over the grades
//! sigma        1 / (1 + exp -x)
//!
//! cross_entropy   [N x (K+1)]   sum_i w(y_i) -log softmax(z_i)_{y_i} / sum_i w(y_i), smoothed on request
//! coral           [N x K]       1/N sum_i sum_k BCE(sigma(z_ik), [y_i > k])       k = 0..K-1
//! corn            [N x K]       mean over (i, k) with y_i >= k of BCE(sigma(z_ik), [y_i > k])
//! mse             [N x (K+1)]   1/N sum_i (sum_k k softmax(z_i)_k - y_i)^2
//! distillation    [N x (K+1)]   T^2/N sum_i KL(softmax-teacher p_i || softmax(z_i/T)) + hard_weight * cross-entropy
//! ```
//!
//! CORAL is Cao, Mirjalili and Raschka (arXiv 1901.07884, equation 4): logit k says "above grade k", and the head must
//! share its weights between the k so that the probabilities fall. CORN is Shi, Cao and Raschka (arXiv 2111.08851,
//! equation 5): logit k says "above k, given at least k", so no weights need be shared. [`LabelerLoss::distribution`] turns
//! either back into probabilities of grades.
//!
//! Where we differ: label smoothing and class weights follow PyTorch (a smoothed target is weighted class by class);
//! CORAL's optional importance weights are absent; distillation takes the teacher's probabilities and raises them to 1/T
//! (which is what dividing its logits by T does) instead of its logits.

use kernels::Matrix;
use serde::{Deserialize, Serialize};

use super::Real;
use super::error::LossError;
use super::exponentials::{log_sum_exp, sigmoid, softmax, softplus};

/// A labeler's loss with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum LabelerLoss {
    /// One class a grade; the order of grades is not looked at.
    CrossEntropy(CrossEntropy),
    /// One threshold between neighbouring grades.
    Coral(Coral),
    /// One conditional threshold between neighbouring grades.
    Corn(Corn),
    /// A teacher's distribution over grades.
    Distillation(Distillation),
    /// The squared error of the expected grade.
    Mse(Mse),
}

/// The squared error has no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mse {}

/// The settings of cross-entropy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropy {
    /// The weight of each grade, from grade 0 on; empty for all 1.
    pub class_weights: Vec<f64>,
    /// The share of the target that is spread over all grades, 0 to 1.
    pub label_smoothing: f64,
}

/// CORAL has no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coral {}

/// CORN has no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corn {}

/// The settings of distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Distillation {
    /// Softens both distributions; above 0.
    pub temperature: f64,
    /// The weight of plain cross-entropy with the grades beside it; at least 0.
    pub hard_weight: f64,
}

impl Default for Distillation {
    fn default() -> Self {
        Distillation { temperature: 1.0, hard_weight: 0.0 }
    }
}

/// What the examples are labelled with.
#[derive(Clone, Copy, Debug, Default)]
pub struct LabelerTargets<'a> {
    /// One grade an example `[N]`.
    pub grades: Option<&'a [u8]>,
    /// A teacher's distribution over the grades `[N x (K+1)]`, rows summing to 1.
    pub distributions: Option<Matrix<'a, f32>>,
}

/// A labeler loss' value and gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelerGradients<T> {
    /// The value.
    pub value: f64,
    /// What each example adds to it `[N]`.
    pub per_example: Vec<f64>,
    /// d value / d logits, of the shape of the logits.
    pub logits: Vec<T>,
}

/// One example's value and slopes before the mean.
struct Term {
    value: f64,
    share: f64,
    slopes: Vec<f64>,
}

impl LabelerLoss {
    /// The name, as a recipe writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            LabelerLoss::CrossEntropy(_) => "cross_entropy",
            LabelerLoss::Coral(_) => "coral",
            LabelerLoss::Corn(_) => "corn",
            LabelerLoss::Distillation(_) => "distillation",
            LabelerLoss::Mse(_) => "mse",
        }
    }

    /// How many logits a model must give to tell the grades `0..=highest_grade` apart.
    #[must_use]
    pub fn logits_for(&self, highest_grade: u8) -> usize {
        match self {
            LabelerLoss::CrossEntropy(_) | LabelerLoss::Distillation(_) | LabelerLoss::Mse(_) => {
                usize::from(highest_grade) + 1
            }
            LabelerLoss::Coral(_) | LabelerLoss::Corn(_) => usize::from(highest_grade),
        }
    }

    /// The probability of each grade, given one example's logits.
    #[must_use]
    pub fn distribution(&self, logits: &[f64]) -> Vec<f64> {
        match self {
            LabelerLoss::CrossEntropy(_) | LabelerLoss::Distillation(_) | LabelerLoss::Mse(_) => {
                softmax(logits)
            }
            LabelerLoss::Coral(_) => from_above(logits.iter().map(|logit| sigmoid(*logit))),
            LabelerLoss::Corn(_) => from_above(logits.iter().scan(1.0, |reached, logit| {
                *reached *= sigmoid(*logit);
                Some(*reached)
            })),
        }
    }

    /// Refuses settings outside the range their meaning allows.
    ///
    /// # Errors
    /// [`LossError::Setting`].
    pub fn check(&self) -> Result<(), LossError> {
        let check = |setting, value: f64, allowed: bool, expected| {
            let refusal = LossError::Setting { loss: self.name(), setting, value, expected };
            if allowed { Ok(()) } else { Err(refusal) }
        };
        let at_least_0 = |setting, value: f64| {
            check(setting, value, value.is_finite() && value >= 0.0, "a finite number of at least 0")
        };
        match self {
            LabelerLoss::CrossEntropy(loss) => {
                let smoothing = loss.label_smoothing;
                check("label_smoothing", smoothing, (0.0..=1.0).contains(&smoothing), "0 to 1")?;
                loss.class_weights.iter().try_for_each(|weight| at_least_0("class_weights", *weight))
            }
            LabelerLoss::Coral(_) | LabelerLoss::Corn(_) | LabelerLoss::Mse(_) => Ok(()),
            LabelerLoss::Distillation(loss) => {
                let (temperature, expected) = (loss.temperature, "a finite number above 0");
                check("temperature", temperature, temperature.is_normal() && temperature > 0.0, expected)?;
                at_least_0("hard_weight", loss.hard_weight)
            }
        }
    }

    /// The value and its gradient with respect to `logits` `[N x C]`; [`logits_for`](Self::logits_for) gives C.
    ///
    /// # Errors
    /// [`LossError`]: empty or non-finite logits, targets that are missing, too many or too few, a grade the logits cannot
    /// express, a row that is no distribution, settings out of range.
    pub fn gradients<T: Real>(
        &self,
        logits: Matrix<'_, T>,
        targets: LabelerTargets<'_>,
    ) -> Result<LabelerGradients<T>, LossError> {
        self.check()?;
        logits.require_values("logits")?;
        logits.require_finite("logits")?;
        let rows: Vec<Vec<f64>> =
            logits.iter_rows().map(|row| row.iter().map(|value| value.to_f64()).collect()).collect();
        let terms = match self {
            LabelerLoss::CrossEntropy(loss) => {
                let grades = self.grades(&rows, targets)?;
                let classes = logits.columns();
                if !loss.class_weights.is_empty() && loss.class_weights.len() != classes {
                    let (got, expected) = (loss.class_weights.len(), classes);
                    let (loss, setting) = (self.name(), "class_weights");
                    return Err(LossError::SettingCount { loss, setting, got, expected });
                }
                rows.iter().zip(grades).map(|(row, grade)| loss.term(row, *grade)).collect()
            }
            LabelerLoss::Coral(_) => {
                let grades = self.grades(&rows, targets)?;
                rows.iter().zip(grades).map(|(row, grade)| thresholds(row, *grade, row.len(), 1.0)).collect()
            }
            LabelerLoss::Corn(_) => {
                let grades = self.grades(&rows, targets)?;
                let asked = |row: &[f64], grade: u8| row.len().min(usize::from(grade) + 1);
                rows.iter()
                    .zip(grades)
                    .map(|(row, grade)| {
                        thresholds(row, *grade, asked(row, *grade), asked(row, *grade) as f64)
                    })
                    .collect()
            }
            LabelerLoss::Distillation(loss) => self.distil(loss, &rows, targets)?,
            LabelerLoss::Mse(_) => {
                let grades = self.grades(&rows, targets)?;
                rows.iter().zip(grades).map(|(row, grade)| expected_grade_error(row, *grade)).collect()
            }
        };
        Ok(mean(terms))
    }

    fn grades<'a>(&self, rows: &[Vec<f64>], targets: LabelerTargets<'a>) -> Result<&'a [u8], LossError> {
        let Some(grades) = targets.grades else {
            return Err(LossError::NoTargets { loss: self.name(), what: "grades" });
        };
        if grades.len() != rows.len() {
            return Err(LossError::Examples { examples: rows.len(), what: "grades", got: grades.len() });
        }
        let highest = match self {
            LabelerLoss::CrossEntropy(_) | LabelerLoss::Distillation(_) | LabelerLoss::Mse(_) => {
                rows[0].len() - 1
            }
            LabelerLoss::Coral(_) | LabelerLoss::Corn(_) => rows[0].len(),
        };
        match grades.iter().position(|grade| usize::from(*grade) > highest) {
            Some(example) => Err(LossError::LabelerGrade { example, grade: grades[example], highest }),
            None => Ok(grades),
        }
    }

    fn distil(
        &self,
        loss: &Distillation,
        rows: &[Vec<f64>],
        targets: LabelerTargets<'_>,
    ) -> Result<Vec<Term>, LossError> {
        let Some(distributions) = targets.distributions else {
            return Err(LossError::NoTargets { loss: self.name(), what: "distributions" });
        };
        if distributions.rows() != rows.len() || distributions.columns() != rows[0].len() {
            let (what, got) = ("distributions", distributions.rows());
            if got != rows.len() {
                return Err(LossError::Examples { examples: rows.len(), what, got });
            }
            let (got, expected) = (distributions.columns(), rows[0].len());
            let setting = "columns of the distributions";
            return Err(LossError::SettingCount { loss: self.name(), setting, got, expected });
        }
        let grades = if loss.hard_weight > 0.0 { Some(self.grades(rows, targets)?) } else { None };
        let plain = CrossEntropy::default();
        rows.iter()
            .zip(distributions.iter_rows())
            .enumerate()
            .map(|(example, (row, distribution))| {
                let mut term = loss.term(row, &softened(example, distribution, loss.temperature)?);
                if let Some(grades) = grades {
                    let hard = plain.term(row, grades[example]);
                    term.value += loss.hard_weight * hard.value;
                    term.slopes.iter_mut().zip(hard.slopes).for_each(|(s, h)| *s += loss.hard_weight * h);
                }
                Ok(term)
            })
            .collect()
    }
}

impl CrossEntropy {
    fn term(&self, row: &[f64], grade: u8) -> Term {
        let weight = |class: usize| self.class_weights.get(class).copied().unwrap_or(1.0);
        let grade = usize::from(grade);
        let spread = self.label_smoothing / row.len() as f64;
        let target: Vec<f64> = (0..row.len())
            .map(|class| {
                weight(class) * (spread + if class == grade { 1.0 - self.label_smoothing } else { 0.0 })
            })
            .collect();
        let total = log_sum_exp(row.iter().copied());
        let mass: f64 = target.iter().sum();
        let value = target.iter().zip(row).map(|(target, z)| target * (total - z)).sum();
        let slopes = target.iter().zip(row).map(|(target, z)| mass * (z - total).exp() - target).collect();
        Term { value, share: weight(grade), slopes }
    }
}

impl Distillation {
    fn term(&self, row: &[f64], teacher: &[f64]) -> Term {
        let scaled: Vec<f64> = row.iter().map(|z| z / self.temperature).collect();
        let total = log_sum_exp(scaled.iter().copied());
        let squared = self.temperature * self.temperature;
        let surprise = |(p, z): (&f64, &f64)| if *p > 0.0 { p * (p.ln() - (z - total)) } else { 0.0 };
        let value = squared * teacher.iter().zip(&scaled).map(surprise).sum::<f64>();
        let slopes =
            teacher.iter().zip(&scaled).map(|(p, z)| self.temperature * ((z - total).exp() - p)).collect();
        Term { value, share: 1.0, slopes }
    }
}

/// `(E - y)^2` of the expected grade `E = sum_k k p_k`; d / d z_k = 2 (E - y) p_k (k - E).
fn expected_grade_error(row: &[f64], grade: u8) -> Term {
    let shares = softmax(row);
    let expected: f64 = shares.iter().zip(0..).map(|(share, k)| share * f64::from(k)).sum();
    let error = expected - f64::from(grade);
    let slope = |(share, k): (&f64, i32)| 2.0 * error * share * (f64::from(k) - expected);
    Term { value: error * error, share: 1.0, slopes: shares.iter().zip(0..).map(slope).collect() }
}

/// A teacher's distribution at a temperature: proportional to `p^(1/T)`.
fn softened(example: usize, distribution: &[f32], temperature: f64) -> Result<Vec<f64>, LossError> {
    let wide: Vec<f64> = distribution.iter().map(|value| f64::from(*value)).collect();
    let sum: f64 = wide.iter().sum();
    // NaN fails the comparisons too.
    if !(wide.iter().all(|value| *value >= 0.0) && (sum - 1.0).abs() <= 1e-4) {
        return Err(LossError::Distribution { example, sum });
    }
    let raised: Vec<f64> = wide.iter().map(|value| (value / sum).powf(1.0 / temperature)).collect();
    let total: f64 = raised.iter().sum();
    Ok(raised.into_iter().map(|value| value / total).collect())
}

/// Binary cross-entropies of the first `asked` thresholds.
fn thresholds(row: &[f64], grade: u8, asked: usize, share: f64) -> Term {
    let mut term = Term { value: 0.0, share, slopes: vec![0.0; row.len()] };
    for (k, &logit) in row.iter().enumerate().take(asked) {
        let above = if usize::from(grade) > k { 1.0 } else { 0.0 };
        term.value += softplus(logit) - above * logit;
        term.slopes[k] = sigmoid(logit) - above;
    }
    term
}

/// Probabilities of grades from those of being above each threshold; where they do not fall, the difference is 0.
fn from_above(above: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut edges = vec![1.0];
    edges.extend(above);
    edges.push(0.0);
    let differences: Vec<f64> = edges.windows(2).map(|pair| (pair[0] - pair[1]).max(0.0)).collect();
    let total: f64 = differences.iter().sum();
    differences.into_iter().map(|difference| difference / total).collect()
}

fn mean<T: Real>(terms: Vec<Term>) -> LabelerGradients<T> {
    let shares: f64 = terms.iter().map(|term| term.share).sum();
    let factor = if shares > 0.0 { 1.0 / shares } else { 0.0 };
    let per_example: Vec<f64> = terms.iter().map(|term| factor * term.value).collect();
    let slopes = terms.iter().flat_map(|term| &term.slopes);
    LabelerGradients {
        value: per_example.iter().sum(),
        logits: slopes.map(|slope| T::from_f64(factor * slope)).collect(),
        per_example,
    }
}
