//! Labelled pairs from a table with named columns: `--human COL --predicted COL`, everything else guessed from the
//! usual names, and every guess reported. Several raters' columns give [`Ratings`].
//!
//! A human cell that is not a grade is an error with its line and column: nobody wants agreement computed over a
//! file that is half understood. A predicted cell that is not a grade is what models do now and then; such pairs are
//! counted as unparsed, and never as grade 0.

mod teacher;

use std::path::{Path, PathBuf};

use relevance::{Grade, LabeledPair};
pub use teacher::{Told, parse_distributions, parse_scores};
#[cfg(not(target_arch = "wasm32"))]
pub use teacher::{read_distributions, read_scores};

use crate::collection::{Collection, Document};
use crate::error::{Error, Result, quoted};
use crate::ratings::Ratings;
use crate::table::{Row, Table, TableFormat};
use crate::text::{finite, grade};

/// Which columns hold what. A column left `None` is guessed from the usual names; a named one must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairOptions {
    /// How the file is written; guessed from its name or its first bytes when `None`.
    pub format: Option<TableFormat>,
    /// The query's id.
    pub query: Option<String>,
    /// The document's id.
    pub document: Option<String>,
    /// The query's text.
    pub query_text: Option<String>,
    /// The document's text.
    pub document_text: Option<String>,
    /// The human grade.
    pub human: Option<String>,
    /// The predicted grade.
    pub predicted: Option<String>,
    /// The predicted score.
    pub score: Option<String>,
    /// Whether a file may do without grades: pairs that are still to be labelled.
    pub grades_may_be_absent: bool,
    /// The most bytes the file may have, unpacked.
    pub memory_bytes: u64,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            format: None,
            query: None,
            document: None,
            query_text: None,
            document_text: None,
            human: None,
            predicted: None,
            score: None,
            grades_may_be_absent: false,
            memory_bytes: 8 << 30,
        }
    }
}

/// A column that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in the header.
    pub name: String,
    /// Whether it was guessed from its name, or asked for.
    pub guessed: bool,
}

/// Which column was taken for what. Worth printing: half of it is usually guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The query's id.
    pub query: Option<Column>,
    /// The document's id.
    pub document: Option<Column>,
    /// The query's text.
    pub query_text: Option<Column>,
    /// The document's text.
    pub document_text: Option<Column>,
    /// The human grade.
    pub human: Option<Column>,
    /// The predicted grade.
    pub predicted: Option<Column>,
    /// The predicted score.
    pub score: Option<Column>,
}

impl std::fmt::Display for Columns {
    /// `query = qid (guessed), human = final_rating, ...`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            ("query", &self.query),
            ("document", &self.document),
            ("query text", &self.query_text),
            ("document text", &self.document_text),
            ("human", &self.human),
            ("predicted", &self.predicted),
            ("score", &self.score),
        ];
        let said = |(role, column): (&str, &Option<Column>)| {
            let column = column.as_ref()?;
            Some(format!("{role} = {}{}", column.name, if column.guessed { " (guessed)" } else { "" }))
        };
        f.write_str(&all.into_iter().filter_map(said).collect::<Vec<_>>().join(", "))
    }
}

/// A predicted cell that is not a grade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unparsed {
    /// The pair's position in [`PairFile::pairs`].
    pub pair: usize,
    /// The line the cell begins on, from 1.
    pub line: u64,
    /// What stands there, in quotes and shortened.
    pub cell: String,
}

/// The pairs of a file.
#[derive(Clone, Debug, Default)]
pub struct PairFile {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The names of all its columns, in order.
    pub header: Vec<String>,
    /// The pairs, in file order.
    pub pairs: Vec<LabeledPair>,
    /// The line each pair begins on.
    pub lines: Vec<u64>,
    /// Which column was taken for what.
    pub columns: Columns,
    /// Pairs whose human cell is empty.
    pub human_missing: usize,
    /// Pairs whose predicted cell is empty.
    pub predicted_missing: usize,
    /// Pairs whose predicted cell is neither empty nor a grade. Their `predicted` is `None`; they must not be taken
    /// for grade 0, and not for missing either.
    pub unparsed: Vec<Unparsed>,
}

impl PairFile {
    /// The judged pairs of a collection, in the order of its queries and judgments, with their texts and without lines.
    /// Judgments of documents that are not there have no text and are left out.
    pub fn of_collection(collection: &Collection) -> Self {
        let documents: rustc_hash::FxHashMap<&str, &Document> =
            collection.documents.iter().map(|document| (document.id.as_str(), document)).collect();
        let mut pairs = Vec::new();
        for query in collection.judged_queries() {
            let judged = collection.judgments.get(&query.id).into_iter().flat_map(|judged| judged.iter());
            for (id, grade) in judged {
                let Some(document) = documents.get(id) else { continue };
                pairs.push(LabeledPair {
                    query: query.id.clone(),
                    document: id.to_owned(),
                    query_text: Some(query.text.clone()),
                    document_text: Some(document.full_text()),
                    human: Some(grade),
                    ..LabeledPair::default()
                });
            }
        }
        Self { path: collection.name.clone().into(), pairs, ..Self::default() }
    }

    /// Refuses pairs without texts: nothing can label them.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the line of the first pair that lacks one.
    pub fn require_texts(&self) -> Result<()> {
        let lacks = |pair: &LabeledPair| pair.query_text.is_none() || pair.document_text.is_none();
        match self.pairs.iter().position(lacks) {
            None => Ok(()),
            Some(at) => {
                let line = self.lines.get(at).copied().unwrap_or_default();
                let is_there = self.columns.query_text.is_some() && self.columns.document_text.is_some();
                let without = if is_there { "a pair that lacks one in " } else { "" };
                let found = format!("{without}the columns {}", self.columns);
                Err(Error::malformed(&self.path, line, "the texts of query and document", found))
            }
        }
    }
}

/// The names of the columns of a file that [`parse`] may not understand, for whoever is to say which is which.
///
/// # Errors
/// A table that is not one.
pub fn header(bytes: &[u8], name: &Path, options: &PairOptions) -> Result<Vec<String>> {
    let format = options.format.unwrap_or_else(|| TableFormat::guess(name, bytes));
    Ok(Table::parse(bytes, name, format, options.memory_bytes)?.header)
}

/// Reads the pairs at `path` (`.gz` and `.zst` too).
///
/// # Errors
/// When the file cannot be read, and as [`parse`].
#[cfg(not(target_arch = "wasm32"))]
pub fn read(path: &Path, options: &PairOptions) -> Result<PairFile> {
    parse(&within(path, options)?, path, options)
}

#[cfg(not(target_arch = "wasm32"))]
fn within(path: &Path, options: &PairOptions) -> Result<crate::trec::Bytes> {
    crate::source::map_within(path, &crate::source::Budget::new(options.memory_bytes))
}

/// Reads pairs from `bytes`; `name` stands for the file in errors and its ending tells the format.
///
/// # Errors
/// A table that is not one (see the module's head), a named column that is not there, no column at all for a human
/// or a predicted grade, a human cell that is not a grade, a score that is not a finite number.
pub fn parse(bytes: &[u8], name: &Path, options: &PairOptions) -> Result<PairFile> {
    let format = options.format.unwrap_or_else(|| TableFormat::guess(name, bytes));
    let table = Table::parse(bytes, name, format, options.memory_bytes)?;
    let chosen = Chosen::choose(&table, options)?;
    some_rows(&table)?;
    let mut file = PairFile {
        path: name.to_owned(),
        header: table.header.clone(),
        columns: chosen.columns(&table),
        ..PairFile::default()
    };
    // The pairs stand beside the rows they were read from.
    let mut used = table.held_bytes;
    for row in &table.rows {
        let pair = chosen.pair(row, &table, &mut file)?;
        used += held_bytes(&pair);
        if used > options.memory_bytes {
            let (path, budget_bytes) = (name.to_owned(), options.memory_bytes);
            return Err(Error::MemoryBudget { path, budget_bytes, need_bytes: used });
        }
        file.pairs.push(pair);
        file.lines.push(row.line);
    }
    Ok(file)
}

/// What a pair takes in memory, its line's number included.
fn held_bytes(pair: &LabeledPair) -> u64 {
    let texts = [pair.query_text.as_ref(), pair.document_text.as_ref()];
    let texts = texts.into_iter().flatten().map(|text| text.len()).sum::<usize>();
    let own = std::mem::size_of::<LabeledPair>() + std::mem::size_of::<u64>();
    (own + pair.query.len() + pair.document.len() + texts) as u64
}

fn some_rows(table: &Table<'_>) -> Result<()> {
    match table.rows.is_empty() {
        true => Err(Error::malformed(&table.path, 1, "at least one row below the header", "none")),
        false => Ok(()),
    }
}

/// The columns that every file of labels begins with, as `graded label` and the page write it.
pub const LABEL_COLUMNS: &str = "query_id,doc_id,human,predicted,predicted_score";

/// A column's number and whether it was guessed.
type Choice = Option<(usize, bool)>;

#[derive(Default)]
struct Chosen {
    query: Choice,
    document: Choice,
    query_text: Choice,
    document_text: Choice,
    human: Choice,
    predicted: Choice,
    score: Choice,
}

// The usual names, likeliest first, compared without case, `-`, `_` and blanks.
const QUERY: &[&str] = &["query_id", "qid", "topic_id", "topic", "query"];
const DOCUMENT: &[&str] =
    &["doc_id", "document_id", "docno", "corpus_id", "passage_id", "pid", "did", "product_id"];
const QUERY_TEXT: &[&str] = &["query_text", "query", "question"];
const DOCUMENT_TEXT: &[&str] = &[
    "document_text",
    "doc_text",
    "passage_text",
    "text",
    "passage",
    "document",
    "doc",
    "content",
    "description",
];
const HUMAN: &[&str] = &[
    "human",
    "human_grade",
    "human_label",
    "final_rating",
    "gold",
    "gold_label",
    "grade",
    "relevance",
    "rating",
    "label",
    "qrel",
    "score",
];
const PREDICTED: &[&str] = &[
    "predicted",
    "predicted_grade",
    "prediction",
    "pred",
    "model",
    "model_grade",
    "llm",
    "llm_grade",
    "teacher",
];
const SCORE: &[&str] = &["predicted_score", "model_score", "probability"];

impl Chosen {
    fn choose(table: &Table<'_>, options: &PairOptions) -> Result<Self> {
        let plain = |wanted: &Option<String>, usual| choose(table, wanted.as_deref(), usual, |_| true);
        let predicted = plain(&options.predicted, PREDICTED)?;
        let chosen = Self {
            query: plain(&options.query, QUERY)?,
            document: plain(&options.document, DOCUMENT)?,
            query_text: plain(&options.query_text, QUERY_TEXT)?,
            document_text: plain(&options.document_text, DOCUMENT_TEXT)?,
            // By name alone: were the cells asked, one bad grade would move the guess to another column in silence.
            human: choose(table, options.human.as_deref(), HUMAN, |column| {
                predicted.map(|(at, _)| at) != Some(column)
            })?,
            predicted,
            score: plain(&options.score, SCORE)?,
        };
        let lacks = |what: &str, names: &[&str]| Error::MissingColumn {
            path: table.path.clone(),
            wanted: format!("a column with {what} (named, or called one of: {})", once(names).join(", ")),
            available: table.header.clone(),
        };
        if chosen.human.is_none() && chosen.predicted.is_none() && !options.grades_may_be_absent {
            return Err(lacks("grades", &[HUMAN, PREDICTED].concat()));
        }
        if chosen.query.or(chosen.query_text).is_none() {
            return Err(lacks("the query", &[QUERY, QUERY_TEXT].concat()));
        }
        if chosen.document.or(chosen.document_text).is_none() {
            return Err(lacks("the document", &[DOCUMENT, DOCUMENT_TEXT].concat()));
        }
        Ok(chosen)
    }

    fn columns(&self, table: &Table<'_>) -> Columns {
        let column =
            |choice: Choice| choice.map(|(at, guessed)| Column { name: table.header[at].clone(), guessed });
        Columns {
            query: column(self.query),
            document: column(self.document),
            query_text: column(self.query_text),
            document_text: column(self.document_text),
            human: column(self.human),
            predicted: column(self.predicted),
            score: column(self.score),
        }
    }

    fn pair(&self, row: &Row<'_>, table: &Table<'_>, file: &mut PairFile) -> Result<LabeledPair> {
        let text = |choice: Choice| choice.map(|(at, _)| row.text(at).to_owned());
        // A line of JSON without the key, or with null, has no text; an empty cell has an empty one.
        let told =
            |choice: Choice| choice.filter(|&(at, _)| row.cells[at].is_some()).and_then(|at| text(Some(at)));
        let human = human_grade(row, table, self.human)?;
        file.human_missing += usize::from(self.human.is_some() && human.is_none());
        let score = match self.score {
            Some((at, _)) if !row.text(at).trim().is_empty() => {
                let score = finite(row.text(at).trim());
                Some(score.ok_or_else(|| wrong_cell(row, table, at, "a finite number"))?)
            }
            _ => None,
        };
        Ok(LabeledPair {
            query: text(self.query.or(self.query_text)).unwrap_or_default(),
            document: text(self.document.or(self.document_text)).unwrap_or_default(),
            query_text: told(self.query_text),
            document_text: told(self.document_text),
            human,
            predicted: self.predicted_grade(row, file),
            score,
        })
    }

    fn predicted_grade(&self, row: &Row<'_>, file: &mut PairFile) -> Option<Grade> {
        let (at, _) = self.predicted?;
        let cell = row.text(at);
        let predicted = grade(cell);
        match (predicted, cell.trim().is_empty()) {
            (Some(_), _) => {}
            (None, true) => file.predicted_missing += 1,
            (None, false) => {
                let (line, cell) = (row.line_of(at), quoted(cell));
                file.unparsed.push(Unparsed { pair: file.pairs.len(), line, cell });
            }
        }
        predicted
    }
}

/// The column called `wanted`, or the first of the `usual` names that is there and `fits`.
fn choose(
    table: &Table<'_>,
    wanted: Option<&str>,
    usual: &[&str],
    fits: impl Fn(usize) -> bool,
) -> Result<Choice> {
    let Some(wanted) = wanted else {
        let mut found = usual.iter().filter_map(|name| table.column(name));
        return Ok(found.find(|&at| fits(at)).map(|at| (at, true)));
    };
    match table.column(wanted) {
        Some(at) => Ok(Some((at, false))),
        None => Err(missing(table, wanted)),
    }
}

/// The names in their order, each once.
fn once<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let is_new = |at: &usize| !names[..*at].contains(&names[*at]);
    (0..names.len()).filter(is_new).map(|at| names[at]).collect()
}

fn missing(table: &Table<'_>, wanted: &str) -> Error {
    let wanted = format!("a column {}", quoted(wanted));
    Error::MissingColumn { path: table.path.clone(), wanted, available: table.header.clone() }
}

fn wrong_cell(row: &Row<'_>, table: &Table<'_>, column: usize, expected: &'static str) -> Error {
    Error::Cell {
        path: table.path.clone(),
        line: row.line_of(column),
        column: table.header[column].clone(),
        expected,
        found: quoted(row.text(column)),
    }
}

fn human_grade(row: &Row<'_>, table: &Table<'_>, choice: Choice) -> Result<Option<Grade>> {
    match choice {
        Some((at, _)) if !row.text(at).trim().is_empty() => match grade(row.text(at)) {
            Some(grade) => Ok(Some(grade)),
            None => Err(wrong_cell(row, table, at, "a whole number as grade, or nothing")),
        },
        _ => Ok(None),
    }
}

/// Reads several raters' grades at `path` (`.gz` and `.zst` too).
///
/// # Errors
/// When the file cannot be read, and as [`parse_ratings`].
#[cfg(not(target_arch = "wasm32"))]
pub fn read_ratings(path: &Path, raters: &[String], options: &PairOptions) -> Result<Ratings> {
    parse_ratings(&within(path, options)?, path, raters, options)
}

/// Reads the columns `raters` as raters of the pairs; with no names given, the columns that look like raters
/// (`agent_1_rating`, `rater2`, `annotator_b`, `judge1`, `teacher.name`). An empty cell is a gap.
///
/// # Errors
/// As [`parse`]; also when fewer than two columns are raters.
pub fn parse_ratings(bytes: &[u8], name: &Path, raters: &[String], options: &PairOptions) -> Result<Ratings> {
    let format = options.format.unwrap_or_else(|| TableFormat::guess(name, bytes));
    let table = Table::parse(bytes, name, format, options.memory_bytes)?;
    let columns = rater_columns(&table, raters)?;
    some_rows(&table)?;
    let id = |wanted: &Option<String>, usual: &[&str]| {
        choose(&table, wanted.as_deref(), usual, |_| true)?.ok_or_else(|| missing(&table, usual[0]))
    };
    let (query, _) = id(&options.query, &[QUERY, QUERY_TEXT].concat())?;
    let (document, _) = id(&options.document, &[DOCUMENT, DOCUMENT_TEXT].concat())?;
    let mut ratings = Ratings::new(columns.iter().map(|&at| table.header[at].clone()).collect());
    for row in &table.rows {
        let grades: Result<Vec<_>> =
            columns.iter().map(|&at| human_grade(row, &table, Some((at, false)))).collect();
        ratings.push(row.text(query), row.text(document), &grades?);
    }
    Ok(ratings)
}

fn rater_columns(table: &Table<'_>, raters: &[String]) -> Result<Vec<usize>> {
    if !raters.is_empty() {
        let column = |name: &String| table.column(name).ok_or_else(|| missing(table, name));
        let columns = raters.iter().map(column).collect::<Result<Vec<_>>>()?;
        if let Some(at) = (1..columns.len()).find(|&at| columns[..at].contains(&columns[at])) {
            let found = format!("{} among the raters twice", quoted(&table.header[columns[at]]));
            return Err(Error::malformed(&table.path, 1, "a column a rater", found));
        }
        return Ok(columns);
    }
    let looks_like_rater = |name: &String| {
        let name = name.to_ascii_lowercase();
        let who = ["agent", "rater", "annotator", "judge", "assessor", "teacher."];
        who.iter().any(|who| name.starts_with(who) && name.len() > who.len())
    };
    let columns: Vec<_> = (0..table.header.len()).filter(|&at| looks_like_rater(&table.header[at])).collect();
    if columns.len() < 2 {
        let wanted =
            "at least two columns of raters (named, or called rater1, annotator_2, agent_3_rating ...)";
        let (path, available) = (table.path.clone(), table.header.clone());
        return Err(Error::MissingColumn { path, wanted: wanted.to_owned(), available });
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, options: &PairOptions) -> Result<PairFile> {
        parse(text.as_bytes(), Path::new("p.csv"), options)
    }

    fn said(text: &str) -> String {
        read(text, &PairOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn columns_are_guessed_and_the_guess_is_said() {
        let text = "query,docid,text,score,pred\nq,d,\"two\nlines\",3,2\nq,e,x,,\n";
        let file = read(text, &PairOptions::default()).unwrap();
        assert_eq!(
            file.columns.to_string(),
            "query = query (guessed), document = docid (guessed), query text = query (guessed), \
             document text = text (guessed), human = score (guessed), predicted = pred (guessed)"
        );
        let first = &file.pairs[0];
        assert_eq!((first.query.as_str(), first.document.as_str()), ("q", "d"));
        assert_eq!((first.human, first.predicted), (Some(3), Some(2)));
        assert_eq!(first.document_text.as_deref(), Some("two\nlines"));
        assert_eq!((file.human_missing, file.predicted_missing, file.unparsed.len()), (1, 1, 0));
        assert_eq!(file.lines, [2, 4]);
    }

    #[test]
    fn named_columns_are_taken_and_must_be_there() {
        let options = PairOptions {
            human: Some("teacher.b".into()),
            predicted: Some("a".into()),
            ..PairOptions::default()
        };
        let text = "{\"query_id\": 7, \"doc_id\": \"d\", \"a\": 1, \"teacher\": {\"b\": 2}}\n";
        let file = parse(text.as_bytes(), Path::new("p.jsonl"), &options).unwrap();
        assert_eq!(
            (file.pairs[0].query.as_str(), file.pairs[0].human, file.pairs[0].predicted),
            ("7", Some(2), Some(1))
        );
        let error = read("query,docid\n", &options).unwrap_err().to_string();
        assert_eq!(error, "p.csv: expected a column \"a\", found the columns query, docid");
    }

    #[test]
    fn a_prediction_that_is_no_grade_is_its_own_state() {
        let text = "query,docid,human,predicted\nq,\"a\nb\",0,I think 2\nq,c,1,\nq,d,1,1\n";
        let file = read(text, &PairOptions::default()).unwrap();
        let unparsed = Unparsed { pair: 0, line: 3, cell: "\"I think 2\"".into() };
        assert_eq!((file.unparsed.as_slice(), file.predicted_missing), (&[unparsed][..], 1));
        assert_eq!(file.pairs[0].predicted, None);
    }

    #[test]
    fn a_human_cell_that_is_no_grade_is_an_error_with_its_line_and_column() {
        let text = "query,docid,human\n\"a\n\nb\",c,1\nq,d,maybe\n";
        let message =
            "p.csv:5: column \"human\": expected a whole number as grade, or nothing, found \"maybe\"";
        assert_eq!(said(text), message);
    }

    #[test]
    fn a_bad_grade_does_not_move_the_guess_to_another_column() {
        let expected = "expected a whole number as grade, or nothing, found";
        for bad in ["3.5", "high"] {
            let text = format!("query,docid,human,label,predicted\nq,d,{bad},0,1\nq,e,2,0,1\n");
            assert_eq!(said(&text), format!("p.csv:2: column \"human\": {expected} {bad:?}"));
        }
        assert_eq!(
            said("query,docid,label,score\nq,d,Perfect,3\n"),
            format!("p.csv:2: column \"label\": {expected} \"Perfect\"")
        );
        let file = read("query,docid,human,pred,model\nq,d,1,none,2\n", &PairOptions::default()).unwrap();
        assert_eq!((file.unparsed.len(), file.pairs[0].predicted), (1, None));
    }

    #[test]
    fn pairs_without_texts_are_named_by_line() {
        let file = read("qid,docid,human\n1,a,2\n", &PairOptions::default()).unwrap();
        assert_eq!(file.header, ["qid", "docid", "human"]);
        let said = file.require_texts().unwrap_err().to_string();
        assert!(
            said.starts_with("p.csv:2: expected the texts of query and document, found the columns"),
            "{said}"
        );
        assert!(read("query,text,human\n1,a,2\n", &PairOptions::default()).unwrap().require_texts().is_ok());
        let lines =
            "{\"query\":\"a\",\"text\":\"b\",\"human\":1}\n{\"query\":\"a\",\"text\":null,\"human\":1}\n";
        let file = parse(lines.as_bytes(), Path::new("pairs.jsonl"), &PairOptions::default()).unwrap();
        let said = file.require_texts().unwrap_err().to_string();
        assert!(said.contains("pairs.jsonl:2"), "{said}");
    }

    #[test]
    fn the_header_of_a_file_that_cannot_be_read_is_still_there() {
        let text = "was,das\n1,2\n";
        assert!(read(text, &PairOptions::default()).is_err());
        assert_eq!(
            header(text.as_bytes(), Path::new("p.csv"), &PairOptions::default()).unwrap(),
            ["was", "das"]
        );
    }

    #[test]
    fn the_judged_pairs_of_a_collection_stand_in_its_order() {
        let sample = crate::sample().unwrap();
        let file = PairFile::of_collection(&sample);
        assert_eq!(file.pairs.len(), sample.judgments.pairs());
        assert!(file.require_texts().is_ok());
        let first = &file.pairs[0];
        assert_eq!(Some(first.query.as_str()), sample.judged_queries().next().map(|query| query.id.as_str()));
        assert_eq!(first.human, sample.judgments.grade(&first.query, &first.document));
    }

    #[test]
    fn a_header_alone_is_no_file_of_pairs() {
        let message = "p.csv:1: expected at least one row below the header, found none";
        assert_eq!(said("query,docid,human\n"), message);
    }

    #[test]
    fn a_file_without_grades_queries_or_documents_is_refused() {
        assert!(said("query,docid\nq,d\n").starts_with("p.csv: expected a column with grades"));
        assert!(said("docid,human\nd,1\n").starts_with("p.csv: expected a column with the query"));
        assert!(said("query,human\nq,1\n").starts_with("p.csv: expected a column with the document"));
    }

    #[test]
    fn pairs_count_against_the_budget_beside_their_rows() {
        let text = "query,docid,query_text,text,human\nq,d,one,two,1\n";
        let parse_within = |memory_bytes| {
            let options = PairOptions { memory_bytes, ..PairOptions::default() };
            parse(text.as_bytes(), Path::new("p.csv"), &options)
        };
        let Err(Error::MemoryBudget { need_bytes, .. }) = parse_within(u64::MAX >> 1).and(parse_within(400))
        else {
            panic!("400 bytes hold neither the row nor the pair");
        };
        let table = Table::parse(text.as_bytes(), Path::new("p.csv"), TableFormat::Csv, u64::MAX).unwrap();
        let both = table.held_bytes + held_bytes(&parse_within(u64::MAX).unwrap().pairs[0]);
        assert!(need_bytes <= both && table.held_bytes < both);
        assert!(parse_within(both).is_ok());
        assert!(
            matches!(parse_within(both - 1), Err(Error::MemoryBudget { need_bytes, .. }) if need_bytes == both)
        );
    }

    #[test]
    fn several_raters_become_a_table_with_gaps() {
        let text = "query,docid,rater_1,rater_2,final\nq,d,1,,1\nr,d,2,3,2\nq,e,0,0,0\n";
        let ratings =
            parse_ratings(text.as_bytes(), Path::new("r.csv"), &[], &PairOptions::default()).unwrap();
        assert_eq!(ratings.raters, ["rater_1", "rater_2"]);
        let rows: Vec<_> = ratings.table.rows().map(<[_]>::to_vec).collect();
        assert_eq!(rows, [[Some(1), None], [Some(2), Some(3)], [Some(0), Some(0)]]);
        assert_eq!(ratings.clusters(), [0, 1, 0]);
        let named = ["final".to_owned(), "rater_2".to_owned()];
        let ratings =
            parse_ratings(text.as_bytes(), Path::new("r.csv"), &named, &PairOptions::default()).unwrap();
        assert_eq!(ratings.raters, named);
        assert!(parse_ratings(b"query,docid,a\n", Path::new("r.csv"), &[], &PairOptions::default()).is_err());
    }
}
