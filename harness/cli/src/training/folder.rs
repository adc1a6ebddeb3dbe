//! Where a run is kept: `OUT.checkpoint` while it runs, `OUT/` when it is done. Both appear whole or not at all: a file or
//! folder beside them, then a rename. A labeler's labels of held-out pairs are in `OUT.labels-*.csv` in between.

use std::path::{Path, PathBuf};

use anyhow::Context;
use scorer::Bundle;
use serde_json::Value;

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
        Self { out: out.to_path_buf() }
    }

    /// What an earlier run left. Without `resume`, anything there is an error: nothing is overwritten unasked. What it left
    /// half-written is removed.
    ///
    /// # Errors
    /// When something is there and `resume` was not said, or it cannot be read.
    pub fn look(&self, resume: bool) -> anyhow::Result<Found> {
        let checkpoint = self.checkpoint();
        for path in [&self.out, &checkpoint] {
            if path.exists() && !resume {
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
            return Ok(Found::Checkpoint(cache::read_whole(&checkpoint, MOST_BYTES)?));
        }
        if self.out.exists() {
            return Err(Usage::error(format!("{}: not the folder of a training run", self.out.display())));
        }
        Ok(Found::Nothing)
    }

    /// Replaces the checkpoint.
    ///
    /// # Errors
    /// When the disk refuses; the one before is still there then.
    pub fn save(&self, checkpoint: &[u8]) -> anyhow::Result<()> {
        let path = self.checkpoint();
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
        })
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

    fn checkpoint(&self) -> PathBuf {
        self.beside("checkpoint")
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.out.as_os_str().to_owned();
        name.push(format!(".{what}"));
        PathBuf::from(name)
    }
}
