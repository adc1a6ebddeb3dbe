//! One file per subcommand: its flags, and what it does with them.

pub mod agree;
pub mod calibrate;
pub mod data;
pub mod doctor;
pub mod evaluate;
mod import_log;
mod judged;
pub mod label;
pub mod model;
pub mod quantize;
mod quantize_labeler;
pub mod recipe;
pub mod runs;
pub mod serve;
pub mod shell;
pub mod simulate;
pub mod synthesize;
pub mod train;
mod train_labeler;

use crate::exit::Verdict;
use crate::report::Report;
use crate::runs::{History, Record};

/// What a command hands back: the report for stdout, and whether what it checked holds.
pub struct Finished {
    /// Written to stdout in the format asked for.
    pub report: Report,
    /// Becomes the exit status.
    pub verdict: Verdict,
    /// The record to leave once the report is out, and where.
    pub record: Option<(History, Record)>,
}

impl Finished {
    /// The same with a record to leave.
    pub fn recorded(self, record: Option<(History, Record)>) -> Self {
        Self { record, ..self }
    }
}

impl From<Report> for Finished {
    fn from(report: Report) -> Self {
        Self { report, verdict: Verdict::Yes, record: None }
    }
}
