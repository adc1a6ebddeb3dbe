//! Runs: what a system returned, `query Q0 document rank score tag` a line.
//!
//! Reading has two phases, so that a run far larger than the results wanted from it is cheap. [`RunFile::open`] maps
//! the file and walks it once, noting where each query's lines stand ([`Queries`]). [`RunFile::ranking`] then reads one
//! query's lines into a [`Ranking`] that borrows its ids from the map: rankings can be read one at a time or in
//! parallel, and nothing is ever copied.
//!
//! Separators are blanks, tabs and other ASCII control characters, so `\r\n` needs no care. Blank lines and lines
//! whose first character is `#` are skipped, as trec_eval 10 does. The `rank` column is not read: order comes from
//! the scores. Also read: a table `query document score` with a header (BEIR's results), and one JSON object
//! `{query: {document: score}}`.

use std::path::{Path, PathBuf};

use memchr::memchr;
use relevance::{Hit, Ranking};
use rustc_hash::FxHashMap;

use super::fields::{self, Compare, Everywhere, Window};
use super::run_queries::Queries;
use crate::error::{Error, Result, quoted};
use crate::text::{finite, finite_field, is_blank_or_comment, is_separator, shown, utf8};

/// How a run is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Refuse a document that appears twice for a query. On by default; costs a few nanoseconds a line.
    pub refuse_duplicates: bool,
    /// The most bytes a compressed run may unpack to, and a run without a map may hold.
    pub memory_bytes: u64,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { refuse_duplicates: true, memory_bytes: 8 << 30 }
    }
}

/// A run, indexed by query. Queries are numbered from 0 in the order they first appear.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
    refuse_duplicates: bool,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Lines of columns, still to be read.
    Lines { bytes: Bytes, columns: Columns, queries: Queries },
    /// A JSON run, already read.
    Parsed { queries: Vec<ParsedQuery>, numbers: FxHashMap<Box<str>, usize> },
}

/// A query of a JSON run: its id, documents and scores.
#[derive(Debug)]
struct ParsedQuery {
    id: Box<str>,
    hits: Vec<(Box<str>, f64)>,
}

/// Bytes in memory or mapped.
#[derive(Debug)]
pub(crate) enum Bytes {
    Owned(Vec<u8>),
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(memmap2::Mmap),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Mapped(map) => map,
        }
    }
}

/// Which columns a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Columns {
    Trec,
    Table,
}

impl Columns {
    fn count(self) -> usize {
        match self {
            Self::Trec => 6,
            Self::Table => 3,
        }
    }

    fn document(self) -> usize {
        match self {
            Self::Trec => 2,
            Self::Table => 1,
        }
    }

    fn score(self) -> usize {
        match self {
            Self::Trec => 4,
            Self::Table => 2,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Trec => "6 columns (query Q0 document rank score tag)",
            Self::Table => "3 columns (query document score)",
        }
    }
}

impl RunFile {
    /// Maps and indexes the run at `path`; `.gz` and `.zst` are unpacked into memory first.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, unpacks beyond the budget, holds no lines at all, or a query's id is
    /// not UTF-8. Lines are judged when their query is read.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: &Path, options: &RunOptions) -> Result<Self> {
        Self::index(crate::source::map(path, options.memory_bytes)?, path, options)
    }

    /// Indexes a run that is already in memory; `name` stands for the file in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>, name: impl AsRef<Path>, options: &RunOptions) -> Result<Self> {
        Self::index(Bytes::Owned(bytes), name.as_ref(), options)
    }

    fn index(bytes: Bytes, path: &Path, options: &RunOptions) -> Result<Self> {
        let content = Content::Parsed { queries: Vec::new(), numbers: FxHashMap::default() };
        let mut run = Self { path: path.to_owned(), refuse_duplicates: options.refuse_duplicates, content };
        if bytes.iter().find(|byte| !is_separator(**byte)) == Some(&b'{') {
            run.content = run.read_json(&bytes)?;
        } else {
            let start = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            let (columns, header) = first_line(&bytes, start, path)?;
            let queries = Queries::new(&bytes, start, header, path)?;
            run.content = Content::Lines { bytes, columns, queries };
        }
        Ok(run)
    }

    fn read_json(&self, bytes: &[u8]) -> Result<Content> {
        let run: JsonRun = serde_json::from_slice(bytes).map_err(|error| {
            let expected = "a JSON run {query: {document: score}}";
            Error::malformed(&self.path, error.line() as u64, expected, error.to_string())
        })?;
        let mut queries = Vec::with_capacity(run.0.len());
        let mut numbers = FxHashMap::default();
        for (id, hits) in run.0 {
            if numbers.insert(id.as_str().into(), queries.len()).is_some() {
                return Err(self.malformed(1, "each query once", format!("{} again", quoted(&id))));
            }
            let hits = self.check_json(&id, hits.0)?;
            queries.push(ParsedQuery { id: id.into(), hits });
        }
        Ok(Content::Parsed { queries, numbers })
    }

    fn check_json(&self, query: &str, hits: Vec<(String, f64)>) -> Result<Vec<(Box<str>, f64)>> {
        let mut seen = rustc_hash::FxHashSet::default();
        for (document, score) in &hits {
            if !score.is_finite() {
                return Err(self.malformed(1, "finite scores", format!("{score} for {}", quoted(document))));
            }
            if self.refuse_duplicates && !seen.insert(document.as_str()) {
                return Err(self.duplicate(query, document, 1, 1));
            }
        }
        Ok(hits.into_iter().map(|(document, score)| (document.into_boxed_str(), score)).collect())
    }

    /// How many queries the run answers.
    pub fn len(&self) -> usize {
        match &self.content {
            Content::Lines { queries, .. } => queries.len(),
            Content::Parsed { queries, .. } => queries.len(),
        }
    }

    /// Whether the run answers no query.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id of query `number`.
    ///
    /// # Panics
    /// When `number` is not below [`len`](Self::len).
    pub fn query(&self, number: usize) -> &str {
        match &self.content {
            Content::Lines { bytes, queries, .. } => queries.id(bytes, number),
            Content::Parsed { queries, .. } => &queries[number].id,
        }
    }

    /// The number of the query called `id`, when the run answers it.
    pub fn position(&self, id: &str) -> Option<usize> {
        match &self.content {
            Content::Lines { bytes, queries, .. } => queries.position(bytes, id),
            Content::Parsed { numbers, .. } => numbers.get(id).copied(),
        }
    }

    /// The run's tag: the sixth column of its first line.
    pub fn tag(&self) -> Option<&str> {
        let Content::Lines { bytes, columns: Columns::Trec, queries } = &self.content else { return None };
        let line = queries.first_line(bytes)?.split(|&byte| byte == b'\n').next()?;
        let fields = fields::split_plainly(line);
        (fields.count == 6).then(|| std::str::from_utf8(fields.get(line, 5)).ok())?
    }

    /// Phase two: the hits of query `number`, in the order of the file. Safe to call from several threads at once.
    ///
    /// # Errors
    /// A line with another number of columns, a score that is not a finite number, text that is not UTF-8, or a
    /// document that appears twice; each with its line.
    ///
    /// # Panics
    /// When `number` is not below [`len`](Self::len).
    pub fn ranking(&self, number: usize) -> Result<Ranking<'_>> {
        let query = self.query(number);
        let hits = match &self.content {
            Content::Parsed { queries, .. } => {
                let hits = queries[number].hits.iter();
                hits.map(|(document, score)| Hit { document, score: *score }).collect()
            }
            Content::Lines { bytes, columns, queries } => self.read_hits(bytes, *columns, queries, number)?,
        };
        Ok(Ranking { query, hits })
    }

    /// All rankings, in the order of [`query`](Self::query).
    pub fn rankings(&self) -> impl ExactSizeIterator<Item = Result<Ranking<'_>>> {
        (0..self.len()).map(|number| self.ranking(number))
    }

    fn read_hits<'a>(
        &'a self,
        bytes: &'a [u8],
        columns: Columns,
        queries: &Queries,
        number: usize,
    ) -> Result<Vec<Hit<'a>>> {
        let mut hits = Vec::with_capacity(queries.segments(bytes, number).map(|segment| segment.lines).sum());
        for segment in queries.segments(bytes, number) {
            let text = utf8(&bytes[segment.bytes], &self.path, segment.first_line)?;
            match columns {
                Columns::Trec => self.read_trec_lines(text, segment.first_line, &mut hits)?,
                Columns::Table => {
                    self.read_lines(Everywhere, text, segment.first_line, Columns::Table, &mut hits)?;
                }
            }
        }
        if self.refuse_duplicates
            && let Some((first, again)) = first_repetition(&hits)
        {
            let document = hits[again].document;
            let line = |hit| line_of(bytes, queries, number, hit);
            return Err(self.duplicate(self.query(number), document, line(first), line(again)));
        }
        Ok(hits)
    }

    /// [`read_lines`](Self::read_lines) of TREC's columns: the innermost loop of an evaluation, compiled again for newer
    /// processors.
    fn read_trec_lines<'a>(&self, text: &'a str, first_line: u64, hits: &mut Vec<Hit<'a>>) -> Result<()> {
        #[cfg(target_arch = "x86_64")]
        {
            use super::fields::Avx512;

            #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2,lzcnt")]
            fn with_wide_comparisons<'a>(
                run: &RunFile,
                compare: Avx512,
                text: &'a str,
                first_line: u64,
                hits: &mut Vec<Hit<'a>>,
            ) -> Result<()> {
                run.read_lines(compare, text, first_line, Columns::Trec, hits)
            }

            #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
            fn with_bit_instructions<'a>(
                run: &RunFile,
                text: &'a str,
                first_line: u64,
                hits: &mut Vec<Hit<'a>>,
            ) -> Result<()> {
                run.read_lines(Everywhere, text, first_line, Columns::Trec, hits)
            }

            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
            {
                // SAFETY: the processor has every feature that is named.
                return unsafe {
                    match Avx512::detect() {
                        Some(avx512) => with_wide_comparisons(self, avx512, text, first_line, hits),
                        None => with_bit_instructions(self, text, first_line, hits),
                    }
                };
            }
        }
        self.read_lines(Everywhere, text, first_line, Columns::Trec, hits)
    }

    #[inline(always)]
    fn read_lines<'a>(
        &self,
        compare: impl Compare,
        text: &'a str,
        first_line: u64,
        columns: Columns,
        hits: &mut Vec<Hit<'a>>,
    ) -> Result<()> {
        let (mut at, mut line_number) = (0, first_line);
        while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
            let line = rest.first_chunk().and_then(|window| Window::new(window, compare).line());
            at += match line {
                Some((length, fields)) if fields.are(columns.count()) && rest[fields.of(0).0] != b'#' => {
                    let field = |number| {
                        let (start, end) = fields.of(number);
                        at + start..at + end
                    };
                    let (document, score) = (&text[field(columns.document())], field(columns.score()));
                    match finite_field(text, score.clone()) {
                        Some(score) => hits.push(Hit { document, score }),
                        None => return Err(self.not_a_score(&text[score], line_number)),
                    }
                    length
                }
                _ => self.read_line_plainly(text, at, line_number, columns, hits)?,
            };
            at += 1;
            line_number += 1;
        }
        Ok(())
    }

    /// Reads the line at `at`, whatever it holds, and returns its length.
    #[inline(never)]
    fn read_line_plainly<'a>(
        &self,
        text: &'a str,
        at: usize,
        line_number: u64,
        columns: Columns,
        hits: &mut Vec<Hit<'a>>,
    ) -> Result<usize> {
        let rest = &text[at..];
        let line = &rest[..memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len())];
        if is_blank_or_comment(line.as_bytes()) {
            return Ok(line.len());
        }
        let fields = fields::split_plainly(line.as_bytes());
        if fields.count != columns.count() {
            let found = format!("{} in {}", fields.count, quoted(line));
            return Err(self.malformed(line_number, columns.expected(), found));
        }
        let field = |number: usize| fields.starts[number]..fields.ends[number];
        let (document, score) = (&line[field(columns.document())], &line[field(columns.score())]);
        let score = finite(score).ok_or_else(|| self.not_a_score(score, line_number))?;
        hits.push(Hit { document, score });
        Ok(line.len())
    }

    #[cold]
    fn not_a_score(&self, found: &str, line: u64) -> Error {
        self.malformed(line, "a finite number as score", quoted(found))
    }

    fn malformed(&self, line: u64, expected: &str, found: String) -> Error {
        Error::malformed(&self.path, line, expected, found)
    }

    fn duplicate(&self, query: &str, document: &str, first_line: u64, line: u64) -> Error {
        Error::DuplicateDocument {
            path: self.path.clone(),
            line,
            first_line,
            query: query.to_owned(),
            document: document.to_owned(),
        }
    }
}

/// What the first line that says something tells: the columns, and the number of the header line (0: there is none).
fn first_line(bytes: &[u8], start: usize, path: &Path) -> Result<(Columns, u64)> {
    let found = crate::text::lines(&bytes[start..]).find(|(_, line)| !is_blank_or_comment(line));
    let Some((number, line)) = found else {
        return Err(Error::malformed(path, 1, Columns::Trec.expected(), "no lines at all"));
    };
    let fields = fields::split_plainly(line);
    if fields.count != 3 {
        return Ok((Columns::Trec, 0));
    }
    let is_header = finite(&String::from_utf8_lossy(fields.get(line, 2))).is_none();
    let names = ["query-id", "query_id", "qid", "query"];
    if is_header && names.iter().any(|name| fields.get(line, 0) == name.as_bytes()) {
        return Ok((Columns::Table, number));
    }
    Err(Error::malformed(path, number, Columns::Trec.expected(), format!("3 in {}", shown(line))))
}

/// The line hit number `hit` of a query stands on. Only errors ask.
fn line_of(bytes: &[u8], queries: &Queries, number: usize, hit: usize) -> u64 {
    let mut lines = queries.segments(bytes, number).flat_map(|segment| {
        crate::text::lines(&bytes[segment.bytes])
            .filter(|(_, line)| !is_blank_or_comment(line))
            .map(move |(line, _)| segment.first_line + line - 1)
    });
    lines.nth(hit).unwrap_or_default()
}

/// The first two hits with the same document, by position. A small open-addressing table of positions, at most a
/// quarter full so that most documents find an empty slot at once: in the first-level cache for a thousand hits, no
/// allocation a document. Ids are compared only where hashes agree.
fn first_repetition(hits: &[Hit<'_>]) -> Option<(usize, usize)> {
    use std::hash::{BuildHasher, BuildHasherDefault};
    let hasher = BuildHasherDefault::<rustc_hash::FxHasher>::default();
    let mask = (hits.len() * 4).next_power_of_two() - 1;
    // Position plus one; 0 in an empty slot. More than 2^32 hits a query are refused where rankings are scored.
    let mut table = vec![0u32; mask + 1];
    let mut hashes = Vec::with_capacity(hits.len());
    for (at, hit) in hits.iter().enumerate() {
        let hash = hasher.hash_one(hit.document.as_bytes());
        let mut slot = hash as usize & mask;
        while table[slot] != 0 {
            let earlier = table[slot] as usize - 1;
            if hashes[earlier] == hash && hits[earlier].document == hit.document {
                return Some((earlier, at));
            }
            slot = (slot + 1) & mask;
        }
        table[slot] = at as u32 + 1;
        hashes.push(hash);
    }
    None
}

/// A JSON object as its entries in order, repetitions kept, so that they can be refused.
struct Entries<V>(Vec<(String, V)>);
/// `{query: {document: score}}`.
type JsonRun = Entries<Entries<f64>>;

impl<'de, V: serde::Deserialize<'de>> serde::Deserialize<'de> for Entries<V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<V>(std::marker::PhantomData<V>);
        impl<'de, V: serde::Deserialize<'de>> serde::de::Visitor<'de> for Visitor<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<RunFile> {
        RunFile::from_bytes(text.as_bytes().to_vec(), "a.run", &RunOptions::default())
    }

    /// Everything a run says: `query: document=score ...`, or the first error.
    fn read(text: &str) -> String {
        let all = || -> Result<String> {
            let run = run(text)?;
            let mut out = Vec::new();
            for ranking in run.rankings() {
                let ranking = ranking?;
                let hits: Vec<_> =
                    ranking.hits.iter().map(|h| format!("{}={}", h.document, h.score)).collect();
                out.push(format!("{}: {}", ranking.query, hits.join(" ")));
            }
            Ok(out.join("; "))
        };
        all().unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn blanks_tabs_comments_and_line_ends_do_not_matter() {
        let text = "# made by hand\r\n1 Q0 a 1 2.5 t\r\n\r\n1\tQ0\tb\t2\t  -1e-1\tt\n  # no\n# six words that say nothing\n 2 Q0 a 1 3 t";
        assert_eq!(read(text), "1: a=2.5 b=-0.1; 2: a=3");
    }

    #[test]
    fn a_query_may_stand_in_several_places() {
        let text = "1 Q0 a 1 3 t\n12 Q0 a 1 3 t\n1 Q0 b 1 2 t\n12 Q0 c 1 1 t\n";
        assert_eq!(read(text), "1: a=3 b=2; 12: a=3 c=1");
        let run = run(text).unwrap();
        assert_eq!((run.position("12"), run.position("2"), run.tag()), (Some(1), None, Some("t")));
    }

    #[test]
    fn lines_longer_than_a_window_are_read_the_same() {
        let id = "x".repeat(100);
        assert_eq!(read(&format!("1 Q0 {id} 1 2 t\n1 Q0 b 2 1 t\n")), format!("1: {id}=2 b=1"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let expected = "expected 6 columns (query Q0 document rank score tag), found";
        assert_eq!(read("1 Q0 a 1 2 t\n1 Q0 b 2 1\n"), format!("a.run:2: {expected} 5 in \"1 Q0 b 2 1\""));
        assert_eq!(read("1 Q0 a 1 2 t more\n"), format!("a.run:1: {expected} 7 in \"1 Q0 a 1 2 t more\""));
        assert_eq!(read("\n# nothing\n"), format!("a.run:1: {expected} no lines at all"));
        for score in ["NaN", "inf", "-Infinity", "1e999", "high"] {
            let message = format!("a.run:3: expected a finite number as score, found {score:?}");
            assert_eq!(read(&format!("1 Q0 a 1 2 t\n\n1 Q0 b 2 {score} t\n")), message);
        }
    }

    #[test]
    fn a_document_twice_in_a_query_is_refused_with_both_lines() {
        let text = "1 Q0 a 1 2 t\n# x\n2 Q0 a 1 2 t\n1 Q0 b 2 1 t\n1 Q0 a 3 0 t\n";
        let message = "a.run:5: expected each document once a query, found \"a\" again for query \"1\" (first on line 1)";
        assert_eq!(read(text), message);
        let options = RunOptions { refuse_duplicates: false, ..RunOptions::default() };
        let run = RunFile::from_bytes(text.into(), "a.run", &options).unwrap();
        assert_eq!(run.ranking(0).unwrap().hits.len(), 3);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_line() {
        let bytes = b"1 Q0 a 1 2 t\n1 Q0 b\xff 2 1 t\n".to_vec();
        let run = RunFile::from_bytes(bytes, "a.run", &RunOptions::default()).unwrap();
        let message = run.ranking(0).unwrap_err().to_string();
        assert_eq!(message, "a.run:2: expected UTF-8 text, found the byte 0xff");
        let bytes = b"1\xff Q0 a 1 2 t\n".to_vec();
        assert!(RunFile::from_bytes(bytes, "a.run", &RunOptions::default()).is_err());
    }

    #[test]
    fn a_json_run_and_a_table_of_results_say_the_same() {
        let expected = "q1: d1=1.5 d2=1; q2: d1=-3";
        assert_eq!(read(r#" {"q1": {"d1": 1.5, "d2": 1}, "q2": {"d1": -3}}"#), expected);
        assert_eq!(read("query-id\tcorpus-id\tscore\nq1\td1\t1.5\nq1\td2\t1\nq2\td1\t-3\n"), expected);
    }

    #[test]
    fn a_json_run_is_judged_like_any_other() {
        assert!(read(r#"{"q": {"d": 1, "d": 2}}"#).contains("each document once"));
        assert!(read(r#"{"q": {"d": 1}, "q": {}}"#).contains("each query once"));
        assert!(read("{\"q\": \n[1]}").starts_with("a.run:2: expected a JSON run"));
    }

    #[test]
    fn the_first_repetition_is_found_among_many() {
        let ids: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
        let mut hits: Vec<_> = ids.iter().map(|id| Hit { document: id.as_str(), score: 0.0 }).collect();
        assert_eq!(first_repetition(&hits), None);
        hits.push(hits[1234]);
        assert_eq!(first_repetition(&hits), Some((1234, 5000)));
        assert_eq!(first_repetition(&[]), None);
    }
}
