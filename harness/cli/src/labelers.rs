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
    say_what_was_read(file, &read, options);
    Ok(read)
}

/// Says on stderr which columns were taken for what, and how many of their texts are blank: a guess may be wrong.
pub fn say_what_was_read(file: &Path, read: &PairFile, options: &Options) {
    let file = file.display();
    progress::say(options, format!("{file}: {}", read.columns));
    let is_blank = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    let count =
        |is_counted: &dyn Fn(&LabeledPair) -> bool| read.pairs.iter().filter(|pair| is_counted(pair)).count();
    let all = read.pairs.len();
    for (what, column, blank) in [
        ("query", &read.columns.query_text, count(&|pair| is_blank(&pair.query_text))),
        ("document", &read.columns.document_text, count(&|pair| is_blank(&pair.document_text))),
    ] {
        if let Some(column) = column.as_ref().filter(|_| blank > 0) {
            let message =
                format!("{file}: {blank} of {all} pairs have no text of the {what} (column {})", column.name);
            progress::say(options, message);
        }
    }
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
