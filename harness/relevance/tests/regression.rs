//! How often a gate cries wolf, and how often it sees a wolf: whole decisions over simulated pairs of runs.
//!
//! A run is 50 queries of six measures that hang together; a change moves every query by its own amount.
//! `cargo test -p relevance --test regression -- --nocapture` prints the rates.
#![allow(clippy::unwrap_used)]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use relevance::significance::{
    Alternative, Change, Design, Randomization, Settings, Tolerance, change, compare,
};

const QUERIES: usize = 50;
const MEASURES: usize = 6;
const PAIRS: u64 = 500;

struct Draws(ChaCha8Rng);

impl Draws {
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Twelve uniforms less six: mean 0, variance 1, near enough to normal.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Baseline and candidate, `[measure][query]`: half the queries stay as they are, the others move by `drop` and a wobble
/// of which the measures share a part.
fn pair(seed: u64, drop: f64, wobble: f64) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(20_261_121);
    rng.set_stream(seed);
    let mut draws = Draws(rng);
    let (mut before, mut after) = (vec![vec![0.0; QUERIES]; MEASURES], vec![vec![0.0; QUERIES]; MEASURES]);
    for query in 0..QUERIES {
        let (level, shared) = (0.2 + 0.6 * draws.uniform(), draws.normal());
        let moves = draws.uniform() < 0.5;
        for measure in 0..MEASURES {
            let value = level + 0.1 * draws.normal();
            let own = draws.normal();
            let wobbles = wobble * (0.8 * shared + 0.6 * own);
            before[measure][query] = value;
            after[measure][query] = if moves { value + wobbles } else { value } - drop;
        }
    }
    (before, after)
}

/// Whether any of the measures is found worse, and whether any is unclear.
fn decide(before: &[Vec<f64>], after: &[Vec<f64>]) -> (bool, bool) {
    let settings = Settings {
        randomization: Randomization { alternative: Alternative::Less, ..Randomization::default() },
        ..Settings::default()
    };
    let rows: Vec<(&[f64], &[f64])> =
        before.iter().zip(after).map(|(a, b)| (a.as_slice(), b.as_slice())).collect();
    // A margin of zero: nothing but the test stands between a wobble and an alarm.
    let tolerance = Tolerance { margin: 0.0, level: 0.05, design: Design::default() };
    let found: Vec<Change> =
        compare(&rows, &settings).unwrap().iter().map(|one| change(one, &tolerance)).collect();
    (found.contains(&Change::Worse), found.iter().any(|one| matches!(one, Change::Unclear { .. })))
}

fn alarms(drop: f64, wobble: f64) -> f64 {
    let failed = (0..PAIRS).filter(|&seed| {
        let (before, after) = pair(seed, drop, wobble);
        decide(&before, &after).0
    });
    failed.count() as f64 / PAIRS as f64
}

#[test]
fn false_alarms_stay_below_the_level() {
    println!("true drop,wobble,pairs,queries,measures,share that fails");
    for wobble in [0.001, 0.05, 0.15] {
        let rate = alarms(0.0, wobble);
        println!("0,{wobble},{PAIRS},{QUERIES},{MEASURES},{rate}");
        assert!(rate < 0.05, "wobble {wobble}: {rate}");
    }
}

#[test]
fn drops_are_found() {
    for (drop, wobble, least) in [(0.01, 0.05, 0.3), (0.02, 0.05, 0.8), (0.05, 0.15, 0.7), (0.05, 0.05, 0.99)]
    {
        let rate = alarms(drop, wobble);
        println!("{drop},{wobble},{PAIRS},{QUERIES},{MEASURES},{rate}");
        assert!(rate > least, "drop {drop}, wobble {wobble}: {rate}");
    }
}

#[test]
fn runs_that_do_not_differ_are_clear() {
    let (before, _) = pair(0, 0.0, 0.1);
    assert_eq!(decide(&before, &before), (false, false));
}

#[test]
fn too_few_queries_are_said_to_be_too_few() {
    let tolerance = Tolerance { margin: 0.01, level: 0.05, design: Design::default() };
    let before: Vec<f64> = (0..10).map(|q| 0.3 + 0.05 * f64::from(q)).collect();
    let after: Vec<f64> =
        before.iter().zip(0..).map(|(v, q)| v + if q % 2 == 0 { 0.2 } else { -0.21 }).collect();
    let settings = Settings {
        randomization: Randomization { alternative: Alternative::Less, ..Randomization::default() },
        ..Settings::default()
    };
    let found = compare(&[(&before, &after)], &settings).unwrap()[0];
    let Change::Unclear { queries_needed: Some(queries) } = change(&found, &tolerance) else {
        panic!("{found:?}")
    };
    assert!((10_000..14_000).contains(&queries), "{queries}");
}
