//! Times matrix products on one thread beside the processor's peak, taken in turns, in processor time (of Linux).
//!
//!     product [ROUNDS]
//!
//! The shapes are those of a training step of MiniLM with chunks of 2048 tokens, and those of one head of its attention
//! over texts of 32 and of 128 tokens. A line each: the shape, GFLOP/s, and the share of the peak as median and extremes.

// A program, not the library: it reads files and clocks.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::hint::black_box;

use kernels::product::{Base, Operand, Target, product};
use kernels::{Device, Matrix};

/// Name, rows, inner dimension, columns, and whether left and right are given transposed.
const SHAPES: [(&str, usize, usize, usize, bool, bool); 16] = [
    ("x W'   query key value", 2048, 384, 1152, false, true),
    ("x W'   attention output", 2048, 384, 384, false, true),
    ("x W'   intermediate", 2048, 384, 1536, false, true),
    ("x W'   output", 2048, 1536, 384, false, true),
    ("dy W   query key value", 2048, 1152, 384, false, false),
    ("dy W   intermediate", 2048, 1536, 384, false, false),
    ("dy W   output", 2048, 384, 1536, false, false),
    ("dy' x  query key value", 1152, 2048, 384, true, false),
    ("dy' x  attention output", 384, 2048, 384, true, false),
    ("dy' x  intermediate", 1536, 2048, 384, true, false),
    ("dy' x  output", 384, 2048, 1536, true, false),
    ("Q K'   128 tokens", 128, 32, 128, false, true),
    ("P V    128 tokens", 128, 128, 32, false, false),
    ("dS' Q  128 tokens", 128, 128, 32, true, false),
    ("Q K'   32 tokens", 32, 32, 32, false, true),
    ("P V    32 tokens", 32, 32, 32, false, false),
];

fn main() {
    let rounds = std::env::args().nth(1).map_or(5, |rounds| rounds.parse::<usize>().unwrap());
    println!("shape,rows,inner,columns,gflops,share_min,share_median,share_max");
    for (name, rows, inner, columns, left_turned, right_turned) in SHAPES {
        let mut measured: Vec<(f64, f64)> = (0..rounds.max(1))
            .map(|_| {
                let rate = rate([rows, inner, columns], left_turned, right_turned);
                (rate / peak(), rate)
            })
            .collect();
        measured.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (middle, last) = (measured[measured.len() / 2], measured[measured.len() - 1]);
        let spread = format!("{:.3},{:.3},{:.3}", measured[0].0, middle.0, last.0);
        println!("{name},{rows},{inner},{columns},{:.1},{spread}", middle.1 / 1e9);
    }
}

/// Operations per second of a product, over about 0.1 s.
fn rate([rows, inner, columns]: [usize; 3], left_turned: bool, right_turned: bool) -> f64 {
    let drawn = |count: usize| (0..count).map(|at| (at * 31 % 23) as f32 / 7.0 - 1.5).collect::<Vec<_>>();
    let (a, b) = (drawn(rows * inner), drawn(inner * columns));
    let operand = |values, rows, columns, turned| {
        let (rows, columns) = if turned { (columns, rows) } else { (rows, columns) };
        let operand = Operand::from(Matrix::new("side", values, rows, columns).unwrap());
        if turned { operand.transposed() } else { operand }
    };
    let (left, right) = (operand(&a, rows, inner, left_turned), operand(&b, inner, columns, right_turned));
    let mut values = vec![0.0; rows * columns];
    let mut run = || {
        let target = Target { values: black_box(&mut values), stride: columns, base: Base::Zero };
        product(left, right, 1.0, target, Device::auto(), 1).unwrap();
    };
    run();
    let operations = 2.0 * (rows * inner * columns) as f64;
    let (times, started) = ((1e10 / operations).ceil() as usize, seconds());
    (0..times).for_each(|_| run());
    operations * times as f64 / (seconds() - started)
}

/// Seconds this thread was on a processor, as Linux counts them: up to the last tick of its clock, or to a yield.
fn seconds() -> f64 {
    std::thread::yield_now();
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    line.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Fused multiply-adds on registers alone, twice per operation.
#[cfg(target_arch = "x86_64")]
fn peak() -> f64 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    const CHAINS: usize = 12;
    const ROUNDS: usize = 4_000_000;

    #[target_feature(enable = "avx512f")]
    fn multiply(factor: f32) -> f32 {
        let factor = _mm512_set1_ps(factor);
        let mut sums = [_mm512_set1_ps(0.0); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    if !is_x86_feature_detected!("avx512f") {
        return f64::NAN;
    }
    let started = seconds();
    // SAFETY: AVX-512 F was just found.
    black_box(unsafe { multiply(black_box(0.5)) });
    (ROUNDS * CHAINS * 16 * 2) as f64 / (seconds() - started)
}

/// No peak is measured on other processors.
#[cfg(not(target_arch = "x86_64"))]
fn peak() -> f64 {
    f64::NAN
}
