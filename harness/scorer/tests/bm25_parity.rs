//! BM25 against Anserini (Lucene) on real collections: documents, order and printed scores of its runs, and the
//! measures of the rankings.
//!
//! CACM's run stands in the shared data. Vaswani's and Cranfield's were made with Anserini 0.22.1
//! (`benchmarks/references/bm25/for_anserini.py`); the first ten documents of each query are kept beside this file.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use scorer::lexical::{Analyzer, Bm25Index, Bm25Parameters, DocumentLength};

/// Documents and queries with their ids, and grades by query and document.
struct Collection {
    documents: Vec<(String, String)>,
    queries: Vec<(String, String)>,
    grades: BTreeMap<String, HashMap<String, i32>>,
}

/// One line of a run: document and score as printed.
type Line = (String, String);

fn shared(folder: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if root.exists() {
        return Some(root.join("data").join(folder));
    }
    println!("skipped: ../shared/data is absent");
    None
}

fn read(path: impl AsRef<Path>) -> String {
    let bytes = std::fs::read(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()));
    String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
}

/// What stands between `open` and `close`, each time.
fn between<'t>(text: &'t str, open: &'static str, close: &'static str) -> impl Iterator<Item = &'t str> {
    text.split(open).skip(1).map(move |rest| rest.split_once(close).unwrap().0)
}

/// Judgments of the columns query, (ignored), document, grade.
fn qrels(
    text: &str,
    columns: [usize; 3],
    grade: impl Fn(i32) -> i32,
) -> BTreeMap<String, HashMap<String, i32>> {
    let mut grades: BTreeMap<String, HashMap<String, i32>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [query, document, value] = columns.map(|column| fields[column].to_owned());
        grades.entry(query).or_default().entry(document).or_insert(grade(value.parse().unwrap()));
    }
    grades
}

/// The files of a tar archive: 512-byte headers (name at 0, octal size at 124, type at 156), contents padded to 512.
fn untar(archive: &[u8]) -> Vec<(String, String)> {
    let field = |at: usize, length: usize| {
        let bytes = &archive[at..at + length];
        String::from_utf8_lossy(bytes).trim_end_matches('\0').trim().to_owned()
    };
    let mut files = Vec::new();
    let mut at = 0;
    while at + 512 <= archive.len() && archive[at] != 0 {
        let size = usize::from_str_radix(&field(at + 124, 11), 8).unwrap();
        if matches!(archive[at + 156], b'0' | 0) {
            let contents = String::from_utf8_lossy(&archive[at + 512..at + 512 + size]).into_owned();
            files.push((field(at, 100), contents));
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    files
}

/// What a file's four tags (`html` and `pre`, open and close) hold is the text: title, date, authors, keywords and the
/// columns of numbers at the end, as Anserini's `HtmlCollection` takes it.
fn cacm(folder: &Path) -> Collection {
    let mut archive = Vec::new();
    let compressed = std::fs::File::open(folder.join("cacm.tar.gz")).unwrap();
    flate2::read::GzDecoder::new(compressed).read_to_end(&mut archive).unwrap();
    let id = |name: &str| name.rsplit('/').next().unwrap().trim_end_matches(".html").to_owned();
    let text = |html: &str| between(html, "<pre>", "</pre>").collect::<String>();
    let documents = untar(&archive).into_iter().map(|(name, html)| (id(&name), text(&html))).collect();
    let topics = read(folder.join("topics.cacm.txt"));
    let topic = |topic: &str| {
        let (id, text) = topic.split_once("<DOCNO>").unwrap().1.split_once("</DOCNO>").unwrap();
        (id.trim().to_owned(), text.to_owned())
    };
    let queries = between(&topics, "<DOC>", "</DOC>").map(topic).collect();
    let grades = qrels(&read(folder.join("qrels.cacm.txt")), [0, 2, 3], |grade| grade);
    Collection { documents, queries, grades }
}

fn vaswani(folder: &Path) -> Collection {
    let document = |text: &str| {
        let (id, text) = text.split_once("<DOCNO>").unwrap().1.split_once("</DOCNO>").unwrap();
        (id.to_owned(), text.to_owned())
    };
    let query = |text: &str| {
        let (id, text) = text.split_once("</num><title>").unwrap();
        (id.to_owned(), text.split_once("</title>").unwrap().0.to_owned())
    };
    Collection {
        documents: between(&read(folder.join("doc-text.trec")), "<DOC>", "</DOC>").map(document).collect(),
        queries: between(&read(folder.join("query-text.trec")), "<num>", "</top>").map(query).collect(),
        grades: qrels(&read(folder.join("qrels")), [0, 2, 3], |grade| grade),
    }
}

/// Title and abstract, joined by a blank. Queries are counted by position. The judgments' codes run from 1 (best) to 4.
fn cranfield(folder: &Path) -> Collection {
    let records = |name: &str| -> Vec<String> {
        let text = read(folder.join(name));
        format!("\n{text}").split("\n.I ").skip(1).map(|record| format!("{record}\n")).collect()
    };
    let field = |record: &str, name: &str| {
        let mark = format!("\n.{name}\n");
        let Some(at) = record.find(&mark) else { return String::new() };
        let rest = &record[at + mark.len() - 1..];
        let ends = |at: &usize| matches!(rest.as_bytes()[*at..], [b'\n', b'.', b'A'..=b'Z', b'\n', ..]);
        rest[..(0..rest.len()).find(ends).unwrap_or(rest.len())].to_owned()
    };
    let document = |record: String| {
        let id = record.lines().next().unwrap().trim().to_owned();
        let text = field(&record, "T") + " " + &field(&record, "W");
        (id, text)
    };
    let query = |(at, record): (usize, String)| ((at + 1).to_string(), field(&record, "W"));
    let grade = |code| if code == -1 { 0 } else { 5 - code };
    Collection {
        documents: records("cran.all.1400").into_iter().map(document).collect(),
        queries: records("cran.qry").into_iter().enumerate().map(query).collect(),
        grades: qrels(&read(folder.join("cranqrel")), [0, 1, 2], grade),
    }
}

/// The rankings of all queries. Documents are indexed in the order of their ids, the order Anserini puts ties in.
fn search(
    collection: &mut Collection,
    parameters: Bm25Parameters,
    depth: usize,
) -> BTreeMap<String, Vec<Line>> {
    collection.documents.sort();
    let texts: Vec<_> = collection.documents.iter().map(|(_, text)| text).collect();
    let index = Bm25Index::build(&texts, Analyzer::default(), parameters).unwrap();
    let queries: Vec<_> = collection.queries.iter().map(|(_, text)| text).collect();
    let found = index.search_batch(&queries, depth);
    let printed = |hits: Vec<scorer::lexical::Scored>| {
        let scores = as_anserini_prints(hits.iter().map(|hit| hit.score));
        hits.iter().map(|hit| collection.documents[hit.document as usize].0.clone()).zip(scores).collect()
    };
    collection.queries.iter().map(|(id, _)| id.clone()).zip(found.into_iter().map(printed)).collect()
}

/// Rounded to four digits; of scores at most one such digit apart, the second and later ones are lowered by a millionth
/// more each.
fn as_anserini_prints(scores: impl Iterator<Item = f32>) -> Vec<String> {
    let mut repeated = 0;
    let mut last = f32::INFINITY;
    let print = |score: f32| {
        let rounded = ((f64::from(score) * 1e4).round() / 1e4) as f32;
        repeated = if last - rounded > 1e-4 { 0 } else { repeated + 1 };
        last = rounded - 1e-6 * repeated as f32;
        format!("{last:.6}")
    };
    scores.map(print).collect()
}

/// A run of the columns query, document, score.
fn run(text: &str, columns: [usize; 3]) -> BTreeMap<String, Vec<Line>> {
    let mut run: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [query, document, score] = columns.map(|column| fields[column].to_owned());
        run.entry(query).or_default().push((document, score));
    }
    run
}

/// How many lines of `theirs` are ours too, at the same rank: in document, and in document and printed score.
fn agreement(
    ours: &BTreeMap<String, Vec<Line>>,
    theirs: &BTreeMap<String, Vec<Line>>,
) -> (usize, usize, usize) {
    let (mut lines, mut documents, mut both) = (0, 0, 0);
    for (query, theirs) in theirs {
        for (rank, theirs) in theirs.iter().enumerate() {
            let ours = ours[query].get(rank);
            lines += 1;
            documents += usize::from(ours.is_some_and(|ours| ours.0 == theirs.0));
            both += usize::from(ours == Some(theirs));
        }
    }
    (lines, documents, both)
}

/// P@30, AP and nDCG@10 (gain = grade, as trec_eval), averaged over the judged queries.
fn measures(collection: &Collection, rankings: &BTreeMap<String, Vec<Line>>) -> [String; 3] {
    let mut sums = [0.0; 3];
    for (query, grades) in &collection.grades {
        let gains: Vec<i32> = rankings[query].iter().map(|(id, _)| *grades.get(id).unwrap_or(&0)).collect();
        let relevant = grades.values().filter(|&&grade| grade > 0).count();
        sums[0] += gains.iter().take(30).filter(|&&gain| gain > 0).count() as f64 / 30.0;
        sums[1] += average_precision(&gains) / relevant.max(1) as f64;
        let mut ideal: Vec<i32> = grades.values().copied().collect();
        ideal.sort_unstable_by_key(|&grade| -grade);
        sums[2] += dcg(&gains) / dcg(&ideal).max(f64::MIN_POSITIVE);
    }
    sums.map(|sum| format!("{:.4}", sum / collection.grades.len() as f64))
}

fn average_precision(gains: &[i32]) -> f64 {
    let hits = gains.iter().enumerate().filter(|(_, gain)| **gain > 0);
    hits.enumerate().map(|(before, (rank, _))| (before + 1) as f64 / (rank + 1) as f64).sum()
}

fn dcg(gains: &[i32]) -> f64 {
    gains
        .iter()
        .take(10)
        .enumerate()
        .map(|(rank, &gain)| f64::from(gain.max(0)) / (rank as f64 + 2.0).log2())
        .sum()
}

#[test]
fn cacm_gives_anserinis_run() {
    let Some(folder) = shared("cacm") else { return };
    let mut collection = cacm(&folder);
    assert_eq!(
        (collection.documents.len(), collection.queries.len(), collection.grades.len()),
        (3_204, 64, 52)
    );
    let ours = search(&mut collection, Bm25Parameters::default(), 30);
    let theirs = run(&read(folder.join("cacm-bm25.txt")), [0, 2, 4]);
    assert_eq!(agreement(&ours, &theirs), (1_920, 1_920, 1_920));
    assert_eq!(measures(&collection, &ours)[0], "0.1942");
}

#[test]
fn vaswani_gives_anserinis_run_and_measures() {
    let Some(folder) = shared("vaswani") else { return };
    let mut collection = vaswani(&folder);
    assert_eq!(
        (collection.documents.len(), collection.queries.len(), collection.grades.len()),
        (11_429, 93, 93)
    );
    let ours = search(&mut collection, Bm25Parameters::default(), 1_000);
    let theirs = run(include_str!("bm25_parity/vaswani.anserini.tsv"), [0, 1, 2]);
    assert_eq!(agreement(&ours, &theirs), (930, 930, 930));
    assert_eq!(measures(&collection, &ours), ["0.2384", "0.2856", "0.4368"]);
}

#[test]
fn cranfield_gives_anserinis_run_and_measures() {
    let Some(folder) = shared("cranfield") else { return };
    let mut collection = cranfield(&folder);
    assert_eq!(
        (collection.documents.len(), collection.queries.len(), collection.grades.len()),
        (1_400, 225, 225)
    );
    let ours = search(&mut collection, Bm25Parameters::default(), 1_000);
    let theirs = run(include_str!("bm25_parity/cranfield.anserini.tsv"), [0, 1, 2]);
    assert_eq!(agreement(&ours, &theirs), (2_250, 2_250, 2_250));
    assert_eq!(measures(&collection, &ours), ["0.1150", "0.2880", "0.3512"]);
}

/// Exact lengths rank a little differently: the parity above rests on Lucene's one-byte lengths.
#[test]
fn exact_lengths_are_not_lucenes() {
    let Some(folder) = shared("cacm") else { return };
    let parameters = Bm25Parameters::new(0.9, 0.4, DocumentLength::Exact).unwrap();
    let ours = search(&mut cacm(&folder), parameters, 30);
    let (lines, _, both) = agreement(&ours, &run(&read(folder.join("cacm-bm25.txt")), [0, 2, 4]));
    assert!(both < lines / 2, "{both} of {lines}");
}
