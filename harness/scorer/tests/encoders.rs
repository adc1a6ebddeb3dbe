//! Encoders against PyTorch, sentence-transformers and HF tokenizers (fixtures made by
//! `benchmarks/references/encoder/reference.py`).
//!
//! The tests over all-MiniLM-L6-v2 need its weights: set `GRADED_MINILM` to the unpacked sentence-transformers folder.
//! Without it they print a line and pass.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::InstructionSet;
use scorer::dual_encoder::DualEncoder;
use scorer::encoder::static_table::StaticTable;
use scorer::tokens::Tokens;
use scorer::{Bundle, Embeddings, Encoder, EncoderOptions, Instructions, Role, ScorerError, load_encoder};

const POOLINGS: [&str; 6] = ["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn folder_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in [folder.to_owned(), folder.join("1_Pooling")] {
        for entry in
            std::fs::read_dir(path).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file())
        {
            let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
            if Bundle::takes(&name) {
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

fn tiny() -> Bundle {
    Bundle::from_files(folder_files(&fixture("tiny_bert"))).unwrap()
}

fn with_file(bundle: &Bundle, name: &str, content: &[u8]) -> Result<Bundle, ScorerError> {
    let mut files: BTreeMap<String, Vec<u8>> =
        bundle.names().map(|name| (name.to_owned(), bundle.get(name).unwrap().to_vec())).collect();
    files.insert(name.to_owned(), content.to_vec());
    Bundle::from_files(files)
}

fn minilm() -> Option<Bundle> {
    let Some(folder) = std::env::var_os("GRADED_MINILM") else {
        eprintln!("skipped: GRADED_MINILM does not name a folder with all-MiniLM-L6-v2");
        return None;
    };
    Some(Bundle::from_files(folder_files(Path::new(&folder))).unwrap())
}

fn texts() -> Vec<String> {
    serde_json::from_slice(&std::fs::read(fixture("texts.json")).unwrap()).unwrap()
}

fn floats(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn expected_ids(name: &str) -> Vec<Vec<u32>> {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn encode(encoder: &dyn Encoder, texts: &[String]) -> Embeddings {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    encoder.encode(&texts, Role::Document).unwrap()
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn unit_rows(values: &[f32], width: usize) -> Vec<f32> {
    let length = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    values.chunks(width).flat_map(|row| row.iter().map(|&x| (f64::from(x) / length(row)) as f32)).collect()
}

fn check_ids(tokens: &Tokens, expected: &[Vec<u32>]) {
    for (text, ids) in texts().iter().zip(expected) {
        assert_eq!(&tokens.encode_plainly(text).unwrap(), ids, "library: {text:?}");
        assert_eq!(&tokens.encode(text).unwrap(), ids, "fast path: {text:?}");
    }
}

#[test]
fn tiny_ids_equal_hf() {
    let tokens = Tokens::from_bundle(&tiny(), true, Some(48)).unwrap();
    check_ids(&tokens, &expected_ids("tiny_bert_ids.json"));
}

#[test]
fn tiny_vectors_equal_pytorch_for_every_pooling() {
    let reference = floats("tiny_bert.f32");
    for (mode, block) in POOLINGS.iter().zip(reference.chunks(100 * 32)) {
        let pooling = format!("{{\"pooling_mode\": \"{mode}\"}}");
        let bundle = with_file(&tiny(), "1_Pooling/config.json", pooling.as_bytes()).unwrap();
        let vectors = encode(&*load_encoder(&bundle, &EncoderOptions::default()).unwrap(), &texts());
        let difference = largest_difference(&vectors.values, &unit_rows(block, 32));
        assert!(difference < 1e-5, "{mode}: {difference:e}");
    }
}

#[test]
fn minilm_ids_and_vectors_equal_the_reference() {
    let Some(bundle) = minilm() else { return };
    let encoder = DualEncoder::from_bundle(&bundle, &EncoderOptions::default()).unwrap();
    check_ids(encoder.tokens(), &expected_ids("minilm_ids.json"));
    let difference = largest_difference(&encode(&encoder, &texts()).values, &floats("minilm.f32"));
    eprintln!("all-MiniLM-L6-v2 against PyTorch, 100 texts: largest absolute difference {difference:e}");
    assert!(difference < 1e-5, "{difference:e}");
}

#[test]
fn a_vector_does_not_depend_on_its_neighbours() {
    let texts = texts();
    let small = EncoderOptions { batch_tokens: 1, ..Default::default() };
    let alone = encode(&*load_encoder(&tiny(), &small).unwrap(), &texts);
    let together = encode(&*load_encoder(&tiny(), &EncoderOptions::default()).unwrap(), &texts);
    assert_eq!(bits(&alone.values), bits(&together.values));
    let mut reversed = texts.clone();
    reversed.reverse();
    let backwards = encode(&*load_encoder(&tiny(), &EncoderOptions::default()).unwrap(), &reversed);
    let rows: Vec<f32> = (0..100).rev().flat_map(|row| backwards.row(row).to_vec()).collect();
    assert_eq!(bits(&rows), bits(&together.values));
}

#[test]
fn floats_have_the_same_bits_on_all_instructions_and_threads() {
    let texts = texts();
    let best = encode(&*load_encoder(&tiny(), &EncoderOptions::default()).unwrap(), &texts);
    let sets = InstructionSet::all_available().map(Instructions::Set);
    for instructions in sets.chain([Instructions::Scalar]) {
        for batch_tokens in [1, 100] {
            let options = EncoderOptions { instructions, batch_tokens, ..Default::default() };
            let encoder = load_encoder(&tiny(), &options).unwrap();
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let found = pool.install(|| encode(&*encoder, &texts));
                assert_eq!(bits(&found.values), bits(&best.values), "{instructions:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn no_texts_no_vectors() {
    let encoder = load_encoder(&tiny(), &EncoderOptions::default()).unwrap();
    let none = encoder.encode(&[], Role::Query).unwrap();
    assert_eq!((none.rows(), none.values.len(), encoder.dimensions()), (0, 0, 32));
}

#[test]
fn prompts_go_before_the_text() {
    let prompts = br#"{"prompts": {"query": "cat "}}"#;
    let prompted = with_file(&tiny(), "config_sentence_transformers.json", prompts).unwrap();
    assert_ne!(prompted.digest(), tiny().digest());
    let encoder = load_encoder(&prompted, &EncoderOptions::default()).unwrap();
    let vectors = [Role::Query, Role::Document].map(|role| encoder.encode(&["dinner"], role).unwrap());
    let plain = load_encoder(&tiny(), &EncoderOptions::default()).unwrap();
    assert_eq!(vectors[0], plain.encode(&["cat dinner"], Role::Document).unwrap());
    assert_eq!(vectors[1], plain.encode(&["dinner"], Role::Query).unwrap());
}

#[test]
fn the_token_limit_cuts_and_changes_the_digest() {
    let options = EncoderOptions { max_tokens: Some(4), ..Default::default() };
    let encoder = load_encoder(&tiny(), &options).unwrap();
    let vectors = encoder.encode(&["cat dinner", "cat dinner for the dog"], Role::Document).unwrap();
    assert_eq!(vectors.row(0), vectors.row(1));
    let without = load_encoder(&tiny(), &EncoderOptions::default()).unwrap();
    assert_ne!(encoder.digest(), without.digest());
    assert_ne!(without.digest(), tiny().digest(), "vectors kept from other sums of floats are not ours");
    let none = EncoderOptions { max_tokens: Some(1), ..Default::default() };
    assert!(matches!(load_encoder(&tiny(), &none), Err(ScorerError::BadArgument(_))));
}

/// The tokens of a static table: the tiny tokenizer with one random vector per token.
fn static_bundle(int8: bool) -> (Bundle, Vec<f32>) {
    let rows = 241;
    let table: Vec<i8> = (0..rows * 3).map(|i| ((i * 37 + 11) % 255 - 127) as i8).collect();
    let scales: Vec<f32> = (0..rows).map(|i| 0.001 * (1 + i % 7) as f32).collect();
    let dense: Vec<f32> = table.iter().enumerate().map(|(i, &v)| f32::from(v) * scales[i / 3]).collect();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (codes, scale_bytes, floats) =
        (table.iter().map(|&v| v as u8).collect::<Vec<_>>(), bytes(&scales), bytes(&dense));
    let view =
        |dtype, shape: Vec<usize>, data| safetensors::tensor::TensorView::new(dtype, shape, data).unwrap();
    let rows = rows as usize;
    let tensors = if int8 {
        vec![
            ("table", view(safetensors::Dtype::I8, vec![rows, 3], &codes)),
            ("scales", view(safetensors::Dtype::F32, vec![rows], &scale_bytes)),
        ]
    } else {
        vec![("table", view(safetensors::Dtype::F32, vec![rows, 3], &floats))]
    };
    let weights = safetensors::serialize(tensors, None).unwrap();
    let config = br#"{"model_type": "static_table", "dimensions": 3, "vocab_size": 241, "max_tokens": null}"#;
    let bundle = with_file(&tiny(), "model.safetensors", &weights).unwrap();
    (with_file(&bundle, "config.json", config).unwrap(), dense)
}

#[test]
fn a_static_vector_is_the_normalised_sum_of_rows() {
    let (bundle, dense) = static_bundle(true);
    let (float_bundle, _) = static_bundle(false);
    let tokens = Tokens::from_bundle(&bundle, false, None).unwrap();
    let encoder = StaticTable::from_bundle(&bundle, &EncoderOptions::default()).unwrap();
    let float = StaticTable::from_bundle(&float_bundle, &EncoderOptions::default()).unwrap();
    let texts = texts();
    let (vectors, floats) = (encode(&encoder, &texts), encode(&float, &texts));
    for (index, text) in texts.iter().enumerate() {
        let mut sum = [0f64; 3];
        for id in tokens.encode_plainly(text).unwrap() {
            (0..3).for_each(|d| sum[d] += f64::from(dense[id as usize * 3 + d]));
        }
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (&value, sum) in vectors.row(index).iter().zip(sum) {
            let expected = if length > 0.0 { sum / length } else { 0.0 };
            assert!((f64::from(value) - expected).abs() < 1e-4, "{text:?}");
        }
    }
    assert!(largest_difference(&vectors.values, &floats.values) < 1e-6);
    assert_eq!(vectors.row(0), [0.0; 3], "the empty text");
}

#[test]
fn a_folder_and_a_file_are_one_bundle() {
    let bundle = tiny();
    let file = Bundle::from_bytes(&bundle.to_bytes()).unwrap();
    assert_eq!(file, bundle);
    assert_eq!(file.digest(), bundle.digest());
    let with_card = with_file(&bundle, "README.md", b"A card.").unwrap();
    assert_eq!(with_card.digest(), bundle.digest());
    assert_eq!(Bundle::from_bytes(&with_card.to_bytes()).unwrap(), with_card);
    let description = bundle.describe().unwrap();
    assert_eq!(
        (description.model_type.as_str(), description.dimensions, description.layers),
        ("bert", Some(32), Some(2))
    );
}
