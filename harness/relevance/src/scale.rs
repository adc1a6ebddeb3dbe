//! Named scales: which grades exist, what each means, and from which grade on a document counts as relevant.
//!
//! Converting a grade from one scale to another is a decision somebody makes, so conversions are spelled out in a
//! dataset's manifest (`[scale.map]`), never inferred.

use crate::Grade;

/// One grade of a [`Scale`] and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The number written in files.
    pub grade: Grade,
    /// A few words: what a rater says with this grade.
    pub meaning: String,
}

/// A named, ordered set of grades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    name: String,
    levels: Vec<Level>,
    relevant_from: Grade,
}

impl Scale {
    /// A scale of `levels` (any order; sorted here). A document is relevant from `relevant_from` on.
    /// Returns `None` when there are no levels, when a grade appears twice, or when no level reaches `relevant_from`.
    pub fn new(name: impl Into<String>, mut levels: Vec<Level>, relevant_from: Grade) -> Option<Self> {
        levels.sort_by_key(|level| level.grade);
        let distinct = levels.windows(2).all(|pair| pair[0].grade != pair[1].grade);
        let reachable = levels.last().is_some_and(|top| top.grade >= relevant_from);
        (distinct && reachable).then(|| Self { name: name.into(), levels, relevant_from })
    }

    /// Relevant or not: 0 and 1.
    pub fn binary() -> Self {
        Self::of("binary", &[(0, "not relevant"), (1, "relevant")], 1)
    }

    /// The four grades of SSRA (arXiv 2509.16717), also used by the embedded sample. Meanings in our words.
    pub fn ssra() -> Self {
        let levels = [
            (0, "does not meet the intent"),
            (1, "partly meets it: related, but important aspects do not match"),
            (2, "mostly meets it: non-critical parts are missing"),
            (3, "meets the intent fully and exactly"),
        ];
        Self::of("ssra", &levels, 1)
    }

    /// The six hierarchy labels of CroPS (arXiv 2511.15443, Table 1).
    pub fn crops() -> Self {
        let levels = [
            (0, "in-batch negative"),
            (1, "filtered between pre-rank and rank"),
            (2, "unexposed in rank"),
            (3, "exposed in rank, not clicked"),
            (4, "clicked in rank, or system-level or world-knowledge augmentation"),
            (5, "query-level augmentation"),
        ];
        Self::of("crops", &levels, 4)
    }

    fn of(name: &str, levels: &[(Grade, &str)], relevant_from: Grade) -> Self {
        let levels =
            levels.iter().map(|&(grade, meaning)| Level { grade, meaning: meaning.to_owned() }).collect();
        Self { name: name.to_owned(), levels, relevant_from }
    }

    /// The name used in manifests and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The levels, lowest grade first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The lowest grade that counts as relevant.
    pub fn relevant_from(&self) -> Grade {
        self.relevant_from
    }

    /// The highest grade of the scale.
    pub fn highest(&self) -> Grade {
        self.levels[self.levels.len() - 1].grade
    }

    /// Whether `grade` is one of the levels.
    pub fn contains(&self, grade: Grade) -> bool {
        self.levels.binary_search_by_key(&grade, |level| level.grade).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_knows_its_grades() {
        let scale = Scale::ssra();
        assert!(scale.contains(0) && scale.contains(3));
        assert!(!scale.contains(4) && !scale.contains(-1));
        assert_eq!(scale.highest(), 3);
    }

    #[test]
    fn a_scale_refuses_what_cannot_be_a_scale() {
        let level = |grade| Level { grade, meaning: String::new() };
        assert_eq!(Scale::new("empty", vec![], 1), None);
        assert_eq!(Scale::new("twice", vec![level(1), level(1)], 1), None);
        assert_eq!(Scale::new("unreachable", vec![level(0), level(1)], 2), None);
        assert!(Scale::new("any order", vec![level(2), level(0)], 1).is_some());
    }
}
