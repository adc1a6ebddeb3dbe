//! BEIR's layout: `corpus.jsonl` (`_id`, `title`, `text`, `metadata`), `queries.jsonl` (`_id`, `text`) and one
//! `qrels/<split>.tsv` a split. Each file may also end in `.gz` or `.zst`.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use crate::collection::Document;
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
    let (splits, split, judged) = choose_split(directory, options.split.as_deref())?;
    let JudgmentFile { judgments, repeated, .. } = read_judgments(&judged, &options.judgments())?;
    let path = need("corpus.jsonl")?;
    budget.expect(&path)?;
    let documents = read_records(&path, options, &mut budget, document, |document| &document.id)?;
    let path_of_queries = need("queries.jsonl")?;
    let queries = read_records(&path_of_queries, options, &mut budget, query, |query| &query.id)?;
    let mut notes = Vec::new();
    if repeated > 0 {
        notes.push(format!("{repeated} lines of {} repeat a judgment", judged.display()));
    }
    Ok(Parts { documents, queries, judgments, split: Some(split), splits, notes, ..Parts::default() })
}

/// The documents of a file in the form of `corpus.jsonl`, where there is no collection around it.
///
/// # Errors
/// As [`crate::open()`] for such a file.
pub fn documents(path: &Path, options: &OpenOptions) -> Result<Vec<Document>> {
    let mut budget = Budget::new(options.memory_bytes);
    budget.expect(path)?;
    read_records(path, options, &mut budget, document, |document| &document.id)
}

/// The splits of a directory, the chosen one, and its file: the one asked for, or the first there is of `test`,
/// `dev`, `validation`, `train`, or the only one.
fn choose_split(directory: &Path, wanted: Option<&str>) -> Result<(Vec<String>, String, PathBuf)> {
    let folder = directory.join("qrels");
    let splits = list_splits(&folder)?;
    if splits.is_empty() {
        let (expected, found) = ("judgments as <split>.tsv (test.tsv)".to_owned(), "no such file".to_owned());
        return Err(Error::Unrecognised { path: folder, expected, found });
    }
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

/// Every line of a file as a record; each counts with the length of its line and its own size.
fn read_records<T>(
    path: &Path,
    options: &OpenOptions,
    budget: &mut Budget,
    record: Record<T>,
    id: fn(&T) -> &str,
) -> Result<Vec<T>> {
    let mut lines = Lines::open(path, options.document_bytes)?;
    let (mut all, mut numbers) = (Vec::new(), Vec::new());
    while let Some((number, line)) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        budget.charge(path, (line.len() + std::mem::size_of::<T>()) as u64)?;
        all.push(record(line).map_err(|wrong| wrong.at(path, number))?);
        numbers.push(number);
    }
    if !options.keep_duplicates {
        refuse_duplicates(all.iter().map(id).zip(numbers), path)?;
    }
    match all.is_empty() {
        true => Err(no_lines(path)),
        false => Ok(all),
    }
}

fn refuse_duplicates<'a>(ids: impl Iterator<Item = (&'a str, u64)>, path: &Path) -> Result<()> {
    let mut seen = FxHashMap::default();
    for (id, line) in ids {
        if let Some(first_line) = seen.insert(id, line) {
            return Err(Error::DuplicateId { path: path.to_owned(), line, first_line, id: id.to_owned() });
        }
    }
    Ok(())
}
