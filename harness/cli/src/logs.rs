//! Log files as histories, one user after the other, in bounded memory.
//!
//! A log in which each user's lines stand together is read once. Any other is sorted by user on disk first; the order of a
//! user's lines stays that of the files, so that what is wrong with it is still named by file and line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use datasets::Lines;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use synthesis::history::{History, LogRules, OutOfOrder};
use synthesis::{Event, Place, SynthesisError};

use crate::exit::Usage;
use crate::external_sort::Sorter;

/// A line of a log is one event.
const LONGEST_LINE_BYTES: u64 = 1 << 20;
/// The lines of one user are in memory together; more are no person's.
const MOST_USER_BYTES: usize = 256 << 20;

/// `[log]` of a recipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogFile {
    /// The files, plain, `.gz` or `.zst`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// How the lines stand.
    pub order: Order,
    /// What happens to a user's events out of the order of time.
    pub out_of_order: OutOfOrder,
    /// The longest time between two events of a user, in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_gap_days: Option<f64>,
}

/// How the lines of a log stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// In any order: they are sorted by user on disk.
    #[default]
    Any,
    /// Each user's lines together: nothing is sorted, and a user who comes back is an error.
    User,
}

impl LogFile {
    /// What is asked of the log.
    pub fn rules(&self) -> LogRules {
        let mut rules = LogRules { out_of_order: self.out_of_order, ..LogRules::default() };
        if let Some(days) = self.largest_gap_days {
            rules.largest_gap_days = days;
        }
        rules
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogCounts {
    /// Lines that are not blank.
    pub lines: u64,
    /// Bytes that sorting wrote to disk.
    pub spilled_bytes: u64,
}

/// Hands every user's history to `take`, with the place of the user's first line.
///
/// # Errors
/// A file that cannot be read, a line that is no event, a user's events that break the rules, or what `take` fails with.
pub fn read(
    log: &LogFile,
    scratch: &Path,
    budget_bytes: u64,
    mut take: impl FnMut(History, &Place) -> anyhow::Result<()>,
) -> anyhow::Result<LogCounts> {
    if log.files.is_empty() {
        return Err(Usage::error("log.files (--log): expected at least one log file"));
    }
    let rules = log.rules();
    rules.check()?;
    let names: Vec<Arc<str>> = log.files.iter().map(|file| file.display().to_string().into()).collect();
    let mut user = UserLines::empty(&names, &rules);
    match log.order {
        Order::User => grouped(&log.files, &mut user, &mut take),
        Order::Any => sorted(&log.files, scratch, budget_bytes, &mut user, &mut take),
    }
}

type Take<'t> = dyn FnMut(History, &Place) -> anyhow::Result<()> + 't;

fn grouped(files: &[PathBuf], user: &mut UserLines<'_>, take: &mut Take<'_>) -> anyhow::Result<LogCounts> {
    let mut counts = LogCounts::default();
    let mut seen: FxHashSet<u64> = FxHashSet::default();
    each_line(files, user.names, &mut |at, line, place| {
        counts.lines += 1;
        let name = Event::parse(line).map_err(|reason| wrong(place(), reason))?.user.into_owned();
        if name != user.name {
            user.hand_over(take)?;
            let digest = blake3::hash(name.as_bytes());
            let hash = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default());
            if !seen.insert(hash) {
                let reason =
                    format!("user {name} was here before; expected log.order = \"any\" for such a log");
                return Err(wrong(place(), reason).into());
            }
            user.name = name;
        }
        user.push(at, line)
    })?;
    user.hand_over(take)?;
    Ok(counts)
}

fn sorted(
    files: &[PathBuf],
    scratch: &Path,
    budget_bytes: u64,
    user: &mut UserLines<'_>,
    take: &mut Take<'_>,
) -> anyhow::Result<LogCounts> {
    let mut counts = LogCounts::default();
    let mut sorter = Sorter::new(scratch, budget_bytes, false);
    let mut record = Vec::new();
    each_line(files, user.names, &mut |at, line, place| {
        counts.lines += 1;
        let event = Event::parse(line).map_err(|reason| wrong(place(), reason))?;
        record.clear();
        record.extend_from_slice(event.user.as_bytes());
        record.push(0);
        record.extend_from_slice(&at.file.to_be_bytes());
        record.extend_from_slice(&at.line.to_be_bytes());
        record.extend_from_slice(line.as_bytes());
        sorter.push(&record)
    })?;
    let mut sorted = sorter.finish()?;
    counts.spilled_bytes = sorted.spilled_bytes;
    while let Some(record) = sorted.next()? {
        let (name, at, line) = split(record).context("a record of the sort is damaged")?;
        if name != user.name {
            user.hand_over(take)?;
            user.name = name.to_owned();
        }
        user.push(at, line)?;
    }
    user.hand_over(take)?;
    Ok(counts)
}

/// A line's file, by number, and its line.
#[derive(Clone, Copy)]
struct At {
    file: u32,
    line: u64,
}

fn split(record: &[u8]) -> Option<(&str, At, &str)> {
    let end = record.iter().position(|&byte| byte == 0)?;
    let (name, rest) = (&record[..end], record.get(end + 1..)?);
    let (file, rest) = rest.split_first_chunk::<4>()?;
    let (line, text) = rest.split_first_chunk::<8>()?;
    let at = At { file: u32::from_be_bytes(*file), line: u64::from_be_bytes(*line) };
    Some((std::str::from_utf8(name).ok()?, at, std::str::from_utf8(text).ok()?))
}

/// What is done with a line; its place is made when something is wrong with it.
type EachLine<'e> = dyn FnMut(At, &str, &dyn Fn() -> Place) -> anyhow::Result<()> + 'e;

fn each_line(files: &[PathBuf], names: &[Arc<str>], each: &mut EachLine<'_>) -> anyhow::Result<()> {
    for (file, path) in files.iter().enumerate() {
        let mut lines = Lines::open(path, LONGEST_LINE_BYTES)?;
        while let Some((line, text)) = lines.next_line()? {
            if text.trim().is_empty() {
                continue;
            }
            let place = || Place { file: names[file].clone(), line };
            each(At { file: file as u32, line }, text, &place)?;
        }
    }
    Ok(())
}

fn wrong(place: Place, reason: String) -> SynthesisError {
    SynthesisError::BadEvent { place, reason }
}

/// The lines of one user, until they are handed over as a history.
struct UserLines<'l> {
    names: &'l [Arc<str>],
    rules: &'l LogRules,
    name: String,
    text: String,
    lines: Vec<(At, usize)>,
}

impl<'l> UserLines<'l> {
    fn empty(names: &'l [Arc<str>], rules: &'l LogRules) -> Self {
        Self { names, rules, name: String::new(), text: String::new(), lines: Vec::new() }
    }

    fn place(&self, at: At) -> Place {
        Place { file: self.names[at.file as usize].clone(), line: at.line }
    }

    fn push(&mut self, at: At, line: &str) -> anyhow::Result<()> {
        if self.text.len() + line.len() > MOST_USER_BYTES {
            let reason = format!("user {}: more than {MOST_USER_BYTES} bytes of events", self.name);
            return Err(wrong(self.place(at), reason).into());
        }
        self.text.push_str(line);
        self.lines.push((at, self.text.len()));
        Ok(())
    }

    fn hand_over(&mut self, take: &mut Take<'_>) -> anyhow::Result<()> {
        let Some(&(first, _)) = self.lines.first() else { return Ok(()) };
        let mut events = Vec::with_capacity(self.lines.len());
        let mut start = 0;
        for &(at, end) in &self.lines {
            let place = self.place(at);
            let event = Event::parse(&self.text[start..end]);
            events.push((event.map_err(|reason| wrong(place.clone(), reason))?, place));
            start = end;
        }
        let history = History::of(&self.name, events, self.rules)?;
        take(history, &self.place(first))?;
        self.text.clear();
        self.lines.clear();
        Ok(())
    }
}
