//! The systems of an evaluation: what turns queries into rankings. A system is BM25, a dense encoder, a fusion of the
//! others, or a finished run file.

mod dense;
pub mod embedding_store;
mod lexical;
pub mod saved_run;

use std::time::Instant;

use datasets::{Collection, Query};
pub use dense::encode;
use kernels::Device;
use rayon::prelude::*;
use relevance::fusion::Fusion;
use relevance::{Hit, QueryJudgments, Ranking};
use rustc_hash::FxHashMap;

use crate::arguments::Options;
use crate::recipe::SystemChoice;
use crate::{models, progress};

/// What a system may return for a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// The best `depth` of all documents.
    Corpus {
        /// How many.
        depth: usize,
    },
    /// The query's own judged documents, all of them: a re-ranking.
    Judged,
}

/// The budget and the place of a retrieval.
#[derive(Clone, Copy, Debug)]
pub struct Resources<'a> {
    /// Where the kernels run.
    pub device: Device,
    /// How many bytes of document vectors are held at a time.
    pub memory_bytes: usize,
    /// The flags of the command line, for progress.
    pub options: &'a Options,
}

/// The rankings of one system, in the collection's query order.
pub struct System<'c> {
    /// As in the recipe.
    pub name: String,
    /// The encoder's digest, where there is one.
    pub digest: Option<String>,
    /// One ranking a query.
    pub rankings: Vec<Ranking<'c>>,
    /// How long it took, indexing and encoding included.
    pub seconds: f64,
}

/// The queries a system is to answer, and the documents it answers from.
pub struct Task<'c> {
    /// The documents and their judgments.
    pub collection: &'c Collection,
    /// The queries, in the collection's order: those somebody judged.
    pub queries: Vec<&'c Query>,
    positions: FxHashMap<&'c str, u32>,
}

impl<'c> Task<'c> {
    /// The judged queries of `collection`.
    pub fn new(collection: &'c Collection) -> Self {
        let positions =
            (0..).zip(&collection.documents).map(|(at, document)| (document.id.as_str(), at)).collect();
        Self { collection, queries: collection.judged_queries().collect(), positions }
    }

    /// For each query the documents somebody judged for it, as positions in the collection.
    pub fn judged_documents(&self) -> Vec<Vec<u32>> {
        let of_query = |query: &&Query| {
            let judged = self.collection.judgments.get(&query.id).into_iter().flat_map(QueryJudgments::iter);
            judged.filter_map(|(document, _)| self.positions.get(document).copied()).collect()
        };
        self.queries.iter().map(of_query).collect()
    }

    fn ranking(&self, query: &'c Query, hits: Vec<(u32, f64)>) -> Ranking<'c> {
        let hit = |(at, score)| Hit { document: &self.collection.documents[at as usize].id, score };
        Ranking { query: &query.id, hits: hits.into_iter().map(hit).collect() }
    }
}

/// Runs one system.
///
/// # Errors
/// When the encoder cannot be found or loaded, or a text cannot be encoded.
pub fn run<'c>(
    choice: &SystemChoice,
    task: &Task<'c>,
    candidates: Candidates,
    resources: Resources<'_>,
) -> anyhow::Result<System<'c>> {
    let started = Instant::now();
    let (digest, found) = match choice {
        SystemChoice::Bm25(parameters, analyzer) => {
            (None, lexical::search(*parameters, *analyzer, task, candidates)?)
        }
        SystemChoice::Encoder(name) => {
            let model = models::load(name)?;
            (Some(model.digest()), dense::search(&model, task, candidates, resources)?)
        }
    };
    let rankings = task.queries.iter().zip(found).map(|(query, hits)| task.ranking(query, hits)).collect();
    let seconds = started.elapsed().as_secs_f64();
    progress::say(resources.options, format!("{choice}: {} queries in {seconds:.2} s", task.queries.len()));
    Ok(System { name: choice.to_string(), digest, rankings, seconds })
}

/// Runs an encoder that is in memory already.
///
/// # Errors
/// When a text cannot be encoded.
pub fn run_model<'c>(
    name: &str,
    model: &models::Model,
    task: &Task<'c>,
    candidates: Candidates,
    resources: Resources<'_>,
) -> anyhow::Result<System<'c>> {
    let started = Instant::now();
    let rankings = rank(model, task, candidates, resources)?;
    let digest = Some(model.digest());
    Ok(System { name: name.to_owned(), digest, rankings, seconds: started.elapsed().as_secs_f64() })
}

/// One encoder's rankings, in the task's query order.
///
/// # Errors
/// When a text cannot be encoded.
pub fn rank<'c>(
    model: &models::Model,
    task: &Task<'c>,
    candidates: Candidates,
    resources: Resources<'_>,
) -> anyhow::Result<Vec<Ranking<'c>>> {
    let found = dense::search(model, task, candidates, resources)?;
    Ok(task.queries.iter().zip(found).map(|(query, hits)| task.ranking(query, hits)).collect())
}

/// Fuses the rankings of `systems`, query by query, into a system of its own.
///
/// # Errors
/// When the fusion's weights do not fit the number of systems.
pub fn fuse<'c>(fusion: &Fusion, systems: &[System<'c>], depth: usize) -> anyhow::Result<System<'c>> {
    let started = Instant::now();
    let queries = systems.first().map_or(0, |system| system.rankings.len());
    let fused = (0..queries).into_par_iter().map(|query| {
        let parts = systems.iter().map(|system| system.rankings[query].clone()).collect::<Vec<_>>();
        let mut ranking = fusion.fuse(&parts)?;
        ranking.hits.truncate(depth);
        Ok(ranking)
    });
    let rankings = fused.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(System { name: fusion.to_string(), digest: None, rankings, seconds: started.elapsed().as_secs_f64() })
}
