//! `graded synthesize slm-labeler`: what a small labeler is taught with: queries, candidates at set depths, and a teacher's
//! grades; with the teacher beside people, and what labels cost.

use std::collections::BTreeMap;
use std::path::Path;

use datasets::Document;
use rayon::prelude::*;
use relevance::agreement::{Confusion, Weights, accuracy, cohen_kappa, mean_absolute_error};
use relevance::{Grade, Scale};
use rustc_hash::FxHashMap;
use scorer::Pair;
use scorer::lexical::{Analyzer, Bm25Index, Bm25Parameters};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synthesis::draws::Draws;
use synthesis::generator::Generator;
use synthesis::judge::{Judge, Verdict};
use synthesis::quality::GradedPair;
use synthesis::slm_labeler::{
    Depths, LabelerParameters, Price, Queries, ScoredPair, at_depths, pairwise_accuracy, seed_query,
};
use synthesis::ssra::read_query;
use synthesis::{normal_form, query_id};

use super::graded_set::GradedSet;
use super::quality;
use super::score_model::{self, Measured, ScoreModelFile};
pub use super::seed::Command;
use super::seed::{FromSeed, Making, Seed, SeedFile};
use crate::arguments::Options;
use crate::commands::Finished;
use crate::commands::recipe::Completed;
use crate::exit::Usage;
use crate::generators::{GeneratorFile, ModelUse};
use crate::new_folder::NewFile;
use crate::progress;
use crate::recipe::{self, Claim};
use crate::report::{Cell, Report, Table};

/// A longer value of a metadata field is text, not metadata.
const LONGEST_FIELD: usize = 80;
/// Pairs that are graded in one call of the teacher.
const PAIRS_AT_A_TIME: usize = 1024;

/// A recipe of `graded synthesize slm-labeler`: every key optional, unknown keys refused.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct LabelerFile {
    claim: Claim,
    seed: SeedFile,
    seed_queries: Queries,
    hard_negatives: Depths,
    teacher: ScoreModelFile,
    generator: GeneratorFile,
    prices: Vec<Price>,
}

impl FromSeed for LabelerFile {
    fn seed(&mut self) -> &mut SeedFile {
        &mut self.seed
    }

    fn check(&self) -> synthesis::Result<()> {
        LabelerParameters { queries: self.seed_queries.clone(), negatives: self.hard_negatives.clone() }
            .check()
    }
}

/// The recipe at `path`, completed.
///
/// # Errors
/// When it cannot be read or is no recipe of the SLM labeler.
pub fn completed(path: &Path) -> anyhow::Result<Completed> {
    let file: LabelerFile = recipe::read(path)?;
    Completed::of(&file, &LabelerFile { claim: Claim::default(), ..file.clone() })
}

/// A pair that the teacher is asked about.
struct Candidate {
    query_id: String,
    query: String,
    document: usize,
    /// `seed`, `judged`, or `rank-N`.
    source: String,
    human: Option<Grade>,
}

/// A line of `pairs.jsonl`: a graded pair with what else the teacher said.
#[derive(Serialize)]
struct TaughtPair<'a> {
    #[serde(flatten)]
    pair: &'a GradedPair,
    teacher_score: f64,
    /// `p0`, `p1`, ...: the probability of each grade.
    #[serde(flatten)]
    distribution: BTreeMap<String, f64>,
}

/// What became of queries and pairs.
#[derive(Clone, Debug, Default, Serialize)]
struct Counts {
    seed_documents: usize,
    answers: u64,
    unreadable: u64,
    repeated: u64,
    queries_written: u64,
    own_queries: u64,
    pairs: u64,
    unparsed: u64,
    absent: u64,
    /// By the teacher's grade, from 0 to 3.
    graded: [u64; 4],
    mean_characters: f64,
}

/// The teacher beside people, on the pairs that both graded.
#[derive(Clone, Debug, Serialize)]
struct TeacherAgreement {
    pairs: u64,
    kappa_quadratic: Option<f64>,
    accuracy: Option<f64>,
    mean_absolute_error: Option<f64>,
    pairwise_accuracy: Option<f64>,
}

/// Runs `graded synthesize slm-labeler`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let making: Making<LabelerFile> = Making::begin(command, options)?;
    let Making { file, folder, seed } = &making;
    let teacher = score_model::open(&file.teacher, seed, &[], options)?;
    let mut counts = Counts::default();
    let generator = file.generator.open(|| seed.offline(seed.query_texts(), false), options)?;
    let mut candidates = written(file, seed, generator.as_ref(), &mut counts, options)?;
    if file.seed_queries.own {
        candidates.extend(own(file, seed, &mut counts)?);
    }
    let mut set = GradedSet::begin(folder, "", seed.test_set())?;
    let mut humans = folder.file("humans.jsonl")?;
    let both = teach(&candidates, seed, teacher.judge.as_ref(), &mut set, &mut humans, &mut counts, options)?;
    if counts.graded.iter().sum::<u64>() == 0 {
        let found = format!("{} pairs, none of which the teacher could grade", counts.pairs);
        return Err(Usage::error(format!("nothing to write: {found}")));
    }
    humans.finish()?;
    let what = "Queries for seed documents and hard negatives with a teacher's grades, by graded synthesize slm-labeler.";
    let quality = set.finish(folder, "slm-labeler", what, &Scale::ssra())?;
    let agreement = agreement(&both);
    let costs: Vec<Value> = file
        .prices
        .iter()
        .map(|price| json!({ "name": price.name, "per_1000": price.per_thousand(counts.mean_characters) }))
        .collect();
    let mut json = json!({
        "seed": options.seed,
        "teacher": teacher.judge.digest(),
        "generator": { "model": generator.model(), "revision": generator.revision() },
        "teacher_model": teacher.measured,
        "counts": counts,
        "teacher_and_people": agreement,
        "costs": costs,
        "quality": quality,
    });
    let mut tables = vec![counts_table(&counts), agreement_table(&agreement)];
    if !file.prices.is_empty() {
        tables.push(price_table(&file.prices, counts.mean_characters));
    }
    tables.extend(teacher.measured.as_ref().map(Measured::table));
    tables.extend(quality::tables(&quality));
    if let Some(counts) = teacher.judge.answer_counts() {
        json["teacher_answers"] = json!(counts);
    }
    let teacher = ModelUse::judge("teacher_usage", teacher.judge.as_ref());
    for asked in [ModelUse::generator(generator.as_ref()), teacher] {
        asked.report(&mut json, &mut tables);
    }
    making.finish(&json)?;
    Ok(Report { tables, json, lines: Vec::new() }.into())
}

/// Queries written for seed documents, each with its document and those at the depths.
fn written(
    file: &LabelerFile,
    seed: &Seed,
    generator: &dyn Generator,
    counts: &mut Counts,
    options: &Options,
) -> anyhow::Result<Vec<Candidate>> {
    let rules = &file.seed_queries;
    if rules.per_document == 0 {
        return Ok(Vec::new());
    }
    let mut documents: Vec<usize> = (0..seed.texts.len()).collect();
    Draws::new(options.seed, u64::MAX).shuffle(&mut documents);
    if rules.seed_documents > 0 {
        documents.truncate(rules.seed_documents);
    }
    documents.sort_unstable();
    counts.seed_documents = documents.len();
    let bar = progress::bar(options, "writing queries", documents.len() as u64);
    let ask = |&at: &usize| {
        let fields = fields(&seed.collection.documents[at], &rules.fields);
        let request = seed_query(&seed.texts[at], &fields, rules, options.seed);
        let answers = generator.generate(&request);
        bar.inc(1);
        answers
    };
    let answers: Vec<Vec<String>> = documents.par_iter().map(ask).collect::<synthesis::Result<_>>()?;
    bar.finish_and_clear();
    let mut known = seed.held_out_queries();
    known.extend(seed.queries.iter().map(|(_, text)| normal_form(text)));
    let (mut queries, mut of_document) = (Vec::new(), Vec::new());
    for (&document, answers) in documents.iter().zip(&answers) {
        for answer in answers {
            counts.answers += 1;
            match read_query(answer) {
                None => counts.unreadable += 1,
                Some(query) if !known.insert(query.clone()) => counts.repeated += 1,
                Some(query) => {
                    counts.queries_written += 1;
                    queries.push(query);
                    of_document.push(document);
                }
            }
        }
    }
    let ranked = ranked(seed, &queries, &file.hard_negatives)?;
    let mut candidates = Vec::new();
    for ((query, &document), ranked) in queries.iter().zip(&of_document).zip(&ranked) {
        let candidate = |document: usize, source: String| Candidate {
            query_id: query_id(query),
            query: query.clone(),
            document,
            source,
            human: None,
        };
        candidates.push(candidate(document, "seed".to_owned()));
        let others = at_depths(ranked, u32::try_from(document).ok(), &file.hard_negatives.depths);
        let others =
            others.into_iter().map(|(rank, other)| candidate(other as usize, format!("rank-{rank}")));
        candidates.extend(others);
    }
    Ok(candidates)
}

/// The collection's own queries, with the documents that people judged and those at the depths.
fn own(file: &LabelerFile, seed: &Seed, counts: &mut Counts) -> anyhow::Result<Vec<Candidate>> {
    let queries: Vec<String> = seed.queries.iter().map(|(_, text)| text.clone()).collect();
    let ranked = ranked(seed, &queries, &file.hard_negatives)?;
    let mut judged: FxHashMap<usize, Vec<(usize, Grade)>> = FxHashMap::default();
    for pair in &seed.judged {
        judged.entry(pair.query).or_default().push((pair.document, pair.grade));
    }
    counts.own_queries = queries.len() as u64;
    let mut candidates = Vec::new();
    for (at, ((query_id, query), ranked)) in seed.queries.iter().zip(&ranked).enumerate() {
        let candidate = |document: usize, source: String, human: Option<Grade>| Candidate {
            query_id: query_id.clone(),
            query: query.clone(),
            document,
            source,
            human,
        };
        let own = judged.get(&at).map_or(&[][..], Vec::as_slice);
        let people =
            own.iter().map(|&(document, grade)| candidate(document, "judged".to_owned(), Some(grade)));
        candidates.extend(people);
        for (rank, document) in at_depths(ranked, None, &file.hard_negatives.depths) {
            if own.iter().all(|(judged, _)| *judged != document as usize) {
                candidates.push(candidate(document as usize, format!("rank-{rank}"), None));
            }
        }
    }
    Ok(candidates)
}

/// BM25's ranking for each query, as deep as it is needed.
fn ranked(seed: &Seed, queries: &[String], depths: &Depths) -> anyhow::Result<Vec<Vec<u32>>> {
    let deepest = depths.depths.iter().max().map_or(0, |deepest| deepest + 1);
    if deepest == 0 || queries.is_empty() {
        return Ok(vec![Vec::new(); queries.len()]);
    }
    let index = Bm25Index::build(&seed.texts, Analyzer::default(), Bm25Parameters::default())?;
    let found = index.search_batch(queries, deepest).into_iter();
    Ok(found.map(|hits| hits.into_iter().map(|hit| hit.document).collect()).collect())
}

/// What the collection says about a document: short strings, and lists of them.
fn fields(document: &Document, wanted: &[String]) -> Vec<(String, String)> {
    let Some(metadata) = &document.metadata else { return Vec::new() };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => {
            let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            Some(texts.join(", "))
        }
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let is_wanted = |name: &String, value: &str| match wanted.is_empty() {
        true => value.chars().count() <= LONGEST_FIELD,
        false => wanted.contains(name),
    };
    metadata
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
        .filter(|(name, value)| !value.is_empty() && is_wanted(name, value))
        .collect()
}

/// People's grade, the teacher's, and its score, of a pair that both graded.
struct Both {
    query: String,
    human: Grade,
    teacher: Grade,
    score: f64,
}

/// Has the teacher grade every candidate, and writes what it could grade.
fn teach(
    candidates: &[Candidate],
    seed: &Seed,
    teacher: &dyn Judge,
    set: &mut GradedSet,
    humans: &mut NewFile,
    counts: &mut Counts,
    options: &Options,
) -> anyhow::Result<Vec<Both>> {
    let levels: Vec<String> =
        teacher.scale().levels().iter().map(|level| format!("p{}", level.grade)).collect();
    let mut both = Vec::new();
    let mut characters = 0_usize;
    let bar = progress::bar(options, "grading", candidates.len() as u64);
    for chunk in candidates.chunks(PAIRS_AT_A_TIME) {
        let pairs: Vec<Pair<'_>> = chunk
            .iter()
            .map(|candidate| Pair { query: &candidate.query, document: &seed.texts[candidate.document] })
            .collect();
        for (candidate, (verdict, distribution)) in chunk.iter().zip(teacher.judge_in_full(&pairs)?) {
            counts.pairs += 1;
            let (grade, score) = match verdict {
                Verdict::Graded { grade, score } => (grade, score),
                Verdict::Unparsed { .. } => {
                    counts.unparsed += 1;
                    continue;
                }
                Verdict::Absent => {
                    counts.absent += 1;
                    continue;
                }
            };
            if let Some(count) = usize::try_from(grade).ok().and_then(|grade| counts.graded.get_mut(grade)) {
                *count += 1;
            }
            let doc_id = seed.collection.documents[candidate.document].id.clone();
            let document = seed.texts[candidate.document].clone();
            characters += candidate.query.chars().count() + document.chars().count();
            if let Some(human) = candidate.human {
                humans.line(&json!({
                    "query_id": candidate.query_id,
                    "query": candidate.query,
                    "doc_id": doc_id,
                    "document": document,
                    "human": human,
                    "predicted": grade,
                    "predicted_score": score,
                }))?;
                both.push(Both { query: candidate.query_id.clone(), human, teacher: grade, score });
            }
            let pair = GradedPair {
                query_id: candidate.query_id.clone(),
                query: candidate.query.clone(),
                doc_id,
                document,
                grade,
                source: candidate.source.clone(),
            };
            let distribution =
                levels.iter().cloned().zip(distribution.into_iter().flatten()).collect::<BTreeMap<_, _>>();
            set.pair_as(&pair, &TaughtPair { pair: &pair, teacher_score: score, distribution })?;
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let graded: u64 = counts.graded.iter().sum();
    counts.mean_characters = if graded == 0 { 0.0 } else { characters as f64 / graded as f64 };
    Ok(both)
}

fn agreement(both: &[Both]) -> TeacherAgreement {
    let grades: Vec<(Grade, Grade)> = both.iter().map(|pair| (pair.human, pair.teacher)).collect();
    let confusion = Confusion::of(&grades);
    let scored: Vec<ScoredPair<'_>> = both
        .iter()
        .map(|pair| ScoredPair { query: &pair.query, human: pair.human, score: pair.score })
        .collect();
    TeacherAgreement {
        pairs: confusion.pairs(),
        kappa_quadratic: cohen_kappa(&confusion, Weights::Quadratic).ok(),
        accuracy: accuracy(&confusion).ok(),
        mean_absolute_error: mean_absolute_error(&confusion).ok(),
        pairwise_accuracy: pairwise_accuracy(&scored),
    }
}

fn counts_table(counts: &Counts) -> Table {
    let mut table = Table::new(["what", "count"]).titled("queries and pairs");
    for (what, count) in [
        ("seed documents", counts.seed_documents as u64),
        ("answers", counts.answers),
        ("answers that are no query", counts.unreadable),
        ("queries that were there already", counts.repeated),
        ("queries written", counts.queries_written),
        ("queries of the collection", counts.own_queries),
        ("pairs", counts.pairs),
        ("pairs the teacher's answer on cannot be read", counts.unparsed),
        ("pairs the teacher has no grade of", counts.absent),
        ("graded 3", counts.graded[3]),
        ("graded 2", counts.graded[2]),
        ("graded 1", counts.graded[1]),
        ("graded 0", counts.graded[0]),
    ] {
        table.push(vec![Cell::text(what), Cell::Count(count)]);
    }
    table
}

fn agreement_table(agreement: &TeacherAgreement) -> Table {
    let mut table = Table::new(["statistic", "value"]).titled("the teacher beside people");
    table.push(vec![Cell::text("pairs graded by both"), Cell::Count(agreement.pairs)]);
    for (what, value) in [
        ("quadratic kappa", agreement.kappa_quadratic),
        ("accuracy", agreement.accuracy),
        ("mean absolute error", agreement.mean_absolute_error),
        ("pairwise accuracy", agreement.pairwise_accuracy),
    ] {
        table.push(vec![Cell::text(what), Cell::maybe(value)]);
    }
    table
}

fn price_table(prices: &[Price], mean_characters: f64) -> Table {
    let mut table = Table::new(["who labels", "1,000 labels"]).titled("cost, in the recipe's currency");
    for price in prices {
        let cost = Cell::Quantity(price.per_thousand(mean_characters));
        table.push(vec![Cell::text(price.name.clone()), cost]);
    }
    table.notes.push(format!("pairs of {mean_characters:.0} characters on average, 4 to a token"));
    table
}
