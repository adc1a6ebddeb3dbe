//! What a command has to say, once: tables for people, JSON for programs. The exporters beside this file only write
//! it down; none of them computes.

pub mod agreement;
mod csv;
pub mod evaluation;
mod json;
mod markdown;
pub mod signs;
mod table;

use std::io::{self, Write};

use serde_json::Value;

/// How results are written to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line: one line per system, query or row.
    Jsonl,
    /// Comma-separated values with a header line: the first table, numbers in full.
    Csv,
    /// Markdown tables.
    Markdown,
}

/// One entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing to say here.
    Empty,
    /// Words.
    Text(String),
    /// A whole number.
    Count(u64),
    /// A measured value: four decimals for people, every digit for programs.
    Value(f64),
    /// A time or a count of any size: four digits for people.
    Quantity(f64),
    /// A share between 0 and 1, shown as a percentage to people.
    Share(f64),
    /// A probability: shown with a lower bound of what four decimals can say.
    Probability(f64),
}

impl Cell {
    /// A text cell.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A count cell.
    pub fn count(count: usize) -> Self {
        Self::Count(count as u64)
    }

    /// A value, or an empty cell where there is none.
    pub fn maybe(value: Option<f64>) -> Self {
        value.map_or(Self::Empty, Self::Value)
    }

    /// As a person reads it.
    pub fn rounded(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Value(value) => format!("{value:.4}"),
            Self::Quantity(value) if value.abs() >= 1e4 => format!("{value:.0}"),
            Self::Quantity(value) if value.abs() >= 0.1 || *value == 0.0 => format!("{value:.4}"),
            Self::Quantity(value) => format!("{value:.3e}"),
            Self::Share(share) => format!("{:.1} %", share * 100.0),
            Self::Probability(p) if *p < 0.00005 => "<.0001".to_owned(),
            Self::Probability(p) => format!("{p:.4}"),
        }
    }

    /// As a program reads it: the shortest text that gives the same number back.
    pub fn exact(&self) -> String {
        match self {
            Self::Value(value) | Self::Quantity(value) | Self::Share(value) | Self::Probability(value) => {
                format!("{value}")
            }
            _ => self.rounded(),
        }
    }

    /// Whether it is one that people compare by its digits.
    pub fn is_number(&self) -> bool {
        !matches!(self, Self::Empty | Self::Text(_))
    }
}

/// Rows under named columns, with remarks below.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Stands above the table.
    pub title: Option<String>,
    /// One name a column.
    pub columns: Vec<String>,
    /// One cell a column in every row.
    pub rows: Vec<Vec<Cell>>,
    /// Stand below the table, one a line.
    pub notes: Vec<String>,
}

impl Table {
    /// A table with these columns and no rows yet.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The same table under a title.
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Appends a row.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len(), "one cell per column");
        self.rows.push(row);
    }

    /// Whether the column holds numbers only, and so is aligned to the right.
    fn is_numeric(&self, column: usize) -> bool {
        let mut cells =
            self.rows.iter().map(|row| &row[column]).filter(|cell| **cell != Cell::Empty).peekable();
        cells.peek().is_some() && cells.all(Cell::is_number)
    }
}

/// Everything a command has to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// For people; the first is also what CSV holds.
    pub tables: Vec<Table>,
    /// The whole as one JSON document.
    pub json: Value,
    /// The whole as JSON lines; empty: the one document on one line.
    pub lines: Vec<Value>,
}

impl Report {
    /// A report of one table, its JSON being a list with one object a row.
    pub fn of_rows(table: Table) -> Self {
        let lines = json::rows(&table);
        Self { json: Value::Array(lines.clone()), lines, tables: vec![table] }
    }

    /// Writes the report in `format`.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Table => table::write(&self.tables, out),
            Format::Json => json::write(&self.json, out),
            Format::Jsonl if self.lines.is_empty() => json::write_line(&self.json, out),
            Format::Jsonl => self.lines.iter().try_for_each(|line| json::write_line(line, out)),
            Format::Csv => self.tables.first().map_or(Ok(()), |table| csv::write(table, out)),
            Format::Markdown => markdown::write(&self.tables, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut table = Table::new(["system", "nDCG@10"]).titled("sample");
        table.push(vec![Cell::text("bm25, \"plain\" | x"), Cell::Value(1.0 / 3.0)]);
        let mut out = Vec::new();
        Report::of_rows(table).write(format, &mut out).expect("a vector can be written to");
        String::from_utf8(out).expect("reports are UTF-8")
    }

    #[test]
    fn people_read_four_decimals_and_programs_read_all() {
        assert!(written(Format::Table).contains("0.3333"));
        assert!(!written(Format::Table).contains("0.33333"));
        assert!(written(Format::Csv).contains("0.3333333333333333"));
        assert!(written(Format::Json).contains("0.3333333333333333"));
    }

    #[test]
    fn what_a_format_reserves_is_escaped() {
        assert!(written(Format::Csv).contains("\"bm25, \"\"plain\"\" | x\""));
        assert!(written(Format::Markdown).contains("bm25, \"plain\" \\| x"));
        assert!(written(Format::Jsonl).contains(r#""system":"bm25, \"plain\" | x""#));
    }
}
