//! A graded list: one query and its judged documents, best first. What list-wise training and re-ranking work on.

use crate::{Grade, QueryJudgments};

/// One document of a [`GradedList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GradedDocument {
    /// The document's id.
    pub document: String,
    /// Its grade for the list's query.
    pub grade: Grade,
}

/// A query with its judged documents, highest grade first; documents of equal grade keep the order they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GradedList {
    query: String,
    documents: Vec<GradedDocument>,
}

impl GradedList {
    /// A list of `documents` (any order; sorted here) for `query`.
    pub fn new(query: impl Into<String>, mut documents: Vec<GradedDocument>) -> Self {
        documents.sort_by_key(|document| std::cmp::Reverse(document.grade));
        Self { query: query.into(), documents }
    }

    /// The query's id.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The documents, highest grade first.
    pub fn documents(&self) -> &[GradedDocument] {
        &self.documents
    }

    /// The documents graded exactly `grade`.
    pub fn graded(&self, grade: Grade) -> &[GradedDocument] {
        let from = self.documents.partition_point(|document| document.grade > grade);
        let to = self.documents.partition_point(|document| document.grade >= grade);
        &self.documents[from..to]
    }
}

impl From<&QueryJudgments> for GradedList {
    fn from(judgments: &QueryJudgments) -> Self {
        let documents = judgments
            .iter()
            .map(|(document, grade)| GradedDocument { document: document.to_owned(), grade })
            .collect();
        Self::new(judgments.query(), documents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_stands_best_first_and_knows_its_levels() {
        let mut judgments = QueryJudgments::new("q");
        for (document, grade) in [("a", 0), ("b", 3), ("c", 1), ("d", 3)] {
            judgments.insert(document, grade);
        }
        let list = GradedList::from(&judgments);
        let order: Vec<_> = list.documents().iter().map(|d| d.document.as_str()).collect();
        assert_eq!(order, ["b", "d", "c", "a"]);
        assert_eq!(list.graded(3).len(), 2);
        assert!(list.graded(2).is_empty());
        assert_eq!(list.graded(0)[0].document, "a");
    }
}
