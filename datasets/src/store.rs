//! A folder of collections (a cache): one subfolder each, named as its manifest is, complete or absent. Files come
//! in from a local directory here; the command line fetches over the network and hands the files to [`finish`].

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::archive::{self, Limits};
use crate::collection::Format;
use crate::error::{Error, Result};
use crate::manifest::{FileEntry, Manifest, Role};
use crate::source::open_file;

/// What the names of half-written files and folders end with: it holds the number of this process, so that whoever ends
/// the process before its time knows what to remove.
pub fn unfinished_suffix() -> String {
    format!(".{}.tmp", std::process::id())
}

/// A file's length and digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: String,
    /// Its MD5, in lower-case hexadecimal.
    pub md5: String,
}

/// Reads the file once, in pieces, and digests it.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> Result<Digests> {
    let mut file = open_file(path)?;
    let (mut sha256, mut md5, mut bytes) = (Sha256::new(), Md5::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(|error| Error::io(path, error))?;
        if read == 0 {
            return Ok(Digests {
                bytes,
                sha256: hexadecimal(&sha256.finalize()),
                md5: hexadecimal(&md5.finalize()),
            });
        }
        sha256.update(&buffer[..read]);
        md5.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the file at `path` is the one `entry` describes: length first, then the digests it states. Returns what
/// was found, to be recorded for a file that is not pinned.
///
/// # Errors
/// When it cannot be read, or differs.
pub fn verify(path: &Path, entry: &FileEntry) -> Result<Digests> {
    let length = fs::metadata(path).map_err(|error| Error::io(path, error))?.len();
    if let Some(expected_bytes) = entry.bytes.filter(|bytes| *bytes != length) {
        return Err(Error::WrongSize { path: path.to_owned(), expected_bytes, found_bytes: length });
    }
    let found = digest(path)?;
    same_digest(path, "sha256", entry.sha256.as_deref(), &found.sha256)?;
    same_digest(path, "md5", entry.md5.as_deref(), &found.md5)?;
    Ok(found)
}

fn same_digest(path: &Path, algorithm: &'static str, expected: Option<&str>, found: &str) -> Result<()> {
    match expected {
        Some(expected) if !expected.eq_ignore_ascii_case(found) => Err(Error::WrongDigest {
            path: path.to_owned(),
            algorithm,
            expected: expected.to_owned(),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Where the collection `name` lies in the cache `store`.
pub fn collection_folder(store: &Path, name: &str) -> PathBuf {
    store.join(name)
}

/// Where the file of `entry` waits, complete or half fetched (`.part`), until its collection is finished. Keeping it
/// between calls is what makes resuming possible.
pub fn download_path(store: &Path, manifest: &Manifest, entry: &FileEntry) -> PathBuf {
    store.join(".downloads").join(&manifest.name).join(&entry.path)
}

/// The names of the collections that are complete in `store`, sorted.
pub fn list(store: &Path) -> Vec<String> {
    let entries = fs::read_dir(store).into_iter().flatten().flatten();
    let names =
        entries.filter(|entry| entry.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// What arrived, written beside the files as `arrived.toml`: for files that are not pinned this is the only record of
/// what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// The files with their digests, as they were fetched (before unpacking).
    pub files: Vec<ArrivedFile>,
}

/// One file that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivedFile {
    /// Its path in the manifest.
    pub path: String,
    /// Whether the manifest pinned it. When not, the digest is recorded, not checked.
    pub pinned: bool,
    /// Length and digests.
    #[serde(flatten)]
    pub digests: Digests,
}

/// Puts the collection of `manifest` into `store` from the files in the directory `from`: each is verified, copied,
/// and unpacked where the manifest says so; the folder appears under its name only when all is there. A collection
/// that is complete already is left alone.
///
/// # Errors
/// A file that is missing from `from` or differs from the manifest, or an archive that must not be unpacked; nothing
/// is left behind then.
pub fn place(manifest: &Manifest, from: &Path, store: &Path) -> Result<PathBuf> {
    let source_of = |entry: &FileEntry| from.join(&entry.path);
    assemble(manifest, store, source_of, |entry, target| {
        let source = source_of(entry);
        let mut input = open_file(&source)?;
        let mut output = File::create_new(target).map_err(|error| Error::io(target, error))?;
        std::io::copy(&mut input, &mut output).map_err(|error| Error::io(target, error))?;
        output.flush().map_err(|error| Error::io(target, error))
    })
}

/// Puts the collection of `manifest` into `store` from files that were fetched to their [`download_path`]s; the
/// downloads are gone afterwards.
///
/// # Errors
/// As [`place`]. A download that differs from the manifest is removed, so that the next attempt fetches it anew.
pub fn finish(manifest: &Manifest, store: &Path) -> Result<PathBuf> {
    for entry in &manifest.files {
        let download = download_path(store, manifest, entry);
        match verify(&download, entry) {
            Err(error @ (Error::WrongSize { .. } | Error::WrongDigest { .. })) => {
                fs::remove_file(&download).map_err(|error| Error::io(&download, error))?;
                return Err(error);
            }
            other => other?,
        };
    }
    let source_of = |entry: &FileEntry| download_path(store, manifest, entry);
    let folder = assemble(manifest, store, source_of, |entry, target| {
        let download = source_of(entry);
        fs::rename(&download, target).map_err(|error| Error::io(&download, error))
    })?;
    let downloads = store.join(".downloads").join(&manifest.name);
    match fs::remove_dir_all(&downloads) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&downloads, error)),
        _ => Ok(folder),
    }
}

/// Builds the collection's folder in a temporary one and renames it. `bring` puts one file at a path; errors name
/// where it came from (`source_of`), not the temporary path that is gone when they are read.
fn assemble(
    manifest: &Manifest,
    store: &Path,
    source_of: impl Fn(&FileEntry) -> PathBuf,
    bring: impl Fn(&FileEntry, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = collection_folder(store, &manifest.name);
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(store).map_err(|error| Error::io(store, error))?;
    let temporary =
        tempfile::Builder::new().prefix(".placing-").suffix(&unfinished_suffix()).tempdir_in(store);
    let temporary = temporary.map_err(|error| Error::io(store, error))?;
    let inside = temporary.path().join("collection");
    let mut arrived = Arrived::default();
    for entry in &manifest.files {
        let landing = if entry.unpack.is_some() { temporary.path() } else { inside.as_path() };
        let target = landing.join(&entry.path);
        let parent = target.parent().unwrap_or(landing);
        fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
        bring(entry, &target)?;
        let digests = verify(&target, entry).map_err(|error| error.about(&source_of(entry)))?;
        arrived.files.push(ArrivedFile { path: entry.path.clone(), pinned: entry.is_pinned(), digests });
        if let Some(kind) = entry.unpack {
            archive::unpack(&target, kind, &inside, entry.strip_prefix.as_deref(), &Limits::default())
                .map_err(|error| error.about(&source_of(entry)))?;
            fs::remove_file(&target).map_err(|error| Error::io(&target, error))?;
        }
    }
    let missing = missing_files(manifest, &inside);
    if !missing.is_empty() {
        return Err(Error::Incomplete { path: folder, missing });
    }
    write_toml(&inside.join("arrived.toml"), &arrived)?;
    write_toml(&inside.join("manifest.toml"), manifest)?;
    match fs::rename(&inside, &folder) {
        // Somebody else placed the same collection meanwhile: theirs is complete, or it would not be there.
        Err(_) if folder.join("manifest.toml").is_file() => Ok(folder),
        Err(error) => Err(Error::io(&folder, error)),
        Ok(()) => Ok(folder),
    }
}

/// What a reader will need and `folder` lacks: the files the manifest lists by role, and for BEIR's layout its three
/// parts, which usually come out of one archive.
fn missing_files(manifest: &Manifest, folder: &Path) -> Vec<String> {
    let listed = manifest.files.iter().filter(|file| !matches!(file.role, Role::Other | Role::Archive));
    let listed = listed.filter(|file| file.unpack.is_none()).map(|file| file.path.clone());
    let mut missing: Vec<_> = listed.filter(|path| !folder.join(path).is_file()).collect();
    match manifest.format {
        // CQADupStack's archive is a folder of forums, each in the layout.
        Format::Beir if !subfolders(folder).iter().any(|forum| missing_of_beir(forum).is_empty()) => {
            missing.extend(missing_of_beir(folder));
        }
        Format::Beir => {}
        format if !crate::open::fits(format, folder) && missing.is_empty() && has_archive(manifest) => {
            missing.push(format!("the files of the {format} layout"));
        }
        _ => {}
    }
    missing.dedup();
    missing
}

fn missing_of_beir(folder: &Path) -> Vec<String> {
    let parts = ["corpus.jsonl", "queries.jsonl"].into_iter();
    let mut missing: Vec<_> = parts.filter(|name| crate::beir::find(folder, name).is_none()).collect();
    if !crate::beir::list_splits(&folder.join("qrels")).is_ok_and(|splits| !splits.is_empty()) {
        missing.push("qrels/*.tsv");
    }
    missing.into_iter().map(str::to_owned).collect()
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).collect()
}

fn has_archive(manifest: &Manifest) -> bool {
    manifest.files.iter().any(|file| file.unpack.is_some())
}

fn write_toml(path: &Path, value: &impl Serialize) -> Result<()> {
    let toml = toml::to_string(value)
        .map_err(|error| Error::Manifest { path: path.to_owned(), detail: error.to_string() })?;
    fs::write(path, toml).map_err(|error| Error::io(path, error))
}
