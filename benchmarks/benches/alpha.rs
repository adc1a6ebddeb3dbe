//! Krippendorff's alpha with its 95 % interval: 100,000 pairs, three raters on the grades 0-3 with gaps, 1,000
//! resamples over 1,000 queries, and over every pair on its own.
//!
//! `cargo bench --bench alpha` runs it under criterion. With `--cpu` in the arguments it prints one CSV line a case
//! instead: CPU seconds of the whole process spent on it, all threads together (median, least and most of 7 rounds).

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use relevance::RatingTable;
use relevance::agreement::{Metric, krippendorff_alpha_interval};
use relevance::resampling::{Bootstrap, Estimate};

const PAIRS: u32 = 100_000;
const RATERS: usize = 3;
const QUERIES: u32 = 1_000;
const CASES: [(&str, Metric, u32); 4] = [
    ("ordinal, 1000 queries", Metric::Ordinal, QUERIES),
    ("nominal, 1000 queries", Metric::Nominal, QUERIES),
    ("interval, 1000 queries", Metric::Interval, QUERIES),
    ("ordinal, pairs on their own", Metric::Ordinal, PAIRS),
];

/// A number that looks random, the same on every machine.
fn scrambled(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

/// Raters who mostly see the same grade, err by one, and leave one rating in twenty out.
fn table() -> RatingTable {
    let mut table = RatingTable::new(RATERS);
    for pair in 0..u64::from(PAIRS) {
        let grade = (scrambled(pair) % 4) as i32;
        let ratings = (0..RATERS as u64).map(|rater| {
            let draw = scrambled((pair * 7 + rater + 1) * 1_000_003) % 100;
            let seen = match draw {
                0..5 => return None,
                5..20 => grade + 1,
                20..35 => grade - 1,
                _ => grade,
            };
            Some(seen.clamp(0, 3))
        });
        table.push(&ratings.collect::<Vec<_>>());
    }
    table
}

fn clusters(count: u32) -> Vec<u32> {
    (0..PAIRS).map(|pair| pair % count).collect()
}

fn interval(table: &RatingTable, clusters: &[u32], metric: Metric) -> Estimate {
    krippendorff_alpha_interval(black_box(table), black_box(clusters), metric, &Bootstrap::default())
}

fn alpha(criterion: &mut Criterion) {
    let table = table();
    let mut group = criterion.benchmark_group("alpha, 100000 x 3, 1000 resamples");
    group.sample_size(10);
    for (name, metric, count) in CASES {
        let clusters = clusters(count);
        group.bench_function(name, |bencher| bencher.iter(|| interval(&table, &clusters, metric)));
    }
    group.finish();
}

/// CPU seconds this process has used, from the clock ticks of `/proc/self/stat` (100 a second on Linux).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("--cpu needs Linux");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn print_cpu() {
    const ROUNDS: usize = 7;
    // Ticks are coarse: every round repeats the work.
    const REPEATS: u32 = 10;
    let table = table();
    println!(
        "case,pairs,raters,resamples,rounds,alpha,lower,upper,cpu_seconds_median,cpu_seconds_min,cpu_seconds_max"
    );
    for (name, metric, count) in CASES {
        let clusters = clusters(count);
        let estimate = interval(&table, &clusters, metric);
        let (value, ends) =
            (estimate.value.expect("raters differ"), estimate.interval.expect("raters differ"));
        let mut rounds = [0.0; ROUNDS].map(|_: f64| {
            let started = cpu_seconds();
            for _ in 0..REPEATS {
                black_box(interval(&table, &clusters, metric));
            }
            (cpu_seconds() - started) / f64::from(REPEATS)
        });
        rounds.sort_by(f64::total_cmp);
        let (median, least, most) = (rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1]);
        println!(
            "\"{name}\",{PAIRS},{RATERS},1000,{ROUNDS},{value:.4},{:.4},{:.4},{median:.3},{least:.3},{most:.3}",
            ends.lower, ends.upper
        );
    }
}

criterion_group!(benches, alpha);

fn main() {
    if std::env::args().any(|argument| argument == "--cpu") {
        return print_cpu();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
