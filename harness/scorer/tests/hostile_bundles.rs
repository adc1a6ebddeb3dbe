//! Damaged and lying bundles: each is a typed error that names file and tensor, never a panic, never an allocation on the
//! word of a header.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use scorer::{Bundle, EncoderOptions, Role, ScorerError, load_encoder};
use serde_json::{Value, json};

fn tiny_files() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_bert");
    let names =
        ["config.json", "modules.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"];
    names.iter().map(|name| (name.to_string(), std::fs::read(folder.join(name)).unwrap())).collect()
}

fn load(files: BTreeMap<String, Vec<u8>>) -> Result<(), ScorerError> {
    load_encoder(&Bundle::from_files(files)?, &EncoderOptions::default()).map(|_| ())
}

fn load_with(name: &str, change: impl Fn(&mut Value)) -> Result<(), ScorerError> {
    let mut files = tiny_files();
    let mut value: Value = serde_json::from_slice(&files[name]).unwrap();
    change(&mut value);
    files.insert(name.into(), serde_json::to_vec(&value).unwrap());
    load(files)
}

/// Changes the JSON header of the weights and keeps the data.
fn load_with_header(change: impl Fn(&mut Value)) -> Result<(), ScorerError> {
    let mut files = tiny_files();
    let weights = &files["model.safetensors"];
    let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&weights[8..8 + length]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let mut altered = (header.len() as u64).to_le_bytes().to_vec();
    altered.extend_from_slice(&header);
    altered.extend_from_slice(&weights[8 + length..]);
    files.insert("model.safetensors".into(), altered);
    load(files)
}

#[test]
fn each_missing_file_is_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"] {
        let mut files = tiny_files();
        files.remove(name);
        assert_eq!(load(files), Err(ScorerError::MissingFile { file: name.into() }));
    }
}

#[test]
fn each_missing_key_is_named() {
    for key in ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "layer_norm_eps"] {
        let error = load_with("config.json", |config| drop(config.as_object_mut().unwrap().remove(key)));
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("config.json: ") && message.contains(key), "{message}");
    }
}

#[test]
fn impossible_sizes_are_refused() {
    let cases = [
        ("hidden_size", json!(0)),
        ("num_hidden_layers", json!(u64::MAX)),
        ("num_attention_heads", json!(5)),
    ];
    for (key, value) in cases {
        let error = load_with("config.json", |config| config[key] = value.clone()).unwrap_err();
        assert!(matches!(&error, ScorerError::BadConfig { file, .. } if file == "config.json"), "{error}");
    }
}

#[test]
fn sizes_that_the_weights_do_not_have_are_refused_by_tensor() {
    // A table of 16 million rows, a thousand layers: nothing of the kind is in the file, and nothing is allocated.
    let rows = load_with("config.json", |config| config["vocab_size"] = json!(1 << 24)).unwrap_err();
    let expected = "model.safetensors: tensor embeddings.word_embeddings.weight: shape [241, 32] where [16777216, 32] was expected";
    assert_eq!(rows.to_string(), expected);
    let layers = load_with("config.json", |config| config["num_hidden_layers"] = json!(1 << 24)).unwrap_err();
    let tensor = "encoder.layer.2.attention.self.query.weight".to_owned();
    assert_eq!(layers, ScorerError::MissingTensor { file: "model.safetensors".into(), tensor });
    let small = load_with("config.json", |config| config["vocab_size"] = json!(240)).unwrap_err();
    assert_eq!(small.to_string(), "config.json: vocab_size 240 is below the tokenizer's 241 ids");
}

#[test]
fn other_models_are_unsupported_not_misread() {
    let cases = [
        ("config.json", "model_type", json!("roberta")),
        ("config.json", "hidden_act", json!("relu")),
        ("config.json", "position_embedding_type", json!("relative_key")),
    ];
    for (file, key, value) in cases {
        let error = load_with(file, |config| config[key] = value.clone()).unwrap_err();
        assert!(
            matches!(&error, ScorerError::Unsupported { what, .. } if what.contains(value.as_str().unwrap()))
        );
    }
    let dense =
        json!({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"});
    let error =
        load_with("modules.json", |modules| modules.as_array_mut().unwrap().push(dense.clone())).unwrap_err();
    assert!(matches!(&error, ScorerError::Unsupported { what, .. } if what.contains("models.Dense")));
}

#[test]
fn lying_tensor_headers() {
    let name = "embeddings.word_embeddings.weight";
    let dtype = load_with_header(|header| header[name]["dtype"] = json!("I16")).unwrap_err();
    assert!(dtype.to_string().contains(name) && dtype.to_string().contains("I16"), "{dtype}");
    let shape = load_with_header(|header| header[name]["shape"] = json!([1u64 << 40, 1 << 20])).unwrap_err();
    assert!(matches!(shape, ScorerError::BadWeights { .. }), "{shape}");
    let offsets = load_with_header(|header| header[name]["data_offsets"] = json!([0, u64::MAX])).unwrap_err();
    assert!(matches!(offsets, ScorerError::BadWeights { .. }), "{offsets}");
    let mut files = tiny_files();
    files.insert("model.safetensors".into(), u64::MAX.to_le_bytes().to_vec());
    assert!(matches!(load(files), Err(ScorerError::BadWeights { .. })));
}

#[test]
fn a_weight_that_is_not_a_number_is_named() {
    let mut files = tiny_files();
    let weights = files.get_mut("model.safetensors").unwrap();
    let end = weights.len();
    weights[end - 2..].copy_from_slice(&0x7e00u16.to_le_bytes());
    let error = load(files).unwrap_err().to_string();
    assert!(error.starts_with("model.safetensors: tensor ") && error.ends_with("is NaN"), "{error}");
}

#[test]
fn a_container_says_what_is_wrong_with_it() {
    let bytes = Bundle::from_files(tiny_files()).unwrap().to_bytes();
    let message = |bytes: &[u8]| Bundle::from_bytes(bytes).unwrap_err().to_string();
    assert!(message(b"").contains("0 bytes are fewer than the 48"));
    assert!(message(&bytes[..bytes.len() - 1]).contains("truncated: tokenizer.json"));
    let mut other = bytes.clone();
    other[8] = 2;
    assert!(message(&other).contains("version 2 where 1 was expected"));
    let mut long = bytes.clone();
    long.push(0);
    assert!(message(&long).contains("1 bytes follow the last file"));
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(message(&flipped).contains("tokenizer.json does not match its digest"));
}

/// A container with this header and these bytes after it, the digest of the header being right.
fn forged(header: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"GRADEDBN".to_vec();
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    bytes.extend_from_slice(blake3::hash(header.as_bytes()).as_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn forged_containers_are_refused() {
    let digest = blake3::hash(b"{}").to_hex();
    let entry = |name: &str, offset: u64, length: u64| {
        format!(r#"[{{"name":"{name}","offset":{offset},"length":{length},"blake3":"{digest}"}}]"#)
    };
    assert!(Bundle::from_bytes(&forged(&entry("config.json", 0, 2), b"{}")).is_ok());
    for (name, offset, length) in [
        ("../config.json", 0, 2),
        ("config.json", 64, 2),
        ("config.json", 0, u64::MAX),
        ("config.json", u64::MAX, 2),
        ("config.json", 0, 3),
        ("config.json", 0, 1),
    ] {
        let error = Bundle::from_bytes(&forged(&entry(name, offset, length), b"{}")).unwrap_err();
        assert!(matches!(error, ScorerError::BadContainer { .. }), "{name} {offset} {length}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_change_to_a_container_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
        let mut bytes = Bundle::from_files(tiny_files()).unwrap().to_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        prop_assert!(Bundle::from_bytes(&bytes).is_err());
    }

    #[test]
    fn damaged_files_never_panic(
        file in prop::sample::select(vec!["config.json", "modules.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut files = tiny_files();
        let content = files.get_mut(file).unwrap();
        // The header of the weights is where damage is interesting; a changed weight is only a changed weight.
        let reach = if file == "model.safetensors" { 4000 } else { content.len() };
        let at = at.index(reach);
        if cut { content.truncate(at) } else { content[at] = byte }
        let bundle = Bundle::from_files(files).unwrap();
        if let Ok(encoder) = load_encoder(&bundle, &EncoderOptions::default()) {
            let _ = encoder.encode(&["a cat, unhappy", "日本"], Role::Query);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), length in any::<u32>()) {
        let _ = Bundle::from_bytes(&bytes);
        let mut bytes = forged("[]", &bytes);
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        prop_assert!(Bundle::from_bytes(&bytes).is_err());
    }
}
