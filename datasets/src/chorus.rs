//! Chorus' electronics shop: products in `products/*.json.zip` (one JSON array each) and rating tables.
//!
//! `*_rated.csv` (`query,docid,rating`) gives the judgments; `*_individual_ratings.csv`, with one column a rater and
//! `final_rating`, gives the ratings. Queries have no ids there, so a query's id is its text with `_` for blanks (run
//! files separate columns by blanks); in the ratings, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::archive::for_each_zip_member;
use crate::collection::{Document, Query};
use crate::error::{Error, Result};
use crate::open::{OpenOptions, Parts};
use crate::pairs::{PairOptions, read, read_ratings};
use crate::source::Budget;
use crate::trec::text_of_markup;

/// The files of a folder whose names end in `end`, sorted.
fn files_ending(folder: &Path, end: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = paths
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(end)))
        .collect();
    found.sort();
    found
}

const RATED: &str = "_rated.csv";
const INDIVIDUAL: &str = "_individual_ratings.csv";

pub(crate) fn is_chorus(directory: &Path) -> bool {
    !files_ending(&directory.join("products"), ".json.zip").is_empty()
        && !files_ending(directory, RATED).is_empty()
}

pub(crate) fn open(directory: &Path, options: &OpenOptions) -> Result<Parts> {
    let archives = files_ending(&directory.join("products"), ".json.zip");
    let rated = files_ending(directory, RATED);
    let (Some(rated), false) = (rated.first(), archives.is_empty()) else {
        return Err(Error::Unrecognised {
            path: directory.to_owned(),
            expected: "Chorus' products/*.json.zip and *_rated.csv".to_owned(),
            found: "at least one missing".to_owned(),
        });
    };
    let mut budget = Budget::new(options.memory_bytes);
    let mut parts = Parts::default();
    for archive in &archives {
        read_products(archive, &mut budget, options, &mut parts.documents)?;
    }
    read_rated(rated, options, &mut parts)?;
    if let Some(individual) = files_ending(directory, INDIVIDUAL).first() {
        read_individual(individual, &mut parts)?;
    }
    Ok(parts)
}

fn read_products(
    archive: &Path,
    budget: &mut Budget,
    options: &OpenOptions,
    documents: &mut Vec<Document>,
) -> Result<()> {
    budget.expect(archive)?;
    for_each_zip_member(archive, budget.left(), |member, bytes| {
        let place = archive.join(member);
        let wrong =
            |line, found: String| Error::malformed(&place, line, "an array of products with \"id\"", found);
        let products: Vec<Map<String, Value>> =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.line() as u64, error.to_string()))?;
        for (at, product) in products.into_iter().enumerate() {
            let document = product_document(product)
                .ok_or_else(|| wrong(1, format!("product number {}: {NO_ID}", at + 1)))?;
            let metadata =
                document.metadata.iter().flat_map(|map| map.iter()).map(|(k, v)| k.len() + 32 + size(v));
            let bytes = document.bytes() + metadata.sum::<usize>() as u64;
            if bytes > options.document_bytes {
                let (limit_bytes, path) = (options.document_bytes, place.clone());
                return Err(Error::DocumentTooLarge { path, line: 1, limit_bytes, need_bytes: bytes });
            }
            budget.charge(archive, bytes)?;
            documents.push(document);
        }
        Ok(())
    })
}

fn size(value: &Value) -> usize {
    value.as_str().map_or(8, str::len)
}

const NO_ID: &str = "no \"id\" that is a string or a whole number below 2^64";

/// A product as a document: its title; then its name, short description and supplier as text; its attributes
/// (`attr_*`) and the rest, except pictures, as metadata.
fn product_document(mut product: Map<String, Value>) -> Option<Document> {
    let id = match product.remove("id")? {
        Value::String(id) if !id.is_empty() => id,
        // A whole number beyond 64 bits has become a float, and may be another product's by now.
        Value::Number(id) if !id.is_f64() => id.to_string(),
        _ => return None,
    };
    let mut take = |key: &str| match product.remove(key) {
        Some(Value::String(text)) => text_of_markup(&text),
        _ => String::new(),
    };
    let title = take("title");
    let parts = [take("name"), take("short_description"), take("supplier")];
    let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
    product.retain(|key, _| !key.starts_with("img_"));
    let metadata = (!product.is_empty()).then(|| Box::new(product));
    Some(Document { id, title, text, metadata })
}

fn read_rated(path: &Path, options: &OpenOptions, parts: &mut Parts) -> Result<()> {
    let named = PairOptions {
        query: Some("query".into()),
        document: Some("docid".into()),
        human: Some("rating".into()),
        memory_bytes: options.memory_bytes,
        ..PairOptions::default()
    };
    let file = read(path, &named)?;
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for (pair, line) in file.pairs.iter().zip(&file.lines) {
        let id = query_id(&pair.query);
        match known.get(&id) {
            None => {
                parts.queries.push(Query { id: id.clone(), text: pair.query.clone() });
                known.insert(id.clone(), pair.query.clone());
            }
            Some(text) if *text != pair.query => {
                let expected = format!("queries that differ in more than blanks and \"_\" from \"{text}\"");
                return Err(Error::malformed(path, *line, expected, format!("\"{}\"", pair.query)));
            }
            Some(_) => {}
        }
        let Some(grade) = pair.human else { continue };
        match parts.judgments.insert(&id, &pair.document, grade) {
            Some(first_grade) if first_grade != grade && options.refuse_conflicts => {
                let first =
                    file.pairs.iter().position(|p| p.query == pair.query && p.document == pair.document);
                return Err(Error::ConflictingGrades {
                    path: path.to_owned(),
                    line: *line,
                    first_line: first.map_or(0, |at| file.lines[at]),
                    query: pair.query.as_str().into(),
                    document: pair.document.as_str().into(),
                    grade,
                    first_grade,
                });
            }
            _ => {}
        }
    }
    parts.notes.push("query ids are the queries' texts with \"_\" for blanks".into());
    Ok(())
}

fn read_individual(path: &Path, parts: &mut Parts) -> Result<()> {
    let mut ratings = read_ratings(path, &[], &PairOptions::default())?;
    ratings.rename_queries(query_id);
    parts.ratings = Some(ratings);
    Ok(())
}

/// A query's id: its text with `_` for every stretch of blanks.
fn query_id(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_string_or_a_whole_number_and_never_a_rounded_one() {
        let id =
            |json: &str| product_document(serde_json::from_str(json).unwrap()).map(|document| document.id);
        assert_eq!(id(r#"{"id": 18446744073709551615}"#).unwrap(), "18446744073709551615");
        for refused in ["18446744073709551616", "1.5", r#""""#, "null", "[1]"] {
            assert_eq!(id(&format!(r#"{{"id": {refused}}}"#)), None, "{refused}");
        }
    }

    #[test]
    fn a_product_is_its_title_its_description_and_its_attributes() {
        let json = r#"{"id": "7", "name": "n", "title": "t", "short_description": "a<br />b", "supplier": "s",
                       "img_low": "x", "attr_t_colour": "red"}"#;
        let document = product_document(serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!((document.title.as_str(), document.text.as_str()), ("t", "n\nab\ns"));
        assert_eq!(document.metadata.unwrap().keys().collect::<Vec<_>>(), ["attr_t_colour"]);
        assert!(product_document(serde_json::from_str("{}").unwrap()).is_none());
    }

    #[test]
    fn query_ids_hold_no_blanks() {
        assert_eq!(query_id(" usb  c cable"), "usb_c_cable");
    }
}
