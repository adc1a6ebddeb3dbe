//! `graded evaluate`: systems on a collection, run files on judgments, or encoders on labelled pairs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use datasets::Collection;
use datasets::trec::{self, RunFile, RunOptions};
use rayon::prelude::*;
use relevance::evaluation::{Evaluation, EvaluationOptions, Evaluator, SelfHits};
use relevance::{Judgments, Ranking};

use super::Finished;
use crate::arguments::Options;
use crate::exit::Usage;
use crate::progress;
use crate::recipe::{Recipe, RecipeFile, SAMPLE, Source};
use crate::report::evaluation::{Evaluated, Scored, report};
use crate::systems::{self, Candidates, Resources, System, Task};

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
    /// A system: bm25, bm25(k1=1.2,b=0.75), embedded, a pulled model, or a bundle's path; may be repeated
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
    /// How many bytes of vectors and files to hold in memory at a time, such as 512M or 8G
    #[arg(long, value_name = "BYTES", default_value = "4G", value_parser = parse_bytes)]
    memory: u64,
}

/// Runs `graded evaluate`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let recipe = command.recipe()?;
    let done = match &recipe.source {
        Source::Collection { name, split } => {
            let collection = crate::collections::open(name, split.as_deref(), command.memory)?;
            evaluate_collection(&collection, command, &recipe, options)?
        }
        Source::Pairs { file } => {
            let collection = crate::collections::of_pairs(file, command.memory)?;
            evaluate_collection(&collection, command, &recipe, options)?
        }
        Source::Runs { judgments, runs } => evaluate_runs(judgments, runs, command, &recipe, options)?,
    };
    report(&done, &recipe, command.per_query, options)
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
    options: &Options,
) -> anyhow::Result<Evaluated> {
    let resources = Resources { device: options.device()?, memory_bytes: command.memory as usize, options };
    let candidates = match recipe.judged_candidates {
        true => Candidates::Judged,
        false => Candidates::Corpus { depth: recipe.depth },
    };
    let task = Task::new(collection);
    let systems = recipe.systems.iter().map(|choice| systems::run(choice, &task, candidates, resources));
    let mut systems = systems.collect::<anyhow::Result<Vec<_>>>()?;
    let fused = recipe.fusions.iter().map(|fusion| systems::fuse(fusion, &systems, recipe.depth));
    let fused = fused.collect::<anyhow::Result<Vec<_>>>()?;
    systems.extend(fused);
    if let Some(path) = &command.save_run {
        save_runs(path, &systems)?;
    }
    let self_hits = recipe.self_hits.unwrap_or(collection.self_hits);
    let evaluator = evaluator(&collection.judgments, recipe, self_hits)?;
    let scored = systems.into_iter().map(|system| {
        let evaluation = evaluate(&evaluator, &system.rankings)?;
        Ok(Scored { name: system.name, digest: system.digest, seconds: Some(system.seconds), evaluation })
    });
    Ok(Evaluated {
        dataset: collection.name.clone(),
        judgments: collection.judgments.pairs(),
        fingerprint: crate::collections::fingerprint(collection),
        self_hits,
        notes: collection.notes.clone(),
        systems: scored.collect::<anyhow::Result<_>>()?,
    })
}

fn evaluate_runs(
    judgments_path: &Path,
    runs: &[PathBuf],
    command: &Command,
    recipe: &Recipe,
    options: &Options,
) -> anyhow::Result<Evaluated> {
    if command.save_run.is_some() {
        return Err(Usage::error("--save-run: the rankings already are run files"));
    }
    let judgments = trec::read_judgments(judgments_path, &trec::JudgmentOptions::default())?;
    crate::collections::say_repetitions(&judgments, options);
    let self_hits = recipe.self_hits.unwrap_or_default();
    let evaluator = evaluator(&judgments.judgments, recipe, self_hits)?;
    let read = RunOptions { memory_bytes: command.memory, ..RunOptions::default() };
    let scored = runs.iter().map(|path| {
        let run = RunFile::open(path, &read)?;
        let outcomes = (0..run.len()).into_par_iter().map(|at| Ok(evaluator.query(&run.ranking(at)?)?));
        let evaluation = evaluator.collect(outcomes.collect::<anyhow::Result<Vec<_>>>()?)?;
        if evaluation.queries.len() == evaluation.missing.len() {
            progress::say(options, format!("{}: answers none of the judged queries", path.display()));
        }
        let name = run_name(path, runs, run.tag());
        Ok(Scored { name, digest: None, seconds: None, evaluation })
    });
    let systems = scored.collect::<anyhow::Result<_>>()?;
    Ok(Evaluated {
        dataset: judgments_path.display().to_string(),
        judgments: judgments.judgments.pairs(),
        fingerprint: crate::collections::judgments_fingerprint(&judgments.judgments),
        self_hits,
        notes: Vec::new(),
        systems,
    })
}

/// A run goes by its tag, or by its file where there is none or several files share it.
fn run_name(path: &Path, runs: &[PathBuf], tag: Option<&str>) -> String {
    match tag {
        Some(tag) if runs.len() == 1 => tag.to_owned(),
        _ => path
            .file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned()),
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
        ..EvaluationOptions::default()
    };
    Ok(Evaluator::new(judgments, &recipe.measures, options)?)
}

fn evaluate(evaluator: &Evaluator<'_>, rankings: &[Ranking<'_>]) -> anyhow::Result<Evaluation> {
    let outcomes = rankings.par_iter().map(|ranking| evaluator.query(ranking));
    Ok(evaluator.collect(outcomes.collect::<Result<Vec<_>, _>>()?)?)
}

/// One system: `path` is the file. Several: `path` is a folder with a file each.
fn save_runs(path: &Path, systems: &[System<'_>]) -> anyhow::Result<()> {
    if let [system] = systems {
        return save_run(path, system);
    }
    systems
        .iter()
        .try_for_each(|system| save_run(&path.join(format!("{}.run", file_name(&system.name))), system))
}

fn save_run(path: &Path, system: &System<'_>) -> anyhow::Result<()> {
    use std::fmt::Write;
    let tag = file_name(&system.name);
    let mut text = String::new();
    for ranking in &system.rankings {
        for (rank, hit) in (1..).zip(&ranking.hits) {
            writeln!(text, "{} Q0 {} {rank} {} {tag}", ranking.query, hit.document, hit.score)?;
        }
    }
    crate::cache::write_whole(path, text.as_bytes())
}

/// A system's name as a file name and run tag: everything but letters, digits, `.`, `_` and `-` becomes `-`.
fn file_name(system: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || ['.', '_', '-'].contains(&c) { c } else { '-' };
    let name = system.chars().map(plain).collect::<String>();
    name.trim_matches(['-', '.']).to_owned()
}

/// `512M`, `8G`, `1000000`.
fn parse_bytes(written: &str) -> Result<u64, String> {
    let digits = written.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match written[digits.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("expected a number of bytes such as 512M or 8G".to_owned()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "expected a number of bytes such as 512M or 8G".to_owned())?;
    number.checked_mul(1 << unit).filter(|&bytes| bytes > 0).ok_or_else(|| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("1000000").unwrap(), 1_000_000);
        assert_eq!(parse_bytes("512M").unwrap(), 512 << 20);
        assert_eq!(parse_bytes("8GiB").unwrap(), 8 << 30);
        assert!(parse_bytes("0").is_err() && parse_bytes("G").is_err() && parse_bytes("-1").is_err());
        assert!(parse_bytes("99999999999T").is_err() && parse_bytes("5X").is_err());
    }

    #[test]
    fn a_system_s_name_makes_one_field_of_a_run() {
        assert_eq!(file_name("rrf(k=60)"), "rrf-k-60");
        assert_eq!(file_name("./models/my model"), "models-my-model");
    }
}
