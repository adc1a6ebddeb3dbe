//! Judgments (TREC calls them qrels): for each query, the grades of the documents somebody looked at.

use rustc_hash::FxHashMap;

use crate::Grade;

/// The judged documents of one query.
#[derive(Clone, Debug, Default)]
pub struct QueryJudgments {
    query: Box<str>,
    documents: Vec<(Box<str>, Grade)>,
    position: FxHashMap<Box<str>, u32>,
}

impl QueryJudgments {
    /// No judgments yet for `query`.
    pub fn new(query: impl Into<Box<str>>) -> Self {
        Self { query: query.into(), ..Self::default() }
    }

    /// The query's id.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Records `grade` for `document`. When the document already has a grade, keeps that one and returns it.
    pub fn insert(&mut self, document: &str, grade: Grade) -> Option<Grade> {
        if let Some(&at) = self.position.get(document) {
            return Some(self.documents[at as usize].1);
        }
        let at = u32::try_from(self.documents.len()).expect("fewer than 2^32 judgments a query");
        self.position.insert(document.into(), at);
        self.documents.push((document.into(), grade));
        None
    }

    /// The grade of `document`, or `None` when nobody judged it.
    #[inline]
    pub fn grade(&self, document: &str) -> Option<Grade> {
        self.position.get(document).map(|&at| self.documents[at as usize].1)
    }

    /// The judged documents and their grades, in the order they were recorded.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Grade)> {
        self.documents.iter().map(|(document, grade)| (&**document, *grade))
    }

    /// How many documents are judged.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether no document is judged.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }
}

/// The judgments of a collection: queries in the order they first appeared.
#[derive(Clone, Debug, Default)]
pub struct Judgments {
    queries: Vec<QueryJudgments>,
    position: FxHashMap<Box<str>, u32>,
}

impl Judgments {
    /// No judgments yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records one judgment. When the pair already has a grade, keeps that one and returns it: the reader decides
    /// whether the repetition is an error.
    pub fn insert(&mut self, query: &str, document: &str, grade: Grade) -> Option<Grade> {
        let at = match self.position.get(query) {
            Some(&at) => at as usize,
            None => {
                let at = self.queries.len();
                self.position.insert(query.into(), u32::try_from(at).expect("fewer than 2^32 queries"));
                self.queries.push(QueryJudgments::new(query));
                at
            }
        };
        self.queries[at].insert(document, grade)
    }

    /// The judgments of one query.
    pub fn get(&self, query: &str) -> Option<&QueryJudgments> {
        self.position.get(query).map(|&at| &self.queries[at as usize])
    }

    /// The grade of one pair, or `None` when nobody judged it.
    pub fn grade(&self, query: &str, document: &str) -> Option<Grade> {
        self.get(query)?.grade(document)
    }

    /// The queries, in the order they first appeared.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &QueryJudgments> {
        self.queries.iter()
    }

    /// How many queries have judgments.
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether there are no judgments at all.
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// How many judged pairs there are over all queries.
    pub fn pairs(&self) -> usize {
        self.queries.iter().map(QueryJudgments::len).sum()
    }
}

impl<'a> FromIterator<(&'a str, &'a str, Grade)> for Judgments {
    /// Collects `(query, document, grade)` triples; of a repeated pair the first grade stays.
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str, Grade)>>(triples: I) -> Self {
        let mut judgments = Self::new();
        for (query, document, grade) in triples {
            judgments.insert(query, document, grade);
        }
        judgments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_pair_keeps_its_first_grade_and_says_so() {
        let mut judgments = Judgments::new();
        assert_eq!(judgments.insert("q", "d", 2), None);
        assert_eq!(judgments.insert("q", "d", 3), Some(2));
        assert_eq!(judgments.grade("q", "d"), Some(2));
        assert_eq!(judgments.grade("q", "other"), None);
        assert_eq!(judgments.pairs(), 1);
    }

    #[test]
    fn queries_come_back_in_the_order_they_came() {
        let judgments: Judgments = [("b", "1", 0), ("a", "1", 1), ("b", "2", 2)].into_iter().collect();
        let order: Vec<_> = judgments.queries().map(|q| (q.query(), q.len())).collect();
        assert_eq!(order, [("b", 2), ("a", 1)]);
    }
}
