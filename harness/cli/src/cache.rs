//! Where things that can be made or fetched again lie: pulled collections and models, embeddings.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::exit::Usage;
use crate::interrupt;

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

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// When it cannot be read, is no regular file, or is larger.
pub fn read_whole(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let wrong = |what: String| Usage::error(format!("{}: {what}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if !metadata.is_file() {
        return Err(wrong("expected a regular file".to_owned()));
    }
    if metadata.len() > most {
        return Err(wrong(format!("expected at most {most} bytes, found {}", metadata.len())));
    }
    std::fs::read(path).map_err(|error| wrong(error.to_string()))
}

/// Writes `bytes` to `path` whole or not at all, even when the power fails: a sibling temporary file that is on the disk
/// before it is renamed. A link is followed, and what is
/// no regular file (a pipe, `/dev/null`) is written to as it stands.
///
/// # Errors
/// When the folder cannot be made, `path` is a folder, or the file cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let shown = || format!("{}: cannot be written", path.display());
    match std::fs::metadata(&target) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(Usage::error(format!(
                "{}: expected a file to write, found a folder",
                path.display()
            )));
        }
        Ok(metadata) if !metadata.is_file() => {
            let mut stream = std::fs::OpenOptions::new().write(true).open(&target).with_context(shown)?;
            return stream.write_all(bytes).with_context(shown);
        }
        _ => {}
    }
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let mut temporary = target.as_os_str().to_owned();
    temporary.push(datasets::store::unfinished_suffix());
    interrupt::writing_in(folder);
    let temporary = PathBuf::from(temporary);
    let shown = || format!("{}: {} bytes cannot be written", path.display(), bytes.len());
    let written = std::fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, &target));
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary))).with_context(shown)
}
