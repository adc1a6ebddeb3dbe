//! `graded completions` and `graded manual`: what a packager installs beside the binary.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::exit::Verdict;

/// Flags of `graded completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

/// Flags of `graded manual`.
#[derive(Debug, Args)]
pub struct Manual {
    /// The folder to write graded.1, graded-evaluate.1, ... into
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints the completion script.
pub fn completions(command: &Completions) -> anyhow::Result<Verdict> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Arguments::command(), "graded", &mut script);
    io::Write::write_all(&mut io::stdout(), &script)?;
    Ok(Verdict::Yes)
}

/// Writes one manual page per subcommand.
pub fn manual(command: &Manual) -> anyhow::Result<Verdict> {
    let folder = &command.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    clap_mangen::generate_to(Arguments::command(), folder)
        .with_context(|| format!("{}: cannot be written to", folder.display()))?;
    Ok(Verdict::Yes)
}
