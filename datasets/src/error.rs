//! What can be wrong with a file, said with its name, the line and what was expected there.

use std::path::{Path, PathBuf};

use relevance::Grade;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file could not be read. Every variant names the file; where there is one, the line (counted from 1).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open, read or write the file.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said. Part of the message, and so no `source`: a chain of causes would say it twice.
        reason: std::io::Error,
    },
    /// A line does not have the form its format asks for.
    #[error("{}:{line}: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What should stand there.
        expected: String,
        /// What stands there, shortened.
        found: String,
    },
    /// A cell of a table does not hold what its column asks for.
    #[error("{}:{line}: column \"{column}\": expected {expected}, found {found}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The line the cell begins on, from 1.
        line: u64,
        /// The column's name in the header.
        column: String,
        /// What should stand there.
        expected: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// A table lacks a column that is needed.
    #[error("{}: expected {wanted}, found the columns {}", path.display(), available.join(", "))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for, or the kind of column and the usual names for it.
        wanted: String,
        /// The columns the file has.
        available: Vec<String>,
    },
    /// Bytes that are not UTF-8.
    #[error("{}:{line}: expected UTF-8 text, found the byte 0x{byte:02x}", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The first byte that does not belong to any character.
        byte: u8,
    },
    /// A run names the same document twice for one query.
    #[error(
        "{}:{line}: expected each document once a query, found \"{document}\" again for query \"{query}\" \
         (first on line {first_line})",
        path.display()
    )]
    DuplicateDocument {
        /// The file.
        path: PathBuf,
        /// The line of the repetition, from 1.
        line: u64,
        /// The line the document first stood on.
        first_line: u64,
        /// The query's id.
        query: String,
        /// The document's id.
        document: String,
    },
    /// Two documents, or two queries, have the same id.
    #[error("{}:{line}: expected each id once, found \"{id}\" again (first on line {first_line})", path.display())]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// The line of the repetition, from 1.
        line: u64,
        /// The line the id first stood on.
        first_line: u64,
        /// The id.
        id: String,
    },
    /// Judgments give the same pair two different grades.
    #[error(
        "{}:{line}: expected one grade for query \"{query}\" and document \"{document}\", found {grade} here \
         and {first_grade} on line {first_line}",
        path.display()
    )]
    ConflictingGrades {
        /// The file.
        path: PathBuf,
        /// The line of the second grade, from 1.
        line: u64,
        /// The line of the first grade.
        first_line: u64,
        /// The query's id.
        query: Box<str>,
        /// The document's id.
        document: Box<str>,
        /// The second grade.
        grade: Grade,
        /// The first grade.
        first_grade: Grade,
    },
    /// A compressed file is damaged or ends early.
    #[error("{}: expected a complete {kind} stream, found: {detail}", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// `gzip`, `zstd`, `zip` or `tar`.
        kind: &'static str,
        /// What the decoder said.
        detail: String,
    },
    /// Reading would take more memory than the caller allows.
    #[error(
        "{}: expected to stay within the memory budget of {budget_bytes} bytes, found that at least {need_bytes} \
         bytes are needed; raise the budget or use a smaller file",
        path.display()
    )]
    MemoryBudget {
        /// The file.
        path: PathBuf,
        /// The budget, in bytes.
        budget_bytes: u64,
        /// What reading needs, as far as it is known, in bytes.
        need_bytes: u64,
    },
    /// One document is larger than the caller allows.
    #[error(
        "{}:{line}: expected a document of at most {limit_bytes} bytes, found at least {need_bytes}",
        path.display()
    )]
    DocumentTooLarge {
        /// The file.
        path: PathBuf,
        /// The line the document begins on, from 1.
        line: u64,
        /// The limit, in bytes.
        limit_bytes: u64,
        /// The document's bytes, as far as they were read.
        need_bytes: u64,
    },
    /// No known layout fits a path.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Unrecognised {
        /// The file or directory.
        path: PathBuf,
        /// The layouts or forms that are known.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A collection has no such split.
    #[error("{}: expected {}, found a request for \"{split}\"", path.display(), said_splits(available))]
    UnknownSplit {
        /// The collection's directory.
        path: PathBuf,
        /// The split asked for.
        split: String,
        /// The splits there are.
        available: Vec<String>,
    },
    /// An archive's member must not be unpacked: it would land outside the target, is a link, or is too large.
    #[error("{}: member \"{member}\" refused: {reason}", path.display())]
    RefusedMember {
        /// The archive.
        path: PathBuf,
        /// The member's name as the archive writes it.
        member: String,
        /// Why it is refused.
        reason: String,
    },
    /// A file's size is not the one its manifest states.
    #[error("{}: expected {expected_bytes} bytes, found {found_bytes}", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// The manifest's size, in bytes.
        expected_bytes: u64,
        /// The file's size, in bytes.
        found_bytes: u64,
    },
    /// A file's digest is not the one its manifest states.
    #[error("{}: expected {algorithm} {expected}, found {found}", path.display())]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// `sha256` or `md5`.
        algorithm: &'static str,
        /// The manifest's digest, in hexadecimal.
        expected: String,
        /// The file's digest, in hexadecimal.
        found: String,
    },
    /// A manifest is not written as manifests are.
    #[error("{}: {detail}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, with the place.
        detail: String,
    },
    /// A collection was put together and lacks files that its readers need.
    #[error("{}: expected {} in the collection, found no such file; check strip_prefix and the archive", path.display(), missing.join(", "))]
    Incomplete {
        /// The folder that was not made.
        path: PathBuf,
        /// What is missing, as paths inside it.
        missing: Vec<String>,
    },
    /// Something would be overwritten.
    #[error("{}: expected a path that does not exist yet, found one that does", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
}

impl Error {
    /// The file the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::Malformed { path, .. }
            | Self::Cell { path, .. }
            | Self::MissingColumn { path, .. }
            | Self::NotUtf8 { path, .. }
            | Self::DuplicateDocument { path, .. }
            | Self::DuplicateId { path, .. }
            | Self::ConflictingGrades { path, .. }
            | Self::Compressed { path, .. }
            | Self::MemoryBudget { path, .. }
            | Self::DocumentTooLarge { path, .. }
            | Self::Unrecognised { path, .. }
            | Self::UnknownSplit { path, .. }
            | Self::RefusedMember { path, .. }
            | Self::WrongSize { path, .. }
            | Self::WrongDigest { path, .. }
            | Self::Manifest { path, .. }
            | Self::Incomplete { path, .. }
            | Self::Exists { path } => path,
        }
    }

    /// The line the error is about, from 1, where there is one.
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::Malformed { line, .. }
            | Self::Cell { line, .. }
            | Self::NotUtf8 { line, .. }
            | Self::DuplicateDocument { line, .. }
            | Self::DuplicateId { line, .. }
            | Self::ConflictingGrades { line, .. }
            | Self::DocumentTooLarge { line, .. } => Some(*line),
            _ => None,
        }
    }

    /// The same error about a file at another place: the one it was copied from.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn about(mut self, place: &Path) -> Self {
        match &mut self {
            Self::Compressed { path, .. }
            | Self::RefusedMember { path, .. }
            | Self::WrongSize { path, .. }
            | Self::WrongDigest { path, .. } => *path = place.to_owned(),
            _ => {}
        }
        self
    }

    /// What the system said about `path`.
    pub fn io(path: &Path, reason: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), reason }
    }

    pub(crate) fn malformed(
        path: &Path,
        line: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Malformed { path: path.to_owned(), line, expected: expected.into(), found: found.into() }
    }
}

fn said_splits(available: &[String]) -> String {
    match available {
        [] => "no split, as the collection has none".to_owned(),
        all => format!("one of the splits {}", all.join(", ")),
    }
}

/// `text` in quotes, shortened to a length that fits a message.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_system_is_quoted_once() {
        let error = Error::io(Path::new("a"), std::io::Error::other("no"));
        assert_eq!(error.to_string(), "a: no");
        assert!(error.source().is_none(), "its text is in the message already");
    }
}
