//! Times exact top-k on vectors from files, one measurement per line of input, so that a script can take turns
//! between this and its peers: see `benchmarks/peers/faiss_top_k.py`.
//!
//! Arguments: queries file, documents file (raw little-endian f32), columns, k, threads, output file.
//! Each input line names a measurement: `f32`, `codes` (the 8-bit copy), `heads` (the copy with heads), `f32-1`, `codes-1`
//! (one query at a time), `copy`, `prepare` (making the copy; making the copy and its heads), `columns` (of a head, 0 where
//! there is none), `peak` (fused multiply-adds per second on one thread, in FLOP/s). Each answer is a number: seconds
//! unless it says otherwise, for the `-1` kinds per query. After `f32`, `codes` and `heads` the output file holds Q x k
//! ids, then Q x k scores.

// A program, not the library: it reads files and clocks.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

use kernels::Matrix;
use kernels::device::Device;
use kernels::similarity::Metric;
use kernels::top_k::{Documents, TopK, search};

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [queries, documents, columns, k, threads, output] = arguments.as_slice() else {
        return Err("expected: queries documents columns k threads output".into());
    };
    let (columns, k, threads) = (columns.parse()?, k.parse()?, threads.parse()?);
    let (queries, values) = (read(queries)?, read(documents)?);
    let queries = Matrix::new("queries", &queries, queries.len() / columns, columns)?;
    let started = Instant::now();
    let plain = Documents::new(Matrix::new("documents", &values, values.len() / columns, columns)?)?;
    let checked = started.elapsed();
    let coded = plain.clone().with_codes();
    eprintln!("checked in {checked:.2?}, copied in {:.2?}", started.elapsed() - checked);
    let mut headed: Option<Documents<'_>> = None;
    let run = |queries: Matrix<'_, f32>, documents: &Documents<'_>| {
        search(queries, documents, k, Metric::Dot, Device::Simd, threads)
    };
    for line in std::io::stdin().lock().lines() {
        let started = Instant::now();
        let figure = match line?.as_str() {
            "peak" => peak(),
            "f32" => timed(started, &run(queries, &plain)?, output)?,
            "codes" => timed(started, &run(queries, &coded)?, output)?,
            "heads" => {
                let headed = headed.as_ref().ok_or("heads are searched after `prepare`")?;
                let started = Instant::now();
                timed(started, &run(queries, headed)?, output)?
            }
            "copy" => {
                black_box(plain.clone().with_codes());
                started.elapsed().as_secs_f64()
            }
            "prepare" => {
                let documents = plain.clone().with_rotated_codes();
                headed = Some(documents);
                started.elapsed().as_secs_f64()
            }
            "columns" => headed.as_ref().and_then(Documents::rotated_columns).unwrap_or(0) as f64,
            single @ ("f32-1" | "codes-1") => {
                let documents = if single == "f32-1" { &plain } else { &coded };
                let queries = queries.rows_in(0..queries.rows().min(20));
                for query in 0..queries.rows() {
                    black_box(run(queries.rows_in(query..query + 1), documents)?);
                }
                started.elapsed().as_secs_f64() / queries.rows() as f64
            }
            other => return Err(format!("unknown measurement {other:?}").into()),
        };
        println!("{figure}");
    }
    Ok(())
}

/// The seconds since `started`; what was found goes to a file.
fn timed(started: Instant, found: &TopK, output: &str) -> Result<f64, AnyError> {
    let seconds = started.elapsed().as_secs_f64();
    let mut file = std::io::BufWriter::new(std::fs::File::create(output)?);
    for id in &found.ids {
        file.write_all(&id.to_le_bytes())?;
    }
    for score in &found.scores {
        file.write_all(&score.to_le_bytes())?;
    }
    file.flush()?;
    Ok(seconds)
}

fn read(path: &str) -> Result<Vec<f32>, AnyError> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let (values, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("{path}: {} bytes are no whole number of f32", bytes.len()).into());
    }
    Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

/// Fused multiply-adds on registers alone, twice per operation, on one thread.
#[cfg(target_arch = "x86_64")]
fn peak() -> f64 {
    use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    const CHAINS: usize = 12;
    const ROUNDS: usize = 8_000_000;

    #[target_feature(enable = "avx512f")]
    fn multiply(factor: __m512) -> f32 {
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
    let started = Instant::now();
    // SAFETY: AVX-512 F was just found.
    black_box(unsafe { multiply(black_box(_mm512_set1_ps(0.5))) });
    (ROUNDS * CHAINS * 16 * 2) as f64 / started.elapsed().as_secs_f64()
}

/// No peak is measured on other processors.
#[cfg(not(target_arch = "x86_64"))]
fn peak() -> f64 {
    f64::NAN
}
