//! Checks and times the CUDA kernels on a GPU: carried, prebuilt, to a machine with neither cargo nor network by
//! `benchmarks/h200/run`.
//!
//! Arguments: `name` prints the device's name; `check SEED` compares fresh random inputs with the processor's
//! results; `loss B N D` and `search Q N D K` time one shape and print lines of CSV
//! (`what,shape,milliseconds,floor_milliseconds,ratio,state_bytes`). Each way of multiplying that the device has is
//! checked, and takes its turns in the same run. The floor is arithmetic at 790 TFLOP/s, the
//! bf16 matrix rate measured on an H200. Exit code 2 without a GPU.

// A program, not the library: it reads files and clocks.
#![allow(clippy::disallowed_methods)]

use std::process::ExitCode;
use std::time::Instant;

use half::bf16;
use kernels::cuda::{Products, Stopwatch, device_name, products};
use kernels::h_infonce::cuda::Batch;
use kernels::h_infonce::{Options, SparseLabels, loss_and_gradients};
use kernels::similarity::Metric;
use kernels::top_k::cuda::DeviceDocuments;
use kernels::top_k::{Documents, search};
use kernels::{Device, Matrix};
use rayon::prelude::*;

type AnyError = Box<dyn std::error::Error>;

/// Operations a second.
const BF16_RATE: f64 = 790e12;
/// Listed pairs of a query.
const PAIRS: usize = 8;
const REPEATS: usize = 7;

fn main() -> ExitCode {
    if let Err(error) = Device::Cuda.require() {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), AnyError> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["name"] => println!("{}", device_name()?),
        ["check", seed] => check(seed.parse()?)?,
        ["loss", b, n, d] => time_loss(b.parse()?, n.parse()?, d.parse()?)?,
        ["search", q, n, d, k] => time_search(q.parse()?, n.parse()?, d.parse()?, k.parse()?)?,
        _ => return Err("expected: name | check SEED | loss B N D | search Q N D K".into()),
    }
    Ok(())
}

/// Values in -1..1, rows of about unit length, the same for the same seed whatever the number of threads.
fn noise(seed: u64, rows: usize, columns: usize) -> Vec<f32> {
    let mut values = vec![0.0f32; rows * columns];
    let scale = (3.0 / columns as f32).sqrt();
    values.par_chunks_mut(columns).enumerate().for_each(|(row, values)| {
        let mut state = (seed << 32 ^ row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for value in values {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *value = ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale;
        }
    });
    values
}

/// `PAIRS` listed documents a query, spread over all, of labels 1 to 4 and one ignored.
struct Pairs {
    offsets: Vec<usize>,
    documents: Vec<u32>,
    labels: Vec<u8>,
}

impl Pairs {
    fn new(queries: usize, documents: usize) -> Pairs {
        let each = PAIRS.min(documents);
        let row = |query: usize| {
            let mut row: Vec<u32> = (0..each).map(|i| ((query * each + i * 97) % documents) as u32).collect();
            row.sort_unstable();
            row.dedup();
            row
        };
        let mut pairs = Pairs { offsets: vec![0], documents: Vec::new(), labels: Vec::new() };
        for query in 0..queries {
            pairs.documents.extend(row(query));
            pairs.offsets.push(pairs.documents.len());
        }
        pairs.labels = (0..pairs.documents.len()).map(|at| [4, 3, 2, 1, 1, 255, 2, 3][at % 8]).collect();
        pairs
    }

    fn labels(&self, documents: usize) -> kernels::Result<SparseLabels<'_>> {
        let queries = self.offsets.len() - 1;
        SparseLabels::new(queries, documents, &self.offsets, &self.documents, &self.labels, None)
    }
}

/// Embeddings that are bf16 already, so that the processor's f32 sees what the GPU sees.
fn brains(seed: u64, rows: usize, columns: usize) -> Vec<f32> {
    noise(seed, rows, columns).into_iter().map(|value| bf16::from_f32(value).to_f32()).collect()
}

fn check(seed: u64) -> Result<(), AnyError> {
    for (queries, documents, columns) in [(256, 1000, 96), (1000, 3000, 384), (517, 9001, 768)] {
        let (q, d) = (brains(seed, queries, columns), brains(seed + 1, documents, columns));
        let (q, d) = (
            Matrix::new("queries", &q, queries, columns)?,
            Matrix::new("documents", &d, documents, columns)?,
        );
        let pairs = Pairs::new(queries, documents);
        let labels = pairs.labels(documents)?;
        let processor = loss_and_gradients(q, d, labels, Options::default(), Device::auto())?;
        for products in products()? {
            let mut batch = Batch::upload_with(q, d, labels, Options::default(), products)?;
            batch.forward()?;
            batch.backward()?;
            let value = batch.loss()?.iter().sum::<f64>();
            let loss = (value - processor.loss.value).abs() / processor.loss.value;
            let (of_queries, of_documents) = batch.gradients()?;
            let of_queries = distance(&of_queries, &processor.queries);
            let of_documents = distance(&of_documents, &processor.documents);
            let name = products.name();
            println!(
                "loss {queries} x {documents} x {columns} by {name}: loss {loss:.1e}, gradients {of_queries:.1e} {of_documents:.1e}"
            );
            // G is rounded to bf16: relative 2^-9 a term.
            if !(loss < 1e-4 && of_queries < 4e-3 && of_documents < 4e-3) {
                return Err(format!("H-InfoNCE by {name} is wrong").into());
            }
        }
    }
    for (queries, rows, columns, k) in
        [(300, 50_000, 96, 100), (100, 200_000, 384, 1000), (1, 100_000, 768, 10)]
    {
        let (q, d) = (noise(seed + 2, queries, columns), noise(seed + 3, rows, columns));
        let q = Matrix::new("queries", &q, queries, columns)?;
        let documents = Documents::new(Matrix::new("documents", &d, rows, columns)?)?;
        for metric in [Metric::Dot, Metric::Cosine] {
            let processor = search(q, &documents, k, metric, Device::auto(), 0)?;
            let resident = DeviceDocuments::upload(&documents, metric)?;
            for products in products()? {
                let shape = format!("{queries} x {rows} x {columns} k {k} {metric} by {}", products.name());
                if resident.search_with(q, k, products)? != processor {
                    return Err(format!("search {shape}: differs").into());
                }
                println!("search {shape}: same ids and scores");
            }
        }
    }
    Ok(())
}

/// |a - b| / |b|; NaN stays.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let off: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    (off / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

fn time_loss(queries: usize, documents: usize, columns: usize) -> Result<(), AnyError> {
    let (q, d) = (noise(1, queries, columns), noise(2, documents, columns));
    let (q, d) =
        (Matrix::new("queries", &q, queries, columns)?, Matrix::new("documents", &d, documents, columns)?);
    let pairs = Pairs::new(queries, documents);
    let labels = pairs.labels(documents)?;
    let mut ways = Vec::new();
    for products in products()? {
        let mut batch = Batch::upload_with(q, d, labels, Options::default(), products)?;
        loss_round(&mut batch)?;
        ways.push((products, batch, Vec::new()));
    }
    for _ in 0..REPEATS {
        for (_, batch, times) in &mut ways {
            times.push(loss_round(batch)?);
        }
    }
    let product = 2.0 * queries as f64 * documents as f64 * columns as f64 / BF16_RATE * 1e3;
    let shape = format!("{queries}x{documents}x{columns}");
    for (products, batch, mut times) in ways {
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (both, forward) = times[REPEATS / 2];
        let (_, state) = batch.device_bytes();
        report("h_infonce forward", products, &shape, forward, product, state);
        report("h_infonce forward+backward", products, &shape, both, 4.0 * product, state);
    }
    Ok(())
}

/// Milliseconds of forward and backward together, and of the forward pass.
fn loss_round(batch: &mut Batch) -> kernels::Result<(f64, f64)> {
    let whole = Stopwatch::start()?;
    let forward = Stopwatch::start()?;
    batch.forward()?;
    let forward = forward.milliseconds()?;
    batch.backward()?;
    Ok((whole.milliseconds()?, forward))
}

fn time_search(queries: usize, rows: usize, columns: usize, k: usize) -> Result<(), AnyError> {
    let q = brains(3, queries, columns);
    let q = Matrix::new("queries", &q, queries, columns)?;
    let mut values = vec![bf16::ZERO; rows * columns];
    const ROWS: usize = 4096;
    values.par_chunks_mut(ROWS * columns).enumerate().for_each(|(chunk, values)| {
        let made = noise_rows(4, chunk * ROWS, values.len() / columns, columns);
        values.iter_mut().zip(made).for_each(|(value, made)| *value = bf16::from_f32(made));
    });
    let documents = Documents::new(Matrix::new("documents", &values, rows, columns)?)?;
    let resident = DeviceDocuments::upload(&documents, Metric::Dot)?;
    let mut ways: Vec<(Products, Vec<f64>)> =
        products()?.into_iter().map(|products| (products, Vec::new())).collect();
    for _ in 0..=REPEATS {
        for (products, times) in &mut ways {
            let started = Instant::now();
            std::hint::black_box(resident.search_with(q, k, *products)?);
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    let floor = 2.0 * queries as f64 * rows as f64 * columns as f64 / BF16_RATE * 1e3;
    let read = (rows * columns * 2) as f64 / 4.3e12 * 1e3;
    let shape = format!("{queries}x{rows}x{columns} k {k}");
    for (products, mut times) in ways {
        // The first compiles the kernels.
        let mut times = times.split_off(1);
        times.sort_by(f64::total_cmp);
        let what = "top_k with queries and results over the bus";
        report(what, products, &shape, times[REPEATS / 2], floor.max(read), resident.device_bytes());
    }
    Ok(())
}

fn noise_rows(seed: u64, first: usize, rows: usize, columns: usize) -> Vec<f32> {
    noise(seed + first as u64 * 31, rows, columns)
}

fn report(what: &str, products: Products, shape: &str, milliseconds: f64, floor: f64, state: usize) {
    let (by, ratio) = (products.name(), milliseconds / floor);
    println!("{what} by {by},{shape},{milliseconds:.3},{floor:.3},{ratio:.2},{state}");
}
