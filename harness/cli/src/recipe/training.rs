//! The recipe of a training run: `[claim] [data] [scorer] [loss] [batch] [mining] [training] [evaluation]`.
//!
//! [`TrainingFile`] is what the file says (unknown keys refused), [`TrainingRecipe`] what will be done; its digest goes
//! into every checkpoint and model card.

use std::path::{Path, PathBuf};

use anyhow::Context;
use relevance::{Measure, parse_measures};
use scorer::pooling::Pooling;
use scorer::template::Template;
use serde::{Deserialize, Serialize};
use trainer::batch::{BatchPlan, Mining};
use trainer::encoder::bert::Adaptation;
use trainer::guards::GuardOptions;
use trainer::losses::Loss;
use trainer::optimizer::AdamWOptions;
use trainer::schedule::{Decay, Schedule};
use trainer::{ModelOptions, Precision, TrainingOptions};

use super::GuideTable;
use super::checked::refuse_columns_without;
use super::written::Claim;
use crate::arguments::DeviceChoice;
use crate::exit::Usage;
use crate::pair_columns::PairColumns;

/// What is measured on held-out queries where nothing else is said.
const DEFAULT_MEASURES: &str = "nDCG@10 R@100 AP(rel=1) AP(rel=2) AP(rel=3)";

/// A training recipe as written: `[data]`, `[scorer]` and `[loss]` must be there, everything else has a default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingFile {
    /// What the recipe is meant to show.
    #[serde(default)]
    pub claim: Claim,
    /// What is learned from, and what is held out.
    pub data: TrainingData,
    /// What is trained.
    pub scorer: TrainedScorer,
    /// `name = "h_infonce"` and the loss's own settings.
    pub loss: toml::Table,
    /// How batches are put together.
    #[serde(default)]
    pub batch: BatchPlan,
    /// Hard negatives: `system = "bm25"` or an encoder, and the rules of mining. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mining: Option<toml::Table>,
    /// An encoder that says which ungraded documents are no negatives. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guide: Option<GuideTable>,
    /// How long, how fast.
    #[serde(default)]
    pub training: TrainingTable,
    /// How the held-out queries are measured.
    #[serde(default)]
    pub evaluation: HeldOutEvaluation,
}

/// `[data]` of a training recipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingData {
    /// A collection's name or folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The split whose judgments are learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// A file of labelled pairs with texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PathBuf>,
    /// Which of its columns mean what, where their names do not say it.
    #[serde(skip_serializing_if = "PairColumns::are_guessed")]
    pub columns: PairColumns,
    /// A rater of the collection whose grades are the teacher's scores, for losses that learn from a teacher. A labeler
    /// learns its grades instead of the human ones; in a file of pairs, a column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// What a teacher said of the pairs, by the ids of query and document, as `graded label` writes it; it may be the file
    /// of pairs itself. A labeler is distilled from its probabilities (`p0`, `p1`, ...); an encoder learns its scores, from
    /// the column `teacher` or else `predicted_score`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_file: Option<PathBuf>,
    /// Raters whose votes on a pair are the distribution that a labeler is distilled from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub raters: Vec<String>,
    /// Take out queries whose lists say nothing to the loss (no positive, one grade only) instead of refusing them.
    pub drop_silent: bool,
    /// Queries that are not learned from but measured on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
}

/// What is held out: one of a fold, a share, a split, a dataset.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeldOut {
    /// The queries are cut into so many folds of nearly equal size, by seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// The fold that is held out, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
    /// This share of the queries is held out, drawn by seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Another split of the same collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Another collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The seed of folds and share; the same cut for every seed of training.
    pub seed: u64,
}

/// `[scorer]` of a training recipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainedScorer {
    /// What is trained; an encoder where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ScorerKind>,
    /// Where training starts: `embedded`, a pulled model, a bundle's path.
    pub encoder: String,
    /// Where a labeler's grades begin on the axis of expected grades: half-way `between` the grades, or `fitted` to some
    /// of the pairs it learned from, for the highest quadratic kappa.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuts: Option<CutsChoice>,
    /// Tokens per text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// `mean`, `cls`, `last`, `mean-sqrt-length` or `weighted-mean`, instead of the bundle's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<String>,
    /// Put before every query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_prompt: Option<String>,
    /// Put before every document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_prompt: Option<String>,
    /// Keep the embeddings as they are.
    pub freeze_embeddings: bool,
    /// Keep the embeddings and so many of the first layers as they are.
    pub freeze_layers: usize,
    /// Train low-rank adapters only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
}

/// What a recipe trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScorerKind {
    /// Texts to vectors.
    Encoder,
    /// Pairs to grades.
    CrossEncoder,
}

/// Where a labeler's cuts come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutsChoice {
    /// Half-way between grades.
    #[default]
    Between,
    /// Fitted to what was learned.
    Fitted,
}

/// `[scorer.lora]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rows of the small maps.
    pub rank: usize,
    /// The change is scaled by `alpha / rank`.
    pub alpha: f32,
    /// Which maps: `query`, `key`, `value`, `attention.output`, `intermediate`, `output`.
    #[serde(default = "usual_targets")]
    pub targets: Vec<String>,
}

fn usual_targets() -> Vec<String> {
    ["query", "value"].map(str::to_owned).into()
}

/// `[training]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingTable {
    /// Steps of the run; instead of epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Times that every list is seen; 1 where neither is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// The highest rate.
    pub learning_rate: f64,
    /// The highest rate of what a loss learns.
    pub loss_learning_rate: f64,
    /// The highest rate of a labeler's head; that of all the rest where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_learning_rate: Option<f64>,
    /// Pairs of a labeler's batch; 32 where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<usize>,
    /// Steps of the rising line; a tenth of the run where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// `constant`, `linear` or `cosine`.
    pub decay: Decay,
    /// AdamW's memory of the mean.
    pub beta1: f64,
    /// AdamW's memory of the square.
    pub beta2: f64,
    /// Added to AdamW's root.
    pub epsilon: f64,
    /// Pull of matrices towards zero.
    pub weight_decay: f64,
    /// The longest gradient that is followed in full; 0 for no limit.
    pub clip_norm: f64,
    /// Share of values that fall away.
    pub dropout: f32,
    /// Batches whose gradients are averaged into one step.
    pub accumulate: u64,
    /// Tokens that go through the network at once.
    pub chunk_tokens: usize,
    /// A batch of at most so many tokens is encoded once, a larger one twice: the lever on memory.
    pub tape_tokens: usize,
    /// Where the network is trained: `cpu` where not said, or `cuda`. The flag --device goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<TrainingDevice>,
    /// What a GPU keeps weights and activations in: `bf16` where not said, or `f32`. The processor computes in f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<TrainingPrecision>,
    /// Steps between checkpoints; 0 for none.
    pub checkpoint_every: u64,
    /// Steps between evaluations; 0 for before and after only.
    pub evaluate_every: u64,
    /// The seed of everything drawn; the command line's where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// When to stop a run that has gone wrong.
    pub guards: GuardOptions,
}

/// Where a network is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainingDevice {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

/// What weights and activations are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainingPrecision {
    /// 8 bits of mantissa; sums, and the weights that the optimizer changes, in f32.
    Bf16,
    /// 32-bit floats.
    F32,
}

impl TrainingTable {
    /// What the GPU is to compute in; `None` where the run is the processor's. `choice` is the flag's, and a device that it
    /// names goes before the recipe's.
    ///
    /// # Errors
    /// When a GPU is asked for and is not there; when bf16 is asked of the processor.
    pub fn gpu(&self, choice: DeviceChoice) -> anyhow::Result<Option<Precision>> {
        let wanted = match choice {
            DeviceChoice::Auto => self.device == Some(TrainingDevice::Cuda),
            DeviceChoice::Cuda => true,
            DeviceChoice::Scalar | DeviceChoice::Simd => false,
        };
        if !wanted {
            if self.precision == Some(TrainingPrecision::Bf16) {
                let said = "training.precision: expected f32 on the processor, found bf16 (device = \"cuda\" computes in it)";
                return Err(Usage::error(said));
            }
            return Ok(None);
        }
        trainer::require_gpu()?;
        Ok(Some(match self.precision {
            Some(TrainingPrecision::F32) => Precision::F32,
            Some(TrainingPrecision::Bf16) | None => Precision::Bf16,
        }))
    }
}

impl Default for TrainingTable {
    fn default() -> Self {
        let adamw = AdamWOptions::default();
        Self {
            steps: None,
            epochs: None,
            learning_rate: 2e-5,
            loss_learning_rate: 1e-3,
            head_learning_rate: None,
            pairs: None,
            warmup_steps: None,
            decay: Decay::Linear,
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            epsilon: adamw.epsilon,
            weight_decay: adamw.weight_decay,
            clip_norm: 1.0,
            dropout: 0.0,
            accumulate: 1,
            chunk_tokens: 2048,
            tape_tokens: 16_384,
            device: None,
            precision: None,
            checkpoint_every: 100,
            evaluate_every: 0,
            seed: None,
            guards: GuardOptions::default(),
        }
    }
}

/// `[evaluation]` of a training recipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeldOutEvaluation {
    /// The measures, in the order they are printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measures: Option<Vec<String>>,
    /// Rank only the documents judged for each query; labelled pairs: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_candidates: Option<bool>,
    /// How many documents are retrieved for a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
}

/// A complete training recipe.
#[derive(Clone, Debug)]
pub struct TrainingRecipe {
    /// The file with everything filled in.
    pub file: TrainingFile,
    /// The loss.
    pub loss: Loss,
    /// The system whose rankings negatives are mined from, and the rules.
    pub mining: Option<(String, Mining)>,
    /// How the model is opened.
    pub model: ModelOptions,
    /// The measures on held-out queries.
    pub measures: Vec<Measure>,
    /// The seed.
    pub seed: u64,
}

impl TrainingFile {
    /// Reads a training recipe.
    ///
    /// # Errors
    /// When the file cannot be read or is no training recipe; names file, line and what was expected.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = super::written::read_text(path)?;
        super::written::parse(&text).with_context(|| path.display().to_string())
    }

    /// Completes the recipe. `seed` is the command line's.
    ///
    /// # Errors
    /// When a name is unknown, a number out of range, or two keys exclude each other; says which key.
    pub fn complete(mut self, seed: u64) -> anyhow::Result<TrainingRecipe> {
        let seed = *self.training.seed.get_or_insert(seed);
        let only_labelers = [
            ("scorer.kind = \"cross-encoder\"", self.trains_a_labeler()),
            ("scorer.cuts", self.scorer.cuts.is_some()),
            ("data.raters", !self.data.raters.is_empty()),
            ("training.pairs", self.training.pairs.is_some()),
            ("training.head_learning_rate", self.training.head_learning_rate.is_some()),
        ];
        if let Some((key, _)) = only_labelers.into_iter().find(|(_, set)| *set) {
            return Err(Usage::error(format!("{key}: expected a recipe of a labeler")));
        }
        if self.batch.seed == 0 {
            self.batch.seed = seed;
        }
        self.batch.check().map_err(|error| Usage::error(format!("batch: {error}")))?;
        let loss: Loss = table("loss", self.loss.clone())?;
        loss.check().map_err(|error| Usage::error(format!("loss: {error}")))?;
        self.loss = toml::Table::try_from(&loss)?;
        if self.data.teacher_file.is_some() && !loss.needs().teacher_scores {
            let name = loss.name();
            return Err(Usage::error(format!(
                "data.teacher_file: {name} learns grades, not a teacher's scores"
            )));
        }
        let mining = self.complete_mining(seed)?;
        if let Some(guide) = &self.guide {
            guide.check(&loss, mining.is_some())?;
        }
        self.check_data_and_length()?;
        let model = self.model_options(seed)?;
        let names = self.evaluation.measures.clone().map(|names| names.join(" "));
        let measures = parse_measures(names.as_deref().unwrap_or(DEFAULT_MEASURES))
            .map_err(|error| Usage::error(format!("evaluation.measures: {error}")))?;
        self.evaluation.measures = Some(measures.iter().map(ToString::to_string).collect());
        let recipe = TrainingRecipe { file: self, loss, mining, model, measures, seed };
        // What does not depend on the data is refused before the data is read.
        recipe.options(1).check()?;
        Ok(recipe)
    }

    /// Whether this is the recipe of a labeler.
    pub fn trains_a_labeler(&self) -> bool {
        self.scorer.kind == Some(ScorerKind::CrossEncoder)
    }

    /// What recipes of encoders and labelers have in common.
    pub(super) fn check_data_and_length(&self) -> anyhow::Result<()> {
        if self.data.dataset.is_some() == self.data.pairs.is_some() {
            return Err(Usage::error("data: expected either dataset or pairs"));
        }
        refuse_columns_without(self.data.pairs.as_deref(), &self.data.columns)?;
        if let Some(held_out) = &self.data.held_out {
            held_out.check()?;
        }
        if self.training.steps.is_some() && self.training.epochs.is_some() {
            return Err(Usage::error("training: expected steps or epochs, found both"));
        }
        if self.training.epochs == Some(0) {
            return Err(Usage::error("training.epochs: expected at least 1, found 0"));
        }
        if self.training.accumulate == 0 {
            return Err(Usage::error("training.accumulate: expected at least 1, found 0"));
        }
        Ok(())
    }

    /// How a run under `seed` goes, when an epoch has `batches` batches.
    pub(super) fn options(&self, seed: u64, batches: u64) -> TrainingOptions {
        let table = &self.training;
        let per_epoch = batches.div_ceil(table.accumulate).max(1);
        let steps = table.steps.unwrap_or_else(|| table.epochs.unwrap_or(1) * per_epoch);
        TrainingOptions {
            schedule: Schedule {
                peak: table.learning_rate,
                warmup_steps: table.warmup_steps.unwrap_or(steps / 10),
                steps,
                decay: table.decay,
            },
            adamw: AdamWOptions {
                beta1: table.beta1,
                beta2: table.beta2,
                epsilon: table.epsilon,
                weight_decay: table.weight_decay,
            },
            loss_learning_rate: table.loss_learning_rate,
            clip_norm: (table.clip_norm != 0.0).then_some(table.clip_norm),
            dropout: table.dropout,
            seed,
            chunk_tokens: table.chunk_tokens,
            tape_tokens: table.tape_tokens,
            guards: table.guards,
        }
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// When a path in it is not UTF-8.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// A digest of what the completed recipe does, without the words of `[claim]` and without what changes nothing of the
    /// result (how often it is saved), or nothing beside rounding (where it is computed): a run may go on on another device.
    ///
    /// # Errors
    /// When a path in it is not UTF-8.
    pub fn digest(&self) -> anyhow::Result<String> {
        let mut done = Self { claim: Claim::default(), ..self.clone() };
        done.training.checkpoint_every = 0;
        done.training.evaluate_every = 0;
        (done.training.device, done.training.precision) = (None, None);
        Ok(blake3::hash(done.to_toml()?.as_bytes()).to_hex().to_string())
    }

    fn complete_mining(&mut self, seed: u64) -> anyhow::Result<Option<(String, Mining)>> {
        let Some(mut written) = self.mining.clone() else { return Ok(None) };
        let system = match written.remove("system") {
            Some(toml::Value::String(system)) => system,
            _ => return Err(Usage::error("mining.system: expected \"bm25\" or an encoder")),
        };
        let mut mining: Mining = table("mining", written)?;
        if mining.seed == 0 {
            mining.seed = seed;
        }
        mining.check().map_err(|error| Usage::error(format!("mining: {error}")))?;
        let mut complete = toml::Table::try_from(&mining)?;
        complete.insert("system".to_owned(), system.clone().into());
        self.mining = Some(complete);
        Ok(Some((system, mining)))
    }

    pub(super) fn model_options(&self, seed: u64) -> anyhow::Result<ModelOptions> {
        let scorer = &self.scorer;
        if scorer.encoder.is_empty() {
            return Err(Usage::error(
                "scorer.encoder: expected `embedded`, a pulled model or a bundle's path",
            ));
        }
        let pooling = scorer.pooling.as_deref().map(pooling).transpose()?;
        let prompt = |prompt: &Option<String>| prompt.clone().unwrap_or_default();
        let prompts = (scorer.query_prompt.is_some() || scorer.document_prompt.is_some()).then(|| Template {
            query_prompt: prompt(&scorer.query_prompt),
            document_prompt: prompt(&scorer.document_prompt),
        });
        let lora =
            scorer.lora.clone().map(|Lora { rank, alpha, targets }| Adaptation { rank, alpha, targets });
        Ok(ModelOptions {
            max_tokens: scorer.max_tokens,
            pooling,
            prompts,
            lora,
            freeze_embeddings: scorer.freeze_embeddings,
            freeze_layers: scorer.freeze_layers,
            seed,
        })
    }
}

impl HeldOut {
    fn check(&self) -> anyhow::Result<()> {
        let ways = [self.folds.is_some(), self.share.is_some(), self.split.is_some(), self.dataset.is_some()];
        if ways.into_iter().filter(|way| *way).count() != 1 {
            return Err(Usage::error(
                "data.held_out: expected one of folds with fold, share, split, dataset",
            ));
        }
        if let Some(folds) = self.folds
            && (folds < 2 || self.fold.is_none_or(|fold| fold >= folds))
        {
            return Err(Usage::error("data.held_out: expected folds of at least 2, and a fold below that"));
        }
        if let Some(share) = self.share.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            return Err(Usage::error(format!(
                "data.held_out.share: expected a share between 0 and 1, found {share}"
            )));
        }
        Ok(())
    }
}

impl TrainingRecipe {
    /// How the run goes, when an epoch has `batches` batches.
    pub fn options(&self, batches: u64) -> TrainingOptions {
        self.file.options(self.seed, batches)
    }
}

pub(super) fn table<T: serde::de::DeserializeOwned>(key: &str, written: toml::Table) -> anyhow::Result<T> {
    written.try_into().map_err(|error: toml::de::Error| Usage::error(format!("{key}: {}", error.message())))
}

fn pooling(name: &str) -> anyhow::Result<Pooling> {
    Ok(match name {
        "mean" => Pooling::Mean,
        "cls" => Pooling::Cls,
        "last" => Pooling::Last,
        "mean-sqrt-length" => Pooling::MeanSqrtLength,
        "weighted-mean" => Pooling::WeightedMean,
        other => {
            let expected = "mean, cls, last, mean-sqrt-length or weighted-mean";
            return Err(Usage::error(format!("scorer.pooling: expected {expected}, found {other}")));
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SMALL: &str =
        "[data]\ndataset = \"sample\"\n[scorer]\nencoder = \"embedded\"\n[loss]\nname = \"infonce\"\n";

    fn complete(text: &str) -> anyhow::Result<TrainingRecipe> {
        super::super::written::parse::<TrainingFile>(text)?.complete(42)
    }

    #[test]
    fn the_completed_form_completes_to_itself() {
        let recipe = complete(SMALL).unwrap();
        let again = complete(&recipe.file.to_toml().unwrap()).unwrap();
        assert_eq!(recipe.file.to_toml().unwrap(), again.file.to_toml().unwrap());
        assert_eq!(recipe.file.digest().unwrap(), again.file.digest().unwrap());
    }

    #[test]
    fn the_digest_is_of_what_is_done() {
        let digest = |more: &str| complete(&format!("{SMALL}{more}")).unwrap().file.digest().unwrap();
        assert_eq!(digest("[training]\ncheckpoint_every = 7"), digest("[claim]\ntitle = \"a\""));
        assert_ne!(digest("[training]\nsteps = 7"), digest(""));
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_key() {
        let refused = |text: &str| format!("{:#}", complete(text).unwrap_err());
        let more = |more: &str| refused(&format!("{SMALL}{more}"));
        assert!(more("temprature = 0.1").contains("temprature"), "{}", more("temprature = 0.1"));
        assert!(more("temperature = -0.1").contains("temperature"));
        assert!(more("[training]\nlearning_rate = 0.0").contains("learning_rate"));
        assert!(more("[training]\nstep = 3").contains("step"));
        assert!(more("[training]\nsteps = 3\nepochs = 1").contains("both"));
        assert!(more("[batch]\nqueries = 0").contains("queries"));
        assert!(more("[mining]\nfirst_rank = 1").contains("mining.system"));
        assert!(more("[mining]\nsystem = \"bm25\"\nlast = 3").contains("last"));
        let told = |loss: &str| {
            SMALL.replace("infonce", loss).replace("\n[scorer]", "\nteacher_file = \"t.csv\"\n[scorer]")
        };
        assert!(refused(&told("infonce")).contains("data.teacher_file"));
        assert!(complete(&told("kl_distillation")).is_ok());
        assert!(more("[guide]\nencoder = \"bm25\"").contains("guide.encoder"));
        assert!(more("[guide]\nmargin = { absolute = 0.1 }").contains("encoder"));
        assert!(more("[guide]\nencoder = \"embedded\"\nmargin = \"unbounded\"").contains("margin"));
        assert!(more("[guide]\nencoder = \"embedded\"\nmargin = { relative = 1.5 }").contains("0 to 1"));
        let listwise = format!("{}[guide]\nencoder = \"embedded\"", SMALL.replace("infonce", "listnet"));
        assert!(refused(&listwise).contains("listnet"));
        assert!(complete(&format!("{listwise}\n[mining]\nsystem = \"bm25\"")).is_ok());
        assert!(more("[evaluation]\nmeasures = [\"nDGC@10\"]").contains("nDGC"));
        assert!(
            refused("[data]\n[scorer]\nencoder = \"embedded\"\n[loss]\nname = \"infonce\"").contains("data")
        );
        assert!(refused(&SMALL.replace("infonce", "inforce")).contains("inforce"));
        assert!(
            refused(&SMALL.replace("\n[scorer]", "\nheld_out = { folds = 5, fold = 5 }\n[scorer]"))
                .contains("fold")
        );
    }
}
