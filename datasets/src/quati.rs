//! Quati's annotations: `annotator_*.tsv`, the same pairs in each, one rater a file (`doccano_id query passage
//! passage_id label score`), and optionally an LLM's judgments of the same topics (`llm*qrels*.txt`).
//!
//! The judgments of the collection are the median of the raters (the lower of two middle grades); the raters'
//! own grades are the ratings. The tables hold no topic numbers: a topic's number is the one the LLM's file judges all
//! its passages under, or else its position.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use relevance::{Grade, Judgments, LabeledPair};

use crate::collection::{Document, Query};
use crate::error::{Error, Result, quoted};
use crate::open::{OpenOptions, Parts};
use crate::pairs::{PairOptions, read};
use crate::ratings::Ratings;
use crate::source::Budget;
use crate::trec::read_judgments;

fn files(directory: &Path, start: &str, end: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        path.file_name()
            .map(|name| name.to_string_lossy())
            .is_some_and(|n| n.starts_with(start) && n.ends_with(end))
    };
    let mut found: Vec<_> = paths.filter(fits).collect();
    found.sort();
    found
}

pub(crate) fn is_quati(directory: &Path) -> bool {
    !files(directory, "annotator_", ".tsv").is_empty()
}

pub(crate) fn open(directory: &Path, options: &OpenOptions) -> Result<Parts> {
    let annotators = files(directory, "annotator_", ".tsv");
    let named = PairOptions {
        query: Some("query".into()),
        query_text: Some("query".into()),
        document: Some("passage_id".into()),
        document_text: Some("passage".into()),
        human: Some("score".into()),
        memory_bytes: options.memory_bytes,
        ..PairOptions::default()
    };
    let budget = Budget::new(options.memory_bytes);
    let mut tables = Vec::new();
    for path in &annotators {
        budget.expect(path)?;
        tables.push((path, read(path, &named)?));
    }
    let Some((_, first)) = tables.first() else {
        return Err(Error::Unrecognised {
            path: directory.to_owned(),
            expected: "Quati's annotator_*.tsv".to_owned(),
            found: "none".to_owned(),
        });
    };
    for (path, table) in &tables[1..] {
        same_pairs(&first.pairs, &table.pairs, &table.lines, path)?;
    }
    let llm = match files(directory, "llm", "qrels.txt").first() {
        Some(path) => Some(read_judgments(path, &options.judgments())?.judgments),
        None => None,
    };
    let topics = topics(&first.pairs, llm.as_ref());
    let raters = tables.iter().map(|(path, _)| rater(path)).chain(llm.is_some().then(|| "llm".to_owned()));
    let mut ratings = Ratings::new(raters.collect());
    let mut parts = Parts::default();
    for (at, pair) in first.pairs.iter().enumerate() {
        let topic = topics[pair.query.as_str()].as_str();
        let humans: Vec<_> = tables.iter().map(|(_, table)| table.pairs[at].human).collect();
        if let Some(grade) = median(&humans) {
            parts.judgments.insert(topic, &pair.document, grade);
        }
        let llm = llm.iter().map(|judgments| judgments.grade(topic, &pair.document));
        ratings.push(topic, &pair.document, &humans.iter().copied().chain(llm).collect::<Vec<_>>());
    }
    parts.documents = documents(&first.pairs);
    parts.queries = queries(&first.pairs, &topics);
    parts.ratings = Some(ratings);
    parts.notes.push(format!("judgments are the median of {} raters", tables.len()));
    Ok(parts)
}

fn rater(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.splitn(3, '_').take(2).collect::<Vec<_>>().join("_")
}

/// Refuses a rater's file that does not hold the pairs of the first rater's in the same order.
fn same_pairs(first: &[LabeledPair], other: &[LabeledPair], lines: &[u64], path: &Path) -> Result<()> {
    if first.len() != other.len() {
        let expected = format!("{} pairs, as the first rater's file has", first.len());
        return Err(Error::malformed(path, 1, expected, other.len().to_string()));
    }
    let differs = |(a, b): (&LabeledPair, &LabeledPair)| a.query != b.query || a.document != b.document;
    match first.iter().zip(other).position(differs) {
        None => Ok(()),
        Some(at) => {
            let expected = format!("the first rater's pair with passage {}", quoted(&first[at].document));
            Err(Error::malformed(path, lines[at], expected, quoted(&other[at].document)))
        }
    }
}

/// Topic text -> topic id.
fn topics<'a>(pairs: &'a [LabeledPair], llm: Option<&Judgments>) -> BTreeMap<&'a str, String> {
    let mut passages: Vec<(&str, Vec<&str>)> = Vec::new();
    for pair in pairs {
        match passages.iter_mut().find(|(query, _)| *query == pair.query) {
            Some((_, of_query)) => of_query.push(&pair.document),
            None => passages.push((&pair.query, vec![&pair.document])),
        }
    }
    let numbers = llm.and_then(|llm| {
        let number = |of_query: &Vec<&str>| {
            let judges_all =
                |query: &&relevance::QueryJudgments| of_query.iter().all(|d| query.grade(d).is_some());
            llm.queries().find(judges_all).map(|query| query.query().to_owned())
        };
        passages.iter().map(|(_, of_query)| number(of_query)).collect::<Option<Vec<_>>>()
    });
    let numbers = numbers.unwrap_or_else(|| (1..=passages.len()).map(|at| at.to_string()).collect());
    passages.into_iter().map(|(query, _)| query).zip(numbers).collect()
}

fn queries(pairs: &[LabeledPair], topics: &BTreeMap<&str, String>) -> Vec<Query> {
    let mut queries: Vec<Query> = Vec::new();
    for pair in pairs {
        if queries.iter().all(|query| query.text != pair.query) {
            queries.push(Query { id: topics[pair.query.as_str()].clone(), text: pair.query.clone() });
        }
    }
    queries
}

/// The distinct passages, in file order.
pub(crate) fn documents(pairs: &[LabeledPair]) -> Vec<Document> {
    let mut seen = rustc_hash::FxHashSet::default();
    let new = pairs.iter().filter(|pair| seen.insert(pair.document.as_str()));
    let document = |pair: &LabeledPair| Document {
        id: pair.document.clone(),
        text: pair.document_text.clone().unwrap_or_default(),
        ..Document::default()
    };
    new.map(document).collect()
}

fn median(grades: &[Option<Grade>]) -> Option<Grade> {
    let mut given: Vec<_> = grades.iter().flatten().copied().collect();
    given.sort_unstable();
    given.get(given.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_gaps_and_takes_the_lower_middle() {
        assert_eq!(median(&[Some(3), None, Some(0), Some(2)]), Some(2));
        assert_eq!(median(&[Some(3), Some(1)]), Some(1));
        assert_eq!(median(&[None]), None);
    }

    #[test]
    fn a_topic_takes_the_number_all_its_passages_are_judged_under() {
        let pair = |query: &str, document: &str| LabeledPair {
            query: query.into(),
            document: document.into(),
            ..LabeledPair::default()
        };
        let pairs = [pair("x", "a"), pair("y", "b"), pair("x", "c")];
        let llm: Judgments =
            [("7", "a", 1), ("8", "a", 1), ("8", "c", 0), ("9", "b", 0)].into_iter().collect();
        assert_eq!(topics(&pairs, Some(&llm)), [("x", "8".to_owned()), ("y", "9".to_owned())].into());
        assert_eq!(topics(&pairs, None), [("x", "1".to_owned()), ("y", "2".to_owned())].into());
    }
}
