//! What one run leaves behind, as a file: `{"schema": 1, "digest": ..., "record": {...}}`.
//!
//! The digest is blake3 over the record as compact JSON with its keys in their order: reformatting the file or its line
//! ends changes nothing, any other edit is noticed. Values stand in columns over `queries`; a query that a system is not
//! averaged over has `null`. A field more or less is another schema.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::exit::Usage;

/// The schema this binary writes, and the newest it reads.
pub const SCHEMA: u32 = 1;

/// The file of 10,000 queries by 20 measures by 10 systems stays well below.
const MOST_BYTES: u64 = 1 << 30;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Systems were scored on judgments.
    Evaluation,
    /// Labels were compared with labels.
    Agreement,
    /// An encoder or a labeler was trained.
    Training,
    /// Times or instructions were counted.
    Benchmark,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Evaluation => "evaluation",
            Self::Agreement => "agreement",
            Self::Training => "training",
            Self::Benchmark => "benchmark",
        })
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was done.
    pub kind: Kind,
    /// Where the record stands in its history: the clock, or just after the newest record where the clock is behind it.
    pub order: String,
    /// What the clock said.
    pub recorded_at: String,
    /// The collection's name, or the file.
    pub dataset: String,
    /// Digests of what went in, by what it is: `judgments`, `documents`, `queries`, `split`, `recipe`, `prompts`.
    pub fingerprints: BTreeMap<String, String>,
    /// The rules that the values depend on: `ties`, `self_hits`, `intersect`, ...
    pub settings: BTreeMap<String, String>,
    /// The binary.
    pub tool: Tool,
    /// The commit checked out around the working folder.
    pub commit: Option<String>,
    /// Where it ran.
    pub machine: Machine,
    /// The ids of the queries, in the order of the judgments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
    /// For each query a digest of its judgments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judgments_of_queries: Vec<String>,
    /// The systems and their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<System>,
    /// How far labels agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// Times and counts, with every repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timings: Vec<Timing>,
}

/// The binary that wrote a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its version.
    pub version: String,
    /// The commit it was built from, where the build said so (`GRADED_COMMIT`).
    pub commit: Option<String>,
}

/// Where a record was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The operating system.
    pub system: String,
    /// The instruction set.
    pub architecture: String,
    /// The processor's name, where the system tells.
    pub processor: Option<String>,
    /// Where the kernels ran.
    pub device: String,
    /// How many threads there were.
    pub threads: usize,
}

/// One system and its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// As in the recipe, or the run's tag or file.
    pub name: String,
    /// The encoder's digest, where there is one.
    pub encoder: Option<String>,
    /// A digest of every ranking: ids and the bits of the scores.
    pub rankings: Option<String>,
    /// How long retrieval took.
    pub seconds: Option<f64>,
    /// Judged queries without a ranking.
    pub missing: Vec<String>,
    /// Of the documents in the first ten ranks, the share that is judged.
    pub judged_in_top_10: f64,
    /// One column a measure.
    pub measures: Vec<Measured>,
    /// For each query its first documents with their grades, `null` where nobody judged them.
    pub top: Vec<Vec<(String, Option<i32>)>>,
}

/// One measure over all queries and on each of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// As it prints.
    pub name: String,
    /// Over all queries; absent where it has no value.
    pub value: Option<f64>,
    /// Its 95 % bootstrap interval, queries resampled, where the value is a mean over queries or a statistic of labels.
    pub interval: Option<[f64; 2]>,
    /// On each query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Option<f64>>,
}

/// How far labels agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Pairs with both grades.
    pub pairs: u64,
    /// Pairs with a human grade whose prediction could not be read.
    pub unparsed: u64,
    /// The statistics.
    pub measures: Vec<Measured>,
    /// The grades of the confusion table, lowest first.
    pub grades: Vec<i32>,
    /// Rows are human grades, columns predicted ones.
    pub confusion: Vec<Vec<u64>>,
    /// For each query, how often which human grade met which predicted one: `[human, predicted, count]`.
    pub cells: Vec<Vec<(i32, i32, u32)>>,
}

/// Something timed or counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// What.
    pub name: String,
    /// In which unit; less is better.
    pub unit: Unit,
    /// Every repeat.
    pub values: Vec<f64>,
}

/// What a [`Timing`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Elapsed time.
    Seconds,
    /// Instructions executed, as callgrind counts them.
    Instructions,
}

impl std::fmt::Display for Unit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if *self == Self::Seconds { "seconds" } else { "instructions" })
    }
}

/// The file around a record.
#[derive(Serialize, Deserialize)]
struct File<R> {
    schema: u32,
    digest: String,
    record: R,
}

/// Only the schema, whatever else there is.
#[derive(Deserialize)]
struct Peek {
    schema: Option<u32>,
}

impl Record {
    /// The digest of the record.
    ///
    /// # Errors
    /// None that can happen: a record is plain data.
    pub fn digest(&self) -> anyhow::Result<String> {
        let mut hashed = io::BufWriter::with_capacity(1 << 16, blake3::Hasher::new());
        serde_json::to_writer(&mut hashed, self)?;
        Ok(hashed.into_inner()?.finalize().to_hex().to_string())
    }

    /// The text of the record's file, and its digest.
    ///
    /// # Errors
    /// None that can happen: a record is plain data.
    pub fn sealed(&self) -> anyhow::Result<(Vec<u8>, String)> {
        let digest = self.digest()?;
        let file = File { schema: SCHEMA, digest: digest.clone(), record: self };
        let mut text = Vec::new();
        file.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Lines::default()))?;
        text.push(b'\n');
        Ok((text, digest))
    }

    /// Reads the text of a record's file; `shown` names it in errors. Returns the digest too.
    ///
    /// # Errors
    /// When it is no record, is cut off, has a newer schema, or was changed after it was written.
    pub fn parse(text: &[u8], shown: &str) -> anyhow::Result<(Self, String)> {
        let wrong = |what: String| Usage::error(format!("{shown}: {what}"));
        let file =
            serde_json::from_slice::<File<Self>>(text).map_err(|error| {
                match serde_json::from_slice::<Peek>(text) {
                    Ok(Peek { schema: Some(schema) }) if schema > SCHEMA => wrong(newer(schema)),
                    _ => wrong(format!("expected a whole run record: {error}")),
                }
            })?;
        if file.schema != SCHEMA {
            return Err(wrong(newer(file.schema)));
        }
        let digest = file.record.digest()?;
        if digest != file.digest {
            let (said, is) = (short(&file.digest), short(&digest));
            return Err(wrong(format!(
                "changed after it was written: its digest says {said}, its contents are {is}"
            )));
        }
        file.record.require_whole().map_err(wrong)?;
        Ok((file.record, digest))
    }

    /// Reads a record's file.
    ///
    /// # Errors
    /// As [`Record::parse`], and when the file cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<(Self, String)> {
        let text = crate::cache::read_whole(path, MOST_BYTES)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Every column is as long as the queries.
    fn require_whole(&self) -> Result<(), String> {
        let queries = self.queries.len();
        let mut columns = vec![("judgments_of_queries".to_owned(), self.judgments_of_queries.len())];
        for system in &self.systems {
            columns.push((format!("{}: top", system.name), system.top.len()));
            let measures = system.measures.iter();
            columns.extend(measures.map(|one| (format!("{}: {}", system.name, one.name), one.values.len())));
        }
        if let Some(agreement) = &self.agreement {
            columns.push(("agreement: cells".to_owned(), agreement.cells.len()));
            let counted = agreement.cells.iter().flatten().map(|cell| u64::from(cell.2)).sum::<u64>();
            if !agreement.cells.is_empty() && counted != agreement.pairs {
                return Err(format!(
                    "agreement: expected cells of {} pairs, found {counted}",
                    agreement.pairs
                ));
            }
        }
        match columns.into_iter().find(|(_, length)| *length != queries && *length != 0) {
            Some((name, length)) => Err(format!("{name}: expected {queries} entries, found {length}")),
            None => Ok(()),
        }
    }

    /// A system by name.
    pub fn system(&self, name: &str) -> Option<&System> {
        self.systems.iter().find(|system| system.name == name)
    }
}

fn newer(schema: u32) -> String {
    format!("its schema is {schema}, and this graded {} reads up to {SCHEMA}", env!("CARGO_PKG_VERSION"))
}

/// The first twelve digits of a digest: what people call a record by.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// The binary as it stands.
pub fn tool() -> Tool {
    Tool {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("GRADED_COMMIT").map(str::to_owned),
    }
}

/// This machine.
pub fn machine(device: String) -> Machine {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Machine {
        system: std::env::consts::OS.to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        processor: name.map(|(_, name)| name.trim().to_owned()),
        device,
        threads: rayon::current_num_threads(),
    }
}

/// JSON that diffs and merges by line: a line a field, a line a column, a line a query's documents.
#[derive(Default)]
struct Lines {
    depth: usize,
    holds_something: bool,
}

/// `file > record > systems > system > measures > one measure`.
const DEEPEST_LINE: usize = 5;

impl Lines {
    fn open<W: ?Sized + Write>(&mut self, out: &mut W, mark: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.holds_something = false;
        out.write_all(mark)
    }

    fn close<W: ?Sized + Write>(&mut self, out: &mut W, mark: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.holds_something && self.depth < DEEPEST_LINE {
            line(out, self.depth)?;
        }
        self.holds_something = true;
        out.write_all(mark)
    }

    fn next<W: ?Sized + Write>(&self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        if self.depth <= DEEPEST_LINE { line(out, self.depth) } else { Ok(()) }
    }
}

fn line<W: ?Sized + Write>(out: &mut W, depth: usize) -> io::Result<()> {
    out.write_all(b"\n")?;
    (0..depth).try_for_each(|_| out.write_all(b" "))
}

impl serde_json::ser::Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.holds_something = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.holds_something = true;
        Ok(())
    }
}

/// Writes a record to a file of the user's choice, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_to(record: &Record, path: &Path) -> anyhow::Result<()> {
    let (text, _) = record.sealed()?;
    crate::cache::write_whole(path, &text).with_context(|| format!("{}", path.display()))
}
