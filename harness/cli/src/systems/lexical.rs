//! BM25 over a collection.

use datasets::Document;
use scorer::lexical::{Analyzer, Bm25Index, Bm25Parameters};

use super::{Candidates, Task};

/// For each query, document positions and scores, best first.
pub fn search(
    parameters: Bm25Parameters,
    analyzer: Analyzer,
    task: &Task<'_>,
    candidates: Candidates,
) -> anyhow::Result<Vec<Vec<(u32, f64)>>> {
    let texts = task.collection.documents.iter().map(Document::full_text).collect::<Vec<_>>();
    let index = Bm25Index::build(&texts, analyzer, parameters)?;
    Ok(match candidates {
        Candidates::Corpus { depth } => retrieve(&index, task, depth),
        Candidates::Judged => rerank(&index, task),
    })
}

fn retrieve(index: &Bm25Index, task: &Task<'_>, depth: usize) -> Vec<Vec<(u32, f64)>> {
    let queries = task.queries.iter().map(|query| query.text.as_str()).collect::<Vec<_>>();
    let found = index.search_batch(&queries, depth).into_iter();
    found.map(|hits| hits.into_iter().map(|hit| (hit.document, f64::from(hit.score))).collect()).collect()
}

/// Scores each query's judged documents; one that shares no term with the query scores 0.
fn rerank(index: &Bm25Index, task: &Task<'_>) -> Vec<Vec<(u32, f64)>> {
    let judged = task.judged_documents().into_iter().zip(&task.queries);
    let score = |query: &str, document| f64::from(index.score(query, document).unwrap_or(0.0));
    judged.map(|(own, query)| own.into_iter().map(|at| (at, score(&query.text, at))).collect()).collect()
}
