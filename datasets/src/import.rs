//! Any readable collection as a BEIR folder, with its manifest beside it: one layout for everything after.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::collection::{Collection, Format};
use crate::error::{Error, Result};
use crate::manifest::{Counts, Manifest, ScaleEntry};

/// Writes `collection` to the new folder `out`: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv` (`test` where
/// it has no splits) and, where its scale is stated, a `manifest.toml` that keeps scale and self-hits. Written to a
/// temporary folder beside it and renamed, so that `out` is complete or absent.
///
/// # Errors
/// When `out` exists, cannot be written, or an id holds a tab or a line end and so has no place in a table.
pub fn write_beir(collection: &Collection, out: &Path) -> Result<()> {
    if out.exists() {
        return Err(Error::Exists { path: out.to_owned() });
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
    let folder = tempfile::Builder::new()
        .prefix(".importing-")
        .suffix(&crate::store::unfinished_suffix())
        .tempdir_in(parent);
    let folder = folder.map_err(|error| Error::io(parent, error))?;
    let inside = folder.path().join("collection");
    write_into(collection, &inside)?;
    fs::rename(&inside, out).map_err(|error| Error::io(out, error))
}

fn write_into(collection: &Collection, folder: &Path) -> Result<()> {
    let qrels = folder.join("qrels");
    fs::create_dir_all(&qrels).map_err(|error| Error::io(&qrels, error))?;
    write_lines(
        &folder.join("corpus.jsonl"),
        collection.documents.iter().map(|document| {
            let mut object = Map::new();
            object.insert("_id".to_owned(), json!(document.id));
            object.insert("title".to_owned(), json!(document.title));
            object.insert("text".to_owned(), json!(document.text));
            if let Some(metadata) = &document.metadata {
                object.insert("metadata".to_owned(), Value::Object((**metadata).clone()));
            }
            Value::Object(object).to_string()
        }),
    )?;
    let queries =
        collection.queries.iter().map(|query| json!({ "_id": query.id, "text": query.text }).to_string());
    write_lines(&folder.join("queries.jsonl"), queries)?;
    let split = collection.split.as_deref().unwrap_or("test");
    write_judgments(collection, &qrels.join(format!("{split}.tsv")))?;
    if collection.scale_is_stated {
        let manifest = toml::to_string(&manifest_of(collection, split)).expect("a manifest is plain data");
        let path = folder.join("manifest.toml");
        fs::write(&path, manifest).map_err(|error| Error::io(&path, error))?;
    }
    Ok(())
}

fn write_judgments(collection: &Collection, path: &Path) -> Result<()> {
    let triples =
        || collection.judgments.queries().flat_map(|q| q.iter().map(move |(d, grade)| (q.query(), d, grade)));
    let breaks = |id: &str| id.contains(['\t', '\n', '\r']) || id.trim() != id;
    if let Some((query, document, _)) =
        triples().find(|(query, document, _)| breaks(query) || breaks(document))
    {
        let found = format!("query {query:?} and document {document:?}");
        return Err(Error::malformed(path, 1, "ids without tabs, line ends and blanks at their ends", found));
    }
    let lines = triples().map(|(query, document, grade)| format!("{query}\t{document}\t{grade}"));
    write_lines(path, std::iter::once("query-id\tcorpus-id\tscore".to_owned()).chain(lines))
}

fn write_lines(path: &Path, lines: impl Iterator<Item = String>) -> Result<()> {
    let wrong = |error| Error::io(path, error);
    let mut file = BufWriter::new(File::create(path).map_err(wrong)?);
    for line in lines {
        file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(wrong)?;
    }
    file.into_inner().map_err(|error| wrong(error.into_error()))?.sync_all().map_err(wrong)
}

/// What `collection` says about itself. Grades are written mapped, so the manifest has no map.
fn manifest_of(collection: &Collection, split: &str) -> Manifest {
    let scale = &collection.scale;
    let levels =
        scale.levels().iter().map(|level| (level.grade.to_string(), level.meaning.clone())).collect();
    let known = Manifest::named(&collection.name);
    let name: String = collection
        .name
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    let licence = known.map_or("see where it was imported from", |known| &known.licence);
    Manifest {
        name: if name.trim_matches('.').is_empty() { "imported".to_owned() } else { name },
        description: known.map_or_else(|| "Imported.".to_owned(), |known| known.description.clone()),
        format: Format::Beir,
        homepage: known.and_then(|known| known.homepage.clone()),
        licence: licence.to_owned(),
        remarks: collection.notes.clone(),
        self_hits: collection.self_hits,
        default_split: Some(split.to_owned()),
        splits: vec![split.to_owned()],
        scale: Some(ScaleEntry {
            name: scale.name().to_owned(),
            relevant_from: scale.relevant_from(),
            levels,
            map: Default::default(),
        }),
        counts: Some(Counts {
            documents: Some(collection.documents.len()),
            judged_queries: Some(collection.judged_queries().count()),
            judgments: Some(collection.judgments.pairs()),
        }),
        files: Vec::new(),
    }
}
