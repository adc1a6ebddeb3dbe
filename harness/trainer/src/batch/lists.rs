//! A training set: each text once, each query with its graded documents.

use std::collections::HashMap;

use kernels::h_infonce::MAX_LABEL;
use relevance::{Grade, Scale};

use super::error::BatchError;
use crate::losses::{Loss, NeededGrades};

/// One graded pair as a reader found it.
#[derive(Clone, Copy, Debug)]
pub struct GradedPair<'a> {
    /// The query's id, for messages.
    pub query_id: &'a str,
    /// Its text.
    pub query: &'a str,
    /// The document's id, for messages.
    pub document_id: &'a str,
    /// Its text.
    pub document: &'a str,
    /// The grade.
    pub grade: Grade,
    /// What a teacher scored the pair.
    pub teacher: Option<f32>,
}

/// A text under the id it first came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedText {
    /// The id.
    pub id: String,
    /// The text.
    pub text: String,
}

/// A document of a query's list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingDocument {
    /// Its number among [`Lists::documents`].
    pub document: u32,
    /// Its grade.
    pub grade: u8,
    /// What a teacher scored the pair.
    pub teacher: Option<f32>,
}

impl TrainingDocument {
    /// A document of grade 0 that no teacher has scored.
    #[must_use]
    pub fn negative(document: u32) -> Self {
        TrainingDocument { document, grade: 0, teacher: None }
    }
}

/// What building the lists merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Ids of queries whose text had come before under another id.
    pub queries: usize,
    /// Ids of documents whose text had come before under another id.
    pub documents: usize,
    /// Pairs of texts that came more than once with the same grade.
    pub repeated_pairs: usize,
    /// Pairs of texts that came with different grades; the highest was kept.
    pub conflicting_pairs: usize,
}

/// Graded lists, one a query; query and list have the same number.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    queries: Texts,
    documents: Texts,
    lists: Vec<Vec<TrainingDocument>>,
    mined: Vec<Vec<TrainingDocument>>,
    merged: Merged,
}

/// Texts by number, each once.
#[derive(Clone, Debug, Default)]
struct Texts {
    texts: Vec<NamedText>,
    numbers: HashMap<String, u32>,
}

impl Texts {
    /// The number of `text`, and whether it came under another id before.
    fn intern(&mut self, id: &str, text: &str) -> Result<(u32, bool), BatchError> {
        if let Some(&number) = self.numbers.get(text) {
            return Ok((number, self.texts[number as usize].id != id));
        }
        let number = u32::try_from(self.texts.len()).map_err(|_| BatchError::TooMany)?;
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(NamedText { id: id.to_owned(), text: text.to_owned() });
        Ok((number, false))
    }

    fn id(&self, number: u32) -> String {
        self.texts[number as usize].id.clone()
    }
}

impl Lists {
    /// The lists of `pairs`, in the order the queries first appear.
    ///
    /// # Errors
    /// [`BatchError::Empty`] without pairs, [`BatchError::GradeOutsideScale`], [`BatchError::Scale`] for a scale with
    /// grades that training cannot hold, [`BatchError::TeacherScore`].
    pub fn new<'a>(
        scale: &Scale,
        pairs: impl IntoIterator<Item = GradedPair<'a>>,
    ) -> Result<Self, BatchError> {
        check_scale(scale)?;
        let mut lists = Lists::default();
        for pair in pairs {
            check_pair(scale, &pair)?;
            lists.push(&pair)?;
        }
        if lists.lists.is_empty() { Err(BatchError::Empty) } else { Ok(lists) }
    }

    fn push(&mut self, pair: &GradedPair<'_>) -> Result<(), BatchError> {
        let (query, renamed) = self.queries.intern(pair.query_id, pair.query)?;
        self.merged.queries += usize::from(renamed);
        let (document, renamed) = self.documents.intern(pair.document_id, pair.document)?;
        self.merged.documents += usize::from(renamed);
        if query as usize == self.lists.len() {
            self.lists.push(Vec::new());
            self.mined.push(Vec::new());
        }
        let new = TrainingDocument { document, grade: pair.grade as u8, teacher: pair.teacher };
        let list = &mut self.lists[query as usize];
        let Some(old) = list.iter_mut().find(|old| old.document == document) else {
            list.push(new);
            return Ok(());
        };
        if old.grade == new.grade {
            self.merged.repeated_pairs += 1;
        } else {
            self.merged.conflicting_pairs += 1;
        }
        if new.grade > old.grade {
            *old = new;
        }
        Ok(())
    }

    /// The queries, by number.
    #[must_use]
    pub fn queries(&self) -> &[NamedText] {
        &self.queries.texts
    }

    /// The documents, by number: those of the lists and those interned for mining.
    #[must_use]
    pub fn documents(&self) -> &[NamedText] {
        &self.documents.texts
    }

    /// The graded documents of a query.
    ///
    /// # Panics
    /// When there is no such query, as a slice does.
    #[must_use]
    pub fn list(&self, query: u32) -> &[TrainingDocument] {
        &self.lists[query as usize]
    }

    /// The negatives mined for a query.
    ///
    /// # Panics
    /// When there is no such query, as a slice does.
    #[must_use]
    pub fn mined(&self, query: u32) -> &[TrainingDocument] {
        &self.mined[query as usize]
    }

    /// The blake3 digest, in hex, of all that is learned from: texts, grades, teacher's scores and mined documents, in their
    /// order. Ids only serve messages.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for texts in [self.queries(), self.documents()] {
            hasher.update(&(texts.len() as u64).to_le_bytes());
            for NamedText { text, .. } in texts {
                hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            }
        }
        for documents in self.lists.iter().chain(&self.mined) {
            hasher.update(&(documents.len() as u64).to_le_bytes());
            for TrainingDocument { document, grade, teacher } in documents {
                // Scores are finite, so that NaN is none.
                let teacher = teacher.unwrap_or(f32::NAN).to_le_bytes();
                hasher.update(&document.to_le_bytes()).update(&[*grade]).update(&teacher);
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// What was merged.
    #[must_use]
    pub fn merged(&self) -> Merged {
        self.merged
    }

    /// The number of a document that no list holds, so that it can be mined.
    ///
    /// # Errors
    /// [`BatchError::TooMany`].
    pub fn intern_document(&mut self, id: &str, text: &str) -> Result<u32, BatchError> {
        Ok(self.documents.intern(id, text)?.0)
    }

    /// Sets the mined negatives of a query; graded documents among them are left out. They are of grade 0 as far as
    /// anyone knows; a teacher may have scored them, and a judge may have given them a better grade.
    ///
    /// # Errors
    /// [`BatchError::Number`] for a query or document there is not, [`BatchError::TeacherScore`], [`BatchError::Label`].
    pub fn set_mined(&mut self, query: u32, documents: &[TrainingDocument]) -> Result<(), BatchError> {
        self.require_query(query)?;
        let count = self.documents.texts.len();
        let list = &self.lists[query as usize];
        let mut mined: Vec<TrainingDocument> = Vec::with_capacity(documents.len());
        for new in documents {
            if new.document as usize >= count {
                return Err(BatchError::Number { what: "document", number: new.document, count });
            }
            let ids = || (self.queries.id(query), self.documents.id(new.document));
            if let Some(score) = new.teacher.filter(|score| !score.is_finite()) {
                let (query, document) = ids();
                return Err(BatchError::TeacherScore { query, document, score });
            }
            if new.grade > MAX_LABEL {
                let ((query, document), grade) = (ids(), new.grade);
                return Err(BatchError::Label { query, document, grade });
            }
            let known =
                |documents: &[TrainingDocument]| documents.iter().any(|old| old.document == new.document);
            if !known(list) && !known(&mined) {
                mined.push(*new);
            }
        }
        self.mined[query as usize] = mined;
        Ok(())
    }

    pub(super) fn require_query(&self, query: u32) -> Result<(), BatchError> {
        let count = self.lists.len();
        if (query as usize) < count {
            return Ok(());
        }
        Err(BatchError::Number { what: "query", number: query, count })
    }

    /// Refuses a training set that `loss` cannot learn from, before any training.
    ///
    /// # Errors
    /// [`BatchError::NoTeacherScore`], [`BatchError::GradeAboveLoss`], [`BatchError::NoPositive`],
    /// [`BatchError::NoDifferentGrades`], [`BatchError::OneGrade`]; each names the first list at fault.
    pub fn check(&self, loss: &Loss) -> Result<(), BatchError> {
        let needs = loss.needs();
        let name = || loss.name().to_owned();
        for (query, (list, mined)) in (0u32..).zip(self.lists.iter().zip(&self.mined)) {
            for &TrainingDocument { document, grade, teacher } in list.iter().chain(mined) {
                let ids = || (self.queries.id(query), self.documents.id(document));
                if needs.teacher_scores && teacher.is_none() {
                    let (query, document) = ids();
                    return Err(BatchError::NoTeacherScore { query, document, loss: name() });
                }
                if grade > needs.highest_grade {
                    let ((query, document), highest) = (ids(), needs.highest_grade);
                    return Err(BatchError::GradeAboveLoss { query, document, grade, loss: name(), highest });
                }
            }
        }
        let silent = self.silent(needs.grades);
        let Some(&first) = silent.first() else { return Ok(()) };
        let (query, documents) = (self.queries.id(first), self.lists[first as usize].len());
        let others = silent.len() - 1;
        Err(match needs.grades {
            NeededGrades::AtLeast(grade) | NeededGrades::AtLeastSomewhere(grade) => {
                BatchError::NoPositive { query, documents, grade, loss: name(), others }
            }
            _ if silent.len() == self.lists.len() => {
                BatchError::NoDifferentGrades { loss: name(), lists: self.lists.len() }
            }
            _ => BatchError::OneGrade { query, documents, loss: name(), others },
        })
    }

    /// The queries on whose lists a loss with such needs has nothing to say.
    fn silent(&self, needed: NeededGrades) -> Vec<u32> {
        let grades = |query: usize| {
            let all = self.lists[query].iter().chain(&self.mined[query]);
            all.map(|document| document.grade)
        };
        let all = || (0..self.lists.len()).flat_map(grades);
        let speaks = |query: usize| match needed {
            NeededGrades::Any => true,
            NeededGrades::AtLeast(grade) => grades(query).any(|found| found >= grade),
            NeededGrades::TwoLevels => two_levels(grades(query)),
            NeededGrades::AtLeastSomewhere(_) | NeededGrades::TwoLevelsSomewhere => false,
        };
        let enough = match needed {
            NeededGrades::AtLeastSomewhere(grade) => all().any(|found| found >= grade),
            NeededGrades::TwoLevelsSomewhere => two_levels(all()),
            _ => false,
        };
        (0..self.lists.len()).filter(|&query| !enough && !speaks(query)).map(|query| query as u32).collect()
    }

    /// Takes out the lists on which `loss` has nothing to say; how many there were.
    ///
    /// # Errors
    /// [`BatchError::Empty`] when none is left.
    pub fn drop_silent(&mut self, loss: &Loss) -> Result<usize, BatchError> {
        let silent = self.silent(loss.needs().grades);
        self.drop_queries(&silent)?;
        Ok(silent.len())
    }

    /// Takes out some queries with their lists; the others move up.
    ///
    /// # Errors
    /// [`BatchError::Number`] for a query there is not, [`BatchError::Empty`] when none is left.
    pub fn drop_queries(&mut self, dropped: &[u32]) -> Result<(), BatchError> {
        dropped.iter().try_for_each(|query| self.require_query(*query))?;
        let mut keep = vec![true; self.lists.len()];
        dropped.iter().for_each(|query| keep[*query as usize] = false);
        if !keep.contains(&true) {
            return Err(BatchError::Empty);
        }
        fn kept<T>(items: &mut Vec<T>, keep: &[bool]) {
            let mut keep = keep.iter();
            items.retain(|_| *keep.next().unwrap_or(&true));
        }
        kept(&mut self.lists, &keep);
        kept(&mut self.mined, &keep);
        kept(&mut self.queries.texts, &keep);
        self.queries.numbers =
            (0..).zip(&self.queries.texts).map(|(number, query)| (query.text.clone(), number)).collect();
        Ok(())
    }
}

fn two_levels(mut grades: impl Iterator<Item = u8>) -> bool {
    let first = grades.next();
    grades.any(|grade| Some(grade) != first)
}

fn check_scale(scale: &Scale) -> Result<(), BatchError> {
    let held = 0..=Grade::from(MAX_LABEL);
    match scale.levels().iter().find(|level| !held.contains(&level.grade)) {
        Some(level) => Err(BatchError::Scale { scale: scale.name().to_owned(), grade: level.grade }),
        None => Ok(()),
    }
}

fn check_pair(scale: &Scale, pair: &GradedPair<'_>) -> Result<(), BatchError> {
    let (query, document) = (pair.query_id.to_owned(), pair.document_id.to_owned());
    if !scale.contains(pair.grade) {
        let levels: Vec<String> = scale.levels().iter().map(|level| level.grade.to_string()).collect();
        let (scale, grades) = (scale.name().to_owned(), levels.join(", "));
        return Err(BatchError::GradeOutsideScale { query, document, grade: pair.grade, scale, grades });
    }
    match pair.teacher {
        Some(score) if !score.is_finite() => Err(BatchError::TeacherScore { query, document, score }),
        _ => Ok(()),
    }
}
