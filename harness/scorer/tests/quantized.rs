//! 8-bit transformers: one digest over the bits of thousands of scores, whatever runs them; close to the float model;
//! damaged bundles refused by name.
//!
//! The tests over all-MiniLM-L6-v2 need its weights: set `GRADED_MINILM` to the unpacked sentence-transformers folder.
//! Without it they print a line and pass.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kernels::InstructionSet;
use scorer::dual_encoder::DualEncoder;
use scorer::labeler::{EncoderLabeler, OrdinalHead};
use scorer::{
    Bundle, Encoder, EncoderOptions, Instructions, Label, Labeler, Pair, Role, ScorerError, WeightBits,
    load_encoder, quantize,
};

fn folder(path: &Path) -> Bundle {
    let mut files = BTreeMap::new();
    for name in scorer::bundle::FILES {
        if let Ok(content) = std::fs::read(path.join(name)) {
            files.insert(name.to_owned(), content);
        }
    }
    Bundle::from_files(files).unwrap()
}

fn tiny() -> Bundle {
    folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_bert"))
}

fn minilm() -> Option<Bundle> {
    let Some(path) = std::env::var_os("GRADED_MINILM") else {
        eprintln!("skipped: GRADED_MINILM does not name a folder with all-MiniLM-L6-v2");
        return None;
    };
    Some(folder(Path::new(&path)))
}

const FRAGMENTS: [&str; 20] = [
    "the cat",
    "dinner for the dog",
    "how to fix a leaking tap",
    "一分钟学会做红烧肉",
    "быстрый ужин",
    "naïve café",
    "🎬🍕👩‍👩‍👧",
    "١٢٣ كيف",
    "e\u{301}tude in D minor",
    "C++ & <b>",
    "\u{0}\u{200b}\u{feff}",
    "don't stop; 3.14159 km/h",
    "ＦＵＬＬ　ｗｉｄｔｈ",
    "नमस्ते दुनिया",
    "supercalifragilisticexpialidocious",
    "İstanbul ǅungla ß ﬁne",
    "สวัสดีชาวโลก",
    "안녕하세요 세계",
    "שלום עולם",
    "a",
];

/// Pairs of texts that look random and are the same everywhere: empty ones, all scripts, and some of 2,000 words.
fn pairs(count: usize) -> Vec<(String, String)> {
    let mut state = 42u32;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(state) * below as u64) >> 32) as usize
    };
    let mut text = move |place: usize| {
        let parts = match place % 97 {
            0 => 0,
            1 => 1000,
            _ => 1 + next(7),
        };
        let chosen: Vec<&str> = (0..parts).map(|_| FRAGMENTS[next(FRAGMENTS.len())]).collect();
        chosen.join([" ", ", ", "\n"][next(3)])
    };
    (0..count).map(|place| (text(2 * place), text(2 * place + 1))).collect()
}

/// Ids of queries and documents: how texts become ids does not depend on what runs the transformer.
type Ids = Vec<(Vec<u32>, Vec<u32>)>;

/// blake3 over the bits of every pair's score.
fn digest(encoder: &DualEncoder, pairs: &Ids, pairs_a_call: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    for pairs in pairs.chunks(pairs_a_call) {
        let (queries, documents): (Vec<_>, Vec<_>) = pairs.iter().cloned().unzip();
        let queries = encoder.encode_ids(&queries).unwrap();
        let documents = encoder.encode_ids(&documents).unwrap();
        for row in 0..pairs.len() {
            let products = queries.row(row).iter().zip(documents.row(row)).map(|(q, d)| q * d);
            hasher.update(&products.sum::<f32>().to_bits().to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn loaded(bundle: &Bundle, instructions: Instructions, batch_tokens: usize) -> DualEncoder {
    let options = EncoderOptions { instructions, batch_tokens, ..EncoderOptions::default() };
    DualEncoder::from_bundle(bundle, &options).unwrap()
}

/// Every instruction set here, calls of 1 and of 64 pairs, batches of one text and of many, one thread and two: one
/// digest, which is returned.
fn one_digest(bundle: &Bundle, pairs: &[(String, String)], mut instructions: Vec<Instructions>) -> String {
    instructions.extend(InstructionSet::all_available().map(Instructions::Set));
    let best = loaded(bundle, Instructions::Best, 2048);
    let ids = |text: &String| best.tokens().encode(text).unwrap();
    let pairs: Ids = pairs.iter().map(|(query, document)| (ids(query), ids(document))).collect();
    let expected = digest(&best, &pairs, 64);
    for instructions in instructions {
        let encoder = loaded(bundle, instructions, 2048);
        assert_eq!(digest(&encoder, &pairs, 1), expected, "{instructions:?}, one pair at a time");
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| digest(&encoder, &pairs, 64));
            assert_eq!(found, expected, "{instructions:?}, {threads} threads");
        }
        let single = loaded(bundle, instructions, 1);
        assert_eq!(digest(&single, &pairs, 64), expected, "{instructions:?}, a batch for every text");
    }
    expected
}

/// Quantised over nothing: the bundle does not depend on how texts are chosen.
fn tiny_quantized() -> Bundle {
    quantize(&tiny(), &["cat dinner", "how to fix the dog"], WeightBits::Eight, "A card.", &mut |_, _| {})
        .unwrap()
}

#[test]
fn two_thousand_pairs_have_one_digest() {
    let bundle = tiny_quantized();
    let pairs = pairs(2048);
    let found = one_digest(&bundle, &pairs, vec![Instructions::Scalar]);
    eprintln!("{} pairs, blake3 of all score bits: {found}", pairs.len());
}

/// The thousands of pairs are the small model's: MiniLM takes its sizes, long texts among them, through the same paths,
/// and a forward pass of it costs hundreds of times as much.
const MINILM_PAIRS: usize = 98;

#[test]
fn minilm_has_one_digest_and_stays_close_to_its_floats() {
    let Some(float) = minilm() else { return };
    let pairs = pairs(MINILM_PAIRS);
    let texts: Vec<&str> = pairs.iter().take(60).map(|(_, d)| d.as_str()).collect();
    let bundle = quantize(&float, &texts, WeightBits::Eight, "", &mut |_, _| {}).unwrap();
    assert!(bundle.to_bytes().len() <= 24_000_000, "{} bytes", bundle.to_bytes().len());
    assert_eq!(one_digest(&bundle, &pairs[2..6], vec![Instructions::Scalar]).len(), 64);
    let found = one_digest(&bundle, &pairs, Vec::new());
    eprintln!("MiniLM, {} pairs, blake3 of all score bits: {found}", pairs.len());
    assert!(least_cosine(&float, &bundle, &texts) > 0.99);
}

/// Three grades from an encoder's similarity and two lexical features.
const HEAD: &str = r#"{
    "scale": {"name": "test", "relevant_from": 1, "levels": [
        {"grade": 0, "meaning": "no"}, {"grade": 1, "meaning": "some"}, {"grade": 2, "meaning": "yes"}]},
    "features": ["similarity", "stem_coverage", "length"],
    "weights": [3.0, 0.7, -0.1], "thresholds": [0.5, 2.5], "cuts": [1.5, 2.0]
}"#;

/// A transformer under a head: the same labels, to the last bit, by plain loops and by every instruction set.
#[test]
fn labels_do_not_depend_on_the_instructions() {
    let bundle = tiny_quantized();
    let pairs = pairs(256);
    let pairs: Vec<Pair> = pairs.iter().map(|(query, document)| Pair { query, document }).collect();
    let labels = |instructions, pairs_a_call| -> Vec<Label> {
        let options = EncoderOptions { instructions, ..EncoderOptions::default() };
        let head = OrdinalHead::new(serde_json::from_str(HEAD).unwrap()).unwrap();
        let labeler = EncoderLabeler::with_head(&bundle, &options, head).unwrap();
        pairs.chunks(pairs_a_call).flat_map(|pairs| labeler.label(pairs).unwrap()).collect()
    };
    let expected = labels(Instructions::Scalar, 64);
    let grades: BTreeSet<i32> = expected.iter().map(|label| label.grade).collect();
    assert!(grades.len() > 1, "all pairs get one grade: {grades:?}");
    let bits = |labels: &[Label]| -> Vec<u64> {
        let numbers = labels.iter().flat_map(|label| label.distribution.iter().chain([&label.score]));
        numbers.map(|number| number.to_bits()).collect()
    };
    for set in InstructionSet::all_available() {
        for pairs_a_call in [1, 64] {
            let found = labels(Instructions::Set(set), pairs_a_call);
            assert!(bits(&found) == bits(&expected), "{set}, {pairs_a_call} pairs at a time");
        }
    }
}

fn least_cosine(float: &Bundle, quantized: &Bundle, texts: &[&str]) -> f32 {
    let [float, quantized] = [float, quantized]
        .map(|bundle| loaded(bundle, Instructions::Best, 2048).encode(texts, Role::Document).unwrap());
    (0..texts.len())
        .map(|row| float.row(row).iter().zip(quantized.row(row)).map(|(a, b)| a * b).sum::<f32>())
        .fold(1.0, f32::min)
}

#[test]
fn vectors_are_those_of_the_float_bundle_up_to_quantisation() {
    let texts = ["cat dinner", "", "how to fix the dog", "a cat for the dog and the dinner of a cat"];
    let least = least_cosine(&tiny(), &tiny_quantized(), &texts);
    assert!(least > 0.995, "{least}");
}

#[test]
fn the_same_texts_give_the_same_bundle() {
    let bundle = tiny_quantized();
    assert_eq!(bundle.to_bytes(), tiny_quantized().to_bytes());
    assert_eq!(bundle.get("README.md"), Some(&b"A card."[..]));
    let description = bundle.describe().unwrap();
    assert_eq!((description.model_type.as_str(), description.dimensions), ("bert_int8", Some(32)));
    assert!(description.bytes < tiny().describe().unwrap().bytes);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(tiny_quantized).to_bytes(), bundle.to_bytes(), "{threads} threads");
    }
    let other = quantize(&tiny(), &[], WeightBits::Eight, "", &mut |_, _| {}).unwrap();
    assert_ne!(other.digest(), bundle.digest(), "evening out changes the weights");
    let encoder = loaded(&bundle, Instructions::default(), 1);
    assert_ne!(encoder.digest(), bundle.digest(), "vectors kept from other sums of codes are not ours");
}

#[test]
fn what_cannot_be_quantised_or_run_is_named() {
    let twice = quantize(&tiny_quantized(), &[], WeightBits::Eight, "", &mut |_, _| {}).unwrap_err();
    assert_eq!(twice.to_string(), "config.json: quantising \"bert_int8\" is not supported");
    let missing = InstructionSet::ALL.into_iter().find(|set| !set.is_available()).unwrap();
    let options = EncoderOptions { instructions: Instructions::Set(missing), ..EncoderOptions::default() };
    assert!(matches!(load_encoder(&tiny_quantized(), &options), Err(ScorerError::BadArgument(_))));
}

fn with_config(key: &str, value: serde_json::Value) -> ScorerError {
    let bundle = tiny_quantized();
    let mut files: BTreeMap<String, Vec<u8>> =
        bundle.names().map(|name| (name.to_owned(), bundle.get(name).unwrap().to_vec())).collect();
    let mut config: serde_json::Value = serde_json::from_slice(&files["config.json"]).unwrap();
    config[key] = value;
    files.insert("config.json".into(), serde_json::to_vec(&config).unwrap());
    let changed = Bundle::from_files(files).unwrap();
    load_encoder(&changed, &EncoderOptions::default()).map(|_| ()).unwrap_err()
}

#[test]
fn a_configuration_that_does_not_fit_the_tensors_is_refused() {
    let missing = with_config("num_hidden_layers", 3.into());
    assert!(
        matches!(&missing, ScorerError::MissingTensor { tensor, .. } if tensor == "layers.2.query_key_value.codes")
    );
    let wide = with_config("hidden_size", 64.into()).to_string();
    assert!(wide.contains("shape"), "{wide}");
    let huge = with_config("vocab_size", (1 << 24).into()).to_string();
    assert!(huge.contains("words.codes"), "{huge}");
}
