//! Recorded pairs: one JSON object a line, `{query_id, query, doc_id, text, human, teacher: {name: grade, ...}}`: the
//! human grade and what several teachers said, for every pair. A file is a split; a folder of them has one each.

use std::path::{Path, PathBuf};

use relevance::Judgments;
use rustc_hash::FxHashSet;

use crate::collection::{Document, Query};
use crate::error::{Error, Result};
use crate::open::{OpenOptions, Parts};
use crate::pairs::{PairOptions, read, read_ratings};
use crate::quati::documents;
use crate::ratings::Ratings;
use crate::source::{Budget, Lines};

const EXPECTED: &str = "recorded pairs (*.jsonl with query_id, query, doc_id, text, human)";

/// `(split, path)` of the recorded pairs at `path`: itself, or the files of a folder.
fn files(path: &Path) -> Vec<(String, PathBuf)> {
    let paths = match path.is_dir() {
        true => std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect(),
        false => vec![path.to_owned()],
    };
    let split = |path: PathBuf| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let split = [".jsonl", ".jsonl.gz", ".jsonl.zst"].iter().find_map(|end| name.strip_suffix(end))?;
        first_line_is_a_pair(&path).then(|| (split.to_owned(), path))
    };
    let mut found: Vec<_> = paths.into_iter().filter_map(split).collect();
    found.sort();
    found
}

fn first_line_is_a_pair(path: &Path) -> bool {
    let Ok(mut lines) = Lines::open(path, 1 << 20) else { return false };
    let Ok(Some((_, line))) = lines.next_line() else { return false };
    let object = serde_json::from_str::<serde_json::Map<_, _>>(line).unwrap_or_default();
    ["query_id", "query", "doc_id", "text", "human"].iter().all(|key| object.contains_key(*key))
}

pub(crate) fn is_recorded(path: &Path) -> bool {
    !files(path).is_empty()
}

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Parts> {
    let files = files(path);
    let splits: Vec<_> = files.iter().map(|(split, _)| split.clone()).collect();
    let chosen = match &options.split {
        Some(wanted) => files.iter().find(|(split, _)| split == wanted),
        None => files.first(),
    };
    let Some((split, file)) = chosen else {
        return Err(match &options.split {
            Some(split) if !splits.is_empty() => {
                Error::UnknownSplit { path: path.to_owned(), split: split.clone(), available: splits }
            }
            _ => Error::Unrecognised {
                path: path.to_owned(),
                expected: EXPECTED.to_owned(),
                found: "no such file".to_owned(),
            },
        });
    };
    let mut parts = open_file(file, options)?;
    if splits.len() > 1 && options.split.is_none() {
        parts.notes.push(format!("split \"{split}\" taken, the first of {}", splits.join(", ")));
    }
    Ok(Parts { split: Some(split.clone()), splits, ..parts })
}

fn open_file(path: &Path, options: &OpenOptions) -> Result<Parts> {
    let named = PairOptions {
        query: Some("query_id".into()),
        query_text: Some("query".into()),
        document: Some("doc_id".into()),
        document_text: Some("text".into()),
        human: Some("human".into()),
        memory_bytes: options.memory_bytes,
        ..PairOptions::default()
    };
    let budget = Budget::new(options.memory_bytes);
    budget.expect(path)?;
    let file = read(path, &named)?;
    let mut judgments = Judgments::new();
    for (pair, &line) in file.pairs.iter().zip(&file.lines) {
        let Some(grade) = pair.human else { continue };
        let conflict = judgments.insert(&pair.query, &pair.document, grade).filter(|first| *first != grade);
        if let (Some(first_grade), true) = (conflict, options.refuse_conflicts) {
            let first = file.pairs.iter().position(|p| p.query == pair.query && p.document == pair.document);
            return Err(Error::ConflictingGrades {
                path: path.to_owned(),
                line,
                first_line: first.map_or(0, |at| file.lines[at]),
                query: pair.query.as_str().into(),
                document: pair.document.as_str().into(),
                grade,
                first_grade,
            });
        }
    }
    let documents: Vec<Document> = documents(&file.pairs);
    let mut seen = FxHashSet::default();
    let new = file.pairs.iter().filter(|pair| seen.insert(pair.query.as_str()));
    let query = |pair: &relevance::LabeledPair| Query {
        id: pair.query.clone(),
        text: pair.query_text.clone().unwrap_or_default(),
    };
    let queries = new.map(query).collect();
    Ok(Parts { documents, queries, judgments, ratings: ratings(path, &named)?, ..Parts::default() })
}

/// The human's and the teachers' grades, the human first; `None` when there are no teachers.
fn ratings(path: &Path, named: &PairOptions) -> Result<Option<Ratings>> {
    let mut lines = Lines::open(path, 1 << 30)?;
    let first = lines.next_line()?.map(|(_, line)| serde_json::from_str::<serde_json::Value>(line));
    let Some(Ok(first)) = first else { return Ok(None) };
    let Some(teachers) = first.get("teacher").and_then(serde_json::Value::as_object) else { return Ok(None) };
    let raters: Vec<_> = std::iter::once("human".to_owned())
        .chain(teachers.keys().map(|name| format!("teacher.{name}")))
        .collect();
    read_ratings(path, &raters, named).map(Some)
}
