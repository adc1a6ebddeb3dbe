//! Short texts a second through a static bundle on one thread: the texts of a file in pieces of six words, again and again,
//! in seven rounds.
//!
//! `cargo run --release -p scorer --example static_times BUNDLE CORPUS.jsonl` prints a CSV table: texts a second as the
//! thread's processor time says, least, median and most of the rounds.

// A program, not the library: it reads files and clocks.
#![allow(clippy::disallowed_methods)]

use std::error::Error;

use scorer::{Bundle, EncoderOptions, Role, load_encoder};

const TEXTS: usize = 100_000;
/// Words of a text.
const WORDS: usize = 6;
const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, corpus] = arguments.as_slice() else { return Err("expected: BUNDLE CORPUS.jsonl".into()) };
    let encoder = load_encoder(&Bundle::from_bytes(&std::fs::read(bundle)?)?, &EncoderOptions::default())?;
    let pieces = pieces(&std::fs::read_to_string(corpus)?)?;
    let texts: Vec<&str> = pieces.iter().map(String::as_str).cycle().take(TEXTS).collect();
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let seconds = one_thread.install(|| {
            let start = processor_seconds();
            encoder.encode(&texts, Role::Document).map(|_| processor_seconds() - start)
        })?;
        rates.push(TEXTS as f64 / seconds);
    }
    rates.sort_by(f64::total_cmp);
    println!("what,texts,least_per_second,median_per_second,most_per_second");
    println!("static,{TEXTS},{:.0},{:.0},{:.0}", rates[0], rates[ROUNDS / 2], rates[ROUNDS - 1]);
    Ok(())
}

/// The `text` of every line, in pieces.
fn pieces(lines: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut pieces = Vec::new();
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let text = line["text"].as_str().ok_or("a line without text")?;
        let words: Vec<&str> = text.split_whitespace().collect();
        pieces.extend(words.chunks(WORDS).map(|piece| piece.join(" ")));
    }
    Ok(pieces)
}

/// Seconds this thread was on a processor, as Linux counts them: up to the last tick of its clock, or to a yield.
fn processor_seconds() -> f64 {
    std::thread::yield_now();
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    counted.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}
