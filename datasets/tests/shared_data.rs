//! Every real collection opens with the counts its home states.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datasets::trec::{JudgmentOptions, RunFile, RunOptions, read_judgments};
use datasets::{Collection, Format, OpenOptions, open};
use relevance::{Grade, SelfHits};

/// The folder of public collections beside the workspace; `None`, said aloud, where there is none.
fn shared() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    if !shared.exists() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    Some(shared.join("data"))
}

fn opened(name: &str) -> Option<Collection> {
    shared().map(|data| open(&data.join(name), &OpenOptions::default()).unwrap())
}

/// Documents, judged queries, judgments.
fn counts(collection: &Collection) -> (usize, usize, usize) {
    (collection.documents.len(), collection.judged_queries().count(), collection.judgments.pairs())
}

fn grades(collection: &Collection) -> BTreeMap<Grade, usize> {
    let mut grades = BTreeMap::new();
    for (_, grade) in collection.judgments.queries().flat_map(|query| query.iter()) {
        *grades.entry(grade).or_default() += 1;
    }
    grades
}

#[test]
fn manifests_are_recognised_and_their_counts_hold() {
    let Some(data) = shared() else { return };
    for manifest in datasets::manifest::all().iter().filter(|manifest| data.join(&manifest.name).exists()) {
        if manifest.format == Format::Log {
            let refused = open(&data.join(&manifest.name), &OpenOptions::default()).unwrap_err().to_string();
            assert!(refused.contains("a log of what people did"), "{refused}");
            continue;
        }
        let collection = open(&data.join(&manifest.name), &OpenOptions::default()).unwrap();
        assert_eq!(collection.name, manifest.name, "recognised by its files");
        assert!(collection.scale_is_stated, "{}", manifest.name);
        assert_eq!(collection.self_hits, SelfHits::Keep);
        let stated = manifest.counts.unwrap();
        let (documents, queries, judgments) = counts(&collection);
        assert_eq!(stated.documents.unwrap_or(documents), documents, "documents of {}", manifest.name);
        assert_eq!(stated.judged_queries, Some(queries), "judged queries of {}", manifest.name);
        assert_eq!(stated.judgments, Some(judgments), "judgments of {}", manifest.name);
    }
}

#[test]
fn chorus() {
    let Some(collection) = opened("chorus") else { return };
    assert_eq!((collection.format, counts(&collection)), (Format::Chorus, (19406, 135, 3668)));
    assert_eq!(grades(&collection), [(0, 1853), (1, 238), (2, 105), (3, 1472)].into());
    let ratings = collection.ratings.unwrap();
    assert_eq!(ratings.raters, ["agent_1_rating", "agent_2_rating", "agent_3_rating"]);
    assert_eq!((ratings.table.len(), ratings.clusters().into_iter().max()), (3188, Some(134)));
    assert_eq!(ratings.queries[0], "bluetooth_speaker");
    assert!(ratings.queries.iter().all(|query| collection.judgments.get(query).is_some()));
}

#[test]
fn dbpedia_and_msmarco_in_beirs_layout() {
    let Some(collection) = opened("dbpedia-entity-5k") else { return };
    assert_eq!((collection.format, counts(&collection)), (Format::Beir, (5000, 40, 3709)));
    assert_eq!(grades(&collection), [(0, 2829), (1, 614), (2, 266)].into());
    assert_eq!(collection.split.as_deref(), Some("test"));
    let collection = opened("msmarco-dl19-5k").unwrap();
    assert_eq!((counts(&collection), collection.queries.len()), ((5000, 43, 4102), 50));
}

#[test]
fn cranfields_codes_are_turned_round_and_its_queries_counted_by_position() {
    let Some(collection) = opened("cranfield") else { return };
    assert_eq!((collection.format, counts(&collection)), (Format::Smart, (1400, 225, 1837)));
    // cranqrel has 128 codes 1 (best), 387 codes 2, 734 codes 3, 363 codes 4 and 225 codes -1.
    assert_eq!(grades(&collection), [(0, 225), (1, 363), (2, 734), (3, 387), (4, 128)].into());
    assert_eq!(collection.queries[2].id, "3");
    assert!(collection.queries[2].text.starts_with("what problems of heat conduction"));
    assert_eq!(collection.judgments.grade("1", "184"), Some(3));
    assert_eq!(collection.judgments.grade("1", "486"), Some(0));
    assert_eq!(collection.notes.len(), 3, "{:?}", collection.notes);
}

#[test]
fn cacm_and_vaswani_in_trecs_layout() {
    let Some(collection) = opened("cacm") else { return };
    assert_eq!((collection.format, counts(&collection)), (Format::Trec, (3204, 52, 796)));
    assert_eq!(collection.queries.len(), 64);
    let first = &collection.documents[0];
    assert_eq!(first.id, "CACM-0001");
    assert!(first.text.starts_with("Preliminary Report-International Algebraic Language"));
    assert!(!first.text.contains("<pre>"));
    assert!(collection.queries[0].text.starts_with("What articles exist which deal with TSS"));
    let collection = opened("vaswani").unwrap();
    assert_eq!((collection.format, counts(&collection)), (Format::Trec, (11429, 93, 2083)));
    let last = collection.queries.last().unwrap();
    assert!(!last.text.is_empty() && !last.text.contains('<'));
}

#[test]
fn recorded_pairs_are_collections_with_teachers() {
    let Some(data) = shared() else { return };
    let of = |split: &str| {
        let options = OpenOptions { split: Some(split.into()), ..OpenOptions::default() };
        open(&data.join("trec-dl"), &options).unwrap()
    };
    let dl2019 = of("dl2019");
    assert_eq!(grades(&dl2019), [(0, 5158), (1, 1601), (2, 1804), (3, 697)].into());
    let dl2020 = of("dl2020");
    assert_eq!(grades(&dl2020), [(0, 7780), (1, 1940), (2, 1020), (3, 646)].into());
    let ratings = dl2020.ratings.unwrap();
    assert_eq!((ratings.raters.len(), ratings.table.len()), (4, 11386));
    assert!(ratings.column("teacher.llama3-70b").is_some());
    let alone = open(&data.join("trec-dl/dl2019.jsonl"), &OpenOptions::default()).unwrap();
    assert_eq!(alone.judgments.pairs(), 9260);
    let options = OpenOptions { split: Some("dl2021".into()), ..OpenOptions::default() };
    let message = open(&data.join("trec-dl"), &options).unwrap_err().to_string();
    assert!(
        message.ends_with("expected one of the splits dl2019, dl2020, found a request for \"dl2021\""),
        "{message}"
    );
}

#[test]
fn quati_has_three_raters_and_an_llm() {
    let Some(collection) = opened("quati") else { return };
    let ratings = collection.ratings.as_ref().unwrap();
    assert_eq!(ratings.raters, ["annotator_01", "annotator_02", "annotator_03", "llm"]);
    assert_eq!((ratings.table.len(), collection.queries.len()), (240, 24));
    assert_eq!(collection.queries[0].id, "105", "the topic's number in the LLM's file");
    assert!(ratings.table.rows().all(|row| row.iter().all(Option::is_some)));
}

#[test]
fn trec_evals_own_files_are_read_comments_and_all() {
    let Some(data) = shared() else { return };
    let oracles = data.join("oracles");
    // qrels.123 gives some pairs three grades on purpose (it is made for preference measures).
    let options = JudgmentOptions { refuse_conflicts: false, ..JudgmentOptions::default() };
    let read = |name: &str| read_judgments(&oracles.join(name), &options).unwrap();
    let (plain, commented) = (read("trec_eval/qrels.123"), read("trec_eval/qrels.comments.123"));
    assert!(plain.conflicts > 0);
    // Among the comments stands one changed document id, to show that `#` inside a line is no comment.
    assert_eq!(commented.judgments.pairs(), plain.judgments.pairs() + 1);
    assert!(commented.judgments.grade("301", "CR93E-3103#37").is_some());
    let with_comments = read("trec_eval/qrels.test.with-comments");
    assert_eq!(with_comments.judgments.grade("301", "CR#93E-1860"), Some(0));
    let pairs = |name: &str| read(name).judgments.pairs();
    assert_eq!(pairs("trec_eval/qrels.test"), pairs("trec_eval/qrels.test.with-comments"));
    assert_eq!(pairs("cwl/qrel_file"), 23);
    // num_q and num_ret of trec_eval's out.comment.test: the run answers 301 queries, 31 of them judged.
    let run = RunFile::open(&oracles.join("trec_eval/results.comment.test"), &RunOptions::default()).unwrap();
    let qrels = read("trec_eval/qrels.comment.test").judgments;
    let judged: Vec<_> =
        run.rankings().map(Result::unwrap).filter(|r| qrels.get(r.query).is_some()).collect();
    assert_eq!((run.len(), judged.len()), (301, 31));
    assert_eq!(judged.iter().map(|ranking| ranking.hits.len()).sum::<usize>(), 3100);
    let queries = |name: &str| RunFile::open(&oracles.join(name), &RunOptions::default()).unwrap().len();
    assert_eq!(queries("trec_eval/results-302.test"), 1);
    assert_eq!(queries("cwl/result_file"), 3);
}
