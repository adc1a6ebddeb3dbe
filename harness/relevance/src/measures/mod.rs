//! Measures of a ranking. A measure is a value: it is parsed from, and prints as, what a person writes (`nDCG@10`,
//! `AP(rel=2)`), and knows how to score a [`JudgedRanking`]. The set is closed; [`Measure::value`] names them all.
//!
//! One file per family, each with its source, formula, arithmetic and examples. Measures that look at relevance as yes
//! or no take `rel`, the lowest grade that counts as relevant (1 unless given).
//!
//! Where the order of ties is open ([`TieOrder::Expected`](crate::TieOrder::Expected)) a value is the exact mean over
//! all orders; [`Measure::has_expectation`] says which measures have one in closed form.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Grade, JudgedRanking};

pub mod average_precision;
pub mod bpref;
pub mod counts;
pub mod discount;
pub mod expected_reciprocal_rank;
pub mod g;
mod grammar;
pub mod inferred_ap;
pub mod interpolated_precision;
pub mod judged;
pub mod ndcg;
pub mod pair_average_precision;
pub mod precision;
pub mod r_precision;
pub mod rank_biased_precision;
pub mod recall;
pub mod reciprocal_rank;
pub mod relevance_string;
pub mod set;
pub mod success;
mod trec_names;

pub use grammar::{CATALOGUE, MeasureError, parse_measures, parse_measures_at};
pub use ndcg::Gain;

/// The lowest value that enters a geometric mean: trec_eval's `MIN_GEO_MEAN`.
const LOWEST_IN_GEOMETRIC_MEAN: f64 = 0.00001;

/// A measure with its parameters. See the module of each family for source and formula.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Measure {
    /// `P@k`.
    Precision {
        /// Ranks looked at.
        cutoff: usize,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `RelP@k`: precision over the best possible.
    RelativePrecision {
        /// Ranks looked at.
        cutoff: usize,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `R@k`.
    Recall {
        /// Ranks looked at.
        cutoff: usize,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `Success@k`, also called hit rate.
    Success {
        /// Ranks looked at.
        cutoff: usize,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `AP`, `AP@k`; averaged over queries it is MAP.
    AveragePrecision {
        /// Ranks looked at; all of them without.
        cutoff: Option<usize>,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `GMAP`: average precision with a geometric mean over queries.
    GeometricAveragePrecision {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `RR`, `RR@k`; averaged over queries it is MRR.
    ReciprocalRank {
        /// Ranks looked at; all of them without.
        cutoff: Option<usize>,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `Rprec`.
    RPrecision {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `RprecMult@x`: precision at `x` times the number of relevant documents.
    RPrecisionMultiple {
        /// Times the number of relevant documents.
        multiple: f64,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `nDCG`, `nDCG@k`.
    Ndcg {
        /// What a grade is worth.
        gain: Gain,
        /// Ranks looked at; all of them without.
        cutoff: Option<usize>,
    },
    /// `nDCGRel`: nDCG averaged over the documents with a gain.
    NdcgAtRelevant {
        /// What a grade is worth.
        gain: Gain,
    },
    /// `RnDCG`: nDCG averaged over the steps of the best possible order.
    NdcgAtLevels {
        /// What a grade is worth.
        gain: Gain,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `Bpref`.
    Bpref {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `GMBpref`: Bpref with a geometric mean over queries.
    GeometricBpref {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `infAP`.
    InferredAp {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `IPrec@x`: interpolated precision at recall `x`.
    InterpolatedPrecision {
        /// The recall to reach, in 0..=1.
        recall: f64,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `AvgIPrec`: interpolated precision averaged over recall levels (11 of them unless given).
    AverageInterpolatedPrecision {
        /// The recall levels, each in 0..=1.
        recalls: Vec<f64>,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `BinG`.
    BinaryG {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `G`.
    G {
        /// What a grade is worth.
        gain: Gain,
    },
    /// `ERR`, `ERR@k`.
    ExpectedReciprocalRank {
        /// Ranks looked at; all of them without.
        cutoff: Option<usize>,
        /// Highest grade of the scale.
        max_rel: Grade,
    },
    /// `RBP`, `RBP@k`.
    RankBiasedPrecision {
        /// The reader's persistence, in 0..1.
        p: f64,
        /// Lowest relevant grade; graded gain without.
        rel: Option<Grade>,
        /// Ranks looked at; all of them without.
        cutoff: Option<usize>,
    },
    /// `RBPResid`: how far unjudged documents could raise `RBP`.
    RankBiasedPrecisionResidual {
        /// The reader's persistence, in 0..1.
        p: f64,
    },
    /// `Judged@k`: share of judged documents.
    Judged {
        /// Ranks looked at; all of them without.
        cutoff: Option<usize>,
    },
    /// `Unjudged@k`: share of unjudged documents.
    Unjudged {
        /// Ranks looked at.
        cutoff: usize,
    },
    /// `SetP`.
    SetPrecision {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `SetRelP`: set precision over the best possible.
    SetRelativePrecision {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `SetR`.
    SetRecall {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `SetF`; F1 unless `beta` is given.
    SetF {
        /// Weight of recall against precision.
        beta: f64,
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `SetAP`.
    SetAveragePrecision {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `Utility`.
    Utility {
        /// Weights of relevant retrieved, other retrieved, relevant missed and other missed documents.
        weights: [f64; 4],
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `NumQ`: the number of queries.
    NumQueries,
    /// `NumRet`: documents retrieved.
    NumRetrieved,
    /// `NumRel`: documents there are to find.
    NumRelevant {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `NumRelRet`: documents found.
    NumRelevantRetrieved {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `NumNonRelJudgedRet`: retrieved documents judged not relevant.
    NumNonrelevantJudgedRetrieved {
        /// Lowest relevant grade.
        rel: Grade,
    },
    /// `PairAP`: average precision over the pairs of all queries pooled. A single query's value is that over its own
    /// pairs; the pooled value is not the mean of those.
    PairAveragePrecision {
        /// Lowest relevant grade.
        rel: Grade,
    },
}

/// How the values of single queries become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// The arithmetic mean over queries.
    Mean,
    /// The geometric mean over queries, values below 0.00001 counting as that.
    GeometricMean,
    /// The sum over queries.
    Sum,
    /// Computed anew over the scored pairs of all queries together.
    Pooled,
}

impl Measure {
    /// The value for one query. An empty ranking gives the value of a query that was not answered.
    ///
    /// [`Measure::PairAveragePrecision`] needs scores, which a [`JudgedRanking`] does not keep: here it is computed
    /// from the order alone, as if no scores were tied. [`Evaluator`](crate::Evaluator) has the scores.
    pub fn value(&self, ranking: &JudgedRanking) -> f64 {
        match self {
            &Self::Precision { cutoff, rel } => precision::precision(ranking, rel, cutoff),
            &Self::RelativePrecision { cutoff, rel } => precision::relative_precision(ranking, rel, cutoff),
            &Self::Recall { cutoff, rel } => recall::recall(ranking, rel, cutoff),
            &Self::Success { cutoff, rel } => success::success(ranking, rel, cutoff),
            &Self::AveragePrecision { cutoff, rel } => {
                average_precision::average_precision(ranking, rel, cutoff)
            }
            &Self::GeometricAveragePrecision { rel } => {
                average_precision::average_precision(ranking, rel, None)
            }
            &Self::ReciprocalRank { cutoff, rel } => reciprocal_rank::reciprocal_rank(ranking, rel, cutoff),
            &Self::RPrecision { rel } => r_precision::r_precision(ranking, rel),
            &Self::RPrecisionMultiple { multiple, rel } => {
                r_precision::r_precision_multiple(ranking, rel, multiple)
            }
            Self::Ndcg { gain, cutoff } => ndcg::ndcg(ranking, gain, *cutoff),
            Self::NdcgAtRelevant { gain } => ndcg::ndcg_at_relevant(ranking, gain),
            Self::NdcgAtLevels { gain, rel } => ndcg::ndcg_at_levels(ranking, gain, *rel),
            &Self::Bpref { rel } | &Self::GeometricBpref { rel } => bpref::bpref(ranking, rel),
            &Self::InferredAp { rel } => inferred_ap::inferred_ap(ranking, rel),
            &Self::InterpolatedPrecision { recall, rel } => {
                interpolated_precision::interpolated_precision(ranking, rel, recall)
            }
            Self::AverageInterpolatedPrecision { recalls, rel } => {
                interpolated_precision::average_interpolated_precision(ranking, *rel, recalls)
            }
            &Self::BinaryG { rel } => g::binary_g(ranking, rel),
            Self::G { gain } => g::g(ranking, gain),
            &Self::ExpectedReciprocalRank { cutoff, max_rel } => {
                expected_reciprocal_rank::expected_reciprocal_rank(ranking, max_rel, cutoff)
            }
            &Self::RankBiasedPrecision { p, rel, cutoff } => {
                rank_biased_precision::rank_biased_precision(ranking, p, rel, cutoff)
            }
            &Self::RankBiasedPrecisionResidual { p } => {
                rank_biased_precision::rank_biased_precision_residual(ranking, p)
            }
            &Self::Judged { cutoff } => judged::judged(ranking, cutoff),
            &Self::Unjudged { cutoff } => judged::unjudged(ranking, cutoff),
            &Self::SetPrecision { rel } => set::set_precision(ranking, rel),
            &Self::SetRelativePrecision { rel } => set::set_relative_precision(ranking, rel),
            &Self::SetRecall { rel } => set::set_recall(ranking, rel),
            &Self::SetF { beta, rel } => set::set_f(ranking, rel, beta),
            &Self::SetAveragePrecision { rel } => set::set_average_precision(ranking, rel),
            &Self::Utility { weights, rel } => set::utility(ranking, rel, weights),
            Self::NumQueries => 1.0,
            Self::NumRetrieved => counts::retrieved(ranking),
            &Self::NumRelevant { rel } => counts::relevant(ranking, rel),
            &Self::NumRelevantRetrieved { rel } => counts::relevant_retrieved(ranking, rel),
            &Self::NumNonrelevantJudgedRetrieved { rel } => {
                counts::nonrelevant_judged_retrieved(ranking, rel)
            }
            &Self::PairAveragePrecision { rel } => {
                let mut pairs: Vec<_> =
                    ranking.hits().iter().map(|hit| (-(hit.rank as f64), hit.grade >= rel)).collect();
                pair_average_precision::pair_average_precision(&mut pairs, ranking.relevant(rel))
            }
        }
    }

    /// How values of single queries become one.
    pub fn aggregation(&self) -> Aggregation {
        match self {
            Self::GeometricAveragePrecision { .. } | Self::GeometricBpref { .. } => {
                Aggregation::GeometricMean
            }
            Self::NumQueries
            | Self::NumRetrieved
            | Self::NumRelevant { .. }
            | Self::NumRelevantRetrieved { .. }
            | Self::NumNonrelevantJudgedRetrieved { .. } => Aggregation::Sum,
            Self::PairAveragePrecision { .. } => Aggregation::Pooled,
            _ => Aggregation::Mean,
        }
    }

    /// Whether the mean over all orders of tied documents is known in closed form. Where it is not, tied scores cannot
    /// be evaluated with [`TieOrder::Expected`](crate::TieOrder::Expected).
    pub fn has_expectation(&self) -> bool {
        !matches!(
            self,
            Self::GeometricAveragePrecision { .. }
                | Self::GeometricBpref { .. }
                | Self::InferredAp { .. }
                | Self::InterpolatedPrecision { .. }
                | Self::AverageInterpolatedPrecision { .. }
                | Self::G { .. }
                | Self::NdcgAtRelevant { .. }
        )
    }

    /// The rank the measure stops at, where it has one.
    pub fn cutoff(&self) -> Option<usize> {
        match *self {
            Self::Precision { cutoff, .. }
            | Self::RelativePrecision { cutoff, .. }
            | Self::Recall { cutoff, .. }
            | Self::Success { cutoff, .. }
            | Self::Unjudged { cutoff } => Some(cutoff),
            Self::AveragePrecision { cutoff, .. }
            | Self::ReciprocalRank { cutoff, .. }
            | Self::Ndcg { cutoff, .. }
            | Self::ExpectedReciprocalRank { cutoff, .. }
            | Self::RankBiasedPrecision { cutoff, .. }
            | Self::Judged { cutoff } => cutoff,
            _ => None,
        }
    }

    /// One value from the values of all queries, summed in their order. [`Aggregation::Pooled`] has no such value: its
    /// mean is given.
    pub(crate) fn aggregate(&self, values: impl ExactSizeIterator<Item = f64>) -> f64 {
        let queries = values.len().max(1) as f64;
        match self.aggregation() {
            Aggregation::Sum => values.sum(),
            Aggregation::Mean | Aggregation::Pooled => values.sum::<f64>() / queries,
            Aggregation::GeometricMean if values.len() == 0 => 0.0,
            Aggregation::GeometricMean => {
                let logarithms = values.map(|value| libm::log(value.max(LOWEST_IN_GEOMETRIC_MEAN)));
                libm::exp(logarithms.sum::<f64>() / queries)
            }
        }
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Measure;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a measure such as \"nDCG@10\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Measure, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}
