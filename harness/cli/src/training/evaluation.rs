//! Held-out queries answered by the model as it stands, measured as `graded evaluate` measures.

use datasets::Collection;
use rayon::prelude::*;
use relevance::evaluation::{Evaluation, EvaluationOptions, Evaluator};
use trainer::Model;

use crate::arguments::Options;
use crate::models;
use crate::recipe::{SystemChoice, TrainingRecipe};
use crate::runs::answers::{self, Reader};
use crate::systems::{self, Candidates, Resources, System, Task};

/// How many documents are retrieved where the recipe does not say.
const DEFAULT_DEPTH: usize = 1000;

/// The held-out queries of a run.
pub struct HeldOut<'a> {
    collection: &'a Collection,
    task: Task<'a>,
    recipe: &'a TrainingRecipe,
    options: &'a Options,
}

impl<'a> HeldOut<'a> {
    /// The judged queries of `collection`.
    pub fn new(collection: &'a Collection, recipe: &'a TrainingRecipe, options: &'a Options) -> Self {
        Self { collection, task: Task::new(collection), recipe, options }
    }

    /// How many queries there are.
    pub fn queries(&self) -> usize {
        self.task.queries.len()
    }

    /// The rankings of the model as it stands.
    ///
    /// # Errors
    /// When a text cannot be encoded.
    pub fn answer(&self, name: &str, model: &Model) -> anyhow::Result<System<'a>> {
        let bundle = model.to_bundle("")?;
        let encoder = scorer::load_encoder(&bundle, &scorer::EncoderOptions::default())?;
        let model = models::Model { encoder, is_worth_storing: false, prefix: None };
        systems::run_model(name, &model, &self.task, self.candidates(), self.resources()?)
    }

    /// The rankings of BM25, to compare with.
    ///
    /// # Errors
    /// When the index cannot be built.
    pub fn bm25(&self) -> anyhow::Result<System<'a>> {
        systems::run(&SystemChoice::parse("bm25")?, &self.task, self.candidates(), self.resources()?)
    }

    /// The collection they are held out of, with their judgments alone.
    pub fn collection(&self) -> &'a Collection {
        self.collection
    }

    /// What a record keeps of a system's rankings.
    pub fn answers(&self, system: &System<'_>) -> answers::Answers {
        let Collection { judgments, self_hits, .. } = self.collection;
        Reader { judgments, ties: EvaluationOptions::default().ties, self_hits: *self_hits }
            .answers(&system.rankings)
    }

    /// The recipe's measures of a system, query by query and over all.
    ///
    /// # Errors
    /// When a measure does not fit the judgments.
    pub fn measure(&self, system: &System<'_>) -> anyhow::Result<Evaluation> {
        let options =
            EvaluationOptions { self_hits: self.collection.self_hits, ..EvaluationOptions::default() };
        let evaluator = Evaluator::new(&self.collection.judgments, &self.recipe.measures, options)?;
        let outcomes = system.rankings.par_iter().map(|ranking| evaluator.query(ranking));
        Ok(evaluator.collect(outcomes.collect::<Result<Vec<_>, _>>()?)?)
    }

    fn candidates(&self) -> Candidates {
        let evaluation = &self.recipe.file.evaluation;
        let only_judged = evaluation.judged_candidates.unwrap_or(self.recipe.file.data.pairs.is_some());
        match only_judged {
            true => Candidates::Judged,
            false => Candidates::Corpus { depth: evaluation.depth.unwrap_or(DEFAULT_DEPTH) },
        }
    }

    fn resources(&self) -> anyhow::Result<Resources<'a>> {
        let (device, memory_bytes) = (self.options.device()?, self.options.memory as usize);
        Ok(Resources { device, memory_bytes, options: self.options })
    }
}
