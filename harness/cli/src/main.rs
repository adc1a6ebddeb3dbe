//! `graded`: trains, scores and checks graded relevance. This file is the table of contents; each subcommand is a
//! file of `commands/`.

mod arguments;
mod cache;
mod collections;
mod commands;
mod exit;
mod external_sort;
mod foreign_logs;
mod generators;
mod interrupt;
mod labelers;
mod logs;
mod models;
mod new_folder;
mod pair_columns;
mod progress;
mod pull;
mod recipe;
mod report;
mod runs;
mod systems;
mod training;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::commands::Finished;
use crate::exit::Verdict;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    exit::code(run(&arguments))
}

fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let options = &arguments.options;
    options.start_threads()?;
    let finished = match &arguments.command {
        Command::Evaluate(command) => commands::evaluate::run(command, options)?,
        Command::Train(command) => commands::train::run(command, options)?,
        Command::Agree(command) => commands::agree::run(command, options)?,
        Command::Label(command) => commands::label::run(command, options)?,
        Command::Runs(command) => commands::runs::run(command, options)?,
        Command::Simulate(command) => commands::simulate::run(command, options)?,
        Command::Synthesize(command) => commands::synthesize::run(command, options)?,
        Command::Recipe(command) => commands::recipe::run(command)?,
        Command::Data(command) => commands::data::run(command, options)?,
        Command::Model(command) => commands::model::run(command, options)?,
        Command::Doctor(command) => commands::doctor::run(command, options)?,
        Command::Serve(command) => {
            commands::serve::run(command, options)?;
            return Ok(Verdict::Yes);
        }
        Command::Completions(command) => return commands::shell::completions(command),
        Command::Manual(command) => return commands::shell::manual(command),
    };
    say(&finished, options.format)?;
    if let Some((history, record)) = finished.record {
        history.add(record, options)?;
    }
    Ok(finished.verdict)
}

/// Writes the report to stdout: the one place that does.
fn say(finished: &Finished, format: report::Format) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    finished.report.write(format, &mut out)?;
    out.flush()
}
