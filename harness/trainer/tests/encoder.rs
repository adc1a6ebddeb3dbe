//! The encoder that can be trained, against the scorer's, against finite differences and against PyTorch (fixtures made by
//! `benchmarks/references/trainer/ten_steps.py`).
//!
//! The test over all-MiniLM-L6-v2 needs its weights: set `GRADED_MINILM` to the unpacked sentence-transformers folder.
//! Without it it prints a line and passes.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::encoder::Sequence;
use scorer::pooling::Pooling;
use scorer::{Bundle, EncoderOptions, Role, load_encoder};
use serde::Deserialize;
use trainer::checkpoint::{self, Origin};
use trainer::encoder::bert::Adaptation;
use trainer::encoder::dropout::Dropout;
use trainer::encoder::parameters::Gradients;
use trainer::guards::GuardOptions;
use trainer::optimizer::AdamWOptions;
use trainer::schedule::{Decay, Schedule};
use trainer::{Model, ModelOptions, Slopes, TokenBatch, Trainer, TrainingOptions, Vectors};

/// What the runs of these tests are said to learn by and from.
const ORIGIN: Origin<'_> = Origin { recipe: "recipe", data: "data" };

fn bundle(folder: &Path) -> Bundle {
    let read = |name: &&str| Some(((*name).to_owned(), std::fs::read(folder.join(name)).ok()?));
    Bundle::from_files(scorer::bundle::FILES.iter().filter_map(read).collect()).unwrap()
}

fn tiny() -> Bundle {
    bundle(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scorer/tests/fixtures/tiny_bert"))
}

fn open(options: ModelOptions) -> Model {
    Model::from_bundle(tiny(), &options).unwrap()
}

const TEXTS: [&str; 6] = [
    "the cat",
    "how to repair a bicycle chain at home without tools",
    "river bank loan",
    "a quick dinner recipe for tired parents",
    "",
    "mountain weather storm warning and a slow motion dance",
];

fn sequences(model: &Model) -> Vec<Vec<u32>> {
    TEXTS.iter().map(|text| model.ids(text, Role::Document).unwrap()).collect()
}

fn views(sequences: &[Vec<u32>]) -> Vec<Sequence<'_>> {
    sequences.iter().map(|ids| Sequence::single(ids)).collect()
}

/// All vectors, chunk by chunk.
fn encode(model: &Model, budget: usize, dropout: Option<&Dropout>) -> Vec<f32> {
    let (sequences, width) = (sequences(model), model.dimensions());
    let texts = views(&sequences);
    let mut vectors = vec![0.0; texts.len() * width];
    for chunk in Model::chunks(&texts, budget) {
        let encoded = model.forward(&texts, &chunk, dropout, false);
        for (row, at) in encoded.vectors.chunks_exact(width).zip(chunk) {
            vectors[at * width..][..width].copy_from_slice(row);
        }
    }
    vectors
}

/// The gradients of `sum of slopes * vectors`.
fn gradients(model: &Model, budget: usize, slopes: &[f32], dropout: Option<&Dropout>) -> Gradients {
    let (sequences, width) = (sequences(model), model.dimensions());
    let texts = views(&sequences);
    let mut gradients = Gradients::zeros(&model.parameters);
    for chunk in Model::chunks(&texts, budget) {
        let encoded = model.forward(&texts, &chunk, dropout, true);
        let slope = chunk.iter().flat_map(|&at| &slopes[at * width..][..width]).copied().collect();
        model.backward(&mut gradients, &texts, &chunk, encoded, slope, dropout);
    }
    gradients
}

fn slopes(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect()
}

fn close(left: &[f32], right: &[f32], tolerance: f32) {
    assert_eq!(left.len(), right.len());
    for (at, (a, b)) in left.iter().zip(right).enumerate() {
        assert!((a - b).abs() <= tolerance, "element {at}: {a} {b}");
    }
}

#[test]
fn the_vectors_are_the_scorer_s() {
    for model in [tiny(), scorer::embedded().unwrap()] {
        let scorer = load_encoder(&model, &EncoderOptions::default()).unwrap();
        let expected = scorer.encode(&TEXTS, Role::Document).unwrap();
        let ours = Model::from_bundle(model, &ModelOptions::default()).unwrap();
        close(&encode(&ours, 1 << 20, None), &expected.values, 2e-6);
        close(&encode(&ours, 8, None), &expected.values, 2e-6);
    }
}

#[test]
fn every_parameter_has_a_gradient_and_it_is_that_of_differences() {
    for pooling in
        [Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::WeightedMean, Pooling::MeanSqrtLength]
    {
        let mut model = open(ModelOptions { pooling: Some(pooling), ..Default::default() });
        let slopes = slopes(TEXTS.len() * model.dimensions());
        let found = gradients(&model, 40, &slopes, None);
        let value = |model: &Model| -> f64 {
            encode(model, 40, None).iter().zip(&slopes).map(|(&e, &s)| f64::from(e) * f64::from(s)).sum()
        };
        for handle in model.parameters.trainable() {
            let gradient = found.get(handle).to_vec();
            let name = model.parameters.specification(handle).name.clone();
            let largest =
                (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
            // A constant added to every key moves no softmax: that bias alone has no gradient beside rounding.
            assert!(gradient[largest].abs() > 1e-4, "{pooling:?} {name}: no gradient");
            let step = 2e-3;
            let old = model.parameters.values(handle)[largest];
            let mut at = |offset: f32| {
                model.parameters.values_mut(handle)[largest] = old + offset;
                value(&model)
            };
            let difference = (at(step) - at(-step)) / (2.0 * f64::from(step));
            at(0.0);
            let error = (difference - f64::from(gradient[largest])).abs();
            assert!(
                error < 0.02 * difference.abs() + 2e-3,
                "{pooling:?} {name}: {} {difference}",
                gradient[largest]
            );
        }
    }
}

#[test]
fn gradients_do_not_depend_on_chunks_beyond_rounding() {
    let model = open(ModelOptions::default());
    let slopes = slopes(TEXTS.len() * model.dimensions());
    let dropout = Dropout::new(0.2, 5, 1);
    for dropout in [None, dropout.as_ref()] {
        let (one, many) =
            (gradients(&model, 1 << 20, &slopes, dropout), gradients(&model, 8, &slopes, dropout));
        for handle in model.parameters.trainable() {
            let scale = one.get(handle).iter().fold(1e-3f32, |most, g| most.max(g.abs()));
            close(one.get(handle), many.get(handle), 1e-4 * scale);
        }
    }
}

#[test]
fn dropout_has_the_gradient_of_what_it_computes() {
    let mut model = open(ModelOptions::default());
    let slopes = slopes(TEXTS.len() * model.dimensions());
    let dropout = Dropout::new(0.3, 9, 4);
    let found = gradients(&model, 40, &slopes, dropout.as_ref());
    for name in ["embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query_key_value.weight"]
    {
        let handle = model.parameters.find(name).unwrap();
        let gradient = found.get(handle).to_vec();
        let largest =
            (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
        let old = model.parameters.values(handle)[largest];
        let mut at = |offset: f32| {
            model.parameters.values_mut(handle)[largest] = old + offset;
            let vectors = encode(&model, 40, dropout.as_ref());
            vectors.iter().zip(&slopes).map(|(&e, &s)| f64::from(e) * f64::from(s)).sum::<f64>()
        };
        let difference = (at(1e-3) - at(-1e-3)) / 2e-3;
        let error = (difference - f64::from(gradient[largest])).abs();
        assert!(error < 0.02 * difference.abs(), "{name}: {} {difference}", gradient[largest]);
    }
}

fn options(steps: u64) -> TrainingOptions {
    TrainingOptions {
        schedule: Schedule { peak: 2e-5, warmup_steps: 2, steps, decay: Decay::Linear },
        adamw: AdamWOptions::default(),
        loss_learning_rate: 1e-2,
        clip_norm: Some(1.0),
        dropout: 0.0,
        seed: 3,
        chunk_tokens: 4096,
        tape_tokens: 1 << 20,
        guards: GuardOptions::default(),
    }
}

/// InfoNCE over all documents of the batch, document i the positive of query i; the temperature is learned in its
/// logarithm where there is a parameter for it.
fn infonce(vectors: Vectors<'_>, _: &()) -> Result<Slopes, String> {
    let Vectors { queries, documents, width, parameters } = vectors;
    let temperature = parameters.first().map_or(0.05, |log| log.exp());
    let (rows, columns) = (queries.len() / width, documents.len() / width);
    let mut slopes = Slopes {
        value: 0.0,
        queries: vec![0.0; queries.len()],
        documents: vec![0.0; documents.len()],
        parameters: vec![0.0; parameters.len()],
    };
    for (i, query) in queries.chunks_exact(width).enumerate() {
        let score = |document: &[f32]| {
            query.iter().zip(document).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
        };
        let scores: Vec<f64> = documents.chunks_exact(width).map(|d| score(d) / temperature).collect();
        let most = scores.iter().fold(f64::MIN, |most, &s| most.max(s));
        let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
        slopes.value += (most + sum.ln() - scores[i]) / rows as f64;
        for j in 0..columns {
            let share = (scores[j] - most).exp() / sum - f64::from(u8::from(i == j));
            let slope = (share / temperature / rows as f64) as f32;
            if let Some(parameter) = slopes.parameters.first_mut() {
                *parameter -= share * scores[j] / rows as f64;
            }
            for k in 0..width {
                slopes.queries[i * width + k] += slope * documents[j * width + k];
                slopes.documents[j * width + k] += slope * query[k];
            }
        }
    }
    Ok(slopes)
}

fn batch(model: &Model) -> TokenBatch<()> {
    let all = sequences(model);
    TokenBatch { queries: all[..3].to_vec(), documents: all[1..].to_vec(), targets: () }
}

fn trained(model: Model, options: TrainingOptions, loss_parameters: Vec<f64>) -> Trainer {
    let mut trainer = Trainer::new(model, loss_parameters, options).unwrap();
    let batch = batch(&trainer.model);
    trainer.train::<_, trainer::TrainerError>(|_| Ok(vec![batch.clone()]), infonce, |_, _| Ok(())).unwrap();
    trainer
}

fn weights(trainer: &Trainer) -> Vec<Vec<f32>> {
    trainer
        .model
        .parameters
        .handles()
        .map(|handle| trainer.model.parameters.values(handle).to_vec())
        .collect()
}

#[test]
fn every_trainable_parameter_moves_and_no_other() {
    let lora = |target: &str| Adaptation { rank: 2, alpha: 4.0, targets: vec![target.to_owned()] };
    let all = ModelOptions::default();
    let cases = [
        (all.clone(), 0),
        (ModelOptions { freeze_embeddings: true, ..all.clone() }, 5),
        (ModelOptions { freeze_layers: 1, ..all.clone() }, 5 + 12),
        (ModelOptions { lora: Some(lora("query")), ..all.clone() }, 5 + 24),
        (ModelOptions { lora: Some(lora("output")), ..all.clone() }, 5 + 24),
        (ModelOptions { lora: Some(lora("attention.output")), ..all.clone() }, 5 + 24),
        (ModelOptions { lora: Some(lora("intermediate")), ..all }, 5 + 24),
    ];
    for (settings, frozen) in cases {
        let before = open(settings.clone());
        let handles: Vec<_> = before.parameters.handles().collect();
        let still =
            handles.iter().filter(|handle| !before.parameters.specification(**handle).trainable).count();
        assert_eq!(still, frozen, "{settings:?}");
        let after = trained(open(settings.clone()), TrainingOptions { dropout: 0.1, ..options(4) }, vec![]);
        for handle in handles {
            let specification = before.parameters.specification(handle);
            let moved = before.parameters.values(handle) != after.model.parameters.values(handle);
            assert_eq!(moved, specification.trainable, "{} under {settings:?}", specification.name);
        }
    }
}

#[test]
fn weights_out_of_range_are_named_with_their_step_and_never_kept() {
    let adamw = AdamWOptions { weight_decay: 1e38, ..AdamWOptions::default() };
    let mut hot = TrainingOptions { adamw, ..options(3) };
    (hot.schedule.peak, hot.schedule.warmup_steps) = (1e6, 0);
    let mut trainer = Trainer::new(open(ModelOptions::default()), vec![], hot.clone()).unwrap();
    let batch = batch(&trainer.model);
    let mut loss = infonce;
    trainer.step(std::slice::from_ref(&batch), &mut loss).unwrap();
    let kept = checkpoint::to_bytes(&mut trainer, ORIGIN).map(|bytes| bytes.len()).unwrap_err().to_string();
    assert!(kept.starts_with("step 1: ") && kept.contains("weight decay"), "{kept}");
    let further = trainer.step(std::slice::from_ref(&batch), &mut loss).unwrap_err().to_string();
    assert!(further.starts_with("step 1: what the encoder makes of a text is "), "{further}");

    hot.schedule.steps = 1;
    let mut trainer = Trainer::new(open(ModelOptions::default()), vec![], hot).unwrap();
    let end = trainer
        .train::<_, trainer::TrainerError>(|_| Ok(vec![batch.clone()]), infonce, |_, _| Ok(()))
        .unwrap_err();
    assert_eq!(end.to_string(), kept);
}

#[test]
fn adapters_worked_into_the_weights_give_the_same_vectors() {
    let targets = trainer::encoder::bert::ADAPTABLE.map(str::to_owned).to_vec();
    let settings =
        ModelOptions { lora: Some(Adaptation { rank: 3, alpha: 6.0, targets }), ..Default::default() };
    let mut slow = options(6);
    slow.schedule.peak = 1e-2;
    let trained = trained(open(settings), slow, vec![]);
    let ours = encode(&trained.model, 64, None);
    assert!(
        ours.iter().zip(encode(&open(ModelOptions::default()), 64, None)).any(|(a, b)| (a - b).abs() > 1e-3)
    );
    let saved = trained.model.to_bundle("# a card").unwrap();
    let loaded = load_encoder(&saved, &EncoderOptions::default()).unwrap();
    close(&ours, &loaded.encode(&TEXTS, Role::Document).unwrap().values, 3e-6);
}

#[test]
fn tapes_kept_or_made_again_give_the_same_bits() {
    let run = |tape_tokens| {
        let options = TrainingOptions { tape_tokens, dropout: 0.1, chunk_tokens: 16, ..options(3) };
        weights(&trained(open(ModelOptions::default()), options, vec![]))
    };
    assert!(run(1 << 20) == run(0), "encoded once, encoded twice");
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| weights(&trained(open(ModelOptions::default()), options(3), vec![])))
    };
    assert!(run(1) == run(3), "one thread and three");
}

#[test]
fn a_resumed_run_ends_on_the_same_bits() {
    let options = TrainingOptions { dropout: 0.1, ..options(6) };
    let start =
        || Trainer::new(open(ModelOptions::default()), vec![(0.05f64).ln()], options.clone()).unwrap();
    let whole = trained(open(ModelOptions::default()), options.clone(), vec![(0.05f64).ln()]);
    let mut first = start();
    let batch = batch(&first.model);
    let mut loss = infonce;
    for _ in 0..3 {
        first.step(std::slice::from_ref(&batch), &mut loss).unwrap();
    }
    let bytes = checkpoint::to_bytes(&mut first, ORIGIN).unwrap();
    let mut second = start();
    checkpoint::restore(&mut second, ORIGIN, &bytes).unwrap();
    assert_eq!(second.steps_taken(), 3);
    for _ in 0..3 {
        second.step(std::slice::from_ref(&batch), &mut loss).unwrap();
    }
    assert!(weights(&whole) == weights(&second), "the weights differ");
    assert_eq!(whole.loss_parameters, second.loss_parameters);
    assert_ne!(whole.loss_parameters, [(0.05f64).ln()], "the learned temperature has not moved");
}

#[test]
fn a_checkpoint_that_is_not_this_run_s_is_refused() {
    let trainer = || Trainer::new(open(ModelOptions::default()), vec![], options(6)).unwrap();
    let bytes = checkpoint::to_bytes(&mut trainer(), ORIGIN).unwrap();
    let refused = |bytes: &[u8], origin: Origin<'_>| {
        checkpoint::restore(&mut trainer(), origin, bytes).unwrap_err().to_string()
    };
    assert!(refused(&bytes, Origin { recipe: "other", ..ORIGIN }).contains("another recipe"));
    assert!(refused(&bytes, Origin { data: "other", ..ORIGIN }).contains("other data"));
    assert!(refused(&bytes[..bytes.len() - 1], ORIGIN).contains("digest"));
    assert!(refused(&bytes[..20], ORIGIN).contains("no checkpoint"));
    assert!(refused(b"", ORIGIN).contains("no checkpoint"));
    for at in [0, 9, 13, 30, bytes.len() / 2, bytes.len() - 1] {
        let mut altered = bytes.clone();
        altered[at] ^= 4;
        assert!(checkpoint::restore(&mut trainer(), ORIGIN, &altered).is_err(), "byte {at}");
    }
    let frozen = ModelOptions { freeze_layers: 1, ..Default::default() };
    let mut other = Trainer::new(open(frozen), vec![], options(6)).unwrap();
    assert!(checkpoint::restore(&mut other, ORIGIN, &bytes).unwrap_err().to_string().contains("tensors"));
}

#[derive(Deserialize)]
struct Reference {
    batches: Vec<ReferenceBatch>,
    losses: Vec<f64>,
    norms: Vec<f64>,
    gradients: BTreeMap<String, ReferenceGradient>,
}

#[derive(Deserialize)]
struct ReferenceBatch {
    queries: Vec<Vec<u32>>,
    documents: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct ReferenceGradient {
    norm: f64,
    at: Vec<usize>,
    values: Vec<f64>,
}

/// Our gradients of step one under PyTorch's names: the stacked query, key and value taken apart.
fn named(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    let mut named = BTreeMap::new();
    for handle in trainer.model.parameters.trainable() {
        let name = &trainer.model.parameters.specification(handle).name;
        let gradient = trainer.gradients().get(handle);
        if let Some((front, back)) = name.split_once("query_key_value") {
            for (part, values) in
                ["query", "key", "value"].iter().zip(gradient.chunks_exact(gradient.len() / 3))
            {
                named.insert(format!("{front}{part}{back}"), values.to_vec());
            }
        } else {
            named.insert(name.clone(), gradient.to_vec());
        }
    }
    named
}

fn against_pytorch(bundle: Bundle, fixture: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let reference: Reference = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let model = Model::from_bundle(bundle, &ModelOptions::default()).unwrap();
    let mut trainer = Trainer::new(model, vec![], options(10)).unwrap();
    let mut loss = infonce;
    let mut worst = (0.0f64, String::new());
    for (step, batch) in reference.batches.into_iter().enumerate() {
        let batch = TokenBatch { queries: batch.queries, documents: batch.documents, targets: () };
        let report = trainer.step(&[batch], &mut loss).unwrap();
        let (loss, norm) = (reference.losses[step], reference.norms[step]);
        assert!((report.loss - loss).abs() < 1e-4, "step {step}: loss {} against {loss}", report.loss);
        assert!(
            (report.gradient_norm - norm).abs() < 1e-3 * norm,
            "step {step}: {} {norm}",
            report.gradient_norm
        );
        if step > 0 {
            continue;
        }
        let ours = named(&trainer);
        assert_eq!(ours.keys().collect::<Vec<_>>(), reference.gradients.keys().collect::<Vec<_>>());
        for (name, expected) in &reference.gradients {
            let gradient = &ours[name];
            // Attention's key bias has no gradient but rounding: a constant on every key moves no softmax.
            if name.ends_with("key.bias") {
                assert!(gradient.iter().all(|value| value.abs() < 1e-5), "{name}");
                continue;
            }
            let length = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            assert!(
                (length - expected.norm).abs() < 1e-3 * expected.norm,
                "{name}: {length} {}",
                expected.norm
            );
            let entries = || expected.at.iter().map(|&at| f64::from(gradient[at])).zip(&expected.values);
            let error = entries().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            let size = entries().map(|(_, b)| b.powi(2)).sum::<f64>().sqrt();
            assert!(error < 1e-3 * size, "{name}: relative error {}", error / size);
            if error / size > worst.0 {
                worst = (error / size, name.clone());
            }
        }
    }
    println!("{fixture}: worst gradient {:.1e} relative, in {}", worst.0, worst.1);
}

#[test]
fn ten_steps_of_a_tiny_bert_as_pytorch_takes_them() {
    against_pytorch(tiny(), "tiny_ten_steps.json");
}

#[test]
fn ten_steps_of_minilm_as_pytorch_takes_them() {
    let Some(folder) = std::env::var_os("GRADED_MINILM").map(PathBuf::from) else {
        println!("skipped: GRADED_MINILM does not name a folder with all-MiniLM-L6-v2");
        return;
    };
    against_pytorch(bundle(&folder), "minilm_ten_steps.json");
}
