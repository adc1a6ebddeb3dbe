//! Tables of text: comma- or tab-separated values (RFC 4180 quoting) and one JSON object a line, as rows of cells
//! that know the line they began on. No files here: the browser reads pair files with the same code.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result, quoted};
use crate::text::{lines, utf8, without_mark};

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Cells between commas, a header first.
    Csv,
    /// Cells between tabs, a header first.
    Tsv,
    /// One JSON object a line; nested objects become columns `outer.inner`.
    Jsonl,
}

impl TableFormat {
    /// The format a file's name says, or else its first bytes: `{` for JSON, a tab in the first line for TSV.
    pub fn guess(name: &Path, bytes: &[u8]) -> Self {
        let name = name.to_string_lossy().to_ascii_lowercase();
        let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
        let start = without_mark(bytes).trim_ascii_start();
        let first_line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match name.rsplit('.').next() {
            Some("csv") => Self::Csv,
            Some("tsv" | "tab") => Self::Tsv,
            Some("jsonl" | "ndjson") => Self::Jsonl,
            _ if start.starts_with(b"{") => Self::Jsonl,
            _ if first_line.contains(&b'\t') => Self::Tsv,
            _ => Self::Csv,
        }
    }
}

/// A table in memory, borrowing its cells from the file's bytes where it can.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub path: PathBuf,
    pub header: Vec<String>,
    pub rows: Vec<Row<'a>>,
    /// What the file's bytes and the rows take in memory.
    pub held_bytes: u64,
}

/// One row: as many cells as the header has, `None` where a JSON object lacks the key or says null.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// The line the row begins on.
    pub line: u64,
    pub cells: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Row<'a> {
    /// The text of a cell, empty where there is none.
    pub fn text(&self, column: usize) -> &str {
        self.cells[column].as_deref().unwrap_or_default()
    }

    /// The line the cell begins on: cells before it may hold line ends.
    pub fn line_of(&self, column: usize) -> u64 {
        let ends = |cell: &Option<Cow<'a, str>>| cell.as_deref().map_or(0, |text| text.matches('\n').count());
        self.line + self.cells[..column].iter().map(ends).sum::<usize>() as u64
    }
}

impl<'a> Table<'a> {
    /// Reads a table from `bytes`; `name` stands for the file in errors. The rows, which may take ten times the
    /// bytes they were read from, count against `memory_bytes` together with `bytes`.
    pub fn parse(bytes: &'a [u8], name: &Path, format: TableFormat, memory_bytes: u64) -> Result<Self> {
        let bytes = without_mark(bytes);
        match format {
            TableFormat::Csv => Self::parse_delimited(bytes, name, b',', memory_bytes),
            TableFormat::Tsv => Self::parse_delimited(bytes, name, b'\t', memory_bytes),
            TableFormat::Jsonl => Self::parse_objects(bytes, name, memory_bytes),
        }
    }

    /// The number of the column called `name`, exactly or else without regard to case, `-`, `_` and blanks.
    pub fn column(&self, name: &str) -> Option<usize> {
        let exact = self.header.iter().position(|column| column == name);
        exact.or_else(|| self.header.iter().position(|column| folded(column) == folded(name)))
    }

    fn parse_delimited(bytes: &'a [u8], path: &Path, delimiter: u8, memory_bytes: u64) -> Result<Self> {
        let mut size = Size { used: bytes.len() as u64, memory_bytes, path };
        let text = utf8(bytes, path, 1)?;
        let mut reader = Delimited { text, delimiter, at: 0, line: 1, path };
        let Some(header) = reader.next_row()? else {
            return Err(Error::malformed(
                path,
                1,
                "a header with the names of the columns",
                "no lines at all",
            ));
        };
        let header: Vec<String> =
            header.cells.into_iter().flatten().map(|name| name.trim().to_owned()).collect();
        check_header(&header, path)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            if row.cells.len() != header.len() {
                let expected = format!("{} cells, as the header has", header.len());
                return Err(Error::malformed(path, row.line, expected, row.cells.len().to_string()));
            }
            size.count(&row)?;
            rows.push(row);
        }
        Ok(Self { path: path.to_owned(), header, rows, held_bytes: size.used })
    }

    fn parse_objects(bytes: &'a [u8], path: &Path, memory_bytes: u64) -> Result<Self> {
        let mut size = Size { used: bytes.len() as u64, memory_bytes, path };
        let (header, rows) = (Vec::new(), Vec::new());
        let mut table = Self { path: path.to_owned(), header, rows, held_bytes: 0 };
        let mut columns = rustc_hash::FxHashMap::default();
        for (number, line) in lines(bytes).filter(|(_, line)| !line.trim_ascii().is_empty()) {
            let line = utf8(line, path, number)?;
            let object = match serde_json::from_str(line) {
                Ok(Value::Object(object)) => object,
                Ok(_) => return Err(Error::malformed(path, number, "a JSON object", quoted(line))),
                Err(error) => {
                    let found = format!("{} ({error})", quoted(line));
                    return Err(Error::malformed(path, number, "a JSON object", found));
                }
            };
            let mut row = Row { line: number, cells: vec![None; table.header.len()] };
            flatten(object, "", &mut |name, cell| {
                let at = *columns.entry(name.to_owned()).or_insert_with(|| {
                    table.header.push(name.to_owned());
                    table.header.len() - 1
                });
                row.cells.resize(table.header.len().max(row.cells.len()), None);
                row.cells[at] = cell.map(Cow::Owned);
            });
            if let Some(digits) = beyond_u64(line) {
                let found = format!("{digits}, which JSON readers round");
                return Err(Error::malformed(path, number, "whole numbers below 2^64, or strings", found));
            }
            size.count(&row)?;
            table.rows.push(row);
        }
        if table.rows.is_empty() {
            return Err(Error::malformed(path, 1, "a JSON object a line", "no lines at all"));
        }
        let width = table.header.len();
        table.rows.iter_mut().for_each(|row| row.cells.resize(width, None));
        table.held_bytes = size.used;
        Ok(table)
    }
}

/// What a table takes in memory so far, and what it may.
struct Size<'p> {
    used: u64,
    memory_bytes: u64,
    path: &'p Path,
}

impl Size<'_> {
    fn count(&mut self, row: &Row<'_>) -> Result<()> {
        let owned = row.cells.iter().map(|cell| match cell {
            Some(Cow::Owned(text)) => text.capacity(),
            _ => 0,
        });
        let cells = row.cells.capacity() * std::mem::size_of::<Option<Cow<'_, str>>>();
        let bytes = std::mem::size_of::<Row<'_>>() + cells + owned.sum::<usize>();
        self.used += bytes as u64;
        if self.used <= self.memory_bytes {
            return Ok(());
        }
        let (path, budget_bytes) = (self.path.to_owned(), self.memory_bytes);
        Err(Error::MemoryBudget { path, budget_bytes, need_bytes: self.used })
    }
}

/// A column's name without case, `-`, `_` and blanks.
fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

fn check_header(header: &[String], path: &Path) -> Result<()> {
    let repeated = (1..header.len()).find(|&at| header[..at].contains(&header[at]));
    match repeated {
        None => Ok(()),
        Some(at) => {
            Err(Error::malformed(path, 1, "each column once", format!("{} again", quoted(&header[at]))))
        }
    }
}

/// A whole number of 2^64 or more outside of strings: `serde_json` makes a float of it, and two ids become one. Only lines
/// that hold twenty digits in a row are looked at twice.
pub(crate) fn beyond_u64(line: &str) -> Option<&str> {
    if !has_digits_in_a_row(line.as_bytes(), 20) {
        return None;
    }
    let mut rest = line;
    while let Some(start) = rest.find(|letter: char| letter == '"' || letter.is_ascii_digit()) {
        rest = &rest[start..];
        if let Some(inside) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = inside.find(|letter: char| {
                let ends = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                ends
            })?;
            rest = &inside[end + 1..];
            continue;
        }
        let of_number =
            |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | 'e' | 'E' | '+' | '-');
        let (number, after) = rest.split_at(rest.find(|letter| !of_number(letter)).unwrap_or(rest.len()));
        if number.len() > 19
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && number.parse::<u64>().is_err()
        {
            return Some(number);
        }
        rest = after;
    }
    None
}

/// Whether there are so many digits in a row. Looks at one byte in as many, and around those that are digits.
fn has_digits_in_a_row(bytes: &[u8], count: usize) -> bool {
    let run = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|byte| byte.is_ascii_digit()).count();
    (0..bytes.len()).step_by(count).any(|at| {
        bytes[at].is_ascii_digit()
            && run(&mut bytes[at..].iter()) + run(&mut bytes[..at].iter().rev()) >= count
    })
}

/// Calls `each` with the dotted name and the text of every scalar of `object`.
fn flatten(
    object: serde_json::Map<String, Value>,
    prefix: &str,
    each: &mut impl FnMut(&str, Option<String>),
) {
    for (key, value) in object {
        let name = format!("{prefix}{key}");
        match value {
            Value::Object(inner) => flatten(inner, &format!("{name}."), each),
            Value::String(text) => each(&name, Some(text)),
            Value::Null => each(&name, None),
            other => each(&name, Some(other.to_string())),
        }
    }
}

/// Walks the rows of delimited text.
struct Delimited<'a, 'p> {
    text: &'a str,
    delimiter: u8,
    at: usize,
    line: u64,
    path: &'p Path,
}

/// What ended a cell.
#[derive(PartialEq)]
enum After {
    Cell,
    Row,
}

impl<'a> Delimited<'a, '_> {
    fn next_row(&mut self) -> Result<Option<Row<'a>>> {
        self.skip_blank_lines();
        if self.at >= self.text.len() {
            return Ok(None);
        }
        let mut row = Row { line: self.line, cells: Vec::new() };
        loop {
            let (cell, after) = if self.text.as_bytes().get(self.at) == Some(&b'"') {
                self.quoted_cell()?
            } else {
                self.bare_cell()
            };
            row.cells.push(Some(cell));
            if after == After::Row {
                return Ok(Some(row));
            }
        }
    }

    fn skip_blank_lines(&mut self) {
        while let Some(byte @ (b'\n' | b'\r')) = self.text.as_bytes().get(self.at) {
            self.line += u64::from(*byte == b'\n');
            self.at += 1;
        }
    }

    fn bare_cell(&mut self) -> (Cow<'a, str>, After) {
        let rest = &self.text[self.at..];
        let end = memchr::memchr2(self.delimiter, b'\n', rest.as_bytes()).unwrap_or(rest.len());
        self.at += end;
        let after = self.step_over();
        let cell = &rest[..end];
        let cell = if after == After::Row { cell.strip_suffix('\r').unwrap_or(cell) } else { cell };
        (Cow::Borrowed(cell), after)
    }

    /// Steps over the delimiter or the line's end at the cursor.
    fn step_over(&mut self) -> After {
        match self.text.as_bytes().get(self.at) {
            Some(&byte) if byte == self.delimiter => {
                self.at += 1;
                After::Cell
            }
            Some(_) => {
                self.at += 1;
                self.line += 1;
                After::Row
            }
            None => After::Row,
        }
    }

    fn quoted_cell(&mut self) -> Result<(Cow<'a, str>, After)> {
        let opened = self.line;
        self.at += 1;
        let mut cell = Cow::Borrowed("");
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = memchr::memchr(b'"', rest.as_bytes()) else {
                return Err(Error::malformed(self.path, opened, "a closing quote", "the end of the file"));
            };
            self.line += memchr::memchr_iter(b'\n', &rest.as_bytes()[..end]).count() as u64;
            self.at += end + 1;
            let doubled = self.text.as_bytes().get(self.at) == Some(&b'"');
            let piece = if doubled { &rest[..=end] } else { &rest[..end] };
            cell = if cell.is_empty() { Cow::Borrowed(piece) } else { cell + piece };
            if !doubled {
                return Ok((cell, self.after_quote()?));
            }
            self.at += 1;
        }
    }

    fn after_quote(&mut self) -> Result<After> {
        let rest = &self.text[self.at..];
        if rest.starts_with("\r\n") {
            self.at += 1;
        }
        match self.text.as_bytes().get(self.at) {
            Some(&byte) if byte != self.delimiter && byte != b'\n' => {
                let found = quoted(rest.lines().next().unwrap_or_default());
                Err(Error::malformed(
                    self.path,
                    self.line,
                    "nothing between a closing quote and the next cell",
                    found,
                ))
            }
            _ => Ok(self.step_over()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_that_no_float_holds_are_seen() {
        for (line, found) in [
            (r#"{"id": 18446744073709551615}"#, None),
            (r#"{"id": 18446744073709551616}"#, Some("18446744073709551616")),
            (r#"{"a": [1, 12345678901234567890123], "b": 2}"#, Some("12345678901234567890123")),
            (r#"{"id": -99999999999999999999}"#, Some("99999999999999999999")),
            (r#"{"id": "12345678901234567890123"}"#, None),
            (r#"{"say \"12345678901234567890123\"": "x\\"}"#, None),
            (r#"{"x": 0.12345678901234567890123, "y": 1e0012345678901234567890}"#, None),
        ] {
            assert_eq!(beyond_u64(line), found, "{line}");
        }
    }

    #[test]
    fn a_table_counts_with_what_it_takes_parsed() {
        let csv = format!("a,b\n{}", "1,2\n".repeat(1000));
        let json = "{\"a\": 1, \"b\": 2}\n".repeat(1000);
        for (text, format) in [(csv, TableFormat::Csv), (json, TableFormat::Jsonl)] {
            let parse = |budget| Table::parse(text.as_bytes(), Path::new("t"), format, budget);
            let error = parse(2 * text.len() as u64).unwrap_err();
            assert!(matches!(error, Error::MemoryBudget { .. }), "{error}");
            assert_eq!(parse(1 << 20).unwrap().rows.len(), 1000);
        }
    }

    fn rows(text: &str, format: TableFormat) -> Result<Vec<(u64, Vec<String>)>> {
        let table = Table::parse(text.as_bytes(), Path::new("t"), format, 1 << 20)?;
        let cells = |row: &Row<'_>| (0..row.cells.len()).map(|at| row.text(at).to_owned()).collect();
        Ok(table.rows.iter().map(|row| (row.line, cells(row))).collect())
    }

    fn row(line: u64, cells: &[&str]) -> (u64, Vec<String>) {
        (line, cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn quotes_line_ends_and_delimiters_inside_cells_are_kept() {
        let text = "a,b\r\n\"x, \"\"y\"\"\nz\",2\r\n\n,\"\"\n\"\"\"q\"\"\",4";
        let expected = [row(2, &["x, \"y\"\nz", "2"]), row(5, &["", ""]), row(6, &["\"q\"", "4"])];
        assert_eq!(rows(text, TableFormat::Csv).unwrap(), expected);
        assert_eq!(
            rows("a\tb\n1, 2\tx \"y\" z\n", TableFormat::Tsv).unwrap(),
            [row(2, &["1, 2", "x \"y\" z"])]
        );
    }

    #[test]
    fn a_cell_knows_its_line_after_line_ends_in_its_row() {
        let table = Table::parse(b"a,b\n\"x\ny\",bad\n", Path::new("t"), TableFormat::Csv, 1 << 20).unwrap();
        assert_eq!((table.rows[0].line_of(0), table.rows[0].line_of(1)), (2, 3));
    }

    #[test]
    fn objects_are_flattened_and_may_lack_keys() {
        let text = "{\"q\":\"a\",\"t\":{\"m\":1}}\n\n{\"t\":{\"n\":null},\"q\":\"b\",\"new\":true}\n";
        let table = Table::parse(text.as_bytes(), Path::new("t"), TableFormat::Jsonl, 1 << 20).unwrap();
        let header: std::collections::BTreeSet<_> = table.header.iter().map(String::as_str).collect();
        assert_eq!(header, ["new", "q", "t.m", "t.n"].into());
        let at = |name| table.column(name).unwrap();
        assert_eq!((table.rows[0].text(at("t.m")), table.rows[1].text(at("new"))), ("1", "true"));
        assert_eq!(table.rows[1].line, 3);
        assert!(table.rows[0].cells[at("new")].is_none());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let said = |text: &str| rows(text, TableFormat::Csv).unwrap_err().to_string();
        assert_eq!(said(""), "t:1: expected a header with the names of the columns, found no lines at all");
        assert_eq!(said("a,b\n\n1\n"), "t:3: expected 2 cells, as the header has, found 1");
        assert_eq!(said("a,b\n1,\"x\n\n"), "t:2: expected a closing quote, found the end of the file");
        let message = "t:2: expected nothing between a closing quote and the next cell, found \"y\"";
        assert_eq!(said("a\n\"x\"y\n"), message);
        assert_eq!(said("a,a\n"), "t:1: expected each column once, found \"a\" again");
        assert!(
            rows("[1]\n", TableFormat::Jsonl)
                .unwrap_err()
                .to_string()
                .starts_with("t:1: expected a JSON object")
        );
    }

    #[test]
    fn formats_are_known_by_name_or_by_their_first_bytes() {
        let guess = |name: &str, bytes: &[u8]| TableFormat::guess(Path::new(name), bytes);
        assert_eq!(guess("x.tsv.gz", b"a,b"), TableFormat::Tsv);
        assert_eq!(guess("x", b" {\"a\":1}"), TableFormat::Jsonl);
        assert_eq!(guess("x.txt", b"a\tb\n"), TableFormat::Tsv);
        assert_eq!(guess("x.txt", b"a,b\n"), TableFormat::Csv);
    }
}
