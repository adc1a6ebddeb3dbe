//! Scores rankings against judgments: one query at a time, then all of them together.
//!
//! [`Evaluator::query`] looks at one ranking and touches nothing shared, so callers may stream queries and spread them
//! over threads; [`Evaluator::collect`] puts the results in the order of the judgments and sums in that order, so that
//! neither the order of the queries nor the number of threads changes a bit of the result.

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::judged_ranking::{Reading, TieCounts};
use crate::measures::pair_average_precision::pair_average_precision;
use crate::measures::relevance_string::relevance_string;
use crate::measures::{Aggregation, Measure, judged};
use crate::{Grade, Judgments, QueryJudgments, Ranking, TieOrder};

/// The ranks whose share of judged documents every evaluation reports.
const TOP: usize = 10;

/// Whether a document may be found by the query that has its own id (ArguAna, Quora).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryEvaluation {
    /// The query's id.
    pub query: String,
    /// One value per measure, in the order of the measures.
    pub values: Vec<f64>,
    /// Whether the query is judged but has no ranking: its values are those of an empty one.
    pub missing: bool,
    /// The grades of the first ranks, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TiesAcross {
    /// The cut-off: the last rank that counts.
    pub cutoff: usize,
    /// Queries in which the documents on both sides of it have the same score.
    pub queries: usize,
}

/// The values of all queries and of all of them together.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
