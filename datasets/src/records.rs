//! BEIR's lines: a document or a query as one JSON object. No files here: the embedded sample is read the same way.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::collection::{Document, Query};
use crate::error::{Error, Result, quoted};
use crate::text::{lines, utf8, without_mark};

/// Reads one line as a `T`.
pub(crate) type Record<T> = fn(&str) -> std::result::Result<T, WrongRecord>;

/// What stands on a line that is no record.
#[derive(Debug)]
pub(crate) struct WrongRecord(String);

const EXPECTED: &str = "a JSON object with \"_id\" and \"text\"";

impl WrongRecord {
    pub fn at(self, path: &Path, line: u64) -> Error {
        Error::malformed(path, line, EXPECTED, self.0)
    }

    /// Reads the line again, now to say what is wrong with it.
    fn describe(line: &str) -> Self {
        Self(match serde_json::from_str(line) {
            Ok(Value::Object(object)) => wrong_key(&object),
            Ok(other) => kind(&other).to_owned(),
            Err(error) => format!("{} ({error})", quoted(line)),
        })
    }
}

pub(crate) fn no_lines(path: &Path) -> Error {
    Error::malformed(path, 1, EXPECTED, "no lines at all")
}

/// Every line of `bytes` that is not blank as a record.
pub(crate) fn records<T>(bytes: &[u8], path: &Path, record: Record<T>) -> Result<Vec<T>> {
    let said = lines(without_mark(bytes)).filter(|(_, line)| !line.trim_ascii().is_empty());
    let all: Result<Vec<_>> = said
        .map(|(number, line)| record(utf8(line, path, number)?).map_err(|wrong| wrong.at(path, number)))
        .collect();
    all.and_then(|all| if all.is_empty() { Err(no_lines(path)) } else { Ok(all) })
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "_id")]
    id: Id,
    title: Option<String>,
    text: String,
    metadata: Option<Map<String, Value>>,
}

/// An id: a string, or a number that stands for its digits.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(serde_json::Number),
}

impl Line {
    fn parse(line: &str) -> std::result::Result<(String, Self), WrongRecord> {
        let mut parsed: Self = serde_json::from_str(line).map_err(|_| WrongRecord::describe(line))?;
        let id = match &mut parsed.id {
            Id::Text(id) => std::mem::take(id),
            Id::Number(id) if id.is_f64() => {
                let wanted = "a string or a whole number below 2^64";
                return Err(WrongRecord(format!("an \"_id\" that is {id} where {wanted} was expected")));
            }
            Id::Number(id) => id.to_string(),
        };
        match id.is_empty() {
            true => Err(WrongRecord("an empty \"_id\"".to_owned())),
            false => Ok((id, parsed)),
        }
    }
}

pub(crate) fn document(line: &str) -> std::result::Result<Document, WrongRecord> {
    let (id, line) = Line::parse(line)?;
    let metadata = line.metadata.filter(|map| !map.is_empty()).map(Box::new);
    Ok(Document { id, title: line.title.unwrap_or_default(), text: line.text, metadata })
}

pub(crate) fn query(line: &str) -> std::result::Result<Query, WrongRecord> {
    Line::parse(line).map(|(id, line)| Query { id, text: line.text })
}

/// Which key of an object is not as it should be.
fn wrong_key(object: &Map<String, Value>) -> String {
    let said = |key: &str, wanted: &str, fits: fn(&Value) -> bool| match object.get(key) {
        None if matches!(key, "title" | "metadata") => None,
        None => Some(format!("an object without {}", quoted(key))),
        Some(value) if !fits(value) => {
            Some(format!("{} that is {} and not {wanted}", quoted(key), kind(value)))
        }
        Some(_) => None,
    };
    said("_id", "a string", |id| id.is_string() || id.is_number())
        .or_else(|| said("text", "a string", Value::is_string))
        .or_else(|| said("title", "a string", |title| title.is_string() || title.is_null()))
        .or_else(|| said("metadata", "an object", |metadata| metadata.is_object() || metadata.is_null()))
        .unwrap_or_else(|| "a key twice".to_owned())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        records(text.as_bytes(), Path::new("corpus.jsonl"), document).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_a_document_or_a_query() {
        let text = "{\"_id\": 7, \"text\": \"t\", \"metadata\": {\"url\": \"u\"}, \"other\": []}\n\n{\"_id\":\"b\",\"title\":null,\"text\":\"\"}";
        let documents = records(text.as_bytes(), Path::new("c"), document).unwrap();
        assert_eq!((documents[0].id.as_str(), documents[0].text.as_str()), ("7", "t"));
        assert_eq!(documents[0].metadata.as_ref().unwrap()["url"], "u");
        assert_eq!(documents[1], Document { id: "b".into(), ..Document::default() });
        let queries = records(text.as_bytes(), Path::new("c"), query).unwrap();
        assert_eq!(queries[0], Query { id: "7".into(), text: "t".into() });
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let expected = "corpus.jsonl:1: expected a JSON object with \"_id\" and \"text\", found";
        assert_eq!(said("[1]"), format!("{expected} an array"));
        assert_eq!(said("{\"_id\": \"a\"}"), format!("{expected} an object without \"text\""));
        assert_eq!(said("{\"text\": \"a\"}"), format!("{expected} an object without \"_id\""));
        assert_eq!(
            said("{\"_id\": \"a\", \"text\": 1}"),
            format!("{expected} \"text\" that is a number and not a string")
        );
        assert_eq!(said("{\"_id\": \"\", \"text\": \"\"}"), format!("{expected} an empty \"_id\""));
        assert_eq!(
            said("{\"_id\": \"a\", \"_id\": \"b\", \"text\": \"\"}"),
            format!("{expected} a key twice")
        );
        assert_eq!(said("\n"), format!("{expected} no lines at all"));
        assert!(
            said("{\"_id\": \"a\"\n").starts_with(&format!("{expected} \"{{\\\"_id\\\": \\\"a\\\"\" (EOF"))
        );
    }
}
