//! A history: a folder of records, a file each, named by time, kind and digest. Files are only ever added, each whole or
//! not at all, so that two processes cannot collide and two branches of a repository merge.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use datasets::store::unfinished_suffix;

use super::clock;
use super::index::{self, Entry};
use super::record::{Kind, Record, short};
use crate::arguments::Options;
use crate::exit::Usage;
use crate::{interrupt, progress};

/// Where a project that keeps its history beside its code has it; the folder must be there already.
const OF_PROJECT: &str = ".graded/runs";

/// A clock this far behind the newest record is worth a word.
const WORTH_A_WORD_MICROSECONDS: i64 = 1_000_000;

/// Flags of every command that leaves a record.
#[derive(Clone, Debug, Default, Args)]
pub struct RecordFlags {
    /// The history that the record of this run is added to [default: $GRADED_RUNS; the nearest .graded/runs at or above
    /// this folder; else graded/runs where this user's state is kept]
    #[arg(long, value_name = "DIR", conflicts_with = "no_record")]
    record: Option<PathBuf>,
    /// Leave no record (GRADED_RUNS=off says the same for good)
    #[arg(long)]
    no_record: bool,
}

/// A folder of records.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
    /// Whether the user named it: then failing to write is an error, otherwise a remark.
    named: bool,
}

impl RecordFlags {
    /// The history to write to, or `None` where no record is wanted or there is no place for one.
    ///
    /// # Errors
    /// When a folder that the user named cannot be made.
    pub fn history(&self) -> anyhow::Result<Option<History>> {
        if self.no_record {
            return Ok(None);
        }
        let Some(history) = History::find(self.record.as_deref()) else { return Ok(None) };
        if history.named {
            let shown = history.folder.display();
            std::fs::create_dir_all(&history.folder)
                .map_err(|error| Usage::error(format!("{shown}: no folder for records: {error}")))?;
        }
        Ok(Some(history))
    }
}

impl History {
    /// The history in `named`, or the one that records go to where nothing is named. `None` where records are switched
    /// off, or there is no home to keep them in.
    pub fn find(named: Option<&Path>) -> Option<Self> {
        if let Some(folder) = named {
            return Some(Self { folder: folder.to_path_buf(), named: true });
        }
        let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match folder("GRADED_RUNS") {
            Some(off) if off.as_os_str() == "off" => return None,
            Some(folder) => return Some(Self { folder, named: true }),
            None => {}
        }
        let here = std::env::current_dir().unwrap_or_default();
        let of_project = here.ancestors().map(|above| above.join(OF_PROJECT)).find(|folder| folder.is_dir());
        let state = || {
            folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local").join("state")))
        };
        let folder = of_project.or_else(|| state().map(|state| state.join("graded").join("runs")))?;
        Some(Self { folder, named: false })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a record and says where it is. A history that nobody named and that cannot be written to is only remarked
    /// upon.
    ///
    /// # Errors
    /// When the user named the folder and it cannot be written to.
    pub fn add(&self, record: Record, options: &Options) -> anyhow::Result<()> {
        let added = self.write(record);
        match added {
            Err(error) if self.named => Err(error.context("the result stands, its record does not")),
            Err(error) => {
                progress::say(options, format!("not recorded: {error:#}"));
                Ok(())
            }
            Ok(Added { path, digest, behind_seconds }) => {
                if let Some(seconds) = behind_seconds {
                    let newest = format!("the newest record is {seconds} s ahead of this machine's clock");
                    progress::say(options, format!("{newest}; this one is placed after it all the same"));
                }
                progress::say(options, format!("recorded as {} in {}", short(&digest), path.display()));
                Ok(())
            }
        }
    }

    fn write(&self, mut record: Record) -> anyhow::Result<Added> {
        let shown = || format!("{}: cannot be written to", self.folder.display());
        std::fs::create_dir_all(&self.folder).with_context(shown)?;
        let newest = self.newest_time().with_context(shown)?;
        let now = clock::now();
        let mut order = newest.map_or(now, |newest| now.max(newest + 1));
        let ahead = order - now;
        record.recorded_at = clock::date_time(now);
        loop {
            record.order = clock::stamp(order);
            let (text, digest) = record.sealed()?;
            let name = format!("{}-{}-{}.json", record.order, record.kind, short(&digest));
            let path = self.folder.join(name);
            // The temporary name does not end in .json: nobody reads half a record.
            let shown = || format!("{}: {} bytes cannot be written", path.display(), text.len());
            let mut file = new_file(&self.folder).with_context(shown)?;
            file.write_all(&text).with_context(shown)?;
            match file.persist_noclobber(&path) {
                Ok(_) => {
                    let behind = (ahead > WORTH_A_WORD_MICROSECONDS).then_some(ahead / 1_000_000);
                    return Ok(Added { path, digest, behind_seconds: behind });
                }
                // Another process recorded the same at the same microsecond.
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => order += 1,
                Err(error) => return Err(error.error).with_context(shown),
            }
        }
    }

    /// The time of the newest record, by the files' names.
    fn newest_time(&self) -> std::io::Result<Option<i64>> {
        let mut newest = None;
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let time = name.to_str().filter(|name| name.ends_with(".json")).and_then(clock::parse);
            newest = newest.max(time);
        }
        Ok(newest)
    }

    /// What the history holds, oldest first; damaged files are among it.
    ///
    /// # Errors
    /// When the folder cannot be read; one that is not there is empty.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        match self.folder.try_exists() {
            Ok(false) if !self.named => Ok(Vec::new()),
            _ => index::entries(&self.folder),
        }
    }

    /// The record that `wanted` means: a file, the first digits of a digest, `latest`, or `latest~N` for the N-th
    /// before it.
    ///
    /// # Errors
    /// When there is none, several, or it is damaged.
    pub fn record(&self, wanted: &str) -> anyhow::Result<(Record, String)> {
        let path = Path::new(wanted);
        if path.is_file() {
            return Record::read(path);
        }
        let entries = self.entries()?;
        let before = match wanted.strip_prefix("latest") {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix('~').and_then(|number| number.parse::<usize>().ok()),
            None => None,
        };
        let found = match before {
            Some(before) => entries.iter().rev().nth(before).into_iter().collect::<Vec<_>>(),
            None => {
                let is_digits = wanted.len() >= 4 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
                entries.iter().filter(|entry| is_digits && entry.starts_with(wanted)).collect()
            }
        };
        let folder = self.folder.display();
        match found.as_slice() {
            [entry] => self.read(entry),
            [] => Err(Usage::error(format!(
                "{wanted}: neither a file nor a record of {folder}, which holds {}; expected a path, four or more \
                 digits of an id, latest, or latest~N",
                entries.len()
            ))),
            several => {
                let ids = several.iter().map(|entry| entry.id()).collect::<Vec<_>>().join(", ");
                Err(Usage::error(format!("{wanted}: several records of {folder} start so: {ids}")))
            }
        }
    }

    /// Reads a record of this history, its digest checked.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read(&self, entry: &Entry) -> anyhow::Result<(Record, String)> {
        Record::read(&self.folder.join(&entry.file))
    }

    /// The newest record of a kind, of `dataset` where there is one. A damaged file newer than it is an error: it might
    /// be the one that is meant.
    ///
    /// # Errors
    /// When there is none.
    pub fn newest(&self, kind: Option<Kind>, dataset: Option<&str>) -> anyhow::Result<(Record, String)> {
        let entries = self.entries()?;
        let of_kind = |entry: &&Entry| match &entry.summary {
            Ok(summary) => kind.is_none_or(|kind| summary.kind == kind),
            Err(_) => true,
        };
        let of_dataset = |entry: &&Entry| match &entry.summary {
            Ok(summary) => dataset.is_none_or(|dataset| summary.dataset == dataset),
            Err(_) => true,
        };
        let newest = entries.iter().rev().filter(of_kind).find(of_dataset);
        // Of another dataset rather than none: the comparison then says what differs.
        match newest.or_else(|| entries.iter().rev().find(of_kind)) {
            Some(entry) => self.read(entry),
            None => {
                let what =
                    kind.map_or_else(|| "record".to_owned(), |kind| format!("record of the kind {kind}"));
                let folder = self.folder.display();
                Err(Usage::error(format!("{folder}: holds no {what}; `graded evaluate` adds one")))
            }
        }
    }
}

/// A file beside the records that is not one of them yet; once it is, who may read it is as for any other new file.
fn new_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    // Named so that a signal removes it.
    interrupt::writing_in(folder);
    let suffix = unfinished_suffix();
    let mut builder = tempfile::Builder::new();
    builder.prefix(".record-").suffix(&suffix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

struct Added {
    path: PathBuf,
    digest: String,
    behind_seconds: Option<i64>,
}
