//! Trains encoders and labelers on graded relevance.
//!
//! Graded lists in, weights out. The crate reads no file and no clock: data, checkpoints and progress go through the
//! caller, so a training run is a function of its inputs and its seed.

pub mod batch;
pub mod losses;
pub mod ordinal_head;
