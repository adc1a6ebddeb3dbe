//! `graded data`: collections: which there are, whether one is sound, conversion, fetching.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use datasets::check::{self, Severity};
use datasets::manifest::{self, Manifest};
use serde_json::json;

use super::{Finished, import_log};
use crate::arguments::Options;
use crate::exit::Verdict;
use crate::foreign_logs::Schema;
use crate::report::{Cell, Report, Table};
use crate::{cache, collections, interrupt};

/// Subcommands of `graded data`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The collections at hand and those that can be pulled
    List,
    /// Look for duplicates, empty texts, judgments that point nowhere, surprising grades; exit 1 on errors
    Check {
        /// A collection: a name, or a folder
        dataset: String,
        /// The split whose judgments are checked
        #[arg(long, value_name = "NAME")]
        split: Option<String>,
    },
    /// Write any readable collection as a BEIR folder
    Import {
        /// A collection: a name, or a folder
        dataset: String,
        /// The folder to write; must not exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The split whose judgments are written
        #[arg(long, value_name = "NAME")]
        split: Option<String>,
    },
    /// Write a public log of another schema as one that `synthesize crops` reads
    ImportLog {
        /// The schema it has
        schema: Schema,
        /// The file, or the folder it lies in
        path: PathBuf,
        /// The new folder to write: log.jsonl, and the documents where they are known
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Fetch a collection into the cache, resumed and checked against its manifest
    Pull {
        /// A name `graded data list` prints, or a manifest file
        dataset: String,
        /// Take the files from this folder instead of the network
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
}

/// Runs `graded data`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    match command {
        Command::List => list(),
        Command::Check { dataset, split } => check(dataset, split.as_deref(), options),
        Command::Import { dataset, out, split } => import(dataset, split.as_deref(), out, options),
        Command::ImportLog { schema, path, out } => import_log::run(*schema, path, out, options),
        Command::Pull { dataset, from } => pull(dataset, from.as_deref(), options),
    }
}

fn list() -> anyhow::Result<Finished> {
    let mut table =
        Table::new(["dataset", "state", "documents", "queries", "judgments", "licence", "description"]);
    let pulled = super::doctor::folders(&cache::data()?);
    let sample = datasets::sample()?;
    table.push(vec![
        Cell::text(collections::SAMPLE),
        Cell::text("embedded"),
        Cell::count(sample.documents.len()),
        Cell::count(sample.judgments.len()),
        Cell::count(sample.judgments.pairs()),
        Cell::text("CC0-1.0"),
        Cell::text("Short-video search in English, authored grades 0-3"),
    ]);
    for manifest in manifest::all() {
        let state = if pulled.contains(&manifest.name) { "pulled" } else { "can be pulled" };
        let counts = manifest.counts.unwrap_or_default();
        let count = |count: Option<usize>| count.map_or(Cell::Empty, Cell::count);
        table.push(vec![
            Cell::text(&manifest.name),
            Cell::text(state),
            count(counts.documents),
            count(counts.judged_queries),
            count(counts.judgments),
            Cell::text(&manifest.licence),
            Cell::text(&manifest.description),
        ]);
    }
    Ok(Report::of_rows(table).into())
}

fn check(name: &str, split: Option<&str>, options: &Options) -> anyhow::Result<Finished> {
    let collection = collections::open_to_check(name, split, options.memory)?;
    let findings = check::check(&collection);
    let mut table = Table::new(["severity", "finding", "count", "first"]);
    for finding in &findings {
        table.push(vec![
            Cell::text(finding.severity.to_string()),
            Cell::text(finding.kind.to_string()),
            Cell::count(finding.count),
            Cell::text(finding.examples.join(", ")),
        ]);
    }
    let (documents, queries) = (collection.documents.len(), collection.queries.len());
    let judged =
        format!("{} judged queries, {} judgments", collection.judgments.len(), collection.judgments.pairs());
    table.title = Some(format!("{}: {documents} documents, {queries} queries, {judged}", collection.name));
    table.notes.extend(collection.notes.iter().cloned());
    let is_sound = findings.iter().all(|finding| finding.severity != Severity::Error);
    if findings.is_empty() {
        table.notes.push("nothing to report".to_owned());
    }
    let json = json!({
        "dataset": collection.name,
        "documents": documents,
        "queries": queries,
        "judged_queries": collection.judgments.len(),
        "judgments": collection.judgments.pairs(),
        "sound": is_sound,
        "findings": serde_json::to_value(&findings)?,
        "notes": collection.notes,
    });
    let verdict = if is_sound { Verdict::Yes } else { Verdict::No };
    Ok(Finished { report: Report { tables: vec![table], json, lines: Vec::new() }, verdict, record: None })
}

fn import(name: &str, split: Option<&str>, out: &Path, options: &Options) -> anyhow::Result<Finished> {
    let collection = collections::open(name, split, options.memory)?;
    interrupt::writing_in(out.parent().unwrap_or(out));
    datasets::import::write_beir(&collection, out)?;
    let mut table = Table::new(["dataset", "folder", "documents", "queries", "judgments"]);
    table.push(vec![
        Cell::text(&collection.name),
        Cell::text(out.display().to_string()),
        Cell::count(collection.documents.len()),
        Cell::count(collection.queries.len()),
        Cell::count(collection.judgments.pairs()),
    ]);
    Ok(Report::of_rows(table).into())
}

fn pull(name: &str, from: Option<&Path>, options: &Options) -> anyhow::Result<Finished> {
    let manifest = find_manifest(name)?;
    let folder = collections::pull(&manifest, from, options)?;
    let mut table = Table::new(["dataset", "folder", "licence"]);
    let shown = folder.display().to_string();
    table.push(vec![Cell::text(&manifest.name), Cell::text(shown), Cell::text(&manifest.licence)]);
    table.notes.extend(manifest.remarks.iter().cloned());
    Ok(Report::of_rows(table).into())
}

fn find_manifest(name: &str) -> anyhow::Result<Manifest> {
    if let Some(manifest) = Manifest::named(name) {
        return Ok(manifest.clone());
    }
    let path = Path::new(name);
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| datasets::Error::io(path, error))?;
        return Ok(Manifest::parse(&text, path)?);
    }
    let known = manifest::all().iter().map(|manifest| manifest.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(crate::exit::Usage::error(format!(
        "{name}: neither a manifest file nor a known collection ({known})"
    )))
}
