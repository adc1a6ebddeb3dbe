//! Which collections there are and how they come into memory: the embedded sample, pulled ones by name, any folder, or
//! one made of labelled pairs.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use datasets::manifest::{FileEntry, Manifest};
use datasets::pairs::{self, PairFile, PairOptions};
use datasets::trec::{self, JudgmentOptions};
use datasets::{Collection, Document, Format, OpenOptions, Query, store};
use relevance::{Grade, Judgments, LabeledPair, Scale, SelfHits};
use rustc_hash::FxHashSet;
use serde_json::{Value, json};

use crate::arguments::Options;
use crate::exit::Usage;
use crate::pair_columns::PairColumns;
use crate::pull::{self, Wanted};
use crate::{cache, interrupt, labelers, progress};

/// The name of the collection inside the binary.
pub const SAMPLE: &str = "sample";

/// Opens a collection by name or folder.
///
/// # Errors
/// When there is none of that name, its files cannot be read, or an id stands twice.
pub fn open(name: &str, split: Option<&str>, memory_bytes: u64) -> anyhow::Result<Collection> {
    open_with(name, OpenOptions { split: split.map(str::to_owned), memory_bytes, ..OpenOptions::default() })
}

/// Opens a collection as it stands, ids that stand twice included, to look for what is wrong with it.
///
/// # Errors
/// When there is none of that name, or its files cannot be read.
pub fn open_to_check(name: &str, split: Option<&str>, memory_bytes: u64) -> anyhow::Result<Collection> {
    let split = split.map(str::to_owned);
    open_with(name, OpenOptions { split, memory_bytes, keep_duplicates: true, ..OpenOptions::default() })
}

/// The documents of a collection, or of a file alone that is called `corpus.jsonl` (packed or not).
///
/// # Errors
/// As [`open`].
pub fn documents(name: &str, memory_bytes: u64) -> anyhow::Result<Vec<Document>> {
    let path = Path::new(name);
    let is_corpus = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("corpus.jsonl"));
    match is_corpus && path.is_file() {
        true => Ok(datasets::documents(path, &OpenOptions { memory_bytes, ..OpenOptions::default() })?),
        false => Ok(open(name, None, memory_bytes)?.documents),
    }
}

fn open_with(name: &str, options: OpenOptions) -> anyhow::Result<Collection> {
    if name == SAMPLE {
        let sample = datasets::sample()?;
        if let Some(split) = &options.split {
            sample.require_split(split)?;
        }
        return Ok(sample);
    }
    let pulled = cache::data()?.join(name);
    let path = [PathBuf::from(name), pulled].into_iter().find(|path| path.exists());
    let Some(path) = path else { return Err(unknown(name)) };
    Ok(datasets::open(&path, &OpenOptions { manifest: Manifest::named(name).cloned(), ..options })?)
}

fn unknown(name: &str) -> anyhow::Error {
    match Manifest::named(name) {
        Some(_) => Usage::error(format!("{name}: not pulled yet; `graded data pull {name}` fetches it")),
        None => Usage::error(format!("{name}: neither a folder nor a collection `graded data list` knows")),
    }
}

/// A collection of the texts of labelled pairs: what is judged is all there is.
///
/// # Errors
/// When the file cannot be read, or lacks texts or human grades.
pub fn of_pairs(file: &Path, columns: &PairColumns, options: &Options) -> anyhow::Result<Collection> {
    let read = pairs::read(file, &columns.options(options.memory))?;
    labelers::say_what_was_read(file, &read, options);
    let lowest = read.pairs.iter().filter_map(|pair| pair.human).min().unwrap_or_default();
    if lowest > 0 {
        let file = file.display();
        progress::say(
            options,
            format!(
                "{file}: no grade below {lowest}: every graded document counts as relevant, as grades above 0 do"
            ),
        );
    }
    let collection = of_read_pairs(file, &read, |pair| pair.human)?;
    match collection.judgments.is_empty() {
        true => Err(Usage::error(format!("{}: no pair has a human grade", file.display()))),
        false => Ok(collection),
    }
}

/// The same of pairs that need no human grade: `stand_in` says what is learned of one that has none. Those pairs, by query
/// and document, come along.
///
/// # Errors
/// When the file cannot be read, lacks texts, or no pair has either grade.
pub fn of_taught_pairs(
    file: &Path,
    columns: &PairColumns,
    stand_in: impl Fn(&LabeledPair) -> Option<Grade>,
    options: &Options,
) -> anyhow::Result<(Collection, Vec<(String, String)>)> {
    let wanted = PairOptions { grades_may_be_absent: true, ..columns.options(options.memory) };
    let read = pairs::read(file, &wanted)?;
    labelers::say_what_was_read(file, &read, options);
    let collection = of_read_pairs(file, &read, |pair| pair.human.or_else(|| stand_in(pair)))?;
    if collection.judgments.is_empty() {
        let file = file.display();
        return Err(Usage::error(format!("{file}: no pair has a human grade or one of the teacher's")));
    }
    let without = read.pairs.iter().filter(|pair| pair.human.is_none());
    let without = without.map(|pair| (pair.query.clone(), pair.document.clone()));
    let stood_in = without.filter(|(query, document)| collection.judgments.grade(query, document).is_some());
    let stood_in = stood_in.collect();
    Ok((collection, stood_in))
}

fn of_read_pairs(
    file: &Path,
    read: &PairFile,
    grade_of: impl Fn(&LabeledPair) -> Option<Grade>,
) -> anyhow::Result<Collection> {
    let mut collection = Collection {
        name: file.display().to_string(),
        path: Some(file.to_path_buf()),
        format: Format::Beir,
        documents: Vec::new(),
        queries: Vec::new(),
        judgments: Judgments::new(),
        scale: Scale::ssra(),
        scale_is_stated: false,
        self_hits: SelfHits::Keep,
        split: None,
        splits: Vec::new(),
        ratings: None,
        notes: Vec::new(),
    };
    let (mut queries, mut documents) = (FxHashSet::default(), FxHashSet::default());
    for (pair, line) in read.pairs.iter().zip(&read.lines) {
        let (Some(query_text), Some(document_text)) = (&pair.query_text, &pair.document_text) else {
            return Err(Usage::error(format!(
                "{}:{line}: expected the texts of query and document",
                file.display()
            )));
        };
        let Some(grade) = grade_of(pair) else { continue };
        if queries.insert(pair.query.as_str()) {
            collection.queries.push(Query { id: pair.query.clone(), text: query_text.clone() });
        }
        if documents.insert(pair.document.as_str()) {
            let (id, text) = (pair.document.clone(), document_text.clone());
            collection.documents.push(Document { id, text, ..Document::default() });
        }
        if let Some(first) = collection.judgments.insert(&pair.query, &pair.document, grade)
            && first != grade
        {
            let found = format!("{}:{line}: the pair was graded {first} before, now {grade}", file.display());
            return Err(Usage::error(found));
        }
    }
    Ok(collection)
}

/// Fetches a collection into the cache and returns its folder; one that is there already is left alone.
///
/// # Errors
/// When a file has no address and no folder was given, no address answers, or what arrived is not what is pinned.
pub fn pull(manifest: &Manifest, from: Option<&Path>, options: &Options) -> anyhow::Result<PathBuf> {
    let cache = cache::data()?;
    let folder = store::collection_folder(&cache, &manifest.name);
    if folder.exists() {
        return Ok(folder);
    }
    interrupt::writing_in(&cache);
    if let Some(from) = from {
        return Ok(store::place(manifest, from, &cache)?);
    }
    if let Some(file) = manifest.files.iter().find(|file| file.url.is_none()) {
        let home = manifest.homepage.as_deref().unwrap_or("its home");
        let wanted = format!("{}: {} cannot be fetched from an address", manifest.name, file.path);
        return Err(Usage::error(format!(
            "{wanted}; get it from {home} and name its folder with --from DIR"
        )));
    }
    for file in &manifest.files {
        fetch(manifest, file, &cache, options)?;
    }
    Ok(store::finish(manifest, &cache)?)
}

fn fetch(manifest: &Manifest, file: &FileEntry, cache: &Path, options: &Options) -> anyhow::Result<()> {
    let target = store::download_path(cache, manifest, file);
    if store::verify(&target, file).is_ok() {
        return Ok(());
    }
    let urls = file.urls().map(str::to_owned).collect::<Vec<_>>();
    let wanted = Wanted { urls: &urls, bytes: file.bytes, sha256: file.sha256.as_deref() };
    let found = pull::fetch(wanted, &target, options)
        .with_context(|| format!("{}; `--from DIR` takes the files from a folder", manifest.name))?;
    if !file.is_pinned() {
        progress::say(options, format!("{}: not pinned; recorded sha256 {found}", file.path));
    }
    Ok(())
}

/// Reads a judgment file, and says so when it repeats pairs.
///
/// # Errors
/// When it cannot be read.
pub fn read_judgments(path: &Path, options: &Options) -> anyhow::Result<Judgments> {
    let wanted = JudgmentOptions { memory_bytes: options.memory, ..JudgmentOptions::default() };
    let file = trec::read_judgments(path, &wanted)?;
    if let Some(line) = file.first_repeated_line {
        let path = file.path.display();
        progress::say(
            options,
            format!("{path}:{line}: {} pairs are judged twice, with the same grade", file.repeated),
        );
    }
    Ok(file.judgments)
}

/// Digests of documents, queries and judgments: equal digests, equal input.
pub fn fingerprint(collection: &Collection) -> Value {
    let documents = digest(collection.documents.iter().map(|d| [d.id.as_str(), &d.title, &d.text]));
    let queries = digest(collection.queries.iter().map(|q| [q.id.as_str(), &q.text]));
    json!({
        "documents": documents,
        "queries": queries,
        "judgments": judgments_digest(&collection.judgments),
        "split": collection.split,
    })
}

/// The digest of judgments alone.
pub fn judgments_fingerprint(judgments: &Judgments) -> Value {
    json!({ "judgments": judgments_digest(judgments) })
}

/// Over the triples sorted by query, then document: the order of the file does not matter.
fn judgments_digest(judgments: &Judgments) -> String {
    let mut queries = judgments.queries().collect::<Vec<_>>();
    queries.sort_unstable_by_key(|query| query.query());
    let mut records = Records::default();
    let (mut judged, mut order, mut written) = (Vec::new(), Vec::new(), String::new());
    for query in queries {
        judged.clear();
        judged.extend(query.iter());
        // The first bytes decide nearly every comparison, as one number.
        order.clear();
        order
            .extend(judged.iter().enumerate().map(|(at, &(document, _))| (first_bytes(document), at as u32)));
        let by_id = |one: &(u64, u32), other: &(u64, u32)| {
            one.0.cmp(&other.0).then_with(|| judged[one.1 as usize].0.cmp(judged[other.1 as usize].0))
        };
        if !order.is_sorted_by(|one, other| by_id(one, other).is_le()) {
            order.sort_unstable_by(by_id);
        }
        for &(_, at) in &order {
            let (document, grade) = judged[at as usize];
            written.clear();
            match u8::try_from(grade) {
                Ok(digit @ 0..=9) => written.push(char::from(b'0' + digit)),
                _ => write!(written, "{grade}").expect("a String takes everything"),
            }
            records.push([query.query(), document, &written]);
        }
    }
    records.digest()
}

/// The first eight bytes as a number that orders as they do; zeros where there are fewer.
fn first_bytes(id: &str) -> u64 {
    let mut first = [0; 8];
    let length = id.len().min(8);
    first[..length].copy_from_slice(&id.as_bytes()[..length]);
    u64::from_be_bytes(first)
}

fn digest<'a, const FIELDS: usize>(records: impl Iterator<Item = [&'a str; FIELDS]>) -> String {
    let mut hashed = Records::default();
    records.for_each(|fields| hashed.push(fields));
    hashed.digest()
}

/// blake3 over records of fields, each field preceded by its length so that no two inputs collide by concatenation.
/// Fields are gathered into pieces that the hash takes at full speed.
#[derive(Default)]
struct Records {
    hasher: blake3::Hasher,
    piece: Vec<u8>,
}

impl Records {
    fn push<const FIELDS: usize>(&mut self, fields: [&str; FIELDS]) {
        self.piece.reserve(fields.iter().map(|field| 8 + field.len()).sum());
        for field in fields {
            self.piece.extend_from_slice(&(field.len() as u64).to_le_bytes());
            self.piece.extend_from_slice(field.as_bytes());
        }
        if self.piece.len() >= 1 << 17 {
            self.hasher.update(&self.piece);
            self.piece.clear();
        }
    }

    fn digest(mut self) -> String {
        self.hasher.update(&self.piece);
        self.hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_judgments_does_not_depend_on_their_order() {
        let one: Judgments = [("q", "a", 1), ("r", "b", 0)].into_iter().collect();
        let other: Judgments = [("r", "b", 0), ("q", "a", 1)].into_iter().collect();
        let changed: Judgments = [("q", "a", 2), ("r", "b", 0)].into_iter().collect();
        assert_eq!(judgments_digest(&one), judgments_digest(&other));
        assert_ne!(judgments_digest(&one), judgments_digest(&changed));
    }
}
