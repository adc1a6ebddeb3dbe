//! The training step, in the shape of GradCache (Gao et al. 2021, arXiv 2101.06983): the loss sees all vectors of a batch
//! at once, the network only a chunk of texts at a time.
//!
//! ```text
//! for each batch:   vectors  = encode every chunk                    (tapes kept where they fit in memory)
//!                   slopes   = d loss / d vectors                    (plain numbers: a loss knows no network)
//!                   for each chunk: encode it again with a tape, unless its tape was kept; walk the tape backwards
//! then:             clip, step
//! ```
//!
//! Memory is bounded by one chunk's tape, however large the batch. A chunk encoded twice gives the same bits twice (its
//! dropout is a function of seed, step and text), so keeping tapes or not changes time and memory and nothing else.

use kernels::encoder::Sequence;
pub use kernels::transformer::Precision;
use scorer::tokens::PairIds;

use crate::encoder::dropout::Dropout;
#[cfg(feature = "cuda")]
use crate::encoder::gpu::{self, Resident};
use crate::encoder::parameters::Gradients;
use crate::encoder::{Encoded, Model, release_buffers};
use crate::error::{Result, TrainerError};
use crate::guards::{GuardOptions, Guards};
use crate::optimizer::{AdamW, AdamWOptions, clip_factor};
use crate::schedule::Schedule;

/// How a run goes, beside its data and its loss.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingOptions {
    /// The learning rate by step; its `steps` are the run's.
    pub schedule: Schedule,
    /// The optimizer's constants.
    pub adamw: AdamWOptions,
    /// The highest rate of the numbers that a loss learns (a temperature, a scale); it follows the same schedule.
    pub loss_learning_rate: f64,
    /// The longest gradient that is followed in full; the loss's own numbers do not count.
    pub clip_norm: Option<f64>,
    /// Share of values that fall away in training.
    pub dropout: f32,
    /// The seed of dropout.
    pub seed: u64,
    /// Tokens that go through the network at once.
    pub chunk_tokens: usize,
    /// Tokens whose tapes may be held at once: a batch of at most so many is encoded once, a larger one twice.
    pub tape_tokens: usize,
    /// When to stop a run that has gone wrong.
    pub guards: GuardOptions,
}

impl TrainingOptions {
    /// # Errors
    /// [`TrainerError::Setting`] for a number out of range, by its key in a recipe.
    pub fn check(&self) -> Result<()> {
        self.adamw.check()?;
        let rates = [("learning_rate", self.schedule.peak), ("loss_learning_rate", self.loss_learning_rate)];
        if let Some((name, rate)) = rates.into_iter().find(|(_, rate)| !(*rate > 0.0 && rate.is_finite())) {
            return Err(TrainerError::setting(&format!("training.{name}"), rate, "a number above 0"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(TrainerError::setting("training.dropout", self.dropout, "0 to below 1"));
        }
        if let Some(most) = self.clip_norm.filter(|most| !(*most > 0.0 && most.is_finite())) {
            return Err(TrainerError::setting("training.clip_norm", most, "a number above 0"));
        }
        for (name, count) in [("chunk_tokens", self.chunk_tokens as u64), ("steps", self.schedule.steps)] {
            if count == 0 {
                return Err(TrainerError::setting(&format!("training.{name}"), 0, "at least 1"));
            }
        }
        Ok(())
    }
}

/// Texts as ids, and what is known about their pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBatch<T> {
    /// `B` queries.
    pub queries: Vec<Vec<u32>>,
    /// `N` documents.
    pub documents: Vec<Vec<u32>>,
    /// What the loss reads: grades, teacher's scores.
    pub targets: T,
}

/// Pairs as ids, and what is known about them, for a cross-encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct PairBatch<T> {
    /// `N` pairs.
    pub pairs: Vec<PairIds>,
    /// What the loss reads: grades, a teacher's distributions.
    pub targets: T,
}

/// What a step encodes and what its loss reads.
pub trait StepBatch {
    /// What the loss reads.
    type Targets;

    /// How many of the texts are queries; they come first.
    fn queries(&self) -> usize;

    /// Everything that is encoded.
    fn texts(&self) -> Vec<Sequence<'_>>;

    /// What the loss reads.
    fn targets(&self) -> &Self::Targets;
}

impl<T> StepBatch for TokenBatch<T> {
    type Targets = T;

    fn queries(&self) -> usize {
        self.queries.len()
    }

    fn texts(&self) -> Vec<Sequence<'_>> {
        self.queries.iter().chain(&self.documents).map(|ids| Sequence::single(ids)).collect()
    }

    fn targets(&self) -> &T {
        &self.targets
    }
}

impl<T> StepBatch for PairBatch<T> {
    type Targets = T;

    fn queries(&self) -> usize {
        0
    }

    fn texts(&self) -> Vec<Sequence<'_>> {
        self.pairs.iter().map(PairIds::sequence).collect()
    }

    fn targets(&self) -> &T {
        &self.targets
    }
}

/// The vectors of a batch, as a loss gets them. Of a cross-encoder: no queries, and as documents the head's outputs for
/// each pair, `width` of them.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'a> {
    /// `B x width` unit vectors.
    pub queries: &'a [f32],
    /// `N x width` unit vectors.
    pub documents: &'a [f32],
    /// Elements of a vector.
    pub width: usize,
    /// The numbers that the loss learns.
    pub parameters: &'a [f64],
}

/// What a loss says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slopes {
    /// Its value.
    pub value: f64,
    /// d value / d queries.
    pub queries: Vec<f32>,
    /// d value / d documents.
    pub documents: Vec<f32>,
    /// d value / d the numbers that it learns.
    pub parameters: Vec<f64>,
}

/// What happened in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Counted from 1.
    pub step: u64,
    /// The loss, averaged over the step's batches.
    pub loss: f64,
    /// The rate the step was taken with.
    pub learning_rate: f64,
    /// The length of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens encoded, once each.
    pub tokens: usize,
}

/// A model on its way.
pub struct Trainer {
    /// The model.
    pub model: Model,
    /// The numbers that the loss learns.
    pub loss_parameters: Vec<f64>,
    /// The optimizer with its memory.
    pub optimizer: AdamW,
    options: TrainingOptions,
    gradients: Gradients,
    guards: Guards,
    /// Where the network is, when it is not here.
    #[cfg(feature = "cuda")]
    resident: Option<Resident>,
    /// Whether the device has taken steps that the tensors here have not seen.
    stale: bool,
}

/// A chunk's vectors, wherever they were computed.
enum Chunk {
    Processor(Box<Encoded>),
    #[cfg(feature = "cuda")]
    Gpu(Box<gpu::Encoded>),
}

impl Chunk {
    fn vectors(&self) -> &[f32] {
        match self {
            Self::Processor(encoded) => &encoded.vectors,
            #[cfg(feature = "cuda")]
            Self::Gpu(encoded) => &encoded.vectors,
        }
    }
}

/// Whether a network can be trained on a GPU here.
///
/// # Errors
/// [`TrainerError::Device`], saying what is missing: the feature `cuda`, the driver, a device, NVRTC or cuBLAS.
pub fn require_gpu() -> Result<()> {
    kernels::Device::Cuda.require()?;
    #[cfg(feature = "cuda")]
    kernels::transformer::cuda::require()?;
    Ok(())
}

impl Trainer {
    /// Before the first step.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] for an option out of range, or when nothing is left to train.
    pub fn new(model: Model, loss_parameters: Vec<f64>, options: TrainingOptions) -> Result<Self> {
        options.check()?;
        if model.parameters.trainable().is_empty() {
            return Err(TrainerError::setting(
                "scorer.freeze_layers",
                "everything frozen",
                "something to train",
            ));
        }
        let optimizer = AdamW::new(options.adamw, &model.parameters, loss_parameters.len());
        let (gradients, guards) = (Gradients::zeros(&model.parameters), Guards::new(options.guards));
        Ok(Self {
            model,
            loss_parameters,
            optimizer,
            options,
            gradients,
            guards,
            #[cfg(feature = "cuda")]
            resident: None,
            stale: false,
        })
    }

    /// Takes all further steps on the GPU. What [`Trainer::model`] and [`Trainer::optimizer`] hold is brought up to date by
    /// [`Trainer::fetch`] alone, and by what calls it: a checkpoint, the end of [`Trainer::train`].
    ///
    /// # Errors
    /// [`TrainerError::Device`] without a GPU or with too small a one; [`TrainerError::Unsupported`] for a static table, a
    /// cross-encoder or adapters, which are trained on the processor.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn move_to_gpu(&mut self, precision: Precision) -> Result<()> {
        require_gpu()?;
        #[cfg(feature = "cuda")]
        {
            self.resident = Some(Resident::new(&self.model, precision)?);
            self.send()?;
        }
        Ok(())
    }

    /// What the GPU computes in, where there is one at work.
    pub fn on_gpu(&self) -> Option<Precision> {
        #[cfg(feature = "cuda")]
        let precision = self.resident.as_ref().map(Resident::precision);
        #[cfg(not(feature = "cuda"))]
        let precision = None;
        precision
    }

    /// Makes [`Trainer::model`] fit to be used or kept: brings values, moments and gradients back from the GPU, where
    /// the network is there, and sees that every value is finite.
    ///
    /// # Errors
    /// [`TrainerError::Device`]; [`TrainerError::NotFinite`], where the last steps drove a weight out of range.
    pub fn fetch(&mut self) -> Result<()> {
        if self.stale {
            #[cfg(feature = "cuda")]
            if let Some(resident) = &self.resident {
                resident.fetch(&mut self.model.parameters, &mut self.optimizer, &mut self.gradients)?;
            }
            self.stale = false;
        }
        let parameters = &self.model.parameters;
        for handle in parameters.trainable() {
            self.require_finite(&parameters.specification(handle).name, parameters.values(handle))?;
        }
        Ok(())
    }

    fn require_finite(&self, what: &str, values: &[f32]) -> Result<()> {
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(()),
            Some(&value) => Err(TrainerError::NotFinite {
                step: self.steps_taken(),
                what: what.to_owned(),
                value: f64::from(value),
            }),
        }
    }

    /// Takes what is here to the GPU, where the network is there.
    pub(crate) fn send(&mut self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = &mut self.resident {
            resident.send(&self.model.parameters, &self.optimizer)?;
        }
        self.stale = false;
        Ok(())
    }

    /// Steps taken so far.
    pub fn steps_taken(&self) -> u64 {
        self.optimizer.steps
    }

    /// The options of the run.
    pub fn options(&self) -> &TrainingOptions {
        &self.options
    }

    /// The gradients of the last step, before clipping.
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }

    /// Takes the steps that are left. `batches` gives the batches of a step (its gradients are averaged over them),
    /// `loss` their slopes; `after` is called after each step and may end the run by an error.
    ///
    /// # Errors
    /// A batch that cannot be made or encoded, what the guards find, what `after` says.
    pub fn train<B: StepBatch, E: From<TrainerError>>(
        &mut self,
        mut batches: impl FnMut(u64) -> std::result::Result<Vec<B>, E>,
        mut loss: impl FnMut(Vectors<'_>, &B::Targets) -> std::result::Result<Slopes, String>,
        mut after: impl FnMut(&mut Self, StepReport) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut outcome = Ok(());
        while outcome.is_ok() && self.steps_taken() < self.options.schedule.steps {
            outcome = batches(self.steps_taken()).and_then(|batches| {
                let report = self.step(&batches, &mut loss)?;
                after(self, report)
            });
        }
        // What the steps computed in is of no use to anyone any more.
        release_buffers();
        #[cfg(feature = "cuda")]
        self.resident.iter().for_each(Resident::release);
        outcome?;
        Ok(self.fetch()?)
    }

    /// One step.
    ///
    /// # Errors
    /// A text that cannot be encoded, a loss that refuses the batch, what the guards find. Nothing has changed then.
    pub fn step<B: StepBatch>(
        &mut self,
        batches: &[B],
        loss: &mut impl FnMut(Vectors<'_>, &B::Targets) -> std::result::Result<Slopes, String>,
    ) -> Result<StepReport> {
        let step = self.steps_taken() + 1;
        let learning_rate = self.options.schedule.rate(step - 1);
        self.clear_gradients()?;
        let mut loss_slopes = vec![0.0; self.loss_parameters.len()];
        let (mut value, mut tokens) = (0.0, 0);
        for (number, batch) in batches.iter().enumerate() {
            let share = 1.0 / batches.len() as f64;
            let slopes = self.accumulate(batch, number, batches.len(), loss)?;
            value += share * slopes.value;
            loss_slopes.iter_mut().zip(&slopes.parameters).for_each(|(sum, slope)| *sum += share * slope);
            tokens += batch.texts().iter().map(|text| text.ids.len()).sum::<usize>();
        }
        let norm = self.gradient_norm()?;
        if !norm.is_finite() {
            return Err(TrainerError::NotFinite { step, what: "the gradient".into(), value: norm });
        }
        let factor = clip_factor(norm, self.options.clip_norm);
        self.take_step(factor as f32, learning_rate)?;
        let loss_rate = learning_rate / self.options.schedule.peak * self.options.loss_learning_rate;
        self.optimizer.step_loss(&mut self.loss_parameters, &loss_slopes, loss_rate);
        Ok(StepReport { step, loss: value, learning_rate, gradient_norm: norm, tokens })
    }

    fn clear_gradients(&mut self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = &mut self.resident {
            return resident.clear_gradients();
        }
        self.gradients.clear();
        Ok(())
    }

    fn gradient_norm(&self) -> Result<f64> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = &self.resident {
            return resident.gradient_norm();
        }
        Ok(self.gradients.norm())
    }

    fn take_step(&mut self, factor: f32, learning_rate: f64) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = &mut self.resident {
            self.stale = true;
            return resident.step(&mut self.optimizer, factor, learning_rate);
        }
        self.optimizer.step(&mut self.model.parameters, &self.gradients, factor, learning_rate);
        Ok(())
    }

    fn encode(
        &self,
        texts: &[Sequence<'_>],
        chunk: &[usize],
        dropout: Option<&Dropout>,
        keep: bool,
    ) -> Result<Chunk> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = &self.resident {
            let encoded = resident.forward(&self.model, texts, chunk, dropout, keep)?;
            return Ok(Chunk::Gpu(Box::new(encoded)));
        }
        Ok(Chunk::Processor(Box::new(self.model.forward(texts, chunk, dropout, keep))))
    }

    fn backward(
        &mut self,
        texts: &[Sequence<'_>],
        chunk: &[usize],
        encoded: Chunk,
        slope: Vec<f32>,
        dropout: Option<&Dropout>,
    ) -> Result<()> {
        match encoded {
            Chunk::Processor(encoded) => {
                self.model.backward(&mut self.gradients, texts, chunk, *encoded, slope, dropout);
                Ok(())
            }
            #[cfg(feature = "cuda")]
            Chunk::Gpu(encoded) => {
                let width = self.model.dimensions();
                self.resident.as_mut().map_or(Ok(()), |resident| resident.backward(width, *encoded, slope))
            }
        }
    }

    /// Adds a batch's gradients, divided by the number of batches of the step.
    fn accumulate<B: StepBatch>(
        &mut self,
        batch: &B,
        number: usize,
        count: usize,
        loss: &mut impl FnMut(Vectors<'_>, &B::Targets) -> std::result::Result<Slopes, String>,
    ) -> Result<Slopes> {
        let step = self.steps_taken() + 1;
        let width = self.model.dimensions();
        let texts = batch.texts();
        self.model.check(&texts)?;
        let dropout =
            Dropout::new(self.options.dropout, self.options.seed.wrapping_add((number as u64) << 40), step);
        let chunks = Model::chunks(&texts, self.options.chunk_tokens);
        let keep = texts.iter().map(|text| text.ids.len()).sum::<usize>() <= self.options.tape_tokens;

        let mut vectors = vec![0.0; texts.len() * width];
        let mut kept: Vec<Option<Chunk>> = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            let encoded = self.encode(&texts, chunk, dropout.as_ref(), keep)?;
            scatter(encoded.vectors(), chunk, &mut vectors, width);
            kept.push(keep.then_some(encoded));
        }
        // The step before is to blame, and it is the one that is named.
        self.require_finite("what the encoder makes of a text", &vectors)?;

        let (queries, documents) = vectors.split_at(batch.queries() * width);
        let parameters = self.loss_parameters.as_slice();
        let slopes = loss(Vectors { queries, documents, width, parameters }, batch.targets())
            .map_err(|reason| TrainerError::Loss { step, reason })?;
        let rate = self.options.schedule.rate(step - 1);
        self.guards.watch(step, slopes.value, rate, queries, documents, width)?;

        let mut all = [slopes.queries.as_slice(), slopes.documents.as_slice()].concat();
        if count > 1 {
            all.iter_mut().for_each(|slope| *slope /= count as f32);
        }
        for (chunk, encoded) in chunks.iter().zip(kept).rev() {
            let again = || self.encode(&texts, chunk, dropout.as_ref(), true);
            let encoded = encoded.map_or_else(again, Ok)?;
            let slope = gather(&all, chunk, width);
            self.backward(&texts, chunk, encoded, slope, dropout.as_ref())?;
        }
        Ok(slopes)
    }
}

fn scatter(rows: &[f32], positions: &[usize], target: &mut [f32], width: usize) {
    for (row, &at) in rows.chunks_exact(width).zip(positions) {
        target[at * width..][..width].copy_from_slice(row);
    }
}

fn gather(rows: &[f32], positions: &[usize], width: usize) -> Vec<f32> {
    positions.iter().flat_map(|&at| &rows[at * width..][..width]).copied().collect()
}
