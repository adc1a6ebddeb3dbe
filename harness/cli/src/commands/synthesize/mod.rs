//! `graded synthesize`: graded training data out of logs, documents and models, with a report of what they are worth.

mod crops;
mod quality;

use clap::Subcommand;
pub(super) use crops::completed as crops_recipe;

use super::Finished;
use crate::arguments::Options;

/// Subcommands of `graded synthesize`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// CroPS: positives from beyond the filter bubble, out of logs, on a hierarchy of labels from 0 to 5
    Crops(crops::Command),
    /// Say what a set of graded pairs is worth: repetitions, balance, overlap, leakage, signs of failure
    Quality(quality::Command),
}

/// Runs `graded synthesize`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    match command {
        Command::Crops(command) => crops::run(command, options),
        Command::Quality(command) => quality::run(command, options),
    }
}
