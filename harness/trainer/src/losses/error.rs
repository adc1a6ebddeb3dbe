//! Everything a loss can refuse.

/// Why a loss refused its input. Nothing has been computed when one of these comes back.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// Shapes that do not fit, values that are not finite, a temperature that is not above 0.
    #[error(transparent)]
    Kernel(#[from] kernels::Error),

    /// The targets describe another batch than the embeddings.
    #[error("the targets are for {targets} {what}, the batch has {batch}")]
    Batch {
        /// What is counted: "queries" or "documents".
        what: &'static str,
        /// How many the targets describe.
        targets: usize,
        /// How many embeddings there are.
        batch: usize,
    },

    /// A query lists a document that the batch does not have, or the same one twice.
    #[error(
        "query {query} lists document {document}; expected each of the {documents} documents at most once"
    )]
    Listed {
        /// Zero-based query of the batch.
        query: usize,
        /// The document listed.
        document: u32,
        /// Documents of the batch.
        documents: usize,
    },

    /// A grade above the highest one the loss, or the scale, knows.
    #[error("query {query}, document {document}: grade {grade}; expected 0 to {highest}")]
    Grade {
        /// Zero-based query of the batch.
        query: usize,
        /// Zero-based document of the batch.
        document: u32,
        /// The grade.
        grade: u8,
        /// The highest grade allowed.
        highest: u8,
    },

    /// A weight that is negative, NaN or infinite, or a teacher's score that is NaN or infinite.
    #[error("query {query}, document {document}: {what} {value}; expected {expected}")]
    Value {
        /// Zero-based query of the batch.
        query: usize,
        /// Zero-based document of the batch.
        document: u32,
        /// "weight" or "teacher score".
        what: &'static str,
        /// The value.
        value: f32,
        /// What is allowed, in words.
        expected: &'static str,
    },

    /// A loss that learns from a teacher met a listed document without a teacher's score.
    #[error("query {query}, document {document} has no teacher score, and {loss} learns from one")]
    NoTeacherScore {
        /// Zero-based query of the batch.
        query: usize,
        /// Zero-based document of the batch.
        document: u32,
        /// The loss' name.
        loss: &'static str,
    },

    /// A setting of the loss outside the range its meaning allows.
    #[error("{loss}: {setting} is {value}; expected {expected}")]
    Setting {
        /// The loss' name.
        loss: &'static str,
        /// The setting, as a recipe writes it.
        setting: &'static str,
        /// What was given.
        value: f64,
        /// The allowed range in words.
        expected: &'static str,
    },

    /// Lists of different lengths where the loss lays them out as one table.
    #[error(
        "query {query} lists {length} documents, an earlier one {first}; with columns = \"lists\" all must be equally long"
    )]
    UnequalLists {
        /// Zero-based query of the batch.
        query: usize,
        /// Its documents.
        length: usize,
        /// The documents of the first query.
        first: usize,
    },

    /// As many learned numbers must be handed in as the loss has.
    #[error("{got} learned numbers for a loss that has {expected}")]
    Parameters {
        /// How many the loss has.
        expected: usize,
        /// How many came.
        got: usize,
    },

    /// A prefix of a Matryoshka loss longer than the embeddings.
    #[error("a prefix of {dimensions} dimensions; expected 1 to {width}, the embeddings' own")]
    Prefix {
        /// The prefix asked for.
        dimensions: usize,
        /// Values of an embedding.
        width: usize,
    },

    /// Lists of settings that must be equally long and not empty.
    #[error("{loss}: {got} {setting}; expected {expected}")]
    SettingCount {
        /// The loss' name.
        loss: &'static str,
        /// The setting, as a recipe writes it.
        setting: &'static str,
        /// How many there are.
        got: usize,
        /// How many there must be.
        expected: usize,
    },

    /// A labeler's logits and targets disagree.
    #[error("{examples} examples but {got} {what}")]
    Examples {
        /// Rows of the logits.
        examples: usize,
        /// What there are too many or too few of: "grades" or "distributions".
        what: &'static str,
        /// How many there are.
        got: usize,
    },

    /// A labeler's loss needs targets of a kind that was not given.
    #[error("{loss} needs {what}, and none were given")]
    NoTargets {
        /// The loss' name.
        loss: &'static str,
        /// "grades" or "distributions".
        what: &'static str,
    },

    /// A grade beyond what the labeler's logits can express.
    #[error("example {example} has grade {grade}; expected 0 to {highest}")]
    LabelerGrade {
        /// Zero-based example.
        example: usize,
        /// Its grade.
        grade: u8,
        /// The highest grade the logits express.
        highest: usize,
    },

    /// A target that is no distribution: a negative value, or a sum that is not 1.
    #[error(
        "example {example}: the target distribution sums to {sum}; expected values of at least 0 with sum 1"
    )]
    Distribution {
        /// Zero-based example.
        example: usize,
        /// The sum of its values.
        sum: f64,
    },
}
