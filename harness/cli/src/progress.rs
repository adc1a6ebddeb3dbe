//! Progress on stderr: drawn only for a terminal, silent under `--quiet`.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::Options;

/// A bar over `total` steps called `what`, with rate and time left.
pub fn bar(options: &Options, what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), target(options));
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what.to_owned())
}

/// A bar over bytes.
pub fn bytes(options: &Options, what: &str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, target(options));
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what.to_owned())
}

/// Says one line on stderr, unless `--quiet`.
pub fn say(options: &Options, message: impl AsRef<str>) {
    if !options.quiet {
        eprintln!("graded: {}", message.as_ref());
    }
}

fn target(options: &Options) -> ProgressDrawTarget {
    if options.quiet || !std::io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr_with_hz(8)
    }
}
