//! How a run ended, as scripts see it: 0 done, 1 the check says no, 2 wrong usage or unreadable input, 3 anything
//! else. Errors are told apart by what they are, never by their words.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// What a command that ran to its end found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done; where something was checked, it holds.
    Yes,
    /// The check says no.
    No,
}

/// Something the user asked for that cannot be: a wrong name, a missing file, flags that exclude each other.
#[derive(Debug)]
pub struct Usage(String);

impl Usage {
    /// An error that says what is wrong and what would be right.
    pub fn error(message: impl Into<String>) -> anyhow::Error {
        Self(message.into()).into()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The exit status of a run, its error said on stderr.
pub fn code(result: anyhow::Result<Verdict>) -> ExitCode {
    match result {
        Ok(Verdict::Yes) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        // The reader of our output has seen enough (`graded ... | head`).
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("graded: {error:#}");
            ExitCode::from(match () {
                () if is_no(&error) => 1,
                () if is_input(&error) => 2,
                () => 3,
            })
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether a check said no while work was under way: it is said as an error, because the work was not done.
fn is_no(error: &anyhow::Error) -> bool {
    use synthesis::SynthesisError::TooManyUnparsed;
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(TooManyUnparsed { .. })))
}

/// Whether the user's input is at fault: every error that the libraries raise about what they were given. A disk that
/// is full while something is written is nobody's input.
fn is_input(error: &anyhow::Error) -> bool {
    let is_full = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<datasets::Error>() {
        Some(datasets::Error::Io { reason, .. }) => is_full_disk(reason),
        _ => cause.downcast_ref::<io::Error>().is_some_and(is_full_disk),
    };
    !error.chain().any(is_full)
        && error.chain().any(|cause| {
            cause.is::<Usage>()
                || cause.is::<datasets::Error>()
                || cause.is::<kernels::Error>()
                || cause.is::<relevance::EvaluationError>()
                || cause.is::<relevance::MeasureError>()
                || cause.is::<relevance::fusion::FusionError>()
                || cause.is::<scorer::ScorerError>()
                || cause.is::<scorer::lexical::LexicalError>()
                || cause.downcast_ref().is_some_and(trainer::TrainerError::is_input)
                || cause.is::<trainer::batch::BatchError>()
                || cause.is::<trainer::losses::LossError>()
                || cause
                    .downcast_ref::<synthesis::SynthesisError>()
                    .is_some_and(synthesis::SynthesisError::is_input)
        })
}

fn is_full_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem)
}
