//! Graded relevance as values, and what can be said about them: judgments, rankings, labelled pairs,
//! measures of a ranking, agreement between raters, significance between systems.
//!
//! Nothing here reads a file, a clock or the environment: values in, values out. `datasets` reads the files,
//! the command line does the rest. The crate compiles for `wasm32-unknown-unknown` and gives the same bits there.

pub mod fusion;
pub mod grade;
pub mod judgments;
pub mod pair;
pub mod ranking;
pub mod scale;

pub use fusion::{Fusion, FusionError, Normalization};
pub use grade::Grade;
pub use judgments::{Judgments, QueryJudgments};
pub use pair::{LabeledPair, RatingTable};
pub use ranking::{Hit, Ranking, TieOrder};
pub use scale::Scale;
