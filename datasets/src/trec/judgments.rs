//! Judgments: TREC's four columns (`query 0 document grade`), BEIR's three with a header (`query-id corpus-id
//! score`), and three without one (Cranfield's `cranqrel`).

use std::path::{Path, PathBuf};

use memchr::memchr;
use relevance::{Grade, Judgments};

use super::fields::{self, Compare, Everywhere, Window};
use crate::error::{Error, Result, quoted};
use crate::text::{grade, is_blank_or_comment, lines, shown, utf8, without_mark};

/// How judgments are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgmentOptions {
    /// Refuse two different grades for one pair. When off, the first stays and the conflict is only counted.
    pub refuse_conflicts: bool,
    /// The most bytes the file may have, unpacked.
    pub memory_bytes: u64,
}

impl Default for JudgmentOptions {
    fn default() -> Self {
        Self { refuse_conflicts: true, memory_bytes: 8 << 30 }
    }
}

/// What a judgment file says.
#[derive(Clone, Debug, Default)]
pub struct JudgmentFile {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The judgments, first grade of each pair.
    pub judgments: Judgments,
    /// How many lines repeat a pair with the grade it already has, and the line of the first of them.
    pub repeated: u64,
    /// The first line that repeats a pair.
    pub first_repeated_line: Option<u64>,
    /// How many lines give a pair another grade (0 when conflicts are refused).
    pub conflicts: u64,
}

/// Reads the judgments at `path` (`.gz` and `.zst` too).
///
/// # Errors
/// When the file cannot be read or is larger than the budget, and as [`parse_judgments`].
#[cfg(not(target_arch = "wasm32"))]
pub fn read_judgments(path: &Path, options: &JudgmentOptions) -> Result<JudgmentFile> {
    let budget = crate::source::Budget::new(options.memory_bytes);
    parse_judgments(&crate::source::map_within(path, &budget)?, path, options)
}

/// Reads judgments from `bytes`; `name` stands for the file in errors. Blank lines and lines beginning with `#` are
/// skipped.
///
/// # Errors
/// No lines at all, another number of columns than the first line has, a grade that is not a whole number, text that
/// is not UTF-8, and (when asked to refuse them) two grades for one pair.
pub fn parse_judgments(bytes: &[u8], name: &Path, options: &JudgmentOptions) -> Result<JudgmentFile> {
    #[cfg(target_arch = "x86_64")]
    {
        use super::fields::Avx512;

        #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2,lzcnt")]
        fn with_wide_comparisons(
            compare: Avx512,
            bytes: &[u8],
            name: &Path,
            options: &JudgmentOptions,
        ) -> Result<JudgmentFile> {
            parse_with(compare, bytes, name, options)
        }

        if let Some(avx512) = Avx512::detect()
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
        {
            // SAFETY: the processor has every feature that is named.
            return unsafe { with_wide_comparisons(avx512, bytes, name, options) };
        }
    }
    parse_with(Everywhere, bytes, name, options)
}

#[inline(always)]
fn parse_with(
    compare: impl Compare,
    bytes: &[u8],
    name: &Path,
    options: &JudgmentOptions,
) -> Result<JudgmentFile> {
    let mut file = JudgmentFile { path: name.to_owned(), ..JudgmentFile::default() };
    let (mut layout, mut said) = (None, 0u64);
    let bytes = without_mark(bytes);
    // Checked once rather than line by line; when not all of it is text, the line that is not will say so.
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let (mut at, mut number) = (0, 0);
    while at < bytes.len() {
        number += 1;
        if layout == Some(Columns::Trec)
            && let Some((length, judgment)) = text.get(at..).and_then(|rest| plain_line(rest, compare))
        {
            said += 1;
            file.record(judgment, bytes, number, Columns::Trec, options)?;
            at += length + 1;
            continue;
        }
        let (_, line) = lines(&bytes[at..]).next().unwrap_or_default();
        at += memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |length| length + 1);
        if is_blank_or_comment(line) {
            continue;
        }
        let line = utf8(line, name, number)?;
        let (columns, is_header) = match layout {
            Some(columns) => (columns, false),
            None => Columns::of_first_line(line, name, number)?,
        };
        layout = Some(columns);
        if !is_header {
            said += 1;
            file.record(columns.split(line, name, number)?, bytes, number, columns, options)?;
        }
    }
    match layout {
        Some(_) if said == 0 => Err(Error::malformed(name, 1, EXPECTED, "no judgments, only a header")),
        Some(_) => Ok(file),
        None => Err(Error::malformed(name, 1, EXPECTED, "no lines at all")),
    }
}

const EXPECTED: &str = "4 columns (query 0 document grade) or 3 (query document grade)";

/// `(query, document, grade)` of one line.
type Judgment<'a> = (&'a str, &'a str, Grade);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Columns {
    /// Four, separated by blanks or tabs.
    Trec,
    /// Three, separated by tabs only: ids may hold blanks.
    Tabs,
    /// Three, separated by blanks or tabs.
    Blanks,
}

impl Columns {
    /// The layout of the first line, and whether that line is a header.
    fn of_first_line(line: &str, path: &Path, number: u64) -> Result<(Self, bool)> {
        let columns = match fields::split_plainly(line.as_bytes()).count {
            _ if line.matches('\t').count() == 2 => Self::Tabs,
            4 => Self::Trec,
            3 => Self::Blanks,
            count => {
                return Err(Error::malformed(path, number, EXPECTED, format!("{count} in {}", quoted(line))));
            }
        };
        Ok((columns, columns != Self::Trec && columns.is_header(line)))
    }

    fn is_header(self, line: &str) -> bool {
        let mut names = line.split_ascii_whitespace();
        let is_query = |name: &str| matches!(name, "query-id" | "query_id" | "qid" | "query" | "topic");
        names.next().map(str::to_ascii_lowercase).as_deref().is_some_and(is_query)
            && names.nth(1).is_some_and(|last| grade(last).is_none())
    }

    fn cells(self, line: &str) -> Option<[&str; 3]> {
        if self == Self::Tabs {
            let mut cells = line.split('\t').map(str::trim);
            let found = [cells.next()?, cells.next()?, cells.next()?];
            return (cells.next().is_none() && !found[0].is_empty() && !found[1].is_empty()).then_some(found);
        }
        let fields = fields::split_plainly(line.as_bytes());
        let cell = |at: usize| &line[fields.starts[at]..fields.ends[at]];
        match (self, fields.count) {
            (Self::Trec, 4) => Some([cell(0), cell(2), cell(3)]),
            (Self::Blanks, 3) => Some([cell(0), cell(1), cell(2)]),
            _ => None,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Trec => "4 columns (query 0 document grade)",
            Self::Tabs => "3 columns separated by tabs (query document grade)",
            Self::Blanks => "3 columns (query document grade)",
        }
    }

    fn split<'a>(self, line: &'a str, path: &Path, number: u64) -> Result<Judgment<'a>> {
        let Some([query, document, cell]) = self.cells(line) else {
            return Err(Error::malformed(path, number, self.expected(), shown(line.as_bytes())));
        };
        match grade(cell) {
            Some(grade) => Ok((query, document, grade)),
            None => Err(Error::malformed(path, number, "a whole number as grade", quoted(cell))),
        }
    }
}

/// The length of the first line and what it says, where that can be had at once: a short line of TREC's four columns.
#[inline(always)]
fn plain_line(rest: &str, compare: impl Compare) -> Option<(usize, Judgment<'_>)> {
    let (length, fields) = Window::new(rest.as_bytes().first_chunk()?, compare).line()?;
    let line = &rest[..length];
    let cell = |at| {
        let (start, end) = fields.of(at);
        &line[start..end]
    };
    if !fields.are(4) || cell(0).starts_with('#') {
        return None;
    }
    Some((length, (cell(0), cell(2), grade(cell(3))?)))
}

impl JudgmentFile {
    fn record(
        &mut self,
        (query, document, grade): Judgment<'_>,
        bytes: &[u8],
        line: u64,
        columns: Columns,
        options: &JudgmentOptions,
    ) -> Result<()> {
        match self.judgments.insert(query, document, grade) {
            None => {}
            Some(first) if first == grade => {
                self.repeated += 1;
                self.first_repeated_line.get_or_insert(line);
            }
            Some(_) if !options.refuse_conflicts => self.conflicts += 1,
            Some(first_grade) => {
                return Err(Error::ConflictingGrades {
                    path: self.path.clone(),
                    line,
                    first_line: first_line_of(bytes, columns, query, document),
                    query: query.into(),
                    document: document.into(),
                    grade,
                    first_grade,
                });
            }
        }
        Ok(())
    }
}

/// The line a pair first stands on. Only errors ask, so the file is simply read again.
fn first_line_of(bytes: &[u8], columns: Columns, query: &str, document: &str) -> u64 {
    let is_it = |line: &[u8]| {
        let cells = std::str::from_utf8(line).ok().and_then(|line| columns.cells(line));
        cells.is_some_and(|[q, d, _]| q == query && d == document)
    };
    let mut said = lines(without_mark(bytes)).filter(|(_, line)| !is_blank_or_comment(line));
    said.find(|(_, line)| is_it(line)).map_or(0, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<JudgmentFile> {
        parse_judgments(text.as_bytes(), Path::new("qrels"), &JudgmentOptions::default())
    }

    fn triples(text: &str) -> Vec<(String, String, Grade)> {
        let file = read(text).unwrap();
        let of_query = |query: &relevance::QueryJudgments| {
            let id = query.query().to_owned();
            query.iter().map(|(document, grade)| (id.clone(), document.to_owned(), grade)).collect::<Vec<_>>()
        };
        file.judgments.queries().flat_map(of_query).collect()
    }

    fn said(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn the_three_layouts_say_the_same() {
        let expected =
            [("1", "a", 2), ("1", "b", -1), ("2", "a", 0)].map(|(q, d, g)| (q.into(), d.into(), g));
        assert_eq!(triples("# c\n1 0 a 2\n1 0 b -1\r\n\n2\tQ0\ta\t0.0"), expected);
        assert_eq!(triples("query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t-1\n2\ta\t0\n"), expected);
        assert_eq!(triples("1 a 2 \n1 b -1\n2 a 0\n"), expected);
    }

    #[test]
    fn ids_between_tabs_may_hold_blanks() {
        assert_eq!(triples("1\ta b\t2\n"), [("1".into(), "a b".into(), 2)]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(said("1 0 a x\n"), "qrels:1: expected a whole number as grade, found \"x\"");
        assert_eq!(said("1 0 a 1.5\n"), "qrels:1: expected a whole number as grade, found \"1.5\"");
        assert_eq!(
            said("1 0 a 1\n\n1 0 a\n"),
            "qrels:3: expected 4 columns (query 0 document grade), found \"1 0 a\""
        );
        assert_eq!(said(""), format!("qrels:1: expected {EXPECTED}, found no lines at all"));
        assert_eq!(said("1 2\n"), format!("qrels:1: expected {EXPECTED}, found 2 in \"1 2\""));
    }

    #[test]
    fn a_repeated_grade_is_counted_and_a_second_grade_refused_with_both_lines() {
        let file = read("1 0 a 2\n1 0 a 2\n").unwrap();
        assert_eq!((file.repeated, file.first_repeated_line), (1, Some(2)));
        let message =
            "qrels:4: expected one grade for query \"1\" and document \"a\", found 1 here and 2 on line 2";
        assert_eq!(said("# c\n1 0 a 2\n1 0 b 1\n1 0 a 1\n"), message);
        let options = JudgmentOptions { refuse_conflicts: false, ..JudgmentOptions::default() };
        let file = parse_judgments(b"1 0 a 2\n1 0 a 1\n", Path::new("q"), &options).unwrap();
        assert_eq!((file.conflicts, file.judgments.grade("1", "a")), (1, Some(2)));
    }
}
