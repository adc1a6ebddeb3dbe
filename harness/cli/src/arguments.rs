//! The command line as written: what clap reads, checked only as far as one flag alone can be.

use clap::{Args, Parser, Subcommand};
use kernels::Device;

use crate::commands::{
    agree, data, doctor, evaluate, label, model, recipe, runs, serve, shell, simulate, synthesize, train,
};
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
    /// Train an encoder on graded relevance
    Train(train::Command),
    /// Measure how far labels agree: predicted with human, rater with rater, or system orders
    Agree(agree::Command),
    /// Grade query-document pairs with a labeler
    Label(label::Command),
    /// List, show and compare what earlier runs recorded; the regression gate
    #[command(subcommand)]
    Runs(runs::Command),
    /// Let users search a simulated platform, and write its logs and known grades
    Simulate(simulate::Command),
    /// Make graded training data, or check it
    #[command(subcommand)]
    Synthesize(synthesize::Command),
    /// Show a recipe completed, or check it
    #[command(subcommand)]
    Recipe(recipe::Command),
    /// List, check, import and pull collections
    #[command(subcommand)]
    Data(data::Command),
    /// List, inspect, pull, export, distil and calibrate encoders
    #[command(subcommand)]
    Model(model::Command),
    /// Say what this machine offers: instruction sets, CUDA, models, data
    Doctor(doctor::Command),
    /// Show labels and their agreement in a page, on this machine alone
    Serve(serve::Command),
    /// Print a completion script for a shell
    Completions(shell::Completions),
    /// Write the manual pages into a folder
    Manual(shell::Manual),
}

/// What `--seed` is where nothing is said.
pub const DEFAULT_SEED: u64 = 42;

/// Flags every command understands.
#[derive(Debug, Args)]
pub struct Options {
    /// How results are written to stdout
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Everywhere")]
    pub format: Format,
    /// Where the kernels run; a device named here is used or refused, never replaced
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Everywhere")]
    pub device: DeviceChoice,
    /// How many threads to use, at most 256 [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Everywhere")]
    pub threads: Option<u16>,
    /// How many bytes of files and vectors to hold in memory at a time, such as 512M or 8G
    #[arg(long, global = true, value_name = "BYTES", default_value = "4G", value_parser = parse_bytes, help_heading = "Everywhere")]
    pub memory: u64,
    /// The seed of everything drawn at random
    #[arg(long, global = true, value_name = "N", default_value_t = DEFAULT_SEED, help_heading = "Everywhere")]
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
        let threads = self.threads.map_or(0, usize::from);
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

/// `512M`, `8G`, `1000000`.
fn parse_bytes(written: &str) -> Result<u64, String> {
    let digits = written.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match written[digits.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("expected a number of bytes such as 512M or 8G".to_owned()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "expected a number of bytes such as 512M or 8G".to_owned())?;
    number.checked_mul(1 << unit).filter(|&bytes| bytes > 0).ok_or_else(|| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn bytes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("1000000").unwrap(), 1_000_000);
        assert_eq!(parse_bytes("512M").unwrap(), 512 << 20);
        assert_eq!(parse_bytes("8GiB").unwrap(), 8 << 30);
        assert!(parse_bytes("0").is_err() && parse_bytes("G").is_err() && parse_bytes("-1").is_err());
        assert!(parse_bytes("99999999999T").is_err() && parse_bytes("5X").is_err());
    }
}
