//! Damaged and lying bundles: each is a typed error that names file and tensor, never a panic, never an allocation on the
//! word of a header.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use scorer::tokens::Tokens;
use scorer::{Bundle, EncoderOptions, Pair, Role, ScorerError, load_encoder, load_labeler};
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

/// A tokenizer over characters that first maps them by `map`, as SentencePiece's files do.
fn with_character_map(map: &[u8]) -> Value {
    json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Precompiled", "precompiled_charsmap": base64::encode(map) },
            { "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " },
        ]},
        "pre_tokenizer": { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true },
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "</s>", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
        },
        "decoder": { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true },
        "model": { "type": "Unigram", "unk_id": 0, "byte_fallback": false,
            "vocab": [["<unk>", 0.0], ["</s>", 0.0], ["▁", -1.0], ["a", -2.0], ["b", -2.5], ["ab", -3.0]] },
    })
}

/// The map that makes `b` of `A`, and of nothing else anything: a trie of one block.
fn character_map() -> Vec<u8> {
    let mut trie = [0u32; 256];
    trie[0] = 1 << 10; // The root's children lie around unit 1,
    trie[1 ^ 65] = 65 | 1 << 8 | 2 << 10; // `A` among them, after which a walk is at 1 ^ 65 ^ 2 and may end,
    trie[1 ^ 65 ^ 2] = 1 << 31 | 2; // with the text at place 2.
    let texts = "x\0b\0";
    let bytes = (4 * trie.len() as u32).to_le_bytes();
    bytes.into_iter().chain(trie.into_iter().flat_map(u32::to_le_bytes)).chain(texts.bytes()).collect()
}

/// The ids of some texts, if the file is accepted.
fn try_tokenizer(settings: &Value) -> Result<Vec<Vec<u32>>, ScorerError> {
    let mut files = tiny_files();
    files.insert("tokenizer.json".into(), serde_json::to_vec(settings).unwrap());
    let bundle = Bundle::from_files(files)?;
    let mut ids = Vec::new();
    for special in [true, false] {
        let tokens = Tokens::from_bundle(&bundle, special, Some(16))?;
        for text in ["A b", "", "a cat, unhappy [SEP]", "日本 über\u{0}"] {
            ids.push(tokens.encode(text)?);
        }
    }
    Ok(ids)
}

#[test]
fn a_character_map_is_followed_or_refused() {
    let sound = character_map();
    assert_eq!(try_tokenizer(&with_character_map(&sound)).unwrap()[0], [2, 4, 2, 4, 1]);
    let refused = |map: &[u8]| {
        let error = try_tokenizer(&with_character_map(map)).unwrap_err().to_string();
        assert!(error.contains("precompiled_charsmap: expected a character map"), "{error}");
    };
    refused(b"");
    refused(&[0; 4]);
    refused(&sound[..1000]);
    let put = |unit: usize, value: u32| {
        let mut map = sound.clone();
        map[4 + 4 * unit..][..4].copy_from_slice(&value.to_le_bytes());
        map
    };
    refused(&put(0, 256 << 10)); // Children beyond the trie,
    refused(&put(1 ^ 65, 65 | 1 << 8 | 300 << 10)); // an end beyond it,
    refused(&put(1 ^ 65 ^ 2, 1 << 31 | 5)); // a text beyond the texts.
    let mut settings = with_character_map(&sound);
    settings["normalizer"]["normalizers"][0]["precompiled_charsmap"] = Value::Null;
    assert!(try_tokenizer(&settings).is_err());
}

#[test]
fn a_template_names_tokens_that_there_are() {
    let original: Value = serde_json::from_slice(&tiny_files()["tokenizer.json"]).unwrap();
    let refused = |pointer: &str, value: Value, expected: &str| {
        let mut settings = original.clone();
        *settings.pointer_mut(pointer).unwrap() = value;
        let error = try_tokenizer(&settings).unwrap_err().to_string();
        assert_eq!(error, format!("tokenizer.json: post_processor{expected}"), "{pointer}");
    };
    let unknown = r#": the special token "[BOS]" is not in special_tokens"#;
    refused("/post_processor/single/0/SpecialToken/id", json!("[BOS]"), unknown);
    refused("/post_processor/pair/0/SpecialToken/id", json!("[BOS]"), unknown);
    refused(
        "/post_processor/special_tokens",
        json!({ "[CLS]": original["post_processor"]["special_tokens"]["[CLS]"] }),
        r#": the special token "[SEP]" is not in special_tokens"#,
    );
    let alone = ".single: expected the text A in it, and no B";
    refused("/post_processor/single/1/Sequence/id", json!("B"), alone);
    refused("/post_processor/single", json!([]), alone);
}

#[test]
fn merges_make_tokens_and_always_the_same() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/language_model/qwen2/tokenizer.json");
    let original: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let with = |key: &str, value: Value| {
        let mut settings = original.clone();
        settings["model"][key] = value;
        try_tokenizer(&settings).unwrap_err().to_string()
    };
    let prefix = with("continuing_subword_prefix", json!("##"));
    assert!(
        prefix.starts_with("tokenizer.json: model.merges: [") && prefix.contains(", entry 0, makes no token"),
        "{prefix}"
    );
    let long = "a".repeat(1000);
    let error = with("merges", json!([[long, "b"]]));
    assert!(error.ends_with(r#""b"], entry 0, makes no token of the vocabulary"#), "{error}");
    assert!(with("merges", json!([format!("{long} b")])).contains("makes no token"));
    assert!(with("dropout", json!(0.1)).contains("dropout"));
}

#[test]
fn a_limit_has_room_for_the_special_tokens() {
    let bundle = Bundle::from_files(tiny_files()).unwrap();
    let error = Tokens::from_bundle(&bundle, true, Some(1)).err().unwrap();
    assert_eq!(error.to_string(), "max_tokens 1, of which the tokenizer adds 2: expected 2 or more");
    assert_eq!(Tokens::from_bundle(&bundle, false, Some(1)).unwrap().encode("a cat").unwrap().len(), 1);
}

/// Every place in a JSON value, of long lists and maps the first five and the last.
fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(values) => {
            values.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect()
        }
        Value::Object(values) => values.iter().map(|(key, value)| (key.clone(), value)).collect(),
        _ => Vec::new(),
    };
    let last = inner.len().saturating_sub(1);
    for (_, (key, value)) in inner.into_iter().enumerate().filter(|(at, _)| *at < 5 || *at == last) {
        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        places(value, &pointer, found);
    }
}

/// The value with the place taken out.
fn without(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match value.pointer_mut(parent).unwrap() {
        Value::Object(values) => drop(values.remove(&key.replace("~1", "/").replace("~0", "~"))),
        Value::Array(values) => drop(values.remove(key.parse().unwrap())),
        _ => unreachable!(),
    }
    value
}

/// The value with each of its places taken out, and with other values in it.
fn each_change(original: &Value, mut act: impl FnMut(&Value)) {
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(7),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("["),
        json!("x"),
        json!("ab"),
        json!("▁"),
        json!("##"),
        json!("B"),
        json!([]),
        json!({}),
    ];
    let mut found = Vec::new();
    places(original, "", &mut found);
    for pointer in found {
        act(&without(original, &pointer));
        for other in &others {
            let mut changed = original.clone();
            *changed.pointer_mut(&pointer).unwrap() = other.clone();
            act(&changed);
        }
    }
}

#[test]
fn tokenizers_with_any_value_changed_never_panic() {
    let fixture = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        serde_json::from_slice(&std::fs::read(path.join("tokenizer.json")).unwrap()).unwrap()
    };
    let mut accepted = 0;
    for original in
        [fixture("tiny_bert"), fixture("language_model/qwen2"), with_character_map(&character_map())]
    {
        try_tokenizer(&original).unwrap();
        each_change(&original, |changed| accepted += usize::from(try_tokenizer(changed).is_ok()));
    }
    // Most changes are of no consequence or only give other ids.
    assert!(accepted > 500, "{accepted}");
}

#[test]
fn a_feature_of_tables_without_one_is_named() {
    let mut files = tiny_files();
    let head = scorer::embedded().unwrap().require("labeler.json").unwrap().to_vec();
    files.insert("labeler.json".into(), head);
    let bundle = Bundle::from_files(files).unwrap();
    let error = load_labeler(&bundle, &EncoderOptions::default()).err().unwrap().to_string();
    let expected = "labeler.json: the feature window_similarity without a static table is not supported";
    assert_eq!(error, expected);
}

#[test]
fn labelers_with_any_value_changed_never_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_cross_encoder");
    let names = ["config.json", "labeler.json", "tokenizer.json", "model.safetensors"];
    let read = |name: &str| (name.to_owned(), std::fs::read(folder.join(name)).unwrap());
    let cross_encoder: BTreeMap<_, _> = names.map(read).into();
    let embedded = scorer::embedded().unwrap();
    let names: Vec<String> = embedded.names().map(str::to_owned).collect();
    let embedded: BTreeMap<_, _> =
        names.into_iter().map(|name| (name.clone(), embedded.require(&name).unwrap().to_vec())).collect();
    let label = |files: &BTreeMap<String, Vec<u8>>| -> Result<(), ScorerError> {
        let labeler = load_labeler(&Bundle::from_files(files.clone())?, &EncoderOptions::default())?;
        labeler.label(&[Pair { query: "a cat", document: "unhappy 日本" }]).map(|_| ())
    };
    let mut accepted = 0;
    for original in [cross_encoder, embedded] {
        label(&original).unwrap();
        for name in original.keys().filter(|name| name.ends_with(".json") && *name != "tokenizer.json") {
            each_change(&serde_json::from_slice(&original[name]).unwrap(), |changed| {
                let mut files = original.clone();
                files.insert(name.clone(), serde_json::to_vec(changed).unwrap());
                accepted += usize::from(label(&files).is_ok());
            });
        }
    }
    assert!(accepted > 100, "{accepted}");
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
