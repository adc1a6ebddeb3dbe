//! Embeddings on disk, so that no text is encoded twice: keyed by content, never by file name or date.
//!
//! A store is a folder of immutable segments for one encoder (the folder's name is the encoder's digest). A segment
//! is written to a temporary file and renamed, so a killed run loses at most the segment in flight, two runs may
//! fill one store side by side, and an interrupted encoding resumes where it stopped.
//!
//! Segment layout, little-endian: magic `GRDEMB1\n`; dimensions u32; rows u32; one 16-byte text digest a row; the
//! vectors, rows x dimensions f32; the 32-byte blake3 digest of everything before it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use memmap2::Mmap;
use rustc_hash::FxHashMap;

use crate::cache;

const MAGIC: &[u8; 8] = b"GRDEMB1\n";
const HEADER_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;

/// The first half of a text's blake3 digest.
pub type Key = [u8; KEY_BYTES];

/// The key of a text under a prompt: everything that reaches the encoder.
pub fn key(prompt: &str, text: &str) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(prompt.len() as u64).to_le_bytes()).update(prompt.as_bytes()).update(text.as_bytes());
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..KEY_BYTES]);
    key
}

/// The embeddings of one encoder.
pub struct EmbeddingStore {
    folder: PathBuf,
    dimensions: usize,
    segments: Vec<Mmap>,
    rows: FxHashMap<Key, (u32, u32)>,
}

impl EmbeddingStore {
    /// Opens the store in `folder`, which need not exist yet. Segments that do not hold what they say (a full disk,
    /// a foreign file) are passed over: their texts are encoded again.
    ///
    /// # Errors
    /// When the folder exists and cannot be read.
    pub fn open(folder: PathBuf, dimensions: usize) -> anyhow::Result<Self> {
        let mut store = Self { folder, dimensions, segments: Vec::new(), rows: FxHashMap::default() };
        if store.folder.is_dir() {
            for path in segment_paths(&store.folder)? {
                store.add(&path)?;
            }
        }
        Ok(store)
    }

    /// Copies the vector of `key` into `into`; `false` when the store does not hold it.
    pub fn read(&self, key: &Key, into: &mut [f32]) -> bool {
        let Some(&(segment, row)) = self.rows.get(key) else { return false };
        let bytes = &self.segments[segment as usize];
        let start = vectors_at(rows_of(bytes)) + row as usize * self.dimensions * 4;
        let vector = bytes[start..start + self.dimensions * 4].as_chunks::<4>().0;
        into.iter_mut().zip(vector).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
        true
    }

    /// Whether the store holds the vector of `key`.
    pub fn contains(&self, key: &Key) -> bool {
        self.rows.contains_key(key)
    }

    /// Writes the vectors of `keys` (row-major, one row a key) as a new segment.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn append(&mut self, keys: &[Key], vectors: &[f32]) -> anyhow::Result<()> {
        debug_assert_eq!(vectors.len(), keys.len() * self.dimensions, "one row a key");
        if keys.is_empty() {
            return Ok(());
        }
        let bytes = segment(keys, vectors, self.dimensions)?;
        let name = blake3::hash(keys.as_flattened()).to_hex();
        let path = self.folder.join(format!("{}.segment", &name[..32]));
        cache::write_whole(&path, &bytes)?;
        self.add(&path)
    }

    fn add(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        // SAFETY: segments are written once, under another name, and never changed after the rename; the store is
        // this program's own folder. Whoever truncates a mapped segment gets a bus error, not wrong numbers.
        let bytes = unsafe { Mmap::map(&file) }.with_context(|| path.display().to_string())?;
        if !is_whole(&bytes, self.dimensions) {
            return Ok(());
        }
        let at = u32::try_from(self.segments.len()).context("more than 2^32 segments")?;
        let rows = rows_of(&bytes);
        let keys = bytes[HEADER_BYTES..vectors_at(rows)].as_chunks::<KEY_BYTES>().0;
        self.rows.extend((0..).zip(keys).map(|(row, key)| (*key, (at, row))));
        self.segments.push(bytes);
        Ok(())
    }
}

/// The segments in name order, so that a text held twice is read from the same one every time.
fn segment_paths(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.with_context(|| folder.display().to_string())?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort();
    Ok(paths)
}

fn segment(keys: &[Key], vectors: &[f32], dimensions: usize) -> anyhow::Result<Vec<u8>> {
    let rows = u32::try_from(keys.len()).context("more than 2^32 rows in a segment")?;
    let mut bytes = Vec::with_capacity(vectors_at(rows) + vectors.len() * 4 + DIGEST_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(dimensions).context("more than 2^32 dimensions")?.to_le_bytes());
    bytes.extend_from_slice(&rows.to_le_bytes());
    bytes.extend_from_slice(keys.as_flattened());
    bytes.extend(vectors.iter().flat_map(|value| value.to_le_bytes()));
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    Ok(bytes)
}

fn is_whole(bytes: &[u8], dimensions: usize) -> bool {
    let word =
        |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
    let (Some(found), Some(rows)) = (word(8), word(12)) else { return false };
    let expected = HEADER_BYTES as u64 + u64::from(rows) * (KEY_BYTES as u64 + dimensions as u64 * 4) + 32;
    if !bytes.starts_with(MAGIC) || found as usize != dimensions || bytes.len() as u64 != expected {
        return false;
    }
    let (content, digest) = bytes.split_at(bytes.len() - DIGEST_BYTES);
    blake3::hash(content).as_bytes() == digest
}

/// The number of rows a whole segment's header states.
fn rows_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]])
}

fn vectors_at(rows: u32) -> usize {
    HEADER_BYTES + rows as usize * KEY_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filled(folder: &Path) -> EmbeddingStore {
        let mut store = EmbeddingStore::open(folder.to_path_buf(), 2).unwrap();
        store.append(&[key("", "a"), key("query: ", "a")], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        store
    }

    #[test]
    fn a_vector_comes_back_bit_for_bit_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let store = EmbeddingStore::open(folder.path().to_path_buf(), 2).unwrap();
        let mut vector = [0.0; 2];
        assert!(store.read(&key("query: ", "a"), &mut vector));
        assert_eq!(vector, [3.0, 4.0]);
        assert!(!store.contains(&key("", "never encoded")));
    }

    #[test]
    fn a_damaged_or_cut_segment_is_passed_over() {
        for damage in [|bytes: &mut Vec<u8>| bytes[40] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(50)] {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path());
            let path = segment_paths(folder.path()).unwrap().remove(0);
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let store = EmbeddingStore::open(folder.path().to_path_buf(), 2).unwrap();
            assert!(!store.contains(&key("", "a")));
        }
    }

    #[test]
    fn another_encoder_s_dimensions_are_not_mixed_in() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        assert!(!EmbeddingStore::open(folder.path().to_path_buf(), 4).unwrap().contains(&key("", "a")));
    }

    #[test]
    fn a_prompt_cannot_be_mistaken_for_text() {
        assert_ne!(key("ab", "c"), key("a", "bc"));
    }
}
