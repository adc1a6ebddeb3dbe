//! The journal as a file: appended to under a lock, read again when another process has appended.
//!
//! An answer is one `write` of one line, made while the file is locked against other writers, before anything else is
//! done with the answer. A process that is killed loses the answer it was waiting for; a line it left half-written is ended
//! by the next writer and skipped by readers. A write that fails (a full disk) is taken back.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use synthesis::journal::{Answers, Entry, Memory};
use synthesis::{Place, SynthesisError};

use crate::exit::Usage;

/// An open journal.
pub struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: File,
    answers: Answers,
    /// Up to where whole lines were read.
    read_bytes: u64,
}

impl Journal {
    /// Opens a journal, a new one if there is none.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = file.map_err(|error| Usage::error(format!("{}: {error}", path.display())))?;
        let state = State { file, answers: Answers::default(), read_bytes: 0 };
        let journal = Self { path: path.to_path_buf(), state: Mutex::new(state) };
        journal.with(State::catch_up)?;
        Ok(journal)
    }

    /// How many answers there are, and how many lines that are none.
    pub fn counts(&self) -> (usize, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.answers.len(), state.answers.damaged_lines)
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> std::io::Result<T>) -> synthesis::Result<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut state).map_err(|error| {
            let place = Place { file: self.path.display().to_string().into(), line: 0 };
            SynthesisError::BadJournal { place, reason: error.to_string() }
        })
    }
}

impl State {
    /// Takes in what was appended since, by whomever.
    fn catch_up(&mut self) -> std::io::Result<()> {
        let end = self.file.metadata()?.len();
        if end <= self.read_bytes {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(self.read_bytes))?;
        let mut bytes = Vec::new();
        (&mut self.file).take(end - self.read_bytes).read_to_end(&mut bytes)?;
        self.read_bytes += self.answers.read(&bytes) as u64;
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> std::io::Result<()> {
        let end = self.file.metadata()?.len();
        let mut line = entry.to_line();
        if end > 0 {
            // A line that a killed process left is ended first.
            let mut last = [0];
            self.file.seek(SeekFrom::Start(end - 1))?;
            self.file.read_exact(&mut last)?;
            if last != *b"\n" {
                line.insert(0, b'\n');
            }
        }
        self.file.write_all(&line).inspect_err(|_| drop(self.file.set_len(end)))
    }
}

impl Memory for Journal {
    fn recall(&self, key: &str) -> synthesis::Result<Option<Vec<String>>> {
        self.with(|state| {
            if state.answers.get(key).is_none() {
                state.catch_up()?;
            }
            Ok(state.answers.get(key).map(<[String]>::to_vec))
        })
    }

    fn remember(&self, entry: Entry) -> synthesis::Result<()> {
        self.with(|state| {
            state.file.lock()?;
            let appended = state.append(&entry);
            state.file.unlock()?;
            appended?;
            state.answers.insert(entry);
            Ok(())
        })
        .map_err(|error| match error {
            SynthesisError::BadJournal { place, reason } => {
                SynthesisError::NotRemembered { file: place.file.to_string(), reason }
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(key: String) -> Entry {
        let completions = vec![format!("answer to {key}"); 40];
        Entry { key, model: "m".into(), revision: "1".into(), completions, served_as: None }
    }

    #[test]
    fn two_writers_do_not_collide_and_hear_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let journal = Journal::open(path).unwrap();
                    for at in 0..50 {
                        journal.remember(entry(format!("{writer}-{at}"))).unwrap();
                    }
                });
            }
        });
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.counts(), (200, 0));
        let other = Journal::open(&path).unwrap();
        other.remember(entry("late".into())).unwrap();
        assert_eq!(journal.recall("late").unwrap().unwrap()[0], "answer to late");
        assert_eq!(journal.recall("never").unwrap(), None);
    }

    #[test]
    fn a_line_that_was_cut_off_loses_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        Journal::open(&path).unwrap().remember(entry("a".into())).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let cut = entry("b".into()).to_line();
        bytes.extend_from_slice(&cut[..cut.len() / 2]);
        std::fs::write(&path, &bytes).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.counts(), (1, 0));
        journal.remember(entry("c".into())).unwrap();
        let again = Journal::open(&path).unwrap();
        assert_eq!(again.counts(), (2, 1));
        assert!(again.recall("a").unwrap().is_some() && again.recall("c").unwrap().is_some());
    }
}
