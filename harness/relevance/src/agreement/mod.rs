//! Do two raters, or many, or a model and a person, give the same grades? And do two judges rank systems alike?
//!
//! One file per statistic; each is a function of counts, so its bootstrap interval (queries resampled, see
//! [`resampling`](crate::resampling)) costs little more than the statistic. [`Report`] is all of them at once.
//! A statistic without a value says why ([`Undefined`](crate::undefined::Undefined)); none is ever NaN.

mod calibration;
mod change;
mod cohen_kappa;
mod confusion;
mod error;
mod fenwick;
mod fleiss_kappa;
mod krippendorff_alpha;
mod per_grade;
mod rank_correlation;
mod rated_units;
mod report;
mod system_ranking;
#[cfg(test)]
mod tests;

pub use calibration::{Bin, Reliability, ScoreHistogram, reliability, score_histogram};
pub use change::changes;
pub use cohen_kappa::{Weights, cohen_kappa};
pub use confusion::{Confusion, OffScale};
pub use error::{accuracy, mean_absolute_error};
pub use fleiss_kappa::fleiss_kappa;
pub use krippendorff_alpha::{Metric, krippendorff_alpha, krippendorff_alpha_interval};
pub use per_grade::{GradeRow, macro_f1, per_grade};
pub use rank_correlation::{Correlations, correlations, kendall_tau_b, pearson, spearman};
pub use report::{
    FileReport, GradeReport, Predicted, RatedPair, RaterPairReport, RatersReport, Report, Statistic,
    rated_pairs, raters_report,
};
pub use system_ranking::{SystemAgreement, system_agreement, tau_ap, tau_ap_symmetric};
