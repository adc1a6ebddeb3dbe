//! BEIR's layout: `corpus.jsonl` (`_id`, `title`, `text`, `metadata`), `queries.jsonl` (`_id`, `text`) and one
//! `qrels/<split>.tsv` a split. Each file may also end in `.gz` or `.zst`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::collection::{Document, Parts, Query};
use crate::error::{Error, Result, quoted};
use crate::open::OpenOptions;
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

fn list_splits(folder: &Path) -> Result<Vec<String>> {
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
    let mut documents = Vec::new();
    for_each_object(path, options.document_bytes, |line, mut object, bytes| {
        let document = document(&mut object).ok_or_else(|| wrong_object(path, line, &object))?;
        let metadata = if document.metadata.is_some() { bytes } else { 0 };
        budget.charge(path, document.bytes() + metadata)?;
        documents.push(document);
        Ok(())
    })?;
    Ok(documents)
}

fn read_queries(path: &Path, options: &OpenOptions, budget: &mut Budget) -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    for_each_object(path, options.document_bytes, |line, mut object, bytes| {
        let id = id(&mut object);
        let (Some(id), Some(text)) = (id, string(&mut object, "text")) else {
            return Err(wrong_object(path, line, &object));
        };
        budget.charge(path, bytes)?;
        queries.push(Query { id, text });
        Ok(())
    })?;
    Ok(queries)
}

fn document(object: &mut Map<String, Value>) -> Option<Document> {
    let id = id(object)?;
    let text = string(object, "text")?;
    let title = match object.remove("title") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(title)) => title,
        Some(_) => return None,
    };
    let metadata = match object.remove("metadata") {
        Some(Value::Object(map)) if !map.is_empty() => Some(Box::new(map)),
        _ => None,
    };
    Some(Document { id, title, text, metadata })
}

/// The `_id` of an object: a string, or a number written as one.
fn id(object: &mut Map<String, Value>) -> Option<String> {
    match object.remove("_id") {
        Some(Value::String(id)) if !id.is_empty() => Some(id),
        Some(Value::Number(id)) => Some(id.to_string()),
        _ => None,
    }
}

fn string(object: &mut Map<String, Value>, key: &str) -> Option<String> {
    match object.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

const EXPECTED: &str = "a JSON object with \"_id\" and \"text\"";

fn wrong_object(path: &Path, line: u64, rest: &Map<String, Value>) -> Error {
    let keys: Vec<_> = rest.keys().map(|key| quoted(key)).collect();
    let found = format!("one where they are missing or no text (besides them: {})", keys.join(", "));
    Error::malformed(path, line, EXPECTED, found)
}

/// Calls `each` with every line's number, object and length in bytes. Blank lines are skipped.
pub(crate) fn for_each_object(
    path: &Path,
    limit_bytes: u64,
    mut each: impl FnMut(u64, Map<String, Value>, u64) -> Result<()>,
) -> Result<()> {
    let mut lines = Lines::open(path, limit_bytes)?;
    let mut found_any = false;
    while let Some((number, line)) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        found_any = true;
        match serde_json::from_str(line) {
            Ok(Value::Object(object)) => each(number, object, line.len() as u64)?,
            Ok(other) => return Err(Error::malformed(path, number, EXPECTED, kind(&other))),
            Err(error) => {
                let found = format!("{} ({error})", quoted(line));
                return Err(Error::malformed(path, number, EXPECTED, found));
            }
        }
    }
    if !found_any {
        return Err(Error::malformed(path, 1, EXPECTED, "no lines at all"));
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
