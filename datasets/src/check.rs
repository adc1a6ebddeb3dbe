//! What is odd about a collection, found before a number is computed on it.

use std::collections::BTreeMap;

use relevance::{Grade, Judgments};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::collection::Collection;
use crate::error::quoted;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Numbers may mean something else than they seem to.
    Warning,
    /// Numbers computed on this are wrong.
    Error,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A document id that stands in the corpus more than once.
    DuplicateDocumentId,
    /// A query id that stands among the queries more than once.
    DuplicateQueryId,
    /// A document with neither title nor text.
    EmptyDocument,
    /// A query without text.
    EmptyQuery,
    /// A document with the title and text of an earlier one.
    DuplicateText,
    /// A query with the text of an earlier one.
    DuplicateQueryText,
    /// A judged document that is not in the corpus.
    JudgedDocumentMissing,
    /// A judged query that is not among the queries.
    JudgedQueryMissing,
    /// A query without judgments.
    UnjudgedQuery,
    /// A judged query with no relevant document: every measure of it is zero or undefined.
    NothingRelevant,
    /// A grade that is not on the scale.
    GradeOutsideScale,
    /// The same grade everywhere: nothing can be told apart by it.
    OneGradeOnly,
    /// No grade below the lowest relevant one: what was judged not relevant is left out.
    NoNegatives,
    /// Codes that may run backwards, 1 being the best (Cranfield's do).
    CodesMayRunBackwards,
    /// Nothing states what the grades mean.
    ScaleNotStated,
    /// An id with a blank: run files separate columns by blanks.
    BlankInId,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DuplicateDocumentId => "document ids that stand twice",
            Self::DuplicateQueryId => "query ids that stand twice",
            Self::EmptyDocument => "documents without title and text",
            Self::EmptyQuery => "queries without text",
            Self::DuplicateText => "documents with the text of another",
            Self::DuplicateQueryText => "queries with the text of another",
            Self::JudgedDocumentMissing => "judgments of documents that are not in the corpus",
            Self::JudgedQueryMissing => "judged queries that are not among the queries",
            Self::UnjudgedQuery => "queries without judgments",
            Self::NothingRelevant => "judged queries without a relevant document",
            Self::GradeOutsideScale => "grades that are not on the scale",
            Self::OneGradeOnly => "judgments that all have the same grade",
            Self::NoNegatives => "judgments, none of them below the lowest relevant grade",
            Self::CodesMayRunBackwards => "judgments in codes that may run backwards (1 the best)",
            Self::ScaleNotStated => "judgments on a scale that nothing states",
            Self::BlankInId => "ids with a blank in them (run files separate columns by blanks)",
        })
    }
}

/// One oddity, with how often it occurs and where first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub kind: Kind,
    /// How often it occurs.
    pub count: usize,
    /// The first occurrences, at most [`EXAMPLES`].
    pub examples: Vec<String>,
}

/// How many examples a finding shows.
pub const EXAMPLES: usize = 5;

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.severity, self.count, self.kind)?;
        match self.examples.is_empty() {
            true => Ok(()),
            false => write!(f, ", first: {}", self.examples.join(", ")),
        }
    }
}

/// Everything odd about `collection`, worst first.
pub fn check(collection: &Collection) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_documents(collection, &mut findings);
    check_queries(collection, &mut findings);
    check_pointers(collection, &mut findings);
    check_grades(collection, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Adds a finding when `found` yields anything.
fn report(
    findings: &mut Vec<Finding>,
    severity: Severity,
    kind: Kind,
    found: impl IntoIterator<Item = impl Into<String>>,
) {
    let (mut count, mut examples) = (0, Vec::new());
    for example in found {
        count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example.into());
        }
    }
    if count > 0 {
        findings.push(Finding { severity, kind, count, examples });
    }
}

/// The items whose key stood earlier.
fn repeated<'a, K: Eq + std::hash::Hash + 'a>(
    items: impl Iterator<Item = (K, &'a str)>,
) -> impl Iterator<Item = &'a str> {
    let mut seen = FxHashSet::default();
    items.filter_map(move |(key, id)| (!seen.insert(key)).then_some(id))
}

fn check_documents(collection: &Collection, findings: &mut Vec<Finding>) {
    let documents = || collection.documents.iter();
    let ids = documents().map(|d| (d.id.as_str(), d.id.as_str()));
    report(findings, Severity::Error, Kind::DuplicateDocumentId, repeated(ids));
    let is_empty = |d: &&crate::Document| d.title.trim().is_empty() && d.text.trim().is_empty();
    let empty = documents().filter(is_empty).map(|d| d.id.as_str());
    report(findings, Severity::Warning, Kind::EmptyDocument, empty);
    let texts =
        documents().filter(|d| !is_empty(d)).map(|d| ((d.title.as_str(), d.text.as_str()), d.id.as_str()));
    report(findings, Severity::Note, Kind::DuplicateText, repeated(texts));
    let ids = documents().map(|d| d.id.as_str()).chain(collection.queries.iter().map(|q| q.id.as_str()));
    let blank = ids.filter(|id| id.contains(char::is_whitespace));
    report(findings, Severity::Warning, Kind::BlankInId, blank.map(quoted));
}

fn check_queries(collection: &Collection, findings: &mut Vec<Finding>) {
    let queries = || collection.queries.iter();
    report(
        findings,
        Severity::Error,
        Kind::DuplicateQueryId,
        repeated(queries().map(|q| (q.id.as_str(), q.id.as_str()))),
    );
    let is_empty = |q: &&crate::Query| q.text.trim().is_empty();
    report(findings, Severity::Warning, Kind::EmptyQuery, queries().filter(is_empty).map(|q| q.id.as_str()));
    let texts = queries().filter(|q| !is_empty(q)).map(|q| (q.text.as_str(), q.id.as_str()));
    report(findings, Severity::Note, Kind::DuplicateQueryText, repeated(texts));
    let unjudged = queries().filter(|q| collection.judgments.get(&q.id).is_none()).map(|q| q.id.as_str());
    report(findings, Severity::Note, Kind::UnjudgedQuery, unjudged);
}

/// Judgments that point to nothing.
fn check_pointers(collection: &Collection, findings: &mut Vec<Finding>) {
    let documents: FxHashSet<_> = collection.documents.iter().map(|d| d.id.as_str()).collect();
    let queries: FxHashSet<_> = collection.queries.iter().map(|q| q.id.as_str()).collect();
    let judged = || collection.judgments.queries();
    let strangers = judged().map(|q| q.query()).filter(|id| !queries.contains(id));
    report(findings, Severity::Error, Kind::JudgedQueryMissing, strangers);
    let pairs = judged().flat_map(|q| q.iter().map(move |(document, _)| (q.query(), document)));
    let missing = pairs.filter(|(_, document)| !documents.contains(document));
    let missing = missing.map(|(query, document)| format!("{document} (query {query})"));
    report(findings, Severity::Warning, Kind::JudgedDocumentMissing, missing);
}

fn check_grades(collection: &Collection, findings: &mut Vec<Finding>) {
    let (judgments, scale) = (&collection.judgments, &collection.scale);
    let relevant_from = scale.relevant_from();
    let nothing = judgments.queries().filter(|q| q.iter().all(|(_, grade)| grade < relevant_from));
    report(findings, Severity::Warning, Kind::NothingRelevant, nothing.map(|q| q.query()));
    let pairs =
        judgments.queries().flat_map(|q| q.iter().map(move |(document, grade)| (q.query(), document, grade)));
    let outside = pairs.filter(|(_, _, grade)| !scale.contains(*grade));
    let outside = outside.map(|(query, document, grade)| format!("{grade} for {document} (query {query})"));
    report(findings, Severity::Error, Kind::GradeOutsideScale, outside);
    let counts = grade_counts(judgments);
    let mut all = |severity, kind| {
        let examples =
            counts.iter().take(EXAMPLES).map(|(grade, count)| format!("{count} of grade {grade}")).collect();
        findings.push(Finding { severity, kind, count: counts.values().sum(), examples });
    };
    if counts.is_empty() {
        return;
    }
    if counts.len() == 1 {
        all(Severity::Note, Kind::OneGradeOnly);
    } else if counts.keys().all(|grade| *grade >= relevant_from) {
        all(Severity::Note, Kind::NoNegatives);
    }
    if !collection.scale_is_stated && may_run_backwards(judgments, &counts) {
        all(Severity::Warning, Kind::CodesMayRunBackwards);
    } else if !collection.scale_is_stated && counts.keys().any(|grade| !matches!(grade, 0 | 1)) {
        all(Severity::Note, Kind::ScaleNotStated);
    }
}

fn grade_counts(judgments: &Judgments) -> BTreeMap<Grade, usize> {
    let mut counts = BTreeMap::new();
    for (_, grade) in judgments.queries().flat_map(|query| query.iter()) {
        *counts.entry(grade).or_default() += 1;
    }
    counts
}

/// Signs of codes instead of grades: a -1 beside codes from 1 on and no 0 (Cranfield), as no graded scale has it; or
/// codes 1 to n without 0 where, over the queries that use several, the file lists low codes before high ones.
fn may_run_backwards(judgments: &Judgments, counts: &BTreeMap<Grade, usize>) -> bool {
    let codes: Vec<_> = counts.keys().copied().filter(|code| *code > 0).collect();
    if counts.contains_key(&0) || codes.len() < 3 {
        return false;
    }
    if counts.keys().any(|code| *code < 0) {
        return true;
    }
    let mut steps = FxHashMap::default();
    for query in judgments.queries() {
        let grades: Vec<_> = query.iter().map(|(_, grade)| grade).collect();
        for step in grades.windows(2).filter(|step| step[0] != step[1]) {
            *steps.entry(step[0] < step[1]).or_insert(0usize) += 1;
        }
    }
    let count = |up: bool| steps.get(&up).copied().unwrap_or(0);
    count(true) > 2 * count(false)
}

#[cfg(test)]
mod tests {
    use relevance::{Scale, SelfHits};

    use super::*;
    use crate::{Document, Format, Query};

    fn collection(
        documents: &[(&str, &str)],
        queries: &[(&str, &str)],
        judged: &[(&str, &str, Grade)],
    ) -> Collection {
        let document =
            |&(id, text): &(&str, &str)| Document { id: id.into(), text: text.into(), ..Document::default() };
        Collection {
            name: "test".into(),
            path: None,
            format: Format::Beir,
            documents: documents.iter().map(document).collect(),
            queries: queries.iter().map(|&(id, text)| Query { id: id.into(), text: text.into() }).collect(),
            judgments: judged.iter().copied().collect(),
            scale: Scale::ssra(),
            scale_is_stated: true,
            self_hits: SelfHits::Keep,
            split: None,
            splits: vec![],
            ratings: None,
            notes: vec![],
        }
    }

    fn found(collection: &Collection) -> Vec<(Severity, Kind, usize)> {
        check(collection).into_iter().map(|finding| (finding.severity, finding.kind, finding.count)).collect()
    }

    #[test]
    fn a_sound_collection_has_no_findings() {
        let sound = collection(&[("a", "x"), ("b", "y")], &[("q", "t")], &[("q", "a", 3), ("q", "b", 0)]);
        assert_eq!(found(&sound), []);
    }

    #[test]
    fn each_oddity_is_found_and_counted() {
        let odd = collection(
            &[("a", "x"), ("a", "y"), ("b", "x"), ("c", " "), ("d e", "z")],
            &[("q", "t"), ("q", "u"), ("r", ""), ("s", "t"), ("u", "v")],
            &[("q", "a", 3), ("q", "gone", 0), ("r", "a", 0), ("t", "a", 1), ("s", "a", 7)],
        );
        let expected = [
            (Severity::Error, Kind::DuplicateDocumentId, 1),
            (Severity::Error, Kind::DuplicateQueryId, 1),
            (Severity::Error, Kind::JudgedQueryMissing, 1),
            (Severity::Error, Kind::GradeOutsideScale, 1),
            (Severity::Warning, Kind::EmptyDocument, 1),
            (Severity::Warning, Kind::BlankInId, 1),
            (Severity::Warning, Kind::EmptyQuery, 1),
            (Severity::Warning, Kind::JudgedDocumentMissing, 1),
            (Severity::Warning, Kind::NothingRelevant, 1),
            (Severity::Note, Kind::DuplicateText, 1),
            (Severity::Note, Kind::DuplicateQueryText, 1),
            (Severity::Note, Kind::UnjudgedQuery, 1),
        ];
        assert_eq!(found(&odd), expected);
        let missing = check(&odd).into_iter().find(|f| f.kind == Kind::JudgedDocumentMissing).unwrap();
        assert_eq!(missing.examples, ["gone (query q)"]);
    }

    #[test]
    fn one_grade_and_missing_negatives_are_noted() {
        let one = collection(&[("a", "x")], &[("q", "t")], &[("q", "a", 1)]);
        assert_eq!(found(&one), [(Severity::Note, Kind::OneGradeOnly, 1)]);
        let positive = collection(&[("a", "x"), ("b", "y")], &[("q", "t")], &[("q", "a", 1), ("q", "b", 2)]);
        assert_eq!(found(&positive), [(Severity::Note, Kind::NoNegatives, 2)]);
    }

    #[test]
    fn codes_like_cranfields_are_suspected() {
        let counts = |pairs: &[(Grade, usize)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        let none = Judgments::new();
        assert!(may_run_backwards(&none, &counts(&[(-1, 2), (1, 1), (2, 3), (3, 5)])));
        assert!(!may_run_backwards(&none, &counts(&[(0, 2), (1, 1), (2, 3), (3, 5)])));
        assert!(!may_run_backwards(&none, &counts(&[(1, 1), (2, 3), (3, 5)])));
        let rising: Judgments = [("q", "a", 1), ("q", "b", 2), ("q", "c", 3)].into_iter().collect();
        assert!(may_run_backwards(&rising, &grade_counts(&rising)));
    }

    #[test]
    fn examples_are_few_and_counts_are_whole() {
        let ids: Vec<String> = (0..20).map(|n| format!("d{n}")).collect();
        let empty: Vec<_> = ids.iter().map(|id| (id.as_str(), "")).collect();
        let finding = &check(&collection(&empty, &[], &[]))[0];
        assert_eq!((finding.count, finding.examples.len()), (20, EXAMPLES));
        assert!(
            finding.to_string().starts_with("warning: 20 documents without title and text, first: d0, d1")
        );
    }
}
