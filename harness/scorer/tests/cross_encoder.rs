//! Cross-encoder labelers: ids and outputs against transformers (fixture made by
//! `benchmarks/references/encoder/cross_encoder.py`), one digest in 8 bits whatever runs them, damaged bundles refused.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::InstructionSet;
use scorer::labeler::{CrossEncoder, scores_digest};
use scorer::{
    Bundle, EncoderOptions, Instructions, Label, Labeler, Pair, ScorerError, WeightBits, load_labeler,
    quantize_labeler,
};
use serde::Deserialize;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_cross_encoder")
}

fn tiny() -> Bundle {
    let read = |name: &&str| Some(((*name).to_owned(), std::fs::read(folder().join(name)).ok()?));
    Bundle::from_files(scorer::bundle::FILES.iter().filter_map(read).collect()).unwrap()
}

#[derive(Deserialize)]
struct Expected {
    query: String,
    document: String,
    ids: Vec<u32>,
    second: usize,
    logits: Vec<f64>,
}

fn expected() -> Vec<Expected> {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

fn pairs(rows: &[Expected]) -> Vec<Pair<'_>> {
    rows.iter().map(|row| Pair { query: &row.query, document: &row.document }).collect()
}

fn loaded(bundle: &Bundle, instructions: Instructions, batch_tokens: usize) -> CrossEncoder {
    let options = EncoderOptions { instructions, batch_tokens, ..EncoderOptions::default() };
    CrossEncoder::from_bundle(bundle, &options).unwrap()
}

#[test]
fn ids_and_outputs_are_those_of_transformers() {
    let rows = expected();
    let model = loaded(&tiny(), Instructions::Best, 2048);
    for (row, outputs) in rows.iter().zip(model.outputs(&pairs(&rows)).unwrap()) {
        let found = model.tokens().encode(&row.query, &row.document).unwrap();
        assert_eq!((&found.ids, found.second), (&row.ids, row.second), "{:?} {:?}", row.query, row.document);
        for (ours, theirs) in outputs.iter().zip(&row.logits) {
            assert!((ours - theirs).abs() < 1e-5, "{:?}: {outputs:?} {:?}", row.query, row.logits);
        }
    }
}

#[test]
fn a_label_is_the_expected_grade_of_its_distribution_and_its_own() {
    let rows = expected();
    let labeler = load_labeler(&tiny(), &EncoderOptions::default()).unwrap();
    let together = labeler.label(&pairs(&rows)).unwrap();
    for ((pair, label), row) in pairs(&rows).iter().zip(&together).zip(&rows) {
        assert_eq!(&labeler.label(&[*pair]).unwrap()[0], label, "neighbours change nothing");
        let total: f64 = row.logits.iter().map(|z| z.exp()).sum();
        let mean: f64 = row.logits.iter().zip(0..).map(|(z, grade)| f64::from(grade) * z.exp() / total).sum();
        assert!((label.score - mean).abs() < 1e-5, "{} {mean}", label.score);
        assert_eq!(label.grade, label.score.round() as i32);
        assert!((label.distribution.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(&labeler.explain(*pair).unwrap().label, label);
    }
    let turned: Vec<Pair> =
        pairs(&rows).iter().map(|pair| Pair { query: pair.document, document: pair.query }).collect();
    assert_ne!(labeler.label(&turned[..1]).unwrap()[0].score, together[0].score, "segments count");
}

fn quantized() -> Bundle {
    let rows = expected();
    quantize_labeler(&tiny(), &pairs(&rows), WeightBits::Eight, "A card.", &mut |_, _| {}).unwrap()
}

fn digest(labels: &[Label]) -> String {
    scores_digest(labels.iter().map(|label| label.score))
}

/// The labels of a bundle, after a look at their digest on all instructions and in batches of every size.
fn labels_of_one_digest(bundle: &Bundle) -> Vec<Label> {
    let rows = expected();
    let best = loaded(bundle, Instructions::Best, 2048).label(&pairs(&rows)).unwrap();
    let mut instructions = vec![Instructions::Scalar];
    instructions.extend(InstructionSet::all_available().map(Instructions::Set));
    for instructions in instructions {
        for batch_tokens in [1, 50, 4096] {
            let found = loaded(bundle, instructions, batch_tokens).label(&pairs(&rows)).unwrap();
            assert_eq!(digest(&found), digest(&best), "{instructions:?}, {batch_tokens} tokens a batch");
        }
    }
    best
}

#[test]
fn floats_and_eight_bits_have_one_digest_each_and_are_close() {
    let (float, bundle) = (tiny(), quantized());
    assert_eq!(bundle.get("README.md"), Some(&b"A card."[..]));
    assert_eq!(bundle.get("labeler.json"), float.get("labeler.json"));
    let (exact, best) = (labels_of_one_digest(&float), labels_of_one_digest(&bundle));
    assert_ne!(digest(&exact), digest(&best));
    let errors: Vec<f64> = exact.iter().zip(&best).map(|(a, b)| (a.score - b.score).abs()).collect();
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean < 0.05, "expected grades of a model 32 wide differ by {errors:?}");
    assert_eq!(quantized().to_bytes(), bundle.to_bytes(), "the same pairs give the same bundle");
}

fn with(bundle: &Bundle, name: &str, change: impl Fn(&mut serde_json::Value)) -> Option<ScorerError> {
    let mut files: BTreeMap<String, Vec<u8>> =
        bundle.names().map(|name| (name.to_owned(), bundle.get(name).unwrap().to_vec())).collect();
    let mut value = serde_json::from_slice(&files[name]).unwrap();
    change(&mut value);
    files.insert(name.to_owned(), serde_json::to_vec(&value).unwrap());
    let bundle = Bundle::from_files(files).unwrap();
    load_labeler(&bundle, &EncoderOptions::default()).map(|_| ()).err()
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let said = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        [tiny(), quantized()].map(|bundle| with(&bundle, name, change).unwrap().to_string())
    };
    let all = |said: [String; 2], word: &str| {
        said.into_iter().for_each(|said| assert!(said.contains(word), "{said}"));
    };
    all(said("labeler.json", &|file| file["kind"] = "oracle".into()), "kind \"oracle\"");
    all(said("labeler.json", &|file| file["head"] = "corn".into()), "classifier.weight");
    all(said("labeler.json", &|file| file["cuts"] = serde_json::json!([1.5, 0.5, 2.5])), "do not ascend");
    all(said("labeler.json", &|file| file["cuts"] = serde_json::json!([0.5])), "cuts: 1 for 4 levels");
    all(said("labeler.json", &|file| file["max_tokens"] = 4.into()), "max_tokens 4");
    all(said("labeler.json", &|file| file["weights"] = serde_json::json!([1.0])), "weights");
    all(said("labeler.json", &|file| file["scale"]["levels"][1]["grade"] = 0.into()), "twice");
    all(
        said("tokenizer.json", &|file| file["post_processor"]["pair"][3]["Sequence"]["type_id"] = 0.into()),
        "pairs",
    );
    all(said("config.json", &|file| file["type_vocab_size"] = 1.into()), "type_vocab_size 1");
    let encoder = quantize_labeler(&scorer::embedded().unwrap(), &[], WeightBits::Eight, "", &mut |_, _| {})
        .unwrap_err();
    assert!(encoder.to_string().contains("no cross-encoder"), "{encoder}");
    let refused = scorer::load_encoder(&tiny(), &EncoderOptions::default()).map(|_| ()).unwrap_err();
    assert!(matches!(refused, ScorerError::MissingFile { .. }), "a labeler is no encoder: {refused}");
}
