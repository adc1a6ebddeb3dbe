//! What a history holds, without reading every record every time. The index is a cache: it lies with the other caches,
//! is made anew from the records, and an entry counts only while its file's size and time of change are the same.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::record::{Kind, Record, short};
use crate::cache;
use crate::exit::Usage;

/// One file of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub file: String,
    bytes: u64,
    changed_nanoseconds: u64,
    /// What is in it, or why that cannot be said.
    pub summary: Result<Summary, String>,
}

/// What a list says of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The record's digest.
    pub digest: String,
    /// Its place in the history.
    pub order: String,
    /// What the clock said.
    pub recorded_at: String,
    /// What was done.
    pub kind: Kind,
    /// On what.
    pub dataset: String,
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// Each system with its first measure, the statistics' first, or each timing: name, what, value.
    pub headlines: Vec<(String, String, Option<f64>)>,
}

impl Entry {
    /// The digits people call the record by; of a damaged file its name.
    pub fn id(&self) -> &str {
        self.summary.as_ref().map_or(&self.file, |summary| short(&summary.digest))
    }

    /// Whether the record's digest starts so.
    pub fn starts_with(&self, digits: &str) -> bool {
        self.summary.as_ref().is_ok_and(|summary| summary.digest.starts_with(&digits.to_ascii_lowercase()))
    }

    /// Its place: the record's own word, of a damaged file the name's.
    fn order(&self) -> &str {
        self.summary.as_ref().map_or(&self.file, |summary| &summary.order)
    }
}

/// The files of `folder`, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn entries(folder: &Path) -> anyhow::Result<Vec<Entry>> {
    let files = files(folder).map_err(|error| {
        let folder = folder.display();
        Usage::error(match error.kind() {
            ErrorKind::NotFound => format!("{folder}: no such folder: nothing was recorded there"),
            _ => format!("{folder}: cannot be read: {error}"),
        })
    })?;
    let kept = kept(folder);
    let known = |file: &File| {
        kept.get(&file.name).filter(|entry| {
            entry.bytes == file.bytes && entry.changed_nanoseconds == file.changed_nanoseconds
        })
    };
    let (old, new): (Vec<_>, Vec<_>) = files.iter().partition(|file| known(file).is_some());
    let mut entries = old.iter().filter_map(|file| known(file).cloned()).collect::<Vec<_>>();
    entries.par_extend(new.par_iter().map(|file| read(folder, file)));
    entries.sort_by(|a, b| (a.order(), &a.file).cmp(&(b.order(), &b.file)));
    if !new.is_empty() || kept.len() != entries.len() {
        keep(folder, &entries);
    }
    Ok(entries)
}

struct File {
    name: String,
    bytes: u64,
    changed_nanoseconds: u64,
}

fn files(folder: &Path) -> std::io::Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.ends_with(".json") || name.starts_with('.') {
            continue;
        }
        let metadata = match entry.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            // A link, or a file that was taken away just now.
            _ => match std::fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => metadata,
                _ => continue,
            },
        };
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        files.push(File { name, bytes: metadata.len(), changed_nanoseconds: changed.as_nanos() as u64 });
    }
    Ok(files)
}

fn read(folder: &Path, file: &File) -> Entry {
    let summary = Record::read(&folder.join(&file.name));
    let summary = summary.map(|(record, digest)| summary_of(&record, digest)).map_err(|e| format!("{e:#}"));
    let File { name, bytes, changed_nanoseconds } = file;
    Entry { file: name.clone(), bytes: *bytes, changed_nanoseconds: *changed_nanoseconds, summary }
}

fn summary_of(record: &Record, digest: String) -> Summary {
    let mut headlines = Vec::new();
    for system in &record.systems {
        let first = system.measures.first();
        let measure = first.map(|measure| measure.name.clone()).unwrap_or_default();
        headlines.push((system.name.clone(), measure, first.and_then(|measure| measure.value)));
    }
    if let Some(first) = record.agreement.as_ref().and_then(|agreement| agreement.measures.first()) {
        headlines.push(("labels".to_owned(), first.name.clone(), first.value));
    }
    for timing in &record.timings {
        headlines.push((timing.name.clone(), timing.unit.to_string(), super::speed::median(&timing.values)));
    }
    Summary {
        digest,
        order: record.order.clone(),
        recorded_at: record.recorded_at.clone(),
        kind: record.kind,
        dataset: record.dataset.clone(),
        commit: record.commit.clone(),
        headlines,
    }
}

fn index_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let whole = std::fs::canonicalize(folder)?;
    let name = blake3::hash(whole.as_os_str().as_encoded_bytes()).to_hex();
    Ok(cache::root()?.join("history").join(format!("{}.index", short(&name))))
}

/// What was kept; nothing where there is no index or it is not one of ours.
fn kept(folder: &Path) -> FxHashMap<String, Entry> {
    let read = || {
        let text = std::fs::read(index_file(folder).ok()?).ok()?;
        serde_json::from_slice::<Vec<Entry>>(&text).ok()
    };
    read().unwrap_or_default().into_iter().map(|entry| (entry.file.clone(), entry)).collect()
}

/// An index that cannot be kept costs time, nothing else.
fn keep(folder: &Path, entries: &[Entry]) {
    let written = index_file(folder)
        .and_then(|path| cache::write_whole(&path, &serde_json::to_vec(entries)?).context("the index"));
    drop(written);
}
