//! Where each query's lines stand in a run: usually together, but any order is read.
//!
//! Runs of millions of queries with one hit each exist, so nothing is allocated for a query. Segments (lines that stand
//! together and belong to one query) tile the file and are listed in its order; those of one query are chained by
//! number. Ids stay in the file: a table of query numbers, found by hash, is compared with them where they stand. That
//! makes 32 bytes a query of one segment, and up to 16 in the table.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::ops::Range;
use std::path::Path;

use memchr::memchr;

use super::fields::{Compare, Everywhere, WINDOW};
use crate::error::{Error, Result};
use crate::text::{is_separator, utf8};

/// The queries of a run, numbered from 0 in the order they first appear. Every function is handed the run's bytes.
#[derive(Debug)]
pub(super) struct Queries {
    /// In the order of the file; each ends where the next begins.
    segments: Vec<Start>,
    /// The first and the last segment of each query.
    chains: Vec<[u32; 2]>,
    /// A power of two of slots, at most half of them taken: a query's number plus one, or 0.
    slots: Vec<u32>,
    /// How many lines the file has.
    lines: u64,
}

#[derive(Debug)]
struct Start {
    at: usize,
    line: u64,
    /// The next segment of the same query; 0 at the end of the chain.
    next: u32,
}

/// Lines that stand together and belong to one query, with the blank lines and comments after them.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub bytes: Range<usize>,
    pub first_line: u64,
    pub lines: usize,
}

const FEWEST_SLOTS: usize = 16;

impl Queries {
    /// Walks the lines from `start`; the line numbered `header` (0: none) belongs to no query.
    ///
    /// # Errors
    /// When an id is not UTF-8, or there are 2^32 segments.
    pub fn new(bytes: &[u8], start: usize, header: u64, path: &Path) -> Result<Self> {
        let queries =
            Self { segments: Vec::new(), chains: Vec::new(), slots: vec![0; FEWEST_SLOTS], lines: 0 };
        let mut walk = Walk { bytes, header, path, queries, open: FirstField::default() };
        walk.line(start)?;
        walk.lines_from(start)?;
        Ok(walk.queries)
    }

    #[inline(never)]
    fn open_segment(&mut self, bytes: &[u8], at: usize, id: &[u8], path: &Path) -> Result<()> {
        let line = self.lines;
        utf8(id, path, line)?;
        let number = u32::try_from(self.segments.len()).ok().filter(|&number| number < u32::MAX);
        let number =
            number.ok_or_else(|| Error::malformed(path, line, "fewer than 2^32 changes of query", "more"))?;
        self.segments.push(Start { at, line, next: 0 });
        let slot = self.slot(bytes, id);
        match (self.slots[slot] as usize).checked_sub(1) {
            Some(query) => {
                let [_, last] = &mut self.chains[query];
                self.segments[*last as usize].next = number;
                *last = number;
            }
            None => {
                self.chains.push([number, number]);
                self.slots[slot] = self.chains.len() as u32;
                if self.chains.len() * 2 > self.slots.len() {
                    self.grow(bytes);
                }
            }
        }
        Ok(())
    }

    /// The slot of the query called `id`, or the empty one where it belongs.
    fn slot(&self, bytes: &[u8], id: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash(id) & mask;
        while let Some(number) = (self.slots[slot] as usize).checked_sub(1) {
            if self.id_bytes(bytes, number) == id {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self, bytes: &[u8]) {
        let mask = self.slots.len() * 2 - 1;
        let mut slots = vec![0; mask + 1];
        for number in 0..self.chains.len() {
            let mut slot = hash(self.id_bytes(bytes, number)) & mask;
            while slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = number as u32 + 1;
        }
        self.slots = slots;
    }

    pub fn len(&self) -> usize {
        self.chains.len()
    }

    fn id_bytes<'a>(&self, bytes: &'a [u8], number: usize) -> &'a [u8] {
        let [first, _] = self.chains[number];
        first_field(&bytes[self.segments[first as usize].at..]).unwrap_or_default()
    }

    /// The id of query `number`. Ids were checked when the queries were found; empty when somebody has changed the file
    /// since.
    pub fn id<'a>(&self, bytes: &'a [u8], number: usize) -> &'a str {
        std::str::from_utf8(self.id_bytes(bytes, number)).unwrap_or_default()
    }

    /// The number of the query called `id`.
    pub fn position(&self, bytes: &[u8], id: &str) -> Option<usize> {
        (self.slots[self.slot(bytes, id.as_bytes())] as usize).checked_sub(1)
    }

    /// Where the lines of query `number` stand.
    pub fn segments(&self, bytes: &[u8], number: usize) -> impl Iterator<Item = Segment> {
        let length = bytes.len();
        let segment = move |at: u32| {
            let at = at as usize;
            let Start { at: start, line: first_line, .. } = self.segments[at];
            let next = self.segments.get(at + 1);
            let (end, next_line) = next.map_or((length, self.lines + 1), |next| (next.at, next.line));
            Segment { bytes: start..end, first_line, lines: (next_line - first_line) as usize }
        };
        let next = |&at: &u32| Some(self.segments[at as usize].next).filter(|&next| next > 0);
        std::iter::successors(Some(self.chains[number][0]), next).map(segment)
    }

    /// The file from its first line of a query on.
    pub fn first_line<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.segments.first().map(|first| &bytes[first.at..])
    }
}

fn hash(id: &[u8]) -> usize {
    BuildHasherDefault::<rustc_hash::FxHasher>::default().hash_one(id) as usize
}

/// The walk over the lines: what was found, and the segment that is open.
struct Walk<'a> {
    bytes: &'a [u8],
    header: u64,
    path: &'a Path,
    queries: Queries,
    open: FirstField<'a>,
}

impl Walk<'_> {
    /// Every line but the one at `start`.
    fn lines_from(&mut self, start: usize) -> Result<()> {
        #[cfg(target_arch = "x86_64")]
        {
            use super::fields::Avx512;

            #[target_feature(enable = "avx512f,avx512bw")]
            fn with_wide_comparisons(walk: &mut Walk<'_>, compare: Avx512, start: usize) -> Result<()> {
                walk.windows_from(start, compare)
            }
            if let Some(avx512) = Avx512::detect() {
                // SAFETY: the processor has both features.
                return unsafe { with_wide_comparisons(self, avx512, start) };
            }
        }
        self.windows_from(start, Everywhere)
    }

    #[inline(always)]
    fn windows_from(&mut self, start: usize, compare: impl Compare) -> Result<()> {
        let (windows, rest) = self.bytes[start..].as_chunks::<WINDOW>();
        for (window, base) in windows.iter().zip((start..).step_by(WINDOW)) {
            self.lines_after(compare.line_feeds(window), base)?;
        }
        let mut last = [0; WINDOW];
        last[..rest.len()].copy_from_slice(rest);
        self.lines_after(compare.line_feeds(&last), self.bytes.len() - rest.len())
    }

    /// The lines that begin after the line feeds of the window at `base`.
    #[inline(always)]
    fn lines_after(&mut self, mut feeds: u64, base: usize) -> Result<()> {
        while feeds != 0 {
            self.line(base + feeds.trailing_zeros() as usize + 1)?;
            feeds &= feeds - 1;
        }
        Ok(())
    }

    /// The line at `at`; behind the end of the file there is none.
    #[inline(always)]
    fn line(&mut self, at: usize) -> Result<()> {
        let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) else { return Ok(()) };
        self.queries.lines += 1;
        if self.open.begins(rest) || self.queries.lines == self.header {
            return Ok(());
        }
        let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
        let Some(id) = first_field(line) else { return Ok(()) };
        self.open = FirstField::new(id);
        self.queries.open_segment(self.bytes, at, id, self.path)
    }
}

/// The first field of a line that is neither blank nor a comment.
fn first_field(line: &[u8]) -> Option<&[u8]> {
    let start = line.iter().position(|byte| !is_separator(*byte))?;
    let line = &line[start..];
    let end = line.iter().position(|byte| is_separator(*byte)).unwrap_or(line.len());
    (line[0] != b'#').then_some(&line[..end])
}

/// The field that the open segment's lines begin with, made ready to be compared in one step where it is short.
#[derive(Default)]
struct FirstField<'a> {
    id: &'a [u8],
    word: u128,
    mask: u128,
}

impl<'a> FirstField<'a> {
    fn new(id: &'a [u8]) -> Self {
        let mut word = [0; 16];
        let short = id.len().min(15);
        word[..short].copy_from_slice(&id[..short]);
        Self { id, word: u128::from_le_bytes(word), mask: (1 << (8 * short)) - 1 }
    }

    /// Whether the line that `rest` begins with begins with the field, for the plain case of no blanks before it.
    #[inline(always)]
    fn begins(&self, rest: &[u8]) -> bool {
        match rest.first_chunk::<16>() {
            Some(start) if self.id.len() < 16 => {
                u128::from_le_bytes(*start) & self.mask == self.word
                    && is_separator(start[self.id.len()])
                    && !self.id.is_empty()
            }
            _ => {
                rest.len() > self.id.len()
                    && rest.starts_with(self.id)
                    && is_separator(rest[self.id.len()])
                    && !self.id.is_empty()
            }
        }
    }
}
