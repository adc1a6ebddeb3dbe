//! SMART's layout, as Cranfield comes in it: sections `.I` (id), `.T` (title), `.A` (authors), `.B` (where it
//! appeared), `.W` (text); judgments `query document code` a line.
//!
//! Cranfield's judgments count the queries 1 to 225 by position, while `cran.qry` prints ids with gaps. Which of the
//! two a judgment file means is found out by looking, and said.

use std::path::{Path, PathBuf};

use relevance::Judgments;
use serde_json::{Map, Value};

use crate::collection::{Document, Query};
use crate::error::{Error, Result, quoted};
use crate::open::{OpenOptions, Parts};
use crate::source::{Budget, map_within};
use crate::text::{lines, utf8};
use crate::trec::{one_line, read_judgments};

/// The three files of a SMART folder.
struct Files {
    documents: PathBuf,
    queries: PathBuf,
    judgments: PathBuf,
}

fn files(directory: &Path) -> Option<Files> {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let find = |fits: &dyn Fn(&str) -> bool| {
        let name = |path: &PathBuf| {
            path.file_name().is_some_and(|name| fits(&name.to_string_lossy().to_lowercase()))
        };
        names.iter().find(|path| path.is_file() && name(path)).cloned()
    };
    let no_text = |name: &str| !name.contains("readme");
    Some(Files {
        documents: find(&|name| (name.ends_with(".all") || name.contains(".all.")) && no_text(name))?,
        queries: find(&|name| name.ends_with(".qry"))?,
        judgments: find(&|name| (name.contains("qrel") || name.ends_with(".rel")) && no_text(name))?,
    })
}

pub(crate) fn is_smart(directory: &Path) -> bool {
    files(directory).is_some()
}

pub(crate) fn open(directory: &Path, options: &OpenOptions) -> Result<Parts> {
    let files = files(directory).ok_or_else(|| Error::Unrecognised {
        path: directory.to_owned(),
        expected: "SMART's files *.all*, *.qry and *qrel*".to_owned(),
        found: "at least one missing".to_owned(),
    })?;
    let mut budget = Budget::new(options.memory_bytes);
    let bytes = map_within(&files.documents, &budget)?;
    let documents =
        sections(&bytes, &files.documents)?.into_iter().map(Section::document).collect::<Vec<_>>();
    budget.charge(&files.documents, documents.iter().map(Document::bytes).sum())?;
    let bytes = map_within(&files.queries, &budget)?;
    let mut queries: Vec<_> = sections(&bytes, &files.queries)?.into_iter().map(Section::query).collect();
    let judgments = read_judgments(&files.judgments, &options.judgments())?.judgments;
    let mut notes = Vec::new();
    if count_by_position(&queries, &judgments) {
        for (at, query) in queries.iter_mut().enumerate() {
            query.id = (at + 1).to_string();
        }
        notes.push(
            "query ids count the queries by position, as the judgments do, not as the query file prints them"
                .into(),
        );
    }
    Ok(Parts { documents, queries, judgments, notes, ..Parts::default() })
}

/// Whether the judgments name queries by position: some id of theirs is not printed, and all are positions.
fn count_by_position(queries: &[Query], judgments: &Judgments) -> bool {
    let printed: rustc_hash::FxHashSet<_> = queries.iter().map(|query| query.id.as_str()).collect();
    let is_position = |id: &str| id.parse::<usize>().is_ok_and(|at| (1..=queries.len()).contains(&at));
    judgments.queries().any(|query| !printed.contains(query.query()))
        && judgments.queries().all(|query| is_position(query.query()))
}

/// One `.I` section.
#[derive(Default)]
struct Section {
    id: String,
    /// `(letter, text)` in file order.
    fields: Vec<(u8, String)>,
}

impl Section {
    /// The texts of one letter, joined.
    fn field(&self, letter: u8) -> String {
        let texts = self.fields.iter().filter(|(found, _)| *found == letter).map(|(_, text)| text.trim());
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn document(self) -> Document {
        let mut metadata = Map::new();
        for (letter, name) in [(b'A', "author"), (b'B', "published")] {
            let text = one_line(&self.field(letter));
            if !text.is_empty() {
                metadata.insert(name.to_owned(), Value::String(text));
            }
        }
        let metadata = (!metadata.is_empty()).then(|| Box::new(metadata));
        Document { title: one_line(&self.field(b'T')), text: self.field(b'W'), metadata, id: self.id }
    }

    fn query(self) -> Query {
        Query { text: one_line(&self.field(b'W')), id: self.id }
    }
}

/// The sections of a file. A line is a marker when it is `.I` and an id, or a dot and one letter alone.
fn sections(bytes: &[u8], path: &Path) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in lines(bytes) {
        let line = utf8(line, path, number)?;
        if let Some(id) = line.strip_prefix(".I").filter(|rest| rest.starts_with([' ', '\t'])) {
            let id = id.trim();
            if id.is_empty() {
                return Err(Error::malformed(path, number, "an id after .I", "nothing"));
            }
            // Ids are written 001 in some files and 1 in the judgments.
            let plain = id.trim_start_matches('0');
            sections.push(Section {
                id: if plain.is_empty() { id } else { plain }.to_owned(),
                fields: Vec::new(),
            });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            if line.trim().is_empty() {
                continue;
            }
            return Err(Error::malformed(path, number, "a line .I with an id first", quoted(line)));
        };
        match (line.trim_end().as_bytes(), section.fields.last_mut()) {
            ([b'.', letter @ b'A'..=b'Z'], _) => section.fields.push((*letter, String::new())),
            (_, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            ([], None) => {}
            _ => {
                return Err(Error::malformed(
                    path,
                    number,
                    "a section such as .T or .W after .I",
                    quoted(line),
                ));
            }
        }
    }
    if sections.is_empty() {
        return Err(Error::malformed(path, 1, "sections that begin with .I", "none in the whole file"));
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Section>> {
        sections(text.as_bytes(), Path::new("cran"))
    }

    #[test]
    fn a_section_is_a_document_or_a_query() {
        let text = ".I 001\n.T\non a\nwing .\n.A\nme\n.B\n.W\nfirst\n  second .I 5\n.I 010\n.W\n";
        let mut found = read(text).unwrap().into_iter();
        let document = found.next().unwrap().document();
        assert_eq!((document.id.as_str(), document.title.as_str()), ("1", "on a wing ."));
        assert_eq!(document.text, "first\n  second .I 5");
        assert_eq!(
            document.metadata.unwrap().into_iter().collect::<Vec<_>>(),
            [("author".into(), "me".into())]
        );
        assert_eq!(found.next().unwrap().query(), Query { id: "10".into(), text: String::new() });
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let said = |text: &str| read(text).map(|_| ()).unwrap_err().to_string();
        assert_eq!(said("x\n"), "cran:1: expected a line .I with an id first, found \"x\"");
        assert_eq!(said(".I \n"), "cran:1: expected an id after .I, found nothing");
        assert_eq!(
            said(".I 1\ntext\n"),
            "cran:2: expected a section such as .T or .W after .I, found \"text\""
        );
        assert_eq!(said(""), "cran:1: expected sections that begin with .I, found none in the whole file");
    }

    #[test]
    fn queries_count_by_position_only_when_the_judgments_do() {
        let queries = ["1", "2", "4"].map(|id| Query { id: id.into(), text: String::new() });
        let judged = |ids: &[&str]| ids.iter().map(|id| (*id, "d", 1)).collect::<Judgments>();
        assert!(count_by_position(&queries, &judged(&["1", "3"])));
        assert!(!count_by_position(&queries, &judged(&["1", "4"])));
        assert!(!count_by_position(&queries, &judged(&["1", "9"])));
    }
}
