//! BEIR's layout: `corpus.jsonl` (`_id`, `title`, `text`, `metadata`), `queries.jsonl` (`_id`, `text`) and one
//! `qrels/<split>.tsv` a split. Each file may also end in `.gz` or `.zst`.

use std::path::{Path, PathBuf};

use crate::collection::{Document, Query};
use crate::error::{Error, Result};
use crate::open::{OpenOptions, Parts};
use crate::records::{Record, document, no_lines, query};
use crate::source::{Budget, Lines};
use crate::trec::{JudgmentFile, read_judgments};

/// The file called `name` in `directory`, plain or packed.
pub(crate) fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    ["", ".gz", ".zst"].iter().map(|end| directory.join(format!("{name}{end}"))).find(|path| path.is_file())
}

pub(crate) fn is_beir(directory: &Path) -> bool {
    find(directory, "corpus.jsonl").is_some() && find(directory, "queries.jsonl").is_some()
}

pub(crate) fn open(directory: &Path, options: &OpenOptions) -> Result<Parts> {
    let need = |name: &str| {
        find(directory, name)
            .ok_or_else(|| Error::io(&directory.join(name), std::io::ErrorKind::NotFound.into()))
    };
    let mut budget = Budget::new(options.memory_bytes);
    let (splits, split, path) = choose_split(directory, options.split.as_deref())?;
    let JudgmentFile { judgments, repeated, .. } = read_judgments(&path, &options.judgments())?;
    let documents = read_corpus(&need("corpus.jsonl")?, options, &mut budget)?;
    let queries = read_queries(&need("queries.jsonl")?, options, &mut budget)?;
    let mut notes = Vec::new();
    if repeated > 0 {
        notes.push(format!("{repeated} lines of {} repeat a judgment", path.display()));
    }
    Ok(Parts { documents, queries, judgments, split: Some(split), splits, notes, ..Parts::default() })
}

/// The splits of a directory, the chosen one, and its file: the one asked for, or the first there is of `test`,
/// `dev`, `validation`, `train`, or the only one.
fn choose_split(directory: &Path, wanted: Option<&str>) -> Result<(Vec<String>, String, PathBuf)> {
    let folder = directory.join("qrels");
    let splits = list_splits(&folder)?;
    let usual =
        || ["test", "dev", "validation", "train"].into_iter().find(|name| splits.iter().any(|s| s == name));
    let chosen = wanted.or_else(usual).or_else(|| splits.first().map(String::as_str)).unwrap_or("test");
    let path = find(&folder, &format!("{chosen}.tsv"));
    let chosen = chosen.to_owned();
    match path {
        Some(path) => Ok((splits, chosen, path)),
        None => Err(Error::UnknownSplit { path: folder, split: chosen, available: splits }),
    }
}

pub(crate) fn list_splits(folder: &Path) -> Result<Vec<String>> {
    let mut splits = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))? {
        let name = entry.map_err(|error| Error::io(folder, error))?.file_name();
        let name = name.to_string_lossy();
        let split = [".tsv", ".tsv.gz", ".tsv.zst"].iter().find_map(|end| name.strip_suffix(end));
        splits.extend(split.map(str::to_owned));
    }
    splits.sort();
    splits.dedup();
    Ok(splits)
}

fn read_corpus(path: &Path, options: &OpenOptions, budget: &mut Budget) -> Result<Vec<Document>> {
    budget.expect(path)?;
    read_records(path, options, budget, document)
}

fn read_queries(path: &Path, options: &OpenOptions, budget: &mut Budget) -> Result<Vec<Query>> {
    read_records(path, options, budget, query)
}

/// Every line of a file as a record; each counts with the length of its line and its own size.
fn read_records<T>(
    path: &Path,
    options: &OpenOptions,
    budget: &mut Budget,
    record: Record<T>,
) -> Result<Vec<T>> {
    let mut lines = Lines::open(path, options.document_bytes)?;
    let mut all = Vec::new();
    while let Some((number, line)) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        budget.charge(path, (line.len() + std::mem::size_of::<T>()) as u64)?;
        all.push(record(line).map_err(|wrong| wrong.at(path, number))?);
    }
    match all.is_empty() {
        true => Err(no_lines(path)),
        false => Ok(all),
    }
}
