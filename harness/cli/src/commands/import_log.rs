//! `graded data import-log`: a public log of another schema, written as one of ours.

use std::path::{Path, PathBuf};

use anyhow::Context;
use datasets::Lines;
use serde_json::json;
use synthesis::crops::{CropsParameters, HistoryAudit, candidates_of};
use synthesis::history::OutOfOrder;

use super::Finished;
use crate::arguments::Options;
use crate::exit::Usage;
use crate::external_sort::Sorter;
use crate::foreign_logs::{Imported, Schema};
use crate::logs::{self, LogFile, Order};
use crate::new_folder::NewFolder;
use crate::report::{Cell, Report, Table};

const LONGEST_LINE_BYTES: u64 = 1 << 20;

/// Runs `graded data import-log`. The new folder holds `log.jsonl`, each user's lines together and in the order of time;
/// beside MovieLens' ratings, `movies.csv` becomes `corpus.jsonl`, the documents that the log names.
pub fn run(schema: Schema, path: &Path, out: &Path, options: &Options) -> anyhow::Result<Finished> {
    let file = if path.is_dir() { path.join(schema.file_name()) } else { path.to_path_buf() };
    let folder = NewFolder::begin(out)?;
    let imported = write_log(schema, &file, &folder, options)?;
    let movies = file.with_file_name("movies.csv");
    let documents = match schema == Schema::Movielens && movies.is_file() {
        true => Some(write_movies(&movies, &folder)?),
        false => None,
    };
    let audit = audit(&folder, options)?;
    let json = json!({
        "file": file.display().to_string(),
        "imported": imported,
        "documents": documents,
        "histories": audit,
    });
    folder.write("summary.json", &(serde_json::to_string_pretty(&json)? + "\n"))?;
    folder.finish()?;
    let mut table = Table::new(["what", "count"]).titled(out.join("log.jsonl").display().to_string());
    for (what, count) in [
        ("lines", imported.lines),
        ("lines without a query, left out", imported.without_query),
        ("events", imported.events),
        ("documents", documents.unwrap_or(0)),
        ("users", audit.users),
        ("users without queries", audit.users_without_queries),
        ("searches", audit.searches),
        ("next searches in other words, within 90 s", audit.rewordings_within_window),
        ("next searches in other words, later", audit.rewordings_after_window),
        ("next searches in the same words", audit.repetitions),
    ] {
        table.push(vec![Cell::text(what), Cell::Count(count)]);
    }
    Ok(Report { tables: vec![table], json, lines: Vec::new() }.into())
}

/// Writes the events by user and time; equal times keep the order of the file. Sorted on disk beyond a quarter of the
/// memory budget.
fn write_log(schema: Schema, file: &Path, folder: &NewFolder, options: &Options) -> anyhow::Result<Imported> {
    let mut imported = Imported::default();
    let mut sorter = Sorter::new(folder.scratch(), options.memory / 4, false);
    let mut lines = Lines::open(file, LONGEST_LINE_BYTES)?;
    let mut record = Vec::new();
    let mut is_header = schema.has_header();
    while let Some((number, line)) = lines.next_line()? {
        if std::mem::take(&mut is_header) || line.trim().is_empty() {
            continue;
        }
        imported.lines += 1;
        let wrong = |reason: String| Usage::error(format!("{}:{number}: {reason}", file.display()));
        let Some(event) = schema.event(line.trim_end_matches('\r'), number).map_err(wrong)? else {
            imported.without_query += 1;
            continue;
        };
        record.clear();
        record.extend_from_slice(event.user.as_bytes());
        record.push(0);
        // As bytes, numbers from the smallest on.
        record.extend_from_slice(&((event.time_ms as u64) ^ (1 << 63)).to_be_bytes());
        record.extend_from_slice(&number.to_be_bytes());
        let start = record.len();
        event.write(&mut record);
        // What this writes must be read back: a user's name with control characters, for one, is refused here.
        let written = std::str::from_utf8(&record[start..]).context("an event is no text")?;
        synthesis::Event::parse(written.trim_end()).map_err(wrong)?;
        imported.events += 1;
        sorter.push(&record)?;
    }
    let mut sorted = sorter.finish()?;
    let mut log = folder.file("log.jsonl")?;
    while let Some(record) = sorted.next()? {
        let user = record.iter().position(|&byte| byte == 0).context("a record of the sort is damaged")?;
        log.write(record.get(user + 17..).context("a record of the sort is damaged")?)?;
    }
    log.finish()?;
    Ok(imported)
}

/// `movieId,title,genres` as documents.
fn write_movies(file: &Path, folder: &NewFolder) -> anyhow::Result<u64> {
    let shown = || file.display().to_string();
    let mut corpus = folder.file("corpus.jsonl")?;
    let mut reader = csv::Reader::from_path(file).with_context(shown)?;
    let mut count = 0;
    for movie in reader.deserialize::<(String, String, String)>() {
        let wrong = |error: csv::Error| Usage::error(format!("{}: {error}", file.display()));
        let (id, title, genres) = movie.map_err(wrong)?;
        corpus.line(&json!({ "_id": id, "title": title, "text": genres.replace('|', ", ") }))?;
        count += 1;
    }
    corpus.finish()?;
    Ok(count)
}

/// What CroPS' windows find in the written log.
fn audit(folder: &NewFolder, options: &Options) -> anyhow::Result<HistoryAudit> {
    let log = LogFile {
        files: vec![PathBuf::from(folder.scratch()).join("folder").join("log.jsonl")],
        order: Order::User,
        out_of_order: OutOfOrder::Refuse,
        // Films are rated years apart.
        largest_gap_days: Some(36_525.0),
    };
    let (parameters, mut audit) = (CropsParameters::default(), HistoryAudit::default());
    logs::read(&log, folder.scratch(), options.memory / 4, |history, _| {
        audit.add(&candidates_of(&history, &parameters).1);
        Ok(())
    })?;
    Ok(audit)
}
