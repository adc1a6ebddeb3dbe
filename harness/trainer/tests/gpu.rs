//! The encoder on a GPU, or on its simulator (`kernels/cuda_check`), against the processor. Without either each test prints
//! a line and passes.

#![cfg(feature = "cuda")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::Path;

use kernels::{Device, Matrix};
use scorer::pooling::Pooling;
use scorer::{Bundle, Role};
use serde_json::json;
use trainer::checkpoint::{self, Origin};
use trainer::encoder::bert::Adaptation;
use trainer::guards::GuardOptions;
use trainer::losses::{Embeddings, Listed, Loss, Targets};
use trainer::optimizer::AdamWOptions;
use trainer::schedule::{Decay, Schedule};
use trainer::{Model, ModelOptions, Precision, Slopes, TokenBatch, Trainer, TrainingOptions, Vectors};

/// What the runs of these tests are said to learn by and from.
const ORIGIN: Origin<'_> = Origin { recipe: "recipe", data: "data" };

fn has_gpu() -> bool {
    let found = trainer::require_gpu();
    if let Err(error) = &found {
        println!("skipped: {error}");
    }
    found.is_ok()
}

fn tiny() -> Bundle {
    // Built elsewhere and carried, this program finds the fixture from the repository's root.
    let fixture = "scorer/tests/fixtures/tiny_bert";
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(fixture);
    let folder = if here.exists() { here } else { Path::new("harness").join(fixture) };
    let read = |name: &&str| Some(((*name).to_owned(), std::fs::read(folder.join(name)).ok()?));
    Bundle::from_files(scorer::bundle::FILES.iter().filter_map(read).collect()).unwrap()
}

const TEXTS: [&str; 7] = [
    "the cat",
    "how to repair a bicycle chain at home without tools",
    "river bank loan",
    "a quick dinner recipe for tired parents",
    "",
    "mountain weather storm warning and a slow motion dance",
    "the bank of the river by the mountain in a storm with a bicycle and a cat and a dance of the weather",
];

fn options(steps: u64) -> TrainingOptions {
    TrainingOptions {
        schedule: Schedule { peak: 1e-3, warmup_steps: 0, steps, decay: Decay::Constant },
        // With the usual epsilon AdamW would take whole steps along gradients that are nothing but rounding.
        adamw: AdamWOptions { epsilon: 1e-3, ..Default::default() },
        loss_learning_rate: 1e-2,
        clip_norm: Some(1.0),
        dropout: 0.1,
        seed: 3,
        chunk_tokens: 30,
        tape_tokens: 1 << 20,
        guards: GuardOptions::default(),
    }
}

/// Three queries and four documents, of which the first three answer.
fn batch(model: &Model) -> TokenBatch<Targets> {
    let ids = |texts: &[&str]| texts.iter().map(|text| model.ids(text, Role::Document).unwrap()).collect();
    let listed = (0..3).map(|query| vec![Listed::own(query, 1)]).collect();
    TokenBatch {
        queries: ids(&TEXTS[..3]),
        documents: ids(&TEXTS[3..]),
        targets: Targets::new(4, listed).unwrap(),
    }
}

fn infonce(vectors: Vectors<'_>, targets: &Targets) -> Result<Slopes, String> {
    slopes("infonce", Device::auto(), vectors, targets)
}

fn slopes(name: &str, device: Device, vectors: Vectors<'_>, targets: &Targets) -> Result<Slopes, String> {
    let loss: Loss = serde_json::from_value(json!({"name": name, "temperature": 0.2})).unwrap();
    let (q, d, width) = (vectors.queries, vectors.documents, vectors.width);
    let embeddings = Embeddings {
        queries: Matrix::new("queries", q, q.len() / width, width).unwrap(),
        documents: Matrix::new("documents", d, d.len() / width, width).unwrap(),
    };
    let found = loss
        .gradients_on(device, embeddings, targets, &loss.starting_parameters())
        .map_err(|error| error.to_string())?;
    let parameters = vec![0.0; vectors.parameters.len()];
    Ok(Slopes { value: found.value, queries: found.queries, documents: found.documents, parameters })
}

/// A trainer of the tiny model; on the GPU where a precision is given.
fn start(model: &ModelOptions, options: TrainingOptions, gpu: Option<Precision>) -> Trainer {
    let mut trainer = Trainer::new(Model::from_bundle(tiny(), model).unwrap(), vec![], options).unwrap();
    if let Some(precision) = gpu {
        trainer.move_to_gpu(precision).unwrap();
        assert_eq!(trainer.on_gpu(), Some(precision));
    }
    trainer
}

/// Takes steps on one batch; the losses.
fn steps(trainer: &mut Trainer, count: usize) -> Vec<f64> {
    let batch = batch(&trainer.model);
    let losses =
        (0..count).map(|_| trainer.step(std::slice::from_ref(&batch), &mut infonce).unwrap().loss).collect();
    trainer.fetch().unwrap();
    losses
}

fn values(trainer: &Trainer) -> Vec<Vec<f32>> {
    let parameters = &trainer.model.parameters;
    parameters.handles().map(|handle| parameters.values(handle).to_vec()).collect()
}

/// |a - b| / |b|.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let off = square(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    (off / square(&mut b.iter().map(|b| f64::from(*b))).max(1e-30)).sqrt()
}

/// The largest distance of a gradient, over all trained tensors.
#[track_caller]
fn gradients_agree(found: &Trainer, expected: &Trainer, allowed: f64) {
    for handle in expected.model.parameters.trainable() {
        let (a, b) = (found.gradients().get(handle), expected.gradients().get(handle));
        let off = distance(a, b);
        let name = &expected.model.parameters.specification(handle).name;
        assert!(off <= allowed, "{name}: off by {off:.2e}, allowed {allowed:.0e}");
        assert!(a.iter().any(|value| *value != 0.0), "{name}: no gradient");
    }
}

/// Losses of three steps, every gradient of the first, and the weights after the third, with and without dropout.
#[test]
fn three_steps_are_the_processor_s() {
    if !has_gpu() {
        return;
    }
    for (pooling, dropout) in
        [(Pooling::Mean, 0.0), (Pooling::Mean, 0.2), (Pooling::Cls, 0.1), (Pooling::WeightedMean, 0.0)]
    {
        let model = ModelOptions { pooling: Some(pooling), ..Default::default() };
        let options = TrainingOptions { dropout, ..options(3) };
        let mut here = start(&model, options.clone(), None);
        let mut there = start(&model, options, Some(Precision::F32));
        for step in 1..=3 {
            let (a, b) = (steps(&mut there, 1)[0], steps(&mut here, 1)[0]);
            assert!((a / b - 1.0).abs() < 1e-4, "{pooling:?}, step {step}: {a} {b}");
            if step == 1 {
                gradients_agree(&there, &here, 1e-3);
            }
        }
        for (a, b) in values(&there).iter().zip(values(&here)) {
            assert!(distance(a, &b) < 1e-4, "{pooling:?}: {}", distance(a, &b));
        }
    }
}

/// Activations have 8 bits: each gradient within a tenth, the loss within a hundredth.
#[test]
fn bf16_is_near() {
    if !has_gpu() {
        return;
    }
    let mut here = start(&ModelOptions::default(), options(3), None);
    let mut there = start(&ModelOptions::default(), options(3), Some(Precision::Bf16));
    let (a, b) = (steps(&mut there, 1)[0], steps(&mut here, 1)[0]);
    assert!((a / b - 1.0).abs() < 0.01, "{a} {b}");
    gradients_agree(&there, &here, 0.1);
    let (a, b) = (steps(&mut there, 2), steps(&mut here, 2));
    assert!(a.iter().zip(&b).all(|(a, b)| (a / b - 1.0).abs() < 0.02), "{a:?} {b:?}");
}

/// What a recipe in bf16 does: the losses that have a kernel are on the GPU as well.
#[test]
fn the_loss_on_the_gpu_is_near_the_processor_s() {
    if !has_gpu() {
        return;
    }
    for name in ["infonce", "h_infonce"] {
        let step = |device| {
            let mut trainer = start(&ModelOptions::default(), options(1), Some(Precision::Bf16));
            let batch = batch(&trainer.model);
            let mut loss = |vectors: Vectors<'_>, targets: &Targets| slopes(name, device, vectors, targets);
            let loss = trainer.step(std::slice::from_ref(&batch), &mut loss).unwrap().loss;
            trainer.fetch().unwrap();
            (trainer, loss)
        };
        let ((there, a), (here, b)) = (step(Device::Cuda), step(Device::auto()));
        assert!((a / b - 1.0).abs() < 0.01, "{name}: {a} {b}");
        assert!(a != b, "{name}: the same sums to the last bit, so both were computed here");
        gradients_agree(&there, &here, 0.1);
    }
}

/// A tape that is kept or worked out again changes no bit; other chunks change rounding alone.
#[test]
fn chunks_and_tapes() {
    if !has_gpu() {
        return;
    }
    for precision in [Precision::F32, Precision::Bf16] {
        let run = |chunk_tokens, tape_tokens| {
            let options = TrainingOptions { chunk_tokens, tape_tokens, ..options(2) };
            let mut trainer = start(&ModelOptions::default(), options, Some(precision));
            let losses = steps(&mut trainer, 2);
            (losses, values(&trainer))
        };
        let kept = run(30, 1 << 20);
        assert!(kept == run(30, 1), "{precision:?}: encoded twice");
        assert!(kept == run(30, 1 << 20), "{precision:?}: once more");
        let whole = run(1 << 20, 1 << 20);
        let allowed = if precision == Precision::F32 { 1e-5 } else { 2e-2 };
        assert!((whole.0[0] / kept.0[0] - 1.0).abs() < allowed, "{precision:?}: {:?} {:?}", whole.0, kept.0);
    }
}

#[test]
fn what_is_frozen_stays() {
    if !has_gpu() {
        return;
    }
    for model in [
        ModelOptions { freeze_layers: 1, ..Default::default() },
        ModelOptions { freeze_embeddings: true, ..Default::default() },
    ] {
        let mut here = start(&model, options(2), None);
        let before = values(&here);
        let mut there = start(&model, options(2), Some(Precision::F32));
        steps(&mut here, 1);
        steps(&mut there, 1);
        gradients_agree(&there, &here, 1e-3);
        let parameters = &there.model.parameters;
        for (handle, before) in parameters.handles().zip(before) {
            let specification = parameters.specification(handle);
            assert_eq!(
                parameters.values(handle) != before,
                specification.trainable,
                "{}",
                specification.name
            );
        }
    }
}

/// A run that stops and goes on there ends on the same bits; one that goes on here, near them.
#[test]
fn a_run_goes_on_from_a_checkpoint() {
    if !has_gpu() {
        return;
    }
    for precision in [Precision::F32, Precision::Bf16] {
        let mut whole = start(&ModelOptions::default(), options(4), Some(precision));
        steps(&mut whole, 4);
        let mut first = start(&ModelOptions::default(), options(4), Some(precision));
        steps(&mut first, 2);
        let bytes = checkpoint::to_bytes(&mut first, ORIGIN).unwrap();
        let resumed = |gpu| {
            let mut trainer = start(&ModelOptions::default(), options(4), gpu);
            checkpoint::restore(&mut trainer, ORIGIN, &bytes).unwrap();
            assert_eq!(trainer.steps_taken(), 2);
            steps(&mut trainer, 2);
            values(&trainer)
        };
        assert!(values(&whole) == resumed(Some(precision)), "{precision:?}");
        let allowed = if precision == Precision::F32 { 1e-4 } else { 1e-2 };
        for (a, b) in resumed(None).iter().zip(values(&whole)) {
            assert!(distance(a, &b) < allowed, "{precision:?}: {}", distance(a, &b));
        }
    }
}

#[test]
fn what_the_processor_alone_trains_is_refused() {
    if !has_gpu() {
        return;
    }
    let refused = |bundle, model: ModelOptions| {
        let mut trainer =
            Trainer::new(Model::from_bundle(bundle, &model).unwrap(), vec![], options(1)).unwrap();
        let error = trainer.move_to_gpu(Precision::F32).unwrap_err();
        assert!(error.is_input(), "{error}");
        error.to_string()
    };
    let table = refused(scorer::embedded().unwrap(), ModelOptions::default());
    assert_eq!(table, "training a static table on a GPU is not supported");
    let lora = Adaptation { rank: 2, alpha: 4.0, targets: vec!["query".into()] };
    let adapters = refused(tiny(), ModelOptions { lora: Some(lora), ..Default::default() });
    assert_eq!(adapters, "training adapters (scorer.lora) on a GPU is not supported");
}
