//! Exact top-k on the processor: a batch of queries and a single one, over the values and over the 8-bit copy.
//! Throughput counts multiply-adds. The peers take turns with the same code in `peers/faiss_top_k.py`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernels::device::Device;
use kernels::matrix::Matrix;
use kernels::similarity::Metric;
use kernels::top_k::{Documents, search};

const COLUMNS: usize = 384;
const DOCUMENTS: usize = 50_000;

/// Sums of four uniform values, close to normal, from a linear congruential generator.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| uniform() + uniform() + uniform() + uniform()).collect()
}

fn top_k(criterion: &mut Criterion) {
    let values = noise(1, DOCUMENTS * COLUMNS);
    let plain = Documents::new(Matrix::new("documents", &values, DOCUMENTS, COLUMNS).unwrap()).unwrap();
    let coded = plain.clone().with_codes();
    let mut group = criterion.benchmark_group("top_k");
    group.sample_size(10);
    for rows in [1, 200] {
        let queries = noise(2, rows * COLUMNS);
        let queries = Matrix::new("queries", &queries, rows, COLUMNS).unwrap();
        group.throughput(Throughput::Elements((rows * DOCUMENTS * COLUMNS) as u64));
        for (scan, documents) in [("f32", &plain), ("codes", &coded)] {
            for metric in [Metric::Dot, Metric::Cosine] {
                let id = BenchmarkId::new(format!("{scan} {metric}"), rows);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| search(black_box(queries), documents, 100, metric, Device::Simd, 0))
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, top_k);
criterion_main!(benches);
