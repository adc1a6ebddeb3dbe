//! Graded relevance as values, and what can be said about them: judgments, rankings, labelled pairs,
//! measures of a ranking, agreement between raters, significance between systems.
//!
//! Nothing here reads a file, a clock or the environment: values in, values out. `datasets` reads the files,
//! the command line does the rest. The crate compiles for `wasm32-unknown-unknown` and gives the same bits there.

pub mod agreement;
pub mod evaluation;
pub mod evaluation_report;
pub mod fusion;
pub mod grade;
pub mod judged_ranking;
pub mod judgments;
pub mod list;
pub mod measures;
pub mod pair;
pub mod ranking;
pub mod resampling;
pub mod scale;
pub mod significance;
pub mod undefined;

pub use evaluation::{
    Evaluation, EvaluationError, EvaluationOptions, Evaluator, Outcome, QueryEvaluation, SelfHits,
};
pub use evaluation_report::EvaluationReport;
pub use fusion::{Fusion, FusionError, Normalization};
pub use grade::Grade;
pub use judged_ranking::JudgedRanking;
pub use judgments::{Judgments, QueryJudgments};
pub use list::{GradedDocument, GradedList};
pub use measures::{Measure, MeasureError, parse_measures};
pub use pair::{LabeledPair, RatingTable};
pub use ranking::{Hit, Ranking, TieOrder};
pub use scale::{Level, Scale};
