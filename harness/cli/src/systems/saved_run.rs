//! Rankings written as TREC runs: all of them or none.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

use super::System;
use crate::cache;
use crate::exit::Usage;
use crate::interrupt;

/// One system: `path` becomes the file. Several: `path` becomes a folder with a file each.
///
/// # Errors
/// When an id would break a run's columns, two systems would share a file, or the disk refuses; nothing is written then.
pub fn save(path: &Path, systems: &[System<'_>]) -> anyhow::Result<()> {
    let texts = systems.iter().map(text).collect::<anyhow::Result<Vec<_>>>()?;
    if let [text] = texts.as_slice() {
        return cache::write_whole(path, text.as_bytes());
    }
    let names = systems.iter().map(|system| format!("{}.run", file_name(&system.name))).collect::<Vec<_>>();
    if let Some(at) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
        return Err(Usage::error(format!("--save-run: two systems would be written to {}", names[at])));
    }
    save_folder(path, &names, &texts)
}

/// Writes the files beside the folder first, so that a full disk leaves the folder as it was.
fn save_folder(path: &Path, names: &[String], texts: &[String]) -> anyhow::Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(Usage::error(format!(
            "{}: expected a folder for {} runs, found a file",
            path.display(),
            names.len()
        )));
    }
    let shown = || format!("{}: cannot be written", path.display());
    let mut beside = path.as_os_str().to_owned();
    beside.push(datasets::store::unfinished_suffix());
    interrupt::writing_in(path.parent().unwrap_or(path));
    let beside = Path::new(&beside);
    let written = std::fs::create_dir_all(beside).and_then(|()| {
        names.iter().zip(texts).try_for_each(|(name, text)| std::fs::write(beside.join(name), text))?;
        std::fs::create_dir_all(path)?;
        names.iter().try_for_each(|name| std::fs::rename(beside.join(name), path.join(name)))
    });
    drop(std::fs::remove_dir_all(beside));
    written.with_context(shown)
}

/// A system's rankings as the text of a run file.
///
/// # Errors
/// When an id would break a run's columns.
pub fn text(system: &System<'_>) -> anyhow::Result<String> {
    let tag = file_name(&system.name);
    let mut text = String::new();
    for ranking in &system.rankings {
        require_one_field("query", ranking.query)?;
        for (rank, hit) in (1..).zip(&ranking.hits) {
            require_one_field("document", hit.document)?;
            writeln!(text, "{} Q0 {} {rank} {} {tag}", ranking.query, hit.document, hit.score)?;
        }
    }
    Ok(text)
}

fn require_one_field(what: &str, id: &str) -> anyhow::Result<()> {
    if !id.is_empty() && !id.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(Usage::error(format!(
        "--save-run: runs separate columns by blanks, and the {what} id \"{id}\" is no one field"
    )))
}

/// A system's name as a file name and run tag: everything but letters, digits, `.`, `_` and `-` becomes `-`.
fn file_name(system: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || ['.', '_', '-'].contains(&c) { c } else { '-' };
    let name = system.chars().map(plain).collect::<String>();
    name.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_s_name_makes_one_field_of_a_run() {
        assert_eq!(file_name("rrf(k=60)"), "rrf-k-60");
        assert_eq!(file_name("./models/my model"), "models-my-model");
    }
}
