//! Exact dense retrieval over a collection, documents in blocks that fit the memory budget: a block is encoded (or
//! read back from the embedding store), offered to the top-k accumulator, and dropped. No score matrix is ever held.

use datasets::Document;
use indicatif::ProgressBar;
use kernels::Matrix;
use kernels::top_k::{Accumulator, Metric};
use scorer::{Encoder, Role};

use super::embedding_store::{self, EmbeddingStore};
use super::{Candidates, Resources, Task};
use crate::cache;
use crate::progress;

/// How many texts are encoded between two writes to the store.
const TEXTS_PER_SEGMENT: usize = 4096;

/// For each query, document indices and scores, best first.
pub fn search(
    encoder: &dyn Encoder,
    task: &Task<'_>,
    candidates: Candidates,
    resources: Resources<'_>,
) -> anyhow::Result<Vec<Vec<(u32, f64)>>> {
    let mut vectors = Vectors::open(encoder, resources)?;
    let queries = task.queries.iter().map(|query| query.text.clone()).collect::<Vec<_>>();
    let queries = vectors.of(Role::Query, &queries, "queries")?;
    match candidates {
        Candidates::Corpus { depth } => retrieve(&mut vectors, &queries, task, depth),
        Candidates::Judged => rerank(&mut vectors, &queries, task),
    }
}

fn retrieve(
    vectors: &mut Vectors<'_>,
    queries: &[f32],
    task: &Task<'_>,
    depth: usize,
) -> anyhow::Result<Vec<Vec<(u32, f64)>>> {
    let documents = &task.collection.documents;
    let dimensions = vectors.encoder.dimensions();
    let depth = depth.min(documents.len());
    if depth == 0 || task.queries.is_empty() {
        return Ok(vec![Vec::new(); task.queries.len()]);
    }
    let queries = Matrix::new(queries, task.queries.len(), dimensions)?;
    let mut best = Accumulator::new(queries, depth, Metric::Dot, vectors.resources.device)?;
    let rows = vectors.rows_in_memory();
    for (block, base) in documents.chunks(rows).zip((0..).step_by(rows)) {
        let block = vectors.of(Role::Document, &texts(block), "documents")?;
        best.push(Matrix::new(&block, block.len() / dimensions, dimensions)?, base)?;
    }
    let found = best.finish();
    Ok((0..task.queries.len()).map(|query| found.row(query).map(|(id, score)| (id, f64::from(score))).collect()).collect())
}

/// Scores each query's judged documents, in the order they were judged.
fn rerank(vectors: &mut Vectors<'_>, queries: &[f32], task: &Task<'_>) -> anyhow::Result<Vec<Vec<(u32, f64)>>> {
    let dimensions = vectors.encoder.dimensions();
    let judged = task.judged_documents();
    let needed = texts(judged.iter().flatten().map(|&at| &task.collection.documents[at as usize]));
    vectors.fill(Role::Document, &needed, "documents")?;
    let mut scored = Vec::with_capacity(judged.len());
    for (own, query) in judged.iter().zip(queries.chunks_exact(dimensions)) {
        let own_texts = texts(own.iter().map(|&at| &task.collection.documents[at as usize]));
        let documents = vectors.of(Role::Document, &own_texts, "documents")?;
        let scores = kernels::similarity::dot(
            Matrix::new(query, 1, dimensions)?,
            Matrix::new(&documents, own.len(), dimensions)?,
            vectors.resources.device,
        )?;
        scored.push(own.iter().copied().zip(scores.into_iter().map(f64::from)).collect());
    }
    Ok(scored)
}

fn texts<'d>(documents: impl IntoIterator<Item = &'d Document>) -> Vec<String> {
    documents.into_iter().map(Document::full_text).collect()
}

/// The vectors of one encoder: from the store where they are, encoded and stored where they are not.
struct Vectors<'a> {
    encoder: &'a dyn Encoder,
    store: EmbeddingStore,
    resources: Resources<'a>,
}

impl<'a> Vectors<'a> {
    fn open(encoder: &'a dyn Encoder, resources: Resources<'a>) -> anyhow::Result<Self> {
        let folder = cache::embeddings()?.join(encoder.digest());
        Ok(Self { encoder, store: EmbeddingStore::open(folder, encoder.dimensions())?, resources })
    }

    fn rows_in_memory(&self) -> usize {
        (self.resources.memory_bytes / (self.encoder.dimensions() * size_of::<f32>())).max(1)
    }

    /// The vectors of `texts`, row-major, in order.
    fn of(&mut self, role: Role, texts: &[String], what: &str) -> anyhow::Result<Vec<f32>> {
        self.fill(role, texts, what)?;
        let dimensions = self.encoder.dimensions();
        let mut vectors = vec![0.0; texts.len() * dimensions];
        for (text, vector) in texts.iter().zip(vectors.chunks_exact_mut(dimensions)) {
            let held = self.store.read(&self.key(role, text), vector);
            debug_assert!(held, "fill() stored every text");
        }
        Ok(vectors)
    }

    /// Encodes and stores what the store lacks of `texts`, a segment at a time.
    fn fill(&mut self, role: Role, texts: &[String], what: &str) -> anyhow::Result<()> {
        let mut missing: Vec<_> = texts.iter().map(|text| (self.key(role, text), text.as_str())).collect();
        missing.retain(|(key, _)| !self.store.contains(key));
        missing.sort_unstable_by_key(|(key, _)| *key);
        missing.dedup_by_key(|(key, _)| *key);
        if missing.is_empty() {
            return Ok(());
        }
        let bar = progress::bar(self.resources.options, &format!("encoding {what}"), missing.len() as u64);
        missing.chunks(TEXTS_PER_SEGMENT).try_for_each(|part| self.encode(role, part, &bar))?;
        bar.finish_and_clear();
        Ok(())
    }

    fn encode(&mut self, role: Role, part: &[(embedding_store::Key, &str)], bar: &ProgressBar) -> anyhow::Result<()> {
        let (keys, texts): (Vec<_>, Vec<_>) = part.iter().copied().unzip();
        let encoded = self.encoder.encode(&texts, role)?;
        self.store.append(&keys, &encoded.values)?;
        bar.inc(part.len() as u64);
        Ok(())
    }

    fn key(&self, role: Role, text: &str) -> embedding_store::Key {
        embedding_store::key(self.encoder.prompt(role), text)
    }
}
