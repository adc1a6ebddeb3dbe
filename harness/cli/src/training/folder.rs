//! Where a run is kept: `OUT.checkpoint` while it runs, `OUT/` when it is done. Both appear whole or not at all: a file or
//! folder beside them, then a rename.

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

    /// What an earlier run left. Without `resume`, anything there is an error: nothing is overwritten unasked.
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
        if checkpoint.is_file() {
            return Ok(Found::Checkpoint(cache::read_whole(&checkpoint, MOST_BYTES)?));
        }
        let record = self.out.join(RECORD);
        if record.is_file() {
            let record = cache::read_whole(&record, MOST_BYTES)?;
            return Ok(Found::Finished(serde_json::from_slice(&record).context(RECORD)?));
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
        cache::write_whole(&self.checkpoint(), checkpoint)
    }

    /// Writes the finished model, its record and the files beside it, and takes the checkpoint away.
    ///
    /// # Errors
    /// When the disk refuses; the checkpoint is still there then.
    pub fn finish(&self, bundle: &Bundle, record: &Value, beside: &[(&str, &str)]) -> anyhow::Result<()> {
        let partial = self.beside("partial");
        let shown = || format!("{}: cannot be written", self.out.display());
        drop(std::fs::remove_dir_all(&partial));
        for name in bundle.names() {
            cache::write_whole(&partial.join(name), bundle.get(name).unwrap_or_default())?;
        }
        cache::write_whole(&partial.join(RECORD), format!("{record:#}\n").as_bytes())?;
        for (name, content) in beside {
            cache::write_whole(&partial.join(name), content.as_bytes())?;
        }
        std::fs::rename(&partial, &self.out).with_context(shown)?;
        match std::fs::remove_file(self.checkpoint()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(shown),
            _ => Ok(()),
        }
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
