//! The embedded bundle, and the fast tokenizer path over whole collections.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;
use scorer::embedded::{EMBEDDED, embedded};
use scorer::tokens::Tokens;
use scorer::{EncoderOptions, Role, load_encoder};

fn cosine(left: &str, right: &str) -> f32 {
    let encoder = load_encoder(&embedded().unwrap(), &EncoderOptions::default()).unwrap();
    let vectors = encoder.encode(&[left, right], Role::Document).unwrap();
    vectors.row(0).iter().zip(vectors.row(1)).map(|(a, b)| a * b).sum()
}

#[test]
fn it_is_small_whole_and_described() {
    assert!(EMBEDDED.len() <= 4_000_000, "{} bytes", EMBEDDED.len());
    let bundle = embedded().unwrap();
    let description = bundle.describe().unwrap();
    assert_eq!(description.model_type, "static_table");
    let card = std::str::from_utf8(bundle.get("README.md").unwrap()).unwrap();
    assert!(card.contains("all-MiniLM-L6-v2") && card.contains("Apache-2.0"));
    assert!(bundle.get("LICENSE").unwrap().len() > 10_000);
    assert_eq!(bundle.to_bytes(), EMBEDDED);
}

#[test]
fn related_texts_are_closer_than_unrelated_ones() {
    let related = cosine("how to cook a quick dinner", "easy meal recipes in ten minutes");
    let unrelated = cosine("how to cook a quick dinner", "the bank raised its loan interest");
    assert!(related > unrelated + 0.1, "{related} against {unrelated}");
    assert!((cosine("Dogs, swimming!", "dogs , SWIMMING !") - 1.0).abs() < 1e-6);
}

#[test]
fn texts_without_a_known_token_give_zero() {
    let encoder = load_encoder(&embedded().unwrap(), &EncoderOptions::default()).unwrap();
    let vectors = encoder.encode(&["", " \n", "日本"], Role::Query).unwrap();
    assert!(vectors.values.iter().all(|&value| value == 0.0));
}

fn same_ids(tokens: &Tokens, text: &str) {
    assert_eq!(tokens.encode(text).unwrap(), tokens.encode_plainly(text).unwrap(), "{text:?}");
}

/// Every line of every collection, as it stands in the file.
#[test]
fn the_fast_path_equals_the_library_on_whole_collections() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !data.exists() {
        eprintln!("skipped: ../shared/data is absent");
        return;
    }
    let tokens = Tokens::from_bundle(&embedded().unwrap(), false, None).unwrap();
    let files = [
        "dbpedia-entity-5k/corpus.jsonl",
        "msmarco-dl19-5k/corpus.jsonl",
        "msmarco-dl19-5k/queries.jsonl",
        "cranfield/cran.all.1400",
        "vaswani/doc-text.trec",
    ];
    for file in files {
        let bytes = std::fs::read(data.join(file)).unwrap();
        String::from_utf8_lossy(&bytes).lines().for_each(|line| same_ids(&tokens, line));
    }
}

proptest! {
    #[test]
    fn the_fast_path_equals_the_library_on_random_text(text in "[ -~\\x00-\\x7f]{0,60}", limit in 0..12usize) {
        let bundle = embedded().unwrap();
        same_ids(&Tokens::from_bundle(&bundle, false, None).unwrap(), &text);
        same_ids(&Tokens::from_bundle(&bundle, false, Some(limit + 1)).unwrap(), &text);
    }
}
