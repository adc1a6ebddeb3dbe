//! The one error type of training: each variant names the setting, the text or the step that is at fault.

/// What can stop a training run, before or while it runs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainerError {
    /// The model's files: a missing tensor, a shape that does not fit, a damaged bundle.
    #[error(transparent)]
    Model(#[from] scorer::ScorerError),
    /// A setting is outside its range.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// The recipe's key.
        name: String,
        /// What was there.
        found: String,
        /// What may be there.
        expected: String,
    },
    /// The model asks for something that cannot be trained here.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A text of the batch cannot be encoded.
    #[error("text {text} of the batch: {reason}")]
    Text {
        /// Its position in the batch.
        text: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The loss, a gradient, a weight or a vector is NaN or infinite.
    #[error(
        "step {step}: {what} is {value}; try a lower learning rate or weight decay, a longer warm-up or a lower \
         training.clip_norm, and look at the batch of this step"
    )]
    NotFinite {
        /// The step, counted from 1.
        step: u64,
        /// The loss, the gradient, the vectors, or a tensor's name.
        what: String,
        /// What it was.
        value: f64,
    },
    /// The loss is far above where it started.
    #[error(
        "step {step}: the loss is {loss:.4}, {times:.1} times its first values ({first:.4}); try a lower learning \
         rate (now {learning_rate:e}), a longer warm-up, or a lower training.clip_norm"
    )]
    Exploded {
        /// The step, counted from 1.
        step: u64,
        /// The loss, averaged over the last steps.
        loss: f64,
        /// The loss, averaged over the first steps.
        first: f64,
        /// One over the other.
        times: f64,
        /// What it was trained with.
        learning_rate: f64,
    },
    /// Every text has nearly the same vector.
    #[error(
        "step {step}: the vectors have collapsed: {count} texts have an effective rank of {rank:.2} of {most}; try a \
         lower learning rate, harder or more negatives, or a higher temperature"
    )]
    Collapsed {
        /// The step, counted from 1.
        step: u64,
        /// How many vectors were looked at.
        count: usize,
        /// Their effective rank.
        rank: f64,
        /// The highest rank they could have.
        most: usize,
    },
    /// Every pair of query and document has nearly the same score.
    #[error(
        "step {step}: all {count} scores are alike (standard deviation {deviation:.1e}); the vectors have collapsed: try \
         a lower learning rate, harder or more negatives, or a higher temperature"
    )]
    ScoresAlike {
        /// The step, counted from 1.
        step: u64,
        /// How many scores were looked at.
        count: usize,
        /// Their standard deviation.
        deviation: f64,
    },
    /// A labeler gives every pair nearly the same outputs.
    #[error(
        "step {step}: all {count} pairs get the same answer (standard deviation {deviation:.1e}); try a lower learning \
         rate, a longer warm-up, or grades that are spread more evenly (cross_entropy's class_weights)"
    )]
    GradesAlike {
        /// The step, counted from 1.
        step: u64,
        /// How many pairs were looked at.
        count: usize,
        /// The largest standard deviation of an output.
        deviation: f64,
    },
    /// The loss has not moved since the start.
    #[error(
        "step {step}: the loss has stayed at {loss:.6} since the start (relative change {change:.1e}); try a higher \
         learning rate (now {learning_rate:e}), look whether everything is frozen, and whether the grades differ within \
         a query's list"
    )]
    Stuck {
        /// The step, counted from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// How far it has moved, relative to itself.
        change: f64,
        /// What it was trained with.
        learning_rate: f64,
    },
    /// The loss refused the batch.
    #[error("step {step}: {reason}")]
    Loss {
        /// The step, counted from 1.
        step: u64,
        /// The loss's own words.
        reason: String,
    },
    /// The GPU is missing, or failed.
    #[error(transparent)]
    Device(#[from] kernels::Error),
    /// A checkpoint is damaged, of another version, or of another run.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
}

impl TrainerError {
    /// A setting out of range.
    pub fn setting(name: &str, found: impl ToString, expected: &str) -> Self {
        Self::Setting { name: name.to_owned(), found: found.to_string(), expected: expected.to_owned() }
    }

    /// Whether what was given is at fault, rather than how the run went.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Model(_)
            | Self::Setting { .. }
            | Self::Unsupported(_)
            | Self::Text { .. }
            | Self::Checkpoint(_) => true,
            Self::Device(error) => matches!(error, kernels::Error::Device { .. }),
            Self::NotFinite { .. }
            | Self::Exploded { .. }
            | Self::Collapsed { .. }
            | Self::ScoresAlike { .. }
            | Self::GradesAlike { .. }
            | Self::Stuck { .. }
            | Self::Loss { .. } => false,
        }
    }
}

/// The result of every fallible function of training.
pub type Result<T> = std::result::Result<T, TrainerError>;
