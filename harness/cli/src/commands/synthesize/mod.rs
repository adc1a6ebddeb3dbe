//! `graded synthesize`: graded training data out of logs, documents and models, with a report of what they are worth.

mod crops;
mod graded_set;
mod quality;
mod quality_page;
mod score_model;
mod seed;
mod slm_labeler;
mod ssra;
mod sycl;

use clap::Subcommand;
pub(super) use crops::completed as crops_recipe;
pub(super) use slm_labeler::completed as labeler_recipe;
pub(super) use ssra::completed as ssra_recipe;
pub(super) use sycl::completed as sycl_recipe;

use super::Finished;
use crate::arguments::Options;

/// Subcommands of `graded synthesize`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// CroPS: positives from beyond the filter bubble, out of logs, on a hierarchy of labels from 0 to 5
    Crops(crops::Command),
    /// SSRA: queries written for documents at target grades, kept where a score model and a pairwise judge agree
    Ssra(ssra::Command),
    /// SyCL: passages written for real queries at four grades, and mined ones beside them
    Sycl(sycl::Command),
    /// Queries written for seed documents, hard negatives, and a teacher's grades, to make a small labeler from
    SlmLabeler(slm_labeler::Command),
    /// Say what a set of graded pairs is worth: repetitions, balance, overlap, leakage, signs of failure
    Quality(quality::Command),
}

/// Runs `graded synthesize`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    match command {
        Command::Crops(command) => crops::run(command, options),
        Command::Ssra(command) => ssra::run(command, options),
        Command::Sycl(command) => sycl::run(command, options),
        Command::SlmLabeler(command) => slm_labeler::run(command, options),
        Command::Quality(command) => quality::run(command, options),
    }
}
