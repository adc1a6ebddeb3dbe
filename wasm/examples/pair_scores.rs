//! Natively, what the module computes for `pairs` in `tests/cases.mjs`: reads a JSON list of `[query, document]` from
//! standard input and writes the bits of every score under the bundle named as argument. Every instruction set of this
//! processor must give them, or nothing is written; so the tests that compare them with the module's compare all.

use std::error::Error;
use std::io::{read_to_string, stdin};

use kernels::similarity::{self, Metric};
use kernels::{Device, InstructionSet, Matrix};
use scorer::{Bundle, Encoder, EncoderOptions, Instructions, Role, load_encoder};
use serde_json::json;

/// Pairs that are encoded together.
const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("expected: BUNDLE [scalar]")?;
    let bundle = Bundle::from_bytes(&std::fs::read(path)?)?;
    let pairs: Vec<(String, String)> = serde_json::from_str(&read_to_string(stdin())?)?;
    let mut sets: Vec<Instructions> = InstructionSet::all_available().map(Instructions::Set).collect();
    if std::env::args().nth(2).as_deref() == Some("scalar") {
        sets.push(Instructions::Scalar);
    }
    let best = load_encoder(&bundle, &EncoderOptions::default())?;
    let expected = scores(&*best, &pairs)?;
    for instructions in sets {
        let options = EncoderOptions { instructions, ..EncoderOptions::default() };
        if scores(&*load_encoder(&bundle, &options)?, &pairs)? != expected {
            return Err(format!("{instructions:?} gives other bits than the best instruction set").into());
        }
    }
    println!("{}", json!({ "digest": best.digest(), "scores": expected }));
    Ok(())
}

fn scores(encoder: &dyn Encoder, pairs: &[(String, String)]) -> Result<Vec<u32>, Box<dyn Error>> {
    let mut bits = Vec::with_capacity(pairs.len());
    for pairs in pairs.chunks(BATCH) {
        let (queries, documents): (Vec<_>, Vec<_>) =
            pairs.iter().map(|(query, document)| (query.as_str(), document.as_str())).unzip();
        let queries = encoder.encode(&queries, Role::Query)?;
        let documents = encoder.encode(&documents, Role::Document)?;
        for row in 0..pairs.len() {
            let query = Matrix::new("query", queries.row(row), 1, queries.dimensions)?;
            let document = Matrix::new("document", documents.row(row), 1, documents.dimensions)?;
            bits.extend(
                similarity::scores(query, document, Metric::Dot, Device::auto(), 1)?
                    .iter()
                    .map(|s| s.to_bits()),
            );
        }
    }
    Ok(bits)
}
