//! Exact search over a corpus small enough to hold in a page.

use kernels::Device;
use kernels::top_k::{self, Documents};
use scorer::{Embeddings, Role};
use wasm_bindgen::prelude::*;

use crate::scorer::{METRIC, Scorer, THREADS, matrix};

/// A corpus, encoded once, and the encoder for its queries.
#[wasm_bindgen]
pub struct Retriever {
    scorer: Scorer,
    documents: Embeddings,
}

#[wasm_bindgen]
impl Retriever {
    /// A corpus of the texts of `documents`, which are known by their position from here on.
    ///
    /// # Errors
    /// A tokenizer that fails.
    #[wasm_bindgen(constructor)]
    pub fn new(scorer: &Scorer, documents: Vec<String>) -> Result<Retriever, JsError> {
        let documents = scorer.embeddings(&documents, Role::Document)?;
        Ok(Self { scorer: scorer.share(), documents })
    }

    /// The `k` documents most similar to `query` (all of them where there are fewer), best first; ties stand in the
    /// order of the corpus.
    ///
    /// # Errors
    /// A corpus without documents, and a `k` of 0.
    pub fn search(&self, query: String, k: usize) -> Result<Hits, JsError> {
        let query = self.scorer.embeddings(&[query], Role::Query)?;
        let documents = Documents::new(matrix("documents", &self.documents)?)?;
        let k = k.min(self.documents.rows());
        let found = top_k::search(matrix("query", &query)?, &documents, k, METRIC, Device::auto(), THREADS)?;
        Ok(Hits { documents: found.ids, scores: found.scores })
    }
}

/// What a search found, best first.
#[wasm_bindgen]
pub struct Hits {
    documents: Vec<u32>,
    scores: Vec<f32>,
}

#[wasm_bindgen]
impl Hits {
    /// Positions in the corpus.
    #[wasm_bindgen(getter)]
    pub fn documents(&self) -> Vec<u32> {
        self.documents.clone()
    }

    /// Similarities.
    #[wasm_bindgen(getter)]
    pub fn scores(&self) -> Vec<f32> {
        self.scores.clone()
    }
}
