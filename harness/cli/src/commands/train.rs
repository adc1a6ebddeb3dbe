//! `graded train`: graded lists in, an encoder in the sentence-transformers layout out; or graded pairs in, a labeler out
//! (`train_labeler.rs`).

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kernels::{Device, Matrix};
use rayon::prelude::*;
use scorer::Role;
use serde_json::{Value, json};
use trainer::batch::{Batches, Lists};
use trainer::checkpoint::Origin;
use trainer::losses::{Embeddings, Loss, Targets};
use trainer::{Model, Precision, Slopes, TokenBatch, Trainer, Vectors};

use super::{Finished, train_labeler};
use crate::arguments::Options;
use crate::exit::Usage;
use crate::recipe::{SystemChoice, TrainingFile, TrainingRecipe};
use crate::report::evaluation::Scored;
use crate::report::signs::ndcg_up_while_ap_falls;
use crate::report::{Cell, Report, Table};
use crate::runs::measured::{self, Trained};
use crate::runs::{Record, RecordFlags, answers};
use crate::systems::{System, saved_run};
use crate::training::course::{Course, Plan};
use crate::training::data::{self, TrainingSet};
use crate::training::evaluation::HeldOut;
use crate::training::folder::{Found, RUN, RunFolder};
use crate::training::guide::GuideModel;
use crate::training::mining;
use crate::{models, progress};

/// Flags of `graded train`.
#[derive(Debug, Args)]
pub struct Command {
    /// The recipe: [data], [scorer], [loss], [batch], [mining], [training], [evaluation]
    recipe: PathBuf,
    /// The model's folder; while the run lasts, DIR.checkpoint stands beside it [default: the recipe's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on from DIR.checkpoint: the weights come out as if the run had never stopped
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    record: RecordFlags,
}

impl Command {
    fn out(&self) -> PathBuf {
        let named = || PathBuf::from(self.recipe.file_stem().unwrap_or("model".as_ref()));
        self.out.clone().unwrap_or_else(named)
    }
}

/// What was measured, and when.
struct Measured {
    step: Option<u64>,
    scored: Scored,
}

impl Measured {
    fn new(
        name: &str,
        step: Option<u64>,
        held_out: &HeldOut<'_>,
        system: &System<'_>,
    ) -> anyhow::Result<Self> {
        let scored = Scored {
            name: name.to_owned(),
            digest: system.digest.clone(),
            seconds: Some(system.seconds),
            answers: Some(held_out.answers(system)),
            evaluation: held_out.measure(system)?,
        };
        Ok(Self { step, scored })
    }
}

/// Runs `graded train`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let file = TrainingFile::read(&command.recipe)?;
    let history = command.record.history()?;
    let shown = || command.recipe.display().to_string();
    if file.trains_a_labeler() {
        let recipe = file.complete_labeler(options.seed).with_context(shown)?;
        let (finished, record) = train_labeler::run(&recipe, &command.out(), command.resume, options)?;
        return Ok(finished.recorded(history.zip(record)));
    }
    let recipe = file.complete(options.seed).with_context(shown)?;
    let gpu = recipe.file.training.gpu(options.device).with_context(shown)?;
    let digest = recipe.file.digest()?;
    let out = command.out();
    let folder = RunFolder::new(&out);
    let found = look(&folder, command.resume, &out, options)?;
    if let Found::Finished(record) = &found {
        let fingerprint =
            || Ok(json!(crate::collections::fingerprint(&data::read(&recipe, options)?.learned)));
        return already_done(record, &digest, fingerprint, &folder, &out);
    }
    let mut set = data::read(&recipe, options)?;
    if let Some((system, rules)) = &recipe.mining {
        let counts = mining::mine(&mut set, &SystemChoice::parse(system)?, rules, options)?;
        set.notes.push(format!("mined {} negatives from {system}", counts.mined));
    }
    let guide = recipe.file.guide.as_ref().map(|table| GuideModel::read(table, &mut set.lists, options));
    let guide = guide.transpose()?;
    set.notes.extend(guide.as_ref().map(GuideModel::note));
    set.lists.check(&recipe.loss)?;
    set.notes.iter().for_each(|note| progress::say(options, note));
    let model = Model::from_bundle(models::bundle(&recipe.file.scorer.encoder)?, &recipe.model)
        .with_context(|| recipe.file.scorer.encoder.clone())?;
    let (finished, record) =
        Run { recipe: &recipe, digest, set: &set, guide: guide.as_ref(), folder, gpu, options }
            .train(model, found, &out)?;
    Ok(finished.recorded(history.map(|history| (history, record))))
}

/// One run and what it stands on.
struct Run<'a> {
    recipe: &'a TrainingRecipe,
    digest: String,
    set: &'a TrainingSet,
    guide: Option<&'a GuideModel>,
    folder: RunFolder,
    /// What the GPU computes in, where it is one.
    gpu: Option<Precision>,
    options: &'a Options,
}

impl Run<'_> {
    fn train(&self, model: Model, found: Found, out: &std::path::Path) -> anyhow::Result<(Finished, Record)> {
        let ids = Ids::new(&model, &self.set.lists)?;
        let mut batches = Batches::new(&self.set.lists, self.recipe.file.batch.clone())?;
        let settings = self.recipe.options(batches.per_epoch());
        let mut trainer = Trainer::new(model, self.recipe.loss.starting_parameters(), settings)?;
        if let Some(precision) = self.gpu {
            trainer.move_to_gpu(precision)?;
        }
        let held_out = self.set.held_out.as_ref().map(|set| HeldOut::new(set, self.recipe, self.options));
        let mut measured = Vec::new();
        if let Some(held_out) = &held_out {
            measured.push(Measured::new("bm25", None, held_out, &held_out.bm25()?)?);
            let before = held_out.answer("before", &trainer.model)?;
            measured.push(Measured::new("before", Some(0), held_out, &before)?);
        }
        let data = self.data_digest();
        let plan = Plan {
            folder: &self.folder,
            origin: Origin { recipe: &self.digest, data: &data },
            table: &self.recipe.file.training,
            options: self.options,
        };
        let mut course = Course::start(&mut trainer, &found, plan)?;
        let accumulate = self.recipe.file.training.accumulate;
        let pairs = std::cell::Cell::new(0u64);
        // The kernels multiply in bf16 on a GPU, so for a network in f32 the loss stays here.
        let device = if self.gpu == Some(Precision::Bf16) { Device::Cuda } else { Device::auto() };
        let learned: Vec<bool> =
            self.recipe.loss.parameters().iter().map(|parameter| parameter.learned).collect();
        trainer.train(
            |step| {
                let numbers = step * accumulate..(step + 1) * accumulate;
                let drawn =
                    numbers.map(|number| Ok(batches.batch(number)?)).collect::<anyhow::Result<Vec<_>>>()?;
                pairs.set(drawn.iter().map(|batch| batch.targets.pairs().count() as u64).sum());
                let masked = drawn.into_iter().map(|batch| match self.guide {
                    Some(guide) => guide.mask(batch),
                    None => Ok(batch),
                });
                masked.map(|batch| anyhow::Ok(ids.batch(batch?))).collect()
            },
            |vectors, targets: &Targets| slopes(&self.recipe.loss, device, &learned, vectors, targets),
            |trainer, report| {
                let is_measured = course.took(trainer, report, pairs.get())?;
                if let Some(held_out) = held_out.as_ref().filter(|_| is_measured) {
                    trainer.fetch()?;
                    let now = held_out.answer("now", &trainer.model)?;
                    let name = format!("step {}", report.step);
                    measured.push(Measured::new(&name, Some(report.step), held_out, &now)?);
                }
                Ok(())
            },
        )?;
        self.finish(&trainer, &course, held_out.as_ref(), measured, out)
    }

    /// The digest of all that is learned from: the lists, and the guide that masks their batches.
    fn data_digest(&self) -> String {
        let lists = self.set.lists.digest();
        match self.guide {
            Some(guide) => {
                blake3::hash(format!("{lists}:{}", guide.digest()).as_bytes()).to_hex().to_string()
            }
            None => lists,
        }
    }

    fn finish(
        &self,
        trainer: &Trainer,
        course: &Course<'_>,
        held_out: Option<&HeldOut<'_>>,
        mut measured: Vec<Measured>,
        out: &std::path::Path,
    ) -> anyhow::Result<(Finished, Record)> {
        let mut run = None;
        if let Some(held_out) = held_out {
            let answer = held_out.answer("trained", &trainer.model)?;
            measured.push(Measured::new("trained", Some(trainer.steps_taken()), held_out, &answer)?);
            run = Some(saved_run::text(&answer)?);
        }
        let table = self.table(&measured, held_out);
        let mut record = self.record(trainer, course, &measured);
        let bundle = trainer.model.to_bundle(&self.card(&record, &table)?)?;
        record["model"] = bundle.digest().into();
        let run = run.as_deref().map(|run| (RUN, run));
        self.folder.finish(&bundle, &record, run.as_slice())?;
        let kept = self.kept(&record, measured, held_out)?;
        record["out"] = out.display().to_string().into();
        progress::say(self.options, format!("{}: the trained model, {}", out.display(), course.speed()));
        Ok((Report { tables: vec![table], json: record, lines: Vec::new() }.into(), kept))
    }

    /// The record for the history.
    fn kept(
        &self,
        said: &Value,
        measured: Vec<Measured>,
        held_out: Option<&HeldOut<'_>>,
    ) -> anyhow::Result<Record> {
        let collection = held_out.map_or(&self.set.learned, |held_out| held_out.collection());
        let measured_on = crate::collections::fingerprint(collection);
        let trained = Trained { dataset: &self.set.learned.name, measured_on: &measured_on, said };
        let judged = held_out.map(|_| answers::judged_queries(&collection.judgments)).unwrap_or_default();
        let systems: Vec<Scored> = measured.into_iter().map(|row| row.scored).collect();
        measured::training(&trained, judged, &systems, self.options)
    }

    fn table(&self, measured: &[Measured], held_out: Option<&HeldOut<'_>>) -> Table {
        let names = self.recipe.measures.iter().map(ToString::to_string);
        let mut table = Table::new(std::iter::once("model".to_owned()).chain(names));
        table.title = held_out.map(|held_out| format!("{} held-out queries", held_out.queries()));
        for row in measured {
            let values = row.scored.evaluation.summary.iter().map(|&value| Cell::Value(value));
            table.push(std::iter::once(Cell::text(&row.scored.name)).chain(values).collect());
        }
        if measured.is_empty() {
            table.notes.push("no query was held out, so nothing was measured".to_owned());
        }
        table.notes.extend(self.guide.map(GuideModel::said));
        table.notes.extend(self.sign(measured).map(|sign| format!("WARNING: {sign}")));
        table
    }

    /// The sign of failure between the model before and the trained one.
    fn sign(&self, measured: &[Measured]) -> Option<String> {
        let named = |name: &str| measured.iter().find(|row| row.scored.name == name);
        let (before, trained) = (named("before")?, named("trained")?);
        let names: Vec<String> = self.recipe.measures.iter().map(ToString::to_string).collect();
        let summary = |row: &Measured| row.scored.evaluation.summary.clone();
        let changes = summary(trained).into_iter().zip(summary(before)).map(|(after, before)| after - before);
        ndcg_up_while_ap_falls(names.iter().map(String::as_str).zip(changes))
    }

    fn record(&self, trainer: &Trainer, course: &Course<'_>, measured: &[Measured]) -> Value {
        let names: Vec<String> = self.recipe.measures.iter().map(ToString::to_string).collect();
        let rows = measured.iter().map(|row| {
            let values = row.scored.evaluation.summary.iter().map(|&value| json!(value));
            let values: serde_json::Map<String, Value> = names.iter().cloned().zip(values).collect();
            json!({"model": row.scored.name, "step": row.step, "measures": values})
        });
        let parameters = self.recipe.loss.parameters();
        let learned: serde_json::Map<String, Value> = parameters
            .iter()
            .zip(&trainer.loss_parameters)
            .map(|(parameter, &value)| (parameter.name.to_owned(), json!(value)))
            .collect();
        let data = &self.set.learned;
        let signs: Vec<String> = self.sign(measured).into_iter().collect();
        let device = self.gpu.map_or("cpu".to_owned(), |precision| format!("cuda, {}", precision.name()));
        let mut record = json!({
            "device": device,
            "recipe": self.digest,
            "base": trainer.model.base().digest(),
            "loss": self.recipe.loss.name(),
            "loss_parameters": learned,
            "data": {
                "name": data.name,
                "fingerprint": crate::collections::fingerprint(data),
                "queries": self.set.lists.queries().len(),
                "documents": self.set.lists.documents().len(),
                "notes": self.set.notes,
            },
            "seed": self.recipe.seed,
            "signs": signs,
        });
        if let Some(guide) = self.guide {
            record["guide"] = guide.describe();
        }
        course.describe(trainer, &mut record);
        record["held_out"] = rows.collect();
        record
    }

    fn card(&self, record: &Value, table: &Table) -> anyhow::Result<String> {
        let mut measures = Vec::new();
        let only = Report { tables: vec![table.clone()], ..Report::default() };
        only.write(crate::report::Format::Markdown, &mut measures)?;
        let data = &record["data"];
        Ok(format!(
            "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\ntags:\n- sentence-transformers\n- \
             graded-relevance\n---\n\n# A search encoder trained on graded relevance\n\nTrained by `graded train` with the \
             loss `{loss}` for {steps} steps on {queries} queries and {documents} documents of {name}, starting from \
             `{base}` (digest {base_digest}).\nBase model and data keep their own licences, which hold for this model \
             too.\n\n## Held-out measures\n\n{measures}\n## Recipe\n\nDigest {digest}.\n\n```toml\n{recipe}```\n",
            loss = self.recipe.loss.name(),
            steps = record["steps"],
            queries = data["queries"],
            documents = data["documents"],
            name = self.set.learned.name,
            base = self.recipe.file.scorer.encoder,
            base_digest = &record["base"].as_str().unwrap_or_default(),
            measures = String::from_utf8_lossy(&measures),
            digest = self.digest,
            recipe = self.recipe.file.to_toml()?,
        ))
    }
}

/// The ids of every text of the lists.
struct Ids {
    queries: Vec<Vec<u32>>,
    documents: Vec<Vec<u32>>,
}

impl Ids {
    fn new(model: &Model, lists: &Lists) -> anyhow::Result<Self> {
        let of = |texts: &[trainer::batch::NamedText], role| {
            let ids = texts.par_iter().map(|text| Ok(model.ids(&text.text, role)?));
            ids.collect::<anyhow::Result<Vec<_>>>()
        };
        Ok(Self {
            queries: of(lists.queries(), Role::Query)?,
            documents: of(lists.documents(), Role::Document)?,
        })
    }

    fn batch(&self, batch: trainer::batch::Batch) -> TokenBatch<Targets> {
        let pick =
            |all: &[Vec<u32>], numbers: &[u32]| numbers.iter().map(|&at| all[at as usize].clone()).collect();
        TokenBatch {
            queries: pick(&self.queries, &batch.queries),
            documents: pick(&self.documents, &batch.documents),
            targets: batch.targets,
        }
    }
}

/// The loss in the training loop's terms; what is not learned has no slope.
fn slopes(
    loss: &Loss,
    device: Device,
    learned: &[bool],
    vectors: Vectors<'_>,
    targets: &Targets,
) -> Result<Slopes, String> {
    let (queries, documents, width) = (vectors.queries, vectors.documents, vectors.width);
    let embeddings = Embeddings {
        queries: Matrix::new("queries", queries, queries.len() / width, width)
            .map_err(|error| error.to_string())?,
        documents: Matrix::new("documents", documents, documents.len() / width, width)
            .map_err(|error| error.to_string())?,
    };
    let found = loss
        .gradients_on(device, embeddings, targets, vectors.parameters)
        .map_err(|error| error.to_string())?;
    let parameters =
        found.parameters.iter().zip(learned).map(|(slope, learned)| if *learned { *slope } else { 0.0 });
    Ok(Slopes {
        value: found.value,
        queries: found.queries,
        documents: found.documents,
        parameters: parameters.collect(),
    })
}

/// What is found where the run goes. A run that was to be resumed and is not there is mentioned: its name may be misspelt.
pub(super) fn look(
    folder: &RunFolder,
    resume: bool,
    out: &std::path::Path,
    options: &Options,
) -> anyhow::Result<Found> {
    let found = folder.look(resume)?;
    if resume && matches!(found, Found::Nothing) {
        progress::say(options, format!("{}: nothing there to resume, so the run starts anew", out.display()));
    }
    Ok(found)
}

/// The answer about a run that is finished, if it is of the recipe with `digest`, and over the data with `fingerprint`.
pub(super) fn already_done(
    record: &Value,
    digest: &str,
    fingerprint: impl FnOnce() -> anyhow::Result<Value>,
    folder: &RunFolder,
    out: &std::path::Path,
) -> anyhow::Result<Finished> {
    let other = |what| {
        let out = out.display();
        Usage::error(format!("{out}: the finished run of {what}; another --out starts anew"))
    };
    if record["recipe"] != digest {
        return Err(other("another recipe"));
    }
    if record["data"]["fingerprint"] != fingerprint()? {
        return Err(other("this recipe over other data"));
    }
    // A run that was killed in its last moment has left them.
    folder.remove_leftovers()?;
    let mut table = Table::default();
    table.notes.push(format!("{}: this run is finished", out.display()));
    Ok(Report { tables: vec![table], json: record.clone(), lines: Vec::new() }.into())
}
