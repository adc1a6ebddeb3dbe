//! Real collections through lists, mining, batches and losses.
//!
//! The sample inside the binary is always there; collections beside the checkout are read when they are.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use datasets::{Collection, OpenOptions};
use kernels::Matrix;
use scorer::lexical::{Analyzer, Bm25Index, Bm25Parameters};
use scorer::{EncoderOptions, Role, embedded, load_encoder};
use serde_json::json;
use trainer::batch::{
    BatchPlan, Batches, GradedPair, Lists, Mining, MiningCounts, RankedDocument, leaked, refuse_leaked,
};
use trainer::losses::{Embeddings, Loss, NeededGrades};

/// The graded pairs of a collection whose document is there. A negative grade (TREC's junk) counts as 0.
fn lists_of(collection: &Collection) -> Lists {
    let texts: HashMap<&str, String> =
        collection.documents.iter().map(|document| (document.id.as_str(), document.full_text())).collect();
    let pairs = collection.judged_queries().flat_map(|query| {
        let judgments = collection.judgments.get(&query.id).unwrap();
        let texts = &texts;
        judgments.iter().filter_map(move |(document, grade)| {
            Some(GradedPair {
                query_id: &query.id,
                query: &query.text,
                document_id: document,
                document: texts.get(document)?,
                grade: grade.max(0),
                teacher: Some(grade as f32),
            })
        })
    });
    Lists::new(&collection.scale, pairs).unwrap()
}

/// Every grade of an epoch's batches is the collection's own, and no text stands in two columns.
fn check_epoch(collection: &Collection, lists: &Lists, plan: BatchPlan) {
    let mut batches = Batches::new(lists, plan).unwrap();
    let mut seen = 0;
    let texts: HashMap<&str, Vec<&str>> =
        collection.documents.iter().fold(HashMap::new(), |mut texts, document| {
            texts.entry(document.id.as_str()).or_insert_with(Vec::new).push(document.id.as_str());
            texts
        });
    for number in 0..batches.per_epoch() {
        let batch = batches.batch(number).unwrap();
        let mut columns: Vec<&str> =
            batch.documents.iter().map(|at| lists.documents()[*at as usize].text.as_str()).collect();
        columns.sort_unstable();
        columns.dedup();
        assert_eq!(columns.len(), batch.documents.len(), "a text in two columns");
        for (row, query) in batch.queries.iter().enumerate() {
            let judgments = collection.judgments.get(&lists.queries()[*query as usize].id).unwrap();
            for pair in batch.targets.listed(row) {
                let document = &lists.documents()[batch.documents[pair.document as usize] as usize];
                assert!(texts.contains_key(document.id.as_str()));
                // Texts that were merged may have been graded under another id, higher or not at all.
                if let Some(grade) = judgments.grade(&document.id) {
                    assert!(i32::from(pair.grade) >= grade.max(0), "{} {}", judgments.query(), document.id);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 0);
}

fn shared(name: &str) -> Option<Collection> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !root.is_dir() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    Some(datasets::open(&root.join(name), &OpenOptions::default()).unwrap())
}

#[test]
fn the_sample_becomes_batches_and_keeps_its_grades() {
    let sample = datasets::sample().unwrap();
    let lists = lists_of(&sample);
    assert_eq!(lists.queries().len(), 60);
    assert_eq!((0..60).map(|query| lists.list(query).len()).sum::<usize>(), 1696, "pairs of the sample");
    assert_eq!(lists.merged().conflicting_pairs, 0);
    check_epoch(
        &sample,
        &lists,
        BatchPlan { queries: 16, documents_per_query: Some(6), ..BatchPlan::default() },
    );
}

#[test]
fn public_collections_become_batches_and_keep_their_grades() {
    for name in ["cranfield", "msmarco-dl19-5k", "cacm"] {
        let Some(collection) = shared(name) else { return };
        let lists = lists_of(&collection);
        println!(
            "{name}: {} lists, {} documents, {:?}",
            lists.queries().len(),
            lists.documents().len(),
            lists.merged()
        );
        check_epoch(
            &collection,
            &lists,
            BatchPlan { queries: 16, documents_per_query: None, ..BatchPlan::default() },
        );
        let ids = |query: &datasets::Query| (query.id.clone(), query.text.clone());
        let test: Vec<(String, String)> = collection.judged_queries().map(ids).collect();
        let test = || test.iter().map(|(id, text)| (id.as_str(), text.as_str()));
        assert_eq!(
            leaked(&lists, test()).len(),
            lists.queries().len(),
            "{name}: trained on its own test queries"
        );
        let error = refuse_leaked(&lists, test()).unwrap_err().to_string();
        assert!(error.contains(&lists.queries()[0].id), "{error}");
    }
}

#[test]
fn bm25_mines_hard_negatives_on_the_sample() {
    let sample = datasets::sample().unwrap();
    let mut lists = lists_of(&sample);
    for document in &sample.documents {
        lists.intern_document(&document.id, &document.full_text()).unwrap();
    }
    let texts: Vec<&str> = lists.documents().iter().map(|document| document.text.as_str()).collect();
    let index = Bm25Index::build(&texts, Analyzer::default(), Bm25Parameters::default()).unwrap();
    let mining = Mining { per_query: 4, last_rank: 50, ..Mining::default() };
    let mut counts = MiningCounts::default();
    let mut found = Vec::new();
    for query in 0..lists.queries().len() as u32 {
        let text = &lists.queries()[query as usize].text;
        let hits = index.search(text, 50);
        let ranking: Vec<RankedDocument> =
            hits.iter().map(|hit| RankedDocument { document: hit.document, score: hit.score }).collect();
        let mined = mining.mine(&lists, query, &ranking, |document| index.score(text, document)).unwrap();
        let lowest = lists.list(query).iter().filter(|graded| graded.grade > 0);
        let lowest =
            lowest.map(|graded| index.score(text, graded.document).unwrap()).reduce(f32::min).unwrap();
        for document in &mined.documents {
            assert!(lists.list(query).iter().all(|graded| graded.document != *document), "graded");
            assert!(index.score(text, *document).unwrap() <= 0.95 * lowest);
        }
        counts += mined.counts;
        found.push(mined.documents);
    }
    println!("{counts:?}");
    assert!(counts.mined > 0 && counts.graded > 0 && counts.too_close > 0);
    for (query, documents) in (0u32..).zip(&found) {
        lists.set_mined(query, documents).unwrap();
    }
    let plan = BatchPlan { queries: 60, mined_per_query: 4, ..BatchPlan::default() };
    let batch = Batches::new(&lists, plan).unwrap().batch(0).unwrap();
    let listed = batch.targets.pairs().count();
    assert!(listed >= 60 * 4, "{listed}");
}

/// nDCG with linear gain of every list under free vectors, all documents, mean over queries.
fn ndcg(lists: &Lists, queries: &[f64], documents: &[f64], width: usize) -> f64 {
    let dcg = |grades: &[u8]| -> f64 {
        grades.iter().zip(2..).map(|(grade, rank)| f64::from(*grade) / f64::from(rank).log2()).sum()
    };
    let row = |rows: &[f64], at: usize| rows[at * width..][..width].to_vec();
    let cosine = |a: &[f64], b: &[f64]| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-300)
    };
    let each = (0..lists.queries().len()).map(|query| {
        let q = row(queries, query);
        let mut scored: Vec<(f64, u8)> = lists
            .list(query as u32)
            .iter()
            .map(|graded| (cosine(&q, &row(documents, graded.document as usize)), graded.grade))
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut grades: Vec<u8> = scored.into_iter().map(|(_, grade)| grade).collect();
        let value = dcg(&grades);
        grades.sort_unstable_by(|a, b| b.cmp(a));
        value / dcg(&grades)
    });
    each.sum::<f64>() / lists.queries().len() as f64
}

/// Plain descent on the vectors themselves: if a loss' gradient points where the grades do, lists come into order.
#[test]
fn every_loss_brings_the_sample_s_lists_into_order() {
    let sample = datasets::sample().unwrap();
    let lists = lists_of(&sample);
    let encoder = load_encoder(&embedded().unwrap(), &EncoderOptions::default()).unwrap();
    let width = 64;
    let encode = |texts: Vec<&str>, role| -> Vec<f64> {
        let vectors = encoder.encode(&texts, role).unwrap();
        let whole = vectors.values.chunks_exact(vectors.dimensions);
        whole.flat_map(|row| &row[..width]).map(|value| f64::from(*value)).collect()
    };
    let start_queries =
        encode(lists.queries().iter().map(|query| query.text.as_str()).collect(), Role::Query);
    let start_documents =
        encode(lists.documents().iter().map(|document| document.text.as_str()).collect(), Role::Document);
    let before = ndcg(&lists, &start_queries, &start_documents, width);
    println!("untrained: nDCG {before:.4}");
    for settings in [
        json!({"name": "infonce", "positive_from": 2}),
        json!({"name": "infonce", "symmetric": true}),
        json!({"name": "weighted_infonce"}),
        json!({"name": "h_infonce"}),
        json!({"name": "wasserstein", "similarity": "cosine", "temperature": 0.1, "hybrid": 1.0}),
        json!({"name": "kl_distillation"}),
        json!({"name": "listnet"}),
        json!({"name": "listnet", "scope": "batch", "unlisted_mass": false}),
        json!({"name": "listmle"}),
        json!({"name": "lambda_loss"}),
        json!({"name": "approx_ndcg"}),
        json!({"name": "ranknet"}),
        json!({"name": "margin_mse", "similarity": "cosine", "scale": 3.0}),
        json!({"name": "cosent"}),
        json!({"name": "rince"}),
        json!({"name": "bixse"}),
        json!({"name": "mse"}),
        json!({"name": "matryoshka", "dimensions": [16, 64], "loss": {"name": "h_infonce"}}),
    ] {
        let loss: Loss = serde_json::from_value(settings).unwrap();
        assert!(loss.needs().grades <= NeededGrades::TwoLevels);
        lists.check(&loss).unwrap();
        let plan = BatchPlan { queries: 20, documents_per_query: Some(8), ..BatchPlan::default() };
        let mut batches = Batches::new(&lists, plan).unwrap();
        let (mut queries, mut documents) = (start_queries.clone(), start_documents.clone());
        for number in 0..60 {
            let batch = batches.batch(number).unwrap();
            let gather = |rows: &[f64], at: &[u32]| -> Vec<f64> {
                at.iter().flat_map(|&at| &rows[at as usize * width..][..width]).copied().collect()
            };
            let (q, d) = (gather(&queries, &batch.queries), gather(&documents, &batch.documents));
            let embeddings = Embeddings {
                queries: Matrix::new("queries", &q, batch.queries.len(), width).unwrap(),
                documents: Matrix::new("documents", &d, batch.documents.len(), width).unwrap(),
            };
            let output = loss.gradients(embeddings, &batch.targets, &loss.starting_parameters()).unwrap();
            // Every vector of the batch moves by the same length: losses differ in scale, not in direction.
            for (rows, at, slopes) in [
                (&mut queries, &batch.queries, output.queries),
                (&mut documents, &batch.documents, output.documents),
            ] {
                for (&at, slope) in at.iter().zip(slopes.chunks_exact(width)) {
                    let length = slope.iter().map(|value| value * value).sum::<f64>().sqrt();
                    if length > 1e-12 {
                        let row = &mut rows[at as usize * width..][..width];
                        row.iter_mut().zip(slope).for_each(|(value, slope)| *value -= 0.03 * slope / length);
                    }
                }
            }
        }
        let after = ndcg(&lists, &queries, &documents, width);
        println!("{}: nDCG {after:.4}", loss.name());
        assert!(after > before + 0.05, "{loss}: nDCG {before:.4} before, {after:.4} after");
    }
}
