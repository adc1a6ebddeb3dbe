//! Stage 1: the queries that a log has for a document, graded by the score model, beside those that people graded.

use relevance::Grade;
use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::judge::Verdict;
use crate::normal_form;

/// What became of a document's queries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReannotationCounts {
    /// Documents with queries.
    pub documents: u64,
    /// Unlabelled pairs.
    pub pairs: u64,
    /// Those whose query people graded for the document already.
    pub known: u64,
    /// Those whose query has the words of another of the document's.
    pub repeated: u64,
    /// Those the score model could not grade.
    pub unjudged: u64,
    /// By the score model's grade, from 0 to 3.
    pub judged: [u64; 4],
    /// Those beyond the number of a grade that a document keeps.
    pub cut: u64,
    /// Kept, by grade.
    pub kept: [u64; 4],
}

impl ReannotationCounts {
    /// Adds another document's.
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.pairs += other.pairs;
        self.known += other.known;
        self.repeated += other.repeated;
        self.unjudged += other.unjudged;
        self.cut += other.cut;
        for at in 0..4 {
            self.judged[at] += other.judged[at];
            self.kept[at] += other.kept[at];
        }
    }
}

/// One document's unlabelled queries with the score model's verdicts, in the order of preference; `known` are the normal
/// forms of those that people graded for it. Returns the places that are kept, with their grades.
pub fn reannotate(
    queries: &[&str],
    verdicts: &[Verdict],
    known: &FxHashSet<String>,
    most_per_grade: usize,
) -> (Vec<(usize, Grade)>, ReannotationCounts) {
    let mut counts = ReannotationCounts { documents: 1, pairs: queries.len() as u64, ..Default::default() };
    let mut seen: FxHashSet<String> = FxHashSet::default();
    let mut kept = Vec::new();
    for (at, (query, verdict)) in queries.iter().zip(verdicts).enumerate() {
        let form = normal_form(query);
        if known.contains(&form) {
            counts.known += 1;
            continue;
        }
        if !seen.insert(form) {
            counts.repeated += 1;
            continue;
        }
        let Some(grade) = verdict.grade() else {
            counts.unjudged += 1;
            continue;
        };
        let Some(place) = usize::try_from(grade).ok().filter(|place| *place < 4) else {
            counts.unjudged += 1;
            continue;
        };
        counts.judged[place] += 1;
        if counts.kept[place] < most_per_grade as u64 {
            counts.kept[place] += 1;
            kept.push((at, grade));
        } else {
            counts.cut += 1;
        }
    }
    (kept, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed() {
        let queries = ["Wine  stain", "rug", "wine stain", "carpet", "dog", "cat", "?"];
        let graded = |grade| Verdict::Graded { grade, score: 0.0 };
        let verdicts = [graded(3), graded(2), graded(1), graded(3), graded(0), graded(3), Verdict::Absent];
        let known = FxHashSet::from_iter(["carpet".to_owned()]);
        // The third repeats the first; people graded the fourth; the sixth is the second 3.
        let (kept, counts) = reannotate(&queries, &verdicts, &known, 1);
        assert_eq!(kept, [(0, 3), (1, 2), (4, 0)]);
        let expected = ReannotationCounts {
            documents: 1,
            pairs: 7,
            known: 1,
            repeated: 1,
            unjudged: 1,
            judged: [1, 0, 1, 2],
            cut: 1,
            kept: [1, 0, 1, 1],
        };
        assert_eq!(counts, expected);
    }
}
