//! Who writes texts: the offline generator, or a transcript of what a model wrote before; and the journal on disk.

mod journal;

use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use synthesis::Generator;
use synthesis::journal::{Answers, Recorded};
use synthesis::offline::Offline;

pub use journal::Journal;

use crate::cache;

/// A transcript is read whole.
const MOST_TRANSCRIPT_BYTES: u64 = 4 << 30;

/// `[generator]` of a recipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeneratorFile {
    /// Who writes.
    pub kind: Kind,
    /// With `transcript`: the file, a journal of an earlier run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<PathBuf>,
    /// Where answers are remembered, so that a run that was stopped asks nothing twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<PathBuf>,
}

/// Who writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The generator that needs no model.
    #[default]
    Offline,
    /// Answers that were recorded.
    Transcript,
}

impl GeneratorFile {
    /// The generator. The offline one knows these queries and documents.
    ///
    /// # Errors
    /// When there is no transcript, or nothing for the offline generator to know.
    pub fn open<'a>(
        &self,
        queries: impl IntoIterator<Item = &'a str>,
        documents: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Box<dyn Generator>> {
        match (self.kind, &self.transcript) {
            (Kind::Offline, _) => Ok(Box::new(Offline::new(queries, documents)?)),
            (Kind::Transcript, None) => {
                Err(crate::exit::Usage::error("generator.transcript: expected the file of a transcript"))
            }
            (Kind::Transcript, Some(path)) => {
                let mut answers = Answers::default();
                answers.read(&cache::read_whole(path, MOST_TRANSCRIPT_BYTES)?);
                Ok(Box::new(Recorded::new(answers).with_context(|| path.display().to_string())?))
            }
        }
    }
}
