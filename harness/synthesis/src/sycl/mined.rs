//! The mined arm: real passages from a retriever's ranking, by the grade that a judge gives them.

use relevance::Grade;
use serde::Serialize;

use super::Mined;
use crate::judge::Verdict;

/// What became of the ranked passages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MinedCounts {
    /// Passages shown to the judge.
    pub ranked: u64,
    /// Of these, those it could not read an answer for, or has no grade of.
    pub unjudged: u64,
    /// By grade, from 0 to 3.
    pub judged: [u64; 4],
    /// Taken, by grade.
    pub kept: [u64; 4],
    /// Queries for which a wanted grade was not found, by grade.
    pub missing: [u64; 4],
}

impl MinedCounts {
    /// Adds another query's.
    pub fn add(&mut self, other: &Self) {
        self.ranked += other.ranked;
        self.unjudged += other.unjudged;
        let columns = [
            (&mut self.judged, &other.judged),
            (&mut self.kept, &other.kept),
            (&mut self.missing, &other.missing),
        ];
        for (own, other) in columns {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
    }
}

/// From the verdicts on a ranking, best first, the places that a list takes with their grades: of each wanted grade the
/// highest ranked. The highest ranked of grade 0 are the hard negatives.
pub fn mined_list(
    verdicts: &[Verdict],
    grades: &[Grade],
    rules: &Mined,
) -> (Vec<(usize, Grade)>, MinedCounts) {
    let mut counts = MinedCounts { ranked: verdicts.len() as u64, ..MinedCounts::default() };
    let place = |grade: Grade| usize::try_from(grade).ok().filter(|grade| *grade < 4);
    for verdict in verdicts {
        match verdict.grade().and_then(place) {
            Some(grade) => counts.judged[grade] += 1,
            None => counts.unjudged += 1,
        }
    }
    let mut list = Vec::new();
    for &grade in grades {
        let of_grade = verdicts.iter().enumerate().filter(|(_, verdict)| verdict.grade() == Some(grade));
        let before = list.len();
        list.extend(of_grade.take(rules.per_grade).map(|(rank, _)| (rank, grade)));
        if let Some(at) = place(grade) {
            counts.kept[at] += (list.len() - before) as u64;
            counts.missing[at] += u64::from(list.len() == before);
        }
    }
    (list, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed() {
        let graded = |grade| Verdict::Graded { grade, score: 0.5 };
        let verdicts = [graded(0), graded(3), Verdict::Absent, graded(3), graded(0), graded(1), graded(0)];
        let rules = Mined { depth: 7, per_grade: 2 };
        let (list, counts) = mined_list(&verdicts, &[3, 2, 1, 0], &rules);
        assert_eq!(list, [(1, 3), (3, 3), (5, 1), (0, 0), (4, 0)]);
        assert_eq!((counts.ranked, counts.unjudged), (7, 1));
        assert_eq!((counts.judged, counts.kept), ([3, 1, 0, 2], [2, 1, 0, 2]));
        assert_eq!(counts.missing, [0, 0, 1, 0]);
    }
}
