//! Where things that can be made or fetched again lie: pulled collections and models, embeddings.

use std::path::{Path, PathBuf};

use crate::exit::Usage;

/// `$GRADED_CACHE`, else `$XDG_CACHE_HOME/graded`, else `~/.cache/graded`.
///
/// # Errors
/// When none of the three is set.
pub fn root() -> anyhow::Result<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("GRADED_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("graded")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache").join("graded")))
        .ok_or_else(|| Usage::error("nowhere to keep files: set GRADED_CACHE to a folder"))
}

/// Pulled collections: one folder each, by name.
pub fn data() -> anyhow::Result<PathBuf> {
    Ok(root()?.join("data"))
}

/// Pulled models: one folder each, by name.
pub fn models() -> anyhow::Result<PathBuf> {
    Ok(root()?.join("models"))
}

/// Embeddings, by encoder digest.
pub fn embeddings() -> anyhow::Result<PathBuf> {
    Ok(root()?.join("embeddings"))
}

/// Writes `bytes` to `path` whole or not at all: a sibling temporary file, then a rename.
///
/// # Errors
/// When the folder cannot be made or the file not written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use anyhow::Context;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written
        .inspect_err(|_| drop(std::fs::remove_file(&temporary)))
        .with_context(|| format!("{}: cannot be written", path.display()))
}
