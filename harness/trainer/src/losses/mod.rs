//! Graded losses: embeddings and labels in, value and gradients out.
//!
//! A training loop encodes a batch, asks a [`Loss`] for its value and for the gradients *with respect to the embeddings*,
//! and feeds those back into the encoder, chunk by chunk if it likes. So no loss here meets a tensor library: plain
//! slices, gradients by hand, sums in a fixed order whatever the number of threads.
//!
//! ```text
//! Q [B x d], D [N x d]    embeddings of the batch's queries and documents, f32 or f64
//! S = Q D'                scores: cosines (rows brought to length 1 first) or inner products
//! z = a S + b             logits: a = 1/temperature, or a learned scale; b a learned bias or 0
//! value, d value / dz     what the files beside this one define, each with paper, equation and symbols
//! d value / dQ = a dz D,  d value / dD = a dz' Q
//! ```
//!
//! All arithmetic is f64, whatever the embeddings are; only H-InfoNCE and InfoNCE (not symmetric) of f32 embeddings run in
//! f32, in a kernel that never holds `S`. The others hold `S`, `z` and `dz`: 24 bytes a pair, 1.5 GiB for 8,192 queries by
//! 8,192 documents; SSRA's loss also what its self contrast compares.
//!
//! | loss | looks at | in batch |
//! |---|---|---|
//! | [`Infonce`], [`WeightedInfonce`], [`HInfonce`], [`Rince`] | grades | yes |
//! | [`Wasserstein`] | grades | yes, or own lists |
//! | [`ListNet`], [`ListMle`], [`RankNet`], [`LambdaLoss`], [`ApproxNdcg`], [`Cosent`] | grades | on request |
//! | [`Bixse`] | grades on a scale | yes |
//! | [`Mse`] | grades on a scale | no |
//! | [`KlDistillation`], [`MarginMse`] | a teacher's scores | no |
//! | [`Matryoshka`], [`Sum`] | what their parts look at | |
//!
//! [`labeler`] holds the losses of models that say a grade instead of a score.

mod approx_ndcg;
mod bixse;
mod cosent;
mod error;
mod exponentials;
mod gain;
mod h_infonce;
mod infonce;
mod kl_distillation;
pub mod labeler;
mod lambda_loss;
mod listmle;
mod listnet;
mod lists;
mod margin_mse;
mod matryoshka;
mod mse;
mod ranknet;
mod rince;
mod sides;
mod sum;
mod targets;
mod wasserstein;
mod weighted_infonce;

use std::fmt;

pub use approx_ndcg::ApproxNdcg;
pub use bixse::Bixse;
pub use cosent::{Across, Cosent};
pub use error::LossError;
pub use gain::Gain;
pub use h_infonce::{HInfonce, MeanOver};
pub use infonce::Infonce;
pub use kernels::h_infonce::IGNORED;
use kernels::h_infonce::MAX_LABEL;
use kernels::{Device, Matrix};
pub use kl_distillation::KlDistillation;
pub use lambda_loss::LambdaLoss;
pub use listmle::ListMle;
pub use listnet::ListNet;
use lists::{LogitGradients, Logits};
pub use margin_mse::MarginMse;
pub use matryoshka::Matryoshka;
pub use mse::Mse;
pub use ranknet::RankNet;
pub use rince::{Rince, RinceForm};
use serde::{Deserialize, Serialize};
use sides::{SideGradients, Sides};
pub use sum::{Sum, WeightedLoss};
pub use targets::{Listed, Scope, Targets};
pub use wasserstein::{TableColumns, Wasserstein};
pub use weighted_infonce::WeightedInfonce;

/// The width of embeddings and of the gradients that go back to them.
pub trait Real: kernels::matrix::Real {
    /// Whether it is f32 or narrower, so that an f32 kernel loses nothing.
    const NARROW: bool;
    /// The nearest value.
    fn from_f64(value: f64) -> Self;
}

impl Real for f32 {
    const NARROW: bool = true;
    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    const NARROW: bool = false;
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// How a query and a document are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// The inner product of the embeddings as they are.
    Dot,
    /// That of the unit vectors; 0 for a zero vector.
    Cosine,
}

/// The embeddings of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Embeddings<'a, T> {
    /// One row a query `[B x d]`.
    pub queries: Matrix<'a, T>,
    /// One row a document, each document of the batch once `[N x d]`.
    pub documents: Matrix<'a, T>,
}

/// A loss' value and gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<T> {
    /// The value.
    pub value: f64,
    /// What each query adds to the value `[B]`; empty where the loss does not divide into queries.
    pub per_query: Vec<f64>,
    /// d value / d queries `[B x d]`, row-major.
    pub queries: Vec<T>,
    /// d value / d documents `[N x d]`, row-major.
    pub documents: Vec<T>,
    /// d value / d learned numbers, in the order of [`Loss::parameters`].
    pub parameters: Vec<f64>,
}

/// A number that belongs to the loss itself: a temperature, a scale, a bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it starts.
    pub start: f64,
    /// Whether the optimizer is to move it.
    pub learned: bool,
}

/// What a loss asks of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The grades a list must have for the loss to have something to say about it.
    pub grades: NeededGrades,
    /// Whether a teacher must have scored every document of the lists.
    pub teacher_scores: bool,
    /// The highest grade the loss can place.
    pub highest_grade: u8,
}

/// The grades that the lists must have, the weakest need first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeededGrades {
    /// Any will do.
    Any,
    /// Some list must have one of at least this grade.
    AtLeastSomewhere(u8),
    /// Two different ones among all lists together.
    TwoLevelsSomewhere,
    /// Every list must have one of at least this grade; in-batch documents are the others.
    AtLeast(u8),
    /// Every list must have two different ones.
    TwoLevels,
}

/// A loss with its settings, as a recipe's `[loss]` table writes it: `name = "h_infonce"`, `temperature = 0.05`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Loss {
    /// Each positive against the batch's negatives.
    Infonce(Infonce),
    /// SSRA: InfoNCE weighted by grade, with its full denominator.
    WeightedInfonce(WeightedInfonce),
    /// CroPS: each grade against all lower ones.
    HInfonce(HInfonce),
    /// SyCL: the Wasserstein distance of two distributions over the batch.
    Wasserstein(Wasserstein),
    /// A teacher's distribution over each list.
    KlDistillation(KlDistillation),
    /// The grades' distribution over each list.
    #[serde(rename = "listnet")]
    ListNet(ListNet),
    /// The likelihood of the grades' order.
    #[serde(rename = "listmle")]
    ListMle(ListMle),
    /// Pairs weighted by what they are worth in nDCG.
    LambdaLoss(LambdaLoss),
    /// nDCG with soft ranks.
    ApproxNdcg(ApproxNdcg),
    /// All pairs in the right order.
    #[serde(rename = "ranknet")]
    RankNet(RankNet),
    /// A teacher's differences.
    MarginMse(MarginMse),
    /// No lower grade above a higher one.
    Cosent(Cosent),
    /// Each rank of positives against everything below it.
    Rince(Rince),
    /// Graded binary cross-entropy of every pair.
    Bixse(Bixse),
    /// Squared error against the grade.
    Mse(Mse),
    /// Another loss on prefixes of the embeddings.
    Matryoshka(Matryoshka),
    /// Several losses added up.
    Sum(Sum),
}

/// How scores become logits.
#[derive(Clone, Copy, Debug)]
struct Affine {
    factor: f64,
    bias: f64,
}

impl Loss {
    /// The name, as a recipe writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Loss::Infonce(_) => "infonce",
            Loss::WeightedInfonce(_) => "weighted_infonce",
            Loss::HInfonce(_) => "h_infonce",
            Loss::Wasserstein(_) => "wasserstein",
            Loss::KlDistillation(_) => "kl_distillation",
            Loss::ListNet(_) => "listnet",
            Loss::ListMle(_) => "listmle",
            Loss::LambdaLoss(_) => "lambda_loss",
            Loss::ApproxNdcg(_) => "approx_ndcg",
            Loss::RankNet(_) => "ranknet",
            Loss::MarginMse(_) => "margin_mse",
            Loss::Cosent(_) => "cosent",
            Loss::Rince(_) => "rince",
            Loss::Bixse(_) => "bixse",
            Loss::Mse(_) => "mse",
            Loss::Matryoshka(_) => "matryoshka",
            Loss::Sum(_) => "sum",
        }
    }

    /// The loss' own numbers, where they start and whether they are learned.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let temperature = |start, learned| vec![Parameter { name: "temperature", start, learned }];
        let bias = |start, learned| Parameter { name: "bias", start, learned };
        match self {
            Loss::Infonce(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::WeightedInfonce(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::HInfonce(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::Wasserstein(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::ListNet(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::ListMle(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::LambdaLoss(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::RankNet(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::Cosent(loss) => temperature(loss.temperature, loss.learn_temperature),
            Loss::Bixse(loss) => {
                let scale =
                    Parameter { name: "log_scale", start: loss.scale.ln(), learned: loss.learn_scale };
                vec![scale, bias(loss.bias, loss.learn_scale)]
            }
            Loss::Mse(loss) => {
                let scale = Parameter { name: "scale", start: loss.scale, learned: loss.learn_scale };
                vec![scale, bias(loss.bias, loss.learn_scale)]
            }
            Loss::KlDistillation(_) | Loss::ApproxNdcg(_) | Loss::MarginMse(_) | Loss::Rince(_) => Vec::new(),
            Loss::Matryoshka(loss) => loss.loss.parameters(),
            Loss::Sum(sum) => sum.terms.iter().flat_map(|term| term.loss.parameters()).collect(),
        }
    }

    /// The values [`parameters`](Self::parameters) start from.
    #[must_use]
    pub fn starting_parameters(&self) -> Vec<f64> {
        self.parameters().iter().map(|parameter| parameter.start).collect()
    }

    /// What the loss asks of its data.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let grades = |grades| Needs { grades, teacher_scores: false, highest_grade: MAX_LABEL };
        let over = |scope| {
            grades(if scope == Scope::Batch { NeededGrades::AtLeast(1) } else { NeededGrades::TwoLevels })
        };
        match self {
            Loss::Infonce(loss) => grades(NeededGrades::AtLeast(loss.positive_from)),
            Loss::WeightedInfonce(loss) => {
                let highest =
                    loss.grade_weights.len().checked_sub(1).map_or(MAX_LABEL, |last| last.min(15) as u8);
                // A pair of grade 0 has no loss of its own, and its document is a negative of all others.
                Needs { highest_grade: highest, ..grades(NeededGrades::AtLeastSomewhere(1)) }
            }
            Loss::HInfonce(loss) => grades(NeededGrades::AtLeast(loss.anchors_from.max(1))),
            Loss::Wasserstein(loss) => grades(match loss.columns {
                TableColumns::Batch => NeededGrades::AtLeast(1),
                TableColumns::OwnList => NeededGrades::Any,
                TableColumns::Lists => NeededGrades::TwoLevels,
            }),
            Loss::KlDistillation(_) => Needs { teacher_scores: true, ..grades(NeededGrades::Any) },
            Loss::MarginMse(_) => Needs { teacher_scores: true, ..grades(NeededGrades::TwoLevels) },
            Loss::ListNet(loss) => over(loss.scope),
            Loss::ListMle(loss) => over(loss.scope),
            Loss::LambdaLoss(loss) => over(loss.scope),
            Loss::RankNet(loss) => over(loss.scope),
            Loss::ApproxNdcg(_) => grades(NeededGrades::AtLeast(1)),
            Loss::Cosent(loss) => match loss.across {
                // Lists of one grade each still differ from one another.
                Across::Batch => grades(NeededGrades::TwoLevelsSomewhere),
                Across::Query => over(loss.scope),
            },
            Loss::Rince(loss) => {
                Needs { highest_grade: loss.highest_grade, ..grades(NeededGrades::AtLeast(1)) }
            }
            Loss::Bixse(loss) => Needs { highest_grade: loss.highest_grade, ..grades(NeededGrades::Any) },
            Loss::Mse(loss) => Needs { highest_grade: loss.highest_grade, ..grades(NeededGrades::Any) },
            Loss::Matryoshka(loss) => loss.loss.needs(),
            // A list is of use when one of the terms has something to say about it.
            Loss::Sum(sum) => sum
                .terms
                .iter()
                .map(|term| term.loss.needs())
                .reduce(|all, needs| Needs {
                    grades: all.grades.min(needs.grades),
                    teacher_scores: all.teacher_scores || needs.teacher_scores,
                    highest_grade: all.highest_grade.min(needs.highest_grade),
                })
                .unwrap_or(grades(NeededGrades::Any)),
        }
    }

    /// Whether it looks at documents of the batch that a query does not list, so that masking them changes something.
    #[must_use]
    pub fn looks_at_unlisted(&self) -> bool {
        match self {
            Loss::Infonce(_) | Loss::WeightedInfonce(_) | Loss::HInfonce(_) => true,
            Loss::Wasserstein(loss) => loss.columns != TableColumns::Lists,
            Loss::ListNet(loss) => loss.scope == Scope::Batch,
            Loss::ListMle(loss) => loss.scope == Scope::Batch,
            Loss::LambdaLoss(loss) => loss.scope == Scope::Batch,
            Loss::ApproxNdcg(loss) => loss.scope == Scope::Batch,
            Loss::RankNet(loss) => loss.scope == Scope::Batch,
            Loss::Rince(loss) => loss.scope == Scope::Batch,
            Loss::Bixse(loss) => loss.scope == Scope::Batch,
            Loss::Cosent(loss) => loss.across == Across::Query && loss.scope == Scope::Batch,
            Loss::KlDistillation(_) | Loss::MarginMse(_) | Loss::Mse(_) => false,
            Loss::Matryoshka(loss) => loss.loss.looks_at_unlisted(),
            Loss::Sum(sum) => sum.terms.iter().any(|term| term.loss.looks_at_unlisted()),
        }
    }

    /// Refuses settings outside the range their meaning allows: what can be known before there is data.
    ///
    /// # Errors
    /// [`LossError::Setting`], [`LossError::SettingCount`].
    pub fn check(&self) -> Result<(), LossError> {
        let check = |setting, value: f64, allowed: bool, expected| {
            let refusal = LossError::Setting { loss: self.name(), setting, value, expected };
            if allowed { Ok(()) } else { Err(refusal) }
        };
        let positive = |setting, value: f64| {
            check(setting, value, value.is_normal() && value > 0.0, "a finite number above 0")
        };
        let at_least_0 = |setting, value: f64| {
            check(setting, value, value.is_finite() && value >= 0.0, "a finite number of at least 0")
        };
        let finite = |setting, value: f64| check(setting, value, value.is_finite(), "a finite number");
        let grade = |setting, value: u8| {
            check(setting, f64::from(value), (1..=MAX_LABEL).contains(&value), "a grade of 1 to 15")
        };
        match self {
            Loss::Infonce(loss) => {
                positive("temperature", loss.temperature)?;
                grade("positive_from", loss.positive_from)
            }
            Loss::WeightedInfonce(loss) => {
                positive("temperature", loss.temperature)?;
                at_least_0("mask_margin", loss.mask_margin)?;
                loss.grade_weights.iter().try_for_each(|weight| at_least_0("grade_weights", *weight))
            }
            Loss::HInfonce(loss) => {
                positive("temperature", loss.temperature)?;
                check("anchors_from", f64::from(loss.anchors_from), loss.anchors_from <= MAX_LABEL, "0 to 15")
            }
            Loss::Wasserstein(loss) => {
                positive("temperature", loss.temperature)?;
                positive("grade_temperature", loss.grade_temperature)?;
                at_least_0("hybrid", loss.hybrid)
            }
            Loss::KlDistillation(loss) => {
                positive("temperature", loss.temperature)?;
                positive("teacher_temperature", loss.teacher_temperature)
            }
            Loss::ListNet(loss) => {
                positive("temperature", loss.temperature)?;
                positive("grade_temperature", loss.grade_temperature)
            }
            Loss::ListMle(loss) => positive("temperature", loss.temperature),
            Loss::LambdaLoss(loss) => {
                positive("temperature", loss.temperature)?;
                let depth = loss.depth.unwrap_or(1);
                check("depth", depth as f64, depth > 0, "at least 1")?;
                at_least_0("mu", loss.mu)
            }
            Loss::ApproxNdcg(loss) => positive("temperature", loss.temperature),
            Loss::RankNet(loss) => positive("temperature", loss.temperature),
            Loss::MarginMse(loss) => positive("scale", loss.scale),
            Loss::Cosent(loss) => positive("temperature", loss.temperature),
            Loss::Rince(loss) => {
                positive("temperature", loss.temperature)?;
                let lowest = loss.lowest_temperature;
                let allowed = lowest.is_finite() && lowest >= loss.temperature;
                check("lowest_temperature", lowest, allowed, "a finite number of at least the temperature")?;
                grade("highest_grade", loss.highest_grade)
            }
            Loss::Bixse(loss) => {
                positive("scale", loss.scale)?;
                finite("bias", loss.bias)?;
                grade("highest_grade", loss.highest_grade)
            }
            Loss::Mse(loss) => {
                finite("scale", loss.scale)?;
                finite("bias", loss.bias)?;
                grade("highest_grade", loss.highest_grade)
            }
            Loss::Matryoshka(loss) => {
                let (got, expected) = (loss.weights.len(), loss.dimensions.len());
                let count = |setting, got, expected| {
                    Err(LossError::SettingCount { loss: "matryoshka", setting, got, expected })
                };
                if expected == 0 {
                    return count("dimensions", 0, 1);
                }
                if got != 0 && got != expected {
                    return count("weights", got, expected);
                }
                loss.weights.iter().try_for_each(|weight| at_least_0("weights", *weight))?;
                loss.loss.check()
            }
            Loss::Sum(sum) => {
                if sum.terms.is_empty() {
                    return Err(LossError::SettingCount {
                        loss: "sum",
                        setting: "terms",
                        got: 0,
                        expected: 1,
                    });
                }
                sum.terms.iter().try_for_each(|term| {
                    at_least_0("weight", term.weight)?;
                    term.loss.check()
                })
            }
        }
    }

    /// The value and its gradients, on the processor.
    ///
    /// `parameters` are the loss' own numbers as they stand, in the order of [`parameters`](Self::parameters).
    ///
    /// # Errors
    /// [`LossError`]: shapes that do not fit, values that are not finite, settings or learned numbers out of range,
    /// grades above the loss' highest, a missing teacher's score.
    pub fn gradients<T: Real>(
        &self,
        embeddings: Embeddings<'_, T>,
        targets: &Targets,
        parameters: &[f64],
    ) -> Result<Gradients<T>, LossError> {
        self.gradients_on(Device::auto(), embeddings, targets, parameters)
    }

    /// The same with the kernel of H-InfoNCE (and InfoNCE) on `device`; everything else is the processor's work.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients), and [`kernels::Error::Device`] when the kernel is asked of a device that is not
    /// there.
    pub fn gradients_on<T: Real>(
        &self,
        device: Device,
        embeddings: Embeddings<'_, T>,
        targets: &Targets,
        parameters: &[f64],
    ) -> Result<Gradients<T>, LossError> {
        self.check()?;
        targets.check_shape(embeddings.queries.rows(), embeddings.documents.rows())?;
        let needs = self.needs();
        targets.check_grades(needs.highest_grade)?;
        if needs.teacher_scores {
            targets.check_teacher(self.name())?;
        }
        let expected = self.parameters().len();
        if parameters.len() != expected {
            return Err(LossError::Parameters { expected, got: parameters.len() });
        }
        let sides = Sides::new(embeddings.queries, embeddings.documents)?;
        let output = self.of_sides(device, &sides, targets, parameters)?;
        let narrow = |values: Vec<f64>| values.into_iter().map(T::from_f64).collect::<Vec<T>>();
        let gradients = Gradients {
            value: output.value,
            per_query: output.per_query,
            queries: narrow(output.queries),
            documents: narrow(output.documents),
            parameters: output.parameters,
        };
        self.require_finite(&gradients)?;
        Ok(gradients)
    }

    fn require_finite<T: Real>(&self, gradients: &Gradients<T>) -> Result<(), LossError> {
        let first = |values: &[T]| values.iter().find(|value| !value.is_finite()).map(|value| value.to_f64());
        let of_parameters = gradients.parameters.iter().find(|value| !value.is_finite()).copied();
        let value = Some(gradients.value).filter(|value| !value.is_finite());
        let found = [
            ("the value", value),
            ("a slope of the queries", first(&gradients.queries)),
            ("a slope of the documents", first(&gradients.documents)),
            ("a slope of the learned numbers", of_parameters),
        ];
        match found.into_iter().find_map(|(what, value)| Some((what, value?))) {
            Some((what, value)) => Err(LossError::NotFinite { loss: self.name(), what, value }),
            None => Ok(()),
        }
    }

    fn of_sides(
        &self,
        device: Device,
        sides: &Sides,
        targets: &Targets,
        parameters: &[f64],
    ) -> Result<SideGradients, LossError> {
        match self {
            Loss::Matryoshka(loss) => of_prefixes(loss, device, sides, targets, parameters),
            Loss::Sum(sum) => of_terms(sum, device, sides, targets, parameters),
            _ if self.similarity() == Similarity::Cosine => {
                let unit = sides.unit();
                let mut output = self.of_compared(device, &unit.sides, targets, parameters)?;
                unit.pull_back(&mut output);
                Ok(output)
            }
            _ => self.of_compared(device, sides, targets, parameters),
        }
    }

    /// From the vectors whose inner products are the scores.
    fn of_compared(
        &self,
        device: Device,
        sides: &Sides,
        targets: &Targets,
        parameters: &[f64],
    ) -> Result<SideGradients, LossError> {
        let affine = self.affine(parameters)?;
        match self {
            Loss::HInfonce(loss) if sides.narrow => {
                return loss.on_device(device, sides, targets, parameters[0]);
            }
            Loss::Infonce(loss) if sides.narrow && !loss.symmetric => {
                return loss.on_device(device, sides, targets, parameters[0]);
            }
            Loss::WeightedInfonce(loss) => return Ok(loss.gradients(sides, targets, parameters[0])),
            _ => {}
        }
        let scores = sides.scores();
        let values: Vec<f64> = scores.iter().map(|score| affine.factor * score + affine.bias).collect();
        let logits = Logits { values: &values, documents: sides.document_count() };
        let LogitGradients { value, per_query, logits: mut slopes } = self.of_logits(logits, targets)?;
        let towards_factor: f64 = scores.iter().zip(&slopes).map(|(score, slope)| score * slope).sum();
        let towards_bias: f64 = slopes.iter().sum();
        slopes.iter_mut().for_each(|slope| *slope *= affine.factor);
        let (queries, documents) = sides.slopes_of_sides(&slopes);
        let parameters = self.parameter_slopes(affine, towards_factor, towards_bias);
        Ok(SideGradients { value, per_query, queries, documents, parameters })
    }

    fn of_logits(&self, logits: Logits<'_>, targets: &Targets) -> Result<LogitGradients, LossError> {
        Ok(match self {
            Loss::Infonce(loss) => loss.gradients(logits, targets),
            Loss::HInfonce(loss) => loss.gradients(logits, targets),
            Loss::Wasserstein(loss) => loss.gradients(logits, targets, Device::auto())?,
            Loss::KlDistillation(loss) => loss.gradients(logits, targets),
            Loss::ListNet(loss) => loss.gradients(logits, targets),
            Loss::ListMle(loss) => loss.gradients(logits, targets),
            Loss::LambdaLoss(loss) => loss.gradients(logits, targets),
            Loss::ApproxNdcg(loss) => loss.gradients(logits, targets),
            Loss::RankNet(loss) => loss.gradients(logits, targets),
            Loss::MarginMse(loss) => loss.gradients(logits, targets),
            Loss::Cosent(loss) => loss.gradients(logits, targets),
            Loss::Rince(loss) => loss.gradients(logits, targets),
            Loss::Bixse(loss) => loss.gradients(logits, targets),
            Loss::Mse(loss) => loss.gradients(logits, targets),
            Loss::WeightedInfonce(_) | Loss::Matryoshka(_) | Loss::Sum(_) => {
                unreachable!("these do not work on logits")
            }
        })
    }

    fn similarity(&self) -> Similarity {
        match self {
            Loss::Infonce(loss) => loss.similarity,
            Loss::WeightedInfonce(loss) => loss.similarity,
            Loss::HInfonce(loss) => loss.similarity,
            Loss::Wasserstein(loss) => loss.similarity,
            Loss::KlDistillation(loss) => loss.similarity,
            Loss::ListNet(loss) => loss.similarity,
            Loss::ListMle(loss) => loss.similarity,
            Loss::LambdaLoss(loss) => loss.similarity,
            Loss::ApproxNdcg(loss) => loss.similarity,
            Loss::RankNet(loss) => loss.similarity,
            Loss::MarginMse(loss) => loss.similarity,
            Loss::Cosent(loss) => loss.similarity,
            Loss::Rince(loss) => loss.similarity,
            Loss::Bixse(loss) => loss.similarity,
            Loss::Mse(loss) => loss.similarity,
            Loss::Matryoshka(_) | Loss::Sum(_) => Similarity::Dot,
        }
    }

    /// How scores become logits, with the learned numbers as they stand.
    fn affine(&self, parameters: &[f64]) -> Result<Affine, LossError> {
        let refuse =
            |setting, value, expected| LossError::Setting { loss: self.name(), setting, value, expected };
        let affine = match (self, parameters) {
            (Loss::Bixse(_), &[log_scale, bias]) => Affine { factor: log_scale.exp(), bias },
            (Loss::Mse(_), &[scale, bias]) => Affine { factor: scale, bias },
            (Loss::KlDistillation(loss), _) => Affine { factor: 1.0 / loss.temperature, bias: 0.0 },
            (Loss::ApproxNdcg(loss), _) => Affine { factor: 1.0 / loss.temperature, bias: 0.0 },
            (Loss::MarginMse(loss), _) => Affine { factor: loss.scale, bias: 0.0 },
            (Loss::Rince(_), _) => Affine { factor: 1.0, bias: 0.0 },
            (_, &[temperature, ..]) => {
                if !(temperature.is_normal() && temperature > 0.0) {
                    return Err(refuse("temperature", temperature, "a finite number above 0"));
                }
                Affine { factor: 1.0 / temperature, bias: 0.0 }
            }
            (_, []) => Affine { factor: 1.0, bias: 0.0 },
        };
        for (what, value) in [("scale", affine.factor), ("bias", affine.bias)] {
            if !value.is_finite() {
                return Err(refuse(what, value, "a finite number"));
            }
        }
        Ok(affine)
    }

    fn parameter_slopes(&self, affine: Affine, towards_factor: f64, towards_bias: f64) -> Vec<f64> {
        match self {
            Loss::Bixse(_) => vec![affine.factor * towards_factor, towards_bias],
            Loss::Mse(_) => vec![towards_factor, towards_bias],
            _ if self.parameters().is_empty() => Vec::new(),
            // The factor is 1/T, and d(1/T)/dT = -1/T^2.
            _ => vec![-affine.factor * affine.factor * towards_factor],
        }
    }
}

fn of_prefixes(
    loss: &Matryoshka,
    device: Device,
    sides: &Sides,
    targets: &Targets,
    parameters: &[f64],
) -> Result<SideGradients, LossError> {
    let mut total = SideGradients::nothing(sides, parameters.len());
    for (dimensions, weight) in loss.prefixes() {
        if dimensions == 0 || dimensions > sides.width {
            return Err(LossError::Prefix { dimensions, width: sides.width });
        }
        let prefix = sides.prefix(dimensions);
        let mut part = if loss.normalise {
            let unit = prefix.unit();
            let mut part = loss.loss.of_sides(device, &unit.sides, targets, parameters)?;
            unit.pull_back(&mut part);
            part
        } else {
            loss.loss.of_sides(device, &prefix, targets, parameters)?
        };
        part.queries = widened(&part.queries, dimensions, sides.width);
        part.documents = widened(&part.documents, dimensions, sides.width);
        total.add(weight, &part);
    }
    Ok(total)
}

/// Rows of a prefix as whole rows, 0 beyond it.
fn widened(rows: &[f64], from: usize, to: usize) -> Vec<f64> {
    let mut output = vec![0.0; rows.len() / from * to];
    for (output, row) in output.chunks_exact_mut(to).zip(rows.chunks_exact(from)) {
        output[..from].copy_from_slice(row);
    }
    output
}

fn of_terms(
    sum: &Sum,
    device: Device,
    sides: &Sides,
    targets: &Targets,
    parameters: &[f64],
) -> Result<SideGradients, LossError> {
    let mut total = SideGradients::nothing(sides, parameters.len());
    let mut start = 0;
    for WeightedLoss { weight, loss } in &sum.terms {
        let end = start + loss.parameters().len();
        let mut part = loss.of_sides(device, sides, targets, &parameters[start..end])?;
        let own = std::mem::replace(&mut part.parameters, vec![0.0; parameters.len()]);
        part.parameters[start..end].copy_from_slice(&own);
        total.add(*weight, &part);
        start = end;
    }
    Ok(total)
}

impl fmt::Display for Loss {
    /// The name with all settings, as in `infonce(similarity="cosine", temperature=0.05, ...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        let settings = settings.as_object().ok_or(fmt::Error)?;
        let written: Vec<String> = settings
            .iter()
            .filter(|(key, _)| *key != "name")
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        write!(f, "{}({})", self.name(), written.join(", "))
    }
}

#[cfg(test)]
mod tests;
