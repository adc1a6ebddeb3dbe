//! What a batch's queries have been told about its documents: grades, weights, a teacher's scores.
//!
//! A pair is *listed* when something is known about it. A listed document is the query's *own* when it stands in the
//! query's list, and not its own when it came into the batch with another query's list and happens to be graded for
//! this one too, or is to be left out. What is not listed is an in-batch document: grade 0 as far as anyone knows.

use kernels::h_infonce::{IGNORED, MAX_LABEL, SparseLabels};

use super::error::LossError;

/// One listed pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listed {
    /// Zero-based document of the batch.
    pub document: u32,
    /// Its grade, 0 to 15; or [`IGNORED`]: the pair takes no part in anything.
    pub grade: u8,
    /// Whether it stands in the query's own list.
    pub own: bool,
    /// Scales the pair's own term in H-InfoNCE, InfoNCE, BiXSE and MSE; at least 0. Other losses do not look at it.
    pub weight: f32,
    /// What a teacher scored the pair.
    pub teacher: Option<f32>,
}

impl Listed {
    /// A document of the query's own list, of weight 1, without a teacher.
    #[must_use]
    pub fn own(document: u32, grade: u8) -> Self {
        Listed { document, grade, own: true, weight: 1.0, teacher: None }
    }

    /// Whether the pair takes no part.
    #[must_use]
    pub fn ignored(&self) -> bool {
        self.grade == IGNORED
    }
}

/// The listed pairs of a batch, query after query, ascending by document.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    documents: usize,
    offsets: Vec<usize>,
    listed: Vec<Listed>,
}

/// Which documents a list-wise loss compares for a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The query's own list.
    #[default]
    List,
    /// Every document of the batch; one that is not listed has grade 0.
    Batch,
}

/// A document that takes part for a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub document: usize,
    pub grade: u8,
    pub own: bool,
    pub weight: f64,
    pub teacher: Option<f64>,
}

impl Targets {
    /// The targets of a batch with `documents` documents: what each query lists, in any order.
    ///
    /// # Errors
    /// [`LossError::Listed`] for a document beyond the batch or listed twice, [`LossError::Grade`] for one above 15
    /// that is not [`IGNORED`], [`LossError::Value`] for a weight or a teacher's score that is no number to work with.
    pub fn new(documents: usize, mut queries: Vec<Vec<Listed>>) -> Result<Self, LossError> {
        let mut offsets = vec![0];
        for (query, listed) in queries.iter_mut().enumerate() {
            listed.sort_by_key(|listed| listed.document);
            check(query, documents, listed)?;
            offsets.push(offsets[query] + listed.len());
        }
        Ok(Targets { documents, offsets, listed: queries.into_iter().flatten().collect() })
    }

    /// Queries of the batch.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Documents of the batch.
    #[must_use]
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// What `query` lists, ascending by document.
    ///
    /// # Panics
    /// When `query` is not one of the batch, as a slice does.
    #[must_use]
    pub fn listed(&self, query: usize) -> &[Listed] {
        &self.listed[self.offsets[query]..self.offsets[query + 1]]
    }

    /// All listed pairs with their query.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, &Listed)> {
        (0..self.queries()).flat_map(|query| self.listed(query).iter().map(move |listed| (query, listed)))
    }

    /// The targets with the listed pairs of every query changed by `change`, which is given the query.
    ///
    /// # Errors
    /// As [`Targets::new`].
    pub fn edited(&self, mut change: impl FnMut(usize, &mut Vec<Listed>)) -> Result<Self, LossError> {
        let edit = |query| {
            let mut listed = self.listed(query).to_vec();
            change(query, &mut listed);
            listed
        };
        Targets::new(self.documents, (0..self.queries()).map(edit).collect())
    }

    /// Refuses targets that are not about `queries` queries and `documents` documents.
    pub(super) fn check_shape(&self, queries: usize, documents: usize) -> Result<(), LossError> {
        for (what, targets, batch) in
            [("queries", self.queries(), queries), ("documents", self.documents, documents)]
        {
            if targets != batch {
                return Err(LossError::Batch { what, targets, batch });
            }
        }
        Ok(())
    }

    /// Refuses grades above `highest`.
    pub(super) fn check_grades(&self, highest: u8) -> Result<(), LossError> {
        match self.pairs().find(|(_, listed)| !listed.ignored() && listed.grade > highest) {
            Some((query, &Listed { document, grade, .. })) => {
                Err(LossError::Grade { query, document, grade, highest })
            }
            None => Ok(()),
        }
    }

    /// Refuses documents of a query's own list that no teacher has scored.
    pub(super) fn check_teacher(&self, loss: &'static str) -> Result<(), LossError> {
        let unscored = |listed: &Listed| listed.own && !listed.ignored() && listed.teacher.is_none();
        match self.pairs().find(|(_, listed)| unscored(listed)) {
            Some((query, &Listed { document, .. })) => {
                Err(LossError::NoTeacherScore { query, document, loss })
            }
            None => Ok(()),
        }
    }

    /// The documents that take part for `query`, ascending.
    pub(super) fn candidates(&self, query: usize, scope: Scope) -> Vec<Candidate> {
        let candidate = |listed: &Listed| Candidate {
            document: listed.document as usize,
            grade: listed.grade,
            own: listed.own,
            weight: f64::from(listed.weight),
            teacher: listed.teacher.map(f64::from),
        };
        let listed = self.listed(query);
        if scope == Scope::List {
            return listed.iter().filter(|listed| listed.own && !listed.ignored()).map(candidate).collect();
        }
        let mut next = listed.iter().peekable();
        let unlisted = |document| Candidate { document, grade: 0, own: false, weight: 1.0, teacher: None };
        (0..self.documents)
            .filter_map(|document| match next.next_if(|listed| listed.document as usize == document) {
                Some(listed) if listed.ignored() => None,
                Some(listed) => Some(candidate(listed)),
                None => Some(unlisted(document)),
            })
            .collect()
    }

    /// The columns of the table that `kernels` reads.
    pub(super) fn columns(&self) -> Columns<'_> {
        Columns {
            targets: self,
            documents: self.listed.iter().map(|listed| listed.document).collect(),
            labels: self.listed.iter().map(|listed| listed.grade).collect(),
            weights: self.listed.iter().map(|listed| listed.weight).collect(),
        }
    }
}

/// [`Targets`] as `kernels` takes them.
pub(super) struct Columns<'a> {
    targets: &'a Targets,
    documents: Vec<u32>,
    labels: Vec<u8>,
    weights: Vec<f32>,
}

impl Columns<'_> {
    pub fn labels(&self) -> Result<SparseLabels<'_>, LossError> {
        let Targets { documents, offsets, .. } = self.targets;
        let queries = self.targets.queries();
        let weights = Some(self.weights.as_slice());
        Ok(SparseLabels::new(queries, *documents, offsets, &self.documents, &self.labels, weights)?)
    }
}

/// Refuses what `query` cannot list; `listed` ascends by document.
fn check(query: usize, documents: usize, listed: &[Listed]) -> Result<(), LossError> {
    let mut previous = None;
    for &Listed { document, grade, weight, teacher, .. } in listed {
        if document as usize >= documents || previous == Some(document) {
            return Err(LossError::Listed { query, document, documents });
        }
        if grade > MAX_LABEL && grade != IGNORED {
            return Err(LossError::Grade { query, document, grade, highest: MAX_LABEL });
        }
        if !(weight >= 0.0 && weight.is_finite()) {
            let expected = "a finite number of at least 0";
            return Err(LossError::Value { query, document, what: "weight", value: weight, expected });
        }
        if let Some(value) = teacher.filter(|teacher| !teacher.is_finite()) {
            let expected = "a finite number";
            return Err(LossError::Value { query, document, what: "teacher score", value, expected });
        }
        previous = Some(document);
    }
    Ok(())
}
