//! `graded recipe`: what a recipe means, or what is wrong with it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;

use super::{Finished, judged, simulate, synthesize};
use crate::arguments::DEFAULT_SEED;
use crate::exit::Usage;
use crate::recipe::{RecipeFile, SAMPLE, TrainingFile, read_text};
use crate::report::{Cell, Report, Table};

/// Subcommands of `graded recipe`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the completed recipe as TOML, defaults included
    Show {
        /// The recipe file [default: the embedded sample's]
        recipe: Option<PathBuf>,
    },
    /// Say whether recipes can be run, and the digest each run will carry
    Check {
        /// The recipe files
        #[arg(required = true)]
        recipes: Vec<PathBuf>,
    },
}

/// Runs `graded recipe`.
pub fn run(command: &Command) -> anyhow::Result<Finished> {
    match command {
        Command::Show { recipe } => show(recipe.as_ref()),
        Command::Check { recipes } => check(recipes),
    }
}

fn show(path: Option<&PathBuf>) -> anyhow::Result<Finished> {
    let shown = match path {
        Some(path) => completed(path)?,
        None => evaluation(RecipeFile::parse(SAMPLE)?)?,
    };
    let table = Table { notes: vec![shown.toml.trim_end().to_owned()], ..Table::default() };
    let mut json = shown.json;
    json["digest"] = shown.digest.into();
    Ok(Report { tables: vec![table], json, lines: Vec::new() }.into())
}

fn check(paths: &[PathBuf]) -> anyhow::Result<Finished> {
    let mut table = Table::new(["recipe", "digest"]);
    let mut refused = Vec::new();
    for path in paths {
        match completed(path) {
            Ok(Completed { digest, .. }) => {
                table.push(vec![Cell::text(path.display().to_string()), Cell::text(digest)]);
            }
            Err(error) => refused.push(error),
        }
    }
    match refused.len() {
        0 => Ok(Report::of_rows(table).into()),
        1 => Err(refused.remove(0)),
        several => {
            let said: String = refused.iter().map(|error| format!("\n  {error:#}")).collect();
            Err(Usage::error(format!("{several} of {} recipes cannot be run:{said}", paths.len())))
        }
    }
}

/// A recipe with every default written out.
pub(super) struct Completed {
    toml: String,
    json: serde_json::Value,
    digest: String,
}

impl Completed {
    /// The completed recipe `file`; its digest is that of `decisive`, the same without what decides nothing.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub(super) fn of<T: Serialize>(file: &T, decisive: &T) -> anyhow::Result<Self> {
        let digest = blake3::hash(toml::to_string(decisive)?.as_bytes()).to_hex().to_string();
        Ok(Self { toml: toml::to_string(file)?, json: serde_json::to_value(file)?, digest })
    }
}

/// The recipe at `path`, of whichever command its tables belong to; without any that tells, of `evaluate`.
fn completed(path: &Path) -> anyhow::Result<Completed> {
    let tables = read_text(path)?.parse::<toml::Table>().unwrap_or_default();
    let has = |names: &[&str]| names.iter().any(|name| tables.contains_key(*name));
    if has(&["loss", "training"]) {
        // Where it says no seed, the command line's default.
        let file = TrainingFile::read(path)?;
        let completed = match file.trains_a_labeler() {
            true => file.complete_labeler(DEFAULT_SEED).map(|recipe| recipe.file),
            false => file.complete(DEFAULT_SEED).map(|recipe| recipe.file),
        };
        let file = completed.with_context(|| path.display().to_string())?;
        let json = serde_json::to_value(&file)?;
        return Ok(Completed { toml: file.to_toml()?, json, digest: file.digest()? });
    }
    if has(&["catalogue", "population", "retriever", "wording", "clicks", "reformulation", "feed"]) {
        return simulate::completed(path);
    }
    if has(&["judge"]) && tables.keys().all(|name| ["claim", "judge"].contains(&name.as_str())) {
        return judged::completed(path);
    }
    if has(&["written", "mined", "lists", "ranking", "mined_judge"]) {
        return synthesize::sycl_recipe(path);
    }
    if has(&["stage_1", "stage_2", "rounds", "pairwise"]) {
        return synthesize::ssra_recipe(path);
    }
    if has(&["seed_queries", "hard_negatives", "teacher", "prices"]) {
        return synthesize::labeler_recipe(path);
    }
    if has(&["log", "documents", "judge", "windows", "discriminator", "labels", "negatives"]) {
        return synthesize::crops_recipe(path);
    }
    evaluation(RecipeFile::read(path)?).with_context(|| path.display().to_string())
}

fn evaluation(file: RecipeFile) -> anyhow::Result<Completed> {
    let recipe = file.complete()?;
    let json = serde_json::to_value(recipe.written_out())?;
    Ok(Completed { toml: recipe.to_toml()?, json, digest: recipe.digest()? })
}
