//! False negatives found by a guide model: documents that nobody graded and that an encoder other than the one in training
//! holds to be as relevant as what was graded (GISTEmbed, Solatorio 2024, arXiv 2402.16829).
//!
//! ```text
//! g(q, d)    cosine of the guide's vectors of query and document
//! P(q)       the documents of q's list with grade positive_from or more
//! c(q)       margin of the reference over P(q):  reference of g(q, p) - m,  or (1 - m) times it
//! q leaves out every ungraded d with g(q, d) >= c(q);  a query without a positive leaves out nothing
//! ```
//!
//! The guide reads each text once, before training. Mined negatives are sifted then, too; in-batch documents are masked as
//! batches come. Neither depends on what else is in the batch.
//!
//! Where we differ from GISTEmbed: several positives, of which the reference is the measure, whether or not the batch
//! has drawn it; a document that the guide cannot tell from the positive is left out too (there it must score higher);
//! a graded document never is, because somebody has looked at it; queries are not compared with queries, nor documents
//! with documents, which no loss here but SSRA's does.

use kernels::similarity::{self, Metric};
use kernels::{Device, Matrix};
use serde::{Deserialize, Serialize};

use super::batches::Batch;
use super::error::BatchError;
use super::lists::{Lists, TrainingDocument};
use super::masks::{Margin, Reference, ignore_unlisted};
use crate::losses::{LossError, Targets};

/// As many threads as the pool has.
const ALL_THREADS: usize = 0;

/// When a guide's score makes a document a false negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuideRule {
    /// How far below a positive's score a negative must stay; absolute or relative.
    pub margin: Margin,
    /// Which of a query's positives is the measure.
    pub reference: Reference,
    /// The lowest grade of a positive.
    pub positive_from: u8,
}

impl Default for GuideRule {
    fn default() -> Self {
        Self { margin: Margin::Absolute(0.0), reference: Reference::Lowest, positive_from: 1 }
    }
}

impl GuideRule {
    /// Refuses settings outside the range their meaning allows; a margin without bound would mask nothing.
    ///
    /// # Errors
    /// [`BatchError::Setting`].
    pub fn check(&self) -> Result<(), BatchError> {
        let (setting, expected) = ("margin", "{ absolute = NUMBER } or { relative = NUMBER }");
        match self.margin {
            Margin::Unbounded => Err(BatchError::Setting { setting, value: f64::INFINITY, expected }),
            margin => margin.check(),
        }
    }
}

/// A guide's vectors of every text, row-major, in the order of the lists; any length, for cosines are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuideVectors {
    /// One row a query.
    pub queries: Vec<f32>,
    /// One row a document, those interned for mining included.
    pub documents: Vec<f32>,
    /// Elements of a vector.
    pub width: usize,
}

/// What a guide holds of a training set.
#[derive(Clone, Debug)]
pub struct Guide {
    vectors: GuideVectors,
    /// From which score on a document is too good for a negative, by query.
    ceilings: Vec<Option<f32>>,
}

/// A batch's targets as the guide would have them.
#[derive(Clone, Debug, PartialEq)]
pub struct Masked {
    /// The targets, false negatives ignored.
    pub targets: Targets,
    /// Pairs that nobody graded.
    pub ungraded: usize,
    /// How many of them are ignored.
    pub masked: usize,
}

impl Guide {
    /// The guide of `lists`, whose texts are not to change any more.
    ///
    /// # Errors
    /// [`BatchError::Setting`]; [`BatchError::Targets`] for vectors that do not fit the lists or are not finite.
    pub fn new(lists: &Lists, vectors: GuideVectors, rule: &GuideRule) -> Result<Self, BatchError> {
        rule.check()?;
        let (queries, documents) = (lists.queries().len(), lists.documents().len());
        let all = Matrix::new("guide's documents", &vectors.documents, documents, vectors.width);
        all.and_then(|all| all.require_finite("guide's documents")).map_err(LossError::from)?;
        let all = Matrix::new("guide's queries", &vectors.queries, queries, vectors.width);
        all.and_then(|all| all.require_finite("guide's queries")).map_err(LossError::from)?;
        let mut guide = Guide { vectors, ceilings: Vec::new() };
        let ceilings = (0..queries as u32).map(|query| {
            let list = lists.list(query).iter().filter(|graded| graded.grade >= rule.positive_from);
            let positives: Vec<u32> = list.map(|graded| graded.document).collect();
            let scores = guide.scores(&[query], &positives)?;
            Ok(rule.reference.of(scores.into_iter()).map(|measure| rule.margin.ceiling(measure)))
        });
        guide.ceilings = ceilings.collect::<Result<_, BatchError>>()?;
        Ok(guide)
    }

    /// Queries without a positive, for which nothing is masked.
    #[must_use]
    pub fn unguided_queries(&self) -> usize {
        self.ceilings.iter().filter(|ceiling| ceiling.is_none()).count()
    }

    /// Takes false negatives out of the mined documents; how many there were. What a judge has given a grade above 0
    /// stays.
    ///
    /// # Errors
    /// None for the lists that the guide was made of; the types are those of what is called.
    pub fn sift_mined(&self, lists: &mut Lists) -> Result<usize, BatchError> {
        let mut sifted = 0;
        for query in 0..lists.queries().len() as u32 {
            let mined = lists.mined(query).to_vec();
            let documents: Vec<u32> = mined.iter().map(|mined| mined.document).collect();
            let scores = self.scores(&[query], &documents)?;
            let is_kept =
                |mined: &TrainingDocument, score: f32| mined.grade > 0 || !self.is_false(query, score);
            let kept: Vec<TrainingDocument> = mined
                .iter()
                .zip(scores)
                .filter(|(mined, score)| is_kept(mined, *score))
                .map(|(mined, _)| *mined)
                .collect();
            sifted += mined.len() - kept.len();
            lists.set_mined(query, &kept)?;
        }
        Ok(sifted)
    }

    /// The targets of `batch` with every false negative among its in-batch documents ignored.
    ///
    /// # Errors
    /// None for a batch of the lists that the guide was made of; the types are those of what is called.
    pub fn mask(&self, batch: &Batch) -> Result<Masked, BatchError> {
        let scores = self.scores(&batch.queries, &batch.documents)?;
        let columns = batch.documents.len();
        let is_false = |row: usize, column: u32| {
            self.is_false(batch.queries[row], scores[row * columns + column as usize])
        };
        let targets = ignore_unlisted(&batch.targets, is_false)?;
        let listed = |targets: &Targets| targets.pairs().count();
        let ungraded = batch.queries.len() * columns - listed(&batch.targets);
        let masked = listed(&targets) - listed(&batch.targets);
        Ok(Masked { targets, ungraded, masked })
    }

    fn is_false(&self, query: u32, score: f32) -> bool {
        self.ceilings[query as usize].is_some_and(|ceiling| score >= ceiling)
    }

    /// Cosines, `queries x documents`.
    fn scores(&self, queries: &[u32], documents: &[u32]) -> Result<Vec<f32>, BatchError> {
        if queries.is_empty() || documents.is_empty() {
            return Ok(Vec::new());
        }
        let width = self.vectors.width;
        let rows = |all: &[f32], numbers: &[u32]| -> Vec<f32> {
            numbers.iter().flat_map(|&at| &all[at as usize * width..][..width]).copied().collect()
        };
        let (left, right) = (rows(&self.vectors.queries, queries), rows(&self.vectors.documents, documents));
        let scores = Matrix::new("queries", &left, queries.len(), width).and_then(|left| {
            let right = Matrix::new("documents", &right, documents.len(), width)?;
            similarity::scores(left, right, Metric::Cosine, Device::auto(), ALL_THREADS)
        });
        Ok(scores.map_err(LossError::from)?)
    }
}
