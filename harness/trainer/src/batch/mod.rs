//! From graded lists to batches: which documents a query meets, and what is known about each pair.
//!
//! ```text
//! graded pairs -> Lists (texts once each, grades on the scale) -> mining adds negatives -> Batches -> masks -> a loss
//! ```
//!
//! - **A text is one thing.** Queries and documents of equal text are merged when [`Lists`] are built, so no batch has the
//!   same text in two columns, and a document that two queries list is one column with two grades.
//! - **What is graded stays graded.** A document that comes into a batch with one query's list and is graded for another
//!   query of the batch has that grade there; only pairs nobody graded count as in-batch negatives.
//! - **Batch number s depends on the seed and on s alone.** A run that resumes at batch s goes on as if it had never
//!   stopped, whatever came before, on any number of threads.
//! - **Test queries are refused**, not dropped: [`refuse_leaked`] names the first.

mod batches;
mod draws;
mod error;
mod guide;
mod leakage;
mod lists;
mod masks;
mod mining;
mod pairs;
#[cfg(test)]
mod tests;

pub use batches::{Batch, BatchPlan, Batches, Pick};
pub use error::BatchError;
pub use guide::{Guide, GuideRule, GuideVectors, Masked};
pub use leakage::{Leak, leaked, refuse_leaked, refuse_leaked_queries};
pub use lists::{GradedPair, Lists, Merged, NamedText, TrainingDocument};
pub use masks::{Margin, Reference, mask_above, mask_grades};
pub use mining::{Mined, MinedPick, Mining, MiningCounts, RankedDocument};
pub use pairs::PairBatches;
