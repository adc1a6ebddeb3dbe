//! `graded runs`: what earlier runs recorded, two of them side by side, and the gate.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use relevance::significance::Alternative;

use super::Finished;
use crate::arguments::Options;
use crate::cache;
use crate::exit::{self, Usage};
use crate::report::{Cell, Report, Table};
use crate::runs::compare::{self, RunComparison, Sealed, Wanted};
use crate::runs::gate::{self, Bounds, Limits};
use crate::runs::history::{History, RecordFlags};
use crate::runs::measured;
use crate::runs::record::{self, Kind, Record, short};
use crate::runs::verdict::{Verdict, worst_tables};
use crate::runs::{page, schema, speed};

/// Subcommands of `graded runs`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the records of a history, newest first
    List(List),
    /// Show one record: where it comes from, its values and intervals
    Show(Show),
    /// Compare two records query by query: differences, intervals, tests, the queries that fell most
    Compare(Compare),
    /// Fail (exit 1) when a record is worse than the baseline; a missing baseline is written, and fails once
    Gate(Box<Gate>),
    /// Record times: a command run again and again, or what criterion measured
    Measure(Measure),
    /// Write an HTML page: the history's course, or two records compared
    Report(Page),
    /// Print the JSON Schema of records
    Schema,
}

/// Where records are read.
#[derive(Debug, Args)]
pub struct HistoryFlag {
    /// The history to read [default: where `graded evaluate` leaves its records]
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
}

/// Which records count.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only records of this kind
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only records of this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Only the newest so many
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

/// Flags of `graded runs list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    from: HistoryFlag,
    #[command(flatten)]
    filter: Filter,
}

/// Flags of `graded runs show`.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    from: HistoryFlag,
    /// The record: a file, the first digits of its id, latest, or latest~N for the N-th before it
    #[arg(default_value = "latest")]
    record: String,
}

/// What is compared, in `compare`, `gate` and `report`.
#[derive(Debug, Args)]
pub struct Selection {
    /// Compare this system only [default: all that both have]
    #[arg(long, value_name = "SYSTEM")]
    system: Option<String>,
    /// The baseline's system, where it has another name
    #[arg(long, value_name = "SYSTEM")]
    baseline_system: Option<String>,
    /// Compare these measures only, separated by blanks or commas [default: all that both have]
    #[arg(long, short, value_name = "LIST")]
    measures: Option<String>,
    /// Where judgments, documents or rules differ, compare the queries that both judge alike all the same
    #[arg(long)]
    force: bool,
}

/// Flags of `graded runs compare`.
#[derive(Debug, Args)]
pub struct Compare {
    #[command(flatten)]
    from: HistoryFlag,
    /// The earlier record: a file, the first digits of its id, latest, or latest~N
    baseline: String,
    /// The later record
    #[arg(default_value = "latest")]
    candidate: String,
    #[command(flatten)]
    selection: Selection,
}

/// Flags of `graded runs gate`.
#[derive(Debug, Args)]
pub struct Gate {
    #[command(flatten)]
    from: HistoryFlag,
    /// The record to be held to, a file; written from the candidate where it is missing. May be repeated: each against
    /// the newest record of its dataset
    #[arg(long, value_name = "FILE", required = true)]
    baseline: Vec<PathBuf>,
    /// The record in question [default: the newest of the baseline's kind and dataset]
    candidate: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Overlook drops of a mean up to this: a number, off, or MEASURE=NUMBER; may be repeated [default: 0.01]
    #[arg(long, value_name = "[MEASURE=]NUMBER")]
    margin: Vec<String>,
    /// Fail when any query falls by more than this: a number, off, or MEASURE=NUMBER; may be repeated [default: 0.5]
    #[arg(long, value_name = "[MEASURE=]NUMBER")]
    severity: Vec<String>,
    /// The level of the tests: how often the gate may fail where nothing got worse
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    level: f64,
    /// Where the data cannot tell: the probability with which the stated number of queries would
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    power: f64,
    /// How much the judged share of the first ten ranks may drop
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    judged_drop: f64,
    /// How much longer something may take beyond the noise of its repeats
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    slower: f64,
    /// How many more instructions something may take
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    more_instructions: f64,
    /// Also fail when any ranking or any bit of a score differs
    #[arg(long)]
    same_bits: bool,
    /// Accept the candidate: say what changed, make it the baseline, and pass
    #[arg(long)]
    update_baseline: bool,
    /// Also write the verdict as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also write the values for github-action-benchmark (customBiggerIsBetter)
    #[arg(long, value_name = "FILE")]
    benchmark_json: Option<PathBuf>,
    /// Also write the comparison as an HTML page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Also write GitHub annotations to stderr, and the verdict to $GITHUB_STEP_SUMMARY where that is set
    #[arg(long)]
    github: bool,
}

/// Flags of `graded runs measure`.
#[derive(Debug, Args)]
pub struct Measure {
    #[command(flatten)]
    record: RecordFlags,
    /// A name for what is timed, under which later records are compared with this one
    #[arg(long, value_name = "NAME", default_value = "benchmark")]
    name: String,
    /// Read criterion's newest results from this folder (target/criterion)
    #[arg(long, value_name = "DIR")]
    criterion: Option<PathBuf>,
    /// How many times to run the command
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeats: u32,
    /// Count the command's instructions too, by one run under valgrind's callgrind
    #[arg(long, requires = "command")]
    instructions: bool,
    /// The command to time, after --
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "criterion")]
    command: Vec<String>,
}

/// Flags of `graded runs report`.
#[derive(Debug, Args)]
pub struct Page {
    #[command(flatten)]
    from: HistoryFlag,
    /// Two records to compare, the earlier first [default: a page of the whole history]
    #[arg(num_args = 0..=2, value_name = "RECORD")]
    records: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    selection: Selection,
    /// The page to write
    #[arg(long, value_name = "FILE", default_value = "graded-report.html")]
    out: PathBuf,
}

/// Runs `graded runs`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    match command {
        Command::List(command) => list(command),
        Command::Show(command) => show(command),
        Command::Compare(command) => compare_two(command, options),
        Command::Gate(command) => gate(command, options),
        Command::Measure(command) => measure(command, options),
        Command::Report(command) => report(command, options),
        Command::Schema => {
            let json = schema::schema();
            let text = serde_json::to_string_pretty(&json)?;
            let table = Table { notes: vec![text], ..Table::default() };
            Ok(Report { tables: vec![table], json, lines: Vec::new() }.into())
        }
    }
}

impl HistoryFlag {
    fn history(&self) -> anyhow::Result<History> {
        History::find(self.history.as_deref()).ok_or_else(|| {
            Usage::error("no history: GRADED_RUNS is off or there is no home; name one with --history")
        })
    }
}

fn list(command: &List) -> anyhow::Result<Finished> {
    let history = command.from.history()?;
    let filter = &command.filter;
    let mut entries = history.entries()?;
    entries.reverse();
    let mut table = Table::new(["id", "recorded", "kind", "dataset", "commit", "measure", "values"]);
    let mut damaged = Vec::new();
    let most = filter.last.unwrap_or(usize::MAX);
    for entry in &entries {
        let summary = match &entry.summary {
            Ok(summary) => summary,
            Err(why) => {
                damaged.push(format!("damaged, left as it is: {why}"));
                continue;
            }
        };
        let of_kind = filter.kind.is_none_or(|kind| summary.kind == kind);
        let of_dataset = filter.dataset.as_ref().is_none_or(|dataset| summary.dataset == *dataset);
        if !of_kind || !of_dataset || table.rows.len() >= most {
            continue;
        }
        let values = summary.headlines.iter().map(|(name, _, value)| match value {
            Some(value) if summary.kind == Kind::Benchmark => format!("{name} {value:.3e}"),
            Some(value) => format!("{name} {value:.4}"),
            None => name.clone(),
        });
        table.push(vec![
            Cell::text(short(&summary.digest)),
            Cell::text(&summary.recorded_at),
            Cell::text(summary.kind.to_string()),
            Cell::text(&summary.dataset),
            Cell::text(summary.commit.as_deref().map_or("", short)),
            Cell::text(summary.headlines.first().map_or("", |(_, measure, _)| measure)),
            Cell::text(values.collect::<Vec<_>>().join(", ")),
        ]);
    }
    let mut report = Report::of_rows(table);
    let folder = history.folder().display();
    let said = format!("{} of {} records of {folder}", report.tables[0].rows.len(), entries.len());
    report.tables[0].notes.push(said);
    for why in damaged {
        eprintln!("graded: {why}");
        report.tables[0].notes.push(why);
    }
    Ok(report.into())
}

fn show(command: &Show) -> anyhow::Result<Finished> {
    let history = command.from.history()?;
    let (record, digest) = history.record(&command.record)?;
    let mut about = Table::new(["what", "is"]).titled(format!("{} of {}", record.kind, record.dataset));
    let mut line = |what: &str, is: String| about.push(vec![Cell::text(what), Cell::text(is)]);
    line("id", short(&digest).to_owned());
    line("recorded", record.recorded_at.clone());
    line("commit", record.commit.clone().unwrap_or_default());
    line("graded", record.tool.version.clone());
    let machine = &record.machine;
    let processor = machine.processor.as_deref().unwrap_or(&machine.architecture);
    line(
        "machine",
        format!("{processor}, {}, {} threads, {}", machine.system, machine.threads, machine.device),
    );
    record.fingerprints.iter().for_each(|(name, digest)| line(name, digest.clone()));
    record.settings.iter().for_each(|(name, value)| line(name, value.clone()));
    let tables = vec![values(&record), about];
    let json = serde_json::to_value(&record)
        .map(|record| serde_json::json!({ "digest": digest, "record": record }))?;
    Ok(Report { tables, json, lines: Vec::new() }.into())
}

/// A row a system and measure, a statistic, a timing.
fn values(record: &Record) -> Table {
    let mut table =
        Table::new(["of", "measure", "value", "lower", "upper", "queries", "missing", "judged@10"]);
    for system in &record.systems {
        for measured in &system.measures {
            table.push(vec![
                Cell::text(&system.name),
                Cell::text(&measured.name),
                Cell::maybe(measured.value),
                Cell::maybe(measured.interval.map(|ends| ends[0])),
                Cell::maybe(measured.interval.map(|ends| ends[1])),
                Cell::count(measured.values.iter().flatten().count()),
                Cell::count(system.missing.len()),
                Cell::Share(system.judged_in_top_10),
            ]);
        }
    }
    type Values = (Option<f64>, Option<[f64; 2]>);
    let mut row = |of: &str, measure: &str, cell: fn(f64) -> Cell, (value, ends): Values, count: usize| {
        let cell = |value: Option<f64>| value.map_or(Cell::Empty, cell);
        let mut cells = vec![Cell::text(of), Cell::text(measure), cell(value)];
        cells.extend([cell(ends.map(|ends| ends[0])), cell(ends.map(|ends| ends[1])), Cell::count(count)]);
        cells.extend([Cell::Empty, Cell::Empty]);
        table.push(cells);
    };
    if let Some(labels) = &record.agreement {
        for measured in &labels.measures {
            let values = (measured.value, measured.interval);
            row("labels", &measured.name, Cell::Value, values, labels.cells.len());
        }
    }
    for timing in &record.timings {
        let least = timing.values.iter().copied().reduce(f64::min);
        let most = timing.values.iter().copied().reduce(f64::max);
        let ends = least.zip(most).map(|(least, most)| [least, most]);
        let values = (speed::median(&timing.values), ends);
        row(&timing.name, &timing.unit.to_string(), Cell::Quantity, values, timing.values.len());
    }
    table.notes =
        vec!["lower, upper: the 95 % bootstrap interval; of times the fastest and slowest repeat".to_owned()];
    table
}

impl Selection {
    fn wanted(&self, alternative: Alternative, level: f64, options: &Options) -> anyhow::Result<Wanted> {
        let measures = match &self.measures {
            None => Vec::new(),
            Some(list) => names(list),
        };
        Ok(Wanted {
            system: self.system.clone(),
            baseline_system: self.baseline_system.clone(),
            measures,
            force: self.force,
            alternative,
            level,
            seed: options.seed,
        })
    }
}

/// Measures as they print where they are measures (`map` becomes `AP`), statistics as they are.
fn names(list: &str) -> Vec<String> {
    match relevance::parse_measures(list) {
        Ok(measures) => measures.iter().map(ToString::to_string).collect(),
        Err(_) => list.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    }
}

fn compare_two(command: &Compare, options: &Options) -> anyhow::Result<Finished> {
    let history = command.from.history()?;
    let pair = (history.record(&command.baseline)?, history.record(&command.candidate)?);
    let wanted = command.selection.wanted(Alternative::TwoSided, 0.95, options)?;
    let compared = compare::compare(&[pair], &wanted)?;
    let mut tables = compared.iter().map(comparison_table).collect::<Vec<_>>();
    tables.extend(compared.iter().flat_map(worst_tables));
    let json = compared.first().map(serde_json::to_value).transpose()?.unwrap_or_default();
    Ok(Report { tables, json, lines: Vec::new() }.into())
}

fn comparison_table(run: &RunComparison) -> Table {
    let columns = [
        "of",
        "measure",
        "baseline",
        "candidate",
        "difference",
        "95 % interval",
        "p (random.)",
        "p (t)",
        "p (Holm)",
        "effect",
        "win/tie/loss",
    ];
    let side = |side: &compare::Side| format!("{} of {}", side.id, side.recorded_at);
    let title =
        format!("{}: {} against {}", run.candidate.dataset, side(&run.candidate), side(&run.baseline));
    let mut table = Table::new(columns).titled(title);
    let p = |p: Option<f64>| p.map_or(Cell::Empty, Cell::Probability);
    let interval = |ends: Option<[f64; 2]>| {
        Cell::text(ends.map(|[lower, upper]| format!("{lower:+.4} to {upper:+.4}")).unwrap_or_default())
    };
    for system in &run.systems {
        let name = match system.system == system.baseline_system {
            true => system.system.clone(),
            false => format!("{} against {}", system.system, system.baseline_system),
        };
        for one in &system.measures {
            table.push(vec![
                Cell::text(&name),
                Cell::text(&one.measure),
                Cell::Value(one.baseline),
                Cell::Value(one.candidate),
                Cell::Value(one.difference),
                interval(one.interval),
                p(one.randomization_p),
                p(one.t_test_p),
                p(one.holm_p),
                Cell::maybe(one.cohens_d),
                Cell::text(format!("{}/{}/{}", one.wins, one.ties, one.losses)),
            ]);
        }
    }
    for one in run.labels.iter().flat_map(|labels| &labels.measures) {
        let mut row = vec![Cell::text("labels"), Cell::text(&one.measure)];
        row.extend([one.baseline, one.candidate, one.difference].map(Cell::maybe));
        row.push(interval(one.interval));
        row.resize(columns.len(), Cell::Empty);
        table.push(row);
    }
    for one in &run.timings {
        let mut row = vec![Cell::text(&one.name), Cell::text(one.unit.to_string())];
        row.extend([one.baseline, one.candidate, one.candidate - one.baseline].map(Cell::Quantity));
        row.resize(columns.len(), Cell::Empty);
        table.push(row);
        table
            .notes
            .extend(one.incomparable.iter().map(|why| format!("{}: not to be compared: {why}", one.name)));
    }
    table.notes.extend(notes(run));
    table
}

fn notes(run: &RunComparison) -> Vec<String> {
    let mut notes = Vec::new();
    if !run.systems.is_empty() {
        notes.push(format!(
            "paired over {} queries: randomization test (two-sided), t-test; Holm's correction over all rows; effect: \
             Cohen's d",
            run.queries
        ));
    }
    notes.extend(run.differences.iter().map(|what| format!("compared by force: {what}")));
    notes.extend(run.lost_systems.iter().map(|system| format!("only in the baseline: {system}")));
    notes.extend(run.new_systems.iter().map(|system| format!("only in the candidate: {system}")));
    for system in &run.systems {
        if !system.lost_queries.is_empty() {
            notes.push(format!(
                "{}: {} queries no longer answered",
                system.system,
                system.lost_queries.len()
            ));
        }
        notes.extend(system.signs.iter().map(|sign| format!("WARNING: {}: {sign}", system.system)));
        if system.same_rankings == Some(true) {
            notes.push(format!("{}: every ranking is the same to the last bit", system.system));
        }
    }
    notes
}

fn gate(command: &Gate, options: &Options) -> anyhow::Result<Finished> {
    if command.baseline.len() > 1 && command.candidate.is_some() {
        return Err(Usage::error(
            "one candidate can be held to one baseline: leave out the candidate, or all but one --baseline",
        ));
    }
    let history = command.from.history()?;
    let limits = command.limits()?;
    // Labels have many statistics that hang together: the level is shared out among them (Bonferroni), one side each.
    let level = 1.0 - 2.0 * limits.level / 14.0;
    let wanted = command.selection.wanted(Alternative::Less, level, options)?;
    let (mut pairs, mut first) = (Vec::new(), Vec::new());
    for path in &command.baseline {
        match baseline(path)? {
            Some(baseline) => {
                let candidate = command.candidate(&history, Some(&baseline))?;
                pairs.push((baseline, candidate));
            }
            None => first.push((path, command.candidate(&history, None)?)),
        }
    }
    let compared = compare::compare(&pairs, &wanted)?;
    let mut verdict = gate::decide(&compared, &limits)?;
    if command.candidate.is_none() {
        let newest = pairs.iter().map(|(_, candidate)| history.newest(Some(candidate.0.kind), None));
        verdict = verdict.and(gate::found_candidates(&pairs, &newest.collect::<anyhow::Result<Vec<_>>>()?));
    }
    for (path, candidate) in &first {
        record::write_to(&candidate.0, path)?;
        verdict = verdict.and(gate::first_baseline(&path.display().to_string(), &candidate.0.dataset));
    }
    if command.update_baseline {
        let existing = command.baseline.iter().filter(|path| !first.iter().any(|(new, _)| new == path));
        for (path, (_, candidate)) in existing.zip(&pairs) {
            record::write_to(&candidate.0, path)?;
        }
    }
    command.write_beside(&verdict, &compared)?;
    let exit = if command.update_baseline { exit::Verdict::Yes } else { verdict.exit() };
    let mut report = verdict.report()?;
    if command.update_baseline {
        report.tables[0].notes.push("the candidate is the baseline now".to_owned());
    }
    Ok(Finished { report, verdict: exit, record: None })
}

/// The baseline, or `None` where the file is missing.
fn baseline(path: &Path) -> anyhow::Result<Option<Sealed>> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        _ => Record::read(path).map(Some),
    }
}

impl Gate {
    fn limits(&self) -> anyhow::Result<Limits> {
        let share = |flag: &str, value: f64| match value >= 0.0 && value.is_finite() {
            true => Ok(value),
            false => Err(Usage::error(format!("{flag}: expected a number of 0 or more, found {value}"))),
        };
        Ok(Limits {
            margins: Bounds::parse("--margin", &self.margin, 0.01)?,
            severities: Bounds::parse("--severity", &self.severity, 0.5)?,
            level: self.level,
            power: self.power,
            judged_drop: share("--judged-drop", self.judged_drop)?,
            slower: share("--slower", self.slower)?,
            more_instructions: share("--more-instructions", self.more_instructions)?,
            same_bits: self.same_bits,
        })
    }

    /// The record in question: the one named, or the newest of the baseline's kind and dataset.
    fn candidate(&self, history: &History, baseline: Option<&Sealed>) -> anyhow::Result<Sealed> {
        match (&self.candidate, baseline) {
            (Some(wanted), _) => history.record(wanted),
            (None, Some((record, _))) => history.newest(Some(record.kind), Some(&record.dataset)),
            (None, None) if self.baseline.len() > 1 => Err(Usage::error(
                "a missing baseline among several: write it with a call of its own that names its candidate",
            )),
            (None, None) => history.newest(None, None),
        }
    }

    fn write_beside(&self, verdict: &Verdict, compared: &[RunComparison]) -> anyhow::Result<()> {
        if let Some(path) = &self.junit {
            cache::write_whole(path, verdict.junit().as_bytes())?;
        }
        if let Some(path) = &self.benchmark_json {
            cache::write_whole(path, &serde_json::to_vec_pretty(&verdict.bigger_is_better())?)?;
        }
        if let Some(path) = &self.page {
            cache::write_whole(path, page::of_comparisons(compared).as_bytes())?;
        }
        if self.github {
            eprint!("{}", verdict.annotations());
            if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
                let mut markdown = Vec::new();
                verdict.report()?.write(crate::report::Format::Markdown, &mut markdown)?;
                let mut summary = std::fs::OpenOptions::new().append(true).create(true).open(&path);
                let written = summary.as_mut().map(|file| file.write_all(&markdown));
                written.map_err(|error| Usage::error(format!("GITHUB_STEP_SUMMARY: {error}")))??;
            }
        }
        Ok(())
    }
}

fn measure(command: &Measure, options: &Options) -> anyhow::Result<Finished> {
    let history = command.record.history()?;
    let mut record = measured::empty(Kind::Benchmark, &command.name, options)?;
    if let Some(folder) = &command.criterion {
        record.timings = speed::criterion(folder)?;
    }
    if !command.command.is_empty() {
        record.timings.extend(speed::run(
            &command.name,
            &command.command,
            command.repeats,
            command.instructions,
        )?);
    }
    let quantity = |value: Option<f64>| value.map_or(Cell::Empty, Cell::Quantity);
    let mut table = Table::new(["what", "unit", "repeats", "median", "lowest", "highest", "noise"]);
    for timing in &record.timings {
        table.push(vec![
            Cell::text(&timing.name),
            Cell::text(timing.unit.to_string()),
            Cell::count(timing.values.len()),
            quantity(speed::median(&timing.values)),
            quantity(timing.values.iter().copied().reduce(f64::min)),
            quantity(timing.values.iter().copied().reduce(f64::max)),
            Cell::Share(speed::noise(&timing.values)),
        ]);
    }
    let finished = Finished::from(Report::of_rows(table));
    Ok(finished.recorded(history.map(|history| (history, record))))
}

fn report(command: &Page, options: &Options) -> anyhow::Result<Finished> {
    let history = command.from.history()?;
    let text = match command.records.as_slice() {
        [] => {
            let filter = &command.filter;
            let entries = history.entries()?;
            let counts = entries.iter().filter(|entry| {
                entry.summary.as_ref().is_ok_and(|summary| {
                    filter.kind.is_none_or(|kind| summary.kind == kind)
                        && filter.dataset.as_ref().is_none_or(|dataset| summary.dataset == *dataset)
                })
            });
            let counts = counts.collect::<Vec<_>>();
            let newest = counts.len().saturating_sub(filter.last.unwrap_or(usize::MAX));
            let records = counts[newest..].iter().map(|entry| history.read(entry));
            page::of_history(&records.collect::<anyhow::Result<Vec<_>>>()?)
        }
        [_] => {
            return Err(Usage::error(
                "a page of two records compared needs both: the earlier, then the later",
            ));
        }
        [baseline, candidate, ..] => {
            let pair = (history.record(baseline)?, history.record(candidate)?);
            let wanted = command.selection.wanted(Alternative::TwoSided, 0.95, options)?;
            page::of_comparisons(&compare::compare(&[pair], &wanted)?)
        }
    };
    cache::write_whole(&command.out, text.as_bytes()).context("the page")?;
    let mut table = Table::new(["page", "bytes"]);
    table.push(vec![Cell::text(command.out.display().to_string()), Cell::count(text.len())]);
    Ok(Report::of_rows(table).into())
}
