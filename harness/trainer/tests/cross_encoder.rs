//! Cross-encoders that can be trained: against the scorer's, against finite differences and against PyTorch (fixture made
//! by `benchmarks/references/trainer/cross_encoder_steps.py`).

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::Matrix;
use kernels::encoder::Sequence;
use relevance::Scale;
use scorer::labeler::{CrossEncoder, HeadKind};
use scorer::tokens::PairIds;
use scorer::{Bundle, EncoderOptions, Labeler, Pair};
use serde::Deserialize;
use trainer::checkpoint::{self, Origin};
use trainer::encoder::dropout::Dropout;
use trainer::encoder::parameters::Gradients;
use trainer::guards::GuardOptions;
use trainer::losses::labeler::{LabelerLoss, LabelerTargets};
use trainer::optimizer::AdamWOptions;
use trainer::schedule::{Decay, Schedule};
use trainer::{GradeHeadOptions, Model, ModelOptions, PairBatch, Slopes, Trainer, TrainingOptions, Vectors};

/// What the runs of these tests are said to learn by and from.
const ORIGIN: Origin<'_> = Origin { recipe: "recipe", data: "data" };

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scorer/tests/fixtures")
}

fn bundle(name: &str) -> Bundle {
    let folder = fixtures().join(name);
    let read = |name: &&str| Some(((*name).to_owned(), std::fs::read(folder.join(name)).ok()?));
    Bundle::from_files(scorer::bundle::FILES.iter().filter_map(read).collect()).unwrap()
}

fn head(kind: HeadKind, rate: f64) -> GradeHeadOptions {
    GradeHeadOptions { kind, scale: Scale::ssra(), shares: vec![0.4, 0.3, 0.2, 0.1], rate }
}

/// The encoder with a fresh head.
fn fresh(kind: HeadKind) -> Model {
    let options = ModelOptions { max_tokens: Some(24), seed: 3, ..Default::default() };
    Model::cross_encoder(bundle("tiny_bert"), &options, &head(kind, 1.0)).unwrap()
}

const PAIRS: [(&str, &str); 5] = [
    ("the cat", "a cat for the dog and the dinner of a cat"),
    ("how to fix a leaking tap", "dinner"),
    ("", "the cat"),
    ("dog", ""),
    (
        "how to repair a bicycle chain at home without tools",
        "how to repair a bicycle chain at home without tools",
    ),
];

fn ids(model: &Model) -> Vec<PairIds> {
    PAIRS.iter().map(|(query, document)| model.pair_ids(query, document).unwrap()).collect()
}

fn outputs(model: &Model, dropout: Option<&Dropout>) -> Vec<f32> {
    let (ids, width) = (ids(model), model.dimensions());
    let texts: Vec<Sequence> = ids.iter().map(PairIds::sequence).collect();
    let mut outputs = vec![0.0; texts.len() * width];
    for chunk in Model::chunks(&texts, 40) {
        let encoded = model.forward(&texts, &chunk, dropout, false);
        for (row, at) in encoded.vectors.chunks_exact(width).zip(chunk) {
            outputs[at * width..][..width].copy_from_slice(row);
        }
    }
    outputs
}

#[test]
fn the_saved_labeler_gives_the_outputs_it_was_trained_with() {
    for kind in [HeadKind::Softmax, HeadKind::Coral, HeadKind::Corn] {
        let model = fresh(kind);
        let saved = model.to_bundle("# A card").unwrap();
        let loaded = CrossEncoder::from_bundle(&saved, &EncoderOptions::default()).unwrap();
        let pairs: Vec<Pair> = PAIRS.iter().map(|&(query, document)| Pair { query, document }).collect();
        let theirs = loaded.outputs(&pairs).unwrap().concat();
        for (ours, theirs) in outputs(&model, None).iter().zip(&theirs) {
            assert!((f64::from(*ours) - theirs).abs() < 1e-5, "{kind:?}: {ours} {theirs}");
        }
        // Before it has learned anything it answers about what the shares say.
        let label = &loaded.label(&pairs[..1]).unwrap()[0];
        assert!((label.score - 1.0).abs() < 0.4, "{kind:?} {label:?}");
        let again = Model::cross_encoder(saved.clone(), &ModelOptions::default(), &head(kind, 1.0)).unwrap();
        assert_eq!(outputs(&again, None), outputs(&model, None), "{kind:?}: a labeler goes on where it was");
        assert!(saved.get("modules.json").is_none() && saved.get("labeler.json").is_some());
    }
}

#[test]
fn every_parameter_has_a_gradient_and_it_is_that_of_differences() {
    for (kind, rate) in [(HeadKind::Softmax, 0.0), (HeadKind::Coral, 0.3), (HeadKind::Corn, 0.0)] {
        let mut model = fresh(kind);
        let dropout = Dropout::new(rate, 9, 4);
        let (pairs, width) = (ids(&model), model.dimensions());
        let texts: Vec<Sequence> = pairs.iter().map(PairIds::sequence).collect();
        let slopes: Vec<f32> =
            (0..texts.len() * width).map(|at| ((at * 37 % 11) as f32 - 5.0) / 5.0).collect();
        let mut found = Gradients::zeros(&model.parameters);
        for chunk in Model::chunks(&texts, 40) {
            let encoded = model.forward(&texts, &chunk, dropout.as_ref(), true);
            let slope = chunk.iter().flat_map(|&at| &slopes[at * width..][..width]).copied().collect();
            model.backward(&mut found, &texts, &chunk, encoded, slope, dropout.as_ref());
        }
        let value = |model: &Model| -> f64 {
            let outputs = outputs(model, dropout.as_ref());
            outputs.iter().zip(&slopes).map(|(&z, &s)| f64::from(z) * f64::from(s)).sum()
        };
        for handle in model.parameters.trainable() {
            let gradient = found.get(handle).to_vec();
            let name = model.parameters.specification(handle).name.clone();
            let largest =
                (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
            assert!(gradient[largest].abs() > 1e-6, "{kind:?} {name}: no gradient");
            let old = model.parameters.values(handle)[largest];
            let mut at = |offset: f32| {
                model.parameters.values_mut(handle)[largest] = old + offset;
                value(&model)
            };
            let difference = (at(2e-3) - at(-2e-3)) / 4e-3;
            at(0.0);
            let error = (difference - f64::from(gradient[largest])).abs();
            assert!(
                error < 0.02 * difference.abs() + 1e-3,
                "{kind:?} {name}: {} {difference}",
                gradient[largest]
            );
        }
    }
}

#[derive(Deserialize)]
struct Reference {
    batches: Vec<Vec<Row>>,
    runs: BTreeMap<String, ReferenceRun>,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    second: usize,
    grade: u8,
    distribution: Vec<f32>,
}

#[derive(Deserialize)]
struct ReferenceRun {
    losses: Vec<f64>,
    norms: Vec<f64>,
    gradients: BTreeMap<String, ReferenceGradient>,
}

#[derive(Deserialize)]
struct ReferenceGradient {
    norm: f64,
    at: Vec<usize>,
    values: Vec<f64>,
}

struct Targets {
    grades: Vec<u8>,
    distributions: Vec<f32>,
}

fn batch(rows: &[Row]) -> PairBatch<Targets> {
    PairBatch {
        pairs: rows.iter().map(|row| PairIds { ids: row.ids.clone(), second: row.second }).collect(),
        targets: Targets {
            grades: rows.iter().map(|row| row.grade).collect(),
            distributions: rows.iter().flat_map(|row| row.distribution.iter().copied()).collect(),
        },
    }
}

fn slopes(loss: &LabelerLoss, vectors: Vectors<'_>, targets: &Targets) -> Result<Slopes, String> {
    let rows = targets.grades.len();
    let logits = Matrix::new("logits", vectors.documents, rows, vectors.width).unwrap();
    let distributions = Some(Matrix::new("distributions", &targets.distributions, rows, 4).unwrap());
    let found = loss.gradients(logits, LabelerTargets { grades: Some(&targets.grades), distributions });
    let found = found.map_err(|error| error.to_string())?;
    Ok(Slopes { value: found.value, queries: Vec::new(), documents: found.logits, parameters: Vec::new() })
}

fn options(steps: u64, dropout: f32) -> TrainingOptions {
    TrainingOptions {
        schedule: Schedule { peak: 2e-3, warmup_steps: 2, steps, decay: Decay::Linear },
        adamw: AdamWOptions::default(),
        loss_learning_rate: 1e-3,
        clip_norm: Some(1.0),
        dropout,
        seed: 3,
        chunk_tokens: 50,
        tape_tokens: 1 << 20,
        guards: GuardOptions::default(),
    }
}

fn loss(name: &str) -> LabelerLoss {
    let settings = if name == "distillation" { ", \"temperature\": 2.0, \"hard_weight\": 0.5" } else { "" };
    serde_json::from_str(&format!("{{\"name\": \"{name}\"{settings}}}")).unwrap()
}

fn kind(name: &str) -> HeadKind {
    match name {
        "coral" => HeadKind::Coral,
        "corn" => HeadKind::Corn,
        _ => HeadKind::Softmax,
    }
}

/// The fixture's cross-encoder; for the ordinal losses with the first three rows of its classifier.
fn base(kind: HeadKind) -> Bundle {
    let bundle = bundle("tiny_cross_encoder");
    if kind == HeadKind::Softmax {
        return bundle;
    }
    let tensors = safetensors::SafeTensors::deserialize(bundle.get("model.safetensors").unwrap()).unwrap();
    let cut = tensors.tensors().into_iter().map(|(name, view)| {
        let mut shape = view.shape().to_vec();
        let mut data = view.data().to_vec();
        if name.starts_with("classifier") {
            shape[0] = 3;
            data.truncate(4 * shape.iter().product::<usize>());
        }
        (name, view.dtype(), shape, data)
    });
    let cut: Vec<_> = cut.collect();
    let views = cut.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let weights = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    let mut files: BTreeMap<String, Vec<u8>> =
        bundle.names().map(|name| (name.to_owned(), bundle.get(name).unwrap().to_vec())).collect();
    files.insert("model.safetensors".into(), weights);
    let labeler = String::from_utf8(files["labeler.json"].clone()).unwrap();
    let named = if kind == HeadKind::Coral { "coral" } else { "corn" };
    files.insert("labeler.json".into(), labeler.replace("softmax", named).into_bytes());
    Bundle::from_files(files).unwrap()
}

/// Our gradients under PyTorch's names: the stacked query, key and value taken apart.
fn named(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    let mut named = BTreeMap::new();
    for handle in trainer.model.parameters.trainable() {
        let name = &trainer.model.parameters.specification(handle).name;
        let gradient = trainer.gradients().get(handle);
        match name.split_once("query_key_value") {
            Some((front, back)) => {
                for (part, values) in
                    ["query", "key", "value"].iter().zip(gradient.chunks(gradient.len() / 3))
                {
                    named.insert(format!("{front}{part}{back}"), values.to_vec());
                }
            }
            None => drop(named.insert(name.clone(), gradient.to_vec())),
        }
    }
    named
}

#[test]
fn five_steps_of_every_loss_as_pytorch_takes_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_cross_encoder_steps.json");
    let reference: Reference = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(reference.runs.len(), 5);
    for (name, run) in &reference.runs {
        let (loss, kind) = (loss(name), kind(name));
        let model = Model::cross_encoder(base(kind), &ModelOptions::default(), &head(kind, 10.0)).unwrap();
        let mut trainer = Trainer::new(model, Vec::new(), options(5, 0.0)).unwrap();
        for (step, rows) in reference.batches.iter().enumerate() {
            let report =
                trainer.step(&[batch(rows)], &mut |v: Vectors<'_>, t: &Targets| slopes(&loss, v, t)).unwrap();
            let (value, norm) = (run.losses[step], run.norms[step]);
            assert!(
                (report.loss - value).abs() < 1e-4 * value.max(1.0),
                "{name} {step}: {} {value}",
                report.loss
            );
            assert!(
                (report.gradient_norm - norm).abs() < 1e-3 * norm,
                "{name} {step}: {} {norm}",
                report.gradient_norm
            );
            if step > 0 {
                continue;
            }
            let ours = named(&trainer);
            assert_eq!(ours.keys().collect::<Vec<_>>(), run.gradients.keys().collect::<Vec<_>>());
            for (tensor, expected) in run.gradients.iter().filter(|(tensor, _)| !tensor.ends_with("key.bias"))
            {
                let length = ours[tensor].iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                assert!(
                    (length - expected.norm).abs() < 1e-3 * expected.norm,
                    "{name} {tensor}: {length} {}",
                    expected.norm
                );
                for (&at, &value) in expected.at.iter().zip(&expected.values) {
                    let error = (f64::from(ours[tensor][at]) - value).abs();
                    assert!(
                        error < 1e-3 * expected.norm,
                        "{name} {tensor}[{at}]: {} {value}",
                        ours[tensor][at]
                    );
                }
            }
        }
    }
}

#[test]
fn a_resumed_run_ends_on_the_same_bits_whatever_the_threads() {
    let rows = |seed: usize| -> Vec<Row> {
        let model = fresh(HeadKind::Corn);
        let row = |(at, pair): (usize, PairIds)| Row {
            ids: pair.ids,
            second: pair.second,
            grade: ((at + seed) % 4) as u8,
            distribution: vec![0.25; 4],
        };
        ids(&model).into_iter().enumerate().map(row).collect()
    };
    let loss = loss("corn");
    let start = || Trainer::new(fresh(HeadKind::Corn), Vec::new(), options(6, 0.1)).unwrap();
    let take = |trainer: &mut Trainer, steps: std::ops::Range<usize>| {
        for step in steps {
            trainer
                .step(&[batch(&rows(step))], &mut |v: Vectors<'_>, t: &Targets| slopes(&loss, v, t))
                .unwrap();
        }
    };
    let weights = |trainer: &Trainer| -> Vec<Vec<f32>> {
        trainer
            .model
            .parameters
            .handles()
            .map(|handle| trainer.model.parameters.values(handle).to_vec())
            .collect()
    };
    let mut whole = start();
    take(&mut whole, 0..6);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let resumed = pool.install(|| {
        let mut first = start();
        take(&mut first, 0..3);
        let bytes = checkpoint::to_bytes(&mut first, ORIGIN).unwrap();
        let mut second = start();
        checkpoint::restore(&mut second, ORIGIN, &bytes).unwrap();
        take(&mut second, 3..6);
        second
    });
    assert!(weights(&whole) == weights(&resumed), "the weights differ");
    assert!(weights(&whole) != weights(&start()), "nothing moved");
}
