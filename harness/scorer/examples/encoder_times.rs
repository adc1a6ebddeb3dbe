//! Encodes token ids with a bundle and says how long it took, one measurement per line of input, so that a script can
//! take turns between this and its peers: see `benchmarks/peers/encoder/run.py`.
//!
//! Arguments: bundle file, then the instruction set as `graded doctor` prints it, `scalar`, or nothing for the best.
//! Each input line is a JSON list of lists of ids; each answer `{"seconds", "vectors"}`, the processor seconds of this
//! thread and a vector of length 1 per list.

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
        let sequences: Vec<Vec<u32>> = serde_json::from_str(&line?)?;
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

/// Seconds this thread was on a processor, as Linux counts them.
fn processor_seconds() -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    counted.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}
