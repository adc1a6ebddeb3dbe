//! Opening a collection: which layout a path has, which manifest describes it, and what follows from that.

use std::collections::BTreeSet;
use std::path::Path;

use relevance::scale::Level;
use relevance::{Grade, Judgments, Scale, SelfHits};

use crate::collection::{Collection, Document, Format, Query};
use crate::error::{Error, Result};
use crate::manifest::{Manifest, ScaleEntry};
use crate::ratings::Ratings;
use crate::trec::JudgmentOptions;
use crate::{beir, chorus, quati, recorded, smart, trec_folder};

/// How a collection is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The split to read judgments from; the manifest's default, or the usual one, when `None`.
    pub split: Option<String>,
    /// The most bytes the collection may take in memory.
    pub memory_bytes: u64,
    /// The most bytes one document (one line of JSON) may have.
    pub document_bytes: u64,
    /// Refuse two different grades for one pair.
    pub refuse_conflicts: bool,
    /// Keep documents and queries whose id stood before (BEIR's layout) instead of refusing them: for `check`, which
    /// reports them.
    pub keep_duplicates: bool,
    /// The manifest that describes the collection. When `None`: a `manifest.toml` beside the files, or an embedded
    /// manifest whose files are all there with their sizes.
    pub manifest: Option<Manifest>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            split: None,
            memory_bytes: 8 << 30,
            document_bytes: 16 << 20,
            refuse_conflicts: true,
            keep_duplicates: false,
            manifest: None,
        }
    }
}

impl OpenOptions {
    pub(crate) fn judgments(&self) -> JudgmentOptions {
        JudgmentOptions { refuse_conflicts: self.refuse_conflicts, memory_bytes: self.memory_bytes }
    }
}

/// Opens the collection at `path`: a directory in one of the known layouts, or one file of recorded pairs.
///
/// # Errors
/// When no known layout fits, a file is missing, or anything in a file is not as its format asks; each with file and
/// line. Nothing is read twice, and nothing beyond the memory budget.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Collection> {
    let manifest = match &options.manifest {
        Some(manifest) => Some(manifest.clone()),
        None => find_manifest(path)?,
    };
    let format = match &manifest {
        Some(manifest) => manifest.format,
        None => detect(path)?,
    };
    let has_splits = matches!(format, Format::Beir | Format::RecordedPairs);
    if let (Some(wanted), false) = (&options.split, has_splits) {
        let available = manifest.as_ref().map_or(&[][..], |manifest| &manifest.splits);
        require_split(path, wanted, available)?;
    }
    let mut options = options.clone();
    if options.split.is_none() {
        options.split = manifest.as_ref().and_then(|manifest| manifest.default_split.clone());
    }
    let parts = match format {
        Format::Beir => beir::open(path, &options),
        Format::Trec => trec_folder::open(path, manifest.as_ref(), &options),
        Format::Smart => smart::open(path, &options),
        Format::Chorus => chorus::open(path, &options),
        Format::Quati => quati::open(path, &options),
        Format::RecordedPairs => recorded::open(path, &options),
        Format::Log => Err(Error::Unrecognised {
            path: path.to_owned(),
            expected: "a collection: documents, queries and judgments".to_owned(),
            found: "a log of what people did".to_owned(),
        }),
    }?;
    finish(parts, path, format, manifest)
}

/// Refuses a split that is none of those `available`, by name.
pub(crate) fn require_split(path: &Path, wanted: &str, available: &[String]) -> Result<()> {
    match available.iter().any(|split| split == wanted) {
        true => Ok(()),
        false => Err(Error::UnknownSplit {
            path: path.to_owned(),
            split: wanted.to_owned(),
            available: available.to_vec(),
        }),
    }
}

fn find_manifest(path: &Path) -> Result<Option<Manifest>> {
    let own = path.join("manifest.toml");
    if own.is_file() {
        let toml = std::fs::read_to_string(&own).map_err(|error| Error::io(&own, error))?;
        return Manifest::parse(&toml, &own).map(Some);
    }
    Ok(Manifest::recognise(path).cloned())
}

/// Whether a layout fits a path, by what is there.
type Fits = fn(&Path) -> bool;

/// The layouts in the order they are tried: the more particular first.
const KNOWN: [(Format, Fits); 6] = [
    (Format::Beir, beir::is_beir),
    (Format::Smart, smart::is_smart),
    (Format::Chorus, chorus::is_chorus),
    (Format::Quati, quati::is_quati),
    (Format::RecordedPairs, recorded::is_recorded),
    (Format::Trec, trec_folder::is_trec),
];

/// Whether what lies at `path` has the layout `format`.
pub(crate) fn fits(format: Format, path: &Path) -> bool {
    KNOWN.iter().any(|(known, fits)| *known == format && fits(path))
}

fn detect(path: &Path) -> Result<Format> {
    if let Err(error) = std::fs::metadata(path) {
        return Err(Error::io(path, error));
    }
    KNOWN.iter().find(|(_, fits)| fits(path)).map(|(format, _)| *format).ok_or_else(|| Error::Unrecognised {
        path: path.to_owned(),
        expected: "a BEIR folder (corpus.jsonl, queries.jsonl, qrels/), a TREC folder (qrels*, topics*, documents with \
                   <DOC> markup or a .tar.gz of pages), a SMART folder (*.all*, *.qry, *qrel*), a Chorus folder \
                   (products/*.json.zip, *_rated.csv), a Quati folder (annotator_*.tsv) or recorded pairs (*.jsonl \
                   with query, text and human)"
            .to_owned(),
        found: collections_within(path),
    })
}

/// What lies at a path that is no collection: perhaps a folder of collections (CQADupStack's forums), each to be opened.
fn collections_within(path: &Path) -> String {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter(|entry| KNOWN.iter().any(|(_, fits)| fits(&entry.path())))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    match names.is_empty() {
        true => "none of them".to_owned(),
        false => format!("a folder of collections: open one of {}", names.join(", ")),
    }
}

fn finish(parts: Parts, path: &Path, format: Format, manifest: Option<Manifest>) -> Result<Collection> {
    let Parts { documents, queries, mut judgments, split, splits, ratings, mut notes } = parts;
    let folder = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut name = folder.unwrap_or_else(|| "collection".to_owned());
    let (mut stated, mut self_hits) = (None, SelfHits::Keep);
    if let Some(manifest) = manifest {
        notes.push(format!("described by the manifest \"{}\"", manifest.name));
        if let Some(scale) = &manifest.scale {
            judgments = map_grades(judgments, scale, &mut notes);
        }
        stated = manifest.scale();
        self_hits = manifest.self_hits;
        name = manifest.name;
    }
    Ok(Collection {
        name,
        path: Some(path.to_owned()),
        format,
        scale_is_stated: stated.is_some(),
        scale: stated.unwrap_or_else(|| observed_scale(&judgments)),
        documents,
        queries,
        judgments,
        self_hits,
        split,
        splits,
        ratings,
        notes,
    })
}

/// The judgments with the files' codes replaced by grades; a code the map does not know stays as it is (`check`
/// reports it as outside the scale).
fn map_grades(judgments: Judgments, scale: &ScaleEntry, notes: &mut Vec<String>) -> Judgments {
    let map = scale.mapping().unwrap_or_default();
    if map.is_empty() {
        return judgments;
    }
    let said: Vec<_> = map.iter().map(|(code, grade)| format!("{code} -> {grade}")).collect();
    notes.push(format!("codes of the judgment file mapped to grades: {}", said.join(", ")));
    let grade = |code: Grade| map.get(&code).copied().unwrap_or(code);
    let mut mapped = Judgments::new();
    for query in judgments.queries() {
        for (document, code) in query.iter() {
            mapped.insert(query.query(), document, grade(code));
        }
    }
    mapped
}

/// What the readers of a layout hand over before names, scales and maps are settled.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub documents: Vec<Document>,
    pub queries: Vec<Query>,
    pub judgments: Judgments,
    pub split: Option<String>,
    pub splits: Vec<String>,
    pub ratings: Option<Ratings>,
    pub notes: Vec<String>,
}

/// The scale that the grades seen in `judgments` span, for collections that state none: relevant from 1 on.
fn observed_scale(judgments: &Judgments) -> Scale {
    let seen: BTreeSet<Grade> =
        judgments.queries().flat_map(|query| query.iter()).map(|(_, grade)| grade).collect();
    let highest = seen.last().copied().unwrap_or(1);
    let levels = seen.into_iter().map(|grade| Level { grade, meaning: String::new() }).collect();
    Scale::new("as observed", levels, highest.min(1)).unwrap_or_else(Scale::binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unstated_scale_is_the_grades_that_were_seen() {
        let judgments: Judgments = [("q", "a", 3), ("q", "b", 0), ("r", "a", 3)].into_iter().collect();
        let scale = observed_scale(&judgments);
        assert_eq!(scale.levels().iter().map(|level| level.grade).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(scale.relevant_from(), 1);
        assert_eq!(observed_scale(&Judgments::new()), Scale::binary());
        let all_zero: Judgments = [("q", "a", 0)].into_iter().collect();
        assert_eq!(observed_scale(&all_zero).highest(), 0);
    }
}
