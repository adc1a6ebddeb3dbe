//! Texts -> vectors -> similarities, with an encoder from a bundle's bytes.

use std::rc::Rc;

use kernels::similarity::{self, Metric};
use kernels::{Device, Matrix};
use scorer::{Bundle, Embeddings, Encoder, EncoderOptions, Role, load_encoder};
use wasm_bindgen::prelude::*;

/// Vectors have length 1, so the inner product is the cosine.
pub(crate) const METRIC: Metric = Metric::Dot;
/// One thread: a module without shared memory has no other.
pub(crate) const THREADS: usize = 1;

/// An encoder: vectors of length 1 for texts, and how similar they are.
#[wasm_bindgen]
pub struct Scorer {
    encoder: Rc<dyn Encoder + Send + Sync>,
}

#[wasm_bindgen]
impl Scorer {
    /// The encoder of a bundle in its one-file form.
    ///
    /// # Errors
    /// Whatever is wrong with the bundle, by file and tensor.
    #[wasm_bindgen(constructor)]
    pub fn new(bundle: &[u8]) -> Result<Scorer, JsError> {
        let bundle = Bundle::from_bytes(bundle)?;
        Ok(Self { encoder: Rc::from(load_encoder(&bundle, &EncoderOptions::default())?) })
    }

    /// The digest of everything that decides the vectors.
    #[wasm_bindgen(getter)]
    pub fn digest(&self) -> String {
        self.encoder.digest().to_owned()
    }

    /// Elements per vector.
    #[wasm_bindgen(getter)]
    pub fn dimensions(&self) -> usize {
        self.encoder.dimensions()
    }

    /// The vectors of `texts`, one after the other; `role` is `query` or `document`.
    ///
    /// # Errors
    /// Another role, and a tokenizer that fails.
    pub fn encode(&self, texts: Vec<String>, role: &str) -> Result<Vec<f32>, JsError> {
        let role = match role {
            "query" => Role::Query,
            "document" => Role::Document,
            _ => return Err(JsError::new(&format!("encode: expected query or document, found {role}"))),
        };
        Ok(self.embeddings(&texts, role)?.values)
    }

    /// The similarity of every query with every document: for each query, as many scores as there are documents.
    ///
    /// # Errors
    /// No queries or no documents.
    pub fn similarity(&self, queries: Vec<String>, documents: Vec<String>) -> Result<Vec<f32>, JsError> {
        let queries = self.embeddings(&queries, Role::Query)?;
        let documents = self.embeddings(&documents, Role::Document)?;
        let (queries, documents) = (matrix("queries", &queries)?, matrix("documents", &documents)?);
        Ok(similarity::scores(queries, documents, METRIC, Device::auto(), THREADS)?)
    }
}

impl Scorer {
    pub(crate) fn embeddings(&self, texts: &[String], role: Role) -> Result<Embeddings, JsError> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Ok(self.encoder.encode(&texts, role)?)
    }

    /// The same encoder, not another copy of its table.
    pub(crate) fn share(&self) -> Scorer {
        Self { encoder: Rc::clone(&self.encoder) }
    }
}

pub(crate) fn matrix<'a>(what: &'static str, vectors: &'a Embeddings) -> Result<Matrix<'a, f32>, JsError> {
    Ok(Matrix::new(what, &vectors.values, vectors.rows(), vectors.dimensions)?)
}
