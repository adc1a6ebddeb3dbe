//! `graded model`: encoders as files: what there is, what is in one, fetching, packing, distilling, quantising.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use scorer::Bundle;
use scorer::distill::{self, DistillOptions, Storage};

use super::Finished;
use super::calibrate::{self, Calibrate};
use crate::arguments::Options;
use crate::exit::Usage;
use crate::report::{Cell, Report, Table};
use crate::{cache, models};

/// Subcommands of `graded model`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The encoders at hand and those that can be pulled
    List,
    /// What a bundle holds: kind, sizes, prompts, tensors, digest
    Inspect {
        /// `embedded`, a pulled model's name, or a bundle's file or folder
        bundle: String,
    },
    /// Fetch a model into the cache, resumed and checked against pinned digests
    Pull {
        /// Its name, as `graded model list` prints it
        name: String,
        /// Take the files from this folder instead of the network
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Write a bundle as one file
    Export {
        /// `embedded`, a pulled model's name, or a bundle's folder
        bundle: String,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Distil a teacher into a static table: one vector a token, a few megabytes, a thousand times faster
    Distill(Distill),
    /// Fit the head that makes an encoder a labeler, on pairs with human grades
    Calibrate(Calibrate),
    /// Bring a transformer into 8 bits: a quarter of the bytes, the same vectors on every machine and in the browser
    Quantize(super::quantize::Quantize),
}

/// Flags of `graded model distill`.
#[derive(Debug, Args)]
pub struct Distill {
    /// The teacher: a pulled model's name, or a bundle's file or folder
    teacher: String,
    /// The bundle file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How many dimensions the vectors keep
    #[arg(long, value_name = "N", default_value_t = 256)]
    dimensions: usize,
    /// How many tokens are kept, the most frequent first [default: all]
    #[arg(long, value_name = "N")]
    vocabulary: Option<usize>,
    /// Keep only tokens of ASCII characters
    #[arg(long)]
    ascii_only: bool,
    /// Keep 32-bit floats instead of int8
    #[arg(long)]
    float32: bool,
    /// A file of texts, one a line, whose teacher embeddings the token vectors are fitted to
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// How strongly the fit is held to the start
    #[arg(long, value_name = "X", default_value_t = 1.0, requires = "texts")]
    ridge: f64,
    /// A model card to put into the bundle
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// The licence text to put into the bundle
    #[arg(long, value_name = "FILE")]
    license: Option<PathBuf>,
}

/// Runs `graded model`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    match command {
        Command::List => list(),
        Command::Inspect { bundle } => inspect(bundle),
        Command::Pull { name, from } => {
            let folder = models::pull(name, from.as_deref(), options)?;
            let mut table = Table::new(["model", "folder"]);
            table.push(vec![Cell::text(name), Cell::text(folder.display().to_string())]);
            table.notes = vec![format!("home: {}", models::manifest(name)?.home)];
            Ok(Report::of_rows(table).into())
        }
        Command::Export { bundle, out } => export(bundle, out),
        Command::Distill(command) => distill(command, options),
        Command::Calibrate(command) => calibrate::run(command, options),
        Command::Quantize(command) => super::quantize::run(command, options),
    }
}

fn list() -> anyhow::Result<Finished> {
    let mut table = Table::new(["model", "state", "bytes", "licence", "description"]);
    table.push(vec![
        Cell::text(models::EMBEDDED),
        Cell::text("embedded"),
        Cell::count(scorer::EMBEDDED.len()),
        Cell::text("Apache-2.0"),
        Cell::text("Static token table distilled from all-MiniLM-L6-v2"),
    ]);
    let pulled = super::doctor::folders(&cache::models()?);
    let manifests = models::manifests()?;
    for manifest in &manifests {
        let state = if pulled.contains(&manifest.name) { "pulled" } else { "can be pulled" };
        table.push(vec![
            Cell::text(&manifest.name),
            Cell::text(state),
            Cell::Count(manifest.bytes()),
            Cell::text(&manifest.licence),
            Cell::text(&manifest.description),
        ]);
    }
    Ok(Report::of_rows(table).into())
}

fn distill(command: &Distill, options: &Options) -> anyhow::Result<Finished> {
    let teacher = models::bundle(&command.teacher)?;
    let texts = command.texts.as_deref().map(read_text).transpose()?.unwrap_or_default();
    let texts = texts.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>();
    let wanted = DistillOptions {
        dimensions: command.dimensions,
        vocabulary: command.vocabulary.unwrap_or(usize::MAX),
        ascii_only: command.ascii_only,
        storage: if command.float32 { Storage::Float32 } else { Storage::Int8 },
        ridge: command.ridge,
    };
    let card = match &command.card {
        Some(path) => read_text(path)?,
        None => format!("A static table distilled from {} ({}).\n", command.teacher, teacher.digest()),
    };
    let license = command.license.as_deref().map(read_text).transpose()?.unwrap_or_default();
    crate::progress::say(
        options,
        format!("distilling {}: its vocabulary and {} texts", command.teacher, texts.len()),
    );
    let bundle = distill::distill(&teacher, &texts, &wanted, &card, &license)?;
    write_bundle(&command.teacher, &bundle, &command.out)
}

pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| Usage::error(format!("{}: {error}", path.display())))
}

fn export(name: &str, out: &Path) -> anyhow::Result<Finished> {
    write_bundle(name, &models::bundle(name)?, out)
}

fn write_bundle(name: &str, bundle: &Bundle, out: &Path) -> anyhow::Result<Finished> {
    models::require_replaceable(out)?;
    let bytes = bundle.to_bytes();
    cache::write_whole(out, &bytes)?;
    Ok(Report::of_rows(bundle_table(name, bundle, bytes.len(), out)).into())
}

/// What was written where.
pub(super) fn bundle_table(name: &str, bundle: &Bundle, bytes: usize, out: &Path) -> Table {
    let mut table = Table::new(["bundle", "file", "bytes", "digest"]);
    let file = out.display().to_string();
    table.push(vec![Cell::text(name), Cell::text(file), Cell::count(bytes), Cell::text(bundle.digest())]);
    table
}

fn inspect(name: &str) -> anyhow::Result<Finished> {
    let bundle = models::bundle(name)?;
    let found = bundle.describe()?;
    let mut table = Table::new(["what", "value"]);
    let mut line = |what: &str, value: String| table.push(vec![Cell::text(what), Cell::text(value)]);
    line("kind", found.model_type.clone());
    for (what, value) in
        [("dimensions", found.dimensions), ("vocabulary", found.vocabulary), ("layers", found.layers)]
    {
        if let Some(value) = value {
            line(what, value.to_string());
        }
    }
    for (file, bytes) in &found.files {
        line(&format!("file {file}"), format!("{bytes} bytes"));
    }
    line("bytes", found.bytes.to_string());
    line("digest", found.digest.clone());
    if let Some(card) = bundle.get(scorer::bundle::CARD) {
        table.notes = vec![String::new(), String::from_utf8_lossy(card).trim_end().to_owned()];
    }
    Ok(Report { tables: vec![table.titled(name)], json: serde_json::to_value(&found)?, lines: Vec::new() }
        .into())
}
