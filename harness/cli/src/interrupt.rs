//! Ctrl-C and termination: what this process has half written is removed, then the process ends as the signal asks.
//!
//! Half-written files stand beside their targets under names that end in the number of the process
//! ([`unfinished_suffix`]); whoever writes one first names its folder here. Two things are kept on purpose: the `.part`
//! of a download, which the next call resumes, and whatever was finished and renamed before the signal came.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use datasets::store::unfinished_suffix;

/// Where half-written files of this process may stand.
static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Says that something is about to be written in `folder`. The first call begins to listen for signals.
pub fn writing_in(folder: &Path) {
    static LISTENING: Once = Once::new();
    // The parent of a bare file name is an empty path.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).insert(folder);
    #[cfg(unix)]
    LISTENING.call_once(listen);
}

#[cfg(unix)]
fn listen() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    // A system that refuses leaves us where every program without such care is.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            remove_unfinished();
            // Shells and supervisors look at how a process died.
            drop(signal_hook::low_level::emulate_default_handler(signal));
            std::process::exit(128 + signal);
        }
    });
}

/// The rest of the process is still writing: a folder that has just been emptied may not be empty any more.
fn remove_unfinished() {
    const ATTEMPTS: usize = 20;
    let folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..ATTEMPTS {
        let unfinished = folders.iter().flat_map(|folder| unfinished_in(folder)).collect::<Vec<_>>();
        if unfinished.is_empty() {
            return;
        }
        for path in unfinished {
            drop(if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) });
        }
    }
}

fn unfinished_in(folder: &Path) -> Vec<PathBuf> {
    let suffix = unfinished_suffix();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(&suffix));
    ours.map(|entry| entry.path()).collect()
}
