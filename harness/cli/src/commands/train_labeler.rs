//! The labeler's half of `graded train`: pairs with grades in, a cross-encoder out, in the layout of transformers'
//! `BertForSequenceClassification` with a `labeler.json`.

use std::path::Path;

use anyhow::Context;
use kernels::Matrix;
use rayon::prelude::*;
use relevance::LabeledPair;
use relevance::agreement::{Report as Agreement, Statistic, rated_pairs};
use relevance::resampling::Bootstrap;
use scorer::tokens::PairIds;
use scorer::{Bundle, EncoderOptions};
use serde_json::{Value, json};
use trainer::batch::PairBatches;
use trainer::checkpoint::Origin;
use trainer::losses::labeler::{LabelerLoss, LabelerTargets};
use trainer::ordinal_head::best_cuts;
use trainer::{GradeHeadOptions, Model, PairBatch, Slopes, Trainer, Vectors};

use super::agree::human_grades;
use super::train::{already_done, look};
use super::{Finished, label};
use crate::arguments::Options;
use crate::exit::Usage;
use crate::recipe::LabelerRecipe;
use crate::recipe::training::CutsChoice;
use crate::report::{Cell, Format, Report, Table};
use crate::runs::Record;
use crate::runs::measured::{self, Labels, Trained};
use crate::training::course::{Course, Plan};
use crate::training::folder::{Found, RunFolder};
use crate::training::labeled::{self, Lesson, Lessons};
use crate::{labelers, models, progress};

/// Pairs over which cuts are fitted: more move them by less than they differ from run to run.
const CUT_PAIRS: usize = 2048;

/// Resamples behind the intervals that a record keeps.
const RESAMPLES: u32 = 1000;

/// What is measured on held-out pairs.
const STATISTICS: [Statistic; 4] = [
    Statistic::CohenKappaQuadratic,
    Statistic::KrippendorffAlphaOrdinal,
    Statistic::Mae,
    Statistic::Accuracy,
];

/// Trains a labeler; its record is for the history, where the run was not finished before.
pub fn run(
    recipe: &LabelerRecipe,
    out: &Path,
    resume: bool,
    options: &Options,
) -> anyhow::Result<(Finished, Option<Record>)> {
    if recipe.file.training.gpu(options.device)?.is_some() {
        let said = "device cuda: a labeler is trained on the processor; an encoder can be trained on a GPU";
        return Err(Usage::error(said));
    }
    let digest = recipe.file.digest()?;
    let folder = RunFolder::new(out);
    let found = look(&folder, resume, out, options)?;
    if let Found::Finished(record) = &found {
        let fingerprint = || Ok(json!(labeled::read(recipe, options)?.fingerprint));
        return Ok((already_done(record, &digest, fingerprint, &folder, out)?, None));
    }
    let lessons = labeled::read(recipe, options)?;
    check(recipe, &lessons)?;
    lessons.notes.iter().for_each(|note| progress::say(options, note));
    let head = GradeHeadOptions {
        kind: recipe.head(),
        scale: lessons.scale.clone(),
        shares: shares(&lessons),
        rate: recipe.head_rate(),
    };
    let encoder = &recipe.file.scorer.encoder;
    let model = Model::cross_encoder(models::bundle(encoder)?, &recipe.model, &head);
    let model = model.with_context(|| encoder.clone())?;
    let (finished, record) =
        Run { recipe, digest, lessons: &lessons, folder, options }.train(model, found, out)?;
    Ok((finished, Some(record)))
}

/// Refuses grades and settings that the loss cannot use, before anything is computed.
fn check(recipe: &LabelerRecipe, lessons: &Lessons) -> anyhow::Result<()> {
    let levels = lessons.scale.levels().len();
    if let LabelerLoss::CrossEntropy(loss) = &recipe.loss
        && !loss.class_weights.is_empty()
        && loss.class_weights.len() != levels
    {
        let found = loss.class_weights.len();
        return Err(Usage::error(format!(
            "loss.class_weights: expected {levels}, one a grade, found {found}"
        )));
    }
    let first = lessons.learned[0].level;
    let is_distilled = lessons.learned.iter().any(|lesson| !lesson.distribution.is_empty());
    if !is_distilled && lessons.learned.iter().all(|lesson| lesson.level == first) {
        let grade = lessons.scale.levels()[usize::from(first)].grade;
        return Err(Usage::error(format!(
            "data: every pair has the grade {grade}; there is nothing to learn"
        )));
    }
    Ok(())
}

/// The share of each level among the lessons, one pair more of each so that none is 0.
fn shares(lessons: &Lessons) -> Vec<f64> {
    let mut counts = vec![1.0; lessons.scale.levels().len()];
    for Lesson { level, distribution, .. } in &lessons.learned {
        match distribution.is_empty() {
            true => counts[usize::from(*level)] += 1.0,
            false => counts.iter_mut().zip(distribution).for_each(|(sum, share)| *sum += f64::from(*share)),
        }
    }
    let total: f64 = counts.iter().sum();
    counts.into_iter().map(|count| count / total).collect()
}

/// One run and what it stands on.
struct Run<'a> {
    recipe: &'a LabelerRecipe,
    digest: String,
    lessons: &'a Lessons,
    folder: RunFolder,
    options: &'a Options,
}

/// What the loss reads of a batch.
struct Targets {
    levels: Vec<u8>,
    distributions: Vec<f32>,
}

/// A row of the table of agreements.
struct Measured {
    when: String,
    step: Option<u64>,
    values: Vec<Option<f64>>,
}

impl Run<'_> {
    fn train(&self, model: Model, found: Found, out: &Path) -> anyhow::Result<(Finished, Record)> {
        let ids = self.ids(&model)?;
        let mut batches = PairBatches::new(ids.len(), self.recipe.pairs, self.recipe.seed);
        let settings = self.recipe.options(batches.per_epoch());
        let mut trainer = Trainer::new(model, Vec::new(), settings)?;
        let mut measured = Vec::new();
        if let Some(teacher) = &self.lessons.teacher {
            let name = self.recipe.file.data.teacher.clone().unwrap_or_default();
            measured.push(Measured { when: name, step: None, values: values(teacher) });
        }
        let table = &self.recipe.file.training;
        let origin = Origin { recipe: &self.digest, data: &self.lessons.digest() };
        let plan = Plan { folder: &self.folder, origin, table, options: self.options };
        let mut course = Course::start(&mut trainer, &found, plan)?;
        trainer.train(
            |step| {
                let numbers = step * table.accumulate..(step + 1) * table.accumulate;
                anyhow::Ok(numbers.map(|number| self.batch(&ids, &batches.batch(number))).collect())
            },
            |vectors, targets| slopes(&self.recipe.loss, vectors, targets),
            |trainer, report| {
                let pairs = self.recipe.pairs as u64 * table.accumulate;
                if course.took(trainer, report, pairs)? {
                    trainer.fetch()?;
                    let when = format!("step {}", report.step);
                    measured.extend(self.measure(&trainer.model, &when, report.step)?);
                }
                Ok(())
            },
        )?;
        self.finish(trainer, &course, measured, out)
    }

    fn ids(&self, model: &Model) -> anyhow::Result<Vec<PairIds>> {
        let ids = self.lessons.learned.par_iter().map(|lesson| {
            let texts = labelers::texts(&lesson.pair);
            Ok(model.pair_ids(texts.query, texts.document)?)
        });
        ids.collect()
    }

    fn batch(&self, ids: &[PairIds], chosen: &[usize]) -> PairBatch<Targets> {
        let lessons = || chosen.iter().map(|&at| &self.lessons.learned[at]);
        PairBatch {
            pairs: chosen.iter().map(|&at| ids[at].clone()).collect(),
            targets: Targets {
                levels: lessons().map(|lesson| lesson.level).collect(),
                distributions: lessons().flat_map(|lesson| lesson.distribution.iter().copied()).collect(),
            },
        }
    }

    /// The agreement of the model as it stands with the held-out human grades.
    fn measure(&self, model: &Model, when: &str, step: u64) -> anyhow::Result<Option<Measured>> {
        let Some(held_out) = &self.lessons.held_out else { return Ok(None) };
        let mut labeled = held_out.clone();
        let labeler = scorer::load_labeler(&model.to_bundle("")?, &EncoderOptions::default())?;
        labelers::predict(&mut labeled, labeler.as_ref(), self.options)?;
        Ok(Some(Measured { when: when.to_owned(), step: Some(step), values: values(&labeled) }))
    }

    /// Labels the pairs called `of` after the last step. Labels are on disk as they come: a run that is killed here does not
    /// begin again.
    fn label(
        &self,
        model: &Model,
        of: &str,
        mut pairs: Vec<LabeledPair>,
    ) -> anyhow::Result<Vec<LabeledPair>> {
        let labeler = scorer::load_labeler(&model.to_bundle("")?, &EncoderOptions::default())?;
        let rows = self.folder.labels(of, labeler.digest());
        label::into_rows(&mut pairs, labeler, &rows, self.options)?;
        Ok(pairs)
    }

    /// Cuts of the best quadratic kappa on some of the pairs that were learned, evenly spread.
    fn fit_cuts(&self, model: &mut Model) -> anyhow::Result<()> {
        let every = self.lessons.learned.len().div_ceil(CUT_PAIRS);
        let lessons = || self.lessons.learned.iter().step_by(every);
        let pairs = self.label(model, "cuts", lessons().map(|lesson| lesson.pair.clone()).collect())?;
        let scores: Vec<f64> = pairs.iter().map(|pair| pair.score.unwrap_or_default()).collect();
        let levels = self.lessons.scale.levels();
        let grades: Vec<_> = lessons().map(|lesson| levels[usize::from(lesson.level)].grade).collect();
        let between = scorer::labeler::Cuts::between(self.lessons.scale.clone())?;
        model.set_cuts(&best_cuts(&self.lessons.scale, &scores, &grades, between.values()))?;
        Ok(())
    }

    fn finish(
        &self,
        mut trainer: Trainer,
        course: &Course<'_>,
        mut measured: Vec<Measured>,
        out: &Path,
    ) -> anyhow::Result<(Finished, Record)> {
        let step = trainer.steps_taken();
        if self.recipe.cuts == CutsChoice::Fitted {
            self.fit_cuts(&mut trainer.model)?;
        }
        let held_out = self.lessons.held_out.clone();
        let labeled = held_out.map(|pairs| self.label(&trainer.model, "held-out", pairs)).transpose()?;
        measured.extend(labeled.as_deref().map(|labeled| Measured {
            when: "trained".to_owned(),
            step: Some(step),
            values: values(labeled),
        }));
        let table = self.table(&measured);
        let mut record = self.record(&trainer, course, &measured);
        let bundle = trainer.model.to_bundle(&self.card(&record, &table)?)?;
        record["model"] = bundle.digest().into();
        let labeler = scorer::load_labeler(&bundle, &EncoderOptions::default())?;
        record["labeler"] = labeler.digest().into();
        record["cuts"] = json!(labeler.cuts().values());
        self.folder.finish(&bundle, &record, &[("tokenizer_config.json", &tokenizer_config(&bundle)?)])?;
        let kept = self.kept(&record, labeled.as_deref())?;
        record["out"] = out.display().to_string().into();
        progress::say(self.options, format!("{}: the trained labeler, {}", out.display(), course.speed()));
        Ok((Report { tables: vec![table], json: record, lines: Vec::new() }.into(), kept))
    }

    /// The record for the history: with the agreement on held-out pairs, where there were any.
    fn kept(&self, said: &Value, labeled: Option<&[LabeledPair]>) -> anyhow::Result<Record> {
        let dataset = self.lessons.name.as_str();
        let trained = Trained { dataset, measured_on: &Value::Null, said };
        let (Some(labeled), Some(bootstrap)) = (labeled, Bootstrap::new(RESAMPLES, 0.95, 0)) else {
            return measured::labeler_training(&trained, None, self.options);
        };
        let rated = rated_pairs(labeled);
        let report = Agreement::of_labeled(labeled, &bootstrap);
        let (queries, human) = human_grades(labeled);
        let labels = Labels { dataset: dataset.to_owned(), report: &report, pairs: &rated, queries, human };
        measured::labeler_training(&trained, Some(labels), self.options)
    }

    fn table(&self, measured: &[Measured]) -> Table {
        let names = STATISTICS.iter().map(|statistic| statistic.name().to_owned());
        let mut table = Table::new(std::iter::once("labeler".to_owned()).chain(names));
        let held_out = self.lessons.held_out.as_ref();
        table.title =
            held_out.map(|pairs| format!("agreement with people on {} held-out pairs", pairs.len()));
        for row in measured {
            let values = row.values.iter().map(|&value| Cell::maybe(value));
            table.push(std::iter::once(Cell::text(&row.when)).chain(values).collect());
        }
        if measured.is_empty() {
            table.notes.push("no query was held out, so nothing was measured".to_owned());
        }
        table
    }

    fn record(&self, trainer: &Trainer, course: &Course<'_>, measured: &[Measured]) -> Value {
        let rows = measured.iter().map(|row| {
            let measures: serde_json::Map<String, Value> = STATISTICS
                .iter()
                .zip(&row.values)
                .map(|(statistic, value)| (statistic.name().to_owned(), json!(value)))
                .collect();
            json!({"model": row.when, "step": row.step, "measures": measures})
        });
        let queries: std::collections::HashSet<&str> =
            self.lessons.learned.iter().map(|lesson| lesson.pair.query.as_str()).collect();
        let mut record = json!({
            "recipe": self.digest,
            "base": trainer.model.base().digest(),
            "loss": self.recipe.loss.name(),
            "data": {
                "name": self.lessons.name,
                "fingerprint": self.lessons.fingerprint,
                "queries": queries.len(),
                "pairs": self.lessons.learned.len(),
                "held_out_pairs": self.lessons.held_out.as_ref().map_or(0, Vec::len),
                "notes": self.lessons.notes,
            },
            "seed": self.recipe.seed,
        });
        course.describe(trainer, &mut record);
        record["held_out"] = rows.collect();
        record
    }

    fn card(&self, record: &Value, table: &Table) -> anyhow::Result<String> {
        let mut measures = Vec::new();
        Report { tables: vec![table.clone()], ..Report::default() }.write(Format::Markdown, &mut measures)?;
        let data = &self.recipe.file.data;
        let who = match (&data.teacher_file, &data.teacher, data.raters.as_slice()) {
            (Some(file), ..) => format!("the probabilities of {}", file.display()),
            (_, _, [_, ..]) => format!("the votes of {}", data.raters.join(", ")),
            (_, Some(teacher), _) => format!("the grades of {teacher}"),
            (_, None, _) => "human grades".to_owned(),
        };
        Ok(format!(
            "---\nlibrary_name: sentence-transformers\npipeline_tag: text-classification\ntags:\n- cross-encoder\n- \
             graded-relevance\n---\n\n# A labeler of graded relevance\n\nA cross-encoder trained by `graded train` with \
             the loss `{loss}` for {steps} steps on {pairs} pairs of {queries} queries of {name}, on {who}, starting from \
             `{base}` (digest {base_digest}).\nBase model and data keep their own licences, which hold for this model \
             too.\n\n`graded label --labeler DIR` gives grades; `CrossEncoder(DIR)` and \
             `AutoModelForSequenceClassification` load it and give the head's outputs ({outputs}).\n\n## Held-out \
             agreement\n\n{measures}\n## Recipe\n\nDigest {digest}.\n\n```toml\n{recipe}```\n",
            loss = self.recipe.loss.name(),
            steps = record["steps"],
            pairs = record["data"]["pairs"],
            queries = record["data"]["queries"],
            name = self.lessons.name,
            base = self.recipe.file.scorer.encoder,
            base_digest = record["base"].as_str().unwrap_or_default(),
            outputs = match self.recipe.loss {
                LabelerLoss::Coral(_) => "above grade k",
                LabelerLoss::Corn(_) => "above grade k, given at least k",
                _ => "one a grade",
            },
            measures = String::from_utf8_lossy(&measures),
            digest = self.digest,
            recipe = self.recipe.file.to_toml()?,
        ))
    }
}

fn values(labeled: &[LabeledPair]) -> Vec<Option<f64>> {
    let rated = rated_pairs(labeled);
    let Some(bootstrap) = Bootstrap::new(1, 0.95, 0) else { return Vec::new() };
    let report = Agreement::of(&rated, &bootstrap);
    STATISTICS.iter().map(|&statistic| report.get(statistic).and_then(|found| found.value.ok())).collect()
}

/// The loss in the training loop's terms.
fn slopes(loss: &LabelerLoss, vectors: Vectors<'_>, targets: &Targets) -> Result<Slopes, String> {
    let (outputs, width) = (vectors.documents, vectors.width);
    let rows = targets.levels.len();
    let logits = Matrix::new("logits", outputs, rows, width).map_err(|error| error.to_string())?;
    let distributions = match targets.distributions.is_empty() {
        true => None,
        false => {
            let columns = targets.distributions.len() / rows;
            let matrix = Matrix::new("distributions", &targets.distributions, rows, columns);
            Some(matrix.map_err(|error| error.to_string())?)
        }
    };
    let targets = LabelerTargets { grades: Some(&targets.levels), distributions };
    let found = loss.gradients(logits, targets).map_err(|error| error.to_string())?;
    Ok(Slopes { value: found.value, queries: Vec::new(), documents: found.logits, parameters: Vec::new() })
}

/// What transformers wants beside `tokenizer.json`: how long a pair may be, and which of its tokens are which. BERT's
/// names, as the scorer has checked that the pairs are BERT's.
fn tokenizer_config(bundle: &Bundle) -> anyhow::Result<String> {
    let file = scorer::labeler::CrossEncoderFile::from_bundle(bundle)?;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": file.max_tokens,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    });
    Ok(format!("{config:#}\n"))
}
