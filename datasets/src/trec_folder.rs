//! A TREC collection as a folder: judgments, topics, and documents with markup in files or in a `.tar.gz` of pages
//! (CACM: one small HTML page a document, its file name the id). A manifest says which file is what; without one
//! the names do.

use std::path::{Path, PathBuf};

use crate::archive::for_each_tar_member;
use crate::collection::Document;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, Role};
use crate::open::{OpenOptions, Parts};
use crate::source::{Budget, map_within};
use crate::trec::{parse_documents, parse_topics, read_judgments, text_of_markup};

#[derive(Default)]
struct Files {
    judgments: Vec<PathBuf>,
    topics: Vec<PathBuf>,
    documents: Vec<PathBuf>,
}

fn files_of(directory: &Path, manifest: Option<&Manifest>) -> Files {
    let role = |role| {
        let files = manifest.into_iter().flat_map(move |manifest| manifest.files_for(role));
        files.map(|file| directory.join(&file.path)).collect::<Vec<_>>()
    };
    let (judgments, topics, documents) = (role(Role::Judgments), role(Role::Queries), role(Role::Documents));
    if manifest.is_some() && !judgments.is_empty() {
        return Files { judgments, topics, documents };
    }
    by_name(directory)
}

fn by_name(directory: &Path) -> Files {
    let mut files = Files::default();
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = entries.filter(|path| path.is_file()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.contains("readme") || name.contains("license") {
            continue;
        } else if name.contains("qrel") {
            files.judgments.push(path);
        } else if name.contains("topic") || name.contains("quer") {
            files.topics.push(path);
        } else if is_tar(&name) || begins_with_markup(&path) {
            files.documents.push(path);
        }
    }
    files
}

fn is_tar(name: &str) -> bool {
    name.ends_with(".tar.gz") || name.ends_with(".tgz")
}

fn begins_with_markup(path: &Path) -> bool {
    let Ok(mut lines) = crate::source::Lines::open(path, 1 << 16) else { return false };
    while let Ok(Some((_, line))) = lines.next_line() {
        if !line.trim().is_empty() {
            return line.trim_start().get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("<DOC>"));
        }
    }
    false
}

pub(crate) fn is_trec(directory: &Path) -> bool {
    let files = by_name(directory);
    !files.judgments.is_empty() && !files.topics.is_empty() && !files.documents.is_empty()
}

pub(crate) fn open(directory: &Path, manifest: Option<&Manifest>, options: &OpenOptions) -> Result<Parts> {
    let files = files_of(directory, manifest);
    let mut budget = Budget::new(options.memory_bytes);
    let mut parts = Parts::default();
    let ([judgments], [topics]) = (&files.judgments[..], &files.topics[..]) else {
        return Err(Error::Unrecognised {
            path: directory.to_owned(),
            expected: "one file of judgments (*qrel*) and one of topics (*topic*, *quer*)".to_owned(),
            found: format!("{} and {}", files.judgments.len(), files.topics.len()),
        });
    };
    parts.judgments = read_judgments(judgments, &options.judgments())?.judgments;
    parts.queries = parse_topics(&map_within(topics, &budget)?, topics)?;
    for path in &files.documents {
        let read = if is_tar(&path.to_string_lossy().to_lowercase()) { read_pages } else { read_markup };
        read(path, &mut budget, options, &mut parts.documents)?;
    }
    Ok(parts)
}

fn read_markup(
    path: &Path,
    budget: &mut Budget,
    options: &OpenOptions,
    all: &mut Vec<Document>,
) -> Result<()> {
    let documents = parse_documents(&map_within(path, budget)?, path)?;
    for document in documents {
        keep(document, path, budget, options, all)?;
    }
    Ok(())
}

/// The pages of a tar archive: a member with `<DOC>` markup holds documents, any other is one document.
fn read_pages(
    path: &Path,
    budget: &mut Budget,
    options: &OpenOptions,
    all: &mut Vec<Document>,
) -> Result<()> {
    budget.expect(path)?;
    let limit = budget.left();
    for_each_tar_member(path, limit, |member, bytes| {
        let place = path.join(member);
        if bytes.trim_ascii_start().get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case(b"<DOC>")) {
            for document in parse_documents(&bytes, &place)? {
                keep(document, path, budget, options, all)?;
            }
            return Ok(());
        }
        let text = text_of_markup(crate::text::utf8(&bytes, &place, 1)?);
        let id = Path::new(member).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        keep(Document { id, text, ..Document::default() }, path, budget, options, all)
    })
}

fn keep(
    document: Document,
    path: &Path,
    budget: &mut Budget,
    options: &OpenOptions,
    all: &mut Vec<Document>,
) -> Result<()> {
    let need_bytes = document.bytes();
    if need_bytes > options.document_bytes {
        let (path, limit_bytes) = (path.join(&document.id), options.document_bytes);
        return Err(Error::DocumentTooLarge { path, line: 1, limit_bytes, need_bytes });
    }
    budget.charge(path, need_bytes)?;
    all.push(document);
    Ok(())
}
