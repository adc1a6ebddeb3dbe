//! Times training steps of an encoder on texts of one length, for `benchmarks/peers/torch_training_step.py` and
//! `benchmarks/h200/run`.
//!
//!     training_step MODEL_FOLDER QUERIES DOCUMENTS LENGTH STEPS THREADS [TAPE_TOKENS [CHUNK_TOKENS [bf16|f32]]]
//!
//! The last argument moves the network to the GPU (feature `cuda`), in that precision.
//! InfoNCE over all documents of the batch (document i answers query i) at temperature 0.05, AdamW, no dropout. Prints one
//! JSON line: CPU seconds and wall seconds per step (the first step apart), peak memory, the losses.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::Path;

use kernels::{Device, Matrix};
use scorer::Bundle;
use serde_json::json;
use trainer::guards::GuardOptions;
use trainer::losses::{Embeddings, Listed, Loss, Targets};
use trainer::optimizer::AdamWOptions;
use trainer::schedule::{Decay, Schedule};
use trainer::{Model, ModelOptions, Precision, Slopes, TokenBatch, Trainer, TrainingOptions, Vectors};

/// Processor time of this process and its threads, in seconds; of Linux.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.map(|task| {
        let line = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
        line.split(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0)
    });
    nanoseconds.sum::<f64>() / 1e9
}

fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
}

/// The same ids as the peer: a linear congruential generator, the words of the middle of the vocabulary.
fn drawn(count: usize, length: usize, state: &mut u64) -> Vec<Vec<u32>> {
    let mut next = || {
        *state = (*state * 1_103_515_245 + 12_345) % (1 << 31);
        2000 + (*state >> 8) as u32 % 20_000
    };
    let mut text = || {
        let mut ids: Vec<u32> = (0..length).map(|_| next()).collect();
        (ids[0], ids[length - 1]) = (101, 102);
        ids
    };
    (0..count).map(|_| text()).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().unwrap();
    let (queries, documents, length, steps) = (number(1), number(2), number(3), number(4));
    rayon::ThreadPoolBuilder::new().num_threads(number(5)).build_global().unwrap();
    let folder = Path::new(&arguments[0]);
    let read = |name: &&str| Some(((*name).to_owned(), std::fs::read(folder.join(name)).ok()?));
    let bundle = Bundle::from_files(scorer::bundle::FILES.iter().filter_map(read).collect()).unwrap();
    let model = Model::from_bundle(bundle, &ModelOptions::default()).unwrap();
    let options = TrainingOptions {
        schedule: Schedule { peak: 2e-5, warmup_steps: 0, steps: u64::MAX, decay: Decay::Constant },
        adamw: AdamWOptions::default(),
        loss_learning_rate: 1e-3,
        clip_norm: None,
        dropout: 0.0,
        seed: 1,
        chunk_tokens: arguments.get(7).map_or(2048, |tokens| tokens.parse().unwrap()),
        tape_tokens: arguments.get(6).map_or(1 << 20, |tokens| tokens.parse().unwrap()),
        guards: GuardOptions::default(),
    };
    let loss: Loss = serde_json::from_value(json!({"name": "infonce", "temperature": 0.05})).unwrap();
    let mut trainer = Trainer::new(model, loss.starting_parameters(), options).unwrap();
    // As `graded train` does: in bf16 the loss is the GPU's too.
    let mut device = Device::auto();
    match arguments.get(8).map(String::as_str) {
        None => {}
        Some("bf16") => {
            trainer.move_to_gpu(Precision::Bf16).unwrap();
            device = Device::Cuda;
        }
        Some("f32") => trainer.move_to_gpu(Precision::F32).unwrap(),
        Some(other) => panic!("{other}: expected bf16 or f32"),
    }
    let mut state = 7;
    let listed = (0..queries as u32).map(|query| vec![Listed::own(query, 1)]).collect();
    let targets = Targets::new(documents, listed).unwrap();
    let (queries, documents) = (drawn(queries, length, &mut state), drawn(documents, length, &mut state));
    let batch = TokenBatch { queries, documents, targets };
    let mut objective = |vectors: Vectors<'_>, targets: &Targets| {
        let (q, d, width) = (vectors.queries, vectors.documents, vectors.width);
        let embeddings = Embeddings {
            queries: Matrix::new("queries", q, q.len() / width, width).unwrap(),
            documents: Matrix::new("documents", d, d.len() / width, width).unwrap(),
        };
        let found = loss
            .gradients_on(device, embeddings, targets, vectors.parameters)
            .map_err(|error| error.to_string())?;
        Ok(Slopes {
            value: found.value,
            queries: found.queries,
            documents: found.documents,
            parameters: vec![0.0],
        })
    };
    let mut losses = vec![trainer.step(std::slice::from_ref(&batch), &mut objective).unwrap().loss];
    let (cpu, wall) = (cpu_seconds(), std::time::Instant::now());
    for _ in 0..steps {
        losses.push(trainer.step(std::slice::from_ref(&batch), &mut objective).unwrap().loss);
    }
    let per_step = |seconds: f64| seconds / steps as f64;
    let line = json!({
        "cpu_seconds": per_step(cpu_seconds() - cpu),
        "wall_seconds": per_step(wall.elapsed().as_secs_f64()),
        "peak_megabytes": peak_megabytes(),
        "losses": losses,
    });
    println!("{line}");
}
