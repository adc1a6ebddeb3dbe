//! Fusion: several systems' rankings of one query made into one.
//!
//! A [`Fusion`] is a value that prints as it is written:
//!
//! | written | score of a document |
//! |---|---|
//! | `rrf(k=60)` | sum over the runs of `1 / (k + rank)`, ranks from 1 (Cormack, Clarke and Büttcher, SIGIR 2009) |
//! | `wsum(norm=min-max, weights=0.3/0.7)` | sum of weight times normalised score; all weights 1 where none are given |
//! | `combsum(norm=min-max)` | sum of the normalised scores (Fox and Shaw, TREC-2, 1993) |
//! | `combmnz(norm=min-max)` | the same, times the number of runs that returned the document |
//! | `combmax(norm=min-max)` | the highest of the normalised scores |
//!
//! Each run is normalised by itself, over the documents it returned:
//!
//! | norm | becomes |
//! |---|---|
//! | `none` | `s` |
//! | `min-max` | `(s - min) / (max - min)` |
//! | `z-score` | `(s - mean) / standard deviation` (of the population) |
//! | `sum` | `(s - min) / sum of (s - min)` |
//! | `max` | `s / max` |
//! | `rank` | `1 - (rank - 1) / n`, `n` documents in the run |
//! | `borda` | `1 - (rank - 1) / c`, `c` documents in all runs together |
//!
//! A divisor below 1e-9 becomes 1e-9. A document that a run did not return adds nothing for that run: its normalised
//! score counts as 0 in a sum, is not counted by `combmnz` and not looked at by `combmax`. With `borda` it gets what
//! is left of the run's points, shared equally: `1/2 - (n - 1) / 2c`. All this is as ranx does it.
//!
//! Ranks follow the scores, equal ones in the order they stand in the run. The fused ranking is ordered by score, equal
//! ones by document id, ascending.

use std::fmt;
use std::str::FromStr;

use rustc_hash::FxHashMap;

use crate::{Hit, Ranking};

/// How scores of different systems are made comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Normalization {
    /// Scores as they are.
    None,
    /// The lowest becomes 0, the highest 1.
    #[default]
    MinMax,
    /// Mean 0, standard deviation 1.
    ZScore,
    /// The lowest becomes 0, and all add up to 1.
    Sum,
    /// The highest becomes 1.
    Max,
    /// The place in the run.
    Rank,
    /// The place in the run among the documents of all runs.
    Borda,
}

/// A way to make one ranking of several.
#[derive(Clone, Debug, PartialEq)]
pub enum Fusion {
    /// Reciprocal-rank fusion.
    ReciprocalRank {
        /// How little the first ranks stand out. Above -1.
        k: f64,
    },
    /// Weighted sum of scores.
    WeightedSum {
        /// How scores are made comparable.
        norm: Normalization,
        /// One weight a run; empty for all 1.
        weights: Vec<f64>,
    },
    /// Sum of scores.
    CombSum {
        /// How scores are made comparable.
        norm: Normalization,
    },
    /// Sum of scores times the number of runs that returned the document.
    CombMnz {
        /// How scores are made comparable.
        norm: Normalization,
    },
    /// Highest score.
    CombMax {
        /// How scores are made comparable.
        norm: Normalization,
    },
}

impl Default for Fusion {
    /// `rrf(k=60)`, as in the paper.
    fn default() -> Self {
        Self::ReciprocalRank { k: 60.0 }
    }
}

/// What can be wrong with a written fusion, or with the rankings to be fused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FusionError {
    /// Not of the form `name(key=value, ...)`.
    #[error("`{written}`: expected `name` or `name(key=value, ...)`")]
    Malformed {
        /// What was written.
        written: String,
    },
    /// No fusion has this name.
    #[error("unknown fusion `{name}`: expected rrf, wsum, combsum, combmnz or combmax")]
    UnknownMethod {
        /// The name.
        name: String,
    },
    /// A setting this fusion does not have.
    #[error("`{name}` has no setting `{key}`: expected {known}")]
    UnknownSetting {
        /// The fusion.
        name: String,
        /// The setting.
        key: String,
        /// The settings there are.
        known: &'static str,
    },
    /// A setting with a value it cannot have.
    #[error("`{key}={value}`: expected {expected}")]
    BadValue {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
    /// Nothing to fuse.
    #[error("no runs to fuse: expected at least one")]
    NoRuns,
    /// As many weights as runs are needed.
    #[error("{weights} weights for {runs} runs: expected one weight a run")]
    WeightCount {
        /// How many weights there are.
        weights: usize,
        /// How many runs there are.
        runs: usize,
    },
    /// Rankings of different queries.
    #[error("rankings of different queries: `{first}` and `{other}`")]
    DifferentQueries {
        /// The first ranking's query.
        first: String,
        /// Another ranking's query.
        other: String,
    },
}

impl Fusion {
    /// One ranking made of the `runs` of one query. Of a document that stands twice in a run, the higher score counts.
    ///
    /// # Errors
    /// When there are no runs, when they answer different queries, or when the weights are not one a run.
    pub fn fuse<'a>(&self, runs: &[Ranking<'a>]) -> Result<Ranking<'a>, FusionError> {
        let query = one_query(runs)?;
        let weights = self.weights(runs.len())?;
        let mut table = Table::of(runs);
        table.normalize(self.normalization());
        let score = |row: &[Option<f64>]| self.score(row, &weights);
        let mut hits: Vec<_> =
            table.rows().map(|(document, row)| Hit { document, score: score(row) }).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.document.cmp(b.document)));
        Ok(Ranking { query, hits })
    }

    fn normalization(&self) -> Step {
        match self {
            Self::ReciprocalRank { k } => Step::ReciprocalRank(*k),
            Self::WeightedSum { norm, .. }
            | Self::CombSum { norm }
            | Self::CombMnz { norm }
            | Self::CombMax { norm } => Step::Normalize(*norm),
        }
    }

    fn weights(&self, runs: usize) -> Result<Vec<f64>, FusionError> {
        match self {
            Self::WeightedSum { weights, .. } if weights.len() == runs => Ok(weights.clone()),
            Self::WeightedSum { weights, .. } if !weights.is_empty() => {
                Err(FusionError::WeightCount { weights: weights.len(), runs })
            }
            _ => Ok(vec![1.0; runs]),
        }
    }

    /// The score of a document from what each run gives it.
    fn score(&self, row: &[Option<f64>], weights: &[f64]) -> f64 {
        let sum =
            || row.iter().zip(weights).map(|(score, weight)| weight * score.unwrap_or(0.0)).sum::<f64>();
        match self {
            Self::ReciprocalRank { .. } | Self::WeightedSum { .. } | Self::CombSum { .. } => sum(),
            Self::CombMnz { .. } => sum() * row.iter().flatten().count() as f64,
            Self::CombMax { .. } => row.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

fn one_query<'a>(runs: &[Ranking<'a>]) -> Result<&'a str, FusionError> {
    let first = runs.first().ok_or(FusionError::NoRuns)?.query;
    match runs.iter().find(|run| run.query != first) {
        Some(run) => {
            Err(FusionError::DifferentQueries { first: first.to_owned(), other: run.query.to_owned() })
        }
        None => Ok(first),
    }
}

/// What happens to each run's scores before they are put together.
#[derive(Clone, Copy)]
enum Step {
    ReciprocalRank(f64),
    Normalize(Normalization),
}

/// Divisors are at least this.
const SMALLEST_DIVISOR: f64 = 1e-9;

/// Documents by runs: what each run gives each document.
struct Table<'a> {
    documents: Vec<&'a str>,
    /// For each run, its documents (numbers in `documents`) and scores, best first.
    runs: Vec<Vec<(usize, f64)>>,
    /// Row after row.
    cells: Vec<Option<f64>>,
}

impl<'a> Table<'a> {
    fn of(rankings: &[Ranking<'a>]) -> Self {
        let mut documents = Vec::new();
        let mut numbers: FxHashMap<&'a str, usize> = FxHashMap::default();
        let mut number = |document: &'a str| {
            *numbers.entry(document).or_insert_with(|| {
                documents.push(document);
                documents.len() - 1
            })
        };
        let runs: Vec<Vec<_>> = rankings
            .iter()
            .map(|ranking| ranking.hits.iter().map(|hit| (number(hit.document), hit.score)).collect())
            .collect();
        let runs: Vec<_> = runs.into_iter().map(|run| best_first(run, documents.len())).collect();
        let cells = vec![None; documents.len() * runs.len()];
        Self { documents, runs, cells }
    }

    fn rows(&self) -> impl Iterator<Item = (&'a str, &[Option<f64>])> {
        self.documents.iter().copied().zip(self.cells.chunks_exact(self.runs.len()))
    }

    fn normalize(&mut self, step: Step) {
        let (candidates, width) = (self.documents.len(), self.runs.len());
        for (column, run) in self.runs.iter().enumerate() {
            if matches!(step, Step::Normalize(Normalization::Borda)) {
                let left = 0.5 - (run.len() as f64 - 1.0) / (2.0 * candidates as f64);
                self.cells.iter_mut().skip(column).step_by(width).for_each(|cell| *cell = Some(left));
            }
            let scores: Vec<f64> = run.iter().map(|&(_, score)| score).collect();
            for (&(document, _), score) in run.iter().zip(normalized(&scores, step, candidates)) {
                self.cells[document * width + column] = Some(score);
            }
        }
    }
}

/// A run in the order of its scores, each document once.
fn best_first(mut run: Vec<(usize, f64)>, documents: usize) -> Vec<(usize, f64)> {
    run.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut seen = vec![false; documents];
    run.retain(|&(document, _)| !std::mem::replace(&mut seen[document], true));
    run
}

/// The scores of one run, given best first, made comparable.
fn normalized(scores: &[f64], step: Step, candidates: usize) -> Vec<f64> {
    let n = scores.len() as f64;
    let (max, min) = (scores.first().copied().unwrap_or(0.0), scores.last().copied().unwrap_or(0.0));
    let places = |of: f64| (0..scores.len()).map(|place| 1.0 - place as f64 / of).collect();
    let norm = match step {
        Step::ReciprocalRank(k) => {
            return (0..scores.len()).map(|place| 1.0 / (k + place as f64 + 1.0)).collect();
        }
        Step::Normalize(norm) => norm,
    };
    let (from, divisor) = match norm {
        Normalization::None => return scores.to_vec(),
        Normalization::Rank => return places(n),
        Normalization::Borda => return places(candidates as f64),
        Normalization::MinMax => (min, max - min),
        Normalization::Sum => (min, scores.iter().sum::<f64>() - min * n),
        Normalization::Max => (0.0, max),
        Normalization::ZScore => {
            let mean = scores.iter().sum::<f64>() / n;
            (mean, (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / n).sqrt())
        }
    };
    scores.iter().map(|score| (score - from) / divisor.max(SMALLEST_DIVISOR)).collect()
}

impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::MinMax => "min-max",
            Self::ZScore => "z-score",
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Rank => "rank",
            Self::Borda => "borda",
        })
    }
}

impl FromStr for Normalization {
    type Err = FusionError;

    fn from_str(written: &str) -> Result<Self, FusionError> {
        let all = [Self::None, Self::MinMax, Self::ZScore, Self::Sum, Self::Max, Self::Rank, Self::Borda];
        let found = all.into_iter().find(|norm| norm.to_string() == written);
        found.ok_or_else(|| bad_value("norm", written, "none, min-max, z-score, sum, max, rank or borda"))
    }
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReciprocalRank { k } => write!(f, "rrf(k={k})"),
            Self::WeightedSum { norm, weights } if weights.is_empty() => write!(f, "wsum(norm={norm})"),
            Self::WeightedSum { norm, weights } => {
                let weights: Vec<_> = weights.iter().map(f64::to_string).collect();
                write!(f, "wsum(norm={norm}, weights={})", weights.join("/"))
            }
            Self::CombSum { norm } => write!(f, "combsum(norm={norm})"),
            Self::CombMnz { norm } => write!(f, "combmnz(norm={norm})"),
            Self::CombMax { norm } => write!(f, "combmax(norm={norm})"),
        }
    }
}

impl FromStr for Fusion {
    type Err = FusionError;

    /// Reads `rrf`, `rrf(k=10)`, `wsum(norm=z-score, weights=0.3/0.7)`, `combmnz(norm=sum)` and so on. Without
    /// settings: k = 60, norm = min-max, all weights 1.
    fn from_str(written: &str) -> Result<Self, FusionError> {
        let (name, settings) = parts(written)?;
        let known = match name {
            "rrf" => "k",
            "wsum" => "norm, weights",
            "combsum" | "combmnz" | "combmax" => "norm",
            _ => return Err(FusionError::UnknownMethod { name: name.to_owned() }),
        };
        let (mut k, mut norm, mut weights) = (60.0, Normalization::default(), Vec::new());
        for (key, value) in settings {
            match key {
                _ if !known.split(", ").any(|known| known == key) => {
                    return Err(FusionError::UnknownSetting {
                        name: name.to_owned(),
                        key: key.to_owned(),
                        known,
                    });
                }
                "k" => k = number(key, value, |k| k > -1.0, "a number above -1")?,
                "norm" => norm = value.parse()?,
                _ => weights = value.split('/').map(weight).collect::<Result<_, _>>()?,
            }
        }
        Ok(match name {
            "rrf" => Self::ReciprocalRank { k },
            "wsum" => Self::WeightedSum { norm, weights },
            "combsum" => Self::CombSum { norm },
            "combmnz" => Self::CombMnz { norm },
            _ => Self::CombMax { norm },
        })
    }
}

/// A name and its settings in the order written.
type Parts<'w> = (&'w str, Vec<(&'w str, &'w str)>);

fn parts(written: &str) -> Result<Parts<'_>, FusionError> {
    let malformed = || FusionError::Malformed { written: written.to_owned() };
    let Some((name, rest)) = written.trim().split_once('(') else { return Ok((written.trim(), Vec::new())) };
    let inside = rest.strip_suffix(')').ok_or_else(malformed)?.trim();
    let pairs = inside.split(',').filter(|_| !inside.is_empty()).map(|part| part.split_once('='));
    let settings: Option<Vec<_>> = pairs.map(|pair| pair.map(|(k, v)| (k.trim(), v.trim()))).collect();
    Ok((name.trim(), settings.ok_or_else(malformed)?))
}

fn weight(written: &str) -> Result<f64, FusionError> {
    number("weights", written.trim(), |_| true, "finite numbers joined by /")
}

fn number(
    key: &str,
    value: &str,
    fits: impl Fn(f64) -> bool,
    expected: &'static str,
) -> Result<f64, FusionError> {
    let number = value.parse().ok().filter(|&number: &f64| number.is_finite() && fits(number));
    number.ok_or_else(|| bad_value(key, value, expected))
}

fn bad_value(key: &str, value: &str, expected: &'static str) -> FusionError {
    FusionError::BadValue { key: key.to_owned(), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn run<'a>(hits: &[(&'a str, f64)]) -> Ranking<'a> {
        let hits = hits.iter().map(|&(document, score)| Hit { document, score }).collect();
        Ranking { query: "q", hits }
    }

    fn borrowed(hits: &[(String, f64)]) -> Ranking<'_> {
        run(&hits.iter().map(|(document, score)| (document.as_str(), *score)).collect::<Vec<_>>())
    }

    fn fuse(method: &str, runs: &[Ranking<'static>]) -> Vec<(&'static str, f64)> {
        let fused = method.parse::<Fusion>().unwrap().fuse(runs).unwrap();
        fused.hits.into_iter().map(|hit| (hit.document, hit.score)).collect()
    }

    #[test]
    fn examples_worked_by_hand() {
        let runs = [run(&[("a", 4.0), ("b", 2.0)]), run(&[("b", 9.0), ("c", 8.0), ("d", 5.0)])];
        let b = 1.0 / 62.0 + 1.0 / 61.0;
        assert_eq!(fuse("rrf", &runs), [("b", b), ("a", 1.0 / 61.0), ("c", 1.0 / 62.0), ("d", 1.0 / 63.0)]);
        assert_eq!(fuse("wsum(weights=0.5/1)", &runs), [("b", 1.0), ("c", 0.75), ("a", 0.5), ("d", 0.0)]);
        assert_eq!(fuse("combmnz(norm=none)", &runs), [("b", 22.0), ("c", 8.0), ("d", 5.0), ("a", 4.0)]);
        assert_eq!(fuse("combmax(norm=max)", &runs)[..2], [("a", 1.0), ("b", 1.0)]);
        // Four candidates; the first run leaves 1/2 + 1/4 points for its two missing documents.
        assert_eq!(fuse("combsum(norm=borda)", &runs)[0], ("b", 1.75));
        assert_eq!(fuse("combsum(norm=borda)", &runs)[3], ("d", 0.5 - 0.125 + 0.5));
    }

    #[test]
    fn equal_scores_stand_by_document_id_and_a_repeated_document_counts_once() {
        let tied = [run(&[("b", 1.0), ("c", 1.0), ("a", 1.0)])];
        assert_eq!(fuse("combsum(norm=none)", &tied).iter().map(|hit| hit.0).collect::<String>(), "abc");
        assert_eq!(fuse("rrf", &tied).iter().map(|hit| hit.0).collect::<String>(), "bca");
        assert_eq!(fuse("combsum(norm=none)", &[run(&[("a", 1.0), ("a", 3.0)])]), [("a", 3.0)]);
    }

    #[test]
    fn what_cannot_be_fused_is_refused() {
        let fuse =
            |method: &str, runs: &[Ranking<'_>]| method.parse::<Fusion>().unwrap().fuse(runs).unwrap_err();
        let other = Ranking { query: "p", hits: vec![] };
        assert_eq!(fuse("rrf", &[]), FusionError::NoRuns);
        assert_eq!(
            fuse("wsum(weights=1/2)", &[run(&[])]).to_string(),
            "2 weights for 1 runs: expected one weight a run"
        );
        assert_eq!(fuse("rrf", &[run(&[]), other]).to_string(), "rankings of different queries: `q` and `p`");
    }

    #[test]
    fn wrong_fusions_are_named() {
        let message = |written: &str| written.parse::<Fusion>().unwrap_err().to_string();
        assert!(message("condorcet").starts_with("unknown fusion `condorcet`"));
        assert_eq!(message("rrf(norm=max)"), "`rrf` has no setting `norm`: expected k");
        assert_eq!(message("rrf(k=-1)"), "`k=-1`: expected a number above -1");
        assert_eq!(message("wsum(weights=1/nan)"), "`weights=nan`: expected finite numbers joined by /");
        assert!(message("combsum(norm=l2)").contains("expected none, min-max"));
        assert!(message("rrf(k=60").contains("expected `name`"));
    }

    #[derive(serde::Deserialize)]
    struct Case {
        method: String,
        runs: Vec<BTreeMap<String, f64>>,
        scores: BTreeMap<String, f64>,
    }

    /// Random runs fused by ranx 0.3.21 (`benchmarks/references/fusion/fusion.py`).
    #[test]
    fn ranx_agrees() {
        let cases: Vec<Case> =
            include_str!("fusion.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(cases.len() >= 200);
        for case in cases {
            let runs: Vec<Vec<_>> = case.runs.into_iter().map(|run| run.into_iter().collect()).collect();
            let runs: Vec<_> = runs.iter().map(|hits| borrowed(hits)).collect();
            let fused = case.method.parse::<Fusion>().unwrap().fuse(&runs).unwrap();
            assert_eq!(fused.hits.len(), case.scores.len(), "{}", case.method);
            for hit in fused.hits {
                let expected = case.scores[hit.document];
                let tolerance = 1e-9 * expected.abs().max(1.0);
                assert!(
                    (hit.score - expected).abs() <= tolerance,
                    "{}: {hit:?}, ranx {expected}",
                    case.method
                );
            }
        }
    }

    fn any_norm() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["none", "min-max", "z-score", "sum", "max", "rank", "borda"])
    }

    proptest! {
        #[test]
        fn a_printed_fusion_is_the_same_fusion(norm in any_norm(), weights in prop::collection::vec(-9.0_f64..9.0, 1..4)) {
            let weights = weights.iter().map(f64::to_string).collect::<Vec<_>>().join("/");
            for written in [format!("wsum(norm={norm}, weights={weights})"), format!("combmnz(norm={norm})")] {
                let fusion: Fusion = written.parse().unwrap();
                prop_assert_eq!(&fusion.to_string(), &written);
                prop_assert_eq!(fusion.to_string().parse::<Fusion>().unwrap(), fusion);
            }
        }

        #[test]
        fn every_document_comes_back_once_with_a_finite_score(
            runs in prop::collection::vec(prop::collection::vec(("[a-h]", -1e6_f64..1e6), 0..8), 1..4),
            norm in any_norm(),
        ) {
            let rankings: Vec<_> = runs.iter().map(|hits| borrowed(hits)).collect();
            let documents: BTreeSet<_> = runs.iter().flatten().map(|(d, _)| d.as_str()).collect();
            for method in ["rrf".to_owned(), format!("combsum(norm={norm})"), format!("combmax(norm={norm})")] {
                let fused = method.parse::<Fusion>().unwrap().fuse(&rankings).unwrap();
                prop_assert!(fused.hits.iter().all(|hit| hit.score.is_finite()));
                prop_assert!(fused.hits.is_sorted_by(|a, b| a.score >= b.score));
                prop_assert_eq!(fused.hits.len(), documents.len());
            }
        }
    }
}
