//! The labelled pairs of a batch, stored sparsely: what each query has been told about some documents.

use crate::error::{Error, Result};

/// The highest label.
pub const MAX_LABEL: u8 = 15;

/// In place of a label: the pair takes no part at all, neither as an anchor nor in any denominator. For
/// documents suspected to be false negatives.
pub const IGNORED: u8 = u8::MAX;

/// Why a table of labelled pairs was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// There must be one offset more than there are queries.
    #[error("labels: {offsets} offsets for {queries} queries; expected {}", queries + 1)]
    OffsetCount {
        /// Offsets given.
        offsets: usize,
        /// Queries of the batch.
        queries: usize,
    },
    /// Offsets must start at 0, never fall and end at the number of entries.
    #[error("labels: offset {at} is {offset}; expected {expected}")]
    Offset {
        /// Position among the offsets.
        at: usize,
        /// The offset there.
        offset: usize,
        /// What is allowed there, in words.
        expected: String,
    },
    /// The columns of the table must be equally long.
    #[error("labels: {documents} documents but {got} {what}")]
    Entries {
        /// Entries of the document column.
        documents: usize,
        /// The column that differs: "labels" or "weights".
        what: &'static str,
        /// Its entries.
        got: usize,
    },
    /// A document index points past the documents.
    #[error("labels: query {query}, entry {entry} names document {document} of {documents}")]
    Document {
        /// Zero-based query.
        query: usize,
        /// Position in the table.
        entry: usize,
        /// The index.
        document: u32,
        /// Documents there are.
        documents: usize,
    },
    /// The documents of a query must ascend, each once.
    #[error(
        "labels: query {query}, entry {entry}: document {document} after {previous}; expected ascending order, each document once"
    )]
    Order {
        /// Zero-based query.
        query: usize,
        /// Position in the table.
        entry: usize,
        /// The document there.
        document: u32,
        /// The one before it.
        previous: u32,
    },
    /// A label is neither in 0..=15 nor [`IGNORED`].
    #[error(
        "labels: query {query}, entry {entry}: label {label}; expected 0 to {MAX_LABEL}, or {IGNORED} for ignored"
    )]
    Label {
        /// Zero-based query.
        query: usize,
        /// Position in the table.
        entry: usize,
        /// The label.
        label: u8,
    },
    /// A weight is negative, NaN or infinite.
    #[error("labels: query {query}, entry {entry}: weight {weight}; expected a finite number of at least 0")]
    Weight {
        /// Zero-based query.
        query: usize,
        /// Position in the table.
        entry: usize,
        /// The weight.
        weight: f32,
    },
}

/// Labelled pairs in compressed sparse rows. Query `i` owns the entries `offsets[i]..offsets[i + 1]`; a document
/// it does not list has label 0.
#[derive(Clone, Copy, Debug)]
pub struct SparseLabels<'a> {
    offsets: &'a [usize],
    documents: &'a [u32],
    labels: &'a [u8],
    weights: Option<&'a [f32]>,
    document_count: usize,
}

/// The entries of one query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub documents: &'a [u32],
    pub labels: &'a [u8],
    weights: Option<&'a [f32]>,
}

impl Row<'_> {
    pub fn weight(&self, entry: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[entry])
    }

    /// The lowest label among the row's documents, listed or not; `None` when all are ignored.
    pub fn lowest_label(&self, document_count: usize) -> Option<u8> {
        if self.documents.len() < document_count {
            return Some(0);
        }
        self.labels.iter().copied().filter(|label| *label != IGNORED).min()
    }
}

impl<'a> SparseLabels<'a> {
    /// Checks the table against a batch of `queries` queries and `document_count` documents.
    ///
    /// `offsets` `[queries + 1]`; `documents` and `labels` `[pairs]`, ascending within a query; labels 0 to
    /// [`MAX_LABEL`] or [`IGNORED`]; `weights` `[pairs]`, at least 0, or `None` for all 1.
    ///
    /// # Errors
    /// [`Error::Labels`] with the first offending entry.
    pub fn new(
        queries: usize,
        document_count: usize,
        offsets: &'a [usize],
        documents: &'a [u32],
        labels: &'a [u8],
        weights: Option<&'a [f32]>,
    ) -> Result<Self> {
        check_offsets(queries, documents.len(), offsets)?;
        check_length("labels", documents.len(), labels.len())?;
        check_length("weights", documents.len(), weights.map_or(documents.len(), <[f32]>::len))?;
        let table = SparseLabels { offsets, documents, labels, weights, document_count };
        (0..queries).try_for_each(|query| table.check_row(query))?;
        Ok(table)
    }

    fn check_row(&self, query: usize) -> Result<()> {
        let mut previous = None;
        for entry in self.offsets[query]..self.offsets[query + 1] {
            let (document, label) = (self.documents[entry], self.labels[entry]);
            if document as usize >= self.document_count {
                let documents = self.document_count;
                return Err(LabelsError::Document { query, entry, document, documents }.into());
            }
            if let Some(previous) = previous.filter(|previous| *previous >= document) {
                return Err(LabelsError::Order { query, entry, document, previous }.into());
            }
            if label > MAX_LABEL && label != IGNORED {
                return Err(LabelsError::Label { query, entry, label }.into());
            }
            let weight = self.weights.map_or(1.0, |weights| weights[entry]);
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(LabelsError::Weight { query, entry, weight }.into());
            }
            previous = Some(document);
        }
        Ok(())
    }

    /// Queries of the batch.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Documents of the batch.
    #[must_use]
    pub fn documents(&self) -> usize {
        self.document_count
    }

    /// Labelled pairs, the ignored ones included.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.documents.len()
    }

    pub(super) fn offsets(&self) -> &'a [usize] {
        self.offsets
    }

    pub(super) fn row(&self, query: usize) -> Row<'a> {
        let range = self.offsets[query]..self.offsets[query + 1];
        Row {
            documents: &self.documents[range.clone()],
            labels: &self.labels[range.clone()],
            weights: self.weights.map(|weights| &weights[range]),
        }
    }

    /// How many pairs are anchors: listed, not ignored, of a label in `anchors` and with at least one document
    /// of a lower label to compete with.
    #[must_use]
    pub fn anchors(&self, anchors: Anchors) -> usize {
        (0..self.queries()).map(|query| self.row_anchors(query, anchors)).sum()
    }

    fn row_anchors(&self, query: usize, anchors: Anchors) -> usize {
        let row = self.row(query);
        let Some(lowest) = row.lowest_label(self.document_count) else { return 0 };
        row.labels.iter().filter(|label| **label > lowest && anchors.contains(**label)).count()
    }
}

fn check_offsets(queries: usize, entries: usize, offsets: &[usize]) -> Result<()> {
    if queries.checked_add(1) != Some(offsets.len()) {
        return Err(LabelsError::OffsetCount { offsets: offsets.len(), queries }.into());
    }
    let wrong = |at: usize, expected: String| -> Error {
        LabelsError::Offset { at, offset: offsets[at], expected }.into()
    };
    if offsets[0] != 0 {
        return Err(wrong(0, "0".to_owned()));
    }
    if let Some(at) = (1..offsets.len()).find(|&at| offsets[at] < offsets[at - 1]) {
        return Err(wrong(at, format!("at least {}, the offset before it", offsets[at - 1])));
    }
    if offsets[queries] != entries {
        return Err(wrong(queries, format!("{entries}, the number of entries")));
    }
    Ok(())
}

fn check_length(what: &'static str, documents: usize, got: usize) -> Result<()> {
    if documents == got { Ok(()) } else { Err(LabelsError::Entries { documents, what, got }.into()) }
}

/// The labels whose pairs have a loss of their own. The others still compete in denominators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchors(u16);

impl Anchors {
    /// Every label: equation 3 as it stands. (Label 0 is lowest, so it never has a competitor.)
    pub const ALL: Anchors = Anchors(u16::MAX);

    /// The labels of at least `label`; none when `label > 15`.
    #[must_use]
    pub fn at_least(label: u8) -> Self {
        Anchors(u16::MAX.checked_shl(u32::from(label)).unwrap_or(0))
    }

    /// The labels whose bit is set, bit 0 for label 0.
    #[must_use]
    pub fn from_mask(mask: u16) -> Self {
        Anchors(mask)
    }

    /// The same labels as a mask.
    #[must_use]
    pub fn mask(self) -> u16 {
        self.0
    }

    /// Whether `label` is one of them; never true for [`IGNORED`].
    #[must_use]
    pub fn contains(self, label: u8) -> bool {
        label <= MAX_LABEL && self.0 >> label & 1 == 1
    }
}

impl Default for Anchors {
    fn default() -> Self {
        Anchors::ALL
    }
}
