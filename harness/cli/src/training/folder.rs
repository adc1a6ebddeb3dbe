//! Where a run is kept: `OUT.checkpoint` while it runs, `OUT/` when it is done. Both appear whole or not at all: a file or
//! folder beside them, then a rename. A labeler's labels of held-out pairs are in `OUT.labels-*.csv` in between.

use std::cell::RefCell;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context;
use scorer::Bundle;
use serde_json::Value;
use trainer::checkpoint::DIGEST;

use crate::cache;
use crate::exit::Usage;

/// Inside the finished folder: what the run was and what came of it.
const RECORD: &str = "training.json";
/// Inside the finished folder: the held-out queries' rankings.
pub const RUN: &str = "held_out.run";
/// A checkpoint beyond this is no checkpoint of ours.
const MOST_BYTES: u64 = 64 << 30;

/// The places of a run.
pub struct RunFolder {
    out: PathBuf,
    /// The digest of the checkpoint as this process knows it.
    known: RefCell<Option<[u8; DIGEST]>>,
}

/// What was found there.
pub enum Found {
    /// Nothing: the run starts at its first step.
    Nothing,
    /// A checkpoint's bytes.
    Checkpoint(Vec<u8>),
    /// The finished run of a recipe with this digest.
    Finished(Value),
}

impl RunFolder {
    /// The places beside `out`.
    pub fn new(out: &Path) -> Self {
        // Without a slash at its end: what stands beside a folder is not inside it.
        Self { out: out.components().collect(), known: RefCell::new(None) }
    }

    /// What an earlier run left. Without `resume`, anything there is an error: nothing is overwritten unasked. What it left
    /// half-written is removed.
    ///
    /// # Errors
    /// When what is there is no training run's, or is one and `resume` was not said, or cannot be read.
    pub fn look(&self, resume: bool) -> anyhow::Result<Found> {
        let checkpoint = self.checkpoint();
        for path in [&self.out, &checkpoint] {
            let is_there = path.symlink_metadata().is_ok();
            if is_there && !path.exists() {
                let path = path.display();
                return Err(Usage::error(format!("{path}: a link to nothing; another --out starts anew")));
            }
            let is_ours = path == &checkpoint || self.out.join(RECORD).is_file() || checkpoint.is_file();
            if is_there && !is_ours {
                let path = path.display();
                return Err(Usage::error(format!(
                    "{path}: not the folder of a training run; expected another --out"
                )));
            }
            if is_there && !resume {
                let path = path.display();
                return Err(Usage::error(format!(
                    "{path} is there already: --resume goes on, another --out starts anew"
                )));
            }
        }
        self.remove_unfinished();
        let record = self.out.join(RECORD);
        if record.is_file() {
            let record = cache::read_whole(&record, MOST_BYTES)?;
            return Ok(Found::Finished(serde_json::from_slice(&record).context(RECORD)?));
        }
        if checkpoint.is_file() {
            let bytes = cache::read_whole(&checkpoint, MOST_BYTES)?;
            *self.known.borrow_mut() = bytes.last_chunk().copied();
            return Ok(Found::Checkpoint(bytes));
        }
        Ok(Found::Nothing)
    }

    /// Replaces the checkpoint.
    ///
    /// # Errors
    /// When the disk refuses, or another process has written one meanwhile; the one before is still there then.
    pub fn save(&self, checkpoint: &[u8]) -> anyhow::Result<()> {
        let path = self.checkpoint();
        if digest_of(&path) != *self.known.borrow() {
            let path = path.display();
            return Err(Usage::error(format!(
                "{path}: another run has written it; give each run its own --out"
            )));
        }
        cache::write_whole(&path, checkpoint).with_context(|| {
            let bytes = checkpoint.len();
            match path.exists() {
                true => format!(
                    "a checkpoint of {bytes} bytes was not saved; --resume goes on from the one before"
                ),
                false => {
                    format!("the first checkpoint, of {bytes} bytes, was not saved; nothing was trained")
                }
            }
        })?;
        *self.known.borrow_mut() = checkpoint.last_chunk().copied();
        Ok(())
    }

    /// Writes the finished model, its record and the files beside it, and takes the checkpoint away.
    ///
    /// # Errors
    /// When the disk refuses; the checkpoint is still there then.
    pub fn finish(&self, bundle: &Bundle, record: &Value, beside: &[(&str, &str)]) -> anyhow::Result<()> {
        let partial = self.beside("partial");
        let shown = || format!("{}: cannot be written", self.out.display());
        let record = format!("{record:#}\n");
        let of_bundle = bundle.names().map(|name| (name, bundle.get(name).unwrap_or_default()));
        let beside = beside.iter().map(|(name, content)| (*name, content.as_bytes()));
        let files: Vec<(&str, &[u8])> =
            of_bundle.chain([(RECORD, record.as_bytes())]).chain(beside).collect();
        drop(std::fs::remove_dir_all(&partial));
        let written =
            files.iter().try_for_each(|(name, bytes)| cache::write_whole(&partial.join(name), bytes));
        // What is there of it is of no use, and the room is needed.
        written.inspect_err(|_| drop(std::fs::remove_dir_all(&partial))).with_context(|| {
            let (out, bytes) =
                (self.out.display(), files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
            let goes_on =
                if self.checkpoint().exists() { "; --resume goes on from the checkpoint" } else { "" };
            format!("{out}: the trained model, of {bytes} bytes, was not saved{goes_on}")
        })?;
        std::fs::rename(&partial, &self.out).with_context(shown)?;
        self.remove_leftovers()
    }

    /// Takes away what only an unfinished run needs: the checkpoint, and labels of held-out pairs.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_leftovers(&self) -> anyhow::Result<()> {
        for path in self.beside_named(".labels-", ".csv").into_iter().chain([self.checkpoint()]) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{}: cannot be removed", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where the labels that a labeler of this digest gives to some pairs are kept until the run is finished.
    pub fn labels(&self, of: &str, labeler: &str) -> PathBuf {
        self.beside(&format!("labels-{of}-{}.csv", labeler.get(..16).unwrap_or(labeler)))
    }

    /// What a killed process has left half-written takes up room that the run needs: its own files alone, by their names.
    fn remove_unfinished(&self) {
        drop(std::fs::remove_dir_all(self.beside("partial")));
        for path in self.beside_named(".checkpoint.", ".tmp") {
            drop(std::fs::remove_file(path));
        }
    }

    /// The files beside the folder whose names are its own with such an ending.
    fn beside_named(&self, begins: &str, ends: &str) -> Vec<PathBuf> {
        let Some(name) = self.out.file_name() else { return Vec::new() };
        let begins = format!("{}{begins}", name.to_string_lossy());
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let entries = std::fs::read_dir(parent.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
        let is_named = |name: &str| name.starts_with(&begins) && name.ends_with(ends);
        let own = entries.filter(|entry| is_named(&entry.file_name().to_string_lossy()));
        own.map(|entry| entry.path()).collect()
    }

    /// Where the checkpoint is.
    pub fn checkpoint(&self) -> PathBuf {
        self.beside("checkpoint")
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.out.as_os_str().to_owned();
        name.push(format!(".{what}"));
        PathBuf::from(name)
    }
}

/// The digest that a checkpoint ends with; none where there is no checkpoint.
fn digest_of(checkpoint: &Path) -> Option<[u8; DIGEST]> {
    let mut file = std::fs::File::open(checkpoint).ok()?;
    let mut digest = [0; DIGEST];
    file.seek(SeekFrom::End(-(DIGEST as i64))).ok()?;
    file.read_exact(&mut digest).ok()?;
    Some(digest)
}
