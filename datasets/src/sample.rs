//! The sample collection inside the binary: short-video search, written for this project. Its grades are authored by
//! its guideline (`sample/GUIDELINE.md`), not collected from raters: good for trying things, no benchmark.

use std::path::Path;

use relevance::{Scale, SelfHits};

use crate::collection::{Collection, Format};
use crate::error::Result;
use crate::records::{document, query, records};
use crate::trec::{JudgmentOptions, parse_judgments};

const CORPUS: &[u8] = include_bytes!("../sample/corpus.jsonl");
const QUERIES: &[u8] = include_bytes!("../sample/queries.jsonl");
const JUDGMENTS: &[u8] = include_bytes!("../sample/qrels/test.tsv");

/// The embedded sample, read. Grades are on SSRA's scale.
///
/// # Errors
/// Never: a test reads it. The readers are those of files, and their errors are not hidden.
pub fn sample() -> Result<Collection> {
    parse_sample(CORPUS, QUERIES, JUDGMENTS)
}

/// The sample from the bytes of its three files, for a page that does not carry them in its module.
///
/// # Errors
/// What the readers say of bytes that are not the sample's.
pub fn parse_sample(corpus: &[u8], queries: &[u8], judgments: &[u8]) -> Result<Collection> {
    let judgments =
        parse_judgments(judgments, Path::new("sample/qrels/test.tsv"), &JudgmentOptions::default())?;
    Ok(Collection {
        name: "sample".to_owned(),
        path: None,
        format: Format::Beir,
        documents: records(corpus, Path::new("sample/corpus.jsonl"), document)?,
        queries: records(queries, Path::new("sample/queries.jsonl"), query)?,
        judgments: judgments.judgments,
        scale: Scale::ssra(),
        scale_is_stated: true,
        self_hits: SelfHits::Keep,
        split: Some("test".to_owned()),
        splits: vec!["test".to_owned()],
        ratings: None,
        notes: vec!["grades are authored by a guideline, not collected from raters".to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Severity, check};

    #[test]
    fn the_sample_is_sound() {
        let sample = sample().unwrap();
        assert!(sample.documents.len() >= 400 && sample.queries.len() >= 60);
        assert!(sample.documents.iter().all(|document| document.metadata.is_some()));
        let worse: Vec<_> = check(&sample).into_iter().filter(|f| f.severity >= Severity::Warning).collect();
        assert!(worse.is_empty(), "{worse:?}");
    }
}
