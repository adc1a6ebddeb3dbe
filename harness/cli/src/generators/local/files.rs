//! The files of a local model, mapped rather than read, and their digest.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use memmap2::Mmap;
use scorer::ScorerError;
use scorer::language_model::{LanguageModel, ModelFiles, Settings};

use crate::exit::Usage;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// A folder's own template, as a file or as a key; the former counts where both are there.
const TEMPLATES: [&str; 2] = ["chat_template.jinja", "tokenizer_config.json"];
const GENERATION: &str = "generation_config.json";

/// A model's files by their names.
pub struct Files {
    maps: BTreeMap<String, Mmap>,
    /// The GGUF file among them, where it is one.
    gguf: Option<String>,
    /// Hexadecimal blake3 over names and contents.
    pub digest: String,
}

impl Files {
    /// Maps what is at `path`: a GGUF file with the `tokenizer.json` beside it, if there is one, or a folder.
    ///
    /// # Errors
    /// When it is neither, or a file is missing: says which.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let mut maps = BTreeMap::new();
        let mut gguf = None;
        if path.is_file() {
            let name = "model.gguf".to_owned();
            maps.insert(name.clone(), map(path)?);
            if !maps[&name].starts_with(b"GGUF") {
                return Err(Usage::error(format!("{}: expected a GGUF file or a folder", path.display())));
            }
            gguf = Some(name);
            let beside = path.with_file_name(TOKENIZER);
            if beside.is_file() {
                maps.insert(TOKENIZER.to_owned(), map(&beside)?);
            }
        } else {
            for (name, is_needed) in [(CONFIG, true), (TOKENIZER, true), (GENERATION, false)] {
                let file = path.join(name);
                if is_needed && !file.is_file() {
                    return Err(Usage::error(format!("{}: no such file", file.display())));
                }
                if file.is_file() {
                    maps.insert(name.to_owned(), map(&file)?);
                }
            }
            if let Some(name) = TEMPLATES.into_iter().find(|name| path.join(name).is_file()) {
                maps.insert(name.to_owned(), map(&path.join(name))?);
            }
            let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
            for entry in entries {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.ends_with(".safetensors") {
                    maps.insert(name.clone(), map(&path.join(&name))?);
                }
            }
            if !maps.keys().any(|name| name.ends_with(".safetensors")) {
                return Err(Usage::error(format!("{}: expected *.safetensors in it", path.display())));
            }
        }
        let digest = digest(&maps);
        Ok(Self { maps, gguf, digest })
    }

    /// Loads the model.
    ///
    /// # Errors
    /// As [`LanguageModel::load`].
    pub fn load(&self, settings: &Settings) -> Result<LanguageModel, ScorerError> {
        let file = |name: &str| self.maps.get(name).map(|map| &map[..]);
        let files = match &self.gguf {
            Some(gguf) => ModelFiles::Gguf { file: &self.maps[gguf], tokenizer: file(TOKENIZER) },
            None => ModelFiles::Folder {
                config: file(CONFIG).unwrap_or_default(),
                tokenizer: file(TOKENIZER).unwrap_or_default(),
                generation_config: file(GENERATION),
                template: TEMPLATES.into_iter().find_map(|name| Some((name, file(name)?))),
                weights: self
                    .maps
                    .iter()
                    .filter(|(name, _)| name.ends_with(".safetensors"))
                    .map(|(name, map)| (name.clone(), &map[..]))
                    .collect(),
            },
        };
        LanguageModel::load(&files, settings)
    }
}

fn map(path: &Path) -> anyhow::Result<Mmap> {
    let file =
        std::fs::File::open(path).map_err(|error| Usage::error(format!("{}: {error}", path.display())))?;
    // SAFETY: the map is only read, and gone once the model is loaded. As with every mapped file, another process that
    // cuts it short in the meantime ends this one.
    let map = unsafe { Mmap::map(&file) };
    map.with_context(|| path.display().to_string())
}

fn digest(maps: &BTreeMap<String, Mmap>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, map) in maps {
        for part in [name.as_bytes(), map] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    hasher.finalize().to_hex().to_string()
}
