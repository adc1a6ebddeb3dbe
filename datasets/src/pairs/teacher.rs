//! What a teacher said of pairs, for those who learn from it: a probability for each grade (columns `p0`, `p1`, ...), or a
//! score (`predicted_score`, or a column that is named). `graded label` writes such files; any CSV, TSV or JSON lines file
//! with these columns and the ids of query and document is one.

use std::path::Path;

use relevance::Grade;
use rustc_hash::FxHashMap;

use super::{DOCUMENT, DOCUMENT_TEXT, PairOptions, QUERY, QUERY_TEXT, SCORE};
use super::{choose, missing, some_rows, wrong_cell};
use crate::error::{Error, Result};
use crate::table::{Row, Table, TableFormat};
use crate::text::finite;

/// How far the probabilities of a row may miss 1 in all: what rounding to three digits leaves.
const SUM_TOLERANCE: f64 = 1e-3;

/// What was said of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Told<T> {
    /// The query's id, or its text where there is no id.
    pub query: String,
    /// The document's.
    pub document: String,
    /// The line it stands on, from 1.
    pub line: u64,
    /// What was said.
    pub value: T,
}

/// Reads a probability for each of `grades` at `path` (`.gz` and `.zst` too).
///
/// # Errors
/// When the file cannot be read, and as [`parse_distributions`].
#[cfg(not(target_arch = "wasm32"))]
pub fn read_distributions(
    path: &Path,
    grades: &[Grade],
    options: &PairOptions,
) -> Result<Vec<Told<Vec<f32>>>> {
    parse_distributions(&super::within(path, options)?, path, grades, options)
}

/// Reads distributions over `grades` from the columns `p` followed by a grade, in the order of `grades`, each brought to
/// a sum of exactly 1. A row whose probabilities are all empty says nothing and is left out.
///
/// # Errors
/// A column that is missing, or one too many (`p4` for grades up to 3); a cell that is no number from 0 to 1; a row that
/// does not add up to 1; a pair that stands twice with different probabilities.
pub fn parse_distributions(
    bytes: &[u8],
    name: &Path,
    grades: &[Grade],
    options: &PairOptions,
) -> Result<Vec<Told<Vec<f32>>>> {
    let column = |grade: &Grade| format!("p{grade}");
    let wanted: Vec<String> = grades.iter().map(column).collect();
    read_rows(bytes, name, options, |table| {
        let is_probability = |name: &&String| {
            name.strip_prefix(['p', 'P'])
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let beyond = |name: &&String| !wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
        if let Some(beyond) = table.header.iter().filter(is_probability).find(beyond) {
            let expected = format!("a probability for each grade of the scale ({})", wanted.join(", "));
            return Err(Error::malformed(&table.path, 1, &expected, format!("{beyond} as well")));
        }
        let column = |name: &String| table.column(name).ok_or_else(|| missing(table, name));
        let columns = wanted.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(move |row: &Row<'_>, table: &Table<'_>| distribution(row, table, &columns))
    })
}

fn distribution(row: &Row<'_>, table: &Table<'_>, columns: &[usize]) -> Result<Option<Vec<f32>>> {
    if columns.iter().all(|&at| row.text(at).trim().is_empty()) {
        return Ok(None);
    }
    let cell = |&at: &usize| {
        let value = finite(row.text(at).trim()).filter(|value| (0.0..=1.0).contains(value));
        value.ok_or_else(|| wrong_cell(row, table, at, "a number from 0 to 1"))
    };
    let values = columns.iter().map(cell).collect::<Result<Vec<f64>>>()?;
    let sum: f64 = values.iter().sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        let found = format!("a sum of {sum}");
        return Err(Error::malformed(&table.path, row.line, "probabilities that add up to 1", found));
    }
    Ok(Some(values.into_iter().map(|value| (value / sum) as f32).collect()))
}

/// Reads a teacher's scores at `path` (`.gz` and `.zst` too).
///
/// # Errors
/// When the file cannot be read, and as [`parse_scores`].
#[cfg(not(target_arch = "wasm32"))]
pub fn read_scores(path: &Path, column: Option<&str>, options: &PairOptions) -> Result<Vec<Told<f32>>> {
    parse_scores(&super::within(path, options)?, path, column, options)
}

/// Reads scores from `column`, or from the usual one (`predicted_score`). An empty cell says nothing and is left out.
///
/// # Errors
/// A column that is missing; a cell that is no finite number; a pair that stands twice with different scores.
pub fn parse_scores(
    bytes: &[u8],
    name: &Path,
    column: Option<&str>,
    options: &PairOptions,
) -> Result<Vec<Told<f32>>> {
    read_rows(bytes, name, options, |table| {
        let chosen = choose(table, column, SCORE, |_| true)?;
        let (at, _) = chosen.ok_or_else(|| missing(table, SCORE[0]))?;
        Ok(move |row: &Row<'_>, table: &Table<'_>| {
            let cell = row.text(at).trim();
            if cell.is_empty() {
                return Ok(None);
            }
            let score = finite(cell).map(|score| score as f32).filter(|score| score.is_finite());
            score.map(Some).ok_or_else(|| wrong_cell(row, table, at, "a finite number"))
        })
    })
}

/// What `value_of` the table makes of each row, in file order, each pair once.
fn read_rows<T: Clone + PartialEq, F>(
    bytes: &[u8],
    name: &Path,
    options: &PairOptions,
    value_of: impl FnOnce(&Table<'_>) -> Result<F>,
) -> Result<Vec<Told<T>>>
where
    F: Fn(&Row<'_>, &Table<'_>) -> Result<Option<T>>,
{
    let format = options.format.unwrap_or_else(|| TableFormat::guess(name, bytes));
    let table = Table::parse(bytes, name, format, options.memory_bytes)?;
    let id = |wanted: &Option<String>, usual: &[&str]| {
        choose(&table, wanted.as_deref(), usual, |_| true)?.ok_or_else(|| missing(&table, usual[0]))
    };
    let (query, _) = id(&options.query, &[QUERY, QUERY_TEXT].concat())?;
    let (document, _) = id(&options.document, &[DOCUMENT, DOCUMENT_TEXT].concat())?;
    let value = value_of(&table)?;
    some_rows(&table)?;
    let mut told: Vec<Told<T>> = Vec::new();
    let mut first: FxHashMap<(&str, &str), usize> = FxHashMap::default();
    for row in &table.rows {
        let Some(value) = value(row, &table)? else { continue };
        let key = (row.text(query), row.text(document));
        if let Some(&before) = first.get(&key) {
            if told[before].value != value {
                let found = format!("query {} with document {} again, and otherwise", key.0, key.1);
                let expected = format!("each pair once (first on line {})", told[before].line);
                return Err(Error::malformed(&table.path, row.line, &expected, found));
            }
            continue;
        }
        first.insert(key, told.len());
        told.push(Told { query: key.0.to_owned(), document: key.1.to_owned(), line: row.line, value });
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Told<Vec<f32>>>> {
        parse_distributions(text.as_bytes(), Path::new("t.csv"), &[0, 1, 2, 3], &PairOptions::default())
    }

    fn said(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn distributions_are_read_from_what_label_writes() {
        let text = "query_id,doc_id,human,predicted,predicted_score,p0,p1,p2,p3,labeler\n\
                    q,d,,2,1.5,0.125,0.25,0.5,0.125,x\nq,e,1,0,0.2,,,,,x\nq,d,,2,1.5,0.125,0.25,0.5,0.125,x\n";
        let told = read(text).unwrap();
        assert_eq!(told.len(), 1, "a row without probabilities says nothing, a repeated one nothing new");
        assert_eq!((told[0].query.as_str(), told[0].document.as_str(), told[0].line), ("q", "d", 2));
        assert_eq!(told[0].value, [0.125, 0.25, 0.5, 0.125]);
        let json =
            "{\"query_id\": 1, \"doc_id\": 2, \"p3\": 0.3333, \"p0\": 0.3333, \"p1\": 0, \"p2\": 0.3333}\n";
        let told = parse_distributions(
            json.as_bytes(),
            Path::new("t.jsonl"),
            &[0, 1, 2, 3],
            &PairOptions::default(),
        )
        .unwrap();
        assert_eq!(told[0].value, [1.0 / 3.0, 0.0, 1.0 / 3.0, 1.0 / 3.0], "brought to a sum of 1");
        let tabs = "qid\tdocid\tP0\tP1\nq\td\t0.25\t0.75\n";
        let two = parse_distributions(tabs.as_bytes(), Path::new("t.tsv"), &[0, 1], &PairOptions::default())
            .unwrap();
        assert_eq!(two[0].value, [0.25, 0.75]);
    }

    #[test]
    fn what_is_no_distribution_over_the_scale_is_named_by_line() {
        let head = "qid,docid,p0,p1,p2,p3\n";
        assert_eq!(
            said(&format!("{head}q,d,0.5,0.5,0,0\nq,e,0.5,0.25,0,0\n")),
            "t.csv:3: expected probabilities that add up to 1, found a sum of 0.75"
        );
        for wrong in ["-0.1", "1.1", "NaN", "much", ""] {
            let message = said(&format!("{head}q,d,{wrong},1,0,0\n"));
            assert!(
                message.starts_with("t.csv:2: column \"p0\": expected a number from 0 to 1"),
                "{message}"
            );
        }
        assert!(said("qid,docid,p0,p1,p2\nq,d,1,0,0\n").contains("a column \"p3\""));
        assert_eq!(
            said("qid,docid,p0,p1,p2,p3,p4\nq,d,1,0,0,0,0\n"),
            "t.csv:1: expected a probability for each grade of the scale (p0, p1, p2, p3), found p4 as well"
        );
        assert!(
            said(&format!("{head}q,d,1,0,0,0\nq,d,0,1,0,0\n")).contains("t.csv:3: expected each pair once")
        );
        assert!(said(head).contains("at least one row"));
    }

    #[test]
    fn scores_are_read_by_name_or_under_the_usual_one() {
        let read = |text: &str, column| {
            parse_scores(text.as_bytes(), Path::new("t.csv"), column, &PairOptions::default())
        };
        let text = "qid,docid,predicted_score,logit\nq,d,1.5,-7.25\nq,e,,3\n";
        let values = |column| read(text, column).unwrap().iter().map(|told| told.value).collect::<Vec<_>>();
        assert_eq!((values(None), values(Some("logit"))), (vec![1.5], vec![-7.25, 3.0]));
        assert!(read(text, Some("margin")).unwrap_err().to_string().contains("\"margin\""));
        let infinite = read("qid,docid,predicted_score\nq,d,1e60\n", None).unwrap_err().to_string();
        assert!(infinite.starts_with("t.csv:2: column \"predicted_score\""), "{infinite}");
    }
}
