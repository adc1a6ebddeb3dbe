//! Scoring of runs that are already in memory: 1,000 queries of 1,000 hits, 200 judged documents each, five measures.
//! Reading the run file is measured with the readers.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use relevance::{
    Evaluation, EvaluationOptions, Evaluator, Hit, Judgments, Ranking, TieOrder, parse_measures,
};

const QUERIES: u64 = 1_000;
const HITS: u64 = 1_000;
const JUDGED: u64 = 200;
const MEASURES: &str = "nDCG@10 AP RR@10 P@10 R@100";

/// The ids and scores of a run, one vector per query; hits come best first or shuffled.
struct Run {
    queries: Vec<(String, Vec<(String, f64)>)>,
}

/// A number that looks random, the same on every machine.
fn scrambled(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

fn document(query: u64, rank: u64) -> String {
    format!("D{:05}-{rank:04}", scrambled(query * HITS * 2 + rank) % 100_000)
}

fn run(shuffled: bool) -> Run {
    let queries = (0..QUERIES).map(|query| {
        let mut hits: Vec<_> =
            (0..HITS).map(|rank| (document(query, rank), 30.0 - rank as f64 / 64.0)).collect();
        if shuffled {
            hits.sort_by_key(|hit| {
                scrambled(hit.0.bytes().fold(query, |sum, byte| sum.wrapping_mul(31) + u64::from(byte)))
            });
        }
        (format!("q{query}"), hits)
    });
    Run { queries: queries.collect() }
}

fn judgments() -> Judgments {
    let mut judgments = Judgments::new();
    for query in 0..QUERIES {
        for at in 0..JUDGED {
            let rank = scrambled(query * JUDGED + at) % (HITS * 3 / 2);
            judgments.insert(&format!("q{query}"), &document(query, rank), (scrambled(at) % 4) as i32);
        }
    }
    judgments
}

fn rankings(run: &Run) -> Vec<Ranking<'_>> {
    run.queries
        .iter()
        .map(|(query, found)| Ranking {
            query,
            hits: found.iter().map(|(document, score)| Hit { document, score: *score }).collect(),
        })
        .collect()
}

fn evaluate(evaluator: &Evaluator<'_>, rankings: &[Ranking<'_>]) -> Evaluation {
    evaluator.evaluate(rankings).expect("the run has no repeated documents among the judged")
}

fn evaluation(criterion: &mut Criterion) {
    let judgments = judgments();
    let measures = parse_measures(MEASURES).expect("five measures");
    let mut group = criterion.benchmark_group("evaluate 1000 x 1000");
    group.throughput(Throughput::Elements(QUERIES * HITS));
    for (order, shuffled) in [("best first", false), ("shuffled", true)] {
        let run = run(shuffled);
        let rankings = rankings(&run);
        for ties in [TieOrder::Trec, TieOrder::Expected] {
            let options = EvaluationOptions { ties, ..EvaluationOptions::default() };
            let evaluator = Evaluator::new(&judgments, &measures, options).expect("five measures");
            group.bench_function(format!("{order}, ties {ties}"), |bencher| {
                bencher.iter(|| evaluate(black_box(&evaluator), black_box(&rankings)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, evaluation);
criterion_main!(benches);
