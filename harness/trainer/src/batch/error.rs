//! Everything that keeps a training set from becoming batches.

use relevance::Grade;

use crate::losses::LossError;

/// Why training data was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// There is no graded pair at all.
    #[error("there is no graded pair to train on")]
    Empty,

    /// A grade that the scale does not have.
    #[error("query {query}, document {document}: grade {grade} is not on the scale {scale} ({grades})")]
    GradeOutsideScale {
        /// The query's id.
        query: String,
        /// The document's id.
        document: String,
        /// The grade.
        grade: Grade,
        /// The scale's name.
        scale: String,
        /// The scale's grades, in words.
        grades: String,
    },

    /// A scale with a grade that no loss can hold.
    #[error("the scale {scale} has grade {grade}; training knows grades 0 to 15")]
    Scale {
        /// The scale's name.
        scale: String,
        /// The grade.
        grade: Grade,
    },

    /// A grade given to a mined document that no loss can hold.
    #[error("query {query}, mined document {document}: grade {grade}; expected 0 to 15")]
    Label {
        /// The query's id.
        query: String,
        /// The document's id.
        document: String,
        /// The grade.
        grade: u8,
    },

    /// A teacher's score that is NaN or infinite.
    #[error("query {query}, document {document}: the teacher's score is {score}; expected a finite number")]
    TeacherScore {
        /// The query's id.
        query: String,
        /// The document's id.
        document: String,
        /// The score.
        score: f32,
    },

    /// The loss compares grades, and no list has two different ones.
    #[error(
        "{loss} compares documents of different grades, and the {lists} lists have none to compare; a loss over the batch, such as infonce, can use such lists"
    )]
    NoDifferentGrades {
        /// The loss' name.
        loss: String,
        /// How many lists there are.
        lists: usize,
    },

    /// A list on which the loss has nothing to say.
    #[error(
        "query {query}: all {documents} documents have the same grade, and {loss} compares different ones ({others} further lists like it; data.drop_silent = true leaves them out)"
    )]
    OneGrade {
        /// The query's id.
        query: String,
        /// Documents of its list.
        documents: usize,
        /// The loss' name.
        loss: String,
        /// How many other lists are like it.
        others: usize,
    },

    /// A list without a positive, and the loss needs one.
    #[error(
        "query {query}: none of its {documents} documents has grade {grade} or more, which {loss} needs ({others} further lists like it; data.drop_silent = true leaves them out)"
    )]
    NoPositive {
        /// The query's id.
        query: String,
        /// Documents of its list.
        documents: usize,
        /// The lowest grade of a positive.
        grade: u8,
        /// The loss' name.
        loss: String,
        /// How many other lists are like it.
        others: usize,
    },

    /// The loss learns from a teacher that has not scored a pair.
    #[error("query {query}, document {document} has no teacher's score, and {loss} learns from one")]
    NoTeacherScore {
        /// The query's id.
        query: String,
        /// The document's id.
        document: String,
        /// The loss' name.
        loss: String,
    },

    /// A grade that is on the scale but above what the loss was told is the highest.
    #[error("query {query}, document {document}: grade {grade}, but {loss} knows grades up to {highest}")]
    GradeAboveLoss {
        /// The query's id.
        query: String,
        /// The document's id.
        document: String,
        /// The grade.
        grade: u8,
        /// The loss' name.
        loss: String,
        /// The highest grade the loss knows.
        highest: u8,
    },

    /// A query of the training set is a query of the test set.
    #[error(
        "training query {training} is test query {test}: \"{text}\" ({others} further ones); take them out of the training set"
    )]
    Leaked {
        /// The training query's id.
        training: String,
        /// The test query's id.
        test: String,
        /// The training query's text.
        text: String,
        /// How many further training queries are test queries.
        others: usize,
    },

    /// A setting outside the range its meaning allows.
    #[error("{setting} is {value}; expected {expected}")]
    Setting {
        /// The setting, as a recipe writes it.
        setting: &'static str,
        /// What was given.
        value: f64,
        /// The allowed range in words.
        expected: &'static str,
    },

    /// A query or document number beyond the lists.
    #[error("{what} {number} of {count}")]
    Number {
        /// "query" or "document".
        what: &'static str,
        /// The number.
        number: u32,
        /// How many there are.
        count: usize,
    },

    /// More texts than 32 bits can number.
    #[error("more than 4,294,967,295 texts")]
    TooMany,

    /// Targets that do not fit a batch.
    #[error(transparent)]
    Targets(#[from] LossError),
}
