//! The one error type of this crate: each variant names the place, the key or the number that is at fault.

use std::fmt;
use std::sync::Arc;

/// Where a record stands: the file as the caller calls it, and the line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What can be wrong with a log, with parameters, with a recorded answer, or go wrong while data are made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SynthesisError {
    /// A line that is no event of the log schema.
    #[error("{place}: {reason}")]
    BadEvent {
        /// Where.
        place: Place,
        /// What was found and what was expected.
        reason: String,
    },
    /// A user's events do not stand in the order of their times.
    #[error(
        "{place}: user {user}: time_ms {time_ms} is before {previous_ms}, the user's line before; expected each \
         user's events in the order of time (log.out_of_order = \"sort\" puts them in order)"
    )]
    OutOfOrder {
        /// Where.
        place: Place,
        /// Whose.
        user: String,
        /// The time found.
        time_ms: i64,
        /// The time of the line before.
        previous_ms: i64,
    },
    /// A user's clock leaps forward.
    #[error(
        "{place}: user {user}: the clock jumps {gap_ms} ms; expected at most {largest_ms} (log.largest_gap_days)"
    )]
    ClockJump {
        /// Where.
        place: Place,
        /// Whose.
        user: String,
        /// How far.
        gap_ms: i64,
        /// How far it may.
        largest_ms: i64,
    },
    /// A time outside the years 1990 to 2100: most likely not in milliseconds.
    #[error("{place}: time_ms {time_ms} is not between 1990 and 2100; expected milliseconds since 1970")]
    ImplausibleTime {
        /// Where.
        place: Place,
        /// The time found.
        time_ms: i64,
    },
    /// A result, click or dwell names a search that its user has not made before it.
    #[error("{place}: user {user} has made no search {search} before this line")]
    UnknownSearch {
        /// Where.
        place: Place,
        /// Whose.
        user: String,
        /// The search named.
        search: String,
    },
    /// One user makes two searches of the same id.
    #[error(
        "{place}: user {user} has made a search {search} before; expected an id of its own for each search"
    )]
    RepeatedSearch {
        /// Where.
        place: Place,
        /// Whose.
        user: String,
        /// The id.
        search: String,
    },
    /// A parameter outside its range.
    #[error("{key}: expected {expected}, found {found}")]
    BadParameter {
        /// The parameter as the recipe spells it.
        key: String,
        /// What it can be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Nothing to work on.
    #[error("{0}")]
    Empty(String),
    /// A recorded transcript does not hold the answer to a question that was asked.
    #[error("no recorded answer {key} of {model}: {prompt:?}")]
    NotRecorded {
        /// The key of the request.
        key: String,
        /// The model asked.
        model: String,
        /// How the prompt begins.
        prompt: String,
    },
    /// A journal or transcript is not what this crate writes.
    #[error("{place}: {reason}")]
    BadJournal {
        /// Where.
        place: Place,
        /// What was found.
        reason: String,
    },
    /// An answer could not be written down: what was there before is intact, and the answer is lost.
    #[error("{file}: an answer cannot be remembered: {reason}")]
    NotRemembered {
        /// The journal.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// A generator could not answer; nothing is remembered of it, and the request may be made again.
    #[error("{model}: {reason}")]
    Generation {
        /// The model asked.
        model: String,
        /// What happened.
        reason: String,
    },
    /// A generator refuses one question, and would again; other questions may be answered.
    #[error("{model} refuses a question: {reason}")]
    Refused {
        /// The model asked.
        model: String,
        /// What it says.
        reason: String,
    },
    /// Asking was stopped on purpose: a budget is spent. What was answered is remembered.
    #[error("{model}: stopped: {reason}")]
    Stopped {
        /// The model asked.
        model: String,
        /// Which budget, and how to go on.
        reason: String,
    },
    /// Too many pairs are without an answer that can be read.
    #[error(
        "{model}: {unparsed} of {pairs} pairs have no answer that can be read; expected at most a share of {most} \
         (judge.max_unparsed); judge.asks asks again; for one: {example}"
    )]
    TooManyUnparsed {
        /// The model asked.
        model: String,
        /// Pairs without a readable answer.
        unparsed: u64,
        /// All pairs so far.
        pairs: u64,
        /// The largest share allowed.
        most: f64,
        /// The first such answer, or what the server said instead of one.
        example: String,
    },
    /// An encoder or labeler failed.
    #[error(transparent)]
    Scorer(#[from] scorer::ScorerError),
    /// The written retriever or analyzer is not one.
    #[error(transparent)]
    Lexical(#[from] scorer::lexical::LexicalError),
}

impl SynthesisError {
    /// Whether what was given is at fault, rather than a model that does not answer or a disk that is full.
    pub fn is_input(&self) -> bool {
        !matches!(
            self,
            Self::Generation { .. }
                | Self::NotRemembered { .. }
                | Self::Refused { .. }
                | Self::Stopped { .. }
                | Self::TooManyUnparsed { .. }
        )
    }

    /// A parameter outside its range.
    pub(crate) fn parameter(
        key: &str,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) -> SynthesisError {
        Self::BadParameter { key: key.to_owned(), expected: expected.into(), found: found.to_string() }
    }
}
