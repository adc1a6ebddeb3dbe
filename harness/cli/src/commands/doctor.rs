//! `graded doctor`: what this machine offers, and why something is not there.

use std::path::Path;

use clap::Args;
use kernels::{Device, InstructionSet};

use super::Finished;
use crate::arguments::Options;
use crate::cache;
use crate::report::{Cell, Report, Table};

/// Flags of `graded doctor`.
#[derive(Debug, Args)]
pub struct Command {}

/// Runs `graded doctor`.
pub fn run(_command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let mut table = Table::new(["what", "state", "detail"]);
    let mut line = |what: &str, is_there: bool, detail: String| {
        let state = if is_there { "yes" } else { "no" };
        table.push(vec![Cell::text(what), Cell::text(state), Cell::text(detail)]);
    };
    for device in Device::ALL {
        let state = device.available();
        line(
            &format!("device {device}"),
            state.is_ok(),
            state.err().map_or_else(|| offer(device), |why| why.to_string()),
        );
    }
    let auto = options.device()?;
    line("device used", true, format!("{auto}, {} threads", rayon::current_num_threads()));
    let bundle = scorer::embedded()?;
    line("bundle embedded", true, format!("{} bytes, digest {}", scorer::EMBEDDED.len(), bundle.digest()));
    line("dataset sample", true, "embedded".to_owned());
    for (what, folder) in [("model", cache::models()?), ("dataset", cache::data()?)] {
        for name in folders(&folder) {
            line(&format!("{what} {name}"), true, folder.join(&name).display().to_string());
        }
    }
    let root = cache::root()?;
    line("cache", root.is_dir(), root.display().to_string());
    Ok(Report::of_rows(table).into())
}

fn offer(device: Device) -> String {
    match device {
        Device::Scalar => "plain loops: the definition of every kernel".to_owned(),
        Device::Simd => {
            let sets = InstructionSet::all_available().map(|set| set.to_string()).collect::<Vec<_>>();
            sets.join(", ")
        }
        Device::Cuda => "driver found".to_owned(),
    }
}

/// The names of the folders in `folder`, sorted; none where it cannot be read.
pub fn folders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
