//! Sorting more records than fit into memory: sorted runs on disk, merged when they are read.
//!
//! A record is bytes, ordered as bytes. Records are gathered up to a budget, sorted and written as a run; the runs are merged
//! with one buffer each. Memory: the budget, and 64 KiB a run of at most [`MOST_RUNS`] at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// More runs than this are merged into one before reading: open files are few.
const MOST_RUNS: usize = 64;
const BUFFER_BYTES: usize = 64 << 10;

/// Takes records in any order.
pub struct Sorter {
    folder: PathBuf,
    budget_bytes: usize,
    distinct: bool,
    bytes: Vec<u8>,
    records: Vec<(usize, u32)>,
    runs: Vec<File>,
    spilled_bytes: u64,
}

/// Gives records in order.
pub struct Sorted {
    runs: Vec<BufReader<File>>,
    next: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    distinct: bool,
    record: Vec<u8>,
    any: bool,
    peeked: bool,
    /// How many bytes of records went to disk.
    pub spilled_bytes: u64,
}

impl Sorter {
    /// A sorter with room for about `budget_bytes` of records; runs go to nameless files in `folder`. With `distinct`, equal
    /// records are given once.
    pub fn new(folder: &Path, budget_bytes: u64, distinct: bool) -> Self {
        Self {
            folder: folder.to_path_buf(),
            budget_bytes: usize::try_from(budget_bytes).unwrap_or(usize::MAX).max(1 << 20),
            distinct,
            bytes: Vec::new(),
            records: Vec::new(),
            runs: Vec::new(),
            spilled_bytes: 0,
        }
    }

    /// Takes a record of at most 2^32 - 1 bytes.
    ///
    /// # Errors
    /// When a run cannot be written.
    pub fn push(&mut self, record: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(record.len()).context("a record of 4 GiB or more")?;
        let used = self.bytes.len() + self.records.len() * size_of::<(usize, u32)>();
        if used + record.len() > self.budget_bytes && !self.records.is_empty() {
            self.spill()?;
        }
        self.records.push((self.bytes.len(), length));
        self.bytes.extend_from_slice(record);
        Ok(())
    }

    /// The records in order.
    ///
    /// # Errors
    /// When a run cannot be written or read.
    pub fn finish(mut self) -> anyhow::Result<Sorted> {
        if !self.records.is_empty() {
            self.spill()?;
        }
        drop((std::mem::take(&mut self.bytes), std::mem::take(&mut self.records)));
        while self.runs.len() > MOST_RUNS {
            let several: Vec<File> = self.runs.drain(..MOST_RUNS).collect();
            let mut merged = Sorted::of(several, self.distinct)?;
            let mut run = self.new_run()?;
            while let Some(record) = merged.next()? {
                write(&mut run, record)?;
            }
            self.end_run(run)?;
        }
        let sorted = Sorted::of(self.runs, self.distinct)?;
        Ok(Sorted { spilled_bytes: self.spilled_bytes, ..sorted })
    }

    fn spill(&mut self) -> anyhow::Result<()> {
        let (bytes, mut records) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.records));
        let slice = |&(at, length): &(usize, u32)| &bytes[at..at + length as usize];
        records.sort_unstable_by(|a, b| slice(a).cmp(slice(b)));
        let mut run = self.new_run()?;
        let mut previous: Option<&[u8]> = None;
        for record in &records {
            let record = slice(record);
            if !(self.distinct && previous == Some(record)) {
                write(&mut run, record)?;
                self.spilled_bytes += record.len() as u64 + 4;
            }
            previous = Some(record);
        }
        self.end_run(run)?;
        // The room is used again.
        (self.bytes, self.records) = (bytes, records);
        self.bytes.clear();
        self.records.clear();
        Ok(())
    }

    fn new_run(&self) -> anyhow::Result<BufWriter<File>> {
        let file = tempfile::tempfile_in(&self.folder)
            .with_context(|| format!("{}: no room for temporary files", self.folder.display()))?;
        Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
    }

    fn end_run(&mut self, run: BufWriter<File>) -> anyhow::Result<()> {
        let mut file = run.into_inner().map_err(io::IntoInnerError::into_error).context(WRITING)?;
        file.rewind().context(WRITING)?;
        self.runs.push(file);
        Ok(())
    }
}

const WRITING: &str = "a temporary file of the sort cannot be written";
const READING: &str = "a temporary file of the sort cannot be read";

fn write(run: &mut BufWriter<File>, record: &[u8]) -> anyhow::Result<()> {
    let length = (record.len() as u32).to_le_bytes();
    run.write_all(&length).and_then(|()| run.write_all(record)).context(WRITING)
}

impl Sorted {
    fn of(runs: Vec<File>, distinct: bool) -> anyhow::Result<Self> {
        let runs: Vec<_> = runs.into_iter().map(|run| BufReader::with_capacity(BUFFER_BYTES, run)).collect();
        let next = BinaryHeap::with_capacity(runs.len());
        let mut sorted =
            Self { runs, next, distinct, record: Vec::new(), any: false, peeked: false, spilled_bytes: 0 };
        for run in 0..sorted.runs.len() {
            sorted.refill(run, Vec::new())?;
        }
        Ok(sorted)
    }

    /// The next record, which is not given again.
    ///
    /// # Errors
    /// When a run cannot be read.
    pub fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        let is_any = self.peek()?.is_some();
        self.peeked = false;
        Ok(is_any.then_some(&self.record[..]))
    }

    /// The next record, which [`next`](Self::next) will give.
    ///
    /// # Errors
    /// When a run cannot be read.
    pub fn peek(&mut self) -> anyhow::Result<Option<&[u8]>> {
        while !self.peeked {
            let Some(Reverse((record, run))) = self.next.pop() else { return Ok(None) };
            let is_repeated = self.distinct && self.any && record == self.record;
            let room = std::mem::replace(&mut self.record, record);
            self.refill(run, room)?;
            (self.peeked, self.any) = (!is_repeated, true);
        }
        Ok(Some(&self.record))
    }

    fn refill(&mut self, run: usize, mut room: Vec<u8>) -> anyhow::Result<()> {
        let mut length = [0; 4];
        match self.runs[run].read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read.context(READING)?,
        }
        room.resize(u32::from_le_bytes(length) as usize, 0);
        self.runs[run].read_exact(&mut room).context(READING)?;
        self.next.push(Reverse((room, run)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sorted(records: &[Vec<u8>], distinct: bool) -> Vec<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(folder.path(), 0, distinct);
        // Far below the smallest budget a caller can ask for, so that there are many runs.
        sorter.budget_bytes = 200;
        records.iter().for_each(|record| sorter.push(record).unwrap());
        let mut sorted = sorter.finish().unwrap();
        let mut all = Vec::new();
        while let Some(record) = sorted.next().unwrap() {
            all.push(record.to_vec());
        }
        all
    }

    #[test]
    fn many_runs_come_back_in_order() {
        let mut state = 7_u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 40
        };
        let mut records: Vec<Vec<u8>> =
            (0..5000).map(|_| format!("{}", draw() % 900).repeat(draw() as usize % 3).into_bytes()).collect();
        let found = sorted(&records, false);
        let distinct = sorted(&records, true);
        records.sort();
        assert_eq!(found, records);
        records.dedup();
        assert_eq!(distinct, records);
        assert!(sorted(&[], true).is_empty());
    }
}
