//! (query, document) -> grade, distribution and reasons, with a labeler from a bundle's bytes.

use scorer::labeler::{self, ScaleFile};
use scorer::{Bundle, EncoderOptions, Pair, load_labeler};
use wasm_bindgen::prelude::*;

/// Grades query-document pairs.
#[wasm_bindgen]
pub struct Labeler {
    labeler: Box<dyn labeler::Labeler>,
}

#[wasm_bindgen]
impl Labeler {
    /// The labeler of a bundle in its one-file form.
    ///
    /// # Errors
    /// Whatever is wrong with the bundle, by file, key and tensor; a bundle that is an encoder only.
    #[wasm_bindgen(constructor)]
    pub fn new(bundle: &[u8]) -> Result<Labeler, JsError> {
        let bundle = Bundle::from_bytes(bundle)?;
        Ok(Self { labeler: load_labeler(&bundle, &EncoderOptions::default())? })
    }

    /// The digest of everything that decides a label.
    #[wasm_bindgen(getter)]
    pub fn digest(&self) -> String {
        self.labeler.digest().to_owned()
    }

    /// The scale of the grades as JSON: `{"name", "levels": [{"grade", "meaning"}], "relevant_from"}`.
    ///
    /// # Errors
    /// Never.
    #[wasm_bindgen(getter)]
    pub fn scale(&self) -> Result<String, JsError> {
        Ok(serde_json::to_string(&ScaleFile::of(self.labeler.scale()))?)
    }

    /// Where the grades begin on the score's axis, one number a level above the lowest.
    #[wasm_bindgen(getter)]
    pub fn cuts(&self) -> Vec<f64> {
        self.labeler.cuts().values().to_vec()
    }

    /// The labels of the pairs `queries[i]`, `documents[i]`, as a JSON list of `{"grade", "score", "distribution"}`.
    ///
    /// # Errors
    /// Lists of different lengths, and a tokenizer that fails.
    pub fn label(&self, queries: Vec<String>, documents: Vec<String>) -> Result<String, JsError> {
        if queries.len() != documents.len() {
            let (q, d) = (queries.len(), documents.len());
            return Err(JsError::new(&format!("label: {q} queries for {d} documents")));
        }
        let pairs = queries.iter().zip(&documents);
        let pairs: Vec<_> = pairs.map(|(query, document)| Pair { query, document }).collect();
        Ok(serde_json::to_string(&self.labeler.label(&pairs)?)?)
    }

    /// The label of one pair and what it rests on, as JSON: `{"label", "features": [[name, value, contribution]],
    /// "tokens": [[query token, nearest document token or null, cosine]]}`; lists of nothing for a cross-encoder.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn explain(&self, query: &str, document: &str) -> Result<String, JsError> {
        Ok(serde_json::to_string(&self.labeler.explain(Pair { query, document })?)?)
    }
}

impl Labeler {
    pub(crate) fn labeler(&self) -> &dyn labeler::Labeler {
        self.labeler.as_ref()
    }
}
