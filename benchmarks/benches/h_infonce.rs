//! H-InfoNCE, value and gradients, at B = 4,096 queries, N = 8,192 documents, d = 384, eight listed pairs a
//! query; the processor's own multiply-add rate beside it.
//!
//! `cargo bench -p benchmarks --bench h_infonce` runs it under criterion. With `--peer` in the arguments it
//! answers each line on its standard input with one timed run instead (seconds, loss, peak memory in KiB), so
//! that `peers/torch_h_infonce.py` can interleave it with PyTorch.

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use kernels::h_infonce::{self, Options, SparseLabels};
use kernels::{Device, Matrix};

const QUERIES: usize = 4096;
const DOCUMENTS: usize = 8192;
const WIDTH: usize = 384;
const PAIRS: usize = 8;

/// The batch both sides of the comparison build: values from one formula, no file between them.
struct Batch {
    queries: Vec<f32>,
    documents: Vec<f32>,
    offsets: Vec<usize>,
    listed: Vec<u32>,
    labels: Vec<u8>,
}

impl Batch {
    fn new() -> Self {
        let (mut listed, mut labels) = (Vec::new(), Vec::new());
        for query in 0..QUERIES {
            // Two documents of its own and six elsewhere, ascending; labels 1 to 5.
            let mut row: Vec<u32> =
                (0..PAIRS).map(|pair| ((2 * query + pair * 1021 + pair / 4) % DOCUMENTS) as u32).collect();
            row.sort_unstable();
            labels.extend(row.iter().map(|document| (1 + (*document as usize + query) % 5) as u8));
            listed.extend(row);
        }
        Batch {
            queries: unit_rows(QUERIES, 1),
            documents: unit_rows(DOCUMENTS, 2),
            offsets: (0..=QUERIES).map(|query| query * PAIRS).collect(),
            listed,
            labels,
        }
    }

    fn run(&self) -> h_infonce::EmbeddingGradients {
        let queries = Matrix::new("queries", &self.queries, QUERIES, WIDTH).expect("the shape above");
        let documents = Matrix::new("documents", &self.documents, DOCUMENTS, WIDTH).expect("the shape above");
        let labels = SparseLabels::new(QUERIES, DOCUMENTS, &self.offsets, &self.listed, &self.labels, None)
            .expect("sorted");
        h_infonce::loss_and_gradients(queries, documents, labels, Options::default(), Device::Simd)
            .expect("a processor with vector instructions")
    }
}

/// Rows of unit length from a linear congruential generator, 32 bits.
fn unit_rows(rows: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut values: Vec<f32> = (0..rows * WIDTH)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    for row in values.chunks_mut(WIDTH) {
        let length = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    values
}

/// The machine's own limit: independent fused multiply-adds on every thread, in operations a second.
fn multiply_add_rate() -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rounds = 4_000_000u64;
    let start = Instant::now();
    let lanes: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| multiply_adds(rounds))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
    });
    2.0 * lanes as f64 * rounds as f64 / start.elapsed().as_secs_f64()
}

/// Runs `rounds` of independent multiply-adds; how many values each round worked on.
fn multiply_adds(rounds: u64) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512 F.
            return unsafe { multiply_adds_avx512(rounds) };
        }
        if is_x86_feature_detected!("fma") {
            // SAFETY: the processor has FMA, hence AVX.
            return unsafe { multiply_adds_fma(rounds) };
        }
    }
    let mut sums = [1.0f32; 64];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = *sum * 0.999 + 0.001;
        }
        black_box(&mut sums);
    }
    64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_adds_avx512(rounds: u64) -> usize {
    use std::arch::x86_64::*;
    let (factor, addend) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(0.001)));
    let mut sums = [factor; 16];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, addend);
        }
    }
    black_box(sums);
    16 * 16
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx,fma")]
fn multiply_adds_fma(rounds: u64) -> usize {
    use std::arch::x86_64::*;
    let (factor, addend) = (black_box(_mm256_set1_ps(0.999)), black_box(_mm256_set1_ps(0.001)));
    let mut sums = [factor; 12];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, addend);
        }
    }
    black_box(sums);
    12 * 8
}

/// Peak resident memory of this process in KiB, where the system tells (Linux); else 0.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// One run for each line of standard input.
fn answer(batch: &Batch) {
    let mut output = std::io::stdout();
    let mut say = |line: String| {
        writeln!(output, "{line}").and_then(|()| output.flush()).expect("the peer script is listening");
    };
    say(format!("ready {} {:e}", peak_memory_kib(), multiply_add_rate()));
    for _ in std::io::stdin().lock().lines() {
        let start = Instant::now();
        let result = batch.run();
        let seconds = start.elapsed().as_secs_f64();
        let sums = |values: &[f32]| values.iter().map(|value| f64::from(*value).abs()).sum::<f64>();
        say(format!(
            "{seconds:.6} {:.9} {:.9} {:.9} {}",
            result.loss.value,
            sums(&result.queries),
            sums(&result.documents),
            peak_memory_kib()
        ));
    }
}

fn main() {
    let batch = Batch::new();
    if std::env::args().any(|argument| argument == "--peer") {
        return answer(&batch);
    }
    println!("fused multiply-adds, all threads: {:.0} GFLOP/s", multiply_add_rate() / 1e9);
    let mut criterion =
        Criterion::default().configure_from_args().sample_size(10).measurement_time(Duration::from_secs(8));
    let mut group = criterion.benchmark_group("h_infonce");
    // Operations of the three products, the least a loss with both gradients can do.
    group.throughput(Throughput::Elements(6 * (QUERIES * DOCUMENTS * WIDTH) as u64));
    group.bench_function("value_and_gradients/4096x8192x384", |bencher| {
        bencher.iter(|| black_box(batch.run()))
    });
    group.finish();
    criterion.final_summary();
}
