//! `graded label`: pairs in, grades with scores and probabilities out.
//!
//! With `--out` the answer is written as it comes, a row a pair, and a run that was stopped goes on where it ended:
//! complete rows are kept when they are of the same labeler and the same pairs (by ids and human grade; some are labelled again,
//! as texts may have changed), a broken last row is cut off. What is anything else is refused.
//!
//! A labeler that is a recipe asks a language model (`judged.rs`); rows without a grade say why.

use std::fs::{OpenOptions, TryLockError};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use datasets::pairs::{LABEL_COLUMNS, PairOptions};
use relevance::LabeledPair;
use scorer::{Label, Labeler};
use synthesis::judging::PromptedJudge;
use synthesis::{Judge, Verdict};

use super::{Finished, judged};
use crate::arguments::Options;
use crate::exit::Usage;
use crate::labelers::{self, CHUNK};
use crate::pair_columns::PairColumns;
use crate::report::{Cell, Report, Table};
use crate::{models, progress};

/// Flags of `graded label`.
#[derive(Debug, Args)]
pub struct Command {
    /// A file of pairs with the texts of query and document: CSV, TSV or JSON lines
    #[arg(long, value_name = "FILE", required_unless_present = "dataset")]
    pairs: Option<PathBuf>,
    /// A collection whose judged pairs are labelled: a name or a folder
    #[arg(long, value_name = "NAME|DIR", conflicts_with = "pairs")]
    dataset: Option<String>,
    /// The labeler: `embedded`, a pulled model's name, a bundle's file or folder, or the recipe (.toml) of a language
    /// model that is asked
    #[arg(long, value_name = "BUNDLE|RECIPE", default_value = models::EMBEDDED)]
    labeler: String,
    /// With a recipe: ask up to N times more about a pair whose answer cannot be read [default: the recipe's judge.asks]
    #[arg(long, value_name = "N")]
    retry_unparsed: Option<u32>,
    /// With a recipe: the largest share of pairs that may stay without a grade; beyond it exit 1 [default: the recipe's,
    /// else 0.1]
    #[arg(long, value_name = "SHARE")]
    max_unparsed: Option<f64>,
    /// The CSV file to write row by row; an unfinished one is continued, pairs being told by ids and human grade: where texts
    /// have changed, say --restart [default: stdout, at the end]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Start over where --out holds an earlier answer
    #[arg(long, requires = "out")]
    restart: bool,
    /// Label only part I of N, in file order; the parts put together are the whole
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    shard: Option<Shard>,
    #[command(flatten)]
    columns: PairColumns,
}

/// Part `index` of `count`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    index: usize,
    count: usize,
}

fn parse_shard(written: &str) -> Result<Shard, String> {
    let parts = written.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((index, count)) if (1..=count).contains(&index) => Ok(Shard { index, count }),
        _ => Err("expected I/N with I from 1 to N, such as 2/8".to_owned()),
    }
}

impl Shard {
    fn of(self, pairs: usize) -> std::ops::Range<usize> {
        // In u128: a product of two sizes may not fit.
        let bound = |part: usize| (pairs as u128 * part as u128 / self.count as u128) as usize;
        bound(self.index - 1)..bound(self.index)
    }
}

/// Runs `graded label`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    if let (Some(pairs), Some(out)) = (&command.pairs, &command.out) {
        let same = std::fs::canonicalize(pairs).ok().zip(std::fs::canonicalize(out).ok());
        if same.is_some_and(|(pairs, out)| pairs == out) {
            let out = out.display();
            return Err(Usage::error(format!("--out {out}: the file of the pairs; expected another")));
        }
    }
    let grader = grader(command, options)?;
    let mut pairs = pairs(command, options)?;
    if let Some(shard) = command.shard {
        let range = shard.of(pairs.len());
        pairs = pairs.drain(range).collect();
    }
    let rows = Rows::new(&grader);
    match &command.out {
        None => Ok(Report::of_rows(rows.table(&pairs, options)?).into()),
        Some(out) => rows.write(&pairs, out, command.restart, options),
    }
}

/// Fills in the predicted grade and score of every pair by way of the file `rows`, as with `--out`: what an earlier process
/// has written there is not labelled again.
///
/// # Errors
/// When the labeler fails, the file cannot be written, or holds the rows of other pairs or another labeler.
pub(super) fn into_rows(
    pairs: &mut [LabeledPair],
    labeler: Box<dyn Labeler>,
    rows: &Path,
    options: &Options,
) -> anyhow::Result<()> {
    Rows::new(&Grader::Labeler(labeler)).write(pairs, rows, false, options)?;
    let wanted =
        PairOptions { grades_may_be_absent: true, memory_bytes: options.memory, ..PairOptions::default() };
    let labelled = datasets::pairs::read(rows, &wanted)?.pairs;
    for (pair, labelled) in pairs.iter_mut().zip(labelled) {
        (pair.predicted, pair.score) = (labelled.predicted, labelled.score);
    }
    Ok(())
}

/// Rows of an earlier run that are labelled again before it is continued.
const PROBES: usize = 64;

/// Who labels.
enum Grader {
    Labeler(Box<dyn Labeler>),
    Judge(Box<PromptedJudge>),
}

fn grader(command: &Command, options: &Options) -> anyhow::Result<Grader> {
    let recipe = Path::new(&command.labeler);
    if recipe.extension().is_some_and(|extension| extension == "toml") {
        if command.out.is_none() {
            return Err(Usage::error("--out: expected a file: what a model says is written as it comes"));
        }
        let (retries, most) = (command.retry_unparsed, command.max_unparsed);
        return Ok(Grader::Judge(Box::new(judged::open(recipe, retries, most, options)?)));
    }
    if command.retry_unparsed.is_some() || command.max_unparsed.is_some() {
        return Err(Usage::error(
            "--retry-unparsed, --max-unparsed: expected --labeler RECIPE.toml with them",
        ));
    }
    labelers::load(&command.labeler).map(Grader::Labeler)
}

impl Grader {
    fn digest(&self) -> &str {
        match self {
            Self::Labeler(labeler) => labeler.digest(),
            Self::Judge(judge) => judge.digest(),
        }
    }

    /// Pairs between two writes.
    fn chunk(&self) -> usize {
        match self {
            Self::Labeler(_) => CHUNK,
            // What a model is asked takes its time: rows are on disk soon.
            Self::Judge(_) => 64,
        }
    }
}

fn pairs(command: &Command, options: &Options) -> anyhow::Result<Vec<LabeledPair>> {
    let Some(file) = &command.pairs else {
        let name = command.dataset.as_deref().unwrap_or_default();
        return Ok(labelers::of_collection(name, None, options)?.0);
    };
    Ok(labelers::read(file, &command.columns.options(options.memory), options)?.pairs)
}

/// How labels are written down.
struct Rows<'g> {
    grader: &'g Grader,
    header: Vec<String>,
}

impl<'g> Rows<'g> {
    fn new(grader: &'g Grader) -> Self {
        let mut header: Vec<_> = LABEL_COLUMNS.split(',').map(str::to_owned).collect();
        match grader {
            Grader::Labeler(labeler) => {
                header.extend(labeler.scale().levels().iter().map(|level| format!("p{}", level.grade)));
            }
            Grader::Judge(_) => header.push("verdict".to_owned()),
        }
        header.push("labeler".to_owned());
        Self { grader, header }
    }

    /// The part of a row that is known before the pair is labelled.
    fn key(pair: &LabeledPair) -> [String; 3] {
        [
            pair.query.clone(),
            pair.document.clone(),
            pair.human.map_or_else(String::new, |grade| grade.to_string()),
        ]
    }

    fn mark(&self) -> &str {
        &self.grader.digest()[..16]
    }

    /// One row a pair.
    fn of(&self, pairs: &[LabeledPair]) -> anyhow::Result<Vec<Vec<Cell>>> {
        let texts = pairs.iter().map(labelers::texts).collect::<Vec<_>>();
        let labelled: Vec<Vec<Cell>> = match self.grader {
            Grader::Labeler(labeler) => labeler.label(&texts)?.iter().map(label_cells).collect(),
            Grader::Judge(judge) => judge.judge(&texts)?.iter().map(verdict_cells).collect(),
        };
        let rows = pairs.iter().zip(labelled).map(|(pair, cells)| {
            let mut row: Vec<Cell> = Self::key(pair).map(Cell::Text).into();
            row.extend(cells);
            row.push(Cell::text(self.mark()));
            row
        });
        Ok(rows.collect())
    }

    fn table(&self, pairs: &[LabeledPair], options: &Options) -> anyhow::Result<Table> {
        let bar = progress::bar(options, "labelling", pairs.len() as u64);
        let mut table = Table::new(self.header.clone());
        for chunk in pairs.chunks(self.grader.chunk()) {
            self.of(chunk)?.into_iter().for_each(|row| table.push(row));
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        Ok(table)
    }

    fn write(
        &self,
        pairs: &[LabeledPair],
        out: &Path,
        restart: bool,
        options: &Options,
    ) -> anyhow::Result<Finished> {
        let shown = || format!("{}: cannot be written", out.display());
        let wrong = |what: &str| Usage::error(format!("{}: {what}", out.display()));
        if std::fs::metadata(out).is_ok_and(|found| !found.is_file()) {
            return Err(wrong("expected a regular file; without --out rows go to stdout"));
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(out);
        let mut file = file.map_err(|error| wrong(&error.to_string()))?;
        // Held until the file is closed: rows of two runs would land inside each other.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(wrong("another run is writing it; give each its own --out"));
        }
        if restart {
            let mut beginning = Vec::new();
            (&mut file).take(LABEL_COLUMNS.len() as u64).read_to_end(&mut beginning).with_context(shown)?;
            if !begins_labels(&beginning) {
                return Err(no_labels(out));
            }
            file.set_len(0).and_then(|()| file.rewind()).with_context(shown)?;
        }
        let Present { rows: done, end, probes } = self.already_there(&mut file, pairs, out)?;
        self.verify(&probes, pairs, out)?;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).with_context(shown)?;
        if done > 0 {
            progress::say(options, format!("{}: {done} of {} pairs are there", out.display(), pairs.len()));
        }
        let mut writer = csv::Writer::from_writer(BufWriter::new(file));
        if end == 0 {
            writer.write_record(&self.header).with_context(shown)?;
        }
        let bar = progress::bar(options, "labelling", pairs.len() as u64).with_position(done as u64);
        for chunk in pairs[done..].chunks(self.grader.chunk()) {
            for row in self.of(chunk)? {
                writer.write_record(row.iter().map(Cell::exact)).with_context(shown)?;
            }
            writer.flush().with_context(shown)?;
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        let mut file =
            writer.into_inner().map_err(|error| anyhow::anyhow!(error.to_string())).with_context(shown)?;
        file.flush().and_then(|()| file.get_ref().sync_all()).with_context(shown)?;
        if let Grader::Judge(judge) = self.grader {
            return judged::summary(out, pairs, done, judge);
        }
        let mut table = Table::new(["file", "pairs", "already there", "labeler"]);
        let shown = out.display().to_string();
        table.push(vec![
            Cell::text(shown),
            Cell::count(pairs.len()),
            Cell::count(done),
            Cell::text(self.grader.digest()),
        ]);
        Ok(Report::of_rows(table).into())
    }

    /// Labels the pairs of some rows again. A labeler has the same bits every time, so what differs is a pair whose texts are
    /// not those that were labelled. What a model says is not asked for twice.
    fn verify(&self, probes: &[Probe], pairs: &[LabeledPair], out: &Path) -> anyhow::Result<()> {
        if matches!(self.grader, Grader::Judge(_)) {
            return Ok(());
        }
        let chosen: Vec<LabeledPair> = probes.iter().map(|probe| pairs[probe.row].clone()).collect();
        for (probe, row) in probes.iter().zip(self.of(&chosen)?) {
            if row.iter().map(Cell::exact).ne(probe.record.iter()) {
                return Err(other_rows(
                    out,
                    probe.line,
                    "not the label that this pair has now: its texts have changed",
                ));
            }
        }
        Ok(())
    }

    /// The rows of an earlier run that are complete.
    fn already_there(
        &self,
        file: &mut std::fs::File,
        pairs: &[LabeledPair],
        out: &Path,
    ) -> anyhow::Result<Present> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| out.display().to_string())?;
        if !begins_labels(&bytes) {
            return Err(no_labels(out));
        }
        let other = |line: u64, what: &str| other_rows(out, line, what);
        let probe_every = pairs.len().div_ceil(PROBES).max(1);
        let mut probes = Vec::new();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&bytes[..]);
        let mut record = csv::StringRecord::new();
        let (mut rows, mut end) = (0, 0);
        loop {
            let line = reader.position().line();
            let read = reader.read_record(&mut record).map_err(|error| other(line, &error.to_string()))?;
            let mut position = reader.position().byte();
            // A row without its line end may be cut short in its last field.
            let last = position.checked_sub(1).and_then(|at| bytes.get(at as usize));
            let complete = read && matches!(last, Some(b'\n' | b'\r'));
            if !complete {
                // What a killed run leaves before its first row is the beginning of the header, and nothing else.
                let begun = end > 0 || format!("{}\n", self.header.join(",")).as_bytes().starts_with(&bytes);
                return if begun {
                    Ok(Present { rows, end, probes })
                } else {
                    Err(other(line, "another header"))
                };
            }
            if last == Some(&b'\r') && bytes.get(position as usize) == Some(&b'\n') {
                position += 1;
            }
            if end == 0 {
                if record.iter().ne(self.header.iter().map(String::as_str)) {
                    return Err(other(line, "another header"));
                }
            } else {
                let pair = pairs.get(rows).ok_or_else(|| other(line, "more rows than pairs"))?;
                let same_pair = record.iter().take(3).eq(Self::key(pair).iter().map(String::as_str));
                if !same_pair {
                    return Err(other(line, "a row of another pair"));
                }
                if record.len() != self.header.len() || record.iter().next_back() != Some(self.mark()) {
                    return Err(other(line, "a row of another labeler"));
                }
                if rows.is_multiple_of(probe_every) {
                    probes.push(Probe { row: rows, line, record: record.clone() });
                }
                rows += 1;
            }
            end = position;
        }
    }
}

/// What an earlier run has left: how many complete rows, where the last of them ends, and some of them.
struct Present {
    rows: usize,
    end: u64,
    probes: Vec<Probe>,
}

/// A row of an earlier run.
struct Probe {
    row: usize,
    line: u64,
    record: csv::StringRecord,
}

/// Whether these bytes are the beginning of a file of labels, or of less than its header.
fn begins_labels(bytes: &[u8]) -> bool {
    bytes.starts_with(LABEL_COLUMNS.as_bytes()) || LABEL_COLUMNS.as_bytes().starts_with(bytes)
}

/// The refusal of a file that holds something else.
fn no_labels(out: &Path) -> anyhow::Error {
    let out = out.display();
    Usage::error(format!(
        "{out}:1: another header; what holds no labels is neither continued nor replaced: expected another --out"
    ))
}

/// The refusal of a file whose rows are not those of this run.
fn other_rows(out: &Path, line: u64, what: &str) -> anyhow::Error {
    let found = format!("{}:{line}: {what}", out.display());
    Usage::error(format!(
        "{found}; expected the rows of the same pairs and labeler: --restart replaces labels, another --out leaves the file as it is"
    ))
}

/// What a labeler says of a pair: grade, score, the probability of each level.
fn label_cells(label: &Label) -> Vec<Cell> {
    let mut cells = vec![Cell::text(label.grade.to_string()), Cell::Value(label.score)];
    cells.extend(label.distribution.iter().map(|&probability| Cell::Value(probability)));
    cells
}

/// What a judge says of a pair: grade and score, where there is one, and what kind of verdict it is.
fn verdict_cells(verdict: &Verdict) -> Vec<Cell> {
    let name = match verdict {
        Verdict::Graded { .. } => "graded",
        Verdict::Unparsed { .. } => "unparsed",
        Verdict::Absent => "absent",
    };
    let grade = verdict.grade().map_or(Cell::Empty, |grade| Cell::text(grade.to_string()));
    vec![grade, Cell::maybe(verdict.score()), Cell::text(name)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shards_are_the_whole_in_order() {
        for (pairs, count) in [(10, 3), (2, 5), (0, 2), (1000, 7)] {
            let mut next = 0;
            for index in 1..=count {
                let range = Shard { index, count }.of(pairs);
                assert_eq!(range.start, next);
                next = range.end;
            }
            assert_eq!(next, pairs);
        }
        assert_eq!(parse_shard("2/8").unwrap(), Shard { index: 2, count: 8 });
        for wrong in ["0/2", "3/2", "2", "a/b", "1/0"] {
            assert!(parse_shard(wrong).is_err(), "{wrong}");
        }
    }
}
