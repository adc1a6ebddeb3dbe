//! `graded recipe`: what a recipe means, or what is wrong with it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;

use super::Finished;
use crate::arguments::DEFAULT_SEED;
use crate::recipe::{RecipeFile, SAMPLE, TrainingFile, TrainingRecipe, read_text};
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
    if let Some(recipe) = path.map(|path| training(path)).transpose()?.flatten() {
        let table = Table { notes: vec![recipe.to_toml()?.trim_end().to_owned()], ..Table::default() };
        let mut json = serde_json::to_value(&recipe.file)?;
        json["digest"] = recipe.digest()?.into();
        return Ok(Report { tables: vec![table], json, lines: Vec::new() }.into());
    }
    let file = path.map_or_else(|| RecipeFile::parse(SAMPLE), |path| RecipeFile::read(path))?;
    let recipe = file.complete()?;
    let table = Table { notes: vec![recipe.to_toml()?.trim_end().to_owned()], ..Table::default() };
    let mut json = serde_json::to_value(recipe.written_out())?;
    json["digest"] = recipe.digest()?.into();
    Ok(Report { tables: vec![table], json, lines: Vec::new() }.into())
}

fn check(paths: &[PathBuf]) -> anyhow::Result<Finished> {
    let mut table = Table::new(["recipe", "digest"]);
    for path in paths {
        let digest = match training(path)? {
            Some(recipe) => recipe.digest()?,
            None => {
                RecipeFile::read(path)?.complete().with_context(|| path.display().to_string())?.digest()?
            }
        };
        table.push(vec![Cell::text(path.display().to_string()), Cell::text(digest)]);
    }
    Ok(Report::of_rows(table).into())
}

/// The recipe at `path` when it is one of training; its seed, where it says none, is the command line's default.
fn training(path: &Path) -> anyhow::Result<Option<TrainingRecipe>> {
    if !TrainingFile::is_training(&read_text(path)?) {
        return Ok(None);
    }
    let recipe = TrainingFile::read(path)?.complete(DEFAULT_SEED);
    Ok(Some(recipe.with_context(|| path.display().to_string())?))
}
