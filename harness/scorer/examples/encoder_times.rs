//! Encodes token ids with a bundle and says how long it took, one measurement per line of input, so that a script can
//! take turns between this and its peers: see `benchmarks/peers/encoder/run.py`.
//!
//! Arguments: bundle file, then the instruction set as `graded doctor` prints it, `scalar`, or nothing for the best.
//! Each input line is a JSON list of lists of ids; each answer `{"seconds", "vectors"}`, the processor seconds of this
//! thread and a vector of length 1 per list. The line `limit` is answered with the products of bytes a second that the
//! instruction set does on registers alone, or `null` where that is not measured.

// A program, not the library: it reads files and clocks.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::io::{BufRead, Write};

use kernels::InstructionSet;
use scorer::dual_encoder::DualEncoder;
use scorer::{Bundle, EncoderOptions, Instructions};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("expected: BUNDLE [INSTRUCTIONS]")?;
    let instructions = match arguments.get(1).map(String::as_str) {
        None => Instructions::Best,
        Some("scalar") => Instructions::Scalar,
        Some(name) => {
            let set = InstructionSet::ALL.into_iter().find(|set| set.to_string() == name);
            Instructions::Set(set.ok_or_else(|| format!("{name}: no such instruction set"))?)
        }
    };
    let options = EncoderOptions { instructions, ..EncoderOptions::default() };
    let encoder = DualEncoder::from_bundle(&Bundle::from_bytes(&std::fs::read(path)?)?, &options)?;
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line == "limit" {
            println!("{}", json!(limit(instructions)));
            std::io::stdout().flush()?;
            continue;
        }
        let sequences: Vec<Vec<u32>> = serde_json::from_str(&line)?;
        let (seconds, found) = one_thread.install(|| {
            let start = processor_seconds();
            let found = encoder.encode_ids(&sequences);
            (processor_seconds() - start, found)
        });
        let found = found?;
        let vectors: Vec<&[f32]> = (0..found.rows()).map(|row| found.row(row)).collect();
        println!("{}", json!({ "seconds": seconds, "vectors": vectors }));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Products of bytes a second on registers alone.
#[cfg(target_arch = "x86_64")]
fn limit(instructions: Instructions) -> Option<f64> {
    const ROUNDS: usize = 1_000_000;
    const SECONDS: f64 = 0.2;
    let set = match instructions {
        Instructions::Best => InstructionSet::best()?,
        Instructions::Set(set) => set,
        Instructions::Scalar => return None,
    };
    let (start, mut products, mut seconds) = (processor_seconds(), 0, 0.0);
    while seconds < SECONDS {
        products += kernels::encoder::limit::products(set, ROUNDS)?;
        seconds = processor_seconds() - start;
    }
    Some(products as f64 / seconds)
}

/// No limit is measured on other processors.
#[cfg(not(target_arch = "x86_64"))]
fn limit(_: Instructions) -> Option<f64> {
    None
}

/// Seconds this thread was on a processor, as Linux counts them: up to the last tick of its clock, or to a yield.
fn processor_seconds() -> f64 {
    std::thread::yield_now();
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    counted.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}
