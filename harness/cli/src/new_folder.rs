//! A folder that appears complete or not at all, and collections written into it as they come.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use datasets::Format;
use datasets::manifest::{Manifest, ScaleEntry};
use relevance::{Grade, Scale, SelfHits};
use serde_json::json;

use crate::exit::Usage;

/// A folder in the making, beside the place where it will stand. Dropped unfinished, it is gone.
pub struct NewFolder {
    making: tempfile::TempDir,
    out: PathBuf,
}

impl NewFolder {
    /// Begins a folder that will be `out`.
    ///
    /// # Errors
    /// When `out` exists, or the folder around it cannot be written to.
    pub fn begin(out: &Path) -> anyhow::Result<Self> {
        if out.exists() {
            return Err(Usage::error(format!("{}: is there already; expected a new folder", out.display())));
        }
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent)
            .map_err(|error| Usage::error(format!("{}: {error}", parent.display())))?;
        let making = tempfile::Builder::new().prefix(".graded-").tempdir_in(parent);
        let making = making.map_err(|error| Usage::error(format!("{}: {error}", parent.display())))?;
        std::fs::create_dir(making.path().join("folder")).context("a temporary folder cannot be made")?;
        Ok(Self { making, out: out.to_path_buf() })
    }

    /// Where temporary files of the making may lie.
    pub fn scratch(&self) -> &Path {
        self.making.path()
    }

    /// A new file in the folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn file(&self, name: &str) -> anyhow::Result<NewFile> {
        let path = self.making.path().join("folder").join(name);
        let shown = self.out.join(name).display().to_string();
        let parent = path.parent().unwrap_or(self.making.path());
        std::fs::create_dir_all(parent).with_context(|| shown.clone())?;
        let file = File::create_new(&path).with_context(|| shown.clone())?;
        Ok(NewFile { file: BufWriter::with_capacity(256 << 10, file), shown })
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let mut file = self.file(name)?;
        file.write(text.as_bytes())?;
        file.finish()
    }

    /// Lets the folder appear.
    ///
    /// # Errors
    /// When it cannot be moved to its place.
    pub fn finish(self) -> anyhow::Result<()> {
        std::fs::rename(self.making.path().join("folder"), &self.out)
            .with_context(|| format!("{}: cannot be written", self.out.display()))
    }
}

/// A file of a [`NewFolder`]; errors name it as it will be called.
pub struct NewFile {
    file: BufWriter<File>,
    shown: String,
}

impl NewFile {
    /// Appends bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).with_context(|| format!("{}: cannot be written", self.shown))
    }

    /// Appends a line of JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let shown = || format!("{}: cannot be written", self.shown);
        serde_json::to_writer(&mut self.file, value).with_context(shown)?;
        self.file.write_all(b"\n").with_context(shown)
    }

    /// Ends the file: everything is on the disk.
    ///
    /// # Errors
    /// When it is not.
    pub fn finish(self) -> anyhow::Result<()> {
        let written = self.file.into_inner().map_err(std::io::IntoInnerError::into_error);
        written.and_then(|file| file.sync_all()).with_context(|| format!("{}: cannot be written", self.shown))
    }
}

/// A collection in BEIR's layout, written as it comes.
pub struct BeirFiles {
    documents: NewFile,
    queries: NewFile,
}

impl BeirFiles {
    /// Begins `corpus.jsonl` and `queries.jsonl`.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn begin(folder: &NewFolder) -> anyhow::Result<Self> {
        Self::begin_in(folder, "")
    }

    /// The same in a folder within: `prefix` is its name with a slash.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn begin_in(folder: &NewFolder, prefix: &str) -> anyhow::Result<Self> {
        let file = |name| folder.file(&format!("{prefix}{name}"));
        Ok(Self { documents: file("corpus.jsonl")?, queries: file("queries.jsonl")? })
    }

    /// Appends a document.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn document(&mut self, id: &str, title: &str, text: &str) -> anyhow::Result<()> {
        self.documents.line(&json!({ "_id": id, "title": title, "text": text }))
    }

    /// Appends a query.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn query(&mut self, id: &str, text: &str) -> anyhow::Result<()> {
        self.queries.line(&json!({ "_id": id, "text": text }))
    }

    /// Ends both files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> anyhow::Result<()> {
        self.documents.finish()?;
        self.queries.finish()
    }
}

/// Begins the judgments of a split, with their header.
///
/// # Errors
/// When the file cannot be made.
pub fn judgments(folder: &NewFolder, split: &str) -> anyhow::Result<NewFile> {
    judgments_in(folder, "", split)
}

/// The same in a folder within: `prefix` is its name with a slash.
///
/// # Errors
/// When the file cannot be made.
pub fn judgments_in(folder: &NewFolder, prefix: &str, split: &str) -> anyhow::Result<NewFile> {
    let mut file = folder.file(&format!("{prefix}qrels/{split}.tsv"))?;
    file.write(b"query-id\tcorpus-id\tscore\n")?;
    Ok(file)
}

/// Appends a judgment. Ids hold no tabs: the readers they come from refuse such.
///
/// # Errors
/// When it cannot be written.
pub fn judge(file: &mut NewFile, query: &str, document: &str, grade: Grade) -> anyhow::Result<()> {
    file.write(format!("{query}\t{document}\t{grade}\n").as_bytes())
}

/// What a collection says about itself, as `manifest.toml`.
///
/// # Errors
/// Only if a manifest were no TOML.
pub fn manifest(name: &str, description: &str, scale: &Scale, splits: &[&str]) -> anyhow::Result<String> {
    let levels = scale.levels().iter().map(|level| (level.grade.to_string(), level.meaning.clone()));
    let manifest = Manifest {
        name: name.to_owned(),
        description: description.to_owned(),
        format: Format::Beir,
        homepage: None,
        licence: "that of the documents it was made of".to_owned(),
        remarks: Vec::new(),
        self_hits: SelfHits::Keep,
        default_split: splits.first().map(|split| (*split).to_owned()),
        splits: splits.iter().map(|split| (*split).to_owned()).collect(),
        scale: Some(ScaleEntry {
            name: scale.name().to_owned(),
            relevant_from: scale.relevant_from(),
            levels: levels.collect(),
            map: Default::default(),
        }),
        counts: None,
        files: Vec::new(),
    };
    Ok(toml::to_string(&manifest)?)
}
