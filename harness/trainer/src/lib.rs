//! Trains encoders and labelers on graded relevance.
//!
//! Graded lists in, weights out. The crate reads no file and no clock: data, checkpoints and progress go through the
//! caller, so a training run is a function of its inputs and its seed.

pub mod batch;
pub mod losses;

pub mod checkpoint;
pub mod encoder;
pub mod error;
pub mod guards;
pub mod optimizer;
pub mod ordinal_head;
pub mod schedule;
pub mod training;

pub use encoder::{GradeHeadOptions, Model, ModelOptions};
pub use error::TrainerError;
pub use training::{
    PairBatch, Precision, Slopes, StepBatch, StepReport, TokenBatch, Trainer, TrainingOptions, Vectors,
    require_gpu,
};
