//! Natively, what the module computes in `tests/cases.mjs`: reads a JSON list of texts from standard input and writes
//! the bits of every vector, of every similarity of the first texts with all, and of a search among all, on the plain
//! loops and on the vector instructions. The tests compare them with the module's, bit for bit.

use std::error::Error;
use std::io::{read_to_string, stdin};

use kernels::similarity::{self, Metric};
use kernels::top_k::{self, Documents};
use kernels::{Device, Matrix};
use scorer::{EncoderOptions, Role, embedded, load_encoder};
use serde_json::{Value, json};

/// How many of the texts are queries.
const QUERIES: usize = 20;
/// How many documents a search finds.
const DEPTH: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let texts: Vec<String> = serde_json::from_str(&read_to_string(stdin())?)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let encoder = load_encoder(&embedded()?, &EncoderOptions::default())?;
    let documents = encoder.encode(&texts, Role::Document)?;
    let queries = encoder.encode(&texts[..QUERIES.min(texts.len())], Role::Query)?;
    let query_rows = Matrix::new("queries", &queries.values, queries.rows(), queries.dimensions)?;
    let document_rows = Matrix::new("documents", &documents.values, documents.rows(), documents.dimensions)?;
    let mut said = json!({ "digest": encoder.digest(), "vectors": bits(&documents.values) });
    for device in [Device::Scalar, Device::auto()] {
        let similarities = similarity::scores(query_rows, document_rows, Metric::Dot, device, 1)?;
        let depth = DEPTH.min(texts.len());
        let found =
            top_k::search(query_rows, &Documents::new(document_rows)?, depth, Metric::Dot, device, 1)?;
        said[device.to_string()] = json!({
            "similarities": bits(&similarities),
            "documents": found.ids,
            "scores": bits(&found.scores),
        });
    }
    println!("{said}");
    Ok(())
}

fn bits(values: &[f32]) -> Value {
    values.iter().map(|value| value.to_bits()).collect()
}
