//! One file per subcommand: its flags, and what it does with them.

pub mod agree;
pub mod calibrate;
pub mod data;
pub mod doctor;
pub mod evaluate;
pub mod label;
pub mod model;
pub mod recipe;
pub mod serve;
pub mod shell;

use crate::exit::Verdict;
use crate::report::Report;

/// What a command hands back: the report for stdout, and whether what it checked holds.
pub struct Finished {
    /// Written to stdout in the format asked for.
    pub report: Report,
    /// Becomes the exit status.
    pub verdict: Verdict,
}

impl From<Report> for Finished {
    fn from(report: Report) -> Self {
        Self { report, verdict: Verdict::Yes }
    }
}
