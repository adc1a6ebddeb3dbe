//! The command line as written: what clap reads, checked only as far as one flag alone can be.

use std::num::NonZeroUsize;

use clap::{Args, Parser, Subcommand};
use kernels::Device;

use crate::commands::{agree, data, doctor, evaluate, model, recipe, shell};
use crate::report::Format;

/// Train, score and check graded relevance for search.
#[derive(Debug, Parser)]
#[command(name = "graded", version, propagate_version = true, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags every command understands.
    #[command(flatten)]
    pub options: Options,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Score systems on a collection, a run file or labelled pairs
    Evaluate(Box<evaluate::Command>),
    /// Measure how far labels agree: predicted with human, rater with rater, or system orders
    Agree(agree::Command),
    /// Show a recipe completed, or check it
    #[command(subcommand)]
    Recipe(recipe::Command),
    /// List, check, import and pull collections
    #[command(subcommand)]
    Data(data::Command),
    /// List, inspect, pull, export and distil encoders
    #[command(subcommand)]
    Model(model::Command),
    /// Say what this machine offers: instruction sets, CUDA, models, data
    Doctor(doctor::Command),
    /// Print a completion script for a shell
    Completions(shell::Completions),
    /// Write the manual pages into a folder
    Manual(shell::Manual),
}

/// Flags every command understands.
#[derive(Debug, Args)]
pub struct Options {
    /// How results are written to stdout
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Everywhere")]
    pub format: Format,
    /// Where the kernels run; a device named here is used or refused, never replaced
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Everywhere")]
    pub device: DeviceChoice,
    /// How many threads to use [default: one per core]
    #[arg(long, global = true, value_name = "N", help_heading = "Everywhere")]
    pub threads: Option<NonZeroUsize>,
    /// The seed of everything drawn at random
    #[arg(long, global = true, value_name = "N", default_value_t = 42, help_heading = "Everywhere")]
    pub seed: u64,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
}

/// The `--device` flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceChoice {
    /// The fastest CPU path of this machine
    #[default]
    Auto,
    /// Plain loops: the definition of every kernel
    Scalar,
    /// The vector instructions of this CPU
    Simd,
    /// An NVIDIA GPU
    Cuda,
}

impl Options {
    /// Sets the size of the thread pool.
    ///
    /// # Errors
    /// When the pool cannot be started.
    pub fn start_threads(&self) -> anyhow::Result<()> {
        let threads = self.threads.map_or(0, NonZeroUsize::get);
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
        Ok(())
    }

    /// The device the kernels are to run on.
    ///
    /// # Errors
    /// When the device asked for is not on this machine; says why.
    pub fn device(&self) -> anyhow::Result<Device> {
        let device = match self.device {
            DeviceChoice::Auto => Device::auto(),
            DeviceChoice::Scalar => Device::Scalar,
            DeviceChoice::Simd => Device::Simd,
            DeviceChoice::Cuda => Device::Cuda,
        };
        device.require()?;
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
