//! The port through which pairs are graded: a labeler, an encoder's similarity, or grades that were given before (by
//! people or by a teacher). A language model joins them in [`judging`](crate::judging).

use relevance::{Grade, Level, Scale};
use rustc_hash::FxHashMap;
use scorer::{Encoder, Labeler, Pair, Role};

use crate::Result;
use crate::asking::Usage;
use crate::judging::JudgeCounts;

/// What a judge says of one pair. An answer that cannot be read is not a grade of 0: it is counted, left out, and may
/// be asked for again.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A grade of the judge's scale, and how relevant on an axis from 0 to 1 that orders pairs also within a grade.
    Graded {
        /// The grade.
        grade: Grade,
        /// The score, from 0 to 1.
        score: f64,
    },
    /// An answer, but none that can be read.
    Unparsed {
        /// The answer as it came.
        answer: String,
    },
    /// Nobody graded this pair.
    Absent,
}

impl Verdict {
    /// The score, where there is one.
    pub fn score(&self) -> Option<f64> {
        match self {
            Self::Graded { score, .. } => Some(*score),
            _ => None,
        }
    }

    /// The grade, where there is one.
    pub fn grade(&self) -> Option<Grade> {
        match self {
            Self::Graded { grade, .. } => Some(*grade),
            _ => None,
        }
    }
}

/// Which of two pairs is the more relevant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The first.
    First,
    /// The second.
    Second,
    /// Neither, or the judge cannot say.
    Neither,
}

/// Grades pairs.
pub trait Judge: Send + Sync {
    /// The scale of the grades.
    fn scale(&self) -> &Scale;

    /// Hexadecimal digest of everything that decides a verdict.
    fn digest(&self) -> &str;

    /// One verdict a pair, in order. A verdict does not depend on the pairs beside it.
    ///
    /// # Errors
    /// When the judge itself fails; a pair it cannot grade is a verdict.
    fn judge(&self, pairs: &[Pair<'_>]) -> Result<Vec<Verdict>>;

    /// [`Judge::judge`], and for each pair that is graded the probability of each level of the scale, lowest grade first;
    /// unless a judge knows more, all of it lies on the grade.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    fn judge_in_full(&self, pairs: &[Pair<'_>]) -> Result<Vec<(Verdict, Option<Vec<f64>>)>> {
        let levels = self.scale().levels();
        let certain =
            |grade: Grade| levels.iter().map(|level| f64::from(u8::from(level.grade == grade))).collect();
        let with = |verdict: Verdict| {
            let distribution = verdict.grade().map(certain);
            (verdict, distribution)
        };
        Ok(self.judge(pairs)?.into_iter().map(with).collect())
    }

    /// Which of two pairs is the more relevant; unless a judge has a better way, the one with the higher score.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    fn prefer(&self, first: Pair<'_>, second: Pair<'_>) -> Result<Preference> {
        let verdicts = self.judge(&[first, second])?;
        Ok(match (verdicts[0].score(), verdicts[1].score()) {
            (Some(first), Some(second)) if first > second => Preference::First,
            (Some(first), Some(second)) if second > first => Preference::Second,
            _ => Preference::Neither,
        })
    }

    /// What judging has cost so far, where it costs anything.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// What was counted, where answers have to be read.
    fn answer_counts(&self) -> Option<JudgeCounts> {
        None
    }
}

/// A labeler as a judge. Its score is the expected grade over the highest grade: 0 when every bit of probability lies on
/// the lowest level, 1 when it lies on the highest.
pub struct LabelerJudge(Box<dyn Labeler>);

impl LabelerJudge {
    /// A judge of this labeler.
    pub fn new(labeler: Box<dyn Labeler>) -> Self {
        Self(labeler)
    }
}

impl Judge for LabelerJudge {
    fn scale(&self) -> &Scale {
        self.0.scale()
    }

    fn digest(&self) -> &str {
        self.0.digest()
    }

    fn judge(&self, pairs: &[Pair<'_>]) -> Result<Vec<Verdict>> {
        Ok(self.judge_in_full(pairs)?.into_iter().map(|(verdict, _)| verdict).collect())
    }

    fn judge_in_full(&self, pairs: &[Pair<'_>]) -> Result<Vec<(Verdict, Option<Vec<f64>>)>> {
        let levels = self.0.scale().levels();
        let (lowest, highest) = (levels[0].grade, self.0.scale().highest());
        let width = f64::from((highest - lowest).max(1));
        let verdict = |label: scorer::Label| {
            let expected: f64 = label
                .distribution
                .iter()
                .zip(levels)
                .map(|(probability, level)| probability * f64::from(level.grade - lowest))
                .sum();
            let score = (expected / width).clamp(0.0, 1.0);
            (Verdict::Graded { grade: label.grade, score }, Some(label.distribution))
        };
        Ok(self.0.label(pairs)?.into_iter().map(verdict).collect())
    }
}

/// An encoder's similarity as a judge: the score is the cosine, nothing below 0, and the grade is 1 where it lies above a
/// threshold, as CroPS' discriminator compares (arXiv 2511.15443, Eq. 1).
pub struct SimilarityJudge {
    encoder: Box<dyn Encoder + Send + Sync>,
    threshold: f64,
    scale: Scale,
}

impl SimilarityJudge {
    /// A judge that says 1 above `threshold`.
    pub fn new(encoder: Box<dyn Encoder + Send + Sync>, threshold: f64) -> Self {
        Self { encoder, threshold, scale: Scale::binary() }
    }
}

impl Judge for SimilarityJudge {
    fn scale(&self) -> &Scale {
        &self.scale
    }

    fn digest(&self) -> &str {
        self.encoder.digest()
    }

    fn judge(&self, pairs: &[Pair<'_>]) -> Result<Vec<Verdict>> {
        // Pairs come query by query: each run of one query is encoded once.
        let mut queries: Vec<&str> = Vec::new();
        let mut row = Vec::with_capacity(pairs.len());
        for pair in pairs {
            if queries.last() != Some(&pair.query) {
                queries.push(pair.query);
            }
            row.push(queries.len() - 1);
        }
        let queries = self.encoder.encode(&queries, Role::Query)?;
        let documents = pairs.iter().map(|pair| pair.document).collect::<Vec<_>>();
        let documents = self.encoder.encode(&documents, Role::Document)?;
        let verdicts = row.iter().enumerate().map(|(at, &row)| {
            let cosine = dot(queries.row(row), documents.row(at)).clamp(0.0, 1.0);
            Verdict::Graded { grade: Grade::from(cosine > self.threshold), score: cosine }
        });
        Ok(verdicts.collect())
    }
}

/// In f64 and in order: one result everywhere.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (&a, &b)| sum + f64::from(a) * f64::from(b))
}

/// Grades that were given before, found by the two texts: people's, or a teacher's.
pub struct RecordedJudge {
    scale: Scale,
    digest: String,
    grades: FxHashMap<[u8; 32], Grade>,
}

impl RecordedJudge {
    /// A judge that knows these `(query, document, grade)`; of a repeated pair the last grade stays.
    pub fn new<'a>(scale: Scale, graded: impl IntoIterator<Item = (&'a str, &'a str, Grade)>) -> Self {
        let grades: FxHashMap<_, _> =
            graded.into_iter().map(|(query, document, grade)| (pair_key(query, document), grade)).collect();
        let mut sorted: Vec<_> = grades.iter().collect();
        sorted.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (key, grade) in sorted {
            hasher.update(key).update(&grade.to_le_bytes());
        }
        Self { scale, digest: hasher.finalize().to_hex().to_string(), grades }
    }

    fn score(&self, grade: Grade) -> f64 {
        let lowest = self.scale.levels().first().map_or(0, |level: &Level| level.grade);
        let width = f64::from((self.scale.highest() - lowest).max(1));
        (f64::from(grade - lowest) / width).clamp(0.0, 1.0)
    }
}

fn pair_key(query: &str, document: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(query.len() as u64).to_le_bytes()).update(query.as_bytes()).update(document.as_bytes());
    *hasher.finalize().as_bytes()
}

impl Judge for RecordedJudge {
    fn scale(&self) -> &Scale {
        &self.scale
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn judge(&self, pairs: &[Pair<'_>]) -> Result<Vec<Verdict>> {
        let verdict = |pair: &Pair<'_>| match self.grades.get(&pair_key(pair.query, pair.document)) {
            Some(&grade) => Verdict::Graded { grade, score: self.score(grade) },
            None => Verdict::Absent,
        };
        Ok(pairs.iter().map(verdict).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_grades_are_found_by_their_texts_and_others_are_absent() {
        let judge = RecordedJudge::new(Scale::ssra(), [("ab", "c", 3), ("a", "bc", 1)]);
        let pair = |query, document| Pair { query, document };
        let verdicts = judge.judge(&[pair("ab", "c"), pair("a", "bc"), pair("abc", "")]).unwrap();
        assert_eq!(verdicts[0], Verdict::Graded { grade: 3, score: 1.0 });
        assert_eq!(verdicts[1].grade(), Some(1));
        assert_eq!(verdicts[2], Verdict::Absent);
        assert_eq!(judge.prefer(pair("a", "bc"), pair("ab", "c")).unwrap(), Preference::Second);
        assert_eq!(judge.prefer(pair("a", "bc"), pair("x", "y")).unwrap(), Preference::Neither);
    }

    #[test]
    fn a_labeler_s_score_runs_from_0_to_1_and_a_similarity_is_a_cosine() {
        let bundle = scorer::embedded().unwrap();
        let labeler = LabelerJudge::new(scorer::load_labeler(&bundle, &Default::default()).unwrap());
        let encoder = scorer::load_encoder(&bundle, &Default::default()).unwrap();
        let similarity = SimilarityJudge::new(encoder, 0.6);
        let pairs = [
            Pair { query: "red wine stain", document: "red wine stain" },
            Pair { query: "red wine stain", document: "learn python loops" },
        ];
        for judge in [&labeler as &dyn Judge, &similarity] {
            let scores: Vec<f64> =
                judge.judge(&pairs).unwrap().iter().map(|verdict| verdict.score().unwrap()).collect();
            assert!(scores[0] > scores[1] && scores[0] <= 1.0 && scores[1] >= 0.0, "{scores:?}");
        }
        let same = &similarity.judge(&pairs).unwrap()[0];
        assert!(same.grade() == Some(1) && (same.score().unwrap() - 1.0).abs() < 1e-6);
    }
}
