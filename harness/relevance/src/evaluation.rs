//! Scores rankings against judgments: one query at a time, then all of them together.
//!
//! [`Evaluator::query`] looks at one ranking and touches nothing shared, so callers may stream queries and spread them
//! over threads; [`Evaluator::collect`] puts the results in the order of the judgments and sums in that order, so that
//! neither the order of the queries nor the number of threads changes a bit of the result.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::judged_ranking::{Reading, TieCounts};
use crate::measures::pair_average_precision::pair_average_precision;
use crate::measures::relevance_string::relevance_string;
use crate::measures::{Aggregation, Measure, judged};
use crate::{Grade, Judgments, QueryJudgments, Ranking, TieOrder};

/// The ranks whose share of judged documents every evaluation reports.
const TOP: usize = 10;

/// Whether a document may be found by the query that has its own id (ArguAna, Quora).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelfHits {
    /// Such a hit counts like any other.
    #[default]
    Keep,
    /// Such a hit is taken out of the ranking; those below it move up. The judgments stay as they are.
    Drop,
}

/// How rankings are read and averaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluationOptions {
    /// The order of documents with equal scores.
    pub ties: TieOrder,
    /// What to do with a document found by the query of the same id.
    pub self_hits: SelfHits,
    /// Average over the judged queries that have a ranking (trec_eval's default) rather than over all judged queries
    /// (trec_eval's `-c`, and ours).
    pub intersect: bool,
    /// Look at the first so many ranks only (trec_eval's `-M`).
    pub depth: Option<usize>,
    /// Take unjudged documents, and those with a negative grade, out of the ranking (trec_eval's `-J`).
    pub judged_only: bool,
    /// Also give the grades of the first so many ranks as a string (trec_eval's `relstring`).
    pub relevance_string: Option<usize>,
}

/// Why something cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The measure has no closed form for the mean over all orders of tied documents.
    #[error(
        "{measure} has no exact expectation over tied scores; choose another order of ties, or leave it out"
    )]
    NoExpectation {
        /// The measure.
        measure: String,
    },
    /// A ranking that is cut off has no fixed set of documents when ties are open.
    #[error("a depth of {depth} cannot be combined with the expectation over tied scores")]
    ExpectationWithDepth {
        /// The depth asked for.
        depth: usize,
    },
    /// A score is not a number.
    #[error("query {query}: the score of document {document} is not a number")]
    NotANumber {
        /// The query's id.
        query: String,
        /// The document's id.
        document: String,
    },
    /// A judged document stands in a ranking twice.
    #[error("query {query}: document {document} was retrieved twice")]
    RepeatedDocument {
        /// The query's id.
        query: String,
        /// The document's id.
        document: String,
    },
    /// Two rankings for one query.
    #[error("query {query} has two rankings")]
    RepeatedQuery {
        /// The query's id.
        query: String,
    },
    /// A ranking longer than 2^32 documents.
    #[error("query {query} has {hits} hits, more than 4294967295")]
    TooManyHits {
        /// The query's id.
        query: String,
        /// How many hits it has.
        hits: usize,
    },
}

/// The values of one query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryEvaluation {
    /// The query's id.
    pub query: String,
    /// One value per measure, in the order of the measures.
    pub values: Vec<f64>,
    /// Whether the query is judged but has no ranking: its values are those of an empty one.
    pub missing: bool,
    /// The grades of the first ranks, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relevance_string: Option<String>,
    #[serde(skip)]
    seen: Seen,
}

/// What a query adds to the figures over all queries.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    ties: TieCounts,
    /// Ranks looked at for the share of judged documents, and how many of them are judged.
    top: usize,
    top_judged: f64,
    /// Score and grade of each judged hit, for pooled measures.
    pairs: Vec<(f64, Grade)>,
}

/// What became of one ranking.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was scored.
    Evaluated(QueryEvaluation),
    /// Nobody judged its query, named here: it does not count.
    Unjudged(String),
}

/// How many queries have a tie across some cut-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TiesAcross {
    /// The cut-off: the last rank that counts.
    pub cutoff: usize,
    /// Queries in which the documents on both sides of it have the same score.
    pub queries: usize,
}

/// The values of all queries and of all of them together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The measures.
    pub measures: Vec<Measure>,
    /// One value per measure over all queries: mean, sum, geometric mean or pooled, as the measure has it.
    pub summary: Vec<f64>,
    /// The queries averaged over, in the order of the judgments.
    pub queries: Vec<QueryEvaluation>,
    /// Judged queries that have no ranking, in the order of the judgments. Unless only the intersection was asked
    /// for, they are among `queries` too.
    pub missing: Vec<String>,
    /// Rankings whose query nobody judged, in the order they came.
    pub unjudged: Vec<String>,
    /// Of the documents in the first 10 ranks over all queries, the share that is judged.
    pub judged_in_top_10: f64,
    /// Of all hits, the share that has the same score as another of its query.
    pub tied_hits: f64,
    /// For each cut-off of the measures, how many queries have a tie across it.
    pub ties_across: Vec<TiesAcross>,
}

/// Scores rankings with a list of measures. Cheap to share between threads.
#[derive(Clone, Debug)]
pub struct Evaluator<'a> {
    judgments: &'a Judgments,
    measures: Vec<Measure>,
    options: EvaluationOptions,
    /// The distinct cut-offs of the measures, lowest first.
    cutoffs: Vec<usize>,
    pooled: bool,
}

impl<'a> Evaluator<'a> {
    /// An evaluator of `measures`.
    ///
    /// # Errors
    /// [`EvaluationError::NoExpectation`] and [`EvaluationError::ExpectationWithDepth`] where ties are to be left open
    /// and cannot be.
    pub fn new(
        judgments: &'a Judgments,
        measures: &[Measure],
        options: EvaluationOptions,
    ) -> Result<Self, EvaluationError> {
        if options.ties == TieOrder::Expected {
            if let Some(depth) = options.depth {
                return Err(EvaluationError::ExpectationWithDepth { depth });
            }
            if let Some(measure) = measures.iter().find(|measure| !measure.has_expectation()) {
                return Err(EvaluationError::NoExpectation { measure: measure.to_string() });
            }
        }
        let mut cutoffs: Vec<usize> = measures.iter().filter_map(Measure::cutoff).collect();
        cutoffs.sort_unstable();
        cutoffs.dedup();
        let pooled = measures.iter().any(|measure| measure.aggregation() == Aggregation::Pooled);
        Ok(Self { judgments, measures: measures.to_vec(), options, cutoffs, pooled })
    }

    /// The measures, in the order of the values.
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// Scores one ranking. Its hits may come in any order.
    ///
    /// # Errors
    /// When a score is not a number, or a judged document was retrieved twice.
    pub fn query(&self, ranking: &Ranking<'_>) -> Result<Outcome, EvaluationError> {
        let Some(judgments) = self.judgments.get(ranking.query) else {
            return Ok(Outcome::Unjudged(ranking.query.to_owned()));
        };
        let reading = Reading::new(judgments, ranking, &self.options, &self.cutoffs)?;
        Ok(Outcome::Evaluated(self.score(judgments.query(), reading, false)))
    }

    /// The values of a judged query that has no ranking.
    fn missing(&self, judgments: &QueryJudgments) -> QueryEvaluation {
        self.score(judgments.query(), Reading::empty(judgments, self.cutoffs.len()), true)
    }

    fn score(&self, query: &str, reading: Reading, missing: bool) -> QueryEvaluation {
        let Reading { ranking, ties, pairs } = reading;
        let values = self.measures.iter().map(|measure| match *measure {
            Measure::PairAveragePrecision { rel } => {
                pair_value(pairs.iter().copied(), rel, ranking.relevant(rel))
            }
            _ => measure.value(&ranking),
        });
        let values = values.collect();
        let top = ranking.retrieved().min(TOP);
        let top_judged = judged::judged(&ranking, Some(TOP)) * top as f64;
        let pairs = if self.pooled { pairs } else { Vec::new() };
        let string = self.options.relevance_string.map(|length| relevance_string(&ranking, length));
        let seen = Seen { ties, top, top_judged, pairs };
        QueryEvaluation { query: query.to_owned(), values, missing, relevance_string: string, seen }
    }

    /// Scores all `rankings`, one after the other.
    ///
    /// # Errors
    /// As [`query`](Self::query) and [`collect`](Self::collect).
    pub fn evaluate<'r>(
        &self,
        rankings: impl IntoIterator<Item = &'r Ranking<'r>>,
    ) -> Result<Evaluation, EvaluationError> {
        let outcomes = rankings.into_iter().map(|ranking| self.query(ranking));
        self.collect(outcomes.collect::<Result<Vec<_>, _>>()?)
    }

    /// Puts the outcomes of single queries together, in whatever order they come.
    ///
    /// # Errors
    /// [`EvaluationError::RepeatedQuery`] when a query comes twice.
    pub fn collect(
        &self,
        outcomes: impl IntoIterator<Item = Outcome>,
    ) -> Result<Evaluation, EvaluationError> {
        let mut evaluated: FxHashMap<String, QueryEvaluation> = FxHashMap::default();
        let mut unjudged = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Unjudged(query) => unjudged.push(query),
                Outcome::Evaluated(query) => {
                    if let Some(first) = evaluated.insert(query.query.clone(), query) {
                        return Err(EvaluationError::RepeatedQuery { query: first.query });
                    }
                }
            }
        }
        Ok(self.summarize(evaluated, unjudged))
    }

    fn summarize(
        &self,
        mut evaluated: FxHashMap<String, QueryEvaluation>,
        unjudged: Vec<String>,
    ) -> Evaluation {
        let mut queries = Vec::with_capacity(self.judgments.len());
        let mut missing = Vec::new();
        for judgments in self.judgments.queries() {
            match evaluated.remove(judgments.query()) {
                Some(query) => queries.push(query),
                None => {
                    missing.push(judgments.query().to_owned());
                    if !self.options.intersect {
                        queries.push(self.missing(judgments));
                    }
                }
            }
        }
        let summary = (0..self.measures.len()).map(|at| self.summary(at, &queries)).collect();
        let seen = || queries.iter().map(|query| &query.seen);
        let across = self.cutoffs.iter().enumerate().map(|(at, &cutoff)| {
            let tied = |seen: &&Seen| seen.ties.across.get(at) == Some(&true);
            TiesAcross { cutoff, queries: seen().filter(tied).count() }
        });
        Evaluation {
            summary,
            judged_in_top_10: share(seen().map(|s| s.top_judged).sum(), seen().map(|s| s.top).sum()),
            tied_hits: share(
                seen().map(|s| s.ties.tied).sum::<usize>() as f64,
                seen().map(|s| s.ties.hits).sum(),
            ),
            ties_across: across.collect(),
            measures: self.measures.clone(),
            queries,
            missing,
            unjudged,
        }
    }

    fn summary(&self, at: usize, queries: &[QueryEvaluation]) -> f64 {
        match self.measures[at] {
            Measure::PairAveragePrecision { rel } => {
                let judged = queries.iter().filter_map(|query| self.judgments.get(&query.query));
                let positives = judged.map(|query| query.iter().filter(|pair| pair.1 >= rel).count()).sum();
                pair_value(queries.iter().flat_map(|query| query.seen.pairs.iter().copied()), rel, positives)
            }
            ref measure => measure.aggregate(queries.iter().map(|query| query.values[at])),
        }
    }
}

impl Evaluation {
    /// The value of `measure` over all queries, when it was among those evaluated.
    pub fn value(&self, measure: &Measure) -> Option<f64> {
        let at = self.measures.iter().position(|other| other == measure)?;
        self.summary.get(at).copied()
    }
}

fn pair_value(pairs: impl Iterator<Item = (f64, Grade)>, rel: Grade, positives: usize) -> f64 {
    let mut pairs: Vec<_> = pairs.map(|(score, grade)| (score, grade >= rel)).collect();
    pair_average_precision(&mut pairs, positives)
}

fn share(part: f64, whole: usize) -> f64 {
    part / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Hit, parse_measures};

    fn ranking(query: &'static str, hits: &[(&'static str, f64)]) -> Ranking<'static> {
        let hits = hits.iter().map(|&(document, score)| Hit { document, score }).collect();
        Ranking { query, hits }
    }

    fn judgments() -> Judgments {
        let triples =
            [("q1", "a", 1), ("q1", "b", 2), ("q1", "c", 0), ("q2", "a", 1), ("q3", "q3", 3), ("q3", "z", 1)];
        triples.into_iter().collect()
    }

    fn evaluate(list: &str, rankings: &[Ranking<'_>], options: EvaluationOptions) -> Evaluation {
        let judgments = judgments();
        let measures = parse_measures(list).unwrap();
        Evaluator::new(&judgments, &measures, options).unwrap().evaluate(rankings).unwrap()
    }

    #[test]
    fn missing_queries_count_unless_only_the_intersection_is_asked_for() {
        let rankings = [ranking("q2", &[("a", 1.0)]), ranking("other", &[("a", 1.0)])];
        let complete = evaluate("RR NumRel NumQ GMAP", &rankings, EvaluationOptions::default());
        assert_eq!(complete.summary[..3], [1.0 / 3.0, 5.0, 3.0]);
        assert!((complete.summary[3] - 0.00001_f64.powf(2.0 / 3.0)).abs() < 1e-12);
        assert_eq!(complete.missing, ["q1", "q3"]);
        assert_eq!(complete.unjudged, ["other"]);
        let order: Vec<_> = complete.queries.iter().map(|q| (q.query.as_str(), q.missing)).collect();
        assert_eq!(order, [("q1", true), ("q2", false), ("q3", true)]);

        let options = EvaluationOptions { intersect: true, ..Default::default() };
        let intersection = evaluate("RR NumRel NumQ GMAP", &rankings, options);
        assert_eq!(intersection.summary, [1.0, 1.0, 1.0, 1.0]);
        assert_eq!(intersection.missing, ["q1", "q3"]);
        assert_eq!(intersection.queries.len(), 1);
    }

    #[test]
    fn self_hits_are_kept_or_dropped_as_told() {
        let rankings = [ranking("q3", &[("q3", 2.0), ("z", 1.0)])];
        let value = |self_hits| {
            let options = EvaluationOptions { self_hits, intersect: true, ..Default::default() };
            evaluate("P(rel=1)@1 NumRet NumRel RR(rel=3)", &rankings, options).summary
        };
        assert_eq!(value(SelfHits::Keep), [1.0, 2.0, 2.0, 1.0]);
        assert_eq!(value(SelfHits::Drop), [1.0, 1.0, 2.0, 0.0]);
    }

    #[test]
    fn ties_and_judged_documents_are_reported() {
        let rankings = [
            ranking("q1", &[("x", 3.0), ("a", 2.0), ("b", 2.0), ("y", 1.0)]),
            ranking("q2", &[("a", 1.0), ("x", 0.5)]),
        ];
        let options = EvaluationOptions { intersect: true, ..Default::default() };
        let evaluation = evaluate("P@1 P@2 RR@3", &rankings, options);
        assert_eq!(evaluation.judged_in_top_10, 0.5);
        assert_eq!(evaluation.tied_hits, 2.0 / 6.0);
        let across: Vec<_> = evaluation.ties_across.iter().map(|ties| (ties.cutoff, ties.queries)).collect();
        assert_eq!(across, [(1, 0), (2, 1), (3, 0)]);
    }

    #[test]
    fn pairs_are_pooled_over_queries() {
        // Pooled and sorted: q2 a (relevant), q1 c, q1 b (relevant); q1 a, q3 q3 and q3 z were never scored.
        let rankings = [ranking("q1", &[("c", 2.0), ("b", 1.0), ("x", 9.0)]), ranking("q2", &[("a", 3.0)])];
        let evaluation = evaluate("PairAP", &rankings, EvaluationOptions::default());
        assert!((evaluation.summary[0] - (1.0 + 2.0 / 3.0) / 5.0).abs() < 1e-15);
        assert_eq!(evaluation.queries[0].values, [0.25]);
        assert_eq!(evaluation.value(&"PairAP".parse().unwrap()), Some(evaluation.summary[0]));
        assert_eq!(evaluation.value(&"AP".parse().unwrap()), None);
    }

    #[test]
    fn the_order_in_which_queries_are_scored_changes_nothing() {
        let rankings = [
            ranking("q1", &[("x", 3.0), ("a", 2.0), ("b", 2.0)]),
            ranking("q2", &[("x", 1.0), ("a", 0.5)]),
            ranking("q3", &[("z", 1.0), ("y", 1.0), ("q3", 1.0)]),
        ];
        let judgments = judgments();
        let measures = parse_measures("nDCG@10 AP RR ERR@5 GMAP PairAP").unwrap();
        let evaluator = Evaluator::new(&judgments, &measures, EvaluationOptions::default()).unwrap();
        let outcomes: Vec<_> = rankings.iter().map(|ranking| evaluator.query(ranking).unwrap()).collect();
        let forwards = evaluator.collect(outcomes.clone()).unwrap();
        let backwards = evaluator.collect(outcomes.into_iter().rev()).unwrap();
        assert_eq!(forwards, backwards);
    }

    #[test]
    fn what_cannot_be_evaluated_is_said() {
        let judgments = judgments();
        let error = |list: &str, options: EvaluationOptions, hits: &[(&'static str, f64)]| {
            let measures = parse_measures(list).unwrap();
            let rankings = [ranking("q1", hits)];
            Evaluator::new(&judgments, &measures, options)
                .and_then(|evaluator| evaluator.evaluate(&rankings))
                .unwrap_err()
                .to_string()
        };
        let expected = EvaluationOptions { ties: TieOrder::Expected, ..Default::default() };
        let deep = EvaluationOptions { depth: Some(5), ..expected.clone() };
        assert!(error("AP infAP", expected, &[]).starts_with("infAP has no exact expectation"));
        assert!(error("AP", deep, &[]).starts_with("a depth of 5 cannot be combined"));
        let plain = EvaluationOptions::default;
        assert_eq!(
            error("AP", plain(), &[("a", f64::NAN)]),
            "query q1: the score of document a is not a number"
        );
        assert_eq!(
            error("AP", plain(), &[("a", 2.0), ("b", 1.5), ("a", 1.0)]),
            "query q1: document a was retrieved twice"
        );
        let measures = parse_measures("AP").unwrap();
        let evaluator = Evaluator::new(&judgments, &measures, plain()).unwrap();
        let twice = evaluator.evaluate(&[ranking("q1", &[]), ranking("q1", &[])]).unwrap_err();
        assert_eq!(twice.to_string(), "query q1 has two rankings");
    }

    #[test]
    fn results_are_written_by_the_names_of_the_measures() {
        let options = EvaluationOptions { relevance_string: Some(3), intersect: true, ..Default::default() };
        let evaluation = evaluate("nDCG(gain=exp)@10", &[ranking("q2", &[("a", 1.0), ("x", 0.0)])], options);
        let json = serde_json::to_value(&evaluation).unwrap();
        assert_eq!(json["measures"][0], "nDCG(gain=exp)@10");
        assert_eq!(json["queries"][0]["relevance_string"], "1-");
        assert_eq!(json["ties_across"][0]["cutoff"], 10);
        let back: Evaluation = serde_json::from_value(json).unwrap();
        assert_eq!((back.measures, back.summary), (evaluation.measures, evaluation.summary));
    }
}
