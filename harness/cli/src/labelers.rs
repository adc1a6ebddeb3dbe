//! Pairs with their texts, and the labelers that grade them.

use std::path::Path;

use anyhow::Context;
use datasets::pairs::{self, PairFile, PairOptions};
use relevance::LabeledPair;
use scorer::{EncoderOptions, Labeler, Pair};

use crate::arguments::Options;
use crate::{collections, models, progress};

/// Pairs handed to a labeler at a time: progress moves, and little is lost when the run is stopped.
pub const CHUNK: usize = 1024;

/// Loads a labeler by name or path.
///
/// # Errors
/// When there is no such bundle, or it has no head.
pub fn load(name: &str) -> anyhow::Result<Box<dyn Labeler>> {
    let bundle = models::bundle(name)?;
    scorer::load_labeler(&bundle, &EncoderOptions::default()).with_context(|| name.to_owned())
}

/// Reads a file of pairs whose grades may be absent but whose texts may not.
///
/// # Errors
/// When it cannot be read, or a pair lacks a text; named by line.
pub fn read(file: &Path, wanted: &PairOptions, options: &Options) -> anyhow::Result<PairFile> {
    let wanted = PairOptions { grades_may_be_absent: true, memory_bytes: options.memory, ..wanted.clone() };
    let read = pairs::read(file, &wanted)?;
    read.require_texts()?;
    progress::say(options, format!("{}: {}", file.display(), read.columns));
    Ok(read)
}

/// The judged pairs of a collection, in the order of its queries and judgments, with their texts. Judgments of documents
/// that are not there have none and are left out.
///
/// # Errors
/// When the collection cannot be opened.
pub fn of_collection(
    name: &str,
    split: Option<&str>,
    options: &Options,
) -> anyhow::Result<(Vec<LabeledPair>, relevance::Scale)> {
    let collection = collections::open(name, split, options.memory)?;
    let pairs = PairFile::of_collection(&collection).pairs;
    Ok((pairs, collection.scale))
}

/// The texts of a pair that [`read`] or [`of_collection`] gave.
pub fn texts(pair: &LabeledPair) -> Pair<'_> {
    Pair {
        query: pair.query_text.as_deref().unwrap_or_default(),
        document: pair.document_text.as_deref().unwrap_or_default(),
    }
}

/// Fills in the predicted grade and score of every pair.
///
/// # Errors
/// When the labeler fails.
pub fn predict(pairs: &mut [LabeledPair], labeler: &dyn Labeler, options: &Options) -> anyhow::Result<()> {
    let bar = progress::bar(options, "labelling", pairs.len() as u64);
    for chunk in pairs.chunks_mut(CHUNK) {
        let labels = labeler.label(&chunk.iter().map(texts).collect::<Vec<_>>())?;
        for (pair, label) in chunk.iter_mut().zip(labels) {
            (pair.predicted, pair.score) = (Some(label.grade), Some(label.score));
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}
