//! `graded evaluate`: systems on a collection, run files on judgments, or encoders on labelled pairs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use datasets::Collection;
use datasets::trec::{RunFile, RunOptions};
use rayon::prelude::*;
use relevance::evaluation::{Evaluation, EvaluationOptions, Evaluator, Outcome, SelfHits};
use relevance::fusion::Fusion;
use relevance::{Judgments, QueryJudgments, Ranking};

use super::Finished;
use crate::arguments::Options;
use crate::exit::Usage;
use crate::pair_columns::PairColumns;
use crate::progress;
use crate::recipe::{Recipe, RecipeFile, SAMPLE, Source};
use crate::report::evaluation::{Evaluated, Scored, report};
use crate::runs::answers::{self, QueryAnswer, Reader};
use crate::runs::{RecordFlags, measured};
use crate::systems::{self, Candidates, Resources, Task};

/// Flags of `graded evaluate`. Those that a recipe has too are laid over it.
#[derive(Debug, Args)]
pub struct Command {
    /// The recipe to run [default: the embedded sample's]
    recipe: Option<PathBuf>,
    /// A collection: a name `graded data list` knows, or a folder
    #[arg(long, value_name = "NAME|DIR")]
    dataset: Option<String>,
    /// The split whose judgments count
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// A system: bm25, bm25(k1=1.2,b=0.75), embedded, a pulled model, or a bundle's path, cut to
    /// their first values by (dimensions=96) behind the name; may be repeated
    #[arg(long = "encoder", value_name = "BUNDLE|bm25")]
    encoders: Vec<String>,
    /// A fusion of all systems: rrf, rrf(k=10), wsum(norm=min-max), ...; may be repeated
    #[arg(long, value_name = "METHOD")]
    fuse: Vec<String>,
    /// A judgment file: TREC qrels, or tab-separated with a header
    #[arg(long, value_name = "FILE")]
    qrels: Option<PathBuf>,
    /// A run file to score against --qrels; may be repeated
    #[arg(long = "run", value_name = "FILE")]
    runs: Vec<PathBuf>,
    /// A file of labelled pairs with texts: each query ranks its own documents
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    columns: PairColumns,
    /// The measures, separated by blanks or commas
    #[arg(long, short, value_name = "LIST")]
    measures: Option<String>,
    /// How many documents each system returns a query [default: 1000]
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
    /// Rank only the documents judged for each query, as a re-ranker would
    #[arg(long)]
    judged_candidates: bool,
    /// The order of tied documents: trec, run, docid-asc or expected [default: trec]
    #[arg(long, value_name = "MODE")]
    ties: Option<String>,
    /// Average over the queries of both judgments and run only
    #[arg(long)]
    intersect: bool,
    /// Whether a document may answer the query that has its id: keep or drop [default: as the collection says]
    #[arg(long, value_name = "keep|drop")]
    self_hits: Option<String>,
    /// Compare every system with this one: paired tests, Holm-corrected
    #[arg(long, value_name = "SYSTEM")]
    baseline: Option<String>,
    /// Also give the values of every query
    #[arg(long)]
    per_query: bool,
    /// Write the rankings as a TREC run (with several systems: a folder of them)
    #[arg(long, value_name = "FILE")]
    save_run: Option<PathBuf>,
    #[command(flatten)]
    record: RecordFlags,
}

/// Runs `graded evaluate`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let recipe = command.recipe()?;
    let history = command.record.history()?;
    let keep = history.is_some();
    let done = match &recipe.source {
        Source::Collection { name, split } => {
            let collection = crate::collections::open(name, split.as_deref(), options.memory)?;
            evaluate_collection(&collection, command, &recipe, keep, options)?
        }
        Source::Pairs { file, columns } => {
            let collection = crate::collections::of_pairs(file, columns, options)?;
            evaluate_collection(&collection, command, &recipe, keep, options)?
        }
        Source::Runs { judgments, runs } => evaluate_runs(judgments, runs, command, &recipe, keep, options)?,
    };
    let finished = report(&done, &recipe, command.per_query, options)?;
    let record = |history| anyhow::Ok((history, measured::evaluation(&done, &recipe, options)?));
    Ok(finished.recorded(history.map(record).transpose()?))
}

impl Command {
    /// The recipe file with the flags laid over it, completed.
    fn recipe(&self) -> anyhow::Result<Recipe> {
        let says_what_on = self.dataset.is_some() || self.qrels.is_some() || self.pairs.is_some();
        let mut file = match &self.recipe {
            Some(path) => RecipeFile::read(path)?,
            None if says_what_on => RecipeFile::default(),
            None => RecipeFile::parse(SAMPLE)?,
        };
        if says_what_on || !self.runs.is_empty() {
            file.data.dataset = self.dataset.clone();
            file.data.qrels = self.qrels.clone();
            file.data.runs.clone_from(&self.runs);
            file.data.pairs = self.pairs.clone();
            file.data.columns = self.columns.clone();
        }
        lay_over(&mut file.data.split, &self.split);
        if !self.encoders.is_empty() {
            // A fusion of the recipe's systems says nothing about the systems named here.
            file.scorer.fuse = None;
            file.scorer.systems = Some(self.encoders.clone());
        }
        if !self.fuse.is_empty() {
            file.scorer.fuse = Some(self.fuse.clone());
        }
        lay_over(&mut file.scorer.depth, &self.depth);
        if self.judged_candidates {
            file.scorer.judged_candidates = Some(true);
        }
        if let Some(measures) = &self.measures {
            file.evaluation.measures = Some(vec![measures.clone()]);
        }
        lay_over(&mut file.evaluation.ties, &self.ties);
        lay_over(&mut file.evaluation.self_hits, &self.self_hits);
        lay_over(&mut file.evaluation.baseline, &self.baseline);
        if self.intersect {
            file.evaluation.intersect = Some(true);
        }
        let recipe = file.complete();
        recipe.with_context(|| {
            self.recipe.as_ref().map_or("flags".to_owned(), |path| path.display().to_string())
        })
    }
}

fn lay_over<T: Clone>(written: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        written.clone_from(flag);
    }
}

fn evaluate_collection(
    collection: &Collection,
    command: &Command,
    recipe: &Recipe,
    keep: bool,
    options: &Options,
) -> anyhow::Result<Evaluated> {
    let resources = Resources { device: options.device()?, memory_bytes: options.memory as usize, options };
    let candidates = match recipe.judged_candidates {
        true => Candidates::Judged,
        false => Candidates::Corpus { depth: recipe.retrieval_depth() },
    };
    let task = Task::new(collection);
    let systems = recipe.systems.iter().map(|choice| systems::run(choice, &task, candidates, resources));
    let mut systems = systems.collect::<anyhow::Result<Vec<_>>>()?;
    let fused = recipe.fusions.iter().map(|fusion| systems::fuse(fusion, &systems, recipe.retrieval_depth()));
    let fused = fused.collect::<anyhow::Result<Vec<_>>>()?;
    systems.extend(fused);
    let self_hits = recipe.self_hits.unwrap_or(collection.self_hits);
    let evaluator = evaluator(&collection.judgments, recipe, self_hits)?;
    let reader = Reader { judgments: &collection.judgments, ties: recipe.ties, self_hits };
    let scored = systems.iter().map(|system| {
        let evaluation = evaluate(&evaluator, &system.rankings)?;
        let answers = keep.then(|| reader.answers(&system.rankings));
        let (name, digest) = (system.name.clone(), system.digest.clone());
        Ok(Scored { name, digest, seconds: Some(system.seconds), answers, evaluation })
    });
    let scored = scored.collect::<anyhow::Result<Vec<_>>>()?;
    require_sound(&scored, recipe)?;
    if let Some(path) = &command.save_run {
        systems::saved_run::save(path, &systems)?;
    }
    Ok(Evaluated {
        dataset: collection.name.clone(),
        judgments: collection.judgments.pairs(),
        fingerprint: crate::collections::fingerprint(collection),
        self_hits,
        notes: collection.notes.clone(),
        judged: judged(&collection.judgments, keep),
        systems: scored,
    })
}

fn evaluate_runs(
    judgments_path: &Path,
    runs: &[PathBuf],
    command: &Command,
    recipe: &Recipe,
    keep: bool,
    options: &Options,
) -> anyhow::Result<Evaluated> {
    if command.save_run.is_some() {
        return Err(Usage::error("--save-run: the rankings already are run files"));
    }
    let judgments = crate::collections::read_judgments(judgments_path, options)?;
    let self_hits = recipe.self_hits.unwrap_or_default();
    let evaluator = evaluator(&judgments, recipe, self_hits)?;
    let reader = Reader { judgments: &judgments, ties: recipe.ties, self_hits };
    let read = RunOptions { memory_bytes: options.memory, ..RunOptions::default() };
    let files = runs.iter().map(|path| RunFile::open(path, &read)).collect::<Result<Vec<_>, _>>()?;
    let mut systems = Vec::new();
    for (run, name) in files.iter().zip(run_names(runs, &files)) {
        let outcomes = (0..run.len()).into_par_iter().map(|at| {
            let ranking = run.ranking(at)?;
            Ok((evaluator.query(&ranking)?, keep.then(|| reader.answer(&ranking))))
        });
        let (evaluation, answers) = collect(&evaluator, outcomes.collect::<anyhow::Result<Vec<_>>>()?)?;
        if evaluation.queries.len() == evaluation.missing.len() {
            progress::say(options, format!("{name}: answers none of the judged queries"));
        }
        systems.push(Scored { name, digest: None, seconds: None, answers, evaluation });
    }
    for fusion in &recipe.fusions {
        let outcomes = evaluate_fusion(fusion, &files, &reader, &evaluator, keep)?;
        let (evaluation, answers) = collect(&evaluator, outcomes)?;
        systems.push(Scored { name: fusion.to_string(), digest: None, seconds: None, answers, evaluation });
    }
    require_sound(&systems, recipe)?;
    Ok(Evaluated {
        dataset: judgments_path.display().to_string(),
        judgments: judgments.pairs(),
        fingerprint: crate::collections::judgments_fingerprint(&judgments),
        self_hits,
        notes: Vec::new(),
        judged: judged(&judgments, keep),
        systems,
    })
}

/// Fuses the runs query by query. A run that does not answer a query takes part with an empty ranking, so that weights
/// stay with their runs.
fn evaluate_fusion(
    fusion: &Fusion,
    runs: &[RunFile],
    reader: &Reader<'_>,
    evaluator: &Evaluator<'_>,
    keep: bool,
) -> anyhow::Result<Vec<Answered>> {
    let queries = reader.judgments.queries().map(QueryJudgments::query).collect::<Vec<_>>();
    let answered = |query: &&&str| runs.iter().any(|run| run.position(query).is_some());
    let outcomes = queries.par_iter().filter(answered).map(|query| {
        let answers = runs.iter().map(|run| match run.position(query) {
            Some(at) => run.ranking(at),
            None => Ok(Ranking { query, hits: Vec::new() }),
        });
        let fused = fusion.fuse(&answers.collect::<Result<Vec<_>, _>>()?)?;
        Ok((evaluator.query(&fused)?, keep.then(|| reader.answer(&fused))))
    });
    outcomes.collect()
}

/// What became of a ranking, and what a record keeps of it.
type Answered = (Outcome, Option<QueryAnswer>);

fn collect(
    evaluator: &Evaluator<'_>,
    answered: Vec<Answered>,
) -> anyhow::Result<(Evaluation, Option<answers::Answers>)> {
    let (outcomes, answers): (Vec<_>, Vec<_>) = answered.into_iter().unzip();
    let answers = answers.into_iter().collect::<Option<Vec<_>>>();
    Ok((evaluator.collect(outcomes)?, answers.map(answers::gather)))
}

fn judged(judgments: &Judgments, keep: bool) -> Vec<(String, String)> {
    if keep { answers::judged_queries(judgments) } else { Vec::new() }
}

/// A single run goes by its tag; several by their files' names, or by their paths where names repeat.
fn run_names(paths: &[PathBuf], runs: &[RunFile]) -> Vec<String> {
    if let ([_], [run]) = (paths, runs)
        && let Some(tag) = run.tag()
    {
        return vec![tag.to_owned()];
    }
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let names = paths.iter().map(name).collect::<Vec<_>>();
    let repeats = (1..names.len()).any(|at| names[..at].contains(&names[at]));
    let path = |path: &PathBuf| path.display().to_string();
    paths
        .iter()
        .zip(names)
        .map(|(full, name)| name.filter(|_| !repeats).unwrap_or_else(|| path(full)))
        .collect()
}

/// What can only be known once the systems have names and values, checked before anything is written: the baseline is one
/// of them, and there is something to average over.
fn require_sound(systems: &[Scored], recipe: &Recipe) -> anyhow::Result<()> {
    let names = systems.iter().map(|system| system.name.as_str()).collect::<Vec<_>>();
    if let Some(baseline) = recipe.baseline.as_deref().filter(|baseline| !names.contains(baseline)) {
        return Err(Usage::error(format!(
            "--baseline: expected one of {}, found {baseline}",
            names.join(", ")
        )));
    }
    match systems.iter().find(|system| system.evaluation.queries.is_empty()) {
        Some(system) => Err(Usage::error(format!("{}: no judged query to average over", system.name))),
        None => Ok(()),
    }
}

fn evaluator<'j>(
    judgments: &'j Judgments,
    recipe: &Recipe,
    self_hits: SelfHits,
) -> anyhow::Result<Evaluator<'j>> {
    let options = EvaluationOptions {
        ties: recipe.ties,
        self_hits,
        intersect: recipe.intersect,
        depth: recipe.evaluation_depth(),
        ..EvaluationOptions::default()
    };
    Ok(Evaluator::new(judgments, &recipe.measures, options)?)
}

fn evaluate(evaluator: &Evaluator<'_>, rankings: &[Ranking<'_>]) -> anyhow::Result<Evaluation> {
    let outcomes = rankings.par_iter().map(|ranking| evaluator.query(ranking));
    Ok(evaluator.collect(outcomes.collect::<Result<Vec<_>, _>>()?)?)
}
