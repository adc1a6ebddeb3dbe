//! Exact dense retrieval over a collection, documents in blocks that fit the memory budget: a block is encoded (or
//! read back from the embedding store), offered to the top-k accumulator, and dropped. No score matrix is ever held.

use datasets::Document;
use indicatif::ProgressBar;
use kernels::Matrix;
use kernels::similarity::{self, Metric};
use kernels::top_k::{Accumulator, Documents};
use scorer::{Embeddings, Encoder, Role};

use super::embedding_store::{self, EmbeddingStore};
use super::{Candidates, Resources, Task};
use crate::models::Model;
use crate::{cache, progress};

/// How many texts are encoded between two writes to the store.
const TEXTS_PER_SEGMENT: usize = 1024;

/// The encoders' vectors have length 1, so the inner product is the cosine.
const METRIC: Metric = Metric::Dot;
/// As many threads as the pool has.
const ALL_THREADS: usize = 0;

/// For each query, document positions and scores, best first.
pub fn search(
    model: &Model,
    task: &Task<'_>,
    candidates: Candidates,
    resources: Resources<'_>,
) -> anyhow::Result<Vec<Vec<(u32, f64)>>> {
    if task.queries.is_empty() || task.collection.documents.is_empty() {
        return Ok(vec![Vec::new(); task.queries.len()]);
    }
    let mut vectors = Vectors::open(model, resources)?;
    let queries = task.queries.iter().map(|query| query.text.clone()).collect::<Vec<_>>();
    let queries = vectors.of(Role::Query, &queries, "queries")?;
    match candidates {
        Candidates::Corpus { depth } => retrieve(&mut vectors, &queries, task, depth),
        Candidates::Judged => rerank(&mut vectors, &queries, task),
    }
}

/// The vectors of `texts`, row-major, in order, from the cache of embeddings where they are; `what` they are, for progress.
///
/// # Errors
/// When a text cannot be encoded.
pub fn encode(
    model: &Model,
    role: Role,
    texts: &[String],
    what: &str,
    resources: Resources<'_>,
) -> anyhow::Result<Vec<f32>> {
    Vectors::open(model, resources)?.of(role, texts, what)
}

fn retrieve(
    vectors: &mut Vectors<'_>,
    queries: &[f32],
    task: &Task<'_>,
    depth: usize,
) -> anyhow::Result<Vec<Vec<(u32, f64)>>> {
    let documents = &task.collection.documents;
    let dimensions = vectors.model.dimensions();
    let queries = Matrix::new("queries", queries, task.queries.len(), dimensions)?;
    let depth = depth.min(documents.len());
    let mut best = Accumulator::new(queries, depth, METRIC, vectors.resources.device, ALL_THREADS)?;
    for block in documents.chunks(vectors.rows_in_memory()) {
        let values = vectors.of(Role::Document, &texts(block), "documents")?;
        best.push(&Documents::new(Matrix::new("documents", &values, block.len(), dimensions)?)?)?;
    }
    let found = best.finish()?;
    let row = |query| {
        let (ids, scores) = found.row(query);
        ids.iter().copied().zip(scores.iter().map(|&score| f64::from(score))).collect()
    };
    Ok((0..task.queries.len()).map(row).collect())
}

/// Scores each query's judged documents, in the order they were judged.
fn rerank(
    vectors: &mut Vectors<'_>,
    queries: &[f32],
    task: &Task<'_>,
) -> anyhow::Result<Vec<Vec<(u32, f64)>>> {
    let dimensions = vectors.model.dimensions();
    let mut scored = Vec::with_capacity(task.queries.len());
    for (own, query) in task.judged_documents().into_iter().zip(queries.chunks_exact(dimensions)) {
        if own.is_empty() {
            scored.push(Vec::new());
            continue;
        }
        let own_texts = texts(own.iter().map(|&at| &task.collection.documents[at as usize]));
        let documents = vectors.of(Role::Document, &own_texts, "documents")?;
        let query = Matrix::new("query", query, 1, dimensions)?;
        let documents = Matrix::new("documents", &documents, own.len(), dimensions)?;
        let scores = similarity::scores(query, documents, METRIC, vectors.resources.device, ALL_THREADS)?;
        scored.push(own.into_iter().zip(scores.into_iter().map(f64::from)).collect());
    }
    Ok(scored)
}

fn texts<'d>(documents: impl IntoIterator<Item = &'d Document>) -> Vec<String> {
    documents.into_iter().map(Document::full_text).collect()
}

/// The vectors of one model: from the store where they are, encoded (and stored, whole) where they are not.
struct Vectors<'a> {
    model: &'a Model,
    /// Absent for encoders that are faster than a disk.
    store: Option<EmbeddingStore>,
    resources: Resources<'a>,
}

impl<'a> Vectors<'a> {
    fn open(model: &'a Model, resources: Resources<'a>) -> anyhow::Result<Self> {
        let encoder = &model.encoder;
        let store = match model.is_worth_storing {
            true => {
                Some(EmbeddingStore::open(cache::embeddings()?.join(encoder.digest()), encoder.dimensions())?)
            }
            false => None,
        };
        Ok(Self { model, store, resources })
    }

    fn rows_in_memory(&self) -> usize {
        (self.resources.memory_bytes / (self.model.encoder.dimensions() * size_of::<f32>())).max(1)
    }

    /// The vectors of `texts`, row-major, in order.
    fn of(&mut self, role: Role, texts: &[String], what: &str) -> anyhow::Result<Vec<f32>> {
        let whole = self.whole(role, texts, what)?;
        Ok(whole.prefixes(self.model.dimensions()).values)
    }

    fn whole(&mut self, role: Role, texts: &[String], what: &str) -> anyhow::Result<Embeddings> {
        let encoder = &*self.model.encoder;
        let Some(store) = &mut self.store else {
            let texts = texts.iter().map(String::as_str).collect::<Vec<_>>();
            return Ok(encoder.encode(&texts, role)?);
        };
        fill(store, encoder, role, texts, &mut |total| {
            progress::bar(self.resources.options, &format!("encoding {what}"), total)
        })?;
        let dimensions = encoder.dimensions();
        let mut vectors = vec![0.0; texts.len() * dimensions];
        for (text, vector) in texts.iter().zip(vectors.chunks_exact_mut(dimensions)) {
            let held = store.read(&key(role, text), vector);
            debug_assert!(held, "fill() stored every text");
        }
        Ok(Embeddings { dimensions, values: vectors })
    }
}

/// Encodes and stores what the store lacks of `texts`, a segment at a time.
fn fill(
    store: &mut EmbeddingStore,
    encoder: &dyn Encoder,
    role: Role,
    texts: &[String],
    bar: &mut dyn FnMut(u64) -> ProgressBar,
) -> anyhow::Result<()> {
    let mut missing: Vec<_> = texts.iter().map(|text| (key(role, text), text.as_str())).collect();
    missing.retain(|(key, _)| !store.contains(key));
    missing.sort_unstable_by_key(|(key, _)| *key);
    missing.dedup_by_key(|(key, _)| *key);
    if missing.is_empty() {
        return Ok(());
    }
    let bar = bar(missing.len() as u64);
    for part in missing.chunks(TEXTS_PER_SEGMENT) {
        let (keys, texts): (Vec<_>, Vec<_>) = part.iter().copied().unzip();
        store.append(&keys, &encoder.encode(&texts, role)?.values)?;
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The store is the encoder's own, prompts included in its digest; the role tells which prompt was meant.
fn key(role: Role, text: &str) -> embedding_store::Key {
    let role = match role {
        Role::Query => "query",
        Role::Document => "document",
    };
    embedding_store::key(role, text)
}
