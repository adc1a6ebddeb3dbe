//! Speed as records keep it: every repeat of a time or a count, so that a comparison knows the noise.
//!
//! Elapsed times of shared machines differ by a third from one run to the next, counts of instructions by a few in a
//! thousand. Both are read in: criterion's samples, and a command run again and again, under callgrind too where
//! valgrind is installed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use serde::Deserialize;

use super::record::{Timing, Unit};
use crate::exit::Usage;

/// The middle value; of an even number the mean of the two middle ones.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

/// How far repeats of the same thing lie apart: from the tenth to the ninetieth hundredth, as a share of the median.
/// With fewer than ten repeats, from the lowest to the highest.
pub fn noise(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let cut = sorted.len() / 10;
    match (sorted.get(cut), sorted.iter().rev().nth(cut), median(values)) {
        (Some(low), Some(high), Some(median)) if median > 0.0 => (high - low) / median,
        _ => 0.0,
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Runs `command` `repeats` times and times it; `instructions` adds one run under callgrind.
///
/// # Errors
/// When the command cannot be started or fails, or valgrind is missing.
pub fn run(name: &str, command: &[String], repeats: u32, instructions: bool) -> anyhow::Result<Vec<Timing>> {
    let mut seconds = Vec::new();
    for _ in 0..repeats {
        let started = Instant::now();
        succeed(&mut program(command), name)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let mut timings = vec![Timing { name: name.to_owned(), unit: Unit::Seconds, values: seconds }];
    if instructions {
        let counted = count_instructions(name, command)?;
        timings.push(Timing { name: name.to_owned(), unit: Unit::Instructions, values: vec![counted] });
    }
    Ok(timings)
}

fn program(command: &[String]) -> Command {
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    program
}

fn succeed(program: &mut Command, name: &str) -> anyhow::Result<()> {
    let shown = program.get_program().to_string_lossy().into_owned();
    let status = program
        .status()
        .map_err(|error| Usage::error(format!("{name}: {shown} cannot be started: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Usage::error(format!("{name}: {shown} ended with {status}; what fails is not timed")))
}

/// Instructions of the command and its threads, by callgrind's own total.
fn count_instructions(name: &str, command: &[String]) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.args(command).stdin(Stdio::null()).stdout(Stdio::null());
    succeed(&mut valgrind, name)
        .context("--instructions needs valgrind, and a command that runs under it")?;
    let text = std::fs::read_to_string(&out).context("callgrind's output")?;
    callgrind_total(&text).with_context(|| format!("{name}: callgrind wrote no total"))
}

/// `totals: N`, or the older `summary: N`.
fn callgrind_total(text: &str) -> Option<f64> {
    let total = |line: &str| {
        let numbers = line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:"))?;
        numbers.split_whitespace().next()?.parse().ok()
    };
    text.lines().rev().find_map(total)
}

/// Every benchmark under criterion's folder (`target/criterion`), by its newest run.
///
/// # Errors
/// When the folder cannot be read, holds none, or a file of criterion's is damaged.
pub fn criterion(folder: &Path) -> anyhow::Result<Vec<Timing>> {
    let mut timings = Vec::new();
    search(folder, 0, &mut timings)?;
    if timings.is_empty() {
        let shown = folder.display();
        return Err(Usage::error(format!("{shown}: no new/estimates.json below it; run cargo bench first")));
    }
    timings.sort_by(|a: &Timing, b| a.name.cmp(&b.name));
    Ok(timings)
}

/// Criterion nests by group, function and value, no deeper.
const DEEPEST: usize = 6;

fn search(folder: &Path, depth: usize, timings: &mut Vec<Timing>) -> anyhow::Result<()> {
    let new = folder.join("new");
    if new.join("estimates.json").is_file() {
        timings.push(benchmark(&new)?);
        return Ok(());
    }
    let wrong = |error| Usage::error(format!("{}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry?.path();
        if depth < DEEPEST && path.is_dir() {
            search(&path, depth + 1, timings)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Named {
    full_id: String,
}

#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

#[derive(Deserialize)]
struct Estimates {
    mean: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Criterion counts nanoseconds. The samples are its repeats; where they are not kept, its mean stands alone.
fn benchmark(new: &Path) -> anyhow::Result<Timing> {
    let name = read::<Named>(&new.join("benchmark.json"))?.full_id;
    let values = match new.join("sample.json") {
        path if path.is_file() => {
            let Sample { iters, times } = read(&path)?;
            times.iter().zip(&iters).map(|(time, iterations)| time / iterations / 1e9).collect()
        }
        _ => vec![read::<Estimates>(&new.join("estimates.json"))?.mean.point_estimate / 1e9],
    };
    Ok(Timing { name, unit: Unit::Seconds, values })
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> anyhow::Result<T> {
    let text = crate::cache::read_whole(path, 1 << 26)?;
    serde_json::from_slice(&text)
        .map_err(|error| Usage::error(format!("{}: not as criterion writes it: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_what_repeats_show() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!((median(&[]), noise(&[]), noise(&[5.0])), (None, 0.0, 0.0));
        assert_eq!(noise(&[10.0, 11.0, 12.0]), 2.0 / 11.0);
        let mut many: Vec<f64> = (0..20).map(|at| 100.0 + f64::from(at)).collect();
        many[19] = 1e6;
        assert!(noise(&many) < 0.2, "one outlier is no noise floor");
    }

    #[test]
    fn callgrind_s_total_is_found() {
        assert_eq!(callgrind_total("events: Ir\nfn=main\n16 400\n\ntotals: 12345\n"), Some(12345.0));
        assert_eq!(callgrind_total("summary: 99\n"), Some(99.0));
        assert_eq!(callgrind_total("events: Ir\n"), None);
    }
}
