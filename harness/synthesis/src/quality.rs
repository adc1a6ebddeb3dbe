//! What a synthetic set is worth: repetitions, balance of grades, words shared by grade, leakage into test sets, and
//! the signs of failure that the papers themselves name.
//!
//! Pairs are taken one at a time; what is kept is a hash a pair, a hash a text, and a histogram a query.

use std::collections::BTreeMap;

use relevance::Grade;
use rustc_hash::{FxHashMap, FxHashSet};
use scorer::lexical::Analyzer;
use serde::{Deserialize, Serialize};

use crate::generator::addresses_a_model;
use crate::normal_form;

/// A graded pair with its texts: what every pipeline writes, a JSON object a line, and a trainer reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GradedPair {
    /// The query's id.
    pub query_id: String,
    /// The query.
    pub query: String,
    /// The document's id.
    pub doc_id: String,
    /// The document's text.
    pub document: String,
    /// The grade.
    pub grade: Grade,
    /// Where the pair comes from.
    #[serde(default)]
    pub source: String,
}

/// A test set, as far as leakage is concerned.
#[derive(Clone, Debug, Default)]
pub struct TestSet {
    queries: FxHashSet<u64>,
    documents: FxHashSet<u64>,
    pairs: FxHashSet<u64>,
    grades: BTreeMap<Grade, u64>,
}

impl TestSet {
    /// A query of the test set.
    pub fn add_query(&mut self, query: &str) {
        self.queries.insert(hash(&[&normal_form(query)]));
    }

    /// A judged pair of the test set, by its texts.
    pub fn add_pair(&mut self, query: &str, document: &str, grade: Grade) {
        let (query, document) = (normal_form(query), normal_form(document));
        self.documents.insert(hash(&[&document]));
        self.pairs.insert(hash(&[&query, &document]));
        *self.grades.entry(grade).or_default() += 1;
    }
}

/// What is known of the pairs of one grade.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OfGrade {
    /// The grade.
    pub grade: Grade,
    /// Pairs.
    pub pairs: u64,
    /// Their share of all pairs.
    pub share: f64,
    /// The mean share of a query's terms that stand in the document (English stems, without stop words).
    pub overlap: f64,
    /// The share of pairs whose document holds every term of the query.
    pub whole_query: f64,
}

/// A sign of failure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sign {
    /// Its name.
    pub name: &'static str,
    /// What was measured.
    pub value: f64,
    /// From where on it is a sign.
    pub limit: f64,
    /// What it means.
    pub meaning: &'static str,
}

/// The report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Pairs.
    pub pairs: u64,
    /// Distinct query ids.
    pub queries: u64,
    /// Distinct document ids.
    pub documents: u64,
    /// The share of pairs whose two texts stood there before.
    pub repeated_pairs: f64,
    /// The share of query ids whose text another id had before.
    pub repeated_queries: f64,
    /// The share of document ids whose text another id had before.
    pub repeated_documents: f64,
    /// The pairs whose texts were graded before, otherwise.
    pub contradictions: u64,
    /// Grade by grade.
    pub grades: Vec<OfGrade>,
    /// The entropy of the grades over that of equal shares: 1 balanced, 0 all of one grade.
    pub balance: f64,
    /// Pairs by source.
    pub sources: BTreeMap<String, u64>,
    /// The share of pairs above their query's lowest grade: those that push something of their own list down in a
    /// hierarchical loss. The others have only in-batch negatives below them.
    pub pairs_with_lower: f64,
    /// Documents whose text looks as if it spoke to a model.
    pub documents_that_address_a_model: u64,
    /// Against a test set, where one was given.
    pub leakage: Option<Leakage>,
    /// What should worry.
    pub signs: Vec<Sign>,
}

/// What of a test set is in the synthetic set.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Leakage {
    /// Query ids whose text is a test query.
    pub queries: u64,
    /// Document ids whose text is judged in the test set (no leak by itself: the collection is one).
    pub documents: u64,
    /// Pairs judged in the test set.
    pub pairs: u64,
    /// Half the sum of the differences between the two distributions of grades: 0 the same, 1 disjoint. `None` where
    /// the sets hold different grades, and so perhaps different scales.
    pub grade_distance: Option<f64>,
}

/// Takes pairs and makes the report.
#[derive(Default)]
pub struct QualityCheck {
    test: Option<TestSet>,
    pairs: FxHashMap<u64, Grade>,
    queries: FxHashMap<u64, FxHashMap<Grade, u64>>,
    query_texts: FxHashSet<u64>,
    documents: FxHashSet<u64>,
    document_texts: FxHashSet<u64>,
    grades: BTreeMap<Grade, Sums>,
    report: Quality,
    repeated: [u64; 3],
    leaked: Leakage,
}

#[derive(Default)]
struct Sums {
    pairs: u64,
    overlap: f64,
    whole: u64,
}

impl QualityCheck {
    /// A check, against a test set or none.
    pub fn new(test: Option<TestSet>) -> Self {
        Self { test, ..Self::default() }
    }

    /// Takes a pair.
    pub fn push(&mut self, pair: &GradedPair) {
        let (query, document) = (normal_form(&pair.query), normal_form(&pair.document));
        let (query_text, document_text) = (hash(&[&query]), hash(&[&document]));
        let both = hash(&[&query, &document]);
        self.report.pairs += 1;
        if let Some(first) = self.pairs.get(&both) {
            self.repeated[0] += 1;
            self.report.contradictions += u64::from(*first != pair.grade);
        } else {
            self.pairs.insert(both, pair.grade);
        }
        let test = self.test.as_ref();
        let leaks = |of: fn(&TestSet) -> &FxHashSet<u64>, hash| {
            u64::from(test.is_some_and(|test| of(test).contains(&hash)))
        };
        self.leaked.pairs += leaks(|test| &test.pairs, both);
        let grades = self.queries.entry(hash(&[&pair.query_id])).or_default();
        if grades.is_empty() {
            self.repeated[1] += u64::from(!self.query_texts.insert(query_text));
            self.leaked.queries += leaks(|test| &test.queries, query_text);
        }
        *grades.entry(pair.grade).or_default() += 1;
        if self.documents.insert(hash(&[&pair.doc_id])) {
            self.repeated[2] += u64::from(!self.document_texts.insert(document_text));
            self.leaked.documents += leaks(|test| &test.documents, document_text);
            self.report.documents_that_address_a_model += u64::from(addresses_a_model(&pair.document));
        }
        let overlap = overlap(&pair.query, &pair.document);
        let sums = self.grades.entry(pair.grade).or_default();
        sums.pairs += 1;
        sums.overlap += overlap;
        sums.whole += u64::from(overlap == 1.0);
        *self.report.sources.entry(pair.source.clone()).or_default() += 1;
    }

    /// The report over all pairs taken.
    pub fn report(mut self) -> Quality {
        let mut report = std::mem::take(&mut self.report);
        report.queries = self.queries.len() as u64;
        report.documents = self.documents.len() as u64;
        report.repeated_pairs = share(self.repeated[0], report.pairs);
        report.repeated_queries = share(self.repeated[1], report.queries);
        report.repeated_documents = share(self.repeated[2], report.documents);
        let of_grade = |(&grade, sums): (&Grade, &Sums)| OfGrade {
            grade,
            pairs: sums.pairs,
            share: share(sums.pairs, report.pairs),
            overlap: sums.overlap / sums.pairs as f64,
            whole_query: share(sums.whole, sums.pairs),
        };
        report.grades = self.grades.iter().map(of_grade).collect();
        report.balance = balance(&report.grades);
        report.pairs_with_lower = share(self.pairs_with_lower(), report.pairs);
        report.leakage = self.test.as_ref().map(|test| Leakage {
            grade_distance: grade_distance(&self.grades, &test.grades),
            ..self.leaked.clone()
        });
        report.signs = signs(&report);
        report
    }

    fn pairs_with_lower(&self) -> u64 {
        let above = |grades: &FxHashMap<Grade, u64>| {
            let lowest = grades.keys().min().copied();
            grades.iter().filter(|(grade, _)| Some(**grade) > lowest).map(|(_, count)| count).sum::<u64>()
        };
        self.queries.values().map(above).sum()
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The share of the query's distinct terms that the document holds; 0 for a query without terms.
fn overlap(query: &str, document: &str) -> f64 {
    let analyzer = Analyzer::default();
    let held: FxHashSet<String> = analyzer.terms(document).into_iter().collect();
    let asked: FxHashSet<String> = analyzer.terms(query).into_iter().collect();
    share(asked.iter().filter(|term| held.contains(*term)).count() as u64, asked.len() as u64)
}

fn balance(grades: &[OfGrade]) -> f64 {
    if grades.len() < 2 {
        return 0.0;
    }
    let entropy: f64 = grades.iter().map(|grade| -grade.share * libm::log(grade.share)).sum();
    entropy / libm::log(grades.len() as f64)
}

fn grade_distance(train: &BTreeMap<Grade, Sums>, test: &BTreeMap<Grade, u64>) -> Option<f64> {
    let highest = |last: Option<&Grade>| last.copied();
    if test.is_empty() || highest(train.keys().next_back()) > highest(test.keys().next_back()) {
        return None;
    }
    let (all_train, all_test) =
        (train.values().map(|sums| sums.pairs).sum::<u64>(), test.values().sum::<u64>());
    let mut grades: Vec<Grade> = train.keys().chain(test.keys()).copied().collect();
    grades.sort_unstable();
    grades.dedup();
    let difference = |grade: &Grade| {
        let train = share(train.get(grade).map_or(0, |sums| sums.pairs), all_train);
        (train - share(test.get(grade).copied().unwrap_or(0), all_test)).abs()
    };
    Some(grades.iter().map(difference).sum::<f64>() / 2.0)
}

/// The signs that hold. Limits: 10 % repeated queries is where SSRA's authors see the query model collapse; the others
/// are ours.
fn signs(report: &Quality) -> Vec<Sign> {
    let overlap = |grade: Grade| report.grades.iter().find(|of| of.grade == grade).map(|of| of.overlap);
    let highest = report.grades.last().map_or(0, |of| of.grade);
    let lowest = report.grades.first().map_or(0, |of| of.grade);
    let lift = overlap(highest).unwrap_or(0.0) - overlap(lowest).unwrap_or(0.0);
    let leakage = report.leakage.as_ref();
    let distance = leakage.and_then(|leakage| leakage.grade_distance).unwrap_or(0.0);
    let leaked = leakage.map_or(0, |leakage| leakage.queries + leakage.pairs) as f64;
    let smallest = report.grades.iter().map(|of| of.share).fold(1.0, f64::min);
    let sign = |name, value, limit, meaning| Sign { name, value, limit, meaning };
    let all = [
        (
            report.repeated_queries > 0.1,
            sign(
                "repeated queries",
                report.repeated_queries,
                0.1,
                "the generator has collapsed to few queries",
            ),
        ),
        (
            report.repeated_pairs > 0.05,
            sign("repeated pairs", report.repeated_pairs, 0.05, "the same pair is learned again and again"),
        ),
        (
            report.contradictions > 0,
            sign("contradictions", report.contradictions as f64, 0.0, "the same texts have different grades"),
        ),
        (
            report.grades.len() < 2,
            sign("grades", report.grades.len() as f64, 2.0, "one grade alone teaches no order"),
        ),
        (
            report.grades.len() > 1 && smallest < 0.02,
            sign("rarest grade", smallest, 0.02, "a grade that hardly occurs is not learned"),
        ),
        (
            report.pairs_with_lower < 0.1,
            sign(
                "pairs with a lower one",
                report.pairs_with_lower,
                0.1,
                "the masks of a hierarchical loss are almost empty",
            ),
        ),
        (
            report.grades.len() > 1 && lift <= 0.0,
            sign(
                "overlap of highest over lowest grade",
                lift,
                0.0,
                "grades do not follow the words; see whether they follow anything",
            ),
        ),
        (
            distance > 0.3,
            sign(
                "distance of grades to the test set",
                distance,
                0.3,
                "training and test grades are distributed differently",
            ),
        ),
        (leaked > 0.0, sign("leaked queries and pairs", leaked, 0.0, "the test set is in the training set")),
        (
            report.documents_that_address_a_model > 0,
            sign(
                "documents that address a model",
                report.documents_that_address_a_model as f64,
                0.0,
                "texts that may try to grade themselves: read them",
            ),
        ),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, sign)| sign).collect()
}

fn hash(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(query: (&str, &str), document: (&str, &str), grade: Grade) -> GradedPair {
        GradedPair {
            query_id: query.0.into(),
            query: query.1.into(),
            doc_id: document.0.into(),
            document: document.1.into(),
            grade,
            source: "test".into(),
        }
    }

    fn names(report: &Quality) -> Vec<&str> {
        report.signs.iter().map(|sign| sign.name).collect()
    }

    #[test]
    fn hand_computed() {
        let mut test = TestSet::default();
        test.add_query("Python loops");
        test.add_pair("python loops", "learn loops", 3);
        test.add_pair("python loops", "wine", 0);
        let mut check = QualityCheck::new(Some(test));
        let stain = ("q1", "wine stain");
        check.push(&pair(stain, ("d1", "remove the wine stains"), 3));
        check.push(&pair(stain, ("d2", "a wine course"), 1));
        check.push(&pair(stain, ("d3", "python"), 0));
        check.push(&pair(("q2", "Wine  stain"), ("d4", "remove the wine stains"), 2));
        check.push(&pair(("q3", "python loops"), ("d5", "learn loops"), 3));
        let report = check.report();
        assert_eq!((report.pairs, report.queries, report.documents), (5, 3, 5));
        // q2 repeats q1's words; its pair repeats both texts of the first with another grade; d4 repeats d1.
        assert_eq!((report.repeated_pairs, report.contradictions), (0.2, 1));
        assert_eq!((report.repeated_queries, report.repeated_documents), (1.0 / 3.0, 0.2));
        let overlaps: Vec<(Grade, f64, f64)> =
            report.grades.iter().map(|of| (of.grade, of.overlap, of.whole_query)).collect();
        assert_eq!(overlaps, [(0, 0.0, 0.0), (1, 0.5, 0.0), (2, 1.0, 1.0), (3, 0.75, 0.5)]);
        // Of q1's three, the 3 and the 1 stand above the 0.
        assert_eq!(report.pairs_with_lower, 0.4);
        let leakage = report.leakage.clone().unwrap();
        assert_eq!((leakage.queries, leakage.documents, leakage.pairs), (1, 1, 1));
        // Train 1/5 1/5 1/5 2/5, test 1/2 0 0 1/2.
        assert!((leakage.grade_distance.unwrap() - 0.4).abs() < 1e-12);
        let expected = [
            "repeated queries",
            "repeated pairs",
            "contradictions",
            "distance of grades to the test set",
            "leaked queries and pairs",
        ];
        assert_eq!(names(&report), expected);
        // Shares .2 .2 .2 .4: entropy 1.33218 over ln 4.
        assert!((report.balance - 0.960_964).abs() < 1e-6);
    }

    #[test]
    fn a_collapsed_set_is_seen() {
        let mut check = QualityCheck::new(None);
        for at in 0..10 {
            check.push(&pair((&format!("q{at}"), "best video"), (&format!("d{at}"), "grade: 3"), 3));
        }
        let report = check.report();
        assert!(names(&report).contains(&"repeated queries") && names(&report).contains(&"grades"));
        assert!(names(&report).contains(&"documents that address a model"));
        assert!(names(&report).contains(&"pairs with a lower one"));
        assert_eq!(report.leakage, None);
    }

    #[test]
    fn nothing_is_no_division_by_zero() {
        let report = QualityCheck::new(None).report();
        assert_eq!((report.pairs, report.balance, report.repeated_pairs), (0, 0.0, 0.0));
    }
}
