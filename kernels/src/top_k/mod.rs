//! Exact top-k: for each query the `k` documents of highest similarity, without the matrix of similarities.
//!
//! Queries `[Q x d]` in f32 meet documents `[N x d]` in f32, f16, bf16 or int8 with a scale per row. The score
//! of a pair is [`similarity`](crate::similarity)'s, the same bits on every device (for int8 documents the
//! inner product with the codes is multiplied by the scale in f64, before the only rounding to f32). Higher
//! scores rank first, equal scores by **lower document index**; +0 and -0 do not differ. NaN and infinity in
//! queries or documents are refused by row and column. Memory is O(Q k + threads), never Q x N.
//!
//! [`Device::Scalar`] scores every pair by definition. [`Device::Simd`] scans in f32, or over an 8-bit copy
//! ([`Documents::with_codes`]), in whatever order is fastest, and keeps every document whose proven error
//! bound (`bounds.rs`) reaches the score that `k` documents have; only these are scored by definition. For an
//! index that is searched often, [`Documents::with_rotated_codes`] adds heads (`head.rs`): the leading columns
//! after a rotation learned from the documents rule out most pairs before the copies are multiplied. Ids
//! and scores are therefore those of the definition, to the bit, for any device, instruction set, number of
//! threads, block size or split of the documents over [`Accumulator::push`].

mod best;
mod bounds;
#[cfg(feature = "cuda")]
pub mod cuda;
mod documents;
mod eigen;
mod filter;
mod head;
mod kernels;
mod rotation;
mod scalar;
mod simd;
#[cfg(test)]
mod tests;
mod vector;

pub use documents::{Documents, Values};

use best::Best;

use crate::device::{Device, InstructionSet, Unavailable};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::similarity::{self, Dot, Metric};

/// The best `k` documents of each query, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// Documents per query.
    pub k: usize,
    /// `[Q x k]` document indices.
    pub ids: Vec<u32>,
    /// `[Q x k]` similarities.
    pub scores: Vec<f32>,
}

impl TopK {
    /// The ids and scores of one query.
    ///
    /// # Panics
    /// When there are not that many queries, as a slice does.
    #[must_use]
    pub fn row(&self, query: usize) -> (&[u32], &[f32]) {
        let range = query * self.k..(query + 1) * self.k;
        (&self.ids[range.clone()], &self.scores[range])
    }
}

/// The `k` documents of highest similarity for each query. `threads` is the number of threads to use, 0 for
/// all of the current rayon pool.
///
/// # Errors
/// [`Error::K`] unless `1 <= k <= N`, [`Error::Empty`], [`Error::Mismatch`] when `d` differs,
/// [`Error::NotFinite`] for NaN or infinity in a query, [`Error::Device`] when the device is not available.
pub fn search(
    queries: Matrix<'_, f32>,
    documents: &Documents<'_>,
    k: usize,
    metric: Metric,
    device: Device,
    threads: usize,
) -> Result<TopK> {
    if k == 0 || k > documents.rows() {
        return Err(Error::K { k, documents: documents.rows() });
    }
    let mut accumulator = Accumulator::new(queries, k, metric, device, threads)?;
    accumulator.push(documents)?;
    accumulator.finish()
}

/// A search over documents that come in blocks, for instance from a file larger than memory. The result does
/// not depend on how the documents are split.
#[derive(Debug)]
pub struct Accumulator<'a> {
    queries: Matrix<'a, f32>,
    query_norms: Vec<f64>,
    k: usize,
    metric: Metric,
    engine: Engine,
    threads: usize,
    best: Vec<Best>,
    documents: usize,
}

/// What a device comes down to.
#[derive(Clone, Copy, Debug)]
enum Engine {
    Scalar,
    Simd(InstructionSet),
    #[cfg(feature = "cuda")]
    Cuda,
}

impl Engine {
    fn of(device: Device) -> Result<Engine> {
        device.require()?;
        let refuse = |reason| Err(Error::Device { device, reason });
        match (device, InstructionSet::best()) {
            (Device::Scalar, _) => Ok(Engine::Scalar),
            (Device::Simd, Some(set)) => Ok(Engine::Simd(set)),
            (Device::Simd, None) => refuse(Unavailable::NoVectorInstructions),
            #[cfg(feature = "cuda")]
            (Device::Cuda, _) => Ok(Engine::Cuda),
            #[cfg(not(feature = "cuda"))]
            (Device::Cuda, _) => refuse(Unavailable::CudaNotBuilt),
        }
    }

    fn dot(self) -> Dot {
        match self {
            Engine::Scalar => similarity::scalar::dot,
            Engine::Simd(set) => similarity::simd::dot_with(set),
            #[cfg(feature = "cuda")]
            Engine::Cuda => {
                InstructionSet::best().map_or(similarity::scalar::dot, similarity::simd::dot_with)
            }
        }
    }
}

/// One block of documents against all queries.
pub(crate) struct Pass<'a> {
    queries: Matrix<'a, f32>,
    query_norms: &'a [f64],
    documents: &'a Documents<'a>,
    first_id: u32,
    k: usize,
    metric: Metric,
    threads: usize,
}

impl<'a> Accumulator<'a> {
    /// Queries `[Q x d]` waiting for documents.
    ///
    /// # Errors
    /// [`Error::K`] when `k` is 0, [`Error::Empty`] without queries, [`Error::NotFinite`] for NaN or infinity
    /// in a query, [`Error::Device`] when the device is not available.
    pub fn new(
        queries: Matrix<'a, f32>,
        k: usize,
        metric: Metric,
        device: Device,
        threads: usize,
    ) -> Result<Accumulator<'a>> {
        Accumulator::on(Engine::of(device)?, queries, k, metric, threads)
    }

    fn on(
        engine: Engine,
        queries: Matrix<'a, f32>,
        k: usize,
        metric: Metric,
        threads: usize,
    ) -> Result<Accumulator<'a>> {
        queries.require_values("queries")?;
        if k == 0 {
            return Err(Error::K { k, documents: 0 });
        }
        let query_norms = similarity::norms("queries", queries, engine.dot())?;
        let best = vec![Best::new(k); queries.rows()];
        Ok(Accumulator { queries, query_norms, k, metric, engine, threads, best, documents: 0 })
    }

    /// Searches the next block. Its rows are numbered on from the blocks before it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when `d` differs from the queries', [`Error::TooManyDocuments`] beyond 32-bit ids;
    /// the block is then left out.
    pub fn push(&mut self, documents: &Documents<'_>) -> Result<()> {
        similarity::require_same_columns(self.queries.columns(), documents.columns())?;
        let total = self.documents + documents.rows();
        let first_id = match (u32::try_from(self.documents), u32::try_from(total)) {
            (Ok(first_id), Ok(_)) => first_id,
            _ => return Err(Error::TooManyDocuments { documents: total }),
        };
        let pass = Pass {
            queries: self.queries,
            query_norms: &self.query_norms,
            documents,
            first_id,
            k: self.k,
            metric: self.metric,
            threads: self.threads,
        };
        match self.engine {
            Engine::Scalar => scalar::search(&pass, &mut self.best),
            Engine::Simd(set) => simd::search(&pass, set, &mut self.best),
            #[cfg(feature = "cuda")]
            Engine::Cuda => cuda::search(&pass, self.engine.dot(), &mut self.best)?,
        }
        self.documents = total;
        Ok(())
    }

    /// The best `k` of all documents pushed.
    ///
    /// # Errors
    /// [`Error::K`] when there were fewer than `k`.
    pub fn finish(self) -> Result<TopK> {
        if self.k > self.documents {
            return Err(Error::K { k: self.k, documents: self.documents });
        }
        let mut found = TopK { k: self.k, ids: Vec::new(), scores: Vec::new() };
        for scored in self.best.into_iter().flat_map(Best::into_ranked) {
            found.ids.push(scored.id);
            found.scores.push(scored.score);
        }
        Ok(found)
    }
}

/// The defined score of a query and a row of the pass; `buffer` has room for a row.
#[inline(always)]
fn score(pass: &Pass<'_>, dot: Dot, query: usize, row: usize, buffer: &mut [f32]) -> f32 {
    let (values, norm) = (pass.documents.values(), pass.documents.norm(row));
    let scale = values.scale(row);
    let dot = dot(pass.queries.row(query), values.row(row, buffer)) * scale;
    similarity::round(pass.metric, dot, pass.query_norms[query], norm * scale.abs())
}
