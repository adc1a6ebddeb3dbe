//! What a system answered, as far as a record keeps it: the first documents of every query with their grades, and one
//! digest of all rankings, scores to the last bit.

use relevance::{Judgments, QueryJudgments, Ranking, SelfHits, TieOrder};
use rustc_hash::FxHashMap;

/// How many documents a record keeps of each query.
const TOP: usize = 10;

/// Documents with their grades, best first.
pub type Documents = Vec<(String, Option<i32>)>;

/// The answer to one query.
pub struct QueryAnswer {
    query: String,
    digest: [u8; 32],
    top: Documents,
}

/// The answers of a system.
#[derive(Default)]
pub struct Answers {
    /// Over the rankings, sorted by query.
    pub digest: String,
    /// The first documents, by query.
    pub top: FxHashMap<String, Documents>,
}

/// How rankings are read: as the evaluator reads them.
#[derive(Clone, Copy)]
pub struct Reader<'j> {
    /// Where the grades come from.
    pub judgments: &'j Judgments,
    /// The order of ties.
    pub ties: TieOrder,
    /// What happens to a document that is its own query.
    pub self_hits: SelfHits,
}

impl Reader<'_> {
    /// The answer that `ranking` is.
    pub fn answer(&self, ranking: &Ranking<'_>) -> QueryAnswer {
        let grade = |document: &str| self.judgments.grade(ranking.query, document);
        let top = self.top(ranking).into_iter().map(|document| (document.to_owned(), grade(document)));
        QueryAnswer { query: ranking.query.to_owned(), digest: digest(ranking), top: top.collect() }
    }

    /// The answers of many rankings together.
    pub fn answers(&self, rankings: &[Ranking<'_>]) -> Answers {
        gather(rankings.iter().map(|ranking| self.answer(ranking)).collect())
    }

    fn top<'a>(&self, ranking: &Ranking<'a>) -> Vec<&'a str> {
        let mut best = Ranking { query: ranking.query, hits: Vec::with_capacity(8 * TOP) };
        let own = |document: &str| self.self_hits == SelfHits::Drop && document == ranking.query;
        for hit in ranking.hits.iter().filter(|hit| !own(hit.document)) {
            best.hits.push(*hit);
            if best.hits.len() == 8 * TOP {
                best.sort(self.ties);
                best.hits.truncate(TOP);
            }
        }
        best.sort(self.ties);
        best.hits.iter().take(TOP).map(|hit| hit.document).collect()
    }
}

/// Puts the answers together, whatever order they come in.
pub fn gather(mut answers: Vec<QueryAnswer>) -> Answers {
    answers.sort_by(|a, b| a.query.cmp(&b.query));
    let mut hasher = blake3::Hasher::new();
    for answer in &answers {
        hasher.update(&(answer.query.len() as u64).to_le_bytes());
        hasher.update(answer.query.as_bytes());
        hasher.update(&answer.digest);
    }
    let top = answers.into_iter().map(|answer| (answer.query, answer.top)).collect();
    Answers { digest: hasher.finalize().to_hex().to_string(), top }
}

/// Over ids and score bits, in the order they came.
fn digest(ranking: &Ranking<'_>) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(32 * ranking.hits.len());
    for hit in &ranking.hits {
        bytes.extend_from_slice(&(hit.document.len() as u64).to_le_bytes());
        bytes.extend_from_slice(hit.document.as_bytes());
        bytes.extend_from_slice(&hit.score.to_bits().to_le_bytes());
    }
    *blake3::hash(&bytes).as_bytes()
}

/// Of every judged query its id and a short digest of its judgments, in the order of the judgments.
pub fn judged_queries(judgments: &Judgments) -> Vec<(String, String)> {
    judgments.queries().map(|query| (query.query().to_owned(), judgments_digest(query))).collect()
}

fn judgments_digest(query: &QueryJudgments) -> String {
    let mut judged = query.iter().collect::<Vec<_>>();
    judged.sort_unstable();
    of_grades(judged.into_iter())
}

/// A short digest of documents and their grades, which must come in a fixed order.
pub fn of_grades<'a>(judged: impl Iterator<Item = (&'a str, i32)>) -> String {
    let mut bytes = Vec::new();
    for (document, grade) in judged {
        bytes.extend_from_slice(&(document.len() as u64).to_le_bytes());
        bytes.extend_from_slice(document.as_bytes());
        bytes.extend_from_slice(&grade.to_le_bytes());
    }
    blake3::hash(&bytes).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use relevance::Hit;

    #[test]
    fn the_first_documents_stand_as_the_evaluator_ranks_them() {
        let ids: Vec<String> = (0..500).map(|at| format!("d{at:03}")).collect();
        let hits = ids.iter().zip(0..).map(|(document, at)| Hit { document, score: f64::from(at * 7 % 100) });
        let mut ranking = Ranking { query: "q", hits: hits.collect() };
        let judgments: Judgments = [("q", "d343", 2)].into_iter().collect();
        for ties in [TieOrder::Trec, TieOrder::Run, TieOrder::DocidAscending] {
            let reader = Reader { judgments: &judgments, ties, self_hits: SelfHits::Keep };
            let found: Vec<_> = reader.answer(&ranking).top.into_iter().map(|(id, _)| id).collect();
            let mut sorted = ranking.clone();
            sorted.sort(ties);
            let expected: Vec<_> = sorted.hits[..10].iter().map(|hit| hit.document).collect();
            assert_eq!(found, expected, "{ties}");
        }
        let reader = Reader { judgments: &judgments, ties: TieOrder::Trec, self_hits: SelfHits::Keep };
        let before = reader.answer(&ranking);
        assert_eq!(before.top.iter().filter(|(_, grade)| grade.is_some()).count(), 0);
        ranking.hits[499].score += f64::EPSILON * 64.0;
        assert_ne!(before.digest, reader.answer(&ranking).digest, "one bit of one score");
    }
}
